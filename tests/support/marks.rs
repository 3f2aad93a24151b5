//! Stopping the program exactly before or after a line of its journal, or a statement that it sends, as a debugger would: there is no hook in
//! the program.
//!
//! The journal is written by the program's first thread, one `write` a line, so only that thread is traced. While it is stopped nothing
//! else of the program acts either: connections and channels are that thread's.

use std::os::unix::fs::FileExt;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal as Number;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::Signal;

use super::{Pgbaton, Running, processes};

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The line is not in the file yet; what came before it is done.
    Before,
    /// The line is in the file, maybe not on the disk yet; what comes after it is not begun.
    After,
}

/// Returns the place of a number: before and after each line of a journal.
pub fn place(number: usize) -> (usize, Side) {
    (number / 2 + 1, if number.is_multiple_of(2) { Side::Before } else { Side::After })
}

/// A program whose steps are watched. It runs only while a method is waiting, and by itself after [`go_on`](Self::go_on).
pub struct Stepped {
    running: Running,
    pid: Pid,
    /// The thread is stopped inside of a system call.
    inside: bool,
    /// It waits for being let go on.
    stopped: bool,
    /// A signal that it has to be given when it goes on.
    pending: Option<Number>,
    /// Lines that were begun to be written, the header not counted.
    lines: usize,
}

impl Stepped {
    /// Starts the program.
    #[track_caller]
    pub fn start(program: Pgbaton) -> Self {
        let running = program.spawn();
        let pid = Pid::from_raw(running.pid().as_raw_nonzero().get());
        ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL).unwrap();
        ptrace::interrupt(pid).unwrap();
        Self { running, pid, inside: false, stopped: false, pending: None, lines: 0 }
    }

    /// Lets it run until it writes that line of its journal, counted from 1 after the header; false if it ended before.
    #[track_caller]
    pub fn run_to_line(&mut self, number: usize, side: Side) -> bool {
        while self.next_system_call() {
            let is_line = self.inside && self.writes_to_journal();
            self.lines += usize::from(is_line);
            if is_line && self.lines == number {
                return side == Side::Before || self.next_system_call();
            }
        }
        false
    }

    /// Lets it run until it writes a line of its journal, or sends a statement, that has this text in it; false if it ended before.
    #[track_caller]
    pub fn run_to(&mut self, text: &str, side: Side) -> bool {
        while self.next_system_call() {
            if self.inside && self.gives(text) {
                return side == Side::Before || self.next_system_call();
            }
        }
        false
    }

    /// Returns its children whose command line contains a word.
    pub fn children(&self, word: &str) -> Vec<rustix::process::Pid> {
        processes::children_with(self.running.pid(), word)
    }

    /// Ends it here.
    pub fn kill(self) -> Running {
        self.running.signal(Signal::KILL);
        self.running
    }

    /// Lets it go on unwatched, after the signals that are given.
    pub fn go_on(self, signals: impl IntoIterator<Item = Signal>) -> Running {
        for signal in signals {
            self.running.signal(signal);
        }
        ptrace::detach(self.pid, self.pending).unwrap();
        self.running
    }

    /// Returns the program after it has ended.
    pub fn ended(self) -> Running {
        self.running
    }

    /// Lets it run to the beginning or the end of its next system call; false if it has ended.
    fn next_system_call(&mut self) -> bool {
        loop {
            // Peeked at first: its end is for the process that waits for the child.
            let peek =
                WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
            if self.stopped {
                ptrace::syscall(self.pid, self.pending.take()).unwrap();
                self.stopped = false;
            }
            match waitid(Id::Pid(self.pid), peek).unwrap() {
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return false,
                _ => {}
            }
            self.stopped = true;
            match waitid(Id::Pid(self.pid), WaitPidFlag::WSTOPPED | WaitPidFlag::__WALL).unwrap() {
                WaitStatus::PtraceSyscall(_) => {
                    self.inside = !self.inside;
                    return true;
                }
                WaitStatus::Stopped(_, signal) => self.pending = Some(signal),
                _ => {}
            }
        }
    }

    /// Returns the number and the first three arguments of the system call that it is in.
    fn call(&self) -> Option<(i64, [u64; 3])> {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap();
        let mut words = call.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let arguments = words.map_while(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        let [first, second, third, ..] = arguments.collect::<Vec<_>>()[..] else { return None };
        Some((number, [first, second, third]))
    }

    fn writes_to_journal(&self) -> bool {
        let Some((libc::SYS_write, [file, ..])) = self.call() else { return false };
        std::fs::read_link(format!("/proc/{}/fd/{file}", self.pid))
            .is_ok_and(|path| path.extension().is_some_and(|is| is == "jsonl"))
    }

    /// Says whether it writes or sends something with this text in it.
    fn gives(&self, text: &str) -> bool {
        let Some((libc::SYS_write | libc::SYS_sendto, [_, at, length])) = self.call() else { return false };
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.pid)).unwrap();
        memory.read_exact_at(&mut bytes, at).is_ok()
            && bytes.windows(text.len()).any(|part| part == text.as_bytes())
    }
}
