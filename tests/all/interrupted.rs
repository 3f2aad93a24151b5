//! What is left of an operation that was cut off, on real servers: by SIGKILL before and after every line of its journal, by signals, by
//! the death of the far end, and by a start of the old primary in the middle of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    self, Ledger, Nodes, Observer, Output, Pg, Pgbaton, Running, SOON, Side, Stepped, TestServer, envelope,
    metadata, place, postgres, slow, wait_for,
};

const SWITCHOVER: [&str; 2] = ["standby", "switchover"];
const PROMOTE: [&str; 2] = ["standby", "promote"];
const SLOTS: &str =
    "SELECT coalesce(string_agg(slot_name, ', ' ORDER BY slot_name), '') FROM pg_replication_slots";

/// How long something that `cluster show` finds wrong may be on its way to being right.
const PASSING: Duration = Duration::from_secs(2);

/// What is done about an operation that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Resume,
    Abandon,
    /// The same command is typed again.
    Again,
}

impl Then {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Resume => &["operation", "resume"],
            Self::Abandon => &["operation", "abandon"],
            Self::Again => &SWITCHOVER,
        }
    }
}

const EACH: [Then; 3] = [Then::Resume, Then::Abandon, Then::Again];

/// A primary and two standbys under load and under observation.
struct Cluster {
    nodes: Nodes,
    observer: Observer,
    ledger: Ledger,
}

impl Cluster {
    fn new(pg: &Pg) -> Self {
        let nodes = Nodes::new(pg, 2);
        let observer = Observer::begin(&nodes.servers);
        let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
        Self { nodes, observer, ledger }
    }

    /// Returns the primary and, of the first two nodes, the one that is to be the next.
    #[track_caller]
    fn roles(&self) -> (&TestServer, &TestServer) {
        let (one, two) = (self.nodes.node(1), self.nodes.node(2));
        match self.nodes.primaries()[..] {
            ["node1"] => (one, two),
            ["node2"] => (two, one),
            ref others => panic!("the primaries are {others:?}"),
        }
    }

    #[track_caller]
    fn heal(&self, on: &TestServer) {
        heal(&self.nodes, on);
    }

    /// Fails if there ever were two primaries, or if a row is missing anywhere.
    #[track_caller]
    fn end(self) {
        let record = self.ledger.end();
        self.observer.assert_never_two();
        let primaries = self.nodes.primaries();
        let (chief, others): (Vec<_>, Vec<_>) =
            self.nodes.servers.iter().partition(|server| primaries == [server.name.as_str()]);
        record.assert_kept_by(chief[0]);
        for server in others {
            server.wait_for_replay_of(chief[0]);
            record.assert_kept_by(server);
        }
    }
}

/// Types what `cluster show` names, one command after the other, until it calls the cluster healthy.
#[track_caller]
pub fn heal(nodes: &Nodes, on: &TestServer) {
    let mut typed: Vec<String> = Vec::new();
    loop {
        let begun = Instant::now();
        let (shown, next) = loop {
            let shown = on.pgbaton(["cluster", "show", "--json"]).run();
            let next = shown.json()["data"]["cluster"]["next"][0].as_str().map(str::to_string);
            // What is only to be looked at may be about to pass.
            let is_to_do = next.as_ref().is_some_and(|line| !line.starts_with("pgbaton node status"));
            if shown.status.code() == Some(0) || is_to_do || begun.elapsed() > PASSING {
                break (shown, next);
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        if shown.status.code() == Some(0) {
            break;
        }
        let line = next.unwrap_or_else(|| panic!("nothing is named: {shown:?}"));
        assert!(typed.len() < 4 && !typed.contains(&line), "{typed:?} did not do it: {shown:?}");
        let (command, place) = line.split_once("  # on ").unwrap_or((&line, ""));
        let words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(words.first(), Some(&"pgbaton"), "{line}");
        let there = |server: &&TestServer| place == format!("\"{}\"", server.name);
        let output = once_free(nodes.servers.iter().find(there).unwrap_or(on), &words[1..]);
        eprintln!("    {line}: {:?}", output.status.code());
        typed.push(line);
    }
    // A former primary that was taken out is the operator's to start. It has a standby.signal.
    if let Some(server) = nodes.servers.iter().find(|server| !server.is_running()) {
        assert!(server.data.join("standby.signal").exists(), "{}", server.name);
        once_free(server, &["node", "start"]).code(0);
        return heal(nodes, on);
    }
    // What was abandoned leaves slots behind, and the next plan would be a shorter one.
    for server in &nodes.servers {
        server.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active");
    }
}

/// Runs a command until it gets the locks: a far end that is rolling back holds one, and a server that has not noticed yet that its
/// client is gone.
#[track_caller]
fn once_free(node: &TestServer, words: &[&str]) -> Output {
    let begun = Instant::now();
    loop {
        let output = node.pgbaton(words).run();
        // What the far end is at may not be over: it holds the lock, or its server is just coming back.
        let passes = match output.status.code() {
            Some(30) => true,
            Some(31) => ["starting up", "shutting down", "not yet accepting connections"]
                .iter()
                .any(|passing| output.stderr.contains(passing)),
            _ => false,
        };
        if !passes || begun.elapsed() > SOON {
            return output;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn journals(node: &TestServer) -> Vec<PathBuf> {
    let entries = node.dir.join("state/operations").read_dir().into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Returns the last record of the newest operation of a node.
fn last_record(node: &TestServer) -> Value {
    let text = std::fs::read_to_string(journals(node).last().unwrap()).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Says where the newest operation of a node is.
fn last_line(node: &TestServer) -> String {
    let line = last_record(node);
    let of = |name: &str| line[name].as_str().unwrap_or("-").to_string();
    format!("{} {}", of("mark"), of("step"))
}

/// Starts a switchover and lets it run to a place; nothing if it was done before.
///
/// Watching makes it slow. If its requests come too late for the far end, it ends with nothing changed, and a person types it again.
#[track_caller]
fn switchover_up_to(candidate: &TestServer, number: usize) -> Option<Stepped> {
    let (line, side) = place(number);
    for _ in 0..5 {
        let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
        if running.run_to_line(line, side) {
            return Some(running);
        }
        let output = running.ended().wait(SOON);
        if output.status.code() != Some(12) {
            output.code(0);
            return None;
        }
        output.says("too late").says("Nothing was changed.");
        assert_eq!(candidate.psql("SELECT pg_is_in_recovery()"), "t");
    }
    panic!("five switchovers were too slow for the far end");
}

// ---- SIGKILL ------------------------------------------------------------------------------------------------------------

/// Kills a switchover at every place, there and back, and does about it one thing after the other.
fn killed_everywhere(pg: &Pg, then: &[Then]) {
    let cluster = Cluster::new(pg);
    for (number, then) in then.iter().cycle().enumerate() {
        let (_, candidate) = cluster.roles();
        let (line, side) = place(number);
        let Some(running) = switchover_up_to(candidate, number) else {
            assert!(number > 60, "that was no whole switchover: {number}");
            break;
        };
        running.kill().wait(SOON);
        eprintln!("{} {side:?} {line}, the last is {}: {then:?}", candidate.name, last_line(candidate));
        let output = once_free(candidate, then.words());
        // Done, rolled back, or over already; abandoned past the point of no return.
        let code = output.status.code().unwrap();
        assert!([0, 1, 18].contains(&code) || (code, *then) == (22, Then::Abandon), "{output:?}");
        if code == 22 {
            output.says("cluster show");
        }
        cluster.heal(candidate);
    }
    cluster.end();
}

#[test]
fn a_switchover_killed_at_any_point_can_be_finished_or_abandoned() {
    killed_everywhere(&postgres(15).unwrap(), &EACH);
}

/// Every way for every place, on one version: it takes long.
fn the_same_in_every_way(major: u32) {
    if !slow() {
        return;
    }
    let Some(pg) = postgres(major) else { return };
    for then in EACH {
        killed_everywhere(&pg, &[then]);
    }
    without_far_end(&pg, &EACH);
    for then in EACH {
        follow_killed_everywhere(&pg, &[then]);
    }
    promote_and_rejoin_killed_everywhere(&pg, &EACH, 1);
}

#[test]
fn the_same_in_every_way_on_13() {
    the_same_in_every_way(13);
}

#[test]
fn the_same_in_every_way_on_15() {
    the_same_in_every_way(15);
}

#[test]
fn the_same_in_every_way_on_17() {
    the_same_in_every_way(17);
}

#[test]
fn the_same_in_every_way_on_18() {
    the_same_in_every_way(18);
}

/// The notification of a promotion is sent, whichever command has finished it.
#[test]
fn an_operation_that_is_finished_later_sends_its_notifications() {
    let cluster = Cluster::new(&postgres(15).unwrap());
    let log = cluster.nodes.cluster.dir().join("events");
    let hook = format!("event_notification_command = \"echo %n %e %s >> {}\"", log.display());
    for then in EACH {
        let (_, candidate) = cluster.roles();
        let id = if candidate.name == "node1" { 1 } else { 2 };
        let newest =
            metadata(candidate, "SELECT coalesce(max(event_timestamp), '-infinity') FROM repmgr.events");
        candidate.with_configuration(&hook, || {
            let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
            let promoted = (1..100)
                .any(|line| running.run_to_line(line, Side::After) && last_line(candidate) == "done promote");
            assert!(promoted);
            running.kill().wait(SOON);
            let code = if then == Then::Abandon { 22 } else { 0 };
            once_free(candidate, then.words()).code(code);
        });
        let well = i32::from(then != Then::Abandon);
        let expected = format!("{id} standby_promote 1\n{id} standby_switchover {well}\n");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected, "{then:?}");
        let rows = format!(
            "SELECT string_agg(node_id || ' ' || event || ' ' || successful::integer, ', ' ORDER BY event) \
             FROM repmgr.events WHERE event_timestamp > '{newest}'"
        );
        // The third node was repointed, where it was not abandoned.
        let third = if well == 1 { "3 standby_follow 1, " } else { "" };
        let expected = format!("{third}{id} standby_promote 1, {id} standby_switchover {well}");
        assert_eq!(metadata(candidate, &rows), expected, "{then:?}");
        std::fs::remove_file(&log).unwrap();
        cluster.heal(candidate);
    }
    cluster.end();
}

/// Cut off between the promotion and its notification: sent at once, and not again by the command that finishes the rest.
#[test]
fn a_promotion_is_notified_once() {
    let cluster = Cluster::new(&postgres(15).unwrap());
    let log = cluster.nodes.cluster.dir().join("events");
    let hook = format!("event_notification_command = \"echo %e %s >> {}\"", log.display());
    for then in [Then::Resume, Then::Abandon] {
        let (_, candidate) = cluster.roles();
        candidate.with_configuration(&hook, || {
            let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
            let promoted = (1..100)
                .any(|line| running.run_to_line(line, Side::After) && last_line(candidate) == "done promote");
            assert!(promoted);
            // The first one lets everything be finished, the second one leaves the rest.
            let ended = running.go_on([Signal::INT, Signal::TERM]).wait(SOON);
            assert!(matches!(ended.status.code(), Some(130 | 143)), "{ended:?}");
            let heard = || std::fs::read_to_string(&log).unwrap();
            assert_eq!(heard(), "standby_promote 1\nstandby_switchover 0\n");
            let well = i32::from(then == Then::Resume);
            once_free(candidate, then.words()).code(if well == 1 { 0 } else { 22 });
            assert_eq!(
                heard(),
                format!("standby_promote 1\nstandby_switchover 0\nstandby_switchover {well}\n")
            );
        });
        std::fs::remove_file(&log).unwrap();
        cluster.heal(candidate);
    }
    cluster.end();
}

// ---- SIGKILL of the far end ---------------------------------------------------------------------------------------------

/// Kills the far end at every place. The coordinator is there, and ends by itself.
fn without_far_end(pg: &Pg, then: &[Then]) {
    let cluster = Cluster::new(pg);
    let mut kills = 0;
    // In the normal run every place of the outage, and some of the others.
    let chosen = |number: &usize| slow() || (34..58).contains(number) || number.is_multiple_of(3);
    for (number, then) in (0..).filter(chosen).zip(then.iter().cycle()) {
        let (primary, candidate) = cluster.roles();
        let (line, side) = place(number);
        let Some(running) = switchover_up_to(candidate, number) else {
            break;
        };
        let last = last_line(candidate);
        let far_ends = running.children("far-end");
        assert!(far_ends.len() <= 1, "{far_ends:?}");
        for far_end in &far_ends {
            support::send(*far_end, Signal::KILL);
            kills += 1;
        }
        let output = running.go_on(None).wait(4 * SOON);
        eprintln!("{} {side:?} {line}, the last is {last}, killed {far_ends:?}: {output:?}", candidate.name);
        match output.status.code() {
            Some(0) => assert_eq!(cluster.roles().0.name, candidate.name),
            Some(18) => assert_eq!(cluster.roles().0.name, primary.name),
            // Something is left, and the three ways lead on from there.
            Some(22 | 33) => {
                let then = once_free(candidate, then.words());
                eprintln!("    then {then:?}");
            }
            _ => panic!("{output:?}"),
        }
        cluster.heal(candidate);
    }
    assert!(kills > 40, "that was no whole switchover: {kills}");
    cluster.end();
}

#[test]
fn a_switchover_whose_far_end_is_killed_at_any_point_completes_or_rolls_back() {
    without_far_end(&postgres(15).unwrap(), &EACH);
}

// ---- follow, promote and rejoin ------------------------------------------------------------------------------------------

/// Kills a follow at every place, from one upstream to the other and back.
fn follow_killed_everywhere(pg: &Pg, then: &[Then]) {
    let cluster = Cluster::new(pg);
    let (primary, three) = (cluster.nodes.node(1), cluster.nodes.node(3));
    for (number, then) in then.iter().cycle().enumerate() {
        let upstream = primary.psql_as(
            "repmgr",
            "repmgr",
            "SELECT upstream_node_id FROM repmgr.nodes WHERE node_id = 3",
        );
        let target = if upstream == "1" { "2" } else { "1" };
        let follow = ["standby", "follow", "--upstream-node-id", target];
        let (line, side) = place(number);
        let mut running = Stepped::start(three.pgbaton(follow));
        if !running.run_to_line(line, side) {
            running.ended().wait(SOON).code(0);
            assert!(number > 10, "that was no whole follow: {number}");
            break;
        }
        running.kill().wait(SOON);
        eprintln!("to {target}, {side:?} {line}, the last is {}: {then:?}", last_line(three));
        let words = if *then == Then::Again { &follow } else { then.words() };
        let output = once_free(three, words);
        // Or nothing is left to do.
        assert!([0, 1].contains(&output.status.code().unwrap()), "{output:?}");
        cluster.heal(three);
    }
    cluster.end();
}

#[test]
fn a_follow_killed_at_any_point_can_be_finished_or_abandoned() {
    follow_killed_everywhere(&postgres(15).unwrap(), &EACH);
}

/// Kills a promotion, after its primary, and then the rejoin of that primary, at every place.
fn promote_and_rejoin_killed_everywhere(pg: &Pg, then: &[Then], step: usize) {
    let nodes = Nodes::new(pg, 2);
    let three = nodes.node(3);
    let observer = Observer::begin(&nodes.servers);
    nodes.node(1).psql("CREATE TABLE kept (n bigint)");
    let mut rows = 0;
    for (number, then) in (0..).step_by(step).zip(then.iter().cycle()) {
        let (old, new) = if nodes.primaries() == ["node1"] { (1, 2) } else { (2, 1) };
        let (old, new) = (nodes.node(old), nodes.node(new));
        let (line, side) = place(number);
        rows += 1;
        old.psql(&format!("INSERT INTO kept VALUES ({rows})"));
        new.wait_for_replay_of(old);
        three.wait_for_replay_of(old);
        old.kill9();

        let mut running = Stepped::start(new.pgbaton(PROMOTE));
        let promotes = running.run_to_line(line, side);
        if promotes {
            running.kill().wait(SOON);
            eprintln!("{} {side:?} {line}, the last is {}: {then:?}", new.name, last_line(new));
            let words = if *then == Then::Again { &PROMOTE } else { then.words() };
            let output = once_free(new, words);
            assert!([0, 1, 8, 22].contains(&output.status.code().unwrap()), "{output:?}");
            assert!(nodes.primaries().len() <= 1);
            // Abandoned before there was one: the command has to be repeated.
            if nodes.primaries().is_empty() {
                once_free(new, &PROMOTE).code(0);
            }
        } else {
            running.ended().wait(SOON).code(0);
        }
        assert_eq!(nodes.primaries(), [new.name.as_str()]);

        let conninfo = new.conninfo();
        let rejoin = ["node", "rejoin", "--yes", "-d", &conninfo];
        let mut running = Stepped::start(old.pgbaton(rejoin));
        let rejoins = running.run_to_line(line, side);
        if rejoins {
            running.kill().wait(SOON);
            eprintln!("{} {side:?} {line}, the last is {}", old.name, last_line(old));
            assert_eq!(nodes.primaries(), [new.name.as_str()]);
            once_free(old, &rejoin).code(0);
        } else {
            running.ended().wait(SOON).code(0);
        }
        heal(&nodes, new);
        for server in [old, three] {
            server.wait_for_replay_of(new);
            assert_eq!(server.psql("SELECT count(*) FROM kept"), rows.to_string(), "{}", server.name);
        }
        assert_eq!(new.psql("SELECT count(*) FROM kept"), rows.to_string(), "{}", new.name);
        if !promotes && !rejoins {
            assert!(number > 10, "that was nothing whole: {number}");
            break;
        }
    }
    observer.assert_never_two();
}

#[test]
fn a_promotion_and_a_rejoin_killed_at_any_point_can_be_finished() {
    promote_and_rejoin_killed_everywhere(&postgres(15).unwrap(), &EACH, if slow() { 1 } else { 5 });
}

// ---- the terminal is lost -----------------------------------------------------------------------------------------------

#[test]
fn a_hangup_a_closed_output_and_a_lost_terminal_do_not_stop_it() {
    let cluster = Cluster::new(&postgres(15).unwrap());
    let whole = |what: &str| {
        let (primary, candidate) = cluster.roles();
        wait_for("the end of the journal", 2 * SOON, || last_record(primary)["record"] == "end");
        assert_eq!(last_record(primary)["exit"], 0, "{what}");
        cluster.heal(candidate);
    };

    let (_, candidate) = cluster.roles();
    let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
    assert!(running.run_to_line(16, Side::After));
    running.go_on(Some(Signal::HUP)).wait(SOON).code(0);
    whole("a hangup");

    // The reader closes the pipe after the first line.
    let (_, candidate) = cluster.roles();
    let script = "set -o pipefail; \"$@\" 2>&1 | read -r line";
    let mut command = support::clean_command(Path::new("/bin/bash"));
    command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_pgbaton"), "-v", "-f"]).arg(candidate.config());
    command.args(SWITCHOVER).env("HOME", cluster.nodes.cluster.dir());
    Running::start(command).wait(2 * SOON).code(0);
    whole("a closed output");

    let (_, candidate) = cluster.roles();
    let before = journals(candidate).len();
    let program =
        format!("{} -f {} standby switchover", env!("CARGO_BIN_EXE_pgbaton"), candidate.config().display());
    let mut terminal = support::clean_command(Path::new("/usr/bin/script"));
    terminal.args(["-qec", &program, "/dev/null"]).env("HOME", cluster.nodes.cluster.dir());
    let mut terminal = Running::start(terminal);
    wait_for("the switchover to have begun", SOON, || {
        journals(candidate).len() > before && last_record(candidate)["record"] == "mark"
    });
    terminal.signal(Signal::KILL);
    assert!(terminal.ends_within(SOON));
    wait_for("the switchover", 2 * SOON, || cluster.nodes.primaries() == [candidate.name.as_str()]);
    whole("a lost terminal");
    cluster.end();
}

// ---- the old primary is started ----------------------------------------------------------------------------------------

#[test]
fn an_old_primary_started_during_a_switchover_is_no_second_primary() {
    let cluster = Cluster::new(&postgres(15).unwrap());
    // From the moment at which the stop was asked for.
    for number in 38.. {
        let (primary, candidate) = cluster.roles();
        let (line, side) = place(number);
        let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
        assert!(running.run_to_line(line, side));
        let last = last_line(candidate);
        assert!(number > 38 || last == "started stop", "{last}");
        // As a supervisor does: again and again, shorter than the silence after which a far end carries nothing out any more.
        let begun = Instant::now();
        let mut started = false;
        while !started && begun.elapsed() < Duration::from_secs(1) {
            started = primary.try_start().status.success();
        }
        let output = running.go_on(None).wait(4 * SOON);
        eprintln!("{} {side:?} {line}, the last is {last}: started {started}, {output:?}", candidate.name);
        let code = if candidate.name == cluster.roles().0.name { 0 } else { 18 };
        output.code(code);
        cluster.heal(candidate);
        if last == if slow() { "started start" } else { "done promote" } {
            break;
        }
    }
    cluster.end();
}

/// Longer than what it asks for counts.
const FROZEN: Duration = Duration::from_millis(2500);

#[test]
fn a_coordinator_frozen_at_any_point_completes_or_rolls_back_at_once() {
    let cluster = Cluster::new(&postgres(15).unwrap());
    for number in (0..).step_by(if slow() { 1 } else { 13 }) {
        let (primary, candidate) = cluster.roles();
        let (line, side) = place(number);
        let Some(running) = switchover_up_to(candidate, number) else {
            assert!(number > 60, "that was no whole switchover: {number}");
            break;
        };
        let last = last_line(candidate);
        std::thread::sleep(FROZEN);
        let output = running.go_on(None).wait(2 * SOON);
        eprintln!("{} {side:?} {line}, the last is {last}: {output:?}", candidate.name);
        let now = cluster.roles().0.name.clone();
        let code = output.status.code().unwrap();
        if now == primary.name {
            assert!([12, 18].contains(&code), "{output:?}");
            candidate.pgbaton(["operation", "resume"]).run().code(1).says("no operation is unfinished");
        } else {
            assert!([0, 22].contains(&code), "{output:?}");
        }
        cluster.heal(candidate);
    }
    cluster.end();
}

// ---- SIGINT and SIGTERM ------------------------------------------------------------------------------------------------

/// What a switchover that went back must not have changed.
fn state_of(nodes: &Nodes) -> Vec<String> {
    let of = |server: &TestServer| {
        let signal = server.data.join("standby.signal").exists();
        let settings = server.psql("SELECT string_agg(name || ' ' || setting, ', ' ORDER BY seqno) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'");
        format!("{} {signal} {} {settings}", server.name, server.psql(SLOTS))
    };
    nodes.servers.iter().map(of).collect()
}

#[test]
fn before_the_point_of_no_return_a_signal_rolls_back_and_after_it_the_first_one_finishes_and_the_second_one_stops()
 {
    let cluster = Cluster::new(&postgres(15).unwrap());
    let (one, two) = (cluster.nodes.node(1), cluster.nodes.node(2));
    let before = state_of(&cluster.nodes);
    let mut past_no_return = 0;
    for number in (0..).step_by(if slow() { 1 } else { 3 }) {
        let (line, side) = place(number);
        let (signal, code) = if number % 2 == 0 { (Signal::TERM, 143) } else { (Signal::INT, 130) };
        let (primary, candidate) = cluster.roles();
        let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
        assert!(running.run_to_line(line, side));
        let last = last_line(candidate);
        // Every other time it is said twice.
        let twice = past_no_return % 2 == 1;
        let other = if signal == Signal::INT { Signal::TERM } else { Signal::INT };
        let output = running.go_on([signal].into_iter().chain(twice.then_some(other))).wait(SOON);
        eprintln!("{} {side:?} {line}, the last is {last}: {signal:?}, {twice}: {output:?}", candidate.name);
        if primary.name == cluster.roles().0.name {
            assert_eq!(past_no_return, 0);
            output.code(code);
            assert_eq!(state_of(&cluster.nodes), before);
            one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2", SOON);
            two.pgbaton(["operation", "resume"]).run().code(1).says("no operation is unfinished");
        } else {
            past_no_return += 1;
            match output.status.code() {
                Some(130 | 143) if twice => {
                    output.says("operation resume");
                    candidate.pgbaton(["operation", "resume"]).run().code(0);
                }
                // One that comes with the last step has nothing left to stop.
                _ => {
                    output.code(0);
                }
            }
            if past_no_return == if slow() { 12 } else { 4 } {
                break;
            }
        }
        wait_for("health", SOON, || candidate.pgbaton(["cluster", "show"]).run().status.code() == Some(0));
    }
    cluster.end();
}

/// While a command waits for an answer it has not begun to act, whatever it was going to do.
#[test]
fn a_read_only_command_ends_at_once_and_says_so() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.freeze();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for words in [&["cluster", "show"][..], &SWITCHOVER, &["standby", "follow"]] {
            let begin = |more: &[&str]| {
                let running = two.pgbaton(more.iter().chain(words)).spawn();
                wait_for("a handler", SOON, || handles(running.pid(), signal));
                running.signal(signal);
                running.wait(SOON)
            };
            let output = begin(&["--json"]);
            output.code(code);
            let json = envelope(&output, &words.join(" "), code, false);
            assert_eq!(json["error"]["message"], "interrupted", "{output:?}");
            begin(&[]).code(code).says("ERROR: interrupted").says("DETAIL: Nothing was changed.");
        }
    }
}

/// Says whether a process handles a signal itself.
fn handles(pid: rustix::process::Pid, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

// ---- a coordinator that is frozen between its look and its effect -------------------------------------------------------

/// The mark of the point of no return.
const MARK: &str = r#""step":"promote","stage":"forward","mark":"started""#;

/// The request for promotion.
const REQUEST: &str = "pg_promote(false)";

/// Where the coordinator of a promotion is frozen.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// It has looked at the others, and is about to write the mark.
    BeforeMark,
    /// The mark is written; the last look is to come.
    AfterMark,
    /// It has looked for the last time, and is about to send the request.
    BeforeRequest,
}

impl Place {
    /// Runs a command up to there.
    #[track_caller]
    fn reached_by(self, command: Pgbaton) -> Stepped {
        let (text, side) = match self {
            Self::BeforeMark => (MARK, Side::Before),
            Self::AfterMark => (MARK, Side::After),
            Self::BeforeRequest => (REQUEST, Side::Before),
        };
        let mut running = Stepped::start(command);
        assert!(running.run_to(text, side), "{self:?} is not on the way");
        running
    }
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// The third node is promoted by hand.
    Third,
    /// An operator ends the sessions of the command that hangs, and promotes the third node by a command of its own.
    ThirdByCommand,
    /// The old primary is made one again by hand.
    Old,
    /// It is started, as the standby that it is by now.
    OldAsStandby,
    /// And then it is promoted.
    OldPromoted,
}

impl Meanwhile {
    /// Lets it happen, and takes as long as a coordinator is frozen.
    #[track_caller]
    fn happens(self, nodes: &Nodes) {
        let begun = Instant::now();
        let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
        match self {
            Self::Third => three.promote(),
            Self::ThirdByCommand => {
                let promote = || three.pgbaton(["standby", "promote", "--force"]).run();
                promote().code(30).says("another operation is running");
                for server in [two, three] {
                    server.psql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'");
                    server.wait_until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0", SOON);
                }
                promote().code(0);
            }
            Self::Old => {
                std::fs::remove_file(one.data.join("standby.signal")).unwrap();
                one.start();
            }
            Self::OldAsStandby => one.start(),
            Self::OldPromoted => {
                one.start();
                one.promote();
            }
        }
        std::thread::sleep(FROZEN.saturating_sub(begun.elapsed()));
    }

    fn primary(self) -> &'static str {
        match self {
            Self::Third | Self::ThirdByCommand => "node3",
            Self::Old | Self::OldPromoted => "node1",
            Self::OldAsStandby => "node2",
        }
    }
}

/// Freezes a command of node2 at a place, lets something happen, and returns what comes of the command.
#[track_caller]
fn frozen(nodes: &Nodes, words: &[&str], place: Place, meanwhile: Meanwhile) -> Output {
    let observer = Observer::begin(&nodes.servers);
    let running = place.reached_by(nodes.node(2).pgbaton(words));
    meanwhile.happens(nodes);
    let output = running.go_on(None).wait(2 * SOON);
    eprintln!("{place:?}, {meanwhile:?}: {output:?}");
    assert_eq!(nodes.primaries(), [meanwhile.primary()], "{output:?}");
    observer.assert_never_two();
    output
}

/// The command has promoted no node, says why, and what it has left is closed by a resume.
#[track_caller]
fn refused(nodes: &Nodes, output: &Output, place: Place, meanwhile: Meanwhile) {
    let two = nodes.node(2);
    output.code(8);
    match (place, meanwhile) {
        (Place::BeforeRequest, _) => output.says("erminating connection due to administrator command"),
        (_, Meanwhile::ThirdByCommand) => output.says("The promotion was not requested"),
        _ => output.says(&format!("ode \"{}\"", meanwhile.primary())),
    };
    output.says("operation resume");
    two.pgbaton(["operation", "resume"]).run().code(31).says("overtaken").says("is closed");
    two.pgbaton(["operation", "resume"]).run().code(1).says("no operation is unfinished");
    assert_eq!(nodes.primaries(), [meanwhile.primary()]);
}

#[test]
fn a_frozen_promotion_causes_no_second_primary() {
    let pg = postgres(15).unwrap();
    for (place, meanwhile) in [
        (Place::BeforeMark, Meanwhile::Third),
        (Place::AfterMark, Meanwhile::Third),
        (Place::AfterMark, Meanwhile::Old),
        (Place::AfterMark, Meanwhile::ThirdByCommand),
        (Place::BeforeRequest, Meanwhile::ThirdByCommand),
    ] {
        let nodes = Nodes::new(&pg, 2);
        let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
        for server in [two, three] {
            server.wait_for_replay_of(one);
            server.pgbaton(["cluster", "show"]).run().code(0);
        }
        one.kill9();
        let output = frozen(&nodes, &PROMOTE, place, meanwhile);
        refused(&nodes, &output, place, meanwhile);
    }
}

#[test]
fn a_switchover_frozen_past_its_mark_causes_no_second_primary() {
    let pg = postgres(15).unwrap();
    for (place, meanwhile) in [
        (Place::AfterMark, Meanwhile::Third),
        (Place::AfterMark, Meanwhile::Old),
        (Place::AfterMark, Meanwhile::OldPromoted),
        (Place::AfterMark, Meanwhile::OldAsStandby),
        (Place::BeforeRequest, Meanwhile::ThirdByCommand),
    ] {
        let nodes = Nodes::new(&pg, 2);
        for server in &nodes.servers {
            server.pgbaton(["cluster", "show"]).run().code(0);
        }
        let output = frozen(&nodes, &SWITCHOVER, place, meanwhile);
        if matches!(meanwhile, Meanwhile::OldAsStandby) {
            output.code(0);
            heal(&nodes, nodes.node(2));
        } else {
            refused(&nodes, &output, place, meanwhile);
        }
    }
}

/// Killed after its mark, while the old primary is started, as the standby that it is: there is nothing to wait for.
#[test]
fn an_old_primary_back_as_a_standby_does_not_prevent_resuming_a_switchover() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let two = nodes.node(2);
    let observer = Observer::begin(&nodes.servers);
    Place::AfterMark.reached_by(two.pgbaton(SWITCHOVER)).kill().wait(SOON);
    nodes.node(1).start();
    once_free(two, &["operation", "resume"]).code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
    heal(&nodes, two);
    observer.assert_never_two();
}
