//! This node as a command finds it: what was asked for, the configuration, the environment, deadlines, connections and the state directory.
//! It knows neither the command line nor the terminal.

pub mod state_directory;

use std::cell::{OnceCell, RefCell};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use self::state_directory::StateDirectory;
use crate::config::value::CleartextPasswords;
use crate::config::{self, Config, NamedBy, locate};
use crate::error::{Error, Exit, Issue, Result};
use crate::facts::directory::running_postmaster;
use crate::pg::client::Session;
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::ConnectError;
use crate::pg::installation::Installation;
use crate::system::environment::Environment;
use crate::verb::Verb;

/// Seconds within which one server must have answered everything that a command asks it.
const NODE_DEADLINE: Duration = Duration::from_secs(10);

/// Takes what has to be said at once.
///
/// Most of what is found out is returned. Not so that something is waited for, which is said while it lasts, and what is wrong with the
/// configuration, which is read when it is first needed and names the file that messages go to.
pub trait Messages: Debug {
    /// Says something for debugging.
    fn debug(&self, primary: &str);
    /// Says what was done, or is worth knowing, with its DETAIL and HINT.
    fn notice(&self, primary: &str, detail: Option<&str>, hint: Option<&str>);
    /// Says that something is wrong, with its DETAIL and HINT.
    fn warning(&self, primary: &str, detail: Option<&str>, hint: Option<&str>);
    /// Says an issue of the answer.
    fn issue(&self, issue: &Issue);
    /// Sends messages to a file from now on.
    ///
    /// # Errors
    /// Fails where the file cannot be opened for appending.
    fn log_to(&self, path: &Path) -> anyhow::Result<()>;
}

/// What was asked for by the options that every command has.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration file.
    pub config_file: Option<PathBuf>,
    /// The metadata name the configuration file, not a person.
    pub is_file_of_metadata: bool,
    /// The data directory of the local node.
    pub pgdata: Option<PathBuf>,
    /// The directory of the PostgreSQL programs.
    pub pg_bindir: Option<PathBuf>,
    /// The server to connect to: host name, address or socket directory.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<String>,
    /// The role to connect as.
    pub username: Option<String>,
    /// The database to connect to, or a whole connection string.
    pub dbname: Option<String>,
    /// The role for the steps that require a superuser.
    pub superuser: Option<String>,
    /// The ID of the node to act on.
    pub node_id: Option<i32>,
    /// The name of the node to act on.
    pub node_name: Option<String>,
    /// Checks that can be overridden are.
    pub force: bool,
    /// Committed transactions may be lost.
    pub accept_data_loss: bool,
    /// Nothing is asked.
    pub yes: bool,
    /// Nothing is changed.
    pub dry_run: bool,
    /// Messages go to the file that the configuration names.
    pub log_to_file: bool,
    /// Seconds within which one server must have answered.
    pub timeout: Option<u32>,
}

/// This node, as far as a command needs it to find something out.
#[derive(Debug)]
pub struct Site {
    /// What was asked for.
    pub options: Options,
    /// The command.
    pub verb: Verb,
    /// The environment.
    pub environment: Environment,
    /// Takes what has to be said at once.
    pub messages: Rc<dyn Messages>,
    config: OnceCell<Option<Config>>,
    warnings: RefCell<Vec<Issue>>,
    /// The cluster of this node, where a server has reported it.
    cluster: RefCell<Option<String>>,
    /// The state directory, once it was looked for.
    state: RefCell<Option<StateDirectory>>,
    /// An unfinished operation that this command takes the place of.
    superseded: RefCell<Option<String>>,
}

impl Site {
    /// Puts together what is known before a command starts.
    pub fn new(options: Options, verb: Verb, environment: Environment, messages: Rc<dyn Messages>) -> Self {
        Self {
            options,
            verb,
            environment,
            messages,
            config: OnceCell::new(),
            warnings: RefCell::default(),
            cluster: RefCell::default(),
            state: RefCell::default(),
            superseded: RefCell::default(),
        }
    }

    /// Notes that an unfinished operation does not stand in the way of this command.
    pub fn supersede(&self, operation_id: &str) {
        self.superseded.replace(Some(operation_id.to_string()));
    }

    /// Says whether this command takes the place of an operation.
    pub fn supersedes(&self, operation_id: &str) -> bool {
        self.superseded.borrow().as_deref() == Some(operation_id)
    }

    /// Returns the configuration.
    ///
    /// # Errors
    /// Exit code 1 if there is none, or something is wrong with it.
    pub fn config(&self) -> Result<&Config> {
        match self.config_if_any()? {
            Some(config) => Ok(config),
            None => Err(locate::Places::of_process().not_found().into()),
        }
    }

    /// Returns the configuration, or None if there is no file and none was named.
    ///
    /// # Errors
    /// Exit code 1 if something is wrong with the file.
    pub fn config_if_any(&self) -> Result<Option<&Config>> {
        if let Some(config) = self.config.get() {
            return Ok(config.as_ref());
        }
        let loaded = match self.read_config()? {
            Some(outcome) => {
                let (config, warnings) = outcome.accept()?;
                self.environment.say(|said| {
                    said.conninfos.push(config.conninfo.clone());
                    said.passfile.clone_from(&config.passfile);
                    said.cleartext_passwords = config.cleartext_passwords == CleartextPasswords::Allow;
                });
                if self.options.log_to_file
                    && let Some(path) = &config.log_file
                {
                    self.messages.log_to(path).map_err(|error| {
                        Error::from_cause(Exit::Failed, "could not write the log", &error)
                    })?;
                }
                for warning in &warnings {
                    let issue = warning.issue();
                    self.messages.issue(&issue);
                    self.warnings.borrow_mut().push(issue);
                }
                Some(config)
            }
            None => None,
        };
        Ok(self.config.get_or_init(|| loaded).as_ref())
    }

    /// Reads the configuration file without judging it; None if there is none and none was named.
    ///
    /// # Errors
    /// Exit code 1 if the file cannot be read at all.
    pub fn read_config(&self) -> Result<Option<config::ConfigCheck>> {
        let places = locate::Places::of_process();
        let Some((path, named)) =
            locate::find(self.options.config_file.as_deref(), &self.environment, &places)?
        else {
            return Ok(None);
        };
        let absolute = |path: &Path| places.working_directory.join(path).display().to_string();
        let mut options = Vec::new();
        for (name, given) in
            [("data_directory", &self.options.pgdata), ("pg_bindir", &self.options.pg_bindir)]
        {
            if let Some(path) = given {
                options.push((name, absolute(path)));
            }
        }
        // The command that opened this end has the name of the file from the metadata.
        let named = if self.options.is_file_of_metadata { NamedBy::Row { owner: None } } else { named };
        Ok(Some(config::read(&path, named, &options, check_conninfo)?))
    }

    /// Returns where the configuration files of the local server are, if not in its data directory.
    pub fn config_directory(&self, config: &Config) -> Option<PathBuf> {
        config.config_directory.clone().or_else(|| self.installation_if_any(config).config_directory())
    }

    /// Returns the PostgreSQL installation of the local data directory.
    ///
    /// # Errors
    /// Fails where its PG_VERSION cannot be read.
    pub fn installation<'a>(&'a self, config: &'a Config) -> std::io::Result<Installation<'a>> {
        Installation::read(&config.data_directory, config.pg_bindir.as_deref(), &self.environment)
    }

    /// Does the same where the data directory need not be there: then its major version is empty.
    pub fn installation_if_any<'a>(&'a self, config: &'a Config) -> Installation<'a> {
        self.installation(config).unwrap_or_else(|_| self.installation_of(config, ""))
    }

    /// Returns the PostgreSQL installation of a major version for the local data directory.
    pub fn installation_of<'a>(&'a self, config: &'a Config, major: impl ToString) -> Installation<'a> {
        Installation::of_major(major, &config.data_directory, config.pg_bindir.as_deref(), &self.environment)
    }

    /// Returns the time within which one server must have answered everything.
    pub fn node_deadline(&self) -> Duration {
        match self.options.timeout {
            Some(seconds) => Duration::from_secs(u64::from(seconds.max(1))),
            None => NODE_DEADLINE,
        }
    }

    /// Returns the connection that `-h`, `-p`, `-U` and `-d` describe; None if none of them was given.
    ///
    /// # Errors
    /// Exit code 1 if `-d` holds a connection string that cannot be parsed.
    pub fn given_conninfo(&self) -> Result<Option<Conninfo>> {
        let options = &self.options;
        let mut conninfo = match &options.dbname {
            Some(text) => Conninfo::from_dbname(text).map_err(|error| {
                Error::failed("invalid connection string in --dbname")
                    .detail(crate::error::sentence(&error.to_string()))
            })?,
            None => Conninfo::default(),
        };
        for (keyword, value) in
            [("host", &options.host), ("port", &options.port), ("user", &options.username)]
        {
            if let Some(value) = value {
                conninfo.set(keyword, value);
            }
        }
        if conninfo.is_empty() {
            return Ok(None);
        }
        self.own(&conninfo);
        Ok(Some(conninfo))
    }

    /// Returns the server that `-h`, `-p`, `-U` and `-d` name; None if none of them was given. Role and database are those of conninfo in
    /// the configuration, if there is one, where the command line does not say.
    ///
    /// # Errors
    /// Those of [`Self::given_conninfo`] and of the configuration.
    pub fn named_server(&self) -> Result<Option<Conninfo>> {
        let Some(given) = self.given_conninfo()? else { return Ok(None) };
        match self.config_if_any()? {
            Some(_) => Ok(Some(self.with_own_role(given)?)),
            None => Ok(Some(given)),
        }
    }

    /// Adds role and database of the local node's conninfo to a connection string that names a server without them, as repmgr does.
    ///
    /// # Errors
    /// Exit code 1 without a configuration.
    pub fn with_own_role(&self, given: Conninfo) -> Result<Conninfo> {
        let named = with_role_of(given, &self.local_conninfo()?);
        self.own(&named);
        Ok(named)
    }

    /// Notes a connection string that the user has given to this command.
    pub fn own(&self, conninfo: &Conninfo) {
        let text = conninfo.to_string();
        self.environment.say(|said| {
            if !said.conninfos.contains(&text) {
                said.conninfos.push(text);
            }
        });
    }

    /// Returns the conninfo of the local node.
    ///
    /// # Errors
    /// Exit code 1 without a configuration.
    pub fn local_conninfo(&self) -> Result<Conninfo> {
        let config = self.config()?;
        Conninfo::parse(&config.conninfo).map_err(|error| {
            Error::failed("invalid conninfo in the configuration")
                .detail(crate::error::sentence(&error.to_string()))
        })
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// Why it did not work.
    pub async fn connect(&self, conninfo: &Conninfo) -> std::result::Result<Session, ConnectError> {
        let options = ConnectOptions { deadline: self.node_deadline(), ..ConnectOptions::default() };
        connect(conninfo, &self.environment, &options).await
    }

    /// Connects to the local server.
    ///
    /// # Errors
    /// Exit code 6, with what the server or the network said.
    pub async fn connect_local(&self) -> Result<Session> {
        let conninfo = self.local_conninfo()?;
        let config = self.config()?;
        self.connect(&conninfo).await.map_err(|error| {
            let error = not_connected(&format!("node \"{}\"", config.node_name), error);
            let data = &config.data_directory;
            if data.join("PG_VERSION").exists() && running_postmaster(data).is_none() {
                error.hint(format!(
                    "No server runs on \"{}\"; \"pgbaton node start\" starts it.",
                    data.display()
                ))
            } else {
                error
            }
        })
    }

    /// Returns the warnings about the configuration, which were reported at once, for the answer.
    pub fn take_warnings(&self) -> Vec<Issue> {
        self.warnings.take()
    }

    /// Writes a message of level DEBUG.
    pub fn debug(&self, text: &str) {
        self.messages.debug(text);
    }

    /// Writes a message of level NOTICE that has no detail and no hint.
    pub fn notice(&self, text: &str) {
        self.messages.notice(text, None, None);
    }
}

/// Turns a failed connection into the error of a command that needed it.
pub fn not_connected(whom: &str, error: ConnectError) -> Error {
    Error::new(Exit::Connection, format!("could not connect to {whom}")).because(&error)
}

/// Says what is wrong with a connection string, without repeating a password.
fn check_conninfo(text: &str) -> std::result::Result<(), String> {
    let conninfo = Conninfo::parse(text).map_err(|error| error.to_string())?;
    match conninfo.unknown_keywords().first() {
        Some((keyword, Some(nearest))) => {
            Err(format!("unrecognized connection option \"{keyword}\"; did you mean \"{nearest}\"?"))
        }
        // An option of a newer libpq is left alone: the PostgreSQL tools will judge it.
        _ => Ok(()),
    }
}

/// Adds role and database of one connection string to another one that has none, unless a service may name them.
fn with_role_of(mut given: Conninfo, own: &Conninfo) -> Conninfo {
    if given.get("service").is_none() {
        for keyword in ["user", "dbname"] {
            if let Some(value) = own.get(keyword).filter(|_| given.get(keyword).is_none()) {
                given.set(keyword, value);
            }
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_named_by_its_host_is_asked_as_the_role_of_conninfo() {
        let own = Conninfo::parse("host=h1 port=5433 user=repmgr dbname=meta password=secret").unwrap();
        let named = |text: &str| with_role_of(Conninfo::parse(text).unwrap(), &own).to_string();
        assert_eq!(named("host=h2"), "host=h2 user=repmgr dbname=meta");
        assert_eq!(named("host=h2 user=other"), "host=h2 user=other dbname=meta");
        assert_eq!(named("dbname=x"), "dbname=x user=repmgr");
        assert_eq!(named("service=s"), "service=s");
    }
}
