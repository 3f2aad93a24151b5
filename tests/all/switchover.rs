//! `standby switchover` on real servers.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    self, Fingerprint, Ledger, Nodes, Observer, Output, Pg, Running, SOON, StopMode, TestServer,
    clean_command, executed, made_debian, metadata, packaged, planned, postgres, repmgr_conf, versions,
    wait_for, with_real_repmgr,
};

const NODES: &str = "SELECT string_agg(node_id || ' ' || type || ' ' || active || ' ' || coalesce(upstream_node_id::text, '-') || ' ' || coalesce(slot_name, '-'), ', ' ORDER BY node_id) FROM repmgr.nodes";
const SLOTS: &str = "SELECT coalesce(string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name), '') FROM pg_replication_slots";

/// There and back again, with a client that writes all the time.
fn tour(pg: &Pg) {
    let nodes = Nodes::new(pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);

    let output = two.pgbaton(["--json", "standby", "switchover"]).run();
    output.code(0);
    let json = output.json();
    assert_eq!(json["data"]["from_node_id"], 1, "{output:?}");
    assert_eq!(json["data"]["to_node_id"], 2, "{output:?}");
    assert_eq!(json["data"]["timeline"], 2, "{output:?}");
    assert_eq!(json["data"]["wal_lost_bytes"], 0, "{output:?}");
    assert!(json["data"]["outage_s"].as_f64().unwrap() > 0.0, "{output:?}");
    assert_eq!(nodes.primaries(), ["node2"]);
    two.wait_until(SLOTS, "repmgr_slot_1 true, repmgr_slot_3 true", SOON);
    assert_eq!(one.psql(SLOTS), "");
    assert_eq!(
        two.psql_as("repmgr", "repmgr", NODES),
        "1 standby true 2 repmgr_slot_1, 2 primary true - repmgr_slot_2, 3 standby true 2 repmgr_slot_3"
    );
    two.pgbaton(["cluster", "show"]).run().code(0);
    // The host of the old primary has taken note of it too, for the day on which no node responds.
    wait_for("what node1 has seen last", SOON, || {
        let seen = std::fs::read_to_string(one.dir.join("state/topology.json")).unwrap_or_default();
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap_or_default();
        seen["nodes"][1]["was_primary"] == true && seen["nodes"][0]["was_primary"] == false
    });

    // From anywhere, naming the candidate: it is handed over, and the answer is the same.
    let output = three.pgbaton(["--json", "standby", "switchover", "--node-id", "1"]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["to_node_id"], 1, "{output:?}");
    assert_eq!(nodes.primaries(), ["node1"]);
    one.wait_until(SLOTS, "repmgr_slot_2 true, repmgr_slot_3 true", SOON);
    assert_eq!(two.psql(SLOTS), "");

    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(one);
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    record.assert_kept_by(two);
    record.assert_kept_by(three);
}

#[test]
fn there_and_back_nothing_is_lost_and_all_standbys_follow() {
    tour(&postgres(15).unwrap());
}

#[test]
fn short_tour_on_other_versions() {
    for pg in versions().iter().filter(|pg| pg.major != 15) {
        tour(pg);
    }
}

#[test]
fn a_dry_run_changes_nothing_and_shows_what_runs() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.pgbaton(["cluster", "show"]).run().code(0);
    let directories: Vec<_> = nodes.servers.iter().map(|server| server.dir.join("state")).collect();
    let directories: Vec<_> = directories.iter().map(std::path::PathBuf::as_path).collect();
    let before = Fingerprint::of(&[one, two, three], &directories);
    let dry = two.pgbaton(["--json", "standby", "switchover", "--dry-run"]).run();
    dry.code(0);
    before.assert_same(&Fingerprint::of(&[one, two, three], &directories));
    let done = two.pgbaton(["--json", "standby", "switchover"]).run();
    done.code(0);
    assert_eq!(planned(&dry), executed(&done));
}

#[test]
fn if_the_last_wal_does_not_arrive_the_old_primary_is_primary_again() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let mut config = std::fs::read_to_string(two.config()).unwrap();
    config.push_str("wal_receive_check_timeout = 2\nshutdown_check_timeout = 20\n");
    std::fs::write(two.config(), config).unwrap();
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    // It streams, as far as the server reports, and receives nothing.
    let receiver = two.process_titled("walreceiver");
    let output = one.with_configuration(&one.stop_that_freezes(receiver), || {
        two.pgbaton(["--json", "standby", "switchover"]).run()
    });
    support::send(receiver, Signal::CONT);
    output.code(18);
    assert!(output.json()["error"]["detail"].as_str().unwrap().contains("All changes have been undone."));
    assert_eq!(nodes.primaries(), ["node1"]);
    assert!(!one.data.join("standby.signal").exists());
    one.psql("CREATE TABLE after_the_rollback ()");
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(one);
    assert_eq!(two.psql(SLOTS), "");
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    // And once the cause is gone, the same command does it.
    two.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
}

/// Runs a switchover whose stop of the old primary begins with these lines of a script.
fn switchover_after(nodes: &Nodes, lines: &str) -> Output {
    let (one, two) = (nodes.node(1), nodes.node(2));
    let script = one.dir.join("stop.sh");
    let (pg_ctl, data) = (one.pg.tool("pg_ctl"), one.data.display().to_string());
    let text = format!("{lines}\n{} -D {data} -m fast -W stop\n", pg_ctl.display());
    std::fs::write(&script, text).unwrap();
    one.with_configuration(&format!("service_stop_command = \"sh {}\"", script.display()), || {
        two.pgbaton(["--json", "standby", "switchover"]).run()
    })
}

#[test]
fn a_candidate_that_dies_is_not_waited_for_and_what_remains_on_it_is_no_outage() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let observer = Observer::begin(&nodes.servers);
    let pg_ctl = two.pg.tool("pg_ctl");
    let dies = format!("{} -D {} -m immediate -w stop", pg_ctl.display(), two.data.display());
    let output = switchover_after(&nodes, &dies);
    let answer = output.code(18).json();
    let detail = answer["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("node \"node2\" has not responded for 4 s"), "{detail}");
    assert!(detail.contains("\"node1\" accepts connections as a primary"), "{detail}");
    assert!(detail.contains("Rollback steps not done: drop slot"), "{detail}");
    let issue = &answer["issues"][0];
    assert_eq!((&issue["severity"], &issue["code"]), (&"warning".into(), &"step_failed".into()), "{issue}");
    assert!(issue["hint"].as_str().unwrap().contains("pgbaton operation abandon"), "{issue}");
    assert_eq!(nodes.primaries(), ["node1"]);
    assert!(!one.data.join("standby.signal").exists());
    one.psql("CREATE TABLE after_the_rollback ()");
    observer.assert_never_two();
    // What is named to be typed does it.
    two.start();
    two.pgbaton(["operation", "abandon"]).run().code(0);
    assert_eq!(two.psql(SLOTS), "");
    two.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
}

/// The kernel still accepts connections for it: only the missing answer shows that it is frozen.
#[test]
fn a_candidate_that_is_frozen_is_not_waited_for() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let observer = Observer::begin(&nodes.servers);
    let pid = two.postmaster().unwrap().as_raw_nonzero();
    let output =
        switchover_after(&nodes, &format!("kill -STOP {pid} $(cat /proc/{pid}/task/{pid}/children)"));
    two.thaw();
    let detail = &output.code(18).json()["error"]["detail"];
    assert!(detail.as_str().unwrap().contains("node \"node2\" has not responded for 4 s"), "{detail}");
    assert_eq!(nodes.primaries(), ["node1"]);
    assert!(!one.data.join("standby.signal").exists());
    one.psql("CREATE TABLE after_the_rollback ()");
    observer.assert_never_two();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    two.pgbaton(["operation", "abandon"]).run().code(0);
    two.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
}

#[test]
fn a_candidate_that_has_no_receiver_any_more_is_not_waited_for() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let psql = format!(
        "{} -X -At -d \"{}\"",
        two.pg.tool("psql").display(),
        two.conninfo_as("postgres", "postgres")
    );
    let cut = format!(
        "{psql} -c \"ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'\" -c 'SELECT pg_reload_conf()'\n\
         until test \"$({psql} -c 'SELECT count(*) FROM pg_stat_wal_receiver')\" = 0; do sleep 0.1; done"
    );
    let answer = switchover_after(&nodes, &cut).code(18).json();
    let detail = answer["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("node \"node2\" has no WAL receiver"), "{detail}");
    assert!(detail.contains("All changes have been undone."), "{detail}");
    assert_eq!(nodes.primaries(), ["node1"]);
    one.psql("CREATE TABLE after_the_rollback ()");
    assert_eq!(two.psql(SLOTS), "");
}

// ---- a former primary stays a standby ------------------------------------------------------------------------------------

/// Every kind of target that a restore can have left, and where it may stand.
const TARGETS: [(&str, &str, &str); 7] = [
    ("recovery_target", "'immediate'", "alter system"),
    ("recovery_target_time", "'2020-01-01 00:00:00+00'", "postgresql.conf"),
    ("recovery_target_lsn", "'0/1'", "included"),
    ("recovery_target_xid", "'7'", "alter system"),
    ("recovery_target_name", "'never'", "postgresql.conf"),
    ("recovery_target_timeline", "'current'", "included"),
    ("recovery_target", "'immediate'", "postgresql.conf"),
];

fn leave_target(server: &TestServer, (name, value, place): (&str, &str, &str)) {
    match place {
        "alter system" => {
            server.psql(&format!("ALTER SYSTEM SET {name} = {value}"));
            server.psql("ALTER SYSTEM SET recovery_target_action = 'promote'");
        }
        "included" => {
            let lines = format!("{name} = {value}\nrecovery_target_action = 'promote'\n");
            std::fs::write(server.data.join("left.conf"), lines).unwrap();
            server.append_conf("include 'left.conf'\n");
        }
        _ => server.append_conf(&format!("{name} = {value}\nrecovery_target_action = 'promote'\n")),
    }
}

fn targets_are_cleared(pg: &Pg) {
    let nodes = Nodes::new(pg, 1);
    let observer = Observer::begin(&nodes.servers);
    for (i, target) in TARGETS.into_iter().enumerate() {
        // There and back: each time it is the former primary that has one.
        let (old, new) = if i % 2 == 0 { (1, 2) } else { (2, 1) };
        let (old, new) = (nodes.node(old), nodes.node(new));
        old.psql("ALTER SYSTEM RESET ALL");
        // Only the copy of the file that an earlier round has written may be clean.
        let conf = std::fs::read_to_string(old.data.join("postgresql.conf")).unwrap();
        let kept: String = conf
            .lines()
            .filter(|line| !line.contains("recovery_target") && !line.contains("left.conf"))
            .fold(String::new(), |all, line| all + line + "\n");
        std::fs::write(old.data.join("postgresql.conf"), kept).unwrap();
        leave_target(old, target);
        let output = new.pgbaton(["standby", "switchover"]).run();
        output.code(0).says("settings of a past recovery").says(target.0);
        assert_eq!(nodes.primaries(), [new.name.as_str()], "{target:?}");
        let neutral = if target.0 == "recovery_target_timeline" { "latest" } else { "" };
        assert_eq!(old.psql(&format!("SHOW {}", target.0)), neutral);
        new.psql("CREATE TABLE IF NOT EXISTS after_the_change ()");
        new.psql("DROP TABLE after_the_change");
        old.wait_for_replay_of(new);
        assert_eq!(old.psql("SELECT pg_is_in_recovery()"), "t", "{target:?}");
    }
    observer.assert_never_two();
}

#[test]
fn a_leftover_recovery_target_does_not_promote_the_former_primary() {
    targets_are_cleared(&postgres(15).unwrap());
}

#[test]
fn a_recovery_target_does_not_on_other_versions() {
    for pg in [13, 17, 18].into_iter().filter_map(postgres) {
        targets_are_cleared(&pg);
    }
}

/// What goes back has its own file as it was.
#[test]
fn a_rollback_restores_the_settings() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql("ALTER SYSTEM SET recovery_target_name = 'mine'");
    let before = std::fs::read_to_string(one.data.join("postgresql.auto.conf")).unwrap();
    let receiver = two.process_titled("walreceiver");
    let output =
        two.with_configuration("wal_receive_check_timeout = 2\nshutdown_check_timeout = 20\n", || {
            one.with_configuration(&one.stop_that_freezes(receiver), || {
                two.pgbaton(["standby", "switchover"]).run()
            })
        });
    support::send(receiver, Signal::CONT);
    output.code(18);
    assert_eq!(std::fs::read_to_string(one.data.join("postgresql.auto.conf")).unwrap(), before);
    assert_eq!(nodes.primaries(), ["node1"]);
}

/// What is refused before anything stops: nothing is changed, and the primary is what it was.
#[track_caller]
fn refused_with(nodes: &Nodes, words: &[&str]) {
    let started = nodes.node(1).psql("SELECT pg_postmaster_start_time()");
    for more in [&["--dry-run"][..], &[]] {
        let output = nodes.node(2).pgbaton(["standby", "switchover"]).args(more).run();
        output.code(1);
        for word in words {
            output.says(word);
        }
    }
    assert_eq!(nodes.node(1).psql("SELECT pg_postmaster_start_time()"), started);
    assert!(!nodes.node(1).data.join("standby.signal").exists());
}

fn restart_with(server: &TestServer, options: &str) {
    server.stop(support::StopMode::Fast);
    let data = server.data.display().to_string();
    let log = server.log.display().to_string();
    support::run_tool(&server.pg.tool("pg_ctl"), ["-D", &data, "-l", &log, "-w", "-o", options, "start"])
        .code(0);
}

#[test]
fn settings_that_no_file_overrides_are_refused_before_anything_stops() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, three) = (nodes.node(1), nodes.node(3));
    restart_with(one, "-c recovery_target_name=never --recovery-target-action=promote");
    nodes.node(2).wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    refused_with(
        &nodes,
        &["no configuration file overrides", "recovery_target_name = 'never' (the server's command line)"],
    );
    one.restart();
    let own = format!("host=127.0.0.1 port={} user=repmgr application_name=node3", one.port);
    restart_with(three, &format!("-c primary_conninfo='{own}'"));
    nodes.node(2).wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    refused_with(&nodes, &["node \"node3\" is started with options", "primary_conninfo"]);
    // It stays where it is, if that is asked for.
    nodes.node(2).pgbaton(["standby", "switchover", "--force"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
}

fn lower_settings(pg: &Pg) {
    let nodes = Nodes::new(pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // In the primary's file since it was started: it would come back with that.
    one.psql("ALTER SYSTEM SET max_connections = 40");
    refused_with(
        &nodes,
        &["settings of node \"node1\" are lower", "max_connections is 40", "SET max_connections = 50;"],
    );
    one.psql("ALTER SYSTEM RESET max_connections");
    // On a sibling, in force.
    two.psql("ALTER SYSTEM SET max_worker_processes = 11");
    two.restart();
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    one.psql("ALTER SYSTEM SET max_worker_processes = 11");
    refused_with(&nodes, &["settings of node \"node3\" are lower", "max_worker_processes is 8"]);
    three.psql("ALTER SYSTEM SET max_worker_processes = 12");
    three.restart();
    three.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    two.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(one.psql("SHOW max_worker_processes"), "11");
}

#[test]
fn settings_that_are_lower_than_the_new_primarys_are_refused() {
    lower_settings(&postgres(15).unwrap());
}

#[test]
fn lower_settings_are_refused_on_other_versions() {
    for pg in [13, 17, 18].into_iter().filter_map(postgres) {
        lower_settings(&pg);
    }
}

#[test]
fn a_sibling_and_a_candidate_with_a_target_are_examined() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (two, three) = (nodes.node(2), nodes.node(3));
    three.psql("ALTER SYSTEM SET recovery_target_timeline = 'current'");
    three.restart();
    refused_with(&nodes, &["node \"node3\" has settings of a past recovery", "pgbaton node restart"]);
    three.psql("ALTER SYSTEM RESET recovery_target_timeline");
    three.restart();
    two.psql("ALTER SYSTEM SET recovery_target_name = 'never'");
    two.restart();
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    let output = two.pgbaton(["standby", "switchover"]).run();
    output.code(32).says("WAL beyond it would be lost");
    assert_eq!(nodes.primaries(), ["node1"]);
}

#[test]
fn modes_are_kept_where_the_group_may_read() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let one = nodes.node(1);
    one.stop(support::StopMode::Fast);
    set(&one.data, 0o750);
    let auto_conf = one.data.join("postgresql.auto.conf");
    set(&auto_conf, 0o640);
    // Kept, and only what it leads to is written.
    let elsewhere = one.dir.join("auto.conf");
    std::fs::rename(&auto_conf, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &auto_conf).unwrap();
    one.start();
    nodes.node(2).wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    nodes.node(2).pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(mode(&one.data.join("standby.signal")), 0o640);
    assert_eq!(std::fs::read_link(&auto_conf).unwrap(), elsewhere);
    assert_eq!(mode(&elsewhere), 0o640);
}

// ---- set-ups -------------------------------------------------------------------------------------------------------------

/// The standbys that stream from a server.
const FOLLOWERS: &str = "SELECT coalesce(string_agg(application_name, ' ' ORDER BY application_name), '') FROM pg_stat_replication WHERE state = 'streaming'";

/// Standbys of the old primary follow the new one; those of other standbys, the candidate among them, stay where they are.
#[test]
fn cascaded_standbys_stay_with_their_upstream() {
    let mut nodes = Nodes::new(&postgres(15).unwrap(), 2);
    nodes.add(2);
    nodes.add(3);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
    let streams =
        |upstream: usize, followers: &str| nodes.node(upstream).wait_until(FOLLOWERS, followers, SOON);
    let refused = nodes.node(5).pgbaton(["standby", "switchover"]).run();
    refused.code(1).says("node \"node5\" does not stream from \"node1\"").says("pgbaton standby follow");

    nodes.node(2).pgbaton(["standby", "switchover"]).run().code(0);
    streams(2, "node1 node3 node4");
    streams(3, "node5");
    // The candidate had a standby of its own, and the old primary has one afterwards.
    nodes.node(5).pgbaton(["standby", "follow", "--upstream-node-id=1"]).run().code(0);
    nodes.node(1).pgbaton(["standby", "switchover"]).run().code(0);
    streams(1, "node2 node3 node4 node5");
    nodes.node(4).pgbaton(["standby", "follow", "--upstream-node-id=3"]).run().code(0);
    nodes.node(3).pgbaton(["standby", "switchover"]).run().code(0);
    streams(3, "node1 node2 node4 node5");
    let show = nodes.node(3).pgbaton(["cluster", "show"]).run();
    show.code(0);

    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(nodes.node(3));
    for id in [1, 2, 4, 5] {
        nodes.node(id).wait_for_replay_of(nodes.node(3));
        record.assert_kept_by(nodes.node(id));
    }
}

/// A witness has a copy of the metadata: it learns which node is the primary now, and which node follows which.
#[test]
fn a_witness_has_the_same_record_afterwards() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let witness = nodes.cluster.foreign("witness");
    witness.node_config(9, "");
    witness.pgbaton(["primary", "register"]).run().code(0);
    metadata(
        one,
        &format!(
            "INSERT INTO repmgr.nodes (node_id, node_name, type, active, upstream_node_id, conninfo, repluser, config_file)
             VALUES (9, 'witness', 'witness', true, 1, '{}', 'repmgr', '{}')",
            witness.conninfo(),
            witness.config().display()
        ),
    );
    let rows = metadata(
        one,
        "SELECT string_agg(format('INSERT INTO repmgr.nodes SELECT (%L::repmgr.nodes).*', n), ';' ORDER BY node_id) FROM repmgr.nodes n",
    );
    metadata(&witness, &format!("DELETE FROM repmgr.nodes; {rows}"));
    two.wait_for_replay_of(one);
    let record = "SELECT n FROM repmgr.nodes n ORDER BY node_id";
    let output = two.pgbaton(["standby", "switchover"]).run();
    output.code(0);
    assert_eq!(metadata(&witness, record), metadata(two, record));
    assert!(metadata(&witness, record).contains("2,,t,node2,primary,"), "{}", metadata(&witness, record));
    // It sees the cluster by its copy. It is no data node: it is never promoted, and never counts as a second primary.
    witness.pgbaton(["cluster", "show"]).run().code(0);
    two.pgbaton(["cluster", "show"]).run().code(0);
    witness.pgbaton(["standby", "switchover"]).run().code(1).says("witness");

    // One that is down is not waited for.
    witness.stop(support::StopMode::Fast);
    one.pgbaton(["standby", "switchover"]).run().code(0).says("witness");
    witness.start();
    // The next one updates it.
    one.kill9();
    three.pgbaton(["standby", "promote"]).run().code(0);
    two.wait_for_replay_of(three);
    assert_eq!(metadata(&witness, "SELECT node_id FROM repmgr.nodes WHERE type = 'primary' AND active"), "3");
    assert_eq!(metadata(&witness, record), metadata(three, record));
}

/// A real repmgrd on each node, which would promote its node as soon as it misses the primary.
fn with_daemons(nodes: &Nodes) -> Vec<Running> {
    let configured = |server: &TestServer| {
        let conf = server.dir.join("repmgr.conf");
        let mut text = std::fs::read_to_string(&conf).unwrap();
        text += &format!(
            "failover=automatic\nreconnect_attempts=1\nreconnect_interval=1\nmonitor_interval_secs=1\n\
             promote_command='touch {0}/promoted'\nfollow_command='touch {0}/followed'\n",
            server.dir.display()
        );
        std::fs::write(&conf, text).unwrap();
        daemon(server)
    };
    nodes.servers.iter().map(configured).collect()
}

fn daemon(server: &TestServer) -> Running {
    let mut daemon = clean_command(&server.pg.tool("repmgrd"));
    daemon.arg("-f").arg(server.dir.join("repmgr.conf")).args(["--daemonize=false", "--no-pid-file"]);
    Running::start(daemon)
}

/// The daemons do nothing meanwhile, and are at work again afterwards, however it ends.
#[test]
fn repmgrd_is_paused_and_always_unpaused() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = support::TestCluster::new(&pg);
    let one = cluster.primary("node1");
    one.append_conf("shared_preload_libraries = 'repmgr'");
    one.restart();
    one.psql_as("postgres", "repmgr", "CREATE EXTENSION repmgr");
    let servers = vec![one, cluster.empty("node2"), cluster.empty("node3")];
    let nodes = Nodes { servers, cluster };
    for (id, server) in (1..).zip(&nodes.servers) {
        repmgr_conf(server, id);
        if id > 1 {
            support::attach(server, usize::try_from(id).unwrap(), nodes.node(1));
        }
    }
    let run = |server: &TestServer, args: &[&str]| -> Output {
        let conf = server.dir.join("repmgr.conf").to_string_lossy().into_owned();
        let state = server.dir.join("home").to_string_lossy().into_owned();
        let words = ["-f", &conf].into_iter().chain(args.iter().copied());
        server.pgbaton(words).env("XDG_STATE_HOME", &state).run()
    };
    run(nodes.node(1), &["primary", "register"]).code(0);
    run(nodes.node(2), &["standby", "register"]).code(0);
    run(nodes.node(3), &["standby", "register"]).code(0);
    let mut daemons = with_daemons(&nodes);
    let state = "SELECT repmgr.repmgrd_is_running(), repmgr.repmgrd_is_paused()";
    const AT_WORK: [&str; 3] = ["t|f"; 3];
    let mut wait_until = |states: [&str; 3]| {
        for ((server, running), wanted) in nodes.servers.iter().zip(&mut daemons).zip(states) {
            let what = format!("repmgrd of {} to be {wanted}", server.name);
            wait_for(&what, SOON, || {
                // It gives up by itself where its server, or the one above, is away for a moment. Its supervisor starts it again.
                if !running.is_running() {
                    *running = daemon(server);
                }
                let output = server.try_psql_as("repmgr", "repmgr", state);
                output.stdout.trim() == wanted
            });
        }
    };
    let paused = |output: &Output| {
        let steps = output.json()["data"]["steps"].as_array().unwrap().clone();
        let done = |prefix: &str| {
            let of = |step: &&serde_json::Value| {
                step["id"].as_str().unwrap().starts_with(prefix) && step["status"] == "done"
            };
            steps.iter().filter(of).count()
        };
        assert_eq!((done("pause_"), done("unpause_")), (3, 3), "{output:?}");
    };
    wait_until(AT_WORK);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
    let output = run(nodes.node(2), &["--json", "standby", "switchover"]);
    output.code(0);
    paused(&output);
    wait_until(AT_WORK);

    // Back, which fails: the last WAL does not arrive.
    let conf = nodes.node(1).dir.join("repmgr.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{text}wal_receive_check_timeout=2\n")).unwrap();
    let receiver = nodes.node(1).process_titled("walreceiver");
    let stop = nodes.node(2).stop_that_freezes(receiver).replace('"', "'");
    let conf = nodes.node(2).dir.join("repmgr.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{text}{stop}\n")).unwrap();
    let output = run(nodes.node(1), &["--json", "standby", "switchover"]);
    std::fs::write(&conf, text).unwrap();
    support::send(receiver, Signal::CONT);
    output.code(18);
    paused(&output);
    wait_until(AT_WORK);
    assert_eq!(nodes.primaries(), ["node2"]);

    // One that was paused before stays paused, and --repmgrd-force-unpause ends that.
    run(nodes.node(1), &["standby", "switchover", "--dry-run"]).code(0);
    metadata(nodes.node(3), "SELECT repmgr.repmgrd_pause(true)");
    run(nodes.node(1), &["standby", "switchover"]).code(0);
    // A daemon that comes back to its restarted server in the middle of the next one would look like a command of repmgr.
    wait_until(["t|f", "t|f", "t|t"]);
    run(nodes.node(2), &["standby", "switchover", "--repmgrd-force-unpause"]).code(0);
    wait_until(AT_WORK);
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(nodes.node(2));
    for server in &nodes.servers {
        for file in ["promoted", "followed"] {
            assert!(!server.dir.join(file).exists(), "repmgrd of {} has acted: {file}", server.name);
        }
    }
}

/// Makes a script that stands for systemd: it writes down what it is called with, and runs `pg_ctl`. Returns the configuration.
fn service_commands(server: &TestServer) -> String {
    let script = server.dir.join("service");
    let text = format!(
        "#!/bin/sh\necho \"$1\" >>{dir}/service.log\n[ ! -e {dir}/broken-$1 ] || {{ echo \"no $1 today\" >&2; exit 3; }}\n\
         exec {bin}/pg_ctl -w -D {data} -l {dir}/log/service.log -m fast \"$1\"\n",
        dir = server.dir.display(),
        bin = server.pg.bindir.display(),
        data = server.data.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let verbs = ["start", "stop", "restart", "reload", "promote"];
    let lines = verbs.map(|verb| format!("service_{verb}_command = \"{} {verb}\"\n", script.display()));
    format!("{}shutdown_check_timeout = 5\n", lines.concat())
}

fn served(server: &TestServer) -> String {
    let log = server.dir.join("service.log");
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::write(&log, "").unwrap();
    text.lines().collect::<Vec<_>>().join(" ")
}

/// Where the configuration says how a server is stopped, started and promoted, it is done so on both sides.
#[test]
fn configured_commands_are_used_on_both_sides() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    nodes.configure(1, &service_commands(one));
    nodes.configure(2, &service_commands(two));
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    two.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!((served(one).as_str(), served(two).as_str()), ("stop start", "promote"));
    one.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!((served(one).as_str(), served(two).as_str()), ("promote", "stop start"));

    // The stop is refused: nothing has happened, and the output of the command is shown.
    std::fs::write(one.dir.join("broken-stop"), "").unwrap();
    let output = two.pgbaton(["standby", "switchover"]).run();
    output.code(18).says("no stop today").says("All changes have been undone.");
    assert_eq!(nodes.primaries(), ["node1"]);
    assert!(!one.data.join("standby.signal").exists());
    std::fs::remove_file(one.dir.join("broken-stop")).unwrap();

    // It does not come back: the role has moved, and what is left to do is reported.
    std::fs::write(one.dir.join("broken-start"), "").unwrap();
    let output = two.pgbaton(["standby", "switchover"]).run();
    output.code(22).says("no start today").says("run \"pgbaton node start\" on the host of \"node1\"");
    assert_eq!(nodes.primaries(), ["node2"]);
    std::fs::remove_file(one.dir.join("broken-start")).unwrap();
    one.pgbaton(["node", "start"]).run().code(0);
    two.wait_until(FOLLOWERS, "node1", SOON);
    // The slot of its time as the primary could not be dropped while it was down.
    two.pgbaton(["cluster", "show"]).run().code(25).says("pgbaton node rejoin  # on \"node1\"");
    one.pgbaton(["node", "rejoin"]).run().code(0);
    two.pgbaton(["cluster", "show"]).run().code(0);

    // A promotion that is refused is past the point of no return. There is no primary, and that is said first.
    std::fs::write(one.dir.join("broken-promote"), "").unwrap();
    let output = one.pgbaton(["standby", "switchover"]).run();
    output.code(8).says("no promote today").says("operation resume");
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
    std::fs::remove_file(one.dir.join("broken-promote")).unwrap();
    one.pgbaton(["operation", "resume"]).run().code(0);
    one.wait_until(FOLLOWERS, "node2", SOON);
    assert_eq!(nodes.primaries(), ["node1"]);
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(one);
    one.pgbaton(["cluster", "show"]).run().code(0);
}

/// Debian's clusters have their configuration elsewhere, and a tool of their own.
#[test]
fn clusters_of_debian_change_roles() {
    let Some(pg) = packaged("postgresql-common", "/usr/bin/pg_createcluster") else { return };
    let nodes = Nodes::new(&pg, 2);
    let root = nodes.cluster.dir().join("clusters");
    for server in &nodes.servers {
        made_debian(server, &root, &server.name, str::to_string);
    }
    let program = |server: &TestServer, args: &[&str]| {
        server.pgbaton(args).env("PG_CLUSTER_CONF_ROOT", root.to_string_lossy()).run()
    };
    // The first one was never asked for the others, and none of them answers.
    program(nodes.node(1), &["node", "start"]).code(31).says("--force");
    program(nodes.node(1), &["node", "start", "--force"]).code(0);
    for server in &nodes.servers[1..] {
        program(server, &["node", "start"]).code(0);
    }
    nodes.node(1).wait_until(FOLLOWERS, "node2 node3", SOON);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
    program(nodes.node(2), &["standby", "switchover"]).code(0);
    nodes.node(2).wait_until(FOLLOWERS, "node1 node3", SOON);
    program(nodes.node(3), &["standby", "switchover"]).code(0);
    nodes.node(3).wait_until(FOLLOWERS, "node1 node2", SOON);
    for server in &nodes.servers {
        let conf = root.join("15").join(&server.name).join("postgresql.conf");
        assert_eq!(server.psql("SHOW config_file"), conf.to_string_lossy());
    }
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(nodes.node(3));
    program(nodes.node(3), &["cluster", "show"]).code(0);
}

/// Commits that wait for standbys wait for those that are there afterwards.
#[test]
fn synchronous_commits_continue_with_the_remaining_standbys() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let set = |server: &TestServer, names: &str| {
        server.psql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        server.reload();
        server.wait_until("SHOW synchronous_standby_names", names, SOON);
    };
    set(two, "ANY 1 (node1, node3)");
    set(three, "2 (node1, node9)");
    set(one, "ANY 1 (node2, node3)");
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    two.pgbaton(["standby", "switchover"]).run().code(0);
    two.psql("CREATE TABLE synchronous ()");
    one.pgbaton(["standby", "switchover"]).run().code(0);
    let record = ledger.end();
    record.assert_kept_by(one);

    let refused = three.pgbaton(["standby", "switchover"]).run();
    refused
        .code(1)
        .says("commits on the new primary would wait forever")
        .says("requires 2 synchronous standbys, but only 1 would be connected");
    let fix = "ALTER SYSTEM SET synchronous_standby_names = ''";
    refused.says(fix).says("Nothing was changed.");
    assert_eq!(nodes.primaries(), ["node1"]);
    // Overridden: pgbaton itself does not wait, and its record is there.
    three.pgbaton(["standby", "switchover", "--force"]).run().code(0).says("overridden by --force");
    assert_eq!(nodes.primaries(), ["node3"]);
    assert_eq!(metadata(three, "SELECT node_id FROM repmgr.nodes WHERE type = 'primary' AND active"), "3");
    let waiting = three.try_psql_as(
        "postgres",
        "postgres",
        "SET statement_timeout = '1s'; SHOW synchronous_standby_names",
    );
    assert_eq!(waiting.stdout.trim(), "2 (node1, node9)");
    three.psql(fix);
    three.reload();
    three.wait_until("SHOW synchronous_standby_names", "", SOON);
    three.psql("CREATE TABLE unblocked ()");
    observer.assert_never_two();
}

// ---- refusals ------------------------------------------------------------------------------------------------------------

/// A standby that was set apart is not taken by mistake; with an override it is, with all data.
#[test]
fn doubtful_candidates_are_refused_and_accepted_on_request() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.append_conf("wal_level = logical");
    one.restart();
    one.wait_until(FOLLOWERS, "node2", SOON);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    let refused = |texts: &[&str]| {
        let output = two.pgbaton(["standby", "switchover"]).run();
        output.code(1).says("Nothing was changed.").says("repeat the command with --force");
        texts.iter().for_each(|text| {
            output.says(text);
        });
        two.pgbaton(["standby", "switchover", "--force", "--dry-run"]).run().code(0);
        assert_eq!(nodes.primaries(), ["node1"]);
    };
    metadata(one, "UPDATE repmgr.nodes SET priority = 0 WHERE node_id = 2");
    two.wait_for_replay_of(one);
    refused(&["node \"node2\" has priority 0"]);

    one.psql("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')");
    refused(&["does not have all logical replication slots", "\"cdc\""]);

    two.psql("SELECT pg_wal_replay_pause()");
    two.wait_until("SELECT pg_get_wal_replay_pause_state()", "paused", SOON);
    refused(&["replay is paused on node \"node2\"", "SELECT pg_wal_replay_resume()"]);

    two.psql("ALTER SYSTEM SET recovery_min_apply_delay = '1h'");
    two.reload();
    refused(&["node \"node2\" replays with a delay", "recovery_min_apply_delay is 3600 s"]);

    // All of it at once.
    two.pgbaton(["standby", "switchover", "--force"]).run().code(0).says("overridden by --force");
    assert_eq!(nodes.primaries(), ["node2"]);
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(two);
}

/// What a candidate has not replayed yet is time without writes.
#[test]
fn a_candidate_that_is_far_behind_is_refused() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    nodes.configure(2, "replication_lag_warning = 1\nreplication_lag_critical = 2\n");
    let ledger = Ledger::begin(one, &nodes.servers);
    one.wait_until("SELECT replay_lag IS NOT NULL FROM pg_stat_replication", "t", SOON);
    let startup = two.process_titled("startup");
    support::send(startup, Signal::STOP);
    let behind = || two.pgbaton(["standby", "switchover", "--dry-run"]).run();
    wait_for("the lag to be seen", SOON, || behind().status.code() == Some(1));
    let output = two.pgbaton(["standby", "switchover"]).run();
    output
        .code(1)
        .says("node \"node2\" lags far behind")
        .says("still has to replay")
        .says("repeat the command with --force");
    assert_eq!(nodes.primaries(), ["node1"]);
    two.pgbaton(["standby", "switchover", "--force", "--dry-run"]).run().code(0);
    support::send(startup, Signal::CONT);
    wait_for("the lag to be gone", SOON, || behind().status.code() == Some(0));
    two.pgbaton(["standby", "switchover"]).run().code(0);
    ledger.end().assert_kept_by(two);
}

/// The primary rejects connections, or its postmaster hangs: nothing begins, and the reason is reported.
/// A slot that is made on a standby keeps WAL from its last restartpoint on, and the next one may find that to be too much.
#[test]
fn a_slot_that_may_keep_little_is_not_lost_on_the_way() {
    let Some(pg) = postgres(18) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    for server in [one, two] {
        server
            .append_conf("max_slot_wal_keep_size = '16MB'\ncheckpoint_timeout = '1h'\nmax_wal_size = '1GB'");
        server.reload();
    }
    one.psql("CHECKPOINT");
    one.psql("CREATE TABLE much (n int)");
    for _ in 0..5 {
        one.psql("INSERT INTO much VALUES (1)");
        one.psql("SELECT pg_switch_wal()");
    }
    two.wait_for_replay_of(one);
    two.pgbaton(["standby", "switchover"]).run().code(0);
    two.wait_until(SLOTS, "repmgr_slot_1 true", SOON);
}

#[test]
fn a_primary_that_cannot_be_queried_stays_the_primary() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.pgbaton(["cluster", "show"]).run().code(0);
    let hba = std::fs::read_to_string(one.data.join("pg_hba.conf")).unwrap();
    one.set_hba("host all all 127.0.0.1/32 reject\nhost replication all 127.0.0.1/32 trust\n");
    one.reload();
    wait_for("the primary to reject connections", SOON, || {
        two.pgbaton(["cluster", "show"]).run().status.code() == Some(25)
    });
    let output = two.pgbaton(["standby", "switchover"]).run();
    output
        .code(6)
        .says("no primary can be reached")
        .says("pg_hba.conf rejects connection")
        .says("Nothing was changed.");
    std::fs::write(one.data.join("pg_hba.conf"), hba).unwrap();
    one.reload();
    wait_for("the primary to accept connections", SOON, || {
        two.pgbaton(["cluster", "show"]).run().status.code() == Some(0)
    });

    one.freeze_postmaster();
    let output = two.pgbaton(["standby", "switchover", "--timeout", "2"]).run();
    output.code(6).says("no primary can be reached").says("Nothing was changed.");
    // Open sessions go on writing, and it does not take long to find out.
    assert!(output.took < Duration::from_secs(15), "{output:?}");
    assert_eq!(two.psql(SLOTS), "");
    one.thaw();
    two.pgbaton(["standby", "switchover"]).run().code(0);
}

/// It hangs just when it is to stop. Sessions that are open go on writing there, so no other node may accept writes.
#[test]
fn no_standby_is_promoted_while_the_postmaster_hangs_at_the_stop() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let stop = format!("kill -STOP $(head -1 {})", one.data.join("postmaster.pid").display());
    nodes.configure(1, &format!("service_stop_command = \"{stop}\"\n"));
    nodes
        .configure(2, "shutdown_check_timeout = 2\nnode_rejoin_timeout = 3\nstandby_reconnect_timeout = 3\n");
    let observer = Observer::begin(&nodes.servers);
    let output = two.pgbaton(["--json", "standby", "switchover"]).run();
    output.code(18);
    assert_eq!(two.psql("SELECT pg_is_in_recovery()"), "t");
    assert!(!one.data.join("standby.signal").exists());
    assert_eq!(two.psql(SLOTS), "");
    one.thaw();
    assert_eq!(nodes.primaries(), ["node1"]);
    observer.assert_never_two();
}

/// What there is of a logical slot, by any name but that it is there.
const LOGICAL: &str = "SELECT coalesce(string_agg(concat_ws(' ', slot_name, failover, synced, temporary), ', '), 'none') \
    FROM pg_replication_slots WHERE slot_type = 'logical'";

/// Two nodes with failover slots, and a slot "sub" that the standby has a copy of.
fn with_failover_slot(pg: &Pg) -> Nodes {
    let nodes = Nodes::new(pg, 1);
    for server in [nodes.node(1), nodes.node(2)] {
        server.append_conf("wal_level = logical\nsync_replication_slots = on\nhot_standby_feedback = on");
        server.restart();
    }
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.psql("ALTER SYSTEM SET primary_slot_name = 'repmgr_slot_2'");
    let way = two.psql("SHOW primary_conninfo").replace('\'', "''");
    two.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{way} dbname=repmgr'"));
    two.reload();
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "1", SOON);
    one.psql("SELECT pg_create_logical_replication_slot('sub', 'pgoutput', false, false, true)");
    copied(one, two);
    nodes
}

/// Waits until the standby's copy of the slot can be used and has come as far.
fn copied(primary: &TestServer, standby: &TestServer) {
    let far = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'sub'";
    wait_for("the slot to be synchronized", Duration::from_secs(60), || {
        primary.psql("SELECT pg_log_standby_snapshot()");
        primary.psql("SELECT pg_replication_slot_advance('sub', pg_current_wal_lsn())");
        standby.psql(LOGICAL) == "sub t t f" && standby.psql(far) == primary.psql(far)
    });
}

#[test]
fn failover_slots_go_there_and_back() {
    for major in [17, 18] {
        let Some(pg) = postgres(major) else { return };
        let nodes = with_failover_slot(&pg);
        let (one, two) = (nodes.node(1), nodes.node(2));
        two.pgbaton(["node", "check", "--logical-slots"]).run().code(0);
        two.pgbaton(["standby", "switchover"]).run().code(0);
        assert_eq!(nodes.primaries(), ["node2"]);
        // It has not kept its own, and so it gets copies again.
        let own = "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical' AND NOT synced";
        one.wait_until(own, "0", SOON);
        copied(two, one);
        one.pgbaton(["node", "check", "--logical-slots"]).run().code(0);
        two.pgbaton(["node", "check", "--logical-slots"]).run().code(0);
        one.pgbaton(["standby", "switchover"]).run().code(0);
        copied(one, two);
    }
}

#[test]
fn a_former_primary_that_rejoins_does_not_keep_its_failover_slots() {
    for major in [17, 18] {
        let Some(pg) = postgres(major) else { return };
        let nodes = with_failover_slot(&pg);
        let (one, two) = (nodes.node(1), nodes.node(2));
        two.psql("ALTER SYSTEM SET sync_replication_slots = off");
        two.reload();
        two.wait_until(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'slotsync worker'",
            "0",
            SOON,
        );
        one.psql("SELECT pg_create_logical_replication_slot('only', 'pgoutput', false, false, true)");
        // Its readers have gone on since, and that is reported.
        one.psql("SELECT pg_log_standby_snapshot(); SELECT pg_replication_slot_advance('sub', pg_current_wal_lsn())");
        for server in [one, two] {
            server.pgbaton(["cluster", "show"]).run().code(0);
        }
        one.stop(StopMode::Fast);
        let promoted = two.pgbaton(["standby", "promote", "--force"]).run();
        promoted.code(0).says("copies of logical replication slots").says("\"sub\" is at ");
        two.psql("SELECT pg_replication_slot_advance('sub', pg_current_wal_lsn())");
        // By following: nothing is rewound, and so its slots are there still.
        let output = one.pgbaton(["node", "rejoin", "--yes", "--json"]).run();
        output.code(0).says("failover slot \"only\" was kept");
        assert_eq!(output.json()["data"]["rung"], "follow", "{output:?}");
        let own = "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE slot_type = 'logical' AND NOT synced";
        assert_eq!(one.psql(own), "only");
        one.psql("SELECT pg_drop_replication_slot('only')");
        copied(two, one);
    }
}

#[test]
fn a_slot_that_only_looks_like_a_copy_is_reported() {
    let Some(pg) = postgres(17) else { return };
    let nodes = with_failover_slot(&pg);
    let (one, two) = (nodes.node(1), nodes.node(2));
    // A slot that was made here, with the name of one of the primary.
    one.psql("SELECT pg_create_logical_replication_slot('own', 'pgoutput', false, false, true)");
    let made = std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            two.try_psql_as(
                "postgres",
                "postgres",
                "SELECT pg_create_logical_replication_slot('own', 'test_decoding')",
            )
        });
        wait_for("the snapshot that it needs", SOON, || {
            one.psql("SELECT pg_log_standby_snapshot()");
            making.is_finished()
        });
        making.join().unwrap()
    });
    if !made.status.success() {
        // The synchronization was faster: then a copy is there, and nothing of its own.
        assert!(made.stderr.contains("already exists"), "{made:?}");
        return;
    }
    let refused = two.pgbaton(["standby", "switchover"]).run();
    refused.code(1).says("\"own\" (a slot of the same name exists that is not synchronized)");
    assert!(!refused.stderr.contains("\"sub\" ("), "{refused:?}");
    let check = two.pgbaton(["node", "check", "--logical-slots"]).run();
    check.code(2).says("not synchronized to this node");
    assert!(
        format!("{}{}", check.stdout, check.stderr).contains("pg_drop_replication_slot('own')"),
        "{check:?}"
    );
    // Names that the new primary will not have.
    two.psql("SELECT pg_drop_replication_slot('own')");
    one.psql("SELECT pg_drop_replication_slot('own')");
    two.psql("ALTER SYSTEM SET synchronized_standby_slots = 'repmgr_slot_2'");
    two.reload();
    two.wait_until("SHOW synchronized_standby_slots", "repmgr_slot_2", SOON);
    let dry = two.pgbaton(["standby", "switchover", "--dry-run"]).run();
    dry.code(0)
        .says("subscribers of failover slots would receive nothing")
        .says("synchronized_standby_slots = ''");
}

#[test]
fn a_slot_that_the_new_primary_lacks_is_kept_and_reported() {
    let Some(pg) = postgres(17) else { return };
    let nodes = with_failover_slot(&pg);
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.psql("ALTER SYSTEM SET sync_replication_slots = off");
    two.reload();
    two.wait_until("SHOW sync_replication_slots", "off", SOON);
    one.psql("SELECT pg_create_logical_replication_slot('only', 'pgoutput', false, false, true)");
    let refused = two.pgbaton(["standby", "switchover"]).run();
    refused.code(1).says("\"only\" (it has no copy)");
    let done = two.pgbaton(["standby", "switchover", "--force"]).run();
    done.code(0).says("failover slot \"only\" was kept").says("SELECT pg_drop_replication_slot('only');");
    assert_eq!(one.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'only'"), "1");
}
