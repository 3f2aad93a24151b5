//! Slots that a node has kept from the time when others streamed from it. Pure.

use std::collections::BTreeSet;

use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::streams_by;
use crate::registry::{NodeRow, node};

/// Returns the names of slots that are not needed on a node, whether or not it has them: those of registered nodes with another upstream.
/// `upstream_id` is the node that it follows, or is to follow.
///
/// Slots that belong to no registered node are left alone.
pub fn of_others(cluster: &ClusterFacts, node_id: i32, upstream_id: i32) -> BTreeSet<String> {
    let here = cluster.node(node_id).map(|node| node.row.conninfo.as_str()).unwrap_or_default();
    let follows_us = |node: &&NodeFacts| {
        let is_upstream = node.row.node_id == upstream_id;
        let recorded = node.row.upstream_node_id == Some(node_id) && !is_upstream;
        recorded || node.facts().is_some_and(|server| server.in_recovery && streams_by(server, here))
    };
    let (ours, others): (Vec<&NodeFacts>, Vec<&NodeFacts>) = cluster.nodes.iter().partition(follows_us);
    let needed: BTreeSet<String> = ours.iter().flat_map(|node| slot_names(&node.row)).collect();
    let others: BTreeSet<String> = others.iter().flat_map(|node| slot_names(&node.row)).collect();
    others.difference(&needed).cloned().collect()
}

/// Returns the physical slots on a running standby that it has kept from its time as an upstream, and that are neither in use nor needed.
pub fn stale(cluster: &ClusterFacts, node_id: i32, upstream_id: i32) -> Vec<String> {
    let Some(server) = cluster.node(node_id).and_then(NodeFacts::facts).filter(|server| server.in_recovery)
    else {
        return Vec::new();
    };
    let is_idle = |name: &String| {
        server.slot(name).is_some_and(|slot| slot.slot_type == "physical" && !slot.active && !slot.temporary)
    };
    of_others(cluster, node_id, upstream_id).into_iter().filter(is_idle).collect()
}

/// The slot that a node is recorded with, and the one that it has by default.
fn slot_names(row: &NodeRow) -> impl Iterator<Item = String> {
    let recorded = row.slot_name.clone().filter(|name| !name.is_empty());
    [Some(node::slot_name(row.node_id)), recorded].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::server::{Receiver, ServerFacts, Slot};
    use crate::registry::NodeType;

    fn slot(name: &str) -> Slot {
        Slot {
            slot_name: name.into(),
            slot_type: "physical".into(),
            active: false,
            restart_lsn: None,
            confirmed_flush_lsn: None,
            wal_status: None,
            retained_bytes: None,
            invalidation_reason: None,
            plugin: None,
            temporary: false,
            failover: false,
            synced: false,
        }
    }

    fn standby(id: i32, upstream: i32) -> NodeFacts {
        let row = NodeRow { upstream_node_id: Some(upstream), ..NodeRow::example(id, NodeType::Standby) };
        let mut server = ServerFacts::example(true, 2, 60_000);
        server.receiver = Some(Receiver {
            status: Some("streaming".into()),
            sender_host: Some(format!("h{upstream}")),
            sender_port: Some(5432),
            slot_name: None,
            message_age_s: None,
        });
        NodeFacts { row, server: Ok(server) }
    }

    /// Node 1 was the primary and follows node 2 now, as node 3 does; node 4 follows node 1.
    fn cluster() -> ClusterFacts {
        let row = NodeRow { upstream_node_id: None, ..NodeRow::example(2, NodeType::Primary) };
        let primary = NodeFacts { row, server: Ok(ServerFacts::example(false, 2, 60_000)) };
        let mut one = standby(1, 2);
        one.server.as_mut().unwrap().slots =
            ["repmgr_slot_2", "repmgr_slot_3", "repmgr_slot_4", "repmgr_slot_9", "barman"].map(slot).into();
        ClusterFacts { nodes: vec![one, primary, standby(3, 2), standby(4, 1)], ..ClusterFacts::default() }
    }

    #[test]
    fn what_others_left_goes_and_what_is_needed_or_somebody_elses_stays() {
        assert_eq!(stale(&cluster(), 1, 2), ["repmgr_slot_2", "repmgr_slot_3"]);
        let with = |change: &dyn Fn(&mut ClusterFacts)| {
            let mut cluster = cluster();
            change(&mut cluster);
            stale(&cluster, 1, 2)
        };
        let own = |cluster: &mut ClusterFacts, change: &dyn Fn(&mut Slot)| {
            cluster.nodes[0].server.as_mut().unwrap().slots.iter_mut().for_each(change);
        };
        assert!(with(&|cluster| own(cluster, &|slot| slot.active = true)).is_empty());
        assert!(with(&|cluster| own(cluster, &|slot| slot.slot_type = "logical".into())).is_empty());
        assert!(with(&|cluster| cluster.nodes[0].server.as_mut().unwrap().in_recovery = false).is_empty());
        // It is recorded as our upstream's standby, and streams from us: it was repointed here.
        let led_here = with(&|cluster| {
            let receiver = cluster.nodes[2].server.as_mut().unwrap().receiver.as_mut().unwrap();
            receiver.sender_host = Some("h1".into());
        });
        assert_eq!(led_here, ["repmgr_slot_2"]);
        // Its record leads to us, and it is down.
        let waits = with(&|cluster| cluster.nodes[2].row.upstream_node_id = Some(1));
        assert_eq!(waits, ["repmgr_slot_2"]);
        // Under a name that a follower of ours has, too.
        let shared = with(&|cluster| cluster.nodes[3].row.slot_name = Some("repmgr_slot_3".into()));
        assert_eq!(shared, ["repmgr_slot_2"]);
    }

    #[test]
    fn the_slot_of_the_own_upstream_is_of_no_use_whatever_its_record_says() {
        let mut cluster = cluster();
        cluster.nodes[1].row.upstream_node_id = Some(1);
        assert_eq!(stale(&cluster, 1, 2), ["repmgr_slot_2", "repmgr_slot_3"]);
    }
}
