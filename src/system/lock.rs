//! The local lock: one mutating command at a time on this host and node.
//!
//! A file in the state directory, locked by the kernel, so that the lock ends with the process, however it ends. What is in
//! the file is for people only: who holds the lock. Other hosts are kept out by [`crate::registry::lock`].

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, Result};
use crate::system::guarded_read;

/// How often and how long a lock is tried that no process seems to hold.
const RETRY: (u32, Duration) = (20, Duration::from_millis(10));

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalLockHolder {
    /// The process.
    pub pid: u32,
    /// What it does: `standby switchover`.
    pub command: String,
    /// Since when.
    pub started_at: Timestamp,
}

impl fmt::Display for LocalLockHolder {
    /// Writes a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, started_at } = self;
        let since = started_at.strftime("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "Process {pid} has been running \"pgbaton {command}\" since {since}.")
    }
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct LocalLock {
    file: File,
}

impl LocalLock {
    /// Takes the lock of a state directory, which must exist.
    ///
    /// # Errors
    /// Fails with exit code 30, naming the holder, if another process has it.
    pub async fn acquire(state_directory: &Path, me: &LocalLockHolder) -> Result<Self> {
        let path = path(state_directory);
        let failed = |cause: &anyhow::Error| {
            Error::from_cause(Exit::Failed, format!("could not lock \"{}\"", path.display()), cause)
        };
        let mut file = open(&path).map_err(|cause| failed(&cause))?;
        for _ in 0..RETRY.0 {
            match file.try_lock() {
                Ok(()) => {
                    write(&mut file, me).map_err(|cause| failed(&cause))?;
                    return Ok(Self { file });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(cause)) => return Err(failed(&cause.into())),
            }
            // A process that only looks holds the lock for a moment, and a new holder needs a moment to sign.
            match read(&mut file) {
                Some(holder) if is_alive(holder.pid) => return Err(busy(&holder)),
                _ => tokio::time::sleep(RETRY.1).await,
            }
        }
        // It may be in another container, where its number means nothing here.
        match read(&mut file) {
            Some(holder) => Err(busy(&holder)),
            None => Err(Error::new(Exit::Busy, "another operation is running on this node")),
        }
    }

    /// Returns which process holds the lock of a state directory, if any.
    ///
    /// # Errors
    /// Fails if the file is there and cannot be opened or locked.
    pub fn holder(state_directory: &Path) -> anyhow::Result<Option<LocalLockHolder>> {
        let path = path(state_directory);
        let failed = || format!("could not check lock \"{}\"", path.display());
        let mut file = match guarded_read::open(&path) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(failed),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(read(&mut file)),
            Err(TryLockError::Error(error)) => Err(error).with_context(failed),
        }
    }
}

impl Drop for LocalLock {
    fn drop(&mut self) {
        // While the lock is still held: no stale signature stays behind. Closing the file releases it.
        let _ = self.file.set_len(0);
    }
}

fn path(state_directory: &Path) -> PathBuf {
    state_directory.join("lock")
}

/// Returns the error of a command that finds the lock taken; exit code 30.
pub fn busy(holder: &LocalLockHolder) -> Error {
    Error::new(Exit::Busy, "another operation is running on this node").detail(holder.to_string())
}

fn open(path: &Path) -> anyhow::Result<File> {
    // Not truncated here: until the lock is taken, the contents are another one's.
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(file)
}

/// More than a holder writes.
const MOST_BYTES: u64 = 64 * 1024;

fn write(file: &mut File, holder: &LocalLockHolder) -> anyhow::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&serde_json::to_vec(holder)?)?;
    Ok(())
}

fn read(file: &mut File) -> Option<LocalLockHolder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process of another user is alive too: only "no such process" says that it is not.
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(pid: u32) -> LocalLockHolder {
        LocalLockHolder {
            pid,
            command: "standby switchover".into(),
            started_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn a_second_holder_is_refused_with_30_and_shown_the_first_one() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(LocalLock::holder(directory.path()).unwrap(), None);
        let first = LocalLock::acquire(directory.path(), &me(std::process::id())).await.unwrap();
        let error = LocalLock::acquire(directory.path(), &me(2)).await.unwrap_err();
        assert_eq!(error.exit, Exit::Busy);
        let detail = error.text.detail.unwrap();
        let expected = format!(
            "Process {} has been running \"pgbaton standby switchover\" since 2026-11-21 10:00:00 UTC.",
            std::process::id()
        );
        assert_eq!(detail, expected);
        assert_eq!(LocalLock::holder(directory.path()).unwrap(), Some(me(std::process::id())));
        drop(first);
        assert_eq!(LocalLock::holder(directory.path()).unwrap(), None);
        LocalLock::acquire(directory.path(), &me(3)).await.unwrap();
    }

    #[tokio::test]
    async fn the_signature_of_a_dead_holder_locks_no_command_out() {
        let directory = tempfile::tempdir().unwrap();
        let dead = serde_json::to_vec(&me(i32::MAX.cast_unsigned())).unwrap();
        crate::system::files::write(&directory.path().join("lock"), &dead, 0o600).unwrap();
        LocalLock::acquire(directory.path(), &me(2)).await.unwrap();
    }

    #[tokio::test]
    async fn a_look_at_the_lock_is_waited_out() {
        let directory = tempfile::tempdir().unwrap();
        let looking = open(&path(directory.path())).unwrap();
        looking.lock_shared().unwrap();
        let me = me(2);
        let (lock, ()) = tokio::join!(LocalLock::acquire(directory.path(), &me), async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            looking.unlock().unwrap();
        });
        lock.unwrap();
    }
}
