//! What others ask, and what this daemon shows of itself.

use super::{Answered, CommandLock, Driver, Output, SHOWN};
use crate::event::{Ask, Event, Flag, Op, Refusal, Word};
use crate::mailbox::{Request, Role, Saying, Status};
use crate::state::Stage;
use crate::time::Time;
use crate::votes::Node;

impl<const N: usize> Driver<N> {
    pub(super) fn read_requests(&mut self, voter: Node, now: Time, out: &mut Vec<Output>) {
        let me = self.state.me;
        // On the own server, or anywhere else while that does not answer.
        if voter != me && self.fresh(me, now).is_some() {
            return;
        }
        let Some(view) = self.view(voter) else { return };
        let requests: Vec<Request> = view
            .requests
            .iter()
            .filter_map(|line| {
                Request::parse(line, |id| self.place(id), self.command_lock == CommandLock::Taken)
            })
            .filter(|request| request.to == self.id(me))
            .collect();
        let is_shown = |answered: &Answered| {
            requests
                .iter()
                .any(|request| (request.op, unlocked(request.ask)) == (answered.op, unlocked(answered.ask)))
        };
        if self.answered.as_ref().is_some_and(|answered| answered.until <= now || !is_shown(answered)) {
            self.answered = None;
        }
        // One at a time: who comes later waits until the one before has read its answer.
        let next = requests.first().filter(|_| self.answered.is_none());
        if let Some(request) = next.filter(|request| request.incarnation == self.incarnation) {
            let ends_pause = matches!(request.ask, Ask::Ending(..) | Ask::Clear { .. });
            if ends_pause && self.command_lock == CommandLock::NotTried {
                self.wants_command_lock = true;
                return;
            }
            self.answer(request.op, request.ask, now, out);
        }
    }

    pub(super) fn answer(&mut self, op: Op, ask: Ask, now: Time, out: &mut Vec<Output>) {
        let word = Word::No(Refusal::Unknown);
        self.answered = Some(Answered { op, ask, word, until: now.after(SHOWN) });
        self.tell(Event::Ask(op, ask), now, out);
    }

    /// The line that this daemon shows on a voter's server.
    pub(super) fn line(&self, voter: Node) -> String {
        let _ = voter;
        let role = match () {
            () if self.state.writes() => Role::Leader,
            () if self.state.candidacy.is_some() => Role::Candidate,
            () if self.state.is_willing() => Role::Follower,
            () => Role::Barred,
        };
        let epoch = self.state.epoch;
        let status = Status {
            node: self.id(self.state.me),
            incarnation: self.incarnation,
            role,
            timeline: self.state.timeline,
            pause: (epoch.timeline, epoch.counter),
            flag: self.state.flag,
            says: self.says(),
        };
        status.line().unwrap_or_default()
    }

    pub(super) fn says(&self) -> Option<(Op, Saying)> {
        if let Some(present) = self.state.hand_over {
            let to = self.id(present.to);
            return match present.stage {
                Stage::Asked => Some((present.op, Saying::Wants(to))),
                Stage::Stopping | Stage::Stopped | Stage::Signal | Stage::Scan => {
                    Some((present.op, Saying::Going))
                }
                Stage::Notes | Stage::Committed { .. } => Some((present.op, Saying::Note(to))),
                Stage::Back => Some((present.op, Saying::No(Refusal::Voters))),
            };
        }
        // What is told to a candidate is acknowledged; else it shows that it has the votes, for as long as it has.
        let is_told = self.answered.is_some_and(|answered| matches!(answered.ask, Ask::Off(..)));
        if let Some(op) = self.state.candidacy.and_then(|candidacy| candidacy.op)
            && self.state.votes_held() >= self.state.majority()
            && !is_told
        {
            return Some((op, Saying::Votes(self.state.moment)));
        }
        if let Some((_, op)) = self.state.ready {
            let end = self.view(self.state.me).map_or(0, |view| view.end);
            return Some((op, Saying::Ready(end)));
        }
        let Some(answered) = &self.answered else {
            // The command that ends a pause has to quote the operation that began it.
            let saying = match self.state.flag {
                Flag::Held => Saying::Held,
                Flag::Full => Saying::Full,
                Flag::Ending => Saying::Ending,
                Flag::Active | Flag::New => return None,
            };
            return Some((self.state.epoch.op, saying));
        };
        let saying = match answered.word {
            Word::Going => Saying::Going,
            Word::Ready => Saying::Ready(self.view(self.state.me).map_or(0, |view| view.end)),
            Word::Votes(moment) => Saying::Votes(moment),
            Word::Aside(moment) => Saying::Aside(moment),
            Word::Held(_) => Saying::Held,
            Word::Full(_) => Saying::Full,
            Word::Ending(_) => Saying::Ending,
            Word::Armed(_) => Saying::Armed,
            Word::Cleared => Saying::Cleared,
            Word::Raised(_) => Saying::Raised,
            Word::Noted => Saying::Noted,
            Word::No(refusal) => Saying::No(refusal),
        };
        Some((answered.op, saying))
    }
}

/// The same question, whoever has the lock of commands.
const fn unlocked(ask: Ask) -> Ask {
    match ask {
        Ask::Ending(epoch, _) => Ask::Ending(epoch, false),
        Ask::Clear { armed, ended, .. } => Ask::Clear { armed, ended, locked: false },
        other => other,
    }
}
