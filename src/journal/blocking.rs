//! Which unfinished operation others have to wait for, and how the journal of one is ended without doing anything.

use crate::error::Exit;
use crate::journal::{Flush, Journal, OperationStatus, Record, StoredJournal};
use crate::system::clock;

/// Ends a journal without doing anything.
///
/// # Errors
/// Fails where the journal cannot be written.
pub fn close(entry: &StoredJournal, note: &str) -> anyhow::Result<()> {
    let (mut journal, _) = Journal::resume(&entry.path)?;
    journal.append(
        &Record::End { exit: Exit::Failed, at: clock::now(), note: note.into(), changed: true },
        Flush::Now,
    )
}

/// Returns the operations of a node that wait to be resumed or abandoned.
pub fn blocking(entries: &[StoredJournal]) -> Option<&StoredJournal> {
    entries.iter().find(|entry| match (&entry.journal, entry.status()) {
        (_, OperationStatus::Finished { .. }) => false,
        (Ok(loaded), _) => !loaded.header.is_harmless(),
        (Err(_), _) => true,
    })
}
