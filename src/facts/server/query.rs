//! The queries that a server is asked for what it reports, and how the answers are read.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{Receiver, Sender, ServerFacts, Slot};
use crate::facts::daemons::{self, Daemons};
use crate::facts::lineage;
use crate::pg::client::{Session, SqlError};
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;

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
   'has_daemons', EXISTS(SELECT FROM pg_stat_get_activity(NULL) a WHERE a.application_name LIKE 'pgb1%'), \
   'now', clock_timestamp(), \
   'last_replay', pg_last_xact_replay_timestamp(), \
   'replay_lsn', pg_last_wal_replay_lsn())";

/// The answer to [`SERVER`], as it comes.
#[derive(Deserialize)]
struct ServerRow {
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
    /// Lines of daemons are to be seen, or what looks like them: only then it is read what they say, and who holds the vote.
    has_daemons: bool,
}

impl ServerRow {
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
            daemons: (!self.has_daemons).then(Daemons::default),
            lineage: None,
        })
    }
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

/// Reads a list of names: PostgreSQL's own rules for lists of identifiers, of which slot names need only the comma and the quotes.
fn names_in(list: &str) -> Vec<String> {
    let names = list.split(',').map(|name| name.trim().trim_matches('"').to_string());
    names.filter(|name| !name.is_empty()).collect()
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
pub async fn query_server_facts(session: &Session) -> Result<ServerFacts, SqlError> {
    let mut facts = query_server(session).await?;
    read_server_files(session, &mut facts).await;
    Ok(facts)
}

/// Asks a server for what it knows without a look into its files and the metadata: see [`read_server_files`].
async fn query_server(session: &Session) -> Result<ServerFacts, SqlError> {
    let answer: ServerRow = match session.query_json(SERVER, &[]).await {
        // It was promoted between two words of the query: "recovery is not in progress".
        Err(error) if error.sqlstate.as_deref() == Some("55000") => session.query_json(SERVER, &[]).await?,
        answer => answer?,
    };
    answer.facts().ok_or_else(|| SqlError::answer("unexpected answer from the server"))
}

/// Adds what stands in a server's files: where its WAL comes from, and what its next start will be. And what daemons say there, if any.
async fn read_server_files(session: &Session, facts: &mut ServerFacts) {
    if facts.in_recovery && facts.receiver.is_none() {
        facts.timeline = facts.timeline.max(timeline_received(session, facts).await.unwrap_or_default());
    }
    let lineage = async {
        if facts.timeline > TimelineId(1) { lineage::query_lineage(session, facts).await } else { None }
    };
    // A role with the privilege to read files looks for it; without the privilege each try would leave an error in the server's log.
    let files = async { if facts.reads_files { signals(session).await.ok() } else { None } };
    let daemons = async {
        match &facts.daemons {
            None => daemons::read(session).await.ok(),
            none => none.clone(),
        }
    };
    let (lineage, files, daemons) = tokio::join!(lineage, files, daemons);
    (facts.lineage, facts.daemons) = (lineage, daemons);
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

/// Asks a standby how far it has replayed.
///
/// # Errors
/// Those of the query.
pub async fn replay_lsn(session: &Session) -> Result<Option<Lsn>, SqlError> {
    let row = session.query_one("SELECT pg_last_wal_replay_lsn()::text", &[]).await?;
    Ok(row.get(0).and_then(|text| text.parse().ok()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("16MB"), Some(16 << 20));
        assert_eq!(bytes("1GB"), Some(1 << 30));
        assert_eq!(bytes("8192"), Some(8192));
        assert_eq!(bytes("1 apple"), None);
        assert_eq!(duration_s("0"), Some(0.0));
        assert_eq!(duration_s("1500ms"), Some(1.5));
        assert_eq!(duration_s("5min"), Some(300.0));
        assert_eq!(duration_s("5 apples"), None);
    }

    #[test]
    fn intervals_are_read() {
        assert_eq!(seconds("00:00:00"), Some(0.0));
        assert_eq!(seconds("00:00:00.000213"), Some(0.000_213));
        assert_eq!(seconds("127:01:02.5"), Some(127.0 * 3600.0 + 62.5));
        assert_eq!(seconds("-00:00:01"), Some(-1.0));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn ages_are_worked_out_here() {
        let now = "2026-11-21T06:40:07.75+00:00".parse().unwrap();
        let age = |text: &str| Moment(text.into()).age_s(now);
        assert_eq!(age("2026-11-21T07:40:07.5+01:00"), Some(0.25));
        assert_eq!(age("infinity"), None);
    }
}
