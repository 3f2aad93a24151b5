//! What becomes of an operation that was left unfinished, by what the cluster is now. Pure.
//!
//! A journal says what was decided, and from what. Both may be days old. So before the point of no return nothing is replayed: the command
//! is planned anew, with today's options. After it, the rest is finished only while the promotion is still the newest one. What a journal of
//! version 0.1.0 does not say counts as changed.

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::ServerFacts;
use crate::journal::{EarlierRuns, Stage};
use crate::plan::{FileOp, OnResume, Op, Plan, PlannedFor, Probe, RollbackStep, Step};
use crate::registry::NodeType;
use crate::verb::Verb;

/// What an unfinished operation is judged from.
#[derive(Debug)]
pub struct UnfinishedFacts<'a> {
    /// Its command; None for one that this version does not know.
    pub verb: Option<Verb>,
    /// Its plan.
    pub plan: &'a Plan,
    /// How far it came.
    pub past: &'a EarlierRuns,
    /// The node that ran it: this one.
    pub node_id: i32,
    /// All nodes, now, asked under their locks.
    pub cluster: &'a ClusterFacts,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// It is planned anew, and what it left is undone first.
    Anew,
    /// The rest of it is carried out: what makes a primary has happened.
    Finish,
    /// It goes on towards a promotion, which is judged anew, as a promotion of today.
    Promote,
    /// The rollback that it had begun goes on.
    GoBack,
    /// The role has gone to another node since. It is closed, and what it left is undone. A whole sentence.
    Overtaken(String),
    /// It cannot be determined yet. The operation stays open. A whole sentence.
    Unclear(String),
}

/// Decides what becomes of an operation that is resumed.
pub fn course(left: &UnfinishedFacts<'_>) -> Course {
    let Some(promotes) = left.plan.steps().find(|step| matches!(step.op, Op::Promote { .. })) else {
        return without_promotion(left);
    };
    let own = left.cluster.node(left.node_id).and_then(NodeFacts::facts);
    let is_primary = own.is_some_and(|server| !server.in_recovery);
    let past_no_return = left.past.past_no_return();
    let Some(origin) = &left.plan.origin else {
        // Of version 0.1.0: that nothing has changed since cannot be shown.
        return match (past_no_return && is_primary, newer_than_own(left, own)) {
            (true, None) => Course::Finish,
            (true, Some(why)) => Course::Overtaken(why),
            (false, _) => Course::Anew,
        };
    };
    let former = origin.primary.filter(|_| left.verb == Some(Verb::StandbySwitchover));
    if past_no_return {
        return match (own, newer_than_own(left, own)) {
            (Some(_), Some(why)) => Course::Overtaken(why),
            (Some(server), None) if is_primary => match promoted_since(server, origin) {
                None => Course::Finish,
                Some(why) => Course::Overtaken(why),
            },
            (Some(server), None) if server.timeline > origin.scope.timeline => Course::Overtaken(format!(
                "This node is a standby on timeline {}; the operation was planned on timeline {}.",
                server.timeline, origin.scope.timeline
            )),
            (Some(_), None) => Course::Promote,
            (None, _) => Course::Unclear(format!(
                "Step \"{}\" was begun, and this node does not respond: whether it was promoted cannot be determined.",
                promotes.title
            )),
        };
    }
    if let Some(why) = challenger(left, origin, former) {
        return Course::Overtaken(why);
    }
    let Some(former) = former else { return Course::Anew };
    let primary = left.cluster.node(former).and_then(NodeFacts::facts);
    match primary {
        // It is the primary, as it was: its far end, or an operator, has brought it back.
        Some(server) if !server.in_recovery => Course::Anew,
        // It was started while `standby.signal` was there, or has not answered.
        _ if left.past.going_back().is_some() => Course::GoBack,
        _ => Course::Promote,
    }
}

/// Decides what becomes of an operation that changes no roles. After its point of no return, or without one after its last step, the rest is
/// finished; before that nothing is replayed.
pub fn course_without_roles(plan: &Plan, past: &EarlierRuns) -> Course {
    let is_there = match plan.no_return() {
        Some(step) => past.done(Stage::Forward, &step.id),
        None => !plan.is_empty() && plan.steps().all(|step| past.done(Stage::Forward, &step.id)),
    };
    if is_there && past.going_back().is_none() { Course::Finish } else { Course::Anew }
}

/// An operation that makes no primary.
fn without_promotion(left: &UnfinishedFacts<'_>) -> Course {
    if left.past.going_back().is_some() && !left.past.past_no_return() {
        return Course::GoBack;
    }
    if !left.past.past_no_return() {
        return Course::Anew;
    }
    // A rewind that was begun has to be ended with the same source: its data directory is neither the old one nor a new one.
    let Some(origin) = &left.plan.origin else { return Course::Finish };
    let Some(source) = origin.primary else { return Course::Finish };
    let from = left
        .cluster
        .node(source)
        .map_or_else(|| format!("node {source}"), |node| format!("node \"{}\"", node.row.node_name));
    match left.cluster.node(source).and_then(NodeFacts::facts) {
        Some(server) if server.in_recovery => Course::Unclear(format!(
            "The data directory is half rewound from {from}, which is a standby now, on timeline {}.",
            server.timeline
        )),
        Some(server) if server.timeline > origin.scope.timeline => Course::Unclear(format!(
            "The data directory is half rewound from {from} on timeline {}, which is on timeline {} now.",
            origin.scope.timeline, server.timeline
        )),
        _ => match left.cluster.primaries().find(|(node, _)| node.row.node_id != source) {
            Some((other, server)) if server.timeline >= origin.scope.timeline => Course::Unclear(format!(
                "The data directory is half rewound from {from}, and node \"{}\" is a primary now.",
                other.row.node_name
            )),
            _ => Course::Finish,
        },
    }
}

fn data_nodes<'a>(
    left: &'a UnfinishedFacts<'_>,
    server: &'a str,
) -> impl Iterator<Item = (&'a NodeFacts, &'a ServerFacts)> {
    let nodes = left.cluster.nodes.iter().filter(|node| {
        node.row.node_id != left.node_id
            && node.row.node_type != NodeType::Witness
            && left.cluster.other_node_of_server(node).is_none()
    });
    nodes
        .filter_map(|node| Some((node, node.facts()?)))
        .filter(move |(_, facts)| facts.system_identifier == server)
}

/// Says why another node than the old primary holds the role now, or a promotion has taken place since.
fn challenger(left: &UnfinishedFacts<'_>, origin: &PlannedFor, former: Option<i32>) -> Option<String> {
    let planned = origin.scope.timeline;
    let mut others: Vec<_> = data_nodes(left, &origin.scope.system_identifier).collect();
    // A primary says more than a standby that follows it.
    others.sort_by_key(|(_, server)| server.in_recovery);
    let mut others = others.into_iter();
    let other = others.find_map(|(node, server)| {
        let name = &node.row.node_name;
        if server.timeline > planned {
            let what = if server.in_recovery { "is on" } else { "is a primary, on" };
            Some(format!(
                "Node \"{name}\" {what} timeline {}; the operation was planned on timeline {planned}.",
                server.timeline
            ))
        } else if !server.in_recovery && Some(node.row.node_id) != former && former.is_some() {
            Some(format!("Node \"{name}\" is a primary, on timeline {}.", server.timeline))
        } else {
            None
        }
    });
    other.or_else(|| {
        let server = left.cluster.node(left.node_id)?.facts()?;
        (server.timeline > planned).then(|| {
            format!(
                "This node is on timeline {}; the operation was planned on timeline {planned}.",
                server.timeline
            )
        })
    })
}

/// Says which other node is a primary, or has a newer timeline than this one.
fn newer_than_own(left: &UnfinishedFacts<'_>, own: Option<&ServerFacts>) -> Option<String> {
    let own = own?;
    let mut others = data_nodes(left, &own.system_identifier);
    others.find_map(|(node, server)| {
        let name = &node.row.node_name;
        if server.timeline > own.timeline {
            Some(format!(
                "Node \"{name}\" is on timeline {}, this node on timeline {}.",
                server.timeline, own.timeline
            ))
        } else if !server.in_recovery && (own.in_recovery || server.timeline == own.timeline) {
            Some(format!("Node \"{name}\" is a primary, on timeline {}.", server.timeline))
        } else {
            None
        }
    })
}

/// Says why the present timeline of this primary is not the one that the operation began.
fn promoted_since(server: &ServerFacts, origin: &PlannedFor) -> Option<String> {
    let planned = origin.scope.timeline;
    if server.timeline <= planned {
        return Some(format!(
            "This node is a primary on timeline {}; the operation would have begun a timeline after {planned}.",
            server.timeline
        ));
    }
    let history = server.lineage.as_ref()?.history.as_deref()?;
    let last = crate::pg::history::parse_history(history).ok()?.last()?.timeline;
    (last != planned).then(|| {
        format!(
            "This node is a primary on timeline {}, which began at timeline {last}; the operation was planned on timeline {planned}.",
            server.timeline
        )
    })
}

/// Says whether an effect makes a primary, or lets the next start make one. From an old plan such a one is never carried out.
pub fn makes_primary(op: &Op) -> bool {
    match op {
        Op::Promote { .. } | Op::RestartAsPrimary { .. } | Op::LetStart(_) | Op::Spawn(_) => true,
        Op::Run(command) => command.starts.is_some() || command.log.is_some(),
        Op::File(FileOp::RemoveFile { path }) => {
            path.file_name().is_some_and(|name| name == "standby.signal")
        }
        _ => false,
    }
}

/// The plan of a switchover that goes on past its point of no return without what the host of the old primary had confirmed for it: that its
/// server is down, and that the candidate has all of its WAL. Both were so when the mark was written.
pub fn confirmed(plan: &Plan) -> Plan {
    let asks_there =
        |probe: &Probe| matches!(probe, Probe::At { .. } | Probe::HasAll { node_id: Some(_), .. });
    let mut plan = plan.clone();
    let steps = plan.phases.iter_mut().flat_map(|phase| &mut phase.steps);
    for step in steps.filter(|step| step.no_return) {
        step.requires.retain(|probe| !asks_there(probe));
        step.requires_on_resume.retain(|probe| !asks_there(probe));
    }
    plan
}

/// The part of the rollback that may be carried out at any later time: it takes back what only this operation has made, and starts nothing.
///
/// `standby.signal` is removed only where the server runs as a primary, so that its next start is one, too, or where a promotion that was not
/// requested has written it (see `plan/keep_down.rs`); after the point of no return, never.
pub fn undo(plan: &Plan, past_no_return: bool) -> Plan {
    let mut back = Vec::new();
    let mut removed = false;
    for step_back in &plan.rollback {
        let step = &step_back.step;
        let waits = matches!(&step.op, Op::Wait(_)) || step.id == "write_again";
        match &step.op {
            Op::File(FileOp::RemoveFile { .. }) | Op::RestartAsPrimary { .. } if makes_primary(&step.op) => {
                // What brings the old primary back removes the signal first; of that, only this part is left.
                let data = match &step.op {
                    Op::RestartAsPrimary { data_directory, .. } => Some(data_directory.as_path()),
                    Op::File(FileOp::RemoveFile { path }) => path.parent(),
                    _ => None,
                };
                let Some(data) = data.filter(|_| !past_no_return && !removed) else { continue };
                removed = true;
                let runs = Probe::Runs { data_directory: data.to_path_buf(), in_recovery: false };
                let runs = match step.at {
                    Some(node_id) => Probe::At { node_id, probe: Box::new(runs) },
                    None => runs,
                };
                let path = data.join("standby.signal");
                let title = format!("remove \"{}\", if the server runs as a primary", path.display());
                let step = Step {
                    id: "remove_signal".into(),
                    title,
                    op: Op::File(FileOp::RemoveFile { path }),
                    requires: Vec::new(),
                    requires_here: Vec::new(),
                    on_resume: OnResume::AgainUnless(Probe::Not(Box::new(runs))),
                    ..step.clone()
                };
                back.push(RollbackStep { if_started: step_back.if_started.clone(), step });
            }
            // It removes only what the operation has written, and asks from its host whether it may.
            Op::LetStart(_) if !past_no_return => back.push(step_back.clone()),
            op if makes_primary(op) || waits => {}
            // Written into the data directory of what is to stay a standby.
            Op::File(FileOp::WriteSettings { .. }) if past_no_return => {}
            _ => back.push(RollbackStep { step: skip_if_taken_over(step), ..step_back.clone() }),
        }
    }
    // What the plan says of the primary was concluded on another day, and nothing here stops or starts one.
    Plan { rollback: back, regained: None, back_failed: Exit::Incomplete, ..plan.clone() }
}

/// What a step of the rollback requires shows whether it is still this operation's own. On another day that is no failure of the rollback: the
/// thing belongs to another one by now, and stays.
fn skip_if_taken_over(step: &Step) -> Step {
    match step.requires.as_slice() {
        [own] => Step { on_resume: OnResume::AgainUnless(Probe::Not(Box::new(own.clone()))), ..step.clone() },
        _ => step.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::cluster::examples;
    use crate::assess::cluster::examples::{healthy, server, unavailable};
    use crate::journal::{Mark, Record};
    use crate::pg::endpoint::Endpoint;
    use crate::pg::failure::Answered;
    use crate::pg::history::TimelineId;
    use crate::plan::{FinalCheck, OnFailure, Order, Phase, Scope};

    fn on() -> Endpoint {
        Endpoint { name: "node \"n2\"".into(), conninfo: "host=h2".into(), secret: None }
    }

    /// A switchover from n1 to n2, or a promotion of n2, planned on timeline 1.
    fn plan(origin: bool) -> Plan {
        let look = FinalCheck {
            node_id: 2,
            timeline: TimelineId(1),
            others: Vec::new(),
            relock: false,
            behind: Vec::new(),
        };
        let op = Op::Promote { on: on(), command: None, look: Some(look) };
        let promote = Step::new("promote", "promote", op, 60, Exit::Promotion).no_return();
        let slot = Step::new(
            "slot",
            "slot",
            Op::File(FileOp::RemoveFile { path: "/slot".into() }),
            60,
            Exit::Switchover,
        );
        let remove = |path: &str| Op::File(FileOp::RemoveFile { path: path.into() });
        let start = crate::system::command::Command::new("pg_ctl", ["start"]);
        let revive = Op::RestartAsPrimary { data_directory: "/data".into(), start };
        let back = |id: &str, op| RollbackStep {
            if_started: vec!["slot".into()],
            step: Step::new(id, id, op, 60, Exit::Switchover).at(1),
        };
        Plan {
            phases: vec![Phase {
                title: "all".into(),
                order: Order::InOrder,
                on_failure: OnFailure::Stop,
                outage: false,
                steps: vec![slot, promote],
            }],
            rollback: vec![
                back("remove_signal", remove("/data/standby.signal")),
                back("revive", revive),
                back("drop_slot", remove("/slot")),
            ],
            origin: origin.then(|| PlannedFor {
                scope: Scope { nodes: vec![1, 2, 3], timeline: TimelineId(1), system_identifier: "7".into() },
                primary: Some(1),
            }),
            ..Plan::nothing("switch over")
        }
    }

    fn mark(step: &str) -> Record {
        let at = "2026-11-29T10:00:00Z".parse().unwrap();
        Record::Mark { step: step.into(), stage: Stage::Forward, mark: Mark::Started, at }
    }

    fn went(verb: Verb, origin: bool, marks: &[&str], cluster: &ClusterFacts) -> Course {
        let plan = plan(origin);
        let records: Vec<Record> = marks.iter().map(|step| mark(step)).collect();
        let past = EarlierRuns::of(&plan, &records);
        course(&UnfinishedFacts { verb: Some(verb), plan: &plan, past: &past, node_id: 2, cluster })
    }

    /// A promotion of the node at that place, which no other server is taken for.
    fn promote(cluster: &mut ClusterFacts, at: usize, timeline: u32) {
        examples::promote(cluster, at, timeline);
        server(cluster, at).started_at = format!("promoted {at} {timeline}");
    }

    const SWITCHOVER: Verb = Verb::StandbySwitchover;
    const PROMOTE: Verb = Verb::StandbyPromote;

    fn down(mut cluster: ClusterFacts, at: usize) -> ClusterFacts {
        cluster.nodes[at].server = Err(unavailable(Answered::Nothing));
        cluster
    }

    #[test]
    fn before_the_point_of_no_return_a_switchover_whose_primary_lives_is_planned_anew() {
        assert_eq!(went(SWITCHOVER, true, &["slot"], &healthy()), Course::Anew);
    }

    #[test]
    fn before_it_an_old_primary_that_is_down_is_a_matter_of_a_promotion_and_a_promotion_is_planned_anew() {
        assert_eq!(went(SWITCHOVER, true, &["slot"], &down(healthy(), 0)), Course::Promote);
        assert_eq!(went(PROMOTE, true, &["slot"], &down(healthy(), 0)), Course::Anew);
        assert_eq!(went(PROMOTE, true, &["slot"], &healthy()), Course::Anew);
    }

    #[test]
    fn another_primary_or_a_newer_timeline_overtakes_a_switchover_before_and_after() {
        // The third node was promoted, whether it answers as a primary or a standby has followed it.
        let mut third = down(healthy(), 0);
        promote(&mut third, 2, 2);
        let mut followed = down(healthy(), 0);
        server(&mut followed, 2).timeline = TimelineId(2);
        // The old primary came back to another one, and this node follows it, too.
        let mut later = healthy();
        server(&mut later, 1).timeline = TimelineId(2);
        for cluster in [&third, &followed] {
            for marks in [&["slot"][..], &["slot", "promote"]] {
                let course = went(SWITCHOVER, true, marks, cluster);
                assert!(matches!(course, Course::Overtaken(_)), "{marks:?}: {course:?}");
            }
            let course = went(PROMOTE, true, &["promote"], cluster);
            assert!(matches!(course, Course::Overtaken(_)), "{course:?}");
        }
        assert!(matches!(went(SWITCHOVER, true, &["slot"], &later), Course::Overtaken(_)));
    }

    #[test]
    fn after_it_the_rest_is_finished_while_the_promotion_is_the_newest_one_and_no_longer() {
        let mut promoted = down(healthy(), 0);
        promote(&mut promoted, 1, 2);
        assert_eq!(went(SWITCHOVER, true, &["promote"], &promoted), Course::Finish);
        assert_eq!(went(PROMOTE, true, &["promote"], &promoted), Course::Finish);
        // The old primary was started by another command: it is the older one.
        let mut elsewhere = healthy();
        promote(&mut elsewhere, 1, 2);
        assert_eq!(went(PROMOTE, true, &["promote"], &elsewhere), Course::Finish);
        // A later promotion elsewhere.
        promote(&mut elsewhere, 2, 3);
        assert!(matches!(went(PROMOTE, true, &["promote"], &elsewhere), Course::Overtaken(_)));
        // This node lost the role, and has it again: its timeline begins at another one.
        let mut again = down(healthy(), 0);
        promote(&mut again, 1, 5);
        server(&mut again, 1).lineage = Some(crate::facts::lineage::Lineage {
            history: Some("1\t0/3000000\tx\n4\t0/5000000\tx\n".into()),
            ..Default::default()
        });
        assert!(matches!(went(PROMOTE, true, &["promote"], &again), Course::Overtaken(_)));
        // It has not happened, and no node objects; or it cannot be determined.
        assert_eq!(went(PROMOTE, true, &["promote"], &down(healthy(), 0)), Course::Promote);
        let silent = down(down(healthy(), 0), 1);
        assert!(matches!(went(PROMOTE, true, &["promote"], &silent), Course::Unclear(_)));
    }

    #[test]
    fn of_a_journal_of_before_nothing_is_promoted() {
        for cluster in [healthy(), down(healthy(), 0)] {
            for marks in [&["slot"][..], &["promote"]] {
                for verb in [SWITCHOVER, PROMOTE] {
                    assert_eq!(went(verb, false, marks, &cluster), Course::Anew);
                }
            }
        }
        let mut promoted = down(healthy(), 0);
        promote(&mut promoted, 1, 2);
        assert_eq!(went(SWITCHOVER, false, &["promote"], &promoted), Course::Finish);
    }

    #[test]
    fn what_was_confirmed_before_the_mark_is_not_asked_of_a_host_that_cannot_say_it_again() {
        let data_directory = std::path::PathBuf::from("/data");
        let there = Probe::StaysDown { data_directory: data_directory.clone() };
        let has_all = Probe::HasAll { on: on(), node_id: Some(1), data_directory };
        let here = Probe::NoPrimary { on: on() };
        let mut plan = plan(true);
        for step in &mut plan.phases[0].steps {
            step.requires = vec![Probe::At { node_id: 1, probe: Box::new(there.clone()) }, here.clone()];
            step.requires_on_resume = vec![has_all.clone(), here.clone()];
        }
        let confirmed = confirmed(&plan);
        let [slot, promote] = confirmed.phases[0].steps.as_slice() else { panic!() };
        assert_eq!(slot, &plan.phases[0].steps[0]);
        assert_eq!((&promote.requires, &promote.requires_on_resume), (&vec![here.clone()], &vec![here]));
    }

    #[test]
    fn what_is_undone_later_starts_nothing_and_removes_the_signal_of_a_running_primary_only() {
        let undone = |past| undo(&plan(true), past);
        let ids = |plan: &Plan| plan.rollback.iter().map(|undo| undo.step.id.clone()).collect::<Vec<_>>();
        let before = undone(false);
        assert_eq!(ids(&before), ["remove_signal", "drop_slot"]);
        assert!(matches!(
            &before.rollback[0].step.on_resume,
            OnResume::AgainUnless(Probe::Not(inner)) if matches!(&**inner, Probe::At { node_id: 1, .. })
        ));
        assert_eq!(ids(&undone(true)), ["drop_slot"]);
        // What another operation has taken over since is left to it, and is no failure.
        let own = Probe::Not(Box::new(Probe::Exists { path: "/data/standby.signal".into() }));
        let mut taken = plan(true);
        taken.rollback[2].step.requires = vec![own.clone()];
        let step = undo(&taken, false).rollback[1].step.clone();
        assert_eq!(step.on_resume, OnResume::AgainUnless(Probe::Not(Box::new(own))));
    }
}
