//! Do two servers have the same past?
//!
//! Positions alone cannot tell. Two standbys that were promoted apart write different WAL at the same positions of timelines with the same
//! number; pg_rewind then says that no rewind is required, and one streams from the other with data that differ. So the texts of the
//! history files are compared, and after them the first record of the timeline, which carries the time of the promotion.

use crate::facts::server::{FirstRecord, ServerFacts};
use crate::pg::history::{Switch, TimelineId, parse_history};
use crate::pg::lsn::Lsn;

/// How the past of one server relates to that of a reference server, usually the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// All of its WAL is in the reference's past or present.
    Same,
    /// It has WAL that the reference never had.
    Forked {
        /// Why, as a whole sentence.
        evidence: String,
        /// The last position that both share, where it can be told.
        at: Option<Lsn>,
    },
    /// Cannot be told: something could not be read. A whole sentence says what.
    Unknown(String),
}

/// Compares a server with a reference.
pub fn relation(server: &ServerFacts, reference: &ServerFacts) -> Relation {
    match by_history(server, reference) {
        forked @ Relation::Forked { .. } => forked,
        other if server.timeline == reference.timeline => on_one_timeline(server, reference).unwrap_or(other),
        other => other,
    }
}

/// Compares what their timelines come from.
fn by_history(server: &ServerFacts, reference: &ServerFacts) -> Relation {
    if server.timeline == TimelineId(1) && reference.timeline == TimelineId(1) {
        return Relation::Same;
    }
    if server.timeline > reference.timeline {
        return Relation::Forked {
            evidence: format!(
                "It is on timeline {}, which is newer than timeline {} of the reference.",
                server.timeline, reference.timeline
            ),
            at: None,
        };
    }
    let Some(theirs) = switches(reference) else {
        return Relation::Unknown(format!(
            "The history of timeline {} could not be read.",
            reference.timeline
        ));
    };
    if server.timeline < reference.timeline {
        let Some(switch) =
            theirs.iter().find(|switch| switch.timeline == server.timeline).map(|switch| switch.switch)
        else {
            return Relation::Forked {
                evidence: format!(
                    "Its timeline {} is not in the history of timeline {}.",
                    server.timeline, reference.timeline
                ),
                at: None,
            };
        };
        if let Some(end) = server.wal_end()
            && end > switch
        {
            return Relation::Forked {
                evidence: format!(
                    "It has WAL up to {end} on timeline {}, which ended at {switch} for the reference.",
                    server.timeline
                ),
                at: Some(switch),
            };
        }
    }
    if server.timeline == TimelineId(1) {
        return Relation::Same;
    }
    let Some(ours) = switches(server) else {
        return Relation::Unknown(format!("The history of timeline {} could not be read.", server.timeline));
    };
    let shared: Vec<&Switch> = theirs.iter().filter(|switch| switch.timeline < server.timeline).collect();
    let mut pairs = ours.iter().zip(&shared);
    if let Some((a, b)) = pairs.find(|(a, b)| a.timeline != b.timeline) {
        return other_ancestors(server.timeline, a.timeline, b.timeline);
    }
    if ours.len() != shared.len() {
        let last = |switches: &[TimelineId]| switches.last().copied().unwrap_or(TimelineId(1));
        let ours: Vec<TimelineId> = ours.iter().map(|switch| switch.timeline).collect();
        let shared: Vec<TimelineId> = shared.iter().map(|switch| switch.timeline).collect();
        return other_ancestors(server.timeline, last(&ours), last(&shared));
    }
    if let Some((a, b)) = ours.iter().zip(&shared).find(|(a, b)| a.switch != b.switch) {
        return Relation::Forked {
            evidence: format!(
                "The history files differ: timeline {} ended at {} here and at {} for the reference.",
                a.timeline, a.switch, b.switch
            ),
            at: Some(a.switch.min(b.switch)),
        };
    }
    let Some(begin) = ours.last().map(|switch| switch.switch) else { return Relation::Same };
    // A standby that has just heard of the timeline and has none of its WAL yet: behind the switch its file holds what was there before.
    if server.wal_end().is_some_and(|end| end <= begin) {
        return Relation::Same;
    }
    let timeline = server.timeline;
    let records = [server, reference].map(|server| {
        let first = first_record(server, timeline, begin)?;
        record(first, server.wal_segment_bytes)
    });
    match records {
        [Some(ours), Some(theirs)] if ours != theirs => Relation::Forked {
            evidence: format!(
                "Timeline {} was begun twice, both times at {begin}: the first records differ.",
                server.timeline
            ),
            at: Some(begin),
        },
        [Some(_), Some(_)] => Relation::Same,
        _ => unread(server.timeline),
    }
}

fn other_ancestors(timeline: TimelineId, ours: TimelineId, theirs: TimelineId) -> Relation {
    Relation::Forked {
        evidence: format!(
            "The history files differ: timeline {timeline} comes from timeline {ours} here and from timeline {theirs} for the reference."
        ),
        at: None,
    }
}

fn unread(timeline: TimelineId) -> Relation {
    Relation::Unknown(format!(
        "The history files of timeline {timeline} agree, but the segment with its first record is no longer there to compare."
    ))
}

/// What positions alone show of two servers on one timeline.
fn on_one_timeline(server: &ServerFacts, reference: &ServerFacts) -> Option<Relation> {
    // Wherever they are: somebody removed standby.signal, or both were promoted.
    if !server.in_recovery && !reference.in_recovery {
        return Some(Relation::Forked {
            evidence: format!("Both take writes on timeline {}.", server.timeline),
            at: None,
        });
    }
    let (ahead, behind) = (server.wal_end()?, reference.current_lsn?);
    // One that streams may have received what was written since the reference was asked.
    (ahead > behind && server.receiver.is_none()).then(|| Relation::Forked {
        evidence: format!("It has WAL up to {ahead}, and that of the reference ends at {behind}."),
        at: None,
    })
}

/// Returns where the timelines before the server's own one ended; None where that could not be read.
fn switches(server: &ServerFacts) -> Option<Vec<Switch>> {
    if server.timeline == TimelineId(1) {
        return Some(Vec::new());
    }
    parse_history(server.lineage.as_ref()?.history.as_deref()?).ok()
}

fn first_record(server: &ServerFacts, timeline: TimelineId, begin: Lsn) -> Option<&FirstRecord> {
    let records = &server.lineage.as_ref()?.first_records;
    records.iter().find(|record| record.timeline == timeline && record.lsn == begin)
}

/// Cuts the record that carries the time of the promotion out of what was read at the beginning of a timeline.
///
/// It is an END_OF_RECOVERY or a checkpoint record, the first one of the timeline or, where `full_page_writes` was changed, the second one.
/// What stands there may also be what a recycled file held before, or nothing: a record counts only if its checksum is right and the one
/// before it is near. Layout after access/xlogrecord.h and xlog_internal.h, unchanged from 13 to 18.
fn record(first: &FirstRecord, segment_bytes: u64) -> Option<Vec<u8>> {
    const XLOG: u8 = 0;
    const CHECKPOINTS_AND_END_OF_RECOVERY: [u8; 3] = [0x00, 0x10, 0x90];
    let wal = without_page_headers(first)?;
    let mut rest = wal.as_slice();
    for _ in 0..3 {
        let length = usize::try_from(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        let record = rest.get(..length).filter(|record| record.len() >= 24)?;
        let previous = u64::from_le_bytes(record.get(8..16)?.try_into().ok()?);
        let near = previous < first.lsn.0 + wal.len() as u64 && previous + segment_bytes > first.lsn.0;
        let checksum = u32::from_le_bytes(record.get(20..24)?.try_into().ok()?);
        // The data first and the header after it, as the server does.
        if !near || checksum != !crc32c(crc32c(!0, record.get(24..)?), record.get(..20)?) {
            return None;
        }
        let (info, manager) = (*record.get(16)?, *record.get(17)?);
        if manager == XLOG && CHECKPOINTS_AND_END_OF_RECOVERY.contains(&(info & 0xF0)) {
            return Some(record.to_vec());
        }
        rest = rest.get(length.next_multiple_of(8)..)?;
    }
    None
}

/// Returns the bytes that were read as one piece of WAL: the page headers, 24 bytes or at the start of a segment 40, are taken out.
fn without_page_headers(first: &FirstRecord) -> Option<Vec<u8>> {
    const PAGE: usize = 8192;
    let bytes = bytes(first.bytes.as_deref()?)?;
    let within = usize::try_from(first.lsn.0 % PAGE as u64).ok()?;
    // Up to where the first page ends; nothing of it, if the timeline begins with a page.
    let (mut wal, mut rest) = match (PAGE - within) % PAGE {
        left if left < bytes.len() => (bytes.get(..left)?.to_vec(), bytes.get(left..)?),
        _ => return Some(bytes),
    };
    // Which of the two headers it is, its own flags say: bit 1 of xlp_info, after the two bytes of the magic number.
    let header = if rest.get(2)? & 0x02 == 0 { 24 } else { 40 };
    rest = rest.get(header..).unwrap_or_default();
    wal.extend_from_slice(rest);
    Some(wal)
}

/// Reads hexadecimal digits.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}

/// CRC-32C, bit by bit: a hundred bytes need no table.
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 },
        )
    })
}
