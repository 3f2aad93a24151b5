//! What a daemon learns, and what it is told to do.

use crate::members::{Change, Members, Version};
use crate::time::{Moment, Time};
use crate::votes::{Backend, Node, Nodes};

/// An operation: the random number that a command has given it. It is acted upon once.
pub type Op = u32;

/// Whether the daemon may act, across restarts: it is on disk before it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// It stands for election and fences itself.
    Active,
    /// A pause has begun: it is barred from elections, and fences itself.
    Held,
    /// Paused: it is barred, and does not fence itself. The only flag with which a server may write without a lease.
    Full,
    /// A pause ends: it is barred until a leader is armed, fences itself, and no longer takes part in that pause.
    Ending,
    /// Its state is lost, in a cluster that has had a leader: it is barred, and a server that writes is fenced at once.
    New,
}

/// A pause, counted: requests quote it, and nodes never go back to an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// The timeline of the leader that issued it.
    pub timeline: u32,
    /// Its number on that timeline.
    pub counter: u32,
    /// The operation that asked for it: two of the same number are not the same pause.
    pub op: Op,
}

impl Epoch {
    /// Says whether this pause comes after another one. Two of the same number do not, whichever they are.
    #[must_use]
    pub const fn is_newer_than(self, other: Self) -> bool {
        self.timeline > other.timeline || (self.timeline == other.timeline && self.counter > other.counter)
    }
}

/// What the server of this node is, as its processes and files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// It is in recovery, and no promotion is requested.
    Standby,
    /// It is in recovery, and promotes itself.
    Promoting,
    /// It accepts writes.
    Primary,
    /// No process is left.
    Down {
        /// `standby.signal` is in its data directory: it would start as a standby.
        signal: bool,
    },
}

/// What is asked of this daemon, or told to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Hand the role over to a node.
    HandOver(Node),
    /// Agree to take the role over from a node.
    Ready(Node),
    /// Stand for election although the primary does not look lost.
    Candidate,
    /// The nodes are switched off. Asked after the votes, at the moment that was shown with them.
    Off(Nodes, Moment),
    /// Stand aside for another candidate, which has shown its votes with this moment.
    Aside(Moment),
    /// Begin a pause: None asks the leader to issue one, Some the others to join it.
    Hold(Option<Epoch>),
    /// The pause has begun on every data node; its issuer, if it is not this node, does not fence itself any more (`issued`).
    Full {
        /// The pause.
        epoch: Epoch,
        /// Which copy of the members says what every data node is.
        version: Version,
        /// Whether its issuer has acknowledged that it no longer fences itself.
        issued: bool,
    },
    /// End the pause. `locked`: this daemon holds the lock that commands take for what they do with this server.
    Ending(Epoch, bool),
    /// The pause is over.
    Clear {
        /// A leader has acknowledged that it is armed, with this epoch.
        armed: Option<Epoch>,
        /// All data nodes have acknowledged that this epoch ends.
        ended: Option<Epoch>,
        /// As in `Ending`.
        locked: bool,
    },
    /// A node that has lost its state wants to be readmitted: raise the epoch above all others.
    Raise,
    /// The armed leader has raised its epoch to this one: be readmitted with it.
    Readmit(Epoch),
    /// Change the members.
    Member(Change),
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed, or everything that came at once has been told.
    Tick,
    /// A voter has granted its vote to a request that was sent at `sent`.
    Granted {
        /// The voter.
        voter: Node,
        /// The session.
        backend: Backend,
        /// When the request was sent.
        sent: Time,
        /// The members, as this session has read them once it had the vote.
        members: Members,
    },
    /// A voter has answered a heartbeat.
    Acked {
        /// The voter.
        voter: Node,
        /// The session.
        backend: Backend,
        /// When the heartbeat was sent.
        sent: Time,
        /// The moment at which it was sent.
        moment: Moment,
    },
    /// A session has ended, or was given up.
    Lost {
        /// The voter.
        voter: Node,
        /// The session.
        backend: Backend,
    },
    /// The server of this node is found to be this.
    Server(Server),
    /// A promotion that was requested has not happened and will not: the request has failed, or its session ended before.
    NotPromoted,
    /// The row of the members that this leader has written is committed on its own server.
    MembersWritten(Members),
    /// The metadata have these nodes. They are the members until a leader has recorded any.
    Registered {
        /// The nodes with data.
        data: Nodes,
        /// All that vote.
        voters: Nodes,
    },
    /// A voter's copy of the members is this one.
    Shown(Node, Version),
    /// The timeline of this node's server.
    Timeline(u32),
    /// A server that accepts writes is seen on this timeline.
    OtherLeader(u32),
    /// The primary looks lost, and no better candidate is in sight.
    Stand,
    /// Another candidate is better, or the primary is back.
    StandDown,
    /// A request.
    Ask(Op, Ask),
    /// Another node has agreed to take the role over.
    Ready(Node, Op),
    /// The heir has all WAL.
    HeirHasAll(Op),
    /// The heir refuses, from the incarnation that had agreed.
    Refused(Op),
    /// A note for this node is to be seen on a voter.
    Note {
        /// The voter.
        voter: Node,
        /// For whom it is.
        to: Node,
        /// The operation.
        op: Op,
        /// The moment at which the question was sent.
        moment: Moment,
    },
    /// Another node has stood aside.
    StoodAside {
        /// The node.
        node: Node,
        /// The operation.
        op: Op,
        /// The moment that the question quoted.
        moment: Moment,
    },
    /// Give an agreement up that has not been used.
    Refuse,
    /// `standby.signal` is on disk.
    Signalled(Op),
    /// No process but the postmaster that was told to stop is left in the data directory.
    Scanned(Op),
    /// A note is taken in a session.
    Noted(Node, Backend, Op),
    /// A step of the hand-over has failed.
    Failed(Op),
}

/// What keeps a daemon from doing what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It does not lead.
    NotLeader,
    /// Its server is no standby.
    NotStandby,
    /// It is barred from elections.
    Barred,
    /// Something else is in progress.
    Busy,
    /// Too few votes.
    Voters,
    /// Its lease has ended.
    Lapsed,
    /// The pause is an earlier one, or another one.
    Epoch,
    /// Another node has to acknowledge something first.
    Others,
    /// A command is at work on its server.
    Command,
    /// It has lost its state.
    New,
    /// It knows of no such operation.
    Unknown,
}

/// What a daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// The hand-over goes on without the command that asked.
    Going,
    /// This node will take the role over.
    Ready,
    /// A majority of votes is held, at this moment.
    Votes(Moment),
    /// It stands aside for the candidate that has shown its votes with this moment.
    Aside(Moment),
    /// The pause has begun here.
    Held(Epoch),
    /// It does not fence itself any more.
    Full(Epoch),
    /// The pause ends here, and no part of it is accepted any more.
    Ending(Epoch),
    /// The leader fences itself again.
    Armed(Epoch),
    /// It is active.
    Cleared,
    /// The leader's epoch is above all others now.
    Raised(Epoch),
    /// What was told is taken note of.
    Noted,
    /// No.
    No(Refusal),
}

/// Why a server is fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The lease has ended.
    LeaseEnded,
    /// It accepts writes without a lease.
    NoLease,
    /// Another server accepts writes on a higher timeline.
    OtherLeader,
}

/// What the executor has to do, in this order. What belongs to a session is done in that very session or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write the flag to disk, before anything that follows.
    WriteFlag(Flag, Epoch),
    /// Show an answer.
    Answer(Op, Word),
    /// Request the promotion in the session that holds the own server's vote.
    Promote(Backend),
    /// Ask the heir whether it is ready.
    AskReady(Node, Op),
    /// Stop the server.
    Stop(Op),
    /// Write `standby.signal`, for a hand-over.
    WriteSignal(Op),
    /// Look for processes in the data directory.
    Scan(Op),
    /// Take the note for the heir in this session.
    TakeNote(Node, Backend, Node, Op),
    /// Release the vote in this session, and keep the session for the note.
    Unlock(Node, Backend),
    /// End the sessions that carry notes.
    EndNotes,
    /// Remove `standby.signal`, which this hand-over has written: only while the fencer's deadline lies ahead, and under the lock that the
    /// fencer takes before it fences.
    RemoveSignal(Op),
    /// Write `standby.signal` before the server may start.
    BeStandby,
    /// End all sessions.
    Drop,
    /// Write the row of the members, on the own server.
    WriteMembers(Members),
    /// Fence the server: the fencer does it, also without being told.
    Fence(Why),
}
