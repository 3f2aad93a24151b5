//! The operations of this node whose journals have not ended, and the process that is at work on one.

use std::path::Path;

use crate::error::{Error, Exit, Result};
use crate::journal::{
    self, Flush, Header, Journal, Mark, OperationStatus, Record, Stage, StoredJournal, blocking, close,
};
use crate::plan::Plan;
use crate::plan::parts::events;
use crate::site::Site;
use crate::system::clock;
use crate::system::lock::LocalLock;

/// Looks at what earlier operations left: harmless ones are closed, any other one stops this command.
pub fn make_way(site: &Site, directory: &Path) -> Result<()> {
    let left = journal::unfinished(directory)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not read the journals", &error))?;
    for entry in left.iter().filter(|entry| !site.supersedes(&entry.operation_id)) {
        let id = &entry.operation_id;
        match &entry.journal {
            Ok(loaded) if loaded.header.is_harmless() => {
                if site.options.dry_run {
                    continue;
                }
                site.debug(&format!("operation {id} was left unfinished and is superseded"));
                if let Err(error) = close(entry, "superseded by a later command") {
                    site.debug(&format!("could not close its journal: {error:#}"));
                }
            }
            Ok(loaded) => {
                return Err(Error::new(Exit::Busy, format!("operation \"{}\" is unfinished on this node", loaded.header.command))
                    .detail(format!("Its id is {id}. Nothing was changed by this command."))
                    .hint(format!(
                        "Run \"pgbaton operation show {id}\", then \"pgbaton operation resume {id}\" or \"pgbaton operation abandon {id}\"."
                    )));
            }
            Err(error) => {
                return Err(Error::new(Exit::Busy, format!("the journal of operation {id} cannot be read"))
                    .detail(crate::error::sentence(&format!("{error:#}")))
                    .hint(format!("Check what it did; then run \"pgbaton operation abandon {id}\".")));
            }
        }
    }
    Ok(())
}

/// Returns this command's own operation, if an earlier run left it unfinished: it is resumed without being asked.
///
/// `same` says whether an operation had the same target.
///
/// # Errors
/// Exit code 1 if the journals cannot be read.
pub fn own_unfinished(site: &Site, same: impl Fn(&Header) -> bool) -> Result<Option<StoredJournal>> {
    let directory = site.state_directory()?;
    let left = journal::unfinished(&directory)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not read the journals", &error))?;
    let mine = |entry: &StoredJournal| {
        entry
            .journal
            .as_ref()
            .is_ok_and(|loaded| loaded.header.verb() == Some(site.verb) && same(&loaded.header))
            && !site.supersedes(&entry.operation_id)
    };
    Ok(left.into_iter().find(mine))
}

/// Returns the plan of this command's own operation that an earlier run left unfinished, also where this run takes its place and has closed it.
/// What that run had agreed to make needs no new consent.
pub fn own_interrupted(site: &Site) -> Option<Plan> {
    let entries = journal::list(&site.state_directory().ok()?).ok()?;
    let mine = |entry: &StoredJournal| {
        !matches!(entry.status(), OperationStatus::Finished { .. }) || site.supersedes(&entry.operation_id)
    };
    let loaded = entries.into_iter().rev().filter(mine).filter_map(|entry| entry.journal.ok());
    let mut own = loaded.filter(|loaded| loaded.header.verb() == Some(site.verb));
    own.next().map(|loaded| loaded.header.plan)
}

/// Says whether the journal of an operation has not ended.
pub fn is_open(site: &Site, operation_id: &str) -> bool {
    let entries = site.state_directory().ok().and_then(|directory| journal::unfinished(&directory).ok());
    entries.is_some_and(|entries| entries.iter().any(|entry| entry.operation_id == operation_id))
}

/// Returns the id of the operation that waits on this node, if one does and the journals can be read.
pub fn unfinished_id(site: &Site) -> Option<String> {
    let directory = site.state_directory().ok()?;
    let entries = journal::unfinished(&directory).ok()?;
    blocking(&entries).map(|entry| entry.operation_id.clone())
}

/// Returns the operation of this node for those who only look.
pub fn own_seen(site: &Site) -> Option<Own> {
    own(&site.state_directory().ok()?).ok().flatten()
}

/// Notes in the journal of the operation that waits on this node, if one does, that its promotion has been announced.
pub fn mark_event_sent(site: &Site) {
    let note = || {
        let entries = journal::unfinished(&site.state_directory().ok()?).ok()?;
        let (mut journal, _) = Journal::resume(&blocking(&entries)?.path).ok()?;
        let (step, stage, at) = (events::STEP.to_string(), Stage::Forward, clock::now());
        journal.append(&Record::Mark { step, stage, mark: Mark::Done, at }, Flush::Now).ok()
    };
    if note().is_none() {
        site.debug("no journal records that the promotion was announced");
    }
}

/// An operation of this node whose journal is open.
#[derive(Debug)]
pub struct Own {
    /// Its id.
    pub operation_id: String,
    /// Its command.
    pub command: String,
    /// The process that is at work on it; None where it waits to be resumed or abandoned.
    pub process: Option<u32>,
}

/// Returns the operation of this node whose journal is open, if there is one that others have to wait for.
///
/// # Errors
/// Those of reading the state directory.
pub fn own(directory: &Path) -> anyhow::Result<Option<Own>> {
    let entries = journal::unfinished(directory)?;
    Ok(blocking(&entries).map(|entry| Own {
        operation_id: entry.operation_id.clone(),
        command: entry.journal.as_ref().map_or("?", |journal| &journal.header.command).to_string(),
        process: worker(entry, directory),
    }))
}

/// The process that is at work on an operation: the one that wrote to its journal last, while it holds the node's lock.
pub fn worker(entry: &StoredJournal, directory: &Path) -> Option<u32> {
    let loaded = entry.journal.as_ref().ok()?;
    let resumed = loaded.records.iter().rev().find_map(|record| match record {
        Record::Resumed { pid, .. } => Some(*pid),
        _ => None,
    });
    let pid = resumed.unwrap_or(loaded.header.pid);
    let holder = LocalLock::holder(directory).ok().flatten()?;
    (holder.pid == pid).then_some(pid)
}
