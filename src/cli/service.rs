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
    /// Let the daemon of this node begin anew, as paused, after the loss of the majority or of the daemons' state
    ///
    /// All daemons of the cluster have to be stopped, and at most one server may accept writes. What the nodes have promised each other is
    /// given up: run it on every node that is left. Then promote one if there is no primary, unregister the nodes that are gone for good,
    /// start the daemons, and end the pause: "pgbaton service unpause".
    Reset {
        /// These nodes, by name or ID, are switched off, and stay so until they are reset, too, or cloned anew
        #[arg(long, value_name = "NODE", value_delimiter = ',')]
        proven_off: Vec<String>,
    },
}
