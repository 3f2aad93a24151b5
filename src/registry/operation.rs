//! Operations as the cluster sees them: rows of `pgbaton.operation`, in addition to the journal of the node.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Exit;
use crate::pg::client::{Session, SqlError};
use crate::pg::history::TimelineId;
use crate::pg::statement::Statement;

/// What one has to know of an operation to judge later whether its row still means anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The nodes that it changes.
    pub nodes: Vec<i32>,
    /// The timeline of the cluster when it began.
    pub timeline: TimelineId,
    /// The system identifier of the cluster.
    pub system_identifier: String,
}

/// A row of an operation that has not reported its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOperation {
    /// Its id, which is also the name of its journal on the node.
    pub operation_id: String,
    /// The command: `standby switchover`.
    pub command: String,
    /// The node that runs it.
    pub node_id: Option<i32>,
    /// When it began.
    pub started_at: Timestamp,
    /// The nodes that it changes; None in a row of version 0.1.0.
    #[serde(default)]
    pub nodes: Option<Vec<i32>>,
    /// The timeline of the cluster when it began; None in a row of version 0.1.0.
    #[serde(default)]
    pub timeline: Option<TimelineId>,
    /// The system identifier of the cluster; None in a row of version 0.1.0.
    #[serde(default)]
    pub system_identifier: Option<String>,
}

/// Whether the role may read the table; null where there is none. Asked first, so that no server's log fills up with errors about a table that
/// does not exist.
const READABLE: &str = "SELECT to_jsonb((SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'pgbaton' AND c.relname = 'operation'))::text";

/// `to_jsonb` instead of columns: a table of version 0.1.0 does not have all of them.
const OPEN: &str = "SELECT COALESCE(jsonb_agg(to_jsonb(o) ORDER BY o.started_at), '[]')::text FROM pgbaton.operation o \
     WHERE o.finished_at IS NULL";

/// Returns the operations that have not reported their end, by this server's copy of the table; none where there is no table.
///
/// # Errors
/// Those of the queries, and where the role may not read the table.
pub async fn open(session: &Session) -> Result<Vec<OpenOperation>, SqlError> {
    match session.query_json(READABLE, &[]).await? {
        Some(true) => session.query_json(OPEN, &[]).await,
        Some(false) => Err(SqlError::answer("permission denied for table pgbaton.operation")),
        None => Ok(Vec::new()),
    }
}

/// The statements that give a table of version 0.1.0 the columns that it lacks.
pub fn add_columns() -> Statement {
    Statement::new(
        "ALTER TABLE pgbaton.operation ADD COLUMN IF NOT EXISTS nodes integer[], \
         ADD COLUMN IF NOT EXISTS timeline integer, ADD COLUMN IF NOT EXISTS system_identifier text",
    )
}

/// Returns the statement that records an operation that is about to begin. A table of version 0.1.0 takes what it has columns for.
pub fn begun(operation_id: &str, command: &str, node_id: i32, scope: Option<&Scope>) -> Statement {
    let row = serde_json::json!({
        "operation_id": operation_id,
        "command": command,
        "node_id": node_id,
        "nodes": scope.map(|scope| &scope.nodes),
        "timeline": scope.map(|scope| scope.timeline),
        "system_identifier": scope.map(|scope| &scope.system_identifier),
    });
    Statement::new(
        "INSERT INTO pgbaton.operation SELECT * FROM jsonb_populate_record(NULL::pgbaton.operation, \
         $1::jsonb || jsonb_build_object('started_at', current_timestamp))",
    )
    .bind(row)
}

/// Returns the statement that records how an operation ended.
pub fn ended(operation_id: &str, exit: Exit) -> Statement {
    Statement::new(
        "UPDATE pgbaton.operation SET finished_at = current_timestamp, exit_code = $2::integer WHERE operation_id = $1",
    )
    .bind(operation_id)
    .bind(exit.code())
}

/// Returns the statement that closes a row of an operation that is known to be over, or that is given up.
pub fn close(operation_id: &str) -> Statement {
    Statement::new(
        "UPDATE pgbaton.operation SET finished_at = current_timestamp WHERE operation_id = $1 AND finished_at IS NULL",
    )
    .bind(operation_id)
}

/// Returns the statement that closes a row of an operation of this node.
pub fn close_own(operation_id: &str, node_id: i32) -> Statement {
    Statement::new(
        "UPDATE pgbaton.operation SET finished_at = current_timestamp WHERE operation_id = $1 \
         AND node_id = $2::integer AND finished_at IS NULL",
    )
    .bind(operation_id)
    .bind(node_id)
}

/// Returns the statement that closes what was open on an earlier timeline than that of the server, where the rows say so.
pub fn close_before_promotion() -> Statement {
    Statement::new(
        "UPDATE pgbaton.operation SET finished_at = current_timestamp WHERE finished_at IS NULL \
         AND (to_jsonb(operation) ->> 'timeline')::integer < \
         ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer",
    )
}

/// Returns the statement that closes the rows of a node that is taken out of the cluster.
pub fn close_all_of(node_id: i32) -> Statement {
    Statement::new(
        "UPDATE pgbaton.operation SET finished_at = current_timestamp WHERE node_id = $1::integer AND finished_at IS NULL",
    )
    .bind(node_id)
}
