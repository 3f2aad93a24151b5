//! Together with the real repmgr: a cluster that it has made and its daemons watch, and one that pgbaton has made and repmgr works on.

use std::collections::VecDeque;
use std::time::Duration;

use crate::support::{
    self, Nodes, Output, Pg, Pgbaton, Running, SOON, Side, Sshd, Stepped, StopMode, TestCluster, TestServer,
    clean_command, metadata, real_repmgr, repmgr_conf, versions_with_repmgr, wait_for, with_real_repmgr,
};

const PAGE: &str = include_str!("../../MIGRATION.md");

/// Whether the daemon of a server runs and whether it is paused.
const DAEMON: &str = "SELECT repmgr.repmgrd_is_running(), repmgr.repmgrd_is_paused()";

/// How long repmgr may take for a switchover on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Servers, with a repmgr.conf each that has an ssh to get around with.
struct Lab {
    nodes: Nodes,
    daemons: Vec<Running>,
    sshd: Sshd,
}

/// Writes the repmgr.conf of a server: with an ssh to get around with, and commands that leave a file instead of changing roles.
fn write_conf(server: &TestServer, id: i32, sshd: &Sshd) {
    let conf = repmgr_conf(server, id);
    let text = std::fs::read_to_string(&conf).unwrap();
    let dir = server.dir.display();
    let more = format!(
        "ssh_options='{}'\nfailover=automatic\nreconnect_attempts=3\nreconnect_interval=1\nmonitor_interval_secs=1\n\
         promote_command='touch {dir}/promoted'\nfollow_command='touch {dir}/followed'\n\
         # of another version, and of version 3\nno_such_parameter=1\nloglevel=INFO\n",
        sshd.options("key")
    );
    std::fs::write(&conf, text + &more).unwrap();
}

impl Lab {
    /// Three servers; nothing is registered. `preload` is what makes repmgrd possible.
    fn servers(pg: &Pg, preload: bool) -> Option<Self> {
        let cluster = TestCluster::new(pg);
        let sshd = Sshd::start(&cluster)?;
        let one = cluster.primary("node1");
        if preload {
            one.append_conf("shared_preload_libraries = 'repmgr'");
            one.restart();
        }
        let servers = vec![one, cluster.empty("node2"), cluster.empty("node3")];
        for (id, server) in (1..).zip(&servers) {
            write_conf(server, id, &sshd);
        }
        for (id, server) in (2..).zip(&servers[1..]) {
            support::attach(server, id, &servers[0]);
        }
        Some(Self { nodes: Nodes { servers, cluster }, daemons: Vec::new(), sshd })
    }

    /// A cluster of the real repmgr, with a daemon on each node.
    fn of_repmgr(pg: &Pg) -> Option<Self> {
        Self::of_repmgr_with(pg, |_| None)
    }

    /// The same, with more in the repmgr.conf of each server.
    fn of_repmgr_with(pg: &Pg, more: impl Fn(&TestServer) -> Option<String>) -> Option<Self> {
        let mut lab = Self::servers(pg, true)?;
        for server in &lab.nodes.servers {
            let conf = server.dir.join("repmgr.conf");
            let text = std::fs::read_to_string(&conf).unwrap();
            std::fs::write(&conf, text + &more(server).unwrap_or_default()).unwrap();
        }
        lab.repmgr(1, &["primary", "register"]).code(0);
        for id in [2, 3] {
            lab.node(id).wait_for_replay_of(lab.node(1));
            lab.repmgr(id, &["standby", "register"]).code(0);
        }
        lab.daemons = lab.nodes.servers.iter().map(daemon).collect();
        lab.at_work();
        Some(lab)
    }

    /// The same of pgbaton, without the extension.
    fn of_pgbaton(pg: &Pg) -> Option<Self> {
        let lab = Self::servers(pg, false)?;
        lab.register();
        Some(lab)
    }

    /// Registers all of them, by pgbaton.
    fn register(&self) {
        self.pgbaton(1, &["primary", "register"]).run().code(0);
        self.pgbaton(2, &["standby", "register"]).run().code(0);
        self.pgbaton(3, &["standby", "register"]).run().code(0);
    }

    fn node(&self, id: usize) -> &TestServer {
        self.nodes.node(id)
    }

    /// Prepares a run of pgbaton with the node's repmgr.conf.
    fn pgbaton(&self, id: usize, words: &[&str]) -> Pgbaton {
        let server = self.node(id);
        let conf = server.dir.join("repmgr.conf").display().to_string();
        let state = server.dir.join("home").display().to_string();
        let words = ["-f", &conf].into_iter().chain(words.iter().copied());
        server.pgbaton(words).env("XDG_STATE_HOME", state).deadline(LONG)
    }

    fn repmgr(&self, id: usize, words: &[&str]) -> Output {
        real_repmgr(self.node(id), words)
    }

    /// Starts the real repmgr, and does not wait for it.
    fn begin_repmgr(&self, id: usize, words: &[&str]) -> Running {
        let server = self.node(id);
        let mut command = clean_command(&server.pg.tool("repmgr"));
        command.arg("-f").arg(server.dir.join("repmgr.conf")).args(words);
        Running::start(command)
    }

    /// Drops what repmgr leaves where a standby has streamed from: on a former primary, and where the standby was too slow. It complains of it.
    #[track_caller]
    fn drop_unused_slots(&self) {
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        let count = |server: &TestServer| server.psql(streaming).parse::<u32>().unwrap();
        wait_for("two to stream", SOON, || self.nodes.servers.iter().map(count).sum::<u32>() == 2);
        for server in &self.nodes.servers {
            server.psql(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
            );
        }
    }

    /// Waits until all daemons run, and none is paused.
    fn at_work(&mut self) {
        for (server, running) in self.nodes.servers.iter().zip(&mut self.daemons) {
            wait_for(&format!("repmgrd of {} to be at work", server.name), 2 * SOON, || {
                // It gives up by itself where a server is away for a moment. Its supervisor starts it again.
                if !running.is_running() {
                    *running = daemon(server);
                }
                server.try_psql_as("repmgr", "repmgr", DAEMON).stdout.trim() == "t|f"
            });
        }
    }

    /// Both tools find nothing that is wrong, on every node.
    #[track_caller]
    fn is_well(&self, daemons: bool) {
        for id in 1..=3 {
            for words in [&["cluster", "show"][..], &["node", "status"], &["node", "check"]] {
                let mut said = String::new();
                wait_for(&format!("repmgr {words:?} on node {id} to be content"), SOON, || {
                    let output = self.repmgr(id, words);
                    if !output.status.success() && output.stdout != said {
                        eprintln!("{output:?}");
                        said.clone_from(&output.stdout);
                    }
                    output.status.success()
                });
            }
            let status = self.repmgr(id, &["service", "status", "--csv"]);
            status.code(0);
            if daemons {
                let paused = status.stdout.lines().filter(|line| line.split(',').nth(6) != Some("0"));
                assert_eq!(paused.count(), 0, "{status:?}");
            }
        }
        self.pgbaton(1, &["cluster", "show"]).run().code(0);
    }

    fn no_failover_took_place(&self) {
        for server in &self.nodes.servers {
            for file in ["promoted", "followed"] {
                assert!(!server.dir.join(file).exists(), "repmgrd of {} has acted: {file}", server.name);
            }
        }
    }
}

/// A cluster in each version, one after the other.
fn in_each_version(cluster: fn(&Pg) -> Option<Lab>) -> impl Iterator<Item = Lab> {
    versions_with_repmgr().into_iter().filter_map(move |pg| {
        eprintln!("PostgreSQL {}", pg.major);
        cluster(&pg)
    })
}

fn daemon(server: &TestServer) -> Running {
    let mut daemon = clean_command(&server.pg.tool("repmgrd"));
    daemon.arg("-f").arg(server.dir.join("repmgr.conf")).args(["--daemonize=false", "--no-pid-file"]);
    Running::start(daemon)
}

// ---- taking over ----------------------------------------------------------------------------------------------------

#[test]
fn every_command_works_on_a_cluster_of_repmgr() {
    for mut lab in in_each_version(Lab::of_repmgr) {
        let before = metadata(lab.node(1), "SELECT n::text FROM repmgr.nodes n ORDER BY node_id");
        for words in [
            "config check",
            "cluster show",
            "cluster event",
            "cluster check",
            "cluster matrix",
            "cluster crosscheck",
            "cluster uri",
            "cluster cleanup",
            "node status",
            "node check",
            "node check --repmgrd",
            "node prepare",
            "node guard",
            "node service --list-actions",
            "operation list",
            "standby register",
            "standby follow",
            "standby switchover --dry-run",
            "node rejoin",
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            lab.pgbaton(2, &words).run().code(0);
        }
        lab.pgbaton(2, &["standby", "promote"]).run().code(31);
        assert_eq!(metadata(lab.node(1), "SELECT n::text FROM repmgr.nodes n ORDER BY node_id"), before);
        // It creates its own tables next to those of the extension.
        lab.pgbaton(1, &["primary", "register"]).run().code(0);
        assert_eq!(metadata(lab.node(1), "SELECT n::text FROM repmgr.nodes n ORDER BY node_id"), before);

        // The role moves; then it is killed in the middle of it, the daemons paused, and resumed.
        let output = lab.pgbaton(2, &["standby", "switchover"]).run();
        output.code(0).says("pause repmgrd on node \"node3\"");
        lab.at_work();
        lab.is_well(true);
        let mut running = Stepped::start(lab.pgbaton(3, &["standby", "switchover"]));
        assert!(running.run_to_line(30, Side::After));
        running.kill().wait(SOON);
        let paused = || (1..=3).filter(|id| metadata(lab.node(*id), DAEMON) == "t|t").count();
        assert!(paused() > 0, "nothing was paused when it was killed");
        let free = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        for server in lab.nodes.servers.iter().filter(|server| server.is_running()) {
            server.wait_until(free, "0", SOON);
        }
        lab.pgbaton(3, &["operation", "resume"]).run().code(0);
        lab.at_work();
        assert_eq!(lab.nodes.primaries(), ["node3"]);
        lab.is_well(true);

        // The primary dies; a promotion by hand pauses the daemons of the others meanwhile.
        for id in [1, 2] {
            lab.repmgr(id, &["service", "pause"]);
        }
        lab.node(3).kill9();
        lab.pgbaton(1, &["standby", "promote"]).run().code(0).says("was already paused, and stays paused");
        lab.pgbaton(3, &["node", "rejoin", "--yes"]).run().code(0);
        lab.repmgr(1, &["service", "unpause"]);
        lab.at_work();
        lab.is_well(true);
        lab.no_failover_took_place();
    }
}

#[test]
fn a_daemon_that_cannot_be_paused_is_reported() {
    let Some(mut lab) = with_real_repmgr().and_then(|pg| Lab::of_repmgr(&pg)) else { return };
    for body in ["RAISE 'not today';", "NULL;"] {
        metadata(
            lab.node(1),
            &format!(
                "CREATE OR REPLACE FUNCTION repmgr.repmgrd_pause(boolean) RETURNS void LANGUAGE plpgsql AS $$BEGIN {body} END$$"
            ),
        );
        (2..=3).for_each(|id| lab.node(id).wait_for_replay_of(lab.node(1)));
        let output = lab.pgbaton(2, &["standby", "switchover"]).run();
        output.code(18).says("--repmgrd-no-pause").says("repmgrd on");
        assert_eq!(lab.nodes.primaries(), ["node1"]);
    }
    // They need not, if it is known that they wait longer for the primary than this takes.
    let output = lab.pgbaton(2, &["standby", "switchover", "--repmgrd-no-pause"]).run();
    output.code(0);
    assert!(!output.stdout.contains("pause repmgrd"), "{output:?}");
    assert_eq!(lab.nodes.primaries(), ["node2"]);
    lab.at_work();
    lab.is_well(true);
    lab.no_failover_took_place();
}

/// A witness has a daemon, too, and its vote counts in that of the others.
#[test]
fn a_witness_of_repmgr_keeps_working() {
    let Some(mut lab) = with_real_repmgr().and_then(|pg| Lab::of_repmgr(&pg)) else { return };
    let witness = lab.nodes.cluster.foreign("witness");
    witness.append_conf("shared_preload_libraries = 'repmgr'");
    witness.restart();
    write_conf(&witness, 9, &lab.sshd);
    let port = lab.node(1).port.to_string();
    real_repmgr(&witness, &["witness", "register", "-h", "127.0.0.1", "-p", &port]).code(0);
    let mut running = daemon(&witness);
    let works = |running: &mut Running| {
        wait_for("repmgrd of the witness to be at work", 2 * SOON, || {
            if !running.is_running() {
                *running = daemon(&witness);
            }
            witness.try_psql_as("repmgr", "repmgr", DAEMON).stdout.trim() == "t|f"
        });
    };
    works(&mut running);
    (2..=3).for_each(|id| lab.node(id).wait_for_replay_of(lab.node(1)));
    let record = "SELECT string_agg(node_id || type || active || coalesce(upstream_node_id, 0), ' ' ORDER BY node_id) FROM repmgr.nodes";

    let output = lab.pgbaton(2, &["standby", "switchover"]).run();
    output.code(0).says("pause repmgrd on node \"witness\"").says("unpause repmgrd on node \"witness\"");
    // Its daemon reads the record from the primary now and then, and so it had better be right when pgbaton has ended.
    assert_eq!(metadata(&witness, record), metadata(lab.node(2), record));
    works(&mut running);
    // A daemon that has not found back to its restarted server yet cannot be distinguished from a command of repmgr.
    lab.at_work();
    lab.node(2).kill9();
    // Or they would decide before we get there.
    lab.repmgr(1, &["service", "pause"]);
    lab.pgbaton(3, &["standby", "promote"])
        .run()
        .code(0)
        .says("repmgrd on node \"witness\" was already paused");
    assert_eq!(metadata(&witness, record), metadata(lab.node(3), record));
    lab.pgbaton(2, &["node", "rejoin", "--yes"]).run().code(0);
    lab.repmgr(3, &["service", "unpause"]).code(0);
    works(&mut running);
    lab.at_work();
    lab.is_well(true);
    lab.no_failover_took_place();
    assert!(!witness.dir.join("promoted").exists() && !witness.dir.join("followed").exists());
}

/// As the page has it: repmgrd decides, and pgbaton acts.
#[test]
fn a_daemon_promotes_and_follows_by_pgbaton() {
    let Some(pg) = with_real_repmgr() else { return };
    let commands = |server: &TestServer| {
        let page = PAGE.split_once("In `promote_command` and `follow_command`, `").unwrap().1;
        let (promote, follow) = page.split_once("` and `").unwrap();
        let conf = server.dir.join("repmgr.conf");
        let run = |words: &str| {
            let program = format!(
                "env XDG_STATE_HOME={} {}",
                server.dir.join("home").display(),
                Pgbaton::path().display()
            );
            let words = words.split_once(' ').unwrap().1;
            format!("{program} -f {} {words}", conf.display())
        };
        let follow = follow.split_once('`').unwrap().0;
        Some(format!(
            "promote_command='{}'\nfollow_command='{} --upstream-node-id=%n'\n",
            run(promote),
            run(follow)
        ))
    };
    let Some(lab) = Lab::of_repmgr_with(&pg, commands) else { return };
    lab.node(1).kill9();
    let up = &lab.nodes.servers[1..];
    let primary = || {
        up.iter().find(|server| {
            server.try_psql_as("repmgr", "repmgr", "SELECT pg_is_in_recovery()").stdout.trim() == "f"
        })
    };
    wait_for("a new primary", LONG, || primary().is_some());
    let primary = primary().unwrap();
    primary.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", LONG);
    let events = "SELECT string_agg(event || ' ' || successful, ', ' ORDER BY event) FROM repmgr.events \
                  WHERE event LIKE 'repmgrd_failover_%' OR event IN ('standby_promote', 'standby_follow')";
    let expected = "repmgrd_failover_follow true, repmgrd_failover_promote true, standby_follow true, standby_promote true";
    wait_for("events", LONG, || metadata(primary, events) == expected);
    // It was never asked anything here, and so knows no other node.
    let lost = lab.pgbaton(1, &["node", "rejoin"]).run();
    lost.code(6).says("Nothing was changed.").says("Name one of them: \"pgbaton node rejoin -d");
    lab.pgbaton(1, &["node", "rejoin", "--yes", "-d", &primary.conninfo()]).run().code(0);
    wait_for("a healthy cluster", SOON, || lab.pgbaton(1, &["cluster", "show"]).run().status.success());
}

/// Versions of the extension, a library that is not loaded, and a node that repmgr has marked as inactive.
#[test]
fn other_leftovers_of_repmgr() {
    let Some(pg) = with_real_repmgr() else { return };
    let Some(lab) = Lab::servers(&pg, false) else { return };
    lab.node(1).psql_as("postgres", "repmgr", "CREATE EXTENSION repmgr");
    // Without the library its functions say nothing, and that does not count as a daemon.
    lab.register();
    lab.pgbaton(1, &["config", "check"]).run().code(0).says("no_such_parameter").says("loglevel");
    let dry = lab.pgbaton(2, &["standby", "switchover", "--dry-run"]).run();
    dry.code(0);
    assert!(!dry.stdout.contains("repmgrd"), "{dry:?}");
    for (version, code) in [("5.2", 0), ("5.9", 0), ("4.4", 1), ("6.0", 1)] {
        let sql = format!("UPDATE pg_extension SET extversion = '{version}' WHERE extname = 'repmgr'");
        lab.node(1).psql_as("postgres", "repmgr", &sql);
        let output = lab.pgbaton(1, &["primary", "register", "--force"]).run();
        output.code(code);
        if code != 0 {
            output.says(version);
        }
        // Looking is possible whatever it is.
        lab.pgbaton(1, &["cluster", "show"]).run().code(0);
    }
    lab.node(1).psql_as(
        "postgres",
        "repmgr",
        "UPDATE pg_extension SET extversion = '5.3' WHERE extname = 'repmgr'",
    );
    metadata(lab.node(1), "UPDATE repmgr.nodes SET active = false WHERE node_id = 3");
    lab.node(3).wait_for_replay_of(lab.node(1));
    lab.pgbaton(1, &["cluster", "show"]).run().code(25).says("inactive");
    lab.pgbaton(3, &["standby", "register", "--force"]).run().code(0);
    lab.is_well(false);
}

// ---- both at the same time ------------------------------------------------------------------------------------------

#[test]
fn one_of_two_concurrent_role_changes_gives_way() {
    let Some(lab) = with_real_repmgr().and_then(|pg| Lab::of_pgbaton(&pg)) else { return };
    // Together, and repmgr a moment later.
    for (round, later) in [Duration::ZERO, Duration::from_millis(150)].into_iter().enumerate() {
        let (theirs, ours) = if round == 0 { (2, 3) } else { (1, 3) };
        let running = lab.pgbaton(ours, &["standby", "switchover"]).spawn();
        // Not in the hope that anything has happened: whatever has, one of them gives way, or comes after the other.
        std::thread::sleep(later);
        let repmgr = lab.begin_repmgr(theirs, &["standby", "switchover", "--siblings-follow"]);
        let (ours, theirs) = (running.wait(LONG), repmgr.wait(LONG));
        let all = format!("{ours:?}\n{theirs:?}");
        assert_eq!(lab.nodes.primaries().len(), 1, "{all}");
        assert!(ours.status.success() || theirs.status.success(), "{all}");
        lab.drop_unused_slots();
        lab.is_well(false);
    }
}

/// Nothing but a command has a session where no daemon can run, or none does, however long ago it was opened.
#[test]
fn pgbaton_gives_way_to_a_slow_command_of_repmgr() {
    let Some(pg) = with_real_repmgr() else { return };
    for extension in [false, true] {
        let Some(lab) = Lab::servers(&pg, extension) else { return };
        if extension {
            lab.node(1).psql_as("postgres", "repmgr", "CREATE EXTENSION repmgr");
        }
        lab.register();
        let mut command = clean_command(&lab.node(1).pg.tool("psql"));
        let conninfo = lab.node(1).conninfo_as("repmgr", "repmgr");
        command.arg(format!("{conninfo} application_name=repmgr")).args(["-c", "SELECT pg_sleep(300)"]);
        let _session = Running::start(command);
        let old = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'repmgr' AND now() - backend_start > interval '11 s'";
        lab.node(1).wait_until(old, "1", SOON);
        lab.pgbaton(2, &["standby", "switchover"]).run().code(30).says("does not belong to repmgrd");
        assert_eq!(lab.nodes.primaries(), ["node1"]);
    }
}

#[test]
fn one_of_two_promotions_gives_way() {
    let Some(lab) = with_real_repmgr().and_then(|pg| Lab::of_pgbaton(&pg)) else { return };
    lab.node(1).kill9();
    let repmgr = lab.begin_repmgr(2, &["standby", "promote", "--siblings-follow"]);
    let running = lab.pgbaton(3, &["standby", "promote"]).spawn();
    let (theirs, ours) = (repmgr.wait(LONG), running.wait(LONG));
    let all = format!("{ours:?}\n{theirs:?}");
    assert!(!(ours.status.success() && theirs.status.success()), "{all}");
    assert_eq!(lab.nodes.primaries().len(), 1, "{all}");
    // The server that died has never heard of the others: they were registered after it, and on their own hosts.
    let primary =
        lab.nodes.servers[1..].iter().find(|server| lab.nodes.primaries() == [server.name.as_str()]);
    let conninfo = primary.unwrap().conninfo();
    lab.pgbaton(1, &["node", "rejoin", "--yes", "-d", &conninfo]).run().code(0);
    lab.is_well(false);
}

// ---- giving back ----------------------------------------------------------------------------------------------------

#[test]
fn repmgr_works_on_a_cluster_of_pgbaton_and_harms_nothing() {
    for lab in in_each_version(Lab::of_pgbaton) {
        lab.is_well(false);
        for words in [
            &["cluster", "event"][..],
            &["cluster", "matrix"],
            &["cluster", "crosscheck"],
            &["cluster", "cleanup"],
            &["standby", "register", "--force"],
            &["standby", "switchover", "--siblings-follow", "--dry-run"],
        ] {
            lab.repmgr(2, words).code(0);
        }
        // What needs the extension says so, and changes nothing.
        lab.repmgr(1, &["primary", "register", "--force"]).code(1).says("already exists");
        let switched = lab.repmgr(2, &["standby", "switchover", "--siblings-follow"]);
        switched.code(0);
        assert_eq!(lab.nodes.primaries(), ["node2"]);
        lab.drop_unused_slots();
        lab.is_well(false);
        lab.repmgr(3, &["standby", "follow", "--upstream-node-id=1"]).code(0);
        lab.drop_unused_slots();
        lab.is_well(false);
        lab.repmgr(3, &["standby", "follow"]).code(0);
        lab.node(2).stop(StopMode::Fast);
        lab.repmgr(1, &["standby", "promote", "--siblings-follow"]).code(0);
        lab.repmgr(2, &["node", "rejoin", "-d", &lab.node(1).conninfo()]).code(0);
        lab.drop_unused_slots();
        lab.is_well(false);
        assert_eq!(lab.nodes.primaries(), ["node1"]);
    }
}

// ---- the page -------------------------------------------------------------------------------------------------------

/// The lines of a section of the page that are typed, in order: `node1$ command`.
fn lines(heading: &str) -> VecDeque<String> {
    let section = PAGE.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let typed = section.unwrap().lines().filter_map(|line| line.strip_prefix("    node"));
    typed.map(|line| format!("node{line}")).collect()
}

/// Types a line of the page.
fn types(lab: &Lab, line: &str) -> Output {
    let (node, command) = line.split_once("$ ").unwrap();
    let id: usize = node.strip_prefix("node").unwrap().parse().unwrap();
    let words = shell_words::split(command).unwrap();
    let rest: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let output = match (words[0].as_str(), &rest[..]) {
        ("pgbaton", words) => lab.pgbaton(id, words).run(),
        ("repmgr", words) => lab.repmgr(id, words),
        ("psql", [option, sql]) if *option == "-c" => lab.node(id).try_psql_as("postgres", "repmgr", sql),
        _ => panic!("{line}"),
    };
    eprintln!("{line}: {:?}", output.status.code());
    output
}

#[test]
fn the_page_is_followed_to_take_over() {
    for mut lab in in_each_version(Lab::of_repmgr) {
        for line in lines("Taking over") {
            types(&lab, &line).code(0);
        }
        lab.at_work();
        assert_eq!(lab.nodes.primaries(), ["node2"]);
        lab.is_well(true);
        lab.no_failover_took_place();
    }
}

#[test]
fn the_page_is_followed_to_give_back() {
    for mut lab in in_each_version(Lab::of_pgbaton) {
        let rows = "SELECT count(*), max(event_timestamp) FROM repmgr.events";
        let nodes = "SELECT string_agg(n::text, ' ' ORDER BY node_id) FROM repmgr.nodes n";
        let before = (metadata(lab.node(1), rows), metadata(lab.node(1), nodes));
        for line in lines("Giving back") {
            types(&lab, &line).code(0);
            if line.contains("COMMIT") {
                assert_eq!((metadata(lab.node(1), rows), metadata(lab.node(1), nodes)), before);
            }
        }
        // Now all of repmgr works, its daemon too; and pgbaton works on its tables.
        assert_eq!(lab.nodes.primaries(), ["node2"]);
        lab.daemons = lab.nodes.servers.iter().map(daemon).collect();
        lab.at_work();
        lab.repmgr(1, &["standby", "switchover", "--siblings-follow"]).code(0);
        lab.drop_unused_slots();
        lab.at_work();
        lab.is_well(true);
        lab.pgbaton(2, &["standby", "switchover"]).run().code(0);
        lab.at_work();
        lab.is_well(true);
    }
}

/// pgbaton's daemons, started by their nodes' configuration.
struct Started<'a>(&'a Lab);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        for server in &self.0.nodes.servers {
            let conf = server.dir.join("repmgr.conf").display().to_string();
            let fencers = support::running("pgbaton-fencer", &server.data.display().to_string());
            let daemons = support::running("pgbaton", &format!("{conf} daemon run"));
            daemons
                .into_iter()
                .chain(fencers)
                .for_each(|pid| support::send(pid, rustix::process::Signal::KILL));
        }
    }
}

#[test]
fn the_page_is_followed_from_repmgrd_to_the_daemon_and_back() {
    for mut lab in in_each_version(Lab::of_repmgr) {
        for id in 1..=3 {
            let (server, program) = (lab.node(id), Pgbaton::path());
            let (conf, dir) = (server.dir.join("repmgr.conf"), server.dir.display());
            let text = std::fs::read_to_string(&conf).unwrap();
            // What a unit would do.
            let start = format!(
                "{} -f {} daemon run >>{dir}/daemon.log 2>&1 & echo $! >{dir}/daemon.pid",
                program.display(),
                conf.display()
            );
            let lines = format!(
                "runtime_directory='{dir}/run'\ndaemon_service_start_command='{start}'\n\
                 daemon_service_stop_command='kill $(cat {dir}/daemon.pid)'\n"
            );
            std::fs::write(&conf, text + &lines).unwrap();
            lab.pgbaton(id, &[if id == 1 { "primary" } else { "standby" }, "register", "--force"])
                .run()
                .code(0);
        }
        let mut daemons = std::mem::take(&mut lab.daemons);
        let started = Started(&lab);
        for line in lines("From repmgrd to the daemon") {
            if line.contains("daemon start") {
                // "Stop repmgrd on every node."
                for repmgrd in daemons.drain(..) {
                    repmgrd.signal(rustix::process::Signal::TERM);
                    let _ended = repmgrd.wait(SOON);
                }
            }
            if line.contains("service status") {
                wait_for("the daemons to be active", LONG, || {
                    let status = lab.pgbaton(1, &["service", "status", "--json"]).run().json();
                    let nodes = status["data"]["nodes"].as_array().unwrap().clone();
                    nodes.iter().all(|node| node["flag"] == "active")
                });
            }
            let done = types(&lab, &line);
            // Outside of a unit the fencer cannot get what only root may give: that is all that there is to warn of.
            let lacks = done.stdout.lines().filter(|line| line.contains("WARNING |"));
            let is_fencer = line.contains("cluster check")
                && done.status.code() == Some(1)
                && lacks.into_iter().all(|line| line.contains("the fencer could not get"));
            if !is_fencer {
                done.code(0);
            }
        }
        assert_eq!(lab.nodes.primaries(), ["node2"]);
        let mut back = lines("From the daemon to repmgrd");
        for line in back.drain(..back.len() - 2).collect::<Vec<_>>() {
            types(&lab, &line).code(0);
        }
        drop(started);
        lab.daemons = lab.nodes.servers.iter().map(daemon).collect();
        for server in &lab.nodes.servers {
            let runs = "SELECT repmgr.repmgrd_is_running()";
            wait_for("repmgrd", LONG, || server.try_psql_as("repmgr", "repmgr", runs).stdout == "t\n");
        }
        for line in back {
            types(&lab, &line).code(0);
        }
        lab.at_work();
        lab.no_failover_took_place();
    }
}
