//! Do two servers have the same history?
//!
//! Positions alone do not show it. Two standbys that were promoted independently write different WAL at the same positions of timelines
//! with the same number; pg_rewind then says that no rewind is required, and one streams from the other with data that differ. So the texts
//! of the history files are compared, and after them the first record of the timeline, which carries the time of the promotion. Where its
//! segment is gone, the promotion record of the metadata is used instead, and if there is none, a later checkpoint that both still have.

use crate::facts::branch::Branch;
use crate::facts::lineage::{CheckpointSample, TimelineStart};
use crate::facts::server::ServerFacts;
use crate::pg::history::{Switch, TimelineId, parse_history};
use crate::pg::lsn::Lsn;
use crate::pg::wal::{is_intact, is_timed};

mod evidence;

pub use evidence::Evidence;

/// How the history of one server relates to that of a reference server, usually the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// All of its WAL is in the reference's past or present.
    Same,
    /// It has WAL that the reference never had.
    Forked {
        /// Why.
        evidence: Evidence,
        /// The last position that both share, if it is known.
        at: Option<Lsn>,
    },
    /// Unknown: something could not be read. A whole sentence says what.
    Unknown(String),
}

impl Relation {
    fn forked(evidence: Evidence, at: Option<Lsn>) -> Self {
        Self::Forked { evidence, at }
    }
}

/// Compares a server with a reference.
pub fn relation(server: &ServerFacts, reference: &ServerFacts) -> Relation {
    relation_of(&server.into(), &reference.into())
}

/// Compares a branch with a reference.
pub fn relation_of(server: &Branch<'_>, reference: &Branch<'_>) -> Relation {
    let found = match by_history(server, reference) {
        forked @ Relation::Forked { .. } => return forked,
        other if server.timeline == reference.timeline => on_one_timeline(server, reference).unwrap_or(other),
        other => other,
    };
    match (&found, by_sample(server, reference)) {
        (Relation::Same, Some(forked @ Relation::Forked { .. })) => forked,
        (Relation::Unknown(_), Some(known)) => known,
        _ => found,
    }
}

/// Compares what their timelines come from.
fn by_history(server: &Branch<'_>, reference: &Branch<'_>) -> Relation {
    if server.timeline == TimelineId(1) && reference.timeline == TimelineId(1) {
        return Relation::Same;
    }
    if server.timeline > reference.timeline {
        let evidence = Evidence::NewerTimeline { ours: server.timeline, theirs: reference.timeline };
        return Relation::forked(evidence, None);
    }
    let unreadable = |of: &Branch<'_>| {
        let recorded =
            (server.timeline == reference.timeline).then(|| by_promotion(server, reference)).flatten();
        recorded.unwrap_or_else(|| {
            Relation::Unknown(format!("The history of timeline {} could not be read.", of.timeline))
        })
    };
    let Some(theirs) = switches(reference) else { return unreadable(reference) };
    if server.timeline < reference.timeline {
        let Some(switch) =
            theirs.iter().find(|switch| switch.timeline == server.timeline).map(|switch| switch.switch)
        else {
            let evidence = Evidence::NoAncestor { ours: server.timeline, theirs: reference.timeline };
            return Relation::forked(evidence, None);
        };
        if let Some(end) = server.end
            && end > switch
        {
            let evidence = Evidence::BeyondSwitch { timeline: server.timeline, end, switch };
            return Relation::forked(evidence, Some(switch));
        }
    }
    if server.timeline == TimelineId(1) {
        return Relation::Same;
    }
    let Some(ours) = switches(server) else { return unreadable(server) };
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
        let evidence = Evidence::OtherSwitch { timeline: a.timeline, ours: a.switch, theirs: b.switch };
        return Relation::forked(evidence, Some(a.switch.min(b.switch)));
    }
    let Some(begin) = ours.last().map(|switch| switch.switch) else { return Relation::Same };
    // A standby that has just heard of the timeline and has none of its WAL yet: behind the switch its file holds what was there before.
    if server.end.is_some_and(|end| end <= begin) {
        return Relation::Same;
    }
    let timeline = server.timeline;
    let records = [server, reference].map(|server| {
        let first = timeline_start(server, timeline, begin)?;
        record(first, server.segment_bytes)
    });
    match records {
        [Some(ours), Some(theirs)] if ours != theirs => {
            Relation::forked(Evidence::OtherFirstRecord { timeline, at: begin }, Some(begin))
        }
        [Some(_), Some(_)] => Relation::Same,
        _ => by_promotion(server, reference).unwrap_or_else(|| unread(server.timeline)),
    }
}

/// Compares what the metadata of both record about the start of the timeline; None if one of them records nothing.
///
/// The row is written by the promotion that makes a primary and arrives with the data: who has another one streamed from another primary.
fn by_promotion(server: &Branch<'_>, reference: &Branch<'_>) -> Option<Relation> {
    let timeline = server.timeline;
    let [ours, theirs] = [server, reference].map(|branch| {
        let known = &branch.lineage?.promotions;
        known.iter().rfind(|promotion| promotion.timeline == timeline)
    });
    Some(if ours?.uuid == theirs?.uuid {
        Relation::Same
    } else {
        Relation::forked(Evidence::OtherPromotion { timeline }, None)
    })
}

/// Compares the WAL of both at positions where the server has a record with a time; None if that was not read, or proves
/// nothing. The first position that proves something decides.
fn by_sample(server: &Branch<'_>, reference: &Branch<'_>) -> Option<Relation> {
    server.lineage?.samples.iter().find_map(|ours| at_sample(ours, server, reference))
}

fn at_sample(ours: &CheckpointSample, server: &Branch<'_>, reference: &Branch<'_>) -> Option<Relation> {
    let (before, record_here) = halves(ours, server.segment_bytes)?;
    let (wanted, is_checkpoint) = sample_record(&record_here, server.segment_bytes)?;
    let there: Vec<_> = reference
        .lineage?
        .samples
        .iter()
        .filter(|theirs| (theirs.timeline, theirs.lsn) == (ours.timeline, ours.lsn))
        .filter_map(|theirs| {
            let (before, record_there) = halves(theirs, server.segment_bytes)?;
            Some((before, without_page_headers(&record_there)?))
        })
        .collect();
    if there.iter().any(|(theirs, bytes)| *theirs == before && bytes.starts_with(&wanted)) {
        // One of an earlier timeline says nothing of this one. Nor is it known where the reference has left this one, without its history.
        let is_certain = server.timeline == reference.timeline || switches(reference).is_some();
        return (ours.timeline == server.timeline && is_certain).then_some(Relation::Same);
    }
    // Beyond its end the reference has written nothing yet.
    let is_written = there.iter().any(|(_, bytes)| bytes.len() >= wanted.len())
        && reference.end.is_none_or(|end| ours.lsn.0 + wanted.len() as u64 <= end.0);
    let evidence = Evidence::RecordMissing { is_checkpoint, at: ours.lsn, timeline: ours.timeline };
    is_written.then(|| Relation::forked(evidence, None))
}

/// Returns the record of a milestone, and whether it is that of a checkpoint or the like; None if no record with a time stands there.
fn sample_record(sample: &TimelineStart, segment_bytes: u64) -> Option<(Vec<u8>, bool)> {
    let wal = without_page_headers(sample)?;
    let record = whole_record(&wal, sample.lsn, segment_bytes)?;
    let (info, manager) = (*record.get(16)?, *record.get(17)?);
    is_timed(manager, info).then(|| (record.to_vec(), manager == 0))
}

/// Splits a milestone into what stands before the record and what begins with it.
fn halves(sample: &CheckpointSample, segment_bytes: u64) -> Option<(&str, TimelineStart)> {
    let (from, _) = CheckpointSample::window(sample.lsn, segment_bytes);
    let digits = usize::try_from(2 * (sample.lsn.0 - from.0)).ok()?;
    let (before, bytes) = sample.bytes.split_at_checked(digits)?;
    let record = TimelineStart { timeline: sample.timeline, lsn: sample.lsn, bytes: Some(bytes.into()) };
    Some((before, record))
}

fn other_ancestors(timeline: TimelineId, ours: TimelineId, theirs: TimelineId) -> Relation {
    Relation::forked(Evidence::OtherAncestor { timeline, ours, theirs }, None)
}

fn unread(timeline: TimelineId) -> Relation {
    Relation::Unknown(format!(
        "The history files of timeline {timeline} agree, but the WAL segment with its first record no longer exists, so it cannot be \
        compared."
    ))
}

/// What positions alone show of two servers on one timeline.
fn on_one_timeline(server: &Branch<'_>, reference: &Branch<'_>) -> Option<Relation> {
    // Wherever they are: standby.signal was removed, or both were promoted.
    if server.writes && reference.writes {
        return Some(Relation::forked(Evidence::BothWrite { timeline: server.timeline }, None));
    }
    let (ahead, behind) = (server.end?, reference.end.filter(|_| reference.writes)?);
    // One that streams may have received what was written since the reference was asked.
    let evidence = Evidence::BeyondEnd { ours: ahead, theirs: behind };
    (ahead > behind && !server.streams).then(|| Relation::forked(evidence, None))
}

/// Returns where the timelines before the server's own one ended; None where that could not be read.
fn switches(server: &Branch<'_>) -> Option<Vec<Switch>> {
    if server.timeline == TimelineId(1) {
        return Some(Vec::new());
    }
    parse_history(server.lineage?.history.as_deref()?).ok()
}

fn timeline_start<'a>(server: &Branch<'a>, timeline: TimelineId, begin: Lsn) -> Option<&'a TimelineStart> {
    let records = &server.lineage?.timeline_starts;
    records.iter().find(|record| record.timeline == timeline && record.lsn == begin)
}

/// Cuts the record that carries the time of the promotion out of what was read at the beginning of a timeline.
///
/// It is an END_OF_RECOVERY or a checkpoint record, the first one of the timeline or, where `full_page_writes` was changed, the second one.
/// What stands there may also be what a recycled file held before, or nothing: a record counts only if its checksum is right and the one
/// before it is near. Layout after access/xlogrecord.h and xlog_internal.h, unchanged from 13 to 18.
fn record(first: &TimelineStart, segment_bytes: u64) -> Option<Vec<u8>> {
    const XLOG: u8 = 0;
    let wal = without_page_headers(first)?;
    let mut rest = wal.as_slice();
    for _ in 0..3 {
        let record = whole_record(rest, first.lsn, segment_bytes)?;
        let (info, manager) = (*record.get(16)?, *record.get(17)?);
        if manager == XLOG && is_timed(manager, info) {
            return Some(record.to_vec());
        }
        rest = rest.get(record.len().next_multiple_of(8)..)?;
    }
    None
}

/// Returns the record that some WAL begins with, which was read from near a position; None if it is none that was written there.
fn whole_record(wal: &[u8], near: Lsn, segment_bytes: u64) -> Option<&[u8]> {
    // No further than what is read of WAL in one piece.
    const FAR: u64 = 512;
    let length = usize::try_from(u32::from_le_bytes(wal.get(..4)?.try_into().ok()?)).ok()?;
    let record = wal.get(..length).filter(|record| record.len() >= 24)?;
    let previous = u64::from_le_bytes(record.get(8..16)?.try_into().ok()?);
    let is_near = previous < near.0 + FAR && previous + segment_bytes > near.0;
    (is_near && is_intact(record)).then_some(record)
}

/// Returns the bytes that were read as one piece of WAL: the page headers, 24 bytes or at the start of a segment 40, are taken out.
fn without_page_headers(first: &TimelineStart) -> Option<Vec<u8>> {
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

#[cfg(test)]
mod tests;
