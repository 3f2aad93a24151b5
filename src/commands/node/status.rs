//! `node status`: what the local server is and does.

use serde::Deserialize;

use crate::assess::cluster::{Copies, Viewpoint, assess};
use crate::cli::node::Status as Args;
use crate::context::Context;
use crate::error::{Error, Exit, Issue, Result, Severity, sentence};
use crate::facts::directory::{Contents, look, running_postmaster};
use crate::facts::{server, source};
use crate::observe::{discovery, own_server, unfinished};
use crate::output::node::NodeStatus;
use crate::output::{Data, Report};
use crate::pg::conninfo::Conninfo;
use crate::pg::control_file;
use crate::registry::NodeType;

/// What only this command asks.
#[derive(Debug, Deserialize)]
struct More {
    version: String,
    archive_mode: String,
    archive_command: Option<String>,
    may_look_at_archive: bool,
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
    let broken = |error: crate::pg::client::SqlError| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    };
    let server = server::ask(&session).await.map_err(broken)?;
    let more: More = session.query_json(MORE, &[]).await.map_err(broken)?;
    let total_data_bytes = source::total_bytes(&session).await;
    let ready: Option<u64> = if more.may_look_at_archive && more.archive_mode != "off" {
        session
            .query_json(
                "SELECT to_json(count(*))::text FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'",
                &[],
            )
            .await
            .ok()
    } else {
        None
    };
    let facts = discovery::from_session(context, &session, &whom).await?;
    let now = crate::journal::now();
    discovery::remember(context, &facts, now);
    let own_operation = unfinished::own_seen(context).map(|own| (own.operation_id, own.process));
    let unfinished = own_operation.clone().filter(|(_, process)| process.is_none()).map(|(id, _)| id);
    let local = (context.local_conninfo()?.place().to_string(), server.clone());
    let view = Viewpoint {
        now,
        topology: None,
        lag_warning_s: config.replication_lag_warning.as_secs_f64(),
        own_operation,
        local_node_id: Some(config.node_id),
        local_server: Some(&local),
        copies: &Copies::new(),
        operations: &[],
    };
    let (report, issues) = assess(&facts, &view);
    let mut issues: Vec<Issue> =
        issues.into_iter().filter(|issue| issue.node_id == Some(config.node_id)).collect();
    let own = report.nodes.iter().find(|node| node.node_id == config.node_id);
    let physical: Vec<_> = server.slots.iter().filter(|slot| slot.slot_type == "physical").collect();
    let inactive: Vec<String> =
        physical.iter().filter(|slot| !slot.active).map(|slot| slot.slot_name.clone()).collect();
    let missing: Vec<String> = facts
        .nodes
        .iter()
        .filter(|node| node.row.active && node.row.node_type == NodeType::Standby)
        .filter(|node| node.row.upstream_node_id == Some(config.node_id))
        .filter_map(|node| node.row.slot_name.clone())
        .filter(|name| server.slot(name).is_none())
        .collect();
    let found = |code: &'static str, message: String, detail: Option<String>, hint: Option<String>| Issue {
        severity: Severity::Warning,
        code,
        node_id: Some(config.node_id),
        message,
        detail,
        hint,
    };
    if let Some(why) = own_server::is_elsewhere(context, &session).await {
        issues.push(Issue {
            severity: Severity::Error,
            ..found(
                "wrong_server",
                format!("conninfo of {whom} reaches another server"),
                Some(why),
                Some("Correct conninfo or data_directory in the configuration.".into()),
            )
        });
    }
    if own.is_none() {
        issues.push(found(
            "not_registered",
            format!("{whom} (ID {}) is not registered", config.node_id),
            None,
            Some(format!(
                "Run \"pgbaton {} register\".",
                if server.in_recovery { "standby" } else { "primary" }
            )),
        ));
    }
    if !inactive.is_empty() {
        issues.push(found(
            "slot_inactive",
            match inactive.as_slice() {
                [one] => format!("{whom} has an inactive physical replication slot \"{one}\""),
                several => format!("{whom} has {} inactive physical replication slots", several.len()),
            },
            Some(format!("They retain WAL that no client consumes: {}.", inactive.join(", "))),
            Some(
                "If no client needs it any more, drop it with SELECT pg_drop_replication_slot('NAME')."
                    .into(),
            ),
        ));
    }
    if !missing.is_empty() {
        issues.push(found(
            "slot_missing",
            match missing.as_slice() {
                [one] => format!("replication slot \"{one}\" of a registered standby is missing on {whom}"),
                several => {
                    format!(
                        "{} replication slots of registered standbys are missing on {whom}",
                        several.len()
                    )
                }
            },
            Some(format!(
                "WAL is not retained for a standby while it is disconnected: {}.",
                missing.join(", ")
            )),
            Some("Create it with SELECT pg_create_physical_replication_slot('NAME').".into()),
        ));
    }
    if let Some(id) = &unfinished {
        issues.push(found(
            "operation_unfinished",
            format!("operation {id} is unfinished on this node"),
            None,
            Some(format!("Run \"pgbaton operation show {id}\".")),
        ));
    }
    let status = NodeStatus {
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
        archive_ready_files: ready,
        replication_connections: i64::try_from(server.senders.len()).unwrap_or(i64::MAX),
        max_wal_senders: server.max_wal_senders,
        physical_slots: i64::try_from(physical.len()).unwrap_or(i64::MAX),
        max_replication_slots: server.max_replication_slots,
        inactive_slots: inactive,
        missing_slots: missing,
        upstream_node_id: own.and_then(|node| node.upstream_node_id),
        upstream_node_name: own.and_then(|node| node.upstream_node_name.clone()),
        replication_lag_s: own.and_then(|node| node.replay_lag_s).filter(|_| server.in_recovery),
        receive_lsn: server.receive_lsn,
        replay_lsn: server.replay_lsn,
        unfinished_operation: unfinished,
    };
    let clean = issues.iter().all(|issue| issue.severity == Severity::Notice);
    Ok(Report {
        exit: if clean { Exit::Done } else { Exit::Issues },
        changed: false,
        data: Data::NodeStatus(Box::new(status)),
        issues,
    })
}

const MORE: &str = "SELECT json_build_object('version', split_part(current_setting('server_version'), ' ', 1), \
     'archive_mode', current_setting('archive_mode'), \
     'archive_command', (SELECT setting FROM pg_settings WHERE name = 'archive_command'), \
     'may_look_at_archive', has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE'))::text";

/// Prints the line that repmgr's switchover reads from the old primary. Needs no connection, only the data directory.
async fn is_shutdown_cleanly(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let data = &config.data_directory;
    let control = match look(data) {
        Contents::DataDirectory { .. } => control_file::read(data).ok(),
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
