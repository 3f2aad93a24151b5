//! What only the host of a node can tell: looked at by the pgbaton there.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::facts::{directory, rejoin};
use crate::plan::Upstream;
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
    /// File systems; None where there was no time to find out.
    pub places: Option<Vec<Place>>,
    /// Files that pg_rewind could not read or write.
    pub untouchable: Vec<String>,
    /// A rewind was begun and not finished.
    pub half_rewound: bool,
    /// The operation that waits to be resumed or abandoned: its id and its command.
    pub unfinished: Option<(String, String)>,
    /// Why nobody knows whether one does.
    pub journal_unread: Option<String>,
    /// Nodes that the WAL receiver could not log in to, and why.
    pub logins_failed: Vec<(i32, String)>,
    /// How many logins were tried.
    pub logins_tried: usize,
}

/// A file system that the server writes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// What of the server lies there.
    pub what: String,
    /// Where.
    pub path: PathBuf,
    /// Bytes that the server may still write.
    pub free_bytes: u64,
    /// Bytes that it may have in all.
    pub all_bytes: u64,
}

impl Place {
    /// Returns how much is free, in per cent: what df does not call used.
    pub fn free_percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let percent = 100.0 * self.free_bytes as f64 / self.all_bytes.max(1) as f64;
        percent
    }
}

/// What the files of a data directory say. May take as long as the file system wants.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// It holds a data directory.
    pub is_data_directory: bool,
    /// It is the one that the server named.
    pub is_servers: Option<bool>,
    /// File systems.
    pub places: Vec<Place>,
    /// Files that pg_rewind could not read or write.
    pub untouchable: Vec<String>,
    /// A rewind was begun and not finished.
    pub half_rewound: bool,
}

/// Looks at the files. `servers` is the data directory that the server names.
pub fn look(data: &Path, servers: Option<&Path>) -> Looked {
    let half_rewound = rejoin::is_half_rewound(data);
    let untouchable = if half_rewound { Vec::new() } else { rejoin::untouchable(data) };
    Looked {
        is_data_directory: matches!(
            directory::look_past_mark(data),
            directory::Contents::DataDirectory { .. }
        ),
        is_servers: servers.map(|servers| same(data, servers)),
        places: places(data),
        untouchable: untouchable.iter().map(|path| path.display().to_string()).collect(),
        half_rewound,
    }
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

/// Returns the file systems that the server writes to, each once.
fn places(data: &Path) -> Vec<Place> {
    let tablespaces = data.join("pg_tblspc");
    let names = files::names_in(&tablespaces).unwrap_or_default();
    let tablespaces = names.iter().map(|name| ("tablespace", tablespaces.join(name)));
    let own = [("data directory", data.to_path_buf()), ("pg_wal", data.join("pg_wal"))];
    let mut seen = Vec::new();
    let mut out = Vec::new();
    for (what, path) in own.into_iter().chain(tablespaces) {
        let device = inspect::device(&path);
        if seen.contains(&device) {
            continue;
        }
        if let Ok((free_bytes, all_bytes)) = files::space(&path) {
            seen.push(device);
            let path = path.canonicalize().unwrap_or(path);
            out.push(Place { what: what.to_string(), path, free_bytes, all_bytes });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_named_once() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(data.path().join("pg_wal")).unwrap();
        let found = look(data.path(), Some(data.path()));
        assert_eq!(found.places.len(), 1);
        assert_eq!(found.places[0].what, "data directory");
        assert!(found.places[0].free_percent() <= 100.0);
        assert_eq!((found.is_data_directory, found.is_servers), (false, Some(true)));
        assert_eq!(look(data.path(), Some(Path::new("/nowhere"))).is_servers, Some(false));
    }
}
