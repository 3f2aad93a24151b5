//! What a server is queried for by the checks, beyond what every server is queried for.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use crate::facts::check_name::CheckName;
use crate::facts::cluster::bounded;
use crate::facts::rejoin::FUNCTIONS;
use crate::facts::settings::NOT_LOWER;
use crate::pg::client::{Session, SqlError};

/// What a server was queried for by the checks.
#[derive(Clone, Debug)]
pub struct CheckAnswer {
    /// The answer, or why there is none.
    pub more: Result<CheckServerFacts, String>,
    /// Its clock against the one here.
    pub clock: Option<Clock>,
    /// The password was sent over the network as it is.
    pub exposed_password: bool,
}

/// A clock against the one of this host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Seconds that it is ahead.
    pub offset_s: f64,
    /// Seconds by which that may be wrong: it is unknown when within the round trip it was read.
    pub uncertainty_s: f64,
}

/// What a server says for the checks.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CheckServerFacts {
    /// The database that we are in.
    pub database: String,
    /// The role may see all settings.
    pub sees_settings: bool,
    /// The data directory; None where it may not be seen.
    pub data_directory: Option<PathBuf>,
    /// `archive_mode`.
    pub archive_mode: String,
    /// What the archiver did.
    pub archiver: Archiver,
    /// Finished segments that wait for the archiver; None where the role may not count them.
    #[serde(default)]
    pub archive_ready: Option<u64>,
    /// Why they were not counted, although the role has the privilege.
    #[serde(default)]
    pub ready_uncounted: Option<String>,
    /// Seconds that the oldest of them has waited; None if none waits or they were not counted.
    #[serde(default)]
    pub ready_age_s: Option<f64>,
    /// Settings that were changed and need a restart.
    pub pending_restart: Vec<String>,
    /// What a flood of connections leaves for the daemons.
    pub connections: Connections,
    /// Settings that must not be lower on a standby than on its primary.
    pub settings: Vec<(String, i64)>,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// Data checksums are on.
    pub data_checksums: bool,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// Functions that pg_rewind calls on its source and that the role must not.
    pub forbidden: Vec<String>,
    /// Whether repmgrd runs and whether it is paused, as the functions of repmgr say; None if unknown.
    #[serde(default)]
    pub repmgrd: Option<Repmgrd>,
}

/// Who may still connect when the applications take all connections that they can get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Connections {
    /// `max_connections`.
    pub max: i64,
    /// `superuser_reserved_connections`.
    pub for_superusers: i64,
    /// `reserved_connections`, from PostgreSQL 16 on.
    pub reserved: Option<i64>,
    /// The role is a superuser.
    pub is_superuser: bool,
    /// The role has `pg_use_reserved_connections`.
    pub may_use_reserved: bool,
    /// How many connections all other roles together may have, superusers aside; None where one of them has no limit.
    pub others: Option<i64>,
}

impl Connections {
    /// Returns how many connections are left for the role, whatever the others do.
    pub fn left(&self) -> i64 {
        let reserved = self.reserved.unwrap_or_default();
        let unreserved = self.max - self.for_superusers - reserved;
        let open = self.others.map_or(0, |others| (unreserved - others).max(0));
        let kept = if self.may_use_reserved || self.is_superuser { reserved } else { 0 };
        open + kept + if self.is_superuser { self.for_superusers } else { 0 }
    }
}

/// What `pg_stat_archiver` says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Archiver {
    /// The last attempt failed.
    pub failing: bool,
    /// There is a command or a library to archive with.
    pub has_command: bool,
    /// Seconds since a file was archived or failed last, or else since the server was started.
    pub idle_s: Option<f64>,
    /// Which file that was.
    pub failed_wal: Option<String>,
    /// When it failed last.
    pub failed_at: Option<String>,
    /// When a file was archived last.
    pub archived_at: Option<String>,
}

/// What the functions of repmgr say of repmgrd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Repmgrd {
    /// It runs; None where the library is not loaded.
    pub running: Option<bool>,
    /// It is paused.
    pub paused: Option<bool>,
}

/// Counts what waits for the archiver. A query of its own: the right is looked at before anything is run.
const READY: &str = "SELECT json_build_array(count(*), extract(epoch FROM clock_timestamp() - min(modification)))::text \
     FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";

/// Whether the functions of repmgr are there. Asked first, so that no server's log fills up with errors.
const HAS_REPMGR: &str = "SELECT COALESCE((SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace \
     WHERE nspname = 'repmgr'), false) AND to_regproc('repmgr.repmgrd_is_running') IS NOT NULL";

const REPMGRD: &str = "SELECT json_build_object('running', repmgr.repmgrd_is_running(), \
     'paused', repmgr.repmgrd_is_paused())::text";

/// Asks a server what these checks need, until a moment and no longer. What has come by then counts.
pub async fn query_check_facts(session: &Session, names: &[CheckName], until: Instant) -> CheckAnswer {
    // By itself: the time of anything else would make the answer less certain.
    let clock = bounded(until, clock(session)).await.ok().flatten();
    let more = match bounded(until, query_check_server_facts(session)).await {
        Ok(mut more) => {
            // Counting very many files takes long, so it is done only if needed.
            if names.iter().any(|name| matches!(name, CheckName::ArchiveReady | CheckName::Archiver)) {
                match bounded(until, ready(session)).await {
                    Ok(Some((files, age_s))) => {
                        (more.archive_ready, more.ready_age_s) = (Some(files), age_s);
                    }
                    Ok(None) => {}
                    Err(error) => more.ready_uncounted = Some(error.to_string()),
                }
            }
            if names.contains(&CheckName::Repmgrd) {
                more.repmgrd = bounded(until, repmgrd(session)).await.unwrap_or_default();
            }
            Ok(more)
        }
        Err(error) => Err(error.to_string()),
    };
    CheckAnswer { more, clock, exposed_password: session.exposed_password() }
}

async fn query_check_server_facts(session: &Session) -> Result<CheckServerFacts, SqlError> {
    let functions = FUNCTIONS.map(|name| format!("('pg_catalog.{name}')")).join(", ");
    let settings =
        NOT_LOWER.map(|(name, _)| format!("json_build_array('{name}', current_setting('{name}')::bigint)"));
    let sql = format!(
        "SELECT json_build_object(\
           'database', current_database(), \
           'sees_settings', pg_has_role('pg_read_all_settings', 'USAGE'), \
           'data_directory', CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') \
              THEN current_setting('data_directory') END, \
           'archive_mode', current_setting('archive_mode'), \
           'archiver', (SELECT json_build_object('failed_wal', last_failed_wal, 'failed_at', last_failed_time, \
              'archived_at', last_archived_time, \
              'has_command', current_setting('archive_command') <> '' \
                 OR COALESCE(current_setting('archive_library', true), '') <> '', \
              'idle_s', extract(epoch FROM clock_timestamp() - \
                 GREATEST(last_archived_time, last_failed_time, pg_postmaster_start_time())), 'failing', \
              COALESCE(last_failed_time > COALESCE(last_archived_time, '-infinity'), false)) FROM pg_stat_archiver), \
           'connections', json_build_object(\
              'max', current_setting('max_connections')::bigint, \
              'for_superusers', current_setting('superuser_reserved_connections')::bigint, \
              'reserved', current_setting('reserved_connections', true)::bigint, \
              'is_superuser', current_setting('is_superuser')::boolean, \
              'may_use_reserved', EXISTS(SELECT FROM pg_roles WHERE rolname = 'pg_use_reserved_connections' \
                 AND pg_has_role(oid, 'USAGE')), \
              'others', (SELECT CASE WHEN bool_or(rolconnlimit < 0) THEN NULL ELSE COALESCE(sum(rolconnlimit), 0) END \
                 FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND rolname <> current_user)), \
           'pending_restart', ARRAY(SELECT name FROM pg_settings WHERE pending_restart ORDER BY name), \
           'settings', json_build_array({}), \
           'wal_log_hints', current_setting('wal_log_hints')::boolean, \
           'data_checksums', current_setting('data_checksums')::boolean, \
           'full_page_writes', current_setting('full_page_writes')::boolean, \
           'forbidden', ARRAY(SELECT f.name FROM (VALUES {functions}) f(name) \
              WHERE NOT has_function_privilege(f.name, 'EXECUTE')))::text",
        settings.join(", ")
    );
    session.query_json(&sql, &[]).await
}

/// Returns what the functions of repmgr say, where they are.
async fn repmgrd(session: &Session) -> Result<Option<Repmgrd>, SqlError> {
    match session.query_one(HAS_REPMGR, &[]).await?.get(0) {
        Some("t") => session.query_json(REPMGRD, &[]).await.map(Some),
        _ => Ok(None),
    }
}

/// Counts what waits for the archiver, and says for how long, where the role may.
async fn ready(session: &Session) -> Result<Option<(u64, Option<f64>)>, SqlError> {
    const MAY: &str = "SELECT has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE')";
    match session.query_one(MAY, &[]).await?.get(0) {
        Some("t") => session.query_json(READY, &[]).await.map(Some),
        _ => Ok(None),
    }
}

/// Reads the server's clock, and takes it that this was in the middle of the round trip.
async fn clock(session: &Session) -> Result<Option<Clock>, SqlError> {
    let (sent, begun) = (Timestamp::now(), Instant::now());
    let row = session.query_one("SELECT extract(epoch FROM clock_timestamp())", &[]).await?;
    let half = begun.elapsed().as_secs_f64() / 2.0;
    let there: Option<f64> = row.get(0).and_then(|text| text.parse().ok());
    let here = Duration::try_from(sent.as_duration()).unwrap_or_default().as_secs_f64() + half;
    Ok(there.map(|there| Clock { offset_s: there - here, uncertainty_s: half }))
}
