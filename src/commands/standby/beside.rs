//! Whether repmgr is at work in the same cluster: asked before the locks, which it does not know of, and under them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::commands::context::Context;
use crate::commands::hold::{Held, open};
use crate::commands::locate::{self, Found};
use crate::error::Result;
use crate::facts::repmgr::{self, NEW_S};
use crate::output::ui::Level;
use crate::plan::beside::Beside;
use crate::registry::NodeRow;
use crate::registry::schema::{self, Present};
use crate::system::inspect::is_started_by;

/// How often one looks again.
const PACE: Duration = Duration::from_millis(200);

/// Whether the real repmgr may change roles in this cluster.
///
/// A repmgrd that has started this command has decided already, and what it has opened meanwhile is its own.
fn is_possible<'a>(mut rows: impl Iterator<Item = &'a NodeRow>, metadata: Option<&Present>) -> bool {
    let extension = metadata.is_some_and(|present| present.extension.is_some());
    // It cannot read a file in our format, and it runs on no node without a file of its own.
    let readable = rows.any(|row| !row.config_file.ends_with(".toml"));
    (extension || readable) && !is_started_by("repmgrd")
}

/// Finds the cluster. Where repmgr has just begun something, waits a while for the end of it first: what was seen meanwhile is not true
/// any more.
///
/// # Errors
/// Those of [`locate::cluster`].
pub(super) async fn cluster_at_rest(context: &Context) -> Result<Found> {
    let found = locate::cluster(context).await?;
    let rows: Vec<&NodeRow> = found.facts.nodes.iter().map(|node| &node.row).collect();
    let sessions = join_all(rows.iter().map(async |row| open(context, row).await.ok())).await;
    let Some(first) = sessions.iter().flatten().next() else { return Ok(found) };
    if !is_possible(rows.into_iter(), schema::look(first).await.ok().as_ref()) {
        return Ok(found);
    }
    let begun = Instant::now();
    let (mut told, mut none_runs) = (false, false);
    loop {
        // A server that somebody stops meanwhile is at rest.
        let asked =
            join_all(sessions.iter().map(async |session| repmgr::ask(session.as_ref()?).await.ok())).await;
        // What was true before one of them was stopped still says whose the sessions are.
        none_runs |= repmgr::none_runs(asked.iter().map(Option::as_ref));
        let rests = asked.iter().flatten().all(|repmgr| repmgr.commands(none_runs).is_empty());
        let over = begun.elapsed() > Duration::from_secs(u64::from(NEW_S) + 1);
        if rests || over {
            break;
        }
        if !told {
            told = true;
            context
                .ui
                .say(Level::Notice, "a command of repmgr may be running here: waiting for the end of it");
        }
        tokio::time::sleep(PACE).await;
    }
    if told { locate::cluster(context).await } else { Ok(found) }
}

/// Looks what repmgr does, under the locks.
pub(super) async fn beside(held: &Held, metadata: Option<&Present>) -> Beside {
    let nodes = &held.facts.nodes;
    if !is_possible(nodes.iter().map(|node| &node.row), metadata) {
        return Beside::default();
    }
    let asked = join_all(nodes.iter().map(|node| async {
        let session = held.session(node.row.node_id)?;
        Some((node.row.node_id, repmgr::ask(session).await.ok()?))
    }));
    Beside { possible: true, nodes: asked.await.into_iter().flatten().collect(), ..Beside::default() }
}
