//! What a switchover finds out on the hosts of other nodes: who answers there, and which replication logins work.

use futures_util::future::join_all;

use crate::error::{Result, sentence};
use crate::facts::cluster::NodeFacts;
use crate::facts::write_locations;
use crate::far_end::checks::{ChannelFailure, Expected, checks};
use crate::far_end::protocol::Hello;
use crate::far_end::remote::{OPEN, Remote};
use crate::observe::node_location::{self, NodeLocation};
use crate::observe::under_locks::LockedCluster;
use crate::pg::client::Session;
use crate::pg::control::Manager;
use crate::pg::endpoint::Upstream;
use crate::plan::parts::following::upstream;
use crate::plan::parts::new_primary::siblings;
use crate::plan::service::writable;
use crate::plan::switchover::{OldPrimaryHost, SwitchoverOptions};
use crate::plan::{Check, FarEnd};
use crate::registry::node::ssh_hosts;
use crate::site::Site;

/// What was found out on the hosts of other nodes.
#[derive(Debug)]
pub struct OldPrimaryInspection {
    /// The way to the host of the primary.
    pub far_end: FarEnd,
    /// The channel to it, which the operation goes on with.
    pub channel: Option<Remote>,
    /// What its pgbaton says of that host, where it answers.
    pub host: Option<OldPrimaryHost>,
    /// What the hosts are checked for.
    pub checks: Vec<Check>,
}

impl OldPrimaryInspection {
    /// Asks the hosts of the primary and of the standbys that are to follow, all at once.
    ///
    /// # Errors
    /// Exit code 1 if it is not known how the host of the primary is reached.
    pub async fn gather(
        site: &Site,
        held: &LockedCluster,
        session: &Session,
        own: &NodeFacts,
        primary: &NodeFacts,
        options: SwitchoverOptions,
    ) -> Result<Self> {
        let hosts = ssh_hosts(session).await.unwrap_or_default();
        let server = primary.facts();
        let version = server.map_or(0, |server| server.version_num);
        let location = |node: &'_ NodeFacts| {
            (node.row.clone(), node.facts().cloned(), hosts.get(&node.row.node_id).cloned())
        };
        let (row, facts, host) = location(primary);
        let known = NodeLocation {
            row: &row,
            server: facts.as_ref(),
            system_identifier: held.facts.system_identifier(),
            ssh_host: host.as_deref(),
        };
        let far_end = node_location::far_end(site, &known).await?;
        let wanted = upstream(&own.row, &primary.row, version, None);
        let expected = Expected {
            system_identifier: server.map(|server| server.system_identifier.clone()),
            data_directory: held.roles.get(&row.node_id).and_then(|role| role.data_directory.clone()),
            restarts: true,
        };
        let following = match options.siblings_follow {
            true => siblings(&held.facts, own, Some(row.node_id)),
            false => Vec::new(),
        };
        let logins = join_all(following.iter().map(|sibling| async {
            let (row, facts, host) = location(sibling);
            let known = NodeLocation {
                row: &row,
                server: facts.as_ref(),
                system_identifier: held.facts.system_identifier(),
                ssh_host: host.as_deref(),
            };
            let far_end = node_location::far_end(site, &known).await.ok()?;
            let wanted = upstream(&own.row, &row, version, None);
            // A sibling follows by SQL. Its host need not be reachable; then its login cannot be tried, that is all.
            Some(query_host(site, &far_end, &wanted).await.ok()?.login)
        }));
        let (visited, logins) = tokio::join!(query_host(site, &far_end, &wanted), logins);
        let (answer, channel, login) = match visited {
            Ok(VisitedHost { channel, hello, login }) => (Ok(hello), Some(channel), Some(login)),
            Err(trouble) => (Err(trouble), None, None),
        };
        let mut checks = checks(&far_end, &expected, &answer);
        let data = &site.config()?.data_directory;
        let mut places = write_locations::of_data_directory(data);
        places.push(write_locations::of_state(&site.state_directory()?));
        checks.extend(writable(&places, &own.row.node_name));
        // What is not the node's own pgbaton, with its own configuration, says nothing about the node.
        let login = login.filter(|_| !checks.iter().any(|check| check.name == "far_end_configuration"));
        checks.extend(login_check(primary, own, login));
        for (sibling, login) in following.iter().zip(logins) {
            checks.extend(login_check(sibling, own, login));
        }
        let host = answer.ok().and_then(|hello| host_of(&hello));
        Ok(Self { far_end, channel, host, checks })
    }
}

/// A far end that answers.
struct VisitedHost {
    channel: Remote,
    hello: Hello,
    /// How its connection to the candidate went.
    login: std::result::Result<(), String>,
}

/// Asks a far end who it is, and has it try its connection to the candidate.
async fn query_host(
    site: &Site,
    far_end: &FarEnd,
    wanted: &Upstream,
) -> std::result::Result<VisitedHost, ChannelFailure> {
    let (channel, hello) = Remote::open(site, far_end, OPEN).await?;
    let login = channel.login(wanted).await;
    Ok(VisitedHost { channel, hello, login })
}

/// Turns a login that was tried into a check.
fn login_check(
    from: &NodeFacts,
    to: &NodeFacts,
    login: Option<std::result::Result<(), String>>,
) -> Option<Check> {
    const NAME: &str = "replication_login";
    let (from_name, to_name) = (&from.row.node_name, &to.row.node_name);
    Some(match login? {
        Ok(()) => Check::pass(NAME, format!("node \"{from_name}\" can log in to \"{to_name}\" for replication")),
        Err(why) => Check::fail(NAME, format!("node \"{from_name}\" cannot log in to \"{to_name}\" for replication"))
            .node(from.row.node_id)
            .detail(sentence(&why))
            .hint(format!(
                "Allow role \"{}\" to connect from there: check pg_hba.conf on \"{to_name}\" and the passfile on the host of \
                 \"{from_name}\".",
                to.row.repluser
            )),
    })
}

fn host_of(hello: &Hello) -> Option<OldPrimaryHost> {
    let service = hello.service.as_ref().ok()?;
    let bindir = hello.bindir.as_ref()?;
    Some(OldPrimaryHost {
        data_directory: hello.data_directory.clone(),
        postgres: bindir.join("postgres").display().to_string(),
        config_directory: hello.config_directory.clone(),
        stop: matches!(service.stopper, Manager::Configured(_)).then(|| service.stop.clone()),
        start: service.start.clone(),
        start_note: service.start_note.clone(),
        archive_ready: hello.archive_ready,
        // Where it cannot be determined, what is there stays.
        has_upstream: hello.has_upstream.unwrap_or(true),
        next: hello.next.clone(),
    })
}
