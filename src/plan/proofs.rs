//! What the executor promises, proven over every step and everything that can go wrong with it.
//!
//! The plan has the shape of a switchover, and the world is a model of its two servers: the old primary is stopped, the
//! candidate is promoted, and the two must never be primaries at the same time, whatever fails, hangs, is killed or cannot
//! be written down. [`ScriptedWorld`] looks after every effect.

use crate::error::Exit;
use crate::facts::assess::examples::{self, healthy, silence};
use crate::facts::cluster::ClusterFacts;
use crate::facts::server::ServerFacts;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::plan::journal::Past;
use crate::plan::journal::{Mark, Record, Stage};
use crate::plan::resume::{Course, Left, course, undo};
use crate::plan::run::{Ended, Outcome, Signal, StepStatus};
use crate::plan::scripted::{Change, Event, Moment, ScriptedWorld, Trouble, fact, no};
use crate::plan::{
    Back, Command, Endpoint, Look, OnFailure, OnResume, Op, Order, Origin, Phase, Plan, Probe, Regained,
    Scope, Step, Verify,
};

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

fn back(if_started: &str, step: Step) -> Back {
    Back { if_started: vec![if_started.to_string()], step }
}

fn expect(title: &str, probe: Probe) -> Verify {
    Verify { title: title.to_string(), probe, timeout_s: 10, after: None }
}

fn wait_down() -> Step {
    Step { op: Op::Wait(no("old primary")), ..step("wait-down", Exit::Switchover) }
}

fn switchover() -> Plan {
    let early = Exit::Switchover;
    let look =
        Look { node_id: 2, timeline: TimelineId(1), others: Vec::new(), relock: false, behind: Vec::new() };
    let on = Endpoint { name: "new".into(), conninfo: String::new(), secret: None };
    let promote =
        Step { op: Op::Promote { on, command: None, look: Some(look) }, ..step("promote", Exit::Promotion) }
            .no_return()
            .on_resume(OnResume::AgainUnless(fact("new primary")))
            .requires(no("old primary"))
            .requires(fact("standby.signal"))
            .requires_here(no("third primary"))
            .requires_here(no("newer timeline"));
    let back_signal =
        Step { op: Op::RemoveFile { path: "/data/standby.signal".into() }, ..step("back-signal", early) }
            .requires_here(no("third primary"))
            .requires_here(no("newer timeline"));
    let revive = Op::Revive { data_directory: "/data".into(), start: Command::new("do", ["start"]) };
    let back_start = Step { op: revive, ..step("back-start", early) }
        .on_resume(OnResume::AgainUnless(fact("old primary")))
        .requires(no("standby.signal"))
        .requires_here(no("third primary"))
        .requires_here(no("newer timeline"));
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
        back: vec![
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
        regained: Some(Regained { probe: fact("old primary"), exit: Exit::Switchover }),
        incomplete: Exit::Incomplete,
        announce_on: None,
        origin: Some(Origin {
            scope: Scope { nodes: vec![1, 2, 3], timeline: TimelineId(1), system_identifier: "7".into() },
            primary: Some(1),
        }),
        far_ends: Vec::new(),
        tells: Vec::new(),
        settled: Vec::new(),
    }
}

fn servers() -> ScriptedWorld {
    ScriptedWorld::new(&["old primary"])
        .never_together("old primary", "new primary")
        .never_together("old primary", "third primary")
        .never_together("new primary", "third primary")
        .looks_last("promote", "third primary")
        .looks_last("back-start", "third primary")
        .looks_last("promote", "newer timeline")
        .looks_last("back-start", "newer timeline")
        .never_while("promote", "newer timeline")
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
        .effect("unpause", &[], &["paused"])
}

/// The old state, in every part that the way back is responsible for.
fn is_restored(world: &ScriptedWorld) -> bool {
    let gone = ["new primary", "standby.signal", "slot", "paused", "metadata"];
    world.is("old primary") && !gone.iter().any(|fact| world.is(fact))
}

/// The new state.
fn is_switched(world: &ScriptedWorld) -> bool {
    let there = ["new primary", "old server", "node 3 follows", "metadata"];
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
    for id in BACK {
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

/// Repairs everything and resumes until the journal has its end.
async fn resume_to_the_end(world: &ScriptedWorld, plan: &Plan, history: &str) {
    for _ in 0..3 {
        if world.ended().is_some() {
            return;
        }
        world.repair();
        world.run(plan).await;
        assert_safe(world, history);
    }
    assert!(world.ended().is_some(), "{history}: no end in sight");
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

fn is_before(id: &str) -> bool {
    BEFORE.contains(&id)
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
    let outcome = servers().run(&Plan { back: vec![], ..plan }).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended, outcome.changed), (Exit::Done, Ended::NothingToDo, false));
}

#[tokio::test(start_paused = true)]
async fn a_defective_plan_is_refused_before_any_effect() {
    let defects: [fn(&mut Plan); 5] = [
        |plan| plan.always.push(step("promote", Exit::Failed)),
        |plan| plan.phases[0].steps[0].no_return = true,
        |plan| plan.phases[2].order = Order::AllAtOnce,
        |plan| plan.phases[2].steps[4].on_resume = OnResume::Again,
        |plan| plan.back[0].if_started.push("nothing".to_string()),
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

// Failures and hangs.

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_point_of_no_return_restores_the_old_state_with_the_exit_code_of_the_step() {
    for id in BEFORE.iter().filter(|id| **id != "wait-down") {
        for trouble in [Trouble::Fails, Trouble::FailsAfterEffect, Trouble::Hangs, Trouble::HangsAfterEffect]
        {
            let (world, outcome, history) = run_with(id, trouble).await;
            let outcome = outcome.unwrap();
            assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack), "{history}");
            assert!(is_restored(&world), "{history}");
            assert!(!outcome.changed && !outcome.past_no_return && !outcome.resumable, "{history}");
            assert_eq!(
                outcome.failures.iter().map(|failure| &failure.id).collect::<Vec<_>>(),
                [id],
                "{history}"
            );
            assert_eq!(world.performed("promote"), 0, "{history}");
            assert_eq!(world.ended(), Some(Exit::Switchover), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_not_answered_with_yes_in_time_is_a_failure() {
    let world = servers().effect("stop-old", &[], &[]); // "stopped", and still there
    let outcome = world.run(&switchover()).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack));
    let failure = &outcome.failures[0];
    assert_eq!(failure.id, "wait-down");
    assert!(failure.error.to_string().contains("did not become true within 30 s"), "{}", failure.error);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_early_when_it_is_hopeless_and_not_before_what_it_waits_for_had_time_to_come() {
    let mut plan = switchover();
    for step in
        plan.phases.iter_mut().flat_map(|phase| &mut phase.steps).filter(|step| step.id == "wait-down")
    {
        step.gives_up_if = Some(fact("standby.signal"));
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(servers().run(&plan).await.unwrap().ended, Ended::Done);
    let usual = begun.elapsed();
    let world = servers().effect("stop-old", &[], &[]);
    let outcome = world.run(&plan).await.unwrap();
    assert!((begun.elapsed() - usual).as_secs() < 5);
    assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack));
    let failure = &outcome.failures[0];
    assert_eq!(failure.id, "wait-down");
    assert!(failure.error.to_string().contains("cannot become true any more"), "{}", failure.error);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_an_answer_that_cannot_come_ends_at_once() {
    let begun = tokio::time::Instant::now();
    let world = servers();
    world.lose("old primary");
    let outcome = world.run(&switchover()).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack));
    let error = &outcome.failures[0].error;
    assert_eq!((error.exit, error.primary.as_str()), (Exit::Switchover, "no way to old primary"));
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_step_fails_after_its_own_time() {
    let begun = tokio::time::Instant::now();
    let (_, outcome, _) = run_with("pause", Trouble::Hangs).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    let error = outcome.unwrap().failures.remove(0).error;
    assert_eq!(error.detail.as_deref(), Some("It did not finish within 30 s."));
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_way_back_runs_only_if_its_step_was_started() {
    let (world, ..) = run_with("pause", Trouble::Fails).await;
    let back = BACK.map(|id| world.performed(id));
    assert_eq!(back, [0, 0, 1]); // the slot was made; nothing was written, nothing was stopped
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_of_the_way_back_does_not_stop_the_others_and_exits_33_unless_the_primary_is_back() {
    let plan = switchover();
    for id in BACK {
        for trouble in [Trouble::Fails, Trouble::Hangs] {
            let history = format!("compare-wal fails, then {id} {trouble:?}");
            let world = servers().trouble("compare-wal", Trouble::Fails).trouble(id, trouble);
            let outcome = world.run(&plan).await.unwrap();
            let expected = match id {
                // The slot is left, and the old primary takes writes.
                "back-slot" => (Exit::Switchover, Ended::Regained),
                _ => (Exit::NoPrimary, Ended::BackFailed),
            };
            assert_eq!((outcome.exit, outcome.ended), expected, "{history}");
            assert!(outcome.changed && outcome.resumable, "{history}");
            // With the signal in place a start would be that of a standby.
            let starts = usize::from(id != "back-signal");
            assert_eq!(BACK.map(|id| world.performed(id)), [1, starts, 1], "{history}");
            assert_eq!(world.performed("unpause"), 1, "{history}");
            assert_eq!(world.ended(), None, "{history}");
            // Once the cause is gone, resuming restores what is left, and the exit code is that of the first failure.
            resume_to_the_end(&world, &plan, &history).await;
            assert_eq!(world.ended(), Some(Exit::Switchover), "{history}");
            if id == "back-signal" {
                // The servers came up as the model says: a server with standby.signal is a standby.
                assert!(!world.is("standby.signal"), "{history}");
            } else {
                assert!(is_restored(&world), "{history}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_says_that_there_is_no_primary_who_has_not_looked() {
    let plan = switchover();
    // Nothing was stopped yet, and what was made before cannot be undone.
    for (id, signal) in [("checkpoint-new", None), ("pause", Some(Signal::Int))] {
        let history = format!("{id} {signal:?}, then back-slot and back-signal fail");
        let world =
            servers().trouble("back-slot", Trouble::Fails).trouble("back-signal", Trouble::FailsAfterEffect);
        match signal {
            None => world.add_trouble(id, Trouble::Fails),
            Some(signal) => world.add_trouble(id, Trouble::Sent(signal, Moment::AfterEffect)),
        }
        let outcome = world.run(&plan).await.unwrap();
        let exit = signal.map_or(Exit::Switchover, Signal::exit);
        assert_eq!((outcome.exit, outcome.ended), (exit, Ended::Regained), "{history}");
        assert!(outcome.changed && outcome.resumable, "{history}");
        assert_eq!(world.ended(), None, "{history}");
        // Given up while the slot still cannot be dropped: said, and no longer open.
        let abandoned = world.abandon(&plan).await.unwrap();
        assert_eq!((abandoned.exit, abandoned.ended), (Exit::Switchover, Ended::Regained), "{history}");
        assert_eq!(world.ended(), Some(Exit::Switchover), "{history}");
        assert_safe(&world, &history);
    }
    // It does not answer: nobody has seen that it takes writes.
    let world = servers().trouble("compare-wal", Trouble::Fails).trouble("back-slot", Trouble::Fails);
    world.silence("old primary");
    let plan =
        Plan { regained: Some(Regained { probe: fact("old primary"), exit: Exit::Switchover }), ..plan };
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::NoPrimary, Ended::BackFailed));
}

#[tokio::test(start_paused = true)]
async fn a_failed_promotion_never_goes_back_and_leaves_the_rest_to_resume() {
    for trouble in [Trouble::Fails, Trouble::Hangs] {
        let plan = switchover();
        let (world, outcome, history) = run_with("promote", trouble).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Promotion, Ended::Unfinished), "{history}");
        assert!(outcome.past_no_return && outcome.resumable && outcome.changed, "{history}");
        assert!(!world.is("old primary") && !world.is("paused"), "{history}");
        assert_eq!(world.performed(METADATA), 0, "{history}");
        world.repair();
        let outcome = world.run(&plan).await.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done), "{history}");
        assert!(is_switched(&world), "{history}");
        assert_safe(&world, &history);
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_whose_answer_was_lost_counts_as_done_when_its_probe_says_so() {
    for trouble in [Trouble::FailsAfterEffect, Trouble::HangsAfterEffect] {
        let (world, outcome, history) = run_with("promote", trouble).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done), "{history}");
        assert_eq!(outcome.warnings.len(), 1, "{history}");
        assert!(is_switched(&world), "{history}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_cannot_be_looked_into_is_not_repeated() {
    let plan = switchover();
    let world = servers().trouble("promote", Trouble::Killed(Moment::AfterEffect));
    assert!(world.run(&plan).await.is_none());
    world.repair();
    world.silence("new primary");
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Promotion, Ended::Unfinished));
    assert_eq!(world.performed("promote"), 1);
    assert_safe(&world, "silent candidate");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_stops_after_the_point_of_no_return_is_incomplete_and_can_be_resumed() {
    for trouble in [Trouble::Fails, Trouble::FailsAfterEffect, Trouble::Hangs, Trouble::HangsAfterEffect] {
        let (world, outcome, history) = run_with(METADATA, trouble).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::Unfinished), "{history}");
        assert_eq!(world.performed("follow-3"), 0, "{history}");
        assert_eq!(world.performed("unpause"), 1, "{history}");
        resume_to_the_end(&world, &switchover(), &history).await;
        assert_eq!(world.ended(), Some(Exit::Done), "{history}");
        assert!(is_switched(&world), "{history}");
        assert_eq!(world.performed("promote"), 1, "{history}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tolerated_failure_lets_the_others_finish_and_exits_22() {
    for id in AFTER_OUTAGE {
        for trouble in [Trouble::Fails, Trouble::Hangs] {
            let (world, outcome, history) = run_with(id, trouble).await;
            let outcome = outcome.unwrap();
            assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::Incomplete), "{history}");
            assert_eq!(AFTER_OUTAGE.map(|id| world.performed(id)), [1, 1, 1], "{history}");
            assert_eq!(outcome.failures[0].id, id, "{history}");
            assert_eq!(world.ended(), Some(Exit::Incomplete), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_expectation_that_is_not_met_in_time_exits_22() {
    let world = servers().effect("follow-3", &[], &[]);
    let outcome = world.run(&switchover()).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::Incomplete));
    assert_eq!(outcome.failures[0].id, "node 3 streams");
    assert_eq!(world.ended(), Some(Exit::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_what_is_always_done_is_a_warning() {
    for trouble in [Trouble::Fails, Trouble::Hangs] {
        let (world, outcome, history) = run_with("unpause", trouble).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done), "{history}");
        assert_eq!((outcome.warnings.len(), outcome.failures.len()), (1, 0), "{history}");
        assert_eq!(world.ended(), Some(Exit::Done), "{history}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_always_done_is_done_after_every_kind_of_end() {
    let kinds = [Trouble::Fails, Trouble::Hangs, Trouble::Sent(Signal::Int, Moment::AfterEffect)];
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        for trouble in kinds {
            let (world, outcome, history) = run_with(id, trouble).await;
            assert!(outcome.is_some(), "{history}");
            assert!(!world.is("paused") && world.performed("unpause") == 1, "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_is_not_performed_when_what_it_requires_does_not_hold() {
    // A colleague removes standby.signal between the point of no return and the start of the old server.
    let world = servers().effect(METADATA, &["metadata"], &["standby.signal"]);
    let outcome = world.run(&switchover()).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::Incomplete));
    assert_eq!(world.performed("start-old"), 0);
    assert_safe(&world, "removed standby.signal");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_done_is_not_done_again_and_no_failure() {
    let mut plan = switchover();
    for step in
        plan.phases.iter_mut().flat_map(|phase| &mut phase.steps).filter(|step| step.id == "start-old")
    {
        step.requires.push(no("old server"));
    }
    // Before the step...
    let world = servers().effect(METADATA, &["metadata", "old server"], &[]);
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done));
    assert_eq!(world.performed("start-old"), 0);
    assert!(world.has_mark(Stage::Forward, "start-old", &Mark::Skipped));
    // ...or while it is being taken.
    let world = servers().trouble("start-old", Trouble::FailsAfterEffect);
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended, outcome.warnings.len()), (Exit::Done, Ended::Done, 1));
    assert!(world.has_mark(Stage::Forward, "start-old", &Mark::Done));
}

#[tokio::test(start_paused = true)]
async fn what_is_required_on_resume_is_asked_of_resumed_runs_alone() {
    let mut plan = switchover();
    for step in plan.phases.iter_mut().flat_map(|phase| &mut phase.steps).filter(|step| step.no_return) {
        step.requires_on_resume.push(fact("nobody else"));
    }
    let world = servers();
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!(outcome.exit, Exit::Done);

    let world = servers().trouble("promote", Trouble::Killed(Moment::BeforeStarted));
    assert!(world.run(&plan).await.is_none());
    world.repair();
    let outcome = world.run(&plan).await.unwrap();
    // Nothing was promoted, and what failed is the operation.
    assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack));
    assert_safe(&world, "somebody else has returned");
}

// Signals.

#[tokio::test(start_paused = true)]
async fn a_signal_before_the_point_of_no_return_restores_the_old_state_and_exits_130_or_143() {
    for id in BEFORE.iter().filter(|id| **id != "wait-down") {
        for (signal, exit) in [(Signal::Int, Exit::Interrupted), (Signal::Term, Exit::Terminated)] {
            for moment in MOMENTS {
                let (world, outcome, history) = run_with(id, Trouble::Sent(signal, moment)).await;
                let outcome = outcome.unwrap();
                assert_eq!((outcome.exit, outcome.ended), (exit, Ended::WentBack), "{history}");
                assert_eq!(outcome.signal, Some(signal), "{history}");
                assert!(is_restored(&world) && !outcome.changed, "{history}");
                assert_eq!(world.ended(), Some(exit), "{history}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_cuts_an_interruptible_step_short_and_lets_another_one_finish() {
    for (id, status) in [("pause", StepStatus::Interrupted), ("write-signal", StepStatus::Done)] {
        let (_, outcome, history) = run_with(id, Trouble::Sent(Signal::Int, Moment::AfterStarted)).await;
        let steps = outcome.unwrap().steps;
        assert_eq!(steps.iter().find(|step| step.id == id).unwrap().status, status, "{history}");
    }
    // Also when the two run side by side: the checkpoints are cut short, the file is written.
    let trouble = Trouble::Sent(Signal::Int, Moment::AfterStarted);
    let (_, outcome, _) = run_with("checkpoint-old", trouble).await;
    let statuses: Vec<_> = outcome.unwrap().steps[2..5].iter().map(|step| step.status).collect();
    assert_eq!(statuses[0], StepStatus::Interrupted);
    assert_ne!(statuses[2], StepStatus::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn after_the_point_of_no_return_the_first_signal_finishes_everything_and_the_second_one_leaves_the_rest()
 {
    let plan = switchover();
    for (id, moments) in [
        ("promote", &MOMENTS[1..]),
        (METADATA, &MOMENTS[..]),
        // When these have ended, the expectations are what is left.
        ("follow-3", &MOMENTS[..]),
        ("start-old", &MOMENTS[..]),
    ] {
        for moment in moments {
            for signal in [Signal::Int, Signal::Term] {
                let (world, outcome, history) = run_with(id, Trouble::Sent(signal, *moment)).await;
                let outcome = outcome.unwrap();
                assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done), "{history}");
                assert!(is_switched(&world) && !outcome.resumable, "{history}");
                assert!(world.told.borrow().contains(&format!("finishing after {signal:?}")), "{history}");
            }
            let history = format!("{id} {moment:?}, twice");
            let world = servers()
                .trouble(id, Trouble::Sent(Signal::Int, *moment))
                .trouble(id, Trouble::Sent(Signal::Term, *moment));
            let outcome = world.run(&plan).await.unwrap();
            assert_safe(&world, &history);
            assert_eq!((outcome.exit, outcome.ended), (Exit::Terminated, Ended::Unfinished), "{history}");
            assert!(outcome.resumable && outcome.past_no_return, "{history}");
            assert!(world.has_mark(Stage::Forward, id, &Mark::Done), "{history}: not finished");
            assert!(!world.is("paused"), "{history}");
            assert_eq!(world.ended(), None, "{history}");
            resume_to_the_end(&world, &plan, &history).await;
            assert_eq!(world.ended(), Some(Exit::Done), "{history}");
            assert!(is_switched(&world), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_comes_just_before_the_mark_of_the_promotion_still_leads_back() {
    // With the mark of the step before; and with the last question that the promotion asks.
    for (id, moment) in [("compare-wal", Moment::AfterDone), ("standby.signal", Moment::Asked)] {
        let (world, outcome, history) = run_with(id, Trouble::Sent(Signal::Int, moment)).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Interrupted, Ended::WentBack), "{history}");
        assert!(is_restored(&world) && world.performed("promote") == 0, "{history}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_does_not_stop_the_way_back() {
    for id in BACK {
        for moment in MOMENTS {
            let world = servers()
                .trouble("compare-wal", Trouble::Sent(Signal::Int, Moment::AfterStarted))
                .trouble(id, Trouble::Sent(Signal::Term, moment));
            let outcome = world.run(&switchover()).await.unwrap();
            assert_eq!(
                (outcome.exit, outcome.ended),
                (Exit::Interrupted, Ended::WentBack),
                "{id} {moment:?}"
            );
            assert!(is_restored(&world), "{id} {moment:?}");
            assert!(world.told.borrow().contains(&"still going after Term".to_string()), "{id} {moment:?}");
        }
    }
}

// A journal that cannot be written.

#[tokio::test(start_paused = true)]
async fn a_step_whose_intent_cannot_be_recorded_is_not_performed_and_leads_back() {
    for id in BEFORE.iter().chain(&["promote"]) {
        for trouble in [Trouble::JournalBreaks(Moment::BeforeStarted), Trouble::StartedMarkIsDenied] {
            let (world, outcome, history) = run_with(id, trouble).await;
            let outcome = outcome.unwrap();
            assert_eq!(outcome.ended, Ended::WentBack, "{history}");
            assert_eq!(world.performed(id), 0, "{history}");
            assert!(is_restored(&world), "{history}");
            assert!(!outcome.warnings.is_empty(), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_breaks_before_the_point_of_no_return_leads_back() {
    for id in BEFORE.iter().filter(|id| **id != "wait-down") {
        for moment in MOMENTS {
            let (world, outcome, history) = run_with(id, Trouble::JournalBreaks(moment)).await;
            assert_eq!(outcome.unwrap().ended, Ended::WentBack, "{history}");
            assert!(is_restored(&world), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_breaks_after_the_point_of_no_return_is_a_warning() {
    for (id, moments) in [("promote", &MOMENTS[1..]), (METADATA, &MOMENTS[..]), ("start-old", &MOMENTS[..])] {
        for moment in moments {
            let (world, outcome, history) = run_with(id, Trouble::JournalBreaks(*moment)).await;
            let outcome = outcome.unwrap();
            assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done), "{history}");
            assert!(!outcome.warnings.is_empty(), "{history}");
            assert!(is_switched(&world), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_no_journal_tells_of_is_not_followed_by_a_promotion() {
    // The disk is full, the old primary is primary again, and nothing of that is written down. Resuming believes the
    // journal, goes forward, and is stopped by what the promotion requires.
    let plan = switchover();
    for id in BEFORE.iter().chain(&["promote"]).filter(|id| **id != "wait-down") {
        for trouble in [
            Trouble::JournalBreaks(Moment::BeforeStarted),
            Trouble::JournalBreaks(Moment::AfterEffect),
            Trouble::StartedMarkIsDenied,
        ] {
            let (world, _, history) = run_with(id, trouble).await;
            world.repair();
            world.run(&plan).await;
            assert_safe(&world, &history);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_point_of_no_return_a_refused_promotion_still_never_goes_back() {
    // As above, and the mark of the promotion had reached the disk although the writer was told otherwise.
    let plan = switchover();
    let world = servers().trouble("promote", Trouble::StartedMarkIsDenied);
    assert_eq!(world.run(&plan).await.unwrap().ended, Ended::WentBack);
    world.repair();
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Promotion, Ended::Unfinished));
    assert_eq!(world.performed("promote"), 0);
    assert!(is_restored(&world), "the way back of the first run stands");
    assert_eq!(world.abandon(&plan).await.unwrap().ended, Ended::Abandoned);
    assert!(is_restored(&world));
}

// Killed, and resumed or abandoned.

#[tokio::test(start_paused = true)]
async fn a_killed_operation_is_finished_by_resume() {
    let plan = switchover();
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        for moment in MOMENTS {
            let (world, outcome, history) = run_with(id, Trouble::Killed(moment)).await;
            assert!(outcome.is_none(), "{history}");
            world.repair();
            let outcome = world.run(&plan).await.unwrap();
            assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done), "{history}");
            assert!(is_switched(&world), "{history}");
            assert_safe(&world, &history);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_done_is_not_performed_again_by_resume() {
    let plan = switchover();
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        let (world, _, history) = run_with(id, Trouble::Killed(Moment::AfterDone)).await;
        world.repair();
        world.run(&plan).await.unwrap();
        assert_eq!(world.performed(id), 1, "{history}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_operation_is_ended_by_abandon_before_the_point_of_no_return_in_the_old_state() {
    let plan = switchover();
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        for moment in MOMENTS {
            let (world, _, history) = run_with(id, Trouble::Killed(moment)).await;
            world.repair();
            let outcome = world.abandon(&plan).await.unwrap();
            assert_safe(&world, &history);
            assert!(!outcome.resumable && world.ended() == Some(outcome.exit), "{history}");
            assert!(!world.is("paused"), "{history}");
            if is_before(id) || (id == "promote" && moment == Moment::BeforeStarted) {
                assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::WentBack), "{history}");
                assert!(is_restored(&world), "{history}");
            } else {
                // Whoever gives up is told what was not done.
                let rest = outcome.steps.iter().any(|step| step.status == StepStatus::NotDone);
                let exit = if rest { Exit::Incomplete } else { Exit::Done };
                assert_eq!((outcome.exit, outcome.ended), (exit, Ended::Abandoned), "{history}");
                assert!(rest || moment == Moment::AfterDone, "{history}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_operation_is_over_even_if_its_way_back_fails() {
    let plan = switchover();
    let (world, ..) = run_with("compare-wal", Trouble::Killed(Moment::AfterEffect)).await;
    world.repair();
    world.add_trouble("back-start", Trouble::Fails);
    let outcome = world.abandon(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::NoPrimary, Ended::BackFailed));
    assert!(!outcome.resumable && world.ended() == Some(Exit::NoPrimary));
}

#[tokio::test(start_paused = true)]
async fn a_killed_way_back_is_continued_and_never_turned_into_a_promotion() {
    let plan = switchover();
    for id in BACK {
        for moment in MOMENTS {
            let history = format!("compare-wal fails, {id} killed {moment:?}");
            let world = servers().trouble("compare-wal", Trouble::Fails).trouble(id, Trouble::Killed(moment));
            assert!(world.run(&plan).await.is_none(), "{history}");
            world.repair();
            let outcome = world.run(&plan).await.unwrap();
            assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack), "{history}");
            assert!(is_restored(&world), "{history}");
            assert_eq!(world.performed("promote"), 0, "{history}");
            if id == "back-start" && moment == Moment::AfterEffect {
                assert_eq!(world.performed(id), 1, "{history}: repeated without asking");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_nobody_can_judge_stops_the_resume_with_its_hint() {
    let mut plan = switchover();
    plan.phases[0].steps[1].on_resume = OnResume::Stop { hint: "Look at the daemons.".to_string() };
    let world = servers().trouble("pause", Trouble::Killed(Moment::AfterEffect));
    world.run(&plan).await;
    world.repair();
    for _ in 0..2 {
        let outcome = world.run(&plan).await.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::Unfinished));
        let hint = outcome.failures[0].error.hint.as_deref().unwrap();
        assert!(hint.starts_with("Look at the daemons.") && hint.contains("operation abandon"), "{hint}");
        assert_eq!((world.performed("pause"), world.performed("back-slot")), (1, 0));
    }
    assert_eq!(world.abandon(&plan).await.unwrap().ended, Ended::WentBack);
    assert!(is_restored(&world));
}

#[tokio::test(start_paused = true)]
async fn nothing_before_the_point_of_no_return_is_repeated_after_it() {
    // A checkpoint of the old primary was let fail; after the promotion it would fail for ever.
    let mut plan = switchover();
    plan.phases[1].on_failure = OnFailure::Continue;
    let world = servers()
        .trouble("checkpoint-old", Trouble::Fails)
        .trouble("promote", Trouble::Killed(Moment::AfterEffect));
    world.run(&plan).await;
    world.repair();
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::Incomplete));
    assert_eq!(world.performed("checkpoint-old"), 1);
    assert!(is_switched(&world));
}

// Everywhere: the process dies at every moment there is, and the one that resumes dies at every moment too.

/// Returns how many moments an undisturbed run has at which a process can die.
async fn count_moments(mut survives: impl AsyncFnMut(usize) -> bool) -> usize {
    for moment in 1..1000 {
        if survives(moment).await {
            return moment - 1;
        }
    }
    panic!("every run died");
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_and_killed_again_at_any_moment_it_ends_switched_or_restored() {
    let plan = switchover();
    let moments = count_moments(async |first| {
        let world = servers().dies_at(first);
        let survived = world.run(&plan).await.is_some();
        count_moments(async |second| {
            let history = format!("killed at {first}, then at {second}");
            let world = servers().dies_at(first);
            world.run(&plan).await;
            assert_safe(&world, &history);
            world.repair();
            world.set_death(second);
            let survived = world.ended().is_some() || world.run(&plan).await.is_some();
            assert_safe(&world, &history);
            resume_to_the_end(&world, &plan, &history).await;
            assert_whole(&world, &history);
            survived
        })
        .await;
        survived
    })
    .await;
    assert!(moments > 40, "{moments}");
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_of_a_way_back_it_ends_restored() {
    let plan = switchover();
    for failing in ["pause", "write-signal", "stop-old", "compare-wal"] {
        count_moments(async |first| {
            let history = format!("{failing} fails, killed at {first}");
            let world = servers().trouble(failing, Trouble::FailsAfterEffect).dies_at(first);
            let survived = world.run(&plan).await.is_some();
            assert_safe(&world, &history);
            resume_to_the_end(&world, &plan, &history).await;
            assert_whole(&world, &history);
            survived
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_failure_at_any_moment_ends_switched_by_resume_and_whole_by_abandon() {
    let plan = switchover();
    for abandons in [false, true] {
        for failing in [None, Some("compare-wal")] {
            count_moments(async |first| {
                let history = format!("{failing:?} fails, power lost at {first}, abandon: {abandons}");
                let world = servers().dies_at(first);
                if let Some(failing) = failing {
                    world.add_trouble(failing, Trouble::Fails);
                }
                let survived = world.run(&plan).await.is_some();
                world.lose_power();
                assert_safe(&world, &history);
                world.repair();
                let went_back = BACK.iter().any(|id| world.performed(id) > 0);
                let forward = || BEFORE.map(|id| world.performed(id));
                let before = forward();
                if !abandons {
                    resume_to_the_end(&world, &plan, &history).await;
                    assert_whole(&world, &history);
                    assert!(!went_back || is_restored(&world), "{history}");
                    assert!(!went_back || forward() == before, "{history}: went back and forth");
                } else if world.ended().is_none() {
                    let outcome = world.abandon(&plan).await.unwrap();
                    assert_safe(&world, &history);
                    assert!(!world.is("paused"), "{history}");
                    assert!(outcome.past_no_return || is_restored(&world), "{history}");
                }
                survived
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn signals_and_broken_journals_at_any_moment_followed_by_a_kill_at_any_moment_are_safe() {
    let plan = switchover();
    for id in forward_steps() {
        for trouble in [
            Trouble::Sent(Signal::Term, Moment::AfterStarted),
            Trouble::JournalBreaks(Moment::BeforeStarted),
            Trouble::JournalBreaks(Moment::AfterEffect),
            Trouble::StartedMarkIsDenied,
        ] {
            count_moments(async |first| {
                let history = format!("{id} {trouble:?}, killed at {first}");
                let world = servers().trouble(&id, trouble).dies_at(first);
                let survived = world.run(&plan).await.is_some();
                assert_safe(&world, &history);
                world.repair();
                world.run(&plan).await;
                assert_safe(&world, &history);
                survived
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_is_the_last_record_and_written_once() {
    let world = servers();
    world.run(&switchover()).await;
    let journal = world.journal.borrow();
    let ends = journal.iter().filter(|record| matches!(record, Record::End { .. })).count();
    assert!(ends == 1 && matches!(journal.last(), Some(Record::End { exit: Exit::Done, changed: true, .. })));
}

// The world has changed.

const CHANGES: [Change; 3] = [Change::ThirdPrimary, Change::NewerTimeline, Change::PrimaryBack];

/// The cluster of the model, as a command that comes later sees it.
fn seen(world: &ScriptedWorld) -> ClusterFacts {
    let mut cluster = healthy();
    if world.is("old server") && !world.is("old primary") {
        cluster.nodes[0].server =
            Ok(ServerFacts { started_at: "again".into(), ..ServerFacts::example(true, 1, 50_000) });
    } else if !world.is("old primary") {
        cluster.nodes[0].server = Err(silence(Answered::Nothing));
    }
    if world.is("newer timeline") {
        examples::server(&mut cluster, 2).timeline = TimelineId(2);
    }
    for (fact, at) in [("new primary", 1), ("third primary", 2)] {
        if world.is(fact) {
            examples::promote(&mut cluster, at, 2);
            examples::server(&mut cluster, at).started_at = fact.into();
        }
    }
    cluster
}

/// What the same command, typed again, does with an operation that was left, or `operation resume`.
async fn taken_up(world: &ScriptedWorld, plan: &Plan) {
    if world.ended().is_some() || world.journal.borrow().is_empty() {
        return;
    }
    let past = Past::of(plan, &world.journal.borrow());
    let cluster = seen(world);
    let left = Left { command: "standby switchover", plan, past: &past, node_id: 2, cluster: &cluster };
    match course(&left) {
        Course::Anew => {
            world.undo(&undo(plan, false)).await;
            world.forget();
            world.run(plan).await;
        }
        Course::Finish | Course::Promote | Course::GoBack => {
            world.run(plan).await;
        }
        Course::Overtaken(_) => {
            world.undo(&undo(plan, true)).await;
        }
        Course::Unclear(_) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_world_at_any_moment_never_ends_with_a_second_primary() {
    let plan = switchover();
    for change in CHANGES {
        let changed = changed_at_any_moment(&plan, change).await;
        // Back as a primary it comes only where its signal is gone: on the way back.
        assert!(changed > 10, "{change:?}: {changed}");
    }
}

async fn changed_at_any_moment(plan: &Plan, change: Change) -> usize {
    let mut changed = 0;
    // Nothing else happens; the way back is under way; the old state was kept after an interruption.
    for failing in
        [None, Some(("compare-wal", Trouble::Fails)), Some(("stop-old", Trouble::FailsAfterEffect))]
    {
        for moment in 1..120 {
            let history = format!("{failing:?}, {change:?} at {moment}");
            let world = servers();
            if let Some((id, trouble)) = failing {
                world.add_trouble(id, trouble);
            }
            world.changes_at(moment, change);
            world.run(plan).await;
            assert_eq!(world.violations(), Vec::<String>::new(), "{history}");
            changed += usize::from(world.changed.get());
            for _ in 0..2 {
                world.repair();
                taken_up(&world, plan).await;
                assert_eq!(world.violations(), Vec::<String>::new(), "{history}, taken up");
            }
        }
    }
    changed
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_kill_and_before_resume_again_or_abandon_never_ends_with_a_second_primary() {
    let plan = switchover();
    for (failing, change) in
        [None, Some("compare-wal")].into_iter().flat_map(|failing| CHANGES.map(|change| (failing, change)))
    {
        for abandons in [false, true] {
            let mut changed = 0;
            let moments = count_moments(async |first| {
                for later in 0..25 {
                    let history = format!(
                        "{failing:?} fails, killed at {first}, {change:?} {later} later, abandon: {abandons}"
                    );
                    let world = servers().dies_at(first);
                    if let Some(failing) = failing {
                        world.add_trouble(failing, Trouble::Fails);
                    }
                    let survived = world.run(&plan).await.is_some();
                    if survived {
                        return true;
                    }
                    world.repair();
                    match later {
                        0 => world.change(change),
                        _ => world.changes_at(later, change),
                    }
                    if abandons {
                        let past = Past::of(&plan, &world.journal.borrow());
                        world.undo(&undo(&plan, past.past_no_return())).await;
                        assert!(!world.is("paused"), "{history}");
                    } else {
                        taken_up(&world, &plan).await;
                    }
                    changed += usize::from(world.changed.get());
                    assert_eq!(world.violations(), Vec::<String>::new(), "{history}");
                }
                false
            })
            .await;
            assert!(moments > 40 && changed > 20, "{failing:?} {abandons}: {moments} {changed}");
        }
    }
}

/// A consent that was withdrawn, or a timeline that went on: the plan of another day is not the plan of today.
#[tokio::test(start_paused = true)]
async fn abandon_never_starts_or_promotes_anything() {
    let plan = switchover();
    count_moments(async |first| {
        let world = servers().dies_at(first);
        let survived = world.run(&plan).await.is_some();
        world.repair();
        let started =
            |world: &ScriptedWorld| ["promote", "start-old", "back-start"].map(|id| world.performed(id));
        let before = started(&world);
        if world.ended().is_none() {
            let past = Past::of(&plan, &world.journal.borrow());
            world.undo(&undo(&plan, past.past_no_return())).await;
            assert_eq!(started(&world), before, "killed at {first}");
            assert!(world.ended().is_some(), "killed at {first}");
        }
        survived
    })
    .await;
}
