use super::*;
use crate::facts::cluster::Unavailable;
use crate::facts::repmgr::{Daemon, Repmgr};
use crate::facts::server::{Sender, ServerFacts, Slot};
use crate::plan::parts::announce::OtherOperations;
use crate::plan::{OnResume, Op};
use crate::registry::{NodeRow, NodeType};

fn sender(node_id: i32) -> Sender {
    Sender {
        application_name: format!("node{node_id}"),
        state: Some("streaming".into()),
        sync_state: None,
        replay_lag_s: Some(0.0),
        reply_age_s: None,
    }
}

/// Node 1 the primary, node 2 the candidate, node 3 another standby.
fn facts() -> SwitchoverFacts {
    let primary =
        ServerFacts { senders: vec![sender(2), sender(3)], ..ServerFacts::example(false, 1, 0x500) };
    let standby =
        |id: i32| ServerFacts { started_at: id.to_string(), ..ServerFacts::example(true, 1, 0x500) };
    let nodes = vec![
        NodeFacts { row: NodeRow::example(1, NodeType::Primary), server: Ok(primary) },
        NodeFacts { row: NodeRow::example(2, NodeType::Standby), server: Ok(standby(2)) },
        NodeFacts { row: NodeRow::example(3, NodeType::Standby), server: Ok(standby(3)) },
    ];
    SwitchoverFacts {
        cluster: ClusterFacts { nodes, ..ClusterFacts::default() },
        roles: (1..=3).map(|id| (id, RoleFacts::example())).collect(),
        candidate: 2,
        candidate_data: "/c".into(),
        primary: 1,
        metadata: Some(crate::registry::schema::PresentMetadata::example(true)),
        others: OtherOperations::default(),
        host: Some(OldPrimaryHost {
            data_directory: "/data".into(),
            postgres: "/bin/postgres".into(),
            config_directory: None,
            stop: None,
            start: Command::new("/bin/pg_ctl", ["start"]),
            start_note: None,
            archive_ready: Some(0),
            has_upstream: false,
            next: NextStart::default(),
        }),
        checks: Vec::new(),
        repmgr_activity: RepmgrActivity {
            nodes: BTreeMap::from([(3, Repmgr { daemon: Daemon::Running, visits: Vec::new() })]),
            ..RepmgrActivity::default()
        },
        command: None,
        bounds: Bounds {
            shutdown_s: 60,
            receive_s: 30,
            promote_s: 60,
            reconnect_s: 60,
            rejoin_s: 60,
            lag_s: (300, 600),
            archive_ready: (16, 128),
        },
    }
}

const ASKED: SwitchoverOptions = SwitchoverOptions { force: false, siblings_follow: true };
const FORCED: SwitchoverOptions = SwitchoverOptions { force: true, ..ASKED };

fn server(facts: &mut SwitchoverFacts, node_id: i32) -> &mut ServerFacts {
    let node = facts.cluster.nodes.iter_mut().find(|node| node.row.node_id == node_id).unwrap();
    node.server.as_mut().unwrap()
}

fn stops(facts: &SwitchoverFacts, options: SwitchoverOptions) -> Option<(String, Exit)> {
    let plan = plan(facts, options);
    let stopped = plan.checks.iter().find(|check| check.stops());
    assert!(stopped.is_some() == plan.is_empty());
    assert_eq!(plan.defect(), None);
    stopped.map(|check| (check.name.clone(), check.exit))
}

#[test]
fn the_old_primary_is_a_standby_on_disk_before_it_is_stopped() {
    let plan = plan(&facts(), ASKED);
    let ids: Vec<&str> = plan.steps().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "announce",
            "announced",
            "pause_3",
            "checkpoint_1",
            "checkpoint_2",
            "restartpoint",
            "create_slot_3",
            "create_slot_1",
            "write_upstream",
            "write_signal",
            "stop",
            "wait_until_down",
            "wait_until_received",
            "promote",
            "record",
            "follow_3",
            "wait_until_gone",
            "start",
            "tell",
            "checkpoint",
            "drop_stale_slot_3",
            "drop_stale_slot_2"
        ]
    );
    assert_eq!(plan.no_return().unwrap().id, "promote");
    let rollback: Vec<&str> = plan.rollback.iter().map(|undo| undo.step.id.as_str()).collect();
    assert_eq!(
        rollback,
        [
            "revive",
            "wait_until_primary",
            "write_again",
            "remove_upstream",
            "reload",
            "drop_new_slot_3",
            "drop_new_slot_1"
        ]
    );
    assert_eq!(plan.always[0].id, "unpause_3");
    // Every start after the point of no return asks for standby.signal.
    let step = |id: &str| plan.steps().find(|step| step.id == id).unwrap();
    assert!(step("start").requires.iter().any(|probe| probe.to_string().contains("standby.signal")));
    // A start of the old primary makes it a standby: there is no wait that cannot succeed, and no second start.
    for id in ["wait_until_down", "wait_until_received"] {
        let hopeless = step(id).gives_up_if.as_ref().unwrap().to_string();
        assert!(hopeless.contains("runs on \"/data\" as a standby"), "{hopeless}");
        assert!(!step(id).requires_on_resume.is_empty());
    }
    let OnResume::AgainUnless(probe) = &step("start").on_resume else { panic!() };
    assert!(probe.to_string().contains("as a standby"), "{probe}");
}

#[test]
fn what_would_lose_data_or_take_long_is_found_before() {
    type Case = (&'static str, Exit, bool, fn(&mut SwitchoverFacts));
    let cases: [Case; 12] = [
        ("candidate_streams", Exit::Failed, false, |facts| {
            server(facts, 1).senders[0].reply_age_s = Some(45.0);
        }),
        ("candidate_streams", Exit::Failed, false, |facts| {
            server(facts, 1).senders.retain(|sender| sender.application_name != "node2");
        }),
        ("candidate_streams", Exit::Failed, false, |facts| {
            server(facts, 1).senders[0].state = Some("catchup".into());
        }),
        ("one_primary", Exit::SecondPrimary, false, |facts| {
            *server(facts, 3) =
                ServerFacts { started_at: "x".into(), ..ServerFacts::example(false, 1, 0x500) };
        }),
        ("replication_lag", Exit::Failed, true, |facts| {
            server(facts, 1).senders[0].replay_lag_s = Some(700.0);
        }),
        ("backup_running", Exit::Failed, true, |facts| {
            server(facts, 1).senders.push(Sender { state: Some("backup".into()), ..sender(9) });
        }),
        ("archive_ready", Exit::Failed, true, |facts| {
            facts.host.as_mut().unwrap().archive_ready = Some(1000);
        }),
        ("room_for_siblings", Exit::Failed, false, |facts| server(facts, 2).max_wal_senders = 1),
        ("follow_rights", Exit::Failed, true, |facts| {
            facts.roles.get_mut(&3).unwrap().may_set_upstream = false;
        }),
        ("logical_slots", Exit::Failed, true, |facts| {
            server(facts, 1).slots.push(Slot {
                slot_name: "cdc".into(),
                slot_type: "logical".into(),
                active: true,
                restart_lsn: None,
                wal_status: None,
                retained_bytes: None,
                invalidation_reason: None,
                ..Slot::default()
            });
        }),
        ("node_not_asked", Exit::Connection, true, |facts| {
            facts.cluster.nodes[2].server = Err(Unavailable::invalid("x"));
        }),
        ("synchronous_names", Exit::Failed, true, |facts| {
            server(facts, 2).synchronous_standby_names = "2 (node1, node9)".into();
        }),
    ];
    assert_eq!(stops(&facts(), ASKED), None);
    for (name, exit, overridable, change) in cases {
        let mut facts = facts();
        change(&mut facts);
        let expected = Some((name.to_string(), exit));
        assert_eq!(stops(&facts, ASKED), expected);
        assert_eq!(stops(&facts, FORCED), if overridable { None } else { expected }, "{name}");
    }
}

#[test]
fn the_old_primary_gets_the_slot_that_it_is_recorded_with() {
    let creates = |recorded: Option<&str>, candidate: Option<&str>| {
        let mut facts = facts();
        facts.cluster.nodes[0].row.slot_name = recorded.map(str::to_string);
        facts.cluster.nodes[1].row.slot_name = candidate.map(str::to_string);
        plan(&facts, ASKED).steps().any(|step| step.id == "create_slot_1")
    };
    assert!(creates(Some("repmgr_slot_1"), None));
    assert!(creates(None, Some("repmgr_slot_2")));
    assert!(!creates(None, None));
}

#[test]
fn a_standby_of_the_candidate_counts_for_synchronous_commits() {
    let mut facts = facts();
    server(&mut facts, 2).synchronous_standby_names = "3 (node1, node3, node9)".into();
    assert_eq!(stops(&facts, ASKED), Some(("synchronous_names".into(), Exit::Failed)));
    server(&mut facts, 2).senders.push(sender(9));
    assert_eq!(stops(&facts, ASKED), None);
}

#[test]
fn slots_and_settings_that_were_there_stay_on_the_way_back() {
    let mut facts = facts();
    facts.host.as_mut().unwrap().has_upstream = true;
    for id in [1, 3] {
        server(&mut facts, 2).slots.push(Slot {
            slot_name: format!("repmgr_slot_{id}"),
            slot_type: "physical".into(),
            active: false,
            restart_lsn: None,
            wal_status: None,
            retained_bytes: None,
            invalidation_reason: None,
            ..Slot::default()
        });
    }
    let plan = plan(&facts, ASKED);
    let rollback: Vec<&str> = plan.rollback.iter().map(|undo| undo.step.id.as_str()).collect();
    assert_eq!(rollback, ["revive", "wait_until_primary", "write_again"]);
}

fn logical(name: &str) -> Slot {
    Slot {
        slot_name: name.into(),
        slot_type: "logical".into(),
        plugin: Some("pgoutput".into()),
        failover: true,
        wal_status: Some("reserved".into()),
        ..Slot::default()
    }
}

/// A slot of the same name is not the same slot.
#[test]
fn a_logical_slot_survives_only_as_a_copy_that_can_be_used() {
    let copy = || Slot { synced: true, ..logical("cdc") };
    let judge = |here: Option<Slot>, there: Slot| {
        let mut facts = facts();
        server(&mut facts, 1).slots.push(there);
        server(&mut facts, 2).slots.extend(here);
        let check = plan(&facts, ASKED).checks.into_iter().find(|check| check.name == "logical_slots");
        check.map(|check| check.text.detail.unwrap())
    };
    assert_eq!(judge(Some(copy()), logical("cdc")), None);
    let cases: [(&str, Option<Slot>); 8] = [
        ("it has no copy", None),
        ("not ready yet", Some(Slot { temporary: true, ..copy() })),
        ("invalid: rows_removed", Some(Slot { invalidation_reason: Some("rows_removed".into()), ..copy() })),
        ("invalid: wal_removed", Some(Slot { wal_status: Some("lost".into()), ..copy() })),
        ("invalid: conflicting", Some(Slot { invalidation_reason: Some("conflicting".into()), ..copy() })),
        ("uses plugin \"wal2json\"", Some(Slot { plugin: Some("wal2json".into()), ..copy() })),
        ("not synchronized", Some(Slot { synced: false, ..copy() })),
        ("a physical slot", Some(Slot { slot_type: "physical".into(), ..copy() })),
    ];
    for (says, here) in cases {
        let found = judge(here, logical("cdc")).unwrap_or_default();
        assert!(found.contains("\"cdc\"") && found.contains(says), "{says}: {found}");
    }
    // What is of no use now cannot get lost.
    assert_eq!(judge(None, Slot { temporary: true, ..logical("cdc") }), None);
    assert_eq!(judge(None, Slot { wal_status: Some("lost".into()), ..logical("cdc") }), None);
}

#[test]
fn a_failover_slot_that_the_old_primary_keeps_is_dropped_at_the_end() {
    let dropped = |slot: Slot| {
        let mut facts = facts();
        server(&mut facts, 1).slots.push(slot);
        server(&mut facts, 2).slots.push(Slot { synced: true, ..logical("cdc") });
        let plan = plan(&facts, FORCED);
        let last = plan.phases.last().unwrap();
        assert_eq!(last.title, "clean up");
        let found =
            last.steps.iter().any(|step| matches!(&step.op, Op::DropKeptSlot { slot, .. } if slot == "cdc"));
        let anywhere = plan.steps().any(|step| matches!(&step.op, Op::DropKeptSlot { .. }));
        assert_eq!(found, anywhere);
        found
    };
    assert!(dropped(logical("cdc")));
    assert!(!dropped(Slot { failover: false, ..logical("cdc") }));
    // A copy from the time when it was a standby is taken over by the synchronization.
    assert!(!dropped(Slot { synced: true, ..logical("cdc") }));
}

#[test]
fn what_would_hold_back_the_readers_of_failover_slots_is_told() {
    let judge = |names: &[&str]| {
        let mut facts = facts();
        server(&mut facts, 2).synchronized_standby_slots = names.iter().map(ToString::to_string).collect();
        let found =
            plan(&facts, ASKED).checks.into_iter().find(|check| check.name == "synchronized_standby_slots");
        found.map(|check| (check.text.detail.unwrap(), check.text.hint.unwrap()))
    };
    assert_eq!(judge(&[]), None);
    assert_eq!(judge(&["repmgr_slot_1", "repmgr_slot_3"]), None);
    // The list of the old primary names the candidate itself.
    let (detail, hint) = judge(&["repmgr_slot_2", "repmgr_slot_3"]).unwrap();
    assert!(detail.contains("\"repmgr_slot_2\"") && !detail.contains("slot_3"), "{detail}");
    assert!(hint.contains("synchronized_standby_slots = 'repmgr_slot_3'"), "{hint}");
}

#[test]
fn it_is_told_when_clients_could_not_write_afterwards() {
    use crate::facts::role::ReadOnlyFor;
    let judge = |read_only: bool, read_only_for: Vec<ReadOnlyFor>| {
        let mut facts = facts();
        let role = facts.roles.get_mut(&2).unwrap();
        (role.read_only, role.read_only_for) = (read_only, read_only_for);
        let plan = plan(&facts, ASKED);
        assert_eq!(stops(&facts, ASKED), None);
        let found = plan.checks.into_iter().find(|check| check.name == "clients_can_write");
        found.map(|check| check.text.hint.unwrap())
    };
    let of = |database: Option<&str>, role: Option<&str>| ReadOnlyFor {
        database: database.map(str::to_string),
        role: role.map(str::to_string),
    };
    assert_eq!(judge(false, Vec::new()), None);
    for (hint, read_only, each) in [
        ("ALTER SYSTEM SET default_transaction_read_only = off; SELECT pg_reload_conf();", true, vec![]),
        ("ALTER DATABASE \"app\" RESET", false, vec![of(Some("app"), None)]),
        ("ALTER ROLE \"web\" RESET", false, vec![of(None, Some("web"))]),
        ("ALTER ROLE \"web\" IN DATABASE \"app\" RESET", false, vec![of(Some("app"), Some("web"))]),
        ("ALTER ROLE ALL RESET", false, vec![of(None, None)]),
    ] {
        let found = judge(read_only, each).unwrap();
        assert!(found.contains(hint), "{found}");
    }
}
