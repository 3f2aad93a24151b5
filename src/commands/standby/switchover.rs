//! `standby switchover`: move the role of the primary to this standby, while everything is well.

use std::time::Instant;

use crate::cli::standby::Switchover as Args;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::facts::server;
use crate::observe::own_node::secrets_of;
use crate::observe::promotion::promote_command;
use crate::observe::repmgr_activity::{cluster_at_rest, lock_when_quiet};
use crate::observe::switchover::OldPrimaryInspection;
use crate::observe::under_locks::{self, LockedCluster};
use crate::observe::{daemons, discovery, open_operations};
use crate::operation::carry_out::RunOptions;
use crate::operation::change_roles::{
    Changed, ClusterAfter, RoleChange, change_roles, own_session, resume_earlier_run,
};
use crate::operation::hand_over::hand_over;
use crate::operation::outcome::Done;
use crate::output::Report;
use crate::pg::client::Session;
use crate::plan::Plan;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::switchover::{Bounds, SwitchoverFacts, SwitchoverOptions, plan};
use crate::registry::NodeRow;
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
    if let Some(report) = resume_earlier_run(context, |_| true).await? {
        return Ok(report);
    }
    report_unused_options(context, args);
    let name = &config.node_name;
    let mut rest = cluster_at_rest(context).await?;
    under_locks::own_node(&rest.found.facts, config.node_id, name)?;
    let (mut held, repmgr_activity) = match lock_when_quiet(context, &mut rest).await {
        // They do it: the leader's daemon hands over.
        Err(error) if daemons::are_active(&error) => {
            let rows: Vec<NodeRow> = rest.found.facts.nodes.iter().map(|node| node.row.clone()).collect();
            let nodes = daemons::of_cluster(context, &rows).await;
            return Box::pin(hand_over(context, &nodes, config.node_id, daemons::random_op(), begun)).await;
        }
        locked => locked?,
    };
    if let Ok((primary, _)) = discovery::the_primary(&held.facts) {
        let primary_id = primary.row.node_id;
        held.compare(config.node_id, primary_id).await;
    }
    let session = own_session(&held, config)?;
    let own = under_locks::own_node(&held.facts, config.node_id, name)?;
    let (primary, _) = discovery::the_primary(&held.facts)?;
    if primary.row.node_id == config.node_id {
        return Err(Error::failed(format!("node \"{name}\" is the primary already"))
            .detail("Nothing was changed.")
            .hint(
                "Run the command on the standby that is to become the primary, or name it with --node-id.",
            ));
    }
    let options =
        SwitchoverOptions { force: context.options.force, siblings_follow: !args.no_siblings_follow };
    let (others, operations) = tokio::join!(
        OldPrimaryInspection::gather(context, &held, session, own, primary, options),
        open_operations::other_operations(context, &held),
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
        command: promote_command(context, held.roles.get(&config.node_id))?,
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
    let how = RunOptions::new(context, secrets_of(&held.facts)).holding(&held).with_channel(others.channel);
    let changed = change_roles(context, &plan, how).await;
    report(
        context,
        changed,
        FinishedSwitchover { begun, session, held: &held, plan: &plan, primary: &primary.row },
    )
    .await
}

/// A switchover that was carried out.
struct FinishedSwitchover<'a> {
    begun: Instant,
    /// On the local server.
    session: &'a Session,
    held: &'a LockedCluster,
    plan: &'a Plan,
    /// The primary that was to be relieved.
    primary: &'a NodeRow,
}

/// Announces it, and says what has become of it.
async fn report(
    context: &Context,
    mut changed: Changed<'_>,
    switched: FinishedSwitchover<'_>,
) -> Result<Report> {
    let FinishedSwitchover { begun, session, held, plan, primary } = switched;
    let config = context.config()?;
    let now = server::query_server_facts(session).await.ok();
    let is_primary = now.as_ref().is_some_and(|server| !server.in_recovery);
    let outage_s = outage_s(plan, &changed.done);
    let moved = RoleChange {
        from: Some(primary.node_id),
        to: config.node_id,
        timeline: now.as_ref().map(|server| server.timeline),
        outage_s,
        begun,
        // It was promoted with all there was, or it was not promoted.
        wal_lost_bytes: is_primary.then_some(0),
    };
    changed.done.add_data(moved.data());
    let writable = if is_primary { Some(session) } else { held.session(primary.node_id) };
    let after = ClusterAfter {
        primary_id: is_primary.then_some(config.node_id),
        primary: writable.filter(|session| !session.is_closed()),
        seen_by: Some(session),
    };
    let done = changed.announced(context, after).await;
    let report = done.report?;
    if done.acted {
        let (name, from) = (&config.node_name, &primary.node_name);
        let timeline = now.map_or_else(String::new, |server| format!(", on timeline {}", server.timeline));
        let gap = outage_s.map_or_else(String::new, |s| format!("; clients could not write for {s:.3} s"));
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" is the primary now{timeline}, and \"{from}\" its standby{gap}"),
        );
    }
    Ok(report)
}

/// Says of options of repmgr that they are not needed here.
fn report_unused_options(context: &Context, args: &Args) {
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

/// Returns the seconds from the request to stop to the commit of the record, or until the old primary accepted writes again; None if not all
/// of it was done by this run.
fn outage_s(plan: &Plan, done: &Done) -> Option<f64> {
    if let Some(s) = done.outcome.as_ref().and_then(|outcome| outcome.outage_s) {
        return Some(s);
    }
    let phase = plan.phases.iter().find(|phase| phase.outage)?;
    phase.steps.iter().map(|step| done.step_s(&step.id)).sum()
}
