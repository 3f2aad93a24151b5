//! What became of a plan, as a report or an error: what failed, and the state that things were left in.

use serde_json::json;

use crate::error::{Error, Exit, Issue, Result, Severity, Text};
use crate::journal::Stage;
use crate::operation::last_state::LastState;
use crate::operation::outcome::{Ended, Outcome, StepFailure, StepStatus, step_failed};
use crate::output::{Data, Report};
use crate::plan::Plan;

/// Turns what became of a plan into a report or an error, which takes the failures out of the outcome.
///
/// # Errors
/// The first failure, with the state that things were left in.
pub fn conclude(plan: &Plan, operation_id: &str, outcome: &mut Outcome) -> Result<Report> {
    let data = json!({ "operation_id": operation_id, "steps": outcome.steps });
    if matches!(outcome.ended, Ended::Done | Ended::NothingToDo) {
        return Ok(Report { changed: outcome.changed, exit: outcome.exit, ..Report::new(Data::Done(data)) });
    }
    let (state, stays) = (state(plan, outcome), left_in_place(plan, outcome));
    let last_state = last_state(outcome, !stays.is_empty());
    let regained = plan.regained.as_ref().filter(|_| outcome.ended == Ended::Regained);
    let failures = std::mem::take(&mut outcome.failures);
    let is_undone = |failure: &StepFailure| failure.stage == Stage::Back;
    let left: Vec<Issue> = failures
        .iter()
        .filter(|failure| regained.is_some() && is_undone(failure))
        .map(|failure| left_over(plan, failure, outcome.resumable.then_some(operation_id)))
        .collect();
    let titles: Vec<&str> =
        failures.iter().filter(|failure| is_undone(failure)).map(|failure| failure.title.as_str()).collect();
    let not_done = titles.join("; ");
    let is_listed = left.is_empty();
    let mut failures = failures.into_iter().filter(|failure| is_listed || !is_undone(failure));
    let mut error = what_failed(plan, outcome, failures.next());
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
    for sentence in last_state {
        error = error.detail(sentence);
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
    error.issues.extend(failures.map(|failure| {
        Issue::new(Severity::Error, "step_failed", step_failed(&failure.title, &failure.error))
    }));
    error.changed = outcome.changed;
    error.data = data;
    Err(error)
}

/// Says in what state an operation that failed has left things; empty where there is no more to say.
fn state(plan: &Plan, outcome: &Outcome) -> &'static str {
    let has_primary = outcome.last_state.as_ref().is_some_and(LastState::has_primary);
    match outcome.ended {
        Ended::WentBack if plan.rollback.is_empty() && outcome.changed => {
            // Its program or statement was cut short, and may have done its work.
            if outcome.steps.iter().any(|step| step.status == StepStatus::Interrupted) {
                "The interrupted step may have taken effect; no step is undone."
            } else if outcome.steps.iter().any(|step| step.status == StepStatus::Done) {
                "The steps before it are not undone."
            } else {
                ""
            }
        }
        Ended::WentBack if plan.rollback.is_empty() => "Nothing was changed.",
        Ended::WentBack if outcome.changed => "All other changes have been undone.",
        Ended::WentBack => "All changes have been undone.",
        Ended::BackFailed if outcome.exit == Exit::NoPrimary && !has_primary => {
            "The rollback failed in part; there may be no writable primary. Run \"pgbaton cluster show\"."
        }
        Ended::Regained => "",
        Ended::BackFailed => "The rollback failed in part.",
        Ended::Incomplete => "Everything else was done.",
        Ended::Unfinished if outcome.exit == Exit::Promotion && has_primary => {
            "The promotion may still take place at any time: do not promote another node. Not all steps of the operation were run."
        }
        Ended::Unfinished if outcome.exit == Exit::Promotion => {
            "The promotion may still take place at any time: do not promote another node. Until then there may be no primary. Not all steps of \
             the operation were run."
        }
        Ended::Unfinished => "The operation is unfinished: not all of its steps were run.",
        Ended::Done | Ended::NothingToDo => "",
    }
}

/// Returns what the nodes are now, and for how long clients could not write, in whole sentences; `stays`: it was said that the own server
/// starts as a standby only.
fn last_state(outcome: &Outcome, stays: bool) -> Vec<String> {
    let mut out = outcome.last_state.as_ref().map(|state| state.sentences(stays)).unwrap_or_default();
    out.extend(outcome.outage_s.map(|s| format!("Clients could not write for {s:.3} s.")));
    out
}

/// Returns what the rollback leaves on purpose, in whole sentences.
fn left_in_place<'a>(plan: &'a Plan, outcome: &Outcome) -> Vec<&'a str> {
    let mut stays: Vec<&str> = Vec::new();
    if outcome.ended != Ended::WentBack || plan.rollback.is_empty() {
        return stays;
    }
    let in_vain =
        |id: &str| outcome.failures.iter().any(|failure| failure.id == id && failure.error.no_effect);
    let begun = |id: &str| {
        outcome.steps.iter().any(|step| step.id == id && step.status != StepStatus::NotDone) && !in_vain(id)
    };
    for left in plan.steps().filter(|step| begun(&step.id)).filter_map(|step| step.left_in_place.as_deref()) {
        if !stays.contains(&left) {
            stays.push(left);
        }
    }
    stays
}

/// Returns the error of the first failure; without one that of a signal.
fn what_failed(plan: &Plan, outcome: &Outcome, first: Option<StepFailure>) -> Error {
    match (first, outcome.signal) {
        (Some(first), _) if first.stage == Stage::Verify => Error::new(outcome.exit, first.error.text),
        (Some(first), _) => Error::new(outcome.exit, step_failed(&first.title, &first.error)),
        (None, Some(_)) => Error::new(outcome.exit, format!("interrupted: {}", plan.title)),
        (None, None) => Error::new(outcome.exit, format!("could not {}", plan.title)),
    }
}

/// Says what a rollback has left that is not urgent, and what removes it.
fn left_over(plan: &Plan, failure: &StepFailure, resumable: Option<&str>) -> Issue {
    let back = plan.rollback.iter().find(|undo| undo.step.id == failure.id);
    let by_hand = back.map(|back| format!("By hand: {}", back.step.op));
    let hint = match resumable {
        Some(id) => Some(format!(
            "When the cause is fixed, \"pgbaton operation abandon {id}\" does it; a new \"pgbaton standby switchover\" does it first."
        )),
        None => by_hand,
    };
    Issue::warning("step_failed", Text { hint, ..step_failed(&failure.title, &failure.error) })
}
