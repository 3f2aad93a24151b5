//! Every check and every order of steps, from facts that are made up.

use super::checks::extra_options;
use super::*;
use crate::facts::cluster::NodeFacts;
use crate::facts::directory::Marker;
use crate::facts::settings::Settings;
use crate::facts::source::{ExternalFile, Tablespace};
use crate::plan::{Check, CheckResult};

fn server() -> ServerFacts {
    serde_json::from_value(serde_json::json!({
        "version": "15.20", "version_num": 150_020, "system_identifier": "7000000000000000001",
        "started_at": "2026-11-21T10:00:00Z", "in_recovery": false, "timeline": 1,
        "current_lsn": "0/3000000", "receive_lsn": null, "replay_lsn": null, "last_replay_age_s": null,
        "replay_paused": null, "receiver": null, "senders": [], "slots": [],
        "synchronous_standby_names": "", "max_wal_senders": 10, "max_replication_slots": 10,
        "wal_segment_bytes": 16_777_216, "sees_senders": true, "reads_files": true
    }))
    .unwrap()
}

fn node(node_id: i32, kind: &str) -> NodeFacts {
    let row = serde_json::json!({
        "node_id": node_id, "upstream_node_id": null, "active": true, "node_name": format!("node{node_id}"),
        "type": kind, "location": "default", "priority": 100, "conninfo": format!("host=node{node_id}"),
        "repluser": "repmgr", "slot_name": null, "config_file": "/etc/pgbaton/pgbaton.toml"
    });
    NodeFacts { row: serde_json::from_value(row).unwrap(), server: Ok(server()) }
}

const ROOM: FreeSpace = FreeSpace { device: 1, free_bytes: 1 << 40, reclaimable_bytes: 0 };

/// A clone of the registered primary node1 into an empty directory.
fn facts() -> CloneFacts {
    CloneFacts {
        source: server(),
        details: SourceFacts {
            wal_level: "replica".into(),
            port: 5432,
            hot_standby: true,
            archive_mode: "off".into(),
            archive_command: Some(String::new()),
            archive_library: None,
            wal_log_hints: true,
            data_checksums: false,
            full_page_writes: true,
            data_directory: Some("/pg".into()),
            group_access: false,
            wal_senders_used: 0,
            total_bytes: Some(1 << 30),
            tablespaces: Vec::new(),
            external_files: Vec::new(),
            recovery_settings: Vec::new(),
            settings: Settings::default(),
            role: "repmgr".into(),
            role_replicates: true,
            sees_settings: true,
            reads_server_files: true,
        },
        source_name: "node1".into(),
        source_id: Some(1),
        present: PresentMetadata::example(true),
        cluster: ClusterFacts { nodes: vec![node(1, "primary")], ..ClusterFacts::default() },
        upstream_id: Some(1),
        directory: DirectoryContents::Missing,
        leftover: None,
        directory_identifier: None,
        directory_problem: None,
        room: ROOM,
        tablespaces: Vec::new(),
        waldir: None,
        writers: Vec::new(),
        tools_major: Ok(15),
        backup_login: Ok(()),
        receiver_login: Ok(()),
        external: Vec::new(),
        source_is_local: false,
        filled: Vec::new(),
        foreign: Vec::new(),
    }
}

fn options() -> CloneOptions {
    CloneOptions {
        node_id: 2,
        node_name: "node2".into(),
        conninfo: Conninfo::parse("host=node2").unwrap(),
        data_directory: "/data".into(),
        use_slot: true,
        pg_basebackup: "/bin/pg_basebackup".into(),
        pg_verifybackup: None,
        source: Endpoint { name: "node1".into(), conninfo: "host=node1".into(), secret: None },
        slot_on: None,
        backup_conninfo: "host=node1".into(),
        backup_secrets: Vec::new(),
        service_file: None,
        spread_checkpoint: false,
        extra_options: Vec::new(),
        primary_conninfo: vec![ValuePart::Text("host=node1".into())],
        settings: Vec::new(),
        port: None,
        copy_external: false,
        conf_only: false,
        force: false,
    }
}

fn running(node: &mut NodeFacts) -> &mut ServerFacts {
    node.server.as_mut().unwrap()
}

type Change = fn(&mut CloneFacts, &mut CloneOptions);

/// Returns what stops the clone after a change: name, exit code, and whether --force overrides it.
fn stopping(change: Change) -> Vec<(String, Exit, bool)> {
    let (mut facts, mut options) = (facts(), options());
    change(&mut facts, &mut options);
    let plan = plan(&facts, &options);
    assert_eq!(plan.defect(), None);
    let stopping = plan.checks.iter().filter(|check| check.stops());
    stopping
        .inspect(|check| assert!(check.detail.is_some() || check.hint.is_some(), "{check:?}"))
        .map(|check| (check.name.clone(), check.exit, check.override_by.is_some()))
        .collect()
}

#[test]
fn a_plain_clone_passes_every_check() {
    assert_eq!(stopping(|_, _| {}), []);
    let plan = plan(&facts(), &options());
    assert!(plan.checks.iter().all(|check| check.verdict == CheckResult::Pass), "{:?}", plan.checks);
}

#[test]
fn every_cause_stops_it_by_its_name() {
    let cases: Vec<(&str, Exit, bool, Change)> = vec![
        ("versions", Exit::Failed, false, |facts, _| facts.source.version_num = 120_000),
        ("versions", Exit::Failed, false, |facts, _| facts.tools_major = Ok(14)),
        ("versions", Exit::Failed, false, |facts, _| facts.tools_major = Err("It is not there.".into())),
        ("data_directory", Exit::Failed, false, |facts, _| {
            facts.directory_problem = Some("This user may not write to it.".into());
        }),
        ("data_directory", Exit::Failed, false, |facts, _| {
            facts.directory = DirectoryContents::Other(vec!["x".into()]);
        }),
        ("data_directory", Exit::Failed, false, |facts, _| {
            facts.directory = DirectoryContents::Unreadable("No.".into());
        }),
        ("data_directory", Exit::Failed, false, |facts, _| {
            facts.directory = DirectoryContents::DataDirectory { major: "15".into(), running: Some(7) };
        }),
        ("data_directory", Exit::Failed, false, |facts, _| {
            facts.directory = DirectoryContents::DataDirectory { major: "14".into(), running: None };
        }),
        ("data_directory", Exit::Failed, false, |facts, _| {
            facts.directory = DirectoryContents::DataDirectory { major: "15".into(), running: None };
            facts.directory_identifier = Some("7000000000000000002".into());
        }),
        ("data_directory", Exit::Failed, true, |facts, _| {
            facts.directory = DirectoryContents::DataDirectory { major: "15".into(), running: None };
            facts.directory_identifier = Some(facts.source.system_identifier.clone());
        }),
        ("metadata", Exit::Failed, true, |facts, _| {
            facts.present = PresentMetadata::example(false);
            (facts.cluster, facts.source_id, facts.upstream_id) = (ClusterFacts::default(), None, None);
        }),
        ("source_role", Exit::Failed, false, |facts, _| {
            facts.cluster.nodes.push(node(3, "witness"));
            facts.source_id = Some(3);
        }),
        ("same_cluster", Exit::Failed, false, |facts, _| {
            running(&mut facts.cluster.nodes[0]).system_identifier = "7".into();
        }),
        ("node_name_free", Exit::Failed, false, |_, options| options.node_name = "node1".into()),
        ("node_id_free", Exit::Failed, false, |facts, _| facts.cluster.nodes.push(node(2, "standby"))),
        ("upstream", Exit::Failed, false, |facts, _| facts.upstream_id = Some(9)),
        ("upstream", Exit::Connection, false, |facts, _| {
            let answered = crate::pg::failure::Answered::Nothing;
            let silence = crate::facts::cluster::Unavailable::new(answered, "connection refused");
            facts.cluster.nodes.push(node(3, "standby"));
            facts.cluster.nodes[1].server = Err(silence);
            facts.upstream_id = Some(3);
        }),
        ("wal_level", Exit::Failed, false, |facts, _| facts.details.wal_level = "minimal".into()),
        ("hot_standby", Exit::Failed, false, |facts, _| facts.details.hot_standby = false),
        ("archive_command", Exit::Failed, true, |facts, _| facts.details.archive_mode = "on".into()),
        ("wal_senders", Exit::Failed, false, |facts, _| facts.details.wal_senders_used = 9),
        ("slot_free", Exit::Failed, false, |facts, _| {
            running(&mut facts.cluster.nodes[0]).max_replication_slots = 0;
        }),
        ("role_replicates", Exit::Failed, false, |facts, _| facts.details.role_replicates = false),
        ("base_backup_login", Exit::Failed, false, |facts, _| facts.backup_login = Err("no".into())),
        ("receiver_login", Exit::Failed, true, |facts, _| facts.receiver_login = Err("no".into())),
        ("disk_space", Exit::Failed, false, |facts, _| facts.room.free_bytes = 1 << 30),
        ("tablespaces", Exit::Failed, true, |facts, _| {
            facts.tablespaces.push(target(DirectoryContents::Other(vec!["PG_15_202209061".into()])));
        }),
        ("tablespaces", Exit::Failed, false, |facts, _| {
            facts.tablespaces.push(target(DirectoryContents::Other(vec!["diary".into()])));
        }),
        ("disk_space", Exit::Failed, false, |facts, _| {
            let room = FreeSpace { device: 2, free_bytes: 1, ..ROOM };
            facts.tablespaces.push(TablespaceTarget { room, ..target(DirectoryContents::Empty) });
        }),
        ("pg_basebackup_options", Exit::Failed, false, |_, options| {
            options.extra_options = vec!["-Ft".into()];
        }),
        ("pg_basebackup_options", Exit::Failed, false, |_, options| {
            options.extra_options = vec!["--pgdata=/elsewhere".into()];
        }),
        ("external_files", Exit::Failed, false, |facts, options| {
            facts.details.external_files =
                vec![ExternalFile { path: "/etc/hba".into(), file_name: "hba".into() }];
            facts.external = vec![ExternalCopy {
                from: "/etc/hba".into(),
                to: "/etc/hba".into(),
                contents: Err(NotRead { why: "Permission denied.".into(), hint: None }),
                problem: None,
            }];
            options.copy_external = true;
        }),
    ];
    for (i, (name, exit, overridable, change)) in cases.into_iter().enumerate() {
        let found = stopping(change);
        assert!(found.contains(&(name.to_string(), exit, overridable)), "case {i}, {name}: {found:?}");
    }
}

fn target(contents: DirectoryContents) -> TablespaceTarget {
    TablespaceTarget {
        from: "/ts".into(),
        to: "/ts".into(),
        contents,
        room: ROOM,
        bytes: Some(1 << 20),
        ours: false,
    }
}

#[test]
fn what_goes_to_one_file_system_must_fit_there_together() {
    const GB: u64 = 1 << 30;
    // Ten in the data directory, five each in two tablespaces.
    let reported = |devices: [u64; 3], free: u64, change: fn(&mut CloneFacts)| -> Vec<(bool, String)> {
        let mut facts = facts();
        let [data, first, second] = devices.map(|device| FreeSpace { device, free_bytes: free, ..ROOM });
        facts.details.total_bytes = Some(20 * GB);
        facts.room = data;
        for (room, to) in [(first, "/ts1"), (second, "/ts2")] {
            let to = to.into();
            facts.tablespaces.push(TablespaceTarget {
                room,
                to,
                bytes: Some(5 * GB),
                ..target(DirectoryContents::Empty)
            });
        }
        change(&mut facts);
        let checks = plan(&facts, &options()).checks;
        let checks = checks.into_iter().filter(|check| check.name == "disk_space");
        checks.map(|check| (check.stops(), check.text.message)).collect()
    };
    let stops = |devices, free, change| -> Vec<bool> {
        reported(devices, free, change).into_iter().map(|(stops, _)| stops).collect()
    };
    assert_eq!(stops([1, 2, 3], 11 * GB, |_| {}), [false, false, false]);
    assert_eq!(stops([1, 2, 2], 11 * GB, |_| {}), [false, false]);
    assert_eq!(stops([1, 2, 2], 9 * GB, |_| {}), [true, true]);
    assert_eq!(stops([1, 2, 1], 11 * GB, |_| {}), [true, false]);
    assert_eq!(stops([1, 1, 1], 20 * GB, |_| {}), [true]);
    assert_eq!(stops([1, 1, 1], 21 * GB, |_| {}), [false]);
    assert_eq!(
        reported([1, 1, 1], 20 * GB, |_| {})[0].1,
        "the disk of \"/data\", \"/ts1\", \"/ts2\" is too small for the clone"
    );
    // What is removed there makes room; WAL may be what is too much.
    assert_eq!(stops([1, 1, 1], 20 * GB, |facts| facts.tablespaces[1].room.reclaimable_bytes = GB), [false]);
    let waldir = |facts: &mut CloneFacts| {
        let room = FreeSpace { device: 2, free_bytes: 1 << 20, ..ROOM };
        facts.waldir = Some(TablespaceTarget { room, bytes: None, ..target(DirectoryContents::Empty) });
    };
    assert_eq!(stops([1, 1, 1], 20 * GB, waldir), [false, true]);
}

#[test]
fn options_for_pg_basebackup_that_leave_the_copy_where_it_is_are_allowed() {
    for words in [vec!["-Fp"], vec!["--format=plain"], vec!["--max-rate=1M", "-v"], vec!["-c", "spread"]] {
        let words: Vec<String> = words.into_iter().map(String::from).collect();
        assert!(extra_options(&words).is_empty(), "{words:?}");
    }
}

#[test]
fn a_slot_that_an_interrupted_clone_holds_is_waited_for_and_another_one_is_refused() {
    let mut facts = facts();
    running(&mut facts.cluster.nodes[0]).slots = vec![
        serde_json::from_value(serde_json::json!({
            "slot_name": "repmgr_slot_2", "slot_type": "physical", "active": true, "restart_lsn": "0/3000000",
            "wal_status": "reserved", "retained_bytes": 0
        }))
        .unwrap(),
    ];
    let ids = |facts: &CloneFacts| -> Vec<String> {
        plan(facts, &options()).steps().map(|step| step.id.clone()).collect()
    };
    assert!(plan(&facts, &options()).checks.iter().any(|check| check.name == "slot_free" && check.stops()));
    facts.writers = vec![7];
    facts.directory = DirectoryContents::UnfinishedClone(Marker {
        note: String::new(),
        tablespaces: Vec::new(),
        waldir: None,
    });
    assert!(!plan(&facts, &options()).checks.iter().any(Check::stops));
    assert_eq!(ids(&facts).get(..3).unwrap(), ["end_writers", "wait_for_slot", "create_slot"]);
}

#[test]
fn an_old_data_directory_is_marked_before_it_loses_anything() {
    let mut facts = facts();
    facts.directory = DirectoryContents::DataDirectory { major: "15".into(), running: None };
    facts.directory_identifier = Some(facts.source.system_identifier.clone());
    facts.details.tablespaces = vec![Tablespace { name: "ts".into(), location: "/ts".into(), bytes: None }];
    let options = CloneOptions { force: true, ..options() };
    let plan = plan(&facts, &options);
    let at = |id: &str| plan.steps().position(|step| step.id == id).unwrap();
    assert!(at("claim") < at("take_control_file"));
    assert!(at("take_control_file") < at("take_version_file"));
    assert!(at("take_version_file") < at("clear_data_directory"));
    assert!(at("write_standby_signal") < at("put_in_place"));
    // In a rollback the mark goes after everything that it stands for.
    let rollback: Vec<&str> = plan.rollback.iter().map(|undo| undo.step.id.as_str()).collect();
    assert_eq!(rollback, ["empty_again", "remove_copy", "unclaim", "wait_for_slot_again", "drop_slot"]);
}
