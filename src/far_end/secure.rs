//! Making certain that the server of this host is no primary and does not become one, before another one is promoted.
//!
//! A far end that was left alone, or is stopped in the middle of something, may start this server as the primary that it was. So it is ended
//! first, then the node's lock is taken, then `standby.signal` is written and synced, and the server is looked at last: a start that was
//! begun before reads the signal, or its server is seen.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use crate::config;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::directory::{Postmaster, postmaster, postmaster_status};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::pg::control_file::{self, ControlState};
use crate::plan::far_end::ServerState;
use crate::site::Site;
use crate::system::{files, inspect, kill};

/// The word that makes pgbaton a far end, its first one.
const FAR_END: &str = "far-end";

/// How long a process may take to end after SIGKILL.
const ENDS: Duration = Duration::from_secs(3);

/// How long a server that is starting or stopping is looked at until it shows what it is: where something depends on it, and where it is only
/// looked at, within the time that a connection may take.
pub(crate) const SETTLES: Duration = Duration::from_secs(3);
pub(crate) const LOOKS: Duration = Duration::from_secs(1);

/// The request for promotion that stands, in the data directory.
const PROMOTE: &str = "promote";

/// The pause between two looks at it.
const LOOK: Duration = Duration::from_millis(10);

/// Ends every other far end of this node.
///
/// # Errors
/// Exit code 30 if one of them has not ended.
pub(crate) async fn end_other_far_ends(site: &Site, state_directory: &Path) -> Result<()> {
    for pid in other_far_ends(site, state_directory)? {
        let is_meant = || is_far_end_here(site, state_directory, pid);
        kill::kill_and_wait(pid, is_meant, ENDS).await.map_err(|error| {
            Error::new(Exit::Busy, "another pgbaton process on this host could not be terminated")
                .detail(sentence(&format!("{error:#}")))
                .hint("On its host, find out why the process does not exit; then try again.")
        })?;
    }
    Ok(())
}

/// Returns the processes that serve this node for another coordinator.
pub(crate) fn other_far_ends(site: &Site, state_directory: &Path) -> Result<Vec<i32>> {
    site.config()?;
    let own = std::process::id().cast_signed();
    let mut found = inspect::processes_with_argument(FAR_END);
    found.retain(|pid| *pid != own && is_far_end_here(site, state_directory, *pid));
    Ok(found)
}

/// Says whether a process is a far end of this node: by the configuration file of its command line, or by the lock file that it has open.
fn is_far_end_here(site: &Site, state_directory: &Path, pid: i32) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(line) = files::bytes(process.join("cmdline")) else { return false };
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if words.get(1).is_none_or(|word| word != FAR_END) {
        return false;
    }
    let Ok(config) = site.config() else { return false };
    let given = words.iter().position(|word| word == "-f").and_then(|at| words.get(at + 1));
    let is_ours = match given {
        Some(file) => {
            let from = std::fs::read_link(process.join("cwd")).unwrap_or_default();
            let file = from.join(file);
            is_same(&file, config.file()) || serves(&file, &config.data_directory)
        }
        // It looks for one as this process has done.
        None => site.options.config_file.is_none(),
    };
    is_ours || has_open(&process, &state_directory.join("lock"))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || one.canonicalize().ok().is_some_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Says whether a configuration file is about a data directory.
fn serves(file: &Path, data_directory: &Path) -> bool {
    let config = config::read(file, config::NamedBy::User, &[], |_| Ok(())).ok().and_then(|read| read.config);
    config.is_some_and(|config| is_same(&config.data_directory, data_directory))
}

fn has_open(process: &Path, file: &Path) -> bool {
    let Ok(wanted) = file.canonicalize() else { return false };
    let Ok(entries) = std::fs::read_dir(process.join("fd")) else { return false };
    entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|file| file == wanted))
}

/// Looks what the server of a data directory is.
pub(crate) async fn server_state(data: &Path, within: Duration) -> ServerState {
    let until = Instant::now() + within;
    loop {
        let Some(postmaster) = postmaster(data) else { return ServerState::Down };
        let control = control_file::read(data).map(|control| control.state);
        let status = postmaster_status(data);
        let runs = format!("Its server runs on its host (process {})", postmaster.pid);
        let is_standby = match (&control, status.as_deref()) {
            (Ok(ControlState::ShutDown | ControlState::ShutDownInRecovery), Some("stopping")) => {
                return ServerState::Down;
            }
            (Ok(ControlState::InProduction), Some("ready")) => {
                return ServerState::Running(format!("{runs} as a primary."));
            }
            (Ok(ControlState::InArchiveRecovery), Some("ready" | "standby")) => true,
            // It may wait for WAL for good, until it is consistent. It has read the file if that is older than the server.
            (_, Some("starting")) => signal_is_older(data, &postmaster),
            _ => false,
        };
        if is_standby {
            // The file is removed at the next start, and takes effect when the startup process comes to it.
            return match data.join(PROMOTE).symlink_metadata() {
                Ok(_) => ServerState::Running(format!("{runs} in recovery, and its promotion is requested.")),
                Err(_) => ServerState::Standby,
            };
        }
        if Instant::now() >= until {
            let says = match &control {
                Ok(state) => format!("\"{}\"", state.as_str()),
                Err(error) => format!("nothing that can be read: {error:#}"),
            };
            return ServerState::Unclear(sentence(&format!(
                "{runs} and is {}; pg_control says {says}",
                status.as_deref().unwrap_or("in an unknown state")
            )));
        }
        sleep(LOOK).await;
    }
}

/// Says whether `standby.signal` was there before the postmaster of a data directory was started, which makes `postmaster.pid` first.
///
/// By the time of the last change of the file, which no program can choose. Where the file system does not say when a file was made, by the
/// second in which the postmaster says that it was started.
fn signal_is_older(data: &Path, postmaster: &Postmaster) -> bool {
    let Ok(signal) = data.join(STANDBY_SIGNAL).symlink_metadata() else { return false };
    let changed = (signal.ctime(), signal.ctime_nsec());
    let made = data.join("postmaster.pid").symlink_metadata().and_then(|file| file.created());
    match made.ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok()) {
        Some(made) => changed < (made.as_secs().cast_signed(), i64::from(made.subsec_nanos())),
        None => postmaster.started_at.is_some_and(|started| changed.0 < started),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files whose times are looked at")]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_that_is_older_than_the_server_was_read_by_it() {
        let data = tempfile::tempdir().unwrap();
        let (signal, pid) = (data.path().join(STANDBY_SIGNAL), data.path().join("postmaster.pid"));
        let is_older = || signal_is_older(data.path(), &Postmaster { pid: 1, started_at: None, port: None });
        std::fs::write(&pid, "1").unwrap();
        assert!(!is_older());
        std::fs::write(&signal, "").unwrap();
        assert!(!is_older());
        // What is written into it later does not make it younger: a new one is.
        std::fs::write(&pid, "2").unwrap();
        assert!(!is_older());
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while !is_older() && std::time::Instant::now() < until {
            std::fs::remove_file(&pid).unwrap();
            std::fs::write(&pid, "3").unwrap();
        }
        assert!(is_older());
    }
}
