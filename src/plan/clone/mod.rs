//! The plan of `standby clone`. Pure.
//!
//! The order makes an abort at any point harmless. pg_basebackup would leave a directory that starts as a second primary on the same
//! timeline if it was started before `standby.signal` is written. So the copy is made in a directory inside the data directory
//! (`facts::directory::STAGING`), completed there, and moved up: `standby.signal` first, `global` with the control file and `PG_VERSION`
//! last. Until the last rename there is nothing that pg_ctl would start, whatever is killed and whenever.

mod base_backup;
mod checks;
mod configuration;
mod directory;
mod places;
mod slot;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::error::Exit;
use crate::facts::cluster::ClusterFacts;
use crate::facts::directory::{COPY, DirectoryContents, STAGING};
use crate::facts::server::ServerFacts;
use crate::facts::source::SourceFacts;
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Endpoint;
use crate::plan::parts::events::PlannedEvent;
use crate::plan::register::endpoint;
use crate::plan::{FileOp, OnFailure, OnResume, Op, Order, Phase, Plan, Probe, Step, ValuePart};
use crate::registry::node;
use crate::registry::schema::PresentMetadata;
use crate::system::command::Command;

use base_backup::base_backup;
use checks::checks;
use configuration::configuration;
pub use directory::remove_leftover;
use directory::{claim, emptied_again, end_writers};
pub use places::{FilledDirectory, ForeignDirectory};
use slot::{record_slot, slot_steps};

/// Seconds that an operation on the local disk or one statement may take.
const SHORT_S: u32 = 60;
/// Seconds that a base backup may take in all. Its real bound is `silent_at_most_s`.
const BACKUP_S: u32 = 14 * 24 * 3600;

/// Everything that the plan depends on.
#[derive(Debug)]
pub struct CloneFacts {
    /// The server to copy.
    pub source: ServerFacts,
    /// More about it.
    pub details: SourceFacts,
    /// Its name in messages: its node name if it is registered.
    pub source_name: String,
    /// Its node id, if it is registered.
    pub source_id: Option<i32>,
    /// The metadata in its database.
    pub present: PresentMetadata,
    /// The registered nodes.
    pub cluster: ClusterFacts,
    /// The node to follow; None only where there is no metadata.
    pub upstream_id: Option<i32>,
    /// The data directory to fill.
    pub directory: DirectoryContents,
    /// What an earlier clone has left in it next to a complete data directory.
    pub leftover: Option<PathBuf>,
    /// The system identifier found in it, where it is a data directory.
    pub directory_identifier: Option<String>,
    /// The data directory is writable, or can be made.
    pub directory_problem: Option<String>,
    /// The room where the data directory is.
    pub room: FreeSpace,
    /// Where tablespaces go, what is there, and the room there.
    pub tablespaces: Vec<TablespaceTarget>,
    /// Where `--waldir` among the options for pg_basebackup puts the WAL.
    pub waldir: Option<TablespaceTarget>,
    /// Programs that an interrupted clone has left and that still write into the data directory.
    pub writers: Vec<i32>,
    /// The major version of the local tools; an error text where there are none.
    pub tools_major: Result<u32, String>,
    /// A replication connection to the source, as pg_basebackup will make it.
    pub backup_login: Result<(), String>,
    /// A replication connection to the upstream, as the WAL receiver will make it.
    pub receiver_login: Result<(), String>,
    /// Configuration files outside the source's data directory: where they would go, and whether they could be read.
    pub external: Vec<ExternalCopy>,
    /// The source runs on this host.
    pub source_is_local: bool,
    /// The directories that are filled, without symbolic links.
    pub filled: Vec<FilledDirectory>,
    /// Directories of other servers on this host.
    pub foreign: Vec<ForeignDirectory>,
}

impl CloneFacts {
    /// Returns the directories outside the data directory that are filled.
    fn outside(&self) -> impl Iterator<Item = &TablespaceTarget> {
        self.tablespaces.iter().chain(&self.waldir)
    }
}

/// How much there is room for in a directory that the clone fills.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreeSpace {
    /// The number of its file system: directories with the same one share what is free.
    pub device: u64,
    /// Bytes free on that file system.
    pub free_bytes: u64,
    /// Bytes that removing what is in the directory sets free.
    pub reclaimable_bytes: u64,
}

/// Where a tablespace goes.
#[derive(Debug)]
pub struct TablespaceTarget {
    /// Its directory on the source.
    pub from: String,
    /// Its directory here.
    pub to: PathBuf,
    /// What is there.
    pub contents: DirectoryContents,
    /// The room there.
    pub room: FreeSpace,
    /// Bytes needed; None for unknown.
    pub bytes: Option<u64>,
    /// An unfinished clone has written to it: ours to empty.
    pub ours: bool,
}

impl TablespaceTarget {
    /// There is nothing to remove.
    fn is_free(&self) -> bool {
        matches!(self.contents, DirectoryContents::Missing | DirectoryContents::Empty)
    }
}

/// A configuration file to copy.
#[derive(Debug)]
pub struct ExternalCopy {
    /// Its path on the source.
    pub from: String,
    /// Its path here; relative to the data directory if it goes there.
    pub to: PathBuf,
    /// What was read, or why it could not be.
    pub contents: Result<FileRead, NotRead>,
    /// It can be written here, or why not.
    pub problem: Option<String>,
}

/// A configuration file that was read.
#[derive(Debug)]
pub struct FileRead {
    /// The secret that holds its contents.
    pub secret: String,
    /// Its mode, if it could be read.
    pub mode: Option<u32>,
    /// The user that it belongs to on the source, where that is another one than it will belong to here.
    pub owner: Option<String>,
    /// The way there: `over SQL`.
    pub how: String,
}

/// Why a configuration file was not read.
#[derive(Debug)]
pub struct NotRead {
    /// Facts, as whole sentences.
    pub why: String,
    /// What would help on the way by the source's host.
    pub hint: Option<String>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct CloneOptions {
    /// This node's number.
    pub node_id: i32,
    /// This node's name.
    pub node_name: String,
    /// This node's own conninfo.
    pub conninfo: Conninfo,
    /// Where the copy goes.
    pub data_directory: PathBuf,
    /// Use a slot on the upstream.
    pub use_slot: bool,
    /// pg_basebackup.
    pub pg_basebackup: String,
    /// pg_verifybackup, if the copy is to be verified.
    pub pg_verifybackup: Option<String>,
    /// The source as it was named on the command line: the place of the slot where no upstream is registered.
    pub source: Endpoint,
    /// Where a superuser makes the slot, because the role may not.
    pub slot_on: Option<Endpoint>,
    /// How pg_basebackup reaches the source, without secrets.
    pub backup_conninfo: String,
    /// Variables for pg_basebackup whose values are secrets.
    pub backup_secrets: Vec<(String, String)>,
    /// A service file with a passphrase to make for pg_basebackup: (path, secret).
    pub service_file: Option<(PathBuf, String)>,
    /// A spread checkpoint.
    pub spread_checkpoint: bool,
    /// `pg_basebackup_options`, as words.
    pub extra_options: Vec<String>,
    /// `primary_conninfo`, in pieces.
    pub primary_conninfo: Vec<ValuePart>,
    /// Settings of the configuration that go into the clone: `restore_command`, `archive_cleanup_command`,
    /// `recovery_min_apply_delay`.
    pub settings: Vec<(String, String)>,
    /// The port that this node's conninfo names, to be set in the clone; None to leave it.
    pub port: Option<String>,
    /// Copy external configuration files; None leaves them.
    pub copy_external: bool,
    /// Only write the configuration into the existing directory.
    pub conf_only: bool,
    /// `--force`.
    pub force: bool,
}

/// Plans a clone.
pub fn plan(facts: &CloneFacts, options: &CloneOptions) -> Plan {
    let name = &options.node_name;
    let upstream = facts.upstream_id.and_then(|id| facts.cluster.node(id));
    let checks = checks(facts, options, upstream);
    let slot = options.use_slot.then(|| node::slot_name(options.node_id));
    let data = &options.data_directory;

    let mut phases = Vec::new();
    let mut back = Vec::new();
    let mut undo_slot = Vec::new();
    if !options.conf_only && !facts.writers.is_empty() {
        let step = end_writers(options, &facts.writers);
        phases.push(phase("end the interrupted clone", vec![step]));
    }
    if let Some(slot) = &slot {
        let (steps, undo) = slot_steps(slot, facts, options, upstream);
        phases.push(phase("reserve WAL on the upstream", steps));
        undo_slot = undo;
    }
    if options.conf_only {
        let mut steps = configuration(facts, options, data, slot.as_deref());
        steps.extend(facts.leftover.as_deref().map(remove_leftover));
        phases.push(phase("configure replication", steps));
    } else {
        let staging = data.join(STAGING);
        let copy = staging.join(COPY);
        phases.push(phase("claim the data directory", claim(facts, options)));
        phases.push(phase(
            "copy",
            vec![base_backup(options, &facts.source_name, &copy, slot.as_deref(), facts)],
        ));
        let mut finish = Vec::new();
        if let Some(tool) = &options.pg_verifybackup {
            finish.push(Step::new(
                "verify_backup",
                "check the copy against its manifest",
                Op::Run(Command::new(tool, ["--quiet".to_string(), copy.display().to_string()])),
                BACKUP_S,
                Exit::BaseBackup,
            ));
        }
        finish.extend(configuration(facts, options, &copy, slot.as_deref()));
        finish.push(put_in_place(copy, data));
        phases.push(phase("configure it as a standby", finish));
        back.extend(emptied_again(facts, options));
        let mut after = vec![Step::new(
            "remove_marker",
            "remove the marker of an unfinished clone",
            Op::File(FileOp::RemoveDirectory { path: staging }),
            SHORT_S,
            Exit::LocalCommand,
        )];
        after.extend(record_slot(facts, options, slot.as_deref()));
        phases.push(Phase { on_failure: OnFailure::Continue, ..phase("finish", after) });
    }
    // Last: the base backup that was ended releases the slot a moment later.
    back.extend(undo_slot);
    let always = options.service_file.as_ref().map(|(path, _)| {
        Step::new(
            "remove_service_file",
            "remove the connection service file",
            Op::File(FileOp::RemoveFile { path: path.clone() }),
            SHORT_S,
            Exit::LocalCommand,
        )
    });
    let verb = if options.conf_only { "configure" } else { "clone" };
    let primary = facts.cluster.primaries().next().map(|(node, _)| endpoint(node));
    let event = (!options.conf_only).then(|| {
        let details = format!("cloned from \"{}\"", facts.source_name);
        PlannedEvent::recorded("standby_clone", options.node_id, details, primary.as_ref())
    });
    Plan {
        checks,
        phases,
        rollback: back,
        always: always.into_iter().collect(),
        back_failed: Exit::LocalCommand,
        incomplete: Exit::Query,
        notifications: event.into_iter().collect(),
        announce_on: primary,
        ..Plan::nothing(format!("{verb} standby \"{name}\" from \"{}\"", facts.source_name))
    }
}

/// Moves a complete copy to where it belongs.
fn put_in_place(copy: PathBuf, data: &Path) -> Step {
    Step::new(
        "put_in_place",
        format!("move the complete copy to \"{}\"", data.display()),
        Op::File(FileOp::MoveEntries {
            from: copy,
            to: data.to_path_buf(),
            first: vec!["standby.signal".into(), "postgresql.auto.conf".into()],
            last: vec!["global".into(), "PG_VERSION".into()],
        }),
        SHORT_S,
        Exit::LocalCommand,
    )
    .uninterruptible()
    // From here on the copy is complete: what fails later, or a Ctrl-C, is no reason to remove it again.
    .no_return()
    .on_resume(OnResume::AgainUnless(Probe::Exists { path: data.join("PG_VERSION") }))
}

fn phase(title: &str, steps: Vec<Step>) -> Phase {
    Phase { title: title.into(), order: Order::InOrder, on_failure: OnFailure::Stop, outage: false, steps }
}

/// Says whether an interrupted clone of this node is taken over.
fn is_taken_over(facts: &CloneFacts) -> bool {
    matches!(facts.directory, DirectoryContents::UnfinishedClone(_)) || !facts.writers.is_empty()
}
