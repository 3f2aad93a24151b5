//! Failures of real clusters, replayed: acknowledged writes are recorded, and which nodes accept writes is watched all the time.
//!
//! Where what is replayed; a name before the colon is another file of tests.
//!
//! | What happens | Test |
//! |---|---|
//! | A standby in maintenance, and a switchover without it | `a_standby_in_maintenance_does_not_stop_the_writers` |
//! | The role goes round and round under load | `ten_switchovers_in_a_row` |
//! | The machine of the primary dies and returns | `a_primary_whose_machine_returns_ends_as_a_standby` |
//! | The candidate is registered and does not run | `a_candidate_that_is_down_is_refused` |
//! | Primary and successor die, and return in the wrong order | `the_older_branch_is_not_promoted_without_confirmation` |
//! | Primary and a synchronous standby die at once | `the_survivor_of_two_losses_says_that_data_may_be_missing` |
//! | A standby was promoted by hand | `a_standby_that_was_promoted_by_hand_is_detected_and_attached_again` |
//! |  | `show: promoted_by_hand_and_the_old_primary_returns` |
//! | The primary does not start with its new settings | `a_primary_that_does_not_start_with_its_settings_is_replaced_and_returns` |
//! | Data of another cluster; a plain copy | `a_foreign_directory_is_refused_and_a_plain_copy_accepted` |
//! |  | `clone: directories_that_are_not_ours_are_refused` |
//! | A node is unregistered: live, dead, the primary | `register: unregister_removes_the_record_and_its_own_slot_and_nothing_else` |
//! | Writes on the old primary after the failover | `rejoin: a_diverged_primary_is_rewound` |
//! | The primary cannot run crash recovery of node | `a_primary_that_cannot_recover_is_replaced_and_cloned_anew` |
//! | A standby received nothing when the primary died | `the_standby_with_more_wal_is_promoted_and_nothing_is_lost` |
//! | How long no node accepts writes at a switchover | `there_and_back_many_times_with_the_gaps_measured` |
//! | The data of the running primary are removed | `a_primary_whose_data_were_removed_is_replaced_and_cloned_anew` |
//! | The archiver hangs at a switchover | `an_archiver_that_hangs_does_not_hold_up_the_promotion` |
//! | The standby is cut off when the primary stops | `switchover: if_the_last_wal_does_not_arrive_the_old_primary_is_primary_again` |
//! | A rejoin right after a promotion | `rejoin: a_rewind_waits_for_a_source_whose_control_file_shows_the_old_timeline` |
//! | Two promotions to the same timeline | `a_node_of_another_history_on_the_same_timeline_neither_follows_nor_registers` |
//! |  | `rejoin: two_promotions_to_the_same_timeline_are_distinguished` |
//! | The WAL for a rewind is recycled, with an archive | `rejoin: wal_that_is_gone_comes_from_the_archive` |
//! | The same without one | `rejoin: without_an_archive_only_a_new_clone_helps_and_the_old_directory_stays` |
//! | Files that pg_rewind cannot write | `rejoin: files_that_pg_rewind_cannot_write_are_reported_before_anything_changes` |
//! | Packets to the primary are lost | `a_primary_behind_a_black_hole_is_given_up_within_the_configured_time` |
//! | The primary's postmaster hangs, at a promotion | `a_primary_that_a_sibling_streams_from_is_alive` |
//! |  | `promote: a_hung_primary_whose_host_is_unreachable_requires_the_decision_of_the_operator` |
//! | The same at a switchover | `switchover: a_primary_that_cannot_be_queried_stays_the_primary` |
//! | The same in the middle of one | `switchover: no_standby_is_promoted_while_the_postmaster_hangs_at_the_stop` |
//! | The primary rejects connections | `promote: a_promotion_is_refused_while_the_primary_is_alive` |
//! |  | `switchover: a_primary_that_cannot_be_queried_stays_the_primary` |
//! | Every connection of the primary is taken | `a_primary_without_a_free_connection_is_alive` |
//! | Two promotions at the same time | `promote: two_promotions_at_the_same_time_make_one_primary` |

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    self, Fingerprint, Ledger, Nodes, Observer, Output, SOON, StopMode, TestServer, can_unshare, installed,
    metadata, postgres, run_tool,
};

const SLOTS: &str = "SELECT coalesce(string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name), '') FROM pg_replication_slots";

/// The role goes round and round under load: nothing is lost, no slot is left over, one timeline more each time.
#[test]
fn ten_switchovers_in_a_row() {
    let rounds = if support::slow() { 10 } else { 4 };
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
    let mut primary = 1;
    for round in 1..=rounds {
        let next = primary % 3 + 1;
        let output = nodes.node(next).pgbaton(["--json", "standby", "switchover"]).run();
        output.code(0);
        assert_eq!(output.json()["data"]["timeline"], round + 1, "{output:?}");
        for id in 1..=3 {
            let others: Vec<String> = (1..=3)
                .filter(|other| *other != id)
                .map(|other| format!("repmgr_slot_{other} true"))
                .collect();
            let expected = if id == next { others.join(", ") } else { String::new() };
            nodes.node(id).wait_until(SLOTS, &expected, SOON);
        }
        primary = next;
    }
    let record = ledger.end();
    observer.assert_never_two();
    for id in 1..=3 {
        if id != primary {
            nodes.node(id).wait_for_replay_of(nodes.node(primary));
        }
        record.assert_kept_by(nodes.node(id));
    }
}

/// A standby that is registered and not running cannot be the new primary.
#[test]
fn a_candidate_that_is_down_is_refused() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let two = nodes.node(2);
    two.stop(StopMode::Fast);
    two.pgbaton(["standby", "switchover"]).run().code(6).says("could not connect to node \"node2\"");
    nodes.node(1).kill9();
    two.pgbaton(["standby", "promote"]).run().code(6);
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
}

/// The primary dies, its successor dies too, and they come back in the wrong order.
#[test]
fn the_older_branch_is_not_promoted_without_confirmation() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // node3 is away while node2 takes over.
    three.wait_for_replay_of(one);
    three.stop(StopMode::Fast);
    one.kill9();
    two.pgbaton(["standby", "promote"]).run().code(0);
    two.psql("CREATE TABLE of_the_successor ()");
    two.stop(StopMode::Fast);
    three.start();
    // What it has seen says only that something may be missing; what node2 has is unknown while it is down.
    two.start();
    let output = three.pgbaton(["standby", "promote", "--force", "--accept-data-loss"]).run();
    output.code(31).says("node \"node2\" is a primary and accepts writes");
    three.pgbaton(["standby", "follow"]).run().code(0);
    three.wait_for_replay_of(two);
    assert_eq!(nodes.primaries(), ["node2"]);
}

/// The archiver hangs: the old primary lingers, the role moves all the same, and the backlog is reported.
#[test]
fn an_archiver_that_hangs_does_not_hold_up_the_promotion() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.append_conf("archive_mode = on\narchive_command = 'sleep 3; false'\n");
    one.restart();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    one.psql("SELECT pg_switch_wal()");
    let output = two.pgbaton(["--json", "standby", "switchover"]).run();
    let code = output.status.code().unwrap();
    assert!(code == 0 || code == 22, "{output:?}");
    assert_eq!(nodes.primaries(), ["node2"]);
    let outage = output.json()["data"]["outage_s"].as_f64().unwrap();
    let wall = output.json()["data"]["wall_s"].as_f64().unwrap();
    assert!(outage < wall, "{output:?}");
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(two);
}

/// Every connection of the primary is taken: it is alive, and no standby is promoted.
#[test]
fn a_primary_without_a_free_connection_is_alive() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.append_conf("max_connections = 5\nsuperuser_reserved_connections = 3\nmax_wal_senders = 3\n");
    one.restart();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    let psql = one.pg.tool("psql");
    let take = || {
        let mut command = support::clean_command(&psql);
        command.args(["-XAtq", "-d", &one.conninfo(), "-c", "SELECT pg_sleep(60)"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut taken: Vec<_> = (0..10).map(|_| take()).collect();
    // The last place may be free for a moment whenever another session has used it: so the attempt is repeated.
    support::wait_for("every connection to be taken", SOON, || {
        taken.push(take());
        one.try_psql_as("postgres", "postgres", "SELECT 1").stderr.contains("too many clients")
    });
    let output = two.pgbaton(["standby", "promote", "--force", "--accept-data-loss"]).run();
    output.code(31).says("the primary \"node1\" is alive").says("too many clients");
    for process in &mut taken {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(two.psql("SELECT pg_is_in_recovery()"), "t");
}

/// The primary cannot be queried, but a sibling still streams from it.
#[test]
fn a_primary_that_a_sibling_streams_from_is_alive() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // Its postmaster is hung: new connections are accepted by the kernel and nothing comes. The WAL sender of node3 lives on.
    let sender_of_two = one.psql("SELECT pid FROM pg_stat_replication WHERE application_name = 'node2'");
    one.freeze_postmaster();
    let pid = rustix::process::Pid::from_raw(sender_of_two.parse().unwrap()).unwrap();
    support::send(pid, Signal::KILL);
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "0", SOON);
    let output = two.pgbaton(["standby", "promote", "--force"]).run();
    output.code(31).says("streams from \"node1\"");
    assert!(three.is_running());
    one.thaw();
}

/// The WAL receiver of one standby is stopped, writes go on, the primary dies: the other one is the one to promote.
#[test]
fn the_standby_with_more_wal_is_promoted_and_nothing_is_lost() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let observer = Observer::begin(&nodes.servers);
    let receiver = three.process_titled("walreceiver");
    support::send(receiver, Signal::STOP);
    one.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
    two.wait_for_replay_of(one);
    one.kill9();
    support::send(receiver, Signal::CONT);
    three.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    let ahead = three.psql("SELECT to_regclass('t') IS NOT NULL");
    let output = three.pgbaton(["standby", "promote"]).run();
    if ahead == "f" {
        output.code(32).says("standby \"node2\" has more WAL");
        two.pgbaton(["standby", "promote"]).run().code(0);
        three.wait_for_replay_of(two);
    }
    assert_eq!(three.psql("SELECT count(*) FROM t"), "1000");
    observer.assert_never_two();
}

// ---- a primary that is lost, and what becomes of it -------------------------------------------------------------------

/// Has commits wait until a standby has them, so that a crash loses none.
fn synchronous(server: &TestServer, names: &str) {
    server.psql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
    server.reload();
    server.wait_until("SHOW synchronous_standby_names", names, SOON);
    server.wait_until(
        "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')",
        "t",
        SOON,
    );
}

/// Rejoins a node and returns what was said.
#[track_caller]
fn rejoined(server: &TestServer, more: &[&str]) -> Output {
    let output = server.pgbaton(["node", "rejoin", "--yes"]).args(more).run();
    output.code(0);
    output
}

/// Does what the hint of a rejoin says where there is nothing left to rejoin with.
#[track_caller]
fn cloned_anew(server: &TestServer, primary: &TestServer) {
    let conninfo = primary.conninfo();
    let clone = ["standby", "clone", "-d", &conninfo, "--start", "--register", "--force"];
    let output = server.pgbaton(clone).run();
    output.code(0);
}

/// What a standby of this primary is.
#[track_caller]
fn assert_standby(server: &TestServer, primary: &TestServer) {
    server.wait_until("SELECT pg_is_in_recovery()", "t", SOON);
    let streams = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{}' AND state = 'streaming'",
        server.name
    );
    primary.wait_until(&streams, "1", SOON);
    let refused = server.try_psql_as("postgres", "postgres", "CREATE TABLE on_a_standby ()");
    assert!(refused.stderr.contains("read-only transaction"), "{refused:?}");
}

/// The machine of the primary dies and returns. If it is started as it was, that is detected, and one command fixes it.
#[test]
fn a_primary_whose_machine_returns_ends_as_a_standby() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    synchronous(one, "node2");
    one.pgbaton(["cluster", "show"]).run().code(0);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(one, &nodes.servers);
    one.wait_until("SELECT count(*) > 20 FROM ledger", "t", SOON);
    one.kill9();
    one.out_of_reach(|| two.pgbaton(["standby", "promote"]).run())
        .code(0)
        .says("must not be started as a primary")
        .says("pgbaton node rejoin");
    two.psql("CREATE TABLE of_the_successor ()");
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(two);

    one.start();
    for server in [one, two] {
        let show = server.pgbaton(["cluster", "show"]).run();
        show.code(25).says("pgbaton node rejoin");
    }
    rejoined(one, &[]);
    assert_standby(one, two);
    one.wait_for_replay_of(two);
    record.assert_kept_by(one);
    two.pgbaton(["cluster", "show"]).run().code(0);
}

/// The primary's configuration is broken and the server restarted: the standby is promoted, and the node returns when that is fixed.
#[test]
fn a_primary_that_does_not_start_with_its_settings_is_replaced_and_returns() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let ledger = Ledger::begin(one, &nodes.servers);
    one.wait_until("SELECT count(*) > 20 FROM ledger", "t", SOON);
    one.pgbaton(["cluster", "show"]).run().code(0);
    let good = std::fs::read_to_string(one.data.join("postgresql.conf")).unwrap();
    one.append_conf("shared_preload_libraries = 'no_such_library'");
    let output = one.pgbaton(["node", "restart"]).run();
    output.code(4).says("no_such_library");
    let output = two.pgbaton(["--json", "standby", "promote"]).run();
    assert_eq!(output.code(0).json()["data"]["wal_lost_bytes"], 0, "{output:?}");
    let output = one.pgbaton(["node", "rejoin"]).run();
    output.says("no_such_library");
    assert_ne!(output.status.code(), Some(0));
    std::fs::write(one.data.join("postgresql.conf"), good).unwrap();
    rejoined(one, &[]);
    assert_standby(one, two);
    let record = ledger.end();
    one.wait_for_replay_of(two);
    record.assert_kept_by(one);
}

/// After a crash the primary cannot start any more: the standby takes over, and a new clone brings the node back.
#[test]
fn a_primary_that_cannot_recover_is_replaced_and_cloned_anew() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    synchronous(one, "node2");
    let ledger = Ledger::begin(one, &nodes.servers);
    one.wait_until("SELECT count(*) > 20 FROM ledger", "t", SOON);
    one.pgbaton(["cluster", "show"]).run().code(0);
    one.kill9();
    for segment in std::fs::read_dir(one.data.join("pg_wal")).unwrap() {
        let path = segment.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let output = one.pgbaton(["node", "start"]).run();
    output.code(4).says("could not locate a valid checkpoint record");
    two.pgbaton(["standby", "promote"]).run().code(0);
    let show = two.pgbaton(["cluster", "show"]).run();
    assert!(show.code(25).stdout.contains("- failed"), "{show:?}");
    let output = one.pgbaton(["node", "rejoin", "--yes"]).run();
    output.code(1).says("There is no WAL segment").says("pgbaton standby clone -d");
    std::fs::rename(&one.data, one.dir.join("data.broken")).unwrap();
    cloned_anew(one, two);
    assert_standby(one, two);
    let record = ledger.end();
    one.wait_for_replay_of(two);
    record.assert_kept_by(one);
}

/// The data directory of the running primary is removed. The server is lost, although it responds for a while.
#[test]
fn a_primary_whose_data_were_removed_is_replaced_and_cloned_anew() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    synchronous(one, "node2");
    two.pgbaton(["cluster", "show"]).run().code(0);
    let ledger = Ledger::begin(one, &nodes.servers);
    one.wait_until("SELECT count(*) > 20 FROM ledger", "t", SOON);
    let postmaster = one.postmaster().unwrap();
    std::fs::remove_dir_all(&one.data).unwrap();
    // As long as it is there, no standby is promoted.
    let output = two.pgbaton(["standby", "promote", "--force"]).run();
    output.code(31).says("the primary \"node1\" is alive");
    one.pgbaton(["node", "stop"]).run().code(1).says("does not exist");
    support::send(postmaster, Signal::QUIT);
    support::wait_for("the server to end", SOON, || one.processes().is_empty());
    let output = two.pgbaton(["standby", "promote"]).run();
    output.code(0);
    let output = one.pgbaton(["node", "rejoin", "--yes"]).run();
    output.code(6).says("pgbaton node rejoin -d 'host=HOST");
    let output = one.pgbaton(["node", "rejoin", "--yes", "-d", &two.conninfo()]).run();
    output.code(1).says("does not exist").says("pgbaton standby clone -d");
    cloned_anew(one, two);
    assert_standby(one, two);
    let record = ledger.end();
    record.assert_kept_by(two);
}

/// The primary and one of two standbys die at once; each commit had waited for one of the two. The other one may lack some.
#[test]
fn the_survivor_of_two_losses_says_that_data_may_be_missing() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    for server in [two, three] {
        server.psql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (node1, node2, node3)'");
        server.reload();
    }
    synchronous(one, "ANY 1 (node2, node3)");
    three.pgbaton(["cluster", "show"]).run().code(0);
    let ledger = Ledger::begin(one, &nodes.servers);
    one.wait_until("SELECT count(*) > 20 FROM ledger", "t", SOON);
    one.kill9();
    two.kill9();
    drop(ledger);
    // Gone with its disk: else it would be read from its files.
    std::fs::rename(&one.data, one.dir.join("gone")).unwrap();
    let output = three.pgbaton(["standby", "promote"]).run();
    output
        .code(1)
        .says("commits on the new primary would wait forever")
        .says("repeat the command with --force");
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
    let output = three.pgbaton(["--json", "standby", "promote", "--force", "--accept-data-loss"]).run();
    output.code(0).says("node \"node2\" is unreachable").says("may be missing on this node");
    // Unknown is no zero.
    assert!(output.json()["data"]["wal_lost_bytes"].is_null(), "{output:?}");
    three.psql("ALTER SYSTEM SET synchronous_standby_names = ''");
    three.reload();
    three.psql("CREATE TABLE unblocked ()");
}

/// A standby that is taken out for a while delays no client, and comes back by itself.
#[test]
fn a_standby_in_maintenance_does_not_stop_the_writers() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    synchronous(one, "ANY 1 (node2, node3)");
    let ledger = Ledger::begin(one, &nodes.servers);
    two.pgbaton(["node", "stop"]).run().code(0);
    let seen = one.psql("SELECT max(n) FROM ledger");
    one.wait_until(&format!("SELECT max(n) > {seen} FROM ledger"), "t", SOON);
    // The switchover goes without it, names it, and keeps its place.
    let output = three.pgbaton(["standby", "switchover"]).run();
    output.code(0).says("node \"node2\" is unreachable").says("pgbaton standby follow");
    two.pgbaton(["node", "start"]).run().code(0);
    let output = two.pgbaton(["standby", "follow"]).run();
    output.code(0);
    assert_standby(two, three);
    let record = ledger.end();
    two.wait_for_replay_of(three);
    record.assert_kept_by(two);
    three.pgbaton(["cluster", "show"]).run().code(0);
}

// ---- diverged histories -----------------------------------------------------------------------------------------------

/// A standby was promoted by hand and accepted writes: it is no candidate, and it blocks every other one.
#[test]
fn a_standby_that_was_promoted_by_hand_is_detected_and_attached_again() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    three.promote();
    three.psql("CREATE TABLE of_the_fork ()");
    one.psql("CREATE TABLE of_the_primary ()");
    two.pgbaton(["cluster", "show"]).run().code(25).says("node3");
    for args in [["standby", "switchover"], ["standby", "promote"]] {
        let output = two.pgbaton(args).run();
        output.code(31).says("Nothing was changed.");
    }
    one.kill9();
    let output = two.pgbaton(["standby", "promote", "--force"]).run();
    output.code(31).says("node \"node3\" is a primary and accepts writes");
    // The choice is the operator's: it is stopped, and the other lineage goes on.
    three.stop(StopMode::Fast);
    let output = two.pgbaton(["standby", "promote", "--force"]).run();
    output.code(32).says("node \"node3\" was last seen as the primary on a newer timeline");
    two.pgbaton(["standby", "promote", "--accept-data-loss"]).run().code(0);
    // Both are on timeline 2 now, of two histories: no rewind can distinguish them.
    let output = three.pgbaton(["node", "rejoin", "--yes"]).run();
    output.code(32).says("on the same timeline").says("--reclone");
    rejoined(three, &["--reclone"]);
    assert_standby(three, two);
    assert_eq!(
        three.psql("SELECT to_regclass('of_the_fork') IS NULL AND to_regclass('of_the_primary') IS NOT NULL"),
        "t"
    );
}

/// Both standbys were promoted by hand, to the same timeline. One of them is made a standby again, which it must not be.
#[test]
fn a_node_of_another_history_on_the_same_timeline_neither_follows_nor_registers() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    one.stop(StopMode::Fast);
    two.promote();
    three.promote();
    three.stop(StopMode::Fast);
    two.pgbaton(["primary", "register", "--force"]).run().code(0);
    std::fs::write(three.data.join("standby.signal"), "").unwrap();
    three.start();
    let before = three.psql("SHOW primary_conninfo");
    let output = three.pgbaton(["standby", "follow", "--force"]).run();
    output.code(32).says("pgbaton node rejoin").says("Nothing was changed.");
    let output = three.pgbaton(["standby", "register", "--force", "--upstream-node-id=2"]).run();
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(three.psql("SHOW primary_conninfo"), before);
    assert_eq!(two.psql("SELECT count(*) FROM pg_stat_replication"), "0");
}

// ---- nodes that come from elsewhere -----------------------------------------------------------------------------------

/// Another cluster's data are no standby of this one. A plain copy of the primary's is, whatever tool has made it.
#[test]
fn a_foreign_directory_is_refused_and_a_plain_copy_accepted() {
    let mut nodes = Nodes::new(&postgres(15).unwrap(), 0);
    let one = nodes.node(1);
    let two = nodes.cluster.foreign("node2");
    two.node_config(2, "");
    let port = one.port.to_string();
    let clone =
        ["standby", "clone", "-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr", "--force"];
    two.pgbaton(clone).run().code(1).says("a server is running");
    two.stop(StopMode::Fast);
    let before = Fingerprint::of(&[&two], &[]);
    two.pgbaton(clone)
        .run()
        .code(1)
        .says("is a data directory of another cluster")
        .says("Nothing was changed.");
    before.assert_same(&Fingerprint::of(&[&two], &[]));
    two.start();
    let output = two.pgbaton(["standby", "register", "--force"]).run();
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(metadata(one, "SELECT count(*) FROM repmgr.nodes"), "1");
    two.stop(StopMode::Fast);

    std::fs::remove_dir_all(&two.data).unwrap();
    one.stop(StopMode::Fast);
    run_tool(Path::new("/bin/cp"), ["-a".as_ref(), one.data.as_os_str(), two.data.as_os_str()]).code(0);
    one.start();
    std::fs::write(two.data.join("standby.signal"), "").unwrap();
    two.append_conf(&format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=repmgr application_name=node2'",
        one.port
    ));
    two.start();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    two.pgbaton(["standby", "register"]).run().code(0);
    nodes.servers.push(two);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let output = two.pgbaton(["standby", "switchover"]).run();
    output.code(0);
    assert_standby(one, two);
    two.pgbaton(["cluster", "show"]).run().code(0);
}

// ---- time -------------------------------------------------------------------------------------------------------------

/// How long no node accepted writes, over many switchovers. No limit is checked: the figures are for the reader.
#[test]
fn there_and_back_many_times_with_the_gaps_measured() {
    if !support::slow() {
        return;
    }
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let observer = Observer::begin(&nodes.servers);
    let ledger = Ledger::begin(nodes.node(1), &nodes.servers);
    let mut rounds = Vec::new();
    for round in 0..20 {
        let next = nodes.node(2 - round % 2);
        let begun = Instant::now();
        next.pgbaton(["standby", "switchover"]).run().code(0);
        rounds.push((begun, Instant::now()));
    }
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(nodes.node(1));
    let mut gaps: Vec<Duration> =
        rounds.iter().map(|(begun, ended)| record.longest_gap_within(*begun, *ended)).collect();
    gaps.sort();
    eprintln!("20 switchovers: clients could not write for {:.3?} (p50), {:.3?} (p99)", gaps[9], gaps[19]);
}

/// Packets to the host of the primary are lost: there is no response, not even a refusal.
#[test]
fn a_primary_behind_a_black_hole_is_given_up_within_the_configured_time() {
    if installed("/usr/sbin/ip", "iproute2").is_none() || !can_unshare() {
        return;
    }
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // In that network, 10.9.9.2 is an address to which packets are sent, and from which nothing comes.
    let network = "PATH=$PATH:/usr/sbin && ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add 10.9.9.1/24 dev v0 \
                   && ip link set v0 up && ip link set v1 up && ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:02 dev v0";
    let hole = "host=10.9.9.2 port=5432 user=repmgr dbname=repmgr";
    metadata(one, &format!("UPDATE repmgr.nodes SET conninfo = '{hole}' WHERE node_id = 1"));
    for (id, server) in [(2, two), (3, three)] {
        let conninfo =
            format!("host={} port={} user=repmgr dbname=repmgr", server.socket_dir.display(), server.port);
        metadata(one, &format!("UPDATE repmgr.nodes SET conninfo = '{conninfo}' WHERE node_id = {id}"));
        support::configure(server, id, &server.name, &conninfo, "");
        server.set_hba("local all all trust\nlocal replication all trust\n");
        server.reload();
    }
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    let run = |args: &[&str]| {
        let output = two.pgbaton(args).args(["--timeout", "2"]).behind_network(network).run();
        assert!(output.took < Duration::from_secs(30), "{output:?}");
        output
    };
    // The way is broken, and the primary is not: the standbys stream from it.
    let output = run(&["standby", "promote", "--force"]);
    output.code(31).says("Nothing was changed.");
    let output = run(&["standby", "switchover"]);
    output.code(6).says("Nothing was changed.");
    run(&["cluster", "show"]);
    one.kill9();
    for server in [two, three] {
        server.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "0", SOON);
    }
    let output = run(&["standby", "promote"]);
    output.code(0).says("node \"node1\" is unreachable");
    three.wait_for_replay_of(two);
    assert_eq!(nodes.primaries(), ["node2"]);
}
