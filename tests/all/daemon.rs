//! The daemon: automatic failover of real servers, with everything of it killed, frozen and restarted.

mod commands;
mod ending;
mod records;
mod repmgrd;
mod reports;
mod service;
mod units;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::support::{
    Ledger, Nodes, Observer, Pg, Running, StopMode, TestServer, metadata, postgres, running, send, versions,
    wait_for,
};

/// Longer than any failover.
pub(crate) const LONG: Duration = Duration::from_secs(40);

/// Longer than any test: a daemon's time is counted from its start.
pub(crate) const EVER: Duration = Duration::from_secs(900);

/// A cluster with a daemon beside each node.
pub(crate) struct Daemons {
    pub(crate) daemons: Vec<Option<Running>>,
    pub(crate) nodes: Nodes,
}

impl Daemons {
    /// Three nodes with data, whose daemons are active.
    pub(crate) fn new(pg: &Pg) -> Self {
        Self::without(pg).started()
    }

    /// The same with the times of the fast profile: with other tests beside it a session may be silent for half a second, so only where nothing
    /// depends on that.
    pub(crate) fn fast(pg: &Pg) -> Self {
        Self::with(Nodes::new(pg, 2), "fast").started()
    }

    pub(crate) fn started(mut self) -> Self {
        (1..=3).for_each(|id| self.start(id));
        self.wait_until_active();
        self
    }

    /// The same before any daemon has run.
    pub(crate) fn without(pg: &Pg) -> Self {
        Self::with(Nodes::new(pg, 2), "default")
    }

    /// The same for nodes that are there.
    pub(crate) fn with(nodes: Nodes, profile: &str) -> Self {
        let cluster = Self { daemons: vec![None, None, None], nodes };
        (1..=3).for_each(|id| cluster.configure(id, profile));
        cluster
    }

    /// Writes what a daemon needs into the configuration of a node.
    pub(crate) fn configure(&self, id: usize, profile: &str) {
        let runtime = self.node(id).dir.join("run");
        self.nodes.configure(
            id,
            &format!(
                "failover = \"automatic\"\nfailover_profile = \"{profile}\"\nruntime_directory = \"{}\"",
                runtime.display()
            ),
        );
    }

    pub(crate) fn node(&self, id: usize) -> &TestServer {
        self.nodes.node(id)
    }

    pub(crate) fn start(&mut self, id: usize) {
        self.daemons[id - 1] = Some(self.node(id).pgbaton(["daemon", "run"]).spawn());
    }

    /// What the daemons say, as any node that responds sees it.
    pub(crate) fn status(&self) -> Value {
        let asked = (1..=self.daemons.len()).find(|id| self.node(*id).is_running()).unwrap_or(1);
        self.node(asked).pgbaton(["service", "status", "--json"]).run().json()["data"].clone()
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["flag"].as_str().unwrap_or("-").to_string()).collect()
    }

    #[track_caller]
    pub(crate) fn wait_until_active(&self) {
        wait_for("all daemons to be active", LONG, || self.flags() == ["active", "active", "active"]);
    }

    pub(crate) fn fencer(&self, id: usize) -> Option<Pid> {
        let data = self.node(id).data.display().to_string();
        running("pgbaton-fencer", &data).first().copied()
    }

    /// What the daemon of a node has said so far.
    pub(crate) fn said(&self, id: usize) -> String {
        self.daemons[id - 1].as_ref().map_or_else(String::new, Running::stderr_so_far)
    }

    /// Kills the daemon, its fencer and the server at once, as the loss of the host does.
    pub(crate) fn kill_all_of(&mut self, id: usize) {
        let daemon = self.daemons[id - 1].take().unwrap();
        let fencer = self.fencer(id);
        daemon.signal(Signal::KILL);
        fencer.into_iter().for_each(|pid| send(pid, Signal::KILL));
        self.node(id).kill9();
        daemon.wait(EVER);
    }

    /// Switches a host off: everything is killed, and what lies in memory is gone.
    pub(crate) fn switch_off(&mut self, id: usize) {
        self.kill_all_of(id);
        let _gone = std::fs::remove_dir_all(self.node(id).dir.join("run"));
    }

    /// Waits for another primary than this one, and returns its number.
    #[track_caller]
    pub(crate) fn other_primary(&self, than: usize) -> usize {
        let name = |id: usize| format!("node{id}");
        let mut found = 0;
        wait_for("another primary", LONG, || {
            let primaries = self.nodes.primaries();
            found = (1..=self.daemons.len())
                .find(|id| *id != than && primaries.contains(&name(*id).as_str()))
                .unwrap_or(0);
            found != 0
        });
        found
    }

    /// Waits until every other node streams from this one.
    #[track_caller]
    pub(crate) fn all_stream_from(&self, id: usize) {
        self.node(id).wait_until(
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name LIKE 'node_'",
            &(self.daemons.len() - 1).to_string(),
            LONG,
        );
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for id in 1..=self.daemons.len() {
            if let Some(daemon) = self.daemons[id - 1].take() {
                if std::thread::panicking() {
                    let shown = self.node(id).pgbaton(["operation", "list"]).run();
                    eprintln!("{shown:?}");
                    let shown = self.node(id).try_psql_as(
                        "postgres",
                        "postgres",
                        "SELECT application_name, state, sent_lsn FROM pg_stat_replication; SELECT status, conninfo FROM pg_stat_wal_receiver",
                    );
                    eprintln!("{shown:?}");
                    eprintln!("the daemon of node{id} has said:\n{}", daemon.stderr_so_far());
                }
                daemon.signal(Signal::KILL);
                let _ended = daemon.wait(EVER);
            }
            self.fencer(id).into_iter().for_each(|pid| send(pid, Signal::KILL));
        }
    }
}

fn tour(pg: &Pg) {
    let mut cluster = Daemons::fast(pg);
    let observer = Observer::begin(&cluster.nodes.servers);
    let ledger = Ledger::begin(cluster.node(1), &cluster.nodes.servers);
    std::thread::sleep(Duration::from_millis(500));
    let lost = Instant::now();
    cluster.kill_all_of(1);
    let second = cluster.other_primary(1);
    eprintln!("another primary after {:?}", lost.elapsed());
    let third = 5 - second;
    cluster.node(second).wait_until(
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
        "1",
        LONG,
    );
    assert_eq!(
        metadata(cluster.node(second), "SELECT type FROM repmgr.nodes ORDER BY node_id").lines().count(),
        3
    );
    wait_for("the new primary to be recorded", LONG, || {
        let recorded = metadata(
            cluster.node(second),
            "SELECT node_id FROM repmgr.nodes WHERE type = 'primary' AND active",
        );
        recorded == second.to_string()
    });
    // The old one comes back as a standby, by its daemon alone.
    cluster.start(1);
    cluster.all_stream_from(second);
    cluster.wait_until_active();
    let record = ledger.end();
    observer.assert_never_two();
    assert_eq!(cluster.nodes.primaries(), [format!("node{second}")]);
    assert!(record.acknowledged.len() > 10);
    let events = metadata(
        cluster.node(second),
        "SELECT string_agg(event, ' ' ORDER BY event) FROM repmgr.events WHERE event = 'repmgrd_failover_promote'",
    );
    assert_eq!(events, "repmgrd_failover_promote");
    assert!(cluster.node(third).is_running());
}

#[test]
fn a_lost_primary_is_replaced_and_returns_as_a_standby() {
    tour(&postgres(15).unwrap());
}

#[test]
fn a_lost_primary_is_replaced_on_other_versions() {
    for pg in versions().iter().filter(|pg| pg.major != 15) {
        tour(pg);
    }
}

#[test]
fn a_server_that_crashes_comes_back_in_place() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    let timeline = cluster.node(1).control_data("Latest checkpoint's TimeLineID");
    cluster.node(1).kill9();
    wait_for("the primary to be back", LONG, || cluster.nodes.primaries() == ["node1"]);
    cluster.all_stream_from(1);
    assert_eq!(cluster.node(1).control_data("Latest checkpoint's TimeLineID"), timeline);
    cluster.wait_until_active();
    // So does one that an administrator restarts.
    cluster.node(1).restart();
    cluster.all_stream_from(1);
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    assert_eq!(cluster.node(1).control_data("Latest checkpoint's TimeLineID"), timeline);
}

#[test]
fn a_server_that_stays_down_is_replaced_without_loss() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    cluster.node(1).psql("CREATE TABLE kept AS SELECT 1 AS n");
    cluster.node(1).stop(StopMode::Fast);
    let second = cluster.other_primary(1);
    // The role was handed over, and the old primary follows.
    cluster.all_stream_from(second);
    assert_eq!(cluster.node(second).psql("SELECT n FROM kept"), "1");
    cluster.wait_until_active();
    observer.assert_never_two();
}

#[test]
fn a_daemon_that_is_started_again_in_time_keeps_the_lease() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    for _ in 0..3 {
        let daemon = cluster.daemons[0].take().unwrap();
        daemon.signal(Signal::KILL);
        daemon.wait(EVER);
        cluster.start(1);
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(cluster.nodes.primaries(), ["node1"]);
    }
    cluster.wait_until_active();
    let started = cluster.node(1).psql("SELECT pg_postmaster_start_time()");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(cluster.node(1).psql("SELECT pg_postmaster_start_time()"), started);
}

#[test]
fn a_primary_whose_daemon_is_gone_is_stopped_and_replaced() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    let daemon = cluster.daemons[0].take().unwrap();
    daemon.signal(Signal::KILL);
    daemon.wait(EVER);
    let second = cluster.other_primary(1);
    assert!(!cluster.node(1).is_running(), "the fencer has stopped it before");
    assert!(cluster.node(1).data.join("standby.signal").exists());
    cluster.start(1);
    cluster.all_stream_from(second);
    cluster.wait_until_active();
    observer.assert_never_two();
}

#[test]
fn a_frozen_server_is_ended_and_its_cluster_has_a_primary_again() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    cluster.node(1).freeze();
    let frozen = Instant::now();
    wait_for("a primary", LONG, || cluster.nodes.primaries().len() == 1);
    eprintln!("a primary after {:?}", frozen.elapsed());
    cluster.wait_until_active();
    let primary = cluster.nodes.primaries()[0].trim_start_matches("node").parse().unwrap();
    cluster.all_stream_from(primary);
    observer.assert_never_two();
}

#[test]
fn a_pause_outlasts_daemons_and_nothing_fails_over_in_it() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    let paused = cluster.node(2).pgbaton(["service", "pause"]).run();
    paused.code(0).says("automatic failover is paused on all nodes");
    assert_eq!(cluster.flags(), ["full", "full", "full"]);
    cluster.node(2).pgbaton(["service", "pause"]).run().code(0).says("already");
    // Neither without the daemon, nor after its return, is anything done to the server.
    let daemon = cluster.daemons[0].take().unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait(EVER).code(0);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    cluster.start(1);
    wait_for("the daemon to be back", LONG, || cluster.flags() == ["full", "full", "full"]);
    // The commands do as ever, and the daemons go by what they find.
    cluster.node(2).pgbaton(["standby", "switchover"]).run().code(0);
    cluster.all_stream_from(2);
    cluster.node(3).pgbaton(["service", "unpause"]).run().code(0).says("automatic failover is active");
    cluster.wait_until_active();
    let status = cluster.status();
    assert_eq!(status["leader_node_id"], 2, "{status}");
    assert_eq!(status["majority"], 2, "{status}");
}

#[test]
fn commands_that_change_roles_by_themselves_are_refused_beside_active_daemons() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    let promoted = cluster.node(2).pgbaton(["standby", "promote"]).run();
    promoted.code(31).says("node \"node1\" is a primary and accepts writes").says("Nothing was changed.");
    cluster.node(1).pgbaton(["standby", "switchover"]).run().code(1).says("is the primary already");
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    // Some active, some not.
    let mut cluster = cluster;
    let daemon = cluster.daemons[2].take().unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait(EVER).code(0);
    wait_for("the session to be gone", LONG, || cluster.flags() == ["active", "active", "-"]);
    let mixed = cluster.node(2).pgbaton(["standby", "switchover"]).run();
    mixed.code(1).says("on some nodes only").says("node3").says("Nothing was changed.");
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
}

#[test]
fn a_switchover_beside_daemons_is_a_hand_over_that_loses_nothing() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    let ledger = Ledger::begin(cluster.node(1), &cluster.nodes.servers);
    let dry = cluster.node(2).pgbaton(["standby", "switchover", "--dry-run"]).run();
    dry.code(0).says("would be asked to hand over");
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    for to in [2, 3, 1] {
        let output = cluster.node(to).pgbaton(["standby", "switchover", "--json"]).run();
        output.code(0).says("clients could not write for");
        let data = output.json()["data"].clone();
        eprintln!("outage {} s, whole {} s", data["outage_s"], data["wall_s"]);
        assert_eq!((&data["to_node_id"], &data["wal_lost_bytes"]), (&to.into(), &0.into()));
        assert_eq!(cluster.nodes.primaries(), [format!("node{to}")]);
        cluster.all_stream_from(to);
        cluster.wait_until_active();
    }
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(cluster.node(1));
}

#[test]
fn a_switchover_whose_command_is_killed_is_completed_or_never_begun() {
    let cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    let mut primary = 1;
    for wait in [20, 60, 120, 200, 300] {
        let heir = if primary == 1 { 2 } else { 1 };
        let command = cluster.node(heir).pgbaton(["standby", "switchover"]).spawn();
        std::thread::sleep(Duration::from_millis(wait));
        command.signal(Signal::KILL);
        let _ended = command.wait(LONG);
        std::thread::sleep(Duration::from_secs(3));
        wait_for("one primary", LONG, || cluster.nodes.primaries().len() == 1);
        primary = cluster.nodes.primaries()[0].trim_start_matches("node").parse().unwrap();
        cluster.all_stream_from(primary);
        cluster.wait_until_active();
    }
    observer.assert_never_two();
}

#[test]
fn a_heir_that_dies_before_the_votes_are_released_leaves_the_primary_in_its_place() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    cluster.node(1).psql("CREATE TABLE kept AS SELECT 1 AS n");
    // Its daemon is frozen: it does not agree.
    let daemon = cluster.daemons[1].take().unwrap();
    daemon.signal(Signal::STOP);
    let output = cluster.node(2).pgbaton(["standby", "switchover"]).deadline(EVER).run();
    assert!([1, 18].contains(&output.status.code().unwrap()), "{output:?}");
    daemon.signal(Signal::CONT);
    cluster.daemons[1] = Some(daemon);
    wait_for("the primary", LONG, || cluster.nodes.primaries().len() == 1);
    let primary = cluster.nodes.primaries()[0].trim_start_matches("node").parse().unwrap();
    cluster.all_stream_from(primary);
    assert_eq!(cluster.node(primary).psql("SELECT n FROM kept"), "1");
    cluster.wait_until_active();
    observer.assert_never_two();
}

/// Real hosts, each with a network and a disk of its own.
#[test]
fn a_partition_makes_no_second_primary_and_its_end_brings_all_together() {
    let Some(nodes) = Nodes::in_lab(&postgres(15).unwrap(), 2) else { return };
    let mut cluster = Daemons::with(nodes, "default").started();
    let observer = Observer::begin(&cluster.nodes.servers);
    let lab = cluster.nodes.cluster.lab();
    let timeline = || cluster.node(1).psql("SELECT timeline_id FROM pg_control_checkpoint()");
    let before = timeline();

    // Shorter than the lease: nothing.
    lab.isolate(1);
    std::thread::sleep(Duration::from_millis(1500));
    lab.heal();
    std::thread::sleep(Duration::from_secs(5));
    // One standby does not reach the primary; the other one does.
    lab.cut(1, 2);
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    lab.heal();
    std::thread::sleep(Duration::from_secs(5));
    // A standby alone is no majority.
    lab.isolate(3);
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    lab.heal();
    cluster.all_stream_from(1);
    cluster.wait_until_active();
    assert_eq!(timeline(), before, "none of it was a failover");

    // The primary alone, with a client that reaches it.
    let ledger = Ledger::begin(cluster.node(1), &cluster.nodes.servers[..1]);
    std::thread::sleep(Duration::from_millis(500));
    let lost = Instant::now();
    lab.isolate(1);
    let second = cluster.other_primary(1);
    eprintln!("another primary after {:?}", lost.elapsed());
    let record = ledger.end();
    let last = record.times.last().unwrap().duration_since(lost);
    eprintln!("the old one acknowledged for {last:?}");
    assert!(cluster.nodes.primaries() == [format!("node{second}")]);
    lab.heal();
    // What it acknowledged on its island is not discarded by itself: it stays down, and the daemon says why.
    cluster.daemons[0].as_mut().unwrap().wait_for_stderr("would be discarded", EVER);
    assert!(!cluster.node(1).is_running());
    let mut rejoined = cluster.node(1).pgbaton(["node", "rejoin", "--yes"]).run();
    for _ in 0..5 {
        if rejoined.status.code() != Some(30) {
            break;
        }
        std::thread::sleep(Duration::from_secs(2));
        rejoined = cluster.node(1).pgbaton(["node", "rejoin", "--yes"]).run();
    }
    rejoined.code(0);
    cluster.all_stream_from(second);
    cluster.wait_until_active();
    observer.assert_never_two();
}

#[test]
fn daemons_may_be_started_in_any_order() {
    let mut cluster = Daemons::without(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    for id in [3, 2] {
        cluster.start(id);
    }
    // Without that of the primary nobody acts.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(cluster.flags(), ["-", "full", "full"]);
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    cluster.start(1);
    cluster.wait_until_active();
    observer.assert_never_two();
}

/// As after an upgrade of one host after the other.
#[test]
fn daemons_may_be_started_long_after_that_of_the_primary() {
    let mut cluster = Daemons::without(&postgres(15).unwrap());
    cluster.start(1);
    wait_for("the primary's daemon to be active", LONG, || cluster.flags()[0] == "active");
    (2..=3).for_each(|id| cluster.start(id));
    cluster.wait_until_active();
    cluster.node(3).pgbaton(["standby", "switchover"]).run().code(0);
    assert_eq!(cluster.nodes.primaries(), ["node3"]);
}

#[test]
fn a_node_without_the_state_of_its_daemon_is_readmitted_by_the_leader() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    let observer = Observer::begin(&cluster.nodes.servers);
    let lose = |cluster: &mut Daemons, id: usize| {
        let daemon = cluster.daemons[id - 1].take().unwrap();
        daemon.signal(Signal::KILL);
        daemon.wait(EVER);
        std::fs::remove_file(cluster.node(id).dir.join("state/lease.json")).unwrap();
        cluster.start(id);
        cluster.daemons[id - 1].as_mut().unwrap().wait_for_stderr("has no state", EVER);
    };
    lose(&mut cluster, 3);
    cluster.wait_until_active();
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    // A primary that has lost it is stopped at once: another node may have been promoted since.
    lose(&mut cluster, 1);
    let second = cluster.other_primary(1);
    cluster.all_stream_from(second);
    cluster.wait_until_active();
    observer.assert_never_two();
}
