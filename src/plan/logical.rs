//! Logical replication slots in a change of roles: what of them survives, what would hold their readers back afterwards, and what a former
//! primary must not keep. Pure.

use crate::facts::cluster::NodeFacts;
use crate::facts::server::{ServerFacts, Slot};
use crate::plan::register::endpoint;
use crate::plan::upstream::{default_slot, slot_of};
use crate::plan::{Check, Op, Step, Waiver};
use crate::{error::Exit, pg::quote::quote_literal};

/// Seconds for a slot to be dropped. A part of it is for its readers to come to the new primary: until then the slot there may be behind.
const DROP_S: u32 = 20;

/// Returns the logical slots of a primary that would not survive on a standby, with the reason.
pub fn lost(old: &ServerFacts, candidate: &ServerFacts) -> Vec<(String, String)> {
    // What is of no use now cannot get lost.
    let slots = old.slots.iter().filter(|slot| slot.is_usable_logical());
    let judged = slots.filter_map(|slot| {
        let why = match candidate.slot(&slot.slot_name) {
            Some(copy) => copy.is_no_copy(slot.plugin.as_deref())?,
            None if candidate.version_num >= 170_000 && !slot.failover => {
                "it has no copy, as it is not a failover slot".to_string()
            }
            None => "it has no copy".to_string(),
        };
        Some((slot.slot_name.clone(), why))
    });
    judged.collect()
}

/// The same for slots of which only the names were ever seen.
pub fn lost_by_name<'a>(
    names: impl Iterator<Item = &'a String>,
    candidate: &ServerFacts,
) -> Vec<(String, String)> {
    let judged = names.filter_map(|name| match candidate.slot(name) {
        Some(copy) => Some((name.clone(), copy.is_no_copy(None)?)),
        None => Some((name.clone(), "it has no copy".to_string())),
    });
    judged.collect()
}

/// Checks that no logical slot of the primary gets lost; `lost` are those that would.
pub fn survive(candidate: &NodeFacts, lost: &[(String, String)], force: bool) -> Option<Check> {
    let each: Vec<String> = lost.iter().map(|(name, why)| format!("\"{name}\" ({why})")).collect();
    (!lost.is_empty()).then(|| {
        let message = format!(
            "node \"{}\" does not have all logical replication slots of the primary",
            candidate.row.node_name
        );
        Check::fail("logical_slots", message)
            .node(candidate.row.node_id)
            .detail(format!("After the promotion these cannot be used: {}.", each.join(", ")))
            .hint(
                "Subscribers and other readers of these slots would have to be set up again. On PostgreSQL 17 and later a slot survives if it was \
                 made with failover = true and the standby has sync_replication_slots = on; pg_replication_slots there shows whether it is \
                 synchronized.",
            )
            .waivable(Waiver::Force, force)
    })
}

/// Warns of slots that `synchronized_standby_slots` of the new primary names and that it would not have: it sends nothing to the readers of
/// failover slots as long as one is missing or not in use. `following` are the nodes that will stream from it.
pub fn held_back<'a>(
    candidate: &NodeFacts,
    server: &ServerFacts,
    following: impl Iterator<Item = &'a NodeFacts>,
) -> Option<Check> {
    let coming: Vec<String> =
        following.map(|node| slot_of(&node.row).unwrap_or_else(|| default_slot(&node.row))).collect();
    let (there, missing): (Vec<&String>, Vec<&String>) =
        server.synchronized_standby_slots.iter().partition(|name| coming.contains(name));
    (!missing.is_empty()).then(|| {
        let node = &candidate.row.node_name;
        let named: Vec<String> = missing.iter().map(|name| format!("\"{name}\"")).collect();
        let left: Vec<&str> = there.into_iter().map(String::as_str).collect();
        Check::warning(
            "synchronized_standby_slots",
            format!("readers of failover slots would get nothing from node \"{node}\" as the primary"),
        )
        .node(candidate.row.node_id)
        .detail(format!(
            "Its synchronized_standby_slots names {}, which no standby will use there.",
            named.join(", ")
        ))
        .hint(format!(
            "On node \"{node}\" run: ALTER SYSTEM SET synchronized_standby_slots = {}; SELECT pg_reload_conf();",
            quote_literal(&left.join(", "))
        ))
    })
}

/// Returns the failover slots that a former primary has kept of its own, and that would end the synchronization of slots there.
pub fn kept(former: &ServerFacts) -> impl Iterator<Item = &Slot> {
    let kept = former.slots.iter().filter(|slot| slot.slot_type == "logical" && slot.failover);
    kept.filter(|slot| !slot.synced && !slot.temporary)
}

/// Drops them where the new primary has them.
pub fn drop_kept(former: &NodeFacts, server: &ServerFacts, primary: &NodeFacts) -> Vec<Step> {
    let (from, to) = (&former.row.node_name, &primary.row.node_name);
    let step = |(index, slot): (usize, &Slot)| {
        Step::new(
            format!("drop_kept_slot_{index}"),
            format!("drop failover slot \"{}\" that \"{from}\" has kept, if \"{to}\" has it", slot.slot_name),
            Op::DropKeptSlot {
                on: endpoint(former),
                primary: endpoint(primary),
                slot: slot.slot_name.clone(),
            },
            DROP_S,
            Exit::Query,
        )
    };
    kept(server).enumerate().map(step).collect()
}
