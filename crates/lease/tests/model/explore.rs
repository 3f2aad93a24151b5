//! Ways through the worlds: all of them, breadth first; random ones; and those on which nothing breaks any more.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::world::{Config, Step, World};

/// What came of an exploration.
#[derive(Debug)]
pub struct Outcome {
    /// Different worlds.
    pub states: usize,
    /// Steps from the beginning to the last of them.
    pub depth: usize,
    /// All worlds were seen.
    pub exhaustive: bool,
    /// The way to two primaries.
    pub violation: Option<Vec<Step>>,
}

/// A hasher for keys that are hashes.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64")
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A fast hash of 64 bits: with fifty million worlds the chance that two share one is one in ten thousand.
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(29);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

fn fingerprint<const N: usize>(world: &World<N>) -> u64 {
    let mut hasher = Mix(0x9e37_79b9_7f4a_7c15);
    world.hash(&mut hasher);
    hasher.finish()
}

/// Explores all worlds to which these steps lead, at most `most`.
pub fn all<const N: usize>(config: &Config, most: usize, only: impl Fn(Step) -> bool) -> Outcome {
    let steps: Vec<Step> = World::<N>::steps(config).into_iter().filter(|step| only(*step)).collect();
    let begin = World::<N>::new(config);
    let mut seen: HashMap<u64, (u64, Step), BuildHasherDefault<AsIs>> = HashMap::default();
    seen.insert(fingerprint(&begin), (0, Step::Time));
    let mut now = vec![begin];
    let mut depth = 0;
    let path = |seen: &HashMap<u64, (u64, Step), _>, mut at: u64| {
        let mut path = Vec::new();
        while let Some((before, step)) = seen.get(&at).filter(|(before, _)| *before != 0) {
            path.push(*step);
            at = *before;
        }
        path.reverse();
        path
    };
    while !now.is_empty() {
        let mut next = Vec::new();
        for world in now {
            let from = fingerprint(&world);
            for step in &steps {
                let Some(after) = world.after(config, *step) else { continue };
                let to = fingerprint(&after);
                if seen.contains_key(&to) {
                    continue;
                }
                seen.insert(to, (from, *step));
                if after.is_bad(config) {
                    let violation = Some(path(&seen, to));
                    return Outcome { states: seen.len(), depth: depth + 1, exhaustive: false, violation };
                }
                next.push(after);
            }
            if seen.len() >= most {
                return Outcome { states: seen.len(), depth, exhaustive: false, violation: None };
            }
        }
        depth += 1;
        now = next;
    }
    Outcome { states: seen.len(), depth, exhaustive: true, violation: None }
}

/// Numbers that look random, the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// What came of random walks.
#[derive(Debug, Default)]
pub struct Walks {
    /// Steps taken.
    pub steps: u64,
    /// Walks.
    pub walks: u64,
    /// How often another node became the primary.
    pub changes: u64,
    /// Walks that ended with two primaries.
    pub violations: u64,
    /// The shortest of them.
    pub shortest: Option<Vec<Step>>,
    /// Walks that ended in peace, with one leader and everybody active.
    pub healed: u64,
    /// Walks that did not, and the last world of the first of them.
    pub stuck: Option<String>,
}

/// How likely a step is, in a walk: what brings the world on comes more often than what breaks it.
fn weight(step: Step) -> usize {
    match step {
        Step::Time => 12,
        Step::Beat(..) => 30,
        Step::Take(..) => 10,
        Step::Answer(..) => 30,
        Step::Look(_) | Step::ReadWrite(_) | Step::PromotionArrives(_) | Step::Agree(_) => 40,
        Step::Unlock(..) | Step::SeeNote(..) | Step::LearnOfNote(_) | Step::TakeNote(..) => 30,
        Step::StopForHeir(_) | Step::HeirHasAll(_) | Step::Signal(_) | Step::Scan(_) => 30,
        Step::Start(_) | Step::RemoveSignal(_) | Step::LearnOfRefusal(_) | Step::Readmit(..) => 20,
        Step::StartAsStandby(_) | Step::Restart(_) | Step::Boot(_) | Step::Begin(_) | Step::Full(..) => 12,
        Step::End(..)
        | Step::Clear(_)
        | Step::Prove(..)
        | Step::LearnOfProof(..)
        | Step::PromoteByHand(_) => 8,
        Step::Hold(..) | Step::HandOver(..) | Step::Issue(_) | Step::Demote(_) | Step::Fence(_) => 6,
        Step::Admit(_) => 4,
        Step::Refuse(_) => 2,
        Step::Close(..) | Step::StandDown(_) | Step::Fail(_) | Step::NoteVanishes(_) | Step::CommandDies => 1,
        Step::Crash(_) | Step::Die(_) | Step::PowerOff(_) | Step::RestartWithoutState(_) => 1,
    }
}

/// Every step as often as it weighs.
fn wheel<const N: usize>(config: &Config, weight: impl Fn(Step) -> usize) -> Vec<Step> {
    World::<N>::steps(config).into_iter().flat_map(|step| std::iter::repeat_n(step, weight(step))).collect()
}

/// Takes random steps, in walks of `length`. With `heal`, each walk ends by one on which nothing breaks any more and every command is finished.
pub fn walk<const N: usize>(config: &Config, steps: u64, length: usize, seed: u64, heal: bool) -> Walks {
    let wheel_of_fortune = wheel::<N>(config, weight);
    let peaceful = wheel::<N>(config, peaceful_weight);
    let mut random = Random::new(seed);
    let mut walks = Walks::default();
    while walks.steps < steps {
        walks.walks += 1;
        let mut world = World::<N>::new(config);
        let mut path = Vec::new();
        let mut primary = world.primary(config);
        let length = if heal { random.below(length) + 1 } else { length };
        let mut misses = 0;
        while path.len() < length && misses < 2000 {
            let step = wheel_of_fortune[random.below(wheel_of_fortune.len())];
            let Some(after) = world.after(config, step) else {
                misses += 1;
                continue;
            };
            misses = 0;
            world = after;
            path.push(step);
            if world.is_bad(config) {
                walks.violations += 1;
                if walks.shortest.as_ref().is_none_or(|shortest| path.len() < shortest.len()) {
                    walks.shortest = Some(path.clone());
                }
                break;
            }
            if let Some(now) = world.primary(config)
                && primary != Some(now)
            {
                walks.changes += u64::from(primary.is_some());
                primary = Some(now);
            }
        }
        walks.steps += path.len() as u64;
        if heal && !world.is_bad(config) {
            let mut tries = 0;
            while !world.is_whole(config) && tries < 400_000 {
                tries += 1;
                let step = peaceful[random.below(peaceful.len())];
                if !world.is_peaceful(config, step) {
                    continue;
                }
                if let Some(after) = world.after(config, step) {
                    world = after;
                }
            }
            if world.is_whole(config) {
                walks.healed += 1;
            } else if walks.stuck.is_none() {
                walks.stuck = Some(format!("{}      {}", trace::<N>(config, &path), world.summary(config)));
            }
        }
    }
    walks
}

fn peaceful_weight(step: Step) -> usize {
    match step {
        Step::Issue(_)
        | Step::Hold(..)
        | Step::Full(..)
        | Step::HandOver(..)
        | Step::Demote(_)
        | Step::Begin(_) => 0,
        Step::Crash(_)
        | Step::Die(_)
        | Step::PowerOff(_)
        | Step::RestartWithoutState(_)
        | Step::NoteVanishes(_) => 0,
        Step::Prove(..) | Step::LearnOfProof(..) | Step::Refuse(_) | Step::PromoteByHand(_) => 0,
        Step::Close(..) | Step::StandDown(_) => 4,
        other => weight(other).max(4),
    }
}

/// Writes a way down, for people.
pub fn trace<const N: usize>(config: &Config, path: &[Step]) -> String {
    let mut world = World::<N>::new(config);
    let mut text = format!("{}\n      {}\n", config.name, world.summary(config));
    for (number, step) in path.iter().enumerate() {
        match world.after(config, *step) {
            Some(after) => world = after,
            None => text.push_str("(changes nothing) "),
        }
        let _ = writeln!(text, "{:4}  {:<28} {}", number + 1, format!("{step:?}"), world.summary(config));
    }
    text
}
