//! The records of the nodes: whether they are consistent with each other, whatever the servers are.

use super::ClusterAssessment;
use crate::error::Severity;
use crate::registry::{NodeRow, NodeType};

impl ClusterAssessment<'_> {
    /// Whether the rows are consistent with each other, whatever the servers are.
    pub(crate) fn registrations(&mut self) {
        let active: Vec<&NodeRow> = self
            .facts
            .nodes
            .iter()
            .map(|node| &node.row)
            .filter(|row| row.active && row.node_type == NodeType::Primary)
            .collect();
        if active.len() > 1 {
            let names: Vec<String> = active.iter().map(|row| format!("\"{}\"", row.node_name)).collect();
            let message = format!("{} nodes are registered as active primary", active.len());
            let issue = self.issue(Severity::Error, "several_registered_primaries", None, message);
            issue.detail = Some(format!("They are {}.", names.join(", ")));
            issue.hint = Some("Run \"pgbaton primary register --force\" on the actual primary.".into());
        }
        let rows: Vec<NodeRow> = self.facts.nodes.iter().map(|node| node.row.clone()).collect();
        for (i, row) in rows.iter().enumerate() {
            if let Some(twin) = rows.iter().take(i).find(|other| other.node_name == row.node_name) {
                let message = format!(
                    "nodes {} and {} have the same name \"{}\"",
                    twin.node_id, row.node_id, row.node_name
                );
                self.issue(Severity::Error, "duplicate_name", Some(row), message).hint =
                    Some("Give one of them another node_name and register it again.".into());
            }
            self.upstream_of(row);
            if let NodeType::Other(other) = &row.node_type {
                let message = format!(
                    "node \"{}\" is registered with the unrecognized type \"{other}\"",
                    row.node_name
                );
                let issue = self.issue(Severity::Warning, "unrecognized_type", Some(row), message);
                issue.detail = Some("Valid types are primary, standby and witness.".into());
                issue.hint = Some(format!(
                    "Run on \"{}\" the command for its actual type: \"pgbaton standby register --force\" or \"pgbaton primary register --force\".",
                    row.node_name
                ));
            }
        }
    }

    /// Whether a standby's upstream exists, and does not lead back to the standby.
    fn upstream_of(&mut self, row: &NodeRow) {
        if row.node_type != NodeType::Standby || !row.active {
            return;
        }
        let name = &row.node_name;
        let (mut at, mut names) = (row, vec![format!("\"{name}\"")]);
        let message = loop {
            let next = at.upstream_node_id.map(|id| (id, self.facts.node(id).map(|node| &node.row)));
            match next {
                // A problem further up is reported for the node that has it.
                Some((_, Some(up))) if up.node_type != NodeType::Standby => return,
                Some((_, Some(up))) if up.node_id == row.node_id && names.len() == 1 => {
                    break format!("node \"{name}\" is registered to follow itself");
                }
                Some((_, Some(up))) if up.node_id == row.node_id => {
                    break format!("the registered upstreams of {} form a circle", names.join(", "));
                }
                Some((_, Some(up))) if names.len() <= self.facts.nodes.len() => {
                    names.push(format!("\"{}\"", up.node_name));
                    at = up;
                }
                Some((id, None)) if at.node_id == row.node_id => {
                    break format!(
                        "node \"{name}\" is registered to follow node {id}, which is not registered"
                    );
                }
                None if at.node_id == row.node_id => {
                    break format!("node \"{name}\" is registered as a standby without an upstream");
                }
                _ => return,
            }
        };
        let issue = self.issue(Severity::Warning, "upstream_missing", Some(row), message);
        issue.hint = Some(format!("Run \"pgbaton standby register --force\" on \"{name}\"."));
        // Where it is known what it follows, that is advised already.
        if self
            .issues
            .iter()
            .all(|issue| (issue.code, issue.node_id) != ("upstream_differs", Some(row.node_id)))
        {
            self.type_on("pgbaton standby register --force", row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{healthy, judged};
    use super::*;
    use crate::facts::cluster::{NodeFacts, Unavailable};

    #[test]
    fn rows_that_cannot_be() {
        let codes = |change: &dyn Fn(&mut Vec<NodeFacts>)| {
            let mut facts = healthy();
            change(&mut facts.nodes);
            judged(&facts).1
        };
        assert!(codes(&|nodes| nodes[1].row.upstream_node_id = Some(9)).contains(&"upstream_missing"));
        assert!(codes(&|nodes| nodes[1].row.upstream_node_id = None).contains(&"upstream_missing"));
        assert!(codes(&|nodes| nodes[1].row.upstream_node_id = Some(2)).contains(&"upstream_missing"));
        let circle = codes(&|nodes| {
            nodes[1].row.upstream_node_id = Some(3);
            nodes[2].row.upstream_node_id = Some(2);
        });
        assert_eq!(circle.iter().filter(|code| **code == "upstream_missing").count(), 2);
        assert_eq!(codes(&|nodes| nodes[2].row.node_name = "n2".into()), ["duplicate_name"]);
        assert_eq!(
            codes(&|nodes| nodes[2].row.node_type = NodeType::Other("x".into())),
            ["unrecognized_type"]
        );
        assert!(codes(&|nodes| nodes[2].row.node_type = NodeType::Witness).contains(&"witness_in_cluster"));
        let two = codes(&|nodes| nodes[2].row.node_type = NodeType::Primary);
        assert_eq!(two, ["several_registered_primaries", "running_as_standby"]);
        assert_eq!(codes(&|nodes| nodes[2].row.active = false), ["inactive_but_running"]);
        let invalid = codes(&|nodes| {
            nodes[2].row.conninfo = "host='".into();
            nodes[2].server = Err(Unavailable::invalid("x"));
        });
        assert_eq!(invalid, ["invalid_conninfo"]);
    }
}
