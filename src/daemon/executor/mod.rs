//! What the daemon does outside of the lease's thread: files, programs, the metadata, and what follows from the state of the server.
//!
//! Role changes of this host go through the commands: a child of this process stops, starts, repoints and rejoins as a person would have it
//! done, with the same plans, journals and locks.

mod effects;
mod members;
mod programs;
mod state;
mod withheld;

use std::cell::Cell;
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use pgbaton_lease::driver::Withheld;
use pgbaton_lease::{Event, Flag, Op, Server, Version};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use self::programs::{Child, Purpose};
use super::lease::{Order, Peer, Told, now};
use super::monitor::{Announcer, Happened};
use super::repmgrd;
use super::snapshot::Snapshot;
use crate::config::Config;
use crate::context::Context;
use crate::facts::daemon_flag::{self as flag, Belongs};
use crate::observe::discovery;
use crate::pg::client::Session;
use crate::registry::NodeRow;
use crate::system::supervisor::Supervisor;
use crate::ui::Level;

/// How often the state is looked at although nothing has changed.
const LOOK: Duration = Duration::from_millis(100);

/// How often the whole cluster is looked at.
const TOPOLOGY: Duration = Duration::from_secs(30);

/// How often the supervisor is told what this daemon does.
const STATUS: Duration = Duration::from_secs(2);

/// The pause after a command that has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// What the executor works with.
pub struct Setting<'a> {
    pub context: &'a Context,
    pub config: &'a Config,
    pub belongs: Belongs,
    pub state_directory: PathBuf,
    pub runtime: PathBuf,
    pub told: mpsc::UnboundedSender<Told>,
    pub snapshot: watch::Receiver<Option<Snapshot>>,
    /// The daemon is about to end, and hands over first.
    pub ends: Rc<Cell<bool>>,
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
    /// Takes events.
    pub announcer: Announcer,
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
    /// An operator has reset this node, and it has not led since.
    unbound: bool,
    /// The server has gone since.
    down_since: Option<Instant>,
    /// The standby has had no upstream since.
    detached_since: Option<Instant>,
    /// The role of the server that was seen last.
    last: Option<Server>,
    /// The leader's record of the roles is still to be written.
    is_to_record: bool,
    /// The row of the members that was written last, and when; a change that was tried, and a copy for a witness.
    members_written: Option<(Version, Instant)>,
    membership_tried: Option<Instant>,
    copied: Option<Instant>,
    said_why_not: Option<&'static str>,
    /// The reason for which this node does not stand that was said last, and the command that validates, while it runs.
    said_withheld: Option<Withheld>,
    validating: Option<Child>,
    /// The node whose change of membership was said.
    said_of: Option<u32>,
    /// A follow has failed: the node has to be rejoined.
    is_to_rejoin: bool,
    /// It comes back as a standby, and is not attached yet.
    is_returning: bool,
    /// When the leader was asked last to readmit this node.
    asked_in: Option<Instant>,
    /// The nodes that are registered, and when they were read last.
    peers: Vec<Peer>,
    peers_read: Option<Instant>,
    /// The nodes, as they were read last.
    rows: Vec<NodeRow>,
    /// The hand-over by which this node got its role before, which is not the reason for another one.
    given: Option<Op>,
    /// The node that this one is registered to follow.
    upstream: Option<i32>,
    /// The leader that was seen last, and whether it is another one than the upstream was.
    leader: Option<u32>,
    is_to_follow: bool,
    /// A look at the whole cluster, which keeps the saved topology fresh, and when it was begun.
    looking: Option<LocalBoxFuture<'a, Vec<String>>>,
    looked: Option<Instant>,
    /// Where a repmgrd runs that would fail over, too.
    repmgrds: Vec<String>,
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
    pub fn new(setting: Setting<'a>, unbound: bool) -> Self {
        Self {
            setting,
            child: None,
            not_before: Instant::now(),
            command_lock: None,
            flag: None,
            unbound,
            down_since: None,
            detached_since: None,
            last: None,
            is_to_record: false,
            members_written: None,
            membership_tried: None,
            copied: None,
            said_why_not: None,
            said_withheld: None,
            validating: None,
            said_of: None,
            is_to_rejoin: false,
            is_returning: false,
            asked_in: None,
            peers: Vec::new(),
            peers_read: None,
            rows: Vec::new(),
            given: None,
            upstream: None,
            leader: None,
            is_to_follow: false,
            looking: None,
            looked: None,
            repmgrds: Vec::new(),
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
                found = background(&mut self.looking) => {
                    self.looking = None;
                    self.report_repmgrds(found);
                }
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
            let config: &'a Config = self.setting.config;
            let is_automatic = self.is_automatic;
            self.looking = Some(Box::pin(async move {
                // What it finds is kept by itself.
                let found = discovery::cluster(context).await;
                let rows: Vec<_> = found
                    .iter()
                    .flat_map(|found| found.facts.nodes.iter().map(|node| node.row.clone()))
                    .collect();
                if is_automatic { repmgrd::running(context, config, &rows).await } else { Vec::new() }
            }));
        }
    }

    /// Warns of each change.
    fn report_repmgrds(&mut self, found: Vec<String>) {
        if found == self.repmgrds {
            return;
        }
        match found.is_empty() {
            true => self.say(Level::Notice, "no repmgrd is seen any more that is not paused"),
            false => self.context.ui.message(
                Level::Warning,
                &repmgrd::text(&found),
                Some(repmgrd::DETAIL),
                Some(repmgrd::HINT),
            ),
        }
        self.repmgrds = found;
    }

    fn tell(&self, told: Told) {
        let _ended = self.told.send(told);
    }

    fn event(&self, event: Event) {
        self.tell(Told::Event(event));
    }

    fn announce(&self, event: &'static str, successful: bool, details: String) {
        self.announcer.announce(Happened::new(event, successful, details));
    }

    fn say(&self, level: Level, text: &str) {
        self.context.ui.say(level, text);
    }
}

/// Waits for what is done at the same time as everything else; for ever, where there is nothing.
async fn background<T>(work: &mut Option<LocalBoxFuture<'_, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
