//! The operations of other commands, as recorded in the cluster, and what their nodes say.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::facts::cluster::NodeFacts;
use crate::far_end::remote::Remote;
use crate::journal::{self, OperationStatus};
use crate::observe::node_location::{self, NodeLocation};
use crate::observe::under_locks::LockedCluster;
use crate::plan::parts::announce::{OpenStatus, OtherOperation, OtherOperations};
use crate::registry::node::ssh_hosts;
use crate::registry::operation::{self, OpenOperation};
use crate::registry::schema::{self, PresentMetadata};
use crate::site::Site;

/// How long another host may take to say what its journals hold.
const ASK: Duration = Duration::from_secs(10);

/// Reads the rows of open operations on every node that answers: a copy that is cut off may know of one that others do not, and the other
/// way round.
pub async fn other_operations(site: &Site, held: &LockedCluster) -> OtherOperations {
    let read = join_all(held.sessions().map(async |(_, session)| operation::open(session).await)).await;
    // A copy is as good as another one: what could not be read here may have been there.
    let unread = match read.iter().all(Result::is_err) {
        true => read.iter().find_map(|read| read.as_ref().err()).map(|error| error.message.clone()),
        false => None,
    };
    let rows: BTreeMap<String, OpenOperation> =
        read.into_iter().flatten().flatten().map(|row| (row.operation_id.clone(), row)).collect();
    let identifier = held.facts.system_identifier();
    let of_this_cluster = |row: &OpenOperation| {
        row.system_identifier.is_none() || row.system_identifier.as_deref() == identifier
    };
    let newest = held.facts.nodes.iter().filter_map(NodeFacts::facts).map(|server| server.timeline).max();
    let mut out = Vec::new();
    for row in rows.into_values().filter(of_this_cluster).filter(|row| !site.supersedes(&row.operation_id)) {
        let node = row.node_id.and_then(|id| held.facts.node(id));
        let node_name = node.map_or_else(|| "?".to_string(), |node| node.row.node_name.clone());
        // One that does not count anyway is not asked after.
        let standing = if row.timeline.is_some() && row.timeline == newest {
            open_status(site, held, &row, node).await
        } else {
            OpenStatus::Unknown("Its journal was not queried.".into())
        };
        out.push(OtherOperation { row, node_name, standing });
    }
    OtherOperations { known: out, unread }
}

/// Returns what there is of metadata on the primary.
pub async fn metadata(held: &LockedCluster, primary_id: i32) -> Option<PresentMetadata> {
    schema::inspect_metadata(held.session(primary_id)?).await.ok()
}

async fn open_status(
    site: &Site,
    held: &LockedCluster,
    row: &OpenOperation,
    node: Option<&NodeFacts>,
) -> OpenStatus {
    if site.config().is_ok_and(|config| row.node_id == Some(config.node_id)) {
        return local_open_status(site, row);
    }
    let Some(node) = node else { return OpenStatus::Over };
    let hosts = match held.sessions().next() {
        Some((_, session)) => ssh_hosts(session).await.unwrap_or_default(),
        None => BTreeMap::default(),
    };
    let known = NodeLocation {
        row: &node.row,
        server: node.facts(),
        system_identifier: held.facts.system_identifier(),
        ssh_host: hosts.get(&node.row.node_id).map(String::as_str),
    };
    let far_end = match node_location::far_end(site, &known).await {
        Ok(far_end) => far_end,
        Err(error) => return OpenStatus::Unknown(format!("Its journal cannot be queried: {error}")),
    };
    match Remote::open(site, &far_end, ASK).await {
        Ok((_, hello)) => match (hello.locked_by, hello.unfinished) {
            (Some(holder), _) => OpenStatus::Open(holder),
            (None, Some((id, _))) if id == row.operation_id => {
                OpenStatus::Open("Its journal there is not closed, and no process is at work on it.".into())
            }
            _ => OpenStatus::Over,
        },
        Err(trouble) => {
            OpenStatus::Unknown(format!("Its journal cannot be queried: {}", trouble.error(&far_end)))
        }
    }
}

/// An operation of this node: its own journals say it.
fn local_open_status(site: &Site, row: &OpenOperation) -> OpenStatus {
    let entries = site.state_directory().ok().and_then(|directory| journal::list(&directory).ok());
    let Some(entries) = entries else {
        return OpenStatus::Unknown("The journals of this node cannot be read.".into());
    };
    match entries.iter().find(|entry| entry.operation_id == row.operation_id) {
        Some(entry) if !matches!(entry.status(), OperationStatus::Finished { .. }) => {
            OpenStatus::Open("Its journal on this node is not closed.".into())
        }
        _ => OpenStatus::Over,
    }
}
