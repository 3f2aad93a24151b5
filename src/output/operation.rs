//! `operation list` and `operation show`.

use jiff::Timestamp;
use serde::Serialize;

use crate::output::table::draw;
use crate::units::utc;

/// An operation of this node, as its journal says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationView {
    /// Its id.
    pub operation_id: String,
    /// The command.
    pub command: String,
    /// `finished`, `running`, `unfinished`, `damaged`.
    pub state: &'static str,
    /// The process that is at work on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
    /// That process is stopped, as by Ctrl-Z.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// What it was to do.
    pub title: Option<String>,
    /// The code that it ended with.
    pub exit_code: Option<u8>,
    /// The point of no return was passed.
    pub past_no_return: bool,
    /// The rollback was started.
    pub going_back: bool,
    /// Every step and how it stands; only in `operation show`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// What is wrong with the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A step of an operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepView {
    /// Its name in the journal.
    pub id: String,
    /// What it does.
    pub title: String,
    /// `forward`, `back`, `always`.
    pub stage: &'static str,
    /// `not started`, `started`, `done`, `failed`, …
    pub status: String,
}

/// Draws the list.
pub fn table(list: &[OperationView]) -> String {
    let rows = list
        .iter()
        .map(|operation| {
            vec![
                operation.operation_id.clone(),
                operation.command.clone(),
                operation.started_at.map_or_else(String::new, utc),
                operation.state.to_string(),
                operation.exit_code.map_or_else(String::new, |code| code.to_string()),
            ]
        })
        .collect();
    draw(&["ID", "Command", "Started", "State", "Exit code"], rows)
}

/// Writes one operation with its steps.
pub fn text(operation: &OperationView) -> String {
    let mut out = format!("Operation {}: {}\n", operation.operation_id, operation.command);
    if let Some(title) = &operation.title {
        out.push_str(&format!("\tPlan: {title}\n"));
    }
    if let Some(at) = operation.started_at {
        out.push_str(&format!("\tStarted: {}\n", utc(at)));
    }
    out.push_str(&format!("\tState: {}", operation.state));
    if let Some(process) = operation.process {
        out.push_str(&format!(" (process {process})"));
    }
    if operation.stopped {
        out.push_str(", stopped: type \"fg\" in its shell to continue");
    }
    if let Some(code) = operation.exit_code {
        out.push_str(&format!(", exit code {code}"));
    }
    if operation.past_no_return {
        out.push_str(", past the point of no return");
    }
    if operation.going_back {
        out.push_str(", rolling back");
    }
    out.push('\n');
    if let Some(problem) = &operation.problem {
        out.push_str(&format!("\tProblem: {problem}\n"));
    }
    if !operation.steps.is_empty() {
        let rows = operation
            .steps
            .iter()
            .map(|step| vec![step.stage.to_string(), step.title.clone(), step.status.clone()])
            .collect();
        out.push_str(&draw(&["Stage", "Step", "Status"], rows));
    }
    out
}
