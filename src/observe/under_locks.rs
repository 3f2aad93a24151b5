//! The locks of a command that changes roles, and what is seen while they are held.
//!
//! Two commands that begin at the same time must not both decide on what they saw before the other one acted. So the locks come first: this
//! node's own, then the advisory lock on every node that can be reached; and what is decided from is asked for under them, over the very
//! sessions that hold them. A dry run takes no lock. It looks whether one is taken.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;

use crate::error::{Error, Exit, Result};
use crate::facts::cluster::{ClusterFacts, NodeFacts, Unavailable};
use crate::facts::role::{self, RoleFacts};
use crate::facts::server::{self, ServerFacts};
use crate::facts::settings::Settings;
use crate::far_end::remote::Remote;
use crate::observe::daemons;
use crate::observe::history;
use crate::pg::client::{Session, SqlError};
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::registry::lock::{LockAttempt, LockHolder, Lockable};
use crate::registry::{NodeRow, lock as cluster_lock};
use crate::site::Site;
use crate::site::state_directory::{lock, would_lock};
use crate::system::lock::LocalLock;

/// What is held, and what was seen since.
#[derive(Debug)]
pub struct LockedCluster {
    /// All registered nodes, asked under the locks.
    pub facts: ClusterFacts,
    /// What our role may do, by node id, of those that answer.
    pub roles: BTreeMap<i32, RoleFacts>,
    /// The sessions, which hold the locks until they are dropped.
    sessions: Vec<(i32, Session)>,
    /// This node's own lock; None in a dry run.
    local: Option<LocalLock>,
    /// Channels to the hosts of nodes that cannot be asked, and whose hosts say that their servers are no primaries: they are asked again
    /// where the sessions are.
    pub hosts: BTreeMap<i32, Rc<Remote>>,
}

/// Takes the locks and asks all nodes.
///
/// # Errors
/// Exit code 30 if another command holds one of them, naming the holder.
pub async fn lock_cluster(site: &Site, rows: &[NodeRow]) -> Result<LockedCluster> {
    lock_cluster_over(site, rows, &[]).await
}

/// The same over sessions that are open already; a node without one is connected to.
///
/// # Errors
/// As [`lock_cluster`].
pub async fn lock_cluster_over(
    site: &Site,
    rows: &[NodeRow],
    known: &[(i32, Session)],
) -> Result<LockedCluster> {
    let directory = site.state_directory()?;
    let local = if site.options.dry_run {
        would_lock(site, &directory).await?;
        None
    } else {
        Some(lock(site).await?)
    };
    let nodes = join_all(rows.iter().map(|row| async {
        let is_usable = |(id, session): &&(i32, Session)| *id == row.node_id && !session.is_closed();
        let session = match known.iter().find(is_usable) {
            // What a session says of a server that is gone is not what a connection does.
            Some((_, session)) if session.query_one("SELECT 1", &[]).await.is_ok() => Ok(session.clone()),
            _ => open(site, row).await,
        };
        Node { row, session, only_look: site.options.dry_run }
    }))
    .await;
    let open: Vec<&Session> = nodes.iter().filter_map(|node| node.session.as_ref().ok()).collect();
    daemons::refuse_beside_active(site, &open).await?;
    let locked = cluster_lock::acquire(&nodes).await?;
    // What counts is what they say under the locks: a daemon ends a pause only while it has that of its server.
    daemons::refuse_beside_active(site, &open).await?;
    let asked = join_all(nodes.iter().map(|node| async {
        match &node.session {
            Ok(session) => query_locked_node(session).await,
            Err(unavailable) => (Err(unavailable.clone()), None),
        }
    }))
    .await;
    let mut roles = BTreeMap::new();
    let mut facts = ClusterFacts::default();
    for (node, (server, role)) in nodes.iter().zip(asked) {
        roles.extend(role.map(|role| (node.row.node_id, role)));
        facts.nodes.push(NodeFacts { row: node.row.clone(), server });
    }
    let mut sessions = locked.sessions;
    let own = site.config().ok().map(|config| config.node_id);
    // A standby that answers is what it is; else the data directory says it, or what was recorded.
    let here = own.and_then(|id| facts.node(id)).and_then(NodeFacts::facts);
    let here = here.filter(|server| server.in_recovery).map(|server| server.system_identifier.clone());
    facts.meant = here.or_else(|| site.system_identifier());
    // The lock of a server of another cluster is none of ours.
    let strangers = facts.discard_foreign_servers(own);
    for (_, session) in sessions.extract_if(.., |(id, _)| strangers.contains(id)) {
        if local.is_some() {
            unlock(&session).await;
        }
    }
    roles.retain(|id, _| !strangers.contains(id));
    Ok(LockedCluster { facts, roles, sessions, local, hosts: BTreeMap::new() })
}

async fn query_locked_node(
    session: &Session,
) -> (std::result::Result<ServerFacts, Unavailable>, Option<RoleFacts>) {
    let (server, role) = tokio::join!(server::query_server_facts(session), role::query_role_facts(session));
    (server.map_err(Unavailable::from), role.ok())
}

impl LockedCluster {
    /// Gives the locks back, and leaves the sessions open.
    pub async fn release(self) {
        if self.is_real() {
            join_all(self.sessions.iter().map(|(_, session)| unlock(session))).await;
        }
    }

    /// Returns the sessions that hold the locks, by node id.
    pub fn sessions(&self) -> impl Iterator<Item = (i32, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// Returns the session on a node that answers, for questions; the lock goes with it.
    pub fn session(&self, node_id: i32) -> Option<&Session> {
        self.sessions.iter().find(|(id, _)| *id == node_id).map(|(_, session)| session)
    }

    /// Returns what is in force on the primary, if one answers.
    pub fn primary_settings(&self) -> Option<Settings> {
        let (primary, _) = self.facts.primaries().next()?;
        self.roles.get(&primary.row.node_id).map(|role| role.settings.clone())
    }

    /// Looks further into the WAL of two nodes where nothing else shows whether they have the same history.
    pub async fn compare(&mut self, node_id: i32, reference_id: i32) {
        let server = |id| self.facts.node(id).and_then(|node| node.facts()).cloned();
        let (Some(mut ours), Some(mut theirs)) = (server(node_id), server(reference_id)) else { return };
        let (Some(here), Some(there)) = (self.session(node_id), self.session(reference_id)) else { return };
        history::compare((here, &mut ours), (there, &mut theirs)).await;
        for node in &mut self.facts.nodes {
            if let Ok(server) = &mut node.server {
                match node.row.node_id {
                    id if id == node_id => server.lineage.clone_from(&ours.lineage),
                    id if id == reference_id => server.lineage.clone_from(&theirs.lineage),
                    _ => {}
                }
            }
        }
    }

    /// Says whether locks are really held, which they are not in a dry run.
    pub fn is_real(&self) -> bool {
        self.local.is_some()
    }
}

pub(crate) async fn open(site: &Site, row: &NodeRow) -> std::result::Result<Session, Unavailable> {
    let conninfo =
        Conninfo::parse(&row.conninfo).map_err(|error| Unavailable::invalid(&error.to_string()))?;
    let deadline = site.node_deadline();
    let options = ConnectOptions { deadline, query_deadline: deadline, ..ConnectOptions::default() };
    Ok(connect(&conninfo, &site.environment, &options).await?)
}

/// Connects to a node and takes its lock once more; None if it does not answer.
///
/// # Errors
/// Exit code 30 if another command holds the lock now.
pub(crate) async fn relock_node(site: &Site, conninfo: &Conninfo, name: &str) -> Result<Option<Session>> {
    let deadline = site.node_deadline();
    let options = ConnectOptions { deadline, query_deadline: deadline, ..ConnectOptions::default() };
    let Ok(session) = connect(conninfo, &site.environment, &options).await else { return Ok(None) };
    let key = cluster_lock::KEY.to_string();
    match session.query_one(cluster_lock::TRY_LOCK, &[Some(&key)]).await {
        Ok(row) if row.get(0) == Some("true") => Ok(Some(session)),
        Ok(_) => {
            Err(Error::new(Exit::Busy, format!("another command has acquired the lock of {name} meanwhile")))
        }
        Err(_) => Ok(None),
    }
}

/// Gives a lock back. Where that fails it ends with its session.
async fn unlock(session: &Session) {
    let _ = session.query(cluster_lock::UNLOCK, &[Some(&cluster_lock::KEY.to_string())]).await;
}

/// A node with the session that is to hold its lock.
struct Node<'a> {
    row: &'a NodeRow,
    session: std::result::Result<Session, Unavailable>,
    only_look: bool,
}

impl Node<'_> {
    async fn attempt(&self, session: &Session) -> std::result::Result<LockAttempt<Session>, SqlError> {
        let key = cluster_lock::KEY.to_string();
        if !self.only_look {
            let row = session.query_one(cluster_lock::TRY_LOCK, &[Some(&key)]).await?;
            if row.get(0) == Some("true") {
                return Ok(LockAttempt::Taken(session.clone()));
            }
        }
        let rows = session.query(cluster_lock::HOLDER, &[Some(&key)]).await?;
        let text = |row: &crate::pg::client::Row, column| row.get(column).map(str::to_string);
        match rows.first() {
            Some(row) => Ok(LockAttempt::Held(LockHolder {
                application_name: text(row, 0),
                client_addr: text(row, 1),
                pid: text(row, 2),
                since: text(row, 3),
            })),
            None if self.only_look => Ok(LockAttempt::Taken(session.clone())),
            // It was given back in between.
            None => Ok(LockAttempt::Held(LockHolder::default())),
        }
    }
}

impl Lockable for Node<'_> {
    type Session = Session;

    fn node_id(&self) -> i32 {
        self.row.node_id
    }

    fn name(&self) -> &str {
        &self.row.node_name
    }

    async fn try_lock(&self) -> LockAttempt<Session> {
        match &self.session {
            Ok(session) => {
                self.attempt(session).await.unwrap_or_else(|error| LockAttempt::Unreachable(error.into()))
            }
            Err(unavailable) => LockAttempt::Unreachable(anyhow::anyhow!("{}", unavailable.message)),
        }
    }

    async fn release(&self, session: Session) {
        if !self.only_look {
            unlock(&session).await;
        }
    }
}

/// Returns the node that this command is about: the local one.
///
/// # Errors
/// Exit code 1 if it is not registered.
pub fn own_node<'a>(facts: &'a ClusterFacts, node_id: i32, node_name: &str) -> Result<&'a NodeFacts> {
    facts.node(node_id).ok_or_else(|| {
        Error::new(Exit::Failed, format!("node \"{node_name}\" (ID {node_id}) is not registered"))
            .detail("Nothing was changed.")
            .hint("Run \"pgbaton standby register\" on it; \"pgbaton cluster show\" shows the registered nodes.")
    })
}
