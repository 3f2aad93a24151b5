//! Sizes and times as people and PostgreSQL write them.

use jiff::Timestamp;

/// Writes a size for people: `1234 bytes`, `12 kB`, `3.4 GB` (units of 1024, as PostgreSQL's pg_size_pretty).
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 10 * 1024 {
        return format!("{bytes} bytes");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "kB";
    for next in UNITS.into_iter().skip(1) {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Writes a time as whole seconds, at least one.
pub fn seconds(time: std::time::Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// Writes a time of day to the second, with its zone, which is always UTC: `2026-11-21 10:00:00 UTC`, as in a server log.
pub fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Writes a time that PostgreSQL has written, in the same way; as it is where it is none.
pub fn utc_of(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(|_| text.to_string(), utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(300), "300 bytes");
        assert_eq!(size(350 * 1024 * 1024), "350 MB");
        assert_eq!(size(1536 * 1024 * 1024), "1.5 GB");
    }

    #[test]
    fn a_time_has_its_zone_and_no_fraction() {
        assert_eq!(utc("2026-11-21T11:00:00.987+01:00".parse().unwrap()), "2026-11-21 10:00:00 UTC");
        assert_eq!(utc_of("2026-11-21 10:00:00.5+00"), "2026-11-21 10:00:00 UTC");
        assert_eq!(utc_of("infinity"), "infinity");
    }
}
