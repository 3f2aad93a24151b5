//! A journal that cannot be written.

use super::*;

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
async fn a_rollback_that_no_journal_records_is_not_followed_by_a_promotion() {
    // The disk is full, the old primary is primary again, and nothing of that is written down. Resuming looks at the cluster, and so does
    // the promotion, if a command continues by what the journal says.
    let plan = switchover();
    for id in BEFORE.iter().chain(&["promote"]).filter(|id| **id != "wait-down") {
        for trouble in [
            Trouble::JournalBreaks(Moment::BeforeStarted),
            Trouble::JournalBreaks(Moment::AfterEffect),
            Trouble::StartedMarkIsDenied,
        ] {
            for looks in [false, true] {
                let (world, _, history) = run_with(id, trouble).await;
                world.repair();
                match looks {
                    true => resumed(&world, &plan).await,
                    false => world.run(&plan).await,
                };
                assert_safe(&world, &history);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_point_of_no_return_a_refused_promotion_still_never_goes_back() {
    // As above, and the mark of the promotion had reached the disk although the write was reported as failed.
    let plan = switchover();
    let world = servers().trouble("promote", Trouble::StartedMarkIsDenied);
    assert_eq!(world.run(&plan).await.unwrap().ended, Ended::WentBack);
    world.repair();
    let outcome = world.run(&plan).await.unwrap();
    assert_eq!((outcome.exit, outcome.ended), (Exit::Promotion, Ended::Unfinished));
    assert_eq!(world.performed("promote"), 0);
    assert!(is_restored(&world), "the rollback of the first run stands");
    // The next command sees the old primary, and closes it.
    assert!(matches!(course_of(&world, &plan), Course::Overtaken(_)));
    abandoned(&world, &plan, "refused promotion").await;
    assert!(is_restored(&world));
}
