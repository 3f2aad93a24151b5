//! Event notifications when an operation has ended: rows in `repmgr.events`, and the user's hook. Pure.
//!
//! They belong to the plan, and so to the journal: the run that finishes the operation, possibly a resume on the next day, sends the same.
//! A hook that redirects clients after a promotion is notified of every one.

use serde::{Deserialize, Serialize};

use crate::error::Exit;
use crate::facts::cluster::ClusterFacts;
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Endpoint;
use crate::plan::{Op, Step};
use crate::registry::{NodeRow, NodeType};

/// The id of the step that sends the event notification of a promotion.
pub const STEP: &str = "tell";

/// Seconds that the notification may take, more than its parts together: the hook has a minute of them.
const NOTIFY_S: u32 = 180;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// repmgr's name of it.
    pub event: String,
    /// The node that it happens to.
    pub node_id: i32,
    /// More about it, for when it has gone well.
    pub details: String,
    /// The other node that it is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// By what it is known to have gone well.
    pub proof: Proof,
    /// A failure is notified, too.
    pub failure: bool,
}

/// A node, for the hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its id.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// How it is reached, without secrets: a hook's environment may be logged, and its children inherit it.
    pub conninfo: String,
}

/// By what an event is known to have gone well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The operation has succeeded.
    Success,
    /// The node accepts writes.
    Primary,
    /// This node is recorded as its upstream. Runs no hook: repmgr runs one on the host of each, with the configuration there.
    Upstream(i32),
}

impl From<&NodeRow> for Upstream {
    fn from(row: &NodeRow) -> Self {
        let plain = Conninfo::parse(&row.conninfo).map(|parsed| parsed.without_secrets().to_string());
        Self { node_id: row.node_id, node_name: row.node_name.clone(), conninfo: plain.unwrap_or_default() }
    }
}

impl Notification {
    /// The event of an operation itself.
    pub fn outcome(event: &str, node_id: i32, details: String, upstream: &NodeRow) -> Self {
        Self {
            event: event.into(),
            node_id,
            details,
            upstream: Some(upstream.into()),
            proof: Proof::Success,
            failure: true,
        }
    }
}

/// A node becomes the primary. `failure` says whether a failure is notified, too.
pub fn promotion(row: &NodeRow, failure: bool) -> Notification {
    let (id, name) = (row.node_id, &row.node_name);
    Notification {
        event: "standby_promote".into(),
        node_id: id,
        details: format!("server \"{name}\" (ID: {id}) was successfully promoted to primary"),
        upstream: None,
        proof: Proof::Primary,
        failure,
    }
}

/// A standby attaches to a node.
fn attached(upstream: &NodeRow) -> String {
    format!("standby attached to upstream node \"{}\" (ID: {})", upstream.node_name, upstream.node_id)
}

/// A standby is made to follow.
pub fn follow(node_id: i32, upstream: &NodeRow) -> Notification {
    Notification::outcome("standby_follow", node_id, attached(upstream), upstream)
}

/// Sends the notification of a promotion as soon as it is recorded: a hook that redirects clients must not wait for other nodes.
///
/// The journal records that it was sent, and a resumed operation does not send it again. If this step is not reached, it is sent at the
/// end.
pub fn at_once(on: &Endpoint, row: &NodeRow) -> Step {
    let title = format!("send the event notification for the new primary \"{}\"", row.node_name);
    let op = Op::Notify { on: on.clone(), event: promotion(row, false) };
    Step::new(STEP, title, op, NOTIFY_S, Exit::Incomplete)
}

/// Standbys that follow a new primary, as repmgr records them; `former` becomes a standby otherwise.
pub fn followers(cluster: &ClusterFacts, primary: &NodeRow, former: Option<i32>) -> Vec<Notification> {
    let others = cluster.nodes.iter().map(|node| &node.row).filter(|row| {
        row.node_type == NodeType::Standby
            && row.node_id != primary.node_id
            && Some(row.node_id) != former
            && row.upstream_node_id != Some(primary.node_id)
    });
    others
        .map(|row| Notification {
            event: "standby_follow".into(),
            node_id: row.node_id,
            details: attached(primary),
            upstream: None,
            proof: Proof::Upstream(primary.node_id),
            failure: false,
        })
        .collect()
}
