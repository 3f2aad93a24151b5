//! Tests of `standby`.

use super::super::assess;
use super::super::examples::{healthy, judged, promote, server, unavailable, view};
use super::*;
use crate::facts::cluster::ClusterFacts;
use crate::facts::server::Slot;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;

#[test]
fn one_that_has_parted_is_rejoined_and_nothing_else() {
    let mut facts = healthy();
    server(&mut facts, 1).receiver = None;
    server(&mut facts, 0).senders.retain(|sender| sender.application_name != "n2");
    assert!(!judged(&facts).0.cluster.next.is_empty());
    server(&mut facts, 1).receive_lsn = Some(Lsn(60_000));
    let (report, codes) = judged(&facts);
    assert!(codes.contains(&"forked") && codes.contains(&"not_attached"), "{codes:?}");
    assert_eq!(report.cluster.next, ["pgbaton node rejoin  # on \"n2\""]);
}

#[test]
fn lag_is_told_only_where_there_is_some() {
    let lag = |change: &dyn Fn(&mut ClusterFacts)| {
        let mut facts = healthy();
        change(&mut facts);
        let (report, codes) = judged(&facts);
        (report.nodes[1].replay_lag_bytes, report.nodes[1].replay_lag_s, codes)
    };
    // The primary has just written something: the last commit before it was an hour ago, and says nothing.
    let written = |facts: &mut ClusterFacts| server(facts, 0).current_lsn = Some(Lsn(50_100));
    assert_eq!(lag(&written), (Some(100), Some(0.0), vec![]));
    // Nothing was heard of the standby for a while.
    assert_eq!(
        lag(&|facts| {
            written(facts);
            server(facts, 0).senders[0].reply_age_s = Some(35.0);
        }),
        (Some(100), Some(35.0), vec![])
    );
    // It is to be an hour late.
    assert_eq!(
        lag(&|facts| {
            server(facts, 1).replay_lsn = Some(Lsn(40_000));
            server(facts, 1).apply_delay_s = 3590.0;
        }),
        (Some(10_000), Some(3600.0), vec![])
    );
    // It keeps up with a standby that is cut off.
    let of_n3 = |facts: &mut ClusterFacts| {
        written(facts);
        facts.nodes[2].row.upstream_node_id = Some(2);
        let moved = server(facts, 0).senders.remove(1);
        server(facts, 1).senders.push(moved);
    };
    let mut facts = healthy();
    of_n3(&mut facts);
    assert_eq!(judged(&facts).0.nodes[2].replay_lag_s, Some(0.0));
    server(&mut facts, 0).senders.clear();
    server(&mut facts, 1).receiver = None;
    assert_eq!(judged(&facts).0.nodes[2].replay_lag_s, Some(3600.0));
    // The end of a page, in the middle of a record.
    assert_eq!(
        lag(&|facts| {
            server(facts, 0).current_lsn = Some(Lsn(57_344));
            server(facts, 1).receive_lsn = Some(Lsn(57_344));
            server(facts, 1).replay_lsn = Some(Lsn(57_344 - 1336));
        }),
        (Some(1336), Some(0.0), vec![])
    );
    // Received, and not replayed.
    assert_eq!(
        lag(&|facts| server(facts, 1).replay_lsn = Some(Lsn(40_000))),
        (Some(10_000), Some(3600.0), vec!["replication_lag"])
    );
    assert_eq!(
        lag(&|facts| {
            server(facts, 1).replay_lsn = Some(Lsn(40_000));
            server(facts, 1).replay_paused = Some(true);
        })
        .2,
        ["replay_paused"]
    );
    // What is listed as streaming, and has not been heard of for so long, hangs.
    assert_eq!(lag(&|facts| server(facts, 0).senders[0].reply_age_s = Some(45.0)).2, ["receiver_hangs"]);
    assert_eq!(
        lag(&|facts| server(facts, 1).receiver.as_mut().unwrap().message_age_s = Some(90.0)).2,
        ["receiver_hangs"]
    );
    // It is unknown how long it may be silent.
    assert_eq!(
        lag(&|facts| {
            server(facts, 0).senders[0].reply_age_s = Some(45.0);
            server(facts, 1).receiver_times_s = (0.0, 0.0);
        })
        .2,
        [""; 0]
    );
    // What resuming would do decides whether it is advised.
    let resumed = |change: &dyn Fn(&mut ClusterFacts)| {
        let mut facts = healthy();
        server(&mut facts, 1).replay_paused = Some(true);
        change(&mut facts);
        let (report, issues) = assess(&facts, &view(None));
        let issue = issues.into_iter().find(|issue| issue.code == "replay_paused").unwrap();
        (report.cluster.next.concat().contains("resume"), issue.text.hint.unwrap())
    };
    assert!(resumed(&|_| {}).0);
    let (advised, hint) = resumed(&|facts| server(facts, 1).has_recovery_target = true);
    assert!(!advised && hint.contains("recovery target"), "{hint}");
    let (advised, hint) = resumed(&|facts| {
        server(facts, 0).recovery_limits = vec![("max_connections".into(), 200)];
    });
    assert!(!advised && hint.contains("max_connections is 100, but 200 on the primary"), "{hint}");
    // A role that lacks privileges cannot determine it, and raises no alarm.
    assert_eq!(
        lag(&|facts| {
            written(facts);
            server(facts, 0).senders[0].state = None;
        }),
        (Some(100), None, vec![])
    );
    // Without a primary there is nothing to compare with.
    let unknown = lag(&|facts| facts.nodes[0].server = Err(unavailable(Answered::Nothing)));
    assert_eq!((unknown.0, unknown.1), (None, None));
}

#[test]
fn attachment_and_slots() {
    let mut facts = healthy();
    server(&mut facts, 0).senders.remove(0);
    server(&mut facts, 1).receiver = None;
    let (report, codes) = judged(&facts);
    assert_eq!((report.nodes[1].attached, codes), (Some(false), vec!["not_attached"]));
    assert_eq!(report.cluster.next, ["pgbaton standby follow  # on \"n2\""]);
    // At an unknown address.
    server(&mut facts, 1).receiver = server(&mut healthy(), 1).receiver.take();
    server(&mut facts, 1).receiver.as_mut().unwrap().sender_port = Some(1);
    assert_eq!(judged(&facts).0.cluster.next, ["pgbaton node status  # on \"n2\""]);
    // Below another standby.
    let mut facts = healthy();
    facts.nodes[2].row.upstream_node_id = Some(2);
    server(&mut facts, 0).senders.remove(1);
    server(&mut facts, 2).receiver = None;
    assert_eq!(judged(&facts).0.cluster.next, ["pgbaton standby follow --upstream-node-id=2  # on \"n3\""]);
    // Its upstream is a former primary, which is not to be started as what it was.
    let mut facts = healthy();
    promote(&mut facts, 1, 2);
    facts.nodes[1].row.node_type = NodeType::Primary;
    facts.nodes[0].row.active = false;
    facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    server(&mut facts, 2).receiver = None;
    let next = judged(&facts).0.cluster.next;
    assert!(next.contains(&"pgbaton standby follow  # on \"n3\"".to_string()), "{next:?}");
    let mut facts = healthy();
    server(&mut facts, 0).senders[0].application_name = "walreceiver".into();
    assert_eq!(judged(&facts).1, ["application_name_differs"]);
    let mut facts = healthy();
    let moved = server(&mut facts, 0).senders.remove(0);
    server(&mut facts, 2).senders.push(moved);
    assert_eq!(judged(&facts).1, ["upstream_differs"]);
    let mut facts = healthy();
    facts.nodes[1].row.slot_name = Some("s'2".into());
    let (report, codes) = judged(&facts);
    assert_eq!(codes, ["slot_missing"]);
    assert_eq!(report.cluster.next, ["pgbaton standby follow  # on \"n2\""]);
    let slot = |active, status: &str| Slot {
        slot_name: "s'2".into(),
        slot_type: "physical".into(),
        active,
        restart_lsn: None,
        wal_status: Some(status.into()),
        retained_bytes: None,
        invalidation_reason: None,
        ..Slot::default()
    };
    for (slot, expected) in [
        (slot(true, "reserved"), vec![]),
        (slot(false, "reserved"), vec!["slot_unused"]),
        (slot(false, "lost"), vec!["slot_lost"]),
    ] {
        server(&mut facts, 0).slots = vec![slot];
        assert_eq!(judged(&facts).1, expected);
    }
}

#[test]
fn histories_that_may_not_be_read() {
    let mut facts = healthy();
    server(&mut facts, 0).timeline = TimelineId(2);
    server(&mut facts, 0).senders.remove(0);
    server(&mut facts, 0).reads_files = false;
    server(&mut facts, 1).receiver = None;
    let (_, issues) = assess(&facts, &view(None));
    let unknown = issues.iter().find(|issue| issue.code == "history_unknown").unwrap();
    let hint = unknown.hint.as_deref().unwrap();
    assert!(hint.ends_with("(text, bigint, bigint, boolean) TO \"repmgr\";"), "{hint}");
}
