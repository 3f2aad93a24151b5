//! What the fencer asks of the system for itself, and its clock.

use std::fs::OpenOptions;
use std::io::Write;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};

use crate::lease::Time;
use crate::protocol::Shortcomings;

/// The nice value of a process that is not to wait.
const PRIORITY: i32 = -20;

/// Reads the clock.
#[must_use]
pub fn now() -> Time {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1000 + nanoseconds / 1_000_000
}

/// Locks the memory, and asks for priority and for protection. Returns what was not to be had: a unit of systemd gives it.
#[must_use]
pub fn prepare() -> Shortcomings {
    let mut lacks = Shortcomings::default();
    if mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).is_err() {
        lacks = lacks.and(Shortcomings::MEMORY);
    }
    if !has_realtime_priority() && setpriority_process(None, PRIORITY).is_err() {
        lacks = lacks.and(Shortcomings::PRIORITY);
    }
    let protected = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| file.write_all(b"-1000"));
    if protected.is_err() && !is_protected() {
        lacks = lacks.and(Shortcomings::MEMORY_KILLER);
    }
    lacks
}

/// Says whether the process was started with a real-time policy: the 41st field of its line in /proc.
fn has_realtime_priority() -> bool {
    let field = |text: String| text.rsplit_once(')')?.1.split_whitespace().nth(38)?.parse::<u32>().ok();
    std::fs::File::open("/proc/self/stat")
        .and_then(std::io::read_to_string)
        .ok()
        .and_then(field)
        .is_some_and(|policy| policy == 1 || policy == 2)
}

fn is_protected() -> bool {
    std::fs::File::open("/proc/self/oom_score_adj")
        .and_then(std::io::read_to_string)
        .is_ok_and(|text| text.trim() == "-1000")
}
