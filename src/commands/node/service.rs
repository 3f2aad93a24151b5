//! `node start|stop|restart|reload`: the local server, by whatever starts and stops it on this host.

use std::path::Path;

use crate::cli::node::{Action, Checkpoint};
use crate::commands::context::Context;
use crate::commands::operate;
use crate::commands::primary::register::{local_endpoint, secrets_of};
use crate::commands::world::Secrets;
use crate::config::Config;
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::ClusterFacts;
use crate::facts::directory::{Contents, look, running_postmaster};
use crate::output::ui::Level;
use crate::output::{Data, Report};
use crate::pg::conninfo::Conninfo;
use crate::pg::control::{self, Manager};
use crate::pg::tools;
use crate::plan::service::{Service, ServiceFacts, plan};
use crate::registry::node;
use crate::secret::Secret;

/// Starts, stops, restarts or reloads the local server.
///
/// # Errors
/// Exit code 1 for a failed check, 4 if the server does not start, 5 if a command fails.
pub async fn run(context: &Context, action: Action, options: Checkpoint) -> Result<Report> {
    let config = context.config()?;
    let facts = facts(config, action)?;
    let service = Service { action: of(action), checkpoint: options.checkpoint, on: local_endpoint(config) };
    let plan = plan(&facts, &service);
    let mut secrets: Secrets = secrets_of(&ClusterFacts::default());
    if node::holds_secret(&config.conninfo) {
        secrets.insert(node::conninfo_secret(config.node_id), Secret::new(&config.conninfo));
    }
    let done = operate::carry_out(context, &plan, secrets).await;
    let done = done.map_err(|error| with_log(error, &facts.log))?;
    let name = &config.node_name;
    let (did, already) = match action {
        Action::Start => ("has been started", "is running already"),
        Action::Stop => ("has been stopped", "is not running"),
        Action::Restart => ("has been restarted", ""),
        Action::Reload => ("reads its configuration again", ""),
    };
    if done.acted {
        context.ui.say(Level::Notice, &format!("node \"{name}\" {did}"));
    } else if !context.global.dry_run {
        context.ui.say(Level::Notice, &format!("node \"{name}\" {already}; nothing was changed"));
    }
    Ok(done.report)
}

/// Prints the command of every action, as `node service --list-actions` does.
///
/// # Errors
/// Exit code 1 without a configuration.
pub fn list(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let mut out = String::new();
    for (name, action) in [
        ("start", Action::Start),
        ("stop", Action::Stop),
        ("restart", Action::Restart),
        ("reload", Action::Reload),
    ] {
        let facts = facts(config, action)?;
        let command = crate::plan::service::command(&facts, of(action));
        out.push_str(&format!("{name}: {command}\n"));
    }
    Ok(Report::new(Data::Text(out)))
}

/// Gathers what decides how the server is started and stopped.
pub fn facts(config: &Config, action: Action) -> Result<ServiceFacts> {
    let data = &config.data_directory;
    let major = match look(data) {
        Contents::DataDirectory { major, .. } => major,
        Contents::UnfinishedClone(_) => {
            return Err(Error::failed(format!("\"{}\" holds an unfinished clone", data.display()))
                .hint("Run \"pgbaton standby clone\" again: it takes the directory over."));
        }
        Contents::Unreadable(why) => {
            return Err(Error::failed(format!("could not look into data directory \"{}\"", data.display()))
                .detail(why)
                .hint("Run pgbaton as the user that owns it."));
        }
        _ => {
            return Err(Error::failed(format!("\"{}\" is not a data directory", data.display()))
                .detail("It has no PG_VERSION.")
                .hint("Check data_directory in the configuration."));
        }
    };
    let pg_ctl = tools::find(config.pg_bindir.as_deref(), &major, "pg_ctl").map_err(|error| {
        Error::from_cause(Exit::Failed, format!("could not find pg_ctl of PostgreSQL {major}"), &error)
            .hint("Set pg_bindir in the configuration.")
    })?;
    let running = running_postmaster(data);
    let configured = match action {
        Action::Start => &config.service_start_command,
        Action::Stop => &config.service_stop_command,
        Action::Restart => &config.service_restart_command,
        Action::Reload => &config.service_reload_command,
    };
    let manager = match configured {
        Some(command) => Manager::Configured(command.clone()),
        None => control::manager(data, &major, running, Path::new("/")),
    };
    // Configuration outside the data directory is found through where that is, as repmgr does.
    let config_directory = config.config_directory.clone();
    let words = |text: &Option<String>| {
        text.as_deref().map_or(Ok(Vec::new()), shell_words::split).map_err(|error| {
            Error::failed("invalid pg_ctl_options").detail(crate::error::sentence(&error.to_string()))
        })
    };
    Ok(ServiceFacts {
        node_name: config.node_name.clone(),
        data_directory: data.clone(),
        config_directory,
        running,
        manager,
        pg_ctl: pg_ctl.display().to_string(),
        pg_ctl_options: words(&config.pg_ctl_options)?,
        server_options: control::options_of_last_start(data),
        log: control::start_log(data),
        start_timeout_s: seconds(config.standby_reconnect_timeout),
        stop_timeout_s: seconds(config.shutdown_check_timeout),
        conninfo_port: Conninfo::parse(&config.conninfo).ok().and_then(|c| c.get("port").map(str::to_string)),
    })
}

fn seconds(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn of(action: Action) -> crate::plan::service::Action {
    match action {
        Action::Start => crate::plan::service::Action::Start,
        Action::Stop => crate::plan::service::Action::Stop,
        Action::Restart => crate::plan::service::Action::Restart,
        Action::Reload => crate::plan::service::Action::Reload,
    }
}

/// Adds the end of the server's log to the error of a start that failed: the reason stands there.
fn with_log(error: Error, log: &Path) -> Error {
    if error.exit != Exit::NoRestart {
        return error;
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("FATAL") || line.contains("ERROR") || line.contains("HINT"))
        .collect();
    let tail: Vec<&str> = lines.iter().rev().take(4).rev().copied().collect();
    if tail.is_empty() {
        return error
            .hint(format!("The server's log says why; its first lines are in \"{}\".", log.display()));
    }
    error.detail(format!("The log \"{}\" says: {}", log.display(), tail.join("\n")))
}
