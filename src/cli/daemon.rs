//! `pgbaton daemon …`

use clap::{Args, Subcommand};

/// Run, start or stop the daemon of this node.
#[derive(Debug, Subcommand)]
pub enum Daemon {
    /// Run the daemon of this node in the foreground
    ///
    /// As the user that owns the data directory. With failover = automatic it takes part in elections: the daemon of the primary holds a
    /// lease, and a process of its own, the fencer, stops the server when the lease ends. SIGTERM ends it and leaves the fencer as it is: a
    /// daemon that is started again within the time of the lease goes on with it. SIGHUP rereads the configuration and opens the log
    /// file again.
    Run,
    /// Start the daemon of this node, by daemon_service_start_command, and wait until it responds
    ///
    /// That command starts a unit of systemd, or whatever else runs "pgbaton daemon run" on this host. repmgrd_service_start_command belongs
    /// to repmgrd and is never run.
    Start(Start),
    /// Stop the daemon of this node, by daemon_service_stop_command, without stopping its server
    ///
    /// Without its daemon a primary would be stopped when the lease ends. So the daemons of all nodes are paused first where this node is the
    /// primary: automatic failover is off until "pgbaton daemon start" and "pgbaton service unpause". With --handover a standby becomes the
    /// primary first, and automatic failover stays on. The daemon of a standby is just stopped.
    Stop(Stop),
}

/// How long is waited.
#[derive(Args, Clone, Debug)]
pub struct Wait {
    /// Wait at most this many seconds
    #[arg(short = 'w', long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_value = "30",
          default_missing_value = "30")]
    pub wait: u32,

    /// Do not wait
    #[arg(short = 'W', long, conflicts_with = "wait")]
    pub no_wait: bool,
}

/// Options of `daemon start`.
#[derive(Args, Clone, Debug)]
pub struct Start {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub wait: Wait,
}

/// Options of `daemon stop`.
#[derive(Args, Clone, Debug)]
pub struct Stop {
    #[command(flatten)]
    #[expect(missing_docs, reason = "see the type")]
    pub wait: Wait,

    /// If this node is the primary, make a standby the primary first, instead of pausing all daemons
    #[arg(long)]
    pub handover: bool,
}
