//! How the history of a node that is to rejoin compares with the primary's.

use tokio::time::timeout;

use crate::assess::history::{Evidence, Relation, relation_of};
use crate::error::Result;
use crate::facts::branch::Fork;
use crate::facts::cluster::NodeFacts;
use crate::facts::lineage::{self, Lineage};
use crate::facts::rejoin::LocalFiles;
use crate::facts::server::ServerFacts;
use crate::observe::history;
use crate::pg::client::Session;
use crate::pg::conninfo::Conninfo;
use crate::pg::history::{Switch, TimelineId, parse_history};
use crate::pg::installation::Installation;
use crate::pg::provenance;
use crate::registry::node;
use crate::secret::{Secret, Secrets};
use crate::site::Site;
use crate::system::command::Command;
use crate::system::process;

/// What a comparison with the primary has shown.
pub(super) struct Comparison {
    /// The local node, with where its WAL ends.
    pub(super) local: LocalFiles,
    /// The primary, with what was read there to compare.
    pub(super) there: ServerFacts,
    /// The history of the primary's timeline.
    pub(super) switches: Vec<Switch>,
    pub(super) fork: Fork,
    pub(super) relation: Relation,
}

/// Compares the local history with the primary's, which is asked for what the comparison needs. `name` is the local node's.
///
/// # Errors
/// Fails where the local WAL cannot be read.
pub(super) async fn compare(
    session: &Session,
    mut local: LocalFiles,
    mut there: ServerFacts,
    name: &str,
) -> anyhow::Result<Comparison> {
    history::read_there(session, &mut there, (local.control.timeline, local.control.checkpoint)).await;
    let text = there.lineage.as_ref().and_then(|lineage| lineage.history.as_deref());
    let switches = text.and_then(|text| parse_history(text).ok()).unwrap_or_default();
    let fork = local.fork_from(&switches, there.timeline);
    if !local.is_half_rewound() {
        local.find_end(fork)?;
    }
    let mut relation = relation_to(&local, &there, name);
    if matches!(relation, Relation::Unknown(_)) && !local.is_half_rewound() {
        // The checkpoint is older than what the primary still has. What was written last may be there.
        let shared_until =
            there.lineage.as_ref().and_then(|theirs| lineage::shared_until(theirs, local.timeline));
        for place in local.find_last_places(shared_until) {
            history::read_there(session, &mut there, place).await;
        }
        relation = relation_to(&local, &there, name);
    }
    Ok(Comparison { local, there, switches, fork, relation })
}

/// Adds the history of the primary's timeline where the role may not read files there: a replication connection returns as much.
///
/// # Errors
/// Exit code 1 where that is needed and psql cannot be found.
pub(super) async fn with_history(
    site: &Site,
    installation: &Installation<'_>,
    primary: &NodeFacts,
    mut there: ServerFacts,
) -> Result<ServerFacts> {
    if there.lineage.as_ref().is_none_or(|lineage| lineage.history.is_none()) {
        let psql = installation.required_tool("psql")?;
        let history = primary_history(site, &psql, primary, there.timeline).await;
        let promotions = there.lineage.map(|lineage| lineage.promotions).unwrap_or_default();
        there.lineage = Some(Lineage { history, promotions, ..Lineage::default() });
    }
    Ok(there)
}

/// Says how the local history and the primary's are related.
fn relation_to(local: &LocalFiles, there: &ServerFacts, name: &str) -> Relation {
    let mut branch = local.branch();
    branch.streams = local.running.is_some() && there.sender_of(name).is_some();
    let relation = relation_of(&branch, &there.into());
    if matches!(relation, Relation::Forked { .. }) || local.is_half_rewound() {
        return relation;
    }
    match local.overwritten_evidence() {
        Some(sentence) => Relation::Forked { evidence: Evidence::OfServer(sentence), at: None },
        None => relation,
    }
}

/// Asks the primary for the history of its timeline, as a standby does.
async fn primary_history(
    site: &Site,
    psql: &str,
    primary: &NodeFacts,
    timeline: TimelineId,
) -> Option<String> {
    let conninfo = Conninfo::parse(&primary.row.conninfo).ok()?;
    let mut secrets = Secrets::new();
    let mut command = Command::new(
        psql,
        [
            "-XAtqw".to_string(),
            format!("--dbname={} replication=true", conninfo.without_secrets()),
            format!("--command=TIMELINE_HISTORY {timeline}"),
        ],
    );
    command.env.extend(provenance::pin_destination(&mut command.args, &site.environment));
    if let Some(password) = conninfo.get("password") {
        let name = node::password_secret(primary.row.node_id);
        secrets.insert(name.clone(), Secret::new(password));
        command.secrets.push(("PGPASSWORD".into(), name));
    }
    let setting = process::ChildContext { environment: Some(&site.environment), secrets, inherit_pg: true };
    let answer = timeout(site.node_deadline(), process::run(&command, &setting)).await.ok()?;
    // The name of the file and its contents.
    let said = answer.ok()?.success().ok()?.stdout;
    said.split_once('|').map(|(_, contents)| contents.to_string())
}
