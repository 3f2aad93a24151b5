//! `pgbaton node check` and `pgbaton cluster check`

use clap::{Args, ValueEnum};

/// What is checked on a node, and how it is reported.
#[derive(Args, Debug, Default)]
pub struct NodeCheck {
    /// Its role is the registered one, or ROLE; a primary is the only one
    #[arg(long, value_enum, ignore_case = true, value_name = "ROLE", num_args = 0..=1, require_equals = true, help_heading = "Checks")]
    pub role: Option<Option<Role>>,

    /// How far a standby lags behind the primary
    #[arg(long, help_heading = "Checks")]
    pub replication_lag: bool,

    /// Number of WAL files waiting to be archived
    #[arg(long, help_heading = "Checks")]
    pub archive_ready: bool,

    /// A standby streams from its registered upstream
    #[arg(long, help_heading = "Checks")]
    pub upstream: bool,

    /// All standbys registered with it as upstream stream from it
    #[arg(long, help_heading = "Checks")]
    pub downstream: bool,

    /// Its physical replication slots are in use
    #[arg(long, help_heading = "Checks")]
    pub slots: bool,

    /// The replication slots of its registered standbys exist
    #[arg(long, help_heading = "Checks")]
    pub missing_slots: bool,

    /// The configuration names the data directory of the running server
    #[arg(long, help_heading = "Checks")]
    pub data_directory_config: bool,

    /// repmgrd is running and not paused; this check runs only if it is requested
    #[arg(long, help_heading = "Checks")]
    pub repmgrd: bool,

    /// pgbaton can connect to the server
    #[arg(long, help_heading = "Checks")]
    pub db_connection: bool,

    /// Its conninfo leads to a server of this cluster that no other node is registered with
    #[arg(long, help_heading = "Checks")]
    pub identity: bool,

    /// It has the same major version as the primary
    #[arg(long, help_heading = "Checks")]
    pub server_version: bool,

    /// It has not diverged from the primary
    #[arg(long, help_heading = "Checks")]
    pub timeline: bool,

    /// Replay of WAL is not paused
    #[arg(long, help_heading = "Checks")]
    pub replay: bool,

    /// Size of the WAL retained by replication slots, and whether a slot has lost WAL
    #[arg(long, help_heading = "Checks")]
    pub wal_retained: bool,

    /// Its logical replication slots are usable, or on a standby its synchronized copies
    #[arg(long, help_heading = "Checks")]
    pub logical_slots: bool,

    /// WAL archiving works
    #[arg(long, help_heading = "Checks")]
    pub archiver: bool,

    /// No changed setting requires a restart
    #[arg(long, help_heading = "Checks")]
    pub pending_restart: bool,

    /// Settings that must be at least as high on a standby as on the primary are so
    #[arg(long, help_heading = "Checks")]
    pub standby_settings: bool,

    /// pg_rewind would be possible: settings, privileges and files
    #[arg(long, help_heading = "Checks")]
    pub rewind: bool,

    /// Its WAL receiver could log in to every other node
    #[arg(long, help_heading = "Checks")]
    pub replication_login: bool,

    /// Its clock agrees with the primary's
    #[arg(long, help_heading = "Checks")]
    pub clock: bool,

    /// Free disk space for the data directory, pg_wal and tablespaces
    #[arg(long, help_heading = "Checks")]
    pub free_space: bool,

    /// No interrupted operation of this node has to be resumed or abandoned
    #[arg(long, help_heading = "Checks")]
    pub unfinished_operation: bool,

    /// A standby has standby.signal and would start as one; a primary has none
    #[arg(long, help_heading = "Checks")]
    pub standby_signal: bool,

    /// With automatic failover: its daemon is running and not paused, and the leader holds all votes
    #[arg(long, help_heading = "Checks")]
    pub daemon: bool,

    /// Print one line for Nagios, with performance data
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
    /// The only node that accepts writes
    #[value(alias = "master")]
    Primary,
    /// Follows another node
    Standby,
    /// Holds no data of the cluster
    Witness,
}

/// How a cluster is checked, and how it is reported.
#[derive(Args, Debug, Default)]
pub struct ClusterCheck {
    /// Do not use ssh: checks that need another host are then unknown
    #[arg(long)]
    pub no_ssh: bool,

    /// Print one line for Nagios, with performance data
    #[arg(long)]
    pub nagios: bool,
}
