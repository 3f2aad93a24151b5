//! The time of day, and the clock that measures how long something was not heard of.

use std::time::Duration;

use jiff::{Timestamp, Unit};
use rustix::time::{ClockId, clock_gettime};

/// Returns the present time, to the millisecond.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

/// Returns the time since the system was started, including the time that it was suspended: a process that was stopped, or a machine that
/// slept, finds on this clock how long it was away.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // Neither is ever negative on this clock.
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let before = since_boot();
        assert!(before > Duration::ZERO);
        assert!(since_boot() >= before);
    }
}
