//! Where a clone puts things, and what of other servers is near.

use std::path::{Path, PathBuf};

use crate::facts::directory::{Contents, look, nearest_existing, running_postmaster};
use crate::facts::source::Source;
use crate::plan::clone::{Filled, Foreign, TablespaceTarget};
use crate::system::{files, inspect};

/// Returns where a path leads, whether it is there or not.
fn real(path: &Path) -> PathBuf {
    let existing = nearest_existing(path);
    let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
    let place = existing.canonicalize().unwrap_or_else(|_| existing.to_path_buf());
    if rest.as_os_str().is_empty() { place } else { place.join(rest) }
}

/// Returns the directories that the clone fills.
pub(crate) fn filled(
    data: &Path,
    tablespaces: &[TablespaceTarget],
    waldir: Option<&TablespaceTarget>,
) -> Vec<Filled> {
    let place = |what, path: &Path, from: Option<&String>| Filled {
        what,
        given: path.to_path_buf(),
        real: real(path),
        from: from.cloned(),
    };
    let mut out = vec![place("data directory", data, None)];
    out.extend(
        tablespaces.iter().map(|target| place("tablespace directory", &target.to, Some(&target.from))),
    );
    out.extend(waldir.map(|target| place("WAL directory", &target.to, None)));
    out
}

/// Returns the directories of other servers: of the source, if it is on this host; of servers that run here, as far as this user sees them;
/// and data directories that one of the directories lies in.
pub(crate) fn foreign(data: &Path, filled: &[Filled], local_source: Option<&Source>) -> Vec<Foreign> {
    let own = real(data);
    let mut out: Vec<Foreign> = Vec::new();
    let mut add = |what: String, path: &Path| {
        let real = real(path);
        if real != own && !out.iter().any(|other| other.real == real) {
            out.push(Foreign { what, real });
        }
    };
    if let Some(source) = local_source {
        if let Some(directory) = &source.data_directory {
            add("the data directory of the source".into(), Path::new(directory));
        }
        for tablespace in &source.tablespaces {
            // One that is not mapped elsewhere is reported by its own check.
            let path = Path::new(&tablespace.location);
            if !filled
                .iter()
                .any(|place| place.from.as_ref() == Some(&tablespace.location) && place.given == path)
            {
                add(format!("tablespace \"{}\" of the source", tablespace.name), path);
            }
        }
    }
    for directory in inspect::working_directories() {
        if real(&directory) == own || running_postmaster(&directory).is_none() {
            continue;
        }
        let server = format!("the running server on \"{}\"", directory.display());
        let mut places = vec![("the data directory", directory.clone())];
        places.extend(files::names_in(&directory.join("pg_tblspc")).unwrap_or_default().iter().filter_map(
            |name| {
                let link = std::fs::read_link(directory.join("pg_tblspc").join(name)).ok()?;
                Some(("a tablespace", link))
            },
        ));
        places.extend(
            std::fs::read_link(directory.join("pg_wal")).ok().map(|link| ("the WAL", directory.join(link))),
        );
        let unmapped = |path: &Path| {
            filled
                .iter()
                .any(|place| place.from.as_deref().map(Path::new) == Some(path) && place.given == path)
        };
        for (what, path) in places {
            if !(local_source.is_some() && unmapped(&path)) {
                add(format!("{what} of {server}"), &path);
            }
        }
    }
    for place in filled {
        let around =
            place.real.ancestors().skip(1).find(|path| matches!(look(path), Contents::DataDirectory { .. }));
        if let Some(path) = around {
            add("the data directory".into(), path);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_path_leads_is_known_before_it_is_made() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        files::make_directory(&top.join("disk"), 0o700).unwrap();
        std::os::unix::fs::symlink(top.join("disk"), top.join("link")).unwrap();
        assert_eq!(real(&top.join("link/a/b")), top.join("disk/a/b"));
        assert_eq!(real(&top.join("link")), top.join("disk"));
    }

    #[test]
    fn a_directory_inside_of_a_data_directory_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        files::make_directory(&top.join("node1/ts"), 0o700).unwrap();
        files::write(&top.join("node1/PG_VERSION"), b"15\n", 0o600).unwrap();
        let inside = top.join("node1/ts/node2");
        let found = foreign(&inside, &filled(&inside, &[], None), None);
        assert_eq!(found.iter().filter(|other| other.real == top.join("node1")).count(), 1, "{found:?}");
        let sibling = top.join("node2");
        let found = foreign(&sibling, &filled(&sibling, &[], None), None);
        assert!(!found.iter().any(|other| other.real.starts_with(&top)), "{found:?}");
    }
}
