//! `standby promote` on real servers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgbaton::system::clock;
use pgbaton::system::lock::{LocalLock, LocalLockHolder};
use rustix::process::Signal;

use crate::support::{
    self, Fingerprint, Nodes, Output, Pg, SOON, Side, Stepped, StopMode, TestServer, executed, planned,
    postgres, versions, wait_for,
};

const NODES: &str = "SELECT string_agg(node_id || ' ' || type || ' ' || active || ' ' || coalesce(upstream_node_id::text, '-'), ', ' ORDER BY node_id) FROM repmgr.nodes";

fn tour(pg: &Pg) {
    let nodes = Nodes::new(pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    one.psql_as("repmgr", "repmgr", "CREATE TABLE kept AS SELECT 1 AS a");
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    two.pgbaton(["cluster", "show"]).run().code(0);
    one.kill9();

    let output = two.pgbaton(["--json", "standby", "promote"]).run();
    output.code(0);
    let json = output.json();
    assert_eq!(json["data"]["from_node_id"], 1, "{output:?}");
    assert_eq!(json["data"]["to_node_id"], 2, "{output:?}");
    assert_eq!(json["data"]["timeline"], 2, "{output:?}");
    // It has crashed, but its files can be read here.
    assert_eq!(json["data"]["wal_lost_bytes"], 0, "{output:?}");
    assert_eq!(nodes.primaries(), ["node2"]);
    assert_eq!(
        two.psql_as("repmgr", "repmgr", NODES),
        "1 primary false -, 2 primary true -, 3 standby true 2"
    );
    two.psql_as("repmgr", "repmgr", "INSERT INTO kept VALUES (2)");
    three.wait_for_replay_of(two);
    assert_eq!(three.psql_as("repmgr", "repmgr", "SELECT count(*) FROM kept"), "2");
    assert_eq!(two.psql("SELECT slot_name || active FROM pg_replication_slots"), "repmgr_slot_3true");
    assert_eq!(
        two.psql_as("repmgr", "repmgr", "SELECT timeline || ' ' || node_id FROM pgbaton.promotion"),
        "2 2"
    );
    assert_eq!(
        two.psql_as(
            "repmgr",
            "repmgr",
            "SELECT node_id || ' ' || successful FROM repmgr.events WHERE event = 'standby_promote'"
        ),
        "2 true"
    );
    // The control file shows the new timeline already: a rewind that starts now is not misled.
    assert_eq!(two.control_data("Latest checkpoint's TimeLineID"), "2");

    two.pgbaton(["cluster", "show"])
        .run()
        .code(25)
        .says("\"pgbaton node rejoin\" on \"node1\"")
        .says("Next: pgbaton node rejoin  # on \"node1\"");
    // Again: it is a primary already.
    let again = two.pgbaton(["standby", "promote"]).run();
    again.code(1).says("is a primary already").says("Nothing was changed.");
}

#[test]
fn a_standby_is_promoted_and_its_sibling_follows() {
    tour(&postgres(15).unwrap());
}

#[test]
fn short_tour_on_other_versions() {
    for pg in versions().iter().filter(|pg| pg.major != 15) {
        tour(pg);
    }
}

#[test]
fn a_server_of_another_cluster_at_the_address_of_the_old_primary_does_not_prevent_a_promotion() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let foreign = nodes.cluster.foreign("foreign");
    let moved = format!("UPDATE repmgr.nodes SET conninfo = '{}' WHERE node_id = 1", foreign.conninfo());
    one.psql_as("repmgr", "repmgr", &moved);
    one.stop(StopMode::Fast);
    let another = "a server of another cluster responds at its address";
    two.pgbaton(["standby", "switchover"]).run().code(6).says(another).says("Nothing was changed.");
    two.pgbaton(["standby", "promote"]).run().code(0).says(another);
    assert_eq!(two.psql("SELECT pg_is_in_recovery()"), "f");
    two.pgbaton(["primary", "unregister", "--node-id=1"]).run().code(0);
}

#[test]
fn a_promotion_is_refused_while_the_primary_is_alive() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let refused = |what: &str, args: &[&str]| {
        let output = two.pgbaton(args).run();
        output.code(31).says(what).says("Nothing was changed.");
        assert_eq!(nodes.primaries(), ["node1"], "{output:?}");
        assert!(!output.stderr.contains("missing on this node"), "{output:?}");
    };
    refused("is a primary and accepts writes", &["standby", "promote"]);
    refused("is a primary and accepts writes", &["standby", "promote", "--force", "--accept-data-loss"]);
    refused("is a primary and accepts writes", &["standby", "promote", "--dry-run"]);

    // All connections are rejected, but it is there.
    one.set_hba(
        "local all all trust\nhost all all 127.0.0.1/32 reject\nhost replication all 127.0.0.1/32 trust\n",
    );
    one.reload();
    refused("the primary \"node1\" is alive", &["standby", "promote", "--force"]);
}

/// Ends what streams to node2 from a primary that is frozen.
fn frozen(nodes: &Nodes) {
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.pgbaton(["cluster", "show"]).run().code(0);
    one.freeze();
    two.psql("ALTER SYSTEM SET wal_receiver_timeout = '1s'");
    two.psql("ALTER SYSTEM SET wal_retrieve_retry_interval = '10min'");
    two.reload();
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "0", SOON);
}

/// The step that keeps the old primary down.
const KEEPS_DOWN: &str =
    "write standby.signal into the data directory of \"node1\", so that its server cannot start as a primary";

fn signal(server: &TestServer) -> PathBuf {
    server.data.join("standby.signal")
}

#[test]
fn a_hung_primary_is_not_replaced_while_its_host_shows_that_it_runs() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    frozen(&nodes);
    for more in [&[][..], &["--dry-run"], &["--force", "--accept-data-loss"]] {
        let output = two.pgbaton(["standby", "promote"]).args(more).run();
        output.code(31).says("the server of the primary \"node1\" is running").says("Nothing was changed.");
    }
    assert!(!signal(one).exists());
    one.thaw();
    assert_eq!(nodes.primaries(), ["node1"]);
}

#[test]
fn a_hung_primary_whose_host_is_unreachable_requires_the_decision_of_the_operator() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    frozen(&nodes);
    one.out_of_reach(|| {
        let output = two.pgbaton(["standby", "promote"]).run();
        output
            .code(31)
            .says("cannot determine whether the primary \"node1\" is alive")
            .says("repeat the command with --force");
        let output = two.pgbaton(["standby", "promote", "--force"]).run();
        output
            .code(0)
            .says("overridden by --force")
            .says("the host of the primary \"node1\" could not be examined");
    });
    assert!(!signal(one).exists());
    one.kill9();
    assert_eq!(nodes.primaries(), ["node2"]);
}

/// Three servers, of which the primary is dead and node3 rejects all connections.
fn with_a_sibling_that_rejects(make: impl FnOnce(&TestServer, &TestServer)) {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    make(one, three);
    if one.is_running() {
        one.stop(StopMode::Immediate);
    }
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    let dry = two.pgbaton(["standby", "promote", "--dry-run"]).run();
    assert!(dry.code(0).stdout.contains(KEEPS_DOWN), "{dry:?}");
    assert!(!signal(one).exists());
    let output = two.pgbaton(["standby", "promote"]).run();
    output.code(0).says("On its host it runs in recovery.").says("\"node1\" can start only as a standby");
    assert_eq!(nodes.primaries(), ["node2"]);
    // When it is started now.
    one.start();
    assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn a_sibling_without_hot_standby_does_not_prevent_a_promotion() {
    with_a_sibling_that_rejects(|_, three| {
        three.append_conf("hot_standby = off");
        three.stop(StopMode::Fast);
        start_only(three);
        wait_for("recovery", SOON, || three.control_data("Database cluster state") == "in archive recovery");
    });
}

#[test]
fn a_sibling_that_rejects_connections_does_not_prevent_a_promotion() {
    with_a_sibling_that_rejects(|_, three| {
        three.prepend_hba("host all repmgr 127.0.0.1/32 reject\n");
        three.reload();
    });
}

/// A restored base backup that waits for WAL of the dead primary.
#[test]
fn a_sibling_that_never_finishes_starting_does_not_prevent_a_promotion() {
    with_a_sibling_that_rejects(|one, three| {
        three.stop(StopMode::Fast);
        std::fs::rename(&three.data, three.dir.join("old")).unwrap();
        let source = one.conninfo_as("repmgr", "postgres");
        let data = three.data.display().to_string();
        let args = ["-d", &source, "-D", &data, "-R", "-X", "none", "--no-slot", "-c", "fast", "--no-sync"];
        support::run_tool(&three.pg.tool("pg_basebackup"), args).code(0);
        std::fs::copy(three.dir.join("old/postgresql.conf"), three.data.join("postgresql.conf")).unwrap();
        one.stop(StopMode::Immediate);
        start_only(three);
        wait_for("the start", SOON, || {
            three.log_tail().contains("starting backup recovery")
                || three.log_tail().contains("entering standby mode")
        });
    });
}

/// Starts a server that will not accept connections.
fn start_only(server: &TestServer) {
    let (data, log) = (server.data.display().to_string(), server.log.display().to_string());
    let args = ["-s", "-D", &data, "-l", &log, "-W", "start"];
    support::run_tool(&server.pg.tool("pg_ctl"), args).code(0);
    wait_for("the postmaster", SOON, || server.is_running());
}

#[test]
fn nothing_is_written_on_the_host_of_the_dead_primary_by_a_promotion_that_does_not_begin() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.kill9();
    let there = one.dir.join("state");
    // Found when the operation is to begin: another one is open on this node.
    let open = two.dir.join("state/operations/20261121T110000.000Z-ffff.jsonl");
    let leave = || {
        std::fs::create_dir_all(open.parent().unwrap()).unwrap();
        std::fs::write(&open, include_str!("../fixtures/journal/1-switchover-killed.jsonl")).unwrap();
    };
    leave();
    let was_written = |args: &[&str]| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if signal(one).exists() {
                        return true;
                    }
                    std::thread::yield_now();
                }
                false
            });
            let output = two.pgbaton(["standby", "promote"]).args(args).run();
            over.store(true, Ordering::Relaxed);
            output.code(30).says("is unfinished on this node");
            watcher.join().unwrap()
        })
    };
    assert!(!was_written(&["--dry-run"]));
    assert!(!was_written(&[]));
    assert!(!signal(one).exists());
    std::fs::remove_file(&open).unwrap();

    // Another operation runs there.
    let me =
        LocalLockHolder { pid: std::process::id(), command: "node start".into(), started_at: clock::now() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let taken = runtime.block_on(LocalLock::acquire(&there, &me)).unwrap();
    for more in [&["--dry-run"][..], &["--force"]] {
        let output = two.pgbaton(["standby", "promote"]).args(more).run();
        output.code(30).says("another operation is running on node \"node1\"").says("Nothing was changed.");
    }
    assert!(!signal(one).exists());
    drop(taken);
    assert_eq!(nodes.primaries(), Vec::<&str>::new());

    // What was there before stays.
    std::fs::write(signal(one), "").unwrap();
    leave();
    two.pgbaton(["standby", "promote"]).run().code(30);
    assert!(signal(one).exists());
    std::fs::remove_file(signal(one)).unwrap();
    std::fs::remove_file(&open).unwrap();
    two.pgbaton(["standby", "promote"]).run().code(0);
    assert!(signal(one).exists());
    assert_eq!(nodes.primaries(), ["node2"]);
}

/// What the journal says when the old primary is kept down.
const KEPT_DOWN: &str = r#""step":"keep_down_1","stage":"forward","mark":"done""#;

/// Kills a promotion when standby.signal is on the host of the old primary, and the journal does not say yet that it is.
fn killed_at_the_signal(nodes: &Nodes) {
    let (one, two) = (nodes.node(1), nodes.node(2));
    let mut running = Stepped::start(two.pgbaton(["standby", "promote"]));
    assert!(running.run_to(KEPT_DOWN, Side::Before), "the step never came");
    running.kill().wait(SOON);
    assert!(signal(one).exists());
    wait_for("the far end to end", SOON, || LocalLock::holder(&one.dir.join("state")).unwrap().is_none());
}

#[test]
fn a_promotion_that_was_killed_at_the_signal_of_the_old_primary_is_abandoned_and_leaves_nothing_there() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    // It would end the recovery of a standby, and is cleared with it.
    one.psql("ALTER SYSTEM SET recovery_target_name = 'kept'");
    two.pgbaton(["cluster", "show"]).run().code(0);
    one.kill9();
    let settings = || std::fs::read_to_string(one.data.join("postgresql.auto.conf")).unwrap();
    killed_at_the_signal(&nodes);
    assert!(!settings().contains("'kept'"));

    // What the operation has not written stays.
    let written = std::fs::read_to_string(signal(one)).unwrap();
    std::fs::write(signal(one), "").unwrap();
    two.pgbaton(["operation", "abandon"])
        .run()
        .code(0)
        .says("it does not say that this operation has written it");
    assert!(signal(one).exists());
    assert!(written.starts_with("written by pgbaton for the promotion of node \"node2\""), "{written}");
    std::fs::remove_file(signal(one)).unwrap();
    std::fs::write(one.data.join("postgresql.auto.conf"), settings() + "recovery_target_name = 'kept'\n")
        .unwrap();

    killed_at_the_signal(&nodes);
    one.out_of_reach(|| {
        let refused = two.pgbaton(["operation", "abandon"]).run();
        refused
            .code(12)
            .says("standby.signal, which the operation may have written")
            .says("Nothing was changed.");
    });
    assert!(signal(one).exists());
    let dry = two.pgbaton(["operation", "abandon", "--dry-run"]).run();
    dry.code(0).says("remove standby.signal from the data directory of \"node1\"");
    two.pgbaton(["operation", "abandon"]).run().code(0);
    assert!(!signal(one).exists());
    assert!(settings().contains("'kept'"));
    one.start();
    assert_eq!(nodes.primaries(), ["node1"]);
    one.kill9();

    // Interrupted, it goes back by itself; started meanwhile, the server keeps what made it a standby.
    for starts in [false, true] {
        let mut running = Stepped::start(two.pgbaton(["standby", "promote"]));
        assert!(running.run_to(KEPT_DOWN, Side::Before));
        assert!(signal(one).exists());
        if starts {
            start_only(one);
        }
        let output = running.go_on([Signal::INT]).wait(SOON);
        output.code(130).says("remove standby.signal from the data directory of \"node1\"");
        assert_eq!(signal(one).exists(), starts);
        if starts {
            output.says("was started meanwhile; standby.signal stays");
        }
    }
    two.pgbaton(["operation", "abandon"]).run().code(1).says("no operation is unfinished");
}

#[test]
fn a_promotion_that_was_killed_at_the_signal_of_the_old_primary_is_resumed_and_keeps_it_down() {
    for is_gone in [false, true] {
        let nodes = Nodes::new(&postgres(15).unwrap(), 1);
        let (one, two) = (nodes.node(1), nodes.node(2));
        two.pgbaton(["cluster", "show"]).run().code(0);
        one.kill9();
        killed_at_the_signal(&nodes);
        let resumed = || two.pgbaton(["operation", "resume"]).run();
        match is_gone {
            false => {
                resumed().code(0).says(KEEPS_DOWN).says("\"node1\" can start only as a standby");
            }
            true => one.out_of_reach(|| {
                resumed().code(0).says("it stays there: its server starts as a standby");
            }),
        }
        assert_eq!(nodes.primaries(), ["node2"]);
        one.start();
        assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
    }
}

/// A promotion that was cut off after its mark goes on by the same way to the host of the old primary as it was begun.
#[test]
fn a_resumed_promotion_checks_the_host_of_the_old_primary_again() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    // It does not attach again, which alone would show that the old primary is alive.
    two.psql("ALTER SYSTEM SET wal_retrieve_retry_interval = '10min'");
    two.reload();
    one.kill9();
    let program = support::script(&two.dir.join("promote.sh"), "exec sleep 5");
    two.with_configuration(&format!("service_promote_command = \"{}\"", program.display()), || {
        let running = two.pgbaton(["standby", "promote"]).spawn();
        two.wait_for_step("promote");
        running.signal(Signal::KILL);
        running.wait(SOON);
        // What was written there was removed, and the server started.
        wait_for("the far end to end", SOON, || LocalLock::holder(&one.dir.join("state")).unwrap().is_none());
        std::fs::remove_file(signal(one)).unwrap();
        one.start();
        one.freeze();
        let refused = two.pgbaton(["operation", "resume"]).run();
        refused.code(31).says("the server of the primary \"node1\" is running").says("stays open");
        one.thaw();
        assert_eq!(nodes.primaries(), ["node1"]);
        one.kill9();
        assert!(!signal(one).exists());
        let (pg_ctl, data) = (two.pg.tool("pg_ctl"), two.data.display().to_string());
        support::script(&program, &format!("exec {} -D {data} -W promote", pg_ctl.display()));
        two.pgbaton(["operation", "resume"]).run().code(0);
    });
    assert_eq!(nodes.primaries(), ["node2"]);
    one.start();
    assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
}

/// The far end of a switchover that was cut off is stopped in the middle of the shutdown. It would bring its server back as a primary.
#[test]
fn a_frozen_far_end_is_terminated_before_another_server_is_promoted() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let far_end = format!("far-end -f {}", one.config().display());
    let (pg_ctl, data) = (one.pg.tool("pg_ctl"), one.data.display().to_string());
    let freezes = support::script(
        &one.dir.join("stop.sh"),
        &format!("pkill -STOP -f '{far_end}'\nexec {} -D {data} -m fast -W stop", pg_ctl.display()),
    );
    let observer = support::Observer::begin(&nodes.servers);
    one.with_configuration(&format!("service_stop_command = \"{}\"", freezes.display()), || {
        let running = two.pgbaton(["standby", "switchover"]).spawn();
        wait_for("the shutdown", SOON, || !one.is_running());
        running.signal(Signal::KILL);
        running.wait(SOON);
    });
    let far_ends = support::running("pgbaton", &far_end);
    assert_eq!(far_ends.len(), 1);
    for server in [two, three] {
        server.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    }
    three.pgbaton(["standby", "promote"]).run().code(30);
    three.pgbaton(["standby", "promote", "--force"]).run().code(0);
    far_ends.iter().for_each(|pid| support::send(*pid, Signal::CONT));
    wait_for("the far end to be gone", SOON, || support::running("pgbaton", &far_end).is_empty());
    assert!(!one.is_running());
    assert!(signal(one).exists());
    one.start();
    assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
    observer.assert_never_two();
    assert_eq!(nodes.primaries(), ["node3"]);
}

#[test]
fn the_standby_with_more_wal_is_reported() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // Its WAL receiver is stopped: what is written now reaches node3 alone.
    two.stop(StopMode::Fast);
    one.psql("CREATE TABLE t AS SELECT generate_series(1, 100)");
    three.wait_for_replay_of(one);
    one.kill9();
    two.start();
    let output = two.pgbaton(["standby", "promote", "--force"]).run();
    output.code(32).says("standby \"node3\" has more WAL").says("bytes would be lost").says("--node-id 3");
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
    // In the words of repmgr's node service.
    three.pgbaton(["node", "service", "--action=promote"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node3"]);
    let journals = three.pgbaton(["operation", "list", "--json"]).run();
    assert_eq!(journals.json()["data"]["operations"][0]["command"], "standby promote", "{journals:?}");
    two.wait_for_replay_of(three);
    assert_eq!(two.psql("SELECT count(*) FROM t"), "100");
}

/// It did not answer when the promotion was planned, and is back immediately before the request.
#[test]
fn a_standby_with_more_wal_that_returns_meanwhile_is_not_skipped() {
    for pg in versions() {
        let nodes = Nodes::new(&pg, 2);
        let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
        two.stop(StopMode::Fast);
        one.psql("CREATE TABLE t AS SELECT generate_series(1, 100)");
        three.wait_for_replay_of(one);
        three.stop(StopMode::Fast);
        one.kill9();
        two.start();
        let promote = || two.pgbaton(["standby", "promote"]);
        // Its mark is written; the request is not sent yet.
        let mut running = Stepped::start(promote());
        assert!(running.run_to_line(1, Side::After));
        three.start();
        let output = running.go_on([]).wait(SOON);
        output.code(8).says("immediately before the change, does not allow it").says("bytes would be lost");
        assert_eq!(nodes.primaries(), Vec::<&str>::new());
        // What is taken up is judged as one of today.
        promote().run().code(32).says("standby \"node3\" has more WAL");
        assert_eq!(nodes.primaries(), Vec::<&str>::new());
        let output = promote().arg("--accept-data-loss").run();
        // It has WAL that the new primary will never send: it is not repointed, and its own command brings it back.
        output
            .code(0)
            .says("node \"node3\" will not follow")
            .says("run \"pgbaton node rejoin\" on node \"node3\"");
        assert_eq!(nodes.primaries(), ["node2"]);
        assert!(leads_to(three, one));
        three.pgbaton(["node", "rejoin"]).run().code(32);
        three.pgbaton(["node", "rejoin", "--accept-data-loss"]).run().code(0);
        three.wait_for_replay_of(two);
    }
}

#[test]
fn data_is_discarded_only_on_request() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.stop(StopMode::Fast);
    one.psql("CREATE TABLE t AS SELECT generate_series(1, 100)");
    three.wait_for_replay_of(one);
    one.kill9();
    two.start();
    let output = two.pgbaton(["standby", "promote", "--accept-data-loss"]).run();
    output.code(0).says("overridden by --accept-data-loss").says("node \"node3\" will not follow");
    assert_eq!(nodes.primaries(), ["node2"]);
    // What would not stay attached is not taken for attached.
    let follow = three.pgbaton(["standby", "follow"]).run();
    assert_ne!(follow.status.code(), Some(0), "{follow:?}");
}

/// The checkpoint right after the promotion must not find that a slot made just before it keeps too much.
#[test]
fn slots_that_may_keep_little_are_not_lost_on_the_way() {
    let Some(pg) = postgres(18) else { return };
    let nodes = Nodes::new(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    for server in [one, two] {
        server
            .append_conf("max_slot_wal_keep_size = '16MB'\ncheckpoint_timeout = '1h'\nmax_wal_size = '1GB'");
        server.reload();
    }
    one.psql("CREATE TABLE much (n int)");
    for _ in 0..5 {
        one.psql("INSERT INTO much VALUES (1)");
        one.psql("SELECT pg_switch_wal()");
    }
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    one.kill9();
    two.pgbaton(["standby", "promote"]).run().code(0);
    three.wait_for_replay_of(two);
    assert_eq!(
        two.psql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_3'"),
        "reserved"
    );
}

/// The notification of the new primary is sent at once, and once.
#[test]
fn a_sibling_that_does_not_follow_does_not_delay_the_notification() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let log = nodes.cluster.dir().join("events");
    let heard = || std::fs::read_to_string(&log).unwrap_or_default();
    let hook = format!("event_notification_command = \"echo %n %e %s >> {}\"", log.display());
    let hba = |replication: &str| {
        let host = |database: &str, method: &str| format!("host {database} all 127.0.0.1/32 {method}\n");
        two.set_hba(&format!(
            "local all all trust\n{}{}",
            host("all", "trust"),
            host("replication", replication)
        ));
        two.reload();
    };
    hba("reject");
    one.kill9();
    two.with_configuration(&hook, || {
        let mut running = two.pgbaton(["standby", "promote"]).spawn();
        wait_for("the notification", SOON, || heard() == "2 standby_promote 1\n");
        assert!(running.is_running());
        // The first one lets the rest be finished, which takes until the sibling streams; the second one leaves it.
        running.signal(Signal::INT);
        running.wait_for_stderr("Press Ctrl-C again", SOON);
        running.signal(Signal::INT);
        running.wait(SOON).code(130).says("operation resume");
        hba("trust");
        two.pgbaton(["operation", "resume"]).run().code(0).says("was successfully promoted to primary");
    });
    three.wait_for_replay_of(two);
    assert_eq!(heard(), "2 standby_promote 1\n");
    let rows = "SELECT string_agg(node_id || ' ' || event || ' ' || successful, ', ' ORDER BY node_id) \
                FROM repmgr.events WHERE event IN ('standby_promote', 'standby_follow')";
    assert_eq!(two.psql_as("repmgr", "repmgr", rows), "2 standby_promote true, 3 standby_follow true");
}

#[test]
fn a_dry_run_changes_nothing_and_shows_what_runs() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.pgbaton(["cluster", "show"]).run().code(0);
    one.stop(StopMode::Immediate);
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    three.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    let directories: Vec<_> = nodes.servers.iter().map(|server| server.dir.join("state")).collect();
    let directories: Vec<_> = directories.iter().map(std::path::PathBuf::as_path).collect();
    let before = Fingerprint::of(&[two, three], &directories);
    let output = two.pgbaton(["standby", "promote", "--dry-run"]).run();
    output.code(0);
    for text in
        ["-- point of no return --", "SELECT pg_promote(false)", "point node \"node3\" at node \"node2\""]
    {
        assert!(output.stdout.contains(text), "{output:?}");
    }
    let dry = two.pgbaton(["--json", "standby", "promote", "--dry-run"]).run();
    before.assert_same(&Fingerprint::of(&[two, three], &directories));
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
    let done = two.pgbaton(["--json", "standby", "promote"]).run();
    done.code(0);
    assert_eq!(planned(&dry), executed(&done));
}

/// Makes a directory the copy of another one. What is the same by size and time is left alone: that is nearly all of it.
fn mirror(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(to).unwrap().flatten() {
        if from.join(entry.file_name()).exists() {
            continue;
        }
        let is_dir = entry.file_type().unwrap().is_dir();
        if is_dir { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) }
            .unwrap();
    }
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let is = old.metadata().unwrap();
        let time = is.modified().unwrap();
        if is.is_dir() {
            mirror(&old, &new);
        } else if !new
            .metadata()
            .is_ok_and(|there| there.len() == is.len() && there.modified().unwrap() == time)
        {
            std::fs::copy(&old, &new).unwrap();
            std::fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
        }
    }
}

/// Sets a server back to what it was when it was saved, which is quicker than to make a new one.
fn restore(server: &TestServer) {
    if server.is_running() {
        server.kill9();
    }
    for place in ["data", "state"] {
        mirror(&server.dir.join(format!("{place}.saved")), &server.dir.join(place));
    }
    server.start();
}

/// Both standbys of a dead primary are asked to promote, at once or one a little later than the other: one of them does.
#[test]
fn two_promotions_at_the_same_time_make_one_primary() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    for server in [two, three] {
        server.pgbaton(["cluster", "show"]).run().code(0);
        server.wait_for_replay_of(one);
    }
    one.kill9();
    for server in [two, three] {
        server.stop(StopMode::Fast);
        for place in ["data", "state"] {
            mirror(&server.dir.join(place), &server.dir.join(format!("{place}.saved")));
        }
    }
    for round in 0..50 {
        std::thread::scope(|scope| {
            for server in [two, three] {
                scope.spawn(|| restore(server));
            }
        });
        let order = if round % 2 == 0 { [two, three] } else { [three, two] };
        let running = order.map(|server| {
            let running = server.pgbaton(["standby", "promote"]).spawn();
            std::thread::sleep(Duration::from_millis(round / 2 * 6));
            running
        });
        let outputs = running.map(|running| running.wait(Duration::from_secs(60)));
        let codes: Vec<i32> = outputs.iter().map(|output| output.status.code().unwrap()).collect();
        assert_eq!(nodes.primaries().len(), 1, "round {round}: {outputs:?}");
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "round {round}: {outputs:?}");
        assert!(codes.iter().all(|code| [0, 30, 31].contains(code)), "round {round}: {outputs:?}");
    }
}

#[test]
fn without_the_wal_the_recorded_promotion_distinguishes_histories() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    one.kill9();
    two.pgbaton(["standby", "promote", "--accept-data-loss"]).run().code(0);
    for server in [two, three] {
        server.psql("ALTER SYSTEM SET wal_keep_size = 0");
        server.reload();
    }
    let begun =
        two.psql("SELECT min(name) FROM pg_ls_waldir() WHERE name LIKE '00000002%' AND length(name) = 24");
    let is_there = format!("SELECT count(*) FROM pg_ls_waldir() WHERE name = '{begun}'");
    for _ in 0..3 {
        two.psql("CREATE TABLE IF NOT EXISTS t (); SELECT pg_switch_wal()");
        three.wait_for_replay_of(two);
        two.psql("CHECKPOINT");
        three.wait_for_replay_of(two);
        three.psql("CHECKPOINT");
    }
    two.psql("CHECKPOINT");
    assert_eq!((two.psql(&is_there), three.psql(&is_there)), ("0".into(), "0".into()));
    // Cut off, it has only the metadata to show that it belongs there.
    three.psql("ALTER SYSTEM SET primary_conninfo = ''");
    three.reload();
    two.wait_until("SELECT count(*) FROM pg_stat_replication", "0", SOON);
    let codes = || {
        let shown = two.pgbaton(["cluster", "show", "--json"]).run().json();
        let issues = shown["issues"].as_array().unwrap().clone();
        issues.iter().map(|issue| issue["code"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let codes_are = |known: bool, forked: bool| {
        let codes = codes();
        let has = |code: &str| codes.iter().any(|other| other == code);
        assert_eq!((has("history_unknown"), has("forked")), (!known, forked), "{codes:?}");
    };
    codes_are(true, false);
    two.psql_as("repmgr", "repmgr", "UPDATE pgbaton.promotion SET uuid = 'another'");
    codes_are(true, true);
    two.psql_as("repmgr", "repmgr", "DELETE FROM pgbaton.promotion");
    codes_are(false, false);
}

#[test]
fn a_standby_knows_its_timeline_although_nothing_streams_and_no_restartpoint_was_written() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (two, three) = (nodes.node(2), nodes.node(3));
    two.pgbaton(["standby", "switchover"]).run().code(0);
    three.wait_for_replay_of(two);
    two.kill9();
    three.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    let output = three.pgbaton(["--json", "node", "status"]).run();
    assert!(output.stdout.contains("\"timeline\":2"), "{output:?}");
    // node1 came back on the new timeline, node3 followed it: neither is taken for the one with less.
    three.pgbaton(["standby", "promote"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node3"]);
}

/// A primary that wrote what its standby never got, and is gone by the time the command is given.
fn written_alone(nodes: &Nodes, go: impl FnOnce(&TestServer)) -> Output {
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql("CREATE TABLE t (a int)");
    two.wait_for_replay_of(one);
    let walreceiver = two.process_titled("walreceiver");
    support::send(walreceiver, rustix::process::Signal::STOP);
    // What is on its way would arrive all the same, and a fast stop would wait for the standby.
    one.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    one.wait_until("SELECT count(*) FROM pg_stat_replication", "0", SOON);
    one.psql("INSERT INTO t SELECT generate_series(1, 100)");
    go(one);
    support::send(walreceiver, rustix::process::Signal::CONT);
    two.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    two.pgbaton(["--json", "standby", "promote"]).run()
}

#[test]
fn the_extra_wal_of_a_stopped_or_crashed_primary_is_reported_to_the_byte() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let end = std::cell::RefCell::new(String::new());
    let position = |server: &TestServer| server.psql("SELECT pg_current_wal_lsn() - '0/0'");
    let stopped = written_alone(&nodes, |one| one.stop(StopMode::Fast));
    stopped.code(0).says("bytes of WAL of \"node1\" are missing on this node");
    assert!(stopped.json()["data"]["wal_lost_bytes"].as_u64().unwrap() > 100, "{stopped:?}");

    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let crashed = written_alone(&nodes, |one| {
        *end.borrow_mut() = position(one);
        one.kill9();
    });
    crashed.code(0).says("bytes of WAL of \"node1\" are missing on this node");
    let (new, end) = (nodes.node(2), end.into_inner().parse::<u64>().unwrap());
    // What the new timeline begins with is where the standby's WAL ended.
    let history = std::fs::read_to_string(new.data.join("pg_wal/00000002.history")).unwrap();
    let fork: pgbaton::pg::lsn::Lsn = history.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(crashed.json()["data"]["wal_lost_bytes"], end - fork.0, "{crashed:?}");
}

/// The startup process comes to a request for promotion only when `restore_command` has ended, and the request cannot be undone.
#[test]
fn a_requested_promotion_that_hangs_counts_as_a_promotion() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let go = two.dir.join("go");
    let restore = support::script(
        &two.dir.join("restore"),
        &format!("while [ ! -e {} ]; do sleep 0.1; done; exit 1", go.display()),
    );
    one.pgbaton(["cluster", "show"]).run().code(0);
    two.psql(&format!("ALTER SYSTEM SET restore_command = '{} %f %p'", restore.display()));
    two.reload();
    nodes.configure(2, "promote_check_timeout = 3");
    one.kill9();
    wait_for("the archive to be asked", SOON, || {
        two.psql("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    });
    two.pgbaton(["standby", "promote"]).run().code(8).says("operation resume");

    let refused = three.pgbaton(["standby", "promote", "--force"]).run();
    refused.code(31).says("a promotion of node \"node2\" has been requested");
    two.pgbaton(["operation", "abandon"]).run().code(31).says("cannot be abandoned yet");
    // Its next start is that of a standby: that was seen to before the request.
    one.pgbaton(["node", "start"]).run().code(0).says("has been started as a standby");
    for server in [two, three] {
        let shown = server.pgbaton(["cluster", "show", "--json"]).run().json();
        let codes: Vec<&str> =
            shown["issues"].as_array().unwrap().iter().map(|issue| issue["code"].as_str().unwrap()).collect();
        assert!(codes.contains(&"promotion_requested"), "{shown:#}");
        let next = shown["data"]["cluster"]["next"].to_string();
        assert!(!next.contains("promote") && !next.contains("node start"), "{shown:#}");
    }
    std::fs::write(&go, "").unwrap();
    wait_for("the promotion", SOON, || two.psql("SELECT pg_is_in_recovery()") == "f");
    two.pgbaton(["operation", "resume"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
}

/// The host of the old primary is asked again with the last look, before the mark of the point of no return and after it: whatever was
/// started there since the first look is no standby.
#[test]
fn a_server_that_is_started_on_the_host_of_the_old_primary_meanwhile_stops_the_promotion() {
    let pg = postgres(15).unwrap();
    for place in ["\"mark\":\"started\"", KEPT_DOWN, r#""step":"promote","stage":"forward","mark":"started""#]
    {
        let nodes = Nodes::new(&pg, 1);
        let (one, two) = (nodes.node(1), nodes.node(2));
        two.pgbaton(["cluster", "show"]).run().code(0);
        // It does not attach again, which alone would show that the old primary is alive.
        two.psql("ALTER SYSTEM SET wal_retrieve_retry_interval = '10min'");
        two.reload();
        one.kill9();
        let observer = support::Observer::begin(&nodes.servers);
        let mut running = Stepped::start(two.pgbaton(["standby", "promote"]));
        assert!(running.run_to(place, Side::After));
        let _not_yet = std::fs::remove_file(signal(one));
        one.start();
        // Nor does it say anything itself.
        one.freeze();
        let output = running.go_on(None).wait(2 * SOON);
        one.thaw();
        output.code(8).says("ode \"node1\"").says("as a primary");
        assert_eq!(nodes.primaries(), ["node1"], "{output:?}");
        observer.assert_never_two();
        assert!(!signal(one).exists());
    }
}

/// Runs what the hints of a command say on a node.
#[track_caller]
fn run_the_hints(server: &TestServer, output: &Output) {
    let name = format!("\"{}\"", server.name);
    let is_meant = |line: &&str| line.starts_with("HINT:") && line.contains(&name);
    let mut typed = 0;
    for line in output.stderr.lines().filter(is_meant) {
        let Some(begin) = line.find("ALTER SYSTEM") else { continue };
        for statement in line[begin..=line.rfind(';').unwrap()].split_inclusive(';') {
            server.psql(statement);
            typed += 1;
        }
        assert!(line.contains("\"pgbaton node restart\""), "{line}");
    }
    assert!(typed > 0, "nothing is to be typed for {name}: {output:?}");
    server.pgbaton(["node", "restart"]).run().code(0);
}

const FIVE: &str = "max_connections = 60\nmax_worker_processes = 12\nmax_wal_senders = 12\n\
                    max_prepared_transactions = 7\nmax_locks_per_transaction = 70";

fn leads_to(server: &TestServer, upstream: &TestServer) -> bool {
    server.psql("SHOW primary_conninfo").contains(&format!("port={}", upstream.port))
}

/// A cluster without a primary needs one now. What keeps a sibling from following is reported before, and can be fixed
/// afterwards as the message says.
#[test]
fn siblings_that_cannot_follow_are_reported_and_do_not_prevent_a_promotion() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 4);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let [target, timeline, settings] = [3, 4, 5].map(|id| nodes.node(id));
    target.append_conf("recovery_target_lsn = 'FFFFFFF/0'");
    timeline.append_conf("recovery_target_timeline = 'current'");
    two.append_conf(FIVE);
    for server in [target, timeline, two] {
        server.restart();
        server.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    }
    for server in &nodes.servers[1..] {
        server.wait_for_replay_of(one);
    }
    one.kill9();
    let reports = |output: &Output| {
        for name in ["node3", "node4"] {
            output.says(&format!("node \"{name}\" will not follow"));
        }
        output.says("recovery_target_lsn").says("recovery_target_timeline");
        for setting in FIVE.lines().map(|line| line.split(' ').next().unwrap()) {
            output.says(&format!("ALTER SYSTEM SET {setting} = "));
        }
        assert!(!output.stderr.contains("\"node5\" will not follow"), "{output:?}");
        output.says("settings of node \"node5\" are lower");
    };
    let dry = two.pgbaton(["standby", "promote", "--dry-run"]).run();
    reports(dry.code(0));
    let output = two.pgbaton(["standby", "promote"]).run();
    reports(output.code(0));
    assert_eq!(nodes.primaries(), ["node2"]);
    // They are where they were.
    for server in [target, timeline] {
        assert!(leads_to(server, one), "{}", server.name);
        assert_eq!(
            two.psql_as(
                "repmgr",
                "repmgr",
                &format!("SELECT upstream_node_id FROM repmgr.nodes WHERE node_name = '{}'", server.name)
            ),
            "1"
        );
    }
    two.wait_until("SELECT string_agg(application_name, ' ') FROM pg_stat_replication", "node5", SOON);
    // The one with the lower settings receives everything, and replays nothing of it.
    two.psql("CREATE TABLE later ()");
    settings.wait_until("SELECT pg_get_wal_replay_pause_state()", "paused", SOON);
    let end = two.psql("SELECT pg_current_wal_lsn()");
    settings.wait_until(&format!("SELECT pg_last_wal_receive_lsn() >= '{end}'"), "t", SOON);
    assert_eq!(settings.psql("SELECT to_regclass('later') IS NULL"), "t");
    for server in [target, timeline, settings] {
        run_the_hints(server, &output);
    }
    for server in [target, timeline] {
        server.pgbaton(["standby", "follow"]).run().code(0);
    }
    for server in [target, timeline, settings] {
        server.wait_for_replay_of(two);
        assert_eq!(server.psql("SELECT to_regclass('later') IS NULL"), "f", "{}", server.name);
    }
}

/// Before PostgreSQL 14 a standby with lower settings than its primary shuts down: it is not repointed.
#[test]
fn a_sibling_that_would_shut_down_at_the_new_primary_is_not_repointed_to_it() {
    let Some(pg) = postgres(13) else { return };
    let nodes = Nodes::new(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.append_conf(FIVE);
    two.restart();
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    two.wait_for_replay_of(one);
    three.wait_for_replay_of(one);
    one.kill9();
    let output = two.pgbaton(["standby", "promote"]).run();
    output.code(0).says("node \"node3\" will not follow").says("it shuts down");
    assert_eq!(nodes.primaries(), ["node2"]);
    assert!(leads_to(three, one));
    assert_eq!(two.psql("SELECT count(*) FROM pg_stat_replication"), "0");
    two.psql("CREATE TABLE later ()");
    run_the_hints(three, &output);
    three.pgbaton(["standby", "follow"]).run().code(0);
    three.wait_for_replay_of(two);
    assert_eq!(three.psql("SELECT to_regclass('later') IS NULL"), "f");
}
