//! The frame of a command that changes roles: what an earlier run has left is taken up, the plan is carried out under the locks of the
//! cluster, its events are sent, and the topology is saved.

use std::time::Instant;

use serde_json::{Value, json};

use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::journal::Header;
use crate::observe::own_operations;
use crate::observe::under_locks::{self, LockedCluster};
use crate::operation::announce::Announcement;
use crate::operation::carry_out::{RunOptions, carry_out};
use crate::operation::outcome::Done;
use crate::operation::resume::{ResumeResult, resume};
use crate::output::Report;
use crate::pg::client::Session;
use crate::pg::history::TimelineId;
use crate::plan::Plan;
use crate::plan::parts::events;

/// Takes up what an earlier run of the same command has left unfinished; `same` says whether an operation had the same target. None where
/// there is none, or where what it had left is undone: the command begins anew.
///
/// # Errors
/// As [`resume`].
pub async fn resume_earlier_run(context: &Context, same: impl Fn(&Header) -> bool) -> Result<Option<Report>> {
    let Some(entry) = own_operations::own_unfinished(context, same)? else { return Ok(None) };
    // A future of its own: the commands nest deeply.
    match Box::pin(resume(context, &entry, &context.command_line)).await? {
        ResumeResult::Over(report) => Ok(Some(report)),
        ResumeResult::Anew => Ok(None),
    }
}

/// Returns the session on the local server, which holds its lock.
///
/// # Errors
/// Exit code 6 if the server does not respond, 1 if it is not registered.
pub fn own_session<'a>(held: &'a LockedCluster, config: &Config) -> Result<&'a Session> {
    let name = &config.node_name;
    let own = under_locks::own_node(&held.facts, config.node_id, name)?;
    held.session(config.node_id).ok_or_else(|| {
        let why =
            own.server.as_ref().err().map(|unavailable| sentence(&unavailable.message)).unwrap_or_default();
        Error::new(Exit::Connection, format!("could not connect to node \"{name}\""))
            .detail(format!("{why} Nothing was changed."))
    })
}

/// A change of roles that was carried out, and not announced yet.
#[derive(Debug)]
pub struct Changed<'a> {
    plan: &'a Plan,
    /// What became of it, to be completed by the command.
    pub done: Done,
}

/// What a command knows of the cluster when its plan was carried out.
#[derive(Debug, Default)]
pub struct ClusterAfter<'a> {
    /// The node that is known to accept writes.
    pub primary_id: Option<i32>,
    /// A session to the primary; without one there are no rows of events, and the hooks run all the same.
    pub primary: Option<&'a Session>,
    /// A session to a node that is asked what the cluster is like now.
    pub seen_by: Option<&'a Session>,
}

/// Carries a plan out under the locks that the command has taken.
pub async fn change_roles<'a>(context: &Context, plan: &'a Plan, how: RunOptions<'_>) -> Changed<'a> {
    Changed { plan, done: carry_out(context, plan, how).await }
}

impl Changed<'_> {
    /// Sends the notifications of the plan, and saves the topology, if anything was done.
    pub async fn announced(self, context: &Context, after: ClusterAfter<'_>) -> Done {
        if self.done.acted {
            let announcement = Announcement {
                notifications: &self.plan.notifications,
                end: self.done.end(),
                sent: self.done.step_s(events::STEP).is_some(),
                taking_writes: after.primary_id.as_slice(),
                primary: after.primary,
                seen_by: after.seen_by,
            };
            announcement.send(context).await;
        }
        self.done
    }
}

/// How the role of the primary has moved: the fields that the answers have in common.
#[derive(Debug)]
pub struct RoleChange {
    /// The node that was, or was to be, relieved or brought back.
    pub from: Option<i32>,
    /// The node that is, or was to be, the primary.
    pub to: i32,
    /// Its timeline, where it responds.
    pub timeline: Option<TimelineId>,
    /// Seconds in which clients could not write, where that is known.
    pub outage_s: Option<f64>,
    /// When the command began.
    pub begun: Instant,
    /// Bytes of WAL that are lost; None for unknown.
    pub wal_lost_bytes: Option<u64>,
}

impl RoleChange {
    /// Returns the fields.
    pub fn data(&self) -> Value {
        json!({
            "from_node_id": self.from,
            "to_node_id": self.to,
            "timeline": self.timeline,
            "outage_s": self.outage_s,
            "wall_s": self.begun.elapsed().as_secs_f64(),
            "wal_lost_bytes": self.wal_lost_bytes,
        })
    }
}
