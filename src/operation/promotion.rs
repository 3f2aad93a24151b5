//! The judgement of a promotion that was planned on another day.

use crate::context::Context;
use crate::error::Result;
use crate::observe::under_locks::LockedCluster;
use crate::operation::examine::examine;
use crate::operation::old_primary_host::{Hosts, KnownFacts};
use crate::plan::Check;
use crate::plan::parts::announce::OtherOperations;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::promote::{PromoteFacts, PromoteOptions, judge};
use crate::site::state_directory;
use crate::units::seconds;

/// Judges today whether this node may be promoted, for an operation that was planned on another day. Where the operation itself has no way to
/// the host of the last known primary, that is made certain of here, as a promotion of today does.
///
/// # Errors
/// Exit code 31 if another primary is alive or may be, 30 if something is at work on its host, 32 while another standby has more WAL, 6
/// without the local server.
pub async fn judge_anew(
    context: &Context,
    held: &mut LockedCluster,
    former: Option<i32>,
    has_channel: bool,
) -> Result<()> {
    let config = context.config()?;
    let topology = state_directory::saved_topology(context).ok().flatten();
    let mut hosts = if has_channel {
        Hosts::default()
    } else {
        let known = KnownFacts::under(held, topology.clone(), config.node_id);
        Hosts::inspect(context, &known, config.node_id, async { Vec::new() }).await
    };
    let mut facts = PromoteFacts {
        hosts: hosts.says.clone(),
        to_keep_down: Vec::new(),
        roles: held.roles.clone(),
        node_id: config.node_id,
        metadata: None,
        others: OtherOperations::default(),
        repmgr_activity: RepmgrActivity::default(),
        topology,
        former_end: None,
        command: None,
        use_slots: config.use_replication_slots,
        timeout_s: seconds(config.promote_check_timeout),
        now: crate::system::clock::now(),
        cluster: held.facts.clone(),
    };
    let options = PromoteOptions {
        force: context.options.force,
        accept_data_loss: context.options.accept_data_loss,
        siblings_follow: false,
    };
    let judged = |facts: &PromoteFacts| {
        let mut plan = judge(facts, options);
        // That it answered before it was stopped is why it was to be stopped.
        plan.checks.retain(|check| check.name != "node_not_asked" || check.node_id != former);
        plan
    };
    let mut anew = judged(&facts);
    if !anew.checks.iter().any(Check::stops) {
        hosts.secure(context).await;
        facts.hosts.clone_from(&hosts.says);
        anew = judged(&facts);
    }
    let examined = examine(context, &anew);
    match examined {
        Ok(()) => held.hosts = hosts.agreeing(),
        Err(_) => hosts.unsecure(context).await,
    }
    examined
}
