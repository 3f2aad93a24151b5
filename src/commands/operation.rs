//! `operation list|show|resume|abandon`: the journals of this node.

use crate::cli::operation::Operation as Verb;
use crate::commands::adopt;
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::journal::{self, OperationStatus, StoredJournal};
use crate::operation::finish::finish;
use crate::operation::record;
use crate::operation::view::view;
use crate::output::{Data, Report};
use crate::site::state_directory;

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
    state_directory::must_be_seen(context)?;
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
                None => entries
                    .last()
                    .ok_or_else(|| Error::failed("no operation is recorded on this node yet"))?,
            };
            Ok(Report::new(Data::Operation(Box::new(view(entry, true, &directory)))))
        }
        Verb::Resume { id } => finish(context, unfinished(&entries, id.as_deref())?, true).await,
        Verb::Abandon { id: Some(id) } if context.options.force && find(&entries, id).is_err() => {
            record::close(context, id, " Its journal on its own node, if there is one, stays open.").await
        }
        // It was killed between the end of its journal and that of its record in the cluster.
        Verb::Abandon { id: Some(id) } if find(&entries, id).is_ok_and(is_over) => {
            match record::close(context, id, "").await {
                Err(error) if error.exit == Exit::Failed => Err(finished(id)),
                // Whether the record is open cannot be seen from here.
                Err(error) if error.exit == Exit::Connection => Err(finished(id)
                    .detail(format!("Its record in the cluster could not be checked: {}.", error.message))
                    .hint("Run the command again when the primary responds.")),
                closed => closed,
            }
        }
        Verb::Abandon { id } => finish(context, unfinished(&entries, id.as_deref())?, false).await,
        Verb::AdoptState { .. } | Verb::Cleanup(_) => {
            Err(Error::new(Exit::Internal, "this verb reads no journals"))
        }
    }
}

fn find<'a>(entries: &'a [StoredJournal], id: &str) -> Result<&'a StoredJournal> {
    entries.iter().find(|entry| entry.operation_id == id).ok_or_else(|| {
        Error::failed(format!("there is no operation \"{id}\" on this node"))
            .hint("Run \"pgbaton operation list\" to see the operations of this node.")
    })
}

fn is_over(entry: &StoredJournal) -> bool {
    matches!(entry.status(), OperationStatus::Finished { .. })
}

fn finished(id: &str) -> Error {
    Error::failed(format!("operation \"{id}\" is finished")).detail("There is nothing to resume or abandon.")
}

fn unfinished<'a>(entries: &'a [StoredJournal], id: Option<&str>) -> Result<&'a StoredJournal> {
    if let Some(id) = id {
        let entry = find(entries, id)?;
        return if is_over(entry) { Err(finished(id)) } else { Ok(entry) };
    }
    let open: Vec<&StoredJournal> = entries.iter().filter(|entry| !is_over(entry)).collect();
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
