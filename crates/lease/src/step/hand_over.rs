//! A hand-over, at the leader: the point of no return is the release of the votes.

use super::Step;
use crate::event::{Action, Flag, Op, Refusal, Server, Word};
use crate::rules::Rule;
use crate::state::{HandOver, Stage};
use crate::votes::{Backend, Node, Nodes, Slot};

impl<const N: usize> Step<'_, N> {
    /// Begins: the heir is asked. Nothing is stopped yet.
    pub(super) fn hand_over(&mut self, op: Op, to: Node) -> Word {
        let state = &self.state;
        if let Some(present) = state.hand_over {
            return if present.op == op { Word::Going } else { Word::No(Refusal::Busy) };
        }
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        let has_role = matches!(state.server, Server::Primary | Server::Down { signal: false });
        if !state.leads(self.now) || state.requested || !has_role {
            return Word::No(Refusal::NotLeader);
        }
        if state.flag != Flag::Active {
            return Word::No(Refusal::Barred);
        }
        if to == state.me || !state.members.data.has(to) {
            return Word::No(Refusal::Unknown);
        }
        // The own server will be down: the others have to be enough.
        let fresh = self.now.before(2 * self.params.heartbeat);
        let enough = self.others(|slot| slot.vote.is_some_and(|vote| vote.sent >= fresh));
        if enough.count() < state.majority() {
            return Word::No(Refusal::Voters);
        }
        self.state.hand_over =
            Some(HandOver { to, op, stage: Stage::Asked, since: self.now, noted: Nodes::NONE });
        self.actions.push(Action::AskReady(to, op));
        Word::Going
    }

    /// The voters other than the own server of which something is true.
    fn others(&self, what: impl Fn(&Slot) -> bool) -> Nodes {
        let me = self.state.me;
        self.state
            .voter_slots()
            .filter(|(node, slot)| *node != me && what(slot))
            .map(|(node, _)| node)
            .collect()
    }

    /// The present hand-over, if it is this operation and at this stage.
    fn at(&mut self, op: Op, stage: Stage) -> Option<&mut HandOver> {
        self.state.hand_over.as_mut().filter(|present| present.op == op && present.stage == stage)
    }

    pub(super) fn heir_is_ready(&mut self, node: Node, op: Op) {
        let is_down = matches!(self.state.server, Server::Down { .. });
        let Some(present) = self.at(op, Stage::Asked).filter(|present| present.to == node) else { return };
        if is_down {
            present.stage = Stage::Stopped;
        } else {
            present.stage = Stage::Stopping;
            self.actions.push(Action::Stop(op));
        }
    }

    /// The server is down.
    pub(super) fn is_down(&mut self, signal: bool) {
        match self.state.hand_over.as_mut() {
            Some(present) if present.stage == Stage::Stopping => present.stage = Stage::Stopped,
            Some(present) if present.stage == Stage::Back && !signal => self.state.hand_over = None,
            Some(_) => {}
            // There is no lease any more: it would start as a standby.
            None if signal => {
                self.state.deadline = None;
                self.state.drop_votes();
            }
            None => {}
        }
    }

    /// The server is up as a primary, or about to be: a hand-over that had stopped it is over.
    pub(super) fn started(&mut self) {
        if self
            .state
            .hand_over
            .is_some_and(|present| !matches!(present.stage, Stage::Asked | Stage::Stopping))
        {
            self.state.hand_over = None;
        }
    }

    pub(super) fn heir_has_all(&mut self, op: Op) {
        let signals = self.params.keeps(Rule::SignalFirst);
        let Some(present) = self.at(op, Stage::Stopped) else { return };
        if signals {
            present.stage = Stage::Signal;
            self.actions.push(Action::WriteSignal(op));
        } else {
            present.stage = Stage::Scan;
            self.actions.push(Action::Scan(op));
        }
    }

    pub(super) fn signalled(&mut self, op: Op) {
        let Some(present) = self.at(op, Stage::Signal) else { return };
        present.stage = Stage::Scan;
        self.state.server = Server::Down { signal: true };
        self.actions.push(Action::Scan(op));
    }

    pub(super) fn scanned(&mut self, op: Op) {
        let Some(present) = self.at(op, Stage::Scan) else { return };
        present.stage = Stage::Notes;
        for voter in self.others(|slot| slot.vote.is_some()).iter() {
            if let Some(backend) = self.state.session(voter) {
                self.note_in(voter, backend);
            }
        }
    }

    /// Takes a note in a session that holds a vote, while notes are being taken.
    pub(super) fn note_in(&mut self, voter: Node, backend: Backend) {
        if let Some(present) = self.state.hand_over
            && present.stage == Stage::Notes
            && voter != self.state.me
        {
            self.actions.push(Action::TakeNote(voter, backend, present.to, present.op));
        }
    }

    pub(super) fn noted(&mut self, voter: Node, backend: Backend, op: Op) {
        let is_session = self.state.session(voter) == Some(backend);
        if let Some(present) = self.at(op, Stage::Notes).filter(|_| is_session) {
            present.noted = present.noted.with(voter);
        }
    }

    /// Releases the votes, once there are notes in all sessions and these are a majority: the point of no return.
    pub(super) fn try_commit(&mut self) {
        let Some(present) = self.state.hand_over.filter(|present| present.stage == Stage::Notes) else {
            return;
        };
        let held = self.others(|slot| slot.vote.is_some());
        let noted: Nodes = held.iter().filter(|voter| present.noted.has(*voter)).collect();
        if noted != held || noted.count() < self.state.majority() || !self.state.is_armed(self.now) {
            return;
        }
        for voter in noted.iter() {
            if let Some(backend) = self.state.session(voter) {
                self.actions.push(Action::Unlock(voter, backend));
            }
        }
        // The deadline stays as it is: it dates from before the release, and nothing extends it.
        for slot in &mut self.state.slots {
            slot.vote = None;
        }
        self.state.hand_over = Some(HandOver { stage: Stage::Committed { at: self.now }, ..present });
    }

    /// The heir will not use the note any more.
    pub(super) fn heir_refuses(&mut self, op: Op) {
        if self.state.hand_over.is_some_and(|present| present.op == op) {
            self.turn_back();
        }
    }

    /// A step did not succeed. After the release that is no reason: the heir may be promoting itself.
    pub(super) fn failed(&mut self, op: Op) {
        let Some(present) = self.state.hand_over.filter(|present| present.op == op) else { return };
        let is_committed = matches!(present.stage, Stage::Committed { .. });
        if !is_committed || !self.params.keeps(Rule::BackOnlyByRefusal) {
            self.turn_back();
        }
    }

    /// Turns back when a part takes too long, or while there is just time for a restart before the lease ends.
    pub(super) fn turn_back_in_time(&mut self) {
        let Some(present) = self.state.hand_over else { return };
        if matches!(present.stage, Stage::Stopping | Stage::Back | Stage::Committed { .. }) {
            return;
        }
        let ends =
            self.state.deadline.is_some_and(|deadline| deadline.before(self.params.restart) <= self.now);
        let is_stopped = present.stage != Stage::Asked;
        if self.now.since(present.since) >= self.params.ready || (ends && is_stopped) {
            self.turn_back();
        }
    }

    /// Takes the role back by a restart in place: the lease has lasted all the time.
    fn turn_back(&mut self) {
        let Some(present) = &mut self.state.hand_over else { return };
        match present.stage {
            Stage::Asked | Stage::Stopping | Stage::Stopped => self.state.hand_over = None,
            Stage::Signal | Stage::Scan | Stage::Notes | Stage::Committed { .. } => {
                let op = present.op;
                present.stage = Stage::Back;
                if self.state.is_armed(self.now) {
                    self.actions.extend([Action::EndNotes, Action::RemoveSignal(op)]);
                } else {
                    self.actions.push(Action::EndNotes);
                    self.state.hand_over = None;
                }
            }
            Stage::Back => {}
        }
    }
}
