//! Which node reaches which, each seen from its own host.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::error::{Exit, Issue, Severity, Text, sentence};
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::registry::NodeRow;
use crate::secret::Secret;
use crate::system::environment::Environment;

/// What became of an attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionAttempt {
    /// The node that was tried.
    pub node_id: i32,
    /// Why it did not work, in one line.
    pub error: Option<String>,
}

/// Tries to connect to all of these from here, at once; each within so much time.
pub async fn try_all(
    targets: impl Iterator<Item = (i32, &Secret)>,
    environment: &Environment,
    within: Duration,
) -> Vec<ConnectionAttempt> {
    let options = ConnectOptions { deadline: within, ..ConnectOptions::default() };
    let options = &options;
    let each = targets.map(|(node_id, conninfo)| async move {
        let error = match Conninfo::parse(conninfo.reveal()) {
            Ok(conninfo) => {
                connect(&conninfo, environment, options).await.err().map(|error| error.text.message)
            }
            Err(error) => Some(error.to_string()),
        };
        ConnectionAttempt { node_id, error }
    });
    join_all(each).await
}

/// How it was learned what a node reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixRow {
    /// What it has tried.
    pub tried: Vec<ConnectionAttempt>,
    /// The node that has queried it, if it could not be queried from here.
    pub relayed_by: Option<i32>,
}

/// What was found out, by node id.
#[derive(Clone, Debug, Default)]
pub struct MatrixFacts {
    /// The rows that are known.
    pub rows: BTreeMap<i32, MatrixRow>,
    /// The hosts that could not be queried from here, and why.
    pub unasked: BTreeMap<i32, Text>,
}

/// Which node reaches which, in the shape of `cluster matrix --format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The nodes, ordered by node id.
    pub nodes: Vec<MatrixNode>,
    /// From every node to every node, ordered by both.
    pub connections: Vec<Link>,
}

/// A node of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatrixNode {
    /// Its number.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// Its host has reported its connections.
    pub asked: bool,
    /// The node that has queried it, if it could not be queried from here.
    pub relayed_by: Option<i32>,
    /// Why it could not be queried from here.
    pub error: Option<String>,
}

/// One node's way to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The node that connects.
    pub from: i32,
    /// The node that is connected to.
    pub to: i32,
    /// Whether it can.
    pub status: LinkStatus,
    /// Why it cannot.
    pub error: Option<String>,
}

/// Whether one node reaches another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkStatus {
    /// It connects.
    Ok,
    /// It does not.
    Failed,
    /// No host could be queried.
    Unknown,
}

/// Puts together what was found out, with what is wrong and the exit code.
pub fn matrix(nodes: &[NodeRow], facts: &MatrixFacts) -> (Matrix, Vec<Issue>, Exit) {
    let connections: Vec<Link> = nodes
        .iter()
        .flat_map(|from| nodes.iter().map(move |to| (from.node_id, to.node_id)))
        .map(|(from, to)| {
            let row = facts.rows.get(&from);
            let tried = row.and_then(|row| row.tried.iter().find(|tried| tried.node_id == to));
            let (status, error) = match tried.map(|tried| &tried.error) {
                Some(None) => (LinkStatus::Ok, None),
                Some(Some(why)) => (LinkStatus::Failed, Some(why.clone())),
                None => (LinkStatus::Unknown, None),
            };
            Link { from, to, status, error }
        })
        .collect();
    let shown = nodes.iter().map(|node| MatrixNode {
        node_id: node.node_id,
        node_name: node.node_name.clone(),
        asked: facts.rows.contains_key(&node.node_id),
        relayed_by: facts.rows.get(&node.node_id).and_then(|row| row.relayed_by),
        error: facts.unasked.get(&node.node_id).map(|why| why.message.clone()),
    });
    let matrix = Matrix { nodes: shown.collect(), connections };
    let mut issues = failures(&matrix);
    issues.extend(nodes.iter().filter_map(|node| {
        let why = facts.unasked.get(&node.node_id)?;
        let relay = facts.rows.get(&node.node_id).and_then(|row| row.relayed_by);
        let relay = nodes.iter().find(|node| Some(node.node_id) == relay);
        let asked = relay.map(|relay| format!("Node \"{}\" has queried it instead.", relay.node_name));
        let issue = Issue::warning("host_not_asked", why.clone()).node(node.node_id);
        Some(issue.detail(asked.unwrap_or_default()))
    }));
    let failed = matrix.connections.iter().any(|link| link.status == LinkStatus::Failed);
    let exit = match (failed, facts.unasked.is_empty()) {
        (true, _) => Exit::Issues,
        (false, false) => Exit::Remote,
        (false, true) => Exit::Done,
    };
    (matrix, issues, exit)
}

/// Reports failed connections: for a node that no node can connect to once.
fn failures(matrix: &Matrix) -> Vec<Issue> {
    let name = |id: i32| {
        let node = matrix.nodes.iter().find(|node| node.node_id == id);
        node.map_or_else(|| id.to_string(), |node| format!("\"{}\"", node.node_name))
    };
    let issue = |node_id: i32, message: String, error: Option<&String>| {
        let issue = Issue::new(Severity::Error, "connection_failed", message).node(node_id);
        issue.detail(error.map(|why| sentence(why)).unwrap_or_default())
    };
    let mut issues = Vec::new();
    for to in &matrix.nodes {
        let known = |link: &&Link| link.to == to.node_id && link.status != LinkStatus::Unknown;
        let links: Vec<&Link> = matrix.connections.iter().filter(known).collect();
        let failed: Vec<&&Link> = links.iter().filter(|link| link.status == LinkStatus::Failed).collect();
        if failed.len() == links.len() && links.len() > 1 {
            let error = failed.first().and_then(|link| link.error.as_ref());
            issues.push(issue(
                to.node_id,
                format!("no node can connect to node {}", name(to.node_id)),
                error,
            ));
            continue;
        }
        for link in failed {
            let message = format!("node {} cannot connect to node {}", name(link.from), name(link.to));
            issues.push(issue(link.from, message, link.error.as_ref()));
        }
    }
    issues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::NodeType;

    fn nodes() -> Vec<NodeRow> {
        [1, 2, 5].map(|id| NodeRow::example(id, NodeType::Standby)).to_vec()
    }

    fn row(failed: &[i32]) -> MatrixRow {
        let tried = [1, 2, 5].map(|node_id| ConnectionAttempt {
            node_id,
            error: failed.contains(&node_id).then(|| "connection refused".to_string()),
        });
        MatrixRow { tried: tried.to_vec(), relayed_by: None }
    }

    fn unasked() -> Text {
        Text { message: "no ssh".into(), detail: Some("It said: no.".into()), hint: None }
    }

    fn judged(facts: &MatrixFacts) -> (String, Vec<String>, Exit) {
        let (matrix, issues, exit) = matrix(&nodes(), facts);
        let cell = |link: &Link| match link.status {
            LinkStatus::Ok => '*',
            LinkStatus::Failed => 'x',
            LinkStatus::Unknown => '?',
        };
        let cells: String = matrix.connections.iter().map(cell).collect();
        (cells, issues.into_iter().map(|issue| issue.text.message).collect(), exit)
    }

    #[test]
    fn all_is_well() {
        let rows = [1, 2, 5].map(|id| (id, row(&[]))).into();
        let facts = MatrixFacts { rows, ..MatrixFacts::default() };
        assert_eq!(judged(&facts), ("*********".into(), vec![], Exit::Done));
    }

    #[test]
    fn one_way_is_closed_or_a_node_is_down() {
        let rows = [(1, row(&[5])), (2, row(&[])), (5, row(&[]))].into();
        let mut facts = MatrixFacts { rows, ..MatrixFacts::default() };
        let issue = "node \"node1\" cannot connect to node \"node5\"";
        assert_eq!(judged(&facts), ("**x******".into(), vec![issue.into()], Exit::Issues));
        // Once, however many say so.
        facts.rows = [1, 2, 5].map(|id| (id, row(&[5]))).into();
        let issue = "no node can connect to node \"node5\"";
        assert_eq!(judged(&facts), ("**x**x**x".into(), vec![issue.into()], Exit::Issues));
    }

    #[test]
    fn who_cannot_be_asked_is_unknown_and_not_wrong() {
        let rows = [(1, row(&[])), (2, row(&[]))].into();
        let mut facts = MatrixFacts { rows, unasked: [(5, unasked())].into() };
        assert_eq!(judged(&facts), ("******???".into(), vec!["no ssh".into()], Exit::Remote));
        facts.rows.insert(2, row(&[1]));
        assert_eq!(judged(&facts).2, Exit::Issues);
        // Another node has queried it.
        facts.rows.insert(2, row(&[]));
        facts.rows.insert(5, MatrixRow { relayed_by: Some(2), ..row(&[]) });
        let (matrix, issues, exit) = matrix(&nodes(), &facts);
        assert_eq!((exit, matrix.nodes[2].relayed_by), (Exit::Remote, Some(2)));
        assert_eq!(issues[0].detail.as_deref(), Some("It said: no. Node \"node2\" has queried it instead."));
        assert_eq!(judged(&facts).0, "*********");
    }
}
