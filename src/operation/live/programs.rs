//! The programs that a plan runs: those that are waited for, those that start a server, and those that are left to themselves.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Live;
use super::progress::Progress;
use crate::error::{Error, Exit, sentence};
use crate::facts::directory::Starting;
use crate::facts::start_log;
use crate::pg::provenance;
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process::{self, Stream};

impl Live<'_> {
    /// Does what a program needs that starts or stops a server: keeps where its messages go, and makes its log ready.
    fn ready(&self, command: &Command) -> Result<(), Error> {
        let state = self.context.state_directory()?;
        if let Some(data) = &command.stops {
            start_log::note(data, &state);
        }
        let Some(log) = &command.log else { return Ok(()) };
        start_log::prepare(log, &state).map_err(|error| not_run(&error))
    }

    /// Starts a program without waiting for it.
    pub(super) fn spawn(&self, command: &Command) -> Result<(), Error> {
        self.ready(command)?;
        let setting = process::ChildContext {
            environment: Some(&self.context.environment),
            secrets: Secrets::new(),
            inherit_pg: true,
        };
        let begun = process::spawn(command, &setting).map_err(|error| {
            Error::new(Exit::LocalCommand, "a program could not be started")
                .detail(sentence(&format!("{error:#}")))
        })?;
        self.begun.replace(Some(begun));
        Ok(())
    }

    /// Runs a program and returns the end of its standard output.
    pub(super) async fn run(&self, command: &Command) -> Result<String, Error> {
        self.ready(command)?;
        let mut command = command.clone();
        command.env.extend(provenance::pin_destination(&mut command.args, &self.context.environment));
        let command = &command;
        let mut secrets = Secrets::new();
        for (_, name) in &command.secrets {
            secrets.insert(name.clone(), self.secret(name)?);
        }
        let setting =
            process::ChildContext { environment: Some(&self.context.environment), secrets, inherit_pg: true };
        self.context.debug(&command.to_string());
        let last_news = RefCell::new(Instant::now());
        let progress = RefCell::new(Progress::default());
        let transfer = command.silent_at_most_s.map(|_| self.context.ui.transfer());
        let running = process::run_watched(command, &setting, |stream, line| {
            if stream == Stream::Stderr
                && let Some(transfer) = &transfer
                && progress.borrow_mut().take(line)
            {
                *last_news.borrow_mut() = Instant::now();
                let Progress { done_kb, total_kb } = *progress.borrow();
                transfer.advance(done_kb * 1024, total_kb * 1024);
            }
        });
        let finished = match (command.silent_at_most_s, &command.starts) {
            (None, None) => running.await,
            (None, Some(data_directory)) => return start(command, &setting, data_directory).await,
            (Some(seconds), _) => {
                let silent = async {
                    loop {
                        let until = *last_news.borrow() + Duration::from_secs(u64::from(seconds));
                        tokio::time::sleep_until(until).await;
                        if *last_news.borrow() + Duration::from_secs(u64::from(seconds)) <= Instant::now() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    finished = running => finished,
                    () = silent => {
                        return Err(Error::new(Exit::LocalCommand, "the program makes no progress")
                            .detail(format!("`{command}` printed nothing new for {seconds} seconds and was terminated.")));
                    }
                }
            }
        };
        let finished = finished.map_err(|error| not_run(&error))?;
        succeeded(command, &finished)?;
        Ok(finished.stdout)
    }
}

/// How often is looked whether a server that is being started is ready.
const READY: Duration = Duration::from_millis(10);

/// Runs a program that starts a server, until the server is ready: pg_ctl looks for that every 100 ms only.
async fn start(
    command: &Command,
    setting: &process::ChildContext<'_>,
    data_directory: &Path,
) -> Result<String, Error> {
    let starting = Starting::of(data_directory);
    let begun = process::spawn(command, setting).map_err(|error| not_run(&error))?;
    loop {
        match begun.ended() {
            Some(finished) => return succeeded(command, finished).map(|()| finished.stdout.clone()),
            None if starting.is_over() => return Ok(String::new()),
            None => sleep(READY).await,
        }
    }
}

fn not_run(error: &anyhow::Error) -> Error {
    Error::new(Exit::LocalCommand, "a program could not be run").detail(sentence(&format!("{error:#}")))
}

/// Fails if a program has failed, with the last that it said.
fn succeeded(command: &Command, finished: &process::Finished) -> Result<(), Error> {
    if finished.status.success() {
        return Ok(());
    }
    let worth_telling =
        |line: &&str| !Progress::is_one(line) && !line.trim().is_empty() && *line != "waiting for checkpoint";
    let said: Vec<&str> = finished.stderr.lines().filter(worth_telling).collect();
    let said = said.iter().rev().take(6).rev().copied().collect::<Vec<_>>().join("\n");
    let name = Path::new(&command.program)
        .file_name()
        .map_or_else(|| command.program.clone(), |name| name.to_string_lossy().into_owned());
    let how = match finished.status.code() {
        Some(code) => format!("It exited with status {code}"),
        None => "It was killed by a signal".to_string(),
    };
    let detail = sentence(&if said.is_empty() { how } else { format!("{how}: {said}") });
    Err(Error::new(Exit::LocalCommand, format!("program \"{name}\" failed")).detail(detail))
}
