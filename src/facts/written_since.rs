//! What each of several servers that accept writes has written since they diverged, for the user who has to choose between them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::branch::{Fork, fork};
use crate::facts::lineage::from_hex;
use crate::facts::server::ServerFacts;
use crate::pg::client::Session;
use crate::pg::history::{Switch, parse_history};
use crate::pg::lsn::Lsn;
use crate::pg::wal::{PAGE, Wal};

/// How much WAL is read for it at most.
const MOST: u64 = 16 << 20;

/// How much is read at a time.
const PIECE: u64 = 1 << 20;

/// What a server has written since a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenSince {
    /// The position.
    pub since: Lsn,
    /// How many transactions were committed.
    pub commits: u64,
    /// There may be more: not all of it was read.
    pub more: bool,
    /// When the last of them was.
    pub last: Option<Timestamp>,
}

/// Returns the timelines that a server has left; None if it does not report them.
fn left_timelines(server: &ServerFacts) -> Option<Vec<Switch>> {
    match server.timeline.0 {
        1 => Some(Vec::new()),
        _ => parse_history(server.lineage.as_ref()?.history.as_deref()?).ok(),
    }
}

/// Returns where a server diverged from the first of the others that it has diverged from; None if that is unknown.
pub fn diverged_at<'a>(
    server: &ServerFacts,
    others: impl IntoIterator<Item = &'a ServerFacts>,
) -> Option<Lsn> {
    let own = left_timelines(server)?;
    let forks = others.into_iter().filter(|other| *other != server).filter_map(|other| {
        let theirs = left_timelines(other)?;
        match fork((&own, server.timeline), (&theirs, other.timeline)) {
            Fork::At(at) => Some(at),
            // Both have begun the same timeline, where the one before it ended.
            Fork::None => own.last().map(|switch| switch.switch),
            Fork::NoCommonAncestor => None,
        }
    });
    forks.min()
}

/// Reads what a server has written since a position, up to a bound; None where it cannot be read.
pub async fn written(session: &Session, server: &ServerFacts, since: Lsn) -> Option<WrittenSince> {
    let end = server.current_lsn.filter(|_| server.reads_files)?;
    let nothing = WrittenSince { since, commits: 0, more: false, last: None };
    if end <= since {
        return Some(nothing);
    }
    let mut wal = Wal::of_pieces(server.timeline, left_timelines(server)?, server.wal_segment_bytes);
    let upto = end.0.min(since.0 + MOST);
    let mut at = since.0 - since.0 % PAGE as u64;
    while at < upto {
        let segment_end = (at / server.wal_segment_bytes + 1) * server.wal_segment_bytes;
        let count = (segment_end - at).min(PIECE).min((upto - at).next_multiple_of(PAGE as u64));
        let name = wal.segment_of(Lsn(at)).ok()?;
        let sql = "SELECT pg_catalog.encode(pg_catalog.pg_read_binary_file('pg_wal/' || $1, $2::bigint, $3::bigint, true), 'hex')";
        let (from, length) = ((at % server.wal_segment_bytes).to_string(), count.to_string());
        let row = session.query_one(sql, &[Some(&name), Some(&from), Some(&length)]).await.ok()?;
        wal.add_piece(Lsn(at), &from_hex(row.get(0)?)?);
        at += count;
    }
    let stretch = wal.stretch(since, since).ok()?.ok()?;
    // Nothing that was understood: a server with pages of another size.
    (stretch.end > since).then(|| WrittenSince {
        commits: stretch.commits,
        // The last record may not be whole yet.
        more: upto < end.0 || stretch.end.0 + 2 * (PAGE as u64) < upto,
        last: stretch.between.map(|(_, last)| last),
        ..nothing
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::lineage::Lineage;

    fn primary(timeline: u32, history: &str) -> ServerFacts {
        let lineage = Lineage { history: Some(history.into()), ..Lineage::default() };
        ServerFacts { lineage: Some(lineage), ..ServerFacts::example(false, timeline, 0x900) }
    }

    #[test]
    fn where_they_have_parted() {
        let second = "1\t0/300\tx\n";
        let (old, new) = (primary(1, ""), primary(2, second));
        assert_eq!(diverged_at(&old, [&old, &new]), Some(Lsn(0x300)));
        assert_eq!(diverged_at(&new, [&old, &new]), Some(Lsn(0x300)));
        // The old primary may be on a timeline that it has begun itself, long ago.
        let third = primary(3, "1\t0/300\tx\n2\t0/700\tx\n");
        assert_eq!(diverged_at(&new, [&new, &third]), Some(Lsn(0x700)));
        // Promoted apart to one timeline.
        let twin = ServerFacts { started_at: "twin".into(), ..new.clone() };
        assert_eq!(diverged_at(&new, [&new, &twin]), Some(Lsn(0x300)));
        // Two on the first timeline, and one whose history cannot be read.
        let first = ServerFacts { started_at: "first".into(), ..old.clone() };
        assert_eq!(diverged_at(&old, [&old, &first]), None);
        let silent = ServerFacts { lineage: None, ..third };
        assert_eq!(diverged_at(&silent, [&new, &silent]), None);
    }
}
