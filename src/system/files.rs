//! Files: written whole or not at all, with a mode, and on disk when the call returns.
//!
//! Every name that appears, disappears or moves is followed by an fsync of its directory: without it a crash may undo a
//! rename that the journal already calls done.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use rustix::fs::{Advice, FallocateFlags};

/// How the names of files begin that are not whole yet.
pub const TEMPORARY: &str = ".pgbaton-";

/// Writes a file, replacing what was there: a reader sees the old contents or the new ones, also after a crash.
///
/// A symbolic link is replaced by the file, not followed.
///
/// # Errors
/// Fails, leaving the old file, if any part of this fails.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let temporary = temporary(path, contents, mode)?;
    sync(temporary.as_file(), path)?;
    replace(temporary, path)?;
    sync_parent(path)
}

/// Writes a file as [`write()`] does, but where there is one it keeps its mode, and behind a symbolic link it is the file itself that is
/// replaced; `mode` is for one that is made.
///
/// # Errors
/// As [`write()`].
pub fn rewrite(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let place = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let present = fs::metadata(&place).ok().map(|about| about.permissions().mode() & 0o7777);
    write(&place, contents, present.unwrap_or(mode))
}

/// Writes a file as [`write()`] does, but does not wait for the disk, which on a busy server can take seconds.
///
/// A reader sees the old contents or the new ones; but if the system crashes within moments, there may be neither on some file systems.
///
/// # Errors
/// Fails, leaving the old file, if any part of this fails.
pub fn write_without_waiting(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let temporary = temporary(path, contents, mode)?;
    // What is no longer needed in memory the kernel begins to write at once, not in half a minute. If it does not, no harm is done.
    let _ = rustix::fs::fadvise(temporary.as_file(), 0, None, Advice::DontNeed);
    replace(temporary, path)
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// As [`write()`], and if there is a file of that name.
pub fn write_new(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let temporary = temporary(path, contents, mode)?;
    sync(temporary.as_file(), path)?;
    temporary
        .persist_noclobber(path)
        .map_err(|error| error.error)
        .with_context(|| format!("could not create \"{}\"", path.display()))?;
    sync_parent(path)
}

fn temporary(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<tempfile::NamedTempFile> {
    let make = || -> std::io::Result<_> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(parent(path))?;
        file.write_all(contents)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    };
    make().with_context(|| format!("could not write \"{}\"", path.display()))
}

fn sync(file: &File, path: &Path) -> anyhow::Result<()> {
    file.sync_all().with_context(|| format!("could not write \"{}\"", path.display()))
}

fn replace(temporary: tempfile::NamedTempFile, path: &Path) -> anyhow::Result<()> {
    let persisted = temporary.persist(path).map_err(|error| error.error);
    persisted.map(drop).with_context(|| format!("could not write \"{}\"", path.display()))
}

/// Writes a file that only this user can read, among the system's temporary files; it is removed when the value is dropped.
///
/// # Errors
/// Fails if it cannot be made or written.
pub fn private_temporary(contents: &[u8]) -> anyhow::Result<tempfile::TempPath> {
    // Mode 0600 is what the crate makes them with.
    let make = || -> std::io::Result<_> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile()?;
        file.write_all(contents)?;
        Ok(file.into_temp_path())
    };
    make().context("could not write a temporary file")
}

/// The largest file that is read whole: a WAL segment.
const WHOLE_BYTES: u64 = 1024 * 1024 * 1024;

/// Returns the contents of a file, or None if there is none.
///
/// # Errors
/// Fails if the file is there and cannot be read.
pub fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match super::guarded_read::read(path, WHOLE_BYTES) {
        Ok(contents) => Ok(Some(contents.bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read \"{}\"", path.display())),
    }
}

/// The largest text that is read.
const TEXT_BYTES: u64 = 4 * 1024 * 1024;

/// Returns a text, as [`fs::read_to_string`] does; but it neither waits for what is no regular file nor reads more than a text has.
///
/// # Errors
/// As that, and for a file that is none or is too large.
pub fn text(path: impl AsRef<Path>) -> std::io::Result<String> {
    let wrong = |error| std::io::Error::new(ErrorKind::InvalidData, error);
    String::from_utf8(bytes(path)?).map_err(wrong)
}

/// The same for what need not be a text.
///
/// # Errors
/// For a file that cannot be read, is no regular one or is too large.
pub fn bytes(path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    super::guarded_read::read(path.as_ref(), TEXT_BYTES).map(|read| read.bytes)
}

/// Returns the first bytes of a file.
///
/// # Errors
/// For a file that cannot be read, or is no regular one.
pub fn read_start(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let (file, _) = super::guarded_read::open(path)?;
    let mut start = Vec::new();
    file.take(most as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Returns what was added to a file since it was so long, of much only the end. A file that is shorter than it was is a new one.
///
/// # Errors
/// For a file that cannot be read, or is no regular one.
pub fn added(path: &Path, since: u64) -> std::io::Result<Vec<u8>> {
    let (mut file, about) = super::guarded_read::open(path)?;
    let since = if about.len() < since { 0 } else { since };
    file.seek(SeekFrom::Start(since.max(about.len().saturating_sub(TEXT_BYTES))))?;
    let mut added = Vec::new();
    file.take(TEXT_BYTES).read_to_end(&mut added)?;
    Ok(added)
}

/// Returns the contents of a text file, and its mode.
///
/// # Errors
/// Fails if it cannot be read, is no text or is too large to be meant for people.
pub fn read_text(path: &Path) -> anyhow::Result<(String, u32)> {
    let failed = || format!("could not read \"{}\"", path.display());
    let read = super::guarded_read::read(path, TEXT_BYTES).with_context(failed)?;
    let text = String::from_utf8(read.bytes).with_context(failed)?;
    Ok((text, read.about.permissions().mode() & 0o777))
}

/// Copies a file with its mode, or a symbolic link itself, replacing what is there; directories above it are made.
///
/// # Errors
/// Fails, leaving the old file, if any part of this fails. Ok(false) if there is nothing to copy.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<bool> {
    let copied = copy_file(from, to)?;
    if copied {
        sync_parent(to)?;
    }
    Ok(copied)
}

/// How many large files are copied at a time: what takes long is to wait for the disk.
const AT_A_TIME: usize = 4;

/// How much older than its copy a file must be, to be the same for certain: times of files are those of the last tick of a clock.
const TICK: Duration = Duration::from_secs(1);

/// Copies files of these names from one directory into another, as [`copy`] does each of them, but for those that were copied before and have
/// not changed since.
///
/// # Errors
/// As [`copy`]; some of them may have been copied.
pub fn copy_all(names: &[String], from: &Path, to: &Path) -> anyhow::Result<()> {
    for some in names.chunks(AT_A_TIME) {
        std::thread::scope(|scope| {
            let work = |name| {
                scope.spawn(move || {
                    let (from, to) = (from.join(name), to.join(name));
                    if is_copied(&from, &to) { Ok(true) } else { copy_file(&from, &to) }
                })
            };
            let working: Vec<_> = some.iter().map(work).collect();
            working.into_iter().try_for_each(|thread| match thread.join() {
                Ok(copied) => copied.map(drop),
                Err(_) => bail!("could not copy files to \"{}\"", to.display()),
            })
        })?;
    }
    names.first().map_or(Ok(()), |name| sync_parent(&to.join(name)))
}

/// Says whether a file is what was copied from another, which has not changed since.
fn is_copied(from: &Path, to: &Path) -> bool {
    let (Ok(source), Ok(copy)) = (fs::symlink_metadata(from), fs::symlink_metadata(to)) else { return false };
    let (Ok(changed), Ok(same)) = (source.modified(), copy.modified()) else { return false };
    let copied = UNIX_EPOCH + Duration::from_secs(u64::try_from(copy.ctime()).unwrap_or(0));
    source.is_file() && source.len() == copy.len() && changed == same && changed + TICK < copied
}

/// Copies one file with the time of its last change and syncs it, but not the directory that it is put into.
fn copy_file(from: &Path, to: &Path) -> anyhow::Result<bool> {
    let failed = || format!("could not copy \"{}\" to \"{}\"", from.display(), to.display());
    let kind = match fs::symlink_metadata(from) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(error) => return Err(error).with_context(failed),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(parent(to)).with_context(failed)?;
    if kind.is_symlink() {
        let target = fs::read_link(from).with_context(failed)?;
        remove_file(to)?;
        std::os::unix::fs::symlink(target, to).with_context(failed)?;
    } else {
        let make = || -> std::io::Result<_> {
            let (mut source, _) = super::guarded_read::open(from)?;
            let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(parent(to))?;
            std::io::copy(&mut source, file.as_file_mut())?;
            let about = source.metadata()?;
            file.as_file().set_permissions(about.permissions())?;
            file.as_file().set_modified(about.modified()?)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let temporary = make().with_context(failed)?;
        temporary.persist(to).map_err(|error| error.error).with_context(failed)?;
    }
    Ok(true)
}

/// Removes a file, or a symbolic link itself, if it is there.
///
/// # Errors
/// Fails if it is there afterwards, and on a directory.
pub fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("could not remove \"{}\"", path.display())),
    }
}

/// Makes a directory with its parents, unless it is there, and sets its mode in both cases.
///
/// # Errors
/// Fails if it cannot be created, is not a directory, or belongs to another user.
pub fn make_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    let failed = || format!("could not create directory \"{}\"", path.display());
    if !path.is_dir() {
        // Parents that are missing get the same mode: nothing is more open than what was asked for.
        DirBuilder::new().recursive(true).mode(mode).create(path).with_context(failed)?;
        sync_parent(path)?;
    }
    let present = fs::metadata(path).with_context(failed)?.permissions().mode() & 0o7777;
    if present != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .with_context(|| format!("could not set the mode of \"{}\" to {mode:04o}", path.display()))?;
    }
    Ok(())
}

/// Removes everything in a directory but the names in `keep`. A directory that is not there is empty.
///
/// Symbolic links in it are removed, never followed: `pg_wal` and the tablespaces may lie elsewhere.
///
/// # Errors
/// Fails on the first entry that cannot be removed, naming it.
pub fn clear_directory(path: &Path, keep: &[String]) -> anyhow::Result<()> {
    for name in names_in(path)? {
        if !keep.iter().any(|kept| OsStr::new(kept) == name) {
            remove_any(&path.join(name))?;
        }
    }
    if path.is_dir() { sync_directory(path) } else { Ok(()) }
}

/// Removes a directory and everything in it, if it is there. A symbolic link is removed itself, never followed.
///
/// # Errors
/// Fails on the first entry that cannot be removed.
pub fn remove_tree(path: &Path) -> anyhow::Result<()> {
    if remove_any(path)? { sync_parent(path) } else { Ok(()) }
}

fn remove_any(path: &Path) -> anyhow::Result<bool> {
    let failed = || format!("could not remove \"{}\"", path.display());
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(failed),
    };
    if kind.is_dir() {
        #[expect(clippy::disallowed_methods, reason = "the one place that removes directories")]
        fs::remove_dir_all(path).with_context(failed)?;
    } else {
        fs::remove_file(path).with_context(failed)?;
    }
    Ok(true)
}

/// Moves all entries of one directory into another on the same file system, then removes the first one.
///
/// Entries named in `first` go before all others and those in `last` after them, each list in its order; at every border
/// both directories are synced, so that a crash cannot reorder what safety rests on. May be repeated: what has been moved
/// is not there any more. Nothing in `to` is replaced.
///
/// # Errors
/// Fails on the first entry that cannot be moved, naming it.
pub fn move_entries(from: &Path, to: &Path, first: &[String], last: &[String]) -> anyhow::Result<()> {
    let sync = || sync_directory(to).and_then(|()| sync_directory(from));
    if !from.is_dir() {
        return Ok(());
    }
    for name in first {
        move_entry(from, to, OsStr::new(name))?;
        sync()?;
    }
    let kept: BTreeSet<&OsStr> = last.iter().map(OsStr::new).collect();
    for name in names_in(from)?.iter().filter(|name| !kept.contains(name.as_os_str())) {
        move_entry(from, to, name)?;
    }
    sync()?;
    for name in last {
        move_entry(from, to, OsStr::new(name))?;
        sync()?;
    }
    fs::remove_dir(from).with_context(|| format!("could not remove \"{}\"", from.display()))?;
    sync_parent(from)
}

fn move_entry(from: &Path, to: &Path, name: &OsStr) -> anyhow::Result<()> {
    let (source, target) = (from.join(name), to.join(name));
    let failed = || format!("could not move \"{}\" to \"{}\"", source.display(), target.display());
    if source.parent() != Some(from) || Path::new(name).file_name() != Some(name) {
        bail!("\"{}\" is not the name of a directory entry", name.display());
    }
    match fs::symlink_metadata(&source) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(failed),
    }
    if fs::symlink_metadata(&target).is_ok() {
        return Err(anyhow::anyhow!("the target exists")).with_context(failed);
    }
    fs::rename(&source, &target).with_context(failed)
}

/// Returns the names in a directory, sorted; none if it does not exist.
///
/// # Errors
/// Fails if the directory is there and cannot be read.
pub fn names_in(path: &Path) -> anyhow::Result<Vec<OsString>> {
    let failed = || format!("could not read directory \"{}\"", path.display());
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(failed),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.with_context(failed)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Returns how many bytes an unprivileged process may still write where `path` is, or where it would be made.
///
/// # Errors
/// Fails if the file system cannot be asked.
pub fn free_space(path: &Path) -> anyhow::Result<u64> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let answer = rustix::fs::statvfs(existing)
        .with_context(|| format!("could not find out the free space at \"{}\"", existing.display()))?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// Returns how many bytes an unprivileged process may still write to the file system of `path`, and how many it may have there in all: what
/// is free and what is used, without what is kept for root.
///
/// # Errors
/// Fails if the file system cannot be asked.
pub fn space(path: &Path) -> anyhow::Result<(u64, u64)> {
    let answer = rustix::fs::statvfs(path)
        .with_context(|| format!("could not find out the free space at \"{}\"", path.display()))?;
    let used = answer.f_blocks.saturating_sub(answer.f_bfree);
    let bytes = |blocks: u64| blocks.saturating_mul(answer.f_frsize);
    Ok((bytes(answer.f_bavail), bytes(answer.f_bavail.saturating_add(used))))
}

/// Gives a file another name in its directory.
///
/// # Errors
/// Fails if it cannot be renamed.
pub fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("could not rename \"{}\" to \"{}\"", from.display(), to.display()))?;
    sync_parent(to)
}

/// Makes a symbolic link, in place of another one if there is one.
///
/// # Errors
/// Fails if it cannot be made there.
pub fn link(to: &Path, link: &Path) -> anyhow::Result<()> {
    let mut name = std::ffi::OsString::from(format!("{TEMPORARY}{}-", std::process::id()));
    name.push(link.file_name().unwrap_or_default());
    let new = link.with_file_name(name);
    let _left = fs::remove_file(&new);
    std::os::unix::fs::symlink(to, &new)
        .and_then(|()| fs::rename(&new, link))
        .with_context(|| format!("could not create link \"{}\" to \"{}\"", link.display(), to.display()))?;
    sync_parent(link)
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// Fails if the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> anyhow::Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("could not sync directory \"{}\"", path.display()))
}

fn sync_parent(path: &Path) -> anyhow::Result<()> {
    sync_directory(parent(path))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file of lines that only grows, and holds whole lines only.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    path: PathBuf,
    /// What is known to be whole lines. After a failed write anything behind it is cut off before the next one.
    length: u64,
    dirty: bool,
}

impl AppendFile {
    /// Opens an existing file; a last line without its line end gets one.
    ///
    /// # Errors
    /// Fails if the file is not there or cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let open = || -> std::io::Result<Self> {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)?;
            let length = file.metadata()?.len();
            let mut last = [b'\n'];
            if length > 0 {
                file.seek(SeekFrom::Start(length - 1))?;
                file.read_exact(&mut last)?;
            }
            let mut opened = Self { file, path: path.to_path_buf(), length, dirty: false };
            if last != [b'\n'] {
                opened.write(b"\n", true)?;
            }
            Ok(opened)
        };
        open().with_context(|| format!("could not open \"{}\"", path.display()))
    }

    /// Sets disk space aside beyond the present end. Where the file system cannot do that, nothing happens.
    pub fn reserve(&self, bytes: u64) {
        let _ = rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.length, bytes);
    }

    /// Appends lines, which must end with a line end, and waits for the disk if requested.
    ///
    /// # Errors
    /// Fails if that is not so when it returns; the lines are then taken away again, as far as that is possible.
    pub fn append(&mut self, lines: &[u8], sync: bool) -> anyhow::Result<()> {
        self.write(lines, sync).with_context(|| format!("could not write \"{}\"", self.path.display()))
    }

    /// Removes the last line.
    ///
    /// # Errors
    /// Fails if the file cannot be read or cut.
    pub fn cut_to_last_line(&mut self) -> anyhow::Result<()> {
        let mut cut = || -> std::io::Result<()> {
            let mut text = Vec::new();
            self.file.seek(SeekFrom::Start(0))?;
            self.file.read_to_end(&mut text)?;
            let lines = text.strip_suffix(b"\n").unwrap_or(&text);
            let keep = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            self.length = u64::try_from(keep).unwrap_or(0);
            self.file.set_len(self.length)?;
            self.file.sync_all()
        };
        cut().with_context(|| format!("could not truncate \"{}\"", self.path.display()))
    }

    fn write(&mut self, lines: &[u8], sync: bool) -> std::io::Result<()> {
        if self.dirty {
            self.file.set_len(self.length)?;
            self.dirty = false;
        }
        let written =
            self.file.write_all(lines).and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => self.length += u64::try_from(lines.len()).unwrap_or(0),
            Err(_) => self.dirty = self.file.set_len(self.length).is_err(),
        }
        written
    }
}

#[cfg(test)]
mod tests;
