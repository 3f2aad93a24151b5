//! The plan of `standby clone`. Pure.
//!
//! The order makes an abort at any point harmless. pg_basebackup would leave a directory that starts as a second primary on the same
//! timeline if somebody started it before `standby.signal` is written. So the copy is made in a directory inside the data directory
//! (`facts::directory::STAGING`), completed there, and moved up: `standby.signal` first, `global` with the control file and `PG_VERSION`
//! last. Until the last rename there is nothing that pg_ctl would start, whoever is killed and whenever.

use std::path::{Path, PathBuf};

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::directory::{COPY, Contents, MARKER, Marker, STAGING};
use crate::facts::server::ServerFacts;
use crate::facts::source::Source;
use crate::pg::conninfo::Conninfo;
use crate::pg::quote::quote_ident;
use crate::plan::register::{drop_inactive_slot, endpoint};
use crate::plan::{
    Back, Check, Command, Endpoint, OnFailure, OnResume, Op, Order, Phase, Piece, Plan, Probe, Setting,
    Statement, Step, Waiver,
};
use crate::registry::schema::{Present, Verdict as SchemaVerdict};
use crate::registry::{NodeType, node};

/// Seconds that an operation on the local disk or one statement may take.
const SHORT_S: u32 = 60;
/// Seconds in which a slot must be free whose user was ended: a little more than the default of `wal_sender_timeout`.
const SLOT_S: u32 = 75;
/// Seconds that a base backup may take in all. Its real bound is `silent_at_most_s`.
const BACKUP_S: u32 = 14 * 24 * 3600;
/// Seconds for which pg_basebackup may show no progress: it syncs a large copy to disk without a word.
const SILENT_S: u32 = 1800;
/// The same with a spread checkpoint, which it waits for without a word.
const SILENT_SPREAD_S: u32 = 2 * 3600;

/// Everything that the plan depends on.
#[derive(Debug)]
pub struct CloneFacts {
    /// The server to copy.
    pub source: ServerFacts,
    /// More about it.
    pub details: Source,
    /// How to name it to people: its node name if it is registered.
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
    /// The system identifier found in it, where it is a data directory.
    pub directory_identifier: Option<String>,
    /// The data directory is writable, or can be made.
    pub directory_problem: Option<String>,
    /// Bytes free where the data directory is, what is to be removed counted as free.
    pub free_bytes: u64,
    /// Where tablespaces go, what is there, and the bytes free there.
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
}

impl CloneFacts {
    /// Returns the directories outside the data directory that are filled.
    fn outside(&self) -> impl Iterator<Item = &TablespaceTarget> {
        self.tablespaces.iter().chain(&self.waldir)
    }
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
    /// Bytes free there.
    pub free_bytes: u64,
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
    /// The secret that holds its contents, or why it could not be read.
    pub contents: Result<String, String>,
    /// It can be written here, or why not.
    pub problem: Option<String>,
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
        phases.push(phase("configure replication", configuration(facts, options, data, slot.as_deref())));
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
            .uninterruptible(),
        );
        phases.push(phase("make it a standby", finish));
        back.extend(emptied_again(facts, options));
        let mut after = vec![Step::new(
            "remove_marker",
            "remove the mark of an unfinished clone",
            Op::RemoveDirectory { path: staging },
            SHORT_S,
            Exit::LocalCommand,
        )];
        after.extend(record_slot(facts, options, slot.as_deref()));
        phases.push(Phase { on_failure: OnFailure::Continue, ..phase("finish", after) });
    }
    // Last: the base backup that was ended lets go of the slot a moment later.
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
        title: format!("{verb} standby \"{name}\" from \"{}\"", facts.source_name),
        checks,
        phases,
        back,
        always: always.into_iter().collect(),
        verify: Vec::new(),
        back_failed: Exit::LocalCommand,
        incomplete: Exit::Query,
        announce_on: facts.cluster.primaries().next().map(|(node, _)| endpoint(node)),
    }
}

fn phase(title: &str, steps: Vec<Step>) -> Phase {
    Phase { title: title.into(), order: Order::InOrder, on_failure: OnFailure::Stop, outage: false, steps }
}

/// Makes the slot; on the way back it is dropped if it was not there before.
fn slot_steps(
    slot: &str,
    facts: &CloneFacts,
    options: &CloneOptions,
    upstream: Option<&NodeFacts>,
) -> (Vec<Step>, Vec<Back>) {
    let on = upstream.map_or_else(|| options.source.clone(), endpoint);
    let there = slot_server(facts, upstream).is_some_and(|server| server.slot(slot).is_some());
    // A clone that was killed has left it: it is ours, and nobody else needs it.
    let left = is_taken_over(facts);
    let step = Step::new(
        "create_slot",
        format!("{} slot \"{slot}\" on {}", if there { "keep the unused" } else { "create" }, on.name),
        Op::Sql {
            on: on.clone(),
            // Reserved at once: without it nothing is kept until somebody connects, which may be hours from now.
            statements: vec![
                Statement::new(
                    "SELECT pg_create_physical_replication_slot($1, true)::text WHERE NOT EXISTS \
                     (SELECT FROM pg_replication_slots WHERE slot_name = $1)",
                )
                .bind(slot),
            ],
        },
        SHORT_S,
        Exit::Query,
    );
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
    if !there || left {
        let drop = Step::new(
            "drop_slot",
            format!("drop slot \"{slot}\" on {}", on.name),
            Op::Sql { on: on.clone(), statements: vec![drop_inactive_slot(slot)] },
            SHORT_S,
            Exit::Query,
        );
        for step in [free("wait_for_slot_again"), drop] {
            back.push(Back { if_started: vec!["create_slot".into()], step });
        }
    }
    let in_use =
        slot_server(facts, upstream).and_then(|server| server.slot(slot)).is_some_and(|slot| slot.active);
    let mut steps = vec![step];
    if in_use && left {
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
        format!("make \"{}\"", data.display()),
        Op::MakeDirectory { path: data.clone(), mode },
        SHORT_S,
    ));
    steps.push(local(
        "make_staging",
        format!("make \"{}\"", staging.display()),
        Op::MakeDirectory { path: staging.clone(), mode: 0o700 },
        SHORT_S,
    ));
    let marker = Marker {
        note: "pgbaton makes a clone here; until it is complete, the next \"pgbaton standby clone\" takes the directory over"
            .into(),
        tablespaces: facts.outside().map(|target| target.to.clone()).collect(),
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
            format!("remove everything else in \"{}\"", data.display()),
            Op::ClearDirectory { path: data.clone(), keep: vec![STAGING.into()] },
            3600,
        ));
        steps.push(local(
            "clear_copy",
            "remove what an earlier clone had copied".into(),
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
        "end the base backup that an interrupted clone has left running",
        Op::Run(Command::new("/bin/sh", args)),
        SHORT_S,
        Exit::LocalCommand,
    )
}

/// Empties again what the clone has filled. The mark goes last: whoever is cut short here is taken over by the next clone.
fn emptied_again(facts: &CloneFacts, options: &CloneOptions) -> Vec<Back> {
    let data = &options.data_directory;
    let staging = data.join(STAGING);
    let empty = |path: &Path, keep: &[&str]| Op::ClearDirectory {
        path: path.to_path_buf(),
        keep: keep.iter().map(ToString::to_string).collect(),
    };
    let title = |path: &Path| format!("empty \"{}\" again", path.display());
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
    let mark = "remove the mark of an unfinished clone".to_string();
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
            hint: "A base backup cannot be continued: run \"pgbaton standby clone\" again, it takes the directory over.".into(),
        },
    )
}

/// Says whether WAL is streamed beside the copy, given the options for pg_basebackup.
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
            if let Ok(secret) = &file.contents {
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
    let remove = crate::facts::source::RECOVERY_SETTINGS
        .split(',')
        .map(|name| name.trim().trim_matches('\'').to_string())
        .collect();
    steps.push(local(
        "write_settings",
        "write the replication settings".into(),
        Op::WriteSettings { path: directory.join("postgresql.auto.conf"), remove, set, mode },
    ));
    if !options.conf_only {
        steps.push(local(
            "remove_copied_mark",
            "remove what an unfinished clone has left in the source".into(),
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

/// Returns the value that makes a recovery setting have no effect.
fn neutral(name: &str) -> &'static str {
    match name {
        "recovery_target_timeline" => "latest",
        "recovery_target_action" => "pause",
        "recovery_target_inclusive" => "on",
        "recovery_min_apply_delay" => "0",
        _ => "",
    }
}

/// Brings the slot in an existing record of this node up to date.
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

fn checks(facts: &CloneFacts, options: &CloneOptions, upstream: Option<&NodeFacts>) -> Vec<Check> {
    let mut checks = vec![versions(facts), directory(facts, options)];
    checks.extend(membership(facts, options, upstream));
    checks.extend(source(facts, options));
    checks.extend(upstream_ready(facts, options, upstream));
    checks.push(login(
        "base_backup_login",
        "base backup",
        &facts.source_name,
        &facts.backup_login,
        options,
        false,
    ));
    let up_name = upstream.map_or(facts.source_name.as_str(), |node| &node.row.node_name);
    checks.push(login("receiver_login", "WAL receiver", up_name, &facts.receiver_login, options, true));
    if !options.conf_only {
        checks.extend(space(facts, options));
        checks.extend(tablespaces(facts, options));
        checks.extend(extra_options(&options.extra_options));
    }
    checks.extend(external(facts, options));
    checks
}

/// Options for pg_basebackup that would take the copy elsewhere.
fn extra_options(words: &[String]) -> Vec<Check> {
    let refuse = |word: &str, why: &str, hint: &str| {
        Check::fail("pg_basebackup_options", format!("pg_basebackup_options cannot contain \"{word}\""))
            .detail(why)
            .hint(hint)
    };
    let mut checks = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let is = |short: &str, long: &str| {
            word.starts_with(short) && !word.starts_with("--")
                || word == long
                || word.strip_prefix(long).is_some_and(|rest| rest.starts_with('='))
        };
        let value = || word.trim_start_matches("--format").trim_start_matches("-F").trim_start_matches('=');
        if is("-D", "--pgdata") {
            checks.push(refuse(word, "pgbaton decides where the copy goes.", "Set data_directory."));
        } else if is("-T", "--tablespace-mapping") {
            checks.push(refuse(word, "pgbaton maps tablespaces itself.", "Set tablespace_mapping."));
        } else if is("-F", "--format") {
            let value =
                if value().is_empty() { words.get(i + 1).map_or("", String::as_str) } else { value() };
            if !value.starts_with('p') {
                checks.push(refuse(word, "A standby needs the files themselves.", "Remove it."));
            }
        } else if is("-t", "--target") {
            checks.push(refuse(word, "A standby needs the files on this host.", "Remove it."));
        }
    }
    checks
}

fn versions(facts: &CloneFacts) -> Check {
    const NAME: &str = "versions";
    let major = facts.source.version_num / 10_000;
    match &facts.tools_major {
        _ if !(13..=18).contains(&major) => {
            Check::fail(NAME, format!("PostgreSQL {} is not supported", facts.source.version))
                .detail("pgbaton supports PostgreSQL 13 to 18.")
        }
        Err(why) => {
            Check::fail(NAME, format!("the programs of PostgreSQL {major} were not found on this host"))
                .detail(why.clone())
                .hint(
                    "Set pg_bindir in the configuration, or install the package, for instance \"postgresql-"
                        .to_string()
                        + &major.to_string()
                        + "\".",
                )
        }
        Ok(tools) if *tools != major => Check::fail(
            NAME,
            format!("pg_basebackup is of PostgreSQL {tools}, the source runs {}", facts.source.version),
        )
        .hint(format!("Set pg_bindir to the programs of PostgreSQL {major}.")),
        Ok(_) => Check::pass(NAME, format!("source and programs are of PostgreSQL {major}")),
    }
}

fn directory(facts: &CloneFacts, options: &CloneOptions) -> Check {
    const NAME: &str = "data_directory";
    let path = options.data_directory.display();
    if let Some(problem) = &facts.directory_problem {
        return Check::fail(NAME, format!("data directory \"{path}\" cannot be used"))
            .detail(problem.clone());
    }
    let major = facts.source.version_num / 10_000;
    match &facts.directory {
        Contents::DataDirectory { running: Some(pid), .. } => {
            Check::fail(NAME, format!("a server is running on data directory \"{path}\""))
                .detail(format!("Its process ID is {pid}."))
                .hint("Stop it first: \"pgbaton node stop\".")
        }
        Contents::DataDirectory { major: found, .. } if options.conf_only => {
            if *found != major.to_string() {
                Check::fail(NAME, format!("data directory \"{path}\" is of PostgreSQL {found}"))
                    .detail(format!("The source runs PostgreSQL {}.", facts.source.version))
            } else if facts.directory_identifier.as_deref() != Some(&facts.source.system_identifier) {
                foreign(facts, &path.to_string())
            } else {
                Check::pass(NAME, format!("\"{path}\" is a data directory of this cluster"))
            }
        }
        _ if options.conf_only => Check::fail(NAME, format!("\"{path}\" is not a data directory"))
            .detail("It has no PG_VERSION.")
            .hint("Leave out --replication-conf-only to make a clone there."),
        Contents::Missing | Contents::Empty => {
            Check::pass(NAME, format!("\"{path}\" is empty or can be made"))
        }
        Contents::UnfinishedClone(_) => {
            Check::pass(NAME, format!("\"{path}\" holds an unfinished clone, which is taken over"))
        }
        Contents::DataDirectory { major: found, .. } if *found != major.to_string() => {
            Check::fail(NAME, format!("\"{path}\" is a data directory of PostgreSQL {found}"))
                .detail(format!(
                    "The source runs PostgreSQL {}; nothing is removed that is not of this cluster.",
                    facts.source.version
                ))
                .hint(format!("If it is not needed, move it away: mv {path} {path}.old"))
        }
        Contents::DataDirectory { .. }
            if facts.directory_identifier.as_deref() == Some(&facts.source.system_identifier) =>
        {
            Check::fail(NAME, format!("\"{path}\" is already a data directory of this cluster"))
                .detail("It may be a former primary with transactions that nobody else has.")
                .hint("Make sure that nobody needs what is in it: the clone removes it.")
                .waivable(Waiver::Force, options.force)
        }
        Contents::DataDirectory { .. } => foreign(facts, &path.to_string()),
        Contents::Other(names) => Check::fail(NAME, format!("directory \"{path}\" is not empty"))
            .detail(format!(
                "It holds {}, and is no data directory: pgbaton does not remove what is not PostgreSQL's.",
                quoted(names)
            ))
            .hint("Empty it, or set data_directory to another path. Below a mount point use a subdirectory."),
        Contents::Unreadable(why) => {
            Check::fail(NAME, format!("could not look into directory \"{path}\"")).detail(why.clone())
        }
    }
}

fn foreign(facts: &CloneFacts, path: &str) -> Check {
    Check::fail("data_directory", format!("\"{path}\" is a data directory of another cluster"))
        .detail(format!(
            "Its system identifier is {}, that of the source is {}.",
            facts.directory_identifier.as_deref().unwrap_or("unknown"),
            facts.source.system_identifier
        ))
        .hint(format!("If it is not needed, move it away: mv {path} {path}.old"))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// Who is who in the metadata.
fn membership(facts: &CloneFacts, options: &CloneOptions, upstream: Option<&NodeFacts>) -> Vec<Check> {
    let mut checks = Vec::new();
    match facts.present.verdict() {
        SchemaVerdict::Missing | SchemaVerdict::Foreign => {
            checks.push(
                Check::fail("metadata", format!("database \"{}\" of the source has no metadata", facts.present.database))
                    .hint("Run \"pgbaton primary register\" on the primary first, or name the right database with -d.")
                    .waivable(Waiver::Force, options.force),
            );
            return checks;
        }
        _ => checks.push(Check::pass("metadata", "the source has the metadata")),
    }
    let is_witness = facts
        .source_id
        .and_then(|id| facts.cluster.node(id))
        .is_some_and(|node| node.row.node_type == NodeType::Witness);
    if is_witness {
        checks.push(
            Check::fail("source_role", format!("\"{}\" is a witness", facts.source_name))
                .detail("A witness does not hold the cluster's data.")
                .hint("Clone from the primary or from a standby."),
        );
    } else if facts.source.in_recovery && facts.cluster.primaries().next().is_none() {
        checks.push(
            Check::fail("source_role", "the primary cannot be reached")
                .detail(format!(
                    "\"{}\" is a standby: what it holds may be behind, and nobody can record the clone.",
                    facts.source_name
                ))
                .waivable(Waiver::Force, options.force),
        );
    } else {
        checks.push(Check::pass("source_role", format!("\"{}\" can be copied", facts.source_name)));
    }
    for node in &facts.cluster.nodes {
        let (row, server) = (&node.row, node.facts());
        if row.node_type != NodeType::Witness
            && server.is_some_and(|server| server.system_identifier != facts.source.system_identifier)
        {
            checks.push(
                Check::fail(
                    "same_cluster",
                    format!("the source belongs to another cluster than node \"{}\"", row.node_name),
                )
                .node(row.node_id)
                .detail(format!(
                    "The source's system identifier is {}, that of \"{}\" is {}.",
                    facts.source.system_identifier,
                    row.node_name,
                    server.map_or("", |server| &server.system_identifier)
                ))
                .hint("Check -h, -p and -d."),
            );
        }
        if row.node_id != options.node_id && row.node_name == options.node_name {
            checks.push(
                Check::fail(
                    "node_name_free",
                    format!("node name \"{}\" belongs to node {}", row.node_name, row.node_id),
                )
                .node(row.node_id)
                .hint("Choose another node_name."),
            );
        }
        if row.node_id == options.node_id && row.node_name != options.node_name {
            checks.push(
                Check::fail(
                    "node_id_free",
                    format!("node ID {} belongs to node \"{}\"", row.node_id, row.node_name),
                )
                .node(row.node_id)
                .hint("Choose another node_id, or waive this check if the node was renamed.")
                .waivable(Waiver::Force, options.force),
            );
        }
        if row.node_id == options.node_id && server.is_some() && !options.conf_only {
            checks.push(
                Check::fail(
                    "node_id_free",
                    format!("node \"{}\" is running at its registered address", row.node_name),
                )
                .node(row.node_id)
                .detail("A clone would be a second server with its number, name and slot.")
                .hint("Stop that server, or choose another node_id and node_name."),
            );
        }
    }
    if options.conf_only && facts.cluster.node(options.node_id).is_none() {
        checks.push(
            Check::fail("registered", format!("node \"{}\" is not registered", options.node_name))
                .hint("Leave out --replication-conf-only, or register the node with \"pgbaton standby register --force\"."),
        );
    }
    match (upstream, facts.upstream_id) {
        (Some(node), Some(id)) if id == options.node_id => checks.push(
            Check::fail("upstream", format!("node \"{}\" cannot be its own upstream", node.row.node_name))
                .hint("Choose another --upstream-node-id."),
        ),
        (Some(node), _) => match &node.server {
            Ok(_) => checks.push(Check::pass("upstream", format!("the upstream \"{}\" answers", node.row.node_name))),
            Err(silence) => checks.push(
                Check::fail("upstream", format!("the upstream \"{}\" cannot be reached", node.row.node_name))
                    .node(node.row.node_id)
                    .detail(format!("{}.", silence.message))
                    .exit(Exit::Connection),
            ),
        },
        (None, Some(id)) => checks.push(
            Check::fail("upstream", format!("upstream node {id} is not registered"))
                .hint("Run \"pgbaton cluster show\" to see the nodes that are."),
        ),
        (None, None) => checks.push(
            Check::fail("upstream", "no primary is registered")
                .hint("Run \"pgbaton primary register\" on the primary, or name a node with --upstream-node-id.")
                .waivable(Waiver::Force, options.force),
        ),
    }
    checks
}

/// Settings of the source.
fn source(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    let details = &facts.details;
    let mut checks = Vec::new();
    if details.wal_level != "replica" && details.wal_level != "logical" {
        checks.push(
            Check::fail("wal_level", format!("wal_level is \"{}\" on the source", details.wal_level))
                .hint("On the source run: ALTER SYSTEM SET wal_level = 'replica'; then restart it."),
        );
    }
    if !details.hot_standby {
        checks.push(
            Check::fail("hot_standby", "hot_standby is off on the source")
                .detail("A standby with this setting accepts no connections, so it cannot be registered or watched.")
                .hint("On the source run: ALTER SYSTEM SET hot_standby = on; then restart it."),
        );
    }
    // A library does the command's work from PostgreSQL 15 on.
    let nothing_archives = details.archive_command.as_deref().is_some_and(str::is_empty)
        && details.archive_library.as_deref().unwrap_or("").is_empty();
    if details.archive_mode != "off" && nothing_archives {
        checks.push(
            Check::fail("archive_command", "archive_mode is on but archive_command is empty on the source")
                .detail("WAL piles up there until the disk is full.")
                .hint("Set archive_command and reload, or set archive_mode = off and restart.")
                .waivable(Waiver::Force, options.force),
        );
    }
    if !details.data_checksums && !details.wal_log_hints {
        checks.push(
            Check::warning("rewind_possible", "pg_rewind will not be able to bring a failed primary back")
                .detail("The source has neither data checksums nor wal_log_hints.")
                .hint("On the source run: ALTER SYSTEM SET wal_log_hints = on; then restart it."),
        );
    }
    if !details.full_page_writes {
        checks.push(
            Check::warning("full_page_writes", "full_page_writes is off on the source")
                .detail("pg_rewind needs it, and a base backup of a standby does too.")
                .hint("On the source run: ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();"),
        );
    }
    let needed = if options.conf_only { 0 } else { 1 + i64::from(streams(&options.extra_options)) };
    let free = facts.source.max_wal_senders - details.wal_senders_used;
    if free < needed {
        checks.push(
            Check::fail("wal_senders", "the source has too few free WAL senders")
                .detail(format!(
                    "max_wal_senders is {}, {} are in use, and the base backup needs {needed}.",
                    facts.source.max_wal_senders, details.wal_senders_used
                ))
                .hint(format!(
                    "On the source run: ALTER SYSTEM SET max_wal_senders = {}; then restart it.",
                    facts.source.max_wal_senders + needed
                )),
        );
    }
    checks
}

/// Whether the upstream has room for a slot, and the role may make one.
fn upstream_ready(facts: &CloneFacts, options: &CloneOptions, upstream: Option<&NodeFacts>) -> Vec<Check> {
    let mut checks = Vec::new();
    let Some(server) = slot_server(facts, upstream) else { return checks };
    let name = upstream.map_or(facts.source_name.as_str(), |node| &node.row.node_name);
    let on = |check: Check| match upstream {
        Some(node) => check.node(node.row.node_id),
        None => check,
    };
    if !options.use_slot {
        return checks;
    }
    let slot_name = node::slot_name(options.node_id);
    let used = i64::try_from(server.slots.len()).unwrap_or(i64::MAX);
    let check =
        match server.slot(&slot_name) {
            Some(slot) if slot.active && !is_taken_over(facts) => {
                Check::fail("slot_free", format!("slot \"{slot_name}\" on \"{name}\" is in use"))
                    .detail("Another server streams with the slot of this node's number.")
                    .hint("Stop that server, or choose another node_id.")
            }
            Some(slot) if slot.slot_type != "physical" => {
                Check::fail("slot_free", format!("slot \"{slot_name}\" on \"{name}\" is a logical one"))
                    .hint("Choose another node_id, or set use_replication_slots = false.")
            }
            Some(slot) if slot.wal_status.as_deref() == Some("lost") => Check::fail(
                "slot_free",
                format!("slot \"{slot_name}\" on \"{name}\" has lost WAL and cannot be used"),
            )
            .hint(format!("On \"{name}\" run: SELECT pg_drop_replication_slot('{slot_name}');")),
            Some(_) => {
                Check::pass("slot_free", format!("slot \"{slot_name}\" on \"{name}\" is there and unused"))
            }
            None if used >= server.max_replication_slots => Check::fail(
                "slot_free",
                format!("\"{name}\" has no free replication slot"),
            )
            .detail(format!("max_replication_slots is {}, and {used} exist.", server.max_replication_slots))
            .hint(format!(
                "Drop an unused slot there (SELECT pg_drop_replication_slot(...)), or run on \"{name}\": \
                     ALTER SYSTEM SET max_replication_slots = {}; then restart it.",
                server.max_replication_slots + 4
            )),
            None => Check::pass("slot_free", format!("\"{name}\" has a free replication slot")),
        };
    checks.push(on(check));
    if !facts.details.role_replicates {
        checks.push(
            Check::fail(
                "role_replicates",
                format!("role \"{}\" may not create replication slots", facts.details.role),
            )
            .hint(format!("As superuser run: ALTER ROLE {} REPLICATION;", quote_ident(&facts.details.role))),
        );
    }
    checks
}

fn login(
    check: &str,
    who: &str,
    server: &str,
    result: &Result<(), String>,
    options: &CloneOptions,
    waivable: bool,
) -> Check {
    match result {
        Ok(()) => {
            Check::pass(check, format!("the replication connection of the {who} to \"{server}\" works"))
        }
        Err(why) => {
            let failed =
                Check::fail(check, format!("the {who} cannot connect to \"{server}\" for replication"))
                    .detail(crate::error::sentence(why))
                    .hint(login_hint(why, who));
            if waivable { failed.waivable(Waiver::Force, options.force) } else { failed }
        }
    }
}

/// Advice for the commonest reasons why a replication connection is refused.
///
/// `why` is what libpq printed: its first words and PostgreSQL's are the same in every version, as the tools run in the C locale.
fn login_hint(why: &str, who: &str) -> String {
    if let Some((_, rest)) = why.split_once("no pg_hba.conf entry for replication connection from host \"") {
        let host = rest.split('"').next().unwrap_or("");
        let user = rest.split("user \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
        let mask = if host.contains(':') { 128 } else { 32 };
        return format!(
            "Add this line to pg_hba.conf there and reload: host replication {} {host}/{mask} scram-sha-256",
            crate::pg::quote::quote_hba(user)
        );
    }
    if why.contains("must be superuser or replication role")
        || why.contains("permission denied to start WAL sender")
    {
        return "Give the role the REPLICATION attribute: ALTER ROLE name REPLICATION;".into();
    }
    if why.contains("no password supplied") || why.contains("password authentication failed") {
        return if who == "WAL receiver" {
            "Put a line for database \"replication\" into ~/.pgpass (mode 0600) of the user that the server runs as, or into a \
             file named by passfile; or set use_primary_conninfo_password = true and PGPASSWORD."
                .into()
        } else {
            "Set PGPASSWORD, or put a line for database \"replication\" into ~/.pgpass (mode 0600).".into()
        };
    }
    if why.contains("number of requested standby connections exceeds max_wal_senders") {
        return "Raise max_wal_senders there and restart.".into();
    }
    "Try it by hand: psql 'replication=true …' -c IDENTIFY_SYSTEM".into()
}

fn space(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    // WAL is streamed beside the copy while it is made: one segment at the least.
    let outside: u64 = facts.tablespaces.iter().filter_map(|target| target.bytes).sum();
    let needed = facts.details.total_bytes.saturating_sub(outside) + 2 * facts.source.wal_segment_bytes;
    let mut checks = vec![room("disk_space", &options.data_directory, needed, facts.free_bytes)];
    for target in &facts.tablespaces {
        if let Some(bytes) = target.bytes {
            checks.push(room("disk_space", &target.to, bytes, target.free_bytes));
        }
    }
    checks
}

fn room(name: &str, path: &Path, needed: u64, free: u64) -> Check {
    let mb = |bytes: u64| bytes.div_ceil(1024 * 1024);
    if free < needed {
        Check::fail(name, format!("the disk of \"{}\" is too small for the clone", path.display()))
            .detail(format!("The clone needs {} MB, {} MB are free.", mb(needed), mb(free)))
            .hint("Make room, or set data_directory (or tablespace_mapping) to a larger disk.")
    } else {
        Check::pass(
            name,
            format!("{} MB are free in \"{}\", {} MB are needed", mb(free), path.display(), mb(needed)),
        )
    }
}

fn tablespaces(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    facts
        .outside()
        .map(|target| {
            let path = target.to.display();
            match &target.contents {
                Contents::Missing | Contents::Empty => Check::pass("tablespaces", format!("\"{path}\" is empty or can be made")),
                _ if target.ours => Check::pass("tablespaces", format!("\"{path}\" was filled by the unfinished clone")),
                _ if facts.source_is_local && target.to == Path::new(&target.from) => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" is that of the source"))
                        .detail("Source and clone are on one host.")
                        .hint(format!("Set in the configuration: tablespace_mapping = [\"{path}={path}_{}\"]", options.node_name))
                }
                Contents::Other(names) if names.iter().all(|name| name.starts_with("PG_")) => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" is not empty"))
                        .detail(format!("It holds {}.", quoted(names)))
                        .hint("Map the tablespace with tablespace_mapping, or make sure that nobody needs what is in it: the clone removes it.")
                        .waivable(Waiver::Force, options.force)
                }
                _ => Check::fail("tablespaces", format!("tablespace directory \"{path}\" is not empty"))
                    .hint("Empty it, or map the tablespace with tablespace_mapping."),
            }
        })
        .collect()
}

fn external(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    let mut checks = Vec::new();
    if facts.external.is_empty() {
        if !facts.details.sees_settings {
            checks.push(
                Check::warning(
                    "external_files",
                    "cannot tell whether the source has configuration files elsewhere",
                )
                .detail(format!("Role \"{}\" may not see where its files are.", facts.details.role))
                .hint(format!("As superuser run: GRANT pg_monitor TO {};", quote_ident(&facts.details.role))),
            );
        }
        return checks;
    }
    if !options.copy_external {
        let names: Vec<String> = facts.external.iter().map(|file| file.from.clone()).collect();
        checks.push(
            Check::warning("external_files", "the source has configuration files outside its data directory")
                .detail(format!("They are {}; they are not copied.", quoted(&names)))
                .hint("This node needs its own, or use --copy-external-config-files."),
        );
        return checks;
    }
    for file in &facts.external {
        match (&file.contents, &file.problem) {
            (Err(why), _) => checks.push(
                Check::fail("external_files", format!("configuration file \"{}\" cannot be read", file.from))
                    .detail(crate::error::sentence(why))
                    .hint(format!(
                        "As superuser run: GRANT pg_read_server_files TO {role}; \
                         GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {role};",
                        role = quote_ident(&facts.details.role)
                    )),
            ),
            (Ok(_), Some(problem)) => checks.push(
                Check::fail(
                    "external_files",
                    format!("configuration file \"{}\" cannot be written", file.to.display()),
                )
                .detail(crate::error::sentence(problem))
                .hint("Use --copy-external-config-files=pgdata to put it into the data directory."),
            ),
            (Ok(_), None) => {
                checks.push(Check::pass(
                    "external_files",
                    format!("configuration file \"{}\" can be copied", file.from),
                ));
            }
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::source::{ExternalFile, Tablespace};
    use crate::plan::Verdict;
    use crate::registry::schema::NODE_COLUMNS;

    fn server() -> ServerFacts {
        serde_json::from_value(serde_json::json!({
            "version": "15.20", "version_num": 150_020, "system_identifier": "7000000000000000001",
            "started_at": "2026-11-21T10:00:00Z", "in_recovery": false, "timeline": 1,
            "current_lsn": "0/3000000", "receive_lsn": null, "replay_lsn": null, "last_replay_age_s": null,
            "replay_paused": null, "receiver": null, "senders": [], "slots": [],
            "synchronous_standby_names": "", "max_wal_senders": 10, "max_replication_slots": 10,
            "wal_segment_bytes": 16_777_216, "sees_senders": true, "reads_files": true
        }))
        .unwrap()
    }

    fn node(node_id: i32, kind: &str) -> NodeFacts {
        let row = serde_json::json!({
            "node_id": node_id, "upstream_node_id": null, "active": true, "node_name": format!("node{node_id}"),
            "type": kind, "location": "default", "priority": 100, "conninfo": format!("host=node{node_id}"),
            "repluser": "repmgr", "slot_name": null, "config_file": "/etc/pgbaton/pgbaton.toml"
        });
        NodeFacts { row: serde_json::from_value(row).unwrap(), server: Ok(server()) }
    }

    /// A clone of the registered primary node1 into an empty directory.
    fn facts() -> CloneFacts {
        CloneFacts {
            source: server(),
            details: Source {
                wal_level: "replica".into(),
                port: 5432,
                hot_standby: true,
                archive_mode: "off".into(),
                archive_command: Some(String::new()),
                archive_library: None,
                wal_log_hints: true,
                data_checksums: false,
                full_page_writes: true,
                data_directory: Some("/pg".into()),
                group_access: false,
                wal_senders_used: 0,
                total_bytes: 1 << 30,
                tablespaces: Vec::new(),
                external_files: Vec::new(),
                recovery_settings: Vec::new(),
                role: "repmgr".into(),
                role_replicates: true,
                sees_settings: true,
                reads_server_files: true,
            },
            source_name: "node1".into(),
            source_id: Some(1),
            present: present(true),
            cluster: ClusterFacts { nodes: vec![node(1, "primary")] },
            upstream_id: Some(1),
            directory: Contents::Missing,
            directory_identifier: None,
            directory_problem: None,
            free_bytes: 1 << 40,
            tablespaces: Vec::new(),
            waldir: None,
            writers: Vec::new(),
            tools_major: Ok(15),
            backup_login: Ok(()),
            receiver_login: Ok(()),
            external: Vec::new(),
            source_is_local: false,
        }
    }

    fn present(there: bool) -> Present {
        Present {
            extension: None,
            schema: there,
            occupied: there,
            node_columns: if there { NODE_COLUMNS.map(String::from).to_vec() } else { Vec::new() },
            events: there,
            own: there,
            closed_schemas: Vec::new(),
            closed_tables: Vec::new(),
            may_create: true,
            may_create_in_schema: true,
            may_create_in_own: true,
            read_only: false,
            database: "repmgr".into(),
            role: "repmgr".into(),
            schema_owner: None,
        }
    }

    fn options() -> CloneOptions {
        CloneOptions {
            node_id: 2,
            node_name: "node2".into(),
            conninfo: Conninfo::parse("host=node2").unwrap(),
            data_directory: "/data".into(),
            use_slot: true,
            pg_basebackup: "/bin/pg_basebackup".into(),
            pg_verifybackup: None,
            source: Endpoint { name: "node1".into(), conninfo: "host=node1".into(), secret: None },
            backup_conninfo: "host=node1".into(),
            backup_secrets: Vec::new(),
            service_file: None,
            spread_checkpoint: false,
            extra_options: Vec::new(),
            primary_conninfo: vec![Piece::Text("host=node1".into())],
            settings: Vec::new(),
            port: None,
            copy_external: false,
            conf_only: false,
            force: false,
        }
    }

    fn running(node: &mut NodeFacts) -> &mut ServerFacts {
        node.server.as_mut().unwrap()
    }

    type Change = fn(&mut CloneFacts, &mut CloneOptions);

    /// Returns what stops the clone after a change: name, exit code, and whether --force waives it.
    fn stopping(change: Change) -> Vec<(String, Exit, bool)> {
        let (mut facts, mut options) = (facts(), options());
        change(&mut facts, &mut options);
        let plan = plan(&facts, &options);
        assert_eq!(plan.defect(), None);
        let stopping = plan.checks.iter().filter(|check| check.stops());
        stopping
            .inspect(|check| assert!(check.detail.is_some() || check.hint.is_some(), "{check:?}"))
            .map(|check| (check.name.clone(), check.exit, check.waiver.is_some()))
            .collect()
    }

    #[test]
    fn a_plain_clone_passes_every_check() {
        assert_eq!(stopping(|_, _| {}), []);
        let plan = plan(&facts(), &options());
        assert!(plan.checks.iter().all(|check| check.verdict == Verdict::Pass), "{:?}", plan.checks);
    }

    #[test]
    fn every_cause_stops_it_by_its_name() {
        let cases: Vec<(&str, Exit, bool, Change)> = vec![
            ("versions", Exit::Failed, false, |facts, _| facts.source.version_num = 120_000),
            ("versions", Exit::Failed, false, |facts, _| facts.tools_major = Ok(14)),
            ("versions", Exit::Failed, false, |facts, _| facts.tools_major = Err("It is not there.".into())),
            ("data_directory", Exit::Failed, false, |facts, _| {
                facts.directory_problem = Some("This user may not write to it.".into());
            }),
            ("data_directory", Exit::Failed, false, |facts, _| {
                facts.directory = Contents::Other(vec!["x".into()]);
            }),
            ("data_directory", Exit::Failed, false, |facts, _| {
                facts.directory = Contents::Unreadable("No.".into());
            }),
            ("data_directory", Exit::Failed, false, |facts, _| {
                facts.directory = Contents::DataDirectory { major: "15".into(), running: Some(7) };
            }),
            ("data_directory", Exit::Failed, false, |facts, _| {
                facts.directory = Contents::DataDirectory { major: "14".into(), running: None };
            }),
            ("data_directory", Exit::Failed, false, |facts, _| {
                facts.directory = Contents::DataDirectory { major: "15".into(), running: None };
                facts.directory_identifier = Some("7000000000000000002".into());
            }),
            ("data_directory", Exit::Failed, true, |facts, _| {
                facts.directory = Contents::DataDirectory { major: "15".into(), running: None };
                facts.directory_identifier = Some(facts.source.system_identifier.clone());
            }),
            ("metadata", Exit::Failed, true, |facts, _| {
                facts.present = present(false);
                (facts.cluster, facts.source_id, facts.upstream_id) = (ClusterFacts::default(), None, None);
            }),
            ("source_role", Exit::Failed, false, |facts, _| {
                facts.cluster.nodes.push(node(3, "witness"));
                facts.source_id = Some(3);
            }),
            ("same_cluster", Exit::Failed, false, |facts, _| {
                running(&mut facts.cluster.nodes[0]).system_identifier = "7".into();
            }),
            ("node_name_free", Exit::Failed, false, |_, options| options.node_name = "node1".into()),
            ("node_id_free", Exit::Failed, false, |facts, _| facts.cluster.nodes.push(node(2, "standby"))),
            ("upstream", Exit::Failed, false, |facts, _| facts.upstream_id = Some(9)),
            ("upstream", Exit::Connection, false, |facts, _| {
                let silence = crate::facts::cluster::Silence {
                    answered: crate::pg::failure::Answered::Nothing,
                    message: "connection refused".into(),
                    detail: None,
                    hint: None,
                };
                facts.cluster.nodes.push(node(3, "standby"));
                facts.cluster.nodes[1].server = Err(silence);
                facts.upstream_id = Some(3);
            }),
            ("wal_level", Exit::Failed, false, |facts, _| facts.details.wal_level = "minimal".into()),
            ("hot_standby", Exit::Failed, false, |facts, _| facts.details.hot_standby = false),
            ("archive_command", Exit::Failed, true, |facts, _| facts.details.archive_mode = "on".into()),
            ("wal_senders", Exit::Failed, false, |facts, _| facts.details.wal_senders_used = 9),
            ("slot_free", Exit::Failed, false, |facts, _| {
                running(&mut facts.cluster.nodes[0]).max_replication_slots = 0;
            }),
            ("role_replicates", Exit::Failed, false, |facts, _| facts.details.role_replicates = false),
            ("base_backup_login", Exit::Failed, false, |facts, _| facts.backup_login = Err("no".into())),
            ("receiver_login", Exit::Failed, true, |facts, _| facts.receiver_login = Err("no".into())),
            ("disk_space", Exit::Failed, false, |facts, _| facts.free_bytes = 1 << 30),
            ("tablespaces", Exit::Failed, true, |facts, _| {
                facts.tablespaces.push(target(Contents::Other(vec!["PG_15_202209061".into()])));
            }),
            ("tablespaces", Exit::Failed, false, |facts, _| {
                facts.tablespaces.push(target(Contents::Other(vec!["diary".into()])));
            }),
            ("disk_space", Exit::Failed, false, |facts, _| {
                facts.tablespaces.push(TablespaceTarget { free_bytes: 1, ..target(Contents::Empty) });
            }),
            ("pg_basebackup_options", Exit::Failed, false, |_, options| {
                options.extra_options = vec!["-Ft".into()];
            }),
            ("pg_basebackup_options", Exit::Failed, false, |_, options| {
                options.extra_options = vec!["--pgdata=/elsewhere".into()];
            }),
            ("external_files", Exit::Failed, false, |facts, options| {
                facts.details.external_files =
                    vec![ExternalFile { path: "/etc/hba".into(), file_name: "hba".into() }];
                facts.external = vec![ExternalCopy {
                    from: "/etc/hba".into(),
                    to: "/etc/hba".into(),
                    contents: Err("permission denied".into()),
                    problem: None,
                }];
                options.copy_external = true;
            }),
        ];
        for (i, (name, exit, waivable, change)) in cases.into_iter().enumerate() {
            let found = stopping(change);
            assert!(found.contains(&(name.to_string(), exit, waivable)), "case {i}, {name}: {found:?}");
        }
    }

    fn target(contents: Contents) -> TablespaceTarget {
        TablespaceTarget {
            from: "/ts".into(),
            to: "/ts".into(),
            contents,
            free_bytes: 1 << 40,
            bytes: Some(1 << 20),
            ours: false,
        }
    }

    #[test]
    fn options_for_pg_basebackup_that_leave_the_copy_where_it_is_are_allowed() {
        for words in [vec!["-Fp"], vec!["--format=plain"], vec!["--max-rate=1M", "-v"], vec!["-c", "spread"]]
        {
            let words: Vec<String> = words.into_iter().map(String::from).collect();
            assert!(extra_options(&words).is_empty(), "{words:?}");
        }
    }

    #[test]
    fn a_slot_that_an_interrupted_clone_holds_is_waited_for_and_another_one_is_refused() {
        let mut facts = facts();
        running(&mut facts.cluster.nodes[0]).slots = vec![
            serde_json::from_value(serde_json::json!({
                "slot_name": "repmgr_slot_2", "slot_type": "physical", "active": true, "restart_lsn": "0/3000000",
                "wal_status": "reserved", "retained_bytes": 0
            }))
            .unwrap(),
        ];
        let ids = |facts: &CloneFacts| -> Vec<String> {
            plan(facts, &options()).steps().map(|step| step.id.clone()).collect()
        };
        assert!(
            plan(&facts, &options()).checks.iter().any(|check| check.name == "slot_free" && check.stops())
        );
        facts.writers = vec![7];
        facts.directory = Contents::UnfinishedClone(Marker { note: String::new(), tablespaces: Vec::new() });
        assert!(!plan(&facts, &options()).checks.iter().any(Check::stops));
        assert_eq!(ids(&facts).get(..3).unwrap(), ["end_writers", "wait_for_slot", "create_slot"]);
    }

    #[test]
    fn an_old_data_directory_is_marked_before_it_loses_anything() {
        let mut facts = facts();
        facts.directory = Contents::DataDirectory { major: "15".into(), running: None };
        facts.directory_identifier = Some(facts.source.system_identifier.clone());
        facts.details.tablespaces =
            vec![Tablespace { name: "ts".into(), location: "/ts".into(), bytes: None }];
        let options = CloneOptions { force: true, ..options() };
        let plan = plan(&facts, &options);
        let at = |id: &str| plan.steps().position(|step| step.id == id).unwrap();
        assert!(at("claim") < at("take_control_file"));
        assert!(at("take_control_file") < at("take_version_file"));
        assert!(at("take_version_file") < at("clear_data_directory"));
        assert!(at("write_standby_signal") < at("put_in_place"));
        // On the way back the mark goes after everything that it stands for.
        let back: Vec<&str> = plan.back.iter().map(|back| back.step.id.as_str()).collect();
        assert_eq!(back, ["empty_again", "remove_copy", "unclaim", "wait_for_slot_again", "drop_slot"]);
    }
}
