//! Everything that `node prepare` decides from: the server as a superuser sees it, its files, the nodes and their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::Config;
use crate::error::{Error, Exit, Result, Text, sentence};
use crate::facts::directory::{DirectoryContents, look_past_mark, running_postmaster};
use crate::facts::prepare::{self, Names, ServerSetup};
use crate::observe::node_location::{self, is_own_address};
use crate::observe::own_node::{local_endpoint, own_row, secrets};
use crate::observe::prepare_passwords;
use crate::pg::client::Session;
use crate::pg::conninfo::Conninfo;
use crate::pg::control_file;
use crate::pg::endpoint::endpoint_to;
use crate::pg::hba::{HbaContext, Source, Tls, network};
use crate::pg::resolve::{Host, resolve};
use crate::pg::tls::SslMode;
use crate::plan::prepare::{
    FileNow, Node, PrepareAssessment, PrepareEndpoints, PrepareFacts, PrepareRequest, included_directory,
};
use crate::registry::{NodeRow, NodeType, node};
use crate::secret::{Secret, Secrets};
use crate::site::{Site, not_connected};
use crate::system::{files, inspect};

/// How long a host name may take to be looked up.
const RESOLVE: Duration = Duration::from_secs(5);

/// What was seen and is wanted.
pub(crate) struct PrepareInput {
    pub(crate) facts: PrepareFacts,
    pub(crate) wanted: PrepareRequest,
    pub(crate) places: PrepareEndpoints,
    pub(crate) secrets: Secrets,
}

/// A way into the server.
struct SuperuserLogin {
    session: Session,
    conninfo: Conninfo,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The requirements are printed for another administrator.
    pub(crate) print: bool,
    /// Nodes that are not registered yet, as HOST or HOST:PORT.
    pub(crate) nodes: Vec<String>,
    /// Networks that nodes connect from, as address and number of bits.
    pub(crate) networks: Vec<String>,
    /// The method of the lines in `pg_hba.conf`.
    pub(crate) auth_method: String,
    /// A password that is missing is made up.
    pub(crate) generate_password: bool,
    /// The roles need no password.
    pub(crate) no_password: bool,
    /// A value of `archive_command`.
    pub(crate) archive_command: Option<String>,
}

/// Looks at everything. `apply` asks for a password that is missing, by `ask`, which returns None where no one is there to answer.
///
/// # Errors
/// Exit code 6 without a connection, 1 for what was asked for wrongly.
pub(crate) async fn inspect_server(
    site: &Site,
    request: &Request,
    apply: bool,
    ask: &dyn Fn(&str) -> Option<Secret>,
) -> Result<PrepareInput> {
    let config = site.config()?;
    let own = site.local_conninfo()?;
    let resolved = resolve(&own, &site.environment).map_err(|error| invalid(&error))?;
    let (role, database) = (resolved.user.clone(), resolved.dbname.clone());
    let replication_role = config.replication_user.clone().unwrap_or_else(|| role.clone());
    let names = Names { role: &role, replication_role: &replication_role, database: &database };
    let entered = enter(site, config, apply || request.print).await?;
    let mut known = secrets(config, &own_row(config, NodeType::Primary, None, None));
    let mut places = PrepareEndpoints {
        server: local_endpoint(config),
        database: local_endpoint(config),
        own: local_endpoint(config),
    };
    let mut set_up = None;
    let mut rows = Vec::new();
    if let Some(entered) = &entered {
        let (session, conninfo) = (&entered.session, &entered.conninfo);
        let whom = format!("node \"{}\"", config.node_name);
        let broken = |error: crate::pg::SqlError| {
            Error::new(Exit::Query, format!("could not query {whom}")).detail(sentence(&error.to_string()))
        };
        let mut now = prepare::query_server_setup(session, names).await.map_err(broken)?;
        refuse_other_server(config, &now)?;
        let inside = Conninfo::default().with(conninfo).with(&dbname(&database));
        let name = format!("{whom} as \"{}\"", now.asked_as);
        places.server = endpoint_to(conninfo, name.clone(), "conninfo of the superuser", &mut known);
        let name = format!("database \"{database}\" of {name}");
        places.database = endpoint_to(&inside, name, "conninfo of the superuser in the database", &mut known);
        if let Some(there) = &mut now.database {
            let session = site.connect(&inside).await.map_err(|error| not_connected(&whom, error))?;
            there.denied = prepare::denied(&session, &role).await.map_err(broken)?;
            rows = registered(&session).await.map_err(broken)?;
        }
        set_up = Some(now);
    }
    let nodes = nodes(site, config, request, &rows).await?;
    let own_hosts = own_hosts(&resolved.targets, nodes.first());
    let mut wanted = PrepareRequest {
        node_name: config.node_name.clone(),
        own_hosts,
        role: role.clone(),
        replication_role: replication_role.clone(),
        database: database.clone(),
        nodes,
        networks: networks(request)?,
        method: request.auth_method.clone(),
        archive_command: request.archive_command.clone(),
        restore_command: config.restore_command.clone(),
        slots: config.use_replication_slots,
        passwords: BTreeMap::new(),
        force: site.options.force,
    };
    if !request.auth_method.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        || request.auth_method == "reject"
    {
        return Err(Error::failed(format!(
            "invalid value \"{}\" for option \"--auth-method\"",
            request.auth_method
        ))
        .hint(
            "It must be an authentication method of pg_hba.conf other than reject, such as scram-sha-256.",
        ));
    }
    let facts = facts(site, config, set_up, &rows, &wanted).await;
    wanted.passwords = prepare_passwords::find(site, request, &wanted, &facts.passfiles)?;
    if apply && wanted.lacks_password() {
        // Only a rule that asks for a password is a reason to ask for one.
        let needed = PrepareAssessment::of(&facts, &wanted).lacks_password();
        if needed && !site.options.dry_run {
            prepare_passwords::ask_missing_passwords(ask, &mut wanted);
        }
    }
    Ok(PrepareInput { facts, wanted, places, secrets: known })
}

fn invalid(error: &Text) -> Error {
    Error::failed("invalid conninfo in the configuration").because(error)
}

fn dbname(name: &str) -> Conninfo {
    let mut out = Conninfo::default();
    out.set("dbname", name);
    out
}

/// Connects as a superuser: as the command line says, or in the ways that lead to a server on this host. None where there is no
/// server yet. To look only, the role of the conninfo is enough, though it does not see everything.
async fn enter(site: &Site, config: &Config, superuser_needed: bool) -> Result<Option<SuperuserLogin>> {
    let data = &config.data_directory;
    match look_past_mark(data) {
        DirectoryContents::DataDirectory { .. } => {}
        DirectoryContents::Unreadable(why) => {
            return Err(Error::failed(format!("could not examine data directory \"{}\"", data.display()))
                .detail(why)
                .hint("Run pgbaton as the user that owns it."));
        }
        // Before a clone there is only the password file to prepare.
        _ => return Ok(None),
    }
    if running_postmaster(data).is_none() {
        return Err(Error::new(Exit::Connection, format!("no server runs on \"{}\"", data.display()))
            .detail("Its present state is read from the running server.")
            .hint("Start it, then run the command again."));
    }
    let mut tries = Vec::new();
    let mut lesser = None;
    for (what, conninfo) in ways(site, config)? {
        match site.connect(&conninfo).await {
            Err(error) => tries.push(format!("{what}: {}", error.message)),
            Ok(session) => {
                let sql =
                    "SELECT rolsuper::text, current_user::text FROM pg_roles WHERE rolname = current_user";
                match session.query_one(sql, &[]).await {
                    Ok(row) if row.get(0) == Some("true") => {
                        return Ok(Some(SuperuserLogin { session, conninfo }));
                    }
                    Ok(row) => {
                        let user = row.get(1).unwrap_or_default();
                        tries.push(format!("{what}: role \"{user}\" is not a superuser"));
                        lesser.get_or_insert(SuperuserLogin { session, conninfo });
                    }
                    Err(error) => tries.push(format!("{what}: {error}")),
                }
            }
        }
    }
    if let Some(entered) = lesser.filter(|_| !superuser_needed) {
        return Ok(Some(entered));
    }
    let tried: Vec<String> = tries.iter().map(|text| sentence(text)).collect();
    Err(Error::new(Exit::Connection, "could not connect as a superuser")
        .detail(tried.join(" "))
        .hint("Name one with -S or -U, with a password in ~/.pgpass; or let one connect over the local socket in pg_hba.conf."))
}

/// Returns the ways to a superuser's session, in the order in which they are tried.
fn ways(site: &Site, config: &Config) -> Result<Vec<(String, Conninfo)>> {
    let mut out = Vec::new();
    let mut add = |what: &str, conninfo: &Conninfo| {
        let user = conninfo.get("user").map(|user| format!(" as \"{user}\"")).unwrap_or_default();
        out.push((format!("{what}{user}"), conninfo.clone()));
    };
    let superuser = site.options.superuser.as_deref();
    if let Some(mut given) = site.given_conninfo()? {
        if let Some(name) = superuser {
            given.set("user", name);
        }
        if given.get("host").is_none()
            && given.get("hostaddr").is_none()
            && given.get("service").is_none()
            && let Some(way) = prepare::local_way(&config.data_directory)
        {
            given.set("host", way.host);
            if given.get("port").is_none() {
                given.set("port", way.port);
            }
        }
        if given.get("dbname").is_none() {
            given.set("dbname", "postgres");
        }
        add("by the command line", &given);
        return Ok(out);
    }
    let own = site.local_conninfo()?;
    let other = |name: &str| {
        let mut conninfo = own.clone();
        conninfo.remove("password");
        conninfo.set("user", name);
        conninfo.set("dbname", "postgres");
        conninfo
    };
    let local = prepare::local_way(&config.data_directory).map(|way| {
        let mut conninfo = dbname("postgres");
        conninfo.set("host", way.host);
        conninfo.set("port", way.port);
        conninfo
    });
    let users: Vec<&str> = match superuser {
        Some(name) => {
            add("by the conninfo of the configuration", &other(name));
            vec![name]
        }
        None => {
            add("by the conninfo of the configuration", &own);
            let mut users = vec!["postgres"];
            users.extend(site.environment.user.as_deref().filter(|user| *user != "postgres"));
            users
        }
    };
    for user in users {
        if let Some(local) = &local {
            let mut conninfo = local.clone();
            conninfo.set("user", user);
            add(&format!("on \"{}\"", conninfo.get("host").unwrap_or_default()), &conninfo);
        }
    }
    Ok(out)
}

/// What is written to files here must be about the server that was asked. The path alone is no proof: it is the same on every host.
fn refuse_other_server(config: &Config, set_up: &ServerSetup) -> Result<()> {
    let own = &config.data_directory;
    let control = control_file::read(own).map_err(|error| {
        Error::failed(format!("could not examine data directory \"{}\"", own.display()))
            .detail(format!("{} Nothing was changed.", sentence(&format!("{error:#}"))))
    })?;
    match other_server(
        own,
        set_up,
        control.system_identifier,
        node_location::runs_on(own, &set_up.started_at),
    ) {
        None => Ok(()),
        Some(why) => {
            Err(Error::failed("the connection reaches another server than the one in the configuration")
                .detail(format!("{why} Nothing was changed."))
                .hint(
                    "Correct the options of the connection, or run the command on the host of that server.",
                ))
        }
    }
}

/// Says why the server that was asked is not the one that runs on the data directory; None if it is.
fn other_server(
    own: &Path,
    reported: &ServerSetup,
    system_identifier: u64,
    runs_here: bool,
) -> Option<String> {
    let same = |path: &Path| {
        path == own || path.canonicalize().ok().zip(own.canonicalize().ok()).is_some_and(|(a, b)| a == b)
    };
    if let Some(path) = reported.data_directory.as_ref().filter(|path| !same(path)) {
        return Some(format!(
            "The data directory there is \"{}\", and data_directory is \"{}\".",
            path.display(),
            own.display()
        ));
    }
    if reported.system_identifier != system_identifier.to_string() {
        return Some(format!(
            "The system identifier there is {}, and that of \"{}\" on this host is {system_identifier}.",
            reported.system_identifier,
            own.display()
        ));
    }
    (!runs_here).then(|| {
        format!(
            "It was started at {}, and the server on \"{}\" on this host at another time.",
            reported.started_at,
            own.display()
        )
    })
}

/// Reads the registered nodes; none where there is no metadata.
async fn registered(session: &Session) -> std::result::Result<Vec<NodeRow>, crate::pg::SqlError> {
    let row = session.query_one("SELECT (to_regclass('repmgr.nodes') IS NOT NULL)::text", &[]).await?;
    if row.get(0) == Some("true") { node::read_all(session).await } else { Ok(Vec::new()) }
}

/// Returns all nodes with their addresses: this one, the registered ones, and those that were named.
async fn nodes(site: &Site, config: &Config, request: &Request, rows: &[NodeRow]) -> Result<Vec<Node>> {
    let mut texts = vec![(config.node_name.clone(), config.conninfo.clone())];
    let others =
        rows.iter().filter(|row| row.node_id != config.node_id && row.node_type != NodeType::Witness);
    texts.extend(others.map(|row| (row.node_name.clone(), row.conninfo.clone())));
    let own_port = site.local_conninfo()?.get("port").unwrap_or("5432").to_string();
    let own_port = own_port.split(',').next().unwrap_or("5432").to_string();
    for named in &request.nodes {
        let (host, port) = host_and_port(named, &own_port)?;
        let mut conninfo = Conninfo::default();
        conninfo.set("host", &host);
        conninfo.set("port", port);
        // Nodes of a cluster insist on TLS or do not, all of them.
        if let Some(mode) = site.local_conninfo()?.get("sslmode") {
            conninfo.set("sslmode", mode);
        }
        texts.push((host, conninfo.to_string()));
    }
    let mut targets = Vec::new();
    for (name, text) in &texts {
        // A row with an invalid conninfo is reported by other commands; no entry can be written for it.
        let Ok(conninfo) = Conninfo::parse(text) else { continue };
        let Ok(resolved) = resolve(&conninfo, &site.environment) else { continue };
        let tls = match resolved.tls.mode {
            SslMode::Disable => Tls::Never,
            SslMode::Allow | SslMode::Prefer => Tls::Either,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Tls::Always,
        };
        for target in resolved.targets {
            targets.push((name.clone(), target.host, target.port, tls));
        }
    }
    let lookups = targets.into_iter().map(|(name, host, port, tls)| async move {
        let (shown, is_here) = shown(&host);
        Node { name, host: shown, port: port.to_string(), sources: sources(&host).await, tls, is_here }
    });
    let mut out: Vec<Node> = Vec::new();
    for node in join_all(lookups).await {
        // A node that was named and is registered, too.
        if !out.iter().any(|other| (&other.host, &other.port) == (&node.host, &node.port)) {
            out.push(node);
        }
    }
    Ok(out)
}

/// Reads `HOST`, `HOST:PORT`, `[IPV6]` and `[IPV6]:PORT`.
fn host_and_port(text: &str, port: &str) -> Result<(String, String)> {
    let wrong = || {
        Error::failed(format!("invalid value \"{text}\" for option \"--node\""))
            .hint("It is a host name or an address, with a port after a colon if that is another one: node2:5433, [fd00::2]:5433.")
    };
    let (host, given) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
        // An IPv6 address has several colons.
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = given.unwrap_or(port);
    let sound = !host.is_empty()
        && !host.contains(['/', ',', ' ', '=', '\''])
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    if sound { Ok((host.to_string(), port.to_string())) } else { Err(wrong()) }
}

fn networks(request: &Request) -> Result<Vec<IpNet>> {
    let read = |text: &String| {
        network(text).ok_or_else(|| {
            Error::failed(format!("invalid value \"{text}\" for option \"--network\""))
                .hint("It is an address with the number of bits that count: 10.0.0.0/24.")
        })
    };
    request.networks.iter().map(read).collect()
}

/// Returns what a password file calls a host, and whether it is a place on this host only.
fn shown(host: &Host) -> (String, bool) {
    match host {
        // The default directory is `localhost` there, as in libpq.
        Host::Socket(path) if is_default_socket(path) => ("localhost".into(), true),
        Host::Socket(path) => (path.display().to_string(), true),
        Host::Tcp { name, address } => {
            let shown =
                name.clone().or_else(|| address.map(|address| address.to_string())).unwrap_or_default();
            let literal = address.or_else(|| shown.parse().ok());
            let here = literal.map_or(shown == "localhost", |address| address.is_loopback());
            (shown, here)
        }
    }
}

fn is_default_socket(path: &Path) -> bool {
    path == Path::new("/var/run/postgresql") || path == Path::new("/tmp")
}

/// Returns where connections from a host come from.
async fn sources(host: &Host) -> std::result::Result<Vec<Source>, String> {
    let name = match host {
        Host::Socket(_) => return Ok(vec![Source::Socket]),
        Host::Tcp { address: Some(address), .. } => return Ok(vec![source(*address)]),
        Host::Tcp { name, .. } => name.clone().unwrap_or_default(),
    };
    let found: BTreeSet<Source> = addresses(&name).await?.into_iter().map(source).collect();
    Ok(found.into_iter().collect())
}

async fn addresses(name: &str) -> std::result::Result<Vec<IpAddr>, String> {
    match timeout(RESOLVE, lookup_host((name, 0))).await {
        Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
        Ok(Err(error)) => {
            let text = error.to_string();
            Err(text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_string())
        }
        Err(_) => Err("the name service does not respond".into()),
    }
}

/// A connection to any loopback address, as Debian gives a host for its own name, comes from the first one.
fn source(address: IpAddr) -> Source {
    let address = match address {
        IpAddr::V4(v4) if v4.is_loopback() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        other => other,
    };
    Source::Net(address.into())
}

/// Returns the hosts that the server has to listen on, by name and by address; none for sockets.
fn own_hosts(targets: &[crate::pg::resolve::HostTarget], own: Option<&Node>) -> Vec<String> {
    let mut out = Vec::new();
    for target in targets {
        if let Host::Tcp { name, address } = &target.host {
            out.extend(name.clone());
            out.extend(address.map(|address| address.to_string()));
        }
    }
    if out.is_empty() {
        return out;
    }
    for from in own.iter().flat_map(|node| node.sources.iter().flatten()) {
        if let Source::Net(network) = from {
            out.push(network.addr().to_string());
        }
    }
    out
}

/// Looks at the files, and at what rules mean on this host.
async fn facts(
    site: &Site,
    config: &Config,
    set_up: Option<ServerSetup>,
    rows: &[NodeRow],
    wanted: &PrepareRequest,
) -> PrepareFacts {
    let mut out = PrepareFacts { passfiles: passfiles(site, config), ..PrepareFacts::default() };
    let Some(set_up) = set_up else { return out };
    if let Some(path) = &set_up.hba_file {
        out.hba = file(path, 0o600);
    }
    if let Some(path) = &set_up.config_file {
        out.conf = file(path, 0o600);
        let parent = out.conf.path.parent().map(Path::to_path_buf).unwrap_or_default();
        let directory = out.conf.text.as_deref().and_then(|text| included_directory(text, &parent));
        out.conf_directory = directory.filter(|path| path.is_dir());
        let place = out.conf_directory.as_ref().unwrap_or(&parent);
        out.own_conf = file(&place.join("pgbaton.conf"), 0o640);
    }
    let auto = file(&config.data_directory.join("postgresql.auto.conf"), 0o600);
    out.auto_conf_closed = auto.closed;
    out.around = around(&set_up, wanted).await;
    out.has_standbys = !set_up.in_recovery && rows.iter().any(|row| row.node_type == NodeType::Standby);
    out.set_up = Some(set_up);
    out
}

/// Looks at a file that may be changed.
fn file(path: &Path, mode: u32) -> FileNow {
    // What a symbolic link leads to is written, not the link.
    let path: PathBuf = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut out = FileNow { mode, ..FileNow::default() };
    if path.exists() {
        match files::read_text(&path) {
            Ok((text, mode)) => {
                out.text = Some(text);
                out.mode = mode;
            }
            Err(error) => out.closed = Some(sentence(&format!("{error:#}"))),
        }
        if out.closed.is_none() && !inspect::is_open_to_us(&path) {
            out.closed = Some("This user may not read and write it.".into());
        }
    }
    if out.closed.is_none() && !inspect::is_writable(directory) {
        out.closed = Some(format!("This user may not write to the directory \"{}\".", directory.display()));
    }
    out.path = path;
    out
}

/// Returns the files that libpq, and the server's WAL receiver, look for passwords in.
fn passfiles(site: &Site, config: &Config) -> Vec<FileNow> {
    let own = site.local_conninfo().ok();
    let named = own.as_ref().and_then(|own| own.get("passfile")).map(PathBuf::from);
    let variable = site.environment.non_empty("PGPASSFILE").map(PathBuf::from);
    let home = site.environment.home.as_ref().map(|home| home.join(".pgpass"));
    let mut paths: Vec<PathBuf> = named.or(variable).or(home).into_iter().collect();
    paths.extend(config.passfile.clone());
    paths.dedup();
    paths.iter().map(|path| file(path, 0o600)).collect()
}

async fn around(set_up: &ServerSetup, wanted: &PrepareRequest) -> HbaContext {
    let keyword = |address: &&String| !matches!(address.as_str(), "all" | "samehost" | "samenet");
    let rules = set_up.rules.iter().flatten();
    let names: BTreeSet<&String> = rules
        .filter(|rule| rule.netmask.is_none())
        .filter_map(|rule| rule.address.as_ref())
        .filter(keyword)
        .filter(|name| name.parse::<IpAddr>().is_err() && !name.starts_with('.'))
        .collect();
    let looked = names
        .into_iter()
        .map(|name| async move { (name.clone(), addresses(name).await.unwrap_or_default()) });
    let hosts = join_all(looked).await.into_iter().collect();
    let ours =
        wanted.nodes.iter().flat_map(|node| node.sources.iter().flatten()).filter_map(|from| match from {
            Source::Net(network) => Some(network.addr()),
            Source::Socket => None,
        });
    HbaContext {
        ssl: set_up.ssl,
        member_of: set_up.member_of.clone(),
        hosts,
        own: ours.filter(|address| address.is_loopback() || is_own_address(*address)).collect(),
        networks: prepare::networks(),
        matches: set_up.matches.clone(),
    }
}

#[cfg(test)]
mod tests;
