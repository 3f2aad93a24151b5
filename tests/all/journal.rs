//! Old journals can always be read: an operation that was interrupted before an upgrade can still be resumed or abandoned.
//!
//! A fixture is never changed. A new kind of record, effect or question gets a new one.

use std::path::{Path, PathBuf};

use pgbaton::Exit;
use pgbaton::journal::{self, Loaded, OperationStatus, Stage};
use pgbaton::plan::far_end::Reached;
use pgbaton::plan::{FileOp, Op, Probe, SignalRequest, Standby};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal").join(name)
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn load(name: &str) -> Loaded {
    journal::load(&fixture(name)).unwrap()
}

#[test]
fn every_journal_that_was_ever_written_can_be_read() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        load(entry.unwrap().file_name().to_str().unwrap());
        count += 1;
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn a_finished_journal_is_finished() {
    let loaded = load("1-clone-finished.jsonl");
    assert_eq!(loaded.status(), OperationStatus::Finished { exit: Exit::Done });
    assert_eq!((loaded.header.node_id, loaded.header.command.as_str()), (2, "standby clone"));
}

#[test]
fn a_journal_truncated_within_the_promotion_is_past_the_point_of_no_return() {
    let loaded = load("1-switchover-killed.jsonl");
    assert_eq!(loaded.status(), OperationStatus::Unfinished { past_no_return: true, going_back: false });
    assert!(loaded.torn_line.is_some());
    let past = loaded.past();
    assert!(past.started(Stage::Forward, "promote") && !past.done(Stage::Forward, "promote"));
}

#[test]
fn fields_of_later_versions_are_ignored() {
    let loaded = load("1-fields-of-later-versions.jsonl");
    assert_eq!(loaded.status(), OperationStatus::Unfinished { past_no_return: false, going_back: true });
    assert_eq!(loaded.past().going_back(), Some(Exit::Switchover));
}

#[test]
fn the_channels_to_other_hosts_are_found_again() {
    let loaded = load("1-far-ends.jsonl");
    let ways: Vec<(i32, bool)> = loaded
        .header
        .plan
        .far_ends
        .iter()
        .map(|far_end| match &far_end.reached {
            Reached::Ssh { destination, options, program, config_file } => {
                assert_eq!((destination.as_str(), options.join(" ").as_str()), ("postgres@db1", "-p 2222"));
                assert_eq!(
                    (program.as_str(), config_file.as_str()),
                    ("/usr/bin/pgbaton", "/etc/pgbaton/pgbaton.toml")
                );
                (far_end.node_id, true)
            }
            Reached::Local { config_file, .. } => {
                assert_eq!(config_file, "/etc/pgbaton/node3.toml");
                (far_end.node_id, false)
            }
        })
        .collect();
    assert_eq!(ways, [(1, true), (3, false)]);
    // Before there were any.
    assert_eq!(load("1-switchover-killed.jsonl").header.plan.far_ends, []);
}

#[test]
fn every_effect_and_every_question_has_a_fixture() {
    let loaded = [
        "1-every-op.jsonl",
        "1-every-op-of-roles.jsonl",
        "1-every-op-of-rejoin.jsonl",
        "1-a-wait-that-gives-up.jsonl",
        "2-every-op-of-belief.jsonl",
        "1-every-op-of-service.jsonl",
        "2-every-op-of-promotion.jsonl",
    ]
    .map(load);
    let ops: Vec<&Op> =
        loaded.iter().flat_map(|loaded| loaded.header.plan.steps()).map(|step| &step.op).collect();
    // An exhaustive match: a new effect does not compile without a fixture.
    let number = |op: &Op| match op {
        Op::Run(_) => 0,
        Op::Sql { .. } => 1,
        Op::File(FileOp::MakeDirectory { .. }) => 2,
        Op::File(FileOp::ClearDirectory { .. }) => 3,
        Op::File(FileOp::RemoveDirectory { .. }) => 4,
        Op::File(FileOp::WriteFile { .. }) => 5,
        Op::File(FileOp::RemoveFile { .. }) => 6,
        Op::File(FileOp::WriteSettings { .. }) => 7,
        Op::File(FileOp::MoveEntries { .. }) => 8,
        Op::Wait(probe) => match probe {
            Probe::Sql { .. } => 9,
            Probe::Accepts { .. } => 10,
            Probe::Exists { .. } => 11,
            Probe::Stopped { .. } => 12,
            Probe::Not(_) => 13,
            Probe::ShutDown { .. } => 18,
            Probe::HasAll { .. } => 19,
            Probe::At { .. } => 20,
            Probe::NoPrimary { .. } => 24,
            Probe::Runs { .. } => 27,
            Probe::Clean { .. } => 100,
            Probe::Rewound { .. } => 101,
            Probe::Ready { .. } => 110,
            Probe::StaysDown { .. } => 109,
            Probe::Unchallenged { .. } => 200,
            Probe::Challenged { .. } => 201,
            Probe::Any(_) => 202,
            Probe::StaysStandby { .. } => 203,
            Probe::Announced { .. } => 204,
            Probe::CommitsAtMost { .. } => 207,
            Probe::Silent { .. } => 208,
            Probe::Lasts { .. } => 209,
        },
        Op::File(FileOp::WriteSecretFile { .. }) => 14,
        Op::Signal { request: SignalRequest::FastShutdown, .. } => 15,
        Op::Signal { request: SignalRequest::ImmediateShutdown, .. } => 21,
        Op::Signal { request: SignalRequest::Reload, .. } => 22,
        Op::Promote { .. } => 16,
        Op::Spawn(_) => 25,
        Op::RestartAsPrimary { .. } => 26,
        Op::Follow { standby: Standby::Running(_), .. } => 17,
        Op::Follow { standby: Standby::Files { .. }, .. } => 23,
        Op::Notify { .. } => 28,
        Op::Announce { .. } => 205,
        Op::DropKeptSlot { .. } => 206,
        Op::KeepDown(_) => 210,
        Op::LetStart(_) => 211,
        Op::File(FileOp::CopyFiles { .. }) => 102,
        Op::File(FileOp::RestoreFiles { .. }) => 103,
        Op::File(FileOp::Rename { .. }) => 104,
        Op::File(FileOp::SaveWal { .. }) => 105,
        Op::ArchiveWal { .. } => 106,
        Op::Rewind { .. } => 107,
        Op::File(FileOp::RestoreWal { .. }) => 108,
    };
    assert!(loaded[3].header.plan.steps().all(|step| step.gives_up_if.is_some()));
    let mut seen: Vec<i32> = ops.into_iter().map(number).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..=28).chain(100..=110).chain(200..=211).collect::<Vec<_>>());
}
