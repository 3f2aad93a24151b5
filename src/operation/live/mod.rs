//! The live world: where the effects and questions of a plan become connections, processes and files.

mod far_ends;
mod files;
mod final_check;
mod keep_down;
mod probes;
mod programs;
mod progress;
mod rejoin;
mod roles;
mod sessions;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::context::Context;
use crate::error::{Error, Exit, Text};
use crate::facts::start_log;
use crate::far_end::remote::{Mode, Remote};
use crate::journal::{Flush, Header, Journal, Record};
use crate::observe::under_locks::LockedCluster;
use crate::operation::event_hook::{Event, notify};
use crate::operation::outcome::{Narration, World, step_failed};
use crate::operation::run::Signal;
use crate::output::plan::POINT_OF_NO_RETURN;
use crate::pg::client::Session;
use crate::pg::endpoint::Endpoint;
use crate::pg::statement::Statement;
use crate::plan::{Op, Probe, Scope, SignalRequest, Step};
use crate::registry::operation;
use crate::secret::{Secret, Secrets};
use crate::system::process;
use crate::system::signals::Signals;
use crate::ui::Level;

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
    begun: RefCell<Option<process::Spawned>>,
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
    pub fn for_operation(mut self, header: &Header) -> Self {
        let Header { operation_id, command, node_id, .. } = header;
        self.operation = RefCell::new(Some((operation_id.clone(), command.clone(), *node_id)));
        self
    }

    /// Adds the sessions that hold the nodes' locks: what is decided last is asked, and requested, over them.
    #[must_use]
    pub fn holding(mut self, held: &LockedCluster) -> Self {
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
    fn far_end_of(&self, node_id: Option<i32>) -> Result<Option<&Remote>, Error> {
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

    /// Returns the host that speaks for the old primary, for a step that is carried out there.
    fn host_of(&self, step: &Step) -> Option<Rc<Remote>> {
        match step.op {
            Op::KeepDown(_) | Op::LetStart(_) => self.hosts.borrow().get(&step.at?).cloned(),
            _ => None,
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
}

impl World for Live<'_> {
    async fn perform(&self, step: &Step) -> Result<Option<String>, Error> {
        let secrets = self.secrets.borrow().clone();
        self.far_ends.before(step, &secrets).await?;
        if let Some(host) = self.host_of(step) {
            // One whose channel has closed is not asked again: another operation may be at work there.
            if let Some(note) = host.perform(step, &secrets, Mode::Fail).await? {
                self.context.ui.say(Level::Warning, &note);
            }
            return Ok(None);
        }
        if let Some(remote) = self.far_end_of(step.at)? {
            return remote.perform(step, &secrets, self.far_ends.mode()).await;
        }
        match &step.op {
            Op::Run(command) => self.run(command).await.map(drop)?,
            Op::Sql { on, statements } => self.sql(on, statements, step.timeout_s).await?,
            Op::Spawn(command) => self.spawn(command)?,
            Op::RestartAsPrimary { data_directory, start } => {
                self.restart_as_primary(data_directory, start).await?;
            }
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
                notify(self.context, session.as_ref(), &Event::of(event, Ok(()))).await;
            }
            Op::Signal { data_directory, request } => {
                if matches!(request, SignalRequest::FastShutdown | SignalRequest::ImmediateShutdown) {
                    start_log::note(data_directory, &self.context.state_directory()?);
                }
                roles::signal(data_directory, *request)?;
            }
            Op::KeepDown(keep) => self.keep_down(keep).await?,
            Op::LetStart(keep) => return self.let_start(keep).await,
            Op::File(op) => self.file_op(op).await?,
            Op::Wait(_) => return Err(Error::new(Exit::Internal, "a wait was to be performed")),
        }
        Ok(None)
    }

    async fn holds(&self, probe: &Probe) -> anyhow::Result<bool> {
        self.answer(probe).await
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
                let turns = if step.no_return { format!(" ({POINT_OF_NO_RETURN})") } else { String::new() };
                ui.say(Level::Info, &format!("[{number}/{of}] {}{turns}", step.title));
            }
            Narration::StepEnded { step, note, wall } => {
                if let Some(note) = note {
                    ui.say(Level::Info, &note);
                }
                ui.say(Level::Debug, &format!("done in {:.3} s: {}", wall.as_secs_f64(), step.title));
            }
            Narration::StepSkipped(step) => ui.say(Level::Info, &format!("already done: {}", step.title)),
            Narration::StepFailed { step, error } => {
                ui.text(Level::Warning, &Text { hint: None, ..step_failed(&step.title, error) });
            }
            Narration::StepInterrupted(step) => {
                ui.say(Level::Debug, &format!("interrupted: {}", step.title));
            }
            Narration::PastNoReturn => ui.say(Level::Debug, POINT_OF_NO_RETURN),
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
                ui.text(Level::Warning, &Text { hint: None, ..error.text.clone() });
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
