//! Each check is made to fail, from facts.

mod local;
mod replication;
mod server;
mod slots;

use super::examples::{Example, statuses};
use super::{CheckStatus, Figures, Finding, of_issue};
use crate::assess::cluster::examples::{promote, server, unavailable};
use crate::error::ISSUE_CODES;
use crate::facts::check_name::CheckName;
use crate::facts::server::Slot;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::NodeType;

fn slot(name: &str, active: bool, status: &str, retained: i64) -> Slot {
    Slot {
        slot_name: name.into(),
        slot_type: "physical".into(),
        active,
        restart_lsn: Some(Lsn(1)),
        wal_status: Some(status.into()),
        retained_bytes: Some(retained),
        invalidation_reason: None,
        ..Slot::default()
    }
}

/// A change, and what is said of the check after it.
type Case = (CheckName, i32, CheckStatus, &'static str, fn(&mut Example));

fn cases() -> impl Iterator<Item = &'static Case> {
    [replication::CASES, slots::CASES, server::CASES, local::CASES].into_iter().flatten()
}

#[test]
fn each_check_fails_when_it_should_and_only_then() {
    for (name, id, status, message, change) in cases() {
        let found = Example::one(*name, *id, change);
        assert_eq!(
            (found.status, found.message.as_str()),
            (*status, *message),
            "{name:?} of {id}: {found:?}"
        );
        // A reported problem comes with what to do, or its cause.
        let explained = found.detail.is_some() || found.hint.is_some();
        assert!(
            explained || matches!(status, CheckStatus::Ok | CheckStatus::Unknown) || !is_new(*name),
            "{found:?}"
        );
    }
    // No check was left out.
    for name in CheckName::ALL {
        let bad = cases().any(|(of, _, status, ..)| of == name && *status > CheckStatus::Unknown);
        assert!(bad, "{name:?} was never made to fail");
    }
}

/// repmgr's own say it all in one line.
fn is_new(name: CheckName) -> bool {
    name > CheckName::Repmgrd && !matches!(name, CheckName::StandbySettings | CheckName::ServerVersion)
}

#[test]
fn a_missing_right_is_told_with_its_grant() {
    type Case = (CheckName, i32, &'static str, fn(&mut Example));
    let cases: [Case; 5] = [
        (CheckName::ArchiveReady, 1, "GRANT pg_monitor TO \"repmgr\";", |e| e.more(1).archive_ready = None),
        (CheckName::Downstream, 1, "GRANT pg_monitor TO \"repmgr\";", |e| {
            server(&mut e.facts, 0).sees_senders = false;
        }),
        (CheckName::PendingRestart, 1, "GRANT pg_read_all_settings TO \"repmgr\";", |e| {
            e.more(1).sees_settings = false;
        }),
        (CheckName::Rewind, 1, "GRANT EXECUTE ON FUNCTION f(text) TO \"repmgr\";", |e| {
            e.more(1).forbidden = vec!["f(text)".into()];
        }),
        (CheckName::Timeline, 2, "boolean) TO \"repmgr\";", |e| {
            server(&mut e.facts, 0).timeline = TimelineId(2);
            server(&mut e.facts, 1).timeline = TimelineId(2);
            server(&mut e.facts, 1).reads_files = false;
        }),
    ];
    for (name, id, grant, change) in cases {
        let hint = Example::one(name, id, change).text.hint.unwrap_or_default();
        assert!(hint.ends_with(grant), "{name:?}: {hint}");
    }
}

#[test]
fn figures_are_those_of_repmgr() {
    let found = Example::one(CheckName::Downstream, 1, |e| {
        server(&mut e.facts, 0).senders.clear();
        (1..=2).for_each(|at| server(&mut e.facts, at).receiver = None);
    });
    let missing = vec!["n2 (ID: 2)".to_string(), "n3 (ID: 3)".to_string()];
    assert_eq!(found.figures, Figures::Downstream { attached: 0, missing });
    let found = Example::one(CheckName::Slots, 1, |e| {
        let mut logical = slot("l", false, "reserved", 1);
        logical.slot_type = "logical".into();
        server(&mut e.facts, 0).slots = vec![slot("a", false, "reserved", 1), logical];
    });
    assert_eq!(found.figures, Figures::Slots { all: 1, inactive: 1 });
}

#[test]
fn what_is_unfinished_is_looked_at_and_not_started() {
    let mut example = Example::healthy();
    example.host(2).unfinished = Some(("x1".into(), "node rejoin".into()));
    example.facts.nodes[1].server = Err(unavailable(Answered::Nothing));
    let found = example.judge();
    assert_eq!(found.next(), ["pgbaton operation show x1  # on \"n2\""]);
    // On the node itself the command is there without its name.
    let mut found = found;
    found.cluster.cluster.next = vec!["pgbaton operation show x1".into()];
    assert_eq!(found.next(), ["pgbaton operation show x1"]);
}

#[test]
fn a_message_is_not_repeated() {
    let found = Example::one(CheckName::DbConnection, 2, |e| {
        e.facts.nodes[1].server = Err(unavailable(Answered::Nothing));
    });
    assert_eq!(found.message, "connection refused");
    assert_eq!(found.detail.as_deref(), Some("It has never been seen from this host."));
}

#[test]
fn a_witness_is_asked_only_what_concerns_it() {
    let mut example = Example::healthy();
    example.facts.nodes[2].row.node_type = NodeType::Witness;
    server(&mut example.facts, 2).system_identifier = "8".into();
    server(&mut example.facts, 2).in_recovery = false;
    server(&mut example.facts, 0).senders.remove(1);
    let found = example.judge();
    assert_eq!(statuses(&found, |status| status != CheckStatus::Ok), Vec::<String>::new());
    let made: Vec<CheckName> = found.nodes[2].checks.iter().map(|check| check.name).collect();
    assert!(!made.contains(&CheckName::Timeline) && made.contains(&CheckName::FreeSpace), "{made:?}");
}

#[test]
fn the_verdict_knows_of_the_cluster_as_a_whole() {
    let mut example = Example::healthy();
    promote(&mut example.facts, 1, 1);
    let found = example.judge();
    assert_eq!(found.verdict(), CheckStatus::Critical);
    assert_eq!(found.of_cluster().map(|issue| issue.code).collect::<Vec<_>>(), ["split_brain"]);
    assert!(found.next()[0].starts_with("pgbaton node stop"), "{:?}", found.next());

    let mut example = Example::healthy();
    example.facts.nodes[0].server = Err(unavailable(Answered::Nothing));
    let found = example.judge();
    assert_eq!(found.verdict(), CheckStatus::Critical);
    assert_eq!(found.of_cluster().map(|issue| issue.code).collect::<Vec<_>>(), ["no_primary"]);

    let mut example = Example::healthy();
    for node in &mut example.facts.nodes {
        node.server = Err(unavailable(Answered::Nothing));
    }
    assert_eq!(example.judge().verdict(), CheckStatus::Critical);

    // A restart that waits is a warning, with what to type.
    let mut example = Example::healthy();
    example.more(2).pending_restart = vec!["max_connections".into()];
    let found = example.judge();
    assert_eq!(found.verdict(), CheckStatus::Warning);
    assert_eq!(found.next(), ["pgbaton node restart  # on \"n2\""]);
    // What is unknown counts, if no node was missing that could be queried.
    let mut example = Example::healthy();
    example.more(2).sees_settings = false;
    assert_eq!(example.judge().verdict(), CheckStatus::Unknown);
}

#[test]
fn all_is_well() {
    let example = Example::healthy();
    let found = example.judge();
    let wrong = statuses(&found, |status| status != CheckStatus::Ok);
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!((found.verdict(), found.next()), (CheckStatus::Ok, vec![]));
    // Everything that is usual is there, on every node.
    let usual = CheckName::ALL.iter().filter(|name| name.is_usual()).count();
    assert!(found.nodes.iter().all(|node| node.checks.len() == usual), "{found:?}");
}

#[test]
fn every_issue_of_a_node_belongs_to_a_check() {
    // Those of other commands, of the configuration and of the whole cluster fall to the role and do no harm.
    let own = ["slot_missing", "slot_lost", "slot_unused", "slot_inactive", "replication_lag"];
    for (code, _) in ISSUE_CODES {
        assert_eq!(of_issue(code).is_none(), own.contains(code), "{code}");
    }
}

#[test]
fn numbers_are_whole_where_they_can_be() {
    let finding = Finding::ok(CheckName::Clock, "x").value(2.0, "seconds").limits((1.5, 10.0));
    let text = serde_json::to_string(&finding).unwrap();
    assert!(text.contains(r#""value":2,"unit":"seconds","warning":1.5,"critical":10,"#), "{text}");
}

#[test]
fn what_raises_no_verdict_is_still_told() {
    let mut example = Example::healthy();
    example.hosts.insert(2, Err("no ssh".into()));
    let found = example.judge();
    assert_eq!(found.verdict(), CheckStatus::Ok);
    let unknown = statuses(&found, |status| status == CheckStatus::Unknown);
    assert_eq!(
        unknown,
        ["2 data_directory", "2 replication_login", "2 free_space", "2 unfinished_operation"]
    );
}
