//! `node rejoin` and `standby rewind`: bring a node that was left behind back as a standby.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::cli::node::Rejoin as Args;
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::NodeFacts;
use crate::facts::directory::running_postmaster;
use crate::observe::own_node::secrets_of;
use crate::observe::rejoin::Request;
use crate::observe::under_locks::{self, LockedCluster, lock_cluster};
use crate::observe::{self, open_operations, own_operations, rejoin_primary};
use crate::operation::announce::report_notifications;
use crate::operation::carry_out::RunOptions;
use crate::operation::change_roles::{ClusterAfter, RoleChange, change_roles, resume_earlier_run};
use crate::operation::finish::finish;
use crate::output::Report;
use crate::plan::parts::announce;
use crate::plan::rejoin::{Rejoin, RejoinFacts, RejoinMethod, RejoinOptions, drop_kept, plan, reclone};
use crate::plan::{Check, Plan, follow};
use crate::registry::node;
use crate::secret::{Secret, Secrets};
use crate::ui::Level;

/// Brings the local node back.
///
/// # Errors
/// Exit code 6 if no primary answers, 31 if there are several, 32 where something would be discarded without consent or cannot be determined, 1 for
/// another failed check, 24 if a step fails, 4 if the server does not start.
pub async fn run(context: &Context, args: &Args, forced: bool) -> Result<Report> {
    if args.reclone
        && !context.options.dry_run
        && let Some(entry) = own_operations::own_unfinished(context, |_| true)?
    {
        context.ui.say(Level::Notice, "an interrupted rejoin is abandoned for a new clone");
        // After the rewind has begun this is no success, and need not be one.
        let _ = finish(context, &entry, false).await;
        let afresh = plan_and_run(context, args, forced).await;
        return afresh.map_err(|error| error.after("The earlier run was abandoned.", Exit::Rejoin));
    }
    if let Some(report) = resume_earlier_run(context, |_| true).await? {
        return Ok(report);
    }
    plan_and_run(context, args, forced).await
}

/// The same, where no earlier run is unfinished.
async fn plan_and_run(context: &Context, args: &Args, forced: bool) -> Result<Report> {
    let begun = Instant::now();
    let config = context.config()?;
    let found = rejoin_primary::find_primary(context).await?;
    under_locks::own_node(&found, config.node_id, &config.node_name)?;
    let primary_id = rejoin_primary::target(context, &found).await?;
    let rows: Vec<_> = found.nodes.iter().map(|node| node.row.clone()).collect();
    let held = lock_cluster(context, &rows).await?;
    let still = held.facts.primaries().any(|(node, _)| node.row.node_id == primary_id);
    if !still {
        return Err(Error::new(
            Exit::Connection,
            "the primary no longer responds, or is no longer a primary",
        )
        .detail("Nothing was changed."));
    }
    let request = Request {
        forced,
        rewind: args.force_rewind.clone(),
        reclone: args.reclone,
        config_files: args.config_files.clone(),
        config_archive_directory: args.config_archive_dir.clone(),
        no_check_wal: args.no_check_wal,
        no_wait: args.no_wait,
    };
    let (facts, mut options) = observe::rejoin::gather(context, &request, &held, primary_id).await?;
    let mut rejoin = plan(&facts, &options);
    if let Some(decision) = &rejoin.decision {
        let follows = match decision.method {
            RejoinMethod::None | RejoinMethod::Follow => "no rewind is needed",
            RejoinMethod::Rewind => "it is rewound",
            RejoinMethod::RewindArchive => "it is rewound, with WAL from the archive",
            RejoinMethod::Reclone => "it is cloned again",
        };
        context.ui.say(Level::Notice, &format!("{}: {follows}", decision.why));
    }
    if let Some(question) = confirmation(&rejoin)
        && !context.options.dry_run
        && context.ui.confirm(&question)
    {
        (options.consent, options.asked) = (true, true);
        rejoin = plan(&facts, &options);
    }
    run_rejoin(context, &held, &facts, &options, rejoin, begun).await
}

/// Returns the question that stands between the plan and its execution, if nothing else does.
fn confirmation(rejoin: &Rejoin) -> Option<String> {
    let stopping: Vec<&Check> = rejoin.plan.checks.iter().filter(|check| check.stops()).collect();
    match stopping.as_slice() {
        [one] if one.name == "discarded_wal" => {
            Some(format!("{}. {} Go on?", one.message, one.detail.as_deref().unwrap_or_default()))
        }
        _ => None,
    }
}

/// Runs the plan and reports the outcome.
async fn run_rejoin(
    context: &Context,
    held: &LockedCluster,
    facts: &RejoinFacts,
    options: &RejoinOptions,
    rejoin: Rejoin,
    begun: Instant,
) -> Result<Report> {
    let config = context.config()?;
    let method = rejoin.decision.as_ref().map(|decision| decision.method);
    let mut secrets = secrets_of(&held.facts);
    own_secret(config.node_id, &config.conninfo, &mut secrets);
    let mut aside = None;
    let mut plan = match method {
        Some(RejoinMethod::Reclone) => {
            let anew = observe::rejoin::prepare_reclone(context, facts, options, &mut secrets).await?;
            aside = anew.aside.first().map(|aside| aside.to.display().to_string());
            let mut plan = rejoin.plan.clone();
            reclone(&mut plan, facts, options, anew);
            plan
        }
        Some(RejoinMethod::Follow) if facts.local.running.is_some() => {
            running_follows(context, held, facts, options, &rejoin)
        }
        _ => rejoin.plan.clone(),
    };
    announce::prepare(&mut plan, open_operations::metadata(held, facts.primary_id).await.as_ref());
    let mut changed = change_roles(context, &plan, RunOptions::new(context, secrets).holding(held)).await;
    let loss = observe::rejoin::lost_in_the_end(facts, options).or(facts.loss);
    let lost = match (method, &loss) {
        (Some(RejoinMethod::None | RejoinMethod::Follow), _) => Some(0),
        (_, Some(loss)) => loss.commits.map(|_| loss.bytes()),
        (Some(RejoinMethod::Rewind | RejoinMethod::RewindArchive), None) => Some(0),
        _ => None,
    };
    let there = held.facts.node(facts.primary_id);
    let moved = RoleChange {
        from: Some(config.node_id),
        to: facts.primary_id,
        timeline: there.and_then(NodeFacts::facts).map(|server| server.timeline),
        outage_s: None,
        begun,
        wal_lost_bytes: lost,
    };
    changed.done.add_data(moved.data());
    changed.done.add_data(json!({
        "rung": method,
        "why": rejoin.decision.as_ref().map(|decision| &decision.why),
        "kept": aside.clone().or_else(|| rewinds(method).then(|| options.kept.display().to_string())),
    }));
    changed.done.map_error(|error| describe_state(error, facts, &options.kept));
    let session = held.session(facts.primary_id);
    let done = changed
        .announced(context, ClusterAfter { primary_id: None, primary: session, seen_by: session })
        .await;
    let report = done.report?;
    let primary_name = there.map_or_else(|| facts.primary_id.to_string(), |node| node.row.node_name.clone());
    let name = &config.node_name;
    if done.acted {
        if options.no_wait {
            context.ui.say(
                Level::Notice,
                &format!("node \"{name}\" has been started as a standby of \"{primary_name}\""),
            );
        } else {
            report_notifications(context, &plan.notifications);
        }
        if let Some(aside) = aside {
            context.ui.say(Level::Notice, &format!("the old data directory is now \"{aside}\""));
        } else if rewinds(method) {
            context.ui.say(
                Level::Notice,
                &format!("the files that the rewind replaced are kept in \"{}\"", options.kept.display()),
            );
        }
    } else if !context.options.dry_run {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" already streams from \"{primary_name}\"; nothing was changed"),
        );
    }
    Ok(report)
}

fn rewinds(method: Option<RejoinMethod>) -> bool {
    matches!(method, Some(RejoinMethod::Rewind | RejoinMethod::RewindArchive))
}

/// Adds what the local server is asked with.
fn own_secret(node_id: i32, conninfo: &str, secrets: &mut Secrets) {
    if node::holds_secret(conninfo) {
        secrets.insert(node::conninfo_secret(node_id), Secret::new(conninfo));
    }
}

/// A standby that runs and has nothing of its own is not restarted: it follows as by `standby follow`.
fn running_follows(
    context: &Context,
    held: &LockedCluster,
    facts: &RejoinFacts,
    options: &RejoinOptions,
    rejoin: &Rejoin,
) -> Plan {
    let role = held.roles.get(&facts.node_id).cloned();
    let planned = follow::plan(&observe::rejoin::follow_facts(facts, options, role), context.options.force);
    let mut plan = Plan {
        title: rejoin.plan.title.clone(),
        back_failed: Exit::Rejoin,
        notifications: rejoin.plan.notifications.clone(),
        origin: rejoin.plan.origin.clone(),
        settled: rejoin.plan.settled.clone(),
        ..planned
    };
    plan.checks.splice(0..0, rejoin.plan.checks.iter().cloned());
    for step in plan.phases.iter_mut().flat_map(|phase| &mut phase.steps) {
        if step.exit == Exit::Follow {
            step.exit = Exit::Rejoin;
        }
    }
    drop_kept(&mut plan, facts, options);
    plan
}

/// Says in what state a failed rejoin has left the node.
fn describe_state(mut error: Error, facts: &RejoinFacts, kept: &Path) -> Error {
    let data = &facts.local.data_directory;
    if !kept.exists() {
        return error;
    }
    error.changed = true;
    let error = match running_postmaster(data) {
        Some(_) => error,
        None => error.detail("The server is not running."),
    };
    error.detail(format!("The copied files are in \"{}\".", kept.display()))
}
