//! The plan of `node rejoin` and `standby rewind`. Pure.
//!
//! Methods, least invasive first: nothing to do, follow, rewind, rewind with WAL from the archive, clone again. The first one that works is
//! used. A rewind is the delicate one. From its first write to its last the files are neither the old state nor the new one, and a server that is
//! started on them damages them for good; so the data directory is made unstartable by its mode before, and startable after everything is in
//! place, `standby.signal` included. pg_rewind also destroys what it would need to be run again, so that is copied first.

mod checks;
mod reclone;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use reclone::{Anew, Aside, reclone};
use serde::{Deserialize, Serialize};

use crate::assess::history::Relation;
use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::rejoin::{BLOCKED, Local, Loss, Needed, STANDBY_SIGNAL, Target};
use crate::facts::server::{ServerFacts, Slot};
use crate::facts::settings::{NextStart, Settings};
use crate::facts::slots;
use crate::pg::control_file::ControlState;
use crate::pg::endpoint::Endpoint;
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;
use crate::plan::parts::announce::{self, Other};
use crate::plan::parts::events::Notification;
use crate::plan::parts::following::{
    QUERY_S, create_slot, default_slot, drop_slot, drop_stale, record_upstream, slot_of, streams, upstream,
};
use crate::plan::parts::logical;
use crate::plan::parts::standby::{self, AUTO_CONF, Future, Past, replays_late};
use crate::plan::register::endpoint;
use crate::plan::service::{self, ServiceFacts};
use crate::plan::{
    Back, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, Request, Scope, Setting, Standby, Step, Verify,
};
use crate::registry::{NodeRow, NodeType, node};
use crate::system::command::Command;

/// Seconds that an operation on the local disk or one statement may take.
const SHORT_S: u32 = 60;
/// Seconds for a checkpoint on the primary.
const CHECKPOINT_S: u32 = 3600;
/// Seconds for the recovery of a crashed server.
const RECOVERY_S: u32 = 24 * 3600;
/// Seconds for copying WAL and configuration aside.
const KEEP_S: u32 = 6 * 3600;
/// Seconds that a rewind may take in all. Its real bound is that it must show progress.
const REWIND_S: u32 = 14 * 24 * 3600;
/// Seconds for which pg_rewind may show no progress: it reads WAL and syncs files without output.
const SILENT_S: u32 = 1800;

/// `wal_keep_size` while the local server writes its last checkpoints: they recycle the very WAL that pg_rewind reads.
const KEEP_ALL: &str = "1TB";

/// A method, less invasive ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
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
    pub local: Local,
    /// What the primary reports beyond what every server is asked for.
    pub target: Target,
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
    pub others: Vec<Other>,
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
    pub rung: Rung,
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
    fn future<'a>(&'a self, row: &'a NodeRow) -> Future<'a> {
        Future { row, data_directory: &self.local.data_directory, next: &self.next }
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
        plan.notifications.push(Notification::outcome("node_rejoin", facts.node_id, details, &primary.row));
    }
    let (decision, checks) = checks::judge(facts, options, local, primary, there);
    plan.checks = checks;
    let scope = Scope {
        nodes: vec![facts.node_id],
        timeline: there.timeline,
        system_identifier: there.system_identifier.clone(),
    };
    let touched = [facts.node_id, facts.primary_id];
    announce::heed(&mut plan, &facts.others, scope, facts.primary_id, &touched, options.force);
    let Some(decided) = &decision else { return Rejoin { decision, plan } };
    let nodes = Nodes { facts, options, local, primary, there };
    match decided.rung {
        Rung::None => {
            plan.phases.extend(nodes.records_if_wrong());
            plan.phases.extend(nodes.stale_slots_of_running());
        }
        Rung::Follow if facts.local.running.is_none() => nodes.follow(&mut plan),
        // The planner of `standby follow` knows running standbys; cloning is another planner's too.
        Rung::Follow | Rung::Reclone => {}
        Rung::Rewind | Rung::RewindArchive => nodes.rewind(&mut plan),
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

    fn future(&self) -> Future<'_> {
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

    /// Discards the transactions that only the node has, and starts it as a standby.
    fn rewind(&self, plan: &mut Plan) {
        self.slot_phase(plan);
        plan.phases.extend(self.source_phase());
        self.stop_phase(plan);
        plan.phases.push(phase("keep files that would be lost", OnFailure::Stop, self.keep()));
        plan.phases.push(phase("rewind", OnFailure::Stop, self.rewind_steps()));
        self.start_and_verify(plan);
    }

    /// Makes the node's slot on the primary, so that the primary keeps from now on what the node will need.
    fn slot_phase(&self, plan: &mut Plan) {
        let to_make = |slot: &String| self.there.slot(slot).is_none_or(Slot::is_lost);
        let Some(slot) = self.slot().filter(to_make) else { return };
        let on = endpoint(self.primary);
        let make = create_slot("create_slot", &on, &slot);
        plan.phases.push(phase("reserve WAL on the primary", OnFailure::Stop, vec![make]));
        plan.back.push(Back {
            if_started: vec!["create_slot".into()],
            step: drop_slot("drop_new_slot", &on, &slot),
        });
    }

    /// Brings the control file of a primary that was just promoted up to date: pg_rewind finds the fork by it, and would find none, or a
    /// wrong one.
    fn source_phase(&self) -> Option<Phase> {
        let timeline = self.there.timeline;
        if self.facts.target.control_timeline == timeline.0 {
            return None;
        }
        let on = endpoint(self.primary);
        let mut steps = Vec::new();
        if self.facts.target.may_checkpoint {
            steps.push(self.step(
                "checkpoint",
                format!("write a checkpoint on {}", on.name),
                Op::Sql { on: on.clone(), statements: vec![Statement::new("CHECKPOINT")] },
                CHECKPOINT_S,
            ));
        }
        let agrees = Probe::Sql {
            says: format!("the control file of {} shows timeline {timeline}", on.name),
            on: on.clone(),
            statement: Statement::new(
                "SELECT ((pg_control_checkpoint()).timeline_id = \
                 ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer)::text",
            ),
        };
        steps.push(self.step(
            "wait_for_control_file",
            format!("wait until the control file of {} shows timeline {timeline}", on.name),
            Op::Wait(agrees),
            CHECKPOINT_S,
        ));
        Some(phase("prepare the primary", OnFailure::Stop, steps))
    }

    /// Stops the server, or lets it recover from its crash, without losing the WAL that is needed.
    fn stop_phase(&self, plan: &mut Plan) {
        let (data, name) = (self.data(), self.name());
        // Before all else: from here on the server may be started as a standby, by us or by another program.
        let mut steps: Vec<Step> = self.future().clear(Exit::Rejoin).into_iter().collect();
        if self.facts.local.running.is_some() {
            let kept = self.options.kept.join("settings");
            let settings = |id: &str, title: &str, from: PathBuf, to: PathBuf| {
                let op = Op::CopyFiles { from, to, files: vec![AUTO_CONF.into()] };
                self.step(id, title.into(), op, SHORT_S)
            };
            let reload = |id: &str| {
                let op = Op::Signal { data_directory: data.clone(), request: Request::Reload };
                self.step(id, format!("reload the configuration of node \"{name}\""), op, SHORT_S)
            };
            steps.push(settings("copy_settings", "copy its settings aside", data.clone(), kept.clone()));
            steps.push(self.step(
                "keep_all_wal",
                format!("make node \"{name}\" keep all its WAL"),
                Op::WriteSettings {
                    path: data.join(AUTO_CONF),
                    remove: Vec::new(),
                    set: vec![Setting::new("wal_keep_size", KEEP_ALL)],
                    mode: self.facts.next.file_mode,
                },
                SHORT_S,
            ));
            steps.push(reload("reload"));
            if self.facts.server().is_some() {
                let probe = Probe::Sql {
                    says: format!("node \"{name}\" keeps all its WAL"),
                    on: self.options.on.clone(),
                    statement: Statement::new("SELECT (current_setting('wal_keep_size') = $1)::text")
                        .bind(KEEP_ALL),
                };
                let title = format!("wait until node \"{name}\" keeps all its WAL");
                steps.push(self.step("wait_for_reload", title, Op::Wait(probe), SHORT_S));
            }
            steps.extend(self.stop_steps());
            steps.push(settings("put_settings_back", "restore its settings", kept.clone(), data.clone()));
            let back = |step: Step| Back { if_started: vec!["keep_all_wal".into()], step };
            plan.back.push(back(settings(
                "put_settings_back_again",
                "restore its settings",
                kept,
                data.clone(),
            )));
            plan.back.push(back(reload("reload_again")));
        } else if !self.facts.local.is_clean() {
            let mut recover = self.recover();
            if recover.len() == 1 {
                if !steps.is_empty() {
                    let first = std::mem::take(&mut steps);
                    plan.phases.push(phase("prepare the recovery", OnFailure::Stop, first));
                }
                // What the recovery leaves as it is need not wait for its end.
                recover.push(self.keep_wal("keep_old_wal"));
                let order = Order::AllAtOnce;
                plan.phases
                    .push(Phase { order, ..phase("recover from the crash", OnFailure::Stop, recover) });
            } else {
                steps.extend(recover);
            }
        }
        steps.push(self.standby_signal());
        let title = match self.facts.local.running {
            Some(_) => "stop the server",
            None => "let it start as a standby only",
        };
        plan.phases.push(phase(title, OnFailure::Stop, steps));
    }

    /// Stops a server that runs.
    fn stop_steps(&self) -> Vec<Step> {
        if self.facts.local.running.is_none() {
            return Vec::new();
        }
        let (data, name) = (self.data(), self.name());
        let stopped = Probe::Stopped { data_directory: data };
        let timeout_s = self.facts.stop.stop_timeout_s;
        let stop = self.step(
            "stop",
            format!("stop the server of node \"{name}\""),
            Op::Run(service::command(&self.facts.stop, service::Action::Stop)),
            timeout_s.saturating_add(40),
        );
        vec![
            // A running primary ignores it, and every start from now on makes it a standby.
            self.standby_signal_as("standby_signal_before_stop"),
            stop.uninterruptible()
                .on_resume(OnResume::AgainUnless(stopped.clone()))
                .stays(format!("The server of node \"{name}\" was stopped.")),
            self.step(
                "wait_until_stopped",
                format!("wait until the server of node \"{name}\" has stopped"),
                Op::Wait(stopped),
                timeout_s,
            ),
        ]
    }

    /// Recovers from a crash: pg_rewind requires the directory of a server that was shut down cleanly.
    ///
    /// A crashed primary recovers as a single process, which is quick and accepts no connections. That mode does not support standbys, so a
    /// crashed standby is started as one, without a connection to any server.
    fn recover(&self) -> Vec<Step> {
        let name = self.name();
        let title = format!("run crash recovery of node \"{name}\"");
        let keep = format!("wal_keep_size={KEEP_ALL}");
        let data = self.data().display().to_string();
        if !self.facts.local.is_standby && self.facts.local.control.state != ControlState::InArchiveRecovery {
            // Without syncs, as pg_rewind does it: what a crash of the machine would lose of it is copied or replayed after the rewind anyhow.
            let mut args = vec!["--single".to_string(), "-F".into(), "-D".into(), data, "-c".into(), keep];
            if let Some(directory) = &self.options.config_directory {
                args.extend(["-c".into(), format!("config_file={}/postgresql.conf", directory.display())]);
            }
            args.push("template1".into());
            let command = Command::new(&self.options.postgres, args);
            return vec![self.step("recover", title, Op::Run(command), RECOVERY_S).uninterruptible()];
        }
        let settings = [
            keep.as_str(),
            "listen_addresses=",
            // In the data directory, which no other user can access.
            "unix_socket_directories=.",
            "hot_standby=on",
            "primary_conninfo=",
            "restore_command=",
            "recovery_target_timeline=current",
            "archive_mode=off",
        ];
        let options: Vec<String> = settings.iter().map(|setting| format!("-c {setting}")).collect();
        let directory =
            self.options.config_directory.as_ref().map_or(data, |path| path.display().to_string());
        let pg_ctl = |verb: &str, more: &[String]| {
            let mut args = vec![verb.to_string(), format!("--pgdata={directory}"), "--wait".into()];
            args.push(format!("--timeout={RECOVERY_S}"));
            args.extend(more.iter().cloned());
            let command = Command::new(&self.facts.start.pg_ctl, args);
            Op::Run(Command { log: Some(self.facts.start.log.path.clone()), ..command })
        };
        let log = format!("--log={}", self.facts.start.log.path.display());
        let start = pg_ctl("start", &[log, format!("--options={}", options.join(" "))]);
        let running = Probe::Not(Box::new(Probe::Stopped { data_directory: self.data() }));
        let signal = Probe::Exists { path: self.data().join(STANDBY_SIGNAL) };
        vec![
            self.standby_signal_as("standby_signal_before_recovery"),
            self.step("recover", title, start, RECOVERY_S)
                .uninterruptible()
                .requires(signal)
                .on_resume(OnResume::AgainUnless(running.clone())),
            self.step(
                "end_recovery",
                format!("stop the server of node \"{name}\""),
                pg_ctl("stop", &["--mode=fast".into()]),
                RECOVERY_S,
            )
            .uninterruptible()
            .on_resume(OnResume::AgainUnless(Probe::Not(Box::new(running)))),
        ]
    }

    /// Copies aside what a rewind destroys.
    fn keep(&self) -> Vec<Step> {
        let (data, facts) = (self.data(), self.facts);
        let mut steps = Vec::new();
        let fork = self.fork();
        if let Some(command) = &facts.archive_command {
            let op = Op::ArchiveWal { data_directory: data.clone(), command: command.clone(), until: fork };
            steps.push(self.step("archive", "archive the WAL that is waiting for it".into(), op, KEEP_S));
        }
        steps.push(self.keep_wal("keep_wal"));
        steps.push(self.step(
            "keep_files",
            format!("copy the configuration to \"{}\"", self.options.kept_files.display()),
            Op::CopyFiles {
                from: data.clone(),
                to: self.options.kept_files.clone(),
                files: facts.local.own_files.clone(),
            },
            KEEP_S,
        ));
        steps
    }

    /// Copies the WAL aside, but for what was copied before and is the same.
    fn keep_wal(&self, id: &str) -> Step {
        let from = match &self.facts.needed {
            Some(Needed::There { checkpoint, .. }) => checkpoint.redo,
            _ => self.fork(),
        };
        self.step(
            id,
            format!("copy the WAL since {from} to \"{}\"", self.options.kept.display()),
            Op::KeepWal { data_directory: self.data(), from, to: self.options.kept.clone() },
            KEEP_S,
        )
    }

    /// Where the timelines forked.
    fn fork(&self) -> Lsn {
        self.facts.loss.map_or(self.facts.local.control.checkpoint, |loss| loss.fork)
    }

    /// A running server accepts writes until it is stopped, but the consent covers what was shown before.
    fn no_more_than_was_shown(&self) -> Option<Probe> {
        let after = self.facts.parts_at?;
        let count = match (self.options.consent, self.options.asked, self.facts.loss) {
            (true, false, _) => return None,
            (true, true, Some(shown)) => shown.commits?,
            (_, _, _) => 0,
        };
        let local = &self.facts.local;
        Some(Probe::CommitsAtMost {
            data_directory: self.data(),
            timeline: local.timeline,
            switches: local.switches.clone(),
            after,
            count,
        })
    }

    fn rewind_steps(&self) -> Vec<Step> {
        let (data, kept) = (self.data(), &self.options.kept);
        let begun = kept.join("begun");
        let mode = self.facts.local.mode & !BLOCKED;
        let set_mode = |id: &str, title: String, mode: u32| {
            self.step(id, title, Op::MakeDirectory { path: data.clone(), mode }, SHORT_S)
        };
        let op = Op::WriteFile {
            path: begun.clone(),
            contents: format!("{}\n", self.options.pg_rewind),
            mode: 0o600,
        };
        let begin = self
            .step("begin", "record the start of the rewind".into(), op, SHORT_S)
            .requires(Probe::Stopped { data_directory: data.clone() })
            .requires(Probe::Clean { data_directory: data.clone() })
            .no_return()
            .on_resume(OnResume::AgainUnless(Probe::Exists { path: begun }));
        let mut steps = Vec::new();
        if let Some(probe) = self.no_more_than_was_shown() {
            let title = format!(
                "check that node \"{}\" has no more transactions of its own than were shown",
                self.name()
            );
            steps.push(
                self.step("look_again", title, Op::Wait(probe), KEEP_S)
                    .hint("Run the command again: it shows what would be discarded now."),
            );
        }
        steps.extend([
            begin,
            set_mode(
                "block",
                format!(
                    "prevent a server start on \"{}\", by a mode that PostgreSQL rejects",
                    data.display()
                ),
                mode | BLOCKED,
            ),
        ]);
        if let Some(Needed::There { fetched, .. }) = &self.facts.needed
            && !fetched.is_empty()
        {
            steps.push(self.step(
                "place_wal",
                format!("copy {} WAL segments from the archive into pg_wal", fetched.len()),
                Op::CopyFiles {
                    from: self.options.fetched.clone(),
                    to: data.join("pg_wal"),
                    files: fetched.iter().map(PathBuf::from).collect(),
                },
                KEEP_S,
            ));
        }
        for (number, path) in (1..).zip(&self.facts.local.in_the_way) {
            steps.push(self.step(
                &format!("put_aside_{number}"),
                format!("move \"{}\" aside, which pg_rewind could not write", path.display()),
                Op::RemoveFile { path: data.join(path) },
                SHORT_S,
            ));
        }
        steps.push(
            self.step(
                "rewind",
                format!(
                    "rewind node \"{}\" to where it diverged from \"{}\"",
                    self.name(),
                    self.primary.row.node_name
                ),
                Op::Rewind { command: self.pg_rewind(), data_directory: data.clone(), kept: kept.clone() },
                REWIND_S,
            )
            .uninterruptible()
            .requires(Probe::Stopped { data_directory: data.clone() })
            .on_resume(OnResume::AgainUnless(Probe::Rewound { data_directory: data.clone() })),
        );
        if let Some(loss) = self.facts.loss {
            steps.push(self.step(
                "return_wal",
                "restore WAL that the primary no longer has".into(),
                Op::ReturnWal { kept: kept.clone(), data_directory: data.clone(), until: loss.fork },
                KEEP_S,
            ));
        }
        steps.push(self.step(
            "put_back_files",
            "restore the configuration files".into(),
            Op::PutBack {
                from: self.options.kept_files.clone(),
                data_directory: data.clone(),
                files: self.facts.local.own_files.clone(),
            },
            KEEP_S,
        ));
        steps.push(self.standby_signal_as("standby_signal_again"));
        steps.push(self.point_at_primary());
        let mut unblock =
            set_mode("unblock", format!("allow a server start on \"{}\" again", data.display()), mode)
                .requires(Probe::Exists { path: data.join(STANDBY_SIGNAL) });
        if self.facts.loss.is_some() {
            // Otherwise pg_rewind has found nothing to do, and has left no trace.
            unblock = unblock.requires(Probe::Rewound { data_directory: data });
        }
        steps.push(unblock);
        steps
    }

    fn pg_rewind(&self) -> Command {
        let row = &self.primary.row;
        let on = endpoint(self.primary);
        let mut args = vec![
            format!("--target-pgdata={}", self.facts.local.data_directory.display()),
            format!("--source-server={}", on.conninfo),
            "--progress".into(),
            "--no-ensure-shutdown".into(),
        ];
        if self.facts.local.major >= 15
            && let Some(directory) = &self.options.config_directory
        {
            args.push(format!("--config-file={}/postgresql.conf", directory.display()));
        }
        let mut command = Command::new(&self.options.pg_rewind, args);
        command.silent_at_most_s = Some(SILENT_S);
        if node::holds_password(&row.conninfo) {
            command.secrets.push(("PGPASSWORD".into(), node::password_secret(row.node_id)));
        }
        command
    }

    fn standby_signal(&self) -> Step {
        self.standby_signal_as("standby_signal")
    }

    fn standby_signal_as(&self, id: &str) -> Step {
        let path = self.facts.local.data_directory.join(STANDBY_SIGNAL);
        self.step(id, format!("write \"{}\"", path.display()), self.future().signal(), SHORT_S)
            .stays(standby::signal_stays(self.name()))
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
        .stays(standby::settings_stay(&row.node_name))
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
    fn past_switch(&self) -> Option<Past> {
        let switch = self.facts.target.switches.last()?;
        Some(Past { at: Some(switch.switch), flushed: self.facts.replays_late() })
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

    /// Drops the slot that a promotion has created on the primary for this node, if it uses none.
    fn drop_unused_slot(&self) -> Option<Step> {
        let slot = default_slot(&self.local.row);
        let unused = !self.options.use_slot && self.there.slot(&slot).is_some_and(|slot| !slot.active);
        let step = drop_slot("drop_unused_slot", &endpoint(self.primary), &slot);
        unused.then_some(Step { exit: Exit::Rejoin, ..step })
    }

    /// Drops failover slots that it has kept from when it was the primary: they would end the synchronization of slots here.
    fn drop_kept_slots(&self) -> Vec<Step> {
        if self.facts.local.major < 17 || self.facts.loss.is_some() {
            // A rewind leaves no slots.
            return Vec::new();
        }
        let names = self.facts.local.logical_slots.iter().cloned();
        logical::drop_if_kept(self.name(), &self.options.on, self.primary, names, Exit::Rejoin)
    }

    /// Drops the slots that other nodes used while this one was their upstream.
    fn drop_stale_slots(&self) -> Vec<Step> {
        if self.facts.loss.is_some() {
            // A rewind leaves no slots.
            return Vec::new();
        }
        self.drop(&stale_slots(self.facts))
    }

    fn drop(&self, slots: &[String]) -> Vec<Step> {
        let drop = |slot: &String| drop_stale(&self.options.on, self.name(), slot, Exit::Rejoin);
        slots.iter().map(drop).collect()
    }

    /// Does the same on a node that streams already, however it came back.
    fn stale_slots_of_running(&self) -> Option<Phase> {
        let stale = slots::stale(&self.facts.cluster, self.facts.node_id, self.facts.primary_id);
        (!stale.is_empty()).then(|| {
            phase("drop replication slots that are no longer needed", OnFailure::Continue, self.drop(&stale))
        })
    }
}

/// Returns the slots on the local node that belong to nodes with another upstream.
fn stale_slots(facts: &RejoinFacts) -> Vec<String> {
    let names = slots::of_others(&facts.cluster, facts.node_id, facts.primary_id);
    names.into_iter().filter(|slot| facts.local.slots.contains(slot)).collect()
}

/// Says how far something is, for people.
fn position(at: Option<Lsn>) -> String {
    at.map_or_else(|| "an unknown position".to_string(), |at| at.to_string())
}

/// Says whether a path lies within a directory.
fn within(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory)
}
