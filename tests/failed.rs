//! What a failed command says of the state that it has left is true: for the verbs that change something, and for each way to fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use support::{
    Fingerprint, Nodes, Output, Running, SOON, TestServer, clean_command, postgres, send, wait_for,
};

/// Codes that always mean that nothing was changed.
const UNCHANGED: [i32; 6] = [1, 6, 12, 30, 31, 32];

/// Whether the command says that all is as it was.
fn claims_nothing(output: &Output) -> bool {
    let document = output.json();
    let text = document["error"].to_string();
    let said = ["othing was changed", "What had been changed was put back."]
        .iter()
        .any(|words| text.contains(words));
    let code = UNCHANGED.contains(&output.status.code().unwrap());
    assert!(!(code || said) || document["changed"] == false, "it claims both: {output:?}");
    code || said || document["changed"] == false
}

/// The state of the servers, without what failing may leave: the journal of the command, and the records of what happened.
fn state(nodes: &Nodes) -> Fingerprint {
    let running: Vec<&TestServer> = nodes.servers.iter().filter(|server| server.is_running()).collect();
    let primary = running.iter().find(|server| server.psql("SELECT pg_is_in_recovery()") == "f");
    if let Some(primary) = primary {
        for table in ["repmgr.events", "pgbaton.operation"] {
            primary.psql_as("repmgr", "repmgr", &format!("DELETE FROM {table}"));
        }
        for standby in running.iter().filter(|server| server.name != primary.name) {
            if standby.psql("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1" {
                standby.wait_for_replay_of(primary);
            }
        }
    }
    let mut found = Fingerprint::of(&nodes.servers.iter().collect::<Vec<_>>(), &[]);
    // A reload that was undone is a reload; a receiver that was led away and back is another process. A server that was started again
    // has other processes.
    for part in
        [": state/", ": state", ": loaded", ": receiver", ": processes", "postmaster.pid", "postmaster.opts"]
    {
        found = found.without(part);
    }
    found
}

/// What a receiver is told, wherever that stands.
fn led_to(nodes: &Nodes) -> Vec<String> {
    let running = nodes.servers.iter().filter(|server| server.is_running());
    running.map(|server| server.psql("SHOW primary_conninfo; SHOW primary_slot_name")).collect()
}

/// Runs a command that is to fail, and compares what it says with what it did. `undo` takes the cause of the failure away.
#[track_caller]
fn fails(nodes: &Nodes, on: &TestServer, words: &[&str], code: i32, undo: impl FnOnce()) -> Output {
    let before = (BEFORE.with(|before| before.borrow_mut().take()).unwrap(), led_to_before());
    let output = on.pgbaton(words.iter().copied().chain(["--json"])).run();
    undo();
    output.code(code);
    if claims_nothing(&output) {
        wait_for("the settings of before", SOON, || led_to(nodes) == before.1);
        let streaming = |nodes: &Nodes| -> Vec<String> {
            let running = nodes.servers.iter().filter(|server| server.is_running());
            running
                .map(|server| {
                    server.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
                })
                .collect()
        };
        wait_for("the standbys of before", SOON, || streaming(nodes) == before_streaming());
        let differences = before.0.differences(&state(nodes));
        assert!(differences.is_empty(), "{}\nand it says: {output:?}", differences.join("\n"));
        for server in &nodes.servers {
            let kept = server.dir.join("state/kept");
            let left = kept.read_dir().map_or(0, Iterator::count);
            assert_eq!(left, 0, "{} is not empty: {output:?}", kept.display());
        }
    }
    output
}

thread_local! {
    static BEFORE: std::cell::RefCell<Option<Fingerprint>> = const { std::cell::RefCell::new(None) };
    static LED: std::cell::RefCell<(Vec<String>, Vec<String>)> = const { std::cell::RefCell::new((Vec::new(), Vec::new())) };
}

fn led_to_before() -> Vec<String> {
    LED.with(|led| led.borrow().0.clone())
}

fn before_streaming() -> Vec<String> {
    LED.with(|led| led.borrow().1.clone())
}

/// Takes note of the state, before the cause of a failure is made.
fn note(nodes: &Nodes) {
    let running = || nodes.servers.iter().filter(|server| server.is_running());
    let streaming = running()
        .map(|server| server.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"))
        .collect();
    LED.with(|led| led.replace((led_to(nodes), streaming)));
    BEFORE.with(|before| before.replace(Some(state(nodes))));
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A session that holds the lock of all operations on a server.
fn locked(server: &TestServer) -> Running {
    let mut psql = clean_command(&server.pg.tool("psql"));
    let (socket, port) = (server.socket_dir.to_string_lossy().into_owned(), server.port.to_string());
    let sql = format!("SELECT pg_advisory_lock({}); SELECT pg_sleep(600)", pgbaton::registry::lock::KEY);
    psql.args(["-X", "-h", &socket, "-p", &port, "-U", "repmgr", "-d", "repmgr", "-c", &sql]);
    let session = Running::start(psql);
    server.wait_until("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted", "t", SOON);
    session
}

#[test]
fn what_a_failed_command_says_of_the_state_is_true() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    nodes.configure(3, "standby_follow_timeout = 2");
    nodes.configure(2, "shutdown_check_timeout = 4");
    for server in &nodes.servers {
        server.pgbaton(["cluster", "show"]).run().code(0);
    }
    let follow = ["standby", "follow", "--upstream-node-id=2"];

    // A lock that somebody else holds: every command that changes roles.
    note(&nodes);
    let mut session = locked(two);
    let commands: [(&TestServer, &[&str]); 4] = [
        (three, &follow),
        (two, &["standby", "switchover"]),
        (two, &["standby", "promote", "--force"]),
        (three, &["node", "rejoin"]),
    ];
    for (on, words) in commands {
        fails(&nodes, on, words, 30, || {});
        note(&nodes);
    }
    two.psql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'");
    two.wait_until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0", SOON);
    assert!(session.ends_within(SOON));

    // Places that cannot be written to.
    let closed = [
        (three, &follow[..], three),
        (two, &["standby", "switchover"], one),
        (two, &["standby", "switchover"], two),
        (one, &["node", "restart"], one),
    ];
    for (on, words, place) in closed {
        note(&nodes);
        mode(&place.data.join("pg_wal"), 0o500);
        let output = fails(&nodes, on, words, 1, || mode(&place.data.join("pg_wal"), 0o700));
        assert!(output.json()["error"].to_string().contains("cannot write to"), "{output:?}");
    }

    // A primary that lives.
    note(&nodes);
    fails(&nodes, two, &["standby", "promote"], 31, || {});

    // A standby that does not begin to stream: one that streamed, and one that did not.
    for detached in [false, true] {
        if detached {
            let conninfo =
                three.psql("SHOW primary_conninfo").replace(&format!("port={}", one.port), "port=1");
            three.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", conninfo.replace('\'', "''")));
            three.psql_as("repmgr", "repmgr", "SELECT pg_reload_conf()");
            one.wait_until("SELECT count(*) FROM pg_stat_replication", "1", SOON);
        }
        note(&nodes);
        let startup = three.process_titled("startup");
        send(startup, Signal::STOP);
        fails(&nodes, three, &follow, 23, || send(startup, Signal::CONT));
    }
    three.pgbaton(["standby", "follow"]).run().code(0);
}

#[test]
fn a_clone_whose_server_does_not_start_is_a_clone_all_the_same() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 0);
    let three = nodes.cluster.empty("node3");
    three.node_config(3, "");
    let one = nodes.node(1);
    let port = one.port.to_string();
    let taken = std::net::TcpListener::bind(("127.0.0.1", three.port)).unwrap();
    let clone = [
        "standby",
        "clone",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "repmgr",
        "-d",
        "repmgr",
        "--start",
        "--register",
        "--json",
    ];
    let output = three.pgbaton(clone).run();
    drop(taken);
    output.code(4);
    assert!(!claims_nothing(&output), "{output:?}");
    assert!(
        output.json()["error"].to_string().contains("is complete. Its server was not started."),
        "{output:?}"
    );
    assert!(three.data.join("PG_VERSION").exists() && three.data.join("standby.signal").exists());
}
