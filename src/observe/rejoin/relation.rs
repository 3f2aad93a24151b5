//! How the history of a node that is to rejoin compares with the primary's.

use tokio::time::timeout;

use crate::assess::history::{Relation, relation_of};
use crate::context::Context;
use crate::facts::cluster::NodeFacts;
use crate::facts::rejoin::Local;
use crate::facts::server::ServerFacts;
use crate::pg::conninfo::Conninfo;
use crate::pg::history::TimelineId;
use crate::pg::provenance;
use crate::registry::node;
use crate::secret::{Secret, Secrets};
use crate::system::command::Command;
use crate::system::process;

/// Compares the local history with the primary's.
pub(super) fn relation_to(local: &Local, there: &ServerFacts, name: &str) -> Relation {
    let mut branch = local.branch();
    branch.streams = local.running.is_some() && there.sender_of(name).is_some();
    let relation = relation_of(&branch, &there.into());
    if matches!(relation, Relation::Forked { .. }) || local.is_half_rewound() {
        return relation;
    }
    match local.overwritten_evidence() {
        Some(evidence) => Relation::Forked { evidence, at: None },
        None => relation,
    }
}

/// Asks the primary for the history of its timeline, as a standby does.
pub(super) async fn primary_history(
    context: &Context,
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
    command.env.extend(provenance::keep_to_it(&mut command.args, &context.environment));
    if let Some(password) = conninfo.get("password") {
        let name = node::password_secret(primary.row.node_id);
        secrets.insert(name.clone(), Secret::new(password));
        command.secrets.push(("PGPASSWORD".into(), name));
    }
    let setting =
        process::Surroundings { environment: Some(&context.environment), secrets, inherit_pg: true };
    let answer = timeout(context.node_deadline(), process::run(&command, &setting)).await.ok()?;
    // The name of the file and its contents.
    let said = answer.ok()?.success().ok()?.stdout;
    said.split_once('|').map(|(_, contents)| contents.to_string())
}
