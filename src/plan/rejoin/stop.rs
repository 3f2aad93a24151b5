//! How the local server is stopped, or recovers from its crash, so that the WAL that pg_rewind reads is kept.

use std::path::PathBuf;

use super::{Nodes, SHORT_S, phase};
use crate::error::Exit;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::pg::control_file::ControlState;
use crate::pg::statement::Statement;
use crate::plan::parts::standby::AUTO_CONF;
use crate::plan::{
    FileOp, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, RollbackStep, Setting, SignalRequest, Step,
    service,
};
use crate::system::command::Command;

/// Seconds for the recovery of a crashed server.
const RECOVERY_S: u32 = 24 * 3600;
/// `wal_keep_size` while the local server writes its last checkpoints: they recycle the very WAL that pg_rewind reads.
const KEEP_ALL: &str = "1TB";

impl Nodes<'_> {
    /// Stops the server, or lets it recover from its crash, without losing the WAL that is needed.
    pub(super) fn stop_phase(&self, plan: &mut Plan) {
        let (data, name) = (self.data(), self.name());
        // Before all else: from here on the server may be started as a standby, by us or by another program.
        let mut steps: Vec<Step> = self.future().clear(Exit::Rejoin).into_iter().collect();
        if self.facts.local.running.is_some() {
            let kept = self.options.kept.join("settings");
            let settings = |id: &str, title: &str, from: PathBuf, to: PathBuf| {
                let op = Op::File(FileOp::CopyFiles { from, to, files: vec![AUTO_CONF.into()] });
                self.step(id, title.into(), op, SHORT_S)
            };
            let reload = |id: &str| {
                let op = Op::Signal { data_directory: data.clone(), request: SignalRequest::Reload };
                self.step(id, format!("reload the configuration of node \"{name}\""), op, SHORT_S)
            };
            steps.push(settings("copy_settings", "copy its settings aside", data.clone(), kept.clone()));
            steps.push(self.step(
                "keep_all_wal",
                format!("make node \"{name}\" keep all its WAL"),
                Op::File(FileOp::WriteSettings {
                    path: data.join(AUTO_CONF),
                    remove: Vec::new(),
                    set: vec![Setting::new("wal_keep_size", KEEP_ALL)],
                    mode: self.facts.next.file_mode,
                }),
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
            let back = |step: Step| RollbackStep { if_started: vec!["keep_all_wal".into()], step };
            plan.rollback.push(back(settings(
                "put_settings_back_again",
                "restore its settings",
                kept,
                data.clone(),
            )));
            plan.rollback.push(back(reload("reload_again")));
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
    pub(super) fn stop_steps(&self) -> Vec<Step> {
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
                .left_in_place(format!("The server of node \"{name}\" was stopped.")),
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
            // Without syncs, as pg_rewind does it: what a crash of the machine would lose of it is copied or replayed after the rewind
            // anyhow.
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
}
