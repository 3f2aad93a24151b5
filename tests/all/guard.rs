//! `node guard` on real servers, started as a supervisor would: first the guard, then the server if that said yes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    self, Fingerprint, Nodes, Observer, Output, Pg, Running, SOON, StopMode, TestCluster, TestServer,
    clean_command, configure, envelope, planned, postgres, registered, run_tool, send, versions, wait_for,
};

const STREAMS: &str = "SELECT status FROM pg_stat_wal_receiver";

/// A registered primary and standbys whose host has seen all of them, and which asks no longer than it has to.
fn nodes(pg: &Pg, standbys: usize, more: &str) -> Nodes {
    let nodes = Nodes::new(pg, standbys);
    for id in 1..=standbys + 1 {
        nodes.configure(id, &format!("guard_wait = 2\n{more}"));
    }
    nodes.node(1).pgbaton(["cluster", "show"]).run().code(0);
    nodes
}

fn guard(server: &TestServer, args: &[&str]) -> Output {
    server.pgbaton(["--json", "node", "guard"].iter().chain(args)).run()
}

/// What a supervisor does; returns what the guard has said.
fn supervise(server: &TestServer, args: &[&str]) -> Output {
    let said = guard(server, args);
    if said.status.success() {
        server.start();
    }
    said
}

/// Checks the answer and returns its data.
#[track_caller]
fn answers(said: &Output, exit: i32, decision: &str, reason: &str) -> Value {
    let changed = said.json()["changed"] == true;
    let json = envelope(said, "node guard", exit, changed);
    assert_eq!(
        (&json["data"]["decision"], &json["data"]["reason"]),
        (&json!(decision), &json!(reason)),
        "{said:?}"
    );
    json["data"].clone()
}

/// Returns what each node has said, by its name.
#[track_caller]
fn words(said: &Output) -> Vec<(String, String)> {
    let json = said.json();
    let word = |word: &Value| {
        (word["node_name"].as_str().unwrap().to_string(), word["says"].as_str().unwrap().to_string())
    };
    json["data"]["asked"].as_array().unwrap().iter().map(word).collect()
}

fn say(node: &str, says: &str) -> (String, String) {
    (node.to_string(), says.to_string())
}

fn topology(server: &TestServer) -> PathBuf {
    server.dir.join("state/topology.json")
}

/// Writes the file of the last seen topology anew.
fn edit_topology(server: &TestServer, change: impl FnOnce(&mut Value)) {
    let path = topology(server);
    let mut seen: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut seen);
    std::fs::write(&path, seen.to_string()).unwrap();
}

fn catch_up(nodes: &Nodes) {
    let one = nodes.node(1);
    nodes.servers.iter().skip(1).for_each(|standby| standby.wait_for_replay_of(one));
}

/// A failover, and the old primary is started again.
fn old_primary(pg: &Pg) {
    let nodes = nodes(pg, 2, "");
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    catch_up(&nodes);
    let seen_before = std::fs::read(topology(one)).unwrap();
    let forget = || std::fs::write(topology(one), &seen_before).unwrap();
    one.kill9();
    one.out_of_reach(|| two.pgbaton(["standby", "promote"]).run()).code(0);
    three.wait_until(STREAMS, "streaming", SOON);
    let observer = Observer::begin(&nodes.servers);

    // With all others up.
    let said = supervise(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    assert!(words(&said).contains(&say("node2", "against")), "{said:?}");
    assert!(said.stderr.contains("node rejoin") && said.stderr.contains("node guard --demote"), "{said:?}");
    assert!(said.took < Duration::from_secs(2), "{said:?}");

    // With one up, which is on the newer timeline and no primary.
    two.stop(StopMode::Fast);
    forget();
    let said = supervise(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    assert!(words(&said).contains(&say("node3", "against")), "{said:?}");
    said.says("is a standby on timeline 2, but this node is on timeline 1");

    // With none up; and the same after it has heard of the newer primary once.
    three.stop(StopMode::Fast);
    let said = supervise(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    said.says("was last seen as a standby on timeline 2");
    forget();
    let said = supervise(one, &[]);
    let data = answers(&said, 3, "unknown", "too_few_answers");
    assert_eq!(words(&said), [say("node2", "no_answer"), say("node3", "no_answer")]);
    assert_eq!((&data["named_by"], &data["of"]), (&json!(1), &json!(3)));
    assert!(data["waited_s"].as_f64().unwrap() >= 2.0, "{said:?}");
    said.says("1 of 3 nodes, including itself, confirm it as the primary; a majority is required");

    // The new primary and its standby, after a stop of everything.
    let mut waiting = two.pgbaton(["--json", "node", "guard", "--wait", "30"]).spawn();
    waiting.wait_for_stderr("it is not known yet whether", SOON);
    let said = supervise(three, &[]);
    answers(&said, 0, "start", "standby");
    let said = waiting.wait(SOON);
    assert_eq!(said.json()["data"]["decision"], "start", "{said:?}");
    two.start();
    three.wait_until(STREAMS, "streaming", SOON);
    let said = supervise(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    assert_eq!(nodes.primaries(), ["node2"]);
    observer.assert_never_two();
}

#[test]
fn an_old_primary_does_not_start_after_a_failover() {
    old_primary(&postgres(15).unwrap());
}

#[test]
fn short_tour_on_other_versions() {
    for pg in versions().iter().filter(|pg| pg.major != 15) {
        old_primary(pg);
        demoted(pg, false);
    }
}

/// What is on its way up: the guard, and after its yes the server.
struct Boot<'a> {
    server: &'a TestServer,
    guard: Option<Running>,
    said: Option<Output>,
}

impl<'a> Boot<'a> {
    fn begin(server: &'a TestServer) -> Self {
        let guard = server.pgbaton(["--json", "node", "guard", "--wait", "40"]).spawn();
        Self { server, guard: Some(guard), said: None }
    }

    /// Goes on if the guard has ended.
    fn go_on(&mut self, patience: Duration) -> bool {
        if let Some(guard) = &mut self.guard
            && guard.ends_within(patience)
        {
            let said = self.guard.take().unwrap().wait(SOON);
            if said.status.success() {
                self.server.start();
            }
            self.said = Some(said);
        }
        self.guard.is_none()
    }
}

/// Starts the servers in this order, and returns what was said, by node.
fn power_on<'a>(nodes: &'a Nodes, order: &[usize]) -> Vec<(usize, Output)> {
    let mut boots: Vec<(usize, Boot<'a>)> = Vec::new();
    for id in order {
        let mut boot = Boot::begin(nodes.node(*id));
        if !boot.go_on(Duration::from_secs(1)) {
            // It waits for others, as it should, and says so.
            boot.guard.as_mut().unwrap().wait_for_stderr("it is not known yet whether", SOON);
        }
        boots.push((*id, boot));
    }
    wait_for("all guards to have answered", Duration::from_secs(50), || {
        boots.iter_mut().filter(|(_, boot)| boot.guard.is_some()).all(|(_, boot)| boot.go_on(Duration::ZERO))
    });
    boots.into_iter().map(|(id, boot)| (id, boot.said.unwrap())).collect()
}

const ORDERS: [[usize; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

#[test]
fn after_a_power_failure_every_order_ends_with_the_same_primary() {
    let nodes = nodes(&postgres(15).unwrap(), 2, "");
    let observer = Observer::begin(&nodes.servers);
    for order in ORDERS {
        nodes.node(1).psql("CREATE TABLE IF NOT EXISTS t (n integer); INSERT INTO t VALUES (1)");
        nodes.servers.iter().for_each(TestServer::kill9);
        for (id, said) in power_on(&nodes, &order) {
            assert!(said.status.success(), "{order:?}: node{id}: {said:?}");
        }
        assert_eq!(nodes.primaries(), ["node1"], "{order:?}");
        nodes.servers.iter().skip(1).for_each(|standby| standby.wait_until(STREAMS, "streaming", SOON));
    }
    observer.assert_never_two();
}

#[test]
fn a_node_promoted_before_a_power_failure_is_the_primary_after_it() {
    let nodes = nodes(&postgres(15).unwrap(), 2, "");
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    catch_up(&nodes);
    let observer = Observer::begin(&nodes.servers);
    one.kill9();
    one.out_of_reach(|| two.pgbaton(["standby", "promote"]).run()).code(0);
    three.wait_until(STREAMS, "streaming", SOON);
    for order in ORDERS {
        two.psql("CREATE TABLE IF NOT EXISTS t (n integer); INSERT INTO t VALUES (1)");
        two.kill9();
        three.kill9();
        for (id, said) in power_on(&nodes, &order) {
            said.code(if id == 1 { 31 } else { 0 });
        }
        assert_eq!(nodes.primaries(), ["node2"], "{order:?}");
        three.wait_until(STREAMS, "streaming", SOON);
    }
    observer.assert_never_two();
}

/// The old primary comes up as a standby of the new one.
fn demoted(pg: &Pg, diverged: bool) {
    let nodes = nodes(pg, 2, "");
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    catch_up(&nodes);
    if diverged {
        two.stop(StopMode::Fast);
        three.stop(StopMode::Fast);
        one.psql("CREATE TABLE lost AS SELECT generate_series(1, 1000)");
        one.kill9();
        two.start();
        three.start();
    } else {
        one.stop(StopMode::Fast);
        // What is left of a recovery long ago must not make a primary of it.
        one.append_conf("recovery_target = 'immediate'\nrecovery_target_action = 'promote'");
    }
    one.out_of_reach(|| two.pgbaton(["standby", "promote", "--accept-data-loss"]).run());
    assert_eq!(nodes.primaries(), ["node2"]);
    let observer = Observer::begin(&nodes.servers);

    // Settings that a standby of that primary cannot have are named before it is one.
    one.append_conf("max_connections = 20");
    let low = guard(one, &["--demote", "--dry-run"]);
    low.code(31).says("max_connections is 20").says("ALTER SYSTEM SET max_connections = ");
    one.append_conf(&format!("max_connections = {}", two.psql("SHOW max_connections")));

    let state: Vec<PathBuf> = [one, two].iter().map(|server| server.dir.join("state")).collect();
    let state: Vec<_> = state.iter().map(PathBuf::as_path).collect();
    let before = Fingerprint::of(&[one, two], &state);
    let dry = guard(one, &["--demote", "--dry-run"]);
    assert!(!dry.stderr.contains("max_connections"), "{dry:?}");
    dry.code(31);
    // The target first: a server with a signal and a target would promote itself.
    let steps = planned(&dry);
    let signal = steps.iter().position(|step| step.ends_with("standby.signal\"")).unwrap();
    assert_eq!(signal, usize::from(!diverged), "{steps:?}");
    assert!(diverged || steps[0].contains("clear the recovery target"), "{steps:?}");
    before.assert_same(&Fingerprint::of(&[one, two], &state));

    let said = supervise(one, &["--demote"]);
    let data = answers(&said, 0, "demote", "newer_primary");
    assert_eq!((&data["to_node_id"], &data["parted"]), (&json!(2), &json!(diverged)), "{said:?}");
    assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
    if diverged {
        said.says("cannot stream until it is rejoined").says("It has WAL up to");
        one.pgbaton(["node", "rejoin", "--yes"]).run().code(0);
    } else {
        assert!(!said.stderr.contains("until it is rejoined"), "{said:?}");
    }
    one.wait_until(STREAMS, "streaming", SOON);
    two.wait_until(
        "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_replication WHERE state = 'streaming'",
        "node1 node3",
        SOON,
    );
    if !diverged {
        slots_of_an_old_primary(&nodes);
    }
    one.pgbaton(["cluster", "show"]).run().code(0);
    // Again: it is a standby.
    one.stop(StopMode::Fast);
    answers(&supervise(one, &["--demote"]), 0, "start", "standby");
    observer.assert_never_two();
}

/// Node 1 was the primary, and follows node 2 now: what the others streamed by is dropped, and nothing else.
fn slots_of_an_old_primary(nodes: &Nodes) {
    let (one, two) = (nodes.node(1), nodes.node(2));
    let slots = || one.psql("SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots");
    one.psql("SELECT pg_create_physical_replication_slot('barman', true)");
    assert_eq!(slots(), "barman repmgr_slot_2 repmgr_slot_3");
    let next = json!(["pgbaton node rejoin  # on \"node1\""]);
    one.wait_for_replay_of(two);
    let shown = two.pgbaton(["--json", "cluster", "show"]).run();
    assert_eq!(shown.code(25).json()["data"]["cluster"]["next"], next);
    let issue = &shown.json()["issues"][0];
    assert_eq!((&issue["code"], &issue["node_id"]), (&json!("slot_inactive"), &json!(1)));
    let checked = two.pgbaton(["--json", "cluster", "check"]).run();
    assert_eq!(checked.json()["data"]["next"], next, "{checked:?}");

    let dry = one.pgbaton(["--json", "node", "rejoin", "--dry-run"]).run();
    let dropped = ["2", "3"]
        .map(|id| format!("drop slot \"repmgr_slot_{id}\" on node \"node1\", which is no longer used"));
    assert_eq!(planned(&dry), dropped);
    assert_eq!(slots(), "barman repmgr_slot_2 repmgr_slot_3");
    one.pgbaton(["node", "rejoin"]).run().code(0);
    assert_eq!(slots(), "barman");
    one.pgbaton(["node", "rejoin"]).run().code(0).says("nothing was changed");

    // The same by the other command that attaches such a node again. A slot that is in use stays.
    one.psql("SELECT pg_create_physical_replication_slot('repmgr_slot_3', true)");
    let conninfo = one.conninfo();
    let receive = one.pg.tool("pg_receivewal");
    let directory = one.dir.join("received");
    std::fs::create_dir(&directory).unwrap();
    let mut command = clean_command(&receive);
    command.arg("-d").arg(&conninfo).arg("-D").arg(&directory).args(["--slot", "repmgr_slot_3", "--no-loop"]);
    let receiver = Running::start(command);
    let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_3'";
    one.wait_until(active, "t", SOON);
    one.pgbaton(["standby", "follow"]).run().code(0).says("nothing was changed");
    receiver.signal(Signal::INT);
    drop(receiver);
    one.wait_until(active, "f", SOON);
    one.pgbaton(["standby", "follow"]).run().code(0);
    assert_eq!(slots(), "barman");
    one.pgbaton(["standby", "follow"]).run().code(0).says("nothing was changed");
    one.psql("SELECT pg_drop_replication_slot('barman')");
}

/// A configuration that was copied and edited by half: data_directory is the one of another node, which is down.
#[test]
fn a_data_directory_of_another_node_is_not_demoted() {
    let nodes = nodes(&postgres(15).unwrap(), 2, "");
    let one = nodes.node(1);
    catch_up(&nodes);
    one.stop(StopMode::Fast);
    let wrong = nodes.cluster.empty("wrong");
    let two = nodes.node(2);
    configure(&wrong, 2, "node2", &two.conninfo(), "guard_wait = 2\nguard_on_unknown = \"demote\"");
    let path = wrong.dir.join("pgbaton.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (old, new) = (wrong.data.display().to_string(), one.data.display().to_string());
    assert!(text.contains(&old), "{text}");
    std::fs::write(&path, text.replace(&old, &new)).unwrap();
    let said = guard(&wrong, &["--demote"]);
    said.says("another server responds as this node").says("Nothing was changed");
    assert!(matches!(said.status.code(), Some(3 | 31)), "{said:?}");
    assert!(!one.data.join("standby.signal").exists());
}

#[test]
fn a_copy_of_the_primary_does_not_start_while_the_primary_runs() {
    let nodes = nodes(&postgres(15).unwrap(), 2, "");
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    catch_up(&nodes);
    one.stop(StopMode::Fast);
    let copy = nodes.cluster.empty("copy");
    run_tool(Path::new("/bin/cp"), ["-a".as_ref(), one.data.as_os_str(), copy.data.as_os_str()]).code(0);
    configure(&copy, 1, "node1", &copy.conninfo(), "guard_wait = 2");
    // As the hint says where a host knows no other node.
    let port = two.port.to_string();
    copy.pgbaton(["cluster", "show", "-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr"])
        .run()
        .code(25);
    answers(&supervise(one, &[]), 0, "start", "all");
    // No node has seen yet that it is back.
    let is_copied = |said: &Output| {
        said.says("an address of this node, accepts writes, on timeline 1").says("one of the two is a copy");
        assert!(!copy.is_running());
    };
    let said = guard(&copy, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    is_copied(&said);
    for more in [&["node", "start"][..], &["node", "start", "--force"], &["node", "restart"]] {
        is_copied(copy.pgbaton(more).run().code(31));
    }
    // Its conninfo leads to the original as well: a configuration that was only copied.
    configure(&copy, 1, "node1", &one.conninfo(), "guard_wait = 2");
    let said = guard(&copy, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    is_copied(&said);
    is_copied(copy.pgbaton(["node", "start"]).run().code(31));
    // Nor is it made a standby: the directory that is named may be the one of another node.
    let said = guard(&copy, &["--demote"]);
    answers(&said, 31, "refuse", "newer_primary");
    said.says("another server responds as this node").says("Nothing was changed");
    assert!(!copy.data.join("standby.signal").exists());

    // It is started all the same.
    configure(&copy, 1, "node1", &copy.conninfo(), "guard_wait = 2");
    copy.start();
    let shown = copy.pgbaton(["--json", "cluster", "show"]).run();
    let issues = shown.code(25).json()["issues"].as_array().unwrap().clone();
    let wrong = issues.iter().find(|issue| issue["code"] == "wrong_server").expect("it is reported");
    assert!(wrong["detail"].as_str().unwrap().contains("one of them is a copy"), "{wrong}");
    copy.pgbaton(["node", "check", "--identity"]).run().says("lead to different servers");
    copy.pgbaton(["node", "restart"]).run().code(31).says("one of the two is a copy");
    one.pgbaton(["node", "restart", "--dry-run"]).run().code(0);

    // It was moved, and the old place is gone: that is reported, and it starts.
    one.stop(StopMode::Fast);
    copy.stop(StopMode::Fast);
    // What the original has written meanwhile was not in the first copy.
    std::fs::remove_dir_all(&copy.data).unwrap();
    run_tool(Path::new("/bin/cp"), ["-a".as_ref(), one.data.as_os_str(), copy.data.as_os_str()]).code(0);
    let said = guard(&copy, &[]);
    answers(&said, 0, "start", "all");
    said.says("an address of this node, does not respond").says("pgbaton primary register --force");
    copy.start();
    copy.pgbaton(["cluster", "show"]).run().code(25).says("\"pgbaton primary register --force\" on it");
    copy.pgbaton(["primary", "register", "--force"]).run().code(0);
    for standby in [two, three] {
        let from = copy.port.to_string();
        standby.psql(&format!(
            "ALTER SYSTEM SET primary_conninfo = '{} application_name={}'",
            copy.conninfo(),
            standby.name
        ));
        standby.reload();
        standby.wait_until(
            "SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'",
            &from,
            SOON,
        );
        standby.wait_for_replay_of(&copy);
    }
    // Now it is the old place that would be the copy.
    let said = guard(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    said.says("one of the two is a copy");
}

#[test]
fn a_demoted_primary_streams() {
    demoted(&postgres(15).unwrap(), false);
}

#[test]
fn a_demoted_primary_that_has_diverged_waits_for_its_rejoin() {
    demoted(&postgres(15).unwrap(), true);
}

/// Leaves the journal of an operation that was killed.
fn leave_operation(server: &TestServer) -> PathBuf {
    let text = include_str!("../fixtures/journal/1-switchover-killed.jsonl");
    let directory = server.dir.join("state/operations");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("20261121T110000.000Z-ffff.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn it_does_not_start_while_a_primary_that_was_left_behind_runs() {
    let nodes = nodes(&postgres(15).unwrap(), 1, "");
    let (one, two) = (nodes.node(1), nodes.node(2));
    catch_up(&nodes);
    one.kill9();
    one.out_of_reach(|| two.pgbaton(["standby", "promote"]).run()).code(0);
    two.stop(StopMode::Fast);
    // Started without asking the guard.
    one.start();
    let said = supervise(two, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    said.says("Node \"node1\" accepts writes, on timeline 1")
        .says("is on an older timeline than this node. Stop it first");
    // It is no primary to follow.
    let said = supervise(two, &["--demote"]);
    let data = answers(&said, 0, "demote", "newer_primary");
    assert!(data["to_node_id"].is_null(), "{said:?}");
    assert_eq!(nodes.primaries(), ["node1"]);
}

#[test]
fn without_a_primary_to_follow_it_becomes_a_standby_without_an_upstream() {
    let nodes = nodes(&postgres(15).unwrap(), 2, "");
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    catch_up(&nodes);
    one.kill9();
    one.out_of_reach(|| two.pgbaton(["standby", "promote"]).run()).code(0);
    three.wait_until(STREAMS, "streaming", SOON);
    two.kill9();
    // Something else was begun here: nothing else is done, and nothing is started.
    let journal = leave_operation(one);
    let said = supervise(one, &["--demote"]);
    answers(&said, 31, "refuse", "newer_primary");
    said.says("operation \"standby switchover\" is unfinished on this node");
    assert!(!one.data.join("standby.signal").exists());
    std::fs::remove_file(journal).unwrap();

    let said = supervise(one, &["--demote"]);
    let data = answers(&said, 0, "demote", "newer_primary");
    assert!(data["to_node_id"].is_null(), "{said:?}");
    said.says("without an upstream: no newer primary responds").says("node3");
    assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
    two.start();
    one.pgbaton(["node", "rejoin", "--yes"]).run().code(0);
    one.wait_until(STREAMS, "streaming", SOON);
}

#[test]
fn without_nodes_to_query_the_answer_comes_at_once() {
    let pg = postgres(15).unwrap();
    let cluster = TestCluster::new(&pg);
    let alone = registered(&cluster, "node1", 1);
    answers(&guard(&alone, &[]), 0, "start", "already_running");
    alone.kill9();
    let said = supervise(&alone, &[]);
    answers(&said, 0, "start", "single_node");
    assert!(said.took < Duration::from_secs(2), "{said:?}");

    alone.stop(StopMode::Fast);
    leave_operation(&alone);
    let said = supervise(&alone, &[]);
    answers(&said, 0, "start", "single_node");
    said.says("WARNING: operation \"standby switchover\" is unfinished on this node");

    // A standby while all other nodes are down.
    let standby = cluster.standby("node2", &alone);
    standby.node_config(2, "");
    standby.pgbaton(["standby", "register"]).run().code(0);
    standby.stop(StopMode::Fast);
    alone.stop(StopMode::Fast);
    let said = supervise(&standby, &[]);
    answers(&said, 0, "start", "standby");
    assert!(said.took < Duration::from_secs(2), "{said:?}");
    standby.stop(StopMode::Fast);

    // A standby has the signal for one. After a recovery a server accepts writes, so it is asked for like any other.
    std::fs::rename(standby.data.join("standby.signal"), standby.data.join("recovery.signal")).unwrap();
    guard(&standby, &["--wait", "1"]).code(3);

    // Half of a rewind.
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&standby.data, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o702);
    let said = guard(&standby, &[]);
    answers(&said, 3, "unknown", "unfinished_rewind");
    said.says("node rejoin");
    mode(0o700);

    let place = cluster.empty("node3");
    place.node_config(3, "");
    answers(&guard(&place, &[]), 0, "start", "nothing_to_start");
    std::fs::create_dir(&place.data).unwrap();
    answers(&guard(&place, &[]), 0, "start", "nothing_to_start");
    // Half of a clone.
    std::fs::create_dir(place.data.join("pgbaton_clone")).unwrap();
    std::fs::write(place.data.join("pgbaton_clone/marker.json"), r#"{"note":"","tablespaces":[]}"#).unwrap();
    std::fs::write(place.data.join("standby.signal"), "").unwrap();
    let said = guard(&place, &[]);
    answers(&said, 3, "unknown", "unfinished_clone");
    said.says("standby clone");
    std::fs::remove_dir_all(&place.data).unwrap();
    std::fs::create_dir(&place.data).unwrap();
    std::fs::write(place.data.join("diary"), "").unwrap();
    answers(&guard(&place, &[]), 3, "unknown", "no_data_directory");
}

#[test]
fn an_implausible_file_is_not_trusted() {
    let pg = postgres(15).unwrap();
    let cluster = TestCluster::new(&pg);
    let alone = registered(&cluster, "node1", 1);
    alone.node_config(1, "guard_wait = 2");
    alone.psql("SELECT pg_create_physical_replication_slot('barman')");
    alone.stop(StopMode::Fast);
    let good = std::fs::read(topology(&alone)).unwrap();
    answers(&guard(&alone, &[]), 0, "start", "single_node");
    let doubted = |why: &str| {
        let said = guard(&alone, &[]);
        answers(&said, 3, "unknown", "no_topology");
        said.says("saved topology is not used").says(why).says("Name a node to ask with --node");
        // There is no node to wait for.
        assert!(said.took < Duration::from_secs(2), "{said:?}");
        std::fs::write(topology(&alone), &good).unwrap();
    };
    std::fs::remove_file(topology(&alone)).unwrap();
    doubted("There is no");
    std::fs::write(topology(&alone), &good[..good.len() / 2]).unwrap();
    doubted("ould not parse");
    std::fs::write(topology(&alone), "").unwrap();
    doubted("ould not parse");
    edit_topology(&alone, |seen| seen["format"] = json!(99));
    doubted("newer version of pgbaton");
    edit_topology(&alone, |seen| seen["system_identifier"] = json!("1"));
    doubted("belongs to another cluster");
    edit_topology(&alone, |seen| seen["observed_at"] = json!("2020-01-01T00:00:00Z"));
    doubted("ran after that for more than a day");
    edit_topology(&alone, |seen| seen["nodes"][0]["row"]["node_id"] = json!(7));
    // Then there is one: node 7, which does not respond.
    let said = guard(&alone, &[]);
    said.code(3).says("It has no node 1 \"node1\"");
    std::fs::write(topology(&alone), &good).unwrap();

    // A witness has a cluster of its own.
    edit_topology(&alone, |seen| {
        seen["system_identifier"] = json!("1");
        seen["nodes"][0]["row"]["type"] = json!("witness");
    });
    answers(&guard(&alone, &[]), 0, "start", "witness");
    std::fs::write(topology(&alone), &good).unwrap();

    // A standby was made that this node has never looked for.
    alone.start();
    alone.psql("SELECT pg_create_physical_replication_slot('repmgr_slot_2')");
    alone.stop(StopMode::Fast);
    doubted("has a replication slot \"repmgr_slot_2\"");
}

#[test]
fn without_a_file_a_node_can_be_named() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    nodes.configure(1, "guard_wait = 2");
    catch_up(&nodes);
    one.stop(StopMode::Fast);
    // Written when it was registered, and it knows no other node.
    let said = guard(one, &[]);
    answers(&said, 3, "unknown", "no_topology");
    said.says("has a replication slot \"repmgr_slot_2\"");
    for damaged in [false, true] {
        if damaged {
            std::fs::write(topology(one), "{").unwrap();
        }
        let said = guard(one, &["--node", &two.conninfo()]);
        answers(&said, 0, "start", "all");
        assert_eq!(words(&said), [say("node2", "for"), say("node3", "for")]);
    }
    let port = three.port.to_string();
    let said = guard(one, &["-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr"]);
    answers(&said, 0, "start", "all");
    // One that does not respond, and one that belongs to no node.
    two.stop(StopMode::Fast);
    let dead = two.conninfo();
    let said = guard(one, &["--node", &dead, "--node", &three.conninfo()]);
    answers(&said, 0, "start", "majority");
    three.stop(StopMode::Fast);
    let said = guard(one, &["--node", &dead]);
    answers(&said, 3, "unknown", "too_few_answers");
    let said = guard(one, &["--node", "host='"]);
    said.code(3).says("invalid connection string in --node");
    // A server of another cluster.
    let foreign = nodes.cluster.foreign("foreign");
    let said = guard(one, &["--node", &foreign.conninfo()]);
    said.code(3).says("A server of another cluster responds");

    two.start();
    three.start();
    two.promote();
    std::fs::remove_file(topology(one)).unwrap();
    let said = guard(one, &["--node", &two.conninfo()]);
    answers(&said, 31, "refuse", "newer_primary");
}

#[test]
fn the_configuration_decides_when_no_node_responds() {
    let nodes = nodes(&postgres(15).unwrap(), 1, "");
    let (one, two) = (nodes.node(1), nodes.node(2));
    catch_up(&nodes);
    let seen = std::fs::read(topology(one)).unwrap();
    two.stop(StopMode::Fast);
    one.kill9();
    let said = supervise(one, &[]);
    answers(&said, 3, "unknown", "too_few_answers");
    assert!(said.took < Duration::from_secs(10), "{said:?}");
    // Demoted are those of which something newer is known.
    answers(&supervise(one, &["--demote"]), 3, "unknown", "too_few_answers");

    nodes.configure(1, "guard_wait = 1\nguard_on_unknown = \"start\"");
    let said = supervise(one, &[]);
    let data = answers(&said, 0, "start", "too_few_answers");
    assert_eq!(data["on_unknown"], "start");
    said.says("WARNING: node \"node1\" starts although");
    assert_eq!(nodes.primaries(), ["node1"]);
    one.kill9();

    nodes.configure(1, "guard_wait = 1\nguard_on_unknown = \"demote\"");
    let said = supervise(one, &[]);
    let data = answers(&said, 0, "demote", "too_few_answers");
    assert_eq!(data["on_unknown"], "demote");
    said.says("WARNING: node \"node1\" will start as a standby without an upstream").says("standby promote");
    assert_eq!(nodes.primaries(), Vec::<&str>::new());
    // What the hint says.
    one.pgbaton(["standby", "promote"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node1"]);

    // However few answer: what is known is known.
    one.stop(StopMode::Fast);
    two.start();
    one.out_of_reach(|| two.pgbaton(["standby", "promote", "--force", "--accept-data-loss"]).run());
    two.stop(StopMode::Fast);
    std::fs::write(topology(one), seen).unwrap();
    edit_topology(one, |seen| seen["nodes"][1]["timeline"] = json!(9));
    nodes.configure(1, "guard_wait = 1\nguard_on_unknown = \"start\"");
    let said = supervise(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
}

#[test]
fn a_witness_has_a_vote_for_and_against() {
    let Some(pg) = postgres(15) else { return };
    let nodes = nodes(&pg, 1, "");
    let (one, two) = (nodes.node(1), nodes.node(2));
    let witness = nodes.cluster.foreign("witness");
    witness.node_config(9, "");
    let port = one.port.to_string();
    let register = ["witness", "register", "-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr"];
    witness.pgbaton(register).run().code(0);
    one.pgbaton(["cluster", "show"]).run().code(0);

    // It makes the majority where the standby is away.
    two.stop(StopMode::Fast);
    one.stop(StopMode::Fast);
    let said = supervise(one, &[]);
    let data = answers(&said, 0, "start", "majority");
    assert_eq!(words(&said), [say("node2", "no_answer"), say("witness", "for")]);
    assert_eq!((&data["named_by"], &data["of"]), (&json!(2), &json!(3)));
    two.start();
    two.wait_until(STREAMS, "streaming", SOON);

    // It was notified of the failover, and says so where the new primary is away.
    one.kill9();
    one.out_of_reach(|| two.pgbaton(["standby", "promote"]).run())
        .code(0)
        .says("update the metadata on witness \"witness\"");
    two.stop(StopMode::Fast);
    let said = supervise(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    assert!(words(&said).contains(&say("witness", "against")), "{said:?}");
}

#[test]
fn frozen_nodes_are_not_waited_for_longer_than_configured() {
    let nodes = nodes(&postgres(15).unwrap(), 2, "");
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    catch_up(&nodes);
    one.stop(StopMode::Fast);
    two.freeze();
    // The other one is a majority with us, once there is no more time for this one.
    let said = guard(one, &["--wait", "3"]);
    answers(&said, 0, "start", "majority");
    said.says("WARNING: node \"node1\" may start").says("Node \"node2\" does not respond");
    assert!(said.took >= Duration::from_secs(3) && said.took < Duration::from_secs(15), "{said:?}");
    three.freeze();
    let said = supervise(one, &[]);
    answers(&said, 3, "unknown", "too_few_answers");
    assert!(said.took < Duration::from_secs(15), "{said:?}");
    two.thaw();
    three.thaw();
    answers(&supervise(one, &[]), 0, "start", "all");
}

#[test]
fn a_node_that_rejects_connections_has_no_vote() {
    let nodes = nodes(&postgres(15).unwrap(), 1, "");
    let (one, two) = (nodes.node(1), nodes.node(2));
    catch_up(&nodes);
    two.set_hba("host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 trust");
    two.reload();
    one.stop(StopMode::Fast);
    let wrong = two.pgbaton(["node", "guard"]).run();
    wrong.code(0);
    let said = supervise(one, &["--node", &format!("{} password=wrong", two.conninfo())]);
    answers(&said, 3, "unknown", "too_few_answers");
    assert_eq!(words(&said)[0], say("node2", "unclear"), "{said:?}");
    said.says("responds but does not report its role");
    assert!(!said.stderr.contains("wrong\"") && !said.stdout.contains("password=wrong"), "{said:?}");
    // A primary that rejects connections has no vote either, and is no proof.
    two.promote();
    answers(&supervise(one, &[]), 3, "unknown", "too_few_answers");
    two.set_hba("host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust");
    two.reload();
    answers(&supervise(one, &[]), 31, "refuse", "newer_primary");
}

#[test]
fn a_server_that_has_lost_wal_does_not_write_over_it() {
    let nodes = nodes(&postgres(15).unwrap(), 1, "");
    let (one, two) = (nodes.node(1), nodes.node(2));
    catch_up(&nodes);
    // As a snapshot of the machine that is put back, or a disk that had promised too much.
    one.stop(StopMode::Fast);
    let old = nodes.cluster.dir().join("snapshot");
    support::run_tool(
        std::path::Path::new("/bin/cp"),
        ["-a".as_ref(), one.data.as_os_str(), old.as_os_str()],
    )
    .code(0);
    one.start();
    one.psql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    catch_up(&nodes);
    one.stop(StopMode::Fast);
    answers(&guard(one, &[]), 0, "start", "all");
    std::fs::remove_dir_all(&one.data).unwrap();
    std::fs::rename(&old, &one.data).unwrap();
    let said = supervise(one, &[]);
    answers(&said, 31, "refuse", "newer_primary");
    said.says("has replayed WAL up to");
    two.promote();
    supervise(one, &["--demote"]).code(0);
    one.wait_until(STREAMS, "streaming", SOON);
    assert_eq!(one.psql("SELECT count(*) FROM t"), "1000");
}

#[test]
fn an_interrupted_guard_does_not_allow_the_start() {
    let nodes = nodes(&postgres(15).unwrap(), 1, "");
    let (one, two) = (nodes.node(1), nodes.node(2));
    two.stop(StopMode::Fast);
    one.stop(StopMode::Fast);
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut running = one.pgbaton(["--json", "node", "guard", "--wait", "50"]).spawn();
        running.wait_for_stderr("it is not known yet whether", SOON);
        // A terminal that is gone is no reason to stop.
        running.signal(Signal::HUP);
        running.signal(signal);
        let said = running.wait(Duration::from_secs(10));
        said.code(3).says(&format!("interrupted by {name}"));
        envelope(&said, "node guard", 3, false);
    }
}

#[test]
fn every_error_exits_with_3() {
    let nodes = nodes(&postgres(15).unwrap(), 1, "");
    let one = nodes.node(1);
    one.stop(StopMode::Fast);
    for args in [
        &["--bogus"][..],
        &["--wait", "x"],
        &["--wait"],
        &["more"],
        &["--node-id", "2"],
        &["--node-name", "node2"],
        &["-d", "host='"],
    ] {
        let said = guard(one, args);
        said.code(3);
        assert_eq!(said.json()["exit_code"], 3, "{said:?}");
    }
    one.pgbaton(["--csv", "node", "guard"]).run().code(3).says("has no CSV output");
    one.pgbaton(["-b", "/nonexistent", "node", "guard"]).run().code(3).says("pg_bindir");
    let config = one.config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, "node_id = 1\n").unwrap();
    envelope(&guard(one, &[]), "node guard", 3, false);
    std::fs::write(&config, format!("{text}\nguard_on_unknown = \"maybe\"\n")).unwrap();
    guard(one, &[]).code(3).says("guard_on_unknown");
    std::fs::remove_file(&config).unwrap();
    guard(one, &["-f", &config.to_string_lossy()]).code(3);
    std::fs::write(&config, text).unwrap();
    // A damaged control file.
    std::fs::write(one.data.join("global/pg_control"), "x").unwrap();
    answers(&guard(one, &[]), 3, "unknown", "unreadable");
}

#[test]
fn a_switchover_that_rolls_back_gets_its_primary_back() {
    let nodes = nodes(&postgres(15).unwrap(), 1, "");
    let (one, two) = (nodes.node(1), nodes.node(2));
    let program = env!("CARGO_BIN_EXE_pgbaton");
    let log = one.dir.join("guard.log");
    let start = format!(
        "{program} -f {} node guard --wait 1 2>> {} && {} -w -s -D {} -l /dev/null start",
        one.config().display(),
        log.display(),
        one.pg.tool("pg_ctl").display(),
        one.data.display()
    );
    nodes.configure(1, &format!("service_start_command = {}", json!(start)));
    nodes.configure(2, "wal_receive_check_timeout = 2\nshutdown_check_timeout = 20");
    let observer = Observer::begin(&nodes.servers);
    let receiver = two.process_titled("walreceiver");
    let said = one.with_configuration(&one.stop_that_freezes(receiver), || {
        two.pgbaton(["standby", "switchover"]).run()
    });
    send(receiver, Signal::CONT);
    said.code(18);
    assert_eq!(nodes.primaries(), ["node1"]);
    let written = std::fs::read_to_string(&log).unwrap();
    assert!(written.contains("\"pgbaton standby switchover\", which is running"), "{written}");
    two.wait_until(STREAMS, "streaming", SOON);
    // And the whole way: the guard lets a standby start.
    two.pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(nodes.primaries(), ["node2"]);
    observer.assert_never_two();
    let written = std::fs::read_to_string(&log).unwrap();
    assert!(written.contains("it has standby.signal"), "{written}");
}

/// Runs the entrypoint of a container on a server.
fn container(server: &TestServer, more: &[(&str, &str)]) -> Running {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/container/entrypoint.sh");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_pgbaton")).parent().unwrap();
    let mut command = support::clean_command(std::path::Path::new("/bin/sh"));
    command.arg(script).arg("postgres").args(["-c", "log_min_messages=warning"]);
    let path = format!("{}:{}:/usr/bin:/bin", program.display(), server.pg.bindir.display());
    command.env("PATH", path).env("HOME", &server.dir);
    command.env("PGDATA", &server.data).env("PGBATON_CONFIG", server.config());
    command.envs(more.iter().copied());
    Running::start(command)
}

#[test]
fn the_entrypoint_of_a_container_starts_only_what_it_should() {
    let nodes = nodes(&postgres(15).unwrap(), 2, "");
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    catch_up(&nodes);
    nodes.servers.iter().for_each(|server| server.stop(StopMode::Fast));
    let observer = Observer::begin(&nodes.servers);

    // Restarted as long as it could not be determined, like a container; then it is the server.
    let ended = container(one, &[]).wait(SOON);
    ended.code(3).says("it cannot be determined whether node \"node1\" may start");
    let mut second = container(two, &[]);
    let mut third = container(three, &[]);
    let begun = Instant::now();
    let mut first = loop {
        let mut first = container(one, &[]);
        if !first.ends_within(Duration::from_secs(4)) {
            break first;
        }
        assert!(begun.elapsed() < SOON, "{:?}", first.wait(SOON));
    };
    two.wait_until(STREAMS, "streaming", SOON);
    three.wait_until(STREAMS, "streaming", SOON);
    assert_eq!(nodes.primaries(), ["node1"]);
    assert_eq!(one.psql("SHOW log_min_messages"), "warning");
    // It is the server itself, which gets the signals.
    assert_eq!(one.postmaster(), Some(first.pid()));
    assert!(first.is_running() && second.is_running() && third.is_running());

    // A failover. Meanwhile its supervisor starts the old primary again and again.
    first.signal(Signal::QUIT);
    first.wait(SOON);
    one.out_of_reach(|| two.pgbaton(["standby", "promote"]).run()).code(0);
    let ended = container(one, &[("PGBATON_ON_PRIMARY", "stop")]).wait(SOON);
    ended.code(31).says("must not start as a primary");
    let mut first = container(one, &[]);
    one.wait_until(STREAMS, "streaming", SOON);
    assert!(first.is_running());
    assert_eq!(nodes.primaries(), ["node2"]);
    observer.assert_never_two();

    // Stopped while it still asks.
    for running in [first, second, third] {
        running.signal(Signal::INT);
        running.wait(SOON).code(0);
    }
    nodes.configure(2, "guard_wait = 50");
    let mut waiting = container(two, &[]);
    waiting.wait_for_stderr("it is not known yet whether", SOON);
    waiting.signal(Signal::TERM);
    waiting.wait(Duration::from_secs(10)).code(3);
    assert!(!two.is_running());
}

#[test]
fn the_units_of_systemd_are_well_formed() {
    support::refuse_root();
    let Some(analyze) = support::installed("/usr/bin/systemd-analyze", "systemd") else { return };
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd");
    let place = tempfile::tempdir().unwrap();
    let debian = "[Unit]\nDescription=x\n[Service]\nType=forking\nExecStart=-/bin/true --skip-systemctl-redirect %i start\n";
    let pgdg = "[Unit]\nDescription=x\n[Service]\nType=notify\nUser=root\nExecStart=/bin/true\n";
    let mut units = Vec::new();
    for (name, drop_in, text) in [
        ("postgresql@17-main.service", "postgresql@.service.d", debian),
        ("postgresql-17.service", "postgresql-NN.service.d", pgdg),
    ] {
        std::fs::write(place.path().join(name), text).unwrap();
        let directory = place.path().join(format!("{name}.d"));
        std::fs::create_dir(&directory).unwrap();
        let text = std::fs::read_to_string(examples.join(drop_in).join("pgbaton-guard.conf")).unwrap();
        // Only programs that are there pass.
        std::fs::write(directory.join("pgbaton-guard.conf"), text.replace("=/usr/bin/pgbaton", "=/bin/true"))
            .unwrap();
        units.push(place.path().join(name));
    }
    for name in ["pgbaton-topology.service", "pgbaton-topology.timer"] {
        let text = std::fs::read_to_string(examples.join(name)).unwrap();
        let text = text.replace("=/usr/bin/pgbaton", "=/bin/true").replace("User=postgres", "User=root");
        std::fs::write(place.path().join(name), text).unwrap();
        units.push(place.path().join(name));
    }
    // A server with a daemon, and what it is ordered after.
    std::fs::create_dir(place.path().join("postgresql@16-main.service.d")).unwrap();
    std::fs::write(place.path().join("postgresql@16-main.service"), debian).unwrap();
    units.push(place.path().join("postgresql@16-main.service"));
    for (file, name) in [
        ("pgbaton@.service", "pgbaton@node1.service"),
        ("pgbaton-fencer@.service", "pgbaton-fencer@node1.service"),
        (
            "postgresql@17-main.service.d/pgbaton-daemon.conf",
            "postgresql@16-main.service.d/pgbaton-daemon.conf",
        ),
    ] {
        let text = std::fs::read_to_string(examples.join(file)).unwrap();
        let text = text
            .replace("=/usr/bin/pgbaton-fencer", "=/bin/true")
            .replace("=/usr/bin/pgbaton", "=/bin/true")
            .replace("User=postgres", "User=root");
        std::fs::write(place.path().join(name), text).unwrap();
        if name.ends_with(".service") {
            units.push(place.path().join(name));
        }
    }
    let args =
        ["verify".as_ref(), "--man=no".as_ref()].into_iter().chain(units.iter().map(|unit| unit.as_os_str()));
    let output = support::run_tool(&analyze, args);
    // What it finds in the machine's own units is none of ours.
    let ours = output.stderr.lines().filter(|line| !line.contains("/lib/systemd/system/"));
    assert!(output.status.success() && ours.count() == 0, "{output:?}");
}
