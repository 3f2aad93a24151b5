//! Asking everybody who is known, and whoever becomes known by that, all at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use crate::commands::locate::key;
use crate::facts::cluster::{NodeFacts, ask_node, bounded};
use crate::facts::guard::{Members, Voice};
use crate::facts::lineage;
use crate::facts::server;
use crate::pg::client::{Session, SqlError};
use crate::registry::{NodeRow, NodeType, lock, node};
use crate::system::environment::Environment;

/// How long the others are still listened to when enough is known.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
    pub environment: &'a Environment,
    /// The node that asks.
    pub own: &'a NodeRow,
    /// Whose cluster it is.
    pub system_identifier: &'a str,
    /// Registered nodes, as any copy of the metadata has them; a node may be known under several addresses.
    pub rows: Vec<NodeRow>,
    /// Servers that were named on the command line.
    pub named: Vec<NodeRow>,
    /// Who is registered.
    pub members: Members,
}

impl Inquiry<'_> {
    /// Adds a copy of the metadata.
    pub fn learn(&mut self, rows: &[NodeRow]) {
        self.members.learn(rows);
        for row in rows.iter().filter(|row| row.node_id != self.own.node_id) {
            let place = (row.node_id, key(&row.conninfo));
            let known = self.rows.iter().any(|known| (known.node_id, key(&known.conninfo)) == place);
            if !known {
                self.rows.push(row.clone());
            }
        }
    }

    /// Says whether there is anybody to ask.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.named.is_empty()
    }

    /// Asks everybody once, each for at most this time; returns early if `enough` is known.
    pub async fn round(&mut self, each: Duration, enough: impl Fn(&[Voice]) -> bool) -> Vec<Voice> {
        let mut asked = BTreeSet::new();
        let mut pending = FuturesUnordered::new();
        let mut voices: Vec<Voice> = Vec::new();
        let mut until: Option<Instant> = None;
        loop {
            let places =
                self.rows.iter().map(|row| (row, true)).chain(self.named.iter().map(|row| (row, false)));
            for (row, registered) in places {
                if asked.insert((registered, row.node_id, key(&row.conninfo))) {
                    pending.push(ask(row.clone(), registered, self.environment, each));
                }
            }
            let next = pending.next();
            let next = match until {
                Some(until) => timeout_at(until, next).await.unwrap_or(None),
                None => next.await,
            };
            let Some(voice) = next else { return voices };
            if let Ok(rows) = &voice.rows
                && self.is_credible(&voice)
            {
                self.learn(&rows.clone());
            }
            voices.push(voice);
            if until.is_none() && enough(&voices) {
                until = Some(Instant::now() + PATIENCE);
            }
        }
    }

    /// Says whether a copy of the metadata is one of this cluster: its own servers have one, and a witness that knows this node.
    fn is_credible(&self, voice: &Voice) -> bool {
        let same = |server: &server::ServerFacts| server.system_identifier == self.system_identifier;
        let knows_us =
            |row: &NodeRow| (row.node_id, &row.node_name) == (self.own.node_id, &self.own.node_name);
        voice.node.facts().is_some_and(same)
            || (voice.node.row.node_type == NodeType::Witness
                && voice.rows.as_ref().is_ok_and(|rows| rows.iter().any(knows_us)))
    }
}

/// Asks one server everything.
async fn ask(row: NodeRow, registered: bool, environment: &Environment, each: Duration) -> Voice {
    let until = Instant::now() + each;
    let silent = |node| Voice { node, registered, rows: Err(String::new()), promoted_to: None, busy: false };
    let (session, facts) = match ask_node(&row.conninfo, environment, each).await {
        Ok(answer) => answer,
        Err(silence) => return silent(NodeFacts { row, server: Err(silence) }),
    };
    let more = async {
        Ok(tokio::join!(node::read_all(&session), is_busy(&session), lineage::promotions(&session)))
    };
    let told = |error: SqlError| error.to_string();
    let (rows, busy, promotions) = match bounded(until, more).await {
        Ok((rows, busy, promotions)) => (rows.map_err(told), busy, promotions),
        Err(error) => (Err(told(error)), Ok(false), Vec::new()),
    };
    Voice {
        node: NodeFacts { row, server: Ok(facts) },
        registered,
        rows,
        promoted_to: promotions.iter().map(|promotion| promotion.timeline).max(),
        // Whoever may not see locks cannot be asked about them.
        busy: busy.unwrap_or(false),
    }
}

async fn is_busy(session: &Session) -> Result<bool, SqlError> {
    Ok(!session.query(lock::HOLDER, &[Some(&lock::KEY.to_string())]).await?.is_empty())
}
