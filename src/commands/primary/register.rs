//! `primary register`: make the metadata if it is missing, and record this server as the primary.

use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::{ClusterFacts, gather};
use crate::facts::server;
use crate::observe::own_node::{local_endpoint, own_row, secrets};
use crate::observe::{discovery, superuser};
use crate::operation::carry_out::RunOptions;
use crate::operation::with_events::carry_out_with_events;
use crate::output::Report;
use crate::pg::client::SqlError;
use crate::plan::register::{PrimaryFacts, RegisterOptions, primary};
use crate::registry::schema::{self, SchemaState};
use crate::registry::{NodeType, node};
use crate::secret::Secrets;
use crate::ui::Level;

/// Registers the local server as the primary.
///
/// # Errors
/// Exit code 6 without a connection, 31 if there is another primary, 1 for any other failed check, 7 if the metadata cannot be written.
pub async fn run(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let session = context.connect_local().await?;
    let whom = format!("node \"{}\"", config.node_name);
    let broken = |error: SqlError| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    };
    let local = server::query_server_facts(&session).await.map_err(broken)?;
    context.is_of_cluster(&local.system_identifier)?;
    let present = schema::inspect_metadata(&session).await.map_err(broken)?;
    let mut known = Secrets::new();
    let superuser = if local.in_recovery || present.missing_privileges().is_empty() {
        None
    } else {
        superuser::connect(context, &context.local_conninfo()?, &whom, &mut known).await?
    };
    // No node is registered unseen: where the role cannot read which other nodes there are, the superuser does.
    let reader = match &superuser {
        Some(superuser) => Some(&superuser.session),
        None => {
            Some(&session).filter(|_| present.closed_schemas.is_empty() && present.closed_tables.is_empty())
        }
    };
    let (cluster, lacks_term) = match (present.verdict(), reader) {
        (SchemaState::Complete | SchemaState::OwnMissing, Some(reader)) => {
            let rows = node::read_all(reader).await.map_err(broken)?;
            let cluster = gather(&rows, &[], &context.environment, context.node_deadline()).await;
            (cluster, schema::lacks_term(reader).await.map_err(broken)?)
        }
        _ => (ClusterFacts::default(), false),
    };
    let old = cluster.node(config.node_id).map(|node| node.row.clone());
    let row = own_row(config, NodeType::Primary, None, old.as_ref().and_then(|row| row.slot_name.clone()));
    let on = local_endpoint(config);
    let superuser = superuser.map(|superuser| superuser.on);
    let facts = PrimaryFacts { local, present, lacks_term, superuser, cluster };
    let options =
        RegisterOptions { force: context.options.force, wait_sync_s: None, ..RegisterOptions::default() };
    let plan = primary(&facts, &row, &on, options);
    known.extend(secrets(config, &row));
    let how = RunOptions::new(context, known);
    let done = carry_out_with_events(context, &plan, how).await.announced(context).await;
    let report = done.report?;
    if done.acted {
        context.ui.say(
            Level::Notice,
            &format!("node \"{}\" (ID {}) is registered as primary", row.node_name, row.node_id),
        );
        if let Ok(facts) = discovery::from_session(context, &session, &whom).await {
            discovery::remember(context, &facts, crate::system::clock::now());
        }
    } else if !context.options.dry_run {
        context.ui.say(
            Level::Notice,
            &format!(
                "node \"{}\" (ID {}) is already registered as primary; nothing was changed",
                row.node_name, row.node_id
            ),
        );
    }
    Ok(report)
}
