//! `standby switchover` on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report"
)]

mod support;

use rustix::process::Signal;
use support::{Fingerprint, Ledger, Nodes, Observer, Pg, SOON, postgres, versions, wait_for};

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
    // The host of the old primary has taken note of it too, for the day on which nobody answers.
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
fn there_and_back_nothing_is_lost_and_everybody_follows() {
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
    let planned: Vec<String> = dry.json()["data"]["plan"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["title"].as_str().unwrap().to_string())
        .collect();
    let done = two.pgbaton(["--json", "standby", "switchover"]).run();
    done.code(0);
    let steps = done.json()["data"]["steps"].as_array().unwrap().clone();
    let executed: Vec<String> = steps
        .iter()
        .filter(|step| step["stage"] == "forward")
        .map(|step| step["title"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(planned, executed);
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
    // It streams, as far as anybody can see, and receives nothing.
    let receiver = two.process_titled("walreceiver");
    support::send(receiver, Signal::STOP);
    let output = two.pgbaton(["--json", "standby", "switchover"]).run();
    support::send(receiver, Signal::CONT);
    output.code(18);
    assert!(
        output.json()["error"]["detail"].as_str().unwrap().contains("What had been changed was put back.")
    );
    assert_eq!(nodes.primaries(), ["node1"]);
    assert!(!one.data.join("standby.signal").exists());
    one.psql("CREATE TABLE after_the_way_back ()");
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(one);
    assert_eq!(two.psql(SLOTS), "");
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    // And once the cause is gone, the same command does it.
    two.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
}
