//! The effects that change roles: signals to a postmaster, promotion, another upstream.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::Live;
use super::final_check::{FinalCheckResult, challenged};
use super::sessions::sql_failed;
use crate::assess::start::Asker;
use crate::error::{Error, Exit, sentence};
use crate::facts::directory::{postmaster_status, running_postmaster};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::observe::replication_login::receiver_conninfo;
use crate::observe::{next_start, peers};
use crate::pg::client::{Session, SqlError};
use crate::pg::conninfo::Conninfo;
use crate::pg::control_file::{self, ControlState};
use crate::pg::endpoint::{Endpoint, Upstream};
use crate::pg::history::TimelineId;
use crate::pg::quote::quote_literal;
use crate::plan::parts::{settings, standby};
use crate::plan::{FinalCheck, SignalRequest, Standby};
use crate::system::command::Command;
use crate::system::files;
use crate::ui::Level;

/// The pause between two looks at a server that is being promoted.
const LOOK: Duration = Duration::from_millis(4);

/// How long the readers of a slot may take to come to a new primary, and to bring its slot to where they are.
const READERS: Duration = Duration::from_secs(5);

/// Within what time a postmaster has seen a signal.
const SEEN: Duration = Duration::from_millis(300);

/// When the startup process is woken for the first time, and how often after that.
///
/// A standby whose primary has gone sleeps up to `wal_retrieve_retry_interval`, 5 s by default, before it sees the request. A reload
/// wakes it; one that is awake needs none.
const WAKE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(50));

/// Sends the postmaster of a data directory a signal, if one runs.
pub(crate) fn signal(data: &Path, request: SignalRequest) -> Result<(), Error> {
    let Some(pid) = running_postmaster(data).and_then(|pid| Pid::from_raw(pid.abs())) else { return Ok(()) };
    let signal = match request {
        SignalRequest::FastShutdown => Signal::INT,
        SignalRequest::ImmediateShutdown => Signal::QUIT,
        SignalRequest::Reload => Signal::HUP,
    };
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(Error::new(Exit::LocalCommand, "could not send a signal to the server").detail(
            format!("Process {} of data directory \"{}\": {error}.", pid.as_raw_nonzero(), data.display()),
        )),
    }
}

/// Whether a data directory is a standby's, by its control file.
pub(crate) fn is_standby(data: &Path) -> anyhow::Result<bool> {
    Ok(control_file::read(data)?.state == ControlState::InArchiveRecovery)
}

/// How long other nodes are asked, immediately before and after a server is started as a primary.
pub(super) const ASKING: Duration = Duration::from_secs(2);

async fn remove(path: PathBuf) -> Result<(), Error> {
    on_disk("remove standby.signal", move || files::remove_file(&path)).await
}

async fn write_signal(data: &Path) -> Result<(), Error> {
    let path = data.join(STANDBY_SIGNAL);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    on_disk("write standby.signal", move || files::write(&path, b"", 0o600)).await
}

/// Does what waits for the disk on a thread of its own, so that signals and the coordinator are heard meanwhile.
async fn on_disk(
    what: &str,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let failed =
        |why: String| Error::new(Exit::LocalCommand, format!("could not {what}")).detail(sentence(&why));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(format!("{error:#}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn not_a_primary(primary: &str, evidence: &str) -> Error {
    Error::new(Exit::SecondPrimary, primary)
        .detail(format!("{evidence} Its data directory has standby.signal: it starts as a standby only."))
        .hint("Run \"pgbaton cluster show\"; then, on the host of this node, \"pgbaton node rejoin\".")
}

impl Live<'_> {
    /// Promotes a standby and returns when it accepts writes. The step's deadline ends the wait.
    ///
    /// However young the facts are, this process may have been stopped since: so the other nodes are looked at once more, and the request
    /// goes over the very session that holds the server's lock. If that is gone, another command may have taken its place.
    pub(crate) async fn promote(
        &self,
        on: &Endpoint,
        command: Option<&Command>,
        look: Option<&FinalCheck>,
    ) -> Result<Option<String>, Error> {
        let Some(look) = look else {
            let mut error = Error::new(
                Exit::Promotion,
                "the journal does not record the state that the promotion was decided on",
            )
            .detail("It was written by version 0.1.0. The promotion was not requested.");
            error.no_effect = true;
            return Err(error);
        };
        let session = self.holder(look.node_id, on)?;
        let stopped = self.was_stopped();
        let look = FinalCheck { relock: look.relock || stopped, ..look.clone() };
        // The host of the old primary has confirmed that its server is down, and will not again of itself.
        let objection = if stopped { self.far_ends.objection().await } else { None };
        let seen = self.final_check(&look).await?;
        if let Some(why) = objection.or(seen.objection) {
            return Err(challenged(Exit::Promotion, &why));
        }
        let unanswered = seen.unanswered.join(", ");
        let note =
            (!unanswered.is_empty()).then(|| format!("promoted although {unanswered} did not respond"));
        match command {
            Some(command) => {
                session
                    .query_one("SELECT pg_catalog.pg_is_in_recovery()::text", &[])
                    .await
                    .map_err(|error| Error { no_effect: true, ..sql_failed(on, error) })?;
                self.run(command).await.map(drop)?;
            }
            None => {
                let asked = session.query_one("SELECT pg_catalog.pg_promote(false)::text", &[]).await;
                let row = asked.map_err(|error| sql_failed(on, error))?;
                if row.get(0) != Some("true") {
                    return Err(Error::new(
                        Exit::Promotion,
                        "the server did not accept the request for promotion",
                    ));
                }
            }
        }
        let asked = Instant::now();
        let mut wake = asked + WAKE.0;
        loop {
            let row = session
                .query_one("SELECT pg_catalog.pg_is_in_recovery()::text", &[])
                .await
                .map_err(|error| sql_failed(on, error))?;
            if row.get(0) == Some("false") {
                // It cannot be undone, but it is reported. A standby of this server may be on its new timeline already.
                let any = TimelineId(u32::MAX);
                if self.was_stopped()
                    && let Ok(FinalCheckResult { objection: Some(why), .. }) = self
                        .final_check(&FinalCheck {
                            relock: true,
                            timeline: any,
                            behind: Vec::new(),
                            ..look.clone()
                        })
                        .await
                {
                    self.context.ui.message(
                        Level::Warning,
                        &format!(
                            "{} was promoted, but another node is a primary too, or its promotion is requested",
                            on.name
                        ),
                        Some(&sentence(&why)),
                        Some("Run \"pgbaton cluster show\": it shows both sides."),
                    );
                }
                return Ok(note);
            }
            if Instant::now() >= wake {
                // Without the right to reload it takes longer, no more.
                let _ = session.query("SELECT pg_catalog.pg_reload_conf()::text", &[]).await;
                wake = Instant::now() + WAKE.1;
            }
            sleep(LOOK).await;
        }
    }

    /// Drops a failover slot that a former primary has kept. See [`crate::plan::Op::DropKeptSlot`]. Returns what to say where it stays.
    pub(crate) async fn drop_kept_slot(
        &self,
        on: &Endpoint,
        primary: &Endpoint,
        slot: &str,
    ) -> Result<Option<String>, Error> {
        const NEW: &str = "SELECT plugin::text, confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1 AND failover \
            AND slot_type = 'logical' AND NOT temporary AND invalidation_reason IS NULL AND wal_status <> 'lost'";
        // Everything is asked again in the statement that drops: a slot of the same name may have been made meanwhile.
        const DROP: &str = "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots WHERE slot_name = $1 AND failover \
            AND NOT synced AND NOT active AND plugin = $2 AND confirmed_flush_lsn <= $3::pg_lsn AND pg_is_in_recovery()";
        const KEPT: &str = "SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = $1 AND failover AND NOT synced";
        let begun = Instant::now();
        let (old, new) = (self.session(on).await?, self.session(primary).await?);
        let mut why;
        loop {
            let copies = new.query(NEW, &[Some(slot)]).await.map_err(|error| sql_failed(primary, error))?;
            why = match copies.first() {
                Some(copy) => {
                    let params = [Some(slot), copy.get(0), copy.get(1)];
                    old.execute(DROP, &params).await.map_err(|error| sql_failed(on, error))?;
                    "is behind it, or uses another plugin"
                }
                None => "has no usable failover slot of that name",
            };
            let kept = old.query_one(KEPT, &[Some(slot)]).await.map_err(|error| sql_failed(on, error))?;
            if kept.get(0) == Some("0") {
                self.keep_idle(on, old);
                self.keep_idle(primary, new);
                return Ok(None);
            }
            if copies.is_empty() || begun.elapsed() >= READERS {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.keep_idle(on, old);
        self.keep_idle(primary, new);
        Ok(Some(format!(
            "failover slot \"{slot}\" was kept on {}: the one on {} {why}. Slots are not synchronized there as long as it exists. If it is \
             no longer needed, run on {}: SELECT pg_drop_replication_slot({});",
            on.name,
            primary.name,
            on.name,
            quote_literal(slot)
        )))
    }

    /// Brings a server back as the primary that it was. See [`crate::plan::Op::RestartAsPrimary`].
    ///
    /// The state in `postmaster.pid` says how far it is: a postmaster writes `stopping` there as soon as it is asked to stop. Once the
    /// control file says that it was shut down there is nothing left to write, and before that a crash recovery makes it whole.
    pub(crate) async fn restart_as_primary(&self, data: &Path, start: &Command) -> Result<(), Error> {
        let asked = Instant::now();
        loop {
            while running_postmaster(data).is_some() {
                match postmaster_status(data).as_deref() {
                    // It was started by another command while `standby.signal` was there. It has nothing of its own to write.
                    Some("standby" | "ready") if is_standby(data).is_ok_and(|is_standby| is_standby) => {
                        signal(data, SignalRequest::ImmediateShutdown)?;
                    }
                    // A request to stop that was sent a moment ago may not have been seen yet.
                    Some("ready") if asked.elapsed() > SEEN => {
                        self.may_be_primary(data).await?;
                        return remove(data.join(STANDBY_SIGNAL)).await;
                    }
                    Some("stopping") => signal(data, SignalRequest::ImmediateShutdown)?,
                    // It is starting: another command was faster.
                    _ => {}
                }
                sleep(LOOK).await;
            }
            self.may_be_primary(data).await?;
            remove(data.join(STANDBY_SIGNAL)).await?;
            match self.run(start).await {
                // Another command was faster still; whether it runs as a primary has to be checked.
                Err(_) if running_postmaster(data).is_some() => {}
                said => {
                    said?;
                    return self.recheck(data).await;
                }
            }
        }
    }

    /// Asks the other nodes, from here and now, whether the server of this host may be a primary. If not, it stays a standby on the disk.
    pub(crate) async fn may_be_primary(&self, data: &Path) -> Result<(), Error> {
        let name = &self.context.config()?.node_name;
        let judged = peers::judge_local_server(self.context, Asker::Rollback, ASKING).await?;
        if judged.judgement.may.is_yes() {
            return Ok(());
        }
        write_signal(data).await?;
        Err(not_a_primary(
            &format!("node \"{name}\" was not made a primary again, because another node is ahead of it"),
            &judged.judgement.evidence(),
        ))
    }

    /// Looks once more after a start as a primary: what was asked before it may have changed meanwhile.
    async fn recheck(&self, data: &Path) -> Result<(), Error> {
        let name = &self.context.config()?.node_name;
        let judged = peers::judge_local_server(self.context, Asker::Rollback, ASKING).await;
        let Ok(judged) = judged else { return Ok(()) };
        if judged.other_primary().is_none() {
            return Ok(());
        }
        write_signal(data).await?;
        signal(data, SignalRequest::ImmediateShutdown)?;
        Err(not_a_primary(
            &format!("node \"{name}\" was stopped again, because another node is a primary"),
            &judged.judgement.evidence(),
        ))
    }

    /// Lets a server follow another upstream. Doing it twice changes nothing more.
    pub(crate) async fn follow(&self, standby: &Standby, upstream: &Upstream) -> Result<(), Error> {
        match standby {
            Standby::Running(on) => {
                let session = self.session(on).await?;
                self.follow_by_sql(&session, upstream).await.map_err(|error| sql_failed(on, error))?;
                self.keep_idle(on, session);
                Ok(())
            }
            Standby::Files { data_directory, postgres, config_directory } => {
                let program = Command::new(
                    postgres,
                    [
                        "-D",
                        &config_directory.as_ref().unwrap_or(data_directory).display().to_string(),
                        "-C",
                        "primary_conninfo",
                    ],
                );
                let said = self.run(&program).await?;
                let conninfo = self
                    .new_conninfo(said.trim_end_matches('\n'), upstream)
                    .map_err(|text| Error::new(Exit::Failed, text))?;
                let (data, config, slot) =
                    (data_directory.clone(), config_directory.clone(), upstream.slot.clone());
                let written = tokio::task::spawn_blocking(move || {
                    let mut set = vec![
                        ("primary_conninfo".to_string(), conninfo),
                        ("primary_slot_name".to_string(), slot.unwrap_or_default()),
                    ];
                    // Looked at once more where it is written: what was set since would promote the standby that this is to be.
                    let found = next_start::inspect_next_start(&data, config.as_deref());
                    set.extend(standby::cleared(&found.settings));
                    let path = data.join("postgresql.auto.conf");
                    let old = files::read(&path)?.unwrap_or_default();
                    files::rewrite(&path, &settings::rewrite(&old, &[], &set)?, found.file_mode)
                })
                .await;
                match written {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => {
                        Err(Error::new(Exit::LocalCommand, "could not write the replication settings")
                            .detail(sentence(&format!("{error:#}"))))
                    }
                    Err(error) => {
                        Err(Error::new(Exit::Internal, "writing the replication settings was aborted")
                            .detail(sentence(&error.to_string())))
                    }
                }
            }
        }
    }

    async fn follow_by_sql(&self, session: &Session, upstream: &Upstream) -> Result<(), SqlError> {
        let row = session
            .query_one(
                "SELECT pg_catalog.current_setting('primary_conninfo'), pg_catalog.current_setting('primary_slot_name')",
                &[],
            )
            .await?;
        let present = row.get(0).unwrap_or_default();
        let conninfo = self.new_conninfo(present, upstream).map_err(SqlError::answer)?;
        let slot = upstream.slot.clone().unwrap_or_default();
        // A password in it must not get into the server's log; the setting is the session's own and gone with it.
        if Conninfo::parse(&conninfo).is_ok_and(|parsed| parsed.get("password").is_some()) {
            let _ = session.batch("SET log_statement = 'none'; SET log_min_duration_statement = -1").await;
        }
        for (name, value) in [("primary_conninfo", &conninfo), ("primary_slot_name", &slot)] {
            session.execute(&format!("ALTER SYSTEM SET {name} = {}", quote_literal(value)), &[]).await?;
        }
        session.query_one("SELECT pg_catalog.pg_reload_conf()::text", &[]).await.map(drop)
    }

    /// Works out a server's new `primary_conninfo` from its present one.
    fn new_conninfo(&self, present: &str, upstream: &Upstream) -> Result<String, String> {
        let password = upstream.password.as_ref().map(|name| self.secret(name)).transpose();
        let password = password.map_err(|error| error.to_string())?;
        let config = self.context.config().map_err(|error| error.to_string())?;
        receiver_conninfo(config, present, upstream, password.as_ref()).map(|conninfo| conninfo.to_string())
    }
}
