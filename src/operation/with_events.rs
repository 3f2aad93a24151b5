//! The frame of a command that changes no roles and has events: its journal ends only after they are sent, each of them once.

use std::path::Path;

use crate::context::Context;
use crate::error::Exit;
use crate::journal::{
    self, EarlierRuns, Flush, Header, Journal, OperationStatus, Record, Stage, StoredJournal,
};
use crate::operation::announce::{End, send_all, send_unsent, sent, unsent};
use crate::operation::carry_out::{Open, RunOptions, carry_out_open};
use crate::operation::course::{Course, course_without_roles};
use crate::operation::event_hook::notify;
use crate::operation::live::Live;
use crate::operation::outcome::{Done, World};
use crate::operation::run;
use crate::plan::Plan;
use crate::plan::parts::events::PlannedEvent;
use crate::site::state_directory::lock;
use crate::system::clock;
use crate::verb::Verb;

/// A plan that was carried out, and whose events are not sent yet.
#[derive(Debug)]
pub struct Carried<'a> {
    plan: &'a Plan,
    /// What became of it, to be completed by the command.
    pub done: Done,
    open: Option<Open<'a>>,
}

/// Carries a plan out up to its events.
pub async fn carry_out_with_events<'a>(
    context: &'a Context,
    plan: &'a Plan,
    how: RunOptions<'_>,
) -> Carried<'a> {
    let (done, open) = carry_out_open(context, plan, how).await;
    Carried { plan, done, open }
}

impl Carried<'_> {
    /// Sends the events of the plan, if anything was done, and ends the journal.
    pub async fn announced(mut self, context: &Context) -> Done {
        let end = self.done.end();
        let Some(open) = &self.open else {
            if self.done.acted {
                send_all(context, &self.plan.notifications, end, false).await;
            }
            return self.done;
        };
        if self.done.acted {
            let resumable = self.done.outcome.as_ref().is_some_and(|outcome| outcome.resumable);
            send(context, &open.world, &self.plan.notifications, &end, resumable).await;
        }
        let last = self.done.outcome.as_mut().and_then(|outcome| outcome.end.take());
        run::end(&open.world, last.as_ref()).await;
        self.done
    }
}

/// Sends events, and records each in the journal. Not those of an operation that will be resumed (`goes_on`): its events are sent again at
/// its end.
async fn send(context: &Context, world: &Live<'_>, events: &[PlannedEvent], end: &End, goes_on: bool) {
    for planned in events {
        let Some(event) = end.event(planned) else { continue };
        let session = match &planned.on {
            Some(on) => world.session_for_events(on).await,
            None => None,
        };
        notify(context, session.as_ref(), &event).await;
        if goes_on {
            continue;
        }
        if let Err(error) = world.record(&sent(planned), Flush::Now).await {
            context.debug(&format!("could not note that event \"{}\" was sent: {error:#}", planned.event));
        }
    }
}

/// Sends the events of an earlier operation whose work is done and whose process was killed before it sent them, and closes its journal.
///
/// The work is done if its journal says so, or if the same command finds that it has nothing to do (`same`: that command and its plan). The
/// present command has not begun anything yet; `needs_lock` says that it does not hold the lock of this node.
pub async fn finish_left(context: &Context, directory: &Path, same: Option<(Verb, &Plan)>, needs_lock: bool) {
    let Ok(entries) = journal::list(directory) else { return };
    for entry in &entries {
        let Ok(loaded) = &entry.journal else { continue };
        if matches!(entry.status(), OperationStatus::Finished { .. })
            || !is_left(&loaded.header, &loaded.past(), same)
        {
            continue;
        }
        // One that is at work has the lock.
        let lock = match needs_lock {
            true => lock(context).await.map(Some),
            false => Ok(None),
        };
        let _lock = match lock {
            Ok(lock) => lock,
            Err(error) => {
                context.debug(&format!("operation {} is left as it is: {error}", entry.operation_id));
                continue;
            }
        };
        if let Err(error) = finish(context, entry, &loaded.header, &loaded.past()).await {
            context.debug(&format!("could not end operation {}: {error:#}", entry.operation_id));
        }
    }
}

/// Says whether nothing is left of an operation but its events.
fn is_left(header: &Header, past: &EarlierRuns, same: Option<(Verb, &Plan)>) -> bool {
    if !header.is_harmless() || header.plan.notifications.is_empty() || past.going_back().is_some() {
        return false;
    }
    let is_same = same
        .is_some_and(|(verb, plan)| header.verb() == Some(verb) && header.plan.title == plan.title)
        && header.plan.steps().any(|step| past.started(Stage::Forward, &step.id));
    is_same || course_without_roles(&header.plan, past) == Course::Finish
}

async fn finish(
    context: &Context,
    entry: &StoredJournal,
    header: &Header,
    past: &EarlierRuns,
) -> anyhow::Result<()> {
    let (mut journal, _) = Journal::resume(&entry.path)?;
    let unverified = !header.plan.verify.is_empty();
    let end = End { error: None, steps_done: true, unverified };
    send_unsent(context, &unsent(&header.plan.notifications, past), &end, async |record| {
        if let Err(error) = journal.append(&record, Flush::Now) {
            context.debug(&format!("could not write the journal: {error:#}"));
        }
    })
    .await;
    let note = "its events were sent by a later command".to_string();
    journal.append(&Record::End { exit: Exit::Done, at: clock::now(), note, changed: true }, Flush::Now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::announce::unsent;
    use crate::operation::outcome::Outcome;
    use crate::operation::scripted::{Moment, ScriptedWorld, Trouble};
    use crate::pg::endpoint::Endpoint;
    use crate::plan::parts::events::{cluster_created, registered};
    use crate::plan::{OnFailure, Op, Order, Phase, Step};
    use crate::registry::{NodeRow, NodeType};
    use crate::system::command::Command;
    use crate::verb::Unfinished;

    fn plan() -> Plan {
        let row = NodeRow::example(1, NodeType::Primary);
        let on = Endpoint { name: "node \"node1\"".into(), conninfo: String::new(), secret: None };
        let step = |id: &str| Step::new(id, id, Op::Run(Command::new("do", [id])), 30, Exit::Query);
        let phase = Phase {
            title: "change the metadata".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: false,
            steps: vec![step("make"), step("record")],
        };
        Plan {
            phases: vec![phase],
            notifications: vec![cluster_created(1, &on), registered(&row, None, &on)],
            unfinished: Some(Unfinished::Harmless),
            back_failed: Exit::Query,
            incomplete: Exit::Query,
            ..Plan::nothing("register primary \"node1\"")
        }
    }

    fn header(plan: &Plan) -> Header {
        let header = serde_json::json!({
            "format": journal::FORMAT, "pgbaton": "0", "operation_id": "x", "command": "primary register",
            "command_line": [], "started_at": "2026-11-21T10:00:00Z", "node_id": 1, "node_name": "node1",
            "system_identifier": null, "pid": 1, "plan": plan
        });
        serde_json::from_value(header).unwrap()
    }

    fn world() -> ScriptedWorld {
        ScriptedWorld::new(&[]).effect("make", &["made"], &[]).effect("record", &["recorded"], &[])
    }

    /// Runs the plan; `events` are sent of it before the process is killed, and with all of them the journal ends.
    async fn run(world: &ScriptedWorld, plan: &Plan, events: usize) -> Option<Outcome> {
        let mut outcome = world.run_before_events(plan).await?;
        assert!(world.ended().is_none(), "the journal ends before the events");
        for planned in plan.notifications.iter().take(events) {
            world.record(&sent(planned), Flush::Now).await.unwrap();
        }
        if events == plan.notifications.len() {
            run::end(world, outcome.end.take().as_ref()).await;
        }
        Some(outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_killed_before_its_events_leaves_them_to_the_next_one() {
        let plan = plan();
        for events in 0..=2 {
            let world = world();
            run(&world, &plan, events).await.unwrap();
            let past = world.past(&plan);
            assert_eq!(world.ended(), (events == 2).then_some(Exit::Done), "{events}");
            assert_eq!(unsent(&plan.notifications, &past).len(), 2 - events, "{events}");
            assert!(is_left(&header(&plan), &past, None), "{events}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_steps_that_are_not_done_are_left_to_the_same_command_only() {
        let plan = plan();
        let verb = Verb::PrimaryRegister;
        for (moment, started) in [(Moment::BeforeStarted, false), (Moment::AfterEffect, true)] {
            let world = world().trouble("record", Trouble::Killed(moment));
            assert!(run(&world, &plan, 0).await.is_none());
            let past = world.past(&plan);
            assert!(!is_left(&header(&plan), &past, None), "{moment:?}");
            assert!(is_left(&header(&plan), &past, Some((verb, &plan))), "{moment:?}");
            assert!(!is_left(&header(&plan), &past, Some((Verb::StandbyRegister, &plan))), "{moment:?}");
            let another = Plan::nothing("register primary \"node2\"");
            assert!(!is_left(&header(&plan), &past, Some((verb, &another))), "{moment:?}");
            assert_eq!(past.started(Stage::Forward, "record"), started, "{moment:?}");
        }
        // Nothing was begun, so whatever is there is not the work of that run.
        let world = world().trouble("make", Trouble::Killed(Moment::BeforeStarted));
        assert!(run(&world, &plan, 0).await.is_none());
        assert!(!is_left(&header(&plan), &world.past(&plan), Some((verb, &plan))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_operation_has_its_end_after_its_events_too() {
        let plan = plan();
        let world = world().trouble("record", Trouble::Fails);
        let outcome = run(&world, &plan, 0).await.unwrap();
        assert!(outcome.end.is_some() && outcome.changed && !outcome.resumable, "{outcome:?}");
        run::end(&world, outcome.end.as_ref()).await;
        assert_eq!(world.ended(), Some(Exit::Query));
    }
}
