//! `service status` in repmgr's shapes, and as JSON.

use serde::Serialize;

use crate::output::table::{csv_field, draw};

/// The daemons of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceReport {
    /// The node whose daemon leads, as far as is seen.
    pub leader_node_id: Option<i32>,
    /// The votes that are seen in the leader's hands.
    pub votes: usize,
    /// How many of them are needed.
    pub majority: usize,
    /// All daemons that respond are paused.
    pub paused: bool,
    /// Each node.
    pub nodes: Vec<ServiceNode>,
}

/// The daemon of one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceNode {
    /// Its number.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// What it is registered as.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Whether its server responds: `running` or `unreachable`.
    pub status: &'static str,
    /// The node that it is registered to follow.
    pub upstream_node_name: Option<String>,
    /// `running`, `stopped`, or `unknown` where its server does not respond.
    pub daemon: &'static str,
    /// It takes no part in elections, and does not stop its server.
    pub paused: Option<bool>,
    /// What it has promised about elections and pauses.
    pub flag: Option<&'static str>,
    /// The pause that it has last taken part in: timeline and number.
    pub epoch: Option<String>,
    /// What it does.
    pub lease_role: Option<&'static str>,
    /// The timeline of its server, as it says.
    pub timeline: Option<u32>,
}

/// The column of the upstream.
const UPSTREAM: usize = 4;

/// Draws the table; the upstream is left out of the narrower form.
pub fn table(report: &ServiceReport, compact: bool) -> String {
    let mut header = vec!["ID", "Name", "Role", "Status", "Upstream", "Daemon", "Lease", "Paused?"];
    if compact {
        header.remove(UPSTREAM);
    }
    let rows = report.nodes.iter().map(|node| {
        let mut row = vec![
            node.node_id.to_string(),
            node.node_name.clone(),
            node.node_type.clone(),
            node.status.to_string(),
            node.upstream_node_name.clone().unwrap_or_default(),
            node.daemon.to_string(),
            node.lease_role.unwrap_or("n/a").to_string(),
            paused(node, "yes", "no", "n/a"),
        ];
        if compact {
            row.remove(UPSTREAM);
        }
        row
    });
    draw(&header, rows.collect())
}

/// Writes repmgr's lines: number, name, role, whether the server runs, whether the daemon runs, its process, whether it is paused, priority, and
/// when the upstream was last seen. What is not known is -1, as there.
pub fn csv(report: &ServiceReport) -> String {
    report
        .nodes
        .iter()
        .map(|node| {
            let running = if node.status == "running" { "1" } else { "0" };
            let daemon = match node.daemon {
                "running" => "1",
                "stopped" => "0",
                _ => "-1",
            };
            format!(
                "{},{},{},{running},{daemon},-1,{},-1,-1\n",
                node.node_id,
                csv_field(&node.node_name),
                node.node_type,
                paused(node, "1", "0", "-1"),
            )
        })
        .collect()
}

fn paused(node: &ServiceNode, yes: &str, no: &str, unknown: &str) -> String {
    node.paused.map_or(unknown, |paused| if paused { yes } else { no }).to_string()
}
