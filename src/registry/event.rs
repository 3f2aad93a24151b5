//! Events: rows of `repmgr.events`, under repmgr's names.

use serde::{Deserialize, Serialize};

use crate::pg::client::{Session, SqlError};
use crate::pg::statement::Statement;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The node that it happened to.
    pub node_id: i32,
    /// The node's name now; None when it is no longer registered.
    pub node_name: Option<String>,
    /// What happened, under repmgr's name.
    pub event: String,
    /// Whether it went well.
    pub successful: bool,
    /// When, RFC 3339 in UTC.
    pub timestamp: String,
    /// When, `YYYY-MM-DD HH24:MI:SS` in the server's time zone, as repmgr prints it.
    #[serde(default, skip_serializing)]
    pub local_timestamp: String,
    /// More about it.
    pub details: Option<String>,
}

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// At most so many; None for all.
    pub limit: Option<u32>,
    /// Of this node.
    pub node_id: Option<i32>,
    /// Of the node of this name.
    pub node_name: Option<String>,
    /// Of this name.
    pub event: Option<String>,
}

/// Reads events, newest first.
///
/// Filters by the event's own node id, so that the events of a node that was unregistered can still be found.
///
/// # Errors
/// Those of the query.
pub async fn read(session: &Session, filter: &Filter) -> Result<Vec<Event>, SqlError> {
    let text = |value: Option<String>| value;
    let params = [
        text(filter.node_id.map(|id| id.to_string())),
        filter.node_name.clone(),
        filter.event.clone(),
        text(filter.limit.map(|limit| limit.to_string())),
    ];
    let params: Vec<Option<&str>> = params.iter().map(Option::as_deref).collect();
    session
        .query_json(
            "SELECT COALESCE(json_agg(row_to_json(e)), '[]')::text FROM (\
               SELECT e.node_id, n.node_name, e.event, e.successful, e.details, \
                      to_char(e.event_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS timestamp, \
                      to_char(e.event_timestamp, 'YYYY-MM-DD HH24:MI:SS') AS local_timestamp \
                 FROM repmgr.events e LEFT JOIN repmgr.nodes n USING (node_id) \
                WHERE ($1::integer IS NULL OR e.node_id = $1::integer) AND ($2 IS NULL OR n.node_name = $2) \
                  AND ($3 IS NULL OR e.event = $3) \
                ORDER BY e.event_timestamp DESC, e.ctid DESC LIMIT $4::bigint) e",
            &params,
        )
        .await
}

/// Returns the statement that records an event.
pub fn insert(node_id: i32, event: &str, successful: bool, details: &str) -> Statement {
    Statement::new(
        "INSERT INTO repmgr.events (node_id, event, successful, details) VALUES ($1::integer, $2, $3::boolean, $4)",
    )
    .bind(node_id)
    .bind(event)
    .bind(successful)
    .bind(details)
}

/// Returns the statement that records an event of so many seconds ago. The clocks of two hosts may differ: the server's counts.
///
/// `is_doubtful`: it may have been recorded already.
pub fn insert_late(
    node_id: i32,
    event: &str,
    successful: bool,
    details: &str,
    age_s: f64,
    is_doubtful: bool,
) -> Statement {
    const INSERT: &str = "INSERT INTO repmgr.events (node_id, event, successful, event_timestamp, details) SELECT \
         $1::integer, $2::text, $3::boolean, current_timestamp - make_interval(secs => $4::double precision), $5::text";
    const UNLESS_THERE: &str = " WHERE NOT EXISTS (SELECT FROM repmgr.events e WHERE e.node_id = $1::integer \
         AND e.event = $2::text AND e.details = $5::text AND e.event_timestamp BETWEEN \
         current_timestamp - make_interval(secs => $4::double precision + 3) AND \
         current_timestamp - make_interval(secs => $4::double precision - 3))";
    Statement::new(if is_doubtful { format!("{INSERT}{UNLESS_THERE}") } else { INSERT.to_string() })
        .bind(node_id)
        .bind(event)
        .bind(successful)
        .bind(age_s)
        .bind(details)
}
