//! What the primary that a node is to rejoin is queried for, beyond what every server is queried for.

use serde::Deserialize;

use crate::pg::client::{Session, SqlError};
use crate::pg::history::Switch;
use crate::pg::quote::quote_ident;

/// What matters of the primary for a rewind, beyond what every server is asked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RewindSource {
    /// The role that we are there.
    pub role: String,
    /// The database that we are in: rights to functions are given in each one.
    pub database: String,
    /// It may make slots.
    pub may_replicate: bool,
    /// It may run CHECKPOINT.
    pub may_checkpoint: bool,
    /// Functions that pg_rewind calls and that it must not.
    pub forbidden: Vec<String>,
    /// The timeline in the control file: until the first checkpoint after a promotion it is the old one, and pg_rewind believes it.
    pub control_timeline: u32,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// The text of its history files, by the number of the timeline, as far as the replication connection or the files show it.
    #[serde(skip)]
    pub switches: Vec<Switch>,
}

/// The functions that pg_rewind calls on the source.
pub const FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// Returns the statements that let a role call functions that pg_rewind calls.
pub fn grants_to_rewind(role: &str, forbidden: &[String]) -> String {
    let role = quote_ident(role);
    let grants: Vec<String> =
        forbidden.iter().map(|function| format!("GRANT EXECUTE ON FUNCTION {function} TO {role};")).collect();
    grants.join(" ")
}

/// Asks the primary.
///
/// # Errors
/// Those of the query.
pub async fn query_rewind_source(session: &Session) -> Result<RewindSource, SqlError> {
    let functions = FUNCTIONS.map(|name| format!("('pg_catalog.{name}')")).join(", ");
    let sql = format!(
        "SELECT json_build_object(\
           'role', current_user, \
           'database', current_database(), \
           'may_replicate', r.rolsuper OR r.rolreplication, \
           'may_checkpoint', r.rolsuper OR EXISTS (SELECT FROM pg_roles \
              WHERE rolname = 'pg_checkpoint' AND pg_has_role(oid, 'USAGE')), \
           'forbidden', COALESCE((SELECT json_agg(f.name) FROM (VALUES {functions}) f(name) \
              WHERE NOT has_function_privilege(f.name, 'EXECUTE')), '[]'), \
           'control_timeline', (pg_control_checkpoint()).timeline_id, \
           'full_page_writes', current_setting('full_page_writes')::boolean)::text \
         FROM pg_roles r WHERE r.rolname = current_user"
    );
    session.query_json(&sql, &[]).await
}

/// Says which of these WAL segments a server does not have any more.
///
/// # Errors
/// Those of the query.
pub async fn segments_gone(session: &Session, names: &[String]) -> Result<Vec<String>, SqlError> {
    let list = serde_json::to_string(names).unwrap_or_default();
    session
        .query_json(
            "SELECT COALESCE((SELECT json_agg(name) FROM json_array_elements_text($1::json) name \
             WHERE (pg_stat_file('pg_wal/' || name, true)).size IS NULL), '[]')::text",
            &[Some(&list)],
        )
        .await
}
