//! The messages of a server, counted as their bytes come in and before anything is kept of them.
//!
//! The driver makes room for a message as soon as it has read how long it says that it is, and keeps rows until an answer is complete.
//! Whatever listens on a port can say anything: so what is too long, and what never ends, ends the connection here. In front of the
//! proof of who they are, both sides say little; the bounds there are libpq's.

use std::io;

/// The longest request of an authentication exchange.
const REQUEST: u32 = 2_000;

/// The longest other message before the session is ready: an error with all its fields.
const BEFORE_READY: u32 = 30_000;

/// All messages until the server has accepted who we are.
const AUTHENTICATION: u64 = 64 * 1024;

/// All messages from there until the session is ready.
const STARTING: u64 = 1024 * 1024;

/// The longest message of a session that is no part of an answer.
const ASIDE: u32 = 1024 * 1024;

/// The longest message of a session: PostgreSQL has no longer value to send, and nothing that is asked here comes near.
const MESSAGE: u32 = 64 * 1024 * 1024;

/// All messages from one moment at which the server was ready to the next.
const ANSWER: u64 = 256 * 1024 * 1024;

/// A type and a length.
const HEADER: usize = 5;

/// How often SCRAM may have the password hashed. The computation cannot be interrupted; a million takes about a second. PostgreSQL's
/// default is 4096.
const ITERATIONS: u64 = 1_000_000;

/// What there is to know of an authentication request before the driver answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which one.
    pub code: u32,
    /// It is the first message of that kind.
    pub first: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Authentication,
    Starting,
    Session,
}

/// Where in the stream of messages the server is.
#[derive(Debug, Default)]
pub struct Frames {
    stage: Stage,
    /// Bytes since the stage began, or since the server was ready.
    total: u64,
    /// The beginning of the message that is being received: its header, and of an authentication request all of it.
    head: Vec<u8>,
    /// Bytes of the message that are still to come and are of no interest.
    skip: u64,
    requested: bool,
}

impl Frames {
    /// Says whether anything has come.
    pub fn has_begun(&self) -> bool {
        self.requested || self.total > 0 || !self.head.is_empty()
    }

    /// Takes in what the server sent; `requested` is called for each authentication request, and may refuse it.
    ///
    /// # Errors
    /// If the server says more than it has to say, or `requested` does.
    pub fn take_in(
        &mut self,
        mut bytes: &[u8],
        mut requested: impl FnMut(Request) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let taken = self.wanted().saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend(bytes.iter().take(taken));
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.head.len() < HEADER {
                return Ok(());
            }
            let (tag, length) = self.header();
            if self.head.len() == HEADER {
                self.admit(tag, length)?;
            }
            if !self.is_request() {
                self.skip = u64::from(length) + 1 - HEADER as u64;
            } else if self.head.len() == self.wanted() {
                let request = self.request();
                requested(request)?;
                self.check_iterations(request.code)?;
                if request.code == 0 {
                    (self.stage, self.total) = (Stage::Starting, 0);
                }
            } else {
                continue;
            }
            if tag == b'Z' && self.stage != Stage::Authentication {
                (self.stage, self.total) = (Stage::Session, 0);
            }
            self.head.clear();
        }
        Ok(())
    }

    /// An authentication request is looked at as a whole: when its last byte is there, and before the driver has it.
    fn is_request(&self) -> bool {
        self.stage == Stage::Authentication && self.head.first() == Some(&b'R')
    }

    /// Returns how much of the present message has to be seen.
    fn wanted(&self) -> usize {
        match self.is_request() && self.head.len() >= HEADER {
            // Its length has been admitted.
            true => usize::try_from(self.header().1).unwrap_or(0) + 1,
            false => HEADER,
        }
    }

    fn header(&self) -> (u8, u32) {
        match *self.head.as_slice() {
            [tag, a, b, c, d, ..] => (tag, u32::from_be_bytes([a, b, c, d])),
            _ => (0, 0),
        }
    }

    /// Judges a message by its header.
    fn admit(&mut self, tag: u8, length: u32) -> io::Result<()> {
        let (longest, most) = match (self.stage, tag) {
            (Stage::Authentication, b'R') => (REQUEST, AUTHENTICATION),
            (Stage::Authentication, _) => (BEFORE_READY, AUTHENTICATION),
            (Stage::Starting, _) => (BEFORE_READY, STARTING),
            (Stage::Session, b'N' | b'E' | b'A' | b'S') => (ASIDE, ANSWER),
            (Stage::Session, _) => (MESSAGE, ANSWER),
        };
        let shortest = if tag == b'R' { 8 } else { 4 };
        if length < shortest || length > longest {
            return Err(too_much(format!(
                "the server sent a message of {length} bytes, where at most {longest} are expected"
            )));
        }
        self.total += u64::from(length) + 1;
        if self.total > most {
            return Err(too_much(format!("the server sent more than {most} bytes")));
        }
        Ok(())
    }

    fn request(&mut self) -> Request {
        let first = !std::mem::replace(&mut self.requested, true);
        let code = match *self.head.as_slice() {
            [_, _, _, _, _, a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]),
            _ => u32::MAX,
        };
        Request { code, first }
    }

    /// Looks at how much work SCRAM's second message asks for: `r=…,s=…,i=4096`.
    fn check_iterations(&self, code: u32) -> io::Result<()> {
        let body = match (code, self.head.get(9..)) {
            (11, Some(body)) => String::from_utf8_lossy(body),
            _ => return Ok(()),
        };
        let asked = body.split(',').find_map(|field| field.strip_prefix("i="));
        match asked.map(str::parse::<u64>) {
            Some(Ok(count)) if count > ITERATIONS => Err(too_much(format!(
                "the server asks for {count} iterations of SCRAM, where at most {ITERATIONS} are accepted"
            ))),
            _ => Ok(()),
        }
    }
}

fn too_much(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag][..], &length, body].concat()
    }

    /// Feeds it byte by byte, as the network may; returns the codes of the requests.
    fn take_in(frames: &mut Frames, bytes: &[u8]) -> io::Result<Vec<u32>> {
        let mut codes = Vec::new();
        for byte in bytes.chunks(1) {
            frames.take_in(byte, |request| {
                codes.push(request.code);
                Ok(())
            })?;
        }
        Ok(codes)
    }

    fn ready() -> Frames {
        let mut frames = Frames::default();
        let start = [message(b'R', &[0; 4]), message(b'S', b"a\0b\0"), message(b'Z', b"I")].concat();
        assert_eq!(take_in(&mut frames, &start).unwrap(), [0]);
        frames
    }

    #[test]
    fn every_request_is_seen_also_behind_a_notice() {
        let clear = message(b'R', &[0, 0, 0, 3]);
        let bytes =
            [message(b'N', b"SNOTICE\0\0"), message(b'R', &[0, 0, 0, 10, b'x', 0, 0]), clear].concat();
        assert_eq!(take_in(&mut Frames::default(), &bytes).unwrap(), [10, 3]);
        let mut whole = Vec::new();
        let seen = Frames::default().take_in(&bytes, |request| {
            whole.push((request.code, request.first));
            Ok(())
        });
        assert!(seen.is_ok());
        assert_eq!(whole, [(10, true), (3, false)]);
    }

    #[test]
    fn what_is_announced_too_long_is_refused_with_its_header() {
        for (mut frames, tag, length) in [
            (Frames::default(), b'R', 2_001_u32),
            (Frames::default(), b'R', 7),
            (Frames::default(), b'E', 30_001),
            (Frames::default(), b'E', u32::MAX),
            (Frames::default(), b'H', u32::from_be_bytes(*b"TTP/")),
            (ready(), b'N', ASIDE + 1),
            (ready(), b'D', 0x7fff_ffff),
            (ready(), b'D', 3),
        ] {
            let header = [&[tag][..], &length.to_be_bytes()].concat();
            assert!(take_in(&mut frames, &header[..4]).is_ok());
            assert!(take_in(&mut frames, &header[4..]).is_err(), "{tag} {length}");
        }
        let after_authentication = [message(b'R', &[0; 4]), vec![b'S', 0x7f, 0xff, 0xff, 0xff]].concat();
        assert!(take_in(&mut Frames::default(), &after_authentication).is_err());
    }

    #[test]
    fn a_flood_ends() {
        let notice = message(b'N', &[b'x'; 20_000]);
        let count = |frames: &mut Frames| (0..100_000).find(|_| frames.take_in(&notice, |_| Ok(())).is_err());
        assert_eq!(count(&mut Frames::default()), Some(3));
        let mut starting = Frames::default();
        take_in(&mut starting, &message(b'R', &[0; 4])).unwrap();
        assert_eq!(count(&mut starting), Some(52));
        assert_eq!(count(&mut ready()), Some(13_418));
    }

    #[test]
    fn each_answer_has_its_own_measure() {
        let mut frames = ready();
        let row = message(b'D', &vec![0; 60 * 1024 * 1024]);
        for _ in 0..10 {
            frames.take_in(&row, |_| Ok(())).unwrap();
            take_in(&mut frames, &message(b'Z', b"I")).unwrap();
        }
        for n in 0..5 {
            assert_eq!(frames.take_in(&row, |_| Ok(())).is_ok(), n < 4);
        }
    }

    #[test]
    fn scram_may_not_keep_us_busy() {
        let challenge =
            |count: &str| message(b'R', format!("\0\0\0\x0br=nonce,s=c2FsdA==,i={count}").as_bytes());
        for (count, good) in [("4096", true), ("1000000", true), ("1000001", false), ("4294967295", false)] {
            assert_eq!(take_in(&mut Frames::default(), &challenge(count)).is_ok(), good, "{count}");
        }
    }
}
