//! The answer to `hello`: what this host and its node are like, without a question to the server.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::context::Context;
use crate::error::{Result, sentence};
use crate::facts::directory::running_postmaster;
use crate::far_end::protocol::{Control, Hello, ServiceCommands};
use crate::journal;
use crate::observe::{next_start, service};
use crate::pg::control_file;
use crate::plan::service::{Action, ServiceFacts, command, start_checks, start_note};
use crate::system::inspect;
use crate::system::lock::LocalLock;

/// Says who we are. It is waited for while there may be no primary: no program is run for what a file contains.
pub(super) async fn hello(context: &Context, state_directory: &Path) -> Hello {
    // It was read when the state directory was asked for.
    let Ok(config) = context.config() else { return Hello::unknown() };
    let data = &config.data_directory;
    let control = control_file::read(data).map(|control| Control {
        system_identifier: control.system_identifier.to_string(),
        state: control.state,
        timeline: control.timeline,
    });
    let installation = context.installation(config).ok();
    let pg_ctl = installation.as_ref().and_then(|installation| installation.tool("pg_ctl").ok());
    let bindir = pg_ctl.and_then(|path| Path::new(&path).parent().map(Path::to_path_buf));
    let config_directory = context.config_directory(config);
    let control_data = match &installation {
        Some(installation) => {
            timeout(LOOK, installation.control_data()).await.ok().and_then(std::result::Result::ok)
        }
        None => None,
    };
    let control_data = control_data.unwrap_or_default();
    let unfinished = journal::unfinished(state_directory).ok().and_then(|entries| {
        let entry = journal::blocking(&entries)?;
        let command = entry.journal.as_ref().map_or("?", |journal| &journal.header.command);
        Some((entry.operation_id.clone(), command.to_string()))
    });
    let locked_by = LocalLock::holder(state_directory).ok().flatten().map(|holder| holder.to_string());
    let next = next_start::inspect_next_start(data, config_directory.as_deref());
    // Each of them tries the places that it would write to.
    let (start, stop) = (service::facts(context, Action::Start), service::facts(context, Action::Stop));
    let start_checks = start.as_ref().map(|facts| start_checks(facts, Action::Start)).unwrap_or_default();
    let has_upstream = match next.settings.get("primary_conninfo") {
        Some(set) => Some(!set.is("")),
        None => next.settings.unread.is_none().then_some(false),
    };
    Hello {
        node_id: config.node_id,
        node_name: config.node_name.clone(),
        config_file: config.file().display().to_string(),
        data_directory: data.clone(),
        config_directory,
        user: context.environment.user.clone(),
        owner: inspect::owner(data),
        control: control.map_err(|error| format!("{error:#}")),
        postmaster: running_postmaster(data),
        major: installation.map(|installation| installation.major().to_string()),
        bindir,
        service: service_commands(start, stop).map_err(|error| sentence(&error.to_string())),
        unfinished,
        locked_by,
        archive_ready: inspect::names_ending(&data.join("pg_wal/archive_status"), ".ready"),
        has_upstream,
        // One of the two is needed by pg_rewind.
        wal_log_hints: control_data.wal_log_hints,
        checksums: control_data.checksums,
        start_checks,
        next,
        ..Hello::unknown()
    }
}

fn service_commands(start: Result<ServiceFacts>, stop: Result<ServiceFacts>) -> Result<ServiceCommands> {
    let (start, stop) = (start?, stop?);
    Ok(ServiceCommands {
        start: command(&start, Action::Start),
        stop: command(&stop, Action::Stop),
        start_timeout_s: start.start_timeout_s,
        stop_timeout_s: stop.stop_timeout_s,
        start_note: start_note(&start),
        starter: start.manager,
        stopper: stop.manager,
    })
}

/// How long a program may take that only looks.
const LOOK: Duration = Duration::from_secs(5);
