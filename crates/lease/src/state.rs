//! What a daemon knows, and what follows from it at any moment.

use crate::event::{Epoch, Flag, Op, Server};
use crate::members::Members;
use crate::params::Params;
use crate::rules::Rule;
use crate::time::{Moment, Time};
use crate::votes::{Backend, Fact, Node, Nodes, Slot, deadline, frame, have_waited};

/// How far a hand-over is, at the leader. Up to the unlock it turns back by a restart in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The heir is asked whether it is ready.
    Asked,
    /// The server is told to stop.
    Stopping,
    /// The server is down; the heir may still lack WAL.
    Stopped,
    /// `standby.signal` is being written.
    Signal,
    /// Processes are being looked for.
    Scan,
    /// Notes are being taken.
    Notes,
    /// It turns back: `standby.signal` is being removed, and the server starts again by the lease, which has lasted all the time.
    Back,
    /// The votes are released. The notes end when the time has come.
    Committed {
        /// When they were released.
        at: Time,
    },
}

/// A hand-over, at the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandOver {
    /// The heir.
    pub to: Node,
    /// The operation.
    pub op: Op,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: Time,
    /// Where notes are taken.
    pub noted: Nodes,
}

/// A candidacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidacy {
    /// The operation that asked for it; None for a suspicion or a note.
    pub op: Option<Op>,
    /// When it began.
    pub since: Time,
}

/// What a daemon with at most `N` voters knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State<const N: usize> {
    /// This node.
    pub me: Node,
    /// The members.
    pub members: Members,
    /// The voters that have shown this very copy of them.
    pub shown: Nodes,
    /// Whether it may act.
    pub flag: Flag,
    /// The pause that it has last taken part in.
    pub epoch: Epoch,
    /// An operator has reset this node: the members are those that are registered, whoever has known of others, until it leads again.
    pub unbound: bool,
    /// What its server is.
    pub server: Server,
    /// A promotion was requested, and the server has not said yet what became of it.
    pub requested: bool,
    /// The timeline of its server.
    pub timeline: u32,
    /// How many events it has seen.
    pub moment: Moment,
    /// What it knows of each voter.
    pub slots: [Slot; N],
    /// When the lease ends. It is the fencer's deadline, too. None: no lease.
    pub deadline: Option<Time>,
    /// The lease has ended. That is final until the server is a standby.
    pub lapsed: bool,
    /// The candidacy, on a standby.
    pub candidacy: Option<Candidacy>,
    /// The hand-over, at the leader.
    pub hand_over: Option<HandOver>,
    /// The hand-over that this node has agreed to take.
    pub ready: Option<(Node, Op)>,
    /// When the note for this node was seen, on a voter whose vote is held.
    pub note: Option<Fact>,
    /// Nodes that are switched off or stand aside, for this candidacy.
    pub away: Nodes,
    /// When that was established.
    pub proof: Option<Fact>,
}

impl<const N: usize> State<N> {
    /// A daemon that starts, with what is on disk; `adopted` is the deadline of a fencer that has outlived the daemon before, if it is for this
    /// boot of the host.
    #[must_use]
    pub fn start(
        me: Node,
        members: Members,
        (flag, epoch): (Flag, Epoch),
        (server, timeline): (Server, u32),
        adopted: Option<Time>,
        now: Time,
    ) -> Self {
        let fences = !matches!(flag, Flag::Full | Flag::New);
        let deadline = adopted.filter(|deadline| fences && *deadline > now);
        let mut state = Self {
            me,
            members,
            shown: Nodes::NONE,
            flag,
            epoch,
            unbound: false,
            server,
            requested: false,
            timeline,
            moment: Moment(0),
            slots: [Slot::default(); N],
            deadline,
            lapsed: false,
            candidacy: None,
            hand_over: None,
            ready: None,
            note: None,
            away: Nodes::NONE,
            proof: None,
        };
        state.lapsed = flag != Flag::Full && deadline.is_none() && state.may_write();
        state
    }

    /// The smallest majority of the voters.
    #[must_use]
    pub const fn majority(&self) -> usize {
        self.members.voters.majority()
    }

    /// Says whether the server accepts writes, is about to, or would if it were started.
    #[must_use]
    pub const fn may_write(&self) -> bool {
        self.requested
            || matches!(self.server, Server::Primary | Server::Promoting | Server::Down { signal: false })
    }

    /// Says whether the server accepts writes or is about to.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.requested || matches!(self.server, Server::Primary | Server::Promoting)
    }

    /// Says whether a deadline in the future is set, and none has passed.
    #[must_use]
    pub fn is_armed(&self, now: Time) -> bool {
        !self.lapsed && self.flag != Flag::Full && self.deadline.is_some_and(|deadline| deadline > now)
    }

    /// Says whether this node leads: its server may write, and the lease lasts.
    #[must_use]
    pub fn leads(&self, now: Time) -> bool {
        self.may_write() && self.is_armed(now) && !self.is_committed()
    }

    /// Says whether this node has the only server that accepts writes of a cluster that is paused: it writes the members also then.
    #[must_use]
    pub fn is_paused_primary(&self, params: &Params, now: Time) -> bool {
        let is_primary = self.flag == Flag::Full && self.server == Server::Primary && !self.requested;
        is_primary && (self.unbound || self.has_majority(params, now))
    }

    /// Says whether the row of the members is this leader's own, and on a majority of their set.
    #[must_use]
    pub fn members_are_committed(&self) -> bool {
        self.members.version.timeline == self.timeline && self.members.is_committed(self.shown)
    }

    /// Says whether the votes have been released for an heir.
    #[must_use]
    pub const fn is_committed(&self) -> bool {
        matches!(self.hand_over, Some(HandOver { stage: Stage::Committed { .. }, .. }))
    }

    /// Says whether a candidate could be cleared for election: nothing bars it.
    #[must_use]
    pub fn is_willing(&self) -> bool {
        self.flag == Flag::Active
            && self.server == Server::Standby
            && !self.requested
            && self.members.data.has(self.me)
    }

    /// Says whether the executor should take votes and keep them. Otherwise it ends its lease sessions.
    #[must_use]
    pub fn wants_votes(&self) -> bool {
        if self.lapsed || self.is_committed() || !self.members.data.has(self.me) {
            return false;
        }
        if self.flag == Flag::Full {
            // Without fencing itself: a candidate that has missed the pause must not get them.
            return self.writes();
        }
        self.may_write() || self.hand_over.is_some() || self.candidacy.is_some()
    }

    /// The fencer's deadline; None: it is disarmed.
    #[must_use]
    pub fn fence_at(&self) -> Option<Time> {
        self.deadline.filter(|_| self.flag != Flag::Full)
    }

    /// Says whether the start guard may let the server start as a primary: by the lease, which has lasted since before it stopped.
    #[must_use]
    pub fn may_start_as_primary(&self, now: Time) -> bool {
        let begun = self.hand_over.is_some_and(|hand_over| {
            !matches!(hand_over.stage, Stage::Asked | Stage::Stopping | Stage::Stopped)
        });
        self.server == (Server::Down { signal: false }) && !begun && self.leads(now)
    }

    /// Says whether the server has to come back as a standby.
    #[must_use]
    pub fn must_return_as_standby(&self, now: Time) -> bool {
        let is_down = matches!(self.server, Server::Down { .. });
        is_down && self.flag != Flag::Full && self.hand_over.is_none() && !self.leads(now)
    }

    /// How many votes are held.
    #[must_use]
    pub fn votes_held(&self) -> usize {
        self.voter_slots().filter(|(_, slot)| slot.vote.is_some()).count()
    }

    /// The session that holds a voter's vote.
    #[must_use]
    pub fn session(&self, voter: Node) -> Option<Backend> {
        self.slots.get(usize::from(voter))?.vote.map(|vote| vote.backend)
    }

    /// The voters, and what is known of them.
    pub fn voter_slots(&self) -> impl Iterator<Item = (Node, Slot)> {
        (0..).zip(self.slots).filter(|(node, _)| self.members.voters.has(*node))
    }

    /// The slots with only those votes that count: of a session that has not answered for as long as a lease lasts, nothing is known.
    fn votes(&self, params: &Params, now: Time) -> [Slot; N] {
        let mut slots = self.slots;
        for (node, slot) in (0..).zip(&mut slots) {
            if !self.members.voters.has(node) {
                *slot = Slot::default();
            }
            slot.vote = slot.vote.filter(|vote| vote.sent.after(params.lease) > now);
        }
        slots
    }

    /// How many votes count.
    fn count(&self, params: &Params, now: Time) -> usize {
        self.votes(params, now).iter().filter(|slot| slot.vote.is_some()).count()
    }

    /// Says whether a majority of votes is held that have been confirmed lately.
    #[must_use]
    pub fn has_majority(&self, params: &Params, now: Time) -> bool {
        self.count(params, now) >= self.majority()
    }

    /// When the lease would end by what the voters have proven. None if that is over, or there never was a majority.
    #[must_use]
    pub fn proven_until(&self, params: &Params, now: Time) -> Option<Time> {
        deadline(&self.votes(params, now), self.majority(), params.lease).filter(|until| *until > now)
    }

    /// Says whether a candidate may be promoted now.
    #[must_use]
    pub fn may_promote(&self, params: &Params, now: Time) -> bool {
        let own = self.session(self.me).is_some() || !self.members.voters.has(self.me);
        let willing = self.is_willing()
            || (!params.keeps(Rule::HoldEndsCandidacy) && self.server == Server::Standby && !self.requested);
        let stands = self.candidacy.is_some() && willing && own && self.is_armed(now);
        stands
            && (self.has_waited(params, now)
                || self.has_the_note(params, now)
                || self.all_are_away(params, now))
    }

    fn has_waited(&self, params: &Params, now: Time) -> bool {
        let votes = self.votes(params, now);
        if !params.keeps(Rule::OneSetHasWaited) {
            let long = |slot: &&Slot| Self::has_been_held(slot, params, now);
            return self.slots.iter().filter(long).count() >= self.majority();
        }
        have_waited(&votes, self.majority(), params.grace)
    }

    fn has_been_held(slot: &Slot, params: &Params, now: Time) -> bool {
        slot.vote.is_some_and(|vote| now.since(vote.granted) >= params.grace)
    }

    /// Says whether the votes frame what was established in the place of the grace.
    fn framed(&self, params: &Params, now: Time, fact: Fact, rule: Rule) -> bool {
        let framed = frame(&self.votes(params, now), self.majority(), fact);
        framed || (!params.keeps(rule) && self.has_majority(params, now))
    }

    /// Says whether the votes could still frame a fact: a majority was taken before it. If not, it has to be established anew.
    pub(crate) fn could_frame(&self, fact: Option<Fact>) -> bool {
        let before = |fact: Fact| {
            let votes = self.voter_slots().filter_map(|(_, slot)| slot.vote);
            votes.filter(|vote| vote.taken <= fact.from).count() >= self.majority()
        };
        fact.is_some_and(before)
    }

    fn has_the_note(&self, params: &Params, now: Time) -> bool {
        self.note.is_some_and(|note| self.framed(params, now, note, Rule::VotesFrameTheFact))
    }

    fn all_are_away(&self, params: &Params, now: Time) -> bool {
        if self.candidacy.is_none_or(|candidacy| candidacy.op.is_none()) {
            return false;
        }
        if !params.keeps(Rule::OnlyByProof) {
            return self.has_majority(params, now);
        }
        let others = self.members.data.without(self.me);
        let all =
            self.away.has_all(others) || (!params.keeps(Rule::AllOthersAreOff) && self.away.count() > 0);
        all && self.proof.is_some_and(|proof| self.framed(params, now, proof, Rule::ProofsAfterVotes))
    }

    /// Ends the candidacy with all that was established for it. The votes go with it.
    pub(crate) fn stand_down(&mut self) {
        self.candidacy = None;
        self.note = None;
        self.away = Nodes::NONE;
        self.proof = None;
        if !self.may_write() {
            self.drop_votes();
            self.deadline = None;
        }
    }

    /// Forgets the sessions. What they have proven stays proven, but a lease is not begun on it.
    pub(crate) fn drop_votes(&mut self) {
        self.slots = [Slot::default(); N];
    }
}
