//! Plans for starting and stopping the local server. Pure.

use std::path::PathBuf;

use crate::error::Exit;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::facts::settings::NextStart;
use crate::facts::start_log::StartLog;
use crate::facts::write_locations::WriteLocation;
use crate::pg::control::{DebianCluster, Manager};
use crate::pg::endpoint::Endpoint;
use crate::pg::last_start::{LastStart, OptionsOrigin};
use crate::pg::statement::Statement;
use crate::plan::clone::remove_leftover;
use crate::plan::parts::standby;
use crate::plan::{Check, FileOp, OnFailure, Op, Order, Phase, Plan, Probe, SignalRequest, Step, Verify};
use crate::system::command::Command;

/// What can be done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it.
    Restart,
    /// Reload its configuration.
    Reload,
}

impl Action {
    /// All of them, in repmgr's order.
    pub const ALL: [Self; 4] = [Self::Start, Self::Stop, Self::Restart, Self::Reload];

    /// Returns its name, which is pg_ctl's and pg_ctlcluster's too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }

    /// It starts the server.
    fn starts(self) -> bool {
        matches!(self, Self::Start | Self::Restart)
    }
}

/// Whether a checkpoint can be written.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckpointPermission {
    /// It can, by this connection.
    Possible(Endpoint),
    /// The role lacks the privilege; what to run, if there is one.
    Denied {
        /// The role.
        role: String,
        /// The statement that gives it the privilege, from PostgreSQL 15 on.
        grant: Option<String>,
    },
    /// The server could not be queried: why.
    Unknown(String),
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Service {
    /// The action.
    pub action: Action,
    /// A checkpoint first, and whether it can be written.
    pub checkpoint: Option<CheckpointPermission>,
    /// The server.
    pub on: Endpoint,
}

/// What decides how it is done.
#[derive(Clone, Debug)]
pub struct ServiceFacts {
    /// The node's name.
    pub node_name: String,
    /// Its data directory.
    pub data_directory: PathBuf,
    /// Where postgresql.conf is, if not there.
    pub config_directory: Option<PathBuf>,
    /// What a clone has left in the data directory, which is complete.
    pub leftover: Option<PathBuf>,
    /// The process id of the running server.
    pub running: Option<i32>,
    /// Who starts and stops it.
    pub manager: Manager,
    /// pg_ctl.
    pub pg_ctl: String,
    /// `pg_ctl_options`.
    pub pg_ctl_options: Vec<String>,
    /// The options of its last start.
    pub last_start: LastStart,
    /// Where its output goes until it opens its own log.
    pub log: StartLog,
    /// The places that the server, or what makes it a standby, will write to.
    pub places: Vec<WriteLocation>,
    /// What its next start will find, if that is the start of a standby.
    pub standby: Option<NextStart>,
    /// Seconds for a start.
    pub start_timeout_s: u32,
    /// Seconds for a stop.
    pub stop_timeout_s: u32,
    /// The operating system's user that runs pgbaton.
    pub user: String,
}

/// Plans an action.
pub fn plan(facts: &ServiceFacts, service: &Service) -> Plan {
    let name = &facts.node_name;
    let action = service.action;
    let verb = action.name();
    let nothing_to_do = match action {
        Action::Start => facts.running.is_some(),
        Action::Stop => facts.running.is_none(),
        Action::Restart | Action::Reload => false,
    };
    let mut checks = Vec::new();
    checks.extend(refusal(facts, action));
    if !nothing_to_do {
        checks.extend(start_checks(facts, action));
        if let Some(next) = &facts.standby {
            checks.extend(standby::ends_recovery(name, &facts.data_directory, next));
            checks.extend(standby::promotes_itself(name, next));
        }
        checks.extend(outside_systemd(facts, action));
    }
    if action == Action::Reload && facts.running.is_none() {
        checks.push(
            Check::fail("server_running", format!("the server of node \"{name}\" is not running"))
                .hint("Start it: \"pgbaton node start\"."),
        );
    }
    checks.extend(service.checkpoint.as_ref().and_then(checkpoint_skipped));
    let (steps, verify) = match nothing_to_do {
        true => (Vec::new(), Vec::new()),
        false => (steps(facts, service), verification(facts, action).into_iter().collect()),
    };
    Plan {
        checks,
        phases: vec![Phase {
            title: format!("{verb} the server"),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: false,
            steps,
        }],
        verify,
        back_failed: Exit::LocalCommand,
        incomplete: if action == Action::Stop { Exit::LocalCommand } else { Exit::NoRestart },
        ..Plan::nothing(format!("{verb} node \"{name}\""))
    }
}

/// Warns that a server which systemd could manage is started without it.
fn outside_systemd(facts: &ServiceFacts, action: Action) -> Option<Check> {
    let Manager::Debian(DebianCluster { unit: Some(unit), .. }) = &facts.manager else { return None };
    action.starts().then(|| {
        Check::warning("service_manager", format!("the server will not run as its systemd unit \"{unit}\""))
            .detail(
                "systemd does not notice if it exits, and does not stop it cleanly when the machine is shut down.",
            )
            .hint(lines_for(unit, &facts.user))
    })
}

/// Warns that the checkpoint before the shutdown is skipped, if it is.
fn checkpoint_skipped(checkpoint: &CheckpointPermission) -> Option<Check> {
    let cost = "The shutdown checkpoint then has more to write, while connections are rejected already.";
    match checkpoint {
        CheckpointPermission::Denied { role, grant } => {
            let message =
                format!("role \"{role}\" lacks the privilege to write a checkpoint, which is skipped");
            let check = Check::warning("checkpoint", message).detail(cost);
            Some(match grant {
                Some(grant) => check.hint(format!("Name a superuser with -S, or as one, run: {grant}")),
                None => check.hint("Name a superuser with -S."),
            })
        }
        CheckpointPermission::Unknown(why) => Some(
            Check::warning("checkpoint", "the checkpoint is skipped, as no connection was made")
                .detail(format!("{why} {cost}")),
        ),
        CheckpointPermission::Possible(_) => None,
    }
}

/// Returns the steps of an action that has something to do.
fn steps(facts: &ServiceFacts, service: &Service) -> Vec<Step> {
    let (name, action) = (&facts.node_name, service.action);
    let mut steps = Vec::new();
    if let Some(CheckpointPermission::Possible(on)) = &service.checkpoint {
        steps.push(Step::new(
            "checkpoint",
            "write a checkpoint",
            Op::Sql { on: on.clone(), statements: vec![Statement::new("CHECKPOINT")] },
            600,
            Exit::Query,
        ));
    }
    let bound: u32 = match action {
        Action::Start => facts.start_timeout_s,
        Action::Stop => facts.stop_timeout_s,
        Action::Restart => facts.start_timeout_s.saturating_add(facts.stop_timeout_s),
        Action::Reload => 30,
    };
    let mut title = format!("{} the server of node \"{name}\"", action.name());
    if action.starts() {
        steps.extend(facts.leftover.as_deref().map(remove_leftover));
        // Before the server can read it: it must not become a primary by itself.
        let next = facts.standby.as_ref();
        steps.extend(
            next.and_then(|next| standby::clear_step(name, &facts.data_directory, next, Exit::NoRestart)),
        );
        title = start_title(title, facts);
    }
    steps.push(Step::new(
        action.name(),
        title,
        Op::Run(command(facts, action)),
        // pg_ctl has the same bound and says more when it passes; pg_ctlcluster then goes on looking for half a minute.
        bound.saturating_add(if matches!(facts.manager, Manager::Debian(_)) { 40 } else { 5 }),
        if action.starts() { Exit::NoRestart } else { Exit::LocalCommand },
    ));
    steps
}

/// Returns what must be true after an action.
fn verification(facts: &ServiceFacts, action: Action) -> Option<Verify> {
    let data_directory = facts.data_directory.clone();
    match action {
        Action::Start | Action::Restart => Some(Verify {
            title: format!("the server of node \"{}\" is up", facts.node_name),
            probe: Probe::Ready { data_directory },
            timeout_s: facts.start_timeout_s,
            after: None,
        }),
        Action::Stop => Some(Verify {
            title: format!("no server runs on \"{}\"", data_directory.display()),
            probe: Probe::Stopped { data_directory },
            timeout_s: facts.stop_timeout_s,
            after: None,
        }),
        Action::Reload => None,
    }
}

/// Plans to stop a server that was just started and must not run as a primary: its next start is that of a standby in any case.
pub fn stop_just_started(facts: &ServiceFacts) -> Plan {
    let data = &facts.data_directory;
    let name = &facts.node_name;
    let path = data.join(STANDBY_SIGNAL);
    let steps = vec![
        // First: what starts it again by itself must find the file.
        Step::new(
            "standby_signal",
            format!("write \"{}\"", path.display()),
            Op::File(FileOp::WriteFile { path, contents: String::new(), mode: 0o600 }),
            60,
            Exit::LocalCommand,
        ),
        Step::new(
            "stop",
            format!("stop the server of node \"{name}\" at once"),
            Op::Signal { data_directory: data.clone(), request: SignalRequest::ImmediateShutdown },
            60,
            Exit::LocalCommand,
        ),
    ];
    Plan {
        phases: vec![Phase {
            title: "configure it as a standby for its next start".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Continue,
            outage: false,
            steps,
        }],
        back_failed: Exit::LocalCommand,
        incomplete: Exit::LocalCommand,
        ..Plan::nothing(format!("stop node \"{name}\" again"))
    }
}

/// Returns why an action is left to systemd, if it is.
pub fn refusal(facts: &ServiceFacts, action: Action) -> Option<Check> {
    let Manager::Systemd { unit } = &facts.manager else { return None };
    (action != Action::Reload).then(|| {
        Check::fail("service_manager", format!("the server is managed by systemd, as unit \"{unit}\""))
            .detail(
                "If the server is started or stopped without systemd, systemd may start it again or assume that it is down.",
            )
            .hint(lines_for(unit, &facts.user))
    })
}

/// Checks the preconditions of a start. Done before anything is stopped.
pub fn start_checks(facts: &ServiceFacts, action: Action) -> Vec<Check> {
    let mut checks = writable(&facts.places, &facts.node_name);
    if matches!(action, Action::Start | Action::Restart) {
        checks.extend(left_out(facts));
    }
    checks
}

/// Checks that the places can be written to that an operation needs.
pub fn writable(places: &[WriteLocation], node_name: &str) -> Vec<Check> {
    const NAME: &str = "writable";
    let fail = |place: &WriteLocation| {
        let problem = place.problem.as_ref()?;
        Some(
            Check::fail(NAME, format!("cannot write to {} of node \"{node_name}\"", place.what))
                .detail(crate::error::sentence(problem))
                .hint(
                    "Correct its owner or mode; if its file system is full or read-only, free space or remount it.",
                ),
        )
    };
    let failed: Vec<Check> = places.iter().filter_map(fail).collect();
    if failed.is_empty() && !places.is_empty() {
        let message = format!(
            "all {} locations that are written to on node \"{node_name}\" are writable",
            places.len()
        );
        return vec![Check::pass(NAME, message)];
    }
    failed
}

/// Says where the first messages of a server go, where that is not where they went before.
pub fn start_note(facts: &ServiceFacts) -> Option<String> {
    let by_us = facts.manager == Manager::PgCtl && facts.log.is_ours;
    by_us.then(|| format!("(its first messages go to \"{}\")", facts.log.path.display()))
}

/// Adds that to the title of the step that starts it.
pub fn start_title(title: String, facts: &ServiceFacts) -> String {
    start_note(facts).map_or(title.clone(), |note| format!("{title} {note}"))
}

/// Names the options of the last start that are not used again, where pg_ctl would be given them.
fn left_out(facts: &ServiceFacts) -> Option<Check> {
    let LastStart { left_out, origin, .. } = &facts.last_start;
    if facts.manager != Manager::PgCtl || left_out.is_empty() {
        return None;
    }
    let file = facts.data_directory.join("postmaster.opts");
    let why = match origin {
        OptionsOrigin::Ordinary => {
            "They turn off protection of the data, or are not meant for normal operation.".to_string()
        }
        OptionsOrigin::Upgrade => "They are those of pg_upgrade, which last started the server.".to_string(),
        OptionsOrigin::Recovery => {
            "They are those of the recovery before a rewind, which accepts no connections.".to_string()
        }
        OptionsOrigin::Elsewhere(other) => {
            format!("They are those of a server on another data directory, \"{}\".", other.display())
        }
    };
    Some(
        Check::warning("start_options", "some options of the server's last start are not used again")
            .detail(format!("\"{}\" has: {}. {why}", file.display(), left_out.join(" ")))
            .hint("If the server needs one of them, set it in postgresql.conf."),
    )
}

/// What lets systemd do it, as lines for the configuration, be it pgbaton.toml or repmgr.conf, and for sudo.
pub(crate) fn lines_for(unit: &str, user: &str) -> String {
    let verbs = ["start", "stop", "restart"];
    let settings = verbs.map(|verb| format!("service_{verb}_command = 'sudo systemctl {verb} {unit}'"));
    let allowed = verbs.map(|verb| format!("/usr/bin/systemctl {verb} {unit}"));
    format!(
        "Add to the configuration:\n{}\nand to a file in /etc/sudoers.d:\n{user} ALL = NOPASSWD: {}",
        settings.join("\n"),
        allowed.join(", ")
    )
}

/// Returns the command of an action.
pub fn command(facts: &ServiceFacts, action: Action) -> Command {
    let verb = action.name();
    let timeout = match action {
        Action::Start | Action::Restart => Some(facts.start_timeout_s),
        Action::Stop => Some(facts.stop_timeout_s),
        Action::Reload => None,
    };
    let timeout = timeout.map(|seconds| format!("--timeout={seconds}"));
    let stops = matches!(action, Action::Stop | Action::Restart).then(|| facts.data_directory.clone());
    match &facts.manager {
        // The user's own line, for the user's own shell.
        Manager::Configured(line) => Command { stops, ..Command::new("/bin/sh", ["-c", line]) },
        Manager::Debian(cluster) => {
            let mut args = vec![cluster.version.clone(), cluster.name.clone(), verb.to_string()];
            if matches!(action, Action::Stop | Action::Restart) {
                args.push("--mode=fast".into());
            }
            // What follows is for pg_ctl.
            let options: Vec<String> = timeout.into_iter().chain(facts.pg_ctl_options.clone()).collect();
            if !options.is_empty() {
                args.push("--".into());
                args.extend(options);
            }
            let root = cluster.conf_root.as_ref().map(|root| root.display().to_string());
            let env = root.map(|root| ("PG_CLUSTER_CONF_ROOT".to_string(), root)).into_iter().collect();
            Command { log: Some(facts.log.path.clone()), env, stops, ..Command::new("pg_ctlcluster", args) }
        }
        Manager::Systemd { .. } | Manager::PgCtl => {
            let directory = facts.config_directory.as_ref().unwrap_or(&facts.data_directory);
            // Absolute: postmaster.opts keeps what is said here, and a restart from elsewhere must find it.
            let mut args = vec![verb.to_string(), format!("--pgdata={}", directory.display())];
            if let Some(timeout) = timeout {
                args.extend(["--wait".to_string(), timeout]);
            }
            if matches!(action, Action::Stop | Action::Restart) {
                args.push("--mode=fast".into());
            }
            let mut log = None;
            let starts = (action == Action::Start).then(|| facts.data_directory.clone());
            if matches!(action, Action::Start | Action::Restart) {
                args.push(format!("--log={}", facts.log.path.display()));
                // That may be the server's own log, where the dots of pg_ctl have no place.
                if !facts.pg_ctl_options.iter().any(|option| option == "--silent" || option == "-s") {
                    args.push("--silent".into());
                }
                // A restart reads the file itself, unless it gets options.
                let last = &facts.last_start;
                let options = match action {
                    Action::Restart if last.left_out.is_empty() => None,
                    Action::Restart => Some(last.options.clone().unwrap_or_default()),
                    _ => last.options.clone(),
                };
                args.extend(options.map(|options| format!("--options={options}")));
                // The postmaster keeps what pg_ctl writes to: a pipe would never end.
                log = Some(facts.log.path.clone());
            }
            args.extend(facts.pg_ctl_options.iter().cloned());
            Command { log, starts, stops, ..Command::new(&facts.pg_ctl, args) }
        }
    }
}

#[cfg(test)]
mod tests;
