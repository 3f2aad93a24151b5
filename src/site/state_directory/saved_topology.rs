//! The saved topology: the cluster as this node saw it last.

use jiff::Timestamp;

use super::find::is_witness;
use super::other_user::other_user;
use super::{mark, prepare_state_directory};
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::ClusterFacts;
use crate::facts::topology::{self, Topology};
use crate::site::Site;
use crate::system::inspect;

/// Keeps what was seen of the cluster of this node.
///
/// # Errors
/// Exit code 1 if the state directory is another's, or what was seen is; else where it cannot be written.
pub fn save_topology(site: &Site, facts: &ClusterFacts, now: Timestamp) -> Result<()> {
    let config = site.config()?;
    let Some(seen) = facts.system_identifier() else { return Ok(()) };
    if is_witness(config, facts.nodes.iter().map(|node| &node.row)) {
        site.belongs_to(seen);
    }
    match site.system_identifier() {
        Some(own) if own != seen => {
            return Err(Error::failed("the nodes that respond belong to another cluster")
                .detail(format!(
                    "Their system identifier is {seen}, that of node \"{}\" is {own}.",
                    config.node_name
                ))
                .hint("Check conninfo and data_directory in the configuration."));
        }
        Some(_) => {}
        None => site.belongs_to(seen),
    }
    let state = site.state()?;
    // Another user's file is left alone, and what that user may not write here is no loss.
    if state.aside.is_some()
        || other_user(config).is_some() && state.path.exists() && !inspect::is_own(&state.path)
    {
        return Ok(());
    }
    prepare_state_directory(&state.path)?;
    mark(site, false)?;
    topology::save(&state.path, facts, now)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not write topology.json", &error))
}

/// Reads the saved topology of the cluster of this node.
///
/// # Errors
/// Exit code 1 if it cannot be read, or is of another cluster.
pub fn saved_topology(site: &Site) -> Result<Option<Topology>> {
    let state = site.state()?;
    if state.aside.is_some() {
        return Ok(None);
    }
    let seen = topology::load(&state.path).map_err(|error| {
        Error::from_cause(Exit::Failed, "could not read the saved topology", &error)
            .hint("The file is written anew by the next command that sees the cluster.")
    })?;
    let Some(seen) = seen else { return Ok(None) };
    match (seen.system_identifier.as_deref(), site.system_identifier()) {
        (Some(theirs), Some(own)) if theirs != own => {
            Err(Error::failed("the saved topology belongs to another cluster")
                .detail(format!("Its system identifier is {theirs}, that of this node is {own}."))
                .hint("It is not used, and is written anew by the next command that sees the cluster."))
        }
        _ => Ok(Some(seen)),
    }
}
