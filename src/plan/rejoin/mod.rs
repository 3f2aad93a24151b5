//! The plan of `node rejoin` and `standby rewind`. Pure.
//!
//! Methods, least invasive first: nothing to do, follow, rewind, rewind with WAL from the archive, clone again. The first one that works is
//! used. A rewind is the delicate one. From its first write to its last the files are neither the old state nor the new one, and a server
//! that is started on them damages them for good; so the data directory is made unstartable by its mode before, and startable after
//! everything is in place, `standby.signal` included. pg_rewind also destroys what it would need to be run again, so that is copied first.

mod checks;
mod reclone;
mod rewind;
mod slots;
mod stop;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::assess::history::Relation;
use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::rejoin::{LocalFiles, Loss, Needed, RewindSource, STANDBY_SIGNAL};
use crate::facts::server::ServerFacts;
use crate::facts::settings::{NextStart, Settings};
use crate::pg::endpoint::Endpoint;
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;
use crate::plan::parts::announce::{self, OtherOperations};
use crate::plan::parts::events::PlannedEvent;
use crate::plan::parts::following::{QUERY_S, default_slot, record_upstream, slot_of, streams, upstream};
use crate::plan::parts::standby::{self, FutureStandby, ReplayTarget, replays_late};
use crate::plan::register::endpoint;
use crate::plan::service::{self, ServiceFacts};
use crate::plan::{OnFailure, OnResume, Op, Order, Phase, Plan, Probe, Scope, Standby, Step, Verify};
use crate::registry::{NodeRow, NodeType, node};

pub use reclone::{MovedDirectory, Reclone, reclone};

/// Seconds that an operation on the local disk or one statement may take.
const SHORT_S: u32 = 60;

/// A method, less invasive ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejoinMethod {
    /// It streams already.
    None,
    /// It has no WAL that the primary does not have.
    Follow,
    /// Transactions that only it has are discarded.
    Rewind,
    /// The same, with WAL that only the archive has any more.
    RewindArchive,
    /// It is copied anew.
    Reclone,
}

/// Everything that the plan depends on.
#[derive(Debug)]
pub struct RejoinFacts {
    /// All nodes.
    pub cluster: ClusterFacts,
    /// The node that is to rejoin: the local one.
    pub node_id: i32,
    /// The node that accepts writes.
    pub primary_id: i32,
    /// What the local files say.
    pub local: LocalFiles,
    /// What the primary reports beyond what every server is asked for.
    pub target: RewindSource,
    /// How the local history relates to the primary's.
    pub relation: Relation,
    /// The WAL that only the local node has; None if the nodes have not diverged, or the fork is unknown.
    pub loss: Option<Loss>,
    /// Where it has diverged from the primary, or will when it is stopped.
    pub parts_at: Option<Lsn>,
    /// The WAL that pg_rewind has to read.
    pub needed: Option<Needed>,
    /// Segments that the rewound node has to replay and the primary does not have any more.
    pub gone: Vec<String>,
    /// There is a `restore_command`.
    pub restores: bool,
    /// `archive_command`, if the local server archives and something waits for it.
    pub archive_command: Option<String>,
    /// Bytes to copy aside, and bytes free there.
    pub keep_bytes: u64,
    /// See `keep_bytes`.
    pub free_bytes: u64,
    /// What the next start of the local server will find.
    pub next: NextStart,
    /// What is in force on the local server, if it runs and answers.
    pub running: Option<Settings>,
    /// What is in force on the primary.
    pub in_force: Option<Settings>,
    /// How the server is started.
    pub start: ServiceFacts,
    /// How the server is stopped.
    pub stop: ServiceFacts,
    /// Operations of others that have not reported their end.
    pub others: OtherOperations,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct RejoinOptions {
    /// The local server, for statements.
    pub on: Endpoint,
    /// The node uses a slot.
    pub use_slot: bool,
    /// Rewind even where it is not needed.
    pub forced: bool,
    /// The user agreed to discard the transactions that only the local node has.
    pub consent: bool,
    /// The consent covers what was shown, and nothing more.
    pub asked: bool,
    /// `--accept-data-loss`.
    pub accept_data_loss: bool,
    /// `--force`.
    pub force: bool,
    /// Clone again if nothing else works.
    pub reclone: bool,
    /// Do not wait until it streams.
    pub no_wait: bool,
    /// Where things are kept.
    pub kept: PathBuf,
    /// Where the configuration files are kept.
    pub kept_files: PathBuf,
    /// Where fetched WAL segments are.
    pub fetched: PathBuf,
    /// pg_rewind.
    pub pg_rewind: String,
    /// postgres.
    pub postgres: String,
    /// Where postgresql.conf is, if not in the data directory.
    pub config_directory: Option<PathBuf>,
    /// Seconds within which it has to stream.
    pub timeout_s: u32,
}

/// What is to be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The rung.
    pub method: RejoinMethod,
    /// A sentence without a full stop, with the positions that decided.
    pub why: String,
}

/// A plan and the decision that it carries out.
#[derive(Debug)]
pub struct Rejoin {
    /// The decision; None if no method works.
    pub decision: Option<Decision>,
    /// The plan.
    pub plan: Plan,
}

impl RejoinFacts {
    fn node(&self) -> Option<&NodeFacts> {
        self.cluster.node(self.node_id)
    }

    fn primary(&self) -> Option<(&NodeFacts, &ServerFacts)> {
        let node = self.cluster.node(self.primary_id)?;
        Some((node, node.facts()?))
    }

    /// The local server as the standby that it is to be.
    fn future<'a>(&'a self, row: &'a NodeRow) -> FutureStandby<'a> {
        FutureStandby { row, data_directory: &self.local.data_directory, next: &self.next }
    }

    /// It replays with a delay.
    fn replays_late(&self) -> bool {
        self.server().is_some_and(replays_late)
            || self.next.settings.get("recovery_min_apply_delay").is_some_and(|set| {
                set.value
                    .as_deref()
                    .is_some_and(|value| value.trim_matches(|c: char| !c.is_ascii_digit()) != "0")
            })
    }

    /// What the local server says, if it runs and answers.
    fn server(&self) -> Option<&ServerFacts> {
        self.local.running.and_then(|_| self.node()?.facts())
    }
}

/// Plans a rejoin.
pub fn plan(facts: &RejoinFacts, options: &RejoinOptions) -> Rejoin {
    let (Some(local), Some((primary, there))) = (facts.node(), facts.primary()) else {
        return Rejoin { decision: None, plan: empty("rejoin the cluster".into()) };
    };
    let (name, primary_name) = (&local.row.node_name, &primary.row.node_name);
    let mut plan = empty(format!("rejoin node \"{name}\" to \"{primary_name}\""));
    plan.announce_on = Some(endpoint(primary));
    if !options.no_wait {
        let details = format!("node {} is now attached to node {}", facts.node_id, facts.primary_id);
        plan.notifications.push(PlannedEvent::outcome("node_rejoin", facts.node_id, details, &primary.row));
    }
    let (decision, checks) = checks::judge(facts, options, local, primary, there);
    plan.checks = checks;
    let scope = Scope {
        nodes: vec![facts.node_id],
        timeline: there.timeline,
        system_identifier: there.system_identifier.clone(),
    };
    let touched = [facts.node_id, facts.primary_id];
    announce::refuse_beside_open_operations(
        &mut plan,
        &facts.others,
        scope,
        facts.primary_id,
        &touched,
        options.force,
    );
    let Some(decided) = &decision else { return Rejoin { decision, plan } };
    let nodes = Nodes { facts, options, local, primary, there };
    match decided.method {
        RejoinMethod::None => {
            plan.phases.extend(nodes.records_if_wrong());
            plan.phases.extend(nodes.stale_slots_of_running());
        }
        RejoinMethod::Follow if facts.local.running.is_none() => nodes.follow(&mut plan),
        // The planner of `standby follow` knows running standbys; cloning is another planner's too.
        RejoinMethod::Follow | RejoinMethod::Reclone => {}
        RejoinMethod::Rewind | RejoinMethod::RewindArchive => nodes.rewind(&mut plan),
    }
    Rejoin { decision, plan }
}

fn empty(title: String) -> Plan {
    Plan { back_failed: Exit::Rejoin, incomplete: Exit::Rejoin, ..Plan::nothing(title) }
}

fn phase(title: &str, on_failure: OnFailure, steps: Vec<Step>) -> Phase {
    Phase { title: title.into(), order: Order::InOrder, on_failure, outage: false, steps }
}

/// Adds to the plan of a running standby that follows: failover slots that it has kept from when it was the primary are dropped.
pub fn drop_kept(plan: &mut Plan, facts: &RejoinFacts, options: &RejoinOptions) {
    let (Some(local), Some((primary, there))) = (facts.node(), facts.primary()) else { return };
    let steps = Nodes { facts, options, local, primary, there }.drop_kept_slots();
    if !steps.is_empty() && !plan.is_empty() {
        plan.phases.push(phase("clean up", OnFailure::Continue, steps));
    }
}

/// The two nodes of a rejoin.
struct Nodes<'a> {
    facts: &'a RejoinFacts,
    options: &'a RejoinOptions,
    local: &'a NodeFacts,
    primary: &'a NodeFacts,
    there: &'a ServerFacts,
}

impl Nodes<'_> {
    fn name(&self) -> &str {
        &self.local.row.node_name
    }

    fn data(&self) -> PathBuf {
        self.facts.local.data_directory.clone()
    }

    fn slot(&self) -> Option<String> {
        self.options.use_slot.then(|| default_slot(&self.local.row))
    }

    fn future(&self) -> FutureStandby<'_> {
        self.facts.future(&self.local.row)
    }

    fn step(&self, id: &str, title: String, op: Op, timeout_s: u32) -> Step {
        Step::new(id, title, op, timeout_s, Exit::Rejoin)
    }

    /// Starts a node that has not diverged as a standby.
    fn follow(&self, plan: &mut Plan) {
        self.slot_phase(plan);
        let mut steps: Vec<Step> = self.future().clear(Exit::Rejoin).into_iter().collect();
        steps.push(self.standby_signal());
        steps.push(self.point_at_primary());
        plan.phases.push(phase("configure it as a standby", OnFailure::Stop, steps));
        self.start_and_verify(plan);
    }

    fn standby_signal(&self) -> Step {
        self.standby_signal_as("standby_signal")
    }

    fn standby_signal_as(&self, id: &str) -> Step {
        let path = self.facts.local.data_directory.join(STANDBY_SIGNAL);
        self.step(id, format!("write \"{}\"", path.display()), self.future().signal(), SHORT_S)
            .left_in_place(standby::signal_stays(self.name()))
    }

    fn point_at_primary(&self) -> Step {
        let row = &self.primary.row;
        let mut to = upstream(row, &self.local.row, self.there.version_num, self.slot());
        if node::holds_password(&row.conninfo) {
            to.password = Some(node::password_secret(row.node_id));
        }
        self.step(
            "follow",
            format!("point node \"{}\" at \"{}\"", self.name(), row.node_name),
            Op::Follow {
                standby: Standby::Files {
                    data_directory: self.data(),
                    postgres: self.options.postgres.clone(),
                    config_directory: self.options.config_directory.clone(),
                },
                upstream: to,
            },
            SHORT_S,
        )
        .left_in_place(standby::settings_stay(&row.node_name))
    }

    fn start_and_verify(&self, plan: &mut Plan) {
        let (data, name) = (self.data(), self.name());
        let start = self
            .step(
                "start",
                service::start_title(format!("start the server of node \"{name}\""), &self.facts.start),
                Op::Run(service::command(&self.facts.start, service::Action::Start)),
                self.facts.start.start_timeout_s.saturating_add(40),
            )
            .requires(Probe::Exists { path: data.join(STANDBY_SIGNAL) })
            .on_resume(OnResume::AgainUnless(Probe::Not(Box::new(Probe::Stopped { data_directory: data }))));
        plan.phases.push(phase(
            "start the server",
            OnFailure::Stop,
            vec![Step { exit: Exit::NoRestart, ..start }],
        ));
        let mut after = vec![self.record()];
        after.extend(self.drop_stale_slots());
        after.extend(self.drop_kept_slots());
        after.extend(self.drop_unused_slot());
        plan.phases.push(phase("update the metadata", OnFailure::Continue, after));
        if self.options.no_wait {
            return;
        }
        let on = endpoint(self.primary);
        let timeout_s = self.options.timeout_s;
        plan.verify.push(Verify {
            title: format!("node \"{name}\" streams from \"{}\"", self.primary.row.node_name),
            probe: streams(&on, self.there.version_num, name, self.past_switch()),
            timeout_s,
            after: None,
        });
        let timeline = self.there.timeline;
        plan.verify.push(Verify {
            title: format!("node \"{name}\" is a standby on timeline {timeline}"),
            probe: Probe::Sql {
                says: format!("node \"{name}\" is a standby that receives timeline {timeline}"),
                on: self.options.on.clone(),
                statement: Statement::new(
                    "SELECT (pg_is_in_recovery() AND EXISTS (SELECT FROM pg_stat_get_wal_receiver() r \
                     WHERE r.pid IS NOT NULL AND coalesce(r.received_tli >= $1::integer, true)))::text",
                )
                .bind(timeline),
            },
            timeout_s,
            after: None,
        });
    }

    /// How far it must have come: past the switch to the primary's timeline.
    fn past_switch(&self) -> Option<ReplayTarget> {
        let switch = self.facts.target.switches.last()?;
        Some(ReplayTarget { at: Some(switch.switch), flushed: self.facts.replays_late() })
    }

    /// Records the node as a standby of the primary.
    fn record(&self) -> Step {
        let on = endpoint(self.primary);
        let slot = self.slot();
        self.step(
            "record",
            format!("register node \"{}\" as a standby of \"{}\"", self.name(), self.primary.row.node_name),
            Op::Sql {
                on,
                statements: vec![
                    record_upstream(self.facts.node_id, self.facts.primary_id),
                    node::set_slot_name(self.facts.node_id, slot.as_deref()),
                ],
            },
            QUERY_S,
        )
    }

    fn records_if_wrong(&self) -> Option<Phase> {
        let row = &self.local.row;
        let right = row.upstream_node_id == Some(self.facts.primary_id)
            && row.node_type == NodeType::Standby
            && row.active
            && slot_of(row) == self.slot();
        (!right).then(|| phase("update the metadata", OnFailure::Stop, vec![self.record()]))
    }
}

/// Says how far something is, for people.
fn position(at: Option<Lsn>) -> String {
    at.map_or_else(|| "an unknown position".to_string(), |at| at.to_string())
}

/// Says whether a path lies within a directory.
fn within(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory)
}
