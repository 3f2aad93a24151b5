//! The places that an operation will write to, each tried before anything is stopped.

use std::path::{Path, PathBuf};

use crate::system::{files, trial};

/// A place to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteLocation {
    /// What it is: `the data directory`.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Why it cannot be written to, if it cannot.
    pub problem: Option<String>,
}

impl WriteLocation {
    /// Tries a directory, which need not exist.
    pub fn directory(what: &'static str, path: &Path) -> Self {
        Self::tried(what, path, trial::directory(path))
    }

    /// Tries a file in a directory that was tried.
    fn file(what: &'static str, path: &Path, directory: &Self) -> Self {
        let of_directory = || match &directory.problem {
            Some(problem) => Err(anyhow::anyhow!("{problem}")),
            None => Ok(()),
        };
        Self::tried(what, path, trial::replaceable_in(path, of_directory))
    }

    fn tried(what: &'static str, path: &Path, result: anyhow::Result<()>) -> Self {
        let problem = result.err().map(|error| format!("{error:#}"));
        Self { what, path: path.to_path_buf(), problem }
    }
}

/// Tries the places of a data directory that a standby is made in: what pgbaton writes itself, and what the server or pg_rewind will write.
pub fn of_data_directory(data: &Path) -> Vec<WriteLocation> {
    let itself = WriteLocation::directory("the data directory", data);
    let file = |name: &'static str| WriteLocation::file(name, &data.join(name), &itself);
    let auto_conf = file("postgresql.auto.conf");
    let signal = data.join("standby.signal").symlink_metadata().is_ok().then(|| file("standby.signal"));
    let mut out = vec![itself, auto_conf];
    out.extend(signal);
    out.push(WriteLocation::directory("the WAL directory", &data.join("pg_wal")));
    let links = data.join("pg_tblspc");
    for name in files::names_in(&links).unwrap_or_default() {
        let link = links.join(name);
        // Each version has a directory of its own there, and the one around it may belong to another user.
        let versions = files::names_in(&link).unwrap_or_default();
        let own = versions.iter().find(|name| name.to_string_lossy().starts_with("PG_"));
        let place = own.map_or_else(|| link.clone(), |name| link.join(name));
        out.push(WriteLocation::directory("a tablespace", &place));
    }
    out
}

/// Tries the state directory: the journal, the lock, and what is kept of a node.
pub fn of_state(directory: &Path) -> WriteLocation {
    WriteLocation::directory("the state directory", directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_data_directory_is_tried() {
        let root = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (root.path().join("data"), root.path().join("elsewhere"));
        for path in [data.join("pg_tblspc"), elsewhere.join("PG_15_202209061"), elsewhere.join("wal")] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::os::unix::fs::symlink(&elsewhere, data.join("pg_tblspc/16384")).unwrap();
        std::os::unix::fs::symlink(elsewhere.join("wal"), data.join("pg_wal")).unwrap();
        std::fs::create_dir(data.join("standby.signal")).unwrap();
        let found = of_data_directory(&data);
        let what: Vec<(&str, bool)> =
            found.iter().map(|place| (place.what, place.problem.is_none())).collect();
        let expected = [
            ("the data directory", true),
            ("postgresql.auto.conf", true),
            ("standby.signal", false),
            ("the WAL directory", true),
            ("a tablespace", true),
        ];
        assert_eq!(what, expected);
        assert!(found[4].path.ends_with("pg_tblspc/16384/PG_15_202209061"));
    }
}
