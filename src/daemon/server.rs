//! The local server, as its processes and files say: a thread that watches them. It may wait for a disk; the lease does not wait for it.

use std::path::{Path, PathBuf};

use pgbaton_fencer::server::DataDirectory;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::lease::Seen;
use crate::facts::directory::running_postmaster;
use crate::facts::rejoin::STANDBY_SIGNAL;

/// How often files are looked at while the server runs. Its end is noticed at once.
const RUNS: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How often it is looked for while it is down.
const DOWN: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The file by which a promotion is requested.
const PROMOTE: &str = "promote";

/// A postmaster that was found.
struct Postmaster {
    pid: i32,
    handle: Option<OwnedFd>,
}

impl Postmaster {
    fn find(data: &Path) -> Option<Self> {
        let pid = running_postmaster(data)?.abs();
        let handle = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Some(Self { pid, handle })
    }

    /// Waits a moment; returns whether it has ended.
    fn ends(&self, data: &Path) -> bool {
        let Some(handle) = &self.handle else {
            pause();
            return running_postmaster(data).map(i32::abs) != Some(self.pid);
        };
        let mut waiting = [PollFd::new(handle, PollFlags::IN)];
        matches!(poll(&mut waiting, Some(&RUNS)), Ok(1..))
    }
}

/// Watches the server of a data directory, until what is seen is not wanted any more.
pub fn watch(data: PathBuf, tell: impl Fn(Seen) -> bool) {
    let mut generation = 0;
    let mut last = None;
    let mut tell = |seen: Seen| last == Some(seen) || (last.replace(seen), tell(seen)).1;
    loop {
        let has_signal = || data.join(STANDBY_SIGNAL).symlink_metadata().is_ok();
        if let Some(postmaster) = Postmaster::find(&data) {
            generation += 1;
            let mut is_promoting = false;
            loop {
                is_promoting |= data.join(PROMOTE).symlink_metadata().is_ok();
                let seen = Seen { generation, is_up: true, has_signal: false, is_promoting };
                if !tell(seen) {
                    return;
                }
                if postmaster.ends(&data) {
                    break;
                }
            }
        }
        // Its processes outlive it for a moment; what they do then is still done by this server.
        let left = DataDirectory::open(&data).map_or(0, |directory| directory.count());
        if left == 0
            && running_postmaster(&data).is_none()
            && !tell(Seen { generation, is_up: false, has_signal: has_signal(), is_promoting: false })
        {
            return;
        }
        pause();
    }
}

/// Ends a server that does not answer: at once, then by force. Returns when nothing is left of it, or after a while.
pub fn end(data: &Path) -> bool {
    let Ok(directory) = DataDirectory::open(data) else { return false };
    directory.quit();
    let wait = |rounds: u32| {
        (0..rounds).any(|_| {
            pause();
            directory.count() == 0
        })
    };
    // A postmaster that is stopped leaves the signal pending, and its children go on.
    wait(20) || {
        directory.kill();
        wait(100)
    }
}

/// Says whether no process works in a data directory.
pub fn is_empty(data: &Path) -> bool {
    DataDirectory::open(data).is_ok_and(|directory| directory.count() == 0)
}

/// Waits a moment. A thread of its own may: nothing else is kept waiting.
fn pause() {
    let _nothing_to_wait_for = poll(&mut [], Some(&DOWN));
}
