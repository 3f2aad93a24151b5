//! The saved topology: what is shown when no node responds.
//!
//! Written to the state directory by every command that has seen the cluster, read when connections fail.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facts::cluster::ClusterFacts;
use crate::pg::conninfo::Conninfo;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::{NodeRow, NodeType};
use crate::system::{files, guarded_read};

/// The newest layout that this version reads and the one that it writes.
const FORMAT: u32 = 1;

/// The largest file that is read: many times what the largest cluster takes.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// The cluster as it was last seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Layout of the file.
    pub format: u32,
    /// Whose cluster it is.
    pub system_identifier: Option<String>,
    /// When the file was written.
    pub observed_at: Timestamp,
    /// All registered nodes.
    pub nodes: Vec<SeenNode>,
}

/// A node as it was last seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenNode {
    /// Its row, with a conninfo without passwords.
    pub row: NodeRow,
    /// When it answered last; None if it never did.
    pub last_seen: Option<Timestamp>,
    /// It accepted writes then.
    pub was_primary: Option<bool>,
    /// Its timeline then.
    pub timeline: Option<TimelineId>,
    /// The end of its WAL then.
    pub wal_end: Option<Lsn>,
    /// The logical replication slots that it had then. Only a standby of PostgreSQL 17 or later can have copies of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logical_slots: Vec<String>,
    /// What else was seen of them; earlier versions kept the names alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SeenSlot>,
}

/// A logical replication slot as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenSlot {
    /// Its name.
    pub name: String,
    /// Its output plugin.
    pub plugin: Option<String>,
    /// Up to where its readers had confirmed what they got.
    pub confirmed_flush_lsn: Option<Lsn>,
}

/// Returns the path of the file.
pub fn path(state_directory: &Path) -> PathBuf {
    state_directory.join("topology.json")
}

/// Reads what was last seen.
///
/// # Errors
/// Fails where there is a file that cannot be read or understood; Ok(None) where there is none.
pub fn load(state_directory: &Path) -> anyhow::Result<Option<Topology>> {
    let path = path(state_directory);
    let text = match guarded_read::read(&path, MOST_BYTES) {
        Ok(read) => read.bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("could not read \"{}\"", path.display())),
    };
    let mut topology: Topology =
        serde_json::from_slice(&text).with_context(|| format!("could not parse \"{}\"", path.display()))?;
    anyhow::ensure!(
        topology.format <= FORMAT,
        "\"{}\" was written by a newer version of pgbaton (format {})",
        path.display(),
        topology.format
    );
    // Earlier versions kept positions of a witness, which are those of another cluster.
    for node in topology.nodes.iter_mut().filter(|node| node.row.node_type == NodeType::Witness) {
        node.forget();
    }
    Ok(Some(topology))
}

/// Saves what is seen now; nodes that do not respond keep their last state.
///
/// The disk is waited for only where more has changed than times and positions, which differ every time: a command that looks at a
/// cluster must not have to wait for the disk of a busy server.
///
/// # Errors
/// Fails where the file cannot be written.
pub fn save(state_directory: &Path, facts: &ClusterFacts, now: Timestamp) -> anyhow::Result<()> {
    let before = load(state_directory).ok().flatten();
    let topology = merge(before.as_ref(), facts, now);
    let text = serde_json::to_string_pretty(&topology)?;
    files::make_directory(state_directory, 0o700)?;
    let write = match before {
        Some(before) if before.is_like(&topology) => files::write_without_waiting,
        _ => files::write,
    };
    write(&path(state_directory), text.as_bytes(), 0o600)
}

/// Joins what is seen now with what was seen before.
pub fn merge(before: Option<&Topology>, facts: &ClusterFacts, now: Timestamp) -> Topology {
    let identifier = facts.system_identifier().map(str::to_string);
    // What was seen of another cluster, or of who knows which, says nothing about this one.
    let before = before.filter(|old| identifier.is_none() || old.system_identifier == identifier);
    let nodes = facts
        .nodes
        .iter()
        .map(|node| {
            let row = NodeRow { conninfo: without_secrets(&node.row.conninfo), ..node.row.clone() };
            match node.facts() {
                // A witness, or a server that the row leads to by mistake: its positions are those of another cluster.
                Some(server) if Some(&server.system_identifier) != identifier.as_ref() => {
                    SeenNode { last_seen: Some(now), ..SeenNode::never(row) }
                }
                Some(server) => SeenNode {
                    row,
                    last_seen: Some(now),
                    was_primary: Some(!server.in_recovery),
                    timeline: Some(server.timeline),
                    wal_end: server.wal_end(),
                    logical_slots: server
                        .slots
                        .iter()
                        .filter(|slot| slot.is_usable_logical())
                        .map(|slot| slot.slot_name.clone())
                        .collect(),
                    slots: server
                        .slots
                        .iter()
                        .filter(|slot| slot.is_usable_logical())
                        .map(|slot| SeenSlot {
                            name: slot.slot_name.clone(),
                            plugin: slot.plugin.clone(),
                            confirmed_flush_lsn: slot.confirmed_flush_lsn,
                        })
                        .collect(),
                },
                None => {
                    let old = before.and_then(|t| t.nodes.iter().find(|n| n.row.node_id == row.node_id));
                    SeenNode {
                        row,
                        last_seen: old.and_then(|n| n.last_seen),
                        was_primary: old.and_then(|n| n.was_primary),
                        timeline: old.and_then(|n| n.timeline),
                        wal_end: old.and_then(|n| n.wal_end),
                        logical_slots: old.map(|n| n.logical_slots.clone()).unwrap_or_default(),
                        slots: old.map(|n| n.slots.clone()).unwrap_or_default(),
                    }
                }
            }
        })
        .collect();
    Topology {
        format: FORMAT,
        system_identifier: identifier.or_else(|| before.and_then(|old| old.system_identifier.clone())),
        observed_at: now,
        nodes,
    }
}

/// Returns a conninfo without passwords; one that cannot be parsed may hold one anywhere, so nothing of it is kept.
fn without_secrets(conninfo: &str) -> String {
    Conninfo::parse(conninfo).map(|parsed| parsed.without_secrets().to_string()).unwrap_or_default()
}

impl SeenNode {
    /// A node that was never seen.
    fn never(row: NodeRow) -> Self {
        Self {
            row,
            last_seen: None,
            was_primary: None,
            timeline: None,
            wal_end: None,
            logical_slots: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Keeps only when it answered last.
    fn forget(&mut self) {
        *self = Self { last_seen: self.last_seen, ..Self::never(self.row.clone()) };
    }
}

impl Topology {
    /// Says whether two are the same but for times and positions.
    fn is_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&SeenNode, &SeenNode)| {
            a.row == b.row
                && (a.was_primary, a.timeline, &a.logical_slots)
                    == (b.was_primary, b.timeline, &b.logical_slots)
                && a.slots.iter().map(|slot| &slot.plugin).eq(b.slots.iter().map(|slot| &slot.plugin))
        };
        self.system_identifier == other.system_identifier
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(same)
    }

    /// Finds a node.
    pub fn node(&self, node_id: i32) -> Option<&SeenNode> {
        self.nodes.iter().find(|node| node.row.node_id == node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_positions_are_not_worth_a_wait_for_the_disk() {
        let before: Topology = serde_json::from_value(serde_json::json!({
            "format": 1, "system_identifier": "7", "observed_at": "2026-11-21T10:00:00Z",
            "nodes": [{
                "row": {"node_id": 1, "upstream_node_id": null, "active": true, "node_name": "node1", "type": "primary",
                        "location": "default", "priority": 100, "conninfo": "host=h1", "repluser": "repmgr",
                        "slot_name": null, "config_file": "/x"},
                "last_seen": "2026-11-21T10:00:00Z", "was_primary": true, "timeline": 1, "wal_end": "0/3000000"
            }]
        }))
        .unwrap();
        let changed = |change: fn(&mut Topology)| {
            let mut after = before.clone();
            change(&mut after);
            !before.is_like(&after)
        };
        assert!(!changed(|after| {
            after.observed_at = "2026-11-21T11:00:00Z".parse().unwrap();
            after.nodes[0].last_seen = None;
            after.nodes[0].wal_end = Some(Lsn(0x400_0000));
        }));
        assert!(changed(|after| after.system_identifier = None));
        assert!(changed(|after| after.nodes[0].timeline = Some(TimelineId(2))));
        assert!(changed(|after| after.nodes[0].was_primary = Some(false)));
        assert!(changed(|after| after.nodes[0].row.active = false));
        assert!(changed(|after| after.nodes[0].logical_slots.push("s".into())));
        assert!(changed(|after| after.nodes.clear()));
    }

    #[test]
    fn what_is_no_file_or_has_no_end_is_refused_at_once() {
        let state = tempfile::tempdir().unwrap();
        let path = path(state.path());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from(0o600),
            0,
        )
        .unwrap();
        assert!(format!("{:#}", load(state.path()).unwrap_err()).contains("not a regular file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::File::create(&path).unwrap().set_len(2 << 30).unwrap();
        assert!(format!("{:#}", load(state.path()).unwrap_err()).contains("larger than"));
    }
}
