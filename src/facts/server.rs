//! What one server says of itself.

use serde::{Deserialize, Serialize};

use crate::pg::client::{Session, SqlError};
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;

/// What one server says of itself, in one query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `server_version`, first word: `15.20`.
    pub version: String,
    /// `server_version_num`: 150020.
    pub version_num: u32,
    /// Of the data directory's cluster; all nodes of a replication cluster share it.
    pub system_identifier: String,
    /// `pg_postmaster_start_time()`; with the system identifier it tells one running server from another.
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
    /// The WAL receiver, where one runs.
    pub receiver: Option<Receiver>,
    /// Servers that stream from this one.
    pub senders: Vec<Sender>,
    /// Replication slots.
    pub slots: Vec<Slot>,
    /// `synchronous_standby_names`.
    pub synchronous_standby_names: String,
    /// `max_wal_senders`.
    pub max_wal_senders: i64,
    /// `max_replication_slots`.
    pub max_replication_slots: i64,
    /// `wal_segment_size` in bytes.
    pub wal_segment_bytes: u64,
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
}

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// Where a server's WAL comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The text of the history file of the server's timeline; None where it is missing.
    pub history: Option<String>,
    /// The first bytes that were written on each timeline, where that segment is still there.
    pub first_records: Vec<FirstRecord>,
}

/// The beginning of the first record of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstRecord {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it begins: the switch point of its parent.
    pub lsn: Lsn,
    /// The bytes from there on, in hexadecimal; None if the segment is gone.
    pub bytes: Option<String>,
}

/// Everything that a server says of itself. Plain columns of the system views, so that it runs on 13 to 18 as any role;
/// what a role may not see comes as NULL.
const SERVER: &str = "SELECT json_build_object(\
   'version', split_part(current_setting('server_version'), ' ', 1), \
   'version_num', current_setting('server_version_num')::integer, \
   'system_identifier', (SELECT system_identifier::text FROM pg_control_system()), \
   'started_at', pg_postmaster_start_time()::text, \
   'in_recovery', r.recovering, \
   'timeline', CASE WHEN r.recovering THEN greatest(w.received_tli, \
        (SELECT timeline_id FROM pg_control_checkpoint()), \
        (SELECT min_recovery_end_timeline FROM pg_control_recovery())) \
      ELSE ('x' || left(pg_walfile_name(r.lsn), 8))::bit(32)::integer END, \
   'current_lsn', CASE WHEN NOT r.recovering THEN r.lsn::text END, \
   'receive_lsn', pg_last_wal_receive_lsn()::text, \
   'replay_lsn', pg_last_wal_replay_lsn()::text, \
   'last_replay_age_s', extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8, \
   'replay_paused', CASE WHEN r.recovering THEN pg_is_wal_replay_paused() END, \
   'receiver', CASE WHEN w.pid IS NOT NULL THEN json_build_object('status', w.status, \
        'sender_host', w.sender_host, 'sender_port', w.sender_port, 'slot_name', w.slot_name) END, \
   'senders', COALESCE((SELECT json_agg(json_build_object('application_name', s.application_name, 'state', s.state, \
        'sync_state', s.sync_state, 'replay_lag_s', extract(epoch FROM s.replay_lag)::float8)) \
        FROM pg_stat_replication s), '[]'), \
   'slots', COALESCE((SELECT json_agg(json_build_object('slot_name', s.slot_name, 'slot_type', s.slot_type, \
        'active', s.active, 'restart_lsn', s.restart_lsn::text, 'wal_status', s.wal_status, \
        'retained_bytes', (r.lsn - s.restart_lsn)::bigint)) FROM pg_replication_slots s), '[]'), \
   'synchronous_standby_names', current_setting('synchronous_standby_names'), \
   'max_wal_senders', current_setting('max_wal_senders')::integer, \
   'max_replication_slots', current_setting('max_replication_slots')::integer, \
   'wal_segment_bytes', pg_size_bytes(current_setting('wal_segment_size')), \
   'sees_senders', pg_has_role('pg_read_all_stats', 'USAGE'), \
   'reads_files', has_function_privilege('pg_read_binary_file(text,bigint,bigint,boolean)', 'EXECUTE'))::text \
 FROM (SELECT r.recovering, CASE WHEN r.recovering \
              THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END AS lsn \
         FROM (SELECT pg_is_in_recovery() AS recovering) r) r LEFT JOIN pg_stat_wal_receiver w ON true";

/// The history file of timeline $1 and the first bytes written on each of its last eight timelines.
///
/// The first record of a timeline (END_OF_RECOVERY, or a checkpoint) carries the time of the promotion and a checksum over it. It tells
/// two promotions apart even where the history files agree to the byte, as they do for two standbys that had both caught up.
const LINEAGE: &str = "WITH history AS (SELECT convert_from(pg_read_binary_file('pg_wal/' || \
         lpad(upper(to_hex($1::integer)), 8, '0') || '.history', 0, 262144, true), 'UTF8') AS text), \
   lines AS (SELECT m.line[1]::bigint AS parent, m.line[2]::pg_lsn AS lsn, row_number() OVER () AS n \
         FROM history, regexp_matches(history.text, '^\\s*(\\d+)\\s+([0-9A-F]+/[0-9A-F]+)', 'gn') AS m(line)), \
   switches AS (SELECT COALESCE(lead(parent) OVER (ORDER BY n), $1::bigint) AS timeline, lsn, \
         (lsn - '0/0'::pg_lsn) AS byte, n FROM lines), \
   places AS (SELECT timeline, lsn, n, lpad(upper(to_hex(timeline)), 8, '0') || \
         lpad(upper(to_hex(div(byte, 4294967296)::bigint)), 8, '0') || \
         lpad(upper(to_hex(div(mod(byte, 4294967296), $2::numeric)::bigint)), 8, '0') AS segment, \
         mod(byte, $2::numeric)::bigint AS at FROM switches ORDER BY n DESC LIMIT 8) \
 SELECT json_build_object('history', (SELECT text FROM history), 'first_records', COALESCE((SELECT json_agg(\
         json_build_object('timeline', timeline, 'lsn', lsn::text, 'bytes', \
         encode(pg_read_binary_file('pg_wal/' || segment, at, 192, true), 'hex')) ORDER BY n) FROM places), '[]'))::text";

/// Asks a server about itself.
///
/// One query; a second one reads the lineage where the server has left its first timeline and the role may read files.
///
/// # Errors
/// Those of the queries; a lineage that cannot be read is no error but absent.
pub async fn ask(session: &Session) -> Result<ServerFacts, SqlError> {
    let mut facts: ServerFacts = session.query_json(SERVER, &[]).await?;
    if facts.timeline > TimelineId(1) && facts.reads_files {
        let timeline = facts.timeline.to_string();
        let segment = facts.wal_segment_bytes.to_string();
        facts.lineage = session.query_json(LINEAGE, &[Some(&timeline), Some(&segment)]).await.ok();
    }
    Ok(facts)
}

impl ServerFacts {
    /// Returns how far this server's WAL goes: written on a primary, received or replayed on a standby.
    ///
    /// The received position alone is not enough: after a restart it is absent until something was streamed, and WAL from the archive
    /// never counts.
    pub fn wal_end(&self) -> Option<Lsn> {
        self.current_lsn.or_else(|| self.receive_lsn.max(self.replay_lsn))
    }

    /// Finds the connection of a standby by the name that it must have given.
    pub fn sender_of(&self, node_name: &str) -> Option<&Sender> {
        let name = shown_application_name(node_name, self.version_num);
        self.senders
            .iter()
            .find(|sender| sender.application_name == name && sender.state.as_deref() != Some("backup"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_each_major_shows_them() {
        assert_eq!(shown_application_name("node1", 150_000), "node1");
        assert_eq!(shown_application_name("nœud", 150_000), "n??ud");
        assert_eq!(shown_application_name("nœud", 160_000), "n\\xc5\\x93ud");
        assert_eq!(shown_application_name(&"x".repeat(80), 150_000).len(), 63);
    }
}
