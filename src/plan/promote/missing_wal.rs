//! Which WAL the candidate lacks: what other standbys have more, and what the failed primary had.

use super::{PromoteFacts, PromoteOptions, is_other_data_node};
use crate::assess::history::{Relation, relation};
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::plan::{Check, Override};

/// Checks that no reachable standby has WAL that this one lacks.
pub(super) fn none_has_more(
    facts: &PromoteFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: PromoteOptions,
) -> Vec<Check> {
    const NAME: &str = "has_most_wal";
    let mut checks = Vec::new();
    let ours = server.wal_end();
    for other in facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id)) {
        if other.facts().is_none() {
            checks.extend(left_behind(facts, other, candidate, server, options));
        }
        let Some(theirs) = other.facts().filter(|theirs| theirs.in_recovery) else { continue };
        if theirs.system_identifier != server.system_identifier
            || facts.cluster.other_node_of_server(other).is_some()
        {
            continue;
        }
        let (id, name) = (other.row.node_id, &other.row.node_name);
        let fail = |message: String| {
            Check::fail(NAME, message)
                .node(id)
                .exit(Exit::DataLoss)
                .hint(format!("Promote that one: run \"pgbaton standby promote --node-id {id}\"."))
                .overridable_by(Override::AcceptDataLoss, options.accept_data_loss)
        };
        if theirs.timeline > server.timeline {
            checks.push(fail(format!("standby \"{name}\" is on a newer timeline")).detail(format!(
                "It is on timeline {}, but node \"{}\" is on timeline {}: it followed a primary that this node never followed.",
                theirs.timeline, candidate.row.node_name, server.timeline
            )));
            continue;
        }
        if let Relation::Forked { evidence, .. } = relation(theirs, server) {
            checks.push(
                Check::warning(
                    "history_parted",
                    format!("node \"{name}\" has diverged from \"{}\"", candidate.row.node_name),
                )
                .node(id)
                .detail(evidence.sentence(&candidate.row.node_name))
                .hint(format!(
                    "It will not be able to follow; run \"pgbaton node rejoin\" on \"{name}\" to re-attach it."
                )),
            );
            continue;
        }
        if let (Some(end), Some(ours)) = (theirs.wal_end(), ours)
            && has_more(theirs, server)
        {
            checks.push(fail(format!("standby \"{name}\" has more WAL")).detail(format!(
                "It has WAL up to {end}, but node \"{}\" only up to {ours}: {} bytes would be lost.",
                candidate.row.node_name,
                end.0 - ours.0
            )));
        }
    }
    if checks.is_empty() {
        checks.push(Check::pass(NAME, "no standby that responds has more WAL"));
    }
    checks
}

/// Says whether a standby has WAL that is not in the candidate's history: once that is promoted, it cannot stream from it.
pub(super) fn cannot_follow(theirs: &ServerFacts, candidate: &ServerFacts) -> bool {
    theirs.timeline > candidate.timeline || has_diverged(theirs, candidate) || has_more(theirs, candidate)
}

/// Says whether a standby has diverged from the candidate already.
pub(super) fn has_diverged(theirs: &ServerFacts, candidate: &ServerFacts) -> bool {
    matches!(relation(theirs, candidate), Relation::Forked { .. })
}

/// Says whether a standby has WAL of the candidate's timeline that the candidate lacks.
fn has_more(theirs: &ServerFacts, candidate: &ServerFacts) -> bool {
    theirs.timeline == candidate.timeline
        && theirs.wal_end().zip(candidate.wal_end()).is_some_and(|(end, ours)| end > ours)
}

/// A node that does not respond and was last seen as a primary on a newer timeline has WAL that this one never received.
fn left_behind(
    facts: &PromoteFacts,
    other: &NodeFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: PromoteOptions,
) -> Option<Check> {
    let seen = facts.topology.as_ref()?.node(other.row.node_id)?;
    let timeline = seen.timeline.filter(|timeline| *timeline > server.timeline)?;
    if seen.was_primary != Some(true) {
        return None;
    }
    let (name, own) = (&other.row.node_name, &candidate.row.node_name);
    Some(
        Check::fail("has_most_wal", format!("node \"{name}\" was last seen as the primary on a newer timeline"))
            .node(other.row.node_id)
            .exit(Exit::DataLoss)
            .detail(format!(
                "It was on timeline {timeline}, but node \"{own}\" is on timeline {}: transactions committed on \"{name}\" since then \
                would be lost.",
                server.timeline
            ))
            .hint(format!("Start \"{name}\" if that is possible; otherwise promote \"{own}\" with --accept-data-loss."))
            .overridable_by(Override::AcceptDataLoss, options.accept_data_loss),
    )
}

/// Reports which WAL of the failed primary is missing.
pub(super) fn missing(
    facts: &PromoteFacts,
    former: Option<&NodeFacts>,
    server: &ServerFacts,
) -> (Option<Check>, Option<u64>) {
    const NAME: &str = "missing_wal";
    let (Some(former), Some(ours)) = (former, server.wal_end()) else { return (None, None) };
    let name = &former.row.node_name;
    if let Some(end) = facts.former_end {
        let missing = end.0.saturating_sub(ours.0);
        let check = if missing == 0 {
            Check::pass(NAME, format!("this node has all WAL of \"{name}\", up to {end}"))
        } else {
            Check::warning(NAME, format!("{missing} bytes of WAL of \"{name}\" are missing on this node")).detail(format!(
                "Its files contain WAL up to {end}, but this node has WAL up to {ours}. Transactions committed in between will be lost."
            ))
        };
        return (Some(check.node(former.row.node_id)), Some(missing));
    }
    let seen = facts
        .topology
        .iter()
        .flat_map(|seen| &seen.nodes)
        .find(|seen| seen.row.node_id == former.row.node_id && seen.was_primary == Some(true));
    let Some((end, at)) = seen.and_then(|seen| Some((seen.wal_end?, seen.last_seen?))) else {
        let check =
            Check::warning(NAME, format!("it is unknown how much WAL of \"{name}\" is missing on this node"))
                .node(former.row.node_id)
                .detail(format!(
                    "This node has WAL up to {ours}; where the WAL of \"{name}\" ends is unknown."
                ));
        return (Some(check), None);
    };
    let age = facts.now.duration_since(at).as_secs().max(0);
    let missing = end.0.saturating_sub(ours.0);
    let detail = format!(
        "This node has WAL up to {ours}; \"{name}\" was at {end} when it was last seen, {age} s ago, and may have written more since."
    );
    let check = if missing == 0 {
        Check::warning(NAME, format!("the last WAL of \"{name}\" may be missing on this node"))
    } else {
        Check::warning(
            NAME,
            format!("at least {missing} bytes of WAL of \"{name}\" are missing on this node"),
        )
    };
    (Some(check.node(former.row.node_id).detail(detail)), None)
}

/// Returns the nodes that must not have more WAL than this one at the last look either. One that does not respond may do so by then.
pub(super) fn comparable(facts: &PromoteFacts, server: &ServerFacts) -> Vec<i32> {
    let others = facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id));
    others
        .filter(|node| !node.facts().is_some_and(|theirs| has_diverged(theirs, server)))
        .map(|node| node.row.node_id)
        .collect()
}
