//! The processes of a server, found by their working directory, and how they are ended. Nothing here allocates.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, fsync, openat, statat, unlinkat};
use rustix::io::{Errno, read};
use rustix::process::{Pid, Signal, kill_process};

/// The file that makes the next start that of a standby.
pub const SIGNAL_FILE: &str = "standby.signal";

/// A data directory, and the processes that work in it.
#[derive(Debug)]
pub struct DataDirectory {
    directory: OwnedFd,
    /// Device and inode: what a working directory is compared with.
    identity: (u64, u64),
    processes: OwnedFd,
}

impl DataDirectory {
    /// Opens a data directory, and /proc.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&directory)?;
        let processes = openat(CWD, "/proc", flags, Mode::empty())?;
        Ok(Self { directory, identity: (stat.st_dev, stat.st_ino), processes })
    }

    /// Says whether this is the directory at a path: another one may have taken its place, as after a new clone.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        statat(CWD, path, AtFlags::empty()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.identity)
    }

    /// Returns a number that another directory does not have on this host, in all probability.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.identity.0.rotate_left(32) ^ self.identity.1
    }

    /// Writes `standby.signal`, down to the disk.
    ///
    /// # Errors
    /// Those of the system, a full disk among them.
    pub fn write_signal(&self) -> Result<(), Errno> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.directory, SIGNAL_FILE, flags, Mode::RUSR | Mode::WUSR)?;
        fsync(&file)?;
        fsync(&self.directory)
    }

    /// Removes `standby.signal`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn remove_signal(&self) -> Result<(), Errno> {
        match unlinkat(&self.directory, SIGNAL_FILE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => fsync(&self.directory),
            Err(error) => Err(error),
        }
    }

    /// Says whether `standby.signal` is there.
    #[must_use]
    pub fn has_signal(&self) -> bool {
        statat(&self.directory, SIGNAL_FILE, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Says whether a server runs that this process could not stop: its postmaster is there, and is not seen to work in the directory, as in
    /// another namespace of users. A file that a dead server has left says nothing: its number is nobody's, or that of a process whose
    /// directory is seen.
    #[must_use]
    pub fn is_out_of_sight(&self) -> bool {
        let Some(pid) = self.postmaster() else { return false };
        let mut path = [0; 24];
        let Some(path) = write_path(&mut path, pid).and_then(|length| path.get(..length)) else {
            return false;
        };
        matches!(statat(&self.processes, path, AtFlags::empty()), Err(Errno::ACCESS | Errno::PERM))
    }

    /// Says whether a process is seen to work in the directory.
    #[must_use]
    pub fn sees(&self, pid: i32) -> bool {
        Pid::from_raw(pid).is_some_and(|pid| self.works_here(pid))
    }

    /// Asks the postmaster to stop at once. One that does not work in this directory is not this server's.
    pub fn quit(&self) {
        if let Some(pid) = self.postmaster().filter(|pid| self.works_here(*pid)) {
            let _ = kill_process(pid, Signal::QUIT);
        }
    }

    /// Returns the process that the server has written down as its postmaster.
    fn postmaster(&self) -> Option<Pid> {
        let mut text = [0; 32];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.directory, "postmaster.pid", flags, Mode::empty()).ok()?;
        let length = read(&file, &mut text).ok()?;
        let line =
            text.get(..length).unwrap_or_default().split(|byte| *byte == b'\n').next().unwrap_or_default();
        number(line)
    }

    /// Kills every process that works in the directory. Returns how many there were.
    pub fn kill(&self) -> usize {
        self.each(|pid| {
            let _ = kill_process(pid, Signal::KILL);
        })
    }

    /// Counts the processes that work in the directory.
    #[must_use]
    pub fn count(&self) -> usize {
        self.each(|_| {})
    }

    fn each(&self, mut what: impl FnMut(Pid)) -> usize {
        let mut found = 0;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
        // A descriptor of its own: reading a directory has a position.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(processes) = openat(&self.processes, ".", flags, Mode::empty()) else { return 0 };
        let mut entries = RawDir::new(processes.as_fd(), &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            if let Some(pid) = number(entry.file_name().to_bytes()).filter(|pid| self.works_here(*pid)) {
                found += 1;
                what(pid);
            }
        }
        found
    }

    /// Says whether a process works here. Of a process that has ended, or of another user, nothing is to be seen.
    fn works_here(&self, pid: Pid) -> bool {
        let mut path = [0; 24];
        let Some(length) = write_path(&mut path, pid) else { return false };
        let Some(path) = path.get(..length) else { return false };
        statat(&self.processes, path, AtFlags::empty())
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.identity)
    }
}

/// Reads a process number.
fn number(digits: &[u8]) -> Option<Pid> {
    let mut value: i32 = 0;
    if digits.is_empty() {
        return None;
    }
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value = value.checked_mul(10)?.checked_add(i32::from(digit))?;
    }
    Pid::from_raw(value)
}

/// Writes `PID/cwd` without allocating. Returns its length.
fn write_path(into: &mut [u8], pid: Pid) -> Option<usize> {
    let mut digits = [0; 10];
    let (mut rest, mut count) = (pid.as_raw_nonzero().get().unsigned_abs(), 0);
    while rest > 0 {
        *digits.get_mut(count)? = b'0' + u8::try_from(rest % 10).ok()?;
        rest /= 10;
        count += 1;
    }
    let text = digits.get(..count)?.iter().rev().chain(b"/cwd");
    let mut length = 0;
    for (place, byte) in into.iter_mut().zip(text) {
        *place = *byte;
        length += 1;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_they_are_read() {
        for pid in [1, 10, 4711, i32::MAX] {
            let mut path = [0; 24];
            let pid = Pid::from_raw(pid).unwrap();
            let length = write_path(&mut path, pid).unwrap();
            let text = std::str::from_utf8(&path[..length]).unwrap();
            assert_eq!(text, format!("{}/cwd", pid.as_raw_nonzero()));
            assert_eq!(number(text.trim_end_matches("/cwd").as_bytes()), Some(pid));
        }
        for wrong in ["", "self", "-1", "4294967296", "0"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
