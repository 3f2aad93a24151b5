//! `cluster show` for people and for scripts written for repmgr.

use crate::assess::cluster::{ClusterReport, NodeView, Role, ago};
use crate::output::table::draw;
use crate::registry::NodeType;
use crate::registry::monitoring::Monitoring;
use crate::units::size;

/// Draws repmgr's table, or its narrower form.
pub fn table(report: &ClusterReport, compact: bool) -> String {
    let header: &[&str] = if compact {
        &["ID", "Name", "Role", "Status", "Upstream", "Location", "Prio.", "TLI"]
    } else {
        &["ID", "Name", "Role", "Status", "Upstream", "Location", "Priority", "Timeline", "Connection string"]
    };
    let rows = report
        .nodes
        .iter()
        .map(|node| {
            let mut row = vec![
                node.node_id.to_string(),
                node.node_name.clone(),
                node.node_type.to_string(),
                format!("{} {}", marker(node), node.status),
                upstream(node),
                node.location.clone(),
                node.priority.to_string(),
                timeline(node),
            ];
            if !compact {
                row.push(node.conninfo.clone());
            }
            row
        })
        .collect();
    let mut out = draw(header, rows);
    if let Some(recorded) = report.monitoring.as_deref().filter(|recorded| !recorded.is_empty()) {
        out.push_str(&format!("\n{}", monitoring(report, recorded)));
    }
    out
}

/// Draws what a daemon recorded last, with how long ago that was.
fn monitoring(report: &ClusterReport, recorded: &[Monitoring]) -> String {
    let name = |id: i32| {
        let node = report.nodes.iter().find(|node| node.node_id == id);
        node.map_or_else(|| format!("node {id}"), |node| node.node_name.clone())
    };
    let bytes = |bytes: i64| u64::try_from(bytes).map_or_else(|_| format!("{bytes} bytes"), size);
    let rows = recorded.iter().map(|row| {
        vec![
            name(row.standby_node_id),
            name(row.primary_node_id),
            ago(report.cluster.observed_at, row.last_monitor_time),
            bytes(row.replication_lag_bytes),
            bytes(row.apply_lag_bytes),
            row.apply_lag_s().map_or_else(|| "?".to_string(), |lag| format!("{lag:.0} s")),
        ]
    });
    let header = ["Standby", "Primary", "Recorded", "Not received", "Not replayed", "Behind"];
    draw(&header, rows.collect())
}

/// Writes repmgr's lines `node_id,availability,recovery`, without a header.
pub fn csv(report: &ClusterReport) -> String {
    report
        .nodes
        .iter()
        .map(|node| {
            let availability = if node.reachable { 0 } else { -1 };
            let recovery = match node.observed_role {
                Role::Primary | Role::Witness => 0,
                Role::Standby => 1,
                Role::Unknown => -1,
            };
            format!("{},{availability},{recovery}\n", node.node_id)
        })
        .collect()
}

/// `*` for the one that clients use, `?` for doubt, `!` for something wrong, `-` for something given up.
fn marker(node: &NodeView) -> char {
    match (node.active, node.observed_role, &node.node_type) {
        (true, Role::Primary, NodeType::Primary) | (true, Role::Witness, _) => '*',
        (true, Role::Standby, NodeType::Standby) => ' ',
        (_, _, NodeType::Other(_)) => '?',
        (_, Role::Unknown, _) if node.reachable => '!',
        (true, Role::Unknown, _) => '?',
        (false, Role::Unknown, _) if !node.answered => '-',
        _ => '!',
    }
}

/// The upstream's name; `?` before it if that is unknown, `!` where the node is not attached to it.
fn upstream(node: &NodeView) -> String {
    let name = node.upstream_node_name.clone().unwrap_or_default();
    match (&node.node_type, node.attached) {
        (NodeType::Primary, _) => String::new(),
        (NodeType::Witness, _) | (_, Some(true)) => name,
        (_, Some(false)) => format!("! {name}"),
        (_, None) if name.is_empty() => name,
        (_, None) => format!("? {name}"),
    }
}

fn timeline(node: &NodeView) -> String {
    match (&node.node_type, node.timeline) {
        (NodeType::Witness, _) => "n/a".into(),
        (_, Some(timeline)) => timeline.to_string(),
        (_, None) if node.reachable => "?".into(),
        (_, None) => String::new(),
    }
}
