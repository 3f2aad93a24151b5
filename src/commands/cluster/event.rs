//! `cluster event`: what happened.

use crate::cli::cluster::Event as Args;
use crate::context::{Context, not_connected};
use crate::error::{Error, Exit, Result, sentence};
use crate::output::{Data, Report};
use crate::registry::event::{Filter, read};
use crate::ui::Level;

/// Reads the events on the local node, or on the server that was named.
///
/// # Errors
/// Exit code 6 without a connection, 7 if the query fails.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let session = match context.named_server()? {
        Some(given) => context
            .connect(&given)
            .await
            .map_err(|error| not_connected("the server named on the command line", error))?,
        None => context.connect_local().await?,
    };
    let filter = Filter {
        limit: (!args.all).then_some(args.limit),
        node_id: context.options.node_id,
        node_name: context.options.node_name.clone(),
        event: args.event.clone(),
    };
    let events = read(&session, &filter).await.map_err(|error| {
        Error::new(Exit::Query, "could not read the events").detail(sentence(&error.to_string()))
    })?;
    if events.is_empty() {
        context.ui.say(Level::Notice, "no matching events");
    }
    Ok(Report::new(Data::Events(events)))
}
