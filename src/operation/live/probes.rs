//! The questions of a plan, each answered by its server, its directory or its host.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Live, final_check, roles};
use crate::error::{Error, Exit, PermanentError};
use crate::facts::directory::{is_ready, running_postmaster, stays_down};
use crate::facts::rejoin::is_half_rewound;
use crate::pg::control_file::{self, ControlState, ShutdownPosition};
use crate::pg::endpoint::Endpoint;
use crate::pg::failure::Answered;
use crate::pg::lsn::Lsn;
use crate::pg::statement::Statement;
use crate::pg::wal::Wal;
use crate::plan::Probe;
use crate::system::process;

/// How long a server that was silent is asked once more.
const LAST_QUESTION: Duration = Duration::from_secs(1);

/// The longest pause between two answers of which the second confirms the first.
const ASKED_AGAIN: Duration = Duration::from_secs(2);

/// Asks a standby whether its WAL reaches up to `$1`.
///
/// What was received says nothing of WAL that came from an archive, what was replayed nothing of WAL that waits.
const HAS_ALL: &str = "SELECT coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= $1::pg_lsn, false)::text";

impl Live<'_> {
    /// Answers a question. An error means that it is unknown.
    pub(super) async fn answer(&self, probe: &Probe) -> anyhow::Result<bool> {
        Ok(match probe {
            Probe::Sql { on, statement, .. } => self.is_true(on, statement).await?,
            Probe::Accepts { on, in_recovery } => self.accepts(on, *in_recovery).await?,
            Probe::NoPrimary { on } => self.is_no_primary(on).await?,
            Probe::Exists { path } => path.symlink_metadata().is_ok(),
            Probe::Ready { data_directory } => is_ready(data_directory),
            Probe::Stopped { data_directory } => running_postmaster(data_directory).is_none(),
            Probe::Runs { data_directory, in_recovery } => {
                running_postmaster(data_directory).is_some()
                    && roles::is_standby(data_directory)? == *in_recovery
            }
            Probe::ShutDown { data_directory } => self.is_shut_down(data_directory)?,
            Probe::StaysDown { data_directory } => stays_down(data_directory)?,
            Probe::Clean { data_directory } => matches!(
                control_file::read(data_directory)?.state,
                ControlState::ShutDown | ControlState::ShutDownInRecovery
            ),
            // Where a server may start again this was proven, and one that has started since leaves another state behind.
            Probe::Rewound { data_directory } => {
                !is_half_rewound(data_directory)
                    || control_file::read(data_directory)?.state == ControlState::InArchiveRecovery
            }
            Probe::CommitsAtMost { data_directory, timeline, switches, after, count } => {
                let wal = Wal::open(data_directory, *timeline, switches.clone(), None);
                commits_at_most(wal, *after, *count).await?
            }
            Probe::HasAll { on, node_id, data_directory } => {
                let Some(position) = self.shutdown_position(*node_id, data_directory).await? else {
                    return Ok(false);
                };
                let said = self.value_of(on, HAS_ALL, &[Some(&position.end.to_string())]).await?;
                said.as_deref() == Some("true")
            }
            Probe::Unchallenged { look } => {
                let seen = self.final_check(look).await.map_err(PermanentError)?;
                match seen.objection {
                    Some(why) => {
                        return Err(PermanentError(final_check::challenged(Exit::SecondPrimary, &why)).into());
                    }
                    None => true,
                }
            }
            Probe::Challenged { look } => {
                self.final_check(look).await.map_err(|error| anyhow::anyhow!("{error}"))?.objection.is_some()
            }
            Probe::Silent { on, seconds } => self.stays_silent(on, *seconds).await?,
            Probe::Lasts { seconds, probe } => {
                let holds = Box::pin(self.answer(probe)).await.unwrap_or(false);
                self.lasts(probe, holds) >= Duration::from_secs(u64::from(*seconds))
            }
            Probe::Any(probes) => {
                let mut any = false;
                for probe in probes {
                    any = any || Box::pin(self.answer(probe)).await.unwrap_or(false);
                }
                any
            }
            Probe::StaysStandby { on, data_directory } => self.stays_standby(on, data_directory).await?,
            Probe::Announced { on } => self.is_announced(on).await?,
            Probe::Not(inner) => !Box::pin(self.answer(inner)).await?,
            Probe::At { node_id, probe } => Box::pin(self.answer_at(*node_id, probe)).await?,
        })
    }

    /// Asks a server a question in SQL.
    async fn is_true(&self, on: &Endpoint, statement: &Statement) -> anyhow::Result<bool> {
        let statement = self.filled(statement).map_err(|error| anyhow::anyhow!("{error}"))?;
        let params: Vec<Option<&str>> = statement.params.iter().map(Option::as_deref).collect();
        Ok(matches!(self.value_of(on, &statement.text, &params).await?.as_deref(), Some("t" | "true")))
    }

    /// Asks a server whether it is in recovery; any answer is the right one where that is not asked for.
    async fn accepts(&self, on: &Endpoint, in_recovery: Option<bool>) -> anyhow::Result<bool> {
        let said = self.value_of(on, "SELECT pg_is_in_recovery()::text", &[]).await?;
        Ok(in_recovery.is_none_or(|wanted| said.as_deref() == Some(if wanted { "true" } else { "false" })))
    }

    /// Says whether there is no primary of this cluster where a server was. An error that a server sends may be a primary's.
    async fn is_no_primary(&self, on: &Endpoint) -> anyhow::Result<bool> {
        let conninfo = self.conninfo(on).map_err(|error| anyhow::anyhow!("{error}"))?;
        match self.context.connect(&conninfo).await {
            Ok(session) => {
                let sql = "SELECT pg_is_in_recovery()::text, (pg_control_system()).system_identifier::text";
                let row = session.query_one(sql, &[]).await?;
                Ok(row.get(0) == Some("true") || row.get(1).is_some_and(|other| self.is_stranger(other)))
            }
            Err(error) if error.answered == Answered::Spoke => Err(error.into()),
            Err(_) => Ok(true),
        }
    }

    /// Says whether a server is shut down; fails with what the program has printed that was to do it.
    fn is_shut_down(&self, data_directory: &Path) -> anyhow::Result<bool> {
        let down = control_file::read(data_directory)?.state == ControlState::ShutDown;
        // If the wait times out, the output of its command is needed.
        if !down && let Some(why) = self.begun.borrow().as_ref().and_then(process::Spawned::failure) {
            anyhow::bail!("{why}");
        }
        Ok(down)
    }

    /// Asks a server for so many seconds; says whether it did not answer once.
    async fn stays_silent(&self, on: &Endpoint, seconds: u32) -> anyhow::Result<bool> {
        let conninfo = self.conninfo(on).map_err(|error| anyhow::anyhow!("{error}"))?;
        let bound = Duration::from_secs(u64::from(seconds)).saturating_sub(LAST_QUESTION);
        // If this process was stopped meanwhile, its time is over before it reads an answer that has arrived.
        Ok(self.is_silent(on, &conninfo, bound).await && self.is_silent(on, &conninfo, LAST_QUESTION).await)
    }

    /// Says whether the beginning of this operation is recorded in the cluster.
    async fn is_announced(&self, on: &Endpoint) -> anyhow::Result<bool> {
        let id = self.operation.borrow().as_ref().map(|(id, ..)| id.clone()).unwrap_or_default();
        let sql = "SELECT EXISTS (SELECT FROM pgbaton.operation WHERE operation_id = $1)::text";
        Ok(self.value_of(on, sql, &[Some(&id)]).await?.as_deref() == Some("true"))
    }

    /// Lets the host of a node answer.
    async fn answer_at(&self, node_id: i32, probe: &Probe) -> anyhow::Result<bool> {
        // A channel that was not opened for this run will not be.
        let host = self.hosts.borrow().get(&node_id).map(Rc::clone);
        let remote = match &host {
            Some(host) => Some(host.as_ref()),
            None => self.far_end_of(Some(node_id)).map_err(PermanentError)?,
        };
        match remote {
            None => self.answer(probe).await,
            Some(remote) => {
                let secrets = self.secrets.borrow().clone();
                let mode = self.far_ends.mode();
                let said = remote.holds(probe, &secrets, mode).await;
                said.map_err(|error| remote.unanswered(error, mode))
            }
        }
    }

    /// Returns where the WAL of a server ends that was shut down cleanly; None for one that was not.
    async fn shutdown_position(
        &self,
        node_id: Option<i32>,
        data_directory: &Path,
    ) -> anyhow::Result<Option<ShutdownPosition>> {
        match self.far_end_of(node_id)? {
            None => control_file::shutdown_position(data_directory),
            Some(remote) => {
                let mode = self.far_ends.mode();
                let said = remote.shutdown_position(data_directory, mode).await;
                said.map_err(|error| remote.unanswered(error, mode))
            }
        }
    }

    /// Takes note of an answer, and returns for how long it has been yes. A question that was left for a while begins again.
    fn lasts(&self, probe: &Probe, holds: bool) -> Duration {
        let mut lasting = self.lasting.borrow_mut();
        let now = Instant::now();
        if !holds {
            lasting.remove(&probe.to_string());
            return Duration::ZERO;
        }
        let entry = lasting.entry(probe.to_string()).or_insert((now, now));
        if now - entry.1 > ASKED_AGAIN {
            entry.0 = now;
        }
        entry.1 = now;
        now - entry.0
    }
}

/// Counts the transactions that were committed after a position; more than `count` are a reason to give up.
async fn commits_at_most(wal: anyhow::Result<Wal>, after: Lsn, count: u64) -> anyhow::Result<bool> {
    // It may be much, and takes a thread of its own.
    let read = move || wal?.stretch(after, after);
    match tokio::task::spawn_blocking(read).await?? {
        Ok(stretch) if stretch.commits <= count => Ok(true),
        // There will not be fewer.
        Ok(stretch) => {
            let primary = "more transactions were committed here before the server was stopped";
            let error = Error::new(Exit::DataLoss, primary).detail(format!(
                "{} transactions were committed after {after}; the check before the shutdown counted {count}. None of them is discarded.",
                stretch.commits
            ));
            Err(PermanentError(error).into())
        }
        Err(segment) => anyhow::bail!("WAL segment \"{segment}\" no longer exists"),
    }
}
