//! What is typed on B and C, and what comes of it.

use super::rules::Rule;
use super::state::{
    A, Answer, B, C, Command, FarEnd, HostLock, Journal, Kind, Nodes, Phase, Request, Server, State, Unseen,
};
use super::steps::{COMMANDS, Look, Model, Next};

fn sibling_of(node: usize) -> usize {
    B + C - node
}

impl Model {
    pub fn typed(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let who = COMMANDS[node];
        let journal = *state.journal(node);
        if journal.open && state.server[node] == Server::Primary {
            let mut after = *state;
            self.count(&mut after);
            *after.journal_mut(node) = Journal::default();
            next.to(who, "operation resume: this node is the primary, the rest is done", after);
        }
        if journal.open {
            self.abandons(state, node, next);
        }
        if state.server[node] != Server::Standby {
            return;
        }
        let sibling = sibling_of(node);
        for look in self.looks(state, node, None) {
            let mut locks = Nodes::NONE.with(node);
            for other in [A, B, C] {
                if look.answered.contains(other) && state.server[other].lets_in() {
                    locks = locks.with(other);
                }
            }
            let is_busy =
                [A, B, C].iter().any(|other| locks.contains(*other) && state.is_locked(*other, node));
            if is_busy && self.keeps(Rule::LocksOnAllNodes) {
                continue;
            }
            let mut begun = *state;
            self.count(&mut begun);
            *begun.command_mut(node) = Command { locks, unseen: look.unseen, ..Command::NONE };
            let sees_a = look.answered.contains(A) && state.server[A] == Server::Primary;
            let sibling_objects = look.answered.contains(sibling)
                && (state.server[sibling] == Server::Primary
                    || (state.server[sibling] == Server::Promoting && self.shows_request())
                    || state.timeline[sibling] > state.timeline[node]);
            if !journal.open {
                if self.is_announced(state, sibling, look.answered.contains(sibling)) {
                    continue;
                }
                let switches =
                    if node == B { self.config.switchover_on_b } else { self.config.switchover_on_c };
                if switches && sees_a && !sibling_objects {
                    for row_elsewhere in [true, false] {
                        // One that is cut off does not hear of it.
                        if !row_elsewhere && !self.config.sql_fails {
                            continue;
                        }
                        let mut after = begun;
                        let journal = Journal { open: true, row: true, row_elsewhere, ..Journal::default() };
                        *after.journal_mut(node) = journal;
                        let what = match row_elsewhere {
                            true => "standby switchover",
                            false => "standby switchover; its row does not reach the sibling",
                        };
                        self.opens(after, node, what, &look, next);
                    }
                }
                let promotes = if node == B { self.config.promote_on_b } else { self.config.promote_on_c };
                if promotes && !look.objection {
                    let host_first = self.keeps(Rule::HostFirstAtPromote);
                    let after = self.goes_forward(begun, node, host_first, false);
                    next.seen(who, "standby promote", &look, after);
                }
                continue;
            }
            if journal.marked {
                if !self.keeps(Rule::JudgedAnewAfterMark) {
                    let mut after = self.goes_forward(begun, node, false, true);
                    after.command_mut(node).phase = Phase::RequestPromotion;
                    next.seen(who, "operation resume after the mark: does the rest", &look, after);
                } else if look.objection {
                    let mut after = begun;
                    after.end_command(node);
                    *after.journal_mut(node) = Journal::default();
                    next.seen(who, "operation resume: overtaken, closed", &look, after);
                } else if !look.answered.is_empty() || !self.config.sql_fails {
                    let after = self.goes_forward(begun, node, self.keeps(Rule::HostFirstAtResume), true);
                    next.seen(who, "operation resume after the mark", &look, after);
                }
                continue;
            }
            if sees_a && !sibling_objects {
                let mut after = begun;
                after.journal_mut(node).asked_back = false;
                let what = "operation resume: A is the primary, planned anew";
                self.opens(after, node, what, &look, next);
            }
            if journal.asked_back && !look.objection && look.answered.contains(sibling) {
                let mut after = begun;
                let command = after.command_mut(node);
                (command.kind, command.phase) = (Kind::Switchover, Phase::GoBack);
                next.seen(who, "operation resume: the rollback goes on", &look, after);
            }
            if !look.objection && !look.answered.is_empty() {
                let after = self.goes_forward(begun, node, self.keeps(Rule::HostFirstAtResume), true);
                next.seen(who, "operation resume before the mark, judged as a promotion", &look, after);
            }
        }
    }

    /// An operation of the sibling is known to be open, or cannot be asked after.
    fn is_announced(&self, state: &State, sibling: usize, answers: bool) -> bool {
        let journal = state.journal(sibling);
        if !self.keeps(Rule::RowOnEveryNode) || self.config.rows_are_overridden {
            return false;
        }
        journal.open && journal.row && (answers || journal.row_elsewhere)
    }

    /// Opens a channel, takes the lock of the node there, and asks for the first effect.
    fn opens(&self, mut state: State, node: usize, what: &'static str, look: &Look, next: &mut Next<'_>) {
        let place = state.far_ends.iter().position(|far_end| !far_end.is_there());
        let Some(place) = place.filter(|_| self.is_host_free(&state)) else { return };
        state.host.lock = HostLock::FarEnd(place);
        state.far_ends[place] = FarEnd::serving(node);
        state.far_ends[place].ask(Request::WriteSignal);
        let command = state.command_mut(node);
        (command.kind, command.phase, command.channel) = (Kind::Switchover, Phase::AwaitSignal, Some(place));
        next.seen(COMMANDS[node], what, look, state);
    }

    pub fn is_host_free(&self, state: &State) -> bool {
        let is_free = state.host.lock == HostLock::Free || !self.keeps(Rule::LockOfTheHost);
        is_free && !self.config.host_of_a_is_gone
    }

    fn goes_forward(&self, mut state: State, node: usize, host_first: bool, resumes: bool) -> State {
        let command = state.command_mut(node);
        command.kind = Kind::Promotion;
        command.resumes = resumes;
        command.phase = if host_first { Phase::OpenSecondChannel } else { Phase::JudgeAnew };
        state
    }

    fn abandons(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let requested = state.server[node] == Server::Promoting;
        if requested && self.keeps(Rule::RequestIsRemembered) {
            return;
        }
        if state.is_locked(node, node) && self.keeps(Rule::LocksOnAllNodes) {
            return;
        }
        let mut after = *state;
        self.count(&mut after);
        *after.journal_mut(node) = Journal::default();
        if self.keeps(Rule::AbandonSecuresTheHost) && !self.config.host_of_a_is_gone {
            if state.host.lock == HostLock::NodeStart && self.keeps(Rule::LockOfTheHost) {
                return;
            }
            for place in 0..after.far_ends.len() {
                after.end_far_end(place);
            }
            if state.server[A] == Server::Down {
                after.write_signal();
            }
        }
        next.to(COMMANDS[node], "operation abandon", after);
    }

    pub fn command(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let who = COMMANDS[node];
        let command = *state.command(node);
        let channel = state.channel_of(node);
        let answer = channel.map_or(Answer::None, |place| state.far_ends[place].answer);
        let in_phase = |phase: Phase| {
            let mut after = *state;
            after.command_mut(node).phase = phase;
            after
        };
        // It goes on to what follows an answer.
        let answered = |phase: Phase| {
            let mut after = in_phase(phase);
            if let Some(place) = channel {
                after.far_ends[place].answer = Answer::None;
            }
            after
        };
        match command.phase {
            Phase::AwaitSignal if answer == Answer::SignalWritten => {
                let mut after = answered(Phase::AwaitShutDown);
                self.ask(&mut after, node, Request::Stop);
                next.to(who, "asks for the stop", after);
            }
            Phase::AwaitShutDown => {
                if answer == Answer::ShutDown {
                    let mut after = answered(Phase::AwaitConfirmation);
                    self.ask(&mut after, node, Request::Confirm);
                    next.to(who, "has the report, and asks for the confirmation", after);
                }
                if !self.keeps(Rule::HostFirstWithoutReport) {
                    next.to(who, "has no report, and judges anew", in_phase(Phase::JudgeAnew));
                } else if !self.config.ssh_fails {
                    next.to(who, "has no report: the host first", in_phase(Phase::OpenSecondChannel));
                }
            }
            Phase::AwaitConfirmation => {
                match answer {
                    Answer::Confirmed => next.to(who, "has the confirmation", answered(Phase::LastLook)),
                    Answer::Refused => next.to(who, "is refused the confirmation", answered(Phase::GoBack)),
                    _ => {}
                }
                next.to(who, "has no confirmation: the host first", in_phase(Phase::OpenSecondChannel));
            }
            Phase::LastLook => self.looks_last(state, node, next),
            Phase::OpenSecondChannel => self.opens_second_channel(state, node, next),
            Phase::WriteSignalFirst => {
                let mut after = in_phase(Phase::LookAtHost);
                if channel.is_some() {
                    after.command_mut(node).wrote_signal = !state.host.standby_signal;
                    after.write_signal();
                    next.to(who, "writes standby.signal by the second channel", after);
                }
            }
            Phase::LookAtHost => self.looks_at_host(state, node, next),
            Phase::WriteSignalLate => {
                let mut after = in_phase(Phase::JudgeAnew);
                if channel.is_some() {
                    after.command_mut(node).wrote_signal = !state.host.standby_signal;
                    after.write_signal();
                    next.to(who, "writes standby.signal, after the look", after);
                }
            }
            Phase::JudgeAnew => self.judges_anew(state, node, next),
            Phase::Mark => {
                let mut after = in_phase(Phase::RequestPromotion);
                let journal = after.journal_mut(node);
                journal.open = true;
                journal.marked = true;
                next.to(who, "writes down the point of no return", after);
            }
            Phase::RequestPromotion => {
                let holds = command.locks.contains(node) || !self.keeps(Rule::RequestOverLockSession);
                let mut after = in_phase(Phase::AwaitPromotion);
                if holds && state.server[node] == Server::Standby {
                    after.server[node] = Server::Promoting;
                    after.unseen[node] = command.unseen;
                    next.to(who, "requests the promotion", after);
                } else {
                    after.end_command(node);
                    next.to(who, "has lost the session of the lock: nothing is requested", after);
                }
            }
            Phase::AwaitPromotion => {
                if state.server[node] == Server::Primary {
                    let mut after = *state;
                    after.end_command(node);
                    *after.journal_mut(node) = Journal::default();
                    next.to(who, "records the new primary", after);
                }
                if !self.keeps(Rule::NoWayBack) && command.kind == Kind::Switchover {
                    next.to(who, "times out waiting for the promotion: back", in_phase(Phase::GoBack));
                }
            }
            Phase::GoBack => self.goes_back(state, node, next),
            Phase::AwaitBack => {
                if answer == Answer::Back {
                    let mut after = *state;
                    after.end_command(node);
                    *after.journal_mut(node) = Journal::default();
                    next.to(who, "has put everything back", after);
                }
                let what = match answer {
                    Answer::Refused => "could not bring the old primary back",
                    _ => "does not wait any longer for the old primary",
                };
                self.fails(state, node, what, next);
            }
            Phase::AwaitSignalTaken => {
                if matches!(answer, Answer::Back | Answer::Refused) || channel.is_none() {
                    let mut after = *state;
                    after.end_command(node);
                    next.to(who, "ends; nothing was promoted", after);
                }
            }
            Phase::AwaitSignal => {}
        }
        let before_the_mark = matches!(
            command.phase,
            Phase::AwaitSignal
                | Phase::AwaitShutDown
                | Phase::AwaitConfirmation
                | Phase::LastLook
                | Phase::Mark
        );
        // So does one that was resumed before its mark, and judged as a promotion.
        let resumed = command.resumes && !state.journal(node).marked;
        if resumed && matches!(command.phase, Phase::JudgeAnew | Phase::Mark) {
            next.to(who, "fails or is interrupted before the mark, resumed: back", in_phase(Phase::GoBack));
        }
        if before_the_mark && command.kind == Kind::Switchover {
            next.to(who, "fails or is interrupted before the mark: back", in_phase(Phase::GoBack));
        }
    }

    fn ask(&self, state: &mut State, node: usize, request: Request) {
        if let Some(place) = state.channel_of(node) {
            state.far_ends[place].ask(request);
        }
    }

    /// Asks the sibling under its lock; where the session is gone it counts as not answered.
    fn looks_last(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let who = COMMANDS[node];
        let sibling = sibling_of(node);
        for mut look in self.looks(state, node, Some(A)) {
            let held = state.command(node).locks.contains(sibling);
            if look.answered.contains(sibling) && !held && self.keeps(Rule::AnswerUnderLock) {
                look.answered = Nodes::NONE;
                look.objection = false;
                if state.server[sibling].is_active() {
                    look.unseen.primaries = look.unseen.primaries.with(sibling);
                } else {
                    look.unseen.others = look.unseen.others.with(sibling);
                }
            }
            let mut after = *state;
            let command = after.command_mut(node);
            if look.objection {
                command.phase = Phase::GoBack;
                next.seen(who, "sees another primary in its last look: back", &look, after);
            } else {
                command.phase = Phase::Mark;
                command.unseen.primaries = look.unseen.primaries;
                command.unseen.others = look.unseen.others;
                next.seen(who, "looks for the last time", &look, after);
            }
        }
    }

    fn opens_second_channel(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let who = COMMANDS[node];
        let command = *state.command(node);
        let no_way = self.config.host_of_a_is_gone || (self.config.no_ssh_from_c && node == C);
        if !no_way {
            let mut after = *state;
            let mut place = Some(0);
            if self.keeps(Rule::FarEndsAreEnded) {
                for place in 0..after.far_ends.len() {
                    after.end_far_end(place);
                }
            } else {
                place = after.far_ends.iter().position(|far_end| !far_end.is_there());
            }
            let is_free = after.host.lock == HostLock::Free
                || !self.keeps(Rule::LockOfTheHost)
                || !self.keeps(Rule::FarEndsAreEnded);
            if let Some(place) = place.filter(|_| is_free) {
                if after.host.lock == HostLock::Free {
                    after.host.lock = HostLock::FarEnd(place);
                }
                after.far_ends[place] = FarEnd { reported: true, ..FarEnd::serving(node) };
                let command = after.command_mut(node);
                command.channel = Some(place);
                command.phase = match self.keeps(Rule::SignalThenLook) {
                    true => Phase::WriteSignalFirst,
                    false => Phase::LookAtHost,
                };
                next.to(who, "opens the second channel, ends the far ends and takes the node's lock", after);
            } else {
                after = *state;
                after.end_command(node);
                next.to(who, "does not get the node's lock on the host of A: ends", after);
            }
        }
        if !no_way && !self.config.ssh_fails {
            return;
        }
        let mut after = *state;
        let journal = *state.journal(node);
        // What was asked for and is not known to be over keeps it from going on; so does any operation before its mark.
        let goes_on =
            command.kind == Kind::Promotion && (!command.resumes || journal.marked) && !journal.asked_back;
        if goes_on {
            let command = after.command_mut(node);
            // Without ssh there is nothing to fail: what the rules promise then rests on the other standby, if that was seen.
            let sibling = sibling_of(node);
            let unseen =
                command.unseen.primaries.contains(sibling) || command.unseen.others.contains(sibling);
            if !no_way || unseen {
                command.unseen.others = command.unseen.others.with(A);
            }
            command.phase = Phase::JudgeAnew;
            next.to(who, "cannot reach the host of A, names it and goes on", after);
        } else {
            after.end_command(node);
            next.to(who, "cannot reach the host of A: ends, the journal stays open", after);
        }
    }

    fn looks_at_host(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let who = COMMANDS[node];
        let mut after = *state;
        let is_secure = matches!(state.server[A], Server::Down | Server::Standby);
        if state.channel_of(node).is_none() {
            after.end_command(node);
            next.to(who, "has lost the second channel: ends", after);
        } else if is_secure {
            let command = after.command_mut(node);
            command.unseen = Unseen {
                primaries: command.unseen.primaries.without(A),
                others: command.unseen.others.without(A),
            };
            command.phase = match self.keeps(Rule::SignalThenLook) {
                true => Phase::JudgeAnew,
                false => Phase::WriteSignalLate,
            };
            after.journal_mut(node).asked_back = false;
            next.to(who, "sees on its host that A is down, or a standby", after);
        } else {
            if state.command(node).wrote_signal {
                after.host.standby_signal = false;
            }
            after.end_command(node);
            next.to(who, "sees on its host that A runs: ends", after);
        }
    }

    /// The last look of a promotion. A lock that was lost, or never had, is taken before its node is asked.
    fn judges_anew(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let who = COMMANDS[node];
        if state.command(node).channel.is_some() && state.channel_of(node).is_none() {
            let mut after = *state;
            after.end_command(node);
            next.to(who, "has lost the second channel: ends", after);
            return;
        }
        for look in self.looks(state, node, None) {
            let mut after = *state;
            let mut is_busy = false;
            if self.keeps(Rule::AnswerUnderLock) {
                for other in [A, B, C] {
                    let asked =
                        other != node && look.answered.contains(other) && state.server[other].lets_in();
                    if asked && !state.command(node).locks.contains(other) {
                        is_busy |= state.is_locked(other, node);
                        let command = after.command_mut(node);
                        command.locks = command.locks.with(other);
                    }
                }
            }
            if is_busy || look.objection {
                let what = match look.objection {
                    true => "sees another primary in its last look: ends",
                    false => "finds a lock taken that it has lost or never had: ends",
                };
                let mut after = *state;
                if state.command(node).wrote_signal {
                    after.command_mut(node).phase = Phase::AwaitSignalTaken;
                    self.ask(&mut after, node, Request::TakeSignalBack);
                } else {
                    after.end_command(node);
                }
                next.seen(who, what, &look, after);
                continue;
            }
            let command = after.command_mut(node);
            // What its host itself has shown need not answer.
            let mut unseen = look.unseen;
            if command.channel.is_some() {
                unseen.primaries = unseen.primaries.without(A);
                unseen.others = unseen.others.without(A);
            }
            // A node that has answered now, under its lock, is seen; of A its host would have to be.
            command.unseen = command.unseen.without(look.answered.without(A)).and(unseen);
            command.phase = Phase::Mark;
            next.seen(who, "judges the promotion, and no node objects", &look, after);
        }
    }

    fn goes_back(&self, state: &State, node: usize, next: &mut Next<'_>) {
        let who = COMMANDS[node];
        let stays_standby = state.server[node] == Server::Standby || !self.keeps(Rule::NoWayBack);
        for look in self.looks(state, node, Some(A)) {
            let mut after = *state;
            // What a server says, the own one included, counts under its lock only.
            let asked = [node, sibling_of(node)]
                .into_iter()
                .filter(|other| *other == node || look.answered.contains(*other));
            let mut is_busy = false;
            for other in asked {
                is_busy |= !state.command(node).locks.contains(other) && state.is_locked(other, node);
                let command = after.command_mut(node);
                command.locks = command.locks.with(other);
            }
            if is_busy && self.keeps(Rule::AnswerUnderLock) {
                self.fails(state, node, "finds a lock taken that it has lost or never had", next);
                continue;
            }
            if look.newer || !stays_standby {
                self.fails(state, node, "must not bring the old primary back", next);
                continue;
            }
            if after.channel_of(node).is_none() {
                let place = after.far_ends.iter().position(|far_end| !far_end.is_there());
                let Some(place) = place.filter(|_| self.is_host_free(state)) else {
                    self.fails(state, node, "has no channel to bring the old primary back", next);
                    continue;
                };
                after.host.lock = HostLock::FarEnd(place);
                after.far_ends[place] = FarEnd { armed: true, ..FarEnd::serving(node) };
                after.command_mut(node).channel = Some(place);
            }
            self.ask(&mut after, node, Request::GoBack);
            if let Some(place) = after.channel_of(node) {
                after.far_ends[place].unseen = look.unseen;
            }
            after.journal_mut(node).asked_back = true;
            after.command_mut(node).phase = Phase::AwaitBack;
            next.seen(who, "asks for the old primary to be brought back", &look, after);
        }
    }

    /// Ends with 33.
    fn fails(&self, state: &State, node: usize, what: &'static str, next: &mut Next<'_>) {
        let mut after = *state;
        after.end_command(node);
        if !self.keeps(Rule::FailedRollbackStaysOpen) {
            *after.journal_mut(node) = Journal::default();
        }
        next.to(COMMANDS[node], what, after);
    }
}
