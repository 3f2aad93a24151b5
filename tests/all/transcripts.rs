//! What a person sees of each command, whole: the files in `tests/snapshots/transcript`, which are read in every review.
//!
//! `SNAPSHOTS=overwrite` writes them anew.

use std::path::Path;

use regex::Regex;
use rustix::process::Signal;

use crate::support::{
    self, Nodes, Output, Pgbaton, Running, SOON, Side, Stepped, StopMode, TestServer, clean_command,
    metadata, postgres, script, wait_for,
};

/// One transcript: what is typed on the hosts of a cluster, and what is printed.
struct Transcript {
    name: &'static str,
    text: String,
}

impl Transcript {
    fn new(name: &'static str) -> Self {
        Self { name, text: String::new() }
    }

    /// Types a command on the host of a node; it ends with this exit code.
    #[track_caller]
    fn types(&mut self, title: &str, on: &TestServer, words: &[&str], code: i32) {
        let output = on.pgbaton(words).merged().run();
        self.shows(title, on, words, &output, code);
    }

    /// Types it in a terminal that is so wide.
    #[track_caller]
    fn types_in_terminal(&mut self, title: &str, on: &TestServer, words: &[&str], columns: u32, code: i32) {
        let output = on.pgbaton(words).in_terminal(columns).run();
        self.shows(&format!("{title}, {columns} columns"), on, words, &output, code);
    }

    /// Takes down what a command has printed.
    #[track_caller]
    fn shows(&mut self, title: &str, on: &TestServer, words: &[&str], output: &Output, code: i32) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let words = shell_words::join(words.iter().copied());
        let typed = format!("{}$ pgbaton {words}\n{}", on.name, output.stdout.replace('\r', ""));
        self.text.push_str(&format!("== {title} ==\n{}", masked(&typed, on)));
        let exit = output
            .status
            .code()
            .map_or_else(|| output.status.to_string(), |code| format!("exit code {code}"));
        self.text.push_str(&format!("[{exit}]\n"));
        output.code(code);
    }

    /// Compares it with the committed file.
    #[track_caller]
    fn end(self) {
        let file = Path::new("tests/snapshots/transcript").join(format!("{}.txt", self.name));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &self.text).unwrap();
        }
        let expected = snapbox::Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw();
        snapbox::Assert::new().eq(self.text, expected);
    }
}

/// Gives what differs from run to run the form of an example: directories, ports, times and positions.
fn masked(text: &str, on: &TestServer) -> String {
    let root = on.dir.parent().unwrap();
    let mut text = text
        .replace(&*root.to_string_lossy(), "/srv")
        .replace(&*on.pg.bindir.to_string_lossy(), "/usr/lib/postgresql/15/bin")
        .replace(&*Pgbaton::path().to_string_lossy(), "/usr/bin/pgbaton");
    let port_of = Regex::new(r"port=(\d+)").unwrap();
    for server in root.read_dir().unwrap().flatten() {
        let name = server.file_name().to_string_lossy().into_owned();
        let Ok(config) = std::fs::read_to_string(server.path().join("pgbaton.toml")) else { continue };
        let Some(port) = port_of.captures(&config).map(|found| found[1].to_string()) else { continue };
        let number = name.trim_start_matches("node");
        text = Regex::new(&format!(r"\b{port}\b"))
            .unwrap()
            .replace_all(&text, format!("543{number}"))
            .into_owned();
    }
    for (form, shown) in [
        // Only a slow copy is reported.
        (r"(?m)^INFO: \d+% copied: .*\n", ""),
        (r"\b\d{8}T\d{6}\.\d+Z-[0-9a-f]{4}\b", "20261201T120000.000Z-0001"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| UTC|\+00)", "2026-12-01 12:00:00 UTC"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b", "2026-12-01 12:00:00"),
        (r"\b\d{8}T\d{6}Z\b", "20261201T120000Z"),
        (r"\b\d\d:\d\d:\d\d\b", "12:00:00"),
        (r"kept/\d+-settings", "kept/4711-settings"),
        (r"\b\d+ seconds? ago", "2 seconds ago"),
        (r"\b\d+ % free for ([^,]*), \d+ GB", "40 % free for $1, 40 GB"),
        (r"\b[67]\d{18}\b", "7500000000000000000"),
        (r"\b[0-9A-F]{1,8}/[0-9A-F]{5,8}\b", "0/5000000"),
        (r"UTC \[\d+\]", "UTC [4711]"),
        (r"(?i)\b(pid|process)( |=|: ?)\d+\b", "$1${2}4711"),
        (r"\b\d+(\.\d+)? ms\b", "12 ms"),
        (r"\b\d+\.\d+ s\b", "0.1 s"),
        (r"\b\d+ (bytes|kB|MB)\b", "16 $1"),
        (r"\b15\.\d+\b", "15.1"),
        (r"with \d+ transactions?", "with 2 transactions"),
        // Where a long statement is cut depends on the length of directories.
        (r"(?m)^(.{200}).*(… \(--format json shows all of it\))$", "$1$2"),
    ] {
        text = Regex::new(form).unwrap().replace_all(&text, shown).into_owned();
    }
    text
}

/// Runs until its journal has the mark of a step, and no further.
#[track_caller]
fn stopped_at(on: &TestServer, words: &[&str], mark: &str) -> Stepped {
    let mut running = Stepped::start(on.pgbaton(words).merged());
    assert!(running.run_to(mark, Side::After), "{mark} never came");
    running
}

fn streaming(on: &TestServer, count: &str) {
    on.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", count, SOON);
}

/// A cluster of which every host has seen the other nodes.
fn cluster(standbys: usize) -> Nodes {
    let nodes = Nodes::new(&postgres(15).unwrap(), standbys);
    nodes.servers[1..].iter().for_each(|server| server.wait_for_replay_of(nodes.node(1)));
    for (id, server) in (1..).zip(&nodes.servers) {
        // How full the disk of the machine is makes no difference.
        nodes.configure(id, "free_space_warning = 1\nfree_space_critical = 0");
        server.pgbaton(["cluster", "show"]).run().code(0);
    }
    nodes
}

fn free(nodes: &Nodes) {
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    nodes
        .servers
        .iter()
        .filter(|server| server.is_running())
        .for_each(|server| server.wait_until(locks, "0", SOON));
}

/// Waits until the sessions of a command that was killed hold no lock on these servers.
fn unlocked(servers: &[&TestServer]) {
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    servers.iter().for_each(|server| server.wait_until(locks, "0", SOON));
}

/// While this runs, no row of a table can be written on a server, as on a full disk.
fn without_space<T>(server: &TestServer, table: &str, run: impl FnOnce() -> T) -> T {
    server.psql_as(
        "postgres",
        "repmgr",
        &format!("CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           RAISE 'could not extend file \"base/5/1249\": No space left on device' USING ERRCODE = 'disk_full', \
             HINT = 'Check free disk space.'; END $$; \
         CREATE TRIGGER no_space BEFORE INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION no_space()"),
    );
    let out = run();
    server.psql_as("postgres", "repmgr", "DROP FUNCTION no_space() CASCADE");
    out
}

const SWITCHOVER: [&str; 2] = ["standby", "switchover"];
const PROMOTE: [&str; 2] = ["standby", "promote"];

#[test]
fn switchover() {
    let nodes = cluster(2);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let mut transcript = Transcript::new("switchover");
    transcript.types("dry run", two, &["standby", "switchover", "--dry-run"], 0);
    transcript.types("refused on the primary", one, &SWITCHOVER, 1);
    let receiver = two.process_titled("walreceiver");
    one.with_configuration(&one.stop_that_freezes(receiver), || {
        two.with_configuration("wal_receive_check_timeout = 2", || {
            transcript.types("the last WAL does not arrive: rollback", two, &SWITCHOVER, 18);
        });
    });
    support::send(receiver, Signal::CONT);
    streaming(one, "2");
    let output = stopped_at(two, &SWITCHOVER, "\"step\":\"write_signal\"").go_on([Signal::INT]).wait(SOON);
    transcript.shows("Ctrl-C before the point of no return", two, &SWITCHOVER, &output, 130);
    streaming(one, "2");
    transcript.types("success", two, &SWITCHOVER, 0);
    streaming(two, "2");
    let mut killed = Stepped::start(one.pgbaton(SWITCHOVER).merged());
    assert!(killed.run_to("\"step\":\"record\"", Side::After));
    killed.kill().wait(SOON);
    free(&nodes);
    transcript.types("the next one was killed after the promotion", one, &["operation", "list"], 0);
    transcript.types("resume", one, &["operation", "resume"], 0);
    transcript.end();
}

#[test]
fn promote() {
    let nodes = cluster(2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let mut transcript = Transcript::new("promote");
    transcript.types("refused while the primary is running", two, &PROMOTE, 31);
    one.stop(StopMode::Immediate);
    transcript.types("dry run", two, &["standby", "promote", "--dry-run"], 0);
    let output = stopped_at(two, &PROMOTE, "\"step\":\"create_slot").go_on([Signal::INT]).wait(SOON);
    transcript.shows("Ctrl-C before the promotion", two, &PROMOTE, &output, 130);
    transcript.types("success", two, &PROMOTE, 0);
    transcript.types("again on the other standby", three, &PROMOTE, 31);
    one.pgbaton(["node", "rejoin", "--yes"]).run().code(0);
    streaming(two, "2");
    two.stop(StopMode::Immediate);
    stopped_at(one, &PROMOTE, "\"step\":\"promote\"").kill().wait(SOON);
    free(&nodes);
    transcript.types("the next one was killed at its promotion, and is typed again", one, &PROMOTE, 0);
    one.stop(StopMode::Immediate);
    let startup = three.process_titled("startup");
    support::send(startup, Signal::STOP);
    three.with_configuration("promote_check_timeout = 2", || {
        transcript.types("the promotion does not finish in time", three, &PROMOTE, 8);
        transcript.types("what is left", three, &["operation", "list"], 0);
        transcript.types(
            "abandoned while the promotion is still requested",
            three,
            &["operation", "abandon"],
            31,
        );
    });
    support::send(startup, Signal::CONT);
    transcript.end();
}

#[test]
fn follow() {
    let nodes = cluster(2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let words = ["standby", "follow", "--upstream-node-id=2"];
    let mut transcript = Transcript::new("follow");
    transcript.types("refused on the primary", one, &words, 1);
    transcript.types("dry run", three, &["standby", "follow", "--upstream-node-id=2", "--dry-run"], 0);
    let startup = three.process_titled("startup");
    support::send(startup, Signal::STOP);
    three.with_configuration("standby_follow_timeout = 2", || {
        transcript.types("it does not stream in time: rollback", three, &words, 23);
    });
    support::send(startup, Signal::CONT);
    streaming(one, "2");
    let output = stopped_at(three, &words, "\"step\":\"create_slot").go_on([Signal::INT]).wait(SOON);
    transcript.shows("Ctrl-C", three, &words, &output, 130);
    transcript.types("success", three, &words, 0);
    streaming(two, "1");
    transcript.types("again", three, &words, 0);
    let back = ["standby", "follow", "--upstream-node-id=1"];
    without_space(one, "repmgr.nodes", || {
        transcript.types("it streams, but cannot be recorded", three, &back, 7);
    });
    streaming(one, "2");
    transcript.types("again: it is recorded", three, &back, 0);
    stopped_at(three, &words, "\"step\":\"follow\"").kill().wait(SOON);
    free(&nodes);
    transcript.types(
        "the next one was killed while the node was repointed",
        three,
        &["operation", "list"],
        0,
    );
    transcript.types("its steps", three, &["operation", "show"], 0);
    transcript.types("resume", three, &["operation", "resume"], 0);
    streaming(two, "1");
    transcript.end();
}

#[test]
fn rejoin() {
    let nodes = cluster(1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let words = ["node", "rejoin"];
    let mut transcript = Transcript::new("rejoin");
    one.stop(StopMode::Fast);
    two.pgbaton(PROMOTE).run().code(0);
    transcript.types(
        "dry run: nothing was written on the old primary",
        one,
        &["node", "rejoin", "--dry-run"],
        0,
    );
    let output = stopped_at(one, &words, "\"step\":\"standby_signal\"").go_on([Signal::INT]).wait(SOON);
    transcript.shows("Ctrl-C", one, &words, &output, 130);
    let settings = std::fs::read(one.data.join("postgresql.conf")).unwrap();
    one.append_conf("shared_preload_libraries = 'no_such_library'");
    transcript.types("the server does not start", one, &words, 4);
    std::fs::write(one.data.join("postgresql.conf"), settings).unwrap();
    transcript.types("success", one, &words, 0);
    transcript.types("again", one, &words, 0);
    streaming(two, "1");
    one.promote();
    one.psql("CHECKPOINT");
    two.psql_as("repmgr", "repmgr", "CREATE TABLE only_here ()");
    one.psql_as("repmgr", "repmgr", "CREATE TABLE only_there ()");
    two.stop(StopMode::Fast);
    one.pgbaton(["primary", "register", "--force"]).run().code(0);
    transcript.types("refused: it has transactions of its own", two, &words, 32);
    let rewind = ["node", "rejoin", "--force-rewind", "--accept-data-loss"];
    transcript.types("dry run with pg_rewind", two, &["node", "rejoin", "--force-rewind", "--dry-run"], 0);
    stopped_at(two, &rewind, "\"step\":\"rewind\"").kill().wait(SOON);
    free(&nodes);
    transcript.types("the next one was killed during pg_rewind", two, &["operation", "list"], 0);
    transcript.types("typed again", two, &rewind, 0);
    streaming(one, "1");
    // A standby that has diverged: it was promoted by mistake, and is one again.
    two.promote();
    two.psql("CHECKPOINT");
    two.psql_as("repmgr", "repmgr", "CREATE TABLE by_mistake ()");
    one.psql_as("repmgr", "repmgr", "CREATE TABLE meanwhile ()");
    two.stop(StopMode::Fast);
    std::fs::write(two.data.join("standby.signal"), "").unwrap();
    two.start();
    transcript.types("a standby that has diverged is rewound", two, &rewind, 0);
    streaming(one, "1");
    transcript.end();
}

#[test]
fn clone() {
    let nodes = cluster(0);
    let one = nodes.node(1);
    let two = nodes.cluster.empty("node2");
    two.node_config(2, "");
    let port = one.port.to_string();
    let words = ["standby", "clone", "-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr"];
    let with = |more: &'static str| [&words[..], &[more]].concat();
    let mut transcript = Transcript::new("clone");
    transcript.types("dry run", &two, &with("--dry-run"), 0);
    let output = stopped_at(&two, &words, "\"step\":\"base_backup\"").go_on([Signal::INT]).wait(SOON);
    transcript.shows("Ctrl-C", &two, &words, &output, 130);
    let walreceiver = "pg_basebackup_options = \"--compress=client-gzip\"";
    two.with_configuration(walreceiver, || {
        transcript.types("pg_basebackup fails: rollback", &two, &words, 14);
    });
    stopped_at(&two, &words, "\"step\":\"put_in_place\"").kill().wait(SOON);
    transcript.types("the next one was killed, and is resumed", &two, &["operation", "resume"], 0);
    std::fs::remove_dir_all(&two.data).unwrap();
    transcript.types("success", &two, &words, 0);
    transcript.types("again: there is a data directory", &two, &words, 1);
    transcript.types("start", &two, &["node", "start"], 0);
    transcript.types("register, dry run", &two, &["standby", "register", "--dry-run"], 0);
    transcript.types("register", &two, &["standby", "register"], 0);
    transcript.types("register again", &two, &["standby", "register"], 0);
    transcript.types("unregister, dry run", &two, &["standby", "unregister", "--dry-run"], 0);
    transcript.types("unregister", &two, &["standby", "unregister"], 0);
    transcript.end();
}

#[test]
fn register() {
    let cluster = support::TestCluster::new(&postgres(15).unwrap());
    let one = cluster.primary("node1");
    one.node_config(1, "");
    let mut transcript = Transcript::new("register");
    transcript.types("dry run", &one, &["primary", "register", "--dry-run"], 0);
    let register = ["primary", "register"];
    let killed = stopped_at(&one, &register, "\"step\":\"record_node\"").kill();
    killed.wait(SOON);
    transcript.types("killed", &one, &["operation", "list"], 0);
    transcript.types("resume", &one, &["operation", "resume"], 0);
    transcript.types("success", &one, &register, 0);
    transcript.types("again", &one, &["primary", "register"], 0);
    transcript.types("refused: the primary is running", &one, &["primary", "unregister"], 1);
    one.with_configuration("location = \"cellar\"", || {
        without_space(&one, "repmgr.nodes", || {
            transcript.types("it cannot be recorded", &one, &["primary", "register", "--force"], 7);
        });
        transcript.types("a new location", &one, &["primary", "register", "--force"], 0);
    });
    transcript.end();
}

#[test]
fn register_a_standby() {
    let nodes = cluster(1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let words = ["standby", "register", "--force"];
    let mut transcript = Transcript::new("register-a-standby");
    transcript.types("refused on the primary", one, &["standby", "register"], 1);
    transcript.types("refused as a primary", two, &["primary", "register"], 1);
    let unknown = ["standby", "register", "--upstream-node-id=7"];
    transcript.types("refused: no such upstream", two, &unknown, 1);
    two.with_configuration("priority = 50", || {
        transcript.types("a new priority, dry run", two, &[&words[..], &["--dry-run"]].concat(), 0);
        without_space(one, "repmgr.nodes", || {
            two.wait_for_replay_of(one);
            transcript.types("it cannot be recorded", two, &words, 7);
        });
        two.wait_for_replay_of(one);
        stopped_at(two, &words, "\"step\":\"record_node\"").kill().wait(SOON);
        free(&nodes);
        transcript.types("the next one was killed", two, &["operation", "list"], 0);
        transcript.types("resume", two, &["operation", "resume"], 0);
    });
    transcript.end();
}

#[test]
fn unregister() {
    let nodes = cluster(2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let standby = ["standby", "unregister", "--node-id=3"];
    let mut transcript = Transcript::new("unregister");
    transcript.types("refused: it is a standby", one, &["primary", "unregister", "--node-id=3"], 1);
    three.stop(StopMode::Fast);
    one.wait_until("SELECT count(*) FROM pg_replication_slots WHERE active", "1", SOON);
    transcript.types("a standby, dry run", one, &[&standby[..], &["--dry-run"]].concat(), 0);
    without_space(one, "repmgr.nodes", || {
        transcript.types("its record cannot be removed", one, &standby, 7);
    });
    stopped_at(one, &standby, "\"step\":\"remove_record\"").kill().wait(SOON);
    free(&nodes);
    transcript.types("the next one was killed", one, &["operation", "list"], 0);
    transcript.types("resume", one, &["operation", "resume"], 0);
    transcript.types("again", one, &standby, 1);
    one.stop(StopMode::Immediate);
    two.pgbaton(PROMOTE).run().code(0);
    let primary = ["primary", "unregister", "--node-id=1"];
    transcript.types("a former primary, dry run", two, &[&primary[..], &["--dry-run"]].concat(), 0);
    transcript.types("a former primary", two, &primary, 0);
    transcript.types("refused: the primary is running", two, &["primary", "unregister"], 1);
    transcript.types("the cluster is decommissioned", two, &["primary", "unregister", "--force"], 0);
    transcript.end();
}

#[test]
fn witness() {
    let nodes = cluster(1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let witness = nodes.cluster.foreign("node9");
    witness.node_config(9, "free_space_warning = 1\nfree_space_critical = 0");
    let [port, other_port] = [one, two].map(|server| server.port.to_string());
    let words = ["witness", "register", "-h", "127.0.0.1", "-p", &port];
    let of_a_standby = ["witness", "register", "-h", "127.0.0.1", "-p", &other_port];
    let remove = ["witness", "unregister"];
    let mut transcript = Transcript::new("witness");
    transcript.types("dry run", &witness, &[&words[..], &["--dry-run"]].concat(), 0);
    transcript.types("refused: a standby is named", &witness, &of_a_standby, 1);
    transcript.types("refused on a standby", two, &words, 1);
    without_space(one, "repmgr.nodes", || {
        transcript.types("it cannot be recorded", &witness, &words, 7);
    });
    stopped_at(&witness, &words, "\"step\":\"copy_nodes\"").kill().wait(SOON);
    unlocked(&[one, two, &witness]);
    transcript.types("the next one was killed", &witness, &["operation", "list"], 0);
    transcript.types("resume: it has its record by now", &witness, &["operation", "resume"], 0);
    transcript.types("typed again", &witness, &[&words[..], &["--force"]].concat(), 0);
    transcript.types("again", &witness, &words, 1);
    transcript.types("unregister, dry run", &witness, &[&remove[..], &["--dry-run"]].concat(), 0);
    transcript.types("refused: this is no witness", two, &remove, 1);
    witness.stop(StopMode::Fast);
    transcript.types("refused: its server is down", one, &["witness", "unregister", "--node-id=9"], 6);
    witness.start();
    transcript.types("unregister", &witness, &remove, 0);
    transcript.types("success", &witness, &words, 0);
    without_space(&witness, "repmgr.nodes", || {
        transcript.types("its copy cannot be emptied", &witness, &remove, 7);
    });
    transcript.end();
}

#[test]
fn service() {
    let nodes = cluster(1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let mut transcript = Transcript::new("service");
    transcript.types("stop, dry run", two, &["node", "stop", "--dry-run"], 0);
    transcript.types("stop", two, &["node", "stop"], 0);
    transcript.types("stop again", two, &["node", "stop"], 0);
    let taken = std::net::TcpListener::bind(("127.0.0.1", two.port)).unwrap();
    transcript.types("another process has its port", two, &["node", "start"], 4);
    drop(taken);
    transcript.types("start, dry run", two, &["node", "start", "--dry-run"], 0);
    transcript.types("start", two, &["node", "start"], 0);
    transcript.types("restart, dry run", two, &["node", "restart", "--dry-run"], 0);
    transcript.types("restart", two, &["node", "restart"], 0);
    streaming(one, "1");
    transcript.types("reload, dry run", two, &["node", "reload", "--dry-run"], 0);
    transcript.types("reload", two, &["node", "reload"], 0);
    let (start, stop, restart) = (["node", "start"], ["node", "stop"], ["node", "restart"]);
    let mut interrupted = |title: &str, words: [&str; 2]| {
        let begun = two.dir.join("begun");
        let hangs = script(&two.dir.join("hangs"), &format!("touch {}; exec sleep 60", begun.display()));
        let parameter = format!("service_{}_command = \"{}\"", words[1], hangs.display());
        two.with_configuration(&parameter, || {
            let running = two.pgbaton(words).merged().spawn();
            wait_for("it to have begun", SOON, || begun.exists());
            running.signal(Signal::INT);
            transcript.shows(title, two, &words, &running.wait(SOON), 130);
        });
        std::fs::remove_file(begun).unwrap();
    };
    interrupted("Ctrl-C during a stop", stop);
    interrupted("Ctrl-C during a restart", restart);
    two.pgbaton(stop).run().code(0);
    interrupted("Ctrl-C during a start", start);
    stopped_at(two, &start, "\"step\":\"start\"").kill().wait(SOON);
    transcript.types("the next one was killed", two, &["operation", "list"], 0);
    transcript.types("resume", two, &["operation", "resume"], 0);
    streaming(one, "1");
    transcript.types("stop the primary, dry run", one, &["node", "stop", "--dry-run"], 0);
    one.stop(StopMode::Immediate);
    two.pgbaton(PROMOTE).run().code(0);
    std::fs::remove_file(one.data.join("standby.signal")).unwrap();
    transcript.types("refused: the old primary", one, &["node", "start"], 31);
    transcript.types("guard", one, &["node", "guard"], 31);
    transcript.types("guard --demote, dry run", one, &["node", "guard", "--demote", "--dry-run"], 31);
    let demote = ["node", "guard", "--demote"];
    stopped_at(one, &demote, "\"step\":\"create_slot").kill().wait(SOON);
    free(&nodes);
    transcript.types("the demotion was killed, and is resumed", one, &["operation", "resume"], 0);
    std::fs::remove_file(one.data.join("standby.signal")).unwrap();
    transcript.types("guard --demote", one, &demote, 0);
    transcript.end();
}

#[test]
fn prepare() {
    let cluster = support::TestCluster::new(&postgres(15).unwrap());
    let one = cluster.primary("node1");
    support::configure(&one, 1, "node1", &one.conninfo_as("keeper", "keeper"), "");
    let mut transcript = Transcript::new("prepare");
    transcript.types_in_terminal("what is missing", &one, &["node", "prepare"], 80, 25);
    transcript.types("dry run", &one, &["node", "prepare", "--apply", "--dry-run"], 0);
    let apply = ["node", "prepare", "--apply", "--yes"];
    transcript.types("refused: no superuser", &one, &[&apply[..], &["-S", "nobody"]].concat(), 6);
    let output = stopped_at(&one, &apply, "\"mark\":\"started\"").go_on([Signal::INT]).wait(SOON);
    transcript.shows("Ctrl-C", &one, &apply, &output, 130);
    // A database with open sessions cannot be copied.
    let mut psql = clean_command(&one.pg.tool("psql"));
    psql.args(["-XAtq", "-h"]).arg(&one.socket_dir).args(["-p", &one.port.to_string(), "-U", "postgres"]);
    psql.args(["-d", "template1", "-c", "SELECT pg_sleep(100)"]);
    let blocker = Running::start(psql);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1'";
    one.wait_until(sessions, "1", SOON);
    transcript.types("a step fails", &one, &apply, 7);
    one.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'template1'");
    blocker.wait(SOON);
    one.wait_until(sessions, "0", SOON);
    transcript.types("success", &one, &["node", "prepare", "--apply", "--yes"], 0);
    transcript.types("again", &one, &["node", "prepare", "--apply", "--yes"], 0);
    transcript.end();
}

#[test]
fn operation() {
    let nodes = cluster(1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let mut transcript = Transcript::new("operation");
    transcript.types("nothing to resume", two, &["operation", "resume"], 1);
    stopped_at(two, &SWITCHOVER, "\"step\":\"write_signal\"").kill().wait(SOON);
    free(&nodes);
    transcript.types("a switchover was killed before the point of no return", two, &["operation", "list"], 0);
    transcript.types("on another node", one, &["cluster", "show", "--compact"], 25);
    transcript.types("another command", two, &["node", "restart"], 30);
    transcript.types("resume: it is planned anew", two, &["operation", "resume"], 0);
    streaming(two, "1");
    stopped_at(one, &SWITCHOVER, "\"step\":\"write_signal\"").kill().wait(SOON);
    free(&nodes);
    transcript.types("abandon, dry run", one, &["operation", "abandon", "--dry-run"], 0);
    transcript.types("abandon", one, &["operation", "abandon"], 0);
    transcript.types("cleanup, dry run", one, &["operation", "cleanup", "--newest=1", "--dry-run"], 0);
    transcript.types("cleanup", one, &["operation", "cleanup", "--newest=1"], 0);
    transcript.end();
}

#[test]
fn adopt_state() {
    let nodes = cluster(1);
    let two = nodes.node(2);
    let moved = two.dir.join("old-state");
    std::fs::rename(two.dir.join("state"), &moved).unwrap();
    let moved = moved.to_string_lossy();
    let words = ["operation", "adopt-state", "--from", &*moved];
    let mut transcript = Transcript::new("adopt-state");
    let nowhere = two.dir.join("nowhere").to_string_lossy().into_owned();
    let wrong = ["operation", "adopt-state", "--from", &nowhere];
    transcript.types("refused: there is no state", two, &wrong, 1);
    transcript.types("dry run", two, &[&words[..], &["--dry-run"]].concat(), 0);
    transcript.types("success", two, &words, 0);
    transcript.types("again", two, &["operation", "adopt-state"], 0);
    transcript.end();
}

#[test]
fn cleanup() {
    let nodes = cluster(1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    metadata(
        one,
        "INSERT INTO repmgr.monitoring_history SELECT 1, 2, now() - make_interval(hours => hour),
           now() - make_interval(hours => hour), '0/5000000', '0/4000000', 16777216, 4096 FROM generate_series(1, 240) hour",
    );
    let words = ["cluster", "cleanup", "--keep-history=7"];
    let mut transcript = Transcript::new("cleanup");
    transcript.types("dry run", two, &[&words[..], &["--dry-run"]].concat(), 0);
    without_space(one, "repmgr.monitoring_history", || {
        transcript.types("the records cannot be deleted", two, &words, 7);
    });
    transcript.types("success", two, &words, 0);
    transcript.types("again", two, &words, 0);
    one.stop(StopMode::Fast);
    transcript.types("refused: there is no primary", two, &words, 6);
    transcript.end();
}

/// Reading commands in the main states of a cluster.
#[test]
fn looking() {
    let nodes = cluster(2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let mut transcript = Transcript::new("looking");
    for columns in [80, 120] {
        transcript.types_in_terminal("a healthy cluster", two, &["cluster", "show"], columns, 0);
    }
    for words in [&["cluster", "event"][..], &["node", "check"], &["config", "show"]] {
        transcript.types_in_terminal("a healthy cluster", two, words, 120, 0);
    }
    for columns in [80, 120] {
        transcript.types_in_terminal("connections", two, &["cluster", "matrix"], columns, 0);
        transcript.types_in_terminal("connections", two, &["cluster", "crosscheck"], columns, 0);
        transcript.types_in_terminal("this node", two, &["node", "status"], columns, 0);
        transcript.types_in_terminal("a healthy cluster", two, &["cluster", "check"], columns, 0);
    }
    three.stop(StopMode::Fast);
    transcript.types_in_terminal("connections, a standby is down", two, &["cluster", "matrix"], 80, 25);
    transcript.types_in_terminal("a standby is down", two, &["cluster", "show"], 80, 25);
    transcript.types_in_terminal("a standby is down", two, &["cluster", "check"], 120, 2);
    one.stop(StopMode::Immediate);
    for columns in [80, 120] {
        transcript.types_in_terminal("the primary is down", two, &["cluster", "show"], columns, 25);
    }
    transcript.types_in_terminal("the primary is down", two, &["node", "check"], 120, 25);
    two.promote();
    one.start();
    wait_for("two primaries", SOON, || nodes.primaries().len() == 2);
    transcript.types_in_terminal("split brain", two, &["cluster", "show"], 80, 25);
    transcript.end();
}

/// What the README shows is what the program prints.
#[test]
fn the_readme_shows_three_of_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let shown = Regex::new(r"(?s)<!-- (\w+): ([^\n]*) -->\n```\n(.*?)\n```\n").unwrap();
    let readme = read("README.md");
    let mut count = 0;
    for found in shown.captures_iter(&readme) {
        let transcript = read(&format!("tests/snapshots/transcript/{}.txt", &found[1]));
        let title = format!("== {} ==\n", &found[2]);
        let (_, rest) = transcript.split_once(&title).unwrap_or_else(|| panic!("no {title}"));
        let section = rest.split("\n\n== ").next().unwrap();
        let lines: Vec<&str> = section.trim_end().lines().map(str::trim_end).collect();
        snapbox::assert_data_eq!(&found[3], lines.join("\n"));
        count += 1;
    }
    assert_eq!(count, 3);
}
