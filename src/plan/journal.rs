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
    resumed: bool,
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

/// Removes the oldest journals of finished operations, so that no more than `keep` of them are left.
///
/// # Errors
/// Fails where a journal cannot be removed, or as [`list`].
pub fn prune(state_directory: &Path, keep: usize) -> anyhow::Result<()> {
    let mut finished = list(state_directory)?;
    finished.retain(|entry| matches!(entry.status(), Status::Finished { .. }));
    let too_many = finished.len().saturating_sub(keep);
    finished.iter().take(too_many).try_for_each(|entry| files::remove_file(&entry.path))
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
        let mut past = Self { resumed: true, ..Self::default() };
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

    /// Says whether an earlier run was there at all.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    fn trace(&self, stage: Stage, step: &str) -> Trace {
        self.steps.get(&(stage, step.to_string())).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Command, OnFailure, Op, Order, Phase, Step};

    fn plan() -> Plan {
        let op = || Op::Run(Command::new("true", ["x"]));
        let step = |id: &str| Step::new(id, format!("{id} it"), op(), 5, Exit::Switchover);
        let phase = |outage, steps| Phase {
            title: "work".to_string(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage,
            steps,
        };
        Plan {
            title: "do".to_string(),
            checks: vec![],
            phases: vec![
                phase(false, vec![step("prepare")]),
                phase(true, vec![step("stop"), step("check"), step("promote").no_return(), step("metadata")]),
            ],
            back: vec![],
            always: vec![],
            verify: vec![],
            back_failed: Exit::NoPrimary,
            incomplete: Exit::Incomplete,
            announce_on: None,
        }
    }

    fn header(operation_id: &str) -> Header {
        Header {
            format: FORMAT,
            pgbaton: "0.1.0".to_string(),
            operation_id: operation_id.to_string(),
            command: "standby switchover".to_string(),
            command_line: vec!["pgbaton".to_string(), "standby".to_string(), "switchover".to_string()],
            started_at: at(),
            node_id: 2,
            node_name: "node2".to_string(),
            system_identifier: Some("7300000000000000000".to_string()),
            pid: 42,
            plan: plan(),
        }
    }

    fn at() -> Timestamp {
        "2026-11-21T10:00:00.123Z".parse().unwrap()
    }

    fn mark(step: &str, mark: Mark) -> Record {
        Record::Mark { step: step.to_string(), stage: Stage::Forward, mark, at: at() }
    }

    fn going_back() -> Record {
        Record::GoingBack { exit: Exit::Switchover, at: at() }
    }

    fn end() -> Record {
        Record::End { exit: Exit::Done, note: "done".to_string(), changed: true, at: at() }
    }

    fn all_records() -> Vec<Record> {
        vec![
            mark("prepare", Mark::Started),
            mark("prepare", Mark::Done),
            mark("stop", Mark::Failed { error: "two\nlines \"quoted\"".to_string() }),
            mark("stop", Mark::Interrupted),
            mark("stop", Mark::Skipped),
            going_back(),
            Record::Resumed { pid: 43, pgbaton: "0.1.0".to_string(), command_line: vec![], at: at() },
            end(),
        ]
    }

    #[test]
    fn only_the_newest_finished_journals_are_kept() {
        let state = tempfile::tempdir().unwrap();
        for (id, over) in [("1", true), ("2", false), ("3", true), ("4", true)] {
            let mut journal = Journal::create(state.path(), &header(id)).unwrap();
            if over {
                let end = Record::End { exit: Exit::Done, at: now(), note: String::new(), changed: true };
                journal.append(&end, Flush::Now).unwrap();
            }
        }
        prune(state.path(), 1).unwrap();
        let left: Vec<String> =
            list(state.path()).unwrap().into_iter().map(|entry| entry.operation_id).collect();
        assert_eq!(left, ["2", "4"]);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let state = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(state.path(), &header("a")).unwrap();
        for record in all_records() {
            journal.append(&record, Flush::Later).unwrap();
        }
        let entries = list(state.path()).unwrap();
        let loaded = entries[0].journal.as_ref().unwrap();
        assert_eq!((&loaded.header, &loaded.records), (&header("a"), &all_records()));
        assert_eq!((loaded.torn_line, loaded.status()), (None, Status::Finished { exit: Exit::Done }));
    }

    #[test]
    fn only_the_owner_can_read_journals() {
        let state = tempfile::tempdir().unwrap();
        Journal::create(&state.path().join("state"), &header("a")).unwrap();
        let mode =
            |path: &str| std::fs::metadata(state.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("state"), 0o700);
        assert_eq!(mode("state/operations"), 0o700);
        assert_eq!(mode("state/operations/a.jsonl"), 0o600);
    }

    #[test]
    fn an_operation_never_takes_over_the_journal_of_another_one() {
        let state = tempfile::tempdir().unwrap();
        Journal::create(state.path(), &header("a")).unwrap();
        assert!(Journal::create(state.path(), &header("a")).is_err());
    }

    #[test]
    fn operation_ids_sort_by_time() {
        let id = new_operation_id(at());
        assert!(id.starts_with("20261121T100000.123Z-") && id.len() == 25, "{id}");
        assert!(id < new_operation_id("2026-11-21T10:00:00.124Z".parse().unwrap()));
    }

    #[test]
    fn a_torn_last_line_is_reported_and_cut_off_by_the_next_run() {
        let state = tempfile::tempdir().unwrap();
        Journal::create(state.path(), &header("a"))
            .unwrap()
            .append(&mark("stop", Mark::Started), Flush::Now)
            .unwrap();
        let path = directory(state.path()).join("a.jsonl");
        let whole = std::fs::read(&path).unwrap();
        for rest in ["{\"record\":\"mark\",\"st", "\0\0\0\0", "{\n"] {
            files::write(&path, &[&whole, rest.as_bytes()].concat(), 0o600).unwrap();
            assert_eq!(load(&path).unwrap().torn_line, Some(3), "{rest:?}");
            let (mut journal, loaded) = Journal::resume(&path).unwrap();
            assert_eq!(loaded.records.len(), 1);
            journal.append(&end(), Flush::Now).unwrap();
            let loaded = load(&path).unwrap();
            assert_eq!((loaded.records.len(), loaded.torn_line), (2, None), "{rest:?}");
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_that_names_line_and_file() {
        let state = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(state.path(), &header("a")).unwrap();
        journal.append(&end(), Flush::Now).unwrap();
        let path = directory(state.path()).join("a.jsonl");
        let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        for (damaged, line) in [(format!("{first}\nx\n{rest}"), 2), (format!("x\n{rest}"), 1)] {
            files::write(&path, damaged.as_bytes(), 0o600).unwrap();
            let error = format!("{:#}", load(&path).unwrap_err());
            let expected = format!("journal \"{}\" is damaged in line {line}: ", path.display());
            assert!(error.starts_with(&expected), "{error}");
            assert_eq!(unfinished(state.path()).unwrap()[0].status(), Status::Damaged);
        }
        files::write(&path, b"", 0o600).unwrap();
        assert!(load(&path).unwrap_err().to_string().ends_with("is empty"));
    }

    #[test]
    fn a_format_from_the_future_is_refused_by_its_number() {
        let error = parse(Path::new("x.jsonl"), b"{\"format\":2,\"plan\":\"a poem\"}\n").unwrap_err();
        let expected = "journal \"x.jsonl\" has format 2, and this version of pgbaton knows formats up to 1";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn unfinished_operations_are_listed_oldest_first_and_say_how_they_stand() {
        let state = tempfile::tempdir().unwrap();
        assert!(list(&state.path().join("nothing")).unwrap().is_empty());
        let cases = [
            ("c", vec![end()]),
            ("b", vec![mark("promote", Mark::Started)]),
            ("a", vec![mark("stop", Mark::Started), going_back()]),
            ("d", vec![]),
        ];
        for (id, records) in cases {
            let mut journal = Journal::create(state.path(), &header(id)).unwrap();
            records.iter().for_each(|record| journal.append(record, Flush::Later).unwrap());
        }
        let unfinished: Vec<_> =
            unfinished(state.path()).unwrap().iter().map(|e| (e.operation_id.clone(), e.status())).collect();
        let status = |past_no_return, going_back| Status::Unfinished { past_no_return, going_back };
        let expected = [("a", status(false, true)), ("b", status(true, false)), ("d", status(false, false))];
        assert_eq!(unfinished, expected.map(|(id, status)| (id.to_string(), status)));
    }

    #[test]
    fn a_failed_mark_without_a_started_mark_means_that_nothing_was_begun() {
        let failed = Mark::Failed { error: String::new() };
        let past = Past::of(&plan(), &[mark("promote", failed.clone())]);
        assert!(!past.started(Stage::Forward, "promote") && !past.past_no_return());
        let past = Past::of(&plan(), &[mark("promote", Mark::Started), mark("promote", failed)]);
        assert!(past.started(Stage::Forward, "promote") && past.past_no_return());
        assert!(!past.done(Stage::Forward, "promote"));
    }

    #[test]
    fn within_an_outage_a_missing_mark_does_not_mean_that_nothing_was_begun() {
        let started = |records: &[Record]| {
            let past = Past::of(&plan(), records);
            ["prepare", "stop", "check", "promote", "metadata"].map(|id| past.started(Stage::Forward, id))
        };
        assert_eq!(started(&[mark("prepare", Mark::Started)]), [true, false, false, false, false]);
        // The mark before the point of no return is waited for: without it, that step and what follows were not begun.
        assert_eq!(started(&[mark("stop", Mark::Started)]), [false, true, true, false, false]);
        assert_eq!(started(&[mark("promote", Mark::Started)]), [false, true, true, true, true]);
    }

    #[test]
    fn whoever_went_back_after_all_did_not_pass_the_point_of_no_return() {
        let past = Past::of(&plan(), &[mark("promote", Mark::Started), going_back()]);
        assert_eq!((past.past_no_return(), past.going_back()), (false, Some(Exit::Switchover)));
        let past = Past::of(&plan(), &[going_back(), mark("promote", Mark::Started)]);
        assert!(past.past_no_return());
    }

    proptest! {
        #[test]
        fn a_journal_cut_anywhere_is_read_as_far_as_it_goes(cut in 0..2000_usize) {
            let text = std::iter::once(line(&header("a")).unwrap())
                .chain(all_records().iter().map(|record| line(record).unwrap()))
                .collect::<Vec<_>>()
                .concat();
            let first = text.iter().position(|byte| *byte == b'\n').unwrap();
            let cut = first + cut % (text.len() - first);
            let (kept, _) = text.split_at(cut);
            let loaded = parse(Path::new("x"), kept).unwrap();
            let records = all_records();
            prop_assert_eq!(&loaded.records[..], &records[..loaded.records.len()]);
            let lines = kept.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
            prop_assert!(loaded.records.len() >= lines, "a whole line was lost");
        }
    }
}
