use super::*;
use crate::facts::cluster::Unavailable;
use crate::facts::lineage::{Lineage, TimelineStart};
use crate::facts::server::Receiver;

const END: u64 = 0x0500_0000;

/// Node 1 on a timeline that is 1, or was begun by a promotion.
fn ours(timeline: u32) -> (NodeRow, Lineage, TimelineId) {
    let lineage =
        Lineage { history: (timeline > 1).then(|| "1\t0/3000000\tx\n".to_string()), ..Lineage::default() };
    (NodeRow::example(1, NodeType::Primary), lineage, TimelineId(timeline))
}

fn rows() -> Vec<NodeRow> {
    vec![
        NodeRow::example(1, NodeType::Primary),
        NodeRow::example(2, NodeType::Standby),
        NodeRow::example(3, NodeType::Standby),
    ]
}

/// A standby that has lost its primary, node 1, and remembers it.
fn standby(node_id: i32, timeline: u32) -> PeerAnswer {
    let mut server = ServerFacts::example(true, timeline, END);
    server.receiver = None;
    server.started_at = format!("server {node_id}");
    server.lineage =
        (timeline > 1).then(|| Lineage { history: Some("1\t0/3000000\tx\n".into()), ..Lineage::default() });
    PeerAnswer {
        node: NodeFacts { row: NodeRow::example(node_id, NodeType::Standby), server: Ok(server) },
        registered: true,
        rows: Ok(rows()),
        promoted_to: None,
        busy: false,
        operations: Vec::new(),
    }
}

fn silent(node_id: i32, answered: Answered) -> PeerAnswer {
    let silence = Unavailable::new(answered, "timeout expired");
    PeerAnswer {
        node: NodeFacts { row: NodeRow::example(node_id, NodeType::Standby), server: Err(silence) },
        registered: true,
        rows: Err(String::new()),
        promoted_to: None,
        busy: false,
        operations: Vec::new(),
    }
}

fn server(peer: &mut PeerAnswer) -> &mut ServerFacts {
    peer.node.server.as_mut().unwrap()
}

fn promoted(node_id: i32) -> Vec<NodeRow> {
    let mut rows = rows();
    for row in &mut rows {
        if row.node_id == node_id {
            (row.node_type, row.upstream_node_id) = (NodeType::Primary, None);
        } else if row.node_id == 1 {
            row.active = false;
        }
    }
    rows
}

fn heard_among(timeline: u32, end: Option<u64>, peer: &PeerAnswer, all: &[PeerAnswer]) -> Opinion {
    let (row, lineage, timeline) = ours(timeline);
    let branch = Branch {
        timeline,
        end: None,
        writes: true,
        streams: false,
        lineage: Some(&lineage),
        segment_bytes: 16 << 20,
    };
    let ours = LocalNode { row: &row, system_identifier: "7", branch, end: end.map(Lsn) };
    interpret_answer(&ours, peer, all)
}

#[track_caller]
fn says(timeline: u32, peer: &PeerAnswer, says: Stance, why: &str) -> Opinion {
    let opinion = heard_among(timeline, None, peer, std::slice::from_ref(peer));
    assert_eq!(opinion.says, says, "{opinion:?}");
    assert!(opinion.detail.contains(why), "{opinion:?}");
    assert!(opinion.detail.ends_with('.'), "{opinion:?}");
    opinion
}

fn with(peer: PeerAnswer, change: impl FnOnce(&mut PeerAnswer)) -> PeerAnswer {
    let mut peer = peer;
    change(&mut peer);
    peer
}

#[test]
fn a_standby_that_remembers_us_is_for_us() {
    for timeline in [1, 2] {
        let opinion = says(timeline, &standby(2, timeline), Stance::Supports, "confirms this node");
        assert!(!opinion.defers && !opinion.is_primary);
    }
    // One that was cut off before we were promoted, and has followed us since some time before.
    says(
        2,
        &with(standby(2, 1), |peer| server(peer).replay_lsn = Some(Lsn(0x0200_0000))),
        Stance::Unclear,
        "",
    );
    let behind = with(standby(2, 1), |peer| {
        let server = server(peer);
        (server.replay_lsn, server.receive_lsn) = (Some(Lsn(0x0200_0000)), Some(Lsn(0x0200_0000)));
    });
    says(2, &behind, Stance::Supports, "confirms this node");
}

#[test]
fn one_that_knows_better_is_against_us() {
    let primary = |timeline| {
        with(standby(2, timeline), |peer| {
            server(peer).in_recovery = false;
            peer.rows = Ok(promoted(2));
        })
    };
    // Whatever its timeline: two would accept writes.
    for timeline in [1, 2, 3] {
        assert!(says(2, &primary(timeline), Stance::Opposes, "accepts writes").is_primary);
    }
    says(1, &standby(2, 2), Stance::Opposes, "is a standby on timeline 2");
    let knows = with(standby(2, 1), |peer| peer.promoted_to = Some(TimelineId(2)));
    says(1, &knows, Stance::Opposes, "a promotion to timeline 2");
    says(2, &with(standby(2, 2), |peer| peer.promoted_to = Some(TimelineId(2))), Stance::Supports, "");
    // On timeline 1 there was no promotion before us.
    let names_another = |timeline| with(standby(3, timeline), |peer| peer.rows = Ok(promoted(2)));
    says(1, &names_another(1), Stance::Opposes, "names node \"node2\"");
    // Later on it may not have heard of us yet.
    says(2, &names_another(2), Stance::Unclear, "which may be out of date");
}

#[test]
fn another_history_is_against_us_if_it_is_as_new() {
    let forked = |history: &str| {
        with(standby(2, 2), |peer| {
            let lineage = Lineage {
                history: Some(history.into()),
                timeline_starts: vec![TimelineStart { timeline: TimelineId(2), lsn: Lsn(0), bytes: None }],
                ..Lineage::default()
            };
            server(peer).lineage = Some(lineage);
        })
    };
    says(2, &forked("1\t0/3000000\tx\n"), Stance::Supports, "");
    says(2, &forked("1\t0/2800000\tx\n"), Stance::Opposes, "The history files differ");
    // One that was left behind has no say.
    says(2, &standby(2, 1), Stance::Unclear, "timeline 1, which \"node1\" left at");
}

#[test]
fn wal_that_we_have_lost_is_against_us() {
    let heard = |end: Option<u64>, peer: &PeerAnswer| heard_among(1, end, peer, std::slice::from_ref(peer));
    assert_eq!(heard(Some(END), &standby(2, 1)).says, Stance::Supports);
    assert_eq!(heard(None, &standby(2, 1)).says, Stance::Supports);
    let opinion = heard(Some(END - 8), &standby(2, 1));
    assert_eq!(opinion.says, Stance::Opposes);
    assert!(opinion.detail.contains("has replayed WAL up to 0/5000000"), "{opinion:?}");
    // Received is not replayed: it may end in the middle of a record.
    let received = with(standby(2, 1), |peer| server(peer).receive_lsn = Some(Lsn(END + 4096)));
    assert_eq!(heard(Some(END), &received).says, Stance::Supports);
}

#[test]
fn whom_it_streams_from_matters() {
    let streaming = |host: &str, status: Option<&str>| {
        with(standby(3, 1), |peer| {
            server(peer).receiver = Some(Receiver {
                status: status.map(str::to_string),
                sender_host: status.map(|_| host.to_string()),
                sender_port: status.map(|_| 5432),
                slot_name: None,
                message_age_s: None,
            });
        })
    };
    let among = |peer: &PeerAnswer, others: &[PeerAnswer]| {
        let all: Vec<PeerAnswer> = others.iter().chain([peer]).cloned().collect();
        heard_among(1, None, peer, &all)
    };
    let two = [standby(2, 1)];
    let gone = [silent(2, Answered::Nothing)];
    // It has not noticed yet that we have gone.
    assert_eq!(among(&streaming("h1", Some("streaming")), &two).says, Stance::Supports);
    // A cascade: node 2 says itself what it is.
    assert_eq!(among(&streaming("h2", Some("streaming")), &two).says, Stance::Supports);
    // From a server that does not respond to us, and that it was not recorded to follow.
    assert_eq!(among(&streaming("h2", Some("streaming")), &gone).says, Stance::Opposes);
    let cascade = with(streaming("h2", Some("streaming")), |peer| {
        if let Ok(rows) = &mut peer.rows {
            rows[2].upstream_node_id = Some(2);
        }
    });
    let opinion = among(&cascade, &gone);
    assert!(opinion.says == Stance::Unclear && opinion.defers, "{opinion:?}");
    // From an unknown or unseen server.
    let opinion = among(&streaming("elsewhere", Some("streaming")), &two);
    assert!(opinion.says == Stance::Unclear && opinion.defers, "{opinion:?}");
    let opinion = among(&streaming("", None), &two);
    assert!(opinion.says == Stance::Unclear && opinion.detail.contains("GRANT pg_monitor"), "{opinion:?}");
    // It only tries.
    assert_eq!(among(&streaming("h2", Some("waiting")), &gone).says, Stance::Supports);
}

#[test]
fn who_says_nothing_of_use_is_not_counted() {
    let opinion = says(1, &silent(2, Answered::Nothing), Stance::NoAnswer, "does not respond");
    assert!(!opinion.defers);
    assert!(says(1, &silent(2, Answered::Silent), Stance::NoAnswer, "does not respond").defers);
    assert!(says(1, &silent(2, Answered::Spoke), Stance::Unclear, "does not report its role").defers);
    assert!(says(1, &with(standby(2, 1), |peer| peer.busy = true), Stance::Unclear, "is running on").defers);
    let refused = with(standby(2, 1), |peer| peer.rows = Err("permission denied".into()));
    says(1, &refused, Stance::Unclear, "permission denied");
    let foreign = with(standby(2, 1), |peer| server(peer).system_identifier = "8".into());
    says(1, &foreign, Stance::NoAnswer, "another cluster");
    // Even if that one accepts writes.
    let foreign = with(foreign, |peer| server(peer).in_recovery = false);
    assert!(!says(1, &foreign, Stance::NoAnswer, "another cluster").is_primary);
    says(
        1,
        &with(standby(2, 1), |peer| peer.rows = Ok(Vec::new())),
        Stance::Unclear,
        "has no record of node 1",
    );
    let renamed = with(standby(2, 1), |peer| {
        if let Ok(rows) = &mut peer.rows {
            rows[0].node_name = "other".into();
        }
    });
    says(1, &renamed, Stance::Unclear, "has no record of node 1 \"node1\"");
    let none = with(standby(2, 1), |peer| {
        if let Ok(rows) = &mut peer.rows {
            rows[0].active = false;
        }
    });
    says(1, &none, Stance::Unclear, "names no primary");
    let several = with(standby(2, 1), |peer| {
        if let Ok(rows) = &mut peer.rows {
            rows[1].node_type = NodeType::Primary;
        }
    });
    says(1, &several, Stance::Unclear, "several");
}

#[test]
fn a_witness_votes_by_its_metadata() {
    let witness = |rows: Vec<NodeRow>| {
        with(standby(4, 1), |peer| {
            peer.node.row.node_type = NodeType::Witness;
            let server = server(peer);
            (server.in_recovery, server.system_identifier) = (false, "9".into());
            peer.rows = Ok(rows);
        })
    };
    assert!(!says(1, &witness(rows()), Stance::Supports, "confirms this node").is_primary);
    says(2, &witness(rows()), Stance::Supports, "confirms this node");
    says(1, &witness(promoted(2)), Stance::Opposes, "names node \"node2\"");
    // It may have been away when we were promoted.
    says(2, &witness(promoted(2)), Stance::Unclear, "which may be out of date");
    let knows = with(witness(promoted(2)), |peer| peer.promoted_to = Some(TimelineId(3)));
    says(2, &knows, Stance::Opposes, "a promotion to timeline 3");
    says(1, &witness(Vec::new()), Stance::Unclear, "another cluster");
}

fn opinion(node_id: i32, says: Stance) -> Opinion {
    Opinion {
        node_id: Some(node_id),
        node_name: format!("node{node_id}"),
        says,
        timeline: None,
        detail: String::new(),
        defers: false,
        is_primary: false,
        own_address: false,
        server: Some(("7".into(), format!("{node_id}"))),
    }
}

fn members(count: i32, inactive: &[i32]) -> Members {
    let mut members = Members::default();
    let rows: Vec<NodeRow> = (1..=count)
        .map(|id| NodeRow { active: !inactive.contains(&id), ..NodeRow::example(id, NodeType::Standby) })
        .collect();
    members.learn(&rows);
    members
}

#[test]
fn a_majority_is_more_than_half_and_includes_us() {
    use Stance::{NoAnswer, Supports, Unclear};
    let judged = |nodes: i32, inactive: &[i32], opinions: &[(i32, Stance)], last: bool| {
        let opinions: Vec<Opinion> = opinions.iter().map(|(id, says)| opinion(*id, *says)).collect();
        judge(1, &opinions, &members(nodes, inactive), false, last)
    };
    let (all, majority) = (StartVerdict::Start(StartReason::All), StartVerdict::Start(StartReason::Majority));
    // Two nodes: the other one has to answer.
    assert_eq!(judged(2, &[], &[(2, Supports)], false), all);
    assert_eq!(judged(2, &[], &[(2, NoAnswer)], false), StartVerdict::Wait);
    assert_eq!(judged(2, &[], &[(2, NoAnswer)], true), StartVerdict::Unknown);
    assert_eq!(judged(2, &[], &[(2, Unclear)], true), StartVerdict::Unknown);
    // Three: one of the others.
    assert_eq!(judged(3, &[], &[(2, Supports), (3, NoAnswer)], false), majority);
    assert_eq!(judged(3, &[], &[(2, NoAnswer), (3, NoAnswer)], true), StartVerdict::Unknown);
    assert_eq!(judged(3, &[], &[(2, Supports), (3, Supports)], false), all);
    // Four: two of them; half is no majority.
    assert_eq!(judged(4, &[], &[(2, Supports), (3, NoAnswer), (4, NoAnswer)], true), StartVerdict::Unknown);
    assert_eq!(judged(4, &[], &[(2, Supports), (3, Supports), (4, NoAnswer)], false), majority);
    // An old primary that was taken out does not have to respond, and without any other node none confirms us.
    assert_eq!(judged(3, &[3], &[(2, Supports), (3, NoAnswer)], false), all);
    assert_eq!(judged(2, &[2], &[(2, NoAnswer)], true), StartVerdict::Unknown);
    assert_eq!(judged(2, &[2], &[(2, Supports)], false), all);
    // A stranger has no vote.
    assert_eq!(judged(2, &[], &[(2, NoAnswer), (9, Supports)], true), StartVerdict::Unknown);
}

#[test]
fn one_against_is_enough_and_one_that_is_coming_up_is_waited_for() {
    use Stance::{Opposes, Supports, Unclear};
    let opinions = |third: Opinion| [opinion(2, Supports), third];
    let members = members(3, &[]);
    for last in [false, true] {
        let judged = judge(1, &opinions(opinion(3, Opposes)), &members, false, last);
        assert_eq!(judged, StartVerdict::Refuse);
    }
    let coming = Opinion { defers: true, ..opinion(3, Unclear) };
    assert_eq!(judge(1, &opinions(coming.clone()), &members, false, false), StartVerdict::Wait);
    assert_eq!(judge(1, &opinions(coming), &members, false, true), StartVerdict::Unknown);
    let hung = Opinion { defers: true, ..opinion(3, Stance::NoAnswer) };
    assert_eq!(judge(1, &opinions(hung.clone()), &members, false, false), StartVerdict::Wait);
    assert_eq!(judge(1, &opinions(hung), &members, false, true), StartVerdict::Start(StartReason::Majority));
    // An unregistered server, too.
    let named = Opinion { node_id: None, ..opinion(9, Opposes) };
    assert_eq!(judge(1, &opinions(named), &members, false, false), StartVerdict::Refuse);
}

#[test]
fn alone_is_only_who_is_known_to_be() {
    let alone = members(1, &[]);
    assert_eq!(judge(1, &[], &alone, true, false), StartVerdict::Start(StartReason::Alone));
    assert_eq!(judge(1, &[], &alone, false, true), StartVerdict::Unknown);
    assert_eq!(judge(1, &[], &Members::default(), false, true), StartVerdict::Unknown);
    // A node has reported that there are others.
    assert_eq!(judge(1, &[], &members(2, &[]), true, true), StartVerdict::Unknown);
    assert_eq!(judge(1, &[opinion(2, Stance::Opposes)], &alone, true, false), StartVerdict::Refuse);
}

#[test]
fn a_server_that_two_rows_lead_to_has_one_vote() {
    let mut twin = opinion(3, Stance::Supports);
    twin.server = opinion(2, Stance::Supports).server;
    let opinions = [opinion(2, Stance::Supports), twin, opinion(4, Stance::NoAnswer)];
    assert_eq!(members(4, &[]).count(1, &opinions), Count { named: 2, of: 4 });
    assert_eq!(judge(1, &opinions, &members(4, &[]), false, true), StartVerdict::Unknown);
}

#[test]
fn a_node_is_counted_if_one_copy_has_it_as_active() {
    let mut both = members(3, &[3]);
    assert_eq!(both.count(1, &[]).of, 2);
    both.learn(&[NodeRow::example(3, NodeType::Standby)]);
    assert_eq!(both.count(1, &[]).of, 3);
    both.learn(&[NodeRow { active: false, ..NodeRow::example(2, NodeType::Standby) }]);
    assert_eq!(both.count(1, &[]).of, 3);
}

#[test]
fn of_several_words_of_a_node_the_strongest_stays() {
    let named = Opinion { node_id: None, node_name: "host=h2".into(), ..opinion(2, Stance::Unclear) };
    let stranger = Opinion { node_id: None, server: None, ..opinion(7, Stance::NoAnswer) };
    let opinions = vec![
        stranger,
        named,
        opinion(3, Stance::NoAnswer),
        opinion(2, Stance::NoAnswer),
        opinion(2, Stance::Supports),
        opinion(2, Stance::Unclear),
    ];
    let kept: Vec<(Option<i32>, Stance)> =
        strongest_opinions(opinions).iter().map(|opinion| (opinion.node_id, opinion.says)).collect();
    assert_eq!(kept, [(Some(2), Stance::Supports), (Some(3), Stance::NoAnswer), (None, Stance::NoAnswer)]);
}

#[test]
fn a_request_that_stands_is_as_good_as_a_primary() {
    let asked = with(standby(2, 1), |peer| server(peer).promotion_requested = Some(true));
    says(1, &asked, Stance::Opposes, "promotion");
    let unknown = with(standby(2, 1), |peer| server(peer).promotion_requested = None);
    says(1, &unknown, Stance::Supports, "");
}

#[test]
fn an_operation_that_nobody_can_be_asked_about_may_be_making_a_primary() {
    let operation = |node_id, timeline| OpenOperation {
        operation_id: "x1".into(),
        command: "standby switchover".into(),
        node_id,
        timeline,
    };
    let of = |operation| with(standby(2, 1), |peer| peer.operations = vec![operation]);
    let peer = of(operation(3, Some(TimelineId(1))));
    let opinion = says(1, &peer, Stance::Unclear, "x1 (\"standby switchover\")");
    assert!(opinion.defers);
    let coordinator_answers = [peer.clone(), standby(3, 1)];
    assert_eq!(heard_among(1, None, &peer, &coordinator_answers).says, Stance::Supports);
    // It is old, or it is not known how old, or it is our own.
    for old in [operation(3, Some(TimelineId(9))), operation(3, None), operation(1, Some(TimelineId(1)))] {
        says(1, &of(old), Stance::Supports, "");
    }
}

/// A server that has an address of node 1, and is not the one that is asked about.
fn copy_of_node_1(peer: PeerAnswer) -> PeerAnswer {
    with(peer, |peer| {
        peer.registered = false;
        (peer.node.row.node_id, peer.node.row.node_name) = (1, "host=h9 port=5432".into());
        peer.node.row.conninfo = "host=h9".into();
    })
}

#[test]
fn a_primary_at_an_address_of_this_node_is_against_it() {
    let primary = copy_of_node_1(with(standby(2, 1), |peer| server(peer).in_recovery = false));
    let opinion = says(
        1,
        &primary,
        Stance::Opposes,
        "at \"host=h9 port=5432\", an address of this node, accepts writes",
    );
    assert!(opinion.own_address && opinion.is_primary && opinion.node_id.is_none());
    // Also where all others name this node: they name the place.
    let opinions =
        [opinion, heard_among(1, None, &standby(2, 1), &[]), heard_among(1, None, &standby(3, 1), &[])];
    let members = |of: usize| {
        let mut members = Members::default();
        members.learn(&rows()[..of]);
        members
    };
    for last in [false, true] {
        assert_eq!(judge(1, &opinions, &members(3), false, last), StartVerdict::Refuse);
    }
    assert_eq!(judge(1, &opinions[..1], &members(1), true, true), StartVerdict::Refuse);
    // A standby there, or a server of another cluster, is none.
    says(1, &copy_of_node_1(standby(2, 1)), Stance::Unclear, "is a standby of this cluster");
    let foreign = copy_of_node_1(with(standby(2, 1), |peer| {
        server(peer).in_recovery = false;
        server(peer).system_identifier = "8".into();
    }));
    assert!(!says(1, &foreign, Stance::Unclear, "of another cluster").is_primary);
}

#[test]
fn who_comes_up_at_an_address_of_this_node_is_waited_for_and_a_host_that_is_gone_is_not() {
    let mut members = Members::default();
    members.learn(&rows());
    let verdict = |there: &PeerAnswer, last| {
        let all = [there.clone(), standby(2, 1), standby(3, 1)];
        let opinions: Vec<Opinion> = all.iter().map(|peer| heard_among(1, None, peer, &all)).collect();
        judge(1, &strongest_opinions(opinions), &members, false, last)
    };
    let there = |answered| copy_of_node_1(silent(1, answered));
    assert_eq!(verdict(&there(Answered::Spoke), false), StartVerdict::Wait);
    assert_eq!(verdict(&there(Answered::Spoke), true), StartVerdict::Start(StartReason::All));
    for gone in [Answered::Nothing, Answered::Silent] {
        assert_eq!(verdict(&there(gone), false), StartVerdict::Start(StartReason::All));
    }
    // The command that starts it reports it.
    let all = [there(Answered::Nothing), standby(2, 1), standby(3, 1)];
    let opinions = strongest_opinions(all.iter().map(|peer| heard_among(1, None, peer, &all)).collect());
    let heard =
        PollResult { node_id: 1, opinions: &opinions, members: &members, alone: false, seen_newer: None };
    let judgement = decide(Asker::Start, &heard);
    assert_eq!((judgement.may, judgement.count), (StartDecision::YesNaming, Count { named: 3, of: 3 }));
    assert!(judgement.unheard().unwrap().contains("host=h9"));
}

#[test]
fn who_streams_from_the_registered_address_does_not_vouch_for_a_server_elsewhere() {
    let streams_from = |host: &str| {
        with(standby(2, 1), |peer| {
            let status = Some("streaming".into());
            let sender_host = Some(host.to_string());
            server(peer).receiver = Some(Receiver {
                status,
                sender_host,
                sender_port: Some(5432),
                slot_name: None,
                message_age_s: None,
            });
            peer.rows.as_mut().unwrap()[0].conninfo = "host=h9".into();
        })
    };
    // Our own conninfo is host=h1: it has not noticed yet that its primary is down.
    says(
        1,
        &streams_from("h1"),
        Stance::Supports,
        "confirms this node as the primary, at \"host=h9 port=5432\"",
    );
    let opinion = says(1, &streams_from("h9"), Stance::Unclear, "which is registered for this node");
    assert!(opinion.defers);
}
