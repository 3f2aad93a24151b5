//! Looking at files without changing them: whose they are, how large, whether we may write.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::system::environment::user_name;
use crate::system::files;

/// Says whether a process is stopped, as by Ctrl-Z or SIGSTOP: the third field of `/proc/PID/stat`, after the name in parentheses.
pub fn is_stopped(pid: u32) -> bool {
    let text = files::text(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

/// Returns the name of the user that owns a file; None where it does not exist or the user has no name.
pub fn owner(path: &Path) -> Option<String> {
    user_name(owner_id(path)?)
}

/// Returns the ID of the user that owns a file; None where it does not exist.
pub fn owner_id(path: &Path) -> Option<u32> {
    std::fs::metadata(path).map(|metadata| metadata.uid()).ok()
}

/// Says whether this process may make entries in a directory.
pub fn is_writable(directory: &Path) -> bool {
    access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Says why a directory cannot be given another name, if it cannot.
pub fn immovable(directory: &Path) -> Option<String> {
    let parent = directory.parent()?;
    let link = std::fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_symlink());
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let shown = directory.display();
    if link {
        Some(format!("\"{shown}\" is a symbolic link."))
    } else if device(directory) != device(parent) {
        Some(format!("\"{shown}\" is where a file system is mounted."))
    } else if !is_writable(parent) {
        Some(format!("This user may not write to \"{}\".", parent.display()))
    } else {
        None
    }
}

/// Returns the working directories of processes, each once, as far as this user may see them.
pub fn working_directories() -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    let mut out: Vec<PathBuf> =
        numbers.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok()).collect();
    out.sort();
    out.dedup();
    out
}

/// Returns the length of a file; 0 where there is none.
pub fn file_bytes(file: &Path) -> u64 {
    std::fs::symlink_metadata(file).map_or(0, |metadata| metadata.len())
}

/// Says whether this process may read and write a file.
pub fn is_open_to_us(file: &Path) -> bool {
    access(file, Access::READ_OK | Access::WRITE_OK).is_ok()
}

/// Says whether a file belongs to the user that runs this process.
pub fn is_own(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw())
}

/// Returns the number of the file system that a file is on; 0 where it cannot be looked at.
pub fn device(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.dev())
}

/// Returns the bytes that removing a directory's contents would set free; what cannot be read does not count.
///
/// Symbolic links are not followed: what they lead to stays.
pub fn bytes_in(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            // Blocks of 512 bytes, whatever the file system's own are (stat(2)).
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Returns how many names in a directory end like this; None where it cannot be read.
pub fn names_ending(directory: &Path, end: &str) -> Option<u64> {
    let names = std::fs::read_dir(directory).ok()?.flatten();
    u64::try_from(names.filter(|entry| entry.file_name().to_string_lossy().ends_with(end)).count()).ok()
}

/// Says whether a process sees the same network and the same processes as this one, and the same directory in its place.
///
/// Containers may share a file system and nothing else: what is started from here runs in this network, and not in that of the process.
pub fn shares_our_host(pid: i32, directory: &Path) -> bool {
    let link = |process: &str, name: &str| std::fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
    let pid = pid.abs().to_string();
    let same = |name: &str| link("self", name).is_some_and(|own| link(&pid, name) == Some(own));
    let place = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    // A private /tmp alone makes another mount namespace.
    let theirs =
        Path::new("/proc").join(&pid).join("root").join(directory.strip_prefix("/").unwrap_or(directory));
    same("net") && same("pid") && place(directory).is_some_and(|own| place(&theirs) == Some(own))
}

/// Says whether a program of this name has started this process, or who has started it.
pub fn is_started_by(name: &str) -> bool {
    let mut pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    while pid > 1 {
        // `pid (name) state ppid`, and anything may stand in the name.
        let Ok(stat) = files::text(format!("/proc/{pid}/stat")) else { return false };
        let Some((head, tail)) = stat.rsplit_once(')') else { return false };
        if head.split_once('(').is_some_and(|(_, found)| found == name) {
            return true;
        }
        pid = tail.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    }
    false
}

/// Returns this user's living processes that were started with an argument.
pub fn processes_with_argument(argument: &str) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = rustix::process::geteuid().as_raw();
    entries
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == own))
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // Empty for a process that has ended and was not waited for.
            let line = files::bytes(entry.path().join("cmdline")).ok()?;
            line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()).then_some(pid)
        })
        .collect()
}
