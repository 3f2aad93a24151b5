//! The steps of a rewind: the primary prepared, files copied aside, pg_rewind, and what it would lose put back.

use std::path::PathBuf;

use super::{Nodes, SHORT_S, phase};
use crate::facts::rejoin::{BLOCKED, Needed, STANDBY_SIGNAL};
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;
use crate::plan::register::endpoint;
use crate::plan::{FileOp, OnFailure, OnResume, Op, Phase, Plan, Probe, Step};
use crate::registry::node;
use crate::system::command::Command;

/// Seconds for a checkpoint on the primary.
const CHECKPOINT_S: u32 = 3600;
/// Seconds for copying WAL and configuration aside.
const KEEP_S: u32 = 6 * 3600;
/// Seconds that a rewind may take in all. Its real bound is that it must show progress.
const REWIND_S: u32 = 14 * 24 * 3600;
/// Seconds for which pg_rewind may show no progress: it reads WAL and syncs files without output.
const SILENT_S: u32 = 1800;

impl Nodes<'_> {
    /// Discards the transactions that only the node has, and starts it as a standby.
    pub(super) fn rewind(&self, plan: &mut Plan) {
        self.slot_phase(plan);
        plan.phases.extend(self.source_phase());
        self.stop_phase(plan);
        plan.phases.push(phase("keep files that would be lost", OnFailure::Stop, self.save_files()));
        plan.phases.push(phase("rewind", OnFailure::Stop, self.rewind_steps()));
        self.start_and_verify(plan);
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

    /// Copies aside what a rewind destroys.
    fn save_files(&self) -> Vec<Step> {
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
            Op::File(FileOp::CopyFiles {
                from: data.clone(),
                to: self.options.kept_files.clone(),
                files: facts.local.own_files.clone(),
            }),
            KEEP_S,
        ));
        steps
    }

    /// Copies the WAL aside, but for what was copied before and is the same.
    pub(super) fn keep_wal(&self, id: &str) -> Step {
        let from = match &self.facts.needed {
            Some(Needed::There { checkpoint, .. }) => checkpoint.redo,
            _ => self.fork(),
        };
        self.step(
            id,
            format!("copy the WAL since {from} to \"{}\"", self.options.kept.display()),
            Op::File(FileOp::SaveWal { data_directory: self.data(), from, to: self.options.kept.clone() }),
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

    /// Returns the steps from the last look at the old files to a data directory that can be started as a standby.
    fn rewind_steps(&self) -> Vec<Step> {
        let data = self.data();
        let mut steps = self.prepare_files();
        steps.push(
            self.step(
                "rewind",
                format!(
                    "rewind node \"{}\" to where it diverged from \"{}\"",
                    self.name(),
                    self.primary.row.node_name
                ),
                Op::Rewind {
                    command: self.pg_rewind(),
                    data_directory: data.clone(),
                    kept: self.options.kept.clone(),
                },
                REWIND_S,
            )
            .uninterruptible()
            .requires(Probe::Stopped { data_directory: data.clone() })
            .on_resume(OnResume::AgainUnless(Probe::Rewound { data_directory: data })),
        );
        steps.extend(self.restore_files());
        steps
    }

    /// Makes the data directory unstartable, and prepares it for pg_rewind; the first write is the point of no return.
    fn prepare_files(&self) -> Vec<Step> {
        let data = self.data();
        let begun = self.options.kept.join("begun");
        let op = Op::File(FileOp::WriteFile {
            path: begun.clone(),
            contents: format!("{}\n", self.options.pg_rewind),
            mode: 0o600,
        });
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
            self.set_mode(
                "block",
                format!(
                    "prevent a server start on \"{}\", by a mode that PostgreSQL rejects",
                    data.display()
                ),
                BLOCKED,
            ),
        ]);
        if let Some(Needed::There { fetched, .. }) = &self.facts.needed
            && !fetched.is_empty()
        {
            steps.push(self.step(
                "place_wal",
                format!("copy {} WAL segments from the archive into pg_wal", fetched.len()),
                Op::File(FileOp::CopyFiles {
                    from: self.options.fetched.clone(),
                    to: data.join("pg_wal"),
                    files: fetched.iter().map(PathBuf::from).collect(),
                }),
                KEEP_S,
            ));
        }
        for (number, path) in (1..).zip(&self.facts.local.in_the_way) {
            steps.push(self.step(
                &format!("put_aside_{number}"),
                format!("move \"{}\" aside, which pg_rewind could not write", path.display()),
                Op::File(FileOp::RemoveFile { path: data.join(path) }),
                SHORT_S,
            ));
        }
        steps
    }

    /// Restores what pg_rewind has overwritten or removed, makes the node a standby, and the data directory startable.
    fn restore_files(&self) -> Vec<Step> {
        let (data, kept) = (self.data(), &self.options.kept);
        let mut steps = Vec::new();
        if let Some(loss) = self.facts.loss {
            steps.push(self.step(
                "return_wal",
                "restore WAL that the primary no longer has".into(),
                Op::File(FileOp::RestoreWal {
                    kept: kept.clone(),
                    data_directory: data.clone(),
                    until: loss.fork,
                }),
                KEEP_S,
            ));
        }
        steps.push(self.step(
            "put_back_files",
            "restore the configuration files".into(),
            Op::File(FileOp::RestoreFiles {
                from: self.options.kept_files.clone(),
                data_directory: data.clone(),
                files: self.facts.local.own_files.clone(),
            }),
            KEEP_S,
        ));
        steps.push(self.standby_signal_as("standby_signal_again"));
        steps.push(self.point_at_primary());
        let mut unblock = self
            .set_mode("unblock", format!("allow a server start on \"{}\" again", data.display()), 0)
            .requires(Probe::Exists { path: data.join(STANDBY_SIGNAL) });
        if self.facts.loss.is_some() {
            // Otherwise pg_rewind has found nothing to do, and has left no trace.
            unblock = unblock.requires(Probe::Rewound { data_directory: data });
        }
        steps.push(unblock);
        steps
    }

    /// Sets the mode of the data directory, `more` added to what it was.
    fn set_mode(&self, id: &str, title: String, more: u32) -> Step {
        let mode = (self.facts.local.mode & !BLOCKED) | more;
        self.step(id, title, Op::File(FileOp::MakeDirectory { path: self.data(), mode }), SHORT_S)
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
}
