//! The plan of `primary unregister`, `standby unregister` and `witness unregister`. Pure.

use super::{QUERY_S, RegisterOptions, drop_inactive_slot, endpoint, one_phase_plan, update_witnesses};
use crate::error::{Exit, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::shown_application_name;
use crate::pg::endpoint::Endpoint;
use crate::plan::parts::events;
use crate::plan::{Check, OnFailure, Op, Order, Override, Phase, Plan, Step};
use crate::registry::{NodeRow, NodeType, node, operation};

/// Plans `primary unregister`, `standby unregister` and `witness unregister`.
///
/// `primary` is the node that accepts writes now; `wanted` what the command is for; `by` the ID and the name of this node, where they are
/// known.
pub fn unregister(
    cluster: &ClusterFacts,
    target: &NodeFacts,
    wanted: &NodeType,
    primary: &NodeFacts,
    by: Option<(i32, &str)>,
    options: RegisterOptions,
) -> Plan {
    let (row, on) = (&target.row, &endpoint(primary));
    let name = &row.node_name;
    if &row.node_type != wanted {
        // The other command has checks of its own.
        let check = Check::fail(
            "node_type",
            format!("node \"{name}\" is registered as {}, not as {wanted}", row.node_type),
        )
        .node(row.node_id)
        .hint(format!("Run \"pgbaton {} unregister\" instead.", row.node_type));
        return one_phase_plan(format!("unregister {wanted} \"{name}\""), vec![check], vec![], vec![]);
    }
    let mut checks = vec![Check::pass("node_type", format!("node \"{name}\" is registered as {wanted}"))];
    checks.push(no_downstream(cluster, row));
    checks.extend(in_use(row, wanted, primary, options.force));
    checks.extend(named_synchronously(name, primary));
    let mut statements = vec![node::delete(row.node_id)];
    // Its interrupted operations will never be resumed.
    statements.extend(options.records.then(|| operation::close_all_of(row.node_id)));
    let mut steps = vec![Step::new(
        "remove_record",
        format!("remove the record of node \"{name}\" (ID {})", row.node_id),
        Op::Sql { on: on.clone(), statements },
        QUERY_S,
        Exit::Query,
    )];
    let kept = node::slot_name(row.node_id);
    if row.node_type == NodeType::Primary
        && row.node_id != primary.row.node_id
        && primary.facts().and_then(|server| server.slot(&kept)).is_some_and(|slot| !slot.active)
    {
        // The promotion created it, so that the former primary can rejoin.
        steps.push(drop_slot(&kept, &primary.row.node_name, on.clone()));
    }
    let (step, check) = slot_on_upstream(cluster, row);
    steps.extend(step);
    checks.extend(check);
    let emptied = (wanted == &NodeType::Witness).then(|| empty_copy(cluster, target, options));
    let (copy, check) = emptied.unwrap_or_default();
    checks.extend(check);
    let mut plan = one_phase_plan(format!("unregister {wanted} \"{name}\""), checks, steps, vec![]);
    plan.phases.extend(copy);
    let others = ClusterFacts {
        nodes: cluster.nodes.iter().filter(|node| node.row.node_id != row.node_id).cloned().collect(),
        ..ClusterFacts::default()
    };
    plan.phases.extend(update_witnesses(&others, &[]));
    plan.notifications.extend(by.map(|by| events::unregistered(row, wanted, by, on)));
    plan.announce_on = Some(on.clone());
    plan
}

/// Checks that no node is registered to follow it.
fn no_downstream(cluster: &ClusterFacts, row: &NodeRow) -> Check {
    let below: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|node| node.row.upstream_node_id == Some(row.node_id) && node.row.node_id != row.node_id)
        .map(|node| format!("\"{}\" (ID {})", node.row.node_name, node.row.node_id))
        .collect();
    if below.is_empty() {
        return Check::pass("no_downstream", "no registered node follows it");
    }
    Check::fail("no_downstream", format!("other nodes are registered to follow node \"{}\"", row.node_name))
        .node(row.node_id)
        .detail(format!("They are {}.", below.join(", ")))
        .hint("Point them at another node, or unregister them first.")
}

/// Reports that the node is the primary, now or according to the metadata.
fn in_use(row: &NodeRow, wanted: &NodeType, primary: &NodeFacts, force: bool) -> Option<Check> {
    let name = &row.node_name;
    let check = if row.node_id == primary.row.node_id {
        Check::fail("not_in_use", format!("node \"{name}\" is the current primary"))
            .detail("The metadata would have no primary.")
            .hint(
                "To make another node the primary first, run \"pgbaton standby switchover\" on it. \
                   To decommission the cluster, repeat the command with --force.",
            )
    } else if wanted == &NodeType::Primary && row.active {
        Check::fail("not_in_use", format!("node \"{name}\" is registered as the active primary"))
            .hint("If it is gone for good, repeat the command with --force.")
    } else {
        return None;
    };
    Some(check.node(row.node_id).overridable_by(Override::Force, force))
}

/// Reports that commits on the primary may wait for the node.
fn named_synchronously(name: &str, primary: &NodeFacts) -> Option<Check> {
    let server = primary.facts()?;
    let names = &server.synchronous_standby_names;
    names_synchronously(names, &shown_application_name(name, server.version_num)).then(|| {
        Check::warning("synchronous_names", format!("node \"{name}\" is named in synchronous_standby_names"))
            .node(primary.row.node_id)
            .detail(format!("The setting is \"{names}\"."))
            .hint("Remove the name from the setting, or commits may wait for this node forever.")
    })
}

fn drop_slot(slot: &str, node_name: &str, on: Endpoint) -> Step {
    Step::new(
        "drop_slot",
        format!("drop slot \"{slot}\" on \"{node_name}\""),
        Op::Sql { on, statements: vec![drop_inactive_slot(slot)] },
        QUERY_S,
        Exit::Query,
    )
}

/// Drops the slot that the node has on its upstream, or reports why it is kept.
fn slot_on_upstream(cluster: &ClusterFacts, row: &NodeRow) -> (Option<Step>, Option<Check>) {
    let upstream = row.upstream_node_id.and_then(|id| cluster.node(id));
    let (Some(slot_name), Some(upstream)) = (&row.slot_name, upstream) else { return (None, None) };
    let slot = upstream.facts().and_then(|server| server.slot(slot_name));
    let Some(slot) = slot else { return (None, None) };
    let (name, on) = (&row.node_name, &upstream.row.node_name);
    // Only the slot of its own name: the row may have been edited to name another node's slot.
    let own = node::slot_name(row.node_id);
    if *slot_name != own || slot.slot_type != "physical" {
        let message =
            format!("slot \"{slot_name}\" in the record of node \"{name}\" is not its own, and is kept");
        let check = Check::warning("slot_kept", message)
            .node(upstream.row.node_id)
            .detail(format!("Only slot \"{own}\" would be dropped with the node."));
        return (None, Some(check));
    }
    if !slot.active {
        return (Some(drop_slot(slot_name, on, endpoint(upstream))), None);
    }
    let message = format!("slot \"{slot_name}\" of node \"{name}\" is in use and is kept");
    let check = Check::warning("slot_in_use", message)
        .node(upstream.row.node_id)
        .detail(format!("It retains WAL on \"{on}\" for as long as it exists."))
        .hint(format!(
            "When the node has stopped for good, run in psql on \"{on}\": SELECT pg_drop_replication_slot('{slot_name}');"
        ));
    (None, Some(check))
}

/// Empties the copy of the metadata on a witness, after its record is gone; says why where that cannot be done.
fn empty_copy(
    cluster: &ClusterFacts,
    target: &NodeFacts,
    options: RegisterOptions,
) -> (Option<Phase>, Option<Check>) {
    const NAME: &str = "witness_reached";
    let (id, name) = (target.row.node_id, &target.row.node_name);
    let server = match &target.server {
        Ok(server) => server,
        Err(why) => {
            let check = Check::fail(NAME, format!("could not connect to witness \"{name}\""))
                .node(id)
                .detail(format!("{} Its copy of the metadata would stay.", sentence(&why.message)))
                .hint("Start its server, so that the copy can be emptied; if it is gone for good, repeat the command with --force.")
                .exit(Exit::Connection)
                .overridable_by(Override::Force, options.force);
            return (None, Some(check));
        }
    };
    // What is there is no copy but the metadata itself.
    if server.in_recovery || cluster.system_identifier() == Some(server.system_identifier.as_str()) {
        let check = Check::warning(NAME, format!("the server of witness \"{name}\" belongs to the cluster"))
            .node(id)
            .detail("Its database contains the metadata itself, which is kept.");
        return (None, Some(check));
    }
    let step = Step::new(
        "empty_copy",
        format!("empty the copy of the metadata on \"{name}\""),
        Op::Sql { on: endpoint(target), statements: vec![node::delete_copy(id)] },
        QUERY_S,
        Exit::Query,
    )
    .hint("The record of the witness was removed. On its server, in the same database, run: DELETE FROM repmgr.nodes;");
    let phase = Phase {
        title: "clean up the witness".into(),
        order: Order::InOrder,
        on_failure: OnFailure::Continue,
        outage: false,
        steps: vec![step],
    };
    (Some(phase), Some(Check::pass(NAME, format!("witness \"{name}\" responds"))))
}

/// Says whether `synchronous_standby_names` lists a name: PostgreSQL compares without regard to case.
fn names_synchronously(setting: &str, name: &str) -> bool {
    let mut rest = setting;
    while let Some(first) = rest.chars().next() {
        let word;
        if first == '"' {
            let mut text = String::new();
            let mut chars = rest.char_indices().skip(1).peekable();
            let mut end = rest.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' if chars.next_if(|(_, next)| *next == '"').is_some() => text.push('"'),
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    c => text.push(c),
                }
            }
            word = text;
            rest = rest.get(end..).unwrap_or_default();
        } else if first.is_whitespace() || ",()".contains(first) {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || ",()\"".contains(c)).unwrap_or(rest.len());
            let (head, tail) = rest.split_at(end);
            (word, rest) = (head.to_string(), tail);
        }
        if word.eq_ignore_ascii_case(name) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::names_synchronously;

    #[test]
    fn synchronous_names_are_words_and_not_pieces_of_words() {
        for setting in
            ["node3", "ANY 1 (node30, Node3)", "2 (\"node3\",x)", "\"a b\", node3", "FIRST 2(x,node3)"]
        {
            assert!(names_synchronously(setting, "node3"), "{setting}");
        }
        for setting in ["", "node30", "ANY 1 (\"node3 \", anode3)", "*", "\"a, node3\"", "\"open"] {
            assert!(!names_synchronously(setting, "node3"), "{setting}");
        }
        assert!(names_synchronously("\"it's \"\"x\"\"\"", "it's \"x\""));
    }
}
