//! The record of an operation in the cluster, closed where its end was not written there.

use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::observe::discovery;
use crate::observe::under_locks::{self, LockedCluster};
use crate::output::{Data, Report};
use crate::registry::operation;
use crate::ui::Level;
use crate::units::utc;

/// Closes the records of this node's own operations that are over, where there is nothing else to do: one that was killed between the end
/// of its journal and that of its record.
pub async fn close_settled(context: &Context, held: &LockedCluster, settled: &[String]) {
    if settled.is_empty() {
        return;
    }
    let Ok(config) = context.config() else { return };
    let primary = held.facts.primaries().next();
    let Some(session) = primary.and_then(|(node, _)| held.session(node.row.node_id)) else { return };
    let statements: Vec<_> = settled.iter().map(|id| operation::close_own(id, config.node_id)).collect();
    if let Err(error) = session.transaction(&statements).await {
        context.debug(&format!("could not close records of finished operations: {error}"));
    }
}

/// Closes the record of an operation that is over, or whose host is gone, or whose journal is lost. `journal` says what is known of the
/// journal, with a space before it.
///
/// # Errors
/// Exit code 1 if there is no such record, 6 without a primary, 7 if it cannot be written.
pub async fn close(context: &Context, id: &str, journal: &str) -> Result<Report> {
    let found = discovery::cluster(context).await?;
    let (primary, _) = discovery::the_primary(&found.facts)?;
    let session = under_locks::open(context, &primary.row).await.map_err(|unavailable| {
        Error::new(Exit::Connection, format!("could not connect to node \"{}\"", primary.row.node_name))
            .detail(sentence(&unavailable.message))
    })?;
    let failed = |error: crate::pg::client::SqlError| {
        Error::new(Exit::Query, "could not close the record of the operation")
            .detail(sentence(&error.to_string()))
    };
    let open = operation::open(&session).await.map_err(failed)?;
    let Some(row) = open.iter().find(|row| row.operation_id == id) else {
        return Err(Error::failed(format!(
            "there is no open operation \"{id}\", on this node or in the cluster"
        ))
        .hint("Run \"pgbaton operation list\" to see the operations of this node."));
    };
    let changed = !context.options.dry_run;
    if changed {
        session.transaction(&[operation::close(id)]).await.map_err(failed)?;
        context.ui.message(
            Level::Notice,
            &format!("the record of operation \"{id}\" is closed"),
            Some(&format!("It was \"{}\", begun at {}.{journal}", row.command, utc(row.started_at))),
            None,
        );
    } else {
        context.ui.say(Level::Notice, "this is a dry run: nothing was changed");
    }
    Ok(Report { changed, ..Report::new(Data::Done(serde_json::json!({ "operation_id": id }))) })
}
