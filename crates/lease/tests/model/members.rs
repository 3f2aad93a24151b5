//! The members while leaders change: majorities that rest on different copies of the row always meet.
//!
//! Time is left out: a leader is whoever was last promoted, and goes by its own copy; a candidate may stand at any time, with any voters. That
//! it waits until the leader has stopped is checked by `world.rs`, for members that stay the same; it rests on a voter that both sets share.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use pgbaton_lease::rules::Rule;
use pgbaton_lease::{Change, Members, Node, Nodes, Params, Profile, Version};

/// What is checked here.
pub const RULES: [Rule; 4] =
    [Rule::VersionsHaveTimelines, Rule::OwnRowFirst, Rule::ChangesAreCommitted, Rule::NewestMembersCount];

const NODES: Node = 5;
const TIMELINES: u32 = 3;
const CHANGES: u32 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Cluster {
    copies: [Option<Members>; NODES as usize],
    leader: Node,
    timeline: u32,
    /// What the leader goes by.
    members: Members,
}

fn subsets(of: Nodes) -> impl Iterator<Item = Nodes> {
    (1u32..1 << NODES)
        .map(|bits| (0..NODES).filter(|node| bits & (1 << node) != 0).collect::<Nodes>())
        .filter(move |nodes| of.has_all(*nodes))
}

impl Cluster {
    fn new(count: Node) -> Self {
        let version = Version { timeline: 1, counter: 1 };
        let members = Members { version, data: Nodes::first(count), voters: Nodes::first(count) };
        let mut copies = [None; NODES as usize];
        copies.iter_mut().take(usize::from(count)).for_each(|copy| *copy = Some(members));
        Self { copies, leader: 0, timeline: 1, members }
    }

    fn copy(&self, node: Node) -> Option<Members> {
        self.copies[usize::from(node)]
    }

    fn shown(&self) -> Nodes {
        let same = |copy: Members| copy.version == self.members.version;
        (0..NODES).filter(|node| self.copy(*node).is_some_and(same)).collect()
    }

    fn write(&mut self, members: Members) {
        self.members = members;
        self.copies[usize::from(self.leader)] = Some(members);
    }

    /// All that may happen next; None once a candidate finds a majority that does not meet one of the leader's.
    fn next(&self, params: &Params) -> Option<Vec<Self>> {
        let mut next = Vec::new();
        for node in self.members.voters.iter() {
            let newer = |copy: Members| self.members.version.is_newer_than(copy.version, params);
            if self.copy(node).is_none_or(newer) {
                let mut after = *self;
                after.copies[usize::from(node)] = Some(self.members);
                next.push(after);
            }
        }
        if let Some(own) = self.members.renewed(self.timeline) {
            let mut after = *self;
            after.write(own);
            next.push(after);
        }
        for change in (0..NODES).flat_map(|node| [Change::AddData(node), Change::Remove(node)]) {
            let changed = self.members.changed(params, change, (self.leader, self.timeline), self.shown());
            let enough =
                |members: &Members| members.voters.count() >= 2 && members.version.counter <= CHANGES;
            if let Some(members) = changed.ok().filter(enough) {
                let mut after = *self;
                after.write(members);
                next.push(after);
            }
        }
        for candidate in (0..NODES).filter(|node| *node != self.leader) {
            let Some(own) = self.copy(candidate).filter(|_| self.timeline < TIMELINES) else { continue };
            for votes in subsets(Nodes::first(NODES)).filter(|votes| votes.has(candidate)) {
                let copies = votes.iter().filter_map(|node| self.copy(node));
                let members = copies.fold(own, |newest, copy| newest.newest(copy, params));
                let is_majority = members.voters.has_all(votes) && votes.count() == members.voters.majority();
                if !is_majority || !members.data.has(candidate) {
                    continue;
                }
                let untouched = votes.iter().fold(self.members.voters, Nodes::without);
                if untouched.count() >= self.members.voters.majority() {
                    return None;
                }
                let mut after = *self;
                after.leader = candidate;
                after.timeline += 1;
                after.write(members);
                next.push(after);
            }
        }
        Some(next)
    }
}

/// Returns how many different clusters there are, or None if majorities do not always meet.
fn explore(count: Node, params: &Params) -> Option<usize> {
    let begin = Cluster::new(count);
    let (mut seen, mut queue) = (HashSet::from([begin]), VecDeque::from([begin]));
    while let Some(cluster) = queue.pop_front() {
        for after in cluster.next(params)? {
            if seen.insert(after) {
                queue.push_back(after);
            }
        }
    }
    Some(seen.len())
}

#[test]
fn majorities_always_meet() {
    for count in [3, 4] {
        let begun = Instant::now();
        let states = explore(count, &Profile::Default.params()).expect("majorities that do not meet");
        println!("members, from {count} nodes: {states} (all), {:.0} s", begun.elapsed().as_secs_f64());
        assert!(states > 10_000);
    }
}

#[test]
fn every_rule_about_the_members_is_needed() {
    for rule in RULES {
        let params = Params { broken: Some(rule), ..Profile::Default.params() };
        assert!([3, 4].into_iter().any(|count| explore(count, &params).is_none()), "{rule:?} is not missed");
    }
}
