//! Errors as an operator reads them, and the exit codes that scripts read.

mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use text::carries_text;
pub use text::{Text, sentence};

/// How the program ends. The numbers are fixed: runbooks and monitoring depend on them.
///
/// Where repmgr 5 has a code for the same event, it is the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum Exit {
    /// Done, or healthy.
    Done = 0,
    /// Usage, configuration or a failed precondition. Nothing was changed.
    Failed = 1,
    /// Of a check: critical.
    Critical = 2,
    /// Of a check or of `node guard`: the answer is unknown, or there was an error of any kind.
    CannotTell = 3,
    /// PostgreSQL could not be (re)started.
    NoRestart = 4,
    /// A local command failed.
    LocalCommand = 5,
    /// A needed connection failed. Nothing was changed.
    Connection = 6,
    /// A query on the metadata failed.
    Query = 7,
    /// The promotion failed.
    Promotion = 8,
    /// The daemon has ended by `degraded_monitoring_timeout`.
    Monitoring = 9,
    /// A remote host was not reachable. Nothing was changed.
    Remote = 12,
    /// The base backup failed.
    BaseBackup = 14,
    /// A defect in pgbaton.
    Internal = 15,
    /// The switchover failed, and the old primary is primary again.
    Switchover = 18,
    /// A registration was not seen on the standby in time.
    RegistrationSync = 20,
    /// Switched over, but something did not rejoin.
    Incomplete = 22,
    /// The standby does not follow.
    Follow = 23,
    /// The node did not rejoin.
    Rejoin = 24,
    /// Issues were found.
    Issues = 25,
    /// Not every daemon could be paused or unpaused.
    Pause = 26,
    /// The daemon could not be started or stopped.
    Daemon = 27,
    /// Another operation is running or unfinished. Nothing was changed.
    Busy = 30,
    /// Refused: it would make a second primary. Nothing was changed.
    SecondPrimary = 31,
    /// Refused: data could be lost. Nothing was changed.
    DataLoss = 32,
    /// No primary: the rollback failed too.
    NoPrimary = 33,
    /// Interrupted by SIGINT, after the rollback.
    Interrupted = 130,
    /// Interrupted by SIGTERM, after the rollback.
    Terminated = 143,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: [Self; 27] = [
        Self::Done,
        Self::Failed,
        Self::Critical,
        Self::CannotTell,
        Self::NoRestart,
        Self::LocalCommand,
        Self::Connection,
        Self::Query,
        Self::Promotion,
        Self::Monitoring,
        Self::Remote,
        Self::BaseBackup,
        Self::Internal,
        Self::Switchover,
        Self::RegistrationSync,
        Self::Incomplete,
        Self::Follow,
        Self::Rejoin,
        Self::Issues,
        Self::Pause,
        Self::Daemon,
        Self::Busy,
        Self::SecondPrimary,
        Self::DataLoss,
        Self::NoPrimary,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// Returns the number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Says whether this code always means that nothing was changed.
    pub fn leaves_all_as_it_was(self) -> bool {
        matches!(
            self,
            Self::Failed
                | Self::Connection
                | Self::Remote
                | Self::Busy
                | Self::SecondPrimary
                | Self::DataLoss
        )
    }

    /// Returns what it means, for the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or healthy",
            Self::Failed => {
                "usage, configuration or a failed precondition; nothing was changed; of a check: warning"
            }
            Self::Critical => "of a check (cluster check, node check with options): critical",
            Self::CannotTell => "of a check or node guard: unknown, or an error of any kind",
            Self::NoRestart => "PostgreSQL could not be started, stopped or restarted",
            Self::LocalCommand => "a local command failed",
            Self::Connection => "a needed connection failed; nothing was changed",
            Self::Query => "a query on the metadata failed",
            Self::Promotion => {
                "the promotion failed, or has not finished in time and may still take place: see operation list"
            }
            Self::Monitoring => "daemon run has ended by degraded_monitoring_timeout",
            Self::Remote => "a remote host was not reachable; nothing was changed",
            Self::BaseBackup => "the base backup failed",
            Self::Internal => "a defect in pgbaton",
            Self::Switchover => "the switchover failed, and the old primary is primary again",
            Self::RegistrationSync => "the registration was not seen on the standby in time",
            Self::Incomplete => "switched over, but a node did not rejoin or follow",
            Self::Follow => "the standby does not follow",
            Self::Rejoin => "the node did not rejoin",
            Self::Issues => {
                "issues were found (cluster show, cluster uri, cluster matrix, node status, node check, node prepare)"
            }
            Self::Pause => "not every repmgrd could be paused or unpaused",
            Self::Daemon => "repmgrd could not be started or stopped",
            Self::Busy => "another operation is running or unfinished; nothing was changed",
            Self::SecondPrimary => {
                "refused: there would be a second primary, or could be; nothing was changed"
            }
            Self::DataLoss => "refused: data could be lost; nothing was changed",
            Self::NoPrimary => "no primary: the rollback failed too",
            Self::Interrupted => "interrupted by SIGINT, after the rollback",
            Self::Terminated => "interrupted by SIGTERM, after the rollback",
        }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;

    fn try_from(code: u8) -> std::result::Result<Self, Self::Error> {
        Self::ALL
            .into_iter()
            .find(|exit| exit.code() == code)
            .ok_or_else(|| format!("{code} is not an exit code of pgbaton"))
    }
}

/// How bad an [`Issue`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Notice,
    /// A problem.
    Warning,
    /// Something is broken, or the command refuses because of it.
    Error,
}

/// One thing that is wrong with the cluster or with a request, apart from the failure of the command itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name for scripts, listed in the man page and never renamed.
    pub code: &'static str,
    /// The node concerned, if it is one node.
    pub node_id: Option<i32>,
    /// What it says.
    #[serde(flatten)]
    pub text: Text,
}

carries_text!(Issue);

impl Issue {
    /// Starts an issue that concerns no single node.
    pub fn new(severity: Severity, code: &'static str, text: impl Into<Text>) -> Self {
        Self { severity, code, node_id: None, text: text.into() }
    }

    /// Starts a warning.
    pub fn warning(code: &'static str, text: impl Into<Text>) -> Self {
        Self::new(Severity::Warning, code, text)
    }

    /// Names the node, if it is one.
    #[must_use]
    pub fn node(mut self, node_id: impl Into<Option<i32>>) -> Self {
        self.node_id = node_id.into();
        self
    }

    /// Whether the message was already printed when it was found, because it belongs before what was done next.
    pub fn is_printed_at_once(&self) -> bool {
        matches!(self.code, "check_warning" | "check_waived")
    }
}

/// Every code that an [`Issue`] may have, and what it means. Codes are never renamed; a test finds those that are missing.
pub const ISSUE_CODES: &[(&str, &str)] = &[
    ("node_unreachable", "it does not respond"),
    ("node_rejects", "it responds but rejects the connection"),
    ("running_as_standby", "registered as primary, in recovery"),
    ("running_as_primary", "registered as standby, accepts writes"),
    ("inactive_but_running", "registered as inactive, but running"),
    ("not_attached", "a standby does not stream from its upstream"),
    ("not_streaming", "attached, but not in state \"streaming\""),
    ("receiver_hangs", "a WAL receiver is running but receives nothing"),
    ("standby_signal_missing", "a standby without standby.signal: it would start as a primary"),
    ("standby_signal_leftover", "a primary with standby.signal: it would start as a standby"),
    ("promotion_requested", "a promotion was requested and has not happened yet"),
    ("wrong_server", "conninfo leads to a server that is not this node's"),
    ("upstream_differs", "streams from another node than registered"),
    ("upstream_missing", "its registered upstream is not registered"),
    ("replay_paused", "replay of WAL is paused"),
    ("replication_lag", "lags by replication_lag_warning or more"),
    ("slot_missing", "its slot does not exist on its upstream"),
    ("slot_lost", "its slot has lost WAL"),
    ("slot_unused", "it streams without its slot"),
    ("slot_inactive", "a physical slot is not in use"),
    ("forked", "it has diverged from the primary"),
    ("history_unknown", "its history could not be compared"),
    ("foreign_cluster", "another system identifier"),
    ("same_server", "two records lead to one running server"),
    ("primary_outdated", "a primary on an old timeline: another node is on a newer one"),
    ("witness_outdated", "a witness whose copy of the metadata names another primary, or other nodes"),
    ("witness_in_cluster", "a node registered as a witness belongs to the cluster"),
    ("invalid_conninfo", "its registered connection string cannot be used"),
    ("application_name_differs", "its application_name is not its node name"),
    ("limited_view", "the role lacks a privilege that is needed to judge it"),
    ("version_differs", "another major version than the primary"),
    ("split_brain", "split brain: several nodes accept writes"),
    ("no_primary", "no node accepts writes"),
    ("nobody_answers", "no node responds; the saved topology is shown"),
    ("several_registered_primaries", "the metadata names several active primaries"),
    ("duplicate_name", "two nodes have one name"),
    ("unrecognized_type", "the metadata holds an unknown type"),
    ("daemon_not_running", "failover is automatic, and the daemon of a node is not running"),
    ("daemon_paused", "automatic failover is paused, or has not begun"),
    ("daemon_mixed", "the daemons are paused on some nodes only"),
    (
        "lease_degraded",
        "the leader does not hold all votes, no daemon leads, or a fencer is not armed or does not respond",
    ),
    ("node_fenced", "its server was stopped, or has to be, because its lease has ended"),
    ("connection_failed", "a node cannot connect to another one"),
    ("host_not_asked", "pgbaton on the host of a node could not be reached from here"),
    ("node_left_out", "a node is not in the connection string for clients"),
    ("sslmode_differs", "the nodes' connection strings do not agree on sslmode"),
    ("not_registered", "the local node is not registered"),
    ("not_prepared", "something that a node needs is missing, and pgbaton cannot do it"),
    ("restart_needed", "a setting takes effect at the next restart only"),
    ("operation_open", "an operation of another node has not reported its end"),
    ("operations_not_recorded", "operations cannot be recorded in schema pgbaton"),
    ("operation_unfinished", "an interrupted operation has to be resumed or abandoned"),
    ("check_failed", "a check stops the command"),
    ("check_warning", "a check found a problem that does not stop the command"),
    ("check_waived", "a failed check was overridden by an option"),
    ("step_failed", "another step of an operation failed"),
    ("config_not_found", "there is no configuration file"),
    ("config_unreadable", "the configuration file cannot be read"),
    ("config_unsafe", "other users could have written the configuration file"),
    ("config_syntax", "a syntax error in a line"),
    ("config_include", "an included file cannot be used"),
    ("config_unrecognized_parameter", "no such parameter"),
    ("config_missing_parameter", "a required parameter is not set"),
    ("config_invalid_value", "a value is not allowed"),
    ("config_conflict", "two parameters contradict each other"),
    ("config_node_name", "a node name that causes problems elsewhere"),
    ("config_state_directory", "no state directory can be used"),
];

/// Why a command ends without having done what was asked.
///
/// The detail ends with the state that things were left in, where the command had begun to change something.
#[derive(Debug)]
pub struct Error {
    /// The exit code.
    pub exit: Exit,
    /// What failed.
    pub text: Text,
    /// All failed checks, when there is more than one thing to report.
    pub issues: Vec<Issue>,
    /// Whether anything had been changed, and not undone, when the command failed.
    pub changed: bool,
    /// Of a step: it is certain that it had no effect, as with a transaction that the server refused.
    pub no_effect: bool,
    /// Anything a script may need to know about the failure, in the shape of the command's `data`.
    pub data: serde_json::Value,
}

/// The result of everything from `commands` up.
pub type Result<T, E = Error> = std::result::Result<T, E>;

carries_text!(Error);

impl Error {
    /// Starts an error; add facts with [`Error::detail`] and advice with [`Error::hint`].
    pub fn new(exit: Exit, text: impl Into<Text>) -> Self {
        Self {
            exit,
            text: text.into(),
            issues: Vec::new(),
            changed: false,
            no_effect: false,
            data: serde_json::Value::Null,
        }
    }

    /// A usage or configuration error, or a failed precondition: exit code 1.
    pub fn failed(text: impl Into<Text>) -> Self {
        Self::new(Exit::Failed, text)
    }

    /// Says of the failure of one part of a command that another part was done before it: what the part says of the state it has left is no
    /// longer true of the whole, nor is a code that says so.
    #[must_use]
    pub fn after(mut self, done: &str, exit: Exit) -> Self {
        let own = self.detail.take().unwrap_or_default();
        let own = own.replace("Nothing was changed by this command.", "").replace("Nothing was changed.", "");
        let own = own.trim();
        self.detail = (!own.is_empty()).then(|| own.to_string());
        if self.exit.leaves_all_as_it_was() {
            self.exit = exit;
        }
        self.changed = true;
        self.detail(done)
    }

    /// Attaches everything that was found wrong.
    #[must_use]
    pub fn issues(mut self, issues: Vec<Issue>) -> Self {
        self.issues = issues;
        self
    }

    /// Says that something was changed and not undone.
    #[must_use]
    pub fn changed(mut self) -> Self {
        self.changed = true;
        self
    }

    /// Turns an error of a lower room into one for the operator: the chain of causes becomes the detail.
    pub fn from_cause(exit: Exit, text: impl Into<Text>, cause: &anyhow::Error) -> Self {
        Self::new(exit, text).detail(sentence(&format!("{cause:#}")))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl std::error::Error for Error {}

/// The error of a query that will never succeed, however often it is repeated: it is not waited for.
#[derive(Debug)]
pub struct PermanentError(pub Error);

impl fmt::Display for PermanentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for PermanentError {}
