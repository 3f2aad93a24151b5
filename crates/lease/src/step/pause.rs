//! Pauses, their end, the first start (which is the end of a pause), and the readmission of a node that has lost its state.

use super::Step;
use super::membership::FEWEST;
use crate::event::{Action, Epoch, Flag, Op, Refusal, Server, Word};
use crate::members::Version;
use crate::rules::Rule;

/// The operation of a pause of which only the number is known.
const UNKNOWN: Op = 0;

impl<const N: usize> Step<'_, N> {
    fn set_flag(&mut self, flag: Flag, epoch: Epoch) {
        if (self.state.flag, self.state.epoch) != (flag, epoch) {
            (self.state.flag, self.state.epoch) = (flag, epoch);
            self.actions.push(Action::WriteFlag(flag, epoch));
        }
    }

    /// A promotion is on its way: what comes of it is not known to others yet.
    fn is_promoting(&self) -> bool {
        let state = &self.state;
        (state.requested || state.server == Server::Promoting)
            && self.params.keeps(Rule::NoPauseWhilePromoting)
    }

    /// The leader issues a pause.
    pub(super) fn issue(&mut self, op: Op) -> Word {
        let state = &self.state;
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        if !state.leads(self.now) {
            return Word::No(Refusal::NotLeader);
        }
        if state.hand_over.is_some() || self.is_promoting() {
            return Word::No(Refusal::Busy);
        }
        match state.flag {
            Flag::Full => return Word::No(Refusal::Epoch),
            Flag::New => return Word::No(Refusal::New),
            Flag::Active | Flag::Held | Flag::Ending => {}
        }
        // Asked twice by the same.
        if state.flag == Flag::Held && state.epoch.op == op {
            return Word::Held(state.epoch);
        }
        let epoch = self.next_epoch(op);
        self.set_flag(Flag::Held, epoch);
        Word::Held(epoch)
    }

    /// The epoch after all that this leader knows; on its timeline it is the only one that issues any.
    fn next_epoch(&self, op: Op) -> Epoch {
        let (last, timeline) = (self.state.epoch, self.state.timeline);
        if timeline > last.timeline {
            Epoch { timeline, counter: 1, op }
        } else {
            Epoch { timeline: last.timeline, counter: last.counter + 1, op }
        }
    }

    /// Another node joins the pause.
    pub(super) fn join(&mut self, epoch: Epoch) -> Word {
        let state = &self.state;
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        if state.flag == Flag::Held && state.epoch == epoch {
            return Word::Held(epoch);
        }
        let any_issuer = !self.params.keeps(Rule::OnlyTheIssuer);
        let no_epochs = !self.params.keeps(Rule::EpochsGrow);
        // Of what it leads it accepts only its own pauses.
        if state.may_write() && !((any_issuer || no_epochs) && state.leads(self.now)) {
            return Word::No(Refusal::Others);
        }
        if !(epoch.is_newer_than(state.epoch) || (no_epochs && state.flag == Flag::Active)) {
            return Word::No(Refusal::Epoch);
        }
        match state.flag {
            Flag::Full => return Word::No(Refusal::Epoch),
            Flag::New => return Word::No(Refusal::New),
            Flag::Active | Flag::Held | Flag::Ending => {}
        }
        if self.is_promoting() {
            return Word::No(Refusal::Busy);
        }
        if self.params.keeps(Rule::HoldEndsCandidacy) {
            self.state.ready = None;
            self.stand_down();
        }
        self.set_flag(Flag::Held, epoch);
        Word::Held(epoch)
    }

    /// The pause is complete: this node does not fence itself any more.
    ///
    /// Its issuer is told so for a copy of the members that is committed: a node that only an older copy names cannot find a majority without
    /// meeting the newer one.
    pub(super) fn complete(&mut self, epoch: Epoch, version: Version, issued: bool) -> Word {
        let state = &self.state;
        if state.flag == Flag::Full && state.epoch == epoch {
            return Word::Full(epoch);
        }
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        if (state.flag, state.epoch) != (Flag::Held, epoch) {
            return Word::No(Refusal::Epoch);
        }
        if state.hand_over.is_some() || self.is_promoting() {
            return Word::No(Refusal::Busy);
        }
        let all = version == state.members.version && state.members_are_committed();
        if state.may_write() {
            if !all {
                return Word::No(Refusal::Others);
            }
            if !state.leads(self.now) {
                return Word::No(Refusal::NotLeader);
            }
        } else if !issued {
            return Word::No(Refusal::Others);
        }
        // The flag is on disk before the fencer is disarmed.
        self.set_flag(Flag::Full, epoch);
        self.state.deadline = None;
        self.state.ready = None;
        self.state.stand_down();
        if !self.state.may_write() {
            self.actions.push(Action::Drop);
        }
        Word::Full(epoch)
    }

    /// The pause ends: a leader arms itself first; others promise to take no further part in it.
    pub(super) fn end(&mut self, epoch: Epoch, locked: bool) -> Word {
        let state = &self.state;
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        let is_newer = epoch.is_newer_than(state.epoch);
        // A node that was cleared by the sight of the leader knows the number of the pause only.
        let is_same = Epoch { op: state.epoch.op, ..epoch } == state.epoch;
        if !is_newer && !(is_same && (epoch.op == state.epoch.op || state.epoch.op == UNKNOWN)) {
            return Word::No(Refusal::Epoch);
        }
        if state.flag == Flag::New {
            return Word::No(Refusal::New);
        }
        if !locked && self.params.keeps(Rule::CommandsFirst) && state.flag != Flag::Active {
            return Word::No(Refusal::Command);
        }
        if state.may_write() { self.end_as_leader(epoch, is_newer) } else { self.end_as_follower(epoch) }
    }

    fn end_as_leader(&mut self, epoch: Epoch, is_newer: bool) -> Word {
        let state = &self.state;
        if state.flag != Flag::Full {
            if !state.leads(self.now) {
                return Word::No(Refusal::NotLeader);
            }
            let flag = if state.flag == Flag::Active { Flag::Active } else { Flag::Ending };
            self.set_flag(flag, epoch);
            return Word::Armed(epoch);
        }
        if !state.writes() {
            // It is down, and nobody would fence it if it were started by hand.
            self.actions.push(Action::BeStandby);
            self.state.server = Server::Down { signal: true };
            return self.end_as_follower(epoch);
        }
        // What an operator has reset was issued by no leader, and nothing of it can arrive late.
        if is_newer && epoch.op != UNKNOWN {
            return Word::No(Refusal::Epoch);
        }
        if state.members.voters.count() < FEWEST {
            return Word::No(Refusal::Voters);
        }
        let proven = state.proven_until(self.params, self.now);
        if proven.is_none() || !state.has_majority(self.params, self.now) {
            return Word::No(Refusal::Voters);
        }
        // Armed before the flag: a daemon that is killed in between comes up paused, and is disarmed again.
        self.state.deadline = proven;
        self.state.unbound = false;
        self.set_flag(Flag::Ending, epoch);
        Word::Armed(epoch)
    }

    fn end_as_follower(&mut self, epoch: Epoch) -> Word {
        let flag = if self.state.flag == Flag::Active { Flag::Active } else { Flag::Ending };
        self.set_flag(flag, epoch);
        Word::Ending(epoch)
    }

    /// The pause is over: a leader is armed, or everybody has left it.
    pub(super) fn clear(&mut self, armed: Option<Epoch>, ended: Option<Epoch>, locked: bool) -> Word {
        let state = &self.state;
        match state.flag {
            Flag::Active => return Word::Cleared,
            Flag::New => return Word::No(Refusal::New),
            Flag::Held | Flag::Full | Flag::Ending => {}
        }
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        let no_epochs = !self.params.keeps(Rule::EpochsGrow);
        let armed = armed.filter(|armed| no_epochs || !state.epoch.is_newer_than(*armed));
        let by_all = ended == Some(state.epoch);
        if armed.is_none() && !by_all && self.params.keeps(Rule::ClearedByTheArmed) {
            return Word::No(Refusal::Others);
        }
        let leads = state.writes() || state.leads(self.now);
        if leads && state.flag != Flag::Ending {
            return Word::No(Refusal::NotLeader);
        }
        if !leads && !locked && self.params.keeps(Rule::CommandsFirst) {
            return Word::No(Refusal::Command);
        }
        if !leads && state.server == (Server::Down { signal: false }) {
            self.actions.push(Action::BeStandby);
            self.state.server = Server::Down { signal: true };
        }
        let epoch = match armed {
            Some(armed) if armed.is_newer_than(self.state.epoch) => armed,
            _ => self.state.epoch,
        };
        self.set_flag(Flag::Active, epoch);
        Word::Cleared
    }

    /// The armed leader raises its epoch above all others: on the highest timeline nobody else has issued any.
    pub(super) fn raise(&mut self, op: Op) -> Word {
        let state = &self.state;
        if !state.leads(self.now) || !state.writes() || state.requested {
            return Word::No(Refusal::NotLeader);
        }
        if !matches!(state.flag, Flag::Active | Flag::Ending) {
            return Word::No(Refusal::Barred);
        }
        if self.params.keeps(Rule::ReadmittedAboveAll) {
            let epoch = self.next_epoch(op);
            self.set_flag(self.state.flag, epoch);
        }
        Word::Raised(self.state.epoch)
    }

    /// A node that has lost its state is readmitted by the leader.
    pub(super) fn readmitted(&mut self, epoch: Epoch) -> Word {
        let state = &self.state;
        if state.flag != Flag::New {
            return Word::No(Refusal::Epoch);
        }
        if state.writes() {
            return Word::No(Refusal::NotStandby);
        }
        if state.server == (Server::Down { signal: false }) {
            self.actions.push(Action::BeStandby);
            self.state.server = Server::Down { signal: true };
            self.state.lapsed = false;
        }
        self.set_flag(Flag::Active, epoch);
        Word::Cleared
    }
}
