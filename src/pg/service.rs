//! The connection service file.

use std::path::{Path, PathBuf};

use super::conninfo::{Conninfo, KEYWORDS, nearest};
use crate::system::environment::Environment;
use crate::system::guarded_read;

/// The largest file that is read.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Where a libpq looks for `pg_service.conf` when `PGSYSCONFDIR` is not set depends on how it was built. These are the
/// directories of Debian's packages and of most others; `pg_config`, which knows it, is often not installed.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/etc/postgresql-common", "/etc"];

/// Reads the definition of a service: the user's file first, then the system's.
///
/// # Errors
/// As libpq: the service is not defined, `PGSERVICEFILE` names no file, or the definition has a syntax error.
pub fn look_up(service: &str, environment: &Environment) -> Result<Conninfo, String> {
    let named = environment.get("PGSERVICEFILE").map(PathBuf::from);
    if let Some(file) = &named
        && !file.exists()
    {
        return Err(format!("service file \"{}\" not found", file.display()));
    }
    let own = named.or_else(|| Some(environment.home.as_ref()?.join(".pg_service.conf")));
    let system: Vec<PathBuf> = match environment.get("PGSYSCONFDIR") {
        Some(directory) => vec![directory.into()],
        None => SYSTEM_DIRECTORIES.iter().map(PathBuf::from).collect(),
    };
    let system = system.into_iter().map(|directory| directory.join("pg_service.conf"));
    for file in own.into_iter().chain(system).filter(|file| file.exists()) {
        let contents = guarded_read::read(&file, MOST_BYTES)
            .map_err(|error| format!("could not read service file \"{}\": {error}", file.display()))?;
        if let Some(definition) = find(&String::from_utf8_lossy(&contents.bytes), service, &file)? {
            return Ok(definition);
        }
    }
    Err(format!("definition of service \"{service}\" not found"))
}

/// Finds a service in the text of a service file.
fn find(text: &str, service: &str, file: &Path) -> Result<Option<Conninfo>, String> {
    let mut found: Option<Conninfo> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            // As in libpq, what stands behind the bracket does not matter.
            if heading.strip_prefix(service).is_some_and(|rest| rest.starts_with(']')) {
                found = Some(Conninfo::default());
            }
            continue;
        }
        let Some(definition) = &mut found else { continue };
        let wrong = |what: &str| format!("{what} in service file \"{}\", line {number}", file.display());
        if line.starts_with("ldap") {
            return Err(wrong("LDAP lookup, which pgbaton does not support,"));
        }
        let (keyword, value) = line.split_once('=').ok_or_else(|| wrong("syntax error"))?;
        if keyword == "service" {
            return Err(wrong("nested service specification"));
        }
        if !KEYWORDS.iter().any(|known| known.name == keyword) {
            return Err(match nearest(keyword.trim()) {
                Some(name) => wrong(&format!("invalid keyword \"{keyword}\" (did you mean \"{name}\"?)")),
                None => wrong(&format!("invalid keyword \"{keyword}\"")),
            });
        }
        // The first of several wins here, other than in a connection string.
        if definition.get(keyword).is_none() {
            definition.set(keyword, value);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# services\nhost=outside\n[other]\nbroken\n[main]\nhost=a\n  port=1  \nhost=b\n[main]\nuser=x\n";

    fn definition(text: &str, service: &str) -> Result<Option<String>, String> {
        find(text, service, Path::new("f")).map(|found| found.map(|conninfo| conninfo.to_string()))
    }

    #[test]
    fn a_definition_ends_at_the_next_heading_and_its_first_values_win() {
        assert_eq!(definition(TEXT, "main"), Ok(Some("host=a port=1".into())));
        assert_eq!(definition(TEXT, "mai"), Ok(None));
        assert_eq!(definition(TEXT, "other"), Err("syntax error in service file \"f\", line 4".into()));
    }

    #[test]
    fn errors_name_the_line_and_the_keyword() {
        assert_eq!(
            definition("[s]\nhots=a", "s").unwrap_err(),
            "invalid keyword \"hots\" (did you mean \"host\"?) in service file \"f\", line 2"
        );
        assert!(definition("[s]\nservice=t", "s").is_err());
        assert!(definition("[s]\nldap://server/dc=x", "s").unwrap_err().contains("LDAP"));
    }
}
