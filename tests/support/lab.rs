//! Hosts with addresses of their own, an sshd each, and networks between them that can be cut: `tests/lab/lab.sh` makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::processes::{Output, clean_command, run_command};
use super::{can_unshare, installed};

/// The directory of a lab, in that of its cluster.
const NAME: &str = "lab";

/// Hosts. They end, with everything that runs on them, when it is dropped.
pub struct Lab {
    dir: PathBuf,
    /// The address of each host.
    addresses: Vec<String>,
}

/// One of them.
#[derive(Clone)]
pub struct Host {
    /// Its number in the lab, from 1.
    pub number: usize,
    /// Its address.
    pub address: String,
    enter: PathBuf,
}

impl Lab {
    /// Makes so many hosts, in a directory of the cluster's; None, said so, where the machine does not have what it takes.
    pub fn up(dir: &Path, hosts: usize) -> Option<Self> {
        installed("/usr/sbin/sshd", "openssh-server")?;
        installed("/usr/sbin/ip", "iproute2")?;
        if !can_unshare() {
            return None;
        }
        let dir = dir.join(NAME);
        lab_sh(&dir, &["up", &hosts.to_string()]).code(0);
        let listed = std::fs::read_to_string(dir.join("hosts")).unwrap();
        let addresses = listed.lines().map(|line| line.split_once(' ').unwrap().1.to_string()).collect();
        Some(Self { dir, addresses })
    }

    /// Returns the directory by which scripts know it, as `PGBATON_LAB`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns a host by its number.
    pub fn host(&self, number: usize) -> Host {
        Host { number, address: self.addresses[number - 1].clone(), enter: self.dir.join("enter") }
    }

    /// Returns how many logins the sshd of a host has accepted so far.
    pub fn accepted(&self, host: usize) -> usize {
        let log = std::fs::read_to_string(self.dir.join(format!("ssh/log_{host}"))).unwrap();
        log.matches("Accepted publickey").count()
    }

    /// Packets between two hosts are lost.
    pub fn cut(&self, one: usize, other: usize) {
        self.command(&["cut", &one.to_string(), &other.to_string()]);
    }

    /// Packets from one host to another are lost; those that come back arrive.
    pub fn lose(&self, from: usize, to: usize) {
        self.command(&["drop", &from.to_string(), &to.to_string()]);
    }

    /// Packets from and to a host are lost.
    pub fn isolate(&self, host: usize) {
        self.command(&["isolate", &host.to_string()]);
    }

    /// All packets arrive again.
    pub fn heal(&self) {
        self.command(&["heal"]);
    }

    /// Has a directory be on the disk of one host: the others see an empty one.
    pub fn own(&self, host: usize, directory: &Path) {
        self.command(&["own", &host.to_string(), directory.to_str().unwrap()]);
    }

    #[track_caller]
    fn command(&self, args: &[&str]) {
        lab_sh(&self.dir, args).code(0);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = lab_sh(&self.dir, &["down"]);
    }
}

impl Host {
    /// Makes a command run there.
    pub fn run(&self, command: &Command) -> Command {
        let mut outer = clean_command(&self.enter);
        outer.arg(self.number.to_string());
        outer.arg(command.get_program()).args(command.get_args());
        outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            outer.current_dir(dir);
        }
        outer
    }
}

/// Ends what a killed test process has left in the directory of a cluster.
pub fn end_all_below(dir: &Path) {
    let dir = dir.join(NAME);
    if dir.exists() {
        lab_sh(&dir, &["down"]);
    }
}

fn lab_sh(dir: &Path, args: &[&str]) -> Output {
    let mut command = clean_command(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lab.sh")));
    command.env("PGBATON_LAB", dir).args(args);
    run_command(command)
}
