//! Which nodes accept writes: none, a former primary, or several.

use std::collections::BTreeSet;

use super::{ClusterAssessment, ago, typed_on};
use crate::error::Severity;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::facts::written_since::diverged_at;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::{NodeRow, NodeType};
use crate::units::utc;

impl<'a> ClusterAssessment<'a> {
    /// Whether the only primary is a former one: another node has seen a newer one.
    pub(crate) fn outdated(&mut self, node: &NodeFacts, server: &ServerFacts) {
        let own = self.facts.system_identifier();
        let witnesses = self.facts.nodes.iter().filter_map(|other| Some((&other.row, other.facts()?)));
        let newer = witnesses
            .filter(|(row, other)| {
                row.node_type != NodeType::Witness && Some(other.system_identifier.as_str()) == own
            })
            .map(|(row, other)| {
                (
                    other.timeline,
                    format!("Node \"{}\" is on timeline {}", row.node_name, other.timeline),
                    is_recorded(row, other) || row.node_type != NodeType::Standby,
                )
            });
        let seen = self.view.topology.into_iter().flat_map(|seen| &seen.nodes).filter_map(|seen| {
            let (timeline, at) = (seen.timeline?, seen.last_seen?);
            let role = if seen.was_primary? { "was the primary" } else { "was" };
            let name = &seen.row.node_name;
            let when = ago(self.view.now, at);
            let recorded = seen.was_primary != Some(true) || seen.row.node_type == NodeType::Primary;
            Some((timeline, format!("Node \"{name}\" {role} on timeline {timeline} {when}"), recorded))
        });
        let Some((_, evidence, recorded)) = newer
            .chain(seen)
            .filter(|(timeline, ..)| *timeline > server.timeline)
            .max_by_key(|(timeline, ..)| *timeline)
        else {
            return;
        };
        let name = &node.row.node_name;
        let message = format!("node \"{name}\" accepts writes on an old timeline");
        let issue = self.issue(Severity::Error, "primary_outdated", Some(&node.row), message);
        issue.detail = Some(format!("{evidence}; \"{name}\" is on timeline {}.", server.timeline));
        if recorded {
            issue.hint = Some(format!(
                "There is, or was, a newer primary: find it before more is written to \"{name}\"."
            ));
            self.type_first_on("pgbaton node stop", &node.row);
        } else {
            issue.hint = Some(format!(
                "That promotion is not recorded: it may have been accidental, and \"{name}\" may be the primary that clients use. Decide \
                which of the two stays the primary, and run \"pgbaton node rejoin\" on the other one; it shows what would be discarded."
            ));
        }
    }

    pub(crate) fn no_primary(&mut self, any_responds: bool) {
        if !any_responds {
            let age = self.view.topology.map(|seen| ago(self.view.now, seen.observed_at));
            let issue = self.issue(Severity::Error, "nobody_answers", None, "no node responds".into());
            issue.detail = Some(match age {
                Some(age) => format!("The topology shown was saved {age}."),
                None => "The cluster has never been seen from this host.".into(),
            });
            self.start_primary();
            return;
        }
        let best = self.best_standby();
        let requested = self
            .facts
            .nodes
            .iter()
            .find(|node| node.facts().is_some_and(|server| server.promotion_requested == Some(true)));
        let requested = requested.map(|node| node.row.clone());
        let best_row = best.map(|(node, _)| node.row.clone());
        let lost = self.missing(best.and_then(|(_, server)| Some((server.timeline, server.wal_end()?))));
        let most = best.map(|(node, server)| {
            format!(
                "Of the nodes that respond, \"{}\" has the most WAL: up to {} on timeline {}.{lost}",
                node.row.node_name,
                server.wal_end().map_or_else(|| "an unknown position".to_string(), |lsn| lsn.to_string()),
                server.timeline
            )
        });
        let (seems_alive, all_are_standbys) = (self.primary_seems_alive(), self.all_are_standbys());
        let issue = self.issue(Severity::Error, "no_primary", None, "no node accepts writes".into());
        issue.detail = most;
        if let Some(row) = requested {
            issue.hint = Some(format!(
                "A promotion of \"{}\" was requested but has not happened yet: wait for it, or stop that server, which cancels it.",
                row.node_name
            ));
            self.type_first_on("pgbaton node stop", &row);
        } else if seems_alive {
            issue.hint = Some(
                "The primary seems to be alive although it does not respond from here: check it before you promote \
                anything."
                    .into(),
            );
        } else if let Some(row) = best_row {
            if all_are_standbys {
                let name = &row.node_name;
                issue.hint =
                    Some(format!("All nodes are standbys: promote \"{name}\", and the others follow it."));
                self.type_first_on("pgbaton standby promote", &row);
            } else {
                self.start_or_promote(&row);
            }
        } else {
            issue.detail = Some("Only a witness responds, which has none of the data.".into());
            issue.hint = Some("Start the primary, or a standby: only those have the data.".into());
            self.start_primary();
        }
    }

    /// Returns the node with the most WAL: the one to look at first; promoting it is the operator's decision.
    fn best_standby(&self) -> Option<(&'a NodeFacts, &'a ServerFacts)> {
        let data_nodes = self.facts.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness);
        data_nodes
            .filter_map(|node| Some((node, node.facts()?)))
            .filter(|(_, server)| Some(server.system_identifier.as_str()) == self.facts.system_identifier())
            .max_by_key(|(node, server)| {
                // Among equals not the one that was to hand its role over.
                let is_standby = node.row.node_type == NodeType::Standby;
                (server.timeline, server.wal_end(), is_standby, node.row.priority, -node.row.node_id)
            })
    }

    /// A standby streams from an unknown server, or the registered primary gave at least some sign of life.
    fn primary_seems_alive(&self) -> bool {
        let streaming = self.facts.nodes.iter().any(|node| {
            node.facts()
                .and_then(|server| server.receiver.as_ref())
                .is_some_and(|receiver| receiver.status.as_deref() == Some("streaming"))
                && self.facts.connected_upstream(&node.row.node_name).is_none()
        });
        let answering = self.facts.nodes.iter().any(|node| {
            node.row.node_type == NodeType::Primary
                && node.server.as_ref().is_err_and(|unavailable| unavailable.answered != Answered::Nothing)
        });
        streaming || answering
    }

    /// No node is left that could be the primary.
    fn all_are_standbys(&self) -> bool {
        self.facts
            .nodes
            .iter()
            .filter(|node| node.row.node_type != NodeType::Witness && node.row.active)
            .all(|node| node.facts().is_some_and(|server| server.in_recovery))
    }

    /// Advises to start the former primary, or if that cannot be done, to promote the node with the most WAL.
    fn start_or_promote(&mut self, best: &NodeRow) {
        let name = &best.node_name;
        let can_start = self.silent_primary().map(|row| row.node_name.clone());
        let hint = match &can_start {
            Some(primary) => format!(
                "If \"{primary}\" can be started soon, start it: then a promotion loses no transaction. If it stays down for longer than you \
                can wait, or is gone for good, promote \"{name}\": transactions that \"{name}\" has not received are lost. If \"{primary}\" comes \
                back later, run \"pgbaton node rejoin\" on it."
            ),
            None => {
                format!(
                    "If the primary can be started, start it. If it is gone for good, promote \"{name}\"."
                )
            }
        };
        if let Some(issue) = self.issues.iter_mut().find(|issue| issue.code == "no_primary") {
            issue.hint = Some(hint);
        }
        // If another node may be the primary, and does not respond, no promotion is advised.
        if let Some(primary) = can_start {
            let line = typed_on("pgbaton standby promote", best);
            // After the starts of other standbys, which may have more WAL.
            let starts = self.next.iter().rposition(|line| line.starts_with("pgbaton node start"));
            let place = starts.map_or(0, |last| last + 1);
            self.next.insert(place, format!("{line}, if \"{primary}\" stays down"));
        }
        self.start_primary();
    }

    /// Advises to start the registered primary, if it does not respond at all.
    fn start_primary(&mut self) {
        if let Some(row) = self.silent_primary().cloned() {
            self.type_first_on("pgbaton node start", &row);
        }
    }

    /// Returns the last primary, if it does not respond at all, and no other node is on a newer timeline: then its start would be refused.
    ///
    /// The registered one, unless another node was seen as a primary on a newer timeline: one that was promoted without a record.
    fn silent_primary(&self) -> Option<&NodeRow> {
        let newest = self.facts.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness);
        let newest = newest.filter_map(|node| Some(node.facts()?.timeline)).max();
        // That it was seen as a standby, before it became the primary, says nothing of where it is now.
        let seen = |row: &NodeRow| {
            let seen = self.view.topology?.node(row.node_id)?;
            seen.timeline.filter(|_| seen.was_primary != Some(false))
        };
        let silent = self.facts.nodes.iter().filter(|node| {
            node.server.as_ref().is_err_and(|unavailable| unavailable.answered == Answered::Nothing)
        });
        let silent: Vec<&NodeRow> = silent.map(|node| &node.row).collect();
        let is_registered = |row: &&NodeRow| row.node_type == NodeType::Primary && row.active;
        let registered = silent.iter().copied().find(is_registered);
        let known = registered.and_then(seen).max(newest);
        let was_primary = |row: &&NodeRow| {
            self.view.topology.and_then(|topology| topology.node(row.node_id)?.was_primary) == Some(true)
        };
        let unrecorded = silent.into_iter().filter(was_primary).filter(|row| seen(row) > known);
        unrecorded
            .max_by_key(|row| seen(row))
            .or_else(|| registered.filter(|row| seen(row).is_none() || seen(row) >= newest))
    }

    /// Says what the primary that was last seen had and the best of the others does not have.
    fn missing(&self, best: Option<(TimelineId, Lsn)>) -> String {
        let seen = self.view.topology.into_iter().flat_map(|seen| &seen.nodes);
        let last = seen
            .filter(|node| node.was_primary == Some(true))
            .filter_map(|node| Some((node.timeline?, node.wal_end?, node.last_seen?, &node.row.node_name)));
        let (Some((timeline, end, at, name)), Some((own, has))) = (last.max(), best) else {
            return String::new();
        };
        let when = ago(self.view.now, at);
        if timeline > own {
            return format!(
                " The primary \"{name}\" was on timeline {timeline} {when}; no node that responds has the WAL of that timeline."
            );
        }
        if timeline < own {
            return String::new();
        }
        match end.bytes_since(has).unwrap_or(0) {
            0 => format!(
                " That is all WAL that the primary \"{name}\" had {when}; what it wrote later is unknown."
            ),
            bytes => format!(
                " The primary \"{name}\" had {bytes} bytes more {when}; what it wrote later is unknown."
            ),
        }
    }

    pub(crate) fn split_brain(&mut self, primaries: &[(&NodeFacts, &ServerFacts)]) {
        let all: Vec<String> = primaries
            .iter()
            .map(|(node, server)| {
                format!(
                    "\"{}\" on timeline {} at {}",
                    node.row.node_name,
                    server.timeline,
                    server
                        .current_lsn
                        .map_or_else(|| "an unknown position".to_string(), |lsn| lsn.to_string())
                )
            })
            .collect();
        let stays = valid_primary(primaries).map(|(node, server)| (node.row.clone(), server.timeline));
        let older = stays.as_ref().is_some_and(|(row, timeline)| {
            let mut others = primaries.iter().filter(|(node, _)| node.row.node_id != row.node_id);
            others.all(|(_, server)| server.timeline < *timeline)
        });
        let stays = stays.map(|(row, _)| row);
        let stops: Vec<NodeRow> = primaries
            .iter()
            .map(|(node, _)| &node.row)
            .filter(|row| stays.as_ref().is_some_and(|stays| stays.node_id != row.node_id))
            .cloned()
            .collect();
        let sides = match stays {
            Some(_) => String::new(),
            None => format!(" {}", self.describe_primaries(primaries)),
        };
        let names: Vec<String> = stops.iter().map(|row| format!("\"{}\"", row.node_name)).collect();
        let issue = self.issue(
            Severity::Error,
            "split_brain",
            None,
            format!("split brain: {} nodes accept writes", primaries.len()),
        );
        issue.detail = Some(format!("They are {}.{sides}", all.join(", ")));
        issue.hint = Some(if names.is_empty() {
            "No recorded promotion says which one is the valid primary. Decide which node to keep, and disconnect clients from the \
            others. Then run on each of the others: \"pgbaton node stop\", \"pgbaton node rejoin --dry-run\", which shows what would be \
            discarded, and \"pgbaton node rejoin\"."
                .into()
        } else {
            let why = match older {
                true => "continued on an older timeline",
                false => "is not the recorded primary",
            };
            format!(
                "{} {why}: stop it now, with \"pgbaton node stop\" there. Transactions that only it has are lost \
                when it rejoins.",
                names.join(", ")
            )
        });
        stops.iter().for_each(|row| self.type_first_on("pgbaton node stop", row));
        // Which primary stays decides what the other nodes start with, follow and rejoin.
        if stops.is_empty() {
            self.next.clear();
        }
    }

    /// Reports for each of several primaries: what it has written since they diverged, which standbys stream from it, and its clients.
    fn describe_primaries(&self, primaries: &[(&NodeFacts, &ServerFacts)]) -> String {
        let sides = primaries.iter().map(|(node, server)| {
            let since = diverged_at(server, primaries.iter().map(|(_, other)| *other));
            let written = match since.zip(server.current_lsn) {
                Some((fork, end)) => {
                    let bytes = end.bytes_since(fork).unwrap_or(0);
                    format!("has written {bytes} bytes of WAL since they diverged, {}", transactions(server))
                }
                None => "has written an unknown amount of WAL since they diverged".to_string(),
            };
            let followers: Vec<String> =
                server.senders.iter().map(|sender| format!("\"{}\"", sender.application_name)).collect();
            let followers = match followers.as_slice() {
                [] => "no standby is attached to it".to_string(),
                names => format!("attached to it: {}", names.join(", ")),
            };
            let clients = match server.clients {
                Some(count) => format!("{count} client sessions"),
                None => "an unknown number of client sessions".to_string(),
            };
            let registered = match node.row.node_type {
                NodeType::Primary if node.row.active => ", the registered primary,",
                _ => "",
            };
            format!("\"{}\"{registered} {written}; {followers}; {clients}.", node.row.node_name)
        });
        sides.collect::<Vec<_>>().join(" ")
    }
}

/// Returns which of several primaries is the valid one, if the records say so, from whatever node they are read.
///
/// The one on the newest timeline, if its promotion was recorded. Of several on that timeline, the one whose promotion alone was recorded,
/// or if they share their history, the one that is registered. Otherwise only the operator can decide: a standby that was promoted by
/// mistake is on the newest timeline, too; and of two that were promoted independently each has a record of its own.
pub(crate) fn valid_primary<'a>(
    primaries: &[(&'a NodeFacts, &'a ServerFacts)],
) -> Option<(&'a NodeFacts, &'a ServerFacts)> {
    let newest = primaries.iter().map(|(_, server)| server.timeline).max()?;
    let of_newest: Vec<_> = primaries.iter().filter(|(_, server)| server.timeline == newest).collect();
    if let [(node, server)] = of_newest.as_slice() {
        return is_recorded(&node.row, server).then_some((*node, *server));
    }
    let recorded = |server: &ServerFacts| {
        let promotions = server.lineage.iter().flat_map(|lineage| &lineage.promotions);
        let of_newest = promotions.filter(|promotion| promotion.timeline == newest);
        of_newest.map(|promotion| promotion.uuid.clone()).collect::<BTreeSet<_>>()
    };
    let records: BTreeSet<_> = of_newest.iter().map(|(_, server)| recorded(server)).collect();
    let alone: Vec<_> = of_newest.iter().filter(|(_, server)| !recorded(server).is_empty()).collect();
    let right = match (records.len(), alone.as_slice()) {
        // One past, or nothing but the registration to go by.
        (1, _) => of_newest.iter().find(|(node, _)| is_registered(&node.row)),
        (_, [one]) => Some(*one),
        _ => None,
    };
    right.map(|(node, server)| (*node, *server))
}

fn is_registered(row: &NodeRow) -> bool {
    row.active && row.node_type == NodeType::Primary
}

/// Says whether the promotion of a server was recorded, by pgbaton or by repmgr: otherwise it was promoted by hand, possibly by mistake.
fn is_recorded(row: &NodeRow, server: &ServerFacts) -> bool {
    let promotions = server.lineage.iter().flat_map(|lineage| &lineage.promotions);
    is_registered(row) || promotions.into_iter().any(|promotion| promotion.timeline == server.timeline)
}

/// Says how many transactions a server has committed since it diverged from the others, and until when.
fn transactions(server: &ServerFacts) -> String {
    let Some(written) = &server.written else {
        return "in which transactions could not be counted".to_string();
    };
    let at_least = if written.more { "at least " } else { "" };
    match (written.commits, written.last) {
        (0, _) if written.more => "of which the first 16 MB hold no transaction".to_string(),
        (0, _) | (_, None) => "with no transaction".to_string(),
        (1, Some(last)) => format!("with {at_least}1 transaction, committed at {}", utc(last)),
        (commits, Some(last)) => {
            format!("with {at_least}{commits} transactions, the last one committed at {}", utc(last))
        }
    }
}

#[cfg(test)]
mod tests;
