//! `cluster show` is correct in every state of the cluster. Every state is a real one; its JSON is a file in `snapshots/show`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    self, Fault, Output, Pg, Proxy, SOON, StopMode, TestCluster, TestServer, majors, postgres, send, wait_for,
};

/// Makes a registered primary and standbys `node2`, `node3`, … of it, which stream, and are registered on it.
fn cluster(pg: &Pg, standbys: usize) -> (TestCluster, Vec<TestServer>) {
    let cluster = TestCluster::new(pg);
    let primary = cluster.primary("node1");
    primary.node_config(1, "use_replication_slots = false");
    primary.pgbaton(["primary", "register"]).run().code(0);
    let mut nodes = vec![primary];
    for id in 2..2 + standbys {
        let node = cluster.standby(&format!("node{id}"), &nodes[0]);
        node.node_config(i32::try_from(id).unwrap(), "use_replication_slots = false");
        register(&nodes[0], id, &node.name, "standby", Some(1), &node.conninfo());
        nodes.push(node);
    }
    settle(&nodes);
    (cluster, nodes)
}

/// Writes a row, by hand as it were.
fn register(on: &TestServer, id: usize, name: &str, kind: &str, upstream: Option<i32>, conninfo: &str) {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    metadata(
        on,
        &format!(
            "INSERT INTO repmgr.nodes (node_id, upstream_node_id, active, node_name, type, location, priority, conninfo, \
             repluser, config_file) VALUES ({id}, {}, true, {}, {}, 'default', 100, {}, 'repmgr', '/etc/pgbaton.toml')",
            upstream.map_or("NULL".to_string(), |id| id.to_string()),
            quoted(name),
            quoted(kind),
            quoted(conninfo),
        ),
    );
}

fn metadata(on: &TestServer, sql: &str) {
    on.psql_as("repmgr", "repmgr", sql);
}

/// Waits until all have replayed what the first has written.
fn settle(nodes: &[TestServer]) {
    nodes.iter().skip(1).for_each(|node| node.wait_for_replay_of(&nodes[0]));
}

fn show(node: &TestServer) -> Output {
    node.pgbaton(["cluster", "show", "--format", "json"]).run()
}

/// Compares what a node shows with the committed file, exit code included. SNAPSHOTS=overwrite writes it.
#[track_caller]
fn assert_shows(node: &TestServer, name: &str) -> Value {
    let expected = std::fs::read_to_string(place(&format!("{name}.json"))).unwrap_or_default();
    let mut output = show(node);
    // To look at the primary may make it write WAL, which the standbys have a moment later.
    for _ in 0..10 {
        if output.visible_json() == expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        output = show(node);
    }
    same(&output, name);
    let document = output.json();
    assert_eq!(document["exit_code"], output.status.code().unwrap(), "{output:?}");
    document
}

#[track_caller]
fn same(output: &Output, name: &str) {
    snapshot(&output.visible_json(), &format!("{name}.json"));
}

fn place(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/show").join(file)
}

#[track_caller]
fn snapshot(actual: &str, file: &str) {
    let path = place(file);
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = snapbox::Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw();
    snapbox::Assert::new().eq(actual, expected);
}

fn codes(document: &Value) -> Vec<&str> {
    document["issues"].as_array().unwrap().iter().map(|issue| issue["code"].as_str().unwrap()).collect()
}

fn state(document: &Value) -> &str {
    document["data"]["cluster"]["state"].as_str().unwrap()
}

#[test]
fn healthy_cluster() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 0);
    assert_shows(&nodes[0], "alone");
    drop((_cluster, nodes));

    let (cluster, mut nodes) = cluster(&pg, 2);
    assert_shows(&nodes[0], "healthy");
    assert_shows(&nodes[1], "healthy");
    let plain = nodes[1].pgbaton(["cluster", "show"]).run();
    snapshot(&plain.code(0).visible(), "healthy.txt");
    snapshot(&nodes[1].pgbaton(["cluster", "show", "--compact"]).run().visible(), "healthy-compact.txt");
    snapshot(&nodes[1].pgbaton(["cluster", "show", "--csv"]).run().visible(), "healthy-csv.txt");
    // The same from anywhere, without a configuration.
    let empty = cluster.empty("nowhere");
    let port = nodes[2].port.to_string();
    let args = ["-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr", "cluster", "show", "--json"];
    same(empty.pgbaton(args).run().code(0), "healthy-elsewhere");

    // An idle standby does not fall behind.
    let document = show(&nodes[0]).json();
    assert_eq!(document["data"]["nodes"][1]["replay_lag_s"], 0.0);
    // A cascade.
    let cascaded = cluster.standby("node4", &nodes[1]);
    register(&nodes[0], 4, "node4", "standby", Some(2), &cascaded.conninfo());
    nodes.push(cascaded);
    settle(&nodes);
    assert_shows(&nodes[0], "cascade");
    // It is registered elsewhere than it streams from.
    metadata(&nodes[0], "UPDATE repmgr.nodes SET upstream_node_id = 1 WHERE node_id = 4");
    settle(&nodes);
    assert_shows(&nodes[1], "upstream-differs");
    // The middle one is gone: what it fed cannot be attached to it.
    metadata(&nodes[0], "UPDATE repmgr.nodes SET upstream_node_id = 2 WHERE node_id = 4");
    settle(&nodes);
    nodes[1].stop(StopMode::Fast);
    nodes[3].wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    assert_shows(&nodes[0], "middle-down");
    snapshot(&nodes[0].pgbaton(["cluster", "show"]).run().code(25).visible(), "middle-down.txt");
    // Marked as inactive, as by a repmgrd, it is no less down.
    metadata(&nodes[0], "DELETE FROM repmgr.nodes WHERE node_id = 4");
    metadata(&nodes[0], "UPDATE repmgr.nodes SET active = false WHERE node_id = 2");
    settle(&nodes[..1]);
    assert_shows(&nodes[0], "inactive-down");
}

#[test]
fn primary_dead_and_then_all_nodes() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 2);
    for node in &nodes {
        show(node).code(0);
    }
    // To look at a server may make it write WAL, which the standbys may not have yet.
    settle(&nodes);
    nodes[0].kill9();
    nodes[1].wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    nodes[2].wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    assert_shows(&nodes[1], "primary-dead");
    // Also on the host of the dead primary, which knows the others from before.
    assert_shows(&nodes[0], "primary-dead");
    snapshot(&nodes[0].pgbaton(["cluster", "show"]).run().code(25).visible(), "primary-dead.txt");
    nodes[1].stop(StopMode::Fast);
    assert_shows(&nodes[2], "one-standby-answers");
    assert_shows(&nodes[0], "one-standby-answers");
    nodes[2].stop(StopMode::Fast);
    assert_shows(&nodes[2], "nobody-answers");
    snapshot(&nodes[2].pgbaton(["cluster", "show"]).run().code(25).visible(), "nobody-answers.txt");
    // No node responds, and nothing was seen before.
    std::fs::remove_dir_all(nodes[2].dir.join("state")).unwrap();
    same(show(&nodes[2]).code(6), "nobody-answers-never-seen");
}

#[test]
fn promoted_by_hand_and_the_old_primary_returns() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 2);
    show(&nodes[0]).code(0);
    // To look at a server may make it write WAL, which one of the others may not have yet.
    settle(&nodes);
    nodes[0].kill9();
    nodes[2].wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    nodes[1].promote();
    nodes[1].psql("CHECKPOINT");
    assert_shows(&nodes[1], "promoted-by-hand");
    assert_shows(&nodes[2], "promoted-by-hand");
    nodes[0].start();
    nodes[2].wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    nodes[0].psql("CHECKPOINT");
    nodes[2].wait_for_replay_of(&nodes[0]);
    // On the node that came back its own rows say that all is well.
    assert_shows(&nodes[0], "two-primaries");
    assert_shows(&nodes[1], "two-primaries");
    snapshot(&nodes[1].pgbaton(["cluster", "show"]).run().code(25).visible(), "two-primaries.txt");
    // The new primary is gone again; what was seen of it is not.
    show(&nodes[0]).code(25);
    nodes[1].stop(StopMode::Fast);
    let document = show(&nodes[0]).json();
    assert!(codes(&document).contains(&"primary_outdated"), "{document:#}");
    assert_shows(&nodes[0], "outdated-primary");
}

/// Two standbys that have everything, promoted apart: their history files agree to the byte.
fn promoted_apart(pg: &Pg) -> (TestCluster, Vec<TestServer>) {
    let (cluster, nodes) = cluster(pg, 2);
    nodes[0].stop(StopMode::Fast);
    let end = "SELECT pg_last_wal_replay_lsn()";
    wait_for("both to have everything", SOON, || nodes[1].psql(end) == nodes[2].psql(end));
    nodes[1].promote();
    nodes[2].promote();
    let history = |node: &TestServer| std::fs::read(node.data.join("pg_wal/00000002.history")).unwrap();
    assert_eq!(history(&nodes[1]), history(&nodes[2]));
    (cluster, nodes)
}

#[test]
fn forked_histories_on_one_timeline() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = promoted_apart(&pg);
    nodes[1].psql("CREATE TABLE only_here ()");
    assert_shows(&nodes[1], "forked-two-primaries");
    // Made a standby of the other without a rewind it streams, and looks healthy to all other nodes.
    nodes[2].stop(StopMode::Fast);
    std::fs::write(nodes[2].data.join("standby.signal"), "").unwrap();
    nodes[2].append_conf(&format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=repmgr application_name=node3'",
        nodes[1].port
    ));
    nodes[2].start();
    metadata(
        &nodes[1],
        "UPDATE repmgr.nodes SET type = 'primary', upstream_node_id = NULL WHERE node_id = 2",
    );
    metadata(&nodes[1], "UPDATE repmgr.nodes SET upstream_node_id = 2 WHERE node_id = 3");
    metadata(&nodes[1], "UPDATE repmgr.nodes SET active = false WHERE node_id = 1");
    let document = show(&nodes[1]).json();
    assert!(codes(&document).contains(&"forked"), "{document:#}");
    assert!(
        document.to_string().contains("was started by two different promotions, both at"),
        "{document:#}"
    );
}

#[test]
fn forked_histories_differ_in_where() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 2);
    // One of them misses the end.
    nodes[2].psql("SELECT pg_wal_replay_pause()");
    nodes[2].stop(StopMode::Fast);
    nodes[0].psql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    nodes[1].wait_for_replay_of(&nodes[0]);
    nodes[0].kill9();
    nodes[2].start();
    nodes[1].promote();
    nodes[2].promote();
    let document = show(&nodes[1]).json();
    assert_eq!(state(&document), "split_brain");
    assert!(document.to_string().contains("The history files differ"), "{document:#}");
}

#[test]
fn replay_lag_and_pause() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 1);
    nodes[1].psql("SELECT pg_wal_replay_pause()");
    nodes[1].wait_until("SELECT pg_get_wal_replay_pause_state()", "paused", SOON);
    nodes[0].psql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
    nodes[1].wait_until("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()", "t", SOON);
    let end = nodes[0].psql("SELECT pg_current_wal_lsn()");
    nodes[1].wait_until(&format!("SELECT pg_last_wal_receive_lsn() >= '{end}'"), "t", SOON);
    assert_shows(&nodes[0], "replay-paused");
    nodes[1].psql("SELECT pg_wal_replay_resume()");
    settle(&nodes);
    // As late as it is meant to be.
    nodes[1].append_conf("recovery_min_apply_delay = '1h'");
    nodes[1].reload();
    nodes[1].wait_until("SHOW recovery_min_apply_delay", "1h", SOON);
    nodes[1].node_config(2, "replication_lag_warning = 1");
    nodes[0].psql("INSERT INTO t VALUES (0)");
    wait_for("a lag that is meant", SOON, || {
        let document = show(&nodes[1]).json();
        assert_eq!(codes(&document), [""; 0]);
        document["data"]["nodes"][1]["replay_lag_s"].as_f64().is_some_and(|lag| lag >= 2.0)
    });
    nodes[1].append_conf("recovery_min_apply_delay = 0");
    nodes[1].reload();
    settle(&nodes);
    // Behind, and not paused.
    let startup = nodes[1].process_titled("startup");
    send(startup, Signal::STOP);
    nodes[0].psql("INSERT INTO t VALUES (0)");
    let mut document = Value::Null;
    wait_for("a lag", SOON, || {
        document = show(&nodes[1]).json();
        codes(&document) == ["replication_lag"]
    });
    send(startup, Signal::CONT);
    assert_eq!(state(&document), "degraded");
}

#[test]
fn slots_missing_lost_and_unused() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 1);
    metadata(&nodes[0], "UPDATE repmgr.nodes SET slot_name = 'repmgr_slot_2' WHERE node_id = 2");
    settle(&nodes);
    assert_shows(&nodes[0], "slot-missing");
    nodes[0].psql("SELECT pg_create_physical_replication_slot('repmgr_slot_2', true)");
    assert_shows(&nodes[0], "slot-unused");
    // With the command that is shown; and so where the slot is missing.
    nodes[1].node_config(2, "");
    for next in ["unused", "missing"] {
        let document = show(&nodes[0]).json();
        assert_eq!(
            document["data"]["cluster"]["next"][0], "pgbaton standby follow  # on \"node2\"",
            "{next}"
        );
        nodes[1].pgbaton(["standby", "follow"]).run().code(0);
        settle(&nodes);
        show(&nodes[0]).code(0);
        nodes[1].psql("ALTER SYSTEM SET primary_slot_name = ''");
        nodes[1].reload();
        nodes[0].wait_until("SELECT active FROM pg_replication_slots", "f", SOON);
        nodes[0].psql("SELECT pg_drop_replication_slot('repmgr_slot_2')");
        settle(&nodes);
    }
    nodes[1].pgbaton(["standby", "follow"]).run().code(0);
    nodes[0].wait_until("SELECT active FROM pg_replication_slots", "t", SOON);
    nodes[0].wait_until("SELECT state FROM pg_stat_replication", "streaming", SOON);
    settle(&nodes);
    assert_shows(&nodes[0], "slot-used");
    nodes[1].stop(StopMode::Fast);
    nodes[0].append_conf("max_slot_wal_keep_size = '1MB'\nwal_keep_size = 0\nmax_wal_size = '32MB'");
    nodes[0].reload();
    wait_for("the slot to be lost", SOON, || {
        nodes[0].psql("CREATE TABLE IF NOT EXISTS t (i int)");
        for _ in 0..4 {
            nodes[0].psql("INSERT INTO t VALUES (1)");
            nodes[0].psql("SELECT pg_switch_wal()");
        }
        nodes[0].psql("CHECKPOINT");
        nodes[0].psql("SELECT wal_status FROM pg_replication_slots") == "lost"
    });
    nodes[1].start();
    assert_shows(&nodes[0], "slot-lost");
}

#[test]
fn attachment() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 1);
    // Under another name it streams nevertheless.
    let link = |name: &str, port: u16| {
        nodes[1].append_conf(&format!(
            "primary_conninfo = 'host=127.0.0.1 port={port} user=repmgr application_name={name}'"
        ));
        // postgresql.auto.conf wins.
        std::fs::write(nodes[1].data.join("postgresql.auto.conf"), "").unwrap();
        nodes[1].reload();
    };
    link("other", nodes[0].port);
    nodes[0].wait_until("SELECT application_name || state FROM pg_stat_replication", "otherstreaming", SOON);
    settle(&nodes);
    assert_shows(&nodes[0], "another-application-name");
    // That port is closed.
    link("node2", 1);
    nodes[0].wait_until("SELECT count(*) FROM pg_stat_replication", "0", SOON);
    nodes[1].wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "0", SOON);
    let document = show(&nodes[0]).json();
    assert_eq!(codes(&document), ["not_attached"]);
    assert_eq!(document["data"]["nodes"][1]["attached"], false);
}

#[test]
fn rows_edited_by_hand() {
    let Some(pg) = postgres(15) else { return };
    let (cluster, nodes) = cluster(&pg, 2);
    let edit = |sql: &str| {
        metadata(&nodes[0], sql);
        settle(&nodes);
    };
    edit("ALTER TABLE repmgr.nodes DROP CONSTRAINT IF EXISTS nodes_type_check");
    edit("UPDATE repmgr.nodes SET type = 'slave' WHERE node_id = 2");
    assert_shows(&nodes[0], "row-wrong-type");
    edit("UPDATE repmgr.nodes SET type = 'witness' WHERE node_id = 2");
    assert_shows(&nodes[0], "row-witness-of-a-standby");
    edit("UPDATE repmgr.nodes SET type = 'primary' WHERE node_id = 2");
    assert_shows(&nodes[0], "row-two-primaries");
    edit("UPDATE repmgr.nodes SET type = 'standby', upstream_node_id = 3 WHERE node_id = 2");
    edit("UPDATE repmgr.nodes SET upstream_node_id = 2 WHERE node_id = 3");
    assert_shows(&nodes[0], "row-circle");
    edit("UPDATE repmgr.nodes SET upstream_node_id = NULL WHERE node_id = 2");
    edit("UPDATE repmgr.nodes SET upstream_node_id = 3 WHERE node_id = 3");
    assert_shows(&nodes[0], "row-no-upstream");
    edit("UPDATE repmgr.nodes SET upstream_node_id = 1 WHERE node_id > 1");
    let good = nodes[1].conninfo();
    edit("UPDATE repmgr.nodes SET conninfo = 'host=''127.0.0.1 password=secret' WHERE node_id = 2");
    let output = show(&nodes[0]);
    assert!(!format!("{output:?}").contains("secret"), "{output:?}");
    same(&output, "row-bad-conninfo");
    edit(&format!("UPDATE repmgr.nodes SET conninfo = '{}' WHERE node_id = 2", nodes[0].conninfo()));
    assert_shows(&nodes[0], "row-same-server");
    let foreign = cluster.foreign("other");
    edit(&format!("UPDATE repmgr.nodes SET conninfo = '{}' WHERE node_id = 2", foreign.conninfo()));
    assert_shows(&nodes[0], "row-foreign");
    // A password goes nowhere.
    edit(&format!("UPDATE repmgr.nodes SET conninfo = '{good} password=secret' WHERE node_id = 2"));
    let output = show(&nodes[0]);
    output.code(0);
    assert!(!format!("{output:?}").contains("secret"), "{output:?}");
    let kept = std::fs::read_to_string(nodes[0].dir.join("state/topology.json")).unwrap();
    assert!(kept.contains("node2") && !kept.contains("secret"), "{kept}");
}

#[test]
fn names_and_witness() {
    let Some(pg) = postgres(15) else { return };
    let (cluster, nodes) = cluster(&pg, 1);
    let witness = cluster.foreign("witness");
    register(&nodes[0], 3, "witness", "witness", Some(1), &witness.conninfo());
    settle(&nodes);
    assert_shows(&nodes[0], "witness");
    snapshot(&nodes[0].pgbaton(["cluster", "show"]).run().code(0).visible(), "witness.txt");
    witness.stop(StopMode::Fast);
    assert_shows(&nodes[0], "witness-down");
    metadata(&nodes[0], "DELETE FROM repmgr.nodes WHERE node_id = 3");
    metadata(&nodes[0], "UPDATE repmgr.nodes SET node_name = 'nœud \"2\" d''été' WHERE node_id = 2");
    nodes[1].append_conf(&format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=repmgr application_name=''nœud \"2\" d\\\\''été'''",
        nodes[0].port
    ));
    std::fs::write(nodes[1].data.join("postgresql.auto.conf"), "").unwrap();
    nodes[1].reload();
    nodes[0].wait_until(
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name LIKE 'n%2%'",
        "1",
        SOON,
    );
    settle(&nodes);
    assert_shows(&nodes[0], "odd-name");
}

#[test]
fn nodes_that_cannot_be_queried() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 2);
    let conninfo = nodes[1].conninfo();
    nodes[1].prepend_hba("host repmgr repmgr 127.0.0.1/32 scram-sha-256");
    nodes[1].reload();
    wait_for("the password to be asked for", SOON, || show(&nodes[0]).status.code() == Some(25));
    assert_shows(&nodes[0], "password-missing");
    metadata(
        &nodes[0],
        &format!("UPDATE repmgr.nodes SET conninfo = '{conninfo} password=wrong' WHERE node_id = 2"),
    );
    settle(&nodes);
    assert_shows(&nodes[0], "password-wrong");
    metadata(&nodes[0], &format!("UPDATE repmgr.nodes SET conninfo = '{conninfo}' WHERE node_id = 2"));
    settle(&nodes);
    nodes[1].set_hba("host all all 127.0.0.1/32 trust");
    nodes[1].psql("ALTER SYSTEM SET hot_standby = off");
    nodes[1].stop(StopMode::Fast);
    nodes[1].try_start();
    wait_for("the server to answer that it starts", SOON, || {
        let text = show(&nodes[0]).stdout;
        text.contains("not accepting connections") || text.contains("starting up")
    });
    let document = show(&nodes[0]).json();
    assert_eq!(codes(&document), ["node_rejects"]);
    assert_eq!(document["data"]["nodes"][1]["status"], "running");
    // All connections are taken, by superusers too.
    let mut open = Vec::new();
    wait_for("no connection to be free", SOON, || {
        // One of them may have come while all places were taken for a moment.
        for _ in 0..if open.is_empty() { 50 } else { 1 } {
            let mut command = support::clean_command(&nodes[2].pg.tool("psql"));
            command.args(["-XAtq", "-d", &nodes[2].conninfo(), "-c", "SELECT pg_sleep(120)"]);
            open.push(support::Running::start(command));
        }
        show(&nodes[0]).stdout.contains("too many clients")
    });
    let document = show(&nodes[0]).json();
    assert_eq!(codes(&document), ["node_rejects", "node_rejects"]);
}

#[test]
fn frozen_and_black_holed() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 2);
    for node in &nodes {
        show(node).code(0);
    }
    let proxy = Proxy::to(nodes[1].port);
    let through = format!("host=127.0.0.1 port={} user=repmgr dbname=repmgr connect_timeout=1", proxy.port);
    metadata(&nodes[0], &format!("UPDATE repmgr.nodes SET conninfo = '{through}' WHERE node_id = 2"));
    settle(&nodes);
    proxy.set(Fault::BlackHole);
    let document = show(&nodes[0]).json();
    assert_eq!(codes(&document), ["node_unreachable"]);
    assert_eq!(state(&document), "degraded");
    proxy.set(Fault::None);
    show(&nodes[0]).code(0);
    // A frozen primary may be alive.
    nodes[0].freeze();
    let timed = |node: &TestServer| node.pgbaton(["cluster", "show", "--json", "--timeout", "2"]).run();
    let output = timed(&nodes[2]);
    let document = output.json();
    assert_eq!(state(&document), "no_primary", "{document:#}");
    assert!(document["issues"].to_string().contains("seems to be alive"), "{document:#}");
    // Where the local server is the frozen one, the others are asked all the same.
    let document = timed(&nodes[0]).json();
    assert_eq!(document["data"]["nodes"][2]["reachable"], true, "{document:#}");
    nodes[1].freeze();
    nodes[2].freeze();
    let output = timed(&nodes[2]);
    assert_eq!(state(&output.json()), "unknown");
    assert!(output.took < Duration::from_secs(10), "{output:?}");
    // Without what was seen before.
    std::fs::remove_dir_all(nodes[2].dir.join("state")).unwrap();
    let output = timed(&nodes[2]);
    assert!(output.code(6).took < Duration::from_secs(10), "{output:?}");
}

#[test]
fn a_role_with_few_privileges() {
    let Some(pg) = postgres(15) else { return };
    let (cluster, nodes) = cluster(&pg, 1);
    for role in ["baton", "plain"] {
        if role == "plain" {
            nodes[0].psql("CREATE ROLE plain LOGIN");
        }
        metadata(&nodes[0], &format!("GRANT USAGE ON SCHEMA repmgr TO {role}"));
        metadata(&nodes[0], &format!("GRANT SELECT ON ALL TABLES IN SCHEMA repmgr TO {role}"));
        metadata(
            &nodes[0],
            &format!(
                "UPDATE repmgr.nodes SET conninfo = regexp_replace(conninfo, 'user=\\w+', 'user={role}')"
            ),
        );
        settle(&nodes);
        let from = cluster.empty(role);
        let port = nodes[0].port.to_string();
        let args = ["-h", "127.0.0.1", "-p", &port, "-U", role, "-d", "repmgr", "cluster", "show", "--json"];
        same(from.pgbaton(args).run().code(0), &format!("role-{role}"));
    }
    // A role that may not even read the metadata.
    nodes[0].psql("CREATE ROLE nobody LOGIN");
    let from = cluster.empty("nobody");
    let port = nodes[0].port.to_string();
    let args = ["-h", "127.0.0.1", "-p", &port, "-U", "nobody", "-d", "repmgr", "cluster", "show", "--json"];
    same(from.pgbaton(args).run().code(7), "role-nobody");
    let args =
        ["-h", "127.0.0.1", "-p", &port, "-U", "nobody", "-d", "postgres", "cluster", "show", "--json"];
    same(from.pgbaton(args).run().code(7), "no-metadata");
}

#[test]
fn what_was_last_seen() {
    use std::os::unix::fs::PermissionsExt;
    let Some(pg) = postgres(15) else { return };
    let (cluster, nodes) = cluster(&pg, 1);
    let (state_dir, file) = (nodes[0].dir.join("state"), nodes[0].dir.join("state/topology.json"));
    show(&nodes[0]).code(0);
    let whole = std::fs::read_to_string(&file).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&state_dir)), (0o600, 0o700));
    // Damaged: reported once, and written anew.
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let output = show(&nodes[0]);
    output.code(0).says("could not read the saved topology");
    let again = show(&nodes[0]);
    assert_eq!(again.code(0).stderr, "", "{again:?}");
    // Of another cluster: its nodes are asked, and not believed.
    let other = cluster.foreign("other");
    other.node_config(1, "");
    other.pgbaton(["primary", "register"]).run().code(0);
    let of_other = std::fs::read_to_string(other.dir.join("state/topology.json"));
    std::fs::write(&file, of_other.unwrap_or_default()).unwrap();
    let document = show(&nodes[0]).json();
    assert_eq!(
        document["data"]["cluster"]["system_identifier"].as_str().unwrap(),
        nodes[0].system_identifier()
    );
    assert_eq!(document["data"]["nodes"][0]["node_name"], "node1");
    // Looking at another cluster by -h does not overwrite what is known of this one.
    let port = other.port.to_string();
    other.pgbaton(["cluster", "show"]).run().code(0);
    metadata(&other, "UPDATE repmgr.nodes SET node_name = 'elsewhere'");
    nodes[0]
        .pgbaton(["-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr", "cluster", "show"])
        .run()
        .code(0);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("elsewhere"));
    // A directory that cannot be written to: a warning, once.
    let config = std::fs::read_to_string(nodes[0].config()).unwrap();
    let config = config.replace(&*state_dir.to_string_lossy(), "/proc/no/such/place");
    std::fs::write(nodes[0].config(), config).unwrap();
    let output = nodes[0].pgbaton(["cluster", "show"]).run();
    output.code(0);
    assert_eq!(output.stderr.matches("WARNING: could not save the topology").count(), 1, "{output:?}");
}

#[test]
fn watching_ends_with_the_exit_code_of_the_last_picture() {
    let Some(pg) = postgres(15) else { return };
    let (_cluster, nodes) = cluster(&pg, 1);
    let watch = |args: &[&str]| {
        let words = ["cluster", "show", "--watch", "0.2"].into_iter().chain(args.iter().copied());
        nodes[0].pgbaton(words).spawn()
    };
    let mut running = watch(&[]);
    running.wait_for_stderr("healthy", SOON);
    running.signal(Signal::INT);
    let output = running.wait(SOON);
    output.code(0);
    assert!(output.stdout.contains("every 0.2 s") && !output.stdout.contains('\x1b'), "{output:?}");
    nodes[1].stop(StopMode::Fast);
    let mut running = watch(&[]);
    running.wait_for_stderr("degraded", SOON);
    running.signal(Signal::INT);
    let output = running.wait(SOON);
    let pictures = output.code(25).stdout.matches("every 0.2 s").count();
    assert_eq!(output.stderr.matches("is unreachable").count(), pictures, "{output:?}");
    // One document per line, and none for the end. Each says what is wrong with the configuration, as that of a single run does.
    let text = std::fs::read_to_string(nodes[0].config()).unwrap();
    let named = format!("node_name = \"{}", nodes[0].name);
    assert!(text.contains(&named), "{text}");
    std::fs::write(nodes[0].config(), text.replace(&named, &format!("{named}\u{e4}"))).unwrap();
    let single = show(&nodes[0]).json();
    assert_eq!(single["issues"][0]["code"], "config_node_name", "{single:#}");
    let running = watch(&["--json"]);
    running.wait_for_lines(2, SOON);
    running.signal(Signal::INT);
    let output = running.wait(SOON);
    output.code(25);
    for line in output.stdout.lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        assert_eq!(document["exit_code"], 25);
        let codes = |document: &Value| -> Vec<Value> {
            document["issues"].as_array().unwrap().iter().map(|issue| issue["code"].clone()).collect()
        };
        assert_eq!(codes(&document), codes(&single));
    }
}

#[test]
fn short_tour_on_other_versions() {
    for pg in majors().into_iter().filter(|pg| [13, 17, 18].contains(&pg.major)) {
        let (tour, nodes) = cluster(&pg, 2);
        assert_shows(&nodes[0], "healthy");
        nodes[0].kill9();
        nodes[1].wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
        nodes[2].wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
        let document = show(&nodes[1]).json();
        assert_eq!((state(&document), pg.major), ("no_primary", pg.major));
        drop((tour, nodes));
        let (_cluster, nodes) = promoted_apart(&pg);
        let document = show(&nodes[1]).json();
        assert_eq!(state(&document), "split_brain");
        assert!(
            document.to_string().contains("was started by two different promotions, both at"),
            "PostgreSQL {}: {document:#}",
            pg.major
        );
    }
}
