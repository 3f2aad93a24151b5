//! Finding the cluster: whom to ask first, and what to believe when that one does not answer.

mod poll;

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use self::poll::{Poll, Refusal};
use crate::assess::checks::CheckAnswer;
use crate::assess::cluster::Copies;
use crate::error::{Error, Exit, Result};
use crate::facts::check_name::CheckName;
use crate::facts::cluster::{ClusterFacts, NodeFacts, query_node};
use crate::facts::server::{self, ServerFacts};
use crate::facts::topology::Topology;
use crate::pg::client::{Session, SqlError, SqlErrorKind};
use crate::pg::conninfo::{Conninfo, quote_value};
use crate::pg::quote::quote_ident;
use crate::registry::operation::OpenOperation;
use crate::registry::schema::PresentMetadata;
use crate::registry::{NodeRow, NodeType, node};
use crate::site::state_directory;
use crate::site::{Site, not_connected};
use crate::system::clock;

/// The cluster as it was found.
#[derive(Debug)]
pub struct Discovered {
    /// What the nodes say.
    pub facts: ClusterFacts,
    /// The saved topology; read before it is overwritten.
    pub topology: Option<Topology>,
    /// The server that conninfo of the configuration leads to, and where that is, if it answers.
    pub local: Option<(String, ServerFacts)>,
    /// The copies of the metadata that witnesses have.
    pub copies: Copies,
    /// The operations that have not reported their end, by the copies of all nodes that answer; only where that was asked.
    pub operations: Vec<OpenOperation>,
    /// The time of the observation.
    pub now: Timestamp,
}

/// What was asked in addition, for checks.
#[derive(Debug, Default)]
pub struct CheckExtras {
    /// What the servers say, by node id.
    pub asked: BTreeMap<i32, CheckAnswer>,
    /// Where ssh leads to a node, for those of which that is written down.
    pub ssh_hosts: BTreeMap<i32, String>,
    /// What there is of metadata on the primary.
    pub metadata: Option<PresentMetadata>,
    /// Why the server that was to be asked first, by the configuration or the command line, could not be connected to that way.
    pub refused: Option<String>,
}

/// Finds all nodes and asks them, beginning with the local one or the one that was named by `-h` and so on.
///
/// All nodes of the saved topology are asked at the same time, so that one round is enough where nothing has changed, and no node
/// waits for a local server that does not respond.
///
/// # Errors
/// Exit code 6 if no node responds and no topology was saved, 7 if the metadata cannot be read.
pub async fn cluster(site: &Site) -> Result<Discovered> {
    Ok(find(site, None, false).await?.0)
}

/// Does the same, and asks all nodes which operations have not reported their end.
///
/// # Errors
/// Those of [`cluster`].
pub async fn cluster_and_operations(site: &Site) -> Result<Discovered> {
    Ok(find(site, None, true).await?.0)
}

/// Does the same, and asks all nodes in the same round for what these checks need in addition; each within a deadline.
///
/// # Errors
/// Those of [`cluster`].
pub async fn cluster_for_checks(
    site: &Site,
    names: &[CheckName],
    within: Duration,
) -> Result<(Discovered, CheckExtras)> {
    find(site, Some((names, within)), true).await
}

async fn find(
    site: &Site,
    for_checks: Option<(&[CheckName], Duration)>,
    operations: bool,
) -> Result<(Discovered, CheckExtras)> {
    let config = site.config_if_any()?;
    let now = crate::system::clock::now();
    let given = site.named_server()?;
    let topology = config.and_then(|_| last_seen(site));
    // A server that was named is the one that is meant, and no other.
    let seeds = topology.as_ref().filter(|_| given.is_none());
    let named = given.is_some();
    let (first, whom) = match (given, config) {
        (Some(given), _) => (given, "the server named on the command line".to_string()),
        (None, Some(config)) => (site.local_conninfo()?, format!("node \"{}\"", config.node_name)),
        (None, None) => {
            return Err(Error::failed("there is no configuration file and no server was named")
                .hint("Name a configuration file with -f, or a server with -h, -p, -U and -d."));
        }
    };
    let first = first.to_string();
    let seen_rows: &[NodeRow] =
        &seeds.iter().flat_map(|seen| &seen.nodes).map(|node| node.row.clone()).collect::<Vec<_>>();
    let mut poll = Poll::new(site, seeds.and_then(|seen| seen.system_identifier.clone()));
    poll.first = Some(key(&first));
    poll.operations_too = operations;
    if let Some((names, within)) = for_checks {
        poll.for_checks = Some(names.into());
        poll.until = Instant::now() + within;
    }
    // Who was the primary most likely still is, and then its rows are the ones that count. If it is not, another one is asked for them.
    let (primaries, others): (Vec<_>, Vec<_>) =
        seeds.iter().flat_map(|seen| &seen.nodes).partition(|node| node.was_primary == Some(true));
    poll.query(&first, primaries.iter().all(|node| key(&node.row.conninfo) == key(&first)));
    primaries.iter().for_each(|node| poll.query(&node.row.conninfo, true));
    others.iter().for_each(|node| poll.query(&node.row.conninfo, false));
    let rows = poll.run().await;
    let mut facts = match (rows, seeds) {
        (Some(rows), _) => poll.facts(rows.iter().map(|node| &node.row)),
        (None, seen) => match poll.refusal(&first) {
            // It answers, and has no metadata: that is the news, not what was seen at other times.
            // One that only had no time for it has reported nothing new.
            Some(Refusal::Metadata(error)) if seen.is_none() || error.kind != SqlErrorKind::TimedOut => {
                return Err(no_metadata(&whom, error, poll.server(&first)));
            }
            Some(Refusal::Connection(error)) if seen.is_none() => {
                return Err(not_connected(&whom, error.clone()));
            }
            // None: the saved topology, with the reason why each node does not respond.
            _ => poll.facts(seen_rows),
        },
    };
    // The server that was asked first says whose cluster is meant, unless it is what another node's address leads to now.
    let asked_first = poll.server(&first).filter(|server| server.in_recovery);
    facts.meant = asked_first
        .map(|server| server.system_identifier.clone())
        .or_else(|| if named { None } else { site.system_identifier() });
    poll.requery_late(&mut facts).await;
    if facts.primaries().count() > 1 {
        poll.ask_sides(&mut facts).await;
    }
    if let Some(config) = config {
        // Another cluster, reached by -h, is not what this node's state directory is about.
        let own = facts.node(config.node_id).is_some_and(|node| node.row.node_name == config.node_name);
        if own || !named {
            remember(site, &facts, now);
        }
    }
    // What was seen of another cluster, in a directory used before, says nothing about this one.
    let topology = topology.filter(|seen| {
        let (seen, found) = (seen.system_identifier.as_deref(), facts.system_identifier());
        found.is_none() || seen == found
    });
    let mut more = if for_checks.is_some() { poll.more(&facts).await } else { CheckExtras::default() };
    if let Some(Refusal::Connection(error)) = poll.refusal(&first) {
        more.refused = Some(error.message.clone());
    }
    let (copies, operations) = (poll.copies(&facts), poll.operations(&facts));
    let local = match config.filter(|_| !named) {
        Some(_) => Some(site.local_conninfo()?.destination().to_string()).zip(poll.server(&first).cloned()),
        None => None,
    };
    Ok((Discovered { local, copies, operations, facts, topology, now }, more))
}

/// Returns what makes a connection string lead to a server as a role: two with the same key need one connection.
pub(crate) fn key(conninfo: &str) -> String {
    const INDIFFERENT: [&str; 3] = ["connect_timeout", "application_name", "fallback_application_name"];
    let Ok(mut parsed) = Conninfo::parse(conninfo) else { return conninfo.to_string() };
    INDIFFERENT.iter().for_each(|keyword| parsed.remove(keyword));
    let mut words: Vec<String> =
        parsed.iter().map(|(keyword, value)| format!("{keyword}={}", quote_value(value))).collect();
    words.sort();
    words.join(" ")
}

/// Saves the topology as the metadata on a node, the primary, have it now, if it responds.
pub async fn remember_from(site: &Site, row: &NodeRow) {
    let Ok((session, _)) = query_node(&row.conninfo, &site.environment, site.node_deadline()).await else {
        return;
    };
    if let Ok(facts) = from_session(site, &session, &row.node_name).await {
        remember(site, &facts, clock::now());
    }
}

/// Saves the topology, for the day on which no node responds. A failure is reported and harms nothing else.
pub fn remember(site: &Site, facts: &ClusterFacts, now: Timestamp) {
    // Root may look, but the user who runs everything else could not read a file of root's.
    if site.environment.uid == 0 || facts.nodes.iter().all(|node| node.server.is_err()) {
        return;
    }
    // "Nothing was changed" is meant to the byte.
    if site.options.dry_run {
        return;
    }
    if let Err(error) = state_directory::save_topology(site, facts, now) {
        // Once: with --watch it would be said every time.
        static WARNED: Once = Once::new();
        WARNED.call_once(|| {
            site.messages.warning(
                "could not save the topology of the cluster",
                Some(&without_state(&error)),
                Some(error.hint.as_deref().unwrap_or(
                    "Without it nothing can be shown when no node responds. See state_directory in the configuration.",
                )),
            );
        });
    }
}

/// Reads the saved topology; one that cannot be used, or is another cluster's, is reported and counts as none.
pub(crate) fn last_seen(site: &Site) -> Option<Topology> {
    match state_directory::saved_topology(site) {
        Ok(seen) => {
            if seen.is_none() {
                state_directory::notice_other_user(site);
            }
            seen
        }
        Err(error) => {
            static WARNED: Once = Once::new();
            WARNED.call_once(|| {
                site.messages.warning(
                    "could not read the saved topology",
                    Some(&without_state(&error)),
                    error.hint.as_deref(),
                );
            });
            None
        }
    }
}

/// Reports an error of the state directory as a detail of what it prevents; nothing else is prevented by it.
fn without_state(error: &Error) -> String {
    let detail = error.detail.as_deref().unwrap_or_default().replace(" Nothing was changed.", "");
    format!("{} {detail}", crate::error::sentence(&error.message)).trim_end().to_string()
}

/// Asks everybody, beginning with an open session.
///
/// # Errors
/// Exit code 7 if the metadata cannot be read there.
pub async fn from_session(site: &Site, session: &Session, whom: &str) -> Result<ClusterFacts> {
    // Both questions are on their way before the first is answered.
    let (rows, own) = tokio::join!(node::read_all(session), server::query_server_facts(session));
    let rows = rows.map_err(|error| no_metadata(whom, &error, own.as_ref().ok()))?;
    let own = own.map_err(|error| no_metadata(whom, &error, None))?;
    Ok(query_all_nodes(site, &rows, &own).await)
}

/// Asks all nodes.
///
/// If a primary among them has other rows than the ones at hand, its rows count: a standby's may be old.
async fn query_all_nodes(site: &Site, rows: &[NodeRow], first: &ServerFacts) -> ClusterFacts {
    let mut poll = Poll::new(site, Some(first.system_identifier.clone()));
    for row in rows {
        poll.query(&row.conninfo, false);
    }
    let mut newer = None;
    if !first.in_recovery {
        poll.all(rows).await;
    }
    // A standby's rows may be old, and so may a witness's.
    if first.in_recovery || poll.is_witness(&first.system_identifier) {
        newer = poll.run().await;
    }
    match newer {
        Some(newer) => poll.facts(newer.iter().map(|node| &node.row)),
        None => poll.facts(rows),
    }
}

fn no_metadata(whom: &str, error: &SqlError, server: Option<&ServerFacts>) -> Error {
    let missing = matches!(error.sqlstate.as_deref(), Some("42P01" | "3F000"));
    let primary = if missing {
        format!("{whom} has no metadata")
    } else {
        format!("could not read the metadata on {whom}")
    };
    let role = server.map(|server| quote_ident(&server.role));
    let hint = match role.filter(|_| error.sqlstate.as_deref() == Some("42501")) {
        // What the primary has made a moment ago may be on its way.
        _ if missing && server.is_some_and(|server| server.in_recovery) => {
            "It is a standby, and may not have received the metadata yet. Run \"pgbaton primary register\" on the primary; if that is \
             done, check that this standby streams, and run the command again. Or name the right database in conninfo."
                .into()
        }
        _ if missing => {
            "Run \"pgbaton primary register\" on the primary, or name the right database in conninfo.".into()
        }
        Some(role) => format!(
            "As the owner of schema repmgr run: GRANT USAGE ON SCHEMA repmgr TO {role}; \
             GRANT SELECT ON ALL TABLES IN SCHEMA repmgr TO {role};"
        ),
        None => "Run \"pgbaton cluster show\" against another node.".into(),
    };
    Error::new(Exit::Query, primary).detail(crate::error::sentence(&error.to_string())).hint(hint)
}

/// Returns the node that accepts writes.
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
                .filter(|node| node.row.active && node.row.node_type == NodeType::Primary)
                .map(|node| match &node.server {
                    Err(unavailable) => format!("Node \"{}\": {}.", node.row.node_name, unavailable.message),
                    Ok(_) => match facts.stranger(node) {
                        Some(stranger) => {
                            format!("Node \"{}\" does not respond: {}.", node.row.node_name, stranger.message)
                        }
                        None => format!("Node \"{}\" is in recovery.", node.row.node_name),
                    },
                })
                .collect();
            Err(Error::new(Exit::Connection, "no primary can be reached")
                .detail(if registered.is_empty() {
                    "No primary is registered. Nothing was changed.".to_string()
                } else {
                    format!("{} Nothing was changed.", registered.join(" "))
                })
                .hint("Run \"pgbaton cluster show\" to see the state of the nodes."))
        }
        several => {
            let names: Vec<String> =
                several.iter().map(|(node, _)| format!("\"{}\"", node.row.node_name)).collect();
            Err(Error::new(
                Exit::SecondPrimary,
                format!("split brain: {} nodes accept writes", several.len()),
            )
            .detail(format!("They are {}. Nothing was changed.", names.join(", ")))
            .hint("Run \"pgbaton cluster show\" to see which of them is the right one, and stop the other."))
        }
    }
}
