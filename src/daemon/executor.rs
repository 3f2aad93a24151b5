//! What the daemon does outside of the lease's thread: files, programs, the metadata, and what follows from the state of the server.
//!
//! Role changes of this host go through the commands: a child of this process stops, starts, repoints and rejoins as a person would have it
//! done, with the same plans, journals and locks.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use pgbaton_fencer::protocol::Request;
use pgbaton_lease::driver::CommandLock;
use pgbaton_lease::{Action, Ask, Epoch, Event, Flag, Op, Server, Stage};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::lease::{Order, Snapshot, Told, now, why};
use super::{fencer, record, server};
use crate::config::Config;
use crate::context::Context;
use crate::error::Exit;
use crate::facts::daemon_flag::{self as flag, Belongs};
use crate::facts::directory::running_postmaster;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::observe::daemons::{BY_DAEMON, random_op};
use crate::observe::discovery;
use crate::pg::client::Session;
use crate::pg::control_file::{self, ControlState};
use crate::registry::lock;
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::environment::own_program;
use crate::system::files;
use crate::system::process::{self, ChildContext};
use crate::system::supervisor::Supervisor;
use crate::ui::Level;

/// How often the state is looked at although nothing has changed.
const LOOK: Duration = Duration::from_millis(100);

/// How long a standby may be without its upstream before it is given another one.
const DETACHED: Duration = Duration::from_secs(2);

/// How often the whole cluster is looked at.
const TOPOLOGY: Duration = Duration::from_secs(30);

/// How often the supervisor is told what this daemon does.
const STATUS: Duration = Duration::from_secs(2);

/// How long the WAL receiver is given to come back to the upstream that it has.
const RETRIES: Duration = Duration::from_secs(15);

/// How often the nodes are read from the metadata.
const PEERS: Duration = Duration::from_secs(5);

/// The pause after a command that has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// A program of this process that is running.
type Child = tokio::task::JoinHandle<anyhow::Result<process::Finished>>;

/// What a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Stop the server for a hand-over.
    Stop(Op),
    /// Start it, as what its files say.
    Start,
    /// Attach it to the leader.
    Follow,
    /// Attach it, although it has diverged.
    Rejoin,
}

/// What the executor works with.
pub struct Setting<'a> {
    pub context: &'a Context,
    pub config: &'a Config,
    pub belongs: Belongs,
    pub state_directory: PathBuf,
    pub runtime: PathBuf,
    pub told: mpsc::UnboundedSender<Told>,
    pub snapshot: watch::Receiver<Option<Snapshot>>,
    /// How long a lease lasts, in milliseconds.
    pub lease_ms: u64,
    /// How long a server that has gone may take to come back in place, in milliseconds.
    pub restart_ms: u64,
    /// Within what time another node is the primary, if a majority of the nodes is there, in milliseconds.
    pub successor_ms: u64,
    /// How long the lock of commands is kept after the flag has changed: until no older line of this daemon can be seen.
    pub keep_lock: Duration,
    /// It takes part in elections.
    pub is_automatic: bool,
    /// What has started this process.
    pub supervisor: Supervisor,
}

/// Carries out what the lease orders.
pub struct Executor<'a> {
    setting: Setting<'a>,
    child: Option<(Purpose, Child)>,
    /// Nothing is started again before this.
    not_before: Instant,
    /// The session that has it, and since when the flag is what it is.
    command_lock: Option<(Session, Instant)>,
    flag: Option<Flag>,
    /// The server has gone since.
    down_since: Option<Instant>,
    /// The standby has had no upstream since.
    detached_since: Option<Instant>,
    /// The role of the server that was seen last.
    last: Option<Server>,
    /// The leader's record of the roles is still to be written.
    is_to_record: bool,
    members_written: Option<Instant>,
    said_why_not: Option<&'static str>,
    /// A follow has failed: the node has to be rejoined.
    is_to_rejoin: bool,
    /// It comes back as a standby, and is not attached yet.
    is_returning: bool,
    /// When the leader was asked last to readmit this node.
    asked_in: Option<Instant>,
    /// When the nodes were read last.
    peers_read: Option<Instant>,
    /// The node that this one is registered to follow.
    upstream: Option<i32>,
    /// The leader that was seen last, and whether it is another one than the upstream was.
    leader: Option<u32>,
    is_to_follow: bool,
    /// A look at the whole cluster, which keeps the saved topology fresh, and when it was begun.
    looking: Option<LocalBoxFuture<'a, ()>>,
    looked: Option<Instant>,
    /// When the supervisor was told something last.
    supervised: Option<Instant>,
}

impl<'a> Deref for Executor<'a> {
    type Target = Setting<'a>;

    fn deref(&self) -> &Setting<'a> {
        &self.setting
    }
}

impl<'a> Executor<'a> {
    /// Begins.
    pub fn new(setting: Setting<'a>) -> Self {
        Self {
            setting,
            child: None,
            not_before: Instant::now(),
            command_lock: None,
            flag: None,
            down_since: None,
            detached_since: None,
            last: None,
            is_to_record: false,
            members_written: None,
            said_why_not: None,
            is_to_rejoin: false,
            is_returning: false,
            asked_in: None,
            peers_read: None,
            upstream: None,
            leader: None,
            is_to_follow: false,
            looking: None,
            looked: None,
            supervised: None,
        }
    }
}

impl<'a> Executor<'a> {
    /// Works until the lease's thread ends.
    pub async fn run(&mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.carry_out(order).await,
                    None => return,
                },
                () = sleep(LOOK) => {}
                changed = self.setting.snapshot.changed() => if changed.is_err() { return },
                () = background(&mut self.looking) => self.looking = None,
            }
            self.child_has_ended().await;
            self.look_at_cluster();
            self.tell_supervisor();
            let snapshot = self.snapshot.borrow().clone();
            if let Some(snapshot) = snapshot {
                self.reconcile(&snapshot).await;
            }
        }
    }

    /// Tells the supervisor what this daemon does, and that it is alive. Its word is that of the lease's thread, too: without that there is no
    /// fresh snapshot.
    fn tell_supervisor(&mut self) {
        let due = self.supervisor.interval.unwrap_or(STATUS).min(STATUS);
        if self.supervised.is_some_and(|at| at.elapsed() < due) {
            return;
        }
        let Some(snapshot) = self.snapshot.borrow().clone() else { return };
        if now().since(snapshot.at) > self.lease_ms {
            return;
        }
        let what = match () {
            () if snapshot.state.writes() => "leads",
            () if snapshot.state.candidacy.is_some() => "stands for election",
            () if snapshot.state.is_willing() => "follows",
            () => "takes no part",
        };
        self.supervisor.tell(&format!("WATCHDOG=1\nSTATUS={what}, {}", flag::name(snapshot.state.flag)));
        self.supervised = Some(Instant::now());
    }

    /// Keeps the saved topology fresh: it is what this node, and the start guard, know when the server is down.
    fn look_at_cluster(&mut self) {
        if self.looking.is_none() && self.looked.is_none_or(|at| at.elapsed() > TOPOLOGY) {
            self.looked = Some(Instant::now());
            let context: &'a Context = self.setting.context;
            self.looking = Some(Box::pin(async move {
                // What it finds is kept by itself.
                let _found = discovery::cluster(context).await;
            }));
        }
    }

    fn tell(&self, told: Told) {
        let _ended = self.told.send(told);
    }

    fn event(&self, event: Event) {
        self.tell(Told::Event(event));
    }

    fn say(&self, level: Level, text: &str) {
        self.context.ui.say(level, text);
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Act(Action::WriteFlag(flag, epoch)) => self.write_flag(flag, epoch).await,
            Order::Act(Action::Stop(op)) => self.stop(op),
            Order::Act(Action::WriteSignal(op)) => match self.write_signal().await {
                Ok(()) => self.event(Event::Signalled(op)),
                Err(error) => {
                    self.say(Level::Error, &format!("could not write standby.signal: {error:#}"));
                    self.event(Event::Failed(op));
                }
            },
            Order::Act(Action::Scan(op)) => self.scan(op).await,
            Order::Act(Action::RemoveSignal(_)) => self.remove_signal().await,
            Order::Act(Action::BeStandby) => {
                if let Err(error) = self.write_signal().await {
                    self.say(Level::Error, &format!("could not write standby.signal: {error:#}"));
                }
            }
            Order::Act(Action::Fence(cause)) => {
                self.say(Level::Warning, &format!("the server is being stopped: {}", why(cause)));
                self.is_to_rejoin = false;
                // The fencer does it; where it cannot, this is what is left. Not later than it was decided: the server may be another one by then.
                let is_present = self.snapshot.borrow().as_ref().is_some_and(|known| known.state.lapsed);
                if !is_present {
                    return;
                }
                if let Err(error) = self.write_signal().await {
                    self.say(Level::Error, &format!("could not write standby.signal: {error:#}"));
                }
                let data = self.config.data_directory.clone();
                let _ended = tokio::task::spawn_blocking(move || server::end(&data)).await;
                record::event(self.context, None, "node_fenced", true, why(cause)).await;
            }
            Order::Act(_) => {}
            Order::WriteMembers(members, data, voters) => {
                if self.members_written.is_some_and(|at| at.elapsed() < Duration::from_millis(500)) {
                    return;
                }
                self.members_written = Some(Instant::now());
                let row = record::MembersRow {
                    cluster_key: super::view::cluster_key(&self.belongs.system_identifier),
                    version: members.version,
                    data,
                    voters,
                };
                match record::write_members(self.context, &row).await {
                    Ok(()) => self.event(Event::MembersWritten(members)),
                    Err(error) => {
                        self.say(Level::Warning, &format!("could not record the members: {}", error.message));
                    }
                }
            }
            Order::CheckPromotion(pid) => self.check_promotion(pid).await,
            Order::TakeCommandLock => {
                let taken = self.take_command_lock().await;
                self.tell(Told::CommandLock(if taken { CommandLock::Taken } else { CommandLock::Refused }));
                if !taken {
                    // The question is not asked again at once.
                    let told = self.told.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_secs(1)).await;
                        let _ended = told.send(Told::CommandLock(CommandLock::NotTried));
                    });
                }
            }
        }
    }

    async fn write_flag(&self, flag: Flag, epoch: Epoch) {
        loop {
            let (state, belongs) = (self.state_directory.clone(), self.belongs.clone());
            let written =
                tokio::task::spawn_blocking(move || flag::save(&state, &belongs, flag, epoch)).await;
            match written {
                Ok(Ok(())) => break,
                Ok(Err(error)) => self.say(
                    Level::Error,
                    &format!("could not record the state of the daemon, trying again: {error:#}"),
                ),
                Err(error) => self.say(Level::Error, &error.to_string()),
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.say(Level::Notice, &format!("the daemon is {}", flag::name(flag)));
        self.tell(Told::FlagWritten);
    }

    async fn write_signal(&self) -> anyhow::Result<()> {
        let path = self.config.data_directory.join(STANDBY_SIGNAL);
        tokio::task::spawn_blocking(move || match path.symlink_metadata() {
            Ok(_) => Ok(()),
            Err(_) => files::write(&path, b"", 0o600),
        })
        .await?
    }

    async fn remove_signal(&self) {
        let place = self.fencer_place();
        let removed = async {
            let mut stream = fencer::find_or_start(&place).await?;
            fencer::ask(&mut stream, Request::RemoveSignal).await
        };
        match removed.await {
            Ok(answer) if answer.is_done => {}
            Ok(_) => self.say(Level::Warning, "standby.signal stays: the lease has ended"),
            Err(error) => self.say(Level::Error, &format!("could not reach the fencer: {error}")),
        }
    }

    fn fencer_place(&self) -> fencer::Place {
        fencer::Place {
            program: super::fencer_program(),
            data: self.config.data_directory.clone(),
            runtime: self.runtime.clone(),
        }
    }

    /// Looks for processes in the data directory: one that was started by an earlier permission may be on its way.
    async fn scan(&self, op: Op) {
        for _ in 0..20 {
            let data = self.config.data_directory.clone();
            if tokio::task::spawn_blocking(move || server::is_empty(&data)).await.unwrap_or(false) {
                return self.event(Event::Scanned(op));
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.say(Level::Warning, "a process still works in the data directory");
        self.event(Event::Failed(op));
    }

    async fn take_command_lock(&mut self) -> bool {
        if self.command_lock.as_ref().is_some_and(|(session, _)| !session.is_closed()) {
            return true;
        }
        let Ok(session) = self.context.connect_local().await else { return false };
        let key = lock::KEY.to_string();
        let row = session.query_one(lock::TRY_LOCK, &[Some(&key)]).await;
        let taken = row.is_ok_and(|row| row.get(0) == Some("true"));
        if taken {
            self.command_lock = Some((session, Instant::now()));
        }
        taken
    }

    /// What was asked in a session may be carried out after its client has left: its process is ended first.
    async fn check_promotion(&self, pid: Option<i32>) {
        let data = &self.config.data_directory;
        for _ in 0..100 {
            let Ok(session) = self.context.connect_local().await else {
                if server::is_empty(data) {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            if let Some(pid) = pid {
                let pid = pid.to_string();
                let ended = session
                    .query(
                        "SELECT pg_terminate_backend($1::int)::text FROM pg_stat_activity WHERE pid = $1::int",
                        &[Some(&pid)],
                    )
                    .await;
                if ended.is_ok_and(|rows| !rows.is_empty()) {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            let is_requested = || data.join("promote").symlink_metadata().is_ok();
            let first = is_requested();
            let in_recovery = async || {
                let row = session.query_one("SELECT pg_is_in_recovery()::text", &[]).await;
                row.ok().and_then(|row| row.get(0).map(|text| text == "true"))
            };
            let before = in_recovery().await;
            sleep(Duration::from_millis(100)).await;
            // Where replay could still be paused, no promotion is on its way.
            let going = session
                .query_one(
                    "SELECT CASE WHEN NOT pg_is_wal_replay_paused() THEN pg_wal_replay_resume() END::text",
                    &[],
                )
                .await;
            match (before, in_recovery().await) {
                (Some(true), Some(true)) if !first && !is_requested() && going.is_ok() => {
                    return self.event(Event::NotPromoted);
                }
                (_, Some(false)) => return,
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    // ---- programs -----------------------------------------------------------------------------------------------------------

    fn start_child(&mut self, purpose: Purpose, words: &[&str]) {
        let program = own_program().map_or_else(|| "pgbaton".to_string(), |path| path.display().to_string());
        let file = self.config.file().display().to_string();
        let mut args = vec!["-f".to_string(), file];
        args.extend(words.iter().map(|word| (*word).to_string()));
        let mut command = Command::new(program, args);
        command.env.push((BY_DAEMON.to_string(), std::process::id().to_string()));
        self.say(Level::Info, &format!("running: pgbaton {}", words.join(" ")));
        let environment = self.context.environment.clone();
        let child = tokio::spawn(async move {
            let around =
                ChildContext { environment: Some(&environment), secrets: Secrets::new(), inherit_pg: true };
            process::run(&command, &around).await
        });
        self.child = Some((purpose, child));
    }

    async fn child_has_ended(&mut self) {
        if self.child.as_ref().is_none_or(|(_, child)| !child.is_finished()) {
            return;
        }
        let Some((purpose, child)) = self.child.take() else { return };
        let (failure, code) = match child.await {
            Ok(Ok(finished)) if finished.status.success() => (None, Some(0)),
            Ok(Ok(finished)) => (Some(last_words(&finished)), finished.status.code()),
            Ok(Err(error)) => (Some(format!("{error:#}")), None),
            Err(error) => (Some(error.to_string()), None),
        };
        let is_passing = code.is_some_and(|code| {
            [Exit::Busy, Exit::Connection].iter().any(|exit| i32::from(exit.code()) == code)
        });
        match (purpose, failure) {
            (Purpose::Stop(op), Some(failure)) => {
                self.say(Level::Warning, &format!("the server could not be stopped: {failure}"));
                self.event(Event::Failed(op));
            }
            // Another node is at it, or a server is just coming back.
            (Purpose::Follow | Purpose::Rejoin, Some(failure)) if is_passing => {
                self.say(Level::Info, &format!("trying again: {failure}"));
                let pause = 500 + u64::from(random_op()) % 1000;
                self.not_before = Instant::now() + Duration::from_millis(pause);
            }
            (Purpose::Follow, Some(failure)) => {
                self.say(Level::Warning, &format!("the node could not be repointed: {failure}"));
                self.is_to_rejoin = true;
                self.not_before = Instant::now();
            }
            (Purpose::Rejoin, Some(failure)) => {
                self.say(Level::Warning, &format!("the node could not be rejoined: {failure}"));
                self.is_to_rejoin = false;
                // Without a person it will not go better soon.
                self.not_before = Instant::now() + if code == Some(32) { 6 * AGAIN } else { AGAIN };
            }
            (Purpose::Start, Some(failure)) => {
                self.say(Level::Warning, &format!("the server could not be started: {failure}"));
                self.not_before = Instant::now() + Duration::from_secs(1);
            }
            (Purpose::Follow | Purpose::Rejoin, None) => {
                self.is_to_rejoin = false;
                self.is_to_follow = false;
                self.peers_read = None;
                self.detached_since = None;
                let event =
                    if purpose == Purpose::Follow { "repmgrd_failover_follow" } else { "node_rejoined" };
                record::event(self.context, None, event, true, "attached to the new primary").await;
            }
            (Purpose::Stop(_) | Purpose::Start, None) => {}
        }
    }

    fn stop(&mut self, op: Op) {
        if let Some((_, child)) = self.child.take() {
            child.abort();
        }
        self.start_child(Purpose::Stop(op), &["node", "stop"]);
    }

    // ---- what follows from the state ----------------------------------------------------------------------------------------

    async fn reconcile(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        self.keep_command_lock(snapshot);
        if self.peers_read.is_none_or(|at| at.elapsed() > PEERS) && state.server != Server::Standby
            || self.peers_read.is_none_or(|at| at.elapsed() > 3 * PEERS)
        {
            self.peers_read = Some(Instant::now());
            if let Some((peers, upstream)) = record::peers(self.context, self.config).await {
                self.tell(Told::Peers(peers));
                self.upstream = upstream;
            }
        }
        if self.last != Some(state.server) {
            if state.server == Server::Primary {
                self.is_to_record = true;
            }
            self.last = Some(state.server);
        }
        if !state.members.data.has(state.me) {
            return;
        }
        self.begin_or_clear(snapshot).await;
        self.be_readmitted(snapshot).await;
        match state.server {
            Server::Down { .. } => self.is_down(snapshot).await,
            _ => self.down_since = None,
        }
        match state.server {
            Server::Primary if snapshot.leads() => {
                if self.is_to_record {
                    self.is_to_record = !record::new_primary(self.context, self.config).await;
                }
                self.copy_to_witnesses(snapshot).await;
                self.end_a_hung_server(snapshot).await;
            }
            Server::Standby if !state.requested && state.candidacy.is_none() => self.attach(snapshot),
            _ => self.detached_since = None,
        }
    }

    /// Gives the lock of commands back, once it has done its work.
    fn keep_command_lock(&mut self, snapshot: &Snapshot) {
        if self.flag != Some(snapshot.state.flag) {
            self.flag = Some(snapshot.state.flag);
            if let Some((_, since)) = &mut self.command_lock {
                *since = Instant::now();
            }
        }
        let is_over = self.command_lock.as_ref().is_some_and(|(session, since)| {
            session.is_closed() || since.elapsed() > self.keep_lock && snapshot.state.flag != Flag::Ending
        });
        if is_over {
            self.command_lock = None;
            self.tell(Told::CommandLock(CommandLock::NotTried));
        }
    }

    /// The first start of a cluster, which is the end of a pause that nobody began; and the end of any pause at the leader, once it is armed.
    async fn begin_or_clear(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        if !self.is_automatic {
            return;
        }
        let voters = state.members.voters.count();
        if state.flag == Flag::Full && state.epoch == Epoch::default() && state.server == Server::Primary {
            if voters < 3 {
                let why = "there is no automatic failover: the cluster has fewer than three nodes that vote";
                if self.said_why_not != Some(why) {
                    self.context.ui.message(
                        Level::Warning,
                        why,
                        Some("With two, the loss of either one would stop the primary."),
                        Some("Register a witness or another standby."),
                    );
                    self.said_why_not = Some(why);
                }
                return;
            }
            if state.votes_held() >= state.majority() && self.take_command_lock().await {
                self.tell(Told::Ask(0, Ask::Ending(Epoch::default(), true)));
            }
        }
        if state.flag == Flag::Ending
            && state.server == Server::Primary
            && snapshot.leads()
            && state.members_are_committed()
            && self.take_command_lock().await
        {
            let clear = Ask::Clear { armed: Some(state.epoch), ended: None, locked: true };
            // Of no operation: the command that ends the pause waits for another answer.
            self.tell(Told::Ask(0, clear));
        }
    }

    /// A node without a state of its own, which was added later or has lost it, takes part once the leader has raised its number above all others.
    async fn be_readmitted(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let own = snapshot.id(state.me);
        let Some(leader) = snapshot.leader.filter(|leader| Some(*leader) != own) else { return };
        let is_due = self.asked_in.is_none_or(|at| at.elapsed() > AGAIN);
        if !self.is_automatic || state.flag != Flag::New || state.server != Server::Standby || !is_due {
            return;
        }
        self.asked_in = Some(Instant::now());
        match record::ask_to_be_readmitted(self.context, leader).await {
            Ok(epoch) => self.tell(Told::Ask(epoch.op, Ask::Readmit(epoch))),
            Err(error) => {
                self.say(
                    Level::Notice,
                    &format!("node {leader} has not readmitted this node yet: {error:#}"),
                );
            }
        }
    }

    async fn is_down(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let since = *self.down_since.get_or_insert_with(Instant::now);
        let data = &self.config.data_directory;
        let control = control_file::read(data).ok().map(|control| control.state);
        if let Some(hand_over) = state.hand_over {
            if hand_over.stage == Stage::Stopped {
                // After a crash nobody knows where the WAL ends; the best standby is what there is.
                let position = control_file::shutdown_position(data).ok().flatten();
                self.tell(Told::Shutdown(position.map_or(0, |position| position.end.0)));
            }
            return;
        }
        if Instant::now() < self.not_before {
            return;
        }
        let gone = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let leads = state.may_start_as_primary(now());
        if leads
            && gone >= self.restart_ms
            && state.flag == Flag::Active
            && let Some(heir) = snapshot.heir
            && let Some((place, _)) = snapshot.ids.iter().find(|(_, id)| **id == heir)
        {
            // A start that goes on for too long is given up, whatever of it runs already.
            if let Some((Purpose::Start, child)) = &self.child {
                child.abort();
                self.child = None;
            }
            let directory = data.clone();
            let _ended =
                tokio::task::spawn_blocking(move || server::is_empty(&directory) || server::end(&directory))
                    .await;
            self.say(Level::Notice, &format!("the server is down: handing over to node {heir}"));
            self.tell(Told::Ask(random_op(), Ask::HandOver(*place)));
            self.not_before = Instant::now() + Duration::from_secs(1);
            return;
        }
        // What is starting already needs no help.
        if self.child.is_some() || running_postmaster(data).is_some() {
            return;
        }
        if leads {
            if control == Some(ControlState::ShutDown) && gone < self.restart_ms {
                // Somebody has stopped it, and is given the time to start it again.
                return;
            }
            self.start_child(Purpose::Start, &["node", "start"]);
        } else if state.must_return_as_standby(now())
            && (self.is_returning
                || control.is_some_and(|control| {
                    !matches!(control, ControlState::ShutDownInRecovery | ControlState::InArchiveRecovery)
                }))
        {
            if let Err(error) = self.write_signal().await {
                return self.say(Level::Error, &format!("could not write standby.signal: {error:#}"));
            }
            self.is_returning = true;
            // It was a primary, and may have WAL that the next one lacks. As a standby it would send that to those who still follow it; so it
            // is rejoined to the next primary before it starts, and waits until there has to be one.
            self.is_to_rejoin = true;
            let own = snapshot.id(state.me);
            if snapshot.leader.is_some_and(|leader| Some(leader) != own) {
                self.start_child(Purpose::Rejoin, &["node", "rejoin"]);
            } else if gone >= self.successor_ms {
                self.start_child(Purpose::Start, &["node", "start"]);
            }
        }
    }

    /// Attaches a standby that has lost its upstream to the leader.
    fn attach(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let own = snapshot.id(state.me);
        let Some(leader) = snapshot.leader.filter(|leader| Some(*leader) != own) else {
            self.detached_since = None;
            return;
        };
        // Whoever followed the old leader follows the new one, also where the old one has come back as a standby and sends again. Who follows
        // a standby stays with it.
        if self.leader.is_some_and(|before| before != leader && self.upstream == i32::try_from(before).ok()) {
            self.is_to_follow = true;
        }
        self.leader = Some(leader);
        if self.upstream == i32::try_from(leader).ok() {
            self.is_to_follow = false;
        }
        let is_attached = snapshot.silent.is_some() && !self.is_to_follow;
        if is_attached {
            self.is_returning = false;
        }
        if is_attached || matches!(state.flag, Flag::Full | Flag::New) || state.ready.is_some() {
            self.detached_since = None;
            return;
        }
        let since = *self.detached_since.get_or_insert_with(Instant::now);
        // A receiver that has lost its own upstream tries again by itself, every few seconds.
        let patience = if self.is_to_follow {
            Duration::ZERO
        } else if self.upstream == i32::try_from(leader).ok() {
            RETRIES
        } else {
            DETACHED
        };
        if since.elapsed() < patience || self.child.is_some() || Instant::now() < self.not_before {
            return;
        }
        if self.is_to_rejoin {
            // Without consent: what only this node has is never discarded by the daemon.
            self.start_child(Purpose::Rejoin, &["node", "rejoin"]);
        } else {
            self.start_child(
                Purpose::Follow,
                &["standby", "follow", "--upstream-node-id", &leader.to_string()],
            );
        }
    }

    async fn copy_to_witnesses(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let own = state.members.version;
        if own.timeline != state.timeline {
            return;
        }
        for voter in state.members.voters.iter().filter(|voter| !state.members.data.has(*voter)) {
            let Some(id) = snapshot.id(voter) else { continue };
            // Where nothing was seen, nothing can be written.
            if snapshot.shown.get(&id).is_none_or(|shown| *shown >= own)
                || self.members_written.is_some_and(|at| at.elapsed() < Duration::from_millis(500))
            {
                continue;
            }
            self.members_written = Some(Instant::now());
            let ids =
                |nodes: pgbaton_lease::Nodes| nodes.iter().filter_map(|node| snapshot.id(node)).collect();
            let row = record::MembersRow {
                cluster_key: super::view::cluster_key(&self.belongs.system_identifier),
                version: own,
                data: ids(state.members.data),
                voters: ids(state.members.voters),
            };
            if let Err(error) = record::copy_members(self.context, id, &row).await {
                self.say(Level::Warning, &format!("could not update witness {id}: {error:#}"));
            }
        }
    }

    /// A server that hangs would keep its lease for ever: it is ended, and comes back in place, or another one takes over.
    async fn end_a_hung_server(&self, snapshot: &Snapshot) {
        let silent = snapshot.answered.map_or(0, |at| now().since(at));
        if silent <= self.lease_ms || self.child.is_some() {
            return;
        }
        self.say(
            Level::Warning,
            &format!("the server has not answered for {silent} ms, although it runs: it is ended"),
        );
        let data = self.config.data_directory.clone();
        let _ended = tokio::task::spawn_blocking(move || server::end(&data)).await;
    }
}

/// Waits for what is done beside everything else; for ever, where there is nothing.
async fn background(work: &mut Option<LocalBoxFuture<'_, ()>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Returns what a command said was wrong.
fn last_words(finished: &process::Finished) -> String {
    let is_news =
        |line: &&str| ["ERROR", "DETAIL", "HINT", "FATAL"].iter().any(|word| line.starts_with(word));
    let said: Vec<&str> = finished.stderr.lines().collect();
    let from = said.iter().rposition(|line| line.starts_with("ERROR")).unwrap_or(0);
    let said: Vec<&str> = said.iter().skip(from).copied().filter(is_news).collect();
    match said.is_empty() {
        true => finished.to_string(),
        false => said.join(" "),
    }
}
