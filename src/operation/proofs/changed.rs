//! The world changes, between any two moments, and before what was left is resumed, rolled back or abandoned: another primary, another
//! timeline, the primary back, a sibling ahead, a consent withdrawn.
//!
//! Here the plans are the program's own, and so are the judgements: see [`commands`](crate::operation::scripted::commands). Only what a
//! command does between them is repeated there.

use super::killed::count_moments;
use crate::operation::scripted::commands::{NOTHING, Node2, PROMOTE, SWITCHOVER, Said};
use crate::operation::scripted::servers::{CHANGES, Change, OWN, Servers, State};
use crate::operation::scripted::{Moment, ScriptedWorld, Trouble};
use crate::plan::promote::PromoteOptions;

/// What is typed, and in what cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// All is well.
    Switchover,
    /// The rollback is run before the stop, and after it.
    FailedEarly,
    FailedLate,
    /// The primary has crashed.
    Promotion,
    /// It hangs, and the user of the command states that it is not a primary.
    Hung,
    /// Another standby has more WAL, and its loss is accepted.
    Behind,
}

const SCENES: [Scene; 6] =
    [Scene::Switchover, Scene::FailedEarly, Scene::FailedLate, Scene::Promotion, Scene::Hung, Scene::Behind];

impl Scene {
    fn node2(self) -> Node2 {
        let world = match self {
            Self::Switchover => ScriptedWorld::<Servers>::healthy(),
            Self::FailedEarly => ScriptedWorld::healthy().trouble("write_signal", Trouble::FailsAfterEffect),
            Self::FailedLate => ScriptedWorld::healthy().trouble("stop", Trouble::FailsAfterEffect),
            Self::Promotion | Self::Behind => ScriptedWorld::without_primary(State::Down),
            Self::Hung => ScriptedWorld::without_primary(State::Hung),
        };
        if self == Self::Behind {
            world.change(Change::SiblingAhead);
            world.changed.set(false);
        }
        Node2::new(world, if self.is_switchover() { SWITCHOVER } else { PROMOTE })
    }

    fn is_switchover(self) -> bool {
        matches!(self, Self::Switchover | Self::FailedEarly | Self::FailedLate)
    }

    /// What the first run is given.
    fn consents(self) -> PromoteOptions {
        PromoteOptions { force: self == Self::Hung, accept_data_loss: self == Self::Behind, ..NOTHING }
    }

    /// What cannot happen in it: a primary lives, or may live, until the end; the sibling has all there is.
    fn excludes(self, change: Change) -> bool {
        match self {
            Self::FailedEarly | Self::Hung => change != Change::SiblingAhead,
            Self::Behind => change == Change::SiblingAhead,
            Self::Switchover | Self::FailedLate | Self::Promotion => false,
        }
    }
}

fn assert_sound(node2: &Node2, history: &str) {
    assert_eq!(node2.violations(), Vec::<String>::new(), "{history}");
}

/// Types the command again and again, until nothing is left to be taken up; then nothing of its own is left either.
async fn taken_up(node2: &Node2, today: PromoteOptions, history: &str) {
    for _ in 0..3 {
        node2.repair();
        if node2.open().is_none() {
            break;
        }
        node2.types(today).await;
        assert_sound(node2, history);
    }
    node2.repair();
    if node2.open().is_some() {
        node2.abandons().await;
        assert_sound(node2, history);
    }
    assert!(node2.open().is_none(), "{history}: it cannot be ended");
    if !node2.primaries().contains(&OWN) {
        let own = node2.own.borrow();
        assert!(own.is_empty(), "{history}: {own:?} is left");
    }
    assert_signal(node2, history);
}

/// What a promotion has written on the host of the old primary is there after it, and removed where it was not requested; but for a server that
/// must not be a primary any more, or was started meanwhile.
fn assert_signal(node2: &Node2, history: &str) {
    let one = node2.server(1);
    let stays = one.state == State::Standby || node2.is_behind(1) || node2.past_no_return();
    assert!(one.signal_is_of.is_none() || stays, "{history}: standby.signal is left");
    let promoted = node2.server(OWN).state == State::Primary;
    assert!(
        !promoted || one.signal || one.state != State::Down,
        "{history}: the old primary would be a second one"
    );
}

#[tokio::test(start_paused = true)]
async fn in_a_world_that_stays_the_commands_do_what_they_are_for() {
    for scene in SCENES {
        let node2 = scene.node2();
        assert_eq!(node2.types(scene.consents()).await, Said::Ran, "{scene:?}");
        assert_sound(&node2, &format!("{scene:?}"));
        assert!(node2.open().is_none() && !node2.changed.get(), "{scene:?}");
        let failed = matches!(scene, Scene::FailedEarly | Scene::FailedLate);
        assert_eq!(node2.server(OWN).state == State::Primary, !failed, "{scene:?}");
        assert_eq!(node2.server(1).state == State::Primary, failed, "{scene:?}");
        assert!(scene != Scene::Switchover || node2.server(1).state == State::Standby);
        assert!(!failed || !node2.server(1).signal, "{scene:?}: it is a standby after its next start");
        let written = matches!(scene, Scene::Promotion | Scene::Behind);
        assert_eq!(node2.server(1).signal_is_of.is_some(), written, "{scene:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_consent_nothing_is_lost_and_no_hanging_node_is_passed_over() {
    for scene in [Scene::Hung, Scene::Behind] {
        let node2 = scene.node2();
        assert_eq!(node2.types(NOTHING).await, Said::Refused, "{scene:?}");
        assert!(node2.open().is_none() && node2.events.borrow().is_empty(), "{scene:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_between_any_two_moments_makes_no_second_primary_and_loses_nothing() {
    for (scene, change) in SCENES.into_iter().flat_map(|scene| CHANGES.map(|change| (scene, change))) {
        let mut changed = 0;
        for moment in 1..140 {
            let history = format!("{scene:?}, {change:?} at {moment}");
            let node2 = scene.node2();
            node2.changes_at(moment, change);
            node2.types(scene.consents()).await;
            changed += usize::from(node2.changed.get());
            assert_sound(&node2, &history);
            taken_up(&node2, scene.consents(), &format!("{history}, taken up")).await;
        }
        assert_eq!(changed == 0, scene.excludes(change), "{scene:?} {change:?}: {changed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_kill_and_before_resume_rollback_or_abandon_makes_no_second_primary_and_loses_nothing()
 {
    for (scene, change) in SCENES.into_iter().flat_map(|scene| CHANGES.map(|change| (scene, change))) {
        if scene.excludes(change) {
            continue;
        }
        for abandons in [false, true] {
            let mut changed = 0;
            let moments = count_moments(async |first| {
                // At once, and later: every moment of what is typed then, as the kill moves on.
                for later in std::iter::once(0).chain((1..120).skip(first % 20).step_by(20)) {
                    let history = format!(
                        "{scene:?}, killed at {first}, {change:?} {later} later, abandon: {abandons}"
                    );
                    let node2 = scene.node2();
                    node2.set_death(first);
                    if node2.types(scene.consents()).await != Said::Died {
                        return true;
                    }
                    node2.repair();
                    match later {
                        0 => node2.change(change),
                        _ => node2.changes_at(later, change),
                    }
                    match abandons {
                        true => node2.abandons().await,
                        false => node2.types(scene.consents()).await,
                    };
                    assert_sound(&node2, &history);
                    changed += usize::from(node2.changed.get());
                    taken_up(&node2, scene.consents(), &history).await;
                }
                false
            })
            .await;
            assert!(moments > 10 && changed > 10, "{scene:?} {change:?} {abandons}: {moments} {changed}");
        }
    }
}

/// The consents of the first run say nothing of what would be lost now.
#[tokio::test(start_paused = true)]
async fn what_is_resumed_without_the_consents_of_the_first_run_loses_nothing_and_passes_over_no_node() {
    for scene in [Scene::Hung, Scene::Behind] {
        let (mut promoted, mut refused) = (0, 0);
        count_moments(async |first| {
            let history = format!("{scene:?}, killed at {first}");
            let node2 = scene.node2();
            node2.set_death(first);
            if node2.types(scene.consents()).await != Said::Died {
                return true;
            }
            node2.repair();
            if node2.open().is_none() {
                return false;
            }
            let before = node2.server(OWN).state;
            let said = node2.types(NOTHING).await;
            assert_sound(&node2, &history);
            // What has happened is finished; what has not needs to be consented to.
            assert_eq!(said == Said::Refused, before == State::Standby, "{history}: {said:?}");
            assert_eq!(node2.server(OWN).state, before, "{history}");
            match before {
                State::Primary => promoted += 1,
                _ => refused += 1,
            }
            // It is still there to be consented to.
            assert_eq!(node2.open().is_some(), said == Said::Refused, "{history}");
            node2.types(scene.consents()).await;
            assert_sound(&node2, &history);
            assert_eq!(node2.server(OWN).state, State::Primary, "{history}");
            false
        })
        .await;
        assert!(promoted > 5 && refused > 5, "{scene:?}: {promoted} {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn abandon_starts_and_promotes_nothing_and_so_does_abandon_that_was_killed() {
    let started = |node2: &Node2| ["promote", "start", "revive"].map(|id| node2.performed(id));
    for scene in [Scene::Switchover, Scene::FailedLate, Scene::Promotion] {
        count_moments(async |first| {
            // Every moment of what is given up, as the kill moves on.
            for second in (1..100).skip(first % 5).step_by(5) {
                let history = format!("{scene:?}, killed at {first}, abandon at {second}");
                let node2 = scene.node2();
                node2.set_death(first);
                if node2.types(scene.consents()).await != Said::Died {
                    return true;
                }
                node2.repair();
                if node2.open().is_none() {
                    return false;
                }
                node2.set_death(second);
                let before = started(&node2);
                let said = node2.abandons().await;
                node2.repair();
                if node2.open().is_some() {
                    node2.abandons().await;
                }
                assert_eq!(started(&node2), before, "{history}");
                assert_signal(&node2, &history);
                assert!(node2.open().is_none(), "{history}");
                assert!(node2.own.borrow().is_empty(), "{history}: {:?} is left", node2.own.borrow());
                assert_sound(&node2, &history);
                if said != Said::Died {
                    break;
                }
            }
            false
        })
        .await;
    }
}

/// A standby that did not answer when the promotion was planned has more WAL, and answers immediately before the request.
#[tokio::test(start_paused = true)]
async fn a_sibling_that_turns_out_to_be_ahead_at_the_last_look_stops_the_promotion_unless_that_is_accepted() {
    for accept_data_loss in [false, true] {
        let node2 = Scene::Promotion.node2();
        node2.add_trouble("create_slot_3", Trouble::Killed(Moment::BeforeStarted));
        let today = PromoteOptions { accept_data_loss, ..NOTHING };
        assert_eq!(node2.types(today).await, Said::Died);
        let plan = node2.open().unwrap();
        node2.repair();
        node2.change(Change::SiblingAhead);
        // The process was only stopped, and goes on.
        let outcome = node2.run(&plan).await.unwrap();
        assert_eq!(node2.server(OWN).state == State::Primary, accept_data_loss, "{outcome:?}");
        assert_sound(&node2, "a sibling ahead");
    }
}
