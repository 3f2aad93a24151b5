//! The plan of `standby promote`. Pure.
//!
//! It must never make a second primary. So every server that responds counts as alive, every standby that streams has an upstream, and a
//! node that does not respond is named. The point of no return is the request for promotion itself.

mod checks;
mod missing_wal;
mod other_primary;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::role::RoleFacts;
use crate::facts::topology::Topology;
use crate::pg::lsn::Lsn;
use crate::plan::keep_down::AsStandby;
use crate::plan::parts::announce::{self, OtherOperations};
use crate::plan::parts::hosts::HostReport;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::register::endpoint;
use crate::plan::{Check, FarEnd, Plan};
use crate::registry::NodeType;
use crate::registry::schema::PresentMetadata;
use crate::system::command::Command;

use checks::{PromoteChecks, examine};
use missing_wal::none_has_more;
use other_primary::no_other_primary;
use steps::PromoteSteps;

/// What the plan depends on.
#[derive(Debug)]
pub struct PromoteFacts {
    /// All nodes, the one to promote included.
    pub cluster: ClusterFacts,
    /// What our role may do on those that respond.
    pub roles: BTreeMap<i32, RoleFacts>,
    /// The node to promote.
    pub node_id: i32,
    /// What there is of metadata; None if it could not be queried.
    pub metadata: Option<PresentMetadata>,
    /// The operations of other commands that have not reported their end.
    pub others: OtherOperations,
    /// The saved topology.
    pub topology: Option<Topology>,
    /// Where the WAL of the dead primary ends, where its own files say so.
    pub former_end: Option<Lsn>,
    /// What pgbaton on the hosts of the others reports, if it was queried.
    pub hosts: BTreeMap<i32, HostReport>,
    /// The servers of former primaries that would start as a primary: they are kept from that before anything else is done.
    pub to_keep_down: Vec<(FarEnd, AsStandby)>,
    /// What repmgr does meanwhile.
    pub repmgr_activity: RepmgrActivity,
    /// The command for a promotion, where the configuration has one or our role must not call `pg_promote()`.
    pub command: Option<Command>,
    /// Nodes of the cluster use replication slots.
    pub use_slots: bool,
    /// Seconds that the promotion may take.
    pub timeout_s: u32,
    /// Now.
    pub now: Timestamp,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromoteOptions {
    /// `--force`.
    pub force: bool,
    /// `--accept-data-loss`.
    pub accept_data_loss: bool,
    /// The siblings are to follow.
    pub siblings_follow: bool,
}

/// The plan, and what it means for the data.
#[derive(Debug)]
pub struct Promotion {
    /// The plan.
    pub plan: Plan,
    /// Bytes of the dead primary's WAL that will be missing; None for unknown.
    pub wal_lost_bytes: Option<u64>,
    /// The primary before, if there was one in the metadata.
    pub former: Option<i32>,
}

/// Plans a promotion.
pub fn plan(facts: &PromoteFacts, options: PromoteOptions) -> Promotion {
    let node = facts.cluster.node(facts.node_id);
    let Some((candidate, server)) = node.and_then(|node| Some((node, node.facts()?))) else {
        return refused(facts.node_id);
    };
    let former = former(&facts.cluster, facts.node_id);
    let examined = examine(facts, options, candidate, server, former);
    let PromoteChecks { checks, wal_lost_bytes, following, kept_slot } = examined;
    let former = former.map(|node| node.row.node_id);
    let settled = announce::settled(&facts.others);
    let mut plan = Plan { checks, settled, back_failed: Exit::Promotion, ..Plan::nothing(title(candidate)) };
    if !plan.checks.iter().any(Check::stops) {
        let on = endpoint(candidate);
        PromoteSteps { facts, candidate, server, on, former, following }.add_to(&mut plan, kept_slot);
    }
    Promotion { plan, wal_lost_bytes, former }
}

/// Judges whether the node may be promoted at all: what decides it today as well for an operation that was planned on another day.
pub fn judge(facts: &PromoteFacts, options: PromoteOptions) -> Plan {
    let node = facts.cluster.node(facts.node_id);
    let Some((candidate, server)) = node.and_then(|node| Some((node, node.facts()?))) else {
        return refused(facts.node_id).plan;
    };
    let mut checks = no_other_primary(facts, candidate, server, options);
    checks.extend(none_has_more(facts, candidate, server, options));
    Plan { checks, ..Plan::nothing(title(candidate)) }
}

fn title(candidate: &NodeFacts) -> String {
    format!("promote standby \"{}\"", candidate.row.node_name)
}

fn refused(node_id: i32) -> Promotion {
    let check = Check::fail("server_is_standby", format!("the server of node {node_id} does not respond"))
        .exit(Exit::Connection);
    let nothing = Plan::nothing(format!("promote node {node_id}"));
    let plan = Plan { checks: vec![check], back_failed: Exit::Promotion, ..nothing };
    Promotion { plan, wal_lost_bytes: None, former: None }
}

/// Returns the node that is, or was, the primary according to the metadata.
fn former(cluster: &ClusterFacts, node_id: i32) -> Option<&NodeFacts> {
    cluster.nodes.iter().find(|node| {
        node.row.node_type == NodeType::Primary && node.row.active && node.row.node_id != node_id
    })
}

fn is_other_data_node(node: &NodeFacts, node_id: i32) -> bool {
    node.row.node_id != node_id && node.row.node_type != NodeType::Witness
}
