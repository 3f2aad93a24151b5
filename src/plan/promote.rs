//! The plan of `standby promote`. Pure.
//!
//! It must never make a second primary. So every server that responds counts as alive, every standby that streams has an upstream, and a
//! node that does not respond is named. The point of no return is the request for promotion itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::assess::alive::{Alive, alive, streams_from};
use crate::assess::history::{Relation, relation};
use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::role::RoleFacts;
use crate::facts::server::ServerFacts;
use crate::facts::topology::{SeenNode, Topology};
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;
use crate::plan::parts::announce::{self, Other};
use crate::plan::parts::following::{
    QUERY_S, STREAMS_S, create_slot_for, drop_slot, follow_by_sql, record_upstream, slot_of, slot_to_make,
    streams, upstream,
};
use crate::plan::parts::hosts::{self, HostSays, Unasked, Word, only_speaks};
use crate::plan::parts::kept::{Kept, for_former};
use crate::plan::parts::new_primary::{
    checkpoint, new_primary, on_new_timeline, room, scope, siblings, silent_witnesses, update_witnesses,
};
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::parts::standby::{Past, in_force, refuses_to_follow, replays_late};
use crate::plan::parts::{events, logical, new_primary as candidate};
use crate::plan::register::endpoint;
use crate::plan::{
    Back, Check, Look, OnFailure, OnResume, Op, Order, Origin, Phase, Plan, Probe, Step, Verdict, Verify,
    Waiver,
};
use crate::registry::NodeType;
use crate::registry::schema::Present;
use crate::system::command::Command;

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
    pub metadata: Option<Present>,
    /// The operations of other commands that have not reported their end.
    pub others: Vec<Other>,
    /// The saved topology.
    pub topology: Option<Topology>,
    /// Where the WAL of the dead primary ends, where its own files say so.
    pub former_end: Option<Lsn>,
    /// What pgbaton on the hosts of the others reports, if it was queried.
    pub hosts: BTreeMap<i32, HostSays>,
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
    let Some((candidate, server)) =
        facts.cluster.node(facts.node_id).and_then(|node| Some((node, node.facts()?)))
    else {
        return refused(facts.node_id);
    };
    let name = &candidate.row.node_name;
    let on = endpoint(candidate);
    let former = former(&facts.cluster, facts.node_id);
    let former_id = former.map(|node| node.row.node_id);
    let mut checks = Vec::new();
    checks.extend(no_other_primary(facts, candidate, server, options));
    let touched: Vec<i32> = facts.cluster.nodes.iter().map(|node| node.row.node_id).collect();
    checks.extend(announce::checks(&facts.others, server.timeline, &touched, options.force));
    // If the promotion is refused anyway, nothing can be lost.
    let gone = former.filter(|_| !checks.iter().any(|check| check.stops() && check.waiver.is_none()));
    let (missing, wal_lost_bytes) = missing(facts, gone, server);
    checks.extend(none_has_more(facts, candidate, server, options));
    checks.extend(missing);
    let role = facts.roles.get(&facts.node_id);
    checks.extend(candidate::fit(candidate, server, None, role, options.force));
    checks.extend(
        candidate::recovery_target(candidate, role)
            .map(|check| check.waivable(Waiver::AcceptDataLoss, options.accept_data_loss)),
    );
    let seen =
        facts.topology.iter().flat_map(|seen| &seen.nodes).filter(|seen| seen.was_primary == Some(true));
    let seen: Vec<&SeenNode> = seen.collect();
    let lost: Vec<_> = seen.iter().flat_map(|seen| logical::lost_as_seen(seen, server)).collect();
    checks.extend(logical::survive(candidate, &lost, options.force));
    checks.extend(seen.iter().filter_map(|seen| logical::behind(candidate, server, seen)));

    checks.extend(silent_witnesses(&facts.cluster));
    checks.extend(facts.metadata.as_ref().and_then(announce::not_recorded));

    let siblings = siblings(&facts.cluster, candidate, former_id);
    let mut following = Vec::new();
    if options.siblings_follow {
        for sibling in &siblings {
            let role = facts.roles.get(&sibling.row.node_id);
            let primary = in_force(&candidate.row, facts.roles.get(&facts.node_id));
            let refused = refuses_to_follow(&sibling.row, server.version_num, role, primary);
            // It pauses replay and keeps what it receives; only before PostgreSQL 14 it would shut down.
            let stays = |check: &Check| check.name != "standby_settings" || server.version_num < 140_000;
            if !refused.iter().any(stays) {
                following.push(*sibling);
            }
            // The cluster needs a primary now; the sibling can follow it later.
            checks.extend(refused.into_iter().map(|check| match stays(&check) {
                true => sibling_stays(sibling, &check),
                false => Check { verdict: Verdict::Warning, ..check },
            }));
        }
        checks.push(room(candidate, server, &following));
    } else if !siblings.is_empty() {
        let names: Vec<String> = siblings.iter().map(|node| format!("\"{}\"", node.row.node_name)).collect();
        checks.push(
            Check::warning(
                "siblings_stay",
                format!("{} will not follow the new primary (--no-siblings-follow)", names.join(", ")),
            )
            .hint("Afterwards run \"pgbaton standby follow\" on each of them."),
        );
    }
    checks.extend(candidate::synchronous_standbys(candidate, server, &following, options.force));
    checks.extend(logical::held_back(candidate, server, following.iter().copied()));
    let to_make = following.iter().filter(|node| slot_to_make(&node.row, candidate).is_some()).count();
    let kept = gone.map(|gone| for_former(gone, candidate, server, role, facts.use_slots, to_make));
    let Kept { check, slot: kept } = kept.unwrap_or_default();
    checks.extend(check);
    checks.extend(facts.repmgr_activity.checks(&facts.cluster, options.force));

    let mut plan = Plan {
        title: title(candidate),
        checks,
        phases: Vec::new(),
        back: Vec::new(),
        always: Vec::new(),
        verify: Vec::new(),
        back_failed: Exit::Promotion,
        regained: None,
        incomplete: Exit::Incomplete,
        announce_on: None,
        origin: None,
        far_ends: Vec::new(),
        notifications: Vec::new(),
        settled: announce::settled(&facts.others),
    };
    if plan.checks.iter().any(Check::stops) {
        return Promotion { plan, wal_lost_bytes, former: former_id };
    }

    plan.notifications.push(events::promotion(&candidate.row, true));
    plan.notifications.extend(events::followers(&facts.cluster, &candidate.row, former_id));
    facts.repmgr_activity.pause(&mut plan, &facts.cluster, Exit::Promotion);
    let mut slots = Vec::new();
    let for_siblings = following.iter().filter_map(|sibling| {
        let replayed = sibling.facts().and_then(|server| server.replay_lsn);
        Some((sibling.row.node_id, slot_to_make(&sibling.row, candidate)?, replayed))
    });
    // The former primary needs all from the last checkpoint that both have.
    let for_former = former_id.zip(kept).map(|(id, slot)| (id, slot, None));
    for (node_id, slot, replayed) in for_siblings.chain(for_former) {
        let id = format!("create_slot_{node_id}");
        plan.back.push(Back {
            if_started: vec![id.clone()],
            step: drop_slot(format!("drop_slot_{node_id}"), &on, &slot),
        });
        slots.push(create_slot_for(id, &on, &slot, replayed));
    }
    plan.phases.push(Phase {
        title: "prepare".into(),
        order: Order::AllAtOnce,
        on_failure: OnFailure::Stop,
        outage: false,
        steps: slots,
    });
    facts.repmgr_activity.look_again(&mut plan, &facts.cluster, None, Exit::Promotion);
    let look = Look {
        node_id: facts.node_id,
        timeline: server.timeline,
        others: (facts.cluster.nodes.iter())
            .filter(|node| is_other_data_node(node, facts.node_id) && facts.cluster.twin_of(node).is_none())
            .map(|node| (node.row.node_id, endpoint(node)))
            .collect(),
        relock: true,
        behind: comparable(facts, server),
    };
    plan.origin = Some(Origin { scope: scope(&facts.cluster, server), primary: former_id });
    let mut promote = Step::new(
        "promote",
        format!("promote node \"{name}\""),
        Op::Promote { on: on.clone(), command: facts.command.clone(), look: Some(look.clone()) },
        facts.timeout_s,
        Exit::Promotion,
    )
    .on_resume(OnResume::AgainUnless(Probe::Accepts { on: on.clone(), in_recovery: Some(false) }))
    .requires_here(Probe::Unchallenged { look })
    .no_return();
    // A resumed operation may be hours old, and a dead primary may have returned.
    let others = facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id));
    // A server that responds and never reports its role has been judged by other evidence, and will not report more by then.
    for other in others.filter(|node| !only_speaks(node)) {
        promote = promote.requires(Probe::NoPrimary { on: endpoint(other) });
    }
    let install = facts.metadata.as_ref().and_then(Present::own_or_made);
    let title = match install.as_ref().is_some_and(|install| !install.is_empty()) {
        true => format!("prepare schema pgbaton, and register node \"{name}\" as the primary"),
        false => format!("register node \"{name}\" as the primary"),
    };
    let record = |install: Option<Vec<Statement>>| {
        let own_schema = install.is_some();
        let mut statements = install.unwrap_or_default();
        statements.extend(new_primary(&candidate.row, own_schema));
        statements
            .extend(following.iter().map(|sibling| record_upstream(sibling.row.node_id, facts.node_id)));
        statements
    };
    plan.phases.push(Phase {
        title: "promote".into(),
        order: Order::InOrder,
        on_failure: OnFailure::Stop,
        outage: true,
        steps: vec![promote],
    });
    let op = Op::Sql { on: on.clone(), statements: record(install) };
    let recorded = Step::new("record", title, op, QUERY_S, Exit::Query)
        .hint(format!("Run \"pgbaton primary register --force\" on \"{name}\", which registers it."));
    // The others follow it even if it cannot be recorded.
    plan.phases.push(Phase {
        title: "record the roles".into(),
        order: Order::InOrder,
        on_failure: OnFailure::Continue,
        outage: true,
        steps: vec![recorded],
    });
    let mut steps: Vec<Step> = following
        .iter()
        .map(|sibling| {
            let slot = slot_of(&sibling.row);
            follow_by_sql(sibling, upstream(&candidate.row, &sibling.row, server.version_num, slot))
        })
        .collect();
    steps.push(events::at_once(&on, &candidate.row));
    steps.extend(checkpoint(facts.roles.get(&facts.node_id), &on));
    steps.extend(update_witnesses(&facts.cluster, &record(None)));
    plan.phases.push(Phase {
        title: "repoint the other standbys, send event notifications".into(),
        order: Order::AllAtOnce,
        on_failure: OnFailure::Continue,
        outage: false,
        steps,
    });
    plan.verify.push(Verify {
        title: format!("node \"{name}\" is on a new timeline"),
        probe: on_new_timeline(&on, server),
        timeout_s: QUERY_S,
        after: None,
    });
    let come = |sibling: &NodeFacts| {
        let here = facts.roles.get(&sibling.row.node_id).map(|role| &role.settings);
        let there = facts.roles.get(&facts.node_id).map(|role| &role.settings);
        let pauses = here.zip(there).is_some_and(|(here, there)| !here.lower_than(there).is_empty());
        Past { at: None, flushed: pauses || sibling.facts().is_some_and(replays_late) }
    };
    plan.verify.extend(following.iter().map(|sibling| Verify {
        title: format!("node \"{}\" streams from \"{name}\"", sibling.row.node_name),
        probe: streams(&on, server.version_num, &sibling.row.node_name, Some(come(sibling))),
        timeout_s: STREAMS_S,
        after: Some(format!("follow_{}", sibling.row.node_id)),
    }));
    Promotion { plan, wal_lost_bytes, former: former_id }
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

fn no_other_primary(
    facts: &PromoteFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: PromoteOptions,
) -> Vec<Check> {
    let mut checks = vec![is_standby(candidate, server)];
    checks.extend(no_primary(facts, candidate, options));
    checks.extend(requested_elsewhere(facts));
    checks
}

/// Reports that a sibling will not follow, and what to do about it afterwards.
fn sibling_stays(sibling: &NodeFacts, check: &Check) -> Check {
    let name = &sibling.row.node_name;
    let why = crate::error::sentence(&check.message);
    let hint = check.hint.as_deref().map(|hint| format!("{hint} ")).unwrap_or_default();
    Check::warning("sibling_stays", format!("node \"{name}\" will not follow"))
        .node(sibling.row.node_id)
        .detail(check.detail.as_deref().map_or_else(|| why.clone(), |detail| format!("{why} {detail}")))
        .hint(format!("{hint}Afterwards run \"pgbaton standby follow\" on node \"{name}\"."))
}

fn refused(node_id: i32) -> Promotion {
    let check = Check::fail("server_is_standby", format!("the server of node {node_id} does not respond"))
        .exit(Exit::Connection);
    let plan = Plan {
        title: format!("promote node {node_id}"),
        checks: vec![check],
        phases: Vec::new(),
        back: Vec::new(),
        always: Vec::new(),
        verify: Vec::new(),
        back_failed: Exit::Promotion,
        regained: None,
        incomplete: Exit::Incomplete,
        announce_on: None,
        origin: None,
        far_ends: Vec::new(),
        notifications: Vec::new(),
        settled: Vec::new(),
    };
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

fn is_standby(candidate: &NodeFacts, server: &ServerFacts) -> Check {
    const NAME: &str = "server_is_standby";
    let name = &candidate.row.node_name;
    if server.in_recovery {
        return Check::pass(NAME, format!("node \"{name}\" is a standby"));
    }
    let check = Check::fail(NAME, format!("node \"{name}\" is a primary already"));
    if candidate.row.node_type == NodeType::Primary {
        check
    } else {
        check
            .detail(format!("It is registered as a {}.", candidate.row.node_type))
            .hint("Run \"pgbaton cluster show\"; if it should stay the primary, run \"pgbaton primary register -F\" on it.")
    }
}

/// Checks that no other node accepts writes, or may.
fn no_primary(facts: &PromoteFacts, candidate: &NodeFacts, options: PromoteOptions) -> Vec<Check> {
    const NAME: &str = "no_other_primary";
    let mut checks = Vec::new();
    let (mut silent, mut notes) = (Vec::new(), Vec::new());
    let ours = candidate.facts().map(|server| server.timeline);
    for other in facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id)) {
        let (id, name) = (other.row.node_id, &other.row.node_name);
        let fail = |message: String| Check::fail(NAME, message).node(id).exit(Exit::SecondPrimary);
        if let Some(server) = other.facts() {
            if !server.in_recovery && facts.cluster.twin_of(other).is_none() {
                checks.push(
                    fail(format!("node \"{name}\" is a primary and accepts writes"))
                        .detail(format!("It is on timeline {}.", server.timeline))
                        .hint(
                            "For a planned change of the primary, run \"pgbaton standby switchover\"; \
                              to attach this node to it, \"pgbaton standby follow\".",
                        ),
                );
            }
            continue;
        }
        // A registered standby that does not respond may have been promoted meanwhile, without a record.
        let was_primary = hosts::was_primary(facts.topology.as_ref(), other);
        let alive = alive(&facts.cluster, other);
        let unasked = Unasked {
            node: other,
            alive: &alive,
            was_primary,
            was_standby: ours.is_some_and(|ours| hosts::was_standby(facts.topology.as_ref(), other, ours)),
        };
        match hosts::judge(&unasked, facts.hosts.get(&id), options.force) {
            Word::Stops(check) => {
                checks.push(check);
                continue;
            }
            Word::NoPrimary(why) => {
                silent.push((other, why));
                continue;
            }
            Word::Nothing(note) => notes.extend(note),
        }
        match alive {
            Alive::Yes(why) if was_primary => checks.push(
                fail(format!("the primary \"{name}\" is alive")).detail(why).hint(format!(
                    "For a switchover, fix the connection to it and run \"pgbaton standby switchover\". To replace it, stop it first. If the \
                    primary's host is gone, a standby still reports \"streaming\" until wal_receiver_timeout expires{}; then try \
                    again.",
                    receiver_timeout(facts)
                )),
            ),
            Alive::CannotTell(why) if was_primary => checks.push(
                fail(format!("cannot determine whether the primary \"{name}\" is alive"))
                    .detail(why)
                    .hint("Make sure that it is stopped, and run the command again; or repeat the command with --force.")
                    .waivable(Waiver::Force, options.force),
            ),
            Alive::Yes(why) | Alive::CannotTell(why) | Alive::NotSeen(why) => silent.push((other, why)),
        }
    }
    checks.extend(streams_from_a_stranger(facts, candidate));
    if checks.is_empty() {
        checks.push(Check::pass(NAME, "no other node is known to accept writes"));
    }
    checks.extend(notes);
    for (other, why) in silent {
        checks.push(
            Check::warning("node_not_asked", format!("node \"{}\" is unreachable", other.row.node_name))
                .node(other.row.node_id)
                .detail(why),
        );
    }
    checks
}

/// A requested promotion of another standby may happen at any time, and cannot be cancelled while its server runs.
fn requested_elsewhere(facts: &PromoteFacts) -> Vec<Check> {
    let others = facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id));
    let requested =
        others.filter(|node| node.facts().is_some_and(|server| server.promotion_requested == Some(true)));
    requested
        .map(|node| {
            let name = &node.row.node_name;
            Check::fail("promotion_requested", format!("a promotion of node \"{name}\" has been requested"))
                .node(node.row.node_id)
                .detail("It has not happened yet, but may happen at any time: restore_command may be waiting for an archive.")
                .hint(format!(
                    "Wait for it; or run \"pgbaton node stop\" on \"{name}\": stopping the server cancels the request."
                ))
                .exit(Exit::SecondPrimary)
        })
        .collect()
}

fn receiver_timeout(facts: &PromoteFacts) -> String {
    match facts.roles.get(&facts.node_id).map(|role| role.wal_receiver_timeout_ms) {
        Some(0) => " (which is off here: restart the standby)".into(),
        Some(ms) => format!(" ({} s)", ms / 1000),
        None => String::new(),
    }
}

/// A standby that streams has an upstream. If that is no node that responds as a standby, it may be the primary.
fn streams_from_a_stranger(facts: &PromoteFacts, candidate: &NodeFacts) -> Option<Check> {
    let nodes = &facts.cluster.nodes;
    let stranger = |follower: &&NodeFacts| {
        let streaming = follower.facts().is_some_and(|server| {
            server.in_recovery
                && server
                    .receiver
                    .as_ref()
                    .is_some_and(|receiver| receiver.status.as_deref() == Some("streaming"))
        });
        let known = nodes.iter().any(|node| {
            node.row.node_id != follower.row.node_id
                && (streams_from(follower, node)
                    || node.facts().is_some_and(|server| server.is_connected_to(&follower.row.node_name)))
        });
        streaming && !known
    };
    let follower = nodes.iter().find(stranger)?;
    let receiver = follower.facts()?.receiver.as_ref()?;
    let place = format!(
        "host \"{}\", port {}",
        receiver.sender_host.as_deref().unwrap_or("?"),
        receiver.sender_port.map_or_else(|| "?".into(), |port| port.to_string())
    );
    let whose = if follower.row.node_id == candidate.row.node_id { "This node" } else { "It" };
    Some(
        Check::fail(
            "no_other_primary",
            format!("node \"{}\" streams from a server that is not registered", follower.row.node_name),
        )
        .node(follower.row.node_id)
        .detail(format!("{whose} receives WAL from {place}, which may be the primary under another name."))
        .hint("Stop that server, or correct the conninfo of its node, then try again.")
        .exit(Exit::SecondPrimary),
    )
}

/// Returns the nodes that must not have more WAL than this one at the last look either. One that does not respond may do so by then.
fn comparable(facts: &PromoteFacts, server: &ServerFacts) -> Vec<i32> {
    let others = facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id));
    let diverged = |theirs: &ServerFacts| matches!(relation(theirs, server), Relation::Forked { .. });
    others.filter(|node| !node.facts().is_some_and(diverged)).map(|node| node.row.node_id).collect()
}

/// Checks that no reachable standby has WAL that this one lacks.
fn none_has_more(
    facts: &PromoteFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: PromoteOptions,
) -> Vec<Check> {
    const NAME: &str = "has_most_wal";
    let mut checks = Vec::new();
    let ours = server.wal_end();
    for other in facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id)) {
        if other.facts().is_none() {
            checks.extend(left_behind(facts, other, candidate, server, options));
        }
        let Some(theirs) = other.facts().filter(|theirs| theirs.in_recovery) else { continue };
        if theirs.system_identifier != server.system_identifier || facts.cluster.twin_of(other).is_some() {
            continue;
        }
        let (id, name) = (other.row.node_id, &other.row.node_name);
        let fail = |message: String| {
            Check::fail(NAME, message)
                .node(id)
                .exit(Exit::DataLoss)
                .hint(format!("Promote that one: run \"pgbaton standby promote --node-id {id}\"."))
                .waivable(Waiver::AcceptDataLoss, options.accept_data_loss)
        };
        if theirs.timeline > server.timeline {
            checks.push(fail(format!("standby \"{name}\" is on a newer timeline")).detail(format!(
                "It is on timeline {}, but node \"{}\" is on timeline {}: it followed a primary that this node never followed.",
                theirs.timeline, candidate.row.node_name, server.timeline
            )));
            continue;
        }
        if let Relation::Forked { evidence, .. } = relation(theirs, server).naming(&candidate.row.node_name) {
            checks.push(
                Check::warning(
                    "history_parted",
                    format!("node \"{name}\" has diverged from \"{}\"", candidate.row.node_name),
                )
                .node(id)
                .detail(evidence)
                .hint(format!(
                    "It will not be able to follow; run \"pgbaton node rejoin\" on \"{name}\" to re-attach it."
                )),
            );
            continue;
        }
        if let (Some(end), Some(ours)) = (theirs.wal_end(), ours)
            && theirs.timeline == server.timeline
            && end > ours
        {
            checks.push(fail(format!("standby \"{name}\" has more WAL")).detail(format!(
                "It has WAL up to {end}, but node \"{}\" only up to {ours}: {} bytes would be lost.",
                candidate.row.node_name,
                end.0 - ours.0
            )));
        }
    }
    if checks.is_empty() {
        checks.push(Check::pass(NAME, "no standby that responds has more WAL"));
    }
    checks
}

/// A node that does not respond and was last seen as a primary on a newer timeline has WAL that this one never received.
fn left_behind(
    facts: &PromoteFacts,
    other: &NodeFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: PromoteOptions,
) -> Option<Check> {
    let seen = facts.topology.as_ref()?.node(other.row.node_id)?;
    let timeline = seen.timeline.filter(|timeline| *timeline > server.timeline)?;
    if seen.was_primary != Some(true) {
        return None;
    }
    let (name, own) = (&other.row.node_name, &candidate.row.node_name);
    Some(
        Check::fail("has_most_wal", format!("node \"{name}\" was last seen as the primary on a newer timeline"))
            .node(other.row.node_id)
            .exit(Exit::DataLoss)
            .detail(format!(
                "It was on timeline {timeline}, but node \"{own}\" is on timeline {}: transactions committed on \"{name}\" since then would be lost.",
                server.timeline
            ))
            .hint(format!("Start \"{name}\" if that is possible; otherwise promote \"{own}\" with --accept-data-loss."))
            .waivable(Waiver::AcceptDataLoss, options.accept_data_loss),
    )
}

/// Reports which WAL of the failed primary is missing.
fn missing(
    facts: &PromoteFacts,
    former: Option<&NodeFacts>,
    server: &ServerFacts,
) -> (Option<Check>, Option<u64>) {
    const NAME: &str = "missing_wal";
    let (Some(former), Some(ours)) = (former, server.wal_end()) else { return (None, None) };
    let name = &former.row.node_name;
    if let Some(end) = facts.former_end {
        let missing = end.0.saturating_sub(ours.0);
        let check = if missing == 0 {
            Check::pass(NAME, format!("this node has all WAL of \"{name}\", up to {end}"))
        } else {
            Check::warning(NAME, format!("{missing} bytes of WAL of \"{name}\" are missing on this node")).detail(format!(
                "Its files contain WAL up to {end}, but this node has WAL up to {ours}. Transactions committed in between will be lost."
            ))
        };
        return (Some(check.node(former.row.node_id)), Some(missing));
    }
    let seen = facts
        .topology
        .iter()
        .flat_map(|seen| &seen.nodes)
        .find(|seen| seen.row.node_id == former.row.node_id && seen.was_primary == Some(true));
    let Some((end, at)) = seen.and_then(|seen| Some((seen.wal_end?, seen.last_seen?))) else {
        let check =
            Check::warning(NAME, format!("it is unknown how much WAL of \"{name}\" is missing on this node"))
                .node(former.row.node_id)
                .detail(format!(
                    "This node has WAL up to {ours}; where the WAL of \"{name}\" ends is unknown."
                ));
        return (Some(check), None);
    };
    let age = facts.now.duration_since(at).as_secs().max(0);
    let missing = end.0.saturating_sub(ours.0);
    let detail = format!(
        "This node has WAL up to {ours}; \"{name}\" was at {end} when it was last seen, {age} s ago, and may have written more since."
    );
    let check = if missing == 0 {
        Check::warning(NAME, format!("the last WAL of \"{name}\" may be missing on this node"))
    } else {
        Check::warning(
            NAME,
            format!("at least {missing} bytes of WAL of \"{name}\" are missing on this node"),
        )
    };
    (Some(check.node(former.row.node_id).detail(detail)), None)
}

#[cfg(test)]
mod tests;
