//! What the saved topology is worth to a server that is to start. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::assess::start::{LocalNode, Opinion};
use crate::facts::topology::{SeenNode, Topology};
use crate::registry::{NodeType, node};
use crate::units::utc;

/// A server that has run for so long after the cluster was last seen may have got standbys that the file does not know, and that have no
/// slot.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// The same if nodes use no slots, so that nothing in the data directory shows them.
const OLD_WITHOUT_SLOTS: Duration = Duration::from_secs(5 * 60);

/// What the file is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedTopologyAssessment {
    /// It is of another cluster: nothing in it is of use.
    pub is_foreign: bool,
    /// The node is a witness: it has a cluster of its own, and can be no primary of this one.
    pub is_witness: bool,
    /// Why it is not believed where it says that there are no other nodes; a whole sentence.
    pub doubt: Option<String>,
    /// Nodes that were seen with something newer than this node has, each with a whole sentence. However old the file is, that is proof.
    pub newer: Vec<(i32, String)>,
}

impl SavedTopologyAssessment {
    /// Returns what was seen that is newer, unless that node answers now: then its answer counts.
    pub fn newer_than_heard(&self, opinions: &[Opinion]) -> Option<&str> {
        let answers = |id: i32| {
            opinions.iter().any(|opinion| opinion.node_id == Some(id) && opinion.timeline.is_some())
        };
        self.newer.iter().find(|(id, _)| !answers(*id)).map(|(_, seen)| seen.as_str())
    }
}

/// Judges the file. `slots` are the names of the replication slots in the data directory, which standbys have if `uses_slots`; `ran_until`
/// is when the server last wrote its control file.
pub fn assess_saved_topology(
    topology: &Topology,
    ours: &LocalNode<'_>,
    slots: &[String],
    uses_slots: bool,
    ran_until: Option<Timestamp>,
) -> SavedTopologyAssessment {
    let doubt =
        |text: String| SavedTopologyAssessment { doubt: Some(text), ..SavedTopologyAssessment::default() };
    match topology.system_identifier.as_deref() {
        Some(theirs) if theirs != ours.system_identifier => {
            let own = topology.node(ours.row.node_id).map(|seen| &seen.row);
            return SavedTopologyAssessment {
                is_witness: own.is_some_and(|own| {
                    own.node_name == ours.row.node_name && own.node_type == NodeType::Witness
                }),
                is_foreign: true,
                ..doubt(format!(
                    "It belongs to another cluster: its system identifier is {theirs}, but that of the data directory is {}.",
                    ours.system_identifier
                ))
            };
        }
        Some(_) => {}
        None => return doubt("It does not say which cluster it belongs to.".into()),
    }
    let timeline = ours.branch.timeline;
    let is_newer = |seen: &&SeenNode| {
        seen.row.node_id != ours.row.node_id
            && seen.row.node_type != NodeType::Witness
            && seen.timeline.is_some_and(|seen| seen > timeline)
    };
    let newer = topology.nodes.iter().filter(is_newer).filter_map(|seen| {
        let role = if seen.was_primary == Some(true) { "a primary" } else { "a standby" };
        let sentence = format!(
            "Node \"{}\" was last seen as {role} on timeline {}, but this node is on timeline {timeline}.",
            seen.row.node_name, seen.timeline?
        );
        Some((seen.row.node_id, sentence))
    });
    let newer = newer.collect();
    let doubt = not_believed(topology, ours, slots, uses_slots, ran_until);
    SavedTopologyAssessment { doubt, newer, ..SavedTopologyAssessment::default() }
}

fn not_believed(
    topology: &Topology,
    ours: &LocalNode<'_>,
    slots: &[String],
    uses_slots: bool,
    ran_until: Option<Timestamp>,
) -> Option<String> {
    let (id, name) = (ours.row.node_id, &ours.row.node_name);
    if topology.node(id).is_none_or(|seen| seen.row.node_name != *name) {
        return Some(format!("It has no node {id} \"{name}\"."));
    }
    let unknown = |slot: &&String| {
        let prefix = node::slot_name(0);
        let number = slot.strip_prefix(prefix.trim_end_matches('0')).and_then(|number| number.parse().ok());
        number.is_some_and(|number: i32| number != id && topology.node(number).is_none())
    };
    if let Some(slot) = slots.iter().find(unknown) {
        return Some(format!(
            "The data directory has a replication slot \"{slot}\" of a node that is missing in it."
        ));
    }
    let age = ran_until.map(|until| until.duration_since(topology.observed_at));
    let (old, limit) = if uses_slots {
        (OLD, "a day")
    } else {
        (OLD_WITHOUT_SLOTS, "5 minutes, and its nodes use no slots")
    };
    if age.is_some_and(|age| age.unsigned_abs() > old && age.is_positive()) {
        return Some(format!(
            "It was saved at {}, and the server ran after that for more than {limit}.",
            utc(topology.observed_at)
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::start::Stance;
    use crate::facts::branch::Branch;
    use crate::pg::history::TimelineId;
    use crate::registry::NodeRow;

    fn topology() -> Topology {
        let node = |node_id, node_type, timeline| SeenNode {
            row: NodeRow::example(node_id, node_type),
            last_seen: None,
            was_primary: Some(node_id == 1),
            timeline: Some(TimelineId(timeline)),
            wal_end: None,
            logical_slots: Vec::new(),
            slots: Vec::new(),
        };
        Topology {
            format: 1,
            system_identifier: Some("7".into()),
            observed_at: "2026-11-21T10:00:00Z".parse().unwrap(),
            nodes: vec![node(1, NodeType::Primary, 3), node(2, NodeType::Standby, 3)],
        }
    }

    fn judged_with(
        topology: &Topology,
        slots: &[&str],
        uses_slots: bool,
        ran_until: &str,
    ) -> SavedTopologyAssessment {
        let row = NodeRow::example(1, NodeType::Primary);
        let branch = Branch {
            timeline: TimelineId(3),
            end: None,
            writes: true,
            streams: false,
            lineage: None,
            segment_bytes: 16 << 20,
        };
        let ours = LocalNode { row: &row, system_identifier: "7", branch, end: None };
        let slots: Vec<String> = slots.iter().map(|slot| (*slot).to_string()).collect();
        assess_saved_topology(topology, &ours, &slots, uses_slots, Some(ran_until.parse().unwrap()))
    }

    fn judged(topology: &Topology, slots: &[&str], ran_until: &str) -> SavedTopologyAssessment {
        let with = judged_with(topology, slots, true, ran_until);
        let without = judged_with(topology, slots, false, ran_until);
        assert!(with.doubt.is_none() || without.doubt.is_some());
        with
    }

    #[test]
    fn where_standbys_have_no_slots_the_file_is_old_soon() {
        let doubt = |uses_slots, until: &str| judged_with(&topology(), &[], uses_slots, until).doubt;
        assert_eq!(doubt(false, "2026-11-21T10:04:59Z"), None);
        assert!(doubt(false, "2026-11-21T10:05:01Z").unwrap().contains("use no slots"));
        assert_eq!(doubt(true, "2026-11-21T10:05:01Z"), None);
    }

    #[test]
    fn a_file_is_believed_if_nothing_speaks_against_it() {
        const SOON_AFTER: &str = "2026-11-21T20:00:00Z";
        let fine = SavedTopologyAssessment::default();
        assert_eq!(judged(&topology(), &[], SOON_AFTER), fine);
        // Slots of registered nodes, of the node itself, and of another program.
        let slots = ["repmgr_slot_1", "repmgr_slot_2", "barman", "repmgr_slot_x", "repmgr_slot_"];
        assert_eq!(judged(&topology(), &slots, SOON_AFTER), fine);
        // Seen after the server was stopped, however long after.
        assert_eq!(judged(&topology(), &[], "2026-01-01T00:00:00Z"), fine);
        let doubt = |change: &dyn Fn(&mut Topology), slots: &[&str], until: &str| {
            let mut topology = topology();
            change(&mut topology);
            judged(&topology, slots, until).doubt.unwrap()
        };
        assert!(doubt(&|_| {}, &["repmgr_slot_30"], SOON_AFTER).contains("\"repmgr_slot_30\""));
        assert!(doubt(&|_| {}, &[], "2026-11-22T10:00:01Z").contains("more than a day"));
        assert!(doubt(&|seen| seen.system_identifier = None, &[], SOON_AFTER).contains("which cluster"));
        assert!(
            doubt(&|seen| seen.nodes[0].row.node_name = "x".into(), &[], SOON_AFTER)
                .contains("no node 1 \"node1\"")
        );
        assert!(doubt(&|seen| seen.nodes.clear(), &[], SOON_AFTER).contains("no node 1"));
    }

    #[test]
    fn another_clusters_file_is_of_no_use_and_an_old_one_is_proof() {
        let mut foreign = topology();
        foreign.system_identifier = Some("8".into());
        foreign.nodes[1].timeline = Some(TimelineId(9));
        let seen = judged(&foreign, &[], "2026-11-21T20:00:00Z");
        assert!(seen.is_foreign && seen.newer.is_empty() && seen.doubt.unwrap().contains("another cluster"));
        assert!(!seen.is_witness);
        foreign.nodes[0].row.node_type = NodeType::Witness;
        assert!(judged(&foreign, &[], "2026-11-21T20:00:00Z").is_witness);
        foreign.nodes[0].row.node_name = "other".into();
        assert!(!judged(&foreign, &[], "2026-11-21T20:00:00Z").is_witness);

        let mut newer = topology();
        newer.nodes[1].timeline = Some(TimelineId(4));
        newer.nodes[1].was_primary = Some(true);
        for until in ["2026-11-21T20:00:00Z", "2027-11-21T20:00:00Z"] {
            let seen = judged(&newer, &[], until);
            assert!(seen.newer_than_heard(&[]).unwrap().contains("as a primary on timeline 4"));
            // It answers now, so what it says now counts.
            let mut opinion = Opinion {
                node_id: Some(2),
                node_name: "node2".into(),
                says: Stance::Supports,
                timeline: Some(TimelineId(3)),
                detail: String::new(),
                defers: false,
                is_primary: false,
                own_address: false,
                server: None,
            };
            assert_eq!(seen.newer_than_heard(std::slice::from_ref(&opinion)), None);
            opinion.timeline = None;
            assert!(seen.newer_than_heard(std::slice::from_ref(&opinion)).is_some());
        }
        // A witness has timelines of its own.
        newer.nodes[1].row.node_type = NodeType::Witness;
        assert!(judged(&newer, &[], "2026-11-21T20:00:00Z").newer.is_empty());
    }
}
