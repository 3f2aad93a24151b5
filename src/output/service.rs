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
    /// Its priority, for repmgr's lines.
    #[serde(skip)]
    pub priority: i32,
    /// Its location, for repmgr's lines.
    #[serde(skip)]
    pub location: String,
    /// `running`, `stopped`, or `unknown` where its server does not respond and no other shows its daemon.
    pub daemon: &'static str,
    /// The process of the daemon.
    pub pid: Option<u32>,
    /// It takes no part in elections, and does not stop its server.
    pub paused: Option<bool>,
    /// What it has promised about elections and pauses.
    pub flag: Option<&'static str>,
    /// The pause that it has last taken part in: timeline and number.
    pub epoch: Option<String>,
    /// What it does: `leader`, `follower`, `candidate`, `handing_over`, `barred` or `fenced`.
    pub lease_role: Option<&'static str>,
    /// Seconds that its lease lasts; None for one that does not lead.
    pub lease_left_s: Option<f64>,
    /// It may be promoted.
    pub willing: Option<bool>,
    /// Seconds since its server has last heard its upstream; None where it receives no WAL.
    pub upstream_last_seen_s: Option<f64>,
    /// The version of pgbaton that runs as the daemon.
    pub version: Option<String>,
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

/// Writes repmgr's lines: number, name, role, whether the server runs, whether the daemon runs, its process, whether it is paused, priority, how
/// many seconds ago the upstream was last seen, and location. What is not known is -1, as there.
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
            let unknown = || "-1".to_string();
            format!(
                "{},{},{},{running},{daemon},{},{},{},{},{}\n",
                node.node_id,
                csv_field(&node.node_name),
                node.node_type,
                node.pid.map_or_else(unknown, |pid| pid.to_string()),
                paused(node, "1", "0", "-1"),
                node.priority,
                node.upstream_last_seen_s.map_or_else(unknown, |seconds| format!("{seconds:.0}")),
                csv_field(&node.location),
            )
        })
        .collect()
}

fn paused(node: &ServiceNode, yes: &str, no: &str, unknown: &str) -> String {
    node.paused.map_or(unknown, |paused| if paused { yes } else { no }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: i32) -> ServiceNode {
        ServiceNode {
            node_id: id,
            node_name: format!("n{id}"),
            node_type: "standby".into(),
            status: "running",
            upstream_node_name: Some("n1".into()),
            priority: 100,
            location: "default".into(),
            daemon: "running",
            pid: Some(4711),
            paused: Some(false),
            flag: Some("active"),
            epoch: Some("1.1".into()),
            lease_role: Some("follower"),
            lease_left_s: None,
            willing: Some(true),
            upstream_last_seen_s: Some(1.6),
            version: Some("0.2.0".into()),
            timeline: Some(1),
        }
    }

    fn report() -> ServiceReport {
        let down = ServiceNode {
            status: "unreachable",
            daemon: "unknown",
            pid: None,
            paused: None,
            flag: None,
            epoch: None,
            lease_role: None,
            willing: None,
            upstream_last_seen_s: None,
            version: None,
            timeline: None,
            location: "a,b".into(),
            ..node(3)
        };
        ServiceReport {
            leader_node_id: Some(1),
            votes: 2,
            majority: 2,
            paused: false,
            nodes: vec![node(2), down],
        }
    }

    #[test]
    fn scripts_get_the_columns_of_repmgr() {
        let lines = csv(&report());
        assert_eq!(lines, "2,n2,standby,1,1,4711,0,100,2,default\n3,n3,standby,0,-1,-1,-1,100,-1,\"a,b\"\n");
    }

    #[test]
    fn programs_get_every_field_and_null_for_what_is_not_known() {
        let json = serde_json::to_value(report()).unwrap();
        let (known, unknown) = (&json["nodes"][0], &json["nodes"][1]);
        for field in
            ["pid", "paused", "flag", "epoch", "lease_role", "willing", "upstream_last_seen_s", "version"]
        {
            assert!(!known[field].is_null(), "{field}");
            assert!(unknown.get(field).is_some_and(serde_json::Value::is_null), "{field}");
        }
        assert!(known.get("lease_left_s").is_some());
    }
}
