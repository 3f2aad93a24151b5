//! The journal: what an operation intended and what became of it, on disk before and after every effect.
//!
//! One file per operation, `<state directory>/operations/<operation id>.jsonl`: a [`Header`] with the whole plan, then one
//! [`Record`] a line. The file says two things that nothing else can say after a crash: how far the operation came, and
//! whether the point of no return was reached.
//!
//! The format grows and is never broken: fields that this version does not know are ignored, and what cannot be read that
//! way gets a higher `format`, which is refused by name. The fixtures in `tests/fixtures/journal` must always parse.

mod blocking;
mod past;
mod storage;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Exit;
use crate::plan::Plan;
use crate::verb::{Locks, Unfinished, Verb};

pub use blocking::{blocking, close};
pub use past::EarlierRuns;
pub use storage::{Flush, Journal, StoredJournal, directory, list, load, prune, unfinished};

/// The newest format that this version reads and the one that it writes.
///
/// A journal of format 1 (version 0.1.0) does not say what cluster it was planned for, so nothing that makes a primary is continued from it.
pub const FORMAT: u32 = 2;

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
    /// The rollback was chosen: from here on no run continues the operation forward.
    GoingBack {
        /// The exit code if the rollback succeeds.
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
        /// Whether anything was changed and not undone.
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
    /// The rollback.
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
    /// An earlier run had started it, or another command was faster, and it turned out to be done.
    Skipped,
}

/// How an operation stands, according to its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OperationStatus {
    /// It is over.
    Finished {
        /// The exit code that it ended with.
        exit: Exit,
    },
    /// It is running, or it was killed, or it left something to resume. Only the lock shows which.
    Unfinished {
        /// The point of no return was reached.
        past_no_return: bool,
        /// The rollback was begun.
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

/// Makes a name for an operation that sorts by time: `20261121T100000.123Z-5f3a`.
pub fn new_operation_id(at: Timestamp) -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id()) & 0xffff;
    format!("{}-{random:04x}", at.strftime("%Y%m%dT%H%M%S.%3fZ"))
}

impl Header {
    /// Returns the command; None for one that this version does not know.
    pub fn verb(&self) -> Option<Verb> {
        Verb::parse(&self.command)
    }

    /// Returns what it means that the operation is unfinished: what it was begun with, or, in a journal of an earlier version, what the
    /// table of commands says. None for a command that this version does not know: it is left alone, and blocks others.
    pub fn unfinished(&self) -> Option<Unfinished> {
        let verb = self.verb()?;
        self.plan.unfinished.or(verb.traits().unfinished)
    }

    /// Returns the locks under which the operation goes on or is undone: those that it was begun under, or, in a journal of an earlier
    /// version, those of the table of commands. For a command that this version does not know, that of this node.
    pub fn locks(&self) -> Locks {
        let of_command = || self.verb().map_or(Locks::Local, |verb| verb.traits().locks);
        self.plan.locks.unwrap_or_else(of_command)
    }

    /// Says whether nothing that the operation leaves does harm, so that the next command closes it.
    pub fn is_harmless(&self) -> bool {
        self.unfinished() == Some(Unfinished::Harmless)
    }

    /// Says whether the operation changes roles: it is judged by what the cluster is now, under the locks of all nodes.
    pub fn changes_roles(&self) -> bool {
        self.unfinished() == Some(Unfinished::Blocks)
    }
}

impl Loaded {
    /// Returns how the operation stands.
    pub fn status(&self) -> OperationStatus {
        let end = self.records.iter().rev().find_map(|record| match record {
            Record::End { exit, .. } => Some(*exit),
            _ => None,
        });
        let past = self.past();
        match end {
            Some(exit) => OperationStatus::Finished { exit },
            None => OperationStatus::Unfinished {
                past_no_return: past.past_no_return(),
                going_back: past.going_back().is_some(),
            },
        }
    }

    /// Returns what the next run has to know.
    pub fn past(&self) -> EarlierRuns {
        EarlierRuns::of(&self.header.plan, &self.records)
    }
}

fn line(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).context("could not write a journal line")?;
    line.push(b'\n');
    Ok(line)
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
