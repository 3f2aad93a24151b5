//! Processes: the only place that starts one.
//!
//! A child gets a process group of its own, so that a Ctrl-C meant for pgbaton does not reach it and that it can be killed
//! with everything it started; no standard input; messages in English, because they are quoted; and no `PG*` variable of
//! ours unless it was asked for, because those would redirect PostgreSQL's tools unseen.
//!
//! A deadline is the caller's: dropping the future kills the whole group. A program that reports its progress, a base backup,
//! must not outlive us either if we are killed: see `leash`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::secret::Secret;
use crate::system::command::Command;
use crate::system::environment::Environment;

/// How much of an output is kept: its end.
const TAIL_BYTES: usize = 64 * 1024;

/// How long output is still read after the child has ended, in case a grandchild holds the pipe open.
const DRAIN: Duration = Duration::from_millis(500);

/// What a child needs that is not in its [`Command`].
#[derive(Debug, Default)]
pub struct ChildContext<'a> {
    /// Our environment, the base of the child's.
    pub environment: Option<&'a Environment>,
    /// The values of the secrets that the command names.
    pub secrets: BTreeMap<String, Secret>,
    /// The `PG*` variables of our environment are meant for the child too.
    pub inherit_pg: bool,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command, for messages.
    line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The end of its standard output, at most 64 KB; empty if it went to a log file.
    pub stdout: String,
    /// The end of its standard error, at most 64 KB; with a log file, the end of what was added to that.
    pub stderr: String,
}

impl Finished {
    /// Returns the result if the program succeeded.
    ///
    /// # Errors
    /// Fails with the command line, the status, and what the program wrote to standard error.
    pub fn success(self) -> anyhow::Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{self}")
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ", self.line)?;
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "exited with status {code}")?,
            (None, Some(signal)) => write!(f, "was killed by signal {signal}")?,
            (None, None) => f.write_str("ended with an unknown status")?,
        }
        let said = self.stderr.trim_end();
        if said.is_empty() { Ok(()) } else { write!(f, "\n--- stderr\n{said}") }
    }
}

/// Runs a command and waits for its end.
///
/// # Errors
/// Fails if the program cannot be started, or if a secret that it needs is not there. An exit status other than 0 is no
/// error here; see [`Finished::success`].
pub async fn run(command: &Command, around: &ChildContext<'_>) -> anyhow::Result<Finished> {
    run_watched(command, around, |_, _| {}).await
}

/// A program that was begun and left to itself.
#[derive(Debug)]
pub struct Spawned(Arc<OnceLock<Finished>>);

impl Spawned {
    /// Returns how it ended, if it has.
    pub fn ended(&self) -> Option<&Finished> {
        self.0.get()
    }

    /// Says how it ended, if it has failed.
    pub fn failure(&self) -> Option<String> {
        self.ended().filter(|finished| !finished.status.success()).map(Finished::to_string)
    }
}

/// Starts a command and leaves it to itself; its output goes to its log, if it has one.
///
/// # Errors
/// Fails if the program cannot be started.
pub fn spawn(command: &Command, around: &ChildContext<'_>) -> anyhow::Result<Spawned> {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    let mut child = tokio::process::Command::new(&command.program);
    child.args(&command.args).process_group(0).stdin(Stdio::null());
    set_environment(&mut child, command, around)?;
    // A file and no pipe: it may outlive us, and must not die of that.
    let (mut file, end) = match &command.log {
        Some(path) => open_log(path)?,
        None => (tempfile::tempfile().context("could not create a temporary file")?, 0),
    };
    child.stdout(file.try_clone()?).stderr(file.try_clone()?);
    let mut child = child.spawn().with_context(|| format!("could not start `{command}`"))?;
    let ended = Arc::new(OnceLock::new());
    let (line, slot) = (command.to_string(), Arc::clone(&ended));
    // Waited for, so that it does not stay a zombie as long as we live.
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            let stderr = tail_of(&mut file, end).unwrap_or_default();
            let _ = slot.set(Finished { line, status, stdout: String::new(), stderr });
        }
    });
    Ok(Spawned(ended))
}

/// Runs a command and hands each line to `on_line` as it comes.
///
/// Carriage returns end a line too: that is how progress is shown.
///
/// # Errors
/// As [`run`].
pub async fn run_watched(
    command: &Command,
    around: &ChildContext<'_>,
    mut on_line: impl FnMut(Stream, &str),
) -> anyhow::Result<Finished> {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    let mut child = tokio::process::Command::new(&command.program);
    child.args(&command.args).process_group(0).stdin(Stdio::null());
    set_environment(&mut child, command, around)?;
    let mut log = None;
    if let Some(path) = &command.log {
        let (file, end) = open_log(path)?;
        child.stdout(file.try_clone()?).stderr(file.try_clone()?);
        log = Some((file, end));
    } else {
        child.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = child.spawn().with_context(|| format!("could not start `{command}`"))?;
    // Declared after the child, so dropped before it: the group is killed while its leader is still there to name it.
    let mut group = Group::of(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let leash = command.silent_at_most_s.and(child.id()).and_then(kill_group_with_us);

    let mut stdout = Lines::default();
    let mut stderr = Lines::default();
    let status = {
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut reading = pin!(read_both(out, err, |stream, bytes| {
            let lines = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
            lines.push(bytes, |line| on_line(stream, line));
        }));
        let mut drained = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = &mut reading, if !drained => drained = true,
            }
        };
        if !drained {
            let _ = tokio::time::timeout(DRAIN, reading).await;
        }
        status.with_context(|| format!("could not wait for `{command}`"))?
    };
    if let Some(mut leash) = leash {
        if let Some(mut held) = leash.stdin.take() {
            let _ = held.write_all(b"\n").await;
        }
        let _ = leash.wait().await;
    }
    // It ended by itself. What it left running on purpose, as pg_ctl does, is not ours to kill.
    group.disarm();
    stdout.finish(|line| on_line(Stream::Stdout, line));
    stderr.finish(|line| on_line(Stream::Stderr, line));
    let stderr = match &mut log {
        Some((file, end)) => tail_of(file, *end).unwrap_or_default(),
        None => stderr.text(),
    };
    Ok(Finished { line: command.to_string(), status, stdout: stdout.text(), stderr })
}

/// A program that has our standard output and error: its answer is ours. It is never killed.
#[derive(Debug)]
pub struct Attached {
    child: std::cell::RefCell<Option<tokio::process::Child>>,
    leader: Option<Pid>,
}

impl Attached {
    /// Starts it. With a terminal it gets our standard input too and shares the process group, so that Ctrl-C reaches it as it reaches us.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub fn start(command: &Command, around: &ChildContext<'_>, terminal: bool) -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
        let mut child = tokio::process::Command::new(&command.program);
        child.args(&command.args);
        if !terminal {
            child.process_group(0).stdin(Stdio::null());
        }
        set_environment(&mut child, command, around)?;
        let child = child.spawn().with_context(|| format!("could not start `{command}`"))?;
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child: std::cell::RefCell::new(Some(child)), leader })
    }

    /// Waits for its end and returns its exit status; None if a signal ended it.
    ///
    /// # Errors
    /// Fails if it cannot be waited for.
    pub async fn wait(&self) -> anyhow::Result<Option<i32>> {
        let child = self.child.borrow_mut().take();
        let mut child = child.context("it has been waited for already")?;
        Ok(child.wait().await?.code())
    }

    /// Sends it a signal.
    pub fn send(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            let _gone = rustix::process::kill_process(leader, signal);
        }
    }
}

/// Puts a process into a group that kills it all when we are gone, also by SIGKILL: the pipe that we hold then ends.
///
/// pg_basebackup needs it. It dies of its next line of progress, but the process that it forks to receive WAL does not notice that,
/// and writes on without end, with the slot in use. Where the process cannot be started, nothing is worse than without it.
fn kill_group_with_us(leader: u32) -> Option<tokio::process::Child> {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    let mut watch = tokio::process::Command::new("/bin/sh");
    watch.args(["-c", "read -r _ || kill -s KILL 0"]).env_clear();
    watch.process_group(i32::try_from(leader).ok()?);
    watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

/// Kills a process group when it is dropped.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// Takes charge of the group of this leader.
    pub(crate) fn of(leader: Option<Pid>) -> Self {
        Self(leader)
    }

    /// Lets the group live.
    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

pub(crate) fn set_environment(
    child: &mut tokio::process::Command,
    command: &Command,
    around: &ChildContext<'_>,
) -> anyhow::Result<()> {
    child.env_clear();
    for (name, value) in around.environment.into_iter().flat_map(Environment::variables) {
        let language = name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_");
        if !language && (around.inherit_pg || !name.starts_with("PG")) {
            child.env(name, value);
        }
    }
    child.env("LC_ALL", "C");
    child.envs(command.env.iter().map(|(name, value)| (name, value)));
    for (variable, name) in &command.secrets {
        let Some(secret) = around.secrets.get(name) else { bail!("the secret \"{name}\" is not known") };
        child.env(variable, secret.reveal());
    }
    Ok(())
}

fn open_log(path: &Path) -> anyhow::Result<(File, u64)> {
    let open = || -> std::io::Result<_> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let end = file.metadata()?.len();
        Ok((file, end))
    };
    open().with_context(|| format!("could not open log file \"{}\"", path.display()))
}

fn tail_of(file: &mut File, from: u64) -> std::io::Result<String> {
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES as u64))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn read_both(
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
    mut sink: impl FnMut(Stream, &[u8]),
) {
    let (mut stdout, mut stderr) = (stdout, stderr);
    let (mut out_buffer, mut err_buffer) = ([0; 8192], [0; 8192]);
    while stdout.is_some() || stderr.is_some() {
        tokio::select! {
            read = read_some(&mut stdout, &mut out_buffer) => match read {
                Some(bytes) => sink(Stream::Stdout, bytes),
                None => stdout = None,
            },
            read = read_some(&mut stderr, &mut err_buffer) => match read {
                Some(bytes) => sink(Stream::Stderr, bytes),
                None => stderr = None,
            },
        }
    }
}

/// Reads once; None at the end. A stream that has ended is never ready again.
async fn read_some<'b>(
    stream: &mut Option<impl AsyncRead + Unpin>,
    buffer: &'b mut [u8],
) -> Option<&'b [u8]> {
    match stream {
        Some(stream) => {
            let count = stream.read(buffer).await.unwrap_or(0);
            buffer.get(..count).filter(|bytes| !bytes.is_empty())
        }
        None => std::future::pending().await,
    }
}

/// Splits a stream into lines and keeps its end.
#[derive(Default)]
struct Lines {
    tail: Vec<u8>,
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut on_line: impl FnMut(&str)) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
        for byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                self.finish(&mut on_line);
            } else if self.line.len() < TAIL_BYTES {
                self.line.push(*byte);
            }
        }
    }

    /// Hands on the line that has begun, if there is one.
    fn finish(&mut self, mut on_line: impl FnMut(&str)) {
        if !self.line.is_empty() {
            on_line(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }

    fn text(mut self) -> String {
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn shell(script: &str) -> Command {
        Command::new("sh", ["-c", script])
    }

    fn environment() -> Environment {
        let path = "/usr/local/bin:/usr/bin:/bin";
        let pairs =
            [("PATH", path), ("LANG", "de_DE.UTF-8"), ("LANGUAGE", "de"), ("LC_TIME", "de"), ("PGHOST", "h")];
        Environment::from_pairs(pairs)
    }

    async fn run_in(command: &Command, inherit_pg: bool) -> Finished {
        let environment = environment();
        let secrets = BTreeMap::from([("node1".to_string(), Secret::new("open sesame"))]);
        let around = ChildContext { environment: Some(&environment), secrets, inherit_pg };
        run(command, &around).await.unwrap()
    }

    fn is_running(pid: &str) -> bool {
        // A killed orphan may stay a zombie until its parent reaps it.
        let stat = crate::system::files::text(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().next())
            .is_some_and(|state| state != "Z")
    }

    #[tokio::test]
    async fn a_child_speaks_english_and_sees_no_pg_variable_of_ours() {
        let script = "echo \"$LC_ALL|$LANG|$LANGUAGE|$LC_TIME|$PGHOST|$PGUSER|$PGPASSWORD\"";
        let mut command = shell(script);
        command.env.push(("PGUSER".into(), "u".into()));
        command.secrets.push(("PGPASSWORD".into(), "node1".into()));
        assert_eq!(run_in(&command, false).await.stdout, "C|||||u|open sesame\n");
        assert_eq!(run_in(&command, true).await.stdout, "C||||h|u|open sesame\n");
    }

    #[tokio::test]
    async fn an_error_quotes_the_command_line_and_standard_error_but_no_secret() {
        let mut command = shell("echo 'pg_ctl: no such process' >&2; exit 3");
        command.secrets.push(("PGPASSWORD".into(), "node1".into()));
        let error = run_in(&command, false).await.success().unwrap_err().to_string();
        let expected = "`sh -c 'echo '\\''pg_ctl: no such process'\\'' >&2; exit 3'` exited with status 3\n--- stderr\n\
                        pg_ctl: no such process";
        assert_eq!(error, expected);
        let killed = run_in(&shell("kill -9 $$"), false).await;
        assert!(killed.to_string().ends_with("was killed by signal 9"), "{killed}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error =
            run(&Command::new("/nowhere/pg_ctl", ["stop"]), &ChildContext::default()).await.unwrap_err();
        assert!(
            format!("{error:#}").starts_with("could not start `/nowhere/pg_ctl stop`: No such file"),
            "{error:#}"
        );
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_child_and_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!("sleep 60 & echo $! $$ >{}; wait", pids.display());
        {
            let command = shell(&script);
            let environment = environment();
            let around = ChildContext { environment: Some(&environment), ..ChildContext::default() };
            let running = run(&command, &around);
            let written = async {
                while !crate::system::files::text(&pids).is_ok_and(|text| text.ends_with('\n')) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! { _ = running => panic!("it was to sleep"), () = written => {} }
        }
        let pids = crate::system::files::text(&pids).unwrap();
        for pid in pids.split_whitespace() {
            while is_running(pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[tokio::test]
    async fn what_a_child_leaves_running_on_purpose_is_not_killed_and_not_waited_for() {
        let begun = std::time::Instant::now();
        let finished = run_in(&shell("sleep 30 & echo $!"), false).await;
        assert!(begun.elapsed() < Duration::from_secs(10));
        let pid = finished.stdout.trim();
        assert!(is_running(pid));
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn progress_lines_end_with_carriage_returns_too() {
        let command = shell("printf '1%%\\r2%%\\r\\n'; printf 'end' >&2");
        let environment = environment();
        let around = ChildContext { environment: Some(&environment), ..ChildContext::default() };
        let mut lines = Vec::new();
        run_watched(&command, &around, |stream, line| lines.push((stream, line.to_string()))).await.unwrap();
        lines.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
        let expected = [(Stream::Stdout, "1%"), (Stream::Stdout, "2%"), (Stream::Stderr, "end")];
        assert_eq!(lines, expected.map(|(stream, line)| (stream, line.to_string())));
    }

    #[tokio::test]
    async fn of_a_long_output_the_end_is_kept() {
        let finished = run_in(&shell("seq 1 100000"), false).await;
        assert_eq!(finished.stdout.len(), TAIL_BYTES);
        assert!(finished.stdout.ends_with("99999\n100000\n"));
    }

    #[tokio::test]
    async fn output_goes_to_a_log_file_and_an_error_quotes_what_was_added() {
        let directory = tempfile::tempdir().unwrap();
        let log: PathBuf = directory.path().join("start.log");
        let command = |script| Command { log: Some(log.clone()), ..shell(script) };
        run_in(&command("echo before"), false).await.success().unwrap();
        let failed = run_in(&command("echo now; exit 1"), false).await;
        assert_eq!((failed.stdout.as_str(), failed.stderr.as_str()), ("", "now\n"));
        assert_eq!(crate::system::files::text(&log).unwrap(), "before\nnow\n");
    }
}
