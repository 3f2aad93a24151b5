//! `config show`: what is in force, and where from.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::{Config, ConfigSyntax, Origin, Parameter};

/// The configuration in force: the data of `config show`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The main file.
    pub file: PathBuf,
    /// Its syntax.
    pub format: ConfigSyntax,
    /// All parameters; those for tests only when they are set.
    pub parameters: Vec<ShownParameter>,
}

/// One parameter with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShownParameter {
    /// The name.
    pub name: &'static str,
    /// The value; an empty text is unset.
    pub value: toml::Value,
    /// Where it comes from.
    pub source: Source,
    /// The file that sets it.
    pub file: Option<PathBuf>,
    /// The line in it.
    pub line: Option<usize>,
    #[serde(skip)]
    group: &'static str,
    #[serde(skip)]
    differs_by_format: bool,
}

/// The kind of place that a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A line of a file.
    File,
    /// It was not set.
    Default,
    /// An option.
    CommandLine,
}

impl Shown {
    /// Collects the parameters. `redact_conninfo` takes the passwords out of a connection string; it leaves out rather
    /// than masks, so that the mask is not saved as a password.
    pub fn new(config: &Config, redact_conninfo: impl Fn(&str) -> String) -> Self {
        let parameters = config.values().filter_map(|(parameter, mut value)| {
            if parameter.name == "conninfo" {
                value = redact_conninfo(&config.conninfo).into();
            }
            ShownParameter::new(parameter, value, config.origin(parameter.name))
        });
        Self { file: config.file().to_path_buf(), format: config.format(), parameters: parameters.collect() }
    }

    /// Writes a pgbaton.toml that means the same, whatever the format of the file was.
    ///
    /// Passwords in the conninfo are the exception: they are not shown.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut group = "";
        for parameter in &self.parameters {
            if parameter.group != group {
                group = parameter.group;
                let separator = if text.is_empty() { "" } else { "\n" };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{separator}# {group}");
            }
            let origin = parameter.origin(self.format);
            let _ = writeln!(text, "{} = {}  # {origin}", parameter.name, parameter.value);
        }
        text
    }
}

impl ShownParameter {
    fn new(parameter: &Parameter, value: toml::Value, origin: Origin) -> Option<Self> {
        if parameter.hidden && origin == Origin::Default {
            return None;
        }
        let (source, file, line) = match origin {
            Origin::File { path, line } => (Source::File, Some(path), Some(line)),
            Origin::Default => (Source::Default, None, None),
            Origin::CommandLine => (Source::CommandLine, None, None),
        };
        let differs_by_format = parameter.toml_default.is_some();
        Some(Self {
            name: parameter.name,
            value,
            source,
            file,
            line,
            group: parameter.group,
            differs_by_format,
        })
    }

    /// Says where the value comes from, in words that end a line.
    fn origin(&self, format: ConfigSyntax) -> String {
        match (&self.file, self.line, self.source) {
            (Some(file), Some(line), _) => {
                // A line break in a file's name would end the comment.
                format!("from {}:{line}", file.display().to_string().replace(char::is_control, "?"))
            }
            (_, _, Source::CommandLine) => "command line".into(),
            _ if self.differs_by_format && format == ConfigSyntax::RepmgrConf => {
                "default of repmgr.conf".into()
            }
            _ => "default".into(),
        }
    }
}
