//! The cluster that the clone joins: its metadata, its nodes, and the node to follow.

use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::plan::clone::{CloneFacts, CloneOptions};
use crate::plan::{Check, Waiver};
use crate::registry::NodeType;
use crate::registry::schema::Verdict as SchemaVerdict;

/// The nodes in the metadata.
pub(super) fn membership(
    facts: &CloneFacts,
    options: &CloneOptions,
    upstream: Option<&NodeFacts>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    match facts.present.verdict() {
        SchemaVerdict::Missing | SchemaVerdict::Foreign => {
            checks.push(
                Check::fail("metadata", format!("database \"{}\" of the source has no metadata schema", facts.present.database))
                    .hint("Run \"pgbaton primary register\" on the primary first, or name the correct database with -d.")
                    .waivable(Waiver::Force, options.force),
            );
            return checks;
        }
        _ => checks.push(Check::pass("metadata", "the source has the metadata schema")),
    }
    let is_witness = facts
        .source_id
        .and_then(|id| facts.cluster.node(id))
        .is_some_and(|node| node.row.node_type == NodeType::Witness);
    if is_witness {
        checks.push(
            Check::fail("source_role", format!("\"{}\" is a witness", facts.source_name))
                .detail("A witness does not have the cluster's data.")
                .hint("Clone from the primary or from a standby."),
        );
    } else if facts.source.in_recovery && facts.cluster.primaries().next().is_none() {
        checks.push(
            Check::fail("source_role", "the primary is unreachable")
                .detail(format!(
                    "\"{}\" is a standby: it may lag behind, and the clone cannot be registered.",
                    facts.source_name
                ))
                .waivable(Waiver::Force, options.force),
        );
    } else {
        checks.push(Check::pass("source_role", format!("\"{}\" can be copied", facts.source_name)));
    }
    for node in &facts.cluster.nodes {
        let (row, server) = (&node.row, node.facts());
        if row.node_type != NodeType::Witness
            && server.is_some_and(|server| server.system_identifier != facts.source.system_identifier)
        {
            checks.push(
                Check::fail(
                    "same_cluster",
                    format!("the source belongs to another cluster than node \"{}\"", row.node_name),
                )
                .node(row.node_id)
                .detail(format!(
                    "The source's system identifier is {}, but that of \"{}\" is {}.",
                    facts.source.system_identifier,
                    row.node_name,
                    server.map_or("", |server| &server.system_identifier)
                ))
                .hint("Check -h, -p and -d."),
            );
        }
        if row.node_id != options.node_id && row.node_name == options.node_name {
            checks.push(
                Check::fail(
                    "node_name_free",
                    format!("node name \"{}\" belongs to node {}", row.node_name, row.node_id),
                )
                .node(row.node_id)
                .hint("Choose another node_name."),
            );
        }
        if row.node_id == options.node_id && row.node_name != options.node_name {
            checks.push(
                Check::fail(
                    "node_id_free",
                    format!("node ID {} belongs to node \"{}\"", row.node_id, row.node_name),
                )
                .node(row.node_id)
                .hint("Choose another node_id, or override this check with --force if the node was renamed.")
                .waivable(Waiver::Force, options.force),
            );
        }
        if row.node_id == options.node_id && server.is_some() && !options.conf_only {
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
    }
    if options.conf_only && facts.cluster.node(options.node_id).is_none() {
        checks.push(
            Check::fail("registered", format!("node \"{}\" is not registered", options.node_name))
                .hint("Leave out --replication-conf-only, or register the node with \"pgbaton standby register --force\"."),
        );
    }
    match (upstream, facts.upstream_id) {
        (Some(node), Some(id)) if id == options.node_id => checks.push(
            Check::fail("upstream", format!("node \"{}\" cannot be its own upstream", node.row.node_name))
                .hint("Choose another --upstream-node-id."),
        ),
        (Some(node), _) => match &node.server {
            Ok(_) => checks.push(Check::pass("upstream", format!("the upstream \"{}\" responds", node.row.node_name))),
            Err(silence) => checks.push(
                Check::fail("upstream", format!("the upstream \"{}\" is unreachable", node.row.node_name))
                    .node(node.row.node_id)
                    .detail(format!("{}.", silence.message))
                    .exit(Exit::Connection),
            ),
        },
        (None, Some(id)) => checks.push(
            Check::fail("upstream", format!("upstream node {id} is not registered"))
                .hint("Run \"pgbaton cluster show\" to see the registered nodes."),
        ),
        (None, None) => checks.push(
            Check::fail("upstream", "no primary is registered")
                .hint("Run \"pgbaton primary register\" on the primary, or name a node with --upstream-node-id.")
                .waivable(Waiver::Force, options.force),
        ),
    }
    checks
}
