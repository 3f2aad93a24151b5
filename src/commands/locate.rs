//! Finding the cluster: whom to ask first, and what to believe when that one does not answer.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;

use crate::commands::context::{Context, not_connected};
use crate::config::Config;
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::{ClusterFacts, NodeFacts, Silence, ask_node, gather};
use crate::facts::server::{self, ServerFacts};
use crate::facts::topology::{self, Topology};
use crate::output::ui::Level;
use crate::pg::client::{Session, SqlError};
use crate::pg::failure::{Answered, ConnectError};
use crate::registry::{NodeRow, node};

/// The cluster as it was found.
#[derive(Debug)]
pub struct Found {
    /// What the nodes say.
    pub facts: ClusterFacts,
    /// What was last seen before; read before it is overwritten.
    pub topology: Option<Topology>,
    /// The time of the observation.
    pub now: Timestamp,
}

/// Finds all nodes and asks them, beginning with the local one or the one that was named by `-h` and so on.
///
/// When that one does not answer, any other node of the last seen topology will do.
///
/// # Errors
/// Exit code 6 if nobody answers and nothing was seen before, 7 if the metadata cannot be read.
pub async fn cluster(context: &Context) -> Result<Found> {
    let config = context.config_if_any()?;
    let now = crate::plan::journal::now();
    let topology = config.and_then(|_| last_seen(context));
    let given = context.given_conninfo()?;
    let (first, whom) = match (given, config) {
        (Some(given), _) => (given, "the server named on the command line".to_string()),
        (None, Some(config)) => (context.local_conninfo()?, format!("node \"{}\"", config.node_name)),
        (None, None) => {
            return Err(Error::failed("there is no configuration file and no server was named")
                .hint("Name a configuration file with -f, or a server with -h, -p, -U and -d."));
        }
    };
    let facts = match context.connect(&first).await {
        Ok(session) => from_session(context, &session, &whom).await?,
        Err(error) => match &topology {
            Some(seen) => {
                context.debug(&format!("could not connect to {whom}: {}", error.primary));
                from_others(context, seen, config, &error).await
            }
            None => return Err(not_connected(&whom, error)),
        },
    };
    if config.is_some() {
        remember(context, &facts, now);
    }
    Ok(Found { facts, topology, now })
}

/// Keeps what was seen, for the day on which nobody answers. A failure is told and harms nothing else.
pub fn remember(context: &Context, facts: &ClusterFacts, now: Timestamp) {
    // Root may look, but the user who runs everything else could not read a file of root's.
    if context.environment.uid == 0 || facts.nodes.iter().all(|node| node.server.is_err()) {
        return;
    }
    let saved = context
        .state_directory()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .and_then(|directory| topology::save(&directory, facts, now));
    if let Err(error) = saved {
        context.ui.message(
            Level::Info,
            "could not keep what was seen of the cluster",
            Some(&crate::error::sentence(&format!("{error:#}"))),
            None,
        );
    }
}

/// Reads the last seen topology; a file that cannot be used is told and counts as none.
fn last_seen(context: &Context) -> Option<Topology> {
    let directory = context.state_directory().ok()?;
    match topology::load(&directory) {
        Ok(seen) => seen,
        Err(error) => {
            context.ui.message(
                Level::Warning,
                "could not read what was last seen of the cluster",
                Some(&crate::error::sentence(&format!("{error:#}"))),
                Some("The file is written anew by the next command that sees the cluster."),
            );
            None
        }
    }
}

/// Asks everybody, beginning with an open session.
///
/// # Errors
/// Exit code 7 if the metadata cannot be read there.
pub async fn from_session(context: &Context, session: &Session, whom: &str) -> Result<ClusterFacts> {
    // Both questions are on their way before the first is answered.
    let (rows, own) = tokio::join!(node::read_all(session), server::ask(session));
    let rows = rows.map_err(|error| no_metadata(whom, &error))?;
    let own = own.map_err(|error| no_metadata(whom, &error))?;
    Ok(everybody(context, &rows, &own).await)
}

/// Asks all nodes but the one that has answered already.
///
/// If a primary among them has other rows than the ones at hand, its rows count: a standby's may be old.
async fn everybody(context: &Context, rows: &[NodeRow], first: &ServerFacts) -> ClusterFacts {
    let deadline = context.node_deadline();
    let facts = gather(rows, &[], &context.environment, deadline).await;
    if !first.in_recovery {
        return facts;
    }
    let Some((primary, _)) = facts.primaries().max_by_key(|(_, server)| server.timeline) else {
        return facts;
    };
    let Ok((session, _)) = ask_node(&primary.row.conninfo, &context.environment, deadline).await else {
        return facts;
    };
    match node::read_all(&session).await {
        Ok(newer) if newer != rows => {
            let known: Vec<(i32, ServerFacts)> = facts
                .nodes
                .iter()
                .filter(|node| newer.contains(&node.row))
                .filter_map(|node| Some((node.row.node_id, node.facts()?.clone())))
                .collect();
            gather(&newer, &known, &context.environment, deadline).await
        }
        _ => facts,
    }
}

/// Asks the nodes that were last seen for the metadata; the first one that has it counts.
async fn from_others(
    context: &Context,
    seen: &Topology,
    config: Option<&Config>,
    local: &ConnectError,
) -> ClusterFacts {
    let deadline = context.node_deadline();
    let local_id = config.map(|config| config.node_id);
    let others = seen.nodes.iter().filter(|node| Some(node.row.node_id) != local_id);
    let mut attempts: FuturesUnordered<_> = others
        .map(|node| async move {
            let (session, facts) = ask_node(&node.row.conninfo, &context.environment, deadline).await.ok()?;
            let rows = node::read_all(&session).await.ok()?;
            Some((rows, facts))
        })
        .collect();
    while let Some(answer) = attempts.next().await {
        if let Some((rows, first)) = answer {
            drop(attempts);
            return everybody(context, &rows, &first).await;
        }
    }
    // Nobody: what was seen, with why each of them is silent as far as it was asked.
    let nodes = seen
        .nodes
        .iter()
        .map(|node| NodeFacts {
            row: node.row.clone(),
            server: Err(if Some(node.row.node_id) == local_id {
                Silence {
                    answered: local.answered,
                    message: local.primary.clone(),
                    detail: local.detail.clone(),
                    hint: local.hint.clone(),
                }
            } else {
                Silence { answered: Answered::Nothing, message: "no answer".into(), detail: None, hint: None }
            }),
        })
        .collect();
    ClusterFacts { nodes }
}

fn no_metadata(whom: &str, error: &SqlError) -> Error {
    let missing = matches!(error.sqlstate.as_deref(), Some("42P01" | "3F000"));
    let primary = if missing {
        format!("{whom} has no metadata")
    } else {
        format!("could not read the metadata on {whom}")
    };
    let hint = if missing {
        "Run \"pgbaton primary register\" on the primary, or name the right database in conninfo.".to_string()
    } else if error.sqlstate.as_deref() == Some("42501") {
        "As the owner of schema repmgr run: GRANT USAGE ON SCHEMA repmgr TO ROLE; \
         GRANT SELECT ON ALL TABLES IN SCHEMA repmgr TO ROLE;"
            .to_string()
    } else {
        "Run \"pgbaton cluster show\" against another node.".to_string()
    };
    Error::new(Exit::Query, primary).detail(crate::error::sentence(&error.to_string())).hint(hint)
}

/// Returns the node that takes writes.
///
/// # Errors
/// Exit code 6 if none answers, 31 if there are several.
pub fn the_primary(facts: &ClusterFacts) -> Result<(&NodeFacts, &ServerFacts)> {
    let primaries: Vec<_> = facts.primaries().collect();
    match primaries.as_slice() {
        [one] => Ok(*one),
        [] => {
            let registered: Vec<String> = facts
                .nodes
                .iter()
                .filter(|node| node.row.active && node.row.node_type == crate::registry::NodeType::Primary)
                .map(|node| match &node.server {
                    Err(silence) => format!("Node \"{}\": {}.", node.row.node_name, silence.message),
                    Ok(_) => format!("Node \"{}\" is in recovery.", node.row.node_name),
                })
                .collect();
            Err(Error::new(Exit::Connection, "no primary can be reached")
                .detail(if registered.is_empty() {
                    "None is registered.".to_string()
                } else {
                    registered.join(" ")
                })
                .hint("Run \"pgbaton cluster show\" to see what there is."))
        }
        several => {
            let names: Vec<String> =
                several.iter().map(|(node, _)| format!("\"{}\"", node.row.node_name)).collect();
            Err(Error::new(Exit::SecondPrimary, format!("{} nodes take writes", several.len()))
                .detail(format!("They are {}. Nothing was changed.", names.join(", ")))
                .hint(
                    "Run \"pgbaton cluster show\" to see which of them is the right one, and stop the other.",
                ))
        }
    }
}
