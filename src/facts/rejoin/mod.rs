//! What is known of a node that is to rejoin: read from its files, because its server is down, or must be stopped anyway. And
//! what is asked of the primary.

mod rewind_source;

use std::collections::BTreeSet;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;

pub use self::rewind_source::{
    FUNCTIONS, RewindSource, grants_to_rewind, query_rewind_source, segments_gone,
};
use crate::facts::branch::{Branch, Fork, fork};
use crate::facts::lineage::{CheckpointSample, Lineage, TimelineStart};
use crate::pg::control_file::{self, ControlFile, ControlState};
use crate::pg::history::{Switch, TimelineId, parse_history};
use crate::pg::installation::ControlData;
use crate::pg::lsn::Lsn;
use crate::pg::wal::{self, CheckpointRecord, RecordRead, Wal};
use crate::system::{files, guarded_read, inspect};

/// This bit in the mode of a data directory says that a rewind has begun and not ended.
///
/// PostgreSQL starts no server on such a directory ("has invalid permissions"), whatever its files say, and without the right to enter it
/// no other user can use the write permission. Half-way through, pg_rewind leaves files that a server would start from.
pub const BLOCKED: u32 = 0o002;

/// The file by which a server knows that it is a standby.
pub const STANDBY_SIGNAL: &str = "standby.signal";

/// Entries of a data directory that are the server's own: a rewind makes them what they have to be.
const OWN: [&str; 31] = [
    "PG_VERSION",
    "backup_label",
    "backup_label.old",
    "backup_manifest",
    "base",
    "current_logfiles",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_multixact",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_xact",
    "pg_xlog",
    "postmaster.opts",
    "postmaster.pid",
    "promote",
    "recovery.done",
    "recovery.signal",
    STANDBY_SIGNAL,
    "tablespace_map",
    "tablespace_map.old",
];

/// What the files of a data directory say.
#[derive(Clone, Debug)]
pub struct LocalFiles {
    /// The data directory.
    pub data_directory: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// The major version.
    pub major: u32,
    /// The process id of the server that runs on it.
    pub running: Option<i32>,
    /// The beginning of the control file.
    pub control: ControlFile,
    /// `wal_log_hints` as it was when the server ran last.
    pub wal_log_hints: bool,
    /// Data checksums are on.
    pub checksums: bool,
    /// The timeline that it is on.
    pub timeline: TimelineId,
    /// Where its WAL ends, once that was looked for; None if that is unknown.
    pub end: Option<Lsn>,
    /// What was counted beyond a fork on that occasion.
    pub counted: Option<Loss>,
    /// On that occasion its last checkpoint was not where it should be in its WAL.
    pub overwritten: bool,
    /// Where its WAL comes from.
    pub lineage: Lineage,
    /// The history of its timeline.
    pub switches: Vec<Switch>,
    /// The length of its WAL segments.
    pub segment_bytes: u64,
    /// It has `standby.signal`.
    pub is_standby: bool,
    /// It is a base backup, or was rewound, and was not started since.
    pub backup_label: bool,
    /// The names of its replication slots.
    pub slots: Vec<String>,
    /// Those among them that are logical.
    pub logical_slots: Vec<String>,
    /// WAL segments and history files that wait to be archived.
    pub unarchived: Vec<String>,
    /// Files that are not the server's own, relative to the data directory: configuration, keys, logs.
    pub own_files: Vec<PathBuf>,
    /// Those among them that would stop pg_rewind: symbolic links, and files that must not be written.
    pub in_the_way: Vec<PathBuf>,
    /// Files that pg_rewind could not read or write, and that cannot be put aside.
    pub untouchable: Vec<PathBuf>,
}

/// WAL of the local node that the primary never had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// The last position that both share.
    pub fork: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// Transactions committed in it; None where not all of it is there to be read.
    pub commits: Option<u64>,
    /// When the first and the last of them were committed.
    pub between: Option<(Timestamp, Timestamp)>,
}

impl Loss {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.fork.0)
    }
}

/// What pg_rewind has to read of the local WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// All of it is there, from the last common checkpoint on.
    There {
        /// That checkpoint.
        checkpoint: CheckpointRecord,
        /// Segments that had to be fetched from the archive for that, in the directory for fetched ones.
        fetched: Vec<String>,
    },
    /// A segment is missing.
    Missing(String),
}

/// Reads what the files of a data directory say. `control_data` is what pg_controldata says.
///
/// # Errors
/// Fails where the control file cannot be read.
pub fn inspect_local_files(
    data: &Path,
    major: u32,
    running: Option<i32>,
    control_data: &ControlData,
) -> anyhow::Result<LocalFiles> {
    let mut local = look_at_history(data, major, running, control_data)?;
    if !local.is_half_rewound() {
        local.find_files();
    }
    Ok(local)
}

/// The same without a look at every single file, which takes long in a large data directory.
///
/// # Errors
/// As [`inspect_local_files`].
pub fn look_at_history(
    data: &Path,
    major: u32,
    running: Option<i32>,
    control_data: &ControlData,
) -> anyhow::Result<LocalFiles> {
    let control = control_file::read(data)?;
    // A server that was just promoted has written the new timeline there, and not yet into a checkpoint.
    let mut timeline = control.timeline.max(control_data.minimum_recovery_timeline.unwrap_or(TimelineId(0)));
    if matches!(control.state, ControlState::InArchiveRecovery | ControlState::ShutDownInRecovery) {
        timeline = received(data, timeline);
    }
    let (history, switches) = history_of(data, timeline)?;
    let mut local = LocalFiles {
        data_directory: data.to_path_buf(),
        mode: mode(data)?,
        major,
        running,
        wal_log_hints: control_data.wal_log_hints == Some(true),
        checksums: control_data.checksums == Some(true),
        timeline,
        end: control_data.minimum_recovery_end.filter(|end| *end > Lsn(0)),
        counted: None,
        overwritten: false,
        lineage: Lineage { history, ..Lineage::default() },
        switches,
        segment_bytes: 0,
        is_standby: data.join(STANDBY_SIGNAL).exists(),
        backup_label: data.join("backup_label").exists(),
        logical_slots: names(&data.join("pg_replslot"))
            .into_iter()
            .filter(|name| is_logical(&data.join("pg_replslot").join(name)))
            .collect(),
        slots: names(&data.join("pg_replslot")),
        unarchived: names(&data.join("pg_wal/archive_status"))
            .into_iter()
            .filter_map(|name| name.strip_suffix(".ready").map(str::to_string))
            .collect(),
        own_files: Vec::new(),
        in_the_way: Vec::new(),
        untouchable: Vec::new(),
        control,
    };
    if local.mode & BLOCKED != 0 {
        return Ok(local);
    }
    local.segment_bytes = wal::segment_bytes(&data.join("pg_wal"))?;
    local.find_timeline_start();
    local.find_sample();
    Ok(local)
}

impl LocalFiles {
    /// It was left in the middle of a rewind.
    pub fn is_half_rewound(&self) -> bool {
        self.mode & BLOCKED != 0
    }

    /// It accepted writes when it was stopped.
    pub fn was_primary(&self) -> bool {
        let standby = [ControlState::ShutDownInRecovery, ControlState::InArchiveRecovery];
        !standby.contains(&self.control.state) && !self.backup_label
    }

    /// The server was shut down cleanly.
    pub fn is_clean(&self) -> bool {
        [ControlState::ShutDown, ControlState::ShutDownInRecovery].contains(&self.control.state)
    }

    /// What there is to compare with another server.
    pub fn branch(&self) -> Branch<'_> {
        Branch {
            timeline: self.timeline,
            end: self.end,
            writes: self.was_primary(),
            streams: false,
            lineage: Some(&self.lineage),
            segment_bytes: self.segment_bytes,
        }
    }

    /// Opens its WAL; `more` is where fetched segments are.
    ///
    /// # Errors
    /// Fails where there is none.
    pub fn wal(&self, more: Option<&Path>) -> anyhow::Result<Wal> {
        Wal::open(&self.data_directory, self.timeline, self.switches.clone(), more)
    }

    /// Returns where it has diverged from another history.
    pub fn fork_from(&self, theirs: &[Switch], timeline: TimelineId) -> Fork {
        fork((&self.switches, self.timeline), (theirs, timeline))
    }

    /// Returns which of its WAL a server lacks that diverged from it at `fork`.
    ///
    /// # Errors
    /// Fails where the WAL cannot be read.
    pub fn loss(&self, fork: Lsn, more: Option<&Path>) -> anyhow::Result<Loss> {
        if let Some(counted) = self.counted.filter(|counted| counted.fork == fork) {
            return Ok(counted);
        }
        let known = Loss { fork, end: self.end.unwrap_or(fork), ..Loss::default() };
        Ok(match self.wal(more)?.stretch(fork, fork)? {
            Ok(stretch) => Loss {
                end: stretch.end.max(known.end),
                commits: Some(stretch.commits),
                between: stretch.between,
                ..known
            },
            Err(_) => known,
        })
    }

    /// Finds where the WAL ends: where no record follows any more after the last checkpoint. Commits beyond a fork are counted on the way.
    ///
    /// # Errors
    /// Fails where the WAL cannot be read.
    pub fn find_end(&mut self, fork: Fork) -> anyhow::Result<()> {
        let from = self.control.checkpoint;
        self.overwritten = self.is_overwritten()?;
        let count_from = match fork {
            Fork::At(fork) if fork >= from => fork,
            _ => Lsn(u64::MAX),
        };
        let Some(read) = self.wal(None)?.stretch(from, count_from)?.ok().filter(|read| read.end > from)
        else {
            return Ok(());
        };
        // What stands in the control file was replayed, even where the segment is gone.
        self.end = self.end.max(Some(read.end));
        if count_from < read.end {
            let commits = Some(read.commits);
            self.counted = Some(Loss { fork: count_from, end: read.end, commits, between: read.between });
        }
        Ok(())
    }

    /// Looks for the last checkpoint in the file of its own timeline: a copy of the same segment on a later one may not have come that far.
    fn is_overwritten(&self) -> anyhow::Result<bool> {
        // Room for the record and the headers of pages; beyond it the next segment counts, too.
        const WHOLE: u64 = 512;
        let at = self.control.checkpoint;
        // A base backup has its first checkpoint elsewhere.
        if self.backup_label || at.0 % self.segment_bytes + WHOLE > self.segment_bytes {
            return Ok(false);
        }
        let timeline = self.control.timeline;
        let before = self.switches.iter().filter(|switch| switch.timeline < timeline).cloned().collect();
        Ok(match Wal::open(&self.data_directory, timeline, before, None)?.read(at)? {
            RecordRead::Record(record) => record.checkpoint().is_none(),
            RecordRead::End => true,
            RecordRead::Missing(_) => false,
        })
    }

    /// Says that its last checkpoint is not where it should be, if it is not.
    pub fn overwritten_evidence(&self) -> Option<String> {
        let (at, timeline) = (self.control.checkpoint, self.control.timeline);
        let how = if self.was_primary() { "" } else { " any more: received WAL has overwritten it" };
        self.overwritten.then(|| {
            format!("Its own last checkpoint, at {at} on timeline {timeline}, is not in its WAL{how}.")
        })
    }

    fn find_timeline_start(&mut self) {
        let Some(begin) = self.switches.last().map(|switch| switch.switch) else { return };
        let bytes = self.bytes_at(self.timeline, begin, 256);
        self.lineage.timeline_starts.push(TimelineStart { timeline: self.timeline, lsn: begin, bytes });
    }

    fn find_sample(&mut self) {
        let (timeline, lsn) = (self.control.timeline, self.control.checkpoint);
        let (from, count) = CheckpointSample::window(lsn, self.segment_bytes);
        let bytes = self.bytes_at(timeline, from, usize::try_from(count).unwrap_or(0));
        self.lineage.samples.extend(bytes.map(|bytes| CheckpointSample { timeline, lsn, bytes }));
    }

    /// Finds the last records with a time before a position, or before where its WAL ends: one in each of the last segments, as the other
    /// server may no longer have the last but one before it. They are compared before the checkpoint, which is older.
    pub fn find_last_places(&mut self, shared_until: Option<Lsn>) -> Vec<(TimelineId, Lsn)> {
        /// The last segments that are looked into.
        const SEGMENTS: u64 = 4;
        let begin = self.switches.last().map_or(Lsn(0), |switch| switch.switch);
        let end = [self.end, shared_until].into_iter().flatten().min().filter(|end| *end > begin);
        let Some(end) = end.filter(|_| self.segment_bytes > 0) else { return Vec::new() };
        let last = (end.0 - 1) / self.segment_bytes;
        let first = (begin.0 / self.segment_bytes).max((last + 1).saturating_sub(SEGMENTS));
        let found: Vec<Lsn> = (first..=last)
            .rev()
            .filter_map(|number| {
                let from = Lsn(number * self.segment_bytes);
                let name = self.timeline.segment_file_name(from, self.segment_bytes)?;
                let bytes = files::read(&self.data_directory.join("pg_wal").join(name)).ok()??;
                wal::last_timed(&bytes, from, end).filter(|at| *at >= begin)
            })
            .collect();
        let mut samples = Vec::new();
        for lsn in &found {
            let (from, count) = CheckpointSample::window(*lsn, self.segment_bytes);
            let bytes = self.bytes_at(self.timeline, from, usize::try_from(count).unwrap_or(0));
            samples.extend(bytes.map(|bytes| CheckpointSample { timeline: self.timeline, lsn: *lsn, bytes }));
        }
        self.lineage.samples.splice(0..0, samples);
        found.into_iter().map(|lsn| (self.timeline, lsn)).collect()
    }

    /// Returns bytes of its WAL as they stand in the file, in hexadecimal; None if the segment is gone.
    fn bytes_at(&self, timeline: TimelineId, at: Lsn, count: usize) -> Option<String> {
        let name = timeline.segment_file_name(at, self.segment_bytes)?;
        let (file, _) = guarded_read::open(&self.data_directory.join("pg_wal").join(name)).ok()?;
        let mut bytes = vec![0; count];
        let read = file.read_at(&mut bytes, at.0 % self.segment_bytes).ok()?;
        Some(bytes.iter().take(read).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Sorts the files: those that are kept, those that are in the way, those that cannot be handled.
    fn find_files(&mut self) {
        let found = Files::of(&self.data_directory);
        self.own_files = found.kept;
        self.in_the_way = found.in_the_way;
        self.untouchable = found.untouchable;
    }
}

/// Says whether a data directory was left in the middle of a rewind.
pub fn is_half_rewound(data: &Path) -> bool {
    mode(data).is_ok_and(|mode| mode & BLOCKED != 0)
}

/// Says whether an entry of a data directory is the server's own.
pub fn is_servers_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// Returns the files in a data directory that are not the server's own.
pub fn own_files(data: &Path) -> Vec<PathBuf> {
    let mut found = Files::default();
    let staging = crate::facts::directory::STAGING;
    names(data)
        .iter()
        .filter(|name| !is_servers_own(name) && !name.starts_with(files::TEMPORARY) && *name != staging)
        .for_each(|name| found.walk(data, Path::new(name), false));
    found.kept
}

/// Returns the files of a data directory that pg_rewind could not read or write, and that cannot be put aside, relative to it.
pub fn files_without_access(data: &Path) -> Vec<PathBuf> {
    Files::of(data).untouchable
}

#[derive(Default)]
struct Files {
    kept: Vec<PathBuf>,
    in_the_way: Vec<PathBuf>,
    untouchable: Vec<PathBuf>,
}

impl Files {
    fn of(data: &Path) -> Self {
        let own: BTreeSet<&str> = OWN.into_iter().collect();
        let mut found = Self::default();
        for name in names(data) {
            let is_own = own.contains(name.as_str());
            let ours = name.starts_with(files::TEMPORARY) || name == crate::facts::directory::STAGING;
            if !ours {
                found.walk(data, Path::new(&name), is_own);
            }
        }
        found
    }

    fn walk(&mut self, data: &Path, path: &Path, is_own: bool) {
        let full = data.join(path);
        let Ok(metadata) = full.symlink_metadata() else { return };
        let kind = metadata.file_type();
        if kind.is_symlink() && !is_own {
            self.kept.push(path.to_path_buf());
            self.in_the_way.push(path.to_path_buf());
        } else if kind.is_symlink() && !path.starts_with("pg_tblspc") && path != Path::new("pg_wal") {
            self.untouchable.push(path.to_path_buf());
        } else if kind.is_dir() || kind.is_symlink() {
            // A link here is one to a tablespace or to the WAL: the server's own.
            if !inspect::is_writable(&full) {
                self.untouchable.push(path.to_path_buf());
                return;
            }
            for name in names(&full) {
                self.walk(data, &path.join(name), is_own);
            }
        } else if kind.is_file() {
            match (inspect::is_open_to_us(&full), is_own) {
                (true, true) => {}
                (true, false) => self.kept.push(path.to_path_buf()),
                (false, false) if guarded_read::open(&full).is_ok() => {
                    self.kept.push(path.to_path_buf());
                    self.in_the_way.push(path.to_path_buf());
                }
                (false, _) => self.untouchable.push(path.to_path_buf()),
            }
        } else if kind.is_socket() || kind.is_fifo() {
            // pg_rewind passes them over.
        }
    }
}

/// Returns where the WAL of a primary ends whose server does not run, however it ended; None where the WAL is gone.
///
/// # Errors
/// Fails where the control file or the WAL cannot be read.
pub fn end_of_wal(data: &Path) -> anyhow::Result<Option<Lsn>> {
    if let Some(position) = control_file::shutdown_position(data)? {
        return Ok(Some(position.end));
    }
    let control = control_file::read(data)?;
    // Just promoted, and crashed before the first checkpoint.
    let timeline = received(data, control.timeline);
    let (_, switches) = history_of(data, timeline)?;
    let mut wal = Wal::open(data, timeline, switches, None)?;
    Ok(wal.stretch(control.checkpoint, Lsn(u64::MAX))?.ok().map(|read| read.end))
}

/// Reads the history file of a timeline: its text, and what it says.
fn history_of(data: &Path, timeline: TimelineId) -> anyhow::Result<(Option<String>, Vec<Switch>)> {
    let text = match timeline {
        TimelineId(1) => None,
        later => files::read(&data.join("pg_wal").join(later.history_file_name()))?
            .and_then(|bytes| String::from_utf8(bytes).ok()),
    };
    let switches = text.as_deref().and_then(|text| parse_history(text).ok()).unwrap_or_default();
    Ok((text, switches))
}

/// Returns the timeline that a standby has received WAL of, which it goes on with at its next start.
///
/// Its control file shows a timeline only after a restartpoint on it. The history of each timeline comes first and the WAL of those
/// before it next, so it takes a segment too.
fn received(data: &Path, control: TimelineId) -> TimelineId {
    let wal = data.join("pg_wal");
    let newest = names(&wal)
        .iter()
        .filter(|name| name.len() == 24)
        .filter_map(|name| u32::from_str_radix(name.get(..8)?, 16).ok().map(TimelineId))
        .max()
        .filter(|newest| *newest > control);
    let comes_from_it = |newest: &TimelineId| {
        let text = files::text(wal.join(newest.history_file_name())).unwrap_or_default();
        parse_history(&text).is_ok_and(|past| past.iter().any(|switch| switch.timeline == control))
    };
    newest.filter(comes_from_it).unwrap_or(control)
}

fn mode(path: &Path) -> anyhow::Result<u32> {
    let metadata = std::fs::metadata(path)
        .with_context(|| format!("could not read data directory \"{}\"", path.display()))?;
    Ok(metadata.permissions().mode() & 0o7777)
}

/// Says whether a slot is logical, by the state that the server keeps of it: 16 bytes, its name in 64, and the database that it belongs to,
/// which no physical slot has.
fn is_logical(slot: &Path) -> bool {
    const DATABASE: std::ops::Range<usize> = 80..84;
    let state = files::read_start(&slot.join("state"), DATABASE.end).unwrap_or_default();
    state.get(DATABASE).is_some_and(|database| database.iter().any(|byte| *byte != 0))
}

fn names(path: &Path) -> Vec<String> {
    let names = files::names_in(path).unwrap_or_default();
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Returns the names of the segments between two positions on a branch, both included.
///
/// # Errors
/// Fails where the WAL cannot be looked at.
pub fn segments(wal: &Wal, from: Lsn, to: Lsn) -> anyhow::Result<Vec<String>> {
    let bytes = wal.segment_bytes();
    (from.0 / bytes..=to.0 / bytes).map(|number| wal.segment_of(Lsn(number * bytes))).collect()
}

/// Returns the segments of a `pg_wal` directory that hold WAL from a position on; recycled ones hold none, whatever they are called.
///
/// # Errors
/// Fails where the directory cannot be read.
pub fn segments_from(pg_wal: &Path, from: Lsn, segment_bytes: u64) -> anyhow::Result<Vec<String>> {
    let from = Lsn(from.0 - from.0 % segment_bytes);
    let mut out = Vec::new();
    for name in files::names_in(pg_wal)? {
        let name = name.to_string_lossy().into_owned();
        let holds = |start: Lsn| start >= from && wal::real_start(&pg_wal.join(&name)) == Some(start);
        if wal::segment_start(&name, segment_bytes).is_some_and(holds) || name.ends_with(".history") {
            out.push(name);
        }
    }
    Ok(out)
}
