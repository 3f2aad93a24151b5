//! Plans: what a mutating command is going to do, as a value.
//!
//! A planner (`plan/clone`, …) is a pure function from facts and options to a [`Plan`]. The plan is shown, journalled
//! and executed by [`run`](crate::operation::run::run); `--dry-run` prints the very value that would run. Nothing here touches the world:
//! effects and questions are carried out by a [`World`](crate::operation::outcome::World), of which there are two, the live one
//! (`operation/live`) and the scripted one of the tests.
//!
//! The types are closed enums on purpose: the line that is shown is derived from the same value as the effect, a journal
//! written by one version can be read by the next, and the compiler says where a new effect has to be printed and performed.
//!
//! Why there are never two primaries is modelled in `tests/all/role_model.rs`: a changed rule of the commands that change roles has to be changed
//! there, too. That the plans keep the rules while the world changes under them is proven in `proofs/changed.rs`.

pub mod check;
pub mod cleanup;
pub mod clone;
pub mod far_end;
pub mod file_op;
pub mod final_check;
pub mod follow;
pub mod guard;
pub mod keep_down;
pub mod op;
pub mod parts;
pub mod prepare;
pub mod probe;
pub mod promote;
pub mod register;
pub mod rejoin;
pub mod service;
pub mod switchover;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::Exit;
use crate::pg::endpoint::Endpoint;
use crate::plan::parts::events::PlannedEvent;
use crate::verb::{Locks, Unfinished};

pub use crate::registry::operation::Scope;
pub use check::{Check, CheckResult, Override};
pub use far_end::FarEnd;
pub use file_op::FileOp;
pub use final_check::{FinalCheck, FinalCheckFacts};
pub use op::{Op, Setting, SignalRequest, Standby, ValuePart};
pub use probe::Probe;

/// Everything a mutating command will do.
///
/// Order of execution: `phases` one after the other; then `verify`; and `always` in every case. When a step fails before
/// the step marked [`Step::no_return`] has been started, `rollback` restores the old state. Once that step has been started,
/// no run ever executes `rollback` again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The operation as a sentence without a full stop: `clone standby "node2" from "node1"`.
    pub title: String,
    /// What was examined, and with what result. All checks are evaluated; none hides another.
    pub checks: Vec<Check>,
    /// The work.
    pub phases: Vec<Phase>,
    /// The rollback after a failure before the point of no return, in order.
    #[serde(rename = "back", default, skip_serializing_if = "Vec::is_empty")]
    pub rollback: Vec<RollbackStep>,
    /// Done whatever happened, each failure only a warning: unpausing daemons belongs here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<Step>,
    /// What must be true at the end, each within its own time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Verify>,
    /// The exit code when the rollback itself fails.
    pub back_failed: Exit,
    /// What shows that a rollback that failed in part has reached what matters all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regained: Option<RollbackSuccess>,
    /// The exit code when something fails after the point of no return, or in a phase that tolerates failures, or in
    /// `verify`.
    pub incomplete: Exit,
    /// The primary, where a row in `pgbaton.operation` records the operation before its first effect, so that every standby has it;
    /// None if there is no primary to write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce_on: Option<Endpoint>,
    /// The cluster that it was planned for. A later run that finds another one does not go on; an operation of version 0.1.0 has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<PlannedFor>,
    /// The other nodes on whose hosts something is done or asked, and how they are reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub far_ends: Vec<FarEnd>,
    /// The event notifications when it has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "tells")]
    pub notifications: Vec<PlannedEvent>,
    /// Operations that are no longer open on the nodes that ran them; their rows are closed when this one has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<String>,
    /// The locks that it is carried out under, written when it begins; a journal of an earlier version does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locks: Option<Locks>,
    /// What it means that it is unfinished, written when it begins; a journal of an earlier version does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
}

/// The state of the cluster that an operation was planned for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFor {
    /// The nodes that it changes, the timeline and the cluster.
    pub scope: Scope,
    /// The primary at that time, or the last one that was known.
    pub primary: Option<i32>,
}

/// Steps that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// A heading, in the imperative, lower case.
    pub title: String,
    /// One after the other, or all at once.
    pub order: Order,
    /// What a failed step means for the rest.
    pub on_failure: OnFailure,
    /// Clients cannot write while this phase runs. Marks are then written without waiting for the disk, except the first
    /// one of the phase and the one before the point of no return. After a crash of the machine a step between these
    /// may therefore have been started although the journal says nothing: a resumed run treats it as started, so
    /// [`OnResume::Stop`] has no place here.
    #[serde(default)]
    pub outage: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

/// How the steps of a phase are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One after the other; a failure stops the phase.
    InOrder,
    /// All at once; a failure is looked at when all have ended.
    AllAtOnce,
}

/// What a failed step means for what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The operation ends: with a rollback before the point of no return, as incomplete after it.
    Stop,
    /// The failure is reported, the following phases still run, and the operation ends as incomplete.
    Continue,
}

/// One effect, and everything that is needed to journal, bound, resume and explain it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// A name, unique in the plan: the journal's key.
    pub id: String,
    /// What is done, in the imperative, lower case, with names in double quotes: `create slot "repmgr_slot_2" on "node1"`.
    pub title: String,
    /// The effect.
    pub op: Op,
    /// The node on whose host it takes effect, if it is not this one. SQL goes over the network and needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i32>,
    /// Seconds after which the step has failed. Every step has a bound.
    pub timeout_s: u32,
    /// What it means when the journal says `started` and nothing else.
    pub on_resume: OnResume,
    /// What must be true at the moment this step is started, asked in every run: here the journal is not believed.
    ///
    /// A journal that could not be written any more has no record of a rollback that was run all the same. So a step that
    /// would do harm on an old state asks for itself: a promotion, whether the old primary is still shut down; the start
    /// of a former primary, whether `standby.signal` is still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Probe>,
    /// The same, as far as only the coordinator can check it: a far end that is left alone judges by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_here: Vec<Probe>,
    /// What must also be true when a resumed run starts this step. The first run has just seen it, and asking again may take seconds in
    /// which clients cannot write; a resumed one may be hours old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_on_resume: Vec<Probe>,
    /// What ends a wait early as a failure: when it holds, the wait cannot succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_up_if: Option<Probe>,
    /// The exit code when this step fails before the point of no return, or is the point of no return.
    pub exit: Exit,
    /// Starting this step is the point of no return.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_return: bool,
    /// What the rollback leaves of it on purpose, as a whole sentence; None for a step that is undone or has nothing to undo.
    #[serde(rename = "stays", default, skip_serializing_if = "Option::is_none")]
    pub left_in_place: Option<String>,
    /// SIGINT and SIGTERM may cut this step short. Not so for pg_rewind: cut short, it leaves a broken directory.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub interruptible: bool,
    /// What the user has to do when this step has failed, in whole sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What to do with a step that was started by an earlier run and never reported its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnResume {
    /// Doing it twice ends in the same state as doing it once.
    Again,
    /// Do it again unless this holds, in which case it is done.
    AgainUnless(Probe),
    /// Its effect is unknown: stop, and say what to do.
    Stop {
        /// A whole sentence.
        hint: String,
    },
}

/// A step of the rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackStep {
    /// Run only if one of these steps was started; always, if empty.
    pub if_started: Vec<String>,
    /// The step.
    pub step: Step,
}

impl RollbackStep {
    /// Says whether the step belongs to the rollback of a run; `started` says of the ID of a step whether the run has started that.
    pub fn is_due(&self, started: impl Fn(&str) -> bool) -> bool {
        self.if_started.is_empty() || self.if_started.iter().any(|id| started(id))
    }
}

/// When a rollback that failed in part counts as done: what is left is then only a nuisance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackSuccess {
    /// What holds then: the old primary is seen to accept writes.
    pub probe: Probe,
    /// The exit code of a requested rollback that leaves something; otherwise it is that of the failure.
    pub exit: Exit,
}

/// A question that must be answered with yes at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    /// The expectation as a sentence without a full stop: `node "node2" streams from "node1"`.
    pub title: String,
    /// The question.
    pub probe: Probe,
    /// Seconds within which the answer must become yes.
    pub timeout_s: u32,
    /// The step that leads to it: if that has failed, the answer is not waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Plan {
    /// A plan with nothing in it.
    pub fn nothing(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            checks: Vec::new(),
            phases: Vec::new(),
            rollback: Vec::new(),
            always: Vec::new(),
            verify: Vec::new(),
            back_failed: Exit::Failed,
            regained: None,
            incomplete: Exit::Incomplete,
            announce_on: None,
            origin: None,
            far_ends: Vec::new(),
            notifications: Vec::new(),
            settled: Vec::new(),
            locks: None,
            unfinished: None,
        }
    }

    /// Returns all steps of the phases, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.phases.iter().flat_map(|phase| phase.steps.iter())
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps().next().is_none()
    }

    /// Returns the step whose start is the point of no return, if the plan has one.
    pub fn no_return(&self) -> Option<&Step> {
        self.steps().find(|step| step.no_return)
    }

    /// Returns what is wrong with the plan itself, if anything is: a defect of the planner, found before any effect.
    pub fn defect(&self) -> Option<String> {
        let mut ids = BTreeSet::new();
        let back = self.rollback.iter().map(|back| &back.step);
        for step in self.steps().chain(back).chain(&self.always) {
            if !ids.insert(&step.id) {
                return Some(format!("two steps have the id \"{}\"", step.id));
            }
        }
        if self.steps().filter(|step| step.no_return).count() > 1 {
            return Some("two steps are the point of no return".to_string());
        }
        // Among concurrent steps "before" and "after" mean nothing, and a failure there must never be ignored.
        let shared =
            |phase: &&Phase| phase.order == Order::AllAtOnce || phase.on_failure == OnFailure::Continue;
        for phase in self.phases.iter().filter(shared) {
            if let Some(step) = phase.steps.iter().find(|step| step.no_return) {
                return Some(format!("\"{}\", the point of no return, needs a phase in order", step.id));
            }
        }
        if let Some(step) = self.no_return().filter(|step| step.on_resume == OnResume::Again) {
            return Some(format!("\"{}\", the point of no return, may not be repeated unasked", step.id));
        }
        // These codes say that nothing was changed, which a step that was begun cannot promise.
        let exits = self.steps().map(|step| step.exit).chain([self.incomplete, self.back_failed]);
        if let Some(exit) = exits.into_iter().find(|exit| exit.leaves_all_as_it_was()) {
            return Some(format!(
                "a step fails with code {}, which says that nothing was changed",
                exit.code()
            ));
        }
        let known: BTreeSet<&String> = self.steps().map(|step| &step.id).collect();
        let named = self.rollback.iter().flat_map(|back| &back.if_started);
        named
            .into_iter()
            .find(|id| !known.contains(id))
            .map(|id| format!("the rollback names a step \"{id}\" that is not in the plan"))
    }
}

/// Says that what a title names was tried and failed: `could not promote "node2"`; of a wait, that it was given up.
pub fn could_not(title: &str) -> String {
    given_up(title).unwrap_or_else(|| format!("could not {title}"))
}

/// Says that what a title names was not tried.
pub fn did_not(title: &str) -> String {
    given_up(title).unwrap_or_else(|| format!("did not {title}"))
}

fn given_up(title: &str) -> Option<String> {
    title.strip_prefix("wait until ").map(|condition| format!("gave up waiting until {condition}"))
}

impl Step {
    /// Starts a step that may be repeated, may be interrupted, and fails with `exit`.
    pub fn new(id: impl Into<String>, title: impl Into<String>, op: Op, timeout_s: u32, exit: Exit) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            op,
            at: None,
            timeout_s,
            on_resume: OnResume::Again,
            requires: Vec::new(),
            requires_here: Vec::new(),
            requires_on_resume: Vec::new(),
            gives_up_if: None,
            exit,
            no_return: false,
            left_in_place: None,
            interruptible: true,
            hint: None,
        }
    }

    /// Says what an interruption of this step means.
    #[must_use]
    pub fn on_resume(mut self, on_resume: OnResume) -> Self {
        self.on_resume = on_resume;
        self
    }

    /// Adds something that must be true when this step is started.
    #[must_use]
    pub fn requires(mut self, probe: Probe) -> Self {
        self.requires.push(probe);
        self
    }

    /// Adds something that the coordinator must see to be true when this step is started.
    #[must_use]
    pub fn requires_here(mut self, probe: Probe) -> Self {
        self.requires_here.push(probe);
        self
    }

    /// Adds something that must be true when a resumed run starts this step.
    #[must_use]
    pub fn requires_on_resume(mut self, probe: Probe) -> Self {
        self.requires_on_resume.push(probe);
        self
    }

    /// Sets what ends the wait early.
    #[must_use]
    pub fn gives_up_if(mut self, probe: Probe) -> Self {
        self.gives_up_if = Some(probe);
        self
    }

    /// Says on the host of which other node this step takes effect.
    #[must_use]
    pub fn at(mut self, node_id: i32) -> Self {
        self.at = Some(node_id);
        self
    }

    /// Marks this step as the point of no return.
    #[must_use]
    pub fn no_return(mut self) -> Self {
        self.no_return = true;
        self
    }

    /// Says what the rollback leaves of this step.
    #[must_use]
    pub fn left_in_place(mut self, sentence: impl Into<String>) -> Self {
        self.left_in_place = Some(sentence.into());
        self
    }

    /// Says what the user has to do when it has failed.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that this step, once started, must not be interrupted.
    #[must_use]
    pub fn uninterruptible(mut self) -> Self {
        self.interruptible = false;
        self
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}
