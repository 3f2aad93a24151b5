//! What the daemon does besides failing over, as repmgrd does: what it records, what it reports, and when it rereads its configuration.
//!
//! Everything here has sessions of its own and waits for servers, in tasks of the daemon's main thread. The lease has another thread, of which
//! only the [`Snapshot`] is read: nothing here can keep it waiting.
//!
//! | module | does |
//! |---|---|
//! | `events` | event notifications: the hook at once, the row as soon as there is a primary |
//! | `transitions` | which changes of the lease are events |
//! | `links` | checks the own server and the upstream |
//! | `children` | counts the nodes that stream from this one |
//! | `history` | rows of `monitoring_history` |
//! | `witness` | the copy of the metadata on a witness |
//! | `status` | lines that say what is monitored |
//! | `reload` | SIGHUP: the configuration and the log |

mod children;
mod events;
mod history;
mod links;
mod reload;
mod status;
mod transitions;
mod witness;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

pub use self::events::{Announcer, Happened};
pub use self::reload::configure_log;

use self::events::Queue;
use self::links::Link;
use super::record;
use super::snapshot::Snapshot;
use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::pg::client::Session;
use crate::pg::conninfo::Conninfo;
use crate::registry::{NodeRow, NodeType};
use crate::system::signals::Signals;
use crate::ui::Level;

/// What a node is, as its own server said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Standby,
    Witness,
}

/// What was seen last, for the parts of the monitor that need it of one another.
#[derive(Debug, Default)]
struct Seen {
    /// None before the own server has answered.
    role: Option<Role>,
    local: Link,
    /// The node that is checked as the upstream.
    upstream: Option<(i32, Link)>,
    /// How many nodes are attached, and how many are registered to follow this one.
    children: Option<(usize, usize)>,
    /// When a row of the history was written last.
    recorded: Option<tokio::time::Instant>,
}

/// The monitor.
pub struct Monitor<'a> {
    context: &'a Context,
    /// What is in force: SIGHUP replaces it.
    config: RefCell<Rc<Config>>,
    snapshot: watch::Receiver<Option<Snapshot>>,
    announcer: Announcer,
    queue: Queue,
    /// The nodes, as they were read last.
    rows: RefCell<Vec<NodeRow>>,
    is_witness: bool,
    is_automatic: bool,
    seen: RefCell<Seen>,
}

/// What the monitor begins with.
pub struct Setting<'a> {
    pub context: &'a Context,
    pub config: &'a Config,
    pub snapshot: watch::Receiver<Option<Snapshot>>,
    /// The nodes, as they are known at the start.
    pub rows: Vec<NodeRow>,
    pub is_witness: bool,
    pub is_automatic: bool,
}

impl<'a> Monitor<'a> {
    /// Prepares.
    pub fn new(setting: Setting<'a>) -> Self {
        let (there, happened) = mpsc::unbounded_channel();
        Self {
            context: setting.context,
            config: RefCell::new(Rc::new(setting.config.clone())),
            snapshot: setting.snapshot,
            announcer: Announcer::new(there),
            queue: Queue::new(happened),
            rows: RefCell::new(setting.rows),
            is_witness: setting.is_witness,
            is_automatic: setting.is_automatic,
            seen: RefCell::default(),
        }
    }

    /// Returns what takes events from everything else.
    pub fn announcer(&self) -> Announcer {
        self.announcer.clone()
    }

    /// Works for ever; returns why the daemon has to end, which is only `degraded_monitoring_timeout`.
    pub async fn run(&self, signals: &Signals) -> Error {
        let parts = async {
            tokio::join!(
                self.take_events(),
                self.write_events(),
                self.follow_lease(),
                self.count_children(),
                self.write_history(),
                self.keep_copy(),
                self.write_status(),
                self.reload_at(signals),
            );
            // A part that has ended, as one does that this node does not need, ends nothing else.
            std::future::pending().await
        };
        tokio::select! {
            ended = self.check_local() => ended,
            ended = self.check_upstream() => ended,
            never = parts => never,
        }
    }

    /// The configuration in force.
    fn config(&self) -> Rc<Config> {
        Rc::clone(&self.config.borrow())
    }

    fn say(&self, level: Level, text: &str) {
        self.context.ui.say(level, text);
    }

    /// Announces something that has happened to this node.
    fn announce(&self, event: &'static str, successful: bool, details: String) {
        self.announcer.announce(Happened::new(event, successful, details));
    }

    async fn open_local(&self) -> anyhow::Result<Session> {
        record::open_local(self.context).await
    }

    fn row(&self, node_id: i32) -> Option<NodeRow> {
        self.rows.borrow().iter().find(|row| row.node_id == node_id).cloned()
    }

    /// The node that leads, as the lease's thread sees it.
    fn leader(&self) -> Option<i32> {
        let known = self.snapshot.borrow();
        known.as_ref().and_then(|known| known.leader).and_then(|id| i32::try_from(id).ok())
    }

    /// The nodes with data, the most likely primary first.
    fn likely_primaries(&self) -> Vec<NodeRow> {
        let leader = self.leader();
        let mut rows: Vec<NodeRow> =
            self.rows.borrow().iter().filter(|row| row.node_type != NodeType::Witness).cloned().collect();
        rows.sort_by_key(|row| {
            (Some(row.node_id) != leader, !(row.active && row.node_type == NodeType::Primary), row.node_id)
        });
        rows
    }

    /// Finds a server that accepts writes, and opens a session to it.
    async fn open_primary(&self) -> Option<(NodeRow, Session)> {
        for row in self.likely_primaries() {
            if let Some(session) = self.open_if_primary(&row).await {
                return Some((row, session));
            }
        }
        None
    }

    async fn open_if_primary(&self, row: &NodeRow) -> Option<Session> {
        let session = self.open(row).await.ok()?;
        let answer = session.query_one("SELECT pg_is_in_recovery()::text", &[]).await.ok()?;
        (answer.get(0) == Some("false")).then_some(session)
    }

    async fn open(&self, row: &NodeRow) -> anyhow::Result<Session> {
        if row.node_id == self.config().node_id {
            return self.open_local().await;
        }
        record::open(self.context, &Conninfo::parse(&row.conninfo)?).await
    }
}

/// Waits until the next look, at least a moment.
async fn rest(interval: Duration) {
    sleep(interval.max(Duration::from_millis(100))).await;
}

/// How a node is named in details, as repmgr names it.
fn named(row: &NodeRow) -> String {
    format!("\"{}\" (ID: {})", row.node_name, row.node_id)
}
