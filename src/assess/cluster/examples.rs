//! A cluster for tests, and what is said of it.

use jiff::Timestamp;

use super::{ClusterReport, Viewpoint, assess};
use crate::facts::cluster::{ClusterFacts, NodeFacts, Unavailable};
use crate::facts::server::{Sender, ServerFacts};
use crate::facts::topology::Topology;
use crate::pg::failure::Answered;
use crate::registry::{NodeRow, NodeType};

pub(crate) const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// As `n2`, without a slot.
fn row(id: i32, kind: NodeType) -> NodeRow {
    NodeRow { node_name: format!("n{id}"), slot_name: None, ..NodeRow::example(id, kind) }
}

pub(crate) fn unavailable(answered: Answered) -> Unavailable {
    Unavailable::new(answered, "connection refused")
}

fn sender(name: &str) -> Sender {
    Sender {
        application_name: name.into(),
        state: Some("streaming".into()),
        sync_state: Some("async".into()),
        replay_lag_s: None,
        reply_age_s: Some(1.0),
    }
}

/// `n1`, a primary that feeds `n2` and `n3`; all is well.
pub(crate) fn healthy() -> ClusterFacts {
    let mut primary = ServerFacts::example(false, 1, 50_000);
    primary.senders = vec![sender("n2"), sender("n3")];
    let standby = |id| NodeFacts {
        row: row(id, NodeType::Standby),
        server: Ok(ServerFacts { started_at: id.to_string(), ..ServerFacts::example(true, 1, 50_000) }),
    };
    let first = NodeFacts { row: row(1, NodeType::Primary), server: Ok(primary) };
    ClusterFacts { nodes: vec![first, standby(2), standby(3)], ..ClusterFacts::default() }
}

pub(crate) fn server(facts: &mut ClusterFacts, at: usize) -> &mut ServerFacts {
    facts.nodes[at].server.as_mut().unwrap()
}

pub(crate) fn promote(facts: &mut ClusterFacts, at: usize, timeline: u32) {
    let started_at = at.to_string();
    facts.nodes[at].server = Ok(ServerFacts { started_at, ..ServerFacts::example(false, timeline, 60_000) });
}

/// There is no witness.
static NO_COPIES: crate::assess::cluster::Copies = crate::assess::cluster::Copies::new();

pub(crate) fn view(topology: Option<&Topology>) -> Viewpoint<'_> {
    Viewpoint {
        now: NOW,
        topology,
        lag_warning_s: 300.0,
        own_operation: None,
        local_node_id: Some(1),
        local_server: None,
        copies: &NO_COPIES,
        operations: &[],
        automatic: false,
    }
}

pub(crate) fn judged(facts: &ClusterFacts) -> (ClusterReport, Vec<&'static str>) {
    let (report, issues) = assess(facts, &view(None));
    (report, issues.iter().map(|issue| issue.code).collect())
}
