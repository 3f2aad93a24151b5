//! Which rung it is and what stands against it, from facts that are made up.

use super::*;
use crate::facts::lineage::Lineage;
use crate::facts::rejoin::BLOCKED;
use crate::facts::server::Sender;
use crate::facts::start_log::StartLog;
use crate::pg::control::Manager;
use crate::pg::control_file::ControlFile;
use crate::pg::control_file::ControlState;
use crate::pg::history::{Switch, TimelineId};
use crate::pg::wal::CheckpointRecord;
use crate::plan::parts::announce::OtherOperations;
use crate::plan::{Check, CheckResult, FileOp};

const FORK: Lsn = Lsn(0x0300_0000);
const END: Lsn = Lsn(0x0300_4E20);

fn node(node_id: i32, kind: &str, server: Option<ServerFacts>) -> NodeFacts {
    let row = serde_json::json!({
        "node_id": node_id, "upstream_node_id": null, "active": true, "node_name": format!("node{node_id}"),
        "type": kind, "location": "default", "priority": 100, "conninfo": format!("host=h{node_id} user=repmgr"),
        "repluser": "repmgr", "slot_name": null, "config_file": "/etc/pgbaton/pgbaton.toml"
    });
    let silence = crate::facts::cluster::Unavailable::invalid("down");
    NodeFacts { row: serde_json::from_value(row).unwrap(), server: server.ok_or(silence) }
}

fn service() -> ServiceFacts {
    ServiceFacts {
        node_name: "node1".into(),
        data_directory: "/data".into(),
        config_directory: None,
        leftover: None,
        running: None,
        manager: Manager::PgCtl,
        pg_ctl: "/bin/pg_ctl".into(),
        pg_ctl_options: Vec::new(),
        last_start: Default::default(),
        log: StartLog { path: "/log".into(), is_ours: false },
        standby: None,
        places: Vec::new(),
        start_timeout_s: 60,
        stop_timeout_s: 60,
        user: "postgres".into(),
    }
}

/// Node 1, a crashed primary on timeline 1 that has gone beyond where node 2 was promoted to timeline 2.
fn facts() -> RejoinFacts {
    let primary = ServerFacts::example(false, 2, 0x0400_0000);
    RejoinFacts {
        others: OtherOperations::default(),
        cluster: ClusterFacts {
            nodes: vec![node(1, "primary", None), node(2, "primary", Some(primary))],
            ..ClusterFacts::default()
        },
        node_id: 1,
        primary_id: 2,
        local: LocalFiles {
            data_directory: "/data".into(),
            mode: 0o700,
            major: 15,
            running: None,
            control: ControlFile {
                system_identifier: 7,
                state: ControlState::InProduction,
                checkpoint: Lsn(0x0200_0060),
                timeline: TimelineId(1),
            },
            wal_log_hints: true,
            checksums: false,
            timeline: TimelineId(1),
            end: Some(END),
            counted: None,
            overwritten: false,
            lineage: Lineage::default(),
            switches: Vec::new(),
            segment_bytes: 16 << 20,
            is_standby: false,
            backup_label: false,
            slots: Vec::new(),
            logical_slots: Vec::new(),
            unarchived: Vec::new(),
            own_files: vec!["postgresql.conf".into()],
            in_the_way: Vec::new(),
            untouchable: Vec::new(),
        },
        target: RewindSource {
            role: "repmgr".into(),
            database: "repmgr".into(),
            may_replicate: true,
            may_checkpoint: true,
            forbidden: Vec::new(),
            control_timeline: 2,
            full_page_writes: true,
            switches: vec![Switch { timeline: TimelineId(1), switch: FORK, reason: String::new() }],
        },
        relation: Relation::Forked {
            evidence: crate::assess::history::Evidence::OfServer("It has more.".into()),
            at: Some(FORK),
        },
        parts_at: None,
        loss: Some(Loss { fork: FORK, end: END, commits: Some(2), between: None }),
        next: NextStart::default(),
        running: None,
        in_force: None,
        needed: Some(Needed::There {
            checkpoint: CheckpointRecord { record: Lsn(0x0200_0060), redo: Lsn(0x0200_0028) },
            fetched: Vec::new(),
        }),
        gone: Vec::new(),
        restores: false,
        archive_command: None,
        keep_bytes: 100,
        free_bytes: 1000,
        start: service(),
        stop: service(),
    }
}

fn options() -> RejoinOptions {
    RejoinOptions {
        on: Endpoint { name: "node \"node1\"".into(), conninfo: "host=h1".into(), secret: None },
        use_slot: true,
        forced: false,
        consent: true,
        asked: false,
        accept_data_loss: false,
        force: false,
        reclone: false,
        no_wait: false,
        kept: "/state/kept/now".into(),
        kept_files: "/state/kept/now/files".into(),
        fetched: "/state/kept/now/fetched".into(),
        pg_rewind: "/bin/pg_rewind".into(),
        postgres: "/bin/postgres".into(),
        config_directory: None,
        timeout_s: 60,
    }
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps().map(|step| step.id.as_str()).collect()
}

fn stopping(rejoin: &Rejoin) -> Vec<(&str, Exit)> {
    rejoin
        .plan
        .checks
        .iter()
        .filter(|check| check.stops())
        .map(|check| (check.name.as_str(), check.exit))
        .collect()
}

fn method(facts: &RejoinFacts, options: &RejoinOptions) -> Option<RejoinMethod> {
    plan(facts, options).decision.map(|decision| decision.method)
}

/// What stops a rejoin of these facts.
fn stopped_by(change: impl Fn(&mut RejoinFacts, &mut RejoinOptions)) -> Vec<(String, Exit)> {
    let (mut facts, mut options) = (facts(), options());
    change(&mut facts, &mut options);
    let rejoin = plan(&facts, &options);
    stopping(&rejoin).into_iter().map(|(name, exit)| (name.to_string(), exit)).collect()
}

#[test]
fn a_crashed_primary_recovers_is_copied_aside_and_rewound_behind_a_closed_door() {
    let rejoin = plan(&facts(), &options());
    assert_eq!(stopping(&rejoin), []);
    assert_eq!(rejoin.plan.defect(), None);
    let decision = rejoin.decision.as_ref().unwrap();
    assert_eq!(decision.method, RejoinMethod::Rewind);
    assert_eq!(
        decision.why,
        "WAL of node \"node1\" ends at 0/3004E20 on timeline 1, and \"node2\" left that timeline at 0/3000000"
    );
    assert_eq!(
        ids(&rejoin.plan),
        [
            "create_slot",
            "recover",
            "keep_old_wal",
            "standby_signal",
            "keep_wal",
            "keep_files",
            "begin",
            "block",
            "rewind",
            "return_wal",
            "put_back_files",
            "standby_signal_again",
            "follow",
            "unblock",
            "start",
            "record"
        ]
    );
    assert_eq!(rejoin.plan.no_return().map(|step| step.id.as_str()), Some("begin"));
    let modes: Vec<u32> = rejoin
        .plan
        .steps()
        .filter_map(|step| match &step.op {
            Op::File(FileOp::MakeDirectory { mode, .. }) => Some(*mode),
            _ => None,
        })
        .collect();
    assert_eq!(modes, [0o700 | BLOCKED, 0o700]);
    let start = rejoin.plan.steps().find(|step| step.id == "start").unwrap();
    assert_eq!(start.requires, [Probe::Exists { path: "/data/standby.signal".into() }]);
    let rewind = rejoin.plan.steps().find(|step| step.id == "rewind").unwrap();
    assert!(!rewind.interruptible);
    assert_eq!(rejoin.plan.verify.len(), 2);
}

#[test]
fn a_running_primary_keeps_its_wal_before_it_is_stopped() {
    let mut facts = facts();
    facts.local.running = Some(7);
    let mut ours = ServerFacts::example(false, 1, END.0);
    ours.started_at = "ours".into();
    facts.cluster.nodes[0].server = Ok(ours);
    let rejoin = plan(&facts, &options());
    let all = ids(&rejoin.plan);
    let at =
        |id: &str| all.iter().position(|other| *other == id).unwrap_or_else(|| panic!("{id} in {all:?}"));
    assert!(at("copy_settings") < at("keep_all_wal") && at("wait_for_reload") < at("stop"));
    assert!(at("standby_signal_before_stop") < at("stop") && at("stop") < at("put_settings_back"));
    assert!(at("put_settings_back") < at("keep_files") && !all.contains(&"recover"));
    let rollback: Vec<&str> = rejoin.plan.rollback.iter().map(|undo| undo.step.id.as_str()).collect();
    assert_eq!(rollback, ["drop_new_slot", "put_settings_back_again", "reload_again"]);
}

#[test]
fn a_crashed_standby_recovers_as_a_standby() {
    let mut facts = facts();
    facts.local.is_standby = true;
    facts.local.control.state = ControlState::InArchiveRecovery;
    let rejoin = plan(&facts, &options());
    let recover = rejoin.plan.steps().find(|step| step.id == "recover").unwrap();
    let Op::Run(command) = &recover.op else { panic!("{recover:?}") };
    assert!(command.args.iter().any(|arg| arg.contains("primary_conninfo= ")), "{command}");
    assert_eq!(recover.requires, [Probe::Exists { path: "/data/standby.signal".into() }]);
    assert!(ids(&rejoin.plan).contains(&"end_recovery"));
}

#[test]
fn whoever_has_nothing_of_its_own_follows() {
    let mut facts = facts();
    facts.relation = Relation::Same;
    facts.loss = None;
    facts.needed = None;
    facts.local.end = Some(FORK);
    facts.local.slots = vec!["repmgr_slot_2".into(), "mine".into()];
    let rejoin = plan(&facts, &options());
    assert_eq!(rejoin.decision.as_ref().unwrap().method, RejoinMethod::Follow);
    assert_eq!(
        ids(&rejoin.plan),
        ["create_slot", "standby_signal", "follow", "start", "record", "drop_repmgr_slot_2"]
    );
    // Asked to, it is rewound all the same.
    assert_eq!(method(&facts, &RejoinOptions { forced: true, ..options() }), Some(RejoinMethod::Rewind));

    // What it has to replay next is gone: an archive may have it, else nothing but a new clone will do.
    facts.gone = vec!["000000010000000000000004".into()];
    assert_eq!(stopping(&plan(&facts, &options())), [("standby_wal", Exit::Failed)]);
    assert_eq!(method(&facts, &RejoinOptions { reclone: true, ..options() }), Some(RejoinMethod::Reclone));
    facts.restores = true;
    assert_eq!(method(&facts, &RejoinOptions { reclone: true, ..options() }), Some(RejoinMethod::Follow));
}

#[test]
fn a_slot_that_has_lost_its_wal_is_made_again() {
    let status = |wal_status: &str| {
        let mut facts = facts();
        let slot = serde_json::json!({
            "slot_name": "repmgr_slot_1", "slot_type": "physical", "active": false, "restart_lsn": null,
            "wal_status": wal_status, "retained_bytes": null
        });
        facts.cluster.nodes[1].server.as_mut().unwrap().slots.push(serde_json::from_value(slot).unwrap());
        ids(&plan(&facts, &options()).plan).contains(&"create_slot")
    };
    assert!(status("lost") && !status("reserved"));
}

#[test]
fn whoever_streams_is_left_alone() {
    let mut facts = facts();
    facts.relation = Relation::Same;
    facts.loss = None;
    facts.local.running = Some(7);
    facts.local.control.state = ControlState::InArchiveRecovery;
    let sender = serde_json::json!({
        "application_name": "node1", "state": "streaming", "sync_state": "async", "replay_lag_s": null
    });
    let server = facts.cluster.nodes[1].server.as_mut().unwrap();
    server
        .senders
        .push(Sender { state: Some("startup".into()), ..serde_json::from_value(sender.clone()).unwrap() });
    let refused = plan(&facts, &RejoinOptions { use_slot: false, ..options() });
    assert_eq!(
        refused.decision.as_ref().unwrap().method,
        RejoinMethod::Follow,
        "a connection over which nothing is sent"
    );
    let server = facts.cluster.nodes[1].server.as_mut().unwrap();
    server.senders.push(serde_json::from_value(sender).unwrap());
    let rejoin = plan(&facts, &RejoinOptions { use_slot: false, ..options() });
    assert_eq!(rejoin.decision.as_ref().unwrap().method, RejoinMethod::None);
    // It is still recorded as a primary.
    assert_eq!(ids(&rejoin.plan), ["record"]);
    let row = &mut facts.cluster.nodes[0].row;
    row.node_type = NodeType::Standby;
    row.upstream_node_id = Some(2);
    assert!(plan(&facts, &RejoinOptions { use_slot: false, ..options() }).plan.is_empty());
}

#[test]
fn a_source_with_an_old_control_file_writes_a_checkpoint_first() {
    let mut facts = facts();
    facts.target.control_timeline = 1;
    let all = |facts: &RejoinFacts| ids(&plan(facts, &options()).plan).join(" ");
    assert!(all(&facts).contains("checkpoint wait_for_control_file recover"), "{}", all(&facts));
    facts.target.may_checkpoint = false;
    assert!(!all(&facts).contains(" checkpoint "));
    let rejoin = plan(&facts, &options());
    let check = rejoin.plan.checks.iter().find(|check| check.name == "checkpoint").unwrap();
    assert_eq!(check.verdict, CheckResult::Warning);
    assert!(check.hint.as_ref().unwrap().contains("GRANT pg_checkpoint"));
}

#[test]
fn what_is_discarded_needs_an_answer() {
    let refused = stopped_by(|_, options| options.consent = false);
    assert_eq!(refused, [("discarded_wal".to_string(), Exit::DataLoss)]);
    assert_eq!(stopped_by(|_, options| options.consent = true), []);
    // There is nothing to agree to.
    assert_eq!(
        stopped_by(|facts, options| {
            options.consent = false;
            facts.loss = Some(Loss { fork: FORK, end: FORK, ..Loss::default() });
        }),
        []
    );
    let (message, detail) =
        checks::discarded(&Loss { commits: Some(1), ..facts().loss.unwrap() }, "node1", "/kept", false);
    assert_eq!(
        message,
        "20000 bytes of WAL of node \"node1\" with 1 committed transaction would be discarded"
    );
    assert_eq!(detail, "This is the WAL from 0/3000000 to 0/3004E20. The WAL will be kept in \"/kept\".");
}

#[test]
fn refusals() {
    type Change = fn(&mut RejoinFacts, &mut RejoinOptions);
    let table: [(&str, Exit, Change); 12] = [
        ("same_cluster", Exit::Failed, |facts, _| facts.local.control.system_identifier = 8),
        ("same_version", Exit::Failed, |facts, _| facts.local.major = 14),
        ("same_history", Exit::DataLoss, |facts, _| facts.local.timeline = TimelineId(2)),
        ("timeline", Exit::DataLoss, |facts, _| facts.local.timeline = TimelineId(3)),
        ("same_history", Exit::Failed, |facts, _| facts.relation = Relation::Unknown("No.".into())),
        ("rewind_possible", Exit::Failed, |facts, _| facts.local.wal_log_hints = false),
        ("rewind_possible", Exit::Failed, |facts, _| facts.target.full_page_writes = false),
        ("rewind_wal", Exit::Failed, |facts, _| facts.needed = Some(Needed::Missing("0".into()))),
        ("rewind_wal", Exit::Failed, |facts, _| facts.gone = vec!["0".into()]),
        ("rewind_rights", Exit::Failed, |facts, _| {
            facts.target.forbidden = vec!["pg_stat_file(text, boolean)".into()];
        }),
        ("files", Exit::Failed, |facts, _| facts.local.untouchable = vec!["base/1".into()]),
        ("room", Exit::Failed, |facts, _| facts.free_bytes = 99),
    ];
    for (name, exit, change) in table {
        assert_eq!(stopped_by(change), [(name.to_string(), exit)]);
    }
    // Checksums do as well as hints; an archive may have what the primary has not.
    assert_eq!(
        stopped_by(|facts, _| {
            facts.local.wal_log_hints = false;
            facts.local.checksums = true;
            facts.gone = vec!["0".into()];
            facts.restores = true;
        }),
        []
    );
    assert_eq!(stopped_by(|_, options| options.kept = "/data/kept".into())[0].0, "room");
}

#[test]
fn what_the_operator_may_decide() {
    // The later timeline goes, if they say that it is the wrong one.
    assert_eq!(
        stopped_by(|facts, options| {
            facts.local.timeline = TimelineId(3);
            options.accept_data_loss = true;
        }),
        []
    );
    // Only --force overrides that the histories cannot be compared.
    let unknown = |facts: &mut RejoinFacts| {
        facts.relation = Relation::Unknown("No.".into());
        facts.loss = None;
    };
    assert_eq!(
        stopped_by(|facts, options| {
            unknown(facts);
            options.force = true;
        }),
        []
    );
    assert_eq!(
        stopped_by(|facts, options| {
            unknown(facts);
            options.accept_data_loss = true;
        })
        .len(),
        1
    );
    // One timeline, two promotions: no option but a new clone.
    let twice = |facts: &mut RejoinFacts, options: &mut RejoinOptions| {
        facts.local.timeline = TimelineId(2);
        options.force = true;
        options.accept_data_loss = true;
    };
    assert_eq!(stopped_by(twice), [("same_history".to_string(), Exit::DataLoss)]);
    let (mut facts, mut options) = (facts(), options());
    twice(&mut facts, &mut options);
    options.reclone = true;
    assert_eq!(method(&facts, &options), Some(RejoinMethod::Reclone));
}

#[test]
fn a_standby_of_the_node_is_not_left_behind() {
    let mut third = ServerFacts::example(true, 1, END.0);
    third.receiver.as_mut().unwrap().sender_host = Some("h1".into());
    let follower =
        |facts: &mut RejoinFacts| facts.cluster.nodes.push(node(3, "standby", Some(third.clone())));
    assert_eq!(stopped_by(|facts, _| follower(facts)), [("followers".to_string(), Exit::DataLoss)]);
    assert_eq!(
        stopped_by(|facts, options| {
            follower(facts);
            options.accept_data_loss = true;
        }),
        []
    );
}

#[test]
fn half_a_rewind_is_only_cloned_again() {
    let half = |facts: &mut RejoinFacts| facts.local.mode = 0o700 | BLOCKED;
    assert_eq!(stopped_by(|facts, _| half(facts)), [("unfinished_rewind".to_string(), Exit::Failed)]);
    let mut facts = facts();
    half(&mut facts);
    let options = RejoinOptions { reclone: true, consent: false, ..options() };
    assert_eq!(method(&facts, &options), Some(RejoinMethod::Reclone));
    let mut rejoin = plan(&facts, &options);
    assert_eq!(stopping(&rejoin), []);
    let clone_step =
        |id: &str| Step::new(id, id, Op::File(FileOp::RemoveFile { path: "/x".into() }), 1, Exit::BaseBackup);
    let clone = Plan {
        phases: vec![phase(
            "copy",
            OnFailure::Stop,
            vec![clone_step("make_data_directory"), clone_step("base_backup")],
        )],
        ..empty("clone".into())
    };
    let anew = Reclone {
        clone,
        aside: vec![
            MovedDirectory { from: "/data".into(), to: "/data.now".into(), link: None },
            MovedDirectory { from: "/ts".into(), to: "/ts.now".into(), link: Some("pg_tblspc/5".into()) },
        ],
        immovable: Some("It is mounted.".into()),
        configuration: Some(("/kept".into(), vec!["postgresql.conf".into()])),
    };
    reclone(&mut rejoin.plan, &facts, &options, anew);
    assert_eq!(rejoin.plan.defect(), None);
    assert_eq!(
        ids(&rejoin.plan),
        [
            "move_aside_1",
            "move_aside_2",
            "make_data_directory",
            "base_backup",
            "put_back_files",
            "follow",
            "standby_signal_again",
            "start",
            "record"
        ]
    );
    // Nothing is removed unless the old one is where it was put.
    let rollback = rejoin.plan.rollback.iter().find(|undo| undo.step.id == "remove_new_1").unwrap();
    assert_eq!(rollback.if_started, ["make_data_directory"]);
    assert_eq!(rollback.step.requires, [Probe::Exists { path: "/data.now".into() }]);
    // The link that leads there is where the data directory is by then.
    let links = |steps: Vec<&Step>| -> Vec<PathBuf> {
        let link = |step: &Step| match &step.op {
            Op::File(FileOp::Rename { link, .. }) => link.clone(),
            _ => None,
        };
        steps.into_iter().filter_map(link).collect()
    };
    assert_eq!(links(rejoin.plan.steps().collect()), [PathBuf::from("/data.now/pg_tblspc/5")]);
    let rollback = rejoin.plan.rollback.iter().map(|rollback| &rollback.step).collect();
    assert_eq!(links(rollback), [PathBuf::from("/data/pg_tblspc/5")]);
    let stops: Vec<&Check> = rejoin.plan.checks.iter().filter(|check| check.stops()).collect();
    assert_eq!(stops.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["move_aside"]);
}
