//! Signals.

use super::*;

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
                assert!(
                    world.messages.borrow().contains(&format!("finishing after {signal:?}")),
                    "{history}"
                );
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
async fn a_second_signal_does_not_stop_the_rollback() {
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
            assert!(
                world.messages.borrow().contains(&"still going after Term".to_string()),
                "{id} {moment:?}"
            );
        }
    }
}
