//! The interface between a run and the world, the outcome of an operation, and what a command has of it.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Exit, Result as CommandResult, Text};
use crate::journal::{Flush, Record, Stage};
use crate::operation::announce::End;
use crate::operation::last_state::LastState;
use crate::operation::run::Signal;
use crate::output::{Data, Report};
use crate::plan::probe::Probe;
use crate::plan::{Phase, Step, Verify, could_not};
use crate::verb::Verb;

/// The outside world: the live one, or the scripted one of the tests.
///
/// All methods may be called while another one is pending.
pub trait World {
    /// Performs a step's effect; [`Op::Wait`](crate::plan::Op::Wait) never gets here. Returns a note for the narration, if there is one.
    ///
    /// Dropping the future must end the effect: its process is killed, its connection is closed.
    fn perform(&self, step: &Step) -> impl Future<Output = Result<Option<String>, Error>>;

    /// Answers a question. An error means that it is unknown.
    fn holds(&self, probe: &Probe) -> impl Future<Output = anyhow::Result<bool>>;

    /// Appends to the journal, and waits for the disk if requested. Is never dropped half-way.
    fn record(&self, record: &Record, flush: Flush) -> impl Future<Output = anyhow::Result<()>>;

    /// Returns when a signal has arrived that was not returned before. Dropping the future loses no signal.
    fn interrupted(&self) -> impl Future<Output = Signal>;

    /// Reports progress to the user. Must not fail and must not block: the reader may be gone.
    fn narrate(&self, narration: Narration<'_>);
}

/// What is going on, for people.
#[derive(Debug)]
pub enum Narration<'a> {
    /// A phase begins.
    PhaseBegins(&'a Phase),
    /// A step begins; `number` of `of` in its stage.
    StepBegins {
        /// Its number, from 1.
        number: usize,
        /// The number of steps in the stage.
        of: usize,
        /// The list that it belongs to.
        stage: Stage,
        /// The step.
        step: &'a Step,
    },
    /// A step is done.
    StepEnded {
        /// The step.
        step: &'a Step,
        /// What there is to say about it.
        note: Option<String>,
        /// How long it took.
        wall: Duration,
    },
    /// A step was done by an earlier run.
    StepSkipped(&'a Step),
    /// A step failed.
    StepFailed {
        /// The step.
        step: &'a Step,
        /// Why.
        error: &'a Error,
    },
    /// A signal cut a step short.
    StepInterrupted(&'a Step),
    /// The point of no return was reached.
    PastNoReturn,
    /// The rollback begins.
    GoingBack,
    /// What an operation of another run has left is undone; nothing is started.
    Undoing,
    /// An expectation is waited for.
    Expecting(&'a Verify),
    /// An expectation came true.
    Met(&'a Verify),
    /// An expectation did not come true in time.
    NotMet {
        /// The expectation.
        verify: &'a Verify,
        /// Why.
        error: &'a Error,
    },
    /// A signal arrived and is obeyed: before the point of no return by a rollback, after it by not running the remaining steps.
    Interrupted {
        /// The signal.
        signal: Signal,
        /// Whether the point of no return was reached.
        past_no_return: bool,
    },
    /// A first signal arrived after the point of no return: the operation is finished unless another one comes.
    Finishing(Signal),
    /// A signal arrived that changes nothing: what goes on now must be finished.
    StillGoing(Signal),
    /// A warning for the user.
    Warning(String),
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Every step is done, and everything expected holds.
    Done,
    /// The plan had no steps.
    NothingToDo,
    /// Everything was tried; something that does not stop the operation failed, or an expectation was not met.
    Incomplete,
    /// Something failed, or a signal arrived, before the point of no return; the whole rollback, which may be empty, was run.
    WentBack,
    /// The rollback failed in part, and yet what matters is as it was: see [`crate::plan::Plan::regained`]. Resuming tries the rest again.
    Regained,
    /// The rollback failed in part. Resuming tries the failed part again.
    BackFailed,
    /// The remaining steps were not run: by a failure or a signal after the point of no return, or because only the operator can
    /// determine what an interrupted step left. Resuming continues.
    Unfinished,
}

/// What became of an operation.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub exit: Exit,
    /// In words.
    pub ended: Ended,
    /// The signal that was obeyed.
    pub signal: Option<Signal>,
    /// Whether the point of no return was reached, by this run or an earlier one.
    pub past_no_return: bool,
    /// Whether anything was changed and not undone.
    pub changed: bool,
    /// Whether there is something to resume.
    pub resumable: bool,
    /// What failed, in order.
    pub failures: Vec<StepFailure>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// All steps of the phases, then those of the other lists that were run.
    pub steps: Vec<StepReport>,
    /// Seconds from the first step of the outage to the step of the rollback that has seen that the old primary accepts writes; None where
    /// this run has not done both.
    pub outage_s: Option<f64>,
    /// What the nodes were after a change of roles that failed; None where nothing was begun, or all went well.
    pub last_state: Option<LastState>,
    /// The last record of the journal, where it is written only after the events are sent: see [`crate::operation::run::run_before_events`].
    pub end: Option<Record>,
}

impl Outcome {
    /// Says whether the operation was at work on something, so that its end is an event: it is done, or something was changed and not
    /// undone, or it failed with the code of a failure that is always reported.
    pub fn acted(&self, verb: Option<Verb>) -> bool {
        let is_done = matches!(self.ended, Ended::Done | Ended::NothingToDo);
        is_done || self.changed || verb.is_some_and(|verb| verb.reports(self.exit))
    }
}

/// What a command has of a plan that was to be carried out.
#[derive(Debug)]
pub struct Done {
    /// What became of the steps; None where none was run: in a dry run, after a failed check, where nothing was to be done.
    pub outcome: Option<Outcome>,
    /// Whether its end is an event: see [`Outcome::acted`]. False for a dry run, and where nothing was to be done.
    pub acted: bool,
    /// The report, to be completed by the command, or why it failed.
    pub report: CommandResult<Report>,
}

impl Done {
    /// Nothing was to be done, or all was a dry run.
    pub fn nothing(report: Report) -> Self {
        Self { outcome: None, acted: false, report: Ok(report) }
    }

    /// A check, a lock or another host has refused it; `reported` says whether that is an event all the same.
    pub fn not_begun(error: Error, reported: bool) -> Self {
        Self { outcome: None, acted: error.changed || reported, report: Err(error) }
    }

    /// Completes the error, if there is one.
    pub fn map_error(&mut self, complete: impl FnOnce(Error) -> Error) {
        let report = std::mem::replace(&mut self.report, Ok(Report::new(Data::Nothing)));
        self.report = report.map_err(complete);
    }

    /// Returns how it has ended, for its events.
    pub fn end(&self) -> End {
        let error = self.report.as_ref().err().map(ToString::to_string);
        End::of(error, self.outcome.as_ref().map(|outcome| outcome.ended))
    }

    /// Returns how many seconds a step took that this run has done; None if it has not.
    pub fn step_s(&self, id: &str) -> Option<f64> {
        let steps = &self.outcome.as_ref()?.steps;
        steps.iter().find(|step| step.id == id && step.status == StepStatus::Done)?.wall_s
    }

    /// Says whether this run has begun a step.
    pub fn begun(&self, id: &str) -> bool {
        let mut steps = self.outcome.iter().flat_map(|outcome| &outcome.steps);
        steps.any(|step| step.id == id && step.status != StepStatus::NotDone)
    }

    /// Adds fields to the data of the answer, which is an object.
    pub fn add_data(&mut self, fields: Value) {
        let data = match &mut self.report {
            Ok(Report { data: Data::Done(data), .. }) => data,
            Ok(_) => return,
            Err(error) => &mut error.data,
        };
        if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
            data.extend(fields);
        }
    }
}

/// A step that failed.
#[derive(Debug)]
pub struct StepFailure {
    /// Its id; for [`Stage::Verify`] the title of the expectation.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The list that it belongs to.
    pub stage: Stage,
    /// Why.
    pub error: Error,
}

/// Says that a step failed, and why. A step that ran out of time says no more than that itself.
pub(crate) fn step_failed(title: &str, error: &Error) -> Text {
    let mut text = Text::from(could_not(title));
    if error.message == text.message {
        return error.text.clone();
    }
    text.add_cause(error);
    text
}

/// A line of the summary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// The step's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The list that it belongs to.
    pub stage: Stage,
    /// What became of it.
    pub status: StepStatus,
    /// How long it took, where it was begun.
    pub wall_s: Option<f64>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Done by this run.
    Done,
    /// Done by an earlier run.
    AlreadyDone,
    /// It failed.
    Failed,
    /// A signal cut it short.
    Interrupted,
    /// Not begun by this run.
    NotDone,
}

impl StepStatus {
    /// Done, by whichever run.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::AlreadyDone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ended: Ended, exit: Exit, changed: bool) -> Outcome {
        Outcome {
            exit,
            ended,
            signal: None,
            past_no_return: false,
            changed,
            resumable: false,
            failures: Vec::new(),
            warnings: Vec::new(),
            steps: Vec::new(),
            outage_s: None,
            last_state: None,
            end: None,
        }
    }

    #[test]
    fn an_end_is_an_event_by_one_rule() {
        let acted = |ended, exit, changed, verb| outcome(ended, exit, changed).acted(Some(verb));
        // A plan that only waits for what it expects has acted, too.
        assert!(acted(Ended::NothingToDo, Exit::Done, false, Verb::NodeRejoin));
        assert!(acted(Ended::WentBack, Exit::Switchover, false, Verb::StandbySwitchover));
        assert!(!acted(Ended::WentBack, Exit::Switchover, false, Verb::StandbyPromote));
        assert!(acted(Ended::Incomplete, Exit::Incomplete, true, Verb::StandbyPromote));
        // A check that refuses with the code of the command is a failure of the command.
        assert!(Verb::StandbyFollow.reports(Exit::Follow) && !Verb::StandbyFollow.reports(Exit::Failed));
    }
}
