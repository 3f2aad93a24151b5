//! `pgbaton node check` and `pgbaton cluster check`

use clap::{Args, ValueEnum};

/// What of a node is checked, and how it is told.
#[derive(Args, Debug, Default)]
pub struct NodeCheck {
    /// It is what it is registered as, and a primary is the only one; with a role, it has this one
    #[arg(long, value_enum, ignore_case = true, value_name = "ROLE", num_args = 0..=1, require_equals = true, help_heading = "Checks")]
    pub role: Option<Option<Role>>,

    /// How far a standby is behind the primary
    #[arg(long, help_heading = "Checks")]
    pub replication_lag: bool,

    /// WAL files that wait to be archived
    #[arg(long, help_heading = "Checks")]
    pub archive_ready: bool,

    /// A standby streams from the node that it is registered to follow
    #[arg(long, help_heading = "Checks")]
    pub upstream: bool,

    /// The standbys that are registered to follow it stream from it
    #[arg(long, help_heading = "Checks")]
    pub downstream: bool,

    /// Its physical replication slots are in use
    #[arg(long, help_heading = "Checks")]
    pub slots: bool,

    /// The slots of the standbys that are registered to follow it exist
    #[arg(long, help_heading = "Checks")]
    pub missing_slots: bool,

    /// The configuration names the data directory of the running server
    #[arg(long, help_heading = "Checks")]
    pub data_directory_config: bool,

    /// repmgrd is running and not paused; the only check that is made only if it is named
    #[arg(long, help_heading = "Checks")]
    pub repmgrd: bool,

    /// The server lets pgbaton in
    #[arg(long, help_heading = "Checks")]
    pub db_connection: bool,

    /// Its conninfo leads to a server of this cluster that no other node has
    #[arg(long, help_heading = "Checks")]
    pub identity: bool,

    /// It has the same major version as the primary
    #[arg(long, help_heading = "Checks")]
    pub server_version: bool,

    /// Its history is the primary's
    #[arg(long, help_heading = "Checks")]
    pub timeline: bool,

    /// Replay of WAL is not paused
    #[arg(long, help_heading = "Checks")]
    pub replay: bool,

    /// WAL that replication slots keep, and whether one has lost some
    #[arg(long, help_heading = "Checks")]
    pub wal_retained: bool,

    /// Its logical replication slots are usable, or its copies of the primary's are
    #[arg(long, help_heading = "Checks")]
    pub logical_slots: bool,

    /// The archiver does not fail
    #[arg(long, help_heading = "Checks")]
    pub archiver: bool,

    /// No setting waits for a restart
    #[arg(long, help_heading = "Checks")]
    pub pending_restart: bool,

    /// Settings that must not be lower on a standby than on the primary are not
    #[arg(long, help_heading = "Checks")]
    pub standby_settings: bool,

    /// pg_rewind would be possible: settings, rights and files
    #[arg(long, help_heading = "Checks")]
    pub rewind: bool,

    /// Its WAL receiver could log in to every other node
    #[arg(long, help_heading = "Checks")]
    pub replication_login: bool,

    /// Its clock agrees with the primary's
    #[arg(long, help_heading = "Checks")]
    pub clock: bool,

    /// Free space below the data directory, pg_wal and tablespaces
    #[arg(long, help_heading = "Checks")]
    pub free_space: bool,

    /// No operation waits on this node to be resumed or abandoned
    #[arg(long, help_heading = "Checks")]
    pub unfinished_operation: bool,

    /// A standby has standby.signal and would start as one; a primary has none
    #[arg(long, help_heading = "Checks")]
    pub standby_signal: bool,

    /// Print a line for Nagios, with performance data
    #[arg(long)]
    pub nagios: bool,

    /// Print a line for the repmgr of another node
    #[arg(long, hide = true, conflicts_with = "nagios")]
    pub optformat: bool,

    /// Whether passwords can come from a password file
    #[arg(long, hide = true)]
    pub has_passfile: bool,

    /// Whether the WAL receiver could log in to one node
    #[arg(long, hide = true)]
    pub replication_connection: bool,

    /// That node
    #[arg(long, hide = true, value_name = "N")]
    pub remote_node_id: Option<i32>,

    /// Whether the configuration that ALTER SYSTEM writes belongs to the user that runs the server
    #[arg(long, hide = true)]
    pub replication_config_owner: bool,
}

/// What a node can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Takes writes, as the only one
    #[value(alias = "master")]
    Primary,
    /// Follows another node
    Standby,
    /// Holds no data of the cluster
    Witness,
}

/// How a cluster is checked, and how it is told.
#[derive(Args, Debug, Default)]
pub struct ClusterCheck {
    /// Do without ssh: what only another host can tell is not known then
    #[arg(long)]
    pub no_ssh: bool,

    /// Print one line for Nagios, with performance data
    #[arg(long)]
    pub nagios: bool,
}
