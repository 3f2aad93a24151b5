//! `pgbaton service …`

use clap::Subcommand;

/// Show, pause and unpause the daemons of the cluster.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Show the daemons of all nodes, and who leads
    Status {
        /// As in repmgr, which shows more with it; here it changes nothing
        #[arg(long, hide = true)]
        detail: bool,
    },
    /// Pause automatic failover on all nodes; a pause outlasts restarts of daemons and hosts
    Pause,
    /// End the pause on all nodes
    Unpause,
}
