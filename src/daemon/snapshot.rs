//! What the lease's thread knows at a moment, for everything outside of it.

use std::collections::BTreeMap;

use pgbaton_lease::driver::Withheld;
use pgbaton_lease::mailbox::NodeId;
use pgbaton_lease::{Node, Op, State, Time, Version};

use super::fencer::{Held, Wanted};
use super::lease::MOST;

/// What the daemon knows at a moment, for everything outside of the lease's thread.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the core knows.
    pub state: State<MOST>,
    /// When.
    pub at: Time,
    /// The IDs by their places.
    pub ids: BTreeMap<Node, NodeId>,
    /// The node that leads as far as is seen: its server accepts writes, on the highest timeline.
    pub leader: Option<NodeId>,
    /// The own server streams WAL: for how many milliseconds nothing has come.
    pub silent: Option<u64>,
    /// When the own server last answered, if only that it has no room for a session.
    pub answered: Option<Time>,
    /// The best standby to hand over to.
    pub heir: Option<NodeId>,
    /// Why this node does not stand for election, although it would have to.
    pub withheld: Option<Withheld>,
    /// Which copy of the members each voter has shown.
    pub shown: BTreeMap<NodeId, Version>,
    /// The hand-over by which this node was given the role last, if it was.
    pub given: Option<Op>,
    /// What the fencer is to do.
    pub wanted: Wanted,
    /// What holds at the fencer; None where there is nothing to fence.
    pub held: Option<Held>,
}

impl Snapshot {
    /// Says whether this node leads.
    pub fn leads(&self) -> bool {
        self.state.leads(self.at)
    }

    /// Returns the ID of a node.
    pub fn id(&self, node: Node) -> Option<NodeId> {
        self.ids.get(&node).copied()
    }
}
