//! Data directories on small file systems of their own, which can be filled. A user may mount such only in namespaces of its own, and
//! everything that is to see them has to be there: so a test that needs them runs itself again, in these.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::processes::{self, Running, behind, clean_command, run_tool};
use super::{Nodes, StopMode, can_unshare};

/// Set in the run of a test that has the file systems.
const INSIDE: &str = "PGBATON_TEST_DISKS";

/// Where they are mounted, by number.
const PLACE: &str = "/mnt";

/// Room for a server that writes little.
const SIZE: &str = "192M";

/// How long such a test may take.
const LONG: Duration = Duration::from_secs(400);

/// Nodes whose data directories are on file systems of their own.
pub struct Disks {
    /// The nodes.
    pub nodes: Nodes,
}

impl Disks {
    /// Runs a test, by its whole name, with so many file systems. Where the machine cannot have them, that is said.
    #[track_caller]
    pub fn with(count: usize, test: &str, run: impl FnOnce()) {
        if std::env::var_os(INSIDE).is_some() {
            return run();
        }
        if !can_unshare() {
            return;
        }
        let mut command = clean_command(&std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "yes");
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PGBATON")));
        let mounts = format!(
            "mount -t tmpfs tmpfs {PLACE} && for n in $(seq {count}); do mkdir {PLACE}/$n && \
             mount -t tmpfs -o size={SIZE},mode=700 tmpfs {PLACE}/$n || exit 1; done"
        );
        let output = Running::start(behind(&command, &mounts)).wait(LONG);
        eprintln!("{}{}", output.stdout, output.stderr);
        assert!(output.status.success() && output.stdout.contains("1 passed"));
    }

    /// Moves the data directory of each node to its own one, and starts the nodes again.
    #[track_caller]
    pub fn of(mut nodes: Nodes) -> Self {
        for server in nodes.servers.iter().rev() {
            server.stop(StopMode::Fast);
        }
        for (number, server) in (1..).zip(&mut nodes.servers) {
            let disk = disk(number);
            let data = disk.join("data");
            run_tool(Path::new("/bin/cp"), ["-a", server.data.to_str().unwrap(), data.to_str().unwrap()])
                .code(0);
            std::fs::remove_dir_all(&server.data).unwrap();
            // What it finds from its data directory on is not on that disk.
            for name in ["server.conf", "log"] {
                std::os::unix::fs::symlink(server.dir.join(name), disk.join(name)).unwrap();
            }
            server.data = data;
            server.node_config(i32::try_from(number).unwrap(), "");
            server.start();
        }
        Self { nodes }
    }

    /// Fills the file system of a node, to the last byte.
    pub fn fill(&self, id: usize) {
        let mut file = File::create(filler(id)).unwrap();
        for size in [1 << 20, 1] {
            let some = vec![0; size];
            while file.write_all(&some).is_ok() {}
        }
    }

    /// Gives the room back.
    pub fn free(&self, id: usize) {
        std::fs::remove_file(filler(id)).unwrap();
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for number in 1..=self.nodes.servers.len() {
            processes::end_all_below(&disk(number));
            for entry in disk(number).read_dir().into_iter().flatten().flatten() {
                let path = entry.path();
                let _gone = match entry.file_type().is_ok_and(|is| is.is_dir()) {
                    true => std::fs::remove_dir_all(path),
                    false => std::fs::remove_file(path),
                };
            }
        }
    }
}

fn disk(number: usize) -> PathBuf {
    Path::new(PLACE).join(number.to_string())
}

fn filler(number: usize) -> PathBuf {
    disk(number).join("filler")
}
