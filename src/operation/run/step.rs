//! A single step, from its first mark to its last one.

use std::pin::pin;

use tokio::time::{Instant, timeout};

use super::effect::{effect, questions, required};
use super::{End, Run, SETTLE, SOON, report, seconds};
use crate::error::Error;
use crate::journal::{Flush, Mark, Record, Stage};
use crate::operation::outcome::{Narration, StepFailure, StepStatus, World};
use crate::operation::wait::{answer_probe, wait};
use crate::plan::{OnResume, Op, Step};
use crate::system::clock;

/// What an earlier run left of a step.
enum LeftOver {
    /// It has to be performed (again).
    Repeat,
    /// It is done.
    Done,
    /// It cannot be determined.
    Unclear(Error),
}

impl<W: World> Run<'_, W> {
    /// Takes a step from its first mark to its last one.
    ///
    /// `again`: an earlier run has, or may have, started it.
    pub(super) async fn attempt(
        &self,
        stage: Stage,
        step: &Step,
        (number, of): (usize, usize),
        flush: Flush,
        again: bool,
    ) -> End {
        let begun = Instant::now();
        self.world.narrate(Narration::StepBegins { number, of, stage, step });
        if again {
            match self.left_over(step).await {
                Ok(LeftOver::Repeat) => {}
                Ok(LeftOver::Done) => return self.skipped(stage, step, flush, begun).await,
                Ok(LeftOver::Unclear(error)) => {
                    // No mark: nothing was tried, and the next run must find the step as this one did.
                    self.fail(stage, step, error, begun);
                    return End::Stuck;
                }
                Err(error) => return self.failed(stage, step, error, begun).await,
            }
        }
        let resumed = self.past.is_resumed();
        let required = async {
            required(self.world, step, questions(step, resumed)).await?;
            // The look at the other nodes comes last: it must be young when the effect begins, however long the others took.
            required(self.world, step, step.requires_here.iter()).await
        };
        if let Err(error) = required.await {
            // Another command may have been faster, and what it did is what this step requires not to be.
            if let OnResume::AgainUnless(probe) = &step.on_resume
                && !step.no_return
                && matches!(timeout(SETTLE, self.world.holds(probe)).await, Ok(Ok(true)))
            {
                return self.skipped(stage, step, flush, begun).await;
            }
            return self.failed(stage, step, error, begun).await;
        }
        if stage == Stage::Forward && !self.past_no_return() && self.signal().is_some() {
            return End::Left; // it came with the questions; the mark would be a step too far
        }
        let forced = stage != Stage::Forward || self.past_no_return();
        let started = Record::Mark { step: step.id.clone(), stage, mark: Mark::Started, at: clock::now() };
        match self.world.record(&started, flush).await {
            Ok(()) => {}
            Err(cause) if forced => self.warn_unrecorded(&step.id, &cause),
            Err(cause) => {
                let primary = format!("did not {}, because that could not be recorded first", step.title);
                return self.failed(stage, step, Error::from_cause(step.exit, primary, &cause), begun).await;
            }
        }
        if stage == Stage::Forward {
            self.notes.borrow_mut().started.insert(step.id.clone());
            if self.is_outage(step) {
                self.notes.borrow_mut().outage_from.get_or_insert(begun);
            }
            if step.no_return {
                self.notes.borrow_mut().no_return = true;
                self.world.narrate(Narration::PastNoReturn);
            }
        }
        let may_cut = stage == Stage::Forward && step.interruptible && !self.past_no_return();
        let ended = {
            let effect = pin!(effect(self.world, step));
            tokio::select! {
                biased;
                result = effect => Some(result),
                () = self.signalled(), if may_cut => None,
            }
        };
        match ended {
            Some(Ok(note)) => {
                if stage == Stage::Back && matches!(step.op, Op::LetStart(_)) && note.is_some() {
                    self.notes.borrow_mut().left_there = true;
                }
                if stage == Stage::Back && step.id == "write_again" {
                    self.notes.borrow_mut().writable = Some(Instant::now());
                }
                self.mark(stage, &step.id, Mark::Done, flush).await;
                self.world.narrate(Narration::StepEnded { step, note, wall: begun.elapsed() });
                self.report(stage, step, StepStatus::Done, Some(begun));
                End::Done
            }
            Some(Err(error)) if stage == Stage::Forward && self.past_no_return() => {
                self.doubtful(step, error, begun).await
            }
            Some(Err(error)) => self.failed(stage, step, error, begun).await,
            None => {
                self.mark(stage, &step.id, Mark::Interrupted, flush).await;
                self.world.narrate(Narration::StepInterrupted(step));
                self.report(stage, step, StepStatus::Interrupted, Some(begun));
                End::Interrupted
            }
        }
    }

    /// Says whether clients cannot write from the beginning of a step on.
    fn is_outage(&self, step: &Step) -> bool {
        let mut phases = self.plan.phases.iter().filter(|phase| phase.outage);
        phases.any(|phase| phase.steps.iter().any(|one| one.id == step.id))
    }

    /// Finds out whether a step that reported an error has taken effect all the same, or another command has done it.
    ///
    /// If its probe does not say so, and it is the point of no return, the operation is left as it is: going back could make a second
    /// primary, and going on needs a first one.
    async fn doubtful(&self, step: &Step, error: Error, begun: Instant) -> End {
        let settles = if step.no_return { SETTLE } else { SOON };
        if !error.no_effect
            && let OnResume::AgainUnless(probe) = &step.on_resume
            && wait(self.world, probe, settles.min(seconds(step.timeout_s))).await.is_ok()
        {
            self.warn(format!("{error}, but {probe}"));
            self.mark(Stage::Forward, &step.id, Mark::Done, Flush::Now).await;
            self.world.narrate(Narration::StepEnded { step, note: None, wall: begun.elapsed() });
            self.report(Stage::Forward, step, StepStatus::Done, Some(begun));
            return End::Done;
        }
        self.failed(Stage::Forward, step, error, begun).await
    }

    /// Decides about a step that an earlier run started and did not finish.
    async fn left_over(&self, step: &Step) -> Result<LeftOver, Error> {
        match &step.on_resume {
            OnResume::Again => Ok(LeftOver::Repeat),
            OnResume::AgainUnless(probe) => match answer_probe(self.world, probe, SETTLE).await {
                Ok(true) => Ok(LeftOver::Done),
                Ok(false) => Ok(LeftOver::Repeat),
                Err(cause) => {
                    let primary =
                        format!("could not determine whether an earlier run did this: {}", step.title);
                    Err(Error::from_cause(step.exit, primary, &cause))
                }
            },
            OnResume::Stop { hint } => {
                let primary = format!("an earlier run was stopped in the middle of this: {}", step.title);
                let error = Error::new(step.exit, primary).hint(hint.clone());
                let abandon = "\"pgbaton operation abandon\" gives the operation up.";
                Ok(LeftOver::Unclear(if self.past_no_return() { error } else { error.hint(abandon) }))
            }
        }
    }

    /// Takes note of a step that turned out to be done.
    async fn skipped(&self, stage: Stage, step: &Step, flush: Flush, begun: Instant) -> End {
        self.mark(stage, &step.id, Mark::Skipped, flush).await;
        self.world.narrate(Narration::StepSkipped(step));
        self.report(stage, step, StepStatus::AlreadyDone, Some(begun));
        End::Done
    }

    async fn failed(&self, stage: Stage, step: &Step, error: Error, begun: Instant) -> End {
        // Nothing that follows relies on this mark; the rollback has its own record.
        self.mark(stage, &step.id, Mark::Failed { error: error.to_string() }, Flush::Later).await;
        self.fail(stage, step, error, begun);
        End::Failed
    }

    pub(super) fn fail(&self, stage: Stage, step: &Step, mut error: Error, begun: Instant) {
        error.hint = error.hint.take().or_else(|| step.hint.clone());
        // Where nothing is undone, the end comes at once, and says it.
        if stage != Stage::Forward || !self.plan.rollback.is_empty() {
            self.world.narrate(Narration::StepFailed { step, error: &error });
        }
        self.report(stage, step, StepStatus::Failed, Some(begun));
        if stage == Stage::Always {
            self.warn(error.to_string());
        } else {
            let (id, title) = (step.id.clone(), step.title.clone());
            self.notes.borrow_mut().failures.push(StepFailure { id, title, stage, error });
        }
    }

    /// Records what has happened already: if that fails, there is nothing to do but to say so.
    pub(super) async fn mark(&self, stage: Stage, step: &str, mark: Mark, flush: Flush) {
        let record = Record::Mark { step: step.to_string(), stage, mark, at: clock::now() };
        if let Err(cause) = self.world.record(&record, flush).await {
            self.warn_unrecorded(step, &cause);
        }
    }

    fn warn_unrecorded(&self, step: &str, cause: &anyhow::Error) {
        self.warn(format!("could not record the state of step \"{step}\": {cause:#}"));
    }

    pub(super) fn report(&self, stage: Stage, step: &Step, status: StepStatus, begun: Option<Instant>) {
        let report = report(stage, step, status, begun);
        self.notes.borrow_mut().reports.insert((stage, step.id.clone()), report);
    }
}
