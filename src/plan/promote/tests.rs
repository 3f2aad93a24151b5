//! Tests of `promote`.

use super::*;
use crate::assess::alive::Alive;
use crate::assess::alive::alive;
use crate::facts::cluster::Unavailable;
use crate::facts::server::ServerFacts;
use crate::facts::server::{Receiver, Sender};
use crate::operation::course;
use crate::pg::failure::Answered;
use crate::plan::FileOp;
use crate::plan::far_end::{Reached, ServerState};
use crate::plan::parts::announce::OtherOperations;
use crate::registry::NodeRow;

fn silent(answered: Answered) -> Unavailable {
    Unavailable::new(answered, "no luck")
}

/// A failed primary, node 2 to be promoted, node 3 another standby; no node streams.
fn facts() -> PromoteFacts {
    let standby = |end| ServerFacts {
        receiver: None,
        started_at: format!("{end} {}", std::process::id()),
        ..ServerFacts::example(true, 1, end)
    };
    let mut nodes = vec![NodeFacts {
        row: NodeRow::example(1, NodeType::Primary),
        server: Err(silent(Answered::Nothing)),
    }];
    for (id, end) in [(2, 0x500), (3, 0x400)] {
        nodes.push(NodeFacts { row: NodeRow::example(id, NodeType::Standby), server: Ok(standby(end)) });
    }
    PromoteFacts {
        cluster: ClusterFacts { nodes, ..ClusterFacts::default() },
        roles: BTreeMap::from([(2, RoleFacts::example()), (3, RoleFacts::example())]),
        node_id: 2,
        metadata: Some(PresentMetadata::example(true)),
        others: OtherOperations::default(),
        topology: None,
        former_end: None,
        hosts: BTreeMap::new(),
        to_keep_down: Vec::new(),
        repmgr_activity: RepmgrActivity::default(),
        command: None,
        use_slots: true,
        timeout_s: 60,
        now: Timestamp::UNIX_EPOCH,
    }
}

fn server(facts: &mut PromoteFacts, node_id: i32) -> &mut ServerFacts {
    let node = facts.cluster.nodes.iter_mut().find(|node| node.row.node_id == node_id).unwrap();
    node.server.as_mut().unwrap()
}

/// Node 3 was promoted without a record and has died: its rows are not discarded without consent.
#[test]
fn what_a_silent_node_had_as_the_primary_of_a_newer_timeline_is_not_discarded_without_consent() {
    let mut facts = facts();
    let mut before = facts.cluster.clone();
    let promoted = ServerFacts { in_recovery: false, ..ServerFacts::example(false, 2, 0x900) };
    before.nodes[2].server = Ok(promoted);
    facts.topology = Some(crate::facts::topology::merge(None, &before, Timestamp::UNIX_EPOCH));
    facts.cluster.nodes[2].server = Err(silent(Answered::Nothing));
    let force = PromoteOptions { force: true, ..ASKED };
    let lost = Some(("has_most_wal".to_string(), Exit::DataLoss));
    assert_eq!(stops(&facts, force), lost);
    assert!(judge(&facts, force).checks.iter().any(|check| check.exit == Exit::DataLoss && check.stops()));
    assert_eq!(stops(&facts, ALL), None);
    // On the timeline that the candidate is on it is as far as was seen: reported, and not refused.
    let same = ServerFacts { in_recovery: false, ..ServerFacts::example(false, 1, 0x900) };
    before.nodes[2].server = Ok(same);
    facts.topology = Some(crate::facts::topology::merge(None, &before, Timestamp::UNIX_EPOCH));
    assert_ne!(stops(&facts, force), lost);
}

const ASKED: PromoteOptions = PromoteOptions { force: false, accept_data_loss: false, siblings_follow: true };
const ALL: PromoteOptions = PromoteOptions { force: true, accept_data_loss: true, siblings_follow: true };

/// The name and exit code of the first check that stops the promotion.
fn stops(facts: &PromoteFacts, options: PromoteOptions) -> Option<(String, Exit)> {
    let plan = plan(facts, options).plan;
    let stopped = plan.checks.iter().find(|check| check.stops());
    assert!(stopped.is_some() == plan.is_empty());
    assert_eq!(plan.defect(), None);
    stopped.map(|check| (check.name.clone(), check.exit))
}

fn second_primary() -> Option<(String, Exit)> {
    Some(("no_other_primary".into(), Exit::SecondPrimary))
}

#[test]
fn a_server_of_another_cluster_at_the_address_of_the_primary_is_not_the_primary() {
    let foreign =
        || Ok(ServerFacts { system_identifier: "8".into(), ..ServerFacts::example(false, 1, 0x900) });
    let mut facts = facts();
    facts.cluster.nodes[0].server = foreign();
    // Whether or not the word is taken from it: it is alive, and the node is not.
    let node = facts.cluster.node(1).unwrap();
    assert!(matches!(alive(&facts.cluster, node), Alive::NotSeen(why) if why.contains("another cluster")));
    assert_eq!(facts.cluster.primaries().count(), 0);
    assert_eq!(facts.cluster.discard_foreign_servers(Some(2)), [1]);
    assert_eq!(stops(&facts, ASKED), None);
    let plan = plan(&facts, ASKED).plan;
    let said = plan.checks.iter().find(|check| check.name == "node_not_asked").unwrap();
    assert!(said.detail.as_ref().unwrap().contains("another cluster"), "{said:?}");

    // With only two nodes, the local node decides which cluster is meant.
    facts.cluster.nodes.truncate(2);
    facts.cluster.nodes[0].server = foreign();
    assert_eq!(facts.cluster.system_identifier(), Some("8"));
    facts.cluster.meant = Some("7".into());
    assert_eq!(facts.cluster.system_identifier(), Some("7"));
    assert_eq!(facts.cluster.discard_foreign_servers(Some(2)), [1]);
    assert_eq!(stops(&facts, ASKED), None);

    // A server that responds and rejects every connection has not shown its cluster.
    facts.cluster.nodes[0].server = Err(silent(Answered::Spoke));
    assert_eq!(facts.cluster.discard_foreign_servers(Some(2)), Vec::<i32>::new());
    assert_eq!(stops(&facts, ALL), second_primary());
}

#[test]
fn the_slot_comes_first_and_the_sibling_follows_at_the_end() {
    let promotion = plan(&facts(), ASKED);
    let ids: Vec<&str> = promotion.plan.steps().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["create_slot_3", "promote", "record", "follow_3", "tell", "checkpoint"]);
    assert_eq!(promotion.plan.no_return().unwrap().id, "promote");
    assert_eq!(promotion.plan.rollback.len(), 1);
    assert_eq!((promotion.former, promotion.wal_lost_bytes), (Some(1), None));
}

#[test]
fn what_the_former_primary_needs_is_kept_from_before_the_promotion_on() {
    use crate::facts::settings::in_file;
    let mut facts = facts();
    facts.roles.get_mut(&2).unwrap().settings = in_file(&[("max_slot_wal_keep_size", "1024")]);
    let kept = plan(&facts, ASKED).plan;
    let ids: Vec<&str> = kept.steps().map(|step| step.id.as_str()).collect();
    assert_eq!(ids[..3], ["create_slot_3", "create_slot_1", "promote"]);
    let rollback: Vec<&str> = kept.rollback.iter().map(|undo| undo.step.id.as_str()).collect();
    assert_eq!(rollback, ["drop_slot_3", "drop_slot_1"]);
    assert_eq!(kept.defect(), None);
    // While it is alive there is no promotion, and nothing is reported about it.
    facts.cluster.nodes[0].server = Ok(ServerFacts::example(false, 1, 0x600));
    let said = plan(&facts, ALL).plan.checks;
    assert!(said.iter().all(|check| check.name != "kept_wal"), "{said:?}");
}

#[test]
fn a_sibling_that_shows_nobody_what_it_is_stops_it_unless_something_else_proves_it() {
    let mut facts = facts();
    facts.cluster.nodes[2].server = Err(silent(Answered::Spoke));
    facts.topology = None;
    assert_eq!(stops(&facts, ASKED), second_primary());
    let forced = PromoteOptions { force: true, ..ASKED };
    assert_eq!(stops(&facts, forced), None);
    let never_asked = |facts: &PromoteFacts, options| {
        let plan = plan(facts, options).plan;
        let promote = plan.no_return().unwrap().clone();
        assert!(!promote.requires.iter().any(|probe| probe.to_string().contains("node3")), "{promote:?}");
    };
    // What it would say at that moment is what it says now.
    never_asked(&facts, forced);
    let says = |facts: &mut PromoteFacts, standing| facts.hosts.insert(3, HostReport::Seen(standing));
    says(&mut facts, ServerState::Standby);
    assert_eq!(stops(&facts, ASKED), None);
    never_asked(&facts, ASKED);
    says(&mut facts, ServerState::Running("It runs.".into()));
    assert_eq!(stops(&facts, ASKED), second_primary());
    facts.hosts.clear();
    let seen = |was_primary, timeline| Topology {
        format: 1,
        system_identifier: None,
        observed_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        nodes: vec![crate::facts::topology::SeenNode {
            slots: Vec::new(),
            row: facts.cluster.nodes[2].row.clone(),
            last_seen: None,
            was_primary: Some(was_primary),
            timeline: Some(crate::pg::history::TimelineId(timeline)),
            wal_end: None,
            logical_slots: Vec::new(),
        }],
    };
    let (standby, newer, primary) = (seen(false, 1), seen(false, 9), seen(true, 1));
    for (topology, stopped) in [(standby, None), (newer, second_primary()), (primary, second_primary())] {
        facts.topology = Some(topology);
        assert_eq!(stops(&facts, ASKED), stopped);
    }
}

#[test]
fn the_host_of_the_last_primary_decides_whatever_is_forced() {
    let mut facts = facts();
    facts.cluster.nodes[0].server = Err(silent(Answered::Silent));
    assert_eq!(stops(&facts, ASKED), second_primary());
    assert_eq!(stops(&facts, ALL), None);
    let says = |facts: &mut PromoteFacts, says| facts.hosts.insert(1, says);
    says(&mut facts, HostReport::Seen(ServerState::Down));
    assert_eq!(stops(&facts, ASKED), None);
    says(&mut facts, HostReport::Seen(ServerState::Running("It runs.".into())));
    assert_eq!(stops(&facts, ALL), second_primary());
    facts.cluster.nodes[0].server = Err(silent(Answered::Nothing));
    assert_eq!(stops(&facts, ALL), second_primary());
    says(&mut facts, HostReport::Busy("A command.".into()));
    assert_eq!(stops(&facts, ALL), Some(("far_end_busy".into(), Exit::Busy)));
    says(&mut facts, HostReport::Nothing("No ssh.".into()));
    assert_eq!(stops(&facts, ASKED), None);
}

#[test]
fn what_answers_or_is_streamed_from_is_alive_whatever_is_forced() {
    let mut facts = facts();
    facts.cluster.nodes[0].server = Err(silent(Answered::Spoke));
    assert_eq!(stops(&facts, ALL), second_primary());
    facts.cluster.nodes[0].server = Ok(ServerFacts::example(false, 1, 0x600));
    assert_eq!(stops(&facts, ALL), second_primary());
    // It does not respond, but node 3 streams from there.
    facts.cluster.nodes[0].server = Err(silent(Answered::Nothing));
    assert_eq!(stops(&facts, ALL), None);
    let receiver = |host: &str| {
        Some(Receiver {
            status: Some("streaming".into()),
            sender_host: Some(host.into()),
            sender_port: Some(5432),
            slot_name: None,
            message_age_s: None,
        })
    };
    server(&mut facts, 3).receiver = receiver("h1");
    assert_eq!(stops(&facts, ALL), second_primary());
    // So does one that streams from an unknown server; but not a cascaded one.
    server(&mut facts, 3).receiver = receiver("elsewhere");
    assert_eq!(stops(&facts, ALL), second_primary());
    server(&mut facts, 3).receiver = receiver("h2");
    assert_eq!(stops(&facts, ALL), None);
}

#[test]
fn a_hung_primary_is_judged_by_the_operator() {
    let mut facts = facts();
    facts.cluster.nodes[0].server = Err(silent(Answered::Silent));
    assert_eq!(stops(&facts, ASKED), second_primary());
    assert_eq!(stops(&facts, PromoteOptions { force: true, ..ASKED }), None);
}

#[test]
fn more_wal_and_a_newer_timeline_elsewhere_are_not_forced_but_accepted() {
    let loss = Some(("has_most_wal".to_string(), Exit::DataLoss));
    for (timeline, end) in [(1, 0x501), (2, 0x300)] {
        let mut facts = facts();
        *server(&mut facts, 3) = ServerFacts { receiver: None, ..ServerFacts::example(true, timeline, end) };
        assert_eq!(stops(&facts, PromoteOptions { force: true, ..ASKED }), loss);
        let agreed = PromoteOptions { accept_data_loss: true, ..ASKED };
        assert_eq!(stops(&facts, agreed), None);
        // It could not follow: nothing is done with it, and the operator is told what to do.
        let plan = plan(&facts, agreed).plan;
        assert!(plan.steps().all(|step| step.id != "follow_3"), "{plan:?}");
        assert!(plan.checks.iter().any(|check| check.name == "sibling_stays" && check.node_id == Some(3)));
    }
}

#[test]
fn a_doubtful_candidate_is_overridden_by_force() {
    type Doubt = (&'static str, fn(&mut PromoteFacts));
    let doubts: [Doubt; 5] = [
        ("apply_delay", |facts| facts.roles.get_mut(&2).unwrap().apply_delay_ms = 60_000),
        ("replay_paused", |facts| server(facts, 2).replay_paused = Some(true)),
        ("priority", |facts| facts.cluster.nodes[1].row.priority = 0),
        ("synchronous_names", |facts| {
            server(facts, 2).synchronous_standby_names = "2 (node1, node3)".into();
        }),
        ("logical_slots", |facts| {
            let mut primary = ServerFacts::example(false, 1, 0x600);
            primary.slots.push(crate::facts::server::Slot {
                slot_name: "cdc".into(),
                slot_type: "logical".into(),
                active: false,
                restart_lsn: None,
                wal_status: None,
                retained_bytes: None,
                invalidation_reason: None,
                ..crate::facts::server::Slot::default()
            });
            let mut cluster = facts.cluster.clone();
            cluster.nodes[0].server = Ok(primary);
            facts.topology = Some(crate::facts::topology::merge(None, &cluster, Timestamp::UNIX_EPOCH));
        }),
    ];
    for (name, doubt) in doubts {
        let mut facts = facts();
        doubt(&mut facts);
        assert_eq!(stops(&facts, ASKED), Some((name.to_string(), Exit::Failed)));
        assert_eq!(stops(&facts, PromoteOptions { force: true, ..ASKED }), None, "{name}");
    }
    let mut facts = facts();
    server(&mut facts, 2).synchronous_standby_names = "ANY 1 (node1, \"node3\")".into();
    assert_eq!(stops(&facts, ASKED), None);
    // One that is not repointed confirms nothing.
    let alone = PromoteOptions { siblings_follow: false, ..ASKED };
    assert_eq!(stops(&facts, alone), Some(("synchronous_names".into(), Exit::Failed)));
}

#[test]
fn what_is_missing_is_a_number_only_where_it_is_known() {
    let mut facts = facts();
    let said = |facts: &PromoteFacts| {
        let promotion = plan(facts, ASKED);
        let check = promotion.plan.checks.into_iter().find(|check| check.name == "missing_wal").unwrap();
        (check.text.message, promotion.wal_lost_bytes)
    };
    assert!(said(&facts).0.starts_with("it is unknown how much"));
    let mut cluster = facts.cluster.clone();
    cluster.nodes[0].server = Ok(ServerFacts::example(false, 1, 0x600));
    facts.topology = Some(crate::facts::topology::merge(None, &cluster, Timestamp::UNIX_EPOCH));
    assert_eq!(
        said(&facts),
        ("at least 256 bytes of WAL of \"node1\" are missing on this node".into(), None)
    );
    facts.former_end = Some(Lsn(0x500));
    assert_eq!(said(&facts).1, Some(0));
    facts.former_end = Some(Lsn(0x580));
    assert_eq!(said(&facts).1, Some(0x80));
}

#[test]
fn a_sibling_that_cannot_be_told_stays_and_is_named() {
    let mut facts = facts();
    facts.roles.get_mut(&3).unwrap().may_set_upstream = false;
    let promotion = plan(&facts, ASKED);
    assert!(promotion.plan.steps().all(|step| step.id != "follow_3"));
    let check = promotion.plan.checks.iter().find(|check| check.name == "sibling_stays").unwrap();
    assert!(check.hint.as_ref().unwrap().contains("GRANT ALTER SYSTEM ON PARAMETER primary_conninfo"));
}

#[test]
fn a_cascaded_standby_stays_where_it_is() {
    let mut facts = facts();
    let name = facts.cluster.nodes[2].row.node_name.clone();
    server(&mut facts, 2).senders.push(Sender {
        application_name: name,
        state: Some("streaming".into()),
        sync_state: None,
        replay_lag_s: None,
        reply_age_s: None,
    });
    let promotion = plan(&facts, ASKED);
    assert!(promotion.plan.steps().all(|step| step.id != "follow_3"));
}

#[test]
fn the_old_primary_is_kept_down_by_the_first_step_and_that_is_taken_back_by_what_is_left_of_the_plan() {
    let mut facts = facts();
    let ids = |plan: &Plan| plan.steps().map(|step| step.id.clone()).collect::<Vec<_>>();
    let without = plan(&facts, ASKED).plan;
    assert!(ids(&without).iter().all(|id| !id.starts_with("keep_down")));
    let reached = Reached::Local { program: "/pgbaton".into(), config_file: "/node1.toml".into() };
    let host = FarEnd { node_id: 1, node_name: "node1".into(), reached };
    let as_standby = AsStandby {
        data_directory: "/data".into(),
        file_mode: 0o600,
        clear: Some(FileOp::RemoveFile { path: "/set".into() }),
        unclear: Some(FileOp::RemoveFile { path: "/unset".into() }),
    };
    facts.to_keep_down = vec![(host, as_standby)];
    let with = plan(&facts, ASKED).plan;
    assert_eq!(with.defect(), None);
    assert_eq!(ids(&with)[0], "keep_down_1");
    assert_eq!(ids(&with)[1..], ids(&without));
    let step = with.steps().next().unwrap();
    assert_eq!((step.at, step.interruptible), (Some(1), false));
    assert_eq!(step.op.to_string(), "rm /set; write /data/standby.signal");
    let rollback = &with.rollback[0];
    assert_eq!(
        (rollback.if_started.as_slice(), rollback.step.at),
        (&["keep_down_1".to_string()][..], Some(1))
    );
    assert_eq!(
        rollback.step.op.to_string(),
        "rm /data/standby.signal, if this operation has written it; rm /unset"
    );
    // Abandon takes it back as well; after the point of no return nothing does.
    let undone = |past| course::undo(&with, past).rollback.iter().any(|undone| undone == rollback);
    assert!(undone(false) && !undone(true));
    // Another promotion of the same node knows its own file.
    facts.now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1);
    assert_ne!(plan(&facts, ASKED).plan.steps().next().unwrap().op, step.op);
}
