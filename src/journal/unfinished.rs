//! Operations that were left unfinished, or are open.

use crate::error::Exit;
use crate::journal::{Entry, Flush, Journal, Record, Status};
use crate::system::clock;

/// Commands whose unfinished operations block nothing: what they leave harms nothing, and they can be run again.
pub const HARMLESS: [&str; 15] = [
    "standby clone",
    "standby register",
    "standby unregister",
    "primary register",
    "primary unregister",
    "node prepare",
    "witness register",
    "witness unregister",
    "cluster cleanup",
    "node start",
    "node stop",
    "node restart",
    "node reload",
    "node service",
    // What it may leave is standby.signal, with which the next start is that of a standby.
    "node guard",
];

/// Ends a journal without doing anything.
///
/// # Errors
/// Fails where the journal cannot be written.
pub fn close(entry: &Entry, note: &str) -> anyhow::Result<()> {
    let (mut journal, _) = Journal::resume(&entry.path)?;
    journal.append(
        &Record::End { exit: Exit::Failed, at: clock::now(), note: note.into(), changed: true },
        Flush::Now,
    )
}

/// Returns the operations of a node that wait to be resumed or abandoned.
pub fn blocking(entries: &[Entry]) -> Option<&Entry> {
    entries.iter().find(|entry| match (&entry.journal, entry.status()) {
        (_, Status::Finished { .. }) => false,
        (Ok(loaded), _) => !HARMLESS.contains(&loaded.header.command.as_str()),
        (Err(_), _) => true,
    })
}
