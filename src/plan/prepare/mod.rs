//! `node prepare`: what a server has and needs for replication, and the plan that adds what is missing.
//!
//! [`PrepareAssessment::of`] judges facts, requirement by requirement, and keeps with each one what would meet it; the table, the plan, the
//! diffs and what is printed for an administrator are all made of that one value.

mod access;
mod plan_builder;
mod roles;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

use crate::facts::prepare::ServerSetup;
use crate::pg::endpoint::Endpoint;
use crate::pg::hba::edit::Line;
use crate::pg::hba::{Connection, Decision, HbaContext, Source, Tls, decide, needs_password};
use crate::pg::passfile::PassfileEntry;
use crate::plan::Check;
use crate::secret::Secret;

pub use plan_builder::{FileChange, Prepared, Printed, included_directory};

/// What a server can be in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerUse {
    /// The primary.
    Primary,
    /// A standby.
    Standby,
    /// A node that is rewound.
    RewindTarget,
    /// A node that another one is rewound from.
    RewindSource,
}

impl ServerUse {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Primary, Self::Standby, Self::RewindTarget, Self::RewindSource];

    /// Returns the word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::RewindTarget => "rewind target",
            Self::RewindSource => "rewind source",
        }
    }
}

/// How a requirement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequirementStatus {
    /// Met.
    Ok,
    /// Not met; `--apply` meets it.
    Missing,
    /// Met as soon as the server is restarted.
    Restart,
    /// Not met, and pgbaton cannot do it.
    Cannot,
}

impl RequirementStatus {
    /// Returns the word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Restart => "restart",
            Self::Cannot => "cannot",
        }
    }
}

/// A requirement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Requirement {
    /// A name for scripts.
    pub name: String,
    /// What it is for.
    #[serde(rename = "for")]
    pub uses: Vec<ServerUse>,
    /// What there is.
    pub has: String,
    /// What there has to be.
    pub needs: String,
    /// How it stands.
    pub status: RequirementStatus,
    /// What meets it: a statement, a line, or a sentence.
    pub how: Option<String>,
}

/// A requirement with what would meet it.
#[derive(Clone, Debug)]
struct Item {
    requirement: Requirement,
    change: Option<Change>,
}

/// What meets a requirement.
#[derive(Clone, Debug)]
enum Change {
    /// A setting.
    Setting {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// It takes effect at a restart only.
        restart: bool,
    },
    /// Statements about roles, anywhere on the server.
    Role(Vec<String>),
    /// The statement that makes the database.
    Database(String),
    /// Statements in the database.
    InDatabase(Vec<String>),
    /// A password is set.
    Password {
        /// The role.
        role: String,
    },
    /// Lines in `pg_hba.conf`.
    Hba(Vec<Line>),
    /// Lines in a password file, or its mode.
    Passfile {
        /// The number of the file in [`PrepareFacts::passfiles`].
        at: usize,
        /// The lines.
        entries: Vec<PassfileEntry>,
    },
}

/// A file as it is.
#[derive(Clone, Debug, Default)]
pub struct FileNow {
    /// Where it really is: no symbolic link.
    pub path: PathBuf,
    /// What is in it; None if it does not exist.
    pub text: Option<String>,
    /// Its permission bits, or those that it gets.
    pub mode: u32,
    /// Why it cannot be changed, as a whole sentence.
    pub closed: Option<String>,
}

/// A node that must be allowed to connect and must be reachable.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name, or the host that was named.
    pub name: String,
    /// What a password file calls it: its host or address.
    pub host: String,
    /// Its port.
    pub port: String,
    /// Where its connections come from, or why that is not known.
    pub sources: Result<Vec<Source>, String>,
    /// Its encryption.
    pub tls: Tls,
    /// It is on this host and stays here: named by a loopback address or a socket.
    pub is_here: bool,
}

/// What is known of a role's password.
#[derive(Clone, Debug)]
pub enum Password {
    /// It was found where libpq finds it, or typed.
    Known(Secret),
    /// It was generated just now.
    Generated(Secret),
    /// It is not known on this host.
    Missing,
    /// There is to be none.
    Unwanted,
}

impl Password {
    /// Returns it, if there is one.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Known(secret) | Self::Generated(secret) => Some(secret),
            Self::Missing | Self::Unwanted => None,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct PrepareRequest {
    /// The node.
    pub node_name: String,
    /// The hosts in its conninfo, with their addresses where they are known.
    pub own_hosts: Vec<String>,
    /// The role of the conninfo.
    pub role: String,
    /// The role that standbys replicate as.
    pub replication_role: String,
    /// The database of the conninfo.
    pub database: String,
    /// All nodes, this one first.
    pub nodes: Vec<Node>,
    /// Networks that may connect instead of the addresses of nodes.
    pub networks: Vec<IpNet>,
    /// How new lines authenticate.
    pub method: String,
    /// The archive command, if it is to be set.
    pub archive_command: Option<String>,
    /// The restore command, if the configuration has one.
    pub restore_command: Option<String>,
    /// Standbys use slots.
    pub slots: bool,
    /// Passwords by role.
    pub passwords: BTreeMap<String, Password>,
    /// `--force`.
    pub force: bool,
}

impl PrepareRequest {
    /// Returns the roles, each once.
    fn roles(&self) -> Vec<&str> {
        let mut out = vec![self.role.as_str()];
        if self.replication_role != self.role {
            out.push(&self.replication_role);
        }
        out
    }

    /// Returns what is known of a role's password.
    fn password(&self, role: &str) -> &Password {
        self.passwords.get(role).unwrap_or(&Password::Missing)
    }
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct PrepareFacts {
    /// The server; None on a host where there is none yet.
    pub set_up: Option<ServerSetup>,
    /// `pg_hba.conf`.
    pub hba: FileNow,
    /// `postgresql.conf`.
    pub conf: FileNow,
    /// The file of our own for settings, where ALTER SYSTEM is not to be had.
    pub own_conf: FileNow,
    /// The directory that `postgresql.conf` includes all files of.
    pub conf_directory: Option<PathBuf>,
    /// `postgresql.auto.conf` cannot be written, and why.
    pub auto_conf_closed: Option<String>,
    /// The files that libpq looks for passwords in.
    pub passfiles: Vec<FileNow>,
    /// What rules mean here.
    pub around: HbaContext,
    /// There are standbys that follow this server already.
    pub has_standbys: bool,
}

/// Where statements are run.
#[derive(Clone, Debug)]
pub struct PrepareEndpoints {
    /// The server, as the superuser.
    pub server: Endpoint,
    /// The database of the metadata, as the superuser.
    pub database: Endpoint,
    /// The server as the role will reach it.
    pub own: Endpoint,
}

/// All that was judged.
#[derive(Debug)]
pub struct PrepareAssessment<'a> {
    facts: &'a PrepareFacts,
    wanted: &'a PrepareRequest,
    items: Vec<Item>,
    checks: Vec<Check>,
    /// The block in `pg_hba.conf` has to be moved before the first rule.
    to_top: bool,
}

impl<'a> PrepareAssessment<'a> {
    /// Judges what there is.
    pub fn of(facts: &'a PrepareFacts, wanted: &'a PrepareRequest) -> Self {
        let mut work = Self { facts, wanted, items: Vec::new(), checks: Vec::new(), to_top: false };
        if let Some(set_up) = &facts.set_up {
            work.settings(set_up);
            if !set_up.in_recovery {
                work.roles(set_up);
            }
            work.hba(set_up);
            work.passwords(set_up);
        }
        work.passfiles();
        work
    }

    /// Returns the requirements.
    pub fn requirements(&self) -> Vec<Requirement> {
        self.items.iter().map(|item| item.requirement.clone()).collect()
    }

    /// Returns the settings that take effect at a restart only, changed by now or before.
    pub fn restarts(&self) -> Vec<String> {
        let waits = |item: &&Item| match &item.change {
            Some(Change::Setting { restart, .. }) => *restart,
            _ => item.requirement.status == RequirementStatus::Restart,
        };
        self.items.iter().filter(waits).map(|item| item.requirement.name.clone()).collect()
    }

    /// Says whether a password is needed that was not given.
    pub fn lacks_password(&self) -> bool {
        self.checks.iter().any(|check| check.name == "password") && self.wanted.lacks_password()
    }

    fn add(&mut self, requirement: Requirement, change: Option<Change>) {
        self.items.push(Item { requirement, change });
    }

    /// Whether this server's connections ask for a password, by the rules that there are or will be.
    fn asks_for_password(&self) -> bool {
        let Some(set_up) = &self.facts.set_up else {
            return !matches!(self.wanted.password(&self.wanted.role), Password::Unwanted);
        };
        // Without the privilege to see the rules this is unknown.
        let Some(rules) = &set_up.rules else { return false };
        let by_rule = |connection: &Connection| match decide(
            rules,
            connection,
            &self.facts.around,
            &self.wanted.method,
        ) {
            Decision::LetIn(rule) => rule.auth_method.clone().unwrap_or_default(),
            _ => self.wanted.method.clone(),
        };
        self.connections().iter().any(|connection| needs_password(&by_rule(connection)))
    }
}

#[cfg(test)]
mod tests;
