//! The test ground: real PostgreSQL clusters, faults on demand, and the program under test.
//!
//! A test begins like this:
//!
//! ```ignore
//! use crate::support::{TestCluster, postgres};
//!
//! #[test]
//! fn standby_streams() {
//!     let Some(pg) = postgres(15) else { return };
//!     let cluster = TestCluster::new(&pg);
//!     let node1 = cluster.primary("node1");
//!     let node2 = cluster.standby("node2", &node1);
//!     node2.node_config(2, "");
//!     node2.pgbaton(["standby", "register"]).run().code(0);
//! }
//! ```
//!
//! Rules that keep the tests parallel and the machine clean:
//! - whatever a test needs exclusively (ports, directories, the right to run a cluster) is a locked file, so the kernel
//!   frees it when the test process dies, however it dies (`claims.rs`);
//! - one [`TestCluster`] per test: it holds one of four places that all test processes of a user share, and two of them
//!   in one test could wait for each other;
//! - nothing waits without a deadline, and nothing sleeps for a fixed time in the hope that something has happened;
//! - servers are stopped and directories removed when the values are dropped, also after a panic. With
//!   `PGBATON_TEST_KEEP=1` the directories stay, and are named.
//!
//! Environment: `PGBATON_TEST_PG` (directory with `N/bin`), `PGBATON_TEST_DIR` (where clusters live),
//! `PGBATON_TEST_REQUIRE_ALL=1` (what is missing fails the test), `PGBATON_TEST_SLOW=1` (slow tests, all versions),
//! `PGBATON_TEST_KEEP=1`, `PGBATON_TEST_PATH` (a directory that comes first in the PATH of what the tests run).

// Each test program compiles its own copy and uses a part of it.
#![allow(dead_code, unused_imports)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

mod certificates;
mod claims;
mod debian;
mod disks;
mod fingerprint;
mod hostile;
mod lab;
mod ledger;
mod marks;
mod nodes;
mod processes;
mod program;
mod proxy;
pub mod runbook;
mod server;
mod sshd;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use certificates::certificates;
pub use debian::made_debian;
pub use disks::Disks;
pub use fingerprint::Fingerprint;
pub use hostile::{Attack, Hostile};
pub use lab::{Host, Lab};
pub use ledger::{Ledger, Observer, Record};
pub use marks::{Side, Stepped, place};
pub use nodes::{
    Nodes, attach, configure, envelope, executed, metadata, packaged, planned, real_repmgr, registered,
    registered_standby, repmgr_conf, script, versions_with_repmgr, with_real_repmgr,
};
pub use processes::{Output, Running, behind_network, clean_command, run_tool, running, search_path, send};
pub use program::Pgbaton;
pub use proxy::{Fault, Proxy};
pub use server::{StopMode, TestCluster, TestServer};
pub use sshd::{Hosts, Sshd, configure_more};

/// How long something may take that normally takes a moment.
pub const SOON: Duration = Duration::from_secs(30);

/// An installed major version of PostgreSQL.
#[derive(Clone, Debug)]
pub struct Pg {
    /// 15, for example.
    pub major: u32,
    /// Where its programs are.
    pub bindir: PathBuf,
}

impl Pg {
    /// Returns the path of one of its programs.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }
}

/// Returns all installed major versions, oldest first.
pub fn majors() -> Vec<Pg> {
    let roots = match std::env::var_os("PGBATON_TEST_PG") {
        Some(dir) => vec![PathBuf::from(dir)],
        None => vec!["/opt/pgtest".into(), "/usr/lib/postgresql".into()],
    };
    let mut found: Vec<Pg> = Vec::new();
    for entry in roots.iter().filter_map(|root| root.read_dir().ok()).flatten().flatten() {
        let Ok(major) = entry.file_name().to_string_lossy().parse() else { continue };
        let bindir = entry.path().join("bin");
        // The first directory wins: a machine's own PostgreSQL is only used where nothing better is there.
        if bindir.join("initdb").exists() && found.iter().all(|pg| pg.major != major) {
            found.push(Pg { major, bindir });
        }
    }
    found.sort_by_key(|pg| pg.major);
    found
}

/// Returns PostgreSQL of this major version, or says that the test is skipped; where everything is required, fails.
pub fn postgres(major: u32) -> Option<Pg> {
    refuse_root();
    let found = majors().into_iter().find(|pg| pg.major == major);
    if found.is_none() {
        lacking(&format!(
            "PostgreSQL {major} is not installed (tests/pg-versions.sh installs it, and tests/run.sh knows where)"
        ));
    }
    found
}

/// Returns a program of this machine that a test needs, or says that the test is skipped; where everything is required, fails.
pub fn installed(program: &str, package: &str) -> Option<PathBuf> {
    let path = PathBuf::from(program);
    if path.exists() {
        return Some(path);
    }
    lacking(&format!("{program} is not there (package {package})"));
    None
}

/// Returns the versions that a test of general behaviour runs with: one, or all of them in a slow run.
pub fn versions() -> Vec<Pg> {
    if is_set("PGBATON_TEST_SLOW") {
        [13, 15, 17, 18].into_iter().filter_map(postgres).collect()
    } else {
        postgres(15).into_iter().collect()
    }
}

/// Whether slow tests run; says so if not.
pub fn slow() -> bool {
    let slow = is_set("PGBATON_TEST_SLOW");
    if !slow {
        skipped("slow (PGBATON_TEST_SLOW=1 runs it)");
    }
    slow
}

/// Whether an unprivileged user may have a mount namespace, for [`processes::behind`]; says so if not, and fails where everything is
/// required.
pub fn can_unshare() -> bool {
    let script = processes::behind(&clean_command(Path::new("/bin/true")), "mount -t tmpfs tmpfs /run");
    let able = Running::start(script).wait(SOON);
    if !able.status.success() {
        lacking(&format!("no user namespaces: {}", able.stderr.trim()));
    }
    able.status.success()
}

/// Whether directories are kept after the tests.
pub fn keeps() -> bool {
    is_set("PGBATON_TEST_KEEP")
}

/// Waits until something is true, or fails with its name.
#[track_caller]
pub fn wait_for(what: &str, deadline: Duration, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < deadline, "timed out after {deadline:?} waiting for {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Reports what the machine does not have for a test; where everything is required, fails.
#[track_caller]
fn lacking(what: &str) {
    assert!(!is_set("PGBATON_TEST_REQUIRE_ALL"), "{what}");
    skipped(what);
}

/// Reports why a test did nothing, past the capture of a passing test's output.
fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_string();
    let _ = writeln!(std::io::stderr(), "{name}: skipped: {why}");
}

/// Fails where root runs the tests: servers do not start, and pgbaton refuses.
pub fn refuse_root() {
    assert!(
        !rustix::process::geteuid().is_root(),
        "PostgreSQL does not run as root: run the tests with ./tests/run.sh, which changes to an unprivileged user"
    );
}
