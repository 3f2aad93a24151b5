//! Parts of plans in which a node follows another one. Pure.

use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::role::RoleFacts;
use crate::facts::server::{Slot, shown_application_name};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::{Endpoint, Upstream};
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;
use crate::plan::parts::standby::ReplayTarget;
use crate::plan::{Check, Op, Probe, Standby, Step};
use crate::registry::{NodeRow, node};

/// Seconds that one statement may take.
pub const QUERY_S: u32 = 60;

/// Seconds in which a repointed standby streams: a failed attempt is repeated after `wal_retrieve_retry_interval`, 5 s by default.
pub const STREAMS_S: u32 = 30;

/// Creates a slot, or keeps an unused one; one that has lost its WAL is created again. It retains WAL from now on: otherwise it would
/// retain nothing until the first connection.
pub fn create_slot(id: impl Into<String>, on: &Endpoint, slot: &str) -> Step {
    Step::new(
        id,
        format!("create slot \"{slot}\" on {}", on.name),
        Op::Sql {
            on: on.clone(),
            statements: vec![
                Statement::new(
                    "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots \
                     WHERE slot_name = $1 AND NOT active AND slot_type = 'physical' AND wal_status = 'lost'",
                )
                .bind(slot),
                Statement::new(
                    "SELECT pg_create_physical_replication_slot($1, true)::text WHERE NOT EXISTS \
                     (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
                )
                .bind(slot),
            ],
        },
        QUERY_S,
        Exit::Query,
    )
    // Once sent, the server executes it, and a rollback that came first would drop nothing.
    .uninterruptible()
}

/// Does the same for a standby that has replayed so far. On a standby, a slot keeps WAL from its last restartpoint on, and where that is
/// more than max_slot_wal_keep_size, the next checkpoint would make it lost: so it is advanced to what the standby needs.
pub fn create_slot_for(id: impl Into<String>, on: &Endpoint, slot: &str, replayed: Option<Lsn>) -> Step {
    let mut step = create_slot(id, on, slot);
    if let (Op::Sql { statements, .. }, Some(replayed)) = (&mut step.op, replayed) {
        statements.push(
            Statement::new(
                "SELECT pg_replication_slot_advance(slot_name, $2::pg_lsn)::text FROM pg_replication_slots \
                 WHERE slot_name = $1 AND NOT active AND slot_type = 'physical' AND restart_lsn < $2::pg_lsn",
            )
            .bind(slot)
            .bind(replayed),
        );
    }
    step
}

/// Drops an unused slot.
pub fn drop_slot(id: impl Into<String>, on: &Endpoint, slot: &str) -> Step {
    Step::new(
        id,
        format!("drop slot \"{slot}\" on {}", on.name),
        Op::Sql { on: on.clone(), statements: vec![crate::plan::register::drop_inactive_slot(slot)] },
        QUERY_S,
        Exit::Query,
    )
}

/// Drops a slot that a standby has kept from its time as an upstream. Slots of others are left alone.
pub fn drop_stale(on: &Endpoint, node_name: &str, slot: &str, exit: Exit) -> Step {
    Step::new(
        format!("drop_{slot}"),
        format!("drop slot \"{slot}\" on node \"{node_name}\", which is no longer used"),
        Op::Sql { on: on.clone(), statements: vec![crate::plan::register::drop_inactive_slot(slot)] },
        QUERY_S,
        exit,
    )
}

/// A node streams from a server, and has replayed what makes it a standby of it; without `past`, what it has replayed does not matter.
///
/// A standby that has diverged connects again and again, is "streaming" for a moment each time, and reports WAL of its own that lies further.
/// But the server never sends it anything beyond the point where the histories part: `sent_lsn` has to be past it, too.
///
/// If our role lacks the privilege to see the state of the connection, the connection is all there is to see.
pub fn streams(upstream: &Endpoint, version_num: u32, node_name: &str, past: Option<ReplayTarget>) -> Probe {
    let come = match past {
        None => String::new(),
        Some(ReplayTarget { at, flushed }) => {
            let column = if flushed { "flush_lsn" } else { "replay_lsn" };
            match at {
                Some(at) => format!(" AND least(sent_lsn, {column}) > '{at}'::pg_lsn"),
                None => format!(
                    " AND least(sent_lsn, {column}) >= (SELECT redo_lsn FROM pg_control_checkpoint())"
                ),
            }
        }
    };
    Probe::Sql {
        says: format!("node \"{node_name}\" streams from {}", upstream.name),
        on: upstream.clone(),
        statement: Statement::new(format!(
            "SELECT (count(*) > 0)::text FROM pg_stat_replication \
             WHERE application_name = $1 AND coalesce(state = 'streaming'{come}, state IS NULL)"
        ))
        .bind(shown_application_name(node_name, version_num)),
    }
}

/// Describes an upstream for a node that follows it: its address, and how a node connects that has never followed another one.
///
/// `slot` is the slot on the upstream, None for none.
pub fn upstream(of: &NodeRow, follower: &NodeRow, version_num: u32, slot: Option<String>) -> Upstream {
    let mut conninfo =
        Conninfo::parse(&of.conninfo).map(|parsed| parsed.without_secrets()).unwrap_or_default();
    // A row must not set these for the sessions of a WAL receiver.
    for keyword in ["replication", "fallback_application_name", "target_session_attrs", "options"] {
        conninfo.remove(keyword);
    }
    // Needed from PostgreSQL 17 on for slots that are kept in step with the primary's; ignored before.
    if version_num < 170_000 {
        conninfo.remove("dbname");
    }
    conninfo.set("user", &of.repluser);
    conninfo.set("application_name", &follower.node_name);
    Upstream {
        name: format!("node \"{}\"", of.node_name),
        conninfo: conninfo.to_string(),
        password: None,
        slot,
    }
}

/// Returns the slot that a node uses on its upstream; None if it uses none.
pub fn slot_of(row: &NodeRow) -> Option<String> {
    row.slot_name.clone().filter(|name| !name.is_empty())
}

/// Repoints a running standby by SQL.
pub fn follow_by_sql(follower: &NodeFacts, upstream: Upstream) -> Step {
    let row = &follower.row;
    Step::new(
        format!("follow_{}", row.node_id),
        format!("point node \"{}\" at {}", row.node_name, upstream.name),
        Op::Follow { standby: Standby::Running(crate::plan::register::endpoint(follower)), upstream },
        QUERY_S,
        Exit::Follow,
    )
    .uninterruptible()
    .hint(format!("When it is reachable, run \"pgbaton standby follow\" on node \"{}\".", row.node_name))
}

/// Checks that our role can repoint a running standby by SQL.
pub fn can_follow(row: &NodeRow, version_num: u32, role: Option<&RoleFacts>) -> Check {
    const NAME: &str = "follow_rights";
    let name = &row.node_name;
    let Some(role) = role else {
        return Check::fail(NAME, format!("could not query the privileges of the role on node \"{name}\""))
            .node(row.node_id);
    };
    if role.can_follow_by_sql() {
        return Check::pass(
            NAME,
            format!("the role has the privileges to change the upstream of node \"{name}\""),
        )
        .node(row.node_id);
    }
    let check = Check::fail(
        NAME,
        format!(
            "role \"{}\" lacks the privileges to change the upstream of node \"{name}\" by SQL",
            role.role
        ),
    )
    .node(row.node_id);
    match role.grants_to_follow(version_num) {
        Some(grants) => check.hint(format!("As a superuser, run on the primary: {}", grants.join(" "))),
        None if !role.alter_system_allowed => {
            check.detail("allow_alter_system is off there, so only its configuration files can be changed.")
        }
        None => check.detail("Up to PostgreSQL 14 only a superuser can run ALTER SYSTEM."),
    }
}

/// Returns the slot that a follower needs on its new upstream, where it has to be made; None where it uses none.
pub fn slot_to_make(follower: &NodeRow, upstream: &NodeFacts) -> Option<String> {
    let slot = slot_of(follower)?;
    let there = upstream.facts().and_then(|server| server.slot(&slot));
    there.is_none_or(Slot::is_lost).then_some(slot)
}

/// Returns the statements that record a node's upstream.
pub fn record_upstream(node_id: i32, upstream_id: i32) -> Statement {
    Statement::new(
        "UPDATE repmgr.nodes SET type = 'standby', active = true, upstream_node_id = $2::integer \
         WHERE node_id = $1::integer",
    )
    .bind(node_id)
    .bind(upstream_id)
}

/// Returns the default name of a node's slot.
pub fn default_slot(row: &NodeRow) -> String {
    slot_of(row).unwrap_or_else(|| node::slot_name(row.node_id))
}
