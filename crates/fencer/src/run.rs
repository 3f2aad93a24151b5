//! The loop: waits for requests and for the deadline, and looks at the clock before everything else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::lease::{Lease, Time};
use crate::process::now;
use crate::protocol::{Answer, REQUEST, Request, Shortcomings};
use crate::server::DataDirectory;

/// The socket, in the runtime directory.
pub const SOCKET: &str = "fencer.sock";

/// Where the deadline is found by a fencer that starts again: the boot, then the deadline (0: none).
const DEADLINE: &str = "fencer.deadline";

/// One fencer for a runtime directory.
const LOCK: &str = "fencer.lock";

/// How many daemons are listened to at once: one that starts while the one before is being stopped, and a command that looks.
const CLIENTS: usize = 4;

/// How long a server may take to end in its own way: until here it may still flush what it has to.
const QUICK: Time = 200;

/// How often processes are looked for while they are ended, in milliseconds.
const EACH: i64 = 2;

/// How often they are looked for afterwards, until the server is a standby.
const WATCH: i64 = 50;

/// The length of the identity of a boot, as the kernel writes it.
const BOOT: usize = 36;

/// The fencer of one data directory.
#[derive(Debug)]
pub struct Fencer {
    server: DataDirectory,
    data: PathBuf,
    lease: Lease,
    lacks: Shortcomings,
    listener: UnixListener,
    clients: [Option<UnixStream>; CLIENTS],
    timer: OwnedFd,
    deadline_file: File,
    boot: [u8; BOOT],
    /// Two fencers would hold two deadlines.
    _lock: File,
}

impl Fencer {
    /// Begins, with the deadline of a fencer that has ended, if there is one of this boot. With `waits` it takes the place of one that still
    /// works, once that has ended.
    ///
    /// # Errors
    /// Those of the system; `WouldBlock` if there is a fencer already.
    pub fn start(data: &Path, runtime: &Path, lacks: Shortcomings, waits: bool) -> io::Result<Self> {
        let lock = private(&runtime.join(LOCK))?;
        let how =
            if waits { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        flock(&lock, how)?;
        let server = DataDirectory::open(data)?;
        let mut boot = [0; BOOT];
        File::open("/proc/sys/kernel/random/boot_id")?.read_exact(&mut boot)?;
        let deadline_file = private(&runtime.join(DEADLINE))?;
        let lease = found(&deadline_file, &boot)
            .map_or_else(Lease::default, |deadline| Lease::found(deadline, now()));
        let socket = runtime.join(SOCKET);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let mut fencer = Self {
            server,
            data: data.to_path_buf(),
            lease,
            lacks,
            listener,
            clients: [const { None }; CLIENTS],
            timer,
            deadline_file,
            boot,
            _lock: lock,
        };
        fencer.set_timer()?;
        Ok(fencer)
    }

    /// Serves until the process is ended.
    ///
    /// # Errors
    /// Only if the system does not let it wait.
    pub fn serve(&mut self) -> io::Result<()> {
        loop {
            self.lease.look(now());
            if self.lease.has_ended() {
                self.fence();
            }
            self.wait()?;
            self.accept();
            for place in 0..CLIENTS {
                self.listen_to(place);
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> io::Result<()> {
        let watch = Timespec { tv_sec: 0, tv_nsec: WATCH * 1_000_000 };
        let timeout = self.lease.has_ended().then_some(&watch);
        let mut waiting = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.timer, PollFlags::empty()),
            PollFd::new(&self.timer, PollFlags::empty()),
            PollFd::new(&self.timer, PollFlags::empty()),
            PollFd::new(&self.timer, PollFlags::empty()),
        ];
        for (slot, client) in waiting.iter_mut().skip(2).zip(self.clients.iter().flatten()) {
            *slot = PollFd::new(client, PollFlags::IN);
        }
        match poll(&mut waiting, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a new connection. Where there are too many, the oldest has had its time.
    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.clients.iter().all(Option::is_some) {
            self.clients.rotate_left(1);
            if let Some(last) = self.clients.last_mut() {
                *last = None;
            }
        }
        if let Some(place) = self.clients.iter_mut().find(|client| client.is_none()) {
            *place = Some(stream);
        }
    }

    /// Reads what a daemon says, one request at a time. One that ends, or says what is not understood, is left.
    fn listen_to(&mut self, place: usize) {
        loop {
            let Some(Some(client)) = self.clients.get_mut(place) else { return };
            let mut bytes = [0; REQUEST];
            let answered = match client.read(&mut bytes) {
                Ok(REQUEST) => match Request::parse(&bytes) {
                    Some(request) => {
                        let answer = self.answer(request).bytes();
                        let Some(Some(client)) = self.clients.get_mut(place) else { return };
                        client.write(&answer).is_ok_and(|written| written == answer.len())
                    }
                    None => false,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                // Requests are written whole; what writes half of one is no daemon.
                Ok(_) | Err(_) => false,
            };
            if !answered {
                if let Some(client) = self.clients.get_mut(place) {
                    *client = None;
                }
                return;
            }
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        let time = now();
        self.lease.look(time);
        // While there is a deadline nothing is asked of a disk: an answer that waits for one would keep what has to be on time waiting.
        if self.lease.deadline().is_none() {
            self.find_directory();
        }
        let is_done = match request {
            Request::Status => {
                self.looks_in_vain();
                true
            }
            // What it could not do is not promised: without a fencer nobody leads.
            Request::Arm(_) if self.looks_in_vain() => false,
            Request::Arm(deadline) => self.lease.arm(deadline, time).is_ok() && self.keep(),
            Request::Disarm => self.lease.disarm(time).is_ok() && self.keep(),
            Request::Fence => {
                self.lease.end(time);
                self.keep()
            }
            Request::RemoveSignal => self.lease.lasts(time).is_ok() && self.server.remove_signal().is_ok(),
            Request::Reset => {
                // While something works there that is no standby, there is something to be fenced.
                let may = !self.lease.has_ended() || self.server.has_signal();
                if may {
                    self.lease.reset();
                }
                may && self.keep()
            }
        };
        Answer {
            is_done,
            has_ended: self.lease.has_ended(),
            deadline: self.lease.deadline(),
            lacks: self.lacks,
            pid: std::process::id(),
            directory: self.server.number(),
        }
    }

    /// After a new clone another directory is at the path: the server works there, and not in the one that was opened. What still works in that
    /// one is ended first.
    fn find_directory(&mut self) {
        if !self.server.is_at(&self.data)
            && self.server.count() == 0
            && let Ok(other) = DataDirectory::open(&self.data)
        {
            self.server = other;
        }
    }

    /// Looks whether the processes of the server can be seen.
    fn looks_in_vain(&mut self) -> bool {
        let in_vain = self.server.is_out_of_sight();
        self.lacks = match in_vain {
            true => self.lacks.and(Shortcomings::SIGHT),
            false => self.lacks.without(Shortcomings::SIGHT),
        };
        in_vain
    }

    /// Writes the deadline down for a fencer that starts again, and sets the timer. A file that cannot be written is named; the deadline holds.
    fn keep(&mut self) -> bool {
        let mut bytes = [0; BOOT + 8];
        if let Some((boot, deadline)) = bytes.split_at_mut_checked(BOOT) {
            boot.copy_from_slice(&self.boot);
            deadline.copy_from_slice(&self.lease.deadline().unwrap_or(0).to_le_bytes());
        }
        if self.deadline_file.write_all_at(&bytes, 0).is_err() {
            self.lacks = self.lacks.and(Shortcomings::RUNTIME);
        }
        self.set_timer().is_ok()
    }

    /// Lets the system wake this process at the deadline, also from its sleep.
    fn set_timer(&mut self) -> io::Result<()> {
        let deadline = self.lease.deadline().filter(|_| !self.lease.has_ended()).unwrap_or(0);
        let (seconds, rest) = (deadline / 1000, deadline % 1000);
        let it_value = Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(rest * 1_000_000).unwrap_or(0),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval, it_value })?;
        Ok(())
    }

    /// Stops the server: the file first, so that whatever starts meanwhile is a standby; then the processes.
    ///
    /// Called again and again until the server is a standby: what works in the directory without the file is no standby.
    fn fence(&mut self) {
        let is_first = self.lease.deadline().is_some();
        if !is_first {
            self.find_directory();
        }
        let had_signal = self.server.has_signal();
        if had_signal && !is_first {
            return;
        }
        // On a full disk the file may be impossible. Then whatever starts is killed, again and again.
        let _ = self.server.write_signal();
        if self.server.count() == 0 {
            // Else the deadline stays, and it is tried again.
            if !self.server.is_out_of_sight() {
                self.fenced();
            }
            return;
        }
        self.server.quit();
        let begun = now();
        while self.server.count() > 0 && now() < begun + QUICK {
            pause();
        }
        // A postmaster that is stopped leaves the signal pending, and its children go on.
        while self.server.kill() > 0 {
            pause();
        }
        self.fenced();
    }

    /// From now on the deadline says nothing any more; that the lease has ended stays.
    fn fenced(&mut self) {
        self.lease.fenced();
    }
}

fn pause() {
    let span = Timespec { tv_sec: 0, tv_nsec: EACH * 1_000_000 };
    let _ = poll(&mut [], Some(&span));
}

/// Opens a file that only this user may see, and makes it if need be.
fn private(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Reads the deadline of a fencer that has ended, if it is of this boot.
fn found(file: &File, boot: &[u8; BOOT]) -> Option<Time> {
    let mut bytes = [0; BOOT + 8];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (same, deadline) = bytes.split_at_checked(BOOT)?;
    let deadline = u64::from_le_bytes(deadline.try_into().ok()?);
    (same == boot && deadline > 0).then_some(deadline)
}
