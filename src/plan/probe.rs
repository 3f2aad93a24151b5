//! Questions: read-only, written once and used for waiting, for resuming and for the final verification.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::pg::endpoint::Endpoint;
use crate::pg::history::{Switch, TimelineId};
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;
use crate::plan::FinalCheck;

/// A read-only question, written once and used for waiting, for resuming and for the final verification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A query whose one value is `t`.
    Sql {
        /// What it means when it holds: `slot "repmgr_slot_2" exists`.
        says: String,
        /// The server.
        on: Endpoint,
        /// The query.
        statement: Statement,
    },
    /// A server answers queries, on this role if one is given.
    Accepts {
        /// The server.
        on: Endpoint,
        /// In recovery (a standby), not in recovery (a primary), or either.
        in_recovery: Option<bool>,
    },
    /// The server does not respond as a primary, nor with an error that a primary may give, such as "too many clients".
    NoPrimary {
        /// The server.
        on: Endpoint,
    },
    /// A file or directory exists.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A server runs on a data directory and has said that it is up: it accepts connections, or never will, as `hot_standby` is off.
    /// Whether it accepts our connection is another question.
    Ready {
        /// The data directory.
        data_directory: PathBuf,
    },
    /// No process runs on a data directory.
    Stopped {
        /// The data directory.
        data_directory: PathBuf,
    },
    /// A server runs on a data directory, and by its `pg_control` as a standby or as a primary. One that is on its way down still runs.
    Runs {
        /// The data directory.
        data_directory: PathBuf,
        /// As a standby; else as anything else.
        in_recovery: bool,
    },
    /// `pg_control` says that the server was shut down cleanly as a primary. It may say so while WAL senders and the archiver still run.
    ShutDown {
        /// The data directory.
        data_directory: PathBuf,
    },
    /// The same, and `standby.signal` is there; and the far end that is asked does not start it by itself from then on. Asked immediately
    /// before another server is promoted.
    StaysDown {
        /// The data directory.
        data_directory: PathBuf,
    },
    /// `pg_control` says that the server was shut down cleanly, as a primary or as a standby.
    Clean {
        /// The data directory.
        data_directory: PathBuf,
    },
    /// `pg_control` says that pg_rewind has done its work, which it writes there last; or a server may start there, which is allowed
    /// only after that.
    Rewound {
        /// The data directory.
        data_directory: PathBuf,
    },
    /// The WAL of a data directory has no more than so many commits after a position.
    CommitsAtMost {
        /// The data directory.
        data_directory: PathBuf,
        /// Its timeline.
        timeline: TimelineId,
        /// Where that comes from.
        switches: Vec<Switch>,
        /// The position, in bytes.
        after: Lsn,
        /// How many.
        count: u64,
    },
    /// A standby has received all WAL of a primary that was shut down cleanly, the record of the shutdown checkpoint included.
    HasAll {
        /// The standby.
        on: Endpoint,
        /// The node that was shut down, if it is not this one.
        node_id: Option<i32>,
        /// Its data directory.
        data_directory: PathBuf,
    },
    /// No other node that responds is a primary or on a newer timeline.
    Unchallenged {
        /// The nodes.
        look: FinalCheck,
    },
    /// The opposite, for a wait that it ends.
    Challenged {
        /// The nodes.
        look: FinalCheck,
    },
    /// A server has not responded once in this time, whatever the reason: it is down, frozen or cut off.
    Silent {
        /// The server.
        on: Endpoint,
        /// How long it is asked.
        seconds: u32,
    },
    /// Something has held at each check during this time.
    Lasts {
        /// How long.
        seconds: u32,
        /// The question.
        probe: Box<Probe>,
    },
    /// One of these holds; one without an answer does not.
    Any(Vec<Probe>),
    /// A standby is a standby, and no promotion of it is requested: by its own answer, or if it does not respond, by its files on this
    /// host.
    StaysStandby {
        /// The standby.
        on: Endpoint,
        /// Its data directory.
        data_directory: PathBuf,
    },
    /// A server's copy of the metadata has the record of this operation.
    Announced {
        /// The server.
        on: Endpoint,
    },
    /// Something does not hold.
    Not(Box<Probe>),
    /// Something holds on the host of another node.
    At {
        /// The node.
        node_id: i32,
        /// The question.
        probe: Box<Probe>,
    },
}

impl Probe {
    /// Writes what it means when the answer is no.
    fn write_opposite(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { path } => write!(f, "\"{}\" does not exist", path.display()),
            Self::Stopped { data_directory } => {
                write!(f, "a server runs on \"{}\"", data_directory.display())
            }
            Self::Runs { data_directory, in_recovery } => {
                let role = if *in_recovery { "standby" } else { "primary" };
                write!(f, "no server runs on \"{}\" as a {role}", data_directory.display())
            }
            Self::At { probe, .. } => probe.write_opposite(f),
            other => write!(f, "it is not the case that {other}"),
        }
    }
}

impl fmt::Display for Probe {
    /// Writes what it means when the answer is yes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql { says, .. } => f.write_str(says),
            Self::Accepts { on, in_recovery: None } => write!(f, "{} accepts connections", on.name),
            Self::Accepts { on, in_recovery: Some(true) } => {
                write!(f, "{} accepts connections as a standby", on.name)
            }
            Self::Accepts { on, in_recovery: Some(false) } => {
                write!(f, "{} accepts connections as a primary", on.name)
            }
            Self::NoPrimary { on } => write!(f, "{} does not respond as a primary", on.name),
            Self::Exists { path } => write!(f, "\"{}\" exists", path.display()),
            Self::Ready { data_directory } => {
                write!(f, "the server on \"{}\" is up", data_directory.display())
            }
            Self::Stopped { data_directory } => {
                write!(f, "no server runs on \"{}\"", data_directory.display())
            }
            Self::Runs { data_directory, in_recovery } => {
                let role = if *in_recovery { "standby" } else { "primary" };
                write!(f, "a server runs on \"{}\" as a {role}", data_directory.display())
            }
            Self::ShutDown { data_directory } => {
                write!(f, "the server on \"{}\" has been shut down cleanly", data_directory.display())
            }
            Self::StaysDown { data_directory } => {
                write!(
                    f,
                    "the server on \"{}\" has been shut down cleanly and can only start as a standby",
                    data_directory.display()
                )
            }
            Self::Clean { data_directory } => {
                write!(
                    f,
                    "the server on \"{}\" was shut down cleanly, as a primary or as a standby",
                    data_directory.display()
                )
            }
            Self::Rewound { data_directory } => {
                write!(f, "pg_rewind has completed on \"{}\"", data_directory.display())
            }
            Self::CommitsAtMost { after, count: 0, .. } => {
                write!(f, "no transaction was committed after {after}")
            }
            Self::CommitsAtMost { after, count, .. } => {
                write!(f, "at most {count} transactions were committed after {after}")
            }
            Self::HasAll { on, data_directory, .. } => {
                write!(
                    f,
                    "{} has received all WAL of the server on \"{}\"",
                    on.name,
                    data_directory.display()
                )
            }
            Self::Unchallenged { .. } => f.write_str("no other node is a primary or on a newer timeline"),
            Self::Challenged { .. } => f.write_str("another node is a primary or on a newer timeline"),
            Self::Silent { on, seconds } => write!(f, "{} has not responded for {seconds} s", on.name),
            Self::Lasts { seconds, probe } => write!(f, "{probe} (for {seconds} s)"),
            Self::Any(probes) => {
                for (i, probe) in probes.iter().enumerate() {
                    write!(f, "{}{probe}", if i == 0 { "" } else { ", or " })?;
                }
                Ok(())
            }
            Self::StaysStandby { on, .. } => {
                write!(f, "{} is a standby, and no promotion of it has been requested", on.name)
            }
            Self::Announced { on } => write!(f, "{} has received the record of this operation", on.name),
            Self::Not(probe) => probe.write_opposite(f),
            Self::At { probe, .. } => probe.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{could_not, did_not};

    #[test]
    fn the_opposite_of_a_condition_is_a_clause_too() {
        let data_directory = PathBuf::from("/data");
        let not = |probe: Probe| Probe::Not(Box::new(probe)).to_string();
        assert_eq!(
            not(Probe::Exists { path: "/data/standby.signal".into() }),
            "\"/data/standby.signal\" does not exist"
        );
        let runs = Probe::Runs { data_directory: data_directory.clone(), in_recovery: false };
        let there = Probe::At { node_id: 1, probe: Box::new(runs) };
        assert_eq!(not(there), "no server runs on \"/data\" as a primary");
        let stopped = Probe::Stopped { data_directory };
        assert_eq!(not(stopped.clone()), "a server runs on \"/data\"");
        let lasts = Probe::Lasts { seconds: 3, probe: Box::new(stopped) };
        assert_eq!(lasts.to_string(), "no server runs on \"/data\" (for 3 s)");
    }

    #[test]
    fn the_failure_of_a_step_names_what_was_given_up() {
        let wait = "wait until \"node2\" has received all WAL";
        let given_up = "gave up waiting until \"node2\" has received all WAL";
        assert_eq!((could_not(wait), did_not(wait)), (given_up.to_string(), given_up.to_string()));
        assert_eq!(could_not("promote \"node2\""), "could not promote \"node2\"");
        assert_eq!(did_not("promote \"node2\""), "did not promote \"node2\"");
    }
}
