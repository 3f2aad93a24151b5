//! `pgbaton node …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Prepare, inspect, start, stop and re-attach the local node.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Show what the local server needs for replication, and set it up
    ///
    /// Without options it shows what a primary, a standby, and the target and source of a rewind require, and whether each requirement is met:
    /// settings, the role with its privileges, the database, pg_hba.conf, the password file. --apply does what is missing, --dry-run shows
    /// how, with the changes in each file, and --print prints statements and lines for an administrator to apply. A second run continues
    /// where an interrupted one stopped. Nothing is restarted; what requires a restart is reported. It connects as a superuser: with -h, -p,
    /// -U and -d, as -S NAME, or by default over the local socket.
    Prepare(Prepare),
    /// Show the role and the state of the local server
    Status(Status),
    /// Check the health of this node
    ///
    /// Without an option for a check all checks are run, and the exit code is 0 or 25. With such options only those are run, and the exit
    /// code is that of a Nagios plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN or an error. With --node-id or --node-name another node is
    /// checked by pgbaton on its host.
    Check(super::check::NodeCheck),
    /// Start the local server and wait until it accepts connections
    Start,
    /// Stop the local server, disconnecting its clients
    Stop(Checkpoint),
    /// Stop and start the local server
    Restart(Checkpoint),
    /// Reload the configuration of the local server
    Reload,
    /// Start, stop, restart, reload or promote the local server, with the action as an option, as in repmgr
    Service(Service),
    /// Re-attach a failed or diverged node as a standby of the current primary
    ///
    /// Run it on that node, whether its server is running, stopped, or crashed. pgbaton uses the least invasive method that works: nothing to
    /// do; follow the primary; rewind to the point of divergence; rewind with archived WAL; and, only with --reclone, a new clone next to the
    /// old data directory. A rewind discards transactions that only this node has, but keeps their WAL aside; it asks for confirmation, or
    /// requires one of --yes, --force-rewind and --accept-data-loss. The primary is found automatically, or through any node named by -d.
    Rejoin(Rejoin),
    /// Check whether it is safe to start the local server (exit code 0: yes)
    ///
    /// For ExecStartPre= of a systemd unit and for the entrypoint of a container: it needs no running server. A standby, and a node that is
    /// the only registered one, may start at once. For a former primary all registered nodes are queried repeatedly for up to guard_wait.
    /// Exit code 31, do not start: a node is a newer primary, follows one, or knows of one. 0, start: a majority of the nodes, including this
    /// one, confirms this node as the primary. 3: neither within guard_wait; then guard_on_unknown decides, which is "refuse", "start" or "demote".
    Guard(Guard),
}

/// Whether it is safe to start the local server.
#[derive(Args, Clone, Debug, Default)]
pub struct Guard {
    /// If there is a newer primary, make the server a standby of it, and exit with 0
    #[arg(long)]
    pub demote: bool,

    /// Seconds to keep querying the other nodes, instead of guard_wait
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,

    /// Connection string of a node to query, in addition to the saved topology (can be repeated)
    #[arg(long = "node", value_name = "CONNINFO")]
    pub nodes: Vec<String>,
}

/// What a server is prepared for, and how.
#[derive(Args, Clone, Debug, Default)]
pub struct Prepare {
    /// Do what is missing
    #[arg(long)]
    pub apply: bool,

    /// Print statements to run and lines to write, for an administrator
    #[arg(long, conflicts_with = "apply")]
    pub print: bool,

    /// Also allow connections from a node that is not registered yet; PORT defaults to the port of this node
    #[arg(long, value_name = "HOST[:PORT]")]
    pub node: Vec<String>,

    /// Allow connections from a whole network instead of the address of each node
    #[arg(long, value_name = "CIDR")]
    pub network: Vec<String>,

    /// Authentication method of new lines in pg_hba.conf
    #[arg(long, value_name = "METHOD", default_value = "scram-sha-256")]
    pub auth_method: String,

    /// Generate a password and store it in the password file
    #[arg(long)]
    pub generate_password: bool,

    /// Use no password: for trust, peer, ident and certificates
    #[arg(long, conflicts_with = "generate_password")]
    pub no_password: bool,

    /// Archive WAL with this command
    #[arg(long, value_name = "COMMAND")]
    pub archive_command: Option<String>,
}

/// How a node is re-attached.
#[derive(Args, Clone, Debug, Default)]
pub struct Rejoin {
    /// Agree to a rewind, if one is needed, and to discard transactions that only this node has; with PATH, use that pg_rewind
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub force_rewind: Option<String>,

    /// Clone the node again if nothing else works; the old data directory is moved aside
    #[arg(long)]
    pub reclone: bool,

    /// Configuration files in the data directory to keep; all are kept anyway, so this only checks that they exist
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub config_files: Vec<String>,

    /// Directory to keep configuration files in during a rewind, instead of the state directory
    #[arg(long, value_name = "DIR")]
    pub config_archive_dir: Option<PathBuf>,

    /// Do not check whether the WAL that a rewind has to read exists, and do not fetch it from the archive
    #[arg(long)]
    pub no_check_wal: bool,

    /// Do not wait until the node streams
    #[arg(short = 'W', long)]
    pub no_wait: bool,

    /// Wait until the node streams; this is the default. As in repmgr, a number has no effect: node_rejoin_timeout is the limit
    #[arg(short = 'w', long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "0",
          conflicts_with = "no_wait", hide = true)]
    pub wait: Option<u32>,
}

/// Show the role and the state of the local server
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

    /// Print the command of the action, or of all actions, and run none
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
    /// Reload its configuration
    Reload,
    /// Promote it: the same as "standby promote"
    Promote,
}
