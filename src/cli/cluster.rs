//! `pgbaton cluster …`

use clap::{Args, Subcommand};

/// Look at the whole cluster.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Show all nodes, what they are and whether they replicate
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
}

/// Show all nodes, what they are and whether they replicate
///
/// All nodes are asked at once. Works while the primary, or all nodes but one, are down; when nobody answers, what was last seen is
/// shown with its age. Exit code 25 if anything is not as it should be.
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
