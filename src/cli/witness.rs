//! `pgbaton witness …`

use clap::Subcommand;

/// Register or unregister a witness.
#[derive(Debug, Subcommand)]
pub enum Witness {
    /// Register the local server as a witness, and copy the metadata to it
    ///
    /// Run it on the witness, whose server must be running and is a database cluster of its own; its major version may differ. The primary
    /// is named by -h (with -p, -U, -d), or found through the saved topology. With --force a second run updates the record and the copy.
    Register,
    /// Remove a witness from the metadata, and empty its copy
    ///
    /// Run it on any node, with --node-id or --node-name unless it is the local one. Use --force if the server of the witness is down.
    Unregister,
}
