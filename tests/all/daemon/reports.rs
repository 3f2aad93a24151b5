//! What is reported of daemons: `service status`, `cluster show`, `cluster check`, `node status` and `node check` of real clusters.

use super::*;

impl Daemons {
    fn node_status(&self, id: usize) -> Value {
        self.status()["nodes"][id - 1].clone()
    }

    /// Waits until every daemon reports itself, and returns the status.
    #[track_caller]
    fn reported(&self) -> Value {
        wait_for("the daemons to report themselves", LONG, || {
            (1..=3).all(|id| self.node_status(id)["pid"].is_u64())
        });
        self.status()
    }

    /// The codes of the issues that a command reports on node 1.
    fn codes(&self, words: [&str; 2]) -> Vec<String> {
        let document = self.node(1).pgbaton(words).args(["--json"]).run().json();
        let issues = document["issues"].as_array().unwrap();
        issues.iter().map(|issue| issue["code"].as_str().unwrap().to_string()).collect()
    }

    #[track_caller]
    fn wait_for_code(&self, code: &str) {
        wait_for(code, LONG, || self.codes(["cluster", "check"]).iter().any(|known| known == code));
        assert!(self.codes(["cluster", "show"]).iter().any(|known| known == code));
    }

    /// The line of `node check --daemon`.
    fn check(&self, id: usize) -> String {
        let checked = self.node(id).pgbaton(["node", "check", "--daemon", "--nagios"]).run();
        checked.stdout.trim_end().to_string()
    }

    fn kill_daemon(&mut self, id: usize) {
        let daemon = self.daemons[id - 1].take().unwrap();
        daemon.signal(Signal::KILL);
        daemon.wait(EVER);
    }
}

fn all_run(cluster: &Daemons) {
    let status = cluster.reported();
    assert_eq!(status["leader_node_id"], 1, "{status}");
    assert_eq!((&status["votes"], &status["majority"]), (&3.into(), &2.into()), "{status}");
    for id in 1..=3 {
        let node = &status["nodes"][id - 1];
        let daemon = cluster.daemons[id - 1].as_ref().unwrap().pid();
        assert_eq!(node["pid"], daemon.as_raw_nonzero().get(), "{node}");
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"), "{node}");
        assert_eq!((&node["daemon"], &node["status"]), (&"running".into(), &"running".into()), "{node}");
        assert_eq!(node["lease_role"], if id == 1 { "leader" } else { "follower" }, "{node}");
        assert_eq!(node["willing"], id != 1, "{node}");
        assert_eq!(node["lease_left_s"].is_f64(), id == 1, "{node}");
        assert_eq!(node["upstream_last_seen_s"].is_f64(), id != 1, "{node}");
        assert!(cluster.check(id).starts_with("PGBATON_DAEMON "), "{}", cluster.check(id));
        assert!(!cluster.check(id).contains("CRITICAL"), "{}", cluster.check(id));
    }
    let csv = cluster.node(1).pgbaton(["service", "status", "--csv"]).run();
    let second: Vec<&str> = csv.stdout.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(second[..5], ["2", "node2", "standby", "1", "1"], "{csv:?}");
    assert_eq!(second[5], status["nodes"][1]["pid"].to_string(), "{csv:?}");
    assert_eq!((second[6], second[7], second[9]), ("0", "100", "default"), "{csv:?}");
    assert!(second[8].parse::<u32>().is_ok(), "{csv:?}");
    let shown = cluster.node(2).pgbaton(["cluster", "show", "--json"]).run().json();
    for node in shown["data"]["nodes"].as_array().unwrap() {
        assert_eq!((&node["daemon"], &node["daemon_paused"]), (&"running".into(), &false.into()), "{node}");
    }
    for word in ["daemon_not_running", "daemon_paused", "daemon_mixed", "lease_degraded", "node_fenced"] {
        assert!(!cluster.codes(["cluster", "show"]).iter().any(|code| code == word), "{word}");
    }
    let own = cluster.node(2).pgbaton(["node", "status", "--json"]).run().json();
    assert_eq!((&own["data"]["daemon"], &own["data"]["daemon_paused"]), (&"running".into(), &false.into()));
    let own = cluster.node(2).pgbaton(["node", "status"]).run();
    assert!(own.stdout.contains("\tDaemon: running\n"), "{own:?}");
}

#[test]
fn what_daemons_do_is_reported_on_every_version() {
    for pg in versions() {
        all_run(&Daemons::new(&pg));
    }
}

#[test]
fn a_missing_daemon_a_missing_vote_and_a_pause_are_reported() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    cluster.reported();
    // One voter is stopped: the leader has a majority, but not all votes.
    cluster.node(3).stop(StopMode::Fast);
    cluster.wait_for_code("lease_degraded");
    assert_eq!(cluster.status()["votes"], 2);
    let check = cluster.check(1);
    assert!(check.starts_with("PGBATON_DAEMON WARNING") && check.contains("2 of 3 votes"), "{check}");
    // Its daemon runs on, as the other servers show, and is not taken for a fenced primary's.
    assert_eq!(cluster.node_status(3)["daemon"], "running");
    assert_eq!(cluster.node_status(3)["pid"], Value::Null);
    assert!(!cluster.codes(["cluster", "show"]).iter().any(|code| code == "node_fenced"));
    cluster.node(3).start();
    cluster.wait_until_active();
    cluster.reported();
    // A daemon is killed.
    cluster.kill_daemon(3);
    cluster.wait_for_code("daemon_not_running");
    assert_eq!(cluster.node_status(3)["daemon"], "stopped");
    assert_eq!(cluster.check(3), "PGBATON_DAEMON CRITICAL: not running");
    let own = cluster.node(3).pgbaton(["node", "status"]).run();
    own.code(25).says("the daemon of node \"node3\" is not running").says("pgbaton daemon start");
    assert!(own.stdout.contains("\tDaemon: stopped\n"), "{own:?}");
    cluster.start(3);
    cluster.wait_until_active();
    // A pause is one warning of the cluster.
    cluster.node(1).pgbaton(["service", "pause"]).run().code(0);
    cluster.wait_for_code("daemon_paused");
    let check = cluster.check(2);
    assert!(check.starts_with("PGBATON_DAEMON WARNING: running, but paused"), "{check}");
    let own = cluster.node(2).pgbaton(["node", "status"]).run();
    assert!(own.stdout.contains("\tDaemon: running, paused\n"), "{own:?}");
    let shown = cluster.node(1).pgbaton(["cluster", "show", "--json"]).run().json();
    assert_eq!(shown["data"]["nodes"][1]["daemon_paused"], true, "{shown}");
    assert!(!cluster.codes(["cluster", "show"]).iter().any(|code| code == "lease_degraded"));
}

#[test]
fn a_fencer_that_does_not_respond_is_reported() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    cluster.reported();
    let fencer = cluster.fencer(2).unwrap();
    send(fencer, Signal::STOP);
    wait_for("the status to tell of it", LONG, || {
        let shown = cluster.node(1).pgbaton(["service", "status"]).run();
        shown.stderr.contains("the fencer of node \"node2\" does not respond")
    });
    let check = cluster.check(2);
    assert!(check.starts_with("PGBATON_DAEMON CRITICAL: the fencer of node"), "{check}");
    send(fencer, Signal::CONT);
    wait_for("all to be well again", LONG, || {
        !cluster.codes(["cluster", "show"]).contains(&"lease_degraded".into())
    });
}
