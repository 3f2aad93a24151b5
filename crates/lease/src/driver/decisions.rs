//! What a daemon decides by itself: how its hand-over goes on, what it refuses, when it stands for election.

use super::{Answered, Driver, Output, SHOWN, Withheld};
use crate::event::{Ask, Event, Flag, Refusal, Word};
use crate::mailbox::{Role, Saying, Status};
use crate::outlook::{Lack, Outlook, Standby, best, lack};
use crate::state::Stage;
use crate::time::Time;
use crate::votes::Node;

impl<const N: usize> Driver<N> {
    /// The leader's part of a hand-over that comes from what the heir shows.
    pub(super) fn pursue_hand_over(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(present) = self.state.hand_over else {
            self.heir = None;
            self.shutdown = None;
            return;
        };
        if present.stage == Stage::Asked {
            // Of another stop: the server has written since.
            self.shutdown = None;
        }
        let heir = self.id(present.to);
        let Some(view) = self.fresh(present.to, now) else { return };
        let said = view.statuses.iter().find(|status| status.node == heir).copied();
        let Some(Status { incarnation, says: Some((op, saying)), .. }) = said else { return };
        if op != present.op {
            return;
        }
        match (present.stage, saying) {
            (Stage::Asked, Saying::Ready(_)) => {
                self.heir = Some(incarnation);
                self.tell(Event::Ready(present.to, op), now, out);
            }
            (Stage::Stopped, Saying::Ready(end)) if self.shutdown.is_some_and(|shutdown| end >= shutdown) => {
                self.tell(Event::HeirHasAll(op), now, out);
            }
            (Stage::Asked, Saying::No(_)) => self.tell(Event::Failed(op), now, out),
            (_, Saying::No(_)) if self.heir == Some(incarnation) => self.tell(Event::Refused(op), now, out),
            _ => {}
        }
    }

    /// A note that cannot be used in half of its life is refused, for good: the leader takes the role back by that word alone.
    pub(super) fn refuse_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Some((_, ready)) = self.state.ready
            && let Some((op, since)) = self.noted
            && op == ready
            && now >= since.after(self.params.note / 2)
        {
            // Shown only if the core has given it up: a promotion that is requested cannot be refused any more.
            self.answered = None;
            self.tell(Event::Refuse, now, out);
            if self.state.ready.is_none() && !self.state.may_write() {
                self.refused = Some(op);
                let (word, ask) = (Word::No(Refusal::Voters), Ask::Ready(self.state.me));
                self.answered = Some(Answered { op, ask, word, until: now.after(SHOWN) });
            }
        }
    }

    /// Stands for election when the primary looks lost and no other standby is better; makes way for one that is.
    pub(super) fn consider_candidacy(&mut self, now: Time, out: &mut Vec<Output>) {
        let is_own = self.state.candidacy.is_some_and(|candidacy| candidacy.op.is_none())
            && self.state.ready.is_none();
        if !self.state.is_willing() || (self.state.candidacy.is_some() && !is_own) {
            return;
        }
        let standbys = self.standbys(now);
        let me = self.state.me;
        let is_best = best(&standbys).is_some_and(|best| best.node == me);
        if is_own {
            if !is_best && best(&standbys).is_some() {
                self.patience = now.after(self.params.grace + 1000);
                self.tell(Event::StandDown, now, out);
            } else if self.outlook(now).shows_a_primary() {
                // It was only out of sight, and needs its votes back before its lease ends.
                self.tell(Event::StandDown, now, out);
            }
            return;
        }
        let looks_lost = is_best
            && now >= self.patience
            && self.could_win(now)
            && self.outlook(now).calm(self.params.heartbeat, now).is_none();
        if !looks_lost {
            self.withheld = None;
            return;
        }
        self.withheld = self.why_withheld(&standbys, now);
        if self.withheld.is_none() {
            self.validated = None;
            self.tell(Event::Stand, now, out);
            // If it comes to nothing, the next time is another one for each.
            let heartbeat = self.params.heartbeat;
            let pause = heartbeat + self.below(2 * heartbeat);
            self.patience = now.after(self.params.silence + 2 * heartbeat + pause);
        }
    }

    /// What stands against a candidacy of this node, the best of these.
    fn why_withheld(&self, standbys: &[Standby], now: Time) -> Option<Withheld> {
        let own = standbys.iter().find(|standby| standby.node == self.state.me)?;
        // Of all that there is it has the most: what it lacks then is on no node.
        let all = standbys.len() == self.state.members.data.count()
            && standbys.iter().all(|standby| (standby.timeline, standby.end) <= (own.timeline, own.end));
        if !self.is_near_enough(own, all) {
            return Some(Withheld::Lacks(lack(own, self.known_end, all)));
        }
        let agreed = self.validated.is_some_and(|until| now < until);
        (self.policy.validates && !agreed).then_some(Withheld::Validation)
    }

    /// Says whether a standby lacks no more than it may to become the primary by itself.
    pub(super) fn is_near_enough(&self, standby: &Standby, all_are_seen: bool) -> bool {
        match (self.policy.most_lack, lack(standby, self.known_end, all_are_seen)) {
            (None, _) => true,
            (Some(most), Lack::Bytes(lacks)) => lacks <= most,
            (Some(_), Lack::Unknown) => false,
        }
    }

    /// Says whether a majority of votes is free, as far as is seen. Where it is not, asking for them would only disturb the leader when it has lost
    /// a session for a moment.
    fn could_win(&self, now: Time) -> bool {
        let own = self.id(self.state.me);
        let is_free = |voter: Node| {
            self.fresh(voter, now).is_some_and(|view| match view.holder {
                None => true,
                Some(holder) => holder.is_some_and(|status| status.node == own),
            })
        };
        self.state.members.voters.iter().filter(|voter| is_free(*voter)).count() >= self.state.majority()
    }

    pub(super) fn standbys(&self, now: Time) -> Vec<Standby> {
        let of = |node: Node| {
            let view = self.fresh(node, now).filter(|view| view.in_recovery)?;
            let id = self.id(node);
            let daemon = view.statuses.iter().find(|status| status.node == id);
            let is_willing = match daemon {
                _ if node == self.state.me => self.state.is_willing(),
                Some(status) => {
                    status.flag == Flag::Active && matches!(status.role, Role::Follower | Role::Candidate)
                }
                None => false,
            };
            let priority = self.priorities.get(usize::from(node)).copied().unwrap_or(0);
            Some(Standby { node, is_willing, timeline: view.timeline, end: view.end, priority })
        };
        self.state.members.data.iter().filter_map(of).collect()
    }

    pub(super) fn outlook(&self, now: Time) -> Outlook {
        let me = self.state.me;
        let own = self.fresh(me, now);
        let other = |node: Node| node != me && self.state.members.data.has(node);
        let answered = (0..).zip(&self.seen).filter(|(node, _)| other(*node)).filter_map(|(_, seen)| {
            let seen = seen.as_ref()?;
            (!seen.view.in_recovery).then_some(seen.at)
        });
        let answered = answered.max();
        let holders = |node: Node| {
            let held = |voter: Node| {
                self.fresh(voter, now).is_some_and(|view| {
                    view.holder.flatten().is_some_and(|status| status.node == self.id(node))
                })
            };
            self.state.members.voters.iter().filter(|voter| held(*voter)).count()
        };
        Outlook {
            // A server that does not answer shows nothing: that is no reason to stand.
            vote_is_held: own.is_none_or(|view| view.holder.is_some()),
            answered,
            received: own.and_then(|view| view.silent).map(|silent| now.before(silent)),
            note_for_another: own.is_some_and(|view| view.notes.iter().any(|(to, _)| *to != self.id(me))),
            other_primary: answered.is_some_and(|at| now.since(at) < 2 * self.params.heartbeat),
            other_majority: self
                .state
                .members
                .data
                .iter()
                .any(|node| other(node) && holders(node) >= self.state.majority()),
        }
    }
}
