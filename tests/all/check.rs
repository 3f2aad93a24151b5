//! `node check` and `cluster check`: every check is made to fail on real servers, and goes back to ok when the cause is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    self, Hosts, Nodes, Output, Pg, Running, SOON, StopMode, TestServer, can_unshare, clean_command,
    configure, configure_more, envelope, metadata, postgres, real_repmgr, run_tool, send, versions, wait_for,
    with_real_repmgr,
};

/// Free space is the machine's, whatever it is: only one test is about it.
const ROOM: &str = "free_space_warning = 1\nfree_space_critical = 0";

fn nodes(pg: &Pg, standbys: usize) -> Nodes {
    let nodes = Nodes::new(pg, standbys);
    (1..=1 + standbys).for_each(|id| configure_more(nodes.node(id), ROOM));
    settle(&nodes);
    nodes
}

fn settle(nodes: &Nodes) {
    nodes.servers.iter().skip(1).for_each(|server| server.wait_for_replay_of(nodes.node(1)));
}

/// Returns the document of `cluster check`, which is whole and agrees with the exit code.
#[track_caller]
fn cluster(from: &TestServer, more: &[&str]) -> Value {
    let output = from.pgbaton(["cluster", "check", "--json"]).args(more).run();
    let json = output.json();
    let exit =
        ["ok", "warning", "critical", "unknown"].iter().position(|word| json["data"]["verdict"] == *word);
    assert_eq!(output.status.code(), exit.map(|exit| i32::try_from(exit).unwrap()), "{output:?}");
    assert!(json["error"].is_null() && json["data"]["next"].is_array(), "{output:?}");
    json
}

#[track_caller]
fn finding(json: &Value, id: usize, name: &str) -> Value {
    let nodes = json["data"]["nodes"].as_array().unwrap();
    let node =
        nodes.iter().find(|node| node["node_id"] == id).unwrap_or_else(|| panic!("no node {id}: {json:#}"));
    let checks = node["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name} of node {id}: {json:#}")).clone()
}

/// Has a node judged both ways, and returns what was found.
#[track_caller]
fn expect(nodes: &Nodes, id: usize, name: &str, status: &str) -> Value {
    // From another node, so that it is the far end that looks at the host.
    let from = nodes.node(if id == 1 { 2 } else { 1 });
    let all = cluster(from, &[]);
    let found = finding(&all, id, name);
    assert_eq!(found["status"], status, "{found:#}");
    let weight = ["ok", "unknown", "warning", "critical"].iter().position(|word| *word == status).unwrap();
    let verdict =
        ["ok", "unknown", "warning", "critical"].iter().position(|word| all["data"]["verdict"] == *word);
    assert!(verdict.unwrap() >= weight, "{all:#}");
    let option = match name {
        "server_role" => "--role".to_string(),
        "data_directory" => "--data-directory-config".to_string(),
        name => format!("--{}", name.replace('_', "-")),
    };
    let single = nodes.node(id).pgbaton(["node", "check", &option, "--json"]).run();
    let again = finding(&single.json(), id, name);
    assert_eq!((&again["status"], &again["message"]), (&found["status"], &found["message"]), "{single:?}");
    let code = ["ok", "warning", "critical", "unknown"].iter().position(|word| *word == status);
    assert_eq!(single.status.code(), code.map(|code| i32::try_from(code).unwrap()), "{single:?}");
    found
}

#[track_caller]
fn all_ok(nodes: &Nodes) {
    let json = cluster(nodes.node(1), &[]);
    assert_eq!(json["data"]["verdict"], "ok", "{json:#}");
}

fn set(server: &TestServer, setting: &str, value: &str) {
    server.psql(&format!("ALTER SYSTEM SET {setting} = {value}"));
    server.psql("SELECT pg_reload_conf()");
    if value != "DEFAULT" {
        let value = value.trim_matches('\'');
        let pending = format!(
            "SELECT pending_restart OR current_setting('{setting}') = '{value}' FROM pg_settings WHERE name = '{setting}'"
        );
        server.wait_until(&pending, "t", SOON);
    }
}

#[test]
fn a_healthy_cluster_passes_in_every_topology() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 2);
    let json = cluster(nodes.node(2), &[]);
    assert_eq!(json["data"]["verdict"], "ok", "{json:#}");
    assert_eq!(json["data"]["cluster"]["state"], "healthy");
    for id in 1..=3 {
        let node =
            json["data"]["nodes"].as_array().unwrap().iter().find(|node| node["node_id"] == id).unwrap();
        assert_eq!(node["checks"].as_array().unwrap().len(), 25, "{node:#}");
    }
    assert_eq!(
        finding(&json, 2, "replication_login")["message"],
        "login works to 2 of 2 other nodes that respond"
    );
    let table = nodes.node(1).pgbaton(["cluster", "check"]).run();
    assert_eq!(table.code(0).stdout, "OK: \"node1\" is the primary; 75 checks passed\n");
    assert_eq!(table.stderr, "");
    let nagios = nodes.node(1).pgbaton(["cluster", "check", "--nagios"]).run();
    let begin = "PGBATON_CLUSTER OK: \"node1\" is the primary; 75 checks passed | \
                 nodes=3 reachable=3 critical=0 warning=0 unknown=0 lag=0s;300;600 free=";
    assert!(nagios.code(0).stdout.starts_with(begin), "{nagios:?}");
    let csv = nodes.node(1).pgbaton(["cluster", "check", "--csv"]).run();
    assert_eq!(csv.code(0).stdout.lines().count(), 75);
    assert!(csv.stdout.contains("2,node2,replication_lag,OK,0,seconds,300,600,\"0 seconds\"\n"), "{csv:?}");
    // One node.
    let overview = nodes.node(2).pgbaton(["node", "check"]).run();
    let lines: Vec<&str> = overview.code(0).stdout.lines().collect();
    assert_eq!(lines[0], "Node \"node2\":");
    assert_eq!(lines[1], "\tServer role: OK (node is standby)");
    assert_eq!(lines.len(), 26, "{overview:?}");
    let csv = nodes.node(2).pgbaton(["node", "check", "--csv"]).run();
    let directory = format!(
        "\"Configured data directory\",\"OK\",\"configured \"\"data_directory\"\" is \"\"{}\"\"\"\n",
        nodes.node(2).data.display()
    );
    assert!(csv.code(0).stdout.contains(&directory), "{csv:?}");
    let json = envelope(&nodes.node(2).pgbaton(["node", "check", "--json"]).run(), "node check", 0, false);
    assert_eq!(json["data"]["nodes"][0]["node_id"], 2);
    let summary = nodes.node(2).pgbaton(["node", "check", "--nagios"]).run();
    assert!(summary.code(0).stdout.starts_with("PGBATON_NODE OK: 25 checks passed | "), "{summary:?}");
    // Another node is asked by its own pgbaton.
    let handed = nodes.node(1).pgbaton(["node", "check", "--role", "--node-id", "2"]).run();
    assert_eq!(handed.code(0).stdout, "OK (node is standby)\n");
    // What cron asks.
    nodes.node(1).pgbaton(["node", "check", "--role=primary"]).run().code(0);
    nodes.node(2).pgbaton(["node", "check", "--role=standby"]).run().code(0);
    let no = nodes.node(2).pgbaton(["node", "check", "--role=primary"]).run();
    assert_eq!(no.code(2).stdout, "CRITICAL (node is standby, not primary)\n");
    // A read-only command leaves nothing visible: no slot, no connection stays.
    let senders = "SELECT count(*) FROM pg_stat_replication";
    nodes.node(1).wait_until(senders, "2", SOON);
}

#[test]
fn settings_slots_and_archiving() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    for node in [one, two] {
        configure_more(
            node,
            "archive_ready_warning = 1\narchive_ready_critical = 2\nslot_wal_warning = 8\nslot_wal_critical = 24",
        );
    }
    // Archiving.
    one.psql("ALTER SYSTEM SET archive_mode = on");
    one.psql("ALTER SYSTEM SET archive_command = ''");
    one.restart();
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    assert_eq!(expect(&nodes, 1, "archiver", "ok")["message"], "no WAL has been archived yet");
    one.psql("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'x')");
    let found = expect(&nodes, 1, "archiver", "warning");
    assert_eq!(found["message"], "1 file waits to be archived, but archive_command is empty");
    set(one, "archive_command", "'/bin/false'");
    for _ in 0..3 {
        one.psql("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'x')");
    }
    one.wait_until("SELECT failed_count > 0 FROM pg_stat_archiver", "t", SOON);
    let found = expect(&nodes, 1, "archiver", "critical");
    assert!(found["message"].as_str().unwrap().starts_with("archiving fails, last for 0000"), "{found}");
    let found = expect(&nodes, 1, "archive_ready", "critical");
    assert!(found["value"].as_i64().unwrap() >= 3 && found["critical"] == 2, "{found}");
    assert_eq!(cluster(two, &[])["data"]["cluster"]["state"], "healthy");
    set(one, "archive_command", "'/bin/true'");
    one.psql("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'x')");
    one.wait_until("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'", "0", SOON);
    expect(&nodes, 1, "archiver", "ok");
    expect(&nodes, 1, "archive_ready", "ok");

    // Slots.
    metadata(one, "UPDATE repmgr.nodes SET slot_name = 'gone' WHERE node_id = 2");
    let found = expect(&nodes, 1, "missing_slots", "critical");
    assert_eq!(found["message"], "1 physical replication slots are missing: gone");
    metadata(one, "UPDATE repmgr.nodes SET slot_name = 'repmgr_slot_2' WHERE node_id = 2");
    // A new slot begins with the last checkpoint; that one is to be at the beginning of a segment.
    one.psql("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'x')");
    one.psql("CHECKPOINT");
    one.psql("SELECT pg_create_physical_replication_slot('odd', true)");
    expect(&nodes, 1, "slots", "critical");
    one.psql("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'x')");
    expect(&nodes, 1, "wal_retained", "warning");
    one.psql("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'x')");
    let found = expect(&nodes, 1, "wal_retained", "critical");
    assert!(found["message"].as_str().unwrap().starts_with("slot \"odd\" keeps"), "{found}");
    set(one, "wal_keep_size", "'0'");
    set(one, "max_slot_wal_keep_size", "'1MB'");
    one.psql("CHECKPOINT");
    one.wait_until("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'odd'", "lost", SOON);
    let found = expect(&nodes, 1, "wal_retained", "critical");
    assert_eq!(found["message"], "WAL that slot \"odd\" had to retain is lost");
    one.psql("SELECT pg_drop_replication_slot('odd')");
    set(one, "max_slot_wal_keep_size", "DEFAULT");
    expect(&nodes, 1, "slots", "ok");

    // Settings.
    set(two, "max_connections", "60");
    let found = expect(&nodes, 2, "pending_restart", "warning");
    assert_eq!(found["message"], "settings that require a restart: max_connections");
    two.psql("ALTER SYSTEM RESET max_connections");
    two.reload();
    two.wait_until("SELECT bool_or(pending_restart) FROM pg_settings", "f", SOON);
    set(one, "full_page_writes", "off");
    assert_eq!(expect(&nodes, 1, "rewind", "warning")["message"], "full_page_writes is off");
    one.psql("ALTER SYSTEM RESET full_page_writes");
    one.reload();
    one.wait_until("SHOW full_page_writes", "on", SOON);
    let junk = two.data.join("base/junk");
    std::fs::write(&junk, "").unwrap();
    std::fs::set_permissions(&junk, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    let found = expect(&nodes, 2, "rewind", "warning");
    assert!(found["detail"].as_str().unwrap().contains("base/junk"), "{found}");
    std::fs::remove_file(&junk).unwrap();
    settle(&nodes);
    all_ok(&nodes);

    // With less than the primary a standby stops replaying.
    set(one, "max_connections", "60");
    one.restart();
    two.wait_until("SELECT pg_is_wal_replay_paused()", "t", SOON);
    let found = expect(&nodes, 2, "standby_settings", "critical");
    assert_eq!(found["message"], "max_connections is 50 here and 60 on \"node1\"");
    expect(&nodes, 2, "replay", "warning");
}

#[test]
fn replication_roles_and_identity() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    for id in 1..=3 {
        configure_more(nodes.node(id), "replication_lag_warning = 1\nreplication_lag_critical = 2");
    }
    // Nothing was written for longer than the limits: no alarm.
    two.wait_until("SELECT now() - pg_last_xact_replay_timestamp() > '3 s'", "t", SOON);
    expect(&nodes, 2, "replication_lag", "ok");
    two.psql("SELECT pg_wal_replay_pause()");
    two.wait_until("SELECT pg_is_wal_replay_paused()", "t", SOON);
    metadata(one, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
    two.wait_until("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()", "t", SOON);
    two.wait_until("SELECT now() - pg_last_xact_replay_timestamp() > '3 s'", "t", SOON);
    assert_eq!(expect(&nodes, 2, "replay", "warning")["message"], "WAL replay is paused on node \"node2\"");
    let lag = nodes.node(2).pgbaton(["node", "check", "--replication-lag", "--nagios"]).run();
    assert!(lag.code(2).stdout.starts_with("REPMGR_REPLICATION_LAG CRITICAL: "), "{lag:?}");
    assert!(lag.stdout.trim_end().ends_with(";1;2"), "{lag:?}");
    assert_eq!(finding(&cluster(one, &[]), 2, "replication_lag")["status"], "critical");
    two.psql("SELECT pg_wal_replay_resume()");
    settle(&nodes);

    // A standby under another name.
    let conninfo = three.psql("SHOW primary_conninfo");
    let renamed = format!("{conninfo} application_name=other").replace('\'', "''");
    three.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{renamed}'"));
    three.reload();
    let streams =
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'other' AND state = 'streaming'";
    one.wait_until(streams, "1", SOON);
    three.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    let found = expect(&nodes, 1, "downstream", "warning");
    let said = "1 of 2 downstream nodes attached under another application_name: node3 (ID: 3)";
    assert_eq!(found["message"], said);
    assert_eq!(finding(&cluster(one, &[]), 3, "upstream")["status"], "warning");

    // A standby that finds its way no more.
    set(three, "primary_conninfo", "'host=127.0.0.1 port=1'");
    one.wait_until("SELECT count(*) FROM pg_stat_replication", "1", SOON);
    let found = expect(&nodes, 3, "upstream", "critical");
    let said = "node \"node3\" (ID: 3) is not attached to expected upstream node \"node1\" (ID: 1)";
    assert_eq!(found["message"], said);
    let found = expect(&nodes, 1, "downstream", "critical");
    assert_eq!(found["message"], "1 of 2 downstream nodes not attached; missing: node3 (ID: 3)");
    three.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", conninfo.replace('\'', "''")));
    three.reload();
    one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2", SOON);
    settle(&nodes);

    // Logins for replication are refused; those that are there stay.
    let hba = std::fs::read_to_string(one.data.join("pg_hba.conf")).unwrap();
    one.prepend_hba("host replication all 127.0.0.1/32 reject");
    one.reload();
    wait_for("the login to be refused", SOON, || {
        let json = two.pgbaton(["node", "check", "--replication-login", "--json"]).run().json();
        finding(&json, 2, "replication_login")["status"] == "warning"
    });
    let found = expect(&nodes, 2, "replication_login", "warning");
    assert_eq!(found["message"], "login fails to \"node1\"");
    assert!(found["detail"].as_str().unwrap().contains("pg_hba.conf"), "{found}");
    let bad =
        two.pgbaton(["node", "check", "--replication-connection", "--remote-node-id=1", "--optformat"]).run();
    assert_eq!(bad.code(0).stdout, "--connection=BAD\n");
    std::fs::write(one.data.join("pg_hba.conf"), hba).unwrap();
    one.reload();
    wait_for("the login to be possible", SOON, || {
        let json = two.pgbaton(["node", "check", "--replication-login", "--json"]).run().json();
        finding(&json, 2, "replication_login")["status"] == "ok"
    });

    // Two rows, one server.
    let away = metadata(one, "SELECT conninfo FROM repmgr.nodes WHERE node_id = 3");
    metadata(
        one,
        "UPDATE repmgr.nodes SET conninfo = (SELECT conninfo FROM repmgr.nodes WHERE node_id = 2) WHERE node_id = 3",
    );
    settle(&nodes);
    let found = finding(&cluster(one, &[]), 3, "identity");
    assert_eq!(found["status"], "critical", "{found}");
    assert_eq!(found["message"], "nodes \"node2\" and \"node3\" are registered with the same server");
    metadata(one, &format!("UPDATE repmgr.nodes SET conninfo = '{away}' WHERE node_id = 3"));
    settle(&nodes);
    all_ok(&nodes);

    // A server that is down.
    three.stop(StopMode::Fast);
    let json = cluster(one, &[]);
    assert_eq!(json["data"]["verdict"], "critical");
    assert_eq!(finding(&json, 3, "db_connection")["status"], "critical");
    // What needs no server is there all the same.
    assert_eq!(finding(&json, 3, "free_space")["status"], "ok", "{json:#}");
    assert!(json["data"]["next"][0].as_str().unwrap().starts_with("pgbaton node start"), "{json:#}");
    assert_eq!(
        three.pgbaton(["node", "check", "--db-connection"]).run().code(2).stdout.get(..10),
        Some("CRITICAL (")
    );
    three.pgbaton(["node", "check", "--free-space"]).run().code(0);
    three.pgbaton(["node", "check", "--role=standby"]).run().code(3);
    three.pgbaton(["node", "check"]).run().code(6);
    let both = three.pgbaton(["node", "check", "--upstream", "--free-space"]).run();
    let lines: Vec<&str> = both.code(3).stdout.lines().collect();
    assert_eq!(lines[0], "Upstream connection: UNKNOWN (could not connect to node \"node3\")");
    assert!(lines[1].starts_with("Free disk space: OK ("), "{both:?}");
    let nagios = three.pgbaton(["node", "check", "--nagios"]).run();
    assert_eq!(nagios.code(3).stdout, "PGBATON_NODE UNKNOWN: could not connect to node \"node3\"\n");
    let output = three.pgbaton(["node", "check", "--archive-ready", "--optformat"]).run();
    assert_eq!(output.code(3).stdout, "--error=DB_CONNECTION\n");
    three.start();

    // Two primaries.
    two.promote();
    let json = cluster(three, &[]);
    assert_eq!(json["data"]["verdict"], "critical");
    assert_eq!(json["data"]["cluster"]["state"], "split_brain");
    assert!(
        json["issues"].as_array().unwrap().iter().any(|issue| issue["code"] == "split_brain"),
        "{json:#}"
    );
    for id in [1, 2] {
        assert_eq!(finding(&json, id, "server_role")["status"], "critical", "{json:#}");
    }
    let alone = one.pgbaton(["node", "check", "--role=primary"]).run();
    assert_eq!(alone.code(2).stdout, "CRITICAL (node is primary, and 2 nodes accept writes)\n");
    let table = one.pgbaton(["cluster", "check"]).run();
    assert!(table.code(2).stdout.starts_with("CRITICAL: split brain: 2 nodes accept writes; "), "{table:?}");
    // The promotion is not recorded: which of the two is right is for the DBA to decide.
    assert!(!table.stdout.contains("pgbaton node stop"), "{table:?}");
    // The old primary is gone, and the others are on different timelines.
    one.stop(StopMode::Fast);
    let json = cluster(three, &[]);
    assert_eq!(json["data"]["verdict"], "critical", "{json:#}");
    // Only the standby is left: no primary.
    two.stop(StopMode::Fast);
    let json = cluster(three, &[]);
    assert_eq!(json["data"]["cluster"]["state"], "no_primary", "{json:#}");
    assert_eq!(finding(&json, 3, "replication_lag")["status"], "unknown");
    // No node is left.
    three.stop(StopMode::Fast);
    let json = cluster(three, &[]);
    assert_eq!(
        (&json["data"]["verdict"], &json["data"]["cluster"]["state"]),
        (&"critical".into(), &"unknown".into())
    );
    let table = three.pgbaton(["cluster", "check"]).run();
    assert!(
        table.code(2).stdout.starts_with("CRITICAL: no node responds, the cluster was last seen "),
        "{table:?}"
    );
}

#[test]
fn a_replaced_primary_does_not_count_as_primary() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    // Where no node has seen a newer one, a backup runs.
    two.stop(StopMode::Fast);
    one.pgbaton(["node", "check", "--role=primary"]).run().code(0);
    two.start();
    settle(&nodes);
    // It is gone again, and was seen.
    two.promote();
    one.pgbaton(["cluster", "show"]).run().code(25);
    two.stop(StopMode::Fast);
    let single = one.pgbaton(["node", "check", "--role=primary"]).run();
    assert_eq!(single.code(2).stdout, "CRITICAL (node \"node1\" accepts writes on an old timeline)\n");
    assert!(single.stderr.contains("on timeline 2"), "{single:?}");
}

#[test]
fn a_hung_receiver_does_not_count_as_attached() {
    let nodes = nodes(&postgres(15).unwrap(), 2);
    let (one, two) = (nodes.node(1), nodes.node(2));
    set(two, "wal_receiver_status_interval", "'1s'");
    let receiver = two.process_titled("walreceiver");
    send(receiver, Signal::STOP);
    let shown = || {
        let document = one.pgbaton(["cluster", "show", "--json"]).run().json();
        let issues = document["issues"].as_array().unwrap().clone();
        issues.into_iter().any(|issue| issue["code"] == "receiver_hangs" && issue["node_id"] == 2)
    };
    wait_for("the hanging receiver to be noticed", 2 * SOON, shown);
    // It is listed as if nothing were.
    assert_eq!(one.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"), "2");
    expect(&nodes, 2, "upstream", "critical");
    let downstream = expect(&nodes, 1, "downstream", "critical");
    assert!(downstream["message"].as_str().unwrap().contains("missing: node2"), "{downstream:#}");
    let before = one.postmaster();
    let output = two.pgbaton(["standby", "switchover"]).run();
    output.code(1).says("the WAL receiver of node \"node2\" hangs").says("pgbaton node restart");
    assert_eq!((one.postmaster(), nodes.primaries()), (before, vec!["node1"]));
    // A sibling that hangs is reported.
    let output = nodes.node(3).pgbaton(["standby", "switchover", "--dry-run"]).run();
    output.code(0).says("the WAL receiver of node \"node2\" hangs");
    send(receiver, Signal::CONT);
    wait_for("it to be noticed that it receives", SOON, || !shown());
    expect(&nodes, 1, "downstream", "ok");
}

#[test]
fn settings_that_belong_to_another_node_are_detected() {
    let nodes = nodes(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let text = std::fs::read_to_string(two.config()).unwrap();
    let path = |server: &TestServer| server.data.display().to_string();
    let foreign = nodes.cluster.foreign("foreign");
    foreign.node_config(9, "");
    foreign.pgbaton(["primary", "register"]).run().code(0);
    let wrong = [
        text.replace(&format!("port={}", two.port), &format!("port={}", one.port)),
        text.replace(&path(two), &path(one)),
        text.replace(&format!("port={}", two.port), &format!("port={}", foreign.port)),
        text.replace(&path(two), &path(&foreign)),
    ];
    for wrong in wrong {
        assert_ne!(wrong, text);
        std::fs::write(two.config(), &wrong).unwrap();
        for command in ["status", "check"] {
            let output = two.pgbaton(["node", command]).run();
            assert_ne!(output.status.code(), Some(0), "{command} with {wrong}: {output:?}");
            let text = output.stdout.clone() + &output.stderr;
            let words = ["reaches another server", "another cluster", "is not registered", "belongs to"];
            assert!(words.iter().any(|words| text.contains(words)), "{command} with {wrong}: {output:?}");
        }
    }
    std::fs::write(two.config(), &text).unwrap();
    two.pgbaton(["node", "status"]).run().code(0);
    all_ok(&nodes);
}

#[test]
fn a_lock_does_not_hide_the_primary() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    // Asked before, so that the nodes are known.
    all_ok(&nodes);
    two.pgbaton(["cluster", "show"]).run().code(0);
    let mut psql = clean_command(&pg.tool("psql"));
    psql.args(["-XAtq", "-d", &one.conninfo(), "-c"]);
    psql.arg("BEGIN; LOCK TABLE repmgr.nodes; SELECT pg_sleep(600)");
    let locked = Running::start(psql);
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND wait_event = 'PgSleep'";
    one.wait_until(waits, "1", SOON);
    for from in [one, two] {
        let json = cluster(from, &["--timeout", "20"]);
        assert_eq!(json["data"]["cluster"]["state"], "healthy", "{json:#}");
        assert_eq!(json["data"]["cluster"]["primary_node_id"], 1, "{json:#}");
        assert_eq!(finding(&json, 1, "db_connection")["status"], "ok", "{json:#}");
        assert_eq!(finding(&json, 1, "archiver")["status"], "ok", "{json:#}");
    }
    one.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()");
    drop(locked);
}

#[test]
fn a_diverged_history() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // Promoted behind pgbaton's back, written to, and made a standby of the old primary again by force.
    two.promote();
    two.psql("CREATE TABLE lost (i int)");
    two.stop(StopMode::Fast);
    std::fs::write(two.data.join("standby.signal"), "").unwrap();
    two.start();
    let found = finding(&cluster(three, &[]), 2, "timeline");
    assert_eq!(found["status"], "critical", "{found}");
    assert!(found["detail"].as_str().unwrap().contains("timeline 2"), "{found}");
    let single = two.pgbaton(["node", "check", "--timeline"]).run();
    assert!(single.code(2).stdout.starts_with("CRITICAL ("), "{single:?}");
    one.pgbaton(["node", "check", "--timeline"]).run().code(2);
}

#[test]
fn problems_that_are_visible_only_on_the_host() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    // An operation that was killed.
    let operations = two.dir.join("state/operations");
    std::fs::create_dir_all(&operations).unwrap();
    let journal = operations.join("20261121T110000.000Z-ffff.jsonl");
    let killed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/1-switchover-killed.jsonl");
    std::fs::copy(killed, &journal).unwrap();
    let found = expect(&nodes, 2, "unfinished_operation", "warning");
    assert_eq!(found["message"], "operation \"standby switchover\" is unfinished");
    let json = cluster(one, &[]);
    let next = json["data"]["next"].as_array().unwrap();
    assert_eq!(next[0], "pgbaton operation show 20261121T110000.000Z-ffff  # on \"node2\"", "{json:#}");
    two.pgbaton(["node", "check"]).run().code(25);
    std::fs::remove_file(journal).unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&operations, mode(0o0)).unwrap();
    let found = expect(&nodes, 2, "unfinished_operation", "unknown");
    assert_eq!(found["message"], "the journal cannot be read");
    std::fs::set_permissions(&operations, mode(0o700)).unwrap();

    // Another data directory than the server's.
    let config = std::fs::read_to_string(two.config()).unwrap();
    let wrong = config.replace(&two.data.display().to_string(), &one.data.display().to_string());
    std::fs::write(two.config(), wrong).unwrap();
    let single = two.pgbaton(["node", "check", "--data-directory-config"]).run();
    let said = format!(
        "CRITICAL (configured \"data_directory\" is \"{}\"; actual data directory is \"{}\")\n",
        one.data.display(),
        two.data.display()
    );
    assert_eq!(single.code(2).stdout, said);
    std::fs::write(two.config(), config.clone()).unwrap();
    all_ok(&nodes);

    // A conninfo that leads nowhere, while the record of the node leads to it.
    let port = format!("port={}", two.port);
    assert!(config.contains(&port), "{config}");
    std::fs::write(two.config(), config.replace(&port, "port=1")).unwrap();
    let lost = two.pgbaton(["node", "check"]).run();
    let said = "\tConnection: CRITICAL (could not connect by conninfo of the configuration)\n";
    assert!(lost.code(25).stdout.contains(said), "{lost:?}");
    two.pgbaton(["node", "check", "--db-connection"]).run().code(2);
    std::fs::write(two.config(), config.clone()).unwrap();

    // A tablespace whose file system is not mounted, and places that cannot be looked at.
    let tablespaces = two.data.join("pg_tblspc");
    let link = tablespaces.join("99999");
    std::os::unix::fs::symlink("/nowhere/at/all", &link).unwrap();
    let found = expect(&nodes, 2, "free_space", "critical");
    assert!(found["message"].as_str().unwrap().ends_with("is a dangling symbolic link"), "{found}");
    std::fs::remove_file(&link).unwrap();
    std::fs::set_permissions(&tablespaces, mode(0o0)).unwrap();
    let found = expect(&nodes, 2, "free_space", "unknown");
    assert!(found["message"].as_str().unwrap().starts_with("tablespaces ("), "{found}");
    std::fs::set_permissions(&tablespaces, mode(0o700)).unwrap();
    expect(&nodes, 2, "free_space", "ok");

    // A file system that is full.
    if can_unshare() {
        std::fs::write(two.config(), config.replace(ROOM, "")).unwrap();
        let wal = two.data.join("pg_wal");
        let wal = wal.display();
        let mounts = format!(
            "mount -t tmpfs -o size=1M tmpfs {wal} && dd if=/dev/zero of={wal}/full bs=1k count=980 2>/dev/null"
        );
        let full = two.pgbaton(["node", "check", "--free-space"]).behind(&mounts).run();
        assert!(full.code(2).stdout.contains("free for pg_wal"), "{full:?}");
        let mounts = mounts.replace("980", "900");
        let full = two.pgbaton(["node", "check", "--free-space", "--nagios"]).behind(&mounts).run();
        assert!(full.code(1).stdout.starts_with("PGBATON_FREE_SPACE WARNING: "), "{full:?}");
        assert!(full.stdout.trim_end().ends_with("%;15:;5:"), "{full:?}");
    }
}

/// A library that sets the clock of the process that loads it twelve seconds back: gettimeofday() is what clock_timestamp() reads.
const CLOCK: &str = "
#define _GNU_SOURCE
#include <sys/time.h>
#include <sys/syscall.h>
#include <unistd.h>
int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
    int result = syscall(SYS_gettimeofday, tv, tz);
    tv->tv_sec -= 12;
    return result;
}
";

#[test]
fn a_wrong_clock() {
    let Some(pg) = postgres(15) else { return };
    let Some(cc) = support::installed("/usr/bin/cc", "gcc") else { return };
    let nodes = nodes(&pg, 1);
    let two = nodes.node(2);
    let (source, library) = (two.dir.join("clock.c"), two.dir.join("clock.so"));
    std::fs::write(&source, CLOCK).unwrap();
    let args = ["-shared".as_ref(), "-fPIC".as_ref(), "-o".as_ref(), library.as_os_str(), source.as_os_str()];
    run_tool(&cc, args).code(0);
    two.stop(StopMode::Fast);
    // It does not wait: what the server writes of its start is long ago for pg_ctl.
    let mut start = clean_command(&pg.tool("pg_ctl"));
    start.env("LD_PRELOAD", &library).args(["-s", "-W", "-l"]).arg(two.dir.join("log/start.log"));
    start.arg("-D").arg(&two.data).arg("start");
    assert!(start.status().unwrap().success());
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    let found = expect_clock(&nodes);
    assert!(found["message"].as_str().unwrap().contains("seconds behind that of \"node1\""), "{found}");
    assert!(found["value"].as_f64().unwrap() > 11.0, "{found}");
    let single = two.pgbaton(["node", "check", "--clock"]).run();
    assert!(single.code(2).stdout.starts_with("CRITICAL (its clock is 12"), "{single:?}");
    two.restart();
    two.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    all_ok(&nodes);
}

#[track_caller]
fn expect_clock(nodes: &Nodes) -> Value {
    let found = finding(&cluster(nodes.node(1), &[]), 2, "clock");
    assert_eq!(found["status"], "critical", "{found}");
    found
}

#[test]
fn frozen_servers_do_not_delay_the_checks() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // Asked before, so that what was last seen is known.
    all_ok(&nodes);
    three.freeze();
    let begun = Instant::now();
    let json = cluster(one, &["--timeout", "4"]);
    // The limit and what it takes to start and end, on a machine that does much else.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(finding(&json, 3, "db_connection")["status"], "critical", "{json:#}");
    assert_eq!(finding(&json, 2, "upstream")["status"], "ok", "{json:#}");
    assert_eq!(json["data"]["verdict"], "critical");
    two.pgbaton(["node", "check", "--role=standby", "--timeout", "4"]).run().code(0);
    // A check of the node itself queries no other node.
    two.pgbaton(["node", "check", "--archive-ready", "--timeout", "60"])
        .deadline(Duration::from_secs(20))
        .run()
        .code(0);
    one.freeze();
    let json = cluster(two, &["--timeout", "4"]);
    assert_eq!(json["data"]["cluster"]["state"], "no_primary", "{json:#}");
    let frozen = one.pgbaton(["node", "check", "--db-connection", "--timeout", "3"]).run();
    assert!(frozen.code(2).stderr.contains("DETAIL: It last responded as primary, "), "{frozen:?}");
    let frozen = one.pgbaton(["node", "check", "--role=primary", "--timeout", "3"]).run();
    assert!([2, 3].contains(&frozen.status.code().unwrap()), "{frozen:?}");
    one.thaw();
    three.thaw();
}

#[test]
fn other_hosts_are_queried_over_ssh_or_not_at_all() {
    let Some(pg) = postgres(15) else { return };
    let Some(hosts) = Hosts::new(&pg, 1) else { return };
    for server in &hosts.nodes.servers {
        configure_more(server, ROOM);
    }
    settle(&hosts.nodes);
    let far = ["free_space", "unfinished_operation", "data_directory", "replication_login"];
    let json = hosts.pgbaton_on(1, ["cluster", "check", "--json"]).run().code(0).json();
    for name in far {
        assert_eq!(finding(&json, 2, name)["status"], "ok", "{json:#}");
    }
    assert_eq!(json["issues"], serde_json::json!([]));
    let accepted = hosts.sshd.accepted();
    let json = hosts.pgbaton_on(1, ["cluster", "check", "--json", "--no-ssh"]).run().code(0).json();
    for name in far {
        assert_eq!(finding(&json, 2, name)["status"], "unknown", "{json:#}");
        assert_eq!(finding(&json, 1, name)["status"], "ok", "{json:#}");
    }
    assert_eq!(json["issues"], serde_json::json!([]));
    assert_eq!(hosts.sshd.accepted(), accepted);
    // A way that leads nowhere is one notice, and no alarm.
    let config = std::fs::read_to_string(hosts.node(1).config()).unwrap();
    std::fs::write(hosts.node(1).config(), config.replace("ssh_options = \"", "ssh_options = \"-p 1 "))
        .unwrap();
    let json = hosts.pgbaton_on(1, ["cluster", "check", "--json"]).run().code(0).json();
    assert_eq!(finding(&json, 2, "free_space")["status"], "unknown", "{json:#}");
    assert_eq!(json["issues"][0]["code"], "host_not_asked", "{json:#}");
    assert_eq!(
        json["issues"][0]["message"],
        "no information from the host of \"node2\"; files, processes and service there are unknown"
    );
    let table = hosts.pgbaton_on(1, ["cluster", "check"]).run();
    assert!(table.code(0).stderr.starts_with("NOTICE: no information from the host of"), "{table:?}");
}

#[test]
fn a_role_with_few_privileges_gets_the_grants_to_run() {
    let Some(pg) = postgres(15) else { return };
    let cluster_of = support::TestCluster::new(&pg);
    let one = cluster_of.primary("node1");
    one.prepend_hba("host all postgres,repmgr 127.0.0.1/32 reject");
    one.reload();
    configure(
        &one,
        1,
        "node1",
        &one.conninfo_as("baton", "baton"),
        &format!("{ROOM}\nuse_replication_slots = false"),
    );
    one.pgbaton(["primary", "register"]).run().code(0);
    let two = cluster_of.standby("node2", &one);
    configure(
        &two,
        2,
        "node2",
        &two.conninfo_as("baton", "baton"),
        &format!("{ROOM}\nuse_replication_slots = false"),
    );
    two.pgbaton(["standby", "register"]).run().code(0);
    two.wait_for_replay_of(&one);
    // With pg_monitor only what pg_rewind calls is missing.
    let json = cluster(&one, &[]);
    let found = finding(&json, 2, "rewind");
    assert_eq!(found["status"], "warning", "{found}");
    assert!(
        found["hint"].as_str().unwrap().contains("GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir("),
        "{found}"
    );
    // Once, although it is so on both.
    let table = one.pgbaton(["cluster", "check"]).run();
    assert_eq!(table.code(1).stderr.matches("pg_ls_dir").count(), 1, "{table:?}");
    assert!(table.stderr.starts_with("WARNING: nodes \"node1\", \"node2\", rewind: "), "{table:?}");
    for grant in found["hint"].as_str().unwrap().split_once(": ").unwrap().1.split_inclusive(';') {
        one.psql_as("postgres", "baton", grant.trim());
    }
    two.wait_for_replay_of(&one);
    let json = cluster(&one, &[]);
    assert_eq!(json["data"]["verdict"], "ok", "{json:#}");
    // Without it nothing is passed over in silence.
    one.psql("REVOKE pg_monitor FROM baton");
    two.wait_for_replay_of(&one);
    let json = cluster(&one, &[]);
    assert_eq!(json["data"]["verdict"], "unknown", "{json:#}");
    for (id, name, grant) in [
        (1, "archive_ready", "GRANT pg_monitor TO \"baton\";"),
        (1, "downstream", "GRANT pg_monitor TO \"baton\";"),
        (2, "upstream", "GRANT pg_monitor TO \"baton\";"),
        (1, "pending_restart", "GRANT pg_read_all_settings TO \"baton\";"),
    ] {
        let found = finding(&json, id, name);
        assert_eq!(found["status"], "unknown", "{found}");
        assert!(found["hint"].as_str().unwrap().ends_with(grant), "{found}");
    }
    // The server that runs on it was started when it says: that is proof enough.
    assert_eq!(finding(&json, 2, "data_directory")["status"], "ok");
}

#[test]
fn a_row_cannot_run_a_command_delay_the_check_or_forge_a_line() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let place = |name: &str| nodes.cluster.dir().join(name);
    let row = |set: &str, id: usize| {
        metadata(one, &format!("UPDATE repmgr.nodes SET {set} WHERE node_id = {id}"));
        let lsn = one.psql("SELECT pg_current_wal_lsn()");
        two.wait_until(&format!("SELECT pg_last_wal_replay_lsn() >= '{}'", lsn.trim()), "t", SOON);
    };
    let restore = |id: usize| {
        let server = nodes.node(id);
        let (conninfo, file) = (server.conninfo(), server.config());
        row(
            &format!(
                "node_name = '{}', conninfo = '{conninfo}', config_file = '{}', location = 'default'",
                server.name,
                file.display()
            ),
            id,
        );
    };

    // A world-writable file is not a configuration, whatever the row says.
    let mark = place("RUN");
    let evil = place("evil.toml");
    let command = format!("service_stop_command = \"touch {}\"\n", mark.display());
    std::fs::write(&evil, std::fs::read_to_string(one.config()).unwrap() + &command).unwrap();
    std::fs::set_permissions(&evil, std::fs::Permissions::from_mode(0o666)).unwrap();
    row(&format!("config_file = '{}'", evil.display()), 1);
    for words in [&["standby", "switchover"][..], &["cluster", "check"], &["cluster", "matrix"]] {
        let output = two.pgbaton(words).run();
        assert!(words[0] == "cluster" || output.status.code() != Some(0), "{output:?}");
        assert!(output.stderr.contains("other users could have written it"), "{output:?}");
    }
    // The far end itself refuses it too.
    let far_end =
        support::Pgbaton::new(nodes.cluster.dir()).args(["far-end", "-f"]).arg(evil.to_str().unwrap()).run();
    assert_ne!(far_end.status.code(), Some(0), "{far_end:?}");
    assert!(!mark.exists());
    assert_eq!(nodes.primaries(), ["node1"]);
    restore(1);

    // There is no writer for that pipe.
    let fifo = place("fifo");
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    row(&format!("config_file = '{}'", fifo.display()), 2);
    let dry_run = ["standby", "switchover", "--dry-run", "--node-id=2"];
    for words in [&["cluster", "check"][..], &["cluster", "matrix"], &dry_run] {
        let output = one.pgbaton(words).run();
        assert!(output.stderr.contains("it is not a regular file"), "{output:?}");
    }
    restore(2);

    // What ssh would take for an option, or its configuration for a command.
    for host in ["-oProxyCommand=touch RUN", "$(touch RUN)"] {
        row(
            &format!(
                "config_file = '/nowhere', conninfo = \
                 'host=''{host}'' hostaddr=127.0.0.1 port={} user=repmgr dbname=repmgr'",
                two.port
            ),
            2,
        );
        let output = one.pgbaton(dry_run).current_dir(nodes.cluster.dir()).run();
        assert!(output.stderr.contains("is not used for ssh"), "{output:?}");
        assert!(!mark.exists());
    }
    restore(2);

    // Names and other texts.
    let name = "no\u{1b}[31mde2\r\nERROR: forged \u{202e}\u{9b}2J";
    row(&format!("node_name = '{name}', location = E'a\\nERROR: forged'"), 2);
    for words in [
        &["cluster", "show"][..],
        &["cluster", "show", "--csv"],
        &["cluster", "show", "--json"],
        &["cluster", "check"],
        &["cluster", "check", "--nagios"],
        &["node", "check"],
        &["node", "status"],
        &["cluster", "matrix"],
        &["cluster", "event"],
        &dry_run,
        &["cluster", "cleanup", "--dry-run"],
    ] {
        let output = one.pgbaton(words).run();
        for text in [&output.stdout, &output.stderr] {
            let acts = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
            assert!(!text.contains(acts), "{words:?}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("ERROR: forged")), "{words:?}: {text}");
        }
    }
    restore(2);

    // Rows that describe no cluster.
    metadata(one, "UPDATE repmgr.nodes SET upstream_node_id = 2 WHERE node_id = 2");
    metadata(
        one,
        "INSERT INTO repmgr.nodes (node_id, upstream_node_id, active, node_name, type, location, priority, conninfo, \
         repluser, slot_name, config_file) VALUES (-7, 2, true, '-F', 'standby', '', -1, \
         E'host=''x\\ny'' hostaddr=192.0.2.1', '$(id)', '''; --', '--help')",
    );
    let shown = one.pgbaton(["cluster", "show"]).run();
    shown.code(25);
    assert!(shown.stdout.contains("-7") && shown.stderr.contains("to follow itself"), "{shown:?}");
    metadata(
        one,
        "INSERT INTO repmgr.nodes SELECT 1000 + n, NULL, true, 'many' || n, 'standby', 'default', 100, \
         'host=192.0.2.1', 'r', NULL, '/c' FROM generate_series(1, 5000) n",
    );
    let refused = one.pgbaton(["cluster", "show"]).run();
    refused.code(7);
    assert!(refused.stderr.contains("more than 1000 rows"), "{refused:?}");
}

#[test]
fn errors_are_unknown_to_monitoring() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 0);
    let one = nodes.node(1);
    let code = |words: &[&str], exit: i32| {
        let output = one.pgbaton(words.iter().copied()).run();
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {output:?}");
        output
    };
    code(&["cluster", "check", "--bogus"], 3);
    code(&["node", "check", "--role", "--bogus"], 3);
    code(&["node", "check", "--bogus"], 1);
    code(&["node", "check", "--role=chief"], 3);
    code(&["node", "check", "--optformat"], 3);
    let apart = code(&["node", "check", "--role", "primary"], 3);
    assert!(apart.stderr.contains("Did you mean \"--role=primary\"?"), "{apart:?}");
    // Nagios reads one line, from standard output.
    let line = code(&["node", "check", "--nagios", "--bogus"], 3).stdout;
    assert_eq!(line, "PGBATON_NODE UNKNOWN: unrecognized option \"--bogus\"\n");
    let line = code(&["node", "check", "--timeline", "--nagios", "-f", "/nowhere"], 3).stdout;
    assert!(line.starts_with("PGBATON_TIMELINE UNKNOWN: ") && line.lines().count() == 1, "{line}");
    let line = code(&["cluster", "check", "--nagios", "-h", "127.0.0.1", "-p", "1"], 3).stdout;
    assert!(line.starts_with("PGBATON_CLUSTER UNKNOWN: could not connect to "), "{line}");
    // An answer that cannot be written is no success.
    let mut full = clean_command(Path::new(env!("CARGO_BIN_EXE_pgbaton")));
    full.arg("-f").arg(one.config()).args(["cluster", "check", "--csv"]);
    full.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let full = full.output().unwrap();
    assert_eq!(full.status.code(), Some(3), "{full:?}");
    assert!(String::from_utf8_lossy(&full.stderr).contains("could not write the answer"), "{full:?}");
    code(&["node", "check", "--nagios", "--optformat", "--role"], 3);
    code(&["node", "check", "--has-passfile"], 0);
    code(&["node", "check", "--replication-config-owner"], 3);
    assert_eq!(
        code(&["node", "check", "--replication-config-owner", "--optformat"], 0).stdout,
        "--replication-config-owner=OK\n"
    );
    assert_eq!(
        code(&["node", "check", "--replication-connection", "--optformat"], 0).stdout,
        "--connection=UNKNOWN\n"
    );
    let document = code(&["cluster", "check", "--json", "-h", "127.0.0.1", "-p", "1"], 3).json();
    assert_eq!((&document["exit_code"], document["error"].is_null()), (&3.into(), false));
    for words in [["cluster", "show", "--nagios"], ["node", "status", "--optformat"]] {
        let output = code(&words, 1);
        assert!(
            output.stderr.contains("have that output.") || output.stderr.contains("has that output."),
            "{output:?}"
        );
    }
    let config = std::fs::read_to_string(one.config()).unwrap();
    for (lines, said) in [
        ("free_space_critical = 20", "must be less than"),
        ("slot_wal_critical = 1", "must be greater than"),
        ("free_space_warning = 0", "at least 1"),
    ] {
        std::fs::write(one.config(), format!("{config}{lines}\n")).unwrap();
        let output = code(&["cluster", "check"], 3);
        assert!(output.stderr.contains(said), "{output:?}");
    }
    std::fs::write(one.config(), &config).unwrap();
    metadata(one, "DELETE FROM repmgr.nodes");
    let output = code(&["node", "check", "--role"], 3);
    assert!(output.stderr.contains("is not registered"), "{output:?}");
    code(&["node", "check"], 1);
}

/// The WAL receiver looks for the password of a database named `replication`.
#[test]
fn a_login_is_tried_with_the_password_that_a_standby_uses() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql("CREATE ROLE copier LOGIN REPLICATION PASSWORD 'y'");
    one.prepend_hba("host replication copier 127.0.0.1/32 scram-sha-256");
    one.reload();
    let passfile = two.dir.join("pgpass");
    let passwords = |database: &str| {
        std::fs::write(&passfile, format!("127.0.0.1:{}:{database}:copier:y\n", one.port)).unwrap();
        std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    passwords("replication");
    let lead = format!(
        "host=127.0.0.1 port={} user=copier application_name=node2 passfile={}",
        one.port,
        passfile.display()
    );
    two.psql(&format!("ALTER SYSTEM SET primary_conninfo = '{lead}'"));
    two.reload();
    one.wait_until("SELECT usename FROM pg_stat_replication WHERE state = 'streaming'", "copier", SOON);
    let login = || two.pgbaton(["node", "check", "--replication-login"]).run();
    login().code(0);
    // By the name of the role a program would find it, and a standby does not.
    passwords("copier");
    let output = login();
    output.code(1).says("no password supplied");
}

/// What the real repmgr prints is printed, word for word, as a role without superuser.
#[test]
fn lines_match_the_real_repmgr() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster_of = support::TestCluster::new(&pg);
    let limits = "replication_lag_warning=1\nreplication_lag_critical=1000000\n";
    let conf = |server: &TestServer, id: i32| {
        let path = support::repmgr_conf(server, id);
        let text = std::fs::read_to_string(&path).unwrap();
        let conninfo = server.conninfo_as("baton", "baton");
        std::fs::write(&path, text.replace(&server.conninfo(), &conninfo) + limits).unwrap();
    };
    let one = cluster_of.primary("node1");
    configure(&one, 1, "node1", &one.conninfo_as("baton", "baton"), "");
    one.pgbaton(["primary", "register"]).run().code(0);
    let two = cluster_of.empty("node2");
    support::attach(&two, 2, &one);
    configure(&two, 2, "node2", &two.conninfo_as("baton", "baton"), "");
    two.pgbaton(["standby", "register"]).run().code(0);
    conf(&one, 1);
    conf(&two, 2);
    two.wait_for_replay_of(&one);

    let ours = |server: &TestServer, words: &[&str]| -> Output {
        let conf = server.dir.join("repmgr.conf").display().to_string();
        server.pgbaton(["node", "check", "-f", &conf]).args(words).run()
    };
    let same = |words: &[&str]| {
        for server in [&one, &two] {
            let theirs = real_repmgr(server, &[&["node", "check"], words].concat());
            let own = ours(server, words);
            assert_eq!(own.stdout, theirs.stdout, "{words:?} on {}: {own:?} {theirs:?}", server.name);
            assert_eq!(own.status.code(), theirs.status.code(), "{words:?} on {}", server.name);
        }
    };
    let everything = || {
        for option in [
            "--archive-ready",
            "--downstream",
            "--upstream",
            "--role",
            "--slots",
            "--missing-slots",
            "--data-directory-config",
            "--repmgrd",
        ] {
            for format in ["", "--nagios", "--optformat"] {
                same(
                    &[&[option][..], if format.is_empty() { &[] } else { std::slice::from_ref(&format) }]
                        .concat(),
                );
            }
        }
        // Their overview is the beginning of ours.
        for server in [&one, &two] {
            let theirs = real_repmgr(server, &["node", "check"]);
            let own = ours(server, &[]);
            let lag = |line: &&str| !line.contains("Replication lag: ");
            let first: Vec<&str> = own.stdout.lines().take(9).filter(lag).collect();
            assert_eq!(first, theirs.stdout.lines().filter(lag).collect::<Vec<_>>(), "{own:?} {theirs:?}");
        }
    };
    everything();
    for format in ["--nagios", "--optformat"] {
        same(&["--replication-lag", format]);
    }
    same(&["--replication-lag"]);
    same(&["--replication-connection", "--remote-node-id=2", "--optformat"]);
    same(&["--replication-config-owner", "--optformat"]);
    same(&["--db-connection", "--optformat"]);
    same(&["--has-passfile", "--optformat"]);

    // Files to archive, an inactive slot, one that is missing with its node, and lag.
    for i in 0..20 {
        std::fs::write(one.data.join(format!("pg_wal/archive_status/0000000A000000000000{i:04}.ready")), "")
            .unwrap();
    }
    one.psql("SELECT pg_create_physical_replication_slot('odd')");
    one.psql_as(
        "baton",
        "baton",
        "INSERT INTO repmgr.nodes SELECT 9, 1, true, 'node9', 'standby', location, 100, \
         'host=127.0.0.1 port=1 user=baton dbname=baton connect_timeout=2', 'baton', 'repmgr_slot_9', '/x' \
         FROM repmgr.nodes WHERE node_id = 1",
    );
    two.wait_for_replay_of(&one);
    two.psql("SELECT pg_wal_replay_pause()");
    two.wait_until("SELECT pg_is_wal_replay_paused()", "t", SOON);
    one.psql_as("baton", "baton", "CREATE TABLE t (i int)");
    two.wait_until("SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()", "t", SOON);
    two.wait_until("SELECT now() - pg_last_xact_replay_timestamp() > '3 s'", "t", SOON);
    everything();
    // The seconds go on between two calls: all but them is the same.
    let number = regex::Regex::new(r"(lag=|CRITICAL: |WARNING: |WARNING \()\d+").unwrap();
    for format in [&["--replication-lag", "--nagios"][..], &["--replication-lag", "--optformat"]] {
        let theirs = real_repmgr(&two, &[&["node", "check"], format].concat());
        let own = ours(&two, format);
        assert_eq!(number.replace_all(&own.stdout, "$1N"), number.replace_all(&theirs.stdout, "$1N"));
        assert_eq!(own.status.code(), theirs.status.code(), "{own:?} {theirs:?}");
    }
    for i in 20..150 {
        std::fs::write(one.data.join(format!("pg_wal/archive_status/0000000A000000000000{i:04}.ready")), "")
            .unwrap();
    }
    same(&["--archive-ready", "--nagios"]);
    same(&["--archive-ready"]);
    same(&["--archive-ready", "--optformat"]);
}

#[test]
fn tour() {
    for pg in versions() {
        let nodes = nodes(&pg, 1);
        all_ok(&nodes);
        nodes.node(2).pgbaton(["node", "check"]).run().code(0);
        nodes.node(2).psql("SELECT pg_wal_replay_pause()");
        nodes.node(2).wait_until("SELECT pg_is_wal_replay_paused()", "t", SOON);
        nodes.node(1).psql("SELECT pg_create_physical_replication_slot('odd')");
        let json = cluster(nodes.node(2), &[]);
        assert_eq!(finding(&json, 2, "replay")["status"], "warning", "{json:#}");
        assert_eq!(finding(&json, 1, "slots")["status"], "critical", "{json:#}");
        for id in [1, 2] {
            for name in [
                "wal_retained",
                "archiver",
                "pending_restart",
                "standby_settings",
                "rewind",
                "clock",
                "timeline",
            ] {
                assert_eq!(finding(&json, id, name)["status"], "ok", "{json:#}");
            }
        }
    }
}
