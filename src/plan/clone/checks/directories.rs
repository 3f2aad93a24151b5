//! Whether the directories that a clone fills are free, and large enough.

use std::path::Path;

use super::quoted;
use crate::facts::directory::DirectoryContents;
use crate::plan::clone::{CloneFacts, CloneOptions, FreeSpace};
use crate::plan::{Check, Override};

pub(super) fn directory(facts: &CloneFacts, options: &CloneOptions) -> Check {
    const NAME: &str = "data_directory";
    let path = options.data_directory.display();
    if let Some(problem) = &facts.directory_problem {
        return Check::fail(NAME, format!("data directory \"{path}\" cannot be used"))
            .detail(problem.clone());
    }
    let major = facts.source.version_num / 10_000;
    match &facts.directory {
        DirectoryContents::DataDirectory { running: Some(pid), .. } => {
            Check::fail(NAME, format!("a server is running on data directory \"{path}\""))
                .detail(format!("Its process ID is {pid}."))
                .hint("Stop it first: \"pgbaton node stop\".")
        }
        DirectoryContents::DataDirectory { major: found, .. } if options.conf_only => {
            if *found != major.to_string() {
                Check::fail(NAME, format!("data directory \"{path}\" belongs to PostgreSQL {found}"))
                    .detail(format!("The source runs PostgreSQL {}.", facts.source.version))
            } else if facts.directory_identifier.as_deref() != Some(&facts.source.system_identifier) {
                foreign(facts, &path.to_string())
            } else {
                Check::pass(NAME, format!("\"{path}\" is a data directory of this cluster"))
            }
        }
        DirectoryContents::Missing if options.conf_only => {
            Check::fail(NAME, format!("data directory \"{path}\" does not exist"))
        }
        _ if options.conf_only => Check::fail(NAME, format!("\"{path}\" is not a data directory"))
            .detail("It has no PG_VERSION.")
            .hint("Leave out --replication-conf-only to create a clone there."),
        DirectoryContents::Missing | DirectoryContents::Empty => {
            Check::pass(NAME, format!("\"{path}\" is empty or can be created"))
        }
        DirectoryContents::UnfinishedClone(_) => {
            Check::pass(NAME, format!("\"{path}\" contains an interrupted clone, which is taken over"))
        }
        DirectoryContents::DataDirectory { major: found, .. } if *found != major.to_string() => {
            Check::fail(NAME, format!("\"{path}\" is a PostgreSQL {found} data directory"))
                .detail(format!(
                    "The source runs PostgreSQL {}; pgbaton never removes data of another cluster.",
                    facts.source.version
                ))
                .hint(format!("If it is not needed, move it away: mv {path} {path}.old"))
        }
        DirectoryContents::DataDirectory { .. }
            if facts.directory_identifier.as_deref() == Some(&facts.source.system_identifier) =>
        {
            Check::fail(NAME, format!("\"{path}\" is already a data directory of this cluster"))
                .detail("It may be a former primary with transactions that no other node has.")
                .hint("To keep its transactions, move the directory away first: the clone deletes its contents.")
                .overridable_by(Override::Force, options.force)
        }
        DirectoryContents::DataDirectory { .. } => foreign(facts, &path.to_string()),
        DirectoryContents::Other(names) => Check::fail(NAME, format!("directory \"{path}\" is not empty"))
            .detail(format!(
                "It contains {}, and is not a data directory: pgbaton removes only PostgreSQL data.",
                quoted(names)
            ))
            .hint("Set data_directory to another path; below a mount point, to a subdirectory of it."),
        DirectoryContents::Unreadable(why) => {
            Check::fail(NAME, format!("could not read directory \"{path}\"")).detail(why.clone())
        }
    }
}

fn foreign(facts: &CloneFacts, path: &str) -> Check {
    Check::fail("data_directory", format!("\"{path}\" is a data directory of another cluster"))
        .detail(format!(
            "Its system identifier is {}, but that of the source is {}.",
            facts.directory_identifier.as_deref().unwrap_or("unknown"),
            facts.source.system_identifier
        ))
        .hint(format!("If it is not needed, move it away: mv {path} {path}.old"))
}

/// Whether what goes to one file system fits on it: the data directory, tablespaces and WAL may share one.
pub(super) fn space(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    // WAL is streamed next to the copy meanwhile: at least one segment.
    let wal = 2 * facts.source.wal_segment_bytes;
    let outside: u64 = facts.tablespaces.iter().filter_map(|target| target.bytes).sum();
    let mut checks = Vec::new();
    let mut places: Vec<(&Path, u64, FreeSpace)> = Vec::new();
    match facts.details.total_bytes {
        Some(total) => {
            let separate = if facts.waldir.is_some() { 0 } else { wal };
            let needed = total.saturating_sub(outside) + separate;
            places.push((&options.data_directory, needed, facts.room));
        }
        None => checks.push(
            Check::warning("disk_space", "cannot determine whether the clone fits on the disk")
                .detail("The query for the size of the source's databases timed out."),
        ),
    }
    places.extend(
        facts.tablespaces.iter().filter_map(|target| Some((&*target.to, target.bytes?, target.room))),
    );
    places.extend(facts.waldir.iter().map(|target| (&*target.to, wal, target.room)));
    while let Some((_, _, FreeSpace { device, free_bytes, .. })) = places.first().copied() {
        let (here, elsewhere) = places.into_iter().partition(|(_, _, room)| room.device == device);
        places = elsewhere;
        checks.push(fits(&here, free_bytes));
    }
    checks
}

fn fits(places: &[(&Path, u64, FreeSpace)], free_bytes: u64) -> Check {
    const NAME: &str = "disk_space";
    let mb = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let needed = places.iter().map(|(_, needed, _)| needed).sum::<u64>();
    let free = free_bytes + places.iter().map(|(_, _, room)| room.reclaimable_bytes).sum::<u64>();
    let names = quoted(&places.iter().map(|(path, ..)| path.display().to_string()).collect::<Vec<_>>());
    if free < needed {
        Check::fail(NAME, format!("the disk of {names} is too small for the clone"))
            .detail(format!("The clone needs {} MB there, but only {} MB are free.", mb(needed), mb(free)))
            .hint("Free space, or set data_directory (or tablespace_mapping) to a larger disk.")
    } else {
        Check::pass(NAME, format!("{} MB are free in {names}, {} MB are needed", mb(free), mb(needed)))
    }
}

pub(super) fn tablespaces(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    facts
        .outside()
        .map(|target| {
            let path = target.to.display();
            match &target.contents {
                DirectoryContents::Missing | DirectoryContents::Empty => Check::pass("tablespaces", format!("\"{path}\" is empty or can be created")),
                _ if target.ours => Check::pass("tablespaces", format!("\"{path}\" was filled by the interrupted clone")),
                _ if facts.source_is_local && target.to == Path::new(&target.from) => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" belongs to the source"))
                        .detail("Source and clone are on one host.")
                        .hint(format!("Set in the configuration: tablespace_mapping = [\"{path}={path}_{}\"]", options.node_name))
                }
                DirectoryContents::Other(names) if names.iter().all(|name| name.starts_with("PG_")) => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" is not empty"))
                        .detail(format!("It contains {}.", quoted(names)))
                        .hint("Map the tablespace with tablespace_mapping, or make sure that its contents are not needed: the clone \
                            removes them.")
                        .overridable_by(Override::Force, options.force)
                }
                DirectoryContents::DataDirectory { .. } => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" is a data directory"))
                        .hint("Map the tablespace to another directory with tablespace_mapping.")
                }
                _ => Check::fail("tablespaces", format!("directory \"{path}\" is not empty"))
                    .hint("Choose another directory: tablespace_mapping for a tablespace, --waldir in pg_basebackup_options for the WAL."),
            }
        })
        .collect()
}
