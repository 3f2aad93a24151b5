//! What a server that is to be cloned says of itself, beyond what every server is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::facts::settings::{self, Settings, TARGET_TIMELINE, TARGETS, TRIGGER_FILE, UPSTREAM};
use crate::pg::client::{Session, SqlError};

/// What matters for a base backup and for a standby of this server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// `wal_level`.
    pub wal_level: String,
    /// `port`.
    pub port: u16,
    /// `hot_standby`.
    pub hot_standby: bool,
    /// `archive_mode`.
    pub archive_mode: String,
    /// `archive_command`; None where the role may not see it.
    pub archive_command: Option<String>,
    /// `archive_library` (15 and later).
    pub archive_library: Option<String>,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// Data checksums are on.
    pub data_checksums: bool,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// `data_directory`; None where the role may not see it.
    pub data_directory: Option<String>,
    /// Group members may read the data directory.
    pub group_access: bool,
    /// WAL senders in use.
    pub wal_senders_used: i64,
    /// Bytes in all databases and tablespaces; None where that took too long to find out.
    #[serde(skip)]
    pub total_bytes: Option<u64>,
    /// Tablespaces outside the data directory.
    pub tablespaces: Vec<Tablespace>,
    /// Configuration files outside the data directory.
    pub external_files: Vec<ExternalFile>,
    /// Settings of recovery that are set in a configuration file and would be copied: a clone must not act on them.
    pub recovery_settings: Vec<String>,
    /// What is in force of the settings that a standby depends on.
    #[serde(deserialize_with = "settings::answered")]
    pub settings: Settings,
    /// The role connected as.
    pub role: String,
    /// The role may create slots and stream.
    pub role_replicates: bool,
    /// The role may see all settings.
    pub sees_settings: bool,
    /// The role may read the server's files.
    pub reads_server_files: bool,
}

/// A tablespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its name.
    pub name: String,
    /// Its directory on the source's host.
    pub location: String,
    /// Its size; None where the role may not see it, or where that took too long to find out.
    #[serde(skip)]
    pub bytes: Option<u64>,
}

/// A configuration file outside the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalFile {
    /// Its path on the source's host.
    pub path: String,
    /// Its name in the data directory, should it be copied there.
    pub file_name: String,
}

/// Returns the names of settings that were written for one recovery, or one node, and do not go into a clone's own file: what ends a
/// recovery, where the server streams from, and the delay. How WAL comes from the archive is no such thing.
pub fn removed() -> impl Iterator<Item = &'static str> {
    let more = ["recovery_target_action", "recovery_target_inclusive", "recovery_min_apply_delay"];
    cleared().chain(more)
}

/// Returns the names of those among them that are cleared where they stand in another file that is copied.
fn cleared() -> impl Iterator<Item = &'static str> {
    TARGETS.into_iter().chain([TARGET_TIMELINE, TRIGGER_FILE]).chain(UPSTREAM)
}

/// The files that a server reads its configuration from, as far as the role may know them.
const FILES: &str = "SELECT DISTINCT f AS path FROM (\
       SELECT setting FROM pg_settings WHERE name IN ('config_file', 'hba_file', 'ident_file') \
       UNION SELECT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL) s(f) WHERE f IS NOT NULL AND f <> ''";

/// Asks a server what matters for cloning it.
///
/// # Errors
/// Those of the query.
pub async fn query_source_facts(session: &Session) -> Result<SourceFacts, SqlError> {
    let may_see = "(SELECT pg_has_role('pg_read_all_settings', 'USAGE'))";
    let names: Vec<String> = cleared().map(|name| format!("'{name}'")).collect();
    let (names, table) = (names.join(", "), settings::table(&[]));
    let asked = settings::ASKED;
    let sql = format!(
        "WITH {table} SELECT json_build_object(\
           'wal_level', current_setting('wal_level'), \
           'port', current_setting('port')::integer, \
           'hot_standby', current_setting('hot_standby')::boolean, \
           'archive_mode', current_setting('archive_mode'), \
           'archive_command', (SELECT setting FROM pg_settings WHERE name = 'archive_command' AND {may_see}), \
           'archive_library', current_setting('archive_library', true), \
           'wal_log_hints', current_setting('wal_log_hints')::boolean, \
           'data_checksums', current_setting('data_checksums')::boolean, \
           'full_page_writes', current_setting('full_page_writes')::boolean, \
           'data_directory', (SELECT setting FROM pg_settings WHERE name = 'data_directory'), \
           'group_access', current_setting('data_directory_mode') IN ('0750', '750'), \
           'wal_senders_used', (SELECT count(*) FROM pg_stat_replication), \
           'tablespaces', COALESCE((SELECT json_agg(json_build_object('name', spcname, \
                'location', pg_tablespace_location(oid)) ORDER BY spcname) \
                FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''), '[]'), \
           'external_files', COALESCE((WITH files AS ({FILES} AND {may_see}), \
                dir AS (SELECT setting || '/' AS prefix FROM pg_settings WHERE name = 'data_directory') \
                SELECT json_agg(json_build_object('path', path, 'file_name', regexp_replace(path, '^.*/', '')) \
                       ORDER BY path) FROM files, dir WHERE NOT starts_with(path, prefix)), '[]'), \
           'recovery_settings', COALESCE((SELECT json_agg(name ORDER BY name) FROM pg_settings \
                WHERE name IN ({names}) AND source = 'configuration file'), '[]'), \
           'settings', {asked}, \
           'role', current_user, \
           'role_replicates', (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), \
           'sees_settings', {may_see}, \
           'reads_server_files', has_function_privilege('pg_read_file(text)', 'EXECUTE') \
                AND pg_has_role('pg_read_server_files', 'USAGE'))::text"
    );
    let mut source: SourceFacts = session.query_json(&sql, &[]).await?;
    if let Ok(sizes) = session.within(SIZES_WITHIN).query_json::<Sizes>(SIZES, &[]).await {
        source.total_bytes = sizes.total_bytes;
        for tablespace in &mut source.tablespaces {
            tablespace.bytes = sizes.tablespaces.get(&tablespace.name).copied().flatten();
        }
    }
    Ok(source)
}

/// Asks for the role of a session, and whether it may create slots and stream.
///
/// # Errors
/// Those of the query.
pub async fn query_role(session: &Session) -> Result<(String, bool), SqlError> {
    const SQL: &str = "SELECT rolname::text, (rolsuper OR rolreplication)::text FROM pg_roles \
                       WHERE rolname = current_user";
    let row = session.query_one(SQL, &[]).await?;
    Ok((row.get(0).unwrap_or_default().to_string(), row.get(1) == Some("true")))
}

/// How long the server may count files: it looks at every single one, and a large cluster has hundreds of thousands.
const SIZES_WITHIN: Duration = Duration::from_secs(60);

/// Counts the bytes of all databases and tablespaces that the role may know of.
const SIZES: &str = "SELECT json_build_object(\
   'total_bytes', (SELECT sum(pg_database_size(oid))::bigint FROM pg_database \
        WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')), \
   'tablespaces', COALESCE((SELECT json_object_agg(spcname, CASE WHEN has_tablespace_privilege(oid, 'CREATE') \
        OR pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_tablespace_size(oid) END) \
        FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''), '{}'))::text";

#[derive(Deserialize)]
struct Sizes {
    total_bytes: Option<u64>,
    tablespaces: BTreeMap<String, Option<u64>>,
}

/// Counts the bytes of all databases that the role may know of; None where that takes too long.
pub async fn total_bytes(session: &Session) -> Option<u64> {
    session.query_json::<Sizes>(SIZES, &[]).await.ok()?.total_bytes
}

/// Says whether a server reads its configuration from this file.
///
/// # Errors
/// Those of the query.
pub async fn uses_file(session: &Session, path: &str) -> Result<bool, SqlError> {
    let sql = format!("SELECT ($1 IN ({FILES}))::text");
    Ok(session.query_one(&sql, &[Some(path)]).await?.get(0) == Some("true"))
}

/// Reads a configuration file of the source over SQL.
///
/// # Errors
/// Those of the query: 42501 for a role that may not.
pub async fn read_file(session: &Session, path: &str) -> Result<String, SqlError> {
    session.query_json("SELECT to_json(pg_read_file($1))::text", &[Some(path)]).await
}
