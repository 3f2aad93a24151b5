//! `cluster cleanup`: old records of the monitoring history go.

use serde_json::json;

use crate::cli::cluster::Cleanup as Args;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::query_node;
use crate::observe::discovery;
use crate::observe::own_node::{self, secrets_of};
use crate::operation::carry_out::RunOptions;
use crate::operation::with_events::carry_out_with_events;
use crate::output::Report;
use crate::pg::client::SqlError;
use crate::plan::cleanup::{CleanupFacts, cleanup};
use crate::plan::register::endpoint;
use crate::registry::monitoring::{self, Selection};
use crate::ui::Level;

/// Deletes records of the monitoring history on the primary.
///
/// # Errors
/// Exit code 6 without a primary, 7 if there is no such table, the role lacks rights, or a query fails.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let found = discovery::cluster(context).await?;
    let (primary, _) = discovery::the_primary(&found.facts)?;
    let options = &context.options;
    // Records of a node that is no longer registered can be named by its number.
    let (node_id, of) = match (options.node_id, &options.node_name) {
        (Some(id), None) => (Some(id), Some(format!("node {id}"))),
        (None, None) => (None, None),
        _ => {
            let row = &own_node::target(context, &found.facts)?.row;
            (Some(row.node_id), Some(format!("node \"{}\"", row.node_name)))
        }
    };
    let selection = Selection { days: args.keep_history, node_id };
    let whom = format!("node \"{}\"", primary.row.node_name);
    let (session, _) = query_node(&primary.row.conninfo, &context.environment, context.node_deadline())
        .await
        .map_err(|unavailable| {
            Error::new(Exit::Connection, format!("could not connect to {whom}"))
                .detail(format!("{} Nothing was changed.", sentence(&unavailable.message)))
        })?;
    let broken = |error: SqlError| {
        Error::new(Exit::Query, format!("could not read the monitoring history on {whom}"))
            .detail(format!("{} Nothing was changed.", sentence(&error.to_string())))
    };
    let history = monitoring::inspect_monitoring(&session).await.map_err(broken)?;
    let records = match history.exists && history.may_use && history.may_read {
        true => Some(monitoring::count(&session, selection).await.map_err(broken)?),
        false => None,
    };
    let own_id = context.config().ok().map(|config| config.node_id);
    let facts = CleanupFacts { history, records, selection, of, node_id: own_id };
    let plan = cleanup(&facts, &endpoint(primary));
    let how = RunOptions::new(context, secrets_of(&found.facts));
    let mut done = carry_out_with_events(context, &plan, how).await.announced(context).await;
    done.add_data(json!({ "deleted_records": records }));
    let count = records.unwrap_or(0);
    let report = done.report?;
    if done.acted {
        context.ui.say(Level::Notice, &format!("{count} monitoring records were deleted"));
    } else if !options.dry_run {
        context.ui.say(Level::Notice, "there are no monitoring records to delete");
    }
    Ok(report)
}
