//! `standby switchover`: move the role of the primary to this standby, while everything is well.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use crate::cli::standby::Switchover as Args;
use crate::commands::standby::promote::command;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::NodeFacts;
use crate::facts::{places, server};
use crate::far_end::checks::{Expected, Trouble, checks};
use crate::far_end::protocol::Hello;
use crate::far_end::remote::{OPEN, Remote};
use crate::observe::node_location::{self, Whereabouts};
use crate::observe::own_node::secrets_of;
use crate::observe::repmgr_activity::{cluster_at_rest, hold_at_rest};
use crate::observe::under_locks::{self, Held};
use crate::observe::{discovery, open_operations, unfinished};
use crate::operation::announce::{Ending, error_of};
use crate::operation::carry_out;
use crate::operation::resume::{TakenUp, resume};
use crate::output::Report;
use crate::pg::client::Session;
use crate::pg::control::Manager;
use crate::pg::endpoint::Upstream;
use crate::plan::parts::events;
use crate::plan::parts::following::upstream;
use crate::plan::parts::new_primary::siblings;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::service::writable;
use crate::plan::switchover::{Bounds, Host, SwitchoverFacts, SwitchoverOptions, plan};
use crate::plan::{Check, FarEnd, Plan};
use crate::registry::node::ssh_hosts;
use crate::ui::Level;
use crate::units::seconds;

/// Moves the role of the primary to the local standby.
///
/// # Errors
/// Exit code 18 if it fails and the old primary is primary again, 33 if that fails too, 22 if something after the promotion does, 12 if the
/// old primary's host cannot be reached, 30, 31, 32 and 1 for failed checks.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let begun = Instant::now();
    let config = context.config()?;
    if let Some(entry) = unfinished::own_unfinished(context, |_| true)?
        && let TakenUp::Over(report) = resume(context, &entry, &context.command_line).await?
    {
        return Ok(report);
    }
    told_of_options(context, args);
    let name = &config.node_name;
    let mut rest = cluster_at_rest(context).await?;
    under_locks::own(&rest.found.facts, config.node_id, name)?;
    let (mut held, repmgr_activity) = hold_at_rest(context, &mut rest).await?;
    if let Ok((primary, _)) = discovery::the_primary(&held.facts) {
        let primary_id = primary.row.node_id;
        held.compare(config.node_id, primary_id).await;
    }
    let own = under_locks::own(&held.facts, config.node_id, name)?;
    let Some(session) = held.session(config.node_id) else {
        let why = own.server.as_ref().err().map(|silence| sentence(&silence.message)).unwrap_or_default();
        return Err(Error::new(Exit::Connection, format!("could not connect to node \"{name}\""))
            .detail(format!("{why} Nothing was changed.")));
    };
    let (primary, _) = discovery::the_primary(&held.facts)?;
    if primary.row.node_id == config.node_id {
        return Err(Error::failed(format!("node \"{name}\" is the primary already"))
            .detail("Nothing was changed.")
            .hint(
                "Run the command on the standby that is to become the primary, or name it with --node-id.",
            ));
    }
    let options =
        SwitchoverOptions { force: context.global.force, siblings_follow: !args.no_siblings_follow };
    let (others, operations) = tokio::join!(
        Others::of(context, &held, session, own, primary, options),
        open_operations::others(context, &held),
    );
    let mut others = others?;
    let facts = SwitchoverFacts {
        roles: held.roles.clone(),
        candidate: config.node_id,
        candidate_data: config.data_directory.clone(),
        primary: primary.row.node_id,
        metadata: rest.metadata.clone(),
        others: operations,
        host: others.host.take(),
        checks: std::mem::take(&mut others.checks),
        repmgr_activity: RepmgrActivity {
            no_pause: args.repmgrd_no_pause,
            force_unpause: args.repmgrd_force_unpause,
            ..repmgr_activity
        },
        command: command(context, held.roles.get(&config.node_id))?,
        bounds: Bounds {
            shutdown_s: seconds(config.shutdown_check_timeout),
            receive_s: seconds(config.wal_receive_check_timeout),
            promote_s: seconds(config.promote_check_timeout),
            reconnect_s: seconds(config.standby_reconnect_timeout),
            rejoin_s: seconds(config.node_rejoin_timeout),
            lag_s: (seconds(config.replication_lag_warning), seconds(config.replication_lag_critical)),
            archive_ready: (
                u64::from(config.archive_ready_warning),
                u64::from(config.archive_ready_critical),
            ),
        },
        cluster: held.facts.clone(),
    };
    let mut plan = plan(&facts, options);
    plan.far_ends = vec![others.far_end];
    let secrets = secrets_of(&held.facts);
    let mut result = carry_out::carry_out_over(context, &plan, secrets, &held, others.channel).await;
    let now = server::ask(session).await.ok();
    let is_primary = now.as_ref().is_some_and(|server| !server.in_recovery);
    let outage = outage(&plan, &result);
    carry_out::add_data(
        &mut result,
        json!({
            "from_node_id": primary.row.node_id,
            "to_node_id": config.node_id,
            "timeline": now.as_ref().map(|server| server.timeline),
            "outage_s": outage,
            "wall_s": begun.elapsed().as_secs_f64(),
            // It was promoted with all there was, or it was not promoted.
            "wal_lost_bytes": is_primary.then_some(0),
        }),
    );
    let from = &primary.row.node_name;
    let acted = result
        .as_ref()
        .map_or_else(|error| error.changed || error.exit == Exit::Switchover, |done| done.acted);
    if acted {
        let writable = if is_primary { Some(session) } else { held.session(primary.row.node_id) };
        let writable = writable.filter(|session| !session.is_closed());
        let ending = Ending {
            notifications: &plan.notifications,
            error: error_of(&result),
            sent: carry_out::step_s(&result, events::STEP).is_some(),
            taking_writes: if is_primary { &[config.node_id] } else { &[] },
            primary: writable,
            seen_by: Some(session),
        };
        ending.send(context).await;
    }
    let done = result?;
    if done.acted {
        let timeline = now.map_or_else(String::new, |server| format!(", on timeline {}", server.timeline));
        let gap = outage.map_or_else(String::new, |s| format!("; clients could not write for {s:.3} s"));
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" is the primary now{timeline}, and \"{from}\" its standby{gap}"),
        );
    }
    Ok(done.report)
}

/// Says of options of repmgr that they are not needed here.
fn told_of_options(context: &Context, args: &Args) {
    if args.force_rewind.is_some() {
        context.ui.say(
            Level::Notice,
            "--force-rewind is not needed: the candidate is promoted only after it has received all WAL from the primary",
        );
    }
    if args.always_promote {
        context.ui.message(
            Level::Notice,
            "--always-promote is not needed",
            Some("If the last WAL does not arrive, the old primary becomes primary again, and nothing is lost."),
            None,
        );
    }
}

/// Returns the seconds from the request to stop to the commit of the record; None if not all of it was done by this run.
fn outage(plan: &Plan, result: &Result<carry_out::Done>) -> Option<f64> {
    let phase = plan.phases.iter().find(|phase| phase.outage)?;
    phase.steps.iter().map(|step| carry_out::step_s(result, &step.id)).sum()
}

/// What was found out on the hosts of other nodes.
struct Others {
    far_end: FarEnd,
    /// The channel to it, which the operation goes on with.
    channel: Option<Remote>,
    host: Option<Host>,
    checks: Vec<Check>,
}

impl Others {
    async fn of(
        context: &Context,
        held: &Held,
        session: &Session,
        own: &NodeFacts,
        primary: &NodeFacts,
        options: SwitchoverOptions,
    ) -> Result<Self> {
        let hosts = ssh_hosts(session).await.unwrap_or_default();
        let server = primary.facts();
        let version = server.map_or(0, |server| server.version_num);
        let whereabouts = |node: &'_ NodeFacts| {
            (node.row.clone(), node.facts().cloned(), hosts.get(&node.row.node_id).cloned())
        };
        let (row, facts, host) = whereabouts(primary);
        let known = Whereabouts {
            row: &row,
            server: facts.as_ref(),
            system_identifier: held.facts.system_identifier(),
            ssh_host: host.as_deref(),
        };
        let far_end = node_location::far_end(context, &known).await?;
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
            let (row, facts, host) = whereabouts(sibling);
            let known = Whereabouts {
                row: &row,
                server: facts.as_ref(),
                system_identifier: held.facts.system_identifier(),
                ssh_host: host.as_deref(),
            };
            let far_end = node_location::far_end(context, &known).await.ok()?;
            let wanted = upstream(&own.row, &row, version, None);
            // A sibling follows by SQL. Its host need not be reachable; then its login cannot be tried, that is all.
            Some(visit(context, &far_end, &wanted).await.ok()?.login)
        }));
        let (visited, logins) = tokio::join!(visit(context, &far_end, &wanted), logins);
        let (answer, channel, login) = match visited {
            Ok(Visited { channel, hello, login }) => (Ok(hello), Some(channel), Some(login)),
            Err(trouble) => (Err(trouble), None, None),
        };
        let mut checks = checks(&far_end, &expected, &answer);
        let data = &context.config()?.data_directory;
        let mut places = places::of_data_directory(data);
        places.push(places::of_state(&context.state_directory()?));
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
struct Visited {
    channel: Remote,
    hello: Hello,
    /// How its connection to the candidate went.
    login: std::result::Result<(), String>,
}

/// Asks a far end who it is, and has it try its connection to the candidate.
async fn visit(
    context: &Context,
    far_end: &FarEnd,
    wanted: &Upstream,
) -> std::result::Result<Visited, Trouble> {
    let (channel, hello) = Remote::open(context, far_end, OPEN).await?;
    let login = channel.login(wanted).await;
    Ok(Visited { channel, hello, login })
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

fn host_of(hello: &Hello) -> Option<Host> {
    let service = hello.service.as_ref().ok()?;
    let bindir = hello.bindir.as_ref()?;
    Some(Host {
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
