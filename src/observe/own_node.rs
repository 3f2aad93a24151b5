//! The local node as its configuration has it, and the secrets of the nodes that are known.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Endpoint;
use crate::registry::{NodeRow, NodeType, node};
use crate::secret::{Secret, Secrets};
use crate::site::Site;

/// Returns the row that the configuration describes.
pub fn own_row(config: &Config, node_type: NodeType, upstream: Option<i32>, slot: Option<String>) -> NodeRow {
    let user = || Conninfo::parse(&config.conninfo).ok()?.get("user").map(str::to_string);
    NodeRow {
        node_id: config.node_id,
        upstream_node_id: upstream,
        active: true,
        node_name: config.node_name.clone(),
        node_type,
        location: config.location.clone(),
        priority: i32::try_from(config.priority).unwrap_or(i32::MAX),
        conninfo: config.conninfo.clone(),
        repluser: config.replication_user.clone().or_else(user).unwrap_or_else(|| "repmgr".into()),
        slot_name: config
            .use_replication_slots
            .then(|| slot.unwrap_or_else(|| node::slot_name(config.node_id))),
        config_file: config.file().display().to_string(),
    }
}

/// Names the local server as a place to run statements.
pub fn local_endpoint(config: &Config) -> Endpoint {
    let secret = node::holds_secret(&config.conninfo).then(|| node::conninfo_secret(config.node_id));
    let conninfo = Conninfo::parse(&config.conninfo)
        .map(|parsed| parsed.without_secrets().to_string())
        .unwrap_or_default();
    Endpoint { name: format!("node \"{}\"", config.node_name), conninfo, secret }
}

/// Returns the secrets that plans about registered nodes name: conninfos that hold a password.
pub fn secrets(config: &Config, row: &NodeRow) -> Secrets {
    let mut out = Secrets::new();
    for conninfo in [&row.conninfo, &config.conninfo] {
        if node::holds_secret(conninfo) {
            out.insert(node::conninfo_secret(row.node_id), Secret::new(conninfo));
        }
    }
    out
}

/// Returns the secrets in the rows of a whole cluster: conninfos that hold a password, and those passwords.
pub fn secrets_of(cluster: &ClusterFacts) -> Secrets {
    let mut out = Secrets::new();
    for row in cluster.nodes.iter().map(|node| &node.row).filter(|row| node::holds_secret(&row.conninfo)) {
        out.insert(node::conninfo_secret(row.node_id), Secret::new(&row.conninfo));
        let parsed = Conninfo::parse(&row.conninfo).ok();
        if let Some(password) = parsed.as_ref().and_then(|parsed| parsed.get("password")) {
            out.insert(node::password_secret(row.node_id), Secret::new(password));
        }
    }
    out
}

/// Returns the node that is meant: the one named on the command line, else the local one.
pub fn target<'a>(site: &Site, facts: &'a ClusterFacts) -> Result<&'a NodeFacts> {
    let options = &site.options;
    let (found, what) = match (options.node_id, &options.node_name) {
        (Some(id), None) => (facts.node(id), format!("node {id}")),
        (None, Some(name)) => {
            (facts.nodes.iter().find(|node| node.row.node_name == *name), format!("node \"{name}\""))
        }
        (Some(id), Some(name)) => (
            facts.node(id).filter(|node| node.row.node_name == *name),
            format!("node {id} with the name \"{name}\""),
        ),
        (None, None) => {
            let config = site.config()?;
            (facts.node(config.node_id), format!("node \"{}\" (ID {})", config.node_name, config.node_id))
        }
    };
    found.ok_or_else(|| {
        let known: Vec<String> = facts
            .nodes
            .iter()
            .map(|node| format!("\"{}\" (ID {})", node.row.node_name, node.row.node_id))
            .collect();
        Error::failed(format!("{what} is not registered"))
            .detail(format!("Registered are: {}. Nothing was changed.", known.join(", ")))
            .hint("Name the node with --node-id or --node-name.")
    })
}
