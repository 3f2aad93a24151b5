//! The steps that point a standby at another node, and their rollback.

use std::path::{Path, PathBuf};

use super::FollowFacts;
use super::checks::sender_and_slot_capacity;
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::role::RoleFacts;
use crate::facts::server::ServerFacts;
use crate::facts::slots;
use crate::pg::endpoint::{Endpoint, Upstream};
use crate::pg::history::parse_history;
use crate::pg::statement::Statement;
use crate::plan::parts::following::{
    QUERY_S, create_slot, drop_slot, drop_stale, record_upstream, slot_of, streams, upstream,
};
use crate::plan::parts::standby::{AUTO_CONF, ReplayTarget, replays_late};
use crate::plan::register::{drop_inactive_slot, endpoint};
use crate::plan::{
    Check, FileOp, OnFailure, Op, Order, Phase, Plan, Probe, RollbackStep, SignalRequest, Standby, Step,
};
use crate::registry::{NodeRow, NodeType, node};

/// Seconds within which a WAL receiver releases a slot after it was repointed.
const FREE_S: u32 = 15;

/// A standby, and the node that it is to follow.
pub(super) struct FollowSteps<'a> {
    pub(super) facts: &'a FollowFacts,
    pub(super) local: &'a NodeFacts,
    pub(super) server: &'a ServerFacts,
    pub(super) target: &'a NodeFacts,
    pub(super) there: &'a ServerFacts,
    /// The slot that the standby will use.
    pub(super) slot: Option<String>,
}

impl FollowSteps<'_> {
    fn name(&self) -> &str {
        &self.local.row.node_name
    }

    /// It streams from the target already.
    fn follows(&self) -> bool {
        self.there.sender_of(self.name()).is_some()
    }

    /// Returns the slot that its WAL receiver uses.
    fn received_slot(&self) -> Option<&str> {
        self.server.receiver.as_ref().and_then(|receiver| receiver.slot_name.as_deref())
    }

    /// Checks that the target has room for it.
    pub(super) fn capacity(&self) -> Vec<Check> {
        let (received, slot) = (self.received_slot(), self.slot.as_deref());
        let connected = self.there.is_connected_to(self.name());
        // Under another name it may be its own receiver that has the slot.
        let has_slot = self.follows() || (!connected && received.is_some() && received == slot);
        sender_and_slot_capacity(
            self.there,
            &self.target.row.node_name,
            slot,
            connected || has_slot,
            has_slot,
        )
    }

    /// It streams from the target as it is to, and is recorded so.
    pub(super) fn is_done(&self) -> bool {
        let row = &self.local.row;
        let recorded = row.upstream_node_id == Some(self.facts.target_id)
            && row.node_type == NodeType::Standby
            && row.active
            && slot_of(row) == self.slot;
        let uses_slot = self.received_slot().unwrap_or_default() == self.slot.as_deref().unwrap_or_default();
        self.follows() && uses_slot && recorded
    }

    /// Adds all steps to the plan.
    pub(super) fn add_to(&self, plan: &mut Plan) {
        let (facts, local, target) = (self.facts, self.local, self.target);
        let (name, target_name) = (self.name(), &target.row.node_name);
        let wanted = upstream(&target.row, &local.row, self.server.version_num, self.slot.clone());
        let follow = lead(facts, local, &wanted);
        self.restore(plan, follow.iter().map(|step| step.id.clone()).collect());
        let mut steps: Vec<Step> = self.create_slot(plan).into_iter().collect();
        let keep = format!("keep a copy of the settings of node \"{name}\"");
        steps.push(self.copy_settings("keep_settings", keep, &facts.data_directory, &facts.kept));
        plan.always.push(Step::new(
            "forget_settings",
            format!("remove the copy of the settings of node \"{name}\""),
            Op::File(FileOp::RemoveDirectory { path: facts.kept.clone() }),
            QUERY_S,
            Exit::Follow,
        ));
        steps.extend(follow);
        let past = past_switch(self.server, self.there);
        steps.push(
            Step::new(
                "wait_until_it_streams",
                format!("wait until node \"{name}\" streams from \"{target_name}\""),
                Op::Wait(streams(&endpoint(target), self.there.version_num, name, past)),
                facts.timeout_s,
                Exit::Follow,
            )
            .hint(format!(
                "See the server log of \"{name}\" for why it cannot stream. To see whether it has diverged, run on it: pgbaton \
                node rejoin --dry-run"
            )),
        );
        let records = records(facts, local, self.slot.clone());
        plan.phases.push(phase(format!("follow \"{target_name}\""), OnFailure::Stop, steps));
        plan.phases.push(phase("update the metadata".into(), OnFailure::Continue, records));
    }

    /// Adds the rollback: the slot on the old upstream, the settings and the record are restored. `followed` are the steps that point the
    /// standby at its target.
    fn restore(&self, plan: &mut Plan, followed: Vec<String>) {
        let (facts, local) = (self.facts, self.local);
        let mut back =
            |if_started: Vec<String>, step: Step| plan.rollback.push(RollbackStep { if_started, step });
        for holder in slot_holders(facts, local) {
            let (id, slot) = (holder.row.node_id, slot_of(&local.row).unwrap_or_default());
            let again = create_slot(format!("make_old_slot_{id}"), &endpoint(holder), &slot);
            back(vec![dropped(holder)], again);
        }
        // Whole: what it had is not to be worked out again, and where it stood.
        let before = facts.cluster.upstream_of(&local.row).filter(|id| *id != facts.target_id);
        let title = match before.and_then(|id| facts.cluster.node(id)) {
            Some(before) => {
                format!("point node \"{}\" at node \"{}\" again", self.name(), before.row.node_name)
            }
            None => format!("restore the settings of node \"{}\"", self.name()),
        };
        back(
            followed.clone(),
            self.copy_settings("put_settings_back", title, &facts.kept, &facts.data_directory),
        );
        back(followed, reload(facts, local, "_back"));
        if let Some((primary, _)) = facts.cluster.primaries().next() {
            let title = format!("restore the record of node \"{}\"", self.name());
            let op = Op::Sql { on: endpoint(primary), statements: vec![old_record(&local.row)] };
            back(vec!["record".into()], Step::new("record_back", title, op, QUERY_S, Exit::Query));
        }
    }

    fn copy_settings(&self, id: &str, title: String, from: &Path, to: &Path) -> Step {
        let op =
            Op::File(FileOp::CopyFiles { from: from.into(), to: to.into(), files: vec![AUTO_CONF.into()] });
        Step::new(id, title, op, QUERY_S, Exit::Follow)
    }

    /// Creates its slot on the target, if that has none; the rollback drops it.
    fn create_slot(&self, plan: &mut Plan) -> Option<Step> {
        let on = endpoint(self.target);
        let slot = self.slot.as_deref().filter(|slot| self.there.slot(slot).is_none())?;
        // Only when its receiver has released it: a slot in use would be left without notice.
        let free = Step::new(
            "wait_until_slot_is_free",
            format!("wait until slot \"{slot}\" on {} is not in use", on.name),
            Op::Wait(slot_is_free(&on, slot)),
            FREE_S,
            Exit::Query,
        );
        for step in [free, drop_slot("drop_new_slot", &on, slot)] {
            plan.rollback.push(RollbackStep { if_started: vec!["create_slot".into()], step });
        }
        Some(create_slot("create_slot", &on, slot))
    }
}

fn phase(title: String, on_failure: OnFailure, steps: Vec<Step>) -> Phase {
    Phase { title, order: Order::InOrder, on_failure, outage: false, steps }
}

/// Drops the slots that others used while they streamed from this node: an old primary that came back still has them.
pub(super) fn stale_slots(facts: &FollowFacts, local: &NodeFacts) -> Option<Phase> {
    let on = endpoint(local);
    let stale = slots::stale(&facts.cluster, facts.node_id, facts.target_id);
    let steps = stale.iter().map(|slot| drop_stale(&on, &local.row.node_name, slot, Exit::Query)).collect();
    (!stale.is_empty())
        .then(|| phase("drop replication slots that are no longer needed".into(), OnFailure::Continue, steps))
}

/// How far it must have come to stream for good: past the switch to a timeline that it is not on yet.
fn past_switch(server: &ServerFacts, there: &ServerFacts) -> Option<ReplayTarget> {
    let history = there.lineage.as_ref()?.history.as_deref()?;
    let switches = parse_history(history).ok()?;
    let switch = switches.iter().find(|switch| switch.timeline >= server.timeline)?;
    Some(ReplayTarget { at: Some(switch.switch), flushed: replays_late(server) })
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
        Op::Signal { data_directory, request: SignalRequest::Reload },
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
