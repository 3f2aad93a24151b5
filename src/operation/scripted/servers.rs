//! A model of a cluster of three servers, in which the plans of the program run.
//!
//! Node 2 is where the commands are typed. What a step does is read from its [`Op`], and what a question asks from its [`Probe`], so that a
//! plan that leaves a rule out leaves it out here, too. What must never happen is looked for after every effect and every change: two
//! primaries; a primary that is created while a newer timeline exists; and WAL that another standby has and the new primary has not, unless
//! the command that makes it one was given `--accept-data-loss` itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;

use super::{Model, ScriptedWorld};
use crate::error::{Error, Exit};
use crate::facts::cluster::{ClusterFacts, NodeFacts, Unavailable};
use crate::facts::server::{Receiver, Sender, ServerFacts};
use crate::pg::endpoint::Endpoint;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::plan::promote::PromoteOptions;
use crate::plan::{FileOp, FinalCheck, FinalCheckFacts, Op, Probe, SignalRequest, Standby, Step};
use crate::registry::{NodeRow, NodeType};

/// The node where the commands are typed.
pub(crate) const OWN: i32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Primary,
    Standby,
    /// Down, and cleanly so if it was stopped.
    Down,
    /// A primary that takes connections and says nothing, and may wake up.
    Hung,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) state: State,
    /// `standby.signal` is in its data directory.
    pub(crate) signal: bool,
    /// What that file says, if a promotion has written it.
    pub(crate) signal_is_of: Option<String>,
    pub(crate) timeline: u32,
    /// Where its WAL ends.
    pub(crate) wal: u64,
    /// Whom it follows as a standby.
    follows: i32,
    /// Its receiver does not come through any more.
    cut_off: bool,
    /// How often it was started.
    starts: u32,
}

/// What others do to the cluster meanwhile, as far as their own pgbaton lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Node 3 becomes the primary, unless there is one: its operator sees one that lives, and is refused.
    ThirdPrimary,
    /// Node 3 became the primary and is a standby again: what is left of it is its timeline.
    NewerTimeline,
    /// The server of node 1 is started by hand, or by what supervises it: as what `standby.signal` says.
    PrimaryBack,
    /// Node 3 gets WAL of node 1 that node 2 does not get: from the primary while it lives, else from an archive.
    SiblingAhead,
}

pub(crate) const CHANGES: [Change; 4] =
    [Change::ThirdPrimary, Change::NewerTimeline, Change::PrimaryBack, Change::SiblingAhead];

pub(crate) struct Servers {
    nodes: RefCell<[Server; 3]>,
    /// What an operation has made for itself and takes back: slots, pauses.
    pub(crate) own: RefCell<BTreeSet<String>>,
    /// The primary by the metadata.
    recorded: Cell<i32>,
    /// The consents of the command that runs.
    pub(crate) today: Cell<PromoteOptions>,
    violations: RefCell<Vec<String>>,
}

impl ScriptedWorld<Servers> {
    /// Node 1 is the primary of nodes 2 and 3, and all is well.
    pub(crate) fn healthy() -> Self {
        let server = |state, follows| Server {
            state,
            signal: state == State::Standby,
            signal_is_of: None,
            timeline: 1,
            wal: 0x500,
            follows,
            cut_off: false,
            starts: 1,
        };
        let nodes = [server(State::Primary, 0), server(State::Standby, 1), server(State::Standby, 1)];
        Self::of(Servers {
            nodes: RefCell::new(nodes),
            own: RefCell::default(),
            recorded: Cell::new(1),
            today: Cell::default(),
            violations: RefCell::default(),
        })
    }

    /// Node 1 has crashed, or hangs, and had written more than any standby has received.
    pub(crate) fn without_primary(state: State) -> Self {
        let world = Self::healthy();
        world.with(1, |server| {
            server.state = state;
            server.wal += 0x40;
        });
        world
    }
}

impl Servers {
    pub(crate) fn server(&self, id: i32) -> Server {
        self.nodes.borrow()[place(id)].clone()
    }

    pub(crate) fn with(&self, id: i32, change: impl FnOnce(&mut Server)) {
        change(&mut self.nodes.borrow_mut()[place(id)]);
    }

    fn is(&self, id: i32, state: State) -> bool {
        self.server(id).state == state
    }

    pub(crate) fn primaries(&self) -> Vec<i32> {
        (1..=3).filter(|id| self.is(*id, State::Primary)).collect()
    }

    /// The primary by the metadata.
    pub(crate) fn recorded(&self) -> i32 {
        self.recorded.get()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }

    fn violated(&self, what: String) {
        self.violations.borrow_mut().push(what);
    }

    /// Starts a server as what lies in its data directory says.
    fn start(&self, id: i32) {
        self.with(id, |server| {
            server.state = if server.signal { State::Standby } else { State::Primary };
            server.starts += 1;
        });
        if self.is(id, State::Primary) {
            self.stays_newest(id);
        }
    }

    /// Creating a primary loses no timeline.
    fn stays_newest(&self, id: i32) {
        let ours = self.server(id).timeline;
        let newer = (1..=3).find(|other| self.server(*other).timeline > ours);
        if let Some(other) = newer {
            self.violated(format!("node {id} is made a primary although node {other} has a newer timeline"));
        }
    }

    fn promote(&self, id: i32) {
        self.with(id, |server| {
            server.state = State::Primary;
            server.signal = false;
            server.timeline += 1;
        });
    }

    /// What the promotion of node 2 takes from the others, compared with what may be taken from them today.
    fn loses(&self) {
        let (own, today) = (self.server(OWN), self.today.get());
        for id in [1, 3] {
            let other = self.server(id);
            let more = (other.timeline, other.wal) > (own.timeline, own.wal);
            if other.state == State::Standby && more && !today.accept_data_loss {
                self.violated(format!("WAL of node {id} is lost without consent"));
            }
            if other.state == State::Hung && !today.force {
                self.violated(format!("node {id} hangs, and may be a primary, and the user was not asked"));
            }
        }
    }

    /// Primaries write, and their standbys receive it; then the rules are checked.
    fn goes_on(&self, after: &str) {
        for id in self.primaries() {
            self.with(id, |server| server.wal += 8);
        }
        for id in 1..=3 {
            let own = self.server(id);
            let up = self.nodes.borrow().get(place(own.follows)).cloned();
            let Some(up) = up.filter(|up| up.state == State::Primary && up.timeline >= own.timeline) else {
                continue;
            };
            if own.state == State::Standby && !own.cut_off {
                self.with(id, |server| (server.timeline, server.wal) = (up.timeline, up.wal));
            }
        }
        let primaries = self.primaries();
        if primaries.len() > 1 {
            self.violated(format!("nodes {primaries:?} are primaries after {after}"));
        }
    }

    /// The cluster as a command sees it.
    pub(crate) fn cluster(&self) -> ClusterFacts {
        let nodes = (1..=3).map(|id| NodeFacts { row: self.row(id), server: self.facts(id) });
        ClusterFacts { nodes: nodes.collect(), ..ClusterFacts::default() }
    }

    fn row(&self, id: i32) -> NodeRow {
        let primary = self.recorded.get();
        let node_type = if id == primary { NodeType::Primary } else { NodeType::Standby };
        NodeRow { upstream_node_id: (id != primary).then_some(primary), ..NodeRow::example(id, node_type) }
    }

    fn facts(&self, id: i32) -> Result<ServerFacts, Unavailable> {
        let server = self.server(id);
        let silence = |answered| Unavailable::new(answered, "no answer");
        let in_recovery = match server.state {
            State::Down => return Err(silence(Answered::Nothing)),
            State::Hung => return Err(silence(Answered::Silent)),
            State::Standby => true,
            State::Primary => false,
        };
        let streams = |id: i32| {
            let standby = self.server(id);
            let streams = standby.state == State::Standby && !standby.cut_off;
            (streams && standby.follows > 0 && self.is(standby.follows, State::Primary))
                .then_some(standby.follows)
        };
        let sender = |id: i32| Sender {
            application_name: format!("node{id}"),
            state: Some("streaming".into()),
            sync_state: None,
            replay_lag_s: Some(0.0),
            reply_age_s: None,
        };
        Ok(ServerFacts {
            started_at: format!("{id}, start {}", server.starts),
            receiver: streams(id).map(|up| Receiver {
                status: Some("streaming".into()),
                sender_host: Some(format!("h{up}")),
                sender_port: Some(5432),
                slot_name: None,
                message_age_s: Some(1.0),
            }),
            senders: (1..=3).filter(|other| streams(*other) == Some(id)).map(sender).collect(),
            ..ServerFacts::example(in_recovery, server.timeline, server.wal)
        })
    }

    /// The last look, by the program's own rule.
    fn objection(&self, look: &FinalCheck) -> Option<String> {
        let glance = |id: i32| {
            let server = self.server(id);
            let in_recovery = server.state == State::Standby;
            FinalCheckFacts {
                in_recovery,
                timeline: TimelineId(server.timeline),
                requested: None,
                end: in_recovery.then_some(Lsn(server.wal)),
            }
        };
        let ours = glance(look.node_id).end.filter(|_| !self.today.get().accept_data_loss);
        let answers = |id: &i32| matches!(self.server(*id).state, State::Primary | State::Standby);
        let mut others = look.others.iter().filter(|(id, _)| answers(id));
        others.find_map(|(id, on)| look.objection(*id, on, &glance(*id), ours))
    }

    /// Another node is a primary, or has a newer timeline.
    pub(crate) fn is_behind(&self, id: i32) -> bool {
        let own = self.server(id);
        (1..=3).filter(|other| *other != id).any(|other| {
            let server = self.server(other);
            let answers = matches!(server.state, State::Primary | State::Standby);
            answers && (server.state == State::Primary || server.timeline > own.timeline)
        })
    }

    fn accepts(&self, on: &Endpoint) -> Result<State, Error> {
        match self.server(node_of(&on.name)).state {
            state @ (State::Primary | State::Standby) => Ok(state),
            _ => Err(Error::new(Exit::Connection, format!("{} does not respond", on.name))),
        }
    }
}

fn place(id: i32) -> usize {
    usize::try_from(id).unwrap().wrapping_sub(1)
}

/// The node of which a name or a path speaks: `node "node2"`, `/data2/standby.signal`.
fn node_of(text: &str) -> i32 {
    text.chars().find_map(|c| c.to_digit(10)).unwrap().try_into().unwrap()
}

fn host_of(path: &Path) -> i32 {
    node_of(&path.to_string_lossy())
}

fn refused(exit: Exit, why: &str) -> Error {
    Error { no_effect: true, ..Error::new(exit, why) }
}

impl Model for Servers {
    type Change = Change;

    fn name(&self, probe: &Probe) -> String {
        probe.to_string()
    }

    fn answer(&self, probe: &Probe) -> anyhow::Result<bool> {
        let host = |path: &Path| self.server(host_of(path));
        Ok(match probe {
            Probe::Not(probe) => !self.answer(probe)?,
            Probe::At { probe, .. } | Probe::Lasts { probe, .. } => self.answer(probe)?,
            Probe::Any(probes) => probes.iter().any(|probe| matches!(self.answer(probe), Ok(true))),
            Probe::Exists { path } if path.ends_with("standby.signal") => host(path).signal,
            Probe::Runs { data_directory, in_recovery } => match host(data_directory).state {
                State::Standby => *in_recovery,
                State::Primary | State::Hung => !in_recovery,
                State::Down => false,
            },
            Probe::Stopped { data_directory } | Probe::ShutDown { data_directory } => {
                host(data_directory).state == State::Down
            }
            Probe::StaysDown { data_directory } => {
                let server = host(data_directory);
                server.state == State::Down && server.signal
            }
            Probe::StaysStandby { data_directory, .. } => host(data_directory).state == State::Standby,
            Probe::Silent { on, .. } => self.accepts(on).is_err(),
            Probe::NoPrimary { on } => !self.is(node_of(&on.name), State::Primary),
            Probe::Accepts { on, in_recovery } => {
                let state = self.accepts(on)?;
                in_recovery.is_none_or(|standby| standby == (state == State::Standby))
            }
            Probe::HasAll { on, data_directory, .. } => {
                let (own, of) = (self.server(node_of(&on.name)), host(data_directory));
                own.timeline == of.timeline && own.wal >= of.wal
            }
            Probe::Unchallenged { look } => self.objection(look).is_none(),
            Probe::Challenged { look } => self.objection(look).is_some(),
            Probe::Announced { on } => self.accepts(on).is_ok(),
            Probe::Sql { says, on, .. } if says.contains(" streams from ") => {
                let (standby, up) = (self.server(node_of(says)), node_of(&on.name));
                standby.state == State::Standby && standby.follows == up && !standby.cut_off
            }
            Probe::Sql { on, .. } => {
                let server = self.server(node_of(&on.name));
                server.state == State::Primary && server.timeline > 1
            }
            other => anyhow::bail!("the model knows nothing of {other}"),
        })
    }

    fn look(&self, step: &Step) -> Result<(), Error> {
        match &step.op {
            Op::Promote { look: Some(look), .. } => match self.objection(look) {
                Some(why) => Err(refused(step.exit, &why)),
                None => Ok(()),
            },
            // Asked from its host: one that may not be a primary keeps the signal, or gets it.
            Op::RestartAsPrimary { data_directory, .. } => {
                let id = host_of(data_directory);
                if self.is_behind(id) {
                    self.with(id, |server| server.signal = true);
                    return Err(refused(Exit::SecondPrimary, "another node is ahead of it"));
                }
                Ok(())
            }
            // What runs there by now may be a primary, and keeps no signal.
            Op::KeepDown(keep) => match self.server(keep.host.node_id).state {
                State::Down | State::Standby => Ok(()),
                _ => Err(refused(Exit::SecondPrimary, "it runs")),
            },
            Op::Announce { on, .. } => self.accepts(on).and_then(|state| match state {
                State::Primary => Ok(()),
                _ => Err(refused(step.exit, "it is read-only")),
            }),
            Op::Sql { on, .. } => self.accepts(on).map(drop),
            _ => Ok(()),
        }
    }

    fn take_effect(&self, step: &Step) {
        match &step.op {
            Op::Promote { look: Some(look), .. } => {
                self.loses();
                self.promote(look.node_id);
                self.stays_newest(look.node_id);
            }
            Op::RestartAsPrimary { data_directory, .. } => {
                let id = host_of(data_directory);
                self.with(id, |server| server.signal = false);
                if !self.is(id, State::Primary) {
                    self.start(id);
                }
            }
            Op::KeepDown(keep) => {
                self.with(keep.host.node_id, |server| {
                    if !server.signal {
                        server.signal = true;
                        server.signal_is_of = Some(keep.mark.clone());
                    }
                });
            }
            Op::LetStart(keep) => {
                let id = keep.host.node_id;
                let is_own = self.server(id).signal_is_of.as_ref() == Some(&keep.mark);
                if is_own && !self.is(id, State::Standby) && !self.is_behind(id) {
                    self.with(id, |server| (server.signal, server.signal_is_of) = (false, None));
                }
            }
            Op::Signal { data_directory, request: SignalRequest::FastShutdown } => {
                self.with(host_of(data_directory), |server| server.state = State::Down);
            }
            Op::File(FileOp::WriteFile { path, .. }) if path.ends_with("standby.signal") => {
                self.with(host_of(path), |server| server.signal = true);
            }
            Op::File(FileOp::RemoveFile { path }) if path.ends_with("standby.signal") => {
                self.with(host_of(path), |server| server.signal = false);
            }
            Op::Follow { standby, upstream } => {
                let id = match standby {
                    Standby::Running(on) => node_of(&on.name),
                    Standby::Files { data_directory, .. } => host_of(data_directory),
                };
                self.with(id, |server| server.follows = node_of(&upstream.name));
            }
            Op::Run(_) => {
                if let Some(id) = step.at.filter(|_| step.id == "start") {
                    self.start(id);
                }
            }
            Op::Sql { on, .. } => self.sql(step, node_of(&on.name)),
            _ => {}
        }
        self.goes_on(&step.id);
    }

    fn change(&self, change: Change) -> bool {
        let lives = (1..=3).any(|id| matches!(self.server(id).state, State::Primary | State::Hung));
        let third = self.server(3);
        match change {
            Change::ThirdPrimary | Change::NewerTimeline if lives || third.state != State::Standby => {
                return false;
            }
            Change::ThirdPrimary => self.promote(3),
            Change::NewerTimeline => self.with(3, |server| server.timeline += 1),
            Change::PrimaryBack => {
                let own = self.server(1);
                // As a primary it is judged before it starts.
                let newest = (1..=3).all(|id| self.server(id).timeline <= own.timeline);
                if own.state != State::Down || (!own.signal && (lives || !newest)) {
                    return false;
                }
                self.start(1);
            }
            Change::SiblingAhead => {
                let (first, own) = (self.server(1), self.server(OWN));
                let standbys = own.state == State::Standby && third.state == State::Standby;
                if !standbys || third.timeline != first.timeline {
                    return false;
                }
                let end = first.wal + if first.state == State::Primary { 8 } else { 0 };
                if end <= own.wal || end <= third.wal {
                    return false;
                }
                self.with(OWN, |server| server.cut_off = true);
                self.with(1, |server| server.wal = end);
                self.with(3, |server| server.wal = end);
            }
        }
        self.goes_on(&format!("{change:?}"));
        true
    }
}

impl Servers {
    /// Statements, by the step that they are of.
    fn sql(&self, step: &Step, on: i32) {
        let mut own = self.own.borrow_mut();
        let id = step.id.as_str();
        if let Some(of) = id.strip_prefix("create_slot_") {
            own.insert(format!("slot of {of}"));
        } else if let Some(of) = id.strip_prefix("drop_new_slot_").or(id.strip_prefix("drop_slot_")) {
            own.remove(&format!("slot of {of}"));
        } else if let Some(of) = id.strip_prefix("pause_") {
            own.insert(format!("pause on {of}"));
        } else if let Some(of) = id.strip_prefix("unpause_") {
            own.remove(&format!("pause on {of}"));
        } else if id == "record" {
            self.recorded.set(on);
        }
    }
}
