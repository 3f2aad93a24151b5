//! May a server that is registered as the primary start, or stay, as one? The answers of the other nodes, and the decision. Pure.
//!
//! Everything that could start such a server checks this immediately before the effect, as an [`Asker`]: see [`decide`]. Whether a
//! standby may become the primary is judged by [`crate::plan::promote`], under the locks of all nodes that answer; also when an operation
//! is resumed.
//!
//! One node that knows of a newer primary is enough to refuse: such a fact never becomes outdated. That no node knows of one proves
//! nothing, as a node that was cut off has not heard of it. So a majority must confirm this node, as only one of two nodes can have one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::assess::history::{Relation, relation_of};
use crate::error::sentence;
use crate::facts::branch::Branch;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::{ServerFacts, streams_by};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::{NodeRow, NodeType};

mod decide;
pub mod saved_topology;

#[cfg(test)]
mod tests;

pub use self::decide::{Asker, Judgement, PollResult, StartDecision, decide};

/// The node whose server is to be, to become or to stay a primary.
#[derive(Clone, Copy, Debug)]
pub struct LocalNode<'a> {
    /// Its row as the configuration has it.
    pub row: &'a NodeRow,
    /// The system identifier of its data.
    pub system_identifier: &'a str,
    /// What its files say about its history.
    pub branch: Branch<'a>,
    /// Where its WAL ends, if that was looked for and is known.
    pub end: Option<Lsn>,
}

/// A server that was queried, and its answers.
#[derive(Clone, Debug)]
pub struct PeerAnswer {
    /// The node, and what its server reports.
    pub node: NodeFacts,
    /// It is queried as a registered node; otherwise it was only named by the user, and has no vote.
    pub registered: bool,
    /// Its copy of the metadata, or why there is none.
    pub rows: Result<Vec<NodeRow>, String>,
    /// The newest timeline that its copy of the metadata records a promotion to.
    pub promoted_to: Option<TimelineId>,
    /// A command that changes roles, other than the asking one, holds its lock.
    pub busy: bool,
    /// Operations that its copy of the metadata has as begun and not ended.
    pub operations: Vec<OpenOperation>,
}

/// A row of `pgbaton.operation` that has no end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenOperation {
    /// Its id.
    pub operation_id: String,
    /// The command.
    pub command: String,
    /// The node that coordinates it.
    pub node_id: i32,
    /// The timeline that it was begun on; None for a row of an older version.
    pub timeline: Option<TimelineId>,
}

/// What an answer means. The later counts where a node has given several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stance {
    /// It does not respond.
    NoAnswer,
    /// It responds, but that proves nothing.
    Unclear,
    /// It knows this node as the primary, and nothing newer; where a standby is to become the primary, only that it knows nothing newer.
    #[serde(rename = "for")]
    Supports,
    /// It is, follows or knows something newer than this node has.
    #[serde(rename = "against")]
    Opposes,
}

/// An answer and what it means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opinion {
    /// The node; None for a server that is not registered.
    pub node_id: Option<i32>,
    /// Its name.
    pub node_name: String,
    /// What it means.
    pub says: Stance,
    /// Its timeline.
    pub timeline: Option<TimelineId>,
    /// Why, as a whole sentence.
    pub detail: String,
    /// It may be alive, and may respond in a moment: a majority without it waits.
    #[serde(skip)]
    pub defers: bool,
    /// It accepts writes, in this cluster.
    #[serde(skip)]
    pub is_primary: bool,
    /// It is about an address of this node itself, where another server may be: that one is no node, and has no vote.
    #[serde(skip)]
    pub own_address: bool,
    /// Identifies a running server.
    #[serde(skip)]
    pub server: Option<(String, String)>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartVerdict {
    /// Start.
    Start(StartReason),
    /// Something newer is known: do not start.
    Refuse,
    /// Ask again.
    Wait,
    /// The time is over, and the answer is unknown.
    Unknown,
}

/// Why a server may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// There is no other node.
    Alone,
    /// All registered nodes confirm it.
    All,
    /// A majority confirms it, and no node knows anything newer.
    Majority,
}

/// How many nodes confirm this node, including itself, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that confirm it.
    pub named: usize,
    /// All that count.
    pub of: usize,
}

impl Count {
    fn is_all(self) -> bool {
        self.named == self.of
    }

    fn is_majority(self) -> bool {
        self.named * 2 > self.of
    }
}

/// The registered nodes, by all copies of the metadata that were read.
///
/// It is unknown which copy is the newest, so a node counts as soon as one copy has it as active: that requires more votes, never fewer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    active: BTreeMap<i32, bool>,
}

impl Members {
    /// Adds a copy of the metadata.
    pub fn learn<'a>(&mut self, rows: impl IntoIterator<Item = &'a NodeRow>) {
        for row in rows {
            *self.active.entry(row.node_id).or_default() |= row.active;
        }
    }

    /// Says whether any other node is registered.
    pub fn has_others(&self, node_id: i32) -> bool {
        self.active.keys().any(|id| *id != node_id)
    }

    /// Counts votes; a node counts once, and so does a server that two rows lead to.
    ///
    /// An inactive node, an old primary for instance, counts on both sides or not at all.
    pub fn count(&self, node_id: i32, opinions: &[Opinion]) -> Count {
        let mut servers = BTreeSet::new();
        let voters: BTreeSet<i32> = opinions
            .iter()
            .filter(|opinion| opinion.says == Stance::Supports)
            .filter_map(|opinion| opinion.node_id)
            .filter(|id| *id != node_id && self.active.contains_key(id))
            .filter(|id| {
                let opinion = opinions
                    .iter()
                    .find(|opinion| opinion.node_id == Some(*id) && opinion.says == Stance::Supports);
                opinion
                    .and_then(|opinion| opinion.server.as_ref())
                    .is_none_or(|server| servers.insert(server))
            })
            .collect();
        let active = self.active.iter().filter(|(_, active)| **active).map(|(id, _)| *id);
        let mut counted: BTreeSet<i32> = active.chain(voters.iter().copied()).collect();
        counted.insert(node_id);
        Count { named: voters.len() + 1, of: counted.len() }
    }
}

/// Decides from the answers of one round. `alone` says that it is known for certain that there is no other node; `last` that the time is
/// over.
pub fn judge(node_id: i32, opinions: &[Opinion], members: &Members, alone: bool, last: bool) -> StartVerdict {
    if opinions.iter().any(|opinion| opinion.says == Stance::Opposes) {
        return StartVerdict::Refuse;
    }
    if !members.has_others(node_id) {
        return if alone {
            StartVerdict::Start(StartReason::Alone)
        } else if last {
            StartVerdict::Unknown
        } else {
            StartVerdict::Wait
        };
    }
    let count = members.count(node_id, opinions);
    let heard = count.named > 1;
    // They confirm this node, not the server in question: while another one comes up at an address of it, that may be the one.
    let comes_up = |opinion: &Opinion| opinion.own_address && opinion.defers && !last;
    if heard && count.is_all() && !opinions.iter().any(comes_up) {
        return StartVerdict::Start(StartReason::All);
    }
    // A server that is starting up may be a newer primary. A server that responds, if only by rejecting connections, is alive, and may be
    // one.
    let in_the_way = |opinion: &Opinion| opinion.defers && (!last || opinion.says == Stance::Unclear);
    if heard && count.is_majority() && !opinions.iter().any(in_the_way) {
        return StartVerdict::Start(StartReason::Majority);
    }
    if last { StartVerdict::Unknown } else { StartVerdict::Wait }
}

/// Keeps one word of each node, the one that counts most.
pub fn strongest_opinions(opinions: Vec<Opinion>) -> Vec<Opinion> {
    let mut out: Vec<Opinion> = Vec::new();
    for opinion in opinions {
        let same =
            |other: &&mut Opinion| (other.node_id, &other.node_name) == (opinion.node_id, &opinion.node_name);
        match out.iter_mut().find(same) {
            Some(other) if other.says >= opinion.says => {}
            Some(other) => *other = opinion,
            None => out.push(opinion),
        }
    }
    // A server that was named and is a registered node counts as that node.
    let registered: BTreeSet<(String, String)> = out
        .iter()
        .filter(|opinion| opinion.node_id.is_some())
        .filter_map(|opinion| opinion.server.clone())
        .collect();
    out.retain(|opinion| {
        opinion.node_id.is_some() || opinion.server.as_ref().is_none_or(|server| !registered.contains(server))
    });
    out.sort_by_key(|opinion| (opinion.node_id.is_none(), opinion.node_id));
    out
}

/// Interprets an answer.
pub fn interpret_answer(ours: &LocalNode<'_>, peer: &PeerAnswer, all: &[PeerAnswer]) -> Opinion {
    let own_address = is_at_own_address(ours, peer);
    let name = match own_address {
        true => format!("The server at \"{}\", an address of this node,", peer.node.row.node_name),
        false => describe_peer(peer),
    };
    let mut opinion = Opinion {
        node_id: peer.registered.then_some(peer.node.row.node_id),
        node_name: peer.node.row.node_name.clone(),
        says: Stance::Unclear,
        timeline: None,
        detail: String::new(),
        defers: false,
        is_primary: false,
        own_address,
        server: None,
    };
    let server = match &peer.node.server {
        Ok(server) => server,
        Err(unavailable) => {
            opinion.detail = match unavailable.answered {
                Answered::Spoke => {
                    format!("{name} responds but does not report its role: {}", unavailable.message)
                }
                _ => format!("{name} does not respond: {}", unavailable.message),
            };
            opinion.detail = sentence(&opinion.detail);
            (opinion.says, opinion.defers) = match unavailable.answered {
                Answered::Nothing => (Stance::NoAnswer, false),
                // A host that is gone for good, with the server that this one was.
                Answered::Silent if own_address => (Stance::NoAnswer, false),
                Answered::Silent => (Stance::NoAnswer, true),
                Answered::Spoke => (Stance::Unclear, true),
            };
            return opinion;
        }
    };
    opinion.timeline = Some(server.timeline);
    opinion.server = Some((server.system_identifier.clone(), server.started_at.clone()));
    let is_ours = server.system_identifier == ours.system_identifier;
    opinion.is_primary = is_ours && !server.in_recovery;
    let knows_us = || peer.rows.as_ref().is_ok_and(|rows| rows.iter().any(|row| is_same(row, ours.row)));
    let meaning = if own_address {
        of_an_own_address(&name, server, is_ours)
    } else if is_ours {
        of_a_node(ours, peer, server, all)
    } else if peer.node.row.node_type == NodeType::Witness && (peer.rows.is_err() || knows_us()) {
        newer_promotion(ours, peer).unwrap_or_else(|| judge_named_primary(ours, peer, true))
    } else if peer.node.row.node_type == NodeType::Witness {
        Meaning::unclear(format!("{name} is a server of another cluster."))
    } else {
        // The node itself does not respond.
        opinion.timeline = None;
        Meaning::new(
            Stance::NoAnswer,
            format!(
                "A server of another cluster responds at the address of {}: the node itself does not respond.",
                lower(&name).trim_end_matches(',')
            ),
        )
    };
    Opinion { says: meaning.says, detail: meaning.detail, defers: meaning.defers, ..opinion }
}

/// What an answer means, and why.
struct Meaning {
    says: Stance,
    detail: String,
    defers: bool,
}

impl Meaning {
    fn new(says: Stance, detail: String) -> Self {
        Self { says, detail, defers: false }
    }

    fn unclear(detail: String) -> Self {
        Self::new(Stance::Unclear, detail)
    }

    /// What may change in a moment.
    fn passing(detail: String) -> Self {
        Self { defers: true, ..Self::unclear(detail) }
    }
}

fn describe_peer(peer: &PeerAnswer) -> String {
    match peer.registered {
        true => format!("Node \"{}\"", peer.node.row.node_name),
        false => format!("The server that was named, \"{}\",", peer.node.row.node_name),
    }
}

/// Says whether a server was queried because its address is one of this node: it is another server than the one in question.
fn is_at_own_address(ours: &LocalNode<'_>, peer: &PeerAnswer) -> bool {
    !peer.registered && peer.node.row.node_id == ours.row.node_id
}

/// Judges another server that has an address of this node: a copy of it, or what it was copied from.
fn of_an_own_address(name: &str, server: &ServerFacts, is_ours: bool) -> Meaning {
    match (is_ours, server.in_recovery) {
        (true, false) => Meaning::new(
            Stance::Opposes,
            format!(
                "{name} accepts writes, on timeline {}. It does not run on the local data directory, but has the same system identifier: \
                one of the two is a copy.",
                server.timeline
            ),
        ),
        (true, true) => Meaning::unclear(format!("{name} is a standby of this cluster.")),
        (false, _) => Meaning::unclear(format!("{name} is a server of another cluster.")),
    }
}

fn is_same(row: &NodeRow, ours: &NodeRow) -> bool {
    (row.node_id, &row.node_name) == (ours.node_id, &ours.node_name)
}

/// Judges a server of our own cluster.
fn of_a_node(ours: &LocalNode<'_>, peer: &PeerAnswer, server: &ServerFacts, all: &[PeerAnswer]) -> Meaning {
    let name = describe_peer(peer);
    let timeline = ours.branch.timeline;
    let against = |detail| Meaning::new(Stance::Opposes, detail);
    if !server.in_recovery {
        return against(format!("{name} accepts writes, on timeline {}.", server.timeline));
    }
    if server.promotion_requested == Some(true) {
        return against(format!(
            "A promotion of {} was requested and happens as soon as possible: file \"promote\" is in its data directory.",
            lower(&name)
        ));
    }
    if server.timeline > timeline {
        return against(format!(
            "{name} is a standby on timeline {}, but this node is on timeline {timeline}.",
            server.timeline
        ));
    }
    if let Some(newer) = newer_promotion(ours, peer) {
        return newer;
    }
    // What it has received may end in the middle of a record; what it has replayed, and is not here, is compared below.
    let reference = Branch { end: None, ..ours.branch };
    if let Relation::Forked { evidence, .. } = relation_of(&server.into(), &reference) {
        let detail =
            format!("{name} has diverged from this node. {}", evidence.sentence(&ours.row.node_name));
        return if server.timeline == timeline { against(detail) } else { Meaning::unclear(detail) };
    }
    if server.timeline == timeline
        && let (Some(theirs), Some(end)) = (server.replay_lsn, ours.end)
        && theirs > end
    {
        return against(format!(
            "{name} has replayed WAL up to {theirs}, but the WAL of this node ends at {end}."
        ));
    }
    if let Some(opinion) = of_its_upstream(ours, peer, server, all) {
        return opinion;
    }
    if peer.busy {
        return Meaning::passing(format!(
            "A command that changes roles is running on {}.",
            lower(&name).trim_end_matches(',')
        ));
    }
    if let Some(opinion) = of_an_operation(ours, peer, all) {
        return opinion;
    }
    judge_named_primary(ours, peer, server.timeline == timeline)
}

/// Looks for an operation on the current timeline whose coordinating node does not respond: it may be promoting that node, or a standby of
/// it, at this moment.
fn of_an_operation(ours: &LocalNode<'_>, peer: &PeerAnswer, all: &[PeerAnswer]) -> Option<Meaning> {
    let is_open = |operation: &&OpenOperation| {
        let coordinator = all.iter().find(|other| other.node.row.node_id == operation.node_id);
        operation.timeline == Some(ours.branch.timeline)
            && operation.node_id != ours.row.node_id
            && coordinator.is_none_or(|coordinator| coordinator.node.facts().is_none())
    };
    let open = peer.operations.iter().find(is_open)?;
    Some(Meaning::passing(format!(
        "{} records operation {} (\"{}\") as not ended, on a node that does not respond (ID {}).",
        describe_peer(peer),
        open.operation_id,
        open.command,
        open.node_id
    )))
}

fn lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn newer_promotion(ours: &LocalNode<'_>, peer: &PeerAnswer) -> Option<Meaning> {
    let newest = peer.promoted_to.filter(|newest| *newest > ours.branch.timeline)?;
    Some(Meaning::new(
        Stance::Opposes,
        format!(
            "{} knows of a promotion to timeline {newest}, but this node is on timeline {}.",
            describe_peer(peer),
            ours.branch.timeline
        ),
    ))
}

/// Examines the server that a standby streams from. It is not this node, which is down; unless the standby has not noticed that yet.
fn of_its_upstream(
    ours: &LocalNode<'_>,
    peer: &PeerAnswer,
    server: &ServerFacts,
    all: &[PeerAnswer],
) -> Option<Meaning> {
    let name = describe_peer(peer);
    let receiver = server.receiver.as_ref()?;
    let Some(status) = receiver.status.as_deref() else {
        return Some(Meaning::passing(format!(
            "{name} has a WAL receiver, but role \"{}\" lacks the privilege to see its sender: GRANT pg_monitor.",
            server.role
        )));
    };
    if status != "streaming" {
        return None;
    }
    let own = |row: &NodeRow| row.node_id == ours.row.node_id && streams_by(server, &row.conninfo);
    let registered = || peer.rows.as_ref().is_ok_and(|rows| rows.iter().any(own));
    if own(ours.row) {
        return None;
    }
    let others = || all.iter().filter(|other| streams_by(server, &other.node.row.conninfo));
    // It reports its role itself.
    if others().any(|other| other.node.facts().is_some()) {
        return None;
    }
    let host = receiver.sender_host.as_deref().unwrap_or("?");
    let port = receiver.sender_port.unwrap_or_default();
    // A standby that streams from there confirms the server there, not one elsewhere.
    if registered() {
        return Some(Meaning::passing(format!(
            "{name} streams from host \"{host}\", port {port}, which is registered for this node, but conninfo leads elsewhere."
        )));
    }
    let Some(from) = others().next() else {
        return Some(Meaning::passing(format!(
            "{name} streams from host \"{host}\", port {port}, which is not a registered node."
        )));
    };
    let from = &from.node.row;
    let cascades = peer.rows.as_ref().is_ok_and(|rows| {
        let upstream = rows.iter().find(|row| row.node_id == peer.node.row.node_id);
        let upstream = upstream.and_then(|row| row.upstream_node_id);
        let is_standby = |row: &NodeRow| row.node_id == from.node_id && row.node_type == NodeType::Standby;
        upstream == Some(from.node_id) && rows.iter().any(is_standby)
    });
    let detail =
        format!("{name} streams from node \"{}\", which does not respond from here.", from.node_name);
    Some(if cascades { Meaning::passing(detail) } else { Meaning::new(Stance::Opposes, detail) })
}

/// Reads the primary that the metadata names. `is_current` says that they are not older than our timeline, as far as is known.
fn judge_named_primary(ours: &LocalNode<'_>, peer: &PeerAnswer, is_current: bool) -> Meaning {
    let name = describe_peer(peer);
    let rows = match &peer.rows {
        Ok(rows) => rows,
        Err(why) => {
            return Meaning::passing(sentence(&format!(
                "the metadata of {} cannot be read: {why}",
                lower(&name).trim_end_matches(',')
            )));
        }
    };
    let Some(known) = rows.iter().find(|row| is_same(row, ours.row)) else {
        return Meaning::unclear(format!(
            "{name} has no record of node {} \"{}\".",
            ours.row.node_id, ours.row.node_name
        ));
    };
    let primaries: Vec<&NodeRow> =
        rows.iter().filter(|row| row.active && row.node_type == NodeType::Primary).collect();
    match primaries.as_slice() {
        [one] if is_same(one, ours.row) => {
            let place = |conninfo: &str| Conninfo::parse(conninfo).ok().map(|parsed| parsed.destination());
            let at = place(&known.conninfo).filter(|at| Some(at) != place(&ours.row.conninfo).as_ref());
            let at = at.map(|at| format!(", at \"{at}\"")).unwrap_or_default();
            Meaning::new(Stance::Supports, format!("{name} confirms this node as the primary{at}."))
        }
        // There was no promotion before timeline 1, so this was recorded after we were the primary, or we never were.
        [one] if is_current && ours.branch.timeline == TimelineId(1) => {
            Meaning::new(Stance::Opposes, format!("{name} names node \"{}\" as the primary.", one.node_name))
        }
        [one] => Meaning::unclear(format!(
            "{name} names node \"{}\" as the primary, which may be out of date.",
            one.node_name
        )),
        [] => Meaning::unclear(format!("{name} names no primary.")),
        _ => Meaning::unclear(format!("{name} names several primaries.")),
    }
}
