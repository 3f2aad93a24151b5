//! What is wrong with a configuration, and the error made of it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Error, Issue, Severity, Text, carries_text};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// An error, or a warning that stops nothing.
    pub severity: Severity,
    /// A stable name for scripts.
    pub code: &'static str,
    /// The file; not always the main one, because a repmgr.conf may include others.
    pub file: Option<PathBuf>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The parameter.
    pub key: Option<String>,
    /// What is wrong; the place is not repeated in it.
    #[serde(flatten)]
    pub text: Text,
}

carries_text!(Problem);

impl Problem {
    /// Starts an error.
    pub fn error(code: &'static str, text: impl Into<Text>) -> Self {
        Self { severity: Severity::Error, code, file: None, line: None, key: None, text: text.into() }
    }

    /// Starts a warning.
    pub fn warning(code: &'static str, text: impl Into<Text>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, text) }
    }

    /// Names the file and, if it is known, the line.
    #[must_use]
    pub fn at(mut self, file: impl Into<PathBuf>, line: impl Into<Option<usize>>) -> Self {
        self.file = Some(file.into());
        self.line = line.into();
        self
    }

    /// Names the parameter.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Makes an issue of it, whose detail names the place.
    pub fn issue(&self) -> Issue {
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => Some(format!("It is in line {line} of \"{}\".", file.display())),
            (Some(file), None) => Some(format!("The file is \"{}\".", file.display())),
            _ => None,
        };
        Issue::new(self.severity, self.code, self.text.clone()).detail(place.unwrap_or_default())
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    /// The main file, if there is one.
    pub file: Option<PathBuf>,
    /// Everything that is wrong, warnings included.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "invalid configuration file \"{}\"", file.display()),
            None => f.write_str("invalid configuration"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A single problem is the error itself; several are its issues.
impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let issues: Vec<Issue> = error.problems.iter().map(Problem::issue).collect();
        let mut errors = issues.iter().filter(|issue| issue.severity == Severity::Error);
        let mut result = match (errors.next(), errors.count()) {
            (Some(only), 0) => Self::failed(only.text.clone()),
            (_, others) => Self::failed(error.to_string())
                .detail(format!("It has {} errors; each is listed.", others + 1)),
        };
        result.issues = issues;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_problem_is_the_error_itself() {
        let warning = Problem::warning("config_unrecognized_parameter", "a warning");
        let problem =
            Problem::error("config_invalid_value", "invalid value for parameter \"priority\": \"x\"")
                .at("/etc/pgbaton.toml", 7)
                .detail("Allowed is an integer, at least 0.");
        let error = Error::from(ConfigError {
            file: Some("/etc/pgbaton.toml".into()),
            problems: vec![warning, problem.clone()],
        });
        assert_eq!(error.message, "invalid value for parameter \"priority\": \"x\"");
        assert_eq!(
            error.detail.as_deref(),
            Some("Allowed is an integer, at least 0. It is in line 7 of \"/etc/pgbaton.toml\".")
        );
        let error = Error::from(ConfigError {
            file: Some("/etc/pgbaton.toml".into()),
            problems: vec![problem.clone(), problem],
        });
        assert_eq!(error.message, "invalid configuration file \"/etc/pgbaton.toml\"");
        assert_eq!(error.detail.as_deref(), Some("It has 2 errors; each is listed."));
        assert_eq!(error.issues.len(), 2);
    }
}
