//! What a daemon reports of itself beyond the line of its lease: a second line, in a session that it keeps to its own server.
//!
//! The session is none of the lease: nothing is decided by it, and what it shows is for people and monitoring. Readers believe it, as they do the
//! lines of the lease, only of the role and in the database that they use themselves.
//!
//! | word | what | example |
//! |---|---|---|
//! | 1 | the version of the line | `pgb1i` |
//! | 2 | the node | `12` |
//! | 3 | the incarnation, as in the line of the lease | `7b2e` |
//! | 4 | the process | `4711` |
//! | 5 | the version of pgbaton | `0.2.0` |
//! | 6 | milliseconds of the lease that are left, in base 36; `-` without a lease | `37k` |
//! | 7 | milliseconds since the upstream was last heard, in base 36; `-` where the server receives no WAL | `-` |
//! | 8 | letters, or `-` for none | `wmp` |
//!
//! The letters: `w` it is willing to be promoted, `h` it hands over, `x` its lease has ended and the server is fenced; of the fencer: `d` it does not
//! respond, `f` a deadline is wanted and is not armed, and what it could not get: `m` locked memory, `p` a high priority, `o` protection from the
//! out-of-memory killer, `r` its runtime directory, `s` sight of the processes of its server.

use pgbaton_fencer::protocol::Shortcomings;
use pgbaton_lease::mailbox::{Incarnation, LONGEST, NodeId, digits, number};

/// How the line begins. What reads the lines of the lease looks for `pgb1` and a space, and does not see it.
const BEGINNING: &str = "pgb1i";

/// The first time of a lease, in milliseconds, that does not fit into five digits: 16 hours.
const LEFT: u64 = 36 * 36 * 36 * 36 * 36;

/// The first time of silence, in milliseconds, that does not fit into six digits: 25 days. From then on it is not known better.
const SILENT: u64 = 36 * LEFT;

/// What the fencer could not get, by letter.
const LACKS: [(char, Shortcomings); 5] = [
    ('m', Shortcomings::MEMORY),
    ('p', Shortcomings::PRIORITY),
    ('o', Shortcomings::MEMORY_KILLER),
    ('r', Shortcomings::RUNTIME),
    ('s', Shortcomings::SIGHT),
];

/// What becomes of the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// Nothing out of the ordinary.
    #[default]
    Usual,
    /// The role is being handed over.
    HandsOver,
    /// The lease has ended, and the server is not known to be a standby again.
    Fenced,
}

/// The fencer of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencer {
    /// It does not respond.
    Silent,
    /// A deadline is wanted of it, and it has none.
    NotArmed(Shortcomings),
    /// It does what is wanted.
    Fine(Shortcomings),
}

impl Fencer {
    /// Returns what it could not get from the system, in words.
    pub fn lacks(self) -> Vec<&'static str> {
        match self {
            Self::Silent => Vec::new(),
            Self::NotArmed(lacks) | Self::Fine(lacks) => lacks.words().collect(),
        }
    }
}

/// What a daemon reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonInfo {
    /// The node.
    pub node: NodeId,
    /// Which start of the daemon.
    pub incarnation: Incarnation,
    /// The process.
    pub pid: u32,
    /// The version of pgbaton.
    pub version: String,
    /// How long the lease lasts, in milliseconds.
    pub lease_left: Option<u64>,
    /// For how long the upstream has not been heard, in milliseconds.
    pub silent: Option<u64>,
    /// It may be promoted.
    pub is_willing: bool,
    /// What becomes of the lease.
    pub course: Course,
    /// The fencer. That of a witness, which has none, is fine.
    pub fencer: Fencer,
}

/// The version of this program, as the line has it: three numbers.
pub fn own_version() -> String {
    [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")]
        .join(".")
}

impl DaemonInfo {
    /// Writes the line; None if it does not fit.
    pub fn line(&self) -> Option<String> {
        let time = |time: Option<u64>, end: u64| {
            time.map_or_else(|| "-".to_string(), |time| digits(time.min(end - 1)))
        };
        let mut letters = String::new();
        if self.is_willing {
            letters.push('w');
        }
        match self.course {
            Course::Usual => {}
            Course::HandsOver => letters.push('h'),
            Course::Fenced => letters.push('x'),
        }
        let lacks = match self.fencer {
            Fencer::Silent => {
                letters.push('d');
                Shortcomings::default()
            }
            Fencer::NotArmed(lacks) => {
                letters.push('f');
                lacks
            }
            Fencer::Fine(lacks) => lacks,
        };
        letters
            .extend(LACKS.iter().filter(|(_, one)| lacks.without(*one) != lacks).map(|(letter, _)| letter));
        if letters.is_empty() {
            letters.push('-');
        }
        let line = format!(
            "{BEGINNING} {} {} {} {} {} {} {letters}",
            self.node,
            digits(self.incarnation.into()),
            self.pid,
            self.version,
            time(self.lease_left, LEFT),
            time(self.silent, SILENT),
        );
        (line.len() <= LONGEST).then_some(line)
    }

    /// Reads a line. Letters that only a later version writes are passed over.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [BEGINNING, node, incarnation, pid, version, left, silent, letters] = words[..] else {
            return None;
        };
        let plain = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let time = |text: &str| match text {
            "-" => Some(None),
            text => number(text).map(Some),
        };
        let has = |letter: char| letters.contains(letter);
        let lacks = LACKS
            .iter()
            .filter(|(letter, _)| has(*letter))
            .fold(Shortcomings::default(), |all, (_, one)| all.and(*one));
        let is_version = !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'));
        Some(Self {
            node: plain(node)?,
            incarnation: number(incarnation)?.try_into().ok()?,
            pid: plain(pid)?,
            version: is_version.then(|| version.to_string())?,
            lease_left: time(left)?,
            silent: time(silent)?,
            is_willing: has('w'),
            course: match () {
                () if has('x') => Course::Fenced,
                () if has('h') => Course::HandsOver,
                () => Course::Usual,
            },
            fencer: match () {
                () if has('d') => Fencer::Silent,
                () if has('f') => Fencer::NotArmed(lacks),
                () => Fencer::Fine(lacks),
            },
        })
    }

    /// Returns what holds some milliseconds after it was written.
    #[must_use]
    pub fn after(self, age: u64) -> Self {
        Self {
            lease_left: self.lease_left.map(|left| left.saturating_sub(age)),
            silent: self.silent.map(|silent| silent.saturating_add(age)),
            ..self
        }
    }
}

#[cfg(test)]
impl DaemonInfo {
    /// A daemon for tests: it follows, and all is well.
    pub(crate) fn example(node: NodeId) -> Self {
        Self {
            node,
            incarnation: 1,
            pid: 4711,
            version: "0.2.0".into(),
            lease_left: None,
            silent: Some(400),
            is_willing: true,
            course: Course::Usual,
            fencer: Fencer::Fine(Shortcomings::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Shortcomings {
        LACKS.iter().fold(Shortcomings::default(), |all, (_, one)| all.and(*one))
    }

    #[test]
    fn the_longest_line_fits_and_is_read_as_it_was_written() {
        let longest = DaemonInfo {
            node: i32::MAX.unsigned_abs(),
            incarnation: u16::MAX,
            // The most processes that Linux has.
            pid: 4_194_304,
            version: "255.255.255".into(),
            lease_left: Some(LEFT - 1),
            silent: Some(SILENT - 1),
            is_willing: true,
            course: Course::Fenced,
            fencer: Fencer::NotArmed(all()),
        };
        let line = longest.line().unwrap();
        assert!(line.len() <= 63, "{line}");
        assert_eq!(DaemonInfo::parse(&line), Some(longest.clone()));
        // Longer times are cut, and not the line.
        let longer = DaemonInfo { lease_left: Some(u64::MAX), silent: Some(u64::MAX), ..longest };
        assert_eq!(longer.line().as_deref(), Some(line.as_str()));
    }

    #[test]
    fn every_state_is_read_as_it_was_written() {
        let fencers = LACKS.iter().map(|(_, one)| Fencer::Fine(*one));
        for fencer in fencers.chain([
            Fencer::Silent,
            Fencer::NotArmed(Shortcomings::default()),
            Fencer::NotArmed(all()),
        ]) {
            for course in [Course::Usual, Course::HandsOver, Course::Fenced] {
                let info = DaemonInfo { course, fencer, ..DaemonInfo::example(3) };
                assert_eq!(DaemonInfo::parse(&info.line().unwrap()), Some(info));
            }
        }
        let plain = DaemonInfo { is_willing: false, silent: None, ..DaemonInfo::example(3) };
        assert_eq!(plain.line().as_deref(), Some("pgb1i 3 1 4711 0.2.0 - - -"));
        assert_eq!(DaemonInfo::parse("pgb1i 3 1 4711 0.2.0 - - -"), Some(plain));
    }

    #[test]
    fn what_is_left_of_a_lease_becomes_less_and_a_silence_more() {
        let info = DaemonInfo { lease_left: Some(300), silent: Some(100), ..DaemonInfo::example(1) };
        let later = info.after(1000);
        assert_eq!((later.lease_left, later.silent), (Some(0), Some(1100)));
    }

    #[test]
    fn the_version_of_this_program_fits() {
        let info = DaemonInfo { version: own_version(), ..DaemonInfo::example(1) };
        assert_eq!(DaemonInfo::parse(&info.line().unwrap()), Some(info));
    }

    #[test]
    fn lines_of_others_are_not_understood() {
        let lines = [
            "",
            "psql",
            "pgb1 1 1 F v 0.0N -",
            "pgb1i 3 1 4711 0.2.0 - -",
            "pgb1i 3 1 4711 0.2.0 - - - -",
            "pgb1i +3 1 4711 0.2.0 - - -",
            "pgb1i 3 zzzzz 4711 0.2.0 - - -",
            "pgb1i 3 1 -1 0.2.0 - - -",
            "pgb1i 3 1 4711  - - -",
            "pgb1i 3 1 4711 \u{1b}[1m - - -",
            "pgb1i 3 1 4711 0.2.0 X - -",
        ];
        for line in lines {
            assert_eq!(DaemonInfo::parse(line), None, "{line}");
        }
    }
}
