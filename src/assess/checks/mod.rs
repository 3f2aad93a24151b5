//! The health checks that monitoring runs on a node and on the cluster. Facts in, findings out; the same code for every node.
//!
//! What `assess` has found wrong with a node is not judged again: each of its issues belongs to one of the checks (`of_issue`), and makes
//! it no better than the issue is bad.

mod daemon;
#[cfg(test)]
mod examples;
mod local;
mod logical;
mod replication;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::assess::cluster::{ClusterReport, NodeView, ON, State, Viewpoint, assess, typed_on};
use crate::error::{Issue, Severity, Text, carries_text};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::ServerFacts;
use crate::pg::quote::quote_ident;
use crate::registry::NodeType;

pub use crate::facts::check_facts::{CheckAnswer, CheckServerFacts, Clock, Repmgrd, query_check_facts};
pub use crate::facts::check_name::{CheckName, CheckNeeds};
pub use crate::facts::host::{HostFacts, HostQuestion};

/// How a check ended. The worse, the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// No problem.
    #[default]
    Ok,
    /// Cannot be determined.
    Unknown,
    /// To be looked at.
    Warning,
    /// To be looked at now.
    Critical,
}

impl CheckStatus {
    /// Returns the word of Nagios.
    pub fn nagios_word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

impl From<Severity> for CheckStatus {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Notice => Self::Ok,
            Severity::Warning => Self::Warning,
            Severity::Error => Self::Critical,
        }
    }
}

/// What else repmgr's line for Nagios reports about a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Figures {
    /// The value and its limits.
    #[default]
    Plain,
    /// Attached standbys, and those that are not, by name and id.
    Downstream {
        /// How many are attached.
        attached: usize,
        /// Those that are not.
        missing: Vec<String>,
    },
    /// Physical slots.
    Slots {
        /// All of them.
        all: usize,
        /// Those that are not in use.
        inactive: usize,
    },
    /// The names of slots that do not exist.
    MissingSlots(Vec<String>),
    /// The data directory of the configuration, and that of the server where it is another.
    Directory {
        /// As configured.
        configured: String,
        /// As the server says.
        actual: Option<String>,
    },
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The check.
    pub name: CheckName,
    /// How it ended.
    pub status: CheckStatus,
    /// What was measured.
    #[serde(serialize_with = "number")]
    pub value: Option<f64>,
    /// What the value counts.
    pub unit: Option<&'static str>,
    /// The value from which it is a warning.
    #[serde(serialize_with = "number")]
    pub warning: Option<f64>,
    /// The value from which it is critical.
    #[serde(serialize_with = "number")]
    pub critical: Option<f64>,
    /// What was found.
    #[serde(flatten)]
    pub text: Text,
    /// A command that helps, with where to type it.
    #[serde(skip)]
    pub next: Option<String>,
    /// What repmgr's lines report in addition.
    #[serde(skip)]
    pub figures: Figures,
    /// The host could not be queried, which is reported once for all such nodes: it does not raise the verdict.
    #[serde(skip)]
    pub quiet: bool,
}

/// Whole numbers are written as such.
fn number<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        None => to.serialize_none(),
        #[expect(clippy::cast_possible_truncation, reason = "whole, and far below 2^53")]
        Some(value) if value.fract() == 0.0 && value.abs() < 9e15 => to.serialize_i64(*value as i64),
        Some(value) => to.serialize_f64((value * 1000.0).round() / 1000.0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "no node has 2^53 of anything")]
fn count(number: impl TryInto<i64>) -> f64 {
    number.try_into().unwrap_or(i64::MAX) as f64
}

carries_text!(Finding);

impl Finding {
    /// A finding with nothing but its message.
    pub(crate) fn new(name: CheckName, status: CheckStatus, text: impl Into<Text>) -> Self {
        Self {
            name,
            status,
            value: None,
            unit: None,
            warning: None,
            critical: None,
            text: text.into(),
            next: None,
            figures: Figures::Plain,
            quiet: false,
        }
    }

    fn ok(name: CheckName, text: impl Into<Text>) -> Self {
        Self::new(name, CheckStatus::Ok, text)
    }

    fn unknown(name: CheckName, text: impl Into<Text>) -> Self {
        Self::new(name, CheckStatus::Unknown, text)
    }

    fn value(mut self, value: f64, unit: &'static str) -> Self {
        (self.value, self.unit) = (Some(value), Some(unit));
        self
    }

    fn limits(mut self, (warning, critical): (f64, f64)) -> Self {
        (self.warning, self.critical) = (Some(warning), Some(critical));
        self
    }

    fn next(mut self, command: &str, node: &NodeFacts) -> Self {
        self.next = Some(typed_on(command, &node.row));
        self
    }

    fn figures(mut self, figures: Figures) -> Self {
        self.figures = figures;
        self
    }

    fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Returns how much it counts in a verdict.
    pub fn weight(&self) -> CheckStatus {
        if self.quiet { CheckStatus::Ok } else { self.status }
    }
}

/// All findings about one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeFindings {
    /// The node.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// In the order of [`CheckName::ALL`].
    pub checks: Vec<Finding>,
}

/// From which values on something is wrong, by the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Files that wait to be archived: more is a warning, or critical.
    pub archive_ready: (f64, f64),
    /// Seconds of lag: more is a warning; so many are critical.
    pub lag_s: (f64, f64),
    /// Bytes of WAL that a slot keeps.
    pub slot_wal_bytes: (f64, f64),
    /// Per cent of free space: less is a warning, or critical.
    pub free_percent: (f64, f64),
}

/// Seconds by which a clock may differ. Lag is measured with the clocks of two hosts, and nothing else of pgbaton depends on them.
const CLOCK_S: (f64, f64) = (1.0, 10.0);

/// What the host of a node reports.
pub type HostAnswer = Result<HostFacts, String>;

/// Everything that findings are made of.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What all nodes say.
    pub facts: &'a ClusterFacts,
    /// What was known before, and whose point of view it is.
    pub view: &'a Viewpoint<'a>,
    /// What was asked for the checks, by node id.
    pub asked: &'a BTreeMap<i32, CheckAnswer>,
    /// What the hosts report, by node id; or why they do not.
    pub hosts: &'a BTreeMap<i32, HostAnswer>,
    /// From the configuration.
    pub thresholds: &'a Thresholds,
}

/// The findings of all checks on some nodes.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What `cluster show` would show.
    pub cluster: ClusterReport,
    /// What it would complain of.
    pub issues: Vec<Issue>,
    /// The nodes, ordered by node id.
    pub nodes: Vec<NodeFindings>,
}

/// Judges all nodes, or one. `expected` is the role that this one must have.
pub fn judge(
    evidence: &Evidence<'_>,
    names: &[CheckName],
    only: Option<i32>,
    expected: Option<&NodeType>,
) -> Findings {
    let (cluster, issues) = assess(evidence.facts, evidence.view);
    let nodes = evidence.facts.nodes.iter().zip(&cluster.nodes);
    let nodes = nodes.filter(|(node, _)| only.is_none_or(|id| id == node.row.node_id));
    let nodes = nodes
        .map(|(node, view)| {
            let of_node = issues.iter().filter(|issue| issue.node_id == Some(node.row.node_id));
            let judge = NodeChecks {
                evidence,
                state: cluster.cluster.state,
                node,
                view,
                issues: of_node.collect(),
                more: evidence.asked.get(&node.row.node_id).and_then(|asked| asked.more.as_ref().ok()),
                expected,
            };
            let checks = names.iter().filter_map(|name| judge.check(*name)).collect();
            NodeFindings { node_id: node.row.node_id, node_name: node.row.node_name.clone(), checks }
        })
        .collect();
    Findings { cluster, issues, nodes }
}

impl Findings {
    /// Returns what is wrong with the cluster as a whole.
    pub fn of_cluster(&self) -> impl Iterator<Item = &Issue> {
        self.issues.iter().filter(|issue| issue.node_id.is_none() && issue.severity != Severity::Notice)
    }

    /// Returns the verdict on all nodes that were judged, and on the cluster.
    pub fn verdict(&self) -> CheckStatus {
        let of_state = match self.cluster.cluster.state {
            State::Healthy | State::Degraded => CheckStatus::Ok,
            State::NoPrimary | State::SplitBrain | State::Unknown => CheckStatus::Critical,
        };
        let of_cluster = self.of_cluster().map(|issue| issue.severity.into());
        of_cluster.chain([of_state, worst(&self.nodes)]).max().unwrap_or_default()
    }

    /// Returns what to type next: what the cluster needs, and then what the checks advise.
    pub fn next(&self) -> Vec<String> {
        let mut next = self.cluster.cluster.next.clone();
        let mut findings: Vec<&Finding> = self.nodes.iter().flat_map(|node| &node.checks).collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight()));
        for finding in findings {
            let Some(command) = &finding.next else { continue };
            // The same command may be there without the node, where it is this one.
            let is_there = |other: &String| {
                command
                    .strip_prefix(other.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(ON))
            };
            if !next.iter().any(is_there) {
                next.push(command.clone());
            }
            // What was begun there decides whether and as what the node is started.
            if finding.name == CheckName::UnfinishedOperation
                && let Some((_, whom)) = command.split_once(ON)
            {
                let start = format!("pgbaton node start{ON}{whom}");
                next.retain(|other| *other != start);
            }
        }
        next
    }
}

/// Returns the worst that was found.
pub fn worst(nodes: &[NodeFindings]) -> CheckStatus {
    nodes.iter().flat_map(|node| &node.checks).map(Finding::weight).max().unwrap_or_default()
}

/// Returns the check that an issue of `assess` belongs to; None for one that is judged where its cause is, on the upstream.
fn of_issue(code: &str) -> Option<CheckName> {
    Some(match code {
        "node_unreachable" | "node_rejects" | "invalid_conninfo" => CheckName::DbConnection,
        "not_attached"
        | "not_streaming"
        | "receiver_hangs"
        | "upstream_differs"
        | "upstream_missing"
        | "application_name_differs" => CheckName::Upstream,
        "replay_paused" => CheckName::Replay,
        // Has limits of its own, the critical one among them.
        "replication_lag" => return None,
        "slot_missing" | "slot_lost" | "slot_unused" | "slot_inactive" => return None,
        "forked" | "history_unknown" | "primary_outdated" => CheckName::Timeline,
        "foreign_cluster" | "same_server" | "wrong_server" => CheckName::Identity,
        "standby_signal_missing" | "standby_signal_leftover" => CheckName::StandbySignal,
        "version_differs" => CheckName::ServerVersion,
        "daemon_not_running" | "node_fenced" | "lease_degraded" => CheckName::Daemon,
        _ => CheckName::ServerRole,
    })
}

/// One node, as it is judged.
struct NodeChecks<'a> {
    evidence: &'a Evidence<'a>,
    state: State,
    node: &'a NodeFacts,
    view: &'a NodeView,
    issues: Vec<&'a Issue>,
    more: Option<&'a CheckServerFacts>,
    expected: Option<&'a NodeType>,
}

impl NodeChecks<'_> {
    /// Makes a check; None where there is nothing that it could be made on.
    fn check(&self, name: CheckName) -> Option<Finding> {
        let found = match (name, self.node.facts()) {
            (CheckName::DbConnection, _) => self.db_connection(),
            (CheckName::FreeSpace, _) => self.free_space(),
            (CheckName::UnfinishedOperation, _) => self.unfinished_operation(),
            (CheckName::ServerRole, _) => self.server_role()?,
            (CheckName::StandbySignal, _) => self.standby_signal()?,
            // That it cannot be queried is reported once.
            (_, None) => return None,
            (_, Some(server)) => self.of_server(name, server)?,
        };
        Some(self.raised(found))
    }

    fn of_server(&self, name: CheckName, server: &ServerFacts) -> Option<Finding> {
        let is_witness = self.node.row.node_type == NodeType::Witness;
        Some(match name {
            CheckName::ReplicationLag => self.replication_lag(server),
            CheckName::ArchiveReady => self.archive_ready(),
            CheckName::Upstream => self.upstream(server),
            CheckName::Downstream => self.downstream(server),
            CheckName::Slots => self.slots(server),
            CheckName::MissingSlots => self.missing_slots(server),
            CheckName::DataDirectory => self.data_directory(),
            CheckName::Repmgrd => self.repmgrd(),
            CheckName::Identity => self.identity(),
            CheckName::WalRetained => self.wal_retained(server),
            CheckName::Archiver => self.archiver(server),
            CheckName::PendingRestart => self.pending_restart(),
            CheckName::Clock => self.clock(),
            CheckName::Daemon => self.daemon(),
            // A witness is a server of its own: it replicates nothing.
            _ if is_witness => return None,
            CheckName::ServerVersion => self.server_version(server),
            CheckName::Timeline => self.timeline(server),
            CheckName::Replay => self.replay(server),
            CheckName::LogicalSlots => self.logical_slots(server),
            CheckName::StandbySettings => self.standby_settings(server),
            CheckName::Rewind => self.rewind(),
            CheckName::ReplicationLogin => self.replication_login(),
            CheckName::ServerRole
            | CheckName::DbConnection
            | CheckName::FreeSpace
            | CheckName::UnfinishedOperation
            | CheckName::StandbySignal => return None,
        })
    }

    /// Makes a finding at least as bad as what was found wrong with the node already. Where it is as bad by itself, its own words stay:
    /// scripts know those of repmgr.
    fn raised(&self, mut found: Finding) -> Finding {
        // A former primary is no primary that a job for the primary should run on, whatever it reports itself.
        let of_role =
            |issue: &&Issue| issue.code == "primary_outdated" && found.name == CheckName::ServerRole;
        let of_check = self.issues.iter().copied();
        let of_check = of_check.filter(|issue| of_issue(issue.code) == Some(found.name) || of_role(issue));
        let Some(issue) = of_check.max_by_key(|issue| issue.severity) else { return found };
        let status = CheckStatus::from(issue.severity);
        if status == CheckStatus::Ok || status < found.status {
            return found;
        }
        if status > found.status {
            (found.status, found.quiet) = (status, false);
            found.text = issue.message.clone().into();
        }
        // What the message says already is not repeated.
        let said = crate::error::sentence(&found.message);
        let rest = |detail: &String| detail.strip_prefix(&said).unwrap_or(detail).trim_start().to_string();
        let text = &mut found.text;
        text.detail = text
            .detail
            .take()
            .or_else(|| issue.detail.as_ref().map(rest).filter(|detail| !detail.is_empty()));
        text.hint = text.hint.take().or_else(|| issue.hint.clone());
        found
    }

    /// Returns the node that accepts writes, if it is one.
    fn primary(&self) -> Option<(&NodeFacts, &ServerFacts)> {
        let mut primaries = self.evidence.facts.primaries();
        primaries.next().filter(|_| primaries.next().is_none())
    }

    fn name(&self) -> &str {
        &self.node.row.node_name
    }

    /// The finding of a check for which the server did not respond.
    fn not_asked(&self, name: CheckName) -> Finding {
        match self.evidence.asked.get(&self.node.row.node_id).map(|asked| &asked.more) {
            Some(Err(why)) => {
                Finding::unknown(name, "could not query the server").detail(crate::error::sentence(why))
            }
            _ => Finding::unknown(name, "the server was not queried"),
        }
    }

    /// The finding of a check that requires a privilege that the role lacks.
    fn no_right(&self, name: CheckName, message: &str, grant: &str) -> Finding {
        Finding::unknown(name, message).hint(format!("On the primary run: GRANT {grant} TO {};", self.role()))
    }

    fn role(&self) -> String {
        quote_ident(self.node.facts().map_or("repmgr", |server| &server.role))
    }
}
