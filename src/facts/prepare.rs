//! What a server has of all that replication requires: settings, roles, privileges, a database, allowed connections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

use crate::pg::client::{Session, SqlError};
use crate::pg::hba::{self, Rule};
use crate::secret::Secret;
use crate::system::files;

/// The settings that are looked at.
pub const SETTINGS: [&str; 12] = [
    "wal_level",
    "max_wal_senders",
    "max_replication_slots",
    "hot_standby",
    "full_page_writes",
    "wal_log_hints",
    "data_checksums",
    "listen_addresses",
    "archive_mode",
    "archive_command",
    "archive_library",
    "restore_command",
];

/// The functions that the role calls in its database and that need an explicit privilege, by what they are for.
pub const ROLE_FUNCTIONS: [&str; 3] =
    ["pg_promote(boolean, integer)", "pg_reload_conf()", "pg_wal_replay_resume()"];
/// The functions that pg_rewind calls on its source; the last one also compares histories.
pub const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// A setting as it is in force, and as the files have it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct SettingNow {
    /// The value in force.
    pub value: String,
    /// Where it comes from: `default`, `configuration file`, `command line`, …
    pub source: String,
    /// When a new value takes effect: `postmaster` is at a restart.
    pub context: String,
    /// The files' last word about it.
    #[serde(default)]
    pub file: Option<FileValue>,
}

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FileValue {
    /// The value.
    pub value: String,
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct RoleNow {
    /// It may log in.
    pub login: bool,
    /// It may replicate.
    pub replication: bool,
    /// It may everything.
    pub superuser: bool,
    /// It has the rights of `pg_monitor`.
    pub monitors: bool,
    /// It has the rights of `pg_checkpoint`, which there is from PostgreSQL 15 on.
    pub checkpoints: bool,
    /// It may change where its server replicates from, by ALTER SYSTEM; from PostgreSQL 15 on.
    pub alters_system: bool,
    /// What is stored of its password.
    #[serde(skip)]
    pub stored: Option<Secret>,
}

/// The database of the metadata.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct DatabaseNow {
    /// Who owns it.
    pub owner: String,
    /// The role may connect to it.
    pub may_connect: bool,
    /// The role may make schemas in it.
    pub may_create: bool,
    /// The functions of ours that the role may not call in it.
    #[serde(default)]
    pub denied: Vec<String>,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ServerSetup {
    /// The version as a number.
    pub version_num: u32,
    /// Of the cluster; its standbys have the same.
    pub system_identifier: String,
    /// `pg_postmaster_start_time()`.
    pub started_at: String,
    /// It is a standby: what is in its databases comes from its primary.
    pub in_recovery: bool,
    /// The one who asked is a superuser. Rules and files are not to be seen by others.
    pub superuser: bool,
    /// Who asked.
    pub asked_as: String,
    /// The data directory; None where it may not be seen.
    pub data_directory: Option<PathBuf>,
    /// `postgresql.conf`.
    pub config_file: Option<PathBuf>,
    /// `pg_hba.conf`.
    pub hba_file: Option<PathBuf>,
    /// It has TLS.
    pub ssl: bool,
    /// `allow_alter_system`; on before PostgreSQL 17.
    pub alter_system_allowed: bool,
    /// Slots that are not those of nodes.
    pub other_slots: u32,
    /// The settings.
    pub settings: BTreeMap<String, SettingNow>,
    /// Roles of ours that exist.
    pub roles: BTreeMap<String, RoleNow>,
    /// The database, if it exists.
    pub database: Option<DatabaseNow>,
    /// What is wrong with the configuration files, as `line 7 of "…": syntax error`.
    #[serde(default)]
    pub file_errors: Vec<String>,
    /// The rules of `pg_hba.conf`; None where they may not be seen.
    #[serde(default)]
    pub rules: Option<Vec<Rule>>,
    /// The roles that roles of ours are or belong to.
    #[serde(default)]
    pub member_of: BTreeMap<String, BTreeSet<String>>,
    /// Regular expressions in rules, and what they match of our names.
    #[serde(default)]
    pub matches: BTreeSet<(String, String)>,
}

/// Whose things are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The role of the conninfo.
    pub role: &'a str,
    /// The role that standbys replicate as.
    pub replication_role: &'a str,
    /// The database of the metadata.
    pub database: &'a str,
}

/// Asks a server, in any of its databases.
///
/// # Errors
/// Those of the queries.
pub async fn query_server_setup(session: &Session, names: Names<'_>) -> Result<ServerSetup, SqlError> {
    let of_15 = session.server_version_num() >= 150_000;
    let alters = if of_15 {
        "has_parameter_privilege(r.oid, 'primary_conninfo', 'ALTER SYSTEM') \
         AND has_parameter_privilege(r.oid, 'primary_slot_name', 'ALTER SYSTEM')"
    } else {
        "r.rolsuper"
    };
    let shown = |name: &str| {
        format!("CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('{name}') END")
    };
    let settings = SETTINGS.map(|name| format!("'{name}'")).join(", ");
    let sql = format!(
        "SELECT json_build_object(\
           'version_num', current_setting('server_version_num')::integer, \
           'system_identifier', (pg_control_system()).system_identifier::text, \
           'started_at', pg_postmaster_start_time(), \
           'in_recovery', pg_is_in_recovery(), \
           'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), \
           'asked_as', current_user, \
           'data_directory', {}, 'config_file', {}, 'hba_file', {}, \
           'ssl', current_setting('ssl') = 'on', \
           'alter_system_allowed', COALESCE(current_setting('allow_alter_system', true), 'on') = 'on', \
           'other_slots', (SELECT count(*) FROM pg_replication_slots \
              WHERE NOT temporary AND slot_name !~ '^repmgr_slot_[0-9]+$'), \
           'settings', (SELECT json_object_agg(name, json_build_object('value', setting, 'source', source, \
              'context', context)) FROM pg_settings WHERE name IN ({settings})), \
           'roles', COALESCE((SELECT json_object_agg(r.rolname, json_build_object('login', r.rolcanlogin, \
              'replication', r.rolreplication, 'superuser', r.rolsuper, \
              'monitors', pg_has_role(r.oid, 'pg_monitor', 'USAGE'), \
              'checkpoints', EXISTS (SELECT FROM pg_roles c WHERE c.rolname = 'pg_checkpoint' \
                 AND pg_has_role(r.oid, c.oid, 'USAGE')), \
              'alters_system', {alters})) FROM pg_roles r WHERE r.rolname IN ($1, $2)), '{{}}'), \
           'database', (SELECT json_build_object('owner', pg_get_userbyid(d.datdba), \
              'may_connect', COALESCE(has_database_privilege(r.oid, d.oid, 'CONNECT'), false), \
              'may_create', COALESCE(has_database_privilege(r.oid, d.oid, 'CREATE'), false)) \
              FROM pg_database d LEFT JOIN pg_roles r ON r.rolname = $1 WHERE d.datname = $3))::text",
        shown("data_directory"),
        shown("config_file"),
        shown("hba_file"),
    );
    let params = [Some(names.role), Some(names.replication_role), Some(names.database)];
    let mut set_up: ServerSetup = session.query_json(&sql, &params).await?;
    if set_up.superuser {
        ask_as_superuser(session, names, &mut set_up).await?;
    }
    Ok(set_up)
}

/// The last word of the files about each setting.
const FILE_VALUES: &str = "SELECT COALESCE(json_object_agg(name, json_build_object('value', setting, 'file', sourcefile, \
     'line', sourceline)), '{}')::text FROM (SELECT DISTINCT ON (lower(name)) lower(name) AS name, setting, sourcefile, \
     sourceline FROM pg_file_settings WHERE name IS NOT NULL ORDER BY lower(name), seqno DESC) f";

/// What is wrong with the files. That a new value waits for a restart is shown there too, and is none.
const FILE_ERRORS: &str = "SELECT COALESCE(json_agg(format('line %s of \"%s\": %s', sourceline, sourcefile, error)), '[]')::text \
     FROM pg_file_settings f WHERE error IS NOT NULL \
     AND NOT EXISTS (SELECT FROM pg_settings s WHERE lower(s.name) = lower(f.name) AND s.context = 'postmaster')";

const RULES: &str = "SELECT COALESCE(json_agg(to_json(r)), '[]')::text FROM pg_hba_file_rules r";

const MEMBER_OF: &str = "WITH RECURSIVE m(role, oid, name) AS (SELECT rolname, oid, rolname FROM pg_roles WHERE rolname IN ($1, $2) \
     UNION SELECT m.role, g.oid, g.rolname FROM m JOIN pg_auth_members a ON a.member = m.oid JOIN pg_roles g ON g.oid = a.roleid) \
     SELECT COALESCE(json_object_agg(role, names), '{}')::text FROM (SELECT role, json_agg(name) AS names FROM m GROUP BY role) x";

async fn ask_as_superuser(
    session: &Session,
    names: Names<'_>,
    set_up: &mut ServerSetup,
) -> Result<(), SqlError> {
    let roles = [Some(names.role), Some(names.replication_role)];
    let mut values: BTreeMap<String, FileValue> = session.query_json(FILE_VALUES, &[]).await?;
    for (name, setting) in &mut set_up.settings {
        setting.file = values.remove(name);
    }
    set_up.file_errors = session.query_json(FILE_ERRORS, &[]).await?;
    set_up.member_of = session.query_json(MEMBER_OF, &roles).await?;
    let stored = session
        .query("SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname IN ($1, $2)", &roles)
        .await?;
    for row in stored {
        if let (Some(name), Some(stored)) = (row.get(0), row.get(1))
            && let Some(role) = set_up.roles.get_mut(name)
        {
            role.stored = Some(Secret::new(stored));
        }
    }
    let rules: Vec<Rule> = session.query_json(RULES, &[]).await?;
    let expressions: BTreeSet<&String> = rules
        .iter()
        .flat_map(|rule| [&rule.database, &rule.user_name])
        .flatten()
        .flatten()
        .filter(|token| token.starts_with('/'))
        .collect();
    for token in expressions {
        for name in [names.role, names.replication_role, names.database] {
            let expression = token.strip_prefix('/');
            // One that the server cannot read is reported as an error of its line.
            let row =
                session.query_one("SELECT ($1::text ~ $2::text)::text", &[Some(name), expression]).await;
            if row.is_ok_and(|row| row.get(0) == Some("true")) {
                set_up.matches.insert((token.clone(), name.to_string()));
            }
        }
    }
    set_up.rules = Some(rules);
    Ok(())
}

/// Asks in the database of the metadata which functions the role may not call there.
///
/// # Errors
/// Those of the query.
pub async fn denied(session: &Session, role: &str) -> Result<Vec<String>, SqlError> {
    let functions = ROLE_FUNCTIONS.iter().chain(&REWIND_FUNCTIONS);
    let list = functions.map(|name| format!("('{name}')")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT COALESCE(json_agg(f.name), '[]')::text FROM (VALUES {list}) f(name) JOIN pg_roles r ON r.rolname = $1 \
         WHERE NOT has_function_privilege(r.oid, f.name, 'EXECUTE')"
    );
    session.query_json(&sql, &[Some(role)]).await
}

/// Where a server that runs here listens, by its `postmaster.pid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalListener {
    /// The directory of its socket, or the first address that it listens on.
    pub host: String,
    /// Its port.
    pub port: String,
}

/// Reads where the server that runs on a data directory listens.
pub fn local_way(data: &Path) -> Option<LocalListener> {
    local_listener(&files::text(data.join("postmaster.pid")).ok()?, data)
}

fn local_listener(text: &str, data: &Path) -> Option<LocalListener> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let port = lines.get(3)?.to_string();
    let directory = |directory: &str| match directory.starts_with(['/', '@']) {
        true => directory.to_string(),
        // The server's working directory is its data directory.
        false => data.join(directory).display().to_string(),
    };
    let host = match (lines.get(4).copied().unwrap_or(""), lines.get(5).copied().unwrap_or("")) {
        ("", "") => return None,
        ("", "*" | "0.0.0.0") => "127.0.0.1".to_string(),
        ("", "::") => "::1".to_string(),
        ("", address) => address.to_string(),
        (socket, _) => directory(socket),
    };
    Some(LocalListener { host, port })
}

/// Returns the networks that this host is in, loopback among them.
pub fn networks() -> Vec<IpNet> {
    let text = |path: &str| files::text(path).unwrap_or_default();
    let mut out: Vec<IpNet> = hba::network("127.0.0.0/8").into_iter().collect();
    out.extend(routes(&text("/proc/net/route")));
    out.extend(interfaces(&text("/proc/net/if_inet6")));
    out
}

/// Reads the networks without a gateway out of `/proc/net/route`, where numbers are in the byte order of the machine.
fn routes(text: &str) -> Vec<IpNet> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok().map(u32::from_be);
        let (to, gateway, mask) = (number(1)?, number(2)?, number(7)?);
        (gateway == 0 && mask != 0).then_some(())?;
        Ipv4Net::with_netmask(to.into(), mask.into()).ok().map(IpNet::V4)
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// Reads the networks of the interfaces out of `/proc/net/if_inet6`.
fn interfaces(text: &str) -> Vec<IpNet> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = u128::from_str_radix(words.first()?, 16).ok()?;
        let bits = u8::from_str_radix(words.get(2)?, 16).ok()?;
        Ipv6Net::new(address.into(), bits).ok().map(IpNet::V6)
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_server_tells_where_it_listens() {
        let said = |socket: &str, address: &str| {
            let text = format!("12\n/data\n1700000000\n5433\n{socket}\n{address}\n  1 2\nready   \n");
            local_listener(&text, Path::new("/data")).map(|way| (way.host, way.port))
        };
        let on = |host: &str| Some((host.to_string(), "5433".to_string()));
        assert_eq!(said("/run/postgresql", "*"), on("/run/postgresql"));
        assert_eq!(said("../sock", "*"), on("/data/../sock"));
        assert_eq!(said("", "*"), on("127.0.0.1"));
        assert_eq!(said("", "10.0.0.1"), on("10.0.0.1"));
        assert_eq!(said("", "::"), on("::1"));
        assert_eq!(said("", ""), None);
        assert_eq!(local_listener("12\n", Path::new("/data")), None);
    }

    #[test]
    fn the_networks_of_this_host_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                    eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\n\
                    eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        if cfg!(target_endian = "little") {
            assert_eq!(routes(text), vec![hba::network("192.168.1.0/24").unwrap()]);
        }
        let text = "fe800000000000000000000000000001 02 40 20 80     eth0\n";
        assert_eq!(interfaces(text), vec![hba::network("fe80::1/64").unwrap()]);
        assert!(networks().contains(&hba::network("127.0.0.0/8").unwrap()));
    }
}
