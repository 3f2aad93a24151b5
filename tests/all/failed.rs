//! What a failed command says of the state that it has left is true: for the verbs that change something, and for each way to fail.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use crate::interrupted::heal;
use crate::support::{
    Disks, Fingerprint, Nodes, Observer, Output, Pg, Pgbaton, Running, SOON, Side, Stepped, StopMode,
    TestCluster, TestServer, can_unshare, clean_command, configure, postgres, send, wait_for,
};

/// Codes that always mean that nothing was changed.
const UNCHANGED: [i32; 6] = [1, 6, 12, 30, 31, 32];

/// Whether the command says that all is as it was.
fn claims_nothing(output: &Output) -> bool {
    let document = output.json();
    let text = document["error"].to_string();
    let said =
        ["othing was changed", "All changes have been undone."].iter().any(|words| text.contains(words));
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
    // A reload that was undone is a reload; a receiver that was repointed and pointed back is another process. A server
    // that was started again has other processes.
    for part in
        [": state/", ": state", ": loaded", ": receiver", ": processes", "postmaster.pid", "postmaster.opts"]
    {
        found = found.without(part);
    }
    found
}

/// The connection settings of the receiver, wherever they are stored.
fn upstreams(nodes: &Nodes) -> Vec<String> {
    let running = nodes.servers.iter().filter(|server| server.is_running());
    running.map(|server| server.psql("SHOW primary_conninfo; SHOW primary_slot_name")).collect()
}

/// Runs a command that is to fail, and compares what it says with what it did. `undo` takes the cause of the failure away.
#[track_caller]
fn fails(nodes: &Nodes, on: &TestServer, words: &[&str], code: i32, undo: impl FnOnce()) -> Output {
    let output = fails_as(nodes, on.pgbaton(words.iter().copied().chain(["--json"])), undo);
    output.code(code);
    output
}

/// The same with a command that was made ready, and whatever code.
#[track_caller]
fn fails_as(nodes: &Nodes, command: Pgbaton, undo: impl FnOnce()) -> Output {
    let before = (BEFORE.with(|before| before.borrow_mut().take()).unwrap(), upstreams_before());
    let output = command.run();
    undo();
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    if claims_nothing(&output) {
        wait_for("the settings of before", SOON, || upstreams(nodes) == before.1);
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
    static UPSTREAMS: std::cell::RefCell<(Vec<String>, Vec<String>)> = const { std::cell::RefCell::new((Vec::new(), Vec::new())) };
}

fn upstreams_before() -> Vec<String> {
    UPSTREAMS.with(|kept| kept.borrow().0.clone())
}

fn before_streaming() -> Vec<String> {
    UPSTREAMS.with(|kept| kept.borrow().1.clone())
}

/// Takes note of the state, before the cause of a failure is made.
fn note(nodes: &Nodes) {
    let running = || nodes.servers.iter().filter(|server| server.is_running());
    let streaming = running()
        .map(|server| server.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"))
        .collect();
    UPSTREAMS.with(|kept| kept.replace((upstreams(nodes), streaming)));
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
fn the_state_that_a_failed_command_reports_is_true() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    nodes.configure(3, "standby_follow_timeout = 2");
    nodes.configure(2, "shutdown_check_timeout = 4");
    for server in &nodes.servers {
        server.pgbaton(["cluster", "show"]).run().code(0);
    }
    let follow = ["standby", "follow", "--upstream-node-id=2"];

    // A lock that another process holds: every command that changes roles.
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

    // A target that goes away when all was found well.
    note(&nodes);
    let startup = three.process_titled("startup");
    send(startup, Signal::STOP);
    let mut running = three.pgbaton(follow.iter().copied().chain(["--json"])).spawn();
    running.wait_for_stderr("wait until node", SOON);
    two.kill9();
    let output = running.wait(SOON * 2);
    send(startup, Signal::CONT);
    output.code(23);
    assert!(!claims_nothing(&output), "the slot on node2 cannot have been dropped: {output:?}");
    assert!(output.json()["issues"].to_string().contains("slot"), "{output:?}");
    two.start();
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "1", SOON);
    for server in [three, two] {
        for operation in ["resume", "abandon"] {
            let _any = server.pgbaton(["operation", operation]).run();
        }
    }
    three.pgbaton(["standby", "follow"]).run().code(0);

    // The candidate does not receive: the old primary comes back.
    note(&nodes);
    let receiver = two.process_titled("walreceiver");
    send(receiver, Signal::STOP);
    fails(&nodes, two, &["standby", "switchover"], 18, || send(receiver, Signal::CONT));

    // A start that fails is none that has changed nothing.
    one.stop(StopMode::Fast);
    let taken = std::net::TcpListener::bind(("127.0.0.1", one.port)).unwrap();
    let output = one.pgbaton(["node", "start", "--json"]).run();
    output.code(4);
    drop(taken);

    // Without a primary.
    note(&nodes);
    for (on, words) in [
        (three, &["standby", "follow"][..]),
        (two, &["standby", "switchover"]),
        (three, &["standby", "register", "--force"]),
        (three, &["standby", "unregister"]),
        (three, &["cluster", "cleanup"]),
    ] {
        fails(&nodes, on, words, 6, || {});
        note(&nodes);
    }

    // A former primary that has something of its own.
    one.start();
    one.psql("CREATE TABLE before ()");
    one.kill9();
    two.pgbaton(["standby", "promote", "--accept-data-loss"]).run().code(0);
    run_alone(one);
    note(&nodes);
    fails(&nodes, one, &["node", "rejoin"], 32, || {});
    note(&nodes);
    mode(&one.data, 0o500);
    fails(&nodes, one, &["node", "rejoin", "--accept-data-loss"], 1, || mode(&one.data, 0o700));
}

/// Has a command find the file system of a node's state directory full: it sees a copy of its own.
fn full(nodes: &Nodes, on: &TestServer, command: Pgbaton) -> Pgbaton {
    let (state, copy) = (on.dir.join("state"), nodes.cluster.dir().join("copy"));
    let (state, copy) = (state.display(), copy.display());
    command.behind(&format!(
        "rm -rf {copy} && cp -a {state} {copy} && mount -t tmpfs -o size=16M tmpfs {state} && cp -a {copy}/. {state}/ \
         && (dd if=/dev/zero of={state}/filler bs=4k 2>/dev/null; true)"
    ))
}

#[test]
fn without_disk_space_for_a_journal_nothing_starts() {
    let Some(pg) = postgres(15) else { return };
    if !can_unshare() {
        return;
    }
    let nodes = Nodes::new(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    for server in &nodes.servers {
        server.pgbaton(["cluster", "show"]).run().code(0);
    }
    let begun = |on: &TestServer, words: &[&str]| {
        note(&nodes);
        let command = on.pgbaton(words.iter().copied().chain(["--json"]));
        let output = fails_as(&nodes, full(&nodes, on, command), || {});
        assert!(claims_nothing(&output), "{words:?}: {output:?}");
        assert!(
            output.json()["error"].to_string().to_lowercase().contains("no space left"),
            "{words:?}: {output:?}"
        );
    };
    for (on, words) in [
        (three, &["standby", "follow", "--upstream-node-id=2"][..]),
        (two, &["standby", "switchover"]),
        (three, &["standby", "register", "--force", "--upstream-node-id=2"]),
        (three, &["standby", "unregister"]),
        (two, &["node", "restart"]),
        (two, &["node", "stop"]),
        (two, &["node", "service", "--action=stop"]),
    ] {
        begun(on, words);
    }
    three.stop(StopMode::Fast);
    begun(three, &["node", "start"]);
    three.start();
    one.kill9();
    begun(two, &["standby", "promote"]);
    two.pgbaton(["standby", "promote"]).run().code(0);
    begun(one, &["node", "rejoin", "--yes"]);
    assert_eq!(nodes.primaries(), ["node2"]);
}

#[test]
fn a_failed_registration_changes_nothing() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let witness = nodes.cluster.foreign("witness");
    witness.node_config(9, "");
    let refused = |on: &TestServer, words: &[&str], code: i32| {
        note(&nodes);
        let before = Fingerprint::of(&[&witness], &[]).without(": state");
        let output = fails(&nodes, on, words, code, || {});
        assert!(claims_nothing(&output), "{output:?}");
        if witness.is_running() {
            before.assert_same(&Fingerprint::of(&[&witness], &[]).without(": state"));
        }
    };
    let port = one.port.to_string();
    let at_primary = ["witness", "register", "-h", "127.0.0.1", "-p", &port];
    // What is none of these.
    refused(two, &["primary", "register"], 1);
    refused(two, &["primary", "register", "--force"], 1);
    refused(one, &["standby", "register"], 1);
    refused(two, &at_primary, 1);
    refused(one, &["primary", "unregister"], 1);
    refused(two, &["witness", "unregister"], 1);
    // Another name or place for a node that is there.
    let config = std::fs::read_to_string(two.config()).unwrap();
    std::fs::write(two.config(), config.replace("node_id = 2", "node_id = 1")).unwrap();
    refused(two, &["standby", "register"], 1);
    std::fs::write(two.config(), config.replace("node_name = \"node2\"", "node_name = \"node1\"")).unwrap();
    refused(two, &["standby", "register", "--force"], 1);
    // The metadata cannot be written.
    nodes.configure(2, "priority = 50");
    one.psql_as(
        "postgres",
        "repmgr",
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER no BEFORE INSERT OR UPDATE OR DELETE ON repmgr.nodes EXECUTE FUNCTION no()",
    );
    two.wait_for_replay_of(one);
    refused(two, &["standby", "register", "--force", "--upstream-node-id=1"], 7);
    refused(two, &["standby", "unregister"], 7);
    // The witness has its tables by then, and that is what is said.
    note(&nodes);
    let output = fails(&nodes, &witness, &at_primary, 7, || {});
    assert!(!claims_nothing(&output), "{output:?}");
    assert!(output.json()["error"].to_string().contains("The steps before it are not undone."), "{output:?}");
    assert_eq!(witness.psql_as("repmgr", "repmgr", "SELECT count(*) FROM repmgr.nodes"), "0");
    one.psql_as("postgres", "repmgr", "DROP FUNCTION no() CASCADE");
    // A server that is down.
    witness.stop(StopMode::Fast);
    refused(&witness, &at_primary, 6);
    witness.start();
    one.stop(StopMode::Fast);
    refused(&witness, &at_primary, 6);
    refused(one, &["primary", "register"], 6);
    refused(one, &["primary", "unregister"], 6);
}

#[test]
fn a_failed_preparation_reports_how_far_it_got() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let one = cluster.primary("node1");
    configure(&one, 1, "node1", &one.conninfo_as("keeper", "keeper"), "");
    // The database cannot be made while another session uses its template.
    let mut psql = clean_command(&pg.tool("psql"));
    let (socket, port) = (one.socket_dir.to_string_lossy().into_owned(), one.port.to_string());
    let sleep =
        ["-X", "-h", &socket, "-p", &port, "-U", "postgres", "-d", "template1", "-c", "SELECT pg_sleep(600)"];
    psql.args(sleep);
    let mut session = Running::start(psql);
    one.wait_until("SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1'", "1", SOON);
    let output = one.pgbaton(["node", "prepare", "--apply", "--json"]).run();
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    let document = output.json();
    let made = |what: &str| one.psql(&format!("SELECT count(*) FROM {what} = 'keeper'"));
    assert_eq!(made("pg_database WHERE datname"), "0");
    assert_eq!(document["changed"], made("pg_roles WHERE rolname") == "1", "{output:?}");
    assert!(!claims_nothing(&output), "the role is there: {output:?}");
    one.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'template1'");
    assert!(session.ends_within(SOON));
    one.pgbaton(["node", "prepare", "--apply"]).run().code(0);
}

#[test]
fn a_server_that_did_not_stop_is_not_reported_as_stopped() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let two = nodes.node(2);
    nodes.configure(2, "shutdown_check_timeout = 2");
    for words in [&["node", "stop"][..], &["node", "service", "--action=stop"]] {
        two.freeze_postmaster();
        let output = two.pgbaton(words.iter().copied().chain(["--json"])).run();
        two.thaw();
        assert!([4, 5].contains(&output.status.code().unwrap()), "{output:?}");
        // The signal was sent.
        assert!(!claims_nothing(&output), "{output:?}");
        wait_for("the end that it was asked for", SOON, || !two.is_running());
        two.start();
    }
    // One that does not start, for another has its port.
    two.stop(StopMode::Fast);
    let taken = std::net::TcpListener::bind(("127.0.0.1", two.port)).unwrap();
    for words in [&["node", "start"][..], &["node", "service", "--action=start"]] {
        let output = two.pgbaton(words.iter().copied().chain(["--json"])).run();
        output.code(4);
        assert!(!two.is_running());
        assert!(!output.json()["error"].to_string().contains("is running"), "{output:?}");
    }
    drop(taken);
    two.pgbaton(["node", "start"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node1"]);
}

/// Lets a former primary write something, and stops it.
fn run_alone(server: &TestServer) {
    // By an operator who overrides the refusal.
    let _none = std::fs::remove_file(server.data.join("standby.signal"));
    server.start();
    server.psql("CREATE TABLE alone AS SELECT generate_series(1, 100) AS n");
    server.stop(StopMode::Fast);
}

#[test]
fn a_clone_whose_server_does_not_start_is_complete_nevertheless() {
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

// ---- a full file system of a data directory ------------------------------------------------------------------------------

const SWITCHOVER: [&str; 2] = ["standby", "switchover"];
const PROMOTE: [&str; 2] = ["standby", "promote"];

/// A command of node2 for which a file system is full.
struct Full {
    words: [&'static str; 2],
    /// The node whose data directory is on it.
    node: usize,
    /// The step whose mark is about to be written when it becomes full; None for one that is full before.
    step: Option<&'static str>,
    code: i32,
    says: &'static str,
    /// The primaries then.
    primary: Option<&'static str>,
    /// What is typed when there is room again, on which node, and its exit code.
    fix: &'static [(usize, &'static [&'static str], i32)],
    /// And the primary then.
    primary_after: &'static str,
}

const FULL: [Full; 9] = [
    Full {
        words: SWITCHOVER,
        node: 1,
        step: None,
        code: 1,
        says: "cannot write to the data directory of node \"node1\"",
        primary: Some("node1"),
        fix: &[],
        primary_after: "node1",
    },
    Full {
        words: SWITCHOVER,
        node: 3,
        step: None,
        code: 22,
        says: "could not point node \"node3\" at node \"node2\"",
        primary: Some("node2"),
        fix: &[(3, &["standby", "follow"], 0)],
        primary_after: "node2",
    },
    Full {
        words: SWITCHOVER,
        node: 1,
        step: Some("write_upstream"),
        code: 18,
        says: "node \"node1\" accepts connections as a primary",
        primary: Some("node1"),
        fix: &[],
        primary_after: "node1",
    },
    // Its last checkpoint fails: it ends without one.
    Full {
        words: SWITCHOVER,
        node: 1,
        step: Some("stop"),
        code: 18,
        says: "no server runs on",
        primary: Some("node1"),
        fix: &[],
        primary_after: "node1",
    },
    Full {
        words: SWITCHOVER,
        node: 1,
        step: Some("promote"),
        code: 22,
        says: "run \"pgbaton node start\" on the host of \"node1\"",
        primary: Some("node2"),
        fix: &[(1, &["node", "start"], 0)],
        primary_after: "node2",
    },
    // It cannot write the history of its new timeline, and shuts down.
    Full {
        words: SWITCHOVER,
        node: 2,
        step: Some("promote"),
        code: 8,
        says: "operation abandon",
        primary: None,
        fix: &[(2, &["operation", "abandon"], 22), (2, &["node", "start"], 0), (2, &PROMOTE, 0)],
        primary_after: "node2",
    },
    Full {
        words: PROMOTE,
        node: 1,
        step: None,
        code: 0,
        says: "the old primary \"node1\" can start only as a standby",
        primary: Some("node2"),
        fix: &[(1, &["node", "rejoin", "--yes"], 0)],
        primary_after: "node2",
    },
    Full {
        words: PROMOTE,
        node: 2,
        step: None,
        code: 7,
        says: "All changes have been undone.",
        primary: None,
        fix: &[(2, &PROMOTE, 0), (1, &["node", "rejoin", "--yes"], 0)],
        primary_after: "node2",
    },
    Full {
        words: PROMOTE,
        node: 2,
        step: Some("promote"),
        code: 8,
        says: "operation abandon",
        primary: None,
        fix: &[
            (2, &["operation", "abandon"], 22),
            (2, &["node", "start"], 0),
            (2, &PROMOTE, 0),
            (1, &["node", "rejoin", "--yes"], 0),
        ],
        primary_after: "node2",
    },
];

impl Full {
    fn played(&self, pg: &Pg) {
        let disks = Disks::of(Nodes::new(pg, 2));
        let nodes = &disks.nodes;
        for server in &nodes.servers {
            server.pgbaton(["cluster", "show"]).run().code(0);
        }
        let observer = Observer::begin(&nodes.servers);
        // A rollback writes once to see that it can. The order of rows is compared, too: this one is the last already.
        let touch = "UPDATE repmgr.nodes SET active = active WHERE node_id = 1";
        nodes.node(1).psql_as("repmgr", "repmgr", touch);
        if self.words == PROMOTE {
            nodes.node(1).kill9();
        }
        note(nodes);
        let command = nodes.node(2).pgbaton(self.words).arg("--json");
        let output = match self.step {
            None => {
                disks.fill(self.node);
                command.run()
            }
            Some(step) => {
                let mut running = Stepped::start(command);
                let mark = format!(r#""step":"{step}","stage":"forward","mark":"started""#);
                assert!(running.run_to(&mark, Side::Before));
                disks.fill(self.node);
                running.go_on(None).wait(2 * SOON)
            }
        };
        eprintln!("{:?}, {} is full, {:?}: {output:?}", self.words, self.node, self.step);
        let said = format!("{}{}", output.stdout.replace("\\\"", "\""), output.stderr);
        assert!(said.contains(self.says), "{}", self.says);
        output.code(self.code);
        assert_eq!(nodes.primaries(), Vec::from_iter(self.primary));
        disks.free(self.node);
        if self.code != 0 && claims_nothing(&output) {
            let differences =
                BEFORE.with(|before| before.borrow_mut().take()).unwrap().differences(&state(nodes));
            assert!(differences.is_empty(), "{}", differences.join("\n"));
        }
        // What a rollback could not do is done later, where it says so.
        if self.code == 18 && said.contains("\"pgbaton operation abandon") {
            nodes.node(2).pgbaton(["operation", "abandon"]).run().code(0);
        }
        for (on, words, code) in self.fix {
            nodes.node(*on).pgbaton(*words).run().code(*code);
        }
        assert_eq!(nodes.primaries(), [self.primary_after]);
        heal(nodes, nodes.node(2));
        assert_eq!(nodes.primaries(), [self.primary_after]);
        observer.assert_never_two();
    }
}

#[test]
fn a_full_disk_is_reported_correctly_and_causes_no_second_primary() {
    Disks::with(3, "failed::a_full_disk_is_reported_correctly_and_causes_no_second_primary", || {
        let pg = postgres(15).unwrap();
        FULL.iter().for_each(|full| full.played(&pg));
    });
}
