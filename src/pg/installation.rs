//! The PostgreSQL installation of a data directory: its major version, its programs, and what they say of a server that is down.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Exit, Result};
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::pg::{control, tools};
use crate::system::command::Command;
use crate::system::environment::Environment;
use crate::system::files;
use crate::system::process::{self, ChildContext, Finished};

/// A data directory with the PostgreSQL programs of its major version.
#[derive(Clone, Debug)]
pub struct Installation<'a> {
    data_directory: &'a Path,
    pg_bindir: Option<&'a Path>,
    environment: &'a Environment,
    major: String,
}

/// What pg_controldata says beyond what [`crate::pg::control_file`] reads; None where it does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlData {
    /// `wal_log_hints` as it was when the server ran last.
    pub wal_log_hints: Option<bool>,
    /// Data checksums are on.
    pub checksums: Option<bool>,
    /// The minimum recovery ending location.
    pub minimum_recovery_end: Option<Lsn>,
    /// The timeline of that location.
    pub minimum_recovery_timeline: Option<TimelineId>,
}

impl<'a> Installation<'a> {
    /// Reads the major version of a data directory. Its programs are in `pg_bindir`, if that is given; `environment` is theirs.
    ///
    /// # Errors
    /// Fails where PG_VERSION cannot be read.
    pub fn read(
        data_directory: &'a Path,
        pg_bindir: Option<&'a Path>,
        environment: &'a Environment,
    ) -> io::Result<Self> {
        let major = major_of(data_directory)?;
        Ok(Self { data_directory, pg_bindir, environment, major })
    }

    /// The same for a data directory that may not be there; `major` is the version where it is known from elsewhere.
    pub fn of_major(
        major: impl ToString,
        data_directory: &'a Path,
        pg_bindir: Option<&'a Path>,
        environment: &'a Environment,
    ) -> Self {
        Self { data_directory, pg_bindir, environment, major: major.to_string() }
    }

    /// Returns the major version as PG_VERSION has it; empty where there is none.
    pub fn major(&self) -> &str {
        &self.major
    }

    /// Returns the major version as a number; 0 where there is none.
    pub fn major_number(&self) -> u32 {
        self.major.parse().unwrap_or(0)
    }

    /// Finds a program of the major version.
    ///
    /// # Errors
    /// Fails where it is in none of the usual places, naming them.
    pub fn tool(&self, program: &str) -> anyhow::Result<String> {
        tools::find(self.pg_bindir, &self.major, program).map(|path| path.display().to_string())
    }

    /// Finds a program that a command cannot do without.
    ///
    /// # Errors
    /// Exit code 1 where it is in none of the usual places, naming them.
    pub fn required_tool(&self, program: &str) -> Result<String> {
        self.tool(program).map_err(|error| {
            Error::from_cause(Exit::Failed, format!("could not find the program \"{program}\""), &error)
                .hint("Set pg_bindir in the configuration.")
        })
    }

    /// Returns where the configuration files of the server are, if not in its data directory.
    pub fn config_directory(&self) -> Option<PathBuf> {
        let conf_root = self.environment.non_empty("PG_CLUSTER_CONF_ROOT").map(Path::new);
        control::config_directory(self.data_directory, &self.major, conf_root, Path::new("/"))
    }

    /// Asks `postgres -C` for a setting of a server that need not run, which finds it in whichever file it is. `config_directory` is
    /// where the configuration files are, if not in the data directory.
    ///
    /// # Errors
    /// Fails where the program cannot be found or fails.
    pub async fn setting(&self, name: &str, config_directory: Option<&Path>) -> anyhow::Result<String> {
        let place = config_directory.unwrap_or(self.data_directory).display().to_string();
        let said = self.run(&Command::new(self.tool("postgres")?, ["-D", &place, "-C", name])).await?;
        Ok(said.trim_end_matches('\n').to_string())
    }

    /// Asks pg_controldata for what [`crate::pg::control_file`] does not read.
    ///
    /// # Errors
    /// Fails where the program cannot be found or fails.
    pub async fn control_data(&self) -> anyhow::Result<ControlData> {
        let program = Command::new(self.tool("pg_controldata")?, [self.data_directory.display().to_string()]);
        Ok(ControlData::parse(&self.run(&program).await?))
    }

    async fn run(&self, program: &Command) -> anyhow::Result<String> {
        let around = ChildContext { environment: Some(self.environment), ..ChildContext::default() };
        Ok(process::run(program, &around).await.and_then(Finished::success)?.stdout)
    }
}

impl ControlData {
    /// Reads the output of pg_controldata.
    pub fn parse(output: &str) -> Self {
        let value = |label: &str| tools::control_value(output, label);
        Self {
            wal_log_hints: value("wal_log_hints setting").map(|word| word == "on"),
            checksums: value("Data page checksum version").map(|version| version != "0"),
            minimum_recovery_end: value("Minimum recovery ending location")
                .and_then(|text| text.parse().ok()),
            minimum_recovery_timeline: value("Min recovery ending loc's timeline")
                .and_then(|text| text.parse().ok().map(TimelineId)),
        }
    }
}

/// Returns the major version in PG_VERSION.
///
/// # Errors
/// Fails where that cannot be read.
pub fn major_of(data_directory: &Path) -> io::Result<String> {
    Ok(files::text(data_directory.join("PG_VERSION"))?.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_have_what_the_program_says() {
        let output = "wal_log_hints setting:                off\n\
                      Minimum recovery ending location:     0/3000060\n\
                      Min recovery ending loc's timeline:   2\n\
                      Data page checksum version:           1\n";
        let expected = ControlData {
            wal_log_hints: Some(false),
            checksums: Some(true),
            minimum_recovery_end: Some(Lsn(0x0300_0060)),
            minimum_recovery_timeline: Some(TimelineId(2)),
        };
        assert_eq!(ControlData::parse(output), expected);
        assert_eq!(ControlData::parse(""), ControlData::default());
    }

    #[test]
    fn the_major_version_is_that_of_pg_version() {
        let data = tempfile::tempdir().unwrap();
        let environment = Environment::default();
        assert!(Installation::read(data.path(), None, &environment).is_err());
        files::write(&data.path().join("PG_VERSION"), b"15\n", 0o600).unwrap();
        let installation = Installation::read(data.path(), Some(data.path()), &environment).unwrap();
        assert_eq!((installation.major(), installation.major_number()), ("15", 15));
        assert!(installation.tool("postgres").is_err());
        files::write(&data.path().join("postgres"), b"", 0o700).unwrap();
        assert_eq!(
            installation.tool("postgres").unwrap(),
            data.path().join("postgres").display().to_string()
        );
    }
}
