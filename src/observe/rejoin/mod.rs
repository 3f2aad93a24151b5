//! What a rejoin is decided from.

mod anew;
mod relation;
mod wal;

use std::cell::OnceCell;

pub(crate) use self::anew::anew;
use self::relation::{primary_history, relation_to};
use self::wal::{Fetch, archive_command, gone, keep_bytes, needed};
use crate::assess::history::Relation;
use crate::cli::node::Rejoin as Args;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::branch::Fork;
use crate::facts::lineage::{self, Lineage};
use crate::facts::places::Place;
use crate::facts::rejoin::{Local, Loss, Needed, ask_target, look};
use crate::facts::role::RoleFacts;
use crate::journal;
use crate::observe::own_node::local_endpoint;
use crate::observe::under_locks::Held;
use crate::observe::{history, next_start, open_operations, service};
use crate::pg::client::SqlError;
use crate::pg::conninfo::Conninfo;
use crate::pg::history::parse_history;
use crate::pg::lsn::Lsn;
use crate::plan::follow::FollowFacts;
use crate::plan::rejoin::{RejoinFacts, RejoinOptions};
use crate::plan::service::Action;
use crate::system::files;
use crate::ui::Level;
use crate::units::seconds;

/// Puts together what the plan depends on.
pub(crate) async fn gather(
    context: &Context,
    args: &Args,
    forced: bool,
    held: &Held,
    primary_id: i32,
) -> Result<(RejoinFacts, RejoinOptions)> {
    let config = context.config()?;
    let primary = held.facts.node(primary_id);
    let (Some(primary), Some(there), Some(session)) =
        (primary, primary.and_then(|node| node.facts()), held.session(primary_id))
    else {
        return Err(Error::new(Exit::Connection, "the primary no longer responds"));
    };
    let broken = |error: SqlError| {
        Error::new(Exit::Query, "could not query the primary").detail(sentence(&error.to_string()))
    };
    let data = &config.data_directory;
    if !context.global.dry_run {
        service::wait_until_reaped(context, data).await?;
    }
    let instead =
        Conninfo::parse(&primary.row.conninfo).map(|conninfo| conninfo.without_secrets().to_string());
    let clone_instead = format!(
        "If the data directory is no longer needed, move it aside and clone the node again: \"pgbaton standby clone -d {} --start \
         --register --force\".",
        shell_words::quote(&instead.unwrap_or_default())
    );
    let unusable = |error: Error| error.hint(clone_instead.clone());
    let mut start = service::facts(context, Action::Start).map_err(unusable)?;
    let stop = service::facts(context, Action::Stop).map_err(unusable)?;
    start.config_directory = context.config_directory(config);
    let installation = context.installation_if_any(config);
    let pg_rewind = match args.force_rewind.as_deref() {
        Some(path) if !path.is_empty() => path.to_string(),
        _ => installation.required_tool("pg_rewind")?,
    };
    let unreadable = |error: anyhow::Error| {
        Error::from_cause(
            Exit::Failed,
            format!("could not read data directory \"{}\"", data.display()),
            &error,
        )
        .detail("Nothing was changed.")
        .hint(clone_instead.clone())
    };
    installation.required_tool("pg_controldata")?;
    let control_data = installation.control_data().await.map_err(unreadable)?;
    let mut local =
        look(data, installation.major_number(), stop.running, &control_data).map_err(unreadable)?;

    let mut target = ask_target(session).await.map_err(broken)?;
    let mut there = there.clone();
    if there.lineage.as_ref().is_none_or(|lineage| lineage.history.is_none()) {
        // The role may not read files there. A replication connection returns as much.
        let history =
            primary_history(context, &installation.required_tool("psql")?, primary, there.timeline).await;
        let promotions = there.lineage.map(|lineage| lineage.promotions).unwrap_or_default();
        there.lineage = Some(Lineage { history, promotions, ..Lineage::default() });
    }
    history::read_there(session, &mut there, (local.control.timeline, local.control.checkpoint)).await;
    let history = there.lineage.as_ref().and_then(|lineage| lineage.history.as_deref());
    target.switches = history.and_then(|text| parse_history(text).ok()).unwrap_or_default();
    let fork = local.fork_from(&target.switches, there.timeline);
    if !local.is_half_rewound() {
        local.find_end(fork).map_err(unreadable)?;
    }
    let mut relation = relation_to(&local, &there, &config.node_name);
    if matches!(relation, Relation::Unknown(_)) && !local.is_half_rewound() {
        // The checkpoint is older than what the primary still has. What was written last may be there.
        let shared_until =
            there.lineage.as_ref().and_then(|theirs| lineage::shared_until(theirs, local.timeline));
        for place in local.find_last_places(shared_until) {
            history::read_there(session, &mut there, place).await;
        }
        relation = relation_to(&local, &there, &config.node_name);
    }
    let there = &there;

    let state = context.state_directory()?;
    let name = journal::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let kept = state.join("kept").join(name);
    let postgres = installation.required_tool("postgres")?;
    let mut options = RejoinOptions {
        on: local_endpoint(config),
        use_slot: config.use_replication_slots,
        forced,
        consent: context.global.yes || context.global.accept_data_loss || args.force_rewind.is_some(),
        asked: false,
        accept_data_loss: context.global.accept_data_loss,
        force: context.global.force,
        reclone: args.reclone,
        no_wait: args.no_wait,
        kept_files: kept.join("files"),
        fetched: kept.join("fetched"),
        kept,
        pg_rewind,
        postgres,
        config_directory: start.config_directory.clone(),
        timeout_s: seconds(config.node_rejoin_timeout),
    };
    if let Some(directory) = &args.config_archive_dir {
        options.kept_files = directory.join(format!("pgbaton-config-archive-{}", config.node_name));
    }
    for missing in args.config_files.iter().filter(|name| !data.join(name).exists()) {
        context.ui.message(
            Level::Warning,
            &format!("there is no file \"{missing}\" in the data directory"),
            Some("It was named by --config-files."),
            None,
        );
    }

    start.places.push(Place::directory("the place for WAL and saved files", &options.kept_files));
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
        next: next_start::look(data, start.config_directory.as_deref()),
        running: held.roles.get(&config.node_id).map(|role| role.settings.clone()),
        in_force: held.roles.get(&primary_id).map(|role| role.settings.clone()),
        keep_bytes: 0,
        free_bytes: files::free_space(&options.kept).unwrap_or(0),
        start,
        stop,
        local,
        target,
        relation,
        others: open_operations::others(context, held).await,
    };
    if facts.local.overwritten {
        // Where it has diverged can no longer be read.
        return Ok((facts, options));
    }
    let diverged = matches!(facts.relation, Relation::Forked { .. });
    // It diverges when it is stopped.
    let writes = facts.local.running.is_some() && facts.local.was_primary();
    let fork = match (fork, &facts.relation) {
        (Fork::At(fork), _) if diverged || forced || writes => fork,
        (_, Relation::Forked { at: Some(at), .. }) => {
            facts.loss = facts.local.loss(*at, None).ok();
            return Ok((facts, options));
        }
        _ => {
            // The segment that is written, and none after it, is never gone, though it may not be there yet.
            let segment = |at: Lsn| at.0 / there.wal_segment_bytes;
            let is_behind = |end: &Lsn| there.current_lsn.is_some_and(|at| segment(*end) < segment(at));
            let looks = !args.no_check_wal && !facts.local.is_half_rewound();
            if let Some(end) = facts.local.end.filter(|end| looks && is_behind(end)) {
                facts.gone = gone(session, there, &facts.target, end).await;
            }
            if !facts.gone.is_empty() {
                let fetch = Fetch { context, options: &options, command: OnceCell::new() };
                facts.restores = fetch.command().await.is_some();
            }
            return Ok((facts, options));
        }
    };
    facts.parts_at = Some(fork).filter(|_| diverged || writes);
    let fetch = Fetch { context, options: &options, command: OnceCell::new() };
    let fetched = options.fetched.clone();
    if !args.no_check_wal {
        facts.needed = Some(needed(&facts.local, fork, &fetch, &fetched).await.map_err(unreadable)?);
    }
    if diverged {
        facts.loss = Some(facts.local.loss(fork, Some(&fetched)).map_err(unreadable)?);
    }
    let from = match &facts.needed {
        Some(Needed::There { checkpoint, .. }) => {
            facts.gone = gone(session, there, &facts.target, fork).await;
            checkpoint.redo
        }
        _ => fork,
    };
    if !facts.gone.is_empty() || matches!(facts.needed, Some(Needed::Missing(_))) {
        facts.restores = fetch.command().await.is_some();
    }
    facts.keep_bytes = keep_bytes(&facts.local, from);
    facts.archive_command = archive_command(context, &options, &facts.local).await;
    if context.global.dry_run {
        // What was fetched was fetched to look at it.
        files::remove_tree(&options.kept).map_err(unreadable)?;
    }
    Ok((facts, options))
}

/// Says again what was discarded, from what was kept: a server that ran went on writing until it was stopped.
pub(crate) fn lost_in_the_end(facts: &RejoinFacts, options: &RejoinOptions) -> Option<Loss> {
    let fork = facts.parts_at.filter(|_| facts.local.running.is_some())?;
    let kept =
        Local { data_directory: options.kept.clone(), end: None, counted: None, ..facts.local.clone() };
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
        others: Vec::new(),
    }
}
