//! Reaching a node that is not the local one: where it is, how to get there, and having its own pgbaton do the work.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::{self, Config, ConfigError, NamedBy};
use crate::error::{Error, Result, sentence};
use crate::facts::cluster::NodeFacts;
use crate::facts::directory::{postmaster, running_postmaster};
use crate::facts::server::ServerFacts;
use crate::far_end::checks::ChannelFailure;
use crate::far_end::protocol::{Hello, RelayedNode};
use crate::far_end::remote::{OPEN, Remote};
use crate::observe::discovery;
use crate::pg::conninfo::Conninfo;
use crate::pg::control_file;
use crate::plan::FarEnd;
use crate::plan::far_end::Reached;
use crate::registry::{self, NodeRow, NodeType};
use crate::site::Site;
use crate::system::{environment, inspect};

/// How long the name of a host may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(5);

/// A postmaster writes its start into `postmaster.pid` first; what SQL calls the start comes when its memory is set up.
const START_S: std::ops::RangeInclusive<i64> = -1..=5;

/// What is known of a node before its host is asked.
#[derive(Clone, Copy, Debug)]
pub struct NodeLocation<'a> {
    /// Its row.
    pub row: &'a NodeRow,
    /// What its server says, if that answers.
    pub server: Option<&'a ServerFacts>,
    /// The cluster's system identifier.
    pub system_identifier: Option<&'a str>,
    /// The host in its row of `pgbaton.node`.
    pub ssh_host: Option<&'a str>,
}

impl RelayedNode {
    /// Returns what is known of the node.
    pub fn location(&self) -> NodeLocation<'_> {
        NodeLocation {
            row: &self.row,
            server: None,
            system_identifier: self.system_identifier.as_deref(),
            ssh_host: self.ssh_host.as_deref(),
        }
    }
}

/// Finds out how to reach the pgbaton of a node: on this host, if it is proven that the node is here, else by ssh.
///
/// # Errors
/// Exit code 1 if nothing says which host it is, or if `ssh_options` cannot be read.
pub async fn far_end(site: &Site, known: &NodeLocation<'_>) -> Result<FarEnd> {
    let row = known.row;
    let named = |reached| FarEnd { node_id: row.node_id, node_name: row.node_name.clone(), reached };
    let own =
        environment::own_program().map_or_else(|| "pgbaton".to_string(), |path| path.display().to_string());
    let config_file = row.config_file.clone();
    if let Err(error) = own_config(site, row) {
        let error = Error::from(error);
        let message =
            format!("the configuration file of node \"{}\" on this host is not used", row.node_name);
        site.messages.warning(&message, Some(&error.sentences()), error.hint.as_deref());
    }
    if data_directory_here(site, known).await.is_some() {
        return Ok(named(Reached::Local { program: own, config_file }));
    }
    let config = site.config()?;
    let destination = match known.ssh_host {
        Some(host) => host.to_string(),
        None => host_of(&row.conninfo).ok_or_else(|| no_host(row))?,
    };
    if !is_destination(&destination) {
        return Err(Error::failed(format!(
            "the registered host of node \"{}\" is not used for ssh",
            row.node_name
        ))
        .detail(format!("\"{destination}\" has characters that mean something to ssh or to a shell."))
        .hint(no_host(row).text.hint.unwrap_or_default()));
    }
    let options = shell_words::split(config.ssh_options.as_deref().unwrap_or_default())
        .map_err(|error| Error::failed("invalid ssh_options").detail(sentence(&error.to_string())))?;
    let program = match &config.pgbaton_bindir {
        Some(directory) => directory.join("pgbaton").display().to_string(),
        None => own,
    };
    Ok(named(Reached::Ssh { destination, options, program, config_file }))
}

/// Says whether `--node-id` and `--node-name`, where they are given, mean the local node.
///
/// # Errors
/// Exit code 1 without a configuration.
pub fn means_local(site: &Site) -> Result<bool> {
    let (options, config) = (&site.options, site.config()?);
    Ok(options.node_id.is_none_or(|id| id == config.node_id)
        && options.node_name.as_ref().is_none_or(|name| *name == config.node_name))
}

/// Reads how the hosts of the nodes are called for ssh, where that is recorded and a node responds.
pub async fn ssh_hosts(site: &Site, found: &discovery::Discovered) -> BTreeMap<i32, String> {
    let read = async {
        // A witness has a copy of the nodes, and of nothing else.
        let reported = |node: &&NodeFacts| node.facts().is_some() && node.row.node_type != NodeType::Witness;
        let answering = found.facts.nodes.iter().find(reported)?;
        let session = site.connect(&Conninfo::parse(&answering.row.conninfo).ok()?).await.ok()?;
        registry::node::ssh_hosts(&session).await.ok()
    };
    read.await.unwrap_or_default()
}

/// Says whether a name that was registered can be given to ssh as where to go.
///
/// It must not be taken for an option; and ssh puts it into commands of its own configuration (ProxyCommand, Match exec) unquoted.
fn is_destination(name: &str) -> bool {
    let acts = |c: char| c.is_control() || c.is_whitespace() || "'`\"$\\;&<>|(){}*?!".contains(c);
    !name.is_empty() && !name.starts_with('-') && !name.contains("@-") && !name.chars().any(acts)
}

/// Opens a channel to a far end, hears who it is, and closes the channel.
///
/// # Errors
/// Why it does not respond; [`checks`](crate::far_end::checks::checks) says what it means.
pub async fn greet(site: &Site, far_end: &FarEnd) -> std::result::Result<Hello, ChannelFailure> {
    Remote::open(site, far_end, OPEN).await.map(|(_, hello)| hello)
}

/// Returns the first host that a conninfo names and that is no socket directory.
fn host_of(conninfo: &str) -> Option<String> {
    let parsed = Conninfo::parse(conninfo).ok()?;
    let hosts = parsed.get("host").into_iter().chain(parsed.get("hostaddr"));
    let mut hosts = hosts.flat_map(|list| list.split(','));
    hosts.find(|host| !host.is_empty() && !host.starts_with(['/', '@'])).map(str::to_string)
}

fn no_host(row: &NodeRow) -> Error {
    Error::failed(format!("it is unknown on which host node \"{}\" is", row.node_name))
        .detail("Its conninfo names no host, and its configuration file and data directory were not found here.")
        .hint(format!(
            "In the database of the metadata run: INSERT INTO pgbaton.node (node_id, ssh_host) VALUES ({}, 'HOST') \
             ON CONFLICT (node_id) DO UPDATE SET ssh_host = EXCLUDED.ssh_host;",
            row.node_id
        ))
}

/// Returns the data directory of a node, if it is proven that it is on this host and within this user's reach. Only a proof counts: what is
/// done by mistake to a copy of its data directory is done to the wrong server.
pub async fn data_directory_here(site: &Site, known: &NodeLocation<'_>) -> Option<PathBuf> {
    let config = own_config(site, known.row).ok()??;
    lies_here(known, &config.data_directory).await.then_some(config.data_directory)
}

async fn lies_here(known: &NodeLocation<'_>, data: &Path) -> bool {
    let Ok(control) = control_file::read(data) else { return false };
    let cluster = known.server.map(|server| server.system_identifier.as_str()).or(known.system_identifier);
    if cluster.is_some_and(|cluster| cluster != control.system_identifier.to_string())
        || !inspect::is_own(data)
    {
        return false;
    }
    match known.server {
        Some(server) => runs_on(data, &server.started_at) && runs_on_this_host(data),
        // A server that cannot be asked may run all the same, somewhere else.
        None if running_postmaster(data).is_some() && !runs_on_this_host(data) => false,
        None => match Conninfo::parse(&known.row.conninfo) {
            Ok(conninfo) => conninfo.is_this_host() || leads_here(&known.row.conninfo).await,
            Err(_) => false,
        },
    }
}

/// Says whether the server of a data directory runs in the same network and among the same processes as this program.
fn runs_on_this_host(data: &Path) -> bool {
    running_postmaster(data).is_some_and(|pid| inspect::shares_our_host(pid, data))
}

/// Reads the configuration file of a node, if there is one on this host that is about this node.
///
/// The name of the file is data: a role that may write the row must not be able to choose a file that it may write, too.
fn own_config(site: &Site, row: &NodeRow) -> std::result::Result<Option<Config>, ConfigError> {
    let path = Path::new(&row.config_file);
    if !path.is_absolute() || !path.exists() {
        return Ok(None);
    }
    let local = site.config_if_any().ok().flatten();
    let owner = local.and_then(|config| inspect::owner_id(&config.data_directory));
    let config = config::read(path, NamedBy::Row { owner }, &[], |_| Ok(()))?.config;
    Ok(config.filter(|config| (config.node_id, &config.node_name) == (row.node_id, &row.node_name)))
}

/// Says whether the server that runs on a data directory may be the one that says when it was started: a machine that is busy, or much
/// shared memory, makes a start slow. Enough not to raise an alarm, and no proof.
pub(crate) fn may_run_on(data: &Path, started_at: &str) -> bool {
    const SLOW_S: i64 = 60;
    let Some(here) = postmaster(data).and_then(|postmaster| postmaster.started_at) else { return false };
    let since = started_at.parse::<Timestamp>().map(|reported| reported.as_second() - here);
    since.is_ok_and(|seconds| (*START_S.start()..=SLOW_S).contains(&seconds))
}

/// Says whether a server that answers is certainly another one than the one that runs on a data directory: it was started at another time, or
/// listens on another port.
pub(crate) fn is_another(data: &Path, started_at: &str, port: &str) -> bool {
    let Some(here) = postmaster(data) else { return true };
    !may_run_on(data, started_at) || here.port.is_some_and(|here| port.parse() != Ok(here))
}

/// Says whether the server that runs on a data directory is the one that says when it was started.
pub(crate) fn runs_on(data: &Path, started_at: &str) -> bool {
    let Some(here) = postmaster(data).and_then(|postmaster| postmaster.started_at) else { return false };
    started_at.parse::<Timestamp>().is_ok_and(|reported| START_S.contains(&(reported.as_second() - here)))
}

/// Says whether a conninfo leads to an address of this host.
async fn leads_here(conninfo: &str) -> bool {
    let Some(host) = host_of(conninfo) else { return false };
    match timeout(RESOLVE, lookup_host((host.as_str(), 0))).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).any(is_own_address),
        _ => false,
    }
}

/// Says whether an address is one of this host's: then the way to it begins where it ends. Nothing is sent.
pub(crate) fn is_own_address(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let chosen = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(address, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    chosen().is_ok_and(|chosen| chosen == address)
}

pub(crate) fn config_file(far_end: &FarEnd) -> &str {
    match &far_end.reached {
        Reached::Local { config_file, .. } | Reached::Ssh { config_file, .. } => config_file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_first_that_is_no_socket() {
        assert_eq!(host_of("host=/run/postgresql,db1,db2"), Some("db1".into()));
        assert_eq!(host_of("hostaddr=10.0.0.1 dbname=x"), Some("10.0.0.1".into()));
        assert_eq!(host_of("postgresql://u@db3:5433/x"), Some("db3".into()));
        assert_eq!(host_of("host=/run/postgresql dbname=x"), None);
    }

    #[test]
    fn a_registered_host_is_no_option_and_no_command() {
        for good in
            ["db1", "postgres@db1.example.com", "10.0.0.1", "fe80::1%eth0", "ssh://u@db1:2222", "zürich"]
        {
            assert!(is_destination(good), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=id",
            "u@-oProxyCommand=id",
            "a b",
            "a\nb",
            "$(id)",
            "`id`",
            "a;id",
            "a|id",
            "'",
            "\u{9b}",
        ] {
            assert!(!is_destination(bad), "{bad}");
        }
    }

    #[test]
    fn only_own_addresses_are_own() {
        assert!(is_own_address("127.0.0.1".parse().unwrap()));
        // RFC 5737: reserved for documentation.
        assert!(!is_own_address("192.0.2.1".parse().unwrap()));
    }
}
