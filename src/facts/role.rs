//! What a role change needs to know of a server beyond what `cluster show` shows: what our role may do there, and settings that decide.

use std::path::PathBuf;

use serde::Deserialize;

use crate::facts::settings::{self, Settings};
use crate::pg::client::{Session, SqlError};

/// What our role may do on a server, and settings that decide how its role is changed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RoleFacts {
    /// The role that we are there.
    pub role: String,
    /// It is a superuser.
    pub superuser: bool,
    /// It may make and drop slots.
    pub may_replicate: bool,
    /// It may call `pg_promote()`.
    pub may_promote: bool,
    /// It may call `pg_reload_conf()`.
    pub may_reload: bool,
    /// It may run CHECKPOINT.
    pub may_checkpoint: bool,
    /// It may read all settings, `primary_conninfo` among them.
    pub may_read_settings: bool,
    /// It may change `primary_conninfo` and `primary_slot_name` by ALTER SYSTEM.
    pub may_set_upstream: bool,
    /// `allow_alter_system`; on before PostgreSQL 17.
    pub alter_system_allowed: bool,
    /// `recovery_min_apply_delay` in milliseconds.
    pub apply_delay_ms: i64,
    /// `wal_receiver_timeout` in milliseconds; 0 is forever.
    pub wal_receiver_timeout_ms: i64,
    /// `primary_slot_name`; None where it may not be read.
    pub primary_slot_name: Option<String>,
    /// The data directory; None where it may not be read.
    pub data_directory: Option<PathBuf>,
    /// Where postgresql.conf is; None where it may not be read.
    pub config_file: Option<PathBuf>,
    /// What is in force of the settings that a standby depends on.
    #[serde(deserialize_with = "settings::answered")]
    pub settings: Settings,
    /// `default_transaction_read_only` of the server itself; where it is set for this role or this database, that value hides it, and this
    /// is off.
    pub read_only: bool,
    /// Databases and roles for which `default_transaction_read_only` is on, without our own role.
    pub read_only_for: Vec<ReadOnlyFor>,
}

/// A database, a role, or a role in a database whose transactions are read-only by default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadOnlyFor {
    /// The database; None for all.
    pub database: Option<String>,
    /// The role; None for all.
    pub role: Option<String>,
}

/// Where `default_transaction_read_only` is set for databases and roles. Other settings are no booleans: the CASE keeps them from being
/// read as one, in whatever order conditions are looked at.
const READ_ONLY: &str = "(SELECT d.datname AS database, a.rolname AS role, \
    CASE WHEN c LIKE 'default_transaction_read_only=%' THEN split_part(c, '=', 2)::boolean ELSE false END AS value \
    FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c LEFT JOIN pg_database d ON d.oid = s.setdatabase \
    LEFT JOIN pg_roles a ON a.oid = s.setrole) set_for";

/// Asks a server.
///
/// # Errors
/// Those of the query.
pub async fn query_role_facts(session: &Session) -> Result<RoleFacts, SqlError> {
    let may_set = if session.server_version_num() >= 150_000 {
        "(r.rolsuper OR (has_parameter_privilege('primary_conninfo', 'ALTER SYSTEM') \
         AND has_parameter_privilege('primary_slot_name', 'ALTER SYSTEM')))"
    } else {
        "r.rolsuper"
    };
    let shown = |name: &str| {
        format!("CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('{name}') END")
    };
    let ms = |name: &str| format!("(SELECT setting::bigint FROM s WHERE name = '{name}')");
    let sql = format!(
        "WITH {} SELECT json_build_object(\
           'role', current_user, \
           'superuser', r.rolsuper, \
           'may_replicate', r.rolsuper OR r.rolreplication, \
           'may_promote', has_function_privilege('pg_promote(boolean,integer)', 'EXECUTE'), \
           'may_reload', has_function_privilege('pg_reload_conf()', 'EXECUTE'), \
           'may_checkpoint', r.rolsuper OR EXISTS (SELECT FROM pg_roles \
              WHERE rolname = 'pg_checkpoint' AND pg_has_role(oid, 'USAGE')), \
           'may_read_settings', pg_has_role('pg_read_all_settings', 'USAGE'), \
           'may_set_upstream', {may_set}, \
           'alter_system_allowed', COALESCE(current_setting('allow_alter_system', true), 'on') = 'on', \
           'apply_delay_ms', {}, \
           'wal_receiver_timeout_ms', {}, \
           'primary_slot_name', current_setting('primary_slot_name'), \
           'data_directory', {}, \
           'config_file', {}, \
           'read_only', (SELECT reset_val::boolean FROM pg_settings WHERE name = 'default_transaction_read_only') \
              AND NOT EXISTS (SELECT FROM {READ_ONLY} WHERE value AND (database = current_database() OR database IS NULL) \
              AND (role = current_user OR role IS NULL)), \
           'read_only_for', ARRAY(SELECT json_build_object('database', database, 'role', role) FROM {READ_ONLY} \
              WHERE value AND role IS DISTINCT FROM current_user ORDER BY database, role), \
           'settings', {})::text FROM pg_roles r WHERE r.rolname = current_user",
        settings::table(&["recovery_min_apply_delay", "wal_receiver_timeout"]),
        ms("recovery_min_apply_delay"),
        ms("wal_receiver_timeout"),
        shown("data_directory"),
        shown("config_file"),
        settings::ASKED,
    );
    session.query_json(&sql, &[]).await
}

impl RoleFacts {
    /// The role can point this standby at another upstream by SQL alone.
    pub fn can_follow_by_sql(&self) -> bool {
        self.may_set_upstream && self.alter_system_allowed && self.may_read_settings && self.may_reload
    }

    /// Returns the statements that would let the role do so, for a superuser to run on the primary; empty where nothing is missing, and
    /// None where no statement helps.
    pub fn grants_to_follow(&self, version_num: u32) -> Option<Vec<String>> {
        let role = crate::pg::quote::quote_ident(&self.role);
        let mut out = Vec::new();
        if !self.may_set_upstream {
            if version_num < 150_000 {
                return None;
            }
            out.push(format!(
                "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name TO {role};"
            ));
        }
        if !self.alter_system_allowed {
            return None;
        }
        if !self.may_read_settings {
            out.push(format!("GRANT pg_read_all_settings TO {role};"));
        }
        if !self.may_reload {
            out.push(format!("GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {role};"));
        }
        Some(out)
    }
}

#[cfg(test)]
impl RoleFacts {
    /// A superuser on a server with the settings of initdb.
    pub(crate) fn example() -> Self {
        Self {
            role: "repmgr".into(),
            superuser: true,
            may_replicate: true,
            may_promote: true,
            may_reload: true,
            may_checkpoint: true,
            may_read_settings: true,
            may_set_upstream: true,
            alter_system_allowed: true,
            apply_delay_ms: 0,
            wal_receiver_timeout_ms: 60_000,
            primary_slot_name: None,
            data_directory: Some("/data".into()),
            config_file: Some("/data/postgresql.conf".into()),
            settings: Settings::default(),
            read_only: false,
            read_only_for: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_granted_by_name() {
        let mut facts = RoleFacts::example();
        assert!(facts.can_follow_by_sql());
        assert_eq!(facts.grants_to_follow(150_000), Some(vec![]));
        facts.may_set_upstream = false;
        facts.may_reload = false;
        assert!(!facts.can_follow_by_sql());
        assert_eq!(facts.grants_to_follow(140_000), None);
        let grants = facts.grants_to_follow(150_000).unwrap();
        assert_eq!(grants.len(), 2);
        assert!(grants[0].ends_with("primary_slot_name TO \"repmgr\";"));
        facts.alter_system_allowed = false;
        assert_eq!(facts.grants_to_follow(170_000), None);
    }
}
