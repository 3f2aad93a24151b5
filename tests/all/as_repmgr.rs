//! What scripts read of repmgr, read of pgbaton: outputs, exit codes, events and hooks of both, in the same states of the same cluster.
//!
//! One test goes through everything and prints every difference, each with the reason why it is there. One without a reason fails
//! it, and so does a reason that no difference needs any more. What they mean for scripts is in README.md, "Where outputs differ
//! from repmgr's".

use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;

use crate::support::{
    self, Output, Pg, SOON, Sshd, StopMode, TestCluster, TestServer, metadata, real_repmgr, repmgr_conf,
    with_real_repmgr,
};

/// What may differ: a pattern of the differences as they are printed, and why.
const DELIBERATE: &[(&str, &str)] = &[
    // Checks and status.
    (
        r#"(node|standby) check.*: \+ ["\t](Connection|Identity|Server version|Timeline|WAL replay|WAL retained by slots|Logical replication slots|Archiver|Settings waiting for a restart|Settings against the primary|Rewind|Replication logins|Clock|Free disk space|Unfinished operation|Role at the next start|Daemon)["':]"#,
        "checks that repmgr does not have come after its own",
    ),
    (
        r#"^(healthy|list|unused|node3).* node check --csv: [-+] "(Replication lag|WAL archiving|Upstream connection|Configured data directory)""#,
        "repmgr leaves out a row and details, and does not double quotes in them",
    ),
    (r"(?i)(node|primary|standby) status.*: \+ \tTimeline: \d$", "a line more"),
    (
        r"^list: node2: node check --repmgrd",
        "where the library is not loaded the state is unknown: UNKNOWN, and not CRITICAL",
    ),
    (r#"status --csv: [-+] "WALs pending archiving","#, "nothing waits while archiving is off"),
    (
        r"^node3 not attached: node3: node status( --csv)?: [-+] exit code",
        "a standby that does not stream is an issue of its own, too",
    ),
    (
        r"^(node3 down, slot missing: node3|primary down: node1): node check --.*: [-+] exit code [63]$",
        "for monitoring, a server that does not answer is UNKNOWN; 6 is no code of a plugin",
    ),
    (
        r"^(node3 down, slot missing: node3|primary down: node1): node check --.* --nagios: \+ REPMGR_\w+ UNKNOWN: ",
        "a plugin that prints nothing is shown as if it had not run",
    ),
    (
        r"^primary down: node2: node check( --csv| --upstream --nagios)?: ",
        "repmgr gives up without the primary; the node's own checks are made all the same",
    ),
    (
        r"^primary down: node2: node (status|check).*: [-+] .*([Ll]ag|exit code [03]$|OK)",
        "the lag is unknown while the primary is down; repmgr says 0 seconds",
    ),
    // The cluster.
    (
        r"^(node3 down, slot missing: node3|primary down: node1): cluster ",
        "repmgr needs the local server; pgbaton asks the nodes that it has seen last",
    ),
    (
        r"^primary down: node2: cluster show( --compact)?: [-+]  \d ",
        "a primary has no upstream, and the standbys themselves say that they do not stream: !",
    ),
    (
        r"^(node3 down, slot missing: node1|primary down: node2): cluster matrix --csv: ",
        "the host of a node whose server is down is asked, too",
    ),
    // node service.
    (r"^list: node1: .*node service .*--list", "what is run is shown, and it is another command"),
    (r"^list: node1: node service --action=\w+ .*--dry-run: \+ ", "the plan is the answer of a dry run"),
    // What commands do.
    (r"^(primary|standby) register again: [-+] exit code [01]$", "done already is done"),
    (r"^primary register --force: - ", "nothing changes, and nothing is recorded"),
    (r"^standby promote with a primary: [-+] exit code (8|31)$", "a refusal has a code of its own: 31"),
    (r"^standby promote on the primary: [-+] exit code (8|1)$", "a failed check is 1: nothing was changed"),
    (r"^standby follow an unknown node: [-+] exit code (23|1)$", "a failed check is 1: nothing was changed"),
    (
        r"^standby switchover on the primary: [-+] exit code (18|1)$",
        "a failed check is 1: nothing was changed",
    ),
    (r"^node rejoin of a running node: [-+] exit code (24|0)$", "it streams already: done is done"),
    // Events and hooks.
    (
        r"^(primary register|standby clone|standby register|standby unregister|witness|cluster cleanup).*: [-+] (event|hook) \d\|(cluster_created|primary_register|standby_clone|standby_register|standby_register_sync|standby_unregister|witness_register|witness_unregister|cluster_cleanup)\|",
        "details are for people, and in other words",
    ),
    (
        r"^standby (promote|switchover): - hook 3\|standby_follow\|",
        "repmgr runs the hook of a sibling on its host; here only the row is written",
    ),
    (
        r"^(standby switchover|node rejoin): [-+] hook 2\|(standby_switchover|node_rejoin)\|",
        "%p, %a and %c all name the old primary, or the new upstream",
    ),
];

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    Repmgr,
    Pgbaton,
}

/// Three nodes and a place for a witness, with a configuration that both tools read.
struct Ground {
    tool: Tool,
    nodes: Vec<TestServer>,
    sshd: Sshd,
    /// How many events have been looked at.
    events: usize,
    /// What was seen: the step, and its lines.
    story: Vec<(String, Vec<String>)>,
    cluster: TestCluster,
}

impl Ground {
    fn new(pg: &Pg, tool: Tool) -> Option<Self> {
        let cluster = TestCluster::new(pg);
        let sshd = Sshd::start(&cluster)?;
        let nodes = vec![
            cluster.primary("node1"),
            cluster.empty("node2"),
            cluster.empty("node3"),
            cluster.foreign("node4"),
        ];
        let ground = Self { tool, nodes, sshd, events: 0, story: Vec::new(), cluster };
        let hook = ground.cluster.dir().join("hook");
        let script = format!("#!/bin/sh\nIFS='|'\necho \"$*\" >>{}\n", ground.hooked().display());
        std::fs::write(&hook, script).unwrap();
        std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for (id, server) in (1..).zip(&ground.nodes) {
            let path = repmgr_conf(server, id);
            let text = std::fs::read_to_string(&path).unwrap();
            let more = format!(
                "ssh_options='{}'\nstate_directory='{}'\npg_ctl_options='-l {}'\n\
                 event_notification_command='{} %n %e %s \"%t\" \"%d\" \"%p\" \"%a\" \"%c\" %%'\n",
                ground.sshd.options("key"),
                server.dir.join("state").display(),
                server.dir.join("log/start.log").display(),
                hook.display(),
            );
            std::fs::write(&path, text + &more).unwrap();
        }
        Some(ground)
    }

    /// Where the hook writes to.
    fn hooked(&self) -> PathBuf {
        self.cluster.dir().join("hooked")
    }

    fn node(&self, id: usize) -> &TestServer {
        &self.nodes[id - 1]
    }

    fn run(&self, tool: Tool, id: usize, args: &[&str]) -> Output {
        let server = self.node(id);
        match tool {
            Tool::Repmgr => real_repmgr(server, args),
            Tool::Pgbaton => {
                let conf = server.dir.join("repmgr.conf").to_string_lossy().into_owned();
                server.pgbaton(["-f", &conf].into_iter().chain(args.iter().copied())).run()
            }
        }
    }

    /// Replaces what differs from run to run. The digits of times become zeros, so that their form is compared.
    fn plain(&self, text: &str) -> String {
        static MOVING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
            let form = |pattern: &str| Regex::new(pattern).unwrap();
            vec![
                (form(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "[TIME]"),
                (form(r"(\[TIME\])\.\d+"), "$1.[FRACTION]"),
                (form(r"\b[0-9A-F]{1,8}/[0-9A-F]{5,8}\b"), "[LSN]"),
                (form(r"\b\d+ second"), "[N] second"),
                (form(r"lag=\d+"), "lag=[N]"),
                (form(r#"(Total data size"?[:,]"?).*"#), "$1[SIZE]"),
                (form(r"-0[123456789]+\b"), "[N]"),
            ]
        });
        let mut text = text.replace(&*self.cluster.dir().to_string_lossy(), "[DIR]");
        for server in &self.nodes {
            text = text.replace(&server.port.to_string(), &format!("[PORT:{}]", server.name));
        }
        text = text.replace(env!("CARGO_BIN_EXE_pgbaton"), "[PGBATON]");
        MOVING.iter().fold(text, |text, (form, shown)| form.replace_all(&text, *shown).into_owned())
    }

    /// Runs a step of the story with the tool that it is about, and records its exit code, the events that it has written on a
    /// node, and the hooks that it has called.
    fn step(&mut self, name: &str, id: usize, args: &[&str], primary: usize) {
        let output = self.run(self.tool, id, args);
        let mut lines = vec![format!("exit code {}", output.status.code().unwrap())];
        let sql = format!(
            "SELECT concat_ws('|', node_id, event, successful, details) FROM repmgr.events ORDER BY event_timestamp OFFSET {}",
            self.events
        );
        let rows = self.node(primary).try_psql_as("repmgr", "repmgr", &sql).stdout;
        self.events += rows.lines().count();
        lines.extend(rows.lines().map(|row| format!("event {row}")));
        let hooks = std::fs::read_to_string(self.hooked()).unwrap_or_default();
        lines.extend(hooks.lines().map(|line| format!("hook {line}")));
        let _ = std::fs::remove_file(self.hooked());
        println!("{output:?}");
        let lines = lines.iter().map(|line| self.plain(line)).collect();
        self.story.push((name.to_string(), lines));
    }

    #[track_caller]
    fn streams(&self, id: usize) {
        self.node(id).wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    }

    /// Makes the cluster: one primary, two standbys.
    fn build(&mut self) {
        let port = self.node(1).port.to_string();
        self.step("primary register", 1, &["primary", "register"], 1);
        self.step("primary register again", 1, &["primary", "register"], 1);
        self.step("primary register --force", 1, &["primary", "register", "--force"], 1);
        for id in [2, 3] {
            let source =
                ["standby", "clone", "-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr", "-c"];
            self.step(&format!("standby clone node{id}"), id, &source, 1);
            self.node(id).start();
            self.streams(id);
            self.step(&format!("standby register node{id}"), id, &["standby", "register"], 1);
        }
        self.step("standby register again", 2, &["standby", "register"], 1);
        self.step(
            "standby register --force --wait-sync",
            2,
            &["standby", "register", "--force", "--wait-sync=30"],
            1,
        );
        self.node(2).wait_for_replay_of(self.node(1));
        self.node(3).wait_for_replay_of(self.node(1));
    }

    /// Leads the role of the primary around, and takes the cluster down again.
    fn report(&mut self) {
        let port = self.node(1).port.to_string();
        self.step(
            "standby clone over it",
            2,
            &["standby", "clone", "-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr"],
            1,
        );
        self.step("standby promote with a primary", 2, &["standby", "promote"], 1);
        self.step("standby follow --upstream-node-id", 3, &["standby", "follow", "--upstream-node-id=2"], 1);
        self.streams(3);
        self.step("standby follow", 3, &["standby", "follow"], 1);
        self.streams(3);
        self.step("standby follow an unknown node", 3, &["standby", "follow", "--upstream-node-id=9"], 1);
        self.step("primary unregister with standbys", 1, &["primary", "unregister", "--force"], 1);
        self.step("standby switchover", 2, &["standby", "switchover", "--siblings-follow"], 2);
        self.streams(1);
        self.streams(3);
        self.step("standby switchover on the primary", 2, &["standby", "switchover"], 2);
        self.step("standby promote on the primary", 2, &["standby", "promote"], 2);
        self.step("standby follow on the primary", 2, &["standby", "follow"], 2);
        self.node(1).wait_for_replay_of(self.node(2));
        self.node(3).wait_for_replay_of(self.node(2));
        self.node(2).kill9();
        self.step("standby promote", 1, &["standby", "promote", "--siblings-follow"], 1);
        self.streams(3);
        let primary = self.node(1).conninfo();
        self.step("node rejoin", 2, &["node", "rejoin", "-d", &primary, "--force-rewind"], 1);
        self.streams(2);
        self.step("node rejoin of a running node", 2, &["node", "rejoin", "-d", &primary], 1);
        self.node(2).wait_for_replay_of(self.node(1));
        self.step("standby unregister", 3, &["standby", "unregister"], 1);
        self.step("standby unregister again", 3, &["standby", "unregister"], 1);
        let source = ["-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr"];
        self.step("witness register", 4, &[&["witness", "register"], &source[..]].concat(), 1);
        self.step("witness register again", 4, &[&["witness", "register"], &source[..]].concat(), 1);
        self.step("witness unregister", 4, &["witness", "unregister"], 1);
        metadata(
            self.node(1),
            "INSERT INTO repmgr.monitoring_history VALUES (1, 2, '2020-01-01', NULL, '0/0', '0/0', 0, 0)",
        );
        self.step("cluster cleanup", 1, &["cluster", "cleanup"], 1);
        self.step("primary unregister of an unknown node", 1, &["primary", "unregister", "--node-id=9"], 1);
        self.node(2).stop(StopMode::Fast);
        self.step("standby unregister --node-id", 1, &["standby", "unregister", "--node-id=2"], 1);
        self.step("primary unregister", 1, &["primary", "unregister"], 1);
        self.step("primary unregister --force", 1, &["primary", "unregister", "--force"], 1);
    }
}

/// Returns what one has and the other has not, as lines of the table.
fn compare(what: &str, theirs: &[String], ours: &[String]) -> Vec<String> {
    let only = |these: &[String], those: &[String], sign: &str| {
        let missing = these.iter().filter(|line| !those.contains(line));
        missing.map(|line| format!("{what}: {sign} {line}")).collect::<Vec<_>>()
    };
    let mut out = [only(theirs, ours, "-"), only(ours, theirs, "+")].concat();
    if out.is_empty() && theirs != ours {
        out.push(format!("{what}: in another order"));
    }
    out
}

/// Returns the reason of a difference: its place in the list.
fn reason(difference: &str) -> Option<usize> {
    static RULES: LazyLock<Vec<Regex>> =
        LazyLock::new(|| DELIBERATE.iter().map(|(pattern, _)| Regex::new(pattern).unwrap()).collect());
    RULES.iter().position(|pattern| pattern.is_match(difference))
}

/// Runs the same words through both, and compares exit code and standard output.
fn both(ground: &Ground, state: &str, id: usize, args: &[&str]) -> Vec<String> {
    let ask = |tool| {
        let output = ground.run(tool, id, args);
        let text = ground.plain(&output.stdout);
        let lines = text.trim_end().lines().map(|line| line.trim_end().to_string());
        std::iter::once(format!("exit code {}", output.status.code().unwrap()))
            .chain(lines)
            .collect::<Vec<_>>()
    };
    let what = ground.plain(&format!("{state}: node{id}: {}", args.join(" ")));
    let compared = || {
        let (theirs, ours) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| ask(Tool::Repmgr));
            let ours = ask(Tool::Pgbaton);
            (theirs.join().unwrap(), ours)
        });
        compare(&what, &theirs, &ours)
    };
    // A server on a busy machine may answer one of them too late, and a standby catches up between them: a difference is one
    // that is there again.
    let first = compared();
    if first.iter().all(|difference| reason(difference).is_some()) { first } else { compared() }
}

/// What is asked in each state, of the primary and of a standby.
const QUESTIONS: &[&[&str]] = &[
    &["cluster", "show"],
    &["cluster", "show", "--csv"],
    &["cluster", "show", "--compact"],
    &["cluster", "matrix", "--csv"],
    &["node", "status"],
    &["node", "status", "--csv"],
    &["node", "status", "--is-shutdown-cleanly"],
    &["node", "check"],
    &["node", "check", "--csv"],
    &["node", "check", "--archive-ready", "--nagios"],
    &["node", "check", "--downstream", "--nagios"],
    &["node", "check", "--upstream", "--nagios"],
    &["node", "check", "--role", "--nagios"],
    &["node", "check", "--slots", "--nagios"],
    &["node", "check", "--missing-slots", "--nagios"],
    &["node", "check", "--data-directory-config", "--nagios"],
    &["node", "check", "--replication-lag"],
];

fn all_questions(ground: &Ground, state: &str, ids: &[usize]) -> Vec<String> {
    let ask =
        |id: &usize| QUESTIONS.iter().flat_map(|words| both(ground, state, *id, words)).collect::<Vec<_>>();
    ids.iter().flat_map(ask).collect()
}

/// What is read of the cluster in each of its states.
fn states(ground: &Ground) -> Vec<String> {
    let mut out = all_questions(ground, "healthy", &[1, 2]);
    for line in support::runbook::lines() {
        let Some(node) = &line.node else { continue };
        if line.refused.is_some() {
            continue;
        }
        let id: usize = node.trim_start_matches("node").parse().unwrap();
        let port = |name: &str| ground.nodes.iter().find(|node| node.name == name).unwrap().port;
        let words = line.words(&ground.node(id).dir.join("repmgr.conf"), port);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        out.extend(both(ground, "list", id, &words));
    }

    let (one, three) = (ground.node(1), ground.node(3));
    one.psql("SELECT pg_create_physical_replication_slot('odd')");
    for i in 0..20 {
        let name = format!("pg_wal/archive_status/0000000A000000000000{i:04}.ready");
        std::fs::write(one.data.join(name), "").unwrap();
    }
    out.extend(all_questions(ground, "unused slot, archiver behind", &[1]));
    one.psql("SELECT pg_drop_replication_slot('odd')");
    for i in 0..20 {
        let name = format!("pg_wal/archive_status/0000000A000000000000{i:04}.ready");
        std::fs::remove_file(one.data.join(name)).unwrap();
    }

    three.psql("ALTER SYSTEM SET primary_conninfo = ''");
    three.reload();
    one.wait_until("SELECT count(*) FROM pg_stat_replication", "1", SOON);
    out.extend(all_questions(ground, "node3 not attached", &[1, 3]));

    three.stop(StopMode::Fast);
    one.psql("SELECT pg_drop_replication_slot('repmgr_slot_3')");
    out.extend(all_questions(ground, "node3 down, slot missing", &[1, 3]));
    one.psql("SELECT pg_create_physical_replication_slot('repmgr_slot_3', true)");
    three.start();
    three.psql("ALTER SYSTEM RESET primary_conninfo");
    let source = format!("host=127.0.0.1 port={} user=repmgr application_name=node3", one.port);
    three.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{source}'"));
    three.reload();
    ground.streams(3);

    one.stop(StopMode::Fast);
    out.extend(all_questions(ground, "primary down", &[1, 2]));
    out.extend(both(ground, "primary down", 2, &["cluster", "event", "--csv"]));
    one.start();
    ground.streams(2);
    ground.streams(3);
    out
}

#[test]
fn output_that_scripts_read_matches_repmgr() {
    let Some(pg) = with_real_repmgr() else { return };
    let mut differences = Vec::new();
    let mut stories = Vec::new();
    for tool in [Tool::Repmgr, Tool::Pgbaton] {
        let Some(mut ground) = Ground::new(&pg, tool) else { return };
        ground.build();
        if tool == Tool::Repmgr {
            differences.extend(states(&ground));
            // What these wrote is no part of the story.
            ground.events = metadata(ground.node(1), "SELECT count(*) FROM repmgr.events").parse().unwrap();
            let _ = std::fs::remove_file(ground.hooked());
        }
        ground.report();
        stories.push(std::mem::take(&mut ground.story));
    }
    for ((step, theirs), (same, ours)) in stories[0].iter().zip(&stories[1]) {
        assert_eq!(step, same);
        differences.extend(compare(step, theirs, ours));
    }
    let mut needed = [false; DELIBERATE.len()];
    let mut unexplained = Vec::new();
    println!("Differences (-: only repmgr, +: only pgbaton):");
    for difference in &differences {
        match reason(difference) {
            Some(place) => {
                needed[place] = true;
                println!("{difference}\n    {}", DELIBERATE[place].1);
            }
            None => unexplained.push(difference.as_str()),
        }
    }
    assert!(unexplained.is_empty(), "differences without a reason:\n{}", unexplained.join("\n"));
    let idle: Vec<&str> = DELIBERATE
        .iter()
        .zip(&needed)
        .filter(|(_, needed)| !**needed)
        .map(|((pattern, _), _)| *pattern)
        .collect();
    assert!(idle.is_empty(), "these differences are gone; take them off the list:\n{}", idle.join("\n"));
}
