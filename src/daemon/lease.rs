//! The lease's thread: the driver, its sessions, and the link to the fencer. Nothing here waits for a disk, a program or a person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgbaton_lease::driver::{CommandLock, Driver, Input, Output, Policy, Query};
use pgbaton_lease::mailbox::NodeId;
use pgbaton_lease::votes::{Backend, Node, Nodes};
use pgbaton_lease::{Action, Ask, Event, Flag, Members, Op, Params, Server, State, Time, Why};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::fencer::{self, Held, Wanted};
use super::session::Setting;
use super::snapshot::Snapshot;
use super::view::Answer;
use crate::observe::local_daemon::StartAnswer;
use crate::pg::conninfo::Conninfo;
use crate::system::clock;
use crate::system::environment::Environment;

/// The most nodes of a cluster with daemons.
pub const MOST: usize = 16;

/// How long the start guard waits for this thread to learn that the server is down.
const LEARNS: Duration = Duration::from_millis(800);

/// A node that this daemon speaks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number in `repmgr.nodes`.
    pub id: NodeId,
    /// It has data: it is no witness.
    pub has_data: bool,
    /// Its priority in an election.
    pub priority: u32,
    /// How it is reached.
    pub conninfo: Conninfo,
}

/// What the watcher of the local server sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which start of the server: it grows.
    pub generation: u64,
    /// A postmaster runs, or other processes are left.
    pub is_up: bool,
    /// `standby.signal` is in the data directory.
    pub has_signal: bool,
    /// A promotion is requested.
    pub is_promoting: bool,
}

/// What the lease's thread is told.
#[derive(Debug)]
pub enum Told {
    /// What has become of the local server.
    Local(Seen),
    /// Something that was done, or has happened.
    Event(Event),
    /// Where the WAL of the server ends that was stopped for a hand-over.
    Shutdown(u64),
    /// Something is asked by the daemon itself.
    Ask(Op, Ask),
    /// The nodes, as the metadata has them now.
    Peers(Vec<Peer>),
    /// The command that validates a candidacy has agreed, or has not, and is not to be asked again for so many milliseconds.
    Validated(bool, u64),
    /// The flag is on disk.
    FlagWritten,
    /// What has become of the lock of commands.
    CommandLock(CommandLock),
    /// The start guard asks.
    MayStart(oneshot::Sender<StartAnswer>),
}

/// What the rest of the daemon has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Something that is not done in a session.
    Act(Action),
    /// Write the row of the members.
    WriteMembers(Members, Vec<NodeId>, Vec<NodeId>),
    /// The session of a promotion has ended without an answer, and this process of the server with it, if it is known.
    CheckPromotion(Option<i32>),
    /// Take the lock of commands.
    TakeCommandLock,
    /// A command has changed which nodes are registered.
    ReadPeers,
}

/// What the thread begins with.
#[derive(Debug)]
pub struct Beginning {
    /// The times.
    pub params: Params,
    /// What the core knows at first.
    pub state: State<MOST>,
    /// The nodes, this one included, in the order of their places.
    pub peers: Vec<Peer>,
    /// See [`view::cluster_key`].
    pub cluster_key: i32,
    /// What is asked of this node when it stands for election by itself.
    pub policy: Policy,
    /// Where the WAL of the primary ended when the cluster was looked at last: timeline and position.
    pub known_end: Option<(u32, u64)>,
    /// Which start of the daemon.
    pub incarnation: u16,
    /// Makes the waiting times of daemons differ.
    pub random: u64,
    /// The fencer; None for a witness, which has nothing to fence.
    pub fencer: Option<fencer::Place>,
    /// How connections are made.
    pub environment: Environment,
}

/// The ends of the thread's channels.
#[derive(Debug)]
pub struct Channels {
    /// What it is told.
    pub told: mpsc::UnboundedReceiver<Told>,
    /// What it orders.
    pub orders: mpsc::UnboundedSender<Order>,
    /// What it knows.
    pub snapshot: watch::Sender<Option<Snapshot>>,
}

/// What comes from a session.
#[derive(Debug)]
pub(super) enum Heard {
    Opened(Node, Backend),
    Closed(Node, Backend),
    Replied(Node, Backend, Box<Answer>),
    /// A session could not be opened, but its server has said why: it does not hang.
    Refused(Node),
}

/// A session that is open or being opened.
#[derive(Debug)]
struct Running {
    backend: Backend,
    asks: mpsc::UnboundedSender<(Query, String)>,
    task: JoinHandle<()>,
    /// Which start of the own server it was opened to.
    generation: u64,
}

/// Reads the clock of the lease.
pub fn now() -> Time {
    Time(u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX))
}

/// Runs the lease until the other end of the channel is closed.
pub async fn run(beginning: Beginning, channels: Channels) {
    let (wanted, wanted_there) = watch::channel(Wanted::Nothing { is_standby: false });
    let (held_there, held) = watch::channel(Held::default());
    if let Some(place) = beginning.fencer.clone() {
        tokio::spawn(fencer::keep(place, wanted_there, held_there));
    }
    let (heard_here, heard) = mpsc::unbounded_channel();
    let mut ids = [0; MOST];
    let mut priorities = [0; MOST];
    for ((peer, id), priority) in beginning.peers.iter().zip(&mut ids).zip(&mut priorities) {
        (*id, *priority) = (peer.id, peer.priority);
    }
    let mut driver = Driver::new(
        beginning.params,
        beginning.state,
        (ids, priorities),
        beginning.incarnation,
        beginning.random,
        now(),
    );
    driver.set_policy(beginning.policy);
    if let Some(known) = beginning.known_end {
        driver.set_known_end(known);
    }
    let not_tried = driver.handle(now(), Input::CommandLock(CommandLock::NotTried));
    let mut lease = Lease {
        params: beginning.params,
        driver,
        conninfos: beginning.peers.iter().map(|peer| (peer.id, peer.conninfo.clone())).collect(),
        cluster_key: beginning.cluster_key,
        environment: Arc::new(beginning.environment),
        has_fencer: beginning.fencer.is_some(),
        sessions: BTreeMap::new(),
        heard_here,
        wanted,
        held,
        orders: channels.orders,
        snapshot: channels.snapshot,
        local: None,
        in_recovery: None,
        own_process: None,
        refused: None,
        frozen: None,
        unwritten: 0,
        last_line: String::new(),
        fences: false,
        may_start: Vec::new(),
        asked_for_lock: false,
    };
    lease.perform(not_tried);
    lease.serve(channels.told, heard).await;
}

struct Lease {
    params: Params,
    driver: Driver<MOST>,
    conninfos: BTreeMap<NodeId, Conninfo>,
    cluster_key: i32,
    environment: Arc<Environment>,
    has_fencer: bool,
    sessions: BTreeMap<Node, Running>,
    heard_here: mpsc::UnboundedSender<Heard>,
    wanted: watch::Sender<Wanted>,
    held: watch::Receiver<Held>,
    orders: mpsc::UnboundedSender<Order>,
    snapshot: watch::Sender<Option<Snapshot>>,
    /// What the watcher saw last.
    local: Option<Seen>,
    /// What the own server said of itself, in this start of it.
    in_recovery: Option<bool>,
    /// The session to the own server that has answered last, and the process that serves it.
    own_process: Option<(Backend, i32)>,
    /// When the own server last refused a session, as one with too many of them does.
    refused: Option<Time>,
    /// The line that is shown until the flag is on disk.
    frozen: Option<String>,
    /// How many changes of the flag are not on disk yet.
    unwritten: u32,
    /// The line that was shown last.
    last_line: String,
    /// The fencer was told to fence, and the server is no standby yet.
    fences: bool,
    may_start: Vec<(Instant, oneshot::Sender<StartAnswer>)>,
    asked_for_lock: bool,
}

impl Lease {
    async fn serve(
        &mut self,
        mut told: mpsc::UnboundedReceiver<Told>,
        mut heard: mpsc::UnboundedReceiver<Heard>,
    ) {
        loop {
            self.publish();
            let time = now();
            let wait = Duration::from_millis(self.driver.wake_at(time).since(time).max(1));
            tokio::select! {
                biased;
                said = told.recv() => match said {
                    Some(said) => self.told(said),
                    None => return,
                },
                Some(said) = heard.recv() => self.heard(said),
                () = sleep_until(Instant::now() + wait) => self.handle(Input::Wake),
            }
            self.answer_guards();
        }
    }

    fn me(&self) -> Node {
        self.driver.state.me
    }

    fn handle(&mut self, input: Input) {
        let outputs = self.driver.handle(now(), input);
        self.perform(outputs);
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Local(seen) => self.local_is(seen),
            Told::Event(event) => self.handle(Input::Event(event)),
            Told::Shutdown(end) => self.handle(Input::Shutdown(end)),
            Told::Ask(op, ask) => self.handle(Input::Ask(op, ask)),
            Told::Validated(agrees, span) => self.handle(Input::Validated(agrees, span)),
            Told::CommandLock(lock) => {
                self.asked_for_lock = false;
                self.handle(Input::CommandLock(lock));
            }
            Told::FlagWritten => {
                self.unwritten = self.unwritten.saturating_sub(1);
                if self.unwritten == 0 {
                    self.frozen = None;
                    self.handle(Input::Wake);
                }
            }
            Told::Peers(peers) => self.peers_are(peers),
            Told::MayStart(answer) => self.may_start.push((Instant::now() + LEARNS, answer)),
        }
    }

    /// The nodes that are registered. Until a leader has recorded the members, these are they.
    fn peers_are(&mut self, peers: Vec<Peer>) {
        let ids: Vec<NodeId> = peers.iter().map(|peer| peer.id).collect();
        self.driver.keep_places(&ids);
        let (mut data, mut voters) = (Nodes::NONE, Nodes::NONE);
        for peer in peers {
            if let Some(node) = self.driver.place_of(peer.id) {
                self.driver.set_priority(node, peer.priority);
                voters = voters.with(node);
                data = if peer.has_data { data.with(node) } else { data };
            }
            let before = self.conninfos.insert(peer.id, peer.conninfo.clone());
            // A session leads to the server of before, whose vote is not that of this node any more.
            if before.is_some_and(|before| before != peer.conninfo)
                && let Some(node) = self.driver.place_of(peer.id)
                && let Some(backend) = self.sessions.get(&node).map(|one| one.backend)
            {
                self.ended(node, backend);
            }
        }
        self.handle(Input::Event(Event::Registered { data, voters }));
    }

    fn heard(&mut self, heard: Heard) {
        let is_present = |lease: &Self, voter, backend| {
            lease.sessions.get(&voter).is_some_and(|one| one.backend == backend)
        };
        match heard {
            Heard::Opened(voter, backend) if is_present(self, voter, backend) => {
                self.handle(Input::Opened(voter, backend));
            }
            Heard::Closed(voter, backend) if is_present(self, voter, backend) => {
                self.ended(voter, backend);
            }
            Heard::Replied(voter, backend, answer) if is_present(self, voter, backend) => {
                self.replied(voter, backend, *answer);
            }
            Heard::Refused(voter) if voter == self.me() => self.refused = Some(now()),
            _ => {}
        }
    }

    /// A session has ended by itself, or is of no use any more.
    fn ended(&mut self, voter: Node, backend: Backend) {
        let outputs = self.driver.handle(now(), Input::Closed(voter, backend));
        // A promotion that was asked for in it is looked after by the process that served it.
        self.perform(outputs);
        if self.sessions.get(&voter).is_some_and(|one| one.backend == backend)
            && let Some(one) = self.sessions.remove(&voter)
        {
            one.task.abort();
        }
    }

    fn replied(&mut self, voter: Node, backend: Backend, answer: Answer) {
        let mut reply = answer.reply;
        if let Some((version, data, voters)) = answer.members {
            let mut places = |ids: &[NodeId]| -> Option<Nodes> {
                ids.iter().map(|id| self.driver.place_of(*id)).collect()
            };
            // A set that has no room here is none that this daemon can take part in.
            if let (Some(data), Some(voters)) = (places(&data), places(&voters)) {
                reply.view.members = Members { version, data, voters };
            }
        }
        if voter == self.me() {
            if reply.view.requests.iter().any(|line| line.contains(" member ")) {
                self.order(Order::ReadPeers);
            }
            self.own_process = Some((backend, answer.pid));
            let generation = self.sessions.get(&voter).map(|one| one.generation);
            if self.local.is_some_and(|local| local.is_up && Some(local.generation) == generation) {
                self.in_recovery = Some(reply.view.in_recovery);
                self.tell_server();
            }
        }
        self.handle(Input::Replied(voter, backend, reply));
    }

    fn local_is(&mut self, seen: Seen) {
        let before = self.local.replace(seen);
        let is_other = before.is_none_or(|before| before.generation != seen.generation);
        if is_other || !seen.is_up {
            self.in_recovery = None;
            let me = self.me();
            if let Some(backend) = self.sessions.get(&me).map(|one| one.backend) {
                self.ended(me, backend);
            }
        }
        self.tell_server();
    }

    /// Tells the core what the local server is, if that is known and has changed.
    fn tell_server(&mut self) {
        let Some(seen) = self.local else { return };
        let server = match (seen.is_up, self.in_recovery) {
            (false, _) => Server::Down { signal: seen.has_signal },
            (true, Some(false)) => Server::Primary,
            // Once requested it goes on, although the file is gone by then.
            (true, _) if seen.is_promoting => Server::Promoting,
            (true, Some(true)) => Server::Standby,
            // It starts: what it will be is not known.
            (true, None) => return,
        };
        if server != self.driver.state.server {
            self.handle(Input::Event(Event::Server(server)));
        }
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Open(voter, backend) => self.open(voter, backend),
                Output::Close(voter, backend) => {
                    if self.sessions.get(&voter).is_some_and(|one| one.backend == backend)
                        && let Some(one) = self.sessions.remove(&voter)
                    {
                        one.task.abort();
                    }
                }
                Output::Send(voter, backend, query, line) => self.send(voter, backend, query, line),
                Output::CheckPromotion(backend) => {
                    let pid = self.own_process.filter(|(of, _)| *of == backend).map(|(_, pid)| pid);
                    self.order(Order::CheckPromotion(pid));
                }
                Output::Act(Action::WriteFlag(flag, epoch)) => {
                    self.frozen.get_or_insert_with(|| self.last_line.clone());
                    self.unwritten += 1;
                    self.order(Order::Act(Action::WriteFlag(flag, epoch)));
                }
                Output::Act(Action::WriteMembers(members)) => {
                    let ids = |nodes: Nodes| nodes.iter().map(|node| self.driver.id_of(node)).collect();
                    let (data, voters) = (ids(members.data), ids(members.voters));
                    self.order(Order::WriteMembers(members, data, voters));
                }
                Output::Act(Action::Fence(why)) => {
                    self.fences = true;
                    self.order(Order::Act(Action::Fence(why)));
                }
                Output::Act(Action::Answer(..)) => {}
                Output::Act(action) => self.order(Order::Act(action)),
            }
        }
        if self.driver.wants_command_lock() && !self.asked_for_lock {
            self.asked_for_lock = true;
            self.order(Order::TakeCommandLock);
        }
        self.tell_fencer();
    }

    fn order(&mut self, order: Order) {
        // What is carried out is held against what is known: that must not be older than the order.
        self.publish();
        // Without the other end the daemon ends.
        let _ = self.orders.send(order);
    }

    /// Lets the fencer know what is wanted of it.
    fn tell_fencer(&mut self) {
        let state = &self.driver.state;
        let is_standby = state.server == Server::Standby && !state.requested;
        if is_standby {
            self.fences = false;
        }
        // It starts as a standby, and the way back is closed: the old deadline would only stop that standby.
        let is_over = state.server == (Server::Down { signal: true }) && state.hand_over.is_none();
        let wanted = match state.fence_at() {
            _ if state.lapsed || self.fences => Wanted::Now,
            Some(_) if is_over => Wanted::Nothing { is_standby: false },
            Some(Time(deadline)) => Wanted::At(deadline),
            // Until the flag is on disk the fencer stays armed.
            None if self.frozen.is_some() => return,
            None => Wanted::Nothing { is_standby },
        };
        self.wanted.send_if_modified(|known| std::mem::replace(known, wanted) != wanted);
    }

    fn open(&mut self, voter: Node, backend: Backend) {
        let (asks, asked) = mpsc::unbounded_channel();
        let conninfo = self.conninfos.get(&self.driver.id_of(voter)).cloned();
        let silence = self.params.silence;
        let setting = Setting {
            voter,
            backend,
            cluster_key: self.cluster_key,
            silence,
            lease: Duration::from_millis(self.params.lease),
            environment: Arc::clone(&self.environment),
            heard: self.heard_here.clone(),
            held: self.has_fencer.then(|| self.held.clone()),
            ids: (0..MOST)
                .filter_map(|node| Node::try_from(node).ok())
                .map(|node| (node, self.driver.id_of(node)))
                .collect(),
        };
        let task = tokio::task::spawn_local(async move {
            let heard = setting.heard.clone();
            if let Some(conninfo) = conninfo {
                setting.serve(&conninfo, asked).await;
            }
            let _gone = heard.send(Heard::Closed(voter, backend));
        });
        let generation = self.local.map_or(0, |local| local.generation);
        self.sessions.insert(voter, Running { backend, asks, task, generation });
    }

    fn send(&mut self, voter: Node, backend: Backend, query: Query, line: String) {
        if query == Query::Promote && self.frozen.is_some() {
            // A daemon that starts again would not know of it: what is not on disk does not hold.
            return self.ended(voter, backend);
        }
        let shown = self.frozen.clone().filter(|line| !line.is_empty()).unwrap_or(line);
        self.last_line.clone_from(&shown);
        if let Some(one) = self.sessions.get(&voter).filter(|one| one.backend == backend) {
            let _gone = one.asks.send((query, shown));
        }
    }

    fn answer_guards(&mut self) {
        let (state, time) = (&self.driver.state, now());
        let paused = state.flag == Flag::Full;
        let may = state.may_start_as_primary(time);
        let is_down = self.local.is_some_and(|local| !local.is_up);
        let present = Instant::now();
        let mut waiting = Vec::new();
        for (until, answer) in self.may_start.drain(..) {
            let said = match () {
                () if paused => StartAnswer::Paused,
                () if may => StartAnswer::Yes,
                () if is_down || present >= until => StartAnswer::No,
                () => {
                    waiting.push((until, answer));
                    continue;
                }
            };
            let _gone = answer.send(said);
        }
        self.may_start = waiting;
    }

    fn publish(&mut self) {
        let (driver, time) = (&self.driver, now());
        let state = driver.state;
        let places = || (0..MOST).filter_map(|node| Node::try_from(node).ok());
        let views = || places().filter_map(|node| driver.last_seen(node).map(|(at, view)| (node, at, view)));
        let recent = 4 * self.params.heartbeat;
        let leader = views()
            .filter(|(node, at, view)| {
                !view.in_recovery && state.members.data.has(*node) && time.since(*at) < recent
            })
            .max_by_key(|(_, _, view)| view.timeline)
            .map(|(node, _, _)| driver.id_of(node));
        let own = driver.last_seen(state.me);
        let snapshot = Snapshot {
            state,
            at: time,
            ids: places().map(|node| (node, driver.id_of(node))).filter(|(_, id)| *id != 0).collect(),
            leader,
            silent: own.and_then(|(at, view)| Some(view.silent? + time.since(at))),
            answered: own.map(|(at, _)| at).max(self.refused),
            withheld: driver.withheld(),
            heir: driver.best_heir(time).map(|node| driver.id_of(node)),
            given: driver.noted(),
            shown: views().map(|(node, _, view)| (driver.id_of(node), view.members.version)).collect(),
            wanted: *self.wanted.borrow(),
            held: self.has_fencer.then(|| *self.held.borrow()),
        };
        self.snapshot.send_replace(Some(snapshot));
    }
}

/// Says why a server is fenced, for people.
pub fn why(why: Why) -> &'static str {
    match why {
        Why::LeaseEnded => "its lease has ended",
        Why::NoLease => "it accepts writes without a lease",
        Why::OtherLeader => "another node is the primary on a later timeline",
    }
}
