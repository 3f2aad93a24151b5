//! `pgbaton standby …`

use clap::{Args, Subcommand, ValueEnum};

use super::node::Rejoin;

/// Clone, register, promote, switch over, repoint or rewind a standby.
#[derive(Debug, Subcommand)]
pub enum Standby {
    /// Copy a running server into an empty data directory, as its standby
    ///
    /// The server to copy is named by -h (with -p, -U, -d) or as the first argument. The copy is made in the subdirectory
    /// pgbaton_clone of the data directory and moved up when it is complete; until then no server starts on it. The next clone takes over an
    /// interrupted one.
    Clone(Clone),
    /// Register this standby in the metadata
    ///
    /// Safe to repeat. The upstream is the node that this standby streams from, unless one is named. The metadata is read from this standby,
    /// or from the node that is named by -h (with -p, -U, -d).
    Register(Register),
    /// Remove a standby from the metadata, and its unused slot
    Unregister,
    /// Make this standby the primary, after the old one has failed
    ///
    /// Refused while another primary is alive, and while a standby that responds has more WAL. The other standbys follow at once. While
    /// the primary is alive, use "standby switchover".
    Promote(Promote),
    /// Make this standby follow the primary, or another standby
    ///
    /// Nothing is restarted: a reload is enough. In the current primary_conninfo only host, hostaddr and port are replaced; password,
    /// certificates and the rest stay.
    Follow(Follow),
    /// Planned switchover: make this standby the primary and the old primary its standby
    ///
    /// Run it on the standby that is to become the primary, or on any node with --node-id naming it. The old primary rejoins as a standby,
    /// and all other standbys follow. If anything fails before the promotion, the old primary becomes primary again.
    Switchover(Switchover),
    /// Rewind a failed or diverged node, and re-attach it as a standby of the current primary
    ///
    /// The same as "node rejoin", but it also rewinds a node that could simply follow the primary.
    Rewind(Rejoin),
}

/// Options of `standby promote`.
#[derive(Args, Debug, Default)]
pub struct Promote {
    /// Do not repoint the other standbys
    #[arg(long)]
    pub no_siblings_follow: bool,

    /// The other standbys follow; this is the default
    #[arg(long, conflicts_with = "no_siblings_follow")]
    pub siblings_follow: bool,

    /// Do not pause repmgrd where it runs
    #[arg(long)]
    pub repmgrd_no_pause: bool,

    /// With active daemons: these nodes, by name or ID, are switched off and stay off; the time in which they might still write is not waited for
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub proven_off: Vec<String>,
}

/// Options of `standby follow`.
#[derive(Args, Debug, Default)]
pub struct Follow {
    /// Node to follow, if it is not the primary
    #[arg(long, value_name = "N")]
    pub upstream_node_id: Option<i32>,

    /// Wait this many seconds for a primary to appear, if there is none yet (default: primary_follow_timeout)
    #[arg(short = 'W', short_alias = 'w', long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "0")]
    pub wait: Option<u32>,
}

/// Options of `standby clone`.
#[derive(Args, Debug, Default)]
pub struct Clone {
    /// Host of the server to copy, the same as -h
    #[arg(value_name = "HOST")]
    pub source_host: Option<String>,

    /// Node that the standby will follow, if it is not the primary
    #[arg(long, value_name = "N")]
    pub upstream_node_id: Option<i32>,

    /// Connection string of the upstream to write into primary_conninfo
    #[arg(long, value_name = "CONNINFO")]
    pub upstream_conninfo: Option<String>,

    /// Role that the standby connects to its upstream as
    #[arg(long, value_name = "NAME")]
    pub replication_user: Option<String>,

    /// Start with an immediate checkpoint; this is the default
    #[arg(short = 'c', long)]
    pub fast_checkpoint: bool,

    /// Start with a spread checkpoint, which puts less load on the source and takes minutes
    #[arg(long, conflicts_with = "fast_checkpoint")]
    pub spread_checkpoint: bool,

    /// Check the copy against its manifest with pg_verifybackup
    #[arg(long)]
    pub verify_backup: bool,

    /// Also copy configuration files that lie outside the source's data directory
    ///
    /// They are read over SQL if the role has the privilege, from this host if it is the source's, or otherwise by pgbaton on the
    /// source's host, which also reports their modes. The checks say which way is used.
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true,
          default_missing_value = "samepath")]
    pub copy_external_config_files: Option<ExternalFiles>,

    /// Do not copy; write the replication configuration into an existing, stopped data directory
    #[arg(long, alias = "recovery-conf-only")]
    pub replication_conf_only: bool,

    /// Delay the replay of every transaction by this time, for instance 5min
    #[arg(long, value_name = "DELAY")]
    pub recovery_min_apply_delay: Option<String>,

    /// Start the server afterwards and wait until it streams
    #[arg(long)]
    pub start: bool,

    /// Start the server afterwards and register it
    #[arg(long)]
    pub register: bool,

    /// Accepted for compatibility with repmgr: pgbaton does not use Barman
    #[arg(long, hide = true)]
    pub without_barman: bool,

    /// Option of repmgr for Barman; refused
    #[arg(long, hide = true)]
    pub no_upstream_connection: bool,

    /// Remote operating system user; not used, as ssh_host of the node in the metadata names one
    #[arg(short = 'R', long, value_name = "NAME", hide = true)]
    pub remote_user: Option<String>,
}

/// Where external configuration files go.
#[derive(std::clone::Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExternalFiles {
    /// To the same paths as on the source
    Samepath,
    /// Into the data directory
    Pgdata,
}

/// Options of `standby register`.
#[derive(Args, Debug, Default)]
pub struct Register {
    /// Node that this standby follows
    #[arg(long, value_name = "N")]
    pub upstream_node_id: Option<i32>,

    /// Wait at most this many seconds for the local server to accept connections
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30")]
    pub wait_start: Option<u32>,

    /// Wait at most this many seconds until the record has been replicated to this standby
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "60")]
    pub wait_sync: Option<u32>,
}

/// Options of `standby switchover`.
#[derive(Args, Debug, Default)]
pub struct Switchover {
    /// Do not repoint the other standbys: they stay attached to the old primary
    #[arg(long)]
    pub no_siblings_follow: bool,

    /// The other standbys follow; this is the default
    #[arg(long, conflicts_with = "no_siblings_follow")]
    pub siblings_follow: bool,

    /// Do not pause repmgrd where it runs
    #[arg(long)]
    pub repmgrd_no_pause: bool,

    /// Unpause repmgrd afterwards even where it was paused before
    #[arg(long, conflicts_with = "repmgrd_no_pause")]
    pub repmgrd_force_unpause: bool,

    /// Accepted for compatibility with repmgr: no rewind is needed
    #[arg(long, hide = true, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub force_rewind: Option<String>,

    /// Accepted for compatibility with repmgr: if the last WAL does not arrive, the old primary becomes primary again
    #[arg(long, hide = true)]
    pub always_promote: bool,
}
