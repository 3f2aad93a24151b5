//! What is left to be done when an operation has ended, whoever has ended it: its events are told, and the cluster is remembered.

use crate::commands::context::Context;
use crate::commands::locate;
use crate::commands::notify::{Happening, notify, record};
use crate::facts::cluster::ClusterFacts;
use crate::pg::client::Session;
use crate::plan::journal;
use crate::plan::tell::{Proof, Tell};

/// What has become of an operation.
pub struct Ending<'a> {
    /// What its plan has to tell.
    pub tells: &'a [Tell],
    /// Why it failed, if it did. One that succeeded has seen its primary itself.
    pub error: Option<String>,
    /// Nodes that are known to take writes.
    pub taking_writes: &'a [i32],
    /// A session to the primary; without one there are no rows, and the hooks run all the same.
    pub primary: Option<&'a Session>,
    /// A session to a node that is asked what the cluster is like now.
    pub seen_by: Option<&'a Session>,
}

impl Ending<'_> {
    /// Tells of it. Nothing here can fail: what happened has happened.
    pub async fn tell(&self, context: &Context) {
        self.tell_events(context).await;
        if let Some(session) = self.seen_by
            && let Ok(facts) = locate::from_session(context, session, "the node").await
        {
            self.record_followers(context, &facts).await;
            locate::remember(context, &facts, journal::now());
        }
    }

    /// Tells all but which standbys follow, which takes another look, and hooks lead clients to the new primary.
    async fn tell_events(&self, context: &Context) {
        let error = self.error.as_deref();
        for tell in self.tells {
            let successful = match tell.proof {
                Proof::Success => error.is_none(),
                Proof::Primary => error.is_none() || self.taking_writes.contains(&tell.node_id),
                Proof::Upstream(_) => continue,
            };
            if !successful && !tell.failure {
                continue;
            }
            let details = if successful { &tell.details } else { error.unwrap_or_default() };
            let happening = Happening {
                node_id: Some(tell.node_id),
                event: &tell.event,
                successful,
                details: details.to_string(),
                upstream: tell.upstream.as_ref().map(|up| (up.node_id, &*up.node_name, &*up.conninfo)),
            };
            notify(context, self.primary, &happening).await;
        }
    }

    /// Records which standbys follow the new primary, by the record as it is afterwards.
    async fn record_followers(&self, context: &Context, after: &ClusterFacts) {
        let Some(session) = self.primary else { return };
        for tell in self.tells {
            let Proof::Upstream(upstream) = tell.proof else { continue };
            if after.node(tell.node_id).and_then(|node| node.row.upstream_node_id) == Some(upstream) {
                let happening = Happening {
                    node_id: Some(tell.node_id),
                    event: &tell.event,
                    successful: true,
                    details: tell.details.clone(),
                    ..Happening::default()
                };
                record(context, session, &happening).await;
            }
        }
    }
}

/// Returns what is told of a failure.
pub fn error_of<T>(result: &crate::error::Result<T>) -> Option<String> {
    result.as_ref().err().map(ToString::to_string)
}
