//! Whole commands on hosts with addresses of their own, over an ssh that is the only way between them, and over networks that fail.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    Ledger, Nodes, Observer, Output, Running, SOON, StopMode, TestCluster, clean_command, envelope,
    installed, postgres, script, send, slow, wait_for,
};

/// How long a command may take that finds a host silent.
const LONG: Duration = Duration::from_secs(150);

/// How long an example may take.
const EXAMPLE: Duration = Duration::from_secs(400);

const STREAMING: &str = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";

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
    for (candidate, old, timeline) in [(two, 1, 2), (one, 2, 3)] {
        let before = nodes.cluster.lab().accepted(old);
        let output = candidate.pgbaton(["--json", "standby", "switchover"]).run();
        output.code(0);
        let json = output.json();
        assert_eq!(json["data"]["timeline"], timeline, "{output:?}");
        assert_eq!(json["data"]["wal_lost_bytes"], 0, "{output:?}");
        assert_eq!(nodes.primaries(), [candidate.name.as_str()]);
        // Its host was reached over the network, and once.
        assert_eq!(nodes.cluster.lab().accepted(old) - before, 1);
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

/// Two hosts between which the network fails in the middle of a switchover, with a client on each that writes where it can.
struct Interrupted {
    nodes: Nodes,
    ledger: Ledger,
    observer: Observer,
}

impl Interrupted {
    fn new() -> Option<Self> {
        let nodes = hosts(1)?;
        let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
        let observer = Observer::begin(&nodes.servers);
        Some(Self { nodes, ledger, observer })
    }

    fn begin(&self) -> Running {
        self.nodes.node(2).pgbaton(["--json", "standby", "switchover"]).deadline(LONG).spawn()
    }

    fn cut(&self) {
        self.nodes.cluster.lab().cut(1, 2);
    }

    fn heal(&self) {
        self.nodes.cluster.lab().heal();
    }

    /// It has rolled back, and failed.
    fn assert_rolled_back(self, output: &Output) {
        envelope(output, "standby switchover", 18, false);
        self.assert_as_before();
    }

    /// Everything is as it was before, and nothing stands in the way of another try.
    fn assert_as_before(self) {
        let (one, two) = (self.nodes.node(1), self.nodes.node(2));
        assert_eq!(self.nodes.primaries(), ["node1"]);
        assert!(!one.data.join("standby.signal").exists());
        one.wait_until(STREAMING, "1", SOON);
        // Sessions whose other end is gone have released their locks.
        one.wait_until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0", SOON);
        two.pgbaton(["standby", "switchover"]).deadline(LONG).run().code(0);
        assert_eq!(self.nodes.primaries(), ["node2"]);
        let record = self.ledger.end();
        self.observer.assert_never_two();
        record.assert_kept_by(two);
        one.wait_for_replay_of(two);
        record.assert_kept_by(one);
    }
}

#[test]
fn a_primary_isolated_before_its_stop_keeps_running() {
    let Some(hosts) = Interrupted::new() else { return };
    let (one, two) = (hosts.nodes.node(1), hosts.nodes.node(2));
    let postmaster = one.postmaster();
    let checkpointer = one.process_titled("checkpointer");
    send(checkpointer, Signal::STOP);
    let running = hosts.begin();
    two.wait_for_step("checkpoint_1");
    hosts.cut();
    send(checkpointer, Signal::CONT);
    let output = running.wait(LONG);
    assert_eq!(one.postmaster(), postmaster);
    hosts.heal();
    hosts.assert_rolled_back(&output);
}

/// The pgbaton on its host receives no requests, so it brings the server back by itself.
#[test]
fn a_primary_isolated_while_it_stops_is_restarted_by_its_own_host() {
    let Some(hosts) = Interrupted::new() else { return };
    let one = hosts.nodes.node(1);
    let postmaster = one.postmaster();
    let begun = one.dir.join("begun");
    let stop = format!(
        "kill -STOP {}; {} -D {} -W -m fast stop; touch {}",
        one.process_titled("checkpointer").as_raw_nonzero(),
        one.pg.tool("pg_ctl").display(),
        one.data.display(),
        begun.display()
    );
    let stop = script(&one.dir.join("stop"), &stop);
    let output = one.with_configuration(&format!("service_stop_command = \"{}\"", stop.display()), || {
        let running = hosts.begin();
        wait_for("the stop to have begun", SOON, || begun.exists());
        hosts.cut();
        wait_for("another server to run", LONG, || one.is_running() && one.postmaster() != postmaster);
        one.wait_until("SELECT pg_is_in_recovery()", "f", SOON);
        // As long as it hears nothing, the other end goes on trying to find out.
        hosts.heal();
        running.wait(LONG)
    });
    hosts.assert_rolled_back(&output);
}

/// It has reported that it is down. From then on its own host does nothing by itself: the other one decides, and can do so only when the
/// network is back.
#[test]
fn a_primary_isolated_while_it_is_down_is_restarted_over_the_restored_network() {
    let Some(hosts) = Interrupted::new() else { return };
    let (one, two) = (hosts.nodes.node(1), hosts.nodes.node(2));
    let receiver = two.process_titled("walreceiver");
    hosts.nodes.configure(1, &one.stop_that_freezes(receiver));
    let mut running = hosts.begin();
    two.wait_for_step("wait_until_received");
    hosts.cut();
    wait_for("the rollback to begin", LONG, || two.journal().contains("\"stage\":\"back\""));
    assert!(!one.is_running() && running.is_running());
    send(receiver, Signal::CONT);
    hosts.heal();
    let output = running.wait(LONG);
    hosts.assert_rolled_back(&output);
}

/// The same, and the network does not come back for long: no node accepts writes, and the message says so, with the command to run.
#[test]
fn a_primary_isolated_for_good_while_it_is_down_can_be_restarted_later() {
    let Some(hosts) = Interrupted::new().filter(|_| slow()) else { return };
    let (two, none): (_, [&str; 0]) = (hosts.nodes.node(2), []);
    let receiver = two.process_titled("walreceiver");
    hosts.nodes.configure(1, &hosts.nodes.node(1).stop_that_freezes(receiver));
    let running = hosts.begin();
    two.wait_for_step("wait_until_received");
    hosts.cut();
    // Each step of the rollback is retried until its timeout.
    let output = running.wait(4 * LONG);
    envelope(&output, "standby switchover", 33, true);
    output.says("No node is known to accept writes").says("pgbaton operation resume");
    assert_eq!(hosts.nodes.primaries(), none);
    send(receiver, Signal::CONT);
    let shown = two.pgbaton(["cluster", "show", "--json"]).deadline(LONG).run();
    let cluster = &shown.code(25).json()["data"]["cluster"];
    assert_eq!(cluster["state"], "no_primary", "{shown:?}");
    assert!(cluster["next"][0].as_str().unwrap().starts_with("pgbaton operation show"), "{shown:?}");
    two.pgbaton(["operation", "resume"]).deadline(LONG).run().code(12).says("Nothing was changed.");
    hosts.heal();
    two.pgbaton(["operation", "resume"]).deadline(LONG).run().code(18).says("have been undone");
    hosts.assert_as_before();
}

/// A sibling that the candidate cannot reach could not be attached to it.
#[test]
fn a_sibling_that_the_candidate_cannot_reach_is_detected_before_anything_stops() {
    let Some(nodes) = hosts(2) else { return };
    let lab = nodes.cluster.lab();
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let postmaster = one.postmaster();
    lab.cut(2, 3);
    let output = two.pgbaton(["standby", "switchover"]).run();
    output
        .code(6)
        .says("node \"node3\" is connected to the primary but unreachable from here")
        .says("repeat the command with --force")
        .says("Nothing was changed.");
    assert_eq!(one.postmaster(), postmaster);
    // An override leaves it behind, where it was.
    let output = two.pgbaton(["standby", "switchover", "--force"]).run();
    output.code(0).says("overridden by --force");
    assert_eq!(nodes.primaries(), ["node2"]);
    lab.heal();
    three.pgbaton(["standby", "follow"]).run().code(0);
    two.wait_until(STREAMING, "2", SOON);
    three.wait_for_replay_of(two);
}

/// The same network fails after the point of no return: what can be done is done, and the exit code says that something is left.
#[test]
fn a_sibling_isolated_after_the_checks_is_left_behind_and_reported() {
    let Some(nodes) = hosts(2) else { return };
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let (begun, go) = (one.dir.join("begun"), one.dir.join("go"));
    let stop = format!(
        "touch {}; until [ -e {} ]; do sleep 0.05; done; {} -D {} -m fast stop",
        begun.display(),
        go.display(),
        one.pg.tool("pg_ctl").display(),
        one.data.display()
    );
    let stop = script(&one.dir.join("stop"), &stop);
    let output = one.with_configuration(&format!("service_stop_command = \"{}\"", stop.display()), || {
        let running = two.pgbaton(["--json", "standby", "switchover"]).deadline(LONG).spawn();
        wait_for("the stop to have begun", SOON, || begun.exists());
        nodes.cluster.lab().cut(2, 3);
        std::fs::write(&go, "").unwrap();
        running.wait(LONG)
    });
    envelope(&output, "standby switchover", 22, true);
    output.says("node3");
    assert_eq!(nodes.primaries(), ["node2"]);
    nodes.cluster.lab().heal();
    // The session whose other end is gone holds its lock until that is detected.
    three.wait_until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0", SOON);
    three.pgbaton(["standby", "follow"]).run().code(0);
    two.wait_until(STREAMING, "2", SOON);
    two.pgbaton(["cluster", "show"]).run().code(0);
}

// ---- standby promote, and what comes after it ----------------------------------------------------------------------

/// The way to the primary is broken, and the primary is not.
#[test]
fn a_primary_that_a_sibling_reaches_counts_as_alive() {
    let Some(nodes) = hosts(2) else { return };
    let lab = nodes.cluster.lab();
    let (one, two) = (nodes.node(1), nodes.node(2));
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    let refused = |args: &[&str]| {
        let output = two.pgbaton(["standby", "promote"]).args(args).run();
        output.code(31).says("Nothing was changed.");
        assert_eq!(nodes.primaries(), ["node1"]);
    };
    for one_way in [false, true] {
        if one_way {
            lab.lose(1, 2);
        } else {
            lab.cut(1, 2);
        }
        two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "0", SOON);
        refused(&[]);
        refused(&["--force", "--accept-data-loss"]);
        lab.heal();
        one.wait_until(STREAMING, "2", SOON);
    }
    let record = ledger.end();
    observer.assert_never_two();
    two.wait_for_replay_of(one);
    record.assert_kept_by(two);
}

/// The host of the primary is black-holed, with its server alive: what a failover by hand must survive, there and back.
#[test]
fn a_primary_that_no_node_reaches_is_replaced_and_returns_as_a_standby() {
    let Some(nodes) = hosts(2) else { return };
    let lab = nodes.cluster.lab();
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // On its island it acknowledges nothing any more.
    one.psql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (node2, node3)'");
    one.reload();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'", "2", SOON);
    let ledger = Ledger::begin(one, &nodes.servers);
    lab.isolate(1);
    for server in [two, three] {
        server.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "0", SOON);
    }
    // The standby that has received more is promoted, as one of the two has everything that was acknowledged.
    let received = three.psql("SELECT pg_last_wal_receive_lsn()");
    let behind = two.psql(&format!("SELECT pg_last_wal_receive_lsn() < '{received}'")) == "t";
    let (new, other) = if behind { (three, two) } else { (two, three) };
    let shown = new.pgbaton(["--json", "cluster", "show"]).run();
    assert_eq!(shown.code(25).json()["data"]["cluster"]["state"], "no_primary", "{shown:?}");
    new.pgbaton(["standby", "promote"]).run().code(0).says("node \"node1\" is unreachable");
    // One is enough.
    other.pgbaton(["standby", "promote", "--force", "--accept-data-loss"]).run().code(31);
    other.wait_for_replay_of(new);
    // Its host is restarted and still reaches no node. It is started all the same.
    one.stop(StopMode::Fast);
    one.pgbaton(["node", "guard", "--wait", "2"]).run().code(3);
    one.start();
    assert_eq!(nodes.primaries(), ["node1", &new.name]);

    lab.heal();
    for server in &nodes.servers {
        let shown = server.pgbaton(["--json", "cluster", "show"]).run();
        assert_eq!(shown.code(25).json()["data"]["cluster"]["state"], "split_brain", "{shown:?}");
    }
    // It is stopped, and would be started again. What its host has seen counts also when it reaches no node.
    one.stop(StopMode::Fast);
    lab.isolate(1);
    one.pgbaton(["node", "guard", "--wait", "2"]).run().code(31).says("was last seen as a primary");
    lab.heal();
    one.pgbaton(["node", "guard"]).run().code(31).says(&format!("\"{}\" accepts writes", new.name));
    // The rows that it could not acknowledge are discarded only by the operator.
    one.pgbaton(["node", "rejoin"]).run().code(32).says("would be discarded");
    one.pgbaton(["node", "rejoin", "--yes"]).run().code(0);
    assert_eq!(nodes.primaries(), [new.name.as_str()]);
    let record = ledger.end();
    record.assert_kept_by(new);
    for server in [one, other] {
        server.wait_for_replay_of(new);
        record.assert_kept_by(server);
    }
    new.pgbaton(["cluster", "show"]).run().code(0);
}

// ---- cluster crosscheck --------------------------------------------------------------------------------------------

#[test]
fn an_unreachable_host_is_queried_through_another_one() {
    let Some(nodes) = hosts(2) else { return };
    let one = nodes.node(1);
    nodes.cluster.lab().cut(1, 3);
    let asked = nodes.cluster.lab().accepted(3);
    let run = |verb: &str| {
        let output = one.pgbaton(["--json", "cluster", verb]).deadline(LONG).run();
        let json = envelope(&output, &format!("cluster {verb}"), 25, false);
        let links = json["data"]["connections"].as_array().unwrap();
        let sign = |link: &serde_json::Value| match link["status"].as_str() {
            Some("ok") => '*',
            Some("failed") => 'x',
            _ => '?',
        };
        (links.iter().map(sign).collect::<String>(), json["data"]["nodes"][2]["relayed_by"].clone())
    };
    assert_eq!(run("matrix"), ("**x***???".into(), serde_json::Value::Null));
    // Neither of the two reaches the other one, and the third says it of both.
    assert_eq!(run("crosscheck"), ("**x***x**".into(), 2.into()));
    assert_eq!(nodes.cluster.lab().accepted(3) - asked, 1);
}

// ---- the examples --------------------------------------------------------------------------------------------------

/// Files, and the packages that they are in.
type Programs = &'static [(&'static str, &'static str)];

/// Scripts that prove what they claim, each node of theirs on a host of its own, and what clients connect to on a fourth; whether it is
/// left to slow runs; what has to be installed for it.
const EXAMPLES: [(&str, bool, Programs); 8] = [
    ("three-nodes/three-nodes.sh", false, &[]),
    ("hooks/switchover-notifies.sh", false, &[]),
    ("backup/nightly-backup.sh", true, &[]),
    ("two-nodes-archive/two-nodes-archive.sh", true, &[]),
    ("container/containers.sh", true, &[]),
    ("wal-shipping/wal-shipping.sh", true, &[]),
    ("haproxy/haproxy.sh", true, &[("/usr/sbin/haproxy", "haproxy"), ("/usr/bin/socat", "socat")]),
    ("pgpool/pgpool.sh", true, &[("/usr/sbin/pgpool", "pgpool2")]),
];

#[test]
fn the_claims_of_the_examples_hold_between_hosts() {
    let Some(cluster) = postgres(15).and_then(|pg| TestCluster::in_lab(&pg, 4)) else { return };
    let pg = postgres(15).unwrap();
    for (script, is_slow, programs) in EXAMPLES {
        if is_slow && !slow()
            || !programs.iter().all(|(program, package)| installed(program, package).is_some())
        {
            continue;
        }
        let mut command = clean_command(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(script));
        command
            .env("HOME", cluster.dir().join("home"))
            .env("PGBATON", env!("CARGO_BIN_EXE_pgbaton"))
            .env("PGBATON_EXAMPLE_PG", &pg.bindir)
            .env("PGBATON_EXAMPLE_DIR", cluster.dir().join("example"))
            .env("PGBATON_LAB", cluster.lab().dir());
        Running::start(command).wait(EXAMPLE).code(0);
    }
}
