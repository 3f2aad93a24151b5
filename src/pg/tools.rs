//! Finding PostgreSQL's programs, and reading what they say.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Finds a program of a major version: in `pg_bindir`, where Debian and Red Hat put it, or in PATH.
///
/// # Errors
/// Fails where it is in none of these places, naming them.
pub(super) fn find(pg_bindir: Option<&Path>, major: &str, program: &str) -> anyhow::Result<PathBuf> {
    if let Some(directory) = pg_bindir {
        let path = directory.join(program);
        return if path.is_file() { Ok(path) } else { bail!("there is no \"{}\"", path.display()) };
    }
    let places =
        [format!("/usr/lib/postgresql/{major}/bin"), format!("/usr/pgsql-{major}/bin")].map(PathBuf::from);
    for place in &places {
        let path = place.join(program);
        if path.is_file() {
            return Ok(path);
        }
    }
    which::which(program).with_context(|| {
        format!(
            "\"{program}\" is neither in \"{}\" nor in \"{}\" nor in PATH",
            places[0].display(),
            places[1].display()
        )
    })
}

/// Reads the major version out of what a program says to `--version`: `pg_basebackup (PostgreSQL) 15.20 (Debian …)`.
pub fn major_of(version_line: &str) -> Option<u32> {
    let (_, rest) = version_line.split_once("(PostgreSQL) ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Finds a value in the output of pg_controldata, which must have run with `LC_ALL=C`: its labels are the same from 13 to 18.
pub(super) fn control_value<'a>(output: &'a str, label: &str) -> Option<&'a str> {
    output.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == label).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_control_data_are_read() {
        assert_eq!(major_of("pg_basebackup (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("pg_basebackup (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_of("something else"), None);
        let output =
            "pg_control version number:            1300\nDatabase system identifier:           7012\n";
        assert_eq!(control_value(output, "Database system identifier"), Some("7012"));
        assert_eq!(control_value(output, "Database"), None);
    }
}
