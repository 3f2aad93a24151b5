//! The steps of a switchover, the rollback, and what must hold at its end.

use std::path::PathBuf;

use super::{OldPrimaryHost, SwitchoverFacts};
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::facts::server::ServerFacts;
use crate::facts::settings::UPSTREAM;
use crate::pg::endpoint::Endpoint;
use crate::pg::statement::Statement;
use crate::plan::parts::following::{
    QUERY_S, create_slot, default_slot, drop_slot, follow_by_sql, record_upstream, slot_of, streams, upstream,
};
use crate::plan::parts::new_primary::{checkpoint, new_primary, on_new_timeline, update_witnesses};
use crate::plan::parts::standby::{self, FutureStandby, ReplayTarget, replays_late};
use crate::plan::parts::{announce, events, logical};
use crate::plan::register::endpoint;
use crate::plan::{
    Check, FinalCheck, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, RollbackStep, RollbackSuccess,
    SignalRequest, Standby, Step, Verify,
};
use crate::registry::{NodeType, node};

/// Seconds that a checkpoint before the stop may take; clients write meanwhile.
const CHECKPOINT_S: u32 = 1800;

/// The pieces that the steps are made of.
pub(super) struct SwitchoverSteps<'a> {
    pub(super) facts: &'a SwitchoverFacts,
    pub(super) host: &'a OldPrimaryHost,
    pub(super) future: FutureStandby<'a>,
    pub(super) candidate: &'a NodeFacts,
    pub(super) server: &'a ServerFacts,
    pub(super) primary: &'a NodeFacts,
    pub(super) old: &'a ServerFacts,
    pub(super) following: &'a [&'a NodeFacts],
    pub(super) on: Endpoint,
    pub(super) was: Endpoint,
    /// The record of the operation on the old primary.
    pub(super) announces: Option<Step>,
}

impl SwitchoverSteps<'_> {
    pub(super) fn steps(&self, plan: &mut Plan) {
        let repmgr_activity = &self.facts.repmgr_activity;
        self.announce(plan);
        repmgr_activity.pause(plan, &self.facts.cluster, Exit::Switchover);
        self.prepare(plan);
        repmgr_activity.recheck(plan, &self.facts.cluster, Some(self.primary), Exit::Switchover);
        self.standby_on_disk(plan);
        self.change(plan);
        self.after(plan);
        self.add_rollback(plan);
        plan.verify.extend(self.expectations());
    }

    /// Before the first effect: a standby that is cut off later knows what was going on.
    fn announce(&self, plan: &mut Plan) {
        let Some(mut record) = self.announces.clone() else { return };
        record.exit = Exit::Switchover;
        let mut steps = vec![record];
        let role = self.facts.roles.get(&self.facts.candidate);
        // One that replays later on purpose is not waited for.
        let replays =
            role.is_none_or(|role| role.apply_delay_ms == 0) && self.server.replay_paused != Some(true);
        if replays {
            let mut received =
                announce::received(&self.on, self.facts.bounds.receive_s).gives_up_if(no_answer(&self.on));
            received.exit = Exit::Switchover;
            steps.push(received);
        }
        plan.phases.push(phase("record the operation", Order::InOrder, OnFailure::Stop, false, steps));
    }

    /// The metadata have a place for the promotion.
    fn has_own_schema(&self) -> bool {
        self.facts.metadata.as_ref().is_some_and(|present| present.own)
            || matches!(&self.announces, Some(Step { op: Op::Announce { prepare, .. }, .. }) if !prepare.is_empty())
    }

    fn from(&self) -> &str {
        &self.primary.row.node_name
    }

    fn to(&self) -> &str {
        &self.candidate.row.node_name
    }

    /// A step of which a failure ends in the old state.
    fn step(&self, id: impl Into<String>, title: String, op: Op, timeout_s: u32) -> Step {
        Step::new(id, title, op, timeout_s, Exit::Switchover)
    }

    /// The same on the old primary's host.
    fn on_old_primary(&self, id: impl Into<String>, title: String, op: Op, timeout_s: u32) -> Step {
        self.step(id, title, op, timeout_s).at(self.facts.primary)
    }

    fn at_primary(&self, probe: Probe) -> Probe {
        Probe::At { node_id: self.facts.primary, probe: Box::new(probe) }
    }

    /// What must not hold on the other standbys when the candidate is promoted, or the old primary is brought back.
    fn final_check(&self) -> FinalCheck {
        let ends = [self.facts.candidate, self.facts.primary];
        let cluster = &self.facts.cluster;
        let others = cluster.nodes.iter().filter(|node| {
            !ends.contains(&node.row.node_id)
                && node.row.node_type != NodeType::Witness
                && cluster.other_node_of_server(node).is_none()
        });
        FinalCheck {
            node_id: self.facts.candidate,
            timeline: self.server.timeline,
            others: others.map(|node| (node.row.node_id, endpoint(node))).collect(),
            relock: false,
            // The last WAL of the old primary is waited for, and no standby has more.
            behind: Vec::new(),
        }
    }

    /// What the coordinator must see before it brings the old primary back: it alone knows whether the candidate was asked to become one.
    fn may_go_back(&self, step: Step) -> Step {
        let data_directory = self.facts.candidate_data.clone();
        step.requires_here(Probe::StaysStandby { on: self.on.clone(), data_directory })
            .requires_here(Probe::Unchallenged { look: self.final_check() })
    }

    fn standby_signal(&self) -> PathBuf {
        self.host.data_directory.join(STANDBY_SIGNAL)
    }

    /// The slot that the old primary will use: as a primary it never needed one, but it is recorded with one, or the candidate uses one.
    fn own_slot(&self) -> Option<String> {
        let uses = slot_of(&self.primary.row).or_else(|| slot_of(&self.candidate.row)).is_some();
        uses.then(|| default_slot(&self.primary.row))
    }

    fn slot_there(&self, node: &NodeFacts) -> Option<String> {
        let slot = if node.row.node_id == self.facts.primary { self.own_slot() } else { slot_of(&node.row) };
        slot.filter(|slot| self.server.slot(slot).is_none())
    }

    /// Everything that can be done while clients still write.
    fn prepare(&self, plan: &mut Plan) {
        let mut checkpoints = Vec::new();
        let may = |id: &i32| self.facts.roles.get(id).is_some_and(|role| role.may_checkpoint);
        let write = |id: &str, what: &str, on: &Endpoint| {
            let title = format!("write a {what} on {}", on.name);
            let op = Op::Sql { on: on.clone(), statements: vec![Statement::new("CHECKPOINT")] };
            self.step(id, title, op, CHECKPOINT_S)
        };
        if may(&self.facts.primary) {
            // The first writes what has gathered, the second what has gathered meanwhile: the one of the stop has little left to do.
            checkpoints.push(write("checkpoint_1", "checkpoint", &self.was));
            checkpoints.push(write("checkpoint_2", "second checkpoint", &self.was));
        } else {
            plan.checks.push(
                Check::warning(
                    "checkpoint",
                    format!("the role lacks the privilege to write a checkpoint on \"{}\"", self.from()),
                )
                .detail("The shutdown checkpoint then has more to write while clients cannot write.")
                .hint("From PostgreSQL 15 on a superuser can GRANT pg_checkpoint to the role."),
            );
        }
        if may(&self.facts.candidate) {
            checkpoints.push(write("restartpoint", "restartpoint", &self.on));
        }
        plan.phases.push(phase("write checkpoints", Order::InOrder, OnFailure::Stop, false, checkpoints));
        // After the restartpoint: a slot made before it would keep WAL from the last one on, and where that is more than
        // max_slot_wal_keep_size, be lost by this one.
        let mut slots = Vec::new();
        for node in self.following.iter().copied().chain([self.primary]) {
            if let Some(slot) = self.slot_there(node) {
                slots.push(create_slot(format!("create_slot_{}", node.row.node_id), &self.on, &slot));
            }
        }
        for step in &mut slots {
            step.exit = Exit::Switchover;
        }
        plan.phases.push(phase("create replication slots", Order::AllAtOnce, OnFailure::Stop, false, slots));
    }

    /// The last thing while clients still write: from here on every start makes the old primary a standby.
    fn standby_on_disk(&self, plan: &mut Plan) {
        let standby = Standby::Files {
            data_directory: self.host.data_directory.clone(),
            postgres: self.host.postgres.clone(),
            config_directory: self.host.config_directory.clone(),
        };
        let wanted =
            upstream(&self.candidate.row, &self.primary.row, self.server.version_num, self.own_slot());
        let signal = self.future.signal();
        plan.phases.push(phase(
            &format!("configure \"{}\" as a standby for its next start", self.from()),
            Order::InOrder,
            OnFailure::Stop,
            false,
            vec![
                self.on_old_primary(
                    "write_upstream",
                    format!("point \"{}\" at \"{}\" for its next start", self.from(), self.to()),
                    Op::Follow { standby, upstream: wanted },
                    QUERY_S,
                ),
                self.on_old_primary(
                    "write_signal",
                    format!("write standby.signal into the data directory of \"{}\"", self.from()),
                    signal,
                    QUERY_S,
                ),
            ],
        ));
    }

    /// The outage.
    fn change(&self, plan: &mut Plan) {
        let data_directory = self.host.data_directory.clone();
        let stop = match &self.host.stop {
            Some(command) => Op::Spawn(command.clone()),
            None => {
                Op::Signal { data_directory: data_directory.clone(), request: SignalRequest::FastShutdown }
            }
        };
        let is_down = Probe::ShutDown { data_directory: data_directory.clone() };
        let is_standby = self.at_primary(Probe::Exists { path: self.standby_signal() });
        // It was started again, by hand or by a supervisor: as a standby, which cannot be waited for.
        let is_back =
            self.at_primary(Probe::Runs { data_directory: data_directory.clone(), in_recovery: true });
        // What was seen before the stop becomes outdated while it is waited for.
        let over = vec![Probe::Challenged { look: self.final_check() }, is_back, no_answer(&self.on)];
        // It did not end by a clean shutdown, and has no last WAL to be waited for.
        let ended = lasts(self.at_primary(Probe::Stopped { data_directory: data_directory.clone() }));
        let is_over = Probe::Any(over.iter().cloned().chain([ended]).collect());
        // Its receiver ends with the old primary, when it has all; while that one is still on its way down, this means nothing.
        let cut_off = lasts(no_receiver(&self.on));
        let will_not_have_all = Probe::Any(over.into_iter().chain([cut_off]).collect());
        let has_all = Probe::HasAll {
            on: self.on.clone(),
            node_id: Some(self.facts.primary),
            data_directory: data_directory.clone(),
        };
        let mut promote = self
            .step(
                "promote",
                format!("promote \"{}\"", self.to()),
                Op::Promote {
                    on: self.on.clone(),
                    command: self.facts.command.clone(),
                    look: Some(self.final_check()),
                },
                self.facts.bounds.promote_s,
            )
            .on_resume(OnResume::AgainUnless(Probe::Accepts {
                on: self.on.clone(),
                in_recovery: Some(false),
            }))
            .requires(self.at_primary(Probe::StaysDown { data_directory: data_directory.clone() }))
            .requires_here(Probe::Unchallenged { look: self.final_check() })
            .requires_on_resume(has_all.clone())
            .no_return();
        promote.exit = Exit::Promotion;
        for other in &self.facts.cluster.nodes {
            if other.row.node_id != self.facts.candidate && other.row.node_type != NodeType::Witness {
                promote = promote.requires_on_resume(Probe::NoPrimary { on: endpoint(other) });
            }
        }
        let statements = self.record(self.has_own_schema());
        plan.phases.push(phase(
            "change roles",
            Order::InOrder,
            OnFailure::Stop,
            true,
            vec![
                self.on_old_primary("stop", format!("stop \"{}\"", self.from()), stop, QUERY_S)
                    .requires(is_standby.clone()),
                // A far end that was left alone has gone back, and what a resumed run would wait for does not come.
                self.step(
                    "wait_until_down",
                    format!("wait until \"{}\" has written its shutdown checkpoint", self.from()),
                    Op::Wait(self.at_primary(is_down)),
                    self.facts.bounds.shutdown_s,
                )
                .requires_on_resume(is_standby.clone())
                .gives_up_if(is_over),
                self.step(
                    "wait_until_received",
                    format!("wait until \"{}\" has received all WAL", self.to()),
                    Op::Wait(has_all),
                    self.facts.bounds.receive_s,
                )
                .requires_on_resume(is_standby)
                .gives_up_if(will_not_have_all)
                .hint(format!(
                    "See the server log of \"{}\" for why it does not receive WAL. It is waited for as long as \
                    wal_receive_check_timeout says.",
                    self.to()
                )),
                promote,
            ],
        ));
        let record = Step::new(
            "record",
            format!("register \"{}\" as the primary", self.to()),
            Op::Sql { on: self.on.clone(), statements },
            QUERY_S,
            Exit::Query,
        )
        .hint(format!("Run \"pgbaton primary register --force\" on \"{}\", which registers it.", self.to()));
        // The others follow the new primary even if it cannot be recorded.
        plan.phases.push(phase("record the roles", Order::InOrder, OnFailure::Continue, true, vec![record]));
    }

    /// The new roles, for the metadata.
    fn record(&self, own_schema: bool) -> Vec<Statement> {
        let mut statements = new_primary(&self.candidate.row, own_schema);
        statements.push(record_upstream(self.facts.primary, self.facts.candidate));
        if let Some(slot) = self.own_slot() {
            statements.push(node::set_slot_name(self.facts.primary, Some(&slot)));
        }
        statements.extend(
            self.following.iter().map(|sibling| record_upstream(sibling.row.node_id, self.facts.candidate)),
        );
        statements
    }

    /// What is done when clients can write again.
    fn after(&self, plan: &mut Plan) {
        let runs = |in_recovery| {
            self.at_primary(Probe::Runs { data_directory: self.host.data_directory.clone(), in_recovery })
        };
        let mut steps: Vec<Step> = self
            .following
            .iter()
            .map(|sibling| {
                let slot = slot_of(&sibling.row);
                follow_by_sql(
                    sibling,
                    upstream(&self.candidate.row, &sibling.row, self.server.version_num, slot),
                )
            })
            .collect();
        steps.push(self.step(
            "wait_until_gone",
            format!("wait until the processes of \"{}\" have ended", self.from()),
            Op::Wait(Probe::Not(Box::new(runs(false)))),
            self.facts.bounds.shutdown_s,
        ));
        plan.phases.push(phase(
            "repoint the other standbys, wait for the old primary",
            Order::AllAtOnce,
            OnFailure::Continue,
            false,
            steps,
        ));
        let mut start = self
            .on_old_primary(
                "start",
                match &self.host.start_note {
                    Some(note) => format!("start \"{}\" as a standby {note}", self.from()),
                    None => format!("start \"{}\" as a standby", self.from()),
                },
                Op::Run(self.host.start.clone()),
                self.facts.bounds.reconnect_s.saturating_add(5),
            )
            // Checked on its host: over the network, a server that is down does not respond.
            .on_resume(OnResume::AgainUnless(runs(true)))
            // Whatever has happened meanwhile: never as a primary.
            .requires(self.at_primary(Probe::Exists { path: self.standby_signal() }))
            .requires(self.at_primary(Probe::Stopped { data_directory: self.host.data_directory.clone() }));
        start.exit = Exit::Incomplete;
        start.hint = Some(format!(
            "When its server has shut down, run \"pgbaton node start\" on the host of \"{0}\": it starts as a standby of \"{1}\".",
            self.from(),
            self.to()
        ));
        // Not in the phase before: a slow hook would keep the old primary down.
        let mut steps = vec![start, events::at_once(&self.on, &self.candidate.row)];
        steps.extend(checkpoint(self.facts.roles.get(&self.facts.candidate), &self.on));
        steps.extend(update_witnesses(&self.facts.cluster, &self.record(false)));
        plan.phases.push(phase(
            "start the old primary as a standby, send event notifications",
            Order::AllAtOnce,
            OnFailure::Continue,
            false,
            steps,
        ));
        let mut stale: Vec<Step> = self
            .following
            .iter()
            .copied()
            .chain([self.candidate])
            .filter_map(|node| Some((node.row.node_id, slot_of(&node.row)?)))
            .map(|(id, slot)| drop_slot(format!("drop_stale_slot_{id}"), &self.was, &slot))
            .collect();
        stale.extend(logical::drop_kept(self.primary, self.old, self.candidate));
        plan.phases.push(phase("clean up", Order::AllAtOnce, OnFailure::Continue, false, stale));
    }

    /// Restores the old state. As long as `standby.signal` is there, a start makes a standby of the old primary; the step that brings it
    /// back removes it, or leaves it if another node has become a primary.
    fn add_rollback(&self, plan: &mut Plan) {
        let is_primary = Probe::Accepts { on: self.was.clone(), in_recovery: Some(false) };
        plan.regained = Some(RollbackSuccess { probe: is_primary.clone(), exit: Exit::Switchover });
        let signalled = || vec!["write_signal".to_string()];
        let stopped = || vec!["stop".to_string()];
        let mut back =
            |if_started: Vec<String>, step: Step| plan.rollback.push(RollbackStep { if_started, step });
        back(
            signalled(),
            self.may_go_back(self.on_old_primary(
                "revive",
                format!("make sure that \"{}\" runs as the primary", self.from()),
                Op::RestartAsPrimary {
                    data_directory: self.host.data_directory.clone(),
                    start: self.host.start.clone(),
                },
                self.facts.bounds.reconnect_s.saturating_add(5),
            ))
            .uninterruptible(),
        );
        back(
            stopped(),
            self.step(
                "wait_until_primary",
                format!("wait until \"{}\" is the primary again", self.from()),
                Op::Wait(is_primary),
                self.facts.bounds.reconnect_s,
            )
            // Then it was not started, and there is nothing to wait for.
            .gives_up_if(self.at_primary(Probe::Exists { path: self.standby_signal() })),
        );
        let touch = "UPDATE repmgr.nodes SET active = active WHERE node_id = $1::integer";
        back(
            stopped(),
            self.step(
                "write_again",
                format!("check that \"{}\" accepts writes", self.from()),
                Op::Sql {
                    on: self.was.clone(),
                    statements: vec![Statement::new(touch).bind(self.facts.primary)],
                },
                QUERY_S,
            ),
        );
        let settings: &[&str] = if self.host.has_upstream { &[] } else { &UPSTREAM };
        if let Some(op) = standby::restore_recovery_end(&self.host.data_directory, &self.host.next, settings)
        {
            // One that stays a standby keeps them.
            let is_none =
                self.at_primary(Probe::Not(Box::new(Probe::Exists { path: self.standby_signal() })));
            let title = format!("remove the settings of a standby from \"{}\"", self.from());
            let remove = self.on_old_primary("remove_upstream", title, Op::File(op), QUERY_S);
            back(vec!["write_upstream".into()], remove.requires(is_none.clone()));
            // It was started with them.
            let (data_directory, request) = (self.host.data_directory.clone(), SignalRequest::Reload);
            let title = format!("reload the configuration of \"{}\"", self.from());
            let reload =
                self.on_old_primary("reload", title, Op::Signal { data_directory, request }, QUERY_S);
            back(stopped(), reload.requires(is_none));
        }
        for node in self.following.iter().copied().chain([self.primary]) {
            if let Some(slot) = self.slot_there(node) {
                let id = node.row.node_id;
                back(
                    vec![format!("create_slot_{id}")],
                    drop_slot(format!("drop_new_slot_{id}"), &self.on, &slot),
                );
            }
        }
    }

    fn expectations(&self) -> Vec<Verify> {
        let mut out = vec![Verify {
            title: format!("\"{}\" is on a new timeline", self.to()),
            probe: on_new_timeline(&self.on, self.server),
            timeout_s: QUERY_S,
            after: None,
        }];
        for node in self.following.iter().copied().chain([self.primary]) {
            let name = &node.row.node_name;
            let late = match node.row.node_id {
                id if id == self.facts.primary => {
                    self.facts.roles.get(&id).is_some_and(|role| role.apply_delay_ms > 0)
                }
                _ => node.facts().is_some_and(replays_late),
            };
            out.push(Verify {
                title: format!("node \"{name}\" streams from \"{}\"", self.to()),
                probe: streams(
                    &self.on,
                    self.server.version_num,
                    name,
                    Some(ReplayTarget { at: None, flushed: late }),
                ),
                timeout_s: self.facts.bounds.rejoin_s,
                after: Some(match node.row.node_id {
                    id if id == self.facts.primary => "start".into(),
                    id => format!("follow_{id}"),
                }),
            });
        }
        out
    }
}

/// Long enough for a server that is started again at once, or a receiver that connects again.
fn lasts(probe: Probe) -> Probe {
    Probe::Lasts { seconds: 3, probe: Box::new(probe) }
}

/// A loaded server answers within that time, and an outage grows by no more. Without the candidate there is nothing to wait for.
fn no_answer(on: &Endpoint) -> Probe {
    Probe::Silent { on: on.clone(), seconds: 4 }
}

fn no_receiver(on: &Endpoint) -> Probe {
    let sql = "SELECT (NOT EXISTS (SELECT FROM pg_stat_get_wal_receiver() r WHERE r.pid IS NOT NULL))::text";
    Probe::Sql {
        says: format!("{} has no WAL receiver", on.name),
        on: on.clone(),
        statement: Statement::new(sql),
    }
}

fn phase(title: &str, order: Order, on_failure: OnFailure, outage: bool, steps: Vec<Step>) -> Phase {
    Phase { title: title.to_string(), order, on_failure, outage, steps }
}
