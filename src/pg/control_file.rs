//! `pg_control` and the end of the WAL of a server that was shut down, read without starting a program.
//!
//! In a switchover no client can write while these are asked for, every few milliseconds; a start of pg_controldata or pg_waldump takes as long
//! as the promotion itself. What is read here lies where it has lain in every version from 13 to 18 (`ControlFileData` in pg_control.h,
//! `XLogRecord` in xlogrecord.h, the page headers in `xlog_internal.h`), in the machine's byte order. Everything else is asked of the programs.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::history::TimelineId;
use super::lsn::Lsn;
use super::wal;
use crate::system::guarded_read;

/// The versions of pg_control of PostgreSQL 13 to 18.
const VERSIONS: [u32; 3] = [1300, 1700, 1800];

/// The state of a data directory, `DBState` in pg_control.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlState {
    /// Being initialized.
    StartingUp,
    /// Shut down cleanly as a primary.
    ShutDown,
    /// Shut down cleanly as a standby.
    ShutDownInRecovery,
    /// The shutdown checkpoint is being written.
    ShuttingDown,
    /// Recovering after a crash.
    InCrashRecovery,
    /// A standby.
    InArchiveRecovery,
    /// A primary, running or crashed.
    InProduction,
}

impl ControlState {
    /// Returns the state in the words of pg_controldata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartingUp => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::InCrashRecovery => "in crash recovery",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
        }
    }
}

/// What the beginning of `pg_control` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// The system identifier.
    pub system_identifier: u64,
    /// The state.
    pub state: ControlState,
    /// Where the record of the last checkpoint begins.
    pub checkpoint: Lsn,
    /// The timeline of that checkpoint.
    pub timeline: TimelineId,
}

/// Where the WAL of a server that was shut down cleanly, as a primary, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownPosition {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first position after the record of the shutdown checkpoint, which is the last record.
    pub end: Lsn,
}

/// Reads the beginning of `pg_control`.
///
/// # Errors
/// Fails where it cannot be read, or is of a version that is not known.
pub fn read(data: &Path) -> anyhow::Result<ControlFile> {
    let path = data.join("global/pg_control");
    let (file, _) =
        guarded_read::open(&path).with_context(|| format!("could not open file \"{}\"", path.display()))?;
    let mut bytes = [0; 64];
    file.read_exact_at(&mut bytes, 0)
        .with_context(|| format!("could not read file \"{}\"", path.display()))?;
    parse(&bytes).with_context(|| format!("could not interpret file \"{}\"", path.display()))
}

fn parse(bytes: &[u8; 64]) -> anyhow::Result<ControlFile> {
    let version = u32_at(bytes, 8)?;
    if !VERSIONS.contains(&version) {
        bail!("its version {version} is none of PostgreSQL 13 to 18");
    }
    let state = match u32_at(bytes, 16)? {
        0 => ControlState::StartingUp,
        1 => ControlState::ShutDown,
        2 => ControlState::ShutDownInRecovery,
        3 => ControlState::ShuttingDown,
        4 => ControlState::InCrashRecovery,
        5 => ControlState::InArchiveRecovery,
        6 => ControlState::InProduction,
        other => bail!("the state is {other}, which has no meaning"),
    };
    Ok(ControlFile {
        system_identifier: u64_at(bytes, 0)?,
        state,
        checkpoint: Lsn(u64_at(bytes, 32)?),
        timeline: TimelineId(u32_at(bytes, 48)?),
    })
}

/// Returns where the WAL ends if the server was shut down cleanly as a primary; None in any other state.
///
/// # Errors
/// Fails where the control file or the last segment cannot be read.
pub fn shutdown_position(data: &Path) -> anyhow::Result<Option<ShutdownPosition>> {
    let control = read(data)?;
    if control.state != ControlState::ShutDown {
        return Ok(None);
    }
    let end = end_of_record(data, control.timeline, control.checkpoint)?;
    Ok(Some(ShutdownPosition { timeline: control.timeline, end }))
}

/// Returns the first position after the record that begins at `start`.
///
/// # Errors
/// Fails where the segment is missing, or where no record can begin.
pub fn end_of_record(data: &Path, timeline: TimelineId, start: Lsn) -> anyhow::Result<Lsn> {
    let directory = data.join("pg_wal");
    let (segment_bytes, page) = wal::sizes(&directory)?;
    let name = timeline
        .segment_file_name(start, segment_bytes)
        .with_context(|| format!("{segment_bytes} is not a valid WAL segment size"))?;
    let path = directory.join(&name);
    let mut length = [0; 4];
    guarded_read::open(&path)
        .and_then(|(file, _)| file.read_exact_at(&mut length, start.0 % segment_bytes))
        .with_context(|| format!("could not read WAL segment \"{}\"", path.display()))?;
    // A record begins with its length, which is never cut in two: records begin at multiples of 8.
    let length = u32::from_ne_bytes(length);
    if length < 24 {
        bail!("there is no WAL record at {start} in \"{}\"", path.display());
    }
    Ok(end_from(start, u64::from(length), page, segment_bytes))
}

/// Adds the length of a record to its start, with the headers of the pages that it runs across, and up to a multiple of 8.
fn end_from(start: Lsn, length: u64, page: u64, segment_bytes: u64) -> Lsn {
    let (mut at, mut left) = (start.0, length);
    loop {
        let room = page - at % page;
        if left <= room {
            return Lsn((at + left).next_multiple_of(8));
        }
        left -= room;
        at += room;
        at += if at.is_multiple_of(segment_bytes) { 40 } else { 24 };
    }
}

fn u32_at(bytes: &[u8], at: usize) -> anyhow::Result<u32> {
    let part = bytes.get(at..at + 4).context("it is too short")?;
    Ok(u32::from_ne_bytes(part.try_into()?))
}

fn u64_at(bytes: &[u8], at: usize) -> anyhow::Result<u64> {
    let part = bytes.get(at..at + 8).context("it is too short")?;
    Ok(u64::from_ne_bytes(part.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_versions_and_states_are_read() {
        let mut bytes = [0; 64];
        bytes[0..8].copy_from_slice(&7_000_000_000_000_000_001_u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(&1300_u32.to_ne_bytes());
        bytes[16..20].copy_from_slice(&1_u32.to_ne_bytes());
        bytes[32..40].copy_from_slice(&0x0200_0028_u64.to_ne_bytes());
        bytes[48..52].copy_from_slice(&3_u32.to_ne_bytes());
        let control = parse(&bytes).unwrap();
        assert_eq!(control.state, ControlState::ShutDown);
        assert_eq!((control.checkpoint, control.timeline), (Lsn(0x0200_0028), TimelineId(3)));
        bytes[16] = 9;
        assert!(parse(&bytes).unwrap_err().to_string().contains("the state is 9"));
        bytes[8..12].copy_from_slice(&1200_u32.to_ne_bytes());
        assert!(parse(&bytes).unwrap_err().to_string().contains("1200"));
    }

    #[test]
    fn a_record_across_pages_and_segments_counts_their_headers() {
        let (page, segment) = (8192, 1 << 20);
        assert_eq!(end_from(Lsn(0x28), 114, page, segment), Lsn(0x28 + 120));
        // 8 bytes left on the page, 106 on the next one behind a header of 24.
        assert_eq!(end_from(Lsn(8192 - 8), 114, page, segment), Lsn(8192 + 24 + 112));
        // The next page begins a segment, whose first header is longer.
        assert_eq!(end_from(Lsn(segment - 8), 114, page, segment), Lsn(segment + 40 + 112));
        // Right up to the end of the page: the next record begins behind a header, this one ends before it.
        assert_eq!(end_from(Lsn(8192 - 120), 114, page, segment), Lsn(8192));
    }
}
