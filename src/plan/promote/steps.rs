//! The steps of a promotion: slots on the new primary, the request for promotion, its record, and the other nodes.

use super::missing_wal::comparable;
use super::{PromoteFacts, is_other_data_node};
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::pg::endpoint::Endpoint;
use crate::pg::statement::Statement;
use crate::plan::keep_down::{AsStandby, KeepDown};
use crate::plan::parts::events;
use crate::plan::parts::following::{
    QUERY_S, STREAMS_S, create_slot_for, drop_slot, follow_by_sql, record_upstream, slot_of, slot_to_make,
    streams, upstream,
};
use crate::plan::parts::hosts::hides_its_role;
use crate::plan::parts::new_primary::{checkpoint, new_primary, on_new_timeline, scope, update_witnesses};
use crate::plan::parts::standby::{ReplayTarget, replays_late};
use crate::plan::register::endpoint;
use crate::plan::{
    FarEnd, FinalCheck, OnFailure, OnResume, Op, Order, Phase, Plan, PlannedFor, Probe, RollbackStep, Step,
    Verify,
};
use crate::registry::schema::PresentMetadata;

/// A promotion that nothing stands against.
pub(super) struct PromoteSteps<'a> {
    pub(super) facts: &'a PromoteFacts,
    pub(super) candidate: &'a NodeFacts,
    pub(super) server: &'a ServerFacts,
    /// The candidate.
    pub(super) on: Endpoint,
    /// The primary according to the metadata.
    pub(super) former: Option<i32>,
    /// The siblings that will follow.
    pub(super) following: Vec<&'a NodeFacts>,
}

impl PromoteSteps<'_> {
    /// Adds all steps to the plan; `kept_slot` is the slot to create for the former primary.
    pub(super) fn add_to(&self, plan: &mut Plan, kept_slot: Option<String>) {
        let (cluster, activity) = (&self.facts.cluster, &self.facts.repmgr_activity);
        plan.notifications.push(events::promotion(&self.candidate.row, true));
        plan.notifications.extend(events::followers(cluster, &self.candidate.row, self.former));
        self.keep_down(plan);
        activity.pause(plan, cluster, Exit::Promotion);
        self.create_slots(plan, kept_slot);
        activity.recheck(plan, cluster, None, Exit::Promotion);
        plan.origin = Some(PlannedFor { scope: scope(cluster, self.server), primary: self.former });
        plan.phases.push(Phase {
            title: "promote".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: true,
            steps: vec![self.promote()],
        });
        // The others follow it even if it cannot be recorded.
        plan.phases.push(Phase {
            title: "record the roles".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Continue,
            outage: true,
            steps: vec![self.record()],
        });
        plan.phases.push(Phase {
            title: "repoint the other standbys, send event notifications".into(),
            order: Order::AllAtOnce,
            on_failure: OnFailure::Continue,
            outage: false,
            steps: self.update_others(),
        });
        plan.verify.push(Verify {
            title: format!("node \"{}\" is on a new timeline", self.name()),
            probe: on_new_timeline(&self.on, self.server),
            timeout_s: QUERY_S,
            after: None,
        });
        plan.verify.extend(self.following.iter().map(|sibling| self.streams_from_it(sibling)));
    }

    fn name(&self) -> &str {
        &self.candidate.row.node_name
    }

    /// Returns the other nodes that may be a primary.
    fn other_data_nodes(&self) -> impl Iterator<Item = &NodeFacts> {
        self.facts.cluster.nodes.iter().filter(move |node| is_other_data_node(node, self.facts.node_id))
    }

    /// Keeps the servers of former primaries from starting as a primary, from the beginning: whatever takes long later, none of them comes back
    /// meanwhile.
    fn keep_down(&self, plan: &mut Plan) {
        let keep = |(host, as_standby): &(FarEnd, AsStandby)| KeepDown {
            host: host.clone(),
            as_standby: as_standby.clone(),
            mark: format!(
                "written by pgbaton for the promotion of node \"{}\", planned {}\n",
                self.name(),
                self.facts.now
            ),
        };
        let kept: Vec<KeepDown> = self.facts.to_keep_down.iter().map(keep).collect();
        if kept.is_empty() {
            return;
        }
        plan.phases.push(Phase {
            title: "keep the old primary down".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: false,
            steps: kept.iter().map(|keep| keep.step(Exit::Promotion)).collect(),
        });
        plan.rollback.extend(kept.iter().map(|keep| keep.back(Exit::Promotion)));
    }

    /// Creates the slots that the siblings and the former primary need.
    fn create_slots(&self, plan: &mut Plan, kept_slot: Option<String>) {
        let mut slots = Vec::new();
        let for_siblings = self.following.iter().filter_map(|sibling| {
            let replayed = sibling.facts().and_then(|server| server.replay_lsn);
            Some((sibling.row.node_id, slot_to_make(&sibling.row, self.candidate)?, replayed))
        });
        // The former primary needs all from the last checkpoint that both have.
        let for_former = self.former.zip(kept_slot).map(|(id, slot)| (id, slot, None));
        for (node_id, slot, replayed) in for_siblings.chain(for_former) {
            let id = format!("create_slot_{node_id}");
            plan.rollback.push(RollbackStep {
                if_started: vec![id.clone()],
                step: drop_slot(format!("drop_slot_{node_id}"), &self.on, &slot),
            });
            slots.push(create_slot_for(id, &self.on, &slot, replayed));
        }
        plan.phases.push(Phase {
            title: "prepare".into(),
            order: Order::AllAtOnce,
            on_failure: OnFailure::Stop,
            outage: false,
            steps: slots,
        });
    }

    /// What is looked at once more in the moment before the promotion.
    fn last_look(&self) -> FinalCheck {
        let cluster = &self.facts.cluster;
        FinalCheck {
            node_id: self.facts.node_id,
            timeline: self.server.timeline,
            others: self
                .other_data_nodes()
                .filter(|node| cluster.other_node_of_server(node).is_none())
                .map(|node| (node.row.node_id, endpoint(node)))
                .collect(),
            relock: true,
            behind: comparable(self.facts, self.server),
        }
    }

    /// Requests the promotion: the point of no return.
    fn promote(&self) -> Step {
        let (facts, on, look) = (self.facts, &self.on, self.last_look());
        let mut promote = Step::new(
            "promote",
            format!("promote node \"{}\"", self.name()),
            Op::Promote { on: on.clone(), command: facts.command.clone(), look: Some(look.clone()) },
            facts.timeout_s,
            Exit::Promotion,
        )
        .on_resume(OnResume::AgainUnless(Probe::Accepts { on: on.clone(), in_recovery: Some(false) }))
        .requires_here(Probe::Unchallenged { look })
        .no_return();
        // A resumed operation may be hours old, and a dead primary may have returned.
        // A server that responds and never reports its role has been judged by other evidence, and will not report more by then.
        for other in self.other_data_nodes().filter(|node| !hides_its_role(node)) {
            promote = promote.requires(Probe::NoPrimary { on: endpoint(other) });
        }
        promote
    }

    /// Registers the new primary.
    fn record(&self) -> Step {
        let name = self.name();
        let install = self.facts.metadata.as_ref().and_then(PresentMetadata::own_schema_statements);
        let title = match install.as_ref().is_some_and(|install| !install.is_empty()) {
            true => format!("prepare schema pgbaton, and register node \"{name}\" as the primary"),
            false => format!("register node \"{name}\" as the primary"),
        };
        let op = Op::Sql { on: self.on.clone(), statements: self.record_statements(install) };
        Step::new("record", title, op, QUERY_S, Exit::Query)
            .hint(format!("Run \"pgbaton primary register --force\" on \"{name}\", which registers it."))
    }

    /// Returns what records the new roles; `install` prepares schema pgbaton before, and is None where there is none.
    fn record_statements(&self, install: Option<Vec<Statement>>) -> Vec<Statement> {
        let own_schema = install.is_some();
        let mut statements = install.unwrap_or_default();
        statements.extend(new_primary(&self.candidate.row, own_schema));
        let following = self.following.iter();
        statements.extend(following.map(|sibling| record_upstream(sibling.row.node_id, self.facts.node_id)));
        statements
    }

    /// Points the siblings at the new primary, and updates what the witnesses and others know.
    fn update_others(&self) -> Vec<Step> {
        let (row, version) = (&self.candidate.row, self.server.version_num);
        let follow = |sibling: &&NodeFacts| {
            let slot = slot_of(&sibling.row);
            follow_by_sql(sibling, upstream(row, &sibling.row, version, slot))
        };
        let mut steps: Vec<Step> = self.following.iter().map(follow).collect();
        steps.push(events::at_once(&self.on, row));
        steps.extend(checkpoint(self.facts.roles.get(&self.facts.node_id), &self.on));
        steps.extend(update_witnesses(&self.facts.cluster, &self.record_statements(None)));
        steps
    }

    /// Verifies that a sibling streams from the new primary.
    fn streams_from_it(&self, sibling: &NodeFacts) -> Verify {
        let settings = |id: i32| self.facts.roles.get(&id).map(|role| &role.settings);
        let (here, there) = (settings(sibling.row.node_id), settings(self.facts.node_id));
        let pauses = here.zip(there).is_some_and(|(here, there)| !here.lower_than(there).is_empty());
        let past = ReplayTarget { at: None, flushed: pauses || sibling.facts().is_some_and(replays_late) };
        Verify {
            title: format!("node \"{}\" streams from \"{}\"", sibling.row.node_name, self.name()),
            probe: streams(&self.on, self.server.version_num, &sibling.row.node_name, Some(past)),
            timeout_s: STREAMS_S,
            after: Some(format!("follow_{}", sibling.row.node_id)),
        }
    }
}
