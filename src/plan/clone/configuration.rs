//! What makes the copy a standby of its upstream: settings, configuration files and `standby.signal`.

use std::path::Path;

use super::slot::record_slot;
use super::{CloneFacts, CloneOptions, FileRead, SHORT_S};
use crate::error::Exit;
use crate::facts::directory::STAGING;
use crate::facts::settings::neutral;
use crate::facts::source;
use crate::plan::{FileOp, Op, Setting, Step};

/// Makes a copy, or an existing data directory, a standby of the upstream.
pub(super) fn configuration(
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
                    Op::File(FileOp::WriteSecretFile { path, secret: secret.clone(), mode }),
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
        Op::File(FileOp::WriteSettings { path: directory.join("postgresql.auto.conf"), remove, set, mode }),
    ));
    if !options.conf_only {
        steps.push(local(
            "remove_copied_mark",
            "remove the marker of an interrupted clone from the copy, if it has one".into(),
            Op::File(FileOp::RemoveDirectory { path: directory.join(STAGING) }),
        ));
    }
    steps.push(local(
        "remove_recovery_signal",
        "remove recovery.signal".into(),
        Op::File(FileOp::RemoveFile { path: directory.join("recovery.signal") }),
    ));
    steps.push(local(
        "write_standby_signal",
        "write standby.signal".into(),
        Op::File(FileOp::WriteFile { path: directory.join("standby.signal"), contents: String::new(), mode }),
    ));
    if options.conf_only {
        steps.extend(record_slot(facts, options, slot));
    }
    steps
}
