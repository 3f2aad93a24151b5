//! `standby follow` on real servers.

use rustix::process::Signal;

use crate::support::{
    self, Fingerprint, Nodes, Pg, Running, SOON, StopMode, TestServer, executed, metadata, planned, postgres,
    slow, versions,
};

const UPSTREAMS: &str = "SELECT string_agg(node_id || ' ' || coalesce(upstream_node_id::text, '-') || ' ' || coalesce(slot_name, '-'), ', ' ORDER BY node_id) FROM repmgr.nodes";
const SLOTS: &str = "SELECT coalesce(string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name), '') FROM pg_replication_slots";

/// To a standby, and back to the primary; then to a new primary, by hand.
fn tour(pg: &Pg) {
    let nodes = Nodes::new(pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let started = three.psql("SELECT pg_postmaster_start_time()");
    // What was set by hand must survive.
    let conninfo = three.psql("SHOW primary_conninfo");
    three.psql(&format!(
        "ALTER SYSTEM SET primary_conninfo = '{} keepalives_idle=77'",
        conninfo.replace('\'', "''")
    ));
    three.reload();

    let output = three.pgbaton(["--json", "standby", "follow", "--upstream-node-id", "2"]).run();
    output.code(0);
    assert_eq!(output.json()["data"]["upstream_node_id"], 2, "{output:?}");
    two.wait_until(SLOTS, "repmgr_slot_3 true", SOON);
    one.wait_until(SLOTS, "repmgr_slot_2 true", SOON);
    assert_eq!(
        one.psql_as("repmgr", "repmgr", UPSTREAMS),
        "1 - repmgr_slot_1, 2 1 repmgr_slot_2, 3 2 repmgr_slot_3"
    );
    let now = three.psql("SHOW primary_conninfo");
    assert!(now.contains("keepalives_idle=77") && now.contains(&format!("port={}", two.port)), "{now}");
    let again = three.pgbaton(["standby", "follow", "--upstream-node-id=2"]).run();
    again.code(0).says("already follows \"node2\"; nothing was changed");

    three.pgbaton(["standby", "follow"]).run().code(0);
    one.wait_until(SLOTS, "repmgr_slot_2 true, repmgr_slot_3 true", SOON);
    assert_eq!(two.psql(SLOTS), "");

    one.kill9();
    two.pgbaton(["standby", "promote", "--no-siblings-follow"]).run().code(0).says("will not follow");
    three.pgbaton(["standby", "follow"]).run().code(0);
    two.psql("CREATE TABLE after_promotion ()");
    three.wait_for_replay_of(two);
    assert_eq!(three.psql("SELECT pg_postmaster_start_time()"), started, "it was restarted");
    assert_eq!(
        two.psql_as(
            "repmgr",
            "repmgr",
            "SELECT count(*) FROM repmgr.events WHERE event = 'standby_follow' AND successful"
        ),
        "3"
    );
}

#[test]
fn a_standby_that_could_not_remain_one_is_refused_with_the_commands_to_run() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let three = nodes.node(3);
    let refused = |words: &[&str]| {
        let before = three.psql("SHOW primary_conninfo");
        let output = three.pgbaton(["standby", "follow", "--upstream-node-id", "2"]).run();
        output.code(1);
        for word in words {
            output.says(word);
        }
        assert_eq!(three.psql("SHOW primary_conninfo"), before);
        assert_eq!(nodes.node(2).psql(SLOTS), "");
    };
    for (name, value) in [("recovery_target_name", "never"), ("recovery_target_timeline", "current")] {
        three.psql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        three.restart();
        refused(&["settings of a past recovery", name, "pgbaton node restart"]);
        three.psql(&format!("ALTER SYSTEM RESET {name}"));
    }
    three.stop(StopMode::Fast);
    let own = format!("host=127.0.0.1 port={} user=repmgr application_name=node3", nodes.node(1).port);
    let options = format!("-c primary_conninfo='{own}'");
    let (data, log) = (three.data.display().to_string(), three.log.display().to_string());
    let start = ["-D", &data, "-l", &log, "-w", "-o", &options, "start"];
    support::run_tool(&three.pg.tool("pg_ctl"), start).code(0);
    refused(&[
        "options that no configuration file overrides",
        "primary_conninfo (the server's command line)",
    ]);
    three.restart();
    three.pgbaton(["standby", "follow", "--upstream-node-id", "2"]).run().code(0);
}

#[test]
fn a_standby_follows_by_a_reload() {
    tour(&postgres(15).unwrap());
}

#[test]
fn short_tour_on_other_versions() {
    for pg in versions().iter().filter(|pg| pg.major != 15) {
        tour(pg);
    }
}

#[test]
fn a_standby_that_streams_under_another_name_gets_its_own() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    for command in [["standby", "follow"], ["node", "rejoin"]] {
        let conninfo = two.psql("SHOW primary_conninfo").replace('\'', "''");
        two.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{conninfo} application_name=other'"));
        two.reload();
        let streaming = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'";
        one.wait_until(streaming, "other", SOON);
        let shown = one.pgbaton(["cluster", "show"]).run();
        shown.code(25).says("Next: pgbaton standby follow  # on \"node2\"");
        two.pgbaton(command).run().code(0);
        one.wait_until(streaming, "node2", SOON);
        one.wait_until(SLOTS, "repmgr_slot_2 true", SOON);
        one.pgbaton(["cluster", "show"]).run().code(0);
    }
}

/// A receiver whose slot is missing connects every few seconds and is refused. `pg_stat_replication` shows it as `startup` for a moment;
/// a replication connection that starts nothing keeps that state.
#[test]
fn a_connection_over_which_nothing_is_sent_does_not_count_as_attached() {
    for command in [["standby", "follow"], ["node", "rejoin"]] {
        let nodes = Nodes::new(&postgres(15).unwrap(), 1);
        let (one, two) = (nodes.node(1), nodes.node(2));
        two.stop(StopMode::Fast);
        one.psql("SELECT pg_drop_replication_slot('repmgr_slot_2')");
        let refused = format!(
            "host={} port={} user=postgres dbname=postgres replication=true application_name=node2",
            one.socket_dir.display(),
            one.port
        );
        let mut idle = support::clean_command(&one.pg.tool("psql"));
        idle.args(["-X", "-d", &refused, "-c", r"\! sleep 600"]);
        let _idle = Running::start(idle);
        one.wait_until("SELECT application_name, state FROM pg_stat_replication", "node2|startup", SOON);
        two.start();
        let shown = one.pgbaton(["cluster", "show"]).run();
        shown.code(25).says("node \"node2\" is not attached to its upstream \"node1\"");
        shown.says("Next: pgbaton standby follow  # on \"node2\"");
        let output = two.pgbaton(command.into_iter().chain(["--json"])).run();
        assert_eq!(output.code(0).json()["changed"], true, "{output:?}");
        one.wait_until(SLOTS, "repmgr_slot_2 true", SOON);
    }
}

#[test]
fn impossible_upstreams_are_refused() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    three.pgbaton(["standby", "follow", "--upstream-node-id=3"]).run().code(1).says("cannot follow itself");
    three
        .pgbaton(["standby", "follow", "--upstream-node-id=9"])
        .run()
        .code(1)
        .says("node 9 is not registered");
    one.pgbaton(["standby", "follow", "--upstream-node-id=2"])
        .run()
        .code(1)
        .says("is a primary")
        .says("standby switchover\" on \"node2\"");
    three.pgbaton(["standby", "follow", "--upstream-node-id=2"]).run().code(0);
    let circle = two.pgbaton(["standby", "follow", "--upstream-node-id=3"]).run();
    circle.code(1).says("receives its WAL from this node");
    two.stop(StopMode::Fast);
    three.pgbaton(["standby", "follow", "--upstream-node-id=2"]).run().code(6).says("does not respond");
}

#[test]
fn a_diverged_node_is_referred_to_rejoin() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    three.wait_for_replay_of(one);
    two.wait_for_replay_of(one);
    // node2 is promoted early, node3 gets more of the old primary's WAL.
    two.promote();
    one.psql("CREATE TABLE more AS SELECT generate_series(1, 1000)");
    three.wait_for_replay_of(one);
    let before = three.psql("SHOW primary_conninfo");
    let output = three.pgbaton(["standby", "follow", "--upstream-node-id=2", "--force"]).run();
    output.code(32).says("has WAL that \"node2\" never had").says("pgbaton node rejoin");
    assert_eq!(three.psql("SHOW primary_conninfo"), before);
}

/// Begins timeline 2 on a server, without any record.
fn begin_timeline(server: &TestServer) {
    server.promote();
    server.psql_as("repmgr", "repmgr", "DELETE FROM pgbaton.promotion");
}

/// Writes until the first WAL of timeline 2 is gone.
fn until_its_beginning_is_gone(server: &TestServer, standby: Option<&TestServer>) {
    let history = "convert_from(pg_read_binary_file('pg_wal/00000002.history'), 'UTF8')";
    let name =
        server.psql(&format!("SELECT pg_walfile_name((regexp_match({history}, '\\t(\\S+)\\t'))[1]::pg_lsn)"));
    let still = format!("SELECT count(*) FROM pg_ls_waldir() WHERE name = '{name}'");
    for round in 0.. {
        assert!(round < 20, "{} keeps {name}", server.name);
        server.psql("INSERT INTO much SELECT generate_series(1, 1000)");
        server.psql("SELECT pg_switch_wal()");
        server.psql("CHECKPOINT");
        if let Some(standby) = standby {
            standby.wait_for_replay_of(server);
            standby.psql("CHECKPOINT");
        }
        let gone = |server: &TestServer| server.psql(&still) == "0";
        if gone(server) && standby.is_none_or(gone) {
            break;
        }
    }
}

fn keeping_little(nodes: &Nodes) {
    for server in &nodes.servers {
        server.append_conf("min_wal_size = '32MB'\nmax_wal_size = '32MB'\nwal_keep_size = 0");
        server.reload();
    }
    nodes.node(1).psql("CREATE TABLE much (n int)");
}

/// As in every cluster in which repmgr has switched the timeline some time ago.
#[test]
fn without_the_start_of_the_timeline_a_checkpoint_decides() {
    let every = if slow() { versions() } else { vec![postgres(15).unwrap()] };
    every.iter().for_each(beginning_is_gone);
}

fn beginning_is_gone(pg: &Pg) {
    let nodes = Nodes::new(pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    keeping_little(&nodes);
    two.wait_for_replay_of(one);
    one.kill9();
    two.pgbaton(["standby", "promote"]).run().code(0);
    two.psql_as("repmgr", "repmgr", "DELETE FROM pgbaton.promotion");
    until_its_beginning_is_gone(two, Some(three));

    // It is repointed, and pointed back.
    let conninfo = three.psql("SHOW primary_conninfo").replace(&format!("port={}", two.port), "port=1");
    three.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", conninfo.replace('\'', "''")));
    three.reload();
    two.wait_until("SELECT count(*) FROM pg_stat_replication", "0", SOON);
    three.pgbaton(["standby", "follow"]).run().code(0);
    two.psql("CREATE TABLE later ()");
    three.wait_for_replay_of(two);

    // Nor can the primary be compared otherwise, when it has failed.
    two.kill9();
    three.pgbaton(["standby", "promote"]).run().code(0);
    two.pgbaton(["node", "rejoin"]).run().code(0);
    three.psql("CREATE TABLE later_still ()");
    two.wait_for_replay_of(three);
    three.pgbaton(["standby", "switchover", "--node-id=2"]).run().code(0);
}

/// The former primary has written some segments since its last checkpoint, and the new one has only the last of them.
#[test]
fn without_the_checkpoint_the_last_written_wal_decides() {
    for pg in versions() {
        let nodes = Nodes::new(&pg, 2);
        let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
        keeping_little(&nodes);
        two.wait_for_replay_of(one);
        one.stop(StopMode::Fast);
        two.pgbaton(["standby", "promote"]).run().code(0);
        three.wait_for_replay_of(two);
        two.psql_as("repmgr", "repmgr", "DELETE FROM pgbaton.promotion");
        until_its_beginning_is_gone(two, Some(three));
        two.psql("ALTER SYSTEM SET checkpoint_timeout = '1h'");
        for server in [two, three] {
            server.append_conf("max_wal_size = '1GB'");
            server.reload();
        }
        two.psql("CHECKPOINT");
        for _ in 0..4 {
            two.psql("INSERT INTO much SELECT generate_series(1, 1000)");
            two.psql("SELECT pg_switch_wal()");
        }
        two.psql("INSERT INTO much SELECT generate_series(1, 1000)");
        three.wait_for_replay_of(two);
        let checkpoint = two.psql("SELECT pg_walfile_name(checkpoint_lsn) FROM pg_control_checkpoint()");
        two.kill9();
        three.pgbaton(["standby", "promote", "--no-siblings-follow"]).run().code(0);
        three.psql("CHECKPOINT");
        let there = three.psql(&format!("SELECT count(*) FROM pg_ls_waldir() WHERE name = '{checkpoint}'"));
        assert_eq!(there, "0", "the new primary still has {checkpoint}");
        let output = two.pgbaton(["node", "rejoin", "--dry-run", "--accept-data-loss"]).run();
        assert!(!output.stderr.contains("cannot determine whether"), "PostgreSQL {}: {output:?}", pg.major);
        two.pgbaton(["node", "rejoin", "--accept-data-loss"]).run().code(0);
        three.psql("CREATE TABLE later ()");
        two.wait_for_replay_of(three);
    }
}

#[test]
fn a_checkpoint_that_the_other_node_never_had_decides_too() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    keeping_little(&nodes);
    one.stop(StopMode::Fast);
    for server in [two, three] {
        begin_timeline(server);
        until_its_beginning_is_gone(server, None);
    }
    two.psql("INSERT INTO much SELECT generate_series(1, 10000)");
    // Started by hand in the meantime.
    three.stop(StopMode::Fast);
    std::fs::write(three.data.join("standby.signal"), "").unwrap();
    three.start();
    let output = three.pgbaton(["standby", "follow", "--force"]).run();
    output.code(32).says("has WAL that \"node2\" never had").says("is not in the WAL of \"node2\"");
    let output = three.pgbaton(["node", "rejoin", "--force"]).run();
    output.code(32).says("is not in the WAL of \"node2\"").says("--reclone");
    assert_eq!(two.psql("SELECT count(*) FROM pg_stat_replication"), "0");
}

#[test]
fn a_standby_whose_connection_would_be_rejected_keeps_its_upstream() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    two.set_hba(
        "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 reject\n",
    );
    two.reload();
    let before = three.psql("SHOW primary_conninfo");
    let events = || metadata(one, "SELECT count(*) FROM repmgr.events WHERE event = 'standby_follow'");
    three.pgbaton(["standby", "follow", "--upstream-node-id=2", "--dry-run"]).run().code(23);
    assert_eq!(events(), "0", "a dry run is no event");
    let output = three.pgbaton(["standby", "follow", "--upstream-node-id=2"]).run();
    assert_eq!(events(), "1");
    output.code(23).says("cannot open a replication connection to \"node2\"").says("Nothing was changed.");
    assert_eq!(three.psql("SHOW primary_conninfo"), before);
    assert_eq!(one.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"), "2");
}

#[test]
fn a_standby_that_does_not_stream_in_time_returns_to_its_upstream() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    let mut config = std::fs::read_to_string(three.config()).unwrap();
    config.push_str("standby_follow_timeout = 2\n");
    std::fs::write(three.config(), config).unwrap();
    // The startup process is what acts on a new primary_conninfo.
    let startup = three.process_titled("startup");
    support::send(startup, Signal::STOP);
    let output = three.pgbaton(["standby", "follow", "--upstream-node-id=2"]).run();
    support::send(startup, Signal::CONT);
    output.code(23).says("All changes have been undone.");
    let back = three.psql("SHOW primary_conninfo");
    assert!(back.contains(&format!("port={}", one.port)), "{back}");
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2", SOON);
    assert_eq!(two.psql(SLOTS), "");
    assert_eq!(
        one.psql_as("repmgr", "repmgr", UPSTREAMS),
        "1 - repmgr_slot_1, 2 1 repmgr_slot_2, 3 1 repmgr_slot_3"
    );
}

#[test]
fn a_dry_run_changes_nothing_and_shows_what_runs() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    three.pgbaton(["cluster", "show"]).run().code(0);
    let directories: Vec<_> = nodes.servers.iter().map(|server| server.dir.join("state")).collect();
    let directories: Vec<_> = directories.iter().map(std::path::PathBuf::as_path).collect();
    let before = Fingerprint::of(&[one, two, three], &directories);
    let dry = three.pgbaton(["--json", "standby", "follow", "--upstream-node-id=2", "--dry-run"]).run();
    dry.code(0);
    before.assert_same(&Fingerprint::of(&[one, two, three], &directories));
    let done = three.pgbaton(["--json", "standby", "follow", "--upstream-node-id=2"]).run();
    done.code(0);
    assert_eq!(planned(&dry), executed(&done));
}
