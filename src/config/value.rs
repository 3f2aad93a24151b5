//! Types of parameters: what may be written, and how a value is written back.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::parameters::Parameter;

/// A value as a file gives it, before its parameter is known.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// Text, and everything in a repmgr.conf.
    Text(String),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML integer.
    Integer(i64),
    /// A TOML array of strings.
    Texts(Vec<String>),
    /// A TOML table of strings.
    Pairs(Vec<(String, String)>),
    /// TOML that no parameter takes, as it stands in the file.
    Other(String),
}

impl RawValue {
    /// Returns a single value as text: repmgr has nothing else, so a quoted number is a number.
    fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Boolean(value) => Some(value.to_string()),
            Self::Integer(value) => Some(value.to_string()),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Shows the value in a message.
impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Texts(texts) => f.write_str(&texts.join(",")),
            Self::Pairs(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(old, new)| format!("{old}={new}")).collect();
                f.write_str(&pairs.join(","))
            }
            Self::Other(text) => f.write_str(text),
            Self::Text(_) | Self::Boolean(_) | Self::Integer(_) => {
                f.write_str(&self.scalar().unwrap_or_default())
            }
        }
    }
}

/// The type of a parameter.
pub trait Type: Sized {
    /// Reads a value; `None` if it is not allowed.
    fn read(given: &RawValue, parameter: &Parameter) -> Option<Self>;

    /// Writes the value so that it reads the same again.
    fn write(&self) -> toml::Value;

    /// Describes what is allowed, as words that follow "allowed is".
    fn allowed(parameter: &Parameter) -> String;

    /// Combines with a later assignment in the same file. It wins, unless a type collects.
    fn then(self, later: Self) -> Self {
        later
    }
}

impl Type for bool {
    fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
        match given.scalar()?.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Some(true),
            "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        }
    }

    fn write(&self) -> toml::Value {
        (*self).into()
    }

    fn allowed(_: &Parameter) -> String {
        "true or false".into()
    }
}

/// repmgr's integers have 32 bits, whatever they count.
impl Type for i32 {
    fn read(given: &RawValue, parameter: &Parameter) -> Option<Self> {
        given.scalar()?.parse().ok().filter(|value| *value >= parameter.least)
    }

    fn write(&self) -> toml::Value {
        (*self).into()
    }

    fn allowed(parameter: &Parameter) -> String {
        let what = match parameter.unit {
            "" => "an integer".to_string(),
            unit => format!("a number of {unit}"),
        };
        at_least(&what, parameter)
    }
}

fn at_least(what: &str, parameter: &Parameter) -> String {
    let off = if parameter.least < 0 { ", or -1 to disable it" } else { "" };
    format!("{what}, at least {}{off}", parameter.least.max(0))
}

impl Type for u32 {
    fn read(given: &RawValue, parameter: &Parameter) -> Option<Self> {
        i32::read(given, parameter)?.try_into().ok()
    }

    fn write(&self) -> toml::Value {
        i64::from(*self).into()
    }

    fn allowed(parameter: &Parameter) -> String {
        i32::allowed(parameter)
    }
}

/// Whole seconds.
impl Type for Duration {
    fn read(given: &RawValue, parameter: &Parameter) -> Option<Self> {
        Some(Self::from_secs(u32::read(given, parameter)?.into()))
    }

    fn write(&self) -> toml::Value {
        i64::try_from(self.as_secs()).unwrap_or(i64::MAX).into()
    }

    fn allowed(parameter: &Parameter) -> String {
        at_least("a number of seconds", parameter)
    }
}

/// A number that -1 switches off.
macro_rules! or_off {
    ($type:ty) => {
        impl Type for Option<$type> {
            fn read(given: &RawValue, parameter: &Parameter) -> Option<Self> {
                match i32::read(given, parameter)? {
                    -1 => Some(None),
                    _ => Some(Some(<$type>::read(given, parameter)?)),
                }
            }

            fn write(&self) -> toml::Value {
                self.as_ref().map_or(toml::Value::Integer(-1), Type::write)
            }

            fn allowed(parameter: &Parameter) -> String {
                <$type>::allowed(parameter)
            }
        }
    };
}

or_off!(u32);
or_off!(Duration);

/// Text that cannot be empty.
impl Type for String {
    fn read(given: &RawValue, parameter: &Parameter) -> Option<Self> {
        let text = given.text()?;
        (!text.is_empty() && text.len() <= parameter.longest).then(|| text.to_string())
    }

    fn write(&self) -> toml::Value {
        self.as_str().into()
    }

    fn allowed(parameter: &Parameter) -> String {
        match parameter.longest {
            usize::MAX => "a string that is not empty".into(),
            longest => format!("a string of 1 to {longest} bytes"),
        }
    }
}

/// The data directory: other programs are given it too, from other working directories.
impl Type for PathBuf {
    fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
        given.text().map(tidy).filter(|path| path.is_absolute())
    }

    fn write(&self) -> toml::Value {
        self.to_string_lossy().into_owned().into()
    }

    fn allowed(_: &Parameter) -> String {
        "an absolute path".into()
    }
}

/// Removes what does not change a path's meaning, as PostgreSQL does: `.`, `x/..`, double and trailing slashes.
fn tidy(text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if path.has_root() && path.parent().is_none() => {}
            Component::ParentDir if path.file_name().is_some() => {
                path.pop();
            }
            _ => path.push(component),
        }
    }
    if path.as_os_str().is_empty() && !text.is_empty() {
        path.push(".");
    }
    path
}

/// Text and paths that may be unset: an empty one is.
macro_rules! or_unset {
    ($type:ty, $allowed:literal, $make:expr) => {
        impl Type for Option<$type> {
            fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
                let text = given.text()?;
                Some((!text.is_empty()).then(|| $make(text)))
            }

            fn write(&self) -> toml::Value {
                self.as_ref().map_or_else(|| "".into(), Type::write)
            }

            fn allowed(_: &Parameter) -> String {
                $allowed.into()
            }
        }
    };
}

or_unset!(String, "a text", str::to_string);
or_unset!(PathBuf, "a path", tidy);

/// A list: separated by commas in a text, or a TOML array.
impl Type for Vec<String> {
    fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
        let words = match given {
            RawValue::Texts(texts) => texts.clone(),
            _ => given.text()?.split(',').map(str::to_string).collect(),
        };
        Some(words.iter().map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect())
    }

    fn write(&self) -> toml::Value {
        self.clone().into()
    }

    fn allowed(_: &Parameter) -> String {
        "a list of names, or a string with names separated by commas".into()
    }
}

/// A tablespace that lies elsewhere on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceMapping {
    /// The directory on the node that is cloned.
    pub old: PathBuf,
    /// The directory here.
    pub new: PathBuf,
}

impl TablespaceMapping {
    /// Both must be absolute: pg_basebackup takes nothing else.
    fn new(old: &str, new: &str) -> Option<Self> {
        let mapping = Self { old: tidy(old), new: tidy(new) };
        (mapping.old.is_absolute() && mapping.new.is_absolute()).then_some(mapping)
    }

    /// Parses pg_basebackup's `old=new`, where `\=` is an equals sign in a name.
    fn parse(text: &str) -> Option<Self> {
        let mut sides = vec![String::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '=' => sides.push(String::new()),
                '\\' if chars.peek() == Some(&'=') => sides.last_mut()?.extend(chars.next()),
                _ => sides.last_mut()?.push(c),
            }
        }
        match sides.as_slice() {
            [old, new] => Self::new(old, new),
            _ => None,
        }
    }
}

/// One mapping a line in repmgr.conf, a table in TOML.
impl Type for Vec<TablespaceMapping> {
    fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
        match given {
            RawValue::Text(text) if text.is_empty() => Some(Self::new()),
            RawValue::Text(text) => Some(vec![TablespaceMapping::parse(text)?]),
            RawValue::Texts(texts) => texts.iter().map(|text| TablespaceMapping::parse(text)).collect(),
            RawValue::Pairs(pairs) => {
                pairs.iter().map(|(old, new)| TablespaceMapping::new(old, new)).collect()
            }
            _ => None,
        }
    }

    fn write(&self) -> toml::Value {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        toml::Value::Table(self.iter().map(|one| (text(&one.old), text(&one.new).into())).collect())
    }

    fn allowed(_: &Parameter) -> String {
        "OLD=NEW with two absolute paths, or a table of such paths".into()
    }

    fn then(mut self, later: Self) -> Self {
        self.retain(|mapping| later.iter().all(|other| other.old != mapping.old));
        self.extend(later);
        self
    }
}

/// A time as PostgreSQL's own parameters take it: `5min`.
///
/// The text is kept, because it goes into a standby's configuration as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay(String);

impl Delay {
    /// Returns the text for the server's configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a delay: an integer, which counts milliseconds, or one with a unit.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let known = matches!(unit.trim_start(), "" | "ms" | "s" | "min" | "h" | "d");
        (known && unit.len() < text.len()).then(|| Self(text.to_string()))
    }
}

impl Type for Option<Delay> {
    fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
        match given.scalar()?.trim() {
            "" => Some(None),
            text => Delay::parse(text).map(Some),
        }
    }

    fn write(&self) -> toml::Value {
        self.as_ref().map_or("", Delay::as_str).into()
    }

    fn allowed(_: &Parameter) -> String {
        "an integer with one of the units ms, s, min, h, d".into()
    }
}

/// How much, as PostgreSQL's own parameters take it: `16MB`.
///
/// The text is kept, for what is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    text: String,
    /// In bytes; None for -1, which is no limit.
    pub bytes: Option<u64>,
}

impl Size {
    /// Reads a size: bytes, or an integer with a unit of 1024 bytes, or of a power of that.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = match text {
            "-1" => None,
            _ => {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let factor = match unit.trim_start() {
                    "" | "B" => 1,
                    "kB" => 1 << 10,
                    "MB" => 1 << 20,
                    "GB" => 1 << 30,
                    "TB" => 1 << 40,
                    _ => return None,
                };
                let number: u64 = text.get(..text.len() - unit.len())?.parse().ok()?;
                Some(number.checked_mul(factor)?)
            }
        };
        Some(Self { text: text.to_string(), bytes })
    }
}

impl Type for Size {
    fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
        Self::parse(&given.scalar()?)
    }

    fn write(&self) -> toml::Value {
        self.text.as_str().into()
    }

    fn allowed(_: &Parameter) -> String {
        "an integer with one of the units B, kB, MB, GB, TB, or -1 for no limit".into()
    }
}

/// A parameter with a few named values, matched as repmgr does, whatever the case.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Returns the value as it is written in a file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl Type for $name {
            fn read(given: &RawValue, _: &Parameter) -> Option<Self> {
                let text = given.text()?;
                [$(Self::$variant),+].into_iter().find(|choice| choice.as_str().eq_ignore_ascii_case(text))
            }

            fn write(&self) -> toml::Value {
                self.as_str().into()
            }

            fn allowed(_: &Parameter) -> String {
                alternatives(&[$($text),+])
            }
        }
    };
}

fn alternatives(texts: &[&str]) -> String {
    match texts {
        [] => String::new(),
        [only] => format!("only \"{only}\""),
        [first, rest @ ..] => format!("one of \"{first}\", \"{}\"", rest.join("\", \"")),
    }
}

choice! {
    /// The least important message that is logged.
    LogLevel {
        /// For developers.
        Debug = "DEBUG",
        /// What is going on.
        Info = "INFO",
        /// Something to know.
        Notice = "NOTICE",
        /// A problem.
        Warning = "WARNING",
        /// What failed.
        Error = "ERROR",
        /// syslog's alert.
        Alert = "ALERT",
        /// syslog's crit.
        Crit = "CRIT",
        /// syslog's emerg.
        Emerg = "EMERG",
    }
}

choice! {
    /// Where messages go: to stderr, or to syslog under a facility.
    LogFacility {
        /// stderr, or log_file.
        Stderr = "STDERR",
        /// syslog, local0.
        Local0 = "LOCAL0",
        /// syslog, local1.
        Local1 = "LOCAL1",
        /// syslog, local2.
        Local2 = "LOCAL2",
        /// syslog, local3.
        Local3 = "LOCAL3",
        /// syslog, local4.
        Local4 = "LOCAL4",
        /// syslog, local5.
        Local5 = "LOCAL5",
        /// syslog, local6.
        Local6 = "LOCAL6",
        /// syslog, local7.
        Local7 = "LOCAL7",
        /// syslog, daemon.
        Daemon = "DAEMON",
        /// syslog, user.
        User = "USER",
    }
}

choice! {
    /// The kind of replication.
    ReplicationType {
        /// Streaming replication of a whole cluster.
        Physical = "physical",
    }
}

choice! {
    /// Whether a standby is promoted automatically.
    Failover {
        /// Only by an operator.
        Manual = "manual",
        /// By the daemon.
        Automatic = "automatic",
    }
}

choice! {
    /// The times of a failover.
    FailoverProfile {
        /// A lost host is replaced in 4.5 s; a host that stands still for 0.5 s is too much.
        Fast = "fast",
        /// A lost host is replaced in 11 s; 2 s of standstill are tolerated.
        Default = "default",
        /// A lost host is replaced in 22 s; 5 s of standstill are tolerated.
        Conservative = "conservative",
    }
}

choice! {
    /// What the daemon does when the primary was stopped cleanly.
    OnCleanStop {
        /// It waits for restart_timeout, and hands over then.
        Wait = "wait",
        /// It hands over at once.
        HandOver = "handover",
    }
}

choice! {
    /// What the daemon does by itself with a former primary or a standby that has diverged.
    RejoinAutomatically {
        /// It only follows, where nothing has to be changed for that.
        Never = "never",
        /// It rewinds the node if nothing committed is discarded.
        Lossless = "lossless",
        /// It rewinds the node, and keeps what is discarded in a directory of its own.
        Always = "always",
    }
}

choice! {
    /// How the daemon finds out whether a server is there.
    ConnectionCheck {
        /// By PQping.
        Ping = "ping",
        /// By a new connection.
        Connection = "connection",
        /// By a query on its open connection.
        Query = "query",
    }
}

choice! {
    /// Whether a password is sent as it is to where only the metadata leads.
    CleartextPasswords {
        /// No: only over TLS with a verified certificate.
        Refuse = "refuse",
        /// Yes, as libpq does.
        Allow = "allow",
    }
}

choice! {
    /// What a former primary does when too few nodes respond.
    GuardOnUnknown {
        /// Not start.
        Refuse = "refuse",
        /// Start as it is.
        Start = "start",
        /// Start as a standby.
        Demote = "demote",
    }
}

#[cfg(test)]
mod tests {
    use super::super::parameters::{PARAMETERS, find};
    use super::*;

    fn read<T: Type>(name: &str, text: &str) -> Option<T> {
        T::read(&RawValue::Text(text.into()), find(name).unwrap())
    }

    #[test]
    fn booleans_are_repmgrs() {
        for text in ["true", "on", "yes", "1", "ON"] {
            assert_eq!(read("failover", text), Some(true), "{text}");
        }
        for text in ["false", "off", "no", "0"] {
            assert_eq!(read("failover", text), Some(false), "{text}");
        }
        assert_eq!(read::<bool>("failover", ""), None);
        assert_eq!(read::<bool>("failover", "2"), None);
    }

    #[test]
    fn integers_have_32_bits_and_a_minimum() {
        assert_eq!(read("node_id", "2147483647"), Some(i32::MAX));
        assert_eq!(read::<i32>("node_id", "2147483648"), None);
        assert_eq!(read::<i32>("node_id", "0"), None);
        assert_eq!(read::<i32>("node_id", "1.5"), None);
        assert_eq!(read("degraded_monitoring_timeout", "-1"), Some(None::<Duration>));
        assert_eq!(read::<Option<Duration>>("degraded_monitoring_timeout", "-2"), None);
        assert_eq!(read("degraded_monitoring_timeout", "5"), Some(Some(Duration::from_secs(5))));
    }

    #[test]
    fn paths_are_tidied_without_looking_at_the_disk() {
        assert_eq!(tidy("/a//b/./c/../d/"), Path::new("/a/b/d"));
        assert_eq!(tidy("/../a"), Path::new("/a"));
        assert_eq!(tidy("../a/.."), Path::new(".."));
        assert_eq!(tidy("./"), Path::new("."));
        assert_eq!(read::<PathBuf>("data_directory", "relative/path"), None);
    }

    #[test]
    fn delays_keep_their_text() {
        assert_eq!(read("recovery_min_apply_delay", "5min"), Some(Some(Delay("5min".into()))));
        assert_eq!(read("recovery_min_apply_delay", ""), Some(None::<Delay>));
        for wrong in ["min", "5 minutes", "-5min", "5.5h"] {
            assert_eq!(read::<Option<Delay>>("recovery_min_apply_delay", wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_mapping_may_have_equals_signs_in_its_paths() {
        let mapping = TablespaceMapping::parse(r"/a\=b=/c\=d").unwrap();
        assert_eq!((mapping.old, mapping.new), ("/a=b".into(), "/c=d".into()));
        assert_eq!(TablespaceMapping::parse("/a=/b=/c"), None);
        assert_eq!(TablespaceMapping::parse("a=/b"), None);
        assert_eq!(TablespaceMapping::parse("/a"), None);
    }

    #[test]
    fn every_parameter_says_what_is_allowed() {
        for parameter in PARAMETERS {
            assert!(!parameter.allowed().is_empty(), "{}", parameter.name);
            assert!(parameter.summary().ends_with('.'), "{}", parameter.name);
        }
        assert_eq!(
            find("degraded_monitoring_timeout").unwrap().allowed(),
            "a number of seconds, at least 0, or -1 to disable it"
        );
        assert_eq!(find("failover").unwrap().allowed(), "one of \"manual\", \"automatic\"");
    }
}
