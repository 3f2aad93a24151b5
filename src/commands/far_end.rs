//! `far-end`: what pgbaton on another host talks to. Serves requests on standard input for the node of its configuration file.
//!
//! What has begun is finished, whatever becomes of the channel. A far end that was given a rollback carries it out by itself if the channel
//! closes, or stops responding, before it has reported that its server is shut down: then no other command can have promoted another
//! server, and no other process may be left to start this one. With that reported, the decision is the coordinator's.

mod hello;
mod secure;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, Lines};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use self::hello::hello;
use crate::commands::cluster::matrix;
use crate::context::{Context, not_connected};
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::directory::stays_down;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::facts::source;
use crate::far_end::protocol::{BEAT, Call, ConfigurationFile, Frame, Reply, ResponseLine, SILENCE, VOID};
use crate::observe::{discovery, hosts, replication_login};
use crate::operation::live::Live;
use crate::operation::outcome::World as _;
use crate::operation::run::effect::run_single_step;
use crate::output::{Data, Report};
use crate::pg::control_file;
use crate::plan::keep_down::AsStandby;
use crate::plan::{FileOp, Op, Step, could_not};
use crate::secret::{Secret, Secrets};
use crate::site::state_directory;
use crate::system::lock::{LocalLock, LocalLockHolder};
use crate::system::{clock, files, inspect};
use crate::ui::Level;

/// How long it is waited for that the other nodes are known, before there is anything to do for a far end that is left alone.
const LEARNS: Duration = Duration::from_secs(2);

/// Seconds that a far end that was left alone waits for a running shutdown to end, before it gives the server up.
const SHUTDOWN_S: u32 = 3600;

/// Serves the pgbaton that has started this one, until it closes the channel.
///
/// # Errors
/// Exit code 1 without a usable configuration; after the first answer none: whatever fails is an answer.
pub async fn run(context: &Context) -> Result<Report> {
    let served = Served {
        context,
        state_directory: context.state_directory()?,
        // From here on signals end nothing any more.
        live: Live::new(context, Secrets::new())?,
        lock: RefCell::default(),
        armed: RefCell::default(),
        confirmed: Cell::new(false),
        acted: Cell::new(false),
        heard: Cell::new(clock::since_boot()),
        void: Cell::new(false),
        wrote_signal: RefCell::default(),
        learned: Notify::new(),
        is_learning: Cell::new(false),
    };
    let lines = BufReader::new(tokio::io::stdin()).lines();
    served.serve(lines, tokio::io::stdout()).await;
    if served.acted.get() {
        // The coordinator has seen the cluster as it is now, and this host would go on believing what was before. Asking is remembering.
        drop(served);
        let _none = discovery::cluster(context).await;
    }
    Ok(Report::new(Data::Nothing))
}

/// The node that is served, and what was agreed upon with the coordinator.
struct Served<'a> {
    context: &'a Context,
    state_directory: PathBuf,
    live: Live<'a>,
    lock: RefCell<Option<LocalLock>>,
    armed: RefCell<Vec<Step>>,
    /// The coordinator may know that the server is shut down.
    confirmed: Cell<bool>,
    /// Something was done here.
    acted: Cell<bool>,
    /// When the coordinator was last heard.
    heard: Cell<Duration>,
    /// It was silent for too long: what it requests is no longer changed.
    void: Cell<bool>,
    /// There was no `standby.signal`, and this process has written one by itself to make certain that the server does not become a primary.
    wrote_signal: RefCell<Option<AsStandby>>,
    /// The other nodes have been asked who they are, as long as our own server can name them.
    learned: Notify,
    is_learning: Cell<bool>,
}

/// Requests that are being worked on.
type Working<'a> = FuturesUnordered<Abortable<LocalBoxFuture<'a, Option<(u64, Answer)>>>>;

/// Names work that is no longer waited for.
const UNASKED: u64 = u64::MAX;

/// An answer, and whether it says that the server is shut down.
struct Answer {
    reply: Reply,
    confirms: bool,
}

impl Served<'_> {
    async fn serve(&self, mut lines: Lines<impl AsyncBufRead + Unpin>, mut out: impl AsyncWrite + Unpin) {
        let mut working: Working<'_> = FuturesUnordered::new();
        // Those that only look can be dropped with the channel; those that do something cannot.
        let mut handles: BTreeMap<u64, (AbortHandle, bool)> = BTreeMap::new();
        loop {
            tokio::select! {
                line = lines.next_line() => {
                    let Ok(Some(line)) = line else { break };
                    let is_gone = self.silence() >= SILENCE;
                    self.note_contact();
                    match serde_json::from_str(&line) {
                        Ok(Frame::Call { number, call }) if self.void.get() && call.has_effect() => {
                            let void = Answer { reply: Reply::Void, confirms: false };
                            if !self.write(&mut out, number, void).await {
                                break;
                            }
                        }
                        Ok(Frame::Call { number, call }) => {
                            let acts = matches!(call, Call::Perform { .. });
                            let (handle, registration) = AbortHandle::new_pair();
                            handles.insert(number, (handle, acts));
                            let takes_part = matches!(call, Call::Lock { .. });
                            let work: LocalBoxFuture<'_, _> =
                                Box::pin(async move { Some((number, self.answer(call).await)) });
                            working.push(Abortable::new(work, registration));
                            if takes_part {
                                // Left alone, it has to ask the other nodes: now it can learn of them from its own server.
                                let (handle, registration) = AbortHandle::new_pair();
                                handles.insert(UNASKED, (handle, false));
                                self.is_learning.set(true);
                                let work: LocalBoxFuture<'_, _> = Box::pin(async {
                                    let _none = discovery::cluster(self.context).await;
                                    self.is_learning.set(false);
                                    self.learned.notify_waiters();
                                    None
                                });
                                working.push(Abortable::new(work, registration));
                            }
                        }
                        Ok(Frame::Cancel { number }) => {
                            if let Some((handle, _)) = handles.remove(&number) {
                                handle.abort();
                            }
                        }
                        Ok(Frame::Beat) => {}
                        Err(error) => {
                            self.context.ui.say(Level::Error, &format!("cannot understand the coordinator: {error}"));
                            break;
                        }
                    }
                    // What waited here while this process, or its host, was stopped is as old as the silence before it.
                    if is_gone {
                        break;
                    }
                }
                Some(ended) = working.next() => {
                    let Ok(Some((number, answer))) = ended else { continue };
                    handles.remove(&number);
                    if !self.write(&mut out, number, answer).await {
                        break;
                    }
                }
                () = sleep(BEAT) => {
                    if self.silence() >= SILENCE {
                        self.context.ui.say(Level::Warning, "the coordinator does not respond");
                        break;
                    }
                }
            }
        }
        // From here on nothing is answered: a caller that still asks must not believe that it can be done.
        for (handle, acts) in handles.values() {
            if !acts {
                handle.abort();
            }
        }
        while working.next().await.is_some() {}
        if self.would_go_back() {
            self.go_back().await;
        }
    }

    /// How long nothing was heard of the coordinator, on a clock that goes on while this process or its host is stopped.
    fn silence(&self) -> Duration {
        clock::since_boot().saturating_sub(self.heard.get())
    }

    /// Takes note that the coordinator was heard, and of how long it was not.
    fn note_contact(&self) {
        self.void.set(self.void.get() || self.silence() > VOID);
        self.heard.set(clock::since_boot());
    }

    fn would_go_back(&self) -> bool {
        !self.confirmed.get() && !self.armed.borrow().is_empty()
    }

    /// Writes an answer; false if the reader is gone.
    async fn write(&self, out: &mut (impl AsyncWrite + Unpin), number: u64, answer: Answer) -> bool {
        let Ok(mut line) = serde_json::to_string(&ResponseLine { number, reply: answer.reply }) else {
            return false;
        };
        line.push('\n');
        if out.write_all(line.as_bytes()).await.is_err() || out.flush().await.is_err() {
            return false;
        }
        // What was written may have been read, even if the channel closes the moment after.
        self.confirmed.set(self.confirmed.get() || answer.confirms);
        true
    }

    async fn answer(&self, call: Call) -> Answer {
        let mut confirms = false;
        // It may have waited behind another request, or this process was stopped since it was read.
        if call.has_effect() && (self.void.get() || self.silence() > VOID) {
            return Answer { reply: Reply::Void, confirms };
        }
        let reply = match call {
            Call::Hello => Reply::Hello(Box::new(hello(self.context, &self.state_directory).await)),
            Call::Lock { command } => done(self.take_lock(command).await.map(|()| None)),
            Call::Perform { step, secrets } => {
                self.live.learn(secrets);
                done(self.perform(&step).await)
            }
            Call::Holds { probe, secrets } => {
                self.live.learn(secrets);
                match self.live.holds(&probe).await {
                    Ok(holds) => {
                        confirms = holds && probe.confirms_shutdown();
                        Reply::Holds(holds)
                    }
                    Err(error) => no_answer(&error),
                }
            }
            Call::Login { upstream } => match replication_login::to_follow(self.context, &upstream).await {
                Ok(()) => Reply::Done { note: None },
                Err(no) => Reply::Failed(Error::new(Exit::Connection, no.why).into()),
            },
            Call::ShutdownPosition { data_directory } => {
                match control_file::shutdown_position(&data_directory) {
                    Ok(position) => {
                        confirms = position.is_some();
                        Reply::Position(position)
                    }
                    Err(error) => no_answer(&error),
                }
            }
            Call::ConfigurationFile { path } => match self.configuration_file(&path).await {
                Ok(file) => Reply::File(file),
                Err(error) => Reply::Failed(error.into()),
            },
            Call::Look { question } => match hosts::look_here(self.context, &question).await {
                Ok(host) => Reply::Host(Box::new(host)),
                Err(error) => Reply::Failed(error.into()),
            },
            Call::Row { targets, within_s, of } => {
                let within = Duration::from_secs(within_s);
                match matrix::row(self.context, &targets, within, of.as_deref()).await {
                    Ok(tried) => Reply::Row(tried),
                    Err(error) => Reply::Failed(error.into()),
                }
            }
            Call::Arm { rollback, secrets } => {
                if self.is_learning.get() {
                    // What it would do alone it does only after it has asked them.
                    let _late = timeout(LEARNS, self.learned.notified()).await;
                }
                self.live.learn(secrets);
                self.armed.replace(rollback);
                Reply::Done { note: None }
            }
            Call::Disarm => {
                self.armed.take();
                Reply::Done { note: None }
            }
            Call::Confirm { data_directory } => match stays_down(&data_directory) {
                Ok(holds) => {
                    if holds {
                        self.armed.take();
                    }
                    confirms = holds;
                    Reply::Holds(holds)
                }
                Err(error) => no_answer(&error),
            },
            Call::Ping => Reply::Done { note: None },
            Call::Secure { command, only_look, only_hold } => {
                match self.secure(command, only_look, only_hold).await {
                    Ok(secured) => Reply::Secured(secured),
                    Err(error) => Reply::Failed(error.into()),
                }
            }
            Call::Unsecure => done(self.unsecure().await),
            Call::Release => {
                self.armed.take();
                self.lock.take();
                Reply::Done { note: None }
            }
        };
        Answer { reply, confirms }
    }

    /// Reads a file that our own server reads its configuration from.
    async fn configuration_file(&self, path: &str) -> Result<ConfigurationFile> {
        let name = &self.context.config()?.node_name;
        let own = self.context.local_conninfo()?;
        let session = self.context.connect(&own).await.map_err(|error| not_connected("the server", error))?;
        let uses = source::uses_file(&session, path).await.map_err(|error| {
            Error::new(Exit::Query, "could not query the server for its configuration files")
                .detail(sentence(&error.to_string()))
        })?;
        if !uses {
            return Err(Error::failed(format!(
                "the server of node \"{name}\" does not read its configuration from \"{path}\""
            )));
        }
        let file = Path::new(path);
        let (contents, mode) = files::read_text(file).map_err(|error| {
            Error::new(Exit::LocalCommand, "a file cannot be read").detail(sentence(&format!("{error:#}")))
        })?;
        Ok(ConfigurationFile { contents: Secret::new(contents), mode, owner: inspect::owner(file) })
    }

    async fn take_lock(&self, command: String) -> Result<()> {
        if self.lock.borrow().is_some() {
            return Ok(());
        }
        let me = LocalLockHolder { pid: std::process::id(), command, started_at: clock::now() };
        let lock = state_directory::lock_as(self.context, &me).await?;
        self.lock.replace(Some(lock));
        Ok(())
    }

    async fn perform(&self, step: &Step) -> Result<Option<String>> {
        if matches!(step.op, Op::Wait(_)) {
            return Err(Error::new(Exit::Internal, "a far end was requested to wait"));
        }
        self.acted.set(true);
        if let Op::File(FileOp::RemoveFile { path }) = &step.op
            && let Some(data) = path.parent().filter(|_| path.ends_with(STANDBY_SIGNAL))
        {
            self.live.may_be_primary(data).await?;
        }
        let bound = Duration::from_secs(u64::from(step.timeout_s));
        timeout(bound, self.live.perform(step)).await.unwrap_or_else(|_| {
            Err(Error::new(step.exit, could_not(&step.title))
                .detail(format!("It did not finish within {} s.", step.timeout_s)))
        })
    }

    /// Carries out every step of the rollback and writes the results to a log: the coordinator is gone.
    async fn go_back(&self) {
        let ui = &self.context.ui;
        let _none = state_directory::prepare_state_directory(&self.state_directory);
        let _none = ui.log_to(&self.state_directory.join("far-end.log"));
        ui.say(
            Level::Warning,
            "the channel to the coordinator was closed before the shutdown was reported; rolling back",
        );
        let steps = self.armed.take();
        for step in &steps {
            let mut patient = step.clone();
            if matches!(step.op, Op::RestartAsPrimary { .. }) {
                // A shutdown that goes on has to end first, however long it takes.
                patient.timeout_s = patient.timeout_s.max(SHUTDOWN_S);
            }
            match run_single_step(&self.live, &patient).await {
                None => ui.say(Level::Notice, &format!("already done: {}", step.title)),
                Some(Ok(_)) => ui.say(Level::Notice, &format!("done: {}", step.title)),
                Some(Err(error)) => ui.message(
                    Level::Error,
                    &could_not(&step.title),
                    Some(&sentence(&error.to_string())),
                    error.hint.as_deref(),
                ),
            }
        }
        ui.say(Level::Notice, "the rollback has ended");
    }
}

fn done(result: Result<Option<String>>) -> Reply {
    match result {
        Ok(note) => Reply::Done { note },
        Err(error) => Reply::Failed(error.into()),
    }
}

fn no_answer(error: &anyhow::Error) -> Reply {
    Reply::Failed(Error::new(Exit::LocalCommand, format!("{error:#}")).into())
}
