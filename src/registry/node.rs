//! The rows of `repmgr.nodes`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pg::client::{Row, Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::statement::Statement;

/// A registered node, as its row says; its actual state is in `facts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// The node's number, unique and never changed.
    pub node_id: i32,
    /// The node it follows; None for a primary.
    pub upstream_node_id: Option<i32>,
    /// False for a node that was taken out, or a primary that was replaced.
    pub active: bool,
    /// The node's name, which is also its `application_name`.
    pub node_name: String,
    /// What it is registered as.
    #[serde(rename = "type")]
    pub node_type: NodeType,
    /// Failover stays inside a location.
    pub location: String,
    /// 0 is never promoted automatically.
    pub priority: i32,
    /// How all other nodes reach it.
    pub conninfo: String,
    /// The role that its standbys connect as.
    pub repluser: String,
    /// The slot that it uses on its upstream.
    pub slot_name: Option<String>,
    /// Its configuration file, on its host.
    pub config_file: String,
}

#[cfg(test)]
impl NodeRow {
    /// A node for tests: `node2`, with the slot that is its own; a standby is one of node 1.
    pub(crate) fn example(node_id: i32, node_type: NodeType) -> Self {
        Self {
            node_id,
            upstream_node_id: (node_type == NodeType::Standby).then_some(1),
            active: true,
            node_name: format!("node{node_id}"),
            node_type,
            location: "default".into(),
            priority: 100,
            conninfo: format!("host=h{node_id}"),
            repluser: "repmgr".into(),
            slot_name: Some(format!("repmgr_slot_{node_id}")),
            config_file: String::new(),
        }
    }
}

/// What a node is registered as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum NodeType {
    /// Accepts writes.
    Primary,
    /// Follows another node.
    Standby,
    /// Holds no data of the cluster; it is there to be counted.
    Witness,
    /// Anything else that the column may hold.
    Other(String),
}

impl NodeType {
    /// Returns the word that stands in the column.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::Witness => "witness",
            Self::Other(other) => other,
        }
    }
}

impl From<String> for NodeType {
    fn from(text: String) -> Self {
        match text.as_str() {
            "primary" => Self::Primary,
            "standby" => Self::Standby,
            "witness" => Self::Witness,
            _ => Self::Other(text),
        }
    }
}

impl From<NodeType> for String {
    fn from(node_type: NodeType) -> Self {
        node_type.as_str().to_string()
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The query that reads all rows, one JSON object each. They are put in order here: a fresh backend, which has to learn how to sort and to
/// aggregate first, takes four times as long.
const ALL_NODES: &str = "SELECT row_to_json(n) FROM repmgr.nodes n LIMIT 1001";

/// The most nodes. Each is asked over a connection of its own, all at once.
const MOST: usize = 1000;

/// Reads all rows, ordered by node id.
///
/// # Errors
/// Those of the query: SQLSTATE 42P01 or 3F000 where there is no metadata, 42501 where it may not be read.
pub async fn read_all(session: &Session) -> Result<Vec<NodeRow>, SqlError> {
    let rows = session.query(ALL_NODES, &[]).await?;
    if rows.len() > MOST {
        return Err(SqlError::answer(format!(
            "repmgr.nodes has more than {MOST} rows: this is not a valid cluster"
        )));
    }
    let rows = rows.iter().map(|row| serde_json::from_str(row.get(0).unwrap_or("null")));
    let mut rows: Vec<NodeRow> = rows
        .collect::<Result<_, _>>()
        .map_err(|error| SqlError::answer(format!("unexpected row in repmgr.nodes: {error}")))?;
    rows.sort_by_key(|row| row.node_id);
    Ok(rows)
}

/// Reads where ssh leads to each node, for those of which that is written down.
///
/// # Errors
/// Those of the query, but for a schema that is not there or may not be read: then nothing is written down.
pub async fn ssh_hosts(session: &Session) -> Result<BTreeMap<i32, String>, SqlError> {
    let asked =
        session.query("SELECT node_id::text, ssh_host FROM pgbaton.node WHERE ssh_host <> ''", &[]).await;
    let rows = match asked {
        Ok(rows) => rows,
        Err(error) if matches!(error.sqlstate.as_deref(), Some("42P01" | "3F000" | "42501")) => Vec::new(),
        Err(error) => return Err(error),
    };
    let host = |row: &Row| Some((row.get(0)?.parse().ok()?, row.get(1)?.to_string()));
    Ok(rows.iter().filter_map(host).collect())
}

impl NodeRow {
    /// Returns the statement that inserts this row, or brings an existing one up to date.
    pub fn upsert(&self) -> Statement {
        Statement::new(
            "INSERT INTO repmgr.nodes (node_id, upstream_node_id, active, node_name, type, location, priority, conninfo, \
             repluser, slot_name, config_file) VALUES ($1::integer, $2::integer, $3::boolean, $4, $5, $6, $7::integer, \
             $8, $9, $10, $11) ON CONFLICT (node_id) DO UPDATE SET upstream_node_id = EXCLUDED.upstream_node_id, \
             active = EXCLUDED.active, node_name = EXCLUDED.node_name, type = EXCLUDED.type, \
             location = EXCLUDED.location, priority = EXCLUDED.priority, conninfo = EXCLUDED.conninfo, \
             repluser = EXCLUDED.repluser, slot_name = EXCLUDED.slot_name, config_file = EXCLUDED.config_file",
        )
        .bind(self.node_id)
        .bind_opt(self.upstream_node_id)
        .bind(self.active)
        .bind(&self.node_name)
        .bind(&self.node_type)
        .bind(&self.location)
        .bind(self.priority)
        .bind_conninfo(self)
        .bind(&self.repluser)
        .bind_opt(self.slot_name.as_ref())
        .bind(&self.config_file)
    }
}

/// Returns the name under which the world keeps the conninfo of a node that holds a password.
pub fn conninfo_secret(node_id: i32) -> String {
    format!("conninfo of node {node_id}")
}

/// Returns the name under which the world keeps the password in the conninfo of a node.
pub fn password_secret(node_id: i32) -> String {
    format!("password of node {node_id}")
}

impl Statement {
    /// Binds the conninfo of a row: as it is, or by name where it holds a password.
    #[must_use]
    pub fn bind_conninfo(self, row: &NodeRow) -> Self {
        if holds_secret(&row.conninfo) {
            self.bind_secret(conninfo_secret(row.node_id))
        } else {
            self.bind(&row.conninfo)
        }
    }
}

/// Says whether a conninfo holds a password; one that cannot be parsed may.
pub fn holds_secret(conninfo: &str) -> bool {
    Conninfo::parse(conninfo)
        .map_or(true, |parsed| parsed.iter().count() != parsed.without_secrets().iter().count())
}

/// Says whether a conninfo holds a password for the server, rather than another secret.
pub fn holds_password(conninfo: &str) -> bool {
    Conninfo::parse(conninfo).is_ok_and(|parsed| parsed.get("password").is_some())
}

/// Returns the statements that make the table hold these rows and no others: the copy that a witness has. Run them in one transaction.
///
/// Rows are deleted, not truncated, which needs one privilege less; and no other process copies meanwhile, as a repmgrd on the witness may.
pub fn replace_all(rows: &[NodeRow]) -> Vec<Statement> {
    let first = [
        "LOCK TABLE repmgr.nodes IN SHARE ROW EXCLUSIVE MODE",
        // A node may stand before its upstream.
        "SET CONSTRAINTS ALL DEFERRED",
        "DELETE FROM repmgr.nodes",
    ];
    first.into_iter().map(Statement::new).chain(rows.iter().map(NodeRow::upsert)).collect()
}

/// Returns the statement that empties the copy of the metadata on a witness, and leaves anything else alone: a table that does not name
/// this node as a witness is no copy that belongs to it.
pub fn delete_copy(node_id: i32) -> Statement {
    Statement::new(
        "DELETE FROM repmgr.nodes WHERE EXISTS (SELECT FROM repmgr.nodes WHERE node_id = $1::integer AND type = 'witness')",
    )
    .bind(node_id)
}

/// Returns the statement that removes a row.
pub fn delete(node_id: i32) -> Statement {
    Statement::new("DELETE FROM repmgr.nodes WHERE node_id = $1::integer").bind(node_id)
}

/// Returns the statement that marks every other active primary as inactive: there is one primary, and this is it.
pub fn deactivate_other_primaries(node_id: i32) -> Statement {
    Statement::new(
        "UPDATE repmgr.nodes SET active = false WHERE type = 'primary' AND active AND node_id <> $1::integer",
    )
    .bind(node_id)
}

/// Returns the statement that records the slot that a node uses on its upstream.
pub fn set_slot_name(node_id: i32, slot_name: Option<&str>) -> Statement {
    Statement::new("UPDATE repmgr.nodes SET slot_name = $2 WHERE node_id = $1::integer")
        .bind(node_id)
        .bind_opt(slot_name)
}

/// Returns the name of the slot that a node uses on its upstream: repmgr's name, which its tools look for.
pub fn slot_name(node_id: i32) -> String {
    format!("repmgr_slot_{node_id}")
}
