//! Votes: locks in sessions on the voters' servers, and what follows from having held them.

use crate::time::{Moment, Ms, Time};

/// A node, by its place in the list of members (0 to 31).
pub type Node = u8;

/// A session, by a number that its executor never uses again.
pub type Backend = u32;

/// A set of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Nodes(u32);

impl Nodes {
    /// No node.
    pub const NONE: Self = Self(0);

    /// The first `count` nodes.
    #[must_use]
    pub const fn first(count: Node) -> Self {
        Self(if count >= 32 { u32::MAX } else { (1 << count) - 1 })
    }

    /// One node.
    #[must_use]
    pub const fn one(node: Node) -> Self {
        Self(1 << (node & 31))
    }

    /// This set and a node.
    #[must_use]
    pub const fn with(self, node: Node) -> Self {
        Self(self.0 | Self::one(node).0)
    }

    /// This set without a node.
    #[must_use]
    pub const fn without(self, node: Node) -> Self {
        Self(self.0 & !Self::one(node).0)
    }

    /// The nodes of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Says whether a node is in it.
    #[must_use]
    pub const fn has(self, node: Node) -> bool {
        self.0 & Self::one(node).0 != 0
    }

    /// Says whether all of another set are in it.
    #[must_use]
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The smallest number of these that is more than half.
    #[must_use]
    pub const fn majority(self) -> usize {
        self.count() / 2 + 1
    }

    /// The nodes, in order.
    pub fn iter(self) -> impl Iterator<Item = Node> {
        (0..32).filter(move |node| self.has(*node))
    }
}

impl FromIterator<Node> for Nodes {
    fn from_iter<I: IntoIterator<Item = Node>>(nodes: I) -> Self {
        nodes.into_iter().fold(Self::NONE, Self::with)
    }
}

/// A vote that is held: a lock in a session that has not ended, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The session.
    pub backend: Backend,
    /// When the answer to the request for the lock came: it is held since then at the latest.
    pub granted: Time,
    /// When the newest heartbeat that was answered had been sent: it was held then at least.
    pub sent: Time,
    /// Everything that was learnt later than this was learnt with the lock in hand.
    pub taken: Moment,
    /// Everything that was learnt before this was learnt before the newest heartbeat that was answered had been sent.
    pub confirmed: Moment,
}

/// What is known of one voter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The vote, while it is held.
    pub vote: Option<Vote>,
    /// When the newest heartbeat that was answered had been sent, in this session or an earlier one: the lock *was* held then.
    pub evidence: Option<Time>,
}

impl Slot {
    /// Takes a vote note of that was granted.
    pub const fn grant(&mut self, backend: Backend, sent: Time, now: Time, moment: Moment) {
        self.vote = Some(Vote { backend, granted: now, sent, taken: moment, confirmed: moment });
        self.proves(sent);
    }

    /// Takes note of the answer to a heartbeat that had been sent at `sent`, after the events before `moment`. Returns whether the session is
    /// the one that holds the vote.
    pub fn confirm(&mut self, backend: Backend, sent: Time, moment: Moment) -> bool {
        let Some(vote) = self.vote.as_mut().filter(|vote| vote.backend == backend) else { return false };
        vote.sent = vote.sent.max(sent);
        vote.confirmed = vote.confirmed.max(moment);
        self.proves(sent);
        true
    }

    const fn proves(&mut self, sent: Time) {
        self.evidence = match self.evidence {
            Some(known) if known.0 > sent.0 => Some(known),
            _ => Some(sent),
        };
    }
}

/// When a fact was established that takes the place of the grace: between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    /// Not before this: the question was asked then.
    pub from: Moment,
    /// Not after this: the answer was here then.
    pub to: Moment,
}

/// Returns when the lease ends: `lease` after the majority's newest heartbeats that were answered had been sent. None without a majority.
pub fn deadline(slots: &[Slot], majority: usize, lease: Ms) -> Option<Time> {
    let later = |time: Time| slots.iter().filter(|slot| slot.evidence >= Some(time)).count();
    slots
        .iter()
        .filter_map(|slot| slot.evidence)
        .filter(|time| later(*time) >= majority)
        .max()
        .map(|time| time.after(lease))
}

/// Says whether one and the same majority of votes has been held for the whole grace, and was confirmed at its end.
pub fn have_waited(slots: &[Slot], majority: usize, grace: Ms) -> bool {
    let votes = || slots.iter().filter_map(|slot| slot.vote);
    votes().any(|last| {
        let end = last.granted.after(grace);
        votes().filter(|vote| vote.granted <= last.granted && vote.sent >= end).count() >= majority
    })
}

/// Says whether a majority of votes was taken before a fact was established, and confirmed after it: whoever else could lead would have to
/// take one of them, and to wait for its own grace.
pub fn frame(slots: &[Slot], majority: usize, fact: Fact) -> bool {
    let votes = slots.iter().filter_map(|slot| slot.vote);
    votes.filter(|vote| vote.taken <= fact.from && vote.confirmed >= fact.to).count() >= majority
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(granted: u64, sent: u64) -> Slot {
        let mut slot = Slot::default();
        slot.grant(1, Time(granted), Time(granted), Moment(granted));
        assert!(slot.confirm(1, Time(sent), Moment(sent)));
        slot
    }

    #[test]
    fn the_lease_runs_from_the_heartbeats_of_the_majority() {
        let slots = [held(0, 50), held(0, 70), held(0, 90)];
        assert_eq!(deadline(&slots, 2, 100), Some(Time(170)));
        assert_eq!(deadline(&slots, 3, 100), Some(Time(150)));
        assert_eq!(deadline(&slots, 4, 100), None);
        assert_eq!(deadline(&[Slot::default(); 3], 1, 100), None);
    }

    #[test]
    fn evidence_outlives_its_session_and_never_goes_back() {
        let mut slot = held(0, 90);
        slot.vote = None;
        assert!(!slot.confirm(1, Time(95), Moment(95)), "a session that has ended confirms nothing");
        slot.grant(2, Time(60), Time(61), Moment(61));
        assert_eq!(slot.evidence, Some(Time(90)));
        assert!(!slot.confirm(1, Time(99), Moment(99)), "another session");
        assert_eq!(slot.vote.map(|vote| vote.sent), Some(Time(60)));
    }

    #[test]
    fn the_grace_is_waited_for_by_one_set() {
        // Two old votes, one of which is no longer confirmed, and a fresh one: no two have waited together.
        assert!(!have_waited(&[held(0, 20), held(0, 105), held(95, 105)], 2, 100));
        assert!(have_waited(&[held(0, 100), held(0, 105), held(95, 105)], 2, 100));
        // The last vote of the set begins the grace.
        assert!(!have_waited(&[held(0, 109), held(10, 109), Slot::default()], 2, 100));
        assert!(have_waited(&[held(0, 110), held(10, 110), Slot::default()], 2, 100));
    }

    #[test]
    fn a_fact_counts_between_votes_and_confirmations() {
        let fact = Fact { from: Moment(10), to: Moment(12) };
        assert!(frame(&[held(9, 12), held(10, 13), Slot::default()], 2, fact));
        // Taken after the question, or confirmed before the answer.
        assert!(!frame(&[held(9, 12), held(11, 13), Slot::default()], 2, fact));
        assert!(!frame(&[held(9, 12), held(10, 11), Slot::default()], 2, fact));
    }

    #[test]
    fn sets_of_nodes() {
        let nodes = Nodes::first(3).without(1);
        assert_eq!(nodes.iter().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((nodes.count(), Nodes::first(3).majority(), Nodes::first(4).majority()), (2, 2, 3));
        assert!(Nodes::first(3).has_all(nodes) && !nodes.has_all(Nodes::first(3)) && !nodes.has(1));
        assert_eq!([0, 2].into_iter().collect::<Nodes>(), nodes);
        assert_eq!(Nodes::first(32).count(), 32);
    }
}
