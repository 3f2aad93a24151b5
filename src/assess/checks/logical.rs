//! Logical replication slots: whether they are usable, and whether a standby has copies of the failover slots.

use super::{CheckStatus, Finding, NodeChecks, count};
use crate::facts::check_name::CheckName;
use crate::facts::server::{ServerFacts, Slot};
use crate::pg::quote::quote_literal;

impl NodeChecks<'_> {
    /// Whether its logical slots can be used, now or as the primary.
    pub(crate) fn logical_slots(&self, server: &ServerFacts) -> Finding {
        if server.in_recovery { self.copies(server) } else { self.of_primary(server) }
    }

    fn of_primary(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::LogicalSlots;
        let logical: Vec<&Slot> = server.slots.iter().filter(|slot| slot.slot_type == "logical").collect();
        let invalid: Vec<String> = logical
            .iter()
            .filter_map(|slot| Some(format!("\"{}\" ({})", slot.slot_name, slot.invalid()?)))
            .collect();
        if !invalid.is_empty() {
            let message = format!("{} logical replication slots are invalid", invalid.len());
            return Finding::new(NAME, CheckStatus::Critical, message)
                .detail(format!("Nothing can be read from {} any more.", invalid.join(", ")))
                .hint("Drop them, and set their subscribers up again.")
                .value(count(invalid.len()), "slots");
        }
        let waits = logical.iter().any(|slot| slot.failover);
        let in_use = |name: &&String| {
            server.slot(name).is_some_and(|slot| slot.slot_type == "physical" && slot.active)
        };
        let (there, absent): (Vec<&String>, Vec<&String>) =
            server.synchronized_standby_slots.iter().partition(in_use);
        if waits && !absent.is_empty() {
            let names: Vec<String> = absent.iter().map(|name| format!("\"{name}\"")).collect();
            let left: Vec<&str> = there.into_iter().map(String::as_str).collect();
            return Finding::new(NAME, CheckStatus::Critical, "subscribers of failover slots receive nothing from this node")
                .detail(format!(
                    "synchronized_standby_slots names {}, which is missing or not in use.",
                    names.join(", ")
                ))
                .hint(format!(
                    "Start the standby that uses it; otherwise run on node \"{}\": ALTER SYSTEM SET synchronized_standby_slots = {}; \
                     SELECT pg_reload_conf();",
                    self.name(),
                    quote_literal(&left.join(", "))
                ))
                .value(count(absent.len()), "slots");
        }
        let message = match logical.len() {
            0 => "node has no logical replication slots".to_string(),
            all => format!("{all} of {all} logical replication slots are usable"),
        };
        Finding::ok(NAME, message).value(0.0, "slots")
    }

    fn copies(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::LogicalSlots;
        let Some((_, primary)) = self.primary().and_then(|(node, _)| Some((node, node.facts()?))) else {
            return Finding::ok(NAME, "N/A - there is no primary to compare with").value(0.0, "slots");
        };
        let wanted: Vec<&Slot> =
            primary.slots.iter().filter(|slot| slot.failover && slot.is_usable_logical()).collect();
        // One that was created here, or kept from when it was the primary, stops the synchronization of all.
        let own = |slot: &&&Slot| server.slot(&slot.slot_name).is_some_and(|here| !here.synced);
        let own: Vec<&str> = wanted.iter().filter(own).map(|slot| slot.slot_name.as_str()).collect();
        if !own.is_empty() {
            let names: Vec<String> = own.iter().map(|name| format!("\"{name}\"")).collect();
            let drop: Vec<String> = own
                .iter()
                .map(|name| format!("SELECT pg_drop_replication_slot({});", quote_literal(name)))
                .collect();
            return Finding::new(
                NAME,
                CheckStatus::Critical,
                "replication slots are not synchronized to this node",
            )
            .detail(format!(
                "It has slots of its own with the names of failover slots of the primary: {}.",
                names.join(", ")
            ))
            .hint(format!(
                "If they are no longer needed, on node \"{}\" run: {}",
                self.name(),
                drop.join(" ")
            ))
            .value(count(own.len()), "slots");
        }
        let all = wanted.len();
        if all > 0 && !server.sync_replication_slots {
            return Finding::ok(NAME, "N/A - sync_replication_slots is off").value(0.0, "slots");
        }
        let missing: Vec<String> = wanted
            .iter()
            .filter_map(|slot| {
                let why = match server.slot(&slot.slot_name) {
                    Some(copy) => copy.is_no_copy(slot.plugin.as_deref())?,
                    None => "it has no copy".to_string(),
                };
                Some(format!("\"{}\" ({why})", slot.slot_name))
            })
            .collect();
        if missing.is_empty() {
            let message = match all {
                0 => "the primary has no failover slots".to_string(),
                all => format!("{all} of {all} failover slots are synchronized"),
            };
            return Finding::ok(NAME, message).value(0.0, "slots");
        }
        let message =
            format!("{} of {all} failover slots would be lost by a promotion of this node", missing.len());
        Finding::new(NAME, CheckStatus::Warning, message)
            .detail(format!("They are {}.", missing.join(", ")))
            .hint("See the server log of this node for what synchronization waits for.")
            .value(count(missing.len()), "slots")
    }
}
