//! What the executor promises, proven over every step and everything that can go wrong with it.
//!
//! The plan has the shape of a switchover, and the world is a model of its two servers: the old primary is stopped, the
//! candidate is promoted, and the two must never be primaries at the same time, whatever fails, hangs, is killed or cannot
//! be written down. [`ScriptedWorld`] looks after every effect.

mod changed;
mod failures;
mod killed;
mod signals;
mod unwritten;

use crate::assess::cluster::examples::{self, healthy, unavailable};
use crate::error::Exit;
use crate::facts::cluster::ClusterFacts;
use crate::facts::server::ServerFacts;
use crate::journal::{Mark, Record, Stage};
use crate::operation::course::{Course, UnfinishedFacts, course};
use crate::operation::outcome::{Ended, Outcome, StepStatus};
use crate::operation::run::Signal;
use crate::operation::scripted::{Event, Moment, ScriptedWorld, Trouble, fact, no};
use crate::pg::endpoint::Endpoint;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::plan::{
    FileOp, FinalCheck, OnFailure, OnResume, Op, Order, Phase, Plan, PlannedFor, Probe, RollbackStep,
    RollbackSuccess, Scope, Step, Verify,
};
use crate::system::command::Command;
use crate::verb::Verb;

/// Steps before the point of no return, in order; then the point itself; then the rest.
const BEFORE: [&str; 9] = [
    "make-slot",
    "pause",
    "checkpoint-old",
    "checkpoint-new",
    "write-signal",
    "warm-up",
    "stop-old",
    "wait-down",
    "compare-wal",
];
const METADATA: &str = "metadata";
const AFTER_OUTAGE: [&str; 3] = ["follow-3", "start-old", "drop-stale"];
const BACK: [&str; 3] = ["back-signal", "back-start", "back-slot"];
const MOMENTS: [Moment; 4] =
    [Moment::BeforeStarted, Moment::AfterStarted, Moment::AfterEffect, Moment::AfterDone];

fn step(id: &str, exit: Exit) -> Step {
    Step::new(id, id.replace('-', " "), Op::Run(Command::new("do", [id])), 30, exit)
}

fn phase(title: &str, order: Order, on_failure: OnFailure, steps: Vec<Step>) -> Phase {
    Phase { title: title.to_string(), order, on_failure, outage: false, steps }
}

fn back(if_started: &str, step: Step) -> RollbackStep {
    RollbackStep { if_started: vec![if_started.to_string()], step }
}

fn expect(title: &str, probe: Probe) -> Verify {
    Verify { title: title.to_string(), probe, timeout_s: 10, after: None }
}

fn wait_down() -> Step {
    Step { op: Op::Wait(no("old primary")), ..step("wait-down", Exit::Switchover) }
}

fn switchover() -> Plan {
    let early = Exit::Switchover;
    let look = FinalCheck {
        node_id: 2,
        timeline: TimelineId(1),
        others: Vec::new(),
        relock: false,
        behind: Vec::new(),
    };
    let on = Endpoint { name: "new".into(), conninfo: String::new(), secret: None };
    let promote =
        Step { op: Op::Promote { on, command: None, look: Some(look) }, ..step("promote", Exit::Promotion) }
            .no_return()
            .on_resume(OnResume::AgainUnless(fact("new primary")))
            .requires(no("old primary"))
            .requires(fact("standby.signal"));
    let back_signal = Step {
        op: Op::File(FileOp::RemoveFile { path: "/data/standby.signal".into() }),
        ..step("back-signal", early)
    };
    let revive =
        Op::RestartAsPrimary { data_directory: "/data".into(), start: Command::new("do", ["start"]) };
    let back_start = Step { op: revive, ..step("back-start", early) }
        .on_resume(OnResume::AgainUnless(fact("old primary")))
        .requires(no("standby.signal"));
    Plan {
        title: "switch over".to_string(),
        checks: vec![],
        phases: vec![
            phase(
                "prepare",
                Order::InOrder,
                OnFailure::Stop,
                vec![
                    step("make-slot", early).on_resume(OnResume::AgainUnless(fact("slot"))),
                    step("pause", early),
                ],
            ),
            phase(
                "make ready",
                Order::AllAtOnce,
                OnFailure::Stop,
                vec![
                    step("checkpoint-old", early),
                    step("checkpoint-new", early),
                    step("write-signal", early).uninterruptible(),
                ],
            ),
            Phase {
                outage: true,
                ..phase(
                    "switch",
                    Order::InOrder,
                    OnFailure::Stop,
                    vec![
                        // Not the first one: its mark is not waited for.
                        step("warm-up", early),
                        step("stop-old", early).on_resume(OnResume::AgainUnless(no("old primary"))),
                        wait_down(),
                        step("compare-wal", early),
                        promote,
                        step(METADATA, Exit::Query),
                    ],
                )
            },
            phase(
                "attach",
                Order::AllAtOnce,
                OnFailure::Continue,
                vec![
                    step("follow-3", Exit::Follow),
                    step("start-old", Exit::NoRestart)
                        .on_resume(OnResume::AgainUnless(fact("old server")))
                        .requires(no("old server"))
                        .requires(fact("standby.signal")),
                    step("drop-stale", Exit::Query),
                ],
            ),
        ],
        rollback: vec![
            back("write-signal", back_signal),
            back("stop-old", back_start),
            back("make-slot", step("back-slot", early)),
        ],
        always: vec![step("unpause", Exit::Pause)],
        verify: vec![
            expect("node 3 streams", fact("node 3 follows")),
            expect("old one streams", fact("old server")),
        ],
        back_failed: Exit::NoPrimary,
        regained: Some(RollbackSuccess { probe: fact("old primary"), exit: Exit::Switchover }),
        incomplete: Exit::Incomplete,
        announce_on: None,
        origin: Some(PlannedFor {
            scope: Scope { nodes: vec![1, 2, 3], timeline: TimelineId(1), system_identifier: "7".into() },
            primary: Some(1),
        }),
        far_ends: Vec::new(),
        notifications: Vec::new(),
        settled: Vec::new(),
        locks: None,
        unfinished: None,
    }
}

fn servers() -> ScriptedWorld {
    ScriptedWorld::new(&["old primary"])
        .never_together("old primary", "new primary")
        .never_while("make-slot", "slot")
        .never_while("promote", "new primary")
        .never_while("start-old", "old server")
        .effect("make-slot", &["slot"], &[])
        .effect("pause", &["paused"], &[])
        .effect("write-signal", &["standby.signal"], &[])
        .effect("stop-old", &[], &["old primary"])
        .effect("promote", &["new primary"], &[])
        .effect("metadata", &["metadata"], &[])
        .effect("follow-3", &["node 3 follows"], &[])
        .effect("start-old", &["old server"], &[])
        .effect("back-signal", &[], &["standby.signal"])
        .effect("back-start", &["old server"], &[])
        .effect("back-slot", &[], &["slot"])
        .effect("remove_signal", &[], &["standby.signal"])
        .effect("unpause", &[], &["paused"])
}

/// The old state, in every part that the rollback is responsible for.
fn is_restored(world: &ScriptedWorld) -> bool {
    let gone = ["new primary", "standby.signal", "slot", "paused", "metadata"];
    world.is("old primary") && !gone.iter().any(|fact| world.is(fact))
}

/// The new state.
fn is_switched(world: &ScriptedWorld) -> bool {
    let there = ["new primary", "old server", "node 3 follows", "metadata", "slot"];
    !world.is("old primary") && !world.is("paused") && there.iter().all(|fact| world.is(fact))
}

/// What holds in every moment of every history.
fn assert_safe(world: &ScriptedWorld, history: &str) {
    assert_eq!(world.violations(), Vec::<String>::new(), "{history}");
    let events = world.events.borrow();
    let performed = |id: &str| Event::Performed(id.to_string());
    let promoted = events.iter().position(|event| *event == performed("promote"));
    let Some(promoted) = promoted else { return };
    let (_, after) = events.split_at(promoted + 1);
    for id in &BACK[..2] {
        assert!(!after.contains(&performed(id)), "{history}: {id} after the point of no return");
    }
    // A second promotion only after the probe of the first one.
    let asked = Event::Asked("new primary".to_string());
    let mut may = false;
    for event in after {
        may |= *event == asked;
        assert!(may || *event != performed("promote"), "{history}: promoted again without asking");
        may &= *event != performed("promote");
    }
}

/// The cluster of the model, as a command that comes later sees it.
fn seen(world: &ScriptedWorld) -> ClusterFacts {
    let mut cluster = healthy();
    if world.is("old server") && !world.is("old primary") {
        cluster.nodes[0].server =
            Ok(ServerFacts { started_at: "again".into(), ..ServerFacts::example(true, 1, 50_000) });
    } else if !world.is("old primary") {
        cluster.nodes[0].server = Err(unavailable(Answered::Nothing));
    }
    if world.is("new primary") {
        examples::promote(&mut cluster, 1, 2);
    }
    cluster
}

/// Says what becomes of an operation that was left.
fn course_of(world: &ScriptedWorld, plan: &Plan) -> Course {
    let (past, cluster) = (world.past(plan), seen(world));
    course(&UnfinishedFacts {
        verb: Some(Verb::StandbySwitchover),
        plan,
        past: &past,
        node_id: 2,
        cluster: &cluster,
    })
}

/// What the same command, typed again, or `operation resume` makes of an operation that was left. None if the process died.
async fn resumed(world: &ScriptedWorld, plan: &Plan) -> Option<Outcome> {
    match course_of(world, plan) {
        Course::Anew => {
            world.undo(plan, false, "planned anew").await?;
            world.forget();
        }
        // Before it goes on, the host of the old primary is made certain of.
        Course::Promote => world.put("standby.signal"),
        Course::Finish | Course::GoBack => {}
        Course::Overtaken(_) => return world.undo(plan, true, "overtaken").await,
        Course::Unclear(why) => panic!("{why}"),
    }
    world.run(plan).await
}

/// Repairs everything and resumes until the journal has its end.
async fn resume_to_the_end(world: &ScriptedWorld, plan: &Plan, history: &str) {
    for _ in 0..3 {
        if world.ended().is_some() {
            return;
        }
        world.repair();
        resumed(world, plan).await;
        assert_safe(world, history);
    }
    assert!(world.ended().is_some(), "{history}: no end in sight");
}

/// What makes a primary, or starts a server.
fn started(world: &ScriptedWorld) -> [usize; 3] {
    ["promote", "start-old", "back-start"].map(|id| world.performed(id))
}

/// Gives an operation up, and sees that this starts nothing, leaves nothing that only the operation has made, and ends it.
async fn abandoned(world: &ScriptedWorld, plan: &Plan, history: &str) -> Outcome {
    let before = started(world);
    // First, the host of the old primary is made certain of.
    if !world.is("old primary") {
        world.put("standby.signal");
    }
    let signal = world.is("standby.signal");
    let past_no_return = world.past(plan).past_no_return();
    let outcome = world.abandon(plan).await.unwrap();
    assert_safe(world, history);
    assert_eq!(started(world), before, "{history}");
    assert!(!outcome.resumable && world.ended() == Some(outcome.exit), "{history}");
    assert!(!world.is("paused"), "{history}");
    // What is down starts as a standby; what runs as the primary is one after its next start, too.
    let stays = signal && (past_no_return || !world.is("old primary"));
    assert_eq!(world.is("standby.signal"), stays, "{history}");
    assert_eq!(outcome.past_no_return, past_no_return, "{history}");
    outcome
}

fn assert_whole(world: &ScriptedWorld, history: &str) {
    assert!(is_restored(world) || is_switched(world), "{history}: neither restored nor switched");
}

async fn run_with(id: &str, trouble: Trouble) -> (ScriptedWorld, Option<Outcome>, String) {
    let history = format!("{id} {trouble:?}");
    let world = servers().trouble(id, trouble);
    let outcome = world.run(&switchover()).await;
    assert_safe(&world, &history);
    (world, outcome, history)
}

fn forward_steps() -> Vec<String> {
    switchover().steps().map(|step| step.id.clone()).collect()
}

// Without trouble.

#[tokio::test(start_paused = true)]
async fn an_undisturbed_operation_does_everything_once_and_exits_0() {
    let world = servers();
    let outcome = world.run(&switchover()).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended, outcome.resumable), (Exit::Done, Ended::Done, false));
    assert!(is_switched(&world));
    assert!(outcome.changed && outcome.failures.is_empty() && outcome.warnings.is_empty());
    assert!(outcome.steps.iter().all(|step| step.status == StepStatus::Done && step.wall_s.is_some()));
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        assert_eq!(world.performed(id), 1, "{id}");
    }
    assert_eq!(world.performed("unpause"), 1);
    assert_eq!(world.ended(), Some(Exit::Done));
    assert_safe(&world, "undisturbed");
}

#[tokio::test(start_paused = true)]
async fn every_effect_has_its_started_mark_in_the_journal_first() {
    let plan = switchover();
    for id in forward_steps() {
        let world = servers().trouble(&id, Trouble::Killed(Moment::AfterStarted));
        world.run(&plan).await;
        assert_eq!(world.performed(&id), 0, "{id}: performed before its mark");
        assert!(world.has_mark(Stage::Forward, &id, &Mark::Started), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_steps_has_nothing_to_do() {
    let plan = Plan { phases: vec![], verify: vec![], ..switchover() };
    let outcome = servers().run(&Plan { rollback: vec![], ..plan }).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended, outcome.changed), (Exit::Done, Ended::NothingToDo, false));
}

#[tokio::test(start_paused = true)]
async fn a_defective_plan_is_refused_before_any_effect() {
    let defects: [fn(&mut Plan); 5] = [
        |plan| plan.always.push(step("promote", Exit::Failed)),
        |plan| plan.phases[0].steps[0].no_return = true,
        |plan| plan.phases[2].order = Order::AllAtOnce,
        |plan| plan.phases[2].steps[4].on_resume = OnResume::Again,
        |plan| plan.rollback[0].if_started.push("nothing".to_string()),
    ];
    for (i, defect) in defects.iter().enumerate() {
        let mut plan = switchover();
        defect(&mut plan);
        let world = servers();
        let outcome = world.run(&plan).await.unwrap();
        assert_eq!((outcome.exit, outcome.changed, outcome.resumable), (Exit::Internal, false, false), "{i}");
        assert!(world.events.borrow().is_empty() && world.journal.borrow().is_empty(), "{i}");
    }
}
