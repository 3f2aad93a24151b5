//! A model that is a set of names. A step adds and removes some; a probe `Exists` asks whether its path is one of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Model, ScriptedWorld};
use crate::error::Error;
use crate::plan::{Probe, Step};

/// What a step does to the facts: those it adds and those it removes.
type Effect = (Vec<&'static str>, Vec<&'static str>);

#[derive(Default)]
pub(crate) struct Facts {
    effects: BTreeMap<&'static str, Effect>,
    facts: RefCell<BTreeSet<String>>,
    never_together: Vec<(&'static str, &'static str)>,
    never_while: Vec<(&'static str, &'static str)>,
    violations: RefCell<Vec<String>>,
}

impl Facts {
    pub(crate) fn is(&self, fact: &str) -> bool {
        self.facts.borrow().contains(fact)
    }

    /// Lets another command make a fact true.
    pub(crate) fn put(&self, fact: &str) {
        self.facts.borrow_mut().insert(fact.to_string());
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }
}

impl ScriptedWorld {
    pub(crate) fn new(facts: &[&str]) -> Self {
        let facts = RefCell::new(facts.iter().map(ToString::to_string).collect());
        Self::of(Facts { facts, ..Facts::default() })
    }

    /// Says what a step does.
    pub(crate) fn effect(
        mut self,
        step: &'static str,
        adds: &[&'static str],
        removes: &[&'static str],
    ) -> Self {
        self.model.effects.insert(step, (adds.to_vec(), removes.to_vec()));
        self
    }

    /// Names two facts that must never hold at the same time.
    pub(crate) fn never_together(mut self, one: &'static str, other: &'static str) -> Self {
        self.model.never_together.push((one, other));
        self
    }

    /// Forbids a step while a fact holds: doing it then would fail, or do harm.
    pub(crate) fn never_while(mut self, step: &'static str, fact: &'static str) -> Self {
        self.model.never_while.push((step, fact));
        self
    }
}

impl Model for Facts {
    type Change = ();

    fn name(&self, probe: &Probe) -> String {
        match probe {
            Probe::Exists { path } => path.to_string_lossy().into_owned(),
            // The question of what is undone later: see `resume::undo`.
            Probe::Runs { in_recovery: false, .. } => "old primary".into(),
            Probe::Runs { in_recovery: true, .. } => "old server".into(),
            other => other.to_string(),
        }
    }

    fn answer(&self, probe: &Probe) -> anyhow::Result<bool> {
        match probe {
            Probe::Exists { .. } | Probe::Runs { .. } => Ok(self.is(&self.name(probe))),
            other => anyhow::bail!("the model knows nothing of {other}"),
        }
    }

    fn look(&self, step: &Step) -> Result<(), Error> {
        let forbidden = |(id, fact): &(&str, &str)| *id == step.id && self.is(fact);
        if self.never_while.iter().any(forbidden) {
            self.violations.borrow_mut().push(format!("{} performed while it must not be", step.id));
        }
        Ok(())
    }

    fn take_effect(&self, step: &Step) {
        let Some((adds, removes)) = self.effects.get(step.id.as_str()) else { return };
        let mut facts = self.facts.borrow_mut();
        facts.retain(|fact| !removes.contains(&fact.as_str()));
        // What a server starts as is decided by what lies in its data directory.
        for fact in adds {
            let as_primary = *fact == "old server" && !facts.contains("standby.signal");
            facts.insert(if as_primary { "old primary" } else { fact }.to_string());
        }
        for (one, other) in &self.never_together {
            if facts.contains(*one) && facts.contains(*other) {
                let violation = format!("\"{one}\" and \"{other}\" after {}", step.id);
                self.violations.borrow_mut().push(violation);
            }
        }
    }

    fn change(&self, (): ()) -> bool {
        false
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
