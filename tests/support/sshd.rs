//! A real sshd of the test's own user, and servers that are on other hosts as far as pgbaton can see.

use std::path::Path;
use std::sync::Mutex;

use pgbaton::plan::far_end::Reached;
use rustix::process::{Pid, Signal};

use super::processes::{self, Running, clean_command, run_tool};
use super::{Nodes, Pg, Pgbaton, SOON, TestCluster, TestServer, can_unshare, installed};

const PROGRAM: &str = "/usr/sbin/sshd";

/// An sshd of the test's own user, with two keys: one as usual, and one whose sessions begin with a greeting.
pub struct Sshd {
    server: TestServer,
    running: Mutex<Running>,
}

impl Sshd {
    /// Starts it; None, said so, where none is installed.
    pub fn start(cluster: &TestCluster) -> Option<Self> {
        let program = installed(PROGRAM, "openssh-server")?;
        // A place with a port.
        let server = cluster.empty("sshd");
        let dir = &server.dir;
        let mut authorized = String::new();
        for (key, prefix) in [
            ("host_key", None),
            ("key", Some("")),
            ("noisy", Some("command=\"echo Welcome to db1; exec sh -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" ")),
        ] {
            let path = dir.join(key);
            let args = ["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()];
            run_tool(Path::new("/usr/bin/ssh-keygen"), args).code(0);
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            if let Some(prefix) = prefix {
                authorized.push_str(&format!("{prefix}{public}"));
            } else {
                std::fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{} {public}", server.port))
                    .unwrap();
            }
        }
        std::fs::write(dir.join("authorized_keys"), authorized).unwrap();
        // The "other host" has a PATH of its own: what is installed on this machine, pgbaton above all, is not installed there.
        let path = dir.join("bin");
        std::fs::create_dir(&path).unwrap();
        for tools in ["/bin", "/usr/bin"] {
            for tool in std::fs::read_dir(tools).unwrap().flatten() {
                if !tool.file_name().to_string_lossy().starts_with("pgbaton") {
                    // The same name in both is the same program.
                    let _ = std::os::unix::fs::symlink(tool.path(), path.join(tool.file_name()));
                }
            }
        }
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nSetEnv PATH={}\n",
            server.port,
            dir.join("host_key").display(),
            dir.join("authorized_keys").display(),
            path.display()
        );
        std::fs::write(dir.join("sshd_config"), config).unwrap();
        let running = Mutex::new(listening(&program, dir));
        Some(Self { server, running })
    }

    /// Ends it, and all connections: its port is closed.
    pub fn stop(&self) {
        self.sessions().into_iter().for_each(|pid| processes::send(pid, Signal::KILL));
        let mut running = self.running.lock().unwrap();
        running.signal(Signal::KILL);
        assert!(running.ends_within(SOON));
    }

    /// Starts it again.
    pub fn go(&self) {
        *self.running.lock().unwrap() = listening(Path::new(PROGRAM), &self.server.dir);
    }

    /// Returns what stands in `ssh_options`.
    pub fn options(&self, key: &str) -> String {
        let dir = self.server.dir.display();
        format!(
            "-F none -p {} -i {dir}/{key} -o IdentitiesOnly=yes -o UserKnownHostsFile={dir}/known_hosts",
            self.server.port
        )
    }

    /// Returns the way to a node over this sshd.
    pub fn reached(&self, key: &str, config_file: &Path) -> Reached {
        Reached::Ssh {
            destination: "127.0.0.1".into(),
            options: self.options(key).split(' ').map(str::to_string).collect(),
            program: env!("CARGO_BIN_EXE_pgbaton").into(),
            config_file: config_file.display().to_string(),
        }
    }

    /// Returns the ssh clients of this test.
    pub fn clients(&self) -> Vec<Pid> {
        processes::running("ssh", &format!("{}/known_hosts", self.server.dir.display()))
    }

    /// Returns the processes of sshd that serve connections, but not what they run.
    pub fn sessions(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        let mut parents = vec![self.running.lock().unwrap().pid()];
        while let Some(parent) = parents.pop() {
            let children = processes::children(parent, "sshd");
            found.extend(&children);
            parents.extend(children);
        }
        found
    }

    /// Returns how many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.running.lock().unwrap().stderr_so_far().matches("Accepted publickey").count()
    }
}

/// Starts sshd with the configuration in a directory.
fn listening(program: &Path, dir: &Path) -> Running {
    let mut command = clean_command(program);
    command.current_dir(dir).args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
    let mut running = Running::start(command);
    running.wait_for_stderr("Server listening", SOON);
    running
}

/// Nodes that reach each other by ssh only.
pub struct Hosts {
    /// The nodes.
    pub nodes: Nodes,
    /// The way to each of them.
    pub sshd: Sshd,
}

impl Hosts {
    /// Makes node 1, the primary, and so many standbys; None, said so, where the machine does not have what it takes.
    pub fn new(pg: &Pg, standbys: usize) -> Option<Self> {
        if !can_unshare() {
            return None;
        }
        let nodes = Nodes::new(pg, standbys);
        let sshd = Sshd::start(&nodes.cluster)?;
        for server in &nodes.servers {
            configure_more(server, &format!("ssh_options = \"{}\"", sshd.options("key")));
        }
        Some(Self { nodes, sshd })
    }

    /// Returns a node by its id.
    pub fn node(&self, id: usize) -> &TestServer {
        self.nodes.node(id)
    }

    /// Prepares a run of pgbaton on the host of a node, where the directories of the others are empty.
    pub fn pgbaton_on<I: AsRef<str>>(&self, id: usize, args: impl IntoIterator<Item = I>) -> Pgbaton {
        let own = self.node(id);
        let others = self.nodes.servers.iter().filter(|server| server.name != own.name);
        let mounts: Vec<String> =
            others.map(|server| format!("mount -t tmpfs tmpfs {}", server.dir.display())).collect();
        own.pgbaton(args).behind(&mounts.join(" && "))
    }
}

/// Adds lines to the configuration of a node.
pub fn configure_more(server: &TestServer, lines: &str) {
    let text = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), format!("{text}{lines}\n")).unwrap();
}
