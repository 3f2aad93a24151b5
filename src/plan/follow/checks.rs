//! What is examined before a standby is pointed at another node.

use super::FollowFacts;
use crate::assess::history::{Evidence, Relation, relation};
use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::ServerFacts;
use crate::plan::parts::standby;
use crate::plan::{Check, Override, Plan};
use crate::registry::NodeType;

/// Checks that it can be repointed while it runs, and stays a standby then.
pub(super) fn stays_a_standby(facts: &FollowFacts, local: &NodeFacts, force: bool) -> Vec<Check> {
    let Some(role) = &facts.role else { return Vec::new() };
    let primary = facts.cluster.primaries().next().map(|(node, _)| node.row.node_name.as_str());
    let checks = standby::running(&local.row, &role.settings, primary.zip(facts.primary.as_ref()));
    checks
        .into_iter()
        .map(|check| match check.name.as_str() {
            // It pauses replay with its current upstream, too, and keeps what it receives.
            "standby_settings" => check.overridable_by(Override::Force, force),
            _ => check,
        })
        .collect()
}

pub(super) fn unreachable_target(plan: &mut Plan, facts: &FollowFacts) {
    plan.checks.push(
        Check::fail("target", format!("node {} is not registered", facts.target_id))
            .hint("\"pgbaton cluster show\" lists the registered nodes."),
    );
}

/// Checks the node that it is to follow; None if there is no such node.
pub(super) fn target_checks<'a>(facts: &'a FollowFacts, name: &str) -> (Option<&'a NodeFacts>, Vec<Check>) {
    const NAME: &str = "target";
    let Some(target) = facts.cluster.node(facts.target_id) else { return (None, Vec::new()) };
    let mut checks = Vec::new();
    let fail = |message: String| Check::fail(NAME, message).node(facts.target_id);
    if facts.target_id == facts.node_id {
        checks.push(fail(format!("node \"{name}\" cannot follow itself")));
    } else if target.row.node_type == NodeType::Witness {
        checks.push(fail(format!("node \"{name}\" is a witness")).detail("It holds no data to stream."));
    } else {
        match &target.server {
            Err(unavailable) => checks.push(
                fail(format!("node \"{name}\" does not respond"))
                    .detail(crate::error::sentence(&unavailable.message))
                    .exit(Exit::Connection),
            ),
            Ok(server) if server.in_recovery => {
                if let Some(chain) = cascade_loop(&facts.cluster, facts.target_id, facts.node_id) {
                    checks.push(fail(format!("node \"{name}\" receives its WAL from this node")).detail(
                        format!(
                            "The upstreams would form a circle of {chain} and this node: none of them would receive WAL any more."
                        ),
                    ));
                }
                if facts.cluster.primaries().next().is_none() {
                    checks.push(
                        Check::fail("primary_reachable", "no primary can be reached to record the change")
                            .exit(Exit::Connection),
                    );
                }
            }
            Ok(_) => {}
        }
    }
    if checks.is_empty() {
        checks.push(Check::pass(NAME, format!("node \"{name}\" can be followed")));
    }
    (Some(target), checks)
}

/// Follows the upstreams from a node; returns the names on the way if it leads to `node_id`.
fn cascade_loop(cluster: &ClusterFacts, from: i32, node_id: i32) -> Option<String> {
    let mut names = Vec::new();
    let mut at = from;
    for _ in 0..cluster.nodes.len() {
        let node = cluster.node(at)?;
        names.push(format!("\"{}\"", node.row.node_name));
        at = cluster.upstream_of(&node.row)?;
        if at == node_id {
            return Some(names.join(", "));
        }
    }
    None
}

/// Checks that the node has no WAL that its new upstream never had.
pub(super) fn histories(
    ours: &ServerFacts,
    theirs: &ServerFacts,
    target_name: &str,
    force: bool,
) -> Vec<Check> {
    const NAME: &str = "same_history";
    let forked = |evidence: &Evidence| {
        Check::fail(NAME, format!("this node has WAL that \"{target_name}\" never had"))
            .detail(evidence.sentence(target_name))
            .hint("It must not stream as it is. \"pgbaton node rejoin\" shows what would be discarded, and re-attaches it.")
            .exit(Exit::DataLoss)
    };
    let mut checks = Vec::new();
    checks.push(match relation(ours, theirs) {
        Relation::Forked { evidence, .. } => forked(&evidence),
        Relation::Same => Check::pass(NAME, "the histories agree"),
        Relation::Unknown(why) => Check::fail(
            NAME,
            format!("cannot determine whether this node has diverged from \"{target_name}\""),
        )
        .detail(why)
        .hint("If it has never been a primary, nor followed another one since, repeat the command with --force.")
        .overridable_by(Override::Force, force),
    });
    checks
}

/// Checks that the target has room for one more.
pub(super) fn sender_and_slot_capacity(
    server: &ServerFacts,
    name: &str,
    slot: Option<&str>,
    has_sender: bool,
    has_slot: bool,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let senders = usize::try_from(server.max_wal_senders).unwrap_or(0);
    if !has_sender && server.senders.len() >= senders {
        checks.push(
            Check::fail("wal_senders", format!("node \"{name}\" has no free WAL sender"))
                .detail(format!("max_wal_senders is {senders}, and all are in use."))
                .hint("Raise max_wal_senders there, which requires a restart; or end a running backup.")
                .exit(Exit::Follow),
        );
    }
    let Some(slot) = slot else { return checks };
    match server.slot(slot) {
        Some(there) if there.slot_type != "physical" => checks.push(
            Check::fail("slot", format!("slot \"{slot}\" on \"{name}\" is a logical slot"))
                .hint("Drop it there, if it is not needed.")
                .exit(Exit::Follow),
        ),
        Some(there) if there.active && !has_slot => checks.push(
            Check::fail("slot", format!("slot \"{slot}\" on \"{name}\" is in use by another connection"))
                .hint("See which one: SELECT * FROM pg_stat_replication. Two nodes cannot share a slot.")
                .exit(Exit::Follow),
        ),
        Some(_) => {}
        None => {
            let slots = usize::try_from(server.max_replication_slots).unwrap_or(0);
            if server.slots.len() >= slots {
                checks.push(
                    Check::fail("slots", format!("node \"{name}\" has no free replication slot"))
                        .detail(format!("max_replication_slots is {slots}, and all are in use."))
                        .hint("Raise max_replication_slots there, which requires a restart; or drop a slot that is not needed.")
                        .exit(Exit::Follow),
                );
            }
        }
    }
    checks
}

/// The check of a primary, which cannot follow: what it is to do instead depends on whether the node that it was to follow is a primary.
pub(super) fn not_a_standby(facts: &FollowFacts, name: &str, target: Option<&NodeFacts>) -> Check {
    let hint = match target.filter(|target| target.row.node_id != facts.node_id) {
        Some(target) if target.facts().is_some_and(|there| !there.in_recovery) => {
            "If the other one is the valid primary, run \"pgbaton node rejoin\" on this node to make it a standby.".to_string()
        }
        Some(target) if target.row.node_type == NodeType::Standby => format!(
            "To make \"{0}\" the primary and this node its standby, run \"pgbaton standby switchover\" on \"{0}\".",
            target.row.node_name
        ),
        _ => "To make another node the primary, run \"pgbaton standby switchover\" on that node.".into(),
    };
    Check::fail("server_is_standby", format!("node \"{name}\" is a primary")).hint(hint)
}

/// Reports why a replication connection to the target cannot be opened, if it cannot.
pub(super) fn login_refused(facts: &FollowFacts, target: &NodeFacts) -> Option<Check> {
    let why = facts.login.as_ref().err()?;
    let name = &target.row.node_name;
    Some(
        Check::fail("replication_login", format!("cannot open a replication connection to \"{name}\""))
            .node(facts.target_id)
            .detail(crate::error::sentence(why))
            .hint(format!(
                "Allow role \"{}\" to connect: see pg_hba.conf on \"{name}\".",
                target.row.repluser
            ))
            .exit(Exit::Follow),
    )
}
