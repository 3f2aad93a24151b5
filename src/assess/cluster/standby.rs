//! A standby: its lag, its replay, its slot, and whether it has diverged from the primary.

use super::attachment::{Attachment, follow};
use super::{ClusterAssessment, NodeView, roles, typed_on};
use crate::assess::history::{Relation, relation};
use crate::error::Severity;
use crate::facts::cluster::NodeFacts;
use crate::facts::paused::{Advice, advice};
use crate::facts::server::ServerFacts;
use crate::facts::slots;
use crate::pg::conninfo::Conninfo;
use crate::pg::lsn::Lsn;
use crate::pg::quote::quote_literal;
use crate::registry::{NodeRow, NodeType};

/// Seconds without a status message of a standby, which sends one every ten unless `wal_receiver_status_interval` is changed.
const SILENT_S: f64 = 30.0;

impl ClusterAssessment<'_> {
    /// How far a node is behind the primary.
    pub(crate) fn positions(
        &mut self,
        server: &ServerFacts,
        primary: Option<&ServerFacts>,
        out: &mut NodeView,
    ) {
        if !server.in_recovery {
            out.receive_lag_bytes = Some(0);
            out.replay_lag_bytes = Some(0);
            out.replay_lag_s = Some(0.0);
            return;
        }
        let Some(written) = primary.and_then(|server| server.current_lsn) else { return };
        // The standby may have been asked a moment after the primary, and be ahead of what the primary said.
        let behind = |position: Option<Lsn>| position.map(|lsn| written.0.saturating_sub(lsn.0));
        out.receive_lag_bytes = behind(server.wal_end());
        out.replay_lag_bytes = behind(server.replay_lsn);
        out.replay_lag_s = self.lag_s(&out.node_name, server, written, self.facts.nodes.len());
    }

    /// How many seconds a standby's state is older than what the primary has written; None if that is unknown. `hops` bounds the
    /// way up, which rows written by hand can make a circle.
    fn lag_s(&self, name: &str, server: &ServerFacts, written: Lsn, hops: usize) -> Option<f64> {
        if server.replay_lsn? >= written {
            return Some(0.0);
        }
        // All that was received is replayed: the time since the last commit says nothing on an idle primary, so what the upstream
        // measured counts, as long as it hears from the standby.
        let upstream = self.facts.observed_upstream(name).filter(|_| !waits_to_be_replayed(server));
        let Some((upstream, from)) = upstream.and_then(|node| Some((node, node.facts()?))) else {
            return server.last_replay_age_s;
        };
        let sender = from.sender_of(name)?;
        match sender.state.as_deref() {
            // The role lacks the privilege to see it.
            None => return None,
            Some("streaming") => {}
            Some(_) => return server.last_replay_age_s,
        }
        let measured = sender.replay_lag_s.unwrap_or(0.0);
        let own = match (sender.reply_age_s.filter(|age| *age > SILENT_S), server.last_replay_age_s) {
            (Some(silent), Some(age)) => silent.min(age).max(measured),
            _ => measured,
        };
        // A standby that keeps up with a lagging standby lags as much.
        let before = match from.in_recovery && hops > 0 {
            true => self.lag_s(&upstream.row.node_name, from, written, hops - 1)?,
            false => 0.0,
        };
        Some(own.max(before))
    }

    /// Whether a standby that streams has kept slots from its time as an upstream.
    pub(crate) fn kept_slots(&mut self, node: &NodeFacts) {
        let name = &node.row.node_name;
        let Some(upstream) = self.facts.observed_upstream(name) else { return };
        let (upstream_id, up) = (upstream.row.node_id, upstream.facts());
        let stale = slots::stale(self.facts, node.row.node_id, upstream_id);
        if stale.is_empty() {
            return;
        }
        // A rejoin leads to the primary.
        let command = match up.is_some_and(|up| up.in_recovery) {
            true => format!("pgbaton standby follow --upstream-node-id={upstream_id}"),
            false => "pgbaton node rejoin".to_string(),
        };
        let names: Vec<String> = stale.iter().map(|slot| format!("\"{slot}\"")).collect();
        let message = format!("node \"{name}\" has replication slots of nodes that do not stream from it");
        let issue = self.issue(Severity::Warning, "slot_inactive", Some(&node.row), message);
        issue.detail =
            Some(format!("They retain WAL, but no standby streams from them: {}.", names.join(", ")));
        let drops: Vec<String> = (stale.iter())
            .map(|slot| format!("SELECT pg_drop_replication_slot({});", quote_literal(slot)))
            .collect();
        issue.hint = Some(format!(
            "If no operation is unfinished, \"{command}\" on \"{name}\" drops them; or run in psql there: {}",
            drops.join(" ")
        ));
        self.type_on(&command, &node.row);
    }

    /// Whether a node has WAL that the primary never had. `typed` is how many commands there were before this node was looked at.
    pub(crate) fn past(
        &mut self,
        node: &NodeFacts,
        server: &ServerFacts,
        reference: Option<(&NodeFacts, &ServerFacts)>,
        typed: usize,
        out: &mut NodeView,
    ) {
        let Some((chief, primary)) = reference else { return };
        if chief.row.node_id == node.row.node_id {
            return;
        }
        let name = node.row.node_name.clone();
        // A standby of another primary shares the history of that one.
        let of_another = self.undecided
            && server.in_recovery
            && self.facts.primaries().any(|(_, other)| other.sender_of(&name).is_some());
        if of_another {
            // There is no lag between diverged nodes.
            (out.receive_lag_bytes, out.replay_lag_bytes, out.replay_lag_s) = (None, None, None);
            return;
        }
        match relation(server, primary) {
            Relation::Same => {}
            Relation::Forked { evidence, at } => {
                if server.in_recovery {
                    // There is no lag between diverged nodes.
                    (out.receive_lag_bytes, out.replay_lag_bytes, out.replay_lag_s) = (None, None, None);
                }
                let chief_name = chief.row.node_name.clone();
                let undecided = self.undecided;
                let issue = self.issue(
                    Severity::Error,
                    "forked",
                    Some(&node.row),
                    format!("node \"{name}\" has diverged from \"{chief_name}\""),
                );
                let shared = at.map(|lsn| format!(" The timelines forked at {lsn}.")).unwrap_or_default();
                issue.detail = Some(format!("{}{shared}", evidence.sentence(&chief_name)));
                let is_standby = server.in_recovery;
                issue.hint = Some(if undecided {
                    "Decide first which of the primaries stays the primary.".into()
                } else {
                    format!(
                        "Transactions that only \"{name}\" has are lost when it becomes a standby of \"{chief_name}\" again. Do not \
                        make it stream as it is. \"pgbaton node rejoin\" shows what would be discarded, and asks."
                    )
                });
                if is_standby && !undecided {
                    // That fixes its other problems, too.
                    self.next.truncate(typed);
                    self.type_on("pgbaton node rejoin", &node.row);
                }
            }
            // In an old cluster the first segment of the timeline is long gone, on every node: no news, day for day.
            Relation::Unknown(_) if out.attached == Some(true) => {}
            Relation::Unknown(why) => {
                let issue = self.issue(
                    Severity::Notice,
                    "history_unknown",
                    Some(&node.row),
                    format!("the timeline history of node \"{name}\" could not be compared"),
                );
                issue.detail = Some(why);
                let unread: Vec<&ServerFacts> =
                    [server, primary].into_iter().filter(|server| !server.reads_files).collect();
                if !unread.is_empty() {
                    let roles = roles(unread.into_iter());
                    issue.hint = Some(format!(
                        "As superuser in this database run: GRANT EXECUTE ON FUNCTION \
                         pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO {roles};"
                    ));
                }
            }
        }
    }

    /// Attachment, replay and slot of a standby.
    pub(crate) fn standby(
        &mut self,
        node: &NodeFacts,
        server: &ServerFacts,
        upstream: Option<&NodeFacts>,
        reference: Option<(&NodeFacts, &ServerFacts)>,
        out: &mut NodeView,
    ) {
        let row = &node.row;
        let name = &row.node_name;
        let attachment = Attachment::of(self.facts, node, server, upstream);
        out.sync_state = attachment.sync_state(name);
        out.attached = attachment.is_attached(server);
        if row.node_type == NodeType::Standby && row.active {
            self.attachment(row, server, &attachment, reference.map(|(primary, _)| &primary.row));
        }
        self.replay(row, server, reference.map(|(_, server)| server), out);
        // If it streams from another node than its record says, that comes first: a slot on the recorded one is of no use to it.
        let of_slot = upstream.filter(|_| !attachment.is_elsewhere());
        self.slot(row, of_slot, reference.map(|(primary, _)| &primary.row), out);
        if let Some((_, primary)) = reference
            && server.version_num / 10_000 != primary.version_num / 10_000
        {
            let message = format!(
                "node \"{name}\" runs PostgreSQL {}, the primary runs {}",
                server.version, primary.version
            );
            self.issue(Severity::Error, "version_differs", Some(row), message);
        }
    }

    fn replay(&mut self, row: &NodeRow, server: &ServerFacts, primary: Option<&ServerFacts>, out: &NodeView) {
        let name = &row.node_name;
        if server.replay_paused == Some(true) {
            let waiting = server
                .wal_end()
                .zip(server.replay_lsn)
                .map_or(0, |(end, replayed)| end.0.saturating_sub(replayed.0));
            let issue = self.issue(
                Severity::Warning,
                "replay_paused",
                Some(row),
                format!("WAL replay is paused on node \"{name}\""),
            );
            issue.detail = Some(format!("{waiting} bytes of received WAL are not replayed."));
            let Advice { text, resume } = advice(name, server, primary);
            issue.hint = Some(text);
            if resume {
                self.next.push(psql(row, "SELECT pg_wal_replay_resume()"));
            }
        } else if let Some(lag) =
            out.replay_lag_s.filter(|lag| *lag - server.apply_delay_s >= self.view.lag_warning_s)
        {
            let bytes = out.replay_lag_bytes.unwrap_or_default();
            let issue = self.issue(
                Severity::Warning,
                "replication_lag",
                Some(row),
                format!("node \"{name}\" lags by {lag:.0} seconds"),
            );
            issue.detail = Some(match server.apply_delay_s {
                0.0 => format!("{bytes} bytes of WAL are not replayed."),
                delay => format!(
                    "{bytes} bytes of WAL are not replayed. A delay of {delay:.0} seconds is configured (recovery_min_apply_delay)."
                ),
            });
        }
    }

    fn slot(
        &mut self,
        row: &NodeRow,
        upstream: Option<&NodeFacts>,
        primary: Option<&NodeRow>,
        out: &mut NodeView,
    ) {
        let (Some(slot_name), Some(upstream)) = (&row.slot_name, upstream) else { return };
        let Some(server) = upstream.facts() else { return };
        let name = &row.node_name;
        let place = &upstream.row.node_name;
        let Some(slot) = server.slot(slot_name) else {
            let issue = self.issue(
                Severity::Error,
                "slot_missing",
                Some(row),
                format!("slot \"{slot_name}\" of node \"{name}\" does not exist on \"{place}\""),
            );
            issue.detail = Some(
                "Without it the upstream may recycle WAL that the node still needs, and a configured slot that is \
                 missing stops it from streaming."
                    .into(),
            );
            let command = primary.map(|primary| follow(&upstream.row, primary));
            if let Some(command) = command {
                issue.hint = Some(format!("Run \"{command}\" on \"{name}\", which creates the slot."));
                self.type_on(&command, row);
            }
            return;
        };
        out.slot_active = Some(slot.active);
        out.slot_wal_status.clone_from(&slot.wal_status);
        out.slot_retained_bytes = slot.retained_bytes;
        if slot.wal_status.as_deref() == Some("lost") {
            let issue = self.issue(
                Severity::Error,
                "slot_lost",
                Some(row),
                format!("slot \"{slot_name}\" of node \"{name}\" on \"{place}\" has lost WAL"),
            );
            issue.detail =
                Some("The WAL that the node needs next was removed (max_slot_wal_keep_size).".into());
            issue.hint = Some(format!(
                "If the archive does not have it, clone the node again: run \"pgbaton node rejoin --reclone\" on \"{name}\"."
            ));
            // To follow would be refused.
            let advised = primary.map(|primary| typed_on(&follow(&upstream.row, primary), row));
            self.next.retain(|line| Some(line) != advised.as_ref());
            self.type_on("pgbaton node rejoin --reclone", row);
        } else if !slot.active && out.attached == Some(true) {
            let issue = self.issue(
                Severity::Warning,
                "slot_unused",
                Some(row),
                format!("node \"{name}\" streams without its slot \"{slot_name}\""),
            );
            issue.detail =
                Some(format!("The slot retains WAL on \"{place}\", but the node does not stream from it."));
            if let Some(command) = primary.map(|primary| follow(&upstream.row, primary)) {
                issue.hint = Some(format!("Run \"{command}\" on \"{name}\", which makes it use the slot."));
                self.type_on(&command, row);
            }
        }
    }
}

/// Writes a command that runs SQL on a node, to be typed anywhere.
fn psql(row: &NodeRow, sql: &str) -> String {
    let conninfo = Conninfo::parse(&row.conninfo).map(|parsed| parsed.without_secrets().to_string());
    shell_words::join(["psql", "-Xd", &conninfo.unwrap_or_default(), "-c", sql])
}

/// Whether a standby has received a whole record that it has not replayed.
///
/// The primary sends what it has flushed, and that may end in the middle of a record: then always at the end of a page. What is missing
/// of such a record comes with the next write, which on an idle primary may be tomorrow.
pub(crate) fn waits_to_be_replayed(server: &ServerFacts) -> bool {
    const PAGE: u64 = 8192;
    match (server.replay_lsn, server.receive_lsn) {
        (Some(replayed), Some(received)) if received > replayed => {
            !(received.0 % PAGE == 0 && received.0 - replayed.0 < PAGE)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
