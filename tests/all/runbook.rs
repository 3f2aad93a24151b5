//! RUNBOOK.md, carried out: each entry is brought about on real servers, and its lines are typed as they stand there.

use std::collections::VecDeque;

use crate::support::{
    Nodes, Output, SOON, Side, Stepped, StopMode, TestServer, metadata, postgres, wait_for,
};

const PAGE: &str = include_str!("../../RUNBOOK.md");

/// The entries, in the order of the page; each is the name of a test below.
const ENTRIES: [(&str, fn()); 8] = [
    ("The primary is dead", the_primary_is_dead),
    ("Two primaries", two_primaries),
    ("A standby is far behind", a_standby_is_far_behind),
    ("A slot is lost", a_slot_is_lost),
    ("The disk is full of WAL", the_disk_is_full_of_wal),
    ("The archiver is stuck", the_archiver_is_stuck),
    ("A command was interrupted", a_command_was_interrupted),
    ("The wrong node was promoted", the_wrong_node_was_promoted),
];

/// Returns the lines to be typed that stand below a heading.
fn lines(heading: &str) -> VecDeque<String> {
    let mut below = PAGE.split("\n## ").filter(|section| section.lines().next() == Some(heading));
    let section = below.next().unwrap_or_else(|| panic!("there is no \"{heading}\""));
    let typed = section.lines().filter_map(|line| line.strip_prefix("    "));
    typed.filter(|line| line.contains("$ ")).map(str::to_string).collect()
}

/// An entry that is being worked through.
struct Entry<'a> {
    nodes: &'a Nodes,
    lines: VecDeque<String>,
}

impl<'a> Entry<'a> {
    fn new(nodes: &'a Nodes, heading: &str) -> Self {
        Self { nodes, lines: lines(heading) }
    }

    /// Types the next line, which has to be this one up to here.
    #[track_caller]
    fn types(&mut self, expected: &str) -> Output {
        let line = self.lines.pop_front().unwrap_or_else(|| panic!("no more lines, but {expected}"));
        assert!(line.starts_with(expected), "{line} instead of {expected}");
        let (node, command) = line.split_once("$ ").unwrap();
        let server = self.nodes.servers.iter().find(|server| server.name == node).unwrap();
        let archive = server.dir.join("archive").display().to_string();
        let words = shell_words::split(&command.replace("/tmp/archive", &archive)).unwrap();
        let output = match (words[0].as_str(), &words[1..]) {
            ("pgbaton", words) => server.pgbaton(words).run(),
            ("psql", [option, sql]) if option == "-c" => server.try_psql_as("postgres", "postgres", sql),
            _ => panic!("{line}"),
        };
        eprintln!("{line}: {:?}", output.status.code());
        output
    }

    /// The entry ends here, and leaves a cluster in which nothing is wrong.
    #[track_caller]
    fn ends(self, on: &TestServer) {
        assert!(self.lines.is_empty(), "{:?}", self.lines);
        let mut shown = on.pgbaton(["cluster", "show"]).run();
        let begun = std::time::Instant::now();
        while shown.status.code() != Some(0) && begun.elapsed() < SOON {
            shown = on.pgbaton(["cluster", "show"]).run();
        }
        shown.code(0);
    }
}

/// A primary and two standbys that have seen each other.
fn nodes() -> Nodes {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    for server in &nodes.servers {
        server.pgbaton(["cluster", "show"]).run().code(0);
    }
    nodes
}

#[test]
fn every_entry_is_carried_out() {
    let headings: Vec<&str> = PAGE.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, ENTRIES.map(|(heading, _)| heading));
    // No line of the page is left out: what stands above the first entry is typed in it.
    let typed = PAGE.lines().filter(|line| line.starts_with("    node")).count();
    let below: usize = headings.iter().map(|heading| lines(heading).len()).sum();
    assert_eq!(typed, below + 1);
}

#[test]
fn the_primary_is_dead() {
    let nodes = nodes();
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.kill9();
    let mut entry = Entry::new(&nodes, "The primary is dead");
    let first = PAGE.lines().find_map(|line| line.strip_prefix("    node2$ ")).unwrap();
    assert_eq!(first, "pgbaton cluster show");
    two.pgbaton(["cluster", "show"]).run().code(25).says("promote \"node2\"");
    entry.types("node2$ pgbaton standby promote").code(0);
    entry.types("node1$ pgbaton node rejoin").code(0);
    entry.ends(two);
}

#[test]
fn two_primaries() {
    let nodes = nodes();
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.promote();
    one.psql("CREATE TABLE of_node1 ()");
    two.psql("CREATE TABLE of_node2 ()");
    let mut entry = Entry::new(&nodes, "Two primaries");
    one.pgbaton(["cluster", "show"])
        .run()
        .code(25)
        .says("2 nodes accept writes")
        .says("No recorded promotion says which one is the valid primary.");
    entry.types("node1$ pgbaton node stop").code(0);
    entry.types("node1$ pgbaton node rejoin --dry-run").code(0).says("transaction");
    assert!(!one.is_running());
    entry.types("node1$ pgbaton node rejoin --force-rewind").code(0);
    entry.types("node2$ pgbaton primary register").code(0);
    entry.types("node3$ pgbaton node rejoin").code(0);
    entry.ends(two);
}

#[test]
fn a_standby_is_far_behind() {
    let nodes = nodes();
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.psql("SELECT pg_wal_replay_pause()");
    one.psql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    let mut entry = Entry::new(&nodes, "A standby is far behind");
    entry.types("node2$ pgbaton node status").code(25).says("paused");
    entry.types("node2$ psql").code(0);
    two.wait_for_replay_of(one);
    entry.ends(two);
}

#[test]
fn a_slot_is_lost() {
    let nodes = nodes();
    let (one, two) = (nodes.node(1), nodes.node(2));
    for setting in ["wal_keep_size = 0", "max_slot_wal_keep_size = '16MB'", "max_wal_size = '32MB'"] {
        one.psql(&format!("ALTER SYSTEM SET {setting}"));
    }
    one.reload();
    two.stop(StopMode::Fast);
    for _ in 0..6 {
        one.psql("CREATE TABLE t (a int); DROP TABLE t; SELECT pg_switch_wal(); CHECKPOINT");
    }
    let status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_2'";
    one.wait_until(status, "lost", SOON);
    two.start();
    one.pgbaton(["cluster", "show"]).run().code(25).says("lost");
    two.pgbaton(["node", "rejoin"]).run().code(1).says("no longer has WAL").says("--reclone");
    let mut entry = Entry::new(&nodes, "A slot is lost");
    entry.types("node2$ pgbaton node rejoin --reclone").code(0);
    entry.ends(one);
}

#[test]
fn the_disk_is_full_of_wal() {
    let nodes = nodes();
    let (one, three) = (nodes.node(1), nodes.node(3));
    three.stop(StopMode::Fast);
    one.psql("ALTER SYSTEM SET wal_keep_size = 0");
    one.reload();
    one.psql("CREATE TABLE t (a int); SELECT pg_switch_wal()");
    let segments = || one.psql("SELECT count(*) FROM pg_ls_waldir()").parse::<u32>().unwrap();
    let mut entry = Entry::new(&nodes, "The disk is full of WAL");
    entry.types("node1$ pgbaton node status").code(25).says("repmgr_slot_3");
    entry.types("node1$ pgbaton standby unregister").code(0);
    assert_eq!(one.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_3'"), "0");
    let before = segments();
    entry.types("node1$ psql").code(0);
    assert!(segments() <= before);
    entry.ends(one);
}

#[test]
fn the_archiver_is_stuck() {
    let nodes = nodes();
    let one = nodes.node(1);
    std::fs::create_dir(one.dir.join("archive")).unwrap();
    one.append_conf("archive_mode = on\narchive_command = 'false'");
    one.restart();
    one.psql("CREATE TABLE t (); SELECT pg_switch_wal()");
    one.wait_until("SELECT failed_count > 0 FROM pg_stat_archiver", "t", SOON);
    let mut entry = Entry::new(&nodes, "The archiver is stuck");
    let checked = entry.types("node1$ pgbaton node check");
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    entry.types("node1$ psql").code(0);
    entry.types("node1$ pgbaton node reload").code(0);
    one.wait_until("SELECT archived_count > 0 FROM pg_stat_archiver", "t", 2 * SOON);
    entry.ends(one);
}

#[test]
fn a_command_was_interrupted() {
    let nodes = nodes();
    let two = nodes.node(2);
    let mut running = Stepped::start(two.pgbaton(["standby", "switchover"]));
    assert!(running.run_to_line(20, Side::After));
    running.kill().wait(SOON);
    let mut entry = Entry::new(&nodes, "A command was interrupted");
    entry.types("node2$ pgbaton operation list").code(0);
    // The server may not have noticed yet that its client, who held the lock, is gone.
    let free = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    for server in nodes.servers.iter().filter(|server| server.is_running()) {
        server.wait_until(free, "0", SOON);
    }
    entry.types("node2$ pgbaton operation resume").code(0);
    wait_for("the new primary", SOON, || nodes.primaries() == ["node2"]);
    entry.ends(two);
}

#[test]
fn the_wrong_node_was_promoted() {
    let nodes = nodes();
    let (one, three) = (nodes.node(1), nodes.node(3));
    one.kill9();
    nodes.node(2).pgbaton(["standby", "promote"]).run().code(0);
    one.pgbaton(["node", "rejoin", "--yes"]).run().code(0);
    let mut entry = Entry::new(&nodes, "The wrong node was promoted");
    entry.types("node3$ pgbaton standby switchover --dry-run").code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
    entry.types("node3$ pgbaton standby switchover").code(0);
    assert_eq!(nodes.primaries(), ["node3"]);
    assert_eq!(metadata(three, "SELECT node_id FROM repmgr.nodes WHERE type = 'primary' AND active"), "3");
    entry.ends(three);
}
