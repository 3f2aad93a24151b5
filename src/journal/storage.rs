//! Journals as files in the state directory: made, continued, listed, removed.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Header, Loaded, OperationStatus, Record, line, parse};
use crate::system::files::{self, AppendFile};
use crate::system::guarded_read;

/// Room that is set aside for a new journal, so that a disk that fills up later does not silence it: about 300 marks.
const RESERVED_BYTES: u64 = 64 * 1024;

/// The largest journal that is read: many times what the longest operation writes.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: AppendFile,
}

/// Whether a record has to be on disk before the operation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// It survives a crash of the machine.
    Now,
    /// It survives the death of this process; for the machine, it waits for the next [`Flush::Now`].
    Later,
}

/// A journal in a directory, readable or not.
#[derive(Debug)]
pub struct StoredJournal {
    /// The operation, after the name of the file.
    pub operation_id: String,
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub journal: anyhow::Result<Loaded>,
}

/// Returns where the journals are.
pub fn directory(state_directory: &Path) -> PathBuf {
    state_directory.join("operations")
}

impl Journal {
    /// Begins a journal: the header is on disk when this returns.
    ///
    /// The file appears with its first line or not at all, so a journal without a header is never a matter of timing.
    ///
    /// # Errors
    /// Fails if the directory cannot be made, or if the operation has a journal already.
    pub fn create(state_directory: &Path, header: &Header) -> anyhow::Result<Self> {
        files::make_directory(state_directory, 0o700)?;
        let directory = directory(state_directory);
        files::make_directory(&directory, 0o700)?;
        let path = directory.join(format!("{}.jsonl", header.operation_id));
        files::write_new(&path, &line(header)?, 0o600)?;
        let file = AppendFile::open(&path)?;
        file.reserve(RESERVED_BYTES);
        Ok(Self { file })
    }

    /// Opens the journal of an earlier run to continue it; an incomplete last line is cut off.
    ///
    /// # Errors
    /// Fails where [`load`] fails, and if the file cannot be written.
    pub fn resume(path: &Path) -> anyhow::Result<(Self, Loaded)> {
        let loaded = load(path)?;
        let mut file = AppendFile::open(path)?;
        if loaded.torn_line.is_some() {
            file.cut_to_last_line()?;
        }
        Ok((Self { file }, loaded))
    }

    /// Appends a record. A record that could not be written whole is taken away again.
    ///
    /// # Errors
    /// Fails if the record is not in the file, or not on disk although it was to be.
    pub fn append(&mut self, record: &Record, flush: Flush) -> anyhow::Result<()> {
        self.file.append(&line(record)?, flush == Flush::Now)
    }
}

/// Reads a journal.
///
/// # Errors
/// Fails on a file that cannot be read, on a format from the future, and on a damaged line, naming the line. Only the last
/// line may be incomplete: that is what a crash leaves, and then the record was never acted upon.
pub fn load(path: &Path) -> anyhow::Result<Loaded> {
    let read = guarded_read::read(path, MOST_BYTES);
    parse(path, &read.with_context(|| format!("could not read \"{}\"", path.display()))?.bytes)
}

/// Returns all journals, oldest first. A state directory that does not exist yet has none.
///
/// # Errors
/// Fails if the directory cannot be read; a journal that cannot is an [`StoredJournal`] all the same.
pub fn list(state_directory: &Path) -> anyhow::Result<Vec<StoredJournal>> {
    let directory = directory(state_directory);
    let mut entries = Vec::new();
    for name in files::names_in(&directory)? {
        let Some(operation_id) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else { continue };
        let path = directory.join(&name);
        entries.push(StoredJournal { operation_id: operation_id.to_string(), journal: load(&path), path });
    }
    entries.sort_by(|a, b| a.operation_id.cmp(&b.operation_id));
    Ok(entries)
}

/// Returns the journals of operations that are not over, oldest first.
///
/// Damaged ones are among them: it cannot be determined that they are finished.
///
/// # Errors
/// As [`list`].
pub fn unfinished(state_directory: &Path) -> anyhow::Result<Vec<StoredJournal>> {
    let mut entries = list(state_directory)?;
    entries.retain(|entry| !entry.is_over());
    Ok(entries)
}

/// Removes the oldest journals of finished operations, so that no more than `keep` of them are left.
///
/// # Errors
/// Fails where a journal cannot be removed, or as [`list`].
pub fn prune(state_directory: &Path, keep: usize) -> anyhow::Result<()> {
    let mut finished = list(state_directory)?;
    finished.retain(StoredJournal::is_over);
    let too_many = finished.len().saturating_sub(keep);
    finished.iter().take(too_many).try_for_each(|entry| files::remove_file(&entry.path))
}

impl StoredJournal {
    /// Says whether the operation is over.
    pub fn is_over(&self) -> bool {
        matches!(self.status(), OperationStatus::Finished { .. })
    }

    /// Returns how the operation stands.
    pub fn status(&self) -> OperationStatus {
        self.journal.as_ref().map_or(OperationStatus::Damaged, Loaded::status)
    }
}
