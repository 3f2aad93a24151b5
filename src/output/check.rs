//! `node check` and `cluster check`: repmgr's lines, lines for Nagios, CSV, and the table of problems.

use jiff::Timestamp;
use serde::Serialize;

use crate::assess::checks::{CheckStatus, Figures, Finding, Findings, NodeFindings, Thresholds, worst};
use crate::assess::cluster::{State, ago};
use crate::error::Issue;
use crate::facts::check_name::CheckName;
use crate::output::table::{csv_field, draw, one_line, quoted};

/// How the findings are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All checks of a node, a line each.
    Overview,
    /// The checks that were named.
    Single,
    /// The same for Nagios.
    Nagios,
    /// The same for the repmgr of another node.
    OptFormat,
    /// One line for Nagios about all checks of a node.
    NodeNagios,
    /// The verdict on a cluster, and the problems.
    Cluster,
    /// One line for Nagios about a cluster.
    ClusterNagios,
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterState {
    /// As `cluster show` has it.
    pub state: State,
    /// The node that accepts writes, if it is exactly one.
    pub primary_node_id: Option<i32>,
    /// When this was true.
    pub observed_at: Timestamp,
}

/// The findings as they are reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    /// The worst of them.
    pub verdict: CheckStatus,
    /// What to type next.
    pub next: Vec<String>,
    /// The cluster as a whole; not where one node was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterState>,
    /// The nodes.
    pub nodes: Vec<NodeFindings>,
    /// What is wrong with the cluster as a whole.
    #[serde(skip)]
    pub of_cluster: Vec<Issue>,
    /// How they are reported.
    #[serde(skip)]
    pub layout: Layout,
    #[serde(skip)]
    reachable: usize,
    #[serde(skip)]
    now: Option<Timestamp>,
    #[serde(skip)]
    lag_limits: (f64, f64),
}

impl CheckReport {
    /// What was found about one node.
    pub fn of_node(nodes: Vec<NodeFindings>, layout: Layout) -> Self {
        let next =
            nodes.iter().flat_map(|node| &node.checks).filter_map(|check| check.next.clone()).collect();
        let (verdict, reachable) = (worst(&nodes), nodes.len());
        Self {
            verdict,
            next,
            cluster: None,
            nodes,
            of_cluster: Vec::new(),
            layout,
            reachable,
            now: None,
            lag_limits: (0.0, 0.0),
        }
    }

    /// What was found about a cluster.
    pub fn of_cluster(findings: &Findings, now: Timestamp, layout: Layout) -> Self {
        let cluster = &findings.cluster.cluster;
        let state = ClusterState {
            state: cluster.state,
            primary_node_id: cluster.primary_node_id,
            observed_at: cluster.observed_at,
        };
        Self {
            verdict: findings.verdict(),
            next: findings.next(),
            cluster: Some(state),
            nodes: findings.nodes.clone(),
            of_cluster: findings.of_cluster().cloned().collect(),
            layout,
            reachable: findings.cluster.nodes.iter().filter(|node| node.reachable).count(),
            now: Some(now),
            lag_limits: (0.0, 0.0),
        }
    }

    /// Takes the limits that performance data shows.
    pub fn thresholds(&mut self, thresholds: &Thresholds) {
        self.lag_limits = thresholds.lag_s;
    }

    /// Returns all findings with their nodes.
    fn findings(&self) -> impl Iterator<Item = (&NodeFindings, &Finding)> {
        self.nodes.iter().flat_map(|node| node.checks.iter().map(move |finding| (node, finding)))
    }

    /// Returns those that count in the verdict, the worst first.
    pub fn wrong(&self) -> Vec<(&NodeFindings, &Finding)> {
        let mut wrong: Vec<_> =
            self.findings().filter(|(_, finding)| finding.weight() != CheckStatus::Ok).collect();
        wrong.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.weight()));
        wrong
    }

    /// Says in one line how it is: what `state` says, how much is wrong, and what most of all.
    fn headline(&self) -> String {
        const NAMED: usize = 3;
        let node =
            |id: i32| self.nodes.iter().find(|node| node.node_id == id).map(|node| node.node_name.as_str());
        let mut parts = Vec::new();
        if let Some(cluster) = &self.cluster {
            // Other things may be wrong with the whole of it, too, such as two rows that say primary.
            let of_state = |issue: &&Issue| matches!(issue.code, "no_primary" | "split_brain");
            parts.push(match (cluster.state, self.of_cluster.iter().find(of_state)) {
                (State::Healthy | State::Degraded, _) => {
                    format!("\"{}\" is the primary", cluster.primary_node_id.and_then(node).unwrap_or("?"))
                }
                (State::Unknown, _) => {
                    let seen = self.now.map(|now| ago(now, cluster.observed_at)).unwrap_or_default();
                    format!("no node responds, the cluster was last seen {seen}")
                }
                (State::NoPrimary | State::SplitBrain, Some(issue)) => issue.message.clone(),
                (State::NoPrimary, None) => "no node accepts writes".to_string(),
                (State::SplitBrain, None) => "split brain: several nodes accept writes".to_string(),
            });
        }
        let made = self.findings().filter(|(_, finding)| !finding.quiet).count();
        let wrong = self.wrong();
        if wrong.is_empty() {
            parts.push(format!("{made} checks passed"));
        } else {
            let count = |status| wrong.iter().filter(|(_, finding)| finding.weight() == status).count();
            let counted = [CheckStatus::Critical, CheckStatus::Warning, CheckStatus::Unknown]
                .map(|status| (count(status), status));
            let counted = counted.iter().filter(|(count, _)| *count > 0);
            let counted: Vec<String> = counted
                .map(|(count, status)| format!("{count} {}", status.nagios_word().to_lowercase()))
                .collect();
            let named: Vec<String> = wrong
                .iter()
                .take(NAMED)
                .map(|(node, finding)| {
                    format!("{} {}: {}", node.node_name, finding.name.as_str(), finding.message)
                })
                .collect();
            let more = if wrong.len() > NAMED { "; ..." } else { "" };
            parts.push(format!("{} of {made} checks ({}{more})", counted.join(", "), named.join("; ")));
        }
        one_line(&parts.join("; "))
    }
}

/// Writes what goes to standard output, for people and for Nagios.
pub fn text(report: &CheckReport) -> String {
    let each = |line: fn(&Finding) -> String| -> String {
        report
            .findings()
            .map(|(_, finding)| line(finding))
            .filter(|line| !line.is_empty())
            .map(|line| line + "\n")
            .collect()
    };
    match report.layout {
        Layout::Overview => overview(report),
        Layout::Single => match report.findings().collect::<Vec<_>>().as_slice() {
            [(_, only)] => format!("{}\n", describe(only)),
            _ => each(|finding| format!("{}: {}", finding.name.item(), describe(finding))),
        },
        Layout::Nagios => each(nagios),
        Layout::OptFormat => each(optformat),
        Layout::NodeNagios => summary("PGBATON_NODE", report),
        Layout::ClusterNagios => summary("PGBATON_CLUSTER", report),
        Layout::Cluster => cluster(report),
    }
}

fn describe(finding: &Finding) -> String {
    one_line(&format!("{} ({})", finding.status.nagios_word(), finding.message))
}

fn overview(report: &CheckReport) -> String {
    let mut out = String::new();
    for node in &report.nodes {
        out.push_str(&format!("Node \"{}\":\n", one_line(&node.node_name)));
        for finding in &node.checks {
            out.push_str(&format!("\t{}: {}\n", finding.name.item(), describe(finding)));
        }
    }
    out
}

fn cluster(report: &CheckReport) -> String {
    let mut out = format!("{}: {}\n", report.verdict.nagios_word(), report.headline());
    let of_cluster = report.of_cluster.iter().map(|issue| {
        vec![
            String::new(),
            issue.code.to_string(),
            CheckStatus::from(issue.severity).nagios_word().to_string(),
            issue.message.clone(),
        ]
    });
    let of_nodes = report.wrong().into_iter().map(|(node, finding)| {
        let name = finding.name.as_str().to_string();
        vec![node.node_name.clone(), name, finding.status.nagios_word().to_string(), finding.message.clone()]
    });
    let rows: Vec<Vec<String>> = of_cluster.chain(of_nodes).collect();
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&draw(&["Node", "Check", "Status", "Message"], rows));
    }
    if !report.next.is_empty() {
        out.push_str(&format!("\nNext:\n  {}\n", report.next.join("\n  ")));
    }
    out
}

/// The line for Nagios where nothing could be checked.
pub fn no_answer(label: &str, why: &str) -> String {
    format!("{label} UNKNOWN: {}\n", one_line(why).replace('|', "/"))
}

/// The line of repmgr, and lines like it for checks that repmgr has not.
fn nagios(finding: &Finding) -> String {
    let limits = || {
        let shown = |limit: Option<f64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        // What becomes bad by falling is written so by Nagios.
        let below = if finding.name == CheckName::FreeSpace { ":" } else { "" };
        format!("{}{below};{}{below}", shown(finding.warning), shown(finding.critical))
    };
    // A bar begins the performance data, and may be nowhere else.
    let message = one_line(&finding.message).replace('|', "/");
    let shown = match (finding.name, &finding.figures, finding.value) {
        (CheckName::ArchiveReady, _, Some(files)) => {
            format!("{files} pending archive ready files | files={files};{}", limits())
        }
        (CheckName::ReplicationLag, _, Some(lag)) => format!("{lag} seconds | lag={lag};{}", limits()),
        (_, Figures::Downstream { attached, missing }, _) => {
            let message = match missing.as_slice() {
                [] => message,
                names => message.replace(
                    &format!("; missing: {}", names.join(", ")),
                    &format!(" (missing: {})", names.join(", ")),
                ),
            };
            format!("{message} | attached={attached}, missing={}", missing.len())
        }
        (_, Figures::Slots { all, inactive }, _) => format!("{message} | slots={all};{inactive}"),
        (_, Figures::MissingSlots(names), _) => {
            let names: String = names.iter().map(|name| format!(";{name}")).collect();
            format!("{message} | missing_slots={}{names}", finding.value.unwrap_or_default())
        }
        (_, Figures::Directory { configured, actual }, _) if finding.status != CheckStatus::Unknown => {
            match actual {
                Some(actual) => format!("{configured} | actual data directory is \"{actual}\""),
                None => configured.clone(),
            }
        }
        (name, _, Some(value)) if finding.warning.is_some() => {
            let unit = match finding.unit {
                Some("bytes") => "B",
                Some("seconds") => "s",
                Some("percent") => "%",
                _ => "",
            };
            format!("{message} | {}={:.3}{unit};{}", name.as_str(), value, limits())
        }
        _ => message,
    };
    format!("{} {}: {}", finding.name.nagios(), finding.status.nagios_word(), one_line(&shown))
}

/// The line that repmgr reads from the repmgr of another node; empty where it reads none.
fn optformat(finding: &Finding) -> String {
    let status = finding.status.nagios_word();
    let measured = |what: &str| {
        let Some(value) = finding.value else { return format!("--status={status}") };
        let threshold = match finding.status {
            CheckStatus::Warning => finding.warning,
            CheckStatus::Critical => finding.critical,
            CheckStatus::Ok | CheckStatus::Unknown => None,
        };
        let threshold = threshold.map(|limit| format!(" --threshold={limit}")).unwrap_or_default();
        format!("--status={status} --{what}={value}{threshold}")
    };
    match finding.name {
        CheckName::ArchiveReady => measured("files"),
        CheckName::ReplicationLag => measured("lag"),
        CheckName::DataDirectory => format!("--configured-data-directory={status}"),
        CheckName::Repmgrd => format!("--repmgrd={status}"),
        CheckName::DbConnection => format!("--db-connection={status}"),
        _ => String::new(),
    }
}

/// One line about everything.
fn summary(label: &str, report: &CheckReport) -> String {
    let wrong = report.wrong();
    let count = |status| wrong.iter().filter(|(_, finding)| finding.weight() == status).count();
    let lag = report.findings().filter(|(_, finding)| finding.name == CheckName::ReplicationLag);
    let lag = lag.filter_map(|(_, finding)| finding.value).reduce(f64::max);
    let free = report.findings().filter(|(_, finding)| finding.name == CheckName::FreeSpace);
    let free = free.filter_map(|(_, finding)| finding.value).reduce(f64::min);
    let mut data = format!(
        "nodes={} reachable={} critical={} warning={} unknown={}",
        report.nodes.len(),
        report.reachable,
        count(CheckStatus::Critical),
        count(CheckStatus::Warning),
        count(CheckStatus::Unknown)
    );
    if let Some(lag) = lag {
        let (warning, critical) = report.lag_limits;
        let limits = if critical > 0.0 { format!(";{warning};{critical}") } else { String::new() };
        data.push_str(&format!(" lag={lag}s{limits}"));
    }
    if let Some(free) = free {
        data.push_str(&format!(" free={free:.1}%"));
    }
    format!("{label} {}: {} | {data}\n", report.verdict.nagios_word(), report.headline().replace('|', "/"))
}

/// Writes CSV: of a node repmgr's rows, complete and quoted; of a cluster a row for each check.
pub fn csv(report: &CheckReport) -> String {
    if report.cluster.is_none() {
        return report.nodes.iter().map(node_csv).collect();
    }
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    report
        .findings()
        .map(|(node, finding)| {
            let fields = [
                node.node_id.to_string(),
                csv_field(&one_line(&node.node_name)),
                finding.name.as_str().to_string(),
                finding.status.nagios_word().to_string(),
                number(finding.value),
                finding.unit.unwrap_or_default().to_string(),
                number(finding.warning),
                number(finding.critical),
                quoted(&one_line(&finding.message)),
            ];
            fields.join(",") + "\n"
        })
        .collect()
}

fn node_csv(node: &NodeFindings) -> String {
    let mut out =
        format!("\"Node name\",{}\n\"Node ID\",\"{}\"\n", quoted(&one_line(&node.node_name)), node.node_id);
    for finding in &node.checks {
        let fields =
            [finding.name.item(), finding.status.nagios_word(), &one_line(&finding.message)].map(quoted);
        out.push_str(&(fields.join(",") + "\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::check_name::CheckName::{ArchiveReady, FreeSpace, Timeline, WalRetained};

    fn of(checks: Vec<Finding>) -> CheckReport {
        let node = NodeFindings { node_id: 1, node_name: "n\"1".into(), checks };
        CheckReport::of_node(vec![node], Layout::Nagios)
    }

    #[test]
    fn a_bar_begins_the_performance_data_and_nothing_else() {
        let finding = Finding {
            value: Some(1536.0),
            unit: Some("bytes"),
            warning: Some(8.0),
            critical: Some(9.0),
            ..Finding::new(WalRetained, CheckStatus::Critical, "slot \"a|b\" keeps\nmuch")
        };
        let line = "PGBATON_WAL_RETAINED CRITICAL: slot \"a/b\" keeps much | wal_retained=1536.000B;8;9\n";
        assert_eq!(text(&of(vec![finding])), line);
        let free = Finding {
            value: Some(4.25),
            unit: Some("percent"),
            warning: Some(15.0),
            critical: Some(5.0),
            ..Finding::new(FreeSpace, CheckStatus::Critical, "4 % free")
        };
        assert_eq!(
            text(&of(vec![free])),
            "PGBATON_FREE_SPACE CRITICAL: 4 % free | free_space=4.250%;15:;5:\n"
        );
        let unknown = Finding::new(ArchiveReady, CheckStatus::Unknown, "unable");
        assert_eq!(text(&of(vec![unknown.clone()])), "REPMGR_ARCHIVE_READY UNKNOWN: unable\n");
        let report = CheckReport { layout: Layout::OptFormat, ..of(vec![unknown]) };
        assert_eq!(text(&report), "--status=UNKNOWN\n");
    }

    #[test]
    fn csv_is_quoted_and_a_row_is_a_line() {
        let report =
            of(vec![Finding::new(Timeline, CheckStatus::Ok, "with the history of \"n2\",\nas it is")]);
        assert_eq!(
            csv(&report),
            "\"Node name\",\"n\"\"1\"\n\"Node ID\",\"1\"\n\
             \"Timeline\",\"OK\",\"with the history of \"\"n2\"\", as it is\"\n"
        );
    }

    #[test]
    fn a_row_about_a_cluster_is_a_line_too() {
        let state = ClusterState {
            state: State::NoPrimary,
            primary_node_id: None,
            observed_at: Timestamp::UNIX_EPOCH,
        };
        let issue = |code, message: &str| Issue::new(crate::error::Severity::Error, code, message);
        let mut report = of(vec![Finding::new(Timeline, CheckStatus::Ok, "a")]);
        report.cluster = Some(state);
        report.nodes[0].node_name = "n\n1".into();
        assert_eq!(csv(&report), "1,n 1,timeline,OK,,,,,\"a\"\n");
        // The worst is reported, not what happens to be first.
        report.of_cluster = vec![
            issue("several_registered", "two are registered"),
            issue("no_primary", "no node accepts writes"),
        ];
        assert!(report.headline().starts_with("no node accepts writes; "), "{}", report.headline());
    }

    #[test]
    fn several_checks_are_told_apart() {
        let two = vec![
            Finding::new(Timeline, CheckStatus::Ok, "a"),
            Finding::new(FreeSpace, CheckStatus::Warning, "b"),
        ];
        let report = CheckReport { layout: Layout::Single, ..of(two) };
        assert_eq!(text(&report), "Timeline: OK (a)\nFree disk space: WARNING (b)\n");
        assert_eq!(report.verdict, CheckStatus::Warning);
        let summary = text(&CheckReport { layout: Layout::NodeNagios, ..report });
        assert!(
            summary
                .starts_with("PGBATON_NODE WARNING: 1 warning of 2 checks (n\"1 free_space: b) | nodes=1 ")
        );
    }
}
