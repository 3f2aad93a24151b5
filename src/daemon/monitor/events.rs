//! Event notifications. The hook runs at once; the row is written as soon as there is a primary, which in a failover takes a while.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Monitor;
use crate::error::sentence;
use crate::operation::event_hook::{Event, hook, run_hook};
use crate::pg::client::SqlErrorKind;
use crate::pg::statement::Statement;
use crate::plan::parts::events::EventUpstream;
use crate::registry::event;
use crate::secret::Secrets;
use crate::system::process::ChildContext;
use crate::ui::Level;

/// How often a primary is looked for while there is something to record.
const AGAIN: Duration = Duration::from_secs(1);

/// How long an event waits for a primary.
const KEPT: Duration = Duration::from_secs(600);

/// How many events wait.
const MOST: usize = 200;

/// How long the end of the daemon waits for rows and for hooks.
const LAST: Duration = Duration::from_secs(3);

/// Something that has happened to this node.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Its name, repmgr's where it has one.
    pub event: &'static str,
    /// Whether it went well.
    pub successful: bool,
    /// More about it.
    pub details: String,
    /// The other node that it is about.
    pub upstream: Option<EventUpstream>,
    at: Instant,
    number: u64,
}

impl Happened {
    /// It has happened now.
    pub fn new(event: &'static str, successful: bool, details: String) -> Self {
        Self { event, successful, details, upstream: None, at: Instant::now(), number: 0 }
    }

    /// It is about another node, too.
    #[must_use]
    pub fn about(self, upstream: Option<EventUpstream>) -> Self {
        Self { upstream, ..self }
    }
}

/// Takes events.
#[derive(Clone, Debug)]
pub struct Announcer(mpsc::UnboundedSender<Happened>);

impl Announcer {
    pub(super) fn new(there: mpsc::UnboundedSender<Happened>) -> Self {
        Self(there)
    }

    /// Announces something. It is not waited for.
    pub fn announce(&self, happened: Happened) {
        let _ended = self.0.send(happened);
    }
}

/// What is to be recorded.
pub(super) struct Queue {
    happened: Mutex<mpsc::UnboundedReceiver<Happened>>,
    waiting: RefCell<VecDeque<Happened>>,
    is_new: Notify,
    count: Cell<u64>,
    hooks: RefCell<Vec<JoinHandle<()>>>,
    /// The last attempt may have written its rows: those up to this number.
    doubtful: Cell<u64>,
}

impl Queue {
    pub(super) fn new(happened: mpsc::UnboundedReceiver<Happened>) -> Self {
        Self {
            happened: Mutex::new(happened),
            waiting: RefCell::default(),
            is_new: Notify::new(),
            count: Cell::new(0),
            hooks: RefCell::default(),
            doubtful: Cell::new(0),
        }
    }

    /// Puts an event at the end. Returns the oldest one, if there are too many.
    fn put(&self, happened: Happened) -> Option<Happened> {
        let number = self.count.get() + 1;
        self.count.set(number);
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(Happened { number, ..happened });
        self.is_new.notify_one();
        if waiting.len() > MOST { waiting.pop_front() } else { None }
    }

    /// Removes those that have waited for too long, and returns them.
    fn expired(&self, now: Instant) -> Vec<Happened> {
        let mut waiting = self.waiting.borrow_mut();
        let count = waiting.iter().take_while(|happened| now.duration_since(happened.at) > KEPT).count();
        waiting.drain(..count).collect()
    }

    fn statements(&self, node_id: i32, now: Instant) -> (Vec<Statement>, u64) {
        let waiting = self.waiting.borrow();
        let statement = |happened: &Happened| {
            let age = now.duration_since(happened.at).as_secs_f64();
            let (event, details) = (happened.event, &happened.details);
            let is_doubtful = happened.number <= self.doubtful.get();
            event::insert_late(node_id, event, happened.successful, details, age, is_doubtful)
        };
        let last = waiting.back().map_or(0, |happened| happened.number);
        (waiting.iter().map(statement).collect(), last)
    }

    fn remove_up_to(&self, last: u64) {
        self.waiting.borrow_mut().retain(|happened| happened.number > last);
    }
}

impl Monitor<'_> {
    /// Takes what happens: runs the hook, and lets the row be written.
    pub(super) async fn take_events(&self) {
        while let Some(happened) = self.queue.happened.lock().await.recv().await {
            self.take(happened);
        }
    }

    fn take(&self, happened: Happened) {
        let config = self.config();
        let event = Event {
            node_id: config.node_id,
            event: happened.event,
            successful: happened.successful,
            details: happened.details.clone(),
            upstream: happened.upstream.as_ref(),
        };
        self.say(Level::Debug, &format!("event \"{}\": {}", happened.event, happened.details));
        if let Some(command) = hook(&config, &self.context.ui, &event) {
            let environment = self.context.environment.clone();
            let task = tokio::spawn(async move {
                let setting = ChildContext {
                    environment: Some(&environment),
                    secrets: Secrets::new(),
                    inherit_pg: true,
                };
                let _result_is_not_used = run_hook(&command, &setting).await;
            });
            let mut hooks = self.queue.hooks.borrow_mut();
            hooks.retain(|hook| !hook.is_finished());
            hooks.push(task);
        }
        if let Some(lost) = self.queue.put(happened) {
            self.not_recorded(&[lost], "Too many events wait for a primary.");
        }
    }

    /// Writes the rows, whenever there are any and a primary for them.
    pub(super) async fn write_events(&self) {
        loop {
            if self.queue.waiting.borrow().is_empty() {
                self.queue.is_new.notified().await;
            }
            // What happens at the same moment goes into one transaction.
            sleep(Duration::from_millis(20)).await;
            if !self.write_waiting().await {
                sleep(AGAIN).await;
            }
        }
    }

    /// Tries once. Returns whether nothing is left of what was there.
    async fn write_waiting(&self) -> bool {
        let expired = self.queue.expired(Instant::now());
        if !expired.is_empty() {
            self.not_recorded(&expired, "There was no primary for too long.");
        }
        if self.queue.waiting.borrow().is_empty() {
            return true;
        }
        let Some((row, session)) = self.open_primary().await else { return false };
        let config = self.config();
        if row.node_id == config.node_id && !self.is_settled() {
            return false;
        }
        let (statements, last) = self.queue.statements(config.node_id, Instant::now());
        // Whatever interrupts this, the rows may be there.
        self.queue.doubtful.set(last);
        match session.transaction(&statements).await {
            Ok(()) => {}
            // Another attempt will not go better.
            Err(error)
                if error.kind == SqlErrorKind::Server && error.sqlstate.as_deref() != Some("25006") =>
            {
                let mut lost: Vec<Happened> = self.queue.waiting.borrow().iter().cloned().collect();
                lost.retain(|happened| happened.number <= last);
                self.not_recorded(&lost, &sentence(&error.to_string()));
            }
            Err(_) => return false,
        }
        self.queue.remove_up_to(last);
        true
    }

    /// What a server writes that has lost its lease, or never had one, may be discarded: then the next primary gets the rows.
    fn is_settled(&self) -> bool {
        let known = self.snapshot.borrow();
        !self.is_automatic
            || known
                .as_ref()
                .is_some_and(|known| known.leads() || known.state.flag == pgbaton_lease::Flag::Full)
    }

    fn not_recorded(&self, lost: &[Happened], why: &str) {
        for happened in lost {
            self.context.ui.message(
                Level::Warning,
                &format!("could not record event \"{}\"", happened.event),
                Some(why),
                None,
            );
        }
    }

    /// The daemon ends: what is still to be recorded is recorded now or not at all, and hooks that run are given a moment.
    pub async fn finish(&self) {
        if let Ok(mut happened) = self.queue.happened.try_lock() {
            while let Ok(one) = happened.try_recv() {
                self.take(one);
            }
        }
        let hooks = self.queue.hooks.take();
        let ended = async {
            for hook in hooks {
                let _result_is_not_used = hook.await;
            }
        };
        let _too_late = timeout(LAST, async { tokio::join!(self.write_waiting(), ended) }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(mpsc::unbounded_channel().1)
    }

    fn events(queue: &Queue) -> Vec<&'static str> {
        queue.waiting.borrow().iter().map(|happened| happened.event).collect()
    }

    #[tokio::test]
    async fn the_queue_keeps_the_newest_in_their_order() {
        let queue = queue();
        for _ in 0..MOST {
            assert!(queue.put(Happened::new("old", true, String::new())).is_none());
        }
        let lost = queue.put(Happened::new("new", true, String::new())).unwrap();
        assert_eq!((lost.event, lost.number), ("old", 1));
        assert_eq!(events(&queue).len(), MOST);
        assert_eq!(events(&queue).last(), Some(&"new"));
    }

    #[tokio::test]
    async fn what_comes_while_rows_are_written_is_not_removed_with_them() {
        let queue = queue();
        queue.put(Happened::new("first", true, String::new()));
        let (statements, last) = queue.statements(1, Instant::now());
        assert_eq!(statements.len(), 1);
        queue.put(Happened::new("second", true, String::new()));
        queue.remove_up_to(last);
        assert_eq!(events(&queue), ["second"]);
    }

    #[tokio::test]
    async fn an_event_waits_for_a_while_and_not_for_ever() {
        let queue = queue();
        queue.put(Happened::new("first", true, String::new()));
        assert!(queue.expired(Instant::now() + KEPT / 2).is_empty());
        assert_eq!(queue.expired(Instant::now() + 2 * KEPT).len(), 1);
        assert!(events(&queue).is_empty());
    }

    #[tokio::test]
    async fn a_row_that_may_be_there_is_looked_for_first() {
        let queue = queue();
        queue.put(Happened::new("first", true, String::new()));
        let text = |queue: &Queue| queue.statements(1, Instant::now()).0.remove(0).text;
        assert!(!text(&queue).contains("NOT EXISTS"));
        queue.doubtful.set(1);
        assert!(text(&queue).contains("NOT EXISTS"));
    }
}
