//! The sessions: opened, asked, given up.

use super::{Asked, CommandLock, Driver, HASTE, Output, Query, Reply, Seen, Session, View};
use crate::event::{Ask, Epoch, Event, Flag};
use crate::mailbox::{Role, Saying};
use crate::members::Version;
use crate::time::{Moment, Ms, Time};
use crate::votes::{Backend, Node};

impl<const N: usize> Driver<N> {
    pub(super) fn opened(&mut self, voter: Node, backend: Backend, now: Time) {
        if let Some(session @ Session::Opening { .. }) = self.session(voter)
            && matches!(session, Session::Opening { backend: present, .. } if *present == backend)
        {
            *session = Session::Open { backend, asked: None, next: now, waiting: Vec::new() };
        }
    }

    pub(super) fn closed(&mut self, voter: Node, backend: Backend, now: Time, out: &mut Vec<Output>) {
        let pause = self.params.heartbeat;
        let Some(session) = self.session(voter) else { return };
        let (again, unsent, unknown) = match session {
            Session::Opening { backend: present, .. } if *present == backend => {
                (now.after(pause), false, false)
            }
            Session::Open { backend: present, asked, waiting, .. } if *present == backend => (
                now,
                waiting.contains(&Query::Promote),
                asked.is_some_and(|asked| asked.query == Query::Promote),
            ),
            _ => return,
        };
        *session = Session::Closed { again };
        self.tell(Event::Lost { voter, backend }, now, out);
        if unknown {
            out.push(Output::CheckPromotion(backend));
        } else if unsent {
            // What was never sent will not be done.
            self.tell(Event::NotPromoted, now, out);
        }
    }

    pub(super) fn close(&mut self, voter: Node, now: Time, out: &mut Vec<Output>) {
        let backend = match self.session(voter) {
            Some(Session::Opening { backend, .. } | Session::Open { backend, .. }) => *backend,
            _ => return,
        };
        out.push(Output::Close(voter, backend));
        self.closed(voter, backend, now, out);
    }

    pub(super) fn close_all(&mut self, now: Time, out: &mut Vec<Output>) {
        let voters: Vec<Node> = self.member_sessions().map(|(voter, _)| voter).collect();
        for voter in voters {
            self.close(voter, now, out);
        }
    }

    /// Ends the sessions to nodes that are no members any more.
    fn leave_strangers(&mut self, now: Time, out: &mut Vec<Output>) {
        let members = self.state.members.voters.with(self.state.me);
        let strangers: Vec<Node> = (0..)
            .zip(&self.sessions)
            .filter(|(node, session)| !members.has(*node) && !matches!(session, Session::Closed { .. }))
            .map(|(node, _)| node)
            .collect();
        for node in strangers {
            self.close(node, now, out);
        }
    }

    /// Opens, asks, and gives up what does not answer.
    pub(super) fn work(&mut self, now: Time, out: &mut Vec<Output>) {
        self.leave_strangers(now, out);
        let voters: Vec<Node> = self.member_sessions().map(|(voter, _)| voter).collect();
        for voter in voters {
            let (patience, connect) = (self.patience(), self.params.connect);
            match self.session(voter) {
                Some(Session::Closed { again }) if *again <= now => {
                    self.backends += 1;
                    let backend = self.backends;
                    if let Some(session) = self.session(voter) {
                        *session = Session::Opening { backend, since: now };
                    }
                    out.push(Output::Open(voter, backend));
                }
                Some(Session::Opening { since, .. }) if now >= since.after(connect.max(patience)) => {
                    self.close(voter, now, out);
                }
                Some(Session::Open { asked: Some(asked), .. }) if now >= asked.sent.after(patience) => {
                    self.close(voter, now, out);
                }
                Some(Session::Open { asked: None, .. }) => self.ask(voter, now, out),
                _ => {}
            }
        }
    }

    /// Asks what is to be asked in a session that is idle.
    pub(super) fn ask(&mut self, voter: Node, now: Time, out: &mut Vec<Output>) {
        let wants = self.state.wants_votes();
        let has = self.state.session(voter).is_some();
        let due = self.grace_ends(voter);
        let (interval, moment) = (self.interval(voter), self.state.moment);
        let Some(Session::Open { backend, asked, next, waiting }) = self.session(voter) else { return };
        let query = if waiting.is_empty() {
            if now < (*next).min(due.unwrap_or(*next)) {
                return;
            }
            if wants && !has { Query::Vote } else { Query::Look }
        } else {
            waiting.remove(0)
        };
        let backend = *backend;
        *asked = Some(Asked { query, sent: now, moment });
        *next = now.after(interval);
        out.push(Output::Send(voter, backend, query, self.line(voter)));
    }

    /// How often a voter is asked.
    pub(super) fn interval(&self, voter: Node) -> Ms {
        let (state, heartbeat) = (&self.state, self.params.heartbeat);
        let to_heir = state.hand_over.is_some_and(|present| present.to == voter);
        let heir = state.ready.is_some() && (voter == state.me || state.candidacy.is_some());
        if to_heir || heir {
            HASTE.min(heartbeat)
        } else if voter == state.me {
            heartbeat / 2
        } else {
            heartbeat
        }
    }

    /// When a candidate's grace ends by this voter: one heartbeat is sent right then.
    pub(super) fn grace_ends(&self, voter: Node) -> Option<Time> {
        self.state.candidacy?;
        let vote = self.state.slots.get(usize::from(voter))?.vote?;
        let last =
            self.state.voter_slots().filter_map(|(_, slot)| slot.vote).map(|vote| vote.granted).max()?;
        let end = last.after(self.params.grace);
        (vote.sent < end).then_some(end)
    }

    pub(super) fn replied(
        &mut self,
        voter: Node,
        backend: Backend,
        reply: Reply,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let Some(Session::Open { backend: present, asked, .. }) = self.session(voter) else { return };
        if *present != backend {
            return;
        }
        let Some(Asked { query, sent, moment }) = asked.take() else { return };
        let reply = self.with_known_timeline(voter, reply);
        let members = reply.view.members;
        if self.state.session(voter).is_some() && query != Query::Release {
            self.tell(Event::Acked { voter, backend, sent, moment }, now, out);
        }
        match query {
            Query::Vote if reply.is_done => {
                self.tell(Event::Granted { voter, backend, sent, members }, now, out);
            }
            Query::Note(_, op) if reply.is_done => self.tell(Event::Noted(voter, backend, op), now, out),
            Query::Promote if !reply.is_done => self.tell(Event::NotPromoted, now, out),
            _ => {}
        }
        self.tell(Event::Shown(voter, members.version), now, out);
        if !reply.view.in_recovery && self.state.members.data.has(voter) {
            self.known_end = self.known_end.max(Some((reply.view.timeline, reply.view.end)));
        }
        self.notice(voter, &reply.view, moment, now, out);
        if let Some(seen) = self.seen.get_mut(usize::from(voter)) {
            *seen = Some(Seen { at: now, view: reply.view });
        }
        self.read_requests(voter, now, out);
    }

    /// What a standby has received of a timeline stays received, although without a receiver its server may not say so for a while.
    fn with_known_timeline(&self, voter: Node, mut reply: Reply) -> Reply {
        if let Some(before) = self.view(voter)
            && before.in_recovery
            && reply.view.in_recovery
            && reply.view.end >= before.end
        {
            reply.view.timeline = reply.view.timeline.max(before.timeline);
        }
        reply
    }

    /// Takes from a view what the core wants to know at once.
    pub(super) fn notice(
        &mut self,
        voter: Node,
        view: &View,
        moment: Moment,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let me = self.state.me;
        if voter == me {
            // What this node knows after a restart may be older than its own copy.
            if view.members.version > self.state.members.version {
                self.tell(Event::MembersWritten(view.members), now, out);
            }
            self.see_armed_leader(view, now, out);
            self.forget_what_was_agreed(view, now, out);
            if view.timeline != self.state.timeline && !view.in_recovery {
                self.tell(Event::Timeline(view.timeline), now, out);
            }
        } else if !view.in_recovery && self.state.members.data.has(voter) {
            self.tell(Event::OtherLeader(view.timeline), now, out);
        }
        let own = self.id(me);
        for (_, op) in view.notes.iter().filter(|(to, _)| *to == own) {
            self.tell(Event::Note { voter, to: me, op: *op, moment }, now, out);
            if self.state.ready.is_some_and(|(_, ready)| ready == *op)
                && self.noted.is_none_or(|(known, _)| known != *op)
            {
                self.noted = Some((*op, now));
                self.hurry(now);
            }
        }
        for status in &view.statuses {
            let Some((op, saying)) = status.says else { continue };
            let Some(node) = self.place(status.node) else { continue };
            match saying {
                Saying::Aside(quoted) => self.tell(Event::StoodAside { node, op, moment: quoted }, now, out),
                Saying::Wants(heir)
                    if heir == own
                        && node != me
                        && self.state.ready != Some((node, op))
                        && self.refused != Some(op) =>
                {
                    self.answer(op, Ask::Ready(node), now, out);
                }
                _ => {}
            }
        }
    }

    /// What was agreed is over when the leader shows something else: it has turned back before the votes were released.
    pub(super) fn forget_what_was_agreed(&mut self, view: &View, now: Time, out: &mut Vec<Output>) {
        let Some((leader, op)) = self.state.ready else { return };
        let id = self.id(leader);
        let mut shown = view.statuses.iter().filter(|status| status.node == id).peekable();
        if shown.peek().is_some() && !shown.any(|status| status.says.is_some_and(|(said, _)| said == op)) {
            self.refused = Some(op);
            self.tell(Event::Refuse, now, out);
        }
    }

    /// A node that is barred needs no command to be cleared: the leader that holds its vote fences itself.
    pub(super) fn see_armed_leader(&mut self, view: &View, now: Time, out: &mut Vec<Output>) {
        let state = &self.state;
        if !matches!(state.flag, Flag::Held | Flag::Full | Flag::Ending) || state.may_write() {
            return;
        }
        // The first time only where the row is to be seen that says so: a node that loses its state later has to know that it had one.
        if view.members.version == Version::default() {
            return;
        }
        let Some(Some(holder)) = view.holder else { return };
        let (timeline, counter) = holder.pause;
        let leads = holder.role == Role::Leader && matches!(holder.flag, Flag::Active | Flag::Ending);
        if leads && (timeline, counter) >= (state.epoch.timeline, state.epoch.counter) {
            let op = if (timeline, counter) == (state.epoch.timeline, state.epoch.counter) {
                state.epoch.op
            } else {
                0
            };
            match self.command_lock {
                CommandLock::Taken => {}
                CommandLock::NotTried => {
                    self.wants_command_lock = true;
                    return;
                }
                CommandLock::Refused => return,
            }
            let armed = Some(Epoch { timeline, counter, op });
            self.tell(Event::Ask(0, Ask::Clear { armed, ended: None, locked: true }), now, out);
        }
    }
}
