//! The effects of a rejoin: what is kept, what is restored, and pg_rewind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::Live;
use crate::error::{Error, Exit, sentence};
use crate::facts::rejoin::{own_files, segments_from};
use crate::pg::archive_command::fill_placeholders;
use crate::pg::lsn::Lsn;
use crate::pg::wal;
use crate::system::command::Command;
use crate::system::{files, process};

/// The control file.
const CONTROL: &str = "global/pg_control";

/// In the directory of what is kept: pg_rewind has been started.
const STARTED: &str = "started";

/// Copies files, or symbolic links themselves.
pub(crate) fn copy_files(from: &Path, to: &Path, paths: &[PathBuf]) -> anyhow::Result<()> {
    files::make_directory(to, 0o700)?;
    paths.iter().try_for_each(|path| files::copy(&from.join(path), &to.join(path)).map(drop))
}

/// Copies files back and removes those that have come from elsewhere.
pub(crate) fn restore_files(from: &Path, data: &Path, paths: &[PathBuf]) -> anyhow::Result<()> {
    let kept: BTreeSet<&PathBuf> = paths.iter().collect();
    for path in own_files(data).iter().filter(|path| !kept.contains(path)) {
        files::remove_file(&data.join(path))?;
    }
    paths.iter().try_for_each(|path| files::copy(&from.join(path), &data.join(path)).map(drop))
}

/// Gives a directory another name, unless that was done.
pub(crate) fn rename(from: &Path, to: &Path, link: Option<&Path>) -> anyhow::Result<()> {
    match (from.symlink_metadata().is_ok(), to.symlink_metadata().is_ok()) {
        (false, true) => return Ok(()),
        (_, true) => bail!("\"{}\" exists", to.display()),
        (_, false) => {}
    }
    // Before the name is free: the link must never lead to what is made there next.
    if let Some(link) = link.filter(|link| link.symlink_metadata().is_ok_and(|about| about.is_symlink())) {
        files::link(to, link)?;
    }
    files::rename(from, to)
}

/// Copies the WAL from a position on, and the control file.
pub(crate) fn save_wal(data: &Path, from: Lsn, to: &Path) -> anyhow::Result<()> {
    let pg_wal = data.join("pg_wal");
    files::make_directory(to, 0o700)?;
    let segments = segments_from(&pg_wal, from, wal::segment_bytes(&pg_wal)?)?;
    files::copy_all(&segments, &pg_wal, &to.join("pg_wal"))?;
    files::copy(&data.join(CONTROL), &to.join(CONTROL)).map(drop)
}

/// Copies back segments that pg_rewind has removed because the source no longer had them.
pub(crate) fn restore_wal(kept: &Path, data: &Path, until: Lsn) -> anyhow::Result<()> {
    let (kept, pg_wal) = (kept.join("pg_wal"), data.join("pg_wal"));
    let bytes = wal::segment_bytes(&kept)?;
    for name in files::names_in(&kept)? {
        let shared = wal::segment_start(&name.to_string_lossy(), bytes)
            .is_some_and(|start| start.0 + bytes <= until.0);
        if shared && !pg_wal.join(&name).exists() {
            files::copy(&kept.join(&name), &pg_wal.join(&name))?;
        }
    }
    Ok(())
}

/// Copies back what an attempt that was cut short may have destroyed: pg_rewind empties files before it has new contents for them, and
/// the WAL that it reads is among them.
fn begin_again(data: &Path, kept: &Path) -> anyhow::Result<()> {
    let started = kept.join(STARTED);
    if started.exists() {
        for name in files::names_in(&kept.join("pg_wal"))? {
            files::copy(&kept.join("pg_wal").join(&name), &data.join("pg_wal").join(&name))?;
        }
        files::copy(&kept.join(CONTROL), &data.join(CONTROL))?;
    }
    files::write(&started, b"", 0o600)
}

impl Live<'_> {
    /// Runs pg_rewind.
    pub(crate) async fn rewind(&self, command: &Command, data: &Path, kept: &Path) -> Result<(), Error> {
        let (data, kept) = (data.to_path_buf(), kept.to_path_buf());
        let begun = tokio::task::spawn_blocking(move || begin_again(&data, &kept)).await;
        match begun {
            Ok(Ok(())) => self.run(command).await.map(drop),
            Ok(Err(error)) => Err(Error::new(Exit::LocalCommand, "could not begin the rewind")
                .detail(sentence(&format!("{error:#}")))),
            Err(error) => Err(Error::new(Exit::Internal, "the rewind could not be begun")
                .detail(sentence(&error.to_string()))),
        }
    }

    /// Archives the segments that wait for it and end before a position.
    pub(crate) async fn archive_wal(&self, data: &Path, command: &str, until: Lsn) -> Result<(), Error> {
        let failed = |detail: String| {
            Error::new(Exit::LocalCommand, "WAL could not be archived").detail(sentence(&detail))
        };
        let pg_wal = data.join("pg_wal");
        let status = pg_wal.join("archive_status");
        let bytes = wal::segment_bytes(&pg_wal).map_err(|error| failed(format!("{error:#}")))?;
        for ready in files::names_in(&status).map_err(|error| failed(format!("{error:#}")))? {
            let ready = ready.to_string_lossy().into_owned();
            let Some(name) = ready.strip_suffix(".ready") else { continue };
            if wal::segment_start(name, bytes).is_none_or(|start| start.0 + bytes > until.0) {
                continue;
            }
            let line = fill_placeholders(command, &format!("pg_wal/{name}"), name);
            // Where the server would have run it: paths in it may be relative to that.
            let line = format!("cd {} && {line}", shell_words::quote(&data.display().to_string()));
            let run = Command::new("/bin/sh", ["-c", &line]);
            let setting = process::ChildContext {
                environment: Some(&self.context.environment),
                ..process::ChildContext::default()
            };
            process::run(&run, &setting)
                .await
                .and_then(process::Finished::success)
                .map_err(|error| failed(format!("{error:#}")))?;
            files::rename(&status.join(&ready), &status.join(format!("{name}.done")))
                .map_err(|error| failed(format!("{error:#}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_gets_its_places_in_the_command() {
        assert_eq!(
            fill_placeholders("cp %p /a/%f 100%% %x %", "pg_wal/A", "A"),
            "cp pg_wal/A /a/A 100% %x %"
        );
    }

    #[test]
    fn what_was_copied_is_restored_and_what_was_added_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let (data, kept) = (place.path().join("data"), place.path().join("kept"));
        for (name, text) in [("postgresql.conf", "own"), ("conf.d/a.conf", "own"), ("base/1", "own")] {
            files::make_directory(data.join(name).parent().unwrap(), 0o700).unwrap();
            files::write(&data.join(name), text.as_bytes(), 0o640).unwrap();
        }
        std::os::unix::fs::symlink("/etc/hostname", data.join("link")).unwrap();
        let paths = own_files(&data);
        assert_eq!(paths, ["conf.d/a.conf", "link", "postgresql.conf"].map(PathBuf::from));
        copy_files(&data, &kept, &paths).unwrap();
        for name in ["postgresql.conf", "conf.d/b.conf", "base/1", "server.key"] {
            files::write(&data.join(name), b"theirs", 0o600).unwrap();
        }
        files::remove_file(&data.join("link")).unwrap();
        restore_files(&kept, &data, &paths).unwrap();
        assert_eq!(own_files(&data), paths);
        assert_eq!(files::read(&data.join("postgresql.conf")).unwrap().unwrap(), b"own");
        assert_eq!(files::read(&data.join("base/1")).unwrap().unwrap(), b"theirs");
        assert_eq!(std::fs::read_link(data.join("link")).unwrap(), Path::new("/etc/hostname"));
    }
}
