//! Plans as text and as JSON.

use serde_json::{Value, json};

use crate::plan::{Check, CheckResult, Op, Order, Plan, Step};

/// How the step is marked after whose start nothing is rolled back, in a plan and when it is run.
pub const POINT_OF_NO_RETURN: &str = "point of no return";

/// Writes a plan as `--dry-run` shows it.
pub fn text(plan: &Plan) -> String {
    let passed = plan.checks.iter().filter(|check| check.verdict == CheckResult::Pass).count();
    let warnings = plan.checks.iter().filter(|check| check.verdict == CheckResult::Warning).count();
    let overridden = plan.checks.iter().filter(|check| check.overridden).count();
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
                out.push_str(&format!("     -- {POINT_OF_NO_RETURN} --\n"));
            }
            out.push_str(&format!("{number:>3}  {}\n", step.title));
            out.push_str(&format!("     {}{}\n", host_of(plan, step), shortened(&step.op.to_string())));
        }
    }
    let turns = plan.steps().any(|step| step.no_return);
    let fails = if turns { "If a step before the point of no return fails" } else { "If a step fails" };
    for (heading, steps) in [
        (fails, plan.rollback.iter().map(|rollback| &rollback.step).collect::<Vec<_>>()),
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
    let rollback: Vec<&str> = plan.rollback.iter().map(|undo| undo.step.title.as_str()).collect();
    let always: Vec<&str> = plan.always.iter().map(|step| step.title.as_str()).collect();
    let verify: Vec<&str> = plan.verify.iter().map(|verify| verify.title.as_str()).collect();
    json!({
        "title": plan.title,
        "checks": checks(&plan.checks),
        "steps": steps,
        "back": rollback,
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
                "waivable_by": check.override_by.map(crate::plan::Override::option),
                "waived": check.overridden,
            })
        })
        .collect()
}

/// Says on which host a step is run, if that is another node's: its paths are those of that host.
fn host_of(plan: &Plan, step: &Step) -> String {
    let far_end = match &step.op {
        Op::KeepDown(keep) => Some(&keep.host),
        _ => step.at.and_then(|id| plan.far_ends.iter().find(|far_end| far_end.node_id == id)),
    };
    far_end.map_or_else(String::new, |far_end| format!("host of \"{}\": ", far_end.node_name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;
    use crate::plan::far_end::Reached;
    use crate::plan::{FarEnd, FileOp, OnFailure, Phase, RollbackStep};

    #[test]
    fn a_step_on_another_host_names_it_and_the_rollback_ends_at_the_point_of_no_return() {
        let remove = |id: &str| {
            let op = Op::File(FileOp::RemoveFile { path: format!("/data/{id}").into() });
            Step::new(id, format!("remove {id}"), op, 5, Exit::Switchover)
        };
        let mut plan = Plan::nothing("switch over".to_string());
        let steps = vec![remove("a"), remove("b").at(1)];
        plan.phases.push(Phase {
            title: "remove files".into(),
            order: Order::AllAtOnce,
            on_failure: OnFailure::Stop,
            outage: false,
            steps,
        });
        plan.rollback.push(RollbackStep { if_started: Vec::new(), step: remove("c") });
        let reached = Reached::Local { program: "pgbaton".into(), config_file: String::new() };
        plan.far_ends.push(FarEnd { node_id: 1, node_name: "node1".into(), reached });
        let shown = text(&plan);
        assert!(shown.contains("remove files (in parallel)\n  1  remove a\n     rm /data/a\n"), "{shown}");
        assert!(shown.contains("     host of \"node1\": rm /data/b\n"), "{shown}");
        assert!(shown.contains("\nIf a step fails\n     remove c\n"), "{shown}");
        plan.phases[0].steps[1].no_return = true;
        assert!(text(&plan).contains("\nIf a step before the point of no return fails\n"));
    }
}
