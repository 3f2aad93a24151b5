//! The members: the leader's daemon is the only one that writes them.

use super::Step;
use crate::event::{Action, Flag, Refusal, Server, Word};
use crate::members::{Change, Members, Version};
use crate::votes::{Node, Nodes, Slot};

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
        for (node, slot) in (0..).zip(&mut state.slots) {
            if !newest.voters.has(node) {
                *slot = Slot::default();
            }
        }
        if !newest.data.has(state.me) {
            // It is no member any more: it takes part in nothing.
            state.ready = None;
            state.stand_down();
        }
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
        if let Some(own) = state.members.renewed(state.timeline).filter(|_| leads) {
            self.actions.push(Action::WriteMembers(own));
        }
    }

    /// Changes the members, by one node.
    pub(super) fn change_members(&mut self, change: Change) -> Word {
        let state = &self.state;
        if state.lapsed {
            return Word::No(Refusal::Lapsed);
        }
        if state.server != Server::Primary || !state.leads(self.now) {
            return Word::No(Refusal::NotLeader);
        }
        if state.flag != Flag::Active {
            return Word::No(Refusal::Barred);
        }
        if state.hand_over.is_some() {
            return Word::No(Refusal::Busy);
        }
        match state.members.changed(self.params, change, (state.me, state.timeline), state.shown) {
            Ok(members) => {
                self.actions.push(Action::WriteMembers(members));
                Word::Going
            }
            Err(refusal) => Word::No(refusal),
        }
    }
}
