//! What a server shows of the daemons: each has a session there, whose name says what it does, and one more on its own server, with what else
//! there is to report.

use pgbaton_lease::mailbox::{NodeId, Role, Status};
use pgbaton_lease::{Flag, Refusal, Version};
use serde::Deserialize;

use crate::facts::daemon_info::DaemonInfo;
use crate::pg::client::{Session, SqlError};
use crate::registry::lock::VOTE;

/// How old a line may be in which a daemon reports itself, in milliseconds: it is renewed every second.
const STALE: u64 = 10_000;

/// Lines of daemons with their age, and the holder of the vote.
const LINES: &str = "SELECT json_build_object(\
    'lines', (SELECT json_agg(json_build_array(a.pid, a.application_name, \
         (extract(epoch FROM clock_timestamp() - a.state_change) * 1000)::bigint)) FROM pg_stat_activity a \
       WHERE a.usename = current_user AND a.datname = current_database() \
         AND a.application_name LIKE 'pgb1%' AND a.application_name NOT LIKE 'pgb1 ask %'), \
    'holders', (SELECT json_agg(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
       AND l.classid::bigint = $VOTE AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())))::text";

#[derive(Deserialize)]
struct Raw {
    lines: Option<Vec<(i32, String, Option<i64>)>>,
    holders: Option<Vec<i32>>,
}

/// What one server shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemons {
    /// What the daemons say.
    pub statuses: Vec<Status>,
    /// What the holder of this server's vote says; the inner None for one that is no daemon of this cluster.
    pub holder: Option<Option<Status>>,
    /// What daemons report of themselves, the newest first. Lines that are not renewed any more are left out.
    pub infos: Vec<DaemonInfo>,
}

impl Daemons {
    /// Returns what the daemon of a node says here.
    pub fn of(&self, node_id: i32) -> Option<&Status> {
        self.statuses.iter().find(|status| i64::from(status.node) == i64::from(node_id))
    }

    /// Returns what the daemon of a node reports of itself here, which it does on its own server.
    pub fn info(&self, node_id: i32) -> Option<&DaemonInfo> {
        self.infos.iter().find(|info| i64::from(info.node) == i64::from(node_id))
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
    Ok(raw.daemons())
}

impl Raw {
    fn daemons(self) -> Daemons {
        let lines = self.lines.unwrap_or_default();
        let line_of =
            |pid: &i32| lines.iter().find(|(of, ..)| of == pid).and_then(|(_, line, _)| Status::parse(line));
        let mut infos: Vec<(u64, DaemonInfo)> = lines
            .iter()
            .filter_map(|(_, line, age)| {
                Some((u64::try_from((*age)?.max(0)).ok()?, DaemonInfo::parse(line)?))
            })
            .filter(|(age, _)| *age <= STALE)
            .collect();
        infos.sort_by_key(|(age, _)| *age);
        Daemons {
            statuses: lines.iter().filter_map(|(_, line, _)| Status::parse(line)).collect(),
            holder: self.holders.unwrap_or_default().first().map(line_of),
            infos: infos.into_iter().map(|(age, info)| info.after(age)).collect(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_age_and_old_ones_are_not_believed() {
        let raw: Raw = serde_json::from_str(
            r#"{"lines": [
                [10, "pgb1 1 1 L v 2.3A -", 5],
                [11, "pgb1i 1 1 4711 0.2.0 rs - -", 400],
                [12, "pgb1i 1 2 4712 0.2.0 - - -", 3000],
                [13, "pgb1i 2 1 4713 0.2.0 - - -", 11000],
                [14, "pgb1x", 0]
            ], "holders": [10]}"#,
        )
        .unwrap();
        let daemons = raw.daemons();
        assert_eq!(daemons.of(1).map(|status| status.pause), Some((2, 3)));
        assert_eq!(daemons.holder, Some(daemons.of(1).copied()));
        let info = daemons.info(1).unwrap();
        // The newer line, with what is left of the lease by now.
        assert_eq!((info.pid, info.lease_left), (4711, Some(600)));
        assert_eq!(daemons.info(2), None);
    }
}
