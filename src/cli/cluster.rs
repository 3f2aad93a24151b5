//! `pgbaton cluster …`

use clap::{Args, Subcommand, ValueEnum};

/// Inspect the whole cluster.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Show all nodes, their roles and the state of replication
    ///
    /// All nodes are queried in parallel. Works while the primary, or all nodes but one, are down; if no node responds, the saved topology
    /// is shown with its age. Exit code 25 if any problem is found.
    ///
    /// With --verbose, the last monitoring record of repmgrd for each standby is shown too; in the JSON document it is "monitoring", which
    /// is null without --verbose and if there is no such record.
    Show(Show),
    /// Check the health of all nodes
    ///
    /// Runs all checks of "node check" on all nodes in parallel: over SQL, and for what only a host can report, such as free space, through
    /// pgbaton on that host. Prints one verdict, the problems found, and what to type next; the exit code is that of a Nagios plugin: 0 OK,
    /// 1 WARNING, 2 CRITICAL, 3 UNKNOWN or an error. Works while the primary, or all nodes but one, are down; if no node responds, the
    /// verdict is critical, with the age of the saved topology.
    Check(super::check::ClusterCheck),
    /// Print a connection string for clients that names all nodes
    ///
    /// With it a client finds the primary, or with --role a standby, also after a change of roles. It names every active primary and
    /// standby at the host and port of its record: the primary first, then the others by priority and node ID, and no witness. It can be
    /// printed while the primary, or all nodes, are down; if no node responds, the saved topology is used, and its age is reported. Exit
    /// code 25 if the string is to be used with care: there is no primary or more than one, or a node had to be left out.
    ///
    /// User, database, password and certificates are those of the client: psql "$(pgbaton cluster uri)&user=app&dbname=app". Of the
    /// connection strings of the nodes only this is used, where all of them agree: sslmode, if it is require, verify-ca or verify-full;
    /// sslrootcert=system; connect_timeout.
    Uri(Uri),
    /// List recorded cluster events
    #[command(visible_alias = "events")]
    Event(Event),
    /// Show which nodes can connect to which, as seen from each node's own host
    ///
    /// pgbaton on every node's host tries to connect to every registered node; all hosts work in parallel, over ssh if it is another host.
    /// `*` the connection works, `x` it fails, `?` unknown, as the host could not be queried. Exit code 25 if a connection failed, 12 if a
    /// host could not be reached.
    Matrix,
    /// Show which nodes can connect to which, going through other hosts if a host cannot be reached from here
    ///
    /// As "cluster matrix": every host is queried once, and `?` means that no host could query it.
    Crosscheck,
    /// Delete old records of the monitoring history
    ///
    /// On the primary: the records of repmgrd in repmgr.monitoring_history. With --node-id or --node-name only those of one standby.
    Cleanup(Cleanup),
}

/// Delete old records of the monitoring history
#[derive(Args, Debug, Default)]
pub struct Cleanup {
    /// Keep the records of this many days; without it all are deleted
    #[arg(short = 'k', long, value_name = "DAYS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=36500))]
    pub keep_history: u32,
}

/// Options of `cluster show`.
#[derive(Args, Debug, Default)]
pub struct Show {
    /// Refresh every SECONDS seconds, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = false, default_missing_value = "2")]
    pub watch: Option<f64>,
}

/// List recorded cluster events
#[derive(Args, Debug, Default)]
pub struct Event {
    /// Show at most this many events
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// Show all events
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,

    /// Only events of this name
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
}

/// Print a connection string for clients that names all nodes
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Uri {
    /// Which server the client needs
    #[arg(long, value_enum, ignore_case = true, value_name = "ROLE", default_value = "primary")]
    pub role: Wanted,

    /// How the connection string is written
    #[arg(long, value_enum, ignore_case = true, value_name = "SYNTAX", default_value = "uri")]
    pub syntax: Syntax,
}

/// Which server a client needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// The one that accepts writes: target_session_attrs=read-write, libpq 10 or later
    #[default]
    Primary,
    /// Only a standby: target_session_attrs=standby, libpq 14 or later
    Standby,
    /// A standby, or the primary if no standby responds: target_session_attrs=prefer-standby, libpq 14 or later
    PreferStandby,
    /// The first that accepts the connection: target_session_attrs=any, libpq 10 or later
    Any,
}

/// How a connection string is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Syntax {
    /// URI for libpq: psql, psycopg and all that is built on libpq
    #[default]
    Uri,
    /// Keywords and values for libpq
    Keyword,
    /// URL for pgjdbc: TCP only, with the address of a node that has hostaddr
    Jdbc,
}
