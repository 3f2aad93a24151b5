//! The times of the protocol, and the inequalities that safety rests on.

use crate::rules::Rule;
use crate::time::Ms;

/// Clock rates of two hosts differ by less than one in this many (NTP slews at most half of that).
const CLOCK_RATE: Ms = 1000;

/// The times of the protocol, in milliseconds. They are the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// h: a heartbeat is sent on every lease session at this interval.
    pub heartbeat: Ms,
    /// K: a server ends a lease session that has been silent for this long.
    pub silence: Ms,
    /// T: a lease lasts for this long after the majority's heartbeats were sent.
    pub lease: Ms,
    /// p + δ: from the lease's end until no backend can acknowledge a commit.
    pub fencing: Ms,
    /// G: a candidate has to hold its majority for this long.
    pub grace: Ms,
    /// L: the notes of a hand-over last for this long after the unlock.
    pub note: Ms,
    /// For how long each part of a hand-over is waited for, up to the release of the votes; a stop takes as long as it takes.
    pub ready: Ms,
    /// What a new lease session takes at most.
    pub connect: Ms,
    /// What a restart of the server in place takes at most: a hand-over turns back while there is time for one.
    pub restart: Ms,
    #[cfg(feature = "mutants")]
    /// The rule that is broken, for a test that has to notice.
    pub broken: Option<Rule>,
}

/// A named set of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A lost host is replaced in 4.5 s; a virtual machine that stands still for 0.5 s is too much.
    Fast,
    /// A lost host is replaced in 11 s; 2 s of standstill are tolerated.
    Default,
    /// A lost host is replaced in 22 s; 5 s of standstill are tolerated.
    Conservative,
}

impl Profile {
    /// Returns the times of this profile.
    #[must_use]
    pub const fn params(self) -> Params {
        let (heartbeat, silence, lease, fencing, grace, note, ready) = match self {
            Self::Fast => (250, 1000, 2000, 500, 2600, 1000, 1000),
            Self::Default => (500, 2500, 5000, 2000, 7200, 2000, 2000),
            Self::Conservative => (1000, 5000, 10_000, 5000, 15_200, 5000, 2000),
        };
        Params {
            heartbeat,
            silence,
            lease,
            fencing,
            grace,
            note,
            ready,
            connect: 400,
            restart: 300,
            #[cfg(feature = "mutants")]
            broken: None,
        }
    }
}

impl Params {
    /// Returns whether a rule is in force. It always is, outside of tests that break one.
    #[must_use]
    pub fn keeps(&self, rule: Rule) -> bool {
        #[cfg(feature = "mutants")]
        return self.broken != Some(rule);
        #[cfg(not(feature = "mutants"))]
        {
            let _ = rule;
            true
        }
    }

    /// Returns which inequalities these times break, with the numbers; the daemon does not start with any.
    #[must_use]
    pub fn defects(&self) -> Vec<String> {
        let Self { heartbeat: h, silence: k, lease: t, fencing, grace: g, note: l, connect, .. } = *self;
        let drift = |span: Ms| span + span * 2 / CLOCK_RATE + 1;
        let mut found = Vec::new();
        let mut holds = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        holds(
            g > drift(t + fencing),
            format!("grace ({g} ms) must exceed lease + fencing ({t} + {fencing} ms) by more than 0.2 %"),
        );
        holds(
            l + k + k / CLOCK_RATE < g,
            format!("note + silence ({l} + {k} ms) must be less than grace ({g} ms)"),
        );
        holds(k >= 3 * h, format!("silence ({k} ms) must be at least three heartbeats ({h} ms each)"));
        holds(
            t >= k + 2 * h,
            format!("lease ({t} ms) must be at least silence and two heartbeats ({k} + 2 × {h} ms)"),
        );
        holds(
            t >= 2 * connect,
            format!("lease ({t} ms) must leave time for two connections ({connect} ms each)"),
        );
        holds(h > 0 && fencing > 0, "heartbeat and fencing must not be 0".to_string());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_satisfy_every_inequality() {
        for profile in [Profile::Fast, Profile::Default, Profile::Conservative] {
            assert_eq!(profile.params().defects(), Vec::<String>::new(), "{profile:?}");
        }
    }

    #[test]
    fn each_inequality_is_named_when_it_is_broken() {
        let sound = Profile::Default.params();
        let broken = [
            (Params { grace: 7000, ..sound }, "grace (7000 ms)"),
            (Params { grace: 7014, ..sound }, "grace (7014 ms)"),
            (Params { note: 4700, ..sound }, "note + silence"),
            (Params { silence: 1400, ..sound }, "three heartbeats"),
            (Params { lease: 3400, ..sound }, "two heartbeats"),
            (Params { fencing: 0, ..sound }, "must not be 0"),
        ];
        for (params, says) in broken {
            let defects = params.defects();
            assert!(defects.iter().any(|defect| defect.contains(says)), "{says}: {defects:?}");
        }
    }
}
