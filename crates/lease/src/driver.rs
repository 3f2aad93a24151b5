//! The sessions of a daemon, without a socket: what is asked in them and when, how the answers are told to the core, and what this daemon
//! shows of itself.
//!
//! There is one session per voter, also while no vote is wanted: it shows who holds the vote there and what other daemons and commands say.
//! One question is on its way in each; what is not answered in time ends the session, and its vote with it. Nothing is ever repeated in
//! another session: what was decided for one is done there or not at all.

mod decisions;
mod mailbox;
mod sessions;

use crate::event::{Action, Ask, Event, Op, Word};
use crate::mailbox::{Incarnation, NodeId, Status};
use crate::members::Members;
use crate::outlook::{Lack, Position, best};
use crate::params::Params;
use crate::state::State;
use crate::step::step;
use crate::time::{Moment, Ms, Time};
use crate::votes::{Backend, Node};

/// How long a session may take to answer at least, however short the heartbeat is.
const SHORTEST_PATIENCE: Ms = 300;

/// How often those are asked with whom a hand-over is under way: clients cannot write meanwhile.
const HASTE: Ms = 20;

/// For how long an answer is shown, if the one who asked does not go away before.
const SHOWN: Ms = 10_000;

/// What is asked in a session. Every question also shows this daemon's line, and brings a [`View`] back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Nothing but the view: the heartbeat.
    Look,
    /// The vote, if it is free.
    Vote,
    /// Release the vote, and keep the session.
    Release,
    /// A note for an heir.
    Note(Node, Op),
    /// Give the note up.
    Forget,
    /// Promote this server.
    Promote,
}

/// What a session shows of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// It is in recovery.
    pub in_recovery: bool,
    /// The timeline of the last WAL that it has on disk.
    pub timeline: u32,
    /// Where its WAL ends, in bytes.
    pub end: u64,
    /// For how long its WAL receiver has got nothing, in milliseconds; None where none runs.
    pub silent: Option<Ms>,
    /// Its copy of the members.
    pub members: Members,
    /// The process that holds the vote, and its line.
    pub holder: Option<Option<Status>>,
    /// For whom there are notes, with their operations.
    pub notes: Vec<(NodeId, Op)>,
    /// The lines of daemons.
    pub statuses: Vec<Status>,
    /// The lines of those who ask.
    pub requests: Vec<String>,
}

/// What comes back from a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether what was asked has been done: the vote was granted, the note taken.
    pub is_done: bool,
    /// What the server shows.
    pub view: View,
}

/// What the driver wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a session to a voter's server.
    Open(Node, Backend),
    /// End a session, at once.
    Close(Node, Backend),
    /// Ask in a session, with this line as its name.
    Send(Node, Backend, Query, String),
    /// The session in which the promotion was requested has ended without an answer. End its backend, wait until that is gone, and look what
    /// the server is: what is sent in a session may be carried out after its client has left. Then tell [`Event::NotPromoted`] or what it is.
    CheckPromotion(Backend),
    /// Something that is not done in a session.
    Act(Action),
}

/// The lock that commands take for what they do with this server: a pause ends only while the daemon has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLock {
    /// Nobody has tried to take it.
    NotTried,
    /// The daemon has it.
    Taken,
    /// A command has it.
    Refused,
}

/// What happens to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A session is open.
    Opened(Node, Backend),
    /// A session has ended, or could not be opened.
    Closed(Node, Backend),
    /// The answer to what was asked last.
    Replied(Node, Backend, Reply),
    /// Something that does not come from a session.
    Event(Event),
    /// The server has stopped for a hand-over, and its WAL ends here.
    Shutdown(u64),
    /// What has become of the lock of commands. [`Driver::wants_command_lock`] asks for it.
    CommandLock(CommandLock),
    /// The command that validates a candidacy has agreed, or has not, and is not to be asked again for so long.
    Validated(bool, Ms),
    /// Something is asked within this process: by the daemon itself, not by way of a server.
    Ask(Op, Ask),
    /// Time has passed.
    Wake,
}

/// What is asked of a standby that stands for election by itself. Who is asked to stand by an operator is not held to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How much of the last known WAL it may lack, in bytes; None for any.
    pub most_lack: Option<u64>,
    /// A command has to agree.
    pub validates: bool,
}

/// Why a standby does not stand for election although the primary looks lost and it is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It lacks too much.
    Lacks(Lack),
    /// The command that validates has not agreed yet. [`Input::Validated`] tells what it says.
    Validation,
}

/// A question on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    query: Query,
    sent: Time,
    moment: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Session {
    Closed { again: Time },
    Opening { backend: Backend, since: Time },
    Open { backend: Backend, asked: Option<Asked>, next: Time, waiting: Vec<Query> },
}

/// What was seen last of a voter's server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    at: Time,
    view: View,
}

/// What was asked last, and the answer for as long as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answered {
    op: Op,
    ask: Ask,
    word: Word,
    until: Time,
}

/// A daemon's decisions, and its sessions.
#[derive(Clone, Debug)]
pub struct Driver<const N: usize> {
    params: Params,
    /// What the core knows.
    pub state: State<N>,
    /// The IDs of the members, by their places.
    ids: [NodeId; N],
    /// Their priorities.
    priorities: [u32; N],
    incarnation: Incarnation,
    sessions: [Session; N],
    seen: [Option<Seen>; N],
    backends: Backend,
    random: u64,
    /// No candidacy of its own before this.
    patience: Time,
    /// What is asked of a standby that stands for election by itself.
    policy: Policy,
    /// Where the WAL of a primary was seen to end last, on the highest timeline.
    known_end: Option<Position>,
    /// The candidacy that is not begun, and why; None while there is no reason for one.
    withheld: Option<Withheld>,
    /// The command that validates has agreed, and until when that counts.
    validated: Option<Time>,
    answered: Option<Answered>,
    /// The incarnation of the heir that has agreed.
    heir: Option<Incarnation>,
    /// Where the WAL of the server ends that was stopped for a hand-over.
    shutdown: Option<u64>,
    /// When the note that this node has agreed to was first seen.
    noted: Option<(Op, Time)>,
    /// The hand-over that was refused last: it is not agreed to again.
    refused: Option<Op>,
    /// The lock of commands, and whether it is wanted.
    command_lock: CommandLock,
    wants_command_lock: bool,
}

impl<const N: usize> Driver<N> {
    /// The hand-over to this node whose note was seen last, and that was not refused since.
    #[must_use]
    pub fn noted(&self) -> Option<Op> {
        self.noted.map(|(op, _)| op).filter(|op| self.refused != Some(*op))
    }

    /// Begins, with all sessions closed. `random` makes the waiting times of daemons differ.
    #[must_use]
    pub fn new(
        params: Params,
        state: State<N>,
        (ids, priorities): ([NodeId; N], [u32; N]),
        incarnation: Incarnation,
        random: u64,
        now: Time,
    ) -> Self {
        Self {
            params,
            state,
            ids,
            priorities,
            incarnation,
            sessions: std::array::from_fn(|_| Session::Closed { again: now }),
            seen: std::array::from_fn(|_| None),
            backends: 0,
            random: random | 1,
            patience: now,
            policy: Policy::default(),
            known_end: None,
            withheld: None,
            validated: None,
            answered: None,
            heir: None,
            shutdown: None,
            noted: None,
            refused: None,
            command_lock: CommandLock::Taken,
            wants_command_lock: false,
        }
    }

    /// Says whether the lock of commands is needed to go on. [`Input::CommandLock`] tells what came of it, also when it is given back. Until
    /// something else is told, the driver takes it for taken.
    #[must_use]
    pub const fn wants_command_lock(&self) -> bool {
        self.wants_command_lock
    }

    /// Returns the place of a node, and makes one if there is room: nodes that are registered later are members later.
    pub fn place_of(&mut self, id: NodeId) -> Option<Node> {
        let known = self.ids.iter().position(|known| *known == id);
        let place = known.or_else(|| self.ids.iter().position(|known| *known == 0))?;
        *self.ids.get_mut(place)? = id;
        Node::try_from(place).ok()
    }

    /// Sets what is asked of this node when it stands for election by itself.
    pub const fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Returns why this node does not stand for election, although it would have to.
    #[must_use]
    pub const fn withheld(&self) -> Option<Withheld> {
        self.withheld
    }

    /// Returns where the WAL of a primary was seen to end last.
    #[must_use]
    pub const fn known_end(&self) -> Option<Position> {
        self.known_end
    }

    /// Gives the places free of nodes that are neither members nor among these. One to which there is a session still keeps its place: a vote of
    /// its server must not count as that of another one.
    pub fn keep_places(&mut self, of: &[NodeId]) {
        let places = (0..).zip(&mut self.ids).zip(&self.sessions).zip(&mut self.seen);
        for (((node, id), session), seen) in places {
            let is_closed = matches!(session, Session::Closed { .. });
            let is_member = self.state.members.voters.has(node) || node == self.state.me;
            if is_closed && !is_member && !of.contains(id) {
                (*id, *seen) = (0, None);
            }
        }
    }

    /// Sets where the WAL of a primary was seen to end before this daemon was started.
    pub const fn set_known_end(&mut self, known: Position) {
        self.known_end = Some(known);
    }

    /// Sets the priority of the node at a place.
    pub fn set_priority(&mut self, node: Node, priority: u32) {
        if let Some(known) = self.priorities.get_mut(usize::from(node)) {
            *known = priority;
        }
    }

    /// Returns the ID of the node at a place; 0 where there is none.
    #[must_use]
    pub fn id_of(&self, node: Node) -> NodeId {
        self.id(node)
    }

    /// Returns what was seen last of a voter, and when.
    #[must_use]
    pub fn last_seen(&self, voter: Node) -> Option<(Time, &View)> {
        self.seen.get(usize::from(voter))?.as_ref().map(|seen| (seen.at, &seen.view))
    }

    /// Returns the standby that would be the best primary, of those that stand for election and were seen lately.
    #[must_use]
    pub fn best_heir(&self, now: Time) -> Option<Node> {
        let others: Vec<_> =
            self.standbys(now).into_iter().filter(|standby| standby.node != self.state.me).collect();
        best(&others).filter(|best| self.is_near_enough(best, false)).map(|best| best.node)
    }

    /// Returns what this daemon says of itself on every server.
    #[must_use]
    pub fn own_line(&self) -> String {
        self.line(self.state.me)
    }

    /// Takes note of what happens, and says what to do. The time of the core is looked at first, whatever has happened.
    pub fn handle(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Opened(voter, backend) => self.opened(voter, backend, now),
            Input::Closed(voter, backend) => self.closed(voter, backend, now, &mut out),
            Input::Replied(voter, backend, reply) => self.replied(voter, backend, reply, now, &mut out),
            Input::Event(event) => self.tell(event, now, &mut out),
            Input::Shutdown(end) => self.shutdown = Some(end),
            Input::CommandLock(lock) => {
                self.command_lock = lock;
                self.wants_command_lock = false;
                let me = self.state.me;
                self.read_requests(me, now, &mut out);
            }
            Input::Validated(true, span) => self.validated = Some(now.after(span)),
            Input::Validated(false, span) => {
                self.withheld = None;
                self.patience = self.patience.max(now.after(span));
            }
            Input::Ask(op, ask) => self.tell(Event::Ask(op, ask), now, &mut out),
            Input::Wake => {}
        }
        self.pursue_hand_over(now, &mut out);
        self.refuse_in_time(now, &mut out);
        self.consider_candidacy(now, &mut out);
        self.tell(Event::Tick, now, &mut out);
        self.work(now, &mut out);
        out
    }

    /// Which start of the daemon this is.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// When [`Input::Wake`] is due, if nothing happens before.
    #[must_use]
    pub fn wake_at(&self, now: Time) -> Time {
        let patience = self.patience();
        let of_session = |session: &Session| match session {
            Session::Closed { again } => *again,
            Session::Opening { since, .. } => since.after(self.params.connect.max(patience)),
            Session::Open { asked: Some(asked), .. } => asked.sent.after(patience),
            Session::Open { next, .. } => *next,
        };
        let sessions = self.member_sessions().map(|(_, session)| of_session(session)).min();
        let mut at = now.after(self.params.heartbeat).min(sessions.unwrap_or(Time(u64::MAX)));
        let graces = self.member_sessions().filter_map(|(voter, _)| self.grace_ends(voter));
        at = graces.min().map_or(at, |end| at.min(end));
        at = self.state.deadline.map_or(at, |deadline| at.min(deadline));
        at.max(now.after(1))
    }

    fn patience(&self) -> Ms {
        (2 * self.params.heartbeat).max(SHORTEST_PATIENCE)
    }

    fn member_sessions(&self) -> impl Iterator<Item = (Node, &Session)> {
        // A node that is no member sees on its own server when it is one.
        let counts = |node: Node| self.state.members.voters.has(node) || node == self.state.me;
        (0..).zip(&self.sessions).filter(move |(node, _)| counts(*node))
    }

    fn session(&mut self, voter: Node) -> Option<&mut Session> {
        self.sessions.get_mut(usize::from(voter))
    }

    fn view(&self, voter: Node) -> Option<&View> {
        Some(&self.seen.get(usize::from(voter))?.as_ref()?.view)
    }

    /// What was seen of a voter lately.
    fn fresh(&self, voter: Node, now: Time) -> Option<&View> {
        let seen = self.seen.get(usize::from(voter))?.as_ref()?;
        (now.since(seen.at) < 2 * self.params.heartbeat).then_some(&seen.view)
    }

    fn place(&self, id: NodeId) -> Option<Node> {
        (0..)
            .zip(self.ids)
            .find(|(node, known)| *known == id && self.state.members.voters.has(*node))
            .map(|(node, _)| node)
    }

    fn id(&self, node: Node) -> NodeId {
        self.ids.get(usize::from(node)).copied().unwrap_or_default()
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % end.max(1)
    }

    fn tell(&mut self, event: Event, now: Time, out: &mut Vec<Output>) {
        let facts = (self.state.note, self.state.proof);
        let part = |state: &State<N>| {
            (state.ready, state.candidacy.is_some(), state.hand_over.map(|present| present.stage))
        };
        let before = part(&self.state);
        let (state, actions) = step(&self.params, now, self.state, event);
        self.state = state;
        for action in actions {
            match action {
                Action::Promote(backend) => {
                    if !self.enqueue(state.me, backend, Query::Promote) {
                        self.tell(Event::NotPromoted, now, out);
                    }
                }
                // Where the session has ended, its vote and its note have, too.
                Action::TakeNote(voter, backend, to, op) => {
                    let _ = self.enqueue(voter, backend, Query::Note(to, op));
                }
                Action::Unlock(voter, backend) => {
                    let _ = self.enqueue(voter, backend, Query::Release);
                }
                Action::EndNotes | Action::Drop => self.close_all(now, out),
                // Shown by the line of this daemon.
                Action::AskReady(..) => {}
                Action::Answer(op, word) => {
                    if let Some(answered) = self.answered.as_mut().filter(|answered| answered.op == op) {
                        answered.word = word;
                    }
                    out.push(Output::Act(action));
                }
                Action::WriteFlag(..)
                | Action::Stop(_)
                | Action::WriteSignal(_)
                | Action::Scan(_)
                | Action::RemoveSignal(_)
                | Action::BeStandby
                | Action::WriteMembers(_)
                | Action::Fence(_) => out.push(Output::Act(action)),
            }
        }
        let usable = self.state.could_frame(self.state.note) || self.state.could_frame(self.state.proof);
        // What was established has to be confirmed by heartbeats that are sent after it; and a daemon that takes part in something else than before
        // shows it, and asks, at once.
        if ((self.state.note, self.state.proof) != facts && usable) || part(&self.state) != before {
            self.hurry(now);
        }
    }

    fn hurry(&mut self, now: Time) {
        for session in &mut self.sessions {
            if let Session::Open { next, .. } = session {
                *next = now;
            }
        }
    }

    /// Asks in this very session, next. Returns whether it is open.
    fn enqueue(&mut self, voter: Node, backend: Backend, query: Query) -> bool {
        match self.session(voter) {
            Some(Session::Open { backend: present, waiting, .. }) if *present == backend => {
                waiting.push(query);
                true
            }
            _ => false,
        }
    }
}
