//! Where a server's WAL comes from: what distinguishes two servers that are on the same timeline, or were.

use serde::{Deserialize, Serialize};

use crate::facts::server::ServerFacts;
use crate::pg::client::Session;
use crate::pg::history::{TimelineId, parse_history};
use crate::pg::lsn::Lsn;

/// Where a server's WAL comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The text of the history file of the server's timeline; None where it is missing.
    pub history: Option<String>,
    /// The first bytes that were written on each timeline, where that segment is still there.
    #[serde(rename = "first_records")]
    pub timeline_starts: Vec<TimelineStart>,
    /// The promotions that it knows of by the metadata, oldest first. They stay when the segments are gone, and go along with the data.
    #[serde(default)]
    pub promotions: Vec<Promotion>,
    /// Records of its own with a time, the most significant one first, or what stands where another server has one: in each file in which
    /// that may be. Read for a comparison only.
    #[serde(rename = "milestones", default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<CheckpointSample>,
}

/// A row of `pgbaton.promotion`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// The timeline that it began.
    pub timeline: TimelineId,
    /// What distinguishes it from another one that started a timeline of that number.
    pub uuid: String,
}

/// The beginning of the first record of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineStart {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it begins: the switch point of its parent.
    pub lsn: Lsn,
    /// The bytes from there on, in hexadecimal; None if the segment is gone.
    pub bytes: Option<String>,
}

/// A place in the WAL where one of two servers has a checkpoint or the end of a transaction, and what stands there.
///
/// The record carries the time in seconds, and commits before it in microseconds: no two promotions lead to the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointSample {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where the record begins.
    pub lsn: Lsn,
    /// What stands before it in its segment, 8 kB at most, and from there on, in hexadecimal.
    pub bytes: String,
}

/// How much WAL before a checkpoint is compared along with it.
const BEFORE: u64 = 8192;

/// How much from it on: more than the record and the headers of pages in it.
const FROM_IT_ON: u64 = 256;

impl CheckpointSample {
    /// The file of a timeline, and how its name goes on.
    pub(crate) fn file(timeline: TimelineId) -> (TimelineId, &'static str) {
        (timeline, "")
    }

    /// Returns where the bytes of a checkpoint begin, and how many there are.
    pub fn window(lsn: Lsn, segment_bytes: u64) -> (Lsn, u64) {
        let before = BEFORE.min(lsn.0 % segment_bytes);
        (Lsn(lsn.0 - before), before + FROM_IT_ON)
    }
}

/// The history file of timeline $1 and the first bytes written on each of its last eight timelines.
///
/// The first record of a timeline (END_OF_RECOVERY, or a checkpoint) carries the time of the promotion and a checksum over it. It
/// distinguishes two promotions even where the history files agree to the byte, as they do for two standbys that had both caught up.
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
         encode(pg_read_binary_file('pg_wal/' || segment, at, 256, true), 'hex')) ORDER BY n) FROM places), '[]'))::text";

/// Whether the promotions may be read. Asked first, so that no server's log fills up with errors about a missing table.
const HAS_PROMOTIONS: &str = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = 'pgbaton' AND c.relname = 'promotion' AND has_schema_privilege(n.oid, 'USAGE') \
       AND has_table_privilege(c.oid, 'SELECT'))::text";

const PROMOTIONS: &str = "SELECT COALESCE(json_agg(json_build_object('timeline', timeline, 'uuid', uuid) \
     ORDER BY promoted_at), '[]')::text FROM pgbaton.promotion";

/// Asks a server where its WAL comes from; None where the role may read neither files nor the metadata.
pub async fn query_lineage(session: &Session, facts: &ServerFacts) -> Option<Lineage> {
    let (read, promotions) = tokio::join!(files(session, facts), promotions(session));
    match (read, promotions) {
        (Some(lineage), promotions) => Some(Lineage { promotions, ..lineage }),
        (None, promotions) if promotions.is_empty() => None,
        (None, promotions) => Some(Lineage { promotions, ..Lineage::default() }),
    }
}

/// Returns what the server's files say of its lineage; None where they may not be read.
async fn files(session: &Session, facts: &ServerFacts) -> Option<Lineage> {
    if !facts.reads_files {
        return None;
    }
    let (timeline, segment) = (facts.timeline.to_string(), facts.wal_segment_bytes.to_string());
    session.query_json(LINEAGE, &[Some(&timeline), Some(&segment)]).await.ok()
}

/// Returns the promotions that the server knows of; none if none were recorded or the role lacks the privilege to read them.
pub(crate) async fn promotions(session: &Session) -> Vec<Promotion> {
    match session.query_json(HAS_PROMOTIONS, &[]).await {
        Ok(true) => session.query_json(PROMOTIONS, &[]).await.unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Returns where a server has left a timeline; None where it is on it, or was never.
pub fn shared_until(lineage: &Lineage, timeline: TimelineId) -> Option<Lsn> {
    let switches = parse_history(lineage.history.as_deref()?).ok()?;
    switches.iter().find(|switch| switch.timeline == timeline).map(|switch| switch.switch)
}

pub(crate) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    (0..digits.len() / 2).map(|i| u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}
