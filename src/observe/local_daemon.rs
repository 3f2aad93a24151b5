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

/// Asks the daemon of a runtime directory whether the server may be started as a primary; None where none answers.
async fn ask(runtime: &Path) -> Option<StartAnswer> {
    let path = runtime.join(SOCKET);
    let talk = async {
        let stream = UnixStream::connect(path).await.ok()?;
        let (read, mut write) = stream.into_split();
        write.write_all(format!("{MAY_START}\n").as_bytes()).await.ok()?;
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).await.ok()?;
        ANSWERS.iter().find(|(word, _)| *word == line.trim_end()).map(|(_, answer)| *answer)
    };
    timeout(PATIENCE, talk).await.ok().flatten()
}

/// Says whether the daemon of this node runs.
pub async fn runs(site: &Site) -> Result<bool> {
    let path = runtime_directory(site.config()?, site.environment.uid).join(SOCKET);
    Ok(timeout(PATIENCE, UnixStream::connect(path)).await.is_ok_and(|stream| stream.is_ok()))
}

/// Returns whether the local server may be started as a primary, as far as its daemon has a say in it; None where it has none.
///
/// A daemon that does not answer says no, unless it has promised on disk that it does not fence this server.
///
/// # Errors
/// Exit code 1 if what it has promised cannot be read.
pub async fn may_start_as_primary(site: &Site) -> Result<Option<StartAnswer>> {
    let config = site.config()?;
    let Ok(control) = control_file::read(&config.data_directory) else { return Ok(None) };
    let Some(state) = site.own_state_directory()? else { return Ok(None) };
    let belongs = belongs(config, &control.system_identifier.to_string());
    let found = flag::load(&state, &belongs).map_err(|error| {
        Error::from_cause(Exit::Failed, "what the daemon has promised cannot be read", &error)
    })?;
    let flag = match found {
        // A file of another machine or data directory: the daemon would start as one that has lost its state.
        Found::Foreign => Flag::New,
        Found::Nothing => return Ok(None),
        Found::Own(promise) => promise.flag,
    };
    if flag == Flag::Full {
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
