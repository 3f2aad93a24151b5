//! `node start|stop|restart|reload`: the local server, by whatever starts and stops it on this host.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli;
use crate::context::Context;
use crate::error::{Error, Exit, Result, Text};
use crate::facts::directory::running_postmaster;
use crate::facts::rejoin::{STANDBY_SIGNAL, is_half_rewound};
use crate::observe::own_node::local_endpoint;
use crate::observe::server_log::{is_stopping, lengths, reasons};
use crate::observe::service::{facts, may_write_checkpoint, wait_until_reaped};
use crate::observe::{discovery, own_server};
use crate::operation::carry_out::{RunOptions, carry_out};
use crate::operation::start_permission;
use crate::output::node::ServiceAction;
use crate::output::{Data, Report};
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::control::Manager;
use crate::plan::service::{Action, Service, ServiceFacts, plan};
use crate::plan::{Check, Override, service as planned};
use crate::registry::node;
use crate::secret::{Secret, Secrets};
use crate::system::files;
use crate::ui::Level;
use crate::verb::{OptionGroup, Verb};

/// How long a server that is up may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the server at conninfo may take to say whether it is the one of the data directory.
const SAYS_WHO: Duration = Duration::from_secs(2);

/// Starts, stops, restarts or reloads the local server.
///
/// # Errors
/// Exit code 1 for a failed check, 4 if the server does not start, 5 if a command fails.
pub async fn run(
    context: &Context,
    action: cli::node::Action,
    options: cli::node::Checkpoint,
) -> Result<Report> {
    let config = context.config()?;
    let Some(action) = server_action(action) else {
        return Err(Error::new(Exit::Internal, "the service manager does not promote servers"));
    };
    let facts = facts(context, action)?;
    let data = &facts.data_directory;
    if action == Action::Start && is_half_rewound(data) {
        return Err(Error::failed(format!("a rewind of \"{}\" was begun but not finished", data.display()))
            .detail("Its files are in an inconsistent state.")
            .hint("Run \"pgbaton node rejoin\" again: it continues the rewind."));
    }
    if matches!(action, Action::Start | Action::Restart) && !context.options.dry_run {
        wait_until_reaped(context, data).await?;
    }
    let stops = matches!(action, Action::Stop | Action::Restart) && facts.running.is_some();
    let mut secrets = Secrets::new();
    let checkpoint = if options.checkpoint && stops {
        Some(may_write_checkpoint(context, &mut secrets).await?)
    } else {
        None
    };
    if stops && !context.options.dry_run {
        // What the next start is judged by: the server that is stopped now cannot name the other nodes then. Asking is remembering.
        let _seen = tokio::time::timeout(REMEMBERS, discovery::cluster(context)).await;
    }
    let service = Service { action, checkpoint, on: local_endpoint(config) };
    let mut plan = plan(&facts, &service);
    // What the service manager says comes first: it may be unrelated to this command.
    let permission = match plan.checks.iter().any(Check::stops) {
        true => None,
        false => Some(start_permission::query_start_permission(context, &facts, action).await?),
    };
    plan.checks.extend(permission.iter().flat_map(|permission| permission.checks.clone()));
    plan.checks.extend(own_server_is_meant(context).await?);
    if node::holds_secret(&config.conninfo) {
        secrets.insert(node::conninfo_secret(config.node_id), Secret::new(&config.conninfo));
    }
    let before = lengths(&facts);
    let how = RunOptions::new(context, secrets);
    let how = match permission.as_ref().and_then(|permission| permission.held.as_ref()) {
        Some(held) => how.holding(held),
        None => how.named(verb_of(action)),
    };
    let done = carry_out(context, &plan, how).await;
    // A start that has not ended as it should may have started the server all the same.
    if let Some(permission) = permission.filter(|_| done.acted) {
        start_permission::recheck(context, &facts, &permission).await?;
    }
    let report = done.report.map_err(|error| explained(error, &facts, action, &before))?;
    let name = &config.node_name;
    let (did, already) = match action {
        Action::Start => ("has been started", "is running already"),
        Action::Stop => ("has been stopped", "is not running"),
        Action::Restart => ("has been restarted", ""),
        Action::Reload => ("has reloaded its configuration", ""),
    };
    if done.acted {
        // What the server has become is decided by what lay there, not by who typed the command.
        let is_standby = facts.data_directory.join(STANDBY_SIGNAL).exists();
        let role = match action {
            Action::Start | Action::Restart if is_standby => " as a standby",
            _ => "",
        };
        context.ui.say(Level::Notice, &format!("node \"{name}\" {did}{role}"));
        if matches!(action, Action::Start | Action::Restart) {
            check_connection(context).await?;
        }
    } else if !context.options.dry_run {
        context.ui.say(Level::Notice, &format!("node \"{name}\" {already}; nothing was changed"));
    }
    Ok(report)
}

/// Refuses to act on a data directory where conninfo shows that the configuration means another server: a copied file, half edited.
async fn own_server_is_meant(context: &Context) -> Result<Option<Check>> {
    let name = &context.config()?.node_name;
    let options =
        ConnectOptions { deadline: SAYS_WHO, query_deadline: SAYS_WHO, ..ConnectOptions::default() };
    // One that rejects all connections, or hangs, has to be stopped and started all the same.
    let Ok(session) = connect(&context.local_conninfo()?, &context.environment, &options).await else {
        return Ok(None);
    };
    // A stop and a reload have no such option.
    let has_force = context.verb.has(OptionGroup::Force);
    Ok(own_server::is_elsewhere(context, &session).await.map(|why| {
        let check = Check::fail(
            "own_server",
            format!("conninfo and data_directory of node \"{name}\" do not belong to the same server"),
        )
        .detail(why)
        .hint("Correct conninfo or data_directory in the configuration.");
        if has_force { check.overridable_by(Override::Force, context.options.force) } else { check }
    }))
}

/// Connects as every other command will: a server that is up may reject all connections, and conninfo may reach another one.
async fn check_connection(context: &Context) -> Result<()> {
    let config = context.config()?;
    let name = &config.node_name;
    let options = ConnectOptions { deadline: ANSWER, query_deadline: ANSWER, ..ConnectOptions::default() };
    let session = match connect(&context.local_conninfo()?, &context.environment, &options).await {
        Ok(session) => session,
        Err(error) => {
            let mut text = Text::from(format!("node \"{name}\" is up, but pgbaton cannot connect to it"));
            text.add_cause(&error);
            context.ui.text(Level::Warning, &text);
            return Ok(());
        }
    };
    if let Some(why) = own_server::is_elsewhere(context, &session).await {
        context.ui.message(
            Level::Warning,
            &format!("conninfo of node \"{name}\" reaches another server"),
            Some(&why),
            Some("Correct conninfo or data_directory in the configuration."),
        );
    }
    Ok(())
}

/// How long a stop waits for what the other nodes say before it.
const REMEMBERS: Duration = Duration::from_secs(3);

/// Prints the command of an action, or of all of them, as `node service --list-actions` does.
///
/// # Errors
/// Exit code 1 without a configuration.
pub fn list(context: &Context, only: Option<cli::node::Action>) -> Result<Report> {
    let wanted = |action: &Action| only.is_none_or(|only| server_action(only) == Some(*action));
    let listed = Action::ALL.into_iter().filter(wanted).map(|action| {
        let facts = facts(context, action)?;
        let refused = planned::refusal(&facts, action).map(|check| check.text.message);
        let command = match &facts.manager {
            Manager::Configured(line) => line.clone(),
            _ => planned::command(&facts, action).to_string(),
        };
        let command = refused.is_none().then_some(command);
        Ok(ServiceAction { action: action.name(), command, refused })
    });
    let mut listed = listed.collect::<Result<Vec<_>>>()?;
    if only.is_none_or(|only| server_action(only).is_none()) {
        let config = context.config()?;
        let own = config.command("service_promote_command", &config.service_promote_command)?.cloned();
        let command = own.unwrap_or_else(|| "SELECT pg_promote()".to_string());
        listed.push(ServiceAction { action: "promote", command: Some(command), refused: None });
    }
    Ok(Report::new(Data::ServiceActions(listed)))
}

/// Returns what is to be done to the server; None for a promotion, which is a change of roles.
fn server_action(action: cli::node::Action) -> Option<Action> {
    match action {
        cli::node::Action::Start => Some(Action::Start),
        cli::node::Action::Stop => Some(Action::Stop),
        cli::node::Action::Restart => Some(Action::Restart),
        cli::node::Action::Reload => Some(Action::Reload),
        cli::node::Action::Promote => None,
    }
}

/// Returns the command that does this and nothing else.
fn verb_of(action: Action) -> Verb {
    match action {
        Action::Start => Verb::NodeStart,
        Action::Stop => Verb::NodeStop,
        Action::Restart => Verb::NodeRestart,
        Action::Reload => Verb::NodeReload,
    }
}

/// Puts what the server said into the error of a start that failed, and what to do into that of a stop.
fn explained(error: Error, facts: &ServiceFacts, action: Action, before: &[(PathBuf, u64)]) -> Error {
    if !error.changed || matches!(action, Action::Reload) {
        return error;
    }
    if action != Action::Start
        && facts.running.is_some()
        && running_postmaster(&facts.data_directory) == facts.running
    {
        if is_stopping(&facts.data_directory) {
            return error.detail("The server is still shutting down.").hint(
                "The shutdown continues without pgbaton. Run the command again to wait longer, or raise shutdown_check_timeout; the \
                 server's log and its processes show what it waits for.",
            );
        }
        return error.detail("The server runs as before.");
    }
    if action == Action::Stop {
        return error;
    }
    // The server's own log has more to say than what came before it was opened, so it is looked at first.
    for (path, _) in lengths(facts).iter().rev() {
        let from = before.iter().find(|(old, _)| old == path).map_or(0, |(_, length)| *length);
        let added = files::added(path, from).unwrap_or_default();
        let added = String::from_utf8_lossy(&added);
        let said = reasons(&added);
        if !said.is_empty() {
            let mut with_log = error;
            with_log.detail = Some(format!("The log \"{}\" says: {}", path.display(), said.join("\n")));
            return with_log;
        }
    }
    if let Manager::Configured(line) = &facts.manager {
        return error.hint(format!("The command is \"{line}\"; the server's log may say why."));
    }
    error.hint(format!(
        "The server's log may say why; its first lines are in \"{}\".",
        facts.log.path.display()
    ))
}
