//! The world around the daemons: servers, locks, fencers, commands, faults. It does the worst that the assumptions of `src/lib.rs` allow.
//!
//! What is left out, and why nothing is lost by that:
//!
//! - A request reaches its server at once. A late one only makes the evidence of the sender older.
//! - A session that ends and its lock that somebody else takes are one step. In between nobody could do anything with it.
//! - A daemon knows at once what its own server is. What decides is bound to sessions and to the fencer, not to that knowledge.
//! - A message of a command is a fact that a daemon has acknowledged: any command may use it at any later time, or never. So commands may
//!   die, hang, be doubled.
//! - Two promotions never get the same timeline. (Epochs of two that did would differ by their operation, and be refused.)
//! - Without `late`, an answer comes at once, and a promotion that is requested is carried out at once.

mod happen;
mod settle;

use pgbaton_lease::{
    Action, Ask, Epoch, Event, Flag, Members, Moment, Node, Nodes, Params, Server, State, Time, Version,
    Word, step,
};

/// Now, always: when time passes, everything else becomes older.
const NOW: Time = Time(1000);

/// Data nodes at most.
pub const DATA: usize = 3;

/// Epochs that commands know of, at most.
const EPOCHS: usize = 4;

/// What the world contains, and what may happen in it.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its name.
    pub name: &'static str,
    /// Nodes with data.
    pub data: u8,
    /// Voters.
    pub voters: u8,
    /// The times, in ticks, and the rule that is broken.
    pub params: Params,
    /// What is broken in the world.
    pub fault: Option<Broken>,
    /// Answers and promotions may be late.
    pub late: bool,
    /// A client ends a session only when the server has.
    pub lazy: bool,
    /// Crashes of servers.
    pub crashes: bool,
    /// Deaths of daemons.
    pub deaths: bool,
    /// Losses of power.
    pub power: bool,
    /// Losses of state directories.
    pub loss: bool,
    /// How many of these happen at most.
    pub faults: u8,
    /// Hand-overs.
    pub hand_over: bool,
    /// Pauses at most.
    pub pauses: u8,
    /// No daemon has run before.
    pub first: bool,
    /// Commands move the role while all daemons are paused.
    pub moves: bool,
    /// Candidates that are asked for, and proofs.
    pub candidate_now: bool,
}

/// What is broken around the daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The fencer ends with its daemon.
    FencerDies,
    /// A daemon that starts again has forgotten the pause.
    PauseForgotten,
    /// Standbys are active from the first start on.
    ActiveAtFirst,
    /// A lost state directory is taken for a first start.
    LostIsFirst,
    /// The start guard takes the votes of a majority, and lets the server start as a primary.
    GuardTakesVotes,
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pg {
    Standby,
    Promoting,
    Primary,
    Down,
    /// The start guard has let it pass as a primary; it does not run yet.
    Admitted,
}

/// An answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flight {
    sent: Time,
    moment: Moment,
    is_grant: bool,
}

/// A note on a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Note {
    from: Node,
    to: Node,
    /// Ticks since the unlock.
    age: u8,
}

/// What has been acknowledged of a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Known {
    epoch: Epoch,
    held: Nodes,
    full: bool,
    ended: Nodes,
    armed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Host<const N: usize> {
    core: State<N>,
    daemon: bool,
    power: bool,
    pg: Pg,
    signal: bool,
    /// Ticks until the fencer's deadline; 0: passed, or disarmed.
    fencer: u8,
    /// Ticks for which it is late.
    late: u8,
    flights: [Option<Flight>; N],
    /// A request for promotion on its way.
    promote: bool,
    /// Proofs on their way, of each other node, with the moment that was quoted.
    proofs: [Option<Moment>; DATA],
    /// A note that was seen on a voter, with its operation, on its way to the daemon.
    seen: Option<(Node, u32, Moment)>,
    /// The heir has refused, and this node may learn of it.
    refused: bool,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World<const N: usize> {
    hosts: [Host<N>; DATA],
    /// Who holds each vote.
    holders: [Option<Node>; N],
    notes: [Option<Note>; N],
    known: [Option<Known>; EPOCHS],
    /// Where a command is at work.
    command: Option<Node>,
    faults: u8,
    pauses: u8,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Time,
    Take(Node, Node),
    Beat(Node, Node),
    Answer(Node, Node),
    Close(Node, Node),
    Look(Node),
    StandDown(Node),
    PromotionArrives(Node),
    ReadWrite(Node),
    Fence(Node),
    Crash(Node),
    Die(Node),
    Restart(Node),
    RestartWithoutState(Node),
    PowerOff(Node),
    Boot(Node),
    Admit(Node),
    Start(Node),
    StartAsStandby(Node),
    HandOver(Node, Node),
    Agree(Node),
    StopForHeir(Node),
    HeirHasAll(Node),
    Signal(Node),
    Scan(Node),
    Fail(Node),
    TakeNote(Node, Node),
    Unlock(Node, Node),
    NoteVanishes(Node),
    SeeNote(Node, Node),
    LearnOfNote(Node),
    Refuse(Node),
    LearnOfRefusal(Node),
    RemoveSignal(Node),
    Issue(Node),
    Hold(Node, u8),
    Full(Node, u8),
    End(Node, u8),
    Clear(Node),
    Readmit(Node, Node),
    Prove(Node, Node),
    LearnOfProof(Node, Node),
    Demote(Node),
    Begin(Node),
    PromoteByHand(Node),
    CommandDies,
}

const CANDIDATE: u32 = 0xC0;

const fn op_of(from: Node, to: Node) -> u32 {
    (from as u32) * 8 + to as u32 + 1
}

impl Config {
    fn nodes(&self) -> std::ops::Range<Node> {
        0..self.data
    }

    fn data_nodes(&self) -> Nodes {
        Nodes::first(self.data)
    }

    /// They do not change here: that is checked by itself, in `members.rs`.
    fn members(&self) -> Members {
        Members { version: Version::default(), data: self.data_nodes(), voters: Nodes::first(self.voters) }
    }

    fn is(&self, broken: Broken) -> bool {
        self.fault == Some(broken)
    }
}

impl<const N: usize> World<N> {
    /// The beginning: node 0 is the primary.
    pub fn new(config: &Config) -> Self {
        let host = |node: Node| {
            let (pg, server) =
                if node == 0 { (Pg::Primary, Server::Primary) } else { (Pg::Standby, Server::Standby) };
            let flag = match config.first {
                true if node > 0 && config.is(Broken::ActiveAtFirst) => Flag::Active,
                true => Flag::Full,
                false => Flag::Active,
            };
            let adopted = (node == 0 && !config.first).then(|| NOW.after(config.params.lease));
            let timeline = u32::from(node == 0);
            Host {
                core: State::start(
                    node,
                    config.members(),
                    (flag, Epoch::default()),
                    (server, timeline),
                    adopted,
                    NOW,
                ),
                daemon: true,
                power: true,
                pg,
                signal: pg == Pg::Standby,
                fencer: 0,
                late: 0,
                flights: [None; N],
                promote: false,
                proofs: [None; DATA],
                seen: None,
                refused: false,
            }
        };
        let mut world = Self {
            hosts: [host(0), host(1), host(2)],
            holders: [None; N],
            notes: [None; N],
            known: [None; EPOCHS],
            command: None,
            faults: 0,
            pauses: 0,
        };
        if config.first {
            world.known[0] = Some(Known::default());
        } else {
            for voter in 0..config.voters {
                world.take(config, 0, voter);
            }
        }
        world.settle(config);
        world
    }

    fn host(&self, node: Node) -> &Host<N> {
        &self.hosts[usize::from(node)]
    }

    fn host_mut(&mut self, node: Node) -> &mut Host<N> {
        &mut self.hosts[usize::from(node)]
    }

    fn holder(&self, voter: Node) -> Option<Node> {
        self.holders[usize::from(voter)]
    }

    fn believes(&self, node: Node, voter: Node) -> bool {
        self.host(node).core.session(voter).is_some()
    }

    fn holds(&self, node: Node, voter: Node) -> bool {
        self.believes(node, voter) && self.holder(voter) == Some(node)
    }

    /// Says whether two servers accept writes, or are about to.
    pub fn is_bad(&self, config: &Config) -> bool {
        config.nodes().filter(|node| self.writes(*node)).count() > 1
    }

    fn writes(&self, node: Node) -> bool {
        matches!(self.host(node).pg, Pg::Promoting | Pg::Primary)
    }

    /// Whether it writes, or will as soon as it runs.
    fn will_write(&self, node: Node) -> bool {
        let host = self.host(node);
        self.writes(node) || (host.pg == Pg::Admitted && !host.signal)
    }

    /// The primary and how many leaders there are, for the statistics of walks.
    pub fn primary(&self, config: &Config) -> Option<Node> {
        config.nodes().find(|node| self.host(*node).pg == Pg::Primary)
    }

    /// Says whether there is one leader that is armed, and everybody is active.
    pub fn is_whole(&self, config: &Config) -> bool {
        let leaders =
            config.nodes().filter(|node| self.host(*node).pg == Pg::Primary && self.host(*node).fencer > 0);
        let all = config.nodes().all(|node| {
            let host = self.host(node);
            host.core.flag == Flag::Active
                && host.daemon
                && host.power
                && !matches!(host.pg, Pg::Down | Pg::Admitted)
        });
        leaders.count() == 1 && all
    }

    /// The fencer has to act: nothing keeps the server from writing but it.
    fn is_due(&self, config: &Config, node: Node) -> bool {
        let host = self.host(node);
        if config.is(Broken::FencerDies) && !host.daemon {
            return false;
        }
        self.will_write(node) && host.core.flag != Flag::Full && host.fencer == 0
    }

    /// Tells a daemon of something. Returns what it answers.
    fn tell(&mut self, config: &Config, node: Node, event: Event) -> Option<Word> {
        if !self.host(node).daemon {
            return None;
        }
        let (core, actions) = step(&config.params, NOW, self.host(node).core, event);
        let host = self.host_mut(node);
        host.core = core;
        host.fencer = core.fence_at().map_or(0, |at| at.since(NOW) as u8);
        let mut word = None;
        let mut told = Vec::new();
        for action in actions {
            match action {
                Action::Answer(_, answer) => word = Some(answer),
                Action::BeStandby => self.host_mut(node).signal = true,
                Action::Drop => self.drop_sessions(node),
                Action::Promote(_) => {
                    self.host_mut(node).promote = true;
                    if !config.late {
                        told.push(Step::PromotionArrives(node));
                    }
                }
                // These are seen in the state of the daemon, and happen at any later time.
                Action::WriteFlag(..)
                | Action::AskReady(..)
                | Action::Stop(_)
                | Action::WriteSignal(_)
                | Action::Scan(_)
                | Action::TakeNote(..)
                | Action::Unlock(..)
                | Action::EndNotes
                | Action::RemoveSignal(_)
                | Action::WriteMembers(_)
                | Action::Fence(_) => {}
            }
        }
        for step in told {
            if let Step::PromotionArrives(node) = step {
                self.promotion_arrives(config, node);
            }
        }
        word
    }

    fn promotion_arrives(&mut self, config: &Config, node: Node) {
        self.host_mut(node).promote = false;
        // In the session that holds the own server's vote, or not at all.
        if self.holder(node) == Some(node) && self.host(node).pg == Pg::Standby {
            self.host_mut(node).pg = Pg::Promoting;
            self.tell(config, node, Event::Server(Server::Promoting));
        } else {
            self.tell(config, node, Event::NotPromoted);
        }
    }

    fn drop_sessions(&mut self, node: Node) {
        for (holder, note) in self.holders.iter_mut().zip(&mut self.notes) {
            if *holder == Some(node) {
                *holder = None;
                // Where the vote was released, the session goes on with the note alone.
                *note = note.filter(|note| note.from != node);
            }
        }
        self.host_mut(node).flights = [None; N];
    }

    /// A server is down: the sessions on it have ended.
    fn gone(&mut self, node: Node) {
        self.holders[usize::from(node)] = None;
        self.notes[usize::from(node)] = None;
    }

    fn take(&mut self, config: &Config, node: Node, voter: Node) {
        let slot = usize::from(voter);
        if let Some(before) = self.holders[slot]
            && self.notes[slot].is_some_and(|note| note.from == before)
        {
            // The session that had the vote had the note, too.
            self.notes[slot] = None;
        }
        self.holders[slot] = Some(node);
        // The members are the same all the time here.
        if config.late {
            let moment = self.host(node).core.moment;
            self.host_mut(node).flights[slot] = Some(Flight { sent: NOW, moment, is_grant: true });
        } else {
            self.tell(
                config,
                node,
                Event::Granted { voter, backend: 0, sent: NOW, members: config.members() },
            );
        }
    }

    fn stand(&mut self, config: &Config, node: Node) {
        let core = &self.host(node).core;
        if core.is_willing() && core.candidacy.is_none() {
            let event = match config.candidate_now {
                true => Event::Ask(CANDIDATE, Ask::Candidate),
                false => Event::Stand,
            };
            self.tell(config, node, event);
        }
    }

    /// The server of a node is something else now.
    fn set(&mut self, config: &Config, node: Node, pg: Pg) {
        self.host_mut(node).pg = pg;
        let server = match pg {
            Pg::Standby => Server::Standby,
            Pg::Promoting => Server::Promoting,
            Pg::Primary => Server::Primary,
            Pg::Down | Pg::Admitted => Server::Down { signal: self.host(node).signal },
        };
        if matches!(pg, Pg::Down) {
            self.gone(node);
            self.host_mut(node).promote = false;
        }
        if self.host(node).daemon {
            self.tell(config, node, Event::Server(server));
        } else {
            self.host_mut(node).core.server = server;
        }
    }

    fn become_standby(&mut self, config: &Config, node: Node) {
        self.host_mut(node).signal = true;
        self.set(config, node, Pg::Standby);
        self.host_mut(node).refused = false;
    }

    /// Says whether a step belongs to a world in which nothing breaks: sessions are kept alive, and nobody takes what another one has.
    pub fn is_peaceful(&self, config: &Config, step: Step) -> bool {
        let is_stale = |node: Node, voter: Node| {
            let slot = self.host(node).core.slots[usize::from(voter)];
            self.holds(node, voter) && self.host(node).daemon && slot.vote.is_some_and(|vote| vote.sent < NOW)
        };
        match step {
            Step::Time => {
                let all =
                    || config.nodes().flat_map(|node| (0..config.voters).map(move |voter| (node, voter)));
                !all().any(|(node, voter)| is_stale(node, voter))
            }
            Step::Take(_, voter) => self.holder(voter).is_none(),
            Step::Close(node, voter) => {
                let core = &self.host(node).core;
                let is_candidate = core.candidacy.is_some() && !core.may_write();
                self.holder(voter) != Some(node) || (is_candidate && core.votes_held() < core.majority())
            }
            _ => true,
        }
    }

    /// The world in a line.
    pub fn summary(&self, config: &Config) -> String {
        let name = |node: Node| char::from(b'A' + node);
        let host = |node: Node| {
            let host = self.host(node);
            let marks = [
                (host.signal, "+signal"),
                (!host.daemon, " dead"),
                (!host.power, " off"),
                (host.core.lapsed, " lapsed"),
            ];
            let marks: String = marks.iter().filter(|(holds, _)| *holds).map(|(_, mark)| *mark).collect();
            let votes: String = (0..config.voters)
                .filter(|voter| self.believes(node, *voter))
                .map(|v| v.to_string())
                .collect();
            let stage = host.core.hand_over.map_or(String::new(), |present| format!(" {:?}", present.stage));
            let Epoch { timeline, counter, .. } = host.core.epoch;
            format!(
                "{}:{:?}{marks} {:?}{timeline}.{counter} fencer={} votes={votes}{stage}",
                name(node),
                host.pg,
                host.core.flag,
                host.fencer
            )
        };
        let hosts: Vec<String> = config.nodes().map(host).collect();
        let holders: String = (0..config.voters).map(|voter| self.holder(voter).map_or('-', name)).collect();
        let notes: String = (0..usize::from(config.voters))
            .map(|voter| self.notes[voter].map_or('-', |note| name(note.to)))
            .collect();
        format!("{} | locks {holders} notes {notes}", hosts.join(" | "))
    }

    /// All that could happen.
    pub fn steps(config: &Config) -> Vec<Step> {
        let mut steps = vec![Step::Time];
        let nodes = || config.nodes();
        let voters = || 0..config.voters;
        let others = |node: Node| config.nodes().filter(move |other| *other != node);
        for node in nodes() {
            for voter in voters() {
                steps.extend([Step::Take(node, voter), Step::Beat(node, voter), Step::Close(node, voter)]);
                if config.late {
                    steps.push(Step::Answer(node, voter));
                }
            }
            steps.extend([
                Step::Look(node),
                Step::ReadWrite(node),
                Step::Fence(node),
                Step::Restart(node),
                Step::Admit(node),
                Step::Start(node),
                Step::StartAsStandby(node),
                Step::StandDown(node),
            ]);
            if config.late {
                steps.push(Step::PromotionArrives(node));
            }
            if config.crashes {
                steps.push(Step::Crash(node));
            }
            if config.deaths {
                steps.push(Step::Die(node));
            }
            if config.power {
                steps.extend([Step::PowerOff(node), Step::Boot(node)]);
            }
            if config.loss {
                steps.push(Step::RestartWithoutState(node));
                steps.extend(others(node).map(|other| Step::Readmit(node, other)));
            }
            if config.hand_over {
                steps.extend(others(node).map(|other| Step::HandOver(node, other)));
                steps.extend([
                    Step::Agree(node),
                    Step::StopForHeir(node),
                    Step::HeirHasAll(node),
                    Step::Signal(node),
                    Step::Scan(node),
                    Step::Fail(node),
                    Step::Refuse(node),
                    Step::LearnOfRefusal(node),
                    Step::RemoveSignal(node),
                ]);
                for voter in voters() {
                    steps.extend([
                        Step::TakeNote(node, voter),
                        Step::Unlock(node, voter),
                        Step::SeeNote(node, voter),
                    ]);
                }
                if config.late {
                    steps.push(Step::LearnOfNote(node));
                }
            }
            if config.pauses > 0 || config.first {
                for known in 0..EPOCHS as u8 {
                    steps.extend([Step::Hold(node, known), Step::Full(node, known), Step::End(node, known)]);
                }
                steps.extend([Step::Issue(node), Step::Clear(node)]);
            }
            if config.candidate_now {
                steps.extend(others(node).map(|other| Step::Prove(node, other)));
                if config.late {
                    steps.extend(others(node).map(|other| Step::LearnOfProof(node, other)));
                }
            }
            if config.moves {
                steps.extend([Step::Demote(node), Step::Begin(node), Step::PromoteByHand(node)]);
            }
        }
        if config.hand_over {
            steps.extend(voters().map(Step::NoteVanishes));
        }
        if config.moves {
            steps.push(Step::CommandDies);
        }
        steps
    }

    /// Returns what comes of a step; None if it cannot happen now, or changes nothing.
    pub fn after(&self, config: &Config, step: Step) -> Option<Self> {
        let mut world = *self;
        world.happen(config, step)?;
        world.settle(config);
        (world != *self).then_some(world)
    }
}
