//! `node rejoin` and `standby rewind`: bring a node that was left behind back as a standby.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::cli::node::Rejoin as Args;
use crate::commands::operation;
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::{ClusterFacts, NodeFacts, ask_node};
use crate::facts::directory::running_postmaster;
use crate::facts::server::ServerFacts;
use crate::journal;
use crate::observe::own_node::secrets_of;
use crate::observe::peers::known;
use crate::observe::rejoin::Request;
use crate::observe::under_locks::{self, Held, hold};
use crate::observe::{self, discovery, open_operations, unfinished};
use crate::operation::announce::{Ending, error_of};
use crate::operation::resume::{TakenUp, resume};
use crate::operation::{announce as ending, carry_out};
use crate::output::Report;
use crate::plan::parts::announce;
use crate::plan::rejoin::{Rejoin, RejoinFacts, RejoinOptions, Rung, drop_kept, plan, reclone};
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
    if let Some(entry) = unfinished::own_unfinished(context, |_| true)? {
        if args.reclone && !context.global.dry_run {
            context
                .ui
                .say(Level::Notice, "an earlier run was left unfinished, and is abandoned for a new clone");
            // After the rewind has begun this is no success, and need not be one.
            let _ = operation::finish(context, &entry, false).await;
            let afresh = afresh(context, args, forced).await;
            return afresh.map_err(|error| error.after("The earlier run was abandoned.", Exit::Rejoin));
        }
        if let TakenUp::Over(report) = resume(context, &entry, &context.command_line).await? {
            return Ok(report);
        }
    }
    afresh(context, args, forced).await
}

/// The same, where no earlier run is unfinished.
async fn afresh(context: &Context, args: &Args, forced: bool) -> Result<Report> {
    let begun = Instant::now();
    let config = context.config()?;
    let found = find(context).await?;
    under_locks::own(&found, config.node_id, &config.node_name)?;
    let primary_id = target(context, &found).await?;
    let rows: Vec<_> = found.nodes.iter().map(|node| node.row.clone()).collect();
    let held = hold(context, &rows).await?;
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
        context.ui.say(Level::Notice, &decision.why);
    }
    if let Some(question) = question(&rejoin)
        && !context.global.dry_run
        && context.ui.confirm(&question)
    {
        (options.consent, options.asked) = (true, true);
        rejoin = plan(&facts, &options);
    }
    carry_out(context, &held, &facts, &options, rejoin, begun).await
}

/// Finds the cluster; where no other node that is known answers, by what else this host knows.
async fn find(context: &Context) -> Result<ClusterFacts> {
    let own = context.config()?.node_id;
    let found = discovery::cluster(context).await.map(|found| found.facts);
    let answers =
        |facts: &ClusterFacts| facts.nodes.iter().any(|node| node.row.node_id != own && node.server.is_ok());
    let is_silent = match &found {
        Ok(facts) => !answers(facts),
        Err(error) => error.exit == Exit::Connection,
    };
    if context.given_conninfo()?.is_some() || !is_silent {
        return found;
    }
    let own_server = found.as_ref().ok().and_then(|facts| facts.node(own)?.facts());
    let own_server = own_server.map(|own| (own.system_identifier.clone(), own.started_at.clone()));
    let search = match known::search(context, own_server).await {
        Ok(search) => search,
        // A directory that cannot be read is reported when it is copied.
        Err(error) => {
            context.debug(&format!("other nodes were not searched for: {error}"));
            known::Search { facts: None, dismissed: Vec::new() }
        }
    };
    if let Some(facts) = search.facts.filter(answers) {
        discovery::remember(context, &facts, journal::now());
        return Ok(facts);
    }
    let knows_no_other_node = |facts: &ClusterFacts| facts.nodes.iter().all(|node| node.row.node_id == own);
    match found {
        Ok(facts) if !knows_no_other_node(&facts) => Ok(facts),
        // Here it is no news that the local server does not run.
        _ => Err(no_other_node_known(context, &search.dismissed)),
    }
}

/// Says what to add where the files of this host lead to no other node.
fn no_other_node_known(context: &Context, dismissed: &[String]) -> Error {
    let own = context.local_conninfo().unwrap_or_default();
    let user = own.get("user").or(context.environment.user.as_deref()).unwrap_or("USER").to_string();
    let dbname = own.get("dbname").unwrap_or(&user).to_string();
    let place = known::password_file(context);
    let asked = match dismissed {
        [] => "Neither the saved topology, nor the password file, nor primary_conninfo names another node."
            .to_string(),
        several => format!(
            "The password file and primary_conninfo lead to no node of this cluster. {}",
            several.join(" ")
        ),
    };
    let line = place.map(|place| {
        format!(
            "; or add a line \"HOST:5432:{dbname}:{user}:PASSWORD\" to \"{}\" and run this command again",
            place.display()
        )
    });
    Error::new(Exit::Connection, "no other node of the cluster is known on this host")
        .detail(format!("{asked} Nothing was changed."))
        .hint(format!(
            "Name one of them: \"pgbaton node rejoin -d 'host=HOST port=5432 user={user} dbname={dbname}'\"{}.",
            line.unwrap_or_default()
        ))
}

/// Returns the question that stands between the plan and its execution, if nothing else does.
fn question(rejoin: &Rejoin) -> Option<String> {
    let stopping: Vec<&Check> = rejoin.plan.checks.iter().filter(|check| check.stops()).collect();
    match stopping.as_slice() {
        [one] if one.name == "discarded_wal" => {
            Some(format!("{}. {} Go on?", one.message, one.detail.as_deref().unwrap_or_default()))
        }
        _ => None,
    }
}

/// Finds the node to follow: the one that accepts writes and is not this one. Of several, the one that -d leads to.
async fn target(context: &Context, facts: &ClusterFacts) -> Result<i32> {
    let own = context.config()?.node_id;
    let others = ClusterFacts {
        nodes: facts.nodes.iter().filter(|node| node.row.node_id != own).cloned().collect(),
        ..ClusterFacts::default()
    };
    match discovery::the_primary(&others) {
        Ok((node, _)) => Ok(node.row.node_id),
        Err(error) if error.exit == Exit::SecondPrimary => {
            let named = named(context, &others).await;
            named.ok_or_else(|| error.hint("Name the right one with -d."))
        }
        Err(error)
            if error.exit == Exit::Connection && others.nodes.iter().any(|node| node.server.is_ok()) =>
        {
            if let Some(own) = facts.primaries().map(|(node, _)| node).find(|node| node.row.node_id == own) {
                let name = &own.row.node_name;
                return Err(Error::new(
                    Exit::DataLoss,
                    format!("node \"{name}\" is the primary and no other node accepts writes: there is nothing to rejoin"),
                )
                .detail("Nothing was changed.")
                .hint("If another node is to become the primary, run \"pgbaton standby switchover\" on that node."));
            }
            Err(Error::new(Exit::DataLoss, "no other node accepts writes")
                .detail(
                    "The nodes that respond are standbys. A node can rejoin a primary only. Nothing was changed.",
                )
                .hint("Promote one of them first: \"pgbaton standby promote\" on it."))
        }
        Err(_) if others.nodes.is_empty() => Err(no_other_node_known(context, &[])),
        Err(error) => Err(error),
    }
}

/// Returns the primary that the command line names, if it names one.
async fn named(context: &Context, facts: &ClusterFacts) -> Option<i32> {
    let given = context.given_conninfo().ok()??;
    let (_, server) =
        ask_node(&given.to_string(), &context.environment, context.node_deadline()).await.ok()?;
    let mut primaries = facts.primaries();
    let same = |there: &ServerFacts| {
        (&there.system_identifier, &there.started_at) == (&server.system_identifier, &server.started_at)
    };
    primaries.find(|(_, there)| same(there)).map(|(node, _)| node.row.node_id)
}

/// Runs the plan and reports the outcome.
async fn carry_out(
    context: &Context,
    held: &Held,
    facts: &RejoinFacts,
    options: &RejoinOptions,
    rejoin: Rejoin,
    begun: Instant,
) -> Result<Report> {
    let config = context.config()?;
    let rung = rejoin.decision.as_ref().map(|decision| decision.rung);
    let mut secrets = secrets_of(&held.facts);
    own_secret(config.node_id, &config.conninfo, &mut secrets);
    let mut aside = None;
    let mut plan = match rung {
        Some(Rung::Reclone) => {
            let anew = observe::rejoin::anew(context, facts, options, &mut secrets).await?;
            aside = anew.aside.first().map(|aside| aside.to.display().to_string());
            let mut plan = rejoin.plan.clone();
            reclone(&mut plan, facts, options, anew);
            plan
        }
        Some(Rung::Follow) if facts.local.running.is_some() => {
            running_follows(context, held, facts, options, &rejoin)
        }
        _ => rejoin.plan.clone(),
    };
    announce::prepare(&mut plan, open_operations::metadata(held, facts.primary_id).await.as_ref());
    let mut result = carry_out::carry_out_holding(context, &plan, secrets, held).await;
    let loss = observe::rejoin::lost_in_the_end(facts, options).or(facts.loss);
    let lost = match (rung, &loss) {
        (Some(Rung::None | Rung::Follow), _) => Some(0),
        (_, Some(loss)) => loss.commits.map(|_| loss.bytes()),
        (Some(Rung::Rewind | Rung::RewindArchive), None) => Some(0),
        _ => None,
    };
    let there = held.facts.node(facts.primary_id);
    carry_out::add_data(
        &mut result,
        json!({
            "from_node_id": config.node_id,
            "to_node_id": facts.primary_id,
            "timeline": there.and_then(NodeFacts::facts).map(|server| server.timeline),
            "outage_s": null,
            "wall_s": begun.elapsed().as_secs_f64(),
            "wal_lost_bytes": lost,
            "rung": rung,
            "why": rejoin.decision.as_ref().map(|decision| &decision.why),
            "kept": aside.clone().or_else(|| rewinds(rung).then(|| options.kept.display().to_string())),
        }),
    );
    let acted =
        result.as_ref().map_or_else(|error| error.changed || error.exit == Exit::Rejoin, |done| done.acted);
    let result = result.map_err(|error| tell_state(error, facts, &options.kept));
    let Some(primary) = there.map(|node| node.row.clone()) else { return result.map(|done| done.report) };
    if acted {
        let session = held.session(primary.node_id);
        let ending = Ending {
            notifications: &plan.notifications,
            error: error_of(&result),
            sent: false,
            taking_writes: &[],
            primary: session,
            seen_by: session,
        };
        ending.send(context).await;
    }
    let done = result?;
    let (name, primary_name) = (&config.node_name, &primary.node_name);
    if done.acted {
        if options.no_wait {
            context.ui.say(
                Level::Notice,
                &format!("node \"{name}\" has been started as a standby of \"{primary_name}\""),
            );
        } else {
            ending::say(context, &plan.notifications);
        }
        if let Some(aside) = aside {
            context.ui.say(Level::Notice, &format!("the old data directory is now \"{aside}\""));
        } else if rewinds(rung) {
            context.ui.say(
                Level::Notice,
                &format!("the files that the rewind replaced are kept in \"{}\"", options.kept.display()),
            );
        }
    } else if !context.global.dry_run {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" already streams from \"{primary_name}\"; nothing was changed"),
        );
    }
    Ok(done.report)
}

fn rewinds(rung: Option<Rung>) -> bool {
    matches!(rung, Some(Rung::Rewind | Rung::RewindArchive))
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
    held: &Held,
    facts: &RejoinFacts,
    options: &RejoinOptions,
    rejoin: &Rejoin,
) -> Plan {
    let role = held.roles.get(&facts.node_id).cloned();
    let planned = follow::plan(&observe::rejoin::follow_facts(facts, options, role), context.global.force);
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
fn tell_state(mut error: Error, facts: &RejoinFacts, kept: &Path) -> Error {
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
