//! The journal: what an operation intended and what became of it, on disk before and after every effect.
//!
//! One file per operation, `<state directory>/operations/<operation id>.jsonl`: a [`Header`] with the whole plan, then one
//! [`Record`] a line. The file says two things that nothing else can say after a crash: how far the operation came, and
//! whether the point of no return was reached.
//!
//! The format grows and is never broken: fields that this version does not know are ignored, and what cannot be read that
//! way gets a higher `format`, which is refused by name. The fixtures in `tests/fixtures/journal` must parse for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::error::Exit;
use crate::plan::Plan;
use crate::system::files::{self, AppendFile};

/// The newest format that this version reads and the one that it writes.
pub const FORMAT: u32 = 1;

/// Room that is set aside for a new journal, so that a disk that fills up later does not silence it: about 300 marks.
const RESERVED_BYTES: u64 = 64 * 1024;

/// The first line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The format of the file.
    pub format: u32,
    /// The version that wrote it.
    pub pgbaton: String,
    /// The name of the operation and of the file.
    pub operation_id: String,
    /// The command in words: `standby clone`.
    pub command: String,
    /// The command line as it was typed, without secrets.
    pub command_line: Vec<String>,
    /// When the operation began.
    pub started_at: Timestamp,
    /// The node that runs it.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// The cluster, where it was known.
    pub system_identifier: Option<String>,
    /// The process that began it.
    pub pid: u32,
    /// What is to be done.
    pub plan: Plan,
}

/// A line of a journal, after the first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// Something happened to a step.
    Mark {
        /// The step's id; for [`Stage::Verify`] the title of the expectation.
        step: String,
        /// The list that the step belongs to.
        stage: Stage,
        /// What happened.
        #[serde(flatten)]
        mark: Mark,
        /// When.
        at: Timestamp,
    },
    /// The way back was chosen: from here on the operation is not continued forward, by nobody.
    GoingBack {
        /// The exit code if the way back succeeds.
        exit: Exit,
        /// When.
        at: Timestamp,
    },
    /// Another process took the operation up.
    Resumed {
        /// The process.
        pid: u32,
        /// The version of that process.
        pgbaton: String,
        /// Its command line, without secrets.
        command_line: Vec<String>,
        /// When.
        at: Timestamp,
    },
    /// The operation is over; nothing is left to resume.
    End {
        /// The exit code.
        exit: Exit,
        /// How it ended, for people.
        note: String,
        /// Whether anything was changed and not put back.
        changed: bool,
        /// When.
        at: Timestamp,
    },
}

/// The list of the plan that a mark belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The phases.
    Forward,
    /// The way back.
    Back,
    /// What is done in every case.
    Always,
    /// The expectations at the end.
    Verify,
}

/// What happened to a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
pub enum Mark {
    /// The effect is about to begin. Without this mark there was no effect.
    Started,
    /// The effect is complete.
    Done,
    /// The effect failed; without a `started` before it, the step was not even begun.
    Failed {
        /// Why, without secrets.
        error: String,
    },
    /// A signal cut the effect short.
    Interrupted,
    /// An earlier run had started it, and it turned out to be done.
    Skipped,
}

/// Whether a record has to be on disk before the operation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// It survives a crash of the machine.
    Now,
    /// It survives the death of this process; for the machine, it waits for the next [`Flush::Now`].
    Later,
}

/// How an operation stands, according to its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Status {
    /// It is over.
    Finished {
        /// The exit code that it ended with.
        exit: Exit,
    },
    /// It is running, or it was killed, or it left something to resume. Only the lock tells which.
    Unfinished {
        /// The point of no return was reached.
        past_no_return: bool,
        /// The way back was begun.
        going_back: bool,
    },
    /// The journal cannot be read.
    Damaged,
}

/// A journal that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// Its first line.
    pub header: Header,
    /// The other lines.
    pub records: Vec<Record>,
    /// The number of the last line, if a crash left it incomplete. It was never acted upon.
    pub torn_line: Option<usize>,
}

/// A journal in a directory, readable or not.
#[derive(Debug)]
pub struct Entry {
    /// The operation, after the name of the file.
    pub operation_id: String,
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub journal: anyhow::Result<Loaded>,
}

/// What earlier runs of an operation did, as [`run`](crate::plan::run::run) needs it. Empty on a first run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    steps: BTreeMap<(Stage, String), Trace>,
    no_return: bool,
    going_back: Option<Exit>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trace {
    started: bool,
    done: bool,
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: AppendFile,
}

/// Returns the present time, to the millisecond.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

/// Makes a name for an operation that sorts by time: `20261121T100000.123Z-5f3a`.
pub fn new_operation_id(at: Timestamp) -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id()) & 0xffff;
    format!("{}-{random:04x}", at.strftime("%Y%m%dT%H%M%S.%3fZ"))
}

/// Returns where the journals are.
pub fn directory(state_directory: &Path) -> PathBuf {
    state_directory.join("operations")
}

impl Journal {
    /// Begins a journal: the header is on disk when this returns.
    ///
    /// The file appears with its first line or not at all, so a journal without a header is never a matter of timing.
    ///
    /// # Errors
    /// Fails if the directory cannot be made, or if the operation has a journal already.
    pub fn create(state_directory: &Path, header: &Header) -> anyhow::Result<Self> {
        files::make_directory(state_directory, 0o700)?;
        let directory = directory(state_directory);
        files::make_directory(&directory, 0o700)?;
        let path = directory.join(format!("{}.jsonl", header.operation_id));
        files::write_new(&path, &line(header)?, 0o600)?;
        let file = AppendFile::open(&path)?;
        file.reserve(RESERVED_BYTES);
        Ok(Self { file })
    }

    /// Opens the journal of an earlier run to continue it; an incomplete last line is cut off.
    ///
    /// # Errors
    /// Fails where [`load`] fails, and if the file cannot be written.
    pub fn resume(path: &Path) -> anyhow::Result<(Self, Loaded)> {
        let loaded = load(path)?;
        let mut file = AppendFile::open(path)?;
        if loaded.torn_line.is_some() {
            file.cut_to_last_line()?;
        }
        Ok((Self { file }, loaded))
    }

    /// Appends a record. A record that could not be written whole is taken away again.
    ///
    /// # Errors
    /// Fails if the record is not in the file, or not on disk although it was to be.
    pub fn append(&mut self, record: &Record, flush: Flush) -> anyhow::Result<()> {
        self.file.append(&line(record)?, flush == Flush::Now)
    }
}

fn line(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).context("could not write a journal line")?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a journal.
///
/// # Errors
/// Fails on a file that cannot be read, on a format from the future, and on a damaged line, naming the line. Only the last
/// line may be incomplete: that is what a crash leaves, and then the record was never acted upon.
pub fn load(path: &Path) -> anyhow::Result<Loaded> {
    let text = std::fs::read(path).with_context(|| format!("could not read \"{}\"", path.display()))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &[u8]) -> anyhow::Result<Loaded> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let name = path.display();
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let Some((first, rest)) = lines.split_first() else { bail!("journal \"{name}\" is empty") };
    let format: Format =
        serde_json::from_slice(first).with_context(|| format!("journal \"{name}\" is damaged in line 1"))?;
    if format.format > FORMAT {
        bail!(
            "journal \"{name}\" has format {}, and this version of pgbaton knows formats up to {FORMAT}",
            format.format
        );
    }
    let header: Header =
        serde_json::from_slice(first).with_context(|| format!("journal \"{name}\" is damaged in line 1"))?;
    let mut records = Vec::with_capacity(rest.len());
    let mut torn_line = None;
    for (i, line) in rest.iter().enumerate() {
        let number = i + 2;
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) if i + 1 == rest.len() => torn_line = Some(number),
            Err(error) => {
                return Err(error).with_context(|| format!("journal \"{name}\" is damaged in line {number}"));
            }
        }
    }
    Ok(Loaded { path: path.to_path_buf(), header, records, torn_line })
}

/// Returns all journals, oldest first. A state directory that does not exist yet has none.
///
/// # Errors
/// Fails if the directory cannot be read; a journal that cannot is an [`Entry`] all the same.
pub fn list(state_directory: &Path) -> anyhow::Result<Vec<Entry>> {
    let directory = directory(state_directory);
    let mut entries = Vec::new();
    for name in files::names_in(&directory)? {
        let Some(operation_id) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else { continue };
        let path = directory.join(&name);
        entries.push(Entry { operation_id: operation_id.to_string(), journal: load(&path), path });
    }
    entries.sort_by(|a, b| a.operation_id.cmp(&b.operation_id));
    Ok(entries)
}

/// Returns the journals of operations that are not over, oldest first.
///
/// Damaged ones are among them: nobody can tell that they are over.
///
/// # Errors
/// As [`list`].
pub fn unfinished(state_directory: &Path) -> anyhow::Result<Vec<Entry>> {
    let mut entries = list(state_directory)?;
    entries.retain(|entry| !matches!(entry.status(), Status::Finished { .. }));
    Ok(entries)
}

impl Entry {
    /// Returns how the operation stands.
    pub fn status(&self) -> Status {
        self.journal.as_ref().map_or(Status::Damaged, Loaded::status)
    }
}

impl Loaded {
    /// Returns how the operation stands.
    pub fn status(&self) -> Status {
        let end = self.records.iter().rev().find_map(|record| match record {
            Record::End { exit, .. } => Some(*exit),
            _ => None,
        });
        let past = self.past();
        match end {
            Some(exit) => Status::Finished { exit },
            None => {
                Status::Unfinished { past_no_return: past.no_return, going_back: past.going_back.is_some() }
            }
        }
    }

    /// Returns what the next run has to know.
    pub fn past(&self) -> Past {
        Past::of(&self.header.plan, &self.records)
    }
}

impl Past {
    /// Gathers what the records say about the steps of a plan.
    pub fn of(plan: &Plan, records: &[Record]) -> Self {
        let mut past = Self::default();
        let no_return = plan.no_return().map(|step| step.id.as_str());
        for record in records {
            match record {
                Record::Mark { step, stage, mark, .. } => {
                    let trace = past.steps.entry((*stage, step.clone())).or_default();
                    let (started, done) = match mark {
                        Mark::Started => (true, false),
                        Mark::Done | Mark::Skipped => (true, true),
                        Mark::Failed { .. } | Mark::Interrupted => (false, false),
                    };
                    trace.started |= started;
                    trace.done |= done;
                    past.no_return |= started && *stage == Stage::Forward && Some(step.as_str()) == no_return;
                }
                Record::GoingBack { exit, .. } => {
                    // Nobody goes back once the step has been started. So if this comes after that mark, the mark
                    // reached the file although the writer was told that it had not, and the step was not performed.
                    past.no_return = false;
                    past.going_back = Some(*exit);
                }
                Record::Resumed { .. } | Record::End { .. } => {}
            }
        }
        past.suspect_lost_marks(plan);
        past
    }

    /// Takes steps as started whose marks a crash of the machine may have swallowed.
    ///
    /// In an outage only the first mark of the phase and the one before the point of no return are waited for. Between
    /// them, "no mark" does not mean "not started".
    fn suspect_lost_marks(&mut self, plan: &Plan) {
        for phase in plan.phases.iter().filter(|phase| phase.outage) {
            if !phase.steps.iter().any(|step| self.started(Stage::Forward, &step.id)) {
                continue;
            }
            for step in &phase.steps {
                if step.no_return && !self.no_return {
                    break; // its mark is always waited for, and what follows comes after it
                }
                self.steps.entry((Stage::Forward, step.id.clone())).or_default().started = true;
            }
        }
    }

    /// Returns whether a step was, or may have been, started.
    pub fn started(&self, stage: Stage, step: &str) -> bool {
        self.trace(stage, step).started
    }

    /// Returns whether a step was completed.
    pub fn done(&self, stage: Stage, step: &str) -> bool {
        self.trace(stage, step).done
    }

    /// Returns whether the point of no return was reached.
    pub fn past_no_return(&self) -> bool {
        self.no_return
    }

    /// Returns the exit code of the way back, if it was chosen.
    pub fn going_back(&self) -> Option<Exit> {
        self.going_back
    }

    fn trace(&self, stage: Stage, step: &str) -> Trace {
        self.steps.get(&(stage, step.to_string())).copied().unwrap_or_default()
    }
}
