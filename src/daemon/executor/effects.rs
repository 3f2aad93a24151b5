//! What the lease orders, done one after the other: files, locks, rows, the look at a promotion whose session has ended.

use std::time::Duration;

use pgbaton_fencer::protocol::Request;
use pgbaton_lease::driver::CommandLock;
use pgbaton_lease::{Action, Epoch, Event, Flag, Op, Stage};
use tokio::time::{Instant, sleep};

use super::Executor;
use crate::daemon::lease::{Order, Told, why};
use crate::daemon::{fencer, fencer_program, record, server, view};
use crate::error::sentence;
use crate::facts::daemon_flag::{self as flag, Promise};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::registry::lock;
use crate::system::files;
use crate::ui::Level;

impl Executor<'_> {
    pub(super) async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Act(Action::WriteFlag(flag, epoch)) => self.write_flag(flag, epoch).await,
            // Of a hand-over that has turned back meanwhile.
            Order::Act(Action::Stop(op) | Action::WriteSignal(op)) if !self.is_under_way(op) => {}
            Order::Act(Action::Stop(op)) => self.stop(op),
            Order::Act(Action::WriteSignal(op)) => match self.write_signal().await {
                Ok(()) => self.event(Event::Signalled(op)),
                Err(error) => {
                    self.signal_failed(
                        &error,
                        "The hand-over turns back: the server starts again as the primary.",
                    );
                    self.event(Event::Failed(op));
                }
            },
            Order::Act(Action::Scan(op)) => self.scan(op).await,
            Order::Act(Action::RemoveSignal(_)) => self.remove_signal().await,
            Order::Act(Action::BeStandby) => {
                if let Err(error) = self.write_signal().await {
                    self.signal_failed(&error, "The server is not started by this daemon.");
                }
            }
            Order::Act(Action::Fence(cause)) => {
                self.say(Level::Warning, &format!("the server is being stopped: {}", why(cause)));
                self.is_to_rejoin = false;
                // The fencer does it; where it cannot, this is what is left. Not later than it was decided: the server may be another one by then.
                let is_present = self.snapshot.borrow().as_ref().is_some_and(|known| known.state.lapsed);
                if !is_present {
                    return;
                }
                if let Err(error) = self.write_signal().await {
                    self.signal_failed(
                        &error,
                        "The server is stopped all the same, and the fencer ends what starts there.",
                    );
                }
                let data = self.config.data_directory.clone();
                let _ended = tokio::task::spawn_blocking(move || server::end(&data)).await;
                self.announce("node_fenced", true, why(cause).to_string());
            }
            Order::Act(_) => {}
            Order::WriteMembers(members, data, voters) => {
                let is_same = |(version, at): (_, Instant)| {
                    version == members.version && at.elapsed() < Duration::from_millis(500)
                };
                if self.members_written.is_some_and(is_same) {
                    return;
                }
                self.members_written = Some((members.version, Instant::now()));
                let row = record::MembersRow {
                    cluster_key: view::cluster_key(&self.belongs.system_identifier),
                    version: members.version,
                    data,
                    voters,
                };
                match record::write_members(self.context, &row).await {
                    Ok(()) => self.event(Event::MembersWritten(members)),
                    Err(error) => {
                        self.say(Level::Warning, &format!("could not record the members: {}", error.message));
                    }
                }
            }
            Order::ReadPeers => self.peers_read = None,
            Order::CheckPromotion(pid) => self.check_promotion(pid).await,
            Order::TakeCommandLock => {
                let taken = self.take_command_lock().await;
                self.tell(Told::CommandLock(if taken { CommandLock::Taken } else { CommandLock::Refused }));
                if !taken {
                    // The question is not asked again at once.
                    let told = self.told.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_secs(1)).await;
                        let _ended = told.send(Told::CommandLock(CommandLock::NotTried));
                    });
                }
            }
        }
    }

    /// Says whether a hand-over goes on, as far as the lease's thread has told: an order may have waited behind another one.
    fn is_under_way(&self, op: Op) -> bool {
        let known = self.snapshot.borrow();
        let present = known.as_ref().and_then(|known| known.state.hand_over);
        present.is_some_and(|present| present.op == op && present.stage != Stage::Back)
    }

    pub(super) fn signal_failed(&self, error: &anyhow::Error, state: &str) {
        let data = self.config.data_directory.display();
        self.context.ui.message(
            Level::Error,
            &format!("could not write standby.signal into \"{data}\""),
            Some(&format!("{} {state}", sentence(&format!("{error:#}")))),
            Some("Make room on that file system, or make it writable."),
        );
    }

    async fn write_flag(&mut self, flag: Flag, epoch: Epoch) {
        // A node that was reset, and takes part again, does so as every other.
        self.unbound &= flag == Flag::Full;
        let promise = Promise { flag, epoch, unbound: self.unbound };
        loop {
            let (state, belongs) = (self.state_directory.clone(), self.belongs.clone());
            let written = tokio::task::spawn_blocking(move || flag::save(&state, &belongs, promise)).await;
            match written {
                Ok(Ok(())) => break,
                Ok(Err(error)) => self.context.ui.message(
                    Level::Error,
                    "could not record the state of the daemon",
                    Some(&format!(
                        "{} It is tried again. Until then other nodes see the state of before, and this node is not promoted.",
                        sentence(&format!("{error:#}"))
                    )),
                    Some(&format!("Make room in \"{}\", or make it writable.", self.state_directory.display())),
                ),
                Err(error) => self.say(Level::Error, &error.to_string()),
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.say(Level::Notice, &format!("the daemon is {}", flag::name(flag)));
        self.tell(Told::FlagWritten);
    }

    pub(super) async fn write_signal(&self) -> anyhow::Result<()> {
        let path = self.config.data_directory.join(STANDBY_SIGNAL);
        tokio::task::spawn_blocking(move || match path.symlink_metadata() {
            Ok(_) => Ok(()),
            Err(_) => files::write(&path, b"", 0o600),
        })
        .await?
    }

    async fn remove_signal(&self) {
        let place = self.fencer_place();
        let removed = async {
            let mut stream = fencer::find_or_start(&place).await?;
            fencer::ask(&mut stream, Request::RemoveSignal).await
        };
        match removed.await {
            Ok(answer) if answer.is_done => {}
            Ok(_) => self.context.ui.message(
                Level::Warning,
                "the role is not taken back: the lease has ended",
                Some("standby.signal stays, and the server starts as a standby."),
                None,
            ),
            Err(error) => self.say(Level::Error, &format!("could not reach the fencer: {error}")),
        }
    }

    fn fencer_place(&self) -> fencer::Place {
        fencer::Place {
            program: fencer_program(),
            data: self.config.data_directory.clone(),
            runtime: self.runtime.clone(),
        }
    }

    /// Looks for processes in the data directory: one that was started by an earlier permission may be on its way.
    async fn scan(&self, op: Op) {
        for _ in 0..20 {
            let data = self.config.data_directory.clone();
            if tokio::task::spawn_blocking(move || server::is_empty(&data)).await.unwrap_or(false) {
                return self.event(Event::Scanned(op));
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.context.ui.message(
            Level::Warning,
            "the role is not handed over: a process still works in the data directory",
            Some("The server starts again as the primary."),
            None,
        );
        self.event(Event::Failed(op));
    }

    pub(super) async fn take_command_lock(&mut self) -> bool {
        if self.command_lock.as_ref().is_some_and(|(session, _)| !session.is_closed()) {
            return true;
        }
        let Ok(session) = self.context.connect_local().await else { return false };
        let key = lock::KEY.to_string();
        let row = session.query_one(lock::TRY_LOCK, &[Some(&key)]).await;
        let taken = row.is_ok_and(|row| row.get(0) == Some("true"));
        if taken {
            self.command_lock = Some((session, Instant::now()));
        }
        taken
    }

    /// What was asked in a session may be carried out after its client has left: its process is ended first.
    async fn check_promotion(&self, pid: Option<i32>) {
        let data = &self.config.data_directory;
        for _ in 0..100 {
            let Ok(session) = self.context.connect_local().await else {
                if server::is_empty(data) {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            if let Some(pid) = pid {
                let pid = pid.to_string();
                let ended = session
                    .query(
                        "SELECT pg_terminate_backend($1::int)::text FROM pg_stat_activity WHERE pid = $1::int",
                        &[Some(&pid)],
                    )
                    .await;
                if ended.is_ok_and(|rows| !rows.is_empty()) {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            let is_requested = || data.join("promote").symlink_metadata().is_ok();
            let first = is_requested();
            let in_recovery = async || {
                let row = session.query_one("SELECT pg_is_in_recovery()::text", &[]).await;
                row.ok().and_then(|row| row.get(0).map(|text| text == "true"))
            };
            let before = in_recovery().await;
            sleep(Duration::from_millis(100)).await;
            // Where replay could still be paused, no promotion is on its way.
            let going = session
                .query_one(
                    "SELECT CASE WHEN NOT pg_is_wal_replay_paused() THEN pg_wal_replay_resume() END::text",
                    &[],
                )
                .await;
            match (before, in_recovery().await) {
                (Some(true), Some(true)) if !first && !is_requested() && going.is_ok() => {
                    return self.event(Event::NotPromoted);
                }
                (_, Some(false)) => return,
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}
