//! Three hosts, their servers, daemons and fencers, the network between them, and what goes wrong.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use pgbaton_lease::driver::{Driver, Input, Output, Query, Reply, View};
use pgbaton_lease::mailbox::{Incarnation, NodeId, Request, Saying, Status};
use pgbaton_lease::{
    Action, Ask, Backend, Epoch, Event, Flag, Members, Node, Nodes, Params, Server, Stage, State, Time,
    Version,
};

const HOSTS: usize = 3;

/// Until here things go wrong, in milliseconds.
const TROUBLE: u64 = 60_000;

/// And by then all is well again.
const END: u64 = 130_000;

/// What the hosts are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many have data; the others are witnesses.
    pub data: u8,
}

/// What has happened in runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Promotions.
    pub promotions: u64,
    /// Hand-overs that were committed.
    pub hand_overs: u64,
    /// Those that were taken back after that.
    pub taken_back: u64,
    /// Pauses that every node took part in.
    pub pauses: u64,
    /// Servers that were fenced.
    pub fenced: u64,
    /// Faults.
    pub faults: u64,
}

impl Totals {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.runs += 1;
        self.promotions += other.promotions;
        self.hand_overs += other.hand_overs;
        self.taken_back += other.taken_back;
        self.pauses += other.pauses;
        self.fenced += other.fenced;
        self.faults += other.faults;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, promotions, hand_overs, taken_back, pauses, fenced, faults } = self;
        write!(
            f,
            "{runs} seeds, {faults} faults, {promotions} promotions, {hand_overs} hand-overs ({taken_back} taken back), {pauses} pauses, {fenced} fenced"
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pg {
    Down,
    Standby,
    Promoting,
    Primary,
}

/// A session, at its server.
#[derive(Clone, Debug)]
struct Session {
    has_vote: bool,
    notes: Vec<(Node, u32)>,
    line: String,
    /// When it was last spoken to, in real time.
    spoken: u64,
}

/// Which session: the client's host, which start of its daemon, its number.
type Key = (usize, u32, Backend);

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    SwitchOver(usize),
    Promote(usize),
    Pause,
    Unpause,
}

/// A command that an operator has typed. It may be killed, or be left behind by what happens meanwhile.
#[derive(Clone, Debug)]
struct Command {
    wish: Wish,
    op: u32,
    round: u8,
    /// This round is given up then.
    until: u64,
    epoch: Epoch,
    /// Whose answer is here.
    answered: Vec<usize>,
    /// Who has answered that it is armed.
    armed: bool,
}

struct Host {
    // The machine.
    power: bool,
    /// Parts per million by which its clock is fast.
    drift: i64,
    /// Nothing of its daemon runs before this.
    frozen: u64,
    // The server.
    pg: Pg,
    signal: bool,
    timeline: u32,
    end: u64,
    /// When WAL last arrived.
    received: u64,
    sessions: BTreeMap<Key, Session>,
    /// What commands show here, by their numbers.
    typed: BTreeMap<u32, String>,
    /// The copy of the members.
    members: Members,
    /// Counts what makes a start or a stop on its way worthless.
    attempt: u32,
    /// A start is on its way until here.
    starting: u64,
    // The daemon.
    daemon: Option<Driver<HOSTS>>,
    generation: u32,
    /// When it is woken next.
    wake: u64,
    flag: (Flag, Epoch),
    // The fencer: its deadline by the clock of the host, and whether that has passed.
    fencer: Option<Time>,
    tripped: bool,
}

#[derive(Clone, Debug)]
enum ToServer {
    Open,
    Ask(Query, String),
    Close,
}

#[derive(Clone, Debug)]
enum What {
    ToServer(usize, Key, ToServer),
    ToClient(usize, Key, Input),
    Wake(usize, u32),
    Idle(usize, Key),
    Deadline(usize, Time),
    Fence(usize),
    StartAs(usize, u32, bool),
    Promoted(usize, u32),
    Stopped(usize, u32),
    Done(usize, u32, Action),
    Restart(usize),
    Boot(usize),
    Trouble,
    Replicate,
    Command(u32),
    Healed(usize, usize),
}

/// The whole of it.
pub struct Cluster {
    params: Params,
    shape: Shape,
    now: u64,
    random: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, What>,
    count: u64,
    hosts: Vec<Host>,
    /// What one host sends to another is held up until here.
    cut: [[u64; HOSTS]; HOSTS],
    /// Milliseconds that a message takes at most.
    delay: u64,
    commands: BTreeMap<u32, Command>,
    shows: bool,
    wrong: Option<String>,
    /// What has happened.
    pub totals: Totals,
}

impl Cluster {
    /// Begins with a primary that leads.
    pub fn new(params: Params, shape: Shape, seed: u64, shows: bool) -> Self {
        let mut cluster = Self {
            params,
            shape,
            now: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
            queue: BinaryHeap::new(),
            what: BTreeMap::new(),
            count: 0,
            hosts: Vec::new(),
            cut: [[0; HOSTS]; HOSTS],
            delay: 1,
            commands: BTreeMap::new(),
            shows,
            wrong: None,
            totals: Totals::default(),
        };
        cluster.delay = [1, 3, 20][cluster.below(3) as usize];
        for host in 0..HOSTS {
            let has_data = host < usize::from(shape.data);
            let pg = if host == 0 || !has_data { Pg::Primary } else { Pg::Standby };
            let drift = cluster.below(1000) as i64 - 500;
            cluster.hosts.push(Host {
                power: true,
                drift,
                frozen: 0,
                pg,
                signal: pg == Pg::Standby,
                timeline: 1,
                end: 1000,
                received: 0,
                sessions: BTreeMap::new(),
                typed: BTreeMap::new(),
                members: Members {
                    version: Version { timeline: 1, counter: 1 },
                    data: Nodes::first(shape.data),
                    voters: Nodes::first(HOSTS as Node),
                },
                attempt: 0,
                starting: 0,
                daemon: None,
                generation: 0,
                wake: u64::MAX,
                flag: (Flag::Active, Epoch::default()),
                fencer: None,
                tripped: false,
            });
        }
        cluster.hosts[0].fencer = Some(cluster.clock(0).after(params.lease));
        for host in 0..HOSTS {
            cluster.start_daemon(host);
        }
        cluster.at(100, What::Replicate);
        cluster.at(8000, What::Trouble);
        cluster
    }

    /// Runs to the end; what is wrong otherwise.
    pub fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            if at > END {
                break;
            }
            if let Some(what) = self.what.remove(&number) {
                self.happen(what);
            }
            if let Some(wrong) = self.wrong.take() {
                return Err(format!("{} ms: {wrong}", self.now));
            }
        }
        self.is_well()
    }

    // ---- time and chance --------------------------------------------------------------------------------------------

    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % end.max(1)
    }

    fn at(&mut self, at: u64, what: What) {
        self.count += 1;
        self.what.insert(self.count, what);
        self.queue.push(Reverse((at.max(self.now), self.count)));
    }

    fn after(&mut self, span: u64, what: What) {
        self.at(self.now + span, what);
    }

    /// The clock of a host. All were set at different times.
    fn clock(&self, host: usize) -> Time {
        let drift = self.now as i64 * self.hosts[host].drift / 1_000_000;
        Time((1_000_000 * (host as u64 + 1)).saturating_add_signed(self.now as i64 + drift))
    }

    /// When the clock of a host shows this.
    fn real(&self, host: usize, at: Time) -> u64 {
        let shown = at.0 as i64 - 1_000_000 * (host as i64 + 1);
        let real = shown - shown * self.hosts[host].drift / 1_000_000;
        (real + 1).max(0) as u64
    }

    fn show(&self, text: impl FnOnce() -> String) {
        if self.shows {
            println!("{:>7} {}", self.now, text());
        }
    }

    // ---- messages ---------------------------------------------------------------------------------------------------

    fn travel(&mut self, from: usize, to: usize) -> u64 {
        if from == to {
            return self.now;
        }
        let delay = self.below(self.delay) + 1;
        // What is on its way into a cut link is sent again when that is whole.
        self.now.max(self.cut[from][to]) + delay
    }

    fn send(&mut self, from: usize, to: usize, what: What) {
        let at = self.travel(from, to);
        self.at(at, what);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::ToServer(to, key, message) => self.arrive(to, key, message),
            What::ToClient(host, key, input) => {
                if self.hosts[host].generation == key.1 {
                    let frozen = self.hosts[host].frozen;
                    if frozen > self.now {
                        self.at(frozen, What::ToClient(host, key, input));
                    } else {
                        self.handle(host, input);
                    }
                }
            }
            What::Wake(host, generation) => {
                if self.hosts[host].generation == generation {
                    let frozen = self.hosts[host].frozen;
                    if self.hosts[host].wake <= self.now {
                        self.hosts[host].wake = u64::MAX;
                    }
                    if frozen > self.now {
                        self.wake(host, frozen);
                    } else {
                        self.handle(host, Input::Wake);
                    }
                }
            }
            What::Idle(server, key) => {
                let silence = self.params.silence;
                let spoken = self.hosts[server].sessions.get(&key).map(|session| session.spoken);
                if spoken.is_some_and(|spoken| self.now >= spoken + silence) {
                    self.end_session(server, key);
                }
            }
            What::Deadline(host, deadline) => {
                // Whatever was extended meanwhile has a deadline of its own.
                if self.hosts[host].fencer == Some(deadline) && self.hosts[host].power {
                    self.hosts[host].tripped = true;
                    let late = self.below(self.params.fencing);
                    self.after(late, What::Fence(host));
                }
            }
            What::Fence(host) => self.fence(host),
            What::StartAs(host, attempt, primary) => self.start_server(host, attempt, primary),
            What::Promoted(host, attempt) => {
                if self.hosts[host].attempt == attempt && self.hosts[host].pg == Pg::Promoting {
                    let timeline = self.hosts.iter().map(|host| host.timeline).max().unwrap_or(0) + 1;
                    let server = &mut self.hosts[host];
                    server.timeline = timeline;
                    server.signal = false;
                    self.totals.promotions += 1;
                    self.set(host, Pg::Primary);
                }
            }
            What::Stopped(host, attempt) => {
                if self.hosts[host].attempt == attempt && self.hosts[host].pg == Pg::Primary {
                    let end = self.hosts[host].end + 100;
                    self.hosts[host].end = end;
                    self.replicate();
                    self.set(host, Pg::Down);
                    self.handle(host, Input::Shutdown(end));
                }
            }
            What::Done(host, generation, action) => {
                if self.hosts[host].generation == generation {
                    let frozen = self.hosts[host].frozen;
                    if frozen > self.now {
                        self.at(frozen, What::Done(host, generation, action));
                    } else {
                        self.done(host, action);
                    }
                }
            }
            What::Restart(host) => {
                if self.hosts[host].power && self.hosts[host].daemon.is_none() {
                    self.start_daemon(host);
                }
            }
            What::Boot(host) => {
                if !self.hosts[host].power {
                    self.show(|| format!("host {host} boots"));
                    self.hosts[host].power = true;
                    if host >= usize::from(self.shape.data) {
                        self.set(host, Pg::Primary);
                    }
                    self.start_daemon(host);
                }
            }
            What::Trouble => self.trouble(),
            What::Replicate => {
                self.replicate();
                self.after(100, What::Replicate);
            }
            What::Command(op) => self.go_on(op),
            What::Healed(from, to) => self.show(|| format!("{from} reaches {to} again")),
        }
    }

    fn arrive(&mut self, server: usize, key: Key, message: ToServer) {
        let (client, ..) = key;
        let is_up = self.hosts[server].power && self.hosts[server].pg != Pg::Down;
        match message {
            ToServer::Open if is_up => {
                let session =
                    Session { has_vote: false, notes: Vec::new(), line: String::new(), spoken: self.now };
                self.hosts[server].sessions.insert(key, session);
                self.after(self.params.silence, What::Idle(server, key));
                self.send(server, client, What::ToClient(client, key, Input::Opened(server as Node, key.2)));
            }
            // Refused by a host that is on; of one that is off nothing is heard.
            ToServer::Open => {
                if self.hosts[server].power {
                    self.send(
                        server,
                        client,
                        What::ToClient(client, key, Input::Closed(server as Node, key.2)),
                    );
                }
            }
            ToServer::Close => {
                self.hosts[server].sessions.remove(&key);
            }
            ToServer::Ask(query, line) => {
                if !is_up || !self.hosts[server].sessions.contains_key(&key) {
                    if self.hosts[server].power {
                        self.send(
                            server,
                            client,
                            What::ToClient(client, key, Input::Closed(server as Node, key.2)),
                        );
                    }
                    return;
                }
                let is_done = self.execute(server, key, query, line);
                let view = self.view(server);
                self.after(self.params.silence, What::Idle(server, key));
                let reply = Input::Replied(server as Node, key.2, Reply { is_done, view });
                self.send(server, client, What::ToClient(client, key, reply));
            }
        }
    }

    fn execute(&mut self, server: usize, key: Key, query: Query, line: String) -> bool {
        let now = self.now;
        let taken =
            self.hosts[server].sessions.iter().any(|(other, session)| *other != key && session.has_vote);
        let Some(session) = self.hosts[server].sessions.get_mut(&key) else { return false };
        session.spoken = now;
        session.line = line;
        match query {
            Query::Look => true,
            Query::Vote => {
                session.has_vote |= !taken;
                session.has_vote
            }
            Query::Release => std::mem::take(&mut session.has_vote),
            Query::Note(to, op) => {
                session.notes.push((to, op));
                session.has_vote
            }
            Query::Forget => {
                session.notes.clear();
                true
            }
            Query::Promote => {
                if self.hosts[server].pg != Pg::Standby {
                    return false;
                }
                self.hosts[server].attempt += 1;
                let attempt = self.hosts[server].attempt;
                let takes = 30 + self.below(220);
                self.after(takes, What::Promoted(server, attempt));
                // The daemon learns of it when it asks.
                self.set(server, Pg::Promoting);
                true
            }
        }
    }

    fn view(&self, server: usize) -> View {
        let host = &self.hosts[server];
        let status = |session: &Session| Status::parse(&session.line);
        let notes = host.sessions.values().flat_map(|session| session.notes.iter());
        View {
            in_recovery: matches!(host.pg, Pg::Standby | Pg::Promoting),
            timeline: host.timeline,
            end: host.end,
            silent: (host.pg == Pg::Standby).then(|| self.now - host.received),
            members: host.members,
            holder: host.sessions.values().find(|session| session.has_vote).map(status),
            notes: notes.map(|(to, op)| (id(*to), *op)).collect(),
            statuses: host.sessions.values().filter_map(status).collect(),
            requests: host.typed.values().cloned().collect(),
        }
    }

    fn end_session(&mut self, server: usize, key: Key) {
        if self.hosts[server].sessions.remove(&key).is_some() {
            let client = key.0;
            self.send(server, client, What::ToClient(client, key, Input::Closed(server as Node, key.2)));
        }
    }

    // ---- daemons ----------------------------------------------------------------------------------------------------

    fn has_data(&self, host: usize) -> bool {
        host < usize::from(self.shape.data)
    }

    fn server_of(&self, host: usize) -> Server {
        match self.hosts[host].pg {
            // A witness leads nothing.
            _ if !self.has_data(host) => Server::Standby,
            Pg::Standby => Server::Standby,
            Pg::Promoting => Server::Promoting,
            Pg::Primary => Server::Primary,
            Pg::Down => Server::Down { signal: self.hosts[host].signal },
        }
    }

    fn start_daemon(&mut self, host: usize) {
        let now = self.clock(host);
        // A deadline that has passed is not adopted; the fencer has seen to that already.
        let adopted = self.hosts[host].fencer.filter(|_| !self.hosts[host].tripped);
        let (flag, timeline) = (self.hosts[host].flag, self.hosts[host].timeline);
        let server = self.server_of(host);
        let state =
            State::start(host as Node, self.hosts[host].members, flag, (server, timeline), adopted, now);
        self.hosts[host].generation += 1;
        let random = self.below(u64::MAX >> 12);
        let incarnation = self.below(u64::from(Incarnation::MAX)) as Incarnation;
        let names = (std::array::from_fn(|node| id(node as Node)), [100; HOSTS]);
        let driver = Driver::new(self.params, state, names, incarnation, random, now);
        self.show(|| format!("daemon {host} starts beside {server:?}, lease until {adopted:?}"));
        self.hosts[host].daemon = Some(driver);
        self.hosts[host].wake = u64::MAX;
        self.wake(host, self.now);
    }

    /// Wakes a daemon at this time, if it is not woken before.
    fn wake(&mut self, host: usize, at: u64) {
        let at = at.max(self.now);
        if at < self.hosts[host].wake {
            self.hosts[host].wake = at;
            self.at(at, What::Wake(host, self.hosts[host].generation));
        }
    }

    fn kill_daemon(&mut self, host: usize) {
        let host_is_on = self.hosts[host].power;
        let generation = self.hosts[host].generation;
        self.hosts[host].daemon = None;
        // What is on its way to it arrives nowhere.
        self.hosts[host].generation += 1;
        for server in 0..HOSTS {
            let keys: Vec<Key> = self.hosts[server].sessions.keys().copied().collect();
            for key in keys.into_iter().filter(|key| (key.0, key.1) == (host, generation)) {
                // The kernel closes them; of a host that is off nobody hears.
                if host_is_on {
                    self.send(host, server, What::ToServer(server, key, ToServer::Close));
                }
            }
        }
    }

    fn handle(&mut self, host: usize, input: Input) {
        let now = self.clock(host);
        let Some(driver) = &mut self.hosts[host].daemon else { return };
        let before = driver.state;
        let out = driver.handle(now, input);
        let (after, wake) = (driver.state, driver.wake_at(now));
        let generation = self.hosts[host].generation;
        if self.shows
            && (before.candidacy.is_some() != after.candidacy.is_some() || before.lapsed != after.lapsed)
        {
            self.show(|| {
                format!("daemon {host}: candidate {:?}, lapsed {}", after.candidacy.is_some(), after.lapsed)
            });
        }
        if before.hand_over.map(|present| present.stage) != after.hand_over.map(|present| present.stage) {
            self.show(|| format!("daemon {host}: {:?}", after.hand_over));
            match (before.hand_over, after.hand_over) {
                (_, Some(present)) if matches!(present.stage, Stage::Committed { .. }) => {
                    self.totals.hand_overs += 1;
                }
                (Some(old), Some(new))
                    if matches!(old.stage, Stage::Committed { .. }) && new.stage == Stage::Back =>
                {
                    self.totals.taken_back += 1;
                }
                _ => {}
            }
        }
        self.hosts[host].flag = (after.flag, after.epoch);
        self.arm(host, after.fence_at());
        for output in out {
            self.carry_out(host, generation, output);
        }
        self.wake(host, self.real(host, wake));
        self.supervise(host);
    }

    /// The fencer takes a new deadline only as long as the one before has not passed.
    fn arm(&mut self, host: usize, deadline: Option<Time>) {
        let now = self.clock(host);
        let fencer = &mut self.hosts[host];
        if fencer.tripped || fencer.fencer == deadline {
            return;
        }
        if let Some(deadline) = deadline {
            if fencer.fencer.is_some_and(|present| present <= now) {
                return;
            }
            fencer.fencer = Some(deadline);
            let real = self.real(host, deadline);
            self.at(real, What::Deadline(host, deadline));
        } else if fencer.fencer.is_some_and(|present| present > now) {
            fencer.fencer = None;
        }
    }

    fn carry_out(&mut self, host: usize, generation: u32, output: Output) {
        match output {
            Output::Open(voter, backend) => {
                let key = (host, generation, backend);
                self.send(host, voter.into(), What::ToServer(voter.into(), key, ToServer::Open));
            }
            Output::Close(voter, backend) => {
                let key = (host, generation, backend);
                self.send(host, voter.into(), What::ToServer(voter.into(), key, ToServer::Close));
            }
            Output::Send(voter, backend, query, line) => {
                let key = (host, generation, backend);
                assert!(!line.is_empty() && line.len() <= 63, "line {line:?}");
                self.send(host, voter.into(), What::ToServer(voter.into(), key, ToServer::Ask(query, line)));
            }
            Output::CheckPromotion(backend) => {
                let key = (host, generation, backend);
                self.hosts[host].sessions.remove(&key);
                if self.hosts[host].pg == Pg::Standby {
                    self.show(|| format!("daemon {host}: its promotion was not carried out"));
                    self.at(self.now, What::ToClient(host, key, Input::Event(Event::NotPromoted)));
                }
            }
            Output::Act(action) => match action {
                Action::Stop(_) => {
                    let (attempt, takes) = (self.hosts[host].attempt, 50 + self.below(200));
                    self.after(takes, What::Stopped(host, attempt));
                }
                Action::WriteSignal(_)
                | Action::Scan(_)
                | Action::RemoveSignal(_)
                | Action::WriteMembers(_) => {
                    let takes = 1 + self.below(10);
                    self.after(takes, What::Done(host, generation, action));
                }
                Action::BeStandby => self.hosts[host].signal = true,
                _ => {}
            },
        }
    }

    /// What the daemon has ordered is done, on the host.
    fn done(&mut self, host: usize, action: Action) {
        match action {
            Action::WriteSignal(op) => {
                self.hosts[host].signal = true;
                self.handle(host, Input::Event(Event::Signalled(op)));
            }
            Action::Scan(op) => {
                let event =
                    if self.hosts[host].pg == Pg::Down { Event::Scanned(op) } else { Event::Failed(op) };
                self.handle(host, Input::Event(event));
            }
            Action::WriteMembers(members) if self.hosts[host].pg == Pg::Primary => {
                self.hosts[host].members = members;
                self.handle(host, Input::Event(Event::MembersWritten(members)));
            }
            Action::RemoveSignal(_) => {
                let now = self.clock(host);
                // Under the fencer's lock, and only while its deadline lies ahead.
                let may = !self.hosts[host].tripped && self.hosts[host].fencer.is_some_and(|at| at > now);
                if may && self.hosts[host].pg == Pg::Down {
                    self.hosts[host].signal = false;
                    self.handle(host, Input::Event(Event::Server(Server::Down { signal: false })));
                }
            }
            _ => {}
        }
    }

    /// Starts a server that is down, as what it may be.
    fn supervise(&mut self, host: usize) {
        let waits = self.hosts[host].starting > self.now;
        if !self.has_data(host) || self.hosts[host].pg != Pg::Down || !self.hosts[host].power || waits {
            return;
        }
        let now = self.clock(host);
        let Some(driver) = &self.hosts[host].daemon else { return };
        let state = driver.state;
        let attempt = self.hosts[host].attempt;
        let takes = 100 + self.below(200);
        if state.flag == Flag::Full {
            // Paused: a supervisor starts it, and the guard asks the others.
            let mut others = (0..usize::from(self.shape.data)).filter(|other| *other != host);
            let alone = others.all(|other| self.hosts[other].pg == Pg::Standby);
            if self.hosts[host].signal || alone {
                self.hosts[host].starting = self.now + takes;
                self.after(takes, What::StartAs(host, attempt, true));
            }
        } else if state.may_start_as_primary(now) && state.hand_over.is_none() {
            self.hosts[host].starting = self.now + takes;
            self.after(takes, What::StartAs(host, attempt, true));
        } else if state.must_return_as_standby(now) {
            self.hosts[host].starting = self.now + takes;
            self.hosts[host].signal = true;
            self.after(takes, What::StartAs(host, attempt, false));
        }
    }

    // ---- servers ----------------------------------------------------------------------------------------------------

    /// A start that the guard has let pass. A postmaster finds `standby.signal` whenever that was written.
    fn start_server(&mut self, host: usize, attempt: u32, primary: bool) {
        if self.hosts[host].attempt != attempt || self.hosts[host].pg != Pg::Down || !self.hosts[host].power {
            return;
        }
        let primary = primary && !self.hosts[host].signal;
        self.set(host, if primary { Pg::Primary } else { Pg::Standby });
    }

    fn set(&mut self, host: usize, pg: Pg) {
        let before = self.hosts[host].pg;
        self.hosts[host].pg = pg;
        self.show(|| format!("server {host}: {before:?} -> {pg:?}"));
        if pg == Pg::Down {
            self.hosts[host].attempt += 1;
            let keys: Vec<Key> = self.hosts[host].sessions.keys().copied().collect();
            for key in keys {
                self.end_session(host, key);
            }
        }
        if pg == Pg::Standby {
            // The rejoin has finished: the fencer has done its work.
            self.hosts[host].tripped = false;
            self.hosts[host].fencer = None;
            self.hosts[host].received = self.now;
        }
        let writers: Vec<usize> = (0..usize::from(self.shape.data))
            .filter(|host| matches!(self.hosts[*host].pg, Pg::Primary | Pg::Promoting))
            .collect();
        if writers.len() > 1 {
            self.wrong = Some(format!("servers {writers:?} accept writes"));
        }
        if self.has_data(host) {
            let server = self.server_of(host);
            let generation = self.hosts[host].generation;
            let timeline = self.hosts[host].timeline;
            let key = (host, generation, 0);
            self.at(self.now, What::ToClient(host, key, Input::Event(Event::Timeline(timeline))));
            self.at(self.now, What::ToClient(host, key, Input::Event(Event::Server(server))));
        }
    }

    fn fence(&mut self, host: usize) {
        if !self.hosts[host].tripped || !self.hosts[host].power {
            return;
        }
        // Whatever starts from now on is a standby.
        self.hosts[host].signal = true;
        if matches!(self.hosts[host].pg, Pg::Primary | Pg::Promoting) {
            self.totals.fenced += 1;
            self.show(|| format!("server {host} is fenced"));
            self.set(host, Pg::Down);
        } else if self.hosts[host].pg == Pg::Down {
            let key = (host, self.hosts[host].generation, 0);
            let server = Event::Server(Server::Down { signal: true });
            self.at(self.now, What::ToClient(host, key, Input::Event(server)));
        } else {
            self.hosts[host].tripped = false;
            self.hosts[host].fencer = None;
        }
    }

    /// Standbys get what the primary has written, if they reach it.
    fn replicate(&mut self) {
        let data = usize::from(self.shape.data);
        let Some(primary) = (0..data).find(|host| self.hosts[*host].pg == Pg::Primary) else { return };
        self.hosts[primary].end += 10;
        let (timeline, end) = (self.hosts[primary].timeline, self.hosts[primary].end);
        let members = self.hosts[primary].members;
        for copy in 0..HOSTS {
            let is_cut = self.cut[primary][copy] > self.now || self.cut[copy][primary] > self.now;
            let is_up =
                self.hosts[copy].pg == Pg::Standby || (copy >= data && self.hosts[copy].pg != Pg::Down);
            if is_up && !is_cut && members.version > self.hosts[copy].members.version {
                self.hosts[copy].members = members;
            }
        }
        for standby in (0..data).filter(|host| *host != primary) {
            let is_cut = self.cut[primary][standby] > self.now || self.cut[standby][primary] > self.now;
            if self.hosts[standby].pg == Pg::Standby && !is_cut {
                let now = self.now;
                let host = &mut self.hosts[standby];
                (host.timeline, host.end, host.received) = (timeline, end, now);
            }
        }
    }

    // ---- what goes wrong --------------------------------------------------------------------------------------------

    fn trouble(&mut self) {
        if self.now > TROUBLE {
            // Whatever was begun is finished: an operator ends pauses until there is none.
            if self.now < END - 10_000 {
                if self.flags().any(|flag| flag != Flag::Active) {
                    self.command(Wish::Unpause);
                }
                self.after(5000, What::Trouble);
            }
            return;
        }
        let next = 200 + self.below(6000);
        self.after(next, What::Trouble);
        self.totals.faults += 1;
        let host = self.below(HOSTS as u64) as usize;
        let other = (host + 1 + self.below(HOSTS as u64 - 1) as usize) % HOSTS;
        let primary = (0..usize::from(self.shape.data)).find(|host| self.hosts[*host].pg == Pg::Primary);
        match self.below(13) {
            0 => {
                if let Some(primary) = primary {
                    self.show(|| format!("server {primary} crashes"));
                    self.hosts[primary].signal = false;
                    self.set(primary, Pg::Down);
                }
            }
            1 => {
                if self.hosts[host].daemon.is_some() {
                    let until = [100, 1000, 8000][self.below(3) as usize];
                    self.show(|| format!("daemon {host} is killed, for {until} ms"));
                    self.kill_daemon(host);
                    self.after(until, What::Restart(host));
                }
            }
            2 | 3 => {
                let span = self.below(2 * self.params.lease);
                self.show(|| format!("daemon {host} is frozen for {span} ms"));
                self.hosts[host].frozen = self.now + span;
            }
            4 => self.power_off(host),
            5 | 6 => {
                let span = self.below(3 * self.params.lease);
                let both = self.below(3) > 0;
                self.show(|| format!("{host} does not reach {other} for {span} ms, both ways: {both}"));
                self.cut_off(host, other, span);
                if both {
                    self.cut_off(other, host, span);
                }
            }
            7 => {
                let span = self.below(3 * self.params.lease);
                self.show(|| format!("host {host} is isolated for {span} ms"));
                for other in (0..HOSTS).filter(|other| *other != host) {
                    self.cut_off(host, other, span);
                    self.cut_off(other, host, span);
                }
            }
            8 => {
                if self.hosts[host].pg == Pg::Standby {
                    self.show(|| format!("standby {host} is restarted"));
                    self.set(host, Pg::Down);
                } else if !self.has_data(host) && self.hosts[host].power {
                    let span = self.below(self.params.lease);
                    self.show(|| format!("witness {host} is down for {span} ms"));
                    self.set(host, Pg::Down);
                    let attempt = self.hosts[host].attempt;
                    self.after(span, What::StartAs(host, attempt, true));
                }
            }
            9 => {
                // A supervisor starts the server by itself, whenever it is down and the guard lets it pass.
                let now = self.clock(host);
                let driver = self.hosts[host].daemon.as_ref();
                if self.hosts[host].pg == Pg::Down
                    && self.has_data(host)
                    && driver.is_some_and(|driver| driver.state.may_start_as_primary(now))
                {
                    let (attempt, takes) = (self.hosts[host].attempt, self.below(3000));
                    self.after(takes, What::StartAs(host, attempt, true));
                }
            }
            10 => {
                let keys: Vec<Key> = self.hosts[host].sessions.keys().copied().collect();
                if !keys.is_empty() {
                    let key = keys[self.below(keys.len() as u64) as usize];
                    self.show(|| format!("server {host} ends the session of {}", key.0));
                    self.end_session(host, key);
                }
            }
            11 => {
                if let Some(primary) = primary {
                    self.command(Wish::SwitchOver(primary));
                }
            }
            _ => {
                let wish = match self.below(3) {
                    0 => Wish::Pause,
                    1 => Wish::Unpause,
                    _ => Wish::Promote(host),
                };
                self.command(wish);
            }
        }
    }

    fn cut_off(&mut self, from: usize, to: usize, span: u64) {
        let until = self.now + span;
        self.cut[from][to] = self.cut[from][to].max(until);
        self.at(until, What::Healed(from, to));
    }

    fn power_off(&mut self, host: usize) {
        if !self.hosts[host].power {
            return;
        }
        let off = 500 + self.below(15_000);
        self.show(|| format!("host {host} loses power for {off} ms"));
        self.hosts[host].power = false;
        self.kill_daemon(host);
        let server = &mut self.hosts[host];
        if server.pg != Pg::Standby {
            server.signal &= server.pg == Pg::Down;
        }
        server.pg = Pg::Down;
        server.attempt += 1;
        // Nobody is told: the sessions are just gone.
        server.sessions.clear();
        server.fencer = None;
        server.tripped = false;
        self.after(off, What::Boot(host));
    }

    // ---- operators --------------------------------------------------------------------------------------------------

    fn flags(&self) -> impl Iterator<Item = Flag> {
        self.hosts.iter().take(self.shape.data.into()).map(|host| host.flag.0)
    }

    fn command(&mut self, wish: Wish) {
        let mut op = 1 + self.count as u32;
        let mut epoch = Epoch::default();
        if wish == Wish::Unpause {
            // The newest pause that anybody shows, and the operation that began it.
            let shown = self.data_statuses().filter(|(_, status)| status.flag != Flag::Active);
            let paused = shown.filter_map(|(_, status)| Some((status.pause, status.says?.0)));
            let Some(((timeline, counter), began)) = paused.max() else { return };
            op = began;
            epoch = Epoch { timeline, counter, op };
        }
        self.show(|| format!("operator: {wish:?}, operation {op}"));
        let until = self.now + 3000;
        let command = Command { wish, op, round: 0, until, epoch, answered: Vec::new(), armed: false };
        self.commands.insert(op, command);
        self.go_on(op);
    }

    /// What the daemons of data nodes show on their own servers.
    fn data_statuses(&self) -> impl Iterator<Item = (usize, Status)> {
        (0..usize::from(self.shape.data)).filter_map(|host| Some((host, self.status_of(host)?)))
    }

    fn status_of(&self, host: usize) -> Option<Status> {
        let sessions = self.hosts[host].sessions.values();
        let mut statuses = sessions.filter_map(|session| Status::parse(&session.line));
        statuses.find(|status| status.node == id(host as Node))
    }

    fn saying(&self, host: usize, op: u32) -> Option<Saying> {
        let (said, saying) = self.status_of(host)?.says?;
        (said == op).then_some(saying)
    }

    fn type_on(&mut self, host: usize, op: u32, ask: Ask) {
        let Some(driver) = &self.hosts[host].daemon else { return };
        let request = Request { to: id(host as Node), incarnation: driver.incarnation(), op, ask };
        if let Some(line) = request.line(|node| Some(id(node))) {
            self.hosts[host].typed.insert(op, line);
        }
    }

    fn take_back(&mut self, op: u32) {
        for host in &mut self.hosts {
            host.typed.remove(&op);
        }
    }

    /// Goes on with a command, until it is done, gives up, or is killed.
    fn go_on(&mut self, op: u32) {
        let Some(mut command) = self.commands.remove(&op) else { return };
        let is_killed = self.below(200) == 0;
        if self.now > command.until || is_killed {
            self.take_back(op);
            return;
        }
        let round = command.round;
        let goes_on = self.round(&mut command);
        if !goes_on || command.round != round {
            self.take_back(op);
            command.answered.clear();
            command.until = self.now + 3000;
        }
        if goes_on {
            self.commands.insert(op, command);
            self.after(50, What::Command(op));
        }
    }

    /// Returns whether there is more to do.
    fn round(&mut self, command: &mut Command) -> bool {
        let (op, epoch) = (command.op, command.epoch);
        let data: Vec<usize> = (0..usize::from(self.shape.data)).collect();
        let primary = data.iter().copied().find(|host| self.hosts[*host].pg == Pg::Primary);
        match (command.wish, command.round) {
            (Wish::SwitchOver(from), _) => {
                let to = data.iter().find(|host| self.hosts[**host].pg == Pg::Standby);
                if let Some(to) = to.filter(|_| self.hosts[from].pg == Pg::Primary) {
                    self.type_on(from, op, Ask::HandOver(*to as Node));
                }
                self.saying(from, op).is_none()
            }
            (Wish::Promote(host), round) => {
                let others = data.into_iter().filter(|other| *other != host);
                if self.hosts[host].pg != Pg::Standby {
                    return false;
                }
                match self.saying(host, op) {
                    Some(Saying::Votes(moment)) if round == 1 => {
                        for other in others {
                            if self.hosts[other].power {
                                self.type_on(other, op, Ask::Aside(moment));
                            } else {
                                self.type_on(host, op, Ask::Off(Nodes::one(other as Node), moment));
                            }
                        }
                    }
                    Some(Saying::Votes(_)) => command.round = 1,
                    _ if round == 0 => self.type_on(host, op, Ask::Candidate),
                    _ => {}
                }
                true
            }
            (Wish::Pause, 0) => {
                let Some(leader) = primary else { return false };
                self.type_on(leader, op, Ask::Hold(None));
                match (self.saying(leader, op), self.status_of(leader)) {
                    (Some(Saying::Held), Some(status)) => {
                        let (timeline, counter) = status.pause;
                        command.epoch = Epoch { timeline, counter, op };
                        command.round = 1;
                        true
                    }
                    (Some(Saying::No(_)), _) => false,
                    _ => true,
                }
            }
            (Wish::Pause, 2) => {
                let Some(leader) = primary else { return false };
                let version = self.hosts[leader].members.version;
                self.type_on(leader, op, Ask::Full { epoch, version, issued: false });
                if self.saying(leader, op) == Some(Saying::Full) {
                    command.round = 3;
                }
                true
            }
            (Wish::Pause, round) => {
                let Some(leader) = primary else { return false };
                let version = self.hosts[leader].members.version;
                let (ask, wanted) = match round {
                    1 => (Ask::Hold(Some(epoch)), Saying::Held),
                    _ => (Ask::Full { epoch, version, issued: true }, Saying::Full),
                };
                let others: Vec<usize> = data.into_iter().filter(|host| *host != leader).collect();
                self.ask_all(command, &others, ask, |saying| saying == wanted);
                if others.iter().all(|other| command.answered.contains(other)) {
                    command.round += 1;
                    self.totals.pauses += u64::from(command.round == 4);
                }
                command.round < 4
            }
            (Wish::Unpause, 0) => {
                let answers = |saying| matches!(saying, Saying::Armed | Saying::Ending);
                self.ask_all(command, &data, Ask::Ending(epoch, true), answers);
                command.armed |= data.iter().any(|host| self.saying(*host, op) == Some(Saying::Armed));
                if data.iter().all(|host| command.answered.contains(host)) {
                    command.round = 1;
                }
                true
            }
            (Wish::Unpause, _) => {
                let (armed, ended) = if command.armed { (Some(epoch), None) } else { (None, Some(epoch)) };
                for host in data {
                    self.type_on(host, op, Ask::Clear { armed, ended, locked: true });
                }
                self.flags().any(|flag| flag != Flag::Active)
            }
        }
    }

    fn ask_all(&mut self, command: &mut Command, hosts: &[usize], ask: Ask, wanted: impl Fn(Saying) -> bool) {
        for host in hosts {
            self.type_on(*host, command.op, ask);
            if self.saying(*host, command.op).is_some_and(&wanted) && !command.answered.contains(host) {
                command.answered.push(*host);
            }
        }
    }

    /// Long after the last fault: one primary that leads, and everybody is there.
    fn is_well(&self) -> Result<(), String> {
        let data = 0..usize::from(self.shape.data);
        let leads = |host: &usize| {
            let now = self.clock(*host);
            self.hosts[*host].pg == Pg::Primary
                && self.hosts[*host].daemon.as_ref().is_some_and(|driver| driver.state.leads(now))
        };
        let leaders = data.clone().filter(leads).count();
        let down: Vec<usize> = data.filter(|host| self.hosts[*host].pg == Pg::Down).collect();
        if leaders == 1 && down.is_empty() && self.flags().all(|flag| flag == Flag::Active) {
            return Ok(());
        }
        let states: Vec<String> = self
            .hosts
            .iter()
            .map(|host| {
                let core = host.daemon.as_ref().map(|driver| driver.state);
                format!("{:?} signal={} tripped={} {:?}", host.pg, host.signal, host.tripped, core)
            })
            .collect();
        Err(format!("{leaders} leaders, {down:?} down at the end\n{}", states.join("\n")))
    }
}

fn id(node: Node) -> NodeId {
    NodeId::from(node) + 1
}
