//! `monitoring_history`: what the daemon of a standby records of it on the primary. Where the primary is away, there is no row.

use tokio::time::Instant;

use super::{Monitor, Role, rest};
use crate::config::Config;
use crate::error::sentence;
use crate::pg::client::{Session, SqlError, SqlErrorKind};
use crate::registry::monitoring;
use crate::ui::Level;

/// The sessions that are kept for it.
#[derive(Default)]
struct Sessions {
    local: Option<Session>,
    /// The primary, by its ID.
    primary: Option<(i32, Session)>,
}

impl Monitor<'_> {
    /// Records this standby every `monitor_interval_secs`, where it is wanted, for ever.
    pub(super) async fn write_history(&self) {
        let mut sessions = Sessions::default();
        let mut said = None;
        loop {
            let config = self.config();
            let is_standby = self.seen.borrow().role == Some(Role::Standby);
            if !config.monitoring_history || !is_standby {
                sessions = Sessions::default();
            } else if let Err(error) = self.record_standby(&mut sessions, &config).await {
                // What the server refuses it will refuse again: that is said once.
                let text = error.to_string();
                if error.kind == SqlErrorKind::Server && said.as_ref() != Some(&text) {
                    self.context.ui.message(
                        Level::Warning,
                        "could not write monitoring_history",
                        Some(&sentence(&text)),
                        None,
                    );
                    said = Some(text);
                }
                sessions = Sessions::default();
            }
            rest(config.monitor_interval_secs).await;
        }
    }

    async fn record_standby(&self, sessions: &mut Sessions, config: &Config) -> Result<(), SqlError> {
        if sessions.local.as_ref().is_none_or(Session::is_closed) {
            sessions.local = self.open_local().await.ok();
        }
        let leader = self.leader();
        let is_other = |id: i32| leader.is_some_and(|leader| leader != id);
        if sessions.primary.as_ref().is_none_or(|(id, session)| session.is_closed() || is_other(*id)) {
            sessions.primary = self.open_primary().await.map(|(row, session)| (row.node_id, session));
        }
        let (Some(local), Some((primary, there))) = (&sessions.local, &sessions.primary) else {
            return Ok(());
        };
        let sample = monitoring::sample(local).await?;
        there.transaction(&[monitoring::insert(*primary, config.node_id, &sample)]).await?;
        self.seen.borrow_mut().recorded = Some(Instant::now());
        Ok(())
    }
}
