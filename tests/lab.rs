//! Whole commands on hosts with addresses of their own, over an ssh that is the only way between them, and over networks that fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report"
)]

mod support;

use support::{Ledger, Nodes, Observer, SOON, postgres};

const SLOTS: &str = "SELECT coalesce(string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name), '') FROM pg_replication_slots";

/// Node 1, the primary, and so many standbys, each on its host; None where the machine cannot have that.
fn hosts(standbys: usize) -> Option<Nodes> {
    postgres(15).and_then(|pg| Nodes::in_lab(&pg, standbys))
}

// ---- standby switchover --------------------------------------------------------------------------------------------

/// From node 1 to node 2 and back, each time from the candidate, with a client that writes all the time.
fn there_and_back(standbys: usize) {
    let Some(nodes) = hosts(standbys) else { return };
    let (one, two) = (nodes.node(1), nodes.node(2));
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    for (candidate, timeline) in [(two, 2), (one, 3)] {
        let output = candidate.pgbaton(["--json", "standby", "switchover"]).run();
        output.code(0);
        let json = output.json();
        assert_eq!(json["data"]["timeline"], timeline, "{output:?}");
        assert_eq!(json["data"]["wal_lost_bytes"], 0, "{output:?}");
        assert_eq!(nodes.primaries(), [candidate.name.as_str()]);
    }
    let slots = ["repmgr_slot_2 true", "repmgr_slot_3 true"];
    one.wait_until(SLOTS, &slots[..standbys].join(", "), SOON);
    assert_eq!(two.psql(SLOTS), "");
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(one);
    for server in &nodes.servers[1..] {
        server.wait_for_replay_of(one);
        record.assert_kept_by(server);
    }
}

#[test]
fn two_hosts_there_and_back() {
    there_and_back(1);
}

#[test]
fn three_hosts_there_and_back() {
    there_and_back(2);
}
