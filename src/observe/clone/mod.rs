//! Everything that the plan of a clone depends on.

mod external_files;
mod places;
mod receiver;
mod settings;
mod source;

use std::path::Path;

use self::external_files::external_files;
use self::places::ClonePlaces;
use self::receiver::ReceiverConnection;
use self::settings::{own_port, settings};
pub use self::source::{connect, source_conninfo};
use crate::config::Config;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts, gather};
use crate::facts::directory::{COPY, DirectoryContents, STAGING, leftover};
use crate::facts::server::{self, ServerFacts};
use crate::facts::source::{SourceFacts, query_role, query_source_facts};
use crate::observe::own_node::secrets_of;
use crate::observe::replication_login::Login;
use crate::observe::superuser::{self, Superuser};
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::{Endpoint, endpoint_to};
use crate::pg::installation::Installation;
use crate::pg::{control_file, tools};
use crate::plan::clone::{CloneFacts, CloneOptions};
use crate::registry::schema::{self, SchemaState};
use crate::registry::{NodeRow, NodeType, node};
use crate::secret::Secrets;
use crate::site::Site;
use crate::system::command::Command;
use crate::system::{inspect, process};

/// The name of the source's whole conninfo, password included.
const SOURCE_CONNINFO: &str = "conninfo of the source";

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The host of the source, if it is not in the connection string.
    pub source_host: Option<String>,
    /// The node that the clone streams from, if not the primary.
    pub upstream_node_id: Option<i32>,
    /// How the WAL receiver connects, if not as the record of the upstream says.
    pub upstream_conninfo: Option<String>,
    /// The role of replication connections.
    pub replication_user: Option<String>,
    /// The source's checkpoint takes its time.
    pub spread_checkpoint: bool,
    /// The copy is verified.
    pub verify_backup: bool,
    /// Where configuration files outside the data directory go, if they are copied.
    pub external_files: Option<ExternalPlace>,
    /// Only the replication settings are written.
    pub conf_only: bool,
    /// A value of `recovery_min_apply_delay`.
    pub recovery_min_apply_delay: Option<String>,
}

/// Where configuration files outside the data directory go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalPlace {
    /// To the same paths as on the source.
    SamePath,
    /// Into the data directory.
    DataDirectory,
}

/// What the source and the registered nodes say.
pub(crate) struct CloneSources {
    session: Session,
    superuser: Option<Superuser>,
    server: ServerFacts,
    details: SourceFacts,
    present: schema::PresentMetadata,
    cluster: ClusterFacts,
}

impl CloneSources {
    /// Asks; what the role may not see the superuser is asked for, if one was named.
    pub(crate) async fn all(site: &Site, session: Session, superuser: Option<Superuser>) -> Result<Self> {
        let broken = |error: SqlError| {
            Error::new(Exit::Query, "could not query the source server").detail(sentence(&error.to_string()))
        };
        let reader = superuser.as_ref().map_or(&session, |superuser| &superuser.session);
        let (server, details, present, role) = tokio::join!(
            server::query_server_facts(&session),
            query_source_facts(reader),
            schema::inspect_metadata(&session),
            query_role(&session)
        );
        let (role, role_replicates) = role.map_err(broken)?;
        let details = SourceFacts { role, role_replicates, ..details.map_err(broken)? };
        let present = present.map_err(broken)?;
        let cluster = match present.verdict() {
            SchemaState::Complete | SchemaState::OwnMissing => {
                let rows = node::read_all(&session).await.map_err(broken)?;
                gather(&rows, &[], &site.environment, site.node_deadline()).await
            }
            _ => ClusterFacts::default(),
        };
        Ok(Self { server: server.map_err(broken)?, session, superuser, details, present, cluster })
    }

    /// Returns the cluster of the source.
    pub(crate) fn system_identifier(&self) -> &str {
        &self.server.system_identifier
    }

    /// Returns the name of the source: that of its node, if it is one.
    fn source_name(&self) -> String {
        self.source_node()
            .map_or_else(|| self.session.server_name().to_string(), |node| node.row.node_name.clone())
    }

    /// Returns the primary: the one that runs, else the one that is registered.
    fn primary_id(&self) -> Option<i32> {
        let registered = |row: &&NodeRow| row.active && row.node_type == NodeType::Primary;
        let running = self.cluster.primaries().next().map(|(node, _)| node.row.node_id);
        running.or_else(|| {
            self.cluster.nodes.iter().map(|node| &node.row).find(registered).map(|row| row.node_id)
        })
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
    site: &Site,
    request: &Request,
    given: &Conninfo,
    asked: CloneSources,
    secrets: &mut Secrets,
) -> Result<(CloneFacts, CloneOptions)> {
    let config = site.config()?;
    let data = &config.data_directory;
    let upstream_id = request.upstream_node_id.or_else(|| asked.primary_id());
    let upstream = upstream_id.and_then(|id| asked.cluster.node(id));
    let major = asked.server.version_num / 10_000;
    let source_is_local = given.is_this_host();
    secrets.extend(secrets_of(&asked.cluster));

    let role = replication_role(config, request, &asked, upstream);
    let state = site.state_directory()?;
    let login = backup_login(given, &role, secrets, &state)?;
    let source_name = asked.source_name();
    let source = endpoint_to(given, format!("\"{source_name}\""), SOURCE_CONNINFO, secrets);
    let slot_on = slot_as_superuser(site, &asked, upstream, secrets).await?;
    let receiver = receiver(site, request, given, upstream, &role, major)?;
    let primary_conninfo = receiver.primary_conninfo(secrets);

    let installation = site.installation_of(config, major);
    let pg_basebackup = installation.tool("pg_basebackup");
    let tools_major = match &pg_basebackup {
        Ok(path) => version_of(site, path).await,
        Err(error) => Err(sentence(&format!("{error:#}"))),
    };
    let psql = installation.tool("psql").unwrap_or_else(|_| "psql".into());
    // One after the other: at once they would need two WAL senders, and there may be one.
    let backup_login = login.attempt(site, &psql, secrets, true).await.map_err(|no| no.why);
    let receiver_login = receiver.attempt(site, &psql).await.map_err(|no| no.why);

    let local_source = source_is_local.then_some(&asked.details);
    let external = external_files(site, request, &asked, source_is_local, data, secrets).await;
    let places = ClonePlaces::inspect(config, &asked.details, request.conf_only)?;
    let filled = places.filled(data);
    let options = CloneOptions {
        node_id: config.node_id,
        node_name: config.node_name.clone(),
        conninfo: site.local_conninfo()?,
        data_directory: data.clone(),
        use_slot: config.use_replication_slots,
        pg_basebackup: pg_basebackup.unwrap_or_default(),
        pg_verifybackup: pg_verifybackup(&installation, request.verify_backup)?,
        source,
        slot_on,
        backup_conninfo: login.conninfo,
        backup_secrets: login.secrets,
        service_file: login.service_file,
        spread_checkpoint: request.spread_checkpoint,
        extra_options: places.extra_options.clone(),
        primary_conninfo,
        settings: settings(config, request)?,
        port: own_port(&site.local_conninfo()?, &asked.details, request.conf_only),
        copy_external: request.external_files.is_some(),
        conf_only: request.conf_only,
        force: site.options.force,
    };
    let facts = CloneFacts {
        source_id: asked.source_node().map(|node| node.row.node_id),
        source_name,
        upstream_id,
        leftover: leftover(data),
        directory_identifier: match &places.directory {
            DirectoryContents::DataDirectory { .. } => control_file::read(data).ok(),
            _ => None,
        }
        .map(|control| control.system_identifier.to_string()),
        directory_problem: places.problem(data, &state),
        writers: inspect::processes_with_argument(&format!(
            "--pgdata={}",
            data.join(STAGING).join(COPY).display()
        )),
        tools_major,
        backup_login,
        receiver_login,
        external,
        source_is_local,
        foreign: places::foreign(data, &filled, local_source),
        filled,
        directory: places.directory,
        room: places.room,
        tablespaces: places.tablespaces,
        waldir: places.waldir,
        source: asked.server,
        details: asked.details,
        present: asked.present,
        cluster: asked.cluster,
    };
    Ok((facts, options))
}

/// Returns the role that pg_basebackup and the WAL receiver connect as.
fn replication_role(
    config: &Config,
    request: &Request,
    asked: &CloneSources,
    upstream: Option<&NodeFacts>,
) -> String {
    request
        .replication_user
        .clone()
        .or_else(|| config.replication_user.clone())
        .or_else(|| upstream.map(|node| node.row.repluser.clone()))
        .unwrap_or_else(|| asked.details.role.clone())
}

/// Returns how pg_basebackup connects: as the command line says, but as the role for replication.
fn backup_login(
    given: &Conninfo,
    role: &str,
    secrets: &mut Secrets,
    state_directory: &Path,
) -> Result<Login> {
    let mut backup = given.clone();
    let same_role = given.get("user") == Some(role);
    backup.set("user", role);
    Login::new(&backup, same_role, secrets, state_directory)
}

/// Returns how the WAL receiver connects. `role` is that for replication, where the command line names no other one.
fn receiver(
    site: &Site,
    request: &Request,
    given: &Conninfo,
    upstream: Option<&NodeFacts>,
    role: &str,
    major: u32,
) -> Result<ReceiverConnection> {
    let conninfo = match (&request.upstream_conninfo, upstream) {
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
    let asked_for = request.upstream_conninfo.is_some();
    // The role that was named there is meant, unless one was named by itself.
    let named = conninfo.get("user").filter(|_| asked_for && request.replication_user.is_none());
    ReceiverConnection::new(site, &conninfo, asked_for, named.unwrap_or(role), major)
}

/// Finds pg_verifybackup, if it is `wanted`.
fn pg_verifybackup(installation: &Installation<'_>, wanted: bool) -> Result<Option<String>> {
    if !wanted {
        return Ok(None);
    }
    let found = installation.tool("pg_verifybackup");
    found.map(Some).map_err(|error| Error::from_cause(Exit::Failed, "could not find pg_verifybackup", &error))
}

/// Returns where the named superuser makes the slot, if the role itself may not.
async fn slot_as_superuser(
    site: &Site,
    asked: &CloneSources,
    upstream: Option<&NodeFacts>,
    secrets: &mut Secrets,
) -> Result<Option<Endpoint>> {
    if asked.details.role_replicates || !site.config()?.use_replication_slots {
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
    Ok(superuser::connect(site, &conninfo, &server, secrets).await?.map(|superuser| superuser.on))
}

/// Asks a program for its major version.
async fn version_of(site: &Site, program: &str) -> std::result::Result<u32, String> {
    let setting =
        process::ChildContext { environment: Some(&site.environment), ..process::ChildContext::default() };
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
    site: &Site,
    given: &Conninfo,
    secrets: &mut Secrets,
) -> Result<(CloneFacts, CloneOptions)> {
    let session = connect(site, given).await?;
    let superuser = superuser::connect(site, given, "the source server", secrets).await?;
    let asked = CloneSources::all(site, session, superuser).await?;
    let (mut facts, options) = prepare(site, &Request::default(), given, asked, secrets).await?;
    facts.directory = DirectoryContents::Missing;
    facts.directory_identifier = None;
    facts.leftover = None;
    facts.room.reclaimable_bytes = 0;
    Ok((facts, options))
}
