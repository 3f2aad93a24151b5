//! The members: the leader's daemon is the only one that writes them.

use super::Step;
use crate::event::{Action, Flag, Refusal, Server, Word};
use crate::members::{Change, Members, Version};
use crate::votes::{Node, Nodes, Slot};

/// How many voters there are at least where there is a lease: two of three can lose one.
pub(super) const FEWEST: usize = 3;

impl<const N: usize> Step<'_, N> {
    /// Goes by a copy of the members if it is newer than the own one.
    pub(super) fn members_may_be(&mut self, members: Members) {
        let state = &mut self.state;
        let newest = state.members.newest(members, self.params);
        if newest == state.members {
            return;
        }
        state.members = newest;
        state.shown = Nodes::NONE;
        if !newest.data.has(state.me) {
            // It is no member any more: it takes part in nothing.
            state.ready = None;
            state.stand_down();
        }
        self.forget_strangers();
    }

    /// A voter has a copy of the members.
    pub(super) fn shown(&mut self, voter: Node, version: Version) {
        if version == self.state.members.version && self.state.members.voters.has(voter) {
            self.state.shown = self.state.shown.with(voter);
        }
    }

    /// A leader on a new timeline writes the members under its own name: only then may it change them.
    pub(super) fn renew_members(&mut self) {
        let state = &self.state;
        let leads = state.server == Server::Primary && state.leads(self.now);
        // Before the first leader there is no row, whose being there says that there was one.
        let is_known = state.members.version != Version::default();
        let may = leads || (is_known && state.is_paused_primary(self.params, self.now));
        if let Some(own) = state.members.renewed(state.timeline).filter(|_| may) {
            self.actions.push(Action::WriteMembers(own));
        }
    }

    /// Before the first leader the members are those that are registered.
    pub(super) fn registered(&mut self, data: Nodes, voters: Nodes) {
        let state = &mut self.state;
        let is_unknown = state.members.version == Version::default() && state.flag == Flag::Full;
        if is_unknown && (state.members.data, state.members.voters) != (data, voters) {
            (state.members.data, state.members.voters) = (data, voters);
            state.shown = Nodes::NONE;
            self.forget_strangers();
        }
    }

    /// Forgets the votes of those that do not vote any more.
    fn forget_strangers(&mut self) {
        let voters = self.state.members.voters;
        for (node, slot) in (0..).zip(&mut self.state.slots) {
            if !voters.has(node) {
                *slot = Slot::default();
            }
        }
    }

    /// Changes the members, by one node.
    pub(super) fn change_members(&mut self, change: Change) -> Word {
        let state = &self.state;
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        let is_paused = state.is_paused_primary(self.params, self.now);
        if !is_paused && (state.server != Server::Primary || !state.leads(self.now)) {
            return Word::No(Refusal::NotLeader);
        }
        if !is_paused && state.flag != Flag::Active {
            return Word::No(Refusal::Barred);
        }
        if state.hand_over.is_some() {
            return Word::No(Refusal::Busy);
        }
        // Of a node that was reset, nobody is left who could go by the set before.
        let shown = if is_paused && state.unbound { state.members.voters } else { state.shown };
        match state.members.changed(self.params, change, (state.me, state.timeline), shown) {
            // With two, the loss of either one would stop the primary.
            Ok(members) if !is_paused && members.voters.count() < FEWEST => Word::No(Refusal::Voters),
            Ok(members) => {
                self.actions.push(Action::WriteMembers(members));
                Word::Going
            }
            Err(refusal) => Word::No(refusal),
        }
    }
}
