//! One far end with its channel: asking it, waiting for it, opening the channel again, and taking its place where it does not answer.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::assess::checks::{HostFacts, HostQuestion};
use crate::error::{Error, Exit, PermanentError};
use crate::facts::matrix::ConnectionAttempt;
use crate::far_end::channel::Channel;
use crate::far_end::checks::{ChannelFailure, Expected, checks};
use crate::far_end::protocol::{
    Call, ConfigurationFile, ConnectTarget, Hello, PROTOCOL, RelayedNode, Reply, Secured,
};
use crate::pg::control_file::ShutdownPosition;
use crate::pg::endpoint::Upstream;
use crate::plan::far_end::ServerState;
use crate::plan::{Check, FarEnd, OnResume, Probe, Step};
use crate::secret::Secrets;
use crate::site::Site;
use crate::system::environment::Environment;
use crate::system::process::ChildContext;

/// How long a far end may take to say who it is: ssh's own limit for a connection, and the login.
pub const OPEN: Duration = Duration::from_secs(30);

/// The same for a second channel to a host whose far end does not answer, while no server accepts writes.
const SECOND: Duration = Duration::from_secs(10);

/// How long it may take to answer what it knows or can look up.
pub(crate) const ANSWER: Duration = Duration::from_secs(15);

/// What a step may take longer there than its own time, which ends it there.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How often and how long a channel that has closed is opened again, where that is right: the far end may be running its own rollback.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// How long an answer is waited for before the far end is asked whether it is there, and how long it may take to say so: while no server
/// accepts writes, a process that is stopped must not be waited for as long as one that works.
const THERE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// What an answer may take longer than the round trip before it, immediately before a promotion.
const AT_ONCE: Duration = Duration::from_millis(300);

/// What to do about a channel that has closed, or does not respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The request fails. Before the point of no return: the far end may have rolled back, and the operation must not continue as if it had not.
    Fail,
    /// The same while no server accepts writes. One that does not answer is replaced by way of a second channel.
    Outage,
    /// It is opened again: during a rollback both do the same, and after the point of no return the far end does nothing by itself. One
    /// that does not answer is replaced.
    Reopen,
}

/// One far end with its channel.
#[derive(Debug)]
pub struct Remote {
    pub(crate) far_end: FarEnd,
    channel: RefCell<Rc<Channel>>,
    environment: Environment,
    /// The operation, in words.
    command: String,
    /// It has been opened again: what the steps are there for may have been done by the far end itself.
    reopened: Cell<bool>,
    /// The ids of the steps that it carries out if it is left alone.
    pub(crate) armed: RefCell<Vec<String>>,
    /// It has reported that its server is shut down, and so does nothing by itself any more.
    pub(crate) confirmed: Cell<bool>,
    /// No further answer leads forward: it carries out nothing more, or could not be replaced.
    hopeless: Cell<bool>,
    /// How long the last answer took.
    round_trip: Cell<Duration>,
}

impl Remote {
    /// Opens a channel and hears who answers.
    ///
    /// # Errors
    /// Output that is not a response of this protocol.
    pub async fn open(
        site: &Site,
        far_end: &FarEnd,
        within: Duration,
    ) -> Result<(Self, Hello), ChannelFailure> {
        let (channel, hello) = open_channel(&site.environment, far_end, within).await?;
        let remote = Self {
            far_end: far_end.clone(),
            channel: RefCell::new(Rc::new(channel)),
            environment: site.environment.clone(),
            command: site.verb.to_string(),
            reopened: Cell::new(false),
            armed: RefCell::default(),
            confirmed: Cell::new(false),
            hopeless: Cell::new(false),
            round_trip: Cell::new(Duration::ZERO),
        };
        Ok((remote, hello))
    }

    /// Returns the name of the node.
    pub fn name(&self) -> &str {
        &self.far_end.node_name
    }

    /// Returns how long the last answer took.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip.get()
    }

    /// Opens the channel again, once the process that is running there has closed it.
    async fn reopen(&self) -> Result<(), Error> {
        let until = Instant::now() + AGAIN.1;
        // The far end at its other end has the node's lock, and ends, or brings its server back by itself, when it sees this.
        self.channel.replace(Rc::new(Channel::closed()));
        loop {
            let opened = async {
                let (channel, hello) = open_channel(&self.environment, &self.far_end, OPEN)
                    .await
                    .map_err(|trouble| trouble.error(&self.far_end))?;
                check_hello(&self.far_end, hello)?;
                self.channel.replace(Rc::new(channel));
                let lock = Call::Lock { command: self.command.clone() };
                self.answered(self.say(&lock, ANSWER).await).map(drop)
            };
            match opened.await {
                Ok(()) => {
                    self.reopened.set(true);
                    self.armed.take();
                    self.confirmed.set(false);
                    return Ok(());
                }
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => sleep(AGAIN.0).await,
            }
        }
    }

    /// Says of a question without an answer whether it can be asked again: a channel that has closed is not opened again everywhere.
    pub(crate) fn unanswered(&self, error: Error, mode: Mode) -> anyhow::Error {
        match mode {
            Mode::Fail | Mode::Outage if self.hopeless.get() || self.channel.borrow().is_over() => {
                PermanentError(error).into()
            }
            _ => error.into(),
        }
    }

    pub(crate) async fn say(&self, call: &Call, within: Duration) -> Result<Value, ChannelFailure> {
        let channel = Rc::clone(&self.channel.borrow());
        let asked = Instant::now();
        let said = channel.call(call, within).await?;
        self.round_trip.set(asked.elapsed());
        if said.as_str() == Some("void") {
            return Err(ChannelFailure::Void);
        }
        Ok(said)
    }

    /// The same, but what takes long is waited for only as long as the far end says that it is there.
    async fn say_in(&self, mode: Mode, call: &Call, within: Duration) -> Result<Value, ChannelFailure> {
        if mode == Mode::Fail {
            return self.say(call, within).await;
        }
        let channel = Rc::clone(&self.channel.borrow());
        let gone = async {
            loop {
                sleep(THERE.0).await;
                if let Err(trouble) = channel.call(&Call::Ping, THERE.1).await {
                    return trouble;
                }
            }
        };
        tokio::select! {
            biased;
            said = self.say(call, within) => said,
            trouble = gone => Err(trouble),
        }
    }

    /// Sees to it that a request without a response can be made again; fails if it must not be.
    async fn recover(&self, trouble: ChannelFailure, mode: Mode) -> Result<(), Error> {
        match (mode, &trouble) {
            (
                Mode::Reopen,
                ChannelFailure::Ended { .. } | ChannelFailure::Noise { .. } | ChannelFailure::Void,
            ) => self.reopen().await,
            (Mode::Reopen, ChannelFailure::Silent { .. }) => self.take_over().await.map(drop),
            // It has stopped answering, and the server may be down by now.
            (Mode::Outage, ChannelFailure::Silent { .. }) => match self.take_over().await {
                Ok(standing) => match standing.objection() {
                    Some(why) => {
                        self.hopeless.set(true);
                        Err(self.lost(&trouble).detail(why))
                    }
                    None => Ok(()),
                },
                Err(error) => {
                    self.hopeless.set(true);
                    Err(error)
                }
            },
            (Mode::Fail | Mode::Outage, ChannelFailure::Void) => {
                self.hopeless.set(true);
                Err(self.lost(&trouble))
            }
            _ => Err(self.lost(&trouble)),
        }
    }

    /// Replaces a far end that does not answer: it is ended there, and a new one has the lock and makes certain that the server is no
    /// primary and comes back as a standby only.
    pub(crate) async fn take_over(&self) -> Result<ServerState, Error> {
        let (channel, hello) = open_channel(&self.environment, &self.far_end, SECOND)
            .await
            .map_err(|trouble| trouble.error(&self.far_end))?;
        // The one that does not answer holds the lock.
        check_hello(&self.far_end, Hello { locked_by: None, ..hello })?;
        self.channel.replace(Rc::new(channel));
        self.reopened.set(true);
        self.armed.take();
        self.confirmed.set(false);
        Ok(self.secure(false).await?.server)
    }

    /// Makes certain that the server there is no primary and does not become one: see [`Call::Secure`].
    ///
    /// # Errors
    /// Exit code 30 if another far end could not be ended, or if the node's lock is taken; 12 if it does not respond.
    pub async fn secure(&self, only_look: bool) -> Result<Secured, Error> {
        self.make_secure(only_look, false).await
    }

    /// Does what has to be done before [`Call::Secure`] writes the file, and looks: other far ends are ended, and the node is locked.
    ///
    /// # Errors
    /// Those of [`Self::secure`].
    pub async fn hold(&self) -> Result<Secured, Error> {
        self.make_secure(false, true).await
    }

    async fn make_secure(&self, only_look: bool, only_hold: bool) -> Result<Secured, Error> {
        let call = Call::Secure { command: self.command.clone(), only_look, only_hold };
        match self.answered(self.say(&call, ANSWER).await)? {
            Reply::Secured(secured) => {
                self.confirmed.set(!only_look && !only_hold && secured.server.is_secure());
                Ok(secured)
            }
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Takes back what [`Remote::secure`] has written, as nothing was promoted. Returns what there is to say about it.
    ///
    /// # Errors
    /// Those of the far end, and exit code 12 if it does not answer.
    pub async fn unsecure(&self) -> Result<Option<String>, Error> {
        self.done(&Call::Unsecure, ANSWER, Mode::Fail).await
    }

    async fn request(&self, call: &Call, within: Duration, mode: Mode) -> Result<Reply, Error> {
        let mut said = self.say_in(mode, call, within).await;
        if let Err(trouble) = said {
            self.recover(trouble, mode).await?;
            said = self.say_in(mode, call, within).await;
        }
        self.answered(said)
    }

    fn answered(&self, said: Result<Value, ChannelFailure>) -> Result<Reply, Error> {
        match serde_json::from_value(said.map_err(|trouble| self.lost(&trouble))?) {
            Ok(Reply::Failed(fault)) => Err(fault.into()),
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.unexpected(&error.to_string())),
        }
    }

    /// The error of a request without a response.
    fn lost(&self, trouble: &ChannelFailure) -> Error {
        let name = &self.far_end.node_name;
        let mut error = trouble.error(&self.far_end);
        match trouble {
            ChannelFailure::Silent { .. } => {
                error.message = format!("pgbaton on the host of node \"{name}\" does not respond");
            }
            ChannelFailure::Void => {}
            _ => error.message = format!("the channel to pgbaton on the host of node \"{name}\" is closed"),
        }
        error
    }

    fn unexpected(&self, what: &str) -> Error {
        let name = &self.far_end.node_name;
        Error::new(
            Exit::Remote,
            format!("pgbaton on the host of node \"{name}\" returned an unexpected response"),
        )
        .detail(crate::error::sentence(what))
    }

    pub(crate) async fn done(
        &self,
        call: &Call,
        within: Duration,
        mode: Mode,
    ) -> Result<Option<String>, Error> {
        self.note(self.request(call, within, mode).await?)
    }

    fn note(&self, reply: Reply) -> Result<Option<String>, Error> {
        match reply {
            Reply::Done { note } => Ok(note),
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Has a step carried out. Dropping the future ends it there.
    pub(crate) async fn perform(
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
            match self.say_in(mode, &call, within).await {
                Err(trouble) if !matches!(step.on_resume, OnResume::Stop { .. }) => {
                    self.recover(trouble, mode).await?;
                }
                said => return self.note(self.answered(said)?),
            }
        }
        if let OnResume::AgainUnless(probe) = &step.on_resume
            && self.holds(probe, known, mode).await.unwrap_or(false)
        {
            return Ok(Some(format!("already done: {}", step.title)));
        }
        self.done(&call, within, mode).await
    }

    /// Has it confirmed that the server is down and that it will not start it. Where it does not respond at once, the second channel says so,
    /// or no process does.
    async fn confirm(&self, data_directory: &Path, mode: Mode) -> Result<bool, Error> {
        let call = Call::Confirm { data_directory: data_directory.to_path_buf() };
        let within = match mode {
            Mode::Outage => AT_ONCE + self.round_trip.get(),
            _ => ANSWER,
        };
        let mut said = self.say(&call, within).await;
        if let Err(trouble) = said {
            self.recover(trouble, mode).await?;
            said = self.say(&call, ANSWER).await;
        }
        match self.answered(said)? {
            Reply::Holds(holds) => {
                self.confirmed.set(self.confirmed.get() || holds);
                Ok(holds)
            }
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Has a question answered.
    pub(crate) async fn holds(&self, probe: &Probe, known: &Secrets, mode: Mode) -> Result<bool, Error> {
        if let Probe::StaysDown { data_directory } = probe {
            return self.confirm(data_directory, mode).await;
        }
        let call = Call::Holds { probe: Box::new(probe.clone()), secrets: named(known, probe.secrets()) };
        match self.request(&call, ANSWER, mode).await? {
            Reply::Holds(holds) => {
                if holds && probe.confirms_shutdown() {
                    self.confirmed.set(true);
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
        self.done(&call, ANSWER, Mode::Fail).await.map(drop).map_err(|error| match &error.detail {
            Some(detail) if error.exit != Exit::Connection => format!("{}: {detail}", error.message),
            _ => error.text.message,
        })
    }

    /// Asks which of these nodes can be connected to from there, each within so much time; or from the host of a third node, to which a
    /// channel is opened from there within its own time.
    ///
    /// # Errors
    /// Those of the far end, and exit code 12 if it does not answer.
    pub async fn row(
        &self,
        targets: &[ConnectTarget],
        within: Duration,
        of: Option<(&RelayedNode, Duration)>,
    ) -> Result<Vec<ConnectionAttempt>, Error> {
        let (third, more) = of.map_or((None, Duration::ZERO), |(third, more)| (Some(third), more + GRACE));
        let of = third.cloned().map(Box::new);
        let call = Call::Row { targets: targets.to_vec(), within_s: within.as_secs().max(1), of };
        match self.request(&call, within + more + GRACE, Mode::Fail).await? {
            Reply::Row(tried) => Ok(tried),
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Asks for a file that the server there reads its configuration from.
    ///
    /// # Errors
    /// Those of the far end, and exit code 12 if it does not answer.
    pub async fn configuration_file(&self, path: &str) -> Result<ConfigurationFile, Error> {
        match self.request(&Call::ConfigurationFile { path: path.to_string() }, ANSWER, Mode::Fail).await? {
            Reply::File(file) => Ok(file),
            // Not as it is: there is a file in it.
            _ => Err(self.unexpected("it is about something else")),
        }
    }

    /// Has its host looked at, for checks.
    ///
    /// # Errors
    /// Those of the far end, and exit code 12 if it does not answer.
    pub async fn inspect_host(&self, question: HostQuestion, within: Duration) -> Result<HostFacts, Error> {
        match self.request(&Call::Look { question: Box::new(question) }, within, Mode::Fail).await? {
            Reply::Host(host) => Ok(*host),
            other => Err(self.unexpected(&format!("{other:?}"))),
        }
    }

    /// Asks where the WAL of a server ends that was shut down cleanly.
    pub(crate) async fn shutdown_position(
        &self,
        data_directory: &Path,
        mode: Mode,
    ) -> Result<Option<ShutdownPosition>, Error> {
        let call = Call::ShutdownPosition { data_directory: data_directory.to_path_buf() };
        match self.request(&call, ANSWER, mode).await? {
            Reply::Position(position) => {
                if position.is_some() {
                    self.confirmed.set(true);
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
) -> Result<(Channel, Hello), ChannelFailure> {
    let around = ChildContext { environment: Some(environment), ..ChildContext::default() };
    let (channel, said) = Channel::open(&far_end.command(), &around, within).await?;
    Ok((channel, understood(&said)?))
}

/// Makes sense of the first answer, of which another version may have changed everything but two fields.
fn understood(said: &Value) -> Result<Hello, ChannelFailure> {
    let hello = said.get("hello").unwrap_or(&Value::Null);
    let noise =
        || ChannelFailure::Noise { line: said.to_string().chars().take(200).collect(), said: String::new() };
    let protocol = hello.get("protocol").and_then(Value::as_u64).ok_or_else(noise)?;
    let pgbaton = hello.get("pgbaton").and_then(Value::as_str).unwrap_or("?").to_string();
    if protocol != u64::from(PROTOCOL) {
        return Err(ChannelFailure::Protocol {
            pgbaton,
            protocol: u32::try_from(protocol).unwrap_or(u32::MAX),
        });
    }
    serde_json::from_value(hello.clone()).map_err(|_| noise())
}

pub(crate) fn named(known: &Secrets, names: Vec<&str>) -> Secrets {
    names.into_iter().filter_map(|name| Some((name.to_string(), known.get(name)?.clone()))).collect()
}

/// Opens a channel to a host and makes certain that its server is no primary and does not become one: what has to come before anything
/// is promoted, or given up, whose far end may still be at work there.
///
/// The far end keeps the node's lock until the channel is closed.
///
/// # Errors
/// Exit code 12 if the host cannot be reached, 1 if something else answers there, 30 if a far end could not be ended or the lock is taken.
pub async fn secured(site: &Site, far_end: &FarEnd, within: Duration) -> Result<(Remote, Secured), Error> {
    let remote = second_channel(site, far_end, within).await?;
    let secured = remote.secure(false).await?;
    Ok((remote, secured))
}

/// Opens a channel to a host whose far ends are to be ended.
///
/// # Errors
/// Exit code 12 if the host cannot be reached, 1 if it is another one than it should be.
pub async fn second_channel(site: &Site, far_end: &FarEnd, within: Duration) -> Result<Remote, Error> {
    let (remote, hello) =
        Remote::open(site, far_end, within).await.map_err(|trouble| trouble.error(far_end))?;
    check_hello(far_end, Hello { locked_by: None, unfinished: None, ..hello })?;
    Ok(remote)
}

/// Looks at whom we talk to, and whether nothing else goes on there. What the operation needs of the server, its own checks have looked at.
pub(crate) fn check_hello(far_end: &FarEnd, hello: Hello) -> Result<(), Error> {
    let found = checks(far_end, &Expected::default(), &Ok(hello));
    match found.into_iter().find(Check::stops) {
        Some(check) => Err(Error::new(check.exit, check.text)),
        None => Ok(()),
    }
}
