//! What can happen, and what comes of it.

use pgbaton_lease::rules::Rule;
use pgbaton_lease::{Ask, Epoch, Event, Flag, HandOver, Node, Nodes, Server, Stage, State, Word};

use super::{Broken, CANDIDATE, Config, EPOCHS, Flight, Known, NOW, Note, Pg, Step, World, op_of};

impl<const N: usize> World<N> {
    fn is_up(&self, config: &Config, voter: Node) -> bool {
        let runs = |node| matches!(self.host(node).pg, Pg::Standby | Pg::Promoting | Pg::Primary);
        voter >= config.data || (self.host(voter).power && runs(voter))
    }

    fn stage(&self, node: Node) -> Option<HandOver> {
        self.host(node).core.hand_over.filter(|_| self.host(node).daemon)
    }

    fn fault(&mut self, config: &Config) -> Option<()> {
        self.faults += 1;
        (self.faults <= config.faults).then_some(())
    }

    /// Does what a step says; None if it cannot happen now.
    #[allow(clippy::too_many_lines)] // one table
    pub(super) fn happen(&mut self, config: &Config, step: Step) -> Option<()> {
        match step {
            Step::Time => self.time(config),
            Step::Take(node, voter) => {
                let host = self.host(node);
                let waits = host.flights[usize::from(voter)].is_some_and(|flight| flight.is_grant);
                if !host.daemon || !self.is_up(config, voter) || self.believes(node, voter) || waits {
                    return None;
                }
                self.stand(config, node);
                self.host(node).core.wants_votes().then(|| self.take(config, node, voter))
            }
            Step::Beat(node, voter) => {
                let host = self.host(node);
                let answers = host.daemon && self.is_up(config, voter) && self.holds(node, voter);
                if !answers || !host.core.wants_votes() {
                    return None;
                }
                let moment = host.core.moment;
                if config.late {
                    let flight = Flight { sent: NOW, moment, is_grant: false };
                    self.host_mut(node).flights[usize::from(voter)] = Some(flight);
                } else {
                    self.tell(config, node, Event::Acked { voter, backend: 0, sent: NOW, moment });
                }
                Some(())
            }
            Step::Answer(node, voter) => {
                let Flight { sent, moment, is_grant } =
                    self.host_mut(node).flights[usize::from(voter)].take()?;
                let event = match is_grant {
                    true => Event::Granted { voter, backend: 0, sent, members: config.members() },
                    false => Event::Acked { voter, backend: 0, sent, moment },
                };
                self.tell(config, node, event);
                Some(())
            }
            Step::Close(node, voter) => {
                let slot = usize::from(voter);
                let waits = self.host(node).flights[slot].is_some_and(|flight| flight.is_grant);
                let is_held = self.holders[slot] == Some(node);
                if !(self.believes(node, voter) || waits) || (is_held && config.lazy) {
                    return None;
                }
                if is_held {
                    self.holders[slot] = None;
                    self.notes[slot] = self.notes[slot].filter(|note| note.from != node);
                }
                self.host_mut(node).flights[slot] = None;
                self.tell(config, node, Event::Lost { voter, backend: 0 });
                Some(())
            }
            Step::Look(node) => {
                self.tell(config, node, Event::Tick);
                Some(())
            }
            Step::StandDown(node) => {
                let core = &self.host(node).core;
                let stands = self.host(node).daemon
                    && core.candidacy.is_some()
                    && (core.note.is_some() || core.proof.is_some());
                if !stands {
                    return None;
                }
                self.tell(config, node, Event::StandDown);
                Some(())
            }
            Step::PromotionArrives(node) => {
                self.host(node).promote.then(|| self.promotion_arrives(config, node))
            }
            Step::ReadWrite(node) => {
                if self.host(node).pg != Pg::Promoting {
                    return None;
                }
                let highest = config.nodes().map(|node| self.host(node).core.timeline).max()?;
                let issued = config.nodes().map(|node| self.host(node).core.epoch.timeline).max()?;
                let timeline = highest.max(issued) + 1;
                self.host_mut(node).core.timeline = timeline;
                self.host_mut(node).signal = false;
                self.set(config, node, Pg::Primary);
                Some(())
            }
            Step::Fence(node) => {
                if !self.is_due(config, node) {
                    return None;
                }
                self.host_mut(node).signal = true;
                match self.host(node).pg {
                    Pg::Admitted => {
                        self.tell(config, node, Event::Server(Server::Down { signal: true }));
                    }
                    _ => self.set(config, node, Pg::Down),
                }
                Some(())
            }
            Step::Crash(node) => {
                if !self.writes(node) {
                    return None;
                }
                self.fault(config)?;
                self.host_mut(node).signal = false;
                self.set(config, node, Pg::Down);
                Some(())
            }
            Step::Die(node) => {
                if !self.host(node).daemon {
                    return None;
                }
                self.fault(config)?;
                self.dies(node);
                if config.is(Broken::FencerDies) {
                    self.host_mut(node).fencer = 0;
                }
                Some(())
            }
            Step::Restart(node) => {
                let host = self.host(node);
                if host.daemon || !host.power {
                    return None;
                }
                let (mut flag, epoch, mut fencer) = (host.core.flag, host.core.epoch, host.fencer);
                if config.is(Broken::PauseForgotten) {
                    if flag == Flag::Full && self.writes(node) {
                        fencer = config.params.lease as u8;
                    }
                    flag = Flag::Active;
                }
                self.starts(config, node, (flag, epoch), fencer);
                Some(())
            }
            Step::RestartWithoutState(node) => {
                let host = self.host(node);
                if host.daemon || !host.power {
                    return None;
                }
                self.fault(config)?;
                let flag = if config.is(Broken::LostIsFirst) { Flag::Full } else { Flag::New };
                self.starts(config, node, (flag, Epoch::default()), 0);
                Some(())
            }
            Step::PowerOff(node) => {
                if !self.host(node).power {
                    return None;
                }
                self.fault(config)?;
                self.dies(node);
                let host = self.host_mut(node);
                host.power = false;
                host.fencer = 0;
                if matches!(host.pg, Pg::Promoting | Pg::Primary) {
                    host.signal = false;
                }
                self.set(config, node, Pg::Down);
                Some(())
            }
            Step::Boot(node) => {
                let host = self.host_mut(node);
                (!host.power).then(|| host.power = true)
            }
            Step::Admit(node) => {
                let host = self.host(node);
                if host.pg != Pg::Down || !host.power || host.signal {
                    return None;
                }
                let others = || config.nodes().any(|other| self.will_write(other));
                if config.is(Broken::GuardTakesVotes) && host.daemon {
                    let others: Vec<Node> = (0..config.voters)
                        .filter(|voter| *voter != node && self.is_up(config, *voter))
                        .collect();
                    for voter in &others {
                        self.holders[usize::from(*voter)] = Some(node);
                    }
                    self.host_mut(node).pg = Pg::Admitted;
                    return (others.len() + 1 >= config.members().voters.majority()).then_some(());
                }
                let passes = match host.core.flag {
                    // It asks the others.
                    Flag::Full => self.command.is_none() && !others(),
                    _ if host.daemon => host.core.may_start_as_primary(NOW),
                    // The fencer answers for a daemon that is away.
                    _ => host.fencer > 0,
                };
                passes.then(|| self.host_mut(node).pg = Pg::Admitted)
            }
            Step::Start(node) => {
                if self.host(node).pg != Pg::Admitted {
                    return None;
                }
                if self.host(node).signal {
                    self.become_standby(config, node);
                } else {
                    self.set(config, node, Pg::Primary);
                }
                Some(())
            }
            Step::StartAsStandby(node) => {
                let host = self.host(node);
                let starts = host.pg == Pg::Down && host.power && host.daemon && self.command != Some(node);
                starts.then(|| self.become_standby(config, node))
            }
            Step::Issue(node) => {
                if self.pauses >= config.pauses {
                    return None;
                }
                let answer = self.tell(config, node, Event::Ask(u32::from(node) + 1, Ask::Hold(None)))?;
                let Word::Held(epoch) = answer else { return None };
                let free = self.known.iter_mut().find(|known| known.is_none())?;
                *free = Some(Known { epoch, held: Nodes::one(node), ..Known::default() });
                self.pauses += 1;
                Some(())
            }
            Step::Hold(node, known) => {
                let epoch = self.known[usize::from(known)]?.epoch;
                let answer = self.tell(config, node, Event::Ask(0, Ask::Hold(Some(epoch))))?;
                self.learn(known, |known| {
                    if let Word::Held(_) = answer {
                        known.held = known.held.with(node);
                    }
                })
            }
            Step::Full(node, known) => {
                let Known { epoch, held, full: issued, .. } = self.known[usize::from(known)]?;
                // What a command says of every data node has been acknowledged by every one of them.
                let missing = if config.params.keeps(Rule::AllAreBarred) { 0 } else { 1 };
                if held.count() + missing < config.data_nodes().count() && self.host(node).core.may_write() {
                    return None;
                }
                let any_issuer = !config.params.keeps(Rule::OnlyTheIssuer);
                let issued = issued || (any_issuer && held.has_all(config.data_nodes()));
                let version = self.host(node).core.members.version;
                let ask = Ask::Full { epoch, version, issued };
                let answer = self.tell(config, node, Event::Ask(0, ask))?;
                let leads = self.host(node).core.may_write();
                self.learn(known, |known| known.full |= leads && matches!(answer, Word::Full(_)))
            }
            Step::End(node, known) => {
                let epoch = self.known[usize::from(known)]?.epoch;
                let locked = self.command != Some(node);
                let answer = self.tell(config, node, Event::Ask(0, Ask::Ending(epoch, locked)))?;
                self.learn(known, |known| match answer {
                    Word::Ending(_) => known.ended = known.ended.with(node),
                    Word::Armed(_) => {
                        known.ended = known.ended.with(node);
                        known.armed = true;
                    }
                    _ => {}
                })
            }
            Step::Clear(node) => {
                let locked = self.command != Some(node);
                let all = config.data_nodes();
                let by_endings = config.params.keeps(Rule::EndedByEndings);
                let known = || self.known.iter().flatten();
                let armed = known().filter(|known| known.armed).map(|known| known.epoch).max();
                let left =
                    |known: &&Known| known.ended.has_all(all) || (!by_endings && known.held.has_all(all));
                let own = self.host(node).core.epoch;
                let ended = known().filter(left).map(|known| known.epoch).find(|epoch| *epoch == own);
                self.tell(config, node, Event::Ask(0, Ask::Clear { armed, ended, locked }))?;
                Some(())
            }
            Step::Readmit(node, by) => {
                if !self.host(node).daemon || self.host(node).core.flag != Flag::New || !self.host(by).daemon
                {
                    return None;
                }
                let mut epoch = self.host(by).core.epoch;
                if config.params.keeps(Rule::ReadmittedByTheLeader) {
                    let Word::Raised(raised) = self.tell(config, by, Event::Ask(9, Ask::Raise))? else {
                        return None;
                    };
                    epoch = raised;
                } else if self.host(by).core.flag == Flag::New {
                    return None;
                }
                self.tell(config, node, Event::Ask(9, Ask::Readmit(epoch)))?;
                Some(())
            }
            Step::Demote(node) => {
                let host = self.host(node);
                if host.pg != Pg::Primary || host.core.flag != Flag::Full || self.command.is_some() {
                    return None;
                }
                self.host_mut(node).signal = true;
                self.set(config, node, Pg::Down);
                Some(())
            }
            Step::Begin(node) => {
                let host = self.host(node);
                let quiet = |other: Node| {
                    let there = self.host(other);
                    let is_down = there.pg == Pg::Standby || (there.pg == Pg::Down && there.signal);
                    is_down && there.core.flag == Flag::Full && there.core.epoch == host.core.epoch
                };
                let may = host.pg == Pg::Standby && self.command.is_none() && config.nodes().all(quiet);
                may.then(|| self.command = Some(node))
            }
            Step::PromoteByHand(node) => {
                if self.command != Some(node) || self.host(node).pg != Pg::Standby {
                    return None;
                }
                self.command = None;
                self.set(config, node, Pg::Promoting);
                Some(())
            }
            Step::CommandDies => self.command.take().map(drop),
            Step::Prove(node, other) => self.prove(config, node, other),
            Step::LearnOfProof(node, other) => {
                let moment = self.host_mut(node).proofs[usize::from(other)].take()?;
                self.tell(config, node, Event::StoodAside { node: other, op: CANDIDATE, moment });
                Some(())
            }
            Step::HandOver(..)
            | Step::Agree(_)
            | Step::StopForHeir(_)
            | Step::HeirHasAll(_)
            | Step::Signal(_)
            | Step::Scan(_)
            | Step::Fail(_)
            | Step::TakeNote(..)
            | Step::Unlock(..)
            | Step::NoteVanishes(_)
            | Step::SeeNote(..)
            | Step::LearnOfNote(_)
            | Step::Refuse(_)
            | Step::LearnOfRefusal(_)
            | Step::RemoveSignal(_) => self.hand_over(config, step),
        }
    }

    fn hand_over(&mut self, config: &Config, step: Step) -> Option<()> {
        match step {
            Step::HandOver(node, to) => {
                if !self.host(node).daemon || self.host(node).core.hand_over.is_some() {
                    return None;
                }
                let op = op_of(node, to);
                let Word::Going = self.tell(config, node, Event::Ask(op, Ask::HandOver(to)))? else {
                    return None;
                };
                // Operations are random numbers: what is left of an earlier one between the same nodes is never used again.
                self.host_mut(node).refused = false;
                let heir = self.host_mut(to);
                if heir.core.ready == Some((node, op)) {
                    heir.core.ready = None;
                }
                heir.seen = heir.seen.filter(|(_, seen, _)| *seen != op);
                for note in &mut self.notes {
                    *note = note.filter(|note| (note.from, note.to) != (node, to));
                }
                Some(())
            }
            Step::Agree(node) => {
                let HandOver { to, op, .. } =
                    self.stage(node).filter(|present| present.stage == Stage::Asked)?;
                let Word::Ready = self.tell(config, to, Event::Ask(op, Ask::Ready(node)))? else {
                    return None;
                };
                self.tell(config, node, Event::Ready(to, op));
                Some(())
            }
            Step::StopForHeir(node) => {
                self.stage(node).filter(|present| present.stage == Stage::Stopping)?;
                if self.host(node).pg != Pg::Primary {
                    return None;
                }
                self.host_mut(node).signal = false;
                self.set(config, node, Pg::Down);
                Some(())
            }
            Step::HeirHasAll(node) => {
                let present = self.stage(node).filter(|present| present.stage == Stage::Stopped)?;
                self.tell(config, node, Event::HeirHasAll(present.op));
                Some(())
            }
            Step::Signal(node) => {
                let present = self.stage(node).filter(|present| present.stage == Stage::Signal)?;
                if !matches!(self.host(node).pg, Pg::Down | Pg::Admitted) {
                    return None;
                }
                self.host_mut(node).signal = true;
                self.tell(config, node, Event::Signalled(present.op));
                Some(())
            }
            Step::Scan(node) => {
                let present = self.stage(node).filter(|present| present.stage == Stage::Scan)?;
                // What is admitted and does not run yet is not to be seen.
                if !matches!(self.host(node).pg, Pg::Down | Pg::Admitted) {
                    return None;
                }
                self.tell(config, node, Event::Scanned(present.op));
                Some(())
            }
            Step::Fail(node) => {
                let op = self.stage(node)?.op;
                self.tell(config, node, Event::Failed(op));
                Some(())
            }
            Step::TakeNote(node, voter) => {
                let present = self.stage(node).filter(|present| present.stage == Stage::Notes)?;
                if voter == node
                    || present.noted.has(voter)
                    || !self.holds(node, voter)
                    || !self.is_up(config, voter)
                {
                    return None;
                }
                self.notes[usize::from(voter)] = Some(Note { from: node, to: present.to, age: 0 });
                self.tell(config, node, Event::Noted(voter, 0, present.op));
                Some(())
            }
            Step::Unlock(node, voter) => {
                let slot = usize::from(voter);
                let ours = self.notes[slot].is_some_and(|note| note.from == node);
                let released = self.host(node).daemon && self.host(node).core.is_committed();
                (ours && released && self.holders[slot] == Some(node)).then(|| self.holders[slot] = None)
            }
            Step::NoteVanishes(voter) => {
                let slot = usize::from(voter);
                let note = self.notes[slot].take()?;
                self.holders[slot] = self.holders[slot].filter(|holder| *holder != note.from);
                Some(())
            }
            Step::SeeNote(node, voter) => {
                let note = self.notes[usize::from(voter)]?;
                let any = !config.params.keeps(Rule::OnlyOwnNotes);
                if !self.host(node).daemon || (note.to != node && !any) || !self.is_up(config, voter) {
                    return None;
                }
                let (op, moment) = (op_of(note.from, note.to), self.host(node).core.moment);
                if config.late {
                    self.host_mut(node).seen = Some((voter, op, moment));
                } else {
                    self.tell(config, node, Event::Note { voter, to: note.to, op, moment });
                }
                Some(())
            }
            Step::LearnOfNote(node) => {
                let (voter, op, moment) = self.host_mut(node).seen.take()?;
                let to = ((op - 1) % 8) as Node;
                self.tell(config, node, Event::Note { voter, to, op, moment });
                Some(())
            }
            Step::Refuse(node) => {
                let host = self.host(node);
                let leader = match host.core.ready {
                    Some((leader, _)) => leader,
                    None if !config.params.keeps(Rule::OnlyTheReadyRefuses) && host.daemon => config
                        .nodes()
                        .find(|other| self.stage(*other).is_some_and(|present| present.to == node))?,
                    None => return None,
                };
                let op = op_of(leader, node);
                if host.core.ready.is_some() {
                    let Word::No(_) = self.tell(config, node, Event::Refuse)? else { return None };
                }
                if self.stage(leader).is_some_and(|present| present.op == op) {
                    self.host_mut(leader).refused = true;
                }
                Some(())
            }
            Step::LearnOfRefusal(node) => {
                let op = self.stage(node)?.op;
                if !std::mem::take(&mut self.host_mut(node).refused) {
                    return None;
                }
                self.tell(config, node, Event::Refused(op));
                Some(())
            }
            Step::RemoveSignal(node) => {
                self.stage(node).filter(|present| present.stage == Stage::Back)?;
                let host = self.host_mut(node);
                if !matches!(host.pg, Pg::Down | Pg::Admitted) || host.fencer == 0 {
                    return None;
                }
                host.signal = false;
                self.tell(config, node, Event::Server(Server::Down { signal: false }));
                Some(())
            }
            _ => None,
        }
    }

    fn learn(&mut self, known: u8, what: impl FnOnce(&mut Known)) -> Option<()> {
        what(self.known[usize::from(known) % EPOCHS].as_mut()?);
        Some(())
    }

    fn prove(&mut self, config: &Config, node: Node, other: Node) -> Option<()> {
        let host = self.host(node);
        if !host.daemon || host.core.candidacy.is_none_or(|candidacy| candidacy.op.is_none()) {
            return None;
        }
        let moment = host.core.moment;
        if self.host(other).power {
            let ask = Event::Ask(CANDIDATE, Ask::Aside(moment));
            let Word::Aside(_) = self.tell(config, other, ask)? else {
                return None;
            };
        }
        if config.late {
            self.host_mut(node).proofs[usize::from(other)] = Some(moment);
        } else {
            self.tell(config, node, Event::Ask(CANDIDATE, Ask::Off(Nodes::one(other), moment)));
        }
        Some(())
    }

    fn dies(&mut self, node: Node) {
        self.drop_sessions(node);
        let host = self.host_mut(node);
        host.daemon = false;
        // A request whose session has ended is carried out before, or never.
        host.promote = false;
        host.proofs = Default::default();
        host.seen = None;
        host.refused = false;
    }

    fn starts(&mut self, config: &Config, node: Node, flag: (Flag, Epoch), fencer: u8) {
        let host = self.host(node);
        let server = match host.pg {
            Pg::Standby => Server::Standby,
            Pg::Promoting => Server::Promoting,
            Pg::Primary => Server::Primary,
            Pg::Down | Pg::Admitted => Server::Down { signal: host.signal },
        };
        let adopted = (fencer > 0).then(|| NOW.after(u64::from(fencer)));
        let core = State::start(node, config.members(), flag, (server, host.core.timeline), adopted, NOW);
        let host = self.host_mut(node);
        host.fencer = core.fence_at().map_or(0, |at| at.since(NOW) as u8);
        host.core = core;
        host.daemon = true;
    }

    /// Time passes, unless a fencer would be too late.
    fn time(&mut self, config: &Config) -> Option<()> {
        let too_late = |node: Node| {
            self.is_due(config, node) && u64::from(self.host(node).late) >= config.params.fencing
        };
        if config.nodes().any(too_late) {
            return None;
        }
        for node in config.nodes() {
            let was_due = self.is_due(config, node);
            let host = self.host_mut(node);
            host.grow_older();
            host.fencer = host.fencer.saturating_sub(1);
            host.late = if was_due { host.late + 1 } else { 0 };
        }
        for (holder, note) in self.holders.iter().zip(&mut self.notes) {
            if let Some(note) = note
                && *holder != Some(note.from)
            {
                note.age += 1;
            }
        }
        Some(())
    }
}
