//! The checks of replication slots and of the WAL that they retain.

use super::{Case, CheckName, CheckStatus, Example, slot};
use crate::assess::cluster::examples::server;
use crate::facts::server::Slot;
use crate::registry::NodeType;

/// The cases of these checks.
pub(super) const CASES: &[Case] = &[
    (CheckName::Slots, 1, CheckStatus::Critical, "1 of 2 physical replication slots are inactive", |e| {
        server(&mut e.facts, 0).slots = vec![slot("a", true, "reserved", 1), slot("b", false, "reserved", 1)];
    }),
    (CheckName::Slots, 1, CheckStatus::Warning, "1 of 2 physical replication slots are inactive", |e| {
        // That of a former primary is no stale one.
        e.facts.nodes[1].row.node_type = NodeType::Primary;
        e.facts.nodes[1].row.active = false;
        server(&mut e.facts, 0).slots =
            vec![slot("a", true, "reserved", 1), slot("repmgr_slot_2", false, "reserved", 1)];
    }),
    (CheckName::LogicalSlots, 1, CheckStatus::Critical, "1 logical replication slots are invalid", |e| {
        server(&mut e.facts, 0).slots =
            vec![Slot { invalidation_reason: Some("rows_removed".into()), ..logical("l") }];
    }),
    (
        CheckName::LogicalSlots,
        1,
        CheckStatus::Critical,
        "subscribers of failover slots receive nothing from this node",
        |e| {
            server(&mut e.facts, 0).slots = vec![logical("l"), slot("a", true, "reserved", 1)];
            server(&mut e.facts, 0).synchronized_standby_slots = vec!["a".into(), "b".into()];
        },
    ),
    (CheckName::LogicalSlots, 1, CheckStatus::Ok, "1 of 1 logical replication slots are usable", |e| {
        server(&mut e.facts, 0).slots = vec![logical("l"), slot("a", true, "reserved", 1)];
        server(&mut e.facts, 0).synchronized_standby_slots = vec!["a".into()];
    }),
    (
        CheckName::LogicalSlots,
        2,
        CheckStatus::Critical,
        "replication slots are not synchronized to this node",
        |e| {
            server(&mut e.facts, 0).slots = vec![logical("l")];
            server(&mut e.facts, 1).slots = vec![logical("l")];
        },
    ),
    (
        CheckName::LogicalSlots,
        2,
        CheckStatus::Warning,
        "1 of 2 failover slots would be lost by a promotion of this node",
        |e| {
            server(&mut e.facts, 0).slots = vec![logical("l"), logical("m")];
            server(&mut e.facts, 1).sync_replication_slots = true;
            let copy = |name| Slot { synced: true, ..logical(name) };
            server(&mut e.facts, 1).slots = vec![copy("l"), Slot { temporary: true, ..copy("m") }];
        },
    ),
    (CheckName::LogicalSlots, 2, CheckStatus::Ok, "1 of 1 failover slots are synchronized", |e| {
        server(&mut e.facts, 0).slots = vec![logical("l")];
        server(&mut e.facts, 1).sync_replication_slots = true;
        server(&mut e.facts, 1).slots = vec![Slot { synced: true, ..logical("l") }];
    }),
    (
        CheckName::MissingSlots,
        1,
        CheckStatus::Critical,
        "1 physical replication slots are missing: s'2",
        |e| {
            e.facts.nodes[1].row.slot_name = Some("s'2".into());
        },
    ),
    (CheckName::WalRetained, 1, CheckStatus::Warning, "slot \"s\" keeps 1.9 GB of WAL", |e| {
        retained(e, "extended", 2_000_000_000);
    }),
    (CheckName::WalRetained, 1, CheckStatus::Critical, "slot \"s\" keeps 3.7 GB of WAL", |e| {
        retained(e, "extended", 4_000_000_000);
    }),
    (CheckName::WalRetained, 1, CheckStatus::Ok, "slot \"s\" keeps 954 MB of WAL", |e| {
        retained(e, "extended", 999_999_999);
    }),
    (CheckName::WalRetained, 1, CheckStatus::Critical, "WAL that slot \"s\" had to retain is lost", |e| {
        retained(e, "lost", 1);
    }),
    (
        CheckName::WalRetained,
        1,
        CheckStatus::Critical,
        "WAL that slots \"s\", \"t\" had to retain is lost",
        |e| {
            retained(e, "lost", 1);
            server(&mut e.facts, 0).slots[1].wal_status = Some("lost".into());
        },
    ),
    (CheckName::WalRetained, 1, CheckStatus::Critical, "slot \"s\" is invalid", |e| {
        retained(e, "lost", 1);
        server(&mut e.facts, 0).slots[0].invalidation_reason = Some("idle_timeout".into());
    }),
    (
        CheckName::WalRetained,
        1,
        CheckStatus::Critical,
        "WAL that slot \"s\" keeps is about to be removed",
        |e| {
            retained(e, "unreserved", 1);
        },
    ),
];

fn logical(name: &str) -> Slot {
    Slot {
        slot_type: "logical".into(),
        plugin: Some("pgoutput".into()),
        failover: true,
        ..slot(name, false, "reserved", 1)
    }
}

fn retained(e: &mut Example, status: &str, bytes: i64) {
    server(&mut e.facts, 0).slots = vec![slot("s", true, status, bytes), slot("t", true, "reserved", 0)];
}

#[test]
fn what_is_said_of_slots_can_be_typed_and_is_true_of_each() {
    let lost =
        |reason: &str| Slot { invalidation_reason: Some(reason.into()), ..slot("lo'st", false, "lost", 1) };
    let found = Example::one(CheckName::Slots, 1, |e| {
        server(&mut e.facts, 0).slots = vec![slot("b", false, "reserved", 1), lost("wal_removed")];
    });
    assert_eq!(
        found.detail.as_deref(),
        Some(
            "These retain WAL, but no standby streams from them: \"b\". These are lost and no longer usable: \"lo'st\"."
        )
    );
    let hint = found.text.hint.unwrap();
    assert!(
        hint.ends_with("SELECT pg_drop_replication_slot('b'); SELECT pg_drop_replication_slot('lo''st');"),
        "{hint}"
    );
    let found = Example::one(CheckName::WalRetained, 1, |e| {
        server(&mut e.facts, 0).slots = vec![lost("idle_timeout")];
    });
    assert_eq!(
        found.detail.as_deref(),
        Some("For slot \"lo'st\": it was not used for longer than idle_replication_slot_timeout.")
    );
}
