//! The far ends of an operation: their channels, and what each of them is to do if it is left alone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::context::Context;
use crate::error::{Error, Exit, sentence};
use crate::far_end::protocol::Call;
use crate::far_end::remote::{ANSWER, GRACE, Mode, OPEN, Remote, check_hello, named};
use crate::journal::{EarlierRuns, Stage};
use crate::plan::{FarEnd, Plan, RollbackStep, Step};
use crate::secret::Secrets;

/// The far ends of a plan.
///
/// With the first effect that the rollback would undo, a far end is given the part of the rollback that is its own: it carries that out by
/// itself if its channel closes before it has reported that its server is shut down. Before the point of no return it has to forget it.
#[derive(Debug, Default)]
pub struct FarEnds {
    remotes: BTreeMap<i32, Remote>,
    rollback: Vec<RollbackStep>,
    /// The steps that were started, by this run or an earlier one.
    started: RefCell<BTreeSet<String>>,
    /// The steps during which no server accepts writes.
    outage: BTreeSet<String>,
    in_outage: Cell<bool>,
    past_no_return: Cell<bool>,
    going_back: Cell<bool>,
}

impl FarEnds {
    /// Opens the channels that a plan needs, but for one that is open already, and takes the lock of each node. Whatever fails, nothing is
    /// changed.
    ///
    /// # Errors
    /// Exit code 12 for a far end that cannot be reached, 30 for one that is busy, 1 for one that is another than it should be.
    pub async fn open(
        context: &Context,
        plan: &Plan,
        past: &EarlierRuns,
        opened: Option<Remote>,
    ) -> Result<Self, Error> {
        let (far_ends, absent) = Self::open_each(context, plan, past, opened).await;
        match absent.into_iter().next() {
            Some(absent) => Err(absent.error.detail("Nothing was changed.")),
            None => Ok(far_ends),
        }
    }

    /// Opens what can be opened; returns why the rest cannot be.
    ///
    /// # Errors
    /// Exit code 30 while another command runs on one of the hosts: its work and a rollback without it would conflict.
    pub async fn open_some(
        context: &Context,
        plan: &Plan,
        past: &EarlierRuns,
    ) -> Result<(Self, Vec<Error>), Error> {
        let (far_ends, mut absent) = Self::open_each(context, plan, past, None).await;
        match absent.iter().position(|absent| absent.busy) {
            Some(at) => Err(absent.swap_remove(at).error.detail("Nothing was changed.")),
            None => Ok((far_ends, absent.into_iter().map(|absent| absent.error).collect())),
        }
    }

    async fn open_each(
        context: &Context,
        plan: &Plan,
        past: &EarlierRuns,
        mut opened: Option<Remote>,
    ) -> (Self, Vec<FarEndUnavailable>) {
        let each = plan.far_ends.iter().map(|far_end| {
            let opened = opened.take_if(|remote| remote.far_end == *far_end);
            ready(context, far_end, opened)
        });
        let opened = join_all(each).await;
        let mut remotes = BTreeMap::new();
        let mut absent = Vec::new();
        for remote in opened {
            match remote {
                Ok(remote) => {
                    remotes.insert(remote.far_end.node_id, remote);
                }
                Err(why) => absent.push(why),
            }
        }
        let started = plan.steps().filter(|step| past.started(Stage::Forward, &step.id));
        let far_ends = Self {
            remotes,
            rollback: plan.rollback.clone(),
            started: RefCell::new(started.map(|step| step.id.clone()).collect()),
            outage: plan
                .phases
                .iter()
                .filter(|phase| phase.outage)
                .flat_map(|phase| phase.steps.iter().map(|step| step.id.clone()))
                .collect(),
            in_outage: Cell::default(),
            past_no_return: Cell::new(past.past_no_return()),
            going_back: Cell::default(),
        };
        (far_ends, absent)
    }

    /// From here on there is no way forward any more.
    pub(crate) fn go_back(&self) {
        self.going_back.set(true);
    }

    pub(crate) fn mode(&self) -> Mode {
        match () {
            () if self.going_back.get() || self.past_no_return.get() => Mode::Reopen,
            () if self.in_outage.get() => Mode::Outage,
            () => Mode::Fail,
        }
    }

    /// Says whether there is a channel to the host of a node.
    pub fn reaches(&self, node_id: i32) -> bool {
        self.remotes.contains_key(&node_id)
    }

    /// Makes certain once more that none of their servers is a primary, or comes back as one: this process was stopped, and what they have
    /// confirmed before is old. Returns what speaks against a promotion, as a whole sentence.
    pub(crate) async fn objection(&self) -> Option<String> {
        let asked = self.remotes.values().map(async |remote| match remote.take_over().await {
            Ok(standing) => standing.objection().map(|why| format!("Node \"{}\": {why}", remote.name())),
            Err(error) => Some(sentence(&error.to_string())),
        });
        join_all(asked).await.into_iter().flatten().next()
    }

    pub(crate) fn get(&self, node_id: i32) -> Option<&Remote> {
        self.remotes.get(&node_id)
    }

    /// Sees to it, before a step is carried out, that every far end does the right thing if it is left alone from now on.
    pub(crate) async fn before(&self, step: &Step, known: &Secrets) -> Result<(), Error> {
        if self.past_no_return.get() {
            return Ok(());
        }
        self.started.borrow_mut().insert(step.id.clone());
        self.in_outage.set(self.in_outage.get() || self.outage.contains(&step.id));
        if step.no_return {
            self.past_no_return.set(true);
            // One that has reported it does nothing by itself any more, and must not be waited for now.
            let armed = self
                .remotes
                .values()
                .filter(|remote| !remote.confirmed.get() && !remote.armed.borrow().is_empty());
            for done in join_all(armed.map(|remote| remote.done(&Call::Disarm, ANSWER, Mode::Fail))).await {
                done.map_err(|error| Error { no_effect: true, ..error })?;
            }
            return Ok(());
        }
        for done in join_all(self.remotes.values().map(|remote| self.arm(remote, known))).await {
            done?;
        }
        Ok(())
    }

    async fn arm(&self, remote: &Remote, known: &Secrets) -> Result<(), Error> {
        let rollback: Vec<Step> = {
            let started = self.started.borrow();
            let applies = |undo: &&RollbackStep| {
                undo.step.at == Some(remote.far_end.node_id) && undo.is_due(|id| started.contains(id))
            };
            self.rollback.iter().filter(applies).map(|undo| undo.step.clone()).collect()
        };
        let ids: Vec<String> = rollback.iter().map(|step| step.id.clone()).collect();
        if remote.confirmed.get() || *remote.armed.borrow() == ids {
            return Ok(());
        }
        let secrets = named(known, rollback.iter().flat_map(Step::secrets).collect());
        remote.done(&Call::Arm { rollback, secrets }, ANSWER, self.mode()).await?;
        remote.armed.replace(ids);
        Ok(())
    }

    /// Ends the work with all far ends: they forget what they were to do and give their locks back.
    ///
    /// One that can no longer be reached has noticed that by itself.
    pub async fn release(&self) {
        let released = self.remotes.values().map(|remote| remote.say(&Call::Release, GRACE));
        let _gone = join_all(released).await;
    }
}

/// Why a far end takes no part.
struct FarEndUnavailable {
    error: Error,
    /// Another command is running there now.
    busy: bool,
}

/// Opens one channel for an operation, unless its checks have: the right node, nothing else going on there, its lock taken.
async fn ready(
    context: &Context,
    far_end: &FarEnd,
    opened: Option<Remote>,
) -> Result<Remote, FarEndUnavailable> {
    let remote = match opened {
        Some(remote) => remote,
        None => {
            let (remote, hello) = Remote::open(context, far_end, OPEN)
                .await
                .map_err(|trouble| FarEndUnavailable { error: trouble.error(far_end), busy: false })?;
            let busy = hello.locked_by.is_some();
            check_hello(far_end, hello).map_err(|error| FarEndUnavailable { error, busy })?;
            remote
        }
    };
    let lock = Call::Lock { command: context.verb.to_string() };
    match remote.done(&lock, ANSWER, Mode::Fail).await {
        Ok(_) => Ok(remote),
        Err(error) => Err(FarEndUnavailable { busy: error.exit == Exit::Busy, error }),
    }
}
