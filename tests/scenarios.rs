//! What goes wrong in real clusters, replayed: acknowledged writes are recorded, and who takes writes is watched all the time.

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
use support::{Ledger, Nodes, Observer, SOON, StopMode, postgres};

const SLOTS: &str = "SELECT coalesce(string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name), '') FROM pg_replication_slots";

/// The role goes round and round under load: nothing is lost, no slot is left over, one timeline more each time.
#[test]
fn ten_switchovers_in_a_row() {
    let rounds = if support::slow() { 10 } else { 4 };
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
    let mut primary = 1;
    for round in 1..=rounds {
        let next = primary % 3 + 1;
        let output = nodes.node(next).pgbaton(["--json", "standby", "switchover"]).run();
        output.code(0);
        assert_eq!(output.json()["data"]["timeline"], round + 1, "{output:?}");
        for id in 1..=3 {
            let others: Vec<String> = (1..=3)
                .filter(|other| *other != id)
                .map(|other| format!("repmgr_slot_{other} true"))
                .collect();
            let expected = if id == next { others.join(", ") } else { String::new() };
            nodes.node(id).wait_until(SLOTS, &expected, SOON);
        }
        primary = next;
    }
    let record = ledger.end();
    observer.assert_never_two();
    for id in 1..=3 {
        if id != primary {
            nodes.node(id).wait_for_replay_of(nodes.node(primary));
        }
        record.assert_kept_by(nodes.node(id));
    }
}

/// A standby that is registered and not running cannot be the new primary.
#[test]
fn a_candidate_that_is_down_is_refused() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let two = nodes.node(2);
    two.stop(StopMode::Fast);
    two.pgbaton(["standby", "switchover"]).run().code(6).says("could not connect to node \"node2\"");
    nodes.node(1).kill9();
    two.pgbaton(["standby", "promote"]).run().code(6);
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
}

/// The primary dies, its successor dies too, and they come back in the wrong order.
#[test]
fn the_older_branch_is_not_promoted_without_confirmation() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // node3 is away while node2 takes over.
    three.wait_for_replay_of(one);
    three.stop(StopMode::Fast);
    one.kill9();
    two.pgbaton(["standby", "promote"]).run().code(0);
    two.psql("CREATE TABLE of_the_successor ()");
    two.stop(StopMode::Fast);
    three.start();
    // What it has seen says only that something may be missing; what node2 has nobody can say while it is down.
    two.start();
    let output = three.pgbaton(["standby", "promote", "--force", "--accept-data-loss"]).run();
    output.code(31).says("node \"node2\" is a primary and alive");
    three.pgbaton(["standby", "follow"]).run().code(0);
    three.wait_for_replay_of(two);
    assert_eq!(nodes.primaries(), ["node2"]);
}

/// The archiver hangs: the old primary lingers, the role moves all the same, and the way is told.
#[test]
fn an_archiver_that_hangs_does_not_hold_up_the_promotion() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.append_conf("archive_mode = on\narchive_command = 'sleep 3; false'\n");
    one.restart();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    one.psql("SELECT pg_switch_wal()");
    let output = two.pgbaton(["--json", "standby", "switchover"]).run();
    let code = output.status.code().unwrap();
    assert!(code == 0 || code == 22, "{output:?}");
    assert_eq!(nodes.primaries(), ["node2"]);
    let outage = output.json()["data"]["outage_s"].as_f64().unwrap();
    let wall = output.json()["data"]["wall_s"].as_f64().unwrap();
    assert!(outage < wall, "{output:?}");
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(two);
}

/// Every connection of the primary is taken: it is alive, and nobody is promoted beside it.
#[test]
fn a_primary_without_a_free_connection_is_alive() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.append_conf("max_connections = 5\nsuperuser_reserved_connections = 3\nmax_wal_senders = 3\n");
    one.restart();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    let psql = one.pg.tool("psql");
    let mut taken: Vec<_> = (0..5)
        .map(|_| {
            let mut command = support::clean_command(&psql);
            command.args(["-XAtq", "-d", &one.conninfo(), "-c", "SELECT pg_sleep(60)"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    support::wait_for("every connection to be taken", SOON, || {
        one.try_psql_as("postgres", "postgres", "SELECT 1").stderr.contains("too many clients")
    });
    let output = two.pgbaton(["standby", "promote", "--force", "--accept-data-loss"]).run();
    output.code(31).says("the primary \"node1\" is alive").says("too many clients");
    for process in &mut taken {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(two.psql("SELECT pg_is_in_recovery()"), "t");
}

/// Nobody can ask the primary, but a sibling still streams from it.
#[test]
fn a_primary_that_a_sibling_streams_from_is_alive() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // Its postmaster is hung: new connections are accepted by the kernel and nothing comes. The WAL sender of node3 lives on.
    let sender_of_two = one.psql("SELECT pid FROM pg_stat_replication WHERE application_name = 'node2'");
    one.freeze_postmaster();
    let pid = rustix::process::Pid::from_raw(sender_of_two.parse().unwrap()).unwrap();
    support::send(pid, Signal::KILL);
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "0", SOON);
    let output = two.pgbaton(["standby", "promote", "--force"]).run();
    output.code(31).says("streams from \"node1\"");
    assert!(three.is_running());
    one.thaw();
}

/// The WAL receiver of one standby is stopped, writes go on, the primary dies: the other one is the one to promote.
#[test]
fn the_standby_that_has_come_further_takes_over_and_nothing_is_lost() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let observer = Observer::begin(&nodes.servers);
    let receiver = three.process_titled("walreceiver");
    support::send(receiver, Signal::STOP);
    one.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
    two.wait_for_replay_of(one);
    one.kill9();
    support::send(receiver, Signal::CONT);
    three.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    let ahead = three.psql("SELECT to_regclass('t') IS NOT NULL");
    let output = three.pgbaton(["standby", "promote"]).run();
    if ahead == "f" {
        output.code(32).says("standby \"node2\" has more WAL");
        two.pgbaton(["standby", "promote"]).run().code(0);
        three.wait_for_replay_of(two);
    }
    assert_eq!(three.psql("SELECT count(*) FROM t"), "1000");
    observer.assert_never_two();
}
