//! The password file.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::secret::Secret;
use crate::system::guarded_read;

/// The largest file that is read.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// What a password file gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The password of the first line that matches.
    pub password: Option<Secret>,
    /// Why the file was ignored, as a whole sentence, if it was there and ignored.
    pub warning: Option<String>,
}

/// What a password is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct PasswordFor<'a> {
    /// The host name, the address if there is no name, or `localhost` for the default socket directory.
    pub host: &'a str,
    /// The port, as it was written.
    pub port: &'a str,
    /// The database.
    pub dbname: &'a str,
    /// The role.
    pub user: &'a str,
}

/// Looks into a password file, as libpq does: a file that is not there gives nothing, one that others may read is ignored
/// with a warning.
pub fn look_up(file: &Path, wanted: PasswordFor<'_>) -> Lookup {
    let ignored = |why: String| Lookup { password: None, warning: Some(why) };
    if !file.exists() {
        return Lookup::default();
    }
    let (bytes, metadata) = match guarded_read::read(file, MOST_BYTES) {
        Ok(contents) => (contents.bytes, contents.about),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            return ignored(format!("Password file \"{}\" is not a plain file.", file.display()));
        }
        Err(error) => {
            return ignored(format!("Password file \"{}\" could not be read: {error}.", file.display()));
        }
    };
    if metadata.mode() & 0o077 != 0 {
        return ignored(format!(
            "Password file \"{}\" has group or world access and is ignored; permissions should be u=rw (0600) or less.",
            file.display()
        ));
    }
    Lookup { password: find(&String::from_utf8_lossy(&bytes), wanted), warning: None }
}

/// Finds the password in the text of a password file.
pub fn find(text: &str, wanted: PasswordFor<'_>) -> Option<Secret> {
    text.split('\n').filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line.trim_end_matches('\r');
        for token in [wanted.host, wanted.port, wanted.dbname, wanted.user] {
            rest = after_match(rest, token)?;
        }
        let mut password = String::new();
        let mut chars = rest.chars().peekable();
        while let Some(c) = chars.next_if(|c| *c != ':') {
            // A backslash at the very end stands for itself.
            password.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
        }
        Some(Secret::new(password))
    })
}

/// Returns what follows a field, if the field is `*` or, with its escapes resolved, the token.
fn after_match<'a>(field: &'a str, token: &str) -> Option<&'a str> {
    if let Some(rest) = field.strip_prefix("*:") {
        return Some(rest);
    }
    let mut token = token.chars();
    let mut chars = field.chars();
    loop {
        // A colon of the token matches one that is not escaped too: IPv6 addresses work as they are.
        match (chars.next()?, token.next()) {
            (':', None) => return Some(chars.as_str()),
            ('\\', Some(wanted)) if chars.next()? == wanted => {}
            (c, Some(wanted)) if c != '\\' && c == wanted => {}
            _ => return None,
        }
    }
}

/// Returns where the lines of a password file lead to that are of use for a role in a database: hosts and ports that it names.
pub fn places(text: &str, dbname: &str, user: &str) -> Vec<(String, String)> {
    let lines = text.split('\n').filter(|line| !line.starts_with('#'));
    let mut out: Vec<(String, String)> = Vec::new();
    for line in lines {
        let Some([host, port, of_dbname, of_user]) = fields(line.trim_end_matches('\r')) else { continue };
        let fits = |field: &str, wanted: &str| field == "*" || field == wanted;
        // Who streams as this role is no less a place where it may be asked.
        let place = (host, port);
        if (fits(&of_dbname, dbname) || of_dbname == "replication")
            && fits(&of_user, user)
            && place.0 != "*"
            && place.1 != "*"
            && !out.contains(&place)
        {
            out.push(place);
        }
    }
    out
}

/// Reads the four fields before the password, with their escapes resolved.
fn fields(line: &str) -> Option<[String; 4]> {
    let mut out = [const { String::new() }; 4];
    let mut chars = line.chars();
    for field in &mut out {
        loop {
            match chars.next()? {
                ':' => break,
                '\\' => field.push(chars.next()?),
                c => field.push(c),
            }
        }
    }
    Some(out)
}

/// A line for a password file.
#[derive(Clone, Debug)]
pub struct PassfileEntry {
    /// The host, as [`PasswordFor::host`].
    pub host: String,
    /// The port.
    pub port: String,
    /// The database, or `replication`.
    pub dbname: String,
    /// The role.
    pub user: String,
    /// The password; None where it is not to be seen, or not known yet.
    pub password: Option<Secret>,
}

/// How a password file stands to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryStatus {
    /// No line is about it.
    Missing,
    /// The line that decides, counted from 1, has the password; or it is unknown which one is right.
    Right(usize),
    /// The line that decides has another one.
    Other(usize),
}

impl PassfileEntry {
    /// Looks for the line that decides: the first that matches.
    pub fn status(&self, text: &str) -> EntryStatus {
        let wanted =
            PasswordFor { host: &self.host, port: &self.port, dbname: &self.dbname, user: &self.user };
        let found = text.split('\n').enumerate().find_map(|(n, line)| Some((n + 1, find(line, wanted)?)));
        match (found, &self.password) {
            (None, _) => EntryStatus::Missing,
            (Some((line, found)), Some(password)) if found != *password => EntryStatus::Other(line),
            (Some((line, _)), _) => EntryStatus::Right(line),
        }
    }

    /// Writes the line, with the password or, where that is not to be seen, something in its place.
    pub fn line(&self, hidden: bool) -> String {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
        let password = match &self.password {
            Some(password) if !hidden => escaped(password.reveal()),
            _ => HIDDEN.to_string(),
        };
        let fields = [&self.host, &self.port, &self.dbname, &self.user].map(|field| escaped(field));
        format!("{}:{password}", fields.join(":"))
    }
}

/// What stands in the place of a password.
const HIDDEN: &str = "********";

/// Appends the entries that no line is about. What was there stays as it was.
pub fn with_entries(text: &str, entries: &[PassfileEntry]) -> String {
    let mut out = text.to_string();
    for entry in entries {
        if entry.status(&out) == EntryStatus::Missing {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            out.push_str(&entry.line(false));
            out.push('\n');
        }
    }
    out
}

/// Returns the text of a password file with every password hidden, for people.
pub fn hidden(text: &str) -> String {
    let hide = |line: &str| {
        if line.starts_with('#') {
            return line.to_string();
        }
        // The password is what follows the fourth colon that is not escaped.
        let mut escaped = false;
        let mut colons = 0;
        let end = line.char_indices().find_map(|(at, c)| {
            colons += usize::from(c == ':' && !escaped);
            escaped = c == '\\' && !escaped;
            (colons == 4).then_some(at + 1)
        });
        let shown = end.and_then(|end| line.get(..end));
        shown.map_or_else(|| line.to_string(), |shown| format!("{shown}{HIDDEN}"))
    };
    text.split('\n').map(hide).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn password(text: &str) -> Option<String> {
        let wanted = PasswordFor { host: "h:1", port: "5432", dbname: "d", user: "u" };
        find(text, wanted).map(|secret| secret.reveal().to_string())
    }

    #[test]
    fn the_first_line_that_matches_wins() {
        assert_eq!(password("x:*:*:*:no\n*:5432:d:u:yes\n*:*:*:*:later"), Some("yes".into()));
        assert_eq!(password("# *:*:*:*:comment\nh\\:1:5432:d:u:yes\r\n"), Some("yes".into()));
        assert_eq!(password("h:1:5432:d:u:yes"), Some("yes".into()));
        assert_eq!(password("h:5432:d:u:no"), None);
        assert_eq!(password("*:*:*:u"), None);
        assert_eq!(password("*:*:*:*"), None);
    }

    #[test]
    fn escapes_in_passwords_are_resolved_and_a_colon_ends_them() {
        assert_eq!(password(r"*:*:*:*:a\:b\\c:ignored"), Some(r"a:b\c".into()));
        assert_eq!(password("*:*:*:*:"), Some(String::new()));
        assert_eq!(password(&format!("*:*:*:*:{}", "x".repeat(100_000))).unwrap().len(), 100_000);
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored_with_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgpass");
        let wanted = PasswordFor { host: "h", port: "1", dbname: "d", user: "u" };
        assert_eq!(look_up(&file, wanted), Lookup::default());
        let mut made = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        std::io::Write::write_all(&mut made, b"*:*:*:*:secret\n").unwrap();
        made.persist(&file).unwrap();
        assert_eq!(look_up(&file, wanted).password, Some(Secret::new("secret")));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let lookup = look_up(&file, wanted);
        assert_eq!(lookup.password, None);
        assert!(lookup.warning.unwrap().contains("group or world access"));
        assert!(look_up(directory.path(), wanted).warning.unwrap().contains("not a plain file"));
    }

    fn entry(host: &str, dbname: &str, password: &str) -> PassfileEntry {
        PassfileEntry {
            host: host.into(),
            port: "5432".into(),
            dbname: dbname.into(),
            user: "u".into(),
            password: Some(Secret::new(password)),
        }
    }

    #[test]
    fn entries_are_added_once_and_what_is_there_stays() {
        let old = "# mine\nx:*:*:*:no";
        let entries =
            [entry("h", "d", "a:b\\c"), entry("fe80::1", "replication", "p"), entry("h", "d", "a:b\\c")];
        let out = with_entries(old, &entries);
        assert_eq!(out, format!("{old}\nh:5432:d:u:a\\:b\\\\c\nfe80\\:\\:1:5432:replication:u:p\n"));
        assert_eq!(with_entries(&out, &entries), out);
        assert_eq!(entries[1].status(&out), EntryStatus::Right(4));
        // What is written is what is read.
        assert_eq!(
            find(&out, PasswordFor { host: "h", port: "5432", dbname: "d", user: "u" }),
            entries[0].password
        );
        assert_eq!(with_entries("*:*:*:u:p\n", &[entry("h", "d", "p")]), "*:*:*:u:p\n");
    }

    #[test]
    fn a_line_with_another_password_is_reported_by_its_number() {
        assert_eq!(entry("h", "d", "p").status("# c\n*:*:*:*:q\n"), EntryStatus::Other(2));
        let unknown = PassfileEntry { password: None, ..entry("h", "d", "") };
        assert_eq!(unknown.status("*:*:*:*:q"), EntryStatus::Right(1));
        assert_eq!(unknown.status(""), EntryStatus::Missing);
    }

    #[test]
    fn places_are_those_of_lines_that_would_be_used() {
        let text = "# h0:1:d:u:p\nh1:5432:d:u:p\nh1:5432:replication:u:p\nfe80\\:\\:1:5433:*:*:p\r\nh2:5432:other:u:p\n\
                    h3:5432:d:other:p\n*:5432:d:u:p\nh4:*:d:u:p\nh5:1:replication:u:p\nh6:5432";
        let place = |host: &str, port: &str| (host.to_string(), port.to_string());
        assert_eq!(places(text, "d", "u"), [place("h1", "5432"), place("fe80::1", "5433"), place("h5", "1")]);
    }

    #[test]
    fn passwords_are_hidden_for_people() {
        assert_eq!(
            hidden("# a:b:c:d:e\nh\\:1:2:d:u:sec:ret\n\nrest"),
            "# a:b:c:d:e\nh\\:1:2:d:u:********\n\nrest"
        );
        assert_eq!(entry("h", "d", "secret").line(true), "h:5432:d:u:********");
    }
}
