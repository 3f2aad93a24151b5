//! The last look before an effect that makes a primary, and what forbids the effect. Pure.

use serde::{Deserialize, Serialize};

use crate::pg::endpoint::Endpoint;
use crate::pg::history::TimelineId;
use crate::pg::lsn::Lsn;

/// The last look before an effect that makes a primary: what none of the other nodes may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalCheck {
    /// The node that is to become, or to stay, the one that others are compared with.
    pub node_id: i32,
    /// The timeline of the cluster that the operation was planned for: a newer one proves a promotion.
    pub timeline: TimelineId,
    /// The other data nodes, by node id.
    pub others: Vec<(i32, Endpoint)>,
    /// A node whose lock was lost or never held is connected to, and its lock is taken again. Not inside an outage, where it is only named.
    pub relock: bool,
    /// Those of them that may not have more WAL than the node, unless its loss is accepted today.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<i32>,
}

/// What the last look shows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalCheckFacts {
    /// It is a standby.
    pub in_recovery: bool,
    /// The newest timeline that it knows of.
    pub timeline: TimelineId,
    /// Its promotion is requested; None where our role may not see that.
    pub requested: Option<bool>,
    /// Where its WAL ends, as a standby.
    pub end: Option<Lsn>,
}

impl FinalCheck {
    /// Says why nothing may be made a primary, by what is seen of another node, as a whole sentence.
    ///
    /// `ours` is where the node's own WAL ends; None where what others have beyond it may be lost.
    pub fn objection(
        &self,
        node_id: i32,
        on: &Endpoint,
        state: &FinalCheckFacts,
        ours: Option<Lsn>,
    ) -> Option<String> {
        let (name, timeline) = (&on.name, state.timeline);
        if !state.in_recovery {
            return Some(format!("{} is a primary, on timeline {timeline} or later.", capitalize(name)));
        }
        if state.requested == Some(true) {
            // It cannot be cancelled, and happens as soon as the startup process handles it.
            return Some(format!("A promotion of {name} has been requested."));
        }
        if timeline > self.timeline {
            let planned = self.timeline;
            return Some(format!(
                "{} is on timeline {timeline}; the operation was planned on timeline {planned}.",
                capitalize(name)
            ));
        }
        let compared = self.behind.contains(&node_id) && timeline == self.timeline;
        match (state.end, ours) {
            (Some(end), Some(ours)) if compared && end > ours => Some(format!(
                "{} has WAL up to {end}, but the node to be promoted only up to {ours}: {} bytes would be lost.",
                capitalize(name),
                end.0 - ours.0
            )),
            _ => None,
        }
    }
}

fn capitalize(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_node_shows_forbids_the_effect() {
        let on = Endpoint { name: "node \"n3\"".into(), conninfo: String::new(), secret: None };
        let others = vec![(3, on.clone())];
        let look = FinalCheck { node_id: 2, timeline: TimelineId(2), others, relock: true, behind: vec![3] };
        let state = FinalCheckFacts {
            in_recovery: true,
            timeline: TimelineId(2),
            requested: None,
            end: Some(Lsn(0x500)),
        };
        let objection =
            |state: FinalCheckFacts, ours| look.objection(3, &on, &state, ours).unwrap_or_default();
        assert_eq!(objection(state, Some(Lsn(0x500))), "");
        let says = objection(state, Some(Lsn(0x4F0)));
        assert!(says.starts_with("Node \"n3\" has WAL up to 0/500") && says.contains("16 bytes"), "{says}");
        // It is accepted; it is of another timeline, and not comparable; it is not to be compared.
        assert_eq!(objection(state, None), "");
        assert_eq!(objection(FinalCheckFacts { timeline: TimelineId(1), ..state }, Some(Lsn(0x4F0))), "");
        let forked = FinalCheck { behind: Vec::new(), ..look.clone() };
        assert_eq!(forked.objection(3, &on, &state, Some(Lsn(0x4F0))), None);
        for (other, word) in [
            (FinalCheckFacts { in_recovery: false, ..state }, "is a primary, on timeline 2"),
            (FinalCheckFacts { timeline: TimelineId(3), ..state }, "is on timeline 3"),
            (FinalCheckFacts { requested: Some(true), ..state }, "has been requested"),
        ] {
            for ours in [None, Some(Lsn(0x500))] {
                let says = objection(other, ours);
                assert!(says.contains(word), "{says}");
            }
        }
    }
}
