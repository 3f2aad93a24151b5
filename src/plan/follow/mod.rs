//! The plan of `standby follow`. Pure.

mod checks;
mod steps;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::error::Exit;
use crate::facts::cluster::ClusterFacts;
use crate::facts::role::RoleFacts;
use crate::facts::settings::Settings;
use crate::facts::write_locations::WriteLocation;
use crate::plan::parts::announce::{self, OtherOperations};
use crate::plan::parts::events;
use crate::plan::parts::following::default_slot;
use crate::plan::register::{endpoint, same_cluster};
use crate::plan::service::writable;
use crate::plan::{Check, Plan, Scope};

use checks::{histories, login_refused, not_a_standby, stays_a_standby, target_checks, unreachable_target};
use steps::{FollowSteps, stale_slots};

/// What the plan depends on.
#[derive(Debug)]
pub struct FollowFacts {
    /// All nodes.
    pub cluster: ClusterFacts,
    /// What our role may do on the local node; None if it could not be queried.
    pub role: Option<RoleFacts>,
    /// The settings in force on the primary; None if it could not be queried.
    pub primary: Option<Settings>,
    /// The node that is to follow: the local one.
    pub node_id: i32,
    /// The node to follow.
    pub target_id: i32,
    /// The local data directory, whose files are written where our role may not run ALTER SYSTEM.
    pub data_directory: PathBuf,
    /// The program `postgres`.
    pub postgres: String,
    /// Where its settings are kept until it streams; a directory of its own.
    pub kept: PathBuf,
    /// The places that are written to.
    pub places: Vec<WriteLocation>,
    /// A replication connection to the target, as the WAL receiver will make it.
    pub login: Result<(), String>,
    /// The node uses a slot.
    pub use_slot: bool,
    /// Seconds within which it has to stream.
    pub timeout_s: u32,
    /// Operations of others that have not reported their end.
    pub others: OtherOperations,
}

/// Plans to follow.
pub fn plan(facts: &FollowFacts, force: bool) -> Plan {
    let local = facts.cluster.node(facts.node_id);
    let target = facts.cluster.node(facts.target_id);
    let name = local.map_or_else(|| facts.node_id.to_string(), |node| node.row.node_name.clone());
    let target_name = target.map_or_else(|| facts.target_id.to_string(), |node| node.row.node_name.clone());
    let mut plan = Plan {
        back_failed: Exit::Follow,
        incomplete: Exit::Query,
        announce_on: facts.cluster.primaries().next().map(|(node, _)| endpoint(node)),
        ..Plan::nothing(format!("make node \"{name}\" follow \"{target_name}\""))
    };
    let Some((local, server)) = local.and_then(|node| Some((node, node.facts()?))) else {
        plan.checks.push(
            Check::fail("server_running", format!("the server of node \"{name}\" does not respond"))
                .hint("Start it: \"pgbaton node start\".")
                .exit(Exit::Connection),
        );
        return plan;
    };
    if !server.in_recovery {
        // Of its target nothing more has to be said: a primary follows none.
        plan.checks.push(not_a_standby(facts, &name, target));
        return plan;
    }
    plan.checks.push(Check::pass("server_is_standby", format!("node \"{name}\" is a standby")));
    plan.notifications.extend(target.map(|target| events::follow(facts.node_id, &target.row)));
    let (Some(target), checks) = target_checks(facts, &target_name) else {
        unreachable_target(&mut plan, facts);
        return plan;
    };
    plan.checks.extend(checks);
    let Some(there) = target.facts() else { return plan };
    let scope = Scope {
        nodes: vec![facts.node_id],
        timeline: there.timeline,
        system_identifier: there.system_identifier.clone(),
    };
    let touched = [facts.node_id, facts.target_id];
    announce::refuse_beside_open_operations(
        &mut plan,
        &facts.others,
        scope,
        facts.target_id,
        &touched,
        force,
    );
    plan.checks.push(same_cluster(server, there, &target_name));
    plan.checks.extend(histories(server, there, &target_name, force));
    plan.checks.extend(stays_a_standby(facts, local, force));
    let slot = facts.use_slot.then(|| default_slot(&local.row));
    let work = FollowSteps { facts, local, server, target, there, slot };
    plan.checks.extend(work.capacity());
    plan.checks.extend(writable(&facts.places, &name));
    plan.checks.extend(login_refused(facts, target));
    if plan.checks.iter().any(Check::stops) {
        return plan;
    }
    if !work.is_done() {
        work.add_to(&mut plan);
    }
    plan.phases.extend(stale_slots(facts, local));
    plan
}
