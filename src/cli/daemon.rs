//! `pgbaton daemon …`

use clap::Subcommand;

/// Run the daemon of this node.
#[derive(Debug, Subcommand)]
pub enum Daemon {
    /// Run the daemon of this node in the foreground
    ///
    /// As the user that owns the data directory. With failover = automatic it takes part in elections: the daemon of the primary holds a
    /// lease, and a process of its own, the fencer, stops the server when the lease ends. SIGTERM ends it and leaves the fencer as it is: a
    /// daemon that is started again within the time of the lease goes on with it.
    Run,
}
