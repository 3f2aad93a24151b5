//! `node status`: what the local server is and does.

use serde::Deserialize;

use crate::assess::cluster::{Copies, NodeView, Viewpoint, assess};
use crate::assess::daemons::UNKNOWN;
use crate::cli::node::Status as Args;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Issue, Result, Severity, sentence};
use crate::facts::cluster::ClusterFacts;
use crate::facts::directory::{DirectoryContents, inspect_directory, running_postmaster};
use crate::facts::server::{self, ServerFacts};
use crate::facts::source;
use crate::observe::{discovery, own_operations, own_server};
use crate::output::node::NodeStatus;
use crate::output::{Data, Report};
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::control_file;
use crate::registry::NodeType;

/// What only this command asks.
#[derive(Debug, Deserialize)]
struct StatusDetails {
    version: String,
    archive_mode: String,
    archive_command: Option<String>,
    may_look_at_archive: bool,
}

/// What the local server says.
struct StatusFacts {
    server: ServerFacts,
    more: StatusDetails,
    total_data_bytes: Option<u64>,
    /// WAL files that wait to be archived, where the role may see them.
    archive_ready_files: Option<u64>,
}

/// The physical slots of the node.
struct Slots {
    count: usize,
    inactive: Vec<String>,
    /// Those of registered standbys that are not there.
    missing: Vec<String>,
}

/// Shows what the local server is and does.
///
/// # Errors
/// Exit code 6 if it does not answer, 7 if the metadata cannot be read; what is wrong is in the report (exit code 25).
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    if args.is_shutdown_cleanly {
        return is_shutdown_cleanly(context).await;
    }
    let config = context.config()?;
    let whom = format!("node \"{}\"", config.node_name);
    let session = context.connect_local().await?;
    let asked = query_status(&session, &whom).await?;
    let facts = discovery::from_session(context, &session, &whom).await?;
    let now = crate::system::clock::now();
    discovery::remember(context, &facts, now);
    let own_operation = own_operations::own_seen(context).map(|own| (own.operation_id, own.process));
    let unfinished = own_operation.clone().filter(|(_, process)| process.is_none()).map(|(id, _)| id);
    let local = (context.local_conninfo()?.destination().to_string(), asked.server.clone());
    let view = Viewpoint {
        now,
        topology: None,
        lag_warning_s: config.replication_lag_warning.as_secs_f64(),
        own_operation,
        local_node_id: Some(config.node_id),
        local_server: Some(&local),
        copies: &Copies::new(),
        operations: &[],
        automatic: config.fails_over_by_daemon(),
    };
    let (report, issues) = assess(&facts, &view);
    let mut issues: Vec<Issue> =
        issues.into_iter().filter(|issue| issue.node_id == Some(config.node_id)).collect();
    let own = report.nodes.iter().find(|node| node.node_id == config.node_id);
    let slots = Slots::of(&asked.server, &facts, config.node_id);
    if let Some(why) = own_server::is_elsewhere(context, &session).await {
        issues.push(wrong_server(config, why));
    }
    if own.is_none() {
        issues.push(not_registered(config, &asked.server));
    }
    issues.extend(slots.issues(config));
    issues.extend(unfinished.as_ref().map(|id| unfinished_here(config, id)));
    let clean = issues.iter().all(|issue| issue.severity == Severity::Notice);
    let status = status(config, asked, own, slots, unfinished);
    Ok(Report {
        exit: if clean { Exit::Done } else { Exit::Issues },
        changed: false,
        data: Data::NodeStatus(Box::new(status)),
        issues,
    })
}

/// Asks the local server about itself.
async fn query_status(session: &Session, whom: &str) -> Result<StatusFacts> {
    const READY: &str =
        "SELECT to_json(count(*))::text FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
    let broken = |error: SqlError| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    };
    let server = server::query_server_facts(session).await.map_err(broken)?;
    let more: StatusDetails = session.query_json(MORE, &[]).await.map_err(broken)?;
    let total_data_bytes = source::total_bytes(session).await;
    let archive_ready_files = match more.may_look_at_archive && more.archive_mode != "off" {
        true => session.query_json(READY, &[]).await.ok(),
        false => None,
    };
    Ok(StatusFacts { server, more, total_data_bytes, archive_ready_files })
}

impl Slots {
    fn of(server: &ServerFacts, facts: &ClusterFacts, node_id: i32) -> Self {
        let physical: Vec<_> = server.slots.iter().filter(|slot| slot.slot_type == "physical").collect();
        let inactive = physical.iter().filter(|slot| !slot.active).map(|slot| slot.slot_name.clone());
        let missing = facts
            .nodes
            .iter()
            .filter(|node| node.row.active && node.row.node_type == NodeType::Standby)
            .filter(|node| node.row.upstream_node_id == Some(node_id))
            .filter_map(|node| node.row.slot_name.clone())
            .filter(|name| server.slot(name).is_none());
        Self { count: physical.len(), inactive: inactive.collect(), missing: missing.collect() }
    }

    /// Returns what is wrong with them.
    fn issues(&self, config: &Config) -> Vec<Issue> {
        let whom = format!("node \"{}\"", config.node_name);
        let inactive = match self.inactive.as_slice() {
            [] => None,
            [one] => Some(format!("{whom} has an inactive physical replication slot \"{one}\"")),
            several => Some(format!("{whom} has {} inactive physical replication slots", several.len())),
        };
        let inactive = inactive.map(|message| {
            issue(config, "slot_inactive", message)
                .detail(format!("They retain WAL that no client consumes: {}.", self.inactive.join(", ")))
                .hint("If no client needs it any more, drop it with SELECT pg_drop_replication_slot('NAME').")
        });
        let missing = match self.missing.as_slice() {
            [] => None,
            [one] => Some(format!("replication slot \"{one}\" of a registered standby is missing on {whom}")),
            several => Some(format!(
                "{} replication slots of registered standbys are missing on {whom}",
                several.len()
            )),
        };
        let missing = missing.map(|message| {
            issue(config, "slot_missing", message)
                .detail(format!(
                    "WAL is not retained for a standby while it is disconnected: {}.",
                    self.missing.join(", ")
                ))
                .hint("Create it with SELECT pg_create_physical_replication_slot('NAME').")
        });
        inactive.into_iter().chain(missing).collect()
    }
}

/// A warning about the local node.
fn issue(config: &Config, code: &'static str, message: String) -> Issue {
    Issue::warning(code, message).node(config.node_id)
}

fn wrong_server(config: &Config, why: String) -> Issue {
    let message = format!("conninfo of node \"{}\" reaches another server", config.node_name);
    Issue::new(Severity::Error, "wrong_server", message)
        .node(config.node_id)
        .detail(why)
        .hint("Correct conninfo or data_directory in the configuration.")
}

fn not_registered(config: &Config, server: &ServerFacts) -> Issue {
    let noun = if server.in_recovery { "standby" } else { "primary" };
    let message = format!("node \"{}\" (ID {}) is not registered", config.node_name, config.node_id);
    issue(config, "not_registered", message).hint(format!("Run \"pgbaton {noun} register\"."))
}

fn unfinished_here(config: &Config, id: &str) -> Issue {
    issue(config, "operation_unfinished", format!("operation {id} is unfinished on this node"))
        .hint(format!("Run \"pgbaton operation show {id}\"."))
}

/// Puts the answer together; `own` is the node as the cluster has it.
fn status(
    config: &Config,
    asked: StatusFacts,
    own: Option<&NodeView>,
    slots: Slots,
    unfinished_operation: Option<String>,
) -> NodeStatus {
    let StatusFacts { server, more, total_data_bytes, archive_ready_files } = asked;
    NodeStatus {
        node_id: config.node_id,
        node_name: config.node_name.clone(),
        server_version: more.version,
        total_data_bytes,
        conninfo: Conninfo::parse(&config.conninfo).map(|parsed| parsed.redacted()).unwrap_or_default(),
        system_identifier: server.system_identifier.clone(),
        role: match (server.in_recovery, own.map(|node| &node.node_type)) {
            (true, _) => "standby",
            (false, Some(NodeType::Witness)) => "witness",
            (false, _) => "primary",
        },
        registered_type: own.map(|node| node.node_type.to_string()),
        timeline: server.timeline,
        wal_archiving: match (more.archive_mode.as_str(), server.in_recovery) {
            ("off", _) => "off",
            ("on", true) => "disabled",
            _ => "enabled",
        },
        // Without archiving, the server shows "(disabled)" instead.
        archive_command: more.archive_command.filter(|_| more.archive_mode != "off"),
        archive_ready_files,
        replication_connections: i64::try_from(server.senders.len()).unwrap_or(i64::MAX),
        max_wal_senders: server.max_wal_senders,
        physical_slots: i64::try_from(slots.count).unwrap_or(i64::MAX),
        max_replication_slots: server.max_replication_slots,
        inactive_slots: slots.inactive,
        missing_slots: slots.missing,
        upstream_node_id: own.and_then(|node| node.upstream_node_id),
        upstream_node_name: own.and_then(|node| node.upstream_node_name.clone()),
        replication_lag_s: own.and_then(|node| node.replay_lag_s).filter(|_| server.in_recovery),
        receive_lsn: server.receive_lsn,
        replay_lsn: server.replay_lsn,
        daemon: own.map_or(UNKNOWN, |node| node.daemon),
        daemon_paused: own.and_then(|node| node.daemon_paused),
        is_automatic: config.fails_over_by_daemon(),
        unfinished_operation,
    }
}

const MORE: &str = "SELECT json_build_object('version', split_part(current_setting('server_version'), ' ', 1), \
     'archive_mode', current_setting('archive_mode'), \
     'archive_command', (SELECT setting FROM pg_settings WHERE name = 'archive_command'), \
     'may_look_at_archive', has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE'))::text";

/// Prints the line that repmgr's switchover reads from the old primary. Needs no connection, only the data directory.
async fn is_shutdown_cleanly(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let data = &config.data_directory;
    let control = match inspect_directory(data) {
        DirectoryContents::DataDirectory { .. } => control_file::read(data).ok(),
        _ => None,
    };
    let (state, lsn) =
        control.map(|control| (control.state.as_str(), control.checkpoint.to_string())).unwrap_or_default();
    let line = match (running_postmaster(data).is_some(), state) {
        (true, "shutting down" | "shut down" | "shut down in recovery") => {
            "--state=SHUTTING_DOWN".to_string()
        }
        (true, _) => "--state=UP".to_string(),
        (false, "shut down" | "shut down in recovery") => {
            format!("--state=SHUTDOWN --last-checkpoint-lsn={lsn}")
        }
        (false, "") => "--state=UNKNOWN".to_string(),
        (false, _) => "--state=UNCLEAN_SHUTDOWN".to_string(),
    };
    Ok(Report::new(Data::Text(format!("{line}\n"))))
}
