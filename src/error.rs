//! Errors as an operator reads them, and the exit codes that scripts read.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// No primary: the way back failed too.
    NoPrimary = 33,
    /// Interrupted by SIGINT, after the way back.
    Interrupted = 130,
    /// Interrupted by SIGTERM, after the way back.
    Terminated = 143,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: [Self; 24] = [
        Self::Done,
        Self::Failed,
        Self::NoRestart,
        Self::LocalCommand,
        Self::Connection,
        Self::Query,
        Self::Promotion,
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
            .ok_or_else(|| format!("{code} is no exit code of pgbaton"))
    }
}

/// How bad an [`Issue`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Notice,
    /// Something is not as it should be.
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
    /// The primary text.
    pub message: String,
    /// Facts, as whole sentences.
    pub detail: Option<String>,
    /// What to type or do next, as whole sentences.
    pub hint: Option<String>,
}

/// Why a command ends without having done what was asked.
///
/// Worded after PostgreSQL's error style guide: `primary` is one line, starts in lower case and has no full stop;
/// `detail` and `hint` are whole sentences. The detail ends with the state that things were left in, where the command
/// had begun to change something.
#[derive(Debug)]
pub struct Error {
    /// The exit code.
    pub exit: Exit,
    /// What failed.
    pub primary: String,
    /// Facts, as whole sentences.
    pub detail: Option<String>,
    /// What to type or do next, as whole sentences.
    pub hint: Option<String>,
    /// All failed checks, when there is more than one thing to report.
    pub issues: Vec<Issue>,
    /// Whether anything had been changed, and not put back, when the command failed.
    pub changed: bool,
    /// Of a step: it is certain that it had no effect, as with a transaction that the server refused.
    pub no_effect: bool,
    /// Anything a script may want to know about the failure, in the shape of the command's `data`.
    pub data: serde_json::Value,
}

/// The result of everything from `commands` up.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Starts an error; add facts with [`Error::detail`] and advice with [`Error::hint`].
    pub fn new(exit: Exit, primary: impl Into<String>) -> Self {
        Self {
            exit,
            primary: primary.into(),
            detail: None,
            hint: None,
            issues: Vec::new(),
            changed: false,
            no_effect: false,
            data: serde_json::Value::Null,
        }
    }

    /// A usage or configuration error, or a failed precondition: exit code 1.
    pub fn failed(primary: impl Into<String>) -> Self {
        Self::new(Exit::Failed, primary)
    }

    /// Adds facts; a second call appends a sentence.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        append(&mut self.detail, &text.into());
        self
    }

    /// Adds advice; a second call appends a sentence.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        append(&mut self.hint, &text.into());
        self
    }

    /// Attaches everything that was found wrong.
    #[must_use]
    pub fn issues(mut self, issues: Vec<Issue>) -> Self {
        self.issues = issues;
        self
    }

    /// Says that something was changed and not put back.
    #[must_use]
    pub fn changed(mut self) -> Self {
        self.changed = true;
        self
    }

    /// Turns an error of a lower room into one for the operator: the chain of causes becomes the detail.
    pub fn from_cause(exit: Exit, primary: impl Into<String>, cause: &anyhow::Error) -> Self {
        Self::new(exit, primary).detail(sentence(&format!("{cause:#}")))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.primary)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

fn append(to: &mut Option<String>, text: &str) {
    match to {
        Some(old) => {
            old.push(' ');
            old.push_str(text);
        }
        None => *to = Some(text.to_string()),
    }
}

/// Makes a whole sentence of a message: a capital first, a full stop last.
///
/// Text that begins with something quoted or with a name in mixed case keeps its first letter only if that letter is
/// no lower-case word start.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    // The name of a program, a parameter or a file is written as it is.
    let first_word = text.split_whitespace().next().unwrap_or_default();
    let is_name = first_word.starts_with("pg") || first_word.contains(['_', '/', '=']);
    let mut out = match chars.next() {
        Some(_) if is_name => text.to_string(),
        Some(first) => first.to_uppercase().chain(chars).collect::<String>(),
        None => return String::new(),
    };
    if !out.ends_with(['.', '!', '?', ':']) {
        out.push('.');
    }
    out
}
