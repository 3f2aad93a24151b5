//! Whether the primary looks lost, and which standby is the best candidate. No safety rests on this: it decides who asks for votes, and when.

use std::cmp::{Ordering, Reverse};

use crate::time::{Ms, Time};
use crate::votes::Node;

/// Why the primary does not look lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Calm {
    /// A session holds the vote of this node's server.
    VoteIsHeld,
    /// The primary's server has answered lately.
    Answers,
    /// WAL has arrived lately.
    Sends,
    /// The leader is handing over to another node.
    HandsOver,
    /// A server that accepts writes is seen elsewhere.
    OtherPrimary,
    /// A majority of votes is seen in one hand.
    OtherMajority,
}

/// What this node sees of the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outlook {
    /// Another daemon's session holds the vote of this node's server.
    pub vote_is_held: bool,
    /// When the primary's server last answered to this node itself.
    pub answered: Option<Time>,
    /// When the WAL receiver last got a message. (Its status says "streaming" for a minute after the host is gone.)
    pub received: Option<Time>,
    /// A note for another node is to be seen on this node's server.
    pub note_for_another: bool,
    /// Another server is seen that accepts writes.
    pub other_primary: bool,
    /// The same session holder is seen on a majority of voters.
    pub other_majority: bool,
}

impl Outlook {
    /// Says whether a primary is seen: then this node does not go on with a candidacy.
    #[must_use]
    pub const fn shows_a_primary(&self) -> bool {
        self.other_primary || self.other_majority
    }

    /// Returns what keeps the primary from looking lost; `None`: it looks lost.
    ///
    /// `heartbeat` is h: two of them without a sign of life are what is waited for, after the vote has been free.
    #[must_use]
    pub fn calm(&self, heartbeat: Ms, now: Time) -> Option<Calm> {
        let lately = |seen: Option<Time>| seen.is_some_and(|seen| now.since(seen) < 2 * heartbeat);
        let reasons = [
            (self.vote_is_held, Calm::VoteIsHeld),
            (self.note_for_another, Calm::HandsOver),
            (self.other_primary, Calm::OtherPrimary),
            (self.other_majority, Calm::OtherMajority),
            (lately(self.answered), Calm::Answers),
            (lately(self.received), Calm::Sends),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, calm)| calm)
    }
}

/// Where the WAL of the primary was seen to end: its timeline, and the position in bytes.
pub type Position = (u32, u64);

/// How much of the last known WAL a standby lacks, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lack {
    /// This much.
    Bytes(u64),
    /// It is not known how much: no end of the primary's WAL has been seen, and not every node with data shows its own.
    Unknown,
}

/// Says how much a standby lacks. `known` is where the primary was seen last; `all_are_seen`: every node with data is seen as a standby, and
/// this one has the most WAL of them.
#[must_use]
pub const fn lack(standby: &Standby, known: Option<Position>, all_are_seen: bool) -> Lack {
    match known {
        Some((timeline, end)) if standby.timeline == timeline => Lack::Bytes(end.saturating_sub(standby.end)),
        // Its WAL is later than what was seen.
        Some((timeline, _)) if standby.timeline > timeline => Lack::Bytes(0),
        _ if all_are_seen => Lack::Bytes(0),
        _ => Lack::Unknown,
    }
}

/// What is known of a standby that may be a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standby {
    /// The node.
    pub node: Node,
    /// A daemon is alive beside it that would stand for election.
    pub is_willing: bool,
    /// The timeline of the last WAL that it has on disk. (Not the one it aims at: the history file alone is no WAL.)
    pub timeline: u32,
    /// How far its WAL goes, in bytes since the beginning: the greater of received and replayed.
    pub end: u64,
    /// Its priority: 0 never, higher is preferred.
    pub priority: u32,
}

/// Orders two standbys: the better candidate is the greater.
#[must_use]
pub fn rank(one: &Standby, other: &Standby) -> Ordering {
    let key = |standby: &Standby| (standby.timeline, standby.end, standby.priority, Reverse(standby.node));
    key(one).cmp(&key(other))
}

/// Returns the best of the standbys that would stand for election.
#[must_use]
pub fn best(standbys: &[Standby]) -> Option<&Standby> {
    standbys
        .iter()
        .filter(|standby| standby.is_willing && standby.priority > 0)
        .max_by(|one, other| rank(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Ms = 500;

    #[test]
    fn any_sign_of_life_keeps_the_primary_from_looking_lost() {
        let lost = Outlook { answered: Some(Time(1000)), received: Some(Time(1000)), ..Outlook::default() };
        assert_eq!(lost.calm(H, Time(2000)), None);
        assert_eq!(Outlook::default().calm(H, Time(0)), None);
        let signs = [
            (Outlook { vote_is_held: true, ..lost }, Calm::VoteIsHeld),
            (Outlook { answered: Some(Time(1001)), ..lost }, Calm::Answers),
            (Outlook { received: Some(Time(1001)), ..lost }, Calm::Sends),
            (Outlook { note_for_another: true, ..lost }, Calm::HandsOver),
            (Outlook { other_primary: true, ..lost }, Calm::OtherPrimary),
            (Outlook { other_majority: true, ..lost }, Calm::OtherMajority),
        ];
        for (outlook, calm) in signs {
            assert_eq!(outlook.calm(H, Time(2000)), Some(calm));
        }
    }

    #[test]
    fn what_a_standby_lacks_is_known_from_the_primary_or_from_all() {
        let standby = Standby { node: 1, is_willing: true, timeline: 2, end: 900, priority: 100 };
        assert_eq!(lack(&standby, Some((2, 1000)), false), Lack::Bytes(100));
        assert_eq!(lack(&standby, Some((2, 800)), false), Lack::Bytes(0));
        assert_eq!(lack(&standby, Some((1, 1000)), false), Lack::Bytes(0));
        assert_eq!(lack(&standby, Some((3, 1)), false), Lack::Unknown);
        assert_eq!(lack(&standby, None, false), Lack::Unknown);
        assert_eq!(lack(&standby, None, true), Lack::Bytes(0));
    }

    #[test]
    fn the_newest_wal_comes_first_then_the_priority_then_the_lower_id() {
        let standby =
            |node, timeline, end, priority| Standby { node, is_willing: true, timeline, end, priority };
        let nodes = [standby(3, 1, 900, 100), standby(2, 2, 500, 1), standby(1, 1, 900, 100)];
        assert_eq!(best(&nodes).map(|best| best.node), Some(2));
        assert_eq!(best(&[nodes[0], nodes[2]]).map(|best| best.node), Some(1));
        assert_eq!(best(&[standby(1, 1, 9, 50), standby(2, 1, 9, 60)]).map(|best| best.node), Some(2));
        // Neither counts: no daemon, and never.
        let unwilling = Standby { is_willing: false, ..nodes[1] };
        assert_eq!(best(&[unwilling, standby(3, 3, 9999, 0), nodes[2]]).map(|best| best.node), Some(1));
        assert_eq!(best(&[unwilling]), None);
    }
}
