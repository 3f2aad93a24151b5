//! Where a clone puts things, and what of other servers is near.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Error, Result, sentence};
use crate::facts::directory::{
    DirectoryContents, Marker, inspect_directory, look_past_mark, nearest_existing, running_postmaster,
};
use crate::facts::source::SourceFacts;
use crate::plan::clone::{FilledDirectory, ForeignDirectory, FreeSpace, TablespaceTarget};
use crate::system::{files, inspect, trial};

/// Where a clone puts things.
pub(super) struct ClonePlaces {
    /// What is in the data directory.
    pub(super) directory: DirectoryContents,
    /// The options for pg_basebackup, with where WAL stays.
    pub(super) extra_options: Vec<String>,
    pub(super) room: FreeSpace,
    pub(super) tablespaces: Vec<TablespaceTarget>,
    pub(super) waldir: Option<TablespaceTarget>,
}

impl ClonePlaces {
    /// Looks at them. Where nothing is copied no room is needed, and counting what is there would take long.
    pub(super) fn inspect(config: &Config, source: &SourceFacts, conf_only: bool) -> Result<Self> {
        let data = &config.data_directory;
        let directory = if conf_only { look_past_mark(data) } else { inspect_directory(data) };
        let given = config.pg_basebackup_options.as_deref().unwrap_or("");
        let mut extra_options = shell_words::split(given).map_err(|error| {
            Error::failed("invalid pg_basebackup_options").detail(sentence(&error.to_string()))
        })?;
        if conf_only {
            let (room, tablespaces) = (FreeSpace::default(), Vec::new());
            return Ok(Self { directory, extra_options, room, tablespaces, waldir: None });
        }
        let tablespaces = tablespaces(config, source, &directory);
        if let (None, Some(linked)) = (named_waldir(&extra_options), linked_waldir(data, &directory)) {
            // WAL stays on the disk that it was put on.
            extra_options.push(format!("--waldir={}", linked.display()));
        }
        let waldir = waldir(data, &extra_options, &directory);
        Ok(Self { room: free_space(data, &directory), directory, extra_options, tablespaces, waldir })
    }

    /// Returns the directories that the clone fills.
    pub(super) fn filled(&self, data: &Path) -> Vec<FilledDirectory> {
        filled(data, &self.tablespaces, self.waldir.as_ref())
    }

    /// Says why one of them, or the state directory, cannot be used, if one cannot.
    pub(super) fn problem(&self, data: &Path, state_directory: &Path) -> Option<String> {
        let targets = self.tablespaces.iter().chain(&self.waldir).map(|target| target.to.as_path());
        directory_problem(data, &targets.chain([state_directory]).collect::<Vec<_>>())
    }
}

/// Returns where a path leads, whether it is there or not.
fn real(path: &Path) -> PathBuf {
    let existing = nearest_existing(path);
    let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
    let place = existing.canonicalize().unwrap_or_else(|_| existing.to_path_buf());
    if rest.as_os_str().is_empty() { place } else { place.join(rest) }
}

/// Returns the directories that the clone fills.
fn filled(
    data: &Path,
    tablespaces: &[TablespaceTarget],
    waldir: Option<&TablespaceTarget>,
) -> Vec<FilledDirectory> {
    let place = |what, path: &Path, from: Option<&String>| FilledDirectory {
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
pub(super) fn foreign(
    data: &Path,
    filled: &[FilledDirectory],
    local_source: Option<&SourceFacts>,
) -> Vec<ForeignDirectory> {
    let own = real(data);
    let mut out: Vec<ForeignDirectory> = Vec::new();
    let mut add = |what: String, path: &Path| {
        let real = real(path);
        if real != own && !out.iter().any(|other| other.real == real) {
            out.push(ForeignDirectory { what, real });
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
        let around = place
            .real
            .ancestors()
            .skip(1)
            .find(|path| matches!(inspect_directory(path), DirectoryContents::DataDirectory { .. }));
        if let Some(path) = around {
            add("the data directory".into(), path);
        }
    }
    out
}

/// Looks at where the tablespaces go.
fn tablespaces(
    config: &Config,
    details: &SourceFacts,
    directory: &DirectoryContents,
) -> Vec<TablespaceTarget> {
    let ours = match directory {
        DirectoryContents::UnfinishedClone(Marker { tablespaces, .. }) => tablespaces.as_slice(),
        _ => &[],
    };
    details
        .tablespaces
        .iter()
        .map(|tablespace| {
            let mapped = config
                .tablespace_mapping
                .iter()
                .find(|mapping| mapping.old == Path::new(&tablespace.location));
            let to =
                mapped.map_or_else(|| PathBuf::from(&tablespace.location), |mapping| mapping.new.clone());
            let contents = inspect_directory(&to);
            TablespaceTarget {
                from: tablespace.location.clone(),
                ours: ours.contains(&to),
                room: free_space(&to, &contents),
                to,
                contents,
                bytes: tablespace.bytes,
            }
        })
        .collect()
}

/// Returns where `--waldir` puts the WAL, if it is among the options for pg_basebackup.
fn named_waldir(extra_options: &[String]) -> Option<PathBuf> {
    let mut words = extra_options.iter();
    loop {
        let word = words.next()?;
        match word.strip_prefix("--waldir") {
            Some("") => return Some(PathBuf::from(words.next()?)),
            Some(rest) if rest.starts_with('=') => return Some(PathBuf::from(rest.trim_start_matches('='))),
            _ => {}
        }
    }
}

/// Returns where the WAL of the data directory lies that the clone replaces, or of the unfinished clone that it takes over, if `pg_wal` is
/// a symbolic link.
fn linked_waldir(data: &Path, directory: &DirectoryContents) -> Option<PathBuf> {
    match directory {
        // Where a server runs on it, it is stopped and moved aside, or nothing is cloned.
        DirectoryContents::DataDirectory { .. } => {
            let link = std::fs::read_link(data.join("pg_wal")).ok()?;
            Some(data.join(link))
        }
        DirectoryContents::UnfinishedClone(Marker { waldir, .. }) => waldir.clone(),
        _ => None,
    }
}

/// Looks at where the WAL is put, if that is not the data directory.
fn waldir(data: &Path, extra_options: &[String], directory: &DirectoryContents) -> Option<TablespaceTarget> {
    let to = named_waldir(extra_options)?;
    let marked =
        matches!(directory, DirectoryContents::UnfinishedClone(marker) if marker.tablespaces.contains(&to));
    // It goes with the data directory that it belongs to.
    let ours = marked || linked_waldir(data, directory).is_some_and(|linked| linked == to);
    let contents = inspect_directory(&to);
    Some(TablespaceTarget {
        from: String::new(),
        room: free_space(&to, &contents),
        contents,
        bytes: None,
        to,
        ours,
    })
}

/// Measures the room in a directory, or where it would be created; none if it cannot be determined.
fn free_space(path: &Path, contents: &DirectoryContents) -> FreeSpace {
    FreeSpace {
        device: inspect::device(nearest_existing(path)),
        free_bytes: files::free_space(path).unwrap_or(0),
        reclaimable_bytes: match contents {
            DirectoryContents::Missing | DirectoryContents::Empty | DirectoryContents::Unreadable(_) => 0,
            _ => inspect::bytes_in(path),
        },
    }
}

/// Says why a data directory cannot be used, or another place that the clone fills, if one cannot.
fn directory_problem(data: &Path, others: &[&Path]) -> Option<String> {
    let unwritable = [data].iter().chain(others).find_map(|path| trial::directory(path).err());
    if let Some(error) = unwritable {
        return Some(sentence(&format!("{error:#}")));
    }
    if data.exists() && !inspect::is_own(data) {
        return Some(format!("\"{}\" belongs to another user; the server would refuse it.", data.display()));
    }
    None
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
