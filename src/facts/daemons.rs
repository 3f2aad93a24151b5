//! What a server shows of the daemons: each has a session there, whose name says what it does.

use pgbaton_lease::mailbox::{NodeId, Role, Status};
use pgbaton_lease::{Flag, Refusal, Version};
use serde::Deserialize;

use crate::pg::client::{Session, SqlError};
use crate::registry::lock::VOTE;

/// Lines of daemons, and the holder of the vote.
const LINES: &str = "SELECT json_build_object(\
    'lines', (SELECT json_agg(json_build_array(a.pid, a.application_name)) FROM pg_stat_activity a \
       WHERE a.usename = current_user AND a.datname = current_database() \
         AND a.application_name LIKE 'pgb1 %' AND a.application_name NOT LIKE 'pgb1 ask %'), \
    'holders', (SELECT json_agg(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
       AND l.classid::bigint = $VOTE AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())))::text";

#[derive(Deserialize)]
struct Raw {
    lines: Option<Vec<(i32, String)>>,
    holders: Option<Vec<i32>>,
}

/// What one server shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemons {
    /// What the daemons say.
    pub statuses: Vec<Status>,
    /// What the holder of this server's vote says; the inner None for one that is no daemon of this cluster.
    pub holder: Option<Option<Status>>,
}

impl Daemons {
    /// Returns what the daemon of a node says here.
    pub fn of(&self, node_id: i32) -> Option<&Status> {
        self.statuses.iter().find(|status| i64::from(status.node) == i64::from(node_id))
    }

    /// Returns a daemon that is not paused.
    pub fn active(&self) -> Option<&Status> {
        self.statuses.iter().find(|status| status.flag != Flag::Full)
    }
}

/// Reads what a server shows of daemons.
///
/// # Errors
/// Those of the query.
pub async fn read(session: &Session) -> Result<Daemons, SqlError> {
    let raw: Raw = session.query_json(&LINES.replace("$VOTE", &VOTE.to_string()), &[]).await?;
    let lines = raw.lines.unwrap_or_default();
    let line_of =
        |pid: &i32| lines.iter().find(|(of, _)| of == pid).and_then(|(_, line)| Status::parse(line));
    Ok(Daemons {
        statuses: lines.iter().filter_map(|(_, line)| Status::parse(line)).collect(),
        holder: raw.holders.unwrap_or_default().first().map(line_of),
    })
}

/// Reads which copy of the members a server has; None where there is none.
///
/// # Errors
/// Those of the query.
pub async fn version_of_members(session: &Session) -> Result<Option<Version>, SqlError> {
    let there = session.query_one("SELECT to_regclass('pgbaton.lease') IS NOT NULL", &[]).await?;
    if there.get(0) != Some("t") {
        return Ok(None);
    }
    let rows = session.query("SELECT timeline, counter FROM pgbaton.lease", &[]).await?;
    let number = |column| rows.first()?.get(column)?.parse().ok();
    Ok(number(0).zip(number(1)).map(|(timeline, counter)| Version { timeline, counter }))
}

/// Reads which nodes vote, as the leader has recorded it; None where none has.
///
/// # Errors
/// Those of the query.
pub async fn voters(session: &Session) -> Result<Option<Vec<NodeId>>, SqlError> {
    let there = session.query_one("SELECT to_regclass('pgbaton.lease') IS NOT NULL", &[]).await?;
    if there.get(0) != Some("t") {
        return Ok(None);
    }
    let rows = session.query("SELECT unnest(voters) FROM pgbaton.lease", &[]).await?;
    let ids = rows.iter().filter_map(|row| row.get(0)?.parse().ok()).collect();
    Ok((!rows.is_empty()).then_some(ids))
}

/// The name of what a daemon does.
pub fn role_name(status: &Status) -> &'static str {
    match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Barred => "barred",
    }
}

/// Why a daemon does not do what it is asked, as a part of a sentence.
pub fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotLeader => "it does not lead",
        Refusal::NotStandby => "its server is not a standby",
        Refusal::Barred => "it is barred from elections",
        Refusal::Busy => "something else is in progress",
        Refusal::Voters => "it holds too few votes",
        Refusal::Lapsed => "its lease has ended",
        Refusal::Epoch => "it knows of another pause",
        Refusal::Others => "another node has to confirm first",
        Refusal::Command => "a command is at work on its server",
        Refusal::New => "it has lost its state",
        Refusal::Unknown => "it knows of no such operation",
    }
}
