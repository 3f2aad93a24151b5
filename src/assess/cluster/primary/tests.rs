//! Tests of `primary`.

use jiff::Timestamp;

use super::super::examples::{NOW, healthy, judged, promote, server, unavailable, view};
use super::super::{State, Viewpoint, assess};
use super::*;
use crate::facts::cluster::ClusterFacts;
use crate::facts::lineage::{Lineage, Promotion};
use crate::facts::topology;

#[test]
fn of_two_that_were_promoted_independently_none_is_named() {
    let recorded = |uuid: &str| {
        let promotions = vec![Promotion { timeline: TimelineId(2), uuid: uuid.into() }];
        Some(Lineage { promotions, ..Lineage::default() })
    };
    let next = |one: Option<&str>, other: Option<&str>| {
        let mut facts = healthy();
        facts.nodes[0].server = Err(unavailable(Answered::Nothing));
        for (at, uuid) in [(1, one), (2, other)] {
            promote(&mut facts, at, 2);
            server(&mut facts, at).lineage = uuid.and_then(recorded);
        }
        assess(&facts, &view(None)).0.cluster.next
    };
    // Each has a record of its own.
    assert_eq!(next(Some("a"), Some("b")), Vec::<String>::new());
    // One was promoted by hand.
    assert_eq!(next(Some("a"), None), ["pgbaton node stop  # on \"n3\""]);
    assert_eq!(next(None, Some("b")), ["pgbaton node stop  # on \"n2\""]);
    // One past, and the registered one is down: it would start as a standby of one of them.
    assert_eq!(next(Some("a"), Some("a")), Vec::<String>::new());
}

#[test]
fn no_primary_names_the_one_with_the_most_wal_and_what_may_be_missing() {
    let mut facts = healthy();
    let seen = topology::merge(None, &facts, NOW);
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    for at in [1, 2] {
        server(&mut facts, at).receiver = None;
        server(&mut facts, at).receive_lsn = Some(Lsn(49_000 + at as u64));
        server(&mut facts, at).replay_lsn = Some(Lsn(49_000));
    }
    let (report, issues) = assess(&facts, &view(Some(&seen)));
    assert_eq!(report.cluster.state, State::NoPrimary);
    let both =
        ["pgbaton node start  # on \"n1\"", "pgbaton standby promote  # on \"n3\", if \"n1\" stays down"];
    assert_eq!(report.cluster.next, both);
    assert_eq!(issues[0].code, "no_primary");
    let detail = issues[0].detail.as_deref().unwrap();
    assert!(detail.contains("\"n3\" has the most WAL") && detail.contains("had 998 bytes more"), "{detail}");
    // The standby that is down may have more WAL: it is started before another one is promoted.
    let other = std::mem::replace(&mut facts.nodes[1].server, Err(unavailable(Answered::Nothing)));
    let (report, _) = assess(&facts, &view(Some(&seen)));
    let starts = ["pgbaton node start  # on \"n1\"", "pgbaton node start  # on \"n2\""];
    assert_eq!(report.cluster.next, [&starts[..], &both[1..]].concat());
    facts.nodes[1].server = other;
    // A server responds there, or a standby streams from it: no promotion and no start is advised.
    facts.nodes[0].server = Err(unavailable(Answered::Silent));
    let (report, issues) = assess(&facts, &view(Some(&seen)));
    assert!(issues[0].hint.as_deref().unwrap().contains("seems to be alive"));
    assert_eq!(report.cluster.next, Vec::<String>::new());
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    server(&mut facts, 1).receiver = ServerFacts::example(true, 1, 1).receiver;
    let (_, issues) = assess(&facts, &view(None));
    assert!(issues[0].hint.as_deref().unwrap().contains("seems to be alive"));
}

#[test]
fn a_new_primary_that_was_seen_only_as_a_standby_is_the_one_to_start() {
    let mut facts = healthy();
    let seen = topology::merge(None, &facts, NOW);
    // n3 took over and is gone as well; n2 has followed it.
    (facts.nodes[0].row.active, facts.nodes[2].row.node_type) = (false, NodeType::Primary);
    for at in [0, 2] {
        facts.nodes[at].server = Err(unavailable(Answered::Nothing));
    }
    server(&mut facts, 1).receiver = None;
    server(&mut facts, 1).timeline = TimelineId(2);
    let (report, issues) = assess(&facts, &view(Some(&seen)));
    let both =
        ["pgbaton node start  # on \"n3\"", "pgbaton standby promote  # on \"n2\", if \"n3\" stays down"];
    assert_eq!(report.cluster.next, both);
    let issue = issues.iter().find(|issue| issue.code == "no_primary").unwrap();
    assert!(issue.hint.as_deref().unwrap().contains("If \"n3\" can be started soon"), "{issue:?}");
    // Last seen as the primary of a timeline that n2 has left behind, it was replaced by an unrecorded promotion.
    let mut seen = seen;
    seen.nodes[2].was_primary = Some(true);
    let (report, _) = assess(&facts, &view(Some(&seen)));
    assert!(!report.cluster.next.iter().any(|line| line.contains("n3")), "{:?}", report.cluster.next);
}

#[test]
fn a_node_that_was_promoted_without_a_record_is_the_one_to_start() {
    let mut facts = healthy();
    promote(&mut facts, 1, 2);
    let seen = topology::merge(None, &facts, NOW);
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    facts.nodes[1].server = Err(unavailable(Answered::Nothing));
    server(&mut facts, 2).receiver = None;
    let (report, issues) = assess(&facts, &view(Some(&seen)));
    let next = &report.cluster.next;
    assert!(next.contains(&"pgbaton node start  # on \"n2\"".to_string()), "{next:?}");
    assert!(!next.iter().any(|line| line.contains("start  # on \"n1\"")), "{next:?}");
    let issue = issues.iter().find(|issue| issue.code == "no_primary").unwrap();
    let detail = issue.detail.as_deref().unwrap();
    assert!(detail.contains("primary \"n2\" was on timeline 2"), "{detail}");
    assert!(issue.hint.as_deref().unwrap().contains("If \"n2\" can be started soon"), "{issue:?}");
}

#[test]
fn where_all_are_standbys_one_of_them_is_to_be_promoted() {
    let mut facts = healthy();
    for at in [0, 1, 2] {
        let end = Lsn(if at == 1 { 49_001 } else { 49_000 });
        let standby = ServerFacts::example(true, 1, end.0);
        facts.nodes[at].server = Ok(ServerFacts { started_at: at.to_string(), receiver: None, ..standby });
    }
    let (report, issues) = assess(&facts, &view(None));
    assert_eq!(report.cluster.state, State::NoPrimary);
    assert_eq!(report.cluster.next[0], "pgbaton standby promote  # on \"n2\"");
    // Without a primary there is nowhere to register.
    assert!(!report.cluster.next.concat().contains("register"), "{:?}", report.cluster.next);
    assert!(issues[0].hint.as_deref().unwrap().contains("promote \"n2\""), "{issues:?}");
    // Another one may be the primary: it does not respond, or a standby streams from it.
    facts.nodes[2].server = Err(unavailable(Answered::Nothing));
    assert!(!assess(&facts, &view(None)).0.cluster.next.concat().contains("promote"));
}

#[test]
fn only_a_witness_answers() {
    let mut facts = healthy();
    facts.nodes[2].row.node_type = NodeType::Witness;
    promote(&mut facts, 2, 1);
    server(&mut facts, 2).system_identifier = "8".into();
    (0..=1).for_each(|at| facts.nodes[at].server = Err(unavailable(Answered::Nothing)));
    let (report, issues) = assess(&facts, &view(None));
    assert_eq!(report.cluster.state, State::NoPrimary);
    assert_eq!(report.cluster.next[0], "pgbaton node start  # on \"n1\"");
    let issue = issues.iter().find(|issue| issue.code == "no_primary").unwrap();
    assert!(issue.detail.is_some() && issue.hint.is_some(), "{issue:?}");
}

#[test]
fn nobody_answers() {
    let mut facts = healthy();
    let seen = topology::merge(None, &facts, NOW);
    facts.nodes.iter_mut().for_each(|node| node.server = Err(unavailable(Answered::Nothing)));
    let later = Viewpoint { now: Timestamp::from_second(180).unwrap(), ..view(Some(&seen)) };
    let (report, issues) = assess(&facts, &later);
    assert_eq!(report.cluster.state, State::Unknown);
    assert_eq!((report.cluster.observed_at, report.nodes[0].last_seen), (NOW, Some(NOW)));
    assert_eq!(report.cluster.next[0], "pgbaton node start  # on \"n1\"");
    assert!(issues[0].detail.as_deref().unwrap().contains("saved 3 minutes ago"), "{issues:?}");
}

/// The metadata has a row of the promotion to the timeline that a server is on.
fn promoted_by_pgbaton(facts: &mut ClusterFacts, at: usize) {
    let server = server(facts, at);
    let promotion = Promotion { timeline: server.timeline, uuid: "u".into() };
    server.lineage = Some(Lineage { promotions: vec![promotion], ..Lineage::default() });
}

#[test]
fn a_promotion_that_was_requested_is_waited_for_or_withdrawn() {
    let mut facts = healthy();
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    server(&mut facts, 2).receiver = None;
    server(&mut facts, 1).receiver = None;
    server(&mut facts, 1).promotion_requested = Some(true);
    let (report, issues) = assess(&facts, &view(None));
    assert_eq!(report.cluster.next, ["pgbaton node stop  # on \"n2\""]);
    assert!(issues.iter().any(|issue| issue.code == "promotion_requested"), "{issues:?}");
}

#[test]
fn several_primaries() {
    let mut facts = healthy();
    promote(&mut facts, 1, 2);
    let (report, codes) = judged(&facts);
    assert_eq!((report.cluster.state, report.cluster.primary_node_id), (State::SplitBrain, None));
    assert_eq!(codes[0], "split_brain");
    // An unrecorded promotion may have been accidental: both sides are shown, and neither is named as the one to stop.
    server(&mut facts, 0).clients = Some(7);
    let (report, issues) = assess(&facts, &view(None));
    assert!(report.cluster.next.iter().all(|command| !command.contains("stop")), "{:?}", report.cluster.next);
    let detail = issues[0].detail.as_deref().unwrap();
    assert!(detail.contains("\"n1\", the registered primary,"), "{detail}");
    assert!(detail.contains("attached to it: \"n2\", \"n3\"; 7 client sessions."), "{detail}");
    // One that was recorded stays.
    promoted_by_pgbaton(&mut facts, 1);
    assert_eq!(judged(&facts).0.cluster.next[0], "pgbaton node stop  # on \"n1\"");
    // On one timeline it is unknown which; the registered one is the one to keep.
    promote(&mut facts, 1, 1);
    let (report, codes) = judged(&facts);
    assert!(codes.contains(&"forked"), "{codes:?}");
    assert_eq!(report.cluster.next[0], "pgbaton node stop  # on \"n2\"");
    facts.nodes[0].row.node_type = NodeType::Standby;
    assert!(judged(&facts).0.cluster.next.iter().all(|command| !command.contains("stop")));
}

#[test]
fn promoted_by_hand() {
    let mut facts = healthy();
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    facts.nodes[0].row.active = false;
    facts.nodes.truncate(2);
    promote(&mut facts, 1, 2);
    let (report, codes) = judged(&facts);
    assert_eq!((report.cluster.state, report.cluster.primary_node_id), (State::Degraded, Some(2)));
    assert!(codes.contains(&"running_as_primary"), "{codes:?}");
    assert_eq!(
        report.cluster.next,
        ["pgbaton primary register --force  # on \"n2\"", "pgbaton node rejoin  # on \"n1\""]
    );
}

#[test]
fn a_primary_that_was_replaced() {
    let mut facts = healthy();
    server(&mut facts, 2).timeline = TimelineId(2);
    let (report, codes) = judged(&facts);
    assert_eq!(report.cluster.state, State::Degraded);
    assert!(codes.contains(&"primary_outdated"), "{codes:?}");
    assert!(report.cluster.next.iter().all(|command| !command.contains("stop")), "{:?}", report.cluster.next);
    promoted_by_pgbaton(&mut facts, 2);
    let (report, _) = judged(&facts);
    assert_eq!(report.cluster.next[0], "pgbaton node stop  # on \"n1\"");
    // Or no node that has seen the newer one responds now.
    let mut before = healthy();
    promote(&mut before, 1, 2);
    let seen = topology::merge(None, &before, NOW);
    let mut facts = healthy();
    facts.nodes[1].server = Err(unavailable(Answered::Nothing));
    let (_, issues) = assess(&facts, &view(Some(&seen)));
    let outdated = issues.iter().find(|issue| issue.code == "primary_outdated").unwrap();
    assert!(outdated.detail.as_deref().unwrap().starts_with("Node \"n2\" was the primary on timeline 2"));
}
