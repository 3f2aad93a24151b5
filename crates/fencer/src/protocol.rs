//! What daemon and fencer say to each other: 16 bytes there, 24 bytes back, numbers in little-endian order.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::lease::Time;

/// The length of a request.
pub const REQUEST: usize = 16;

/// The length of an answer.
pub const ANSWER: usize = 24;

/// Which protocol this is: the first byte of everything.
const VERSION: u8 = 1;

/// How long a fencer may take to answer. It does nothing else.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is asked of the fencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing but the answer.
    Status,
    /// Begin or extend the lease.
    Arm(Time),
    /// Give the lease up.
    Disarm,
    /// Remove `standby.signal`, if the lease lasts: nothing can end it in between.
    RemoveSignal,
    /// The server is a standby.
    Reset,
    /// End the lease, and stop the server, now.
    Fence,
}

impl Request {
    /// Writes it down.
    #[must_use]
    pub fn bytes(self) -> [u8; REQUEST] {
        let (kind, value) = match self {
            Self::Status => (0, 0),
            Self::Arm(deadline) => (1, deadline),
            Self::Disarm => (2, 0),
            Self::RemoveSignal => (3, 0),
            Self::Reset => (4, 0),
            Self::Fence => (5, 0),
        };
        let mut bytes = [0; REQUEST];
        let [version, place, _, _, _, _, _, _, rest @ ..] = &mut bytes;
        (*version, *place) = (VERSION, kind);
        *rest = value.to_le_bytes();
        bytes
    }

    /// Reads it; None for what no version of this one says.
    #[must_use]
    pub fn parse(bytes: &[u8; REQUEST]) -> Option<Self> {
        let [VERSION, kind, 0, 0, 0, 0, 0, 0, value @ ..] = bytes else { return None };
        Some(match (kind, u64::from_le_bytes(*value)) {
            (0, 0) => Self::Status,
            (1, deadline) => Self::Arm(deadline),
            (2, 0) => Self::Disarm,
            (3, 0) => Self::RemoveSignal,
            (4, 0) => Self::Reset,
            (5, 0) => Self::Fence,
            _ => return None,
        })
    }
}

/// What the fencer could not get from the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortcomings(u8);

impl Shortcomings {
    /// Its memory may be swapped out.
    pub const MEMORY: Self = Self(1);
    /// It may have to wait for a processor.
    pub const PRIORITY: Self = Self(2);
    /// It may be killed when memory is short.
    pub const MEMORY_KILLER: Self = Self(4);
    /// Its runtime directory cannot be written: a fencer that starts again will not know the deadline.
    pub const RUNTIME: Self = Self(8);
    /// It does not see where the processes of its server work: it could not stop them.
    pub const SIGHT: Self = Self(16);

    /// These and others.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without others.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Says what is missing, in words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::MEMORY, "locked memory"),
            (Self::PRIORITY, "a high priority"),
            (Self::MEMORY_KILLER, "protection from the out-of-memory killer"),
            (Self::RUNTIME, "its runtime directory"),
            (Self::SIGHT, "sight of the processes of its server"),
        ]
        .into_iter()
        .filter(move |(bit, _)| self.0 & bit.0 != 0)
        .map(|(_, words)| words)
    }
}

/// How things are after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked has been done.
    pub is_done: bool,
    /// The lease has ended.
    pub has_ended: bool,
    /// The deadline, if there is one.
    pub deadline: Option<Time>,
    /// What the fencer could not get.
    pub lacks: Shortcomings,
    /// The process.
    pub pid: u32,
    /// The data directory, as [`crate::server::DataDirectory::number`] has it.
    pub directory: u64,
}

impl Answer {
    /// Writes it down.
    #[must_use]
    pub fn bytes(&self) -> [u8; ANSWER] {
        let mut bytes = [0; ANSWER];
        let [version, flags, lacks, _, a, b, c, d, rest @ ..] = &mut bytes;
        *version = VERSION;
        *flags =
            u8::from(self.is_done) | u8::from(self.has_ended) << 1 | u8::from(self.deadline.is_some()) << 2;
        *lacks = self.lacks.0;
        [*a, *b, *c, *d] = self.pid.to_le_bytes();
        let mut numbers = rest.chunks_exact_mut(8);
        for value in [self.deadline.unwrap_or(0), self.directory] {
            if let Some(place) = numbers.next() {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads it.
    #[must_use]
    pub fn parse(bytes: &[u8; ANSWER]) -> Option<Self> {
        let [VERSION, flags, lacks, 0, a, b, c, d, rest @ ..] = bytes else { return None };
        let mut numbers = rest.chunks_exact(8).map(|bytes| bytes.try_into().map(u64::from_le_bytes));
        let (deadline, directory) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self {
            is_done: flags & 1 != 0,
            has_ended: flags & 2 != 0,
            deadline: (flags & 4 != 0).then_some(deadline),
            lacks: Shortcomings(*lacks),
            pid: u32::from_le_bytes([*a, *b, *c, *d]),
            directory,
        })
    }
}

/// The daemon's side.
#[derive(Debug)]
pub struct Client(UnixStream);

impl Client {
    /// Connects to the fencer of a runtime directory.
    ///
    /// # Errors
    /// Those of the socket: no fencer, or one of another user.
    pub fn connect(runtime: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(runtime.join(crate::run::SOCKET))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` for an answer of another version.
    pub fn ask(&mut self, request: Request) -> io::Result<Answer> {
        self.0.write_all(&request.bytes())?;
        let mut bytes = [0; ANSWER];
        self.0.read_exact(&mut bytes)?;
        Answer::parse(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_were_written() {
        let all = [
            Request::Status,
            Request::Arm(u64::MAX),
            Request::Disarm,
            Request::RemoveSignal,
            Request::Reset,
            Request::Fence,
        ];
        for request in all {
            assert_eq!(Request::parse(&request.bytes()), Some(request));
        }
        for wrong in [[9; REQUEST], [0; REQUEST], [1; REQUEST]] {
            assert_eq!(Request::parse(&wrong), None);
        }
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        for (is_done, has_ended, deadline) in
            [(true, false, Some(7)), (false, true, Some(u64::MAX)), (true, true, None)]
        {
            let lacks = Shortcomings::MEMORY.and(Shortcomings::RUNTIME);
            let answer = Answer { is_done, has_ended, deadline, lacks, pid: 4711, directory: u64::MAX - 1 };
            assert_eq!(Answer::parse(&answer.bytes()), Some(answer));
        }
        assert_eq!(Answer::parse(&[9; ANSWER]), None);
    }

    #[test]
    fn what_is_missing_is_said_in_words() {
        let lacks = Shortcomings::MEMORY.and(Shortcomings::PRIORITY);
        assert_eq!(lacks.words().collect::<Vec<_>>(), ["locked memory", "a high priority"]);
        assert_eq!(Shortcomings::default().words().count(), 0);
    }
}
