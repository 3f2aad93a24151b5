//! The answer to `hello`: what this host and its node are like, without a question to the server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use crate::context::Context;
use crate::error::{Result, sentence};
use crate::facts::directory::running_postmaster;
use crate::far_end::protocol::{Control, Hello, ServiceCommands};
use crate::journal::{self, unfinished};
use crate::observe::{next_start, service};
use crate::pg::{control_file, tools};
use crate::plan::service::{Action, ServiceFacts, command, start_checks, start_note};
use crate::system::command::Command;
use crate::system::lock::LocalLock;
use crate::system::process::{self, Surroundings};
use crate::system::{files, inspect};

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
    let major = files::text(data.join("PG_VERSION")).ok().map(|text| text.trim().to_string());
    let tool = |name: &str| tools::find(config.pg_bindir.as_deref(), major.as_deref()?, name).ok();
    let bindir = tool("pg_ctl").and_then(|path| path.parent().map(Path::to_path_buf));
    let config_directory = context.config_directory(config);
    let data_name = data.display().to_string();
    let in_control = look(tool("pg_controldata"), ["-D", &data_name]).await;
    let in_control = |label| tools::control_value(in_control.as_deref()?, label);
    let unfinished = journal::unfinished(state_directory).ok().and_then(|entries| {
        let entry = unfinished::blocking(&entries)?;
        let command = entry.journal.as_ref().map_or("?", |journal| &journal.header.command);
        Some((entry.operation_id.clone(), command.to_string()))
    });
    let locked_by = LocalLock::holder(state_directory).ok().flatten().map(|holder| holder.to_string());
    let next = next_start::look(data, config_directory.as_deref());
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
        major,
        bindir,
        service: service_commands(start, stop).map_err(|error| sentence(&error.to_string())),
        unfinished,
        locked_by,
        archive_ready: inspect::names_ending(&data.join("pg_wal/archive_status"), ".ready"),
        has_upstream,
        // One of the two is needed by pg_rewind.
        wal_log_hints: in_control("wal_log_hints setting").map(|word| word == "on"),
        checksums: in_control("Data page checksum version").map(|version| version != "0"),
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

/// Returns what a program says that only looks.
async fn look<const N: usize>(program: Option<PathBuf>, args: [&str; N]) -> Option<String> {
    let command = Command::new(program?.display().to_string(), args);
    let said = timeout(LOOK, process::run(&command, &Surroundings::default())).await.ok()?.ok()?;
    said.status.success().then_some(said.stdout)
}

/// How long a program may take that only looks.
const LOOK: Duration = Duration::from_secs(5);
