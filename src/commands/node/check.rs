//! `node check`: is this node well?

use std::collections::BTreeMap;
use std::path::Path;

use tokio::time::Instant;

use crate::assess::checks::{self, Evidence, Finding, Needs, Status, judge, worst};
use crate::assess::cluster::{Copies, Viewpoint};
use crate::cli::check::{NodeCheck as Args, Role};
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Result, Text, sentence};
use crate::facts::check_name::Name;
use crate::facts::cluster::{ClusterFacts, NodeFacts, Silence, bounded};
use crate::facts::server;
use crate::observe::discovery::{self, Found, More};
use crate::observe::hosts::{Deadlines, exit, look_here, question, thresholds};
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
fn named(args: &Args) -> Vec<Name> {
    let given = [
        (args.role.is_some(), Name::ServerRole),
        (args.replication_lag, Name::ReplicationLag),
        (args.archive_ready, Name::ArchiveReady),
        (args.upstream, Name::Upstream),
        (args.downstream, Name::Downstream),
        (args.slots, Name::Slots),
        (args.missing_slots, Name::MissingSlots),
        (args.data_directory_config, Name::DataDirectory),
        (args.repmgrd, Name::Repmgrd),
        (args.db_connection, Name::DbConnection),
        (args.identity, Name::Identity),
        (args.server_version, Name::ServerVersion),
        (args.timeline, Name::Timeline),
        (args.replay, Name::Replay),
        (args.wal_retained, Name::WalRetained),
        (args.logical_slots, Name::LogicalSlots),
        (args.archiver, Name::Archiver),
        (args.pending_restart, Name::PendingRestart),
        (args.standby_settings, Name::StandbySettings),
        (args.rewind, Name::Rewind),
        (args.replication_login, Name::ReplicationLogin),
        (args.clock, Name::Clock),
        (args.free_space, Name::FreeSpace),
        (args.unfinished_operation, Name::UnfinishedOperation),
        (args.standby_signal, Name::StandbySignal),
    ];
    given.into_iter().filter_map(|(given, name)| given.then_some(name)).collect()
}

async fn checked(context: &Context, args: &Args, named: &[Name], layout: Layout) -> Result<Report> {
    let config = context.config()?;
    let usual = Name::ALL.iter().copied().filter(|name| name.is_usual());
    let names = if named.is_empty() { usual.collect() } else { named.to_vec() };
    let needs: Vec<Needs> = names.iter().map(|name| name.needs()).collect();
    let deadlines = Deadlines::new(context);
    let asked = if needs.iter().any(|needs| needs.cluster()) {
        all_nodes(context, config, &names, &deadlines).await
    } else if needs.iter().any(|needs| needs.server()) {
        this_server(context, config, &names, &deadlines).await
    } else {
        Ok((alone(config, Err(not_asked())), More::default()))
    };
    // What needs no running server is reported also for one that is down, where it was requested by name.
    let on_the_host = |name: &&Name| !name.needs().server();
    let ((found, more), failed) = match asked {
        Err(error) if layout != Layout::OptFormat && named.iter().any(|name| on_the_host(&name)) => {
            ((alone(config, Err(not_asked())), More::default()), Some(error))
        }
        asked => (asked?, None),
    };
    let (names, unknown): (Vec<Name>, Vec<Name>) =
        names.iter().partition(|name| failed.is_none() || on_the_host(name));
    let needs: Vec<Needs> = names.iter().map(|name| name.needs()).collect();
    let mut hosts = BTreeMap::new();
    if needs.iter().any(|needs| needs.host())
        && let Some(node) = found.facts.node(config.node_id)
    {
        let until: Instant = deadlines.hosts();
        let here = look_here(context, &question(&found.facts, &more, node, &names, until)).await?;
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
        let connects =
            |finding: &&mut Finding| finding.name == Name::DbConnection && finding.status == Status::Ok;
        for finding in findings.nodes.iter_mut().flat_map(|node| &mut node.checks).filter(connects) {
            let message = "could not connect by conninfo of the configuration";
            *finding = Finding::new(Name::DbConnection, Status::Critical, message)
                .detail(sentence(why))
                .hint("Compare conninfo of the configuration with that of the node's record.");
        }
    }
    if names.contains(&Name::Identity)
        && let Ok(session) = context.connect_local().await
        && let Some(why) = own_server::is_elsewhere(context, &session).await
    {
        let checks = findings.nodes.iter_mut().flat_map(|node| &mut node.checks);
        for finding in checks.filter(|finding| finding.name == Name::Identity) {
            *finding = Finding::new(Name::Identity, Status::Critical, "conninfo reaches another server")
                .detail(why.clone())
                .hint("Correct conninfo or data_directory in the configuration.");
        }
    }
    if let (Some(error), Some(node)) = (failed, findings.nodes.first_mut()) {
        let unknown = unknown.into_iter();
        node.checks.extend(unknown.map(|name| Finding::new(name, Status::Unknown, error.text.clone())));
        node.checks.sort_by_key(|finding| finding.name);
    }
    let verdict = worst(&findings.nodes);
    let exit = match layout {
        Layout::Overview if verdict == Status::Ok => Exit::Done,
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
    names: &[Name],
    deadlines: &Deadlines,
) -> Result<(Found, More)> {
    let (found, more) = discovery::cluster_for_checks(context, names, deadlines.servers).await?;
    let whom = format!("node \"{}\"", config.node_name);
    let node = found.facts.node(config.node_id).ok_or_else(|| {
        Error::failed(format!("{whom} (ID {}) is not registered", config.node_id))
            .hint(
                "Run \"pgbaton primary register\", \"pgbaton standby register\" or \"pgbaton witness register\" on it.",
            )
    })?;
    if let Err(silence) = &node.server {
        let error = Error::new(Exit::Connection, format!("could not connect to {whom}"));
        let error = error.detail(sentence(&silence.message));
        return Err(match &silence.hint {
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
    names: &[Name],
    deadlines: &Deadlines,
) -> Result<(Found, More)> {
    let until = Instant::now() + deadlines.servers;
    let whom = format!("node \"{}\"", config.node_name);
    let mut more = More::default();
    let session =
        match superuser::connect(context, &context.local_conninfo()?, &whom, &mut Secrets::new()).await {
            Ok(Some(superuser)) => Ok(superuser.session),
            Ok(None) => context.connect_local().await,
            Err(error) => Err(error),
        };
    let session = match session {
        Ok(session) => session,
        // That is what is asked.
        Err(error) if *names == [Name::DbConnection] && error.exit == Exit::Connection => {
            let Text { message, detail, hint } = error.text;
            let message = detail.unwrap_or(message).trim_end_matches('.').to_string();
            let silence = Silence::new(Answered::Nothing, Text { message, detail: None, hint });
            // When it answered last is known all the same.
            let found = Found { topology: discovery::last_seen(context), ..alone(config, Err(silence)) };
            return Ok((found, more));
        }
        Err(error) => return Err(error),
    };
    let server = bounded(until, server::ask(&session)).await.map_err(|error| {
        Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
    })?;
    let asked = checks::ask(&session, names, until).await;
    more.asked.insert(config.node_id, asked);
    let mut found = alone(config, Ok(server));
    if names.contains(&Name::Slots) {
        // Whose the slots are, as far as it was seen.
        let seen =
            state_directory::saved_topology(context).ok().flatten().into_iter().flat_map(|seen| seen.nodes);
        let others = seen.map(|seen| seen.row).filter(|row| row.node_id != config.node_id);
        found.facts.nodes.extend(others.map(|row| NodeFacts { row, server: Err(not_asked()) }));
    }
    Ok((found, more))
}

fn not_asked() -> Silence {
    Silence::new(Answered::Nothing, "it was not queried")
}

/// The node as its configuration describes it, without any other node.
fn alone(config: &Config, server: std::result::Result<server::ServerFacts, Silence>) -> Found {
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
    Found {
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
    let status = if same { Status::Ok } else { Status::Critical };
    let line = format!("--replication-config-owner={}\n", status.word());
    Ok(Report { exit: exit(status), ..Report::new(Data::Text(line)) })
}
