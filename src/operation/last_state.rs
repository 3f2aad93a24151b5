//! What is said last of a run that failed: which node is the primary, and as what a stopped server would start, asked at that moment.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::error::sentence;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::operation::outcome::World;
use crate::pg::endpoint::Endpoint;
use crate::plan::{FileOp, Op, Plan, Probe};

/// How long the nodes are asked in all.
pub(crate) const ASKING: Duration = Duration::from_secs(3);

/// The same for a user who has pressed Ctrl-C again, and waits for the end.
pub(crate) const HASTE: Duration = Duration::from_millis(500);

/// What the nodes have answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastState {
    servers: Vec<Server>,
    directories: Vec<Directory>,
}

/// What a server that was asked is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    /// `node "node1"`.
    name: String,
    /// It accepts writes, or it is in recovery; None where it has not answered.
    is_primary: Option<bool>,
}

/// What a data directory into which the operation writes `standby.signal` is like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Directory {
    /// `node "node1"`, or `"/data"` for the own one.
    name: String,
    /// It is another node's.
    elsewhere: bool,
    running: Option<Running>,
    /// `standby.signal` is there.
    signal: Option<bool>,
    /// pg_rewind has begun, and not completed.
    half_rewound: bool,
}

/// As what a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Down,
    Standby,
    /// By its control file no standby; it may be on its way down.
    Other,
}

impl LastState {
    /// Asks the nodes with which the run had to do, all at once. Ends at a signal, and when the time is over: what has not answered by then
    /// is not known.
    pub(crate) async fn ask<W: World>(world: &W, plan: &Plan, within: Duration) -> Self {
        let servers = data_nodes(plan);
        let directories = directories(plan);
        let mut probes: Vec<Probe> = Vec::new();
        for on in &servers {
            probes.push(Probe::Accepts { on: (*on).clone(), in_recovery: Some(false) });
        }
        let rewinds = plan.steps().any(|step| matches!(step.op, Op::Rewind { .. }));
        for (at, data_directory) in &directories {
            let data_directory = || data_directory.clone();
            let there = |probe| match at {
                Some(node_id) => Probe::At { node_id: *node_id, probe: Box::new(probe) },
                None => probe,
            };
            probes.push(there(Probe::Stopped { data_directory: data_directory() }));
            probes.push(there(Probe::Runs { data_directory: data_directory(), in_recovery: true }));
            probes.push(there(Probe::Exists { path: data_directory().join(STANDBY_SIGNAL) }));
            if rewinds {
                probes.push(there(Probe::Rewound { data_directory: data_directory() }));
            }
        }
        let answers = answers(world, &probes, within).await;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().flatten();
        let servers =
            servers.into_iter().map(|on| Server { name: on.name.clone(), is_primary: next() }).collect();
        let directories = directories.into_iter().map(|(at, data_directory)| {
            let running = match (next(), next()) {
                (Some(true), _) => Some(Running::Down),
                (_, Some(true)) => Some(Running::Standby),
                (Some(false), Some(false)) => Some(Running::Other),
                _ => None,
            };
            Directory {
                name: match at {
                    Some(id) => named(plan, id),
                    None => format!("\"{}\"", data_directory.display()),
                },
                elsewhere: at.is_some(),
                running,
                signal: next(),
                half_rewound: rewinds && next() == Some(false),
            }
        });
        let directories = directories.collect();
        Self { servers, directories }
    }

    /// Says whether a node has answered that accepts writes.
    pub(crate) fn has_primary(&self) -> bool {
        self.servers.iter().any(|server| server.is_primary == Some(true))
    }

    /// Returns what is known, in whole sentences; `start_is_said`: it was said that the own server starts as a standby only.
    pub(crate) fn sentences(&self, start_is_said: bool) -> Vec<String> {
        let mut out = self.roles();
        out.extend(self.directories.iter().filter_map(|directory| self.start(directory, start_is_said)));
        out
    }

    fn named(&self, is_primary: Option<bool>) -> Vec<&str> {
        let of = self.servers.iter().filter(|server| server.is_primary == is_primary);
        of.map(|server| server.name.as_str()).collect()
    }

    fn roles(&self) -> Vec<String> {
        let (primaries, standbys) = (self.named(Some(true)), self.named(Some(false)));
        // Of one whose host has answered more is said below.
        let described = |name: &str| {
            self.directories.iter().any(|directory| directory.name == name && directory.running.is_some())
        };
        let mut unknown = self.named(None);
        unknown.retain(|name| !described(name));
        let not_known = (!unknown.is_empty()).then(|| {
            let what = if unknown.len() == 1 { "the role of" } else { "the roles of" };
            let verb = if unknown.len() == 1 { "is" } else { "are" };
            format!("{what} {} {verb} not known", listed(&unknown))
        });
        match primaries.as_slice() {
            [] => {
                let are = if standbys.len() == 1 { "is a standby" } else { "are standbys" };
                let mut why: Vec<String> = Vec::new();
                if !standbys.is_empty() {
                    why.push(format!("{} {are}", listed(&standbys)));
                }
                why.extend(not_known);
                let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
                vec![format!("No node is known to accept writes{why}.")]
            }
            [one] => {
                let mut out = vec![sentence(&format!("{one} is the primary and accepts writes"))];
                out.extend(not_known.map(|text| sentence(&text)));
                out
            }
            several => {
                let mut out = vec![sentence(&format!("split brain: {} accept writes", listed(several)))];
                out.extend(not_known.map(|text| sentence(&text)));
                out
            }
        }
    }

    /// Says as what the server of a data directory runs, or would start.
    fn start(&self, directory: &Directory, start_is_said: bool) -> Option<String> {
        let Directory { name, elsewhere, running, signal, half_rewound } = directory;
        let server =
            if *elsewhere { format!("the server of {name}") } else { format!("the server on {name}") };
        let answered = self.servers.iter().find(|server| server.name == *name).and_then(|own| own.is_primary);
        let because = "standby.signal is in its data directory";
        Some(sentence(&match running {
            Some(Running::Down) if *half_rewound => {
                format!(
                    "{server} is down and cannot start: pg_rewind has not completed on its data directory"
                )
            }
            Some(Running::Down) => match signal {
                Some(true) if start_is_said && !elsewhere => format!("{server} is down"),
                Some(true) => format!("{server} is down and can start only as a standby: {because}"),
                Some(false) if *elsewhere => format!("{server} is down and would start as a primary"),
                _ => format!("{server} is down"),
            },
            Some(Running::Standby) => format!("{server} is running as a standby"),
            Some(Running::Other) if answered == Some(true) => match signal {
                Some(true) => format!("{server} would next start as a standby only: {because}"),
                _ => return None,
            },
            Some(Running::Other) => format!("{server} is running, but is not known to accept writes"),
            None if answered.is_some() => return None,
            None => format!("it is not known whether {server} is running, or as what it would start"),
        }))
    }
}

/// Asks all questions at once; None for what has no answer in time.
async fn answers<W: World>(world: &W, probes: &[Probe], within: Duration) -> Vec<Option<bool>> {
    let answers: Vec<Cell<Option<bool>>> = probes.iter().map(|_| Cell::default()).collect();
    let asking = join_all(probes.iter().zip(&answers).map(async |(probe, answer)| {
        answer.set(world.holds(probe).await.ok());
    }));
    tokio::select! {
        biased;
        _ = world.interrupted() => {}
        () = sleep(within) => {}
        _ = asking => {}
    }
    answers.into_iter().map(Cell::into_inner).collect()
}

/// Returns the data nodes that may be primaries: the old one and those of the last look before a promotion; without one the primary, on
/// which the operation is recorded. A witness is a primary of its own, and is none of these.
fn data_nodes(plan: &Plan) -> Vec<&Endpoint> {
    let mut nodes: Vec<&Endpoint> = old_primary(plan).into_iter().collect();
    for step in plan.steps() {
        if let Op::Promote { on, look, .. } = &step.op {
            nodes.push(on);
            nodes.extend(look.iter().flat_map(|look| &look.others).map(|(_, other)| other));
        }
    }
    if nodes.is_empty() {
        // Neither a promotion nor a switchover.
        nodes.extend(&plan.announce_on);
    }
    let mut out: Vec<&Endpoint> = Vec::new();
    for node in nodes {
        if out.iter().all(|known| known.name != node.name) {
            out.push(node);
        }
    }
    out
}

/// Returns the primary that a rollback brings back.
fn old_primary(plan: &Plan) -> Option<&Endpoint> {
    match &plan.regained.as_ref()?.probe {
        Probe::Accepts { on, .. } => Some(on),
        _ => None,
    }
}

/// Returns the data directories into which the operation writes `standby.signal`, and on the host of which node they are.
fn directories(plan: &Plan) -> Vec<(Option<i32>, PathBuf)> {
    let mut out: Vec<(Option<i32>, PathBuf)> = Vec::new();
    for step in plan.steps() {
        let path = match &step.op {
            Op::File(FileOp::WriteFile { path, .. }) => path.clone(),
            Op::KeepDown(keep) => keep.as_standby.signal(),
            _ => continue,
        };
        let Some(data_directory) = path.parent().filter(|_| path.ends_with(STANDBY_SIGNAL)) else { continue };
        let found = (step.at, data_directory.to_path_buf());
        if !out.contains(&found) {
            out.push(found);
        }
    }
    out
}

/// Names a node as its server is named.
fn named(plan: &Plan, node_id: i32) -> String {
    let mut looks = plan.steps().filter_map(|step| match &step.op {
        Op::Promote { look, .. } => look.as_ref(),
        _ => None,
    });
    let seen = looks.find_map(|look| look.others.iter().find(|(id, _)| *id == node_id));
    let origin = plan.origin.as_ref().filter(|origin| origin.primary == Some(node_id));
    if let Some(on) = seen.map(|(_, on)| on).or(origin.and(old_primary(plan))) {
        return on.name.clone();
    }
    let far_end = plan.far_ends.iter().find(|far_end| far_end.node_id == node_id);
    far_end.map_or_else(|| format!("node {node_id}"), |far_end| format!("node \"{}\"", far_end.node_name))
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_string(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
