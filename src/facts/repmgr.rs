//! What repmgr does on a server while we are there: its daemon, and its commands, which know nothing of our locks.

use serde::Deserialize;

use crate::pg::client::{Session, SqlError};

/// Seconds for which a session of repmgr counts as new.
///
/// Commands and daemons give their sessions the same name, and nothing else tells them apart from here. But a command that changes roles
/// opens sessions from its beginning on, and is mostly at its promotion in less than that; a daemon keeps those that it has. Without
/// the extension no daemon can run: then every session is a command's, however long it takes on a busy machine.
pub const NEW_S: u32 = 10;

/// What repmgr does on a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Repmgr {
    /// A repmgrd runs there.
    #[serde(skip)]
    pub running: bool,
    /// It is paused.
    #[serde(skip)]
    pub paused: bool,
    /// The backend processes that serve its sessions.
    pub sessions: Vec<i32>,
    /// Those of them that are new, or cannot be a daemon's, each with where it comes from.
    pub new: Vec<String>,
}

/// Its functions give NULL where the library is not preloaded: then nothing can run.
const DAEMON: &str = "SELECT json_build_array(coalesce(repmgr.repmgrd_is_running(), false), \
    coalesce(repmgr.repmgrd_is_paused(), false))::text";

/// Which rows of `pg_stat_activity` are sessions of repmgr, as a condition. Somebody whose conninfo gives every session that name cannot be
/// told from repmgr, so then nobody is taken for it.
pub const IS_REPMGRS: &str = "application_name = 'repmgr' AND datid IS NOT NULL AND pid <> pg_backend_pid() \
    AND current_setting('application_name') <> 'repmgr'";

/// `$1` is [`NEW_S`].
const SESSIONS: &str = "SELECT json_build_object('sessions', coalesce(json_agg(pid), '[]'), 'new', \
    coalesce(json_agg('process ' || pid || coalesce(' from ' || host(client_addr), '')) \
        FILTER (WHERE backend_start > clock_timestamp() - $1::integer * interval '1 s' OR (datname = current_database() \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'repmgr'))), '[]'))::text \
    FROM pg_stat_activity WHERE";

/// Asks a server.
///
/// # Errors
/// Those of the query. Where the functions of repmgr are not there, or are not for us, no daemon runs as far as we know.
pub async fn ask(session: &Session) -> Result<Repmgr, SqlError> {
    let sessions = format!("{SESSIONS} {IS_REPMGRS}");
    let found: Repmgr = session.query_json(&sessions, &[Some(&NEW_S.to_string())]).await?;
    let (running, paused) = session.query_json(DAEMON, &[]).await.unwrap_or_default();
    Ok(Repmgr { running, paused, ..found })
}
