//! The far ends of an operation: their channels, and what each of them is to do if it is left alone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Secrets;
use crate::commands::context::Context;
use crate::error::{Error, Exit};
use crate::facts::check::{HostFacts, HostQuestion};
use crate::facts::matrix::Tried;
use crate::pg::control_file::ShutdownPosition;
use crate::plan::far_end::{
    Call, ConfigurationFile, Expected, Hello, PROTOCOL, Reply, Target, Third, Trouble, checks,
};
use crate::plan::journal::{Past, Stage};
use crate::plan::run::Hopeless;
use crate::plan::{Back, Check, FarEnd, OnResume, Plan, Probe, Step, Upstream};
use crate::system::channel::Channel;
use crate::system::environment::Environment;
use crate::system::process::Surroundings;

/// How long a far end may take to say who it is: ssh's own limit for a connection, and the login.
pub const OPEN: Duration = Duration::from_secs(30);

/// How long it may take to answer what it knows or can look up.
const ANSWER: Duration = Duration::from_secs(15);

/// What a step may take longer there than its own time, which ends it there.
const GRACE: Duration = Duration::from_secs(5);

/// How often and how long a channel that has closed is opened again, where that is right: the far end may be on its own way back.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// What to do about a channel that has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The request fails. Before the point of no return: the far end may have gone back, and nobody may go on as if it had not.
    Fail,
    /// It is opened again: on the way back both want the same, and after the point of no return the far end does nothing by itself.
    Reopen,
}

/// One far end with its channel.
#[derive(Debug)]
pub struct Remote {
    far_end: FarEnd,
    channel: RefCell<Rc<Channel>>,
    environment: Environment,
    /// The operation, in words.
    command: String,
    /// It has been opened again: what the steps are there for may have been done by the far end itself.
    reopened: Cell<bool>,
    /// The ids of the steps that it carries out if it is left alone.
    armed: RefCell<Vec<String>>,
    /// It has told us that its server is shut down, and so does nothing by itself any more.
    told: Cell<bool>,
}

impl Remote {
    /// Opens a channel and hears who answers.
    ///
    /// # Errors
    /// Whatever comes that is no answer of this protocol.
    pub async fn open(
        context: &Context,
        far_end: &FarEnd,
        within: Duration,
    ) -> Result<(Self, Hello), Trouble> {
        let (channel, hello) = open_channel(&context.environment, far_end, within).await?;
        let remote = Self {
            far_end: far_end.clone(),
            channel: RefCell::new(Rc::new(channel)),
            environment: context.environment.clone(),
            command: context.command.clone(),
            reopened: Cell::new(false),
            armed: RefCell::default(),
            told: Cell::new(false),
        };
        Ok((remote, hello))
    }

    /// Returns the name of the node.
    pub fn name(&self) -> &str {
        &self.far_end.node_name
    }

    /// Opens the channel again, once whoever is at work there has ended it.
    async fn reopen(&self) -> Result<(), Error> {
        let until = Instant::now() + AGAIN.1;
        loop {
            let opened = async {
                let (channel, hello) = open_channel(&self.environment, &self.far_end, OPEN)
                    .await
                    .map_err(|trouble| trouble.error(&self.far_end))?;
                fit(&self.far_end, hello)?;
                self.channel.replace(Rc::new(channel));
                let lock = Call::Lock { command: self.command.clone() };
                self.answered(self.say(&lock, ANSWER).await).map(drop)
            };
            match opened.await {
                Ok(()) => {
                    self.reopened.set(true);
                    self.armed.take();
                    self.told.set(false);
                    return Ok(());
                }
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => sleep(AGAIN.0).await,
            }
        }
    }

    /// Says of a question without an answer whether it can be asked again: a channel that has closed is not opened again everywhere.
    pub(super) fn unanswered(&self, error: Error, mode: Mode) -> anyhow::Error {
        match mode {
            Mode::Fail if self.channel.borrow().is_over() => Hopeless(error).into(),
            _ => error.into(),
        }
    }

    async fn say(&self, call: &Call, within: Duration) -> Result<Value, Trouble> {
        let channel = Rc::clone(&self.channel.borrow());
        channel.call(call, within).await
    }

    async fn ask(&self, call: &Call, within: Duration, mode: Mode) -> Result<Reply, Error> {
        let mut said = self.say(call, within).await;
        if mode == Mode::Reopen && matches!(said, Err(Trouble::Ended { .. } | Trouble::Noise { .. })) {
            self.reopen().await?;
            said = self.say(call, within).await;
        }
        self.answered(said)
    }

    fn answered(&self, said: Result<Value, Trouble>) -> Result<Reply, Error> {
        match serde_json::from_value(said.map_err(|trouble| self.lost(&trouble))?) {
            Ok(Reply::Failed(fault)) => Err(fault.into()),
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.unexpected(&error.to_string())),
        }
    }

    /// The error of a request that got no answer.
    fn lost(&self, trouble: &Trouble) -> Error {
        let name = &self.far_end.node_name;
        let error = trouble.error(&self.far_end);
        let primary = match trouble {
            Trouble::Silent { .. } => format!("pgbaton on the host of node \"{name}\" does not answer"),
            _ => format!("the channel to pgbaton on the host of node \"{name}\" is closed"),
        };
        Error { primary, ..error }
    }

    fn unexpected(&self, what: &str) -> Error {
        let name = &self.far_end.node_name;
        Error::new(Exit::Remote, format!("pgbaton on the host of node \"{name}\" gave an unexpected answer"))
            .detail(crate::error::sentence(what))
    }

    async fn done(&self, call: &Call, within: Duration, mode: Mode) -> Result<Option<String>, Error> {
        self.note(self.ask(call, within, mode).await?)
    }

    fn note(&self, reply: Reply) -> Result<Option<String>, Error> {
        match reply {
            Reply::Done { note } => Ok(note),
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Has a step carried out. Dropping the future ends it there.
    pub(super) async fn perform(
        &self,
        step: &Step,
        known: &Secrets,
        mode: Mode,
    ) -> Result<Option<String>, Error> {
        let secrets = named(known, step.secrets());
        let call = Call::Perform { step: Box::new(step.clone()), secrets };
        let within = Duration::from_secs(u64::from(step.timeout_s)) + GRACE;
        // A step that the far end has done by itself is not done twice.
        if !self.reopened.get() {
            match self.say(&call, within).await {
                Err(Trouble::Ended { .. } | Trouble::Noise { .. })
                    if mode == Mode::Reopen && !matches!(step.on_resume, OnResume::Stop { .. }) =>
                {
                    self.reopen().await?;
                }
                said => return self.note(self.answered(said)?),
            }
        }
        if let OnResume::AgainUnless(probe) = &step.on_resume
            && self.holds(probe, known, mode).await.unwrap_or(false)
        {
            return Ok(Some(format!("it is so already: {}", step.title)));
        }
        self.done(&call, within, mode).await
    }

    /// Has a question answered.
    pub(super) async fn holds(&self, probe: &Probe, known: &Secrets, mode: Mode) -> Result<bool, Error> {
        let call = Call::Holds { probe: Box::new(probe.clone()), secrets: named(known, probe.secrets()) };
        match self.ask(&call, ANSWER, mode).await? {
            Reply::Holds(holds) => {
                if holds && probe.tells_of_shutdown() {
                    self.told.set(true);
                }
                Ok(holds)
            }
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Has the connection tried that the WAL receiver there will make to another upstream.
    ///
    /// # Errors
    /// Why it does not work, in the words of libpq or of the channel.
    pub async fn login(&self, upstream: &Upstream) -> Result<(), String> {
        let call = Call::Login { upstream: upstream.clone() };
        self.done(&call, ANSWER, Mode::Fail).await.map(drop).map_err(|error| match error.detail {
            Some(detail) if error.exit != Exit::Connection => format!("{}: {detail}", error.primary),
            _ => error.primary,
        })
    }

    /// Asks which of these nodes can be connected to from there, each within so much time; or from the host of a third node, to which a
    /// channel is opened from there within its own time.
    ///
    /// # Errors
    /// Those of the far end, and exit code 12 if it does not answer.
    pub async fn row(
        &self,
        targets: &[Target],
        within: Duration,
        of: Option<(&Third, Duration)>,
    ) -> Result<Vec<Tried>, Error> {
        let (third, more) = of.map_or((None, Duration::ZERO), |(third, more)| (Some(third), more + GRACE));
        let of = third.cloned().map(Box::new);
        let call = Call::Row { targets: targets.to_vec(), within_s: within.as_secs().max(1), of };
        match self.ask(&call, within + more + GRACE, Mode::Fail).await? {
            Reply::Row(tried) => Ok(tried),
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Asks for a file that the server there reads its configuration from.
    ///
    /// # Errors
    /// Those of the far end, and exit code 12 if it does not answer.
    pub async fn configuration_file(&self, path: &str) -> Result<ConfigurationFile, Error> {
        match self.ask(&Call::ConfigurationFile { path: path.to_string() }, ANSWER, Mode::Fail).await? {
            Reply::File(file) => Ok(file),
            // Not as it is: there is a file in it.
            _ => Err(self.unexpected("it is about something else")),
        }
    }

    /// Has its host looked at, for checks.
    ///
    /// # Errors
    /// Those of the far end, and exit code 12 if it does not answer.
    pub async fn look(&self, question: HostQuestion, within: Duration) -> Result<HostFacts, Error> {
        match self.ask(&Call::Look { question: Box::new(question) }, within, Mode::Fail).await? {
            Reply::Host(host) => Ok(*host),
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Asks where the WAL of a server ends that was shut down cleanly.
    pub(super) async fn shutdown_position(
        &self,
        data_directory: &Path,
        mode: Mode,
    ) -> Result<Option<ShutdownPosition>, Error> {
        let call = Call::ShutdownPosition { data_directory: data_directory.to_path_buf() };
        match self.ask(&call, ANSWER, mode).await? {
            Reply::Position(position) => {
                if position.is_some() {
                    self.told.set(true);
                }
                Ok(position)
            }
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }
}

async fn open_channel(
    environment: &Environment,
    far_end: &FarEnd,
    within: Duration,
) -> Result<(Channel, Hello), Trouble> {
    let around = Surroundings { environment: Some(environment), ..Surroundings::default() };
    let (channel, said) = Channel::open(&far_end.command(), &around, within).await?;
    Ok((channel, understood(&said)?))
}

/// Makes sense of the first answer, of which another version may have changed everything but two fields.
fn understood(said: &Value) -> Result<Hello, Trouble> {
    let hello = said.get("hello").unwrap_or(&Value::Null);
    let noise = || Trouble::Noise { line: said.to_string().chars().take(200).collect(), said: String::new() };
    let protocol = hello.get("protocol").and_then(Value::as_u64).ok_or_else(noise)?;
    let pgbaton = hello.get("pgbaton").and_then(Value::as_str).unwrap_or("?").to_string();
    if protocol != u64::from(PROTOCOL) {
        return Err(Trouble::Protocol { pgbaton, protocol: u32::try_from(protocol).unwrap_or(u32::MAX) });
    }
    serde_json::from_value(hello.clone()).map_err(|_| noise())
}

fn named(known: &Secrets, names: Vec<&str>) -> Secrets {
    names.into_iter().filter_map(|name| Some((name.to_string(), known.get(name)?.clone()))).collect()
}

/// The far ends of a plan.
///
/// With the first effect that the way back would undo, a far end is given the part of the way back that is its own: it carries that out by
/// itself if its channel closes before it has told that its server is shut down. Before the point of no return it has to forget it.
#[derive(Debug, Default)]
pub struct FarEnds {
    remotes: BTreeMap<i32, Remote>,
    back: Vec<Back>,
    /// The steps that were started, by this run or an earlier one.
    started: RefCell<BTreeSet<String>>,
    past_no_return: Cell<bool>,
    going_back: Cell<bool>,
}

impl FarEnds {
    /// Opens the channels that a plan needs, but for one that is open already, and takes the lock of each node. Whatever fails, nothing is
    /// changed.
    ///
    /// # Errors
    /// Exit code 12 for a far end that cannot be reached, 30 for one that is busy, 1 for one that is another than it should be.
    pub async fn open(
        context: &Context,
        plan: &Plan,
        past: &Past,
        opened: Option<Remote>,
    ) -> Result<Self, Error> {
        let (far_ends, absent) = Self::open_each(context, plan, past, opened).await;
        match absent.into_iter().next() {
            Some(absent) => Err(absent.error.detail("Nothing was changed.")),
            None => Ok(far_ends),
        }
    }

    /// Opens what can be opened; returns why the rest cannot be.
    ///
    /// # Errors
    /// Exit code 30 while somebody works on one of the hosts: what he does and a way back without him would cross each other.
    pub async fn open_some(context: &Context, plan: &Plan, past: &Past) -> Result<(Self, Vec<Error>), Error> {
        let (far_ends, mut absent) = Self::open_each(context, plan, past, None).await;
        match absent.iter().position(|absent| absent.busy) {
            Some(at) => Err(absent.swap_remove(at).error.detail("Nothing was changed.")),
            None => Ok((far_ends, absent.into_iter().map(|absent| absent.error).collect())),
        }
    }

    async fn open_each(
        context: &Context,
        plan: &Plan,
        past: &Past,
        mut opened: Option<Remote>,
    ) -> (Self, Vec<Absent>) {
        let each = plan.far_ends.iter().map(|far_end| {
            let opened = opened.take_if(|remote| remote.far_end == *far_end);
            ready(context, far_end, opened)
        });
        let opened = join_all(each).await;
        let mut remotes = BTreeMap::new();
        let mut absent = Vec::new();
        for remote in opened {
            match remote {
                Ok(remote) => {
                    remotes.insert(remote.far_end.node_id, remote);
                }
                Err(why) => absent.push(why),
            }
        }
        let started = plan.steps().filter(|step| past.started(Stage::Forward, &step.id));
        let far_ends = Self {
            remotes,
            back: plan.back.clone(),
            started: RefCell::new(started.map(|step| step.id.clone()).collect()),
            past_no_return: Cell::new(past.past_no_return()),
            going_back: Cell::default(),
        };
        (far_ends, absent)
    }

    /// From here on there is no way forward any more.
    pub(super) fn go_back(&self) {
        self.going_back.set(true);
    }

    pub(super) fn mode(&self) -> Mode {
        if self.going_back.get() || self.past_no_return.get() { Mode::Reopen } else { Mode::Fail }
    }

    pub(super) fn get(&self, node_id: i32) -> Option<&Remote> {
        self.remotes.get(&node_id)
    }

    /// Sees to it, before a step is carried out, that every far end does the right thing if it is left alone from now on.
    pub(super) async fn before(&self, step: &Step, known: &Secrets) -> Result<(), Error> {
        if self.past_no_return.get() {
            return Ok(());
        }
        self.started.borrow_mut().insert(step.id.clone());
        if step.no_return {
            self.past_no_return.set(true);
            // One that has told does nothing by itself any more, and must not be waited for now.
            let armed = self
                .remotes
                .values()
                .filter(|remote| !remote.told.get() && !remote.armed.borrow().is_empty());
            for done in join_all(armed.map(|remote| remote.done(&Call::Disarm, ANSWER, Mode::Fail))).await {
                done.map_err(|error| Error { no_effect: true, ..error })?;
            }
            return Ok(());
        }
        for done in join_all(self.remotes.values().map(|remote| self.arm(remote, known))).await {
            done?;
        }
        Ok(())
    }

    async fn arm(&self, remote: &Remote, known: &Secrets) -> Result<(), Error> {
        let back: Vec<Step> = {
            let started = self.started.borrow();
            let applies = |back: &&Back| {
                back.step.at == Some(remote.far_end.node_id)
                    && (back.if_started.is_empty() || back.if_started.iter().any(|id| started.contains(id)))
            };
            self.back.iter().filter(applies).map(|back| back.step.clone()).collect()
        };
        let ids: Vec<String> = back.iter().map(|step| step.id.clone()).collect();
        if remote.told.get() || *remote.armed.borrow() == ids {
            return Ok(());
        }
        let secrets = named(known, back.iter().flat_map(Step::secrets).collect());
        remote.done(&Call::Arm { back, secrets }, ANSWER, self.mode()).await?;
        remote.armed.replace(ids);
        Ok(())
    }

    /// Ends the work with all far ends: they forget what they were to do and give their locks back.
    ///
    /// One that cannot be told any more has noticed that by itself.
    pub async fn release(&self) {
        let told = self.remotes.values().map(|remote| remote.say(&Call::Release, GRACE));
        let _gone = join_all(told).await;
    }
}

/// Why a far end takes no part.
struct Absent {
    error: Error,
    /// Somebody is working there now.
    busy: bool,
}

/// Opens one channel for an operation, unless its checks have: the right node, nothing else going on there, its lock taken.
async fn ready(context: &Context, far_end: &FarEnd, opened: Option<Remote>) -> Result<Remote, Absent> {
    let remote = match opened {
        Some(remote) => remote,
        None => {
            let (remote, hello) = Remote::open(context, far_end, OPEN)
                .await
                .map_err(|trouble| Absent { error: trouble.error(far_end), busy: false })?;
            let busy = hello.locked_by.is_some();
            fit(far_end, hello).map_err(|error| Absent { error, busy })?;
            remote
        }
    };
    let lock = Call::Lock { command: context.command.clone() };
    match remote.done(&lock, ANSWER, Mode::Fail).await {
        Ok(_) => Ok(remote),
        Err(error) => Err(Absent { busy: error.exit == Exit::Busy, error }),
    }
}

/// Looks at whom we talk to, and whether nothing else goes on there. What the operation needs of the server, its own checks have looked at.
fn fit(far_end: &FarEnd, hello: Hello) -> Result<(), Error> {
    let found = checks(far_end, &Expected::default(), &Ok(hello));
    match found.into_iter().find(Check::stops) {
        Some(check) => {
            Err(Error { detail: check.detail, hint: check.hint, ..Error::new(check.exit, check.message) })
        }
        None => Ok(()),
    }
}
