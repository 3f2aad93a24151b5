//! The own server and the upstream, checked every `monitor_interval_secs`.

use std::time::Duration;

use tokio::time::Instant;

use super::{Monitor, Role, named, rest};
use crate::config::Config;
use crate::config::value::ConnectionCheck;
use crate::error::{Error, Exit};
use crate::pg::client::Session;
use crate::pg::failure::{Answered, ConnectError, Kind};
use crate::registry::{NodeRow, NodeType, node};
use crate::ui::Level;

/// A server that is checked again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// It has not answered since.
    lost: Option<Instant>,
    /// The attempts to reach it again are used up since.
    degraded: Option<Instant>,
}

/// What a check has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It does not answer any more.
    Lost,
    /// The attempts are used up.
    Degraded,
    /// It answers again, after this time.
    Back(Duration),
}

impl Link {
    /// Takes note of a check; `patience` is how long a lost server is tried before monitoring is degraded.
    pub(super) fn checked(&mut self, answers: bool, now: Instant, patience: Duration) -> Option<Change> {
        if answers {
            let lost = self.lost.take();
            self.degraded = None;
            return lost.map(|since| Change::Back(now.duration_since(since)));
        }
        let Some(since) = self.lost else {
            self.lost = Some(now);
            return Some(Change::Lost);
        };
        if self.degraded.is_none() && now.duration_since(since) >= patience {
            self.degraded = Some(now);
            return Some(Change::Degraded);
        }
        None
    }

    /// Says whether degraded monitoring has lasted for longer than it may. As in repmgrd, 0 is no limit either.
    pub(super) fn exceeds(&self, limit: Option<Duration>, now: Instant) -> bool {
        let limit = limit.filter(|limit| !limit.is_zero());
        let lasted = self.degraded.map(|since| now.duration_since(since));
        limit.zip(lasted).is_some_and(|(limit, lasted)| lasted >= limit)
    }

    /// Says whether monitoring is degraded.
    pub(super) fn is_degraded(&self) -> bool {
        self.degraded.is_some()
    }

    /// Says whether it answered last.
    pub(super) fn answers(&self) -> bool {
        self.lost.is_none()
    }
}

/// How long a lost server is tried.
fn patience(config: &Config) -> Duration {
    config.reconnect_interval * config.reconnect_attempts
}

/// A server that says why it rejects a session is up, unless it starts or stops.
fn is_up(error: &ConnectError) -> bool {
    error.answered == Answered::Spoke && !matches!(error.kind, Kind::StartingUp | Kind::ShuttingDown)
}

fn refused_but_up(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ConnectError>().is_some_and(is_up)
}

impl Monitor<'_> {
    /// Checks the own server, for ever; returns when monitoring was degraded for too long.
    pub(super) async fn check_local(&self) -> Error {
        let mut session = None;
        loop {
            let answers = self.ask_local(&mut session).await;
            let config = self.config();
            let now = Instant::now();
            let (change, role, is_over) = {
                let mut seen = self.seen.borrow_mut();
                let change = seen.local.checked(answers, now, patience(&config));
                (change, seen.role, seen.local.exceeds(config.degraded_monitoring_timeout, now))
            };
            if let Some(change) = change {
                self.local_has_changed(change, role, &config);
            }
            if is_over {
                return self.is_degraded_for_too_long(&config);
            }
            rest(config.monitor_interval_secs).await;
        }
    }

    /// Asks the own server what it is, and reads the nodes. A session that is gone is opened again.
    async fn ask_local(&self, session: &mut Option<Session>) -> bool {
        if session.as_ref().is_none_or(Session::is_closed) {
            *session = match self.open_local().await {
                Ok(opened) => Some(opened),
                Err(error) => return refused_but_up(&error),
            };
        }
        let Some(open) = session.as_ref() else { return false };
        let Ok(row) = open.query_one("SELECT pg_is_in_recovery()::text", &[]).await else {
            *session = None;
            return false;
        };
        let role = match row.get(0) {
            _ if self.is_witness => Role::Witness,
            Some("true") => Role::Standby,
            _ => Role::Primary,
        };
        self.seen.borrow_mut().role = Some(role);
        if let Ok(rows) = node::read_all(open).await
            && !rows.is_empty()
        {
            *self.rows.borrow_mut() = rows;
        }
        true
    }

    fn local_has_changed(&self, change: Change, role: Option<Role>, config: &Config) {
        let whom = format!("\"{}\" (ID: {})", config.node_name, config.node_id);
        let (lost, back) = match role {
            Some(Role::Standby) => ("standby_failure", "standby_recovery"),
            _ => ("repmgrd_local_disconnect", "repmgrd_local_reconnect"),
        };
        match change {
            Change::Lost => {
                let text = format!("unable to connect to local node {whom}");
                self.say(Level::Warning, &text);
                self.announce(lost, false, text);
            }
            Change::Degraded => self.say(
                Level::Warning,
                &format!(
                    "local node {whom} has not responded for {} s: degraded monitoring",
                    patience(config).as_secs()
                ),
            ),
            Change::Back(after) => {
                let text = format!("reconnected to local node {whom} after {} seconds", after.as_secs());
                self.say(Level::Notice, &text);
                self.announce(back, true, text);
            }
        }
    }

    /// The node that this one is registered to follow; else the primary.
    pub(super) fn upstream_row(&self) -> Option<NodeRow> {
        let own_id = self.config().node_id;
        let own = self.row(own_id);
        // The record of a former primary is out of date until it streams.
        let named = own
            .filter(|own| own.node_type != NodeType::Primary)
            .and_then(|own| own.upstream_node_id)
            .filter(|id| *id != own_id)
            .and_then(|id| self.row(id));
        named.or_else(|| self.leader().filter(|leader| *leader != own_id).and_then(|id| self.row(id)))
    }

    /// Checks the upstream, for ever; returns when monitoring was degraded for too long.
    pub(super) async fn check_upstream(&self) -> Error {
        let mut session: Option<Session> = None;
        loop {
            let config = self.config();
            let role = self.seen.borrow().role;
            let upstream =
                self.upstream_row().filter(|_| matches!(role, Some(Role::Standby | Role::Witness)));
            if let Some(row) = upstream {
                let is_other = self.seen.borrow().upstream.is_none_or(|(id, _)| id != row.node_id);
                if is_other {
                    session = None;
                    self.seen.borrow_mut().upstream = Some((row.node_id, Link::default()));
                    self.say(Level::Notice, &format!("monitoring upstream node {}", named(&row)));
                }
                let answers = self.ask_upstream(&row, &mut session, &config).await;
                // Meanwhile it may have become another one: then nothing follows from this check.
                let is_present = self.upstream_row().is_some_and(|present| present.node_id == row.node_id);
                if is_present && self.upstream_was_checked(&row, answers, &config) {
                    return self.is_degraded_for_too_long(&config);
                }
            } else {
                session = None;
                self.seen.borrow_mut().upstream = None;
            }
            rest(config.monitor_interval_secs).await;
        }
    }

    async fn ask_upstream(&self, row: &NodeRow, session: &mut Option<Session>, config: &Config) -> bool {
        match config.connection_check_type {
            ConnectionCheck::Ping => match self.open(row).await {
                Ok(_) => true,
                Err(error) => refused_but_up(&error),
            },
            ConnectionCheck::Connection => self.open(row).await.is_ok(),
            ConnectionCheck::Query => {
                if session.as_ref().is_none_or(Session::is_closed) {
                    *session = self.open(row).await.ok();
                }
                let Some(open) = session.as_ref() else { return false };
                let wait = config.async_query_timeout.max(Duration::from_secs(1));
                let answers = open.within(wait).query(&config.connection_check_query, &[]).await.is_ok();
                if !answers {
                    *session = None;
                }
                answers
            }
        }
    }

    /// Takes note of a check; returns whether monitoring was degraded for too long.
    fn upstream_was_checked(&self, row: &NodeRow, answers: bool, config: &Config) -> bool {
        let now = Instant::now();
        let (change, is_over) = match &mut self.seen.borrow_mut().upstream {
            Some((id, link)) if *id == row.node_id => (
                link.checked(answers, now, patience(config)),
                link.exceeds(config.degraded_monitoring_timeout, now),
            ),
            _ => return false,
        };
        let announce = |event: &'static str, successful: bool, text: String| {
            let happened = super::Happened::new(event, successful, text);
            self.announcer.announce(happened.about(Some(row.into())));
        };
        match change {
            Some(Change::Lost) => {
                let text = format!("unable to connect to upstream node {}", named(row));
                self.say(Level::Warning, &text);
                announce("repmgrd_upstream_disconnect", false, text);
            }
            Some(Change::Degraded) => self.say(
                Level::Warning,
                &format!(
                    "upstream node {} has not responded for {} s: degraded monitoring",
                    named(row),
                    patience(config).as_secs()
                ),
            ),
            Some(Change::Back(after)) => {
                let text = format!(
                    "reconnected to upstream node {} after {} seconds, resuming monitoring",
                    named(row),
                    after.as_secs()
                );
                self.say(Level::Notice, &text);
                announce("repmgrd_upstream_reconnect", true, text);
            }
            None => {}
        }
        is_over
    }

    fn is_degraded_for_too_long(&self, config: &Config) -> Error {
        let limit = config.degraded_monitoring_timeout.unwrap_or_default().as_secs();
        let text = format!("degraded monitoring timeout ({limit} seconds) exceeded, terminating");
        self.announce("repmgrd_shutdown", false, text);
        let error = Error::new(Exit::Monitoring, "the daemon ends: monitoring was degraded for too long")
            .detail(format!("degraded_monitoring_timeout is {limit} s."))
            .hint(
                "Start the daemon again once the servers respond, or set degraded_monitoring_timeout to -1.",
            );
        match self.is_automatic && !self.is_witness {
            true => error.detail(format!(
                "degraded_monitoring_timeout is {limit} s. Without its daemon this node takes no part in a failover."
            )),
            false => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transition_is_reported_once() {
        let mut link = Link::default();
        let begun = Instant::now();
        let second = |n: u64| begun + Duration::from_secs(n);
        let patience = Duration::from_secs(5);
        let mut check = |answers: bool, at: u64| link.checked(answers, second(at), patience);
        assert_eq!(check(true, 0), None);
        assert_eq!(check(false, 1), Some(Change::Lost));
        assert_eq!(check(false, 2), None);
        assert_eq!(check(true, 3), Some(Change::Back(Duration::from_secs(2))));
        assert_eq!(check(true, 4), None);
        assert_eq!(check(false, 10), Some(Change::Lost));
        assert_eq!(check(false, 15), Some(Change::Degraded));
        assert_eq!(check(false, 16), None);
        assert_eq!(check(true, 20), Some(Change::Back(Duration::from_secs(10))));
    }

    #[test]
    fn the_limit_counts_from_the_moment_of_degradation() {
        let mut link = Link::default();
        let begun = Instant::now();
        let second = |n: u64| begun + Duration::from_secs(n);
        let limit = Some(Duration::from_secs(10));
        for at in [0, 5, 6] {
            link.checked(false, second(at), Duration::from_secs(5));
        }
        assert!(link.is_degraded() && !link.answers());
        assert!(!link.exceeds(limit, second(14)));
        assert!(link.exceeds(limit, second(15)));
        assert!(!link.exceeds(None, second(1000)));
        link.checked(true, second(20), Duration::from_secs(5));
        assert!(!link.exceeds(limit, second(1000)));
    }
}
