//! The command line: clap types only. The doc comments are the help; nothing here knows the rest of the program.

pub mod check;
pub mod cluster;
pub mod daemon;
pub mod node;
pub mod operation;
pub mod options;
pub mod primary;
pub mod service;
pub mod standby;
pub mod witness;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Command, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::verb::Verb;

/// Manage PostgreSQL replication: clone, show, promote, switch over, rejoin
///
/// pgbaton runs pg_basebackup, pg_ctl and pg_rewind, and keeps the list of nodes in the database itself. With --dry-run every command
/// that changes something shows what it would do.
#[derive(Debug, Parser)]
#[command(
    name = "pgbaton",
    version,
    disable_help_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 usage, configuration or a failed check, 6 connection, 25 issues found; \
                  `pgbaton man` has them all."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub noun: Noun,
}

/// Options of every command, before or after the verb.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Configuration file: pgbaton.toml, or an existing repmgr.conf
    #[arg(short = 'f', long, value_name = "PATH", global = true, help_heading = "Configuration")]
    pub config_file: Option<PathBuf>,

    /// Data directory of the local node
    #[arg(short = 'D', long, value_name = "DIR", global = true, help_heading = "Configuration")]
    pub pgdata: Option<PathBuf>,

    /// Directory of the PostgreSQL programs
    #[arg(
        short = 'b',
        long = "pg_bindir",
        alias = "pg-bindir",
        value_name = "DIR",
        global = true,
        help_heading = "Configuration"
    )]
    pub pg_bindir: Option<PathBuf>,

    /// Host name, address or socket directory of the server to connect to
    #[arg(short = 'h', long, value_name = "HOST", global = true, help_heading = "Connection")]
    pub host: Option<String>,

    /// Port of the server to connect to
    #[arg(short = 'p', long, value_name = "PORT", global = true, help_heading = "Connection")]
    pub port: Option<String>,

    /// Role to connect as (default: that of conninfo in the configuration)
    #[arg(
        short = 'U',
        long,
        alias = "user",
        value_name = "NAME",
        global = true,
        help_heading = "Connection"
    )]
    pub username: Option<String>,

    /// Database to connect to, or a whole connection string or URI
    #[arg(short = 'd', long, value_name = "DBNAME", global = true, help_heading = "Connection")]
    pub dbname: Option<String>,

    /// Superuser role for the steps that require a superuser
    #[arg(short = 'S', long, value_name = "NAME", global = true, help_heading = "Connection")]
    pub superuser: Option<String>,

    /// ID of the node to act on (default: the local node)
    #[arg(long, value_name = "N", global = true, help_heading = "Node")]
    pub node_id: Option<i32>,

    /// Name of the node to act on (default: the local node)
    #[arg(long, value_name = "NAME", global = true, help_heading = "Node")]
    pub node_name: Option<String>,

    /// Override checks that are reported as overridable: never a second primary, and never data loss, except that
    /// "standby clone" deletes an existing data directory
    #[arg(short = 'F', long, global = true, help_heading = "Safety")]
    pub force: bool,

    /// Continue although committed transactions could be lost
    #[arg(long, global = true, help_heading = "Safety")]
    pub accept_data_loss: bool,

    /// Check everything, show the plan, change nothing
    #[arg(long, global = true, help_heading = "Safety")]
    pub dry_run: bool,

    /// Answer yes to all questions; in "node rejoin" this agrees to discard transactions that only this node has
    #[arg(short = 'y', long, global = true, help_heading = "Safety")]
    pub yes: bool,

    /// Format of standard output
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "FORMAT",
        global = true,
        help_heading = "Output"
    )]
    pub format: Option<Format>,

    /// The same as --format json
    #[arg(long, global = true, conflicts_with_all = ["csv", "format"], help_heading = "Output")]
    pub json: bool,

    /// The same as --format csv
    #[arg(long, global = true, conflicts_with = "format", help_heading = "Output")]
    pub csv: bool,

    /// Narrower tables
    #[arg(long, global = true, help_heading = "Output")]
    pub compact: bool,

    /// Show errors only
    #[arg(short = 'q', long, global = true, help_heading = "Output")]
    pub quiet: bool,

    /// Omit DETAIL and HINT lines
    #[arg(short = 't', long, global = true, help_heading = "Output")]
    pub terse: bool,

    /// Show more
    #[arg(short = 'v', long, action = ArgAction::Count, global = true, help_heading = "Output")]
    pub verbose: u8,

    /// Minimum message severity: DEBUG, INFO, NOTICE, WARNING, ERROR
    #[arg(short = 'L', long, value_name = "LEVEL", global = true, help_heading = "Output")]
    pub log_level: Option<String>,

    /// Write messages to the configured log_file instead of standard error
    #[arg(long, global = true, help_heading = "Output")]
    pub log_to_file: bool,

    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", global = true, help_heading = "Output")]
    pub color: Option<Color>,

    /// Seconds to wait for each server to respond (default: 10); a command that only reads gives up then
    #[arg(long, value_name = "SECONDS", global = true, help_heading = "Output")]
    pub timeout: Option<u32>,

    /// Print help
    #[arg(short = '?', long, action = ArgAction::Help, global = true, help_heading = "Output")]
    pub help: Option<bool>,
}

/// What goes to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// Comma-separated values, as repmgr prints them
    Csv,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What the command is about.
#[derive(Debug, Subcommand)]
pub enum Noun {
    /// Register or unregister a primary
    #[command(visible_alias = "master", subcommand)]
    Primary(primary::Primary),
    /// Clone, register, promote, switch over, repoint or rewind a standby
    #[command(subcommand)]
    Standby(standby::Standby),
    /// Register or unregister a witness
    #[command(subcommand)]
    Witness(witness::Witness),
    /// Prepare, inspect, start, stop and re-attach the local node
    #[command(subcommand)]
    Node(node::Node),
    /// Inspect the whole cluster
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// List, resume or abandon operations of mutating commands on this node
    #[command(subcommand)]
    Operation(operation::Operation),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Run, start or stop the daemon of this node
    #[command(subcommand)]
    Daemon(daemon::Daemon),
    /// Show, pause and unpause the daemons of the cluster
    #[command(subcommand)]
    Service(service::Service),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per command into a directory
    Man {
        /// Where to write the pages
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Serve the pgbaton of another host. Not for people, and so in no help, manual or completion script: see [`far_end`].
    #[command(skip)]
    FarEnd,
}

/// Returns the tree of commands, each with the options that it uses.
pub fn tree() -> Command {
    options::shown(Cli::command())
}

/// The word for [`Noun::FarEnd`], which comes first.
pub const FAR_END: &str = Verb::FarEnd.words();

/// The command line of a far end: `pgbaton far-end -f PATH`.
#[derive(Debug, Parser)]
#[command(name = FAR_END, disable_help_flag = true)]
struct FarEnd {
    #[command(flatten)]
    global: Global,
}

/// Reads the command line of a far end, without the first word.
///
/// # Errors
/// Those of the parser.
pub fn far_end(words: &[OsString]) -> Result<Cli, clap::Error> {
    Ok(Cli { global: FarEnd::try_parse_from(words)?.global, noun: Noun::FarEnd })
}

/// Check or show the configuration.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Report all problems in the configuration
    Check,
    /// Print the effective configuration as TOML, with the origin of every value
    Show,
}

impl Noun {
    /// Returns the command.
    pub fn verb(&self) -> Verb {
        use cluster::Cluster;
        use node::Node;
        use operation::Operation;
        use primary::Primary;
        use standby::Standby;
        use witness::Witness;
        match self {
            Self::Primary(Primary::Register) => Verb::PrimaryRegister,
            Self::Primary(Primary::Unregister) => Verb::PrimaryUnregister,
            Self::Standby(Standby::Clone(_)) => Verb::StandbyClone,
            Self::Standby(Standby::Register(_)) => Verb::StandbyRegister,
            Self::Standby(Standby::Unregister) => Verb::StandbyUnregister,
            Self::Standby(Standby::Promote(_)) => Verb::StandbyPromote,
            Self::Standby(Standby::Follow(_)) => Verb::StandbyFollow,
            Self::Standby(Standby::Switchover(_)) => Verb::StandbySwitchover,
            Self::Standby(Standby::Rewind(_)) => Verb::StandbyRewind,
            Self::Witness(Witness::Register) => Verb::WitnessRegister,
            Self::Witness(Witness::Unregister) => Verb::WitnessUnregister,
            Self::Node(Node::Prepare(_)) => Verb::NodePrepare,
            Self::Node(Node::Status(_)) => Verb::NodeStatus,
            Self::Node(Node::Check(_)) => Verb::NodeCheck,
            Self::Node(Node::Start) => Verb::NodeStart,
            Self::Node(Node::Stop(_)) => Verb::NodeStop,
            Self::Node(Node::Restart(_)) => Verb::NodeRestart,
            Self::Node(Node::Reload) => Verb::NodeReload,
            // It is the same operation, unfinished as well as finished.
            Self::Node(Node::Service(node::Service {
                action: Some(node::Action::Promote),
                list_actions: false,
                ..
            })) => Verb::StandbyPromote,
            Self::Node(Node::Service(_)) => Verb::NodeService,
            Self::Node(Node::Rejoin(_)) => Verb::NodeRejoin,
            Self::Node(Node::Guard(_)) => Verb::NodeGuard,
            Self::Cluster(Cluster::Show(_)) => Verb::ClusterShow,
            Self::Cluster(Cluster::Check(_)) => Verb::ClusterCheck,
            Self::Cluster(Cluster::Uri(_)) => Verb::ClusterUri,
            Self::Cluster(Cluster::Event(_)) => Verb::ClusterEvent,
            Self::Cluster(Cluster::Matrix) => Verb::ClusterMatrix,
            Self::Cluster(Cluster::Crosscheck) => Verb::ClusterCrosscheck,
            Self::Cluster(Cluster::Cleanup(_)) => Verb::ClusterCleanup,
            Self::Operation(Operation::List) => Verb::OperationList,
            Self::Operation(Operation::Show { .. }) => Verb::OperationShow,
            Self::Operation(Operation::Resume { .. }) => Verb::OperationResume,
            Self::Operation(Operation::Abandon { .. }) => Verb::OperationAbandon,
            Self::Operation(Operation::Cleanup(_)) => Verb::OperationCleanup,
            Self::Operation(Operation::AdoptState { .. }) => Verb::OperationAdoptState,
            Self::Daemon(daemon::Daemon::Run) => Verb::DaemonRun,
            Self::Daemon(daemon::Daemon::Start(_)) => Verb::DaemonStart,
            Self::Daemon(daemon::Daemon::Stop(_)) => Verb::DaemonStop,
            Self::Service(service::Service::Status { .. }) => Verb::ServiceStatus,
            Self::Service(service::Service::Pause) => Verb::ServicePause,
            Self::Service(service::Service::Unpause) => Verb::ServiceUnpause,
            Self::Service(service::Service::Reset { .. }) => Verb::ServiceReset,
            Self::Config(Config::Check) => Verb::ConfigCheck,
            Self::Config(Config::Show) => Verb::ConfigShow,
            Self::Completions { .. } => Verb::Completions,
            Self::Man { .. } => Verb::Man,
            Self::FarEnd => Verb::FarEnd,
        }
    }
}

impl Global {
    /// Returns the format asked for.
    pub fn format(&self) -> Format {
        match self.format {
            Some(format) => format,
            None if self.json => Format::Json,
            None if self.csv => Format::Csv,
            None => Format::Table,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Cli, Noun};
    use crate::verb::Verb;

    #[test]
    fn the_command_tree_is_well_formed() {
        super::tree().debug_assert();
    }

    #[test]
    fn what_was_parsed_is_the_command_with_these_words() {
        for verb in Verb::ALL {
            let more = match verb {
                Verb::StandbyClone => "-h x",
                Verb::NodeService => "--action=stop",
                Verb::OperationCleanup => "--newest=1",
                Verb::Completions => "bash",
                _ => "",
            };
            let line = format!("pgbaton {verb} {more}");
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            assert_eq!(cli.noun.verb(), verb);
        }
        let verb = |line: &str| Cli::try_parse_from(line.split_whitespace()).unwrap().noun.verb();
        assert_eq!(verb("pgbaton node service --action=promote"), Verb::StandbyPromote);
        assert_eq!(verb("pgbaton node service --action=promote --list-actions"), Verb::NodeService);
        assert_eq!(Noun::FarEnd.verb(), Verb::FarEnd);
    }
}
