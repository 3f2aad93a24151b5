//! Carrying out a plan: checks, dry run, lock, journal, run, outcome. Every mutating command ends here.

use serde_json::json;

use crate::context::Context;
use crate::context::state_directory::{lock, would_lock};
use crate::error::{Error, Exit, Issue, Result, Severity};
use crate::far_end::remote::Remote;
use crate::journal::{self, Header, Journal, Past, Stage};
use crate::observe::open_operations;
use crate::observe::under_locks::Held;
use crate::observe::unfinished::make_way;
use crate::operation::live::{FarEnds, Live};
use crate::operation::outcome::{Ended, Outcome, StepFailure, StepStatus, explanation};
use crate::operation::run;
use crate::output::{Data, Report};
use crate::pg::statement::Statement;
use crate::plan::{Check, Op, Plan, Verdict, Waiver, could_not};
use crate::registry;
use crate::secret::Secrets;
use crate::ui::Level;

/// Journals of finished operations that are kept on a node.
const KEPT_JOURNALS: usize = 200;

/// Seconds for telling the cluster of an operation.
const ANNOUNCE_S: u32 = 5;

/// What became of a plan.
#[derive(Debug)]
pub struct Done {
    /// The report, to be completed by the command.
    pub report: Report,
    /// False for a dry run, and where nothing was to be done.
    pub acted: bool,
}

/// Shows what the checks found, then shows or runs the plan, as the operation of the command that was given.
///
/// # Errors
/// Those of failed checks, of the lock, and of the steps; with the state that things were left in.
pub async fn carry_out(context: &Context, plan: &Plan, secrets: Secrets) -> Result<Done> {
    carry_out_as(context, &context.command, plan, secrets).await
}

/// The same under another name, for a part of a command that is an operation of its own: a clone may start and register its server.
///
/// # Errors
/// As [`carry_out`].
pub async fn carry_out_as(context: &Context, operation: &str, plan: &Plan, secrets: Secrets) -> Result<Done> {
    act(context, operation, plan, secrets, None, None).await
}

/// The same for a command that has taken the locks itself, before it looked at what it decides from.
///
/// # Errors
/// As [`carry_out`].
pub async fn carry_out_holding(
    context: &Context,
    plan: &Plan,
    secrets: Secrets,
    held: &Held,
) -> Result<Done> {
    act(context, &context.command, plan, secrets, Some(held), None).await
}

/// The same over a channel that was opened for the checks already.
///
/// # Errors
/// As [`carry_out`].
pub async fn carry_out_over(
    context: &Context,
    plan: &Plan,
    secrets: Secrets,
    held: &Held,
    channel: Option<Remote>,
) -> Result<Done> {
    act(context, &context.command, plan, secrets, Some(held), channel).await
}

async fn act(
    context: &Context,
    operation: &str,
    plan: &Plan,
    secrets: Secrets,
    held: Option<&Held>,
    channel: Option<Remote>,
) -> Result<Done> {
    examine(context, plan)?;
    let nothing_to_do = plan.is_empty() && plan.verify.is_empty();
    if context.global.dry_run {
        if !nothing_to_do {
            let state = context.state()?;
            match &state.aside {
                Some(aside) => context.ui.say(
                    Level::Notice,
                    &format!(
                        "state directory \"{}\" is another cluster's and would be moved to \"{}\"",
                        state.path.display(),
                        aside.display()
                    ),
                ),
                None => {
                    if held.is_none() {
                        would_lock(context, &state.path).await?;
                    }
                    make_way(context, &state.path)?;
                }
            }
        }
        context.ui.say(Level::Notice, "this is a dry run: nothing was changed");
        let report = Report { issues: warnings(plan), ..Report::new(Data::Plan(Box::new(plan.clone()))) };
        return Ok(Done { report, acted: false });
    }
    if nothing_to_do {
        if let Some(held) = held {
            open_operations::close_settled(context, held, &plan.settled).await;
        }
        let report =
            Report { issues: warnings(plan), ..Report::new(Data::Done(json!({ "operation_id": null }))) };
        return Ok(Done { report, acted: false });
    }
    let directory = context.state_directory()?;
    let _lock = match held {
        Some(_) => None,
        None => Some(lock(context).await?),
    };
    make_way(context, &directory)?;
    let far_ends = FarEnds::open(context, plan, &Past::default(), channel).await?;
    let config = context.config()?;
    let started_at = journal::now();
    let header = Header {
        format: journal::FORMAT,
        pgbaton: env!("CARGO_PKG_VERSION").into(),
        operation_id: journal::new_operation_id(started_at),
        command: operation.to_string(),
        command_line: context.command_line.clone(),
        started_at,
        node_id: config.node_id,
        node_name: config.node_name.clone(),
        system_identifier: context.system_identifier(),
        pid: std::process::id(),
        plan: plan.clone(),
    };
    // A signal that arrives from here on is obeyed by the run, which closes its journal.
    let world = Live::new(context, secrets)?;
    let journal = Journal::create(&directory, &header).map_err(|error| {
        Error::from_cause(Exit::Failed, "could not begin the journal", &error).detail("Nothing was changed.")
    })?;
    let mut world = world.writing(journal).with(far_ends).of(&header);
    if let Some(held) = held {
        world = world.holding(held);
    }
    world.warm_up(plan).await;
    let announces = plan.steps().any(|step| matches!(step.op, Op::Announce { .. }));
    if !announces {
        let begun =
            |scope| registry::operation::begun(&header.operation_id, &header.command, header.node_id, scope);
        let scope = plan.origin.as_ref().map(|origin| &origin.scope);
        announce(context, &world, plan, &[begun(scope)]).await;
    }
    let outcome = run::run(plan, &Past::default(), &world).await;
    world.release().await;
    if !outcome.resumable {
        record_end(context, &world, plan, &header.operation_id, &outcome).await;
    }
    if let Err(error) = journal::prune(&directory, KEPT_JOURNALS) {
        context.debug(&format!("could not remove old journals: {error:#}"));
    }
    let report = conclude(plan, &header.operation_id, outcome).map_err(|mut error| {
        error.issues.extend(warnings(plan));
        error
    })?;
    Ok(Done { report: Report { issues: warnings(plan), ..report }, acted: true })
}

/// Records an operation in the cluster, if there is a primary to record it on.
///
/// Never stops the operation: the node's own journal is what counts. Reading roles, and tables of an older version, are no reason to
/// refuse work either.
pub async fn announce(context: &Context, world: &Live<'_>, plan: &Plan, statements: &[Statement]) {
    let Some(on) = &plan.announce_on else { return };
    if let Err(error) = world.sql(on, statements, ANNOUNCE_S).await {
        context.debug(&format!("could not record the operation in the cluster: {error}"));
    }
}

/// Records in the cluster that an operation has ended: on the primary that there is now.
///
/// A promotion settles what was open on the timeline before it.
pub async fn record_end(context: &Context, world: &Live<'_>, plan: &Plan, id: &str, outcome: &Outcome) {
    let mut statements = vec![registry::operation::ended(id, outcome.exit)];
    statements.extend(plan.settled.iter().map(|id| registry::operation::close(id)));
    let promoted = plan.steps().find_map(|step| match &step.op {
        Op::Promote { on, .. } => Some((on, &step.id)),
        _ => None,
    });
    let is_done = |id: &String| outcome.steps.iter().any(|step| step.id == *id && step.status.is_done());
    match promoted {
        Some((on, step)) if is_done(step) => {
            statements.push(registry::operation::close_before_promotion());
            if let Err(error) = world.sql(on, &statements, ANNOUNCE_S).await {
                context.debug(&format!("could not record the end of the operation: {error}"));
            }
        }
        _ => announce(context, world, plan, &statements).await,
    }
}

/// Reports warnings and overridden checks, and fails if any check stops the operation.
///
/// # Errors
/// That of the check that matters most.
pub fn examine(context: &Context, plan: &Plan) -> Result<()> {
    for check in &plan.checks {
        match check.verdict {
            Verdict::Pass => context.debug(&format!("check passed: {}", check.message)),
            Verdict::Warning => {
                context.ui.message(
                    Level::Warning,
                    &check.message,
                    check.detail.as_deref(),
                    check.hint.as_deref(),
                );
            }
            Verdict::Fail if check.waived => context.ui.message(
                Level::Warning,
                &format!(
                    "overridden by {}: {}",
                    check.waiver.map_or("", crate::plan::Waiver::option),
                    check.message
                ),
                check.detail.as_deref(),
                None,
            ),
            Verdict::Fail => {}
        }
    }
    let failed: Vec<&Check> = plan.checks.iter().filter(|check| check.stops()).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    // What matters most decides the code: a second primary, then lost data, then who is busy, then connections.
    let rank = |exit: Exit| match exit {
        Exit::SecondPrimary => 0,
        Exit::DataLoss => 1,
        Exit::Busy => 2,
        Exit::Connection => 3,
        Exit::Remote => 4,
        _ => 5,
    };
    let exit = failed.iter().map(|check| check.exit).min_by_key(|exit| rank(*exit)).unwrap_or(Exit::Failed);
    let mut error = if failed.len() == 1 {
        let mut error = Error::new(exit, format!("cannot {}: {}", plan.title, first.message));
        error.detail.clone_from(&first.detail);
        error.hint = told_hint(first);
        error
    } else {
        let issues = failed
            .iter()
            .map(|check| Issue {
                severity: Severity::Error,
                code: "check_failed",
                node_id: check.node_id,
                message: check.message.clone(),
                detail: check.detail.clone(),
                hint: told_hint(check),
            })
            .collect();
        Error::new(exit, format!("cannot {}: {} checks failed", plan.title, failed.len())).issues(issues)
    };
    error.issues.extend(warnings(plan));
    error = error.detail("Nothing was changed.");
    error.data = json!({ "checks": crate::output::plan::checks(&plan.checks) });
    Err(error)
}

/// Returns a check's hint, with the option that would override it, unless it names that itself.
fn told_hint(check: &Check) -> Option<String> {
    let with = |waiver: Waiver| format!("with {}", waiver.option());
    let named = |waiver: &Waiver| check.hint.as_ref().is_some_and(|hint| hint.contains(&with(*waiver)));
    let waiver = check.waiver.filter(|waiver| !named(waiver));
    let waiver = waiver.map(|waiver| format!("To do it nevertheless, repeat the command {}.", with(waiver)));
    match (&check.hint, waiver) {
        (Some(hint), Some(waiver)) => Some(format!("{hint} {waiver}")),
        (hint, waiver) => hint.clone().or(waiver),
    }
}

fn warnings(plan: &Plan) -> Vec<Issue> {
    plan.checks
        .iter()
        .filter(|check| check.verdict == Verdict::Warning || check.waived)
        .map(|check| Issue {
            severity: Severity::Warning,
            code: if check.waived { "check_waived" } else { "check_warning" },
            node_id: check.node_id,
            message: check.message.clone(),
            detail: check.detail.clone(),
            hint: check.hint.clone(),
        })
        .collect()
}

/// Adds fields to the data of an answer, which is an object.
pub fn add_data(result: &mut Result<Done>, fields: serde_json::Value) {
    let data = match result {
        Ok(done) => match &mut done.report.data {
            Data::Done(data) => data,
            _ => return,
        },
        Err(error) => &mut error.data,
    };
    if let (Some(data), serde_json::Value::Object(fields)) = (data.as_object_mut(), fields) {
        for (name, value) in fields {
            data.insert(name, value);
        }
    }
}

/// Returns how long a step took that the command has done; None if it has not.
pub fn step_s(result: &Result<Done>, id: &str) -> Option<f64> {
    let data = match result {
        Ok(done) => match &done.report.data {
            Data::Done(data) => data,
            _ => return None,
        },
        Err(error) => &error.data,
    };
    let steps = data.get("steps")?.as_array()?;
    steps.iter().find(|step| step["id"] == id && step["status"] == "done")?["wall_s"].as_f64()
}

/// Says what a rollback has left that is not urgent, and what removes it.
fn left_over(plan: &Plan, failure: &StepFailure, resumable: Option<&str>) -> Issue {
    let back = plan.back.iter().find(|back| back.step.id == failure.id);
    let by_hand = back.map(|back| format!("By hand: {}", back.step.op));
    let hint = match resumable {
        Some(id) => Some(format!(
            "When the cause is fixed, \"pgbaton operation abandon {id}\" does it; a new \"pgbaton standby switchover\" does it first."
        )),
        None => by_hand,
    };
    Issue {
        severity: Severity::Warning,
        code: "step_failed",
        node_id: None,
        message: could_not(&failure.title),
        detail: explanation(&failure.title, &failure.error),
        hint,
    }
}

/// Turns what became of a plan into a report or an error.
///
/// # Errors
/// The first failure, with the state that things were left in.
pub fn conclude(plan: &Plan, operation_id: &str, outcome: Outcome) -> Result<Report> {
    let data = json!({ "operation_id": operation_id, "steps": outcome.steps });
    if matches!(outcome.ended, Ended::Done | Ended::NothingToDo) {
        return Ok(Report { changed: outcome.changed, exit: outcome.exit, ..Report::new(Data::Done(data)) });
    }
    let state = match outcome.ended {
        Ended::WentBack if plan.back.is_empty() && outcome.changed => {
            if outcome.steps.iter().any(|step| step.status == StepStatus::Done) {
                "The steps before it are not undone."
            } else {
                ""
            }
        }
        Ended::WentBack if plan.back.is_empty() => "Nothing was changed.",
        Ended::WentBack if outcome.changed => "All other changes have been undone.",
        Ended::WentBack => "All changes have been undone.",
        Ended::BackFailed if outcome.exit == Exit::NoPrimary => {
            "The rollback failed in part; there may be no writable primary. Run \"pgbaton cluster show\"."
        }
        Ended::Regained => "",
        Ended::BackFailed => "The rollback failed in part.",
        Ended::Incomplete => "Everything else was done.",
        Ended::Unfinished if outcome.exit == Exit::Promotion => {
            "The promotion may still take place at any time: do not promote another node. Not all steps of the operation were run."
        }
        Ended::Unfinished => "The operation is unfinished: not all of its steps were run.",
        Ended::Done | Ended::NothingToDo => "",
    };
    // What the rollback leaves on purpose.
    let mut stays: Vec<&str> = Vec::new();
    if outcome.ended == Ended::WentBack && !plan.back.is_empty() {
        let in_vain =
            |id: &str| outcome.failures.iter().any(|failure| failure.id == id && failure.error.no_effect);
        let begun = |id: &str| {
            outcome.steps.iter().any(|step| step.id == id && step.status != StepStatus::NotDone)
                && !in_vain(id)
        };
        for left in plan.steps().filter(|step| begun(&step.id)).filter_map(|step| step.stays.as_deref()) {
            if !stays.contains(&left) {
                stays.push(left);
            }
        }
        stays.dedup();
    }
    let regained = plan.regained.as_ref().filter(|_| outcome.ended == Ended::Regained);
    let left: Vec<Issue> = outcome
        .failures
        .iter()
        .filter(|failure| regained.is_some() && failure.stage == Stage::Back)
        .map(|failure| left_over(plan, failure, outcome.resumable.then_some(operation_id)))
        .collect();
    let undone = |failure: &&StepFailure| failure.stage == Stage::Back;
    let titles: Vec<&str> =
        outcome.failures.iter().filter(undone).map(|failure| failure.title.as_str()).collect();
    let not_done = titles.join("; ");
    let is_listed = left.is_empty();
    let mut failures =
        outcome.failures.into_iter().filter(|failure| is_listed || failure.stage != Stage::Back);
    let mut error = match (failures.next(), outcome.signal) {
        (Some(first), _) if first.stage == Stage::Verify => {
            let mut error = Error::new(outcome.exit, first.error.primary);
            error.detail = first.error.detail;
            error.hint = first.error.hint;
            error
        }
        (Some(first), _) => {
            let mut error = Error::new(outcome.exit, could_not(&first.title));
            // A step that ran out of time says no more than that itself.
            if first.error.primary != error.primary {
                error = error.detail(crate::error::sentence(&first.error.primary));
            }
            if let Some(detail) = &first.error.detail {
                error = error.detail(detail.clone());
            }
            if let Some(hint) = &first.error.hint {
                error = error.hint(hint.clone());
            }
            error
        }
        (None, Some(_)) => Error::new(outcome.exit, format!("interrupted: {}", plan.title)),
        (None, None) => Error::new(outcome.exit, format!("could not {}", plan.title)),
    };
    if let Some(regained) = regained {
        error = error.detail(format!(
            "The rollback was run, and {}. Rollback steps not done: {not_done}.",
            regained.probe
        ));
    }
    for sentence in stays {
        error = error.detail(sentence);
    }
    if !state.is_empty() {
        error = error.detail(state);
    }
    if outcome.resumable {
        error = error.hint(match outcome.ended == Ended::Unfinished && outcome.exit == Exit::Promotion {
            true => format!(
                "To wait for the promotion and do the rest, run \"pgbaton operation resume {operation_id}\". To cancel it, \
                 run \"pgbaton node stop\", then \"pgbaton operation abandon {operation_id}\"."
            ),
            false => format!(
                "Run \"pgbaton operation resume {operation_id}\" to continue, or \"pgbaton operation abandon {operation_id}\"."
            ),
        });
    }
    error.issues = left;
    error.issues.extend(failures.map(|failure| Issue {
        severity: Severity::Error,
        code: "step_failed",
        node_id: None,
        message: could_not(&failure.title),
        detail: explanation(&failure.title, &failure.error),
        hint: failure.error.hint,
    }));
    error.changed = outcome.changed;
    error.data = data;
    Err(error)
}
