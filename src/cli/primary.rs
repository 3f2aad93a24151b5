//! `pgbaton primary …`

use clap::Subcommand;

/// Register or unregister a primary.
#[derive(Debug, Subcommand)]
pub enum Primary {
    /// Create the metadata schema if it is missing, and register this server as the primary
    ///
    /// Safe to repeat: a second run that has nothing to change says so. Refuses while another primary is alive.
    Register,
    /// Remove a former primary from the metadata
    ///
    /// Run it on any node; name a primary that is gone with --node-id or --node-name.
    Unregister,
}
