//! `standby clone`: copy a running server into an empty data directory, as its standby.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::node::{Action, Checkpoint};
use crate::cli::standby::{Clone as Args, ExternalFiles, Register};
use crate::commands::node as node_commands;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Issue, Result, sentence};
use crate::facts::directory::DirectoryContents;
use crate::observe::clone::{CloneSources, ExternalPlace, Request, connect, prepare, source_conninfo};
use crate::observe::{discovery, superuser};
use crate::operation::carry_out::RunOptions;
use crate::operation::outcome::Done;
use crate::operation::with_events::carry_out_with_events;
use crate::output::Report;
use crate::plan::clone::{CloneFacts, CloneOptions, plan};
use crate::secret::Secrets;
use crate::ui::Level;

/// Seconds in which a started standby normally streams.
const STREAMING_S: u64 = 30;

/// Clones a server.
///
/// # Errors
/// Exit code 6 without the source, 1 for failed checks, 14 if the copy fails, 5 or 7 for the other steps.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let config = context.config()?;
    refuse_barman(config, args)?;
    let request = request(args);
    let given = source_conninfo(context, &request)?;
    let session = connect(context, &given).await?;
    let mut secrets = Secrets::new();
    let superuser = superuser::connect(context, &given, "the source server", &mut secrets).await?;
    let asked = CloneSources::all(context, session, superuser).await?;
    context.belongs_to(asked.system_identifier());
    let (facts, options) = prepare(context, &request, &given, asked, &mut secrets).await?;
    let plan = plan(&facts, &options);
    let mut carried = carry_out_with_events(context, &plan, RunOptions::new(context, secrets)).await;
    describe_loss(&mut carried.done, &facts, &options);
    let done = carried.announced(context).await;
    if done.acted && !options.conf_only && done.report.is_ok() {
        discovery::remember(context, &facts.cluster, crate::system::clock::now());
    }
    let mut report = done.report?;
    if !done.acted {
        return Ok(report);
    }
    let (name, path) = (&options.node_name, options.data_directory.display());
    if options.conf_only {
        context
            .ui
            .say(Level::Notice, &format!("the replication configuration of node \"{name}\" is written"));
    } else {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" is a copy of \"{}\" in \"{path}\"", facts.source_name),
        );
    }
    if !args.start && !args.register {
        let registered = facts.cluster.node(options.node_id).is_some();
        let then = if registered { "" } else { ", then \"pgbaton standby register\"" };
        context.ui.message(
            Level::Notice,
            "the server is not started",
            None,
            Some(&format!("Run \"pgbaton node start\"{then}.")),
        );
        return Ok(report);
    }
    let copied = |left: &str| format!("The copy in \"{path}\" is complete. {left}");
    node_commands::service::run(context, Action::Start, Checkpoint::default())
        .await
        .map_err(|error| error.after(&copied("Its server was not started."), Exit::NoRestart))?;
    if args.register {
        let wait =
            Register { upstream_node_id: args.upstream_node_id, wait_start: Some(30), wait_sync: None };
        super::register::run(context, &wait).await.map_err(|error| {
            error
                .after(&copied("Its server was started. The node is not registered."), Exit::Query)
                .hint("Then run \"pgbaton standby register\".")
        })?;
    }
    if let Some(issue) = wait_until_it_streams(context).await? {
        context.ui.issue(&issue);
        report.issues.push(issue);
    }
    Ok(report)
}

/// Waits for the started standby; says what is amiss if it does not stream in time, which with an archive may be as it should be.
async fn wait_until_it_streams(context: &Context) -> Result<Option<Issue>> {
    // Where the role may not see the state, a receiver that is there counts.
    const SQL: &str =
        "SELECT (count(*) > 0)::text FROM pg_stat_wal_receiver WHERE status IS NULL OR status = 'streaming'";
    let own = context.local_conninfo()?;
    let name = &context.config()?.node_name;
    let until = Instant::now() + Duration::from_secs(STREAMING_S);
    loop {
        let last = match context.connect(&own).await {
            Ok(session) => match session.query_one(SQL, &[]).await {
                Ok(row) if row.get(0) == Some("true") => {
                    context.ui.say(Level::Notice, &format!("node \"{name}\" streams from its upstream"));
                    return Ok(None);
                }
                Ok(_) => "Its WAL receiver is not streaming.".to_string(),
                Err(error) => sentence(&error.to_string()),
            },
            Err(error) => sentence(&error.to_string()),
        };
        if Instant::now() >= until {
            let message = format!("node \"{name}\" does not stream {STREAMING_S} seconds after its start");
            let issue = Issue::warning("not_streaming", message).detail(last);
            return Ok(Some(
                issue.hint("Check the server log; the server may still be reading WAL from the archive."),
            ));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Says of a failed clone that what it was to replace is gone already.
fn describe_loss(done: &mut Done, facts: &CloneFacts, options: &CloneOptions) {
    if !matches!(facts.directory, DirectoryContents::DataDirectory { .. }) || !done.begun("take_control_file")
    {
        return;
    }
    let removed = format!("What \"{}\" held before was removed.", options.data_directory.display());
    done.map_error(|error| error.detail(removed).changed());
}

fn request(args: &Args) -> Request {
    Request {
        source_host: args.source_host.clone(),
        upstream_node_id: args.upstream_node_id,
        upstream_conninfo: args.upstream_conninfo.clone(),
        replication_user: args.replication_user.clone(),
        spread_checkpoint: args.spread_checkpoint,
        verify_backup: args.verify_backup,
        external_files: args.copy_external_config_files.map(|place| match place {
            ExternalFiles::Samepath => ExternalPlace::SamePath,
            ExternalFiles::Pgdata => ExternalPlace::DataDirectory,
        }),
        conf_only: args.replication_conf_only,
        recovery_min_apply_delay: args.recovery_min_apply_delay.clone(),
    }
}

fn refuse_barman(config: &Config, args: &Args) -> Result<()> {
    if args.no_upstream_connection {
        return Err(Error::failed("--no-upstream-connection is not supported")
            .detail("It is an option for clones from Barman, which pgbaton does not support."));
    }
    if config.barman_host.is_some() && !args.without_barman {
        return Err(Error::failed("clones from Barman are not supported")
            .detail("barman_host is set in the configuration.")
            .hint("Use --without-barman to copy from the server."));
    }
    if config.pg_backupapi_host.is_some() {
        return Err(Error::failed("clones over pg-backup-api are not supported")
            .detail("pg_backupapi_host is set in the configuration.")
            .hint("Remove it to copy from the server."));
    }
    Ok(())
}
