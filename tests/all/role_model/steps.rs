//! What can happen next. Every step of a process is one of its own: between two of them it may be frozen for any time.

use super::rules::{Rule, Rules};
use super::state::{A, B, C, Nodes, Server, State, Unseen};

/// What may go wrong, and what is typed.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many commands are typed at most; None for any number, which are not counted then.
    pub commands: Option<u8>,
    pub switchover_on_b: bool,
    pub switchover_on_c: bool,
    pub promote_on_b: bool,
    pub promote_on_c: bool,
    pub node_start: bool,
    /// Something restarts the server of A whenever it is down, without any query.
    pub supervisor: bool,
    /// How often the server of A crashes.
    pub crashes: u8,
    /// A crash of one of its processes makes a running server read its data directory again.
    pub reinitialises: bool,
    /// A connection to a server that is up may fail.
    pub sql_fails: bool,
    /// So may a channel to the host of A.
    pub ssh_fails: bool,
    /// No ssh leads from C to the host of A.
    pub no_ssh_from_c: bool,
    /// The host of A is gone for good: `--force` says so where it must be said.
    pub host_of_a_is_gone: bool,
    /// A role may not see whether a promotion was requested of another server.
    pub requests_are_hidden: bool,
    /// The operator overrides the row of an operation that is open.
    pub rows_are_overridden: bool,
    /// A server may end a session that holds its lock.
    pub sessions_end: bool,
    pub commands_are_killed: bool,
    pub far_ends_are_killed: bool,
    pub node_start_is_killed: bool,
}

impl Config {
    /// Nothing is typed, and nothing goes wrong.
    pub const QUIET: Self = Self {
        commands: Some(0),
        switchover_on_b: false,
        switchover_on_c: false,
        promote_on_b: false,
        promote_on_c: false,
        node_start: false,
        supervisor: false,
        crashes: 0,
        reinitialises: false,
        sql_fails: false,
        ssh_fails: false,
        no_ssh_from_c: false,
        host_of_a_is_gone: false,
        requests_are_hidden: false,
        rows_are_overridden: false,
        sessions_end: false,
        commands_are_killed: false,
        far_ends_are_killed: false,
        node_start_is_killed: false,
    };

    /// The same cluster, once everything works again: whatever is wanted may be typed, and what hangs may be ended.
    pub fn calm(self) -> Self {
        Self {
            commands: None,
            switchover_on_b: true,
            promote_on_b: true,
            promote_on_c: true,
            node_start: true,
            commands_are_killed: true,
            node_start_is_killed: true,
            no_ssh_from_c: self.no_ssh_from_c,
            ..Self::QUIET
        }
    }
}

/// What happened, for people.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub who: &'static str,
    pub what: &'static str,
    /// The nodes that answered, where others were queried.
    pub answered: Option<Nodes>,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.who, self.what)?;
        match self.answered {
            Some(nodes) => write!(f, " (answered: {nodes:?})"),
            None => Ok(()),
        }
    }
}

/// What one look at the other nodes shows.
pub struct Look {
    pub answered: Nodes,
    pub objection: bool,
    /// One of them accepts writes, or has a newer timeline.
    pub newer: bool,
    pub unseen: Unseen,
}

/// The rules that hold, and the world that they hold in.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub rules: Rules,
    pub config: Config,
}

/// Collects what can come of a state.
pub struct Next<'a> {
    out: &'a mut Vec<(Event, State)>,
}

impl Next<'_> {
    pub fn to(&mut self, who: &'static str, what: &'static str, state: State) {
        self.out.push((Event { who, what, answered: None }, state));
    }

    pub fn seen(&mut self, who: &'static str, what: &'static str, look: &Look, state: State) {
        self.out.push((Event { who, what, answered: Some(look.answered) }, state));
    }
}

const NAMES: [&str; 3] = ["server A", "server B", "server C"];
pub const COMMANDS: [&str; 3] = ["node start on A", "command on B", "command on C"];
pub const FAR_ENDS: [&str; 2] = ["far end 1", "far end 2"];

impl Model {
    pub fn keeps(&self, rule: Rule) -> bool {
        self.rules.keep(rule)
    }

    /// Lists everything that can happen next.
    pub fn successors(&self, state: &State, out: &mut Vec<(Event, State)>) {
        out.clear();
        let mut next = Next { out };
        self.servers(state, &mut next);
        self.faults(state, &mut next);
        for place in 0..state.far_ends.len() {
            if state.far_ends[place].is_there() {
                self.far_end(state, place, &mut next);
            }
        }
        for node in [B, C] {
            if state.command(node).runs() {
                self.command(state, node, &mut next);
            } else if self.may_type(state) {
                self.typed(state, node, &mut next);
            }
        }
        if self.config.node_start {
            self.node_start(state, &mut next);
        }
        for (_, state) in next.out {
            *state = state.simplified();
        }
    }

    pub fn may_type(&self, state: &State) -> bool {
        self.config.commands.is_none_or(|most| state.typed < most)
    }

    pub fn count(&self, state: &mut State) {
        if self.config.commands.is_some() {
            state.typed += 1;
        }
    }

    /// All that a process on the host of `from` may see of the other nodes; `ignoring` is known to be down.
    pub fn looks(&self, state: &State, from: usize, ignoring: Option<usize>) -> Vec<Look> {
        let others = [A, B, C].into_iter().filter(|node| *node != from && Some(*node) != ignoring);
        let mut looks =
            vec![Look { answered: Nodes::NONE, objection: false, newer: false, unseen: Unseen::default() }];
        for other in others {
            let server = state.server[other];
            if !server.is_up() {
                continue;
            }
            let mut also = Vec::new();
            for look in &mut looks {
                if self.config.sql_fails {
                    let mut unseen = look.unseen;
                    if matches!(server, Server::Standby) {
                        unseen.others = unseen.others.with(other);
                    } else {
                        unseen.primaries = unseen.primaries.with(other);
                    }
                    also.push(Look { unseen, ..*look });
                }
                let requested = server == Server::Promoting && self.shows_request();
                let newer =
                    server == Server::Primary || requested || state.timeline[other] > state.timeline[from];
                look.answered = look.answered.with(other);
                look.newer |= newer;
                look.objection |= newer || matches!(server, Server::Starting | Server::Stopping);
            }
            looks.extend(also);
        }
        looks
    }

    pub fn shows_request(&self) -> bool {
        self.keeps(Rule::RequestIsRemembered) && !self.config.requests_are_hidden
    }

    fn servers(&self, state: &State, next: &mut Next<'_>) {
        match state.server[A] {
            Server::Stopping => {
                let mut after = *state;
                after.end_server_of_a();
                after.host.shut_down = true;
                next.to(NAMES[A], "is shut down", after);
            }
            Server::Starting => {
                let mut after = *state;
                after.server[A] = Server::Primary;
                next.to(NAMES[A], "accepts writes", after);
            }
            Server::Down if state.host.start_under_way => {
                let mut after = *state;
                after.host.start_under_way = false;
                self.comes_up(&mut after);
                next.to(NAMES[A], "comes up, by the start that was under way", after);
            }
            Server::Down if self.config.supervisor => {
                let mut after = *state;
                self.comes_up(&mut after);
                next.to(NAMES[A], "is restarted by the supervisor", after);
            }
            Server::Primary if self.config.reinitialises && state.host.standby_signal => {
                let mut after = *state;
                after.server[A] = Server::Standby;
                next.to(NAMES[A], "reads its data directory again, and is a standby", after);
            }
            _ => {}
        }
        if state.server[A].is_up() && state.host.start_under_way {
            let mut after = *state;
            after.host.start_under_way = false;
            next.to(NAMES[A], "runs already: the start that was under way ends", after);
        }
        for node in [B, C] {
            if state.server[node] == Server::Promoting {
                let mut after = *state;
                after.server[node] = Server::Primary;
                after.timeline[node] += 1;
                next.to(NAMES[node], "accepts writes", after);
            }
        }
    }

    fn comes_up(&self, state: &mut State) {
        state.server[A] = if state.host.standby_signal { Server::Standby } else { Server::Starting };
    }

    fn faults(&self, state: &State, next: &mut Next<'_>) {
        let may_crash = matches!(state.server[A], Server::Primary | Server::Standby | Server::Starting);
        if state.crashes < self.config.crashes && may_crash {
            let mut after = *state;
            after.crashes += 1;
            after.end_server_of_a();
            next.to(NAMES[A], "crashes", after);
        }
        if self.config.sessions_end {
            for server in [A, B, C] {
                for node in [B, C] {
                    let mut after = *state;
                    let command = after.command_mut(node);
                    if command.locks.contains(server) {
                        command.locks = command.locks.without(server);
                        next.to(COMMANDS[node], "loses a session that holds a lock", after);
                    }
                }
                if state.node_start.locks.contains(server) {
                    let mut after = *state;
                    after.node_start.locks = after.node_start.locks.without(server);
                    next.to(COMMANDS[A], "loses a session that holds a lock", after);
                }
            }
        }
        for (place, far_end) in state.far_ends.iter().enumerate() {
            if self.config.far_ends_are_killed && far_end.is_there() {
                let mut after = *state;
                after.end_far_end(place);
                next.to(FAR_ENDS[place], "is killed", after);
            }
        }
        for node in [B, C] {
            if self.config.commands_are_killed && state.command(node).runs() {
                let mut after = *state;
                after.end_command(node);
                next.to(COMMANDS[node], "is killed", after);
            }
        }
    }
}
