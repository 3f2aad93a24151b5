//! Visits every state that can be reached.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;

use super::state::{A, B, C, State};
use super::steps::{Event, Model};

/// How two servers could come to accept writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// All saw what there was to see, and it happened all the same.
    OfTheRules,
    /// The command that made the second one did not reach a server that was a primary at that moment.
    LivingPrimaryUnseen,
    /// It went on although a node that became a primary later, or its host, gave no answer.
    SilentNodeLeftOut,
}

/// What was found.
pub struct Explored {
    pub states: Vec<State>,
    /// Which state each was first reached from.
    parents: Vec<u32>,
    /// All states could be visited.
    pub complete: bool,
    pub of_the_rules: usize,
    pub living_primary_unseen: usize,
    pub silent_node_left_out: usize,
    /// The first state with two primaries that is the fault of the rules.
    pub first: Option<usize>,
    pub depth: usize,
}

/// Says whether there are two primaries, or will be, and how.
pub fn fault(state: &State) -> Option<Fault> {
    let mut active = [A, B, C].into_iter().filter(|node| state.server[*node].is_active());
    let (one, other) = (active.next()?, active.next()?);
    let (of_one, of_other) = (state.unseen[one], state.unseen[other]);
    // The command that brought the old primary back may have been left out, too.
    let order = state.ordered_by.filter(|_| one == A);
    if of_one.primaries.contains(other) || of_other.primaries.contains(one) {
        return Some(Fault::LivingPrimaryUnseen);
    }
    let left_out = of_one.others.contains(other)
        || of_other.others.contains(one)
        || order.is_some_and(|node| of_other.others.contains(node));
    Some(if left_out { Fault::SilentNodeLeftOut } else { Fault::OfTheRules })
}

/// Visits states, the nearest first, until all are visited, or `most` of them, or, if `until_fault`, until the rules have failed.
pub fn explore(model: &Model, most: usize, until_fault: bool) -> Explored {
    let first = State::first();
    let mut found = Explored {
        states: vec![first],
        parents: vec![0],
        complete: false,
        of_the_rules: 0,
        living_primary_unseen: 0,
        silent_node_left_out: 0,
        first: None,
        depth: 0,
    };
    let mut known: HashMap<State, u32> = HashMap::from([(first, 0)]);
    let mut out = Vec::new();
    let (mut at, mut end_of_depth) = (0, 1);
    while at < found.states.len() {
        if at == end_of_depth {
            end_of_depth = found.states.len();
            found.depth += 1;
        }
        let state = found.states[at];
        // What comes after two primaries is no concern of the rules.
        if fault(&state).is_none() {
            model.successors(&state, &mut out);
            for (_, next) in &out {
                let number = u32::try_from(found.states.len()).expect("fewer states than that");
                let Entry::Vacant(place) = known.entry(*next) else { continue };
                place.insert(number);
                found.states.push(*next);
                found.parents.push(u32::try_from(at).expect("fewer states than that"));
                match fault(next) {
                    None => continue,
                    Some(Fault::LivingPrimaryUnseen) => found.living_primary_unseen += 1,
                    Some(Fault::SilentNodeLeftOut) => found.silent_node_left_out += 1,
                    Some(Fault::OfTheRules) => {
                        found.of_the_rules += 1;
                        found.first.get_or_insert(found.states.len() - 1);
                        if until_fault {
                            return found;
                        }
                    }
                }
            }
        }
        at += 1;
        if found.states.len() > most {
            return found;
        }
    }
    found.complete = true;
    found
}

impl Explored {
    /// Describes how a state was reached.
    pub fn story(&self, model: &Model, state: usize) -> String {
        let mut way = vec![state];
        while let Some(last) = way.last().copied().filter(|last| *last != 0) {
            way.push(self.parents[last] as usize);
        }
        way.reverse();
        let mut out = Vec::new();
        let mut story = String::new();
        for step in way.windows(2) {
            model.successors(&self.states[step[0]], &mut out);
            let event: Option<Event> =
                out.iter().find(|(_, next)| *next == self.states[step[1]]).map(|(event, _)| *event);
            let described = event.map_or_else(|| "?".to_string(), |event| event.to_string());
            let _ = writeln!(story, "  {described}");
        }
        let _ = writeln!(story, "  => {:?}", self.states[state].server);
        story
    }
}

/// There are two primaries, or will be: a start that is under way cannot be called back. None of these commands puts that right.
fn is_bound_for_two(state: &State) -> bool {
    let comes_up = state.host.start_under_way && !state.host.standby_signal && !state.server[A].is_up();
    fault(state).is_some() || (comes_up && [B, C].iter().any(|node| state.server[*node].is_active()))
}

/// Returns which of these states nothing leads out of that may be typed, to one primary with nothing left open.
pub fn stuck(calm: &Model, states: &[State]) -> Vec<usize> {
    let mut known: HashMap<State, usize> = HashMap::new();
    let mut visited: Vec<State> = Vec::new();
    let mut number_of = |state: State, visited: &mut Vec<State>| {
        *known.entry(state).or_insert_with(|| {
            visited.push(state);
            visited.len() - 1
        })
    };
    let begins: Vec<Option<usize>> = (states.iter())
        .map(|state| {
            let mut begin = if calm.config.host_of_a_is_gone { state.without_host() } else { *state };
            (begin.typed, begin.crashes) = (0, 0);
            (!is_bound_for_two(&begin)).then(|| number_of(begin, &mut visited))
        })
        .collect();
    let mut comes_from: Vec<Vec<u32>> = Vec::new();
    let mut out = Vec::new();
    let mut at = 0;
    while at < visited.len() {
        let state = visited[at];
        if !state.is_at_rest() && !is_bound_for_two(&state) {
            calm.successors(&state, &mut out);
            for (_, next) in &out {
                let next = number_of(*next, &mut visited);
                comes_from.resize(comes_from.len().max(next + 1), Vec::new());
                comes_from[next].push(u32::try_from(at).expect("fewer states than that"));
            }
        }
        at += 1;
    }
    comes_from.resize(visited.len(), Vec::new());
    let mut leads_out: Vec<bool> = visited.iter().map(State::is_at_rest).collect();
    let mut to_follow: Vec<usize> = (0..visited.len()).filter(|number| leads_out[*number]).collect();
    while let Some(number) = to_follow.pop() {
        for before in &comes_from[number] {
            let before = *before as usize;
            if !leads_out[before] {
                leads_out[before] = true;
                to_follow.push(before);
            }
        }
    }
    let without =
        begins.iter().enumerate().filter(|(_, begin)| begin.is_some_and(|number| !leads_out[number]));
    without.map(|(number, _)| number).collect()
}
