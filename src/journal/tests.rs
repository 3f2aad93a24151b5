//! What is written is what is read, whole or cut off.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::plan::{OnFailure, Op, Order, Phase, Step};
use crate::system::clock;
use crate::system::command::Command;
use crate::system::files;

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
        phases: vec![
            phase(false, vec![step("prepare")]),
            phase(true, vec![step("stop"), step("check"), step("promote").no_return(), step("metadata")]),
        ],
        rollback: vec![],
        always: vec![],
        verify: vec![],
        back_failed: Exit::NoPrimary,
        incomplete: Exit::Incomplete,
        ..Plan::nothing("do".to_string())
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

#[test]
fn an_unfinished_operation_means_what_it_was_begun_with() {
    // What an earlier version has not written is said by the table of commands.
    let mut header = header("x1");
    assert!(header.changes_roles() && !header.is_harmless());
    let old = serde_json::to_value(&header).unwrap();
    assert!(old["plan"].get("unfinished").is_none() && old["plan"].get("locks").is_none());
    assert_eq!(serde_json::from_value::<Header>(old).unwrap(), header);
    // What was written counts more than the table.
    header.plan.unfinished = Some(Unfinished::Harmless);
    assert!(!header.changes_roles() && header.is_harmless());
    // A command of a later version is left alone.
    header.command = "standby levitate".into();
    assert!(!header.changes_roles() && !header.is_harmless());
}

#[test]
fn an_unfinished_operation_is_taken_up_under_the_locks_that_it_was_begun_under() {
    let mut header = header("x1");
    for (command, of_table) in [
        ("standby switchover", Locks::Cluster),
        ("primary unregister", Locks::Cluster),
        ("node start", Locks::Local),
        ("standby levitate", Locks::Local),
    ] {
        header.command = command.into();
        header.plan.locks = None;
        assert_eq!(header.locks(), of_table, "{command}");
        // A start as a primary takes those of the cluster.
        header.plan.locks = Some(Locks::Cluster);
        assert_eq!(header.locks(), Locks::Cluster, "{command}");
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
            let end = Record::End { exit: Exit::Done, at: clock::now(), note: String::new(), changed: true };
            journal.append(&end, Flush::Now).unwrap();
        }
    }
    prune(state.path(), 1).unwrap();
    let left: Vec<String> = list(state.path()).unwrap().into_iter().map(|entry| entry.operation_id).collect();
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
    assert_eq!((loaded.torn_line, loaded.status()), (None, OperationStatus::Finished { exit: Exit::Done }));
}

#[test]
fn only_the_owner_can_read_journals() {
    let state = tempfile::tempdir().unwrap();
    Journal::create(&state.path().join("state"), &header("a")).unwrap();
    let mode = |path: &str| std::fs::metadata(state.path().join(path)).unwrap().permissions().mode() & 0o7777;
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
    let whole = files::bytes(&path).unwrap();
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
fn a_journal_that_is_no_file_or_has_no_end_is_listed_and_not_read() {
    let state = tempfile::tempdir().unwrap();
    Journal::create(state.path(), &header("a")).unwrap();
    let path = |name: &str| directory(state.path()).join(name);
    // With holes: nothing of it is on the disk.
    std::fs::File::create(path("b.jsonl")).unwrap().set_len(2 << 30).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("c.jsonl"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    let listed = list(state.path()).unwrap();
    assert!(listed[0].journal.is_ok());
    let why = |entry: &StoredJournal| format!("{:#}", entry.journal.as_ref().unwrap_err());
    assert!(why(&listed[1]).contains("larger than"), "{}", why(&listed[1]));
    assert!(why(&listed[2]).contains("not a regular file"), "{}", why(&listed[2]));
}

#[test]
fn a_damaged_line_in_the_middle_is_an_error_that_names_line_and_file() {
    let state = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(state.path(), &header("a")).unwrap();
    journal.append(&end(), Flush::Now).unwrap();
    let path = directory(state.path()).join("a.jsonl");
    let text = String::from_utf8(files::bytes(&path).unwrap()).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    for (damaged, line) in [(format!("{first}\nx\n{rest}"), 2), (format!("x\n{rest}"), 1)] {
        files::write(&path, damaged.as_bytes(), 0o600).unwrap();
        let error = format!("{:#}", load(&path).unwrap_err());
        let expected = format!("journal \"{}\" is damaged in line {line}: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(unfinished(state.path()).unwrap()[0].status(), OperationStatus::Damaged);
    }
    files::write(&path, b"", 0o600).unwrap();
    assert!(load(&path).unwrap_err().to_string().ends_with("is empty"));
}

#[test]
fn a_format_from_the_future_is_refused_by_its_number() {
    let error = parse(Path::new("x.jsonl"), b"{\"format\":3,\"plan\":\"a poem\"}\n").unwrap_err();
    let expected = "journal \"x.jsonl\" has format 3, and this version of pgbaton knows formats up to 2";
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
    let status = |past_no_return, going_back| OperationStatus::Unfinished { past_no_return, going_back };
    let expected = [("a", status(false, true)), ("b", status(true, false)), ("d", status(false, false))];
    assert_eq!(unfinished, expected.map(|(id, status)| (id.to_string(), status)));
}

#[test]
fn a_failed_mark_without_a_started_mark_means_that_nothing_was_begun() {
    let failed = Mark::Failed { error: String::new() };
    let past = EarlierRuns::of(&plan(), &[mark("promote", failed.clone())]);
    assert!(!past.started(Stage::Forward, "promote") && !past.past_no_return());
    let past = EarlierRuns::of(&plan(), &[mark("promote", Mark::Started), mark("promote", failed)]);
    assert!(past.started(Stage::Forward, "promote") && past.past_no_return());
    assert!(!past.done(Stage::Forward, "promote"));
}

#[test]
fn within_an_outage_a_missing_mark_does_not_mean_that_nothing_was_begun() {
    let started = |records: &[Record]| {
        let past = EarlierRuns::of(&plan(), records);
        ["prepare", "stop", "check", "promote", "metadata"].map(|id| past.started(Stage::Forward, id))
    };
    assert_eq!(started(&[mark("prepare", Mark::Started)]), [true, false, false, false, false]);
    // The mark before the point of no return is waited for: without it, that step and what follows were not begun.
    assert_eq!(started(&[mark("stop", Mark::Started)]), [false, true, true, false, false]);
    assert_eq!(started(&[mark("promote", Mark::Started)]), [false, true, true, true, true]);
}

#[test]
fn a_run_that_rolled_back_after_all_did_not_pass_the_point_of_no_return() {
    let past = EarlierRuns::of(&plan(), &[mark("promote", Mark::Started), going_back()]);
    assert_eq!((past.past_no_return(), past.going_back()), (false, Some(Exit::Switchover)));
    let past = EarlierRuns::of(&plan(), &[going_back(), mark("promote", Mark::Started)]);
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

#[test]
fn operations_of_earlier_versions_are_stored_as_they_were_read() {
    let mut count = 0;
    for journal in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal")).unwrap()
    {
        let text = files::text(journal.unwrap().path()).unwrap();
        let Ok(header) = serde_json::from_str::<serde_json::Value>(text.lines().next().unwrap()) else {
            continue;
        };
        let phases = header["plan"]["phases"].as_array().into_iter().flatten();
        let steps = phases.flat_map(|phase| phase["steps"].as_array().unwrap());
        let back = header["plan"]["back"].as_array().into_iter().flatten().map(|back| &back["step"]);
        for stored in steps.chain(back).map(|step| &step["op"]) {
            let op: Op = serde_json::from_value(stored.clone()).unwrap();
            let now = serde_json::to_value(&op).unwrap();
            let name = |op: &serde_json::Value| op.as_object().unwrap().keys().next().unwrap().clone();
            assert_eq!(name(&now), name(stored));
            if matches!(op, Op::File(_)) {
                assert_eq!(&now, stored);
            }
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}
