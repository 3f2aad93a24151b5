//! The history of a server, and where two of them fork.

use crate::facts::lineage::Lineage;
use crate::facts::server::ServerFacts;
use crate::pg::history::{Switch, TimelineId};
use crate::pg::lsn::Lsn;

/// What describes the history of a server, whether the server reported it or its files were read.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    /// The timeline that it is on.
    pub timeline: TimelineId,
    /// Where its WAL ends; None for unknown.
    pub end: Option<Lsn>,
    /// It accepts writes, or did when it was stopped.
    pub writes: bool,
    /// It receives WAL, so that its end moves.
    pub streams: bool,
    /// Where its WAL comes from.
    pub lineage: Option<&'a Lineage>,
    /// The length of its WAL segments.
    pub segment_bytes: u64,
}

impl<'a> From<&'a ServerFacts> for Branch<'a> {
    fn from(server: &'a ServerFacts) -> Self {
        Self {
            timeline: server.timeline,
            end: server.wal_end(),
            writes: !server.in_recovery,
            streams: server.receiver.is_some(),
            lineage: server.lineage.as_ref(),
            segment_bytes: server.wal_segment_bytes,
        }
    }
}

/// Where two branches have forked, by their histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// At this position: what comes after it is not shared.
    At(Lsn),
    /// They are one, as far as their histories say.
    None,
    /// They have no beginning in common.
    NoCommonAncestor,
}

/// Finds the fork as pg_rewind does: the last timeline that began at the same position for both ends with the earlier of its two ends.
pub fn fork(ours: (&[Switch], TimelineId), theirs: (&[Switch], TimelineId)) -> Fork {
    let pieces = |(switches, timeline): (&[Switch], TimelineId)| -> Vec<(TimelineId, Lsn, Option<Lsn>)> {
        let mut begin = Lsn(0);
        let mut out = Vec::new();
        for switch in switches {
            out.push((switch.timeline, begin, Some(switch.switch)));
            begin = switch.switch;
        }
        out.push((timeline, begin, None));
        out
    };
    let (ours, theirs) = (pieces(ours), pieces(theirs));
    let shared = ours.iter().zip(&theirs).take_while(|(a, b)| (a.0, a.1) == (b.0, b.1)).last();
    match shared {
        None => Fork::NoCommonAncestor,
        Some(((_, _, Some(a)), (_, _, Some(b)))) => Fork::At(*a.min(b)),
        Some(((_, _, end), (_, _, other))) => end.or(*other).map_or(Fork::None, Fork::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_found_as_pg_rewind_finds_them() {
        let switch =
            |timeline, at| Switch { timeline: TimelineId(timeline), switch: Lsn(at), reason: String::new() };
        let of = |ours: &[Switch], on: u32, theirs: &[Switch], other: u32| {
            fork((ours, TimelineId(on)), (theirs, TimelineId(other)))
        };
        assert_eq!(of(&[], 1, &[switch(1, 50)], 2), Fork::At(Lsn(50)));
        assert_eq!(of(&[switch(1, 40)], 2, &[], 1), Fork::At(Lsn(40)));
        assert_eq!(of(&[switch(1, 40)], 2, &[switch(1, 50)], 3), Fork::At(Lsn(40)));
        assert_eq!(of(&[switch(1, 40)], 2, &[switch(1, 40), switch(2, 90)], 3), Fork::At(Lsn(90)));
        assert_eq!(of(&[switch(1, 40)], 3, &[switch(1, 40), switch(2, 90)], 4), Fork::At(Lsn(40)));
        assert_eq!(of(&[switch(1, 40)], 2, &[switch(1, 40)], 2), Fork::None);
        assert_eq!(of(&[], 1, &[], 1), Fork::None);
        assert_eq!(of(&[], 2, &[switch(1, 40)], 3), Fork::NoCommonAncestor);
    }
}
