//! The sessions of a daemon: what is asked in them, when, and what becomes of what is not answered.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

use pgbaton_lease::driver::{Driver, Input, Output, Policy, Query, Reply, View, Withheld};
use pgbaton_lease::mailbox::{Request, Role, Saying, Status};
use pgbaton_lease::{
    Ask, Backend, Epoch, Event, Flag, Lack, Members, Node, Nodes, Profile, Server, Stage, State, Time,
    Version,
};

const INCARNATION: u16 = 77;

/// A driver, and what it has asked and not been answered.
struct Daemon {
    driver: Driver<3>,
    now: Time,
    asked: Vec<(Node, Backend, Query, String)>,
    did: Vec<Output>,
}

fn members() -> Members {
    Members { version: Version { timeline: 1, counter: 1 }, data: Nodes::first(3), voters: Nodes::first(3) }
}

/// What a standby's server shows while its primary is well.
fn view() -> View {
    View {
        in_recovery: true,
        timeline: 1,
        end: 1000,
        silent: Some(0),
        members: members(),
        holder: None,
        notes: Vec::new(),
        statuses: Vec::new(),
        requests: Vec::new(),
    }
}

fn status(node: u32, role: Role, says: Option<(u32, Saying)>) -> Status {
    Status { node, incarnation: 5, role, timeline: 1, pause: (0, 0), flag: Flag::Active, says }
}

impl Daemon {
    fn new(me: Node, server: Server, adopted: Option<u64>) -> Self {
        let now = Time(50_000);
        let adopted = adopted.map(|left| now.after(left));
        let state = State::start(me, members(), (Flag::Active, Epoch::default()), (server, 1), adopted, now);
        let params = Profile::Default.params();
        let driver = Driver::new(params, state, ([1, 2, 3], [100; 3]), INCARNATION, 9, now);
        let mut daemon = Self { driver, now, asked: Vec::new(), did: Vec::new() };
        daemon.tell(Input::Wake);
        // Every session that is opened, opens.
        for output in std::mem::take(&mut daemon.did) {
            if let Output::Open(voter, backend) = output {
                daemon.tell(Input::Opened(voter, backend));
            }
        }
        daemon
    }

    fn tell(&mut self, input: Input) {
        for output in self.driver.handle(self.now, input) {
            match output {
                Output::Send(voter, backend, query, line) => self.asked.push((voter, backend, query, line)),
                other => self.did.push(other),
            }
        }
    }

    fn pass(&mut self, span: u64) {
        self.now = self.now.after(span);
        self.tell(Input::Wake);
    }

    /// Answers what is asked of a voter.
    fn answer(&mut self, voter: Node, is_done: bool, view: View) -> Query {
        let place = self.asked.iter().position(|(asked, ..)| *asked == voter).unwrap();
        let (_, backend, query, _) = self.asked.remove(place);
        self.tell(Input::Replied(voter, backend, Reply { is_done, view }));
        query
    }

    fn asks(&self) -> Vec<(Node, Query)> {
        self.asked.iter().map(|(voter, _, query, _)| (*voter, *query)).collect()
    }

    fn line(&self, voter: Node) -> Status {
        let (_, _, _, line) = self.asked.iter().find(|(asked, ..)| *asked == voter).unwrap();
        Status::parse(line).unwrap()
    }
}

#[test]
fn a_follower_looks_and_asks_for_no_vote() {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    assert_eq!(daemon.asks(), [0, 1, 2].map(|voter| (voter, Query::Look)));
    assert_eq!(daemon.line(0).role, Role::Follower);
    for voter in 0..3 {
        daemon.answer(voter, true, view());
    }
    assert_eq!(daemon.asks(), [], "not before the next heartbeat is due");
    daemon.pass(250);
    assert_eq!(daemon.asks(), [(1, Query::Look)], "the own server twice as often");
}

#[test]
fn a_leader_asks_for_every_vote_and_keeps_it_by_heartbeats() {
    let mut daemon = Daemon::new(0, Server::Primary, Some(3000));
    assert_eq!(daemon.asks(), [0, 1, 2].map(|voter| (voter, Query::Vote)));
    for voter in 0..3 {
        daemon.answer(voter, voter != 2, View { in_recovery: voter != 0, ..view() });
    }
    assert_eq!(daemon.driver.state.votes_held(), 2);
    assert_eq!(daemon.driver.state.deadline, Some(daemon.now.after(5000)));
    daemon.pass(500);
    assert_eq!(daemon.asks(), [(0, Query::Look), (1, Query::Look), (2, Query::Vote)]);
}

#[test]
fn a_session_that_does_not_answer_in_time_is_ended_and_opened_again() {
    let mut daemon = Daemon::new(0, Server::Primary, Some(3000));
    daemon.answer(0, true, View { in_recovery: false, ..view() });
    daemon.answer(1, true, view());
    let (_, silent, ..) = daemon.asked.remove(0);
    daemon.pass(999);
    assert!(!daemon.did.contains(&Output::Close(2, silent)));
    daemon.pass(1);
    assert!(daemon.did.contains(&Output::Close(2, silent)), "{:?}", daemon.did);
    daemon.pass(1);
    assert!(daemon.did.iter().any(|output| matches!(output, Output::Open(2, backend) if *backend > silent)));
    // What it says afterwards is not heard.
    daemon.tell(Input::Replied(2, silent, Reply { is_done: true, view: view() }));
    assert!(daemon.driver.state.session(2).is_none());
}

/// A follower whose primary is gone, with the votes of a majority.
fn candidate() -> Daemon {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    let lost = || View { silent: None, ..view() };
    daemon.answer(1, true, lost());
    daemon.answer(2, true, lost());
    let votes = |daemon: &Daemon| daemon.asks().iter().filter(|(_, query)| *query == Query::Vote).count();
    while votes(&daemon) < 2 {
        daemon.pass(250);
        for voter in [1, 2] {
            if daemon.asks().iter().any(|(asked, query)| (*asked, *query) == (voter, Query::Look)) {
                daemon.answer(voter, true, lost());
            }
        }
    }
    for voter in [1, 2] {
        assert!(daemon.asks().contains(&(voter, Query::Vote)), "{:?}", daemon.asks());
        daemon.answer(voter, true, lost());
    }
    daemon
}

#[test]
fn a_candidate_sends_one_heartbeat_right_at_the_end_of_its_grace() {
    let mut daemon = candidate();
    let end =
        daemon.driver.state.voter_slots().filter_map(|(_, slot)| slot.vote).map(|vote| vote.granted).max();
    let end = end.unwrap().after(7200);
    while daemon.now.after(260) < end {
        daemon.pass(250);
        for voter in [1, 2] {
            if daemon.asks().iter().any(|(asked, _)| *asked == voter) {
                daemon.answer(voter, true, View { silent: None, ..view() });
            }
        }
    }
    assert!(!daemon.asks().iter().any(|(_, query)| *query == Query::Promote));
    let wake = daemon.driver.wake_at(daemon.now);
    assert!(wake <= end, "{wake:?} {end:?}");
    daemon.pass(end.since(daemon.now));
    for voter in [1, 2] {
        daemon.answer(voter, true, View { silent: None, ..view() });
    }
    assert_eq!(
        daemon.asks().iter().filter(|(voter, query)| (*voter, *query) == (1, Query::Promote)).count(),
        1
    );
    // The session ends without an answer: nobody knows what has become of it.
    let (_, backend, ..) = *daemon.asked.iter().find(|(.., query, _)| *query == Query::Promote).unwrap();
    daemon.tell(Input::Closed(1, backend));
    assert!(daemon.did.contains(&Output::CheckPromotion(backend)));
    assert!(daemon.driver.state.requested);
}

fn request(incarnation: u16, op: u32, ask: Ask) -> String {
    Request { to: 2, incarnation, op, ask }.line(|node| Some(u32::from(node) + 1)).unwrap()
}

#[test]
fn requests_are_answered_one_at_a_time_and_only_by_the_incarnation_that_is_meant() {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    let shows = |daemon: &mut Daemon, requests: &[String]| {
        let voters: Vec<Node> = daemon.asks().iter().map(|(voter, _)| *voter).collect();
        for voter in voters {
            let requests = if voter == 1 { requests.to_vec() } else { Vec::new() };
            // The primary is well.
            let view = View { in_recovery: voter != 0, requests, ..view() };
            daemon.answer(voter, true, view);
        }
        daemon.pass(500);
    };
    shows(&mut daemon, &[request(INCARNATION + 1, 7, Ask::Candidate)]);
    assert_eq!((daemon.driver.state.candidacy, daemon.line(1).says), (None, None));
    let hold = request(INCARNATION, 7, Ask::Hold(Some(Epoch { timeline: 1, counter: 1, op: 7 })));
    let later = request(INCARNATION, 8, Ask::Raise);
    shows(&mut daemon, &[hold.clone(), later.clone()]);
    assert_eq!((daemon.line(1).says, daemon.line(1).flag), (Some((7, Saying::Held)), Flag::Held));
    // The first has read its answer and is gone.
    shows(&mut daemon, &[later]);
    assert!(matches!(daemon.line(1).says, Some((8, Saying::No(_)))), "{:?}", daemon.line(1));
    // What nobody asks is not answered; who ends the pause finds the operation that began it.
    shows(&mut daemon, &[]);
    assert_eq!(daemon.line(1).says, Some((7, Saying::Held)));
}

#[test]
fn an_heir_agrees_to_what_its_leader_shows_and_forgets_it_when_the_leader_turns_back() {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    let leader = |says| View { holder: Some(None), statuses: vec![status(1, Role::Leader, says)], ..view() };
    daemon.answer(1, true, leader(Some((7, Saying::Wants(2)))));
    assert_eq!(daemon.driver.state.ready, Some((0, 7)));
    daemon.pass(20);
    assert_eq!(daemon.line(1).says, Some((7, Saying::Ready(1000))), "with the end of its WAL, and at once");
    daemon.answer(1, true, leader(Some((7, Saying::Going))));
    assert_eq!(daemon.driver.state.ready, Some((0, 7)));
    daemon.pass(20);
    daemon.answer(1, true, leader(None));
    assert_eq!(daemon.driver.state.ready, None);
    // Not again for an operation that is over.
    daemon.pass(500);
    daemon.answer(1, true, leader(Some((7, Saying::Wants(2)))));
    assert_eq!(daemon.driver.state.ready, None);
    // Nor for one that names somebody else.
    daemon.pass(500);
    daemon.answer(1, true, leader(Some((9, Saying::Wants(3)))));
    assert_eq!(daemon.driver.state.ready, None);
}

#[test]
fn an_heir_has_all_wal_only_if_it_has_that_of_this_shutdown() {
    let mut daemon = Daemon::new(0, Server::Primary, Some(3000));
    for voter in 0..3 {
        daemon.answer(voter, true, View { in_recovery: voter != 0, ..view() });
    }
    // Of a hand-over that has turned back.
    daemon.tell(Input::Shutdown(5000));
    daemon.tell(Input::Event(Event::Ask(7, Ask::HandOver(1))));
    let heir =
        || View { statuses: vec![status(2, Role::Follower, Some((7, Saying::Ready(6000))))], ..view() };
    let stage = |daemon: &Daemon| daemon.driver.state.hand_over.map(|present| present.stage);
    daemon.answer(1, true, heir());
    assert_eq!(stage(&daemon), Some(Stage::Stopping));
    daemon.tell(Input::Event(Event::Server(Server::Down { signal: false })));
    daemon.pass(20);
    daemon.answer(1, true, heir());
    assert_eq!(stage(&daemon), Some(Stage::Stopped), "where this shutdown ends is not known yet");
    daemon.tell(Input::Shutdown(6001));
    assert_eq!(stage(&daemon), Some(Stage::Stopped));
    daemon.tell(Input::Shutdown(6000));
    assert_eq!(stage(&daemon), Some(Stage::Signal));
}

#[test]
fn a_barred_node_is_cleared_by_the_armed_leader_that_holds_its_vote() {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    let hold = request(INCARNATION, 7, Ask::Hold(Some(Epoch { timeline: 1, counter: 2, op: 7 })));
    daemon.answer(1, true, View { holder: Some(None), requests: vec![hold], ..view() });
    assert_eq!(daemon.driver.state.flag, Flag::Held);
    let held_by = |pause, flag| {
        let holder = Status { pause, flag, ..status(1, Role::Leader, None) };
        View { holder: Some(Some(holder)), ..view() }
    };
    for (pause, flag, cleared) in
        [((1, 1), Flag::Active, false), ((1, 2), Flag::Held, false), ((1, 2), Flag::Ending, true)]
    {
        daemon.pass(500);
        daemon.answer(1, true, held_by(pause, flag));
        assert_eq!(daemon.driver.state.flag == Flag::Active, cleared, "{pause:?} {flag:?}");
    }
}

#[test]
fn a_session_to_a_node_that_is_no_member_any_more_is_ended_before_its_place_is_given_away() {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    daemon.driver.keep_places(&[1, 2]);
    assert_eq!(daemon.driver.id_of(2), 3, "it is a member");
    let two = Nodes::first(2);
    let newer = Members { version: Version { timeline: 1, counter: 2 }, data: two, voters: two };
    daemon.answer(1, true, View { members: newer, ..view() });
    assert!(daemon.did.iter().any(|done| matches!(done, Output::Close(2, _))), "{:?}", daemon.did);
    daemon.driver.keep_places(&[1, 2]);
    assert_eq!(daemon.driver.id_of(2), 0);
    assert_eq!(daemon.driver.place_of(9), Some(2));
    // Nothing that was seen of the node before is taken for what the other one shows.
    assert!(daemon.driver.last_seen(2).is_none());
}

/// A standby that has lost its primary, node 1, and is the best of those that are left.
fn bereft(most_lack: Option<u64>) -> Daemon {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    daemon.driver.set_policy(Policy { most_lack, validates: false });
    daemon.answer(0, true, View { in_recovery: false, end: 5000, silent: None, ..view() });
    daemon.answer(1, true, view());
    daemon.answer(2, true, View { end: 900, statuses: vec![status(3, Role::Follower, None)], ..view() });
    daemon
}

fn is_left_alone(daemon: &mut Daemon) {
    for _ in 0..12 {
        daemon.pass(500);
        while let Some((voter, backend, ..)) = daemon.asked.iter().find(|(voter, ..)| *voter != 0).cloned() {
            let end = if voter == 1 { 1000 } else { 900 };
            let line = if voter == 2 { vec![status(3, Role::Follower, None)] } else { Vec::new() };
            daemon.asked.retain(|(asked, ..)| *asked != voter);
            let view = View { end, silent: None, statuses: line, ..view() };
            daemon.tell(Input::Replied(voter, backend, Reply { is_done: true, view }));
        }
    }
}

#[test]
fn a_standby_that_lacks_more_than_it_may_does_not_stand_by_itself() {
    let mut near = bereft(Some(4000));
    is_left_alone(&mut near);
    assert!(near.driver.state.candidacy.is_some() && near.driver.withheld().is_none());
    let mut far = bereft(Some(3999));
    is_left_alone(&mut far);
    assert!(far.driver.state.candidacy.is_none());
    assert_eq!(far.driver.withheld(), Some(Withheld::Lacks(Lack::Bytes(4000))));
    // An operator may have it promoted all the same.
    far.tell(Input::Ask(7, Ask::Candidate));
    assert!(far.driver.state.candidacy.is_some());
}

#[test]
fn a_standby_that_does_not_know_what_it_lacks_does_not_stand_by_itself() {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    daemon.driver.set_policy(Policy { most_lack: Some(u64::MAX), validates: false });
    is_left_alone(&mut daemon);
    assert_eq!(daemon.driver.withheld(), Some(Withheld::Lacks(Lack::Unknown)));
    // It is known from before the start of the daemon.
    daemon.driver.set_known_end((1, 1500));
    is_left_alone(&mut daemon);
    assert!(daemon.driver.state.candidacy.is_some());
}

#[test]
fn a_candidacy_that_has_to_be_validated_waits_for_the_word() {
    let mut daemon = bereft(None);
    daemon.driver.set_policy(Policy { most_lack: None, validates: true });
    is_left_alone(&mut daemon);
    assert_eq!(daemon.driver.withheld(), Some(Withheld::Validation));
    daemon.tell(Input::Validated(false, 60_000));
    is_left_alone(&mut daemon);
    assert!(daemon.driver.state.candidacy.is_none() && daemon.driver.withheld().is_none());
    daemon.pass(60_000);
    is_left_alone(&mut daemon);
    daemon.tell(Input::Validated(true, 10_000));
    assert!(daemon.driver.state.candidacy.is_some());
}

#[test]
fn a_standby_without_a_receiver_is_not_taken_for_one_of_the_timeline_before() {
    let mut daemon = Daemon::new(1, Server::Standby, None);
    daemon.answer(1, true, View { timeline: 2, end: 2000, ..view() });
    daemon.pass(500);
    daemon.answer(1, true, View { timeline: 1, end: 2000, silent: None, ..view() });
    assert_eq!(daemon.driver.last_seen(1).unwrap().1.timeline, 2);
    // With less WAL it is another one than before.
    daemon.pass(500);
    daemon.answer(1, true, View { timeline: 1, end: 1000, silent: None, ..view() });
    assert_eq!(daemon.driver.last_seen(1).unwrap().1.timeline, 1);
}
