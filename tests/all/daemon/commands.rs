//! Commands beside active daemons: what an operator types, and what the daemons make of it.

use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{Daemons, EVER, LONG};
use crate::support::{
    Ledger, Nodes, Observer, StopMode, TestServer, configure_more, metadata, postgres, send, wait_for,
};

#[test]
fn a_promotion_that_is_asked_for_waits_for_the_grace_unless_all_others_are_proven_off_or_stand_aside() {
    // With these times no daemon would have begun by itself yet.
    let mut cluster = Daemons::with(Nodes::new(&postgres(15).unwrap(), 2), "conservative").started();
    let observer = Observer::begin(&cluster.nodes.servers);
    let ledger = Ledger::begin(cluster.node(1), &cluster.nodes.servers);
    // Of one that responds it is not believed.
    let named = cluster.node(2).pgbaton(["standby", "promote", "--proven-off", "node3"]).run();
    named.code(31).says("node \"node1\" is a primary and accepts writes");
    wait_for("writes", LONG, || cluster.node(3).psql("SELECT count(*) > 10 FROM ledger") == "t");
    cluster.switch_off(1);
    let named = cluster.node(2).pgbaton(["standby", "promote", "--proven-off", "node1,node3"]).run();
    named.code(1).says("node \"node3\" responds, so it is not switched off").says("Nothing was changed.");
    let dry = cluster.node(2).pgbaton(["standby", "promote", "--proven-off", "node1", "--dry-run"]).run();
    dry.code(0).says("would be asked to stand for election");
    assert!(cluster.nodes.primaries().is_empty());
    let promoted = cluster.node(2).pgbaton(["standby", "promote", "--proven-off", "node1", "--json"]).run();
    promoted.code(0).says("is the primary now").says_nothing_of("waiting until an earlier lease");
    assert_eq!(promoted.json()["data"]["by"], "daemons");
    assert_eq!(promoted.json()["data"]["to_node_id"], 2);
    assert_eq!(cluster.nodes.primaries(), ["node2"]);
    let events = metadata(
        cluster.node(2),
        "SELECT count(*) FROM repmgr.events WHERE event = 'standby_promote' AND node_id = 2 AND successful",
    );
    assert_eq!(events, "1");
    cluster.start(1);
    cluster.all_stream_from(2);
    cluster.wait_until_active();
    // Without a proof the grace is waited for.
    cluster.switch_off(2);
    let promoted = cluster.node(1).pgbaton(["standby", "promote"]).run();
    promoted.code(0).says("waiting until an earlier lease must have ended").says("Node \"node2\"");
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    ledger.end();
    observer.assert_never_two();
}

#[test]
fn a_fence_command_proves_that_a_node_is_off() {
    let mut cluster = Daemons::with(Nodes::new(&postgres(15).unwrap(), 2), "conservative");
    let said = cluster.node(2).dir.join("fenced");
    let command = format!("echo %n %a >> {}", said.display());
    configure_more(cluster.node(2), &format!("fence_command = \"{command}\""));
    cluster = cluster.started();
    cluster.switch_off(1);
    let promoted = cluster.node(2).pgbaton(["standby", "promote"]).run();
    promoted.code(0).says_nothing_of("waiting until an earlier lease");
    assert_eq!(std::fs::read_to_string(&said).unwrap().trim(), "1 node1");
    cluster.start(1);
    cluster.all_stream_from(2);
    cluster.wait_until_active();
    // One that fails proves nothing.
    let command = "echo the switch does not answer >&2; exit 1";
    configure_more(cluster.node(3), &format!("fence_command = \"{command}\""));
    cluster.switch_off(2);
    let promoted = cluster.node(3).pgbaton(["standby", "promote", "--accept-data-loss"]).run();
    promoted.code(0).says("waiting until an earlier lease").says("the switch does not answer");
}

#[test]
fn a_promotion_without_a_majority_is_refused() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    cluster.switch_off(1);
    cluster.switch_off(3);
    let promoted = cluster.node(2).pgbaton(["standby", "promote", "--proven-off", "node1,node3"]).run();
    promoted
        .code(31)
        .says("has not got a majority of the votes")
        .says("Node \"node1\" does not respond.")
        .says("service reset");
    assert!(cluster.nodes.primaries().is_empty());
    // With one of them back it is promoted.
    cluster.node(3).start();
    cluster.start(3);
    wait_for("a primary", LONG, || cluster.nodes.primaries().len() == 1);
}

#[test]
fn a_promotion_goes_on_without_its_command() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    cluster.switch_off(1);
    let command = cluster.node(2).pgbaton(["standby", "promote"]).spawn();
    wait_for("the candidate to stand", LONG, || {
        cluster.status()["nodes"][1]["lease_role"] == "candidate" || cluster.nodes.primaries() == ["node2"]
    });
    command.signal(Signal::KILL);
    command.wait(EVER);
    wait_for("a primary", LONG, || cluster.nodes.primaries() == ["node2"]);
    observer.assert_never_two();
}

/// Which nodes vote, as a server's copy of the row says.
fn voters(server: &TestServer) -> String {
    metadata(server, "SELECT array_agg(v ORDER BY v)::text FROM pgbaton.lease, unnest(voters) v")
}

#[test]
fn nodes_that_are_registered_and_unregistered_vote_and_no_longer_vote() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    assert_eq!(voters(cluster.node(1)), "{1,2,3}");
    // With three the loss of one more would stop the primary. (Just after the start the daemon has the lock of commands for a moment.)
    let unregister = || cluster.node(1).pgbaton(["standby", "unregister", "--node-id", "3"]).run();
    wait_for("the lock of commands", LONG, || unregister().status.code() != Some(30));
    let refused = unregister();
    refused.code(1).says("node \"node3\" is needed for automatic failover").says("Nothing was changed.");
    cluster.nodes.add(1);
    assert_eq!(voters(cluster.node(1)), "{1,2,3,4}");
    let again = cluster.node(4).pgbaton(["standby", "register", "-F"]).run();
    again.code(0);
    cluster.configure(4, "default");
    cluster.daemons.push(None);
    cluster.start(4);
    wait_for("the new daemon to be admitted", LONG, || cluster.flags() == ["active"; 4]);
    // It is one of those that may be the primary, also of those that the others have known of only since.
    cluster.node(4).pgbaton(["standby", "switchover"]).run().code(0);
    cluster.all_stream_from(4);
    let gone = cluster.node(1).pgbaton(["standby", "unregister", "--node-id", "3", "-F"]).run();
    gone.code(0).says("node \"node3\" no longer votes in elections");
    assert_eq!(voters(cluster.node(4)), "{1,2,4}");
    // It takes part in nothing, and the others go on without it.
    wait_for("the daemon to be barred", LONG, || {
        let lines =
            metadata(cluster.node(3), "SELECT string_agg(application_name, ' ') FROM pg_stat_activity");
        lines.contains("pgb1 3 ") && lines.split("pgb1 3 ").skip(1).all(|line| line.contains(" - "))
    });
    cluster.kill_all_of(4);
    let next = cluster.other_primary(4);
    assert!([1, 2].contains(&next), "{next}");
}

#[test]
fn a_registration_whose_command_was_killed_is_taken_up_by_the_leader() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    metadata(
        cluster.node(1),
        "INSERT INTO repmgr.nodes SELECT 4, upstream_node_id, active, 'node4', type, location, priority, \
         replace(conninfo, 'port=' || (SELECT setting FROM pg_settings WHERE name = 'port'), 'port=1'), repluser, slot_name, config_file \
         FROM repmgr.nodes WHERE node_id = 2",
    );
    wait_for("the leader to take it up", LONG, || voters(cluster.node(1)) == "{1,2,3,4}");
    metadata(cluster.node(1), "DELETE FROM repmgr.nodes WHERE node_id = 4");
    wait_for("the leader to follow", LONG, || voters(cluster.node(1)) == "{1,2,3}");
}

#[test]
fn a_cluster_that_has_lost_its_majority_for_good_begins_anew_by_resets() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    cluster.node(1).psql("CREATE TABLE kept AS SELECT 1 AS n");
    let running = cluster.node(2).pgbaton(["service", "reset"]).run();
    running.code(1).says("not all daemons are stopped").says("\"node1\"").says("Nothing was changed.");
    cluster.switch_off(1);
    cluster.switch_off(3);
    let daemon = cluster.daemons[1].take().unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait(EVER).code(0);
    let reset = || cluster.node(2).pgbaton(["service", "reset"]);
    wait_for("the session of the daemon to be gone", LONG, || {
        !cluster.node(2).pgbaton(["service", "reset"]).run().stderr.contains("not all daemons are stopped")
    });
    reset()
        .run()
        .code(1)
        .says("it is not known whether all daemons are stopped")
        .says("--proven-off node1,node3");
    cluster
        .node(2)
        .pgbaton(["service", "reset", "--proven-off", "node1,node3"])
        .run()
        .code(0)
        .says("begins anew, as paused");
    cluster.node(2).pgbaton(["standby", "promote", "--force"]).run().code(0);
    cluster.start(2);
    wait_for("the daemon to be there", LONG, || cluster.flags()[1] == "full");
    // Nothing stops a primary that is paused, without a majority.
    for (kind, gone) in [("standby", "3"), ("primary", "1")] {
        cluster.node(2).pgbaton([kind, "unregister", "--node-id", gone, "-F"]).run().code(0);
    }
    wait_for("the members to be those that are left", LONG, || voters(cluster.node(2)) == "{2}");
    let few = cluster.node(2).pgbaton(["service", "unpause"]).run();
    few.code(26);
    assert_eq!(cluster.node(2).psql("SELECT n FROM kept"), "1");
    assert_eq!(cluster.nodes.primaries(), ["node2"]);
}

#[test]
fn a_standby_that_lacks_too_much_is_not_promoted_by_itself() {
    let mut cluster = Daemons::without(&postgres(15).unwrap());
    for id in 2..=3 {
        configure_more(cluster.node(id), "failover_max_lag = \"1MB\"");
    }
    cluster = cluster.started();
    let receivers: Vec<_> = (2..=3).map(|id| cluster.node(id).process_titled("walreceiver")).collect();
    receivers.iter().for_each(|pid| send(*pid, Signal::STOP));
    // More than the buffers of the connections hold.
    cluster.node(1).psql("SELECT count(pg_logical_emit_message(false, 'lost', repeat('x', 1000000))) FROM generate_series(1, 40)");
    // They see where the primary is, but do not get it.
    std::thread::sleep(Duration::from_secs(2));
    cluster.kill_all_of(1);
    receivers.iter().for_each(|pid| send(*pid, Signal::CONT));
    wait_for("a refusal", LONG, || {
        (2..=3).any(|id| {
            cluster.said(id).contains("of the last known WAL of the primary; failover_max_lag is 1.0 MB")
        })
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(cluster.nodes.primaries().is_empty());
    let promoted = cluster.node(2).pgbaton(["standby", "promote", "--accept-data-loss"]).run();
    promoted.code(0);
    assert_eq!(cluster.nodes.primaries(), ["node2"]);
}

#[test]
fn a_failover_asks_the_validation_command_and_stays_inside_a_location() {
    let mut cluster = Daemons::without(&postgres(15).unwrap());
    let agrees = cluster.node(1).dir.join("agrees");
    let command = format!("echo %n %a %t >> {0}.asked; test -e {0}", agrees.display());
    configure_more(cluster.node(2), "location = \"elsewhere\"\npriority = 200");
    configure_more(
        cluster.node(3),
        &format!("failover_validation_command = \"{command}\"\nelection_rerun_interval = 1"),
    );
    cluster.node(2).pgbaton(["standby", "register", "-F"]).run().code(0);
    cluster = cluster.started();
    cluster.kill_all_of(1);
    wait_for("the command to be asked", LONG, || cluster.said(3).contains("does not agree to the promotion"));
    assert!(cluster.nodes.primaries().is_empty());
    std::fs::write(&agrees, "").unwrap();
    assert_eq!(cluster.other_primary(1), 3);
    let asked = std::fs::read_to_string(agrees.with_extension("asked")).unwrap();
    assert_eq!(asked.lines().next(), Some("3 node3 3"));
}

#[test]
fn a_clean_stop_is_a_hand_over_and_a_former_primary_is_left_alone_where_that_is_configured() {
    let mut cluster = Daemons::without(&postgres(15).unwrap());
    configure_more(
        cluster.node(1),
        "on_clean_stop = \"handover\"\nrestart_timeout = 600\nrejoin_automatically = \"never\"",
    );
    cluster = cluster.started();
    cluster.node(1).stop(StopMode::Fast);
    let second = cluster.other_primary(1);
    wait_for("what the daemon says", LONG, || cluster.said(1).contains("rejoin_automatically is \"never\""));
    assert!(!cluster.node(1).is_running());
    // The other standby follows at the same time.
    wait_for("the rejoin", LONG, || cluster.node(1).pgbaton(["node", "rejoin"]).run().status.success());
    cluster.all_stream_from(second);
}
