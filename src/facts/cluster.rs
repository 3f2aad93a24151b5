//! What all registered nodes say, asked at once.

use std::time::Duration;

use futures_util::future::join_all;

use crate::facts::server::{self, ServerFacts};
use crate::pg::client::Session;
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::{Answered, ConnectError};
use crate::registry::NodeRow;
use crate::system::environment::Environment;

/// What was found out about a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// One per registered node, ordered by node id.
    pub nodes: Vec<NodeFacts>,
}

/// What was found out about a registered node.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its row.
    pub row: NodeRow,
    /// What it says, or why it says nothing.
    pub server: Result<ServerFacts, Silence>,
}

/// Why a node said nothing about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Whether anything at all was heard from it.
    pub answered: Answered,
    /// The primary text of the error.
    pub message: String,
    /// Facts.
    pub detail: Option<String>,
    /// Advice.
    pub hint: Option<String>,
}

impl From<ConnectError> for Silence {
    fn from(error: ConnectError) -> Self {
        Self { answered: error.answered, message: error.primary, detail: error.detail, hint: error.hint }
    }
}

/// Asks one server, on a connection of its own, all within `deadline`.
///
/// # Errors
/// Returns why it said nothing.
pub async fn ask_node(
    conninfo: &str,
    environment: &Environment,
    deadline: Duration,
) -> Result<(Session, ServerFacts), Silence> {
    let conninfo = Conninfo::parse(conninfo).map_err(|error| Silence {
        answered: Answered::Silent,
        message: "invalid connection string in the node's record".into(),
        detail: Some(crate::error::sentence(&error.to_string())),
        hint: None,
    })?;
    let session =
        connect(&conninfo, environment, &ConnectOptions { deadline, ..ConnectOptions::default() }).await?;
    let facts = server::ask(&session).await.map_err(|error| Silence {
        answered: Answered::Spoke,
        message: error.primary.clone(),
        detail: error.detail.clone(),
        hint: error.hint,
    })?;
    Ok((session, facts))
}

/// Asks all registered nodes at once.
///
/// `known` holds what is known already, by node id, so that nobody is asked twice.
pub async fn gather(
    rows: &[NodeRow],
    known: &[(i32, ServerFacts)],
    environment: &Environment,
    deadline: Duration,
) -> ClusterFacts {
    let nodes = join_all(rows.iter().map(|row| async {
        let server = match known.iter().find(|(node_id, _)| *node_id == row.node_id) {
            Some((_, facts)) => Ok(facts.clone()),
            None => ask_node(&row.conninfo, environment, deadline).await.map(|(_, facts)| facts),
        };
        NodeFacts { row: row.clone(), server }
    }))
    .await;
    ClusterFacts { nodes }
}

impl ClusterFacts {
    /// Finds a node by its id.
    pub fn node(&self, node_id: i32) -> Option<&NodeFacts> {
        self.nodes.iter().find(|node| node.row.node_id == node_id)
    }

    /// Returns the nodes that take writes, whatever they are registered as; witnesses do not count.
    pub fn primaries(&self) -> impl Iterator<Item = (&NodeFacts, &ServerFacts)> {
        self.nodes.iter().filter(|node| node.row.node_type != crate::registry::NodeType::Witness).filter_map(
            |node| match &node.server {
                Ok(server) if !server.in_recovery => Some((node, server)),
                _ => None,
            },
        )
    }

    /// Returns the node that a standby streams from, as the servers themselves say.
    pub fn observed_upstream(&self, node_name: &str) -> Option<&NodeFacts> {
        self.nodes
            .iter()
            .find(|node| node.server.as_ref().is_ok_and(|server| server.sender_of(node_name).is_some()))
    }
}

impl NodeFacts {
    /// Returns what the server says, if it says anything.
    pub fn facts(&self) -> Option<&ServerFacts> {
        self.server.as_ref().ok()
    }
}
