//! The preconditions of a switchover.

use super::{SwitchoverFacts, SwitchoverOptions};
use crate::assess::history::{Relation, relation};
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::plan::parts::new_primary::{siblings, silent_witnesses};
use crate::plan::parts::standby::{in_force, refuses_to_follow};
use crate::plan::{Check, CheckResult, Override};
use crate::registry::NodeType;
use crate::units::size;

/// Checks that the two nodes are what they have to be, and stream.
pub(super) fn check_both_nodes(
    facts: &SwitchoverFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    primary: &NodeFacts,
    old: &ServerFacts,
) -> Vec<Check> {
    let (to, from) = (&candidate.row.node_name, &primary.row.node_name);
    let mut checks = Vec::new();
    checks.push(if server.in_recovery {
        Check::pass("server_is_standby", format!("node \"{to}\" is a standby"))
    } else {
        Check::fail("server_is_standby", format!("node \"{to}\" is a primary already")).node(facts.candidate)
    });
    let primaries: Vec<String> =
        facts.cluster.primaries().map(|(node, _)| format!("\"{}\"", node.row.node_name)).collect();
    if primaries.len() > 1 {
        checks.push(
            Check::fail("one_primary", format!("{} nodes accept writes", primaries.len()))
                .detail(format!("They are {}.", primaries.join(", ")))
                .hint("Stop the wrong one first; \"pgbaton cluster show\" says which one is valid.")
                .exit(Exit::SecondPrimary),
        );
    }
    checks.push(crate::plan::register::same_cluster(server, old, from));
    match relation(server, old) {
        Relation::Same => {}
        Relation::Forked { evidence, .. } => checks.push(
            Check::fail("same_history", format!("node \"{to}\" has diverged from \"{from}\""))
                .detail(evidence.sentence(from))
                .hint(format!("Run \"pgbaton node rejoin\" on \"{to}\"."))
                .exit(Exit::DataLoss),
        ),
        Relation::Unknown(why) => {
            checks.push(Check::warning("same_history", "the histories could not be compared").detail(why));
        }
    }
    let sender = old.sender_of(to);
    let state = sender.and_then(|sender| sender.state.as_deref());
    checks.push(match (sender, state) {
        // A receiver that is listed as streaming but hangs would prolong the outage until that is noticed.
        (Some(_), Some("streaming") | None) if server.hangs(sender).is_some() => {
            Check::fail("candidate_streams", format!("the WAL receiver of node \"{to}\" hangs"))
                .node(facts.candidate)
                .detail(format!(
                    "{} The last WAL of the primary would not reach it.",
                    server.hangs(sender).unwrap_or_default()
                ))
                .hint(format!("Run \"pgbaton node restart\" on \"{to}\" first."))
        }
        (Some(_), Some("streaming") | None) => {
            Check::pass("candidate_streams", format!("node \"{to}\" streams from \"{from}\""))
        }
        (Some(_), Some(other)) => Check::fail(
            "candidate_streams",
            format!("node \"{to}\" does not stream yet: it is in state \"{other}\""),
        )
        .node(facts.candidate)
        .hint("Wait until it has caught up; \"pgbaton cluster show\" shows its lag."),
        (None, _) => {
            Check::fail("candidate_streams", format!("node \"{to}\" does not stream from \"{from}\""))
                .node(facts.candidate)
                .detail("The last WAL of the primary would not reach it.")
                .hint(format!("Run \"pgbaton standby follow\" on \"{to}\" first."))
        }
    });
    checks
}

/// Sorts the siblings into those that will follow and what to report about the others.
pub(super) fn followers<'a>(
    facts: &'a SwitchoverFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    options: SwitchoverOptions,
) -> (Vec<&'a NodeFacts>, Vec<Check>) {
    let mut following = Vec::new();
    let mut checks = Vec::new();
    for sibling in siblings(&facts.cluster, candidate, Some(facts.primary)) {
        let (id, name) = (sibling.row.node_id, &sibling.row.node_name);
        if !options.siblings_follow {
            checks.push(
                Check::warning(
                    "sibling_stays",
                    format!("node \"{name}\" will stay attached to the old primary"),
                )
                .node(id)
                .hint(format!("Afterwards run \"pgbaton standby follow\" on \"{name}\".")),
            );
            continue;
        }
        let old = facts.cluster.node(facts.primary).and_then(NodeFacts::facts);
        let hangs = sibling.facts().and_then(|own| own.hangs(old.and_then(|old| old.sender_of(name))));
        checks.extend(hangs.map(|why| {
            Check::warning("sibling_hangs", format!("the WAL receiver of node \"{name}\" hangs"))
                .node(id)
                .detail(format!("{why} It may not follow the new primary."))
                .hint(format!("Run \"pgbaton node restart\" on \"{name}\"."))
        }));
        let primary = in_force(&candidate.row, facts.roles.get(&facts.candidate));
        let refused = refuses_to_follow(&sibling.row, server.version_num, facts.roles.get(&id), primary);
        if refused.is_empty() {
            following.push(sibling);
        }
        checks.extend(refused.into_iter().map(|check| check.overridable_by(Override::Force, options.force)));
    }
    (following, checks)
}

/// A promotion continues without free slots or WAL senders; here there is time to fix that first.
pub(super) fn as_failure(check: Check) -> Check {
    match check.verdict {
        CheckResult::Warning => Check { verdict: CheckResult::Fail, ..check },
        _ => check,
    }
}

/// Checks the lag of the candidate: what it still has to receive and replay is a part of the outage.
pub(super) fn lag(
    facts: &SwitchoverFacts,
    candidate: &NodeFacts,
    server: &ServerFacts,
    old: &ServerFacts,
    force: bool,
) -> Option<Check> {
    const NAME: &str = "replication_lag";
    let name = &candidate.row.node_name;
    let seconds = old.sender_of(name).and_then(|sender| sender.replay_lag_s).unwrap_or(0.0);
    let behind = old.current_lsn?.0.saturating_sub(server.replay_lsn?.0);
    let detail = format!("It still has to replay {} ({seconds:.0} s).", size(behind));
    let (warning, critical) = facts.bounds.lag_s;
    Some(if seconds >= f64::from(critical) {
        Check::fail(NAME, format!("node \"{name}\" lags far behind"))
            .node(facts.candidate)
            .detail(detail)
            .hint(
                "Wait until it has caught up; otherwise clients cannot write until the backlog is replayed.",
            )
            .overridable_by(Override::Force, force)
    } else if seconds >= f64::from(warning) {
        Check::warning(NAME, format!("node \"{name}\" lags behind")).node(facts.candidate).detail(detail)
    } else {
        Check::pass(NAME, format!("node \"{name}\" has caught up"))
    })
}

/// Checks for activity on the old primary that would be aborted, or would delay its shutdown.
pub(super) fn backups_and_archive(
    facts: &SwitchoverFacts,
    primary: &NodeFacts,
    old: &ServerFacts,
    force: bool,
) -> Vec<Check> {
    let name = &primary.row.node_name;
    let mut checks = Vec::new();
    let backups = old.senders.iter().filter(|sender| sender.state.as_deref() == Some("backup")).count();
    if backups > 0 {
        checks.push(
            Check::fail("backup_running", format!("a base backup of \"{name}\" is running"))
                .node(facts.primary)
                .detail("Stopping the server would abort it.")
                .hint("Wait for its end, or repeat the command with --force.")
                .overridable_by(Override::Force, force),
        );
    }
    let Some(ready) = facts.host.as_ref().and_then(|host| host.archive_ready) else { return checks };
    let (warning, critical) = facts.bounds.archive_ready;
    let detail = format!(
        "{ready} WAL segments are waiting to be archived. The old primary shuts down only after that and will rejoin late."
    );
    if ready >= critical {
        checks.push(
            Check::fail("archive_ready", format!("the archiver of \"{name}\" lags far behind"))
                .node(facts.primary)
                .detail(detail)
                .hint("Check pg_stat_archiver there, and fix archive_command first.")
                .overridable_by(Override::Force, force),
        );
    } else if ready >= warning {
        let message = format!("the archiver of \"{name}\" lags behind");
        checks.push(Check::warning("archive_ready", message).node(facts.primary).detail(detail));
    }
    checks
}

/// Names the nodes that do not respond. One that streams from the primary is alive, and only unreachable from here: it would be left
/// behind.
pub(super) fn silent_nodes(
    facts: &SwitchoverFacts,
    old: &ServerFacts,
    options: SwitchoverOptions,
) -> Vec<Check> {
    let silent =
        facts.cluster.nodes.iter().filter(|node| node.row.active && node.row.node_type != NodeType::Witness);
    let silent: Vec<Check> = silent
        .filter_map(|node| {
            let unavailable = node.server.as_ref().err()?;
            let name = &node.row.node_name;
            let check = if options.siblings_follow && old.is_connected_to(name) {
                let message = format!("node \"{name}\" is connected to the primary but unreachable from here");
                Check::fail("node_not_asked", message)
                    .hint(format!(
                        "It could not be pointed at the new primary. Fix the network first, or run \"pgbaton standby follow\" on \
                        \"{name}\" afterwards."
                    ))
                    .exit(Exit::Connection)
                    .overridable_by(Override::Force, options.force)
            } else {
                Check::warning("node_not_asked", format!("node \"{name}\" is unreachable"))
                    .hint(format!("When it is back, run \"pgbaton standby follow\" on \"{name}\"."))
            };
            Some(check.node(node.row.node_id).detail(crate::error::sentence(&unavailable.message)))
        })
        .collect();
    silent.into_iter().chain(silent_witnesses(&facts.cluster)).collect()
}
