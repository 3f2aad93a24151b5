//! The far end: pgbaton on the host of another node, how it is reached, what is said to it, and what its first answer means.
//!
//! One channel to each host, opened and tested before anything stops. Over it go lines of JSON, numbered requests one way ([`Frame`]) and
//! numbered answers the other way ([`Answered`]), many at once. Whatever carries them (a local child, ssh, a socket) makes no difference to
//! anything but [`Reached`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, sentence};
use crate::pg::control::Manager;
use crate::pg::control_file::{ControlState, ShutdownPosition};
use crate::pg::history::TimelineId;
use crate::plan::{Check, Command, Op, Piece, Probe, Standby, Step, Upstream};
use crate::secret::Secret;

/// The version of what is said. Two that differ do not work together; what grows within one version is optional.
pub const PROTOCOL: u32 = 1;

/// How often a coordinator that has nothing to say says that it is still there.
pub const BEAT: Duration = Duration::from_secs(1);

/// How long a far end hears nothing before it takes the channel for closed.
///
/// A network that is cut closes no connection for hours. Meanwhile the cluster would have no primary, or nobody could take the node's lock.
pub const SILENCE: Duration = Duration::from_secs(10);

/// The pgbaton on the host of another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarEnd {
    /// The node.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// The way there.
    pub reached: Reached,
}

/// How a far end is reached. Complete, so that a resumed operation takes the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// The node is on this host.
    Local {
        /// pgbaton.
        program: String,
        /// The configuration file of the node; where it is empty, the far end looks for one itself.
        config_file: String,
    },
    /// The node is on a host that ssh leads to.
    Ssh {
        /// `host` or `user@host`.
        destination: String,
        /// `ssh_options`.
        options: Vec<String>,
        /// pgbaton there; where it does not exist, the one in PATH.
        program: String,
        /// As above, on that host.
        config_file: String,
    },
}

/// Options that every ssh gets after those of the user, whose own win: ssh takes the first value that it is given.
const SSH_OPTIONS: [&str; 5] = [
    "BatchMode=yes",
    "ConnectTimeout=10",
    // A host that vanishes ends the connection: here about when the far end takes it for closed, see `SILENCE`.
    "ServerAliveInterval=3",
    "ServerAliveCountMax=2",
    "LogLevel=ERROR",
];

/// Runs pgbaton where it was expected, or else from PATH. In a shell of its own: the user's may be csh or fish.
const RUN: &str = "p=$1; shift; [ -x \"$p\" ] || p=pgbaton; exec \"$p\" \"$@\"";

impl FarEnd {
    /// Returns the command that opens a channel.
    pub fn command(&self) -> Command {
        self.reached.command(false, &["far-end".to_string()])
    }
}

impl Reached {
    /// Returns the command that runs pgbaton there with the node's configuration file; `terminal` gives it a terminal of its own.
    pub fn command(&self, terminal: bool, words: &[String]) -> Command {
        let (program, config_file) = match self {
            Self::Local { program, config_file } | Self::Ssh { program, config_file, .. } => {
                (program, config_file)
            }
        };
        // The first word decides what the rest means.
        let mut args: Vec<String> = words.to_vec();
        if !config_file.is_empty() {
            args.extend(["-f".to_string(), config_file.clone()]);
        }
        match self {
            Self::Local { .. } => Command::new(program, args),
            Self::Ssh { .. } => {
                let run = ["sh", "-c", RUN, "sh", program].into_iter().map(str::to_string);
                self.ssh(terminal, &format!("exec {}", for_shell(run.chain(args))))
            }
        }
    }

    /// Returns a line that can be typed to see for oneself what happens; `words` are a shell's, on that host.
    pub fn by_hand(&self, words: &str) -> String {
        match self {
            Self::Local { .. } => words.to_string(),
            Self::Ssh { destination, options, .. } => {
                // Nobody quotes an equals sign by hand.
                let quoted = |word: &String| match word.split_once('=') {
                    Some((name, value)) => {
                        format!("{}={}", shell_words::quote(name), shell_words::quote(value))
                    }
                    None => shell_words::quote(word).into_owned(),
                };
                let options: String = loud(options).map(|option| format!("{} ", quoted(option))).collect();
                let (destination, words) = (shell_words::quote(destination), shell_words::quote(words));
                format!("ssh {options}-o BatchMode=yes {destination} {words}")
            }
        }
    }

    fn ssh(&self, terminal: bool, remote: &str) -> Command {
        let Self::Ssh { destination, options, .. } = self else { return Command::new("ssh", [remote]) };
        let mut args: Vec<String> = loud(options).cloned().collect();
        args.push(if terminal { "-t" } else { "-T" }.to_string());
        args.extend(SSH_OPTIONS.iter().flat_map(|option| ["-o".to_string(), (*option).to_string()]));
        args.extend(["--".to_string(), destination.clone(), remote.to_string()]);
        Command::new("ssh", args)
    }
}

/// Leaves out -q: what ssh has to say is kept for the message of a failure, and not shown otherwise.
fn loud(options: &[String]) -> impl Iterator<Item = &String> {
    options.iter().filter(|option| *option != "-q")
}

/// Quotes words for the shell of another host: the one place that does.
fn for_shell(words: impl Iterator<Item = String>) -> String {
    let quoted: Vec<String> = words.map(|word| shell_words::quote(&word).into_owned()).collect();
    quoted.join(" ")
}

/// A line from the coordinator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// A request. Several may be on their way.
    Call {
        /// Names the answer.
        number: u64,
        /// What is wanted.
        call: Call,
    },
    /// Nobody waits for that answer any more: what it is about is ended.
    Cancel {
        /// The request.
        number: u64,
    },
    /// The coordinator is still there.
    Beat,
}

/// A line from the far end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answered<R> {
    /// The request.
    pub number: u64,
    /// The answer.
    pub reply: R,
}

/// What can be asked of a far end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Who are you? The first request, and the only one whose answer every version can read in part.
    Hello,
    /// Take the node's lock, and keep it until [`Call::Release`] or the end.
    Lock {
        /// The operation, in words.
        command: String,
    },
    /// Carry out a step. Not [`Op::Wait`]: waiting is the coordinator's.
    Perform {
        /// The step.
        step: Box<Step>,
        /// The secrets that it names.
        #[serde(with = "revealed", default)]
        secrets: BTreeMap<String, Secret>,
    },
    /// Answer a question.
    Holds {
        /// The question.
        probe: Box<Probe>,
        /// The secrets that it names.
        #[serde(with = "revealed", default)]
        secrets: BTreeMap<String, Secret>,
    },
    /// Try the connection that the WAL receiver will make to another upstream, with what the server here has.
    Login {
        /// The upstream.
        upstream: Upstream,
    },
    /// Say where the WAL of a server ends that was shut down cleanly as a primary.
    ShutdownPosition {
        /// Its data directory.
        data_directory: PathBuf,
    },
    /// Hand over a file that the server reads its configuration from. Any other is refused.
    ConfigurationFile {
        /// Its path.
        path: String,
    },
    /// Keep these steps, and carry them out if the channel closes before the shutdown was told. Replaces what was kept before.
    Arm {
        /// The steps.
        back: Vec<Step>,
        /// The secrets that they name.
        #[serde(with = "revealed", default)]
        secrets: BTreeMap<String, Secret>,
    },
    /// Forget these steps: from here on nothing is done unasked.
    Disarm,
    /// The operation is over: forget the steps and give the lock back.
    Release,
}

/// What a far end answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Call::Hello`].
    Hello(Box<Hello>),
    /// It is done.
    Done {
        /// What there is to say about it.
        note: Option<String>,
    },
    /// To [`Call::Holds`].
    Holds(bool),
    /// To [`Call::ShutdownPosition`].
    Position(Option<ShutdownPosition>),
    /// To [`Call::ConfigurationFile`].
    File(ConfigurationFile),
    /// It could not be done, or there is no answer.
    Failed(Fault),
}

/// A configuration file of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigurationFile {
    /// What is in it: conninfos may hold passwords.
    #[serde(serialize_with = "revealed::text", deserialize_with = "revealed::from_text")]
    pub contents: Secret,
    /// Its mode.
    pub mode: u32,
    /// The user that it belongs to, where it has a name.
    pub owner: Option<String>,
}

/// An error on its way to another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The exit code.
    pub exit: Exit,
    /// What failed.
    pub primary: String,
    /// Facts.
    pub detail: Option<String>,
    /// Advice.
    pub hint: Option<String>,
    /// It is certain that there was no effect.
    #[serde(default)]
    pub no_effect: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let Error { exit, primary, detail, hint, no_effect, .. } = error;
        Self { exit, primary, detail, hint, no_effect }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let Fault { exit, primary, detail, hint, no_effect } = fault;
        Self { detail, hint, no_effect, ..Self::new(exit, primary) }
    }
}

/// What a far end says of itself and of its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Its version.
    pub pgbaton: String,
    /// [`PROTOCOL`] there.
    pub protocol: u32,
    /// The node of its configuration file.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// That file.
    pub config_file: String,
    /// The node's data directory.
    pub data_directory: PathBuf,
    /// Where postgresql.conf is, if not there.
    pub config_directory: Option<PathBuf>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// The user that owns the data directory.
    pub owner: Option<String>,
    /// What `pg_control` says; why it cannot be read otherwise.
    pub control: Result<Control, String>,
    /// The process that runs on the data directory.
    pub postmaster: Option<i32>,
    /// The major version of the data directory.
    pub major: Option<String>,
    /// Where PostgreSQL's programs of that version are.
    pub bindir: Option<PathBuf>,
    /// How the server is started and stopped; why nobody knows otherwise.
    pub service: Result<ServiceCommands, String>,
    /// The operation that waits to be resumed or abandoned there: its id and its command.
    pub unfinished: Option<(String, String)>,
    /// Who holds the node's lock, as a sentence.
    pub locked_by: Option<String>,
    /// Segments that wait to be archived.
    pub archive_ready: Option<u64>,
    /// `primary_conninfo` is set.
    pub has_upstream: Option<bool>,
    /// `wal_log_hints`, as far as the control file knows.
    pub wal_log_hints: Option<bool>,
    /// Data checksums.
    pub checksums: Option<bool>,
}

/// What the control file of a far end says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The system identifier.
    pub system_identifier: String,
    /// The state.
    pub state: ControlState,
    /// The timeline of the last checkpoint.
    pub timeline: TimelineId,
}

/// How the server of a far end is started and stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceCommands {
    /// Who starts it.
    pub starter: Manager,
    /// Who stops it.
    pub stopper: Manager,
    /// Starts it and waits.
    pub start: Command,
    /// Stops it and waits.
    pub stop: Command,
    /// Seconds that a start may take.
    pub start_timeout_s: u32,
    /// Seconds that a stop may take.
    pub stop_timeout_s: u32,
}

/// Why a far end gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What leads there could not be started.
    NotStarted(String),
    /// Nothing came in time.
    Silent {
        /// How many seconds.
        seconds: u64,
        /// The end of its standard error.
        said: String,
    },
    /// It has ended.
    Ended {
        /// Its exit status, or that of ssh; None if a signal ended it, or if nobody knows.
        status: Option<i32>,
        /// The end of its standard error.
        said: String,
    },
    /// It says something that is no answer.
    Noise {
        /// The line.
        line: String,
        /// The end of its standard error.
        said: String,
    },
    /// It speaks another version of the protocol.
    Protocol {
        /// Its version.
        pgbaton: String,
        /// Its protocol.
        protocol: u32,
    },
}

impl Trouble {
    /// Says what it means, with what to type.
    fn told(&self, far_end: &FarEnd) -> (String, String, String) {
        let node = format!("node \"{}\"", far_end.node_name);
        let reached = &far_end.reached;
        let whole = |text: &str, said: &str| match said.trim() {
            "" => text.to_string(),
            // As it was said: the name of a program stays as it is.
            said => {
                format!("{text} It said: {said}{}", if said.ends_with(['.', '?', '!']) { "" } else { "." })
            }
        };
        let (program, by_ssh) = match reached {
            Reached::Local { program, .. } => (program, false),
            Reached::Ssh { program, .. } => (program, true),
        };
        let version = format!("{} --version", shell_words::quote(program));
        let try_it = format!("Try it by hand: {}", reached.by_hand(&version));
        let not_reached = format!("pgbaton on the host of {node} cannot be reached");
        match self {
            Self::NotStarted(why) => (not_reached, sentence(why), try_it),
            Self::Silent { seconds, said } => {
                (not_reached, whole(&format!("It did not answer within {seconds} s."), said), try_it)
            }
            // What a shell says of a program that it does not find, or must not execute.
            Self::Ended { status: Some(126 | 127), said } => (
                format!("there is no pgbaton on the host of {node}"),
                whole(&format!("It is neither \"{program}\" nor in PATH."), said),
                format!(
                    "Install it there, or set pgbaton_bindir in the configuration here. What PATH is: {}",
                    reached.by_hand("echo $PATH")
                ),
            ),
            Self::Ended { status: Some(255), said } if by_ssh => {
                (not_reached, whole("ssh ended with status 255.", said), try_it)
            }
            // It is there and refuses, in our own way of saying so.
            Self::Ended { status: Some(_), said } if said.trim_start().starts_with("ERROR: ") => {
                let part = |name: &str| {
                    let lines = said.lines().filter_map(|line| line.trim().strip_prefix(name));
                    lines.map(str::trim).collect::<Vec<_>>().join(" ")
                };
                let (hint, again) = (part("HINT:"), reached.by_hand(&self_check(reached, program)));
                (
                    format!("pgbaton on the host of {node} cannot do its part"),
                    format!("It said: {}. {}", part("ERROR:"), part("DETAIL:")).trim_end().to_string(),
                    format!("{hint} Try it by hand: {again}").trim_start().to_string(),
                )
            }
            Self::Ended { status, said } => {
                let how = match status {
                    Some(status) => format!("It ended with status {status}."),
                    None => "It ended.".to_string(),
                };
                (not_reached, whole(&how, said), try_it)
            }
            Self::Noise { line, said } => (
                format!("something other than pgbaton answers on the host of {node}"),
                whole(&format!("The line \"{line}\" came over the channel."), said),
                format!(
                    "A shell must print nothing when it has no terminal: look at its start-up files there. \
                     To see what comes: {}",
                    reached.by_hand("true")
                ),
            ),
            Self::Protocol { pgbaton, protocol } => (
                format!("pgbaton on the host of {node} speaks another protocol"),
                format!(
                    "There it is version {pgbaton} with protocol {protocol}, here version {} with protocol {PROTOCOL}.",
                    env!("CARGO_PKG_VERSION")
                ),
                "Install the same version of pgbaton on both hosts.".to_string(),
            ),
        }
    }

    /// Returns the error of an operation that needs this far end; exit code 12.
    pub fn error(&self, far_end: &FarEnd) -> Error {
        let (primary, detail, hint) = self.told(far_end);
        Error::new(Exit::Remote, primary).detail(detail).hint(hint)
    }
}

/// Returns what shows on a host whether pgbaton can read its configuration there.
fn self_check(reached: &Reached, program: &str) -> String {
    let (Reached::Local { config_file, .. } | Reached::Ssh { config_file, .. }) = reached;
    for_shell([program, "-f", config_file, "node", "status"].into_iter().map(str::to_string))
}

/// What is known of a node before its far end is asked.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The cluster's system identifier.
    pub system_identifier: Option<String>,
    /// `data_directory`, as the node's server says.
    pub data_directory: Option<PathBuf>,
    /// The operation starts or stops the server there.
    pub restarts: bool,
}

/// Judges what a far end said when it was asked who it is.
pub fn checks(far_end: &FarEnd, expected: &Expected, answer: &Result<Hello, Trouble>) -> Vec<Check> {
    let node_id = far_end.node_id;
    let checks = match answer {
        Ok(hello) => of_hello(far_end, expected, hello),
        Err(trouble) => {
            let (message, detail, hint) = trouble.told(far_end);
            vec![Check::fail("far_end", message).detail(detail).hint(hint).exit(Exit::Remote)]
        }
    };
    checks.into_iter().map(|check| check.node(node_id)).collect()
}

fn of_hello(far_end: &FarEnd, expected: &Expected, hello: &Hello) -> Vec<Check> {
    let node = format!("node \"{}\"", far_end.node_name);
    let reached = &far_end.reached;
    let mut out = vec![Check::pass("far_end", format!("pgbaton on the host of {node} answers"))];
    let here = env!("CARGO_PKG_VERSION");
    if hello.pgbaton != here {
        out.push(
            Check::warning("far_end_version", format!("pgbaton on the host of {node} has another version"))
                .detail(format!("It is {} there and {here} here.", hello.pgbaton))
                .hint("Install the same version on both hosts."),
        );
    }
    if let Some(wrong) = wrong_configuration(far_end, expected, hello) {
        // What else it says is about something else.
        out.push(wrong);
        return out;
    }
    if let (Some(user), Some(owner)) = (&hello.user, &hello.owner)
        && user != owner
    {
        let message =
            format!("pgbaton on the host of {node} does not run as the user that owns its data directory");
        let check = Check::fail("far_end_user", message).detail(format!(
            "It runs as \"{user}\"; \"{}\" belongs to \"{owner}\".",
            hello.data_directory.display()
        ));
        out.push(match reached {
            Reached::Ssh { destination, .. } => {
                let host = destination.rsplit('@').next().unwrap_or(destination);
                check.hint(format!(
                    "In the database of the metadata run: INSERT INTO pgbaton.node (node_id, ssh_host) VALUES ({}, '{owner}@{host}') \
                     ON CONFLICT (node_id) DO UPDATE SET ssh_host = EXCLUDED.ssh_host;",
                    far_end.node_id
                ))
            }
            Reached::Local { .. } => check.hint(format!("Run pgbaton as \"{owner}\".")),
        });
    }
    if let Some((id, command)) = &hello.unfinished {
        out.push(
            Check::fail("far_end_unfinished", format!("operation \"{command}\" is unfinished on {node}"))
                .detail(format!("Its id is {id}."))
                .hint(format!(
                    "On its host run \"pgbaton operation show {id}\", then \"pgbaton operation resume {id}\" or \
                     \"pgbaton operation abandon {id}\"."
                ))
                .exit(Exit::Busy),
        );
    }
    if let Some(holder) = &hello.locked_by {
        out.push(
            Check::fail("far_end_busy", format!("another operation is running on {node}"))
                .detail(holder.clone())
                .exit(Exit::Busy),
        );
    }
    if expected.restarts {
        match &hello.service {
            Ok(service) => out.extend(unmanaged(&node, hello.user.as_deref().unwrap_or("postgres"), service)),
            Err(why) => out.push(
                Check::fail("service_manager", format!("nobody knows how the server of {node} is started"))
                    .detail(why.clone())
                    .hint(format!(
                        "Set service_start_command and service_stop_command in \"{}\".",
                        hello.config_file
                    )),
            ),
        }
    }
    out
}

/// Says in what the configuration file there is not that of the node.
fn wrong_configuration(far_end: &FarEnd, expected: &Expected, hello: &Hello) -> Option<Check> {
    let fail = |message: String| Check::fail("far_end_configuration", message);
    let file = &hello.config_file;
    if (hello.node_id, &hello.node_name) != (far_end.node_id, &far_end.node_name) {
        return Some(
            fail(format!("the configuration file of node \"{}\" is that of another node", far_end.node_name))
                .detail(format!(
                    "\"{file}\" on its host is about node \"{}\" (ID {}), and not \"{}\" (ID {}).",
                    hello.node_name, hello.node_id, far_end.node_name, far_end.node_id
                ))
                .hint("Register the node again with the right file, on its host: \"pgbaton primary register\" or \"pgbaton standby register\", with -f and --force."),
        );
    }
    let control = match &hello.control {
        Ok(control) => control,
        Err(why) => {
            return Some(
                fail(format!("the data directory of node \"{}\" cannot be read", far_end.node_name))
                    .detail(sentence(why))
                    .hint(format!("Look at data_directory in \"{file}\" on its host.")),
            );
        }
    };
    let whose = |message: &str, detail: String| {
        let message = format!("the configuration file of node \"{}\" names {message}", far_end.node_name);
        fail(message).detail(detail).hint(format!("Correct data_directory in \"{file}\" on its host."))
    };
    let data = hello.data_directory.display();
    match (&expected.system_identifier, &expected.data_directory) {
        (Some(wanted), _) if *wanted != control.system_identifier => Some(whose(
            "the data directory of another cluster",
            format!(
                "\"{data}\" has the system identifier {}, the cluster has {wanted}.",
                control.system_identifier
            ),
        )),
        (_, Some(wanted)) if !same_place(wanted, &hello.data_directory) && hello.postmaster.is_none() => {
            Some(whose(
                "another data directory than its server",
                format!("The server runs on \"{}\", and nothing runs on \"{data}\".", wanted.display()),
            ))
        }
        _ => None,
    }
}

/// Compares two paths by their parts; which of them is a symbolic link, only that host could tell.
fn same_place(a: &Path, b: &Path) -> bool {
    a.components().eq(b.components())
}

/// Complains of a server that only systemd may start or stop.
fn unmanaged(node: &str, user: &str, service: &ServiceCommands) -> Option<Check> {
    let unit = [&service.starter, &service.stopper].into_iter().find_map(|manager| match manager {
        Manager::Systemd { unit } => Some(unit),
        _ => None,
    })?;
    Some(
        Check::fail("service_manager", format!("the server of {node} is run by systemd, as unit \"{unit}\""))
            .detail(
                "Started or stopped behind its back, systemd would start it again or think that it is down.",
            )
            .hint(format!("On its host: {}", super::service::lines_for(unit, user))),
    )
}

impl Step {
    /// Returns the names of all secrets that are needed to carry it out.
    pub fn secrets(&self) -> Vec<&str> {
        let mut out = self.op.secrets();
        let asked = self.requires.iter().chain(&self.requires_on_resume).chain(&self.gives_up_if);
        out.extend(asked.flat_map(Probe::secrets));
        if let crate::plan::OnResume::AgainUnless(probe) = &self.on_resume {
            out.extend(probe.secrets());
        }
        out
    }
}

impl Op {
    fn secrets(&self) -> Vec<&str> {
        fn of(command: &Command) -> impl Iterator<Item = &str> {
            command.secrets.iter().map(|(_, name)| name.as_str())
        }
        match self {
            Self::Run(command)
            | Self::Begin(command)
            | Self::Revive { start: command, .. }
            | Self::Rewind { command, .. } => of(command).collect(),
            Self::Sql { on, statements } => {
                let bound = statements.iter().flat_map(|statement| &statement.secrets);
                on.secret.as_deref().into_iter().chain(bound.map(|(_, name)| name.as_str())).collect()
            }
            Self::WriteSecretFile { secret, .. } => vec![secret],
            Self::WriteSettings { set, .. } => set
                .iter()
                .flat_map(|setting| &setting.value)
                .filter_map(|piece| match piece {
                    Piece::Secret(name) => Some(name.as_str()),
                    Piece::Text(_) => None,
                })
                .collect(),
            Self::Promote { on, command } => {
                on.secret.as_deref().into_iter().chain(command.iter().flat_map(of)).collect()
            }
            Self::Follow { standby, upstream } => {
                let on = match standby {
                    Standby::Running(on) => on.secret.as_deref(),
                    Standby::Files { .. } => None,
                };
                on.into_iter().chain(upstream.password.as_deref()).collect()
            }
            Self::Wait(probe) => probe.secrets(),
            Self::MakeDirectory { .. }
            | Self::ClearDirectory { .. }
            | Self::RemoveDirectory { .. }
            | Self::WriteFile { .. }
            | Self::RemoveFile { .. }
            | Self::MoveEntries { .. }
            | Self::CopyFiles { .. }
            | Self::PutBack { .. }
            | Self::Rename { .. }
            | Self::KeepWal { .. }
            | Self::ReturnWal { .. }
            | Self::ArchiveWal { .. }
            | Self::Signal { .. } => Vec::new(),
        }
    }
}

impl Probe {
    /// Says whether yes to it means that a server is shut down for good: from then on only the coordinator may start it again.
    pub fn tells_of_shutdown(&self) -> bool {
        match self {
            Self::ShutDown { .. } => true,
            Self::At { probe, .. } => probe.tells_of_shutdown(),
            _ => false,
        }
    }

    /// Returns the names of all secrets that are needed to answer it.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Sql { on, statement, .. } => {
                let bound = statement.secrets.iter().map(|(_, name)| name.as_str());
                on.secret.as_deref().into_iter().chain(bound).collect()
            }
            Self::Accepts { on, .. } | Self::NoPrimary { on } | Self::HasAll { on, .. } => {
                on.secret.as_deref().into_iter().collect()
            }
            Self::Not(probe) | Self::At { probe, .. } => probe.secrets(),
            Self::Exists { .. }
            | Self::Stopped { .. }
            | Self::Runs { .. }
            | Self::ShutDown { .. }
            | Self::Clean { .. }
            | Self::Rewound { .. } => Vec::new(),
        }
    }
}

/// Secrets go through the channel and nowhere else: only here are they written as they are.
mod revealed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::secret::Secret;

    pub fn serialize<S: Serializer>(secrets: &BTreeMap<String, Secret>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(secrets.iter().map(|(name, secret)| (name, secret.reveal())))
    }

    pub fn text<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.reveal())
    }

    pub fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Secret>, D::Error> {
        let plain = BTreeMap::<String, String>::deserialize(from)?;
        Ok(plain.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Endpoint, Statement, Verdict};

    fn by_ssh() -> FarEnd {
        let reached = Reached::Ssh {
            destination: "db1".into(),
            options: vec!["-q".into(), "-p".into(), "2222".into()],
            program: "/opt/its here/pgbaton".into(),
            config_file: "/etc/$HOME; it's/x.toml".into(),
        };
        FarEnd { node_id: 1, node_name: "node1".into(), reached }
    }

    fn hello() -> Hello {
        let manager = Manager::PgCtl;
        Hello {
            pgbaton: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            node_id: 1,
            node_name: "node1".into(),
            config_file: "/etc/pgbaton/pgbaton.toml".into(),
            data_directory: "/data".into(),
            config_directory: None,
            user: Some("postgres".into()),
            owner: Some("postgres".into()),
            control: Ok(Control {
                system_identifier: "7000".into(),
                state: ControlState::InProduction,
                timeline: TimelineId(1),
            }),
            postmaster: Some(7),
            major: Some("15".into()),
            bindir: None,
            service: Ok(ServiceCommands {
                starter: manager.clone(),
                stopper: manager,
                start: Command::new("pg_ctl", ["start"]),
                stop: Command::new("pg_ctl", ["stop"]),
                start_timeout_s: 60,
                stop_timeout_s: 60,
            }),
            unfinished: None,
            locked_by: None,
            archive_ready: Some(0),
            has_upstream: Some(false),
            wal_log_hints: Some(true),
            checksums: Some(false),
        }
    }

    fn expected() -> Expected {
        Expected {
            system_identifier: Some("7000".into()),
            data_directory: Some("/data/".into()),
            restarts: true,
        }
    }

    /// The checks that are no pass, of an answer.
    fn found(answer: Result<Hello, Trouble>) -> Vec<Check> {
        let all = checks(&by_ssh(), &expected(), &answer);
        assert!(all.iter().all(|check| check.node_id == Some(1)));
        all.into_iter().filter(|check| check.verdict != Verdict::Pass).collect()
    }

    #[track_caller]
    fn one(answer: Result<Hello, Trouble>, name: &str, exit: Exit, hint: &str) {
        let found = found(answer);
        let [check] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((check.name.as_str(), check.exit), (name, exit), "{check:?}");
        assert!(check.stops() && check.detail.is_some(), "{check:?}");
        assert!(check.hint.as_deref().unwrap_or_default().contains(hint), "{check:?}");
    }

    #[test]
    fn a_far_end_as_it_should_be_passes() {
        assert_eq!(found(Ok(hello())), []);
    }

    #[test]
    fn whatever_is_wrong_with_an_answer_is_one_check_with_something_to_type() {
        let other = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            Ok(hello)
        };
        let configuration = "far_end_configuration";
        one(other(|hello| hello.node_id = 2), configuration, Exit::Failed, "standby register");
        one(other(|hello| hello.node_name = "x".into()), configuration, Exit::Failed, "standby register");
        let unreadable = other(|hello| hello.control = Err("could not open file".into()));
        one(unreadable, configuration, Exit::Failed, "/etc/pgbaton/pgbaton.toml");
        let elsewhere = other(|hello| {
            hello.data_directory = "/old".into();
            hello.postmaster = None;
        });
        one(elsewhere, configuration, Exit::Failed, "data_directory");
        let foreign = other(|hello| {
            if let Ok(control) = &mut hello.control {
                control.system_identifier = "7001".into();
            }
        });
        one(foreign, configuration, Exit::Failed, "data_directory");
        one(other(|hello| hello.user = Some("admin".into())), "far_end_user", Exit::Failed, "'postgres@db1'");
        let unfinished = other(|hello| hello.unfinished = Some(("X1".into(), "node rejoin".into())));
        one(unfinished, "far_end_unfinished", Exit::Busy, "pgbaton operation resume X1");
        let systemd = other(|hello| {
            if let Ok(service) = &mut hello.service {
                service.starter = Manager::Systemd { unit: "postgresql.service".into() };
            }
        });
        one(systemd, "service_manager", Exit::Failed, "sudo systemctl stop postgresql.service");
        let nobody = other(|hello| hello.service = Err("There is no pg_ctl.".into()));
        one(nobody, "service_manager", Exit::Failed, "service_start_command");

        let found = found(other(|hello| hello.locked_by = Some("Process 7 has it.".into())));
        assert_eq!((found.len(), found[0].exit), (1, Exit::Busy));
        let found = super::checks(&by_ssh(), &expected(), &other(|hello| hello.pgbaton = "0.0.9".into()));
        assert_eq!(found.iter().filter(|check| check.verdict == Verdict::Warning).count(), 1, "{found:?}");
    }

    #[test]
    fn who_does_not_answer_is_told_with_the_way_to_try_it() {
        let said = || "Permission denied (publickey).\n".to_string();
        let ssh = "ssh -p 2222 -o BatchMode=yes db1";
        one(Err(Trouble::NotStarted("no ssh".into())), "far_end", Exit::Remote, ssh);
        one(Err(Trouble::Silent { seconds: 30, said: String::new() }), "far_end", Exit::Remote, ssh);
        one(Err(Trouble::Ended { status: Some(255), said: said() }), "far_end", Exit::Remote, ssh);
        one(Err(Trouble::Ended { status: Some(1), said: said() }), "far_end", Exit::Remote, ssh);
        one(
            Err(Trouble::Ended { status: Some(127), said: said() }),
            "far_end",
            Exit::Remote,
            "pgbaton_bindir",
        );
        let noise = Trouble::Noise { line: "Welcome".into(), said: String::new() };
        one(Err(noise), "far_end", Exit::Remote, "start-up files");
        let other = Trouble::Protocol { pgbaton: "9.9".into(), protocol: 9 };
        one(Err(other), "far_end", Exit::Remote, "the same version");

        let error = Trouble::Ended { status: Some(255), said: said() }.error(&by_ssh());
        assert_eq!(
            error.detail.unwrap(),
            "ssh ended with status 255. It said: Permission denied (publickey)."
        );
    }

    #[test]
    fn the_shell_of_the_other_host_gets_every_word_as_it_is() {
        let command = by_ssh().command();
        let (remote, local) = command.args.split_last().unwrap();
        assert_eq!(local[..3], ["-p", "2222", "-T"]);
        assert_eq!(local[local.len() - 2..], ["--", "db1"]);
        let words = shell_words::split(remote).unwrap();
        assert_eq!(words[..4], ["exec", "sh", "-c", RUN]);
        let rest = ["sh", "/opt/its here/pgbaton", "far-end", "-f", "/etc/$HOME; it's/x.toml"];
        assert_eq!(words[4..], rest);

        let reached = Reached::Local { program: "/p".into(), config_file: String::new() };
        assert_eq!(reached.command(false, &["far-end".into()]), Command::new("/p", ["far-end"]));
    }

    #[test]
    fn secrets_are_shown_to_the_channel_only() {
        let on = Endpoint { name: "n".into(), conninfo: String::new(), secret: Some("c".into()) };
        let statement = Statement::new("SELECT $1").bind_secret("p");
        let probe =
            Probe::At { node_id: 1, probe: Box::new(Probe::Accepts { on: on.clone(), in_recovery: None }) };
        let step = Step::new("x", "x", Op::Sql { on, statements: vec![statement] }, 1, Exit::Query)
            .requires(Probe::Not(Box::new(probe)));
        assert_eq!(step.secrets(), ["c", "p", "c"]);
        let secrets = BTreeMap::from([("p".to_string(), Secret::new("geheim"))]);
        let call = Call::Perform { step: Box::new(step), secrets };
        assert!(!format!("{call:?}").contains("geheim"));
        let text = serde_json::to_string(&call).unwrap();
        let Call::Perform { secrets, .. } = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(secrets["p"].reveal(), "geheim");
    }
}
