//! What there is: three servers, the host of A with its processes, the commands of B and C, and what they have written down.

/// The node that is the primary at the beginning. Its host has the far ends.
pub const A: usize = 0;
/// The candidate of a switchover.
pub const B: usize = 1;
/// Its sibling.
pub const C: usize = 2;

/// A set of nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Nodes(u8);

impl Nodes {
    pub const NONE: Self = Self(0);

    pub fn contains(self, node: usize) -> bool {
        self.0 >> node & 1 == 1
    }

    pub fn with(self, node: usize) -> Self {
        Self(self.0 | 1 << node)
    }

    pub fn without(self, node: usize) -> Self {
        Self(self.0 & !(1 << node))
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn without_all(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = [(A, 'A'), (B, 'B'), (C, 'C')].into_iter().filter(|(node, _)| self.contains(*node));
        names.map(|(_, name)| name).collect::<String>().fmt(f)
    }
}

/// What a server is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Server {
    Down,
    /// It comes up, without `standby.signal`.
    Starting,
    Standby,
    /// A promotion was requested of it.
    Promoting,
    Primary,
    /// It was asked to stop.
    Stopping,
}

impl Server {
    pub fn is_up(self) -> bool {
        self != Self::Down
    }

    /// It accepts writes, or does so as soon as it can: there must never be two of these.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Promoting | Self::Primary | Self::Starting)
    }

    /// It accepts sessions.
    pub fn lets_in(self) -> bool {
        matches!(self, Self::Standby | Self::Promoting | Self::Primary)
    }
}

/// The nodes not seen by the process that made a server a primary, or let it become one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Unseen {
    /// These were primaries at that moment, or coming up as one.
    pub primaries: Nodes,
    /// These were not.
    pub others: Nodes,
}

impl Unseen {
    pub fn without(self, seen: Nodes) -> Self {
        Self { primaries: self.primaries.without_all(seen), others: self.others.without_all(seen) }
    }

    pub fn and(self, other: Self) -> Self {
        Self { primaries: self.primaries.and(other.primaries), others: self.others.and(other.others) }
    }
}

/// The holder of the lock of node A on its host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HostLock {
    Free,
    FarEnd(usize),
    NodeStart,
}

/// The host of A, but for its processes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Host {
    pub standby_signal: bool,
    /// `pg_control` says that the server was shut down as a primary.
    pub shut_down: bool,
    /// A program that starts the server was spawned, and the postmaster has not read the data directory yet.
    pub start_under_way: bool,
    pub lock: HostLock,
}

/// What a far end is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    WriteSignal,
    Stop,
    Confirm,
    GoBack,
    /// Remove the `standby.signal` that the second channel has written: nothing was promoted.
    TakeSignalBack,
}

/// What it answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    None,
    SignalWritten,
    ShutDown,
    Confirmed,
    /// The old primary is back, or the signal is taken back.
    Back,
    Refused,
}

/// What a far end does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Work {
    /// There is no such process.
    Absent,
    Serves,
    /// It has queried the other nodes, and none objects to the old primary.
    MayStart,
    SignalRemoved,
    Spawned,
    /// It has queried the other nodes, and none objects to removing the signal.
    MayRemove,
}

/// A far end on the host of A.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FarEnd {
    pub work: Work,
    /// The node whose command has opened it.
    pub owner: usize,
    /// That command still reads from the channel.
    pub connected: bool,
    /// It has noticed that the channel is gone, or silent.
    pub alone: bool,
    /// It was given the rollback.
    pub armed: bool,
    /// It was asked to stop the server.
    pub stops: bool,
    /// It has said that the server is shut down.
    pub reported: bool,
    pub requests: [Option<Request>; 2],
    pub answer: Answer,
    pub unseen: Unseen,
}

impl FarEnd {
    pub const ABSENT: Self = Self {
        work: Work::Absent,
        owner: A,
        connected: false,
        alone: false,
        armed: false,
        stops: false,
        reported: false,
        requests: [None; 2],
        answer: Answer::None,
        unseen: Unseen { primaries: Nodes::NONE, others: Nodes::NONE },
    };

    /// A new one, with a channel to a command.
    pub fn serving(owner: usize) -> Self {
        Self { work: Work::Serves, owner, connected: true, ..Self::ABSENT }
    }

    pub fn is_there(&self) -> bool {
        self.work != Work::Absent
    }

    pub fn ask(&mut self, request: Request) {
        self.answer = Answer::None;
        let free = self.requests.iter_mut().find(|place| place.is_none());
        *free.expect("no third question without an answer") = Some(request);
    }
}

/// Which command runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Nothing,
    Switchover,
    /// A promotion: of `standby promote`, or of an operation that is resumed.
    Promotion,
}

/// How far it is: what it does next, or waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    AwaitSignal,
    AwaitShutDown,
    AwaitConfirmation,
    LastLook,
    OpenSecondChannel,
    WriteSignalFirst,
    LookAtHost,
    /// Only if the signal is written after the look.
    WriteSignalLate,
    JudgeAnew,
    Mark,
    RequestPromotion,
    AwaitPromotion,
    GoBack,
    AwaitBack,
    AwaitSignalTaken,
}

/// A command on B or C.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Command {
    pub kind: Kind,
    /// It takes up an operation that was left unfinished.
    pub resumes: bool,
    pub phase: Phase,
    /// Its far end.
    pub channel: Option<usize>,
    /// The nodes whose advisory lock one of its sessions holds.
    pub locks: Nodes,
    pub unseen: Unseen,
    /// The signal on the host of A is its own, by the second channel.
    pub wrote_signal: bool,
}

impl Command {
    pub const NONE: Self = Self {
        kind: Kind::Nothing,
        resumes: false,
        phase: Phase::AwaitSignal,
        channel: None,
        locks: Nodes::NONE,
        unseen: Unseen { primaries: Nodes::NONE, others: Nodes::NONE },
        wrote_signal: false,
    };

    pub fn runs(&self) -> bool {
        self.kind != Kind::Nothing
    }
}

/// The journal of the operation of a node, and its row in the cluster.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Journal {
    pub open: bool,
    /// The point of no return is on the disk.
    pub marked: bool,
    /// The rollback was requested, and its result is unknown.
    pub asked_back: bool,
    /// There was a primary that the row could be written to, and the own server has it.
    pub row: bool,
    /// It has reached the other standby, too.
    pub row_elsewhere: bool,
}

/// `node start` on A.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeStart {
    pub stage: StartStage,
    pub locks: Nodes,
    pub unseen: Unseen,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StartStage {
    Absent,
    /// It has asked the other nodes, and a majority has nothing against it.
    Judged,
    Spawned,
}

impl NodeStart {
    pub const NONE: Self = Self {
        stage: StartStage::Absent,
        locks: Nodes::NONE,
        unseen: Unseen { primaries: Nodes::NONE, others: Nodes::NONE },
    };
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub server: [Server; 3],
    pub timeline: [u8; 3],
    /// What was not seen when the server was made a primary; for A since its signal was removed.
    pub unseen: [Unseen; 3],
    /// The node whose command has ordered that A be a primary again.
    pub ordered_by: Option<usize>,
    pub host: Host,
    pub far_ends: [FarEnd; 2],
    /// Of B and C.
    commands: [Command; 2],
    journals: [Journal; 2],
    pub node_start: NodeStart,
    /// How many commands were typed.
    pub typed: u8,
    pub crashes: u8,
}

impl State {
    /// A is the primary, and nothing goes on.
    pub fn first() -> Self {
        let host =
            Host { standby_signal: false, shut_down: false, start_under_way: false, lock: HostLock::Free };
        Self {
            server: [Server::Primary, Server::Standby, Server::Standby],
            timeline: [1; 3],
            unseen: [Unseen::default(); 3],
            ordered_by: None,
            host,
            far_ends: [FarEnd::ABSENT; 2],
            commands: [Command::NONE; 2],
            journals: [Journal::default(); 2],
            node_start: NodeStart::NONE,
            typed: 0,
            crashes: 0,
        }
    }

    pub fn command(&self, node: usize) -> &Command {
        &self.commands[node - B]
    }

    pub fn command_mut(&mut self, node: usize) -> &mut Command {
        &mut self.commands[node - B]
    }

    pub fn journal(&self, node: usize) -> &Journal {
        &self.journals[node - B]
    }

    pub fn journal_mut(&mut self, node: usize) -> &mut Journal {
        &mut self.journals[node - B]
    }

    /// The far end that a command talks to, as far as it is still there and still talks to it.
    pub fn channel_of(&self, node: usize) -> Option<usize> {
        self.command(node).channel.filter(|place| {
            let far_end = &self.far_ends[*place];
            far_end.is_there() && far_end.owner == node && far_end.connected && !far_end.alone
        })
    }

    /// Says whether the lock of a node is held by another command than that of `but`; A stands for `node start`.
    pub fn is_locked(&self, node: usize, but: usize) -> bool {
        let by_command = |other: usize| other != but && self.command(other).locks.contains(node);
        by_command(B) || by_command(C) || (but != A && self.node_start.locks.contains(node))
    }

    /// The server of A is gone, and with it the sessions on it.
    pub fn end_server_of_a(&mut self) {
        self.server[A] = Server::Down;
        self.host.shut_down = false;
        for node in [B, C] {
            let command = self.command_mut(node);
            command.locks = command.locks.without(A);
        }
    }

    pub fn write_signal(&mut self) {
        self.host.standby_signal = true;
    }

    pub fn end_far_end(&mut self, place: usize) {
        self.far_ends[place] = FarEnd::ABSENT;
        if self.host.lock == HostLock::FarEnd(place) {
            self.host.lock = HostLock::Free;
        }
    }

    /// A command ends, however: its sessions are closed, and so is its channel.
    pub fn end_command(&mut self, node: usize) {
        if let Some(place) = self.command(node).channel
            && self.far_ends[place].is_there()
            && self.far_ends[place].owner == node
        {
            self.far_ends[place].connected = false;
            self.far_ends[place].answer = Answer::None;
        }
        *self.command_mut(node) = Command::NONE;
    }

    pub fn end_node_start(&mut self) {
        self.node_start = NodeStart::NONE;
        if self.host.lock == HostLock::NodeStart {
            self.host.lock = HostLock::Free;
        }
    }

    /// The host of A is gone for good, and whatever ran there.
    pub fn without_host(mut self) -> Self {
        self.end_server_of_a();
        self.end_node_start();
        for place in 0..self.far_ends.len() {
            self.end_far_end(place);
        }
        self.host.start_under_way = false;
        self
    }

    /// Forgets what makes no difference any more.
    pub fn simplified(mut self) -> Self {
        if self.server[A] != Server::Down && self.server[A] != Server::Stopping {
            self.host.shut_down = false;
        }
        if self.host.standby_signal && matches!(self.server[A], Server::Down | Server::Standby) {
            self.unseen[A] = Unseen::default();
            self.ordered_by = None;
        }
        for node in [B, C] {
            if !self.journal(node).open {
                *self.journal_mut(node) = Journal::default();
            }
        }
        self
    }

    /// Exactly one primary, and nothing goes on or is left open.
    pub fn is_at_rest(&self) -> bool {
        self.server.iter().filter(|server| server.is_active()).count() == 1
            && self.server.contains(&Server::Primary)
            && self.server[A] != Server::Starting
            && !self.host.start_under_way
            && self.host.lock == HostLock::Free
            && self.far_ends.iter().all(|far_end| !far_end.is_there())
            && [B, C].iter().all(|node| !self.command(*node).runs() && !self.journal(*node).open)
            && self.node_start.stage == StartStage::Absent
    }
}
