//! What follows from the state of the server and the lease: a start, a hand-over, a return as a standby, another upstream.

use std::time::Duration;

use pgbaton_lease::driver::CommandLock;
use pgbaton_lease::{Ask, Epoch, Flag, Server, Stage};
use tokio::time::Instant;

use super::programs::Purpose;
use super::{AGAIN, Executor};
use crate::config::value::{OnCleanStop, RejoinAutomatically};
use crate::daemon::lease::{Told, now};
use crate::daemon::monitor::Happened;
use crate::daemon::record::Recorded;
use crate::daemon::snapshot::Snapshot;
use crate::daemon::{record, server};
use crate::facts::directory::running_postmaster;
use crate::observe::daemons::{is_own, own_op};
use crate::pg::control_file::{self, ControlState};
use crate::ui::Level;

/// How long a standby may be without its upstream before it is given another one.
const DETACHED: Duration = Duration::from_secs(2);

/// How long the WAL receiver is given to come back to the upstream that it has.
const RETRIES: Duration = Duration::from_secs(15);

impl Executor<'_> {
    pub(super) async fn reconcile(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        self.keep_command_lock(snapshot);
        self.read_peers(snapshot).await;
        if self.last != Some(state.server) {
            if state.server == Server::Primary {
                self.is_to_record = true;
            }
            self.last = Some(state.server);
        }
        if !state.members.data.has(state.me) {
            return;
        }
        self.be_withheld(snapshot).await;
        self.begin_or_clear(snapshot).await;
        self.be_readmitted(snapshot).await;
        match state.server {
            Server::Down { .. } => self.is_down(snapshot).await,
            _ => self.down_since = None,
        }
        match state.server {
            Server::Primary if snapshot.leads() => {
                if self.is_to_record {
                    self.record_new_primary(snapshot).await;
                }
                self.follow_registrations(snapshot);
                self.copy_to_witnesses(snapshot).await;
                self.end_a_hung_server(snapshot).await;
            }
            // Nothing but the members is looked after in a pause.
            Server::Primary if state.flag == Flag::Full => {
                self.follow_registrations(snapshot);
                self.copy_to_witnesses(snapshot).await;
            }
            Server::Standby if !state.requested && state.candidacy.is_none() => self.attach(snapshot),
            _ => self.detached_since = None,
        }
    }

    /// Records the new primary, and announces how it has become that: by a hand-over that was asked for, or by a failover.
    async fn record_new_primary(&mut self, snapshot: &Snapshot) {
        let recorded = record::new_primary(self.context, self.config).await;
        self.is_to_record = recorded == Recorded::Failed;
        let given = snapshot.given.filter(|op| Some(*op) != self.given);
        if recorded != Recorded::Failed {
            self.given = snapshot.given;
        }
        let Recorded::Now(former) = recorded else { return };
        let text = format!("node \"{}\" is the primary now", self.config.node_name);
        self.say(Level::Notice, &text);
        let event = match given {
            Some(op) if !is_own(op) => "standby_switchover",
            _ => "repmgrd_failover_promote",
        };
        let before = former.as_ref().map(|row| format!("; before it was \"{}\"", row.node_name));
        let happened = Happened::new(event, true, format!("{text}{}", before.unwrap_or_default()));
        self.announcer.announce(happened.about(former.as_ref().map(Into::into)));
    }

    /// Announces that this node follows another one by a command of the daemon.
    pub(super) fn announce_follow(&self) {
        let leader = self.leader.and_then(|leader| i32::try_from(leader).ok());
        let row = self.rows.iter().find(|row| Some(row.node_id) == leader);
        let config = self.config;
        let whom = row.map(|row| format!(" \"{}\" (ID: {})", row.node_name, row.node_id));
        let details = format!(
            "node \"{}\" (ID: {}) now following new upstream node{}",
            config.node_name,
            config.node_id,
            whom.unwrap_or_default()
        );
        let happened = Happened::new("repmgrd_failover_follow", true, details);
        self.announcer.announce(happened.about(row.map(Into::into)));
    }

    /// Gives the lock of commands back, once it has done its work.
    fn keep_command_lock(&mut self, snapshot: &Snapshot) {
        if self.flag != Some(snapshot.state.flag) {
            self.flag = Some(snapshot.state.flag);
            if let Some((_, since)) = &mut self.command_lock {
                *since = Instant::now();
            }
        }
        let is_over = self.command_lock.as_ref().is_some_and(|(session, since)| {
            session.is_closed() || since.elapsed() > self.keep_lock && snapshot.state.flag != Flag::Ending
        });
        if is_over {
            self.command_lock = None;
            self.tell(Told::CommandLock(CommandLock::NotTried));
        }
    }

    /// The first start of a cluster, which is the end of a pause that no command began; and the end of any pause at the leader, once it is armed.
    async fn begin_or_clear(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        if !self.is_automatic {
            return;
        }
        let voters = state.members.voters.count();
        if state.flag == Flag::Full && state.epoch == Epoch::default() && state.server == Server::Primary {
            if voters < 3 {
                let why = "there is no automatic failover: the cluster has fewer than three nodes that vote";
                if self.said_why_not != Some(why) {
                    self.context.ui.message(
                        Level::Warning,
                        why,
                        Some("With two, the loss of either one would stop the primary."),
                        Some("Register a witness or another standby."),
                    );
                    self.said_why_not = Some(why);
                }
                return;
            }
            if state.votes_held() >= state.majority() && self.take_command_lock().await {
                self.tell(Told::Ask(0, Ask::Ending(Epoch::default(), true)));
            }
        }
        if state.flag == Flag::Ending
            && state.server == Server::Primary
            && snapshot.leads()
            && state.members_are_committed()
            && self.take_command_lock().await
        {
            let clear = Ask::Clear { armed: Some(state.epoch), ended: None, locked: true };
            // Of no operation: the command that ends the pause waits for another answer.
            self.tell(Told::Ask(0, clear));
        }
    }

    /// A node without a state of its own, which was added later or has lost it, takes part once the leader has raised its number above all others.
    async fn be_readmitted(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let own = snapshot.id(state.me);
        let Some(leader) = snapshot.leader.filter(|leader| Some(*leader) != own) else { return };
        let is_due = self.asked_in.is_none_or(|at| at.elapsed() > AGAIN);
        if !self.is_automatic || state.flag != Flag::New || state.server != Server::Standby || !is_due {
            return;
        }
        self.asked_in = Some(Instant::now());
        match record::ask_to_be_readmitted(self.context, leader).await {
            Ok(epoch) => self.tell(Told::Ask(epoch.op, Ask::Readmit(epoch))),
            Err(error) => {
                self.say(
                    Level::Notice,
                    &format!("node {leader} has not readmitted this node yet: {error:#}"),
                );
            }
        }
    }

    /// Brings this node back to the leader, as far as the daemon may by itself.
    fn rejoin(&mut self) {
        match self.config.rejoin_automatically {
            RejoinAutomatically::Never => {
                let why = "this node was a primary, or has diverged, and is left as it is: rejoin_automatically is \"never\"";
                if self.said_why_not != Some(why) {
                    self.said_why_not = Some(why);
                    self.context.ui.message(
                        Level::Warning,
                        why,
                        None,
                        Some("Run \"pgbaton node rejoin\" on this node."),
                    );
                }
            }
            // Without consent: what only this node has is not discarded.
            RejoinAutomatically::Lossless => self.start_child(Purpose::Rejoin, &["node", "rejoin"]),
            // What is discarded is kept aside.
            RejoinAutomatically::Always => {
                self.start_child(Purpose::Rejoin, &["node", "rejoin", "--force-rewind"]);
            }
        }
    }

    async fn is_down(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let since = *self.down_since.get_or_insert_with(Instant::now);
        let data = &self.config.data_directory;
        let control = control_file::read(data).ok().map(|control| control.state);
        if let Some(hand_over) = state.hand_over {
            if hand_over.stage == Stage::Stopped {
                // After a crash it is not known where the WAL ends; the best standby is what there is.
                let position = control_file::shutdown_position(data).ok().flatten();
                self.tell(Told::Shutdown(position.map_or(0, |position| position.end.0)));
            }
            return;
        }
        // The server is to stay down, and the role is being handed over.
        if self.ends.get() || Instant::now() < self.not_before {
            return;
        }
        let gone = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let leads = state.may_start_as_primary(now());
        // Stopped cleanly it has no reason to wait for, if that is what is wanted.
        let is_handed_over =
            control == Some(ControlState::ShutDown) && self.config.on_clean_stop == OnCleanStop::HandOver;
        if leads
            && (gone >= self.restart_ms || is_handed_over)
            && state.flag == Flag::Active
            && let Some(heir) = snapshot.heir
            && let Some((place, _)) = snapshot.ids.iter().find(|(_, id)| **id == heir)
        {
            // A start that goes on for too long is given up, whatever of it runs already.
            if let Some((Purpose::Start, child)) = &self.child {
                child.abort();
                self.child = None;
            }
            let directory = data.clone();
            let _ended =
                tokio::task::spawn_blocking(move || server::is_empty(&directory) || server::end(&directory))
                    .await;
            self.say(Level::Notice, &format!("the server is down: handing over to node {heir}"));
            self.tell(Told::Ask(own_op(), Ask::HandOver(*place)));
            self.not_before = Instant::now() + Duration::from_secs(1);
            return;
        }
        // What is starting already needs no help.
        if self.child.is_some() || running_postmaster(data).is_some() {
            return;
        }
        if leads {
            if control == Some(ControlState::ShutDown) && gone < self.restart_ms {
                // It was stopped cleanly, and the administrator is given the time to start it again.
                return;
            }
            self.start_child(Purpose::Start, &["node", "start"]);
        } else if state.must_return_as_standby(now())
            && (self.is_returning
                || control.is_some_and(|control| {
                    !matches!(control, ControlState::ShutDownInRecovery | ControlState::InArchiveRecovery)
                }))
        {
            if let Err(error) = self.write_signal().await {
                return self.signal_failed(&error, "The server stays down.");
            }
            self.is_returning = true;
            // It was a primary, and may have WAL that the next one lacks. As a standby it would send that to those who still follow it; so it
            // is rejoined to the next primary before it starts, and waits until there has to be one.
            self.is_to_rejoin = true;
            let own = snapshot.id(state.me);
            if snapshot.leader.is_some_and(|leader| Some(leader) != own) {
                self.rejoin();
            } else if gone >= self.successor_ms {
                self.start_child(Purpose::Start, &["node", "start"]);
            }
        }
    }

    /// Attaches a standby that has lost its upstream to the leader.
    fn attach(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let own = snapshot.id(state.me);
        let Some(leader) = snapshot.leader.filter(|leader| Some(*leader) != own) else {
            self.detached_since = None;
            return;
        };
        // A standby of the old leader follows the new one, also where the old one has come back as a standby and sends again. One that follows
        // a standby stays with it.
        if self.leader.is_some_and(|before| before != leader && self.upstream == i32::try_from(before).ok()) {
            self.is_to_follow = true;
        }
        self.leader = Some(leader);
        if self.upstream == i32::try_from(leader).ok() {
            self.is_to_follow = false;
        }
        let is_attached = snapshot.silent.is_some() && !self.is_to_follow;
        if is_attached {
            self.is_returning = false;
        }
        if is_attached || matches!(state.flag, Flag::Full | Flag::New) || state.ready.is_some() {
            self.detached_since = None;
            return;
        }
        let since = *self.detached_since.get_or_insert_with(Instant::now);
        // A receiver that has lost its own upstream tries again by itself, every few seconds.
        let patience = if self.is_to_follow {
            Duration::ZERO
        } else if self.upstream == i32::try_from(leader).ok() {
            RETRIES
        } else {
            DETACHED
        };
        if since.elapsed() < patience || self.child.is_some() || Instant::now() < self.not_before {
            return;
        }
        if self.is_to_rejoin {
            self.rejoin();
        } else {
            self.start_child(
                Purpose::Follow,
                &["standby", "follow", "--upstream-node-id", &leader.to_string()],
            );
        }
    }

    /// A server that hangs would keep its lease for ever: it is ended, and comes back in place, or another one takes over.
    async fn end_a_hung_server(&self, snapshot: &Snapshot) {
        let silent = snapshot.answered.map_or(0, |at| now().since(at));
        if silent <= self.lease_ms || self.child.is_some() {
            return;
        }
        self.say(
            Level::Warning,
            &format!("the server has not answered for {silent} ms, although it runs: it is ended"),
        );
        let data = self.config.data_directory.clone();
        let _ended = tokio::task::spawn_blocking(move || server::end(&data)).await;
    }
}
