//! The plan of `standby switchover`. Pure.
//!
//! Everything that can be done while clients still write is done first. The last of it makes the old primary a standby on the disk: it runs on
//! as a primary, but whoever starts it from then on gets a standby. So nothing that happens between its stop and the promotion makes a second
//! primary: not a supervisor, not a colleague, not a crash of the host. From the stop on every step counts, because nobody can write.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::divergence::{Relation, relation};
use crate::facts::role::RoleFacts;
use crate::facts::server::ServerFacts;
use crate::output::table::size;
use crate::plan::beside::Beside;
use crate::plan::candidate::{
    self, checkpoint, new_primary, on_new_timeline, room, siblings, silent_witnesses, tell_witnesses,
};
use crate::plan::register::endpoint;
use crate::plan::tell::{self, Tell};
use crate::plan::upstream::{
    QUERY_S, can_follow, create_slot, default_slot, drop_slot, follow_by_sql, record_upstream, slot_of,
    streams, upstream,
};
use crate::plan::{
    Back, Check, Command, Endpoint, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, Request, Standby,
    Statement, Step, Verify, Waiver,
};
use crate::registry::{NodeType, node};

/// Seconds that a checkpoint before the stop may take; clients write meanwhile.
const CHECKPOINT_S: u32 = 1800;

/// What is known of the host of the old primary, and of how its server is stopped and started there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The data directory.
    pub data_directory: PathBuf,
    /// The program `postgres`.
    pub postgres: String,
    /// Where postgresql.conf is, if not there.
    pub config_directory: Option<PathBuf>,
    /// The command that stops it, where it must not be a signal.
    pub stop: Option<Command>,
    /// The command that starts it.
    pub start: Command,
    /// Segments that wait to be archived; None where that is not known.
    pub archive_ready: Option<u64>,
    /// The server has a `primary_conninfo` from an earlier life as a standby.
    pub has_upstream: bool,
}

/// How long things may take and how far behind the candidate may be, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Seconds for the stop of the old primary.
    pub shutdown_s: u32,
    /// Seconds for the candidate to receive the last WAL.
    pub receive_s: u32,
    /// Seconds for the promotion.
    pub promote_s: u32,
    /// Seconds for the old primary to come back as a standby.
    pub reconnect_s: u32,
    /// Seconds for it, and for each sibling, to stream.
    pub rejoin_s: u32,
    /// Seconds of lag at which to warn, and at which to refuse.
    pub lag_s: (u32, u32),
    /// Segments waiting to be archived at which to warn, and at which to refuse.
    pub archive_ready: (u64, u64),
}

/// What the plan depends on.
#[derive(Debug)]
pub struct SwitchoverFacts {
    /// All nodes.
    pub cluster: ClusterFacts,
    /// What our role may do on those that answer.
    pub roles: BTreeMap<i32, RoleFacts>,
    /// The candidate: the local node.
    pub candidate: i32,
    /// The old primary.
    pub primary: i32,
    /// The schema `pgbaton` is there.
    pub own_schema: bool,
    /// The old primary's host; None where it could not be asked, which `checks` say.
    pub host: Option<Host>,
    /// What was examined on other hosts: whether they can be reached, whether logins work.
    pub checks: Vec<Check>,
    /// What repmgr does meanwhile.
    pub beside: Beside,
    /// The command for a promotion, where it is not `pg_promote()`.
    pub command: Option<Command>,
    /// Bounds.
    pub bounds: Bounds,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwitchoverOptions {
    /// `--force`.
    pub force: bool,
    /// The siblings are to follow.
    pub siblings_follow: bool,
}

/// Plans a switchover.
pub fn plan(facts: &SwitchoverFacts, options: SwitchoverOptions) -> Plan {
    let name =
        |id: i32| facts.cluster.node(id).map_or_else(|| id.to_string(), |node| node.row.node_name.clone());
    let (from, to) = (name(facts.primary), name(facts.candidate));
    let mut plan = Plan {
        title: format!("switch over from \"{from}\" to \"{to}\""),
        checks: Vec::new(),
        phases: Vec::new(),
        back: Vec::new(),
        always: Vec::new(),
        verify: Vec::new(),
        back_failed: Exit::NoPrimary,
        incomplete: Exit::Incomplete,
        announce_on: None,
        far_ends: Vec::new(),
        tells: Vec::new(),
    };
    let both = [facts.candidate, facts.primary].map(|id| {
        let node = facts.cluster.node(id)?;
        Some((node, node.facts()?))
    });
    let [Some((candidate, server)), Some((primary, old))] = both else {
        plan.checks.push(
            Check::fail("servers_answer", format!("\"{from}\" and \"{to}\" must both answer"))
                .exit(Exit::Connection),
        );
        return plan;
    };
    plan.announce_on = Some(endpoint(primary));
    plan.checks.extend(ends(facts, candidate, server, primary, old));
    plan.checks.extend(candidate::fit(candidate, server, facts.roles.get(&facts.candidate), options.force));
    let lost: Vec<String> = old
        .slots
        .iter()
        .filter(|slot| slot.slot_type == "logical" && server.slot(&slot.slot_name).is_none())
        .map(|slot| slot.slot_name.clone())
        .collect();
    plan.checks.extend(candidate::logical_slots(candidate, &lost, options.force));
    let (following, staying) = followers(facts, candidate, server, options);
    plan.checks.extend(staying);
    let mut there: Vec<&NodeFacts> = following.clone();
    there.push(primary);
    plan.checks.push(as_failure(room(candidate, server, &there)));
    plan.checks.extend(candidate::synchronous_standbys(candidate, server, &there, options.force));
    plan.checks.extend(lag(facts, candidate, server, old, options.force));
    plan.checks.extend(backups_and_archive(facts, primary, old, options.force));
    plan.checks.extend(silent_nodes(facts, old, options));
    plan.checks.extend(facts.beside.checks(&facts.cluster, options.force));
    plan.checks.extend(facts.checks.iter().cloned());
    let Some(host) = &facts.host else { return plan };
    if plan.checks.iter().any(Check::stops) {
        return plan;
    }
    // What waits for a promotion, to lead clients to the new primary, hears of this one, too.
    plan.tells.push(tell::promotion(&candidate.row, false));
    let details = format!(
        "node \"{to}\" (ID: {}) promoted to primary, node \"{from}\" (ID: {}) demoted to standby",
        facts.candidate, facts.primary
    );
    plan.tells.push(Tell::outcome("standby_switchover", facts.candidate, details, &primary.row));
    plan.tells.extend(tell::followers(&facts.cluster, &candidate.row, Some(facts.primary)));
    let work = Work {
        facts,
        host,
        candidate,
        server,
        primary,
        following: &following,
        on: endpoint(candidate),
        was: endpoint(primary),
    };
    work.steps(&mut plan);
    plan
}

/// Checks that the two nodes are what they have to be, and stream.
fn ends(
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
            Check::fail("one_primary", format!("{} nodes take writes", primaries.len()))
                .detail(format!("They are {}.", primaries.join(", ")))
                .hint("Stop the wrong one first; \"pgbaton cluster show\" tells them apart.")
                .exit(Exit::SecondPrimary),
        );
    }
    checks.push(super::register::same_cluster(server, old, from));
    match relation(server, old) {
        Relation::Same => {}
        Relation::Forked { evidence, .. } => checks.push(
            Check::fail("same_history", format!("the histories of \"{to}\" and \"{from}\" have parted"))
                .detail(evidence)
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
        (Some(_), Some("streaming") | None) => {
            Check::pass("candidate_streams", format!("node \"{to}\" streams from \"{from}\""))
        }
        (Some(_), Some(other)) => Check::fail(
            "candidate_streams",
            format!("node \"{to}\" does not stream yet: it is in state \"{other}\""),
        )
        .node(facts.candidate)
        .hint("Wait until it has caught up; \"pgbaton cluster show\" shows how far it is."),
        (None, _) => {
            Check::fail("candidate_streams", format!("node \"{to}\" does not stream from \"{from}\""))
                .node(facts.candidate)
                .detail("What the primary writes last would not reach it.")
                .hint(format!("Run \"pgbaton standby follow\" on \"{to}\" first."))
        }
    });
    checks
}

/// Sorts the siblings into those that will follow and what to say of the others.
fn followers<'a>(
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
                    format!("node \"{name}\" will go on following the old primary"),
                )
                .node(id)
                .hint(format!("Afterwards run \"pgbaton standby follow\" on \"{name}\".")),
            );
            continue;
        }
        let check = can_follow(&sibling.row, server.version_num, facts.roles.get(&id));
        if check.stops() {
            checks.push(check.waivable(Waiver::Force, options.force));
        } else {
            following.push(sibling);
        }
    }
    (following, checks)
}

/// In a promotion everything goes on without room; here there is time to make room first.
fn as_failure(check: Check) -> Check {
    match check.verdict {
        super::Verdict::Warning => Check { verdict: super::Verdict::Fail, ..check },
        _ => check,
    }
}

/// Checks that the candidate is not far behind: what it still has to receive and replay is a part of the outage.
fn lag(
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
        Check::fail(NAME, format!("node \"{name}\" is far behind"))
            .node(facts.candidate)
            .detail(detail)
            .hint("Wait until it has caught up: nobody could write for so long.")
            .waivable(Waiver::Force, force)
    } else if seconds >= f64::from(warning) {
        Check::warning(NAME, format!("node \"{name}\" is behind")).node(facts.candidate).detail(detail)
    } else {
        Check::pass(NAME, format!("node \"{name}\" keeps up"))
    })
}

/// Checks what runs on the old primary and would be cut short, or would keep its postmaster from ending.
fn backups_and_archive(
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
                .detail("The stop would end it.")
                .hint("Wait for its end, or waive this check.")
                .waivable(Waiver::Force, force),
        );
    }
    let Some(ready) = facts.host.as_ref().and_then(|host| host.archive_ready) else { return checks };
    let (warning, critical) = facts.bounds.archive_ready;
    let detail = format!(
        "{ready} segments wait for it. The old primary ends only when all are archived, and comes back as a standby after that."
    );
    if ready >= critical {
        checks.push(
            Check::fail("archive_ready", format!("the archiver of \"{name}\" is far behind"))
                .node(facts.primary)
                .detail(detail)
                .hint("Look into pg_stat_archiver there, and mend archive_command first.")
                .waivable(Waiver::Force, force),
        );
    } else if ready >= warning {
        let message = format!("the archiver of \"{name}\" is behind");
        checks.push(Check::warning("archive_ready", message).node(facts.primary).detail(detail));
    }
    checks
}

/// Names the nodes that could not be asked. One that streams from the primary is alive, and only cannot be reached from here: it would be
/// left behind.
fn silent_nodes(facts: &SwitchoverFacts, old: &ServerFacts, options: SwitchoverOptions) -> Vec<Check> {
    let silent =
        facts.cluster.nodes.iter().filter(|node| node.row.active && node.row.node_type != NodeType::Witness);
    let silent: Vec<Check> = silent
        .filter_map(|node| {
            let silence = node.server.as_ref().err()?;
            let name = &node.row.node_name;
            let check = if options.siblings_follow && old.sender_of(name).is_some() {
                let message = format!("node \"{name}\" streams from the primary and could not be asked");
                Check::fail("node_not_asked", message)
                    .hint(format!(
                        "It could not be led to the new primary. Mend the network first, or run \"pgbaton standby follow\" on \"{name}\" \
                         afterwards."
                    ))
                    .exit(Exit::Connection)
                    .waivable(Waiver::Force, options.force)
            } else {
                Check::warning("node_not_asked", format!("node \"{name}\" could not be asked"))
                    .hint(format!("When it is back, run \"pgbaton standby follow\" on \"{name}\"."))
            };
            Some(check.node(node.row.node_id).detail(crate::error::sentence(&silence.message)))
        })
        .collect();
    silent.into_iter().chain(silent_witnesses(&facts.cluster)).collect()
}

/// The pieces that the steps are made of.
struct Work<'a> {
    facts: &'a SwitchoverFacts,
    host: &'a Host,
    candidate: &'a NodeFacts,
    server: &'a ServerFacts,
    primary: &'a NodeFacts,
    following: &'a [&'a NodeFacts],
    on: Endpoint,
    was: Endpoint,
}

impl Work<'_> {
    fn steps(&self, plan: &mut Plan) {
        let beside = &self.facts.beside;
        beside.pause(plan, &self.facts.cluster, Exit::Switchover);
        self.prepare(plan);
        beside.look_again(plan, &self.facts.cluster, Some(self.primary), Exit::Switchover);
        self.standby_on_disk(plan);
        self.change(plan);
        self.after(plan);
        self.way_back(plan);
        plan.verify.extend(self.expectations());
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
    fn there(&self, id: impl Into<String>, title: String, op: Op, timeout_s: u32) -> Step {
        self.step(id, title, op, timeout_s).at(self.facts.primary)
    }

    fn at_primary(&self, probe: Probe) -> Probe {
        Probe::At { node_id: self.facts.primary, probe: Box::new(probe) }
    }

    fn standby_signal(&self) -> PathBuf {
        self.host.data_directory.join("standby.signal")
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
        let write = |id: &str, on: &Endpoint| {
            let title = format!("write a checkpoint on {}", on.name);
            let op = Op::Sql { on: on.clone(), statements: vec![Statement::new("CHECKPOINT")] };
            self.step(id, title, op, CHECKPOINT_S)
        };
        if may(&self.facts.primary) {
            // The first writes what has gathered, the second what has gathered meanwhile: the one of the stop has little left to do.
            checkpoints.push(write("checkpoint_1", &self.was));
            checkpoints.push(write("checkpoint_2", &self.was));
        } else {
            plan.checks.push(
                Check::warning(
                    "checkpoint",
                    format!("the role may not write a checkpoint on \"{}\"", self.from()),
                )
                .detail("The stop itself writes what is in memory, while nobody can write.")
                .hint("From PostgreSQL 15 on a superuser can GRANT pg_checkpoint to the role."),
            );
        }
        if may(&self.facts.candidate) {
            checkpoints.push(write("restartpoint", &self.on));
        }
        plan.phases.push(phase(
            "write out what is in memory",
            Order::InOrder,
            OnFailure::Stop,
            false,
            checkpoints,
        ));
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
        plan.phases.push(phase("make slots", Order::AllAtOnce, OnFailure::Stop, false, slots));
    }

    /// The last thing while clients still write: from here on whoever starts the old primary gets a standby.
    fn standby_on_disk(&self, plan: &mut Plan) {
        let standby = Standby::Files {
            data_directory: self.host.data_directory.clone(),
            postgres: self.host.postgres.clone(),
            config_directory: self.host.config_directory.clone(),
        };
        let wanted =
            upstream(&self.candidate.row, &self.primary.row, self.server.version_num, self.own_slot());
        let path = self.standby_signal();
        let signal = Op::WriteFile { path, contents: String::new(), mode: 0o600 };
        plan.phases.push(phase(
            &format!("make \"{}\" a standby for the next start", self.from()),
            Order::InOrder,
            OnFailure::Stop,
            false,
            vec![
                self.there(
                    "write_upstream",
                    format!("point \"{}\" at \"{}\", for its next start", self.from(), self.to()),
                    Op::Follow { standby, upstream: wanted },
                    QUERY_S,
                ),
                self.there(
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
            Some(command) => Op::Begin(command.clone()),
            None => Op::Signal { data_directory: data_directory.clone(), request: Request::FastShutdown },
        };
        let is_down = Probe::ShutDown { data_directory: data_directory.clone() };
        let is_standby = self.at_primary(Probe::Exists { path: self.standby_signal() });
        // Somebody has started it again, by hand or because that is his task: as a standby, which cannot be waited for.
        let is_back =
            self.at_primary(Probe::Runs { data_directory: data_directory.clone(), in_recovery: true });
        let has_all =
            Probe::HasAll { on: self.on.clone(), node_id: Some(self.facts.primary), data_directory };
        let mut promote = self
            .step(
                "promote",
                format!("promote \"{}\"", self.to()),
                Op::Promote { on: self.on.clone(), command: self.facts.command.clone() },
                self.facts.bounds.promote_s,
            )
            .on_resume(OnResume::AgainUnless(Probe::Accepts {
                on: self.on.clone(),
                in_recovery: Some(false),
            }))
            .requires(self.at_primary(is_down.clone()))
            .requires(is_standby.clone())
            .requires_on_resume(has_all.clone())
            .no_return();
        promote.exit = Exit::Promotion;
        for other in &self.facts.cluster.nodes {
            if other.row.node_id != self.facts.candidate && other.row.node_type != NodeType::Witness {
                promote = promote.requires_on_resume(Probe::NoPrimary { on: endpoint(other) });
            }
        }
        let statements = self.record(self.facts.own_schema);
        plan.phases.push(phase(
            "change roles",
            Order::InOrder,
            OnFailure::Stop,
            true,
            vec![
                self.there("stop", format!("stop \"{}\"", self.from()), stop, QUERY_S)
                    .requires(is_standby.clone()),
                // A far end that was left alone has gone back, and what a resumed run would wait for does not come.
                self.step(
                    "wait_until_down",
                    format!("wait until \"{}\" has written its last WAL", self.from()),
                    Op::Wait(self.at_primary(is_down)),
                    self.facts.bounds.shutdown_s,
                )
                .requires_on_resume(is_standby.clone())
                .gives_up_if(is_back.clone()),
                self.step(
                    "wait_until_received",
                    format!("wait until \"{}\" has all of it", self.to()),
                    Op::Wait(has_all),
                    self.facts.bounds.receive_s,
                )
                .requires_on_resume(is_standby)
                .gives_up_if(is_back),
                promote,
                Step::new(
                    "record",
                    format!("record \"{}\" as the primary", self.to()),
                    Op::Sql { on: self.on.clone(), statements },
                    QUERY_S,
                    Exit::Query,
                ),
            ],
        ));
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
            format!("wait until the server of \"{}\" has ended", self.from()),
            Op::Wait(Probe::Not(Box::new(runs(false)))),
            self.facts.bounds.shutdown_s,
        ));
        plan.phases.push(phase(
            "lead the others to the new primary",
            Order::AllAtOnce,
            OnFailure::Continue,
            false,
            steps,
        ));
        let mut start = self
            .there(
                "start",
                format!("start \"{}\" as a standby", self.from()),
                Op::Run(self.host.start.clone()),
                self.facts.bounds.reconnect_s.saturating_add(5),
            )
            // Asked on its host: over the network, one that is down gives no answer.
            .on_resume(OnResume::AgainUnless(runs(true)))
            // Whatever has happened meanwhile: never as a primary.
            .requires(self.at_primary(Probe::Exists { path: self.standby_signal() }))
            .requires(self.at_primary(Probe::Stopped { data_directory: self.host.data_directory.clone() }));
        start.exit = Exit::Incomplete;
        start.hint = Some(format!(
            "On the host of \"{0}\" run \"pgbaton node start\", when its server has ended: it comes back as a standby of \"{1}\".",
            self.from(),
            self.to()
        ));
        let mut steps = vec![start];
        steps.extend(checkpoint(self.facts.roles.get(&self.facts.candidate), &self.on));
        steps.extend(tell_witnesses(&self.facts.cluster, &self.record(false)));
        plan.phases.push(phase(
            "bring the old primary back",
            Order::AllAtOnce,
            OnFailure::Continue,
            false,
            steps,
        ));
        let stale: Vec<Step> = self
            .following
            .iter()
            .copied()
            .chain([self.candidate])
            .filter_map(|node| Some((node.row.node_id, slot_of(&node.row)?)))
            .map(|(id, slot)| drop_slot(format!("drop_stale_slot_{id}"), &self.was, &slot))
            .collect();
        plan.phases.push(phase("clear up", Order::AllAtOnce, OnFailure::Continue, false, stale));
    }

    /// Restores the old state. The order matters: as long as `standby.signal` is there, a start makes a standby of it.
    fn way_back(&self, plan: &mut Plan) {
        let signalled = || vec!["write_signal".to_string()];
        let stopped = || vec!["stop".to_string()];
        let mut back = |if_started: Vec<String>, step: Step| plan.back.push(Back { if_started, step });
        back(
            signalled(),
            self.there(
                "remove_signal",
                format!("remove standby.signal from the data directory of \"{}\"", self.from()),
                Op::RemoveFile { path: self.standby_signal() },
                QUERY_S,
            ),
        );
        back(
            stopped(),
            self.there(
                "revive",
                format!("bring \"{}\" back as the primary", self.from()),
                Op::Revive {
                    data_directory: self.host.data_directory.clone(),
                    start: self.host.start.clone(),
                },
                self.facts.bounds.reconnect_s.saturating_add(5),
            )
            .uninterruptible(),
        );
        back(
            stopped(),
            self.step(
                "wait_until_primary",
                format!("wait until \"{}\" is the primary again", self.from()),
                Op::Wait(Probe::Accepts { on: self.was.clone(), in_recovery: Some(false) }),
                self.facts.bounds.reconnect_s,
            ),
        );
        let touch = "UPDATE repmgr.nodes SET active = active WHERE node_id = $1::integer";
        back(
            stopped(),
            self.step(
                "write_again",
                format!("write on \"{}\"", self.from()),
                Op::Sql {
                    on: self.was.clone(),
                    statements: vec![Statement::new(touch).bind(self.facts.primary)],
                },
                QUERY_S,
            ),
        );
        if !self.host.has_upstream {
            back(
                vec!["write_upstream".into()],
                self.there(
                    "remove_upstream",
                    format!("remove the settings of a standby from \"{}\"", self.from()),
                    Op::WriteSettings {
                        path: self.host.data_directory.join("postgresql.auto.conf"),
                        remove: vec!["primary_conninfo".into(), "primary_slot_name".into()],
                        set: Vec::new(),
                        mode: 0o600,
                    },
                    QUERY_S,
                ),
            );
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
            title: format!("\"{}\" writes a timeline of its own", self.to()),
            probe: on_new_timeline(&self.on, self.server),
            timeout_s: QUERY_S,
            after: None,
        }];
        for node in self.following.iter().copied().chain([self.primary]) {
            let name = &node.row.node_name;
            out.push(Verify {
                title: format!("node \"{name}\" streams from \"{}\"", self.to()),
                probe: streams(&self.on, self.server.version_num, name),
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

fn phase(title: &str, order: Order, on_failure: OnFailure, outage: bool, steps: Vec<Step>) -> Phase {
    Phase { title: title.to_string(), order, on_failure, outage, steps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cluster::Silence;
    use crate::facts::repmgr::{Daemon, Repmgr};
    use crate::facts::server::{Sender, Slot};
    use crate::registry::NodeRow;

    fn sender(node_id: i32) -> Sender {
        Sender {
            application_name: format!("node{node_id}"),
            state: Some("streaming".into()),
            sync_state: None,
            replay_lag_s: Some(0.0),
            reply_age_s: None,
        }
    }

    /// Node 1 the primary, node 2 the candidate, node 3 beside it.
    fn facts() -> SwitchoverFacts {
        let primary =
            ServerFacts { senders: vec![sender(2), sender(3)], ..ServerFacts::example(false, 1, 0x500) };
        let standby =
            |id: i32| ServerFacts { started_at: id.to_string(), ..ServerFacts::example(true, 1, 0x500) };
        let nodes = vec![
            NodeFacts { row: NodeRow::example(1, NodeType::Primary), server: Ok(primary) },
            NodeFacts { row: NodeRow::example(2, NodeType::Standby), server: Ok(standby(2)) },
            NodeFacts { row: NodeRow::example(3, NodeType::Standby), server: Ok(standby(3)) },
        ];
        SwitchoverFacts {
            cluster: ClusterFacts { nodes },
            roles: (1..=3).map(|id| (id, RoleFacts::example())).collect(),
            candidate: 2,
            primary: 1,
            own_schema: true,
            host: Some(Host {
                data_directory: "/data".into(),
                postgres: "/bin/postgres".into(),
                config_directory: None,
                stop: None,
                start: Command::new("/bin/pg_ctl", ["start"]),
                archive_ready: Some(0),
                has_upstream: false,
            }),
            checks: Vec::new(),
            beside: Beside {
                nodes: BTreeMap::from([(3, Repmgr { daemon: Daemon::Running, visits: Vec::new() })]),
                ..Beside::default()
            },
            command: None,
            bounds: Bounds {
                shutdown_s: 60,
                receive_s: 30,
                promote_s: 60,
                reconnect_s: 60,
                rejoin_s: 60,
                lag_s: (300, 600),
                archive_ready: (16, 128),
            },
        }
    }

    const ASKED: SwitchoverOptions = SwitchoverOptions { force: false, siblings_follow: true };
    const FORCED: SwitchoverOptions = SwitchoverOptions { force: true, ..ASKED };

    fn server(facts: &mut SwitchoverFacts, node_id: i32) -> &mut ServerFacts {
        let node = facts.cluster.nodes.iter_mut().find(|node| node.row.node_id == node_id).unwrap();
        node.server.as_mut().unwrap()
    }

    fn stops(facts: &SwitchoverFacts, options: SwitchoverOptions) -> Option<(String, Exit)> {
        let plan = plan(facts, options);
        let stopped = plan.checks.iter().find(|check| check.stops());
        assert!(stopped.is_some() == plan.is_empty());
        assert_eq!(plan.defect(), None);
        stopped.map(|check| (check.name.clone(), check.exit))
    }

    #[test]
    fn the_old_primary_is_a_standby_on_disk_before_it_is_stopped() {
        let plan = plan(&facts(), ASKED);
        let ids: Vec<&str> = plan.steps().map(|step| step.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "pause_3",
                "checkpoint_1",
                "checkpoint_2",
                "restartpoint",
                "create_slot_3",
                "create_slot_1",
                "write_upstream",
                "write_signal",
                "stop",
                "wait_until_down",
                "wait_until_received",
                "promote",
                "record",
                "follow_3",
                "wait_until_gone",
                "start",
                "checkpoint",
                "drop_stale_slot_3",
                "drop_stale_slot_2"
            ]
        );
        assert_eq!(plan.no_return().unwrap().id, "promote");
        let back: Vec<&str> = plan.back.iter().map(|back| back.step.id.as_str()).collect();
        assert_eq!(
            back,
            [
                "remove_signal",
                "revive",
                "wait_until_primary",
                "write_again",
                "remove_upstream",
                "drop_new_slot_3",
                "drop_new_slot_1"
            ]
        );
        assert_eq!(plan.always[0].id, "unpause_3");
        // Every start after the point of no return asks for standby.signal.
        let step = |id: &str| plan.steps().find(|step| step.id == id).unwrap();
        assert!(step("start").requires.iter().any(|probe| probe.to_string().contains("standby.signal")));
        // Somebody who starts the old primary gets a standby: it is not waited for in vain, nor started twice.
        for id in ["wait_until_down", "wait_until_received"] {
            let hopeless = step(id).gives_up_if.as_ref().unwrap().to_string();
            assert!(hopeless.contains("runs on \"/data\" as a standby"), "{hopeless}");
            assert!(!step(id).requires_on_resume.is_empty());
        }
        let OnResume::AgainUnless(probe) = &step("start").on_resume else { panic!() };
        assert!(probe.to_string().contains("as a standby"), "{probe}");
    }

    #[test]
    fn what_would_lose_data_or_take_long_is_found_before() {
        type Case = (&'static str, Exit, bool, fn(&mut SwitchoverFacts));
        let cases: [Case; 11] = [
            ("candidate_streams", Exit::Failed, false, |facts| {
                server(facts, 1).senders.retain(|sender| sender.application_name != "node2");
            }),
            ("candidate_streams", Exit::Failed, false, |facts| {
                server(facts, 1).senders[0].state = Some("catchup".into());
            }),
            ("one_primary", Exit::SecondPrimary, false, |facts| {
                *server(facts, 3) =
                    ServerFacts { started_at: "x".into(), ..ServerFacts::example(false, 1, 0x500) };
            }),
            ("replication_lag", Exit::Failed, true, |facts| {
                server(facts, 1).senders[0].replay_lag_s = Some(700.0);
            }),
            ("backup_running", Exit::Failed, true, |facts| {
                server(facts, 1).senders.push(Sender { state: Some("backup".into()), ..sender(9) });
            }),
            ("archive_ready", Exit::Failed, true, |facts| {
                facts.host.as_mut().unwrap().archive_ready = Some(1000);
            }),
            ("room_for_siblings", Exit::Failed, false, |facts| server(facts, 2).max_wal_senders = 1),
            ("follow_rights", Exit::Failed, true, |facts| {
                facts.roles.get_mut(&3).unwrap().may_set_upstream = false;
            }),
            ("logical_slots", Exit::Failed, true, |facts| {
                server(facts, 1).slots.push(Slot {
                    slot_name: "cdc".into(),
                    slot_type: "logical".into(),
                    active: true,
                    restart_lsn: None,
                    wal_status: None,
                    retained_bytes: None,
                    invalidation_reason: None,
                });
            }),
            ("node_not_asked", Exit::Connection, true, |facts| {
                facts.cluster.nodes[2].server = Err(Silence::invalid("x"));
            }),
            ("synchronous_names", Exit::Failed, true, |facts| {
                server(facts, 2).synchronous_standby_names = "2 (node1, node9)".into();
            }),
        ];
        assert_eq!(stops(&facts(), ASKED), None);
        for (name, exit, waivable, change) in cases {
            let mut facts = facts();
            change(&mut facts);
            let expected = Some((name.to_string(), exit));
            assert_eq!(stops(&facts, ASKED), expected);
            assert_eq!(stops(&facts, FORCED), if waivable { None } else { expected }, "{name}");
        }
    }

    #[test]
    fn the_old_primary_gets_the_slot_that_it_is_recorded_with() {
        let creates = |recorded: Option<&str>, candidate: Option<&str>| {
            let mut facts = facts();
            facts.cluster.nodes[0].row.slot_name = recorded.map(str::to_string);
            facts.cluster.nodes[1].row.slot_name = candidate.map(str::to_string);
            plan(&facts, ASKED).steps().any(|step| step.id == "create_slot_1")
        };
        assert!(creates(Some("repmgr_slot_1"), None));
        assert!(creates(None, Some("repmgr_slot_2")));
        assert!(!creates(None, None));
    }

    #[test]
    fn a_standby_of_the_candidate_counts_for_synchronous_commits() {
        let mut facts = facts();
        server(&mut facts, 2).synchronous_standby_names = "3 (node1, node3, node9)".into();
        assert_eq!(stops(&facts, ASKED), Some(("synchronous_names".into(), Exit::Failed)));
        server(&mut facts, 2).senders.push(sender(9));
        assert_eq!(stops(&facts, ASKED), None);
    }

    #[test]
    fn slots_and_settings_that_were_there_stay_on_the_way_back() {
        let mut facts = facts();
        facts.host.as_mut().unwrap().has_upstream = true;
        for id in [1, 3] {
            server(&mut facts, 2).slots.push(Slot {
                slot_name: format!("repmgr_slot_{id}"),
                slot_type: "physical".into(),
                active: false,
                restart_lsn: None,
                wal_status: None,
                retained_bytes: None,
                invalidation_reason: None,
            });
        }
        let plan = plan(&facts, ASKED);
        let back: Vec<&str> = plan.back.iter().map(|back| back.step.id.as_str()).collect();
        assert_eq!(back, ["remove_signal", "revive", "wait_until_primary", "write_again"]);
    }
}
