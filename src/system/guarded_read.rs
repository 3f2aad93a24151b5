//! Reading a file that another user may have named or written: without waiting for it, not without end, and knowing whose it is.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Who may change a file, if not only its owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// In such a directory an entry is changed by its owner only.
const STICKY: u32 = 0o1000;

/// The contents of a file, and what is known of the file that they were read from.
#[derive(Debug)]
pub struct Contents {
    /// All of it.
    pub bytes: Vec<u8>,
    /// The file, as it was when it was opened.
    pub about: Metadata,
}

/// Reads a regular file of at most so many bytes.
///
/// A pipe or a device is refused by what was opened, not by its name, and opening it does not wait for another process.
///
/// # Errors
/// If it cannot be read, is no regular file, or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Contents> {
    let (file, about) = open(path)?;
    let larger = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes"));
    if about.len() > most {
        return Err(larger());
    }
    let mut bytes = Vec::new();
    // It may have grown meanwhile.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(larger()) } else { Ok(Contents { bytes, about }) }
}

/// Opens a regular file for reading.
///
/// # Errors
/// If it cannot be opened, or is no regular file.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    match about.is_file() {
        true => Ok((file, about)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Says why users other than these could have written a file, if they could: its owner, its mode, and its directory, by which it can be
/// replaced.
pub fn untrusted_writer(path: &Path, about: &Metadata, trusted: &[u32]) -> Option<String> {
    if !trusted.contains(&about.uid()) {
        return Some(format!("It belongs to user ID {}.", about.uid()));
    }
    if about.mode() & WRITABLE_BY_OTHERS != 0 {
        return Some(format!("Other users can write to it (mode {:04o}).", about.mode() & 0o7777));
    }
    // Where it really is, if a link leads there.
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) => return Some(format!("Its directory cannot be determined: {error}.")),
    };
    let directory = real.parent().unwrap_or(Path::new("/"));
    let shown = directory.display();
    match directory.metadata() {
        Err(error) => Some(format!("Its directory \"{shown}\" cannot be examined: {error}.")),
        Ok(about) if about.mode() & WRITABLE_BY_OTHERS != 0 && about.mode() & STICKY == 0 => Some(format!(
            "Other users can write to its directory \"{shown}\" (mode {:04o}).",
            about.mode() & 0o7777
        )),
        Ok(about) if !trusted.contains(&about.uid()) => {
            Some(format!("Its directory \"{shown}\" belongs to user ID {}.", about.uid()))
        }
        Ok(_) => None,
    }
}

/// Says whether every user may write to a file.
pub fn is_world_writable(about: &Metadata) -> bool {
    about.mode() & 0o002 != 0
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::system::files;

    #[test]
    fn what_is_no_regular_file_or_too_large_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        for path in [fifo.as_path(), directory.path(), Path::new("/dev/zero")] {
            let error = read(path, 100).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{}: {error}", path.display());
        }
        let file = directory.path().join("file");
        files::write(&file, &[b'x'; 101], 0o600).unwrap();
        assert!(read(&file, 100).unwrap_err().to_string().contains("larger than 100 bytes"));
        assert_eq!(read(&file, 101).unwrap().bytes.len(), 101);
        // No link to a process's descriptor or the like makes it look smaller than it is.
        assert!(read(Path::new("/proc/self/status"), 10).is_err());
    }

    #[test]
    fn owner_mode_and_directory_all_count() {
        let directory = tempfile::tempdir().unwrap();
        let (inner, file) = (directory.path().join("d"), directory.path().join("d/file"));
        files::make_directory(&inner, 0o700).unwrap();
        files::write(&file, b"", 0o600).unwrap();
        let me = rustix::process::geteuid().as_raw();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let found = |trusted: &[u32]| untrusted_writer(&file, &read(&file, 10).unwrap().about, trusted);
        assert_eq!(found(&[0, me]), None);
        assert_eq!(found(&[me + 1]).unwrap(), format!("It belongs to user ID {me}."));
        for mode in [0o620, 0o602] {
            set(&file, mode);
            assert!(found(&[me]).unwrap().contains("can write to it"));
        }
        set(&file, 0o644);
        for (mode, good) in [(0o770, false), (0o707, false), (0o1777, true), (0o755, true)] {
            set(&inner, mode);
            assert_eq!(found(&[me]).is_none(), good, "{mode:o}");
        }
    }
}
