//! The plan of `standby clone`. Pure.
//!
//! The order makes an abort at any point harmless. pg_basebackup would leave a directory that starts as a second primary on the same
//! timeline if it was started before `standby.signal` is written. So the copy is made in a directory inside the data directory
//! (`facts::directory::STAGING`), completed there, and moved up: `standby.signal` first, `global` with the control file and `PG_VERSION`
//! last. Until the last rename there is nothing that pg_ctl would start, whatever is killed and whenever.

mod checks;
mod places;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use checks::checks;

pub use places::{Filled, Foreign};

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::directory::{COPY, Contents, MARKER, Marker, STAGING};
use crate::facts::server::ServerFacts;
use crate::facts::settings::neutral;
use crate::facts::source::{self, Source};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Endpoint;
use crate::pg::statement::Statement;
use crate::plan::register::{drop_inactive_slot, endpoint};
use crate::plan::{Back, OnFailure, OnResume, Op, Order, Phase, Piece, Plan, Probe, Setting, Step};
use crate::registry::node;
use crate::registry::schema::Present;
use crate::system::command::Command;

/// Seconds that an operation on the local disk or one statement may take.
const SHORT_S: u32 = 60;
/// Seconds in which a slot must be free whose user was ended: a little more than the default of `wal_sender_timeout`.
const SLOT_S: u32 = 75;
/// Seconds that a base backup may take in all. Its real bound is `silent_at_most_s`.
const BACKUP_S: u32 = 14 * 24 * 3600;
/// Seconds for which pg_basebackup may show no progress: it syncs a large copy to disk without output.
const SILENT_S: u32 = 1800;
/// The same with a spread checkpoint, which it waits for without output.
const SILENT_SPREAD_S: u32 = 2 * 3600;

/// Everything that the plan depends on.
#[derive(Debug)]
pub struct CloneFacts {
    /// The server to copy.
    pub source: ServerFacts,
    /// More about it.
    pub details: Source,
    /// Its name in messages: its node name if it is registered.
    pub source_name: String,
    /// Its node id, if it is registered.
    pub source_id: Option<i32>,
    /// The metadata in its database.
    pub present: Present,
    /// The registered nodes.
    pub cluster: ClusterFacts,
    /// The node to follow; None only where there is no metadata.
    pub upstream_id: Option<i32>,
    /// The data directory to fill.
    pub directory: Contents,
    /// What an earlier clone has left in it next to a complete data directory.
    pub leftover: Option<PathBuf>,
    /// The system identifier found in it, where it is a data directory.
    pub directory_identifier: Option<String>,
    /// The data directory is writable, or can be made.
    pub directory_problem: Option<String>,
    /// The room where the data directory is.
    pub room: Room,
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
    pub filled: Vec<Filled>,
    /// Directories of other servers on this host.
    pub foreign: Vec<Foreign>,
}

impl CloneFacts {
    /// Returns the directories outside the data directory that are filled.
    fn outside(&self) -> impl Iterator<Item = &TablespaceTarget> {
        self.tablespaces.iter().chain(&self.waldir)
    }
}

/// How much there is room for in a directory that the clone fills.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
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
    pub contents: Contents,
    /// The room there.
    pub room: Room,
    /// Bytes needed; None for unknown.
    pub bytes: Option<u64>,
    /// An unfinished clone has written to it: ours to empty.
    pub ours: bool,
}

impl TablespaceTarget {
    /// There is nothing to remove.
    fn is_free(&self) -> bool {
        matches!(self.contents, Contents::Missing | Contents::Empty)
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
    pub primary_conninfo: Vec<Piece>,
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
        finish.push(
            Step::new(
                "put_in_place",
                format!("move the complete copy to \"{}\"", data.display()),
                Op::MoveEntries {
                    from: copy,
                    to: data.clone(),
                    first: vec!["standby.signal".into(), "postgresql.auto.conf".into()],
                    last: vec!["global".into(), "PG_VERSION".into()],
                },
                SHORT_S,
                Exit::LocalCommand,
            )
            .uninterruptible()
            // From here on the copy is complete: what fails later, or a Ctrl-C, is no reason to remove it again.
            .no_return()
            .on_resume(OnResume::AgainUnless(Probe::Exists { path: data.join("PG_VERSION") })),
        );
        phases.push(phase("configure it as a standby", finish));
        back.extend(emptied_again(facts, options));
        let mut after = vec![Step::new(
            "remove_marker",
            "remove the marker of an unfinished clone",
            Op::RemoveDirectory { path: staging },
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
            Op::RemoveFile { path: path.clone() },
            SHORT_S,
            Exit::LocalCommand,
        )
    });
    let verb = if options.conf_only { "configure" } else { "clone" };
    Plan {
        checks,
        phases,
        back,
        always: always.into_iter().collect(),
        back_failed: Exit::LocalCommand,
        incomplete: Exit::Query,
        announce_on: facts.cluster.primaries().next().map(|(node, _)| endpoint(node)),
        ..Plan::nothing(format!("{verb} standby \"{name}\" from \"{}\"", facts.source_name))
    }
}

fn phase(title: &str, steps: Vec<Step>) -> Phase {
    Phase { title: title.into(), order: Order::InOrder, on_failure: OnFailure::Stop, outage: false, steps }
}

/// Creates the slot; the rollback drops it if it did not exist before.
fn slot_steps(
    slot: &str,
    facts: &CloneFacts,
    options: &CloneOptions,
    upstream: Option<&NodeFacts>,
) -> (Vec<Step>, Vec<Back>) {
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
            back.push(Back { if_started: vec!["create_slot".into()], step });
        }
    }
    let mut steps = vec![step];
    if left && present.is_some_and(|slot| slot.active) {
        steps.insert(0, free("wait_for_slot"));
    }
    (steps, back)
}

/// Says whether an interrupted clone of this node is taken over.
fn is_taken_over(facts: &CloneFacts) -> bool {
    matches!(facts.directory, Contents::UnfinishedClone(_)) || !facts.writers.is_empty()
}

/// Returns what the server says on which the slot is made.
fn slot_server<'a>(facts: &'a CloneFacts, upstream: Option<&'a NodeFacts>) -> Option<&'a ServerFacts> {
    match (upstream, facts.upstream_id) {
        (Some(node), _) => node.facts(),
        (None, None) => Some(&facts.source),
        (None, Some(_)) => None,
    }
}

/// Takes possession of the data directory and of the tablespaces' directories.
fn claim(facts: &CloneFacts, options: &CloneOptions) -> Vec<Step> {
    let data = &options.data_directory;
    let mode = if facts.details.group_access { 0o750 } else { 0o700 };
    let local = |id: &str, title: String, op: Op, timeout_s: u32| {
        Step::new(id, title, op, timeout_s, Exit::LocalCommand)
    };
    let mut steps = Vec::new();
    let staging = data.join(STAGING);
    steps.push(local(
        "make_data_directory",
        format!("create \"{}\"", data.display()),
        Op::MakeDirectory { path: data.clone(), mode },
        SHORT_S,
    ));
    steps.push(local(
        "make_staging",
        format!("create \"{}\"", staging.display()),
        Op::MakeDirectory { path: staging.clone(), mode: 0o700 },
        SHORT_S,
    ));
    let marker = Marker {
        note: "pgbaton makes a clone here; until it is complete, the next \"pgbaton standby clone\" takes the directory over"
            .into(),
        tablespaces: facts.outside().map(|target| target.to.clone()).collect(),
        waldir: facts.waldir.as_ref().map(|target| target.to.clone()),
    };
    steps.push(local(
        "claim",
        "mark the directory as an unfinished clone".into(),
        Op::WriteFile {
            path: staging.join(MARKER),
            contents: serde_json::to_string_pretty(&marker).unwrap_or_default(),
            mode: 0o600,
        },
        SHORT_S,
    ));
    if matches!(facts.directory, Contents::DataDirectory { .. }) {
        // First what makes it startable: half-emptied it must not come up. The mark is there before, so that the next clone takes
        // over what this one leaves.
        for (id, file) in [("take_control_file", "global/pg_control"), ("take_version_file", "PG_VERSION")] {
            let path = data.join(file);
            steps.push(local(id, format!("remove \"{}\"", path.display()), Op::RemoveFile { path }, SHORT_S));
        }
    }
    if !matches!(facts.directory, Contents::Missing | Contents::Empty) {
        steps.push(local(
            "clear_data_directory",
            format!("remove all other contents of \"{}\"", data.display()),
            Op::ClearDirectory { path: data.clone(), keep: vec![STAGING.into()] },
            3600,
        ));
        steps.push(local(
            "clear_copy",
            "remove the copy of an earlier clone".into(),
            Op::RemoveDirectory { path: staging.join(COPY) },
            3600,
        ));
    }
    for (i, target) in facts.outside().enumerate() {
        if !target.is_free() {
            steps.push(local(
                &format!("clear_tablespace_{i}"),
                format!("remove everything in \"{}\"", target.to.display()),
                Op::ClearDirectory { path: target.to.clone(), keep: Vec::new() },
                3600,
            ));
        }
    }
    if let Some((path, secret)) = &options.service_file {
        steps.push(local(
            "write_service_file",
            "write a connection service file for pg_basebackup".into(),
            Op::WriteSecretFile { path: path.clone(), secret: secret.clone(), mode: 0o600 },
            SHORT_S,
        ));
    }
    steps
}

/// Ends what an interrupted clone has left running: it would write into the copy that is made now.
///
/// A shell's work, so that each process is looked at once more in the moment before it is ended.
fn end_writers(options: &CloneOptions, writers: &[i32]) -> Step {
    const SCRIPT: &str = "place=$1; shift; for pid; do grep -qsF -- \"$place\" \"/proc/$pid/cmdline\" || continue; \
                          kill -KILL \"$pid\"; while grep -qsF -- \"$place\" \"/proc/$pid/cmdline\"; do sleep 0.05; done; done";
    let place = options.data_directory.join(STAGING).display().to_string();
    let mut args = vec!["-c".to_string(), SCRIPT.into(), "sh".into(), place];
    args.extend(writers.iter().map(ToString::to_string));
    Step::new(
        "end_writers",
        "end the base backup of an interrupted clone",
        Op::Run(Command::new("/bin/sh", args)),
        SHORT_S,
        Exit::LocalCommand,
    )
}

/// Empties again what the clone has filled. The mark goes last: the next clone takes over an interrupted rollback.
fn emptied_again(facts: &CloneFacts, options: &CloneOptions) -> Vec<Back> {
    let data = &options.data_directory;
    let staging = data.join(STAGING);
    let empty = |path: &Path, keep: &[&str]| Op::ClearDirectory {
        path: path.to_path_buf(),
        keep: keep.iter().map(ToString::to_string).collect(),
    };
    let title = |path: &Path| format!("delete what was copied to \"{}\"", path.display());
    let back = |if_started: Vec<String>, id: String, title: String, op: Op| Back {
        if_started,
        step: Step::new(id, title, op, 3600, Exit::LocalCommand),
    };
    // As long as nothing was removed from an old data directory, it stays.
    let begun = match facts.directory {
        Contents::DataDirectory { .. } => "take_control_file",
        _ => "make_staging",
    };
    let mut steps =
        vec![back(vec![begun.into()], "empty_again".into(), title(data), empty(data, &[STAGING]))];
    for (i, target) in facts.outside().enumerate() {
        let clear = (!target.is_free()).then(|| format!("clear_tablespace_{i}"));
        let if_started = clear.into_iter().chain(["base_backup".into()]).collect();
        steps.push(back(
            if_started,
            format!("empty_tablespace_{i}"),
            title(&target.to),
            empty(&target.to, &[]),
        ));
    }
    let copy = staging.join(COPY);
    let remove = format!("remove \"{}\"", copy.display());
    steps.push(back(
        vec!["base_backup".into()],
        "remove_copy".into(),
        remove,
        Op::RemoveDirectory { path: copy },
    ));
    let mark = "remove the marker of an unfinished clone".to_string();
    steps.push(back(
        vec!["make_staging".into()],
        "unclaim".into(),
        mark,
        Op::RemoveDirectory { path: staging },
    ));
    steps
}

fn base_backup(
    options: &CloneOptions,
    source_name: &str,
    copy: &Path,
    slot: Option<&str>,
    facts: &CloneFacts,
) -> Step {
    let checkpoint = if options.spread_checkpoint { "spread" } else { "fast" };
    let mut args: Vec<String> = vec![
        format!("--pgdata={}", copy.display()),
        format!("--dbname={}", options.backup_conninfo),
        format!("--checkpoint={checkpoint}"),
        "--label=pgbaton base backup".into(),
        "--progress".into(),
        "--no-password".into(),
    ];
    let given = |names: &[&str]| {
        options.extra_options.iter().any(|word| names.iter().any(|name| word.starts_with(name)))
    };
    if !given(&["-X", "--wal-method"]) {
        args.push("--wal-method=stream".into());
    }
    // The slot keeps WAL from the beginning of the copy on, if the copy comes from where the slot is.
    if let Some(slot) = slot
        && facts.source_id == facts.upstream_id
        && !given(&["-S", "--slot", "--no-slot"])
        && streams(&options.extra_options)
    {
        args.push(format!("--slot={slot}"));
    }
    for target in &facts.tablespaces {
        if target.to != Path::new(&target.from) {
            let escaped = |path: &str| path.replace('=', "\\=");
            args.push(format!(
                "--tablespace-mapping={}={}",
                escaped(&target.from),
                escaped(&target.to.display().to_string())
            ));
        }
    }
    args.extend(options.extra_options.iter().cloned());
    let mut command = Command::new(&options.pg_basebackup, args);
    command.secrets.clone_from(&options.backup_secrets);
    if let Some((path, _)) = &options.service_file {
        command.env.push(("PGSERVICEFILE".into(), path.display().to_string()));
    }
    command.silent_at_most_s = Some(if options.spread_checkpoint { SILENT_SPREAD_S } else { SILENT_S });
    Step::new("base_backup", format!("copy \"{source_name}\""), Op::Run(command), BACKUP_S, Exit::BaseBackup).on_resume(
        OnResume::Stop {
            hint: "A base backup cannot be resumed: run \"pgbaton standby clone\" again, which takes over the directory.".into(),
        },
    )
}

/// Says whether WAL is streamed next to the copy, given the options for pg_basebackup.
fn streams(extra_options: &[String]) -> bool {
    let mut words = extra_options.iter();
    while let Some(word) = words.next() {
        let method = match word.as_str() {
            "-X" | "--wal-method" => words.next().map(String::as_str),
            other => other.strip_prefix("--wal-method=").or_else(|| other.strip_prefix("-X")),
        };
        if let Some(method) = method {
            return method.starts_with('s');
        }
    }
    true
}

/// Makes a copy, or an existing data directory, a standby of the upstream.
fn configuration(
    facts: &CloneFacts,
    options: &CloneOptions,
    directory: &Path,
    slot: Option<&str>,
) -> Vec<Step> {
    let local = |id: &str, title: String, op: Op| Step::new(id, title, op, SHORT_S, Exit::LocalCommand);
    let mode = if facts.details.group_access { 0o640 } else { 0o600 };
    let mut steps = Vec::new();
    if options.copy_external {
        for (i, file) in facts.external.iter().enumerate() {
            if let Ok(FileRead { secret, mode: there, .. }) = &file.contents {
                let mode = there.unwrap_or(mode);
                let path = directory.join(&file.to);
                steps.push(local(
                    &format!("copy_file_{i}"),
                    format!("copy configuration file \"{}\" to \"{}\"", file.from, path.display()),
                    Op::WriteSecretFile { path, secret: secret.clone(), mode },
                ));
            }
        }
    }
    let mut set = vec![Setting { name: "primary_conninfo".into(), value: options.primary_conninfo.clone() }];
    if let Some(slot) = slot {
        set.push(Setting::new("primary_slot_name", slot));
    }
    for (name, value) in &options.settings {
        set.push(Setting::new(name, value));
    }
    if let Some(port) = &options.port {
        set.push(Setting::new("port", port));
    }
    // What the source has in a file that is copied would be obeyed here: a recovery target ends in a second primary.
    for name in &facts.details.recovery_settings {
        if !set.iter().any(|setting| setting.name == *name) {
            set.push(Setting::new(name, neutral(name)));
        }
    }
    let remove = source::removed().map(str::to_string).collect();
    steps.push(local(
        "write_settings",
        "write primary_conninfo and the other settings of a standby".into(),
        Op::WriteSettings { path: directory.join("postgresql.auto.conf"), remove, set, mode },
    ));
    if !options.conf_only {
        steps.push(local(
            "remove_copied_mark",
            "remove the marker of an interrupted clone from the copy, if it has one".into(),
            Op::RemoveDirectory { path: directory.join(STAGING) },
        ));
    }
    steps.push(local(
        "remove_recovery_signal",
        "remove recovery.signal".into(),
        Op::RemoveFile { path: directory.join("recovery.signal") },
    ));
    steps.push(local(
        "write_standby_signal",
        "write standby.signal".into(),
        Op::WriteFile { path: directory.join("standby.signal"), contents: String::new(), mode },
    ));
    if options.conf_only {
        steps.extend(record_slot(facts, options, slot));
    }
    steps
}

/// Removes the mark of a clone that is complete.
pub fn remove_leftover(staging: &Path) -> Step {
    Step::new(
        "remove_leftover",
        "remove the marker of the completed clone",
        Op::RemoveDirectory { path: staging.to_path_buf() },
        SHORT_S,
        Exit::LocalCommand,
    )
}

/// Updates the slot in an existing record of this node.
fn record_slot(facts: &CloneFacts, options: &CloneOptions, slot: Option<&str>) -> Option<Step> {
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
