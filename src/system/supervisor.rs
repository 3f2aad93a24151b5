//! What systemd is told, or another supervisor that speaks its protocol: that the service is ready, what it does, and that it is alive.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::system::environment::Environment;

/// The supervisor of this process, if it has one that wants to be told something.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    /// How often it has to hear of this process; None if it does not matter.
    pub interval: Option<Duration>,
}

impl Supervisor {
    /// Finds it, by the environment.
    pub fn of(environment: &Environment) -> Self {
        let socket = environment.non_empty("NOTIFY_SOCKET").and_then(|place| {
            let address = match place.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(place),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            socket.connect_addr(&address.ok()?).ok()?;
            Some(socket)
        });
        let is_ours = environment
            .non_empty("WATCHDOG_PID")
            .is_none_or(|pid| pid.parse().is_ok_and(|pid: u32| pid == std::process::id()));
        let limit = environment.non_empty("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        // Half of it, as the protocol recommends: one message that is lost does no harm.
        let interval =
            limit.filter(|_| is_ours && socket.is_some()).map(|limit: u64| Duration::from_micros(limit / 2));
        Self { socket, interval }
    }

    /// Tells it something: `READY=1`, `STATUS=…`, `WATCHDOG=1`. What cannot be told is not waited for.
    pub fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket {
            let _unheard = socket.send(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_what_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let there = UnixDatagram::bind(&path).unwrap();
        let place = path.display().to_string();
        let pid = std::process::id().to_string();
        let pairs = [("NOTIFY_SOCKET", &*place), ("WATCHDOG_USEC", "4000000"), ("WATCHDOG_PID", &*pid)];
        let supervisor = Supervisor::of(&Environment::from_pairs(pairs));
        assert_eq!(supervisor.interval, Some(Duration::from_secs(2)));
        supervisor.tell("READY=1");
        let mut bytes = [0; 32];
        let length = there.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"READY=1");
    }

    #[test]
    fn without_a_supervisor_nothing_is_told() {
        let none = Supervisor::of(&Environment::from_pairs([("WATCHDOG_USEC", "4000000")]));
        none.tell("READY=1");
        assert_eq!(none.interval, None);
        let gone = Supervisor::of(&Environment::from_pairs([("NOTIFY_SOCKET", "/nowhere/at/all")]));
        gone.tell("READY=1");
        // Of another process.
        let pairs = [("NOTIFY_SOCKET", "@pgbaton-test-none"), ("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "1")];
        assert_eq!(Supervisor::of(&Environment::from_pairs(pairs)).interval, None);
    }
}
