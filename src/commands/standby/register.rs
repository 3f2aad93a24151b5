//! `standby register`: record this standby in the metadata.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::standby::Register as Args;
use crate::context::{Context, not_connected};
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::query_node;
use crate::facts::directory::leftover;
use crate::facts::paused::advice;
use crate::facts::server;
use crate::observe::discovery;
use crate::observe::own_node::{local_endpoint, own_row, secrets, secrets_of};
use crate::operation::carry_out::RunOptions;
use crate::operation::membership::wait_until_taken_up;
use crate::operation::with_events::carry_out_with_events;
use crate::output::Report;
use crate::pg::client::Session;
use crate::plan::register::{RegisterOptions, StandbyFacts, endpoint, standby};
use crate::registry::{NodeRow, NodeType};
use crate::ui::Level;
use crate::verb::Verb;

/// Registers the local server as a standby.
///
/// # Errors
/// Exit code 6 without the local server or a primary, 1 for a failed check, 7 if the record cannot be written, 20 if it was not seen on the
/// standby in time.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let config = context.config()?;
    let whom = format!("node \"{}\"", config.node_name);
    let session = connect(context, args.wait_start, &whom).await?;
    let local = server::query_server_facts(&session).await.map_err(|error| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    })?;
    context.is_of_cluster(&local.system_identifier)?;
    if !local.in_recovery {
        return Err(Error::failed(format!(
            "cannot register standby \"{}\": the server accepts writes",
            config.node_name
        ))
        .detail("It is not a standby. Nothing was changed.")
        .hint("If it is to be the primary, run \"pgbaton primary register\"."));
    }
    // A clone that registers at its end was given its source, which need not have the metadata.
    let given = context.named_server()?.filter(|_| context.verb == Verb::StandbyRegister);
    let cluster = match given {
        Some(conninfo) => {
            let named = conninfo.redacted();
            let there = context.connect(&conninfo).await.map_err(|error| not_connected(&named, error))?;
            discovery::from_session(context, &there, &named).await?
        }
        None => discovery::from_session(context, &session, &whom).await?,
    };
    let (primary, primary_server) = discovery::the_primary(&cluster)?;
    let primary_row = primary.row.clone();
    let primary_id = primary_row.node_id;
    let own_slot = local
        .receiver
        .as_ref()
        .and_then(|receiver| receiver.slot_name.clone())
        .filter(|name| !name.is_empty());
    let mut row = own_row(config, NodeType::Standby, args.upstream_node_id, own_slot.clone());
    row.slot_name = own_slot.or(row.slot_name.filter(|_| local.receiver.is_none()));
    context.debug(&format!(
        "the primary is \"{}\" on timeline {}",
        primary_row.node_name, primary_server.timeline
    ));
    let options = RegisterOptions {
        force: context.options.force,
        wait_sync_s: args.wait_sync,
        ..RegisterOptions::default()
    };
    let on = endpoint(primary);
    let here = local_endpoint(config);
    let mut known = secrets_of(&cluster);
    known.extend(secrets(config, &row));
    let facts =
        StandbyFacts { local, cluster, primary: primary_id, leftover: leftover(&config.data_directory) };
    let plan = standby(&facts, &row, &here, &on, options);
    let how = RunOptions::new(context, known).named(Verb::StandbyRegister);
    let mut carried = carry_out_with_events(context, &plan, how).await;
    if let Err(error) = &mut carried.done.report
        && error.exit == Exit::RegistrationSync
    {
        explain_missing_record(error, &row.node_name, &session, &primary_row, context).await;
    }
    let done = carried.announced(context).await;
    if done.acted {
        discovery::remember_from(context, &primary_row).await;
    }
    let report = done.report?;
    let (name, id) = (&row.node_name, row.node_id);
    if done.acted {
        context.ui.say(Level::Notice, &format!("node \"{name}\" (ID {id}) is registered as standby"));
        wait_until_taken_up(context, &primary_row, &row, true).await;
    } else if !context.options.dry_run {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" (ID {id}) is already registered as standby; nothing was changed"),
        );
    }
    Ok(report)
}

/// Adds why a record has not arrived, as far as the standby knows.
async fn explain_missing_record(
    error: &mut Error,
    name: &str,
    session: &Session,
    primary: &NodeRow,
    context: &Context,
) {
    let add = |to: &mut Option<String>, text: &str| {
        *to = Some(to.take().map_or_else(|| text.to_string(), |old| format!("{old} {text}")));
    };
    add(&mut error.detail, "The record is on the primary.");
    let local = server::query_server_facts(session).await.ok();
    if let Some(local) = local.as_ref().filter(|local| local.replay_paused == Some(true)) {
        add(&mut error.detail, "Replay is paused on this standby.");
        let there = query_node(&primary.conninfo, &context.environment, context.node_deadline()).await.ok();
        add(&mut error.hint, &advice(name, local, there.as_ref().map(|(_, server)| server)).text);
    } else if local.is_some_and(|local| local.receiver.is_none()) {
        add(&mut error.detail, "This standby receives no WAL.");
        add(&mut error.hint, "Its server log says why; \"pgbaton node status\" shows how far it is.");
    } else {
        add(&mut error.hint, "Run \"pgbaton node status\" to see how far this standby is behind.");
    }
}

/// Connects to the local server; with `--wait-start` again and again until it accepts the connection.
async fn connect(context: &Context, wait_start: Option<u32>, whom: &str) -> Result<Session> {
    let conninfo = context.local_conninfo()?;
    let until = Instant::now() + Duration::from_secs(u64::from(wait_start.unwrap_or(0)));
    let mut pause = Duration::from_millis(20);
    loop {
        match context.connect(&conninfo).await {
            Ok(session) => return Ok(session),
            Err(error) if Instant::now() >= until => {
                let error = not_connected(whom, error);
                return Err(match wait_start {
                    Some(seconds) => error.detail(format!("Waited {seconds} s for it.")),
                    None => error.hint("Start it first: \"pgbaton node start\"; or use --wait-start."),
                });
            }
            Err(_) => {
                sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
        }
    }
}
