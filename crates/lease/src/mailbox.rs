//! What daemons and commands say to each other: one line in the `application_name` of a session, where every role sees it.
//!
//! PostgreSQL cuts the name after 63 bytes and says so only in a notice. So numbers are written in base 36, and what would not fit is not
//! written at all: timelines and counters end at `zzzzz` (60 million).
//!
//! | line | example |
//! |---|---|
//! | a request: to whom, what, the operation, the incarnation that is meant | `pgb1 ask 12 handover 3 1fz3k 7b2e` |
//! | a daemon: its node, its incarnation, role, timeline, epoch and flag, its answer | `pgb1 12 7b2e L v v.3A note:1fz3k:3` |
//!
//! A pause is named by its number and by the operation that asks: who goes on with a pause quotes the operation that began it.

use crate::event::{Ask, Epoch, Flag, Op, Refusal};
use crate::members::{Change, Version};
use crate::time::Moment;
use crate::votes::{Node, Nodes};

/// The longest name that PostgreSQL keeps, in bytes.
pub const LONGEST: usize = 63;

/// How lines of this version begin.
const BEGINNING: &str = "pgb1";

/// The first number that does not fit into five digits.
const FIVE_DIGITS: u64 = 36 * 36 * 36 * 36 * 36;

/// The ID of a node in `repmgr.nodes`.
pub type NodeId = u32;

/// Which start of a daemon: random. What is asked of another one is not carried out.
pub type Incarnation = u16;

/// Something that is asked of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of whom.
    pub to: NodeId,
    /// Of which start of it.
    pub incarnation: Incarnation,
    /// The operation.
    pub op: Op,
    /// What.
    pub ask: Ask,
}

/// What a daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It takes part in nothing.
    Barred,
}

/// What a daemon says about an operation. The number of a pause is that of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// The hand-over goes on without the command that asked.
    Going,
    /// It takes the role over, and has WAL up to here.
    Ready(u64),
    /// It has a majority of votes, at this moment.
    Votes(Moment),
    /// It stands aside for the candidate that has shown its votes with this moment.
    Aside(Moment),
    /// It asks this node whether it takes the role over.
    Wants(NodeId),
    /// The pause has begun here.
    Held,
    /// It does not fence itself any more.
    Full,
    /// The pause ends here.
    Ending,
    /// It fences itself again, and leads.
    Armed,
    /// It is active.
    Cleared,
    /// Its number is above all others.
    Raised,
    /// What was told is taken note of.
    Noted,
    /// The role goes to this node, without the grace.
    Note(NodeId),
    /// No.
    No(Refusal),
}

/// The line of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// Which start of the daemon.
    pub incarnation: Incarnation,
    /// What it does.
    pub role: Role,
    /// The timeline of its server.
    pub timeline: u32,
    /// The pause that it has last taken part in, by timeline and number.
    pub pause: (u32, u32),
    /// Its flag.
    pub flag: Flag,
    /// What it says, about which operation.
    pub says: Option<(Op, Saying)>,
}

const ROLES: [(char, Role); 4] =
    [('L', Role::Leader), ('F', Role::Follower), ('C', Role::Candidate), ('-', Role::Barred)];

const FLAGS: [(char, Flag); 5] =
    [('A', Flag::Active), ('H', Flag::Held), ('F', Flag::Full), ('E', Flag::Ending), ('N', Flag::New)];

const REFUSALS: [(&str, Refusal); 11] = [
    ("leader", Refusal::NotLeader),
    ("standby", Refusal::NotStandby),
    ("barred", Refusal::Barred),
    ("busy", Refusal::Busy),
    ("voters", Refusal::Voters),
    ("lapsed", Refusal::Lapsed),
    ("epoch", Refusal::Epoch),
    ("others", Refusal::Others),
    ("command", Refusal::Command),
    ("new", Refusal::New),
    ("unknown", Refusal::Unknown),
];

/// Words without an argument.
const SAYINGS: [(&str, Saying); 8] = [
    ("going", Saying::Going),
    ("held", Saying::Held),
    ("full", Saying::Full),
    ("end", Saying::Ending),
    ("armed", Saying::Armed),
    ("clear", Saying::Cleared),
    ("raised", Saying::Raised),
    ("noted", Saying::Noted),
];

fn word_of<K: Copy, V: Copy + PartialEq>(table: &[(K, V)], value: V) -> Option<K> {
    table.iter().find(|(_, known)| *known == value).map(|(word, _)| *word)
}

fn value_of<K: Copy + PartialEq, V: Copy>(table: &[(K, V)], word: K) -> Option<V> {
    table.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

/// Writes a number in base 36, as all lines have it.
#[must_use]
pub fn digits(mut number: u64) -> String {
    let mut text = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).unwrap_or_default();
        text.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            break;
        }
    }
    text.iter().rev().collect()
}

/// Reads a number that [`digits`] has written.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    // No sign, no upper case: what is read was written here.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    u64::from_str_radix(text, 36).ok().filter(|_| plain)
}

fn small(text: &str) -> Option<u32> {
    number(text)?.try_into().ok()
}

/// A pair of numbers of five digits.
fn pair((one, other): (u32, u32)) -> Option<String> {
    let fits = u64::from(one) < FIVE_DIGITS && u64::from(other) < FIVE_DIGITS;
    fits.then(|| format!("{}.{}", digits(one.into()), digits(other.into())))
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let (one, other) = text.split_once('.')?;
    Some((small(one)?, small(other)?))
}

fn id(text: &str) -> Option<NodeId> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Request {
    /// Writes the line. `ids` gives the ID of a member. None if it does not fit, or says something that needs more than one line.
    #[must_use]
    pub fn line(&self, ids: impl Fn(Node) -> Option<NodeId>) -> Option<String> {
        let pause = |epoch: Epoch| pair((epoch.timeline, epoch.counter)).filter(|_| epoch.op == self.op);
        let (verb, argument) = match self.ask {
            Ask::HandOver(node) => ("handover", ids(node)?.to_string()),
            Ask::Ready(node) => ("ready", ids(node)?.to_string()),
            Ask::Candidate => ("candidate", "-".into()),
            Ask::Off(nodes, moment) => {
                let node = nodes.iter().next().filter(|_| nodes.count() == 1)?;
                ("off", format!("{}:{}", ids(node)?, digits(moment.0)))
            }
            Ask::Aside(moment) => ("aside", digits(moment.0)),
            Ask::Hold(None) => ("hold", "-".into()),
            Ask::Hold(Some(epoch)) => ("hold", pause(epoch)?),
            Ask::Full { epoch, version, issued } => {
                let version = pair((version.timeline, version.counter))?;
                ("full", format!("{}:{version}:{}", pause(epoch)?, u8::from(issued)))
            }
            Ask::Ending(epoch, _) => ("ending", pair((epoch.timeline, epoch.counter))?),
            Ask::Clear { armed: Some(epoch), ended: None, .. } => {
                ("clear", format!("a{}", pair((epoch.timeline, epoch.counter))?))
            }
            Ask::Clear { armed: None, ended: Some(epoch), .. } => ("clear", format!("e{}", pause(epoch)?)),
            Ask::Clear { .. } => return None,
            Ask::Raise => ("raise", "-".into()),
            Ask::Readmit(epoch) => ("readmit", pause(epoch)?),
            Ask::Member(Change::AddData(node)) => ("member", format!("d{}", ids(node)?)),
            Ask::Member(Change::AddWitness(node)) => ("member", format!("w{}", ids(node)?)),
            Ask::Member(Change::Remove(node)) => ("member", format!("x{}", ids(node)?)),
        };
        let (op, incarnation) = (digits(self.op.into()), digits(self.incarnation.into()));
        let line = format!("{BEGINNING} ask {} {verb} {argument} {op} {incarnation}", self.to);
        (line.len() <= LONGEST).then_some(line)
    }

    /// Reads a line. `members` gives the place of an ID; `locked`: whether this daemon holds its server's lock for commands.
    #[must_use]
    pub fn parse(line: &str, members: impl Fn(NodeId) -> Option<Node>, locked: bool) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [BEGINNING, "ask", to, verb, argument, op, incarnation] = words[..] else { return None };
        let op = small(op)?;
        let member = |text: &str| members(id(text)?);
        let pause = |text: &str| numbers(text).map(|(timeline, counter)| Epoch { timeline, counter, op });
        let ask = match (verb, argument) {
            ("handover", node) => Ask::HandOver(member(node)?),
            ("ready", node) => Ask::Ready(member(node)?),
            ("candidate", "-") => Ask::Candidate,
            ("off", argument) => {
                let (node, moment) = argument.split_once(':')?;
                Ask::Off(Nodes::one(member(node)?), Moment(number(moment)?))
            }
            ("aside", moment) => Ask::Aside(Moment(number(moment)?)),
            ("hold", "-") => Ask::Hold(None),
            ("hold", epoch) => Ask::Hold(Some(pause(epoch)?)),
            ("full", argument) => {
                let mut parts = argument.split(':');
                let (epoch, version) = (pause(parts.next()?)?, numbers(parts.next()?)?);
                let issued = match parts.next()? {
                    "0" => false,
                    "1" => true,
                    _ => return None,
                };
                let version = Version { timeline: version.0, counter: version.1 };
                parts.next().is_none().then_some(Ask::Full { epoch, version, issued })?
            }
            ("ending", epoch) => Ask::Ending(pause(epoch)?, locked),
            ("clear", argument) => match argument.split_at_checked(1)? {
                ("a", epoch) => Ask::Clear { armed: Some(pause(epoch)?), ended: None, locked },
                ("e", epoch) => Ask::Clear { armed: None, ended: Some(pause(epoch)?), locked },
                _ => return None,
            },
            ("raise", "-") => Ask::Raise,
            ("readmit", epoch) => Ask::Readmit(pause(epoch)?),
            ("member", argument) => Ask::Member(match argument.split_at_checked(1)? {
                ("d", node) => Change::AddData(member(node)?),
                ("w", node) => Change::AddWitness(member(node)?),
                ("x", node) => Change::Remove(member(node)?),
                _ => return None,
            }),
            _ => return None,
        };
        let incarnation = number(incarnation)?.try_into().ok()?;
        Some(Self { to: id(to)?, incarnation, op, ask })
    }
}

impl Status {
    /// Writes the line; None if a number does not fit.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let says = match self.says {
            None => "-".to_string(),
            Some((op, saying)) => {
                let op = digits(op.into());
                match saying {
                    Saying::Ready(end) => format!("have:{op}:{}", digits(end)),
                    Saying::Votes(moment) => format!("votes:{op}:{}", digits(moment.0)),
                    Saying::Aside(moment) => format!("aside:{op}:{}", digits(moment.0)),
                    Saying::Wants(node) => format!("wants:{op}:{node}"),
                    Saying::Note(node) => format!("note:{op}:{node}"),
                    Saying::No(refusal) => format!("no:{op}:{}", word_of(&REFUSALS, refusal)?),
                    plain => format!("{}:{op}", word_of(&SAYINGS, plain)?),
                }
            }
        };
        let (role, flag) = (word_of(&ROLES, self.role)?, word_of(&FLAGS, self.flag)?);
        let (incarnation, pause) = (digits(self.incarnation.into()), pair(self.pause)?);
        let timeline =
            Some(u64::from(self.timeline)).filter(|timeline| *timeline < FIVE_DIGITS).map(digits)?;
        let line = format!("{BEGINNING} {} {incarnation} {role} {timeline} {pause}{flag} {says}", self.node);
        (line.len() <= LONGEST).then_some(line)
    }

    /// Reads a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [BEGINNING, node, incarnation, role, timeline, pause, says] = words[..] else { return None };
        let (pause, flag) = pause.split_at_checked(pause.len().checked_sub(1)?)?;
        let says = match says.split(':').collect::<Vec<_>>()[..] {
            ["-"] => None,
            ["have", op, end] => Some((small(op)?, Saying::Ready(number(end)?))),
            ["votes", op, moment] => Some((small(op)?, Saying::Votes(Moment(number(moment)?)))),
            ["aside", op, moment] => Some((small(op)?, Saying::Aside(Moment(number(moment)?)))),
            ["wants", op, node] => Some((small(op)?, Saying::Wants(id(node)?))),
            ["note", op, node] => Some((small(op)?, Saying::Note(id(node)?))),
            ["no", op, refusal] => Some((small(op)?, Saying::No(value_of(&REFUSALS, refusal)?))),
            [plain, op] => Some((small(op)?, value_of(&SAYINGS, plain)?)),
            _ => return None,
        };
        Some(Self {
            node: id(node)?,
            incarnation: number(incarnation)?.try_into().ok()?,
            role: value_of(&ROLES, role.parse().ok()?)?,
            timeline: small(timeline)?,
            pause: numbers(pause)?,
            flag: value_of(&FLAGS, flag.parse().ok()?)?,
            says,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u32 = 36 * 36 * 36 * 36 * 36 - 1;

    fn epoch() -> Epoch {
        Epoch { timeline: LARGEST, counter: LARGEST, op: u32::MAX }
    }

    fn asks() -> Vec<Ask> {
        let version = Version { timeline: LARGEST, counter: LARGEST };
        vec![
            Ask::HandOver(1),
            Ask::Ready(1),
            Ask::Candidate,
            Ask::Off(Nodes::one(1), Moment(u64::from(u32::MAX) * 1000)),
            Ask::Aside(Moment(u64::from(u32::MAX) * 1000)),
            Ask::Hold(None),
            Ask::Hold(Some(epoch())),
            Ask::Full { epoch: epoch(), version, issued: true },
            Ask::Ending(epoch(), true),
            Ask::Clear { armed: Some(epoch()), ended: None, locked: true },
            Ask::Clear { armed: None, ended: Some(epoch()), locked: true },
            Ask::Raise,
            Ask::Readmit(epoch()),
            Ask::Member(Change::AddData(1)),
            Ask::Member(Change::AddWitness(1)),
            Ask::Member(Change::Remove(1)),
        ]
    }

    #[test]
    fn the_longest_requests_fit_and_are_read_as_they_were_written() {
        for ask in asks() {
            let request = Request { to: 99_999, incarnation: u16::MAX, op: u32::MAX, ask };
            let line = request.line(|_| Some(88_888)).unwrap_or_else(|| panic!("{ask:?} does not fit"));
            assert_eq!(Request::parse(&line, |_| Some(1), true), Some(request), "{line}");
        }
    }

    #[test]
    fn the_longest_answers_fit_and_are_read_as_they_were_written() {
        let more = [
            Saying::Ready(u64::MAX),
            Saying::Votes(Moment(u64::from(u32::MAX) * 1000)),
            Saying::Note(88_888),
            Saying::Wants(88_888),
            Saying::Aside(Moment(u64::from(u32::MAX) * 1000)),
            Saying::No(Refusal::NotStandby),
        ];
        for saying in SAYINGS.iter().map(|(_, saying)| *saying).chain(more) {
            let status = Status {
                node: 99_999,
                incarnation: u16::MAX,
                role: Role::Leader,
                timeline: LARGEST,
                pause: (LARGEST, LARGEST),
                flag: Flag::Active,
                says: Some((u32::MAX, saying)),
            };
            let line = status.line().unwrap_or_else(|| panic!("{saying:?} does not fit"));
            assert_eq!(Status::parse(&line), Some(status), "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let status = Status {
            node: 1,
            incarnation: 1,
            role: Role::Follower,
            timeline: LARGEST + 1,
            pause: (0, 0),
            flag: Flag::New,
            says: None,
        };
        assert_eq!(status.line(), None);
        assert_eq!(Status { timeline: 31, ..status }.line().as_deref(), Some("pgb1 1 1 F v 0.0N -"));
        // The pause is named by the operation that began it.
        let other = Request { to: 1, incarnation: 1, op: 7, ask: Ask::Readmit(epoch()) };
        assert_eq!(other.line(|_| Some(1)), None);
        let two = Request { ask: Ask::Off(Nodes::first(2), Moment(1)), ..other };
        assert_eq!(two.line(|_| Some(1)), None);
    }

    #[test]
    fn lines_of_others_are_not_understood() {
        let lines = [
            "",
            "psql",
            "pgb1",
            "pgb2 ask 1 raise - 1 1",
            "pgb1 ask 1 raise - 1",
            "pgb1 ask 1 raise - 1 1 1",
            "pgb1 ask +1 raise - 1 1",
            "pgb1 ask 1 raise - -1 1",
            "pgb1 ask 1 raise - Z 1",
            "pgb1 ask 1 full 1.1:1.1:2 1 1",
            "pgb1 ask 1 clear \u{e4}1.1 1 1",
            "pgb1 1 1 L 1 1.1A no:1:maybe",
            "pgb1 1 1 LL 1 1.1A -",
            "pgb1 1 1 L 1 A -",
            "pgb1 1 zzzzz L 1 1.1A -",
        ];
        for line in lines {
            assert_eq!(Request::parse(line, |_| Some(1), true), None, "{line}");
            assert_eq!(Status::parse(line), None, "{line}");
        }
    }
}
