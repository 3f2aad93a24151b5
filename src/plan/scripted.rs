//! The scripted world: a small model of two servers in which plans run, and in which anything can go wrong on cue.
//!
//! The model is a set of facts. A step adds and removes facts; a probe `Exists` asks whether its path is one of them. What
//! must never happen is written down as a rule over the facts, and looked at after every effect.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::path::Path;
use std::pin::pin;

use tokio::sync::Notify;

use crate::error::{Error, Exit};
use crate::plan::journal::{Flush, Mark, Past, Record, Stage};
use crate::plan::run::{Hopeless, Narration, Outcome, Signal, World, abandon, run, undo};
use crate::plan::{Plan, Probe, Step};

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
    /// The `started` mark reaches the journal, but its writer is told otherwise; from then on nothing can be written.
    StartedMarkIsDenied,
}

/// What others do to the cluster meanwhile, as far as their own pgbaton lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Another node becomes the primary, unless there is one: its operator sees one that lives, and is refused.
    ThirdPrimary,
    /// Another node became the primary and is a standby again: what is left of it is its timeline.
    NewerTimeline,
    /// The old primary is started by hand, or by what supervises it: as what `standby.signal` says.
    PrimaryBack,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An effect was begun.
    Performed(String),
    /// A question was asked.
    Asked(String),
}

/// What a step does to the facts: those it adds and those it removes.
type Effect = (Vec<&'static str>, Vec<&'static str>);

#[derive(Default)]
pub(crate) struct ScriptedWorld {
    effects: BTreeMap<&'static str, Effect>,
    facts: RefCell<BTreeSet<String>>,
    never_together: Vec<(&'static str, &'static str)>,
    /// The last look of a step, made where its effect is: it has no effect while the fact holds.
    last_look: Vec<(&'static str, &'static str)>,
    /// At this moment the world changes.
    changes_at: Cell<Option<(usize, Change)>>,
    never_while: Vec<(&'static str, &'static str)>,
    /// The world did change.
    pub(crate) changed: Cell<bool>,
    violations: RefCell<Vec<String>>,
    pub(crate) events: RefCell<Vec<Event>>,
    pub(crate) told: RefCell<Vec<String>>,
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

impl ScriptedWorld {
    pub(crate) fn new(facts: &[&str]) -> Self {
        let world = Self::default();
        world.facts.borrow_mut().extend(facts.iter().map(ToString::to_string));
        world
    }

    /// Says what a step does.
    pub(crate) fn effect(
        mut self,
        step: &'static str,
        adds: &[&'static str],
        removes: &[&'static str],
    ) -> Self {
        self.effects.insert(step, (adds.to_vec(), removes.to_vec()));
        self
    }

    /// Names two facts that must never hold at the same time.
    pub(crate) fn never_together(mut self, one: &'static str, other: &'static str) -> Self {
        self.never_together.push((one, other));
        self
    }

    /// Lets a step have no effect while a fact holds.
    pub(crate) fn looks_last(mut self, step: &'static str, fact: &'static str) -> Self {
        self.last_look.push((step, fact));
        self
    }

    /// Lets the world change at the n-th moment from now on.
    pub(crate) fn changes_at(&self, moment: usize, change: Change) {
        self.moments.set(0);
        self.changes_at.set(Some((moment, change)));
    }

    /// Lets the world change, where a primary that lives does not prevent it.
    pub(crate) fn change(&self, change: Change) {
        let lives = ["old primary", "new primary", "third primary"].iter().any(|fact| self.is(fact));
        if lives {
            return;
        }
        let fact = match change {
            Change::ThirdPrimary => "third primary",
            Change::NewerTimeline => "newer timeline",
            Change::PrimaryBack if self.is("standby.signal") => "old server",
            Change::PrimaryBack => "old primary",
        };
        self.changed.set(true);
        self.facts.borrow_mut().insert(fact.to_string());
    }

    /// Ends the journal: what comes next is an operation of its own.
    pub(crate) fn forget(&self) {
        self.journal.borrow_mut().clear();
    }

    /// Takes back what is an operation's own, and closes its journal.
    pub(crate) async fn undo(&self, plan: &Plan) -> Option<Outcome> {
        let past = Past::of(plan, &self.journal.borrow());
        self.until_death(undo(plan, &past, self, "undone")).await
    }

    /// Forbids a step while a fact holds: doing it then would fail, or do harm.
    pub(crate) fn never_while(mut self, step: &'static str, fact: &'static str) -> Self {
        self.never_while.push((step, fact));
        self
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

    /// Runs or resumes a plan. None if the process died.
    pub(crate) async fn run(&self, plan: &Plan) -> Option<Outcome> {
        let past = match self.journal.borrow().as_slice() {
            [] => Past::default(),
            records => Past::of(plan, records),
        };
        self.until_death(run(plan, &past, self)).await
    }

    /// Gives an operation up. None if the process died.
    pub(crate) async fn abandon(&self, plan: &Plan) -> Option<Outcome> {
        let past = Past::of(plan, &self.journal.borrow());
        self.until_death(abandon(plan, &past, self)).await
    }

    async fn until_death(&self, work: impl Future<Output = Outcome>) -> Option<Outcome> {
        let work = pin!(work);
        tokio::select! {
            biased;
            () = self.death.notified() => None,
            outcome = work => Some(outcome),
        }
    }

    pub(crate) fn is(&self, fact: &str) -> bool {
        self.facts.borrow().contains(fact)
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

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
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

    fn take_effect(&self, step: &str) {
        let Some((adds, removes)) = self.effects.get(step) else { return };
        let mut facts = self.facts.borrow_mut();
        facts.retain(|fact| !removes.contains(&fact.as_str()));
        // What a server starts as is decided by what lies in its data directory.
        for fact in adds {
            let as_primary = *fact == "old server" && !facts.contains("standby.signal");
            facts.insert(if as_primary { "old primary" } else { fact }.to_string());
        }
        for (one, other) in &self.never_together {
            if facts.contains(*one) && facts.contains(*other) {
                self.violations.borrow_mut().push(format!("\"{one}\" and \"{other}\" after {step}"));
            }
        }
    }
}

impl World for ScriptedWorld {
    async fn perform(&self, step: &Step) -> Result<Option<String>, Error> {
        self.live().await;
        self.events.borrow_mut().push(Event::Performed(step.id.clone()));
        let error = || Error::new(Exit::LocalCommand, format!("could not {}", step.title));
        let id = step.id.as_str();
        // Every effect takes a while, so that signals arrive in the middle of it.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let holds = |rules: &[(&str, &str)]| rules.iter().any(|(step, fact)| *step == id && self.is(fact));
        if holds(&self.last_look) {
            return Err(Error { no_effect: true, ..error() });
        }
        if holds(&self.never_while) {
            self.violations.borrow_mut().push(format!("{id} performed while it must not be"));
        }
        if self.has(id, Trouble::Fails) {
            return Err(error());
        }
        if self.has(id, Trouble::Hangs) {
            return pending().await;
        }
        self.take_effect(id);
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
            Probe::Exists { path } => {
                let fact = path.to_string_lossy();
                self.events.borrow_mut().push(Event::Asked(fact.to_string()));
                self.moment(&fact, Moment::Asked).await;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                anyhow::ensure!(!self.unanswered.borrow().contains(fact.as_ref()), "no answer about {fact}");
                if self.hopeless.borrow().contains(fact.as_ref()) {
                    return Err(Hopeless(Error::new(Exit::Remote, format!("no way to {fact}"))).into());
                }
                Ok(self.is(&fact))
            }
            other => anyhow::bail!("the model knows nothing of {other}"),
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
        self.told.borrow_mut().push(text);
    }
}

/// A question about a fact.
pub(crate) fn fact(name: &str) -> Probe {
    Probe::Exists { path: Path::new(name).to_path_buf() }
}

/// The opposite of a question about a fact.
pub(crate) fn no(name: &str) -> Probe {
    Probe::Not(Box::new(fact(name)))
}
