//! `pgbaton node …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Prepare, look at, start, stop and bring back the local node.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Show what the local server needs to be in a cluster, and set it up
    ///
    /// Alone it shows what being a primary, a standby, and the target and source of a rewind needs, and how each of it stands: settings, the role
    /// with its rights, the database, who is let in by pg_hba.conf, the password file. With --apply it does what is missing, with --dry-run it
    /// shows how, with the changes in each file, and with --print it prints statements and lines for somebody else. A second run carries on
    /// where one was cut short. Nothing is restarted; what takes a restart is said. It connects as a superuser: by -h, -p, -U and -d, as -S
    /// NAME, or by itself over the local socket.
    Prepare(Prepare),
    /// Show what the local server is and does
    Status(Status),
    /// Check whether this node is well
    ///
    /// Without an option for a check all of them are made, and the exit code is 0 or 25. With such options only those are made, and the exit
    /// code is that of a plugin for Nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN or an error. With --node-id or --node-name
    /// another node is checked by the pgbaton there.
    Check(super::check::NodeCheck),
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
    /// Bring a node that was left behind back as a standby of the primary
    ///
    /// Run it on that node, whether its server runs, is stopped, or has crashed. The first of these that will do is done: nothing; following the
    /// primary; a rewind to where the histories have parted; a rewind with WAL from the archive; and, only with --reclone, a new clone beside the
    /// old data directory. What only this node has is discarded by a rewind, but kept aside; it needs an answer, or one of --yes,
    /// --force-rewind and --accept-data-loss. The primary is found by itself, or by way of any node named by -d.
    Rejoin(Rejoin),
    /// Say by the exit code whether the local server may be started as it is
    ///
    /// For ExecStartPre= of a systemd unit and for the entrypoint of a container: it needs no running server. A standby, and a node that is
    /// registered alone, may start at once. For a former primary all registered nodes are asked, again and again for up to guard_wait: one that
    /// is, follows or knows a newer primary is enough to refuse (31); a majority that names this node, itself included, is needed to start (0).
    /// If it cannot be told (3), guard_on_unknown decides.
    Guard(Guard),
}

/// Whether the local server may start.
#[derive(Args, Clone, Debug, Default)]
pub struct Guard {
    /// If there is a newer primary, make the server a standby of it, and exit with 0
    #[arg(long)]
    pub demote: bool,

    /// Seconds to ask for, instead of guard_wait
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,

    /// Connection string of a node to ask, beside those that were last seen (can be repeated)
    #[arg(long = "node", value_name = "CONNINFO")]
    pub nodes: Vec<String>,
}

/// What a server is prepared for, and how.
#[derive(Args, Clone, Debug, Default)]
pub struct Prepare {
    /// Do what is missing
    #[arg(long)]
    pub apply: bool,

    /// Print statements and lines for somebody else to run and to write
    #[arg(long, conflicts_with = "apply")]
    pub print: bool,

    /// Let in a node that is not registered yet, too; its port is that of this node unless it is named
    #[arg(long, value_name = "HOST[:PORT]")]
    pub node: Vec<String>,

    /// Let in a whole network instead of the address of each node
    #[arg(long, value_name = "CIDR")]
    pub network: Vec<String>,

    /// How new lines of pg_hba.conf authenticate
    #[arg(long, value_name = "METHOD", default_value = "scram-sha-256")]
    pub auth_method: String,

    /// Make a password and keep it in the password file
    #[arg(long)]
    pub generate_password: bool,

    /// Do without a password: for trust, peer, ident and certificates
    #[arg(long, conflicts_with = "generate_password")]
    pub no_password: bool,

    /// Archive WAL, by this command
    #[arg(long, value_name = "COMMAND")]
    pub archive_command: Option<String>,
}

/// How a node is brought back.
#[derive(Args, Clone, Debug, Default)]
pub struct Rejoin {
    /// Agree to a rewind, if one is needed; with a path, by that pg_rewind
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub force_rewind: Option<String>,

    /// Clone the node again if nothing else helps; the old data directory is moved aside
    #[arg(long)]
    pub reclone: bool,

    /// Configuration files in the data directory to keep; all of them are kept, so that this only checks that they are there
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub config_files: Vec<String>,

    /// Where configuration files are kept during a rewind, instead of the state directory
    #[arg(long, value_name = "DIR")]
    pub config_archive_dir: Option<PathBuf>,

    /// Do not look whether the WAL that a rewind has to read is there, nor fetch it from the archive
    #[arg(long)]
    pub no_check_wal: bool,

    /// Do not wait until the node streams
    #[arg(short = 'W', long)]
    pub no_wait: bool,

    /// Wait until the node streams; this is the default, and as in repmgr a number changes nothing: node_rejoin_timeout is how long
    #[arg(short = 'w', long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "0",
          conflicts_with = "no_wait", hide = true)]
    pub wait: Option<u32>,
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
