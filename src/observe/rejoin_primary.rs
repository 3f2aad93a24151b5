//! The primary that a node is brought back to: found through the metadata, or, where no other node is known, through what else this host
//! knows.

use crate::error::{Error, Exit, Result};
use crate::facts::cluster::{ClusterFacts, query_node};
use crate::facts::server::ServerFacts;
use crate::observe::discovery;
use crate::observe::peers::known_servers;
use crate::site::Site;
use crate::system::clock;

/// Finds the cluster; where no other node that is known answers, by what else this host knows.
///
/// # Errors
/// Exit code 6 if no other node is known, or none answers.
pub async fn find_primary(site: &Site) -> Result<ClusterFacts> {
    let own = site.config()?.node_id;
    let found = discovery::cluster(site).await.map(|found| found.facts);
    let answers =
        |facts: &ClusterFacts| facts.nodes.iter().any(|node| node.row.node_id != own && node.server.is_ok());
    let is_silent = match &found {
        Ok(facts) => !answers(facts),
        Err(error) => error.exit == Exit::Connection,
    };
    if site.given_conninfo()?.is_some() || !is_silent {
        return found;
    }
    let own_server = found.as_ref().ok().and_then(|facts| facts.node(own)?.facts());
    let own_server = own_server.map(|own| (own.system_identifier.clone(), own.started_at.clone()));
    let search = match known_servers::find_known_servers(site, own_server).await {
        Ok(search) => search,
        // A directory that cannot be read is reported when it is copied.
        Err(error) => {
            site.debug(&format!("other nodes were not searched for: {error}"));
            known_servers::KnownServers { facts: None, dismissed: Vec::new() }
        }
    };
    if let Some(facts) = search.facts.filter(answers) {
        discovery::remember(site, &facts, clock::now());
        return Ok(facts);
    }
    let knows_no_other_node = |facts: &ClusterFacts| facts.nodes.iter().all(|node| node.row.node_id == own);
    match found {
        Ok(facts) if !knows_no_other_node(&facts) => Ok(facts),
        // Here it is no news that the local server does not run.
        _ => Err(no_other_node_known(site, &search.dismissed)),
    }
}

/// Says what to add where the files of this host lead to no other node.
fn no_other_node_known(site: &Site, dismissed: &[String]) -> Error {
    let own = site.local_conninfo().unwrap_or_default();
    let user = own.get("user").or(site.environment.user.as_deref()).unwrap_or("USER").to_string();
    let dbname = own.get("dbname").unwrap_or(&user).to_string();
    let place = known_servers::password_file(site);
    let asked = match dismissed {
        [] => "Neither the saved topology, nor the password file, nor primary_conninfo names another node."
            .to_string(),
        several => format!(
            "The password file and primary_conninfo lead to no node of this cluster. {}",
            several.join(" ")
        ),
    };
    let line = place.map(|place| {
        format!(
            "; or add a line \"HOST:5432:{dbname}:{user}:PASSWORD\" to \"{}\" and run this command again",
            place.display()
        )
    });
    Error::new(Exit::Connection, "no other node of the cluster is known on this host")
        .detail(format!("{asked} Nothing was changed."))
        .hint(format!(
            "Name one of them: \"pgbaton node rejoin -d 'host=HOST port=5432 user={user} dbname={dbname}'\"{}.",
            line.unwrap_or_default()
        ))
}

/// Finds the node to follow: the one that accepts writes and is not this one. Of several, the one that -d leads to.
///
/// # Errors
/// Exit code 31 if there are several, 32 if no other node accepts writes, 6 if no other node is known.
pub async fn target(site: &Site, facts: &ClusterFacts) -> Result<i32> {
    let own = site.config()?.node_id;
    let others = ClusterFacts {
        nodes: facts.nodes.iter().filter(|node| node.row.node_id != own).cloned().collect(),
        ..ClusterFacts::default()
    };
    match discovery::the_primary(&others) {
        Ok((node, _)) => Ok(node.row.node_id),
        Err(error) if error.exit == Exit::SecondPrimary => {
            let named = named(site, &others).await;
            named.ok_or_else(|| error.hint("Name the right one with -d."))
        }
        Err(error)
            if error.exit == Exit::Connection && others.nodes.iter().any(|node| node.server.is_ok()) =>
        {
            if let Some(own) = facts.primaries().map(|(node, _)| node).find(|node| node.row.node_id == own) {
                let name = &own.row.node_name;
                return Err(Error::new(
                    Exit::DataLoss,
                    format!("node \"{name}\" is the primary and no other node accepts writes: there is nothing to rejoin"),
                )
                .detail("Nothing was changed.")
                .hint("If another node is to become the primary, run \"pgbaton standby switchover\" on that node."));
            }
            Err(Error::new(Exit::DataLoss, "no other node accepts writes")
                .detail(
                    "The nodes that respond are standbys. A node can rejoin a primary only. Nothing was changed.",
                )
                .hint("Promote one of them first: \"pgbaton standby promote\" on it."))
        }
        Err(_) if others.nodes.is_empty() => Err(no_other_node_known(site, &[])),
        Err(error) => Err(error),
    }
}

/// Returns the primary that the command line names, if it names one.
async fn named(site: &Site, facts: &ClusterFacts) -> Option<i32> {
    let given = site.named_server().ok()??;
    let (_, server) = query_node(&given.to_string(), &site.environment, site.node_deadline()).await.ok()?;
    let mut primaries = facts.primaries();
    let same = |there: &ServerFacts| {
        (&there.system_identifier, &there.started_at) == (&server.system_identifier, &server.started_at)
    };
    primaries.find(|(_, there)| same(there)).map(|(node, _)| node.row.node_id)
}
