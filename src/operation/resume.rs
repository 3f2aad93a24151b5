//! Taking up an operation that an earlier run left unfinished: it is judged by what the cluster is now (`operation/course.rs`), and finished,
//! planned anew, or closed.

use crate::command_line::parse_again::parse_again;
use crate::context::Context;
use crate::error::{Error, Exit, Result, Text, sentence};
use crate::far_end::remote::{OPEN, Remote, second_channel};
use crate::journal::{EarlierRuns, Flush, Header, Journal, Loaded, Record, Stage, StoredJournal};
use crate::observe::own_node::secrets_of;
use crate::observe::under_locks::{LockedCluster, lock_cluster};
use crate::observe::{discovery, own_operations};
use crate::operation::announce::{self, End, send_all, send_unsent, unsent};
use crate::operation::carry_out::{record_end, run_up_to_its_end};
use crate::operation::conclusion::conclude;
use crate::operation::course::{Course, UnfinishedFacts, confirmed, course, course_without_roles, undo};
use crate::operation::live::{FarEnds, Live};
use crate::operation::old_primary_host::ways_back;
use crate::operation::outcome::{Ended, Outcome, World};
use crate::operation::{promotion, run};
use crate::output::{Data, Report};
use crate::plan::far_end::{Reached, ServerState};
use crate::plan::parts::events;
use crate::plan::{Op, Plan};
use crate::registry::node;
use crate::secret::{Secret, Secrets};
use crate::site::state_directory::lock;
use crate::system::clock;
use crate::system::lock::LocalLock;
use crate::ui::{Level, Ui};
use crate::units::utc;
use crate::verb::Locks;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How long an old primary that is coming back is looked at once more, and how often.
const SETTLES: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(300);

/// What has become of an operation that was taken up.
#[derive(Debug)]
pub enum ResumeResult {
    /// It is over, or failed as it would have failed by itself.
    Over(Report),
    /// What it had left is undone, and it is closed: the command begins anew.
    Anew,
}

/// Goes on with an unfinished operation; `words` is the command line with which it would begin anew.
///
/// # Errors
/// Exit code 31 if the role has gone to another node since; 30 if another command is running; else those of the operation.
pub async fn resume(context: &Context, entry: &StoredJournal, words: &[String]) -> Result<ResumeResult> {
    let until = Instant::now() + SETTLES;
    loop {
        let passes = Cell::new(false);
        match try_resume(context, entry, words, &passes).await {
            // The far end of the run before may be bringing the old primary back at this moment.
            Err(error) if passes.get() && error.exit == Exit::SecondPrimary && Instant::now() < until => {
                context.debug(&format!("checking once more: {error}"));
                sleep(LOOK).await;
            }
            taken_up => return taken_up,
        }
    }
}

/// The same by one look; `passes` says that what refuses it may be over in a moment.
async fn try_resume(
    context: &Context,
    entry: &StoredJournal,
    words: &[String],
    passes: &Cell<bool>,
) -> Result<ResumeResult> {
    let loaded = readable(entry)?;
    let (header, past) = (&loaded.header, loaded.past());
    let id = &header.operation_id;
    let held = relock_cluster(context, header).await?;
    let alone = relock_local(context, header).await?;
    let course = match &held {
        Some(held) if header.changes_roles() => course(&UnfinishedFacts {
            verb: header.verb(),
            plan: &header.plan,
            past: &past,
            node_id: header.node_id,
            cluster: &held.facts,
        }),
        _ => course_without_roles(&header.plan, &past),
    };
    context.debug(&format!("operation {id} is resumed: {course:?}"));
    match course {
        Course::Unclear(why) => Err(Error::new(
            Exit::Failed,
            format!("operation \"{id}\" cannot be resumed"),
        )
        .detail(format!("{why} Nothing was changed; the operation stays open."))
        .hint(format!(
            "\"pgbaton operation show {id}\" lists its steps; \"pgbaton operation abandon {id}\" closes it."
        ))),
        Course::Overtaken(why) => close_overtaken(context, loaded, &past, held.as_ref(), &why).await,
        Course::Anew => {
            // What is rehearsed, and begun anew, takes them itself.
            drop(alone);
            if let Some(held) = held {
                held.release().await;
            }
            undo_and_close(context, loaded, &past, words).await
        }
        Course::Promote => {
            let mut held = held.ok_or_else(|| Error::new(Exit::Internal, "a promotion without locks"))?;
            let former = header.plan.origin.as_ref().and_then(|origin| origin.primary);
            passes.set(!context.options.dry_run);
            let has_channel = !header.plan.far_ends.is_empty();
            promotion::judge_anew(context, &mut held, former, has_channel).await.map_err(|error| {
                error.detail(format!("Operation {id}, which an earlier run left unfinished, stays open."))
            })?;
            let way = secure_former(context, &header.plan, id, past.past_no_return()).await?;
            passes.set(false);
            finish_operation(context, loaded, &past, Some(&held), way).await.map(ResumeResult::Over)
        }
        Course::GoBack => {
            if let Some(held) = &held {
                all_have_answered(context, held, header.node_id, &header.plan)?;
            }
            finish_operation(context, loaded, &past, held.as_ref(), HostParticipation::Needed(None))
                .await
                .map(ResumeResult::Over)
        }
        Course::Finish => finish_operation(context, loaded, &past, held.as_ref(), HostParticipation::IfThere)
            .await
            .map(ResumeResult::Over),
    }
}

/// Takes the locks that the operation held, and asks all nodes under them.
pub(super) async fn relock_cluster(context: &Context, header: &Header) -> Result<Option<LockedCluster>> {
    if header.locks() != Locks::Cluster {
        return Ok(None);
    }
    let rows: Vec<_> = match discovery::cluster(context).await {
        Ok(found) => found.facts.nodes.iter().map(|node| node.row.clone()).collect(),
        Err(error) => {
            context.debug(&format!("the other nodes are not locked: {error}"));
            Vec::new()
        }
    };
    lock_cluster(context, &rows).await.map(Some)
}

/// Takes the lock of this node for an operation that needs no other one.
pub(super) async fn relock_local(context: &Context, header: &Header) -> Result<Option<LocalLock>> {
    match header.locks() == Locks::Cluster || context.options.dry_run {
        true => Ok(None),
        false => lock(context).await.map(Some),
    }
}

pub(super) fn readable(entry: &StoredJournal) -> Result<&Loaded> {
    entry.journal.as_ref().map_err(|_| {
        let id = &entry.operation_id;
        Error::failed(format!("the journal of operation \"{id}\" is damaged and cannot be resumed"))
            .hint("Check what the operation did; then abandon it.")
    })
}

/// Opens the world in which an operation goes on, and notes in its journal who does.
pub(super) async fn world<'a>(
    context: &'a Context,
    loaded: &Loaded,
    past: &EarlierRuns,
    held: Option<&LockedCluster>,
    far_ends: FarEnds,
) -> Result<(Live<'a>, EarlierRuns)> {
    let world = Live::new(context, known_secrets(context).await)?;
    let (mut journal, _) = Journal::resume(&loaded.path)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not open the journal", &error))?;
    let resumed = Record::Resumed {
        pid: std::process::id(),
        pgbaton: env!("CARGO_PKG_VERSION").into(),
        command_line: context.command_line.clone(),
        at: clock::now(),
    };
    journal
        .append(&resumed, Flush::Now)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not write the journal", &error))?;
    let mut world = world.writing(journal).with(far_ends).for_operation(&loaded.header);
    if let Some(held) = held {
        world = world.holding(held);
    }
    Ok((world, past.clone()))
}

/// How the hosts of other nodes take part in the rest of an operation.
enum HostParticipation {
    /// Each of them is needed; there may be a channel already.
    Needed(Option<Remote>),
    /// The promotion has happened: what is left is done where it can be done.
    IfThere,
    /// The server of the old primary was started since, as a standby.
    Back(Remote),
    /// The host of the old primary did not respond, and that was reported.
    Gone,
}

/// Reports that a host takes no part in the remaining steps of an operation.
fn report_host_left_out(context: &Context, error: &Error) {
    let mut text = Text {
        hint: Some("When the host is back, run \"pgbaton node rejoin\" on it.".into()),
        ..error.text.clone()
    };
    text.add_detail("The point of no return is past: the remaining steps are run without it.");
    context.ui.text(Level::Warning, &text);
}

/// Carries out the rest of an operation.
async fn finish_operation(
    context: &Context,
    loaded: &Loaded,
    past: &EarlierRuns,
    held: Option<&LockedCluster>,
    way: HostParticipation,
) -> Result<Report> {
    let plan = match way {
        HostParticipation::Back(_) | HostParticipation::Gone => &confirmed(&loaded.header.plan),
        HostParticipation::Needed(_) | HostParticipation::IfThere => &loaded.header.plan,
    };
    let primary = format!("{} is resumed", interrupted(loaded));
    context.ui.message(Level::Notice, &primary, Some("The options of that run apply."), None);
    if context.options.dry_run {
        context.ui.say(Level::Notice, "this is a dry run: nothing was changed");
        return Ok(Report::new(Data::Plan(Box::new(plan.clone()))));
    }
    let far_ends = match way {
        HostParticipation::Needed(channel) => FarEnds::open(context, plan, past, channel).await?,
        HostParticipation::Back(channel) => FarEnds::open(context, plan, past, Some(channel)).await?,
        HostParticipation::IfThere => {
            let (far_ends, absent) = FarEnds::open_some(context, plan, past).await?;
            absent.iter().for_each(|error| report_host_left_out(context, error));
            far_ends
        }
        HostParticipation::Gone => {
            let without_hosts = Plan { far_ends: Vec::new(), ..plan.clone() };
            FarEnds::open_some(context, &without_hosts, past).await?.0
        }
    };
    let (world, past) = world(context, loaded, past, held, far_ends).await?;
    let outcome = run_up_to_its_end(plan, &past, &world, &loaded.header).await;
    world.release().await;
    finished(context, &world, &loaded.header, (plan, &past), outcome).await
}

/// Says and records what has become of an operation.
async fn finished(
    context: &Context,
    world: &Live<'_>,
    header: &Header,
    (plan, past): (&Plan, &EarlierRuns),
    mut outcome: Outcome,
) -> Result<Report> {
    let id = header.operation_id.as_str();
    let resumable = outcome.resumable;
    if !resumable {
        record_end(context, world, plan, id, &outcome).await;
    }
    let sent = outcome.steps.iter().any(|step| step.id == events::STEP && step.status.is_done());
    // What was rolled back is reported as its command reports it.
    let acted = outcome.acted(header.verb());
    let result = conclude(plan, id, &mut outcome);
    if result.is_ok() {
        announce::report_notifications(context, &plan.notifications);
    }
    let end = End::of(result.as_ref().err().map(ToString::to_string), Some(outcome.ended));
    if !resumable && acted {
        match header.changes_roles() {
            true => send_all(context, &plan.notifications, end, sent).await,
            false => {
                send_unsent(context, &unsent(&plan.notifications, past), &end, async |record| {
                    if let Err(error) = world.record(&record, Flush::Now).await {
                        context.debug(&format!("could not note that an event was sent: {error:#}"));
                    }
                })
                .await;
            }
        }
    }
    run::end(world, outcome.end.take().as_ref()).await;
    result
}

/// Closes an operation whose role has gone to another node.
async fn close_overtaken(
    context: &Context,
    loaded: &Loaded,
    past: &EarlierRuns,
    held: Option<&LockedCluster>,
    why: &str,
) -> Result<ResumeResult> {
    let (header, id) = (&loaded.header, &loaded.header.operation_id);
    let error = Error::new(Exit::SecondPrimary, format!("did not {}: it was overtaken", header.plan.title))
        .detail(sentence(why));
    if context.options.dry_run {
        return Err(error
            .detail("Nothing was changed.")
            .hint(format!("\"pgbaton operation abandon {id}\" closes it.")));
    }
    let plan = Plan { far_ends: Vec::new(), ..undo(&header.plan, true) };
    let (world, past) = world(context, loaded, past, held, FarEnds::default()).await?;
    let outcome = run::undo(&plan, &past, &world, &format!("overtaken: {why}")).await;
    record_end(context, &world, &plan, id, &outcome).await;
    let undone = match outcome.ended {
        Ended::BackFailed => "What it had left could be undone only in part",
        _ => "What it had left of its own is undone",
    };
    Err(error
        .detail(format!(
            "{undone}, and operation {id} is closed; no server was started, stopped or promoted."
        ))
        .hint("Run \"pgbaton cluster show\"."))
}

/// Names an operation that an earlier run has left: `operation 20261201T120000.000Z-0001 ("node rejoin", begun 2026-12-01 12:00:00 UTC)`.
fn interrupted(loaded: &Loaded) -> String {
    let header = &loaded.header;
    format!("operation {} (\"{}\", begun {})", header.operation_id, header.command, utc(header.started_at))
}

/// Undoes what an operation has left, and closes it, if the command would be carried out today.
async fn undo_and_close(
    context: &Context,
    loaded: &Loaded,
    past: &EarlierRuns,
    words: &[String],
) -> Result<ResumeResult> {
    let (header, id) = (&loaded.header, &loaded.header.operation_id);
    // What would refuse it today refuses it with nothing changed.
    let nothing_to_do = rehearse(context, id, words).await.map_err(|error| {
        error.hint(format!(
            "Operation {id}, which an earlier run left unfinished, stays open; \"pgbaton operation abandon {id}\" closes it."
        ))
    })?;
    if context.options.dry_run {
        context.supersede(id);
        return Ok(ResumeResult::Anew);
    }
    // What it was to do is there already: the new run sends its events, and closes it.
    if nothing_to_do && !header.changes_roles() && !header.plan.notifications.is_empty() {
        return Ok(ResumeResult::Anew);
    }
    context.ui.message(
        Level::Notice,
        &format!("{} was interrupted, and is run again from the beginning", interrupted(loaded)),
        Some("First, the changes that it made are undone, unless the new run needs them."),
        None,
    );
    let mut held = relock_cluster(context, header).await?;
    let _alone = relock_local(context, header).await?;
    let mut plan = match header.changes_roles() {
        true => undo(&header.plan, false),
        // Their next run takes over what they left.
        false => Plan { rollback: Vec::new(), ..header.plan.clone() },
    };
    let far_ends = FarEnds::open(context, &plan, past, None).await?;
    if let Some(held) = &mut held {
        keep_what_may_be_needed(context, held, header.node_id, &mut plan, past);
        held.hosts = kept_down(context, &mut plan, past).await?;
    }
    let (world, past) = world(context, loaded, past, held.as_ref(), far_ends).await?;
    let mut outcome = run::undo(&plan, &past, &world, "planned anew by a later run").await;
    world.release().await;
    record_end(context, &world, &plan, id, &outcome).await;
    if outcome.ended == Ended::BackFailed {
        return Err(conclude(&plan, id, &mut outcome)
            .err()
            .unwrap_or_else(|| Error::failed("could not undo all")));
    }
    if let Some(held) = held {
        held.release().await;
    }
    Ok(ResumeResult::Anew)
}

/// Leaves `standby.signal` on the host of the old primary, where not every other node has been seen: one of them may have been promoted since the
/// operation was interrupted, and that file may be what it relied on.
pub(super) fn keep_what_may_be_needed(
    context: &Context,
    held: &LockedCluster,
    node_id: i32,
    plan: &mut Plan,
    past: &EarlierRuns,
) {
    let silent = silent(held, node_id, plan).join(", ");
    if silent.is_empty() {
        return;
    }
    plan.rollback.retain(|back| {
        let Op::LetStart(keep) = &back.step.op else { return true };
        if back.is_due(|id| past.started(Stage::Forward, id)) {
            let name = &keep.host.node_name;
            context.ui.message(
                Level::Warning,
                &format!("standby.signal is not removed from the data directory of node \"{name}\""),
                Some(&format!("{silent} did not respond, and may have been promoted since. The server of \"{name}\" starts as a standby.")),
                Some("Run \"pgbaton cluster show\" when all nodes respond, before the file is removed."),
            );
        }
        false
    });
}

/// Opens the ways to the hosts on which the operation has written `standby.signal`. One that is gone by now must not prevent the promotion: the
/// file stays there.
///
/// # Errors
/// Exit code 30 while another command runs there.
async fn kept_down(
    context: &Context,
    plan: &mut Plan,
    past: &EarlierRuns,
) -> Result<BTreeMap<i32, Rc<Remote>>> {
    let mut hosts = BTreeMap::new();
    for way in ways_back(context, plan, past).await {
        match way.channel {
            Ok(channel) => {
                hosts.insert(way.node_id, channel);
            }
            Err(error) if error.exit == Exit::Busy => return Err(error.detail("Nothing was changed.")),
            Err(error) => {
                let name = &way.node_name;
                context.ui.message(
                    Level::Warning,
                    &error.message,
                    Some(&format!(
                        "If standby.signal was written into the data directory of \"{name}\", it stays there: its server starts as a standby."
                    )),
                    None,
                );
                plan.rollback.retain(|back| {
                    !matches!(back.step.op, Op::LetStart(_)) || back.step.at != Some(way.node_id)
                });
            }
        }
    }
    Ok(hosts)
}

/// Runs the command as a dry run, without a word. Returns whether it found nothing to do.
async fn rehearse(context: &Context, id: &str, words: &[String]) -> Result<bool> {
    let quiet = Ui::new(Level::Error, true, false);
    let (rehearsal, noun) = parse_again(context, words, true, quiet)?;
    rehearsal.supersede(id);
    let run = (rehearsal.dispatch)(&rehearsal, &noun);
    match run.await {
        Ok(report) => Ok(matches!(
            report.data,
            Data::Plan(plan) if plan.is_empty() && plan.verify.is_empty()
        )),
        // Whether WAL may be discarded is asked of the user.
        Err(error) if error.exit == Exit::DataLoss && !context.options.dry_run && context.ui.can_ask() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Carries the command of an operation out anew.
///
/// # Errors
/// Those of the command.
pub async fn run_command_again(context: &Context, id: &str, words: &[String]) -> Result<Report> {
    let (anew, noun) = parse_again(context, words, context.options.dry_run, context.ui.another())?;
    if context.options.dry_run || !own_operations::is_open(context, id) {
        anew.supersede(id);
    }
    let run = (anew.dispatch)(&anew, &noun);
    run.await
}

/// Makes certain, before a promotion, that the old primary of a switchover is down and comes back as a standby only: a far end of the run
/// before may still be at work there. After the point of no return the promotion may be requested already, and a host that cannot be reached
/// is named and holds up nothing.
async fn secure_former(
    context: &Context,
    plan: &Plan,
    id: &str,
    past_no_return: bool,
) -> Result<HostParticipation> {
    let Some(far_end) = plan.far_ends.first().filter(|_| !context.options.dry_run) else {
        return Ok(HostParticipation::Needed(None));
    };
    let stays_open = |error: Error| {
        error.detail("Nothing was changed; the operation stays open.").hint(format!(
            "If the host of \"{}\" is gone, run \"pgbaton operation abandon {id} --force\", then \"pgbaton standby promote\".",
            far_end.node_name
        ))
    };
    let is_remote = matches!(far_end.reached, Reached::Ssh { .. });
    let channel = match second_channel(context, far_end, OPEN).await {
        Ok(channel) => channel,
        Err(error) if past_no_return && is_remote && error.exit == Exit::Remote => {
            report_host_left_out(context, &error);
            return Ok(HostParticipation::Gone);
        }
        Err(error) => return Err(stays_open(error)),
    };
    let secured = channel.secure(false).await.map_err(stays_open)?;
    match secured.server.objection() {
        Some(why) => Err(Error::new(
            Exit::SecondPrimary,
            format!("the server of \"{}\" runs, and may be a primary", far_end.node_name),
        )
        .detail(why)
        .detail("Nothing was changed; the operation stays open.")
        .hint(format!(
            "Run \"pgbaton cluster show\"; \"pgbaton operation abandon {id}\" closes the operation."
        ))),
        None if past_no_return && secured.server == ServerState::Standby => {
            Ok(HostParticipation::Back(channel))
        }
        None => Ok(HostParticipation::Needed(Some(channel))),
    }
}

/// Returns the nodes that have not answered, by name, but for the old primary: one of them may have been promoted since.
pub(super) fn silent(held: &LockedCluster, node_id: i32, plan: &Plan) -> Vec<String> {
    let former = plan.origin.as_ref().and_then(|origin| origin.primary);
    (held.facts.nodes.iter())
        .filter(|node| {
            node.row.node_id != node_id && Some(node.row.node_id) != former && node.server.is_err()
        })
        .filter(|node| node.row.active && node.row.node_type != crate::registry::NodeType::Witness)
        .map(|node| format!("\"{}\"", node.row.node_name))
        .collect()
}

/// A rollback that was begun on another day goes on only if every other node has been seen.
fn all_have_answered(context: &Context, held: &LockedCluster, node_id: i32, plan: &Plan) -> Result<()> {
    let silent = silent(held, node_id, plan);
    if silent.is_empty() || context.options.force {
        return Ok(());
    }
    Err(Error::new(Exit::SecondPrimary, "the rollback cannot be continued: not all nodes answer")
        .detail(format!(
            "It starts the old primary, and {} may have been promoted since. Nothing was changed; the operation stays open.",
            silent.join(", ")
        ))
        .hint("Run the command again when they answer, or with --force if you know that none of them is a primary."))
}

/// Returns the secrets that can be found again: those of the configuration and of the metadata.
pub async fn known_secrets(context: &Context) -> Secrets {
    let mut out = Secrets::new();
    if let Ok(found) = discovery::cluster(context).await {
        out.extend(secrets_of(&found.facts));
    }
    if let Ok(config) = context.config()
        && node::holds_secret(&config.conninfo)
    {
        out.insert(node::conninfo_secret(config.node_id), Secret::new(&config.conninfo));
    }
    out
}
