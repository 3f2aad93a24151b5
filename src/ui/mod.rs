//! Streams: the answer on standard output, everything else on standard error.
//!
//! The only place that prints. A stream that is gone (a closed terminal, a pipe whose reader has left) is no error: an operation that
//! has begun must not stop because nothing reads its messages.

pub mod progress;

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::assess::checks::Finding;
use crate::assess::cluster::{ClusterReport, State};
use crate::error::{Error, Issue, Severity, Text};
use crate::output::check::{CheckReport, Layout};
use crate::output::visible::{document, one_line, paragraph};
use crate::system::syslog::{self, Syslog};
use progress::Transfer;

/// How important a message is; repmgr's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For debugging.
    Debug,
    /// What is being done.
    Info,
    /// What was done, and what is worth knowing.
    Notice,
    /// A problem.
    Warning,
    /// The command fails.
    Error,
}

impl Level {
    /// Finds a level by its name in any case; repmgr's levels above ERROR count as ERROR.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "NOTICE" => Self::Notice,
            "WARNING" => Self::Warning,
            "ERROR" | "ALERT" | "CRIT" | "EMERG" => Self::Error,
            _ => return None,
        })
    }

    fn label(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }

    /// Returns syslog's severity for a line of the log.
    fn severity(self) -> syslog::Severity {
        match self {
            Self::Debug => syslog::Severity::Debug,
            Self::Info => syslog::Severity::Info,
            Self::Notice => syslog::Severity::Notice,
            Self::Warning => syslog::Severity::Warning,
            Self::Error => syslog::Severity::Error,
        }
    }

    /// ANSI colour; the label says the same in words.
    fn colour(self) -> &'static str {
        match self {
            Self::Debug => "\x1b[2m",
            Self::Info => "",
            Self::Notice => "\x1b[36m",
            Self::Warning => "\x1b[33m",
            Self::Error => "\x1b[1;31m",
        }
    }
}

/// Where messages go instead of standard error.
#[derive(Debug)]
enum Log {
    File(File),
    Syslog(Syslog),
}

/// The streams, and what is wanted on them.
#[derive(Debug)]
pub struct Ui {
    level: Cell<Level>,
    /// The level was named on the command line, which has the last word.
    is_level_given: bool,
    terse: bool,
    colour: bool,
    log: RefCell<Option<Log>>,
    /// The bar that stands on the terminal and gives way to every message.
    bar: RefCell<Option<ProgressBar>>,
}

impl Ui {
    /// Prepares the streams.
    pub fn new(level: Level, terse: bool, colour: bool) -> Self {
        Self {
            level: Cell::new(level),
            is_level_given: false,
            terse,
            colour,
            log: RefCell::default(),
            bar: RefCell::default(),
        }
    }

    /// Says that the level was named on the command line: the configuration does not change it.
    #[must_use]
    pub fn with_given_level(self, is_level_given: bool) -> Self {
        Self { is_level_given, ..self }
    }

    /// Sets the level that the configuration names, unless the command line names one.
    pub fn configure_level(&self, level: Level) {
        if !self.is_level_given {
            self.level.set(level);
        }
    }

    /// Returns streams of the same kind for a command that is carried out within another one.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.level.get(), self.terse, self.colour).with_given_level(self.is_level_given)
    }

    /// Says whether there is a terminal to ask questions on.
    pub fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Sends messages to a file from now on.
    ///
    /// # Errors
    /// Fails where the file cannot be opened for appending.
    pub fn log_to(&self, path: &Path) -> anyhow::Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("could not open log file \"{}\"", path.display()))?;
        *self.log.borrow_mut() = Some(Log::File(file));
        Ok(())
    }

    /// Sends messages to the system's log from now on.
    pub fn log_to_system(&self, log: Syslog) {
        *self.log.borrow_mut() = Some(Log::Syslog(log));
    }

    /// Sends messages to standard error again.
    pub fn log_to_stderr(&self) {
        *self.log.borrow_mut() = None;
    }

    /// Asks a question whose answer is a line: only `y` and `yes`, in any case, are a yes. Without a terminal to ask on, the answer is no.
    pub fn confirm(&self, question: &str) -> bool {
        if !self.may_ask() {
            return false;
        }
        let mut stderr = std::io::stderr().lock();
        if write!(stderr, "{} [y/N] ", one_line(question)).and_then(|()| stderr.flush()).is_err() {
            return false;
        }
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).is_ok() && is_yes(&line)
    }

    /// Asks for a password, twice. None without a terminal to ask on, and where none is typed.
    pub fn ask_password(&self, question: &str) -> Option<crate::secret::Secret> {
        if !self.may_ask() {
            return None;
        }
        let asked = dialoguer::Password::new()
            .with_prompt(one_line(question))
            .with_confirmation("Confirm password", "Passwords do not match")
            .allow_empty_password(true)
            .interact();
        asked.ok().filter(|typed| !typed.is_empty()).map(crate::secret::Secret::new)
    }

    /// Prepares for a question; false without a terminal to ask on. What was typed before it can be read is no answer to it, and is thrown
    /// away.
    fn may_ask(&self) -> bool {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return false;
        }
        rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush).is_ok()
    }

    /// Says something.
    pub fn say(&self, level: Level, primary: &str) {
        self.message(level, primary, None, None);
    }

    /// Says a text with its DETAIL and HINT.
    pub fn text(&self, level: Level, text: &Text) {
        self.message(level, &text.message, text.detail.as_deref(), text.hint.as_deref());
    }

    /// Says something with its DETAIL and HINT.
    pub fn message(&self, level: Level, primary: &str, detail: Option<&str>, hint: Option<&str>) {
        if level < self.level.get() {
            return;
        }
        let mut out = String::new();
        let mut line = |label: &str, colour: &str, text: &str| {
            if self.colour && self.log.borrow().is_none() && !colour.is_empty() {
                out.push_str(&format!("{colour}{label}:\x1b[0m {text}\n"));
            } else {
                out.push_str(&format!("{label}: {text}\n"));
            }
        };
        line(level.label(), level.colour(), &one_line(primary.trim_end()));
        if !self.terse {
            if let Some(detail) = detail {
                line("DETAIL", "\x1b[1m", &paragraph(detail));
            }
            if let Some(hint) = hint {
                line("HINT", "\x1b[1m", &paragraph(hint));
            }
        }
        self.write(level, &out);
    }

    /// Says what is wrong with the cluster.
    pub fn issue(&self, issue: &Issue) {
        let level = match issue.severity {
            Severity::Notice => Level::Notice,
            // The command did what it was asked: what it found is a warning, however bad.
            Severity::Warning | Severity::Error => Level::Warning,
        };
        self.text(level, &issue.text);
    }

    /// Says what is wrong with what the command judges: an error is one.
    pub fn judgement(&self, issue: &Issue) {
        let level = match issue.severity {
            Severity::Notice => Level::Notice,
            Severity::Warning => Level::Warning,
            Severity::Error => Level::Error,
        };
        self.text(level, &issue.text);
    }

    /// Prints detail and hint of each problem found; the findings themselves are in the output.
    pub fn findings(&self, report: &CheckReport, issues: &[Issue]) {
        match report.layout {
            Layout::Nagios | Layout::NodeNagios | Layout::ClusterNagios | Layout::OptFormat => return,
            Layout::Overview | Layout::Single | Layout::Cluster => {}
        }
        let whole = issues.iter().filter(|issue| issue.node_id.is_none());
        whole.for_each(|issue| self.issue(issue));
        // What is wrong with several nodes alike is said once.
        let mut shown: Vec<(Vec<String>, &Finding)> = Vec::new();
        for (node, finding) in report.wrong() {
            let name = format!("\"{}\"", node.node_name);
            let alike = shown
                .iter_mut()
                .find(|(_, other)| (other.name, &other.text) == (finding.name, &finding.text));
            match alike {
                Some((names, _)) => names.push(name),
                None => shown.push((vec![name], finding)),
            }
        }
        for (names, finding) in shown {
            if finding.detail.is_none() && finding.hint.is_none() {
                continue;
            }
            let nodes = if names.len() == 1 { "node" } else { "nodes" };
            let message =
                format!("{nodes} {}, {}: {}", names.join(", "), finding.name.as_str(), finding.message);
            self.message(Level::Warning, &message, finding.detail.as_deref(), finding.hint.as_deref());
        }
    }

    /// Says in one line what the cluster is, and what to type next.
    pub fn verdict(&self, report: &ClusterReport) {
        let cluster = &report.cluster;
        let primary = report.nodes.iter().find(|node| Some(node.node_id) == cluster.primary_node_id);
        let name = primary.map_or("", |node| &node.node_name);
        let (level, text) = match cluster.state {
            State::Healthy => (Level::Info, format!("the cluster is healthy; \"{name}\" is the primary")),
            State::Degraded => {
                (Level::Warning, format!("the cluster is degraded; \"{name}\" is the primary"))
            }
            // One that rejects the connection may be the primary.
            State::NoPrimary if report.nodes.iter().any(|node| node.answered && !node.reachable) => {
                (Level::Warning, "no primary can be seen from here".to_string())
            }
            State::NoPrimary => (Level::Warning, "the cluster has no primary".to_string()),
            State::SplitBrain => (Level::Warning, "the cluster has more than one primary".to_string()),
            State::Unknown => {
                (Level::Warning, "the state of the cluster is unknown: no node responds".to_string())
            }
        };
        let hint = match cluster.next.as_slice() {
            [] => None,
            [one] => Some(format!("Next: {one}")),
            // A line each, to be copied.
            several => Some(format!("Next, in this order:\n  {}", several.join("\n  "))),
        };
        self.message(level, &text, None, hint.as_deref());
    }

    /// Says why the command fails, every failed check first.
    pub fn error(&self, error: &Error) {
        // What is wrong with one thing only is the error itself.
        let printed = |issue: &&Issue| issue.is_printed_at_once() || issue.message == error.message;
        for issue in error.issues.iter().filter(|issue| !printed(issue)) {
            self.judgement(issue);
        }
        self.text(Level::Error, &error.text);
    }

    /// Begins to show the progress of a copy: on a terminal by a bar, elsewhere, and in a log file, by lines at level INFO.
    pub fn transfer(&self) -> Transfer<'_> {
        let wanted = self.level.get() <= Level::Notice && self.log.borrow().is_none();
        let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Transfer::new(self, target)
    }

    /// Returns whether the answer goes to a terminal.
    pub fn answers_to_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Writes the answer to standard output.
    ///
    /// # Errors
    /// Those of writing: the disk is full, or the reader has closed the pipe.
    pub fn answer(&self, text: &str) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(document(text).as_bytes())?;
        stdout.flush()
    }

    /// Wipes the terminal for an answer that takes the place of the last one.
    pub fn clear(&self) {
        if self.answers_to_terminal() {
            let mut stdout = std::io::stdout().lock();
            let _gone = stdout.write_all(b"\x1b[2J\x1b[H").and_then(|()| stdout.flush());
        }
    }

    /// Writes text that is no message to standard error.
    pub fn plain(&self, text: &str) {
        self.write(Level::Notice, &document(text));
    }

    fn write(&self, level: Level, text: &str) {
        let mut log = self.log.borrow_mut();
        if let Some(Log::Syslog(log)) = log.as_ref()
            && text.lines().all(|line| log.write(level.severity(), line).is_ok())
        {
            return;
        }
        // Where no logger listens, it is better said here than not at all.
        if let Some(Log::File(file)) = log.as_mut() {
            let now = jiff::ZonedDateTime::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
            for line in text.lines() {
                // repmgr's form of a log line.
                let line = match line.split_once(": ") {
                    Some((label, rest)) if label.chars().all(|c| c.is_ascii_uppercase()) => {
                        format!("[{now}] [{label}] {rest}\n")
                    }
                    _ => format!("[{now}] {line}\n"),
                };
                let _gone = file.write_all(line.as_bytes());
            }
            return;
        }
        let write = || {
            let mut stderr = std::io::stderr().lock();
            let _gone = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        };
        let bar = self.bar.borrow().clone();
        bar.map_or_else(write, |bar| bar.suspend(write));
    }
}

/// Says whether a line that was typed agrees.
fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for line in ["y\n", "Y\n", "yes\n", " YES \r\n", "y"] {
            assert!(is_yes(line), "{line:?}");
        }
        for line in ["", "\n", "n\n", "no\n", "x\n", "yy\n", "yesterday\n", "y n\n", "1\n", "\x1by\n"] {
            assert!(!is_yes(line), "{line:?}");
        }
    }
}
