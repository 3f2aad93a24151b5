//! The run of pg_basebackup.

use std::path::Path;

use super::{BACKUP_S, CloneFacts, CloneOptions};
use crate::error::Exit;
use crate::plan::{OnResume, Op, Step};
use crate::system::command::Command;

/// Seconds for which pg_basebackup may show no progress: it syncs a large copy to disk without output.
const SILENT_S: u32 = 1800;
/// The same with a spread checkpoint, which it waits for without output.
const SILENT_SPREAD_S: u32 = 2 * 3600;

pub(super) fn base_backup(
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
pub(super) fn streams(extra_options: &[String]) -> bool {
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
