//! `pgbaton primary …`

use clap::Subcommand;

/// Register or unregister a primary.
#[derive(Debug, Subcommand)]
pub enum Primary {
    /// Make the metadata if it is missing, and record this server as the primary
    ///
    /// Safe to repeat: a second run that has nothing to change says so. Refuses beside another living primary.
    Register,
    /// Remove a primary that is no longer used from the metadata
    ///
    /// Run it on any node, with --node-id or --node-name for a primary that is gone.
    Unregister,
}
