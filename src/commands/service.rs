//! `service status|pause|unpause`: the daemons of the cluster.

use std::time::Duration;

use pgbaton_lease::mailbox::{Role, Saying, Status};
use pgbaton_lease::{Ask, Epoch, Flag, Op, Refusal};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::assess::daemons::ClusterDaemons;
use crate::cli::service::Service as Verb;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Issue, Result, Severity};
use crate::facts::daemon_flag as flag;
use crate::facts::daemons::{refusal_text, version_of_members};
use crate::observe::daemons::{self, NodeDaemons};
use crate::observe::discovery;
use crate::operation::reset::reset;
use crate::output::service::{ServiceNode, ServiceReport};
use crate::output::{Data, Report};
use crate::registry::{NodeRow, NodeType};
use crate::ui::Level;

/// How long something that passes by itself is waited for.
const SETTLES: Duration = Duration::from_secs(10);

/// How often it is looked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Carries out `pgbaton service …`.
///
/// # Errors
/// Exit code 6 if no node responds; 26 if not every daemon has confirmed a pause or its end.
pub async fn run(context: &Context, verb: &Verb) -> Result<Report> {
    let found = discovery::cluster(context).await?;
    let rows: Vec<_> = found.facts.nodes.iter().map(|node| node.row.clone()).collect();
    match verb {
        Verb::Status { .. } => {
            let nodes = daemons::of_cluster(context, &rows).await;
            status(context, &nodes)
        }
        Verb::Pause => pause(context, &settled(context, &rows, |_| true).await).await,
        Verb::Unpause => {
            let nodes = settled(context, &rows, |_| true).await;
            Pause { context, nodes: &nodes }.end().await
        }
        Verb::Reset { proven_off } => {
            let nodes = daemons::of_cluster(context, &rows).await;
            reset(context, &found.facts, &nodes, proven_off).await
        }
    }
}

/// Asks the servers what they show of the daemons; some of them are waited for: a daemon whose server has just been restarted has its session
/// there again in a moment.
pub async fn settled(
    context: &Context,
    rows: &[NodeRow],
    awaited: impl Fn(&NodeRow) -> bool,
) -> Vec<NodeDaemons> {
    let is_gone = |node: &NodeDaemons| {
        node.row.node_type != NodeType::Witness
            && node.seen.is_some()
            && node.own().is_none()
            && awaited(&node.row)
    };
    let until = Instant::now() + SETTLES;
    loop {
        let nodes = daemons::of_cluster(context, rows).await;
        if !nodes.iter().any(is_gone) || Instant::now() >= until {
            return nodes;
        }
        sleep(AGAIN).await;
    }
}

/// Pauses automatic failover on all nodes.
///
/// # Errors
/// Exit code 26 if not every daemon has confirmed it.
pub async fn pause(context: &Context, nodes: &[NodeDaemons]) -> Result<Report> {
    Pause { context, nodes }.begin().await
}

/// Returns the daemon that leads: its server may write, and it is not barred.
fn leader(nodes: &[NodeDaemons]) -> Option<&NodeDaemons> {
    nodes
        .iter()
        .filter(|node| node.own().is_some_and(|status| status.role == Role::Leader))
        .max_by_key(|node| node.own().map(|status| status.timeline))
}

/// Shows the daemons; what endangers the lease is said below.
fn status(context: &Context, nodes: &[NodeDaemons]) -> Result<Report> {
    let automatic = context.config_if_any()?.is_some_and(Config::fails_over_by_daemon);
    let seen = nodes.iter().map(|node| {
        let shown = node.seen.as_ref().map(|(_, daemons)| daemons);
        (&node.row, shown.is_some(), shown)
    });
    let daemons = ClusterDaemons::new(seen, automatic);
    let endangers = |issue: &Issue| {
        issue.severity == Severity::Error && matches!(issue.code, "lease_degraded" | "node_fenced")
    };
    let issues = daemons.issues().into_iter().filter(endangers).collect();
    Ok(Report { issues, ..Report::new(Data::Service(Box::new(report(nodes, &daemons)))) })
}

fn report(nodes: &[NodeDaemons], daemons: &ClusterDaemons<'_>) -> ServiceReport {
    let name_of =
        |id: i32| nodes.iter().find(|node| node.row.node_id == id).map(|node| node.row.node_name.clone());
    #[expect(clippy::cast_precision_loss, reason = "milliseconds, below 2^53")]
    let seconds = |time: u64| time as f64 / 1000.0;
    ServiceReport {
        leader_node_id: daemons.leader().map(|row| row.node_id),
        votes: daemons.votes(),
        majority: daemons.majority(),
        paused: daemons.all_paused(),
        nodes: nodes
            .iter()
            .map(|node| {
                let id = node.row.node_id;
                let (own, info) = (node.own(), daemons.info(id));
                ServiceNode {
                    node_id: id,
                    node_name: node.row.node_name.clone(),
                    node_type: node.row.node_type.to_string(),
                    status: if node.seen.is_some() { "running" } else { "unreachable" },
                    upstream_node_name: node.row.upstream_node_id.and_then(name_of),
                    priority: node.row.priority,
                    location: node.row.location.clone(),
                    daemon: daemons.state(id),
                    pid: info.map(|info| info.pid),
                    paused: daemons.is_paused(id),
                    flag: own.map(|status| flag::name(status.flag)),
                    epoch: own.map(|status| format!("{}.{}", status.pause.0, status.pause.1)),
                    lease_role: daemons.role(id),
                    lease_left_s: info.and_then(|info| info.lease_left).map(seconds),
                    willing: info.map(|info| info.is_willing),
                    upstream_last_seen_s: info.and_then(|info| info.silent).map(seconds),
                    version: info.map(|info| info.version.clone()),
                    timeline: own.map(|status| status.timeline),
                }
            })
            .collect(),
    }
}

/// A pause of all daemons, or its end.
struct Pause<'a> {
    context: &'a Context,
    nodes: &'a [NodeDaemons],
}

/// What keeps a pause from being complete.
struct Missing(String);

impl Pause<'_> {
    fn data_nodes(&self) -> impl Iterator<Item = &NodeDaemons> {
        self.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness)
    }

    /// Asks the daemon of a node; why not, if it does not agree.
    async fn ask(&self, node: &NodeDaemons, op: Op, ask: Ask) -> std::result::Result<Status, Missing> {
        let name = &node.row.node_name;
        let Some(own) = node.own() else {
            return Err(Missing(match node.seen {
                Some(_) => format!("No daemon runs on node \"{name}\"."),
                None => format!("Node \"{name}\" does not respond."),
            }));
        };
        let until = Instant::now() + SETTLES;
        let said = loop {
            let said = daemons::ask(self.context, &node.row, own, op, ask).await;
            // A new primary gets the votes from the one before within a few heartbeats.
            let is_passing = matches!(said, Some((_, Saying::No(Refusal::Voters | Refusal::Command))));
            if !is_passing || Instant::now() >= until {
                break said;
            }
            sleep(AGAIN).await;
        };
        match said {
            Some((_, Saying::No(refusal))) => {
                Err(Missing(format!("The daemon of node \"{name}\" refuses: {}.", refusal_text(refusal))))
            }
            Some((status, _)) => Ok(status),
            None => Err(Missing(format!("The daemon of node \"{name}\" did not answer in time."))),
        }
    }

    async fn begin(&self) -> Result<Report> {
        let running: Vec<&Status> = self.data_nodes().filter_map(NodeDaemons::own).collect();
        if running.is_empty() {
            return Err(Error::new(Exit::Pause, "no daemon responds").detail("Nothing was changed."));
        }
        let all = self.data_nodes().count();
        if running.len() == all && running.iter().all(|status| status.flag == Flag::Full) {
            self.context.ui.say(Level::Notice, "the daemons are paused already");
            return Ok(done("paused", false));
        }
        // Before the first of them: a pause that one node cannot take part in would leave the others barred for nothing.
        if let Some(absent) = self.data_nodes().find(|node| node.own().is_none()) {
            let why = match absent.seen {
                Some(_) => format!("No daemon runs on node \"{}\".", absent.row.node_name),
                None => format!("Node \"{}\" does not respond.", absent.row.node_name),
            };
            return Err(Error::new(Exit::Pause, "not every node can be paused")
                .detail(format!("{why} Nothing was changed: automatic failover goes on."))
                .hint("Start that daemon, or unregister the node if it is gone for good."));
        }
        let Some(leader) = leader(self.nodes) else {
            return Err(Error::new(Exit::Pause, "no daemon leads")
                .detail("Only a leader begins a pause. Nothing was changed.")
                .hint("Wait for the failover to end: \"pgbaton service status\" shows it."));
        };
        if self.context.options.dry_run {
            self.context.ui.say(Level::Info, "the daemons of all nodes with data would be paused");
            return Ok(done("paused", false));
        }
        let unfinished = leader.own().filter(|status| status.flag == Flag::Held);
        let op = unfinished.and_then(|status| status.says).map_or_else(daemons::random_op, |(op, _)| op);
        let paused = async {
            let held = self.ask(leader, op, Ask::Hold(None)).await?;
            let epoch = Epoch { timeline: held.pause.0, counter: held.pause.1, op };
            let others = || self.data_nodes().filter(|node| node.row.node_id != leader.row.node_id);
            for node in others() {
                self.ask(node, op, Ask::Hold(Some(epoch))).await?;
            }
            let version = match &leader.seen {
                Some((session, _)) => version_of_members(session).await.ok().flatten(),
                None => None,
            };
            let version =
                version.ok_or_else(|| Missing("The leader has not recorded the members.".into()))?;
            self.ask(leader, op, Ask::Full { epoch, version, issued: false }).await?;
            for node in others() {
                self.ask(node, op, Ask::Full { epoch, version, issued: true }).await?;
            }
            Ok(())
        };
        match paused.await {
            Ok(()) => {
                self.context.ui.say(Level::Notice, "automatic failover is paused on all nodes");
                Ok(done("paused", true))
            }
            Err(Missing(why)) => Err(Error {
                changed: true,
                ..Error::new(Exit::Pause, "the pause is not complete")
                    .detail(format!(
                        "{why} Automatic failover is off, and the primary may still stop itself if it loses the majority."
                    ))
                    .hint("Run \"pgbaton service pause\" again, or \"pgbaton service unpause\".")
            }),
        }
    }

    async fn end(&self) -> Result<Report> {
        let own = |node: &&NodeDaemons| node.own().copied();
        let statuses: Vec<Status> = self.data_nodes().filter_map(|node| own(&node)).collect();
        let barred = |status: &&Status| matches!(status.flag, Flag::Held | Flag::Full | Flag::Ending);
        let Some(newest) = statuses.iter().filter(barred).max_by_key(|status| status.pause) else {
            return match statuses.is_empty() {
                true => Err(Error::new(Exit::Pause, "no daemon responds").detail("Nothing was changed.")),
                false => {
                    self.context.ui.say(Level::Notice, "the daemons are not paused");
                    Ok(done("unpaused", false))
                }
            };
        };
        if self.context.options.dry_run {
            self.context.ui.say(Level::Info, "the pause would be ended on all nodes");
            return Ok(done("unpaused", false));
        }
        let op = newest.says.map_or(0, |(op, _)| op);
        let epoch = Epoch { timeline: newest.pause.0, counter: newest.pause.1, op };
        let writes: Vec<&NodeDaemons> = self
            .data_nodes()
            .filter(|node| node.own().is_some_and(|status| status.role == Role::Leader))
            .collect();
        if let [one, other, ..] = writes[..] {
            return Err(Error::new(Exit::SecondPrimary, "two servers accept writes").detail(format!(
                "They are those of node \"{}\" and node \"{}\". The pause goes on. Nothing was changed.",
                one.row.node_name, other.row.node_name
            )));
        }
        let mut missing = Vec::new();
        // The leader first: armed it is before the others are cleared.
        let others =
            self.data_nodes().filter(|node| !writes.iter().any(|one| one.row.node_id == node.row.node_id));
        let mut armed = false;
        for node in writes.iter().copied().chain(others) {
            if node.own().is_some_and(|status| status.flag == Flag::Active) {
                continue;
            }
            match self.ask(node, op, Ask::Ending(epoch, false)).await {
                Ok(status) => armed |= matches!(status.says, Some((_, Saying::Armed))),
                Err(Missing(why)) => {
                    missing.push(why);
                    // Without an armed leader no other daemon is cleared.
                    if status_leads(node) {
                        break;
                    }
                }
            }
        }
        let is_over = armed || (writes.is_empty() && missing.is_empty());
        if is_over {
            let clear = match armed {
                true => Ask::Clear { armed: Some(epoch), ended: None, locked: false },
                false => Ask::Clear { armed: None, ended: Some(epoch), locked: false },
            };
            for node in self.data_nodes().filter(|node| node.own().is_some()) {
                // What is cleared already, by the sight of the leader, says so.
                if let Err(Missing(why)) = self.ask(node, op, clear).await {
                    missing.push(why);
                }
            }
        }
        if missing.is_empty() {
            self.context.ui.say(Level::Notice, "the pause is over: automatic failover is active");
            return Ok(done("unpaused", true));
        }
        let state = match is_over {
            true => "The others are active; a node that sees the leader clears itself.",
            false => "The pause goes on: there is no automatic failover.",
        };
        Err(Error {
            changed: true,
            ..Error::new(Exit::Pause, "not every daemon has ended the pause")
                .detail(format!("{} {state}", missing.join(" ")))
                .hint("Run \"pgbaton service unpause\" again; \"pgbaton service status\" shows the daemons.")
        })
    }
}

fn status_leads(node: &NodeDaemons) -> bool {
    node.own().is_some_and(|status| status.role == Role::Leader)
}

fn done(what: &str, changed: bool) -> Report {
    Report { changed, ..Report::new(Data::Done(json!({ "state": what }))) }
}
