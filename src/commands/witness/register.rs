//! `witness register`: record the local server as a witness, and give it a copy of the metadata.

use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::Unavailable;
use crate::facts::server;
use crate::observe::own_node::{local_endpoint, own_row, secrets, secrets_of};
use crate::observe::witness::{contact, look_around, strangers};
use crate::observe::{discovery, own_operations, superuser};
use crate::operation::carry_out::RunOptions;
use crate::operation::membership::wait_until_taken_up;
use crate::operation::with_events::carry_out_with_events;
use crate::output::Report;
use crate::pg::client::SqlError;
use crate::plan::register::{
    Contact, RegisterOptions, WitnessFacts, WitnessServer, wants_extension, witness,
};
use crate::registry::schema::{self, SchemaState};
use crate::registry::{NodeRow, NodeType, node};
use crate::secret::Secrets;
use crate::ui::Level;

/// Registers the local server as a witness.
///
/// # Errors
/// Exit code 6 without the local server or the primary, 31 if there are two primaries, 1 for any other failed check, 7 if something cannot be
/// written.
pub async fn run(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let own = context.local_conninfo()?;
    let whom = format!("node \"{}\"", config.node_name);
    let broken = |error: SqlError| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    };
    let named = context.named_server()?;
    let (local, mut primary) = tokio::join!(context.connect(&own), async {
        match &named {
            Some(conninfo) => Some(contact(context, conninfo).await),
            None => None,
        }
    });
    let session = local.as_ref().ok();
    let mut rows = Vec::new();
    let mut looked = None;
    if let Some(session) = session {
        let (server, present, offered) = tokio::join!(
            server::query_server_facts(session),
            schema::inspect_metadata(session),
            schema::offered(session)
        );
        let (server, present, offered) =
            (server.map_err(broken)?, present.map_err(broken)?, offered.map_err(broken)?);
        let readable = present.closed_schemas.is_empty() && present.closed_tables.is_empty();
        if readable && matches!(present.verdict(), SchemaState::Complete | SchemaState::OwnMissing) {
            rows = node::read_all(session).await.map_err(broken)?;
        }
        looked = Some((server, present, offered));
    }
    if primary.is_none() {
        let identifier = looked.as_ref().map(|(server, ..)| server.system_identifier.as_str());
        primary = Some(look_around(context, &rows, identifier).await);
    }
    let primary = primary.unwrap_or(Contact::Unknown { asked: Vec::new() });
    let mut known = secrets(config, &row(config));
    let there = match &primary {
        Contact::Asked(there) => Some(there),
        _ => None,
    };
    let here = match (looked, &local) {
        (Some((server, present, offered)), _) => {
            let extension = there.is_some_and(|there| wants_extension(&present, &offered, &there.present));
            let needed =
                if extension { !offered.may_install } else { !present.missing_privileges().is_empty() };
            let superuser = match needed && !server.in_recovery {
                true => superuser::connect(context, &own, &whom, &mut known).await?,
                false => None,
            };
            let strangers = strangers(context, &rows, there.map(|there| &there.cluster)).await;
            let superuser = superuser.map(|superuser| superuser.on);
            Ok(WitnessServer { server, present, offered, superuser, rows, strangers })
        }
        (None, Err(error)) => Err(Unavailable::from(error.clone())),
        (None, Ok(_)) => return Err(Error::new(Exit::Internal, "the local server was not queried")),
    };
    if let Some(there) = there {
        context.belongs_to(&there.server.system_identifier);
        known.extend(secrets_of(&there.cluster));
    }
    let facts = WitnessFacts { here, primary, interrupted: own_operations::own_interrupted(context) };
    let options =
        RegisterOptions { force: context.options.force, wait_sync_s: None, ..RegisterOptions::default() };
    let plan = witness(&facts, &row(config), &local_endpoint(config), options);
    finish(context, config, &facts, &plan, known).await
}

/// Carries the plan out, and reports it.
async fn finish(
    context: &Context,
    config: &Config,
    facts: &WitnessFacts,
    plan: &crate::plan::Plan,
    known: Secrets,
) -> Result<Report> {
    let (name, id) = (&config.node_name, config.node_id);
    let how = RunOptions::new(context, known);
    let done = carry_out_with_events(context, plan, how).await.announced(context).await;
    if done.acted
        && let Contact::Asked(there) = &facts.primary
        && let Some((primary, _)) = there.cluster.primaries().next()
    {
        discovery::remember_from(context, &primary.row).await;
    }
    let report = done.report?;
    if done.acted {
        context.ui.say(Level::Notice, &format!("node \"{name}\" (ID {id}) is registered as witness"));
        if let Contact::Asked(there) = &facts.primary
            && let Some((primary, _)) = there.cluster.primaries().next()
        {
            wait_until_taken_up(context, &primary.row, &row(config), true).await;
        }
    } else if !context.options.dry_run {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" (ID {id}) is already registered as witness; nothing was changed"),
        );
    }
    Ok(report)
}

/// Returns the row that the configuration describes: a witness has no slot, and is never promoted.
fn row(config: &Config) -> NodeRow {
    NodeRow { priority: 0, slot_name: None, ..own_row(config, NodeType::Witness, None, None) }
}
