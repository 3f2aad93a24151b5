//! `standby promote`: make this standby the primary, after the old one has failed.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Instant;

use futures_util::future::{join_all, maybe_done};

use crate::cli::standby::Promote as Args;
use crate::context::Context;
use crate::error::Result;
use crate::facts::{role, server};
use crate::observe::own_node::secrets_of;
use crate::observe::promotion::{former_end, promote_command};
use crate::observe::repmgr_activity::{Quiet, cluster_at_rest, lock_when_quiet};
use crate::observe::under_locks::{self, LockedCluster};
use crate::observe::{daemons, open_operations, own_operations};
use crate::operation::carry_out::RunOptions;
use crate::operation::change_roles::{
    ClusterAfter, RoleChange, change_roles, own_session, resume_earlier_run,
};
use crate::operation::election::elect;
use crate::operation::examine::examine;
use crate::operation::old_primary_host::{EarlyChannel, Hosts, KnownFacts};
use crate::output::Report;
use crate::pg::client::Session;
use crate::pg::lsn::Lsn;
use crate::plan::parts::announce::OtherOperations;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::promote::{PromoteFacts, PromoteOptions, Promotion, plan};
use crate::plan::{CheckResult, Override};
use crate::ui::Level;
use crate::units::seconds;

/// Promotes the local standby.
///
/// # Errors
/// Exit code 6 without the local server, 31 while another primary is alive, 32 while another standby has more WAL, 1 for another failed
/// check, 8 if the promotion fails, 22 if something after it does.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let begun = Instant::now();
    let config = context.config()?;
    if let Some(report) = resume_earlier_run(context, |_| true).await? {
        return Ok(report);
    }
    let name = &config.node_name;
    let mut early = pin!(maybe_done(EarlyChannel::open(context, config.node_id)));
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
    under_locks::own_node(&rest.found.facts, config.node_id, name)?;
    let seen = rest.found.facts.clone();
    // The far end may finish what a switchover has left to it; at the same time as the locks, so that a dead host takes no extra time.
    let known = KnownFacts::of(&rest, config.node_id);
    let (held, former_end, mut hosts) = tokio::join!(
        lock_when_quiet(context, &mut rest),
        former_end(context, &seen, config.node_id),
        Hosts::inspect(context, &known, config.node_id, early),
    );
    let (mut held, repmgr_activity) = match held {
        // The votes decide: this node's daemon is asked to stand.
        Err(error) if daemons::are_active(&error) => {
            let known = BeforeElection { rest: &rest, former_end, begun };
            return Box::pin(known.elect(context, args)).await;
        }
        held => held?,
    };
    if !args.proven_off.is_empty() {
        let text = "--proven-off has no effect: no daemon is active, and whether another primary lives is judged by this command";
        context.ui.say(Level::Notice, text);
    }
    let session = own_session(&held, config)?.clone();
    let mut facts = PromoteFacts {
        hosts: hosts.says.clone(),
        to_keep_down: hosts.to_keep_down(),
        roles: held.roles.clone(),
        node_id: config.node_id,
        metadata: rest.metadata.clone(),
        others: open_operations::other_operations(context, &held).await,
        repmgr_activity: RepmgrActivity { no_pause: args.repmgrd_no_pause, ..repmgr_activity },
        topology: rest.found.topology,
        former_end,
        command: promote_command(context, held.roles.get(&config.node_id))?,
        use_slots: config.use_replication_slots,
        timeout_s: seconds(config.promote_check_timeout),
        now: rest.found.now,
        cluster: held.facts.clone(),
    };
    let options = PromoteOptions {
        force: context.options.force,
        accept_data_loss: context.options.accept_data_loss,
        siblings_follow: !args.no_siblings_follow,
    };
    let mut promotion = plan(&facts, options);
    if !promotion.plan.is_empty() {
        hosts.hold(context).await;
        facts.hosts.clone_from(&hosts.says);
        facts.to_keep_down = hosts.to_keep_down();
        promotion = plan(&facts, options);
    }
    held.hosts = hosts.agreeing();
    let promoting = PlannedPromotion { begun, session: &session, held: &held, promotion: &promotion };
    promoting.finish(context, &mut hosts).await
}

/// What is known before the daemons are asked.
struct BeforeElection<'a> {
    rest: &'a Quiet,
    former_end: Option<Lsn>,
    begun: Instant,
}

impl BeforeElection<'_> {
    /// Examines what a promotion is examined for, and lets the daemons do it.
    async fn elect(&self, context: &Context, args: &Args) -> Result<Report> {
        let config = context.config()?;
        let found = &self.rest.found;
        let roles = join_all(
            self.rest
                .sessions
                .iter()
                .map(async |(id, session)| Some((*id, role::query_role_facts(session).await.ok()?))),
        );
        let facts = PromoteFacts {
            hosts: BTreeMap::new(),
            to_keep_down: Vec::new(),
            roles: roles.await.into_iter().flatten().collect(),
            node_id: config.node_id,
            metadata: self.rest.metadata.clone(),
            others: OtherOperations::default(),
            repmgr_activity: RepmgrActivity::default(),
            topology: found.topology.clone(),
            former_end: self.former_end,
            command: None,
            use_slots: config.use_replication_slots,
            timeout_s: seconds(config.promote_check_timeout),
            now: found.now,
            cluster: found.facts.clone(),
        };
        let options = PromoteOptions {
            force: context.options.force,
            accept_data_loss: context.options.accept_data_loss,
            siblings_follow: true,
        };
        let mut promotion = plan(&facts, options);
        // Whether a primary that does not respond is alive is what a person would have to say; here the votes say it.
        for check in &mut promotion.plan.checks {
            if check.name == "no_other_primary" && check.override_by == Some(Override::Force) {
                check.verdict = CheckResult::Warning;
                check.hint = None;
            }
        }
        examine(context, &promotion.plan)?;
        let rows: Vec<_> = found.facts.nodes.iter().map(|node| node.row.clone()).collect();
        elect(context, &rows, &args.proven_off, &promotion, self.begun).await
    }
}

/// A promotion that was planned.
struct PlannedPromotion<'a> {
    begun: Instant,
    /// On the local server.
    session: &'a Session,
    held: &'a LockedCluster,
    promotion: &'a Promotion,
}

impl PlannedPromotion<'_> {
    /// Carries it out and reports it.
    async fn finish(&self, context: &Context, hosts: &mut Hosts) -> Result<Report> {
        let (config, promotion) = (context.config()?, self.promotion);
        let how = RunOptions::new(context, secrets_of(&self.held.facts)).holding(self.held);
        let mut changed = change_roles(context, &promotion.plan, how).await;
        let now = server::query_server_facts(self.session).await.ok();
        let is_primary = now.as_ref().is_some_and(|server| !server.in_recovery);
        let moved = RoleChange {
            from: promotion.former,
            to: config.node_id,
            timeline: now.as_ref().map(|server| server.timeline),
            outage_s: None,
            begun: self.begun,
            wal_lost_bytes: promotion.wal_lost_bytes,
        };
        changed.done.add_data(moved.data());
        let requested = is_primary || changed.done.step_s("promote").is_some();
        // A far end of an earlier version has written it by itself; else the rollback has removed what a step has written. As long as the
        // operation is open, the promotion may still take place.
        if !requested && matches!(own_operations::own_unfinished(context, |_| true), Ok(None)) {
            hosts.unsecure(context).await;
        }
        let after = ClusterAfter {
            primary_id: is_primary.then_some(config.node_id),
            primary: is_primary.then_some(self.session),
            seen_by: Some(self.session),
        };
        let done = changed.announced(context, after).await;
        let report = done.report?;
        if done.acted {
            let timeline =
                now.map_or_else(String::new, |server| format!(", on timeline {}", server.timeline));
            let (name, id) = (&config.node_name, config.node_id);
            let text = format!("node \"{name}\" (ID {id}) is the primary now{timeline}");
            context.ui.say(Level::Notice, &text);
            self.say_of_former(context, hosts);
        }
        Ok(report)
    }

    /// Says what becomes of the old primary.
    fn say_of_former(&self, context: &Context, hosts: &Hosts) {
        let former = self.promotion.former.and_then(|id| self.held.facts.node(id));
        let Some(former) = former else { return };
        let name = &former.row.node_name;
        let state = match hosts.starts_as_standby(former.row.node_id) {
            true => format!(
                "the old primary \"{name}\" can start only as a standby: standby.signal is in its data directory"
            ),
            false => format!("the old primary \"{name}\" must not be started as a primary"),
        };
        let hint = format!("Run on \"{name}\", when its host is up: pgbaton node rejoin");
        context.ui.message(Level::Notice, &state, None, Some(&hint));
    }
}
