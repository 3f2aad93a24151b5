//! What a new primary keeps for the former one, which is down, until that is back: with the WAL from the last common checkpoint on it
//! rejoins without a new copy. Pure.

use crate::facts::cluster::NodeFacts;
use crate::facts::role::RoleFacts;
use crate::facts::server::{ServerFacts, Slot};
use crate::plan::Check;
use crate::plan::parts::following::default_slot;

/// What is kept, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WalRetention {
    /// What is to be known of it.
    pub check: Option<Check>,
    /// A slot to make before the promotion: a standby's slot keeps WAL from its last restartpoint on, which both have.
    pub slot: Option<String>,
}

/// Decides it. A slot is made only where its size is limited: it is unknown when, or whether, the former primary comes back, and a full
/// disk stops the new one. `more` is how many slots are made besides.
pub fn retain_for_former_primary(
    former: &NodeFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    role: Option<&RoleFacts>,
    use_slots: bool,
    more: usize,
) -> WalRetention {
    const NAME: &str = "kept_wal";
    let (was, name) = (&former.row.node_name, &candidate.row.node_name);
    let slot = default_slot(&former.row);
    let setting = |setting: &str, default| role.and_then(|role| role.settings.number(setting, default));
    let limit = setting("max_slot_wal_keep_size", -1).filter(|megabytes| *megabytes >= 0);
    let kept = |check: Check, slot| WalRetention { check: Some(check.node(former.row.node_id)), slot };
    if let Some(there) = server.slot(&slot).filter(|there| !there.is_lost()) {
        let is_free = there.slot_type == "physical" && !there.active;
        return if is_free {
            kept(Check::pass(NAME, format!("slot \"{slot}\" keeps WAL for node \"{was}\"")), None)
        } else {
            WalRetention::default()
        };
    }
    let free = usize::try_from(server.max_replication_slots).unwrap_or(0) > server.slots.len() + more;
    let is_remade = server.slot(&slot).is_some_and(Slot::is_lost);
    let why = if !use_slots {
        "No slot is created for it, because use_replication_slots is off.".to_string()
    } else if !role.is_some_and(|role| role.may_replicate) {
        "No slot is created for it, because the role lacks the privilege REPLICATION.".to_string()
    } else if let Some(megabytes) = limit {
        if free || is_remade {
            let text = format!("slot \"{slot}\" keeps up to {megabytes} MB of WAL for node \"{was}\"");
            return kept(Check::pass(NAME, text), Some(slot));
        }
        format!(
            "No slot is created for it: all {} are in use (max_replication_slots).",
            server.max_replication_slots
        )
    } else {
        "No slot is created for it, because max_slot_wal_keep_size does not limit what slots keep: it could fill the disk."
            .to_string()
    };
    let keeps = match setting("wal_keep_size", 0) {
        Some(megabytes) => format!("wal_keep_size is {megabytes} MB on \"{name}\"."),
        None => format!("wal_keep_size of \"{name}\" is unknown."),
    };
    let check = Check::warning(
        NAME,
        format!("node \"{name}\" may remove WAL that node \"{was}\" needs to rejoin"),
    )
    .detail(format!("{why} {keeps} Without that WAL \"{was}\" has to be cloned again, unless the archive has it."))
    .hint(format!(
        "After the promotion run in psql on \"{name}\", with a size well below its free disk space: ALTER SYSTEM SET wal_keep_size = '8GB'; \
         SELECT pg_reload_conf(); when \"{was}\" is back: ALTER SYSTEM RESET wal_keep_size; SELECT pg_reload_conf();"
    ));
    kept(check, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::settings::in_file;
    use crate::plan::CheckResult;
    use crate::registry::{NodeRow, NodeType};

    fn decided(
        limit: Option<&str>,
        change: impl FnOnce(&mut ServerFacts, &mut RoleFacts, &mut bool),
    ) -> WalRetention {
        let unavailable = crate::facts::cluster::Unavailable::invalid("down");
        let former = NodeFacts { row: NodeRow::example(1, NodeType::Primary), server: Err(unavailable) };
        let mut server = ServerFacts::example(true, 1, 0x500);
        let mut role = RoleFacts::example();
        let mut use_slots = true;
        role.settings = in_file(&[("wal_keep_size", "64")]);
        if let Some(limit) = limit {
            role.settings.add(in_file(&[("max_slot_wal_keep_size", limit)]).set.remove(0));
        }
        change(&mut server, &mut role, &mut use_slots);
        let candidate = NodeFacts { row: NodeRow::example(2, NodeType::Standby), server: Ok(server.clone()) };
        retain_for_former_primary(&former, &candidate, &server, Some(&role), use_slots, 1)
    }

    fn warned(kept: WalRetention, why: &str) {
        let check = kept.check.unwrap();
        assert_eq!((check.verdict, kept.slot), (CheckResult::Warning, None), "{check:?}");
        let (detail, hint) = (check.text.detail.unwrap(), check.text.hint.unwrap());
        assert!(detail.contains(why) && detail.contains("wal_keep_size is 64 MB"), "{detail}");
        assert!(hint.contains("SET wal_keep_size"), "{hint}");
    }

    #[test]
    fn a_slot_is_made_only_where_its_size_is_limited() {
        let made = decided(Some("1024"), |_, _, _| ());
        assert_eq!(made.slot.as_deref(), Some("repmgr_slot_1"));
        let check = made.check.unwrap();
        assert_eq!(check.verdict, CheckResult::Pass);
        assert!(check.message.contains("up to 1024 MB"), "{check:?}");
        for unlimited in [None, Some("-1")] {
            warned(decided(unlimited, |_, _, _| ()), "max_slot_wal_keep_size");
        }
    }

    #[test]
    fn where_none_can_be_made_it_says_why() {
        let limit = Some("1024");
        warned(decided(limit, |_, _, used| *used = false), "use_replication_slots");
        warned(decided(limit, |_, role, _| role.may_replicate = false), "REPLICATION");
        warned(decided(limit, |server, _, _| server.max_replication_slots = 1), "max_replication_slots");
    }

    #[test]
    fn one_that_is_there_keeps_already_unless_it_is_lost() {
        let there = |status: &str| Slot {
            slot_name: "repmgr_slot_1".into(),
            slot_type: "physical".into(),
            wal_status: Some(status.into()),
            ..Slot::default()
        };
        let kept = decided(None, |server, _, _| server.slots.push(there("reserved")));
        assert_eq!((kept.check.unwrap().verdict, kept.slot), (CheckResult::Pass, None));
        let remade = decided(Some("9"), |server, _, _| {
            server.slots.push(there("lost"));
            server.max_replication_slots = 1;
        });
        assert_eq!(remade.slot.as_deref(), Some("repmgr_slot_1"));
    }
}
