//! From facts to a verdict: the state of the cluster, its problems, and what to type next. Pure.

mod attachment;
#[cfg(test)]
pub(crate) mod examples;
mod node;
mod operations;
mod primary;
mod rows;
mod standby;
mod view;
mod witness;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub(crate) use self::standby::waits_to_be_replayed;
pub use self::view::{ClusterReport, ClusterView, NodeView, Role, State};
use crate::assess::daemons::ClusterDaemons;
use crate::error::{Issue, Severity};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::ServerFacts;
use crate::facts::topology::Topology;
use crate::pg::history::TimelineId;
use crate::pg::quote::quote_ident;
use crate::registry::operation::OpenOperation;
use crate::registry::{NodeRow, NodeType};
use crate::units::utc;

/// Everything that a verdict depends on besides the facts.
#[derive(Clone, Debug)]
pub struct Viewpoint<'a> {
    /// The time of the observation.
    pub now: Timestamp,
    /// What was seen before, for nodes that do not answer now.
    pub topology: Option<&'a Topology>,
    /// Seconds of lag from which on it is an issue (`replication_lag_warning`).
    pub lag_warning_s: f64,
    /// The operation of this node whose journal is open, with the process that is at work on it.
    pub own_operation: Option<(String, Option<u32>)>,
    /// The node that this command runs on.
    pub local_node_id: Option<i32>,
    /// The server that conninfo of the configuration leads to, and where that is, if it was asked.
    pub local_server: Option<&'a (String, ServerFacts)>,
    /// The copies of the metadata that witnesses have, by the witness's node id.
    pub copies: &'a Copies,
    /// The operations that have not reported their end, by the metadata.
    pub operations: &'a [OpenOperation],
    /// The configuration says `failover = "automatic"`.
    pub automatic: bool,
}

/// The copies of the metadata that witnesses have, by the witness's node id.
pub type Copies = BTreeMap<i32, Vec<NodeRow>>;

/// Judges what was found out.
pub fn assess(facts: &ClusterFacts, view: &Viewpoint<'_>) -> (ClusterReport, Vec<Issue>) {
    let mut judge = ClusterAssessment { facts, view, issues: Vec::new(), next: Vec::new(), undecided: false };
    let primaries: Vec<(&NodeFacts, &ServerFacts)> = facts.primaries().collect();
    let any_responds = facts.nodes.iter().any(|node| node.server.is_ok());
    let registered = |row: &NodeRow| row.active && row.node_type == NodeType::Primary;
    let reference = primaries
        .iter()
        .max_by_key(|(node, server)| (server.timeline, registered(&node.row), server.current_lsn))
        .copied();
    judge.undecided = primaries.len() > 1 && primary::valid_primary(&primaries).is_none();
    let nodes: Vec<NodeView> = facts.nodes.iter().map(|node| judge.node(node, reference)).collect();
    judge.registrations();
    judge.rights();
    judge.issues.extend(ClusterDaemons::of(facts, view.automatic).issues());
    let waits_for = judge.open_operations();
    match primaries.as_slice() {
        [] => judge.no_primary(any_responds),
        [(node, server)] => {
            judge.outdated(node, server);
            judge.replaced_primaries();
        }
        _ => judge.split_brain(&primaries),
    }
    let state = match primaries.len() {
        0 if any_responds => State::NoPrimary,
        0 => State::Unknown,
        1 if judge.issues.iter().all(|issue| issue.severity == Severity::Notice) => State::Healthy,
        1 => State::Degraded,
        _ => State::SplitBrain,
    };
    // The most urgent advice first, and no advice twice.
    // Before single nodes comes the cluster as a whole.
    judge.issues.sort_by_key(|issue| (std::cmp::Reverse(issue.severity), issue.node_id.is_some()));
    let mut next: Vec<String> = Vec::new();
    let unfinished = view.own_operation.as_ref().filter(|(_, process)| process.is_none()).map(|(id, _)| id);
    if let Some(operation) = unfinished {
        next.push(format!("pgbaton operation show {operation}"));
    }
    // As long as they are open, what changes roles is refused, and may be under way.
    let advice = if waits_for.is_empty() { judge.next } else { waits_for };
    for command in advice {
        if !next.contains(&command) {
            next.push(command);
        }
    }
    let report = ClusterReport {
        cluster: ClusterView {
            state,
            primary_node_id: match primaries.as_slice() {
                [(only, _)] => Some(only.row.node_id),
                _ => None,
            },
            system_identifier: facts
                .system_identifier()
                .map(str::to_string)
                .or_else(|| view.topology.and_then(|seen| seen.system_identifier.clone())),
            timeline: newest_timeline(facts),
            observed_at: if any_responds {
                view.now
            } else {
                view.topology.map_or(view.now, |seen| seen.observed_at)
            },
            unfinished_operation: unfinished.cloned(),
            next,
        },
        nodes,
        monitoring: None,
    };
    (report, judge.issues)
}

/// Returns the newest timeline among the nodes of the cluster that answer.
fn newest_timeline(facts: &ClusterFacts) -> Option<TimelineId> {
    let nodes = facts.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness);
    let servers = nodes.filter_map(NodeFacts::facts);
    servers
        .filter(|server| Some(server.system_identifier.as_str()) == facts.system_identifier())
        .map(|server| server.timeline)
        .max()
}

/// The verdict as it comes together; each file has a part of the questions.
struct ClusterAssessment<'a> {
    facts: &'a ClusterFacts,
    view: &'a Viewpoint<'a>,
    issues: Vec<Issue>,
    next: Vec<String>,
    /// There are several primaries, and no record says which one is valid: none of them is a reference.
    undecided: bool,
}

/// Stands between a command and the node to type it on: a shell takes the rest of the line for a comment.
pub(crate) const ON: &str = "  # on ";

/// Writes a command with where to type it.
pub(crate) fn typed_on(command: &str, row: &NodeRow) -> String {
    let name: String = row.node_name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{command}{ON}\"{name}\"")
}

impl ClusterAssessment<'_> {
    fn issue(
        &mut self,
        severity: Severity,
        code: &'static str,
        node: Option<&NodeRow>,
        message: String,
    ) -> &mut Issue {
        self.issues.push(Issue::new(severity, code, message).node(node.map(|row| row.node_id)));
        let last = self.issues.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "pushed two lines above")]
        &mut self.issues[last]
    }

    /// Puts a command before all others.
    fn type_first_on(&mut self, command: &str, row: &NodeRow) {
        let line = typed_on(command, row);
        self.next.retain(|other| *other != line);
        self.next.insert(0, line);
    }

    /// Adds a command to what to type next, with where to type it.
    fn type_on(&mut self, command: &str, row: &NodeRow) {
        let line = typed_on(command, row);
        // One command may be the cure for several things.
        if !self.next.contains(&line) {
            self.next.push(line);
        }
    }

    /// What the role lacks the privilege to see, reported once.
    fn rights(&mut self) {
        let blind: Vec<(&NodeFacts, &ServerFacts)> = self
            .facts
            .nodes
            .iter()
            // No standby streams from a witness.
            .filter(|node| node.row.node_type != NodeType::Witness)
            .filter_map(|node| Some((node, node.facts()?)))
            .filter(|(_, server)| !server.sees_senders)
            .collect();
        if !blind.is_empty() {
            let message = "the role lacks the privilege to see the state of replication".to_string();
            let names: Vec<String> =
                blind.iter().map(|(node, _)| format!("\"{}\"", node.row.node_name)).collect();
            let roles = roles(blind.iter().map(|(_, server)| *server));
            let issue = self.issue(Severity::Notice, "limited_view", None, message);
            issue.detail = Some(format!("This applies to {}.", names.join(", ")));
            issue.hint = Some(format!("On the primary run: GRANT pg_monitor TO {roles};"));
        }
    }
}

/// Returns the roles that servers were asked as, for a GRANT.
fn roles<'a>(servers: impl Iterator<Item = &'a ServerFacts>) -> String {
    let roles: BTreeSet<String> = servers.map(|server| quote_ident(&server.role)).collect();
    roles.into_iter().collect::<Vec<_>>().join(", ")
}

/// Says how long ago something was: `12 seconds ago (2026-11-21 10:00:00 UTC)`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago ({})", utc(then))
}

#[cfg(test)]
mod tests {
    use super::examples::{healthy, judged, server, view};
    use super::*;

    #[test]
    fn all_is_well() {
        let (report, codes) = judged(&healthy());
        assert_eq!((report.cluster.state, codes), (State::Healthy, vec![]));
        assert_eq!(report.cluster.primary_node_id, Some(1));
        assert_eq!(report.cluster.next, Vec::<String>::new());
        assert_eq!(report.nodes[1].attached, Some(true));
        assert_eq!((report.nodes[1].replay_lag_bytes, report.nodes[1].replay_lag_s), (Some(0), Some(0.0)));
    }

    #[test]
    fn an_unfinished_operation_is_the_first_thing_to_look_at() {
        let view = Viewpoint { own_operation: Some(("x1".into(), None)), ..view(None) };
        let (report, _) = assess(&healthy(), &view);
        assert_eq!(report.cluster.next, ["pgbaton operation show x1"]);
    }

    #[test]
    fn rights_are_granted_to_the_roles_that_lack_them() {
        let mut facts = healthy();
        for (at, role) in [(1, "watcher"), (2, "d'Arc \"2\"")] {
            server(&mut facts, at).role = role.into();
            server(&mut facts, at).sees_senders = false;
        }
        let (_, issues) = assess(&facts, &view(None));
        assert_eq!(issues[0].code, "limited_view");
        let hint = "On the primary run: GRANT pg_monitor TO \"d'Arc \"\"2\"\"\", \"watcher\";";
        assert_eq!(issues[0].hint.as_deref(), Some(hint));
    }
}
