//! Everything that the plan of a clone depends on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cli::standby::{Clone as Args, ExternalFiles};
use crate::config::Config;
use crate::context::{Context, not_connected};
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts, gather};
use crate::facts::directory::{
    COPY, Contents, Marker, STAGING, leftover, look, look_past_mark, nearest_existing,
};
use crate::facts::server::{self, ServerFacts};
use crate::facts::source::{self, Source};
use crate::far_end::checks::{Expected, checks};
use crate::far_end::remote::{OPEN, Remote};
use crate::observe::clone_places;
use crate::observe::clone_receiver::Receiver;
use crate::observe::node_location::{self, Whereabouts};
use crate::observe::own_node::secrets_of;
use crate::observe::replication_login::Login;
use crate::observe::superuser::{self, Superuser};
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::{Endpoint, endpoint_to};
use crate::pg::failure::Kind;
use crate::pg::{control_file, tools};
use crate::plan::Check;
use crate::plan::clone::{CloneFacts, CloneOptions, ExternalCopy, FileRead, NotRead, Room, TablespaceTarget};
use crate::registry::node;
use crate::registry::schema::{self, Verdict};
use crate::secret::{Secret, Secrets};
use crate::system::command::Command;
use crate::system::{files, inspect, process, trial};
use crate::ui::Level;

/// The name of the source's whole conninfo, password included.
const SOURCE_CONNINFO: &str = "conninfo of the source";

/// What the source and the registered nodes say.
pub(crate) struct Asked {
    session: Session,
    superuser: Option<Superuser>,
    server: ServerFacts,
    details: Source,
    present: schema::Present,
    cluster: ClusterFacts,
}

impl Asked {
    /// Asks; what the role may not see the superuser is asked for, if one was named.
    pub(crate) async fn all(
        context: &Context,
        session: Session,
        superuser: Option<Superuser>,
    ) -> Result<Self> {
        let broken = |error: SqlError| {
            Error::new(Exit::Query, "could not query the source server").detail(sentence(&error.to_string()))
        };
        let reader = superuser.as_ref().map_or(&session, |superuser| &superuser.session);
        let (server, details, present, role) = tokio::join!(
            server::ask(&session),
            source::ask(reader),
            schema::look(&session),
            source::ask_role(&session)
        );
        let (role, role_replicates) = role.map_err(broken)?;
        let details = Source { role, role_replicates, ..details.map_err(broken)? };
        let present = present.map_err(broken)?;
        let cluster = match present.verdict() {
            Verdict::Complete | Verdict::OwnMissing => {
                let rows = node::read_all(&session).await.map_err(broken)?;
                gather(&rows, &[], &context.environment, context.node_deadline()).await
            }
            _ => ClusterFacts::default(),
        };
        Ok(Self { server: server.map_err(broken)?, session, superuser, details, present, cluster })
    }

    /// Returns the cluster of the source.
    pub(crate) fn system_identifier(&self) -> &str {
        &self.server.system_identifier
    }

    /// Finds the source among the registered nodes: the running server with the same start.
    fn source_node(&self) -> Option<&NodeFacts> {
        self.cluster.nodes.iter().find(|node| {
            node.facts().is_some_and(|server| {
                server.started_at == self.server.started_at
                    && server.system_identifier == self.server.system_identifier
            })
        })
    }
}

/// Puts together what the plan depends on.
pub(crate) async fn prepare(
    context: &Context,
    args: &Args,
    given: &Conninfo,
    asked: Asked,
    secrets: &mut Secrets,
) -> Result<(CloneFacts, CloneOptions)> {
    let config = context.config()?;
    let data = &config.data_directory;
    let source_node = asked.source_node();
    let source_id = source_node.map(|node| node.row.node_id);
    let source_name =
        source_node.map_or_else(|| asked.session.server_name(), |node| node.row.node_name.clone());
    let primary_id = asked.cluster.primaries().next().map(|(node, _)| node.row.node_id).or_else(|| {
        let rows = asked.cluster.nodes.iter().map(|node| &node.row);
        rows.filter(|row| row.active && row.node_type == crate::registry::NodeType::Primary)
            .map(|row| row.node_id)
            .next()
    });
    let upstream_id = args.upstream_node_id.or(primary_id);
    let upstream = upstream_id.and_then(|id| asked.cluster.node(id));
    let major = asked.server.version_num / 10_000;
    secrets.extend(secrets_of(&asked.cluster));

    // How pg_basebackup connects: as the command line says, but as the role for replication.
    let role = args
        .replication_user
        .clone()
        .or_else(|| config.replication_user.clone())
        .or_else(|| upstream.map(|node| node.row.repluser.clone()))
        .unwrap_or_else(|| asked.details.role.clone());
    let mut backup = given.clone();
    let same_role = given.get("user") == Some(role.as_str());
    backup.set("user", &role);
    let state_directory = context.state_directory()?;
    let login = Login::new(&backup, same_role, secrets, &state_directory)?;
    let source = endpoint_to(given, format!("\"{source_name}\""), SOURCE_CONNINFO, secrets);
    let slot_on = slot_as_superuser(context, &asked, upstream, secrets).await?;

    // How the WAL receiver connects.
    let upstream_conninfo = match (&args.upstream_conninfo, upstream) {
        (Some(text), _) => Conninfo::parse(text).map_err(|error| {
            Error::failed("invalid connection string in --upstream-conninfo")
                .detail(sentence(&error.to_string()))
        })?,
        (None, Some(node)) => Conninfo::parse(&node.row.conninfo).map_err(|error| {
            Error::failed(format!(
                "invalid connection string in the record of node \"{}\"",
                node.row.node_name
            ))
            .detail(sentence(&error.to_string()))
        })?,
        (None, None) => given.clone(),
    };
    // The role that was named there is meant, unless one was named by itself.
    let of_upstream = upstream_conninfo
        .get("user")
        .filter(|_| args.upstream_conninfo.is_some() && args.replication_user.is_none());
    let receiver = Receiver::new(
        context,
        &upstream_conninfo,
        args.upstream_conninfo.is_some(),
        of_upstream.unwrap_or(&role),
        major,
    )?;
    let primary_conninfo = receiver.primary_conninfo(secrets);

    let installation = context.installation_of(config, major);
    let pg_basebackup = installation.tool("pg_basebackup");
    let tools_major = match &pg_basebackup {
        Ok(path) => version_of(context, path).await,
        Err(error) => Err(sentence(&format!("{error:#}"))),
    };
    let psql = installation.tool("psql").unwrap_or_else(|_| "psql".into());
    // One after the other: at once they would need two WAL senders, and there may be one.
    let backup_login = login.attempt(context, &psql, secrets, true).await.map_err(|no| no.why);
    let receiver_login = receiver.attempt(context, &psql).await.map_err(|no| no.why);

    let directory = if args.replication_conf_only { look_past_mark(data) } else { look(data) };
    let directory_identifier = match &directory {
        Contents::DataDirectory { .. } => control_file::read(data).ok(),
        _ => None,
    }
    .map(|control| control.system_identifier.to_string());
    let source_is_local = given.is_this_host();
    let external = external_files(context, args, &asked, source_is_local, data, secrets).await;
    let extra_options =
        shell_words::split(config.pg_basebackup_options.as_deref().unwrap_or("")).map_err(|error| {
            Error::failed("invalid pg_basebackup_options").detail(sentence(&error.to_string()))
        })?;
    // Where nothing is copied no room is needed, and counting what is there would take long.
    let mut extra_options = extra_options;
    let (room, tablespaces, waldir) = if args.replication_conf_only {
        (Room::default(), Vec::new(), None)
    } else {
        let tablespaces = tablespaces(config, &asked.details, &directory);
        if let (None, Some(linked)) = (named_waldir(&extra_options), linked_waldir(data, &directory)) {
            // WAL stays on the disk that it was put on.
            extra_options.push(format!("--waldir={}", linked.display()));
        }
        (room(data, &directory), tablespaces, waldir(data, &extra_options, &directory))
    };
    let state = context.state_directory()?;
    let others: Vec<&Path> = tablespaces.iter().chain(&waldir).map(|target| target.to.as_path()).collect();
    let directory_problem =
        directory_problem(data, &others.into_iter().chain([state.as_path()]).collect::<Vec<_>>());
    let filled = clone_places::filled(data, &tablespaces, waldir.as_ref());
    let foreign = clone_places::foreign(data, &filled, source_is_local.then_some(&asked.details));
    let writers =
        inspect::processes_with_argument(&format!("--pgdata={}", data.join(STAGING).join(COPY).display()));
    let options = CloneOptions {
        node_id: config.node_id,
        node_name: config.node_name.clone(),
        conninfo: context.local_conninfo()?,
        data_directory: data.clone(),
        use_slot: config.use_replication_slots,
        pg_basebackup: pg_basebackup.unwrap_or_default(),
        pg_verifybackup: match (args.verify_backup, installation.tool("pg_verifybackup")) {
            (false, _) => None,
            (true, Ok(path)) => Some(path),
            (true, Err(error)) => {
                return Err(Error::from_cause(Exit::Failed, "could not find pg_verifybackup", &error));
            }
        },
        source,
        slot_on,
        backup_conninfo: login.conninfo,
        backup_secrets: login.secrets,
        service_file: login.service_file,
        spread_checkpoint: args.spread_checkpoint,
        extra_options,
        primary_conninfo,
        settings: settings(config, args)?,
        port: own_port(&context.local_conninfo()?, &asked.details, args.replication_conf_only),
        copy_external: args.copy_external_config_files.is_some(),
        conf_only: args.replication_conf_only,
        force: context.global.force,
    };
    let facts = CloneFacts {
        source: asked.server,
        details: asked.details,
        source_name,
        source_id,
        present: asked.present,
        cluster: asked.cluster,
        upstream_id,
        directory,
        leftover: leftover(data),
        directory_identifier,
        directory_problem,
        room,
        tablespaces,
        waldir,
        writers,
        tools_major,
        backup_login,
        receiver_login,
        external,
        source_is_local,
        filled,
        foreign,
    };
    Ok((facts, options))
}

/// Returns where the named superuser makes the slot, if the role itself may not.
async fn slot_as_superuser(
    context: &Context,
    asked: &Asked,
    upstream: Option<&NodeFacts>,
    secrets: &mut Secrets,
) -> Result<Option<Endpoint>> {
    if asked.details.role_replicates || !context.config()?.use_replication_slots {
        return Ok(None);
    }
    let row = match upstream {
        Some(node) if node.facts().is_some() => &node.row,
        // The check reports that it does not respond.
        Some(_) => return Ok(None),
        None => return Ok(asked.superuser.as_ref().map(|superuser| superuser.on.clone())),
    };
    // An invalid one does not answer either.
    let conninfo = Conninfo::parse(&row.conninfo).unwrap_or_default();
    let server = format!("node \"{}\"", row.node_name);
    Ok(superuser::connect(context, &conninfo, &server, secrets).await?.map(|superuser| superuser.on))
}

/// Asks a program for its major version.
async fn version_of(context: &Context, program: &str) -> std::result::Result<u32, String> {
    let setting =
        process::Surroundings { environment: Some(&context.environment), ..process::Surroundings::default() };
    let finished = process::run(&Command::new(program, ["--version"]), &setting)
        .await
        .and_then(process::Finished::success)
        .map_err(|error| sentence(&format!("{error:#}")))?;
    tools::major_of(&finished.stdout)
        .ok_or_else(|| format!("\"{program} --version\" said \"{}\".", finished.stdout.trim()))
}

/// Reads the configuration files outside the source's data directory, if they are to be copied: over SQL where the role may, on this host
/// if it is the source's, or else by pgbaton on that host.
async fn external_files(
    context: &Context,
    args: &Args,
    asked: &Asked,
    source_is_local: bool,
    data: &Path,
    secrets: &mut Secrets,
) -> Vec<ExternalCopy> {
    let session = asked.superuser.as_ref().map_or(&asked.session, |superuser| &superuser.session);
    let mut host = None;
    let mut out = Vec::new();
    for file in &asked.details.external_files {
        let to = match args.copy_external_config_files {
            Some(ExternalFiles::Pgdata) => PathBuf::from(&file.file_name),
            _ => PathBuf::from(&file.path),
        };
        let is_here = source_is_local && Path::new(&file.path).exists();
        let read = match args.copy_external_config_files {
            None => Err(NotRead { why: "It is not asked for.".into(), hint: None }),
            // On the source's own host "the same path" is the same file.
            Some(ExternalFiles::Samepath) if is_here => Err(NotRead {
                why: "Source and clone are on one host, and it is there already; use =pgdata.".into(),
                hint: None,
            }),
            Some(_) => match source::read_file(session, &file.path).await {
                Ok(text) => Ok((Secret::new(text), None, None, "over SQL".to_string())),
                Err(_) if is_here => files::read_text(Path::new(&file.path))
                    .map(|(text, mode)| (Secret::new(text), Some(mode), None, "on this host".to_string()))
                    .map_err(|error| NotRead { why: sentence(&format!("{error:#}")), hint: None }),
                Err(over_sql) => {
                    let host = match &mut host {
                        Some(host) => host,
                        none => none.insert(source_host(context, asked).await),
                    };
                    match host {
                        Ok(host) => by_host(context, host, &file.path).await,
                        Err(error) => Err(not_read(error)),
                    }
                    .map_err(|by_host| NotRead {
                        why: format!("Over SQL: {over_sql}. By the source's host: {}", by_host.why),
                        hint: by_host.hint,
                    })
                }
            },
        };
        let contents = read.map(|(contents, mode, owner, how)| {
            let secret = format!("contents of {}", file.path);
            secrets.insert(secret.clone(), contents);
            FileRead { secret, mode, owner, how }
        });
        let place = data.join(&to);
        let problem = to.is_absolute().then(|| trial::replaceable(&place).err()).flatten();
        let problem = problem.map(|error| format!("{error:#}"));
        out.push(ExternalCopy { from: file.path.clone(), to, contents, problem });
    }
    out
}

/// The contents, mode and foreign owner of a file, and the way there.
type Read = (Secret, Option<u32>, Option<String>, String);

/// Has pgbaton on the source's host read a configuration file.
async fn by_host(context: &Context, host: &Remote, path: &str) -> std::result::Result<Read, NotRead> {
    let file = host.configuration_file(path).await.map_err(|error| not_read(&error))?;
    let owner = file.owner.filter(|owner| context.environment.user.as_ref() != Some(owner));
    Ok((file.contents, Some(file.mode), owner, format!("by pgbaton on the host of node \"{}\"", host.name())))
}

fn not_read(error: &Error) -> NotRead {
    let detail = error.detail.as_deref().unwrap_or_default();
    NotRead {
        why: format!("{} {detail}", sentence(&error.primary)).trim_end().into(),
        hint: error.hint.clone(),
    }
}

/// Opens a channel to pgbaton on the source's host.
async fn source_host(context: &Context, asked: &Asked) -> Result<Remote> {
    let node = asked
        .source_node()
        .ok_or_else(|| Error::failed("the source is not registered, so its pgbaton is not known"))?;
    let hosts = node::ssh_hosts(&asked.session).await.unwrap_or_default();
    let known = Whereabouts {
        row: &node.row,
        server: Some(&asked.server),
        system_identifier: None,
        ssh_host: hosts.get(&node.row.node_id).map(String::as_str),
    };
    let far_end = node_location::far_end(context, &known).await?;
    let (remote, hello) =
        Remote::open(context, &far_end, OPEN).await.map_err(|trouble| trouble.error(&far_end))?;
    let expected =
        Expected { system_identifier: Some(asked.server.system_identifier.clone()), ..Expected::default() };
    // Whatever goes on there does not change where its files are.
    let stops = |check: &Check| check.stops() && check.exit != Exit::Busy;
    match checks(&far_end, &expected, &Ok(hello)).into_iter().find(stops) {
        Some(check) => {
            Err(Error { detail: check.detail, hint: check.hint, ..Error::new(check.exit, check.message) })
        }
        None => Ok(remote),
    }
}

/// Looks at where the tablespaces go.
fn tablespaces(config: &Config, details: &Source, directory: &Contents) -> Vec<TablespaceTarget> {
    let ours = match directory {
        Contents::UnfinishedClone(Marker { tablespaces, .. }) => tablespaces.as_slice(),
        _ => &[],
    };
    details
        .tablespaces
        .iter()
        .map(|tablespace| {
            let mapped = config
                .tablespace_mapping
                .iter()
                .find(|mapping| mapping.old == Path::new(&tablespace.location));
            let to =
                mapped.map_or_else(|| PathBuf::from(&tablespace.location), |mapping| mapping.new.clone());
            let contents = look(&to);
            TablespaceTarget {
                from: tablespace.location.clone(),
                ours: ours.contains(&to),
                room: room(&to, &contents),
                to,
                contents,
                bytes: tablespace.bytes,
            }
        })
        .collect()
}

/// Returns where `--waldir` puts the WAL, if it is among the options for pg_basebackup.
fn named_waldir(extra_options: &[String]) -> Option<PathBuf> {
    let mut words = extra_options.iter();
    loop {
        let word = words.next()?;
        match word.strip_prefix("--waldir") {
            Some("") => return Some(PathBuf::from(words.next()?)),
            Some(rest) if rest.starts_with('=') => return Some(PathBuf::from(rest.trim_start_matches('='))),
            _ => {}
        }
    }
}

/// Returns where the WAL of the data directory lies that the clone replaces, or of the unfinished clone that it takes over, if `pg_wal` is
/// a symbolic link.
fn linked_waldir(data: &Path, directory: &Contents) -> Option<PathBuf> {
    match directory {
        // Where a server runs on it, it is stopped and moved aside, or nothing is cloned.
        Contents::DataDirectory { .. } => {
            let link = std::fs::read_link(data.join("pg_wal")).ok()?;
            Some(data.join(link))
        }
        Contents::UnfinishedClone(Marker { waldir, .. }) => waldir.clone(),
        _ => None,
    }
}

/// Looks at where the WAL is put, if that is not the data directory.
fn waldir(data: &Path, extra_options: &[String], directory: &Contents) -> Option<TablespaceTarget> {
    let to = named_waldir(extra_options)?;
    let marked = matches!(directory, Contents::UnfinishedClone(marker) if marker.tablespaces.contains(&to));
    // It goes with the data directory that it belongs to.
    let ours = marked || linked_waldir(data, directory).is_some_and(|linked| linked == to);
    let contents = look(&to);
    Some(TablespaceTarget {
        from: String::new(),
        room: room(&to, &contents),
        contents,
        bytes: None,
        to,
        ours,
    })
}

/// Measures the room in a directory, or where it would be created; none if it cannot be determined.
fn room(path: &Path, contents: &Contents) -> Room {
    Room {
        device: inspect::device(nearest_existing(path)),
        free_bytes: files::free_space(path).unwrap_or(0),
        reclaimable_bytes: match contents {
            Contents::Missing | Contents::Empty | Contents::Unreadable(_) => 0,
            _ => inspect::bytes_in(path),
        },
    }
}

/// Says why a data directory cannot be used, or another place that the clone fills, if one cannot.
fn directory_problem(data: &Path, others: &[&Path]) -> Option<String> {
    let unwritable = [data].iter().chain(others).find_map(|path| trial::directory(path).err());
    if let Some(error) = unwritable {
        return Some(sentence(&format!("{error:#}")));
    }
    if data.exists() && !inspect::is_own(data) {
        return Some(format!("\"{}\" belongs to another user; the server would refuse it.", data.display()));
    }
    None
}

/// Returns the settings of the configuration that go into the clone.
fn settings(config: &Config, args: &Args) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    if let Some(command) = config.command("restore_command", &config.restore_command)? {
        out.push(("restore_command".to_string(), command.clone()));
    }
    if let Some(command) = config.command("archive_cleanup_command", &config.archive_cleanup_command)? {
        out.push(("archive_cleanup_command".to_string(), command.clone()));
    }
    let delay = match &args.recovery_min_apply_delay {
        Some(text) => Some(crate::config::value::Delay::parse(text).ok_or_else(|| {
            Error::failed(format!("invalid value \"{text}\" for --recovery-min-apply-delay"))
                .detail("It is an integer with one of the units ms, s, min, h, d.")
        })?),
        None => config.recovery_min_apply_delay.clone(),
    };
    if let Some(delay) = delay {
        out.push(("recovery_min_apply_delay".to_string(), delay.as_str().to_string()));
    }
    Ok(out)
}

/// Returns the port that must be set for the clone, because it would start on the source's.
///
/// Only where this node's conninfo leads to this host itself: elsewhere a port may be mapped on the way, as in containers.
fn own_port(own: &Conninfo, source: &Source, conf_only: bool) -> Option<String> {
    let port = own.get("port").unwrap_or("5432");
    (!conf_only && own.is_this_host() && port != source.port.to_string() && port.parse::<u16>().is_ok())
        .then(|| port.to_string())
}

/// Gathers what the plan of a clone depends on for a data directory that is to be moved aside before.
///
/// # Errors
/// Those of the command before it begins.
pub async fn prepare_anew(
    context: &Context,
    given: &Conninfo,
    secrets: &mut Secrets,
) -> Result<(CloneFacts, CloneOptions)> {
    let session = connect(context, given).await?;
    let superuser = superuser::connect(context, given, "the source server", secrets).await?;
    let asked = Asked::all(context, session, superuser).await?;
    let (mut facts, options) = prepare(context, &Args::default(), given, asked, secrets).await?;
    facts.directory = Contents::Missing;
    facts.directory_identifier = None;
    facts.leftover = None;
    facts.room.reclaimable_bytes = 0;
    Ok((facts, options))
}

/// Returns how the server that is to be copied is reached.
pub fn source_conninfo(context: &Context, args: &Args) -> Result<Conninfo> {
    let mut given = context.given_conninfo()?.unwrap_or_default();
    if let Some(host) = &args.source_host {
        if given.get("host").is_some() {
            return Err(Error::failed("the source was given twice")
                .hint("Give it with -h or as the first argument, not both."));
        }
        given.set("host", host);
    }
    if given.get("host").is_none() && given.get("hostaddr").is_none() && given.get("service").is_none() {
        return Err(Error::failed("no source server was given")
            .hint("Give it: pgbaton standby clone -h HOST -U repmgr -d repmgr"));
    }
    // As in repmgr: role and database are those of this node's own conninfo where the command line does not say.
    let own = context.local_conninfo()?;
    for keyword in ["user", "dbname"] {
        if given.get(keyword).is_none()
            && given.get("service").is_none()
            && let Some(value) = own.get(keyword)
        {
            given.set(keyword, value);
        }
    }
    context.own(&given);
    Ok(given)
}

/// Seconds that a server may need to come up before it can be copied.
const STARTING_UP_S: u64 = 60;

/// Connects to the source; one that still starts up is waited for.
pub async fn connect(context: &Context, given: &Conninfo) -> Result<Session> {
    let seconds = context.global.timeout.map_or(STARTING_UP_S, u64::from);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut reported = false;
    loop {
        match context.connect(given).await {
            Ok(session) => return Ok(session),
            Err(error) if error.kind == Kind::StartingUp && Instant::now() < until => {
                if !reported {
                    context.ui.say(
                        Level::Notice,
                        &format!("the source is still starting up; waiting at most {seconds} seconds"),
                    );
                    reported = true;
                }
                sleep(Duration::from_millis(250)).await;
            }
            Err(error) => {
                let error = not_connected("the source server", error);
                return Err(if reported {
                    error.detail(format!("Waited {seconds} seconds for it."))
                } else {
                    error
                });
            }
        }
    }
}
