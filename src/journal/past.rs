//! What earlier runs of an operation did, out of the records that they left.

use std::collections::BTreeMap;

use super::{Mark, Record, Stage};
use crate::error::Exit;
use crate::plan::Plan;

/// What earlier runs of an operation did, as [`run`](crate::operation::run::run) needs it. Empty on a first run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlierRuns {
    resumed: bool,
    steps: BTreeMap<(Stage, String), Trace>,
    no_return: bool,
    going_back: Option<Exit>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trace {
    started: bool,
    done: bool,
}

impl EarlierRuns {
    /// Gathers what the records say about the steps of a plan.
    pub fn of(plan: &Plan, records: &[Record]) -> Self {
        let mut past = Self { resumed: true, ..Self::default() };
        let no_return = plan.no_return().map(|step| step.id.as_str());
        for record in records {
            match record {
                Record::Mark { step, stage, mark, .. } => {
                    let trace = past.steps.entry((*stage, step.clone())).or_default();
                    let (started, done) = match mark {
                        Mark::Started => (true, false),
                        Mark::Done | Mark::Skipped => (true, true),
                        Mark::Failed { .. } | Mark::Interrupted => (false, false),
                    };
                    trace.started |= started;
                    trace.done |= done;
                    past.no_return |= started && *stage == Stage::Forward && Some(step.as_str()) == no_return;
                }
                Record::GoingBack { exit, .. } => {
                    // No run goes back once the step has been started. So if this comes after that mark, the mark
                    // reached the file although the write was reported as failed, and the step was not performed.
                    past.no_return = false;
                    past.going_back = Some(*exit);
                }
                Record::Resumed { .. } | Record::End { .. } => {}
            }
        }
        past.suspect_lost_marks(plan);
        past
    }

    /// Takes steps as started whose marks a crash of the machine may have swallowed.
    ///
    /// In an outage only the first mark of the phase and the one before the point of no return are waited for. Between
    /// them, "no mark" does not mean "not started".
    fn suspect_lost_marks(&mut self, plan: &Plan) {
        for phase in plan.phases.iter().filter(|phase| phase.outage) {
            if !phase.steps.iter().any(|step| self.started(Stage::Forward, &step.id)) {
                continue;
            }
            for step in &phase.steps {
                if step.no_return && !self.no_return {
                    break; // its mark is always waited for, and what follows comes after it
                }
                self.steps.entry((Stage::Forward, step.id.clone())).or_default().started = true;
            }
        }
    }

    /// The same, for a rollback that takes back only what is the operation's own, and that is carried out as a whole.
    #[must_use]
    pub fn for_undo(&self) -> Self {
        let mut past = Self { no_return: false, going_back: None, ..self.clone() };
        past.steps.retain(|(stage, _), _| *stage != Stage::Back);
        past
    }

    /// Returns whether a step was, or may have been, started.
    pub fn started(&self, stage: Stage, step: &str) -> bool {
        self.trace(stage, step).started
    }

    /// Returns whether a step was completed.
    pub fn done(&self, stage: Stage, step: &str) -> bool {
        self.trace(stage, step).done
    }

    /// Returns whether the point of no return was reached.
    pub fn past_no_return(&self) -> bool {
        self.no_return
    }

    /// Returns the exit code of the rollback, if it was chosen.
    pub fn going_back(&self) -> Option<Exit> {
        self.going_back
    }

    /// Says whether an earlier run was there at all.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    fn trace(&self, stage: Stage, step: &str) -> Trace {
        self.steps.get(&(stage, step.to_string())).copied().unwrap_or_default()
    }
}
