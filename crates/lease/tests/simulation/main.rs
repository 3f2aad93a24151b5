//! Deterministic simulation of everything above the sockets: the real decisions of the daemons, with servers, votes, fencers, a network and
//! operators in virtual time. A seed gives the whole run; a seed that fails, fails again.
//!
//! `SIMULATION_SEEDS` (how many), `SIMULATION_SEED` (only this one, with what happens printed). With PGBATON_TEST_SLOW=1 100,000 seeds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

mod cluster;

use std::time::Instant;

use pgbaton_lease::{Params, Profile};

use cluster::{Cluster, Shape, Totals};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.replace('_', "").parse().unwrap())
}

fn run(name: &str, params: Params, shape: Shape) {
    let begun = Instant::now();
    let mut totals = Totals::default();
    let only = number("SIMULATION_SEED");
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => {
            let slow = std::env::var_os("PGBATON_TEST_SLOW").is_some_and(|value| value == "1");
            0..number("SIMULATION_SEEDS").unwrap_or(if slow { 25_000 } else { 400 })
        }
    };
    for seed in seeds {
        let mut cluster = Cluster::new(params, shape, seed, only.is_some());
        if let Err(wrong) = cluster.run() {
            panic!("{name}, seed {seed}: {wrong}\nSIMULATION_SEED={seed} shows what happened");
        }
        totals.add(&cluster.totals);
    }
    println!("{name}: {totals}, {:.0} s", begun.elapsed().as_secs_f64());
    if only.is_none() {
        assert!(
            totals.promotions > 50 && totals.hand_overs > 10 && totals.pauses > 3,
            "nothing was tried: {totals}"
        );
    }
}

/// What the simulation is worth: it finds what a grace that is too short does, and a fencer that is later than was assumed.
#[test]
fn times_that_break_the_inequality_are_found_out() {
    let sound = Profile::Fast.params();
    let slow = std::env::var_os("PGBATON_TEST_SLOW").is_some_and(|value| value == "1");
    // What lacks only the time of the fencing is found in one of some thousand runs.
    let (grace, seeds) = if slow { (sound.lease, 10_000) } else { (sound.lease / 2, 400) };
    let short = Params { grace, ..sound };
    let late = Params { fencing: 8 * sound.fencing, ..sound };
    for (name, params) in [("a short grace", short), ("a late fencer", late)] {
        let found = (0..seeds).find_map(|seed| {
            let wrong = Cluster::new(params, Shape { data: 3 }, seed, false).run().err()?;
            wrong.contains("accept writes").then(|| format!("seed {seed}: {wrong}"))
        });
        println!("{name}: {}", found.expect("two primaries"));
    }
}

#[test]
fn three_nodes_with_data() {
    run("three data nodes, default profile", Profile::Default.params(), Shape { data: 3 });
}

#[test]
fn three_nodes_with_data_and_the_fast_profile() {
    run("three data nodes, fast profile", Profile::Fast.params(), Shape { data: 3 });
}

#[test]
fn two_nodes_and_a_witness() {
    run("two data nodes and a witness, default profile", Profile::Default.params(), Shape { data: 2 });
}

#[test]
fn two_nodes_and_a_witness_with_the_fast_profile() {
    run("two data nodes and a witness, fast profile", Profile::Fast.params(), Shape { data: 2 });
}
