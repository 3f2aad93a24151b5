//! The hosts of nodes that do not let themselves be asked, before another node is promoted: that of the last known primary first of all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::context::Context;
use crate::error::{Error, Exit};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::topology::Topology;
use crate::far_end::checks::{Expected, checks};
use crate::far_end::protocol::{Hello, Secured};
use crate::far_end::remote::{OPEN, Remote, second_channel};
use crate::journal::{EarlierRuns, Stage};
use crate::observe::node_location::{self, NodeLocation};
use crate::observe::repmgr_activity::Quiet;
use crate::observe::under_locks::LockedCluster;
use crate::pg::client::Session;
use crate::pg::conninfo::Conninfo;
use crate::plan::keep_down::AsStandby;
use crate::plan::parts::hosts::{HostReport, hides_its_role, was_primary};
use crate::plan::{FarEnd, Op, Plan};
use crate::registry::node::ssh_hosts;
use crate::registry::{NodeRow, NodeType};
use crate::site::state_directory;
use crate::ui::Level;

/// The longest time that a host may take to answer.
const LONGEST: Duration = Duration::from_secs(5);

/// What was found on the hosts, and the channels to them.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// What each of them says, by node id.
    pub(crate) says: BTreeMap<i32, HostReport>,
    hosts: Vec<AnsweringHost>,
}

/// A host that answers.
#[derive(Debug)]
struct AnsweringHost {
    node_id: i32,
    remote: Rc<Remote>,
    /// Its server is, or was, the primary.
    is_former: bool,
    /// `standby.signal` is missing there, and what has to be written.
    lacks: Option<AsStandby>,
    /// It was missing, and was written at once.
    wrote_signal: bool,
}

/// A channel that was opened before it is known whether it is needed.
#[derive(Debug)]
pub(crate) struct EarlyChannel {
    far_end: FarEnd,
    remote: Remote,
    hello: Hello,
    secured: Result<Secured, Error>,
}

impl EarlyChannel {
    /// Opens channels to the hosts of those that were the primary in the saved topology, and looks, at the same time as the first look at the
    /// cluster: if it is needed, it has cost no time of its own.
    pub(crate) async fn open(context: &Context, node_id: i32) -> Vec<Self> {
        let Some(seen) = state_directory::saved_topology(context).ok().flatten() else { return Vec::new() };
        let former = |row: &NodeRow, was_primary| {
            let is_primary = row.node_type == NodeType::Primary && row.active || was_primary == Some(true);
            is_primary && row.node_id != node_id
        };
        let rows = seen.nodes.iter().filter(|node| former(&node.row, node.was_primary));
        let opened = join_all(rows.map(|node| async {
            let known = NodeLocation {
                row: &node.row,
                server: None,
                system_identifier: seen.system_identifier.as_deref(),
                ssh_host: None,
            };
            let far_end = node_location::far_end(context, &known).await.ok()?;
            let within = bound(context, &node.row);
            timeout(within, Self::at(context, far_end, within)).await.ok()?.ok()
        }));
        opened.await.into_iter().flatten().collect()
    }

    async fn at(context: &Context, far_end: FarEnd, within: Duration) -> Result<Self, String> {
        let opened = Remote::open(context, &far_end, within).await;
        let (remote, hello) = opened.map_err(|trouble| trouble.error(&far_end).sentences())?;
        let secured = remote.secure(true).await;
        Ok(Self { far_end, remote, hello, secured })
    }
}

/// What is known before the hosts are asked.
#[derive(Debug)]
pub(crate) struct KnownFacts {
    cluster: ClusterFacts,
    topology: Option<Topology>,
    /// A session on the local server.
    session: Option<Session>,
}

impl KnownFacts {
    /// Takes note of what was found before the locks.
    pub(crate) fn of(rest: &Quiet, node_id: i32) -> Self {
        let session = rest.sessions.iter().find(|(id, _)| *id == node_id);
        Self {
            cluster: rest.found.facts.clone(),
            topology: rest.found.topology.clone(),
            session: session.map(|(_, session)| session.clone()),
        }
    }

    /// Takes note of what was found under the locks.
    pub(crate) fn under(held: &LockedCluster, topology: Option<Topology>, node_id: i32) -> Self {
        Self { cluster: held.facts.clone(), topology, session: held.session(node_id).cloned() }
    }

    fn is_former(&self, node: &NodeFacts) -> bool {
        was_primary(self.topology.as_ref(), node)
    }
}

impl Hosts {
    /// Opens channels to the hosts of those that cannot be asked, and looks. Takes no longer than a connection to a server that is dead.
    pub(crate) async fn inspect(
        context: &Context,
        known: &KnownFacts,
        node_id: i32,
        early: impl Future<Output = Vec<EarlyChannel>>,
    ) -> Self {
        let needed = |node: &&NodeFacts| {
            let other = node.row.node_id != node_id && node.row.node_type != NodeType::Witness;
            other && node.facts().is_none() && (hides_its_role(node) || known.is_former(node))
        };
        let needed: Vec<&NodeFacts> = known.cluster.nodes.iter().filter(needed).collect();
        if needed.is_empty() {
            return Self::default();
        }
        let names = async {
            match &known.session {
                Some(session) => ssh_hosts(session).await.unwrap_or_default(),
                None => BTreeMap::new(),
            }
        };
        let (early, names) = tokio::join!(early, names);
        let early = RefCell::new(early);
        let asked = join_all(needed.iter().map(|node| async {
            let location = NodeLocation {
                row: &node.row,
                server: None,
                system_identifier: known.cluster.system_identifier(),
                ssh_host: names.get(&node.row.node_id).map(String::as_str),
            };
            let within = bound(context, &node.row);
            let late = || Err(format!("Its host did not respond within {} s.", within.as_secs()));
            let examined = examined(context, &location, within, &early);
            timeout(within, examined).await.unwrap_or_else(|_| late())
        }))
        .await;
        let mut out = Self::default();
        for (node, asked) in needed.iter().zip(asked) {
            let node_id = node.row.node_id;
            let says = match asked {
                Ok((remote, secured)) => {
                    out.hosts.push(AnsweringHost {
                        node_id,
                        remote: Rc::new(remote),
                        is_former: known.is_former(node),
                        lacks: secured.as_ref().ok().and_then(|secured| secured.lacks.clone()),
                        wrote_signal: false,
                    });
                    match secured {
                        Ok(secured) => HostReport::Seen(secured.server),
                        Err(error) if error.exit == Exit::Busy => HostReport::Busy(error.sentences()),
                        Err(error) => HostReport::Nothing(error.sentences()),
                    }
                }
                Err(why) => HostReport::Nothing(why),
            };
            out.says.insert(node_id, says);
        }
        out
    }

    /// Makes certain that nothing brings the last known primary back meanwhile: its far ends are ended, and its node is locked. A step of the
    /// promotion writes `standby.signal`. A dry run leaves everything as it is.
    pub(crate) async fn hold(&mut self, context: &Context) {
        if !context.options.dry_run {
            self.make_secure(async |remote| remote.hold().await).await;
        }
    }

    /// The same, and writes `standby.signal` at once: for a promotion that may be requested already, where it is never taken back.
    pub(crate) async fn secure(&mut self, context: &Context) {
        if !context.options.dry_run {
            self.make_secure(async |remote| remote.secure(false).await).await;
        }
    }

    async fn make_secure(&mut self, make: impl AsyncFn(&Remote) -> Result<Secured, Error>) {
        let says = &mut self.says;
        let is_seen =
            |says: &BTreeMap<i32, HostReport>, id| matches!(says.get(&id), Some(HostReport::Seen(_)));
        let formers = self.hosts.iter_mut().filter(|host| host.is_former && is_seen(says, host.node_id));
        let secured = join_all(formers.map(async |host| {
            let said = match make(&host.remote).await {
                Ok(secured) => {
                    host.wrote_signal = secured.wrote_signal;
                    host.lacks = secured.lacks;
                    HostReport::Seen(secured.server)
                }
                Err(error) if error.exit == Exit::Busy => HostReport::Busy(error.sentences()),
                Err(error) => HostReport::Unsure(error.sentences()),
            };
            (host.node_id, said)
        }))
        .await;
        says.extend(secured);
    }

    /// Returns what has to be written on the hosts of former primaries before another node is promoted.
    pub(crate) fn to_keep_down(&self) -> Vec<(FarEnd, AsStandby)> {
        let lacking = self.hosts.iter().filter(|host| host.is_former && self.agrees(host));
        lacking.filter_map(|host| Some((host.remote.far_end.clone(), host.lacks.clone()?))).collect()
    }

    fn agrees(&self, host: &AnsweringHost) -> bool {
        matches!(self.says.get(&host.node_id), Some(HostReport::Seen(standing)) if standing.is_secure())
    }

    /// Returns the channels to those whose servers are no primaries, to be asked again before the effect.
    pub(crate) fn agreeing(&self) -> BTreeMap<i32, Rc<Remote>> {
        self.hosts
            .iter()
            .filter(|host| self.agrees(host))
            .map(|host| (host.node_id, Rc::clone(&host.remote)))
            .collect()
    }

    /// Says whether the server of a node starts as a standby from now on.
    pub(crate) fn starts_as_standby(&self, node_id: i32) -> bool {
        let host = self.hosts.iter().find(|host| host.node_id == node_id && host.is_former);
        host.is_some() && self.agreeing().contains_key(&node_id)
    }

    /// Takes back what was written, as nothing was promoted, and says where that was not possible.
    pub(crate) async fn unsecure(&mut self, context: &Context) {
        for host in self.hosts.iter_mut().filter(|host| host.wrote_signal) {
            host.wrote_signal = false;
            let name = host.remote.name();
            match host.remote.unsecure().await {
                Ok(None) => {}
                Ok(Some(note)) => context.ui.say(Level::Warning, &note),
                Err(error) => context.ui.message(
                    Level::Warning,
                    &format!("standby.signal stays in the data directory of node \"{name}\""),
                    Some(&error.sentences()),
                    Some(
                        "Its server starts as a standby. Run \"pgbaton cluster show\" before it is removed.",
                    ),
                ),
            }
        }
    }
}

/// The way to a host on which an operation has written `standby.signal`, for taking that back.
#[derive(Debug)]
pub(crate) struct WayBack {
    /// Its node, and how the node is called.
    pub(crate) node_id: i32,
    pub(crate) node_name: String,
    /// A channel, on which its far ends were ended and its node was locked; or why there is none.
    pub(crate) channel: Result<Rc<Remote>, Error>,
}

/// Opens the ways to the hosts of the servers that an unfinished operation keeps down, as far as the plan would take that back.
pub(crate) async fn ways_back(context: &Context, plan: &Plan, past: &EarlierRuns) -> Vec<WayBack> {
    let due = plan.rollback.iter().filter(|undo| undo.is_due(|id| past.started(Stage::Forward, id)));
    let hosts = due.filter_map(|back| match &back.step.op {
        Op::LetStart(keep) => Some(&keep.host),
        _ => None,
    });
    join_all(hosts.map(async |host| {
        let held = async {
            let remote = second_channel(context, host, OPEN).await?;
            remote.hold().await?;
            Ok(Rc::new(remote))
        };
        WayBack { node_id: host.node_id, node_name: host.node_name.clone(), channel: held.await }
    }))
    .await
}

/// As long as its server may take to answer.
fn bound(context: &Context, row: &NodeRow) -> Duration {
    let given = Conninfo::parse(&row.conninfo).ok();
    let given = given.as_ref().and_then(|conninfo| conninfo.get("connect_timeout")?.parse().ok());
    let given = given.filter(|seconds: &u64| *seconds > 0).map(Duration::from_secs);
    context.node_deadline().min(LONGEST).min(given.unwrap_or(LONGEST))
}

async fn examined(
    context: &Context,
    known: &NodeLocation<'_>,
    within: Duration,
    early: &RefCell<Vec<EarlyChannel>>,
) -> Result<(Remote, Result<Secured, Error>), String> {
    let far_end = node_location::far_end(context, known).await.map_err(|error| error.sentences())?;
    let expected =
        Expected { system_identifier: known.system_identifier.map(str::to_string), ..Expected::default() };
    let opened = {
        let mut early = early.borrow_mut();
        let at = early.iter().position(|early| early.far_end == far_end);
        at.map(|at| early.swap_remove(at))
    };
    let EarlyChannel { far_end, remote, hello, secured } = match opened {
        Some(early) => early,
        None => EarlyChannel::at(context, far_end, within).await?,
    };
    // What is at work there is ended, or found, by what follows.
    let wrong = checks(&far_end, &expected, &Ok(hello));
    if let Some(wrong) = wrong.into_iter().find(|check| check.stops() && check.exit != Exit::Busy) {
        return Err(wrong.sentences());
    }
    Ok((remote, secured))
}
