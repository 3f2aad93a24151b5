//! `daemon start` and `daemon stop`, by commands that run the daemon in the background.

use std::io::Write as _;
use std::path::PathBuf;

use super::*;
use crate::support::{Pgbaton, envelope, registered};

/// A cluster whose daemons are started and stopped by their nodes' configuration.
struct Serviced(Daemons);

impl Serviced {
    fn new(pg: &Pg) -> Self {
        let cluster = Self(Daemons::without(pg));
        (1..=3).for_each(|id| cluster.configure(id));
        cluster
    }

    fn pid_file(&self, id: usize) -> PathBuf {
        self.0.node(id).dir.join("daemon.pid")
    }

    fn configure(&self, id: usize) {
        let node = self.0.node(id);
        let (program, config, pid) = (Pgbaton::path(), node.config(), self.pid_file(id));
        let log = node.dir.join("daemon.log");
        let start = format!(
            "{} -f {} daemon run >>{} 2>&1 & echo $! >{}",
            program.display(),
            config.display(),
            log.display(),
            pid.display()
        );
        let stop = format!("kill -s TERM $(cat {})", pid.display());
        let mut file = std::fs::OpenOptions::new().append(true).open(node.config()).unwrap();
        writeln!(file, "daemon_service_start_command = '{start}'\ndaemon_service_stop_command = '{stop}'")
            .unwrap();
    }

    fn start_all(&self) {
        for id in 1..=3 {
            let started = self.0.node(id).pgbaton(["daemon", "start", "--json"]).run();
            started.says(&format!("the daemon of node \"node{id}\" has been started"));
            let data = envelope(&started, "daemon start", 0, true)["data"].clone();
            let pid = std::fs::read_to_string(self.pid_file(id)).unwrap();
            assert_eq!(data["pid"].to_string(), pid.trim(), "{data}");
        }
        self.0.wait_until_active();
    }

    fn runs(&self, id: usize) -> bool {
        let file = self.0.node(id).config();
        running("pgbaton", &file.display().to_string()).iter().any(|pid| {
            let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("daemon\0run")
        })
    }
}

impl Drop for Serviced {
    fn drop(&mut self) {
        for id in 1..=3 {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.0.node(id).dir.join("daemon.log"));
                eprintln!("the daemon of node{id} has said:\n{}", log.unwrap_or_default());
            }
            let file = self.0.node(id).config().display().to_string();
            running("pgbaton", &file).into_iter().for_each(|pid| send(pid, Signal::KILL));
        }
    }
}

#[test]
fn a_daemon_is_started_and_stopped_and_a_leader_pauses_first() {
    let cluster = Serviced::new(&postgres(15).unwrap());
    let nodes = &cluster.0;
    let dry = nodes.node(1).pgbaton(["daemon", "start", "--dry-run"]).run();
    dry.code(0).says("would be started by");
    assert!(!cluster.runs(1));
    nodes.node(1).pgbaton(["daemon", "stop"]).run().code(0).says("is not running; nothing was changed");
    cluster.start_all();
    let again = nodes.node(1).pgbaton(["daemon", "start", "--json"]).run();
    again.says("is running already");
    envelope(&again, "daemon start", 0, false);

    // Of a standby: nothing else changes.
    let stopped = nodes.node(3).pgbaton(["daemon", "stop"]).run();
    stopped.code(0).says("has been stopped").says("Automatic failover goes on");
    assert!(!cluster.runs(3));
    wait_for("the session to be gone", LONG, || nodes.flags() == ["active", "active", "-"]);

    // Of the leader: not without a pause that all confirm.
    let refused = nodes.node(1).pgbaton(["daemon", "stop"]).run();
    refused.code(26).says("No daemon runs on node \"node3\".").says("The daemon was not stopped.");
    assert!(cluster.runs(1));
    nodes.node(3).pgbaton(["daemon", "start"]).run().code(0);
    nodes.wait_until_active();

    let dry = nodes.node(1).pgbaton(["daemon", "stop", "--dry-run"]).run();
    dry.code(0).says("would be paused").says("would be stopped by");
    assert_eq!(nodes.flags(), ["active", "active", "active"]);
    let stopped = nodes.node(1).pgbaton(["daemon", "stop", "--json"]).run();
    envelope(&stopped, "daemon stop", 0, true);
    stopped
        .says("automatic failover is paused on all nodes")
        .says("Automatic failover is off on all nodes")
        .says("\"pgbaton daemon start\" and \"pgbaton service unpause\"");
    assert!(!cluster.runs(1));
    // Longer than the lease, the grace and a restart.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(nodes.nodes.primaries(), ["node1"]);
    let started = nodes.node(1).pgbaton(["daemon", "start"]).run();
    started.code(0).says("takes no part in automatic failover yet").says("service unpause");
    wait_for("the daemon to be back", LONG, || nodes.flags() == ["full", "full", "full"]);
    nodes.node(1).pgbaton(["service", "unpause"]).run().code(0);
    nodes.wait_until_active();
}

#[test]
fn a_leader_whose_daemon_is_stopped_with_a_hand_over_loses_nothing() {
    let cluster = Serviced::new(&postgres(15).unwrap());
    let nodes = &cluster.0;
    cluster.start_all();
    let observer = Observer::begin(&nodes.nodes.servers);
    let ledger = Ledger::begin(nodes.node(1), &nodes.nodes.servers);
    let dry = nodes.node(1).pgbaton(["daemon", "stop", "--handover", "--dry-run"]).run();
    dry.code(0).says("would be asked to hand over").says("would be stopped by");
    assert_eq!(nodes.nodes.primaries(), ["node1"]);
    let stopped = nodes.node(1).pgbaton(["daemon", "stop", "--handover"]).run();
    stopped.code(0).says("is the primary now").says("has been stopped").says("Automatic failover goes on");
    assert!(!cluster.runs(1));
    let second = nodes.other_primary(1);
    nodes.all_stream_from(second);
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(nodes.node(second));
    // A server that is down cannot be paused, and what it has promised is kept.
    wait_for("the session to be gone", LONG, || nodes.flags()[0] == "-");
    nodes.node(1).pgbaton(["daemon", "start"]).run().code(0);
    nodes.wait_until_active();
}

#[test]
fn a_daemon_that_cannot_be_started_is_named_with_its_log() {
    let pg = postgres(15).unwrap();
    let cluster = crate::support::TestCluster::new(&pg);
    let node = registered(&cluster, "node1", 1);
    let runtime = node.dir.join("run");
    let configure = |lines: &str| {
        node.node_config(1, &format!("runtime_directory = \"{}\"\n{lines}", runtime.display()));
    };
    configure("");
    node.pgbaton(["daemon", "start"])
        .run()
        .code(1)
        .says("\"daemon_service_start_command\" is not set")
        .says("daemon_service_start_command = 'sudo systemctl start pgbaton@node1.service'")
        .says("Nothing was changed.");
    // That of repmgrd is never run.
    let touched = node.dir.join("touched");
    configure(&format!("repmgrd_service_start_command = \"touch {}\"", touched.display()));
    node.pgbaton(["daemon", "start"]).run().code(1).says("it is for repmgrd, and is not run by pgbaton");
    assert!(!touched.exists());
    configure("daemon_service_start_command = \"echo no such unit >&2; exit 3\"");
    node.pgbaton(["daemon", "start"]).run().code(27).says("no such unit").says("The log of the daemon is");
    configure("daemon_service_start_command = \"true\"");
    node.pgbaton(["daemon", "start", "--wait=1"])
        .run()
        .code(27)
        .says("did not start within 1 s")
        .says("nothing listens in");
}
