//! How the directories are claimed that a clone fills, and emptied again if it fails.

use std::path::Path;

use super::{CloneFacts, CloneOptions, SHORT_S};
use crate::error::Exit;
use crate::facts::directory::{COPY, DirectoryContents, MARKER, Marker, STAGING};
use crate::plan::{FileOp, Op, RollbackStep, Step};
use crate::system::command::Command;

/// Takes possession of the data directory and of the tablespaces' directories.
pub(super) fn claim(facts: &CloneFacts, options: &CloneOptions) -> Vec<Step> {
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
        Op::File(FileOp::MakeDirectory { path: data.clone(), mode }),
        SHORT_S,
    ));
    steps.push(local(
        "make_staging",
        format!("create \"{}\"", staging.display()),
        Op::File(FileOp::MakeDirectory { path: staging.clone(), mode: 0o700 }),
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
        Op::File(FileOp::WriteFile {
            path: staging.join(MARKER),
            contents: serde_json::to_string_pretty(&marker).unwrap_or_default(),
            mode: 0o600,
        }),
        SHORT_S,
    ));
    if matches!(facts.directory, DirectoryContents::DataDirectory { .. }) {
        // First what makes it startable: half-emptied it must not come up. The mark is there before, so that the next clone takes
        // over what this one leaves.
        for (id, file) in [("take_control_file", "global/pg_control"), ("take_version_file", "PG_VERSION")] {
            let path = data.join(file);
            steps.push(local(
                id,
                format!("remove \"{}\"", path.display()),
                Op::File(FileOp::RemoveFile { path }),
                SHORT_S,
            ));
        }
    }
    if !matches!(facts.directory, DirectoryContents::Missing | DirectoryContents::Empty) {
        steps.push(local(
            "clear_data_directory",
            format!("remove all other contents of \"{}\"", data.display()),
            Op::File(FileOp::ClearDirectory { path: data.clone(), keep: vec![STAGING.into()] }),
            3600,
        ));
        steps.push(local(
            "clear_copy",
            "remove the copy of an earlier clone".into(),
            Op::File(FileOp::RemoveDirectory { path: staging.join(COPY) }),
            3600,
        ));
    }
    for (i, target) in facts.outside().enumerate() {
        if !target.is_free() {
            steps.push(local(
                &format!("clear_tablespace_{i}"),
                format!("remove everything in \"{}\"", target.to.display()),
                Op::File(FileOp::ClearDirectory { path: target.to.clone(), keep: Vec::new() }),
                3600,
            ));
        }
    }
    if let Some((path, secret)) = &options.service_file {
        steps.push(local(
            "write_service_file",
            "write a connection service file for pg_basebackup".into(),
            Op::File(FileOp::WriteSecretFile { path: path.clone(), secret: secret.clone(), mode: 0o600 }),
            SHORT_S,
        ));
    }
    steps
}

/// Ends what an interrupted clone has left running: it would write into the copy that is made now.
///
/// A shell's work, so that each process is looked at once more in the moment before it is ended.
pub(super) fn end_writers(options: &CloneOptions, writers: &[i32]) -> Step {
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
pub(super) fn emptied_again(facts: &CloneFacts, options: &CloneOptions) -> Vec<RollbackStep> {
    let data = &options.data_directory;
    let staging = data.join(STAGING);
    let empty = |path: &Path, keep: &[&str]| {
        Op::File(FileOp::ClearDirectory {
            path: path.to_path_buf(),
            keep: keep.iter().map(ToString::to_string).collect(),
        })
    };
    let title = |path: &Path| format!("delete what was copied to \"{}\"", path.display());
    let back = |if_started: Vec<String>, id: String, title: String, op: Op| RollbackStep {
        if_started,
        step: Step::new(id, title, op, 3600, Exit::LocalCommand),
    };
    // As long as nothing was removed from an old data directory, it stays.
    let begun = match facts.directory {
        DirectoryContents::DataDirectory { .. } => "take_control_file",
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
        Op::File(FileOp::RemoveDirectory { path: copy }),
    ));
    let mark = "remove the marker of an unfinished clone".to_string();
    steps.push(back(
        vec!["make_staging".into()],
        "unclaim".into(),
        mark,
        Op::File(FileOp::RemoveDirectory { path: staging }),
    ));
    steps
}

/// Removes the mark of a clone that is complete.
pub fn remove_leftover(staging: &Path) -> Step {
    Step::new(
        "remove_leftover",
        "remove the marker of the completed clone",
        Op::File(FileOp::RemoveDirectory { path: staging.to_path_buf() }),
        SHORT_S,
        Exit::LocalCommand,
    )
}
