//! The names of the checks: one table, from which options, labels and the manual follow.

use serde::{Serialize, Serializer};

/// What has to be known for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckNeeds {
    /// Files and programs of the node's host; the server may be down.
    Host,
    /// What the node's server says.
    Server,
    /// What all nodes say.
    Cluster,
    /// What all nodes say, and the node's host.
    Everything,
}

impl CheckNeeds {
    /// Says whether the node's host has to be looked at.
    pub fn host(self) -> bool {
        matches!(self, Self::Host | Self::Everything)
    }

    /// Says whether all nodes have to be queried.
    pub fn cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::Everything)
    }

    /// Says whether the node's server has to be queried.
    pub fn server(self) -> bool {
        self != Self::Host
    }
}

/// Makes the enum and everything that is said about its members from one table.
macro_rules! names {
    ($($name:ident, $text:literal, $option:literal, $item:literal, $nagios:literal, $needs:ident, $meaning:literal;)+) => {
        /// A check. The names are fixed: monitoring depends on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum CheckName {
            $(#[doc = $meaning] $name,)+
        }

        impl CheckName {
            /// All of them, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the name for programs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Returns the option of `node check` for this check alone.
            pub fn option(self) -> &'static str {
                match self { $(Self::$name => $option,)+ }
            }

            /// Returns what it is called in the overview.
            pub fn item(self) -> &'static str {
                match self { $(Self::$name => $item,)+ }
            }

            /// Returns the first word of its line for Nagios.
            pub fn nagios(self) -> &'static str {
                match self { $(Self::$name => $nagios,)+ }
            }

            /// Returns what has to be known.
            pub fn needs(self) -> CheckNeeds {
                match self { $(Self::$name => CheckNeeds::$needs,)+ }
            }

            /// Returns what it is about, for the manual.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

// The first eight are the overview of repmgr, with repmgr's words.
names! {
    ServerRole, "server_role", "--role", "Server role", "REPMGR_SERVER_ROLE", Cluster,
        "its role is the registered one, and a primary is the only one";
    ReplicationLag, "replication_lag", "--replication-lag", "Replication lag", "REPMGR_REPLICATION_LAG", Cluster,
        "how far a standby lags behind the primary (replication_lag_warning, replication_lag_critical)";
    ArchiveReady, "archive_ready", "--archive-ready", "WAL archiving", "REPMGR_ARCHIVE_READY", Server,
        "WAL files waiting to be archived (archive_ready_warning, archive_ready_critical)";
    Upstream, "upstream", "--upstream", "Upstream connection", "REPMGR_UPSTREAM_SERVER", Cluster,
        "a standby streams from its registered upstream";
    Downstream, "downstream", "--downstream", "Downstream servers", "REPMGR_DOWNSTREAM_SERVERS", Cluster,
        "all standbys registered with it as upstream stream from it";
    Slots, "slots", "--slots", "Replication slots", "REPMGR_INACTIVE_SLOTS", Server,
        "its physical replication slots are in use";
    MissingSlots, "missing_slots", "--missing-slots", "Missing physical replication slots", "REPMGR_MISSING_SLOTS", Cluster,
        "the replication slots of its registered standbys exist";
    DataDirectory, "data_directory", "--data-directory-config", "Configured data directory", "REPMGR_DATA_DIRECTORY", Everything,
        "the configuration names the data directory of the running server";
    Repmgrd, "repmgrd", "--repmgrd", "repmgrd", "REPMGRD", Server,
        "repmgrd is running and not paused; only if it is requested";
    DbConnection, "db_connection", "--db-connection", "Connection", "PGBATON_CONNECTION", Server,
        "pgbaton can connect to the server";
    Identity, "identity", "--identity", "Identity", "PGBATON_IDENTITY", Cluster,
        "its conninfo leads to a server of this cluster that no other node is registered with";
    ServerVersion, "server_version", "--server-version", "Server version", "PGBATON_SERVER_VERSION", Cluster,
        "the same major version as the primary";
    Timeline, "timeline", "--timeline", "Timeline", "PGBATON_TIMELINE", Cluster,
        "it has not diverged from the primary";
    Replay, "replay", "--replay", "WAL replay", "PGBATON_REPLAY", Cluster,
        "replay of WAL is not paused";
    WalRetained, "wal_retained", "--wal-retained", "WAL retained by slots", "PGBATON_WAL_RETAINED", Server,
        "size of the WAL retained by replication slots (slot_wal_warning, slot_wal_critical), and whether a slot has lost WAL";
    LogicalSlots, "logical_slots", "--logical-slots", "Logical replication slots", "PGBATON_LOGICAL_SLOTS", Cluster,
        "its logical slots are usable, or on a standby its synchronized copies";
    Archiver, "archiver", "--archiver", "Archiver", "PGBATON_ARCHIVER", Server,
        "WAL archiving works";
    PendingRestart, "pending_restart", "--pending-restart", "Settings waiting for a restart", "PGBATON_PENDING_RESTART", Server,
        "no changed setting requires a restart";
    StandbySettings, "standby_settings", "--standby-settings", "Settings against the primary", "PGBATON_STANDBY_SETTINGS", Cluster,
        "settings that must be at least as high on a standby as on the primary are so";
    Rewind, "rewind", "--rewind", "Rewind", "PGBATON_REWIND", Everything,
        "pg_rewind would be possible: settings, privileges and files";
    ReplicationLogin, "replication_login", "--replication-login", "Replication logins", "PGBATON_REPLICATION_LOGIN", Everything,
        "its WAL receiver could log in to every other node";
    Clock, "clock", "--clock", "Clock", "PGBATON_CLOCK", Cluster,
        "its clock agrees with the primary's (warning from 1 s, critical from 10 s)";
    FreeSpace, "free_space", "--free-space", "Free disk space", "PGBATON_FREE_SPACE", Host,
        "free disk space for the data directory, pg_wal and tablespaces (free_space_warning, free_space_critical)";
    UnfinishedOperation, "unfinished_operation", "--unfinished-operation", "Unfinished operation", "PGBATON_UNFINISHED_OPERATION", Host,
        "no interrupted operation of it has to be resumed or abandoned";
    StandbySignal, "standby_signal", "--standby-signal", "Role at the next start", "PGBATON_STANDBY_SIGNAL", Host,
        "a standby has standby.signal, and would start as one; a primary has none";
    Daemon, "daemon", "--daemon", "Daemon", "PGBATON_DAEMON", Cluster,
        "with automatic failover: its daemon is running and not paused, the leader holds all votes, and the fencer lacks nothing";
}

impl CheckName {
    /// Says whether it is made where none is named. repmgrd is not: who has none would never be well.
    pub fn is_usual(self) -> bool {
        self != Self::Repmgrd
    }

    /// Finds a check by its option.
    pub fn of_option(option: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.option() == option)
    }
}

impl Serialize for CheckName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_checks_have_one_name() {
        for words in [CheckName::as_str, CheckName::option, CheckName::item, CheckName::nagios] {
            let all: BTreeSet<&str> = CheckName::ALL.iter().map(|name| words(*name)).collect();
            assert_eq!(all.len(), CheckName::ALL.len());
        }
        for name in CheckName::ALL {
            assert_eq!(CheckName::of_option(name.option()), Some(*name));
        }
    }
}
