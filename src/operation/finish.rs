//! What `operation resume` and `operation abandon` do with an operation of this node, also with one whose journal is damaged.

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::journal::StoredJournal;
use crate::operation::abandon::abandon;
use crate::operation::resume::{self, ResumeResult};
use crate::operation::view::view;
use crate::output::{Data, Report};
use crate::site::state_directory::{lock, would_lock};
use crate::system::files;
use crate::ui::Level;
use crate::verb::Locks;

/// Resumes or abandons an operation.
///
/// # Errors
/// Those of the lock and of the operation.
pub async fn finish(context: &Context, entry: &StoredJournal, resume: bool) -> Result<Report> {
    let id = entry.operation_id.clone();
    let directory = context.state_directory()?;
    // Those of the cluster are taken together with this node's, below.
    let _lock = match &entry.journal {
        Ok(loaded) if loaded.header.locks() == Locks::Cluster => None,
        _ if context.options.dry_run => {
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
            .hint("Check what the operation did; then abandon it."));
        }
        if context.options.dry_run {
            context.ui.say(Level::Notice, "this is a dry run: nothing was changed");
            return Ok(Report::new(Data::Operation(Box::new(view(entry, true, &directory)))));
        }
        // A damaged journal cannot be written to either: it is moved aside, so that it is not taken for an open operation.
        let aside = entry.path.with_extension("jsonl.damaged");
        files::rename(&entry.path, &aside).map_err(|error| {
            Error::from_cause(Exit::LocalCommand, "could not move the journal aside", &error)
        })?;
        context.ui.say(Level::Notice, &format!("the damaged journal is kept as \"{}\"", aside.display()));
        return Ok(Report { changed: true, ..Report::new(Data::Done(json!({ "operation_id": id }))) });
    };
    let words = loaded.header.command_line.clone();
    drop(_lock);
    if !resume {
        return abandon(context, entry).await;
    }
    match resume::resume(context, entry, &words).await? {
        ResumeResult::Over(report) => Ok(report),
        ResumeResult::Anew => resume::run_command_again(context, &id, &words).await,
    }
}
