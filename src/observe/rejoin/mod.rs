//! What a rejoin is decided from.

mod reclone;
mod relation;
mod wal;

use std::path::{Path, PathBuf};

pub(crate) use self::reclone::prepare_reclone;
use self::relation::{Comparison, compare, with_history};
use self::wal::WalSearch;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::NodeFacts;
use crate::facts::rejoin::{LocalFiles, Loss, inspect_local_files, query_rewind_source};
use crate::facts::role::RoleFacts;
use crate::facts::write_locations::WriteLocation;
use crate::observe::own_node::local_endpoint;
use crate::observe::under_locks::LockedCluster;
use crate::observe::{next_start, open_operations, service};
use crate::pg::client::SqlError;
use crate::pg::conninfo::Conninfo;
use crate::plan::follow::FollowFacts;
use crate::plan::parts::announce::OtherOperations;
use crate::plan::rejoin::{RejoinFacts, RejoinOptions};
use crate::plan::service::{Action, ServiceFacts};
use crate::site::Site;
use crate::system::files;
use crate::units::seconds;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The node is rewound whatever its history says.
    pub forced: bool,
    /// A rewind is agreed to; the pg_rewind to use, if it is not empty.
    pub rewind: Option<String>,
    /// The node is cloned anew where nothing else will do.
    pub reclone: bool,
    /// Files of the data directory that were named; one that is missing is reported.
    pub config_files: Vec<String>,
    /// Where the node's own files are kept, if not in the state directory.
    pub config_archive_directory: Option<PathBuf>,
    /// WAL that is needed is not looked for.
    pub no_check_wal: bool,
    /// The node is not waited for.
    pub no_wait: bool,
}

/// Puts together what the plan depends on.
pub(crate) async fn gather(
    site: &Site,
    request: &Request,
    held: &LockedCluster,
    primary_id: i32,
) -> Result<(RejoinFacts, RejoinOptions)> {
    let config = site.config()?;
    let primary = held.facts.node(primary_id);
    let (Some(primary), Some(there), Some(session)) =
        (primary, primary.and_then(|node| node.facts()), held.session(primary_id))
    else {
        return Err(Error::new(Exit::Connection, "the primary no longer responds"));
    };
    let data = &config.data_directory;
    if !site.options.dry_run {
        service::wait_until_reaped(site, data).await?;
    }
    let clone_instead = clone_instead(primary);
    let unusable = |error: Error| error.hint(clone_instead.clone());
    let unreadable = |error: anyhow::Error| unreadable(data, &clone_instead, &error);
    let mut start = service::facts(site, Action::Start).map_err(unusable)?;
    let stop = service::facts(site, Action::Stop).map_err(unusable)?;
    start.config_directory = site.config_directory(config);
    let installation = site.installation_if_any(config);
    let pg_rewind = match request.rewind.as_deref() {
        Some(path) if !path.is_empty() => path.to_string(),
        _ => installation.required_tool("pg_rewind")?,
    };
    installation.required_tool("pg_controldata")?;
    let control_data = installation.control_data().await.map_err(unreadable)?;
    let local = inspect_local_files(data, installation.major_number(), stop.running, &control_data)
        .map_err(unreadable)?;
    let mut target = query_rewind_source(session).await.map_err(|error: SqlError| {
        Error::new(Exit::Query, "could not query the primary").detail(sentence(&error.to_string()))
    })?;
    let there = with_history(site, &installation, primary, there.clone()).await?;
    let Comparison { local, there, switches, fork, relation } =
        compare(session, local, there, &config.node_name).await.map_err(unreadable)?;
    target.switches = switches;

    let options = options(site, request, pg_rewind, &start)?;
    warn_of_missing_files(site, &request.config_files, data);
    start.places.push(WriteLocation::directory("the place for WAL and saved files", &options.kept_files));
    let mut facts = RejoinFacts {
        cluster: held.facts.clone(),
        node_id: config.node_id,
        primary_id,
        loss: None,
        parts_at: None,
        needed: None,
        gone: Vec::new(),
        restores: false,
        archive_command: None,
        next: next_start::inspect_next_start(data, start.config_directory.as_deref()),
        running: held.roles.get(&config.node_id).map(|role| role.settings.clone()),
        in_force: held.roles.get(&primary_id).map(|role| role.settings.clone()),
        keep_bytes: 0,
        free_bytes: files::free_space(&options.kept).unwrap_or(0),
        start,
        stop,
        local,
        target,
        relation,
        others: open_operations::other_operations(site, held).await,
    };
    // Where it has diverged can no longer be read in WAL that was overwritten.
    if !facts.local.overwritten {
        let search =
            WalSearch { site, session, there: &there, options: &options, no_check: request.no_check_wal };
        search.fill(&mut facts, fork).await.map_err(unreadable)?;
    }
    Ok((facts, options))
}

/// Returns the way out where the data directory cannot be used.
fn clone_instead(primary: &NodeFacts) -> String {
    let conninfo =
        Conninfo::parse(&primary.row.conninfo).map(|conninfo| conninfo.without_secrets().to_string());
    format!(
        "If the data directory is no longer needed, move it aside and clone the node again: \"pgbaton standby clone -d {} --start \
         --register --force\".",
        shell_words::quote(&conninfo.unwrap_or_default())
    )
}

fn unreadable(data: &Path, hint: &str, error: &anyhow::Error) -> Error {
    Error::from_cause(Exit::Failed, format!("could not read data directory \"{}\"", data.display()), error)
        .detail("Nothing was changed.")
        .hint(hint)
}

/// Returns what the operation depends on besides the facts.
fn options(site: &Site, request: &Request, pg_rewind: String, start: &ServiceFacts) -> Result<RejoinOptions> {
    let config = site.config()?;
    let name = crate::system::clock::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let kept = site.state_directory()?.join("kept").join(name);
    let asked = &site.options;
    Ok(RejoinOptions {
        on: local_endpoint(config),
        use_slot: config.use_replication_slots,
        forced: request.forced,
        consent: asked.yes || asked.accept_data_loss || request.rewind.is_some(),
        asked: false,
        accept_data_loss: asked.accept_data_loss,
        force: asked.force,
        reclone: request.reclone,
        no_wait: request.no_wait,
        kept_files: match &request.config_archive_directory {
            Some(directory) => directory.join(format!("pgbaton-config-archive-{}", config.node_name)),
            None => kept.join("files"),
        },
        fetched: kept.join("fetched"),
        kept,
        pg_rewind,
        postgres: site.installation_if_any(config).required_tool("postgres")?,
        config_directory: start.config_directory.clone(),
        timeout_s: seconds(config.node_rejoin_timeout),
    })
}

fn warn_of_missing_files(site: &Site, names: &[String], data: &Path) {
    for missing in names.iter().filter(|name| !data.join(name).exists()) {
        site.messages.warning(
            &format!("there is no file \"{missing}\" in the data directory"),
            Some("It was named by --config-files."),
            None,
        );
    }
}

/// Says again what was discarded, from what was kept: a server that ran went on writing until it was stopped.
pub(crate) fn lost_in_the_end(facts: &RejoinFacts, options: &RejoinOptions) -> Option<Loss> {
    let fork = facts.parts_at.filter(|_| facts.local.running.is_some())?;
    let kept =
        LocalFiles { data_directory: options.kept.clone(), end: None, counted: None, ..facts.local.clone() };
    let lost = kept.loss(fork, None).ok()?;
    match facts.loss {
        Some(reported) => (lost.end >= reported.end).then_some(lost),
        // Of its own it has only the record of its shutdown, unless another client was faster.
        None => lost.commits.filter(|commits| *commits > 0).map(|_| lost),
    }
}

/// Returns the facts for the planner of `standby follow`.
pub(crate) fn follow_facts(
    facts: &RejoinFacts,
    options: &RejoinOptions,
    role: Option<RoleFacts>,
) -> FollowFacts {
    FollowFacts {
        cluster: facts.cluster.clone(),
        role,
        primary: facts.in_force.clone(),
        node_id: facts.node_id,
        target_id: facts.primary_id,
        data_directory: facts.local.data_directory.clone(),
        postgres: options.postgres.clone(),
        kept: options.kept.with_extension("settings"),
        // They are checked already.
        places: Vec::new(),
        login: Ok(()),
        use_slot: options.use_slot,
        timeout_s: options.timeout_s,
        // Heeded already.
        others: OtherOperations::default(),
    }
}
