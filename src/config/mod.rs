//! The configuration: `pgbaton.toml`, or an existing `repmgr.conf` as it is.
//!
//! [`locate`] finds the file; [`read`] parses it, reports everything that is wrong with it at once, and makes a
//! [`Config`] of it, in which every parameter has its type and remembers where its value came from. The parameters
//! themselves are listed in [`parameters`] and nowhere else.

pub mod locate;
pub mod parameters;
pub mod postgresql;
mod problem;
mod repmgr_conf;
pub mod show;
mod state;
mod toml_file;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use parameters::{Config, PARAMETERS, Parameter};
pub use problem::{ConfigError, Problem};
use repmgr_conf::ParsedFile;
pub use state::is_inside;
use value::{RawValue, Type};

use crate::error::Severity;
use crate::system::environment::user_name;
use crate::system::guarded_read;

/// The largest file that is read.
const MOST_BYTES: u64 = 1024 * 1024;

/// Who named a configuration file. That decides which users may own it: the author of the file decides which commands run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// The user of this process, by `-f` or PGBATON_CONFIG, or a place that only root writes to.
    User,
    /// It was not named: it was found in the working directory.
    Found,
    /// A row of the metadata, which is data. The file may belong to this user too.
    Row {
        /// The owner of the local data directory, in addition to root and the user of this process.
        owner: Option<u32>,
    },
}

/// The syntax of a file, which also decides the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConfigSyntax {
    /// `pgbaton.toml`.
    #[serde(rename = "toml")]
    Toml,
    /// repmgr's syntax and repmgr's defaults.
    #[serde(rename = "repmgr.conf")]
    RepmgrConf,
}

/// Where the value of a parameter comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It was not set.
    Default,
    /// An option such as `-D`.
    CommandLine,
}

/// A value for a name, not yet looked at.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    key: String,
    value: RawValue,
    origin: Origin,
}

/// Where all of a configuration comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    file: PathBuf,
    format: ConfigSyntax,
    parameters: BTreeMap<&'static str, Origin>,
    /// Why its commands are not run, if they are not.
    foreign: Option<String>,
}

impl Config {
    /// Returns where a parameter's value comes from.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.parameters.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// Returns the main file.
    pub fn file(&self) -> &Path {
        &self.origins.file
    }

    /// Returns the command line of a parameter, to be run or written down for a server to run.
    ///
    /// # Errors
    /// If the file belongs to a user whose commands this one does not run.
    pub fn command<'a>(
        &self,
        name: &'static str,
        line: &'a Option<String>,
    ) -> Result<Option<&'a String>, ConfigError> {
        match (&self.origins.foreign, line) {
            (Some(why), Some(_)) => {
                let problem = Problem::error("config_unsafe", format!("parameter \"{name}\" is not used"))
                    .key(name)
                    .detail(format!("{why} Commands are not run from such a file."))
                    .hint(format!(
                        "Run: chown {} {}",
                        own_name(),
                        shell_words::quote(&self.file().to_string_lossy())
                    ));
                Err(ConfigError {
                    file: Some(self.file().to_path_buf()),
                    problems: vec![self.origin(name).locate(problem)],
                })
            }
            (_, line) => Ok(line.as_ref()),
        }
    }

    /// Says whether pgbaton's daemon is to fail over here. In a `repmgr.conf` the same words are meant for repmgrd: there only a daemon that is
    /// seen says so.
    pub fn fails_over_by_daemon(&self) -> bool {
        self.failover == value::Failover::Automatic && self.format() == ConfigSyntax::Toml
    }

    /// Returns the syntax of the main file.
    pub fn format(&self) -> ConfigSyntax {
        self.origins.format
    }
}

/// Says which configuration it is and no more: commands and the conninfo may hold passwords.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("file", &self.origins.file)
            .field("node_id", &self.node_id)
            .field("node_name", &self.node_name)
            .finish_non_exhaustive()
    }
}

/// What came of reading a file: the answer of `config check`.
#[derive(Debug, Serialize)]
pub struct ConfigCheck {
    /// The main file.
    pub file: PathBuf,
    /// Its syntax.
    pub format: ConfigSyntax,
    /// Everything that is wrong, in the order of the file.
    pub problems: Vec<Problem>,
    /// The configuration, unless there are errors among the problems.
    #[serde(skip)]
    pub config: Option<Config>,
}

impl ConfigCheck {
    /// Returns the configuration and the warnings about it.
    ///
    /// # Errors
    /// Fails with everything that is wrong if anything is an error.
    pub fn accept(self) -> Result<(Config, Vec<Problem>), ConfigError> {
        match self.config {
            Some(config) => Ok((config, self.problems)),
            None => Err(ConfigError { file: Some(self.file), problems: self.problems }),
        }
    }
}

/// Reads a file.
///
/// `options` are parameters that the command line sets; they win over the file, and their paths are absolute already.
/// `check_conninfo` says what is wrong with
/// a connection string, without repeating a password.
///
/// # Errors
/// Fails if the file itself cannot be read, or may have been written by a user who must not control this program; what is wrong in
/// it is in the [`ConfigCheck`].
pub fn read(
    path: &Path,
    named: NamedBy,
    options: &[(&str, String)],
    check_conninfo: fn(&str) -> Result<(), String>,
) -> Result<ConfigCheck, ConfigError> {
    let unusable = |problem: Problem| ConfigError {
        file: Some(path.to_path_buf()),
        problems: vec![problem.at(path, None)],
    };
    let unreadable = |error: &dyn fmt::Display| {
        let message = format!("could not read configuration file \"{}\": {error}", path.display());
        unusable(Problem::error("config_unreadable", message))
    };
    let contents = guarded_read::read(path, MOST_BYTES).map_err(|error| unreadable(&error))?;
    let foreign = accept(path, named, &contents.about).map_err(unusable)?;
    let bytes = contents.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&contents.bytes);
    // A user who can write the file can as well write the files that it includes.
    let trusted = [0, own_uid(), contents.about.uid()];
    let text = std::str::from_utf8(bytes);
    let outcome = |format| {
        let read = match format {
            ConfigSyntax::Toml => toml_file::parse(text.unwrap_or_default(), path),
            ConfigSyntax::RepmgrConf => repmgr_conf::parse(bytes, path, &trusted),
        };
        understand(read, path, format, foreign.clone(), options, check_conninfo)
    };
    match (locate::format_by_name(path), &text) {
        (Some(ConfigSyntax::Toml), Err(error)) => {
            let valid = bytes.iter().take(error.valid_up_to());
            let line = 1 + valid.filter(|byte| **byte == b'\n').count();
            Err(unreadable(&format!("line {line} is not UTF-8")))
        }
        (Some(format), _) => Ok(outcome(format)),
        (None, Ok(_)) => Ok(more_plausible(outcome(ConfigSyntax::Toml), outcome(ConfigSyntax::RepmgrConf))),
        (None, Err(_)) => Ok(outcome(ConfigSyntax::RepmgrConf)),
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Names the user of this process, for `chown`.
fn own_name() -> String {
    user_name(own_uid()).unwrap_or_else(|| own_uid().to_string())
}

/// Decides by whose hands a file may have gone whether it is used; returns why its commands are not run, if it is used without them.
fn accept(path: &Path, named: NamedBy, about: &Metadata) -> Result<Option<String>, Problem> {
    let shown = path.display();
    let quoted = path.to_string_lossy();
    let quoted = shell_words::quote(&quoted);
    let unsafe_file = |why: &str| {
        let message =
            format!("configuration file \"{shown}\" is not used: other users could have written it");
        Problem::error("config_unsafe", message).detail(why.to_string())
    };
    let mut trusted = vec![0, own_uid()];
    match named {
        NamedBy::User => {
            if guarded_read::is_world_writable(about) {
                let why = format!("Every user can write to it (mode {:04o}).", about.mode() & 0o7777);
                return Err(unsafe_file(&why).hint(format!("Run: chmod o-w {quoted}")));
            }
            let owner = about.uid();
            let name = user_name(owner)
                .map_or_else(|| format!("user ID {owner}"), |name| format!("user \"{name}\""));
            Ok((!trusted.contains(&owner)).then(|| format!("\"{shown}\" belongs to {name}.")))
        }
        NamedBy::Found => match guarded_read::untrusted_writer(path, about, &trusted) {
            None => Ok(None),
            Some(why) => Err(unsafe_file(&why)
                .detail("It was found in the working directory.")
                .hint(format!(
                    "If it is the intended file, name it with \"-f\", or run: chown {} {quoted}; chmod go-w {quoted}",
                    own_name()
                ))),
        },
        NamedBy::Row { owner } => {
            trusted.extend(owner);
            match guarded_read::untrusted_writer(path, about, &trusted) {
                None => Ok(None),
                Some(why) => Err(unsafe_file(&why)
                    .detail("It is named by the metadata of the cluster, which does not prove that it is the intended file.")
                    .hint(format!(
                        "If it is the file of that node, run on its host: chown {} {quoted}; chmod go-w {quoted}",
                        own_name()
                    ))),
            }
        }
    }
}

/// Chooses for a file whose name does not show its syntax: TOML if it is that, else what has fewer errors.
fn more_plausible(toml: ConfigCheck, repmgr: ConfigCheck) -> ConfigCheck {
    let errors = |outcome: &ConfigCheck| {
        outcome.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    };
    if errors(&toml) <= errors(&repmgr) { toml } else { repmgr }
}

/// Validates what a file says.
fn understand(
    contents: ParsedFile,
    path: &Path,
    format: ConfigSyntax,
    foreign: Option<String>,
    options: &[(&str, String)],
    check_conninfo: fn(&str) -> Result<(), String>,
) -> ConfigCheck {
    let ParsedFile { mut assignments, mut problems } = contents;
    problems.extend(assignments.iter().filter_map(|assignment| unrecognized(assignment, format)));
    assignments.extend(options.iter().map(|(name, value)| Assignment {
        key: (*name).to_string(),
        value: RawValue::Text(value.clone()),
        origin: Origin::CommandLine,
    }));
    let mut reader =
        Reader { path, format, foreign, assignments: &assignments, problems, origins: BTreeMap::new() };
    let mut config = Config::build(&mut reader);
    if let Some(config) = config.as_mut().filter(|config| config.origins.foreign.is_some()) {
        // The owner of the server controls its commands anyhow.
        let owner = |path: &Path| path.metadata().map(|about| about.uid()).ok();
        if owner(path).is_some() && owner(path) == owner(&config.data_directory) {
            config.origins.foreign = None;
        }
    }
    if let Some(config) = &config {
        reader.check(config, check_conninfo);
    }
    let mut problems = reader.problems;
    // By line, and then what stands in no line; included files after the main one.
    problems.sort_by_cached_key(|problem| {
        (problem.file.as_deref() != Some(path), problem.file.clone(), problem.line.unwrap_or(usize::MAX))
    });
    let is_valid = problems.iter().all(|problem| problem.severity != Severity::Error);
    ConfigCheck { file: path.to_path_buf(), format, problems, config: config.filter(|_| is_valid) }
}

/// Complains about a name that is no parameter. repmgr only warns, so a repmgr.conf stays usable.
fn unrecognized(assignment: &Assignment, format: ConfigSyntax) -> Option<Problem> {
    let Assignment { key, value, .. } = assignment;
    if parameters::find(key).is_some() {
        return None;
    }
    // A heading swallows the parameters below it, so it is likely to be one problem and not many.
    let is_heading = format == ConfigSyntax::Toml && matches!(value, RawValue::Pairs(_) | RawValue::Other(_));
    let (message, hint) = if let Some(successor) = parameters::successor(key) {
        (format!("parameter \"{key}\" no longer exists"), Some(successor.to_string()))
    } else if let Some(nearest) = parameters::nearest(key).filter(|_| !is_heading) {
        (
            format!("unrecognized configuration parameter \"{key}\""),
            Some(format!("Perhaps you meant \"{}\".", nearest.name)),
        )
    } else {
        let hint = is_heading.then(|| {
            format!("If \"[{key}]\" is a section, remove it: all parameters belong to the top level.")
        });
        (format!("unrecognized configuration parameter \"{key}\""), hint)
    };
    let mut problem = match format {
        ConfigSyntax::Toml => Problem::error("config_unrecognized_parameter", message),
        ConfigSyntax::RepmgrConf => Problem::warning("config_unrecognized_parameter", message)
            .detail("It is ignored, as repmgr ignores it."),
    };
    problem.hint = hint;
    Some(assignment.locate(problem))
}

impl Assignment {
    fn locate(&self, problem: Problem) -> Problem {
        self.origin.locate(problem.key(&self.key))
    }
}

impl Origin {
    fn locate(&self, problem: Problem) -> Problem {
        match self {
            Self::File { path, line } => problem.at(path, *line),
            Self::CommandLine | Self::Default => problem,
        }
    }
}

/// Takes parameters out of the assignments and collects what is wrong with them.
pub(crate) struct Reader<'a> {
    path: &'a Path,
    format: ConfigSyntax,
    foreign: Option<String>,
    assignments: &'a [Assignment],
    problems: Vec<Problem>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Reader<'_> {
    /// Takes a parameter's value: the last assignment, else its default.
    ///
    /// A wrong or missing value is a problem, and what is returned then is only there so that the rest can be checked.
    fn take<T: Type>(&mut self, parameter: &'static Parameter) -> Option<T> {
        let name = parameter.name;
        let mut value: Option<T> = None;
        let mut is_set = false;
        for assignment in self.assignments.iter().filter(|assignment| assignment.key == name) {
            is_set = true;
            match (T::read(&assignment.value, parameter), value.take()) {
                (Some(read), Some(earlier)) if assignment.origin != Origin::CommandLine => {
                    value = Some(earlier.then(read));
                }
                (Some(read), _) => value = Some(read),
                (None, earlier) => {
                    let message = match name {
                        // It may hold a password.
                        "conninfo" => format!("invalid value for parameter \"{name}\""),
                        _ => format!("invalid value for parameter \"{name}\": \"{}\"", assignment.value),
                    };
                    let mut problem = Problem::error("config_invalid_value", message)
                        .detail(format!("The allowed value is {}.", parameter.allowed()));
                    let as_text = RawValue::Text(assignment.value.to_string());
                    if assignment.value != as_text && T::read(&as_text, parameter).is_some() {
                        problem = problem.hint("Write it in quotes.");
                    }
                    self.problems.push(assignment.locate(problem));
                    value = earlier;
                    continue;
                }
            }
            self.origins.insert(name, assignment.origin.clone());
        }
        // After a syntax error it is unknown what the file was meant to set.
        let has_syntax_errors =
            self.problems.iter().any(|problem| matches!(problem.code, "config_syntax" | "config_include"));
        if let Some(example) = parameter.required.filter(|_| !is_set && !has_syntax_errors) {
            let line = match (self.format, example.parse::<i32>()) {
                (_, Ok(number)) => format!("{name} = {number}"),
                (ConfigSyntax::Toml, _) => format!("{name} = \"{example}\""),
                (ConfigSyntax::RepmgrConf, _) => format!("{name} = '{example}'"),
            };
            let problem =
                Problem::error("config_missing_parameter", format!("parameter \"{name}\" is missing"))
                    .at(self.path, None)
                    .key(name)
                    .detail(parameter.summary())
                    .hint(format!("Add a line such as: {line}"));
            self.problems.push(problem);
        }
        let fallback = parameter.required.unwrap_or_else(|| parameter.default_in(self.format));
        value.or_else(|| T::read(&RawValue::Text(fallback.to_string()), parameter))
    }

    fn origins(&self) -> Origins {
        Origins {
            file: self.path.to_path_buf(),
            format: self.format,
            parameters: self.origins.clone(),
            foreign: self.foreign.clone(),
        }
    }

    /// Checks what one parameter alone does not show. A parameter that is wrong already is left out.
    fn check(&mut self, config: &Config, check_conninfo: fn(&str) -> Result<(), String>) {
        let mut found = Vec::new();
        let mut wrong = |keys: &[&'static str], code, message: &str| {
            let is_wrong = |key: &&str| self.problems.iter().any(|one| one.key.as_deref() == Some(*key));
            if !keys.iter().any(is_wrong) {
                // The place of the first of them that was set.
                let key = keys.iter().find(|key| config.origin(key) != Origin::Default).or(keys.first());
                let key = key.copied().unwrap_or_default();
                found.push(config.origin(key).locate(Problem::error(code, message).key(key)));
            }
        };
        if let Err(reason) = check_conninfo(&config.conninfo) {
            let message = format!("invalid value for parameter \"conninfo\": {reason}");
            wrong(&["conninfo"], "config_invalid_value", &message);
        }
        if config.archive_ready_critical <= config.archive_ready_warning {
            let message = "\"archive_ready_critical\" must be greater than \"archive_ready_warning\"";
            wrong(&["archive_ready_critical", "archive_ready_warning"], "config_conflict", message);
        }
        if config.replication_lag_critical <= config.replication_lag_warning {
            let message = "\"replication_lag_critical\" must be greater than \"replication_lag_warning\"";
            wrong(&["replication_lag_critical", "replication_lag_warning"], "config_conflict", message);
        }
        if config.free_space_critical >= config.free_space_warning {
            let message = "\"free_space_critical\" must be less than \"free_space_warning\"";
            wrong(&["free_space_critical", "free_space_warning"], "config_conflict", message);
        }
        if config.slot_wal_critical <= config.slot_wal_warning {
            let message = "\"slot_wal_critical\" must be greater than \"slot_wal_warning\"";
            wrong(&["slot_wal_critical", "slot_wal_warning"], "config_conflict", message);
        }
        if config.standby_reconnect_timeout < config.node_rejoin_timeout {
            let message = "\"standby_reconnect_timeout\" must not be less than \"node_rejoin_timeout\"";
            wrong(&["standby_reconnect_timeout", "node_rejoin_timeout"], "config_conflict", message);
        }
        if config.barman_host.is_some() != config.barman_server.is_some() {
            let message = "\"barman_host\" and \"barman_server\" must be set together";
            wrong(&["barman_host", "barman_server"], "config_conflict", message);
        }
        if let Some(directory) = &config.state_directory {
            if !directory.is_absolute() {
                let message = "\"state_directory\" must be an absolute path";
                wrong(&["state_directory"], "config_invalid_value", message);
            } else if directory.starts_with(&config.data_directory) {
                let message = "\"state_directory\" must not be inside \"data_directory\"";
                wrong(&["state_directory", "data_directory"], "config_conflict", message);
            }
        }
        self.problems.append(&mut found);
        self.problems.extend(warnings(config));
    }
}

/// Finds what works, but probably not as it was meant.
fn warnings(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(why) = &config.origins.foreign {
        let message = "the configuration file belongs to another user";
        let problem = Problem::warning("config_unsafe", message)
            .detail(format!("{why} Its commands (parameters with names that end in _command) are not run."));
        found.push(problem.at(config.file(), None));
    }
    if !config.node_name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let message = "\"node_name\" has characters that PostgreSQL replaces in application_name";
        let problem = Problem::warning("config_node_name", message).key("node_name").detail(
            "pg_stat_replication shows another name, and synchronous_standby_names has to use that one.",
        );
        found.push(config.origin("node_name").locate(problem));
    }
    let commands = [("promote_command", &config.promote_command), ("follow_command", &config.follow_command)];
    for (key, command) in commands {
        // pgbaton's own daemon uses neither; who has a repmgr.conf may have a repmgrd.
        let may_be_for_repmgrd = config.format() == ConfigSyntax::RepmgrConf;
        if config.failover == value::Failover::Automatic && command.is_none() && may_be_for_repmgrd {
            let message = format!("automatic failover by repmgrd needs \"{key}\"");
            let problem = Problem::warning("config_conflict", message)
                .key(key)
                .detail("Without it repmgrd does not start.");
            found.push(config.origin("failover").locate(problem));
        }
    }
    found
}

#[cfg(test)]
mod tests;
