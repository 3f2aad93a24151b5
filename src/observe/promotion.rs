//! What a promotion is decided from, besides the cluster: where the WAL of the primary before ends, and the program that promotes.

use std::time::Duration;

use crate::error::Result;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::directory::{DirectoryContents, inspect_directory, running_postmaster};
use crate::facts::rejoin;
use crate::facts::role::RoleFacts;
use crate::observe::node_location::{self, NodeLocation};
use crate::pg::lsn::Lsn;
use crate::registry::NodeType;
use crate::site::Site;
use crate::system::command::Command;

/// How long a promotion waits to learn where the WAL of a crashed primary ends.
const END_OF_WAL: Duration = Duration::from_millis(200);

/// Returns where the WAL of a primary ends that does not answer, if its files are on this host and no server runs on them.
pub async fn former_end(site: &Site, cluster: &ClusterFacts, node_id: i32) -> Option<Lsn> {
    let was_primary = |node: &&NodeFacts| {
        node.row.node_type == NodeType::Primary && node.row.active && node.row.node_id != node_id
    };
    let former = cluster.nodes.iter().filter(|node| node.server.is_err()).find(was_primary)?;
    let known = NodeLocation {
        row: &former.row,
        server: None,
        system_identifier: cluster.system_identifier(),
        ssh_host: None,
    };
    let data = node_location::data_directory_here(site, &known).await?;
    if running_postmaster(&data).is_some() {
        return None;
    }
    // After a crash all WAL since the last checkpoint is read, which may be much, while no client can write.
    let read = tokio::task::spawn_blocking(move || rejoin::end_of_wal(&data));
    tokio::time::timeout(END_OF_WAL, read).await.ok()?.ok()?.ok()?
}

/// Returns the program that promotes, where it is not to be `pg_promote()`.
///
/// # Errors
/// Exit code 1 if the configured one is not to be run.
pub fn promote_command(site: &Site, role: Option<&RoleFacts>) -> Result<Option<Command>> {
    let config = site.config()?;
    if let Some(line) = config.command("service_promote_command", &config.service_promote_command)? {
        return Ok(Some(Command::new("/bin/sh", ["-c", line])));
    }
    if role.is_none_or(|role| role.may_promote) {
        return Ok(None);
    }
    let DirectoryContents::DataDirectory { major, .. } = inspect_directory(&config.data_directory) else {
        return Ok(None);
    };
    let Ok(pg_ctl) = site.installation_of(config, major).tool("pg_ctl") else { return Ok(None) };
    let directory = format!("--pgdata={}", config.data_directory.display());
    let words = ["promote".to_string(), "--no-wait".into(), directory];
    Ok(Some(Command::new(pg_ctl, words)))
}
