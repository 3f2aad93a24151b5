//! Model checking of the code that the daemon runs: in every world that the assumptions allow, there are never two servers that accept
//! writes or are about to; and every rule is needed for that.
//!
//! With PGBATON_TEST_SLOW=1 as far as an hour and 16 GB go; else for some seconds each. `MODEL_MOST` (worlds), `MODEL_STEPS` (steps of walks),
//! `MODEL_SEED` and `MODEL_RULE` (only that rule) set it by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

mod explore;
mod members;
mod mutants;
mod world;

use std::time::Instant;

use pgbaton_lease::{Params, Profile};

use explore::{all, trace, walk};
use world::Config;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.replace('_', "").parse().unwrap())
}

fn is_slow() -> bool {
    std::env::var_os("PGBATON_TEST_SLOW").is_some_and(|value| value == "1")
}

/// How many worlds are looked at, where they are too many for all of them.
fn most() -> usize {
    number("MODEL_MOST").unwrap_or(if is_slow() { 5_000_000 } else { 100_000 }) as usize
}

/// How many steps are taken at random.
fn steps() -> u64 {
    number("MODEL_STEPS").unwrap_or(if is_slow() { 25_000_000 } else { 150_000 })
}

fn seed() -> u64 {
    number("MODEL_SEED").unwrap_or(1)
}

/// Times in ticks: T, p + δ, G. The grace is the least that is more than the two together.
const fn ticks(lease: u64, fencing: u64, grace: u64) -> Params {
    Params {
        heartbeat: 1,
        silence: 0,
        lease,
        fencing,
        grace,
        note: grace - 1,
        // A part of a hand-over may fail at any time.
        ready: 1 << 40,
        connect: 0,
        restart: 0,
        ..Profile::Default.params()
    }
}

const BASE: Config = Config {
    name: "lease",
    data: 2,
    voters: 3,
    params: ticks(1, 1, 3),
    fault: None,
    late: false,
    lazy: true,
    crashes: false,
    deaths: false,
    power: false,
    loss: false,
    faults: 0,
    hand_over: false,
    pauses: 0,
    first: false,
    moves: false,
    candidate_now: false,
};

const CRASHES: Config =
    Config { name: "crashes and deaths of daemons", crashes: true, deaths: true, faults: 2, ..BASE };
const LATE: Config = Config { name: "late answers", late: true, params: ticks(2, 1, 4), ..BASE };
const HAND_OVER: Config = Config { name: "hand-over", hand_over: true, ..BASE };
const HAND_OVER_FAULT: Config =
    Config { name: "hand-over and a fault", crashes: true, deaths: true, faults: 1, ..HAND_OVER };
const PAUSE: Config = Config { name: "pause", pauses: 1, moves: true, ..BASE };
const PAUSE_FAULT: Config =
    Config { name: "pause and a fault", crashes: true, deaths: true, power: true, faults: 1, ..PAUSE };
const TWO_PAUSES: Config = Config { name: "two pauses", pauses: 2, ..BASE };
const FIRST: Config = Config { name: "first start", first: true, moves: true, ..BASE };
const FIRST_PAUSE: Config = Config {
    name: "first start and a pause",
    pauses: 1,
    moves: false,
    deaths: true,
    crashes: true,
    faults: 1,
    ..FIRST
};
const NOW: Config = Config { name: "candidate now", candidate_now: true, power: true, faults: 2, ..BASE };
const LOSS: Config = Config { name: "lost state directory", loss: true, deaths: true, faults: 2, ..BASE };

/// Everything at once.
const EVERYTHING: Config = Config {
    name: "everything",
    lazy: false,
    crashes: true,
    deaths: true,
    power: true,
    loss: true,
    faults: 6,
    hand_over: true,
    pauses: 2,
    first: true,
    moves: true,
    candidate_now: true,
    ..BASE
};

const fn three(config: Config) -> Config {
    Config { data: 3, ..config }
}

fn report(config: &Config, what: &str, begun: Instant) {
    println!(
        "{} ({} data nodes, {} voters): {what}, {:.0} s",
        config.name,
        config.data,
        config.voters,
        begun.elapsed().as_secs_f64()
    );
}

fn explore(config: &Config) -> explore::Outcome {
    let begun = Instant::now();
    let outcome = all::<3>(config, most(), |_| true);
    let whole = if outcome.exhaustive { "all" } else { "capped" };
    report(config, &format!("{} worlds ({whole}), {} steps deep", outcome.states, outcome.depth), begun);
    outcome
}

/// With the shortest times, of which all worlds can be seen, and with times in which a leader lasts for more than one tick.
fn safe_with_any_times(config: &Config) {
    safe(config);
    safe(&Config { params: ticks(2, 1, 4), ..*config });
}

fn safe(config: &Config) {
    let outcome = explore(config);
    if let Some(path) = outcome.violation {
        panic!("two primaries:\n{}", trace::<3>(config, &path));
    }
}

#[test]
fn a_lease_is_held_by_one_node() {
    safe_with_any_times(&BASE);
    safe(&three(BASE));
}

#[test]
fn answers_may_be_late() {
    safe(&LATE);
    safe(&Config { crashes: true, deaths: true, faults: 1, ..LATE });
    safe(&Config { hand_over: true, ..LATE });
    safe(&three(Config { candidate_now: true, power: true, faults: 1, ..LATE }));
}

#[test]
fn servers_and_daemons_may_die() {
    safe_with_any_times(&CRASHES);
    safe(&three(CRASHES));
}

#[test]
fn a_role_is_handed_over() {
    safe_with_any_times(&HAND_OVER);
    safe(&HAND_OVER_FAULT);
    safe(&three(HAND_OVER));
}

#[test]
fn a_pause_is_one_of_all() {
    safe_with_any_times(&PAUSE);
    safe(&PAUSE_FAULT);
    safe(&TWO_PAUSES);
    safe(&three(PAUSE));
}

#[test]
fn daemons_start_for_the_first_time() {
    safe_with_any_times(&FIRST);
    safe(&FIRST_PAUSE);
    safe(&three(FIRST));
}

#[test]
fn a_candidate_skips_the_grace_only_by_proof() {
    safe(&NOW);
    safe(&three(NOW));
    safe(&three(Config { name: "candidate now and hand-over", hand_over: true, faults: 1, ..NOW }));
}

#[test]
fn state_directories_may_be_lost() {
    safe(&LOSS);
    safe(&three(LOSS));
}

fn walks<const N: usize>(config: &Config, heal: bool) {
    let begun = Instant::now();
    let walks = walk::<N>(config, steps(), 400, seed(), heal);
    let healed = if heal { format!(", {} healed", walks.healed) } else { String::new() };
    let what = format!(
        "{} steps in {} walks, {} changes of the primary{healed}",
        walks.steps, walks.walks, walks.changes
    );
    report(config, &what, begun);
    assert_eq!(walks.violations, 0, "{}", trace::<N>(config, &walks.shortest.unwrap_or_default()));
    assert!(walks.stuck.is_none(), "no leader: {}", walks.stuck.unwrap_or_default());
    assert!(walks.changes > 10, "walks that change nothing show nothing");
}

#[test]
fn random_walks_with_everything() {
    for params in [ticks(1, 1, 3), ticks(2, 1, 4)] {
        walks::<3>(&Config { params, ..EVERYTHING }, false);
        walks::<3>(&three(Config { params, ..EVERYTHING }), false);
        walks::<3>(&three(Config { params, late: true, ..EVERYTHING }), false);
    }
    walks::<5>(&Config { voters: 5, ..three(EVERYTHING) }, false);
}

#[test]
fn a_leader_is_found_once_nothing_breaks_any_more() {
    let everything = Config { name: "healing", loss: false, ..EVERYTHING };
    walks::<3>(&everything, true);
    walks::<3>(&three(everything), true);
}
