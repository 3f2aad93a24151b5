//! `pgbaton node …`

use clap::{Args, Subcommand, ValueEnum};

/// Look at, start and stop the local node.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Show what the local server is and does
    Status(Status),
    /// Start the local server and wait until it accepts connections
    Start,
    /// Stop the local server, disconnecting its clients
    Stop(Checkpoint),
    /// Stop and start the local server
    Restart(Checkpoint),
    /// Let the local server read its configuration again
    Reload,
    /// Run one of the actions above by name, as repmgr does
    Service(Service),
}

/// Show what the local server is and does
#[derive(Args, Debug, Default)]
pub struct Status {
    /// Print one line that says whether the server was shut down cleanly; needs no connection
    #[arg(long, hide = true)]
    pub is_shutdown_cleanly: bool,
}

/// Whether to write a checkpoint first.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Checkpoint {
    /// Write a checkpoint first, while clients are still served, so that the stop itself is short
    #[arg(long)]
    pub checkpoint: bool,
}

/// Run an action by name.
#[derive(Args, Debug)]
pub struct Service {
    /// The action
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "ACTION",
        required_unless_present = "list_actions"
    )]
    pub action: Option<Action>,

    /// Print the command of the action, or of every one, and run none
    #[arg(long, alias = "list")]
    pub list_actions: bool,

    /// Whether to write a checkpoint first.
    #[command(flatten)]
    pub checkpoint: Checkpoint,
}

/// What can be done to the local server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Start it
    Start,
    /// Stop it
    Stop,
    /// Stop and start it
    Restart,
    /// Let it read its configuration again
    Reload,
    /// Promote it: the same as "standby promote"
    Promote,
}
