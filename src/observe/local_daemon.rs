//! The daemon of this node, asked on this host: by its socket, and by what it has promised on disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgbaton_lease::Flag;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::config::Config;
use crate::error::{Error, Exit, Result};
use crate::facts::daemon_flag::{self as flag, Belongs, Found};
use crate::pg::control_file;
use crate::site::Site;
use crate::system::files;

/// The socket, in the runtime directory.
pub const SOCKET: &str = "daemon.sock";

/// The question of the start guard.
pub const MAY_START: &str = "may-start-as-primary";

/// The question which process the daemon is; it is answered once the daemon has begun its work.
pub const WHO: &str = "who";

/// How long the daemon may take to answer: it learns of a stop within this time.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the server may be started as a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAnswer {
    /// By the lease, which has lasted since before the server was stopped.
    Yes,
    /// No.
    No,
    /// This daemon is paused, or takes no part: the other nodes have to be asked.
    Paused,
}

/// The answers, as they are written.
pub const ANSWERS: [(&str, StartAnswer); 3] =
    [("yes", StartAnswer::Yes), ("no", StartAnswer::No), ("paused", StartAnswer::Paused)];

/// Returns the runtime directory of a node: where it lies in memory, because the fencer must not wait for a disk.
pub fn runtime_directory(config: &Config, uid: u32) -> PathBuf {
    if let Some(directory) = &config.runtime_directory {
        return directory.clone();
    }
    let own = Path::new("/run/pgbaton").join(&config.node_name);
    if own.is_dir() {
        return own;
    }
    Path::new("/dev/shm").join(format!("pgbaton-{uid}")).join(&config.node_name)
}

/// Returns what the flag of this node belongs to.
pub fn belongs(config: &Config, system_identifier: &str) -> Belongs {
    let data = config.data_directory.metadata().ok();
    let machine = files::text("/etc/machine-id").unwrap_or_default().trim().to_string();
    Belongs {
        system_identifier: system_identifier.to_string(),
        node_id: config.node_id,
        data_directory: data.map_or_else(String::new, |found| found.ino().to_string()),
        machine,
    }
}

/// What is found of the daemon of a node on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalDaemon {
    /// It does not run.
    Absent,
    /// It listens and has not begun its work: it waits for the local server, or hangs.
    Starting,
    /// It works, as this process.
    Running(u32),
}

/// Looks for the daemon of a runtime directory.
pub async fn find(runtime: &Path) -> LocalDaemon {
    if UnixStream::connect(runtime.join(SOCKET)).await.is_err() {
        return LocalDaemon::Absent;
    }
    let said = timeout(PATIENCE, talk(runtime, WHO)).await.ok().flatten();
    said.and_then(|pid| pid.parse().ok()).map_or(LocalDaemon::Starting, LocalDaemon::Running)
}

/// Asks the daemon of a runtime directory something; None where none answers.
async fn talk(runtime: &Path, question: &str) -> Option<String> {
    let stream = UnixStream::connect(runtime.join(SOCKET)).await.ok()?;
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{question}\n").as_bytes()).await.ok()?;
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await.ok()?;
    Some(line.trim_end().to_string())
}

/// Asks the daemon of a runtime directory whether the server may be started as a primary; None where none answers.
async fn ask(runtime: &Path) -> Option<StartAnswer> {
    let said = timeout(PATIENCE, talk(runtime, MAY_START)).await.ok().flatten()?;
    ANSWERS.iter().find(|(word, _)| *word == said).map(|(_, answer)| *answer)
}

/// Returns what this node has promised on disk about elections and pauses; None where its daemon has never run, or there is no data directory.
///
/// # Errors
/// Exit code 1 if it cannot be read.
pub fn promised(site: &Site) -> Result<Option<Flag>> {
    let config = site.config()?;
    let Ok(control) = control_file::read(&config.data_directory) else { return Ok(None) };
    let Some(state) = site.own_state_directory()? else { return Ok(None) };
    let belongs = belongs(config, &control.system_identifier.to_string());
    let found = flag::load(&state, &belongs).map_err(|error| {
        Error::from_cause(Exit::Failed, "what the daemon has promised cannot be read", &error)
    })?;
    Ok(match found {
        // A file of another machine or data directory: the daemon would start as one that has lost its state.
        Found::Foreign => Some(Flag::New),
        Found::Nothing => None,
        Found::Own(promise) => Some(promise.flag),
    })
}

/// Returns whether the local server may be started as a primary, as far as its daemon has a say in it; None where it has none.
///
/// A daemon that does not answer says no, unless it has promised on disk that it does not fence this server.
///
/// # Errors
/// Exit code 1 if what it has promised cannot be read.
pub async fn may_start_as_primary(site: &Site) -> Result<Option<StartAnswer>> {
    let config = site.config()?;
    if promised(site)?.is_none_or(|flag| flag == Flag::Full) {
        return Ok(None);
    }
    let said = ask(&runtime_directory(config, site.environment.uid)).await;
    Ok(match said {
        // Paused, and the file is older than the pause.
        Some(StartAnswer::Paused) => None,
        Some(answer) => Some(answer),
        None => Some(StartAnswer::No),
    })
}
