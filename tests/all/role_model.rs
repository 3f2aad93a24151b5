//! A model of the commands that change roles, small enough that every order of events can be tried: two primaries must not come of any.
//!
//! The code keeps rules that hold one another up: the locks, the sessions, the host of the old primary, `standby.signal`, the journal and its
//! row. A test of the program shows that a rule is kept at one place and time. This model shows that the rules are enough, and that each of
//! them is needed. It knows nothing of the code, so **a rule that is changed has to be changed here, too**: see the table in
//! `role_model/rules.rs`, which names the function that keeps each rule.
//!
//! Modelled: the primary A, the candidate B where the coordinator of a switchover runs, their sibling C where an operator may type as well;
//! on the host of A its far ends, the second channel that replaces them, the lock of the node, `standby.signal`, a start that is under way;
//! the advisory locks, each bound to a session; journals with their mark, the row that has or has not reached the other standby. Typed are
//! `standby switchover`, `standby promote`, `operation resume`, `operation abandon`, `node start`. What may go wrong: crashes, connections
//! and channels that fail, sessions that end, processes that are killed, a supervisor that restarts A. Every step is an event of its own, and
//! nothing has to happen: a process that is frozen for hours is one whose steps come late, and every wait may time out.
//!
//! Left out: WAL, and with it all that is said of lost data; time, so a request is void only once its far end has noticed the silence, which
//! may be late (the world of the model is worse than the real one); crashes of B and C, of which nothing but a command makes primaries;
//! `--force`, but for the row of an operation (`rows_are_overridden`) and a host that is gone (`host_of_a_is_gone`); `node guard` and
//! `node restart`. In the model, but no rules of the table, because others make up for them: that the coordinator and the far end ask the
//! other nodes before they go back (the host is secured before any promotion), that the far end confirms once more that its server is
//! down, and the second look after a start, which ends what has happened and does not prevent it.
//!
//! Two primaries are no fault of the rules in two cases, which are counted apart (`explore::Fault`): a server that was a primary, or came up
//! as one, could not be seen by the command that made the other one; or it went on although a node, or the host of A, did not respond, and
//! that became one later. The commands name the nodes that they could not query. Where no ssh leads to the host of A, two more are left: see
//! `UNPROTECTED`.

mod commands;
mod explore;
mod host;
mod rules;
mod state;
mod steps;

use explore::{explore, stuck};
use rules::{RULES, Rules};
use steps::{Config, Model};

use crate::support::slow;

/// Enough for every world that is tried, and a bound for one that has grown.
const MOST: usize = 4_000_000;

/// Everything that is typed, on a cluster where nothing but processes fails.
const TYPED: Config = Config {
    commands: Some(3),
    switchover_on_b: true,
    switchover_on_c: true,
    promote_on_b: true,
    promote_on_c: true,
    node_start: true,
    commands_are_killed: true,
    far_ends_are_killed: true,
    node_start_is_killed: true,
    ..Config::QUIET
};

/// Worlds with a name, small ones.
const SMALL: [(&str, Config); 5] = [
    (
        "three commands, processes are killed, A crashes and is restarted",
        Config { supervisor: true, crashes: 1, ..TYPED },
    ),
    ("three commands, sessions end", Config { sessions_end: true, node_start: false, ..TYPED }),
    ("three commands, no ssh from C", Config { no_ssh_from_c: true, node_start_is_killed: false, ..TYPED }),
    (
        "two commands, connections fail",
        Config {
            commands: Some(2),
            sql_fails: true,
            switchover_on_c: false,
            promote_on_b: false,
            node_start: false,
            far_ends_are_killed: false,
            ..TYPED
        },
    ),
    (
        "two commands, channels fail, A crashes",
        Config { commands: Some(2), ssh_fails: true, crashes: 1, reinitialises: true, ..TYPED },
    ),
];

/// The same, large ones.
const LARGE: [(&str, Config); 4] = [
    (
        "two commands, connections fail, sessions end, processes are killed",
        Config { commands: Some(2), sql_fails: true, sessions_end: true, switchover_on_c: false, ..TYPED },
    ),
    (
        "two commands, connections and channels fail, A crashes and is restarted",
        Config {
            commands: Some(2),
            sql_fails: true,
            ssh_fails: true,
            crashes: 1,
            supervisor: true,
            reinitialises: true,
            switchover_on_c: false,
            promote_on_b: false,
            node_start: false,
            ..TYPED
        },
    ),
    (
        "four commands, sessions end, A crashes",
        Config { commands: Some(4), sessions_end: true, crashes: 1, ..TYPED },
    ),
    (
        "four commands, no ssh from C, sessions end",
        Config { commands: Some(4), no_ssh_from_c: true, sessions_end: true, node_start: false, ..TYPED },
    ),
];

/// Worlds in which the rules are not enough, as the documentation says: where no ssh leads from C to the host of A.
const UNPROTECTED: [(&str, Config); 2] = [
    (
        "a supervisor does not ask",
        Config {
            commands: Some(1),
            promote_on_c: true,
            supervisor: true,
            crashes: 1,
            no_ssh_from_c: true,
            ..Config::QUIET
        },
    ),
    (
        "a node start is killed while its start is under way",
        Config {
            commands: Some(2),
            promote_on_c: true,
            node_start: true,
            node_start_is_killed: true,
            crashes: 1,
            no_ssh_from_c: true,
            ..Config::QUIET
        },
    ),
];

/// Tries every order of events.
fn never_two(worlds: &[(&str, Config)]) {
    for (name, config) in worlds {
        let model = Model { rules: Rules::ALL, config: *config };
        let found = explore(&model, MOST, false);
        if let Some(first) = found.first {
            panic!("{name}: two primaries\n{}", found.story(&model, first));
        }
        assert!(found.complete, "{name}: more than {MOST} states; choose a smaller world");
        eprintln!(
            "{name}: {} states, {} events deep; two primaries where one was not seen: {}, where a node was left out: {}",
            found.states.len(),
            found.depth,
            found.living_primary_unseen,
            found.silent_node_left_out
        );
    }
}

#[test]
fn with_all_rules_there_are_never_two_primaries() {
    never_two(&SMALL);
}

#[test]
fn with_all_rules_there_are_never_two_primaries_in_large_worlds() {
    if slow() {
        never_two(&LARGE);
    }
}

#[test]
fn every_rule_is_needed() {
    for entry in &RULES {
        let (rule, says) = (entry.rule, entry.says);
        let with = Model { rules: Rules::ALL, config: entry.needed_in };
        let found = explore(&with, MOST, true);
        if let Some(first) = found.first {
            panic!("{rule:?}: two primaries although all rules are kept\n{}", found.story(&with, first));
        }
        assert!(found.complete, "{rule:?}: its world is too large");
        let without = Model { rules: Rules::without(rule), ..with };
        let found = explore(&without, MOST, true);
        let Some(first) = found.first else {
            panic!(
                "{rule:?} makes no difference any more, or is modelled no more: {says} ({:?})",
                entry.kept_by
            )
        };
        eprintln!("{rule:?}, without which:\n{}", found.story(&without, first));
    }
}

#[test]
fn without_ssh_not_everything_is_prevented() {
    for (name, config) in UNPROTECTED {
        let without_ssh = Model { rules: Rules::ALL, config };
        assert!(
            explore(&without_ssh, MOST, true).first.is_some(),
            "{name}: it cannot happen any more; say so"
        );
        let with_ssh = Model { config: Config { no_ssh_from_c: false, ..config }, ..without_ssh };
        let found = explore(&with_ssh, MOST, true);
        assert!(found.complete && found.first.is_none(), "{name}: with ssh it must not happen");
    }
}

#[test]
fn the_functions_that_keep_the_rules_are_there() {
    for entry in &RULES {
        for place in entry.kept_by.split("; ") {
            let place = place.split_once(" (").map_or(place, |(place, _)| place);
            let (file, functions) = place.split_once(": ").expect("a file and its functions");
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
            let text = std::fs::read_to_string(&path).expect(file);
            for function in functions.split(", ") {
                let name = function.rsplit("::").next().expect("a name");
                let is_there = ["(", "<"].iter().any(|after| text.contains(&format!("fn {name}{after}")));
                assert!(is_there, "{:?}: no {function} in src/{file}", entry.rule);
            }
        }
    }
}

#[test]
fn every_state_has_a_way_out() {
    if !slow() {
        return;
    }
    for (name, config) in &SMALL {
        let model = Model { rules: Rules::ALL, config: *config };
        let found = explore(&model, MOST, false);
        for host_of_a_is_gone in [false, true] {
            let mut calm = Model { rules: Rules::ALL, config: config.calm() };
            calm.config.host_of_a_is_gone = host_of_a_is_gone;
            calm.config.node_start = !host_of_a_is_gone;
            let stuck = stuck(&calm, &found.states);
            let Some(first) = stuck.first() else { continue };
            let gone = if host_of_a_is_gone { ", with the host of A gone" } else { "" };
            let story = found.story(&model, *first);
            panic!("{name}{gone}: {} states without a way out, the first of them:\n{story}", stuck.len());
        }
    }
}
