//! The whole life of a small cluster, as a superuser and as a role with no more rights than replication takes.

use std::time::Duration;

use crate::support::{Output, Pg, SOON, TestCluster, TestServer, configure, majors, postgres};

const LONG: Duration = Duration::from_secs(180);

#[track_caller]
fn run(server: &TestServer, args: &[&str]) -> Output {
    let output = server.pgbaton(args.iter().copied()).deadline(LONG).run();
    output.code(0);
    // The servers of the tests keep their ports in a file next to the data directory.
    let warnings = output.stderr.lines().filter(|line| {
        line.starts_with("WARNING")
            && !line.contains("configuration files of the source are outside its data directory")
    });
    assert_eq!(warnings.count(), 0, "{output:?}");
    output
}

/// Registers a primary, clones a standby and a cascaded one, starts, registers, shows and unregisters them.
fn tour(pg: &Pg, role: &str) {
    let cluster = TestCluster::new(pg);
    let node1 = cluster.primary("node1");
    if role != "repmgr" {
        // No superuser anywhere: a command that falls back on one is refused.
        node1.prepend_hba(
            "host all postgres,repmgr 127.0.0.1/32 reject\nhost replication repmgr 127.0.0.1/32 reject",
        );
        node1.reload();
    }
    let conninfo = node1.conninfo_as(role, role);
    configure(&node1, 1, &node1.name, &conninfo, "");
    run(&node1, &["primary", "register"]);

    let port = node1.port.to_string();
    let node2 = cluster.empty("node2");
    let conninfo = node2.conninfo_as(role, role);
    configure(&node2, 2, &node2.name, &conninfo, "");
    let source = ["standby", "clone", "-h", "127.0.0.1", "-p", &port, "-U", role, "-d", role];
    run(&node2, &[&source[..], &["--dry-run"]].concat());
    assert!(!node2.data.exists());
    run(&node2, &source);
    assert!(!node2.is_running());
    run(&node2, &["node", "start"]);
    run(&node2, &["standby", "register", "--wait-start", "--wait-sync"]);

    let node3 = cluster.empty("node3");
    let conninfo = node3.conninfo_as(role, role);
    configure(&node3, 3, &node3.name, &conninfo, "");
    let port = node2.port.to_string();
    run(
        &node3,
        &[
            "standby",
            "clone",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            role,
            "-d",
            role,
            "--upstream-node-id=2",
            "--start",
        ],
    );
    run(&node3, &["standby", "register", "--upstream-node-id=2", "--wait-sync"]);
    node1.psql_as(role, role, "CREATE TABLE t AS SELECT 42 AS i");
    node3.wait_for_replay_of(&node1);
    assert_eq!(node3.psql_as(role, role, "SELECT i FROM t"), "42");

    for server in [&node1, &node2, &node3] {
        let shown = run(server, &["cluster", "show", "--json"]).json();
        assert_eq!(shown["data"]["cluster"]["state"], "healthy", "{shown}");
        let upstreams: Vec<Option<i64>> = shown["data"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["upstream_node_id"].as_i64())
            .collect();
        assert_eq!(upstreams, [None, Some(1), Some(2)], "{shown}");
        let status = run(server, &["node", "status", "--json"]).json();
        assert_eq!(status["data"]["missing_slots"].as_array().unwrap().len(), 0, "{status}");
        run(server, &["node", "status"]);
    }
    let events = run(&node3, &["cluster", "event", "--json"]).json();
    let mut names: Vec<&str> = events["data"]["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in ["cluster_created", "primary_register", "standby_clone", "standby_register"] {
        assert!(names.contains(&name), "{names:?}");
    }

    // Only a superuser writes checkpoints before PostgreSQL 15; later there is a role for it.
    let restart = node3.pgbaton(["node", "restart", "--checkpoint"]).run();
    restart.code(0);
    if role != "repmgr" {
        restart.says("lacks the privilege to write a checkpoint, which is skipped");
    }
    if role != "repmgr" && pg.major >= 15 {
        node1.psql(restart.stderr.split_once("run: ").unwrap().1.lines().next().unwrap());
        node3.wait_for_replay_of(&node1);
        run(&node3, &["node", "restart", "--checkpoint"]);
    }
    run(&node3, &["node", "stop"]);
    let slots = "SELECT slot_name, active FROM pg_replication_slots";
    node2.wait_until(slots, "repmgr_slot_3|f", SOON);
    run(&node1, &["standby", "unregister", "--node-id=3"]);
    assert_eq!(node2.psql(slots), "");
    run(&node2, &["node", "stop"]);
    node1.wait_until(slots, "repmgr_slot_2|f", SOON);
    run(&node1, &["standby", "unregister", "--node-name=node2"]);
    assert_eq!(node1.psql(slots), "");
    assert_eq!(
        run(&node1, &["operation", "list", "--json"]).json()["data"]["operations"][0]["state"],
        "finished"
    );
    let output = node1.pgbaton(["primary", "unregister", "--force"]).run();
    output.code(0);
    assert_eq!(node1.psql_as(role, role, "SELECT count(*) FROM repmgr.nodes"), "0");
    // A run that could use a superuser by accident would prove nothing.
    if role != "repmgr" {
        let used = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
        assert_eq!(node1.psql_as(role, role, used), "f");
    }
}

#[test]
fn tour_without_superuser() {
    let Some(pg) = postgres(15) else { return };
    tour(&pg, "baton");
}

#[test]
fn tour_as_superuser() {
    let Some(pg) = postgres(15) else { return };
    tour(&pg, "repmgr");
}

#[test]
fn tour_without_superuser_on_the_oldest_version() {
    let Some(pg) = postgres(13) else { return };
    tour(&pg, "baton");
}

#[test]
fn tour_without_superuser_on_newer_versions() {
    for pg in majors().into_iter().filter(|pg| pg.major > 15) {
        tour(&pg, "baton");
    }
}
