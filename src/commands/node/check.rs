//! `node check`: is this node well?

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::Instant;

use crate::assess::checks::{self, CheckNeeds, CheckStatus, Evidence, Finding, judge, worst};
use crate::assess::cluster::{Copies, Viewpoint};
use crate::cli::check::{NodeCheck as Args, Role};
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Result, Text, sentence};
use crate::facts::check_name::CheckName;
use crate::facts::cluster::{ClusterFacts, NodeFacts, Unavailable, bounded};
use crate::facts::server;
use crate::observe::discovery::{self, CheckExtras, Discovered};
use crate::observe::hosts::{Deadlines, exit, host_question, look_here, thresholds};
use crate::observe::{own_operations, own_server, replication_login, superuser};
use crate::output::check::{CheckReport, Layout};
use crate::output::{Data, Report};
use crate::pg::failure::Answered;
use crate::plan::parts::following::upstream;
use crate::registry::{NodeRow, NodeType};
use crate::secret::Secrets;
use crate::site::state_directory;
use crate::system::inspect;

/// Checks the local node, or the one that was named.
///
/// # Errors
/// Exit code 6 if the server does not answer, 7 if the metadata cannot be read; with an option for one check these and all others are 3
/// when they leave the program. What is wrong is in the report.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    if args.has_passfile {
        // Every libpq that repmgr 5 runs with has password files, and so have we.
        return Ok(Report::new(Data::Nothing));
    }
    if args.replication_connection {
        return replication_connection(context, args).await;
    }
    if args.replication_config_owner {
        return replication_config_owner(context, args);
    }
    let named = named(args);
    if args.optformat && named.is_empty() {
        return Err(Error::failed("--optformat can only be used with a check")
            .hint("Name one, for example --archive-ready."));
    }
    let layout = match (args.optformat, args.nagios, named.is_empty()) {
        (true, ..) => Layout::OptFormat,
        (_, true, true) => Layout::NodeNagios,
        (_, true, false) => Layout::Nagios,
        (.., true) => Layout::Overview,
        (.., false) => Layout::Single,
    };
    match checked(context, args, &named, layout).await {
        Err(error) if args.optformat && error.exit == Exit::Connection => {
            // That is what the repmgr that has called reads.
            context.ui.error(&error);
            let line = "--error=DB_CONNECTION\n".to_string();
            Ok(Report { exit: Exit::CannotTell, ..Report::new(Data::Text(line)) })
        }
        other => other,
    }
}

/// Returns the checks that were named.
fn named(args: &Args) -> Vec<CheckName> {
    let given = [
        (args.role.is_some(), CheckName::ServerRole),
        (args.replication_lag, CheckName::ReplicationLag),
        (args.archive_ready, CheckName::ArchiveReady),
        (args.upstream, CheckName::Upstream),
        (args.downstream, CheckName::Downstream),
        (args.slots, CheckName::Slots),
        (args.missing_slots, CheckName::MissingSlots),
        (args.data_directory_config, CheckName::DataDirectory),
        (args.repmgrd, CheckName::Repmgrd),
        (args.db_connection, CheckName::DbConnection),
        (args.identity, CheckName::Identity),
        (args.server_version, CheckName::ServerVersion),
        (args.timeline, CheckName::Timeline),
        (args.replay, CheckName::Replay),
        (args.wal_retained, CheckName::WalRetained),
        (args.logical_slots, CheckName::LogicalSlots),
        (args.archiver, CheckName::Archiver),
        (args.pending_restart, CheckName::PendingRestart),
        (args.standby_settings, CheckName::StandbySettings),
        (args.rewind, CheckName::Rewind),
        (args.replication_login, CheckName::ReplicationLogin),
        (args.clock, CheckName::Clock),
        (args.free_space, CheckName::FreeSpace),
        (args.unfinished_operation, CheckName::UnfinishedOperation),
        (args.standby_signal, CheckName::StandbySignal),
        (args.daemon, CheckName::Daemon),
    ];
    given.into_iter().filter_map(|(given, name)| given.then_some(name)).collect()
}

async fn checked(context: &Context, args: &Args, named: &[CheckName], layout: Layout) -> Result<Report> {
    let config = context.config()?;
    let usual = CheckName::ALL.iter().copied().filter(|name| name.is_usual());
    let names = if named.is_empty() { usual.collect() } else { named.to_vec() };
    let needs: Vec<CheckNeeds> = names.iter().map(|name| name.needs()).collect();
    let deadlines = Deadlines::new(context);
    let asked = if needs.iter().any(|needs| needs.cluster()) {
        all_nodes(context, config, &names, &deadlines).await
    } else if needs.iter().any(|needs| needs.server()) {
        this_server(context, config, &names, &deadlines).await
    } else {
        Ok((facts_without_others(config, Err(not_asked())), CheckExtras::default()))
    };
    // What needs no running server is reported also for one that is down, where it was requested by name.
    let on_the_host = |name: &&CheckName| !name.needs().server();
    let ((found, more), failed) = match asked {
        Err(error) if layout != Layout::OptFormat && named.iter().any(|name| on_the_host(&name)) => {
            ((facts_without_others(config, Err(not_asked())), CheckExtras::default()), Some(error))
        }
        asked => (asked?, None),
    };
    let (names, unknown): (Vec<CheckName>, Vec<CheckName>) =
        names.iter().partition(|name| failed.is_none() || on_the_host(name));
    let needs: Vec<CheckNeeds> = names.iter().map(|name| name.needs()).collect();
    let mut hosts = BTreeMap::new();
    if needs.iter().any(|needs| needs.host())
        && let Some(node) = found.facts.node(config.node_id)
    {
        let until: Instant = deadlines.hosts();
        let here = look_here(context, &host_question(&found.facts, &more, node, &names, until)).await?;
        hosts.insert(config.node_id, Ok(here));
    }
    let thresholds = thresholds(Some(config));
    let view = Viewpoint {
        now: found.now,
        topology: found.topology.as_ref(),
        lag_warning_s: thresholds.lag_s.0,
        own_operation: own_operations::own_seen(context).map(|own| (own.operation_id, own.process)),
        local_node_id: Some(config.node_id),
        local_server: found.local.as_ref(),
        copies: &found.copies,
        operations: &found.operations,
        automatic: config.fails_over_by_daemon(),
    };
    let evidence = Evidence {
        facts: &found.facts,
        view: &view,
        asked: &more.asked,
        hosts: &hosts,
        thresholds: &thresholds,
    };
    let expected = args.role.flatten().map(|role| match role {
        Role::Primary => NodeType::Primary,
        Role::Standby => NodeType::Standby,
        Role::Witness => NodeType::Witness,
    });
    let mut findings = judge(&evidence, &names, Some(config.node_id), expected.as_ref());
    if let Some(why) = &more.refused {
        // Its record leads to it all the same, and so other nodes are none the wiser. The checks that ask only it do not get there.
        let connects = |finding: &&mut Finding| {
            finding.name == CheckName::DbConnection && finding.status == CheckStatus::Ok
        };
        for finding in findings.nodes.iter_mut().flat_map(|node| &mut node.checks).filter(connects) {
            let message = "could not connect by conninfo of the configuration";
            *finding = Finding::new(CheckName::DbConnection, CheckStatus::Critical, message)
                .detail(sentence(why))
                .hint("Compare conninfo of the configuration with that of the node's record.");
        }
    }
    if names.contains(&CheckName::Identity)
        && let Ok(session) = context.connect_local().await
        && let Some(why) = own_server::is_elsewhere(context, &session).await
    {
        let checks = findings.nodes.iter_mut().flat_map(|node| &mut node.checks);
        for finding in checks.filter(|finding| finding.name == CheckName::Identity) {
            *finding =
                Finding::new(CheckName::Identity, CheckStatus::Critical, "conninfo reaches another server")
                    .detail(why.clone())
                    .hint("Correct conninfo or data_directory in the configuration.");
        }
    }
    if let (Some(error), Some(node)) = (failed, findings.nodes.first_mut()) {
        let unknown = unknown.into_iter();
        node.checks.extend(unknown.map(|name| Finding::new(name, CheckStatus::Unknown, error.text.clone())));
        node.checks.sort_by_key(|finding| finding.name);
    }
    let verdict = worst(&findings.nodes);
    let exit = match layout {
        Layout::Overview if verdict == CheckStatus::Ok => Exit::Done,
        Layout::Overview => Exit::Issues,
        _ => exit(verdict),
    };
    let report = CheckReport::of_node(findings.nodes, layout);
    Ok(Report { exit, ..Report::new(Data::Checks(Box::new(report))) })
}

/// Asks all nodes; this one has to be registered and to answer.
async fn all_nodes(
    context: &Context,
    config: &Config,
    names: &[CheckName],
    deadlines: &Deadlines,
) -> Result<(Discovered, CheckExtras)> {
    let (found, more) = discovery::cluster_for_checks(context, names, deadlines.servers).await?;
    let whom = format!("node \"{}\"", config.node_name);
    let node = found.facts.node(config.node_id).ok_or_else(|| {
        Error::failed(format!("{whom} (ID {}) is not registered", config.node_id))
            .hint(
                "Run \"pgbaton primary register\", \"pgbaton standby register\" or \"pgbaton witness register\" on it.",
            )
    })?;
    if let Err(unavailable) = &node.server {
        let error = Error::new(Exit::Connection, format!("could not connect to {whom}"));
        let error = error.detail(sentence(&unavailable.message));
        return Err(match &unavailable.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        });
    }
    Ok((found, more))
}

/// Asks only the local server: what others do is no concern of these checks.
async fn this_server(
    context: &Context,
    config: &Config,
    names: &[CheckName],
    deadlines: &Deadlines,
) -> Result<(Discovered, CheckExtras)> {
    let until = Instant::now() + deadlines.servers;
    let whom = format!("node \"{}\"", config.node_name);
    let mut more = CheckExtras::default();
    let session =
        match superuser::connect(context, &context.local_conninfo()?, &whom, &mut Secrets::new()).await {
            Ok(Some(superuser)) => Ok(superuser.session),
            Ok(None) => context.connect_local().await,
            Err(error) => Err(error),
        };
    let session = match session {
        Ok(session) => session,
        // That is what is asked.
        Err(error) if *names == [CheckName::DbConnection] && error.exit == Exit::Connection => {
            let Text { message, detail, hint } = error.text;
            let message = detail.unwrap_or(message).trim_end_matches('.').to_string();
            let unavailable = Unavailable::new(Answered::Nothing, Text { message, detail: None, hint });
            // When it answered last is known all the same.
            let found = Discovered {
                topology: discovery::last_seen(context),
                ..facts_without_others(config, Err(unavailable))
            };
            return Ok((found, more));
        }
        Err(error) => return Err(error),
    };
    let server = bounded(until, server::query_server_facts(&session)).await.map_err(|error| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    })?;
    let asked = checks::query_check_facts(&session, names, until).await;
    more.asked.insert(config.node_id, asked);
    let mut found = facts_without_others(config, Ok(server));
    if names.contains(&CheckName::Slots) {
        // Whose the slots are, as far as it was seen.
        let seen =
            state_directory::saved_topology(context).ok().flatten().into_iter().flat_map(|seen| seen.nodes);
        let others = seen.map(|seen| seen.row).filter(|row| row.node_id != config.node_id);
        found.facts.nodes.extend(others.map(|row| NodeFacts { row, server: Err(not_asked()) }));
    }
    Ok((found, more))
}

fn not_asked() -> Unavailable {
    Unavailable::new(Answered::Nothing, "it was not queried")
}

/// The node as its configuration describes it, without any other node.
fn facts_without_others(
    config: &Config,
    server: std::result::Result<server::ServerFacts, Unavailable>,
) -> Discovered {
    let row = NodeRow {
        node_id: config.node_id,
        upstream_node_id: None,
        active: true,
        node_name: config.node_name.clone(),
        node_type: NodeType::Standby,
        location: config.location.clone(),
        priority: 0,
        conninfo: config.conninfo.clone(),
        repluser: String::new(),
        slot_name: None,
        config_file: String::new(),
    };
    let facts = ClusterFacts { nodes: vec![NodeFacts { row, server }], ..ClusterFacts::default() };
    Discovered {
        facts,
        local: None,
        copies: Copies::new(),
        operations: Vec::new(),
        topology: None,
        now: crate::system::clock::now(),
    }
}

/// Tries the replication login to one node, as repmgr asks before a switchover. The answer is a word; the exit code is 0 whatever it is.
async fn replication_connection(context: &Context, args: &Args) -> Result<Report> {
    let config = context.config()?;
    let word = match (args.remote_node_id, discovery::cluster(context).await) {
        (_, Err(error)) => {
            context.ui.error(&error);
            "CONNECTION_ERROR"
        }
        (None, Ok(_)) => "UNKNOWN",
        (Some(id), Ok(found)) => match (found.facts.node(id), found.facts.node(config.node_id)) {
            (Some(remote), Some(own)) => {
                let version = own.facts().map_or(0, |server| server.version_num);
                let to = upstream(&remote.row, &own.row, version, None);
                let tried =
                    tokio::time::timeout(context.node_deadline(), replication_login::to_follow(context, &to))
                        .await;
                if matches!(tried, Ok(Ok(()))) { "OK" } else { "BAD" }
            }
            _ => "UNKNOWN",
        },
    };
    Ok(Report::new(Data::Text(format!("--connection={word}\n"))))
}

/// Says whether the file that ALTER SYSTEM writes belongs to whom the data directory belongs to.
fn replication_config_owner(context: &Context, args: &Args) -> Result<Report> {
    if !args.optformat {
        return Err(Error::failed("--replication-config-owner can only be used with --optformat"));
    }
    let data: &Path = &context.config()?.data_directory;
    let same = inspect::owner(data) == inspect::owner(&data.join("postgresql.auto.conf"));
    let status = if same { CheckStatus::Ok } else { CheckStatus::Critical };
    let line = format!("--replication-config-owner={}\n", status.nagios_word());
    Ok(Report { exit: exit(status), ..Report::new(Data::Text(line)) })
}
