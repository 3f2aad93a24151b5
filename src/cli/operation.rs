//! `pgbaton operation …`

use clap::Subcommand;

/// See, resume or abandon what mutating commands did on this node.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// List the operations of this node, newest first
    List,
    /// Show one operation with every step
    Show {
        /// Its id; the newest one if left out
        id: Option<String>,
    },
    /// Carry on with an unfinished operation
    Resume {
        /// Its id; the unfinished one if left out
        id: Option<String>,
    },
    /// Undo what can be undone of an unfinished operation, and forget it
    Abandon {
        /// Its id; the unfinished one if left out
        id: Option<String>,
    },
}
