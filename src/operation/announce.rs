//! What is left to be done when an operation has ended, by whichever command: its events are recorded, and the topology is saved.

use crate::context::Context;
use crate::error::sentence;
use crate::facts::cluster::ClusterFacts;
use crate::journal::{EarlierRuns, Mark, Record, Stage};
use crate::observe::under_locks::open;
use crate::observe::{discovery, own_operations};
use crate::operation::event_hook::{Event, notify, record_event};
use crate::operation::outcome::Ended;
use crate::pg::client::Session;
use crate::pg::conninfo::Conninfo;
use crate::plan::parts::events::{EventProof, Part, PlannedEvent};
use crate::registry::NodeRow;
use crate::system::clock;
use crate::ui::Level;

/// How an operation has ended, as its events say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// All steps that stop it when they fail are done.
    pub steps_done: bool,
    /// Whether what it expects at the end has come true is unknown.
    pub unverified: bool,
}

impl End {
    /// The end of a run; `ended` is None for one that was not begun.
    pub fn of(error: Option<String>, ended: Option<Ended>) -> Self {
        let steps_done = error.is_none() || ended == Some(Ended::Incomplete);
        Self { error, steps_done, unverified: false }
    }

    /// Returns the event that is recorded of a planned one, if there is one. Whether a node was promoted, or follows, is seen in the cluster.
    pub(super) fn event<'a>(&'a self, planned: &'a PlannedEvent) -> Option<Event<'a>> {
        let error = self.error.as_deref();
        let successful = match (planned.proof, planned.part) {
            (EventProof::Primary | EventProof::Upstream(_), _) => return None,
            (EventProof::Success, Some(Part::Steps)) => self.steps_done,
            (EventProof::Success, Some(Part::Expectations)) if !self.steps_done || self.unverified => {
                return None;
            }
            (EventProof::Success, _) => error.is_none(),
        };
        // A record that was written, and has not arrived: the details say so.
        let event = Event { successful, ..Event::of(planned, error.map_or(Ok(()), Err)) };
        (successful || planned.failure).then_some(event)
    }
}

/// Returns the events of an operation that the journal does not know to have been sent.
pub fn unsent<'a>(events: &'a [PlannedEvent], past: &EarlierRuns) -> Vec<&'a PlannedEvent> {
    events.iter().filter(|planned| !past.done(Stage::Forward, &planned.mark())).collect()
}

/// Returns the record that an event was sent.
pub fn sent(planned: &PlannedEvent) -> Record {
    Record::Mark { step: planned.mark(), stage: Stage::Forward, mark: Mark::Done, at: clock::now() }
}

/// What has become of an operation.
pub struct Announcement<'a> {
    /// The event notifications of its plan.
    pub notifications: &'a [PlannedEvent],
    /// How it ended. One that succeeded has seen its primary itself.
    pub end: End,
    /// A step of the plan has announced the promotion.
    pub sent: bool,
    /// Nodes that are known to accept writes.
    pub taking_writes: &'a [i32],
    /// A session to the primary; without one there are no rows, and the hooks run all the same.
    pub primary: Option<&'a Session>,
    /// A session to a node that is asked what the cluster is like now.
    pub seen_by: Option<&'a Session>,
}

impl Announcement<'_> {
    /// Sends the notifications. Nothing here can fail: what happened has happened.
    pub async fn send(&self, context: &Context) {
        self.send_events(context).await;
        if let Some(session) = self.seen_by
            && let Ok(facts) = discovery::from_session(context, session, "the node").await
        {
            self.record_followers(context, &facts).await;
            discovery::remember(context, &facts, clock::now());
        }
    }

    /// Sends all but those about following standbys, which need another look, because hooks route clients to the new primary.
    async fn send_events(&self, context: &Context) {
        for planned in self.notifications {
            let event = match planned.proof {
                EventProof::Primary if self.sent => None,
                EventProof::Primary => self.promotion(planned),
                EventProof::Success | EventProof::Upstream(_) => self.end.event(planned),
            };
            let Some(event) = event else { continue };
            notify(context, self.primary, &event).await;
            if planned.proof == EventProof::Primary && event.successful {
                own_operations::mark_event_sent(context);
            }
        }
    }

    fn promotion<'a>(&'a self, planned: &'a PlannedEvent) -> Option<Event<'a>> {
        let error = self.end.error.as_deref();
        let is_primary = error.is_none() || self.taking_writes.contains(&planned.node_id);
        let result = if is_primary { Ok(()) } else { Err(error.unwrap_or_default()) };
        (is_primary || planned.failure).then(|| Event::of(planned, result))
    }

    /// Records which standbys follow the new primary, by the record as it is afterwards.
    async fn record_followers(&self, context: &Context, after: &ClusterFacts) {
        let Some(session) = self.primary else { return };
        // The command that finishes the remaining steps records them.
        if own_operations::unfinished_id(context).is_some() {
            return;
        }
        for notification in self.notifications {
            let EventProof::Upstream(upstream) = notification.proof else { continue };
            if after.node(notification.node_id).and_then(|node| node.row.upstream_node_id) == Some(upstream) {
                record_event(context, session, &Event::of(notification, Ok(()))).await;
            }
        }
    }
}

/// Says what an operation has brought about, as its own command would.
pub fn report_notifications(context: &Context, notifications: &[PlannedEvent]) {
    for notification in
        notifications.iter().filter(|notification| !matches!(notification.proof, EventProof::Upstream(_)))
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
pub async fn send_all(context: &Context, notifications: &[PlannedEvent], end: End, sent: bool) {
    if notifications.is_empty() {
        return;
    }
    let (ids, session) = present_primary(context, notifications).await;
    let (primary, seen_by) = (session.as_ref(), session.as_ref());
    Announcement { notifications, end, sent, taking_writes: &ids, primary, seen_by }.send(context).await;
}

/// Sends the events that the journal of an operation does not know to have been sent; `mark` writes to that journal.
pub async fn send_unsent(
    context: &Context,
    events: &[&PlannedEvent],
    end: &End,
    mut mark: impl AsyncFnMut(Record),
) {
    if events.is_empty() {
        return;
    }
    let (_, mut session) = present_primary(context, &[]).await;
    for planned in events {
        let Some(event) = end.event(planned) else { continue };
        // A clone that was not started yet knows no other node than the one that was planned.
        if session.is_none() {
            session = planned_primary(context, planned).await;
        }
        notify(context, session.as_ref(), &event).await;
        mark(self::sent(planned)).await;
    }
}

/// Returns a session to the server on which an event was to be recorded, if it responds. A password in its conninfo is not known any more.
async fn planned_primary(context: &Context, planned: &PlannedEvent) -> Option<Session> {
    let on = planned.on.as_ref().filter(|on| on.secret.is_none())?;
    match context.connect(&Conninfo::parse(&on.conninfo).ok()?).await {
        Ok(session) => Some(session),
        Err(error) => {
            context.debug(&format!("event \"{}\" is not recorded on {}: {error}", planned.event, on.name));
            None
        }
    }
}

/// Returns the nodes that accept writes, and a session to the one on which events are recorded.
async fn present_primary(context: &Context, notifications: &[PlannedEvent]) -> (Vec<i32>, Option<Session>) {
    let found = discovery::cluster(context).await;
    let facts = found.as_ref().map(|found| &found.facts);
    let primaries: Vec<&NodeRow> =
        facts.into_iter().flat_map(ClusterFacts::primaries).map(|(node, _)| &node.row).collect();
    let ids: Vec<i32> = primaries.iter().map(|row| row.node_id).collect();
    // If there is another primary too, the one that this is about.
    let about = |row: &&&NodeRow| {
        notifications.iter().any(|notification| {
            notification.proof == EventProof::Primary && notification.node_id == row.node_id
        })
    };
    let session = match primaries.iter().find(about).or(primaries.first()) {
        Some(row) => open(context, row).await.ok(),
        None => None,
    };
    (ids, session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::endpoint::Endpoint;
    use crate::plan::parts::events::{cluster_created, registered, standby_registered};
    use crate::registry::NodeType;

    fn on() -> Endpoint {
        Endpoint { name: "node \"node1\"".into(), conninfo: String::new(), secret: None }
    }

    fn said(end: &End, events: &[PlannedEvent]) -> Vec<String> {
        let said = events.iter().filter_map(|planned| end.event(planned));
        said.map(|event| format!("{} {} {}", event.event, event.successful, event.details)).collect()
    }

    #[test]
    fn a_record_that_has_not_arrived_is_one_event_of_success_and_one_of_failure() {
        let (row, primary) = (NodeRow::example(2, NodeType::Standby), NodeRow::example(1, NodeType::Primary));
        let events = |waits| standby_registered(&row, Some(&primary), &on(), waits);
        let done = "node \"node2\" (ID 2) registered as standby";
        let record = format!("standby_register true {done}");
        let ended = |error: Option<&str>, ended| End::of(error.map(Into::into), Some(ended));
        assert_eq!(said(&ended(None, Ended::Done), &events(false)), std::slice::from_ref(&record));
        let both = [record.clone(), format!("standby_register_sync true {done}")];
        assert_eq!(said(&ended(None, Ended::Done), &events(true)), both);
        let late = ended(Some("timed out"), Ended::Incomplete);
        let both = ["standby_register true timed out", "standby_register_sync false timed out"];
        assert_eq!(said(&late, &events(true)), both);
        let failed = ended(Some("no"), Ended::WentBack);
        assert_eq!(said(&failed, &events(true)), ["standby_register false no"]);
        // Whether it has arrived is not known of an operation whose process was killed.
        let killed = End { steps_done: true, unverified: true, error: None };
        assert_eq!(said(&killed, &events(true)), [record]);
        assert_eq!(events(true)[0].upstream.as_ref().unwrap().node_id, 1);
    }

    #[test]
    fn a_cluster_is_created_only_by_success() {
        let row = NodeRow::example(1, NodeType::Primary);
        let events = [cluster_created(1, &on()), registered(&row, None, &on())];
        let well =
            ["cluster_created true ", "primary_register true node \"node1\" (ID 1) registered as primary"];
        assert_eq!(said(&End::of(None, Some(Ended::Done)), &events), well);
        assert_eq!(said(&End::of(Some("no".into()), None), &events), ["primary_register false no"]);
    }

    #[test]
    fn what_the_journal_says_was_sent_is_not_sent_again() {
        let row = NodeRow::example(1, NodeType::Primary);
        let events = [cluster_created(1, &on()), registered(&row, None, &on())];
        let plan = crate::plan::Plan::nothing("register");
        let past = |records: &[Record]| EarlierRuns::of(&plan, records);
        assert_eq!(unsent(&events, &past(&[])).len(), 2);
        let first = sent(&events[0]);
        assert_eq!(unsent(&events, &past(std::slice::from_ref(&first))), [&events[1]]);
        assert!(unsent(&events, &past(&[first, sent(&events[1])])).is_empty());
    }
}
