//! Giving an unfinished operation up: what only it has made is taken back, and no server is started or promoted.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::directory::running_postmaster;
use crate::far_end::remote::{OPEN, Remote, secured};
use crate::journal::{EarlierRuns, Stage, StoredJournal};
use crate::observe::under_locks::LockedCluster;
use crate::operation::announce::{End, send_all, send_unsent, unsent};
use crate::operation::carry_out::record_end;
use crate::operation::conclusion::conclude;
use crate::operation::course::undo;
use crate::operation::live::FarEnds;
use crate::operation::old_primary_host::ways_back;
use crate::operation::outcome::{Ended, StepStatus};
use crate::operation::resume::{keep_what_may_be_needed, readable, relock_cluster, relock_local, world};
use crate::operation::run;
use crate::output::{Data, Report};
use crate::plan::parts::events;
use crate::plan::{Op, Plan, RollbackStep};
use crate::ui::Level;

/// Gives an unfinished operation up. It starts and promotes nothing, and takes back what only it has made.
///
/// # Errors
/// Exit code 31 while a promotion is requested that cannot be withdrawn; 12 without a way to the host of the old primary, unless forced; 30
/// if another command is running.
pub async fn abandon(context: &Context, entry: &StoredJournal) -> Result<Report> {
    let loaded = readable(entry)?;
    let (header, past) = (&loaded.header, loaded.past());
    let id = header.operation_id.clone();
    let mut held = relock_cluster(context, header).await?;
    let _alone = relock_local(context, header).await?;
    let was_past = past.past_no_return();
    if was_past && header.plan.steps().any(|step| matches!(step.op, Op::Promote { .. })) {
        refuse_while_requested(context, held.as_ref(), &id)?;
    }
    let mut plan = undo(&header.plan, was_past);
    if context.options.dry_run {
        let due = |undo: &&RollbackStep| undo.is_due(|id| past.started(Stage::Forward, id));
        let undone: Vec<&str> =
            plan.rollback.iter().filter(due).map(|undo| undo.step.title.as_str()).collect();
        let detail = match undone.is_empty() {
            true => "Its journal would be closed; there is nothing to undo.".to_string(),
            false => {
                format!("These steps would be run, as far as they are still needed: {}.", undone.join("; "))
            }
        };
        context.ui.message(Level::Notice, "this is a dry run: nothing was changed", Some(&detail), None);
        return Ok(Report::new(Data::Done(json!({ "operation_id": id }))));
    }
    let far_ends = abandoned_ends(context, &plan, &past, &id).await?;
    if let Some(held) = &held {
        keep_what_may_be_needed(context, held, header.node_id, &mut plan, &past);
    }
    let hosts = kept_down(context, &plan, &past, &id).await?;
    let reaches = |node_id| far_ends.reaches(node_id) || hosts.contains_key(&node_id);
    plan.rollback.retain(|undo| undo.step.at.is_none_or(reaches));
    if let Some(held) = &mut held {
        held.hosts = hosts;
    }
    let (world, past) = world(context, loaded, &past, held.as_ref(), far_ends).await?;
    let mut outcome = run::undo(&plan, &past, &world, "abandoned").await;
    world.release().await;
    record_end(context, &world, &plan, &id, &outcome).await;
    let sent = past.done(Stage::Forward, events::STEP);
    let done = plan.steps().all(|step| past.done(Stage::Forward, &step.id));
    let error = (!done).then(|| format!("{} was abandoned", plan.title));
    let end = End { error, steps_done: done, unverified: !plan.verify.is_empty() };
    if header.changes_roles() && (outcome.changed || !done) {
        send_all(context, &plan.notifications, end, sent).await;
    } else if outcome.changed {
        // Its journal has ended, and says which were sent.
        send_unsent(context, &unsent(&plan.notifications, &past), &end, async |_| {}).await;
    }
    // What it undoes leaves nothing of the operation, and is a change of this command's own all the same.
    let changed = outcome.changed || outcome.steps.iter().any(|step| step.status == StepStatus::Done);
    let mut left = state_of(held.as_ref());
    if outcome.ended == Ended::BackFailed {
        let error =
            conclude(&plan, &id, &mut outcome).err().unwrap_or_else(|| Error::failed("could not undo all"));
        return Err(error.detail("The operation is closed all the same.").detail(left.detail));
    }
    let left_to_do: Vec<&str> = (plan.steps())
        .filter(|step| was_past && !past.done(Stage::Forward, &step.id))
        .map(|step| step.title.as_str())
        .collect();
    if !left_to_do.is_empty() {
        left.detail = format!("{} Not done: {}.", left.detail, left_to_do.join("; "));
        left.hint = left.hint.or(Some("\"pgbaton cluster show\" names the commands to run.".into()));
    }
    for keep in plan.steps().filter(|step| was_past && past.started(Stage::Forward, &step.id)) {
        if let Op::KeepDown(keep) = &keep.op {
            let name = &keep.host.node_name;
            left.detail = format!(
                "{} standby.signal stays in the data directory of \"{name}\": its server starts as a standby.",
                left.detail
            );
        }
    }
    let exit = if left_to_do.is_empty() { Exit::Done } else { Exit::Incomplete };
    context.ui.message(
        Level::Notice,
        &format!("operation \"{id}\" is abandoned"),
        Some(left.detail.trim()).filter(|text| !text.is_empty()),
        left.hint.as_deref(),
    );
    let data = json!({ "operation_id": id, "steps": outcome.steps });
    Ok(Report { changed, exit, ..Report::new(Data::Done(data)) })
}

/// Refuses to close an operation whose promotion may still take place.
///
/// A request that was made cannot be taken back: it stays, in the file `promote`, as long as the server that has it runs, and takes effect
/// when the startup process comes to it, possibly after `restore_command` has hung for hours.
fn refuse_while_requested(context: &Context, held: Option<&LockedCluster>, id: &str) -> Result<()> {
    let config = context.config()?;
    let data = &config.data_directory;
    let own = held.and_then(|held| held.facts.node(config.node_id)).and_then(NodeFacts::facts);
    if own.is_some_and(|server| !server.in_recovery) || running_postmaster(data).is_none() {
        return Ok(());
    }
    let requested = own.and_then(|server| server.promotion_requested);
    if requested == Some(true) || data.join("promote").exists() {
        return Err(Error::new(Exit::SecondPrimary, format!("operation \"{id}\" cannot be abandoned yet"))
            .detail(format!(
                "The promotion of \"{}\" is requested and may take place at any time; a request cannot be withdrawn while its server runs. \
                 Nothing was changed.",
                config.node_name
            ))
            .hint(
                "Run \"pgbaton operation resume\" to wait for it; or, to withdraw the request, stop the server with \"pgbaton node stop\", then \
                 abandon the operation.",
            ));
    }
    Ok(())
}

/// Opens the way to the host of the old primary, ends what an earlier run has left at work there, and sees to it that a server that is down
/// comes back as a standby only.
async fn abandoned_ends(context: &Context, plan: &Plan, past: &EarlierRuns, id: &str) -> Result<FarEnds> {
    let far_end = plan.far_ends.first().filter(|_| past.is_resumed());
    let Some(far_end) = far_end else { return Ok(FarEnds::default()) };
    let name = &far_end.node_name;
    let error = match secured(context, far_end, OPEN).await {
        Ok((channel, _)) => return FarEnds::open(context, plan, past, Some(channel)).await,
        Err(error) => error,
    };
    if !context.options.force {
        return Err(Error::new(error.exit, format!("operation \"{id}\" was not abandoned: {}", error.message))
            .detail(format!(
                "A process of the operation may still be at work on the host of \"{name}\", and could start its server as a primary. Nothing \
                 was changed."
            ))
            .hint(format!(
                "If that host is gone or switched off, run \"pgbaton operation abandon {id} --force\"; else make it reachable first."
            )));
    }
    context.ui.message(
        Level::Warning,
        &format!("overridden by --force: {}", error.message),
        Some(&format!("What the operation has left on the host of \"{name}\" stays there.")),
        Some(&format!("\"pgbaton operation show {id}\" lists its steps.")),
    );
    Ok(FarEnds::default())
}

/// Opens the ways to the hosts on which the operation has written `standby.signal`, which is removed again.
async fn kept_down(
    context: &Context,
    plan: &Plan,
    past: &EarlierRuns,
    id: &str,
) -> Result<BTreeMap<i32, Rc<Remote>>> {
    let mut hosts = BTreeMap::new();
    for way in ways_back(context, plan, past).await {
        let name = &way.node_name;
        let error = match way.channel {
            Ok(channel) => {
                hosts.insert(way.node_id, channel);
                continue;
            }
            Err(error) => error,
        };
        if !context.options.force {
            return Err(Error::new(
                error.exit,
                format!("operation \"{id}\" was not abandoned: {}", error.message),
            )
            .detail(format!(
                "standby.signal, which the operation may have written into the data directory of \"{name}\", could not be removed. Nothing \
                 was changed."
            ))
            .hint(format!(
                "Make that host reachable; or, to leave the file there, run \"pgbaton operation abandon {id} --force\"."
            )));
        }
        context.ui.message(
            Level::Warning,
            &format!("overridden by --force: {}", error.message),
            Some(&format!(
                "If standby.signal was written into the data directory of \"{name}\", it stays there: its server starts as a standby."
            )),
            Some("Run \"pgbaton cluster show\" before it is removed."),
        );
    }
    Ok(hosts)
}

/// The state that things are in, and what to type.
struct State {
    detail: String,
    hint: Option<String>,
}

fn state_of(held: Option<&LockedCluster>) -> State {
    let Some(held) = held else { return State { detail: String::new(), hint: None } };
    let facts: &ClusterFacts = &held.facts;
    let primaries: Vec<&str> = facts.primaries().map(|(node, _)| node.row.node_name.as_str()).collect();
    match primaries.as_slice() {
        [one] => State { detail: format!("Node \"{one}\" is the primary."), hint: None },
        [] => State {
            detail: "No node that answers is a primary.".into(),
            hint: Some("Run \"pgbaton standby promote\" on the node that is to be the primary; \"pgbaton cluster show\" shows them.".into()),
        },
        _ => State { detail: format!("{} nodes accept writes: {}.", primaries.len(), primaries.join(", ")), hint: Some("Run \"pgbaton cluster show\".".into()) },
    }
}
