//! `cluster matrix` and `cluster crosscheck` in repmgr's shapes.

use crate::facts::matrix::{Link, LinkStatus, Matrix};
use crate::output::table::draw;

/// Draws repmgr's table: a row for each node that connects, a column for each that is connected to.
pub fn table(matrix: &Matrix) -> String {
    let ids: Vec<String> = matrix.nodes.iter().map(|node| node.node_id.to_string()).collect();
    let header: Vec<&str> = ["Name", "ID"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let rows = matrix.nodes.iter().map(|node| {
        let mut row = vec![node.node_name.clone(), node.node_id.to_string()];
        row.extend(matrix.connections.iter().filter(|link| link.from == node.node_id).map(cell));
        row
    });
    draw(&header, rows.collect())
}

fn cell(link: &Link) -> String {
    match link.status {
        LinkStatus::Ok => "*",
        LinkStatus::Failed => "x",
        LinkStatus::Unknown => "?",
    }
    .to_string()
}

/// Writes repmgr's lines `from,to,status`: 0 connects, -1 does not, -2 unknown.
pub fn csv(matrix: &Matrix) -> String {
    let line = |link: &Link| {
        let status = match link.status {
            LinkStatus::Ok => 0,
            LinkStatus::Failed => -1,
            LinkStatus::Unknown => -2,
        };
        format!("{},{},{status}\n", link.from, link.to)
    };
    matrix.connections.iter().map(line).collect()
}
