//! Effects and questions: the closed vocabulary that plans are written in.

use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::{Endpoint, Upstream};
use crate::pg::lsn::Lsn;
use crate::pg::quote::quote_literal;
use crate::pg::statement::Statement;
use crate::plan::file_op::FileOp;
use crate::plan::final_check::FinalCheck;
use crate::plan::keep_down::KeepDown;
use crate::plan::parts::events::PlannedEvent;
use crate::plan::probe::Probe;
use crate::registry::operation::Scope;
use crate::system::command::Command;

/// One mechanical effect, complete enough to show, perform or replay.
///
/// No variant holds a password: secrets are named, and the world resolves the name when it performs the effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
pub enum Op {
    /// Run a program and wait for it.
    Run(Command),
    /// Run statements on a server: several in one transaction, one by itself.
    Sql {
        /// The server.
        on: Endpoint,
        /// The statements, in order.
        statements: Vec<Statement>,
    },
    /// Send the postmaster of a data directory a signal, if one runs, and wait for nothing.
    Signal {
        /// The data directory.
        data_directory: PathBuf,
        /// What the signal asks for.
        request: SignalRequest,
    },
    /// Start a program and wait for nothing: what it brings about is waited for.
    #[serde(rename = "begin")]
    Spawn(Command),
    /// Bring a server back as the primary that it was, unless another node is a primary or has a newer timeline, which is asked from its
    /// host immediately before: one that takes connections is left alone; one that lingers on its way down, or is still writing, is ended
    /// at once, and so is one that was started as a standby meanwhile; then `standby.signal` is removed, and it is started.
    #[serde(rename = "revive")]
    RestartAsPrimary {
        /// The data directory.
        data_directory: PathBuf,
        /// The command that starts it.
        start: Command,
    },
    /// Promote a standby and wait until it accepts writes, waking its startup process by reloads.
    Promote {
        /// The standby.
        on: Endpoint,
        /// The user's own command for it, instead of `pg_promote()`.
        command: Option<Command>,
        /// What is looked at immediately before the request; None in a journal of version 0.1.0, from which nothing is promoted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        look: Option<FinalCheck>,
    },
    /// Record in `pgbaton.operation` that this operation begins.
    Announce {
        /// The primary.
        on: Endpoint,
        /// What makes the table, or adds columns that it lacks.
        prepare: Vec<Statement>,
        /// What it is about; None where the table does not have columns for it.
        scope: Option<Scope>,
    },
    /// Make a standby, or a server that is to start as one, follow another upstream.
    ///
    /// In its current `primary_conninfo` only the address is replaced; a server that has none gets the whole.
    Follow {
        /// The server.
        standby: Standby,
        /// The upstream to follow.
        upstream: Upstream,
    },
    /// Archive segments that wait for it and end before a position, as the server would have done.
    ///
    /// A segment with WAL beyond that position must not get into the archive, where others would find it in place of the right one.
    ArchiveWal {
        /// The data directory.
        data_directory: PathBuf,
        /// `archive_command`.
        command: String,
        /// Where the WAL ends that may be archived.
        until: Lsn,
    },
    /// Run pg_rewind. What an earlier attempt has destroyed that it needs is copied back first.
    Rewind {
        /// pg_rewind.
        command: Command,
        /// The data directory.
        data_directory: PathBuf,
        /// Where `SaveWal` has put its copies.
        kept: PathBuf,
    },
    /// Drop a failover slot that a former primary has kept, which ends the synchronization of slots there; only if the new primary has one
    /// of that name and plugin that is usable and as far. Where it has not, the slot stays, and is named.
    DropKeptSlot {
        /// The former primary, a standby by now.
        on: Endpoint,
        /// The new primary.
        primary: Endpoint,
        /// The slot.
        slot: String,
    },
    /// Record an event and run the user's notification command. Failures are ignored: what happened has happened.
    #[serde(rename = "tell")]
    Notify {
        /// The primary, where the event is recorded.
        on: Endpoint,
        /// The event.
        #[serde(rename = "tell")]
        event: PlannedEvent,
    },
    /// Keep the server of the old primary from starting as a primary, on its host: `standby.signal` is written where it is missing, and then it
    /// is looked whether the server is down, or a standby.
    KeepDown(Box<KeepDown>),
    /// Take that back, on its host: the file is removed if it is the one that was written, the server is no standby by now, and no other node
    /// is a primary or has a newer timeline.
    LetStart(Box<KeepDown>),
    /// Wait until a question is answered with yes.
    Wait(Probe),
    /// Change files or directories. Stored as the file operation itself.
    #[serde(skip)]
    File(FileOp),
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(op) => op.serialize(serializer),
            // The derived method of that name, not this one: see `remote` above.
            other => Self::serialize(other, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Value::deserialize(deserializer)?;
        // The name decides, so that the error is that of the right one; an untagged variant would report none.
        let name = stored.as_object().and_then(|operation| operation.keys().next());
        let op = match name {
            Some(name) if FileOp::NAMES.contains(&name.as_str()) => {
                FileOp::deserialize(stored).map(Self::File)
            }
            _ => Self::deserialize(stored),
        };
        op.map_err(D::Error::custom)
    }
}

/// What a signal asks a postmaster for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalRequest {
    /// To end all sessions, write a checkpoint and end.
    FastShutdown,
    /// To end at once, without a checkpoint.
    ImmediateShutdown,
    /// To read its configuration again.
    Reload,
}

/// A server whose upstream is to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standby {
    /// A running one, which is changed by `ALTER SYSTEM` and a reload.
    Running(Endpoint),
    /// A data directory, whose `postgresql.auto.conf` is written. A server that runs on it is not reloaded. What would end the recovery of
    /// a standby that starts there is cleared on that occasion.
    Files {
        /// The data directory.
        data_directory: PathBuf,
        /// The program `postgres`, which can print the current setting, wherever it is set.
        postgres: String,
        /// Where postgresql.conf is, if not there.
        config_directory: Option<PathBuf>,
    },
}

/// A `name = 'value'` line of a PostgreSQL configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The parameter.
    pub name: String,
    /// The value, in pieces because a part of it may be a secret.
    pub value: Vec<ValuePart>,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValuePart {
    /// As it stands.
    Text(String),
    /// The secret of that name, quoted as a conninfo value.
    Secret(String),
}

impl Setting {
    /// A setting without secrets.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: vec![ValuePart::Text(value.into())] }
    }
}

impl fmt::Display for Op {
    /// Writes what is done, in one line, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(command) => command.fmt(f),
            Self::Sql { on, statements } => {
                write!(f, "{}: ", on.name)?;
                for (i, statement) in statements.iter().enumerate() {
                    write!(f, "{}{statement}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::DropKeptSlot { on, slot, .. } => {
                write!(f, "{}: SELECT pg_drop_replication_slot({})", on.name, quote_literal(slot))
            }
            Self::Signal { data_directory, request } => {
                let signal = match request {
                    SignalRequest::FastShutdown => "INT",
                    SignalRequest::ImmediateShutdown => "QUIT",
                    SignalRequest::Reload => "HUP",
                };
                write!(f, "kill -{signal} $(head -1 {}/postmaster.pid)", data_directory.display())
            }
            Self::Spawn(command) => write!(f, "{command} &"),
            Self::RestartAsPrimary { data_directory, start } => {
                write!(
                    f,
                    "kill -QUIT $(head -1 {0}/postmaster.pid), if it is stopping or a standby; rm {0}/standby.signal; {start}",
                    data_directory.display()
                )
            }
            Self::Announce { on, prepare, .. } => {
                write!(f, "{}: ", on.name)?;
                for statement in prepare {
                    write!(f, "{statement}; ")?;
                }
                f.write_str("INSERT INTO pgbaton.operation")
            }
            Self::Promote { on, command: Some(command), .. } => write!(f, "{command} (for {})", on.name),
            Self::Promote { on, command: None, .. } => write!(f, "{}: SELECT pg_promote(false)", on.name),
            Self::Follow { standby, upstream } => {
                match standby {
                    Standby::Running(on) => write!(f, "{}: ", on.name)?,
                    Standby::Files { data_directory, .. } => {
                        write!(f, "write {}/postgresql.auto.conf: ", data_directory.display())?;
                    }
                }
                let slot = upstream.slot.as_deref().unwrap_or("");
                // The way is all that is replaced where there is a conninfo.
                let way = Conninfo::parse(&upstream.conninfo)
                    .map(|wanted| Conninfo::default().leading_to(&wanted).to_string())
                    .unwrap_or_default();
                write!(f, "primary_conninfo to {} ({way}), primary_slot_name = '{slot}'", upstream.name)
            }
            Self::ArchiveWal { command, until, .. } => write!(f, "{command} (for segments before {until})"),
            Self::Rewind { command, .. } => command.fmt(f),
            Self::Notify { on, event } => {
                write!(f, "{}: record event {}; run event_notification_command", on.name, event.event)
            }
            Self::KeepDown(keep) => keep.write_step(f),
            Self::LetStart(keep) => keep.write_back(f),
            Self::Wait(probe) => write!(f, "wait until {probe}"),
            Self::File(op) => op.fmt(f),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value: String = self
            .value
            .iter()
            .map(|piece| match piece {
                ValuePart::Text(text) => text.as_str(),
                ValuePart::Secret(_) => "********",
            })
            .collect();
        write!(f, "{} = '{}'", self.name, value.replace('\'', "''"))
    }
}
