//! `postmaster.opts`: with which options a server was started last, and which of them may be used again.
//!
//! The file stays when the server is gone. What it says may belong to one start only, as the options of pg_upgrade do, or to another data
//! directory, from which it was copied.

use std::path::{Path, PathBuf};

use crate::system::command::quote_shell;
use crate::system::files;

/// Settings that take protection away or were meant for one start only: from a leftover file they are never taken.
const NEVER: [&str; 11] = [
    "allow_system_table_mods",
    "autovacuum",
    "autovacuum_freeze_max_age",
    "autovacuum_multixact_freeze_max_age",
    "fsync",
    "full_page_writes",
    "ignore_checksum_failure",
    "ignore_invalid_pages",
    "ignore_system_indexes",
    "synchronous_commit",
    "zero_damaged_pages",
];

/// Settings that say where the server finds its configuration: these are true for every start.
const PLACES: [&str; 3] = ["config_file", "hba_file", "ident_file"];

/// Options of `postgres` that are followed by a value, in any version from 13 on.
const WITH_VALUE: &str = "BCDNSWcdfhkprtv";

/// Options without a value that take protection away or are no options of a server in normal operation: binary upgrade, no fsync, changes of
/// system tables, no system indexes.
const DANGEROUS: &str = "bFOP";

/// Why options are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OptionsOrigin {
    /// The file is that of an ordinary start.
    #[default]
    Ordinary,
    /// The last start was that of pg_upgrade: `-b`.
    Upgrade,
    /// The last start was one without clients and without an upstream, for a recovery before a rewind.
    Recovery,
    /// The last start was that of a server on another data directory.
    Elsewhere(PathBuf),
}

/// The options of the last start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastStart {
    /// Those that may be used again, quoted for `pg_ctl --options`; None for none.
    pub options: Option<String>,
    /// Those that are left out, as one would type them.
    pub left_out: Vec<String>,
    /// Whose start it was.
    pub origin: OptionsOrigin,
}

/// Reads with which options the server of a data directory was started last.
///
/// `pg_ctl start` forgets what stands in `postmaster.opts`; without it a server that was started with `-p 5433` comes up elsewhere.
pub fn read(data: &Path, config_directory: Option<&Path>) -> LastStart {
    let text = files::text(data.join("postmaster.opts")).unwrap_or_default();
    judge(&parse(&text), &|path| is_ours(path, data, config_directory))
}

/// Returns the configuration file that the last start of this data directory has named.
pub fn config_file(data: &Path) -> Option<PathBuf> {
    let last = read(data, None);
    let words = shell_words::split(&last.options?).ok()?;
    parse_words(words).into_iter().find_map(|given| {
        let (name, value) = given.setting()?;
        (name == "config_file").then(|| PathBuf::from(value))
    })
}

/// Whether the directory of `-D` is this data directory, or where its configuration is.
fn is_ours(given: &Path, data: &Path, config_directory: Option<&Path>) -> bool {
    let same = |other: &Path| {
        given.components().eq(other.components())
            || matches!((given.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    // The base of a relative path is unknown, and a directory with configuration only says in a file where the data are.
    given.is_relative()
        || same(data)
        || config_directory.is_some_and(same)
        || (given.join("postgresql.conf").exists() && !given.join("PG_VERSION").exists())
}

/// An option with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StartOption {
    /// `-i`
    Flag(char),
    /// `-p 5433`
    Value(char, String),
    /// `--name=value`, or anything else that begins with two dashes.
    Long(String),
    /// What is no option.
    Word(String),
}

impl StartOption {
    /// Returns name and value, if it sets a parameter; the name as the server reads it.
    fn setting(&self) -> Option<(String, &str)> {
        let (name, value) = match self {
            Self::Value('c', text) => text.split_once('=')?,
            Self::Long(text) => text.strip_prefix("--")?.split_once('=')?,
            _ => return None,
        };
        Some((name.trim().to_ascii_lowercase().replace('-', "_"), value))
    }

    /// Returns its words.
    fn words(&self) -> Vec<String> {
        match self {
            Self::Flag(letter) => vec![format!("-{letter}")],
            Self::Value(letter, value) => vec![format!("-{letter}"), value.clone()],
            Self::Long(word) | Self::Word(word) => vec![word.clone()],
        }
    }

    /// Returns it as one would type it.
    fn typed(&self) -> String {
        let words: Vec<String> = self.words().iter().map(|word| quote_shell(word)).collect();
        words.join(" ")
    }
}

/// Takes the file apart as it was written: the program, and each argument between quotes, in which nothing is escaped.
fn parse(text: &str) -> Vec<StartOption> {
    // As pg_ctl does: the name of the program is not quoted and may have blanks in it.
    let Some((_, arguments)) = text.trim_end_matches('\n').split_once(" \"") else { return Vec::new() };
    let arguments = arguments.strip_suffix('"').unwrap_or(arguments);
    parse_words(arguments.split("\" \"").map(str::to_string).collect())
}

/// Reads words as the server does: letters may stand together, and a value may follow its letter at once.
fn parse_words(words: Vec<String>) -> Vec<StartOption> {
    let mut out = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let letters = match word.strip_prefix('-') {
            Some(rest) if rest.starts_with('-') => {
                out.push(StartOption::Long(word));
                continue;
            }
            Some(letters) if !letters.is_empty() => letters.to_string(),
            _ => {
                out.push(StartOption::Word(word));
                continue;
            }
        };
        for (at, letter) in letters.char_indices() {
            if !WITH_VALUE.contains(letter) {
                out.push(StartOption::Flag(letter));
                continue;
            }
            let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            let value = if rest.is_empty() { words.next().unwrap_or_default() } else { rest.to_string() };
            out.push(StartOption::Value(letter, value));
            break;
        }
    }
    out
}

fn judge(given: &[StartOption], is_ours: &dyn Fn(&Path) -> bool) -> LastStart {
    let sets = |name: &str, value: &str| {
        given.iter().filter_map(StartOption::setting).any(|(found, given)| found == name && given == value)
    };
    // The last one counts.
    let directory = given.iter().rev().find_map(|given| match given {
        StartOption::Value('D', path) => Some(Path::new(path)),
        _ => None,
    });
    let origin = match directory.filter(|path| !is_ours(path)) {
        Some(other) => OptionsOrigin::Elsewhere(other.to_path_buf()),
        None if given.contains(&StartOption::Flag('b')) => OptionsOrigin::Upgrade,
        None if sets("unix_socket_directories", ".") && sets("restore_command", "") => {
            OptionsOrigin::Recovery
        }
        None => OptionsOrigin::Ordinary,
    };
    let mut last = LastStart { origin, ..LastStart::default() };
    let mut kept = Vec::new();
    for option in given {
        let is_place = option.setting().is_some_and(|(name, _)| PLACES.contains(&name.as_str()));
        let is_wanted = match (option, option.setting()) {
            // pg_ctl names the directory itself.
            (StartOption::Value('D', path), _)
                if last.origin == OptionsOrigin::Ordinary || is_ours(Path::new(path)) =>
            {
                continue;
            }
            (_, Some((name, value))) if name == "data_directory" => {
                if is_ours(Path::new(value)) {
                    continue;
                }
                false
            }
            _ if last.origin != OptionsOrigin::Ordinary => {
                is_place && !matches!(last.origin, OptionsOrigin::Elsewhere(_))
            }
            (_, Some((name, _))) => !NEVER.contains(&name.as_str()) && !name.starts_with("fork"),
            // Words for a server that serves no clients: --single, --boot, --check, --forkchild.
            (StartOption::Long(_) | StartOption::Word(_) | StartOption::Value('C' | 'D', _), None) => false,
            (StartOption::Flag(letter), None) => !DANGEROUS.contains(*letter),
            (StartOption::Value(..), None) => true,
        };
        if is_wanted { kept.extend(option.words()) } else { last.left_out.push(option.typed()) }
    }
    last.options = (!kept.is_empty()).then(|| shell_words::join(kept));
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str) -> LastStart {
        judge(&parse(line), &|path| path == Path::new("/var/lib/pg 1"))
    }

    fn used(line: &str) -> Option<String> {
        judged(line).options
    }

    #[test]
    fn what_an_operator_has_said_is_said_again() {
        let line = "/usr/lib/postgresql/15/bin/postgres \"-D\" \"/var/lib/pg 1\" \"-p\" \"5433\" \"-c\" \"work_mem=4 MB\"\n";
        assert_eq!(used(line).as_deref(), Some("-p 5433 -c 'work_mem=4 MB'"));
        assert_eq!(judged(line).left_out, Vec::<String>::new());
        assert_eq!(judged("/usr/bin/postgres \"-D\" \"/var/lib/pg 1\"\n"), LastStart::default());
        assert_eq!(judged("/usr/bin/postgres\n"), LastStart::default());
        assert_eq!(judged(""), LastStart::default());
        // A program in a directory with a blank, values with what a shell would take for its own, options in one word.
        let line = "/opt/my pg/postgres \"-D/var/lib/pg 1\" \"-ip5433\" \"--config-file=/etc/a b.conf\" \"-c\" \"archive_command=cp %p $HOME/'x'\"\n";
        assert_eq!(
            used(line).as_deref(),
            Some("-i -p 5433 '--config-file=/etc/a b.conf' -c 'archive_command=cp %p $HOME/'\\''x'\\'''")
        );
    }

    #[test]
    fn nothing_is_taken_over_that_takes_protection_away() {
        let line = "/bin/postgres \"-D\" \"/var/lib/pg 1\" \"-iF\" \"-c\" \"FSYNC = off\" \"-OP\" \"--full-page-writes=off\" \
                    \"-c\" \"synchronous_commit=off\" \"-c\" \"data_directory=/other\" \"-C\" \"port\" \"-p\" \"5433\" \"-c\" \"autovacuum=off\"\n";
        let last = judged(line);
        assert_eq!(last.options.as_deref(), Some("-i -p 5433"));
        let left_out = [
            "-F",
            "-c 'FSYNC = off'",
            "-O",
            "-P",
            "--full-page-writes=off",
            "-c synchronous_commit=off",
            "-c data_directory=/other",
            "-C port",
            "-c autovacuum=off",
        ];
        assert_eq!(last.left_out, left_out);
        for words in
            ["\"--single\" \"template1\"", "\"--boot\"", "\"--forkchild=bgworker\" \"3\"", "\"--fork\""]
        {
            assert_eq!(used(&format!("/bin/postgres {words}\n")), None, "{words}");
        }
        // The same place written in another way is no other one.
        let line = "/bin/postgres \"-D\" \"/x\" \"-D\" \"/var/lib/pg 1\" \"-c\" \"data_directory=/var/lib/pg 1\" \"-l\"\n";
        assert_eq!((used(line).as_deref(), judged(line).left_out), (Some("-l"), vec![]));
    }

    #[test]
    fn of_pg_upgrade_only_the_places_of_the_configuration_stay() {
        let line = "/bin/postgres \"-D\" \"/var/lib/pg 1\" \"-p\" \"50432\" \"-b\" \"-c\" \"synchronous_commit=off\" \"-c\" \"fsync=off\" \
                    \"-c\" \"full_page_writes=off\" \"-c\" \"config_file=/etc/pg.conf\" \"-c\" \"listen_addresses=\" \"-c\" \
                    \"unix_socket_permissions=0700\" \"-c\" \"unix_socket_directories=/tmp/u\" \"-c\" \"max_slot_wal_keep_size=-1\"\n";
        let last = judged(line);
        assert_eq!(
            (last.options.as_deref(), &last.origin),
            (Some("-c 'config_file=/etc/pg.conf'"), &OptionsOrigin::Upgrade)
        );
        assert_eq!(last.left_out.len(), 9);
        assert_eq!(last.left_out[..2], ["-p 50432", "-b"]);
    }

    #[test]
    fn the_start_for_a_recovery_is_no_start_to_repeat() {
        let line = "/bin/postgres \"-D\" \"/var/lib/pg 1\" \"-c\" \"listen_addresses=\" \"-c\" \"unix_socket_directories=.\" \
                    \"-c\" \"primary_conninfo=\" \"-c\" \"restore_command=\"\n";
        let last = judged(line);
        assert_eq!((last.options, last.origin, last.left_out.len()), (None, OptionsOrigin::Recovery, 4));
    }

    #[test]
    fn what_belongs_to_another_data_directory_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (ours, other, settings) = (dir("ours"), dir("other"), dir("settings"));
        files::write(&other.join("PG_VERSION"), b"15\n", 0o600).unwrap();
        files::write(&other.join("postgresql.conf"), b"", 0o600).unwrap();
        files::write(&settings.join("postgresql.conf"), b"", 0o600).unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        let of = |directory: &Path| {
            let file = settings.join("postgresql.conf");
            let line = format!(
                "/bin/postgres \"-D\" \"{}\" \"-p\" \"5433\" \"-c\" \"config_file={}\"\n",
                directory.display(),
                file.display()
            );
            files::write(&ours.join("postmaster.opts"), line.as_bytes(), 0o600).unwrap();
            (read(&ours, None), config_file(&ours))
        };
        for directory in [ours.as_path(), &link, &settings, Path::new("data")] {
            let (last, file) = of(directory);
            assert!(last.options.unwrap().starts_with("-p 5433"), "{}", directory.display());
            assert_eq!(file, Some(settings.join("postgresql.conf")));
        }
        for directory in [other.as_path(), Path::new("/nowhere/data")] {
            let (last, file) = of(directory);
            assert_eq!(last.options, None);
            assert_eq!(last.origin, OptionsOrigin::Elsewhere(directory.to_path_buf()));
            assert_eq!((last.left_out.len(), file), (3, None));
        }
    }
}
