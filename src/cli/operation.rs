//! `pgbaton operation …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// List, resume or abandon operations of mutating commands on this node.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// List the operations of this node, newest first
    List,
    /// Show one operation with every step
    Show {
        /// Its ID (default: the newest one)
        id: Option<String>,
    },
    /// Resume an unfinished operation
    ///
    /// After the point of no return the remaining steps are run. Before it, what was changed is undone and the whole command is run again, with
    /// its original options.
    Resume {
        /// Its ID (default: the unfinished one)
        id: Option<String>,
    },
    /// Undo what can be undone of an unfinished operation, and close it
    ///
    /// After the point of no return the change itself is not undone: a promoted node stays the primary.
    Abandon {
        /// Its ID (default: the unfinished one)
        id: Option<String>,
    },
    /// Remove the journals of finished operations
    Cleanup(Cleanup),
    /// Make the state directory this node's: move the state of another cluster aside, or move this node's state here
    AdoptState {
        /// Directory with the state of this node, to be moved to its state directory
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
}

/// Options of `operation cleanup`. At least one is required; journals that either of them keeps stay.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct Cleanup {
    /// Keep this many of the newest finished operations
    #[arg(long, value_name = "COUNT")]
    pub newest: Option<u32>,
    /// Remove only operations that began more than this many days ago
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36500))]
    pub older_than: Option<u32>,
}
