//! The settings that decide whether a server can be a standby, stays one, and can be pointed elsewhere.
//!
//! The same questions are put to two witnesses: a running server, which says what is in force (`pg_settings`), and the files and options
//! that its next start will read. The two differ where a setting was changed and the server was not restarted since.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The settings that recovery compares with the primary's, at its start and whenever they change there, and their defaults.
pub const NOT_LOWER: [(&str, i64); 5] = [
    ("max_connections", 100),
    ("max_worker_processes", 8),
    ("max_wal_senders", 10),
    ("max_prepared_transactions", 0),
    ("max_locks_per_transaction", 64),
];

/// Settings by which a recovery ends somewhere: a standby that has one promotes itself there, pauses or shuts down.
pub const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
];

/// The setting that keeps a standby on a timeline which its upstream may leave.
pub const TARGET_TIMELINE: &str = "recovery_target_timeline";

/// The setting that names a file which promotes a standby, up to PostgreSQL 15.
pub const TRIGGER_FILE: &str = "promote_trigger_file";

/// The settings that say where a standby streams from.
pub const UPSTREAM: [&str; 2] = ["primary_conninfo", "primary_slot_name"];

/// What else is looked at.
const OTHERS: [&str; 7] = [
    "max_slot_wal_keep_size",
    "wal_keep_size",
    "hot_standby",
    "wal_level",
    "archive_cleanup_command",
    "recovery_target_action",
    "recovery_min_apply_delay",
];

/// Returns the names of all settings that are looked at.
pub fn names() -> impl Iterator<Item = &'static str> {
    let stops = TARGETS.into_iter().chain([TARGET_TIMELINE, TRIGGER_FILE]);
    stops.chain(UPSTREAM).chain(OTHERS).chain(NOT_LOWER.into_iter().map(|(name, _)| name))
}

/// Returns the value with which a setting does not end a recovery.
pub fn neutral(name: &str) -> &'static str {
    if name == TARGET_TIMELINE { "latest" } else { "" }
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingPlace {
    /// Among the options that the server is started with: no file overrides it.
    CommandLine,
    /// In a file.
    File {
        /// Its path.
        path: String,
        /// The line.
        line: Option<usize>,
    },
    /// Somewhere else, as the server calls it.
    Other(String),
}

impl fmt::Display for SettingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("the server's command line"),
            Self::File { path, line: Some(line) } => write!(f, "{path}:{line}"),
            Self::File { path, line: None } => f.write_str(path),
            Self::Other(source) => f.write_str(source),
        }
    }
}

/// A setting that stands somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedSetting {
    /// Its name.
    pub name: String,
    /// Its value; None for a connection string, which may hold a password.
    pub value: Option<String>,
    /// Where it stands.
    pub place: SettingPlace,
}

impl PlacedSetting {
    /// Makes one; what may be a secret is left out.
    pub fn new(name: &str, value: &str, place: SettingPlace) -> Self {
        let name = name.to_ascii_lowercase();
        // There may be a password in it. That it is empty is no secret.
        let value = if name == "primary_conninfo" { value.trim() } else { value };
        let hidden = name == "primary_conninfo" && !value.is_empty();
        let value = (!hidden).then(|| value.to_string());
        Self { name, value, place }
    }

    /// Says whether it has this value, whatever the case; never of one that is left out.
    pub fn is(&self, value: &str) -> bool {
        self.value.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(value))
    }

    /// It stops a standby somewhere, or keeps it from following its upstream.
    pub fn stops_recovery(&self) -> bool {
        let known = TARGETS.contains(&&*self.name) || [TARGET_TIMELINE, TRIGGER_FILE].contains(&&*self.name);
        known && !self.is(neutral(&self.name))
    }
}

impl fmt::Display for PlacedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = '{}' ({})", self.name, value.replace('\'', "''"), self.place),
            None => write!(f, "{} ({})", self.name, self.place),
        }
    }
}

/// What one of the two witnesses says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What is set, each setting once, where it counts. What is not there has its default.
    pub set: Vec<PlacedSetting>,
    /// Why not everything could be read.
    #[serde(default)]
    pub unread: Option<String>,
}

impl Settings {
    /// Adds a setting that overrides what was added before.
    pub fn add(&mut self, set: PlacedSetting) {
        if names().any(|name| name == set.name) {
            self.set.retain(|other| other.name != set.name);
            self.set.push(set);
        }
    }

    /// Returns a setting that is set.
    pub fn get(&self, name: &str) -> Option<&PlacedSetting> {
        self.set.iter().find(|set| set.name == name)
    }

    /// Returns a number; None where it stands there as something else, or may stand in what could not be read.
    pub fn number(&self, name: &str, default: i64) -> Option<i64> {
        match self.get(name) {
            None => self.unread.is_none().then_some(default),
            Some(set) => number(set.value.as_deref()?),
        }
    }

    /// It is set, and to no.
    pub fn is_off(&self, name: &str) -> bool {
        let no = |text: &str| {
            let text = text.to_ascii_lowercase();
            text == "0"
                || text.len() > 1 && "off".starts_with(&text)
                || !text.is_empty() && ("false".starts_with(&text) || "no".starts_with(&text))
        };
        self.get(name).and_then(|set| set.value.as_deref()).is_some_and(no)
    }

    /// What ends a recovery somewhere, or keeps it on a timeline.
    pub fn stops(&self) -> Vec<&PlacedSetting> {
        self.set.iter().filter(|set| set.stops_recovery()).collect()
    }

    /// What makes a standby promote itself, shut down or pause; without the timeline.
    pub fn targets(&self) -> Vec<&PlacedSetting> {
        self.stops()
            .into_iter()
            .filter(|set| set.name != TARGET_TIMELINE && set.name != TRIGGER_FILE)
            .collect()
    }

    /// What a file can clear: the names of settings that end a recovery and do not stand on the command line.
    pub fn clearable(&self) -> Vec<String> {
        let stops = self.stops().into_iter().filter(|set| set.place != SettingPlace::CommandLine);
        stops.map(|set| set.name.clone()).collect()
    }

    /// What no file can override and would keep a server from being a standby that can be pointed elsewhere.
    pub fn fixed(&self) -> Vec<&PlacedSetting> {
        let counts = |set: &&PlacedSetting| {
            set.place == SettingPlace::CommandLine
                && (set.stops_recovery() || UPSTREAM.contains(&&*set.name) && !set.is(""))
        };
        self.set.iter().filter(counts).collect()
    }

    /// What is lower here than on the primary, whose WAL says so to a standby: (name, here, there).
    pub fn lower_than(&self, primary: &Self) -> Vec<(&'static str, i64, i64)> {
        let lower = NOT_LOWER.into_iter().filter_map(|(name, default)| {
            let (here, there) = (self.number(name, default)?, primary.number(name, default)?);
            (here < there).then_some((name, here, there))
        });
        lower.collect()
    }
}

/// Reads an integer as the server does: decimal, octal or hexadecimal.
fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// Reads the options that a server was started with; `words` are those after the program, as in `postmaster.opts`.
pub fn options(words: &[String]) -> Vec<PlacedSetting> {
    let mut out = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let assignment = if let Some(long) = word.strip_prefix("--") {
            Some(long)
        } else if let Some(rest) = word.strip_prefix("-c") {
            if rest.is_empty() { words.next() } else { Some(rest) }
        } else if let Some(rest) = word.strip_prefix("-N") {
            let number = if rest.is_empty() { words.next() } else { Some(rest) };
            out.extend(
                number.map(|number| PlacedSetting::new("max_connections", number, SettingPlace::CommandLine)),
            );
            None
        } else {
            // Options with an argument of their own, which is no option.
            if matches!(word, "-B" | "-D" | "-d" | "-f" | "-h" | "-k" | "-l" | "-p" | "-S" | "-t" | "-W") {
                words.next();
            }
            None
        };
        if let Some((name, value)) = assignment.and_then(|text| text.split_once('=')) {
            out.push(PlacedSetting::new(&name.replace('-', "_"), value, SettingPlace::CommandLine));
        }
    }
    out
}

/// A table expression `s` with what a running server says of these settings and of others, for [`ASKED`]. `pg_settings` is read once: it
/// takes the server longer than all the rest.
pub fn table(more: &[&'static str]) -> String {
    let quoted: Vec<String> = names().chain(more.iter().copied()).map(|name| format!("'{name}'")).collect();
    format!(
        "s AS MATERIALIZED (SELECT name, setting, source, sourcefile, sourceline FROM pg_settings WHERE name IN ({}))",
        quoted.join(", ")
    )
}

/// An expression over [`table`] that gives the elements of [`Settings`], as JSON. What may be a secret never leaves the server.
pub const ASKED: &str = "COALESCE((SELECT json_agg(json_build_object('name', s.name, \
     'value', CASE WHEN s.name <> 'primary_conninfo' THEN s.setting END, \
     'source', s.source, 'file', s.sourcefile, 'line', s.sourceline)) FROM s \
     WHERE s.source <> 'default' OR s.name LIKE 'max\\_%'), '[]')";

/// A line of the answer to [`ASKED`].
#[derive(Deserialize)]
struct Line {
    name: String,
    value: Option<String>,
    source: String,
    file: Option<String>,
    line: Option<usize>,
}

/// Takes the answer to [`ASKED`].
pub fn answered<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Settings, D::Error> {
    let lines = Vec::<Line>::deserialize(from)?;
    let mut settings = Settings::default();
    for Line { name, value, source, file, line } in lines {
        let place = match (source.as_str(), file) {
            ("command line", _) => SettingPlace::CommandLine,
            (_, Some(path)) => SettingPlace::File { path, line },
            ("configuration file", None) => SettingPlace::Other("a configuration file".into()),
            (_, None) => SettingPlace::Other(source),
        };
        settings.add(PlacedSetting { name, value, place });
    }
    Ok(settings)
}

/// What the files and options of a server say, and what else a standby's next start depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStart {
    /// The settings with which it will start.
    pub settings: Settings,
    /// What stands in `postgresql.auto.conf` of what ends a recovery: restored if the server is to be a primary after all.
    #[serde(default)]
    pub own: Vec<(String, String)>,
    /// The mode of files in the data directory.
    pub file_mode: u32,
    /// There is a `recovery.signal`.
    #[serde(default)]
    pub recovery_signal: bool,
}

impl Default for NextStart {
    fn default() -> Self {
        Self { settings: Settings::default(), own: Vec::new(), file_mode: 0o600, recovery_signal: false }
    }
}

#[cfg(test)]
pub(crate) fn in_file(pairs: &[(&str, &str)]) -> Settings {
    let place = || SettingPlace::File { path: "/data/postgresql.conf".into(), line: Some(7) };
    Settings {
        set: pairs.iter().map(|(name, value)| PlacedSetting::new(name, value, place())).collect(),
        unread: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn options_are_read_in_every_form() {
        let line = "-D /data -p 5433 -c max_connections=7 -cwal_level=replica --recovery-target-time=now \
                    --recovery_target=immediate -N 9 -h -N5 -i";
        let shown: Vec<String> = options(&words(line)).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown.iter().map(|text| text.split(" (").next().unwrap()).collect::<Vec<_>>(),
            [
                "max_connections = '7'",
                "wal_level = 'replica'",
                "recovery_target_time = 'now'",
                "recovery_target = 'immediate'",
                "max_connections = '9'",
            ]
        );
    }

    #[test]
    fn what_counts_is_what_was_added_last() {
        let mut settings = in_file(&[("recovery_target_time", "2026-01-01"), ("port", "5")]);
        settings.add(PlacedSetting::new("Recovery_Target_Time", "", SettingPlace::CommandLine));
        settings.add(PlacedSetting::new("port", "6", SettingPlace::CommandLine));
        assert!(settings.stops().is_empty());
        settings.add(PlacedSetting::new("recovery_target_xid", "7", SettingPlace::CommandLine));
        assert_eq!(settings.clearable(), Vec::<String>::new());
        assert_eq!(settings.fixed().len(), 1);
        assert_eq!(settings.set.iter().filter(|set| set.name == "port").count(), 1);
    }

    #[test]
    fn a_value_that_is_neutral_stops_nothing() {
        let quiet = [
            ("recovery_target", ""),
            ("recovery_target_timeline", "Latest"),
            ("recovery_target_action", "promote"),
            ("promote_trigger_file", ""),
        ];
        assert!(in_file(&quiet).stops().is_empty());
        for (name, value) in [
            ("recovery_target", "immediate"),
            ("recovery_target_timeline", "current"),
            ("recovery_target_timeline", "3"),
            ("promote_trigger_file", "/tmp/x"),
        ] {
            assert_eq!(in_file(&[(name, value)]).clearable(), [name], "{name}");
        }
        assert_eq!(
            in_file(&[("recovery_target_timeline", "current")]).targets(),
            Vec::<&PlacedSetting>::new()
        );
    }

    #[test]
    fn an_upstream_on_the_command_line_is_fixed_and_its_value_is_not_kept() {
        let mut settings = Settings::default();
        for set in options(&words("-c primary_conninfo=password=geheim --primary-slot-name=")) {
            settings.add(set);
        }
        assert_eq!(settings.fixed().len(), 1);
        assert!(!format!("{settings:?}").contains("geheim"));
        assert!(in_file(&[("primary_conninfo", "x")]).fixed().is_empty());
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let primary = in_file(&[("max_connections", "200"), ("max_worker_processes", "0x10")]);
        let standby = in_file(&[("max_connections", "0310"), ("max_wal_senders", "4")]);
        assert_eq!(
            standby.lower_than(&primary),
            [("max_worker_processes", 8, 16), ("max_wal_senders", 4, 10)]
        );
        assert!(primary.lower_than(&standby).is_empty());
        assert_eq!(Settings::default().lower_than(&Settings::default()), []);
        // What could not be read may hold it.
        let unread = Settings { unread: Some("no".into()), ..standby };
        assert_eq!(unread.lower_than(&primary), [("max_wal_senders", 4, 10)]);
    }

    #[test]
    fn booleans_are_read_as_the_server_reads_them() {
        for text in ["off", "OF", "false", "f", "no", "n", "0"] {
            assert!(in_file(&[("hot_standby", text)]).is_off("hot_standby"), "{text}");
        }
        for text in ["on", "o", "true", "yes", "1", ""] {
            assert!(!in_file(&[("hot_standby", text)]).is_off("hot_standby"), "{text}");
        }
    }
}
