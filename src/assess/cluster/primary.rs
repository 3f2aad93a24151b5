//! Which nodes accept writes: none, a former primary, or several.

use std::collections::BTreeSet;

use super::{Judge, ago, typed_on};
use crate::error::Severity;
use crate::facts::aside::parted_at;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;
use crate::registry::{NodeRow, NodeType};
use crate::units::utc;

impl Judge<'_> {
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
                "That promotion is not recorded: it may have been accidental, and \"{name}\" may be the primary that clients use. Decide which of \
                the two stays the primary, and run \"pgbaton node rejoin\" on the other one; it shows what would be discarded."
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
        // The standby with the most WAL is the one to look at first; promoting it is the operator's decision.
        let best = self
            .facts
            .nodes
            .iter()
            .filter(|node| node.row.node_type != NodeType::Witness)
            .filter_map(|node| Some((node, node.facts()?)))
            .filter(|(_, server)| Some(server.system_identifier.as_str()) == self.facts.system_identifier())
            .max_by_key(|(node, server)| {
                // Among equals not the one that was to hand its role over.
                let is_standby = node.row.node_type == NodeType::Standby;
                (server.timeline, server.wal_end(), is_standby, node.row.priority, -node.row.node_id)
            });
        let streaming = self.facts.nodes.iter().any(|node| {
            node.facts()
                .and_then(|server| server.receiver.as_ref())
                .is_some_and(|receiver| receiver.status.as_deref() == Some("streaming"))
                && self.facts.observed_upstream(&node.row.node_name).is_none()
        });
        let answering = self.facts.nodes.iter().any(|node| {
            node.row.node_type == NodeType::Primary
                && node.server.as_ref().is_err_and(|silence| silence.answered != Answered::Nothing)
        });
        // No node is left that could be the primary.
        let all_are_standbys = self
            .facts
            .nodes
            .iter()
            .filter(|node| node.row.node_type != NodeType::Witness && node.row.active)
            .all(|node| node.facts().is_some_and(|server| server.in_recovery));
        let requested = self
            .facts
            .nodes
            .iter()
            .find(|node| node.facts().is_some_and(|server| server.promotion_requested == Some(true)));
        let requested = requested.map(|node| node.row.clone());
        let best_row = best.map(|(node, _)| node.row.clone());
        let best_name =
            best.map(|(node, server)| (node.row.node_name.clone(), server.timeline, server.wal_end()));
        let lost = self.missing(best.and_then(|(_, server)| Some((server.timeline, server.wal_end()?))));
        let issue = self.issue(Severity::Error, "no_primary", None, "no node accepts writes".into());
        issue.detail = best_name.as_ref().map(|(name, timeline, end)| {
            format!(
                "Of the nodes that respond, \"{name}\" has the most WAL: up to {} on timeline {timeline}.{lost}",
                end.map_or_else(|| "an unknown position".to_string(), |lsn| lsn.to_string())
            )
        });
        if let Some(row) = requested {
            issue.hint = Some(format!(
                "A promotion of \"{}\" was requested but has not happened yet: wait for it, or stop that server, which cancels it.",
                row.node_name
            ));
            self.type_first_on("pgbaton node stop", &row);
        } else if streaming || answering {
            issue.hint = Some(
                "The primary seems to be alive although it does not respond from here: check it before you promote \
                anything."
                    .into(),
            );
        } else if let Some(row) = best_row.filter(|_| all_are_standbys) {
            let name = &row.node_name;
            issue.hint =
                Some(format!("All nodes are standbys: promote \"{name}\", and the others follow it."));
            self.type_first_on("pgbaton standby promote", &row);
        } else if let Some((name, ..)) = best_name {
            let row = best.map(|(node, _)| node.row.clone());
            let can_start = self.silent_primary().map(|row| row.node_name.clone());
            let issue_hint = match &can_start {
                Some(primary) => format!(
                    "If \"{primary}\" can be started soon, start it: then a promotion loses no transaction. If it stays down for longer than you can wait, or is gone \
                    for good, promote \"{name}\": transactions that \"{name}\" has not received are lost. If \"{primary}\" comes back later, run \
                    \"pgbaton node rejoin\" on it."
                ),
                None => format!(
                    "If the primary can be started, start it. If it is gone for good, promote \"{name}\"."
                ),
            };
            if let Some(issue) = self.issues.iter_mut().find(|issue| issue.code == "no_primary") {
                issue.hint = Some(issue_hint);
            }
            // If another node may be the primary, and does not respond, no promotion is advised.
            if let (Some(row), Some(primary)) = (row, can_start) {
                let line = typed_on("pgbaton standby promote", &row);
                self.next.insert(0, format!("{line}, if \"{primary}\" stays down"));
            }
            self.start_primary();
        } else {
            issue.detail = Some("Only a witness responds, which has none of the data.".into());
            issue.hint = Some("Start the primary, or a standby: only those have the data.".into());
            self.start_primary();
        }
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
        let silent =
            self.facts.nodes.iter().filter(|node| {
                node.server.as_ref().is_err_and(|silence| silence.answered == Answered::Nothing)
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
        let stays = right_one(primaries).map(|(node, server)| (node.row.clone(), server.timeline));
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
            None => format!(" {}", self.sides(primaries)),
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
            "No recorded promotion says which one is the valid primary. Decide which node to keep, and disconnect clients from the others. Then run on \
            each of the others: \"pgbaton node stop\", \"pgbaton node rejoin --dry-run\", which shows what would be discarded, and \"pgbaton node \
            rejoin\"."
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
    fn sides(&self, primaries: &[(&NodeFacts, &ServerFacts)]) -> String {
        let sides = primaries.iter().map(|(node, server)| {
            let since = parted_at(server, primaries.iter().map(|(_, other)| *other));
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
/// The one on the newest timeline, if its promotion was recorded. Of several on that timeline, the one whose promotion alone was recorded, or if
/// they share their history, the one that is registered. Otherwise only the operator can decide: a standby that was promoted by mistake is on
/// the newest timeline, too; and of two that were promoted independently each has a record of its own.
pub(crate) fn right_one<'a>(
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
mod tests {
    use jiff::Timestamp;

    use super::super::examples::{NOW, healthy, judged, promote, server, silence, view};
    use super::super::{State, Viewpoint, assess};
    use super::*;
    use crate::facts::cluster::ClusterFacts;
    use crate::facts::lineage::{Lineage, Promotion};
    use crate::facts::topology;

    #[test]
    fn of_two_that_were_promoted_independently_none_is_named() {
        let recorded = |uuid: &str| {
            let promotions = vec![Promotion { timeline: TimelineId(2), uuid: uuid.into() }];
            Some(Lineage { promotions, ..Lineage::default() })
        };
        let next = |one: Option<&str>, other: Option<&str>| {
            let mut facts = healthy();
            facts.nodes[0].server = Err(silence(Answered::Nothing));
            for (at, uuid) in [(1, one), (2, other)] {
                promote(&mut facts, at, 2);
                server(&mut facts, at).lineage = uuid.and_then(recorded);
            }
            assess(&facts, &view(None)).0.cluster.next
        };
        // Each has a record of its own.
        assert_eq!(next(Some("a"), Some("b")), Vec::<String>::new());
        // One was promoted by hand.
        assert_eq!(next(Some("a"), None), ["pgbaton node stop  # on \"n3\""]);
        assert_eq!(next(None, Some("b")), ["pgbaton node stop  # on \"n2\""]);
        // One past, and the registered one is down: it would start as a standby of one of them.
        assert_eq!(next(Some("a"), Some("a")), Vec::<String>::new());
    }

    #[test]
    fn no_primary_names_the_one_with_the_most_wal_and_what_may_be_missing() {
        let mut facts = healthy();
        let seen = topology::merge(None, &facts, NOW);
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        for at in [1, 2] {
            server(&mut facts, at).receiver = None;
            server(&mut facts, at).receive_lsn = Some(Lsn(49_000 + at as u64));
            server(&mut facts, at).replay_lsn = Some(Lsn(49_000));
        }
        let (report, issues) = assess(&facts, &view(Some(&seen)));
        assert_eq!(report.cluster.state, State::NoPrimary);
        let both =
            ["pgbaton node start  # on \"n1\"", "pgbaton standby promote  # on \"n3\", if \"n1\" stays down"];
        assert_eq!(report.cluster.next, both);
        assert_eq!(issues[0].code, "no_primary");
        let detail = issues[0].detail.as_deref().unwrap();
        assert!(
            detail.contains("\"n3\" has the most WAL") && detail.contains("had 998 bytes more"),
            "{detail}"
        );
        // A server responds there, or a standby streams from it: no promotion and no start is advised.
        facts.nodes[0].server = Err(silence(Answered::Silent));
        let (report, issues) = assess(&facts, &view(Some(&seen)));
        assert!(issues[0].hint.as_deref().unwrap().contains("seems to be alive"));
        assert_eq!(report.cluster.next, Vec::<String>::new());
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        server(&mut facts, 1).receiver = ServerFacts::example(true, 1, 1).receiver;
        let (_, issues) = assess(&facts, &view(None));
        assert!(issues[0].hint.as_deref().unwrap().contains("seems to be alive"));
    }

    #[test]
    fn a_new_primary_that_was_seen_only_as_a_standby_is_the_one_to_start() {
        let mut facts = healthy();
        let seen = topology::merge(None, &facts, NOW);
        // n3 took over and is gone as well; n2 has followed it.
        (facts.nodes[0].row.active, facts.nodes[2].row.node_type) = (false, NodeType::Primary);
        for at in [0, 2] {
            facts.nodes[at].server = Err(silence(Answered::Nothing));
        }
        server(&mut facts, 1).receiver = None;
        server(&mut facts, 1).timeline = TimelineId(2);
        let (report, issues) = assess(&facts, &view(Some(&seen)));
        let both =
            ["pgbaton node start  # on \"n3\"", "pgbaton standby promote  # on \"n2\", if \"n3\" stays down"];
        assert_eq!(report.cluster.next, both);
        let issue = issues.iter().find(|issue| issue.code == "no_primary").unwrap();
        assert!(issue.hint.as_deref().unwrap().contains("If \"n3\" can be started soon"), "{issue:?}");
        // Last seen as the primary of a timeline that n2 has left behind, it was replaced by an unrecorded promotion.
        let mut seen = seen;
        seen.nodes[2].was_primary = Some(true);
        let (report, _) = assess(&facts, &view(Some(&seen)));
        assert!(!report.cluster.next.iter().any(|line| line.contains("n3")), "{:?}", report.cluster.next);
    }

    #[test]
    fn a_node_that_was_promoted_without_a_record_is_the_one_to_start() {
        let mut facts = healthy();
        promote(&mut facts, 1, 2);
        let seen = topology::merge(None, &facts, NOW);
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        facts.nodes[1].server = Err(silence(Answered::Nothing));
        server(&mut facts, 2).receiver = None;
        let (report, issues) = assess(&facts, &view(Some(&seen)));
        let next = &report.cluster.next;
        assert!(next.contains(&"pgbaton node start  # on \"n2\"".to_string()), "{next:?}");
        assert!(!next.iter().any(|line| line.contains("start  # on \"n1\"")), "{next:?}");
        let issue = issues.iter().find(|issue| issue.code == "no_primary").unwrap();
        let detail = issue.detail.as_deref().unwrap();
        assert!(detail.contains("primary \"n2\" was on timeline 2"), "{detail}");
        assert!(issue.hint.as_deref().unwrap().contains("If \"n2\" can be started soon"), "{issue:?}");
    }

    #[test]
    fn where_all_are_standbys_one_of_them_is_to_be_promoted() {
        let mut facts = healthy();
        for at in [0, 1, 2] {
            let end = Lsn(if at == 1 { 49_001 } else { 49_000 });
            let standby = ServerFacts::example(true, 1, end.0);
            facts.nodes[at].server =
                Ok(ServerFacts { started_at: at.to_string(), receiver: None, ..standby });
        }
        let (report, issues) = assess(&facts, &view(None));
        assert_eq!(report.cluster.state, State::NoPrimary);
        assert_eq!(report.cluster.next[0], "pgbaton standby promote  # on \"n2\"");
        // Without a primary there is nowhere to register.
        assert!(!report.cluster.next.concat().contains("register"), "{:?}", report.cluster.next);
        assert!(issues[0].hint.as_deref().unwrap().contains("promote \"n2\""), "{issues:?}");
        // Another one may be the primary: it does not respond, or a standby streams from it.
        facts.nodes[2].server = Err(silence(Answered::Nothing));
        assert!(!assess(&facts, &view(None)).0.cluster.next.concat().contains("promote"));
    }

    #[test]
    fn only_a_witness_answers() {
        let mut facts = healthy();
        facts.nodes[2].row.node_type = NodeType::Witness;
        promote(&mut facts, 2, 1);
        server(&mut facts, 2).system_identifier = "8".into();
        (0..=1).for_each(|at| facts.nodes[at].server = Err(silence(Answered::Nothing)));
        let (report, issues) = assess(&facts, &view(None));
        assert_eq!(report.cluster.state, State::NoPrimary);
        assert_eq!(report.cluster.next[0], "pgbaton node start  # on \"n1\"");
        let issue = issues.iter().find(|issue| issue.code == "no_primary").unwrap();
        assert!(issue.detail.is_some() && issue.hint.is_some(), "{issue:?}");
    }

    #[test]
    fn nobody_answers() {
        let mut facts = healthy();
        let seen = topology::merge(None, &facts, NOW);
        facts.nodes.iter_mut().for_each(|node| node.server = Err(silence(Answered::Nothing)));
        let later = Viewpoint { now: Timestamp::from_second(180).unwrap(), ..view(Some(&seen)) };
        let (report, issues) = assess(&facts, &later);
        assert_eq!(report.cluster.state, State::Unknown);
        assert_eq!((report.cluster.observed_at, report.nodes[0].last_seen), (NOW, Some(NOW)));
        assert_eq!(report.cluster.next[0], "pgbaton node start  # on \"n1\"");
        assert!(issues[0].detail.as_deref().unwrap().contains("saved 3 minutes ago"), "{issues:?}");
    }

    /// The metadata has a row of the promotion to the timeline that a server is on.
    fn promoted_by_pgbaton(facts: &mut ClusterFacts, at: usize) {
        let server = server(facts, at);
        let promotion = Promotion { timeline: server.timeline, uuid: "u".into() };
        server.lineage = Some(Lineage { promotions: vec![promotion], ..Lineage::default() });
    }

    #[test]
    fn a_promotion_that_was_requested_is_waited_for_or_withdrawn() {
        let mut facts = healthy();
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        server(&mut facts, 2).receiver = None;
        server(&mut facts, 1).receiver = None;
        server(&mut facts, 1).promotion_requested = Some(true);
        let (report, issues) = assess(&facts, &view(None));
        assert_eq!(report.cluster.next, ["pgbaton node stop  # on \"n2\""]);
        assert!(issues.iter().any(|issue| issue.code == "promotion_requested"), "{issues:?}");
    }

    #[test]
    fn several_primaries() {
        let mut facts = healthy();
        promote(&mut facts, 1, 2);
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, report.cluster.primary_node_id), (State::SplitBrain, None));
        assert_eq!(codes[0], "split_brain");
        // An unrecorded promotion may have been accidental: both sides are shown, and neither is named as the one to stop.
        server(&mut facts, 0).clients = Some(7);
        let (report, issues) = assess(&facts, &view(None));
        assert!(
            report.cluster.next.iter().all(|command| !command.contains("stop")),
            "{:?}",
            report.cluster.next
        );
        let detail = issues[0].detail.as_deref().unwrap();
        assert!(detail.contains("\"n1\", the registered primary,"), "{detail}");
        assert!(detail.contains("attached to it: \"n2\", \"n3\"; 7 client sessions."), "{detail}");
        // One that was recorded stays.
        promoted_by_pgbaton(&mut facts, 1);
        assert_eq!(judged(&facts).0.cluster.next[0], "pgbaton node stop  # on \"n1\"");
        // On one timeline it is unknown which; the registered one is the one to keep.
        promote(&mut facts, 1, 1);
        let (report, codes) = judged(&facts);
        assert!(codes.contains(&"forked"), "{codes:?}");
        assert_eq!(report.cluster.next[0], "pgbaton node stop  # on \"n2\"");
        facts.nodes[0].row.node_type = NodeType::Standby;
        assert!(judged(&facts).0.cluster.next.iter().all(|command| !command.contains("stop")));
    }

    #[test]
    fn promoted_by_hand() {
        let mut facts = healthy();
        facts.nodes[0].server = Err(silence(Answered::Nothing));
        facts.nodes[0].row.active = false;
        facts.nodes.truncate(2);
        promote(&mut facts, 1, 2);
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, report.cluster.primary_node_id), (State::Degraded, Some(2)));
        assert!(codes.contains(&"running_as_primary"), "{codes:?}");
        assert_eq!(
            report.cluster.next,
            ["pgbaton primary register --force  # on \"n2\"", "pgbaton node rejoin  # on \"n1\""]
        );
    }

    #[test]
    fn a_primary_that_was_replaced() {
        let mut facts = healthy();
        server(&mut facts, 2).timeline = TimelineId(2);
        let (report, codes) = judged(&facts);
        assert_eq!(report.cluster.state, State::Degraded);
        assert!(codes.contains(&"primary_outdated"), "{codes:?}");
        assert!(
            report.cluster.next.iter().all(|command| !command.contains("stop")),
            "{:?}",
            report.cluster.next
        );
        promoted_by_pgbaton(&mut facts, 2);
        let (report, _) = judged(&facts);
        assert_eq!(report.cluster.next[0], "pgbaton node stop  # on \"n1\"");
        // Or no node that has seen the newer one responds now.
        let mut before = healthy();
        promote(&mut before, 1, 2);
        let seen = topology::merge(None, &before, NOW);
        let mut facts = healthy();
        facts.nodes[1].server = Err(silence(Answered::Nothing));
        let (_, issues) = assess(&facts, &view(Some(&seen)));
        let outdated = issues.iter().find(|issue| issue.code == "primary_outdated").unwrap();
        assert!(outdated.detail.as_deref().unwrap().starts_with("Node \"n2\" was the primary on timeline 2"));
    }
}
