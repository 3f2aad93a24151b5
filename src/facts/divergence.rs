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
    if server.timeline == TimelineId(1) && reference.timeline == TimelineId(1) {
        return ahead_on_one_timeline(server, reference).unwrap_or(Relation::Same);
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
    let shared = theirs.iter().filter(|switch| switch.timeline < server.timeline);
    if let Some((a, b)) =
        ours.iter().zip(shared).find(|(a, b)| (a.timeline, a.switch) != (b.timeline, b.switch))
    {
        return Relation::Forked {
            evidence: format!(
                "The history files differ: timeline {} ended at {} here and at {} for the reference.",
                a.timeline, a.switch, b.switch
            ),
            at: Some(a.switch.min(b.switch)),
        };
    }
    match (first_record(server, server.timeline), first_record(reference, server.timeline)) {
        (Some(a), Some(b)) if a.lsn == b.lsn => match (record(a), record(b)) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                return Relation::Forked {
                    evidence: format!(
                        "Timeline {} was begun twice, both times at {}: the first records differ.",
                        server.timeline, a.lsn
                    ),
                    at: Some(a.lsn),
                };
            }
            (Some(_), Some(_)) => {}
            _ => return unread(server.timeline),
        },
        _ => return unread(server.timeline),
    }
    if server.timeline == reference.timeline {
        return ahead_on_one_timeline(server, reference).unwrap_or(Relation::Same);
    }
    Relation::Same
}

fn unread(timeline: TimelineId) -> Relation {
    Relation::Unknown(format!(
        "The history files of timeline {timeline} agree, but the segment with its first record is no longer there to compare."
    ))
}

/// Two servers that both take writes on one timeline have parted, wherever they are: somebody removed `standby.signal`.
fn ahead_on_one_timeline(server: &ServerFacts, reference: &ServerFacts) -> Option<Relation> {
    (!server.in_recovery && !reference.in_recovery).then(|| Relation::Forked {
        evidence: format!("Both take writes on timeline {}.", server.timeline),
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

fn first_record(server: &ServerFacts, timeline: TimelineId) -> Option<&FirstRecord> {
    server.lineage.as_ref()?.first_records.iter().find(|record| record.timeline == timeline)
}

/// Cuts one WAL record out of what was read: what follows it may not have been received yet.
///
/// Layout after access/xlogrecord.h and xlog_internal.h, unchanged from 13 to 18: the record begins with its total length, 4 bytes little
/// endian; where it would begin at a page boundary, the page header stands before it (24 bytes, 40 at the start of a segment).
fn record(first: &FirstRecord) -> Option<String> {
    const PAGE: u64 = 8192;
    const SHORT_HEADER: usize = 24;
    const LONG_HEADER: usize = 40;
    let bytes = first.bytes.as_deref()?;
    let within = first.lsn.0 % PAGE;
    let skip = if within == 0 {
        // Which of the two headers it is, its own flags say: bit 1 of xlp_info, after the two bytes of the magic number.
        let info = u8::from_str_radix(bytes.get(4..6)?, 16).ok()?;
        if info & 0x02 == 0 { SHORT_HEADER } else { LONG_HEADER }
    } else {
        0
    };
    let mut length = [0u8; 4];
    for (i, byte) in length.iter_mut().enumerate() {
        let at = (skip + i) * 2;
        *byte = u8::from_str_radix(bytes.get(at..at + 2)?, 16).ok()?;
    }
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    // A length that no first record has means that nothing was written there yet.
    if !(24..=150).contains(&length) {
        return None;
    }
    // A record that crosses a page has one page header in it.
    let crosses = within != 0 && within + length as u64 > PAGE;
    let total = skip + length + if crosses { SHORT_HEADER } else { 0 };
    bytes.get(..total * 2).map(str::to_string)
}
