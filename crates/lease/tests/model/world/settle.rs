//! One form for all worlds that behave alike, so that their number is finite.

use pgbaton_lease::rules::Rule;
use pgbaton_lease::votes::{Fact, Slot};
use pgbaton_lease::{Epoch, Flag, HandOver, Moment, Nodes, Server, Stage, State, Time, Version};

use super::{Config, DATA, Host, NOW, Pg, World};

/// A moment after all that is told apart.
const LATE: Moment = Moment(100);

impl<const N: usize> Host<N> {
    pub(super) fn grow_older(&mut self) {
        let older = |time: &mut Time| *time = time.before(1);
        for slot in &mut self.core.slots {
            slot.evidence.iter_mut().for_each(older);
            if let Some(vote) = &mut slot.vote {
                older(&mut vote.granted);
                older(&mut vote.sent);
            }
        }
        self.core.deadline.iter_mut().for_each(older);
        if let Some(HandOver { stage: Stage::Committed { at }, .. }) = &mut self.core.hand_over {
            older(at);
        }
        for flight in self.flights.iter_mut().flatten() {
            older(&mut flight.sent);
        }
    }

    fn settle(&mut self, config: &Config) {
        let params = &config.params;
        let core = &mut self.core;
        if !self.daemon {
            let server = core.server;
            *core = State {
                lapsed: false,
                deadline: None,
                ..State::start(
                    core.me,
                    core.members,
                    (core.flag, core.epoch),
                    (server, core.timeline),
                    None,
                    NOW,
                )
            };
        }
        let has_votes = core.votes_held() > 0 || self.flights.iter().flatten().any(|flight| flight.is_grant);
        let has_more = core.note.is_some()
            || core.proof.is_some()
            || self.proofs.iter().any(Option::is_some)
            || self.seen.is_some();
        // A candidate with nothing in its hands is as good as none.
        if core.candidacy.is_some() && !core.may_write() && !has_votes && !has_more {
            core.candidacy = None;
            core.away = Nodes::NONE;
            core.deadline = None;
            core.slots = [Slot::default(); N];
        }
        if core.candidacy.is_none() {
            self.proofs = [None; DATA];
        }
        if core.flag == Flag::Full && !core.writes() {
            core.slots = [Slot::default(); N];
        }
        if let Some(candidacy) = &mut core.candidacy {
            candidacy.since = NOW;
        }
        let oldest = NOW.before(params.lease);
        for slot in &mut core.slots {
            slot.evidence = slot.evidence.filter(|evidence| *evidence > oldest);
            if let Some(vote) = &mut slot.vote {
                vote.sent = vote.sent.max(oldest);
                let granted = if core.candidacy.is_some() { vote.granted } else { NOW };
                vote.granted = granted.max(oldest.before(params.grace));
            }
        }
        for flight in self.flights.iter_mut().flatten() {
            flight.sent = flight.sent.max(oldest);
        }
        core.deadline = core.deadline.map(|deadline| deadline.max(NOW));
        if let Some(present) = &mut core.hand_over {
            present.since = NOW;
        }
        if let Some(HandOver { stage: Stage::Committed { at }, .. }) = &mut core.hand_over {
            *at = (*at).max(NOW.before(params.note));
        }
        if core.hand_over.is_none() {
            self.refused = false;
        }
        if !core.may_write() && !matches!(core.server, Server::Promoting) && core.hand_over.is_none() {
            core.timeline = 0;
        }
        self.settle_moments();
        // Every leader's row is committed at once.
        let core = &mut self.core;
        core.members.version = Version { timeline: core.timeline, counter: 0 };
        core.shown = core.members.voters;
    }

    /// Of moments only their order matters, and only in two respects: votes against the questions, confirmations against the answers.
    fn settle_moments(&mut self) {
        let core = &mut self.core;
        let facts = || core.note.iter().chain(core.proof.iter());
        let pending =
            self.proofs.iter().flatten().copied().chain(self.seen.iter().map(|(_, _, moment)| *moment));
        let mut questions: Vec<Moment> = facts().map(|fact| fact.from).chain(pending).collect();
        questions.sort_unstable();
        questions.dedup();
        let mut answers: Vec<Moment> = facts().map(|fact| fact.to).collect();
        answers.sort_unstable();
        answers.dedup();
        // What stands in a list gets an odd number, what is compared with it the even one below or above.
        let place = |list: &[Moment], moment: &mut Moment, is_listed: bool| {
            let below =
                list.iter().filter(|listed| if is_listed { **listed < *moment } else { **listed <= *moment });
            *moment = Moment(2 * below.count() as u64 + u64::from(is_listed));
        };
        for vote in core.slots.iter_mut().filter_map(|slot| slot.vote.as_mut()) {
            let before = questions.iter().filter(|question| **question < vote.taken).count();
            vote.taken = Moment(2 * before as u64);
            place(&answers, &mut vote.confirmed, false);
        }
        for flight in self.flights.iter_mut().flatten() {
            place(&answers, &mut flight.moment, false);
        }
        for Fact { from, to } in core.note.iter_mut().chain(core.proof.iter_mut()) {
            place(&questions, from, true);
            place(&answers, to, true);
        }
        self.proofs.iter_mut().flatten().for_each(|moment| place(&questions, moment, true));
        if let Some((_, _, moment)) = &mut self.seen {
            place(&questions, moment, true);
        }
        core.moment = LATE;
    }
}

impl<const N: usize> World<N> {
    pub(super) fn settle(&mut self, config: &Config) {
        for node in config.nodes() {
            let due = self.is_due(config, node);
            let host = self.host_mut(node);
            if !due {
                host.late = 0;
            }
            host.settle(config);
            host.signal |= host.pg == Pg::Standby;
        }
        let grace = config.params.grace as u8;
        for note in &mut self.notes {
            if config.params.keeps(Rule::NotesEnd) {
                *note = note.filter(|note| note.age < grace);
            } else if let Some(note) = note {
                note.age = note.age.min(grace);
            }
        }
        self.settle_epochs(config);
    }

    fn settle_epochs(&mut self, config: &Config) {
        let cores = || config.nodes().map(|node| self.host(node).core);
        let outdated = |epoch: Epoch| {
            cores().all(|core| core.flag == Flag::New || core.epoch.is_newer_than(epoch))
                && config.params.keeps(Rule::EpochsGrow)
        };
        let mut known: Vec<_> =
            self.known.iter().flatten().copied().filter(|known| !outdated(known.epoch)).collect();
        let mut timelines: Vec<u32> = cores().flat_map(|core| [core.timeline, core.epoch.timeline]).collect();
        timelines.extend(known.iter().map(|known| known.epoch.timeline));
        timelines.push(0);
        timelines.sort_unstable();
        timelines.dedup();
        let place = |timeline: u32| timelines.iter().position(|other| *other == timeline).unwrap_or(0) as u32;
        let mut epochs: Vec<Epoch> =
            cores().map(|core| core.epoch).chain(known.iter().map(|known| known.epoch)).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let renamed = |epoch: Epoch| {
            let mut below: Vec<u32> = epochs
                .iter()
                .filter(|other| other.timeline == epoch.timeline)
                .map(|other| other.counter)
                .collect();
            below.dedup();
            let zero = u32::from(epoch.timeline > 0);
            let counter =
                below.iter().position(|counter| *counter == epoch.counter).unwrap_or(0) as u32 + zero;
            Epoch { timeline: place(epoch.timeline), counter, op: epoch.op }
        };
        for known in &mut known {
            known.epoch = renamed(known.epoch);
        }
        known.sort_unstable_by_key(|known| known.epoch);
        let mut slots = known.into_iter();
        let known: [Option<_>; super::EPOCHS] = std::array::from_fn(|_| slots.next());
        let renamed: Vec<(u32, Epoch)> =
            cores().map(|core| (place(core.timeline), renamed(core.epoch))).collect();
        self.known = known;
        for (node, (timeline, epoch)) in config.nodes().zip(renamed) {
            let core = &mut self.host_mut(node).core;
            (core.timeline, core.epoch) = (timeline, epoch);
        }
    }
}
