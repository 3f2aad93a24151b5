//! What is asked in a lease session, as SQL, and how the answer is read.
//!
//! Everything goes in one message: the line that this daemon shows, what is to be done, and the look at the server. No statement here waits
//! for anything, and none writes.

use std::fmt::Write as _;

use pgbaton_lease::driver::{Query, Reply, View};
use pgbaton_lease::mailbox::{NodeId, Saying, Status};
use pgbaton_lease::{Members, Node, Version};
use serde::Deserialize;

use crate::pg::client::{Row, SqlError};
use crate::pg::lsn::Lsn;
use crate::pg::quote::quote_literal;
use crate::registry::lock::VOTE;

/// The cluster, as lock keys name it: 31 bits of its system identifier. One witness may serve several clusters.
pub fn cluster_key(system_identifier: &str) -> i32 {
    // FNV-1a, which is short, and the same in every version.
    let hash = system_identifier.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    i32::try_from(hash & 0x7fff_ffff).unwrap_or(i32::MAX)
}

/// What has to be known of a voter to ask it.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The server's version, as a number.
    pub version: u32,
    /// See [`cluster_key`].
    pub cluster_key: i32,
    /// The table of the members is there.
    pub has_members: bool,
}

/// Returns the statements that begin a lease session: the server ends it once it has been silent for `silence` milliseconds.
///
/// Version 13 knows no time limit for idle sessions, but one for idle transactions. The transaction is one without a snapshot of its own.
pub fn beginning(version: u32, silence: u64) -> String {
    if version >= 140_000 {
        format!("SET idle_session_timeout = {silence}")
    } else {
        format!("SET idle_in_transaction_session_timeout = {silence}; BEGIN")
    }
}

/// Returns the statements for a query. `to` gives the ID of a member.
pub fn statements(terms: Terms, query: Query, line: &str, to: impl Fn(Node) -> NodeId) -> String {
    let mut out = format!("SELECT set_config('application_name', {}, false);", quote_literal(line));
    if terms.version < 140_000 {
        // In one long transaction the activity would be seen only once.
        out.push_str("SELECT pg_stat_clear_snapshot();");
    }
    let key = terms.cluster_key;
    let act = match query {
        Query::Look => "true".to_string(),
        Query::Vote => format!("pg_try_advisory_lock({VOTE}, {key})"),
        Query::Release => format!("pg_advisory_unlock({VOTE}, {key})"),
        // Named by the heir; the operation is on the line.
        Query::Note(heir, _) => format!("pg_try_advisory_lock({key}, {})", to(heir)),
        Query::Forget => "true".to_string(),
        Query::Promote => "pg_promote(false)".to_string(),
    };
    let members = if terms.has_members {
        "(SELECT json_build_array(m.timeline, m.counter, m.data, m.voters) FROM pgbaton.lease m LIMIT 1)"
    } else {
        "NULL"
    };
    let _ = write!(
        out,
        "SELECT {act}::text;\
         SELECT json_build_object(\
           'in_recovery', pg_is_in_recovery(), \
           'segment', CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_insert_lsn()) END, \
           'current', CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END, \
           'received', pg_last_wal_receive_lsn(), \
           'replayed', pg_last_wal_replay_lsn(), \
           'timelines', ARRAY[(pg_control_checkpoint()).timeline_id, (pg_control_recovery()).min_recovery_end_timeline], \
           'receiver', (SELECT json_build_array(r.received_tli, \
              (extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time) * 1000)::bigint) \
              FROM pg_stat_get_wal_receiver() r WHERE r.pid IS NOT NULL), \
           'written', CASE WHEN pg_is_in_recovery() AND has_function_privilege('pg_ls_waldir()', 'EXECUTE') \
              AND NOT EXISTS (SELECT FROM pg_stat_get_wal_receiver() r WHERE r.pid IS NOT NULL) \
              THEN (SELECT max(left(w.name, 8)) FROM pg_ls_waldir() w WHERE w.name ~ '^[0-9A-F]{{24}}$') END, \
           'has_members', to_regclass('pgbaton.lease') IS NOT NULL, \
           'members', {members}, \
           'backend', pg_backend_pid(), \
           'locks', (SELECT json_agg(json_build_array(l.pid, l.classid::bigint, l.objid::bigint)) FROM pg_locks l \
              WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
              AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) \
              AND (l.classid = {VOTE} AND l.objid = {key} OR l.classid = {key})), \
           'lines', (SELECT json_agg(json_build_array(a.pid, a.application_name)) FROM pg_stat_activity a \
              WHERE a.usename = current_user AND a.datname = current_database() AND a.application_name LIKE 'pgb1 %'))::text"
    );
    out
}

/// The answer to the last statement, as it comes.
#[derive(Deserialize)]
struct Raw {
    in_recovery: bool,
    segment: Option<String>,
    current: Option<Lsn>,
    received: Option<Lsn>,
    replayed: Option<Lsn>,
    timelines: Vec<Option<u32>>,
    receiver: Option<(Option<u32>, Option<i64>)>,
    /// The timeline of the newest segment. Only a receiver says what it has received; and the control file learns of a timeline late.
    written: Option<String>,
    has_members: bool,
    members: Option<(u32, u32, Vec<NodeId>, Vec<NodeId>)>,
    backend: i32,
    locks: Option<Vec<(i32, i64, i64)>>,
    lines: Option<Vec<(i32, String)>>,
}

/// What a voter has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// For the driver. Its members are still to be put in: see [`members`](Self::members).
    pub reply: Reply,
    /// The members by their IDs; None where the table is missing or empty.
    pub members: Option<(Version, Vec<NodeId>, Vec<NodeId>)>,
    /// The table of the members is there.
    pub has_members: bool,
    /// The process of the server that serves the session.
    pub pid: i32,
}

/// Reads the answer to [`statements`].
///
/// # Errors
/// If it is none that the statements promise.
pub fn read(terms: Terms, rows: &[Row]) -> Result<Answer, SqlError> {
    let incomplete = || SqlError::answer("the server did not answer all statements");
    let [.., act, view] = rows else { return Err(incomplete()) };
    let raw: Raw = serde_json::from_str(view.get(0).unwrap_or("null"))
        .map_err(|error| SqlError::answer(format!("unexpected answer from the server: {error}")))?;
    let timeline = match &raw.segment {
        // The name of the segment that is written begins with the timeline.
        Some(segment) => segment.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()),
        None => {
            let received = raw.receiver.and_then(|(timeline, _)| timeline);
            let written = raw.written.as_deref().and_then(|digits| u32::from_str_radix(digits, 16).ok());
            raw.timelines.iter().copied().chain([received, written]).flatten().max()
        }
    };
    let end = raw.current.max(raw.received).max(raw.replayed);
    let lines = raw.lines.unwrap_or_default();
    let line_of = |pid: i32| lines.iter().find(|(of, _)| *of == pid).map(|(_, line)| line.as_str());
    let is_vote =
        |class: i64, object: i64| (class, object) == (i64::from(VOTE), i64::from(terms.cluster_key));
    let locks = raw.locks.unwrap_or_default();
    let holder = locks
        .iter()
        .find(|(_, class, object)| is_vote(*class, *object))
        .map(|(pid, _, _)| line_of(*pid).and_then(Status::parse));
    let note = |&(pid, class, object): &(i32, i64, i64)| {
        let heir = NodeId::try_from(object).ok().filter(|_| !is_vote(class, object))?;
        let (op, saying) = line_of(pid).and_then(Status::parse)?.says?;
        (saying == Saying::Note(heir)).then_some((heir, op))
    };
    let (asks, says): (Vec<&str>, Vec<&str>) =
        lines.iter().map(|(_, line)| line.as_str()).partition(|line| line.starts_with("pgb1 ask "));
    let view = View {
        in_recovery: raw.in_recovery,
        timeline: timeline.ok_or_else(incomplete)?,
        end: end.map_or(0, |end| end.0),
        silent: raw
            .receiver
            .and_then(|(_, silent)| silent)
            .and_then(|silent| u64::try_from(silent.max(0)).ok()),
        members: Members::default(),
        holder,
        notes: locks.iter().filter_map(note).collect(),
        statuses: says.into_iter().filter_map(Status::parse).collect(),
        requests: asks.into_iter().map(str::to_string).collect(),
    };
    Ok(Answer {
        reply: Reply { is_done: matches!(act.get(0), Some("t" | "true")), view },
        members: raw
            .members
            .map(|(timeline, counter, data, voters)| (Version { timeline, counter }, data, voters)),
        has_members: raw.has_members,
        pid: raw.backend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_cluster_never_changes() {
        assert_eq!(cluster_key("7437265312345678901"), cluster_key("7437265312345678901"));
        assert_ne!(cluster_key("7437265312345678901"), cluster_key("7437265312345678902"));
        assert_eq!(cluster_key(""), i32::try_from(0xcbf2_9ce4_8422_2325_u64 & 0x7fff_ffff).unwrap());
    }
}
