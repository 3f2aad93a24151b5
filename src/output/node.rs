//! `node status` in repmgr's shapes.

use serde::Serialize;

use crate::output::table::{one_line, quoted};
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::units::size;

/// What the local server is and does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Its number.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// Its version.
    pub server_version: String,
    /// Bytes in all its databases that may be seen.
    pub total_data_bytes: Option<u64>,
    /// How others reach it, passwords hidden.
    pub conninfo: String,
    /// Shared by all nodes of the cluster.
    pub system_identifier: String,
    /// `primary` or `standby`, as it is; `witness` for one that is registered as such and accepts writes.
    pub role: &'static str,
    /// `primary`, `standby`, `witness`, as it is registered; None if it is not.
    pub registered_type: Option<String>,
    /// Its timeline.
    pub timeline: TimelineId,
    /// `off`, `enabled`, or `disabled` where the mode has no effect on a standby.
    pub wal_archiving: &'static str,
    /// `archive_command`, where the role may see it.
    pub archive_command: Option<String>,
    /// Finished segments that wait for the archiver; None where there is none or the role may not look.
    pub archive_ready_files: Option<u64>,
    /// Standbys and backups that stream from it.
    pub replication_connections: i64,
    /// `max_wal_senders`.
    pub max_wal_senders: i64,
    /// Physical slots.
    pub physical_slots: i64,
    /// `max_replication_slots`.
    pub max_replication_slots: i64,
    /// Physical slots that are not in use.
    pub inactive_slots: Vec<String>,
    /// Slots of registered standbys of this node that do not exist.
    pub missing_slots: Vec<String>,
    /// The node it is registered to follow.
    pub upstream_node_id: Option<i32>,
    /// That node's name.
    pub upstream_node_name: Option<String>,
    /// Seconds behind the primary; None for a primary, and if it is unknown.
    pub replication_lag_s: Option<f64>,
    /// End of the WAL received.
    pub receive_lsn: Option<Lsn>,
    /// End of the WAL replayed.
    pub replay_lsn: Option<Lsn>,
    /// Its daemon: `running`, `stopped`, or `unknown`.
    pub daemon: &'static str,
    /// Its daemon is paused; None without a daemon.
    pub daemon_paused: Option<bool>,
    /// `failover = "automatic"` is configured: it has to have a daemon.
    #[serde(skip)]
    pub is_automatic: bool,
    /// The operation that was left unfinished here.
    pub unfinished_operation: Option<String>,
}

impl NodeStatus {
    /// It accepts writes, and so follows no node.
    fn is_primary(&self) -> bool {
        self.role != "standby"
    }

    fn slots(&self) -> String {
        if self.max_replication_slots == 0 {
            return "disabled".into();
        }
        let mut out = format!(
            "{} physical (of maximal {}; {} missing)",
            self.physical_slots,
            self.max_replication_slots,
            self.missing_slots.len()
        );
        if !self.inactive_slots.is_empty() {
            out.push_str(&format!("; {} inactive", self.inactive_slots.len()));
        }
        out
    }

    fn lag(&self) -> String {
        match self.replication_lag_s {
            _ if self.is_primary() => "n/a".into(),
            Some(lag) => format!("{lag:.0} seconds"),
            None => "unknown".into(),
        }
    }

    /// What is said of the daemon; None where none is needed and none runs.
    fn daemon(&self) -> Option<String> {
        let paused = if self.daemon_paused == Some(true) && self.is_automatic { ", paused" } else { "" };
        (self.is_automatic || self.daemon == "running").then(|| format!("{}{paused}", self.daemon))
    }

    fn upstream(&self) -> String {
        match (self.upstream_node_id, &self.upstream_node_name) {
            (Some(id), Some(name)) => format!("{name} (ID: {id})"),
            (Some(id), None) => format!("(unknown) (ID: {id})"),
            (None, _) => "(none)".into(),
        }
    }
}

/// Writes repmgr's lines for people.
pub fn text(status: &NodeStatus, verbose: bool) -> String {
    let position = |lsn: Option<Lsn>| lsn.map_or_else(|| "(none)".to_string(), |lsn| lsn.to_string());
    let mut lines: Vec<(&str, String)> = vec![("PostgreSQL version", status.server_version.clone())];
    lines.push(("Total data size", status.total_data_bytes.map_or_else(|| "unknown".into(), size)));
    lines.push(("Conninfo", status.conninfo.clone()));
    if verbose {
        lines.push(("System identifier", status.system_identifier.clone()));
    }
    lines.push(("Role", status.role.into()));
    lines.push(("Timeline", status.timeline.to_string()));
    lines.push(("WAL archiving", status.wal_archiving.into()));
    let command = status.archive_command.as_deref().filter(|command| !command.is_empty());
    lines.push(("Archive command", command.unwrap_or("(none)").into()));
    if let Some(files) = status.archive_ready_files {
        lines.push(("WALs pending archiving", format!("{files} pending files")));
    }
    lines.push((
        "Replication connections",
        format!("{} (of maximal {})", status.replication_connections, status.max_wal_senders),
    ));
    lines.push(("Replication slots", status.slots()));
    if !status.is_primary() {
        lines.push(("Upstream node", status.upstream()));
    }
    lines.push(("Replication lag", status.lag()));
    if !status.is_primary() {
        lines.push(("Last received LSN", position(status.receive_lsn)));
        lines.push(("Last replayed LSN", position(status.replay_lsn)));
    }
    lines.extend(status.daemon().map(|daemon| ("Daemon", daemon)));
    if let Some(operation) = &status.unfinished_operation {
        lines.push(("Unfinished operation", operation.clone()));
    }
    let mut out = format!("Node \"{}\":\n", one_line(&status.node_name));
    for (key, value) in lines {
        out.push_str(&format!("\t{key}: {}\n", one_line(&value)));
    }
    out.push('\n');
    out
}

/// Writes repmgr's `"key","value"` lines.
pub fn csv(status: &NodeStatus) -> String {
    let position = |lsn: Option<Lsn>| lsn.map_or_else(|| "(none)".to_string(), |lsn| lsn.to_string());
    let command = status.archive_command.as_deref().filter(|command| !command.is_empty());
    let rows: Vec<(&str, String)> = vec![
        ("Node name", status.node_name.clone()),
        ("Node ID", status.node_id.to_string()),
        ("PostgreSQL version", status.server_version.clone()),
        ("Total data size", status.total_data_bytes.map_or_else(|| "unknown".into(), size)),
        ("Conninfo", status.conninfo.clone()),
        ("Role", status.role.into()),
        ("WAL archiving", status.wal_archiving.into()),
        ("Archive command", command.unwrap_or("(none)").into()),
        ("WALs pending archiving", status.archive_ready_files.unwrap_or(0).to_string()),
        (
            "Replication connections",
            format!("{} (of maximal {})", status.replication_connections, status.max_wal_senders),
        ),
        ("Replication slots", status.slots()),
        ("Upstream node", if status.is_primary() { "(none)".into() } else { status.upstream() }),
        ("Replication lag", status.lag()),
        (
            "Last received LSN",
            if status.is_primary() { "(none)".into() } else { position(status.receive_lsn) },
        ),
        (
            "Last replayed LSN",
            if status.is_primary() { "(none)".into() } else { position(status.replay_lsn) },
        ),
    ];
    let mut out: String =
        rows.iter().map(|(key, value)| format!("{},{}\n", quoted(key), quoted(value))).collect();
    let inactive = i64::try_from(status.inactive_slots.len()).unwrap_or(i64::MAX);
    for (key, number) in [
        ("max_wal_senders", status.max_wal_senders),
        ("occupied_wal_senders", status.replication_connections),
        ("max_replication_slots", status.max_replication_slots),
        ("active_replication_slots", status.physical_slots - inactive),
        ("inactive_replication_slots", inactive),
        ("missing_replication_slots", i64::try_from(status.missing_slots.len()).unwrap_or(i64::MAX)),
    ] {
        out.push_str(&format!("{},{number}", quoted(key)));
        let names: &[String] = match key {
            "inactive_replication_slots" => &status.inactive_slots,
            "missing_replication_slots" => &status.missing_slots,
            _ => &[],
        };
        names.iter().for_each(|name| out.push_str(&format!(",{}", quoted(name))));
        out.push('\n');
    }
    out
}

/// What `node service` would run for an action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceAction {
    /// Its name.
    pub action: &'static str,
    /// The command; None where the action is refused.
    pub command: Option<String>,
    /// Why it is refused.
    pub refused: Option<String>,
}

/// Writes repmgr's list of all actions; of a single one that was asked for, the bare command, for a script.
pub fn actions(actions: &[ServiceAction]) -> String {
    if let [ServiceAction { command: Some(command), .. }] = actions {
        return format!("{command}\n");
    }
    let mut out = "Following commands would be executed for each action:\n\n".to_string();
    for ServiceAction { action, command, refused } in actions {
        let shown = match command {
            Some(command) => format!("\"{command}\""),
            None => format!("none, {}", refused.as_deref().unwrap_or("refused")),
        };
        out.push_str(&format!("{action:>9}: {shown}\n"));
    }
    out.push('\n');
    out
}
