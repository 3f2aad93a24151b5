//! Whether the clone can connect to its upstream, and have a slot there.

use crate::facts::cluster::NodeFacts;
use crate::pg::quote::quote_ident;
use crate::plan::clone::slot::slot_server;
use crate::plan::clone::{CloneFacts, CloneOptions, is_taken_over};
use crate::plan::{Check, Override};
use crate::registry::node;

/// Whether the upstream has a free slot, and the role may create one.
pub(super) fn upstream_ready(
    facts: &CloneFacts,
    options: &CloneOptions,
    upstream: Option<&NodeFacts>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let Some(server) = slot_server(facts, upstream) else { return checks };
    let name = upstream.map_or(facts.source_name.as_str(), |node| &node.row.node_name);
    let on = |check: Check| match upstream {
        Some(node) => check.node(node.row.node_id),
        None => check,
    };
    if !options.use_slot {
        return checks;
    }
    let slot_name = node::slot_name(options.node_id);
    let used = i64::try_from(server.slots.len()).unwrap_or(i64::MAX);
    let check = match server.slot(&slot_name) {
        Some(slot) if slot.active && !is_taken_over(facts) => {
            Check::fail("slot_free", format!("slot \"{slot_name}\" on \"{name}\" is in use"))
                .detail("Another server streams with the slot of this node's ID.")
                .hint("Stop that server, or choose another node_id.")
        }
        Some(slot) if slot.slot_type != "physical" => {
            Check::fail("slot_free", format!("slot \"{slot_name}\" on \"{name}\" is a logical slot"))
                .hint("Choose another node_id, or set use_replication_slots = false.")
        }
        Some(slot) if slot.is_lost() => Check::pass(
            "slot_free",
            format!("slot \"{slot_name}\" on \"{name}\" has lost its WAL, and is created again"),
        ),
        Some(_) => {
            Check::pass("slot_free", format!("slot \"{slot_name}\" on \"{name}\" exists and is unused"))
        }
        None if used >= server.max_replication_slots => {
            Check::fail("slot_free", format!("\"{name}\" has no free replication slot"))
                .detail(format!(
                    "max_replication_slots is {}, and {used} slots exist.",
                    server.max_replication_slots
                ))
                .hint(format!(
                    "Drop an unused slot there (SELECT pg_drop_replication_slot(...)), or run on \"{name}\": \
                     ALTER SYSTEM SET max_replication_slots = {}; then restart it.",
                    server.max_replication_slots + 4
                ))
        }
        None => Check::pass("slot_free", format!("\"{name}\" has a free replication slot")),
    };
    checks.push(on(check));
    if !facts.details.role_replicates && options.slot_on.is_none() {
        checks.push(
            Check::fail(
                "role_replicates",
                format!("role \"{}\" lacks the privilege to create replication slots", facts.details.role),
            )
            .hint(format!(
                "Name a superuser with -S, or as one, run: ALTER ROLE {} REPLICATION;",
                quote_ident(&facts.details.role)
            )),
        );
    }
    checks
}

pub(super) fn login(
    check: &str,
    who: &str,
    server: &str,
    result: &Result<(), String>,
    options: &CloneOptions,
    overridable: bool,
) -> Check {
    match result {
        Ok(()) => {
            Check::pass(check, format!("the replication connection of the {who} to \"{server}\" works"))
        }
        Err(why) => {
            let failed =
                Check::fail(check, format!("the {who} cannot connect to \"{server}\" for replication"))
                    .detail(crate::error::sentence(why))
                    .hint(login_hint(why, who));
            if overridable { failed.overridable_by(Override::Force, options.force) } else { failed }
        }
    }
}

/// Advice for the most common reasons why a replication connection is rejected.
///
/// `why` is what libpq printed: its first words and PostgreSQL's are the same in every version, as the tools run in the C locale.
fn login_hint(why: &str, who: &str) -> String {
    if let Some((_, rest)) = why.split_once("no pg_hba.conf entry for replication connection from host \"") {
        let host = rest.split('"').next().unwrap_or("");
        let user = rest.split("user \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
        let mask = if host.contains(':') { 128 } else { 32 };
        return format!(
            "Add this line to pg_hba.conf there and reload: host replication {} {host}/{mask} scram-sha-256",
            crate::pg::quote::quote_hba(user)
        );
    }
    if why.contains("must be superuser or replication role")
        || why.contains("permission denied to start WAL sender")
    {
        return "Give the role the REPLICATION attribute: ALTER ROLE name REPLICATION;".into();
    }
    if why.contains("no password supplied") || why.contains("password authentication failed") {
        return if who == "WAL receiver" {
            "Add a line for database \"replication\" to ~/.pgpass (mode 0600) of the user that the server runs as, or to a file \
            named by passfile; or set use_primary_conninfo_password = true and PGPASSWORD."
                .into()
        } else {
            "Set PGPASSWORD, or add a line for database \"replication\" to ~/.pgpass (mode 0600).".into()
        };
    }
    if why.contains("number of requested standby connections exceeds max_wal_senders") {
        return "Raise max_wal_senders there and restart.".into();
    }
    "Try it manually: psql 'replication=true …' -c IDENTIFY_SYSTEM".into()
}
