//! Whether another node accepts writes, or may: the candidate must be the only primary.

use super::{PromoteFacts, PromoteOptions, is_other_data_node};
use crate::assess::alive::{Alive, alive, streams_from};
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::plan::parts::hosts::{self, HostVerdict, UnreachableNode};
use crate::plan::{Check, Override};
use crate::registry::NodeType;

pub(super) fn no_other_primary(
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
            if !server.in_recovery && facts.cluster.other_node_of_server(other).is_none() {
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
        let unasked = UnreachableNode {
            node: other,
            alive: &alive,
            was_primary,
            was_standby: ours.is_some_and(|ours| hosts::was_standby(facts.topology.as_ref(), other, ours)),
        };
        match hosts::judge(&unasked, facts.hosts.get(&id), options.force) {
            HostVerdict::Stops(check) => {
                checks.push(check);
                continue;
            }
            HostVerdict::NoPrimary(why) => {
                silent.push((other, why));
                continue;
            }
            HostVerdict::Nothing(note) => notes.extend(note),
        }
        match alive {
            Alive::Yes(why) if was_primary => checks.push(
                fail(format!("the primary \"{name}\" is alive")).detail(why).hint(format!(
                    "For a switchover, fix the connection to it and run \"pgbaton standby switchover\". To replace it, stop it first. If \
                    the primary's host is gone, a standby still reports \"streaming\" until wal_receiver_timeout expires{}; then try \
                    again.",
                    receiver_timeout(facts)
                )),
            ),
            Alive::CannotTell(why) if was_primary => checks.push(
                fail(format!("cannot determine whether the primary \"{name}\" is alive"))
                    .detail(why)
                    .hint("Make sure that it is stopped, and run the command again; or repeat the command with --force.")
                    .overridable_by(Override::Force, options.force),
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
