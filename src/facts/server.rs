//! What one server reports.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::facts::aside::Written;
use crate::facts::lineage::{self, Lineage};
use crate::pg::client::{Session, SqlError, SqlErrorKind};
use crate::pg::conninfo::Conninfo;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;

/// What one server reports, in one query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `server_version`, first word: `15.20`.
    pub version: String,
    /// `server_version_num`: 150020.
    pub version_num: u32,
    /// Of the data directory's cluster; all nodes of a replication cluster share it.
    pub system_identifier: String,
    /// `pg_postmaster_start_time()`; with the system identifier it identifies a running server.
    pub started_at: String,
    /// A standby, or a server that recovers from a crash.
    pub in_recovery: bool,
    /// The timeline that is written (primary) or received or replayed (standby).
    pub timeline: TimelineId,
    /// End of the WAL written; None in recovery.
    pub current_lsn: Option<Lsn>,
    /// End of the WAL received and flushed by streaming since the start; None if there was none.
    pub receive_lsn: Option<Lsn>,
    /// End of the WAL replayed; None on a primary that never recovered.
    pub replay_lsn: Option<Lsn>,
    /// Seconds since the last replayed transaction was committed.
    pub last_replay_age_s: Option<f64>,
    /// Replay is paused; None on a primary.
    pub replay_paused: Option<bool>,
    /// `recovery_min_apply_delay` in seconds.
    #[serde(default)]
    pub apply_delay_s: f64,
    /// A promotion was requested and has not happened: the file `promote` is in its data directory. None on a primary, and where the role
    /// may not see it.
    #[serde(default)]
    pub promotion_requested: Option<bool>,
    /// `standby.signal` is in its data directory: its next start is that of a standby. None where the role may not see it.
    #[serde(default)]
    pub standby_signal: Option<bool>,
    /// Settings that must not be lower on a standby than on its primary, by name.
    #[serde(default)]
    pub recovery_limits: Vec<(String, i64)>,
    /// It has a recovery target: it ends its recovery there, or waits.
    #[serde(default)]
    pub has_recovery_target: bool,
    /// `wal_receiver_status_interval` and `wal_receiver_timeout` in seconds; 0 for never.
    #[serde(default)]
    pub receiver_times_s: (f64, f64),
    /// How many sessions clients have; asked for only where several servers accept writes.
    #[serde(default)]
    pub clients: Option<u64>,
    /// What it has written since it diverged from the others; asked for only there, too.
    #[serde(default)]
    pub written: Option<Written>,
    /// The WAL receiver, where one runs.
    pub receiver: Option<Receiver>,
    /// Servers that stream from this one.
    pub senders: Vec<Sender>,
    /// Replication slots.
    pub slots: Vec<Slot>,
    /// `synchronous_standby_names`.
    pub synchronous_standby_names: String,
    /// The physical slots that `synchronized_standby_slots` names (PostgreSQL 17 and later).
    #[serde(default)]
    pub synchronized_standby_slots: Vec<String>,
    /// `sync_replication_slots` is on (PostgreSQL 17 and later).
    #[serde(default)]
    pub sync_replication_slots: bool,
    /// `max_wal_senders`.
    pub max_wal_senders: i64,
    /// `max_replication_slots`.
    pub max_replication_slots: i64,
    /// `wal_segment_size` in bytes.
    pub wal_segment_bytes: u64,
    /// The role that was asked as.
    #[serde(default)]
    pub role: String,
    /// The role may see the states of other roles' replication connections.
    pub sees_senders: bool,
    /// The role may read files of the data directory by `pg_read_binary_file`.
    pub reads_files: bool,
    /// Which timelines this server's WAL comes from; read only where a timeline was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
}

/// A running WAL receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receiver {
    /// `streaming`, `waiting`, …; None where the role may not see it.
    pub status: Option<String>,
    /// Host that it connected to.
    pub sender_host: Option<String>,
    /// Port that it connected to.
    pub sender_port: Option<i32>,
    /// The slot that it uses.
    pub slot_name: Option<String>,
    /// Seconds since it last had a message; None where the role may not see it.
    #[serde(default)]
    pub message_age_s: Option<f64>,
}

/// A row of `pg_stat_replication`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// What the standby calls itself.
    pub application_name: String,
    /// `streaming`, `catchup`, `backup`, …; None where the role may not see it.
    pub state: Option<String>,
    /// `async`, `sync`, `quorum`, `potential`.
    pub sync_state: Option<String>,
    /// Seconds from the flush here to the replay there, where measured lately.
    pub replay_lag_s: Option<f64>,
    /// Seconds since the standby last said how far it is; it does every `wal_receiver_status_interval`.
    #[serde(default)]
    pub reply_age_s: Option<f64>,
}

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Its name.
    pub slot_name: String,
    /// `physical` or `logical`.
    pub slot_type: String,
    /// A process uses it now.
    pub active: bool,
    /// Where the WAL that it keeps begins; None for a slot that keeps nothing yet.
    pub restart_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// Bytes of WAL that it keeps.
    pub retained_bytes: Option<i64>,
    /// Why the server has given it up, in its words: `wal_removed`, `idle_timeout`, …; None before PostgreSQL 16, and where it has not.
    #[serde(default)]
    pub invalidation_reason: Option<String>,
    /// The output plugin of a logical slot.
    #[serde(default)]
    pub plugin: Option<String>,
    /// Up to where the readers of a logical slot have confirmed what they got.
    #[serde(default)]
    pub confirmed_flush_lsn: Option<Lsn>,
    /// It goes with its session; on a standby: it is not synchronized yet.
    #[serde(default)]
    pub temporary: bool,
    /// Standbys are to keep copies of it (PostgreSQL 17 and later).
    #[serde(default)]
    pub failover: bool,
    /// It is a copy that the standby has made, or was one before this server was promoted (PostgreSQL 17 and later).
    #[serde(default)]
    pub synced: bool,
}

impl Slot {
    /// It is a logical slot that readers can use, and that lasts.
    pub fn is_usable_logical(&self) -> bool {
        self.slot_type == "logical" && !self.temporary && self.invalid().is_none()
    }

    /// Returns why the server has given it up, in its words.
    pub fn invalid(&self) -> Option<&str> {
        let lost = (self.wal_status.as_deref() == Some("lost")).then_some("wal_removed");
        self.invalidation_reason.as_deref().or(lost)
    }

    /// Returns why this slot of a standby would not take the place of a logical slot of the primary, after a promotion; None if it would.
    /// What is not known of the primary's slot is not compared.
    pub fn is_no_copy(&self, plugin: Option<&str>) -> Option<String> {
        if self.slot_type != "logical" {
            return Some(format!("a {} slot has the same name", self.slot_type));
        }
        if !self.synced {
            return Some("a slot of the same name exists that is not synchronized".to_string());
        }
        if let Some(reason) = self.invalid() {
            return Some(format!("its copy is invalid: {reason}"));
        }
        if self.temporary {
            return Some("its copy is not ready yet: it is still temporary".to_string());
        }
        match (&self.plugin, plugin) {
            (Some(here), Some(there)) if here != there => {
                Some(format!("the slot of the same name uses plugin \"{here}\", not \"{there}\""))
            }
            _ => None,
        }
    }

    /// It retains nothing, is not in use, and will never be usable again: the WAL that it retained was removed.
    pub fn is_lost(&self) -> bool {
        !self.active && self.slot_type == "physical" && self.wal_status.as_deref() == Some("lost")
    }
}

/// Everything that a server reports, on 13 to 18 as any role; what a role may not see comes as NULL.
///
/// Most of the time goes into what a fresh backend has to learn: each function, operator and type that is named costs it a look into the
/// catalogs, and each system view, join or subquery a plan. So the functions below the views are called directly, nothing is cast, and
/// what needs arithmetic comes as it is and is worked out here. The received position is read first and the replayed one last, so that a
/// standby that keeps up is never seen behind by what it replayed meanwhile.
const SERVER: &str = "SELECT json_build_object(\
   'receive_lsn', pg_last_wal_receive_lsn(), \
   'version', current_setting('server_version'), \
   'version_num', current_setting('server_version_num'), \
   'system_identifier', (pg_control_system()).system_identifier, \
   'started_at', pg_postmaster_start_time(), \
   'in_recovery', pg_is_in_recovery(), \
   'checkpoint_timeline', (pg_control_checkpoint()).timeline_id, \
   'recovery_timeline', (pg_control_recovery()).min_recovery_end_timeline, \
   'segment', CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_insert_lsn()) END, \
   'current_lsn', CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END, \
   'replay_paused', CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END, \
   'receiver', pg_stat_get_wal_receiver(), \
   'senders', ARRAY(SELECT json_build_object('sender', s, \
        'application_name', (pg_stat_get_activity(s.pid)).application_name) FROM pg_stat_get_wal_senders() s), \
   'slots', ARRAY(SELECT row_to_json(s) FROM pg_get_replication_slots() s), \
   'apply_delay', current_setting('recovery_min_apply_delay'), \
   'status_interval', current_setting('wal_receiver_status_interval'), \
   'receiver_timeout', current_setting('wal_receiver_timeout'), \
   'targets', ARRAY[current_setting('recovery_target'), current_setting('recovery_target_lsn'), \
        current_setting('recovery_target_name'), current_setting('recovery_target_time'), current_setting('recovery_target_xid')], \
   'limits', ARRAY[current_setting('max_connections'), current_setting('max_worker_processes'), \
        current_setting('max_prepared_transactions'), current_setting('max_locks_per_transaction')], \
   'synchronous_standby_names', current_setting('synchronous_standby_names'), \
   'synchronized_standby_slots', current_setting('synchronized_standby_slots', true), \
   'sync_replication_slots', current_setting('sync_replication_slots', true), \
   'max_wal_senders', current_setting('max_wal_senders'), \
   'max_replication_slots', current_setting('max_replication_slots'), \
   'wal_segment_size', current_setting('wal_segment_size'), \
   'role', current_user, \
   'sees_senders', pg_has_role('pg_read_all_stats', 'USAGE'), \
   'reads_files', has_function_privilege('pg_read_binary_file(text,bigint,bigint,boolean)', 'EXECUTE'), \
   'now', clock_timestamp(), \
   'last_replay', pg_last_xact_replay_timestamp(), \
   'replay_lsn', pg_last_wal_replay_lsn())";

/// The answer to [`SERVER`], as it comes.
#[derive(Deserialize)]
struct Answer {
    version: String,
    version_num: String,
    system_identifier: i64,
    started_at: String,
    in_recovery: bool,
    checkpoint_timeline: Option<u32>,
    recovery_timeline: Option<u32>,
    segment: Option<String>,
    current_lsn: Option<Lsn>,
    receive_lsn: Option<Lsn>,
    replay_lsn: Option<Lsn>,
    now: Timestamp,
    last_replay: Option<Moment>,
    replay_paused: Option<bool>,
    receiver: Option<RawReceiver>,
    senders: Vec<RawSender>,
    slots: Vec<RawSlot>,
    apply_delay: String,
    status_interval: String,
    receiver_timeout: String,
    targets: Vec<String>,
    limits: Vec<String>,
    synchronous_standby_names: String,
    synchronized_standby_slots: Option<String>,
    sync_replication_slots: Option<String>,
    max_wal_senders: String,
    max_replication_slots: String,
    wal_segment_size: String,
    role: String,
    sees_senders: bool,
    reads_files: bool,
}

/// A time as the server writes it. What a standby says of its clock may be no time at all.
#[derive(Deserialize)]
struct Moment(String);

impl Moment {
    /// Returns the seconds from then until now.
    fn age_s(&self, now: Timestamp) -> Option<f64> {
        Some(now.duration_since(self.0.parse().ok()?).as_secs_f64())
    }
}

/// What there is of a server that streams from this one.
#[derive(Deserialize)]
struct RawSender {
    sender: RawWalSender,
    application_name: String,
}

/// A row of `pg_stat_get_wal_senders()`: all columns but the first are NULL for a role that may not see it.
#[derive(Deserialize)]
struct RawWalSender {
    state: Option<String>,
    sync_state: Option<String>,
    /// An interval of hours, minutes and seconds: `00:00:00.000213`.
    replay_lag: Option<String>,
    reply_time: Option<Moment>,
}

/// A row of `pg_stat_get_wal_receiver()`; there is none where none runs.
#[derive(Deserialize)]
struct RawReceiver {
    received_tli: Option<u32>,
    last_msg_receipt_time: Option<Moment>,
    #[serde(flatten)]
    receiver: Receiver,
}

/// A row of `pg_get_replication_slots()`.
#[derive(Deserialize)]
struct RawSlot {
    slot_name: String,
    slot_type: String,
    active: bool,
    restart_lsn: Option<Lsn>,
    wal_status: Option<String>,
    /// From PostgreSQL 17 on.
    invalidation_reason: Option<String>,
    /// From PostgreSQL 16 on, which reports no reason: rows or wal_level, and no removed WAL.
    conflicting: Option<bool>,
    plugin: Option<String>,
    confirmed_flush_lsn: Option<Lsn>,
    temporary: bool,
    /// From PostgreSQL 17 on, as is the next.
    #[serde(default)]
    failover: bool,
    #[serde(default)]
    synced: bool,
}

/// Reads a list of names: PostgreSQL's own rules for lists of identifiers, of which slot names need only the comma and the quotes.
fn names_in(list: &str) -> Vec<String> {
    let names = list.split(',').map(|name| name.trim().trim_matches('"').to_string());
    names.filter(|name| !name.is_empty()).collect()
}

impl Answer {
    /// Works out what the server left to us; None where it said something that no server says.
    fn facts(self) -> Option<ServerFacts> {
        let timeline = match &self.segment {
            // The name of the segment that is written begins with the timeline.
            Some(segment) => u32::from_str_radix(segment.get(..8)?, 16).ok()?,
            None => {
                let received = self.receiver.as_ref().and_then(|receiver| receiver.received_tli);
                [received, self.checkpoint_timeline, self.recovery_timeline].into_iter().flatten().max()?
            }
        };
        let end = self.current_lsn.or_else(|| self.receive_lsn.max(self.replay_lsn));
        let slots = self.slots.into_iter().map(|slot| Slot {
            retained_bytes: end
                .zip(slot.restart_lsn)
                .map(|(end, start)| i64::try_from(end.0.saturating_sub(start.0)).unwrap_or(i64::MAX)),
            slot_name: slot.slot_name,
            slot_type: slot.slot_type,
            active: slot.active,
            plugin: slot.plugin,
            confirmed_flush_lsn: slot.confirmed_flush_lsn,
            temporary: slot.temporary,
            failover: slot.failover,
            synced: slot.synced,
            restart_lsn: slot.restart_lsn,
            wal_status: slot.wal_status,
            invalidation_reason: slot
                .invalidation_reason
                .or_else(|| (slot.conflicting == Some(true)).then(|| "conflicting".to_string())),
        });
        let senders = self.senders.into_iter().map(|RawSender { sender, application_name }| Sender {
            application_name,
            state: sender.state,
            sync_state: sender.sync_state,
            replay_lag_s: sender.replay_lag.as_deref().and_then(seconds),
            reply_age_s: sender.reply_time.and_then(|at| at.age_s(self.now)),
        });
        Some(ServerFacts {
            version: self.version.split(' ').next()?.to_string(),
            version_num: self.version_num.parse().ok()?,
            system_identifier: self.system_identifier.to_string(),
            started_at: self.started_at,
            in_recovery: self.in_recovery,
            timeline: TimelineId(timeline),
            current_lsn: self.current_lsn,
            receive_lsn: self.receive_lsn,
            replay_lsn: self.replay_lsn,
            last_replay_age_s: self.last_replay.and_then(|at| at.age_s(self.now)),
            replay_paused: self.replay_paused,
            apply_delay_s: duration_s(&self.apply_delay)?,
            promotion_requested: None,
            standby_signal: None,
            recovery_limits: LIMITS
                .iter()
                .zip(&self.limits)
                .filter_map(|(name, value)| Some(((*name).to_string(), value.parse().ok()?)))
                .chain([("max_wal_senders".to_string(), self.max_wal_senders.parse().ok()?)])
                .collect(),
            has_recovery_target: self.targets.iter().any(|target| !target.is_empty()),
            receiver_times_s: (duration_s(&self.status_interval)?, duration_s(&self.receiver_timeout)?),
            clients: None,
            written: None,
            receiver: self.receiver.map(|raw| Receiver {
                message_age_s: raw.last_msg_receipt_time.and_then(|at| at.age_s(self.now)),
                ..raw.receiver
            }),
            senders: senders.collect(),
            slots: slots.collect(),
            synchronous_standby_names: self.synchronous_standby_names,
            synchronized_standby_slots: names_in(&self.synchronized_standby_slots.unwrap_or_default()),
            sync_replication_slots: self.sync_replication_slots.as_deref() == Some("on"),
            max_wal_senders: self.max_wal_senders.parse().ok()?,
            max_replication_slots: self.max_replication_slots.parse().ok()?,
            wal_segment_bytes: bytes(&self.wal_segment_size)?,
            role: self.role,
            sees_senders: self.sees_senders,
            reads_files: self.reads_files,
            lineage: None,
        })
    }
}

/// Asks a standby how far it has replayed.
///
/// # Errors
/// Those of the query.
pub async fn replay_lsn(session: &Session) -> Result<Option<Lsn>, SqlError> {
    let row = session.query_one("SELECT pg_last_wal_replay_lsn()::text", &[]).await?;
    Ok(row.get(0).and_then(|text| text.parse().ok()))
}

/// The settings that [`SERVER`] asks for as `limits`, in that order.
const LIMITS: [&str; 4] =
    ["max_connections", "max_worker_processes", "max_prepared_transactions", "max_locks_per_transaction"];

/// Asks a server whether it has `standby.signal`, and `promote`: a promotion was requested that has not happened. That file stays while
/// `restore_command` hangs, and outlasts an immediate stop; the next start removes it, and is that of a standby.
async fn signals(session: &Session) -> Result<(bool, bool), SqlError> {
    let sql = "SELECT ((pg_catalog.pg_stat_file('standby.signal', true)).size IS NOT NULL)::text, \
               ((pg_catalog.pg_stat_file('promote', true)).size IS NOT NULL)::text";
    let row = session.query_one(sql, &[]).await?;
    Ok((row.get(0) == Some("true"), row.get(1) == Some("true")))
}

/// Asks how many sessions clients have; ours is none.
///
/// # Errors
/// Those of the query.
pub async fn clients(session: &Session) -> Result<u64, SqlError> {
    let sql = "SELECT pg_catalog.count(*)::text FROM pg_catalog.pg_stat_activity \
               WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()";
    Ok(session.query_one(sql, &[]).await?.get(0).and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// Reads an interval without days as the server writes it.
fn seconds(text: &str) -> Option<f64> {
    Some(text.parse::<SignedDuration>().ok()?.as_secs_f64())
}

/// Reads a time in milliseconds as the server shows it: `0`, `30s`, `5min`.
fn duration_s(text: &str) -> Option<f64> {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(number)? {
        "" | "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

/// Reads a size as the server shows it: `16MB`, `1GB`.
fn bytes(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(number)? {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Asks a server about itself.
///
/// One query; others read the lineage where the server has left its first timeline and the role may read files or the metadata.
///
/// # Errors
/// Those of the queries; a lineage that cannot be read is no error but absent.
pub async fn ask(session: &Session) -> Result<ServerFacts, SqlError> {
    let mut facts = ask_itself(session).await?;
    ask_files(session, &mut facts).await;
    Ok(facts)
}

/// Asks a server for what it knows without a look into its files and the metadata: see [`ask_files`].
async fn ask_itself(session: &Session) -> Result<ServerFacts, SqlError> {
    let answer: Answer = match session.query_json(SERVER, &[]).await {
        // It was promoted between two words of the query: "recovery is not in progress".
        Err(error) if error.sqlstate.as_deref() == Some("55000") => session.query_json(SERVER, &[]).await?,
        answer => answer?,
    };
    answer.facts().ok_or_else(|| SqlError {
        sqlstate: None,
        primary: "unexpected answer from the server".into(),
        detail: None,
        hint: None,
        kind: SqlErrorKind::Server,
    })
}

/// Adds what stands in a server's files: where its WAL comes from, and what its next start will be.
async fn ask_files(session: &Session, facts: &mut ServerFacts) {
    if facts.in_recovery && facts.receiver.is_none() {
        facts.timeline = facts.timeline.max(timeline_received(session, facts).await.unwrap_or_default());
    }
    let lineage =
        async { if facts.timeline > TimelineId(1) { lineage::ask(session, facts).await } else { None } };
    // A role with the privilege to read files looks for it; without the privilege each try would leave an error in the server's log.
    let files = async { if facts.reads_files { signals(session).await.ok() } else { None } };
    let (lineage, files) = tokio::join!(lineage, files);
    facts.lineage = lineage;
    if let Some((standby, promote)) = files {
        facts.standby_signal = Some(standby);
        facts.promotion_requested = facts.in_recovery.then_some(promote);
    }
}

/// Returns the timeline of the segment that the received WAL ends in, as the name of its file says.
///
/// The control file of a standby shows a timeline only after a restartpoint on it, and its WAL receiver is gone with the primary: just
/// when it matters who has come furthest. A role without `pg_monitor` lacks the privilege to list the files, and the result is unknown.
async fn timeline_received(session: &Session, facts: &ServerFacts) -> Option<TimelineId> {
    let last = Lsn(facts.wal_end()?.0.checked_sub(1)?);
    let name = TimelineId(0).segment_file_name(last, facts.wal_segment_bytes)?;
    let sql =
        "SELECT max(substr(name, 1, 8)) FROM pg_ls_waldir() WHERE length(name) = 24 AND substr(name, 9) = $1";
    let row = session.query_one(sql, &[name.get(8..)]).await.ok()?;
    u32::from_str_radix(row.get(0)?, 16).ok().map(TimelineId)
}

impl ServerFacts {
    /// Returns how far this server's WAL goes: written on a primary, received or replayed on a standby.
    ///
    /// The received position alone is not enough: after a restart it is absent until something was streamed, and WAL from the archive
    /// never counts.
    pub fn wal_end(&self) -> Option<Lsn> {
        self.current_lsn.or_else(|| self.receive_lsn.max(self.replay_lsn))
    }

    /// Finds the connection over which WAL is sent to a standby, by the name that the standby must have given.
    ///
    /// A connection in state `startup` does not count: a receiver whose slot or timeline is refused opens one every few seconds, for good.
    pub fn sender_of(&self, node_name: &str) -> Option<&Sender> {
        self.connections_of(node_name).find(|sender| sender.state.as_deref() != Some("startup"))
    }

    /// Says whether a standby has a replication connection at this moment, be it one that is only being opened or about to be refused.
    pub fn is_connected_to(&self, node_name: &str) -> bool {
        self.connections_of(node_name).next().is_some()
    }

    fn connections_of(&self, node_name: &str) -> impl Iterator<Item = &Sender> {
        let name = shown_application_name(node_name, self.version_num);
        let named = move |sender: &&Sender| sender.application_name == name;
        self.senders.iter().filter(named).filter(|sender| sender.state.as_deref() != Some("backup"))
    }

    /// Finds a slot.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.slot_name == name)
    }
}

/// Returns how a server shows an `application_name`: cut to 63 bytes, and what is not printable ASCII replaced.
///
/// Up to PostgreSQL 15 every such byte becomes `?`, from 16 on `\xNN` (`pg_clean_ascii` in the sources).
pub fn shown_application_name(name: &str, version_num: u32) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if (32..127).contains(&byte) {
            out.push(char::from(byte));
        } else if version_num >= 160_000 {
            out.push_str(&format!("\\x{byte:02x}"));
        } else {
            out.push('?');
        }
    }
    out.truncate(63);
    out
}

/// Seconds that a message may be late: it is on its way, and a server may be busy.
const LATE_S: f64 = 20.0;

impl ServerFacts {
    /// Says that the WAL receiver of a standby hangs, or has lost its connection without knowing it: what it, and what its upstream last had
    /// of it, is older than it can be. `sender` is what the upstream says. A whole sentence.
    pub fn hangs(&self, sender: Option<&Sender>) -> Option<String> {
        let (interval, timeout) = self.receiver_times_s;
        let age = sender.and_then(|sender| sender.reply_age_s);
        // With an interval of 0 it answers only when it is asked to.
        if let Some(age) = age.filter(|age| interval > 0.0 && *age > 2.0 * interval + LATE_S) {
            return Some(format!(
                "Its WAL receiver last reported to the upstream {age:.0} s ago, but should do so every {interval:.0} s (wal_receiver_status_interval)."
            ));
        }
        let age = self.receiver.as_ref().and_then(|receiver| receiver.message_age_s);
        let age = age.filter(|age| timeout > 0.0 && *age > timeout + LATE_S)?;
        Some(format!(
            "Its WAL receiver has received no message for {age:.0} s, but should have exited after {timeout:.0} s (wal_receiver_timeout): it hangs."
        ))
    }

    /// Returns the settings that are lower here than on a primary, with both values. Replay stops where the primary raises one.
    pub fn lower_than(&self, primary: &Self) -> Vec<String> {
        let there =
            |name: &str| primary.recovery_limits.iter().find(|(of, _)| of == name).map(|(_, value)| *value);
        let lower = self.recovery_limits.iter().filter_map(|(name, here)| {
            let there = there(name).filter(|there| there > here)?;
            Some(format!("{name} is {here}, but {there} on the primary"))
        });
        lower.collect()
    }
}

#[cfg(test)]
impl ServerFacts {
    /// A server for tests: a primary on this timeline, or if it is in recovery a standby that streams, with WAL up to a position.
    pub(crate) fn example(in_recovery: bool, timeline: u32, end: u64) -> Self {
        Self {
            version: "15.20".into(),
            version_num: 150_020,
            system_identifier: "7".into(),
            started_at: format!("{in_recovery} {timeline} {end}"),
            in_recovery,
            timeline: TimelineId(timeline),
            current_lsn: (!in_recovery).then_some(Lsn(end)),
            receive_lsn: in_recovery.then_some(Lsn(end)),
            replay_lsn: in_recovery.then_some(Lsn(end)),
            last_replay_age_s: in_recovery.then_some(3600.0),
            replay_paused: in_recovery.then_some(false),
            apply_delay_s: 0.0,
            promotion_requested: in_recovery.then_some(false),
            standby_signal: Some(in_recovery),
            recovery_limits: vec![("max_connections".into(), 100)],
            has_recovery_target: false,
            receiver_times_s: (10.0, 60.0),
            clients: None,
            written: None,
            receiver: in_recovery.then(|| Receiver {
                status: Some("streaming".into()),
                sender_host: Some("h1".into()),
                sender_port: Some(5432),
                slot_name: None,
                message_age_s: Some(1.0),
            }),
            senders: Vec::new(),
            slots: Vec::new(),
            synchronous_standby_names: String::new(),
            synchronized_standby_slots: Vec::new(),
            sync_replication_slots: false,
            max_wal_senders: 10,
            max_replication_slots: 10,
            wal_segment_bytes: 16 << 20,
            role: "repmgr".into(),
            sees_senders: true,
            reads_files: true,
            lineage: None,
        }
    }
}

/// Says whether a server's WAL receiver streams from where a conninfo leads.
pub fn streams_by(follower: &ServerFacts, conninfo: &str) -> bool {
    let Some(receiver) = follower.receiver.as_ref() else { return false };
    if receiver.status.as_deref() != Some("streaming") {
        return false;
    }
    let Ok(conninfo) = Conninfo::parse(conninfo) else { return false };
    let ports: Vec<&str> = conninfo.get("port").unwrap_or("5432").split(',').collect();
    let hosts = [conninfo.get("host"), conninfo.get("hostaddr")];
    let same_host = hosts
        .into_iter()
        .flatten()
        .flat_map(|list| list.split(','))
        .any(|host| receiver.sender_host.as_deref() == Some(host));
    let same_port = receiver.sender_port.is_none_or(|port| ports.contains(&port.to_string().as_str()));
    same_host && same_port
}

#[cfg(test)]
mod tests;
