//! The members: which nodes have data, and which vote. Two leaders that know different sets must not find majorities that do not meet.

use crate::event::Refusal;
use crate::params::Params;
use crate::rules::Rule;
use crate::votes::{Node, Nodes};

/// Which copy of the members is newer: by the timeline of the leader that wrote it, then by its number there.
///
/// The number alone does not tell: a change that was lost by a failover has the same number as the one that the next leader made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The timeline of the leader that wrote it.
    pub timeline: u32,
    /// Its number.
    pub counter: u32,
}

impl Version {
    /// Says whether this copy replaces another one.
    #[must_use]
    pub fn is_newer_than(self, other: Self, params: &Params) -> bool {
        if params.keeps(Rule::VersionsHaveTimelines) { self > other } else { self.counter > other.counter }
    }
}

/// The members, as one row of the leader's database says; standbys get it with the WAL, witnesses from the leader's daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Members {
    /// Which copy this is.
    pub version: Version,
    /// The nodes with data.
    pub data: Nodes,
    /// All that vote: nodes with data, and witnesses, whether they are up or down.
    pub voters: Nodes,
}

/// A change of the members: one node. Two at once could leave majorities that do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A node with data is added.
    AddData(Node),
    /// A witness is added.
    AddWitness(Node),
    /// A node is removed.
    Remove(Node),
}

impl Members {
    /// Says whether the voters that have shown this very copy are a majority of its own set.
    #[must_use]
    pub fn is_committed(&self, shown: Nodes) -> bool {
        self.voters.iter().filter(|voter| shown.has(*voter)).count() >= self.voters.majority()
    }

    /// The first row of a leader on a new timeline: the same set under its own name, or None if it has been written.
    #[must_use]
    pub fn renewed(&self, timeline: u32) -> Option<Self> {
        let version = Version { timeline, counter: self.version.counter };
        (self.version.timeline != timeline).then_some(Self { version, ..*self })
    }

    /// Returns the members after a change by the leader on this timeline.
    ///
    /// # Errors
    /// `Others` while the present row is not the leader's own, or not yet on a majority of its set; `Unknown` for a change that changes
    /// nothing; `NotLeader` for the removal of the leader itself.
    pub fn changed(
        &self,
        params: &Params,
        change: Change,
        (leader, timeline): (Node, u32),
        shown: Nodes,
    ) -> Result<Self, Refusal> {
        if self.version.timeline != timeline && params.keeps(Rule::OwnRowFirst) {
            return Err(Refusal::Others);
        }
        if !self.is_committed(shown) && params.keeps(Rule::ChangesAreCommitted) {
            return Err(Refusal::Others);
        }
        let version = Version { timeline, counter: self.version.counter + 1 };
        let (data, voters) = match change {
            Change::AddData(node) if !self.voters.has(node) => (self.data.with(node), self.voters.with(node)),
            Change::AddWitness(node) if !self.voters.has(node) => (self.data, self.voters.with(node)),
            Change::Remove(node) if node == leader => return Err(Refusal::NotLeader),
            Change::Remove(node) if self.voters.has(node) => {
                (self.data.without(node), self.voters.without(node))
            }
            _ => return Err(Refusal::Unknown),
        };
        Ok(Self { version, data, voters })
    }

    /// Takes the newer of two copies.
    #[must_use]
    pub fn newest(self, other: Self, params: &Params) -> Self {
        let newer =
            other.version.is_newer_than(self.version, params) && params.keeps(Rule::NewestMembersCount);
        if newer { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Profile;

    fn three() -> Members {
        Members {
            version: Version { timeline: 1, counter: 4 },
            data: Nodes::first(2),
            voters: Nodes::first(3),
        }
    }

    #[test]
    fn a_change_waits_for_the_majority_of_the_set_before() {
        let params = Profile::Default.params();
        let change = |shown| three().changed(&params, Change::AddData(5), (0, 1), shown);
        assert_eq!(change(Nodes::one(0)), Err(Refusal::Others));
        let changed = change(Nodes::first(2)).unwrap();
        assert_eq!(changed.version, Version { timeline: 1, counter: 5 });
        assert_eq!((changed.data, changed.voters), (Nodes::first(2).with(5), Nodes::first(3).with(5)));
        assert!(changed.version.is_newer_than(three().version, &params));
        // Of four, three are the majority.
        assert!(!changed.is_committed(Nodes::first(2)) && changed.is_committed(Nodes::first(3)));
    }

    #[test]
    fn a_new_leader_writes_its_own_row_first() {
        let params = Profile::Default.params();
        let all = Nodes::first(3);
        assert_eq!(three().changed(&params, Change::Remove(2), (1, 2), all), Err(Refusal::Others));
        let own = three().renewed(2).unwrap();
        assert_eq!((own.version, own.voters), (Version { timeline: 2, counter: 4 }, all));
        assert_eq!(own.renewed(2), None);
        assert!(own.changed(&params, Change::Remove(2), (1, 2), all).is_ok());
    }

    #[test]
    fn what_changes_nothing_is_refused_and_the_leader_stays() {
        let params = Profile::Default.params();
        let change = |change| three().changed(&params, change, (0, 1), Nodes::first(3)).unwrap_err();
        assert_eq!(change(Change::AddWitness(1)), Refusal::Unknown);
        assert_eq!(change(Change::Remove(7)), Refusal::Unknown);
        assert_eq!(change(Change::Remove(0)), Refusal::NotLeader);
    }

    #[test]
    fn the_higher_timeline_wins_over_the_higher_number() {
        let params = Profile::Default.params();
        let older = Members { version: Version { timeline: 1, counter: 9 }, ..three() };
        let newer = Members { version: Version { timeline: 2, counter: 4 }, ..three() };
        assert_eq!(older.newest(newer, &params), newer);
        assert_eq!(newer.newest(older, &params), newer);
    }
}
