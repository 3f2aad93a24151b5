//! What only the host of a node can report: examined by pgbaton there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::facts::{directory, rejoin};
use crate::pg::endpoint::Upstream;
use crate::system::{files, inspect};

/// What a host is asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostQuestion {
    /// The data directory, as the node's server says.
    pub data_directory: Option<PathBuf>,
    /// When that server was started, as it says.
    pub started_at: Option<String>,
    /// The other nodes, to which its WAL receiver is to log in.
    pub upstreams: Vec<(i32, Upstream)>,
    /// Whether files are wanted that pg_rewind could not read or write: each one has to be looked at for that.
    pub files: bool,
    /// Milliseconds for all of it.
    pub within_ms: u64,
}

/// What a host says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    /// The user that owns the data directory, where pgbaton runs as another one: what the server could do is not known then.
    pub other_owner: Option<String>,
    /// The data directory of the configuration there.
    pub data_directory: PathBuf,
    /// It holds a data directory.
    pub is_data_directory: bool,
    /// It is the one that the server named; None where the server did not say.
    pub is_servers: Option<bool>,
    /// The server that answers was started on it; None where it did not answer.
    pub runs_on_it: Option<bool>,
    /// The file system did not say in time what the data directory is.
    pub silent: bool,
    /// File systems; None where there was no time to find out.
    pub places: Option<Vec<FileSystemSpace>>,
    /// Places whose free space could not be determined.
    pub unseen: Vec<UnreadablePath>,
    /// Files that pg_rewind could not read or write; None if there was no time to check them all, or it was not requested.
    pub untouchable: Option<Vec<String>>,
    /// A rewind was begun and not finished.
    pub half_rewound: bool,
    /// The operation that waits to be resumed or abandoned: its id and its command.
    pub unfinished: Option<(String, String)>,
    /// The process that is at work on that operation; None where it waits.
    #[serde(default)]
    pub working: Option<u32>,
    /// The data directory has `standby.signal`; None where that was not looked for.
    pub standby_signal: Option<bool>,
    /// Why it is unknown whether one does.
    pub journal_unread: Option<String>,
    /// Nodes that the WAL receiver could not log in to, and why.
    pub logins_failed: Vec<(i32, String)>,
    /// Nodes that did not answer a login in time.
    pub logins_late: Vec<i32>,
    /// How many logins were tried.
    pub logins_tried: usize,
}

/// A file system that the server writes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSystemSpace {
    /// What of the server lies there.
    pub what: String,
    /// Where.
    pub path: PathBuf,
    /// Bytes that the server may still write.
    pub free_bytes: u64,
    /// Bytes that it may have in all.
    pub all_bytes: u64,
}

/// A place that the server writes to, and that cannot be looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnreadablePath {
    /// What of the server lies there.
    pub what: String,
    /// Where.
    pub path: PathBuf,
    /// Why it cannot be.
    pub why: String,
    /// It is a link that leads nowhere.
    pub broken: bool,
}

impl FileSystemSpace {
    /// Returns how much is free, in per cent: what df does not call used.
    pub fn free_percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let percent = 100.0 * self.free_bytes as f64 / self.all_bytes.max(1) as f64;
        percent
    }
}

/// What a data directory is. May take as long as the file system takes.
#[derive(Clone, Debug, Default)]
pub struct HostDirectory {
    /// It holds a data directory.
    pub is_data_directory: bool,
    /// It is the one that the server named.
    pub is_servers: Option<bool>,
    /// A rewind was begun and not finished.
    pub half_rewound: bool,
    /// It has `standby.signal`; None where there is no data directory, or it cannot be looked into.
    pub standby_signal: Option<bool>,
}

/// Looks what a data directory is. `servers` is the one that the server names.
pub fn inspect_data_directory(data: &Path, servers: Option<&Path>) -> HostDirectory {
    let is_data_directory =
        matches!(directory::look_past_mark(data), directory::DirectoryContents::DataDirectory { .. });
    HostDirectory {
        standby_signal: data.join(rejoin::STANDBY_SIGNAL).try_exists().ok().filter(|_| is_data_directory),
        is_data_directory,
        is_servers: servers.map(|servers| same(data, servers)),
        half_rewound: rejoin::is_half_rewound(data),
    }
}

/// Returns the files that pg_rewind could not read or write. Every file is looked at, which takes as long as there are files.
pub fn files_without_access(data: &Path) -> Vec<String> {
    // A half rewound one is accessible to no server, and is reported.
    let found = if rejoin::is_half_rewound(data) { Vec::new() } else { rejoin::files_without_access(data) };
    found.iter().map(|path| path.display().to_string()).collect()
}

/// Returns the user that owns a data directory, if it is another one than ours; the right to look into it may be missing, too.
pub fn other_owner(data: &Path) -> Option<String> {
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let unseen = std::fs::metadata(data).err();
    if inspect::is_own(data) || unseen.as_ref().is_some_and(|error| !denied(error)) {
        return None;
    }
    Some(inspect::owner(data).unwrap_or_else(|| "postgres".to_string()))
}

fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// Returns the file systems that the server writes to, each once, and the places that cannot be looked at.
pub fn file_systems(data: &Path) -> (Vec<FileSystemSpace>, Vec<UnreadablePath>) {
    let mut unseen = Vec::new();
    let tablespaces = data.join("pg_tblspc");
    let names = files::names_in(&tablespaces).unwrap_or_else(|error| {
        let why = format!("{:#}", error.root_cause());
        unseen.push(UnreadablePath {
            what: "tablespaces".into(),
            path: tablespaces.clone(),
            why,
            broken: false,
        });
        Vec::new()
    });
    let tablespaces = names.iter().map(|name| ("tablespace", tablespaces.join(name)));
    let own = [("data directory", data.to_path_buf()), ("pg_wal", data.join("pg_wal"))];
    let mut seen = Vec::new();
    let mut out = Vec::new();
    for (what, path) in own.into_iter().chain(tablespaces) {
        let device = inspect::device(&path);
        if seen.contains(&device) {
            continue;
        }
        let what = what.to_string();
        match files::space(&path) {
            Ok((free_bytes, all_bytes)) => {
                seen.push(device);
                let path = path.canonicalize().unwrap_or(path);
                out.push(FileSystemSpace { what, path, free_bytes, all_bytes });
            }
            Err(error) => {
                let gone = path.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
                let broken = gone && path.is_symlink();
                unseen.push(UnreadablePath { what, path, why: error.root_cause().to_string(), broken });
            }
        }
    }
    (out, unseen)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_system_is_named_once() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(data.path().join("pg_wal")).unwrap();
        let (found, unseen) = file_systems(data.path());
        assert_eq!((found.len(), unseen), (1, vec![]));
        assert_eq!(found[0].what, "data directory");
        assert!(found[0].free_percent() <= 100.0);
    }

    #[test]
    fn a_directory_is_the_servers_or_not() {
        let data = tempfile::tempdir().unwrap();
        let found = inspect_data_directory(data.path(), Some(data.path()));
        assert_eq!((found.is_data_directory, found.is_servers), (false, Some(true)));
        assert_eq!(inspect_data_directory(data.path(), Some(Path::new("/nowhere"))).is_servers, Some(false));
    }

    #[test]
    fn a_place_that_cannot_be_looked_at_is_told() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(data.path().join("pg_wal")).unwrap();
        std::fs::create_dir_all(data.path().join("pg_tblspc")).unwrap();
        symlink("/nowhere/at/all", data.path().join("pg_tblspc/16384")).unwrap();
        let (found, unseen) = file_systems(data.path());
        assert_eq!(found.len(), 1);
        assert_eq!(unseen.len(), 1, "{unseen:?}");
        assert!(unseen[0].broken && unseen[0].what == "tablespace", "{unseen:?}");
        if rustix::process::geteuid().is_root() {
            return;
        }
        // As for a user who may see that there is a directory, and nothing in it.
        let mode = |mode| std::fs::set_permissions(data.path(), PermissionsExt::from_mode(mode)).unwrap();
        mode(0o0);
        let (found, unseen) = file_systems(data.path());
        mode(0o700);
        assert_eq!(found.len(), 1);
        let what: Vec<(&str, bool)> =
            unseen.iter().map(|place| (place.what.as_str(), place.broken)).collect();
        assert_eq!(what, [("tablespaces", false), ("pg_wal", false)]);
        assert!(unseen[1].why.contains("ermission denied"), "{unseen:?}");
    }
}
