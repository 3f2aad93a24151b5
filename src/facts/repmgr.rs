//! What repmgr does on a server while we are there: its daemon, and its commands, which know nothing of our locks.

use serde::Deserialize;

use crate::pg::client::{Session, SqlError};

/// Seconds for which a session of repmgr counts as new.
///
/// Commands and daemons give their sessions the same name, and nothing else distinguishes them from here. But a command that changes roles
/// opens sessions from its beginning on, and is mostly at its promotion in less than that; a daemon keeps those that it has. Where no
/// daemon runs, every session is a command's, however long it takes on a busy machine.
pub const NEW_S: u32 = 10;

/// What repmgr does on a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repmgr {
    /// Its daemon.
    pub daemon: Daemon,
    /// Its sessions.
    pub visits: Vec<RepmgrSession>,
}

/// What a repmgrd does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Daemon {
    /// It cannot run in this cluster: the extension is not there.
    Impossible,
    /// It does not run, or the library that it needs is not loaded.
    Stopped,
    /// It watches.
    Running,
    /// It runs and does nothing.
    Paused,
    /// The server did not report it.
    #[default]
    Unknown,
}

/// A session of repmgr.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RepmgrSession {
    /// The backend process that serves it.
    pub pid: i32,
    /// Where it comes from, to be shown.
    pub from: String,
    /// It is not older than [`NEW_S`].
    pub new: bool,
    /// It is in the database of the metadata.
    pub here: bool,
}

impl Repmgr {
    /// The sessions that cannot be a daemon's, or may be a command's because they are new. `none_runs` is what [`none_runs`] says of
    /// the cluster.
    pub fn commands(&self, none_runs: bool) -> Vec<&RepmgrSession> {
        let is_a_commands = |visit: &&RepmgrSession| {
            visit.new || none_runs || (visit.here && self.daemon == Daemon::Impossible)
        };
        self.visits.iter().filter(is_a_commands).collect()
    }
}

/// Whether every node was asked, and none has a daemon that runs: one of a node that is silent may still have its sessions on others.
pub fn none_runs<'a>(nodes: impl IntoIterator<Item = Option<&'a Repmgr>>) -> bool {
    let rests = |repmgr: &Repmgr| matches!(repmgr.daemon, Daemon::Impossible | Daemon::Stopped);
    nodes.into_iter().all(|repmgr| repmgr.is_some_and(rests))
}

/// Its functions give NULL where the library is not preloaded: then nothing can run. The third is that a process is named, which the server
/// need not see: it may run as another user, or in another container.
const DAEMON: &str = "SELECT json_build_array(coalesce(repmgr.repmgrd_is_running(), false), \
    coalesce(repmgr.repmgrd_is_paused(), false), coalesce(repmgr.get_repmgrd_pid(), -1) > 0)::text";

/// Which rows of `pg_stat_activity` are sessions of repmgr, as a condition. If a conninfo gives every session that name, they cannot be
/// distinguished from repmgr, so then none is taken for it.
pub const IS_REPMGRS: &str = "application_name = 'repmgr' AND datid IS NOT NULL AND pid <> pg_backend_pid() \
    AND current_setting('application_name') <> 'repmgr'";

/// `$1` is [`NEW_S`]. When another role's session began is not visible to every role, and a daemon's began long ago, mostly.
const VISITS: &str = "SELECT json_build_array(EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'repmgr'), \
    coalesce(json_agg(json_build_object('pid', pid, \
        'from', 'process ' || pid || coalesce(' from ' || host(client_addr), ''), \
        'new', coalesce(backend_start > clock_timestamp() - $1::integer * interval '1 s', false), \
        'here', datname = current_database())), '[]'))::text \
    FROM pg_stat_activity WHERE";

/// Asks a server.
///
/// # Errors
/// Those of the query for its sessions. What it does not report of its daemon is unknown.
pub async fn query_repmgr(session: &Session) -> Result<Repmgr, SqlError> {
    let query = format!("{VISITS} {IS_REPMGRS}");
    let (extension, visits): (bool, _) = session.query_json(&query, &[Some(&NEW_S.to_string())]).await?;
    let daemon = if extension {
        match session.query_json(DAEMON, &[]).await {
            Ok((false, _, false)) => Daemon::Stopped,
            Ok((true, false, _)) => Daemon::Running,
            Ok((true, true, _)) => Daemon::Paused,
            Ok((false, _, true)) | Err(_) => Daemon::Unknown,
        }
    } else {
        Daemon::Impossible
    };
    Ok(Repmgr { daemon, visits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_session_is_a_commands_only_where_no_daemon_can_have_it() {
        let visit = |new, here| RepmgrSession { pid: 7, from: "process 7".into(), new, here };
        let visits = vec![visit(true, true), visit(false, true), visit(false, false)];
        let node = |daemon| Repmgr { daemon, visits: visits.clone() };
        for (daemon, rests, counted) in [
            (Daemon::Impossible, true, 2),
            (Daemon::Stopped, true, 1),
            (Daemon::Running, false, 1),
            (Daemon::Paused, false, 1),
            (Daemon::Unknown, false, 1),
        ] {
            let node = node(daemon);
            assert_eq!(none_runs([Some(&node)]), rests, "{daemon:?}");
            assert!(!none_runs([Some(&node), None]));
            assert_eq!(node.commands(false).len(), counted, "{daemon:?}");
            assert_eq!(node.commands(true).len(), 3);
        }
    }
}
