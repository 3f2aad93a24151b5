//! What a daemon has recorded of the standbys: rows of `repmgr.monitoring_history`.
//!
//! The table itself is read, not the view `replication_status`: that calls a function which fails where the extension's library is of
//! another version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pg::client::{Session, SqlError};
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;

/// What was recorded last of a standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitoring {
    /// The standby.
    pub standby_node_id: i32,
    /// The node that was the primary then.
    pub primary_node_id: i32,
    /// When it was recorded.
    pub last_monitor_time: Timestamp,
    /// When the last replayed transaction was committed, as of then.
    pub last_apply_time: Option<Timestamp>,
    /// The end of the primary's WAL then.
    pub last_wal_primary_location: Lsn,
    /// The end of the WAL that the standby had received then.
    pub last_wal_standby_location: Option<Lsn>,
    /// Bytes that the standby had not received.
    pub replication_lag_bytes: i64,
    /// Bytes that it had received and not replayed.
    pub apply_lag_bytes: i64,
}

impl Monitoring {
    /// Returns the seconds from the last replayed transaction to the record, where there was something to replay.
    pub fn apply_lag_s(&self) -> Option<f64> {
        if self.replication_lag_bytes == 0 && self.apply_lag_bytes == 0 {
            return Some(0.0);
        }
        Some(self.last_monitor_time.duration_since(self.last_apply_time?).as_secs_f64().max(0.0))
    }
}

/// What there is of the table, and what the role may do with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct History {
    /// It exists.
    pub exists: bool,
    /// The role may use its schema.
    pub may_use: bool,
    /// The role may read it.
    pub may_read: bool,
    /// The role may delete rows.
    pub may_delete: bool,
    /// The role may empty it.
    pub may_truncate: bool,
    /// The role may vacuum it.
    pub may_vacuum: bool,
    /// The database.
    pub database: String,
    /// The role.
    pub role: String,
}

/// Looks at the table without touching it, so that no server's log fills up with errors about a missing one.
///
/// # Errors
/// Those of the query.
pub async fn inspect_monitoring(session: &Session) -> Result<History, SqlError> {
    session
        .query_json(
            "SELECT json_build_object('exists', c.oid IS NOT NULL, \
               'may_use', COALESCE(has_schema_privilege(n.oid, 'USAGE'), false), \
               'may_read', COALESCE(has_table_privilege(c.oid, 'SELECT'), false), \
               'may_delete', COALESCE(has_table_privilege(c.oid, 'DELETE'), false), \
               'may_truncate', COALESCE(has_table_privilege(c.oid, 'TRUNCATE'), false), \
               'may_vacuum', COALESCE(pg_has_role(c.relowner, 'USAGE') \
                  OR (SELECT pg_has_role(datdba, 'USAGE') FROM pg_catalog.pg_database WHERE datname = current_database()) \
                  OR CASE WHEN current_setting('server_version_num')::integer >= 170000 \
                     THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END, false), \
               'database', current_database(), 'role', current_user)::text \
             FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'repmgr' \
             LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'monitoring_history' \
                AND c.relkind IN ('r', 'p')",
            &[],
        )
        .await
}

/// Reads what was recorded last of each registered node, ordered by node id; None where there is no such table or it may not be read.
///
/// # Errors
/// Those of the queries.
pub async fn newest(session: &Session) -> Result<Option<Vec<Monitoring>>, SqlError> {
    let history = inspect_monitoring(session).await?;
    if !(history.exists && history.may_use && history.may_read) {
        return Ok(None);
    }
    // By way of the index, from its end: the table may hold months.
    session
        .query_json(
            "SELECT COALESCE(json_agg(row_to_json(m) ORDER BY m.standby_node_id), '[]')::text FROM repmgr.nodes n, LATERAL (\
               SELECT standby_node_id, primary_node_id, last_monitor_time, \
                  CASE WHEN isfinite(last_apply_time) THEN last_apply_time END AS last_apply_time, \
                  last_wal_primary_location, last_wal_standby_location, \
                  replication_lag AS replication_lag_bytes, apply_lag AS apply_lag_bytes \
               FROM repmgr.monitoring_history WHERE standby_node_id = n.node_id AND isfinite(last_monitor_time) \
               ORDER BY last_monitor_time DESC LIMIT 1) m",
            &[],
        )
        .await
        .map(Some)
}

/// Which records are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those that are at least so many days old; 0 for all.
    pub days: u32,
    /// Of this standby; None for all.
    pub node_id: Option<i32>,
}

/// The records of a [`Selection`]: `$1` days, `$2` the standby.
const SELECTED: &str = "FROM repmgr.monitoring_history WHERE \
     ($1::integer = 0 OR last_monitor_time <= current_timestamp - make_interval(days => $1::integer)) \
     AND ($2::integer IS NULL OR standby_node_id = $2::integer)";

/// Counts records.
///
/// # Errors
/// Those of the query.
pub async fn count(session: &Session, selection: Selection) -> Result<u64, SqlError> {
    let (days, node_id) = (selection.days.to_string(), selection.node_id.map(|id| id.to_string()));
    let sql = format!("SELECT count(*)::text {SELECTED}");
    let row = session.query_one(&sql, &[Some(&days), node_id.as_deref()]).await?;
    row.get(0)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| SqlError::answer("unexpected answer from the server"))
}

/// What a standby says of itself, for a record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sample {
    /// When.
    pub time: String,
    /// When the last replayed transaction was committed.
    pub applied: Option<String>,
    /// The end of the WAL that it has received.
    pub received: Option<Lsn>,
    /// The end of the WAL that it has replayed.
    pub replayed: Option<Lsn>,
}

impl Sample {
    /// Returns where its WAL ends. What comes from an archive is replayed and never received.
    pub fn end(&self) -> Option<Lsn> {
        self.received.max(self.replayed)
    }

    /// Returns the bytes that it has and has not replayed.
    pub fn apply_lag(&self) -> u64 {
        let lag = self.end().zip(self.replayed).and_then(|(end, replayed)| end.bytes_since(replayed));
        lag.unwrap_or(0)
    }
}

/// Asks a standby for a [`Sample`].
///
/// # Errors
/// Those of the query.
pub async fn sample(session: &Session) -> Result<Sample, SqlError> {
    session
        .query_json(
            "SELECT json_build_object('time', clock_timestamp(), 'applied', pg_last_xact_replay_timestamp(), \
               'received', pg_last_wal_receive_lsn(), 'replayed', pg_last_wal_replay_lsn())::text",
            &[],
        )
        .await
}

/// Returns the statement that records a sample of a standby on the primary, whose own position is read in it.
pub fn insert(primary: i32, standby: i32, sample: &Sample) -> Statement {
    Statement::new(
        "INSERT INTO repmgr.monitoring_history (primary_node_id, standby_node_id, last_monitor_time, last_apply_time, \
           last_wal_primary_location, last_wal_standby_location, replication_lag, apply_lag) \
         SELECT $1::integer, $2::integer, $3::timestamptz, $4::timestamptz, p.position, $5::pg_lsn, \
           GREATEST(p.position - COALESCE($5::pg_lsn, '0/0'), 0)::bigint, $6::bigint \
         FROM (SELECT pg_current_wal_lsn() AS position) p",
    )
    .bind(primary)
    .bind(standby)
    .bind(&sample.time)
    .bind_opt(sample.applied.as_ref())
    .bind_opt(sample.end())
    .bind(sample.apply_lag())
}

/// Returns the statement that deletes records.
pub fn delete(selection: Selection) -> Statement {
    Statement::new(format!("DELETE {SELECTED}")).bind(selection.days).bind_opt(selection.node_id)
}

/// Returns the statement that empties the table.
pub fn truncate() -> Statement {
    Statement::new("TRUNCATE repmgr.monitoring_history")
}

/// Returns the statement that gives the room of deleted records back. It must be alone.
pub fn vacuum() -> Statement {
    Statement::new("VACUUM repmgr.monitoring_history")
}
