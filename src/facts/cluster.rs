//! What all registered nodes report, queried in parallel.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::error::{Text, carries_text};
use crate::facts::server::{self, ServerFacts};
use crate::pg::client::{Session, SqlError, SqlErrorKind};
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::{Answered, ConnectError};
use crate::registry::{NodeRow, NodeType};
use crate::system::environment::Environment;

/// What was found out about a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// One per registered node, ordered by node id.
    pub nodes: Vec<NodeFacts>,
    /// The system identifier of the cluster that is meant, if it is known: it decides if the nodes disagree.
    pub meant: Option<String>,
}

/// What was found out about a registered node.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its row.
    pub row: NodeRow,
    /// What it says, or why it says nothing.
    pub server: Result<ServerFacts, Unavailable>,
}

/// Why a node said nothing about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Whether anything at all was heard from it.
    pub answered: Answered,
    /// The error.
    pub text: Text,
}

carries_text!(Unavailable);

impl Unavailable {
    /// A node that said nothing for a reason that one line holds.
    pub fn new(answered: Answered, text: impl Into<Text>) -> Self {
        Self { answered, text: text.into() }
    }

    /// The server that responds is not a node of this cluster: the node itself does not respond.
    pub fn stranger(identifier: &str, own: &str) -> Self {
        let text = format!(
            "a server of another cluster responds at its address (system identifier {identifier}, expected {own})"
        );
        Self::new(Answered::Nothing, text)
            .hint("Compare the connection string in the node's record with the address of its server.")
    }

    /// The node's row holds no connection string.
    pub fn invalid(why: &str) -> Self {
        Self::new(Answered::Silent, "invalid connection string in the node's record")
            .detail(crate::error::sentence(why))
    }
}

impl From<ConnectError> for Unavailable {
    fn from(error: ConnectError) -> Self {
        Self { answered: error.answered, text: error.text }
    }
}

impl From<SqlError> for Unavailable {
    fn from(error: SqlError) -> Self {
        Self { answered: Answered::Spoke, text: error.text }
    }
}

/// The message for a server that accepted the connection and then did not respond.
pub const LATE: &str = "connected, but the query timed out";

/// Asks one server, on a connection of its own, all within `deadline`.
///
/// # Errors
/// Returns why it said nothing.
pub async fn query_node(
    conninfo: &str,
    environment: &Environment,
    deadline: Duration,
) -> Result<(Session, ServerFacts), Unavailable> {
    let conninfo = Conninfo::parse(conninfo).map_err(|error| Unavailable::invalid(&error.to_string()))?;
    let until = Instant::now() + deadline;
    let options = ConnectOptions { deadline, query_deadline: deadline, ..ConnectOptions::default() };
    let session = connect(&conninfo, environment, &options).await?;
    let facts = bounded(until, server::query_server_facts(&session)).await?;
    Ok((session, facts))
}

/// Runs queries until a moment and no longer; the connection may have used most of the time.
///
/// # Errors
/// Those of the queries.
pub async fn bounded<T>(
    until: Instant,
    queries: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let late = || SqlError::new(SqlErrorKind::TimedOut, LATE);
    timeout_at(until, queries).await.unwrap_or_else(|_| Err(late()))
}

/// Asks all registered nodes at once.
///
/// `known` holds what is known already, by node id, so that no node is queried twice.
pub async fn gather(
    rows: &[NodeRow],
    known: &[(i32, ServerFacts)],
    environment: &Environment,
    deadline: Duration,
) -> ClusterFacts {
    let nodes = join_all(rows.iter().map(|row| async {
        let server = match known.iter().find(|(node_id, _)| *node_id == row.node_id) {
            Some((_, facts)) => Ok(facts.clone()),
            None => query_node(&row.conninfo, environment, deadline).await.map(|(_, facts)| facts),
        };
        NodeFacts { row: row.clone(), server }
    }))
    .await;
    ClusterFacts { nodes, ..ClusterFacts::default() }
}

impl ClusterFacts {
    /// Finds a node by its id.
    pub fn node(&self, node_id: i32) -> Option<&NodeFacts> {
        self.nodes.iter().find(|node| node.row.node_id == node_id)
    }

    /// Returns the nodes that accept writes, whatever they are registered as.
    ///
    /// Witnesses do not count, nor do servers of other clusters, and a server that two rows lead to counts once.
    pub fn primaries(&self) -> impl Iterator<Item = (&NodeFacts, &ServerFacts)> {
        let own = self.system_identifier();
        self.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness).filter_map(move |node| {
            match &node.server {
                Ok(server)
                    if !server.in_recovery
                        && own == Some(server.system_identifier.as_str())
                        && self.other_node_of_server(node).is_none() =>
                {
                    Some((node, server))
                }
                _ => None,
            }
        })
    }

    /// Returns the system identifier that most of the nodes have; of several, the one that is meant, or else that of the registered
    /// primary.
    pub fn system_identifier(&self) -> Option<&str> {
        let mut votes: BTreeMap<&str, (usize, bool, bool)> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness) {
            let Some(server) = node.facts() else { continue };
            let vote = votes.entry(&server.system_identifier).or_default();
            vote.0 += 1;
            vote.1 |= self.meant.as_ref() == Some(&server.system_identifier);
            vote.2 |= node.row.active && node.row.node_type == NodeType::Primary && !server.in_recovery;
        }
        // The first of equals is the smallest: the same answer every time.
        votes.into_iter().rev().max_by_key(|(_, vote)| *vote).map(|(identifier, _)| identifier)
    }

    /// Returns why the server at a node's address is none of this cluster: another one listens there now.
    pub fn stranger(&self, node: &NodeFacts) -> Option<Unavailable> {
        let server = node.facts().filter(|_| node.row.node_type != NodeType::Witness)?;
        let own = self.system_identifier()?;
        (server.system_identifier != own).then(|| Unavailable::stranger(&server.system_identifier, own))
    }

    /// Takes the word from the servers of other clusters, but for that of one node: what they say of themselves is not said of the nodes.
    /// Returns the ids of these nodes.
    pub fn discard_foreign_servers(&mut self, except: Option<i32>) -> Vec<i32> {
        let strangers: Vec<(i32, Unavailable)> = (self.nodes.iter())
            .filter(|node| Some(node.row.node_id) != except)
            .filter_map(|node| Some((node.row.node_id, self.stranger(node)?)))
            .collect();
        for (id, unavailable) in &strangers {
            if let Some(node) = self.nodes.iter_mut().find(|node| node.row.node_id == *id) {
                node.server = Err(unavailable.clone());
            }
        }
        strangers.into_iter().map(|(id, _)| id).collect()
    }

    /// Returns another node whose connection leads to the very same running server, if that server is rather the other one's.
    pub fn other_node_of_server(&self, node: &NodeFacts) -> Option<&NodeFacts> {
        let server = node.facts()?;
        let claim = |node: &NodeFacts| {
            let fits = match node.row.node_type {
                NodeType::Primary => !server.in_recovery,
                NodeType::Standby => server.in_recovery,
                NodeType::Witness | NodeType::Other(_) => false,
            };
            (fits, node.row.active, std::cmp::Reverse(node.row.node_id))
        };
        self.nodes
            .iter()
            .filter(|other| {
                other.facts().is_some_and(|facts| {
                    (&facts.system_identifier, &facts.started_at)
                        == (&server.system_identifier, &server.started_at)
                })
            })
            .max_by_key(|other| claim(other))
            .filter(|owner| owner.row.node_id != node.row.node_id)
    }

    /// Returns the node that a standby streams from, as the servers themselves say.
    pub fn observed_upstream(&self, node_name: &str) -> Option<&NodeFacts> {
        self.nodes
            .iter()
            .find(|node| node.server.as_ref().is_ok_and(|server| server.sender_of(node_name).is_some()))
    }

    /// Returns the node that a standby is connected to, be it only to be refused.
    pub fn connected_upstream(&self, node_name: &str) -> Option<&NodeFacts> {
        self.nodes.iter().find(|node| node.facts().is_some_and(|server| server.is_connected_to(node_name)))
    }

    /// Returns the ID of the node that a standby follows: where it streams from, else where it tries to, else the registered one.
    pub fn upstream_of(&self, standby: &NodeRow) -> Option<i32> {
        let name = &standby.node_name;
        let observed = self.observed_upstream(name).or_else(|| self.connected_upstream(name));
        observed.map(|up| up.row.node_id).or(standby.upstream_node_id)
    }
}

impl NodeFacts {
    /// Returns what the server says, if it says anything.
    pub fn facts(&self) -> Option<&ServerFacts> {
        self.server.as_ref().ok()
    }
}
