//! The effects on files and directories.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::pg::lsn::Lsn;
use crate::plan::op::Setting;

/// A change of files or directories. As in [`Op`](crate::plan::Op), no variant holds a password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOp {
    /// Make a directory, with its parents, unless it is there; `mode` is set in both cases.
    MakeDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Remove everything in a directory, but not the directory.
    ClearDirectory {
        /// The directory; it need not exist.
        path: PathBuf,
        /// Names that stay.
        keep: Vec<String>,
    },
    /// Remove a directory and everything in it, if it is there.
    RemoveDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Write a file: whole or not at all, synced.
    WriteFile {
        /// The file.
        path: PathBuf,
        /// What is in it afterwards.
        contents: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Write a file whose contents are a secret that the world knows by name: a user's configuration may hold passwords.
    WriteSecretFile {
        /// The file.
        path: PathBuf,
        /// The name of its contents.
        secret: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Remove a file if it is there.
    RemoveFile {
        /// The file.
        path: PathBuf,
    },
    /// Rewrite a file of `name = 'value'` lines: the named settings go, the new ones are appended, the rest stays as it is, its mode
    /// included.
    WriteSettings {
        /// The file; made if missing.
        path: PathBuf,
        /// Settings that must not stay.
        remove: Vec<String>,
        /// Settings to append.
        set: Vec<Setting>,
        /// Its permission bits, if it is made.
        mode: u32,
    },
    /// Move all entries of one directory into another on the same file system, then remove the first one.
    ///
    /// Repeatable: entries that have been moved are not there any more. `last` makes the order that safety rests on: what is
    /// named there is moved after everything else, in that order.
    MoveEntries {
        /// The directory to empty.
        from: PathBuf,
        /// Where its entries go.
        to: PathBuf,
        /// Entries that are moved before all others.
        first: Vec<String>,
        /// Entries that are moved after all others.
        last: Vec<String>,
    },
    /// Copy files, or symbolic links themselves, from one directory to the same places below another one, replacing what is there. What
    /// is not there is passed over.
    CopyFiles {
        /// The directory that they are in.
        from: PathBuf,
        /// Where copies go; made if missing.
        to: PathBuf,
        /// Their paths, relative to both.
        files: Vec<PathBuf>,
    },
    /// Make everything in a data directory that is not the server's own what it was when it was copied: files are copied back, and those
    /// that are new, because a rewind has brought them from another server, are removed.
    #[serde(rename = "put_back")]
    RestoreFiles {
        /// Where the copies are.
        from: PathBuf,
        /// The data directory.
        data_directory: PathBuf,
        /// Their paths, relative to both.
        files: Vec<PathBuf>,
    },
    /// Give a file or directory another name on the same file system, unless that was done.
    Rename {
        /// The name that it has.
        from: PathBuf,
        /// The name that it gets; nothing is replaced.
        to: PathBuf,
        /// A symbolic link to it, which leads to the new name afterwards.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<PathBuf>,
    },
    /// Copy the WAL from a position on, with what `Rewind` needs to begin again. Never links: pg_rewind would write into the copies.
    #[serde(rename = "keep_wal")]
    SaveWal {
        /// The data directory.
        data_directory: PathBuf,
        /// Where the WAL to copy begins.
        from: Lsn,
        /// Where the copies go; made if missing.
        to: PathBuf,
    },
    /// Copy segments that were kept and end before a position back, where pg_rewind has removed them: the source no longer had them, and
    /// the rewound server replays them.
    #[serde(rename = "return_wal")]
    RestoreWal {
        /// Where `SaveWal` has put its copies.
        kept: PathBuf,
        /// The data directory.
        data_directory: PathBuf,
        /// Where the WAL ends that both servers share.
        until: Lsn,
    },
}

impl FileOp {
    /// The names that the variants are stored under. [`Op`](crate::plan::Op) tells by them what it reads.
    pub(super) const NAMES: [&str; 13] = [
        "make_directory",
        "clear_directory",
        "remove_directory",
        "write_file",
        "write_secret_file",
        "remove_file",
        "write_settings",
        "move_entries",
        "copy_files",
        "put_back",
        "rename",
        "keep_wal",
        "return_wal",
    ];
}

impl fmt::Display for FileOp {
    /// Writes what is done, in one line, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeDirectory { path, mode } => {
                write!(f, "mkdir -p {0} && chmod {mode:04o} {0}", path.display())
            }
            Self::ClearDirectory { path, .. } => write!(f, "empty {}", path.display()),
            Self::RemoveDirectory { path } => write!(f, "rm -r {}", path.display()),
            Self::WriteFile { path, .. } | Self::WriteSecretFile { path, .. } => {
                write!(f, "write {}", path.display())
            }
            Self::RemoveFile { path } => write!(f, "rm {}", path.display()),
            Self::WriteSettings { path, set, .. } => {
                write!(f, "write {}:", path.display())?;
                for setting in set {
                    write!(f, " {setting}")?;
                }
                Ok(())
            }
            Self::MoveEntries { from, to, .. } => write!(f, "mv {}/* {}/", from.display(), to.display()),
            Self::CopyFiles { from, to, files } => {
                write!(
                    f,
                    "copy {} file{} from {} to {}",
                    files.len(),
                    if files.len() == 1 { "" } else { "s" },
                    from.display(),
                    to.display()
                )
            }
            Self::RestoreFiles { from, data_directory, .. } => {
                write!(f, "copy {}/* to {}/", from.display(), data_directory.display())
            }
            Self::Rename { from, to, link } => {
                write!(f, "mv {} {}", from.display(), to.display())?;
                match link {
                    Some(link) => write!(f, "; ln -sfn {} {}", to.display(), link.display()),
                    None => Ok(()),
                }
            }
            Self::SaveWal { data_directory, from, to } => {
                write!(f, "copy {}/pg_wal since {from} to {}", data_directory.display(), to.display())
            }
            Self::RestoreWal { kept, data_directory, until } => {
                write!(
                    f,
                    "copy {}/pg_wal up to {until} to {}/pg_wal",
                    kept.display(),
                    data_directory.display()
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Op;

    #[test]
    fn every_file_operation_is_recognized_by_its_name() {
        // serde lists all of them when it meets a name that it does not know.
        let error = serde_json::from_value::<FileOp>(json!({ "": {} })).unwrap_err().to_string();
        let names: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(names, FileOp::NAMES, "{error}");
    }

    #[test]
    fn a_file_operation_is_stored_as_before_it_had_a_type_of_its_own() {
        let stored = json!({ "remove_file": { "path": "/x" } });
        let op: Op = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(op, Op::File(FileOp::RemoveFile { path: "/x".into() }));
        assert_eq!(serde_json::to_value(&op).unwrap(), stored);
        assert_eq!(op.to_string(), "rm /x");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = |stored: Value| serde_json::from_value::<Op>(stored).unwrap_err().to_string();
        assert_eq!(error(json!({ "remove_file": {} })), "missing field `path`");
        assert_eq!(error(json!({ "sql": { "statements": [] } })), "missing field `on`");
        let unknown = error(json!({ "teleport": {} }));
        assert!(
            unknown.starts_with("unknown variant `teleport`, expected one of `run`, `sql`,"),
            "{unknown}"
        );
    }
}
