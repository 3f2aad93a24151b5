//! What is examined before a promotion, and which standbys will follow the new primary.

use super::missing_wal::{cannot_follow, has_diverged, missing, none_has_more};
use super::other_primary::no_other_primary;
use super::{PromoteFacts, PromoteOptions};
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::facts::topology::SeenNode;
use crate::plan::parts::following::slot_to_make;
use crate::plan::parts::new_primary::{self, sender_and_slot_capacity, siblings, silent_witnesses};
use crate::plan::parts::standby::{in_force, refuses_to_follow};
use crate::plan::parts::wal_retention::{WalRetention, retain_for_former_primary};
use crate::plan::parts::{announce, logical};
use crate::plan::{Check, CheckResult, Override};

/// What was examined, and what the steps need of it.
pub(super) struct PromoteChecks<'a> {
    /// All checks, in the order in which they are shown.
    pub(super) checks: Vec<Check>,
    /// Bytes of the failed primary's WAL that will be missing; None for unknown.
    pub(super) wal_lost_bytes: Option<u64>,
    /// The siblings that will follow.
    pub(super) following: Vec<&'a NodeFacts>,
    /// The slot to create for the former primary.
    pub(super) kept_slot: Option<String>,
}

/// Examines everything that a promotion depends on; `former` is the primary according to the metadata.
pub(super) fn examine<'a>(
    facts: &'a PromoteFacts,
    options: PromoteOptions,
    candidate: &NodeFacts,
    server: &ServerFacts,
    former: Option<&NodeFacts>,
) -> PromoteChecks<'a> {
    let mut checks = no_other_primary(facts, candidate, server, options);
    let touched: Vec<i32> = facts.cluster.nodes.iter().map(|node| node.row.node_id).collect();
    checks.extend(announce::checks(&facts.others, server.timeline, &touched, options.force));
    // If the promotion is refused anyway, nothing can be lost.
    let gone = former.filter(|_| !checks.iter().any(|check| check.stops() && check.override_by.is_none()));
    let (missing, wal_lost_bytes) = missing(facts, gone, server);
    checks.extend(none_has_more(facts, candidate, server, options));
    checks.extend(missing);
    checks.extend(candidate_fitness(facts, options, candidate, server));
    checks.extend(silent_witnesses(&facts.cluster));
    checks.extend(facts.metadata.as_ref().and_then(announce::not_recorded));
    let siblings = siblings(&facts.cluster, candidate, former.map(|node| node.row.node_id));
    let mut following = Vec::new();
    if options.siblings_follow {
        for sibling in &siblings {
            if let Some(theirs) = sibling.facts().filter(|theirs| cannot_follow(theirs, server)) {
                // Without consent the promotion is refused; and of one that has diverged before it has been said.
                let is_said = theirs.timeline <= server.timeline && has_diverged(theirs, server);
                let agreed = options.accept_data_loss && !is_said;
                checks.extend(agreed.then(|| sibling_diverges(sibling, candidate)));
                continue;
            }
            let (follows, refused) = sibling_follows(facts, candidate, server, sibling);
            following.extend(follows.then_some(*sibling));
            checks.extend(refused);
        }
        checks.push(sender_and_slot_capacity(candidate, server, &following));
    } else {
        checks.extend(siblings_stay(&siblings));
    }
    checks.extend(new_primary::synchronous_standbys(candidate, server, &following, options.force));
    checks.extend(logical::held_back(candidate, server, following.iter().copied()));
    let to_make = following.iter().filter(|node| slot_to_make(&node.row, candidate).is_some()).count();
    let role = facts.roles.get(&facts.node_id);
    let kept =
        gone.map(|gone| retain_for_former_primary(gone, candidate, server, role, facts.use_slots, to_make));
    let WalRetention { check, slot: kept_slot } = kept.unwrap_or_default();
    checks.extend(check);
    checks.extend(facts.repmgr_activity.checks(&facts.cluster, options.force));
    PromoteChecks { checks, wal_lost_bytes, following, kept_slot }
}

/// Checks what the candidate itself can do as a primary, and which logical slots it has.
fn candidate_fitness(
    facts: &PromoteFacts,
    options: PromoteOptions,
    candidate: &NodeFacts,
    server: &ServerFacts,
) -> Vec<Check> {
    let role = facts.roles.get(&facts.node_id);
    let mut checks = new_primary::promotion_fitness(candidate, server, None, role, options.force);
    checks.extend(
        new_primary::recovery_target(candidate, role)
            .map(|check| check.overridable_by(Override::AcceptDataLoss, options.accept_data_loss)),
    );
    let seen =
        facts.topology.iter().flat_map(|seen| &seen.nodes).filter(|seen| seen.was_primary == Some(true));
    let seen: Vec<&SeenNode> = seen.collect();
    let lost: Vec<_> = seen.iter().flat_map(|seen| logical::lost_as_seen(seen, server)).collect();
    checks.extend(logical::slots_survive(candidate, &lost, options.force));
    checks.extend(seen.iter().filter_map(|seen| logical::copies_behind(candidate, server, seen)));
    checks
}

/// Returns whether a sibling can follow the new primary, and what stands against it.
fn sibling_follows(
    facts: &PromoteFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    sibling: &NodeFacts,
) -> (bool, Vec<Check>) {
    let role = facts.roles.get(&sibling.row.node_id);
    let primary = in_force(&candidate.row, facts.roles.get(&facts.node_id));
    let refused = refuses_to_follow(&sibling.row, server.version_num, role, primary);
    // It pauses replay and keeps what it receives; only before PostgreSQL 14 it would shut down.
    let stays = |check: &Check| check.name != "standby_settings" || server.version_num < 140_000;
    let follows = !refused.iter().any(stays);
    // The cluster needs a primary now; the sibling can follow it later.
    let checks = refused.into_iter().map(|check| match stays(&check) {
        true => sibling_stays(sibling, &check),
        false => Check { verdict: CheckResult::Warning, ..check },
    });
    (follows, checks.collect())
}

/// Reports that a sibling will have diverged from the new primary.
fn sibling_diverges(sibling: &NodeFacts, candidate: &NodeFacts) -> Check {
    let name = &sibling.row.node_name;
    Check::warning("sibling_stays", format!("node \"{name}\" will not follow"))
        .node(sibling.row.node_id)
        .detail(format!("It has WAL that is not in the history of node \"{}\".", candidate.row.node_name))
        .hint(format!("Afterwards run \"pgbaton node rejoin\" on node \"{name}\": it refuses until the loss is accepted."))
}

/// Reports that a sibling will not follow, and what to do about it afterwards.
fn sibling_stays(sibling: &NodeFacts, check: &Check) -> Check {
    let name = &sibling.row.node_name;
    Check::warning("sibling_stays", format!("node \"{name}\" will not follow"))
        .node(sibling.row.node_id)
        .because(check)
        .hint(format!("Afterwards run \"pgbaton standby follow\" on node \"{name}\"."))
}

/// Reports the siblings that will not follow because that was asked for.
fn siblings_stay(siblings: &[&NodeFacts]) -> Option<Check> {
    let names: Vec<String> = siblings.iter().map(|node| format!("\"{}\"", node.row.node_name)).collect();
    (!names.is_empty()).then(|| {
        Check::warning(
            "siblings_stay",
            format!("{} will not follow the new primary (--no-siblings-follow)", names.join(", ")),
        )
        .hint("Afterwards run \"pgbaton standby follow\" on each of them.")
    })
}
