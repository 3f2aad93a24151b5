//! The replication slot of the clone on its upstream.

use super::{CloneFacts, CloneOptions, SHORT_S, is_taken_over};
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::pg::statement::Statement;
use crate::plan::register::{drop_inactive_slot, endpoint};
use crate::plan::{Op, Probe, RollbackStep, Step};
use crate::registry::node;

/// Seconds in which a slot must be free whose user was ended: a little more than the default of `wal_sender_timeout`.
const SLOT_S: u32 = 75;

/// Creates the slot; the rollback drops it if it did not exist before.
pub(super) fn slot_steps(
    slot: &str,
    facts: &CloneFacts,
    options: &CloneOptions,
    upstream: Option<&NodeFacts>,
) -> (Vec<Step>, Vec<RollbackStep>) {
    let on =
        options.slot_on.clone().unwrap_or_else(|| upstream.map_or_else(|| options.source.clone(), endpoint));
    let present = slot_server(facts, upstream).and_then(|server| server.slot(slot));
    // One that was created in advance retains nothing until the first connection. Only creating it again changes that.
    let keeps_nothing = present.is_some_and(|slot| slot.restart_lsn.is_none() || slot.is_lost());
    // A killed clone has left it: it is ours, and nothing else needs it.
    let left = is_taken_over(facts);
    let create = |reserve: bool| {
        Statement::new(
            "SELECT pg_create_physical_replication_slot($1, $2::boolean)::text WHERE NOT EXISTS \
             (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
        )
        .bind(slot)
        .bind(reserve)
    };
    let title = match present {
        None => format!("create slot \"{slot}\" on {}", on.name),
        Some(_) if keeps_nothing => format!("make the unused slot \"{slot}\" on {} retain WAL", on.name),
        Some(_) => format!("keep the unused slot \"{slot}\" on {}", on.name),
    };
    let mut statements = Vec::new();
    if keeps_nothing {
        statements.push(
            Statement::new(
                "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots \
                 WHERE slot_name = $1 AND NOT active AND slot_type = 'physical' \
                 AND (restart_lsn IS NULL OR wal_status = 'lost')",
            )
            .bind(slot),
        );
    }
    // Reserved at once, as the server may be started hours from now.
    statements.push(create(true));
    let op = Op::Sql { on: on.clone(), statements };
    let step = Step::new("create_slot", title, op, SHORT_S, Exit::Query).uninterruptible();
    let free = |id: &str| {
        let probe = Probe::Sql {
            says: format!("slot \"{slot}\" on {} is not in use", on.name),
            on: on.clone(),
            statement: Statement::new(
                "SELECT (count(*) = 0)::text FROM pg_replication_slots WHERE slot_name = $1 AND active",
            )
            .bind(slot),
        };
        let title = format!("wait until slot \"{slot}\" on {} is not in use", on.name);
        Step::new(id, title, Op::Wait(probe), SLOT_S, Exit::Query)
    };
    let mut back = Vec::new();
    let undo = match present {
        Some(_) if keeps_nothing && !left => Some((
            "release_slot",
            format!("make slot \"{slot}\" on {} retain nothing again", on.name),
            vec![drop_inactive_slot(slot), create(false)],
        )),
        Some(_) if !left => None,
        _ => Some((
            "drop_slot",
            format!("drop slot \"{slot}\" on {}", on.name),
            vec![drop_inactive_slot(slot)],
        )),
    };
    if let Some((id, title, statements)) = undo {
        let op = Op::Sql { on: on.clone(), statements };
        for step in [free("wait_for_slot_again"), Step::new(id, title, op, SHORT_S, Exit::Query)] {
            back.push(RollbackStep { if_started: vec!["create_slot".into()], step });
        }
    }
    let mut steps = vec![step];
    if left && present.is_some_and(|slot| slot.active) {
        steps.insert(0, free("wait_for_slot"));
    }
    (steps, back)
}

/// Returns what the server says on which the slot is made.
pub(super) fn slot_server<'a>(
    facts: &'a CloneFacts,
    upstream: Option<&'a NodeFacts>,
) -> Option<&'a ServerFacts> {
    match (upstream, facts.upstream_id) {
        (Some(node), _) => node.facts(),
        (None, None) => Some(&facts.source),
        (None, Some(_)) => None,
    }
}

/// Updates the slot in an existing record of this node.
pub(super) fn record_slot(facts: &CloneFacts, options: &CloneOptions, slot: Option<&str>) -> Option<Step> {
    let own = facts.cluster.node(options.node_id)?;
    let (primary, _) = facts.cluster.primaries().next()?;
    if own.row.slot_name.as_deref() == slot {
        return None;
    }
    Some(Step::new(
        "record_slot",
        format!("record the slot of node \"{}\"", options.node_name),
        Op::Sql { on: endpoint(primary), statements: vec![node::set_slot_name(options.node_id, slot)] },
        SHORT_S,
        Exit::Query,
    ))
}
