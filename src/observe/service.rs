//! What is known of the local server before it is started or stopped.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Exit, Result, sentence};
use crate::facts::directory::{
    DirectoryContents, leftover, look_past_mark, running_postmaster, unreaped_postmaster,
};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::facts::{start_log, write_locations};
use crate::observe::own_node::local_endpoint;
use crate::observe::{next_start, superuser};
use crate::pg::control::{self, Manager};
use crate::pg::last_start;
use crate::plan::service::{Action, CheckpointPermission, ServiceFacts};
use crate::secret::Secrets;
use crate::site::Site;
use crate::units::seconds;

/// How long the parent process may take to reap a postmaster.
pub const REAPED: Duration = Duration::from_secs(10);

/// Waits until the operating system has forgotten a postmaster that was killed: until then no other one starts on its data directory.
///
/// # Errors
/// Exit code 4 if its parent does not take note of its end.
pub async fn wait_until_reaped(site: &Site, data: &Path) -> Result<()> {
    let Some(pid) = unreaped_postmaster(data) else { return Ok(()) };
    let text = format!(
        "the postmaster with process ID {pid} has exited but is a zombie; waiting for its parent to reap it"
    );
    site.notice(&text);
    let begun = Instant::now();
    while unreaped_postmaster(data).is_some() {
        if begun.elapsed() >= REAPED {
            return Err(Error::new(Exit::NoRestart, format!("process {pid} has exited but is a zombie: its parent does not reap it"))
                .detail(
                    "It was the postmaster, and PostgreSQL starts no new one while the operating system still lists it. Nothing was \
                     changed.",
                )
                .hint(
                    "End its parent process. In a container whose first process is not an init process, restart the container, with \
                     \"docker run --init\" or the like.",
                ));
        }
        tokio::time::sleep(REAPED / 100).await;
    }
    Ok(())
}

/// Gathers what decides how the server is started and stopped.
pub fn facts(site: &Site, action: Action) -> Result<ServiceFacts> {
    let config = site.config()?;
    let data = &config.data_directory;
    let major = match look_past_mark(data) {
        DirectoryContents::DataDirectory { major, .. } => major,
        DirectoryContents::UnfinishedClone(_) => {
            return Err(Error::failed(format!("\"{}\" holds an unfinished clone", data.display()))
                .hint("Run \"pgbaton standby clone\" again: it takes the directory over."));
        }
        DirectoryContents::Unreadable(why) => {
            return Err(Error::failed(format!("could not examine data directory \"{}\"", data.display()))
                .detail(why)
                .hint("Run pgbaton as the user that owns it."));
        }
        DirectoryContents::Missing => {
            return Err(Error::failed(format!("data directory \"{}\" does not exist", data.display()))
                .hint("Check data_directory in the configuration."));
        }
        _ => {
            return Err(Error::failed(format!("\"{}\" is not a data directory", data.display()))
                .detail("It has no PG_VERSION.")
                .hint("Check data_directory in the configuration."));
        }
    };
    let installation = site.installation_of(config, &major);
    let pg_ctl = installation.tool("pg_ctl").map_err(|error| {
        Error::from_cause(Exit::Failed, format!("could not find pg_ctl of PostgreSQL {major}"), &error)
            .hint("Set pg_bindir in the configuration.")
    })?;
    let running = running_postmaster(data);
    let configured = match action {
        Action::Start => ("service_start_command", &config.service_start_command),
        Action::Stop => ("service_stop_command", &config.service_stop_command),
        Action::Restart => ("service_restart_command", &config.service_restart_command),
        Action::Reload => ("service_reload_command", &config.service_reload_command),
    };
    let manager = match config.command(configured.0, configured.1)? {
        Some(command) => Manager::Configured(command.clone()),
        None => {
            let conf_root = site.environment.non_empty("PG_CLUSTER_CONF_ROOT").map(Path::new);
            control::manager(data, &major, running, conf_root, Path::new("/"))
        }
    };
    // Configuration outside the data directory is found through where that is, as repmgr does.
    let config_directory = config.config_directory.clone();
    let state = site.state_directory()?;
    let words = |text: &Option<String>| {
        text.as_deref()
            .map_or(Ok(Vec::new()), shell_words::split)
            .map_err(|error| Error::failed("invalid pg_ctl_options").detail(sentence(&error.to_string())))
    };
    Ok(ServiceFacts {
        node_name: config.node_name.clone(),
        data_directory: data.clone(),
        config_directory,
        leftover: leftover(data),
        running,
        pg_ctl,
        pg_ctl_options: words(&config.pg_ctl_options)?,
        last_start: last_start::read(data, config.config_directory.as_deref()),
        log: match manager {
            // It has a log of its own, which it prints when a start fails: it must not be printed into itself.
            Manager::Debian(_) => start_log::own_start_log(&state),
            _ => start_log::find(data, running, &state),
        },
        manager,
        places: match action {
            Action::Start | Action::Restart => write_locations::of_data_directory(data)
                .into_iter()
                .chain([write_locations::of_state(&state)])
                .collect(),
            // It can be stopped where it could not be started, but not without a journal.
            Action::Stop | Action::Reload => vec![write_locations::of_state(&state)],
        },
        standby: (matches!(action, Action::Start | Action::Restart) && data.join(STANDBY_SIGNAL).exists())
            .then(|| next_start::inspect_next_start(data, site.config_directory(config).as_deref())),
        start_timeout_s: seconds(config.standby_reconnect_timeout),
        stop_timeout_s: seconds(config.shutdown_check_timeout),
        user: site.environment.user.clone().unwrap_or_default(),
    })
}

/// Asks the server whether our role may write a checkpoint: a superuser, and from 15 on a member of `pg_checkpoint`. If it may not,
/// the superuser does it that was named.
pub async fn may_write_checkpoint(site: &Site, secrets: &mut Secrets) -> Result<CheckpointPermission> {
    let config = site.config()?;
    let ask = async {
        let session = site
            .connect_local()
            .await
            .map_err(|error| error.text.detail.unwrap_or_else(|| sentence(&error.text.message)))?;
        let row = session
            .query_one(
                "SELECT (rolsuper OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' \
                 AND pg_has_role(oid, 'USAGE')))::text, current_user::text FROM pg_roles WHERE rolname = current_user",
                &[],
            )
            .await
            .map_err(|error| sentence(&error.to_string()))?;
        Ok::<_, String>((row, session.server_version_num()))
    };
    Ok(match ask.await {
        Ok((row, _)) if row.get(0) == Some("true") => CheckpointPermission::Possible(local_endpoint(config)),
        Ok((row, version)) => {
            let whom = format!("node \"{}\"", config.node_name);
            let named = superuser::connect(site, &site.local_conninfo()?, &whom, secrets).await?;
            if let Some(superuser) = named {
                return Ok(CheckpointPermission::Possible(superuser.on));
            }
            let role = row.get(1).unwrap_or_default().to_string();
            let grant = format!("GRANT pg_checkpoint TO {};", crate::pg::quote::quote_ident(&role));
            CheckpointPermission::Denied { role, grant: (version >= 150_000).then_some(grant) }
        }
        Err(why) => CheckpointPermission::Unknown(why),
    })
}
