//! Where the messages of a server go that pg_ctl starts, until the server opens a log of its own.
//!
//! They go where those of the running server go: that place exists, and administrators of the server know it. A directory next to the data
//! directory need not be open to its user.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::facts::directory::running_postmaster;
use crate::system::{files, trial};

/// The file in the state directory that keeps where the messages went when the server was stopped.
const NOTE: &str = "server-output.json";

/// The directory in the state directory for the messages of servers of which that is not known.
pub const DIRECTORY: &str = "log";

/// Bytes from which on the log in the state directory is put aside before a start.
const LARGE: u64 = 1024 * 1024;

/// How many of those are kept.
const KEPT: u32 = 3;

/// A file for the first messages of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartLog {
    /// The file.
    pub path: PathBuf,
    /// It is our own, in the state directory, because there is no better one.
    pub is_ours: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    data_directory: PathBuf,
    output: PathBuf,
}

/// Returns the file in the state directory.
pub fn own_start_log(state: &Path) -> StartLog {
    StartLog { path: state.join(DIRECTORY).join("start.log"), is_ours: true }
}

/// Finds the file for the next start of the server of a data directory.
pub fn find(data: &Path, running: Option<i32>, state: &Path) -> StartLog {
    let ours = own_start_log(state);
    let found = match running {
        Some(pid) => output_of(pid),
        None => noted(data, state),
    };
    match found.filter(|path| *path != ours.path && trial::file(path).is_ok()) {
        Some(path) => StartLog { path, is_ours: false },
        None => ours,
    }
}

/// Keeps where the messages of a running server go, for its next start. Without that there is another place: no failure counts.
pub fn note(data: &Path, state: &Path) {
    let output = running_postmaster(data).and_then(output_of);
    let path = state.join(NOTE);
    let Some(output) = output.filter(|output| !output.starts_with(state)) else {
        // What was kept before is not true any more.
        let _none = std::fs::remove_file(path);
        return;
    };
    let note = Note { data_directory: data.to_path_buf(), output };
    if let Ok(text) = serde_json::to_vec(&note) {
        let _none = files::write_without_waiting(&path, &text, 0o600);
    }
}

/// Makes the log ready that a server is to be started with, if it is the one in the state directory.
///
/// # Errors
/// Fails where that directory cannot be made.
pub fn prepare(log: &Path, state: &Path) -> anyhow::Result<()> {
    let directory = state.join(DIRECTORY);
    if log.parent() != Some(&directory) {
        return Ok(());
    }
    files::make_directory(&directory, 0o700)?;
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() >= LARGE) {
        let older = |number: u32| match number {
            0 => log.to_path_buf(),
            number => PathBuf::from(format!("{}.{number}", log.display())),
        };
        // The oldest is replaced.
        for number in (0..KEPT).rev().filter(|number| older(*number).exists()) {
            files::rename(&older(number), &older(number + 1))?;
        }
    }
    Ok(())
}

fn noted(data: &Path, state: &Path) -> Option<PathBuf> {
    let text = files::bytes(state.join(NOTE)).ok()?;
    let note: Note = serde_json::from_slice(&text).ok()?;
    (note.data_directory == data).then_some(note.output)
}

/// Returns the file that a process writes its messages to; None if that is a pipe or a terminal, if it was removed, or if another file has
/// its name by now. With the logging collector it is a pipe.
fn output_of(pid: i32) -> Option<PathBuf> {
    let link = format!("/proc/{}/fd/2", pid.abs());
    let path = std::fs::read_link(&link).ok()?;
    let (open, named) = (std::fs::metadata(&link).ok()?, path.symlink_metadata().ok()?);
    let same = (open.dev(), open.ino()) == (named.dev(), named.ino());
    (path.is_absolute() && named.is_file() && same).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_counts_for_the_same_data_directory_as_long_as_it_can_be_written() {
        let root = tempfile::tempdir().unwrap();
        let (data, state, log) =
            (root.path().join("data"), root.path().join("state"), root.path().join("pg.log"));
        std::fs::create_dir(&state).unwrap();
        let found = || find(&data, None, &state);
        let ours = StartLog { path: state.join("log/start.log"), is_ours: true };
        assert_eq!(found(), ours);
        let write = |data: &Path, output: &Path| {
            let note = Note { data_directory: data.into(), output: output.into() };
            files::write(&state.join(NOTE), &serde_json::to_vec(&note).unwrap(), 0o600).unwrap();
        };
        write(&data, &log);
        // It may have been removed: what creates it is tried.
        assert_eq!(found(), StartLog { path: log.clone(), is_ours: false });
        assert!(!log.exists());
        write(&data, &root.path().join("nowhere/pg.log"));
        assert_eq!(found(), ours);
        write(Path::new("/other"), &log);
        assert_eq!(found(), ours);
        files::write(&state.join(NOTE), b"{", 0o600).unwrap();
        assert_eq!(found(), ours);
        // No server runs: what was noted is forgotten.
        write(&data, &log);
        note(&data, &state);
        assert!(!state.join(NOTE).exists());
    }

    #[test]
    fn only_a_regular_file_that_is_still_there_is_where_messages_go() {
        let own = i32::try_from(std::process::id()).unwrap();
        // Of a test it is a pipe, a terminal or a file; what matters is that a file is believed only under its own name.
        let link = std::fs::read_link(format!("/proc/{own}/fd/2")).unwrap();
        assert_eq!(
            output_of(own),
            link.symlink_metadata().is_ok_and(|metadata| metadata.is_file()).then_some(link)
        );
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        let mut sleep = {
            #[expect(clippy::disallowed_methods, reason = "a process to look at")]
            let mut command = std::process::Command::new("/bin/sleep");
            command.arg("60").stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap()
        };
        let pid = i32::try_from(sleep.id()).unwrap();
        let of_it = output_of(pid);
        std::fs::rename(&log, root.path().join("log.1")).unwrap();
        files::write(&log, b"", 0o600).unwrap();
        let renamed = output_of(pid);
        files::write(&root.path().join("log (deleted)"), b"", 0o600).unwrap();
        std::fs::remove_file(root.path().join("log.1")).unwrap();
        let removed = output_of(pid);
        sleep.kill().unwrap();
        sleep.wait().unwrap();
        assert_eq!((of_it, renamed, removed), (Some(log), Some(root.path().join("log.1")), None));
    }

    #[test]
    fn the_log_in_the_state_directory_does_not_grow_for_ever() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log/start.log");
        for round in 0..6_u8 {
            prepare(&log, root.path()).unwrap();
            assert!(!log.exists());
            let mut text = vec![b'x'; usize::try_from(LARGE).unwrap()];
            text[0] = round;
            files::write(&log, &text, 0o600).unwrap();
        }
        let names = files::names_in(&root.path().join("log")).unwrap();
        assert_eq!(names.len(), 4);
        let first = |name: &str| crate::system::files::bytes(root.path().join("log").join(name)).unwrap()[0];
        assert_eq!((first("start.log"), first("start.log.1"), first("start.log.3")), (5, 4, 2));
        // Any other log belongs to another program.
        prepare(Path::new("/nowhere/start.log"), root.path()).unwrap();
    }
}
