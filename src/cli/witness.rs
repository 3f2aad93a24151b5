//! `pgbaton witness …`

use clap::Subcommand;

/// Register or unregister a witness.
#[derive(Debug, Subcommand)]
pub enum Witness {
    /// Record the local server as a witness, and give it a copy of the metadata
    ///
    /// Run it on the witness, whose server is a cluster of its own and runs; its major version may differ. The primary is named by -h
    /// (with -p, -U, -d), or found by what was last seen of the cluster. With --force a second run brings the record and the
    /// copy up to date.
    Register,
    /// Remove a witness from the metadata, and empty its copy
    ///
    /// Run it on any node, with --node-id or --node-name where it is not the local one. --force if the server of the witness is down.
    Unregister,
}
