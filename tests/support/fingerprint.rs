//! The state of the world, for tests that something changes nothing.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::processes::{self, run_tool};
use super::server::TestServer;

/// What a running server changes by itself, even without queries. A stopped server's are compared too.
///
/// Contents of tables, roles and databases are compared by pg_dumpall instead, replication slots by their view. The files
/// themselves are no evidence: reading sets hint bits, connecting writes pg_internal.init, autovacuum analyses, and a
/// checkpoint, which another session's WAL can cause at any time, writes all of them.
const OWN_DIRECTORIES: &[&str] = &[
    "base",
    "global",
    "pg_tblspc",
    "pg_xact",
    "pg_commit_ts",
    "pg_multixact",
    "pg_subtrans",
    "pg_serial",
    "pg_notify",
    "pg_snapshots",
    "pg_logical",
    "pg_replslot",
    "pg_stat",
    "pg_stat_tmp",
    "pg_dynshmem",
];

/// What is compared of pg_control: the rest (positions, times, the next transaction) moves with every checkpoint.
const CONTROL: &[&str] = &[
    "Database system identifier",
    "Database cluster state",
    "Latest checkpoint's TimeLineID",
    "Data page checksum version",
    "wal_level setting",
    "wal_log_hints setting",
];

/// Settled facts of a running server that no file holds.
const QUERIES: &[(&str, &str)] = &[
    (
        "recovery",
        "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END",
    ),
    (
        "settings",
        "SELECT name, setting, source, sourcefile, sourceline, pending_restart FROM pg_settings
         WHERE source NOT IN ('default', 'client', 'session') ORDER BY name",
    ),
    // Positions move as standbys confirm them.
    (
        "slots",
        "SELECT slot_name, plugin, slot_type, database, temporary, active FROM pg_replication_slots ORDER BY 1",
    ),
    (
        "standbys",
        "SELECT usename, application_name, state, sync_state, sync_priority FROM pg_stat_replication ORDER BY 2, 1",
    ),
    (
        "receiver",
        "SELECT pid, status, received_tli, slot_name, sender_host, sender_port FROM pg_stat_wal_receiver",
    ),
    ("loaded", "SELECT pg_postmaster_start_time(), pg_conf_load_time()"),
];

/// Auxiliary processes that come and go only when something is restarted. A WAL receiver whose primary is down comes every few
/// seconds, and goes, and one that streams says so in its title only with the next WAL: the server is asked about it.
const LASTING: &[&str] = &["checkpointer", "background writer", "walwriter", "startup", "walsender"];

/// The state of servers and directories at one moment. What is in it is stable while nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// Takes it: of the servers with all that is in their directories, and of further directories.
    pub fn of(servers: &[&TestServer], directories: &[&Path]) -> Self {
        let mut facts = BTreeMap::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = servers.iter().map(|server| scope.spawn(|| of_server(server))).collect();
            for thread in threads {
                facts.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        for dir in directories {
            add_files(dir, &dir.to_string_lossy(), &mut facts, &|_| false);
        }
        Self(facts)
    }

    /// Leaves out what has this in its name (`node1: state/`), for changes that the test expects.
    #[must_use]
    pub fn without(mut self, part: &str) -> Self {
        self.0.retain(|name, _| !name.contains(part));
        self
    }

    /// Returns what differs, one line each: `-` is only in this one, `+` only in the other.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let mut found = Vec::new();
        for name in names {
            let (old, new) = (self.0.get(name), other.0.get(name));
            if old == new {
                continue;
            }
            let old: Vec<&str> = old.into_iter().flat_map(|text| text.lines()).collect();
            let new: Vec<&str> = new.into_iter().flat_map(|text| text.lines()).collect();
            found.push(format!("{name}:"));
            found.extend(old.iter().filter(|line| !new.contains(line)).map(|line| format!("  - {line}")));
            found.extend(new.iter().filter(|line| !old.contains(line)).map(|line| format!("  + {line}")));
        }
        found
    }

    /// Fails if the other one is not the same.
    #[track_caller]
    pub fn assert_same(&self, later: &Self) {
        let differences = self.differences(later);
        assert!(differences.is_empty(), "something has changed:\n{}", differences.join("\n"));
    }
}

fn of_server(server: &TestServer) -> BTreeMap<String, String> {
    let name = &server.name;
    let running = server.is_running();
    let mut facts = BTreeMap::from([(format!("{name}: running"), running.to_string())]);
    add_files(&server.dir, name, &mut facts, &|path| is_own(path, running));
    if server.data.join("global/pg_control").exists() {
        let text = server.all_control_data();
        let lines = text.lines().filter(|line| CONTROL.iter().any(|label| line.starts_with(label)));
        facts.insert(format!("{name}: control data"), lines.collect::<Vec<_>>().join("\n"));
    }
    if running {
        for (label, sql) in QUERIES {
            facts.insert(format!("{name}: {label}"), server.psql(sql));
        }
        facts.insert(format!("{name}: contents"), dump(server));
    }
    facts.insert(format!("{name}: processes"), lasting_processes(&server.dir));
    facts
}

/// Whether a path, relative to a server's directory, belongs to what the server writes by itself.
fn is_own(path: &Path, running: bool) -> bool {
    // Logs get lines from every connection. Sockets and their lock files are the processes' own.
    if path.starts_with("log") || path.starts_with("sock") {
        return true;
    }
    let Ok(path) = path.strip_prefix("data") else { return false };
    if !running {
        return false;
    }
    if let Ok(wal) = path.strip_prefix("pg_wal") {
        // Segments are written, recycled and archived at any time; a new timeline's history is the result of a command.
        return wal != Path::new("") && wal.extension().is_none_or(|extension| extension != "history");
    }
    OWN_DIRECTORIES.iter().any(|own| path.starts_with(own))
        || path.to_string_lossy().starts_with("current_logfiles")
}

fn add_files(
    root: &Path,
    name: &str,
    facts: &mut BTreeMap<String, String>,
    is_left_out: &dyn Fn(&Path) -> bool,
) {
    let mut directories = vec![root.to_path_buf()];
    while let Some(dir) = directories.pop() {
        // A server may remove its temporary files while they are looked at.
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap();
            if is_left_out(relative) {
                continue;
            }
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let mode = metadata.permissions().mode() & 0o7777;
            let what = if metadata.is_dir() {
                directories.push(path.clone());
                format!("directory, mode {mode:o}")
            } else if metadata.is_symlink() {
                format!("link to {}", path.read_link().unwrap_or_default().display())
            } else {
                format!("file, mode {mode:o}\n{}", contents(&path, &metadata))
            };
            facts.insert(format!("{name}: {}", relative.display()), what);
        }
    }
}

/// Returns a small text as it is, so that a difference can be read, and of anything else when it was last written.
///
/// What is neither text nor small belongs to stopped servers, where any write is a change: hashing it takes seconds.
fn contents(path: &Path, metadata: &Metadata) -> String {
    let text = (metadata.len() < 65_536).then(|| std::fs::read_to_string(path).ok()).flatten();
    text.filter(|text| !text.contains('\0')).unwrap_or_else(|| {
        format!("{} bytes, written at {}.{:09}", metadata.len(), metadata.mtime(), metadata.mtime_nsec())
    })
}

/// Returns roles, databases and all their contents as SQL.
fn dump(server: &TestServer) -> String {
    let socket_dir = server.socket_dir.to_string_lossy();
    let port = server.port.to_string();
    // A standby cannot read unlogged tables.
    let args = ["-h", &socket_dir, "-p", &port, "-U", "postgres", "--no-unlogged-table-data"];
    let output = run_tool(&server.pg.tool("pg_dumpall"), args);
    output.code(0);
    // Newer dumps carry a key that is random in every run.
    let lines = output
        .stdout
        .lines()
        .filter(|line| !line.starts_with(r"\restrict") && !line.starts_with(r"\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the processes that work in or mention a server's directory, except those that come and go.
fn lasting_processes(dir: &Path) -> String {
    let mut lines: Vec<String> = processes::mentioning(dir)
        .into_iter()
        .filter_map(|(pid, line)| {
            let pid = pid.as_raw_nonzero();
            match line.strip_prefix("postgres: ") {
                // The rest of the title shows positions.
                Some(title) => LASTING
                    .iter()
                    .find(|kind| title.starts_with(**kind))
                    .map(|kind| format!("{pid} postgres: {kind}")),
                None => Some(format!("{pid} {line}")),
            }
        })
        .collect();
    lines.sort();
    lines.join("\n")
}
