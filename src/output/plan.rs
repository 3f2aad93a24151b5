//! Plans as text and as JSON.

use serde_json::{Value, json};

use crate::plan::{Check, Order, Plan, Verdict};

/// Writes a plan as `--dry-run` shows it.
pub fn text(plan: &Plan) -> String {
    let passed = plan.checks.iter().filter(|check| check.verdict == Verdict::Pass).count();
    let warnings = plan.checks.iter().filter(|check| check.verdict == Verdict::Warning).count();
    let overridden = plan.checks.iter().filter(|check| check.waived).count();
    let count = plan.steps().count();
    let mut out = format!("Plan: {} ({}, {}", plan.title, counted(count, "step"), counted(passed, "check"));
    out.push_str(" passed");
    for (number, what) in [(warnings, "warning"), (overridden, "overridden")] {
        if number > 0 {
            let what = if what == "warning" { counted(number, what) } else { format!("{number} {what}") };
            out.push_str(&format!(", {what}"));
        }
    }
    out.push_str(")\n");
    if count == 0 {
        out.push_str("Nothing to do.\n");
    }
    let mut number = 0;
    for phase in &plan.phases {
        if phase.steps.is_empty() {
            continue;
        }
        let together =
            if phase.order == Order::AllAtOnce && phase.steps.len() > 1 { " (in parallel)" } else { "" };
        out.push_str(&format!("{}{together}\n", phase.title));
        for step in &phase.steps {
            number += 1;
            if step.no_return {
                out.push_str("     -- point of no return --\n");
            }
            out.push_str(&format!("{number:>3}  {}\n", step.title));
            out.push_str(&format!("     {}\n", shortened(&step.op.to_string())));
        }
    }
    let turns = plan.steps().any(|step| step.no_return);
    let fails = if turns { "If a step before the point of no return fails" } else { "If a step fails" };
    for (heading, steps) in [
        (fails, plan.back.iter().map(|back| &back.step).collect::<Vec<_>>()),
        ("In every case", plan.always.iter().collect()),
    ] {
        if !steps.is_empty() {
            out.push_str(&format!("{heading}\n"));
            for step in steps {
                out.push_str(&format!("     {}\n", step.title));
            }
        }
    }
    if !plan.verify.is_empty() {
        out.push_str("Final checks\n");
        for verify in &plan.verify {
            out.push_str(&format!("     {} (within {} s)\n", verify.title, verify.timeout_s));
        }
    }
    out
}

/// Returns a plan as `--dry-run --format json` shows it: what would be done, without the machinery of resuming.
pub fn json(plan: &Plan) -> Value {
    let steps: Vec<Value> = plan
        .phases
        .iter()
        .flat_map(|phase| {
            phase.steps.iter().map(move |step| {
                json!({
                    "id": step.id,
                    "phase": phase.title,
                    "title": step.title,
                    "does": step.op.to_string(),
                    "timeout_s": step.timeout_s,
                    "no_return": step.no_return,
                })
            })
        })
        .collect();
    let back: Vec<&str> = plan.back.iter().map(|back| back.step.title.as_str()).collect();
    let always: Vec<&str> = plan.always.iter().map(|step| step.title.as_str()).collect();
    let verify: Vec<&str> = plan.verify.iter().map(|verify| verify.title.as_str()).collect();
    json!({
        "title": plan.title,
        "checks": checks(&plan.checks),
        "steps": steps,
        "back": back,
        "always": always,
        "verify": verify,
    })
}

/// Returns checks as JSON.
pub fn checks(checks: &[Check]) -> Value {
    checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "node_id": check.node_id,
                "verdict": check.verdict,
                "message": check.message,
                "detail": check.detail,
                "hint": check.hint,
                "waivable_by": check.waiver.map(crate::plan::Waiver::option),
                "waived": check.waived,
            })
        })
        .collect()
}

/// Cuts what is too long to read; JSON has all of it.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 600;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}… (--format json shows all of it)", text.get(..at).unwrap_or_default()),
        None => text.to_string(),
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
