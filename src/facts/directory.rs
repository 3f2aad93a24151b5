//! What is in a directory that is to become a data directory.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::pg::control_file::{self, ControlState};
use crate::pg::installation::major_of;
use crate::system::files;

/// Where a clone is made before it is moved to its place, inside the data directory so that both are on one file system.
///
/// No server finds anything here by mistake: the data directory itself has no PG_VERSION and no control file until everything else,
/// `standby.signal` included, is in its place.
pub const STAGING: &str = "pgbaton_clone";

/// The file in [`STAGING`] that says whose it is.
pub const MARKER: &str = "marker.json";

/// The directory in [`STAGING`] that pg_basebackup writes to.
pub const COPY: &str = "copy";

/// What a clone leaves behind when it is cut short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// What the reader of the file should know.
    pub note: String,
    /// Directories outside the data directory that the clone writes to; they were empty when it began.
    pub tablespaces: Vec<PathBuf>,
    /// The one among them that the WAL goes to.
    #[serde(default)]
    pub waldir: Option<PathBuf>,
}

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryContents {
    /// There is no such directory.
    Missing,
    /// It is empty.
    Empty,
    /// A clone was cut short here: ours to take over.
    UnfinishedClone(Marker),
    /// A data directory.
    DataDirectory {
        /// First line of PG_VERSION.
        major: String,
        /// A server runs on it; its process id.
        running: Option<i32>,
    },
    /// Something else; some of the names in it.
    Other(Vec<String>),
    /// It cannot be looked into.
    Unreadable(String),
}

/// Looks into a directory.
pub fn inspect_directory(path: &Path) -> DirectoryContents {
    if path.symlink_metadata().is_err() {
        return DirectoryContents::Missing;
    }
    let mut names: Vec<String> = match files::names_in(path) {
        Ok(names) => names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect(),
        Err(error) => return DirectoryContents::Unreadable(format!("{error:#}")),
    };
    if names.is_empty() {
        return DirectoryContents::Empty;
    }
    let running = running_postmaster(path);
    let version = major_of(path).ok();
    if running.is_none()
        && (version.is_none() || !path.join("global/pg_control").exists() || never_started(path))
        && let Some(marker) = read_marker(path).or_else(|| barely_begun(path, &names))
    {
        return DirectoryContents::UnfinishedClone(marker);
    }
    if version.is_some() || running.is_some() {
        return DirectoryContents::DataDirectory { major: version.unwrap_or_default(), running };
    }
    names.sort();
    names.truncate(5);
    DirectoryContents::Other(names)
}

fn read_marker(path: &Path) -> Option<Marker> {
    let text = files::text(path.join(STAGING).join(MARKER)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Looks into a directory that a server is to run on: a clone that lacks only the removal of its mark is a data directory.
pub fn look_past_mark(path: &Path) -> DirectoryContents {
    match inspect_directory(path) {
        DirectoryContents::UnfinishedClone(_) if leftover(path).is_some() => {
            DirectoryContents::DataDirectory { major: major_of(path).unwrap_or_default(), running: None }
        }
        other => other,
    }
}

/// Returns what a clone has left in a data directory that is complete: its mark, and nothing of the copy.
///
/// The command that made it was killed after the copy was in its place, or before the first file of an old data directory was removed.
pub fn leftover(path: &Path) -> Option<PathBuf> {
    let staging = path.join(STAGING);
    let complete = path.join("PG_VERSION").exists() && path.join("global/pg_control").exists();
    let names = files::names_in(&staging).ok().filter(|_| complete && staging.is_dir())?;
    let is_mark = |name: &OsString| {
        *name == *MARKER
            || name.to_string_lossy().starts_with(files::TEMPORARY)
            || *name == *COPY && files::names_in(&staging.join(COPY)).is_ok_and(|copied| copied.is_empty())
    };
    names.iter().all(is_mark).then_some(staging)
}

/// Recognizes a copy that is in its place and has never been started: a server renames `backup_label` when it first starts.
fn never_started(path: &Path) -> bool {
    path.join("backup_label").exists() && path.join("standby.signal").exists()
}

/// Recognizes the work of a clone that was cut short before its mark was written, or while its last traces were removed.
fn barely_begun(path: &Path, names: &[String]) -> Option<Marker> {
    let is_ours = |name: &String| name.starts_with(files::TEMPORARY);
    let rest: Vec<&String> = names.iter().filter(|name| !is_ours(name)).collect();
    let staged = files::names_in(&path.join(STAGING)).ok()?;
    let empty = staged.iter().all(|name| is_ours(&name.to_string_lossy().into_owned()));
    (rest == [STAGING] && empty).then(|| Marker {
        note: String::new(),
        tablespaces: Vec::new(),
        waldir: None,
    })
}

/// A postmaster that runs on a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postmaster {
    /// Its process id; negative for a server in single-user mode.
    pub pid: i32,
    /// When it was started, in seconds since 1970.
    pub started_at: Option<i64>,
    /// The port that it listens on.
    pub port: Option<u16>,
}

/// Returns the process id of the postmaster that runs on a data directory.
pub fn running_postmaster(path: &Path) -> Option<i32> {
    postmaster(path).map(|postmaster| postmaster.pid)
}

/// Returns the postmaster that runs on a data directory.
///
/// `postmaster.pid` alone proves nothing: it survives a crash, and its process id may by then belong to any process. A process counts if it
/// exists and its working directory is the data directory, as every postmaster's is. Where that cannot be seen, it counts if it belongs to
/// the user that the data directory belongs to: PostgreSQL itself takes no other user's process for a postmaster of its own. This program,
/// and what has started it, may have that number in a container that was started again, and are none.
pub fn postmaster(path: &Path) -> Option<Postmaster> {
    let text = files::text(path.join("postmaster.pid")).ok()?;
    let mut lines = text.lines().map(str::trim);
    let pid: i32 = lines.next()?.parse().ok()?;
    // The second line is the data directory.
    let started_at = lines.nth(1).and_then(|line| line.parse().ok());
    let port = lines.next().and_then(|line| line.parse().ok());
    let process = Path::new("/proc").join(pid.abs().to_string());
    if !process.exists() || is_zombie(&process) {
        return None;
    }
    let ours = [std::process::id(), std::os::unix::process::parent_id()];
    if ours.contains(&pid.unsigned_abs()) {
        return None;
    }
    let owner = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.uid());
    match (std::fs::read_link(process.join("cwd")), path.canonicalize()) {
        (Ok(cwd), Ok(own)) if cwd != own => None,
        (Err(_), _) if owner(&process) != owner(path) => None,
        _ => Some(Postmaster { pid, started_at, port }),
    }
}

/// Returns what a postmaster says of itself: `starting`, `stopping`, `ready` or `standby`, the eighth line of its pid file.
pub fn postmaster_status(path: &Path) -> Option<String> {
    let text = files::text(path.join("postmaster.pid")).ok()?;
    Some(text.lines().nth(7)?.trim().to_string())
}

/// Says whether the server on a data directory runs and has written that it is up.
pub fn is_ready(path: &Path) -> bool {
    matches!(postmaster_status(path).as_deref(), Some("ready" | "standby")) && postmaster(path).is_some()
}

/// A server that is being started, and what `postmaster.pid` held before: after a crash, that of a server that was ready once.
#[derive(Debug)]
pub struct Starting {
    path: PathBuf,
    before: Option<String>,
}

impl Starting {
    /// Looks at a data directory before the start.
    pub fn of(data_directory: &Path) -> Self {
        let path = data_directory.join("postmaster.pid");
        let before = files::text(&path).ok();
        Self { path, before }
    }

    /// Says whether the server accepts connections, or never will as `hot_standby` is off: what pg_ctl waits for.
    pub fn is_over(&self) -> bool {
        let Ok(text) = files::text(&self.path) else { return false };
        self.before.as_deref() != Some(&text) && self.path.parent().is_some_and(is_ready)
    }
}

/// Returns the process id of a postmaster that has ended without removing `postmaster.pid`, and that its parent has not waited for.
///
/// It does not run, but PostgreSQL takes it for running and refuses to start a second one.
pub fn unreaped_postmaster(path: &Path) -> Option<i32> {
    let text = files::text(path.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    is_zombie(&Path::new("/proc").join(pid.abs().to_string())).then_some(pid.abs())
}

/// Says whether a process has ended and was not waited for.
fn is_zombie(process: &Path) -> bool {
    let stat = files::text(process.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Returns the nearest directory above a path that exists: where it would be made.
pub fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

/// Says whether a server is shut down as a primary and would start as a standby.
///
/// # Errors
/// If its control file cannot be read.
pub fn stays_down(data_directory: &Path) -> anyhow::Result<bool> {
    Ok(control_file::read(data_directory)?.state == ControlState::ShutDown
        && data_directory.join(STANDBY_SIGNAL).symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_no_postmaster_of_this_directory_does_not_count() {
        let data = made(&["PG_VERSION"]);
        // Another user's, or one that works elsewhere; this program, and what has started it. To root processes of all users are visible.
        let first = (!rustix::process::geteuid().is_root()).then_some(1);
        let ours = [std::process::id(), std::os::unix::process::parent_id()];
        for pid in first.into_iter().chain(ours) {
            let text = format!("{pid}\n/data\n0\n");
            files::write(&data.path().join("postmaster.pid"), text.as_bytes(), 0o600).unwrap();
            assert_eq!(running_postmaster(data.path()), None, "{pid}");
        }
    }

    fn made(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match name.strip_suffix('/') {
                Some(_) => std::fs::create_dir_all(&path).unwrap(),
                None if name.ends_with(MARKER) => {
                    files::write(&path, br#"{"note":"","tablespaces":["/ts"]}"#, 0o600).unwrap();
                }
                None => files::write(&path, b"15\n", 0o600).unwrap(),
            }
        }
        directory
    }

    fn is_unfinished(names: &[&str]) -> bool {
        matches!(inspect_directory(made(names).path()), DirectoryContents::UnfinishedClone(_))
    }

    #[test]
    fn what_a_clone_leaves_is_ours_at_every_moment() {
        const MARK: &str = "pgbaton_clone/marker.json";
        // Before the mark was written, and after it was removed.
        assert!(is_unfinished(&["pgbaton_clone/"]));
        assert!(is_unfinished(&["pgbaton_clone/.pgbaton-x", ".pgbaton-y"]));
        assert!(is_unfinished(&[MARK, "pgbaton_clone/copy/PG_VERSION"]));
        // An old data directory that has lost its control file.
        assert!(is_unfinished(&[MARK, "PG_VERSION", "base/1"]));
        // In the middle of the move, and just after it.
        assert!(is_unfinished(&[MARK, "standby.signal", "global/pg_control"]));
        let complete = ["PG_VERSION", "global/pg_control", "standby.signal", "backup_label", MARK];
        assert!(is_unfinished(&complete));
    }

    #[test]
    fn what_is_left_in_a_complete_data_directory_is_the_mark_alone() {
        const MARK: &str = "pgbaton_clone/marker.json";
        let is_left = |names: &[&str]| leftover(made(names).path()).is_some();
        let complete = ["PG_VERSION", "global/pg_control"];
        assert!(is_left(&[&complete[..], &[MARK]].concat()));
        assert!(is_left(&[&complete[..], &["pgbaton_clone/.pgbaton-x", "pgbaton_clone/copy/"]].concat()));
        assert!(!is_left(&complete));
        assert!(!is_left(&[&complete[..], &[MARK, "pgbaton_clone/copy/PG_VERSION"]].concat()));
        assert!(!is_left(&[&complete[..], &[MARK, "pgbaton_clone/diary"]].concat()));
        assert!(!is_left(&["global/pg_control", MARK]));
        assert!(!is_left(&["PG_VERSION", MARK]));
    }

    #[test]
    fn what_somebody_else_has_made_is_not() {
        const MARK: &str = "pgbaton_clone/marker.json";
        assert!(!is_unfinished(&["PG_VERSION", "global/pg_control", MARK]));
        // It was started: the label of the backup has another name.
        let started = ["PG_VERSION", "global/pg_control", "standby.signal", "backup_label.old", MARK];
        assert!(!is_unfinished(&started));
        assert!(!is_unfinished(&["PG_VERSION", "global/pg_control", "standby.signal", "backup_label"]));
        assert!(!is_unfinished(&["pgbaton_clone/", "diary"]));
        assert!(!is_unfinished(&["pgbaton_clone/diary"]));
        assert_eq!(
            inspect_directory(made(&["diary"]).path()),
            DirectoryContents::Other(vec!["diary".into()])
        );
        assert_eq!(inspect_directory(made(&[]).path()), DirectoryContents::Empty);
    }
}
