//! Reaching a node that is not the local one: where it is, how to get there, and having its own pgbaton do the work.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::commands::context::Context;
use crate::commands::world::{OPEN, Remote};
use crate::commands::{locate, unregister, usage};
use crate::config::{self, Config, ConfigError, NamedBy};
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::NodeFacts;
use crate::facts::directory::{postmaster, running_postmaster};
use crate::facts::server::ServerFacts;
use crate::output::ui::Level;
use crate::output::{Data, Report};
use crate::pg::conninfo::Conninfo;
use crate::pg::control_file;
use crate::plan::FarEnd;
use crate::plan::far_end::{Expected, Hello, Reached, Third, Trouble, checks};
use crate::registry::{self, NodeRow, NodeType};
use crate::system::process::{self, Surroundings};
use crate::system::signals::{Signal, Signals};
use crate::system::{environment, inspect};

/// How long the name of a host may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(5);

/// A postmaster writes its start into `postmaster.pid` first; what SQL calls the start comes when its memory is set up.
const START_S: std::ops::RangeInclusive<i64> = -1..=5;

/// What is known of a node before anybody there is asked.
#[derive(Clone, Copy, Debug)]
pub struct Whereabouts<'a> {
    /// Its row.
    pub row: &'a NodeRow,
    /// What its server says, if that answers.
    pub server: Option<&'a ServerFacts>,
    /// The cluster's system identifier.
    pub system_identifier: Option<&'a str>,
    /// The host in its row of `pgbaton.node`.
    pub ssh_host: Option<&'a str>,
}

impl Third {
    /// Returns what is known of the node.
    pub fn whereabouts(&self) -> Whereabouts<'_> {
        Whereabouts {
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
pub async fn far_end(context: &Context, known: &Whereabouts<'_>) -> Result<FarEnd> {
    let row = known.row;
    let named = |reached| FarEnd { node_id: row.node_id, node_name: row.node_name.clone(), reached };
    let own =
        environment::own_program().map_or_else(|| "pgbaton".to_string(), |path| path.display().to_string());
    let config_file = row.config_file.clone();
    if let Err(error) = own_config(context, row) {
        let error = Error::from(error);
        let message =
            format!("the configuration file of node \"{}\" on this host is not used", row.node_name);
        let why = [Some(sentence(&error.primary)), error.detail]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        context.ui.message(Level::Warning, &message, Some(&why), error.hint.as_deref());
    }
    if data_directory_here(context, known).await.is_some() {
        return Ok(named(Reached::Local { program: own, config_file }));
    }
    let config = context.config()?;
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
        .hint(no_host(row).hint.unwrap_or_default()));
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
pub fn means_local(context: &Context) -> Result<bool> {
    let (global, config) = (&context.global, context.config()?);
    Ok(global.node_id.is_none_or(|id| id == config.node_id)
        && global.node_name.as_ref().is_none_or(|name| *name == config.node_name))
}

/// Hands this command over to the node that `--node-id` or `--node-name` means; None if that is the local one.
///
/// # Errors
/// Exit code 1 if there is no such node, else those of [`hand_over`].
pub async fn elsewhere(context: &Context) -> Result<Option<Report>> {
    if means_local(context)? {
        return Ok(None);
    }
    let found = locate::cluster(context).await?;
    let node = unregister::target(context, &found.facts)?;
    let ssh_host = ssh_hosts(context, &found).await.remove(&node.row.node_id);
    let known = Whereabouts {
        row: &node.row,
        server: node.facts(),
        system_identifier: found.facts.system_identifier(),
        ssh_host: ssh_host.as_deref(),
    };
    let there = far_end(context, &known).await?;
    let words = context.command_line.get(1..).unwrap_or_default();
    hand_over(context, &there, words).await.map(Some)
}

/// Reads how the hosts of the nodes are called for ssh, where that is recorded and somebody can be asked.
pub async fn ssh_hosts(context: &Context, found: &locate::Found) -> BTreeMap<i32, String> {
    let read = async {
        // A witness has a copy of the nodes, and of nothing else.
        let told = |node: &&NodeFacts| node.facts().is_some() && node.row.node_type != NodeType::Witness;
        let answering = found.facts.nodes.iter().find(told)?;
        let session = context.connect(&Conninfo::parse(&answering.row.conninfo).ok()?).await.ok()?;
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
/// Why there is no answer; [`checks`] says what it means.
pub async fn greet(context: &Context, far_end: &FarEnd) -> std::result::Result<Hello, Trouble> {
    Remote::open(context, far_end, OPEN).await.map(|(_, hello)| hello)
}

/// Returns the first host that a conninfo names and that is no socket directory.
fn host_of(conninfo: &str) -> Option<String> {
    let parsed = Conninfo::parse(conninfo).ok()?;
    let hosts = parsed.get("host").into_iter().chain(parsed.get("hostaddr"));
    let mut hosts = hosts.flat_map(|list| list.split(','));
    hosts.find(|host| !host.is_empty() && !host.starts_with(['/', '@'])).map(str::to_string)
}

fn no_host(row: &NodeRow) -> Error {
    Error::failed(format!("it is not known on which host node \"{}\" is", row.node_name))
        .detail("Its conninfo names no host, and its configuration file and data directory were not found here.")
        .hint(format!(
            "In the database of the metadata run: INSERT INTO pgbaton.node (node_id, ssh_host) VALUES ({}, 'HOST') \
             ON CONFLICT (node_id) DO UPDATE SET ssh_host = EXCLUDED.ssh_host;",
            row.node_id
        ))
}

/// Returns the data directory of a node, if it is proven that it is on this host and within this user's reach. Only a proof counts: what is
/// done by mistake to a copy of its data directory is done to the wrong server.
pub async fn data_directory_here(context: &Context, known: &Whereabouts<'_>) -> Option<PathBuf> {
    let config = own_config(context, known.row).ok()??;
    lies_here(known, &config.data_directory).await.then_some(config.data_directory)
}

async fn lies_here(known: &Whereabouts<'_>, data: &Path) -> bool {
    let Ok(control) = control_file::read(data) else { return false };
    let cluster = known.server.map(|server| server.system_identifier.as_str()).or(known.system_identifier);
    if cluster.is_some_and(|cluster| cluster != control.system_identifier.to_string())
        || !inspect::is_own(data)
    {
        return false;
    }
    match known.server {
        Some(server) => runs_on(data, &server.started_at) && runs_beside_us(data),
        // A server that cannot be asked may run all the same, somewhere else.
        None if running_postmaster(data).is_some() && !runs_beside_us(data) => false,
        None => match Conninfo::parse(&known.row.conninfo) {
            Ok(conninfo) => conninfo.is_this_host() || leads_here(&known.row.conninfo).await,
            Err(_) => false,
        },
    }
}

/// Says whether the server of a data directory runs in the same network and among the same processes as this program.
fn runs_beside_us(data: &Path) -> bool {
    running_postmaster(data).is_some_and(|pid| inspect::shares_our_host(pid, data))
}

/// Reads the configuration file of a node, if there is one on this host that is about this node.
///
/// The name of the file is data: whoever may write the row must not be able to choose a file that he may write, too.
fn own_config(context: &Context, row: &NodeRow) -> std::result::Result<Option<Config>, ConfigError> {
    let path = Path::new(&row.config_file);
    if !path.is_absolute() || !path.exists() {
        return Ok(None);
    }
    let local = context.config_if_any().ok().flatten();
    let owner = local.and_then(|config| inspect::owner_id(&config.data_directory));
    let config = config::read(path, NamedBy::Row { owner }, &[], |_| Ok(()))?.config;
    Ok(config.filter(|config| (config.node_id, &config.node_name) == (row.node_id, &row.node_name)))
}

/// Says whether the server that runs on a data directory may be the one that says when it was started: a machine that is busy, or much
/// shared memory, makes a start slow. Enough not to raise an alarm, and no proof.
pub(crate) fn may_run_on(data: &Path, started_at: &str) -> bool {
    const SLOW_S: i64 = 60;
    let Some(here) = postmaster(data).and_then(|postmaster| postmaster.started_at) else { return false };
    let since = started_at.parse::<Timestamp>().map(|told| told.as_second() - here);
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
    started_at.parse::<Timestamp>().is_ok_and(|told| START_S.contains(&(told.as_second() - here)))
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

/// Has the pgbaton of another node carry a command out, with our terminal; its answer and its exit code are ours.
///
/// `args` are the words of the command, without the name of the program. Those that say which node, and where its things are, are left
/// out: over there it is the local one.
///
/// # Errors
/// Exit code 12 if nobody answers there: then nothing was begun. 5 if the connection was lost: then nobody knows.
pub async fn hand_over(context: &Context, far_end: &FarEnd, args: &[String]) -> Result<Report> {
    let words = usage::for_another_node(&context.command, args);
    if words.iter().any(|word| word.contains("********")) {
        return Err(Error::failed("a password on the command line cannot be handed to another host")
            .detail("It would be seen in the list of processes there.")
            .hint("Leave it out, and put it into the .pgpass of the user that runs pgbaton there."));
    }
    let answer = greet(context, far_end).await;
    let stops = |check: &crate::plan::Check| check.stops() && check.exit != Exit::Busy;
    if let Some(check) = checks(far_end, &Expected::default(), &answer).into_iter().find(stops) {
        let error = Error { detail: check.detail, hint: check.hint, ..Error::new(check.exit, check.message) };
        return Err(error.detail("Nothing was changed."));
    }
    // With a terminal on the other side both streams are one, so that side gets one only if all of ours are.
    let terminal = environment::is_terminal();
    let command = far_end.reached.command(terminal, &words);
    context.debug(&command.to_string());
    let signals = Signals::take_over()
        .map_err(|error| Error::from_cause(Exit::Internal, "could not take over signals", &error))?;
    let around = Surroundings { environment: Some(&context.environment), ..Surroundings::default() };
    let attached = process::Attached::start(&command, &around, terminal)
        .map_err(|error| Error::from_cause(Exit::LocalCommand, "could not hand the command over", &error))?;
    let by_ssh = matches!(far_end.reached, Reached::Ssh { .. });
    let status = {
        let mut ended = std::pin::pin!(attached.wait());
        loop {
            tokio::select! {
                status = &mut ended => break status,
                signal = signals.next() => match terminal {
                    // The terminal has told the other side as well.
                    true => {}
                    false if by_ssh => context.ui.message(
                        Level::Notice,
                        "the command goes on",
                        Some(&format!("It runs on the host of node \"{}\", where a signal from here does not get.", far_end.node_name)),
                        None,
                    ),
                    false => attached.send(match signal {
                        Signal::Int => rustix::process::Signal::INT,
                        Signal::Term => rustix::process::Signal::TERM,
                    }),
                },
            }
        }
    };
    let lost = |detail: String| {
        Error::new(
            Exit::LocalCommand,
            format!("the connection to the host of node \"{}\" was lost", far_end.node_name),
        )
        .detail(detail)
        .detail("What the command has done there is not known; it goes on without this connection.")
        .hint(format!("On that host: pgbaton -f {} operation list", shell_words::quote(config_file(far_end))))
        .changed()
    };
    match status {
        Ok(Some(255)) if by_ssh => Err(lost("ssh ended with status 255.".to_string())),
        Ok(Some(code)) => match u8::try_from(code).ok().and_then(|code| Exit::try_from(code).ok()) {
            Some(exit) => Ok(Report { exit, ..Report::new(Data::Nothing) }),
            None => Err(lost(format!("It ended with status {code}."))),
        },
        Ok(None) => Err(lost("It was ended by a signal.".to_string())),
        Err(error) => Err(lost(sentence(&format!("{error:#}")))),
    }
}

fn config_file(far_end: &FarEnd) -> &str {
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
        // RFC 5737: nobody's.
        assert!(!is_own_address("192.0.2.1".parse().unwrap()));
    }
}
