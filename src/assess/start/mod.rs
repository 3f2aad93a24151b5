//! May a server that is registered as the primary start, or stay, as one? What the other nodes say of it, and what follows. Pure.
//!
//! Everything that could start such a server asks it, immediately before the effect, with who asks: see [`Asker`] and [`decide`]. Whether a
//! standby may become the primary is judged by [`crate::plan::promote`], under the locks of all nodes that answer; also when an operation is
//! resumed.
//!
//! One node that knows of a newer primary is enough to refuse: such a thing is not forgotten. That nobody knows of one proves nothing, for a
//! node that was cut off has not heard of it. So a majority must name this node, as only one of two nodes can have one.

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
pub mod seen;

#[cfg(test)]
mod tests;

pub use self::decide::{Asker, Heard, Judgement, May, decide};

/// The node whose server is to be, to become or to stay a primary.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// Its row as the configuration has it.
    pub row: &'a NodeRow,
    /// Whose cluster its data are.
    pub system_identifier: &'a str,
    /// What its files say of its past.
    pub branch: Branch<'a>,
    /// Where its WAL ends, if that was looked for and can be told.
    pub end: Option<Lsn>,
}

/// What one server was asked and has said.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The node, and what its server says of itself.
    pub node: NodeFacts,
    /// It is asked as a registered node; else it was only named by somebody, and has no vote.
    pub registered: bool,
    /// Its copy of the metadata, or why there is none.
    pub rows: Result<Vec<NodeRow>, String>,
    /// The newest timeline that its copy of the metadata records a promotion to.
    pub promoted_to: Option<TimelineId>,
    /// A command that changes roles, and not the one that asks, holds its lock.
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
pub enum Says {
    /// It does not answer.
    NoAnswer,
    /// It answers, and that tells nothing.
    Unclear,
    /// It knows this node as the primary, and nothing newer; where a standby is to become the primary, only that it knows nothing newer.
    For,
    /// It is, follows or knows something newer than this node has.
    Against,
}

/// An answer and what it means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Word {
    /// The node; None for a server that is not registered.
    pub node_id: Option<i32>,
    /// Its name.
    pub node_name: String,
    /// What it means.
    pub says: Says,
    /// Its timeline.
    pub timeline: Option<TimelineId>,
    /// Why, as a whole sentence.
    pub detail: String,
    /// It may be alive, and more may be heard of it in a moment: a majority without it waits.
    #[serde(skip)]
    pub defers: bool,
    /// It takes writes, in this cluster.
    #[serde(skip)]
    pub is_primary: bool,
    /// It is about an address of this node itself, where another server may be: that one is no node, and has no vote.
    #[serde(skip)]
    pub own_address: bool,
    /// Tells one running server from another.
    #[serde(skip)]
    pub server: Option<(String, String)>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start.
    Start(Why),
    /// Something newer is known: do not start.
    Refuse,
    /// Ask again.
    Wait,
    /// The time is over, and it cannot be told.
    Unknown,
}

/// Why a server may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no other node.
    Alone,
    /// All registered nodes name it.
    All,
    /// A majority names it, and nobody anything newer.
    Majority,
}

/// How many nodes name this node, it included, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that name it.
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

/// Who is registered, after everybody who has said something about it.
///
/// Nobody knows whose copy is the newest, so a node counts as soon as one copy has it as active: that asks for more votes, never for fewer.
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
    /// A node that was taken out, an old primary for instance, counts on both sides or not at all.
    pub fn count(&self, node_id: i32, words: &[Word]) -> Count {
        let mut servers = BTreeSet::new();
        let voters: BTreeSet<i32> = words
            .iter()
            .filter(|word| word.says == Says::For)
            .filter_map(|word| word.node_id)
            .filter(|id| *id != node_id && self.active.contains_key(id))
            .filter(|id| {
                let word = words.iter().find(|word| word.node_id == Some(*id) && word.says == Says::For);
                word.and_then(|word| word.server.as_ref()).is_none_or(|server| servers.insert(server))
            })
            .collect();
        let active = self.active.iter().filter(|(_, active)| **active).map(|(id, _)| *id);
        let mut counted: BTreeSet<i32> = active.chain(voters.iter().copied()).collect();
        counted.insert(node_id);
        Count { named: voters.len() + 1, of: counted.len() }
    }
}

/// Decides from what was heard in one round. `alone` says that it is known for certain that there is no other node; `last` that the time is
/// over.
pub fn judge(node_id: i32, words: &[Word], members: &Members, alone: bool, last: bool) -> Verdict {
    if words.iter().any(|word| word.says == Says::Against) {
        return Verdict::Refuse;
    }
    if !members.has_others(node_id) {
        return if alone {
            Verdict::Start(Why::Alone)
        } else if last {
            Verdict::Unknown
        } else {
            Verdict::Wait
        };
    }
    let count = members.count(node_id, words);
    let heard = count.named > 1;
    // They name this node, and not the server that is asked about: while another one comes up at an address of it, that may be the one.
    let comes_up = |word: &Word| word.own_address && word.defers && !last;
    if heard && count.is_all() && !words.iter().any(comes_up) {
        return Verdict::Start(Why::All);
    }
    // What is coming up just now may be a newer primary. What answers, if only that it lets nobody in, is alive, and may be one for good.
    let in_the_way = |word: &Word| word.defers && (!last || word.says == Says::Unclear);
    if heard && count.is_majority() && !words.iter().any(in_the_way) {
        return Verdict::Start(Why::Majority);
    }
    if last { Verdict::Unknown } else { Verdict::Wait }
}

/// Keeps one word of each node, the one that counts most.
pub fn strongest(words: Vec<Word>) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    for word in words {
        let same = |other: &&mut Word| (other.node_id, &other.node_name) == (word.node_id, &word.node_name);
        match out.iter_mut().find(same) {
            Some(other) if other.says >= word.says => {}
            Some(other) => *other = word,
            None => out.push(word),
        }
    }
    // A server that was named and is a registered node has said everything as that.
    let registered: BTreeSet<(String, String)> =
        out.iter().filter(|word| word.node_id.is_some()).filter_map(|word| word.server.clone()).collect();
    out.retain(|word| {
        word.node_id.is_some() || word.server.as_ref().is_none_or(|server| !registered.contains(server))
    });
    out.sort_by_key(|word| (word.node_id.is_none(), word.node_id));
    out
}

/// Says what an answer means.
pub fn hear(ours: &Ours<'_>, voice: &Voice, all: &[Voice]) -> Word {
    let own_address = is_at_own_address(ours, voice);
    let name = match own_address {
        true => format!("The server at \"{}\", an address of this node,", voice.node.row.node_name),
        false => title(voice),
    };
    let mut word = Word {
        node_id: voice.registered.then_some(voice.node.row.node_id),
        node_name: voice.node.row.node_name.clone(),
        says: Says::Unclear,
        timeline: None,
        detail: String::new(),
        defers: false,
        is_primary: false,
        own_address,
        server: None,
    };
    let server = match &voice.node.server {
        Ok(server) => server,
        Err(silence) => {
            word.detail = match silence.answered {
                Answered::Spoke => {
                    format!("{name} answers, and does not say what it is: {}", silence.message)
                }
                _ => format!("{name} does not answer: {}", silence.message),
            };
            word.detail = sentence(&word.detail);
            (word.says, word.defers) = match silence.answered {
                Answered::Nothing => (Says::NoAnswer, false),
                // A host that is gone for good, with the server that this one was.
                Answered::Silent if own_address => (Says::NoAnswer, false),
                Answered::Silent => (Says::NoAnswer, true),
                Answered::Spoke => (Says::Unclear, true),
            };
            return word;
        }
    };
    word.timeline = Some(server.timeline);
    word.server = Some((server.system_identifier.clone(), server.started_at.clone()));
    let is_ours = server.system_identifier == ours.system_identifier;
    word.is_primary = is_ours && !server.in_recovery;
    let knows_us = || voice.rows.as_ref().is_ok_and(|rows| rows.iter().any(|row| is_same(row, ours.row)));
    let opinion = if own_address {
        of_an_own_address(&name, server, is_ours)
    } else if is_ours {
        of_a_node(ours, voice, server, all)
    } else if voice.node.row.node_type == NodeType::Witness && (voice.rows.is_err() || knows_us()) {
        newer_promotion(ours, voice).unwrap_or_else(|| names(ours, voice, true))
    } else if voice.node.row.node_type == NodeType::Witness {
        Opinion::unclear(format!("{name} is a server of another cluster."))
    } else {
        // The node itself is not heard.
        word.timeline = None;
        Opinion::new(
            Says::NoAnswer,
            format!("{name} is a server of another cluster: it does not answer itself."),
        )
    };
    Word { says: opinion.says, detail: opinion.detail, defers: opinion.defers, ..word }
}

struct Opinion {
    says: Says,
    detail: String,
    defers: bool,
}

impl Opinion {
    fn new(says: Says, detail: String) -> Self {
        Self { says, detail, defers: false }
    }

    fn unclear(detail: String) -> Self {
        Self::new(Says::Unclear, detail)
    }

    /// What may look otherwise in a moment.
    fn passing(detail: String) -> Self {
        Self { defers: true, ..Self::unclear(detail) }
    }
}

fn title(voice: &Voice) -> String {
    match voice.registered {
        true => format!("Node \"{}\"", voice.node.row.node_name),
        false => format!("The server that was named, \"{}\",", voice.node.row.node_name),
    }
}

/// Says whether a server was asked because its address is one of this node: it is another one than the one that is asked about.
fn is_at_own_address(ours: &Ours<'_>, voice: &Voice) -> bool {
    !voice.registered && voice.node.row.node_id == ours.row.node_id
}

/// Judges another server that has an address of this node: a copy of it, or what it was copied from.
fn of_an_own_address(name: &str, server: &ServerFacts, is_ours: bool) -> Opinion {
    match (is_ours, server.in_recovery) {
        (true, false) => Opinion::new(
            Says::Against,
            format!(
                "{name} takes writes, on timeline {}. It does not run on the local data directory, and has the same system identifier: \
                 one of the two is a copy.",
                server.timeline
            ),
        ),
        (true, true) => Opinion::unclear(format!("{name} is a standby of this cluster.")),
        (false, _) => Opinion::unclear(format!("{name} is a server of another cluster.")),
    }
}

fn is_same(row: &NodeRow, ours: &NodeRow) -> bool {
    (row.node_id, &row.node_name) == (ours.node_id, &ours.node_name)
}

/// Judges a server of our own cluster.
fn of_a_node(ours: &Ours<'_>, voice: &Voice, server: &ServerFacts, all: &[Voice]) -> Opinion {
    let name = title(voice);
    let timeline = ours.branch.timeline;
    let against = |detail| Opinion::new(Says::Against, detail);
    if !server.in_recovery {
        return against(format!("{name} takes writes, on timeline {}.", server.timeline));
    }
    if server.promotion_requested == Some(true) {
        return against(format!(
            "{name} was asked to become the primary, and does so as soon as it can: file \"promote\" is in its data directory."
        ));
    }
    if server.timeline > timeline {
        return against(format!(
            "{name} is a standby on timeline {}, and this node is on timeline {timeline}.",
            server.timeline
        ));
    }
    if let Some(newer) = newer_promotion(ours, voice) {
        return newer;
    }
    // What it has received may end in the middle of a record; what it has replayed, and is not here, is compared below.
    let reference = Branch { end: None, ..ours.branch };
    if let Relation::Forked { evidence, .. } = relation_of(&server.into(), &reference) {
        let detail = format!("The history of {} is not that of this node. {evidence}", lower(&name));
        return if server.timeline == timeline { against(detail) } else { Opinion::unclear(detail) };
    }
    if server.timeline == timeline
        && let (Some(theirs), Some(end)) = (server.replay_lsn, ours.end)
        && theirs > end
    {
        return against(format!(
            "{name} has replayed WAL up to {theirs}, and that of this node ends at {end}."
        ));
    }
    if let Some(opinion) = of_its_upstream(ours, voice, server, all) {
        return opinion;
    }
    if voice.busy {
        return Opinion::passing(format!("A command that changes roles is at work on {}.", lower(&name)));
    }
    if let Some(opinion) = of_an_operation(ours, voice, all) {
        return opinion;
    }
    names(ours, voice, server.timeline == timeline)
}

/// Looks for an operation on the present timeline that another node coordinates, and that cannot be asked about: it may be making that
/// node, or one that it leads, the primary just now.
fn of_an_operation(ours: &Ours<'_>, voice: &Voice, all: &[Voice]) -> Option<Opinion> {
    let is_open = |operation: &&OpenOperation| {
        let coordinator = all.iter().find(|other| other.node.row.node_id == operation.node_id);
        operation.timeline == Some(ours.branch.timeline)
            && operation.node_id != ours.row.node_id
            && coordinator.is_none_or(|coordinator| coordinator.node.facts().is_none())
    };
    let open = voice.operations.iter().find(is_open)?;
    Some(Opinion::passing(format!(
        "{} has operation {} (\"{}\") as begun and not ended, on a node that does not answer (ID {}).",
        title(voice),
        open.operation_id,
        open.command,
        open.node_id
    )))
}

fn lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn newer_promotion(ours: &Ours<'_>, voice: &Voice) -> Option<Opinion> {
    let newest = voice.promoted_to.filter(|newest| *newest > ours.branch.timeline)?;
    Some(Opinion::new(
        Says::Against,
        format!(
            "{} knows of a promotion to timeline {newest}, and this node is on timeline {}.",
            title(voice),
            ours.branch.timeline
        ),
    ))
}

/// Looks at whom a standby streams from. It is not this node, which does not run; unless the standby has not noticed that yet.
fn of_its_upstream(ours: &Ours<'_>, voice: &Voice, server: &ServerFacts, all: &[Voice]) -> Option<Opinion> {
    let name = title(voice);
    let receiver = server.receiver.as_ref()?;
    let Some(status) = receiver.status.as_deref() else {
        return Some(Opinion::passing(format!(
            "{name} has a WAL receiver, and role \"{}\" may not see from whom: GRANT pg_monitor.",
            server.role
        )));
    };
    if status != "streaming" {
        return None;
    }
    let own = |row: &NodeRow| row.node_id == ours.row.node_id && streams_by(server, &row.conninfo);
    let registered = || voice.rows.as_ref().is_ok_and(|rows| rows.iter().any(own));
    if own(ours.row) {
        return None;
    }
    let others = || all.iter().filter(|other| streams_by(server, &other.node.row.conninfo));
    // It says itself what it is.
    if others().any(|other| other.node.facts().is_some()) {
        return None;
    }
    let host = receiver.sender_host.as_deref().unwrap_or("?");
    let port = receiver.sender_port.unwrap_or_default();
    // Who streams from there names whoever is there, and not a server elsewhere.
    if registered() {
        return Some(Opinion::passing(format!(
            "{name} streams from host \"{host}\", port {port}, which is registered for this node, and conninfo leads elsewhere."
        )));
    }
    let Some(from) = others().next() else {
        return Some(Opinion::passing(format!(
            "{name} streams from host \"{host}\", port {port}, which is none of the registered nodes."
        )));
    };
    let from = &from.node.row;
    let cascades = voice.rows.as_ref().is_ok_and(|rows| {
        let upstream = rows.iter().find(|row| row.node_id == voice.node.row.node_id);
        let upstream = upstream.and_then(|row| row.upstream_node_id);
        let is_standby = |row: &NodeRow| row.node_id == from.node_id && row.node_type == NodeType::Standby;
        upstream == Some(from.node_id) && rows.iter().any(is_standby)
    });
    let detail = format!("{name} streams from node \"{}\", which does not answer here.", from.node_name);
    Some(if cascades { Opinion::passing(detail) } else { Opinion::new(Says::Against, detail) })
}

/// Reads whom the metadata names. `is_current` says that they are not older than our timeline, as far as can be told.
fn names(ours: &Ours<'_>, voice: &Voice, is_current: bool) -> Opinion {
    let name = title(voice);
    let rows = match &voice.rows {
        Ok(rows) => rows,
        Err(why) => {
            return Opinion::passing(sentence(&format!("{name} does not show its metadata: {why}")));
        }
    };
    let Some(known) = rows.iter().find(|row| is_same(row, ours.row)) else {
        return Opinion::unclear(format!(
            "{name} knows no node {} \"{}\".",
            ours.row.node_id, ours.row.node_name
        ));
    };
    let primaries: Vec<&NodeRow> =
        rows.iter().filter(|row| row.active && row.node_type == NodeType::Primary).collect();
    match primaries.as_slice() {
        [one] if is_same(one, ours.row) => {
            let place = |conninfo: &str| Conninfo::parse(conninfo).ok().map(|parsed| parsed.place());
            let at = place(&known.conninfo).filter(|at| Some(at) != place(&ours.row.conninfo).as_ref());
            let at = at.map(|at| format!(", at \"{at}\"")).unwrap_or_default();
            Opinion::new(Says::For, format!("{name} names this node as the primary{at}."))
        }
        // Nobody was promoted before timeline 1, so this was recorded after we were the primary, or we never were.
        [one] if is_current && ours.branch.timeline == TimelineId(1) => {
            Opinion::new(Says::Against, format!("{name} names node \"{}\" as the primary.", one.node_name))
        }
        [one] => Opinion::unclear(format!(
            "{name} names node \"{}\" as the primary, which may be old.",
            one.node_name
        )),
        [] => Opinion::unclear(format!("{name} names no primary.")),
        _ => Opinion::unclear(format!("{name} names several primaries.")),
    }
}
