//! What tests must not share: directories, ports, and the number of clusters at once.
//!
//! Every claim is an exclusively locked file (flock). Locks belong to open files, so threads of one test process exclude
//! each other as well as processes do, children do not inherit them (close-on-exec), and the kernel releases them when a
//! process is killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{lab, processes};

/// Below the range from which Linux takes ports for outgoing connections (32768 and up), so that nothing else picks them.
const PORTS: std::ops::Range<u16> = 21_000..29_000;

/// PostgreSQL starts in moments only while the machine has memory and processors for it.
const CLUSTERS_AT_ONCE: usize = 4;

/// A locked file.
pub struct Claim(File);

impl Claim {
    /// Locks a file, waiting as long as it takes; `None` if another process has it and `wait` is false.
    fn of(path: &Path, wait: bool) -> Option<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
        if wait {
            file.lock().unwrap();
            return Some(Self(file));
        }
        match file.try_lock() {
            Ok(()) => Some(Self(file)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => panic!("cannot lock {}: {error}", path.display()),
        }
    }

    /// Locks a file by name, waiting for it.
    pub fn wait(name: &str) -> Self {
        Self::of(&locks().join(name), true).unwrap()
    }
}

/// The directory under which everything of this user's test runs lies.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = std::env::var_os("PGBATON_TEST_DIR").map_or_else(
            || format!("/tmp/pgbaton-test-{}", rustix::process::geteuid().as_raw()).into(),
            PathBuf::from,
        );
        for dir in ["locks", "run", "template"] {
            let dir = base.join(dir);
            std::fs::create_dir_all(&dir)
                .unwrap_or_else(|error| panic!("cannot create {}: {error}", dir.display()));
        }
        // Canonical, because processes are found by their working directory, which the kernel names canonically.
        base.canonicalize().unwrap()
    })
}

fn locks() -> PathBuf {
    base().join("locks")
}

/// The right to run one cluster.
pub struct ClusterPermit(#[expect(dead_code, reason = "held, not read")] Claim);

impl ClusterPermit {
    /// Waits for one of the places.
    pub fn wait() -> Self {
        let begun = Instant::now();
        loop {
            let free = (0..CLUSTERS_AT_ONCE)
                .find_map(|place| Claim::of(&locks().join(format!("cluster-{place}")), false));
            if let Some(claim) = free {
                return Self(claim);
            }
            assert!(
                begun.elapsed() < Duration::from_secs(1200),
                "no place for a test cluster in 20 minutes: is a test process hanging? (lock files: {})",
                locks().display()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A TCP port on 127.0.0.1 that no other test uses.
pub struct Port {
    /// The number.
    pub number: u16,
    _claim: Claim,
}

impl Port {
    /// Reserves a port that nothing listens on.
    pub fn reserve() -> Self {
        // Processes begin at different places, so that a port just given up is not taken again at once, while
        // something may still try to reach its last owner.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let count = u32::from(PORTS.end - PORTS.start);
        let first = std::process::id().wrapping_mul(131);
        for _ in 0..count {
            let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
            let number = PORTS.start + u16::try_from(offset).unwrap();
            let Some(claim) = Claim::of(&locks().join(format!("port-{number}")), false) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _claim: claim };
            }
        }
        panic!("no free port from {} to {}", PORTS.start, PORTS.end - 1);
    }
}

/// A directory of one test, removed when dropped.
pub struct RunDirectory {
    /// The directory.
    pub path: PathBuf,
    lock: PathBuf,
    _claim: Claim,
}

impl RunDirectory {
    /// Makes a directory; the first call in a process also removes what killed test processes have left.
    pub fn make() -> Self {
        static SEQUENCE: AtomicU32 = AtomicU32::new(0);
        static SWEPT: OnceLock<()> = OnceLock::new();
        SWEPT.get_or_init(sweep);
        // Without this a sweep could find the lock file between its creation and its locking.
        let _guard = Claim::wait("run");
        let number = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        // Socket paths are limited to 107 bytes, so names are short.
        let path = base().join("run").join(format!("{}.{number}", std::process::id()));
        let lock = base().join("run").join(format!("{}.{number}.lock", std::process::id()));
        let claim = Claim::of(&lock, false).expect("a process id cannot have two owners");
        // A directory kept by an earlier process of the same id.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self { path, lock, _claim: claim }
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if super::keeps() {
            eprintln!("kept: {}", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
        // A directory without lock file is a kept one: no sweep touches it.
        let _ = std::fs::remove_file(&self.lock);
    }
}

/// Ends the servers and removes the directories of test processes that are dead.
fn sweep() {
    let _guard = Claim::wait("run");
    for lock in base().join("run").read_dir().unwrap().flatten().map(|entry| entry.path()) {
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        if let Some(_claim) = Claim::of(&lock, false) {
            let dir = lock.with_extension("");
            // A lab finds what runs in it by its own processes, which end with the others.
            lab::end_all_below(&dir);
            processes::end_all_below(&dir);
            let _ = std::fs::remove_dir_all(&dir);
            let _ = std::fs::remove_file(&lock);
        }
    }
}
