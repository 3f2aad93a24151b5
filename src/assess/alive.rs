//! Is a server that does not respond to queries nevertheless alive?
//!
//! A promotion, and the registration of another primary, must know. A connection that fails proves little: a server whose connections are
//! used up, that starts up, or that rejects the password, may still accept writes from others.

use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::streams_by;
use crate::pg::failure::Answered;

/// Whether a server is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alive {
    /// It is alive. A whole sentence says how that is known.
    Yes(String),
    /// Something accepts connections there but does not respond: hung, or frozen. A whole sentence.
    CannotTell(String),
    /// It does not respond, and no standby streams from it.
    NotSeen(String),
}

/// Judges whether the server of a registered node is alive.
pub fn alive(facts: &ClusterFacts, node: &NodeFacts) -> Alive {
    let name = &node.row.node_name;
    let stranger = facts.stranger(node);
    let Some(unavailable) = node.server.as_ref().err().or(stranger.as_ref()) else {
        return Alive::Yes(format!("Node \"{name}\" responds."));
    };
    if unavailable.answered == Answered::Spoke {
        return Alive::Yes(format!("Node \"{name}\" responds: {}.", unavailable.message));
    }
    if let Some(follower) = facts.nodes.iter().find(|other| streams_from(other, node)) {
        return Alive::Yes(format!("Node \"{}\" streams from \"{name}\".", follower.row.node_name));
    }
    match unavailable.answered {
        Answered::Silent => Alive::CannotTell(format!(
            "The address of node \"{name}\" accepts connections but does not respond: {}.",
            unavailable.message
        )),
        _ => Alive::NotSeen(format!("Node \"{name}\" does not respond: {}.", unavailable.message)),
    }
}

/// Says whether a node's WAL receiver streams from where another node's conninfo leads.
pub fn streams_from(follower: &NodeFacts, node: &NodeFacts) -> bool {
    follower.facts().is_some_and(|server| streams_by(server, &node.row.conninfo))
}
