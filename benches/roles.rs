//! How long clients cannot write while roles change, and how long the command takes, against doing it by hand in the same run.
//!
//!     cargo bench --bench roles [-- RUNS]          (an ordinary user; PGBATON_TEST_PG as for the tests)
//!
//! By hand means: what an operator with prepared connections could do at best. Checkpoints first, SIGINT to the postmaster, `pg_control` and
//! the standby's position polled every few milliseconds, `pg_promote(false)`, the startup process woken by reloads. Every run makes its own
//! cluster, and a client writes all the time; the outage is the longest time between two of its acknowledged writes. Medians.

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
use support::{Ledger, Nodes, TestServer, postgres};
use tokio_postgres::{Client, NoTls};

fn main() {
    let runs: usize = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(7);
    for standbys in [1, 2] {
        for load in [false, true] {
            compare(
                &format!("switchover, {} nodes{}", standbys + 1, if load { ", under pgbench" } else { "" }),
                runs,
                || switchover(standbys, load, by_hand),
                || switchover(standbys, load, by_pgbaton),
            );
        }
    }
    compare("promote, primary dead", runs, || promote(promote_by_hand), || promote(promote_by_pgbaton));
}

/// Outage and whole command, in seconds.
type Times = (f64, f64);

fn compare(what: &str, runs: usize, hand: impl Fn() -> Times, ours: impl Fn() -> Times) {
    let (mut by_hand, mut by_us) = (Vec::new(), Vec::new());
    for run in 0..runs {
        // In turn first.
        if run % 2 == 0 {
            by_hand.push(hand());
            by_us.push(ours());
        } else {
            by_us.push(ours());
            by_hand.push(hand());
        }
    }
    let median = |values: &[Times], pick: fn(&Times) -> f64| {
        let mut values: Vec<f64> = values.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (floor, outage) = (median(&by_hand, |times| times.0), median(&by_us, |times| times.0));
    let (hand_wall, wall) = (median(&by_hand, |times| times.1), median(&by_us, |times| times.1));
    println!(
        "{what}: no writes for {outage:.3} s, by hand {floor:.3} s: {:.2} times, {:+.3} s; whole command {wall:.3} s, by hand {hand_wall:.3} s",
        outage / floor,
        outage - floor
    );
}

fn switchover(standbys: usize, load: bool, how: fn(&Nodes) -> f64) -> Times {
    let nodes = Nodes::new(&postgres(15).unwrap(), standbys);
    let one = nodes.node(1);
    let mut pgbench = load.then(|| {
        support::run_tool(
            &one.pg.tool("pgbench"),
            ["-i", "-s", "5", "-q", &one.conninfo_as("postgres", "postgres")],
        );
        let mut command = support::clean_command(&one.pg.tool("pgbench"));
        command.args(["-c", "2", "-T", "60", "-n", &one.conninfo_as("postgres", "postgres")]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    });
    let ledger = Ledger::begin(one, &nodes.servers);
    std::thread::sleep(Duration::from_millis(if load { 1500 } else { 300 }));
    let wall = how(&nodes);
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
fn promote(how: fn(&Nodes) -> Times) -> Times {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    nodes.node(2).wait_for_replay_of(nodes.node(1));
    nodes.node(3).wait_for_replay_of(nodes.node(1));
    nodes.node(1).kill9();
    std::thread::sleep(Duration::from_millis(300));
    how(&nodes)
}

/// Seconds until it takes writes, and until its sibling streams.
fn promote_by_pgbaton(nodes: &Nodes) -> Times {
    let begun = Instant::now();
    let running = nodes.node(2).pgbaton(["-q", "standby", "promote"]).spawn();
    let writable = runtime().block_on(async {
        let client = connect(nodes.node(2)).await;
        while client.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        begun.elapsed()
    });
    running.wait(Duration::from_secs(30)).code(0);
    (writable.as_secs_f64(), begun.elapsed().as_secs_f64())
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
    new.wait_until(
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
        "1",
        Duration::from_secs(30),
    );
    (writable.as_secs_f64(), begun.elapsed().as_secs_f64())
}
