//! What daemons record and report besides failing over: history, events, hooks, child nodes, the log, SIGHUP, the copy on a witness.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::Daemons;
use crate::support::{
    Nodes, Running, StopMode, TestServer, attach, metadata, postgres, registered, versions, wait_for,
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Longer than any test: a daemon's time is counted from its start.
const EVER: Duration = Duration::from_secs(900);

/// Servers with daemons that do not fail over, and look often.
struct Watched(Daemons);

impl Watched {
    fn new(nodes: Nodes) -> Self {
        let count = nodes.servers.len();
        let watched = Self(Daemons { daemons: (0..count).map(|_| None).collect(), nodes });
        (1..=count).for_each(|id| watched.configure(id, "monitoring_history = true"));
        watched
    }

    fn node(&self, id: usize) -> &TestServer {
        self.0.node(id)
    }

    fn configure(&self, id: usize, more: &str) {
        let file = |name: &str| self.file(id, name).display().to_string();
        let lines = format!(
            "runtime_directory = \"{}\"\nlog_file = \"{}\"\nlog_status_interval = 1\nmonitor_interval_secs = 1\n\
             reconnect_attempts = 1\nreconnect_interval = 1\nchild_nodes_check_interval = 1\n\
             child_nodes_disconnect_timeout = 1\nchild_nodes_disconnect_command = \"echo of %p >> {}\"\n\
             event_notification_command = \"echo %n %e %s >> {}\"\n{more}",
            file("run"),
            file("daemon.log"),
            file("command.txt"),
            file("hook.txt"),
        );
        self.0.nodes.configure(id, &lines);
    }

    fn file(&self, id: usize, name: &str) -> PathBuf {
        self.node(id).dir.join(name)
    }

    fn text(&self, id: usize, name: &str) -> String {
        std::fs::read_to_string(self.file(id, name)).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for_text(&self, id: usize, name: &str, text: &str) {
        wait_for(&format!("{text:?} in {name} of node {id}"), LONG, || self.text(id, name).contains(text));
    }

    fn signal(&self, id: usize, signal: Signal) {
        self.0.daemons[id - 1].as_ref().unwrap().signal(signal);
    }

    #[track_caller]
    fn end(&mut self, id: usize) {
        let daemon: Running = self.0.daemons[id - 1].take().unwrap();
        daemon.signal(Signal::TERM);
        daemon.wait(EVER).code(0);
    }
}

/// The events of a node, oldest first, of those that are named.
fn events(on: &TestServer, node: usize, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    metadata(
        on,
        &format!(
            "SELECT string_agg(event, ' ' ORDER BY event_timestamp) FROM repmgr.events WHERE node_id = {node} \
             AND event IN ({})",
            names.join(", ")
        ),
    )
}

#[track_caller]
fn wait_for_events(on: &TestServer, node: usize, expected: &str) {
    let names: Vec<&str> = expected.split(' ').collect();
    let mut seen = String::new();
    for _ in 0..LONG.as_millis() / 50 {
        seen = events(on, node, &names);
        if seen == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("events of node {node}: {seen:?} instead of {expected:?}");
}

fn watches(nodes: Nodes) {
    let mut cluster = Watched::new(nodes);
    (1..=2).for_each(|id| cluster.0.start(id));

    // The history of the standby, on the primary, with all that repmgrd records.
    let history = "SELECT count(*) FROM repmgr.monitoring_history WHERE primary_node_id = 1 AND standby_node_id = 2 \
                   AND last_wal_standby_location IS NOT NULL AND replication_lag >= 0 AND apply_lag >= 0 \
                   AND last_wal_primary_location >= '0/1000000' AND last_monitor_time > now() - interval '1 hour'";
    let rows = |cluster: &Watched| metadata(cluster.node(1), history).parse::<u32>().unwrap();
    wait_for("two rows of the history", LONG, || rows(&cluster) >= 2);
    assert_eq!(
        metadata(
            cluster.node(1),
            "SELECT count(*) FROM repmgr.monitoring_history WHERE standby_node_id <> 2"
        ),
        "0"
    );
    for id in 1..=2 {
        wait_for_events(cluster.node(1), id, "repmgrd_start");
    }
    cluster.wait_for_text(
        2,
        "daemon.log",
        "[INFO] node \"node2\" (ID: 2) monitoring upstream node \"node1\" (ID: 1) in normal state",
    );
    cluster.wait_for_text(
        1,
        "daemon.log",
        "[INFO] monitoring primary node \"node1\" (ID: 1) in normal state",
    );
    cluster.wait_for_text(1, "daemon.log", "1 of 1 child nodes are connected");

    log_and_configuration(&cluster);

    // The standby goes and comes back.
    cluster.node(2).stop(StopMode::Fast);
    wait_for_events(cluster.node(1), 1, "child_node_disconnect child_nodes_disconnect_command");
    wait_for_events(cluster.node(1), 2, "standby_failure");
    assert_eq!(cluster.text(1, "command.txt"), "of 1\n");
    cluster.node(2).start();
    wait_for_events(cluster.node(1), 1, "child_node_disconnect child_node_reconnect");
    wait_for_events(cluster.node(1), 2, "standby_failure standby_recovery");
    cluster.wait_for_text(1, "hook.txt", "1 child_node_reconnect 1\n");
    assert_eq!(cluster.text(1, "command.txt"), "of 1\n", "it is run once");
    cluster.wait_for_text(1, "daemon.log", "enough child nodes are connected again");

    // The primary goes and comes back: what happened meanwhile is recorded then, and hooks ran at once.
    cluster.node(1).stop(StopMode::Immediate);
    cluster.wait_for_text(2, "hook.txt", "2 repmgrd_upstream_disconnect 0\n");
    cluster.wait_for_text(1, "hook.txt", "1 repmgrd_local_disconnect 0\n");
    cluster.wait_for_text(2, "daemon.log", "monitoring upstream node \"node1\" (ID: 1) in degraded state");
    cluster.node(1).start();
    wait_for_events(cluster.node(1), 2, "repmgrd_upstream_disconnect repmgrd_upstream_reconnect");
    wait_for_events(cluster.node(1), 1, "repmgrd_local_disconnect repmgrd_local_reconnect");
    let before = rows(&cluster);
    wait_for("rows of the history again", LONG, || rows(&cluster) > before);
    let all = "SELECT string_agg(DISTINCT event, ' ' ORDER BY event) FROM repmgr.events WHERE successful \
               AND event IN ('repmgrd_upstream_disconnect', 'repmgrd_upstream_reconnect', 'standby_failure')";
    assert_eq!(metadata(cluster.node(1), all), "repmgrd_upstream_reconnect");

    for id in [2, 1] {
        cluster.end(id);
        wait_for_events(cluster.node(1), id, "repmgrd_start repmgrd_shutdown");
    }
    // Nothing of this was a failover.
    assert_eq!(cluster.0.nodes.primaries(), ["node1"]);
}

/// SIGHUP: the log is opened anew, a file with an error changes nothing, and a good one what can be changed.
fn log_and_configuration(cluster: &Watched) {
    let old = cluster.file(2, "old.log");
    std::fs::rename(cluster.file(2, "daemon.log"), &old).unwrap();
    cluster.signal(2, Signal::HUP);
    cluster.wait_for_text(2, "daemon.log", "[NOTICE] the configuration was reread");
    assert!(!std::fs::read_to_string(&old).unwrap().contains("was reread"));

    cluster.configure(2, "monitoring_history = \"perhaps\"");
    cluster.signal(2, Signal::HUP);
    cluster.wait_for_text(2, "daemon.log", "[WARNING] the configuration was not reloaded");
    cluster.wait_for_text(2, "daemon.log", "Invalid value for parameter \"monitoring_history\"");
    let count = || {
        metadata(cluster.node(1), "SELECT count(*) FROM repmgr.monitoring_history").parse::<u32>().unwrap()
    };
    let before = count();
    wait_for("rows by the configuration of before", LONG, || count() > before);

    cluster.configure(2, "monitoring_history = true\nfailover_profile = \"fast\"\nlog_level = \"NOTICE\"");
    cluster.signal(2, Signal::HUP);
    cluster.wait_for_text(2, "daemon.log", "the configuration was reread: \"log_level\" changed");
    cluster.wait_for_text(
        2,
        "daemon.log",
        "\"failover_profile\" cannot be changed without restarting the daemon",
    );
    // Back to where it was, for the rest of the test.
    cluster.configure(2, "monitoring_history = true");
    cluster.signal(2, Signal::HUP);
    wait_for("the level of before", LONG, || {
        cluster.text(2, "daemon.log").matches("\"log_level\" changed").count() == 2
    });
}

#[test]
fn daemons_record_and_report_without_failing_over() {
    watches(Nodes::new(&postgres(15).unwrap(), 1));
}

#[test]
fn daemons_record_and_report_on_other_versions() {
    for pg in versions().iter().filter(|pg| pg.major != 15) {
        watches(Nodes::new(pg, 1));
    }
}

/// A standby that others follow counts them, too.
#[test]
fn child_nodes_are_counted_on_any_node() {
    let mut nodes = Nodes::new(&postgres(15).unwrap(), 1);
    nodes.add(2);
    let mut cluster = Watched::new(nodes);
    cluster.0.start(2);
    cluster.wait_for_text(2, "daemon.log", "1 of 1 child nodes are connected");
    cluster.node(3).stop(StopMode::Fast);
    wait_for_events(cluster.node(1), 2, "child_node_disconnect child_nodes_disconnect_command");
    // A new one, which was not there before.
    let server = cluster.0.nodes.cluster.empty("node4");
    attach(&server, 4, cluster.node(2));
    server.node_config(4, "");
    server.pgbaton(["standby", "register"]).run().code(0);
    wait_for_events(cluster.node(1), 2, "child_node_new_connect");
    cluster.end(2);
}

#[test]
fn events_of_a_failover_and_of_a_switchover_are_recorded_once_and_in_order() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let cluster = Daemons::with(nodes, "default");
    let mut cluster = cluster.started();
    wait_for_events(cluster.node(1), 1, "repmgrd_start lease_acquired");

    cluster.kill_all_of(1);
    let second = cluster.other_primary(1);
    let third = 5 - second;
    wait_for_events(cluster.node(second), second, "lease_acquired repmgrd_failover_promote");
    wait_for_events(cluster.node(second), third, "repmgrd_failover_follow");
    cluster.start(1);
    cluster.all_stream_from(second);
    cluster.wait_until_active();
    wait_for_events(cluster.node(second), 1, "node_rejoined");

    // A planned one is none of a failover.
    cluster.node(third).pgbaton(["standby", "switchover"]).run().code(0);
    cluster.all_stream_from(third);
    wait_for_events(cluster.node(third), third, "lease_acquired standby_switchover");
    wait_for_events(cluster.node(third), second, "lease_lost node_rejoined");
    let promoted =
        "SELECT string_agg(node_id::text, ' ') FROM repmgr.events WHERE event = 'repmgrd_failover_promote'";
    assert_eq!(metadata(cluster.node(third), promoted), second.to_string());
}

#[test]
fn a_server_that_stays_down_is_replaced_by_what_is_recorded_as_a_failover() {
    let cluster = Daemons::with(Nodes::new(&postgres(15).unwrap(), 2), "default").started();
    cluster.node(1).stop(StopMode::Fast);
    let second = cluster.other_primary(1);
    wait_for_events(cluster.node(second), second, "lease_acquired repmgrd_failover_promote");
    let switched = "SELECT count(*) FROM repmgr.events WHERE event = 'standby_switchover'";
    assert_eq!(metadata(cluster.node(second), switched), "0");
}

/// A witness gets no WAL: its daemon copies the nodes. It logs to syslog here, and ends when monitoring is degraded for too long.
#[test]
fn the_daemon_of_a_witness_keeps_its_copy() {
    let pg = postgres(15).unwrap();
    let cluster = crate::support::TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let witness = cluster.foreign("witness");
    witness.node_config(9, "");
    let port = node1.port.to_string();
    witness.pgbaton(["witness", "register", "-h", "127.0.0.1", "-p", &port]).run().code(0);
    let socket = witness.dir.join("syslog");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(LONG)).unwrap();
    witness.node_config(
        9,
        &format!(
            "runtime_directory = \"{}\"\nwitness_sync_interval = 1\nmonitor_interval_secs = 1\nreconnect_attempts = 0\n\
             degraded_monitoring_timeout = 1\nlog_status_interval = 1\nlog_facility = \"LOCAL3\"",
            witness.dir.join("run").display()
        ),
    );
    let daemon =
        witness.pgbaton(["daemon", "run"]).env("PGBATON_SYSLOG_SOCKET", socket.display().to_string()).spawn();
    let hear = |text: &str| loop {
        let mut bytes = [0; 4096];
        let length = heard.recv(&mut bytes).unwrap_or_else(|error| panic!("{text:?} is not heard: {error}"));
        let line = String::from_utf8_lossy(&bytes[..length]).to_string();
        if line.contains(text) {
            return line;
        }
    };
    let line =
        hear("witness node \"witness\" (ID: 9) monitoring primary node \"node1\" (ID: 1) in normal state");
    // local3, info.
    assert!(line.starts_with("<158>"), "{line}");

    metadata(&node1, "UPDATE repmgr.nodes SET priority = 55, location = 'there' WHERE node_id = 1");
    let copied = "SELECT priority, location FROM repmgr.nodes WHERE node_id = 1";
    wait_for("the copy", LONG, || metadata(&witness, copied) == "55|there");
    assert_eq!(
        metadata(&witness, "SELECT n FROM repmgr.nodes n ORDER BY node_id"),
        metadata(&node1, "SELECT n FROM repmgr.nodes n ORDER BY node_id")
    );
    wait_for_events(&node1, 9, "repmgrd_start");

    node1.stop(StopMode::Fast);
    hear("unable to connect to upstream node \"node1\" (ID: 1)");
    let ended = daemon.wait(EVER);
    ended.code(9);
    hear("the daemon ends: monitoring was degraded for too long");
}
