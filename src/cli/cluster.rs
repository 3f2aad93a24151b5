//! `pgbaton cluster …`

use clap::{Args, Subcommand};

/// Look at the whole cluster.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Show all nodes, what they are and whether they replicate
    ///
    /// All nodes are asked at once. Works while the primary, or all nodes but one, are down; when nobody answers, what was last seen is
    /// shown with its age. Exit code 25 if anything is not as it should be.
    ///
    /// With --verbose, what repmgrd recorded last of each standby is shown too; in the JSON document it is "monitoring", which is null
    /// without --verbose and where there is no such record.
    Show(Show),
    /// Check whether all nodes are well
    ///
    /// All checks of "node check" are made on all nodes at once: over SQL, and what only a host can tell, such as free space, by the pgbaton
    /// there. One verdict, what is not as it should be, and what to type next; the exit code is that of a plugin for Nagios: 0 OK,
    /// 1 WARNING, 2 CRITICAL, 3 UNKNOWN or an error. Works while the primary, or all nodes but one, are down; when nobody answers, the
    /// verdict is critical, with the age of what was last seen.
    Check(super::check::ClusterCheck),
    /// Show what happened
    #[command(visible_alias = "events")]
    Event(Event),
    /// Show which node reaches which, as each node's own host sees it
    ///
    /// Every node's pgbaton is asked once, all at once, by ssh where it is on another host, and tries to connect to every registered
    /// node. `*` it connects, `x` it does not, `?` nobody could be asked. Exit code 25 if a connection failed, 12 if a host could not be
    /// reached.
    Matrix,
    /// Show which node reaches which, asking by way of others where a host cannot be reached from here
    ///
    /// As "cluster matrix": every host is asked once, and `?` stands where nobody could ask it.
    Crosscheck,
    /// Delete old records of the monitoring history
    ///
    /// On the primary: what repmgrd has recorded in repmgr.monitoring_history. With --node-id or --node-name only that of one standby.
    Cleanup(Cleanup),
}

/// Delete old records of the monitoring history
#[derive(Args, Debug, Default)]
pub struct Cleanup {
    /// Keep the records of so many days; without it all are deleted
    #[arg(short = 'k', long, value_name = "DAYS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=36500))]
    pub keep_history: u32,
}

/// Options of `cluster show`.
#[derive(Args, Debug, Default)]
pub struct Show {
    /// Show again every so many seconds, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = false, default_missing_value = "2")]
    pub watch: Option<f64>,
}

/// Show what happened
#[derive(Args, Debug, Default)]
pub struct Event {
    /// Show at most so many events
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// Show all events
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,

    /// Only events of this name
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
}
