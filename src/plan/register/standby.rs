//! The plan of `standby register`. Pure.

use std::path::PathBuf;

use super::{QUERY_S, RegisterOptions, check_unique_names, one_phase_plan, update_witnesses};
use crate::assess::history::{Relation, relation};
use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::ServerFacts;
use crate::pg::endpoint::Endpoint;
use crate::pg::statement::Statement;
use crate::plan::clone::remove_leftover;
use crate::plan::parts::events;
use crate::plan::{Check, Op, Override, Plan, Probe, Step, Verify};
use crate::registry::NodeRow;

/// What `standby register` decides from.
#[derive(Debug)]
pub struct StandbyFacts {
    /// The local server, if it answers.
    pub local: ServerFacts,
    /// All registered nodes as the primary has them, the local one's old row included if there is one.
    pub cluster: ClusterFacts,
    /// The primary's node id.
    pub primary: i32,
    /// What a clone has left in the data directory, which is complete.
    pub leftover: Option<PathBuf>,
}

/// Plans `standby register`.
///
/// `row` is the row to be written, with the upstream that was asked for, or none to take the one that is observed; `here` the local
/// server, `on` the primary.
pub fn standby(
    facts: &StandbyFacts,
    row: &NodeRow,
    here: &Endpoint,
    on: &Endpoint,
    options: RegisterOptions,
) -> Plan {
    let name = row.node_name.clone();
    let mut checks = Vec::new();
    let primary = facts.cluster.node(facts.primary);
    let primary_server = primary.and_then(NodeFacts::facts);
    checks.push(if facts.local.in_recovery {
        Check::pass("server_is_standby", "the server is in recovery")
    } else {
        Check::fail("server_is_standby", format!("the server of node \"{name}\" accepts writes"))
            .detail("It is not a standby.")
            .hint("If it should be the primary, run \"pgbaton primary register\".")
    });
    checks.extend(check_unique_names(
        facts.cluster.nodes.iter().map(|node| &node.row),
        row,
        &facts.local,
        &facts.cluster,
        options,
    ));
    if let Some(server) = primary_server {
        let primary_name = primary.map_or("", |node| &node.row.node_name);
        checks.push(same_cluster(&facts.local, server, primary_name));
        checks.extend(same_history(&facts.local, server, primary_name));
    }

    let observed = facts.cluster.observed_upstream(&name).filter(|node| node.row.node_id != row.node_id);
    let upstream_id = row.upstream_node_id.or(observed.map(|node| node.row.node_id)).unwrap_or(facts.primary);
    checks.push(upstream(facts, &name, row.node_id, upstream_id, observed, options));
    let row = NodeRow { upstream_node_id: Some(upstream_id), ..row.clone() };

    let mut steps = Vec::new();
    let is_new = facts.cluster.node(row.node_id).map(|node| &node.row) != Some(&row);
    if is_new {
        steps.push(Step::new(
            "record_node",
            match facts.cluster.node(upstream_id) {
                Some(up) => format!(
                    "register node \"{name}\" (ID {}) as a standby of \"{}\"",
                    row.node_id, up.row.node_name
                ),
                None => format!(
                    "register node \"{name}\" (ID {}) as a standby of node {upstream_id}",
                    row.node_id
                ),
            },
            Op::Sql { on: on.clone(), statements: vec![row.upsert()] },
            QUERY_S,
            Exit::Query,
        ));
    }
    steps.extend(facts.leftover.as_deref().map(remove_leftover));
    let mut verify = Vec::new();
    if let Some(timeout_s) = options.wait_sync_s {
        verify.push(Verify {
            title: format!("the record of node \"{name}\" has been replicated to it"),
            probe: record_arrived(&row, here),
            timeout_s,
            after: None,
        });
    }
    let mut plan = one_phase_plan(format!("register standby \"{name}\""), checks, steps, verify);
    plan.phases.extend(update_witnesses(&facts.cluster, &[row.upsert()]).filter(|_| is_new));
    plan.incomplete = Exit::RegistrationSync;
    let upstream = primary.map(|node| &node.row);
    plan.notifications = events::standby_registered(&row, upstream, on, options.wait_sync_s.is_some());
    plan.announce_on = Some(on.clone());
    plan
}

/// Asks whether a node's record has arrived on a standby as it was written.
fn record_arrived(row: &NodeRow, here: &Endpoint) -> Probe {
    Probe::Sql {
        says: format!("the record of node \"{}\" has been replicated", row.node_name),
        on: here.clone(),
        statement: Statement::new(
            "SELECT (EXISTS (SELECT FROM repmgr.nodes WHERE node_id = $1::integer AND node_name = $2 AND type = $3 \
             AND active AND upstream_node_id IS NOT DISTINCT FROM $4::integer AND conninfo = $5 \
             AND priority = $6::integer AND location = $7 AND slot_name IS NOT DISTINCT FROM $8))::text",
        )
        .bind(row.node_id)
        .bind(&row.node_name)
        .bind(&row.node_type)
        .bind_opt(row.upstream_node_id)
        .bind_conninfo(row)
        .bind(row.priority)
        .bind(&row.location)
        .bind_opt(row.slot_name.as_ref()),
    }
}

/// Checks that two servers belong to one cluster.
pub fn same_cluster(ours: &ServerFacts, theirs: &ServerFacts, their_name: &str) -> Check {
    if ours.system_identifier == theirs.system_identifier {
        Check::pass("same_cluster", "the system identifiers agree")
    } else {
        Check::fail("same_cluster", format!("this server belongs to another cluster than \"{their_name}\""))
            .detail(format!(
                "Its system identifier is {}, but that of \"{their_name}\" is {}.",
                ours.system_identifier, theirs.system_identifier
            ))
            .hint("Check conninfo and data_directory of this node's configuration.")
    }
}

/// Checks that a standby has no WAL that the primary never had.
pub fn same_history(ours: &ServerFacts, theirs: &ServerFacts, their_name: &str) -> Option<Check> {
    const NAME: &str = "same_history";
    Some(match relation(ours, theirs) {
        Relation::Same => Check::pass(NAME, "the histories agree"),
        Relation::Forked { evidence, .. } => Check::fail(NAME, "this server has diverged from the primary")
            .detail(evidence.sentence(their_name))
            .hint("It must not stream as it is: transactions that only it has would remain undetected."),
        Relation::Unknown(why) => Check::warning(NAME, "the histories could not be compared").detail(why),
    })
}

fn upstream(
    facts: &StandbyFacts,
    name: &str,
    own_id: i32,
    upstream_id: i32,
    observed: Option<&NodeFacts>,
    options: RegisterOptions,
) -> Check {
    const NAME: &str = "attached_to_upstream";
    if upstream_id == own_id {
        return Check::fail(NAME, format!("node \"{name}\" cannot be its own upstream"));
    }
    let Some(up) = facts.cluster.node(upstream_id) else {
        return Check::fail(NAME, format!("upstream node {upstream_id} is not registered"))
            .hint(format!("Register node {upstream_id} first."));
    };
    let up_name = &up.row.node_name;
    // A chain that leads back here would have no primary at its end.
    let mut seen = vec![own_id];
    let mut next = Some(upstream_id);
    while let Some(id) = next {
        if seen.contains(&id) {
            return Check::fail(
                NAME,
                format!("node \"{up_name}\" follows \"{name}\", directly or through other nodes"),
            )
            .hint("Choose another upstream.");
        }
        seen.push(id);
        next = facts.cluster.node(id).and_then(|node| node.row.upstream_node_id);
    }
    match (observed, up.facts()) {
        (Some(node), _) if node.row.node_id == upstream_id => {
            Check::pass(NAME, format!("node \"{name}\" streams from \"{up_name}\""))
        }
        (Some(node), _) => Check::fail(
            NAME,
            format!("node \"{name}\" streams from \"{}\", not from \"{up_name}\"", node.row.node_name),
        )
        .hint("Leave out --upstream-node-id to register the actual upstream, or repeat the command with --force.")
        .overridable_by(Override::Force, options.force),
        (None, Some(server)) => {
            let seen: Vec<String> =
                server.senders.iter().map(|sender| format!("\"{}\"", sender.application_name)).collect();
            let seen = if seen.is_empty() {
                "No standby streams from it.".into()
            } else {
                format!("These stream from it: {}.", seen.join(", "))
            };
            Check::fail(NAME, format!("node \"{name}\" is not attached to its upstream \"{up_name}\""))
                .detail(seen)
                .hint(format!(
                    "Its primary_conninfo must lead to \"{up_name}\" with application_name={}; see its server log for why it \
                    cannot stream. Or repeat the command with --force.",
                    crate::pg::conninfo::quote_value(name)
                ))
                .overridable_by(Override::Force, options.force)
        }
        (None, None) => Check::fail(
            NAME,
            format!("cannot determine whether \"{name}\" is attached: upstream \"{up_name}\" does not respond"),
        )
        .overridable_by(Override::Force, options.force),
    }
}
