//! A candidate: by suspicion, by a note, or by request.

use super::Step;
use crate::event::{Action, Ask, Op, Refusal, Server, Word};
use crate::rules::Rule;
use crate::state::Candidacy;
use crate::time::Moment;
use crate::votes::{Fact, Node, Nodes};

impl<const N: usize> Step<'_, N> {
    /// Answers a question.
    pub(super) fn asked(&mut self, op: Op, ask: Ask) {
        let word = match ask {
            Ask::HandOver(to) => self.hand_over(op, to),
            Ask::Ready(from) => self.agree(from, op),
            Ask::Candidate if self.state.is_willing() => {
                self.stand(Some(op));
                Word::Noted
            }
            Ask::Candidate => Word::No(self.why_not_willing()),
            Ask::Off(nodes, moment) => {
                let is_known = self.state.candidacy.is_some_and(|candidacy| candidacy.op == Some(op));
                self.is_away(nodes, op, moment);
                if is_known { Word::Noted } else { Word::No(Refusal::Unknown) }
            }
            Ask::Aside(moment) => self.stand_aside(moment),
            Ask::Hold(None) => self.issue(op),
            Ask::Hold(Some(epoch)) => self.join(epoch),
            Ask::Full { epoch, version, issued } => self.complete(epoch, version, issued),
            Ask::Ending(epoch, locked) => self.end(epoch, locked),
            Ask::Clear { armed, ended, locked } => self.clear(armed, ended, locked),
            Ask::Raise => self.raise(op),
            Ask::Readmit(epoch) => self.readmitted(epoch),
            Ask::Member(change) => self.change_members(change),
        };
        self.actions.push(Action::Answer(op, word));
    }

    /// Begins a candidacy, or goes on with the present one for an operation that asks for it.
    pub(super) fn stand(&mut self, op: Option<Op>) {
        let now = self.now;
        let state = &mut self.state;
        if !state.is_willing() {
            return;
        }
        let candidacy = state.candidacy.get_or_insert(Candidacy { op: None, since: now });
        if op.is_some() && candidacy.op != op {
            *candidacy = Candidacy { op, since: now };
            state.away = Nodes::NONE;
            state.proof = None;
        }
    }

    /// Ends the candidacy, unless the promotion is requested already.
    pub(super) fn stand_down(&mut self) {
        if !self.state.may_write() && self.state.candidacy.is_some() {
            self.state.stand_down();
            self.actions.push(Action::Drop);
        }
    }

    /// Without a majority after a while, others get their turn: a leader that lives may need the votes that are held here. Who has asked for the
    /// candidacy is told.
    pub(super) fn give_up_in_time(&mut self) {
        let patience = self.params.silence + 2 * self.params.heartbeat;
        let state = &self.state;
        if let Some(candidacy) = state.candidacy
            && !state.has_majority(self.params, self.now)
            && self.now > candidacy.since.after(patience)
        {
            self.stand_down();
            if let Some(op) = candidacy.op {
                self.actions.push(Action::Answer(op, Word::No(Refusal::Voters)));
            }
        }
    }

    /// Requests the promotion if the time has come.
    pub(super) fn try_promotion(&mut self) {
        if !self.state.may_promote(self.params, self.now) {
            return;
        }
        // A daemon that took this vote has ended that session: a request that is delayed cannot be carried out.
        let backend = self.state.session(self.state.me).unwrap_or_default();
        self.state.requested = true;
        self.state.ready = None;
        self.state.stand_down();
        self.actions.push(Action::Promote(backend));
    }

    /// Takes note of nodes that are switched off or stand aside; the question quoted `moment`.
    pub(super) fn is_away(&mut self, nodes: Nodes, op: Op, moment: Moment) {
        let is_asked = self.state.candidacy.is_some_and(|candidacy| candidacy.op == Some(op));
        let state = &mut self.state;
        if !is_asked || moment >= state.moment {
            return;
        }
        if state.proof.is_some() && !state.could_frame(state.proof) {
            // Votes were lost since: all has to be proven again.
            state.away = Nodes::NONE;
            state.proof = None;
        }
        // What is known already establishes nothing new.
        if !state.away.has_all(nodes) {
            state.away = state.away.or(nodes);
            let from = state.proof.map_or(moment, |proof| proof.from.min(moment));
            state.proof = Some(Fact { from, to: state.moment });
        }
    }

    fn stand_aside(&mut self, moment: Moment) -> Word {
        let state = &mut self.state;
        if state.server != Server::Standby || state.requested {
            return Word::No(Refusal::NotStandby);
        }
        if state.votes_held() > 0 {
            return Word::No(Refusal::Busy);
        }
        // Else the other one promotes itself by this word, and this one by a note that it had agreed to.
        if self.params.keeps(Rule::AsideGivesUp) {
            state.ready = None;
            state.note = None;
        }
        Word::Aside(moment)
    }

    fn why_not_willing(&self) -> Refusal {
        match self.state.server {
            Server::Standby if !self.state.requested => Refusal::Barred,
            _ => Refusal::NotStandby,
        }
    }

    /// Agrees to take the role over. What was agreed before is given up.
    fn agree(&mut self, from: Node, op: Op) -> Word {
        if !self.state.is_willing() {
            return Word::No(self.why_not_willing());
        }
        if self.state.candidacy.is_some() {
            return Word::No(Refusal::Busy);
        }
        self.state.ready = Some((from, op));
        self.state.note = None;
        Word::Ready
    }

    /// A note counts only on a voter whose vote is held here: the leader takes notes before it releases the votes, and only the release is
    /// its last word.
    pub(super) fn note_seen(&mut self, voter: Node, to: Node, op: Op, moment: Moment) {
        let state = &mut self.state;
        let own = to == state.me && state.ready.is_some_and(|(_, ready)| ready == op);
        if (!own && self.params.keeps(Rule::OnlyOwnNotes)) || !state.is_willing() {
            return;
        }
        state.candidacy.get_or_insert(Candidacy { op: None, since: self.now });
        // Seen again later it is a later fact; but one that the votes can frame is not given up for it.
        if state.session(voter).is_some() && !state.could_frame(state.note) && moment < state.moment {
            state.note = Some(Fact { from: moment, to: state.moment });
        }
    }

    /// Gives up what it has agreed to, for good.
    pub(super) fn refuse(&mut self) {
        let Some((_, op)) = self.state.ready else { return };
        if self.state.may_write() {
            return;
        }
        if self.params.keeps(Rule::RefusesForGood) {
            self.state.ready = None;
            let asked = self.state.candidacy.is_some_and(|candidacy| candidacy.op.is_some());
            if self.state.note.is_some() && !asked {
                self.stand_down();
            }
            self.state.note = None;
        }
        self.actions.push(Action::Answer(op, Word::No(Refusal::Voters)));
    }
}
