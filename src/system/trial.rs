//! Whether a place can be written to: tried, not asked. What access(2) allows may still fail on a file system that is read-only or full, or
//! for a file that is immutable.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::files::TEMPORARY;

/// More than what a file system keeps within the entry of a file.
const SOME: [u8; 8192] = [0; 8192];

/// Creates, writes and removes a file in a directory, or where the directory itself would have to be created.
///
/// # Errors
/// Fails with what fails of it, naming the directory.
pub fn directory(path: &Path) -> anyhow::Result<()> {
    let nearest = path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(path);
    // Not by `tempfile`, whose errors name the file, which is gone.
    let nonce = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos());
    let name = nearest.join(format!("{TEMPORARY}trial-{}-{nonce}", std::process::id()));
    let attempt = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name)?;
        let written = file.write_all(&SOME);
        std::fs::remove_file(&name)?;
        written
    };
    attempt().with_context(|| format!("could not create a file in \"{}\"", nearest.display()))
}

/// Opens a file for writing, at its end, or does the same as [`directory()`] where it has to be created. Nothing is written to it.
///
/// # Errors
/// Fails with what fails of it, naming the file; also if it is no regular file.
pub fn file(path: &Path) -> anyhow::Result<()> {
    // A pipe without a reader must not hold us.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    match OpenOptions::new().append(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file()) => Ok(()),
        Ok(_) => anyhow::bail!("\"{}\" is not a regular file", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            anyhow::ensure!(parent.is_dir(), "there is no directory \"{}\"", parent.display());
            directory(parent)
        }
        Err(error) => {
            Err(error).with_context(|| format!("could not open \"{}\" for writing", path.display()))
        }
    }
}

/// Tries whether a file can be replaced by another one of its name, as all files are that are written whole: its own mode does not keep it.
///
/// # Errors
/// Fails with what fails of it; also if it is immutable, or no regular file.
pub fn replaceable(path: &Path) -> anyhow::Result<()> {
    replaceable_in(path, || directory(path.parent().unwrap_or(Path::new("/"))))
}

/// The same where its directory is tried otherwise.
///
/// # Errors
/// As [`replaceable()`].
pub fn replaceable_in(path: &Path, directory: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    match file(path) {
        Err(error) if errno(&error) == Some(rustix::io::Errno::ACCESS.raw_os_error()) => directory(),
        Ok(()) => directory(),
        failed => failed,
    }
}

fn errno(error: &anyhow::Error) -> Option<i32> {
    error.downcast_ref::<std::io::Error>()?.raw_os_error()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::files;
    use super::*;

    #[test]
    fn what_can_be_written_is_left_as_it_was_and_what_cannot_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        directory(path).unwrap();
        directory(&path.join("a/b")).unwrap();
        file(&path.join("new")).unwrap();
        assert!(file(&path.join("a/new")).is_err());
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);

        let (log, closed) = (path.join("log"), path.join("closed"));
        files::write(&log, b"text", 0o600).unwrap();
        std::fs::create_dir(&closed).unwrap();
        file(&log).unwrap();
        assert_eq!(crate::system::files::text(&log).unwrap(), "text");
        let text = |error: anyhow::Error| format!("{error:#}");
        assert!(text(file(&closed).unwrap_err()).contains("for writing: Is a directory"));
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            path.join("pipe"),
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        assert!(text(file(&path.join("pipe")).unwrap_err()).contains("pipe"));
        assert!(text(file(Path::new("/dev/null")).unwrap_err()).contains("not a regular file"));
        if rustix::process::geteuid().is_root() {
            // Root may write anywhere.
            return;
        }
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
        set(&log, 0o400).unwrap();
        set(&closed, 0o500).unwrap();
        assert!(text(file(&log).unwrap_err()).contains("log\" for writing: Permission denied"));
        replaceable(&log).unwrap();
        assert!(replaceable(&path.join("pipe")).is_err() && replaceable(&closed.join("new")).is_err());
        for inside in [closed.clone(), closed.join("a/b")] {
            let message = text(directory(&inside).unwrap_err());
            assert_eq!(
                message,
                format!(
                    "could not create a file in \"{}\": Permission denied (os error 13)",
                    closed.display()
                )
            );
        }
        assert!(file(&closed.join("new")).is_err());
        set(&closed, 0o700).unwrap();
    }
}
