//! The fencer as a process, beside processes that work in a directory as a server's do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgbaton_fencer::process::now;
use pgbaton_fencer::protocol::{Answer, Client, Request};
use tempfile::TempDir;

/// How long anything may take that is expected.
const SOON: Duration = Duration::from_secs(10);

/// A data directory with what works in it, and its fencer.
struct Place {
    directory: TempDir,
    fencer: Option<Child>,
    servers: Vec<Child>,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        for name in ["data", "run"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let mut place = Self { directory, fencer: None, servers: Vec::new() };
        place.start_fencer();
        place
    }

    fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    fn runtime(&self) -> std::path::PathBuf {
        self.directory.path().join("run")
    }

    fn start_fencer(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgbaton-fencer"));
        command.args([self.data(), self.runtime()]).stderr(Stdio::null());
        self.fencer = Some(command.spawn().unwrap());
        until("the fencer answers", || Client::connect(&self.runtime()).is_ok());
    }

    fn kill_fencer(&mut self) {
        let mut fencer = self.fencer.take().unwrap();
        fencer.kill().unwrap();
        fencer.wait().unwrap();
    }

    /// A process that works in the data directory, and ends by itself after a minute. With `stubborn` it ignores SIGQUIT.
    fn start_server(&mut self, stubborn: bool) -> u32 {
        let mut command = Command::new("/bin/sh");
        let trap = if stubborn {
            "trap '' QUIT; touch ready; sleep 60 & wait"
        } else {
            "touch ready; exec sleep 60"
        };
        let _ = std::fs::remove_file(self.data().join("ready"));
        let child = command.args(["-c", trap]).current_dir(self.data()).spawn().unwrap();
        let pid = child.id();
        until("the server has started", || self.data().join("ready").exists());
        std::fs::write(self.data().join("postmaster.pid"), format!("{pid}\n{}\n", self.data().display()))
            .unwrap();
        self.servers.push(child);
        pid
    }

    fn ask(&self, request: Request) -> Answer {
        Client::connect(&self.runtime()).unwrap().ask(request).unwrap()
    }

    fn has_signal(&self) -> bool {
        self.data().join("standby.signal").exists()
    }

    fn all_have_ended(&mut self) -> bool {
        self.servers.iter_mut().all(|server| server.try_wait().unwrap().is_some())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in self.fencer.iter_mut().chain(&mut self.servers) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stop(pid: u32) {
    let status = Command::new("/bin/kill").args(["-STOP", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_server_is_stopped_when_its_lease_ends() {
    let mut place = Place::new();
    place.start_server(false);
    place.start_server(true);
    assert!(place.ask(Request::Arm(now() + 400)).is_done);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!place.all_have_ended() && !place.has_signal());
    until("the servers have ended", || place.all_have_ended());
    assert!(place.has_signal());
    let answer = place.ask(Request::Arm(now() + 60_000));
    assert!(answer.has_ended && !answer.is_done, "an end is final: {answer:?}");
    assert!(!place.ask(Request::RemoveSignal).is_done && place.has_signal());
}

#[test]
fn a_lease_that_is_extended_ends_nothing() {
    let mut place = Place::new();
    place.start_server(false);
    let mut client = Client::connect(&place.runtime()).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(900) {
        assert!(client.ask(Request::Arm(now() + 300)).unwrap().is_done);
        std::thread::sleep(Duration::from_millis(50));
    }
    // Nor does a lease that is given up.
    assert!(client.ask(Request::Disarm).unwrap().is_done);
    std::thread::sleep(Duration::from_millis(500));
    assert!(!place.all_have_ended() && !place.has_signal());
}

#[test]
fn a_postmaster_that_is_stopped_is_killed_with_its_children() {
    let mut place = Place::new();
    let postmaster = place.start_server(false);
    stop(postmaster);
    place.ask(Request::Arm(now() + 50));
    until("the server has ended", || place.all_have_ended());
}

#[test]
fn processes_elsewhere_are_left_alone() {
    let mut place = Place::new();
    let mut elsewhere = Command::new("/bin/sleep").arg("60").current_dir(place.runtime()).spawn().unwrap();
    // A postmaster.pid that names a process of somebody else.
    std::fs::write(place.data().join("postmaster.pid"), format!("{}\n", elsewhere.id())).unwrap();
    place.start_server(true);
    std::fs::write(place.data().join("postmaster.pid"), format!("{}\n", elsewhere.id())).unwrap();
    place.ask(Request::Arm(now() + 50));
    until("the server has ended", || place.all_have_ended());
    assert!(elsewhere.try_wait().unwrap().is_none());
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
}

#[test]
fn a_fencer_that_starts_again_adopts_the_deadline_or_fences_at_once() {
    let mut place = Place::new();
    place.start_server(false);
    let deadline = now() + 2000;
    place.ask(Request::Arm(deadline));
    place.kill_fencer();
    place.start_fencer();
    let found = place.ask(Request::Status);
    assert_eq!((found.deadline, found.has_ended), (Some(deadline), false));
    assert!(!place.all_have_ended());
    place.kill_fencer();
    std::thread::sleep(Duration::from_millis(2100));
    assert!(!place.all_have_ended(), "nobody is there who could");
    place.start_fencer();
    until("the server has ended", || place.all_have_ended());
    assert!(place.has_signal());
}

#[test]
fn whatever_starts_afterwards_is_a_standby_or_is_killed() {
    let mut place = Place::new();
    place.start_server(false);
    place.ask(Request::Arm(now() + 50));
    until("the server has ended", || place.all_have_ended());
    until("the fencer has done its work", || place.ask(Request::Status).deadline.is_none());
    // With standby.signal it is one.
    place.start_server(false);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!place.all_have_ended());
    std::fs::remove_file(place.data().join("standby.signal")).unwrap();
    until("the server has ended", || place.all_have_ended());
    until("the file is back", || place.has_signal());
    // The daemon has seen the standby: the next lease may begin.
    assert!(place.ask(Request::Reset).is_done);
    assert!(place.ask(Request::Arm(now() + 60_000)).is_done);
    assert!(place.ask(Request::RemoveSignal).is_done && !place.has_signal());
}

#[test]
fn there_is_one_fencer_for_a_runtime_directory() {
    let place = Place::new();
    let second = Command::new(env!("CARGO_BIN_EXE_pgbaton-fencer"))
        .args([place.data(), place.runtime()])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot run"), "{second:?}");
    assert!(place.ask(Request::Status).is_done);
}

#[test]
fn one_that_waits_takes_the_place_of_one_that_is_killed() {
    let mut place = Place::new();
    place.start_server(false);
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_pgbaton-fencer"));
    waiting.arg("--wait").args([place.data(), place.runtime()]).stderr(Stdio::null());
    let mut waiting = waiting.spawn().unwrap();
    let deadline = now() + 2000;
    let first = place.ask(Request::Arm(deadline));
    assert!(first.is_done && first.pid != waiting.id());
    place.kill_fencer();
    until("the other one answers", || {
        Client::connect(&place.runtime()).is_ok_and(|mut client| {
            client.ask(Request::Status).is_ok_and(|answer| answer.pid == waiting.id())
        })
    });
    assert_eq!(place.ask(Request::Status).deadline, Some(deadline));
    until("the server has ended", || place.all_have_ended());
    assert!(place.has_signal());
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

#[test]
fn a_data_directory_that_takes_the_place_of_another_one_is_the_one_that_is_fenced() {
    let mut place = Place::new();
    let before = place.ask(Request::Status).directory;
    std::fs::rename(place.data(), place.directory.path().join("old")).unwrap();
    std::fs::create_dir(place.data()).unwrap();
    place.start_server(false);
    let answer = place.ask(Request::Arm(now() + 300));
    assert!(answer.is_done && answer.directory != before);
    until("the server has ended", || place.all_have_ended());
    assert!(place.has_signal());
    assert!(!place.directory.path().join("old/standby.signal").exists());
}

#[test]
fn a_server_whose_directory_was_moved_aside_is_fenced_and_so_is_what_starts_at_its_path() {
    let mut place = Place::new();
    place.start_server(false);
    assert!(place.ask(Request::Arm(now() + 500)).is_done);
    let old = place.directory.path().join("old");
    std::fs::rename(place.data(), &old).unwrap();
    std::fs::create_dir(place.data()).unwrap();
    until("the server has ended", || place.all_have_ended());
    assert!(old.join("standby.signal").exists());
    // What starts at the path is a standby, too.
    until("the file is at the path", || place.has_signal());
}

#[test]
fn what_is_no_request_ends_the_connection_and_nothing_else() {
    use std::io::{Read, Write};
    let place = Place::new();
    place.ask(Request::Arm(now() + 60_000));
    for wrong in [&b"GET / HTTP/1.1\r\n"[..], b"short", &[0; 64]] {
        let mut stream =
            std::os::unix::net::UnixStream::connect(place.runtime().join("fencer.sock")).unwrap();
        stream.write_all(wrong).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = [0; 1];
        assert!(stream.read(&mut answer).map_or(true, |length| length == 0), "{wrong:?}");
    }
    // Nor do many that say nothing keep a daemon out.
    let silent: Vec<_> = (0..10)
        .map(|_| std::os::unix::net::UnixStream::connect(place.runtime().join("fencer.sock")).unwrap())
        .collect();
    until("a daemon is heard", || {
        Client::connect(&place.runtime()).and_then(|mut client| client.ask(Request::Status)).is_ok()
    });
    drop(silent);
}

#[test]
fn it_is_small() {
    let place = Place::new();
    place.ask(Request::Arm(now() + 60_000));
    let pid = place.fencer.as_ref().unwrap().id();
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes <= 4096, "{line}");
}
