//! What is said between a coordinator and a far end: lines of JSON, numbered requests one way ([`Frame`]) and numbered answers the other way
//! ([`ResponseLine`]), many at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::assess::checks::{HostFacts, HostQuestion};
use crate::error::{Error, Exit, Text};
use crate::facts::matrix::ConnectionAttempt;
use crate::facts::settings::NextStart;
use crate::pg::control::Manager;
use crate::pg::control_file::{ControlState, ShutdownPosition};
use crate::pg::endpoint::Upstream;
use crate::pg::history::TimelineId;
use crate::plan::far_end::ServerState;
use crate::plan::keep_down::AsStandby;
use crate::plan::{Check, FileOp, FinalCheck, Op, Probe, Standby, Step, ValuePart};
use crate::registry::NodeRow;
use crate::secret::Secret;
use crate::system::command::Command;

/// The version of what is said. Two that differ do not work together; what grows within one version is optional.
pub const PROTOCOL: u32 = 2;

/// How often a coordinator that has nothing to say says that it is still there.
pub const BEAT: Duration = Duration::from_millis(500);

/// How long a channel may be silent before the requests that change something are void.
///
/// If the coordinator, the network or this process was away for longer, the request was decided on older observations. Meanwhile another
/// server may have been promoted. A request that waited in a buffer, or that comes from a coordinator that has just woken up, is answered
/// as void and never carried out; so is everything after it on the same channel.
pub const VOID: Duration = Duration::from_secs(2);

/// How long a far end hears nothing before it takes the channel for closed.
///
/// A network that is cut closes no connection for hours. Meanwhile the cluster would have no primary, or no command could take the node's lock.
pub const SILENCE: Duration = Duration::from_secs(10);

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
    /// The caller has stopped waiting for that answer: its work is cancelled.
    Cancel {
        /// The request.
        number: u64,
    },
    /// The coordinator is still there.
    Beat,
}

/// A line from the far end.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResponseLine<R> {
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
    /// Look at the host, for checks.
    Look {
        /// What is known already.
        question: Box<HostQuestion>,
    },
    /// Say which of these nodes can be connected to from there.
    Row {
        /// The nodes.
        targets: Vec<ConnectTarget>,
        /// Seconds that one of them may take.
        within_s: u64,
        /// Not from there, but from the host of this node, which is to be asked the same.
        of: Option<Box<RelayedNode>>,
    },
    /// Keep these steps, and carry them out if the channel closes before the shutdown was reported. Replaces what was kept before.
    Arm {
        /// The steps.
        #[serde(rename = "back")]
        rollback: Vec<Step>,
        /// The secrets that they name.
        #[serde(with = "revealed", default)]
        secrets: BTreeMap<String, Secret>,
    },
    /// Forget these steps: from here on nothing is done unasked.
    Disarm,
    /// Say whether the server is shut down and would come back as a standby only; with yes, forget the steps.
    ///
    /// Asked immediately before another server is promoted.
    Confirm {
        /// Its data directory.
        data_directory: PathBuf,
    },
    /// Say that this process is not stopped. Sent during a request whose answer may take long.
    Ping,
    /// Make certain that the server here is no primary and does not become one while another one is promoted.
    ///
    /// In this order: every other far end of this node is ended with SIGKILL, the node's lock is taken, `standby.signal` is written and
    /// synced, and only then the server is looked at. A start that was begun before reads the signal, or its server is seen.
    Secure {
        /// The operation, in words.
        command: String,
        /// Change nothing, and say what would be found.
        only_look: bool,
        /// Everything but the file, which a step of the operation writes: so far nothing is changed. A far end of an earlier version does not
        /// know of it, and writes the file.
        #[serde(default)]
        only_hold: bool,
    },
    /// Nothing was promoted: remove the `standby.signal` that [`Call::Secure`] has written.
    Unsecure,
    /// The operation is over: forget the steps and give the lock back.
    Release,
}

impl Call {
    /// Says whether the request changes something, or promises something: such a request is void when it comes too late.
    pub fn has_effect(&self) -> bool {
        match self {
            Self::Lock { .. }
            | Self::Perform { .. }
            | Self::Arm { .. }
            | Self::Disarm
            | Self::Confirm { .. }
            | Self::Secure { only_look: false, .. }
            | Self::Unsecure => true,
            Self::Hello
            | Self::Ping
            | Self::Holds { .. }
            | Self::Login { .. }
            | Self::ShutdownPosition { .. }
            | Self::ConfigurationFile { .. }
            | Self::Look { .. }
            | Self::Row { .. }
            // What it finds is as young as its answer.
            | Self::Secure { only_look: true, .. }
            // It ends what was agreed upon, and nothing else.
            | Self::Release => false,
        }
    }
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
    /// To [`Call::Holds`] and [`Call::Confirm`].
    Holds(bool),
    /// To [`Call::Secure`].
    Secured(Secured),
    /// The request came too late, and nothing was done. See [`VOID`].
    Void,
    /// To [`Call::ShutdownPosition`].
    Position(Option<ShutdownPosition>),
    /// To [`Call::ConfigurationFile`].
    File(ConfigurationFile),
    /// To [`Call::Look`].
    Host(Box<HostFacts>),
    /// To [`Call::Row`].
    Row(Vec<ConnectionAttempt>),
    /// It could not be done, or the outcome is unknown.
    Failed(Fault),
}

/// What [`Call::Secure`] has found, and done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Secured {
    /// The server.
    pub server: ServerState,
    /// There was no `standby.signal`, and there is one now; after a look alone: there would be.
    pub wrote_signal: bool,
    /// There is no `standby.signal`, and what has to be written; only where it was not to be written at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<AsStandby>,
}

/// A node to connect to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectTarget {
    /// The node.
    pub node_id: i32,
    /// Its conninfo, which may hold a password.
    #[serde(serialize_with = "revealed::text", deserialize_with = "revealed::from_text")]
    pub conninfo: Secret,
}

/// A node that is asked by way of another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelayedNode {
    /// Its row, with a conninfo without secrets.
    pub row: NodeRow,
    /// How its host is called for ssh, if that is recorded.
    pub ssh_host: Option<String>,
    /// The cluster's system identifier.
    pub system_identifier: Option<String>,
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
        let Error { exit, text: Text { message, detail, hint }, no_effect, .. } = error;
        Self { exit, primary: message, detail, hint, no_effect }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let Fault { exit, primary, detail, hint, no_effect } = fault;
        Self { no_effect, ..Self::new(exit, Text { message: primary, detail, hint }) }
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
    /// How the server is started and stopped; otherwise why that is unknown.
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
    /// What was examined there for a start of the server: its options, the places that are written to.
    #[serde(default)]
    pub start_checks: Vec<Check>,
    /// What the next start of the server will find.
    #[serde(default)]
    pub next: NextStart,
}

impl Hello {
    /// Says of this version what it is, and of its node nothing: there is no usable configuration.
    pub fn unknown() -> Self {
        Self {
            pgbaton: env!("CARGO_PKG_VERSION").to_string(),
            protocol: PROTOCOL,
            node_id: 0,
            node_name: String::new(),
            config_file: String::new(),
            data_directory: PathBuf::new(),
            config_directory: None,
            user: None,
            owner: None,
            control: Err(String::new()),
            postmaster: None,
            major: None,
            bindir: None,
            service: Err(String::new()),
            unfinished: None,
            locked_by: None,
            archive_ready: None,
            has_upstream: None,
            wal_log_hints: None,
            checksums: None,
            start_checks: Vec::new(),
            next: NextStart::default(),
        }
    }
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
    /// Where its first messages go, if not where they went before; in words.
    #[serde(default)]
    pub start_note: Option<String>,
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
            | Self::Spawn(command)
            | Self::RestartAsPrimary { start: command, .. }
            | Self::Rewind { command, .. } => of(command).collect(),
            Self::Sql { on, statements } => {
                let bound = statements.iter().flat_map(|statement| &statement.secrets);
                on.secret.as_deref().into_iter().chain(bound.map(|(_, name)| name.as_str())).collect()
            }
            Self::Promote { on, command, look } => {
                let others = look.iter().flat_map(FinalCheck::secrets);
                on.secret.as_deref().into_iter().chain(others).chain(command.iter().flat_map(of)).collect()
            }
            Self::Announce { on, .. } => on.secret.iter().map(String::as_str).collect(),
            Self::Follow { standby, upstream } => {
                let on = match standby {
                    Standby::Running(on) => on.secret.as_deref(),
                    Standby::Files { .. } => None,
                };
                on.into_iter().chain(upstream.password.as_deref()).collect()
            }
            Self::Notify { on, .. } => on.secret.iter().map(String::as_str).collect(),
            Self::DropKeptSlot { on, primary, .. } => {
                [on, primary].into_iter().filter_map(|server| server.secret.as_deref()).collect()
            }
            Self::Wait(probe) => probe.secrets(),
            Self::File(op) => op.secrets(),
            Self::ArchiveWal { .. } | Self::Signal { .. } | Self::KeepDown(_) | Self::LetStart(_) => {
                Vec::new()
            }
        }
    }
}

impl FileOp {
    fn secrets(&self) -> Vec<&str> {
        match self {
            Self::WriteSecretFile { secret, .. } => vec![secret],
            Self::WriteSettings { set, .. } => set
                .iter()
                .flat_map(|setting| &setting.value)
                .filter_map(|piece| match piece {
                    ValuePart::Secret(name) => Some(name.as_str()),
                    ValuePart::Text(_) => None,
                })
                .collect(),
            Self::MakeDirectory { .. }
            | Self::ClearDirectory { .. }
            | Self::RemoveDirectory { .. }
            | Self::WriteFile { .. }
            | Self::RemoveFile { .. }
            | Self::MoveEntries { .. }
            | Self::CopyFiles { .. }
            | Self::RestoreFiles { .. }
            | Self::Rename { .. }
            | Self::SaveWal { .. }
            | Self::RestoreWal { .. } => Vec::new(),
        }
    }
}

impl FinalCheck {
    fn secrets(&self) -> impl Iterator<Item = &str> {
        self.others.iter().filter_map(|(_, on)| on.secret.as_deref())
    }
}

impl Probe {
    /// Says whether yes to it means that a server is shut down for good: from then on only the coordinator may start it again.
    pub fn confirms_shutdown(&self) -> bool {
        match self {
            Self::ShutDown { .. } | Self::StaysDown { .. } => true,
            Self::At { probe, .. } => probe.confirms_shutdown(),
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
            Self::Accepts { on, .. }
            | Self::NoPrimary { on }
            | Self::Silent { on, .. }
            | Self::HasAll { on, .. }
            | Self::StaysStandby { on, .. }
            | Self::Announced { on } => on.secret.as_deref().into_iter().collect(),
            Self::Unchallenged { look } | Self::Challenged { look } => look.secrets().collect(),
            Self::Any(probes) => probes.iter().flat_map(Self::secrets).collect(),
            Self::Not(probe) | Self::At { probe, .. } | Self::Lasts { probe, .. } => probe.secrets(),
            Self::Exists { .. }
            | Self::Ready { .. }
            | Self::Stopped { .. }
            | Self::Runs { .. }
            | Self::ShutDown { .. }
            | Self::StaysDown { .. }
            | Self::Clean { .. }
            | Self::CommitsAtMost { .. }
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
    use crate::pg::endpoint::Endpoint;
    use crate::pg::statement::Statement;

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
