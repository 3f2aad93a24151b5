//! Everything that the plan of a clone depends on.

mod external_files;
mod places;
mod receiver;
mod settings;
mod source;

use std::path::Path;

use self::external_files::external_files;
use self::places::{directory_problem, linked_waldir, named_waldir, room, tablespaces, waldir};
use self::receiver::Receiver;
use self::settings::{own_port, settings};
pub use self::source::{connect, source_conninfo};
use crate::cli::standby::Clone as Args;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts, gather};
use crate::facts::directory::{COPY, Contents, STAGING, leftover, look, look_past_mark};
use crate::facts::server::{self, ServerFacts};
use crate::facts::source::{Source, ask, ask_role};
use crate::observe::own_node::secrets_of;
use crate::observe::replication_login::Login;
use crate::observe::superuser::{self, Superuser};
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::{Endpoint, endpoint_to};
use crate::pg::{control_file, tools};
use crate::plan::clone::{CloneFacts, CloneOptions, Room};
use crate::registry::node;
use crate::registry::schema::{self, Verdict};
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::{inspect, process};

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
        let (server, details, present, role) =
            tokio::join!(server::ask(&session), ask(reader), schema::look(&session), ask_role(&session));
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
    let filled = places::filled(data, &tablespaces, waldir.as_ref());
    let foreign = places::foreign(data, &filled, source_is_local.then_some(&asked.details));
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
