//! `cluster matrix` and `cluster crosscheck`: which node reaches which, each asked on its own host.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::NodeFacts;
use crate::facts::matrix::{ConnectionAttempt, MatrixFacts, MatrixRow, matrix, try_all};
use crate::far_end::protocol::{ConnectTarget, RelayedNode};
use crate::far_end::remote::{OPEN, Remote};
use crate::observe::discovery;
use crate::observe::node_location::{self, NodeLocation};
use crate::output::{Data, Report};
use crate::pg::conninfo::Conninfo;
use crate::registry::{NodeRow, NodeType};
use crate::secret::Secret;

/// How long a node may take to open a channel to a third one: ssh's own limit for a connection, and a moment.
const OPEN_THIRD: Duration = Duration::from_secs(12);

/// How long others may try, one after the other, to ask for a node that cannot be asked from here.
const RELAYS: Duration = Duration::from_secs(60);

/// Shows which node reaches which; `crosscheck` has hosts that cannot be reached from here asked by others.
///
/// # Errors
/// Those of finding the cluster; what does not connect is in the report (exit code 25), and so is whose host could not be asked (12).
pub async fn run(context: &Context, crosscheck: bool) -> Result<Report> {
    let far_away = Duration::from_secs(24 * 3600);
    let until = Instant::now()
        + context.options.timeout.map_or(far_away, |seconds| Duration::from_secs(u64::from(seconds.max(1))));
    let found = discovery::cluster(context).await?;
    let nodes = &found.facts.nodes;
    let own_id = context
        .config_if_any()?
        .filter(|config| {
            let is_own = |node: &&NodeFacts| {
                (node.row.node_id, &node.row.node_name) == (config.node_id, &config.node_name)
            };
            nodes.iter().any(|node| is_own(&node))
        })
        .map(|config| config.node_id);
    let ssh_hosts = node_location::ssh_hosts(context, &found).await;
    let row_of = Question {
        context,
        until,
        targets: nodes
            .iter()
            .map(|node| ConnectTarget {
                node_id: node.row.node_id,
                conninfo: Secret::new(&node.row.conninfo),
            })
            .collect(),
    };
    let location = |node: &NodeFacts| RelayedNode {
        row: without_secrets(&node.row),
        ssh_host: ssh_hosts.get(&node.row.node_id).cloned(),
        // A witness is a cluster of its own.
        system_identifier: found
            .facts
            .system_identifier()
            .filter(|_| node.row.node_type != NodeType::Witness)
            .map(str::to_string),
    };
    let others: Vec<&NodeFacts> = nodes.iter().filter(|node| Some(node.row.node_id) != own_id).collect();
    let asked = join_all(others.iter().map(|node| row_of.query_host(node, location(node)))).await;

    let mut facts = MatrixFacts::default();
    if let Some(own) = own_id {
        // It has just been tried.
        let tried = nodes.iter().map(|node| ConnectionAttempt {
            node_id: node.row.node_id,
            error: node.server.as_ref().err().map(|unavailable| unavailable.message.clone()),
        });
        facts.rows.insert(own, MatrixRow { tried: tried.collect(), relayed_by: None });
    }
    let mut remotes: Vec<(i32, Remote)> = Vec::new();
    for (node, answer) in others.iter().zip(asked) {
        let id = node.row.node_id;
        match answer {
            Ok((remote, tried)) => {
                facts.rows.insert(id, MatrixRow { tried, relayed_by: None });
                remotes.push((id, remote));
            }
            Err(error) => {
                facts.unasked.insert(id, error.text);
            }
        }
    }
    if crosscheck {
        let missing = others.iter().filter(|node| facts.unasked.contains_key(&node.row.node_id));
        let relayed = join_all(missing.map(|node| async {
            let id = node.row.node_id;
            // A node that reaches its server is the one most likely to reach its host.
            let reaches = |relay: i32| {
                facts.rows.get(&relay).is_some_and(|row| {
                    row.tried.iter().any(|tried| tried.node_id == id && tried.error.is_none())
                })
            };
            let mut relays: Vec<&(i32, Remote)> = remotes.iter().collect();
            relays.sort_by_key(|(relay, _)| !reaches(*relay));
            let found = row_of.relayed(&relays, &location(node)).await;
            found.map(|(relay, tried)| (id, MatrixRow { tried, relayed_by: Some(relay) }))
        }))
        .await;
        facts.rows.extend(relayed.into_iter().flatten());
    }
    let rows: Vec<NodeRow> = nodes.iter().map(|node| node.row.clone()).collect();
    let (matrix, issues, exit) = matrix(&rows, &facts);
    Ok(Report { exit, changed: false, data: Data::Matrix(Box::new(matrix)), issues })
}

/// What every host is asked: whom of these it reaches.
struct Question<'a> {
    context: &'a Context,
    until: Instant,
    targets: Vec<ConnectTarget>,
}

impl Question<'_> {
    /// Asks a host from here, with what its server has said, if anything.
    async fn query_host(
        &self,
        node: &NodeFacts,
        place: RelayedNode,
    ) -> Result<(Remote, Vec<ConnectionAttempt>)> {
        let asking = async {
            let known = NodeLocation { server: node.facts(), ..place.location() };
            let remote = open(self.context, &known, OPEN).await?;
            let tried = remote.row(&self.targets, self.within(), None).await?;
            Ok((remote, tried))
        };
        timeout_at(self.until, asking).await.unwrap_or_else(|_| {
            let name = &place.row.node_name;
            Err(Error::new(Exit::Remote, format!("the host of node \"{name}\" did not respond in time")))
        })
    }

    /// Has one of these nodes ask a third one, one after the other until one can.
    async fn relayed(
        &self,
        relays: &[&(i32, Remote)],
        third: &RelayedNode,
    ) -> Option<(i32, Vec<ConnectionAttempt>)> {
        let asking = async {
            for (id, relay) in relays {
                match relay.row(&self.targets, self.within(), Some((third, OPEN_THIRD))).await {
                    Ok(tried) => return Some((*id, tried)),
                    Err(error) => self.context.debug(&format!(
                        "node {id} could not query node \"{}\": {error}",
                        third.row.node_name
                    )),
                }
            }
            None
        };
        timeout_at(self.until.min(Instant::now() + RELAYS), asking).await.unwrap_or_default()
    }

    fn within(&self) -> Duration {
        self.context.node_deadline()
    }
}

/// Answers as a node's own pgbaton: tries all targets from here, or has a third node do so.
///
/// # Errors
/// Those of the channel to the third node.
pub async fn row(
    context: &Context,
    targets: &[ConnectTarget],
    within: Duration,
    of: Option<&RelayedNode>,
) -> Result<Vec<ConnectionAttempt>> {
    match of {
        None => {
            let targets = targets.iter().map(|target| (target.node_id, &target.conninfo));
            Ok(try_all(targets, &context.environment, within).await)
        }
        Some(third) => {
            let remote = open(context, &third.location(), OPEN_THIRD).await?;
            remote.row(targets, within, None).await
        }
    }
}

/// Opens a channel to a node's host, and makes sure that it is that node's pgbaton which answers.
async fn open(context: &Context, known: &NodeLocation<'_>, within: Duration) -> Result<Remote> {
    let row = known.row;
    let far_end = node_location::far_end(context, known).await?;
    let opened = Remote::open(context, &far_end, within).await;
    let (remote, hello) = opened.map_err(|trouble| trouble.error(&far_end))?;
    if (hello.node_id, &hello.node_name) != (row.node_id, &row.node_name) {
        return Err(Error::new(
            Exit::Remote,
            format!("the configuration file of node \"{}\" is that of another node", row.node_name),
        )
        .detail(format!(
            "On its host, \"{}\" is about node \"{}\" (ID {}).",
            hello.config_file, hello.node_name, hello.node_id
        ))
        .hint("Register the node again with --force, from its own configuration file."));
    }
    Ok(remote)
}

/// Returns a row as others may see it: only where the node is, is of interest.
fn without_secrets(row: &NodeRow) -> NodeRow {
    let conninfo = Conninfo::parse(&row.conninfo).map(|parsed| parsed.without_secrets().to_string());
    NodeRow { conninfo: conninfo.unwrap_or_default(), ..row.clone() }
}
