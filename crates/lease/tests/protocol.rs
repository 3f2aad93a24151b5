//! The protocol as an operator would tell it, with the times of the default profile: one daemon at a time, the others are what they say.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

use pgbaton_lease::{
    Action, Ask, Change, Epoch, Event, Flag, Members, Moment, Node, Nodes, Params, Profile, Refusal, Server,
    Stage, State, Time, Version, Why, Word, step,
};

const OP: u32 = 7;

/// A daemon, and the time.
struct Daemon {
    params: Params,
    now: Time,
    state: State<3>,
    did: Vec<Action>,
    sessions: u32,
}

fn members() -> Members {
    Members { version: Version { timeline: 1, counter: 1 }, data: Nodes::first(3), voters: Nodes::first(3) }
}

impl Daemon {
    fn new(me: Node, flag: Flag, server: Server, adopted: Option<u64>) -> Self {
        let now = Time(100_000);
        let adopted = adopted.map(|left| now.after(left));
        let state = State::start(me, members(), (flag, Epoch::default()), (server, 1), adopted, now);
        Self { params: Profile::Default.params(), now, state, did: Vec::new(), sessions: 0 }
    }

    /// The daemon of the primary, with all votes and a whole lease.
    fn leader() -> Self {
        let mut daemon = Self::new(0, Flag::Active, Server::Primary, Some(1000));
        for voter in 0..3 {
            daemon.granted(voter);
        }
        daemon
    }

    /// The daemon of a standby.
    fn follower() -> Self {
        Self::new(1, Flag::Active, Server::Standby, None)
    }

    fn tell(&mut self, event: Event) -> &mut Self {
        let (state, did) = step(&self.params, self.now, self.state, event);
        self.state = state;
        self.did = did;
        self
    }

    fn ask(&mut self, ask: Ask) -> Word {
        self.tell(Event::Ask(OP, ask));
        let answer = self.did.iter().find_map(|action| match action {
            Action::Answer(OP, word) => Some(*word),
            _ => None,
        });
        answer.unwrap()
    }

    fn granted(&mut self, voter: Node) {
        self.sessions += 1;
        let (backend, sent) = (self.sessions, self.now);
        self.tell(Event::Granted { voter, backend, sent, members: members() });
    }

    /// Heartbeats to these voters are answered at once.
    fn beat(&mut self, voters: &[Node]) {
        for voter in voters {
            let backend = self.state.session(*voter).unwrap();
            let (sent, moment) = (self.now, self.state.moment);
            self.tell(Event::Acked { voter: *voter, backend, sent, moment });
        }
    }

    /// Time passes, with heartbeats to these voters.
    fn pass(&mut self, span: u64, voters: &[Node]) {
        let end = self.now.after(span);
        while self.now < end {
            self.now = self.now.after(self.params.heartbeat.min(end.since(self.now)));
            self.beat(voters);
        }
        self.tell(Event::Tick);
    }

    fn lost(&mut self, voter: Node) {
        let backend = self.state.session(voter).unwrap();
        self.tell(Event::Lost { voter, backend });
    }

    fn left(&self) -> u64 {
        self.state.deadline.unwrap().since(self.now)
    }

    fn promotes(&self) -> bool {
        self.did.iter().any(|action| matches!(action, Action::Promote(_)))
    }
}

#[test]
fn a_leader_that_hears_nothing_is_fenced_when_its_lease_ends() {
    let mut leader = Daemon::leader();
    leader.pass(60_000, &[0, 1, 2]);
    assert_eq!(leader.left(), 5000);
    // One voter besides its own server is enough.
    leader.lost(2);
    leader.pass(60_000, &[0, 1]);
    assert!(leader.state.leads(leader.now));
    leader.pass(4999, &[0]);
    assert!(leader.state.leads(leader.now));
    leader.pass(1, &[]);
    assert_eq!(leader.did, [Action::Fence(Why::LeaseEnded), Action::Drop]);
    // For good: whatever is heard now.
    leader.granted(1);
    leader.granted(2);
    assert!(leader.state.lapsed && !leader.state.leads(leader.now) && !leader.state.wants_votes());
    leader.tell(Event::Server(Server::Down { signal: true }));
    assert!(leader.state.must_return_as_standby(leader.now));
    leader.tell(Event::Server(Server::Standby));
    assert!(!leader.state.lapsed && leader.state.is_willing());
}

#[test]
fn a_daemon_that_starts_again_adopts_the_lease_or_the_server_is_fenced() {
    let adopted = Daemon::new(0, Flag::Active, Server::Primary, Some(1500));
    assert!(adopted.state.leads(adopted.now) && adopted.left() == 1500);
    let late = Daemon::new(0, Flag::Active, Server::Primary, Some(0));
    assert!(late.state.lapsed);
    // Paused, nobody is fenced; without its state, everybody.
    let paused = Daemon::new(0, Flag::Full, Server::Primary, None);
    assert!(!paused.state.lapsed && paused.state.fence_at().is_none());
    assert!(Daemon::new(0, Flag::New, Server::Primary, Some(1500)).state.lapsed);
}

#[test]
fn a_candidate_waits_for_the_grace_with_one_majority() {
    let mut candidate = Daemon::follower();
    candidate.tell(Event::Stand);
    candidate.granted(1);
    candidate.granted(2);
    candidate.pass(7199, &[1, 2]);
    assert!(!candidate.promotes());
    // The vote that is taken again begins anew.
    candidate.lost(2);
    candidate.granted(2);
    candidate.pass(7199, &[1, 2]);
    assert!(!candidate.promotes());
    candidate.pass(1, &[1, 2]);
    let own = candidate.state.session(1).unwrap();
    assert_eq!(candidate.did, [Action::Promote(own)]);
    assert!(candidate.state.requested && candidate.state.leads(candidate.now));
    candidate.tell(Event::Server(Server::Primary));
    assert!(candidate.state.leads(candidate.now) && !candidate.state.requested);
}

#[test]
fn a_promotion_that_has_not_happened_gives_the_votes_back() {
    let mut candidate = Daemon::follower();
    candidate.tell(Event::Stand);
    candidate.granted(1);
    candidate.granted(2);
    candidate.pass(7200, &[1, 2]);
    assert!(candidate.promotes());
    candidate.tell(Event::NotPromoted);
    assert_eq!(candidate.did, [Action::Drop]);
    assert!(
        !candidate.state.wants_votes() && candidate.state.votes_held() == 0 && candidate.state.is_willing()
    );
    assert_eq!(candidate.state.fence_at(), None);
}

#[test]
fn a_candidate_without_a_majority_gives_others_their_turn() {
    let mut candidate = Daemon::follower();
    candidate.tell(Event::Stand);
    candidate.granted(1);
    candidate.pass(3500, &[1]);
    assert!(candidate.state.candidacy.is_some());
    candidate.pass(500, &[1]);
    assert_eq!((candidate.state.candidacy, candidate.state.votes_held()), (None, 0));
}

#[test]
fn a_hand_over_skips_the_grace_and_its_release_is_the_point_of_no_return() {
    let mut leader = Daemon::leader();
    assert_eq!(leader.ask(Ask::HandOver(1)), Word::Going);
    assert_eq!(leader.did[0], Action::AskReady(1, OP));
    leader.tell(Event::Ready(1, OP));
    assert_eq!(leader.did, [Action::Stop(OP)]);
    leader.tell(Event::Server(Server::Down { signal: false }));
    assert!(
        leader.state.may_start_as_primary(leader.now),
        "a supervisor may restart it: nothing is released"
    );
    leader.tell(Event::HeirHasAll(OP));
    assert_eq!(leader.did, [Action::WriteSignal(OP)]);
    assert!(!leader.state.may_start_as_primary(leader.now));
    leader.tell(Event::Signalled(OP)).tell(Event::Scanned(OP));
    let sessions = [1, 2].map(|voter| (voter, leader.state.session(voter).unwrap()));
    let notes = sessions.map(|(voter, backend)| Action::TakeNote(voter, backend, 1, OP));
    assert_eq!(leader.did, notes);
    leader.tell(Event::Noted(1, sessions[0].1, OP)).tell(Event::Tick);
    assert_eq!(leader.did, [], "one note of two is no majority");
    leader.tell(Event::Noted(2, sessions[1].1, OP)).tell(Event::Tick);
    assert_eq!(leader.did, sessions.map(|(voter, backend)| Action::Unlock(voter, backend)));
    assert!(leader.state.is_committed() && !leader.state.leads(leader.now));
    // Silence is no answer: the notes end, and the server comes back as a standby.
    leader.pass(1999, &[]);
    assert!(leader.state.is_committed());
    leader.pass(1, &[]);
    assert_eq!(leader.did, [Action::EndNotes]);
    assert!(leader.state.must_return_as_standby(leader.now));

    let mut heir = Daemon::follower();
    assert_eq!(heir.ask(Ask::Ready(0)), Word::Ready);
    let seen = |heir: &Daemon| Event::Note { voter: 2, to: 1, op: OP, moment: heir.state.moment };
    // Seen before the vote is held, it makes a candidate, and nothing else.
    let note = seen(&heir);
    heir.tell(note);
    assert!(heir.state.candidacy.is_some() && heir.state.note.is_none());
    heir.granted(1);
    heir.granted(2);
    heir.beat(&[1, 2]);
    heir.tell(Event::Tick);
    assert!(!heir.promotes());
    let note = seen(&heir);
    heir.tell(note).tell(Event::Tick);
    assert!(!heir.promotes(), "not confirmed since");
    heir.beat(&[1, 2]);
    heir.tell(Event::Tick);
    assert!(heir.promotes());
}

#[test]
fn a_hand_over_turns_back_until_its_release_and_then_only_on_a_refusal() {
    let mut leader = Daemon::leader();
    leader.ask(Ask::HandOver(1));
    leader.tell(Event::Ready(1, OP)).tell(Event::Server(Server::Down { signal: false }));
    leader.tell(Event::Failed(OP));
    assert!(leader.state.hand_over.is_none() && leader.state.may_start_as_primary(leader.now));

    leader.tell(Event::Server(Server::Primary));
    leader.ask(Ask::HandOver(1));
    leader.tell(Event::Ready(1, OP)).tell(Event::Server(Server::Down { signal: false }));
    leader.tell(Event::HeirHasAll(OP)).tell(Event::Signalled(OP)).tell(Event::Scanned(OP));
    for voter in [1, 2] {
        let backend = leader.state.session(voter).unwrap();
        leader.tell(Event::Noted(voter, backend, OP));
    }
    leader.tell(Event::Tick);
    assert!(leader.state.is_committed());
    leader.tell(Event::Failed(OP));
    assert!(leader.state.is_committed(), "the heir may be promoting itself");
    leader.tell(Event::Refused(OP));
    assert_eq!(leader.did, [Action::EndNotes, Action::RemoveSignal(OP)]);
    assert_eq!(leader.state.hand_over.map(|present| present.stage), Some(Stage::Back));
    assert!(!leader.state.may_start_as_primary(leader.now));
    leader.tell(Event::Server(Server::Down { signal: false }));
    assert!(leader.state.may_start_as_primary(leader.now));
}

#[test]
fn a_hand_over_does_not_begin_without_the_votes_of_the_others() {
    let mut leader = Daemon::leader();
    leader.lost(2);
    assert_eq!(leader.ask(Ask::HandOver(1)), Word::No(Refusal::Voters));
    leader.granted(2);
    // Heartbeats that are old are no votes.
    leader.pass(1500, &[0, 1]);
    assert_eq!(leader.ask(Ask::HandOver(1)), Word::No(Refusal::Voters));
    assert_eq!(leader.ask(Ask::HandOver(0)), Word::No(Refusal::Unknown));
    assert_eq!(Daemon::follower().ask(Ask::HandOver(0)), Word::No(Refusal::NotLeader));
}

#[test]
fn a_candidate_that_is_asked_for_needs_a_word_of_everybody_to_skip_the_grace() {
    let mut candidate = Daemon::follower();
    assert_eq!(candidate.ask(Ask::Candidate), Word::Noted);
    candidate.granted(1);
    candidate.granted(2);
    let quoted = candidate.state.moment;
    assert_eq!(candidate.ask(Ask::Off(Nodes::one(0), quoted)), Word::Noted);
    candidate.beat(&[1, 2]);
    candidate.tell(Event::Tick);
    assert!(!candidate.promotes(), "node 2 could lead already");
    candidate.tell(Event::StoodAside { node: 2, op: OP, moment: quoted });
    candidate.beat(&[1, 2]);
    candidate.tell(Event::Tick);
    assert!(candidate.promotes());
}

#[test]
fn a_proof_that_is_older_than_the_votes_is_none() {
    let mut candidate = Daemon::follower();
    candidate.ask(Ask::Candidate);
    let quoted = candidate.state.moment;
    candidate.granted(1);
    candidate.granted(2);
    candidate.ask(Ask::Off(Nodes::first(3).without(1), quoted));
    candidate.beat(&[1, 2]);
    candidate.tell(Event::Tick);
    assert!(!candidate.promotes());
    // Nor is one of another operation.
    let other = Event::Ask(OP + 1, Ask::Off(Nodes::first(3), Moment(0)));
    let before = candidate.state.away;
    candidate.tell(other);
    assert_eq!(candidate.state.away, before);
}

#[test]
fn a_pause_is_issued_joined_completed_and_ended() {
    let (mut leader, mut other) = (Daemon::leader(), Daemon::follower());
    let Word::Held(epoch) = leader.ask(Ask::Hold(None)) else { panic!("{:?}", leader.did) };
    assert_eq!(leader.did[0], Action::WriteFlag(Flag::Held, epoch));
    assert!(leader.state.fence_at().is_some());
    // A candidacy ends before the answer.
    other.tell(Event::Stand);
    other.granted(1);
    assert_eq!(other.ask(Ask::Hold(Some(epoch))), Word::Held(epoch));
    assert!(other.state.candidacy.is_none() && other.did.contains(&Action::Drop));
    let version = leader.state.members.version;
    let full = |issued| Ask::Full { epoch, version, issued };
    assert_eq!(other.ask(full(false)), Word::No(Refusal::Others), "the leader first");
    assert_eq!(leader.ask(full(false)), Word::No(Refusal::Others), "its members are on no majority yet");
    for voter in [0, 1] {
        leader.tell(Event::Shown(voter, version));
    }
    assert_eq!(leader.ask(full(false)), Word::Full(epoch));
    assert_eq!(other.ask(full(true)), Word::Full(epoch));
    assert!(leader.state.fence_at().is_none() && leader.state.wants_votes() && !other.state.wants_votes());

    // The end: the leader is armed first, from votes that it has.
    leader.pass(60_000, &[0, 1, 2]);
    assert_eq!(other.ask(Ask::Clear { armed: None, ended: None, locked: true }), Word::No(Refusal::Others));
    assert_eq!(leader.ask(Ask::Ending(epoch, false)), Word::No(Refusal::Command));
    assert_eq!(leader.ask(Ask::Ending(epoch, true)), Word::Armed(epoch));
    assert_eq!(leader.left(), 5000);
    assert_eq!(other.ask(Ask::Ending(epoch, true)), Word::Ending(epoch));
    assert_eq!(other.ask(full(true)), Word::No(Refusal::Epoch), "a late request of the pause");
    let clear = Ask::Clear { armed: Some(epoch), ended: None, locked: true };
    assert_eq!((leader.ask(clear), other.ask(clear)), (Word::Cleared, Word::Cleared));
    assert!(other.state.is_willing());
}

#[test]
fn a_paused_primary_without_votes_is_not_armed() {
    let mut paused = Daemon::new(0, Flag::Full, Server::Primary, None);
    let ending = Ask::Ending(Epoch::default(), true);
    paused.granted(0);
    assert_eq!(paused.ask(ending), Word::No(Refusal::Voters));
    paused.granted(1);
    assert_eq!(paused.ask(ending), Word::Armed(Epoch::default()));
}

#[test]
fn a_node_that_has_lost_its_state_waits_for_the_leader() {
    let mut lost = Daemon::new(1, Flag::New, Server::Standby, None);
    lost.tell(Event::Stand);
    assert!(lost.state.candidacy.is_none());
    assert_eq!(lost.ask(Ask::Hold(Some(Epoch { timeline: 1, counter: 1, op: 3 }))), Word::No(Refusal::New));
    let mut leader = Daemon::leader();
    leader.ask(Ask::Hold(None));
    assert_eq!(leader.ask(Ask::Raise), Word::No(Refusal::Barred), "a pause is under way");
    let before = leader.state.epoch;
    leader.ask(Ask::Ending(before, true));
    let Word::Raised(epoch) = leader.ask(Ask::Raise) else { panic!("{:?}", leader.did) };
    assert!(epoch.is_newer_than(before));
    assert_eq!(lost.ask(Ask::Readmit(epoch)), Word::Cleared);
    assert_eq!((lost.state.flag, lost.state.epoch), (Flag::Active, epoch));
}

#[test]
fn members_change_one_at_a_time_and_only_from_a_row_of_the_leader() {
    let mut leader = Daemon::leader();
    leader.tell(Event::Timeline(2)).tell(Event::Tick);
    let own = Members { version: Version { timeline: 2, counter: 1 }, ..members() };
    assert_eq!(leader.did, [Action::WriteMembers(own)]);
    assert_eq!(leader.ask(Ask::Member(Change::Remove(2))), Word::No(Refusal::Others));
    leader.tell(Event::MembersWritten(own));
    leader.tell(Event::Shown(0, own.version)).tell(Event::Shown(2, own.version));
    // Two voters would be too few for a lease.
    assert_eq!(leader.ask(Ask::Member(Change::Remove(2))), Word::No(Refusal::Voters));
    assert_eq!(leader.ask(Ask::Member(Change::AddWitness(3))), Word::Going);
    let larger = own.changed(&leader.params, Change::AddWitness(3), (0, 2), Nodes::first(3)).unwrap();
    assert_eq!(leader.did[0], Action::WriteMembers(larger));
    leader.tell(Event::MembersWritten(larger));
    assert_eq!(leader.state.majority(), 3);
    assert_eq!(leader.ask(Ask::Member(Change::Remove(2))), Word::No(Refusal::Others));
    for voter in [0, 1, 3] {
        leader.tell(Event::Shown(voter, larger.version));
    }
    assert_eq!(leader.ask(Ask::Member(Change::Remove(2))), Word::Going);
    let smaller = larger.changed(&leader.params, Change::Remove(2), (0, 2), Nodes::first(4)).unwrap();
    assert_eq!(leader.did[0], Action::WriteMembers(smaller));
    leader.tell(Event::MembersWritten(smaller));
    // The node that was removed learns of it from the voters that it locks, and stands down.
    let mut removed = Daemon::new(2, Flag::Active, Server::Standby, None);
    removed.tell(Event::Stand);
    let sent = removed.now;
    removed.tell(Event::Granted { voter: 1, backend: 9, sent, members: smaller });
    assert!(removed.state.candidacy.is_none() && !removed.state.wants_votes());
}

#[test]
fn members_of_a_paused_cluster_change_by_the_rules_of_an_active_one_but_may_become_few() {
    let mut paused = Daemon::new(0, Flag::Full, Server::Primary, None);
    paused.tell(Event::MembersWritten(members()));
    assert_eq!(paused.ask(Ask::Member(Change::Remove(2))), Word::No(Refusal::NotLeader), "it has no votes");
    paused.granted(0);
    paused.granted(1);
    assert_eq!(paused.ask(Ask::Member(Change::Remove(2))), Word::No(Refusal::Others));
    let version = members().version;
    paused.tell(Event::Shown(0, version)).tell(Event::Shown(1, version));
    assert_eq!(paused.ask(Ask::Member(Change::Remove(2))), Word::Going);
    let two = members().changed(&paused.params, Change::Remove(2), (0, 1), Nodes::first(3)).unwrap();
    paused.tell(Event::MembersWritten(two));
    // There is no lease of two.
    let ending = Ask::Ending(Epoch::default(), true);
    assert_eq!(paused.ask(ending), Word::No(Refusal::Voters));
}

#[test]
fn before_the_first_leader_the_registered_nodes_are_the_members() {
    let mut first = Daemon::new(0, Flag::Full, Server::Primary, None);
    first.state.members = Members { version: Version::default(), ..members() };
    let (data, voters) = (Nodes::first(2), Nodes::first(2).with(5));
    first.tell(Event::Registered { data, voters });
    assert_eq!((first.state.members.data, first.state.members.voters), (data, voters));
    // No row is written before there is a leader.
    first.granted(0);
    first.granted(5);
    first.tell(Event::Tick);
    assert!(!first.did.iter().any(|action| matches!(action, Action::WriteMembers(_))));
    // Later only the leader says who takes part.
    let mut leader = Daemon::leader();
    let before = leader.state.members;
    leader.tell(Event::Registered { data, voters });
    assert_eq!(leader.state.members, before);
}

#[test]
fn a_node_that_was_reset_goes_by_the_registered_nodes_without_the_others() {
    let mut reset = Daemon::new(0, Flag::Full, Server::Primary, None);
    reset.tell(Event::MembersWritten(members()));
    reset.state.unbound = true;
    // It was promoted since, and writes the row under its own name, without a majority of those that are gone.
    reset.tell(Event::Timeline(2)).tell(Event::Tick);
    let own = members().renewed(2).unwrap();
    assert!(reset.did.contains(&Action::WriteMembers(own)));
    reset.tell(Event::MembersWritten(own));
    assert_eq!(reset.ask(Ask::Member(Change::Remove(2))), Word::Going);
    // What it was reset to is newer than what any leader has issued, and it goes on from there.
    let epoch = Epoch { timeline: 3, counter: 0, op: 0 };
    assert_eq!(reset.ask(Ask::Ending(epoch, true)), Word::No(Refusal::Voters));
    reset.granted(0);
    reset.granted(1);
    assert_eq!(reset.ask(Ask::Ending(epoch, true)), Word::Armed(epoch));
    assert!(!reset.state.unbound);
}
