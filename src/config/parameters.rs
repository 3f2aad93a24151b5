//! The one list of parameters.
//!
//! Everything about a parameter is one row here: its name and type, its default, what is allowed, and a line of
//! documentation. The struct [`Config`], its loading, `config show`, the manual's table and the sample file follow from
//! it. Defaults are those of repmgr 5.5; where `pgbaton.toml` has another one, the row says so with `toml_default`.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{
    CleartextPasswords, ConnectionCheck, Delay, Failover, FailoverProfile, GuardOnUnknown, LogFacility,
    LogLevel, OnCleanStop, RejoinAutomatically, ReplicationType, Size, TablespaceMapping, Type,
};
use super::{Origins, Reader};

/// A row of the list.
#[derive(Debug)]
pub struct Parameter {
    /// The name, the same in both file formats.
    pub name: &'static str,
    /// The heading it stands under in documentation and in `config show`.
    pub group: &'static str,
    documentation: &'static str,
    allowed: fn(&Parameter) -> String,
    /// The default as it would be written in a file; empty means unset.
    pub default: &'static str,
    /// The default in `pgbaton.toml`, where it is not repmgr's.
    pub toml_default: Option<&'static str>,
    /// There is no sensible default: the file has to name it, for example like this.
    pub required: Option<&'static str>,
    /// The smallest integer allowed. Where it is -1, that value means off.
    pub least: i32,
    /// The greatest length of a text in bytes.
    pub longest: usize,
    /// What an integer counts.
    pub unit: &'static str,
    /// repmgr does not know it.
    pub pgbaton_only: bool,
    /// Meant for tests; documented nowhere, as in repmgr.
    pub hidden: bool,
}

impl Parameter {
    /// What a row has that says nothing else.
    const PLAIN: Self = Self {
        name: "",
        group: "",
        documentation: "",
        allowed: <String as Type>::allowed,
        default: "",
        toml_default: None,
        required: None,
        least: 0,
        longest: usize::MAX,
        unit: "",
        pgbaton_only: false,
        hidden: false,
    };

    /// Describes the parameter in one line.
    pub fn summary(&self) -> &'static str {
        self.documentation.trim()
    }

    /// Describes what may be written, as words that follow "allowed is".
    pub fn allowed(&self) -> String {
        (self.allowed)(self)
    }

    /// Returns the default that holds for a file format.
    pub fn default_in(&self, format: super::ConfigSyntax) -> &'static str {
        match format {
            super::ConfigSyntax::Toml => self.toml_default.unwrap_or(self.default),
            super::ConfigSyntax::RepmgrConf => self.default,
        }
    }
}

/// Finds a parameter by its name. Names are case-sensitive, as in repmgr.
pub fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}

/// Finds the parameter that was probably meant.
pub fn nearest(name: &str) -> Option<&'static Parameter> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    PARAMETERS
        .iter()
        .filter(|parameter| !parameter.hidden)
        .map(|parameter| (strsim::damerau_levenshtein(&name, parameter.name), parameter))
        // More than a third of the letters wrong is another word, not a slip.
        .filter(|(distance, parameter)| *distance <= 1 + parameter.name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, parameter)| parameter)
}

/// Names of repmgr 3 that later versions ignore, and what to write instead.
pub fn successor(name: &str) -> Option<&'static str> {
    Some(match name {
        "node" => "The parameter is now called \"node_id\".",
        "name" => "The parameter is now called \"node_name\".",
        "loglevel" => "The parameter is now called \"log_level\".",
        "logfacility" => "The parameter is now called \"log_facility\".",
        "logfile" => "The parameter is now called \"log_file\".",
        // repmgr's own spelling, and the right one.
        "master_reponse_timeout" | "master_response_timeout" => "Use \"async_query_timeout\" instead.",
        "retry_promote_interval_secs" => "Use \"primary_notification_timeout\" instead.",
        "cluster" => "Remove it: the metadata is always in schema \"repmgr\".",
        "upstream_node" => "Remove it, and give \"--upstream-node-id\" when cloning a standby.",
        _ => return None,
    })
}

/// Makes the list and the struct from the same rows.
///
/// A row is a line of documentation, a name, a type, and the fields in which the [`Parameter`] is not
/// [`Parameter::PLAIN`].
macro_rules! parameters {
    ($($group:literal: $(
        #[doc = $documentation:literal]
        $name:ident: $type:ty { $($field:ident: $value:expr),* }
    )+)+) => {
        /// All parameters, in the order in which they are shown.
        pub static PARAMETERS: &[Parameter] = &[$($(Parameter {
            name: stringify!($name),
            group: $group,
            documentation: $documentation,
            allowed: <$type as Type>::allowed,
            $($field: $value,)*
            ..Parameter::PLAIN
        },)+)+];

        /// The configuration in force: every parameter, typed and validated.
        ///
        /// An unset text or path is `None`, and so is a number that is switched off with -1.
        #[derive(Clone)]
        pub struct Config {
            $($(
                #[doc = $documentation]
                pub $name: $type,
            )+)+
            pub(super) origins: Origins,
        }

        impl Config {
            /// Takes each parameter out of what was read; problems stay with the reader.
            ///
            /// `None` only if the list itself has a default that its type refuses, which a test excludes.
            pub(super) fn build(reader: &mut Reader<'_>) -> Option<Self> {
                $($(let $name = reader.take(find(stringify!($name))?);)+)+
                Some(Self { $($($name: $name?,)+)+ origins: reader.origins() })
            }

            /// Returns all parameters with their values, in the order of the list.
            pub fn values(&self) -> impl Iterator<Item = (&'static Parameter, toml::Value)> {
                PARAMETERS.iter().zip([$($(self.$name.write(),)+)+])
            }
        }
    };
}

parameters! {
    "This node":
    /// Number of the node; unique in the cluster and never changed.
    node_id: i32 { required: Some("1"), least: 1 }
    /// Name of the node; also the application_name of its replication connection.
    node_name: String { required: Some("node1"), longest: 63 }
    /// Connection string by which every other node reaches this one.
    conninfo: String { required: Some("host=node1 user=repmgr dbname=repmgr connect_timeout=2") }
    /// Data directory of this node.
    data_directory: PathBuf { required: Some("/var/lib/postgresql/17/main") }
    /// Directory of the configuration files, where they are not in the data directory.
    config_directory: Option<PathBuf> {}
    /// Role that standbys use for replication; the one in conninfo if unset.
    replication_user: Option<String> {}
    /// Kind of replication.
    replication_type: ReplicationType { default: "physical" }
    /// Name of the site; a failover stays inside one location.
    location: String { default: "default" }
    /// Preference in a failover; 0 is never promoted.
    priority: u32 { default: "100" }
    /// Give each standby a replication slot, repmgr_slot_<node_id>.
    use_replication_slots: bool { default: "false", toml_default: Some("true") }

    "Programs and state":
    /// Directory of PostgreSQL's programs; found by the version of the data directory if unset.
    pg_bindir: Option<PathBuf> {}
    /// Directory of repmgr's programs; kept for repmgr, not used.
    repmgr_bindir: Option<PathBuf> {}
    /// Directory of pgbaton on other hosts; that of the running program, then PATH, if unset.
    pgbaton_bindir: Option<PathBuf> { pgbaton_only: true }
    /// Directory of the journal, the lock and the saved topology; /var/lib/pgbaton/<node_name> if unset.
    state_directory: Option<PathBuf> { pgbaton_only: true }
    /// Options for ssh to other hosts.
    ssh_options: Option<String> { default: "-q -o ConnectTimeout=10" }
    /// Options for rsync, where files are copied from another host.
    rsync_options: Option<String> {}

    "Starting and stopping":
    /// Command that starts PostgreSQL; pg_ctl if unset.
    service_start_command: Option<String> {}
    /// Command that stops PostgreSQL; pg_ctl if unset.
    service_stop_command: Option<String> {}
    /// Command that restarts PostgreSQL; pg_ctl if unset.
    service_restart_command: Option<String> {}
    /// Command that reloads the configuration; a function in the server if unset.
    service_reload_command: Option<String> {}
    /// Command that promotes; a function in the server if unset.
    service_promote_command: Option<String> {}
    /// Options for pg_ctl.
    pg_ctl_options: Option<String> {}
    /// Command that starts the daemon of this node, for "pgbaton daemon start".
    daemon_service_start_command: Option<String> { pgbaton_only: true }
    /// Command that stops the daemon of this node, for "pgbaton daemon stop".
    daemon_service_stop_command: Option<String> { pgbaton_only: true }
    /// Command that starts repmgrd on this node.
    repmgrd_service_start_command: Option<String> {}
    /// Command that stops repmgrd on this node.
    repmgrd_service_stop_command: Option<String> {}

    "Cloning a standby":
    /// Options for pg_basebackup.
    pg_basebackup_options: Option<String> {}
    /// restore_command of the standby.
    restore_command: Option<String> {}
    /// archive_cleanup_command of the standby.
    archive_cleanup_command: Option<String> {}
    /// Tablespace directories that are elsewhere on this node.
    tablespace_mapping: Vec<TablespaceMapping> {}
    /// recovery_min_apply_delay of the standby.
    recovery_min_apply_delay: Option<Delay> {}
    /// Write the password of PGPASSWORD into primary_conninfo.
    use_primary_conninfo_password: bool { default: "false" }
    /// Password file named in primary_conninfo.
    passfile: Option<PathBuf> {}
    /// Whether a password is sent in clear text, without verified TLS, to an address known only from the metadata of the cluster.
    cleartext_passwords: CleartextPasswords { default: "refuse", pgbaton_only: true }
    /// Host of the Barman server to clone from.
    barman_host: Option<String> {}
    /// Name of the server in Barman's configuration.
    barman_server: Option<String> {}
    /// Barman's configuration file on its host.
    barman_config: Option<String> {}
    /// Host of the pg-backup-api to clone from.
    pg_backupapi_host: Option<String> {}
    /// Name of the node in pg-backup-api.
    pg_backupapi_node_name: Option<String> {}
    /// Backup to restore by pg-backup-api.
    pg_backupapi_backup_id: Option<String> {}
    /// ssh command by which pg-backup-api reaches this node.
    pg_backupapi_remote_ssh_command: Option<String> {}

    "Promote, follow, switch over, rejoin":
    /// How long a promotion may take.
    promote_check_timeout: Duration { default: "60", least: 1 }
    /// How often the progress of a promotion is checked.
    promote_check_interval: Duration { default: "1", least: 1 }
    /// How long a standby waits for the new primary to appear.
    primary_follow_timeout: Duration { default: "60", least: 1 }
    /// How long a standby may take to stream from its new upstream.
    standby_follow_timeout: Duration { default: "30", least: 1 }
    /// Restart a standby to follow, although a reload would do.
    standby_follow_restart: bool { default: "false" }
    /// How long the old primary may take to stop in a switchover.
    shutdown_check_timeout: Duration { default: "60", least: 1 }
    /// How long the old primary may take to rejoin as a standby; not less than node_rejoin_timeout.
    standby_reconnect_timeout: Duration { default: "60", least: 1 }
    /// How long the candidate may take to receive the last WAL in a switchover.
    wal_receive_check_timeout: Duration { default: "30", least: 1 }
    /// How long a rejoined node may take to stream.
    node_rejoin_timeout: Duration { default: "60", least: 1 }
    /// How long a former primary waits for other nodes to respond before it starts.
    guard_wait: Duration { default: "60", pgbaton_only: true }
    /// What a former primary does when too few nodes respond.
    guard_on_unknown: GuardOnUnknown { default: "refuse", pgbaton_only: true }

    "Checks":
    /// Files waiting to be archived, from which the check warns.
    archive_ready_warning: u32 { default: "16", least: 1, unit: "files" }
    /// Files waiting to be archived, from which the check is critical.
    archive_ready_critical: u32 { default: "128", least: 1, unit: "files" }
    /// Replication lag from which the check warns.
    replication_lag_warning: Duration { default: "300", least: 1 }
    /// Replication lag from which the check is critical.
    replication_lag_critical: Duration { default: "600", least: 1 }
    /// Free space, in per cent, below which the check warns.
    free_space_warning: u32 { default: "15", least: 1, unit: "per cent", pgbaton_only: true }
    /// Free space, in per cent, below which the check is critical.
    free_space_critical: u32 { default: "5", unit: "per cent", pgbaton_only: true }
    /// WAL kept by a slot, in megabytes, from which the check warns.
    slot_wal_warning: u32 { default: "16384", least: 1, unit: "megabytes", pgbaton_only: true }
    /// WAL kept by a slot, in megabytes, from which the check is critical.
    slot_wal_critical: u32 { default: "65536", least: 1, unit: "megabytes", pgbaton_only: true }

    "Log and events":
    /// Minimum severity of messages that are logged.
    log_level: LogLevel { default: "INFO" }
    /// Where messages go.
    log_facility: LogFacility { default: "STDERR" }
    /// File for messages instead of stderr.
    log_file: Option<PathBuf> {}
    /// How often the daemon logs that it is alive; 0 is never.
    log_status_interval: Duration { default: "300" }
    /// Command that is run at an event, with placeholders such as %n, %e, %s, %t, %d.
    event_notification_command: Option<String> {}
    /// Events at which the command is run; all if empty.
    event_notifications: Vec<String> {}

    "Failover":
    /// Whether a standby is promoted automatically.
    failover: Failover { default: "manual" }
    /// Times of an automatic failover; the same on all nodes.
    failover_profile: FailoverProfile { default: "default", pgbaton_only: true }
    /// How long the daemon lets a primary that has gone come back in place, before it hands over; -1 is the time of the profile.
    restart_timeout: Option<Duration> { default: "-1", least: -1, pgbaton_only: true }
    /// What the daemon does when the primary was stopped cleanly.
    on_clean_stop: OnCleanStop { default: "wait", pgbaton_only: true }
    /// How much of the last known WAL a standby may lack that is promoted by itself; 0 is none, -1 any.
    failover_max_lag: Size { default: "16MB", pgbaton_only: true }
    /// What the daemon does by itself with a former primary or a standby that has diverged.
    rejoin_automatically: RejoinAutomatically { default: "lossless", pgbaton_only: true }
    /// Command that switches a node off, whose ID is %n and whose name is %a; it succeeds only if the node is off.
    fence_command: Option<String> { pgbaton_only: true }
    /// Directory of the sockets of daemon and fencer, on a tmpfs file system; /run/pgbaton/<node_name> or one below /dev/shm if unset.
    runtime_directory: Option<PathBuf> { pgbaton_only: true }
    /// Command by which the daemon promotes this node.
    promote_command: Option<String> {}
    /// Command by which the daemon follows a new primary, whose ID is %n.
    follow_command: Option<String> {}
    /// How often the daemon checks the server.
    monitor_interval_secs: Duration { default: "2", least: 1 }
    /// How often the daemon tries to reach a lost server again.
    reconnect_attempts: u32 { default: "6" }
    /// Time between these attempts.
    reconnect_interval: Duration { default: "10" }
    /// Record replication lag in the table monitoring_history.
    monitoring_history: bool { default: "false" }
    /// How long the daemon continues without its server; -1 is forever.
    degraded_monitoring_timeout: Option<Duration> { default: "-1", least: -1 }
    /// How long the daemon waits for an asynchronous query.
    async_query_timeout: Duration { default: "60" }
    /// How long a standby waits for the notification of a new primary.
    primary_notification_timeout: Duration { default: "60" }
    /// How long the daemon waits for its server when it starts; -1 is standby_reconnect_timeout.
    repmgrd_standby_startup_timeout: Option<Duration> { default: "-1", least: -1 }
    /// Process id file of the daemon.
    repmgrd_pid_file: Option<PathBuf> {}
    /// End the daemon when its node is registered as inactive.
    repmgrd_exit_on_inactive_node: bool { default: "false" }
    /// Stop the WAL receivers of all standbys before a failover.
    standby_disconnect_on_failover: bool { default: "false" }
    /// How long to wait until the other standbys have stopped their WAL receivers.
    sibling_nodes_disconnect_timeout: Duration { default: "30" }
    /// How the daemon checks whether a server is available.
    connection_check_type: ConnectionCheck { default: "ping" }
    /// Fail over only if no other standby sees the primary.
    primary_visibility_consensus: bool { default: "false" }
    /// Promote although the WAL position of another node is unknown.
    always_promote: bool { default: "false" }
    /// Command that decides whether this node may be promoted.
    failover_validation_command: Option<String> {}
    /// Time until an election is held again after the validation command has refused.
    election_rerun_interval: Duration { default: "15", least: 1 }
    /// How often a witness copies the metadata.
    witness_sync_interval: Duration { default: "15", least: 1 }
    /// How often a primary counts its standbys.
    child_nodes_check_interval: Duration { default: "5", least: 1 }
    /// Number of lost standbys at which the command is run; -1 is off.
    child_nodes_disconnect_min_count: Option<u32> { default: "-1", least: -1 }
    /// Number of standbys below which the command is run; -1 is off.
    child_nodes_connected_min_count: Option<u32> { default: "-1", least: -1 }
    /// Count the witness as a standby.
    child_nodes_connected_include_witness: bool { default: "false" }
    /// How long too few standbys are tolerated.
    child_nodes_disconnect_timeout: Duration { default: "30" }
    /// Command that is run when too few standbys are left.
    child_nodes_disconnect_command: Option<String> {}

    "For tests":
    /// Reconnect at the same moment on all nodes.
    reconnect_loop_sync: bool { default: "false", hidden: true }
    /// Wait before promoting.
    promote_delay: Duration { default: "0", hidden: true }
    /// Wait before a failover.
    failover_delay: Duration { default: "0", hidden: true }
    /// Query of connection_check_type = query.
    connection_check_query: String { default: "SELECT 1", hidden: true }
}
