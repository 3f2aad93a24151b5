use pgbaton_fencer::protocol::Shortcomings;

use super::*;
use crate::assess::cluster::examples::{healthy, judged, server, unavailable, view};
use crate::assess::cluster::{State, Viewpoint, assess};
use crate::pg::failure::Answered;

fn status(id: i32, role: Role) -> Status {
    Status {
        node: id.unsigned_abs(),
        incarnation: 1,
        role,
        timeline: 1,
        pause: (1, 1),
        flag: Flag::Active,
        says: None,
    }
}

/// Gives each node a daemon; one leads with all votes.
pub(crate) fn with_daemons(facts: &mut ClusterFacts, leader: i32) {
    let ids: Vec<i32> = facts.nodes.iter().map(|node| node.row.node_id).collect();
    let role = |id: i32| if id == leader { Role::Leader } else { Role::Follower };
    for node in &mut facts.nodes {
        let own = node.row.node_id;
        let info = DaemonInfo {
            lease_left: (own == leader).then_some(1800),
            silent: (own != leader).then_some(400),
            is_willing: own != leader,
            ..DaemonInfo::example(own.unsigned_abs())
        };
        let Ok(server) = &mut node.server else { continue };
        server.daemons = Some(Daemons {
            statuses: ids.iter().map(|id| status(*id, role(*id))).collect(),
            holder: Some(Some(status(leader, Role::Leader))),
            infos: vec![info],
        });
    }
}

fn cluster() -> ClusterFacts {
    let mut facts = healthy();
    with_daemons(&mut facts, 1);
    facts
}

fn shown(facts: &mut ClusterFacts, at: usize) -> &mut Daemons {
    server(facts, at).daemons.as_mut().unwrap()
}

/// Changes what the daemon of a node says, everywhere.
fn each(facts: &mut ClusterFacts, id: u32, change: impl Fn(&mut Status)) {
    for node in &mut facts.nodes {
        let Ok(server) = &mut node.server else { continue };
        let statuses = &mut server.daemons.as_mut().unwrap().statuses;
        statuses.iter_mut().filter(|status| status.node == id).for_each(&change);
    }
}

/// The codes of the issues about daemons, with the node.
fn codes(facts: &ClusterFacts, automatic: bool) -> Vec<(&'static str, Option<i32>)> {
    ClusterDaemons::of(facts, automatic).issues().iter().map(|issue| (issue.code, issue.node_id)).collect()
}

#[test]
fn a_cluster_without_automatic_failover_has_nothing_to_complain_of() {
    assert_eq!(codes(&healthy(), false), []);
    let mut manual = cluster();
    for id in 1..=3 {
        each(&mut manual, id, |status| (status.flag, status.pause) = (Flag::Full, (0, 0)));
    }
    assert_eq!(codes(&manual, false), []);
    let (report, issues) = judged(&manual);
    assert_eq!((report.cluster.state, issues), (State::Healthy, vec![]));
    assert_eq!((report.nodes[0].daemon, report.nodes[0].daemon_paused), ("running", Some(true)));
}

#[test]
fn all_is_well() {
    let facts = cluster();
    assert_eq!(codes(&facts, true), []);
    let daemons = ClusterDaemons::of(&facts, true);
    assert_eq!(daemons.leader().map(|row| row.node_id), Some(1));
    assert_eq!((daemons.votes(), daemons.voters(), daemons.majority()), (3, 3, 2));
    assert_eq!(
        (1..=3).filter_map(|id| daemons.role(id)).collect::<Vec<_>>(),
        ["leader", "follower", "follower"]
    );
    let (report, _) = judged(&facts);
    assert_eq!(report.cluster.state, State::Healthy);
    assert_eq!((report.nodes[2].daemon, report.nodes[2].daemon_paused), ("running", Some(false)));
}

#[test]
fn a_daemon_that_does_not_run_is_missed_where_failover_is_automatic() {
    let all = [Some(1), Some(2), Some(3)].map(|id| ("daemon_not_running", id));
    assert_eq!(codes(&healthy(), true), all);
    let mut facts = cluster();
    each(&mut facts, 2, |status| status.node = 77);
    shown(&mut facts, 1).infos.clear();
    // By the daemons that run it is known here, too, whatever this configuration says.
    assert_eq!(codes(&facts, false), [("daemon_not_running", Some(2))]);
    let (report, issues) = assess(&facts, &Viewpoint { automatic: true, ..view(None) });
    assert_eq!((report.cluster.state, report.nodes[1].daemon), (State::Degraded, "stopped"));
    assert!(issues[0].hint.as_ref().unwrap().contains("on \"n2\""), "{issues:?}");
    // What could not be read is not known to be missing.
    server(&mut facts, 1).daemons = None;
    assert_eq!(ClusterDaemons::of(&facts, true).state(2), UNKNOWN);
    assert_eq!(codes(&facts, true), [("lease_degraded", None)]);
}

#[test]
fn a_pause_is_reported_once_and_half_a_pause_by_the_nodes() {
    let mut facts = cluster();
    each(&mut facts, 3, |status| status.flag = Flag::Full);
    assert_eq!(codes(&facts, true), [("daemon_mixed", None)]);
    let issue = &ClusterDaemons::of(&facts, true).issues()[0];
    assert_eq!(issue.detail.as_deref(), Some("Active: \"n1\", \"n2\". Not active: \"n3\"."));
    for id in 1..=2 {
        each(&mut facts, id, |status| status.flag = Flag::Full);
    }
    assert_eq!(codes(&facts, false), [("daemon_paused", None)]);
    assert!(ClusterDaemons::of(&facts, false).all_paused());
    for id in 1..=3 {
        each(&mut facts, id, |status| status.pause = (0, 0));
    }
    let issue = &ClusterDaemons::of(&facts, true).issues()[0];
    assert_eq!((issue.code, issue.message.as_str()), ("daemon_paused", "automatic failover has not begun"));
}

#[test]
fn missing_votes_degrade_the_lease() {
    let of_lease = |facts: &ClusterFacts| {
        let issues = ClusterDaemons::of(facts, true).issues();
        issues.iter().map(|issue| (issue.code, issue.severity)).collect::<Vec<_>>()
    };
    let mut facts = cluster();
    facts.nodes[2].server = Err(unavailable(Answered::Nothing));
    assert_eq!(of_lease(&facts), [("lease_degraded", Severity::Warning)]);
    let issue = &ClusterDaemons::of(&facts, true).issues()[0];
    assert!(issue.message.contains("\"n1\" is seen to hold 2 of 3 votes"), "{issue:?}");
    assert!(issue.detail.as_ref().unwrap().contains("those of \"n3\""), "{issue:?}");
    // Its daemon runs on, and is seen on the other servers.
    assert_eq!(ClusterDaemons::of(&facts, true).state(3), RUNNING);
    facts.nodes[1].server = Err(unavailable(Answered::Nothing));
    assert_eq!(of_lease(&facts), [("lease_degraded", Severity::Error)]);
    let mut facts = cluster();
    each(&mut facts, 1, |status| status.role = Role::Barred);
    assert_eq!(of_lease(&facts), [("lease_degraded", Severity::Error)]);
    // A pause has a leader without a lease: that is no fault.
    for id in 1..=3 {
        each(&mut facts, id, |status| status.flag = Flag::Full);
    }
    assert_eq!(of_lease(&facts), [("daemon_paused", Severity::Warning)]);
}

#[test]
fn a_fencer_that_is_not_armed_is_named() {
    for fencer in [Fencer::NotArmed(Shortcomings::default()), Fencer::Silent] {
        let mut facts = cluster();
        shown(&mut facts, 0).infos[0].fencer = fencer;
        assert_eq!(codes(&facts, true), [("lease_degraded", Some(1))]);
    }
    let mut facts = cluster();
    shown(&mut facts, 0).infos[0].fencer = Fencer::Fine(Shortcomings::MEMORY);
    assert_eq!(codes(&facts, true), []);
}

#[test]
fn a_fenced_node_is_told_from_one_that_restarts() {
    // Its server responds still, or again.
    let mut facts = cluster();
    shown(&mut facts, 0).infos[0].course = Course::Fenced;
    assert_eq!(codes(&facts, true), [("node_fenced", Some(1))]);
    assert_eq!(ClusterDaemons::of(&facts, true).role(1), Some("fenced"));
    // It is down, and another node leads.
    let mut facts = cluster();
    with_daemons(&mut facts, 2);
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    each(&mut facts, 1, |status| status.role = Role::Barred);
    assert!(codes(&facts, true).contains(&("node_fenced", Some(1))), "{:?}", codes(&facts, true));
    // A server that is started again in place keeps its votes.
    let mut facts = cluster();
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    each(&mut facts, 1, |status| status.role = Role::Barred);
    assert_eq!(ClusterDaemons::of(&facts, true).role(1), Some("barred"));
    // A standby that is down is not fenced.
    let mut facts = cluster();
    facts.nodes[2].server = Err(unavailable(Answered::Nothing));
    each(&mut facts, 3, |status| status.role = Role::Barred);
    assert_eq!(codes(&facts, true), [("lease_degraded", None)]);
    // Nor is one that is paused.
    let mut facts = cluster();
    shown(&mut facts, 0).infos[0].course = Course::HandsOver;
    assert_eq!(ClusterDaemons::of(&facts, true).role(1), Some("handing_over"));
}
