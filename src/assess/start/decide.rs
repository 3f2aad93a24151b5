//! The decision from the answers of the other nodes, depending on which command asks.

use serde::Serialize;

use super::{Count, Members, Opinion, Stance, StartVerdict, judge};

/// The command that asks whether a server that is registered as the primary may start, or stay, as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// `node guard`: before something else starts the server.
    Guard,
    /// `node start` of a server without `standby.signal`.
    Start,
    /// `node restart` of a server that is a primary now.
    Restart,
    /// The rollback of a switchover, in the process that starts the former primary as the primary that it was: on its host.
    Rollback,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartDecision {
    /// It may.
    Yes,
    /// It may; nodes that did not respond are to be named.
    YesNaming,
    /// It may not: exit code 31.
    No {
        /// `--force` overrides it: no node that responds objects.
        overridable: bool,
    },
    /// It cannot be determined, and nothing overrides that here.
    Unknown,
}

impl StartDecision {
    /// It may, whether or not nodes have to be named.
    pub fn is_yes(self) -> bool {
        matches!(self, Self::Yes | Self::YesNaming)
    }
}

/// The answers of one round.
#[derive(Clone, Copy, Debug)]
pub struct PollResult<'a> {
    /// The node that it is about.
    pub node_id: i32,
    /// What each of the others says, as [`crate::assess::start::strongest_opinions`] leaves it.
    pub opinions: &'a [Opinion],
    /// Who is registered.
    pub members: &'a Members,
    /// It is known for certain that there is no other node.
    pub alone: bool,
    /// What was seen at another time, is newer, and was not heard now; a whole sentence.
    pub seen_newer: Option<&'a str>,
}

/// The answer with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The answer.
    pub may: StartDecision,
    /// What each of the other nodes says.
    pub opinions: Vec<Opinion>,
    /// How many nodes confirm this one, and of how many.
    pub count: Count,
    /// No other node is registered.
    pub alone: bool,
    /// What was seen at another time and is newer; a whole sentence.
    pub seen_newer: Option<String>,
}

/// Decides for the command that asks.
pub fn decide(asker: Asker, heard: &PollResult<'_>) -> Judgement {
    let PollResult { node_id, opinions, members, alone, seen_newer } = *heard;
    Judgement {
        may: decide_start(asker, heard),
        opinions: opinions.to_vec(),
        count: members.count(node_id, opinions),
        alone: alone && !members.has_others(node_id),
        seen_newer: seen_newer.map(str::to_string),
    }
}

fn decide_start(asker: Asker, heard: &PollResult<'_>) -> StartDecision {
    let PollResult { node_id, opinions, members, alone, seen_newer } = *heard;
    if opinions.iter().any(|opinion| opinion.says == Stance::Opposes) {
        return StartDecision::No { overridable: false };
    }
    if seen_newer.is_some() {
        return StartDecision::No { overridable: true };
    }
    let answers = |opinion: &Opinion| opinion.timeline.is_some();
    let go = match opinions.iter().all(answers) {
        true => StartDecision::Yes,
        false => StartDecision::YesNaming,
    };
    match asker {
        Asker::Guard | Asker::Start => match (judge(node_id, opinions, members, alone, true), asker) {
            (StartVerdict::Start(_), _) => go,
            (_, Asker::Start) => StartDecision::No { overridable: true },
            _ => StartDecision::Unknown,
        },
        Asker::Restart | Asker::Rollback => go,
    }
}

impl Judgement {
    /// Returns everything that was said of something newer.
    pub fn evidence(&self) -> String {
        let against = sentences(self.opinions.iter().filter(|opinion| opinion.says == Stance::Opposes));
        match &self.seen_newer {
            Some(seen) if against.is_empty() => seen.clone(),
            _ => against,
        }
    }

    /// Returns what each node says, or why it says nothing.
    pub fn everything(&self) -> String {
        let said = sentences(self.opinions.iter());
        match &self.seen_newer {
            Some(seen) if said.is_empty() => seen.clone(),
            Some(seen) => format!("{seen} {said}"),
            None => said,
        }
    }

    /// Names the nodes that did not answer, each with why.
    pub fn unheard(&self) -> Option<String> {
        let unheard = sentences(self.opinions.iter().filter(|opinion| opinion.timeline.is_none()));
        (!unheard.is_empty()).then_some(unheard)
    }
}

fn sentences<'a>(opinions: impl Iterator<Item = &'a Opinion>) -> String {
    opinions.map(|opinion| opinion.detail.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::history::TimelineId;
    use crate::registry::{NodeRow, NodeType};

    fn opinion(node_id: i32, says: Stance, answers: bool) -> Opinion {
        Opinion {
            node_id: Some(node_id),
            node_name: format!("node{node_id}"),
            says,
            timeline: answers.then_some(TimelineId(1)),
            detail: format!("{node_id}."),
            defers: false,
            is_primary: false,
            own_address: false,
            server: None,
        }
    }

    const ASKERS: [Asker; 4] = [Asker::Guard, Asker::Start, Asker::Restart, Asker::Rollback];

    fn with(opinions: &[Opinion], alone: bool, seen_newer: Option<&str>) -> [StartDecision; 4] {
        let mut members = Members::default();
        let others = if alone { 1 } else { 3 };
        members
            .learn((1..=others).map(|id| NodeRow::example(id, NodeType::Standby)).collect::<Vec<_>>().iter());
        ASKERS.map(|asker| {
            let heard = PollResult { node_id: 1, opinions, members: &members, alone, seen_newer };
            decide(asker, &heard).may
        })
    }

    const YES: StartDecision = StartDecision::Yes;
    const NAMING: StartDecision = StartDecision::YesNaming;
    const NEVER: StartDecision = StartDecision::No { overridable: false };
    const NOT: StartDecision = StartDecision::No { overridable: true };
    const UNKNOWN: StartDecision = StartDecision::Unknown;

    #[test]
    fn no_command_makes_a_primary_while_another_one_responds() {
        let opinions = [opinion(2, Stance::Supports, true), opinion(3, Stance::Opposes, true)];
        assert_eq!(with(&opinions, false, None), [NEVER; 4]);
        // What was seen at another time counts until that node responds; a person may know better.
        assert_eq!(with(&[opinion(2, Stance::Supports, true)], false, Some("Seen.")), [NOT; 4]);
        assert_eq!(with(&[], true, Some("Seen.")), [NOT; 4]);
    }

    #[test]
    fn what_is_unknown_is_judged_by_the_command_that_asks() {
        let all =
            with(&[opinion(2, Stance::Supports, true), opinion(3, Stance::Supports, true)], false, None);
        assert_eq!(all, [YES; 4]);
        let majority =
            with(&[opinion(2, Stance::Supports, true), opinion(3, Stance::NoAnswer, false)], false, None);
        assert_eq!(majority, [NAMING; 4]);
        let none =
            with(&[opinion(2, Stance::NoAnswer, false), opinion(3, Stance::NoAnswer, false)], false, None);
        assert_eq!(none, [UNKNOWN, NOT, NAMING, NAMING]);
        // A node that responds and confirms nothing is no vote.
        let unclear =
            with(&[opinion(2, Stance::Unclear, true), opinion(3, Stance::Unclear, true)], false, None);
        assert_eq!(unclear, [UNKNOWN, NOT, YES, YES]);
    }

    #[test]
    fn a_node_that_is_registered_alone_starts() {
        assert_eq!(with(&[], true, None)[..3], [YES; 3]);
    }
}
