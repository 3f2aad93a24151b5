//! The plan of `standby switchover`. Pure.
//!
//! Everything that can be done while clients still write is done first. The last of it makes the old primary a standby on the disk: it runs
//! on as a primary, but every start from then on makes it a standby. So nothing that happens between its stop and the promotion makes a
//! second primary: no supervisor, no colleague, no crash of the host. From the stop on every step counts, because clients cannot write.

mod checks;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::checks::{as_failure, backups_and_archive, check_both_nodes, followers, lag, silent_nodes};
use self::steps::SwitchoverSteps;
use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::role::RoleFacts;
use crate::facts::settings::NextStart;
use crate::plan::parts::announce::{self, OtherOperations};
use crate::plan::parts::events::{self, PlannedEvent};
use crate::plan::parts::logical;
use crate::plan::parts::new_primary::{self, sender_and_slot_capacity};
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::parts::standby::{self, FutureStandby};
use crate::plan::register::endpoint;
use crate::plan::{Check, Plan, PlannedFor};
use crate::registry::schema::PresentMetadata;
use crate::system::command::Command;

/// What is known of the host of the old primary, and of how its server is stopped and started there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OldPrimaryHost {
    /// The data directory.
    pub data_directory: PathBuf,
    /// The program `postgres`.
    pub postgres: String,
    /// Where postgresql.conf is, if not there.
    pub config_directory: Option<PathBuf>,
    /// The command that stops it, where it must not be a signal.
    pub stop: Option<Command>,
    /// The command that starts it.
    pub start: Command,
    /// Where its first messages go then, if not where they went before.
    #[serde(default)]
    pub start_note: Option<String>,
    /// Segments waiting to be archived; None if that is unknown.
    pub archive_ready: Option<u64>,
    /// The server has a `primary_conninfo` from an earlier life as a standby.
    pub has_upstream: bool,
    /// What its next start will find.
    pub next: NextStart,
}

/// How long things may take and how far behind the candidate may be, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Seconds for the stop of the old primary.
    pub shutdown_s: u32,
    /// Seconds for the candidate to receive the last WAL.
    pub receive_s: u32,
    /// Seconds for the promotion.
    pub promote_s: u32,
    /// Seconds for the old primary to come back as a standby.
    pub reconnect_s: u32,
    /// Seconds for it, and for each sibling, to stream.
    pub rejoin_s: u32,
    /// Seconds of lag at which to warn, and at which to refuse.
    pub lag_s: (u32, u32),
    /// Segments waiting to be archived at which to warn, and at which to refuse.
    pub archive_ready: (u64, u64),
}

/// What the plan depends on.
#[derive(Debug)]
pub struct SwitchoverFacts {
    /// All nodes.
    pub cluster: ClusterFacts,
    /// What our role may do on those that respond.
    pub roles: BTreeMap<i32, RoleFacts>,
    /// The candidate: the local node.
    pub candidate: i32,
    /// The candidate's data directory, on this host.
    pub candidate_data: PathBuf,
    /// The old primary.
    pub primary: i32,
    /// What there is of the metadata; None where that is not known.
    pub metadata: Option<PresentMetadata>,
    /// The operations of other commands that have not reported their end.
    pub others: OtherOperations,
    /// The old primary's host; None if it could not be queried, which `checks` say.
    pub host: Option<OldPrimaryHost>,
    /// What was examined on other hosts: whether they can be reached, whether logins work.
    pub checks: Vec<Check>,
    /// What repmgr does meanwhile.
    pub repmgr_activity: RepmgrActivity,
    /// The command for a promotion, where it is not `pg_promote()`.
    pub command: Option<Command>,
    /// Bounds.
    pub bounds: Bounds,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwitchoverOptions {
    /// `--force`.
    pub force: bool,
    /// The siblings are to follow.
    pub siblings_follow: bool,
}

/// Plans a switchover.
pub fn plan(facts: &SwitchoverFacts, options: SwitchoverOptions) -> Plan {
    let name =
        |id: i32| facts.cluster.node(id).map_or_else(|| id.to_string(), |node| node.row.node_name.clone());
    let (from, to) = (name(facts.primary), name(facts.candidate));
    let mut plan = Plan {
        back_failed: Exit::NoPrimary,
        incomplete: Exit::Incomplete,
        ..Plan::nothing(format!("switch over from \"{from}\" to \"{to}\""))
    };
    let both = [facts.candidate, facts.primary].map(|id| {
        let node = facts.cluster.node(id)?;
        Some((node, node.facts()?))
    });
    let [Some((candidate, server)), Some((primary, old))] = both else {
        plan.checks.push(
            Check::fail("servers_answer", format!("\"{from}\" and \"{to}\" must both respond"))
                .exit(Exit::Connection),
        );
        return plan;
    };
    plan.announce_on = Some(endpoint(primary));
    plan.origin =
        Some(PlannedFor { scope: new_primary::scope(&facts.cluster, old), primary: Some(facts.primary) });
    plan.checks.extend(check_both_nodes(facts, candidate, server, primary, old));
    let touched: Vec<i32> = facts.cluster.nodes.iter().map(|node| node.row.node_id).collect();
    plan.checks.extend(announce::checks(&facts.others, old.timeline, &touched, options.force));
    plan.settled = announce::settled(&facts.others);
    let role = facts.roles.get(&facts.candidate);
    plan.checks.extend(new_primary::promotion_fitness(candidate, server, Some(old), role, options.force));
    plan.checks.extend(new_primary::recovery_target(candidate, role));
    plan.checks.extend(logical::slots_survive(candidate, &logical::lost(old, server), options.force));
    let (following, staying) = followers(facts, candidate, server, options);
    plan.checks.extend(staying);
    let mut there: Vec<&NodeFacts> = following.clone();
    there.push(primary);
    plan.checks.push(as_failure(sender_and_slot_capacity(candidate, server, &there)));
    plan.checks.extend(new_primary::synchronous_standbys(candidate, server, &there, options.force));
    plan.checks.extend(logical::held_back(candidate, server, there.iter().copied()));
    plan.checks.extend(lag(facts, candidate, server, old, options.force));
    plan.checks.extend(backups_and_archive(facts, primary, old, options.force));
    plan.checks.extend(silent_nodes(facts, old, options));
    plan.checks.extend(facts.repmgr_activity.checks(&facts.cluster, options.force));
    plan.checks.extend(facts.checks.iter().cloned());
    let recording = announce::record(
        facts.metadata.as_ref(),
        &endpoint(primary),
        &new_primary::scope(&facts.cluster, old),
    );
    plan.checks.extend(recording.check);
    let Some(host) = &facts.host else { return plan };
    let future = FutureStandby { row: &primary.row, data_directory: &host.data_directory, next: &host.next };
    let was = facts.roles.get(&facts.primary).map(|role| &role.settings);
    plan.checks.extend(future.checks(was, standby::in_force(&candidate.row, role), options.force));
    if plan.checks.iter().any(Check::stops) {
        return plan;
    }
    // A hook that waits for a promotion, to redirect clients to the new primary, is notified of this one, too.
    plan.notifications.push(events::promotion(&candidate.row, false));
    let details = format!(
        "node \"{to}\" (ID: {}) promoted to primary, node \"{from}\" (ID: {}) demoted to standby",
        facts.candidate, facts.primary
    );
    plan.notifications.push(PlannedEvent::outcome(
        "standby_switchover",
        facts.candidate,
        details,
        &primary.row,
    ));
    plan.notifications.extend(events::followers(&facts.cluster, &candidate.row, Some(facts.primary)));
    let work = SwitchoverSteps {
        facts,
        host,
        future,
        candidate,
        server,
        primary,
        old,
        following: &following,
        on: endpoint(candidate),
        was: endpoint(primary),
        announces: recording.step,
    };
    work.steps(&mut plan);
    plan
}
