//! Operations as the commands show them.

use std::path::Path;

use crate::journal::{Loaded, Mark, OperationStatus, Record, Stage, StoredJournal};
use crate::observe::own_operations::worker;
use crate::output::operation::{OperationView, StepView};
use crate::plan::Step;
use crate::system::inspect;

/// Returns an operation as the commands show it.
pub fn view(entry: &StoredJournal, steps: bool, directory: &Path) -> OperationView {
    let status = entry.status();
    let process = match status {
        OperationStatus::Unfinished { .. } => worker(entry, directory),
        _ => None,
    };
    let header = entry.journal.as_ref().ok().map(|loaded| &loaded.header);
    let (past_no_return, going_back) = match &status {
        OperationStatus::Unfinished { past_no_return, going_back } => (*past_no_return, *going_back),
        _ => (false, false),
    };
    OperationView {
        operation_id: entry.operation_id.clone(),
        command: header.map_or_else(|| "?".to_string(), |header| header.command.clone()),
        state: match &status {
            OperationStatus::Finished { .. } => "finished",
            OperationStatus::Unfinished { .. } if process.is_some() => "running",
            OperationStatus::Unfinished { .. } => "unfinished",
            OperationStatus::Damaged => "damaged",
        },
        process,
        stopped: process.is_some_and(inspect::is_stopped),
        started_at: header.map(|header| header.started_at),
        title: header.map(|header| header.plan.title.clone()),
        exit_code: match &status {
            OperationStatus::Finished { exit } => Some(exit.code()),
            _ => None,
        },
        past_no_return,
        going_back,
        steps: match &entry.journal {
            Ok(loaded) if steps => step_views(loaded),
            _ => Vec::new(),
        },
        problem: entry.journal.as_ref().err().map(|error| crate::error::sentence(&format!("{error:#}"))),
    }
}

/// Returns the steps of an operation, each with what became of it.
pub fn step_views(loaded: &Loaded) -> Vec<StepView> {
    let plan = &loaded.header.plan;
    let stages: [(Stage, &'static str, Vec<&Step>); 3] = [
        (Stage::Forward, "forward", plan.steps().collect()),
        (Stage::Back, "back", plan.rollback.iter().map(|back| &back.step).collect()),
        (Stage::Always, "always", plan.always.iter().collect()),
    ];
    let last = |stage: Stage, id: &str| {
        loaded.records.iter().rev().find_map(|record| match record {
            Record::Mark { step, stage: of, mark, .. } if step == id && *of == stage => Some(match mark {
                Mark::Started => "started".to_string(),
                Mark::Done => "done".to_string(),
                Mark::Skipped => "already done".to_string(),
                Mark::Interrupted => "interrupted".to_string(),
                Mark::Failed { error } => format!("failed: {error}"),
            }),
            _ => None,
        })
    };
    let mut out = Vec::new();
    for (stage, name, steps) in stages {
        for step in steps {
            let status = last(stage, &step.id);
            // Steps of the rollback are not shown while there is no rollback.
            if stage == Stage::Forward || status.is_some() {
                out.push(StepView {
                    id: step.id.clone(),
                    title: step.title.clone(),
                    stage: name,
                    status: status.unwrap_or_else(|| "not started".into()),
                });
            }
        }
    }
    out
}
