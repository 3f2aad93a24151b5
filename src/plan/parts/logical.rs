//! Logical replication slots in a change of roles: which survive, what would block their subscribers afterwards, and which a former primary
//! must not keep. Pure.

use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::{ServerFacts, Slot};
use crate::facts::topology::SeenNode;
use crate::pg::endpoint::Endpoint;
use crate::pg::quote::quote_literal;
use crate::plan::parts::following::{default_slot, slot_of};
use crate::plan::register::endpoint;
use crate::plan::{Check, Op, Override, Step};

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

/// The same for the slots of a failed primary, as far as they were ever seen.
pub fn lost_as_seen(seen: &SeenNode, candidate: &ServerFacts) -> Vec<(String, String)> {
    let judged = seen.logical_slots.iter().filter_map(|name| {
        let known = seen.slots.iter().find(|slot| slot.name == *name);
        match candidate.slot(name) {
            Some(copy) => {
                Some((name.clone(), copy.is_no_copy(known.and_then(|slot| slot.plugin.as_deref()))?))
            }
            None => Some((name.clone(), "it has no copy".to_string())),
        }
    });
    judged.collect()
}

/// Warns of copies that are behind what the readers of the primary's slots had confirmed when they were last seen.
pub fn copies_behind(candidate: &NodeFacts, server: &ServerFacts, seen: &SeenNode) -> Option<Check> {
    let each = seen.slots.iter().filter_map(|slot| {
        let copy =
            server.slot(&slot.name).filter(|copy| copy.is_no_copy(slot.plugin.as_deref()).is_none())?;
        let (here, there) = (copy.confirmed_flush_lsn?, slot.confirmed_flush_lsn?);
        (here < there)
            .then(|| format!("\"{}\" is at {here}, but its subscribers had confirmed {there}", slot.name))
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| {
        Check::warning(
            "logical_slots",
            format!("copies of logical replication slots on node \"{}\" lag behind", candidate.row.node_name),
        )
        .node(candidate.row.node_id)
        .detail(format!("{}. Subscribers receive the changes in between again.", each.join("; ")))
        .hint("PostgreSQL subscriptions skip changes that they already have; make sure that other readers do, too.")
    })
}

/// Checks that no logical slot of the primary gets lost; `lost` are those that would.
pub fn slots_survive(candidate: &NodeFacts, lost: &[(String, String)], force: bool) -> Option<Check> {
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
                "Subscribers and other readers of these slots would have to be set up again. On PostgreSQL 17 and later a slot survives if \
                it was created with failover = true and the standby has sync_replication_slots = on; pg_replication_slots there shows \
                whether it is synchronized.",
            )
            .overridable_by(Override::Force, force)
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
            format!("subscribers of failover slots would receive nothing from node \"{node}\" as the primary"),
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
    let names = kept(server).map(|slot| slot.slot_name.clone());
    drop_if_kept(&former.row.node_name, &endpoint(former), primary, names, Exit::Query)
}

/// The same for slots of which only the names are known: what is no failover slot of its own stays, whatever it is.
pub fn drop_if_kept(
    name: &str,
    on: &Endpoint,
    primary: &NodeFacts,
    slots: impl Iterator<Item = String>,
    exit: Exit,
) -> Vec<Step> {
    let to = &primary.row.node_name;
    let step = |(index, slot): (usize, String)| {
        Step::new(
            format!("drop_kept_slot_{index}"),
            format!("drop failover slot \"{slot}\" that \"{name}\" has kept, if \"{to}\" has it"),
            Op::DropKeptSlot { on: on.clone(), primary: endpoint(primary), slot },
            DROP_S,
            exit,
        )
    };
    slots.enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::topology::SeenSlot;
    use crate::pg::lsn::Lsn;
    use crate::registry::{NodeRow, NodeType};

    fn slot(name: &str, plugin: &str, at: u64) -> Slot {
        Slot {
            slot_name: name.into(),
            slot_type: "logical".into(),
            plugin: Some(plugin.into()),
            confirmed_flush_lsn: Some(Lsn(at)),
            failover: true,
            synced: true,
            ..Slot::default()
        }
    }

    /// The slot of a primary that was seen, and what there is of it now.
    fn judged(copy: Slot, with_plugin: bool) -> (Vec<(String, String)>, Option<Check>) {
        let mut primary = ServerFacts::example(false, 1, 0x600);
        primary.slots = vec![Slot { synced: false, ..slot("cdc", "pgoutput", 0x500) }];
        let node = |id, kind, server| NodeFacts { row: NodeRow::example(id, kind), server: Ok(server) };
        let cluster = crate::facts::cluster::ClusterFacts {
            nodes: vec![node(1, NodeType::Primary, primary)],
            ..crate::facts::cluster::ClusterFacts::default()
        };
        let seen = crate::facts::topology::merge(None, &cluster, jiff::Timestamp::UNIX_EPOCH);
        let mut seen = seen.nodes[0].clone();
        assert_eq!(
            seen.slots,
            [SeenSlot {
                name: "cdc".into(),
                plugin: Some("pgoutput".into()),
                confirmed_flush_lsn: Some(Lsn(0x500))
            }]
        );
        if !with_plugin {
            // As earlier versions have written it.
            seen.slots.clear();
        }
        let server =
            ServerFacts { slots: vec![copy], version_num: 170_000, ..ServerFacts::example(true, 1, 0x500) };
        let candidate = node(2, NodeType::Standby, server.clone());
        (lost_as_seen(&seen, &server), copies_behind(&candidate, &server, &seen))
    }

    #[test]
    fn a_copy_of_another_plugin_is_none_and_one_that_is_behind_is_told() {
        let (lost, behind) = judged(slot("cdc", "pgoutput", 0x500), true);
        assert!(lost.is_empty() && behind.is_none());
        let (lost, behind) = judged(slot("cdc", "test_decoding", 0x400), true);
        assert!(lost[0].1.contains("uses plugin \"test_decoding\", not \"pgoutput\""), "{lost:?}");
        assert!(behind.is_none());
        assert!(judged(slot("cdc", "test_decoding", 0x400), false).0.is_empty());
        let (lost, behind) = judged(slot("cdc", "pgoutput", 0x400), true);
        assert!(lost.is_empty());
        let detail = behind.unwrap().text.detail.unwrap();
        assert!(detail.contains("\"cdc\" is at 0/400, but its subscribers had confirmed 0/500"), "{detail}");
        assert_eq!(judged(slot("other", "pgoutput", 0x500), true).0[0].1, "it has no copy");
    }
}
