//! The system's log, as syslog(3) writes to it: one datagram for each line, on a socket of this host. Nothing here waits.

use std::cell::RefCell;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::system::environment::Environment;

/// Where the system's logger listens.
const SOCKET: &str = "/dev/log";

/// Another place, for tests.
const VARIABLE: &str = "PGBATON_SYSLOG_SOCKET";

/// The severities of syslog, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A failure.
    Error = 3,
    /// A problem.
    Warning = 4,
    /// What is worth knowing.
    Notice = 5,
    /// What is being done.
    Info = 6,
    /// For debugging.
    Debug = 7,
}

/// The system's log under one facility.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    facility: u8,
    socket: RefCell<Option<UnixDatagram>>,
}

impl Syslog {
    /// Prepares it; `facility` is syslog's number, for example 16 for local0. The logger need not run yet.
    pub fn new(environment: &Environment, facility: u8) -> Self {
        let path = environment.non_empty(VARIABLE).unwrap_or(SOCKET);
        Self { path: PathBuf::from(path), facility, socket: RefCell::default() }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// If no logger listens, or it does not read.
    pub fn write(&self, severity: Severity, line: &str) -> io::Result<()> {
        let priority = u32::from(self.facility) << 3 | severity as u32;
        let now = jiff::ZonedDateTime::now().strftime("%b %e %H:%M:%S").to_string();
        let text = format!("<{priority}>{now} pgbaton[{}]: {line}", std::process::id());
        let mut socket = self.socket.borrow_mut();
        if let Some(open) = socket.as_ref()
            && open.send(text.as_bytes()).is_ok()
        {
            return Ok(());
        }
        // A logger that was restarted has another socket by the same name.
        let again = connect(&self.path)?;
        again.send(text.as_bytes())?;
        *socket = Some(again);
        Ok(())
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram_with_its_priority_and_a_logger_may_be_restarted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let place = path.display().to_string();
        let log = Syslog::new(&Environment::from_pairs([(VARIABLE, &*place)]), 16);
        assert!(log.write(Severity::Info, "not heard").is_err());
        let mut heard = Vec::new();
        for line in ["one", "two"] {
            let there = UnixDatagram::bind(&path).unwrap();
            log.write(Severity::Warning, line).unwrap();
            let mut bytes = [0; 256];
            let length = there.recv(&mut bytes).unwrap();
            heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
            std::fs::remove_file(&path).unwrap();
        }
        for (line, text) in ["one", "two"].iter().zip(&heard) {
            assert!(text.starts_with("<132>"), "{text}");
            assert!(text.ends_with(&format!(" pgbaton[{}]: {line}", std::process::id())), "{text}");
        }
    }
}
