//! A process that is killed, and what resume and abandon make of it.

use super::*;

/// Whether everything is planned anew: before the old primary is down nothing is replayed.
fn is_anew(world: &ScriptedWorld, plan: &Plan) -> bool {
    let course = course_of(world, plan);
    let anew = world.is("old primary");
    let expected = match (anew, world.is("new primary")) {
        (true, _) => Course::Anew,
        (_, true) => Course::Finish,
        (_, false) => Course::Promote,
    };
    assert_eq!(course, expected);
    anew
}

#[tokio::test(start_paused = true)]
async fn a_killed_operation_is_finished_by_resume() {
    let plan = switchover();
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        for moment in MOMENTS {
            let (world, outcome, history) = run_with(id, Trouble::Killed(moment)).await;
            assert!(outcome.is_none(), "{history}");
            world.repair();
            is_anew(&world, &plan);
            let outcome = resumed(&world, &plan).await.unwrap();
            assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::Done), "{history}");
            assert!(is_switched(&world), "{history}");
            assert_safe(&world, &history);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_done_is_not_performed_again_by_resume_unless_all_is_planned_anew() {
    let plan = switchover();
    let mut anew = 0;
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        let (world, _, history) = run_with(id, Trouble::Killed(Moment::AfterDone)).await;
        world.repair();
        let again = usize::from(is_anew(&world, &plan));
        anew += again;
        resumed(&world, &plan).await.unwrap();
        assert_eq!(world.performed(id), 1 + again, "{history}");
    }
    assert_eq!(anew, 6);
}

#[tokio::test(start_paused = true)]
async fn a_killed_operation_is_ended_by_abandon_which_starts_nothing_and_takes_back_what_is_its_own() {
    let plan = switchover();
    for id in forward_steps().iter().filter(|id| *id != "wait-down") {
        for moment in MOMENTS {
            let (world, _, history) = run_with(id, Trouble::Killed(moment)).await;
            world.repair();
            let runs = world.is("old primary");
            let outcome = abandoned(&world, &plan, &history).await;
            assert_eq!((outcome.exit, outcome.ended), (Exit::Done, Ended::WentBack), "{history}");
            assert!(!world.is("slot"), "{history}");
            // Before the stop this is the old state; after it, the user who abandons the operation decides what becomes the primary.
            assert_eq!(is_restored(&world), runs, "{history}");
            assert_eq!(outcome.changed, outcome.past_no_return, "{history}");
            // The user is shown what was not done.
            let done = |step: &&Step| world.has_mark(Stage::Forward, &step.id, &Mark::Done);
            let not_done = outcome.steps.iter().filter(|step| step.status == StepStatus::NotDone).count();
            assert_eq!(not_done, plan.steps().count() - plan.steps().filter(done).count(), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_operation_is_over_even_if_it_leaves_something() {
    let plan = switchover();
    let (world, _, history) = run_with("compare-wal", Trouble::Killed(Moment::AfterEffect)).await;
    world.repair();
    world.add_trouble("back-slot", Trouble::Fails);
    let outcome = abandoned(&world, &plan, &history).await;
    assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::BackFailed));
}

#[tokio::test(start_paused = true)]
async fn an_abandonment_that_is_killed_leaves_the_operation_where_it_was() {
    let plan = switchover();
    for (id, past_no_return) in [("compare-wal", false), ("promote", true)] {
        for moment in MOMENTS {
            let history = format!("{id} killed, the abandonment killed {moment:?}");
            let (world, _, _) = run_with(id, Trouble::Killed(Moment::AfterEffect)).await;
            world.repair();
            world.add_trouble("back-slot", Trouble::Killed(moment));
            assert!(world.abandon(&plan).await.is_none(), "{history}");
            world.repair();
            let outcome = abandoned(&world, &plan, &history).await;
            assert_eq!(
                (outcome.ended, outcome.past_no_return),
                (Ended::WentBack, past_no_return),
                "{history}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_rollback_continues_while_the_old_primary_is_down_and_is_never_turned_into_a_promotion() {
    let plan = switchover();
    for id in BACK {
        for moment in MOMENTS {
            let history = format!("compare-wal fails, {id} killed {moment:?}");
            let world = servers().trouble("compare-wal", Trouble::Fails).trouble(id, Trouble::Killed(moment));
            assert!(world.run(&plan).await.is_none(), "{history}");
            world.repair();
            // Once it is back it is the primary that it was, and what was to be done is planned anew.
            if world.is("old primary") {
                assert_eq!(course_of(&world, &plan), Course::Anew, "{history}");
                continue;
            }
            assert_eq!(course_of(&world, &plan), Course::GoBack, "{history}");
            let outcome = resumed(&world, &plan).await.unwrap();
            assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack), "{history}");
            assert!(is_restored(&world), "{history}");
            assert_eq!((world.performed("promote"), world.performed("back-start")), (0, 1), "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_cut_short_does_not_start_twice_what_it_finds_started() {
    // The executor itself: a command that did not look at the cluster continues by the journal.
    let plan = switchover();
    let world = servers()
        .trouble("compare-wal", Trouble::Fails)
        .trouble("back-start", Trouble::Killed(Moment::AfterEffect));
    assert!(world.run(&plan).await.is_none());
    world.repair();
    assert_eq!(world.run(&plan).await.unwrap().ended, Ended::WentBack);
    assert!(is_restored(&world) && world.performed("back-start") == 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_effect_is_unknown_stops_the_resume_with_its_hint() {
    let mut plan = switchover();
    plan.phases[2].steps[5].on_resume = OnResume::Stop { hint: "Look at the rows.".to_string() };
    let world = servers().trouble(METADATA, Trouble::Killed(Moment::AfterEffect));
    world.run(&plan).await;
    world.repair();
    for _ in 0..2 {
        let outcome = resumed(&world, &plan).await.unwrap();
        assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::Unfinished));
        assert_eq!(outcome.failures[0].error.hint.as_deref(), Some("Look at the rows."));
        assert_eq!((world.performed(METADATA), world.performed("start-old")), (1, 0));
    }
    // It is given up as it is.
    let outcome = abandoned(&world, &plan, "cannot be determined").await;
    assert!(outcome.changed && outcome.past_no_return);
}

#[tokio::test(start_paused = true)]
async fn before_the_point_of_no_return_such_a_step_is_no_obstacle_to_giving_up() {
    let mut plan = switchover();
    plan.phases[0].steps[1].on_resume = OnResume::Stop { hint: "Look at the daemons.".to_string() };
    let world = servers().trouble("pause", Trouble::Killed(Moment::AfterEffect));
    world.run(&plan).await;
    world.repair();
    // A command that continued by the journal would be stopped.
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::Unfinished));
    let hint = outcome.failures[0].error.hint.as_deref().unwrap();
    assert!(hint.starts_with("Look at the daemons.") && hint.contains("operation abandon"), "{hint}");
    assert_eq!((world.performed("pause"), world.performed("back-slot")), (1, 0));
    assert_eq!(abandoned(&world, &plan, "cannot be determined").await.ended, Ended::WentBack);
    assert!(is_restored(&world));
}

#[tokio::test(start_paused = true)]
async fn nothing_before_the_point_of_no_return_is_repeated_after_it() {
    // A checkpoint of the old primary was let fail; after the promotion it would always fail.
    let mut plan = switchover();
    plan.phases[1].on_failure = OnFailure::Continue;
    let world = servers()
        .trouble("checkpoint-old", Trouble::Fails)
        .trouble("promote", Trouble::Killed(Moment::AfterEffect));
    world.run(&plan).await;
    world.repair();
    let outcome = resumed(&world, &plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Incomplete, Ended::Incomplete));
    assert_eq!(world.performed("checkpoint-old"), 1);
    assert!(is_switched(&world));
}

// Everywhere: the process dies at every moment there is, and the one that resumes dies at every moment too.

/// Returns how many moments an undisturbed run has at which a process can die.
pub(super) async fn count_moments(mut survives: impl AsyncFnMut(usize) -> bool) -> usize {
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
            let survived = world.ended().is_some() || resumed(&world, &plan).await.is_some();
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
async fn killed_at_any_moment_of_a_rollback_it_ends_switched_or_restored() {
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
async fn a_power_failure_at_any_moment_ends_whole_by_resume_and_is_ended_by_abandon() {
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
                let goes_back = world.ended().is_none() && course_of(&world, &plan) == Course::GoBack;
                let forward = || BEFORE.map(|id| world.performed(id));
                let before = forward();
                if !abandons {
                    resume_to_the_end(&world, &plan, &history).await;
                    assert_whole(&world, &history);
                    assert!(!goes_back || is_restored(&world), "{history}");
                    assert!(!goes_back || forward() == before, "{history}: went back and forth");
                } else if world.ended().is_none() {
                    let runs = world.is("old primary");
                    abandoned(&world, &plan, &history).await;
                    assert_eq!(is_restored(&world), runs, "{history}");
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
                if world.ended().is_none() {
                    resumed(&world, &plan).await;
                }
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
