//! The configuration files of a PostgreSQL server, as its next start will read them.
//!
//! repmgr.conf has the lexer of postgresql.conf, with the same rules for included files.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Origin, own_uid, repmgr_conf};
use crate::system::files;

/// A line that sets something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The parameter, in lower case.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file.
    pub path: PathBuf,
    /// The number of the line.
    pub line: usize,
}

/// Reads a file and those that it includes, in the order in which they take effect. A file that is not there sets nothing.
///
/// # Errors
/// Says what could not be read or understood; the lines that were come with it.
pub fn read(path: &Path) -> (Vec<Line>, Result<(), String>) {
    let read = files::bytes(path).and_then(|text| Ok((text, fs::metadata(path)?.uid())));
    let (text, owner) = match read {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::NotFound => return (Vec::new(), Ok(())),
        Err(error) => return (Vec::new(), Err(format!("could not read \"{}\": {error}", path.display()))),
    };
    // The server believes whatever it includes; what others may write is not read here, and said to be unread.
    let contents = repmgr_conf::parse(&text, path, &[0, own_uid(), owner]);
    let lines = contents.assignments.iter().filter_map(|assignment| match &assignment.origin {
        Origin::File { path, line } => Some(Line {
            name: assignment.key.to_ascii_lowercase(),
            value: assignment.value.to_string(),
            path: path.clone(),
            line: *line,
        }),
        Origin::CommandLine | Origin::Default => None,
    });
    let wrong = contents.problems.first().map(|problem| {
        let line = problem.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let file = problem.file.as_deref().unwrap_or(path).display().to_string();
        format!("{} (\"{file}\"{line})", problem.message)
    });
    (lines.collect(), wrong.map_or(Ok(()), Err))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_server_reads_them() {
        let place = tempfile::tempdir().unwrap();
        let main = place.path().join("postgresql.conf");
        files::write(
            &main,
            b"# caf\xe9\nshared_buffers = 128MB\nMax_Connections 20\ninclude_dir 'conf.d'\ninclude_if_exists none.conf\n",
            0o600,
        )
        .unwrap();
        files::make_directory(&place.path().join("conf.d"), 0o700).unwrap();
        let included = place.path().join("conf.d/a.conf");
        files::write(&included, b"recovery_target_time = '2026-01-01 00:00:00+00'\n", 0o600).unwrap();
        let (lines, read_whole) = read(&main);
        assert_eq!(read_whole, Ok(()));
        let shown: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.line)).collect();
        assert_eq!(shown, [("shared_buffers", 2), ("max_connections", 3), ("recovery_target_time", 1)]);
        assert_eq!(lines[2].path, included);
        assert_eq!(lines[2].value, "2026-01-01 00:00:00+00");
        assert_eq!(read(&place.path().join("none.conf")), (Vec::new(), Ok(())));
    }

    #[test]
    fn what_cannot_be_read_is_said_with_the_rest() {
        let place = tempfile::tempdir().unwrap();
        let main = place.path().join("postgresql.conf");
        files::write(&main, b"port = 1\ninclude 'none.conf'\n", 0o600).unwrap();
        let (lines, wrong) = read(&main);
        assert_eq!(lines.len(), 1);
        let wrong = wrong.unwrap_err();
        assert!(wrong.contains("none.conf") && wrong.contains("line 2"), "{wrong}");
        let (lines, wrong) = read(place.path());
        assert!(lines.is_empty() && wrong.is_err());
    }
}
