//! The monitoring history that a daemon leaves: shown, and cleaned up.

use serde_json::Value;

use crate::support::{
    Fingerprint, Nodes, Pg, SOON, StopMode, TestCluster, TestServer, configure, envelope, executed, majors,
    metadata, planned, postgres, real_repmgr, registered, registered_standby, repmgr_conf, wait_for,
    with_real_repmgr,
};

/// Writes records of node 2 and 3, as repmgrd does: one an hour for so many days.
fn record(server: &TestServer, days: u32) {
    metadata(
        server,
        &format!(
            "INSERT INTO repmgr.monitoring_history SELECT 1, node, now() - make_interval(hours => hour),
               now() - make_interval(hours => hour, secs => 3), '0/5000000', '0/4000000', 16777216, 4096
             FROM generate_series(1, 24 * {days}) hour, generate_series(2, 3) node"
        ),
    );
}

const COUNT: &str = "SELECT count(*) FROM repmgr.monitoring_history";

fn history(pg: &Pg) {
    let cluster = TestCluster::new(pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = registered_standby(&cluster, "node2", 2, &node1);
    record(&node1, 10);
    let cleanup = |words: &[&str]| node2.pgbaton(["--json", "cluster", "cleanup"].iter().chain(words)).run();
    // Seen with -v only, where it was recorded, and of registered nodes.
    let shown = |words: &[&str]| {
        node2.wait_for_replay_of(&node1);
        node2.pgbaton(["cluster", "show"].iter().chain(words)).run().json()["data"]["monitoring"].clone()
    };
    assert_eq!(shown(&["--json"]), Value::Null);
    let monitoring = shown(&["--json", "-v"]);
    assert_eq!(monitoring.as_array().unwrap().len(), 1, "{monitoring}");
    let first = &monitoring[0];
    assert_eq!((&first["standby_node_id"], &first["primary_node_id"]), (&2.into(), &1.into()));
    assert_eq!(first["last_wal_primary_location"], "0/5000000");
    assert_eq!(first["last_wal_standby_location"], "0/4000000");
    assert_eq!(
        (&first["replication_lag_bytes"], &first["apply_lag_bytes"]),
        (&16_777_216.into(), &4096.into())
    );
    for time in ["last_monitor_time", "last_apply_time"] {
        assert!(first[time].as_str().unwrap().ends_with('Z'), "{first}");
    }
    let table = node2.pgbaton(["cluster", "show", "-v"]).run().code(0).stdout.clone();
    let line = table.lines().last().unwrap();
    assert!(line.starts_with(" node2   | node1   | 60 minutes ago ("), "{table}");
    assert!(line.trim_end().ends_with("| 16 MB        | 4096 bytes   | 3 s"), "{table}");
    assert!(!node2.pgbaton(["cluster", "show"]).run().code(0).stdout.contains("minutes ago"));

    // Nothing is done in a dry run; then the old ones of one node, those of a node that is gone, and all.
    let before = Fingerprint::of(&[&node1, &node2], &[]);
    let dry = cleanup(&["--keep-history=7", "--node-id=2", "--dry-run"]);
    envelope(&dry, "cluster cleanup", 0, false);
    before.assert_same(&Fingerprint::of(&[&node1, &node2], &[]));
    let done = cleanup(&["-k", "7", "--node-name=node2"]);
    let json = envelope(&done, "cluster cleanup", 0, true);
    assert_eq!(planned(&dry)[1], "vacuum table \"monitoring_history\"");
    assert_eq!(executed(&done)[0], "delete 73 records of node \"node2\" that are 7 days old or older");
    assert_eq!(json["data"]["deleted_records"], 73);
    assert_eq!(metadata(&node1, COUNT), "407");
    let vacuumed = "SELECT vacuum_count > 0 FROM pg_stat_all_tables WHERE relname = 'monitoring_history'";
    wait_for("the vacuum to be counted", SOON, || metadata(&node1, vacuumed) == "t");
    envelope(&cleanup(&["--node-id=3"]), "cluster cleanup", 0, true);
    assert_eq!(metadata(&node1, COUNT), "167");
    envelope(&cleanup(&[]), "cluster cleanup", 0, true);
    assert_eq!(metadata(&node1, COUNT), "0");
    let json = envelope(&cleanup(&[]), "cluster cleanup", 0, false);
    assert_eq!((&json["data"]["deleted_records"], &json["data"]["operation_id"]), (&0.into(), &Value::Null));
    let events = "SELECT count(*), bool_and(successful), min(details), min(node_id) FROM repmgr.events WHERE event = 'cluster_cleanup'";
    assert_eq!(metadata(&node1, events), "3|t|167 monitoring records deleted|2");
}

#[test]
fn history_on_15() {
    let Some(pg) = postgres(15) else { return };
    history(&pg);
}

#[test]
fn history_on_13() {
    let Some(pg) = postgres(13) else { return };
    history(&pg);
}

#[test]
fn history_on_newer_versions() {
    for pg in majors().into_iter().filter(|pg| pg.major > 15) {
        history(&pg);
    }
}

/// Without a superuser's rights: what is missing is reported, and the vacuum is left to others.
fn poor(pg: &Pg) {
    let cluster = TestCluster::new(pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.psql("CREATE ROLE \"po'or\" LOGIN; GRANT pg_monitor TO \"po'or\"");
    let as_owner = |sql: &str| node1.psql_as("postgres", "repmgr", sql);
    as_owner(
        "GRANT USAGE ON SCHEMA repmgr, pgbaton TO \"po'or\"; GRANT ALL ON repmgr.nodes, repmgr.events, pgbaton.operation TO \"po'or\"",
    );
    let conninfo = node1.conninfo().replace("user=repmgr", "user='po\\'or'");
    configure(&node1, 1, "node1", &conninfo, "");
    metadata(&node1, &format!("UPDATE repmgr.nodes SET conninfo = $${conninfo}$$"));
    record(&node1, 1);
    let cleanup = || node1.pgbaton(["--json", "cluster", "cleanup"]).run();
    let json = envelope(&cleanup(), "cluster cleanup", 7, false);
    let hint = json["error"]["hint"].as_str().unwrap();
    as_owner(hint.split_once("run: ").unwrap().1);
    // It is not read either, which does no harm.
    let output = cleanup();
    let json = envelope(&output, "cluster cleanup", 0, true);
    assert_eq!(json["data"]["deleted_records"], 48, "{json}");
    assert_eq!(executed(&output).len(), 1);
    output.says("lacks the privilege to vacuum the monitoring history, which is skipped");
    let hint = json["issues"][0]["hint"].as_str().unwrap();
    if pg.major >= 17 {
        as_owner(hint.split_once("run: ").unwrap().1.split_once(';').unwrap().0);
        record(&node1, 1);
        assert_eq!(executed(&cleanup()).len(), 2);
    }
    // There is no such table at all.
    as_owner("DROP TABLE repmgr.monitoring_history CASCADE");
    let json = envelope(&cleanup(), "cluster cleanup", 7, false);
    assert!(
        json["error"]["message"].as_str().unwrap().contains("has no table \"monitoring_history\""),
        "{json}"
    );
    let shown = node1.pgbaton(["cluster", "show", "-v", "--json"]).run();
    assert_eq!(shown.code(0).json()["data"]["monitoring"], Value::Null);
    node1.stop(StopMode::Fast);
    envelope(&cleanup(), "cluster cleanup", 6, false);
}

#[test]
fn an_unprivileged_role_on_15() {
    let Some(pg) = postgres(15) else { return };
    poor(&pg);
}

#[test]
fn an_unprivileged_role_on_17() {
    let Some(pg) = postgres(17) else { return };
    poor(&pg);
}

#[test]
fn the_history_of_the_extension() {
    let Some(pg) = with_real_repmgr() else { return };
    let nodes = Nodes::new(&pg, 1);
    let node1 = nodes.node(1);
    // Made anew as the extension; what repmgr has recorded and cleans up is the same for both.
    metadata(
        node1,
        "CREATE TABLE public.kept AS SELECT * FROM repmgr.nodes; DROP SCHEMA repmgr CASCADE; CREATE EXTENSION repmgr; INSERT INTO repmgr.nodes SELECT * FROM public.kept; DROP TABLE public.kept",
    );
    repmgr_conf(node1, 1);
    record(node1, 3);
    let shown = node1.pgbaton(["cluster", "show", "-v", "--json"]).run().json();
    assert_eq!(shown["data"]["monitoring"][0]["standby_node_id"], 2, "{shown}");
    let status = "SELECT standby_node_id, last_wal_standby_location FROM repmgr.replication_status";
    assert_eq!(metadata(node1, status), "2|0/4000000");
    let count = || metadata(node1, COUNT);
    real_repmgr(node1, &["cluster", "cleanup", "-k", "2"]).code(0);
    let theirs = count();
    metadata(node1, "TRUNCATE repmgr.monitoring_history");
    record(node1, 3);
    node1.pgbaton(["cluster", "cleanup", "-k", "2"]).run().code(0);
    assert_eq!(count(), theirs);
    node1.pgbaton(["cluster", "cleanup"]).run().code(0);
    assert_eq!(count(), "0");
}
