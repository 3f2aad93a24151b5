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
        /// Its id; the newest one if left out
        id: Option<String>,
    },
    /// Resume an unfinished operation
    Resume {
        /// Its id; the unfinished one if left out
        id: Option<String>,
    },
    /// Undo what can be undone of an unfinished operation, and close it
    Abandon {
        /// Its id; the unfinished one if left out
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
    /// Keep the newest finished operations, this many
    #[arg(long, value_name = "COUNT")]
    pub newest: Option<u32>,
    /// Remove only operations that began more than this many days ago
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36500))]
    pub older_than: Option<u32>,
}
