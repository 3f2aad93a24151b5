//! `standby clone`: copy a running server into an empty data directory, as its standby.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::node::{Action, Checkpoint};
use crate::cli::standby::{Clone as Args, ExternalFiles, Register};
use crate::commands::context::{Context, not_connected};
use crate::commands::notify::{Happening, notify};
use crate::commands::primary::register::secrets_of;
use crate::commands::world::Secrets;
use crate::commands::{locate, node as node_commands, operate};
use crate::config::Config;
use crate::error::{Error, Exit, Issue, Result, Severity, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts, ask_node, gather};
use crate::facts::directory::{COPY, Contents, Marker, STAGING, look, nearest_existing};
use crate::facts::server::{self, ServerFacts};
use crate::facts::source::{self, Source};
use crate::output::Report;
use crate::output::ui::Level;
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Kind;
use crate::pg::tools;
use crate::plan::clone::{CloneFacts, CloneOptions, ExternalCopy, TablespaceTarget, plan};
use crate::plan::{Command, Endpoint, Piece};
use crate::registry::node;
use crate::registry::schema::{self, Verdict};
use crate::secret::Secret;
use crate::system::{files, inspect, process};

/// The name of the password that replication connections to the source need.
const SOURCE_PASSWORD: &str = "password for the source";
/// The name of the password that goes into primary_conninfo.
const UPSTREAM_PASSWORD: &str = "password for the upstream";
/// The name of the contents of a service file with a passphrase.
const SERVICE_FILE: &str = "connection service file for the source";
/// The name of the source's whole conninfo, password included.
const SOURCE_CONNINFO: &str = "conninfo of the source";
/// Seconds that a server may need to come up before it can be copied.
const STARTING_UP_S: u64 = 60;
/// Seconds in which a started standby normally streams.
const STREAMING_S: u64 = 30;
/// Seconds for a replication connection that is only tried.
const LOGIN_S: u64 = 10;
/// How long a WAL sender whose client has gone may hold its place.
const WAL_SENDER_ENDS: Duration = Duration::from_secs(1);

/// Clones a server.
///
/// # Errors
/// Exit code 6 without the source, 1 for failed checks, 14 if the copy fails, 5 or 7 for the other steps.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let config = context.config()?;
    refuse_barman(config, args)?;
    let given = source_conninfo(context, args)?;
    let session = connect(context, &given).await?;
    let asked = Asked::all(context, &session).await?;
    let (facts, options, secrets) = prepare(context, args, &given, &session, asked).await?;
    let plan = plan(&facts, &options);
    let result = operate::carry_out(context, &plan, secrets).await;
    let acted = result
        .as_ref()
        .map_or_else(|error| error.changed || error.exit == Exit::BaseBackup, |done| done.acted);
    let result = result.map_err(|error| tell_loss(error, &facts, &options));
    if acted && !options.conf_only {
        report_event(context, &facts, &result).await;
    }
    let done = result?;
    if !done.acted {
        return Ok(done.report);
    }
    let (name, path) = (&options.node_name, options.data_directory.display());
    if options.conf_only {
        context
            .ui
            .say(Level::Notice, &format!("the replication configuration of node \"{name}\" is written"));
    } else {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" is a copy of \"{}\" in \"{path}\"", facts.source_name),
        );
    }
    if !args.start && !args.register {
        let registered = facts.cluster.node(options.node_id).is_some();
        let then = if registered { "" } else { ", then \"pgbaton standby register\"" };
        context.ui.message(
            Level::Notice,
            "the server is not started",
            None,
            Some(&format!("Run \"pgbaton node start\"{then}.")),
        );
        return Ok(done.report);
    }
    node_commands::service::run(context, Action::Start, Checkpoint::default()).await?;
    if args.register {
        let wait =
            Register { upstream_node_id: args.upstream_node_id, wait_start: Some(30), wait_sync: None };
        super::register::run(context, &wait).await?;
    }
    let mut report = done.report;
    if let Some(issue) = wait_until_it_streams(context).await? {
        context.ui.issue(&issue);
        report.issues.push(issue);
    }
    Ok(report)
}

/// Waits for the started standby; says what is amiss if it does not stream in time, which with an archive may be as it should be.
async fn wait_until_it_streams(context: &Context) -> Result<Option<Issue>> {
    // Where the role may not see the state, a receiver that is there counts.
    const SQL: &str =
        "SELECT (count(*) > 0)::text FROM pg_stat_wal_receiver WHERE status IS NULL OR status = 'streaming'";
    let own = context.local_conninfo()?;
    let name = &context.config()?.node_name;
    let until = Instant::now() + Duration::from_secs(STREAMING_S);
    loop {
        let last = match context.connect(&own).await {
            Ok(session) => match session.query_one(SQL, &[]).await {
                Ok(row) if row.get(0) == Some("true") => {
                    context.ui.say(Level::Notice, &format!("node \"{name}\" streams from its upstream"));
                    return Ok(None);
                }
                Ok(_) => "It has no WAL receiver that streams.".to_string(),
                Err(error) => sentence(&error.to_string()),
            },
            Err(error) => sentence(&error.to_string()),
        };
        if Instant::now() >= until {
            return Ok(Some(Issue {
                severity: Severity::Warning,
                code: "not_streaming",
                node_id: None,
                message: format!("node \"{name}\" does not stream {STREAMING_S} seconds after its start"),
                detail: Some(last),
                hint: Some(
                    "Look into the log of the server; it may still be reading WAL from the archive.".into(),
                ),
            }));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Says of a failed clone that what it was to replace is gone already.
fn tell_loss(mut error: Error, facts: &CloneFacts, options: &CloneOptions) -> Error {
    let steps = error.data.get("steps").and_then(serde_json::Value::as_array).map_or(&[][..], Vec::as_slice);
    let begun = |id: &str| {
        let is = |step: &serde_json::Value, key: &str, text: &str| {
            step.get(key).and_then(serde_json::Value::as_str) == Some(text)
        };
        steps.iter().any(|step| is(step, "id", id) && !is(step, "status", "not_done"))
    };
    if matches!(facts.directory, Contents::DataDirectory { .. }) && begun("take_control_file") {
        error.changed = true;
        return error
            .detail(format!("What \"{}\" held before was removed.", options.data_directory.display()));
    }
    error
}

fn refuse_barman(config: &Config, args: &Args) -> Result<()> {
    if args.no_upstream_connection {
        return Err(Error::failed("--no-upstream-connection is not supported")
            .detail("It belongs to clones from Barman, which pgbaton does not make."));
    }
    if config.barman_host.is_some() && !args.without_barman {
        return Err(Error::failed("clones from Barman are not supported")
            .detail("barman_host is set in the configuration.")
            .hint("Use --without-barman to copy from the server."));
    }
    if config.pg_backupapi_host.is_some() {
        return Err(Error::failed("clones over pg-backup-api are not supported")
            .detail("pg_backupapi_host is set in the configuration.")
            .hint("Remove it to copy from the server."));
    }
    Ok(())
}

/// Returns how the server that is to be copied is reached.
fn source_conninfo(context: &Context, args: &Args) -> Result<Conninfo> {
    let mut given = context.given_conninfo()?.unwrap_or_default();
    if let Some(host) = &args.source_host {
        if given.get("host").is_some() {
            return Err(Error::failed("the source was named twice")
                .hint("Name it with -h or as the first argument, not both."));
        }
        given.set("host", host);
    }
    if given.get("host").is_none() && given.get("hostaddr").is_none() && given.get("service").is_none() {
        return Err(Error::failed("no server to copy was named")
            .hint("Name it: pgbaton standby clone -h HOST -U repmgr -d repmgr"));
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
    Ok(given)
}

/// Connects to the source; one that still starts up is waited for.
async fn connect(context: &Context, given: &Conninfo) -> Result<Session> {
    let seconds = context.global.timeout.map_or(STARTING_UP_S, u64::from);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut told = false;
    loop {
        match context.connect(given).await {
            Ok(session) => return Ok(session),
            Err(error) if error.kind == Kind::StartingUp && Instant::now() < until => {
                if !told {
                    context.ui.say(
                        Level::Notice,
                        &format!("the source is still starting up; waiting at most {seconds} seconds"),
                    );
                    told = true;
                }
                sleep(Duration::from_millis(250)).await;
            }
            Err(error) => {
                let error = not_connected("the server to copy", error);
                return Err(if told {
                    error.detail(format!("Waited {seconds} seconds for it."))
                } else {
                    error
                });
            }
        }
    }
}

/// What the source and the registered nodes say.
struct Asked {
    server: ServerFacts,
    details: Source,
    present: schema::Present,
    cluster: ClusterFacts,
}

impl Asked {
    async fn all(context: &Context, session: &Session) -> Result<Self> {
        let broken = |error: SqlError| {
            Error::new(Exit::Query, "could not ask the server to copy").detail(sentence(&error.to_string()))
        };
        let (server, details, present) =
            tokio::join!(server::ask(session), source::ask(session), schema::look(session));
        let present = present.map_err(broken)?;
        let cluster = match present.verdict() {
            Verdict::Complete | Verdict::OwnMissing => {
                let rows = node::read_all(session).await.map_err(broken)?;
                gather(&rows, &[], &context.environment, context.node_deadline()).await
            }
            _ => ClusterFacts::default(),
        };
        Ok(Self { server: server.map_err(broken)?, details: details.map_err(broken)?, present, cluster })
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
async fn prepare(
    context: &Context,
    args: &Args,
    given: &Conninfo,
    session: &Session,
    asked: Asked,
) -> Result<(CloneFacts, CloneOptions, Secrets)> {
    let config = context.config()?;
    let data = &config.data_directory;
    let source_node = asked.source_node();
    let source_id = source_node.map(|node| node.row.node_id);
    let source_name = source_node.map_or_else(|| session.server_name(), |node| node.row.node_name.clone());
    let primary_id = asked.cluster.primaries().next().map(|(node, _)| node.row.node_id).or_else(|| {
        let rows = asked.cluster.nodes.iter().map(|node| &node.row);
        rows.filter(|row| row.active && row.node_type == crate::registry::NodeType::Primary)
            .map(|row| row.node_id)
            .next()
    });
    let upstream_id = args.upstream_node_id.or(primary_id);
    let upstream = upstream_id.and_then(|id| asked.cluster.node(id));
    let major = asked.server.version_num / 10_000;
    let mut secrets = secrets_of(&asked.cluster);

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
    let login = Login::new(&backup, same_role, &mut secrets, &state_directory)?;
    let source = source_endpoint(given, &source_name, &mut secrets);

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
    let password = config
        .use_primary_conninfo_password
        .then(|| {
            context
                .environment
                .non_empty("PGPASSWORD")
                .map(str::to_string)
                .or_else(|| upstream_conninfo.get("password").map(str::to_string))
        })
        .flatten();
    let mut receiver = upstream_conninfo.without_secrets();
    for keyword in ["replication", "fallback_application_name", "target_session_attrs"] {
        receiver.remove(keyword);
    }
    // Needed from PostgreSQL 17 on for slots that are kept in step with the primary's; ignored before.
    if major < 17 {
        receiver.remove("dbname");
    }
    receiver.set("user", &role);
    receiver.set("application_name", &config.node_name);
    if let Some(passfile) = &config.passfile {
        receiver.set("passfile", passfile.display().to_string());
    }
    let mut primary_conninfo = vec![Piece::Text(receiver.to_string())];
    if let Some(password) = &password {
        secrets.insert(UPSTREAM_PASSWORD.into(), Secret::new(password));
        primary_conninfo.push(Piece::Text(" password=".into()));
        primary_conninfo.push(Piece::Secret(UPSTREAM_PASSWORD.into()));
    }

    let tool = |program: &str| tools::find(config.pg_bindir.as_deref(), &major.to_string(), program);
    let pg_basebackup = tool("pg_basebackup").map(|path| path.display().to_string());
    let tools_major = match &pg_basebackup {
        Ok(path) => version_of(context, path).await,
        Err(error) => Err(sentence(&format!("{error:#}"))),
    };
    let psql = tool("psql").map(|path| path.display().to_string()).unwrap_or_else(|_| "psql".into());
    let receiver_login = ReceiverLogin { conninfo: &receiver, password: password.as_deref() };
    // One after the other: at once they would want two WAL senders, and there may be one.
    let backup_login = login.attempt(context, &psql, &secrets).await;
    let receiver_login = receiver_login.attempt(context, &psql).await;

    let directory = look(data);
    let directory_identifier = match &directory {
        Contents::DataDirectory { major, .. } => identifier(context, config, data, major).await,
        _ => None,
    };
    let source_is_local = given.is_this_host();
    let external = external_files(args, &asked, session, source_is_local, data, &mut secrets).await;
    let tablespaces = tablespaces(config, &asked.details, &directory);
    let extra_options =
        shell_words::split(config.pg_basebackup_options.as_deref().unwrap_or("")).map_err(|error| {
            Error::failed("invalid pg_basebackup_options").detail(sentence(&error.to_string()))
        })?;
    let waldir = waldir(&extra_options, &directory);
    let writers =
        inspect::processes_with_argument(&format!("--pgdata={}", data.join(STAGING).join(COPY).display()));
    let free_bytes = free(data) + if args.replication_conf_only { 0 } else { reclaimable(&directory, data) };
    let options = CloneOptions {
        node_id: config.node_id,
        node_name: config.node_name.clone(),
        conninfo: context.local_conninfo()?,
        data_directory: data.clone(),
        use_slot: config.use_replication_slots,
        pg_basebackup: pg_basebackup.unwrap_or_default(),
        pg_verifybackup: match (args.verify_backup, tool("pg_verifybackup")) {
            (false, _) => None,
            (true, Ok(path)) => Some(path.display().to_string()),
            (true, Err(error)) => {
                return Err(Error::from_cause(Exit::Failed, "could not find pg_verifybackup", &error));
            }
        },
        source,
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
        directory_identifier,
        directory_problem: directory_problem(data),
        free_bytes,
        tablespaces,
        waldir,
        writers,
        tools_major,
        backup_login,
        receiver_login,
        external,
        source_is_local,
    };
    Ok((facts, options, secrets))
}

/// How a tool connects without a password in its arguments.
struct Login {
    conninfo: String,
    secrets: Vec<(String, String)>,
    service_file: Option<(PathBuf, String)>,
}

impl Login {
    /// A password travels by PGPASSWORD; a passphrase, for which libpq has no variable, by a service file of mode 0600.
    fn new(
        conninfo: &Conninfo,
        same_role: bool,
        known: &mut Secrets,
        state_directory: &Path,
    ) -> Result<Self> {
        let mut plain = conninfo.without_secrets();
        let mut secrets = Vec::new();
        let mut service_file = None;
        // The password that was given belongs to the role that was given.
        if let Some(password) = conninfo.get("password").filter(|_| same_role) {
            known.insert(SOURCE_PASSWORD.into(), Secret::new(password));
            secrets.push(("PGPASSWORD".into(), SOURCE_PASSWORD.into()));
        }
        if let Some(passphrase) = conninfo.get("sslpassword") {
            if conninfo.get("service").is_some() {
                return Err(Error::failed("cannot pass sslpassword on beside a connection service")
                    .detail("pg_basebackup reads it from a service file, and there can be only one.")
                    .hint("Write sslpassword into that service's section of the service file."));
            }
            known.insert(SERVICE_FILE.into(), Secret::new(format!("[pgbaton]\nsslpassword={passphrase}\n")));
            plain.set("service", "pgbaton");
            service_file = Some((state_directory.join("pg_service.conf"), SERVICE_FILE.into()));
        }
        Ok(Self { conninfo: plain.to_string(), secrets, service_file })
    }
}

impl Login {
    /// Tries it, with the service file at a place that is gone afterwards.
    async fn attempt(
        &self,
        context: &Context,
        psql: &str,
        secrets: &Secrets,
    ) -> std::result::Result<(), String> {
        let contents = self.service_file.as_ref().and_then(|(_, name)| secrets.get(name));
        let file = contents
            .map(|contents| files::private_temporary(contents.reveal().as_bytes()))
            .transpose()
            .map_err(|error| format!("{error:#}"))?;
        let env = file.iter().map(|path| ("PGSERVICEFILE".to_string(), path.display().to_string())).collect();
        try_login(context, psql, &self.conninfo, env, &self.secrets, secrets, true).await
    }
}

/// Names the source as a place to run statements.
fn source_endpoint(given: &Conninfo, name: &str, secrets: &mut Secrets) -> Endpoint {
    let plain = given.without_secrets().to_string();
    let secret = (plain != given.to_string()).then(|| {
        secrets.insert(SOURCE_CONNINFO.into(), Secret::new(given.to_string()));
        SOURCE_CONNINFO.to_string()
    });
    Endpoint { name: format!("\"{name}\""), conninfo: plain, secret }
}

struct ReceiverLogin<'a> {
    conninfo: &'a Conninfo,
    password: Option<&'a str>,
}

impl ReceiverLogin<'_> {
    /// Tries the WAL receiver's connection with what the server will have: no PGPASSWORD of the person at the keyboard.
    async fn attempt(&self, context: &Context, psql: &str) -> std::result::Result<(), String> {
        let mut secrets = Secrets::new();
        let mut named = Vec::new();
        if let Some(password) = self.password {
            secrets.insert(UPSTREAM_PASSWORD.into(), Secret::new(password));
            named.push(("PGPASSWORD".to_string(), UPSTREAM_PASSWORD.to_string()));
        }
        try_login(context, psql, &self.conninfo.to_string(), Vec::new(), &named, &secrets, false).await
    }
}

/// Makes a replication connection with the tools' own library and asks one question over it.
async fn try_login(
    context: &Context,
    psql: &str,
    conninfo: &str,
    env: Vec<(String, String)>,
    named: &[(String, String)],
    secrets: &Secrets,
    inherit_pg: bool,
) -> std::result::Result<(), String> {
    let mut command = Command::new(
        psql,
        [
            "-XAtqw".to_string(),
            format!("--dbname={conninfo} replication=true"),
            "--command=IDENTIFY_SYSTEM".to_string(),
        ],
    );
    command.secrets = named.to_vec();
    command.env = env;
    if !conninfo.contains("connect_timeout") {
        command.env.push(("PGCONNECT_TIMEOUT".into(), LOGIN_S.to_string()));
    }
    let secrets =
        named.iter().filter_map(|(_, name)| Some((name.clone(), secrets.get(name)?.clone()))).collect();
    let setting = process::Surroundings { environment: Some(&context.environment), secrets, inherit_pg };
    let began = Instant::now();
    let attempts = async {
        loop {
            let finished = process::run(&command, &setting).await.map_err(|error| format!("{error:#}"))?;
            if finished.status.success() {
                return Ok(());
            }
            let said = finished.stderr.trim();
            let said = said.strip_prefix("psql: error: ").unwrap_or(said).replace('\n', " ");
            // The WAL sender of a login just before this one needs a moment to end.
            if !said.contains("exceeds max_wal_senders") || began.elapsed() > WAL_SENDER_ENDS {
                return Err(said);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let bounded = tokio::time::timeout(Duration::from_secs(LOGIN_S), attempts).await;
    bounded.unwrap_or_else(|_| Err(format!("no answer within {LOGIN_S} seconds")))
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

/// Reads the system identifier of a data directory with pg_controldata of its own version.
async fn identifier(context: &Context, config: &Config, data: &Path, major: &str) -> Option<String> {
    let program = tools::find(config.pg_bindir.as_deref(), major, "pg_controldata").ok()?;
    let setting =
        process::Surroundings { environment: Some(&context.environment), ..process::Surroundings::default() };
    let command = Command::new(program.display().to_string(), [data.display().to_string()]);
    let finished = process::run(&command, &setting).await.ok()?.success().ok()?;
    tools::control_value(&finished.stdout, "Database system identifier").map(str::to_string)
}

/// Reads the configuration files outside the source's data directory, if they are to be copied.
async fn external_files(
    args: &Args,
    asked: &Asked,
    session: &Session,
    source_is_local: bool,
    data: &Path,
    secrets: &mut Secrets,
) -> Vec<ExternalCopy> {
    let mut out = Vec::new();
    for file in &asked.details.external_files {
        let to = match args.copy_external_config_files {
            Some(ExternalFiles::Pgdata) => PathBuf::from(&file.file_name),
            _ => PathBuf::from(&file.path),
        };
        let contents = match args.copy_external_config_files {
            None => Err("it is not asked for".to_string()),
            // On the source's own host "the same path" is the same file.
            Some(ExternalFiles::Samepath) if source_is_local && Path::new(&file.path).exists() => {
                Err("source and clone are on one host, and it is there already; use =pgdata".to_string())
            }
            Some(_) => match source::read_file(session, &file.path).await {
                Ok(text) => Ok(text),
                Err(_) if source_is_local && Path::new(&file.path).exists() => {
                    std::fs::read_to_string(&file.path)
                        .map_err(|error| format!("could not read \"{}\": {error}", file.path))
                }
                Err(error) => Err(error.to_string()),
            },
        };
        let contents = contents.map(|text| {
            let name = format!("contents of {}", file.path);
            secrets.insert(name.clone(), Secret::new(text));
            name
        });
        let place = data.join(&to);
        let parent = place.parent().unwrap_or(Path::new("/"));
        let problem = (to.is_absolute() && !inspect::is_writable(parent))
            .then(|| format!("this user may not write to \"{}\"", parent.display()));
        out.push(ExternalCopy { from: file.path.clone(), to, contents, problem });
    }
    out
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
                free_bytes: free(&to),
                to,
                contents,
                bytes: tablespace.bytes,
            }
        })
        .collect()
}

/// Looks at where `--waldir` puts the WAL, if it is among the options for pg_basebackup.
fn waldir(extra_options: &[String], directory: &Contents) -> Option<TablespaceTarget> {
    let mut words = extra_options.iter();
    let to = loop {
        let word = words.next()?;
        match word.strip_prefix("--waldir") {
            Some("") => break PathBuf::from(words.next()?),
            Some(rest) if rest.starts_with('=') => break PathBuf::from(rest.trim_start_matches('=')),
            _ => {}
        }
    };
    let ours = matches!(directory, Contents::UnfinishedClone(marker) if marker.tablespaces.contains(&to));
    Some(TablespaceTarget {
        from: String::new(),
        contents: look(&to),
        free_bytes: free(&to),
        bytes: None,
        to,
        ours,
    })
}

/// Returns the bytes free where a path is or would be; 0 where nobody can tell.
fn free(path: &Path) -> u64 {
    files::free_space(path).unwrap_or(0)
}

/// Returns the bytes that removing what is there sets free.
fn reclaimable(directory: &Contents, data: &Path) -> u64 {
    match directory {
        Contents::UnfinishedClone(_) | Contents::DataDirectory { .. } => inspect::bytes_in(data),
        _ => 0,
    }
}

/// Says why a data directory cannot be used, if it cannot.
fn directory_problem(data: &Path) -> Option<String> {
    let nearest = nearest_existing(data);
    if !inspect::is_writable(nearest) {
        return Some(format!("This user may not write to \"{}\".", nearest.display()));
    }
    if nearest == data && !inspect::is_own(data) {
        return Some(format!("\"{}\" belongs to another user; the server would refuse it.", data.display()));
    }
    None
}

/// Returns the settings of the configuration that go into the clone.
fn settings(config: &Config, args: &Args) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    if let Some(command) = &config.restore_command {
        out.push(("restore_command".to_string(), command.clone()));
    }
    if let Some(command) = &config.archive_cleanup_command {
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

/// Returns the port that the clone must be told, because it would start on the source's.
///
/// Only where this node's conninfo leads to this host itself: elsewhere a port may be mapped on the way, as in containers.
fn own_port(own: &Conninfo, source: &Source, conf_only: bool) -> Option<String> {
    let port = own.get("port").unwrap_or("5432");
    (!conf_only && own.is_this_host() && port != source.port.to_string() && port.parse::<u16>().is_ok())
        .then(|| port.to_string())
}

/// Records the event on the primary and runs the hook.
async fn report_event(context: &Context, facts: &CloneFacts, result: &Result<operate::Done>) {
    let primary = facts.cluster.primaries().next().map(|(node, _)| node.row.clone());
    let session = match &primary {
        Some(row) => ask_node(&row.conninfo, &context.environment, context.node_deadline()).await.ok(),
        None => None,
    };
    let details = match result {
        Ok(_) => format!("cloned from \"{}\"", facts.source_name),
        Err(error) => error.to_string(),
    };
    let event =
        Happening { event: "standby_clone", successful: result.is_ok(), details, ..Happening::default() };
    notify(context, session.as_ref().map(|(session, _)| session), &event).await;
    if result.is_ok() {
        locate::remember(context, &facts.cluster, crate::plan::journal::now());
    }
}
