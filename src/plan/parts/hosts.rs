//! What the hosts of nodes that do not respond report, before another node is promoted. Pure.
//!
//! The host of the last known primary shows more than its server can: a server that hangs is running, and one that is down can be prevented
//! from starting as a primary. A sibling that rejects every connection is no reason not to promote if anything else proves that it is a
//! standby.

use crate::assess::alive::Alive;
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::topology::Topology;
use crate::pg::failure::Answered;
use crate::pg::history::TimelineId;
use crate::plan::far_end::ServerState;
use crate::plan::{Check, Override};
use crate::registry::NodeType;

/// What pgbaton on the host of a node says of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostReport {
    /// It was examined there.
    Seen(ServerState),
    /// Another command is running there, or an interrupted one could not be ended; whole sentences.
    Busy(String),
    /// The host responds, but the node's lock could not be taken or its server not be kept down; whole sentences.
    Unsure(String),
    /// The host could not be reached; whole sentences.
    Nothing(String),
}

/// What follows from it.
#[derive(Debug)]
pub enum HostVerdict {
    /// Nothing is promoted.
    Stops(Check),
    /// The server is no primary. Whole sentences.
    NoPrimary(String),
    /// It proves nothing. There may be something to report.
    Nothing(Option<Check>),
}

/// A node that does not respond.
#[derive(Debug)]
pub struct UnreachableNode<'a> {
    /// The node.
    pub node: &'a NodeFacts,
    /// What its server shows all the same.
    pub alive: &'a Alive,
    /// It is, or was when it was last seen, the primary.
    pub was_primary: bool,
    /// Its record and the saved topology show it as a standby: see [`was_standby`].
    pub was_standby: bool,
}

/// Says whether a server responds, but does not report its role.
pub fn hides_its_role(node: &NodeFacts) -> bool {
    node.server.as_ref().is_err_and(|unavailable| unavailable.answered == Answered::Spoke)
}

/// Says whether a node is, or was when it was last seen, the primary.
pub fn was_primary(topology: Option<&Topology>, node: &NodeFacts) -> bool {
    let mut seen = topology.into_iter().flat_map(|seen| &seen.nodes);
    node.row.node_type == NodeType::Primary && node.row.active
        || seen.any(|seen| seen.row.node_id == node.row.node_id && seen.was_primary == Some(true))
}

/// Says whether a node is registered as a standby and was never seen as anything else, on no newer timeline than this one.
pub fn was_standby(topology: Option<&Topology>, node: &NodeFacts, timeline: TimelineId) -> bool {
    let mut seen = topology.into_iter().flat_map(|seen| &seen.nodes);
    node.row.node_type == NodeType::Standby
        && seen.find(|seen| seen.row.node_id == node.row.node_id).is_some_and(|seen| {
            seen.row.node_type == NodeType::Standby
                && seen.was_primary == Some(false)
                && seen.timeline.is_some_and(|seen| seen <= timeline)
        })
}

/// Judges a node that does not respond by what its host reports.
pub fn judge(unasked: &UnreachableNode<'_>, host: Option<&HostReport>, force: bool) -> HostVerdict {
    let UnreachableNode { node, alive, was_primary, was_standby } = *unasked;
    let (id, name) = (node.row.node_id, &node.row.node_name);
    let second =
        |message: String| Check::fail("no_other_primary", message).node(id).exit(Exit::SecondPrimary);
    let (Alive::Yes(shows) | Alive::CannotTell(shows) | Alive::NotSeen(shows)) = alive;
    match host {
        // What it shows itself says as much.
        Some(HostReport::Seen(ServerState::Running(_) | ServerState::Unclear(_)))
            if was_primary && matches!(alive, Alive::Yes(_)) =>
        {
            return HostVerdict::Nothing(None);
        }
        Some(HostReport::Seen(ServerState::Running(why))) => {
            let what = if was_primary { "the primary" } else { "node" };
            return HostVerdict::Stops(
                second(format!("the server of {what} \"{name}\" is running")).detail(why.clone()).hint(
                    "To replace it, stop it on its host first; if it hangs, with an immediate shutdown.",
                ),
            );
        }
        Some(HostReport::Seen(ServerState::Unclear(why))) if was_primary => {
            return HostVerdict::Stops(
                second(format!("the server of the primary \"{name}\" is running"))
                    .detail(why.clone())
                    .hint("Wait until it is up or down; to replace it, stop it on its host."),
            );
        }
        Some(HostReport::Seen(ServerState::Standby)) => {
            return HostVerdict::NoPrimary(format!("{shows} On its host it runs in recovery."));
        }
        Some(HostReport::Seen(ServerState::Down)) if !matches!(alive, Alive::Yes(_)) => {
            return HostVerdict::NoPrimary(format!(
                "{shows} On its host no server runs in its data directory."
            ));
        }
        Some(HostReport::Busy(why)) if was_primary => {
            return HostVerdict::Stops(
                Check::fail("far_end_busy", format!("another operation is running on node \"{name}\""))
                    .node(id)
                    .detail(why.clone())
                    .hint("Wait until it has ended, and try again.")
                    .exit(Exit::Busy),
            );
        }
        Some(HostReport::Unsure(why)) if was_primary => {
            return HostVerdict::Stops(
                Check::fail(
                    "far_end_busy",
                    format!("cannot make sure that \"{name}\" does not start as a primary"),
                )
                .node(id)
                .detail(why.clone())
                .hint("Make sure that no command is running on its host and that its server does not start.")
                .exit(Exit::Busy)
                .overridable_by(Override::Force, force),
            );
        }
        _ => {}
    }
    if was_primary {
        return HostVerdict::Nothing(match host {
            Some(HostReport::Nothing(why)) => Some(
                Check::warning(
                    "far_end",
                    format!("the host of the primary \"{name}\" could not be examined"),
                )
                .node(id)
                .detail(why.clone()),
            ),
            _ => None,
        });
    }
    if !hides_its_role(node) {
        return HostVerdict::Nothing(None);
    }
    if was_standby {
        return HostVerdict::NoPrimary(format!("{shows} It is registered, and was last seen, as a standby."));
    }
    let from_host = match host {
        Some(
            HostReport::Seen(ServerState::Unclear(why)) | HostReport::Busy(why) | HostReport::Nothing(why),
        ) => {
            format!(" {why}")
        }
        _ => String::new(),
    };
    HostVerdict::Stops(
        second(format!("cannot determine whether node \"{name}\" is a primary"))
            .detail(format!("{shows}{from_host} The saved topology does not show it as a standby."))
            .hint(format!(
                "Check the data directory on the host of \"{name}\": a standby has standby.signal, and pg_controldata says \
                 \"in archive recovery\". Or stop its server."
            ))
            .overridable_by(Override::Force, force),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cluster::Unavailable;
    use crate::registry::NodeRow;

    fn node(answered: Answered) -> NodeFacts {
        let unavailable = Unavailable::new(answered, "no");
        NodeFacts { row: NodeRow::example(3, NodeType::Standby), server: Err(unavailable) }
    }

    /// The exit code that stops the promotion; with false, `--force` does not override it. None: it goes on.
    fn stops(
        answered: Answered,
        (was_primary, was_standby): (bool, bool),
        host: Option<HostReport>,
    ) -> Option<(Exit, bool)> {
        let node = node(answered);
        let alive = match answered {
            Answered::Spoke => Alive::Yes("It answers.".into()),
            Answered::Silent => Alive::CannotTell("It accepts.".into()),
            Answered::Nothing => Alive::NotSeen("It does not respond.".into()),
        };
        let unasked = UnreachableNode { node: &node, alive: &alive, was_primary, was_standby };
        match judge(&unasked, host.as_ref(), false) {
            HostVerdict::Stops(check) => Some((check.exit, check.override_by.is_some())),
            HostVerdict::NoPrimary(_) | HostVerdict::Nothing(_) => None,
        }
    }

    const FORMER: (bool, bool) = (true, false);
    const SIBLING: (bool, bool) = (false, false);
    const KNOWN: (bool, bool) = (false, true);

    fn seen(standing: ServerState) -> Option<HostReport> {
        Some(HostReport::Seen(standing))
    }

    fn why() -> String {
        "Why.".into()
    }

    #[test]
    fn a_server_that_runs_as_a_primary_stops_it_whatever_else_is_known() {
        for answered in [Answered::Spoke, Answered::Silent, Answered::Nothing] {
            // For a former primary that responds, its own answer is reported.
            for who in [FORMER, SIBLING, KNOWN]
                .into_iter()
                .filter(|who| (answered, *who) != (Answered::Spoke, FORMER))
            {
                let never = Some((Exit::SecondPrimary, false));
                assert_eq!(
                    stops(answered, who, seen(ServerState::Running(why()))),
                    never,
                    "{answered:?} {who:?}"
                );
            }
        }
        for answered in [Answered::Silent, Answered::Nothing] {
            let unclear = seen(ServerState::Unclear(why()));
            assert_eq!(stops(answered, FORMER, unclear), Some((Exit::SecondPrimary, false)), "{answered:?}");
        }
    }

    #[test]
    fn a_sibling_that_only_speaks_has_to_be_proven_a_standby() {
        let asked = Some((Exit::SecondPrimary, true));
        let spoke = |who, host| stops(Answered::Spoke, who, host);
        assert_eq!(spoke(SIBLING, None), asked);
        assert_eq!(spoke(SIBLING, Some(HostReport::Nothing(why()))), asked);
        assert_eq!(spoke(SIBLING, Some(HostReport::Busy(why()))), asked);
        assert_eq!(spoke(SIBLING, seen(ServerState::Unclear(why()))), asked);
        // Another server answers in its place: of that nothing is known.
        assert_eq!(spoke(SIBLING, seen(ServerState::Down)), asked);
        assert_eq!(spoke(SIBLING, seen(ServerState::Standby)), None);
        assert_eq!(spoke(KNOWN, None), None);
        assert_eq!(spoke(KNOWN, Some(HostReport::Nothing(why()))), None);
        // One that does not answer at all stops nothing, as ever.
        assert_eq!(stops(Answered::Nothing, SIBLING, None), None);
    }

    #[test]
    fn what_is_at_work_on_the_host_of_the_last_primary_has_to_end_first() {
        let former = |host| stops(Answered::Nothing, FORMER, Some(host));
        assert_eq!(former(HostReport::Busy(why())), Some((Exit::Busy, false)));
        assert_eq!(former(HostReport::Unsure(why())), Some((Exit::Busy, true)));
        assert_eq!(former(HostReport::Nothing(why())), None);
        assert_eq!(former(HostReport::Seen(ServerState::Down)), None);
        assert_eq!(stops(Answered::Nothing, SIBLING, Some(HostReport::Busy(why()))), None);
    }
}
