//! One step: what a daemon knows and does after something has happened.

mod candidate;
mod hand_over;
mod membership;
mod pause;

use crate::event::{Action, Event, Flag, Server, Why};
use crate::params::Params;
use crate::rules::Rule;
use crate::state::{Stage, State};
use crate::time::Time;
use crate::votes::{Nodes, Slot};

/// Takes note of an event, and says what to do. `now` was read before the event was looked at: the deadline comes first.
///
/// The executor gives every event in the order in which it learns of them, and [`Event::Tick`] after those that came together and at least
/// once per heartbeat.
#[must_use]
pub fn step<const N: usize>(
    params: &Params,
    now: Time,
    state: State<N>,
    event: Event,
) -> (State<N>, Vec<Action>) {
    let mut step = Step { params, now, state, actions: Vec::new() };
    step.state.moment.0 += 1;
    step.clock();
    let stage = |state: &State<N>| state.hand_over.map(|present| present.stage);
    let before = stage(&step.state);
    step.handle(event);
    // What the event has made of the server may have ended a lease that nothing else would look at.
    step.clock();
    if stage(&step.state) != before
        && let Some(present) = &mut step.state.hand_over
    {
        present.since = now;
    }
    (step.state, step.actions)
}

/// A step that is being taken.
struct Step<'a, const N: usize> {
    params: &'a Params,
    now: Time,
    state: State<N>,
    actions: Vec<Action>,
}

impl<const N: usize> Step<'_, N> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.renew_members();
                self.turn_back_in_time();
                self.try_commit();
                self.try_promotion();
                self.give_up_in_time();
            }
            Event::Granted { voter, backend, sent, members } => {
                let (now, moment) = (self.now, self.state.moment);
                self.members_may_be(members);
                if let Some(slot) = self.slot(voter) {
                    slot.grant(backend, sent, now, moment);
                    self.extend();
                    self.note_in(voter, backend);
                }
            }
            Event::Acked { voter, backend, sent, moment } => {
                let sent = if self.params.keeps(Rule::CountsFromTheSending) { sent } else { self.now };
                if self.slot(voter).is_some_and(|slot| slot.confirm(backend, sent, moment)) {
                    self.extend();
                }
            }
            Event::Lost { voter, backend } => {
                if let Some(slot) = self.slot(voter)
                    && slot.vote.is_some_and(|vote| vote.backend == backend)
                {
                    slot.vote = None;
                }
            }
            Event::Server(server) => self.server_is(server),
            Event::NotPromoted => {
                self.state.requested = false;
                if !self.state.may_write() {
                    // The candidacy ended with the request; its votes go now.
                    self.state.stand_down();
                    self.actions.push(Action::Drop);
                }
            }
            Event::MembersWritten(members) => self.members_may_be(members),
            Event::Registered { data, voters } => self.registered(data, voters),
            Event::Shown(voter, version) => self.shown(voter, version),
            Event::Timeline(timeline) => self.state.timeline = timeline,
            Event::OtherLeader(timeline) => self.other_leader(timeline),
            Event::Stand => self.stand(None),
            Event::StandDown => self.stand_down(),
            Event::Ask(op, ask) => self.asked(op, ask),
            Event::Ready(node, op) => self.heir_is_ready(node, op),
            Event::HeirHasAll(op) => self.heir_has_all(op),
            Event::Refused(op) => self.heir_refuses(op),
            Event::Note { voter, to, op, moment } => self.note_seen(voter, to, op, moment),
            Event::StoodAside { node, op, moment } => self.is_away(Nodes::one(node), op, moment),
            Event::Refuse => self.refuse(),
            Event::Signalled(op) => self.signalled(op),
            Event::Scanned(op) => self.scanned(op),
            Event::Noted(voter, backend, op) => self.noted(voter, backend, op),
            Event::Failed(op) => self.failed(op),
        }
    }

    fn slot(&mut self, voter: u8) -> Option<&mut Slot> {
        self.state.slots.get_mut(usize::from(voter))
    }

    /// Extends the lease by what has just been proven. A lease that has ended, or was released, is not.
    fn extend(&mut self) {
        let state = &self.state;
        if state.lapsed || state.flag == Flag::Full || !state.wants_votes() {
            return;
        }
        self.state.deadline = self.state.deadline.max(self.state.proven_until(self.params, self.now));
    }

    /// What the time alone does.
    fn clock(&mut self) {
        let state = &mut self.state;
        if state.flag != Flag::Full && !state.lapsed {
            let is_over = state.deadline.is_none_or(|deadline| deadline <= self.now);
            if is_over && state.may_write() {
                let why = if state.deadline.is_some() { Why::LeaseEnded } else { Why::NoLease };
                self.lapse(why);
            } else if is_over && state.deadline.is_some() {
                state.deadline = None;
                if !state.is_committed() && state.hand_over.take().is_some() {
                    self.actions.extend([Action::EndNotes, Action::Drop]);
                }
            }
        }
        if let Some(hand_over) = self.state.hand_over
            && let Stage::Committed { at } = hand_over.stage
            && self.now >= at.after(self.params.note)
            && self.params.keeps(Rule::NotesEnd)
        {
            self.state.hand_over = None;
            self.actions.push(Action::EndNotes);
        }
    }

    /// The server on the higher timeline was promoted later: this server has nothing to say any more. Not needed for safety while fencers are
    /// on time; it shortens the harm where one is not.
    fn other_leader(&mut self, timeline: u32) {
        let state = &mut self.state;
        if timeline <= state.timeline {
            return;
        }
        if state.is_committed() {
            // The heir leads: it needs the notes no more.
            state.hand_over = None;
            self.actions.push(Action::EndNotes);
        } else if state.writes() && !state.lapsed && state.flag != Flag::Full {
            self.lapse(Why::OtherLeader);
        }
    }

    fn lapse(&mut self, why: Why) {
        let state = &mut self.state;
        let is_down = matches!(state.server, Server::Down { .. });
        if is_down && !self.params.keeps(Rule::TheEndIsFinal) {
            return;
        }
        state.lapsed = true;
        state.deadline = None;
        state.hand_over = None;
        state.stand_down();
        state.drop_votes();
        self.actions.extend([Action::Fence(why), Action::Drop]);
    }

    fn server_is(&mut self, server: Server) {
        let state = &mut self.state;
        let before = state.server;
        match server {
            // A promotion that was requested shows late. What comes of it is told otherwise.
            Server::Standby if before == Server::Standby => {}
            Server::Standby => {
                state.server = server;
                state.requested = false;
                state.lapsed = false;
                state.deadline = None;
                state.hand_over = None;
                state.ready = None;
                state.stand_down();
                self.actions.push(Action::Drop);
            }
            Server::Promoting | Server::Primary => {
                state.server = server;
                state.requested = false;
                state.ready = None;
                // The votes stay: the candidate is the leader now.
                state.stand_down();
                self.started();
            }
            Server::Down { signal } => {
                state.server = server;
                state.requested = false;
                if state.hand_over.is_none() {
                    state.stand_down();
                }
                self.is_down(signal);
            }
        }
    }
}
