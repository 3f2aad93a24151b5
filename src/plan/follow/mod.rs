//! The plan of `standby follow`. Pure.

mod checks;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::places::Place;
use crate::facts::role::RoleFacts;
use crate::facts::server::ServerFacts;
use crate::facts::settings::Settings;
use crate::facts::slots;
use crate::pg::endpoint::{Endpoint, Upstream};
use crate::pg::history::parse_history;
use crate::pg::statement::Statement;
use crate::plan::parts::announce::{self, Other};
use crate::plan::parts::events;
use crate::plan::parts::following::{
    QUERY_S, create_slot, default_slot, drop_slot, drop_stale, record_upstream, slot_of, streams, upstream,
};
use crate::plan::parts::standby::{Past, replays_late};
use crate::plan::register::{drop_inactive_slot, endpoint, same_cluster};
use crate::plan::service::writable;
use crate::plan::{Back, Check, OnFailure, Op, Order, Phase, Plan, Probe, Request, Scope, Standby, Step};
use crate::registry::{NodeRow, NodeType, node};

use checks::{histories, room, stays_a_standby, target_checks, unreachable_target};

const AUTO_CONF: &str = "postgresql.auto.conf";

/// Seconds within which a WAL receiver releases a slot after it was repointed.
const FREE_S: u32 = 15;

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
    pub places: Vec<Place>,
    /// A replication connection to the target, as the WAL receiver will make it.
    pub login: Result<(), String>,
    /// The node uses a slot.
    pub use_slot: bool,
    /// Seconds within which it has to stream.
    pub timeout_s: u32,
    /// Operations of others that have not reported their end.
    pub others: Vec<Other>,
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
    plan.checks.push(if server.in_recovery {
        Check::pass("server_is_standby", format!("node \"{name}\" is a standby"))
    } else {
        Check::fail("server_is_standby", format!("node \"{name}\" is a primary"))
            .hint(format!("To make it a standby of \"{target_name}\", run \"pgbaton node rejoin\" on it."))
    });
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
    announce::heed(&mut plan, &facts.others, scope, facts.target_id, &touched, force);
    plan.checks.push(same_cluster(server, there, &target_name));
    plan.checks.extend(histories(server, there, &target_name, force));
    plan.checks.extend(stays_a_standby(facts, local, force));
    let follows = there.sender_of(&name).is_some();
    let slot = facts.use_slot.then(|| default_slot(&local.row));
    let received = server.receiver.as_ref().and_then(|receiver| receiver.slot_name.as_deref());
    let connected = there.is_connected_to(&name);
    // Under another name it may be its own receiver that has the slot.
    let has_slot = follows || (!connected && received.is_some() && received == slot.as_deref());
    plan.checks.extend(room(there, &target_name, slot.as_deref(), connected || has_slot, has_slot));
    plan.checks.extend(writable(&facts.places, &name));
    if let Err(why) = &facts.login {
        plan.checks.push(
            Check::fail(
                "replication_login",
                format!("cannot open a replication connection to \"{target_name}\""),
            )
            .node(facts.target_id)
            .detail(crate::error::sentence(why))
            .hint(format!(
                "Allow role \"{}\" to connect: see pg_hba.conf on \"{target_name}\".",
                target.row.repluser
            ))
            .exit(Exit::Follow),
        );
    }
    if plan.checks.iter().any(Check::stops) {
        return plan;
    }
    let recorded = local.row.upstream_node_id == Some(facts.target_id)
        && local.row.node_type == NodeType::Standby
        && local.row.active
        && slot_of(&local.row) == slot;
    let uses_slot = received.unwrap_or_default() == slot.as_deref().unwrap_or_default();
    let cleared = stale_slots(facts, local);
    if follows && uses_slot && recorded {
        plan.phases.extend(cleared);
        return plan;
    }
    let on = endpoint(target);
    let records = records(facts, local, slot.clone());
    let wanted = upstream(&target.row, &local.row, server.version_num, slot.clone());
    let follow = lead(facts, local, &wanted);
    let followed: Vec<String> = follow.iter().map(|step| step.id.clone()).collect();
    let mut back = |if_started: Vec<String>, step: Step| plan.back.push(Back { if_started, step });
    for holder in slot_holders(facts, local) {
        let (id, slot) = (holder.row.node_id, slot_of(&local.row).unwrap_or_default());
        let again = create_slot(format!("make_old_slot_{id}"), &endpoint(holder), &slot);
        back(vec![dropped(holder)], again);
    }
    let settings = |id: &str, title: &str, from: &Path, to: &Path| {
        let op = Op::CopyFiles { from: from.into(), to: to.into(), files: vec![AUTO_CONF.into()] };
        Step::new(id, format!("{title} of node \"{name}\""), op, QUERY_S, Exit::Follow)
    };
    // Whole: what it had is not to be worked out again, and where it stood.
    back(
        followed.clone(),
        settings("put_settings_back", "restore the settings", &facts.kept, &facts.data_directory),
    );
    back(followed, reload(facts, local, "_back"));
    if let Some((primary, _)) = facts.cluster.primaries().next() {
        let title = format!("restore the record of node \"{name}\"");
        let op = Op::Sql { on: endpoint(primary), statements: vec![old_record(&local.row)] };
        back(vec!["record".into()], Step::new("record_back", title, op, QUERY_S, Exit::Query));
    }
    let mut steps = Vec::new();
    if let Some(slot) = slot.as_deref().filter(|slot| there.slot(slot).is_none()) {
        steps.push(create_slot("create_slot", &on, slot));
        // Only when its receiver has released it: a slot in use would be left without notice.
        let free = Step::new(
            "wait_until_slot_is_free",
            format!("wait until slot \"{slot}\" on {} is not in use", on.name),
            Op::Wait(slot_is_free(&on, slot)),
            FREE_S,
            Exit::Query,
        );
        back(vec!["create_slot".into()], free);
        back(vec!["create_slot".into()], drop_slot("drop_new_slot", &on, slot));
    }
    steps.push(settings("keep_settings", "keep a copy of the settings", &facts.data_directory, &facts.kept));
    plan.always.push(Step::new(
        "forget_settings",
        format!("remove the copy of the settings of node \"{name}\""),
        Op::RemoveDirectory { path: facts.kept.clone() },
        QUERY_S,
        Exit::Follow,
    ));
    steps.extend(follow);
    steps.push(
        Step::new(
            "wait_until_it_streams",
            format!("wait until node \"{name}\" streams from \"{target_name}\""),
            Op::Wait(streams(&on, there.version_num, &name, past_switch(server, there))),
            facts.timeout_s,
            Exit::Follow,
        )
        .hint(format!(
            "See the server log of \"{name}\" for why it cannot stream; \"pgbaton node rejoin\" on it finds out whether the nodes have diverged."
        )),
    );
    plan.phases.push(phase(format!("follow \"{target_name}\""), OnFailure::Stop, steps));
    plan.phases.push(phase("update the metadata".into(), OnFailure::Continue, records));
    plan.phases.extend(cleared);
    plan
}

fn phase(title: String, on_failure: OnFailure, steps: Vec<Step>) -> Phase {
    Phase { title, order: Order::InOrder, on_failure, outage: false, steps }
}

/// Drops the slots that others used while they streamed from this node: an old primary that came back still has them.
fn stale_slots(facts: &FollowFacts, local: &NodeFacts) -> Option<Phase> {
    let on = endpoint(local);
    let stale = slots::stale(&facts.cluster, facts.node_id, facts.target_id);
    let steps = stale.iter().map(|slot| drop_stale(&on, &local.row.node_name, slot, Exit::Query)).collect();
    (!stale.is_empty())
        .then(|| phase("drop replication slots that are no longer needed".into(), OnFailure::Continue, steps))
}

/// How far it must have come to stream for good: past the switch to a timeline that it is not on yet.
fn past_switch(server: &ServerFacts, there: &ServerFacts) -> Option<Past> {
    let history = there.lineage.as_ref()?.history.as_deref()?;
    let switches = parse_history(history).ok()?;
    let switch = switches.iter().find(|switch| switch.timeline >= server.timeline)?;
    Some(Past { at: Some(switch.switch), flushed: replays_late(server) })
}

/// The steps that point the local server at an upstream: by SQL, or by its files and a signal.
fn lead(facts: &FollowFacts, local: &NodeFacts, upstream: &Upstream) -> Vec<Step> {
    let title = format!("point node \"{}\" at {}", local.row.node_name, upstream.name);
    if facts.role.as_ref().is_some_and(RoleFacts::can_follow_by_sql) {
        let standby = Standby::Running(endpoint(local));
        let op = Op::Follow { standby, upstream: upstream.clone() };
        return vec![Step::new("follow", title, op, QUERY_S, Exit::Follow)];
    }
    let config_file = facts.role.as_ref().and_then(|role| role.config_file.as_deref());
    let standby = Standby::Files {
        data_directory: facts.data_directory.clone(),
        postgres: facts.postgres.clone(),
        config_directory: config_file.and_then(|file| file.parent()).map(PathBuf::from),
    };
    let follow =
        Step::new("follow", title, Op::Follow { standby, upstream: upstream.clone() }, QUERY_S, Exit::Follow);
    vec![follow, reload(facts, local, "")]
}

fn reload(facts: &FollowFacts, local: &NodeFacts, suffix: &str) -> Step {
    let data_directory = facts.data_directory.clone();
    Step::new(
        format!("reload{suffix}"),
        format!("reload the configuration of node \"{}\"", local.row.node_name),
        Op::Signal { data_directory, request: Request::Reload },
        QUERY_S,
        Exit::Follow,
    )
}

/// Records the new upstream, and drops the slot on the old one.
fn records(facts: &FollowFacts, local: &NodeFacts, slot: Option<String>) -> Vec<Step> {
    let mut steps = Vec::new();
    let name = &local.row.node_name;
    if let Some((primary, _)) = facts.cluster.primaries().next() {
        steps.push(Step::new(
            "record",
            format!("record the new upstream of node \"{name}\""),
            Op::Sql {
                on: endpoint(primary),
                statements: record(facts.node_id, facts.target_id, slot.as_deref()),
            },
            QUERY_S,
            Exit::Query,
        ));
    }
    for holder in slot_holders(facts, local) {
        let (on, old) = (endpoint(holder), slot_of(&local.row).unwrap_or_default());
        let mut step = Step::new(
            dropped(holder),
            format!("drop slot \"{old}\" on {}, which is no longer used", on.name),
            Op::Sql { on, statements: vec![drop_inactive_slot(&old)] },
            QUERY_S,
            Exit::Query,
        );
        // The old connection ends a moment after the new one begins.
        step.requires.push(slot_is_free(&endpoint(holder), &old));
        steps.push(step);
    }
    steps
}

fn slot_is_free(on: &Endpoint, slot: &str) -> Probe {
    Probe::Sql {
        says: format!("slot \"{slot}\" on {} is not in use", on.name),
        on: on.clone(),
        statement: Statement::new(
            "SELECT (NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active))::text",
        )
        .bind(slot),
    }
}

/// Restores a node's record.
fn old_record(row: &NodeRow) -> Statement {
    Statement::new(
        "UPDATE repmgr.nodes SET upstream_node_id = $2::integer, type = $3, active = $4::boolean, slot_name = $5 \
         WHERE node_id = $1::integer",
    )
    .bind(row.node_id)
    .bind_opt(row.upstream_node_id)
    .bind(&row.node_type)
    .bind(row.active)
    .bind_opt(row.slot_name.as_deref())
}

fn record(node_id: i32, upstream_id: i32, slot: Option<&str>) -> Vec<Statement> {
    vec![record_upstream(node_id, upstream_id), node::set_slot_name(node_id, slot)]
}

/// The id of the step that drops the node's slot on an old upstream.
fn dropped(holder: &NodeFacts) -> String {
    format!("drop_old_slot_{}", holder.row.node_id)
}

/// Returns the nodes that have the node's slot and will not be its upstream.
fn slot_holders<'a>(facts: &'a FollowFacts, local: &NodeFacts) -> impl Iterator<Item = &'a NodeFacts> {
    let old = slot_of(&local.row);
    facts.cluster.nodes.iter().filter(move |node| {
        let others = node.row.node_id != facts.target_id && node.row.node_id != facts.node_id;
        others
            && old.as_deref().is_some_and(|old| node.facts().is_some_and(|server| server.slot(old).is_some()))
    })
}
