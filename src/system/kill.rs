//! Ending a process that another program has started, for certain, and no other one.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use crate::system::files;

/// The pause between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(4);

/// Ends a process with SIGKILL, if it still is the one that is meant, and waits until it has ended.
///
/// # Errors
/// Fails if it cannot be signalled, or has not ended in time.
pub async fn kill_and_wait(pid: i32, is_meant: impl Fn() -> bool, within: Duration) -> anyhow::Result<()> {
    let Some(process) = Pid::from_raw(pid) else { return Ok(()) };
    let Some(started) = started(pid) else { return Ok(()) };
    // A number may be given to another process at any time; what it is asked for by a descriptor stays the same process.
    let sent = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(descriptor) if is_meant() => pidfd_send_signal(descriptor, Signal::KILL),
        // A kernel without them: looked at once more, immediately before.
        Err(Errno::NOSYS) if is_meant() && is_same_process(pid, started) => {
            kill_process(process, Signal::KILL)
        }
        Ok(_) | Err(Errno::NOSYS | Errno::SRCH) => return Ok(()),
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => anyhow::bail!("could not terminate process {pid}: {error}"),
    }
    let until = Instant::now() + within;
    while is_same_process(pid, started) {
        anyhow::ensure!(
            Instant::now() < until,
            "process {pid} was sent SIGKILL but has not exited within {} s",
            within.as_secs()
        );
        sleep(LOOK).await;
    }
    Ok(())
}

fn is_same_process(pid: i32, started: u64) -> bool {
    self::started(pid) == Some(started)
}

/// Returns when a process was started, in ticks since the system was; None for one that has ended, waited for or not.
fn started(pid: i32) -> Option<u64> {
    let stat = files::text(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state ppid …`, and anything may stand in the name.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then_some(())?;
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_process_that_is_meant_is_ended_even_if_it_is_stopped() {
        #[expect(clippy::disallowed_methods, reason = "a process to end")]
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        kill_and_wait(pid, || false, SOON).await.unwrap();
        assert!(started(pid).is_some());
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
        kill_and_wait(pid, || true, SOON).await.unwrap();
        assert_eq!(started(pid), None);
        child.wait().unwrap();
        kill_and_wait(pid, || true, SOON).await.unwrap();
    }
}
