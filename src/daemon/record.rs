//! What the daemon reads from the metadata, and writes into it. Each call has a short time: the server may hang.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use pgbaton_lease::mailbox::{NodeId, Saying};
use pgbaton_lease::{Ask, Epoch, Version};

use super::lease::Peer;
use crate::config::Config;
use crate::context::Context;
use crate::facts::daemons;
use crate::observe::daemons::{ask, random_op};
use crate::pg::client::{Session, SqlError};
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::pg::statement::Statement;
use crate::plan::parts::new_primary;
use crate::registry::{NodeRow, NodeType, node};
use crate::ui::Level;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The members, as they are recorded: one row. Its being there says that the cluster has had a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersRow {
    /// See [`super::view::cluster_key`]: a witness, whose system identifier is another one, learns it from here.
    pub cluster_key: i32,
    /// Which copy.
    pub version: Version,
    /// The nodes with data.
    pub data: Vec<NodeId>,
    /// All that vote.
    pub voters: Vec<NodeId>,
}

/// Makes the table.
const TABLE: &str = "CREATE SCHEMA IF NOT EXISTS pgbaton; \
    CREATE TABLE IF NOT EXISTS pgbaton.lease (\
      only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), \
      cluster_key integer NOT NULL, \
      timeline bigint NOT NULL, \
      counter bigint NOT NULL, \
      data integer[] NOT NULL, \
      voters integer[] NOT NULL)";

impl MembersRow {
    /// Writes the row where there is none, or an older one.
    fn statement(&self) -> Statement {
        let array = |ids: &[NodeId]| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            format!("{{{}}}", ids.join(","))
        };
        Statement::new(
            "INSERT INTO pgbaton.lease AS l (cluster_key, timeline, counter, data, voters) \
             VALUES ($1::integer, $2::bigint, $3::bigint, $4::integer[], $5::integer[]) \
             ON CONFLICT (only_row) DO UPDATE SET cluster_key = excluded.cluster_key, timeline = excluded.timeline, \
               counter = excluded.counter, data = excluded.data, voters = excluded.voters \
             WHERE (l.timeline, l.counter) < (excluded.timeline, excluded.counter)",
        )
        .bind(self.cluster_key)
        .bind(self.version.timeline)
        .bind(self.version.counter)
        .bind(array(&self.data))
        .bind(array(&self.voters))
    }

    async fn write(&self, session: &Session) -> Result<(), SqlError> {
        session.batch(TABLE).await?;
        session.transaction(&[self.statement()]).await
    }
}

/// Opens a session to a server.
///
/// # Errors
/// Those of the connection.
pub async fn open(context: &Context, conninfo: &Conninfo) -> anyhow::Result<Session> {
    let options =
        ConnectOptions { deadline: PATIENCE, query_deadline: PATIENCE, ..ConnectOptions::default() };
    Ok(connect(conninfo, &context.environment, &options).await?)
}

/// Opens a session to the own server.
///
/// # Errors
/// Those of the connection.
pub async fn open_local(context: &Context) -> anyhow::Result<Session> {
    let conninfo = context.local_conninfo().map_err(|error| anyhow!(error.message.clone()))?;
    open(context, &conninfo).await
}

/// Opens a session to a node, by its row on the own server.
async fn open_node(context: &Context, id: NodeId) -> anyhow::Result<(NodeRow, Session)> {
    let rows = node::read_all(&open_local(context).await?).await?;
    let row = rows
        .into_iter()
        .find(|row| NodeId::try_from(row.node_id) == Ok(id))
        .with_context(|| format!("node {id} is not registered"))?;
    let session = open(context, &Conninfo::parse(&row.conninfo)?).await?;
    Ok((row, session))
}

/// Writes the row of the members on the own server.
///
/// # Errors
/// Those of the server.
pub async fn write_members(context: &Context, row: &MembersRow) -> Result<(), SqlError> {
    let session = open_local(context).await.map_err(|error| SqlError::answer(format!("{error:#}")))?;
    row.write(&session).await
}

/// Writes a copy of the row on a witness, which gets no WAL.
///
/// # Errors
/// Those of the server, or if it is not registered.
pub async fn copy_members(context: &Context, id: NodeId, row: &MembersRow) -> anyhow::Result<()> {
    let (_, session) = open_node(context, id).await?;
    Ok(row.write(&session).await?)
}

/// Says whether the own server shows a row of the members. None if it does not answer.
pub async fn has_members(session: &Session) -> Result<bool, SqlError> {
    let row = session.query_one("SELECT to_regclass('pgbaton.lease') IS NOT NULL", &[]).await?;
    if row.get(0) != Some("t") {
        return Ok(false);
    }
    let row = session.query_one("SELECT count(*) FROM pgbaton.lease", &[]).await?;
    Ok(row.get(0) != Some("0"))
}

/// Says whether a registered node takes part: a node with data always, a witness while it is active.
pub fn takes_part(row: &NodeRow, config: &Config) -> bool {
    row.active || row.node_id == config.node_id || row.node_type != NodeType::Witness
}

/// Returns the nodes that take part, as what they are registered. The own one is reached as the configuration says.
pub fn peers_of(rows: &[NodeRow], config: &Config) -> Vec<Peer> {
    let primary = rows.iter().find(|row| row.node_type == NodeType::Primary && row.active);
    let peer = |row: &NodeRow| {
        let text = if row.node_id == config.node_id { &config.conninfo } else { &row.conninfo };
        // A failover stays inside the location of the primary.
        let is_elsewhere = primary.is_some_and(|primary| primary.location != row.location);
        Some(Peer {
            id: NodeId::try_from(row.node_id).ok()?,
            has_data: row.node_type != NodeType::Witness,
            priority: if is_elsewhere { 0 } else { u32::try_from(row.priority).unwrap_or(0) },
            conninfo: Conninfo::parse(text).ok()?,
        })
    };
    rows.iter().filter(|row| takes_part(row, config)).filter_map(peer).collect()
}

/// Reads the nodes from the own server.
pub async fn rows(context: &Context) -> Option<Vec<NodeRow>> {
    node::read_all(&open_local(context).await.ok()?).await.ok()
}

/// What came of the record of a new primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was the recorded primary before.
    Before,
    /// It is now; and this node was before.
    Now(Option<NodeRow>),
    /// It is not recorded yet.
    Failed,
}

/// Records that this node is the primary.
pub async fn new_primary(context: &Context, config: &Config) -> Recorded {
    let recorded = async {
        let session = open_local(context).await?;
        let rows = node::read_all(&session).await?;
        let own =
            rows.iter().find(|row| row.node_id == config.node_id).context("this node is not registered")?;
        if own.node_type == NodeType::Primary && own.active {
            return anyhow::Ok(Recorded::Before);
        }
        let former = rows.iter().find(|row| row.node_type == NodeType::Primary && row.active).cloned();
        let own_schema =
            session.query_one("SELECT to_regclass('pgbaton.promotion') IS NOT NULL", &[]).await?;
        session.transaction(&new_primary::new_primary(own, own_schema.get(0) == Some("t"))).await?;
        Ok(Recorded::Now(former))
    };
    match recorded.await {
        Ok(recorded) => recorded,
        Err(error) => {
            context
                .ui
                .say(Level::Warning, &format!("could not record the new primary, trying again: {error:#}"));
            Recorded::Failed
        }
    }
}

/// Asks the leader's daemon to raise its number above all others, for this node, which has no state of its own. Returns that number: what this
/// daemon may have promised before has a lower one.
///
/// # Errors
/// Why not, for the log.
pub async fn ask_to_be_readmitted(context: &Context, leader: NodeId) -> anyhow::Result<Epoch> {
    let (row, session) = open_node(context, leader).await?;
    let seen = daemons::read(&session).await?;
    let status = seen.of(row.node_id).copied().context("its daemon is not seen")?;
    // The number of the question is new, and so is the answer to it.
    let op = random_op();
    match ask(context, &row, &status, op, Ask::Raise).await {
        Some((status, Saying::Raised)) => Ok(Epoch { timeline: status.pause.0, counter: status.pause.1, op }),
        Some((_, Saying::No(refusal))) => Err(anyhow!("it says: {}", daemons::refusal_text(refusal))),
        _ => Err(anyhow!("it did not answer in time")),
    }
}
