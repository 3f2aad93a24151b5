//! The WAL of a data directory, record by record, read from its segment files.
//!
//! Three questions about a node that was left behind can be answered only by pgbaton itself while its server is down: where its WAL ends, which
//! transactions it has committed since it went its own way, and whether the WAL that pg_rewind will read is still there. Layouts after
//! xlogrecord.h, `xlog_internal.h` and xact.h, unchanged from 13 to 18, in the machine's byte order. A record counts only if its checksum is
//! right and it follows the one before it: what a recycled file held before is never taken for WAL.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use crc32c::{crc32c, crc32c_append};
use jiff::{SignedDuration, Timestamp};

use super::history::{Switch, TimelineId};
use super::lsn::Lsn;
use crate::system::guarded_read;

/// How much of a segment is read at a time, in bytes, a multiple of every length of a page: a promotion waits for what is read here, and a
/// segment is mostly empty behind the end of the WAL.
const BLOCK: u64 = 128 * 1024;

/// The length of the header of a record.
const HEADER: usize = 24;

/// A checkpoint of a server that was shut down, as the info of a record of the WAL manager.
const CHECKPOINT_SHUTDOWN: u8 = 0x00;

/// Any other checkpoint.
const CHECKPOINT_ONLINE: u8 = 0x10;

/// The WAL of a data directory.
#[derive(Debug)]
pub struct Wal {
    /// Where segments are looked for, in this order.
    places: Vec<PathBuf>,
    /// The timelines before the own one, and where they ended.
    switches: Vec<Switch>,
    timeline: TimelineId,
    segment_bytes: u64,
    page_bytes: u64,
    /// What was read elsewhere, by the number of the segment; of the first one possibly only the end.
    pieces: BTreeMap<u64, Vec<u8>>,
    /// The segment that was read last, by its number.
    open: Option<(u64, File)>,
    /// Where the block begins that was read last, and its bytes.
    block: Option<u64>,
    contents: Vec<u8>,
    /// Room for a record.
    record: Vec<u8>,
}

/// The length of a page of WAL, as all but specially built servers have it.
pub const PAGE: usize = 8192;

/// The longest record that [`last_timed`] returns.
const SHORT: usize = 200;

/// Says whether a record of this manager with this info carries a time: a checkpoint, the end of a recovery, the end of a transaction.
pub fn is_timed(manager: u8, info: u8) -> bool {
    match manager {
        0 => [CHECKPOINT_SHUTDOWN, CHECKPOINT_ONLINE, 0x90].contains(&(info & 0xF0)),
        1 => [0x00, 0x20, 0x30, 0x40].contains(&(info & 0x70)),
        _ => false,
    }
}

/// Finds the last record that carries a time and ends before a position, in bytes of one segment that begin with a page.
///
/// No two servers write the same one at the same place: it shows whether what stands before it has one origin.
pub fn last_timed(bytes: &[u8], from: Lsn, upto: Lsn) -> Option<Lsn> {
    // The bytes without the headers of pages, and where each page of them begins.
    let (mut wal, mut pages) = (Vec::new(), Vec::new());
    let mut skipped = None;
    for (page, address) in bytes.chunks(PAGE).zip((from.0..).step_by(PAGE)) {
        let Some(header) = PageHeader::read(page).filter(|header| header.address == address) else {
            break;
        };
        let length = if header.info & 0x02 == 0 { 24 } else { 40 };
        // The rest of a record that begins before.
        skipped = skipped.or_else(|| usize::try_from(header.remaining).ok()?.checked_next_multiple_of(8));
        pages.push((wal.len(), address + length as u64));
        wal.extend_from_slice(page.get(length..)?);
    }
    let place = |at: usize| {
        let (begin, lsn) = pages.iter().rev().find(|(begin, _)| *begin <= at)?;
        Some(lsn + (at - begin) as u64)
    };
    let mut at = skipped?;
    let mut last = None;
    while let Some(length) = wal.get(at..).and_then(length).and_then(|length| usize::try_from(length).ok()) {
        let Some(record) = wal.get(at..at.saturating_add(length)).filter(|_| length >= HEADER) else { break };
        if place(at + length - 1).is_none_or(|end| end >= upto.0) {
            break;
        }
        if !is_intact(record) {
            break;
        }
        let (info, manager) = (*record.get(16)?, *record.get(17)?);
        // One that ends the segment has nothing after it.
        if manager == 0 && info & 0xF0 == 0x40 {
            break;
        }
        if is_timed(manager, info) && length <= SHORT {
            last = place(at).map(Lsn);
        }
        at = (at + length).next_multiple_of(8);
    }
    last
}

/// What stands at a position.
#[derive(Debug)]
pub enum RecordRead {
    /// A record.
    Record(Record),
    /// Nothing that was written there: the WAL ends.
    End,
    /// The segment is not there.
    Missing(String),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins.
    pub start: Lsn,
    /// Where the next one begins, or the header of the page that it begins on.
    pub end: Lsn,
    /// Where the one before it begins.
    pub previous: Lsn,
    /// The resource manager that it belongs to.
    manager: u8,
    info: u8,
    /// When the transaction was committed whose commit this records.
    pub committed: Option<Timestamp>,
    /// Where replay begins after the checkpoint that this records.
    redo: Option<Lsn>,
}

/// A checkpoint in the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// Where its record begins.
    pub record: Lsn,
    /// Where replay begins.
    pub redo: Lsn,
}

/// What a stretch of WAL holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalSummary {
    /// Where it ends.
    pub end: Lsn,
    /// Transactions that were committed.
    pub commits: u64,
    /// When the first and the last of them were.
    pub between: Option<(Timestamp, Timestamp)>,
}

impl Wal {
    /// Opens the WAL of a data directory. `switches` is the history of `timeline`; `more` is a directory where further segments are.
    ///
    /// # Errors
    /// Fails where there is no WAL segment.
    pub fn open(
        data: &Path,
        timeline: TimelineId,
        switches: Vec<Switch>,
        more: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let directory = data.join("pg_wal");
        let (segment_bytes, page_bytes) = sizes(&directory)?;
        let mut places = vec![directory];
        places.extend(more.map(Path::to_path_buf));
        Ok(Self { places, page_bytes, ..Self::of_pieces(timeline, switches, segment_bytes) })
    }

    /// WAL of which pieces are read from elsewhere; see [`Wal::add_piece`].
    pub fn of_pieces(timeline: TimelineId, switches: Vec<Switch>, segment_bytes: u64) -> Self {
        Self {
            places: Vec::new(),
            switches,
            timeline,
            segment_bytes,
            page_bytes: PAGE as u64,
            pieces: BTreeMap::new(),
            open: None,
            block: None,
            contents: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Adds a piece that lies within a segment, and follows the one that was added before.
    pub fn add_piece(&mut self, at: Lsn, bytes: &[u8]) {
        let contents = self.pieces.entry(at.0 / self.segment_bytes).or_default();
        contents.resize(usize::try_from(at.0 % self.segment_bytes).unwrap_or(0), 0);
        contents.extend_from_slice(bytes);
    }

    /// The length of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Returns the name of the segment in which a position is read.
    ///
    /// A segment within which the timeline changed was copied to the new timeline, so it is read there, as pg_rewind and the server do.
    pub fn segment_of(&self, at: Lsn) -> anyhow::Result<String> {
        let segment_end = (at.0 / self.segment_bytes + 1) * self.segment_bytes;
        let timeline = self
            .switches
            .iter()
            .find(|switch| switch.switch.0 >= segment_end)
            .map_or(self.timeline, |switch| switch.timeline);
        timeline
            .segment_file_name(at, self.segment_bytes)
            .with_context(|| format!("{} is not a valid WAL segment size", self.segment_bytes))
    }

    /// Says whether a segment is there.
    pub fn has(&self, name: &str) -> bool {
        self.places.iter().any(|place| place.join(name).exists())
    }

    /// Reads the record at a position, and checks it.
    ///
    /// # Errors
    /// Fails where a segment is there and cannot be read.
    pub fn read(&mut self, at: Lsn) -> anyhow::Result<RecordRead> {
        self.next(at, None, true)
    }

    /// Reads the record at a position. `previous` is where the one before it begins, if that is known.
    fn next(&mut self, at: Lsn, previous: Option<Lsn>, checked: bool) -> anyhow::Result<RecordRead> {
        let mut at = at.0;
        loop {
            match self.read_at(at, previous, checked)? {
                Assembled::Found(found) => return Ok(found),
                // The rest of the record was never written; what follows begins on that page.
                Assembled::Overwritten(page) => at = page,
            }
        }
    }

    fn read_at(&mut self, at: u64, previous: Option<Lsn>, checked: bool) -> anyhow::Result<Assembled> {
        let (page, segment) = (self.page_bytes, self.segment_bytes);
        let start = match at % page {
            0 => at + if at.is_multiple_of(segment) { 40 } else { 24 },
            _ => at,
        };
        let mut wanted = HEADER;
        let mut bytes = std::mem::take(&mut self.record);
        bytes.clear();
        let mut from = start;
        let mut page_start = start - start % page;
        while bytes.len() < wanted {
            let within = from % page;
            let left = (wanted - bytes.len()) as u64;
            let Some(file) = self.page(page_start)? else {
                return Ok(Assembled::Found(match bytes.is_empty() {
                    true => RecordRead::Missing(self.segment_of(Lsn(page_start))?),
                    false => RecordRead::End,
                }));
            };
            let Some(header) = PageHeader::read(file).filter(|h| h.address == page_start) else {
                return Ok(Assembled::Found(RecordRead::End));
            };
            if page_start >= start {
                if header.info & 0x08 != 0 {
                    return Ok(Assembled::Overwritten(page_start));
                }
                // While only the header is wanted, the length of the whole is known all the same: it is never cut in two.
                let total = length(&bytes).unwrap_or(0);
                if header.info & 0x01 == 0 || u64::from(header.remaining) != total - bytes.len() as u64 {
                    return Ok(Assembled::Found(RecordRead::End));
                }
            }
            let count = left.min(page - within);
            let piece = usize::try_from(within)
                .ok()
                .zip(usize::try_from(within + count).ok())
                .and_then(|(begin, end)| file.get(begin..end));
            let Some(piece) = piece else { return Ok(Assembled::Found(RecordRead::End)) };
            bytes.extend_from_slice(piece);
            from += count;
            if let Some(total) = length(&bytes)
                && wanted == HEADER
            {
                // The longest record that the server writes is 1 GB.
                if total < HEADER as u64 || total > 1 << 30 {
                    return Ok(Assembled::Found(RecordRead::End));
                }
                wanted = usize::try_from(total)?;
            }
            if bytes.len() < wanted && from.is_multiple_of(page) {
                page_start = from;
                from += if from.is_multiple_of(segment) { 40 } else { 24 };
            }
        }
        let end = from.next_multiple_of(8);
        let record = Record::read(start, end, &bytes, previous, checked);
        self.record = bytes;
        Ok(Assembled::Found(match record {
            Some(mut record) => {
                // After it nothing more is written to the segment.
                if record.is_switch() {
                    record.end = Lsn(end.next_multiple_of(segment));
                }
                RecordRead::Record(record)
            }
            None => RecordRead::End,
        }))
    }

    /// Returns the bytes of the page that begins at a position, fewer if the file ends within it; None if the segment is not there.
    fn page(&mut self, start: u64) -> anyhow::Result<Option<&[u8]>> {
        let number = start / self.segment_bytes;
        if let Some(piece) = self.pieces.get(&number) {
            return Ok(Some(part(piece, start % self.segment_bytes, self.page_bytes)));
        }
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            (self.open, self.block) = (None, None);
            let name = self.segment_of(Lsn(start))?;
            let Some(path) = self.places.iter().map(|place| place.join(&name)).find(|path| path.exists())
            else {
                return Ok(None);
            };
            let (file, _) = guarded_read::open(&path)
                .with_context(|| format!("could not open WAL segment \"{}\"", path.display()))?;
            self.open = Some((number, file));
        }
        let begin = start - start % BLOCK;
        if let Some((_, file)) = &mut self.open
            && self.block != Some(begin)
        {
            self.block = None;
            self.contents.clear();
            file.seek(SeekFrom::Start(begin % self.segment_bytes))
                .and_then(|_| file.take(BLOCK).read_to_end(&mut self.contents))
                .with_context(|| format!("could not read the WAL at {}", Lsn(begin)))?;
            self.block = Some(begin);
        }
        Ok(Some(part(&self.contents, start - begin, self.page_bytes)))
    }

    /// Reads from a position to where the WAL ends, and counts commits from another one on; Err(name) if the first segment is not there.
    ///
    /// # Errors
    /// As [`Wal::read`].
    pub fn stretch(&mut self, from: Lsn, count_from: Lsn) -> anyhow::Result<Result<WalSummary, String>> {
        let mut out = WalSummary { end: from, ..WalSummary::default() };
        let mut previous = None;
        loop {
            // That each one names the one before it is enough, until the last: that one may have been cut off in the middle.
            match self.next(out.end, previous, false)? {
                RecordRead::Record(record) => {
                    if record.start >= count_from
                        && let Some(time) = record.committed
                    {
                        out.commits += 1;
                        let first = out.between.map_or(time, |(first, _)| first);
                        out.between = Some((first, time));
                    }
                    previous = Some(record.start);
                    out.end = record.end;
                }
                RecordRead::Missing(name) if previous.is_none() => return Ok(Err(name)),
                RecordRead::End | RecordRead::Missing(_) => break,
            }
        }
        while let Some(last) = previous.filter(|last| *last >= from) {
            match (self.read(last)?, self.next(last, None, false)?) {
                (RecordRead::End, RecordRead::Record(record)) => {
                    out.commits -= u64::from(record.start >= count_from && record.committed.is_some());
                    out.end = record.start;
                    previous = Some(record.previous);
                }
                _ => break,
            }
        }
        Ok(Ok(out))
    }

    /// Reads the checkpoint whose record begins at a position; Err(name) if its segment is missing.
    ///
    /// # Errors
    /// Fails where there is none, and as [`Wal::read`].
    pub fn checkpoint_at(&mut self, at: Lsn) -> anyhow::Result<Result<CheckpointRecord, String>> {
        match self.read(at)? {
            RecordRead::Record(record) => match record.checkpoint() {
                Some(checkpoint) => Ok(Ok(checkpoint)),
                None => bail!("there is no checkpoint at {at}"),
            },
            RecordRead::Missing(name) => Ok(Err(name)),
            RecordRead::End => bail!("there is no checkpoint at {at}"),
        }
    }

    /// Finds the last checkpoint record that begins before a position, walking back as pg_rewind does; Err(name) names a segment that
    /// is missing on the way.
    ///
    /// # Errors
    /// Fails where no record begins at the position, and as [`Wal::read`].
    pub fn checkpoint_before(&mut self, fork: Lsn) -> anyhow::Result<Result<CheckpointRecord, String>> {
        let mut at = fork;
        loop {
            match self.next(at, None, false)? {
                RecordRead::Record(record) if record.checkpoint().is_some() && record.start < fork => {
                    return self.checkpoint_at(record.start);
                }
                RecordRead::Record(record) if record.previous < record.start && record.previous > Lsn(0) => {
                    at = record.previous;
                }
                RecordRead::Missing(name) => return Ok(Err(name)),
                _ => bail!("there is no WAL record at {at}"),
            }
        }
    }
}

/// Returns `length` bytes from `begin` on, or as many as there are.
fn part(bytes: &[u8], begin: u64, length: u64) -> &[u8] {
    let place = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(place(begin)..place(begin + length)).unwrap_or_default()
}

/// How far a record could be put together.
enum Assembled {
    Found(RecordRead),
    /// It was given up after a crash; the WAL goes on at this page.
    Overwritten(u64),
}

struct PageHeader {
    info: u16,
    address: u64,
    remaining: u32,
}

impl PageHeader {
    fn read(page: &[u8]) -> Option<Self> {
        let bytes = page.get(..24)?;
        Some(Self {
            info: u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?),
            address: u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?),
            remaining: u32::from_ne_bytes(bytes.get(16..20)?.try_into().ok()?),
        })
    }
}

/// Returns the length that the beginning of a record states.
fn length(bytes: &[u8]) -> Option<u64> {
    Some(u64::from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)))
}

impl Record {
    /// Makes sense of header and data, without page headers; None if it is no record that was written there.
    fn read(start: u64, end: u64, bytes: &[u8], previous: Option<Lsn>, checked: bool) -> Option<Self> {
        let before = Lsn(u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?));
        let (info, manager) = (*bytes.get(16)?, *bytes.get(17)?);
        if previous.is_some_and(|previous| previous != before) || before.0 >= start {
            return None;
        }
        if checked && !is_intact(bytes) {
            return None;
        }
        let number = || <[u8; 8]>::try_from(data(bytes)?.get(..8)?).ok();
        let (mut committed, mut redo) = (None, None);
        match manager {
            0 if matches!(info & 0xF0, CHECKPOINT_SHUTDOWN | CHECKPOINT_ONLINE) => {
                redo = number().map(|bytes| Lsn(u64::from_ne_bytes(bytes)));
            }
            // COMMIT and COMMIT PREPARED of the transaction manager; microseconds since 2000.
            1 if matches!(info & 0x70, 0x00 | 0x30) => {
                let time = number().map(|bytes| SignedDuration::from_micros(i64::from_ne_bytes(bytes)));
                let epoch = Timestamp::from_second(946_684_800).ok();
                committed = epoch.zip(time).and_then(|(epoch, time)| epoch.checked_add(time).ok());
            }
            _ => {}
        }
        Some(Self { start: Lsn(start), end: Lsn(end), previous: before, manager, info, committed, redo })
    }

    /// Nothing follows it in its segment.
    fn is_switch(&self) -> bool {
        self.manager == 0 && self.info & 0xF0 == 0x40
    }

    /// Returns the checkpoint that this records, if it records one.
    pub fn checkpoint(&self) -> Option<CheckpointRecord> {
        Some(CheckpointRecord { record: self.start, redo: self.redo? })
    }
}

/// Returns the main data of a record that is about no block.
fn data(record: &[u8]) -> Option<&[u8]> {
    let mut rest = record.get(HEADER..)?;
    loop {
        rest = match *rest.first()? {
            // Its length in one byte, or in four.
            0xFF => return rest.get(2..),
            0xFE => return rest.get(5..),
            // Where it was replicated from, and the transaction that it is part of.
            0xFD => rest.get(3..)?,
            0xFC => rest.get(5..)?,
            _ => return None,
        };
    }
}

/// Returns how long the segments in a `pg_wal` directory are.
///
/// # Errors
/// Fails where there is none.
pub fn segment_bytes(pg_wal: &Path) -> anyhow::Result<u64> {
    sizes(pg_wal).map(|(segment, _)| segment)
}

/// Returns how long segments and pages are, as the first segment that is found says.
pub(super) fn sizes(directory: &Path) -> anyhow::Result<(u64, u64)> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("could not read directory \"{}\"", directory.display()))?;
    for entry in entries.flatten() {
        if !is_segment(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let mut header = [0; 40];
        let read = guarded_read::open(&entry.path()).and_then(|(mut file, _)| file.read_exact(&mut header));
        let number =
            |at: usize| Some(u64::from(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?)));
        // Its first page has the long header, which has both; one that was only reserved is all zeros.
        if read.is_ok()
            && let (Some(segment), Some(page)) = (number(32), number(36))
            && segment.is_power_of_two()
            && (1 << 20..=1 << 30).contains(&segment)
            && page.is_power_of_two()
            && (1024..=65_536).contains(&page)
        {
            return Ok((segment, page));
        }
    }
    bail!("there is no WAL segment in \"{}\"", directory.display())
}

/// Says whether a file name is that of a WAL segment.
pub fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
}

/// Returns where the WAL in a segment begins, by its name alone.
pub fn segment_start(name: &str, segment_bytes: u64) -> Option<Lsn> {
    let number = |range| u64::from_str_radix(name.get(range)?, 16).ok();
    is_segment(name).then_some(())?;
    Some(Lsn((number(8..16)? << 32) + number(16..24)? * segment_bytes))
}

/// Returns where the WAL in a segment file really begins, as its first page says: a recycled file has the name of a later segment and its
/// old contents.
pub fn real_start(path: &Path) -> Option<Lsn> {
    let mut header = [0; 24];
    guarded_read::open(path).and_then(|(mut file, _)| file.read_exact(&mut header)).ok()?;
    Some(Lsn(u64::from_ne_bytes(header.get(8..16)?.try_into().ok()?)))
}

/// Says whether a record, its header included, is one that was written so: its checksum is the CRC-32C of the data and after it of the header,
/// in the order in which the server computes it.
pub fn is_intact(record: &[u8]) -> bool {
    let stated = record.get(20..HEADER).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    let computed = record.get(HEADER..).zip(record.get(..20)).map(|(data, header)| checksum(data, header));
    stated.is_some() && stated == computed
}

/// Returns the checksum of a record: of its data, and of its header up to the checksum.
pub(crate) fn checksum(data: &[u8], header: &[u8]) -> u32 {
    crc32c_append(crc32c(data), header)
}

#[cfg(test)]
mod tests;
