//! What is reported about a cluster and its nodes.

use jiff::Timestamp;
use serde::Serialize;

use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::NodeType;
use crate::registry::monitoring::Monitoring;

/// The cluster in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// One primary, everything attached to where it should be.
    Healthy,
    /// One primary, but there are problems.
    Degraded,
    /// Nodes respond, but none of them accepts writes.
    NoPrimary,
    /// More than one node accepts writes.
    SplitBrain,
    /// No node responds.
    Unknown,
}

/// What a node was seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Accepts writes.
    Primary,
    /// In recovery.
    Standby,
    /// Registered as a witness, and a primary of its own.
    Witness,
    /// It does not respond.
    Unknown,
}

/// The cluster and its nodes, in the shape of `cluster show --format json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterReport {
    /// The cluster as a whole.
    pub cluster: ClusterView,
    /// Its nodes, ordered by node id.
    pub nodes: Vec<NodeView>,
    /// The last monitoring records of a daemon; None if not requested, and if they cannot be read.
    pub monitoring: Option<Vec<Monitoring>>,
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterView {
    /// In one word.
    pub state: State,
    /// The node that accepts writes, if it is exactly one.
    pub primary_node_id: Option<i32>,
    /// Shared by all nodes.
    pub system_identifier: Option<String>,
    /// The newest timeline among the nodes that answer.
    pub timeline: Option<TimelineId>,
    /// When this was true: now, or when the topology was last seen.
    pub observed_at: Timestamp,
    /// The operation that was left unfinished on this node.
    pub unfinished_operation: Option<String>,
    /// What to type next.
    pub next: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeView {
    /// Its number.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// What it is registered as.
    #[serde(rename = "type")]
    pub node_type: NodeType,
    /// Registered as active.
    pub active: bool,
    /// It responded, and accepted the connection.
    pub reachable: bool,
    /// It responded, if only by rejecting the connection.
    #[serde(skip)]
    pub answered: bool,
    /// What it was seen to be.
    pub observed_role: Role,
    /// In the words of repmgr: `running`, `unreachable`, `failed`, `running as primary`, …
    pub status: String,
    /// The node that it is registered to follow.
    pub upstream_node_id: Option<i32>,
    /// That node's name.
    pub upstream_node_name: Option<String>,
    /// It streams from that node; None if that is unknown, and for a primary.
    pub attached: Option<bool>,
    /// Its location.
    pub location: String,
    /// Its priority.
    pub priority: i32,
    /// Its timeline.
    pub timeline: Option<TimelineId>,
    /// End of the WAL received.
    pub receive_lsn: Option<Lsn>,
    /// End of the WAL replayed.
    pub replay_lsn: Option<Lsn>,
    /// Bytes that the primary has written and this node has not received.
    pub receive_lag_bytes: Option<u64>,
    /// Bytes that the primary has written and this node has not replayed.
    pub replay_lag_bytes: Option<u64>,
    /// Seconds that its contents are behind the primary's.
    pub replay_lag_s: Option<f64>,
    /// Replay is paused.
    pub replay_paused: Option<bool>,
    /// Its daemon: `running`, `stopped`, or `unknown`.
    pub daemon: &'static str,
    /// Its daemon is paused; None without a daemon.
    pub daemon_paused: Option<bool>,
    /// `async`, `sync`, `quorum`, `potential`.
    pub sync_state: Option<String>,
    /// The slot that it is registered to use on its upstream.
    pub slot_name: Option<String>,
    /// A process uses the slot.
    pub slot_active: Option<bool>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub slot_wal_status: Option<String>,
    /// Bytes of WAL that the slot keeps.
    pub slot_retained_bytes: Option<i64>,
    /// Its version.
    pub server_version: Option<String>,
    /// When it last responded.
    pub last_seen: Option<Timestamp>,
    /// How to reach it, passwords hidden.
    pub conninfo: String,
    /// Why it did not respond.
    pub error: Option<String>,
}
