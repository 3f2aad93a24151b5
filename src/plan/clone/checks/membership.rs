//! The cluster that the clone joins: its metadata, its nodes, and the node to follow.

use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::plan::clone::{CloneFacts, CloneOptions};
use crate::plan::{Check, Override};
use crate::registry::NodeType;
use crate::registry::schema::SchemaState;

/// Examines the metadata and the nodes in it.
pub(super) fn membership(
    facts: &CloneFacts,
    options: &CloneOptions,
    upstream: Option<&NodeFacts>,
) -> Vec<Check> {
    if matches!(facts.present.verdict(), SchemaState::Missing | SchemaState::Foreign) {
        let database = &facts.present.database;
        return vec![
            Check::fail("metadata", format!("database \"{database}\" of the source has no metadata schema"))
                .hint("Run \"pgbaton primary register\" on the primary first, or name the correct database with -d.")
                .overridable_by(Override::Force, options.force),
        ];
    }
    let mut checks = vec![Check::pass("metadata", "the source has the metadata schema")];
    checks.push(source_role(facts, options));
    checks.extend(facts.cluster.nodes.iter().flat_map(|node| conflicts(facts, options, node)));
    if options.conf_only && facts.cluster.node(options.node_id).is_none() {
        checks.push(
            Check::fail("registered", format!("node \"{}\" is not registered", options.node_name))
                .hint("Leave out --replication-conf-only, or register the node with \"pgbaton standby register --force\"."),
        );
    }
    checks.push(upstream_responds(facts, options, upstream));
    checks
}

/// Checks that the source is a node that can be copied.
fn source_role(facts: &CloneFacts, options: &CloneOptions) -> Check {
    const NAME: &str = "source_role";
    let name = &facts.source_name;
    let node = facts.source_id.and_then(|id| facts.cluster.node(id));
    if node.is_some_and(|node| node.row.node_type == NodeType::Witness) {
        Check::fail(NAME, format!("\"{name}\" is a witness"))
            .detail("A witness does not have the cluster's data.")
            .hint("Clone from the primary or from a standby.")
    } else if facts.source.in_recovery && facts.cluster.primaries().next().is_none() {
        Check::fail(NAME, "the primary is unreachable")
            .detail(format!(
                "\"{name}\" is a standby: it may lag behind, and the clone cannot be registered."
            ))
            .overridable_by(Override::Force, options.force)
    } else {
        Check::pass(NAME, format!("\"{name}\" can be copied"))
    }
}

/// Reports in what a registered node contradicts the clone: another cluster, the same name, ID or server.
fn conflicts(facts: &CloneFacts, options: &CloneOptions, node: &NodeFacts) -> Vec<Check> {
    let (row, server) = (&node.row, node.facts());
    let mut checks = Vec::new();
    if row.node_type != NodeType::Witness
        && let Some(server) = server
        && server.system_identifier != facts.source.system_identifier
    {
        checks.push(
            Check::fail(
                "same_cluster",
                format!("the source belongs to another cluster than node \"{}\"", row.node_name),
            )
            .node(row.node_id)
            .detail(format!(
                "The source's system identifier is {}, but that of \"{}\" is {}.",
                facts.source.system_identifier, row.node_name, server.system_identifier
            ))
            .hint("Check -h, -p and -d."),
        );
    }
    let same_id = row.node_id == options.node_id;
    if !same_id && row.node_name == options.node_name {
        checks.push(
            Check::fail(
                "node_name_free",
                format!("node name \"{}\" belongs to node {}", row.node_name, row.node_id),
            )
            .node(row.node_id)
            .hint("Choose another node_name."),
        );
    }
    if same_id && row.node_name != options.node_name {
        checks.push(
            Check::fail(
                "node_id_free",
                format!("node ID {} belongs to node \"{}\"", row.node_id, row.node_name),
            )
            .node(row.node_id)
            .hint("Choose another node_id, or repeat the command with --force if the node was renamed.")
            .overridable_by(Override::Force, options.force),
        );
    }
    if same_id && server.is_some() && !options.conf_only {
        checks.push(
            Check::fail(
                "node_id_free",
                format!("node \"{}\" is running at its registered address", row.node_name),
            )
            .node(row.node_id)
            .detail("A clone would be a second server with its ID, name and slot.")
            .hint("Stop that server, or choose another node_id and node_name."),
        );
    }
    checks
}

/// Checks that there is a node to follow, and that it responds.
fn upstream_responds(facts: &CloneFacts, options: &CloneOptions, upstream: Option<&NodeFacts>) -> Check {
    const NAME: &str = "upstream";
    let Some(node) = upstream else {
        return match facts.upstream_id {
            Some(id) => Check::fail(NAME, format!("upstream node {id} is not registered"))
                .hint("Run \"pgbaton cluster show\" to see the registered nodes."),
            None => Check::fail(NAME, "no primary is registered")
                .hint("Run \"pgbaton primary register\" on the primary, or name a node with --upstream-node-id.")
                .overridable_by(Override::Force, options.force),
        };
    };
    let name = &node.row.node_name;
    if facts.upstream_id == Some(options.node_id) {
        return Check::fail(NAME, format!("node \"{name}\" cannot be its own upstream"))
            .hint("Choose another --upstream-node-id.");
    }
    match &node.server {
        Ok(_) => Check::pass(NAME, format!("the upstream \"{name}\" responds")),
        Err(unavailable) => Check::fail(NAME, format!("the upstream \"{name}\" is unreachable"))
            .node(node.row.node_id)
            .detail(format!("{}.", unavailable.message))
            .exit(Exit::Connection),
    }
}
