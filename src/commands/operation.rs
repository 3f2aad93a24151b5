//! `operation list|show|resume|abandon`: the journals of this node.

use std::path::Path;

use crate::cli::operation::Operation as Verb;
use crate::commands::adopt;
use crate::commands::context::Context;
use crate::commands::ending::Ending;
use crate::commands::hold::open;
use crate::commands::operate::{blocking, lock, would_lock};
use crate::commands::primary::register::secrets_of;
use crate::commands::state;
use crate::commands::take_up::{self, TakenUp};
use crate::commands::world::Secrets;
use crate::commands::{locate, others};
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::ClusterFacts;
use crate::output::operation::{OperationView, StepView};
use crate::output::ui::Level;
use crate::output::{Data, Report};
use crate::plan::Step;
use crate::plan::journal::{self, Entry, Flush, Journal, Loaded, Mark, Record, Stage, Status};
use crate::plan::tell::{self, Proof, Tell};
use crate::registry::{NodeRow, node};
use crate::secret::Secret;
use crate::system::inspect;
use crate::system::lock::LocalLock;

/// Carries out `pgbaton operation …`.
///
/// # Errors
/// Exit code 1 if there is no such operation, 30 if another one is running; else those of the operation.
pub async fn run(context: &Context, verb: &Verb) -> Result<Report> {
    match verb {
        Verb::AdoptState { from } => return adopt::run(context, from.as_deref()).await,
        Verb::Cleanup(args) => return adopt::cleanup(context, args).await,
        _ => {}
    }
    let directory = context.state_directory()?;
    state::must_be_seen(context)?;
    let mut entries = journal::list(&directory)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not read the journals", &error))?;
    match verb {
        Verb::List => {
            entries.reverse();
            Ok(Report::new(Data::Operations(
                entries.iter().map(|entry| view(entry, false, &directory)).collect(),
            )))
        }
        Verb::Show { id } => {
            let entry = match id {
                Some(id) => find(&entries, id)?,
                None => {
                    entries.last().ok_or_else(|| Error::failed("there is no operation on this node yet"))?
                }
            };
            Ok(Report::new(Data::Operation(Box::new(view(entry, true, &directory)))))
        }
        Verb::Resume { id } => finish(context, unfinished(&entries, id.as_deref())?, true).await,
        Verb::Abandon { id: Some(id) } if context.global.force && find(&entries, id).is_err() => {
            others::close(context, id).await
        }
        Verb::Abandon { id } => finish(context, unfinished(&entries, id.as_deref())?, false).await,
        Verb::AdoptState { .. } | Verb::Cleanup(_) => {
            Err(Error::new(Exit::Internal, "this verb reads no journals"))
        }
    }
}

/// Returns the id of the operation that waits on this node, if one does and the journals can be read.
pub fn unfinished_id(context: &Context) -> Option<String> {
    let directory = context.state_directory().ok()?;
    let entries = journal::unfinished(&directory).ok()?;
    blocking(&entries).map(|entry| entry.operation_id.clone())
}

/// An operation of this node whose journal is open.
#[derive(Debug)]
pub struct Own {
    /// Its id.
    pub operation_id: String,
    /// Its command.
    pub command: String,
    /// The process that is at work on it; None where it waits to be resumed or abandoned.
    pub process: Option<u32>,
}

/// Returns the operation of this node whose journal is open, if there is one that others have to wait for.
///
/// # Errors
/// Those of reading the state directory.
pub fn own(directory: &Path) -> anyhow::Result<Option<Own>> {
    let entries = journal::unfinished(directory)?;
    Ok(blocking(&entries).map(|entry| Own {
        operation_id: entry.operation_id.clone(),
        command: entry.journal.as_ref().map_or("?", |journal| &journal.header.command).to_string(),
        process: worker(entry, directory),
    }))
}

/// Returns the operation of this node for those who only look.
pub fn own_seen(context: &Context) -> Option<Own> {
    own(&context.state_directory().ok()?).ok().flatten()
}

/// Notes in the journal of the operation that waits on this node, if one does, that its promotion has been told.
pub fn note_told(context: &Context) {
    let note = || {
        let entries = journal::unfinished(&context.state_directory().ok()?).ok()?;
        let (mut journal, _) = Journal::resume(&blocking(&entries)?.path).ok()?;
        let (step, stage, at) = (tell::STEP.to_string(), Stage::Forward, journal::now());
        journal.append(&Record::Mark { step, stage, mark: Mark::Done, at }, Flush::Now).ok()
    };
    if note().is_none() {
        context.debug("no journal says that the promotion has been told");
    }
}

fn find<'a>(entries: &'a [Entry], id: &str) -> Result<&'a Entry> {
    entries.iter().find(|entry| entry.operation_id == id).ok_or_else(|| {
        Error::failed(format!("there is no operation \"{id}\" on this node"))
            .hint("Run \"pgbaton operation list\" to see the operations that there are.")
    })
}

fn unfinished<'a>(entries: &'a [Entry], id: Option<&str>) -> Result<&'a Entry> {
    let is_over = |entry: &&Entry| matches!(entry.status(), Status::Finished { .. });
    if let Some(id) = id {
        let entry = find(entries, id)?;
        if is_over(&entry) {
            return Err(Error::failed(format!("operation \"{id}\" is over"))
                .detail("There is nothing to resume or abandon."));
        }
        return Ok(entry);
    }
    let open: Vec<&Entry> = entries.iter().filter(|entry| !is_over(entry)).collect();
    match open.as_slice() {
        [one] => Ok(one),
        [] => Err(Error::failed("no operation is unfinished on this node")),
        several => {
            let ids: Vec<&str> = several.iter().map(|entry| entry.operation_id.as_str()).collect();
            Err(Error::failed(format!("{} operations are unfinished on this node", several.len()))
                .detail(format!("Their ids are {}.", ids.join(", ")))
                .hint("Name one of them."))
        }
    }
}

/// Resumes or abandons an operation.
///
/// # Errors
/// Those of the lock and of the operation.
pub async fn finish(context: &Context, entry: &Entry, resume: bool) -> Result<Report> {
    let id = entry.operation_id.clone();
    let directory = context.state_directory()?;
    // What changes roles takes this node's lock together with those of the others, below.
    let _lock = match &entry.journal {
        Ok(loaded) if changes_roles(&loaded.header.command) => None,
        _ if context.global.dry_run => {
            would_lock(context, &directory).await?;
            None
        }
        _ => Some(lock(context).await?),
    };
    let Ok(loaded) = &entry.journal else {
        if resume {
            return Err(Error::failed(format!(
                "the journal of operation \"{id}\" is damaged and cannot be resumed"
            ))
            .hint("Look at what the operation did; then abandon it."));
        }
        if context.global.dry_run {
            context.ui.say(Level::Notice, "this is a dry run: nothing was changed");
            return Ok(Report::new(Data::Operation(Box::new(view(entry, true, &directory)))));
        }
        // A damaged journal cannot be written to either: it is put aside, so that nobody takes it for an open operation.
        let aside = entry.path.with_extension("jsonl.damaged");
        crate::system::files::rename(&entry.path, &aside).map_err(|error| {
            Error::from_cause(Exit::LocalCommand, "could not put the journal aside", &error)
        })?;
        context.ui.say(Level::Notice, &format!("the damaged journal is kept as \"{}\"", aside.display()));
        return Ok(Report {
            changed: true,
            ..Report::new(Data::Done(serde_json::json!({ "operation_id": id })))
        });
    };
    let words = loaded.header.command_line.clone();
    drop(_lock);
    if !resume {
        return take_up::abandon(context, entry).await;
    }
    match take_up::resume(context, entry, &words).await? {
        TakenUp::Over(report) => Ok(report),
        TakenUp::Anew => take_up::begin_anew(context, &id, &words).await,
    }
}

/// Tells what the operation would have told if it had not been left unfinished, by what there is now.
pub(super) async fn tell_all(context: &Context, tells: &[Tell], error: Option<String>, told: bool) {
    if tells.is_empty() {
        return;
    }
    let found = locate::cluster(context).await;
    let facts = found.as_ref().map(|found| &found.facts);
    let primaries: Vec<&NodeRow> =
        facts.into_iter().flat_map(ClusterFacts::primaries).map(|(node, _)| &node.row).collect();
    let ids: Vec<i32> = primaries.iter().map(|row| row.node_id).collect();
    // Beside another one, the one that this is about.
    let about = |row: &&&NodeRow| {
        tells.iter().any(|tell| tell.proof == Proof::Primary && tell.node_id == row.node_id)
    };
    let session = match primaries.iter().find(about).or(primaries.first()) {
        Some(row) => open(context, row).await.ok(),
        None => None,
    };
    let (primary, seen_by) = (session.as_ref(), session.as_ref());
    Ending { tells, error, told, taking_writes: &ids, primary, seen_by }.tell(context).await;
}

/// Says whether a command changes roles, and so holds the locks of the whole cluster.
pub(super) fn changes_roles(command: &str) -> bool {
    matches!(
        command,
        "standby promote" | "standby follow" | "standby switchover" | "standby rewind" | "node rejoin"
    )
}

/// Returns the secrets that can be found again: those of the configuration and of the metadata.
pub(super) async fn known_secrets(context: &Context) -> Secrets {
    let mut out = Secrets::new();
    if let Ok(found) = locate::cluster(context).await {
        out.extend(secrets_of(&found.facts));
    }
    if let Ok(config) = context.config()
        && node::holds_secret(&config.conninfo)
    {
        out.insert(node::conninfo_secret(config.node_id), Secret::new(&config.conninfo));
    }
    out
}

/// The process that is at work on an operation: the one that wrote to its journal last, while it holds the node's lock.
fn worker(entry: &Entry, directory: &Path) -> Option<u32> {
    let loaded = entry.journal.as_ref().ok()?;
    let resumed = loaded.records.iter().rev().find_map(|record| match record {
        Record::Resumed { pid, .. } => Some(*pid),
        _ => None,
    });
    let pid = resumed.unwrap_or(loaded.header.pid);
    let holder = LocalLock::holder(directory).ok().flatten()?;
    (holder.pid == pid).then_some(pid)
}

fn view(entry: &Entry, steps: bool, directory: &Path) -> OperationView {
    let status = entry.status();
    let process = match status {
        Status::Unfinished { .. } => worker(entry, directory),
        _ => None,
    };
    let header = entry.journal.as_ref().ok().map(|loaded| &loaded.header);
    let (past_no_return, going_back) = match &status {
        Status::Unfinished { past_no_return, going_back } => (*past_no_return, *going_back),
        _ => (false, false),
    };
    OperationView {
        operation_id: entry.operation_id.clone(),
        command: header.map_or_else(|| "?".to_string(), |header| header.command.clone()),
        state: match &status {
            Status::Finished { .. } => "finished",
            Status::Unfinished { .. } if process.is_some() => "running",
            Status::Unfinished { .. } => "unfinished",
            Status::Damaged => "damaged",
        },
        process,
        stopped: process.is_some_and(inspect::is_stopped),
        started_at: header.map(|header| header.started_at),
        title: header.map(|header| header.plan.title.clone()),
        exit_code: match &status {
            Status::Finished { exit } => Some(exit.code()),
            _ => None,
        },
        past_no_return,
        going_back,
        steps: match &entry.journal {
            Ok(loaded) if steps => step_views(loaded),
            _ => Vec::new(),
        },
        problem: entry.journal.as_ref().err().map(|error| crate::error::sentence(&format!("{error:#}"))),
    }
}

fn step_views(loaded: &Loaded) -> Vec<StepView> {
    let plan = &loaded.header.plan;
    let stages: [(Stage, &'static str, Vec<&Step>); 3] = [
        (Stage::Forward, "forward", plan.steps().collect()),
        (Stage::Back, "back", plan.back.iter().map(|back| &back.step).collect()),
        (Stage::Always, "always", plan.always.iter().collect()),
    ];
    let last = |stage: Stage, id: &str| {
        loaded.records.iter().rev().find_map(|record| match record {
            Record::Mark { step, stage: of, mark, .. } if step == id && *of == stage => Some(match mark {
                Mark::Started => "started".to_string(),
                Mark::Done => "done".to_string(),
                Mark::Skipped => "already done".to_string(),
                Mark::Interrupted => "interrupted".to_string(),
                Mark::Failed { error } => format!("failed: {error}"),
            }),
            _ => None,
        })
    };
    let mut out = Vec::new();
    for (stage, name, steps) in stages {
        for step in steps {
            let status = last(stage, &step.id);
            // What is done only on the way back is no news while nobody goes back.
            if stage == Stage::Forward || status.is_some() {
                out.push(StepView {
                    id: step.id.clone(),
                    title: step.title.clone(),
                    stage: name,
                    status: status.unwrap_or_else(|| "not started".into()),
                });
            }
        }
    }
    out
}
