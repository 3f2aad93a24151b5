//! What happens on the host of A: its far ends, and `node start`.

use super::rules::Rule;
use super::state::{
    A, Answer, B, C, FarEnd, HostLock, NodeStart, Nodes, Request, Server, StartStage, State, Unseen, Work,
};
use super::steps::{COMMANDS, FAR_ENDS, Model, Next};

impl Model {
    pub fn far_end(&self, state: &State, place: usize, next: &mut Next<'_>) {
        let far_end = state.far_ends[place];
        let who = FAR_ENDS[place];
        match far_end.work {
            Work::Absent => {}
            Work::Serves => self.serves(state, place, next),
            Work::MayStart => {
                let mut after = *state;
                if state.server[A] != Server::Primary && state.server[A] != Server::Starting {
                    after.unseen[A] = far_end.unseen;
                    after.ordered_by = Some(far_end.owner);
                }
                if matches!(state.server[A], Server::Standby | Server::Stopping) {
                    let shut_down = state.host.shut_down;
                    after.end_server_of_a();
                    after.host.shut_down = shut_down;
                }
                after.host.standby_signal = false;
                after.far_ends[place].work = Work::SignalRemoved;
                next.to(who, "removes standby.signal", after);
            }
            Work::SignalRemoved => {
                let mut after = *state;
                after.host.start_under_way |= state.server[A] == Server::Down;
                after.far_ends[place].work = Work::Spawned;
                next.to(who, "spawns the start of the server", after);
            }
            Work::Spawned if state.server[A].is_up() => {
                for look in self.looks(state, A, None) {
                    let mut after = *state;
                    if look.newer {
                        after.end_server_of_a();
                        after.write_signal();
                    }
                    let answer = if look.newer { Answer::Refused } else { Answer::Back };
                    self.ends_work(&mut after, place, answer);
                    let what = match look.newer {
                        true => "looks once more, sees another primary and stops its own",
                        false => "looks once more",
                    };
                    next.seen(who, what, &look, after);
                }
            }
            Work::Spawned => {
                let mut after = *state;
                self.ends_work(&mut after, place, Answer::Refused);
                next.to(who, "does not wait for the start any longer", after);
            }
            Work::MayRemove => {
                let mut after = *state;
                if state.server[A] == Server::Down {
                    after.host.standby_signal = false;
                    after.unseen[A] = far_end.unseen;
                    after.ordered_by = Some(far_end.owner);
                }
                self.ends_work(&mut after, place, Answer::Back);
                next.to(who, "takes standby.signal back, if the server is still down", after);
            }
        }
    }

    /// The work that was asked for is over; one that is alone ends.
    fn ends_work(&self, state: &mut State, place: usize, answer: Answer) {
        let far_end = &mut state.far_ends[place];
        if far_end.alone {
            state.end_far_end(place);
            return;
        }
        far_end.work = Work::Serves;
        far_end.answer = if far_end.connected { answer } else { Answer::None };
        if answer == Answer::Back {
            far_end.armed = false;
            far_end.unseen = Unseen::default();
        }
    }

    fn serves(&self, state: &State, place: usize, next: &mut Next<'_>) {
        let far_end = state.far_ends[place];
        let who = FAR_ENDS[place];
        let answer = |after: &mut State, answer| {
            after.far_ends[place].answer = if far_end.connected { answer } else { Answer::None };
        };
        if let Some(request) = far_end.requests[0] {
            let mut after = *state;
            after.far_ends[place].requests = [far_end.requests[1], None];
            match request {
                Request::WriteSignal => {
                    after.far_ends[place].armed = true;
                    if self.keeps(Rule::SignalBeforeStop) {
                        after.write_signal();
                    }
                    answer(&mut after, Answer::SignalWritten);
                    next.to(who, "writes standby.signal", after);
                }
                Request::Stop => {
                    after.far_ends[place].stops = true;
                    let is_meant = state.host.standby_signal || !self.keeps(Rule::SignalBeforeStop);
                    if state.server[A] == Server::Primary && is_meant {
                        after.server[A] = Server::Stopping;
                    }
                    next.to(
                        who,
                        "asks the server to stop, if it is the primary and has standby.signal",
                        after,
                    );
                }
                Request::Confirm => {
                    let holds = state.server[A] == Server::Down
                        && (state.host.standby_signal || !self.keeps(Rule::SignalBeforeStop));
                    after.far_ends[place].reported |= holds;
                    answer(&mut after, if holds { Answer::Confirmed } else { Answer::Refused });
                    next.to(who, "says whether the server is down and stays so", after);
                }
                Request::GoBack => self.asks_the_others(&after, place, Work::MayStart, next),
                Request::TakeSignalBack => self.asks_the_others(&after, place, Work::MayRemove, next),
            }
        }
        let is_down = state.server[A] == Server::Down && state.host.shut_down;
        let goes_back = far_end.requests.contains(&Some(Request::GoBack));
        if far_end.stops && !far_end.reported && is_down && !goes_back {
            let mut after = *state;
            after.far_ends[place].reported = true;
            answer(&mut after, Answer::ShutDown);
            next.to(who, "reports that the server is shut down", after);
        }
        // The channel is closed, or was silent for too long, whatever the command on its other end has come to.
        let mut after = *state;
        let passive = far_end.reported && self.keeps(Rule::ReportedIsPassive);
        if passive || !far_end.armed {
            after.end_far_end(place);
            next.to(who, "takes its channel for gone, and ends", after);
        } else {
            after.far_ends[place] =
                FarEnd { alone: true, requests: [None; 2], answer: Answer::None, ..far_end };
            self.asks_the_others(&after, place, Work::MayStart, next);
        }
    }

    /// The one judgement on the host of A, immediately before an effect.
    fn asks_the_others(&self, state: &State, place: usize, then: Work, next: &mut Next<'_>) {
        let who = FAR_ENDS[place];
        for look in self.looks(state, A, None) {
            let mut after = *state;
            if look.objection {
                self.ends_work(&mut after, place, Answer::Refused);
                next.seen(who, "learns of another primary, and leaves standby.signal", &look, after);
            } else {
                after.far_ends[place].work = then;
                let unseen = &mut after.far_ends[place].unseen;
                *unseen = unseen.and(look.unseen);
                let what = match state.far_ends[place].alone {
                    true => "is alone; no node objects to the old primary",
                    false => "is asked to go back; no node objects to the old primary",
                };
                next.seen(who, what, &look, after);
            }
        }
    }

    pub fn node_start(&self, state: &State, next: &mut Next<'_>) {
        let who = COMMANDS[A];
        let may_be_typed = self.may_type(state)
            && state.node_start.stage == StartStage::Absent
            && state.server[A] == Server::Down
            && !state.host.start_under_way;
        if may_be_typed && state.host.standby_signal {
            let mut after = *state;
            self.count(&mut after);
            after.host.start_under_way = true;
            next.to(who, "starts a standby", after);
        } else if may_be_typed && self.is_host_free(state) {
            for look in self.looks(state, A, None) {
                let majority = !look.answered.is_empty();
                let is_refused = look.objection && self.keeps(Rule::NodeStartIsJudged);
                let is_busy =
                    [B, C].iter().any(|node| look.answered.contains(*node) && state.is_locked(*node, A));
                if is_refused || !majority || (is_busy && self.keeps(Rule::NodeStartHoldsLocks)) {
                    continue;
                }
                let mut after = *state;
                self.count(&mut after);
                let locks = if self.keeps(Rule::NodeStartHoldsLocks) { look.answered } else { Nodes::NONE };
                after.node_start = NodeStart { stage: StartStage::Judged, locks, unseen: look.unseen };
                if state.host.lock == HostLock::Free {
                    after.host.lock = HostLock::NodeStart;
                }
                next.seen(who, "has a majority, and no node objects", &look, after);
            }
        }
        match state.node_start.stage {
            StartStage::Absent => return,
            StartStage::Judged => {
                let mut after = *state;
                after.node_start.stage = StartStage::Spawned;
                if state.server[A] == Server::Down && !state.host.start_under_way {
                    after.host.start_under_way = true;
                    if !state.host.standby_signal {
                        after.unseen[A] = state.node_start.unseen;
                        after.ordered_by = None;
                    }
                }
                next.to(who, "spawns the start of the server", after);
            }
            StartStage::Spawned if !state.host.start_under_way && state.server[A] != Server::Starting => {
                for look in self.looks(state, A, None) {
                    let mut after = *state;
                    after.end_node_start();
                    if look.newer && state.server[A] == Server::Primary {
                        after.end_server_of_a();
                        after.write_signal();
                    }
                    next.seen(
                        who,
                        "looks once more, and stops the server if there is another primary",
                        &look,
                        after,
                    );
                }
            }
            StartStage::Spawned => {}
        }
        if self.config.node_start_is_killed {
            let mut after = *state;
            after.end_node_start();
            next.to(who, "is killed", after);
        }
    }
}
