//! Making certain that the server of this host is no primary and does not become one, before another one is promoted.
//!
//! A far end that was left alone, or is stopped in the middle of something, may start this server as the primary that it was. So it is ended
//! first, then the node's lock is taken, then `standby.signal` is written and synced, and the server is looked at last: a start that was
//! begun before reads the signal, or its server is seen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::commands::context::Context;
use crate::config;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::directory::{postmaster_status, running_postmaster};
use crate::pg::control_file::{self, ControlState};
use crate::plan::far_end::Standing;
use crate::system::{files, inspect, kill};

/// The word that makes pgbaton a far end, its first one.
const FAR_END: &str = "far-end";

/// How long a process may take to end after SIGKILL.
const ENDS: Duration = Duration::from_secs(3);

/// How long a server that is starting or stopping is looked at until it shows what it is.
const SETTLES: Duration = Duration::from_secs(3);

/// The pause between two looks at it.
const LOOK: Duration = Duration::from_millis(10);

/// Ends every other far end of this node.
///
/// # Errors
/// Exit code 30 if one of them has not ended.
pub(super) async fn end_other_far_ends(context: &Context, state_directory: &Path) -> Result<()> {
    for pid in other_far_ends(context, state_directory)? {
        let is_meant = || is_far_end_here(context, state_directory, pid);
        kill::end(pid, is_meant, ENDS).await.map_err(|error| {
            Error::new(Exit::Busy, "another pgbaton at work on this host could not be ended")
                .detail(sentence(&format!("{error:#}")))
                .hint("On its host, find out why the process does not end; then try again.")
        })?;
    }
    Ok(())
}

/// Returns the processes that serve this node for another coordinator.
pub(super) fn other_far_ends(context: &Context, state_directory: &Path) -> Result<Vec<i32>> {
    context.config()?;
    let own = std::process::id().cast_signed();
    let mut found = inspect::processes_with_argument(FAR_END);
    found.retain(|pid| *pid != own && is_far_end_here(context, state_directory, *pid));
    Ok(found)
}

/// Says whether a process is a far end of this node: by the configuration file of its command line, or by the lock file that it has open.
fn is_far_end_here(context: &Context, state_directory: &Path, pid: i32) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(line) = files::bytes(process.join("cmdline")) else { return false };
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if words.get(1).is_none_or(|word| word != FAR_END) {
        return false;
    }
    let Ok(config) = context.config() else { return false };
    let given = words.iter().position(|word| word == "-f").and_then(|at| words.get(at + 1));
    let is_ours = match given {
        Some(file) => {
            let from = std::fs::read_link(process.join("cwd")).unwrap_or_default();
            let file = from.join(file);
            is_same(&file, config.file()) || serves(&file, &config.data_directory)
        }
        // It looks for one as this process has done.
        None => context.global.config_file.is_none(),
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
pub(super) async fn standing(data: &Path) -> Standing {
    let until = Instant::now() + SETTLES;
    loop {
        let Some(pid) = running_postmaster(data) else { return Standing::Down };
        let control = control_file::read(data).map(|control| control.state);
        let status = postmaster_status(data);
        match (&control, status.as_deref()) {
            (Ok(ControlState::ShutDown | ControlState::ShutDownInRecovery), Some("stopping")) => {
                return Standing::Down;
            }
            (Ok(ControlState::InArchiveRecovery), Some("ready" | "standby")) => return Standing::Standby,
            (Ok(ControlState::InProduction), Some("ready")) => {
                return Standing::Running(format!(
                    "Its server runs on its host (process {pid}) as a primary."
                ));
            }
            _ if Instant::now() >= until => {
                let says = match &control {
                    Ok(state) => format!("\"{}\"", state.as_str()),
                    Err(error) => format!("nothing that can be read: {error:#}"),
                };
                return Standing::Running(sentence(&format!(
                    "Its server runs on its host (process {pid}) and is {}; pg_control says {says}",
                    status.as_deref().unwrap_or("in an unknown state")
                )));
            }
            _ => sleep(LOOK).await,
        }
    }
}
