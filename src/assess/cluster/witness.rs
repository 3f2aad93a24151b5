//! A witness: whether its copy of the metadata is up to date.

use super::ClusterAssessment;
use crate::error::Severity;
use crate::facts::cluster::NodeFacts;
use crate::registry::{NodeRow, NodeType};

impl ClusterAssessment<'_> {
    /// Whether the copy of a witness names the nodes that there are, and the primary. An old one lets a former primary start.
    pub(crate) fn copy(&mut self, node: &NodeFacts) {
        let row = &node.row;
        // If the metadata itself is out of date, that is reported already.
        let is_registered = |row: &&NodeRow| row.active && row.node_type == NodeType::Primary;
        let Some(primary) = self.facts.primaries().map(|(node, _)| &node.row).find(is_registered) else {
            return;
        };
        let Some(copy) = self.view.copies.get(&row.node_id).filter(|_| row.active) else { return };
        let Some(what) = difference(copy, self.facts.nodes.iter().map(|node| &node.row), primary) else {
            return;
        };
        let message = format!("the copy of the metadata on witness \"{}\" is out of date", row.node_name);
        let issue = self.issue(Severity::Warning, "witness_outdated", Some(row), message);
        issue.detail = Some(what);
        issue.hint = Some(format!(
            "Run \"pgbaton witness register --force\" on \"{}\". Until then \"node guard\" may allow a former primary to start because of \
            this copy.",
            row.node_name
        ));
        self.type_on("pgbaton witness register --force", row);
    }
}

/// Says in which way a copy differs that matters for who may be the primary.
fn difference<'a>(
    copy: &[NodeRow],
    rows: impl Iterator<Item = &'a NodeRow>,
    primary: &NodeRow,
) -> Option<String> {
    let named = copy.iter().find(|row| row.active && row.node_type == NodeType::Primary);
    if named.is_none_or(|named| named.node_id != primary.node_id) {
        return Some(match named {
            Some(named) => format!(
                "It names \"{}\" as the primary, but the primary is \"{}\".",
                named.node_name, primary.node_name
            ),
            None => format!("It names no primary, but the primary is \"{}\".", primary.node_name),
        });
    }
    let what = |row: &NodeRow| (row.node_id, row.node_name.clone(), row.conninfo.clone());
    let (mut copied, mut there): (Vec<_>, Vec<_>) =
        (copy.iter().map(what).collect(), rows.map(what).collect());
    copied.sort();
    there.sort();
    let names = |of: &[(i32, String, String)], not_in: &[(i32, String, String)]| {
        let names = of.iter().filter(|row| !not_in.contains(row)).map(|(_, name, _)| format!("\"{name}\""));
        names.collect::<Vec<_>>().join(", ")
    };
    (copied != there).then(|| match (names(&there, &copied), names(&copied, &there)) {
        (missing, old) if missing.is_empty() => format!("It has nodes that are no longer registered: {old}."),
        (missing, _) => format!("These are missing, or have another name or connection string: {missing}."),
    })
}

#[cfg(test)]
mod tests {
    use super::super::assess;
    use super::super::examples::{healthy, view};
    use crate::registry::NodeType;

    #[test]
    fn an_old_copy_is_seen_by_what_it_says_of_the_nodes() {
        let mut facts = healthy();
        let mut witness = facts.nodes[2].clone();
        (witness.row.node_id, witness.row.node_name) = (4, "w".into());
        witness.row.node_type = NodeType::Witness;
        let elsewhere = witness.server.as_mut().unwrap();
        (elsewhere.in_recovery, elsewhere.receiver) = (false, None);
        (elsewhere.system_identifier, elsewhere.started_at) = ("9".into(), "w".into());
        facts.nodes.push(witness);
        let rows: Vec<_> = facts.nodes.iter().map(|node| node.row.clone()).collect();
        let found = |change: &dyn Fn(&mut Vec<crate::registry::NodeRow>)| {
            let mut copy = rows.clone();
            change(&mut copy);
            let copies = [(4, copy)].into();
            let (report, issues) = assess(&facts, &super::super::Viewpoint { copies: &copies, ..view(None) });
            let issue = issues.into_iter().find(|issue| issue.code == "witness_outdated");
            (issue.and_then(|issue| issue.text.detail), report.cluster.next)
        };
        assert_eq!(found(&|_| {}), (None, vec![]));
        // What a daemon may not have copied yet does not matter.
        assert_eq!(found(&|copy| copy[1].priority = 7).0, None);
        let (detail, next) = found(&|copy| {
            copy[0].active = false;
            copy[1].node_type = NodeType::Primary;
        });
        assert_eq!(detail.unwrap(), "It names \"n2\" as the primary, but the primary is \"n1\".");
        assert_eq!(next, ["pgbaton witness register --force  # on \"w\""]);
        let of = |change: &dyn Fn(&mut Vec<crate::registry::NodeRow>)| found(change).0.unwrap_or_default();
        assert!(of(&|copy| drop(copy.remove(1))).contains("missing"));
        assert!(of(&|copy| copy[1].conninfo = "host=elsewhere".into()).contains("\"n2\""));
        assert!(
            of(&|copy| copy.push(crate::registry::NodeRow { node_id: 9, ..copy[1].clone() }))
                .contains("no longer")
        );
        assert!(of(&|copy| copy[0].active = false).starts_with("It names no primary"));
    }
}
