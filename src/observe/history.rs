//! What two servers have of each other's history, asked where one of them lacks it.

use crate::assess::history::{Relation, relation};
use crate::facts::lineage::{CheckpointSample, from_hex, shared_until};
use crate::facts::server::ServerFacts;
use crate::pg::client::{Session, SqlError};
use crate::pg::history::{TimelineId, parse_history};
use crate::pg::lsn::Lsn;
use crate::pg::wal::last_timed;

/// The length of a page of WAL.
const PAGE: u64 = 8192;

/// Where the last checkpoint is, or on a standby the last restartpoint: in WAL that the server still has.
const LAST_CHECKPOINT: &str =
    "SELECT json_build_array(timeline_id, checkpoint_lsn::text)::text FROM pg_control_checkpoint()";

/// Reads a checkpoint of the first server in the WAL of both, where nothing else shows whether they have the same history; and where that is
/// gone from the other one, the last record with a time that both can have.
pub async fn compare(ours: (&Session, &mut ServerFacts), theirs: (&Session, &mut ServerFacts)) {
    if !matches!(relation(ours.1, theirs.1), Relation::Unknown(_)) {
        return;
    }
    let Ok(place) = ours.0.query_json::<(TimelineId, Lsn)>(LAST_CHECKPOINT, &[]).await else { return };
    if place.0 == ours.1.timeline {
        read_own(ours.0, ours.1, place).await;
        read_there(theirs.0, theirs.1, place).await;
        if !matches!(relation(ours.1, theirs.1), Relation::Unknown(_)) {
            return;
        }
    }
    if let Some(place) = last_place(ours.0, ours.1, theirs.1).await {
        read_own(ours.0, ours.1, place).await;
        read_there(theirs.0, theirs.1, place).await;
    }
}

/// Bytes before the end of a server's WAL in which a record with a time is looked for.
const LOOKED_THROUGH: u64 = 512 * 1024;

/// Finds the last record with a time before the point where two servers diverged, or the first one ends.
async fn last_place(
    session: &Session,
    ours: &ServerFacts,
    theirs: &ServerFacts,
) -> Option<(TimelineId, Lsn)> {
    let (timeline, bytes) = (ours.timeline, ours.wal_segment_bytes);
    let left = theirs.lineage.as_ref().and_then(|lineage| shared_until(lineage, timeline));
    let end = [ours.wal_end(), left, theirs.wal_end().filter(|_| theirs.timeline == timeline)];
    let end = end.into_iter().flatten().min().filter(|end| *end > Lsn(0))?;
    let segment = Lsn((end.0 - 1) / bytes * bytes);
    let from = Lsn(segment.0.max(end.0.saturating_sub(LOOKED_THROUGH) / PAGE * PAGE));
    let name = timeline.segment_file_name(segment, bytes)?;
    let read = bytes_at(session, &name, from.0 % bytes, end.0 - from.0).await.ok()??;
    Some((timeline, last_timed(&from_hex(&read)?, from, end)?))
}

async fn read_own(session: &Session, server: &mut ServerFacts, place: (TimelineId, Lsn)) {
    let bytes = server.wal_segment_bytes;
    if let Some(lineage) = &mut server.lineage {
        lineage.samples.extend(samples(session, &[CheckpointSample::file(place.0)], place, bytes).await);
    }
}

/// Reads in the WAL of a server what stands where another one has a record with a time.
pub async fn read_there(session: &Session, server: &mut ServerFacts, place: (TimelineId, Lsn)) {
    let bytes = server.wal_segment_bytes;
    let Some(lineage) = &mut server.lineage else { return };
    let history = lineage.history.as_deref().and_then(|text| parse_history(text).ok()).unwrap_or_default();
    let timelines: Vec<TimelineId> = history.iter().map(|switch| switch.timeline).collect();
    let later = timelines.into_iter().chain([server.timeline]).filter(|timeline| *timeline > place.0);
    // Where its timeline was left, the segment goes on under the name of the next one, or of one after that; under the first name there may be
    // less of it, or it is called partial.
    let mut files = vec![CheckpointSample::file(place.0)];
    if server.timeline > place.0 {
        files.push((place.0, ".partial"));
    }
    files.extend(later.map(CheckpointSample::file));
    lineage.samples.extend(samples(session, &files, place, bytes).await);
}

/// Reads what stands at a place in each of these timelines' files that is there.
async fn samples(
    session: &Session,
    files: &[(TimelineId, &str)],
    (timeline, lsn): (TimelineId, Lsn),
    segment_bytes: u64,
) -> Vec<CheckpointSample> {
    let (from, count) = CheckpointSample::window(lsn, segment_bytes);
    let mut out = Vec::new();
    for (file, suffix) in files {
        let Some(name) = file.segment_file_name(from, segment_bytes) else { continue };
        let read = bytes_at(session, &format!("{name}{suffix}"), from.0 % segment_bytes, count).await;
        out.extend(read.ok().flatten().map(|bytes| CheckpointSample { timeline, lsn, bytes }));
    }
    out
}

/// Asks a server for bytes of its WAL as they stand in the file, in hexadecimal; None if the segment is gone or may not be read.
///
/// # Errors
/// Those of the query.
async fn bytes_at(session: &Session, segment: &str, at: u64, count: u64) -> Result<Option<String>, SqlError> {
    let row = session
        .query_one(
            "SELECT encode(pg_read_binary_file('pg_wal/' || $1, $2::bigint, $3::bigint, true), 'hex')",
            &[Some(segment), Some(&at.to_string()), Some(&count.to_string())],
        )
        .await?;
    Ok(row.get(0).map(str::to_string))
}
