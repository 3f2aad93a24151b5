//! One session of the lease: opened, asked one question at a time, and never repeated elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgbaton_lease::driver::Query;
use pgbaton_lease::mailbox::NodeId;
use pgbaton_lease::votes::{Backend, Node};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::fencer::Held;
use super::lease::{Heard, now};
use super::view::{self, Answer, Terms};
use crate::pg::client::Session;
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Answered;
use crate::system::environment::Environment;

/// What a session needs.
pub(super) struct Setting {
    pub(super) voter: Node,
    pub(super) backend: Backend,
    pub(super) cluster_key: i32,
    pub(super) silence: u64,
    pub(super) lease: Duration,
    pub(super) environment: Arc<Environment>,
    pub(super) heard: mpsc::UnboundedSender<Heard>,
    pub(super) held: Option<watch::Receiver<Held>>,
    pub(super) ids: BTreeMap<Node, NodeId>,
}

impl Setting {
    /// Opens a session and asks in it, until it ends.
    pub(super) async fn serve(
        mut self,
        conninfo: &Conninfo,
        mut asked: mpsc::UnboundedReceiver<(Query, String)>,
    ) {
        let options = ConnectOptions {
            deadline: self.lease,
            query_deadline: self.lease,
            application_name: Some("pgbaton lease".to_string()),
            ..ConnectOptions::default()
        };
        let session = match connect(conninfo, &self.environment, &options).await {
            Ok(session) => session,
            Err(error) => {
                if error.answered == Answered::Spoke {
                    let _gone = self.heard.send(Heard::Refused(self.voter));
                }
                return;
            }
        };
        let version = session.server_version_num();
        if session.batch(&view::beginning(version, self.silence)).await.is_err() {
            return;
        }
        if self.heard.send(Heard::Opened(self.voter, self.backend)).is_err() {
            return;
        }
        let mut terms = Terms { version, cluster_key: self.cluster_key, has_members: false };
        while let Some((query, line)) = asked.recv().await {
            let Some(answer) = self.ask(&session, terms, query, &line).await else { return };
            terms.has_members = answer.has_members;
            if self.heard.send(Heard::Replied(self.voter, self.backend, Box::new(answer))).is_err() {
                return;
            }
        }
    }

    async fn ask(&mut self, session: &Session, terms: Terms, query: Query, line: &str) -> Option<Answer> {
        if query == Query::Promote {
            // Whatever becomes of this process from here on, the fencer will stop a server that has no lease.
            let held = self.held.as_mut()?;
            let armed = held.wait_for(|held| held.is_armed(now().0));
            timeout(self.lease, armed).await.ok()?.ok()?;
        }
        let to = |node: Node| self.ids.get(&node).copied().unwrap_or_default();
        let text = view::statements(terms, query, line, to);
        let rows = session.query(&text, &[]).await.ok()?;
        view::read(terms, &rows).ok()
    }
}
