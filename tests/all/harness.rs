//! The test harness itself: what the tests rely on is tested here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{
    self, Fault, Fingerprint, Proxy, Running, SOON, StopMode, TestCluster, TestServer, clean_command,
    postgres, versions, wait_for,
};

#[test]
fn standby_streams_and_is_promoted() {
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let node1 = cluster.primary("node1");
        let node2 = cluster.standby("node2", &node1);
        node1.psql("CREATE TABLE t AS SELECT 1 AS i");
        node2.wait_for_replay_of(&node1);
        assert_eq!(node2.psql("SELECT i FROM t"), "1");
        assert_eq!(node1.psql("SELECT application_name FROM pg_stat_replication"), "node2");
        assert_eq!(node1.system_identifier(), node2.system_identifier());
        let node3 = cluster.standby("node3", &node2);
        node2.promote();
        node2.psql("INSERT INTO t VALUES (2)");
        node3.wait_until("SELECT count(*) FROM t", "2", SOON);
    }
}

#[test]
fn foreign_server_has_another_system_identifier() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let (node1, other) = (cluster.primary("node1"), cluster.foreign("other"));
    assert_ne!(node1.system_identifier(), other.system_identifier());
    assert_eq!(other.psql_as("baton", "baton", "SELECT current_user"), "baton");
}

#[test]
fn server_survives_what_the_harness_does_to_it() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.kill9();
    assert!(!node1.is_running());
    assert!(node1.data.join("postmaster.pid").exists());
    node1.start();
    node1.append_conf("work_mem = '5MB'");
    node1.reload();
    node1.wait_until("SHOW work_mem", "5MB", SOON);
    node1.freeze();
    assert!(node1.is_running());
    assert!(!answers(&node1, node1.port, Duration::from_secs(1)));
    node1.thaw();
    assert!(answers(&node1, node1.port, SOON));
    node1.prepend_hba("host all repmgr 127.0.0.1/32 reject");
    node1.restart();
    assert!(!answers(&node1, node1.port, SOON));
    node1.stop(StopMode::Immediate);
    assert!(!node1.is_running());
    // The postmaster is gone; its children end by themselves, a moment later.
    support::wait_for("the server's processes end", SOON, || node1.processes().is_empty());
}

#[test]
fn dropping_a_server_ends_it_even_if_frozen() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let (port, dir) = (node1.port, node1.dir.clone());
    node1.freeze();
    drop(node1);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    drop(cluster);
    assert!(!dir.exists() || support::keeps());
}

#[test]
fn proxy_fails_as_configured() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let proxy = Proxy::to(node1.port);
    let short = Duration::from_millis(700);
    assert!(answers(&node1, proxy.port, SOON));

    proxy.set(Fault::Refuse);
    assert!(TcpStream::connect(("127.0.0.1", proxy.port)).is_err());

    proxy.set(Fault::BlackHole);
    assert!(TcpStream::connect(("127.0.0.1", proxy.port)).is_ok());
    assert!(!answers(&node1, proxy.port, short));

    proxy.set(Fault::Delay(Duration::from_millis(300)));
    let begun = Instant::now();
    assert!(answers(&node1, proxy.port, SOON));
    assert!(begun.elapsed() > Duration::from_millis(600), "not delayed");

    proxy.set(Fault::None);
    let mut open = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    // An SSLRequest, to which a server without TLS says N: the connection reaches the server.
    open.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    open.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"N");
    proxy.cut();
    open.set_read_timeout(Some(SOON)).unwrap();
    assert!(!matches!(open.read(&mut answer), Ok(1..)), "not cut");
    assert!(answers(&node1, proxy.port, SOON));
}

#[test]
fn fingerprint_changes_only_when_something_does() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    let node2 = cluster.standby("node2", &node1);
    let stopped = cluster.primary("stopped");
    stopped.stop(StopMode::Fast);
    let servers = [&node1, &node2, &stopped];
    let take = || Fingerprint::of(&servers, &[&cluster.dir().join("home")]);
    // Whatever the servers do by themselves after a start is done.
    node2.wait_for_replay_of(&node1);
    let before = take();

    // Reading, and the server's own doings, are no change.
    node1.psql("SELECT sum(i) FROM t");
    node1.psql("CHECKPOINT");
    node2.psql("SELECT sum(i) FROM t");
    node2.psql("CHECKPOINT");
    before.assert_same(&take());

    let changes: [(&str, &dyn Fn()); 6] = [
        ("node1: contents:", &|| drop(node1.psql("INSERT INTO t VALUES (0)"))),
        ("node1: slots:", &|| drop(node1.psql("SELECT pg_create_physical_replication_slot('s')"))),
        ("node2: data/postgresql.auto.conf:", &|| drop(node2.psql("ALTER SYSTEM SET work_mem = '6MB'"))),
        ("node2: loaded:", &|| {
            let loaded = node2.psql("SELECT pg_conf_load_time()");
            node2.reload();
            wait_for("a reload", SOON, || node2.psql("SELECT pg_conf_load_time()") != loaded);
        }),
        ("stopped: data/standby.signal:", &|| {
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(stopped.data.join("standby.signal"))
                .map(drop)
                .unwrap();
        }),
        ("node1: processes:", &|| node1.restart()),
    ];
    let mut before = before;
    for (expected, change) in changes {
        change();
        node2.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
        let after = take();
        let differences = before.differences(&after);
        assert!(differences.iter().any(|line| line == expected), "{expected} is not in {differences:#?}");
        let name = expected.trim_end_matches(':');
        let others = before.without(name).differences(&after.clone().without(name));
        assert!(others.iter().all(|line| line != expected), "{expected} is still in {others:#?}");
        before = after;
    }
}

#[test]
fn program_runs_with_a_deadline_and_a_clean_environment() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.empty("node1");
    let config = node1.node_config(1, "");
    assert!(config.exists());
    let output = node1.pgbaton(["--version"]).run();
    assert!(output.visible().ends_with("]\n"), "{output:?}");
    let output = node1.pgbaton(["--no-such-option", &node1.port.to_string()]).run();
    assert!(!output.visible().contains(&node1.port.to_string()), "{output:?}");
    let mut command = clean_command(Path::new("/bin/sh"));
    command.args(["-c", "echo begun >&2; sleep 60"]);
    let mut running = Running::start(command);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        running.wait_for_stderr("begun", SOON);
        running.wait(Duration::from_millis(500))
    }));
    let message = panic.err().and_then(|panic| panic.downcast::<String>().ok()).unwrap();
    assert!(message.contains("still running") && message.contains("begun"), "{message}");
}

#[test]
fn snapshots_show_nothing_that_differs_from_run_to_run() {
    let mut command = clean_command(Path::new("/bin/echo"));
    command.arg(concat!(
        "at 2026-11-21T10:00:00Z or 2026-11-21 10:00:00.123 UTC, process 4711 of 7575757575757575757\n",
        "wrote 0/3000148 after 1.25 s and 3 ms: step 1/3, 24576 bytes, \"outage_s\": 0.75",
    ));
    let output = Running::start(command).wait(SOON);
    let expected = "at [TIME] or [TIME], process [PID] of [SYSTEM]\n\
                    wrote [LSN] after [DURATION] and [DURATION]: step 1/3, 24576 bytes, \"outage_s\": [DURATION]\n\
                    ------- stderr -------\n[exit status: 0]\n";
    assert_eq!(output.visible(), expected);
}

/// Whether a server answers a query over TCP within a time.
fn answers(server: &TestServer, port: u16, within: Duration) -> bool {
    let conninfo = format!("host=127.0.0.1 port={port} user=repmgr dbname=repmgr");
    let mut command = clean_command(&server.pg.tool("psql"));
    command.args(["-XAtq", "-d", &conninfo, "-c", "SELECT 1"]);
    let mut running = Running::start(command);
    running.ends_within(within) && running.wait(SOON).stdout == "1\n"
}

/// Every machine that runs the tests has PostgreSQL 15; a test that needs another one is skipped without it.
#[test]
fn no_test_fails_for_want_of_a_version() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all");
    let unwrapped = regex::Regex::new(r"postgres\(([^)]*)\)\s*\.(unwrap|expect)\(").unwrap();
    let mut seen = 0;
    for file in tests.read_dir().unwrap().flatten().map(|entry| entry.path()) {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        for (line, text) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            for found in unwrapped.captures_iter(text) {
                seen += 1;
                assert_eq!(&found[1], "15", "{}:{}: {text}", file.display(), line + 1);
            }
        }
    }
    assert!(seen > 0, "the pattern finds nothing any more");
}
