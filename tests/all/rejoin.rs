//! `node rejoin` and `standby rewind` on real servers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{
    self, Fault, Fingerprint, Nodes, Output, Pg, Proxy, Running, SOON, Side, Stepped, StopMode, TestServer,
    envelope, place, postgres, versions, wait_for,
};

/// The primary and a standby that has everything.
fn pair(pg: &Pg) -> Nodes {
    let nodes = Nodes::new(pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql_as("repmgr", "repmgr", "CREATE TABLE kept AS SELECT 1 AS a");
    two.wait_for_replay_of(one);
    nodes
}

/// Makes the standby the primary behind the old one's back.
fn take_over(two: &TestServer) {
    two.promote();
    two.psql_as(
        "repmgr",
        "repmgr",
        "UPDATE repmgr.nodes SET active = false WHERE node_id = 1; \
         UPDATE repmgr.nodes SET type = 'primary', upstream_node_id = NULL WHERE node_id = 2",
    );
}

/// Writes on the old primary what the new one will never have.
fn write_alone(one: &TestServer) {
    one.psql_as("repmgr", "repmgr", "CREATE TABLE lost AS SELECT 1 AS a");
    one.psql_as("repmgr", "repmgr", "INSERT INTO kept VALUES (99)");
}

/// An old primary with writes of its own, stopped in the given mode, and the new one.
fn diverged(pg: &Pg, stopped: Option<StopMode>) -> Nodes {
    let nodes = pair(pg);
    let (one, two) = (nodes.node(1), nodes.node(2));
    take_over(two);
    write_alone(one);
    if let Some(mode) = stopped {
        one.stop(mode);
    }
    nodes
}

/// The state of nodes, without what a command that has looked may remember.
fn seen(servers: &[&TestServer]) -> Fingerprint {
    Fingerprint::of(servers, &[]).without("state/topology.json")
}

/// Runs `node rejoin` on the old primary, with where the new one is.
fn rejoin(nodes: &Nodes, more: &[&str]) -> Output {
    let conninfo = nodes.node(2).conninfo();
    nodes.node(1).pgbaton(["--json", "node", "rejoin", "-d", &conninfo]).args(more).run()
}

/// What the old primary must be afterwards.
#[track_caller]
fn assert_rejoined(one: &TestServer, two: &TestServer) {
    one.wait_until("SELECT pg_is_in_recovery()", "t", SOON);
    two.wait_until(
        "SELECT state FROM pg_stat_replication WHERE application_name = 'node1'",
        "streaming",
        SOON,
    );
    two.psql_as("repmgr", "repmgr", "INSERT INTO kept VALUES (2)");
    one.wait_for_replay_of(two);
    let rows = "SELECT string_agg(a::text, ',' ORDER BY a) FROM kept";
    assert_eq!(one.psql_as("repmgr", "repmgr", rows), two.psql_as("repmgr", "repmgr", rows));
    assert_eq!(one.psql_as("repmgr", "repmgr", "SELECT to_regclass('lost') IS NULL"), "t");
    assert_eq!(one.psql("SHOW port"), one.port.to_string());
    assert_eq!(
        two.psql_as(
            "repmgr",
            "repmgr",
            "SELECT type, active, upstream_node_id FROM repmgr.nodes WHERE node_id = 1"
        ),
        "standby|t|2"
    );
}

fn tour(pg: &Pg) {
    for mode in [Some(StopMode::Fast), Some(StopMode::Immediate), None] {
        let nodes = diverged(pg, mode);
        let (one, two) = (nodes.node(1), nodes.node(2));
        let output = rejoin(&nodes, &["--force-rewind"]);
        output.code(0);
        let data = &output.json()["data"];
        assert_eq!(data["rung"], "rewind");
        assert!(data["wal_lost_bytes"].as_u64().unwrap() > 0, "{data}");
        assert_rejoined(one, two);
    }
}

#[test]
fn a_diverged_primary_is_rewound() {
    tour(&postgres(15).unwrap());
}

/// A target that a restore has left, in each state that a former primary may be in: it comes back as a standby, and stays one.
fn with_targets(pg: &Pg) {
    let set = |one: &TestServer, lines: &str| {
        one.append_conf(&format!("{lines}\nrecovery_target_action = 'promote'"));
    };
    let neutral = "SELECT string_agg(setting, '') FROM pg_settings WHERE name ~ '^recovery_target(_(lsn|name|time|xid))?$'";
    for (mode, target) in [
        (Some(StopMode::Fast), "recovery_target = 'immediate'"),
        (Some(StopMode::Immediate), "recovery_target_time = '2020-01-01 00:00:00+00'"),
        (None, "recovery_target_lsn = '0/1'"),
    ] {
        let nodes = diverged(pg, mode);
        let (one, two) = (nodes.node(1), nodes.node(2));
        set(one, target);
        let output = rejoin(&nodes, &["--force-rewind"]);
        output.code(0);
        assert_rejoined(one, two);
        assert_eq!(one.psql(neutral), "", "{target}");
        assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
    }
    // And one that has nothing of its own.
    let nodes = pair(pg);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.stop(StopMode::Fast);
    take_over(two);
    set(one, "recovery_target_xid = '7'");
    let output = rejoin(&nodes, &[]);
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "follow", "{output:?}");
    assert_rejoined(one, two);
    assert_eq!(one.psql(neutral), "");
}

#[test]
fn a_leftover_recovery_target_does_not_promote_a_node_that_rejoins() {
    with_targets(&postgres(15).unwrap());
}

#[test]
fn a_recovery_target_does_not_on_other_versions() {
    for pg in [13, 17, 18].into_iter().filter_map(postgres) {
        with_targets(&pg);
    }
}

#[test]
fn a_node_that_could_not_remain_a_standby_is_refused_and_left_unchanged() {
    let nodes = diverged(&postgres(15).unwrap(), Some(StopMode::Fast));
    let (one, two) = (nodes.node(1), nodes.node(2));
    // The new primary may still be writing the checkpoint of its promotion.
    let before = seen(&[one]);
    let conf = one.data.join("postgresql.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{text}max_connections = 30\n")).unwrap();
    let output = rejoin(&nodes, &["--force-rewind"]);
    output.code(1);
    assert!(output.stdout.contains("max_connections is 30") && output.stdout.contains("= 50;"), "{output:?}");
    std::fs::write(&conf, text).unwrap();
    let opts = one.data.join("postmaster.opts");
    let text = std::fs::read_to_string(&opts).unwrap();
    std::fs::write(&opts, format!("{} \"-c\" \"recovery_target=immediate\"\n", text.trim())).unwrap();
    let output = rejoin(&nodes, &["--force-rewind"]);
    output.code(1);
    assert!(output.stdout.contains("no configuration file overrides"), "{output:?}");
    std::fs::write(&opts, text).unwrap();
    before.assert_same(&seen(&[one]));
    rejoin(&nodes, &["--force-rewind"]).code(0);
    assert_rejoined(one, two);
}

#[test]
fn short_tour_on_other_versions() {
    for pg in versions().iter().filter(|pg| pg.major != 15) {
        tour(pg);
    }
}

// ---- what it asks, and what it refuses -----------------------------------------------------------------------------

#[test]
fn nothing_is_discarded_without_consent_and_a_dry_run_says_what_will_be_done() {
    let nodes = diverged(&postgres(15).unwrap(), Some(StopMode::Fast));
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.psql("CHECKPOINT");
    let before = seen(&[one, two]);
    let refused = rejoin(&nodes, &[]);
    refused.code(32).says("with 2 committed transactions would be discarded").says("Nothing was changed.");
    refused.says("committed between 20").says("WAL of node \"node1\" ends at").says("left that timeline at");
    refused.says("run: pg_waldump -p").says("repeat the command with --accept-data-loss");
    rejoin(&nodes, &["--force"]).code(32);
    rejoin(&nodes, &["--dry-run"]).code(32);
    let dry = rejoin(&nodes, &["--dry-run", "--yes"]);
    dry.code(0);
    before.assert_same(&seen(&[one, two]));
    // On its own, without -d: the last seen topology leads to the new primary.
    two.pgbaton(["cluster", "show"]).run().code(25);
    let done = rejoin(&nodes, &["--yes"]);
    done.code(0);
    let titles = |steps: &serde_json::Value| -> Vec<String> {
        let same_time = |title: &str| title.split("/kept/").next().unwrap().to_string();
        steps.as_array().unwrap().iter().map(|step| same_time(step["title"].as_str().unwrap())).collect()
    };
    assert_eq!(titles(&dry.json()["data"]["plan"]["steps"]), titles(&done.json()["data"]["steps"]));
    let data = &done.json()["data"];
    assert_eq!(
        (&data["from_node_id"], &data["to_node_id"], &data["timeline"]),
        (&1.into(), &2.into(), &2.into())
    );
    assert!(data["outage_s"].is_null() && data["wall_s"].as_f64().unwrap() > 0.0, "{data}");
    assert_rejoined(one, two);
    // The diverged WAL is where the answer says.
    let kept = PathBuf::from(data["kept"].as_str().unwrap());
    let dump = support::run_tool(
        &one.pg.tool("pg_waldump"),
        ["-p", &kept.join("pg_wal").to_string_lossy(), "-r", "Transaction", "000000010000000000000003"],
    );
    assert!(dump.stdout.contains("COMMIT"), "{dump:?}");
    assert_eq!(
        two.psql_as(
            "repmgr",
            "repmgr",
            "SELECT node_id, successful, details FROM repmgr.events WHERE event = 'node_rejoin'"
        ),
        "1|t|node 1 is now attached to node 2"
    );
    assert_eq!(two.psql("SELECT slot_name, active FROM pg_replication_slots"), "repmgr_slot_1|t");

    // Again: there is nothing to do, with a server that runs and streams.
    let again = rejoin(&nodes, &[]);
    again.code(0).says("already streams from \"node2\"; nothing was changed");
    assert_eq!(again.json()["data"]["rung"], "none");
    assert_eq!(again.json()["data"]["wal_lost_bytes"], 0);
}

#[test]
fn the_primary_is_found_by_what_was_last_seen() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.pgbaton(["cluster", "show"]).run().code(0);
    take_over(two);
    write_alone(one);
    one.stop(StopMode::Immediate);
    let output = one.pgbaton(["--json", "standby", "rewind", "--accept-data-loss"]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "rewind");
    assert_rejoined(one, two);
}

#[test]
fn a_host_that_knows_no_other_node_finds_the_primary_or_says_what_to_add() {
    let pg = postgres(15).unwrap();
    let nodes = Nodes::new(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    one.psql_as("repmgr", "repmgr", "CREATE TABLE kept AS SELECT 1 AS a");
    [two, three].iter().for_each(|standby| standby.wait_for_replay_of(one));
    one.stop(StopMode::Fast);
    take_over(two);
    three.pgbaton(["standby", "follow"]).run().code(0);
    let forgotten = || drop(std::fs::remove_file(one.dir.join("state/topology.json")));
    forgotten();
    let passfile = one.dir.join(".pgpass");
    let rejoin =
        || one.pgbaton(["--json", "node", "rejoin"]).env("PGPASSFILE", passfile.to_string_lossy()).run();
    let write = |text: &str| {
        std::fs::write(&passfile, text).unwrap();
        std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let line = |server: &TestServer| format!("127.0.0.1:{}:repmgr:repmgr:x\n", server.port);
    // Nothing leads anywhere, or only to servers of other clusters, or to no server.
    let before = seen(&[one]);
    let add = format!("HOST:5432:repmgr:repmgr:PASSWORD\" to \"{}\"", passfile.display());
    rejoin()
        .code(6)
        .says("no other node of the cluster is known")
        .says("user=repmgr dbname=repmgr")
        .says(&add);
    let elsewhere = nodes.cluster.foreign("elsewhere");
    write(&(line(&elsewhere) + "127.0.0.1:1:*:repmgr:x\n"));
    rejoin().code(6).says("belongs to another cluster").says("port=1").says("Nothing was changed.");
    std::fs::remove_file(&passfile).unwrap();
    before.assert_same(&seen(&[one]));
    // A standby of this cluster is found, and it knows the primary.
    write(&(line(&elsewhere) + &line(three)));
    rejoin().code(0);
    assert_rejoined(one, two);
    // By what its own files say that it would stream from, now that it is a standby; an old primary has that, too.
    std::fs::remove_file(&passfile).unwrap();
    one.stop(StopMode::Fast);
    forgotten();
    std::fs::remove_file(one.data.join("standby.signal")).unwrap();
    rejoin().code(0);
    assert_rejoined(one, two);
}

#[test]
fn a_running_old_primary_whose_rows_name_no_reachable_node_finds_the_new_one() {
    let nodes = diverged(&postgres(15).unwrap(), None);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let passfile = one.dir.join(".pgpass");
    std::fs::write(&passfile, format!("127.0.0.1:{}:repmgr:repmgr:x\n", two.port)).unwrap();
    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
    let _ = std::fs::remove_file(one.dir.join("state/topology.json"));
    let nowhere = "UPDATE repmgr.nodes SET conninfo = 'host=127.0.0.1 port=1 user=repmgr dbname=repmgr' WHERE node_id = 2";
    one.psql_as("repmgr", "repmgr", nowhere);
    let rejoin = one.pgbaton(["--json", "node", "rejoin", "--force-rewind"]);
    rejoin.env("PGPASSFILE", passfile.to_string_lossy()).run().code(0);
    assert_rejoined(one, two);
}

#[test]
fn a_node_that_has_not_diverged_only_follows() {
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let nodes = pair(&postgres(15).unwrap());
        let (one, two) = (nodes.node(1), nodes.node(2));
        one.psql("SELECT pg_create_physical_replication_slot('somebody', true)");
        two.wait_for_replay_of(one);
        one.stop(mode);
        take_over(two);
        let output = rejoin(&nodes, &[]);
        output.code(0).says("WAL of node \"node1\" ends at");
        let data = &output.json()["data"];
        assert_eq!((&data["rung"], &data["wal_lost_bytes"]), (&"follow".into(), &0.into()));
        assert_rejoined(one, two);
        // The slot of the node that it fed is dropped, another's is not.
        assert_eq!(one.psql("SELECT slot_name FROM pg_replication_slots"), "somebody");
    }
}

#[test]
fn a_failed_start_reports_what_remains() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.stop(StopMode::Fast);
    take_over(two);
    one.append_conf("shared_preload_libraries = 'nowhere'");
    let output = rejoin(&nodes, &[]);
    output
        .code(4)
        .says("nowhere")
        .says("Node \"node1\" will start as a standby only: standby.signal was written and stays.");
    output.says("All other changes have been undone.");
    assert!(output.json()["changed"] == true && one.data.join("standby.signal").exists());
    assert_eq!(two.psql("SELECT count(*) FROM pg_replication_slots"), "0");
    one.append_conf("shared_preload_libraries = ''");
    rejoin(&nodes, &[]).code(0);
    assert_rejoined(one, two);
}

#[test]
fn an_idle_old_primary_diverges_when_it_is_stopped_and_is_rewound() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    take_over(two);
    let output = rejoin(&nodes, &["--yes"]);
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "rewind");
    assert_rejoined(one, two);
}

#[test]
fn standby_rewind_rewinds_also_where_following_would_suffice() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.stop(StopMode::Fast);
    take_over(two);
    let conninfo = two.conninfo();
    let output = one.pgbaton(["--json", "standby", "rewind", "-d", &conninfo]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "rewind");
    assert_rejoined(one, two);
}

#[test]
fn what_cannot_be_the_right_cluster_or_primary_is_refused() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    // The one named is a standby, and the primary that it knows is the node itself.
    one.stop(StopMode::Fast);
    let output = rejoin(&nodes, &["--yes"]);
    output.code(32).says("no other node accepts writes").says("standby promote");
    take_over(two);
    // Else the one that ends the recovery goes on meanwhile.
    two.psql("CHECKPOINT");
    std::fs::rename(&one.data, one.dir.join("moved")).unwrap();
    let foreign = nodes.cluster.foreign("foreign");
    foreign.stop(StopMode::Fast);
    std::fs::rename(&foreign.data, &one.data).unwrap();
    let before = seen(&[one, two]);
    let output = rejoin(&nodes, &["--yes", "--force", "--accept-data-loss", "--reclone"]);
    // The node's own state says it first; without that, the primary does.
    output.code(1).says("belongs to another cluster or node").says("system identifier");
    before.assert_same(&seen(&[one, two]));
    std::fs::rename(one.dir.join("state"), one.dir.join("state.old")).unwrap();
    let output = rejoin(&nodes, &["--yes", "--force", "--accept-data-loss", "--reclone"]);
    output.code(1).says("belongs to another cluster than \"node2\"").says("system identifier");
}

#[test]
fn a_standby_that_streams_from_the_node_is_not_left_behind() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    one.psql_as("repmgr", "repmgr", "CREATE TABLE kept AS SELECT 1 AS a");
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    take_over(two);
    write_alone(one);
    three.wait_for_replay_of(one);
    rejoin(&nodes, &["--yes"]).code(32).says("\"node3\" streams from node \"node1\"");
    assert!(one.is_running());

    // The standby has what the old primary wrote alone: it is rewound as well, running as it is. The slot is made for it.
    let conninfo = two.conninfo();
    let output = three.pgbaton(["--json", "node", "rejoin", "-d", &conninfo, "--yes"]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "rewind");
    assert_eq!(three.psql_as("repmgr", "repmgr", "SELECT to_regclass('lost') IS NULL"), "t");
    rejoin(&nodes, &["--yes"]).code(0);
    one.wait_until("SELECT pg_is_in_recovery()", "t", SOON);
}

#[test]
fn a_crashed_standby_that_was_ahead_is_rewound() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    one.psql_as("repmgr", "repmgr", "CREATE TABLE kept AS SELECT 1 AS a");
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    two.psql("ALTER SYSTEM SET primary_conninfo = ''");
    two.reload();
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    write_alone(one);
    three.wait_for_replay_of(one);
    one.kill9();
    three.kill9();
    take_over(two);
    let conninfo = two.conninfo();
    let output = three.pgbaton(["--json", "node", "rejoin", "-d", &conninfo, "--yes"]).run();
    output.code(0).says("run crash recovery of node");
    assert_eq!(output.json()["data"]["rung"], "rewind");
    two.psql_as("repmgr", "repmgr", "INSERT INTO kept VALUES (2)");
    three.wait_for_replay_of(two);
    assert_eq!(three.psql_as("repmgr", "repmgr", "SELECT to_regclass('lost') IS NULL"), "t");
    assert_eq!(three.psql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn a_running_standby_whose_upstream_is_gone_follows_without_a_restart() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    one.stop(StopMode::Fast);
    take_over(two);
    let started = three.psql("SELECT pg_postmaster_start_time()");
    let conninfo = two.conninfo();
    let output = three.pgbaton(["--json", "node", "rejoin", "-d", &conninfo]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "follow");
    assert_eq!(three.psql("SELECT pg_postmaster_start_time()"), started);
    three.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    // Its control file knows nothing of the new timeline before the next restartpoint.
    two.psql("CREATE TABLE more ()");
    three.wait_for_replay_of(two);
    for kill in [false, true] {
        if kill {
            three.kill9();
        }
        let output = three.pgbaton(["node", "rejoin", "-d", &conninfo]).run();
        output.code(0).says("on timeline 2, and \"node2\" is at");
        three.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    }
}

// ---- the traps -----------------------------------------------------------------------------------------------------

#[test]
fn a_rewind_waits_for_a_source_whose_control_file_shows_the_old_timeline() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    // The checkpoint after the promotion is spread over half an hour.
    for setting in
        ["checkpoint_timeout = '30min'", "checkpoint_completion_target = 0.9", "max_wal_size = '10GB'"]
    {
        two.psql(&format!("ALTER SYSTEM SET {setting}"));
    }
    two.reload();
    one.psql_as("repmgr", "repmgr", "CREATE TABLE dirty AS SELECT generate_series(1, 200000) AS a");
    two.wait_for_replay_of(one);
    take_over(two);
    write_alone(one);
    one.stop(StopMode::Fast);
    assert_eq!(two.control_data("Latest checkpoint's TimeLineID"), "1", "the trap is not set");
    let output = rejoin(&nodes, &["--yes"]);
    output.code(0).says("write a checkpoint on node \"node2\"");
    assert_rejoined(one, two);
}

/// Little WAL is kept, and much is written: the checkpoint of the stop itself recycles what a rewind needs.
fn forgetful(one: &TestServer) {
    for setting in ["wal_keep_size = 0", "min_wal_size = '32MB'"] {
        one.psql(&format!("ALTER SYSTEM SET {setting}"));
    }
    one.reload();
}

fn write_much(one: &TestServer) {
    write_alone(one);
    one.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active");
    for _ in 0..5 {
        one.psql_as("repmgr", "repmgr", "INSERT INTO lost VALUES (1)");
        one.psql("SELECT pg_switch_wal()");
    }
}

#[test]
fn the_stop_of_the_node_does_not_recycle_the_wal_that_the_rewind_reads() {
    for mode in [None, Some(StopMode::Immediate)] {
        let nodes = pair(&postgres(15).unwrap());
        let (one, two) = (nodes.node(1), nodes.node(2));
        forgetful(one);
        take_over(two);
        write_much(one);
        if let Some(mode) = mode {
            one.stop(mode);
        }
        assert!(one.data.join("pg_wal/000000010000000000000003").exists(), "the trap is not set");
        let output = rejoin(&nodes, &["--yes"]);
        output.code(0);
        assert_rejoined(one, two);
        assert_eq!(one.psql("SHOW wal_keep_size"), "0");
        // What is kept is what was lost, all of it.
        assert!(output.json()["data"]["wal_lost_bytes"].as_u64().unwrap() > 4 * (16 << 20));
    }
}

/// The old primary was stopped by other means, and the WAL that a rewind needs no longer has WAL it. With an archive, if there is one.
fn recycled(archive: bool, more: &[&str]) -> (Nodes, Output) {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    forgetful(one);
    if archive {
        let place = one.dir.join("archive");
        std::fs::create_dir(&place).unwrap();
        one.psql("ALTER SYSTEM SET archive_mode = on");
        one.psql(&format!("ALTER SYSTEM SET archive_command = 'cp %p {}/%f'", place.display()));
        one.psql(&format!("ALTER SYSTEM SET restore_command = 'cp {}/%f %p'", place.display()));
        one.restart();
        two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    }
    take_over(two);
    write_much(one);
    one.psql("CHECKPOINT");
    one.stop(StopMode::Fast);
    assert!(!one.data.join("pg_wal/000000010000000000000003").exists(), "the trap is not set");
    // Else the one that ends the recovery goes on meanwhile.
    two.psql("CHECKPOINT");
    let before = seen(&[one, two]);
    let output = rejoin(&nodes, more);
    if output.status.code() == Some(1) {
        before.assert_same(&seen(&[one, two]));
    }
    (nodes, output)
}

#[test]
fn wal_that_only_the_node_itself_still_has_is_restored_after_the_rewind() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.psql("ALTER SYSTEM SET wal_keep_size = 0");
    two.reload();
    let needed = one.psql("CHECKPOINT; SELECT pg_walfile_name(redo_lsn) FROM pg_control_checkpoint()");
    for _ in 0..3 {
        one.psql_as("repmgr", "repmgr", "INSERT INTO kept VALUES (1)");
        one.psql("SELECT pg_switch_wal()");
    }
    one.psql_as("repmgr", "repmgr", "INSERT INTO kept VALUES (1)");
    two.wait_for_replay_of(one);
    take_over(two);
    two.psql("CHECKPOINT");
    assert!(!two.data.join("pg_wal").join(&needed).exists(), "the trap is not set");
    write_alone(one);
    one.stop(StopMode::Immediate);
    rejoin(&nodes, &["--yes"]).code(0);
    assert_rejoined(one, two);
}

#[test]
fn wal_that_is_gone_comes_from_the_archive() {
    let (nodes, output) = recycled(true, &["--yes"]);
    output.code(0);
    let data = &output.json()["data"];
    assert_eq!(data["rung"], "rewind_archive");
    assert!(data["wal_lost_bytes"].as_u64().unwrap() > 4 * (16 << 20));
    assert_rejoined(nodes.node(1), nodes.node(2));
}

/// A primary that has died, its successor that has written much since, and whether the successor keeps what the former one needs.
fn much_written_since(pg: &Pg, limit: &str) -> (Nodes, Output) {
    let nodes = pair(pg);
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.append_conf(&format!(
        "max_slot_wal_keep_size = '{limit}'\nmin_wal_size = '32MB'\nmax_wal_size = '32MB'\nwal_recycle = off"
    ));
    two.reload();
    one.psql("CHECKPOINT");
    two.wait_for_replay_of(one);
    two.psql("CHECKPOINT");
    for server in [one, two] {
        server.pgbaton(["cluster", "show"]).run().code(0);
    }
    one.kill9();
    let promoted = two.pgbaton(["standby", "promote"]).run();
    promoted.code(0);
    for _ in 0..4 {
        two.psql("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000)); SELECT pg_switch_wal()");
        two.psql("CHECKPOINT");
    }
    (nodes, promoted)
}

#[test]
fn wal_that_a_dead_primary_needs_is_kept_until_it_is_back() {
    for pg in versions() {
        let slot = "SELECT string_agg(slot_name || ' ' || active, ', ') FROM pg_replication_slots";
        let (nodes, promoted) = much_written_since(&pg, "1GB");
        let (one, two) = (nodes.node(1), nodes.node(2));
        assert!(!promoted.stderr.contains("may remove WAL"), "{promoted:?}");
        assert_eq!(two.psql(slot), "repmgr_slot_1 false");
        // It is no stale one.
        let check = two.pgbaton(["node", "check", "--slots"]).run();
        check.code(1);
        let said = format!("{}{}", check.stdout, check.stderr);
        assert!(said.contains("node rejoin") && !said.contains("pg_drop_replication_slot"), "{said}");
        let output = one.pgbaton(["node", "rejoin", "--yes", "--json"]).run();
        output.code(0);
        assert_ne!(output.json()["data"]["rung"], "reclone", "{output:?}");
        assert_rejoined(one, two);
        two.wait_until(slot, "repmgr_slot_1 true", SOON);
        drop(nodes);

        // A node that uses no slots drops it.
        let (nodes, _) = much_written_since(&pg, "1GB");
        let (one, two) = (nodes.node(1), nodes.node(2));
        one.node_config(1, "use_replication_slots = false");
        one.pgbaton(["node", "rejoin", "--yes"]).run().code(0);
        assert_eq!(two.psql(slot), "");
        drop(nodes);

        // Where a slot could fill the disk there is none, and that is said.
        let (nodes, promoted) = much_written_since(&pg, "-1");
        promoted.says("may remove WAL that node \"node1\" needs").says("SET wal_keep_size");
        assert_eq!(nodes.node(2).psql(slot), "");
    }
}

#[test]
fn without_an_archive_only_a_new_clone_helps_and_the_old_directory_stays() {
    let (_, output) = recycled(false, &["--yes"]);
    output.code(1).says("WAL that a rewind of node \"node1\" has to read is missing").says("--reclone");

    let (nodes, output) = recycled(false, &["--yes", "--reclone"]);
    let (one, two) = (nodes.node(1), nodes.node(2));
    output.code(0);
    let data = &output.json()["data"];
    assert_eq!(data["rung"], "reclone");
    assert_rejoined(one, two);
    let aside = PathBuf::from(data["kept"].as_str().unwrap());
    assert!(aside.join("PG_VERSION").exists() && aside.join("standby.signal").exists(), "{aside:?}");
}

#[test]
fn a_new_clone_that_fails_leaves_the_old_directory_where_it_was() {
    let nodes = diverged(&postgres(15).unwrap(), Some(StopMode::Fast));
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.append_conf("wal_log_hints = off");
    one.start();
    one.stop(StopMode::Fast);
    one.node_config(1, "pg_basebackup_options = \"--bogus\"");
    // Its WAL is elsewhere, in a directory that the group may read.
    let (link, wal) = (one.data.join("pg_wal"), one.dir.join("wal"));
    std::fs::rename(&link, &wal).unwrap();
    std::os::unix::fs::symlink(&wal, &link).unwrap();
    let leads_to = |link: &Path| std::fs::read_link(link).unwrap();
    std::fs::write(wal.join("mark"), "").unwrap();
    let before = std::fs::read(one.data.join("global/pg_control")).unwrap();
    let output = rejoin(&nodes, &["--yes", "--reclone"]);
    output.code(14).says("bogus");
    assert_eq!(std::fs::read(one.data.join("global/pg_control")).unwrap(), before);
    assert_eq!(leads_to(&link), wal);
    assert!(wal.join("mark").exists());
    assert_eq!(two.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_1'"), "0");
    assert!(!comes_up_writable(one));

    // One that succeeds has its WAL in the same place, and the old directory keeps its own.
    one.node_config(1, "");
    one.start();
    let output = rejoin(&nodes, &["--yes", "--reclone"]);
    output.code(0);
    assert_rejoined(one, two);
    let aside = PathBuf::from(output.json()["data"]["kept"].as_str().unwrap());
    assert_eq!(leads_to(&link), wal);
    let old = leads_to(&aside.join("pg_wal"));
    assert!(old != wal && old.parent() == wal.parent(), "{old:?}");
    assert!(old.join("mark").exists() && !wal.join("mark").exists());
}

#[test]
fn two_promotions_to_the_same_timeline_are_distinguished() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    one.psql_as("repmgr", "repmgr", "CREATE TABLE kept AS SELECT 1 AS a");
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    one.stop(StopMode::Fast);
    three.promote();
    three.psql_as("repmgr", "repmgr", "CREATE TABLE private AS SELECT 1 AS a");
    take_over(two);
    // Else the one that ends the recovery goes on meanwhile.
    three.psql("CHECKPOINT");
    for stopped in [false, true] {
        if stopped {
            three.stop(StopMode::Fast);
        }
        let before = seen(&[three]);
        let conninfo = two.conninfo();
        let output = three.pgbaton(["node", "rejoin", "-d", &conninfo, "--yes", "--force"]).run();
        output.code(32).says("on the same timeline").says("--reclone");
        before.assert_same(&seen(&[three]));
    }
    let conninfo = two.conninfo();
    let output = three.pgbaton(["--json", "node", "rejoin", "-d", &conninfo, "--yes", "--reclone"]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "reclone");
    assert_eq!(three.psql_as("repmgr", "repmgr", "SELECT to_regclass('private') IS NULL"), "t");
}

#[test]
fn a_server_that_accepted_writes_without_its_standby_signal_is_detected() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.stop(StopMode::Fast);
    std::fs::remove_file(two.data.join("standby.signal")).unwrap();
    two.start();
    two.stop(StopMode::Fast);
    one.psql_as("repmgr", "repmgr", "CREATE TABLE kept AS SELECT generate_series(1, 10000) AS a");
    let conninfo = one.conninfo();
    let output = two.pgbaton(["node", "rejoin", "-d", &conninfo, "--yes"]).run();
    output.code(32).says("on the same timeline").says("--reclone");
}

/// As repmgr does with a standby that has crashed: it is recovered as a primary for the sake of pg_rewind, which then finds nothing to do,
/// and follows with a checkpoint of its own in its past. What it receives overwrites that.
#[test]
fn a_standby_that_was_recovered_as_a_primary_is_detected() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.kill9();
    std::fs::remove_file(two.data.join("standby.signal")).unwrap();
    let mut single = support::clean_command(&two.pg.tool("postgres"));
    single.args(["--single", "-F", "-D"]).arg(&two.data).arg("template1").stdin(std::process::Stdio::null());
    Running::start(single).wait(SOON).code(0);
    one.psql_as("repmgr", "repmgr", "INSERT INTO kept SELECT generate_series(2, 10000)");
    std::fs::write(two.data.join("standby.signal"), "").unwrap();
    two.start();
    let overwritten = || {
        let log = std::fs::read_dir(two.dir.join("log")).unwrap().flatten().map(|file| file.path());
        log.map(|path| std::fs::read_to_string(path).unwrap())
            .any(|text| text.contains("incorrect prev-link"))
    };
    wait_for("it to have received WAL over its own", SOON, overwritten);
    let conninfo = one.conninfo();
    let rejoin = |more: &[&str]| {
        two.pgbaton(["node", "rejoin", "-d", &conninfo, "--yes", "--json"])
            .args(more)
            .deadline(2 * SOON)
            .run()
    };
    two.with_configuration("standby_follow_timeout = 1", || {
        two.pgbaton(["standby", "follow"]).run().code(23).says("run on it: pgbaton node rejoin --dry-run");
    });
    let refused = |running: bool| {
        let output = rejoin(&[]);
        envelope(&output, "node rejoin", 32, false);
        output.says("on the same timeline").says("has overwritten it").says("--reclone");
        assert_eq!(two.is_running(), running);
    };
    refused(true);
    two.stop(StopMode::Fast);
    refused(false);
    let output = rejoin(&["--reclone"]);
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "reclone");
    two.wait_for_replay_of(one);
}

/// Not so a standby that was cut off when it had just followed a promotion: of the segment in which the timeline was switched it has two
/// files, and the newer one has not come as far as its last checkpoint.
#[test]
fn a_standby_that_has_received_little_of_a_new_timeline_only_follows() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.pgbaton(["standby", "switchover"]).run().code(0);
    one.wait_for_replay_of(two);
    one.kill9();
    assert_eq!(one.control_data("Latest checkpoint's TimeLineID"), "1");
    let checkpoint = one.control_data("Latest checkpoint location");
    let (_, low) = checkpoint.split_once('/').unwrap();
    let low = u64::from_str_radix(low, 16).unwrap();
    let name = format!("0000000200000000{:08X}", low >> 24);
    let file = std::fs::File::options().write(true).open(one.data.join("pg_wal").join(name)).unwrap();
    let at = low % (1 << 24);
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; (1 << 24) - usize::try_from(at).unwrap()], at)
        .unwrap();
    let conninfo = two.conninfo();
    let output = one.pgbaton(["--json", "node", "rejoin", "-d", &conninfo]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "follow");
    assert_rejoined(one, two);
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_nodes_own_files_stay_its_own() {
    let nodes = diverged(&postgres(15).unwrap(), Some(StopMode::Fast));
    let (one, two) = (nodes.node(1), nodes.node(2));
    write(&one.data.join("conf.d/own.conf"), "work_mem = '5MB'\n", 0o600);
    write(&one.data.join("server.key"), "own", 0o400);
    write(&one.data.join("log/old.log"), "own", 0o640);
    write(&one.dir.join("elsewhere.conf"), "maintenance_work_mem = '7MB'\n", 0o600);
    std::os::unix::fs::symlink("../elsewhere.conf", one.data.join("linked.conf")).unwrap();
    one.append_conf("include_dir = 'conf.d'\ninclude 'linked.conf'\n# own\n");
    write(&two.data.join("conf.d/theirs.conf"), "work_mem = '9MB'\n", 0o600);
    write(&two.data.join("server.key"), "theirs", 0o600);
    write(&two.data.join("linked.conf"), "maintenance_work_mem = '9MB'\n", 0o600);
    two.append_conf("# theirs\n");
    two.psql("SELECT pg_create_physical_replication_slot('theirs', true)");
    let auto = std::fs::read_to_string(one.data.join("postgresql.auto.conf")).unwrap();
    let output = rejoin(&nodes, &["--yes", "--config-files=postgresql.conf,nothing.conf"]);
    output.code(0).says("there is no file \"nothing.conf\"");
    assert_rejoined(one, two);
    assert_eq!(
        one.psql("SELECT current_setting('work_mem') || current_setting('maintenance_work_mem')"),
        "5MB7MB"
    );
    let read = |name: &str| std::fs::read_to_string(one.data.join(name)).unwrap();
    assert!(read("postgresql.conf").contains("# own") && !read("postgresql.conf").contains("# theirs"));
    assert!(read("postgresql.auto.conf").starts_with(&auto));
    assert_eq!((read("server.key"), read("log/old.log")), ("own".into(), "own".into()));
    let mode = one.data.join("server.key").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o400);
    assert!(!one.data.join("conf.d/theirs.conf").exists());
    assert!(one.data.join("linked.conf").is_symlink());
    assert_eq!(one.psql("SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(one.data.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn files_that_pg_rewind_cannot_write_are_reported_before_anything_changes() {
    let nodes = diverged(&postgres(15).unwrap(), Some(StopMode::Fast));
    let (one, two) = (nodes.node(1), nodes.node(2));
    let file = one.data.join("global/pg_filenode.map");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
    // Else the one that ends the recovery goes on meanwhile.
    two.psql("CHECKPOINT");
    let before = seen(&[one, two]);
    rejoin(&nodes, &["--yes"]).code(1).says("\"global/pg_filenode.map\"");
    before.assert_same(&seen(&[one, two]));
}

#[test]
fn waiting_segments_are_archived_unless_they_hold_discarded_wal() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    let place = one.dir.join("archive");
    std::fs::create_dir(&place).unwrap();
    one.psql("ALTER SYSTEM SET archive_mode = on");
    one.psql("ALTER SYSTEM SET archive_command = 'false'");
    one.restart();
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    let shared = one.psql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    one.psql("SELECT pg_switch_wal()");
    one.psql_as("repmgr", "repmgr", "INSERT INTO kept VALUES (1)");
    two.wait_for_replay_of(one);
    take_over(two);
    write_alone(one);
    let alone = one.psql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    one.psql("SELECT pg_switch_wal()");
    one.psql(&format!("ALTER SYSTEM SET archive_command = 'cp %p {}/%f'", place.display()));
    one.stop(StopMode::Immediate);
    let output = rejoin(&nodes, &["--yes"]);
    output.code(0).says("archive the WAL that is waiting for it");
    assert!(place.join(&shared).exists(), "{shared} in {place:?}");
    assert!(!place.join(&alone).exists(), "{alone}");
    assert_rejoined(one, two);
}

#[test]
fn slots_that_a_rewind_removes_are_reported() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql("SELECT pg_create_physical_replication_slot('somebody', true)");
    take_over(two);
    write_alone(one);
    rejoin(&nodes, &["--yes"]).code(0).says("A rewind removes them: \"somebody\".");
    assert_rejoined(one, two);
}

#[test]
fn neither_checksums_nor_hints_make_a_rewind_unsafe() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.append_conf("wal_log_hints = off");
    one.restart();
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    take_over(two);
    write_alone(one);
    one.stop(StopMode::Fast);
    let before = seen(&[one, two]);
    rejoin(&nodes, &["--yes"]).code(1).says("neither data checksums nor wal_log_hints").says("--reclone");
    before.assert_same(&seen(&[one, two]));
}

#[test]
fn a_role_with_the_four_functions_is_enough() {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql_as(
        "postgres",
        "repmgr",
        "GRANT ALL ON SCHEMA repmgr, pgbaton TO baton; GRANT ALL ON ALL TABLES IN SCHEMA repmgr, pgbaton TO baton; \
         GRANT ALL ON ALL SEQUENCES IN SCHEMA pgbaton TO baton; \
         UPDATE repmgr.nodes SET repluser = 'baton', conninfo = replace(conninfo, 'user=repmgr', 'user=baton')",
    );
    two.wait_for_replay_of(one);
    for node in [one, two] {
        let text = std::fs::read_to_string(node.config()).unwrap().replace("user=repmgr", "user=baton");
        std::fs::write(node.config(), text).unwrap();
    }
    take_over(two);
    two.psql("CHECKPOINT");
    write_alone(one);
    one.stop(StopMode::Fast);
    let conninfo = two.conninfo_as("baton", "repmgr");
    let run = || one.pgbaton(["--json", "node", "rejoin", "--yes", "-d", &conninfo]).run();
    let before = seen(&[one, two]);
    let refused = run();
    refused.code(1).says("lacks the privilege to read the files of \"node2\"").says("in database \"repmgr\"");
    before.assert_same(&seen(&[one, two]));
    // The statements of the hint, as they stand.
    let text = refused.stderr.clone();
    let grants: Vec<&str> = text
        .match_indices("GRANT EXECUTE")
        .map(|(at, _)| &text[at..=at + text[at..].find(';').unwrap()])
        .collect();
    assert_eq!(grants.len(), 4, "{text}");
    two.psql_as("postgres", "repmgr", &grants.join(" "));
    run().code(0);
    one.wait_until("SELECT pg_is_in_recovery()", "t", SOON);
    two.wait_until("SELECT usename || state FROM pg_stat_replication", "batonstreaming", SOON);
}

// ---- cut short -----------------------------------------------------------------------------------------------------

/// Starts the server as a supervisor would; returns whether it accepted writes.
fn comes_up_writable(one: &TestServer) -> bool {
    if !one.try_start().status.success() {
        return false;
    }
    let answer = one.psql("SELECT pg_is_in_recovery()") == "f";
    one.stop(StopMode::Fast);
    answer
}

/// Nodes whose traffic to the new primary can be cut, with enough to copy to be cut in the middle.
fn behind_a_proxy() -> (Nodes, Proxy) {
    let nodes = pair(&postgres(15).unwrap());
    let (one, two) = (nodes.node(1), nodes.node(2));
    let proxy = Proxy::to(two.port);
    let conninfo = two.conninfo().replace(&two.port.to_string(), &proxy.port.to_string());
    two.psql("ALTER SYSTEM SET wal_keep_size = '1GB'");
    two.reload();
    take_over(two);
    two.psql_as(
        "repmgr",
        "repmgr",
        &format!("UPDATE repmgr.nodes SET conninfo = '{conninfo}' WHERE node_id = 2"),
    );
    two.psql_as("repmgr", "repmgr", "CREATE TABLE much AS SELECT generate_series(1, 3000000) AS a");
    two.psql("CHECKPOINT");
    write_alone(one);
    one.stop(StopMode::Fast);
    (nodes, proxy)
}

/// Begins a rejoin and waits until pg_rewind copies the table that the old primary does not have.
fn copying(one: &TestServer, two: &TestServer) -> Running {
    let path = one.data.join(two.psql_as("repmgr", "repmgr", "SELECT pg_relation_filepath('much')"));
    let conninfo = two.conninfo();
    let mut running = one.pgbaton(["--json", "node", "rejoin", "--yes", "-d", &conninfo]).spawn();
    let begun = Instant::now();
    while !path.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        assert!(begun.elapsed() < SOON && running.is_running(), "{:?}", running.wait(SOON));
        std::thread::sleep(Duration::from_millis(1));
    }
    running
}

#[test]
fn a_connection_lost_in_the_middle_leaves_nothing_that_starts_and_can_be_resumed() {
    let (nodes, proxy) = behind_a_proxy();
    let (one, two) = (nodes.node(1), nodes.node(2));
    let running = copying(one, two);
    proxy.set(Fault::Refuse);
    proxy.cut();
    let output = running.wait(Duration::from_secs(60));
    output.code(24).says("operation resume");
    assert!(!one.try_start().status.success(), "{}", one.log_tail());
    one.pgbaton(["node", "start"]).run().code(1).says("rewind");
    let refused = one.pgbaton(["standby", "promote"]).run();
    assert_ne!(refused.status.code(), Some(0), "{refused:?}");
    proxy.set(Fault::None);
    rejoin(&nodes, &[]).code(0).says("resumed").says("NODE REJOIN successful");
    assert_rejoined(one, two);
    assert_eq!(one.psql_as("repmgr", "repmgr", "SELECT count(*) FROM much"), "3000000");
}

#[test]
fn an_abandoned_rewind_leaves_only_a_new_clone() {
    let (nodes, proxy) = behind_a_proxy();
    let (one, two) = (nodes.node(1), nodes.node(2));
    let running = copying(one, two);
    proxy.set(Fault::Refuse);
    proxy.cut();
    running.wait(Duration::from_secs(60)).code(24);
    proxy.set(Fault::None);
    one.pgbaton(["operation", "abandon"]).run();
    assert!(!comes_up_writable(one));
    rejoin(&nodes, &["--yes"]).code(1).says("was interrupted").says("--reclone");
    let output = rejoin(&nodes, &["--reclone"]);
    output.code(0);
    assert_eq!(output.json()["data"]["rung"], "reclone");
    assert_rejoined(one, two);
}

/// Kills the command before or after it writes a line of its journal; false if it was done before.
fn killed_at(nodes: &Nodes, line: usize, side: Side) -> bool {
    let (one, conninfo) = (nodes.node(1), nodes.node(2).conninfo());
    let mut running = Stepped::start(one.pgbaton(["node", "rejoin", "--yes", "-d", &conninfo]));
    if !running.run_to_line(line, side) {
        running.ended().wait(SOON).code(0);
        return false;
    }
    running.kill().wait(SOON);
    true
}

fn killed_everywhere(stopped: Option<StopMode>, step: usize) {
    for number in (0..).step_by(step) {
        let (line, side) = place(number);
        let nodes = diverged(&postgres(15).unwrap(), stopped);
        let (one, two) = (nodes.node(1), nodes.node(2));
        if !killed_at(&nodes, line, side) {
            assert!(line > 10, "it was done after {line} lines");
            return;
        }
        let signal = one.data.join("standby.signal").exists();
        let blocked = one.data.metadata().unwrap().permissions().mode() & 0o002 != 0;
        if !one.is_running() && (signal || blocked) {
            assert!(!comes_up_writable(one), "killed {side:?} line {line}");
        }
        // A server that comes up in between does so as a standby, and the same command goes on.
        let output = rejoin(&nodes, &["--yes"]);
        output.code(0);
        assert_rejoined(one, two);
    }
}

#[test]
fn a_rejoin_killed_at_any_mark_never_starts_read_write_and_the_same_command_completes_it() {
    // All of them with --all.
    let step = if support::slow() { 1 } else { 13 };
    killed_everywhere(None, step);
    killed_everywhere(Some(StopMode::Immediate), step);
}

/// Runs the rejoin on a terminal of a program. `early` is typed before there is a question, `answer` when there is one.
fn answered(nodes: &Nodes, early: &str, answer: &str) -> (i32, String) {
    use std::io::{Read, Write};
    let (one, two) = (nodes.node(1), nodes.node(2));
    let command = format!(
        "sleep 1; exec {} -f {} node rejoin -d '{}'",
        env!("CARGO_BIN_EXE_pgbaton"),
        one.config().display(),
        two.conninfo()
    );
    let mut script = support::clean_command(std::path::Path::new("/usr/bin/timeout"));
    script.args(["100", "/usr/bin/script", "-qec", &command, "/dev/null"]).env("HOME", nodes.cluster.dir());
    script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut terminal = script.spawn().unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut screen = terminal.stdout.take().unwrap();
    let mut shown = String::new();
    // The terminal has it as soon as it shows it: long before the question.
    keys.write_all(early.as_bytes()).unwrap();
    let mut part = [0; 1024];
    while !shown.ends_with("[y/N] ") {
        let length = screen.read(&mut part).unwrap();
        assert_ne!(length, 0, "it has ended without a question: {shown}");
        shown.push_str(&String::from_utf8_lossy(&part[..length]));
    }
    keys.write_all(answer.as_bytes()).unwrap();
    screen.read_to_string(&mut shown).unwrap();
    (terminal.wait().unwrap().code().unwrap(), shown)
}

#[test]
fn only_a_yes_that_is_typed_after_the_question_counts() {
    let nodes = diverged(&postgres(15).unwrap(), Some(StopMode::Fast));
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.psql("CHECKPOINT");
    for (early, answer) in [("", "x\r"), ("", "\r"), ("", " \r"), ("", "yesterday\r"), ("y\ryes\r", "n\r")] {
        let (code, shown) = answered(&nodes, early, answer);
        assert_eq!(code, 32, "{early:?} {answer:?}: {shown}");
        assert!(!one.is_running());
    }
    let (code, shown) = answered(&nodes, "n\r", "Yes\r");
    assert_eq!(code, 0, "{shown}");
    assert_rejoined(one, two);
}

#[test]
fn transactions_committed_after_the_checks_are_not_discarded_silently() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql("CREATE TABLE t (a int)");
    two.wait_for_replay_of(one);
    two.promote();
    // A client that commits as long as it can.
    let socket = one.socket_dir.display();
    let psql =
        format!("{} -X -h {socket} -p {} -U postgres -d postgres", one.pg.tool("psql").display(), one.port);
    let stop = format!("{} -D {} -m fast -w stop", one.pg.tool("pg_ctl").display(), one.data.display());
    nodes.configure(1, &format!("service_stop_command = \"{psql} -c 'INSERT INTO t VALUES (1)'; {stop}\""));
    let refused = one.pgbaton(["node", "rejoin"]).run();
    refused.code(24).says("More transactions were committed here before the server was stopped");
    refused.says("1 transactions were committed after").says("None of them is discarded.");
    refused.says("The server of node \"node1\" was stopped.").says("Run the command again");
    // Now it is reported, and consent requested.
    one.pgbaton(["node", "rejoin"]).run().code(32).says("with 1 committed transaction would be discarded");
    one.pgbaton(["node", "rejoin", "--yes"]).run().code(0);
    assert_eq!(one.psql("SELECT count(*) FROM t"), "0");
}
