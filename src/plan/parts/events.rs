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

/// The ID of the step that sends the event notification of a promotion, and of the mark that it was sent.
pub const STEP: &str = "tell";

/// Seconds that the notification may take, more than its parts together: the hook has a minute of them.
const NOTIFY_S: u32 = 180;

/// One event that an operation brings about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedEvent {
    /// repmgr's name of it.
    pub event: String,
    /// The node that it happens to.
    pub node_id: i32,
    /// More about it, for when it has gone well.
    pub details: String,
    /// The other node that it is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<EventUpstream>,
    /// By what it is known to have gone well.
    pub proof: EventProof,
    /// A failure is notified, too.
    pub failure: bool,
    /// What the event says of an operation that succeeds as a whole, if it does not say all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// The server on which it is recorded; None for the primary that there is when the operation has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Endpoint>,
}

/// The part of an operation that an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The steps, without what is expected at the end.
    Steps,
    /// What is expected at the end. Where the steps are not done, there is no such event.
    Expectations,
}

/// A node, for the hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventUpstream {
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
pub enum EventProof {
    /// The operation has succeeded.
    Success,
    /// The node accepts writes.
    Primary,
    /// This node is recorded as its upstream. Runs no hook: repmgr runs one on the host of each, with the configuration there.
    Upstream(i32),
}

impl From<&NodeRow> for EventUpstream {
    fn from(row: &NodeRow) -> Self {
        let plain = Conninfo::parse(&row.conninfo).map(|parsed| parsed.without_secrets().to_string());
        Self { node_id: row.node_id, node_name: row.node_name.clone(), conninfo: plain.unwrap_or_default() }
    }
}

impl PlannedEvent {
    /// The event of an operation itself.
    pub fn outcome(event: &str, node_id: i32, details: String, upstream: &NodeRow) -> Self {
        Self {
            event: event.into(),
            node_id,
            details,
            upstream: Some(upstream.into()),
            proof: EventProof::Success,
            failure: true,
            part: None,
            on: None,
        }
    }

    /// The event of an operation itself, recorded on a server that is known when it is planned.
    pub fn recorded(event: &str, node_id: i32, details: String, on: Option<&Endpoint>) -> Self {
        Self {
            event: event.into(),
            node_id,
            details,
            upstream: None,
            proof: EventProof::Success,
            failure: true,
            part: None,
            on: on.cloned(),
        }
    }

    /// Returns the ID of the mark that says in the journal that it was sent.
    pub fn mark(&self) -> String {
        match self.proof {
            EventProof::Primary => STEP.to_string(),
            EventProof::Success | EventProof::Upstream(_) => {
                format!("{STEP} {} {}", self.event, self.node_id)
            }
        }
    }
}

/// The metadata are created, and the first node is registered.
pub fn cluster_created(node_id: i32, on: &Endpoint) -> PlannedEvent {
    PlannedEvent {
        failure: false,
        ..PlannedEvent::recorded("cluster_created", node_id, String::new(), Some(on))
    }
}

/// A node is registered; `upstream` is the primary, if the node is not that itself.
pub fn registered(row: &NodeRow, upstream: Option<&NodeRow>, on: &Endpoint) -> PlannedEvent {
    let kind = &row.node_type;
    let details = format!("node \"{}\" (ID {}) registered as {kind}", row.node_name, row.node_id);
    PlannedEvent {
        upstream: upstream.map(EventUpstream::from),
        ..PlannedEvent::recorded(&format!("{kind}_register"), row.node_id, details, Some(on))
    }
}

/// A standby is registered: the record, and, where it is waited for, that it has been replicated.
pub fn standby_registered(
    row: &NodeRow,
    upstream: Option<&NodeRow>,
    on: &Endpoint,
    waits: bool,
) -> Vec<PlannedEvent> {
    let record = PlannedEvent { part: Some(Part::Steps), ..registered(row, upstream, on) };
    let sync = PlannedEvent {
        event: "standby_register_sync".into(),
        part: Some(Part::Expectations),
        ..record.clone()
    };
    std::iter::once(record).chain(waits.then_some(sync)).collect()
}

/// A node is removed from the metadata by the node `by`, ID and name.
///
/// As in repmgr: the event of a standby or a witness is its own, that of a primary belongs to the node that removes it.
pub fn unregistered(row: &NodeRow, wanted: &NodeType, by: (i32, &str), on: &Endpoint) -> PlannedEvent {
    let (id, name) = by;
    let from = match id == row.node_id {
        true => String::new(),
        false => format!(" from node \"{name}\" (ID: {id})"),
    };
    let kind = match wanted {
        NodeType::Primary | NodeType::Witness => wanted,
        _ => &NodeType::Standby,
    };
    let node_id = if wanted == &NodeType::Primary { id } else { row.node_id };
    let details = format!("node \"{}\" (ID: {}) unregistered{from}", row.node_name, row.node_id);
    PlannedEvent::recorded(&format!("{kind}_unregister"), node_id, details, Some(on))
}

/// A node becomes the primary. `failure` says whether a failure is notified, too.
pub fn promotion(row: &NodeRow, failure: bool) -> PlannedEvent {
    let (id, name) = (row.node_id, &row.node_name);
    PlannedEvent {
        event: "standby_promote".into(),
        node_id: id,
        details: format!("server \"{name}\" (ID: {id}) was successfully promoted to primary"),
        upstream: None,
        proof: EventProof::Primary,
        failure,
        part: None,
        on: None,
    }
}

/// A standby attaches to a node.
fn attached(upstream: &NodeRow) -> String {
    format!("standby attached to upstream node \"{}\" (ID: {})", upstream.node_name, upstream.node_id)
}

/// A standby is made to follow.
pub fn follow(node_id: i32, upstream: &NodeRow) -> PlannedEvent {
    PlannedEvent::outcome("standby_follow", node_id, attached(upstream), upstream)
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
pub fn followers(cluster: &ClusterFacts, primary: &NodeRow, former: Option<i32>) -> Vec<PlannedEvent> {
    let others = cluster.nodes.iter().map(|node| &node.row).filter(|row| {
        row.node_type == NodeType::Standby
            && row.node_id != primary.node_id
            && Some(row.node_id) != former
            && row.upstream_node_id != Some(primary.node_id)
    });
    others
        .map(|row| PlannedEvent {
            event: "standby_follow".into(),
            node_id: row.node_id,
            details: attached(primary),
            upstream: None,
            proof: EventProof::Upstream(primary.node_id),
            failure: false,
            part: None,
            on: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_of_a_removed_primary_belongs_to_the_node_that_removes_it() {
        let on = Endpoint { name: "node \"node1\"".into(), conninfo: String::new(), secret: None };
        let said = |kind: NodeType, by: (i32, &str)| {
            let event = unregistered(&NodeRow::example(2, kind.clone()), &kind, by, &on);
            format!("{} {} {}", event.event, event.node_id, event.details)
        };
        let own = "node \"node2\" (ID: 2) unregistered";
        let from = format!("{own} from node \"node1\" (ID: 1)");
        assert_eq!(said(NodeType::Standby, (2, "node2")), format!("standby_unregister 2 {own}"));
        assert_eq!(said(NodeType::Standby, (1, "node1")), format!("standby_unregister 2 {from}"));
        assert_eq!(said(NodeType::Witness, (1, "node1")), format!("witness_unregister 2 {from}"));
        assert_eq!(said(NodeType::Primary, (1, "node1")), format!("primary_unregister 1 {from}"));
    }
}
