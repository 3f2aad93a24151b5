//! What the checks of a plan found, before anything is done: warnings, overridden checks, and the error of those that stop it.

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Exit, Issue, Result, Severity, Text};
use crate::plan::{Check, CheckResult, Override, Plan};
use crate::ui::Level;

/// Reports warnings and overridden checks, and fails if any check stops the operation.
///
/// # Errors
/// That of the check that matters most.
pub fn examine(context: &Context, plan: &Plan) -> Result<()> {
    for check in &plan.checks {
        match check.verdict {
            CheckResult::Pass => context.debug(&format!("check passed: {}", check.message)),
            CheckResult::Warning => context.ui.text(Level::Warning, &check.text),
            CheckResult::Fail if check.overridden => context.ui.message(
                Level::Warning,
                &format!(
                    "overridden by {}: {}",
                    check.override_by.map_or("", Override::option),
                    check.message
                ),
                check.detail.as_deref(),
                None,
            ),
            CheckResult::Fail => {}
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
        let mut text = explained(first);
        text.message = format!("cannot {}: {}", plan.title, first.message);
        Error::new(exit, text)
    } else {
        let issues = failed
            .iter()
            .map(|check| Issue::new(Severity::Error, "check_failed", explained(check)).node(check.node_id))
            .collect();
        Error::new(exit, format!("cannot {}: {} checks failed", plan.title, failed.len())).issues(issues)
    };
    error.issues.extend(warnings(plan));
    error = error.detail("Nothing was changed.");
    error.data = json!({ "checks": crate::output::plan::checks(&plan.checks) });
    Err(error)
}

/// Returns a check's text, whose hint names the option that would override it.
fn explained(check: &Check) -> Text {
    let with = |option: Override| format!("with {}", option.option());
    let named = |option: &Override| check.hint.as_ref().is_some_and(|hint| hint.contains(&with(*option)));
    let option = check.override_by.filter(|option| !named(option));
    let mut text = check.text.clone();
    if let Some(option) = option {
        text.add_hint(format!("To do it nevertheless, repeat the command {}.", with(option)));
    }
    text
}

/// Returns the warnings and overridden checks of a plan, for the answer.
pub fn warnings(plan: &Plan) -> Vec<Issue> {
    plan.checks
        .iter()
        .filter(|check| check.verdict == CheckResult::Warning || check.overridden)
        .map(|check| {
            let code = if check.overridden { "check_waived" } else { "check_warning" };
            Issue::warning(code, check.text.clone()).node(check.node_id)
        })
        .collect()
}
