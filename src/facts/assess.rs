//! From facts to a verdict: what the cluster is, what is wrong with it, and what to type next. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Issue, Severity, sentence};
use crate::facts::alive::streams_from;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::divergence::{Relation, relation};
use crate::facts::server::ServerFacts;
use crate::facts::topology::Topology;
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::{NodeRow, NodeType};

/// The cluster in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// One primary, everything attached to where it should be.
    Healthy,
    /// One primary, but something is wrong.
    Degraded,
    /// Nodes answer, and none of them takes writes.
    NoPrimary,
    /// More than one node takes writes.
    SplitBrain,
    /// Nobody answers.
    Unknown,
}

/// What a node was seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes writes.
    Primary,
    /// In recovery.
    Standby,
    /// Registered as a witness, and a primary of its own.
    Witness,
    /// It does not answer.
    Unknown,
}

/// The cluster and its nodes, in the shape of `cluster show --format json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterReport {
    /// The cluster as a whole.
    pub cluster: ClusterView,
    /// Its nodes, ordered by node id.
    pub nodes: Vec<NodeView>,
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterView {
    /// In one word.
    pub state: State,
    /// The node that takes writes, if it is exactly one.
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
    /// It answered, and let us ask.
    pub reachable: bool,
    /// It answered something, if only that it does not let us in.
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
    /// It streams from that node; None where nobody can tell, and for a primary.
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
    /// When it answered last.
    pub last_seen: Option<Timestamp>,
    /// How to reach it, passwords hidden.
    pub conninfo: String,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// Everything that a verdict depends on besides the facts.
#[derive(Clone, Debug)]
pub struct Viewpoint<'a> {
    /// The time of the observation.
    pub now: Timestamp,
    /// What was seen before, for nodes that do not answer now.
    pub topology: Option<&'a Topology>,
    /// Seconds of lag from which on it is an issue (`replication_lag_warning`).
    pub lag_warning_s: f64,
    /// The operation left unfinished on this node.
    pub unfinished_operation: Option<String>,
    /// The node that this command runs on.
    pub local_node_id: Option<i32>,
}

/// Judges what was found out.
pub fn assess(facts: &ClusterFacts, view: &Viewpoint<'_>) -> (ClusterReport, Vec<Issue>) {
    let mut judge = Judge { facts, view, issues: Vec::new(), next: Vec::new() };
    let primaries: Vec<(&NodeFacts, &ServerFacts)> = facts.primaries().collect();
    let anybody = facts.nodes.iter().any(|node| node.server.is_ok());
    let registered = |row: &NodeRow| row.active && row.node_type == NodeType::Primary;
    let reference = primaries
        .iter()
        .max_by_key(|(node, server)| (server.timeline, registered(&node.row), server.current_lsn))
        .copied();
    let nodes: Vec<NodeView> = facts.nodes.iter().map(|node| judge.node(node, reference)).collect();
    judge.registrations();
    judge.rights();
    match primaries.as_slice() {
        [] => judge.no_primary(anybody),
        [(node, server)] => judge.outdated(node, server),
        _ => judge.split_brain(&primaries),
    }
    let state = match primaries.len() {
        0 if anybody => State::NoPrimary,
        0 => State::Unknown,
        1 if judge.issues.iter().all(|issue| issue.severity == Severity::Notice) => State::Healthy,
        1 => State::Degraded,
        _ => State::SplitBrain,
    };
    // The most urgent advice first; the same words twice help nobody.
    // Before single nodes comes the cluster as a whole.
    judge.issues.sort_by_key(|issue| (std::cmp::Reverse(issue.severity), issue.node_id.is_some()));
    let mut next: Vec<String> = Vec::new();
    if let Some(operation) = &view.unfinished_operation {
        next.push(format!("pgbaton operation show {operation}"));
    }
    for command in judge.next {
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
            timeline: facts
                .nodes
                .iter()
                .filter(|node| node.row.node_type != NodeType::Witness)
                .filter_map(NodeFacts::facts)
                .filter(|server| Some(server.system_identifier.as_str()) == facts.system_identifier())
                .map(|server| server.timeline)
                .max(),
            observed_at: if anybody {
                view.now
            } else {
                view.topology.map_or(view.now, |seen| seen.observed_at)
            },
            unfinished_operation: view.unfinished_operation.clone(),
            next,
        },
        nodes,
    };
    (report, judge.issues)
}

struct Judge<'a> {
    facts: &'a ClusterFacts,
    view: &'a Viewpoint<'a>,
    issues: Vec<Issue>,
    next: Vec<String>,
}

impl Judge<'_> {
    fn issue(
        &mut self,
        severity: Severity,
        code: &'static str,
        node: Option<&NodeRow>,
        message: String,
    ) -> &mut Issue {
        self.issues.push(Issue {
            severity,
            code,
            node_id: node.map(|row| row.node_id),
            message,
            detail: None,
            hint: None,
        });
        let last = self.issues.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "pushed two lines above")]
        &mut self.issues[last]
    }

    /// Judges one node.
    fn node(&mut self, node: &NodeFacts, reference: Option<(&NodeFacts, &ServerFacts)>) -> NodeView {
        let row = &node.row;
        let upstream = row.upstream_node_id.and_then(|id| self.facts.node(id));
        let mut out = NodeView {
            node_id: row.node_id,
            node_name: row.node_name.clone(),
            node_type: row.node_type.clone(),
            active: row.active,
            reachable: node.server.is_ok(),
            answered: node
                .server
                .as_ref()
                .map_or_else(|silence| silence.answered == Answered::Spoke, |_| true),
            observed_role: Role::Unknown,
            status: String::new(),
            upstream_node_id: row.upstream_node_id,
            upstream_node_name: upstream.map(|node| node.row.node_name.clone()),
            attached: None,
            location: row.location.clone(),
            priority: row.priority,
            timeline: None,
            receive_lsn: None,
            replay_lsn: None,
            receive_lag_bytes: None,
            replay_lag_bytes: None,
            replay_lag_s: None,
            replay_paused: None,
            daemon_paused: None,
            sync_state: None,
            slot_name: row.slot_name.clone(),
            slot_active: None,
            slot_wal_status: None,
            slot_retained_bytes: None,
            server_version: None,
            last_seen: self.view.topology.and_then(|seen| seen.node(row.node_id)?.last_seen),
            conninfo: Conninfo::parse(&row.conninfo)
                .map_or_else(|_| "(invalid)".to_string(), |parsed| parsed.redacted()),
            error: None,
        };
        match &node.server {
            Err(silence) => {
                out.error = Some(silence.message.clone());
                self.silent(node, &mut out);
            }
            Ok(server) => {
                out.last_seen = Some(self.view.now);
                self.answering(node, server, &mut out);
                if row.node_type != NodeType::Witness && self.elsewhere(node, server) {
                    // What that server is, is not what this node is.
                    out.observed_role = Role::Unknown;
                    out.status = "unknown".into();
                    out.timeline = None;
                    (out.receive_lsn, out.replay_lsn, out.replay_paused) = (None, None, None);
                } else if row.node_type != NodeType::Witness {
                    self.positions(server, reference.map(|(_, server)| server), &mut out);
                    if server.in_recovery {
                        self.standby(node, server, upstream, reference, &mut out);
                    }
                    self.past(node, server, reference, &mut out);
                }
            }
        }
        out
    }

    fn silent(&mut self, node: &NodeFacts, out: &mut NodeView) {
        let (row, Err(silence)) = (&node.row, &node.server) else { return };
        let spoke = silence.answered == Answered::Spoke;
        out.status = match (row.active, spoke, &row.node_type) {
            (_, true, NodeType::Witness) => "rejected",
            (_, true, _) => "running",
            (true, false, _) => "unreachable",
            (false, false, _) => "failed",
        }
        .to_string();
        let seen = self.last_seen(row);
        let detail = format!("{} {seen}", sentence(&full(&silence.message, silence.detail.as_deref())));
        let mut hint = silence.hint.clone();
        // A node that was taken out is expected to be silent.
        let severity = if row.active { Severity::Error } else { Severity::Notice };
        let name = &row.node_name;
        let (code, message) = if Conninfo::parse(&row.conninfo).is_err() {
            hint = Some(format!("Register \"{name}\" again with --force, which writes its record anew."));
            ("invalid_conninfo", format!("the record of node \"{name}\" has no valid connection string"))
        } else if spoke {
            ("node_rejects", format!("node \"{}\" answers but does not let pgbaton in", row.node_name))
        } else {
            ("node_unreachable", format!("node \"{}\" cannot be reached", row.node_name))
        };
        let issue = self.issue(severity, code, Some(row), message);
        issue.detail = Some(detail);
        issue.hint = hint;
        if row.active && row.node_type == NodeType::Standby && silence.answered == Answered::Nothing {
            self.type_on("pgbaton node start", row);
        }
    }

    /// Puts a command before all others.
    fn type_first_on(&mut self, command: &str, row: &NodeRow) {
        self.type_on(command, row);
        self.next.rotate_right(1);
    }

    /// Adds a command to what to type next, with where to type it: a shell takes the rest of the line for a comment.
    fn type_on(&mut self, command: &str, row: &NodeRow) {
        let name: String = row.node_name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.next.push(format!("{command}  # on \"{name}\""));
    }

    /// Says what was last seen of a node.
    fn last_seen(&self, row: &NodeRow) -> String {
        let seen = self.view.topology.and_then(|seen| seen.node(row.node_id));
        let Some((seen, at)) = seen.and_then(|seen| Some((seen, seen.last_seen?))) else {
            return "It was not seen before.".to_string();
        };
        let role = match seen.was_primary {
            Some(true) if row.node_type != NodeType::Witness => "as primary, ",
            Some(false) => "as standby, ",
            _ => "",
        };
        let place = match (seen.timeline, seen.wal_end) {
            (Some(timeline), Some(end)) => format!(", at {end} on timeline {timeline}"),
            _ => String::new(),
        };
        format!("It answered last {role}{}{place}.", ago(self.view.now, at))
    }

    /// Whether a row leads to a server that is not this node's: another cluster's, or another node's.
    fn elsewhere(&mut self, node: &NodeFacts, server: &ServerFacts) -> bool {
        let (row, name) = (&node.row, &node.row.node_name);
        let own = self.facts.system_identifier().unwrap_or_default().to_string();
        if server.system_identifier != own {
            let message = format!("node \"{name}\" belongs to another cluster");
            let issue = self.issue(Severity::Error, "foreign_cluster", Some(row), message);
            issue.detail = Some(format!(
                "Its system identifier is {}, that of the other nodes is {own}.",
                server.system_identifier
            ));
            issue.hint =
                Some(format!("Compare its connection string with where the server of \"{name}\" is."));
            return true;
        }
        let Some(twin) = self.facts.twin_of(node).map(|twin| twin.row.node_name.clone()) else {
            return false;
        };
        let message = format!("nodes \"{twin}\" and \"{name}\" are registered with the same server");
        let issue = self.issue(Severity::Error, "same_server", Some(row), message);
        issue.detail =
            Some(format!("Both connection strings lead to it. Nothing is known of \"{name}\" itself."));
        issue.hint = Some(format!("Register \"{name}\" again, on its own host and with its own conninfo."));
        true
    }

    /// Whether the only primary there is has been replaced: somebody has seen a newer one.
    fn outdated(&mut self, node: &NodeFacts, server: &ServerFacts) {
        let own = self.facts.system_identifier();
        let witnesses = self.facts.nodes.iter().filter_map(|other| Some((&other.row, other.facts()?)));
        let newer = witnesses
            .filter(|(row, other)| {
                row.node_type != NodeType::Witness && Some(other.system_identifier.as_str()) == own
            })
            .map(|(row, other)| {
                (other.timeline, format!("Node \"{}\" is on timeline {}", row.node_name, other.timeline))
            });
        let seen = self.view.topology.into_iter().flat_map(|seen| &seen.nodes).filter_map(|seen| {
            let (timeline, at) = (seen.timeline?, seen.last_seen?);
            let role = if seen.was_primary? { "was the primary" } else { "was" };
            let name = &seen.row.node_name;
            let when = ago(self.view.now, at);
            Some((timeline, format!("Node \"{name}\" {role} on timeline {timeline} {when}")))
        });
        let Some((_, evidence)) = newer
            .chain(seen)
            .filter(|(timeline, _)| *timeline > server.timeline)
            .max_by_key(|(timeline, _)| *timeline)
        else {
            return;
        };
        let name = &node.row.node_name;
        let message = format!("node \"{name}\" takes writes on an old timeline");
        let issue = self.issue(Severity::Error, "primary_outdated", Some(&node.row), message);
        issue.detail = Some(format!("{evidence}, \"{name}\" is on timeline {}.", server.timeline));
        issue.hint = Some(format!(
            "There is, or was, a newer primary: find it before anything else is written to \"{name}\"."
        ));
        self.type_first_on("pgbaton node stop", &node.row);
    }

    /// What the role may not see, said once.
    fn rights(&mut self) {
        let nodes = self.facts.nodes.iter();
        let blind: Vec<String> = nodes
            .filter(|node| node.facts().is_some_and(|server| !server.sees_senders))
            .map(|node| format!("\"{}\"", node.row.node_name))
            .collect();
        if !blind.is_empty() {
            let message = "the role may not see the state of replication".to_string();
            let issue = self.issue(Severity::Notice, "limited_view", None, message);
            issue.detail = Some(format!("That is so on {}.", blind.join(", ")));
            issue.hint = Some("On the primary run: GRANT pg_monitor TO ROLE;".into());
        }
    }

    /// What a node is, against what it is registered as.
    fn answering(&mut self, node: &NodeFacts, server: &ServerFacts, out: &mut NodeView) {
        let row = &node.row;
        out.timeline = Some(server.timeline);
        out.server_version = Some(server.version.clone());
        out.receive_lsn = server.receive_lsn;
        out.replay_lsn = server.replay_lsn.filter(|_| server.in_recovery);
        out.receive_lsn = out.receive_lsn.filter(|_| server.in_recovery);
        out.replay_paused = server.replay_paused;
        out.observed_role = match (&row.node_type, server.in_recovery) {
            (NodeType::Witness, _) => Role::Witness,
            (_, true) => Role::Standby,
            (_, false) => Role::Primary,
        };
        if row.node_type == NodeType::Witness {
            out.timeline = None;
        }
        out.status = match (&row.node_type, out.observed_role) {
            (NodeType::Primary, Role::Standby) => "running as standby",
            (NodeType::Standby, Role::Primary) => "running as primary",
            (NodeType::Other(_), _) => "unknown node type",
            _ => "running",
        }
        .to_string();
        let alone = self.facts.primaries().count() == 1;
        if row.node_type == NodeType::Witness
            && Some(server.system_identifier.as_str()) == self.facts.system_identifier()
        {
            let message =
                format!("node \"{}\" is registered as witness but belongs to the cluster", row.node_name);
            let issue = self.issue(Severity::Error, "witness_in_cluster", Some(row), message);
            issue.detail = Some("A witness is a server of its own, with no data of the cluster.".into());
            issue.hint = Some(format!("Register \"{}\" again as what it is, with --force.", row.node_name));
        }
        if !row.active {
            let issue = self.issue(
                Severity::Warning,
                "inactive_but_running",
                Some(row),
                format!("node \"{}\" is registered as inactive but running", row.node_name),
            );
            let name = &row.node_name;
            let (hint, command) = match (&row.node_type, server.in_recovery, alone) {
                (NodeType::Witness, ..) => (String::new(), None),
                (_, true, _) => (
                    format!("Run \"pgbaton standby register --force\" on \"{name}\"."),
                    Some("pgbaton standby register --force"),
                ),
                (_, false, true) => (
                    format!(
                        "If it is to stay the primary, run \"pgbaton primary register --force\" on \"{name}\"."
                    ),
                    Some("pgbaton primary register --force"),
                ),
                (_, false, false) => (
                    format!("If it is a former primary, stop it now: \"pgbaton node stop\" on \"{name}\"."),
                    None,
                ),
            };
            issue.hint = Some(hint).filter(|hint| !hint.is_empty());
            if let Some(command) = command {
                self.type_on(command, row);
            }
        }
        let elsewhere = self.facts.twin_of(node).is_some()
            || Some(server.system_identifier.as_str()) != self.facts.system_identifier();
        match (&row.node_type, server.in_recovery) {
            (NodeType::Primary, true) if elsewhere => {}
            (NodeType::Primary, true) => {
                let issue = self.issue(
                    Severity::Error,
                    "running_as_standby",
                    Some(row),
                    format!("node \"{}\" is registered as primary but running as standby", row.node_name),
                );
                issue.hint =
                    Some(format!("Run \"pgbaton standby register --force\" on \"{}\".", row.node_name));
                self.type_on("pgbaton standby register --force", row);
            }
            (NodeType::Standby, false) if elsewhere => {}
            (NodeType::Standby, false) => {
                let others = self.facts.primaries().count() > 1;
                let name = &row.node_name;
                let issue = self.issue(
                    Severity::Error,
                    "running_as_primary",
                    Some(row),
                    format!("node \"{name}\" is registered as standby but running as primary"),
                );
                if others {
                    issue.detail = Some(
                        "It was promoted without pgbaton, or started without standby.signal, beside another primary."
                            .into(),
                    );
                } else {
                    issue.detail = Some("It was promoted without pgbaton.".into());
                    issue.hint = Some(format!(
                        "If it is to stay the primary, run \"pgbaton primary register --force\" on \"{name}\"."
                    ));
                    self.type_on("pgbaton primary register --force", row);
                }
            }
            _ => {}
        }
    }

    /// How far a node is behind the primary.
    fn positions(&mut self, server: &ServerFacts, primary: Option<&ServerFacts>, out: &mut NodeView) {
        if !server.in_recovery {
            out.receive_lag_bytes = Some(0);
            out.replay_lag_bytes = Some(0);
            out.replay_lag_s = Some(0.0);
            return;
        }
        let Some(written) = primary.and_then(|server| server.current_lsn) else { return };
        // The standby may have been asked a moment after the primary, and be ahead of what the primary said.
        let behind = |position: Option<Lsn>| position.map(|lsn| written.0.saturating_sub(lsn.0));
        out.receive_lag_bytes = behind(server.wal_end());
        out.replay_lag_bytes = behind(server.replay_lsn);
        let sender = self
            .facts
            .observed_upstream(&out.node_name)
            .and_then(|node| Some(node.facts()?.sender_of(&out.node_name)?.clone()));
        let streams =
            sender.as_ref().filter(|sender| sender.state.as_deref().is_none_or(|state| state == "streaming"));
        out.replay_lag_s = match (out.replay_lag_bytes, streams) {
            (Some(0), _) => Some(0.0),
            // All that was received is replayed: the time since the last commit says nothing on an idle primary, so what the
            // upstream measured counts, as long as it hears from the standby.
            (Some(_), Some(sender)) if !waits_to_be_replayed(server) => {
                let measured = sender.replay_lag_s.unwrap_or(0.0);
                match (sender.reply_age_s.filter(|age| *age > SILENT_S), server.last_replay_age_s) {
                    (Some(silent), Some(age)) => Some(silent.min(age).max(measured)),
                    _ => Some(measured),
                }
            }
            (Some(_), _) => server.last_replay_age_s,
            (None, _) => None,
        };
    }

    /// Whether a node has WAL that the primary never had.
    fn past(
        &mut self,
        node: &NodeFacts,
        server: &ServerFacts,
        reference: Option<(&NodeFacts, &ServerFacts)>,
        out: &mut NodeView,
    ) {
        let Some((chief, primary)) = reference else { return };
        if chief.row.node_id == node.row.node_id {
            return;
        }
        let name = node.row.node_name.clone();
        match relation(server, primary) {
            Relation::Same => {}
            Relation::Forked { evidence, at } => {
                if server.in_recovery {
                    // Positions of two histories have no distance.
                    (out.receive_lag_bytes, out.replay_lag_bytes, out.replay_lag_s) = (None, None, None);
                }
                let chief_name = chief.row.node_name.clone();
                let issue = self.issue(
                    Severity::Error,
                    "forked",
                    Some(&node.row),
                    format!("the history of node \"{name}\" has parted from that of \"{chief_name}\""),
                );
                let shared = at.map(|lsn| format!(" They share everything up to {lsn}.")).unwrap_or_default();
                issue.detail = Some(format!("{evidence}{shared}"));
                let clone = server.in_recovery;
                issue.hint = Some(format!(
                    "What \"{name}\" has alone will be lost when it becomes a standby of \"{chief_name}\" again; look at \
                     it first. Do not let it stream as it is."
                ));
                if clone {
                    self.type_on("pgbaton standby clone --force", &node.row);
                }
            }
            // In an old cluster the first segment of the timeline is long gone, on every node: no news, day for day.
            Relation::Unknown(_) if out.attached == Some(true) => {}
            Relation::Unknown(why) => {
                let issue = self.issue(
                    Severity::Notice,
                    "history_unknown",
                    Some(&node.row),
                    format!("the history of node \"{name}\" could not be compared"),
                );
                issue.detail = Some(why);
                let unread = [server, primary].into_iter().any(|server| !server.reads_files);
                issue.hint = unread.then(|| {
                    "Run \"GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO \
                     ROLE\" as superuser in this database, for the role that pgbaton uses."
                        .into()
                });
            }
        }
    }

    /// Attachment, replay and slot of a standby.
    fn standby(
        &mut self,
        node: &NodeFacts,
        server: &ServerFacts,
        upstream: Option<&NodeFacts>,
        reference: Option<(&NodeFacts, &ServerFacts)>,
        out: &mut NodeView,
    ) {
        let row = &node.row;
        let name = &row.node_name;
        let upstream_facts = upstream.and_then(NodeFacts::facts);
        let sender = upstream_facts.and_then(|facts| facts.sender_of(name));
        let observed = self.facts.observed_upstream(name);
        // It may have given another name than the one it is registered by.
        let nameless = sender.is_none()
            && observed.is_none()
            && upstream.is_some_and(|upstream| upstream.facts().is_some() && streams_from(node, upstream));
        out.sync_state = observed.and_then(|node| node.facts()?.sender_of(name)?.sync_state.clone());
        out.attached = match (upstream_facts, sender, &server.receiver) {
            (Some(_), Some(sender), _) => {
                Some(sender.state.as_deref().is_none_or(|state| state == "streaming"))
            }
            (Some(_), None, _) => Some(nameless),
            // The upstream cannot be asked; without a WAL receiver nothing is attached to anything.
            (None, _, None) => Some(false),
            (None, _, Some(_)) => None,
        };
        if row.node_type == NodeType::Standby && row.active {
            match (upstream, upstream_facts, sender, observed) {
                (Some(up), Some(_), None, Some(other)) => {
                    let message = format!(
                        "node \"{name}\" streams from \"{}\", not from \"{}\" as registered",
                        other.row.node_name, up.row.node_name
                    );
                    let hint = format!(
                        "To record what is, run \"pgbaton standby register --force --upstream-node-id={}\" on \"{name}\".",
                        other.row.node_id
                    );
                    let next =
                        format!("pgbaton standby register --force --upstream-node-id={}", other.row.node_id);
                    let row = row.clone();
                    self.issue(Severity::Warning, "upstream_differs", Some(&row), message).hint = Some(hint);
                    self.type_on(&next, &row);
                }
                (Some(up), Some(_), None, None) if nameless => {
                    let message = format!(
                        "node \"{name}\" streams from \"{}\" under another application_name",
                        up.row.node_name
                    );
                    let issue = self.issue(Severity::Warning, "application_name_differs", Some(row), message);
                    issue.detail =
                        Some("It is not found by its name where synchronous standbys are chosen.".into());
                    issue.hint = Some(format!(
                        "Set application_name in primary_conninfo of \"{name}\" to its node name and reload it."
                    ));
                }
                (Some(up), Some(_), None, None) => {
                    let message =
                        format!("node \"{name}\" is not attached to its upstream \"{}\"", up.row.node_name);
                    let issue = self.issue(Severity::Error, "not_attached", Some(row), message);
                    issue.detail = Some(match &server.receiver {
                        Some(receiver) => format!(
                            "Its WAL receiver is connected to {}.",
                            receiver.sender_host.as_deref().map_or_else(
                                || "a server that this role may not see".to_string(),
                                |host| match receiver.sender_port {
                                    Some(port) => format!("host \"{host}\", port {port}"),
                                    None => format!("host \"{host}\""),
                                }
                            )
                        ),
                        None => "It has no WAL receiver.".into(),
                    });
                    issue.hint = Some(format!("The server log of \"{name}\" says why it cannot stream."));
                    self.type_on("pgbaton node status", row);
                }
                // Without any primary that is said already.
                (Some(up), None, ..) if server.receiver.is_none() && reference.is_some() => {
                    let upstream = up.row.node_name.clone();
                    let message = format!("node \"{name}\" is not attached to its upstream \"{upstream}\"");
                    let issue = self.issue(Severity::Error, "not_attached", Some(row), message);
                    issue.detail = Some(format!(
                        "It has no WAL receiver, and \"{upstream}\" cannot be asked. It falls behind."
                    ));
                    issue.hint =
                        Some(format!("Start \"{upstream}\", or let \"{name}\" follow another node."));
                }
                (Some(up), Some(_), Some(sender), _) if out.attached == Some(false) => {
                    let state = sender.state.clone().unwrap_or_default();
                    let message = format!(
                        "node \"{name}\" is attached to \"{}\" in state \"{state}\"",
                        up.row.node_name
                    );
                    self.issue(Severity::Warning, "not_streaming", Some(row), message);
                }
                _ => {}
            }
        }
        self.replay(row, server, out);
        self.slot(row, upstream, out);
        if let Some((_, primary)) = reference
            && server.version_num / 10_000 != primary.version_num / 10_000
        {
            let message = format!(
                "node \"{name}\" runs PostgreSQL {}, the primary {}",
                server.version, primary.version
            );
            self.issue(Severity::Error, "version_differs", Some(row), message);
        }
    }

    fn replay(&mut self, row: &NodeRow, server: &ServerFacts, out: &NodeView) {
        let name = &row.node_name;
        if server.replay_paused == Some(true) {
            let waiting = server
                .wal_end()
                .zip(server.replay_lsn)
                .map_or(0, |(end, replayed)| end.0.saturating_sub(replayed.0));
            let issue = self.issue(
                Severity::Warning,
                "replay_paused",
                Some(row),
                format!("WAL replay is paused on node \"{name}\""),
            );
            issue.detail = Some(format!("{waiting} bytes of WAL that it has received are not replayed."));
            issue.hint = Some(format!("To carry on, run \"SELECT pg_wal_replay_resume()\" on \"{name}\"."));
            self.next.push(psql(row, "SELECT pg_wal_replay_resume()"));
        } else if out.replay_lag_s.is_some_and(|lag| lag >= self.view.lag_warning_s) {
            let lag = out.replay_lag_s.unwrap_or_default();
            let bytes = out.replay_lag_bytes.unwrap_or_default();
            let issue = self.issue(
                Severity::Warning,
                "replication_lag",
                Some(row),
                format!("node \"{name}\" is {lag:.0} seconds behind"),
            );
            issue.detail = Some(format!("{bytes} bytes of WAL are not replayed."));
        }
    }

    fn slot(&mut self, row: &NodeRow, upstream: Option<&NodeFacts>, out: &mut NodeView) {
        let (Some(slot_name), Some(upstream)) = (&row.slot_name, upstream) else { return };
        let Some(server) = upstream.facts() else { return };
        let name = &row.node_name;
        let place = &upstream.row.node_name;
        let Some(slot) = server.slot(slot_name) else {
            let issue = self.issue(
                Severity::Error,
                "slot_missing",
                Some(row),
                format!("slot \"{slot_name}\" of node \"{name}\" does not exist on \"{place}\""),
            );
            issue.detail = Some(
                "Without it the upstream may recycle WAL that the node still needs, and a configured slot that is \
                 missing stops it from streaming."
                    .into(),
            );
            let sql = format!(
                "SELECT pg_create_physical_replication_slot('{}', true)",
                slot_name.replace('\'', "''")
            );
            issue.hint = Some(format!("Run \"{sql}\" on \"{place}\"."));
            self.next.push(psql(&upstream.row, &sql));
            return;
        };
        out.slot_active = Some(slot.active);
        out.slot_wal_status.clone_from(&slot.wal_status);
        out.slot_retained_bytes = slot.retained_bytes;
        if slot.wal_status.as_deref() == Some("lost") {
            let issue = self.issue(
                Severity::Error,
                "slot_lost",
                Some(row),
                format!("slot \"{slot_name}\" of node \"{name}\" on \"{place}\" has lost WAL"),
            );
            issue.detail =
                Some("The WAL that the node needs next was removed (max_slot_wal_keep_size).".into());
            issue.hint = Some(format!(
                "If the archive does not have it, clone \"{name}\" again: \"pgbaton standby clone --force\" there."
            ));
            self.type_on("pgbaton standby clone --force", row);
        } else if !slot.active && out.attached == Some(true) {
            let issue = self.issue(
                Severity::Warning,
                "slot_unused",
                Some(row),
                format!("node \"{name}\" streams without its slot \"{slot_name}\""),
            );
            issue.detail = Some(format!("The slot keeps WAL on \"{place}\" that nobody fetches."));
            issue.hint = Some(format!("Set primary_slot_name = '{slot_name}' on \"{name}\" and reload it."));
        }
    }

    /// What the rows say among themselves, whatever the servers are.
    fn registrations(&mut self) {
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
            issue.hint = Some("Run \"pgbaton primary register --force\" on the one that is.".into());
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
                issue.detail = Some("It is one of primary, standby and witness.".into());
                issue.hint =
                    Some(format!("Register \"{}\" again as what it is, with --force.", row.node_name));
            }
        }
    }

    /// Whether a standby's upstream is there, and does not lead back to the standby.
    fn upstream_of(&mut self, row: &NodeRow) {
        if row.node_type != NodeType::Standby || !row.active {
            return;
        }
        let name = &row.node_name;
        let (mut at, mut names) = (row, vec![format!("\"{name}\"")]);
        let message = loop {
            let next = at.upstream_node_id.map(|id| (id, self.facts.node(id).map(|node| &node.row)));
            match next {
                // What is wrong further up is said of the node that it is wrong with.
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

    fn no_primary(&mut self, anybody: bool) {
        if !anybody {
            let age = self.view.topology.map(|seen| ago(self.view.now, seen.observed_at));
            let issue = self.issue(Severity::Error, "nobody_answers", None, "no node answers".into());
            issue.detail = Some(match age {
                Some(age) => format!("What is shown was last seen {age}."),
                None => "The cluster was never seen from here.".into(),
            });
            self.start_primary();
            return;
        }
        // The standby with the most WAL is the one to look at first; promoting it is the operator's decision.
        let best = self
            .facts
            .nodes
            .iter()
            .filter(|node| node.row.node_type != NodeType::Witness)
            .filter_map(|node| Some((node, node.facts()?)))
            .filter(|(_, server)| Some(server.system_identifier.as_str()) == self.facts.system_identifier())
            .max_by_key(|(node, server)| {
                (server.timeline, server.wal_end(), node.row.priority, -node.row.node_id)
            });
        let streaming = self.facts.nodes.iter().any(|node| {
            node.facts()
                .and_then(|server| server.receiver.as_ref())
                .is_some_and(|receiver| receiver.status.as_deref() == Some("streaming"))
                && self.facts.observed_upstream(&node.row.node_name).is_none()
        });
        let answering = self.facts.nodes.iter().any(|node| {
            node.row.node_type == NodeType::Primary
                && node.server.as_ref().is_err_and(|silence| silence.answered != Answered::Nothing)
        });
        let best_name =
            best.map(|(node, server)| (node.row.node_name.clone(), server.timeline, server.wal_end()));
        let lost = self.missing(best.and_then(|(_, server)| Some((server.timeline, server.wal_end()?))));
        let issue = self.issue(Severity::Error, "no_primary", None, "no node takes writes".into());
        issue.detail = best_name.as_ref().map(|(name, timeline, end)| {
            format!(
                "Of the nodes that answer, \"{name}\" has the most WAL: up to {} on timeline {timeline}.{lost}",
                end.map_or_else(|| "an unknown position".to_string(), |lsn| lsn.to_string())
            )
        });
        if streaming || answering {
            issue.hint = Some(
                "The primary seems to be alive although it cannot be asked from here: look there before anything is \
                 promoted."
                    .into(),
            );
        } else if let Some((name, ..)) = best_name {
            issue.hint = Some(format!(
                "If the primary can be started, start it. If it is gone for good, \"{name}\" is the one to promote."
            ));
            self.start_primary();
        }
    }

    /// Advises to start the registered primary, if nothing at all was heard from it.
    fn start_primary(&mut self) {
        let silent =
            self.facts.nodes.iter().filter(|node| {
                node.server.as_ref().is_err_and(|silence| silence.answered == Answered::Nothing)
            });
        let primary = silent.map(|node| &node.row).filter(|row| row.node_type == NodeType::Primary);
        if let Some(row) = primary.max_by_key(|row| row.active).cloned() {
            self.type_first_on("pgbaton node start", &row);
        }
    }

    /// Says what the primary that was last seen had and the best of the others does not have.
    fn missing(&self, best: Option<(TimelineId, Lsn)>) -> String {
        let seen = self.view.topology.into_iter().flat_map(|seen| &seen.nodes);
        let last = seen
            .filter(|node| node.was_primary == Some(true))
            .filter_map(|node| Some((node.timeline?, node.wal_end?, node.last_seen?, &node.row.node_name)));
        let (Some((timeline, end, at, name)), Some((own, has))) = (last.max(), best) else {
            return String::new();
        };
        if timeline != own {
            return String::new();
        }
        let when = ago(self.view.now, at);
        match end.bytes_since(has).unwrap_or(0) {
            0 => format!(
                " That is all that the primary \"{name}\" had {when}, and what it wrote later is not known."
            ),
            bytes => format!(
                " The primary \"{name}\" had {bytes} bytes more {when}, and what it wrote later is not known."
            ),
        }
    }

    fn split_brain(&mut self, primaries: &[(&NodeFacts, &ServerFacts)]) {
        let newest = primaries.iter().map(|(_, server)| server.timeline).max();
        let all: Vec<String> = primaries
            .iter()
            .map(|(node, server)| {
                format!(
                    "\"{}\" on timeline {} at {}",
                    node.row.node_name,
                    server.timeline,
                    server
                        .current_lsn
                        .map_or_else(|| "an unknown position".to_string(), |lsn| lsn.to_string())
                )
            })
            .collect();
        let stale: Vec<String> = primaries
            .iter()
            .filter(|(_, server)| Some(server.timeline) != newest)
            .map(|(node, _)| format!("\"{}\"", node.row.node_name))
            .collect();
        let issue = self.issue(
            Severity::Error,
            "split_brain",
            None,
            format!("{} nodes take writes", primaries.len()),
        );
        issue.detail = Some(format!("They are {}.", all.join(", ")));
        issue.hint = Some(if stale.is_empty() {
            "Keep clients away from all but one, then stop the others: \"pgbaton node stop\" there. What they alone have \
             is lost when they are rejoined."
                .into()
        } else {
            format!(
                "{} went on on an older timeline: stop it now, with \"pgbaton node stop\" there. What it alone has is lost \
                 when it is rejoined.",
                stale.join(", ")
            )
        });
        // The one on the newest timeline stays, or if that is several, the one that is registered.
        let registered = |row: &NodeRow| row.active && row.node_type == NodeType::Primary;
        let stays = primaries.iter().max_by_key(|(node, server)| (server.timeline, registered(&node.row)));
        let stays = stays.filter(|(node, _)| !stale.is_empty() || registered(&node.row));
        for (node, _) in primaries {
            if stays.is_some_and(|(stays, _)| stays.row.node_id != node.row.node_id) {
                self.type_first_on("pgbaton node stop", &node.row);
            }
        }
    }
}

/// Writes a command that runs SQL on a node, to be typed anywhere.
fn psql(row: &NodeRow, sql: &str) -> String {
    let conninfo = Conninfo::parse(&row.conninfo).map(|parsed| parsed.without_secrets().to_string());
    shell_words::join(["psql", "-Xd", &conninfo.unwrap_or_default(), "-c", sql])
}

/// Seconds without a word of a standby, which has one to say every ten unless `wal_receiver_status_interval` is changed.
const SILENT_S: f64 = 30.0;

/// Whether a standby has received a whole record that it has not replayed.
///
/// The primary sends what it has flushed, and that may end in the middle of a record: then always at the end of a page. What is missing
/// of such a record comes with the next write, which on an idle primary may be tomorrow.
fn waits_to_be_replayed(server: &ServerFacts) -> bool {
    const PAGE: u64 = 8192;
    match (server.replay_lsn, server.receive_lsn) {
        (Some(replayed), Some(received)) if received > replayed => {
            !(received.0 % PAGE == 0 && received.0 - replayed.0 < PAGE)
        }
        _ => false,
    }
}

fn full(message: &str, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{} {detail}", sentence(message)),
        None => message.to_string(),
    }
}

/// Says how long ago something was: `12 seconds ago (2026-11-21T10:00:00Z)`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago ({then:.0})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cluster::Silence;
    use crate::facts::server::{Sender, Slot};
    use crate::facts::topology;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn row(id: i32, kind: NodeType, upstream: Option<i32>) -> NodeRow {
        NodeRow {
            node_id: id,
            upstream_node_id: upstream,
            active: true,
            node_name: format!("n{id}"),
            node_type: kind,
            location: "default".into(),
            priority: 100,
            conninfo: format!("host=h{id}"),
            repluser: "repmgr".into(),
            slot_name: None,
            config_file: String::new(),
        }
    }

    fn silence(answered: Answered) -> Silence {
        Silence { answered, message: "connection refused".into(), detail: None, hint: None }
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
    fn healthy() -> ClusterFacts {
        let mut primary = ServerFacts::example(false, 1, 50_000);
        primary.senders = vec![sender("n2"), sender("n3")];
        let standby = |id| NodeFacts {
            row: row(id, NodeType::Standby, Some(1)),
            server: Ok(ServerFacts { started_at: id.to_string(), ..ServerFacts::example(true, 1, 50_000) }),
        };
        let first = NodeFacts { row: row(1, NodeType::Primary, None), server: Ok(primary) };
        ClusterFacts { nodes: vec![first, standby(2), standby(3)] }
    }

    fn server(facts: &mut ClusterFacts, at: usize) -> &mut ServerFacts {
        facts.nodes[at].server.as_mut().unwrap()
    }

    fn promote(facts: &mut ClusterFacts, at: usize, timeline: u32) {
        let started_at = at.to_string();
        facts.nodes[at].server =
            Ok(ServerFacts { started_at, ..ServerFacts::example(false, timeline, 60_000) });
    }

    fn view(topology: Option<&Topology>) -> Viewpoint<'_> {
        Viewpoint {
            now: NOW,
            topology,
            lag_warning_s: 300.0,
            unfinished_operation: None,
            local_node_id: Some(1),
        }
    }

    fn judged(facts: &ClusterFacts) -> (ClusterReport, Vec<&'static str>) {
        let (report, issues) = assess(facts, &view(None));
        (report, issues.iter().map(|issue| issue.code).collect())
    }

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
        let view = Viewpoint { unfinished_operation: Some("x1".into()), ..view(None) };
        let (report, _) = assess(&healthy(), &view);
        assert_eq!(report.cluster.next, ["pgbaton operation show x1"]);
    }

    #[test]
    fn silence_of_a_standby_degrades_and_of_an_inactive_one_does_not() {
        let mut facts = healthy();
        facts.nodes[2].server = Err(silence(Answered::Nothing));
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, codes), (State::Degraded, vec!["node_unreachable"]));
        assert_eq!(report.cluster.next, ["pgbaton node start  # on \"n3\""]);
        facts.nodes[2].server = Err(silence(Answered::Spoke));
        let (report, codes) = judged(&facts);
        assert_eq!((report.nodes[2].status.as_str(), codes), ("running", vec!["node_rejects"]));
        // One that hangs is not to be started.
        facts.nodes[2].server = Err(silence(Answered::Silent));
        assert_eq!(judged(&facts).0.cluster.next, Vec::<String>::new());
        facts.nodes[2].row.active = false;
        let (report, _) = judged(&facts);
        assert_eq!((report.cluster.state, report.nodes[2].status.as_str()), (State::Healthy, "failed"));
    }

    #[test]
    fn no_primary_names_the_one_with_the_most_wal_and_what_may_be_missing() {
        let mut facts = healthy();
        let seen = topology::merge(None, &facts, NOW);
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        for at in [1, 2] {
            server(&mut facts, at).receiver = None;
            server(&mut facts, at).receive_lsn = Some(Lsn(49_000 + at as u64));
            server(&mut facts, at).replay_lsn = Some(Lsn(49_000));
        }
        let (report, issues) = assess(&facts, &view(Some(&seen)));
        assert_eq!(report.cluster.state, State::NoPrimary);
        assert_eq!(report.cluster.next, ["pgbaton node start  # on \"n1\""]);
        assert_eq!(issues[0].code, "no_primary");
        let detail = issues[0].detail.as_deref().unwrap();
        assert!(
            detail.contains("\"n3\" has the most WAL") && detail.contains("had 998 bytes more"),
            "{detail}"
        );
        // Something answers there, or streams from there: nobody is to be promoted, and nothing started.
        facts.nodes[0].server = Err(silence(Answered::Silent));
        let (report, issues) = assess(&facts, &view(Some(&seen)));
        assert!(issues[0].hint.as_deref().unwrap().contains("seems to be alive"));
        assert_eq!(report.cluster.next, Vec::<String>::new());
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        server(&mut facts, 1).receiver = ServerFacts::example(true, 1, 1).receiver;
        let (_, issues) = assess(&facts, &view(None));
        assert!(issues[0].hint.as_deref().unwrap().contains("seems to be alive"));
    }

    #[test]
    fn nobody_answers() {
        let mut facts = healthy();
        let seen = topology::merge(None, &facts, NOW);
        facts.nodes.iter_mut().for_each(|node| node.server = Err(silence(Answered::Nothing)));
        let later = Viewpoint { now: Timestamp::from_second(180).unwrap(), ..view(Some(&seen)) };
        let (report, issues) = assess(&facts, &later);
        assert_eq!(report.cluster.state, State::Unknown);
        assert_eq!((report.cluster.observed_at, report.nodes[0].last_seen), (NOW, Some(NOW)));
        assert_eq!(report.cluster.next[0], "pgbaton node start  # on \"n1\"");
        assert!(issues[0].detail.as_deref().unwrap().contains("last seen 3 minutes ago"), "{issues:?}");
    }

    #[test]
    fn several_primaries() {
        let mut facts = healthy();
        promote(&mut facts, 1, 2);
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, report.cluster.primary_node_id), (State::SplitBrain, None));
        assert_eq!(codes[0], "split_brain");
        // The newer timeline stays.
        assert_eq!(report.cluster.next[0], "pgbaton node stop  # on \"n1\"");
        // On one timeline nobody can tell which; the registered one is the one to keep.
        promote(&mut facts, 1, 1);
        let (report, codes) = judged(&facts);
        assert!(codes.contains(&"forked"), "{codes:?}");
        assert_eq!(report.cluster.next[0], "pgbaton node stop  # on \"n2\"");
        facts.nodes[0].row.node_type = NodeType::Standby;
        assert!(judged(&facts).0.cluster.next.iter().all(|command| !command.contains("stop")));
    }

    #[test]
    fn promoted_by_hand() {
        let mut facts = healthy();
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        facts.nodes[0].row.active = false;
        facts.nodes.truncate(2);
        promote(&mut facts, 1, 2);
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, report.cluster.primary_node_id), (State::Degraded, Some(2)));
        assert!(codes.contains(&"running_as_primary"), "{codes:?}");
        assert_eq!(report.cluster.next, ["pgbaton primary register --force  # on \"n2\""]);
    }

    #[test]
    fn a_primary_that_was_replaced() {
        let mut facts = healthy();
        server(&mut facts, 2).timeline = TimelineId(2);
        let (report, codes) = judged(&facts);
        assert_eq!(report.cluster.state, State::Degraded);
        assert!(codes.contains(&"primary_outdated"), "{codes:?}");
        assert_eq!(report.cluster.next[0], "pgbaton node stop  # on \"n1\"");
        // Or nobody who has seen the newer one answers now.
        let mut before = healthy();
        promote(&mut before, 1, 2);
        let seen = topology::merge(None, &before, NOW);
        let mut facts = healthy();
        facts.nodes[1].server = Err(silence(Answered::Nothing));
        let (_, issues) = assess(&facts, &view(Some(&seen)));
        let outdated = issues.iter().find(|issue| issue.code == "primary_outdated").unwrap();
        assert!(outdated.detail.as_deref().unwrap().starts_with("Node \"n2\" was the primary on timeline 2"));
    }

    #[test]
    fn servers_that_are_not_the_nodes_own() {
        // Another cluster's primary is no second primary, whatever its timeline.
        let mut facts = healthy();
        promote(&mut facts, 2, 9);
        server(&mut facts, 2).system_identifier = "8".into();
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, codes), (State::Degraded, vec!["foreign_cluster"]));
        assert_eq!((report.cluster.primary_node_id, report.cluster.timeline), (Some(1), Some(TimelineId(1))));
        // Of two, the registered primary's cluster is the one.
        facts.nodes.remove(1);
        assert_eq!(judged(&facts).0.cluster.primary_node_id, Some(1));
        // Nor is the same server under two names.
        let mut facts = healthy();
        facts.nodes[2].server = facts.nodes[0].server.clone();
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, codes), (State::Degraded, vec!["same_server"]));
    }

    #[test]
    fn lag_is_told_only_where_there_is_some() {
        let lag = |change: &dyn Fn(&mut ClusterFacts)| {
            let mut facts = healthy();
            change(&mut facts);
            let (report, codes) = judged(&facts);
            (report.nodes[1].replay_lag_bytes, report.nodes[1].replay_lag_s, codes)
        };
        // The primary has just written something: the last commit before it was an hour ago, and says nothing.
        let written = |facts: &mut ClusterFacts| server(facts, 0).current_lsn = Some(Lsn(50_100));
        assert_eq!(lag(&written), (Some(100), Some(0.0), vec![]));
        // Nothing was heard of the standby for a while.
        assert_eq!(
            lag(&|facts| {
                written(facts);
                server(facts, 0).senders[0].reply_age_s = Some(45.0);
            }),
            (Some(100), Some(45.0), vec![])
        );
        // The end of a page, in the middle of a record.
        assert_eq!(
            lag(&|facts| {
                server(facts, 0).current_lsn = Some(Lsn(57_344));
                server(facts, 1).receive_lsn = Some(Lsn(57_344));
                server(facts, 1).replay_lsn = Some(Lsn(57_344 - 1336));
            }),
            (Some(1336), Some(0.0), vec![])
        );
        // Received, and not replayed.
        assert_eq!(
            lag(&|facts| server(facts, 1).replay_lsn = Some(Lsn(40_000))),
            (Some(10_000), Some(3600.0), vec!["replication_lag"])
        );
        assert_eq!(
            lag(&|facts| {
                server(facts, 1).replay_lsn = Some(Lsn(40_000));
                server(facts, 1).replay_paused = Some(true);
            })
            .2,
            ["replay_paused"]
        );
        // A role that may see little must not raise an alarm.
        assert_eq!(
            lag(&|facts| {
                written(facts);
                server(facts, 0).senders[0].state = None;
            }),
            (Some(100), Some(0.0), vec![])
        );
        // Without a primary there is nothing to compare with.
        let unknown = lag(&|facts| facts.nodes[0].server = Err(silence(Answered::Nothing)));
        assert_eq!((unknown.0, unknown.1), (None, None));
    }

    #[test]
    fn attachment_and_slots() {
        let mut facts = healthy();
        server(&mut facts, 0).senders.remove(0);
        server(&mut facts, 1).receiver = None;
        let (report, codes) = judged(&facts);
        assert_eq!((report.nodes[1].attached, codes), (Some(false), vec!["not_attached"]));
        assert_eq!(report.cluster.next, ["pgbaton node status  # on \"n2\""]);
        let mut facts = healthy();
        server(&mut facts, 0).senders[0].application_name = "walreceiver".into();
        assert_eq!(judged(&facts).1, ["application_name_differs"]);
        let mut facts = healthy();
        let moved = server(&mut facts, 0).senders.remove(0);
        server(&mut facts, 2).senders.push(moved);
        assert_eq!(judged(&facts).1, ["upstream_differs"]);
        let mut facts = healthy();
        facts.nodes[1].row.slot_name = Some("s'2".into());
        let (report, codes) = judged(&facts);
        assert_eq!(codes, ["slot_missing"]);
        assert!(report.cluster.next[0].starts_with("psql -Xd "), "{:?}", report.cluster.next);
        let slot = |active, status: &str| Slot {
            slot_name: "s'2".into(),
            slot_type: "physical".into(),
            active,
            restart_lsn: None,
            wal_status: Some(status.into()),
            retained_bytes: None,
        };
        for (slot, expected) in [
            (slot(true, "reserved"), vec![]),
            (slot(false, "reserved"), vec!["slot_unused"]),
            (slot(false, "lost"), vec!["slot_lost"]),
        ] {
            server(&mut facts, 0).slots = vec![slot];
            assert_eq!(judged(&facts).1, expected);
        }
    }

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
            nodes[2].server = Err(Silence::invalid("x"));
        });
        assert_eq!(invalid, ["invalid_conninfo"]);
    }
}
