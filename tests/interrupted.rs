//! What is left of an operation that was cut off, on real servers: by SIGKILL before and after every line of its journal, by signals, by
//! the death of the far end, and by somebody who starts the old primary in the middle of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report"
)]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::{
    Ledger, Nodes, Observer, Output, Pg, SOON, Side, Stepped, TestServer, postgres, slow, versions, wait_for,
};

const SWITCHOVER: [&str; 2] = ["standby", "switchover"];
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

    /// Types what `cluster show` names, one command after the other, until it calls the cluster healthy.
    #[track_caller]
    fn heal(&self, on: &TestServer) {
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
            let output = once_free(self.nodes.servers.iter().find(there).unwrap_or(on), &words[1..]);
            eprintln!("    {line}: {:?}", output.status.code());
            typed.push(line);
        }
        // A former primary that was taken out is the operator's to start. It has a standby.signal.
        if let Some(server) = self.nodes.servers.iter().find(|server| !server.is_running()) {
            assert!(server.data.join("standby.signal").exists(), "{}", server.name);
            once_free(server, &["node", "start"]).code(0);
            return self.heal(on);
        }
        // What was given up leaves slots behind, and the next plan would be a shorter one.
        for server in &self.nodes.servers {
            server.psql(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
            );
        }
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

/// Runs a command until it gets the locks: a far end that is on its way back holds one, and a server that has not noticed yet that its
/// client is gone.
#[track_caller]
fn once_free(node: &TestServer, words: &[&str]) -> Output {
    let begun = Instant::now();
    loop {
        let output = node.pgbaton(words).run();
        if output.status.code() != Some(30) || begun.elapsed() > SOON {
            return output;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says where the newest operation of a node is.
fn last_line(node: &TestServer) -> String {
    let journals = node.dir.join("state/operations").read_dir().unwrap().flatten();
    let text = std::fs::read_to_string(journals.map(|entry| entry.path()).max().unwrap()).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let of = |name: &str| line[name].as_str().unwrap_or("-").to_string();
    format!("{} {}", of("mark"), of("step"))
}

/// Returns the place of a number: before and after each line of a journal.
fn place(number: usize) -> (usize, Side) {
    (number / 2 + 1, if number.is_multiple_of(2) { Side::Before } else { Side::After })
}

// ---- SIGKILL ------------------------------------------------------------------------------------------------------------

/// Kills a switchover at every place, there and back, and does about it one thing after the other.
fn killed_everywhere(pg: &Pg, then: &[Then]) {
    let cluster = Cluster::new(pg);
    for (number, then) in then.iter().cycle().enumerate() {
        let (_, candidate) = cluster.roles();
        let (line, side) = place(number);
        let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
        if !running.run_to_line(line, side) {
            running.ended().wait(SOON).code(0);
            assert!(number > 60, "that was no whole switchover: {number}");
            break;
        }
        running.kill().wait(SOON);
        eprintln!("{} {side:?} {line}, the last is {}: {then:?}", candidate.name, last_line(candidate));
        let output = once_free(candidate, then.words());
        // Done, gone back, or over already; given up past no return.
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
fn a_switchover_that_is_killed_anywhere_can_be_finished_or_given_up() {
    killed_everywhere(&postgres(15).unwrap(), &EACH);
}

#[test]
fn the_same_in_every_way_on_every_version() {
    if slow() {
        for pg in versions() {
            for then in EACH {
                killed_everywhere(&pg, &[then]);
            }
            without_far_end(&pg, &EACH);
        }
    }
}

// ---- SIGKILL of the far end ---------------------------------------------------------------------------------------------

/// Kills the far end at every place. The coordinator is there, and ends by itself.
fn without_far_end(pg: &Pg, then: &[Then]) {
    let cluster = Cluster::new(pg);
    let mut kills = 0;
    // In the normal run every place of the outage, and some of the others.
    let chosen = |number: &usize| slow() || (26..50).contains(number) || number.is_multiple_of(3);
    for (number, then) in (0..).filter(chosen).zip(then.iter().cycle()) {
        let (primary, candidate) = cluster.roles();
        let (line, side) = place(number);
        let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
        if !running.run_to_line(line, side) {
            running.ended().wait(SOON).code(0);
            break;
        }
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
fn a_switchover_whose_far_end_is_killed_anywhere_goes_on_or_goes_back() {
    without_far_end(&postgres(15).unwrap(), &EACH);
}

// ---- somebody starts the old primary -----------------------------------------------------------------------------------

#[test]
fn an_old_primary_that_somebody_starts_in_the_middle_is_no_second_one() {
    let cluster = Cluster::new(&postgres(15).unwrap());
    // From the moment at which the stop was asked for.
    for number in 30.. {
        let (primary, candidate) = cluster.roles();
        let (line, side) = place(number);
        let mut running = Stepped::start(candidate.pgbaton(SWITCHOVER));
        assert!(running.run_to_line(line, side));
        let last = last_line(candidate);
        assert!(number > 30 || last == "started stop", "{last}");
        // As a supervisor does: again and again, shorter than a far end that hears nothing waits.
        let begun = Instant::now();
        let mut started = false;
        while !started && begun.elapsed() < Duration::from_secs(2) {
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
fn before_no_return_a_signal_leads_back_and_after_it_to_resume() {
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
        let output = running.go_on(Some(signal)).wait(SOON);
        eprintln!("{} {side:?} {line}, the last is {last}: {signal:?}: {output:?}", candidate.name);
        if primary.name == cluster.roles().0.name {
            assert_eq!(past_no_return, 0);
            output.code(code);
            assert_eq!(state_of(&cluster.nodes), before);
            one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2", SOON);
            two.pgbaton(["operation", "resume"]).run().code(1).says("no operation is unfinished");
        } else {
            past_no_return += 1;
            output.code(code).says("operation resume");
            candidate.pgbaton(["operation", "resume"]).run().code(0);
            if past_no_return == if slow() { 12 } else { 4 } {
                break;
            }
        }
        wait_for("health", SOON, || candidate.pgbaton(["cluster", "show"]).run().status.code() == Some(0));
    }
    cluster.end();
}
