//! Steps that fail or hang.

use super::*;

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
    assert!(failure.error.to_string().contains("Timed out after 30 s"), "{}", failure.error);
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
    assert!(failure.error.to_string().contains("can no longer become true"), "{}", failure.error);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_an_answer_that_cannot_come_ends_at_once() {
    let begun = tokio::time::Instant::now();
    let world = servers();
    world.lose("old primary");
    let outcome = world.run(&switchover()).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack));
    let error = &outcome.failures[0].error;
    assert_eq!((error.exit, error.message.as_str()), (Exit::Switchover, "no way to old primary"));
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
async fn a_step_of_the_rollback_runs_only_if_its_step_was_started() {
    let (world, ..) = run_with("pause", Trouble::Fails).await;
    let back = BACK.map(|id| world.performed(id));
    assert_eq!(back, [0, 0, 1]); // the slot was made; nothing was written, nothing was stopped
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_of_the_rollback_does_not_stop_the_others_and_exits_33_unless_the_primary_is_back() {
    let plan = switchover();
    for id in BACK {
        for trouble in [Trouble::Fails, Trouble::Hangs] {
            let history = format!("compare-wal fails, then {id} {trouble:?}");
            let world = servers().trouble("compare-wal", Trouble::Fails).trouble(id, trouble);
            let outcome = world.run(&plan).await.unwrap();
            let expected = match id {
                // The slot is left, and the old primary accepts writes.
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
            // Once the cause is gone, resuming restores what is left, and the exit code is that of the first failure; but where the old
            // primary lives, it is planned anew.
            world.repair();
            let back = course_of(&world, &plan) == Course::GoBack;
            assert_eq!(back, id != "back-slot", "{history}");
            resume_to_the_end(&world, &plan, &history).await;
            let exit = if back { Exit::Switchover } else { Exit::Done };
            assert_eq!(world.ended(), Some(exit), "{history}");
            assert!(if back { is_restored(&world) } else { is_switched(&world) }, "{history}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_look_it_is_not_reported_that_there_is_no_primary() {
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
        let given_up = abandoned(&world, &plan, &history).await;
        assert_eq!((given_up.exit, given_up.ended), (Exit::Incomplete, Ended::BackFailed), "{history}");
    }
    // It does not respond: nothing has shown that it accepts writes.
    let world = servers().trouble("compare-wal", Trouble::Fails).trouble("back-slot", Trouble::Fails);
    world.silence("old primary");
    let plan = Plan {
        regained: Some(RollbackSuccess { probe: fact("old primary"), exit: Exit::Switchover }),
        ..plan
    };
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
        assert_eq!(course_of(&world, &plan), Course::Promote, "{history}");
        let outcome = resumed(&world, &plan).await.unwrap();
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
    let outcome = resumed(&world, &plan).await.unwrap();
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
async fn what_another_command_has_done_is_not_done_again_and_no_failure() {
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
        step.requires_on_resume.push(fact("no other"));
    }
    let world = servers();
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!(outcome.exit, Exit::Done);

    let world = servers().trouble("promote", Trouble::Killed(Moment::BeforeStarted));
    assert!(world.run(&plan).await.is_none());
    world.repair();
    let outcome = resumed(&world, &plan).await.unwrap();
    // Nothing was promoted, and what failed is the operation.
    assert_eq!((outcome.exit, outcome.ended), (Exit::Switchover, Ended::WentBack));
    assert_safe(&world, "another command has returned");
}
