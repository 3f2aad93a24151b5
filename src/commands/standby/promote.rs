//! `standby promote`: make this standby the primary, after the old one has failed.

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::maybe_done;
use serde_json::json;

use crate::cli::standby::Promote as Args;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::directory::{Contents, look, running_postmaster};
use crate::facts::role::RoleFacts;
use crate::facts::{rejoin, server};
use crate::observe::node_location::{self, Whereabouts};
use crate::observe::own_node::secrets_of;
use crate::observe::repmgr_activity::{cluster_at_rest, hold_at_rest};
use crate::observe::{open_operations, under_locks, unfinished};
use crate::operation::announce::{Ending, error_of};
use crate::operation::carry_out;
use crate::operation::old_primary_host::{Early, Hosts, Known};
use crate::operation::resume::{TakenUp, resume};
use crate::output::Report;
use crate::pg::lsn::Lsn;
use crate::plan::parts::events;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::promote::{PromoteFacts, PromoteOptions, plan};
use crate::registry::NodeType;
use crate::system::command::Command;
use crate::ui::Level;
use crate::units::seconds;

/// How long a promotion waits to learn where the WAL of a crashed primary ends.
const END_OF_WAL: Duration = Duration::from_millis(200);

/// Promotes the local standby.
///
/// # Errors
/// Exit code 6 without the local server, 31 while another primary is alive, 32 while another standby has more WAL, 1 for another failed
/// check, 8 if the promotion fails, 22 if something after it does.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let begun = Instant::now();
    let config = context.config()?;
    if let Some(entry) = unfinished::own_unfinished(context, |_| true)?
        && let TakenUp::Over(report) = resume(context, &entry, &context.command_line).await?
    {
        return Ok(report);
    }
    let name = &config.node_name;
    let mut early = pin!(maybe_done(Early::open(context, config.node_id)));
    let mut rest = {
        let mut looking = pin!(cluster_at_rest(context));
        poll_fn(|waker| {
            // Its time comes later; as long as the cluster is looked at it only gets on.
            let looked = looking.as_mut().poll(waker);
            let _ready = early.as_mut().poll(waker);
            looked
        })
        .await?
    };
    let early = async {
        early.as_mut().await;
        early.as_mut().take_output().unwrap_or_default()
    };
    under_locks::own(&rest.found.facts, config.node_id, name)?;
    let seen = rest.found.facts.clone();
    // The far end may finish what a switchover has left to it; at the same time as the locks, so that a dead host takes no extra time.
    let known = Known::of(&rest, config.node_id);
    let (held, former_end, mut hosts) = tokio::join!(
        hold_at_rest(context, &mut rest),
        former_end(context, &seen, config.node_id),
        Hosts::look(context, &known, config.node_id, early),
    );
    let (mut held, repmgr_activity) = held?;
    let own = under_locks::own(&held.facts, config.node_id, name)?;
    let Some(session) = held.session(config.node_id).cloned() else {
        let why = own.server.as_ref().err().map(|silence| sentence(&silence.message)).unwrap_or_default();
        return Err(Error::new(Exit::Connection, format!("could not connect to node \"{name}\""))
            .detail(format!("{why} Nothing was changed.")));
    };
    let mut facts = PromoteFacts {
        hosts: hosts.says.clone(),
        roles: held.roles.clone(),
        node_id: config.node_id,
        metadata: rest.metadata.clone(),
        others: open_operations::others(context, &held).await,
        repmgr_activity: RepmgrActivity { no_pause: args.repmgrd_no_pause, ..repmgr_activity },
        topology: rest.found.topology,
        former_end,
        command: command(context, held.roles.get(&config.node_id))?,
        use_slots: config.use_replication_slots,
        timeout_s: seconds(config.promote_check_timeout),
        now: rest.found.now,
        cluster: held.facts.clone(),
    };
    let options = PromoteOptions {
        force: context.global.force,
        accept_data_loss: context.global.accept_data_loss,
        siblings_follow: !args.no_siblings_follow,
    };
    let mut promotion = plan(&facts, options);
    if !promotion.plan.is_empty() {
        hosts.secure(context).await;
        facts.hosts.clone_from(&hosts.says);
        promotion = plan(&facts, options);
    }
    held.hosts = hosts.agreeing();
    let mut result =
        carry_out::carry_out_holding(context, &promotion.plan, secrets_of(&held.facts), &held).await;
    let now = server::ask(&session).await.ok();
    let is_primary = now.as_ref().is_some_and(|server| !server.in_recovery);
    carry_out::add_data(
        &mut result,
        json!({
            "from_node_id": promotion.former,
            "to_node_id": config.node_id,
            "timeline": now.as_ref().map(|server| server.timeline),
            "outage_s": null,
            "wall_s": begun.elapsed().as_secs_f64(),
            "wal_lost_bytes": promotion.wal_lost_bytes,
        }),
    );
    let acted = result.as_ref().map_or_else(|error| error.changed, |done| done.acted);
    let requested = is_primary || carry_out::step_s(&result, "promote").is_some();
    // As long as the operation is open, the promotion may still take place.
    if !requested && matches!(unfinished::own_unfinished(context, |_| true), Ok(None)) {
        hosts.unsecure(context).await;
    }
    if acted {
        let ending = Ending {
            notifications: &promotion.plan.notifications,
            error: error_of(&result),
            sent: carry_out::step_s(&result, events::STEP).is_some(),
            taking_writes: if is_primary { &[config.node_id] } else { &[] },
            primary: is_primary.then_some(&session),
            seen_by: Some(&session),
        };
        ending.send(context).await;
    }
    let done = result?;
    if done.acted {
        let timeline = now.map_or_else(String::new, |server| format!(", on timeline {}", server.timeline));
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" (ID {}) is the primary now{timeline}", config.node_id),
        );
        if let Some(former) = promotion.former.and_then(|id| held.facts.node(id)) {
            let name = &former.row.node_name;
            let state = if hosts.keeps_down(former.row.node_id) {
                format!(
                    "the old primary \"{name}\" can start only as a standby: standby.signal is in its data directory"
                )
            } else {
                format!("the old primary \"{name}\" must not be started as a primary")
            };
            context.ui.message(
                Level::Notice,
                &state,
                None,
                Some(&format!(
                    "When its host is back, run \"pgbaton node rejoin\" on it: it re-attaches \"{name}\" as a standby."
                )),
            );
        }
    }
    Ok(done.report)
}

/// Returns where the WAL of a primary ends that does not answer, if its files are on this host and no server runs on them.
async fn former_end(context: &Context, cluster: &ClusterFacts, node_id: i32) -> Option<Lsn> {
    let was_primary = |node: &&NodeFacts| {
        node.row.node_type == NodeType::Primary && node.row.active && node.row.node_id != node_id
    };
    let former = cluster.nodes.iter().filter(|node| node.server.is_err()).find(was_primary)?;
    let known = Whereabouts {
        row: &former.row,
        server: None,
        system_identifier: cluster.system_identifier(),
        ssh_host: None,
    };
    let data = node_location::data_directory_here(context, &known).await?;
    if running_postmaster(&data).is_some() {
        return None;
    }
    // After a crash all WAL since the last checkpoint is read, which may be much, while no client can write.
    let read = tokio::task::spawn_blocking(move || rejoin::end_of_wal(&data));
    tokio::time::timeout(END_OF_WAL, read).await.ok()?.ok()?.ok()?
}

/// Returns the program that promotes, where it is not to be `pg_promote()`.
///
/// # Errors
/// Exit code 1 if the configured one is not to be run.
pub(super) fn command(context: &Context, role: Option<&RoleFacts>) -> Result<Option<Command>> {
    let config = context.config()?;
    if let Some(line) = config.command("service_promote_command", &config.service_promote_command)? {
        return Ok(Some(Command::new("/bin/sh", ["-c", line])));
    }
    if role.is_none_or(|role| role.may_promote) {
        return Ok(None);
    }
    let Contents::DataDirectory { major, .. } = look(&config.data_directory) else { return Ok(None) };
    let Ok(pg_ctl) = context.installation_of(config, major).tool("pg_ctl") else { return Ok(None) };
    let directory = format!("--pgdata={}", config.data_directory.display());
    let words = ["promote".to_string(), "--no-wait".into(), directory];
    Ok(Some(Command::new(pg_ctl, words)))
}
