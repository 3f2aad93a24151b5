//! Carrying out a plan: checks, dry run, lock, journal, run, outcome. Every mutating command ends here.

use std::path::Path;

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::far_end::remote::Remote;
use crate::journal::{self, EarlierRuns, Header, Journal};
use crate::observe::own_operations::make_way;
use crate::observe::under_locks::LockedCluster;
use crate::operation::conclusion::conclude;
use crate::operation::examine::{examine, warnings};
use crate::operation::live::{FarEnds, Live};
use crate::operation::outcome::{Done, Outcome};
use crate::operation::with_events::finish_left;
use crate::operation::{record, run};
use crate::output::{Data, Report};
use crate::pg::statement::Statement;
use crate::plan::{Op, Plan};
use crate::registry;
use crate::secret::Secrets;
use crate::site::state_directory::{lock, would_lock};
use crate::system::clock;
use crate::system::lock::LocalLock;
use crate::ui::Level;
use crate::verb::{Locks, Verb};

/// Journals of finished operations that are kept on a node.
const KEPT_JOURNALS: usize = 200;

/// Seconds for telling the cluster of an operation.
const ANNOUNCE_S: u32 = 5;

/// How a plan is carried out.
#[derive(Debug)]
pub struct RunOptions<'a> {
    verb: Verb,
    secrets: Secrets,
    held: Option<&'a LockedCluster>,
    channel: Option<Remote>,
}

impl<'a> RunOptions<'a> {
    /// As the operation of the command that was given, under the lock of this node, with what is to be kept out of plan and journal.
    pub fn new(context: &Context, secrets: Secrets) -> Self {
        Self { verb: context.verb, secrets, held: None, channel: None }
    }

    /// As the operation of another command: a clone may start and register its server.
    #[must_use]
    pub fn named(mut self, verb: Verb) -> Self {
        self.verb = verb;
        self
    }

    /// Under the locks that the command has taken itself, before it looked at what it decides from.
    #[must_use]
    pub fn holding(mut self, held: &'a LockedCluster) -> Self {
        self.held = Some(held);
        self
    }

    /// Over a channel that was opened for the checks already.
    #[must_use]
    pub fn with_channel(mut self, channel: Option<Remote>) -> Self {
        self.channel = channel;
        self
    }

    fn locks(&self) -> Locks {
        if self.held.is_some() { Locks::Cluster } else { Locks::Local }
    }
}

/// An operation whose steps were run, and whose journal has not ended: its events are still to be sent, under the same lock.
#[derive(Debug)]
pub struct Open<'a> {
    /// The world in which it was run.
    pub world: Live<'a>,
    _lock: Option<LocalLock>,
}

/// Shows what the checks found, then shows or runs the plan. What is returned says why it failed, if it did: by a check, a lock or a step;
/// with the state that things were left in.
pub async fn carry_out(context: &Context, plan: &Plan, how: RunOptions<'_>) -> Done {
    let (mut done, open) = carry_out_open(context, plan, how).await;
    if let Some(open) = open {
        let end = done.outcome.as_mut().and_then(|outcome| outcome.end.take());
        run::end(&open.world, end.as_ref()).await;
    }
    done
}

/// The same without the end of the journal, where the operation is one whose end comes after its events: see `operation/with_events.rs`.
pub async fn carry_out_open<'a>(
    context: &'a Context,
    plan: &Plan,
    how: RunOptions<'_>,
) -> (Done, Option<Open<'a>>) {
    let verb = how.verb;
    let acts = !context.options.dry_run;
    match act(context, plan, how).await {
        Ok((done, open)) => (done, open),
        Err(error) => {
            let reported = acts && verb.reports(error.exit);
            (Done::not_begun(error, reported), None)
        }
    }
}

/// Carries the plan out, or, without one, returns why it was not begun.
async fn act<'a>(context: &'a Context, plan: &Plan, how: RunOptions<'_>) -> Result<(Done, Option<Open<'a>>)> {
    let (verb, held) = (how.verb, how.held);
    if verb.traits().locks == Locks::Cluster && held.is_none() {
        return Err(Error::new(Exit::Internal, format!("\"{verb}\" has not taken the locks of the cluster")));
    }
    examine(context, plan)?;
    let nothing_to_do = plan.is_empty() && plan.verify.is_empty();
    if context.options.dry_run {
        if !nothing_to_do {
            rehearse(context, held).await?;
        }
        context.ui.say(Level::Notice, "this is a dry run: nothing was changed");
        let report = Report { issues: warnings(plan), ..Report::new(Data::Plan(Box::new(plan.clone()))) };
        return Ok((Done::nothing(report), None));
    }
    if nothing_to_do {
        if let Ok(directory) = context.state_directory() {
            finish_left(context, &directory, Some((verb, plan)), held.is_none()).await;
        }
        if let Some(held) = held {
            record::close_settled(context, held, &plan.settled).await;
        }
        let report =
            Report { issues: warnings(plan), ..Report::new(Data::Done(json!({ "operation_id": null }))) };
        return Ok((Done::nothing(report), None));
    }
    let directory = context.state_directory()?;
    let lock = match held {
        Some(_) => None,
        None => Some(lock(context).await?),
    };
    finish_left(context, &directory, None, false).await;
    make_way(context, &directory)?;
    let (world, header) = begin(context, plan, how, &directory).await?;
    let outcome = run_recorded(context, plan, &world, &header).await;
    if let Err(error) = journal::prune(&directory, KEPT_JOURNALS) {
        context.debug(&format!("could not remove old journals: {error:#}"));
    }
    let open = ends_after_events(plan, &header).then_some(Open { world, _lock: lock });
    Ok((ended(verb, plan, &header.operation_id, outcome), open))
}

/// Looks, in a dry run, whether what the plan requires of this node's state is there: the lock, and no unfinished operation.
async fn rehearse(context: &Context, held: Option<&LockedCluster>) -> Result<()> {
    let state = context.state()?;
    if let Some(aside) = &state.aside {
        let (path, aside) = (state.path.display(), aside.display());
        let text =
            format!("state directory \"{path}\" is another cluster's and would be moved to \"{aside}\"");
        context.ui.say(Level::Notice, &text);
        return Ok(());
    }
    if held.is_none() {
        would_lock(context, &state.path).await?;
    }
    make_way(context, &state.path)
}

/// Opens the ways to other hosts, begins the journal, and returns the world in which the plan runs.
async fn begin<'a>(
    context: &'a Context,
    plan: &Plan,
    how: RunOptions<'_>,
    directory: &Path,
) -> Result<(Live<'a>, Header)> {
    let (verb, locks) = (how.verb, how.locks());
    let far_ends = FarEnds::open(context, plan, &EarlierRuns::default(), how.channel).await?;
    let config = context.config()?;
    let started_at = clock::now();
    let header = Header {
        format: journal::FORMAT,
        pgbaton: env!("CARGO_PKG_VERSION").into(),
        operation_id: journal::new_operation_id(started_at),
        command: verb.to_string(),
        command_line: context.command_line.clone(),
        started_at,
        node_id: config.node_id,
        node_name: config.node_name.clone(),
        system_identifier: context.system_identifier(),
        pid: std::process::id(),
        plan: Plan { locks: Some(locks), unfinished: verb.traits().unfinished, ..plan.clone() },
    };
    // A signal that arrives from here on is obeyed by the run, which closes its journal.
    let world = Live::new(context, how.secrets)?;
    let journal = Journal::create(directory, &header).map_err(|error| {
        Error::from_cause(Exit::Failed, "could not begin the journal", &error).detail("Nothing was changed.")
    })?;
    // After a terminal was closed, this names what is to be resumed.
    context.ui.say(Level::Info, &format!("operation {}: {}", header.operation_id, plan.title));
    let mut world = world.writing(journal).with(far_ends).for_operation(&header);
    if let Some(held) = how.held {
        world = world.holding(held);
    }
    Ok((world, header))
}

/// Runs the plan; the cluster has a record of its begin and of its end.
async fn run_recorded(context: &Context, plan: &Plan, world: &Live<'_>, header: &Header) -> Outcome {
    world.warm_up(plan).await;
    let announces = plan.steps().any(|step| matches!(step.op, Op::Announce { .. }));
    if !announces {
        let begun =
            |scope| registry::operation::begun(&header.operation_id, &header.command, header.node_id, scope);
        let scope = plan.origin.as_ref().map(|origin| &origin.scope);
        announce(context, world, plan, &[begun(scope)]).await;
    }
    let outcome = run_up_to_its_end(plan, &EarlierRuns::default(), world, header).await;
    world.release().await;
    if !outcome.resumable {
        record_end(context, world, plan, &header.operation_id, &outcome).await;
    }
    outcome
}

/// Says whether the events of an operation come before the end of its journal. Of one that changes roles they come after it.
fn ends_after_events(plan: &Plan, header: &Header) -> bool {
    header.is_harmless() && !plan.notifications.is_empty()
}

/// Runs a plan, up to its events where they come before the end of its journal.
pub(super) async fn run_up_to_its_end(
    plan: &Plan,
    past: &EarlierRuns,
    world: &Live<'_>,
    header: &Header,
) -> Outcome {
    match ends_after_events(plan, header) {
        true => run::run_before_events(plan, past, world).await,
        false => run::run(plan, past, world).await,
    }
}

/// Sums up what became of a plan that was run.
fn ended(verb: Verb, plan: &Plan, operation_id: &str, mut outcome: Outcome) -> Done {
    let report = match conclude(plan, operation_id, &mut outcome) {
        Ok(report) => Ok(Report { issues: warnings(plan), ..report }),
        Err(mut error) => {
            error.issues.extend(warnings(plan));
            Err(error)
        }
    };
    Done { acted: outcome.acted(Some(verb)), outcome: Some(outcome), report }
}

/// Records an operation in the cluster, if there is a primary to record it on.
///
/// Never stops the operation: the node's own journal is what counts. Reading roles, and tables of an older version, are no reason to
/// refuse work either.
pub async fn announce(context: &Context, world: &Live<'_>, plan: &Plan, statements: &[Statement]) {
    let Some(on) = &plan.announce_on else { return };
    if let Err(error) = world.sql(on, statements, ANNOUNCE_S).await {
        context.debug(&format!("could not record the operation in the cluster: {error}"));
    }
}

/// Records in the cluster that an operation has ended: on the primary that there is now.
///
/// A promotion settles what was open on the timeline before it.
pub async fn record_end(context: &Context, world: &Live<'_>, plan: &Plan, id: &str, outcome: &Outcome) {
    let mut statements = vec![registry::operation::ended(id, outcome.exit)];
    statements.extend(plan.settled.iter().map(|id| registry::operation::close(id)));
    let promoted = plan.steps().find_map(|step| match &step.op {
        Op::Promote { on, .. } => Some((on, &step.id)),
        _ => None,
    });
    let is_done = |id: &String| outcome.steps.iter().any(|step| step.id == *id && step.status.is_done());
    match promoted {
        Some((on, step)) if is_done(step) => {
            statements.push(registry::operation::close_before_promotion());
            if let Err(error) = world.sql(on, &statements, ANNOUNCE_S).await {
                context.debug(&format!("could not record the end of the operation: {error}"));
            }
        }
        _ => announce(context, world, plan, &statements).await,
    }
}
