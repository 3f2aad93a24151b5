//! The daemons of the cluster: asked over the servers, where each has a session.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use futures_util::future::join_all;
use pgbaton_lease::mailbox::{Incarnation, NodeId, Request, Saying, Status};
use pgbaton_lease::{Ask, Op, Params};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::config::value::FailoverProfile;
use crate::error::{Error, Exit, Result};
use crate::facts::daemons::{self, Daemons};
use crate::observe::under_locks::open;
use crate::pg::client::Session;
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::registry::NodeRow;
use crate::site::Site;
use crate::verb::Verb;

/// How often an answer is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How long a daemon may take to answer: it reads what is asked with its heartbeat.
const PATIENCE: Duration = Duration::from_secs(6);

/// What the data of an error have where daemons are active.
const ACTIVE: &str = "automatic_failover_active";

/// Set by the daemon for the commands that it runs.
pub const BY_DAEMON: &str = "PGBATON_BY_DAEMON";

/// Returns the times of a configured profile.
pub fn params(config: &Config) -> Params {
    match config.failover_profile {
        FailoverProfile::Fast => pgbaton_lease::Profile::Fast,
        FailoverProfile::Default => pgbaton_lease::Profile::Default,
        FailoverProfile::Conservative => pgbaton_lease::Profile::Conservative,
    }
    .params()
}

/// What the server of a node shows.
#[derive(Debug)]
pub struct NodeDaemons {
    /// The node.
    pub row: NodeRow,
    /// A session to its server, and what is shown there; None where it does not respond.
    pub seen: Option<(Session, Daemons)>,
}

impl NodeDaemons {
    /// Returns what the node's own daemon says on its own server.
    pub fn own(&self) -> Option<&Status> {
        self.seen.as_ref()?.1.of(self.row.node_id)
    }
}

/// Asks all servers at once.
pub async fn of_cluster(site: &Site, rows: &[NodeRow]) -> Vec<NodeDaemons> {
    join_all(rows.iter().map(|row| async {
        let seen = async {
            let session = open(site, row).await.ok()?;
            let daemons = daemons::read(&session).await.ok()?;
            Some((session, daemons))
        };
        NodeDaemons { row: row.clone(), seen: seen.await }
    }))
    .await
}

/// Returns the nodes that an operator says are switched off. Of one that responds that is not believed.
///
/// # Errors
/// Exit code 1 for a node that responds, or is not registered.
pub fn named_off<'a>(nodes: &'a [NodeDaemons], names: &[String]) -> Result<Vec<&'a NodeRow>> {
    let unchanged = "Nothing was changed.";
    let mut off = Vec::new();
    for wanted in names {
        let is_meant =
            |node: &&NodeDaemons| node.row.node_name == *wanted || node.row.node_id.to_string() == *wanted;
        let node = nodes.iter().find(is_meant).ok_or_else(|| {
            Error::failed(format!("node \"{wanted}\" is not registered"))
                .detail(unchanged)
                .hint("\"pgbaton cluster show\" has the names.")
        })?;
        if node.seen.is_some() {
            return Err(Error::failed(format!("node \"{wanted}\" responds, so it is not switched off"))
                .detail(unchanged)
                .hint("Leave it out of --proven-off."));
        }
        off.push(&node.row);
    }
    Ok(off)
}

/// Refuses a command that may make a primary while a daemon is active that would not know of it.
///
/// # Errors
/// Exit code 1.
pub async fn refuse_beside_active(site: &Site, sessions: &[&Session]) -> Result<()> {
    // What is resumed or abandoned may make a primary, too.
    let may_promote =
        site.verb.traits().promotes || matches!(site.verb, Verb::OperationResume | Verb::OperationAbandon);
    if !may_promote || site.environment.get(BY_DAEMON).is_some() {
        return Ok(());
    }
    let seen = join_all(sessions.iter().map(|session| daemons::read(session))).await;
    let Some(active) = seen.iter().flatten().find_map(Daemons::active) else { return Ok(()) };
    Err(Error { data: json!({ ACTIVE: true }), ..Error::new(Exit::Failed, "automatic failover is active in this cluster")
        .detail(format!(
            "The daemon of node {} runs and is not paused: it would act against this command. Nothing was changed.",
            active.node
        ))
        .hint("Pause it first: \"pgbaton service pause\"; afterwards \"pgbaton service unpause\".") })
}

/// Says whether a command was refused because daemons are active.
pub fn are_active(error: &Error) -> bool {
    error.data.get(ACTIVE).is_some()
}

/// Asks a daemon, by a session to its own server, and waits for its answer; None if none comes.
pub async fn ask(site: &Site, row: &NodeRow, to: &Status, op: Op, ask: Ask) -> Option<(Status, Saying)> {
    ask_about(site, row, to, (op, ask), None).await
}

/// Asks something about a node. Its place in the question is the daemon's own affair; what is written is its ID.
pub async fn ask_about(
    site: &Site,
    row: &NodeRow,
    to: &Status,
    (op, ask): (Op, Ask),
    about: Option<NodeId>,
) -> Option<(Status, Saying)> {
    Question::put(site, row, to, (op, ask), about).await?.answer().await
}

/// A question that is shown to a daemon until this is dropped. The daemon shows its answer as long.
pub struct Question<'a> {
    session: Session,
    row: &'a NodeRow,
    incarnation: Incarnation,
    op: Op,
    ask: Ask,
}

impl<'a> Question<'a> {
    /// Shows it to the daemon of a node, on that node's server.
    pub async fn put(
        site: &Site,
        row: &'a NodeRow,
        to: &Status,
        (op, ask): (Op, Ask),
        about: Option<NodeId>,
    ) -> Option<Self> {
        let request = Request { to: to.node, incarnation: to.incarnation, op, ask };
        let line = request.line(|_| about)?;
        let conninfo = Conninfo::parse(&row.conninfo).ok()?;
        let options = ConnectOptions {
            deadline: PATIENCE,
            query_deadline: PATIENCE,
            application_name: Some(line),
            ..ConnectOptions::default()
        };
        let session = connect(&conninfo, &site.environment, &options).await.ok()?;
        Some(Self { session, row, incarnation: to.incarnation, op, ask })
    }

    /// Waits for the answer; None if none comes in time, or the daemon is another one by now.
    pub async fn answer(&self) -> Option<(Status, Saying)> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let seen = daemons::read(&self.session).await.ok()?;
            // Its session may be ending and beginning anew.
            if let Some(status) = seen.of(self.row.node_id).copied() {
                if status.incarnation != self.incarnation {
                    return None;
                }
                if let Some((said, saying)) = status.says
                    && said == self.op
                    && answers(self.ask, saying)
                {
                    return Some((status, saying));
                }
            }
            sleep(LOOK).await;
        }
        None
    }
}

/// Says whether this is the answer to that question: what a daemon shows of the state that it is in may have the same operation.
const fn answers(ask: Ask, saying: Saying) -> bool {
    matches!(
        (ask, saying),
        (_, Saying::No(_))
            | (Ask::Hold(_), Saying::Held)
            | (Ask::Full { .. }, Saying::Full)
            | (Ask::Ending(..), Saying::Ending | Saying::Armed)
            | (Ask::Clear { .. }, Saying::Cleared)
            | (Ask::Raise, Saying::Raised)
            | (Ask::Candidate, Saying::Noted | Saying::Votes(_))
            | (Ask::Off(..), Saying::Noted)
            | (Ask::Aside(_), Saying::Aside(_))
            | (Ask::Member(_), Saying::Going)
            | (Ask::HandOver(_), Saying::Wants(_) | Saying::Going | Saying::Note(_))
    )
}

/// Returns a random number.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns a random number of an operation that was asked for: never 0, which is no operation.
pub fn random_op() -> Op {
    Op::try_from(random() & 0xffff_fffe).unwrap_or(2).max(2)
}

/// Returns a random number of an operation that a daemon begins by itself. That it is odd says so to the other daemons.
pub fn own_op() -> Op {
    random_op() | 1
}

/// Says whether a daemon has begun an operation by itself, as in a failover.
pub const fn is_own(op: Op) -> bool {
    op & 1 == 1
}
