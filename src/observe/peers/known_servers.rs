//! Other nodes of this cluster that a host knows of while its own server is down.

use std::path::{Path, PathBuf};

use super::poll::PeerPoll;
use crate::assess::start::PeerAnswer;
use crate::error::Result;
use crate::facts::cluster::{ClusterFacts, query_node};
use crate::observe::discovery;
use crate::observe::own_node::own_row;
use crate::pg::conninfo::Conninfo;
use crate::pg::passfile;
use crate::registry::{NodeRow, NodeType};
use crate::site::Site;
use crate::system::files;

/// The most places of a file of passwords that are asked: it may be one for a hundred databases.
const PLACES: usize = 16;

/// Returns a server as something to ask that is no registered node, so far as is known.
pub(crate) fn unregistered(site: &Site, conninfo: &Conninfo) -> Result<NodeRow> {
    Ok(NodeRow {
        node_id: 0,
        node_name: conninfo.without_secrets().to_string(),
        conninfo: conninfo.to_string(),
        active: false,
        ..own_row(site.config()?, NodeType::Standby, None, None)
    })
}

/// Returns servers that may be nodes of this cluster: where the local server would stream from, and where its passwords lead to.
pub(crate) async fn guesses(site: &Site) -> Vec<NodeRow> {
    let Ok(own) = site.local_conninfo() else { return Vec::new() };
    let mut out = Vec::new();
    if let Some(upstream) = upstream_of_files(site).await {
        let mut conninfo = own.leading_to(&upstream);
        // The walreceiver's file of passwords is used for a question only if it is also that of this host's user.
        let passfile = upstream.get("passfile").filter(|_| own.get("passfile").is_none());
        if let Some(passfile) =
            passfile.filter(|path| password_file(site).as_deref() == Some(Path::new(path)))
        {
            conninfo.set("passfile", passfile);
        }
        out.push(conninfo);
    }
    for (host, port) in passfile_places(site, &own).into_iter().take(PLACES) {
        let mut there = Conninfo::default();
        there.set("host", host);
        there.set("port", port);
        out.push(own.leading_to(&there));
    }
    out.iter().filter_map(|conninfo| unregistered(site, conninfo).ok()).collect()
}

/// What the files of this host lead to.
#[derive(Debug)]
pub(crate) struct KnownServers {
    /// The cluster, if a server of it was found.
    pub facts: Option<ClusterFacts>,
    /// Where they lead to, and why that is of no use, as whole sentences.
    pub dismissed: Vec<String>,
}

/// Finds the cluster of the local data directory by what its host knows where the metadata names no node that responds.
///
/// A server is believed to be one of this cluster by its system identifier only, and what it says of the others is asked of them.
/// `own_server` is the local server, where it runs.
///
/// # Errors
/// Exit code 1 if the data directory cannot be read; 7 if the metadata cannot be read any more.
pub(crate) async fn find_known_servers(
    site: &Site,
    own_server: Option<(String, String)>,
) -> Result<KnownServers> {
    let own = own_row(site.config()?, NodeType::Primary, None, None);
    let system_identifier =
        crate::observe::peers::read_local_files(site).await?.control.system_identifier.to_string();
    let mut inquiry = PeerPoll::new(site, &own, &system_identifier);
    inquiry.own_server = own_server;
    inquiry.guessed = guesses(site).await;
    let is_ours = |peer: &&PeerAnswer| {
        peer.node.facts().is_some_and(|server| server.system_identifier == system_identifier)
    };
    let takes_writes = |peer: &PeerAnswer| peer.node.facts().is_some_and(|server| !server.in_recovery);
    let enough = |peers: &[PeerAnswer]| peers.iter().filter(is_ours).any(takes_writes);
    let peers = inquiry.round(site.node_deadline(), enough).await;
    let mut dismissed: Vec<String> = Vec::new();
    for node in &inquiry.dismissed {
        let name = &node.row.node_name;
        dismissed.push(match &node.server {
            Ok(_) => format!("The server at {name} belongs to another cluster."),
            Err(unavailable) => format!("The server at {name}: {}.", unavailable.message),
        });
    }
    let mut ours: Vec<&PeerAnswer> = peers.iter().filter(is_ours).collect();
    ours.sort_by_key(|peer| {
        let timeline = peer.node.facts().map(|server| server.timeline);
        std::cmp::Reverse((takes_writes(peer), timeline))
    });
    for peer in ours {
        let row = &peer.node.row;
        if let Err(why) = &peer.rows {
            dismissed.push(format!("The metadata cannot be read at {}: {why}.", row.node_name));
            continue;
        }
        let asked = query_node(&row.conninfo, &site.environment, site.node_deadline()).await;
        if let Ok((session, _)) = asked {
            let facts = discovery::from_session(site, &session, &row.node_name).await?;
            return Ok(KnownServers { facts: Some(facts), dismissed });
        }
    }
    Ok(KnownServers { facts: None, dismissed })
}

/// Returns the password file that is used by default.
pub(crate) fn password_file(site: &Site) -> Option<PathBuf> {
    let environment = &site.environment;
    let own = site.local_conninfo().ok()?;
    let named = own.get("passfile").or_else(|| environment.non_empty("PGPASSFILE")).map(PathBuf::from);
    let config = || site.config().ok()?.passfile.clone();
    named.or_else(config).or_else(|| Some(environment.home.as_ref()?.join(".pgpass")))
}

fn passfile_places(site: &Site, own: &Conninfo) -> Vec<(String, String)> {
    let Some(Ok((text, _))) = password_file(site).map(|path| files::read_text(&path)) else {
        return Vec::new();
    };
    let user = own.get("user").or(site.environment.user.as_deref()).unwrap_or_default();
    passfile::places(&text, own.get("dbname").unwrap_or(user), user)
}

/// Returns where the local server streams from by its files, as `postgres -C` reports it.
async fn upstream_of_files(site: &Site) -> Option<Conninfo> {
    let config = site.config().ok()?;
    let config_directory = site.config_directory(config);
    let installation = site.installation(config).ok()?;
    let said = installation.setting("primary_conninfo", config_directory.as_deref()).await.ok()?;
    Conninfo::parse(&said).ok().filter(|upstream| !upstream.is_empty())
}
