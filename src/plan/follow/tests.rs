//! Tests of `follow`.

use super::*;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::facts::server::Slot;
use crate::pg::lsn::Lsn;
use crate::plan::parts::announce::OtherOperations;
use crate::registry::NodeRow;
use crate::registry::NodeType;

/// Node 1 the primary, from which nodes 2 and 3 stream; node 3 is to follow node 2.
fn facts() -> FollowFacts {
    let standby =
        |id: i32| ServerFacts { started_at: id.to_string(), ..ServerFacts::example(true, 1, 0x500) };
    let mut primary = ServerFacts::example(false, 1, 0x500);
    primary.slots.push(Slot {
        slot_name: "repmgr_slot_3".into(),
        slot_type: "physical".into(),
        active: true,
        restart_lsn: None,
        wal_status: None,
        retained_bytes: None,
        invalidation_reason: None,
        ..Slot::default()
    });
    let nodes = vec![
        NodeFacts { row: NodeRow::example(1, NodeType::Primary), server: Ok(primary) },
        NodeFacts { row: NodeRow::example(2, NodeType::Standby), server: Ok(standby(2)) },
        NodeFacts { row: NodeRow::example(3, NodeType::Standby), server: Ok(standby(3)) },
    ];
    FollowFacts {
        others: OtherOperations::default(),
        cluster: ClusterFacts { nodes, ..ClusterFacts::default() },
        role: None,
        primary: None,
        node_id: 3,
        target_id: 2,
        places: Vec::new(),
        login: Ok(()),
        data_directory: "/data".into(),
        postgres: "/bin/postgres".into(),
        kept: "/state/kept/x".into(),
        use_slot: true,
        timeout_s: 60,
    }
}

#[test]
fn the_rollback_creates_the_old_slot_and_the_old_record_again() {
    let plan = super::plan(&facts(), false);
    assert_eq!(plan.defect(), None);
    let ids: Vec<&str> = plan.steps().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "create_slot",
            "keep_settings",
            "follow",
            "reload",
            "wait_until_it_streams",
            "record",
            "drop_old_slot_1"
        ]
    );
    let rollback: Vec<(&str, &str)> = plan
        .rollback
        .iter()
        .map(|rollback| (rollback.if_started.first().unwrap().as_str(), rollback.step.id.as_str()))
        .collect();
    assert_eq!(
        rollback,
        [
            ("drop_old_slot_1", "make_old_slot_1"),
            ("follow", "put_settings_back"),
            ("follow", "reload_back"),
            ("record", "record_back"),
            ("create_slot", "wait_until_slot_is_free"),
            ("create_slot", "drop_new_slot"),
        ]
    );
    // Also where it did not stream before: then most of all there is a reason to follow another one.
    let mut silent = super::tests::facts();
    silent.cluster.nodes[2].server.as_mut().unwrap().receiver = None;
    assert_eq!(super::plan(&silent, false).rollback.len(), 6);
}

#[test]
fn a_primary_that_is_to_follow_is_refused_for_one_reason() {
    let refused = |target_id: i32, change: &dyn Fn(&mut FollowFacts)| {
        let mut facts = FollowFacts { node_id: 1, target_id, ..facts() };
        change(&mut facts);
        let plan = super::plan(&facts, false);
        let stops: Vec<&Check> = plan.checks.iter().filter(|check| check.stops()).collect();
        assert_eq!(stops.len(), 1, "{stops:?}");
        assert_eq!((stops[0].exit, stops[0].message.as_str()), (Exit::Failed, "node \"node1\" is a primary"));
        stops[0].hint.clone().unwrap()
    };
    assert!(refused(2, &|_| ()).contains("\"pgbaton standby switchover\" on \"node2\""));
    // Without --upstream-node-id it is the only primary itself that would be followed.
    assert!(refused(1, &|_| ()).contains("switchover\" on that node"));
    let second = refused(2, &|facts| {
        facts.cluster.nodes[1].server.as_mut().unwrap().in_recovery = false;
    });
    assert!(second.contains("node rejoin"), "{second}");
}

#[test]
fn what_a_standby_has_received_since_its_target_was_asked_is_no_fork() {
    let mut facts = facts();
    (facts.target_id, facts.cluster.nodes[2].row.upstream_node_id) = (1, Some(2));
    facts.cluster.nodes[0].server.as_mut().unwrap().slots.clear();
    facts.cluster.nodes[2].server.as_mut().unwrap().receive_lsn = Some(Lsn(0x600));
    assert!(!plan(&facts, false).is_empty());
    facts.cluster.nodes[2].server.as_mut().unwrap().receiver = None;
    let refused = plan(&facts, false);
    assert!(refused.checks.iter().any(|check| check.stops() && check.exit == Exit::DataLoss));
}
