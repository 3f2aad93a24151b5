//! What one server reports.

mod query;
mod slot;

use serde::{Deserialize, Serialize};

use crate::facts::daemons::Daemons;
use crate::facts::lineage::Lineage;
use crate::facts::written_since::WrittenSince;
use crate::pg::conninfo::Conninfo;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;

pub use query::{clients, query_server_facts, replay_lsn};
pub use slot::Slot;

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
    pub written: Option<WrittenSince>,
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
    /// What it shows of daemons; None where that could not be read. It is true of this moment only, and not kept.
    #[serde(skip)]
    pub daemons: Option<Daemons>,
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
    /// Says that the WAL receiver of a standby hangs, or has lost its connection without knowing it: what it, and what its upstream last
    /// had of it, is older than it can be. `sender` is what the upstream says. A whole sentence.
    pub fn hangs(&self, sender: Option<&Sender>) -> Option<String> {
        let (interval, timeout) = self.receiver_times_s;
        let age = sender.and_then(|sender| sender.reply_age_s);
        // With an interval of 0 it answers only when it is asked to.
        if let Some(age) = age.filter(|age| interval > 0.0 && *age > 2.0 * interval + LATE_S) {
            return Some(format!(
                "Its WAL receiver last reported to the upstream {age:.0} s ago, but should do so every {interval:.0} s \
                 (wal_receiver_status_interval)."
            ));
        }
        let age = self.receiver.as_ref().and_then(|receiver| receiver.message_age_s);
        let age = age.filter(|age| timeout > 0.0 && *age > timeout + LATE_S)?;
        Some(format!(
            "Its WAL receiver has received no message for {age:.0} s, but should have exited after {timeout:.0} s \
             (wal_receiver_timeout): it hangs."
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
            daemons: Some(Daemons::default()),
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
