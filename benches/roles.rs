//! How long clients cannot write while roles change, and how long the command takes: pgbaton with the other nodes on its own host and by ssh,
//! the real repmgr (which always needs ssh) where Debian's package is installed, and the same by hand, all in the same run.
//!
//!     cargo bench --bench roles [-- RUNS] [-- WORD]     (an ordinary user; PGBATON_TEST_PG as for the tests)
//!
//! By hand means: what an operator with prepared connections could do at best. Checkpoints first, SIGINT to the postmaster, `pg_control` and
//! the standby's position polled every few milliseconds, `pg_promote(false)`, the startup process woken by reloads. Every run makes its own
//! cluster, and a client writes all the time; the outage is the longest time between two of its acknowledged writes. Medians. With a word,
//! only what has it in its name is measured; a name ends with a colon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark, not the program"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use pgbaton::pg::control_file::{self, ControlState};
use rustix::process::Signal;
use support::{
    Hosts, Ledger, Nodes, Pg, Running, SOON, Sshd, TestCluster, TestServer, postgres, real_repmgr,
    repmgr_conf, run_tool, with_real_repmgr,
};
use tokio_postgres::{Client, NoTls};

fn main() {
    // "cargo test --all-targets" runs benchmarks too, to see that they work; this one takes a quarter of an hour, and is told so by cargo bench.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs: usize = arguments.iter().find_map(|arg| arg.parse().ok()).unwrap_or(7);
    let word = arguments.iter().find(|arg| arg.parse::<usize>().is_err());
    let pg = with_real_repmgr().or_else(|| postgres(15)).unwrap();
    let has_repmgr = pg.tool("repmgr").exists();
    let local = |standbys: usize, how: fn(&Nodes) -> f64| {
        let pg = pg.clone();
        move |load| switchover(&Nodes::new(&pg, standbys), load, how)
    };
    let compare = |what: &str, ways: &[Way<'_>]| {
        if word.is_none_or(|word| format!("{what}:").contains(word.as_str())) {
            compare(what, runs, ways);
        }
    };
    for standbys in [1, 2] {
        let (by_hand, by_pgbaton) = (local(standbys, by_hand), local(standbys, by_pgbaton));
        let by_ssh = || {
            let hosts = Hosts::new(&pg, standbys).expect("ssh and user namespaces");
            switchover(&hosts.nodes, false, |_| by_pgbaton_over_ssh(&hosts))
        };
        let by_repmgr = || {
            let repmgr = Repmgr::new(&pg, standbys).expect("ssh");
            switchover(&repmgr.nodes, false, |nodes| by_repmgr(nodes, standbys > 1))
        };
        let (quiet_hand, quiet_pgbaton) = (|| by_hand(false), || by_pgbaton(false));
        let mut ways: Vec<Way<'_>> =
            vec![("by hand", &quiet_hand), ("pgbaton", &quiet_pgbaton), ("pgbaton over ssh", &by_ssh)];
        if has_repmgr {
            ways.push(("repmgr over ssh", &by_repmgr));
        }
        compare(&format!("switchover, {} nodes", standbys + 1), &ways);
        let (hand, ours) = (|| by_hand(true), || by_pgbaton(true));
        compare(
            &format!("switchover, {} nodes, under pgbench", standbys + 1),
            &[("by hand", &hand), ("pgbaton", &ours)],
        );
    }
    let hand = || promote(&Nodes::new(&pg, 2), promote_by_hand);
    let ours = || promote(&Nodes::new(&pg, 2), promote_by_pgbaton);
    let theirs = || promote(&Repmgr::new(&pg, 2).expect("ssh").nodes, promote_by_repmgr);
    let mut ways: Vec<Way<'_>> = vec![("by hand", &hand), ("pgbaton", &ours)];
    if has_repmgr {
        ways.push(("repmgr over ssh", &theirs));
    }
    compare("promote, primary dead, one sibling", &ways);
}

/// Outage and whole command, in seconds.
type Times = (f64, f64);

/// A way to do it: its name, and one run on a cluster of its own.
type Way<'a> = (&'a str, &'a dyn Fn() -> Times);

/// Measures all ways in turn, and prints their medians; the first way is what the others are compared with.
fn compare(what: &str, runs: usize, ways: &[Way<'_>]) {
    let mut times: Vec<Vec<Times>> = vec![Vec::new(); ways.len()];
    for run in 0..runs {
        for i in 0..ways.len() {
            // In turn first.
            let i = (i + run) % ways.len();
            times[i].push(ways[i].1());
        }
    }
    let median = |values: &[Times], pick: fn(&Times) -> f64| {
        let mut values: Vec<f64> = values.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("{what}:");
    let floor = median(&times[0], |times| times.0);
    for ((name, _), times) in ways.iter().zip(&times) {
        let (outage, wall) = (median(times, |times| times.0), median(times, |times| times.1));
        println!(
            "  {name:<17} no writes for {outage:.3} s ({:.2} times by hand), whole command {wall:.3} s",
            outage / floor
        );
    }
}

/// Servers that the real repmgr manages.
struct Repmgr {
    nodes: Nodes,
    _sshd: Sshd,
}

impl Repmgr {
    fn new(pg: &Pg, standbys: usize) -> Option<Self> {
        let cluster = TestCluster::new(pg);
        let sshd = Sshd::start(&cluster)?;
        let configure = |server: &TestServer, id: i32| {
            let path = repmgr_conf(server, id);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{text}ssh_options='{}'\n", sshd.options("key"))).unwrap();
        };
        let one = cluster.primary("node1");
        configure(&one, 1);
        real_repmgr(&one, &["primary", "register"]).code(0);
        let mut servers = vec![one];
        for id in 2..=i32::try_from(standbys).unwrap() + 1 {
            let slot = format!("repmgr_slot_{id}");
            servers[0].psql(&format!("SELECT pg_create_physical_replication_slot('{slot}', true)"));
            let server = cluster.standby(&format!("node{id}"), &servers[0]);
            server.psql(&format!("ALTER SYSTEM SET primary_slot_name = '{slot}'"));
            server.reload();
            servers[0].wait_until("SELECT bool_and(active) FROM pg_replication_slots", "t", SOON);
            configure(&server, id);
            real_repmgr(&server, &["standby", "register"]).code(0);
            servers.push(server);
        }
        Some(Self { nodes: Nodes { servers, cluster }, _sshd: sshd })
    }
}

fn switchover(nodes: &Nodes, load: bool, how: impl FnOnce(&Nodes) -> f64) -> Times {
    let one = nodes.node(1);
    let mut pgbench = load.then(|| {
        run_tool(&one.pg.tool("pgbench"), ["-i", "-s", "5", "-q", &one.conninfo_as("postgres", "postgres")]);
        let mut command = support::clean_command(&one.pg.tool("pgbench"));
        command.args(["-c", "2", "-T", "60", "-n", &one.conninfo_as("postgres", "postgres")]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    });
    let ledger = Ledger::begin(one, &nodes.servers);
    std::thread::sleep(Duration::from_millis(if load { 1500 } else { 300 }));
    let wall = how(nodes);
    std::thread::sleep(Duration::from_millis(200));
    let record = ledger.end();
    if let Some(mut pgbench) = pgbench.take() {
        let _ = pgbench.kill();
        let _ = pgbench.wait();
    }
    record.assert_kept_by(nodes.node(2));
    (record.longest_gap.as_secs_f64(), wall)
}

fn by_pgbaton(nodes: &Nodes) -> f64 {
    let begun = Instant::now();
    nodes.node(2).pgbaton(["-q", "standby", "switchover"]).run().code(0);
    begun.elapsed().as_secs_f64()
}

fn by_pgbaton_over_ssh(hosts: &Hosts) -> f64 {
    let begun = Instant::now();
    hosts.pgbaton_on(2, ["-q", "standby", "switchover"]).run().code(0);
    begun.elapsed().as_secs_f64()
}

fn by_repmgr(nodes: &Nodes, siblings: bool) -> f64 {
    let begun = Instant::now();
    let words = ["standby", "switchover", "--siblings-follow"];
    real_repmgr(nodes.node(2), &words[..if siblings { 3 } else { 2 }]).code(0);
    begun.elapsed().as_secs_f64()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(server: &TestServer) -> Client {
    let config = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port);
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn promoted(client: &Client) {
    client.execute("SELECT pg_promote(false)", &[]).await.unwrap();
    let asked = Instant::now();
    let mut wake = Duration::from_millis(20);
    while client.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap().get::<_, bool>(0) {
        if asked.elapsed() > wake {
            client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
            wake += Duration::from_millis(50);
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

fn by_hand(nodes: &Nodes) -> f64 {
    let begun = Instant::now();
    let (old, new) = (nodes.node(1), nodes.node(2));
    runtime().block_on(async {
        let (on_old, on_new) = (connect(old).await, connect(new).await);
        for node in nodes.servers.iter().filter(|server| server.name != "node2") {
            let slot = format!("SELECT pg_create_physical_replication_slot('by_hand_{}', true)", node.name);
            on_new.batch_execute(&slot).await.unwrap();
        }
        on_old.batch_execute("CHECKPOINT").await.unwrap();
        on_old.batch_execute("CHECKPOINT").await.unwrap();
        on_new.batch_execute("CHECKPOINT").await.unwrap();
        std::fs::write(old.data.join("standby.signal"), "").unwrap();
        let lead = |name: &str| {
            format!(
                "primary_conninfo = 'host=127.0.0.1 port={} user=repmgr application_name={name}'\nprimary_slot_name = 'by_hand_{name}'\n",
                new.port
            )
        };
        let conf = old.data.join("postgresql.auto.conf");
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, text + &lead("node1")).unwrap();
        support::send(old.postmaster().unwrap(), Signal::INT);
        while control_file::read(&old.data).unwrap().state != ControlState::ShutDown {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        let end = control_file::shutdown_position(&old.data).unwrap().unwrap().end.to_string();
        let has_all = format!("SELECT pg_last_wal_receive_lsn() >= '{end}'");
        while !on_new.query_one(&has_all, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        promoted(&on_new).await;
        if let [_, _, third] = &nodes.servers[..] {
            let client = connect(third).await;
            let text = lead("node3");
            for line in text.lines() {
                let (name, value) = line.split_once(" = ").unwrap();
                client.batch_execute(&format!("ALTER SYSTEM SET {name} = {value}")).await.unwrap();
            }
            client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
        }
        on_new.batch_execute("CHECKPOINT").await.unwrap();
    });
    while old.is_running() {
        std::thread::sleep(Duration::from_millis(4));
    }
    old.start();
    let all = format!("{}", nodes.servers.len() - 1);
    new.wait_until(
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
        &all,
        Duration::from_secs(30),
    );
    begun.elapsed().as_secs_f64()
}

/// The outage of a dead primary is not the command's; here both figures are how long the command takes.
fn promote(nodes: &Nodes, how: fn(&Nodes) -> Times) -> Times {
    nodes.node(2).wait_for_replay_of(nodes.node(1));
    nodes.node(3).wait_for_replay_of(nodes.node(1));
    nodes.node(1).kill9();
    std::thread::sleep(Duration::from_millis(300));
    how(nodes)
}

/// Seconds until it takes writes, and until the command has ended and its sibling streams.
fn promote_by(nodes: &Nodes, command: impl FnOnce() -> Running) -> Times {
    let begun = Instant::now();
    let running = command();
    let writable = runtime().block_on(async {
        let client = connect(nodes.node(2)).await;
        while client.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        begun.elapsed()
    });
    running.wait(SOON).code(0);
    one_streams_from(nodes.node(2));
    (writable.as_secs_f64(), begun.elapsed().as_secs_f64())
}

fn promote_by_pgbaton(nodes: &Nodes) -> Times {
    promote_by(nodes, || nodes.node(2).pgbaton(["-q", "standby", "promote"]).spawn())
}

fn promote_by_repmgr(nodes: &Nodes) -> Times {
    promote_by(nodes, || {
        let two = nodes.node(2);
        let mut command = support::clean_command(&two.pg.tool("repmgr"));
        command.arg("-f").arg(two.dir.join("repmgr.conf")).args(["standby", "promote", "--siblings-follow"]);
        Running::start(command)
    })
}

fn one_streams_from(server: &TestServer) {
    server.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
}

fn promote_by_hand(nodes: &Nodes) -> Times {
    let (new, third) = (nodes.node(2), nodes.node(3));
    let begun = Instant::now();
    let writable = runtime().block_on(async {
        let client = connect(new).await;
        promoted(&client).await;
        let writable = begun.elapsed();
        let client = connect(third).await;
        let lead = format!("host=127.0.0.1 port={} user=repmgr application_name=node3", new.port);
        client.batch_execute(&format!("ALTER SYSTEM SET primary_conninfo = '{lead}'")).await.unwrap();
        client.batch_execute("ALTER SYSTEM SET primary_slot_name = ''").await.unwrap();
        client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
        writable
    });
    one_streams_from(new);
    (writable.as_secs_f64(), begun.elapsed().as_secs_f64())
}
