//! `cluster show` for people and for scripts written for repmgr.

use crate::facts::assess::{ClusterReport, NodeView, Role};
use crate::output::table::draw;
use crate::registry::NodeType;

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
    draw(header, rows)
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

/// The upstream's name; `?` before it where nobody can tell, `!` where the node is not attached to it.
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
