//! Whether repmgr is at work in the same cluster: asked before the locks, which it does not know of, and under them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::error::Result;
use crate::facts::repmgr::{self, NEW_S};
use crate::observe::discovery::{self, Discovered};
use crate::observe::under_locks::{LockedCluster, lock_cluster_over, open};
use crate::pg::client::Session;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::registry::NodeRow;
use crate::registry::schema::{self, PresentMetadata};
use crate::site::Site;
use crate::system::inspect::is_started_by;

/// How often one looks again.
const PACE: Duration = Duration::from_millis(200);

/// Whether the real repmgr may change roles in this cluster.
///
/// A repmgrd that has started this command has decided already, and what it has opened meanwhile is its own.
fn is_possible<'a>(mut rows: impl Iterator<Item = &'a NodeRow>, metadata: Option<&PresentMetadata>) -> bool {
    let extension = metadata.is_some_and(|present| present.extension.is_some());
    // It cannot read a file in our format, and it runs on no node without a file of its own.
    let readable = rows.any(|row| !row.config_file.ends_with(".toml"));
    (extension || readable) && !is_started_by("repmgrd")
}

/// The cluster before the locks.
pub(crate) struct Quiet {
    /// What was found.
    pub(crate) found: Discovered,
    /// Sessions on nodes that answered, to go on with.
    pub(crate) sessions: Vec<(i32, Session)>,
    /// What there is of metadata.
    pub(crate) metadata: Option<PresentMetadata>,
    /// No repmgrd runs.
    none_runs: bool,
    /// How long repmgr is waited for.
    until: Instant,
    /// That it is waited for has been said.
    reported: bool,
}

impl Quiet {
    /// Waits a moment for the end of what repmgr does.
    async fn wait(&mut self, site: &Site) {
        if !self.reported {
            self.reported = true;
            let waits = "a repmgr command may be running here: waiting for it to finish";
            site.notice(waits);
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Finds the cluster. Where repmgr has just begun something, waits a while for the end of it first: what was seen meanwhile is not true
/// any more.
///
/// # Errors
/// Those of [`discovery::cluster`].
pub(crate) async fn cluster_at_rest(site: &Site) -> Result<Quiet> {
    let found = discovery::cluster(site).await?;
    let rows: Vec<NodeRow> = found.facts.nodes.iter().map(|node| node.row.clone()).collect();
    // One that does not respond a second time is not waited for.
    let opened = join_all(found.facts.nodes.iter().map(async |node| {
        node.facts()?;
        open(site, &node.row).await.ok()
    }))
    .await;
    let sessions =
        rows.iter().zip(&opened).filter_map(|(row, session)| Some((row.node_id, session.clone()?)));
    let until = Instant::now() + Duration::from_secs(u64::from(NEW_S) + 1);
    let mut rest = Quiet {
        sessions: sessions.collect(),
        found,
        metadata: None,
        none_runs: false,
        until,
        reported: false,
    };
    // A witness is another server, with metadata of its own.
    let own_id = site.config()?.node_id;
    let own = rest.sessions.iter().find(|(id, _)| *id == own_id);
    let Some((_, asked)) = own.or(rest.sessions.first()) else { return Ok(rest) };
    rest.metadata = schema::inspect_metadata(asked).await.ok();
    if !is_possible(rows.iter(), rest.metadata.as_ref()) {
        return Ok(rest);
    }
    loop {
        // A server that is stopped meanwhile is at rest.
        let asked =
            join_all(opened.iter().map(async |session| repmgr::query_repmgr(session.as_ref()?).await.ok()))
                .await;
        // What was true before one of them was stopped still says whose the sessions are.
        rest.none_runs |= repmgr::none_runs(asked.iter().map(Option::as_ref));
        let rests = asked.iter().flatten().all(|repmgr| repmgr.commands(rest.none_runs).is_empty());
        if rests || Instant::now() > rest.until {
            break;
        }
        rest.wait(site).await;
    }
    if rest.reported {
        rest.found = discovery::cluster(site).await?;
    }
    Ok(rest)
}

/// Takes the locks, and looks under them what repmgr does. A daemon opens a session now and then that is over in a moment: then all is
/// looked at again.
///
/// # Errors
/// Those of [`lock_cluster_over`].
pub(crate) async fn lock_when_quiet(
    site: &Site,
    rest: &mut Quiet,
) -> Result<(LockedCluster, RepmgrActivity)> {
    let rows: Vec<NodeRow> = rest.found.facts.nodes.iter().map(|node| node.row.clone()).collect();
    loop {
        let held = lock_cluster_over(site, &rows, &rest.sessions).await?;
        if rest.metadata.is_none()
            && let Some(session) = held.session(site.config()?.node_id)
        {
            rest.metadata = schema::inspect_metadata(session).await.ok();
        }
        let repmgr_activity = repmgr_activity(&held, rest).await;
        if repmgr_activity.at_work(&held.facts).is_empty() || Instant::now() > rest.until {
            return Ok((held, repmgr_activity));
        }
        held.release().await;
        rest.wait(site).await;
    }
}

/// Looks what repmgr does, under the locks.
async fn repmgr_activity(held: &LockedCluster, rest: &Quiet) -> RepmgrActivity {
    let nodes = &held.facts.nodes;
    if !is_possible(nodes.iter().map(|node| &node.row), rest.metadata.as_ref()) {
        return RepmgrActivity::default();
    }
    let asked = join_all(nodes.iter().map(async |node| {
        let session = held.session(node.row.node_id)?;
        Some((node.row.node_id, repmgr::query_repmgr(session).await.ok()?))
    }));
    let nodes = asked.await.into_iter().flatten().collect();
    RepmgrActivity { possible: true, nodes, none_ran: rest.none_runs, ..RepmgrActivity::default() }
}
