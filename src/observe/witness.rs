//! What the registration of a witness finds out on other nodes: the primary, and the nodes that only the witness's own table names.

use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::{ClusterFacts, gather};
use crate::facts::server;
use crate::observe::discovery;
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::plan::register::{Contact, NamedPrimary};
use crate::registry::schema;
use crate::registry::{NodeRow, NodeType};
use crate::site::Site;
use crate::site::state_directory;

/// Asks the server that is said to be the primary, and all nodes that it knows.
pub async fn contact(site: &Site, conninfo: &Conninfo) -> Contact {
    let session = match site.connect(conninfo).await {
        Ok(session) => session,
        Err(error) => {
            let host = conninfo.get("host").or_else(|| conninfo.get("hostaddr"));
            let whom = match host {
                Some(host) => format!("the primary at \"{host}\""),
                None => "the primary".to_string(),
            };
            return Contact::Silent { whom, why: error.into() };
        }
    };
    let whom = format!("the {}", session.server_name());
    match query_named_primary(site, &session, &whom).await {
        Ok(there) => Contact::Asked(Box::new(there)),
        Err(error) => Contact::Unreadable(error),
    }
}

async fn query_named_primary(site: &Site, session: &Session, whom: &str) -> Result<NamedPrimary> {
    let broken = |error: SqlError| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    };
    let (server, present) =
        tokio::join!(server::query_server_facts(session), schema::inspect_metadata(session));
    let (server, present) = (server.map_err(broken)?, present.map_err(broken)?);
    let cluster = discovery::from_session(site, session, whom).await?;
    Ok(NamedPrimary { whom: whom.to_string(), server, present, cluster })
}

/// Looks for the primary among the nodes of the saved topology, and those that a copy of the metadata on the witness names.
pub async fn look_around(site: &Site, copy: &[NodeRow], own_identifier: Option<&str>) -> Contact {
    let seen = state_directory::saved_topology(site).ok().flatten();
    let mut rows: Vec<NodeRow> = Vec::new();
    for row in seen.iter().flat_map(|seen| &seen.nodes).map(|node| &node.row).chain(copy) {
        if row.node_type != NodeType::Witness && rows.iter().all(|other| other.conninfo != row.conninfo) {
            rows.push(row.clone());
        }
    }
    let found = gather(&rows, &[], &site.environment, site.node_deadline()).await;
    let primary = found
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.facts()?)))
        .filter(|(_, server)| {
            !server.in_recovery && Some(server.system_identifier.as_str()) != own_identifier
        })
        .max_by_key(|(_, server)| server.timeline);
    match primary.and_then(|(node, _)| Conninfo::parse(&node.row.conninfo).ok()) {
        Some(conninfo) => contact(site, &conninfo).await,
        None => {
            let mut names: Vec<String> = rows.iter().map(|row| format!("\"{}\"", row.node_name)).collect();
            names.dedup();
            Contact::Unknown { asked: names }
        }
    }
}

/// Asks the nodes in the witness's own table that the primary does not know: this server may be one of them.
pub async fn strangers(site: &Site, rows: &[NodeRow], cluster: Option<&ClusterFacts>) -> ClusterFacts {
    let Some(cluster) = cluster else { return ClusterFacts::default() };
    let is_known = |row: &NodeRow| cluster.nodes.iter().any(|node| node.row.conninfo == row.conninfo);
    let rows: Vec<NodeRow> = rows.iter().filter(|row| !is_known(row)).cloned().collect();
    gather(&rows, &[], &site.environment, site.node_deadline()).await
}
