//! Timelines: their history files, and the names of files that carry a timeline.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lsn::Lsn;

/// The number of a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimelineId(pub u32);

/// One ancestor in a timeline history file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// Where it was left: the first position that is not in it.
    pub switch: Lsn,
    /// Why, in the server's words.
    pub reason: String,
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TimelineId {
    /// Returns the name of this timeline's history file. Timeline 1 has none.
    pub fn history_file_name(self) -> String {
        format!("{:08X}.history", self.0)
    }

    /// Returns the name of the segment that holds the byte at `lsn`, or None if `segment_size` is no segment size.
    pub fn segment_file_name(self, lsn: Lsn, segment_size: u64) -> Option<String> {
        let valid = segment_size.is_power_of_two() && (1 << 20..=1 << 30).contains(&segment_size);
        let per_id = valid.then(|| (1_u64 << 32) / segment_size)?;
        let number = lsn.0 / segment_size;
        Some(format!("{:08X}{:08X}{:08X}", self.0, number / per_id, number % per_id))
    }
}

/// Reads a timeline history file: the ancestors, oldest first.
///
/// Blank lines and comments are skipped, as PostgreSQL's `readTimeLineHistory()` does. The reason may be missing.
///
/// # Errors
/// Names the line that is no entry, or whose timeline is not later than the one before it.
pub fn parse_history(text: &str) -> Result<Vec<Switch>, String> {
    let mut switches: Vec<Switch> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("line {number} of the timeline history file: {what}");
        let (timeline, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        let (switch, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let timeline: u32 = timeline.parse().map_err(|_| wrong("expected a numeric timeline ID"))?;
        let switch: Lsn = switch.parse().map_err(|_| wrong("expected a WAL position"))?;
        if switches.last().is_some_and(|last| last.timeline.0 >= timeline) {
            return Err(wrong("timeline IDs must be in increasing sequence"));
        }
        switches.push(Switch { timeline: TimelineId(timeline), switch, reason: reason.trim_start().into() });
    }
    Ok(switches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_postgresql_writes() {
        let text = "1\t0/3000148\tno recovery target specified\n\n# note\n2\t1/60000A0\tbefore 2026-01-02 03:04:05\n";
        let switches = parse_history(text).unwrap();
        assert_eq!(switches.len(), 2);
        assert_eq!(switches[0].switch, Lsn(0x0300_0148));
        assert_eq!(switches[1].timeline, TimelineId(2));
        assert_eq!(switches[1].reason, "before 2026-01-02 03:04:05");
        assert_eq!(parse_history("").unwrap(), []);
        assert_eq!(parse_history("1 0/1").unwrap()[0].reason, "");
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text| parse_history(text).unwrap_err();
        assert_eq!(
            error("\nx\t0/1\n"),
            "line 2 of the timeline history file: expected a numeric timeline ID"
        );
        assert_eq!(error("1\tzero\n"), "line 1 of the timeline history file: expected a WAL position");
        assert!(error("2 0/1\n2 0/2").contains("line 2"));
    }

    #[test]
    fn files_are_named_as_the_server_names_them() {
        assert_eq!(TimelineId(11).history_file_name(), "0000000B.history");
        let name = |lsn, size| TimelineId(2).segment_file_name(Lsn(lsn), size);
        assert_eq!(name(0x0300_0148, 16 << 20).unwrap(), "000000020000000000000003");
        assert_eq!(name(0x1_FF00_0000, 16 << 20).unwrap(), "0000000200000001000000FF");
        assert_eq!(name(0x1_FF00_0000, 64 << 20).unwrap(), "00000002000000010000003F");
        assert_eq!(name(0, 3), None);
    }
}
