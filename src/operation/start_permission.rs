//! May the local server be started as a primary? What `node start` and `node restart` ask before they act, and look at once more after it.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::assess::start::{Asker, Count, StartDecision};
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::directory::running_postmaster;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::observe::local_daemon::{self, StartAnswer};
use crate::observe::peers::{self, OwnHistory, PeerJudgement, WITHIN};
use crate::observe::under_locks::{self, LockedCluster};
use crate::operation::carry_out::{RunOptions, carry_out};
use crate::pg::wal;
use crate::plan::service::{self, Action, ServiceFacts};
use crate::plan::{Check, Override};
use crate::registry::NodeRow;
use crate::secret::Secrets;

/// How long a server that must not run may take to end at once.
const ENDED: Duration = Duration::from_secs(30);

/// What to do where another server is this node, too.
pub const COPIED: &str = "Keep one of the two, and make sure that no client writes to the other: stop the other one with \
    \"pgbaton node stop\" on its host. The transactions of the two cannot be merged. If the one at the registered address is removed, \
    register this one: \"pgbaton primary register --force\".";

/// What was found out.
#[derive(Debug)]
pub struct Permission {
    /// What the command goes by.
    pub checks: Vec<Check>,
    /// The locks on all nodes that answer, kept until the second look.
    pub held: Option<LockedCluster>,
    /// Others were asked, and are asked again after the start.
    asked: bool,
}

impl Permission {
    fn not_needed() -> Self {
        Self { checks: Vec::new(), held: None, asked: false }
    }
}

/// Asks the others, where the server would come up as a primary.
///
/// # Errors
/// Exit code 30 if another command is at work on a node that answers; 1 if the data directory cannot be read.
pub async fn query_start_permission(
    context: &Context,
    facts: &ServiceFacts,
    action: Action,
) -> Result<Permission> {
    let is_standby = facts.data_directory.join(STANDBY_SIGNAL).exists();
    // A server that runs is judged as without a daemon, which would say no more than that it runs.
    if !is_standby && facts.running.is_none() && matches!(action, Action::Start | Action::Restart) {
        match local_daemon::may_start_as_primary(context).await? {
            None | Some(StartAnswer::Paused) => {}
            // Its lease lasts: no other node can have become the primary.
            Some(StartAnswer::Yes) => return Ok(Permission::not_needed()),
            Some(StartAnswer::No) => {
                let name = &facts.node_name;
                let check = Check::fail(
                    "lease",
                    format!("node \"{name}\" has no lease: another node may be the primary"),
                )
                .detail("Automatic failover is active, and the daemon of this node does not hold the lease.")
                .hint("Start its daemon: it brings the node back as a standby.")
                .exit(Exit::SecondPrimary);
                return Ok(Permission { checks: vec![check], held: None, asked: false });
            }
        }
    }
    match action {
        Action::Start if facts.running.is_none() && !is_standby => to_start(context, facts).await,
        Action::Restart if facts.running.is_some() => to_restart(context, facts, is_standby).await,
        Action::Restart if !is_standby => to_start(context, facts).await,
        _ => Ok(Permission::not_needed()),
    }
}

async fn to_start(context: &Context, facts: &ServiceFacts) -> Result<Permission> {
    // Without any WAL no server starts, and PostgreSQL says better why.
    if wal::segment_bytes(&facts.data_directory.join("pg_wal")).is_err() {
        return Ok(Permission::not_needed());
    }
    let mut judged = peers::judge_local_server(context, Asker::Start, WITHIN).await?;
    if judged.judgement.alone && judged.judgement.may.is_yes() {
        return Ok(Permission::not_needed());
    }
    let held = under_locks(context, &mut judged).await?;
    let name = &facts.node_name;
    let judgement = &judged.judgement;
    let force = context.options.force;
    let check = match judgement.may {
        StartDecision::Yes => Check::pass("second_primary", format!("node \"{name}\" is the primary according to all other nodes")),
        StartDecision::YesNaming => Check::warning(
            "second_primary",
            format!("node \"{name}\" starts as the primary, but not all other nodes could be queried"),
        )
        .detail(judgement.unheard().unwrap_or_default()),
        StartDecision::No { overridable: false } if judged.is_copied() => {
            refusal(name, &judgement.evidence()).hint(COPIED)
        }
        StartDecision::No { overridable: false } => {
            let hint = "Run \"pgbaton node rejoin\" on this node: it re-attaches the node as a standby.";
            refusal(name, &judgement.evidence()).hint(hint)
        }
        StartDecision::No { overridable: true } if judgement.seen_newer.is_some() => {
            refusal(name, &judgement.everything()).overridable_by(Override::Force, force).hint(
                "Start the other nodes first, or run \"pgbaton node rejoin\" on this node. If what was seen there is lost for good, repeat the command with --force.",
            )
        }
        StartDecision::No { overridable: true } | StartDecision::Unknown => {
            undetermined(name, &judged).overridable_by(Override::Force, force)
        }
    };
    Ok(Permission { checks: vec![check], held, asked: true })
}

/// Takes the locks of all nodes that answer, and asks again: what decides is what they say under their locks, and no node is promoted there
/// until the second look. None where a restart or start is refused anyway.
async fn under_locks(context: &Context, judged: &mut PeerJudgement) -> Result<Option<LockedCluster>> {
    if judged.judgement.may == (StartDecision::No { overridable: false }) {
        return Ok(None);
    }
    let rows = answering(judged);
    let taken = under_locks::lock_cluster_over(context, &rows, &judged.sessions).await?;
    let sessions: Vec<_> =
        rows.iter().filter_map(|row| Some((row.node_id, taken.session(row.node_id)?.clone()))).collect();
    judged.poll_again(context, &sessions, WITHIN).await;
    Ok(Some(taken))
}

async fn to_restart(context: &Context, facts: &ServiceFacts, is_standby: bool) -> Result<Permission> {
    let mut judged = peers::judge_local_server(context, Asker::Restart, WITHIN).await?;
    let runs_as_standby = match &judged.question.past {
        OwnHistory::Server(server) => server.in_recovery,
        OwnHistory::Files(_) => is_standby,
    };
    if runs_as_standby && is_standby {
        return Ok(Permission::not_needed());
    }
    if runs_as_standby {
        // Its next start is that of a primary, whatever it is now.
        let mut permission = to_start(context, facts).await?;
        for check in permission.checks.iter_mut().filter(|check| check.stops()) {
            check.hint = Some(format!(
                "It is a standby now, without {STANDBY_SIGNAL}. Create the empty file \"{}\" first: then it comes back as a standby.",
                facts.data_directory.join(STANDBY_SIGNAL).display()
            ));
        }
        return Ok(permission);
    }
    let name = &facts.node_name;
    let force = context.options.force;
    if is_standby {
        let check = Check::fail(
            "standby_signal",
            format!("node \"{name}\" is a primary, and would start as a standby: it has {STANDBY_SIGNAL}"),
        )
        .detail("A running server ignores the file, but at its next start the server becomes a standby.")
        .hint(format!(
            "If it is to stay the primary, remove \"{}\" first.",
            facts.data_directory.join(STANDBY_SIGNAL).display()
        ))
        .overridable_by(Override::Force, force);
        return Ok(Permission { checks: vec![check], ..Permission::not_needed() });
    }
    if judged.judgement.alone && judged.judgement.may.is_yes() {
        return Ok(Permission::not_needed());
    }
    let held = under_locks(context, &mut judged).await?;
    let judgement = &judged.judgement;
    let check = match judgement.may {
        StartDecision::Yes => Check::pass("second_primary", "no other primary is seen"),
        StartDecision::No { overridable: false } if judged.is_copied() => {
            refusal(name, &judgement.evidence()).hint(format!("{COPIED} Nothing was stopped."))
        }
        StartDecision::No { overridable: false } => refusal(name, &judgement.evidence())
            .hint("Run \"pgbaton cluster show\": it shows both sides. Nothing was stopped."),
        StartDecision::No { overridable: true } => {
            refusal(name, &judgement.everything()).overridable_by(Override::Force, force)
        }
        StartDecision::YesNaming | StartDecision::Unknown => {
            let check = Check::warning(
                "second_primary",
                format!("not all nodes confirm that node \"{name}\" is still the primary"),
            );
            match judgement.unheard() {
                Some(unheard) => check.detail(unheard),
                None => check,
            }
        }
    };
    Ok(Permission { checks: vec![check], held, asked: true })
}

fn refusal(name: &str, evidence: &str) -> Check {
    Check::fail("second_primary", format!("node \"{name}\" would be a second primary, or an outdated one"))
        .exit(Exit::SecondPrimary)
        .detail(evidence)
}

fn undetermined(name: &str, judged: &PeerJudgement) -> Check {
    let mut detail: Vec<String> = Vec::new();
    if let Some(doubt) = &judged.doubt {
        detail.push(format!("The saved topology does not show it. {doubt}"));
    }
    let check = Check::fail(
        "second_primary",
        format!("it cannot be determined whether another node is the primary instead of \"{name}\""),
    )
    .exit(Exit::SecondPrimary);
    if judged.knows_no_other_node() {
        detail.push(
            "This host knows no other node: there is none in its password file nor in primary_conninfo."
                .into(),
        );
        return check.detail(detail.join(" ")).hint(
            "Run \"pgbaton cluster show -h HOST\" with the host of another node, so that this host knows the cluster, and then run this \
             command again. If there is no other node, or none was the primary since this server was stopped, repeat the command with --force.",
        );
    }
    let Count { named, of } = judged.judgement.count;
    detail.push(judged.judgement.everything());
    detail.push(format!(
        "{named} of {of} nodes, including itself, confirm it as the primary; a majority is required."
    ));
    check.detail(detail.join(" ")).hint(
        "Start the other nodes first, or find out why they do not respond. If you are certain that none of them is, or was, the primary \
         since this server was stopped, repeat the command with --force.",
    )
}

/// Returns the rows of the nodes that answer, each once.
fn answering(judged: &PeerJudgement) -> Vec<NodeRow> {
    let mut rows: Vec<NodeRow> = Vec::new();
    for (id, _) in &judged.sessions {
        let heard = judged
            .peers
            .iter()
            .map(|peer| &peer.node)
            .find(|node| node.row.node_id == *id && node.server.is_ok());
        if let Some(node) = heard.filter(|node| rows.iter().all(|row| row.node_id != node.row.node_id)) {
            rows.push(node.row.clone());
        }
    }
    rows
}

/// Looks once more, now that the server runs: what was promoted in between, unseen, is seen now. Then the server that was
/// just started is ended at once, and its next start is that of a standby.
///
/// # Errors
/// Exit code 4 if there is another primary.
pub async fn recheck(context: &Context, facts: &ServiceFacts, permission: &Permission) -> Result<()> {
    let data = &facts.data_directory;
    let Some(pid) = running_postmaster(data).filter(|_| permission.asked) else { return Ok(()) };
    let judged = peers::judge_local_server(context, Asker::Restart, WITHIN).await?;
    let is_standby = matches!(&judged.question.past, OwnHistory::Server(server) if server.in_recovery);
    if is_standby || judged.judgement.may != (StartDecision::No { overridable: false }) {
        return Ok(());
    }
    let name = &facts.node_name;
    let error =
        Error::new(Exit::NoRestart, format!("another primary was seen after node \"{name}\" was started"))
            .detail(judged.judgement.evidence())
            .changed();
    let plan = service::stop_just_started(facts);
    let how = RunOptions::new(context, Secrets::new());
    let undone = match &permission.held {
        Some(held) => carry_out(context, &plan, how.holding(held)).await,
        None => carry_out(context, &plan, how).await,
    }
    .report;
    let begun = Instant::now();
    while undone.is_ok() && running_postmaster(data) == Some(pid) && begun.elapsed() < ENDED {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let signal = data.join(STANDBY_SIGNAL);
    let mut error = match (undone, running_postmaster(data) == Some(pid)) {
        (Ok(_), false) => error
            .detail(format!("Node \"{name}\" was stopped again, and has {STANDBY_SIGNAL}: its next start is that of a standby."))
            .hint("Run \"pgbaton node rejoin\" on it."),
        (Ok(_), true) => error
            .detail(format!("Node \"{name}\" has {STANDBY_SIGNAL}, but its server, process {pid}, was still running after {} s.", ENDED.as_secs()))
            .hint(format!("Stop it: \"kill -QUIT {pid}\".")),
        (Err(failed), _) => error
            .detail(format!("Node \"{name}\" could not be stopped again: {failed}."))
            .hint(format!("Create \"{}\" and stop the server: \"kill -QUIT {pid}\".", signal.display())),
    };
    error.data = json!({ "second_primary": judged.other_primary().and_then(|opinion| opinion.node_id) });
    Err(error)
}
