//! What a rejoin is decided from.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use tokio::time::timeout;

use crate::assess::history::{Relation, relation_of};
use crate::cli::node::Rejoin as Args;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::branch::Fork;
use crate::facts::cluster::{NodeFacts, Silence};
use crate::facts::directory::Contents;
use crate::facts::lineage::{self, Lineage};
use crate::facts::places::Place;
use crate::facts::rejoin::{
    Local, Loss, Needed, Target, ask_target, look, own_files, segments, segments_from, segments_gone,
};
use crate::facts::role::RoleFacts;
use crate::facts::server::ServerFacts;
use crate::journal;
use crate::observe::own_node::local_endpoint;
use crate::observe::under_locks::Held;
use crate::observe::{clone, history, next_start, open_operations, service};
use crate::pg::archive_command::placed;
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Answered;
use crate::pg::history::{TimelineId, parse_history};
use crate::pg::lsn::Lsn;
use crate::pg::provenance;
use crate::pg::wal::Wal;
use crate::plan::clone::plan as clone_plan;
use crate::plan::follow::FollowFacts;
use crate::plan::rejoin::{Anew, Aside, RejoinFacts, RejoinOptions};
use crate::plan::service::Action;
use crate::registry::node;
use crate::secret::{Secret, Secrets};
use crate::system::command::Command;
use crate::system::{files, inspect, process};
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
        let history = history(context, &installation.required_tool("psql")?, primary, there.timeline).await;
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

/// Compares the local history with the primary's.
fn relation_to(local: &Local, there: &ServerFacts, name: &str) -> Relation {
    let mut branch = local.branch();
    branch.streams = local.running.is_some() && there.sender_of(name).is_some();
    let relation = relation_of(&branch, &there.into());
    if matches!(relation, Relation::Forked { .. }) || local.is_half_rewound() {
        return relation;
    }
    match local.overwritten_evidence() {
        Some(evidence) => Relation::Forked { evidence, at: None },
        None => relation,
    }
}

/// Asks the primary for the history of its timeline, as a standby does.
async fn history(context: &Context, psql: &str, primary: &NodeFacts, timeline: TimelineId) -> Option<String> {
    let conninfo = Conninfo::parse(&primary.row.conninfo).ok()?;
    let mut secrets = Secrets::new();
    let mut command = Command::new(
        psql,
        [
            "-XAtqw".to_string(),
            format!("--dbname={} replication=true", conninfo.without_secrets()),
            format!("--command=TIMELINE_HISTORY {timeline}"),
        ],
    );
    command.env.extend(provenance::keep_to_it(&mut command.args, &context.environment));
    if let Some(password) = conninfo.get("password") {
        let name = node::password_secret(primary.row.node_id);
        secrets.insert(name.clone(), Secret::new(password));
        command.secrets.push(("PGPASSWORD".into(), name));
    }
    let setting =
        process::Surroundings { environment: Some(&context.environment), secrets, inherit_pg: true };
    let answer = timeout(context.node_deadline(), process::run(&command, &setting)).await.ok()?;
    // The name of the file and its contents.
    let said = answer.ok()?.success().ok()?.stdout;
    said.split_once('|').map(|(_, contents)| contents.to_string())
}

/// Finds what pg_rewind has to read; what is missing is fetched from the archive.
async fn needed(local: &Local, fork: Lsn, fetch: &Fetch<'_>, place: &Path) -> anyhow::Result<Needed> {
    let mut fetched: Vec<String> = Vec::new();
    let mut get = async |name: String| -> anyhow::Result<Option<String>> {
        if fetched.contains(&name) || !fetch.segment(&name, place).await? {
            return Ok(Some(name));
        }
        fetched.push(name);
        Ok(None)
    };
    // A node that has nothing of its own has no record there; what it has replayed last will do.
    let from = if local.end.is_some_and(|end| end > fork) { fork } else { local.control.checkpoint };
    let checkpoint = loop {
        let found = if from == fork {
            local.wal(Some(place))?.checkpoint_before(fork)?
        } else {
            local.wal(Some(place))?.checkpoint_at(from)?
        };
        match found {
            Ok(checkpoint) => break checkpoint,
            Err(name) => {
                if let Some(missing) = get(name).await? {
                    return Ok(Needed::Missing(missing));
                }
            }
        }
    };
    let wal: Wal = local.wal(Some(place))?;
    let last = local.end.unwrap_or(fork).max(fork);
    for name in segments(&wal, checkpoint.redo, Lsn(last.0.saturating_sub(1)))? {
        if !wal.has(&name)
            && let Some(missing) = get(name).await?
        {
            return Ok(Needed::Missing(missing));
        }
    }
    Ok(Needed::There { checkpoint, fetched })
}

/// Returns the segment with which the primary's WAL begins that the node has to replay from this position on, if it is gone there. What comes
/// before it is here.
async fn gone(session: &Session, there: &ServerFacts, target: &Target, fork: Lsn) -> Vec<String> {
    let bytes = there.wal_segment_bytes;
    let end = (fork.0 / bytes + 1) * bytes;
    let timeline = target
        .switches
        .iter()
        .find(|switch| switch.switch.0 >= end)
        .map_or(there.timeline, |switch| switch.timeline);
    let names: Vec<String> = timeline.segment_file_name(fork, bytes).into_iter().collect();
    segments_gone(session, &names).await.unwrap_or_default()
}

/// Counts what is copied aside.
fn keep_bytes(local: &Local, from: Lsn) -> u64 {
    let pg_wal = local.data_directory.join("pg_wal");
    let segments = segments_from(&pg_wal, from, local.segment_bytes).map_or(0, |names| names.len() as u64);
    let files = local.own_files.iter().map(|path| inspect::file_bytes(&local.data_directory.join(path)));
    segments * local.segment_bytes + files.sum::<u64>()
}

/// Returns `archive_command`, if something waits for it and the server would use it.
async fn archive_command(context: &Context, options: &RejoinOptions, local: &Local) -> Option<String> {
    if local.unarchived.is_empty() {
        return None;
    }
    let mode = setting(context, options, "archive_mode").await?;
    let library = setting(context, options, "archive_library").await.unwrap_or_default();
    let command = setting(context, options, "archive_command").await?;
    (mode != "off" && library.is_empty() && !command.is_empty()).then_some(command)
}

/// Asks the program `postgres` for a setting in the files of the local server.
async fn setting(context: &Context, options: &RejoinOptions, name: &str) -> Option<String> {
    let installation = context.installation(context.config().ok()?).ok()?;
    installation.setting(name, options.config_directory.as_deref()).await.ok()
}

async fn run(context: &Context, program: &str, args: &[String]) -> anyhow::Result<String> {
    let setting =
        process::Surroundings { environment: Some(&context.environment), ..process::Surroundings::default() };
    let command = Command::new(program, args.to_vec());
    Ok(process::run(&command, &setting).await?.success()?.stdout)
}

/// Fetches segments from the archive, to look at them.
struct Fetch<'a> {
    context: &'a Context,
    options: &'a RejoinOptions,
    /// `restore_command`, once it was asked for.
    command: OnceCell<Option<String>>,
}

impl Fetch<'_> {
    /// Returns `restore_command`: that of the configuration, else the server's own.
    async fn command(&self) -> Option<&str> {
        if self.command.get().is_none() {
            // One that is not to be run counts as none.
            let own =
                |config: &Config| config.command("restore_command", &config.restore_command).ok()?.cloned();
            let configured = self.context.config().ok().and_then(own);
            let command = match configured {
                Some(command) => Some(command),
                None => setting(self.context, self.options, "restore_command").await,
            };
            let _ = self.command.set(command.filter(|command| !command.is_empty()));
        }
        self.command.get()?.as_deref()
    }

    /// Fetches a segment; false if the archive does not have it.
    async fn segment(&self, name: &str, place: &Path) -> anyhow::Result<bool> {
        let Some(command) = self.command().await else { return Ok(false) };
        files::make_directory(place, 0o700)?;
        let path: PathBuf = place.join(name);
        // The server quotes neither; this user's own state directory has no odd name.
        let line = placed(command, &path.display().to_string(), name);
        let fetched = run(self.context, "/bin/sh", &["-c".into(), line]).await;
        match fetched {
            Ok(_) if path.exists() => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => {
                self.context.debug(&format!("segment {name} could not be fetched: {error:#}"));
                files::remove_file(&path)?;
                Ok(false)
            }
        }
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

/// What a new clone takes, where nothing else will do.
pub(crate) async fn anew(
    context: &Context,
    facts: &RejoinFacts,
    options: &RejoinOptions,
    secrets: &mut Secrets,
) -> Result<Anew> {
    let data = &facts.local.data_directory;
    let row = facts.cluster.node(facts.primary_id).map(|node| node.row.conninfo.clone()).unwrap_or_default();
    let given = Conninfo::parse(&row).map_err(|error| {
        Error::failed("invalid connection string in the record of the primary")
            .detail(sentence(&error.to_string()))
    })?;
    let (mut clone_facts, clone_options) = clone::prepare_anew(context, &given, secrets).await?;
    if facts.local.running.is_some() {
        // That is the server which will be stopped first.
        let own = clone_facts.cluster.nodes.iter_mut().find(|node| node.row.node_id == facts.node_id);
        if let Some(own) = own {
            own.server = Err(Silence {
                answered: Answered::Nothing,
                message: "it will be stopped".into(),
                detail: None,
                hint: None,
            });
        }
    }
    let stamp = options.kept.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let aside_path = |path: &Path| {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{stamp}"));
        path.with_file_name(name)
    };
    let moved =
        |from: &Path, link: Option<PathBuf>| Aside { from: from.to_path_buf(), to: aside_path(from), link };
    let mut aside = vec![moved(data, None)];
    let in_tablespaces = files::names_in(&data.join("pg_tblspc")).unwrap_or_default();
    let in_tablespaces = in_tablespaces.iter().map(|name| Path::new("pg_tblspc").join(name));
    let linked: Vec<(PathBuf, PathBuf)> = in_tablespaces
        .chain([PathBuf::from("pg_wal")])
        .filter_map(|name| Some((data.join(std::fs::read_link(data.join(&name)).ok()?), name)))
        .collect();
    for target in clone_facts.tablespaces.iter_mut().chain(&mut clone_facts.waldir) {
        // The primary may be on this host; what is its own is not touched, and stops the clone.
        let theirs = clone_facts.source_is_local && target.to == Path::new(&target.from);
        if let Some((_, name)) = linked.iter().find(|(to, _)| *to == target.to).filter(|_| !theirs) {
            aside.push(moved(&target.to, Some(name.clone())));
            target.contents = Contents::Missing;
            target.room.reclaimable_bytes = 0;
            target.ours = false;
        }
    }
    let immovable = aside.iter().find_map(|aside| inspect::immovable(&aside.from));
    let configuration = if facts.local.is_half_rewound() {
        let kept = options.kept.parent().map(Path::to_path_buf).unwrap_or_default();
        let newest = files::names_in(&kept).unwrap_or_default().into_iter().rev();
        newest.map(|name| kept.join(name).join("files")).find(|path| path.is_dir()).map(|path| {
            let list = own_files(&path);
            (path, list)
        })
    } else {
        Some((aside_path(data), facts.local.own_files.clone()))
    };
    if configuration.is_none() {
        context.ui.say(
            Level::Warning,
            "the node's own configuration files are lost; the new clone has those of the primary",
        );
    }
    Ok(Anew { clone: clone_plan(&clone_facts, &clone_options), aside, immovable, configuration })
}
