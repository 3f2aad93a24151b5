//! The executor: carries a plan out, and knows at every moment which way is safe to go.
//!
//! The rules, each proven over every step and every kind of failure in the tests of this room:
//!
//! - **Intent first.** A step's `started` mark is in the journal before its effect begins. A step whose intent cannot be
//!   recorded is not performed, except after the point of no return, where stopping would not help.
//! - **Before the point of no return** a failure or a signal leads back: every step of the rollback that applies is tried,
//!   also if another one failed. The choice itself is journalled first, so that no later run goes forward again.
//! - **After it** there is no rollback, whatever the error, timeout, signal, resume or abandon. A failure or a signal leaves the
//!   rest to `operation resume`. The step itself is never performed a second time before its probe has said that the
//!   first time had no effect.
//! - **Always** means always: also after the rollback, after an interruption, and in every resumed run.

pub mod effect;
mod step;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Exit};
use crate::journal::{EarlierRuns, Flush, Mark, Record, Stage};
use crate::operation::last_state::{ASKING, HASTE, LastState};
use crate::operation::outcome::{Ended, Narration, Outcome, StepFailure, StepReport, StepStatus, World};
use crate::operation::wait::{answer_probe, wait};
use crate::plan::{OnFailure, OnResume, Op, Order, Phase, Plan, Step, Verify, could_not};
use crate::system::clock;

pub use crate::system::signals::Signal;

/// How long a question that decides what to do next may go without an answer.
///
/// Also how long a point of no return that reported an error may take to show an effect after all: the answer to a
/// promotion request gets lost with the connection, and the promotion still takes place a moment later.
pub const SETTLE: Duration = Duration::from_secs(10);

/// How long any other step after the point of no return that reported an error may take to show an effect after all.
const SOON: Duration = Duration::from_secs(1);

/// Carries out a plan, or continues it where `past` ends.
///
/// The checks of the plan are the caller's; so are the lock and the journal's header. Writes the journal's last record
/// unless there is something to resume.
pub async fn run<W: World>(plan: &Plan, past: &EarlierRuns, world: &W) -> Outcome {
    let run = Run::new(plan, past, world);
    let outcome = run.listening(run.operation()).await;
    run.with_last_state(outcome).await
}

/// The same, but leaves the journal's last record to the caller, in [`Outcome::end`]: a process that is killed before the events of the
/// operation are sent leaves an operation that is unfinished, and the run that takes it up sends them.
pub async fn run_before_events<W: World>(plan: &Plan, past: &EarlierRuns, world: &W) -> Outcome {
    let run = Run { leaves_end: true, ..Run::new(plan, past, world) };
    run.listening(run.operation()).await
}

/// Writes the last record of the journal, if it is still to be written.
pub async fn end<W: World>(world: &W, end: Option<&Record>) {
    let Some(end) = end else { return };
    if let Err(cause) = world.record(end, Flush::Now).await {
        world.narrate(Narration::Warning(unrecorded_end(&cause)));
    }
}

/// Carries out the rollback of a plan, whatever its journal says, and ends the journal with this note. The plan must be one that may be
/// carried out at any time: see [`crate::operation::course::undo`].
pub async fn undo<W: World>(plan: &Plan, past: &EarlierRuns, world: &W, note: &str) -> Outcome {
    let past_no_return = past.past_no_return();
    let past = past.for_undo();
    let run = Run { ending: Some(note.to_string()), ..Run::new(plan, &past, world) };
    run.notes.borrow_mut().no_return = past_no_return;
    let outcome = run.listening(run.undoing()).await;
    run.with_last_state(outcome).await
}

/// How a step ended, for what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    /// [`OnResume::Stop`].
    Stuck,
    /// Cut short by a signal.
    Interrupted,
    /// Not begun, because of a signal.
    Left,
}

/// Why the forward run did not reach its end.
#[derive(Clone, Copy, Debug)]
enum Halt {
    Signal(Signal),
    Failed { exit: Exit, no_return: bool },
    Stuck(Exit),
}

struct Run<'a, W> {
    plan: &'a Plan,
    past: &'a EarlierRuns,
    world: &'a W,
    signal: watch::Sender<Option<Signal>>,
    /// How many signals have come.
    signals: Cell<usize>,
    notes: RefCell<Notes>,
    /// What the journal says at its end, if it is not what became of the plan.
    ending: Option<String>,
    /// The last record of the journal is the caller's.
    leaves_end: bool,
}

/// What a run has seen so far.
#[derive(Default)]
struct Notes {
    started: BTreeSet<String>,
    no_return: bool,
    /// Signals change nothing any more.
    committed: bool,
    /// A first signal came after the point of no return.
    warned: bool,
    failures: Vec<StepFailure>,
    warnings: Vec<String>,
    reports: BTreeMap<(Stage, String), StepReport>,
    /// The rollback has left something in place, for a reason that it has given.
    left_there: bool,
    /// When this run has begun the outage.
    outage_from: Option<Instant>,
    /// When the rollback has seen that the old primary accepts writes.
    writable: Option<Instant>,
}

impl<'a, W: World> Run<'a, W> {
    fn new(plan: &'a Plan, past: &'a EarlierRuns, world: &'a W) -> Self {
        let notes = Notes { no_return: past.past_no_return(), ..Notes::default() };
        Self {
            plan,
            past,
            world,
            signal: watch::Sender::new(None),
            signals: Cell::default(),
            notes: RefCell::new(notes),
            ending: None,
            leaves_end: false,
        }
    }

    /// Drives `work` and takes note of signals while it is pending.
    async fn listening(&self, work: impl Future<Output = Outcome>) -> Outcome {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                signal = self.world.interrupted() => self.take_note(signal),
                outcome = &mut work => return outcome,
            }
        }
    }

    fn take_note(&self, signal: Signal) {
        self.signals.set(self.signals.get() + 1);
        let past_no_return = self.past_no_return();
        if self.signal.borrow().is_some() || self.notes.borrow().committed {
            self.world.narrate(Narration::StillGoing(signal));
        } else if past_no_return && !self.notes.borrow().warned {
            // What is left takes seconds, and without it the old primary stays down: the user has to confirm it by a second signal.
            self.notes.borrow_mut().warned = true;
            self.world.narrate(Narration::Finishing(signal));
        } else {
            self.world.narrate(Narration::Interrupted { signal, past_no_return });
            self.signal.send_replace(Some(signal));
        }
    }

    fn signal(&self) -> Option<Signal> {
        *self.signal.borrow()
    }

    /// Returns when a signal is to be obeyed.
    async fn signalled(&self) {
        // Cannot fail: the sender lives as long as self.
        let _ = self.signal.subscribe().wait_for(Option::is_some).await;
    }

    fn past_no_return(&self) -> bool {
        self.notes.borrow().no_return
    }

    // The operation as a whole.

    async fn operation(&self) -> Outcome {
        if let Some(defect) = self.plan.defect() {
            return self.refused(&defect);
        }
        let (ended, exit) = match self.past.going_back() {
            Some(exit) if !self.past_no_return() => self.go_back(exit).await,
            _ => match self.forward().await {
                Ok(true) if self.plan.is_empty() => (Ended::NothingToDo, Exit::Done),
                Ok(true) => (Ended::Done, Exit::Done),
                Ok(false) => (Ended::Incomplete, self.plan.incomplete),
                Err(halt) => self.halted(halt).await,
            },
        };
        let resumable = matches!(ended, Ended::Regained | Ended::BackFailed | Ended::Unfinished);
        self.conclude(ended, exit, resumable).await
    }

    async fn undoing(&self) -> Outcome {
        self.commit();
        let (ended, exit) = self.go_back(Exit::Done).await;
        self.conclude(ended, exit, false).await
    }

    /// Decides what an early end of the forward run means. This is the only place that begins the rollback of a run.
    async fn halted(&self, halt: Halt) -> (Ended, Exit) {
        match halt {
            Halt::Stuck(exit) if !self.past_no_return() => (Ended::Unfinished, exit),
            Halt::Failed { exit, .. } if !self.past_no_return() => self.go_back(exit).await,
            Halt::Signal(signal) if !self.past_no_return() => self.go_back(signal.exit()).await,
            // The promotion itself: nothing was promoted, as far as can be determined.
            Halt::Failed { exit, no_return: true } => (Ended::Unfinished, exit),
            Halt::Signal(signal) => (Ended::Unfinished, signal.exit()),
            Halt::Failed { .. } | Halt::Stuck(_) => (Ended::Unfinished, self.plan.incomplete),
        }
    }

    /// Runs what is always run, ends the journal unless there is something to resume, and sums up.
    async fn conclude(&self, ended: Ended, exit: Exit, resumable: bool) -> Outcome {
        self.commit();
        for (i, step) in self.plan.always.iter().enumerate() {
            let numbering = (i + 1, self.plan.always.len());
            self.attempt(Stage::Always, step, numbering, Flush::Later, false).await;
        }
        let changed = self.changed(ended);
        let note = self.ending.clone().unwrap_or_else(|| self.note(ended));
        let end = (!resumable).then(|| Record::End { exit, note, changed, at: clock::now() });
        if let Some(end) = end.as_ref().filter(|_| !self.leaves_end)
            && let Err(cause) = self.world.record(end, Flush::Now).await
        {
            self.warn(unrecorded_end(&cause));
        }
        let left = end.filter(|_| self.leaves_end);
        Outcome { end: left, ..self.outcome(ended, exit, changed, resumable) }
    }

    /// Adds what the nodes are now, if a change of roles has begun and failed. Nothing waits for it but the end of the command, and a
    /// signal ends it.
    async fn with_last_state(&self, outcome: Outcome) -> Outcome {
        let failed = match outcome.ended {
            Ended::Done | Ended::NothingToDo => false,
            // What was to be undone is undone.
            Ended::WentBack => self.ending.is_none(),
            Ended::Incomplete | Ended::Regained | Ended::BackFailed | Ended::Unfinished => true,
        };
        let forward = |step: &&StepReport| step.stage == Stage::Forward;
        let begun = outcome.steps.iter().filter(forward).any(|step| step.status != StepStatus::NotDone);
        let unchanged = outcome.ended == Ended::WentBack && self.plan.rollback.is_empty() && !outcome.changed;
        if self.plan.origin.is_none() || !failed || !begun || unchanged {
            return outcome;
        }
        let within = if self.signals.get() > 1 { HASTE } else { ASKING };
        let last_state = LastState::ask(self.world, self.plan, within).await;
        Outcome { last_state: Some(last_state), ..outcome }
    }

    fn refused(&self, defect: &str) -> Outcome {
        let error = Error::new(Exit::Internal, format!("the plan is defective: {defect}"));
        let title = self.plan.title.clone();
        let failure = StepFailure { id: String::new(), title, stage: Stage::Forward, error };
        self.notes.borrow_mut().failures.push(failure);
        // Not even begun, so there is nothing to resume; what an earlier run left is as it was.
        self.outcome(Ended::Unfinished, Exit::Internal, false, false)
    }

    fn outcome(&self, ended: Ended, exit: Exit, changed: bool, resumable: bool) -> Outcome {
        let mut notes = self.notes.take();
        let mut steps: Vec<StepReport> = Vec::new();
        for step in self.plan.steps() {
            let done = self.past.done(Stage::Forward, &step.id);
            let status = if done { StepStatus::AlreadyDone } else { StepStatus::NotDone };
            let untouched = || report(Stage::Forward, step, status, None);
            let key = (Stage::Forward, step.id.clone());
            steps.push(notes.reports.remove(&key).unwrap_or_else(untouched));
        }
        let others = self.plan.rollback.iter().map(|back| (Stage::Back, &back.step));
        for (stage, step) in others.chain(self.plan.always.iter().map(|step| (Stage::Always, step))) {
            steps.extend(notes.reports.remove(&(stage, step.id.clone())));
        }
        Outcome {
            exit,
            ended,
            signal: self.signal(),
            past_no_return: notes.no_return,
            changed,
            resumable,
            failures: notes.failures,
            warnings: notes.warnings,
            steps,
            outage_s: notes.outage_from.zip(notes.writable).map(|(from, to)| (to - from).as_secs_f64()),
            last_state: None,
            end: None,
        }
    }

    /// Returns whether anything was changed and not undone.
    ///
    /// A rollback with steps in it is the planner's promise that it restores the old state, except for what it states for single steps. An
    /// empty one promises nothing, and neither does what is undone after the point of no return.
    fn changed(&self, ended: Ended) -> bool {
        let put_back = ended == Ended::WentBack && !self.plan.rollback.is_empty() && !self.past_no_return();
        let notes = self.notes.borrow();
        let without_effect = |step: &Step| {
            let refused = |failure: &StepFailure| {
                failure.stage == Stage::Forward && failure.id == step.id && failure.error.no_effect
            };
            matches!(step.op, Op::Wait(_))
                || (notes.failures.iter().any(refused) && !self.past.started(Stage::Forward, &step.id))
        };
        let left = |step: &Step| !put_back || step.left_in_place.is_some();
        notes.left_there
            || self.plan.steps().any(|step| left(step) && !without_effect(step) && self.started(&step.id))
    }

    fn note(&self, ended: Ended) -> String {
        match (ended, self.signal()) {
            (Ended::Done | Ended::NothingToDo, _) => "done".to_string(),
            (Ended::WentBack, Some(_)) => "interrupted; the rollback was run".to_string(),
            (Ended::WentBack, None) => "the rollback was run".to_string(),
            (Ended::Regained, _) => "the rollback was run, but not all changes were undone".to_string(),
            (Ended::BackFailed, _) => "the rollback failed".to_string(),
            (Ended::Incomplete | Ended::Unfinished, _) => "incomplete".to_string(),
        }
    }

    fn started(&self, id: &str) -> bool {
        self.notes.borrow().started.contains(id) || self.past.started(Stage::Forward, id)
    }

    fn commit(&self) {
        self.notes.borrow_mut().committed = true;
    }

    fn warn(&self, text: String) {
        self.world.narrate(Narration::Warning(text.clone()));
        self.notes.borrow_mut().warnings.push(text);
    }

    // Forward.

    /// Runs the phases and looks at the expectations. Returns whether all went well.
    async fn forward(&self) -> Result<bool, Halt> {
        let mut well = true;
        let mut number = 0;
        for phase in &self.plan.phases {
            self.world.narrate(Narration::PhaseBegins(phase));
            let ends = self.phase(phase, number).await;
            number += phase.steps.len();
            well &= self.judge(phase, &ends)?;
        }
        Ok(self.verify().await? && well)
    }

    async fn phase(&self, phase: &Phase, before: usize) -> Vec<End> {
        let of = self.plan.steps().count();
        let numbered = phase.steps.iter().enumerate();
        let one = |i: usize, step| self.forward_step(phase, step, i == 0, (before + i + 1, of));
        match phase.order {
            Order::AllAtOnce => join_all(numbered.map(|(i, step)| one(i, step))).await,
            Order::InOrder => {
                let mut ends = Vec::new();
                for (i, step) in numbered {
                    let end = one(i, step).await;
                    ends.push(end);
                    if end != End::Done {
                        break;
                    }
                }
                ends
            }
        }
    }

    /// Says what the ends of a phase's steps mean. Returns whether all of them are done.
    fn judge(&self, phase: &Phase, ends: &[End]) -> Result<bool, Halt> {
        let with_end = |wanted: End| phase.steps.iter().zip(ends).find(|(_, end)| **end == wanted);
        let failed = with_end(End::Failed);
        let stuck = with_end(End::Stuck);
        if let Some((step, _)) = failed.filter(|(step, _)| step.no_return) {
            // One that was not even begun is a failure of what prepared it.
            let first = phase.steps.first().filter(|_| !self.past_no_return());
            return Err(Halt::Failed { exit: first.unwrap_or(step).exit, no_return: true });
        }
        let stops = phase.on_failure == OnFailure::Stop;
        // Rolling back past a step whose effect is unknown is the operator's decision, whatever else happened.
        if let Some((step, _)) = stuck.filter(|_| stops) {
            return Err(Halt::Stuck(step.exit));
        }
        if let Some(signal) = self.signal() {
            // After the point of no return a signal that came with the last step has nothing left to stop.
            let left = ends.iter().any(|end| matches!(end, End::Left | End::Interrupted));
            if left || !self.past_no_return() || (stops && failed.is_some()) {
                return Err(Halt::Signal(signal));
            }
        }
        if let Some((step, _)) = failed.filter(|_| stops) {
            return Err(Halt::Failed { exit: step.exit, no_return: false });
        }
        Ok(failed.is_none() && stuck.is_none())
    }

    async fn forward_step(&self, phase: &Phase, step: &Step, first: bool, numbering: (usize, usize)) -> End {
        // The point of no return is not reached before everything that stops an operation is done, whatever the marks say.
        let behind = self.past.past_no_return() && self.precedes_no_return(step);
        if self.past.done(Stage::Forward, &step.id) || (behind && phase.on_failure == OnFailure::Stop) {
            self.world.narrate(Narration::StepSkipped(step));
            self.report(Stage::Forward, step, StepStatus::AlreadyDone, None);
            return End::Done;
        }
        if behind {
            // It prepared for something that has happened; by now it could only do harm or fail.
            let error =
                Error::new(step.exit, format!("{} before the point of no return", could_not(&step.title)));
            self.fail(Stage::Forward, step, error, Instant::now());
            return End::Failed;
        }
        // Lets a signal through that arrived while the step before kept the thread to itself.
        tokio::task::yield_now().await;
        if self.signal().is_some() {
            return End::Left;
        }
        // The first mark of an outage is still before it; see `Phase::outage` for the others.
        let flush = if phase.outage && !first && !step.no_return { Flush::Later } else { Flush::Now };
        // After the point of no return steps are performed although their marks cannot be recorded. So a missing mark says
        // little there, and every node that responds is queried.
        let may_ask = matches!(step.on_resume, OnResume::AgainUnless(_));
        let again = self.past.started(Stage::Forward, &step.id) || (self.past.past_no_return() && may_ask);
        self.attempt(Stage::Forward, step, numbering, flush, again).await
    }

    fn precedes_no_return(&self, step: &Step) -> bool {
        self.plan.steps().take_while(|other| !other.no_return).any(|other| other.id == step.id)
    }

    async fn verify(&self) -> Result<bool, Halt> {
        let stopped = |signal: Option<Signal>| signal.map_or(Ok(()), |signal| Err(Halt::Signal(signal)));
        if self.plan.verify.is_empty() {
            return Ok(true);
        }
        tokio::task::yield_now().await;
        stopped(self.signal())?;
        let all = join_all(self.plan.verify.iter().map(|verify| self.expect(verify)));
        tokio::select! {
            biased;
            met = all => Ok(met.into_iter().all(|met| met)),
            () = self.signalled() => stopped(self.signal()).map(|()| false),
        }
    }

    async fn expect(&self, verify: &Verify) -> bool {
        let failed = |id: &String| self.notes.borrow().failures.iter().any(|failure| failure.id == *id);
        if verify.after.as_ref().is_some_and(failed) {
            return false;
        }
        self.world.narrate(Narration::Expecting(verify));
        let answer = wait(self.world, &verify.probe, seconds(verify.timeout_s)).await;
        let mark = match answer {
            Ok(()) => {
                self.world.narrate(Narration::Met(verify));
                Mark::Done
            }
            Err(cause) => {
                let primary =
                    format!("timed out after {} s waiting until {}", verify.timeout_s, verify.title);
                let mut error = Error::new(self.plan.incomplete, primary);
                // The first link of the chain says that the time is over, which was said.
                let why: Vec<String> = cause.chain().skip(1).map(ToString::to_string).collect();
                if !why.is_empty() {
                    error = error.detail(crate::error::sentence(&why.join(": ")));
                }
                if !self.plan.rollback.is_empty() {
                    self.world.narrate(Narration::NotMet { verify, error: &error });
                }
                let mark = Mark::Failed { error: error.to_string() };
                let (id, title) = (verify.title.clone(), verify.title.clone());
                self.notes.borrow_mut().failures.push(StepFailure { id, title, stage: Stage::Verify, error });
                mark
            }
        };
        let met = mark == Mark::Done;
        self.mark(Stage::Verify, &verify.title, mark, Flush::Later).await;
        met
    }

    // Back.

    /// Restores the old state, step by step, as far as possible.
    async fn go_back(&self, exit: Exit) -> (Ended, Exit) {
        self.commit();
        if self.ending.is_some() {
            self.world.narrate(Narration::Undoing);
        } else if !self.plan.rollback.is_empty() {
            self.world.narrate(Narration::GoingBack);
        }
        let resumed = self.past.going_back().is_some() || self.ending.is_some();
        // It would say that the point of no return was not reached; what is undone after it stays past it.
        let record = Record::GoingBack { exit, at: clock::now() };
        if !self.past_no_return()
            && let Err(cause) = self.world.record(&record, Flush::Now).await
        {
            // Not a reason to stay without a primary.
            self.warn(format!("could not record that the rollback begins: {cause:#}"));
        }
        let mut restored = true;
        let due: Vec<_> =
            self.plan.rollback.iter().filter(|undo| undo.is_due(|id| self.started(id))).collect();
        let of = due.len();
        for (i, back) in due.into_iter().enumerate() {
            if self.past.done(Stage::Back, &back.step.id) {
                self.world.narrate(Narration::StepSkipped(&back.step));
                self.report(Stage::Back, &back.step, StepStatus::AlreadyDone, None);
                continue;
            }
            // Marks are not waited for here, for clients are still waiting: a resumed rollback takes every step as begun.
            let end = self.attempt(Stage::Back, &back.step, (i + 1, of), Flush::Later, resumed).await;
            restored &= end == End::Done;
        }
        if restored {
            return (Ended::WentBack, exit);
        }
        // A slot that cannot be dropped is no outage: what the primary is now is asked, not concluded from what failed.
        if let Some(regained) = &self.plan.regained
            && matches!(answer_probe(self.world, &regained.probe, SETTLE).await, Ok(true))
        {
            let asked_for = exit == Exit::Done;
            return (Ended::Regained, if asked_for { regained.exit } else { exit });
        }
        (Ended::BackFailed, self.plan.back_failed)
    }
}

fn unrecorded_end(cause: &anyhow::Error) -> String {
    format!("could not record the end of the operation, which will be listed as unfinished: {cause:#}")
}

fn report(stage: Stage, step: &Step, status: StepStatus, begun: Option<Instant>) -> StepReport {
    let (id, title) = (step.id.clone(), step.title.clone());
    StepReport { id, title, stage, status, wall_s: begun.map(|begun| begun.elapsed().as_secs_f64()) }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}
