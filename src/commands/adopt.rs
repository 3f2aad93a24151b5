//! `operation adopt-state` and `operation cleanup`: the state directory of this node, and what has piled up in it.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::cli::operation::Cleanup;
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::journal::{self, StoredJournal};
use crate::output::{Data, Report};
use crate::site::state_directory::{self, Adoption};
use crate::system::clock;
use crate::system::files;
use crate::system::lock::LocalLockHolder;
use crate::ui::Level;

/// Makes the state directory of this node its own: what is another's is moved aside, what lies elsewhere is moved here.
///
/// # Errors
/// Exit code 1 if that would leave an unfinished operation behind or there is nothing to adopt, 30 if a command is running there.
pub async fn run(context: &Context, from: Option<&Path>) -> Result<Report> {
    let me = LocalLockHolder {
        pid: std::process::id(),
        command: context.verb.to_string(),
        started_at: clock::now(),
    };
    let from = match from {
        Some(path) => Some(std::path::absolute(path).map_err(|error| {
            Error::from_cause(Exit::Failed, "could not find the directory", &error.into())
        })?),
        None => None,
    };
    let Adoption { path, aside, from, already } = state_directory::adopt(context, from, &me).await?;
    let shown = path.display();
    let would = if context.options.dry_run { "would be" } else { "was" };
    let say = |text: String| context.ui.say(Level::Notice, &text);
    // Done, the moves have been reported.
    if let Some(aside) = aside.as_ref().filter(|_| context.options.dry_run) {
        say(format!("what was in \"{shown}\" {would} moved to \"{}\"", aside.display()));
    }
    match &from {
        Some(_) if !context.options.dry_run => {}
        Some(from) => say(format!("state directory \"{}\" {would} moved to \"{shown}\"", from.display())),
        None if already => say(format!("state directory \"{shown}\" is this node's already")),
        None => say(format!("state directory \"{shown}\" {would} taken over for this node")),
    }
    if context.options.dry_run {
        say("this is a dry run: nothing was changed".into());
    }
    let text = |path: &PathBuf| path.display().to_string();
    let data = json!({
        "state_directory": text(&path), "moved_aside": aside.as_ref().map(text), "taken_from": from.as_ref().map(text),
    });
    let nothing_to_do = already && aside.is_none() && from.is_none();
    let changed = !context.options.dry_run && !nothing_to_do;
    Ok(Report { changed, ..Report::new(Data::Done(data)) })
}

/// Removes journals of finished operations.
///
/// # Errors
/// Exit code 1 without a state directory of this node, 5 if a file cannot be removed, 30 if a command is running.
pub async fn cleanup(context: &Context, args: &Cleanup) -> Result<Report> {
    let directory = context.state_directory()?;
    let dry = context.options.dry_run;
    let _lock = match dry {
        true => {
            state_directory::would_lock(context, &directory).await?;
            None
        }
        false => Some(state_directory::lock(context).await?),
    };
    let all = journal::list(&directory)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not read the journals", &error))?;
    let old = selected(&all, args, clock::now());
    for entry in old.iter().filter(|_| !dry) {
        files::remove_file(&entry.path).map_err(|error| {
            Error::from_cause(Exit::LocalCommand, "could not remove a journal", &error)
                .detail("Journals that are older were removed.")
        })?;
    }
    let count = old.len();
    let journals =
        if count == 1 { "journal of a finished operation" } else { "journals of finished operations" };
    let text = match (dry, count) {
        (true, _) => {
            format!("this is a dry run: nothing was changed; {count} {journals} would be removed")
        }
        (false, 0) => "there are no journals to remove".into(),
        (false, 1) => "1 journal of a finished operation was removed".into(),
        (false, _) => format!("{count} {journals} were removed"),
    };
    context.ui.say(Level::Notice, &text);
    let ids: Vec<&str> = old.iter().map(|entry| entry.operation_id.as_str()).collect();
    Ok(Report { changed: count > 0 && !dry, ..Report::new(Data::Done(json!({ "removed": ids }))) })
}

/// Returns the finished operations that neither option keeps, oldest first.
fn selected<'a>(all: &'a [StoredJournal], args: &Cleanup, now: Timestamp) -> Vec<&'a StoredJournal> {
    let mut finished: Vec<&StoredJournal> = all.iter().filter(|entry| entry.is_over()).collect();
    let newest = args.newest.map_or(0, |count| count as usize);
    finished.truncate(finished.len().saturating_sub(newest));
    let age = args.older_than.map(|days| SignedDuration::from_hours(24 * i64::from(days)));
    finished.retain(|entry| match (age, &entry.journal) {
        (Some(age), Ok(loaded)) => now.duration_since(loaded.header.started_at) > age,
        _ => true,
    });
    finished
}
