//! The scripted world: a small model in which plans run, and in which anything can go wrong on cue.
//!
//! There are two models. [`Facts`] is a set of names, which the steps of a plan made for the proof add and remove; what the executor
//! promises is proven over it. [`Servers`](servers::Servers) is a cluster of three, in which the plans of the program run; what the
//! commands promise while the world changes is proven over it. Each knows what must never happen, and looks after every effect.

pub(crate) mod commands;
pub(crate) mod facts;
pub(crate) mod servers;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::future::pending;
use std::ops::Deref;
use std::pin::pin;

use tokio::sync::Notify;

use crate::error::{Error, Exit, PermanentError};
use crate::journal::{EarlierRuns, Flush, Mark, Record, Stage};
use crate::operation::course;
use crate::operation::outcome::{Narration, Outcome, World};
use crate::operation::run::{self, Signal};
use crate::plan::{Plan, Probe, Step};

pub(crate) use self::facts::{Facts, fact, no};

/// A moment in the life of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A question is asked; here the trouble is with the fact.
    Asked,
    /// Its `started` mark is about to be written.
    BeforeStarted,
    /// Its `started` mark is in the journal.
    AfterStarted,
    /// Its effect is complete, and not yet recorded.
    AfterEffect,
    /// Its `done` mark is in the journal.
    AfterDone,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The step reports an error and has done nothing.
    Fails,
    /// The step reports an error and has done everything.
    FailsAfterEffect,
    /// The step never returns and does nothing.
    Hangs,
    /// The step does everything and never returns.
    HangsAfterEffect,
    /// The process is killed at that moment.
    Killed(Moment),
    /// The process is sent a signal at that moment.
    Sent(Signal, Moment),
    /// From that moment on nothing can be written to the journal.
    JournalBreaks(Moment),
    /// The `started` mark reaches the journal, but the write is reported as failed; from then on nothing can be written.
    StartedMarkIsDenied,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An effect was begun.
    Performed(String),
    /// A question was asked.
    Asked(String),
}

/// What there is in the world, and how it answers to what a plan does.
pub(crate) trait Model {
    /// What others can do to it meanwhile.
    type Change: Copy;

    /// How a question is named in the script.
    fn name(&self, probe: &Probe) -> String;

    /// Answers a question.
    fn answer(&self, probe: &Probe) -> anyhow::Result<bool>;

    /// What a step looks at where its effect is, immediately before it: an error means that it has none.
    fn look(&self, step: &Step) -> Result<(), Error>;

    /// The effect, whole.
    fn take_effect(&self, step: &Step);

    /// What others do, if anything lets them. Returns whether they did.
    fn change(&self, change: Self::Change) -> bool;
}

pub(crate) struct ScriptedWorld<M: Model = Facts> {
    model: M,
    /// At this moment the world changes.
    changes_at: Cell<Option<(usize, M::Change)>>,
    /// The world did change.
    pub(crate) changed: Cell<bool>,
    pub(crate) events: RefCell<Vec<Event>>,
    pub(crate) messages: RefCell<Vec<String>>,
    pub(crate) journal: RefCell<Vec<Record>>,
    synced: Cell<usize>,
    troubles: RefCell<Vec<(String, Trouble)>>,
    unanswered: RefCell<BTreeSet<String>>,
    hopeless: RefCell<BTreeSet<String>>,
    /// Counts the moments at which a process can die; at number `dies_at` it does.
    moments: Cell<usize>,
    dies_at: Cell<Option<usize>>,
    journal_broken: Cell<bool>,
    signals: RefCell<VecDeque<Signal>>,
    signalled: Notify,
    dead: Cell<bool>,
    death: Notify,
}

/// What is asked of the model is asked of the world.
impl<M: Model> Deref for ScriptedWorld<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.model
    }
}

impl<M: Model> ScriptedWorld<M> {
    pub(crate) fn of(model: M) -> Self {
        Self {
            model,
            changes_at: Cell::default(),
            changed: Cell::default(),
            events: RefCell::default(),
            messages: RefCell::default(),
            journal: RefCell::default(),
            synced: Cell::default(),
            troubles: RefCell::default(),
            unanswered: RefCell::default(),
            hopeless: RefCell::default(),
            moments: Cell::default(),
            dies_at: Cell::default(),
            journal_broken: Cell::default(),
            signals: RefCell::default(),
            signalled: Notify::new(),
            dead: Cell::default(),
            death: Notify::new(),
        }
    }

    /// Lets the world change at the n-th moment from now on.
    pub(crate) fn changes_at(&self, moment: usize, change: M::Change) {
        self.moments.set(0);
        self.changes_at.set(Some((moment, change)));
    }

    /// Lets the world change now.
    pub(crate) fn change(&self, change: M::Change) {
        if self.model.change(change) {
            self.changed.set(true);
        }
    }

    /// Ends the journal: what comes next is an operation of its own.
    pub(crate) fn forget(&self) {
        self.journal.borrow_mut().clear();
        self.synced.set(0);
    }

    /// Lets something go wrong with a step, until [`Self::repair`].
    pub(crate) fn trouble(self, step: &str, trouble: Trouble) -> Self {
        self.add_trouble(step, trouble);
        self
    }

    pub(crate) fn add_trouble(&self, step: &str, trouble: Trouble) {
        self.troubles.borrow_mut().push((step.to_string(), trouble));
    }

    /// Lets the process die at the n-th moment at which it can.
    pub(crate) fn dies_at(self, moment: usize) -> Self {
        self.set_death(moment);
        self
    }

    pub(crate) fn set_death(&self, moment: usize) {
        self.moments.set(0);
        self.dies_at.set(Some(moment));
    }

    /// Leaves questions about a fact without an answer.
    pub(crate) fn silence(&self, fact: &str) {
        self.unanswered.borrow_mut().insert(fact.to_string());
    }

    /// Leaves questions about a fact without an answer for good.
    pub(crate) fn lose(&self, fact: &str) {
        self.hopeless.borrow_mut().insert(fact.to_string());
    }

    /// Ends all trouble and starts a new process. Facts and journal stay.
    pub(crate) fn repair(&self) {
        self.troubles.borrow_mut().clear();
        self.unanswered.borrow_mut().clear();
        self.hopeless.borrow_mut().clear();
        self.signals.borrow_mut().clear();
        self.journal_broken.set(false);
        self.dead.set(false);
        self.dies_at.set(None);
    }

    /// Takes away what was written to the journal but had not reached the disk.
    pub(crate) fn lose_power(&self) {
        self.journal.borrow_mut().truncate(self.synced.get());
    }

    /// What the journal records of an operation.
    pub(crate) fn past(&self, plan: &Plan) -> EarlierRuns {
        EarlierRuns::of(plan, &self.journal.borrow())
    }

    /// Carries a plan out, or goes on with it where the journal ends. None if the process died.
    pub(crate) async fn run(&self, plan: &Plan) -> Option<Outcome> {
        let begins = self.journal.borrow().is_empty();
        let past = if begins { EarlierRuns::default() } else { self.past(plan) };
        self.until_death(run::run(plan, &past, self)).await
    }

    /// Carries a plan out up to its events. None if the process died.
    pub(crate) async fn run_before_events(&self, plan: &Plan) -> Option<Outcome> {
        self.until_death(run::run_before_events(plan, &EarlierRuns::default(), self)).await
    }

    /// Takes back what is an operation's own, and closes its journal. None if the process died.
    pub(crate) async fn undo(&self, plan: &Plan, past_no_return: bool, note: &str) -> Option<Outcome> {
        let undone = course::undo(plan, past_no_return);
        let past = self.past(plan);
        self.until_death(run::undo(&undone, &past, self, note)).await
    }

    /// Gives an operation up. None if the process died.
    pub(crate) async fn abandon(&self, plan: &Plan) -> Option<Outcome> {
        self.undo(plan, self.past(plan).past_no_return(), "abandoned").await
    }

    async fn until_death(&self, work: impl Future<Output = Outcome>) -> Option<Outcome> {
        let work = pin!(work);
        tokio::select! {
            biased;
            () = self.death.notified() => None,
            outcome = work => Some(outcome),
        }
    }

    /// Returns how often a step's effect was begun.
    pub(crate) fn performed(&self, step: &str) -> usize {
        self.events.borrow().iter().filter(|event| **event == Event::Performed(step.to_string())).count()
    }

    pub(crate) fn ended(&self) -> Option<Exit> {
        self.journal.borrow().iter().rev().find_map(|record| match record {
            Record::End { exit, .. } => Some(*exit),
            _ => None,
        })
    }

    pub(crate) fn has_mark(&self, wanted_stage: Stage, wanted: &str, wanted_mark: &Mark) -> bool {
        self.journal.borrow().iter().any(|record| {
            matches!(record, Record::Mark { step, stage, mark, .. }
                if step == wanted && *stage == wanted_stage && mark == wanted_mark)
        })
    }

    pub(crate) fn send(&self, signal: Signal) {
        self.signals.borrow_mut().push_back(signal);
        self.signalled.notify_one();
    }

    fn has(&self, step: &str, trouble: Trouble) -> bool {
        self.troubles.borrow().iter().any(|(id, what)| id == step && *what == trouble)
    }

    /// Lets happen what was scripted for a moment of a step.
    async fn moment(&self, step: &str, moment: Moment) {
        for signal in [Signal::Int, Signal::Term] {
            if self.has(step, Trouble::Sent(signal, moment)) {
                self.send(signal);
            }
        }
        if self.has(step, Trouble::JournalBreaks(moment)) {
            self.journal_broken.set(true);
        }
        self.moments.set(self.moments.get() + 1);
        if let Some((at, change)) = self.changes_at.get()
            && at == self.moments.get()
        {
            self.changes_at.set(None);
            self.change(change);
        }
        let dies = self.dies_at.get() == Some(self.moments.get());
        if dies || self.has(step, Trouble::Killed(moment)) {
            self.dead.set(true);
            self.death.notify_one();
        }
        self.live().await;
    }

    /// A dead process does nothing any more.
    async fn live(&self) {
        if self.dead.get() {
            pending::<()>().await;
        }
    }
}

impl<M: Model> World for ScriptedWorld<M> {
    async fn perform(&self, step: &Step) -> Result<Option<String>, Error> {
        self.live().await;
        self.events.borrow_mut().push(Event::Performed(step.id.clone()));
        let error = || Error::new(Exit::LocalCommand, format!("could not {}", step.title));
        let id = step.id.as_str();
        // Every effect takes a while, so that signals arrive in the middle of it.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        self.model.look(step)?;
        if self.has(id, Trouble::Fails) {
            return Err(error());
        }
        if self.has(id, Trouble::Hangs) {
            return pending().await;
        }
        self.model.take_effect(step);
        if self.has(id, Trouble::HangsAfterEffect) {
            return pending().await;
        }
        self.moment(id, Moment::AfterEffect).await;
        if self.has(id, Trouble::FailsAfterEffect) { Err(error()) } else { Ok(None) }
    }

    async fn holds(&self, probe: &Probe) -> anyhow::Result<bool> {
        self.live().await;
        match probe {
            Probe::Not(probe) => Ok(!Box::pin(self.holds(probe)).await?),
            probe => {
                let name = self.model.name(probe);
                self.events.borrow_mut().push(Event::Asked(name.clone()));
                self.moment(&name, Moment::Asked).await;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                anyhow::ensure!(!self.unanswered.borrow().contains(&name), "no answer about {name}");
                if self.hopeless.borrow().contains(&name) {
                    return Err(PermanentError(Error::new(Exit::Remote, format!("no way to {name}"))).into());
                }
                self.model.answer(probe)
            }
        }
    }

    async fn record(&self, record: &Record, flush: Flush) -> anyhow::Result<()> {
        self.live().await;
        let (step, before, after) = match record {
            Record::Mark { step, mark: Mark::Started, .. } => {
                (step.as_str(), Some(Moment::BeforeStarted), Some(Moment::AfterStarted))
            }
            Record::Mark { step, mark: Mark::Done, .. } => (step.as_str(), None, Some(Moment::AfterDone)),
            _ => ("", None, None),
        };
        if let Some(before) = before {
            self.moment(step, before).await;
        }
        anyhow::ensure!(!self.journal_broken.get(), "no space left on device");
        self.journal.borrow_mut().push(record.clone());
        if before.is_some() && self.has(step, Trouble::StartedMarkIsDenied) {
            self.journal_broken.set(true);
            anyhow::bail!("input/output error");
        }
        if flush == Flush::Now {
            self.synced.set(self.journal.borrow().len());
        }
        self.moment(step, after.unwrap_or(Moment::AfterDone)).await;
        Ok(())
    }

    async fn interrupted(&self) -> Signal {
        loop {
            let next = self.signals.borrow_mut().pop_front();
            match next {
                Some(signal) => return signal,
                None => self.signalled.notified().await,
            }
        }
    }

    fn narrate(&self, narration: Narration<'_>) {
        let text = match narration {
            Narration::GoingBack => "going back".to_string(),
            Narration::Finishing(signal) => format!("finishing after {signal:?}"),
            Narration::StillGoing(signal) => format!("still going after {signal:?}"),
            Narration::Interrupted { signal, past_no_return } => {
                format!("{signal:?}, past no return: {past_no_return}")
            }
            Narration::Warning(text) => text,
            _ => return,
        };
        self.messages.borrow_mut().push(text);
    }
}
