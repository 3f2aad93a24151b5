//! What shows that two servers do not have the same history, and the sentence about it.

use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;

/// Why a server has diverged from a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Its timeline is newer than that of the reference.
    NewerTimeline {
        /// That of the server.
        ours: TimelineId,
        /// That of the reference.
        theirs: TimelineId,
    },
    /// Its timeline is no ancestor of that of the reference.
    NoAncestor {
        /// That of the server.
        ours: TimelineId,
        /// That of the reference.
        theirs: TimelineId,
    },
    /// It has written on after the reference left its timeline.
    BeyondSwitch {
        /// That of the server.
        timeline: TimelineId,
        /// The end of its WAL.
        end: Lsn,
        /// Where the reference left it.
        switch: Lsn,
    },
    /// Its timeline comes from another one than in the history of the reference.
    OtherAncestor {
        /// That of the server.
        timeline: TimelineId,
        /// The one that it comes from.
        ours: TimelineId,
        /// The one that it comes from by the history of the reference.
        theirs: TimelineId,
    },
    /// An earlier timeline ended elsewhere than in the history of the reference.
    OtherSwitch {
        /// The earlier timeline.
        timeline: TimelineId,
        /// Its end in the history of the server.
        ours: Lsn,
        /// Its end in the history of the reference.
        theirs: Lsn,
    },
    /// The first records of the timeline differ.
    OtherFirstRecord {
        /// That of both.
        timeline: TimelineId,
        /// Where it begins.
        at: Lsn,
    },
    /// The metadata name two promotions.
    OtherPromotion {
        /// That of both.
        timeline: TimelineId,
    },
    /// A record of the server is not in the WAL of the reference.
    RecordMissing {
        /// It is that of a checkpoint; else the end of a transaction.
        is_checkpoint: bool,
        /// Where it is.
        at: Lsn,
        /// Its timeline.
        timeline: TimelineId,
    },
    /// Both accept writes.
    BothWrite {
        /// That of both.
        timeline: TimelineId,
    },
    /// It has WAL beyond the end of that of the reference.
    BeyondEnd {
        /// The end of its WAL.
        ours: Lsn,
        /// The end of the WAL of the reference.
        theirs: Lsn,
    },
    /// Something about the server alone, as a whole sentence.
    OfServer(String),
}

impl Evidence {
    /// Returns a whole sentence about the server, whose reference is the node of this name.
    pub fn sentence(&self, reference: &str) -> String {
        match self {
            Self::NewerTimeline { ours, theirs } => {
                format!("It is on timeline {ours}, which is newer than timeline {theirs} of \"{reference}\".")
            }
            Self::NoAncestor { ours, theirs } => {
                format!("Its timeline {ours} is not in the history of timeline {theirs}.")
            }
            Self::BeyondSwitch { timeline, end, switch } => format!(
                "It has WAL up to {end} on timeline {timeline}, which \"{reference}\" left at {switch}."
            ),
            Self::OtherAncestor { timeline, ours, theirs } => format!(
                "The history files differ: timeline {timeline} comes from timeline {ours} in its history and from timeline {theirs} in that \
                of \"{reference}\"."
            ),
            Self::OtherSwitch { timeline, ours, theirs } => format!(
                "The history files differ: timeline {timeline} ended at {ours} in its history and at {theirs} in that of \"{reference}\"."
            ),
            Self::OtherFirstRecord { timeline, at } => format!(
                "Timeline {timeline} was started by two different promotions, both at {at}: the first records differ."
            ),
            Self::OtherPromotion { timeline } => {
                format!("Timeline {timeline} was started by two different promotions.")
            }
            Self::RecordMissing { is_checkpoint, at, timeline } => {
                let what = if *is_checkpoint { "checkpoint" } else { "end of a transaction" };
                format!("The {what} at {at} on timeline {timeline} is not in the WAL of \"{reference}\".")
            }
            Self::BothWrite { timeline } => format!("Both accept writes on timeline {timeline}."),
            Self::BeyondEnd { ours, theirs } => {
                format!("It has WAL up to {ours}, but the WAL of \"{reference}\" ends at {theirs}.")
            }
            Self::OfServer(sentence) => sentence.clone(),
        }
    }
}
