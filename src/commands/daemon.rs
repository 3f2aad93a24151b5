//! `daemon run|start|stop`: the daemon of this node. What starts and stops it is what runs it: a unit of systemd, or a line of the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pgbaton_lease::Flag;
use pgbaton_lease::mailbox::Role;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::daemon::{Start, Stop, Wait};
use crate::commands::service::{pause, settled};
use crate::config::Config;
use crate::context::Context;
use crate::daemon;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::observe::daemons::{NodeDaemons, random_op};
use crate::observe::discovery;
use crate::observe::local_daemon::{LocalDaemon, find, promised, runtime_directory};
use crate::operation::hand_over::{best_heir, hand_over};
use crate::output::{Data, Report};
use crate::registry::NodeRow;
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process::{self, ChildContext, Finished};
use crate::ui::Level;

/// How often one looks whether the daemon is there.
const LOOK: Duration = Duration::from_millis(50);

/// What the commands that start and stop the daemon print, in the state directory.
const LOG: &str = "daemon-service.log";

/// Runs the daemon until it is asked to end.
///
/// # Errors
/// Those of [`daemon::run`].
pub async fn run(context: &Context) -> Result<Report> {
    daemon::run(context).await?;
    Ok(Report::new(Data::Nothing))
}

/// Starts the daemon, and waits until it works.
///
/// # Errors
/// Exit code 1 if no command for it is configured, 27 if the daemon is not there in time.
pub async fn start(context: &Context, args: &Start) -> Result<Report> {
    let service = Service::of(context, Doing::Start)?;
    let name = &service.config.node_name;
    match find(&service.runtime).await {
        LocalDaemon::Running(pid) => {
            context.ui.say(
                Level::Notice,
                &format!(
                    "the daemon of node \"{name}\" is running already (process {pid}); nothing was changed"
                ),
            );
            return Ok(service.done("running", Some(pid), false));
        }
        found => {
            let line = service.line()?;
            if context.options.dry_run {
                context
                    .ui
                    .say(Level::Info, &format!("the daemon of node \"{name}\" would be started by: {line}"));
                return Ok(service.done("stopped", None, false));
            }
            if found == LocalDaemon::Absent {
                service.run(line).await?;
            }
        }
    }
    if args.wait.no_wait {
        return Ok(service.done("starting", None, true));
    }
    let (found, pid) = service
        .wait(&args.wait, |found| match found {
            LocalDaemon::Running(pid) => Some(pid),
            _ => None,
        })
        .await;
    let Some(pid) = pid else {
        let (message, detail) = match found {
            LocalDaemon::Absent => (
                format!("the daemon of node \"{name}\" did not start within {} s", args.wait.wait),
                format!(
                    "\"{}\" succeeded, but nothing listens in \"{}\".",
                    service.line()?,
                    service.runtime.display()
                ),
            ),
            _ => (
                format!(
                    "the daemon of node \"{name}\" has started, but is not ready after {} s",
                    args.wait.wait
                ),
                "It waits for the local server, or for a node with data where this one is a witness."
                    .to_string(),
            ),
        };
        return Err(Error::new(Exit::Daemon, message).detail(detail).hint(service.log_hint()).changed());
    };
    context.ui.say(Level::Notice, &format!("the daemon of node \"{name}\" has been started (process {pid})"));
    if promised(context)? == Some(Flag::Full) {
        context.ui.message(
            Level::Notice,
            "this node takes no part in automatic failover yet",
            Some("The daemons are paused, or failover = automatic has not begun on the primary."),
            Some("\"pgbaton service status\" shows the daemons; \"pgbaton service unpause\" ends a pause."),
        );
    }
    Ok(service.done("running", Some(pid), true))
}

/// Stops the daemon. Where this node leads, all daemons are paused first, or the role is handed over.
///
/// # Errors
/// Exit code 1 if no command for it is configured, 26 if the pause is not confirmed, 27 if the daemon does not end; with `--handover` those of a
/// switchover. The daemon runs on then.
pub async fn stop(context: &Context, args: &Stop) -> Result<Report> {
    let service = Service::of(context, Doing::Stop)?;
    let name = &service.config.node_name;
    if find(&service.runtime).await == LocalDaemon::Absent {
        context.ui.say(
            Level::Notice,
            &format!("the daemon of node \"{name}\" is not running; nothing was changed"),
        );
        return Ok(service.done("stopped", None, false));
    }
    let line = service.line()?;
    let rows = match discovery::cluster(context).await {
        Ok(found) => found.facts.nodes.iter().map(|node| node.row.clone()).collect(),
        // A standby whose cluster is down can have its daemon stopped all the same.
        Err(_) => Vec::new(),
    };
    let nodes = settled(context, &rows, |row: &NodeRow| row.node_id == service.config.node_id).await;
    let standing = service.standing(&nodes).await?;
    let mut left = match standing {
        Standing::Follows => Left::Active,
        Standing::Paused => Left::Paused,
        Standing::Leads if args.handover => service.hand_over(&nodes).await?,
        Standing::Leads => service.pause(&rows).await?,
    };
    if context.options.dry_run {
        context.ui.say(Level::Info, &format!("the daemon of node \"{name}\" would be stopped by: {line}"));
        return Ok(service.done("running", None, false));
    }
    let changed = standing == Standing::Leads;
    let state = |error: Error| {
        let error = if changed { error.changed() } else { error };
        error.detail(left.in_words()).hint(service.log_hint())
    };
    service.run(line).await.map_err(state)?;
    if !args.wait.no_wait {
        let (_, gone) = service.wait(&args.wait, |found| (found == LocalDaemon::Absent).then_some(())).await;
        if gone.is_none() {
            let error = Error::new(
                Exit::Daemon,
                format!("the daemon of node \"{name}\" did not end within {} s", args.wait.wait),
            );
            return Err(state(error.detail(format!("\"{line}\" succeeded, but it still runs."))).changed());
        }
    }
    if standing == Standing::Follows && promised(context)?.is_none_or(|flag| flag == Flag::Full) {
        left = Left::Paused;
    }
    let hint = "To go on, run \"pgbaton daemon start\" and \"pgbaton service unpause\".";
    context.ui.message(
        Level::Notice,
        &format!("the daemon of node \"{name}\" has been stopped"),
        Some(left.in_words()),
        (left == Left::Paused).then_some(hint),
    );
    Ok(service.done("stopped", None, true))
}

/// What is done to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Start,
    Stop,
}

/// What part the node plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its server is the primary, or may be, and the fencer stops it without a daemon.
    Leads,
    /// Its server is a standby.
    Follows,
    /// The fencer does not stop its server.
    Paused,
}

/// What the cluster is left in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Active,
    Paused,
}

impl Left {
    fn in_words(self) -> &'static str {
        match self {
            Self::Active => {
                "Automatic failover goes on with the daemons of the other nodes; this node is not promoted, and not repointed, until its daemon \
                 runs again."
            }
            Self::Paused => {
                "Automatic failover is off on all nodes: no primary is stopped, and no standby is promoted."
            }
        }
    }
}

/// What starts and stops the daemon on this host.
struct Service<'a> {
    context: &'a Context,
    config: &'a Config,
    doing: Doing,
    runtime: PathBuf,
    log: PathBuf,
}

impl<'a> Service<'a> {
    fn of(context: &'a Context, doing: Doing) -> Result<Self> {
        let config = context.config()?;
        Ok(Self {
            context,
            config,
            doing,
            runtime: runtime_directory(config, context.environment.uid),
            log: context.state_directory()?.join(LOG),
        })
    }

    /// Returns the configured command.
    fn line(&self) -> Result<&'a String> {
        let config = self.config;
        let (name, line, of_repmgrd, verb) = match self.doing {
            Doing::Start => (
                "daemon_service_start_command",
                &config.daemon_service_start_command,
                &config.repmgrd_service_start_command,
                "started",
            ),
            Doing::Stop => (
                "daemon_service_stop_command",
                &config.daemon_service_stop_command,
                &config.repmgrd_service_stop_command,
                "stopped",
            ),
        };
        if let Some(line) = config.command(name, line)? {
            return Ok(line);
        }
        let also = match of_repmgrd {
            Some(_) => format!(
                " \"repmgrd_{}\" is set: it is for repmgrd, and is not run by pgbaton.",
                name.trim_start_matches("daemon_")
            ),
            None => String::new(),
        };
        let user = self.context.environment.user.clone().unwrap_or_default();
        Err(Error::failed(format!("it is not known how the daemon of this node is {verb}"))
            .detail(format!(
                "\"{name}\" is not set in \"{}\".{also} Nothing was changed.",
                config.file().display()
            ))
            .hint(lines_for(&config.node_name, &user)))
    }

    /// Runs the command, to its end.
    async fn run(&self, line: &str) -> Result<()> {
        let verb = if self.doing == Doing::Start { "start" } else { "stop" };
        let failed = |why: String| {
            Error::new(
                Exit::Daemon,
                format!("could not {verb} the daemon of node \"{}\"", self.config.node_name),
            )
            .detail(why)
        };
        if let Some(directory) = self.log.parent() {
            std::fs::create_dir_all(directory)
                .map_err(|error| failed(format!("{}: {error}.", directory.display())))?;
        }
        self.context.ui.say(Level::Info, &format!("running: {line}"));
        let mut command = Command::new("/bin/sh", ["-c", line]);
        // A file and no pipe: a daemon that it starts in the background keeps it open.
        command.log = Some(self.log.clone());
        let around = ChildContext {
            environment: Some(&self.context.environment),
            secrets: Secrets::new(),
            inherit_pg: true,
        };
        let ended = process::run(&command, &around).await.and_then(Finished::success);
        ended.map(drop).map_err(|error| {
            let error = failed(sentence(&format!("{error:#}")));
            if self.doing == Doing::Start { error.hint(self.log_hint()) } else { error }
        })
    }

    /// Waits until the daemon is found as wanted; returns how it was found last, and what was wanted of it.
    async fn wait<T>(
        &self,
        wait: &Wait,
        wanted: impl Fn(LocalDaemon) -> Option<T>,
    ) -> (LocalDaemon, Option<T>) {
        let until = Instant::now() + Duration::from_secs(wait.wait.into());
        loop {
            let found = find(&self.runtime).await;
            let done = wanted(found);
            if done.is_some() || Instant::now() >= until {
                return (found, done);
            }
            sleep(LOOK).await;
        }
    }

    /// Says where to look for what the daemon has logged.
    fn log_hint(&self) -> String {
        let line = self.line().map_or("", String::as_str);
        let place = match (&self.config.log_file, unit_in(line)) {
            (Some(file), _) => format!("in \"{}\"", file.display()),
            (None, Some(unit)) => format!("shown by: journalctl -u {unit}"),
            (None, None) => format!(
                "where that command sends it; the command's own output is in \"{}\"",
                self.log.display()
            ),
        };
        format!("The log of the daemon is {place}.")
    }

    /// Finds out whether this node leads. Where its server does not respond, its files and what it has promised decide.
    async fn standing(&self, nodes: &[NodeDaemons]) -> Result<Standing> {
        let own = nodes.iter().find(|node| node.row.node_id == self.config.node_id);
        if let Some(status) = own.and_then(NodeDaemons::own) {
            return Ok(match (status.flag, status.role) {
                (Flag::Full, _) => Standing::Paused,
                (_, Role::Leader) => Standing::Leads,
                _ => Standing::Follows,
            });
        }
        if promised(self.context)?.is_none_or(|flag| flag == Flag::Full) {
            return Ok(Standing::Paused);
        }
        let in_recovery = match own.and_then(|node| node.seen.as_ref()) {
            Some((session, _)) => session
                .query_one("SELECT pg_is_in_recovery()", &[])
                .await
                .ok()
                .and_then(|row| row.get(0).map(|text| text == "t")),
            None => None,
        };
        let is_standby = in_recovery.unwrap_or_else(|| is_standby(&self.config.data_directory));
        if is_standby {
            return Ok(Standing::Follows);
        }
        Err(Error::new(Exit::Pause, "the daemon of the primary cannot be paused")
            .detail(format!(
                "Node \"{}\" has promised to lead only with a lease, and its server or its daemon does not respond. Nothing was changed.",
                self.config.node_name
            ))
            .hint("Start the server: \"pgbaton node start\". \"pgbaton service status\" shows the daemons."))
    }

    /// Pauses all daemons.
    async fn pause(&self, rows: &[NodeRow]) -> Result<Left> {
        let nodes = settled(self.context, rows, |_| true).await;
        pause(self.context, &nodes).await.map_err(|error| error.detail("The daemon was not stopped."))?;
        Ok(Left::Paused)
    }

    /// Makes another node the primary.
    async fn hand_over(&self, nodes: &[NodeDaemons]) -> Result<Left> {
        let Some(heir) = best_heir(nodes, self.config.node_id).await else {
            return Err(Error::failed("no standby can take over")
                .detail("None is attached, has an active daemon and a priority above 0. Nothing was changed.")
                .hint("Run \"pgbaton service status\". Without --handover all daemons are paused instead."));
        };
        let begun = std::time::Instant::now();
        hand_over(self.context, nodes, heir, random_op(), begun)
            .await
            .map_err(|error| error.detail("The daemon was not stopped."))?;
        Ok(Left::Active)
    }

    fn done(&self, state: &str, pid: Option<u32>, changed: bool) -> Report {
        let data = json!({ "node_id": self.config.node_id, "daemon": state, "pid": pid });
        Report { changed, ..Report::new(Data::Done(data)) }
    }
}

/// Says whether a data directory is that of a standby, as far as its files say.
fn is_standby(data: &Path) -> bool {
    data.join(STANDBY_SIGNAL).symlink_metadata().is_ok()
}

/// Returns the unit of systemd that a command names.
fn unit_in(line: &str) -> Option<String> {
    let words = shell_words::split(line).ok()?;
    let at = words.iter().position(|word| word.rsplit('/').next() == Some("systemctl"))?;
    words.into_iter().skip(at + 1).filter(|word| !word.starts_with('-')).nth(1)
}

/// What lets systemd do it, as lines for the configuration and for sudo.
fn lines_for(node_name: &str, user: &str) -> String {
    let unit = format!("pgbaton@{node_name}.service");
    let verbs = ["start", "stop"];
    let settings =
        verbs.map(|verb| format!("daemon_service_{verb}_command = 'sudo systemctl {verb} {unit}'"));
    let allowed = verbs.map(|verb| format!("/usr/bin/systemctl {verb} {unit}"));
    format!(
        "With the unit of examples/systemd, add to the configuration:\n{}\nand to a file in /etc/sudoers.d:\n{user} ALL = NOPASSWD: {}",
        settings.join("\n"),
        allowed.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_found_in_the_command() {
        for (line, unit) in [
            ("sudo systemctl start pgbaton@node1.service", Some("pgbaton@node1.service")),
            ("/usr/bin/systemctl --no-block stop pgbaton@node1", Some("pgbaton@node1")),
            ("systemctl start", None),
            ("/etc/init.d/pgbaton start", None),
            ("echo 'unclosed", None),
        ] {
            assert_eq!(unit_in(line).as_deref(), unit, "{line}");
        }
    }

    #[test]
    fn the_lines_name_unit_and_user() {
        let lines = lines_for("node1", "postgres");
        for part in [
            "daemon_service_start_command = 'sudo systemctl start pgbaton@node1.service'",
            "daemon_service_stop_command = 'sudo systemctl stop pgbaton@node1.service'",
            "postgres ALL = NOPASSWD: /usr/bin/systemctl start pgbaton@node1.service, /usr/bin/systemctl stop pgbaton@node1.service",
        ] {
            assert!(lines.contains(part), "{lines}");
        }
    }
}
