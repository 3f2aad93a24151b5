//! Operations of other nodes that have not reported their end, by the rows of the metadata.

use super::{ClusterAssessment, newest_timeline, typed_on};
use crate::error::Severity;
use crate::registry::NodeRow;
use crate::registry::operation::OpenOperation;
use crate::units::utc;

impl ClusterAssessment<'_> {
    /// Reports the operations that are open on the current timeline, and returns what to type about them.
    ///
    /// Interrupted operations of the local node are in its own journals. A row of an earlier timeline, or without one, blocks nothing.
    pub(crate) fn open_operations(&mut self) -> Vec<String> {
        let newest = newest_timeline(self.facts);
        let identifier = self.facts.system_identifier();
        let counts = |row: &&OpenOperation| {
            row.timeline.is_some()
                && row.timeline == newest
                && (row.node_id != self.view.local_node_id || self.runs_here(row).is_some())
                // A node that is not registered cannot be queried, and its operation blocks nothing.
                && row.node_id.is_some_and(|id| self.facts.node(id).is_some())
                && (row.system_identifier.is_none() || row.system_identifier.as_deref() == identifier)
        };
        let open: Vec<&OpenOperation> = self.view.operations.iter().filter(counts).collect();
        let mut next = Vec::new();
        for row in open {
            let node = row.node_id.and_then(|id| self.facts.node(id)).map(|node| &node.row);
            let name = node.map_or("?", |node| &node.node_name);
            let changes = row.nodes.as_ref().map(|nodes| {
                let names: Vec<String> = nodes
                    .iter()
                    .map(|id| match self.facts.node(*id) {
                        Some(node) => format!("\"{}\"", node.row.node_name),
                        None => format!("ID {id}"),
                    })
                    .collect();
                format!(" It changes {}.", names.join(", "))
            });
            // Any role with the privilege on the table may have written the row: the id is quoted as one shell word.
            let id = shell_words::quote(&row.operation_id);
            let began = format!(
                "It began at {} (operation {id}).{}",
                utc(row.started_at),
                changes.unwrap_or_default()
            );
            let (message, detail) = match self.runs_here(row) {
                Some(process) => {
                    (format!("\"{}\" of node \"{name}\" is running (process {process})", row.command), began)
                }
                None => (
                    format!("\"{}\" begun on node \"{name}\" has not reported its end", row.command),
                    format!("{began} It may still be running, or it was interrupted."),
                ),
            };
            let hint = format!(
                "On \"{name}\" run \"pgbaton operation show {id}\": if it is not running, resume or abandon it there. If the host of \
                \"{name}\" is gone for good, \"pgbaton operation abandon {id} --force\" closes its record."
            );
            let command = format!("pgbaton operation show {id}");
            next.extend(node.map(|node: &NodeRow| typed_on(&command, node)));
            let issue = self.issue(Severity::Warning, "operation_open", None, message);
            (issue.detail, issue.hint) = (Some(detail), Some(hint));
        }
        next
    }

    /// The process on this node that runs an operation.
    fn runs_here(&self, row: &OpenOperation) -> Option<u32> {
        let (id, process) = self.view.own_operation.as_ref()?;
        process.filter(|_| *id == row.operation_id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{healthy, view};
    use super::super::{State, Viewpoint, assess};
    use super::*;
    use crate::pg::history::TimelineId;

    fn row(node_id: i32, timeline: Option<u32>) -> OpenOperation {
        OpenOperation {
            operation_id: "x1".into(),
            command: "standby switchover".into(),
            node_id: Some(node_id),
            started_at: "2026-11-29T10:00:00Z".parse().unwrap(),
            nodes: Some(vec![1, 2, 9]),
            timeline: timeline.map(TimelineId),
            system_identifier: None,
        }
    }

    #[test]
    fn an_open_operation_of_another_node_is_reported_and_is_what_to_look_at() {
        let rows = [row(2, Some(1))];
        let mut facts = healthy();
        facts.nodes[0].server =
            Err(super::super::examples::unavailable(crate::pg::failure::Answered::Silent));
        for local in [None, Some(3)] {
            let (report, issues) =
                assess(&facts, &Viewpoint { operations: &rows, local_node_id: local, ..view(None) });
            let issue = issues.iter().find(|issue| issue.code == "operation_open").unwrap();
            assert!(issue.message.contains("\"standby switchover\" begun on node \"n2\""), "{issue:?}");
            assert!(issue.detail.as_ref().unwrap().contains("\"n1\", \"n2\", ID 9"), "{issue:?}");
            // Nothing that it may be doing at this moment is advised.
            assert_eq!(report.cluster.next, ["pgbaton operation show x1  # on \"n2\""]);
        }
        let (report, _) = assess(&healthy(), &Viewpoint { operations: &rows, ..view(None) });
        assert_eq!(report.cluster.state, State::Degraded);
    }

    #[test]
    fn an_id_is_typed_as_one_word() {
        let rows = [OpenOperation { operation_id: "x; reboot".into(), ..row(2, Some(1)) }];
        let (report, issues) = assess(&healthy(), &Viewpoint { operations: &rows, ..view(None) });
        assert_eq!(report.cluster.next, ["pgbaton operation show 'x; reboot'  # on \"n2\""]);
        assert!(issues[0].hint.as_ref().unwrap().contains("abandon 'x; reboot' --force"));
    }

    #[test]
    fn what_runs_here_is_called_running() {
        let rows = [row(3, Some(1))];
        let own_operation = Some(("x1".into(), Some(4711)));
        let view = Viewpoint { operations: &rows, local_node_id: Some(3), own_operation, ..view(None) };
        let (report, issues) = assess(&healthy(), &view);
        assert_eq!(report.cluster.unfinished_operation, None);
        assert_eq!(issues[0].message, "\"standby switchover\" of node \"n3\" is running (process 4711)");
        assert!(!issues[0].detail.as_ref().unwrap().contains("interrupted"));
    }

    #[test]
    fn what_is_out_of_date_or_this_nodes_own_is_not_reported() {
        let foreign = OpenOperation { system_identifier: Some("another".into()), ..row(2, Some(1)) };
        for row in [row(2, None), row(2, Some(7)), row(3, Some(1)), row(8, Some(1)), foreign] {
            let rows = [row];
            let (report, issues) =
                assess(&healthy(), &Viewpoint { operations: &rows, local_node_id: Some(3), ..view(None) });
            assert_eq!((report.cluster.state, issues), (State::Healthy, vec![]), "{rows:?}");
        }
    }
}
