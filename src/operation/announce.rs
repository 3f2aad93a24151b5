//! What is left to be done when an operation has ended, by whichever command: its events are recorded, and the topology is saved.

use crate::context::Context;
use crate::error::sentence;
use crate::facts::cluster::ClusterFacts;
use crate::observe::under_locks::open;
use crate::observe::{discovery, own_operations};
use crate::operation::event_hook::{Happening, notify, record};
use crate::pg::client::Session;
use crate::plan::parts::events::{Notification, Proof};
use crate::registry::NodeRow;
use crate::system::clock;
use crate::ui::Level;

/// What has become of an operation.
pub struct Ending<'a> {
    /// The event notifications of its plan.
    pub notifications: &'a [Notification],
    /// Why it failed, if it did. One that succeeded has seen its primary itself.
    pub error: Option<String>,
    /// A step of the plan has announced the promotion.
    pub sent: bool,
    /// Nodes that are known to accept writes.
    pub taking_writes: &'a [i32],
    /// A session to the primary; without one there are no rows, and the hooks run all the same.
    pub primary: Option<&'a Session>,
    /// A session to a node that is asked what the cluster is like now.
    pub seen_by: Option<&'a Session>,
}

impl Ending<'_> {
    /// Sends the notifications. Nothing here can fail: what happened has happened.
    pub async fn send(&self, context: &Context) {
        self.tell_events(context).await;
        if let Some(session) = self.seen_by
            && let Ok(facts) = discovery::from_session(context, session, "the node").await
        {
            self.record_followers(context, &facts).await;
            discovery::remember(context, &facts, clock::now());
        }
    }

    /// Sends all but those about following standbys, which need another look, because hooks route clients to the new primary.
    async fn tell_events(&self, context: &Context) {
        let error = self.error.as_deref();
        for notification in self.notifications {
            let successful = match notification.proof {
                Proof::Success => error.is_none(),
                Proof::Primary if self.sent => continue,
                Proof::Primary => error.is_none() || self.taking_writes.contains(&notification.node_id),
                Proof::Upstream(_) => continue,
            };
            if !successful && !notification.failure {
                continue;
            }
            let result = if successful { Ok(()) } else { Err(error.unwrap_or_default()) };
            notify(context, self.primary, &Happening::of(notification, result)).await;
            if notification.proof == Proof::Primary && successful {
                own_operations::note_told(context);
            }
        }
    }

    /// Records which standbys follow the new primary, by the record as it is afterwards.
    async fn record_followers(&self, context: &Context, after: &ClusterFacts) {
        let Some(session) = self.primary else { return };
        // The command that finishes the remaining steps records them.
        if own_operations::unfinished_id(context).is_some() {
            return;
        }
        for notification in self.notifications {
            let Proof::Upstream(upstream) = notification.proof else { continue };
            if after.node(notification.node_id).and_then(|node| node.row.upstream_node_id) == Some(upstream) {
                record(context, session, &Happening::of(notification, Ok(()))).await;
            }
        }
    }
}

/// Says what an operation has brought about, as its own command would.
pub fn say(context: &Context, notifications: &[Notification]) {
    for notification in
        notifications.iter().filter(|notification| !matches!(notification.proof, Proof::Upstream(_)))
    {
        match notification.event.as_str() {
            // Scripts that know repmgr look for these words.
            "node_rejoin" => context.ui.message(
                Level::Notice,
                "NODE REJOIN successful",
                Some(&sentence(&notification.details)),
                None,
            ),
            _ => context.ui.say(Level::Notice, &notification.details),
        }
    }
}

/// Sends the notifications that the operation would have sent if it had not been interrupted, by the present state.
pub async fn send_all(context: &Context, notifications: &[Notification], error: Option<String>, sent: bool) {
    if notifications.is_empty() {
        return;
    }
    let found = discovery::cluster(context).await;
    let facts = found.as_ref().map(|found| &found.facts);
    let primaries: Vec<&NodeRow> =
        facts.into_iter().flat_map(ClusterFacts::primaries).map(|(node, _)| &node.row).collect();
    let ids: Vec<i32> = primaries.iter().map(|row| row.node_id).collect();
    // If there is another primary too, the one that this is about.
    let about = |row: &&&NodeRow| {
        notifications
            .iter()
            .any(|notification| notification.proof == Proof::Primary && notification.node_id == row.node_id)
    };
    let session = match primaries.iter().find(about).or(primaries.first()) {
        Some(row) => open(context, row).await.ok(),
        None => None,
    };
    let (primary, seen_by) = (session.as_ref(), session.as_ref());
    Ending { notifications, error, sent, taking_writes: &ids, primary, seen_by }.send(context).await;
}
