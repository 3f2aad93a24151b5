//! `standby promote`: make this standby the primary, after the old one has failed.

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::maybe_done;
use serde_json::json;

use crate::cli::standby::Promote as Args;
use crate::config::Config;
use crate::context::Context;
use crate::error::Result;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::directory::{Contents, look, running_postmaster};
use crate::facts::role::RoleFacts;
use crate::facts::{rejoin, server};
use crate::observe::node_location::{self, Whereabouts};
use crate::observe::own_node::secrets_of;
use crate::observe::repmgr_activity::{cluster_at_rest, hold_at_rest};
use crate::observe::under_locks::{self, Held};
use crate::observe::{open_operations, unfinished};
use crate::operation::carry_out::How;
use crate::operation::change_roles::{After, Moved, change_roles, own_session, take_up};
use crate::operation::old_primary_host::{Early, Hosts, Known};
use crate::output::Report;
use crate::pg::client::Session;
use crate::pg::lsn::Lsn;
use crate::pg::tools;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::promote::{PromoteFacts, PromoteOptions, Promotion, plan};
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
    if let Some(report) = take_up(context, |_| true).await? {
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
    let session = own_session(&held, config)?.clone();
    let mut facts = PromoteFacts {
        hosts: hosts.says.clone(),
        roles: held.roles.clone(),
        node_id: config.node_id,
        metadata: rest.metadata.clone(),
        others: open_operations::others(context, &held).await,
        repmgr_activity: RepmgrActivity { no_pause: args.repmgrd_no_pause, ..repmgr_activity },
        topology: rest.found.topology,
        former_end,
        command: command(config, held.roles.get(&config.node_id))?,
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
    let promoting = Promoting { begun, session: &session, held: &held, promotion: &promotion };
    promoting.finish(context, &mut hosts).await
}

/// A promotion that was planned.
struct Promoting<'a> {
    begun: Instant,
    /// On the local server.
    session: &'a Session,
    held: &'a Held,
    promotion: &'a Promotion,
}

impl Promoting<'_> {
    /// Carries it out and reports it.
    async fn finish(&self, context: &Context, hosts: &mut Hosts) -> Result<Report> {
        let (config, promotion) = (context.config()?, self.promotion);
        let how = How::new(context, secrets_of(&self.held.facts)).holding(self.held);
        let mut changed = change_roles(context, &promotion.plan, how).await;
        let now = server::ask(self.session).await.ok();
        let is_primary = now.as_ref().is_some_and(|server| !server.in_recovery);
        let moved = Moved {
            from: promotion.former,
            to: config.node_id,
            timeline: now.as_ref().map(|server| server.timeline),
            outage_s: None,
            begun: self.begun,
            wal_lost_bytes: promotion.wal_lost_bytes,
        };
        changed.done.add_data(moved.data());
        let requested = is_primary || changed.done.step_s("promote").is_some();
        // As long as the operation is open, the promotion may still take place.
        if !requested && matches!(unfinished::own_unfinished(context, |_| true), Ok(None)) {
            hosts.unsecure(context).await;
        }
        let after = After {
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
        let state = match hosts.keeps_down(former.row.node_id) {
            true => format!(
                "the old primary \"{name}\" can start only as a standby: standby.signal is in its data directory"
            ),
            false => format!("the old primary \"{name}\" must not be started as a primary"),
        };
        let hint = format!(
            "When its host is back, run \"pgbaton node rejoin\" on it: it re-attaches \"{name}\" as a standby."
        );
        context.ui.message(Level::Notice, &state, None, Some(&hint));
    }
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
pub(super) fn command(config: &Config, role: Option<&RoleFacts>) -> Result<Option<Command>> {
    if let Some(line) = config.command("service_promote_command", &config.service_promote_command)? {
        return Ok(Some(Command::new("/bin/sh", ["-c", line])));
    }
    if role.is_none_or(|role| role.may_promote) {
        return Ok(None);
    }
    let Contents::DataDirectory { major, .. } = look(&config.data_directory) else { return Ok(None) };
    let Ok(program) = tools::find(config.pg_bindir.as_deref(), &major, "pg_ctl") else { return Ok(None) };
    let directory = format!("--pgdata={}", config.data_directory.display());
    let words = ["promote".to_string(), "--no-wait".into(), directory];
    Ok(Some(Command::new(program.display().to_string(), words)))
}
