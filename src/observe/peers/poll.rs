//! Asking all nodes that are known, and those that become known by that, all at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::assess::start::{Members, OpenOperation, PeerAnswer};
use crate::facts::cluster::{NodeFacts, Unavailable, bounded, query_node};
use crate::facts::lineage;
use crate::facts::server::{self, ServerFacts};
use crate::observe::discovery::key;
use crate::pg::client::{Row, Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::history::TimelineId;
use crate::registry::{NodeRow, NodeType, lock, node};
use crate::site::Site;
use crate::system::environment::Environment;

/// How long the others are still listened to when enough is known.
const PATIENCE: Duration = Duration::from_millis(200);

/// Which addresses of the node itself are asked, because another server may be there: a copy, or what was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnAddresses {
    /// None: it cannot be determined whether the local server is the one that answers.
    None,
    /// Those that are registered for it elsewhere. The local server is known by what it has said at its conninfo.
    Registered,
    /// Its conninfo, too: no local server runs, or it does not run there.
    All,
}

/// Whom to ask.
#[derive(Debug)]
pub(crate) struct PeerPoll<'a> {
    pub environment: &'a Environment,
    /// The node that asks.
    pub own: &'a NodeRow,
    /// Whose cluster it is.
    pub system_identifier: &'a str,
    /// Registered nodes, as any copy of the metadata has them; a node may be known under several addresses.
    pub rows: Vec<NodeRow>,
    /// Servers that were named on the command line.
    pub named: Vec<NodeRow>,
    /// Servers that may be nodes of this cluster: they count if they turn out to be.
    pub guessed: Vec<NodeRow>,
    /// Which addresses of the node itself are asked.
    pub own_addresses: OwnAddresses,
    /// The addresses under which copies of the metadata have the node itself, where they lead elsewhere than its conninfo.
    pub registered_elsewhere: Vec<NodeRow>,
    /// The server of the node itself, where it runs: it may be reached by another one's address, and has nothing to say here.
    pub own_server: Option<(String, String)>,
    /// Who is registered.
    pub members: Members,
    /// Open sessions on registered nodes of this cluster.
    pub sessions: Vec<(i32, Session)>,
    /// Guesses that have turned out to be no server of this cluster, or that do not answer.
    pub dismissed: Vec<NodeFacts>,
}

impl<'a> PeerPoll<'a> {
    /// Begins with no node to ask.
    pub fn new(site: &'a Site, own: &'a NodeRow, system_identifier: &'a str) -> Self {
        Self {
            environment: &site.environment,
            own,
            system_identifier,
            rows: Vec::new(),
            named: Vec::new(),
            guessed: Vec::new(),
            own_addresses: OwnAddresses::None,
            registered_elsewhere: Vec::new(),
            own_server: None,
            members: Members::default(),
            sessions: Vec::new(),
            dismissed: Vec::new(),
        }
    }

    /// Adds a copy of the metadata.
    pub fn learn(&mut self, rows: &[NodeRow]) {
        self.members.learn(rows);
        let own = destination(&self.own.conninfo);
        for row in rows.iter().filter(|row| row.node_id == self.own.node_id) {
            let there = destination(&row.conninfo);
            let known = there == own
                || self.registered_elsewhere.iter().any(|known| destination(&known.conninfo) == there);
            if !known && !there.is_empty() {
                self.registered_elsewhere.push(NodeRow { node_name: there, ..row.clone() });
            }
        }
        for row in rows.iter().filter(|row| row.node_id != self.own.node_id) {
            let place = (row.node_id, key(&row.conninfo));
            let known = self.rows.iter().any(|known| (known.node_id, key(&known.conninfo)) == place);
            if !known {
                self.rows.push(row.clone());
            }
        }
    }

    /// Says whether there is any node to ask.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.named.is_empty() && self.guessed.is_empty()
    }

    /// Asks everybody once, each for at most this time; returns early if `enough` is known.
    pub async fn round(&mut self, each: Duration, enough: impl Fn(&[PeerAnswer]) -> bool) -> Vec<PeerAnswer> {
        let mut asked = BTreeSet::new();
        let mut pending = FuturesUnordered::new();
        let mut peers: Vec<PeerAnswer> = Vec::new();
        let mut until: Option<Instant> = None;
        let here = (self.own_addresses == OwnAddresses::All)
            .then(|| NodeRow { node_name: destination(&self.own.conninfo), ..self.own.clone() });
        loop {
            let named = self.named.iter().map(|row| (row, false, false));
            let guessed = self.guessed.iter().map(|row| (row, false, true));
            let elsewhere = match self.own_addresses {
                OwnAddresses::None => &[],
                _ => self.registered_elsewhere.as_slice(),
            };
            let elsewhere = elsewhere.iter().chain(&here).map(|row| (row, false, false));
            for (row, registered, guessed) in
                self.rows.iter().map(|row| (row, true, false)).chain(named).chain(guessed).chain(elsewhere)
            {
                if asked.insert((registered, row.node_id, key(&row.conninfo))) {
                    pending.push(query_peer(row.clone(), (registered, guessed), self.environment, each));
                }
            }
            let next = pending.next();
            let next = match until {
                Some(until) => timeout_at(until, next).await.unwrap_or(None),
                None => next.await,
            };
            let Some((peer, guessed, session)) = next else { return peers };
            let is_ours = peer.node.facts().is_some_and(|server| self.is_ours(server));
            let is_self = peer.node.facts().is_some_and(|server| {
                self.own_server == Some((server.system_identifier.clone(), server.started_at.clone()))
            });
            // Nothing but a server of this cluster is of interest there. That nothing answers at its conninfo is no wonder: it is down.
            let at_own = !peer.registered && peer.node.row.node_id == self.own.node_id;
            let is_here =
                at_own && here.as_ref().is_some_and(|here| here.node_name == peer.node.row.node_name);
            if at_own && (is_self || (peer.node.server.is_ok() && !is_ours) || (is_here && !is_ours)) {
                continue;
            }
            if is_self || (guessed && !is_ours) {
                self.dismissed.extend((!is_self).then_some(peer.node));
                continue;
            }
            if let Some(session) = session.filter(|_| peer.registered && is_ours) {
                self.sessions.push((peer.node.row.node_id, session));
            }
            if let Ok(rows) = &peer.rows
                && self.is_credible(&peer)
            {
                self.learn(&rows.clone());
            }
            peers.push(peer);
            if until.is_none() && enough(&peers) {
                until = Some(Instant::now() + PATIENCE);
            }
        }
    }

    fn is_ours(&self, server: &ServerFacts) -> bool {
        server.system_identifier == self.system_identifier
    }

    /// Says whether a copy of the metadata is one of this cluster: its own servers have one, and a witness that knows this node.
    fn is_credible(&self, peer: &PeerAnswer) -> bool {
        let knows_us =
            |row: &NodeRow| (row.node_id, &row.node_name) == (self.own.node_id, &self.own.node_name);
        peer.node.facts().is_some_and(|server| self.is_ours(server))
            || (peer.node.row.node_type == NodeType::Witness
                && peer.rows.as_ref().is_ok_and(|rows| rows.iter().any(knows_us)))
    }
}

/// Returns where a conninfo leads to, as a text to compare and to show.
fn destination(conninfo: &str) -> String {
    Conninfo::parse(conninfo).map(|parsed| parsed.destination().to_string()).unwrap_or_default()
}

/// Asks one server everything. Where it came from is given back with the answer.
async fn query_peer(
    row: NodeRow,
    (registered, guessed): (bool, bool),
    environment: &Environment,
    each: Duration,
) -> (PeerAnswer, bool, Option<Session>) {
    let until = Instant::now() + each;
    match query_node(&row.conninfo, environment, each).await {
        Ok((session, facts)) => {
            let peer =
                query_peer_metadata(&session, NodeFacts { row, server: Ok(facts) }, registered, until).await;
            (peer, guessed, Some(session))
        }
        Err(unavailable) => {
            let peer = PeerAnswer {
                node: NodeFacts { row, server: Err(unavailable) },
                registered,
                rows: Err(String::new()),
                promoted_to: None,
                busy: false,
                operations: Vec::new(),
            };
            (peer, guessed, None)
        }
    }
}

/// Asks a server that has said what it is for its copy of the metadata.
async fn query_peer_metadata(
    session: &Session,
    node: NodeFacts,
    registered: bool,
    until: Instant,
) -> PeerAnswer {
    let more = async {
        Ok(tokio::join!(
            node::read_all(session),
            is_busy(session),
            lineage::promotions(session),
            open_operations(session)
        ))
    };
    let reported = |error: SqlError| error.to_string();
    let (rows, busy, promotions, operations) = match bounded(until, more).await {
        Ok((rows, busy, promotions, operations)) => (rows.map_err(reported), busy, promotions, operations),
        Err(error) => (Err(reported(error)), Ok(false), Vec::new(), Ok(Vec::new())),
    };
    PeerAnswer {
        node,
        registered,
        rows,
        promoted_to: promotions.iter().map(|promotion| promotion.timeline).max(),
        // A role that may not see locks cannot be used to ask about them.
        busy: busy.unwrap_or(false),
        // Nor may everybody see operations, which an older version does not record either.
        operations: operations.unwrap_or_default(),
    }
}

/// Asks a server again, over a session that holds its lock: then no other command is running there.
pub(crate) async fn query_peer_again(session: &Session, peer: &PeerAnswer, within: Duration) -> PeerAnswer {
    let until = Instant::now() + within;
    let server = bounded(until, server::query_server_facts(session)).await.map_err(Unavailable::from);
    let node = NodeFacts { row: peer.node.row.clone(), server };
    if node.server.is_err() {
        return PeerAnswer { node, rows: Err(String::new()), ..peer.clone() };
    }
    PeerAnswer { busy: false, ..query_peer_metadata(session, node, peer.registered, until).await }
}

async fn is_busy(session: &Session) -> Result<bool, SqlError> {
    Ok(!session.query(lock::HOLDER, &[Some(&lock::KEY.to_string())]).await?.is_empty())
}

/// Reads the operations that were begun and not ended. A table of an older version has no column for the timeline.
async fn open_operations(session: &Session) -> Result<Vec<OpenOperation>, SqlError> {
    let sql = "SELECT o.operation_id, o.command, o.node_id::text, pg_catalog.to_jsonb(o)->>'timeline' \
               FROM pgbaton.operation o WHERE o.finished_at IS NULL";
    let rows = session.query(sql, &[]).await?;
    let operation = |row: &Row| {
        Some(OpenOperation {
            operation_id: row.get(0)?.to_string(),
            command: row.get(1)?.to_string(),
            node_id: row.get(2)?.parse().ok()?,
            timeline: row.get(3).and_then(|text| text.parse().ok()).map(TimelineId),
        })
    };
    Ok(rows.iter().filter_map(operation).collect())
}
