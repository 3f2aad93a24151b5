//! The live world: where the effects and questions of a plan become connections, processes and files.

mod far_ends;
mod look;
mod rejoin;
mod roles;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::context::{Context, not_connected};
use crate::error::{Error, Exit, Hopeless, sentence};
use crate::facts::directory::{Starting, is_ready, running_postmaster};
use crate::facts::rejoin::{STANDBY_SIGNAL, is_half_rewound};
use crate::facts::start_log;
use crate::far_end::remote::Remote;
use crate::journal::{Flush, Header, Journal, Record};
use crate::observe::under_locks::Held;
use crate::operation::event_hook::{Happening, notify};
use crate::operation::outcome::{Narration, World, explanation};
use crate::operation::run::Signal;
use crate::operation::wait::POLL;
use crate::pg::client::{Session, SqlError, SqlErrorKind};
use crate::pg::conninfo::{Conninfo, quote_value};
use crate::pg::control_file::{self, ControlState, ShutdownPosition};
use crate::pg::endpoint::Endpoint;
use crate::pg::failure::Answered;
use crate::pg::provenance;
use crate::pg::statement::Statement;
use crate::pg::wal::Wal;
use crate::plan::parts::settings;
use crate::plan::{Op, Piece, Plan, Probe, Request, Scope, Setting, Step, could_not};
use crate::registry::operation;
use crate::secret::{Secret, Secrets};
use crate::system::command::Command;
use crate::system::files;
use crate::system::process::{self, Stream};
use crate::system::signals::Signals;
use crate::ui::Level;
use crate::units::size;

pub use far_ends::FarEnds;

/// The world as it is.
#[derive(Debug)]
pub struct Live<'a> {
    context: &'a Context,
    journal: RefCell<Option<Journal>>,
    secrets: RefCell<Secrets>,
    signals: Signals,
    /// Sessions that are idle, by server. A new connection costs more than most questions.
    idle: RefCell<BTreeMap<String, Vec<Session>>>,
    /// The program that was begun last and left to itself.
    begun: RefCell<Option<process::Begun>>,
    far_ends: FarEnds,
    /// The sessions that hold the nodes' locks, by node id.
    held: RefCell<BTreeMap<i32, Session>>,
    /// The nodes where the role may read files.
    read_files: RefCell<BTreeSet<i32>>,
    /// The hosts that speak for nodes without such a session, by node id.
    hosts: RefCell<BTreeMap<i32, Rc<Remote>>>,
    /// Since when something holds, and when it was asked last, by the question.
    lasting: RefCell<BTreeMap<String, (Instant, Instant)>>,
    /// What a question over one of them took, measured before the outage.
    round_trip: Cell<Duration>,
    /// When the other nodes were looked at last, on a clock that goes on while this process or its host is stopped.
    looked: Cell<Option<Duration>>,
    /// The operation that is carried out.
    operation: RefCell<Option<(String, String, i32)>>,
}

impl<'a> Live<'a> {
    /// Opens the world; from here on signals no longer end the process by themselves.
    ///
    /// # Errors
    /// Exit code 15 if the system refuses signal handlers.
    pub fn new(context: &'a Context, secrets: Secrets) -> Result<Self, Error> {
        let signals = Signals::take_over()
            .map_err(|error| Error::from_cause(Exit::Internal, "could not take over signals", &error))?;
        Ok(Self {
            context,
            journal: RefCell::default(),
            secrets: RefCell::new(secrets),
            signals,
            idle: RefCell::default(),
            begun: RefCell::default(),
            far_ends: FarEnds::default(),
            held: RefCell::default(),
            read_files: RefCell::default(),
            hosts: RefCell::default(),
            lasting: RefCell::default(),
            round_trip: Cell::default(),
            looked: Cell::default(),
            operation: RefCell::default(),
        })
    }

    /// Says which operation is carried out, for its record in the cluster.
    #[must_use]
    pub fn of(mut self, header: &Header) -> Self {
        let Header { operation_id, command, node_id, .. } = header;
        self.operation = RefCell::new(Some((operation_id.clone(), command.clone(), *node_id)));
        self
    }

    /// Adds the sessions that hold the nodes' locks: what is decided last is asked, and requested, over them.
    #[must_use]
    pub fn holding(mut self, held: &Held) -> Self {
        self.held = RefCell::new(held.sessions().map(|(id, session)| (id, session.clone())).collect());
        self.hosts = RefCell::new(held.hosts.clone());
        let reads =
            held.facts.nodes.iter().filter(|node| node.facts().is_some_and(|server| server.reads_files));
        self.read_files = RefCell::new(reads.map(|node| node.row.node_id).collect());
        self
    }

    /// Keeps a journal of what happens.
    #[must_use]
    pub fn writing(mut self, journal: Journal) -> Self {
        self.journal = RefCell::new(Some(journal));
        self
    }

    /// Adds the hosts of other nodes to this world.
    #[must_use]
    pub fn with(mut self, far_ends: FarEnds) -> Self {
        self.far_ends = far_ends;
        self
    }

    /// Ends the work with the hosts of other nodes.
    pub async fn release(&self) {
        self.far_ends.release().await;
    }

    /// Adds secrets to those that are known.
    pub fn learn(&self, secrets: Secrets) {
        self.secrets.borrow_mut().extend(secrets);
    }

    /// Returns who carries out what is to happen at a node; None for this process itself.
    fn elsewhere(&self, node_id: Option<i32>) -> Result<Option<&Remote>, Error> {
        let Some(node_id) = node_id else { return Ok(None) };
        match self.far_ends.get(node_id) {
            Some(remote) => Ok(Some(remote)),
            None if self.context.config().is_ok_and(|config| config.node_id == node_id) => Ok(None),
            None => Err(Error::new(
                Exit::Remote,
                format!("there is no channel to pgbaton on the host of node {node_id}"),
            )),
        }
    }

    fn secret(&self, name: &str) -> Result<Secret, Error> {
        self.secrets.borrow().get(name).cloned().ok_or_else(|| {
            Error::new(Exit::Internal, format!("\"{name}\" is no longer known"))
                .detail("It was given on the command line or in the environment of the command that began the operation, and is not \
                    stored.")
                .hint("Run the original command again.")
        })
    }

    /// Returns a session on a server: one that is open already, or a new one. The caller returns it after use, unless there was an error.
    async fn session(&self, on: &Endpoint) -> Result<Session, Error> {
        match self.idle(on) {
            Some(session) => Ok(session),
            None => self.connect(on).await,
        }
    }

    /// Takes a session that is not in use.
    fn idle(&self, on: &Endpoint) -> Option<Session> {
        let pop = || self.idle.borrow_mut().get_mut(&key(on)).and_then(Vec::pop);
        std::iter::from_fn(pop).find(|session| !session.is_closed())
    }

    /// Keeps a session for the next question.
    fn put_back(&self, on: &Endpoint, session: Session) {
        self.idle.borrow_mut().entry(key(on)).or_default().push(session);
    }

    /// Opens the sessions that the outage needs, ahead of it. Where it fails, the step itself will try, and say why it cannot.
    pub async fn warm_up(&self, plan: &Plan) {
        let outages = plan.phases.iter().filter(|phase| phase.outage);
        let mut servers: Vec<&Endpoint> = Vec::new();
        for step in outages.flat_map(|phase| &phase.steps) {
            let (Op::Sql { on, .. } | Op::Promote { on, .. } | Op::Wait(Probe::HasAll { on, .. })) = &step.op
            else {
                continue;
            };
            if !servers.contains(&on) {
                servers.push(on);
            }
        }
        for on in servers {
            if let Ok(session) = self.connect(on).await {
                self.put_back(on, session);
            }
        }
        // What one question takes there and back, for the bounds inside the outage.
        let held: Vec<Session> = self.held.borrow().values().cloned().collect();
        let asked = join_all(held.iter().map(async |session| {
            let begun = Instant::now();
            session.query_one("SELECT 1", &[]).await.ok().map(|_| begun.elapsed())
        }));
        self.round_trip.set(asked.await.into_iter().flatten().max().unwrap_or_default());
    }

    async fn connect(&self, on: &Endpoint) -> Result<Session, Error> {
        self.context.connect(&self.conninfo(on)?).await.map_err(|error| {
            let mut error = not_connected(&on.name, error);
            error.no_effect = true;
            error
        })
    }

    /// Returns where a server is, passwords included.
    fn conninfo(&self, on: &Endpoint) -> Result<Conninfo, Error> {
        let secret = on.secret.as_ref().map(|name| self.secret(name)).transpose()?;
        let text = secret.as_ref().map_or(on.conninfo.as_str(), Secret::reveal);
        Conninfo::parse(text).map_err(|error| {
            Error::new(Exit::Connection, format!("invalid connection string for {}", on.name))
                .detail(sentence(&error.to_string()))
        })
    }

    /// Returns a statement with its secrets filled in.
    fn filled(&self, statement: &Statement) -> Result<Statement, Error> {
        let mut filled = statement.clone();
        for (index, name) in &statement.secrets {
            if let Some(param) = filled.params.get_mut(*index) {
                *param = Some(self.secret(name)?.reveal().to_string());
            }
        }
        Ok(filled)
    }

    /// Runs statements on a server, in one transaction if there are several: some, as VACUUM, must be alone.
    ///
    /// # Errors
    /// Exit code 6 without a connection, 7 if a statement fails.
    pub async fn sql(&self, on: &Endpoint, statements: &[Statement], timeout_s: u32) -> Result<(), Error> {
        let session = self.session(on).await?;
        let statements =
            statements.iter().map(|statement| self.filled(statement)).collect::<Result<Vec<_>, _>>()?;
        let bound = Duration::from_secs(u64::from(timeout_s));
        let session_within = session.within(bound);
        // One statement is its own transaction: ALTER SYSTEM and CREATE DATABASE run in no other.
        let run = match statements.as_slice() {
            [one] => {
                let params: Vec<Option<&str>> = one.params.iter().map(Option::as_deref).collect();
                session_within.execute(&one.text, &params).await.map(drop)
            }
            several => session_within.transaction(several).await,
        };
        run.map_err(|error| sql_failed(on, error))?;
        self.put_back(on, session);
        Ok(())
    }

    /// Does what a program needs that starts or stops a server: keeps where its messages go, and makes its log ready.
    fn ready(&self, command: &Command) -> Result<(), Error> {
        let state = self.context.state_directory()?;
        if let Some(data) = &command.stops {
            start_log::note(data, &state);
        }
        let Some(log) = &command.log else { return Ok(()) };
        start_log::prepare(log, &state).map_err(|error| not_run(&error))
    }

    /// Records that the operation begins.
    async fn announce(
        &self,
        on: &Endpoint,
        prepare: &[Statement],
        scope: Option<&Scope>,
        timeout_s: u32,
    ) -> Result<(), Error> {
        let Some((id, command, node_id)) = self.operation.borrow().clone() else { return Ok(()) };
        let mut statements = prepare.to_vec();
        statements.push(operation::begun(&id, &command, node_id, scope));
        self.sql(on, &statements, timeout_s).await
    }

    /// Starts a program without waiting for it.
    fn begin(&self, command: &Command) -> Result<(), Error> {
        self.ready(command)?;
        let setting = process::Surroundings {
            environment: Some(&self.context.environment),
            secrets: Secrets::new(),
            inherit_pg: true,
        };
        let begun = process::begin(command, &setting).map_err(|error| {
            Error::new(Exit::LocalCommand, "a program could not be started")
                .detail(sentence(&format!("{error:#}")))
        })?;
        self.begun.replace(Some(begun));
        Ok(())
    }

    /// Runs a program and returns the end of its standard output.
    async fn run(&self, command: &Command) -> Result<String, Error> {
        self.ready(command)?;
        let mut command = command.clone();
        command.env.extend(provenance::keep_to_it(&mut command.args, &self.context.environment));
        let command = &command;
        let mut secrets = Secrets::new();
        for (_, name) in &command.secrets {
            secrets.insert(name.clone(), self.secret(name)?);
        }
        let setting =
            process::Surroundings { environment: Some(&self.context.environment), secrets, inherit_pg: true };
        self.context.debug(&command.to_string());
        let last_news = RefCell::new(Instant::now());
        let progress = RefCell::new(Progress::default());
        let ui = &self.context.ui;
        let running = process::run_watched(command, &setting, |stream, line| {
            if stream == Stream::Stderr
                && command.silent_at_most_s.is_some()
                && progress.borrow_mut().take(line)
            {
                *last_news.borrow_mut() = Instant::now();
                ui.progress(&progress.borrow().to_string());
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

    /// Asks a server for one value, which is text or NULL.
    async fn value_of(
        &self,
        on: &Endpoint,
        sql: &str,
        params: &[Option<&str>],
    ) -> anyhow::Result<Option<String>> {
        let session = self.session(on).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let row = session.query_one(sql, params).await?;
        self.put_back(on, session);
        Ok(row.get(0).map(str::to_string))
    }

    /// Says whether a server does not answer once in so long. An error that it sends is an answer.
    async fn is_silent(&self, on: &Endpoint, conninfo: &Conninfo, within: Duration) -> bool {
        let answers = async {
            while !self.answers(on, conninfo).await {
                sleep(POLL.1).await;
            }
        };
        timeout(within, answers).await.is_err()
    }

    async fn answers(&self, on: &Endpoint, conninfo: &Conninfo) -> bool {
        let mut session = self.idle(on);
        if session.is_none() {
            // Another question may be using it, and a login can take longer than a server may be silent.
            sleep(POLL.1).await;
            session = self.idle(on);
        }
        let session = match session {
            Some(session) => session,
            None => match self.context.connect(conninfo).await {
                Ok(session) => session,
                Err(error) => return error.answered == Answered::Spoke,
            },
        };
        match session.query_one("SELECT 'here'", &[]).await {
            Ok(_) => {
                self.put_back(on, session);
                true
            }
            Err(error) => error.kind == SqlErrorKind::Server,
        }
    }

    /// Returns where the WAL of a server ends that was shut down cleanly; None for one that was not.
    async fn shutdown_position(
        &self,
        node_id: Option<i32>,
        data_directory: &Path,
    ) -> anyhow::Result<Option<ShutdownPosition>> {
        match self.elsewhere(node_id)? {
            None => control_file::shutdown_position(data_directory),
            Some(remote) => {
                let mode = self.far_ends.mode();
                let said = remote.shutdown_position(data_directory, mode).await;
                said.map_err(|error| remote.unanswered(error, mode))
            }
        }
    }

    /// Takes note of an answer, and returns for how long it has been yes. A question that was left for a while begins again.
    fn lasts(&self, probe: &Probe, holds: bool) -> Duration {
        let mut lasting = self.lasting.borrow_mut();
        let now = Instant::now();
        if !holds {
            lasting.remove(&probe.to_string());
            return Duration::ZERO;
        }
        let entry = lasting.entry(probe.to_string()).or_insert((now, now));
        if now - entry.1 > ASKED_AGAIN {
            entry.0 = now;
        }
        entry.1 = now;
        now - entry.0
    }

    /// Returns the text of a setting's value, secrets included.
    fn value(&self, setting: &Setting) -> Result<String, Error> {
        let mut out = String::new();
        for piece in &setting.value {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Secret(name) => out.push_str(&quote_value(self.secret(name)?.reveal())),
            }
        }
        Ok(out)
    }

    pub(crate) async fn file_op(&self, op: &Op) -> Result<(), Error> {
        let work: Box<dyn FnOnce() -> anyhow::Result<()> + Send> = match op {
            Op::MakeDirectory { path, mode } => {
                let (path, mode) = (path.clone(), *mode);
                Box::new(move || files::make_directory(&path, mode))
            }
            Op::ClearDirectory { path, keep } => {
                let (path, keep) = (path.clone(), keep.clone());
                Box::new(move || files::clear_directory(&path, &keep))
            }
            Op::RemoveDirectory { path } => {
                let path = path.clone();
                Box::new(move || files::remove_tree(&path))
            }
            Op::WriteFile { path, contents, mode } => {
                let (path, contents, mode) = (path.clone(), contents.clone(), *mode);
                Box::new(move || files::write(&path, contents.as_bytes(), mode))
            }
            Op::WriteSecretFile { path, secret, mode } => {
                let (path, contents, mode) = (path.clone(), self.secret(secret)?.reveal().to_string(), *mode);
                Box::new(move || files::write(&path, contents.as_bytes(), mode))
            }
            Op::RemoveFile { path } => {
                let path = path.clone();
                Box::new(move || files::remove_file(&path))
            }
            Op::WriteSettings { path, remove, set, mode } => {
                let mut pairs = Vec::new();
                for setting in set {
                    pairs.push((setting.name.clone(), self.value(setting)?));
                }
                let (path, remove, mode) = (path.clone(), remove.clone(), *mode);
                Box::new(move || {
                    let old = files::read(&path)?.unwrap_or_default();
                    let text = settings::rewrite(&old, &remove, &pairs)?;
                    files::rewrite(&path, &text, mode)
                })
            }
            Op::MoveEntries { from, to, first, last } => {
                let (from, to, first, last) = (from.clone(), to.clone(), first.clone(), last.clone());
                Box::new(move || files::move_entries(&from, &to, &first, &last))
            }
            Op::Signal { data_directory, request } => {
                if matches!(request, Request::FastShutdown | Request::ImmediateShutdown) {
                    start_log::note(data_directory, &self.context.state_directory()?);
                }
                return roles::signal(data_directory, *request);
            }
            Op::CopyFiles { from, to, files } => {
                let (from, to, files) = (from.clone(), to.clone(), files.clone());
                Box::new(move || rejoin::copy_files(&from, &to, &files))
            }
            Op::PutBack { from, data_directory, files } => {
                let (from, data, files) = (from.clone(), data_directory.clone(), files.clone());
                Box::new(move || rejoin::put_back(&from, &data, &files))
            }
            Op::Rename { from, to, link } => {
                let (from, to, link) = (from.clone(), to.clone(), link.clone());
                Box::new(move || rejoin::rename(&from, &to, link.as_deref()))
            }
            Op::KeepWal { data_directory, from, to } => {
                let (data, from, to) = (data_directory.clone(), *from, to.clone());
                Box::new(move || rejoin::keep_wal(&data, from, &to))
            }
            Op::ReturnWal { kept, data_directory, until } => {
                let (kept, data, until) = (kept.clone(), data_directory.clone(), *until);
                Box::new(move || rejoin::return_wal(&kept, &data, until))
            }
            Op::Run(_)
            | Op::Begin(_)
            | Op::Sql { .. }
            | Op::Promote { .. }
            | Op::Revive { .. }
            | Op::Follow { .. }
            | Op::ArchiveWal { .. }
            | Op::Rewind { .. }
            | Op::DropKeptSlot { .. }
            | Op::Notify { .. }
            | Op::Announce { .. }
            | Op::Wait(_) => {
                return Ok(());
            }
        };
        // On a thread of its own: emptying a large directory must not keep signals and deadlines waiting.
        let done = tokio::task::spawn_blocking(work).await;
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::new(Exit::LocalCommand, "a file operation failed")
                .detail(sentence(&format!("{error:#}")))),
            Err(error) => Err(Error::new(Exit::Internal, "a file operation was aborted")
                .detail(sentence(&error.to_string()))),
        }
    }
}

/// How long a server that was silent is asked once more.
const LAST_QUESTION: Duration = Duration::from_secs(1);

/// The longest pause between two answers of which the second confirms the first.
const ASKED_AGAIN: Duration = Duration::from_secs(2);

/// How often is looked whether a server that is being started is ready.
const READY: Duration = Duration::from_millis(10);

/// Runs a program that starts a server, until the server is ready: pg_ctl looks for that every 100 ms only.
async fn start(
    command: &Command,
    setting: &process::Surroundings<'_>,
    data_directory: &Path,
) -> Result<String, Error> {
    let starting = Starting::of(data_directory);
    let begun = process::begin(command, setting).map_err(|error| not_run(&error))?;
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

impl World for Live<'_> {
    async fn perform(&self, step: &Step) -> Result<Option<String>, Error> {
        let secrets = self.secrets.borrow().clone();
        self.far_ends.before(step, &secrets).await?;
        if let Some(remote) = self.elsewhere(step.at)? {
            return remote.perform(step, &secrets, self.far_ends.mode()).await;
        }
        match &step.op {
            Op::Run(command) => self.run(command).await.map(drop)?,
            Op::Sql { on, statements } => self.sql(on, statements, step.timeout_s).await?,
            Op::Begin(command) => self.begin(command)?,
            Op::Revive { data_directory, start } => self.revive(data_directory, start).await?,
            Op::Promote { on, command, look } => {
                return self.promote(on, command.as_ref(), look.as_ref()).await;
            }
            Op::Announce { on, prepare, scope } => {
                self.announce(on, prepare, scope.as_ref(), step.timeout_s).await?;
            }
            Op::Follow { standby, upstream } => self.follow(standby, upstream).await?,
            Op::ArchiveWal { data_directory, command, until } => {
                self.archive_wal(data_directory, command, *until).await?;
            }
            Op::Rewind { command, data_directory, kept } => {
                self.rewind(command, data_directory, kept).await?;
            }
            Op::DropKeptSlot { on, primary, slot } => {
                return self.drop_kept_slot(on, primary, slot).await;
            }
            Op::Notify { on, event } => {
                let session = self.session(on).await.ok();
                notify(self.context, session.as_ref(), &Happening::of(event, Ok(()))).await;
            }
            other => self.file_op(other).await?,
        }
        Ok(None)
    }

    async fn holds(&self, probe: &Probe) -> anyhow::Result<bool> {
        Ok(match probe {
            Probe::Sql { on, statement, .. } => {
                let statement = self.filled(statement).map_err(|error| anyhow::anyhow!("{error}"))?;
                let params: Vec<Option<&str>> = statement.params.iter().map(Option::as_deref).collect();
                matches!(self.value_of(on, &statement.text, &params).await?.as_deref(), Some("t" | "true"))
            }
            Probe::Accepts { on, in_recovery } => {
                let said = self.value_of(on, "SELECT pg_is_in_recovery()::text", &[]).await?;
                in_recovery
                    .is_none_or(|wanted| said.as_deref() == Some(if wanted { "true" } else { "false" }))
            }
            Probe::NoPrimary { on } => {
                let conninfo = self.conninfo(on).map_err(|error| anyhow::anyhow!("{error}"))?;
                match self.context.connect(&conninfo).await {
                    Ok(session) => {
                        let sql =
                            "SELECT pg_is_in_recovery()::text, (pg_control_system()).system_identifier::text";
                        let row = session.query_one(sql, &[]).await?;
                        row.get(0) == Some("true") || row.get(1).is_some_and(|other| self.is_stranger(other))
                    }
                    Err(error) if error.answered == Answered::Spoke => return Err(error.into()),
                    Err(_) => true,
                }
            }
            Probe::Exists { path } => path.symlink_metadata().is_ok(),
            Probe::Ready { data_directory } => is_ready(data_directory),
            Probe::Stopped { data_directory } => running_postmaster(data_directory).is_none(),
            Probe::Runs { data_directory, in_recovery } => {
                running_postmaster(data_directory).is_some()
                    && roles::is_standby(data_directory)? == *in_recovery
            }
            Probe::ShutDown { data_directory } => {
                let down = control_file::read(data_directory)?.state == ControlState::ShutDown;
                // If the wait times out, the output of its command is needed.
                if !down && let Some(why) = self.begun.borrow().as_ref().and_then(process::Begun::failure) {
                    anyhow::bail!("{why}");
                }
                down
            }
            Probe::StaysDown { data_directory } => stays_down(data_directory)?,
            Probe::Clean { data_directory } => matches!(
                control_file::read(data_directory)?.state,
                ControlState::ShutDown | ControlState::ShutDownInRecovery
            ),
            // Where a server may start again this was proven, and one that has started since leaves another state behind.
            Probe::Rewound { data_directory } => {
                !is_half_rewound(data_directory)
                    || control_file::read(data_directory)?.state == ControlState::InArchiveRecovery
            }
            Probe::CommitsAtMost { data_directory, timeline, switches, after, count } => {
                let wal = Wal::open(data_directory, *timeline, switches.clone(), None);
                let (after, count) = (*after, *count);
                // It may be much, and takes a thread of its own.
                let read = move || wal?.stretch(after, after);
                match tokio::task::spawn_blocking(read).await?? {
                    Ok(stretch) if stretch.commits <= count => true,
                    // There will not be fewer.
                    Ok(stretch) => {
                        let error = Error::new(Exit::DataLoss, "more transactions were committed here before the server was stopped")
                            .detail(format!(
                                "{} transactions were committed after {after}; the check before the shutdown counted {count}. None of \
                                 them is discarded.",
                                stretch.commits
                            ));
                        return Err(Hopeless(error).into());
                    }
                    Err(segment) => anyhow::bail!("WAL segment \"{segment}\" no longer exists"),
                }
            }
            Probe::HasAll { on, node_id, data_directory } => {
                let Some(position) = self.shutdown_position(*node_id, data_directory).await? else {
                    return Ok(false);
                };
                let said = self.value_of(on, HAS_ALL, &[Some(&position.end.to_string())]).await?;
                said.as_deref() == Some("true")
            }
            Probe::Unchallenged { look } => {
                let seen = self.look(look).await.map_err(Hopeless)?;
                match seen.objection {
                    Some(why) => return Err(Hopeless(look::challenged(Exit::SecondPrimary, &why)).into()),
                    None => true,
                }
            }
            Probe::Challenged { look } => {
                self.look(look).await.map_err(|error| anyhow::anyhow!("{error}"))?.objection.is_some()
            }
            Probe::Silent { on, seconds } => {
                let conninfo = self.conninfo(on).map_err(|error| anyhow::anyhow!("{error}"))?;
                let bound = Duration::from_secs(u64::from(*seconds)).saturating_sub(LAST_QUESTION);
                // If this process was stopped meanwhile, its time is over before it reads an answer that has arrived.
                self.is_silent(on, &conninfo, bound).await
                    && self.is_silent(on, &conninfo, LAST_QUESTION).await
            }
            Probe::Lasts { seconds, probe } => {
                let holds = Box::pin(self.holds(probe)).await.unwrap_or(false);
                self.lasts(probe, holds) >= Duration::from_secs(u64::from(*seconds))
            }
            Probe::Any(probes) => {
                let mut any = false;
                for probe in probes {
                    any = any || Box::pin(self.holds(probe)).await.unwrap_or(false);
                }
                any
            }
            Probe::StaysStandby { on, data_directory } => self.stays_standby(on, data_directory).await?,
            Probe::Announced { on } => {
                let id = self.operation.borrow().as_ref().map(|(id, ..)| id.clone()).unwrap_or_default();
                let sql = "SELECT EXISTS (SELECT FROM pgbaton.operation WHERE operation_id = $1)::text";
                self.value_of(on, sql, &[Some(&id)]).await?.as_deref() == Some("true")
            }
            Probe::Not(inner) => !Box::pin(self.holds(inner)).await?,
            // A channel that was not opened for this run will not be.
            Probe::At { node_id, probe } => match self.elsewhere(Some(*node_id)).map_err(Hopeless)? {
                None => Box::pin(self.holds(probe)).await?,
                Some(remote) => {
                    let secrets = self.secrets.borrow().clone();
                    let mode = self.far_ends.mode();
                    let said = remote.holds(probe, &secrets, mode).await;
                    said.map_err(|error| remote.unanswered(error, mode))?
                }
            },
        })
    }

    async fn record(&self, record: &Record, flush: Flush) -> anyhow::Result<()> {
        match self.journal.borrow_mut().as_mut() {
            Some(journal) => journal.append(record, flush),
            None => Ok(()),
        }
    }

    async fn interrupted(&self) -> Signal {
        self.signals.next().await
    }

    fn narrate(&self, narration: Narration<'_>) {
        let ui = &self.context.ui;
        match narration {
            Narration::PhaseBegins(phase) => ui.say(Level::Debug, &phase.title),
            Narration::StepBegins { number, of, step, .. } => {
                ui.say(Level::Info, &format!("[{number}/{of}] {}", step.title));
            }
            Narration::StepEnded { step, note, wall } => {
                if let Some(note) = note {
                    ui.say(Level::Info, &note);
                }
                ui.say(Level::Debug, &format!("done in {:.3} s: {}", wall.as_secs_f64(), step.title));
            }
            Narration::StepSkipped(step) => ui.say(Level::Info, &format!("already done: {}", step.title)),
            Narration::StepFailed { step, error } => {
                let detail = explanation(&step.title, error);
                ui.message(Level::Warning, &could_not(&step.title), detail.as_deref(), None);
            }
            Narration::StepInterrupted(step) => {
                ui.say(Level::Warning, &format!("interrupted: {}", step.title));
            }
            Narration::PastNoReturn => ui.say(Level::Debug, "point of no return"),
            Narration::GoingBack => {
                self.far_ends.go_back();
                ui.say(Level::Notice, "rolling back");
            }
            Narration::Undoing => self.far_ends.go_back(),
            Narration::Expecting(verify) => ui.say(
                Level::Info,
                &format!("waiting until {} (within {} s)", verify.title, verify.timeout_s),
            ),
            Narration::Met(verify) => ui.say(Level::Debug, &format!("condition met: {}", verify.title)),
            Narration::NotMet { error, .. } => {
                ui.message(Level::Warning, &error.primary, error.detail.as_deref(), None);
            }
            Narration::Interrupted { past_no_return, .. } => ui.say(
                Level::Notice,
                if past_no_return {
                    "interrupted: the running step is finished, the remaining steps are not run"
                } else {
                    "interrupted"
                },
            ),
            Narration::Finishing(_) => ui.message(
                Level::Notice,
                "the promotion is done or requested: the remaining steps are finished first",
                None,
                Some("Press Ctrl-C again to stop after the running step and leave the remaining steps to \"pgbaton operation resume\"."),
            ),
            Narration::StillGoing(_) => {
                ui.say(Level::Notice, "the running step must be finished; it will not take long");
            }
            Narration::Warning(text) => ui.say(Level::Warning, &text),
        }
    }
}

/// Says whether a server is shut down as a primary and would start as a standby.
pub(crate) fn stays_down(data_directory: &Path) -> anyhow::Result<bool> {
    Ok(control_file::read(data_directory)?.state == ControlState::ShutDown
        && data_directory.join(STANDBY_SIGNAL).symlink_metadata().is_ok())
}

/// Asks a standby whether its WAL reaches up to `$1`.
///
/// What was received says nothing of WAL that came from an archive, what was replayed nothing of WAL that waits.
const HAS_ALL: &str = "SELECT coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= $1::pg_lsn, false)::text";

/// Distinguishes one server from another.
fn key(on: &Endpoint) -> String {
    format!("{} {}", on.name, on.conninfo)
}

/// Turns a failed statement into the error of a step.
fn sql_failed(on: &Endpoint, error: SqlError) -> Error {
    let exit = if error.kind == SqlErrorKind::Closed { Exit::Connection } else { Exit::Query };
    let mut out =
        Error::new(exit, format!("a statement failed on {}", on.name)).detail(sentence(&error.primary));
    out.no_effect = error.kind == SqlErrorKind::Server;
    if let Some(detail) = error.detail {
        out = out.detail(detail);
    }
    match error.hint {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

/// How far pg_basebackup is: `12345/350000 kB (3%), 0/1 tablespace`.
#[derive(Debug, Default)]
struct Progress {
    done_kb: u64,
    total_kb: u64,
    began: Option<Instant>,
    /// Bytes and time of the news before, for the rate.
    tail: String,
}

impl Progress {
    /// Recognizes a line of progress.
    fn is_one(line: &str) -> bool {
        Self::read(line).is_some()
    }

    fn read(line: &str) -> Option<(u64, u64)> {
        let (done, rest) = line.trim().split_once('/')?;
        let (total, rest) = rest.split_once(" kB (")?;
        rest.contains('%').then_some(())?;
        Some((done.trim().parse().ok()?, total.parse().ok()?))
    }

    /// Takes a line; returns whether it is news.
    fn take(&mut self, line: &str) -> bool {
        match Self::read(line) {
            Some((done, total)) => {
                let news = done != self.done_kb || self.began.is_none();
                self.began.get_or_insert_with(Instant::now);
                (self.done_kb, self.total_kb) = (done, total);
                news
            }
            // Any other line, such as what it waits for, is news as well.
            None => {
                self.tail = line.trim().chars().take(60).collect();
                !line.trim().is_empty()
            }
        }
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const WIDTH: u64 = 24;
        let total = self.total_kb.max(self.done_kb).max(1);
        let filled = usize::try_from(self.done_kb * WIDTH / total).unwrap_or(0);
        let bar: String =
            (0..usize::try_from(WIDTH).unwrap_or(0)).map(|i| if i < filled { '#' } else { '.' }).collect();
        write!(
            f,
            "[{bar}] {:>3}%  {} of {}",
            self.done_kb * 100 / total,
            size(self.done_kb * 1024),
            size(total * 1024)
        )?;
        let elapsed = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        if elapsed > 0.5 && self.done_kb > 0 {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let rate = self.done_kb as f64 / elapsed;
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let left = (total - self.done_kb) as f64 / rate.max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
            let (rate, left) = (rate as u64, left.ceil() as u64);
            write!(f, ", {}/s, {}:{:02} left", size(rate * 1024), left / 60, left % 60)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
