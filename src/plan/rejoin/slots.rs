//! Replication slots of a rejoin: the one that the node needs on the primary, and those that are dropped.

use super::{Nodes, RejoinFacts, phase};
use crate::error::Exit;
use crate::facts::server::Slot;
use crate::facts::slots;
use crate::plan::parts::following::{create_slot, default_slot, drop_slot, drop_stale};
use crate::plan::parts::logical;
use crate::plan::register::endpoint;
use crate::plan::{OnFailure, Phase, Plan, RollbackStep, Step};

impl Nodes<'_> {
    /// Makes the node's slot on the primary, so that the primary keeps from now on what the node will need.
    pub(super) fn slot_phase(&self, plan: &mut Plan) {
        let to_make = |slot: &String| self.there.slot(slot).is_none_or(Slot::is_lost);
        let Some(slot) = self.slot().filter(to_make) else { return };
        let on = endpoint(self.primary);
        let make = create_slot("create_slot", &on, &slot);
        plan.phases.push(phase("reserve WAL on the primary", OnFailure::Stop, vec![make]));
        plan.rollback.push(RollbackStep {
            if_started: vec!["create_slot".into()],
            step: drop_slot("drop_new_slot", &on, &slot),
        });
    }

    /// Drops the slot that a promotion has created on the primary for this node, if it uses none.
    pub(super) fn drop_unused_slot(&self) -> Option<Step> {
        let slot = default_slot(&self.local.row);
        let unused = !self.options.use_slot && self.there.slot(&slot).is_some_and(|slot| !slot.active);
        let step = drop_slot("drop_unused_slot", &endpoint(self.primary), &slot);
        unused.then_some(Step { exit: Exit::Rejoin, ..step })
    }

    /// Drops failover slots that it has kept from when it was the primary: they would end the synchronization of slots here.
    pub(super) fn drop_kept_slots(&self) -> Vec<Step> {
        if self.facts.local.major < 17 || self.facts.loss.is_some() {
            // A rewind leaves no slots.
            return Vec::new();
        }
        let names = self.facts.local.logical_slots.iter().cloned();
        logical::drop_if_kept(self.name(), &self.options.on, self.primary, names, Exit::Rejoin)
    }

    /// Drops the slots that other nodes used while this one was their upstream.
    pub(super) fn drop_stale_slots(&self) -> Vec<Step> {
        if self.facts.loss.is_some() {
            // A rewind leaves no slots.
            return Vec::new();
        }
        self.drop(&stale_slots(self.facts))
    }

    fn drop(&self, slots: &[String]) -> Vec<Step> {
        let drop = |slot: &String| drop_stale(&self.options.on, self.name(), slot, Exit::Rejoin);
        slots.iter().map(drop).collect()
    }

    /// Does the same on a node that streams already, however it came back.
    pub(super) fn stale_slots_of_running(&self) -> Option<Phase> {
        let stale = slots::stale(&self.facts.cluster, self.facts.node_id, self.facts.primary_id);
        (!stale.is_empty()).then(|| {
            phase("drop replication slots that are no longer needed", OnFailure::Continue, self.drop(&stale))
        })
    }
}

/// Returns the slots on the local node that belong to nodes with another upstream.
pub(super) fn stale_slots(facts: &RejoinFacts) -> Vec<String> {
    let names = slots::of_others(&facts.cluster, facts.node_id, facts.primary_id);
    names.into_iter().filter(|slot| facts.local.slots.contains(slot)).collect()
}
