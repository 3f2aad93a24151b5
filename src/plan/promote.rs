//! The plan of `standby promote`. Pure.
//!
//! What it must never do is make a second primary. So everything that answers is believed to be alive, everything that streams has something
//! to stream from, and a node that could not be asked is named. The point of no return is the request for promotion itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::Exit;
use crate::facts::alive::{Alive, alive, streams_from};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::divergence::{Relation, relation};
use crate::facts::role::RoleFacts;
use crate::facts::server::ServerFacts;
use crate::facts::topology::Topology;
use crate::output::table::size;
use crate::pg::lsn::Lsn;
use crate::plan::register::endpoint;
use crate::plan::upstream::{
    QUERY_S, STREAMS_S, can_follow, create_slot, drop_slot, follow_by_sql, record_upstream, slot_of,
    slot_to_make, streams, upstream,
};
use crate::plan::{
    Back, Check, Command, Endpoint, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, Statement, Step,
    Verify, Waiver,
};
use crate::registry::{NodeRow, NodeType, node};

/// Seconds that a checkpoint after the promotion may take; nobody waits for it but this command.
const CHECKPOINT_S: u32 = 600;

/// What the plan depends on.
#[derive(Debug)]
pub struct PromoteFacts {
    /// All nodes, the one to promote included.
    pub cluster: ClusterFacts,
    /// What our role may do on those that answer.
    pub roles: BTreeMap<i32, RoleFacts>,
    /// The node to promote.
    pub node_id: i32,
    /// The schema `pgbaton` is there.
    pub own_schema: bool,
    /// What was last seen of the cluster before.
    pub topology: Option<Topology>,
    /// Where the WAL of the dead primary ends, where its own files say so.
    pub former_end: Option<Lsn>,
    /// The command for a promotion, where the configuration has one or our role must not call `pg_promote()`.
    pub command: Option<Command>,
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
    checks.push(is_standby(candidate, server));
    checks.extend(no_primary(facts, candidate, options));
    checks.extend(nobody_has_more(facts, candidate, server, options));
    let (missing, wal_lost_bytes) = missing(facts, former, server);
    checks.extend(missing);
    checks.extend(candidate_is_fit(facts, candidate, server, options));

    let siblings = siblings(&facts.cluster, candidate, former_id);
    let mut following = Vec::new();
    if options.siblings_follow {
        for sibling in &siblings {
            let role = facts.roles.get(&sibling.row.node_id);
            let check = can_follow(&sibling.row, server.version_num, role);
            if check.stops() {
                // The cluster needs a primary now; the sibling can be led to it later.
                let hint = format!(
                    "{}Afterwards run \"pgbaton standby follow\" on node \"{}\".",
                    check.hint.as_deref().map(|hint| format!("{hint} ")).unwrap_or_default(),
                    sibling.row.node_name
                );
                let mut warning = Check::warning(
                    "sibling_stays",
                    format!("node \"{}\" will not follow", sibling.row.node_name),
                )
                .node(sibling.row.node_id)
                .detail(crate::error::sentence(&check.message))
                .hint(hint);
                if let Some(detail) = check.detail {
                    warning = warning.detail(format!("{} {detail}", crate::error::sentence(&check.message)));
                }
                checks.push(warning);
            } else {
                following.push(*sibling);
            }
        }
        checks.push(room(candidate, server, &following));
    } else if !siblings.is_empty() {
        let names: Vec<String> = siblings.iter().map(|node| format!("\"{}\"", node.row.node_name)).collect();
        checks.push(
            Check::warning(
                "siblings_stay",
                format!("{} will not follow, as was asked for", names.join(", ")),
            )
            .hint("Afterwards run \"pgbaton standby follow\" on each of them."),
        );
    }

    let mut plan = Plan {
        title: format!("promote standby \"{name}\""),
        checks,
        phases: Vec::new(),
        back: Vec::new(),
        always: Vec::new(),
        verify: Vec::new(),
        back_failed: Exit::Promotion,
        incomplete: Exit::Incomplete,
        announce_on: None,
    };
    if plan.checks.iter().any(Check::stops) {
        return Promotion { plan, wal_lost_bytes, former: former_id };
    }

    let mut slots = Vec::new();
    for sibling in &following {
        let Some(slot) = slot_to_make(&sibling.row, candidate) else { continue };
        let id = format!("create_slot_{}", sibling.row.node_id);
        plan.back.push(Back {
            if_started: vec![id.clone()],
            step: drop_slot(format!("drop_slot_{}", sibling.row.node_id), &on, &slot),
        });
        slots.push(create_slot(id, &on, &slot));
    }
    plan.phases.push(Phase {
        title: "prepare".into(),
        order: Order::AllAtOnce,
        on_failure: OnFailure::Stop,
        outage: false,
        steps: slots,
    });
    let mut promote = Step::new(
        "promote",
        format!("promote node \"{name}\""),
        Op::Promote { on: on.clone(), command: facts.command.clone() },
        facts.timeout_s,
        Exit::Promotion,
    )
    .on_resume(OnResume::AgainUnless(Probe::Accepts { on: on.clone(), in_recovery: Some(false) }))
    .no_return();
    // A resumed operation may be hours old, and the dead may have returned.
    for other in facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id)) {
        promote = promote.requires(Probe::NoPrimary { on: endpoint(other) });
    }
    let mut statements = new_primary(&candidate.row, facts.own_schema);
    statements.extend(following.iter().map(|sibling| record_upstream(sibling.row.node_id, facts.node_id)));
    plan.phases.push(Phase {
        title: "promote".into(),
        order: Order::InOrder,
        on_failure: OnFailure::Stop,
        outage: true,
        steps: vec![
            promote,
            Step::new(
                "record",
                format!("record node \"{name}\" as the primary"),
                Op::Sql { on: on.clone(), statements },
                QUERY_S,
                Exit::Query,
            ),
        ],
    });
    let mut steps: Vec<Step> = following
        .iter()
        .map(|sibling| {
            let slot = slot_of(&sibling.row);
            follow_by_sql(sibling, upstream(&candidate.row, &sibling.row, server.version_num, slot))
        })
        .collect();
    steps.extend(checkpoint(facts.roles.get(&facts.node_id), &on));
    steps.extend(tell_witnesses(&facts.cluster, &candidate.row));
    plan.phases.push(Phase {
        title: "let the others know".into(),
        order: Order::AllAtOnce,
        on_failure: OnFailure::Continue,
        outage: false,
        steps,
    });
    plan.verify.push(Verify {
        title: format!("node \"{name}\" writes a timeline of its own"),
        probe: on_new_timeline(&on, server),
        timeout_s: QUERY_S,
    });
    plan.verify.extend(following.iter().map(|sibling| Verify {
        title: format!("node \"{}\" streams from \"{name}\"", sibling.row.node_name),
        probe: streams(&on, server.version_num, &sibling.row.node_name),
        timeout_s: STREAMS_S,
    }));
    Promotion { plan, wal_lost_bytes, former: former_id }
}

fn refused(node_id: i32) -> Promotion {
    let check = Check::fail("server_is_standby", format!("the server of node {node_id} does not answer"))
        .exit(Exit::Connection);
    let plan = Plan {
        title: format!("promote node {node_id}"),
        checks: vec![check],
        phases: Vec::new(),
        back: Vec::new(),
        always: Vec::new(),
        verify: Vec::new(),
        back_failed: Exit::Promotion,
        incomplete: Exit::Incomplete,
        announce_on: None,
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
    let check = Check::fail(NAME, format!("node \"{name}\" is a primary already")).exit(Exit::Promotion);
    if candidate.row.node_type == NodeType::Primary {
        check
    } else {
        check
            .detail(format!("It is registered as a {}.", candidate.row.node_type))
            .hint("Run \"pgbaton cluster show\"; if it is to stay the primary, run \"pgbaton primary register -F\" on it.")
    }
}

/// Checks that no other node takes writes, or may.
fn no_primary(facts: &PromoteFacts, candidate: &NodeFacts, options: PromoteOptions) -> Vec<Check> {
    const NAME: &str = "no_other_primary";
    let mut checks = Vec::new();
    let mut silent = Vec::new();
    for other in facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id)) {
        let (id, name) = (other.row.node_id, &other.row.node_name);
        let fail = |message: String| Check::fail(NAME, message).node(id).exit(Exit::SecondPrimary);
        if let Some(server) = other.facts() {
            if !server.in_recovery && facts.cluster.twin_of(other).is_none() {
                checks.push(
                    fail(format!("node \"{name}\" is a primary and alive"))
                        .detail(format!("It takes writes on timeline {}.", server.timeline))
                        .hint("To move the role while it is alive, run \"pgbaton standby switchover\"."),
                );
            }
            continue;
        }
        // Somebody who is registered as a standby and does not answer may have been promoted meanwhile, but nobody was told so.
        let was_primary = other.row.node_type == NodeType::Primary && other.row.active
            || facts
                .topology
                .iter()
                .flat_map(|seen| &seen.nodes)
                .any(|seen| seen.row.node_id == id && seen.was_primary == Some(true));
        match alive(&facts.cluster, other) {
            Alive::Yes(why) if was_primary => checks.push(
                fail(format!("the primary \"{name}\" is alive")).detail(why).hint(format!(
                    "To move the role, make it answer queries and run \"pgbaton standby switchover\". If it is to be replaced, stop \
                     it first. A standby whose primary has vanished without a word goes on streaming for up to wal_receiver_timeout{}; \
                     then try again.",
                    receiver_timeout(facts)
                )),
            ),
            Alive::CannotTell(why) if was_primary => checks.push(
                fail(format!("cannot tell whether the primary \"{name}\" is alive"))
                    .detail(why)
                    .hint("Make certain that it is stopped, and run the command again; or waive this check.")
                    .waivable(Waiver::Force, options.force),
            ),
            Alive::Yes(why) | Alive::CannotTell(why) | Alive::NotSeen(why) => silent.push((other, why)),
        }
    }
    checks.extend(streams_from_a_stranger(facts, candidate));
    if checks.is_empty() {
        checks.push(Check::pass(NAME, "no other node was seen to take writes"));
    }
    for (other, why) in silent {
        checks.push(
            Check::warning("node_not_asked", format!("node \"{}\" could not be asked", other.row.node_name))
                .node(other.row.node_id)
                .detail(why),
        );
    }
    checks
}

fn receiver_timeout(facts: &PromoteFacts) -> String {
    match facts.roles.get(&facts.node_id).map(|role| role.wal_receiver_timeout_ms) {
        Some(0) => " (which is off here: restart the standby)".into(),
        Some(ms) => format!(" ({} s)", ms / 1000),
        None => String::new(),
    }
}

/// A standby that streams has something to stream from. If that is no node that answers as a standby, it may well be the primary.
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
                    || node.facts().is_some_and(|server| server.sender_of(&follower.row.node_name).is_some()))
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
        .hint("Stop that server, or correct the conninfo of the node that it is, then try again.")
        .exit(Exit::SecondPrimary),
    )
}

/// Checks that no reachable standby has WAL that this one has not.
fn nobody_has_more(
    facts: &PromoteFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: PromoteOptions,
) -> Vec<Check> {
    const NAME: &str = "has_most_wal";
    let mut checks = Vec::new();
    let ours = server.wal_end();
    for other in facts.cluster.nodes.iter().filter(|node| is_other_data_node(node, facts.node_id)) {
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
                "It is on timeline {}, node \"{}\" is on timeline {}: it followed a primary that this node never did.",
                theirs.timeline, candidate.row.node_name, server.timeline
            )));
            continue;
        }
        if let Relation::Forked { evidence, .. } = relation(theirs, server) {
            checks.push(
                Check::warning(
                    "history_parted",
                    format!("the history of node \"{name}\" has parted from this one's"),
                )
                .node(id)
                .detail(evidence)
                .hint(format!(
                    "It will not be able to follow; \"pgbaton node rejoin\" on \"{name}\" leads it back."
                )),
            );
            continue;
        }
        if let (Some(end), Some(ours)) = (theirs.wal_end(), ours)
            && theirs.timeline == server.timeline
            && end > ours
        {
            checks.push(fail(format!("standby \"{name}\" has more WAL")).detail(format!(
                "It has WAL up to {end}, node \"{}\" up to {ours}: {} bytes would be lost.",
                candidate.row.node_name,
                end.0 - ours.0
            )));
        }
    }
    if checks.is_empty() {
        checks.push(Check::pass(NAME, "no standby that answers has more WAL"));
    }
    checks
}

/// Says what is missing of the WAL of the primary that is gone.
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
            Check::pass(NAME, format!("all WAL of \"{name}\" is here, up to {end}"))
        } else {
            Check::warning(NAME, format!("{missing} bytes of WAL of \"{name}\" are missing here")).detail(format!(
                "Its files hold WAL up to {end}, this node has WAL up to {ours}. What was committed in between will be lost."
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
            Check::warning(NAME, format!("it is unknown how much of the WAL of \"{name}\" is missing here"))
                .node(former.row.node_id)
                .detail(format!(
                    "This node has WAL up to {ours}; where that of \"{name}\" ended was never seen."
                ));
        return (Some(check), None);
    };
    let age = facts.now.duration_since(at).as_secs().max(0);
    let missing = end.0.saturating_sub(ours.0);
    let detail = format!(
        "This node has WAL up to {ours}; \"{name}\" was at {end} when it was last seen, {age} s ago, and may have written more since."
    );
    let check = if missing == 0 {
        Check::warning(NAME, format!("what \"{name}\" wrote last may be missing here"))
    } else {
        Check::warning(NAME, format!("at least {missing} bytes of WAL of \"{name}\" are missing here"))
    };
    (Some(check.node(former.row.node_id).detail(detail)), None)
}

/// Checks what makes a standby a doubtful choice.
fn candidate_is_fit(
    facts: &PromoteFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: PromoteOptions,
) -> Vec<Check> {
    let name = &candidate.row.node_name;
    let id = candidate.row.node_id;
    let doubtful = |check: &str, message: String| {
        Check::fail(check, message).node(id).waivable(Waiver::Force, options.force)
    };
    let mut checks = Vec::new();
    let role = facts.roles.get(&id);
    if let Some(delay) = role.map(|role| role.apply_delay_ms).filter(|delay| *delay > 0) {
        let left = match (server.wal_end(), server.replay_lsn) {
            (Some(end), Some(replayed)) => {
                format!(" {} are still to be replayed.", size(end.0.saturating_sub(replayed.0)))
            }
            _ => String::new(),
        };
        checks.push(
            doubtful("apply_delay", format!("node \"{name}\" replays with a delay"))
                .detail(format!("recovery_min_apply_delay is {} s.{left}", delay / 1000))
                .hint("The delay is given up by the promotion: what it was to protect from is replayed."),
        );
    }
    if server.replay_paused == Some(true) {
        checks.push(
            doubtful("replay_paused", format!("replay is paused on node \"{name}\""))
                .detail("Somebody has stopped it on purpose; the promotion would end that and replay what is waiting.")
                .hint("Run \"SELECT pg_wal_replay_resume()\" there if it is no longer wanted."),
        );
    }
    if candidate.row.priority == 0 {
        checks.push(
            doubtful("priority", format!("node \"{name}\" has priority 0"))
                .detail("It was set apart as a node that is not to become primary."),
        );
    }
    checks.extend(logical_slots(facts, server).map(|lost| {
        doubtful("logical_slots", format!("node \"{name}\" does not have all logical replication slots"))
            .detail(format!("The primary had {}, which will be gone.", lost.join(", ")))
            .hint("Subscribers and other readers of these slots have to be set up again.")
    }));
    checks.extend(synchronous_names(facts, server).map(|(wanted, there)| {
        doubtful("synchronous_names", "commits on the new primary would wait for ever".into())
            .detail(format!(
                "synchronous_standby_names is \"{}\", which wants {wanted} of them, and {there} would be there.",
                server.synchronous_standby_names
            ))
            .hint(format!(
                "On node \"{name}\" run: ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();"
            ))
    }));
    checks
}

/// Returns the logical slots of the primary that the candidate does not have, as far as they were ever seen.
fn logical_slots(facts: &PromoteFacts, server: &ServerFacts) -> Option<Vec<String>> {
    let seen =
        facts.topology.iter().flat_map(|seen| &seen.nodes).filter(|seen| seen.was_primary == Some(true));
    let lost: Vec<String> = seen
        .flat_map(|seen| &seen.logical_slots)
        .filter(|name| server.slot(name).is_none())
        .map(|name| format!("\"{name}\""))
        .collect();
    (!lost.is_empty()).then_some(lost)
}

/// Returns how many synchronous standbys the candidate's setting wants, and how many would be there, if they are too few.
fn synchronous_names(facts: &PromoteFacts, server: &ServerFacts) -> Option<(usize, usize)> {
    let (wanted, names) = parse_synchronous_names(&server.synchronous_standby_names)?;
    let there = facts
        .cluster
        .nodes
        .iter()
        .filter(|node| {
            node.row.node_id != facts.node_id && node.facts().is_some_and(|other| other.in_recovery)
        })
        .filter(|node| names.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(&node.row.node_name)))
        .count();
    (there < wanted).then_some((wanted, there))
}

/// Reads `synchronous_standby_names`: how many it wants, and of whom. None if it wants nobody.
pub fn parse_synchronous_names(text: &str) -> Option<(usize, Vec<String>)> {
    let text = text.trim();
    let (wanted, list) = match text.split_once('(') {
        Some((head, rest)) => {
            let number = head.split_whitespace().last().unwrap_or_default();
            (number.parse().ok()?, rest.trim_end().trim_end_matches(')'))
        }
        None => (1, text),
    };
    let names: Vec<String> = list
        .split(',')
        .map(|name| name.trim().trim_matches('"').replace("\"\"", "\""))
        .filter(|name| !name.is_empty())
        .collect();
    (!names.is_empty() && wanted > 0).then_some((wanted, names))
}

/// Returns the standbys that followed the primary that is gone, or nobody.
pub fn siblings<'a>(
    cluster: &'a ClusterFacts,
    candidate: &NodeFacts,
    former: Option<i32>,
) -> Vec<&'a NodeFacts> {
    let candidate_id = candidate.row.node_id;
    cluster
        .nodes
        .iter()
        .filter(|node| node.row.node_id != candidate_id && Some(node.row.node_id) != former)
        .filter(|node| node.row.node_type == NodeType::Standby && node.row.active)
        .filter(|node| {
            let ours = candidate.facts().map(|server| &server.system_identifier);
            let same = |server: &ServerFacts| server.in_recovery && Some(&server.system_identifier) == ours;
            node.facts().is_some_and(same) && cluster.twin_of(node).is_none()
        })
        .filter(|node| {
            // A cascaded standby stays with its upstream as long as that is a standby itself.
            let observed = cluster.observed_upstream(&node.row.node_name).map(|up| up.row.node_id);
            let upstream = observed.or(node.row.upstream_node_id);
            let stays = |id: i32| {
                Some(id) != former
                    && cluster.node(id).and_then(NodeFacts::facts).is_some_and(|server| server.in_recovery)
            };
            !upstream.is_some_and(stays)
        })
        .collect()
}

/// Checks that the candidate has room for those who are to follow.
fn room(candidate: &NodeFacts, server: &ServerFacts, following: &[&NodeFacts]) -> Check {
    const NAME: &str = "room_for_siblings";
    let name = &candidate.row.node_name;
    let more = following.iter().filter(|node| server.sender_of(&node.row.node_name).is_none()).count();
    let senders = usize::try_from(server.max_wal_senders).unwrap_or(0);
    let slots = usize::try_from(server.max_replication_slots).unwrap_or(0);
    let new_slots = following.iter().filter(|node| slot_to_make(&node.row, candidate).is_some()).count();
    if server.senders.len() + more > senders {
        Check::warning(NAME, format!("node \"{name}\" has too few WAL senders for all that are to follow"))
            .detail(format!(
                "max_wal_senders is {senders}, {} are in use, {more} more are wanted.",
                server.senders.len()
            ))
            .hint("Raise max_wal_senders there; it takes a restart.")
    } else if server.slots.len() + new_slots > slots {
        Check::warning(
            NAME,
            format!("node \"{name}\" has too few replication slots for all that are to follow"),
        )
        .detail(format!(
            "max_replication_slots is {slots}, {} are there, {new_slots} more are wanted.",
            server.slots.len()
        ))
        .hint("Raise max_replication_slots there, which takes a restart; or drop slots that nobody needs.")
    } else {
        Check::pass(NAME, format!("node \"{name}\" has room for those who are to follow"))
    }
}

/// Returns the statements that make a node the primary in the metadata.
pub fn new_primary(row: &NodeRow, own_schema: bool) -> Vec<Statement> {
    let mut out = vec![
        node::deactivate_other_primaries(row.node_id),
        Statement::new(
            "UPDATE repmgr.nodes SET type = 'primary', active = true, upstream_node_id = NULL WHERE node_id = $1::integer",
        )
        .bind(row.node_id),
    ];
    if own_schema {
        out.push(
            Statement::new(
                "INSERT INTO pgbaton.promotion (timeline, uuid, node_id) \
                 SELECT t.timeline, gen_random_uuid()::text, $1::integer FROM \
                 (SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer) t(timeline) \
                 WHERE NOT EXISTS (SELECT FROM pgbaton.promotion p WHERE p.timeline = t.timeline AND p.node_id = $1::integer)",
            )
            .bind(row.node_id),
        );
    }
    out
}

/// Writes a checkpoint on the new primary: until then its control file shows the old timeline, and pg_rewind believes that.
pub fn checkpoint(role: Option<&RoleFacts>, on: &Endpoint) -> Option<Step> {
    role.is_some_and(|role| role.may_checkpoint).then(|| {
        Step::new(
            "checkpoint",
            format!("write a checkpoint on {}", on.name),
            Op::Sql { on: on.clone(), statements: vec![Statement::new("CHECKPOINT")] },
            CHECKPOINT_S,
            Exit::Query,
        )
    })
}

/// Tells the witnesses, each of which has its own copy of the metadata.
pub fn tell_witnesses(cluster: &ClusterFacts, primary: &NodeRow) -> Vec<Step> {
    let witnesses = cluster.nodes.iter().filter(|node| node.row.node_type == NodeType::Witness);
    witnesses
        .filter(|node| node.facts().is_some())
        .map(|node| {
            let (id, name) = (node.row.node_id, &node.row.node_name);
            let mut statements = new_primary(primary, false);
            statements.push(
                Statement::new(
                    "UPDATE repmgr.nodes SET upstream_node_id = $2::integer WHERE node_id = $1::integer",
                )
                .bind(id)
                .bind(primary.node_id),
            );
            Step::new(
                format!("tell_witness_{id}"),
                format!("tell witness \"{name}\""),
                Op::Sql { on: endpoint(node), statements },
                QUERY_S,
                Exit::Query,
            )
        })
        .collect()
}

/// The server writes a timeline that is newer than the one it was on, and its history file is there if we may look.
pub fn on_new_timeline(on: &Endpoint, before: &ServerFacts) -> Probe {
    let history = "pg_read_binary_file('pg_wal/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || '.history', 0, 1, true)";
    let seen = if before.reads_files { format!(" AND {history} IS NOT NULL") } else { String::new() };
    Probe::Sql {
        says: format!("{} writes a timeline after {}", on.name, before.timeline),
        on: on.clone(),
        statement: Statement::new(format!(
            "SELECT (('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint > $1::bigint{seen})::text"
        ))
        .bind(before.timeline),
    }
}
