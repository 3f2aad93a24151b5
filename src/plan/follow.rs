//! The plan of `standby follow`. Pure.

use std::path::{Path, PathBuf};

use crate::assess::history::{Relation, relation};
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
use crate::plan::parts::standby::{self, Past, replays_late};
use crate::plan::register::{drop_inactive_slot, endpoint, same_cluster};
use crate::plan::service::writable;
use crate::plan::{
    Back, Check, OnFailure, Op, Order, Phase, Plan, Probe, Request, Scope, Standby, Step, Waiver,
};
use crate::registry::{NodeRow, NodeType, node};

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
            "See the server log of \"{name}\" for why it cannot stream. To see whether it has diverged, run on it: pgbaton node rejoin --dry-run"
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

/// Checks that it can be repointed while it runs, and stays a standby then.
fn stays_a_standby(facts: &FollowFacts, local: &NodeFacts, force: bool) -> Vec<Check> {
    let Some(role) = &facts.role else { return Vec::new() };
    let primary = facts.cluster.primaries().next().map(|(node, _)| node.row.node_name.as_str());
    let checks = standby::running(&local.row, &role.settings, primary.zip(facts.primary.as_ref()));
    checks
        .into_iter()
        .map(|check| match check.name.as_str() {
            // It pauses replay with its current upstream, too, and keeps what it receives.
            "standby_settings" => check.waivable(Waiver::Force, force),
            _ => check,
        })
        .collect()
}

/// How far it must have come to stream for good: past the switch to a timeline that it is not on yet.
fn past_switch(server: &ServerFacts, there: &ServerFacts) -> Option<Past> {
    let history = there.lineage.as_ref()?.history.as_deref()?;
    let switches = parse_history(history).ok()?;
    let switch = switches.iter().find(|switch| switch.timeline >= server.timeline)?;
    Some(Past { at: Some(switch.switch), flushed: replays_late(server) })
}

/// The check of a primary, which cannot follow: what it is to do instead depends on whether the node that it was to follow is a primary.
fn not_a_standby(facts: &FollowFacts, name: &str, target: Option<&NodeFacts>) -> Check {
    let hint = match target.filter(|target| target.row.node_id != facts.node_id) {
        Some(target) if target.facts().is_some_and(|there| !there.in_recovery) => {
            "If the other one is the valid primary, run \"pgbaton node rejoin\" on this node to make it a standby.".to_string()
        }
        Some(target) if target.row.node_type == NodeType::Standby => format!(
            "To make \"{0}\" the primary and this node its standby, run \"pgbaton standby switchover\" on \"{0}\".",
            target.row.node_name
        ),
        _ => "To make another node the primary, run \"pgbaton standby switchover\" on that node.".into(),
    };
    Check::fail("server_is_standby", format!("node \"{name}\" is a primary")).hint(hint)
}

fn unreachable_target(plan: &mut Plan, facts: &FollowFacts) {
    plan.checks.push(
        Check::fail("target", format!("node {} is not registered", facts.target_id))
            .hint("\"pgbaton cluster show\" lists the registered nodes."),
    );
}

/// Checks the node that it is to follow; None if there is no such node.
fn target_checks<'a>(facts: &'a FollowFacts, name: &str) -> (Option<&'a NodeFacts>, Vec<Check>) {
    const NAME: &str = "target";
    let Some(target) = facts.cluster.node(facts.target_id) else { return (None, Vec::new()) };
    let mut checks = Vec::new();
    let fail = |message: String| Check::fail(NAME, message).node(facts.target_id);
    if facts.target_id == facts.node_id {
        checks.push(fail(format!("node \"{name}\" cannot follow itself")));
    } else if target.row.node_type == NodeType::Witness {
        checks.push(fail(format!("node \"{name}\" is a witness")).detail("It holds no data to stream."));
    } else {
        match &target.server {
            Err(silence) => checks.push(
                fail(format!("node \"{name}\" does not respond"))
                    .detail(crate::error::sentence(&silence.message))
                    .exit(Exit::Connection),
            ),
            Ok(server) if server.in_recovery => {
                if let Some(chain) = comes_back_to(&facts.cluster, facts.target_id, facts.node_id) {
                    checks.push(fail(format!("node \"{name}\" receives its WAL from this node")).detail(
                        format!(
                            "The upstreams would form a circle of {chain} and this node: none of them would receive WAL any more."
                        ),
                    ));
                }
                if facts.cluster.primaries().next().is_none() {
                    checks.push(
                        Check::fail("primary_reachable", "no primary can be reached to record the change")
                            .exit(Exit::Connection),
                    );
                }
            }
            Ok(_) => {}
        }
    }
    if checks.is_empty() {
        checks.push(Check::pass(NAME, format!("node \"{name}\" can be followed")));
    }
    (Some(target), checks)
}

/// Follows the upstreams from a node; returns the names on the way if it leads to `node_id`.
fn comes_back_to(cluster: &ClusterFacts, from: i32, node_id: i32) -> Option<String> {
    let mut names = Vec::new();
    let mut at = from;
    for _ in 0..cluster.nodes.len() {
        let node = cluster.node(at)?;
        names.push(format!("\"{}\"", node.row.node_name));
        let observed = cluster.observed_upstream(&node.row.node_name).map(|up| up.row.node_id);
        at = observed.or(node.row.upstream_node_id)?;
        if at == node_id {
            return Some(names.join(", "));
        }
    }
    None
}

/// Checks that the node has no WAL that its new upstream never had.
fn histories(ours: &ServerFacts, theirs: &ServerFacts, target_name: &str, force: bool) -> Vec<Check> {
    const NAME: &str = "same_history";
    let forked = |evidence: String| {
        Check::fail(NAME, format!("this node has WAL that \"{target_name}\" never had"))
            .detail(evidence)
            .hint("It must not stream as it is. \"pgbaton node rejoin\" shows what would be discarded, and re-attaches it.")
            .exit(Exit::DataLoss)
    };
    let mut checks = Vec::new();
    checks.push(match relation(ours, theirs).naming(target_name) {
        Relation::Forked { evidence, .. } => forked(evidence),
        Relation::Same => Check::pass(NAME, "the histories agree"),
        Relation::Unknown(why) => Check::fail(
            NAME,
            format!("cannot determine whether this node has diverged from \"{target_name}\""),
        )
        .detail(why)
        .hint("If it has never been a primary, nor followed another one since, repeat the command with --force.")
        .waivable(Waiver::Force, force),
    });
    checks
}

/// Checks that the target has room for one more.
fn room(
    server: &ServerFacts,
    name: &str,
    slot: Option<&str>,
    has_sender: bool,
    has_slot: bool,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let senders = usize::try_from(server.max_wal_senders).unwrap_or(0);
    if !has_sender && server.senders.len() >= senders {
        checks.push(
            Check::fail("wal_senders", format!("node \"{name}\" has no free WAL sender"))
                .detail(format!("max_wal_senders is {senders}, and all are in use."))
                .hint("Raise max_wal_senders there, which requires a restart; or end a running backup.")
                .exit(Exit::Follow),
        );
    }
    let Some(slot) = slot else { return checks };
    match server.slot(slot) {
        Some(there) if there.slot_type != "physical" => checks.push(
            Check::fail("slot", format!("slot \"{slot}\" on \"{name}\" is a logical slot"))
                .hint("Drop it there, if it is not needed.")
                .exit(Exit::Follow),
        ),
        Some(there) if there.active && !has_slot => checks.push(
            Check::fail("slot", format!("slot \"{slot}\" on \"{name}\" is in use by another connection"))
                .hint("See which one: SELECT * FROM pg_stat_replication. Two nodes cannot share a slot.")
                .exit(Exit::Follow),
        ),
        Some(_) => {}
        None => {
            let slots = usize::try_from(server.max_replication_slots).unwrap_or(0);
            if server.slots.len() >= slots {
                checks.push(
                    Check::fail("slots", format!("node \"{name}\" has no free replication slot"))
                        .detail(format!("max_replication_slots is {slots}, and all are in use."))
                        .hint("Raise max_replication_slots there, which requires a restart; or drop a slot that is not needed.")
                        .exit(Exit::Follow),
                );
            }
        }
    }
    checks
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::server::Slot;
    use crate::pg::lsn::Lsn;

    /// Node 1 the primary, from which nodes 2 and 3 stream; node 3 is to follow node 2.
    fn facts() -> FollowFacts {
        let standby =
            |id: i32| ServerFacts { started_at: id.to_string(), ..ServerFacts::example(true, 1, 0x500) };
        let mut primary = ServerFacts::example(false, 1, 0x500);
        primary.slots.push(Slot {
            slot_name: "repmgr_slot_3".into(),
            slot_type: "physical".into(),
            active: true,
            restart_lsn: None,
            wal_status: None,
            retained_bytes: None,
            invalidation_reason: None,
            ..Slot::default()
        });
        let nodes = vec![
            NodeFacts { row: NodeRow::example(1, NodeType::Primary), server: Ok(primary) },
            NodeFacts { row: NodeRow::example(2, NodeType::Standby), server: Ok(standby(2)) },
            NodeFacts { row: NodeRow::example(3, NodeType::Standby), server: Ok(standby(3)) },
        ];
        FollowFacts {
            others: Vec::new(),
            cluster: ClusterFacts { nodes, ..ClusterFacts::default() },
            role: None,
            primary: None,
            node_id: 3,
            target_id: 2,
            places: Vec::new(),
            login: Ok(()),
            data_directory: "/data".into(),
            postgres: "/bin/postgres".into(),
            kept: "/state/kept/x".into(),
            use_slot: true,
            timeout_s: 60,
        }
    }

    #[test]
    fn the_rollback_creates_the_old_slot_and_the_old_record_again() {
        let plan = super::plan(&facts(), false);
        assert_eq!(plan.defect(), None);
        let ids: Vec<&str> = plan.steps().map(|step| step.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "create_slot",
                "keep_settings",
                "follow",
                "reload",
                "wait_until_it_streams",
                "record",
                "drop_old_slot_1"
            ]
        );
        let back: Vec<(&str, &str)> = plan
            .back
            .iter()
            .map(|back| (back.if_started.first().unwrap().as_str(), back.step.id.as_str()))
            .collect();
        assert_eq!(
            back,
            [
                ("drop_old_slot_1", "make_old_slot_1"),
                ("follow", "put_settings_back"),
                ("follow", "reload_back"),
                ("record", "record_back"),
                ("create_slot", "wait_until_slot_is_free"),
                ("create_slot", "drop_new_slot"),
            ]
        );
        // Also where it did not stream before: then most of all there is a reason to follow another one.
        let mut silent = super::tests::facts();
        silent.cluster.nodes[2].server.as_mut().unwrap().receiver = None;
        assert_eq!(super::plan(&silent, false).back.len(), 6);
    }

    #[test]
    fn a_primary_that_is_to_follow_is_refused_for_one_reason() {
        let refused = |target_id: i32, change: &dyn Fn(&mut FollowFacts)| {
            let mut facts = FollowFacts { node_id: 1, target_id, ..facts() };
            change(&mut facts);
            let plan = super::plan(&facts, false);
            let stops: Vec<&Check> = plan.checks.iter().filter(|check| check.stops()).collect();
            assert_eq!(stops.len(), 1, "{stops:?}");
            assert_eq!(
                (stops[0].exit, stops[0].message.as_str()),
                (Exit::Failed, "node \"node1\" is a primary")
            );
            stops[0].hint.clone().unwrap()
        };
        assert!(refused(2, &|_| ()).contains("\"pgbaton standby switchover\" on \"node2\""));
        // Without --upstream-node-id it is the only primary itself that would be followed.
        assert!(refused(1, &|_| ()).contains("switchover\" on that node"));
        let second = refused(2, &|facts| {
            facts.cluster.nodes[1].server.as_mut().unwrap().in_recovery = false;
        });
        assert!(second.contains("node rejoin"), "{second}");
    }

    #[test]
    fn what_a_standby_has_received_since_its_target_was_asked_is_no_fork() {
        let mut facts = facts();
        (facts.target_id, facts.cluster.nodes[2].row.upstream_node_id) = (1, Some(2));
        facts.cluster.nodes[0].server.as_mut().unwrap().slots.clear();
        facts.cluster.nodes[2].server.as_mut().unwrap().receive_lsn = Some(Lsn(0x600));
        assert!(!plan(&facts, false).is_empty());
        facts.cluster.nodes[2].server.as_mut().unwrap().receiver = None;
        let refused = plan(&facts, false);
        assert!(refused.checks.iter().any(|check| check.stops() && check.exit == Exit::DataLoss));
    }
}
