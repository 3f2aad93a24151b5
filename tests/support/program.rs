//! Running the program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::lab::Host;
use super::processes::{Output, Running, behind, behind_network, clean_command, surrounded_as};

/// What differs from run to run and can be recognised by its form. In this order.
static FORMS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let form = |pattern: &str| Regex::new(pattern).unwrap();
    vec![
        (form(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d(:?\d\d)?| [A-Z]{3})?"), "[TIME]"),
        (form(r"\b[67]\d{18}\b"), "[SYSTEM]"),
        (form(r"\b[0-9A-F]{1,8}/[0-9A-F]{5,8}\b"), "[LSN]"),
        (form(r"(?i)\b(pid|process)( |=|: ?)\d+\b"), "$1$2[PID]"),
        (form(r"\b\d+(\.\d+)? ?(ms|s|seconds?|minutes?)\b"), "[DURATION]"),
        (form(r"\b\d+ bytes (of WAL|more)\b"), "[BYTES] $1"),
        // The server itself has some, at times of its own.
        (
            form(r"with (no transaction|\d+ transactions?, (the last one )?committed at \[TIME\])"),
            "with [TRANSACTIONS]",
        ),
        (form(r#"("[a-z_]*_s": ?)\d+(\.\d+)?"#), "${1}[DURATION]"),
    ]
});

/// How long a run may take before it is killed and the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// A run of pgbaton in preparation.
pub struct Pgbaton {
    command: Command,
    deadline: Duration,
    redactions: Vec<(String, String)>,
}

impl Pgbaton {
    /// Prepares a run with a cleared environment and the home directory `dir/home`.
    pub fn new(dir: &Path) -> Self {
        let program = Self::path();
        let mut command = clean_command(&program);
        let home = dir.join("home");
        std::fs::create_dir_all(&home).unwrap();
        command.current_dir(&home).env("HOME", &home).env("COLUMNS", "100");
        Self {
            command,
            deadline: DEADLINE,
            redactions: vec![(dir.to_string_lossy().into_owned(), "[DIR]".into())],
        }
    }

    /// Returns where the program is.
    pub fn path() -> PathBuf {
        // A benchmark may name an optimised program that was built before.
        std::env::var_os("PGBATON").map_or_else(|| env!("CARGO_BIN_EXE_pgbaton").into(), PathBuf::from)
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<str>) -> Self {
        self.command.arg(arg.as_ref());
        self
    }

    /// Adds arguments.
    pub fn args<I: AsRef<str>>(self, args: impl IntoIterator<Item = I>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.command.env(name, value.as_ref());
        self
    }

    /// Runs it in another directory.
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs it on a host of a lab.
    pub fn on(mut self, host: &Host) -> Self {
        self.command = host.run(&self.command);
        self
    }

    /// Has it see another machine; see [`behind`].
    pub fn behind(mut self, mounts: &str) -> Self {
        self.command = behind(&self.command, mounts);
        self
    }

    /// Has it see another network; see [`behind_network`].
    pub fn behind_network(mut self, links: &str) -> Self {
        self.command = behind_network(&self.command, links);
        self
    }

    /// Has it write both outputs into one, in the order in which a person sees them.
    pub fn merged(mut self) -> Self {
        let program = self.command.get_program().to_owned();
        let args: Vec<_> = self.command.get_args().map(ToOwned::to_owned).collect();
        let mut shell = surrounded_as(&self.command, Path::new("/bin/sh"));
        shell.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(program).args(args);
        self.command = shell;
        self
    }

    /// Runs it in a terminal that is so wide. All that it prints is its standard output.
    pub fn in_terminal(mut self, columns: u32) -> Self {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words = shell_words::join(words.map(|word| word.to_str().unwrap()));
        let mut script = surrounded_as(&self.command, Path::new("script"));
        script.args(["-qec", &format!("stty cols {columns} rows 50; exec {words}"), "/dev/null"]);
        script.env("NO_COLOR", "1").env("TERM", "dumb").env_remove("COLUMNS");
        self.command = script;
        self
    }

    /// Gives it more time, or less.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Has [`Output::visible`] show something else for a text, such as a port.
    pub fn redact(mut self, text: &str, shown: &str) -> Self {
        self.redactions.push((text.to_string(), shown.to_string()));
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        let deadline = self.deadline;
        self.spawn().wait(deadline)
    }

    /// Starts it, for tests that send signals or break something meanwhile.
    #[track_caller]
    pub fn spawn(self) -> Running {
        let mut running = Running::start(self.command);
        running.redactions = Arc::new(self.redactions);
        running
    }
}

impl Output {
    /// Returns everything that a user sees, with what differs from run to run replaced: directories, ports of the test's
    /// servers, times, durations, LSNs, system identifiers, process ids. Made for snapshots.
    pub fn visible(&self) -> String {
        let exit =
            self.status.code().map_or_else(|| self.status.to_string(), |code| format!("exit status: {code}"));
        self.redacted(&format!("{}------- stderr -------\n{}[{exit}]\n", self.stdout, self.stderr))
    }

    /// Returns stdout, a JSON document, in lines and with what differs from run to run replaced. Counted bytes and seconds are, unless there
    /// are none.
    #[track_caller]
    pub fn visible_json(&self) -> String {
        let mut document = self.json();
        self.hide(&mut document, "");
        format!("{document:#}\n")
    }

    fn redacted(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (real, shown) in self.redactions.iter() {
            // A port must not be replaced inside a longer number.
            let real =
                Regex::new(&format!(r"\b{{start-half}}{}\b{{end-half}}", regex::escape(real))).unwrap();
            text = real.replace_all(&text, shown).into_owned();
        }
        for (form, shown) in FORMS.iter() {
            text = form.replace_all(&text, *shown).into_owned();
        }
        text
    }

    fn hide(&self, value: &mut Value, name: &str) {
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| self.hide(value, name)),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide(value, "")),
            Value::Number(number) if number.as_f64() != Some(0.0) => {
                if name.ends_with("_bytes") {
                    *value = "[BYTES]".into();
                } else if name.ends_with("_s") {
                    *value = "[DURATION]".into();
                }
            }
            Value::String(text) if name == "server_version" || name == "pgbaton" => {
                *text = "[VERSION]".into();
            }
            Value::String(text) => *text = self.redacted(text),
            _ => {}
        }
    }
}
