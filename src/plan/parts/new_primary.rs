//! What promote and switchover share: which node can become the primary, which standbys follow, and the record of it. Pure.

use std::collections::BTreeSet;

use crate::error::{Exit, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::paused::advice;
use crate::facts::role::{ReadOnlyFor, RoleFacts};
use crate::facts::server::ServerFacts;
use crate::pg::endpoint::Endpoint;
use crate::pg::quote::quote_ident;
use crate::pg::statement::Statement;
use crate::plan::parts::following::{QUERY_S, slot_to_make};
use crate::plan::register::endpoint;
use crate::plan::{Check, Op, Override, Probe, Scope, Step};
use crate::registry::{NodeRow, NodeType, node};
use crate::units::size;

/// Seconds that a checkpoint after the promotion may take; only this command waits for it.
const CHECKPOINT_S: u32 = 600;

/// Checks what makes a standby a doubtful choice.
pub fn promotion_fitness(
    candidate: &NodeFacts,
    server: &ServerFacts,
    primary: Option<&ServerFacts>,
    role: Option<&RoleFacts>,
    force: bool,
) -> Vec<Check> {
    let name = &candidate.row.node_name;
    let doubtful = |check: &str, message: String| doubtful(candidate, check, message, force);
    let mut checks = Vec::new();
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
                .hint("Promotion ends the delay: all received WAL is replayed, including changes the delay was meant to hold back."),
        );
    }
    if server.replay_paused == Some(true) {
        checks.push(
            doubtful("replay_paused", format!("replay is paused on node \"{name}\""))
                .detail("The promotion ends the pause and replays all received WAL.")
                .hint(advice(name, server, primary).text),
        );
    }
    let wal_level = role.and_then(|role| role.settings.get("wal_level")?.value.as_deref());
    if wal_level == Some("minimal") {
        checks.push(
            doubtful("wal_level", format!("wal_level is minimal on node \"{name}\""))
                .detail("As a primary it would write no WAL that a standby can follow.")
                .hint(format!("On \"{name}\" run: ALTER SYSTEM SET wal_level = 'replica'; then \"pgbaton node restart\".")),
        );
    }
    checks.extend(role.and_then(|role| clients_can_write(candidate, role)));
    if candidate.row.priority == 0 {
        checks.push(
            doubtful("priority", format!("node \"{name}\" has priority 0"))
                .detail("It is configured not to become the primary."),
        );
    }
    checks
}

/// Checks that the standby has no recovery target: its promotion would end the recovery there, and what it has received beyond it would be
/// lost.
pub fn recovery_target(candidate: &NodeFacts, role: Option<&RoleFacts>) -> Option<Check> {
    let name = &candidate.row.node_name;
    let targets: Vec<String> = role?.settings.targets().iter().map(ToString::to_string).collect();
    (!targets.is_empty()).then(|| {
        Check::fail("recovery_target", format!("node \"{name}\" has a recovery target: WAL beyond it would be lost"))
            .node(candidate.row.node_id)
            .detail(format!("{}. A promotion ends the recovery at the target.", targets.join(", ")))
            .hint(format!(
                "Clear it on \"{name}\" by ALTER SYSTEM SET ... = '' and restart it: \"pgbaton node restart\" there."
            ))
            .exit(Exit::DataLoss)
    })
}

/// Checks that clients can write on the new primary. Our own sessions write all the same, so that nothing else would show it.
fn clients_can_write(candidate: &NodeFacts, role: &RoleFacts) -> Option<Check> {
    const SETTING: &str = "default_transaction_read_only";
    let mut whom = Vec::new();
    let mut how = Vec::new();
    if role.read_only {
        whom.push("for all clients, by the configuration of its server".to_string());
        how.push(format!("ALTER SYSTEM SET {SETTING} = off; SELECT pg_reload_conf();"));
    }
    for ReadOnlyFor { database, role } in &role.read_only_for {
        let (of_role, of_database) = (
            role.as_ref().map(|role| format!("role \"{role}\"")),
            database.as_ref().map(|database| format!("database \"{database}\"")),
        );
        let (text, statement) = match (of_role, of_database, role, database) {
            (Some(role), Some(database), Some(r), Some(d)) => (
                format!("for {role} in {database}"),
                format!("ALTER ROLE {} IN DATABASE {} RESET {SETTING};", quote_ident(r), quote_ident(d)),
            ),
            (Some(role), _, Some(r), _) => {
                (format!("for {role}"), format!("ALTER ROLE {} RESET {SETTING};", quote_ident(r)))
            }
            (_, Some(database), _, Some(d)) => {
                (format!("for {database}"), format!("ALTER DATABASE {} RESET {SETTING};", quote_ident(d)))
            }
            _ => ("for all roles".to_string(), format!("ALTER ROLE ALL RESET {SETTING};")),
        };
        whom.push(text);
        how.push(statement);
    }
    let name = &candidate.row.node_name;
    (!whom.is_empty()).then(|| {
        Check::warning("clients_can_write", format!("clients will not be able to write on node \"{name}\" as the primary"))
            .node(candidate.row.node_id)
            .detail(format!("{SETTING} is on {}.", whom.join(", ")))
            .hint(format!(
                "If that is not intended, run there once it is the primary (in a session after SET {SETTING} = off): {}",
                how.join(" ")
            ))
    })
}

/// A check that fails, and that `--force` overrides.
fn doubtful(candidate: &NodeFacts, check: &str, message: String, force: bool) -> Check {
    Check::fail(check, message).node(candidate.row.node_id).overridable_by(Override::Force, force)
}

/// Checks that commits on the new primary have the synchronous standbys that they wait for: of those that are to follow, and of
/// those that stream from it already.
pub fn synchronous_standbys(
    candidate: &NodeFacts,
    server: &ServerFacts,
    following: &[&NodeFacts],
    force: bool,
) -> Option<Check> {
    let (wanted, names) = parse_synchronous_names(&server.synchronous_standby_names)?;
    let is_named = |there: &&str| names.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(there));
    let there: BTreeSet<&str> = following
        .iter()
        .map(|node| node.row.node_name.as_str())
        .chain(server.senders.iter().map(|sender| sender.application_name.as_str()))
        .collect();
    let count = there.iter().filter(|name| is_named(name)).count();
    (count < wanted).then(|| {
        doubtful(
            candidate,
            "synchronous_names",
            "commits on the new primary would wait forever".into(),
            force,
        )
        .detail(format!(
            "synchronous_standby_names is \"{}\", which requires {wanted} synchronous standbys, but only {count} would be connected.",
            server.synchronous_standby_names
        ))
        .hint(format!(
            "On node \"{}\" run: ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
            candidate.row.node_name
        ))
    })
}

/// Reads `synchronous_standby_names`: how many standbys it requires, and their names. None if it requires none.
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

/// Returns the standbys that followed the failed primary, or no node.
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
        // A repmgrd may have marked one as inactive that is back since.
        .filter(|node| node.row.node_type == NodeType::Standby)
        .filter(|node| {
            let ours = candidate.facts().map(|server| &server.system_identifier);
            let same = |server: &ServerFacts| server.in_recovery && Some(&server.system_identifier) == ours;
            node.facts().is_some_and(same) && cluster.other_node_of_server(node).is_none()
        })
        .filter(|node| {
            // A cascaded standby stays with its upstream as long as that is a standby itself.
            let stays = |id: i32| {
                Some(id) != former
                    && cluster.node(id).and_then(NodeFacts::facts).is_some_and(|server| server.in_recovery)
            };
            !cluster.upstream_of(&node.row).is_some_and(stays)
        })
        .collect()
}

/// Returns what a change of roles is about: all data nodes, on the timeline of the candidate.
pub fn scope(cluster: &ClusterFacts, server: &ServerFacts) -> Scope {
    let data_nodes = cluster.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness);
    Scope {
        nodes: data_nodes.map(|node| node.row.node_id).collect(),
        timeline: server.timeline,
        system_identifier: server.system_identifier.clone(),
    }
}

/// Checks that the candidate has enough WAL senders and replication slots for all standbys.
pub fn sender_and_slot_capacity(
    candidate: &NodeFacts,
    server: &ServerFacts,
    following: &[&NodeFacts],
) -> Check {
    const NAME: &str = "room_for_siblings";
    let name = &candidate.row.node_name;
    let more = following.iter().filter(|node| !server.is_connected_to(&node.row.node_name)).count();
    let senders = usize::try_from(server.max_wal_senders).unwrap_or(0);
    let slots = usize::try_from(server.max_replication_slots).unwrap_or(0);
    let new_slots = following.iter().filter(|node| slot_to_make(&node.row, candidate).is_some()).count();
    if server.senders.len() + more > senders {
        Check::warning(NAME, format!("node \"{name}\" has too few WAL senders for all standbys"))
            .detail(format!(
                "max_wal_senders is {senders}, {} are in use, {more} more are needed.",
                server.senders.len()
            ))
            .hint("Raise max_wal_senders there, which requires a restart.")
    } else if server.slots.len() + new_slots > slots {
        Check::warning(
            NAME,
            format!("node \"{name}\" has too few replication slots for all standbys"),
        )
        .detail(format!(
            "max_replication_slots is {slots}, {} exist, {new_slots} more are needed.",
            server.slots.len()
        ))
        .hint("Raise max_replication_slots there, which requires a restart; or drop slots that are not needed.")
    } else {
        Check::pass(
            NAME,
            format!("node \"{name}\" has enough WAL senders and replication slots for all standbys"),
        )
    }
}

/// Returns the statements that make a node the primary in the metadata. A witness belongs to the current primary.
pub fn new_primary(row: &NodeRow, own_schema: bool) -> Vec<Statement> {
    let mut out = vec![
        node::deactivate_other_primaries(row.node_id),
        Statement::new(
            "UPDATE repmgr.nodes SET type = 'primary', active = true, upstream_node_id = NULL WHERE node_id = $1::integer",
        )
        .bind(row.node_id),
        Statement::new("UPDATE repmgr.nodes SET upstream_node_id = $1::integer WHERE type = 'witness'")
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

/// Names the witnesses that cannot be updated now, and how to update them.
pub fn silent_witnesses(cluster: &ClusterFacts) -> Vec<Check> {
    let silent =
        cluster.nodes.iter().filter(|node| node.row.node_type == NodeType::Witness && node.row.active);
    silent
        .filter_map(|node| {
            let name = &node.row.node_name;
            let why = sentence(&node.server.as_ref().err()?.message);
            Some(
                Check::warning("witness_not_told", format!("witness \"{name}\" cannot be updated with the new primary"))
                    .node(node.row.node_id)
                    .detail(format!(
                        "{why} Until it is updated, its copy names the old primary, and \"node guard\" may let that server start."
                    ))
                    .hint(format!("When it is back, run \"pgbaton witness register --force\" on \"{name}\".")),
            )
        })
        .collect()
}

/// Updates the witnesses, each of which has its own copy of the metadata, with all records of the new primary: a witness may have been
/// unreachable the last time, or not know a node that was registered later.
///
/// What is registered as a witness and belongs to the cluster has no copy: there it is the metadata itself.
pub fn update_witnesses(cluster: &ClusterFacts, record: &[Statement]) -> Vec<Step> {
    let has_a_copy = |node: &&NodeFacts| {
        node.facts().is_some_and(|server| {
            !server.in_recovery && Some(server.system_identifier.as_str()) != cluster.system_identifier()
        })
    };
    let rows: Vec<NodeRow> = cluster.nodes.iter().map(|node| node.row.clone()).collect();
    let mut statements = node::replace_all(&rows);
    statements.extend_from_slice(record);
    cluster
        .nodes
        .iter()
        .filter(|node| node.row.node_type == NodeType::Witness)
        .filter(has_a_copy)
        .map(|node| {
            let (id, name) = (node.row.node_id, &node.row.node_name);
            Step::new(
                format!("tell_witness_{id}"),
                format!("update the metadata on witness \"{name}\""),
                Op::Sql { on: endpoint(node), statements: statements.clone() },
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
        says: format!("{} is on a timeline later than {}", on.name, before.timeline),
        on: on.clone(),
        statement: Statement::new(format!(
            "SELECT (('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint > $1::bigint{seen})::text"
        ))
        .bind(before.timeline),
    }
}
