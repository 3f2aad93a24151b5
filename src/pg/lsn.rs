//! Positions in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A position in the write-ahead log, in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Lsn(pub u64);

impl Lsn {
    /// Returns how many bytes this lies after `earlier`; None if it lies before it.
    pub fn bytes_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = String;

    /// Accepts what `pg_lsn` accepts: one to eight hexadecimal digits, a slash, one to eight hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |digits: &str| {
            let valid = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) = halves.ok_or_else(|| format!("invalid WAL position: \"{text}\""))?;
        Ok(Self(high << 32 | low))
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_back(position: u64) {
            prop_assert_eq!(Lsn(position).to_string().parse(), Ok(Lsn(position)));
        }
    }

    #[test]
    fn is_written_as_postgresql_writes_it() {
        assert_eq!(Lsn(0x0300_0148).to_string(), "0/3000148");
        assert_eq!(Lsn(0xFFFF_FFFF_0000_0001).to_string(), "FFFFFFFF/1");
        assert_eq!(serde_json::to_string(&Lsn(0x1_0000_0000)).unwrap(), "\"1/0\"");
        assert_eq!(serde_json::from_str::<Lsn>("\"1/0\"").unwrap(), Lsn(0x1_0000_0000));
    }

    #[test]
    fn what_pg_lsn_rejects_is_rejected() {
        for text in ["", "/", "0/", "/0", "0", "0/0/0", " 0/0", "0/0 ", "+1/0", "0/-1", "0/123456789", "g/0"]
        {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn distance_has_a_direction() {
        assert_eq!(Lsn(10).bytes_since(Lsn(4)), Some(6));
        assert_eq!(Lsn(4).bytes_since(Lsn(10)), None);
    }
}
