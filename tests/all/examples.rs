//! The examples, carried out: each script from nothing to its end, on real servers. A script proves itself what it claims, and
//! ends with 0 only if that holds; here it has to have claimed it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser as _;
use pgbaton::cli::Cli;

use crate::support::{
    self, Output, Pg, Running, Sshd, TestCluster, TestServer, clean_command, installed, postgres, slow,
    versions,
};

/// The longest one needs half a minute on a machine that has nothing else to do.
const DEADLINE: Duration = Duration::from_secs(400);

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A script, with a directory and ports of its own.
struct Example {
    script: PathBuf,
    pg: Pg,
    // For their ports.
    places: Vec<TestServer>,
    cluster: TestCluster,
}

impl Example {
    fn new(pg: &Pg, script: &str, ports: usize) -> Self {
        let cluster = TestCluster::new(pg);
        let places = (1..=ports).map(|id| cluster.empty(&format!("place{id}"))).collect();
        Self { script: examples().join(script), pg: pg.clone(), places, cluster }
    }

    fn dir(&self) -> PathBuf {
        self.cluster.dir().join("example")
    }

    /// Starts the script with the environment that it documents, and nothing of this process's own.
    fn start(&self, args: &[&str]) -> Running {
        let ports: Vec<String> = self.places.iter().map(|place| place.port.to_string()).collect();
        let mut command = clean_command(&self.script);
        command
            .args(args)
            .env("HOME", self.cluster.dir().join("home"))
            .env("PGBATON", env!("CARGO_BIN_EXE_pgbaton"))
            .env("PGBATON_EXAMPLE_PG", &self.pg.bindir)
            .env("PGBATON_EXAMPLE_DIR", self.dir())
            .env("PGBATON_EXAMPLE_PORTS", ports.join(" "));
        Running::start(command)
    }

    fn run(&self, args: &[&str]) -> Output {
        self.start(args).wait(DEADLINE)
    }

    /// Runs the script to its end: it has to succeed, to claim this, and to leave nothing behind.
    #[track_caller]
    fn plays(&self, claims: &[&str]) {
        let output = self.run(&[]);
        output.code(0);
        self.claimed(&output, claims);
        assert!(!self.dir().exists(), "{output:?}");
    }

    #[track_caller]
    fn claimed(&self, output: &Output, claims: &[&str]) {
        for claim in claims {
            let line = format!("OK: {claim}");
            assert!(output.stdout.lines().any(|printed| printed == line), "no {line:?}\n{output:?}");
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if self.dir().exists() {
            self.run(&["--stop"]);
        }
    }
}

#[test]
fn quickstart() {
    let Some(pg) = postgres(15) else { return };
    // Three for what it plays at its end.
    let example = Example::new(&pg, "quickstart.sh", 6);
    let first = example.run(&[]);
    first.code(0);
    example
        .claimed(&first, &["another node is the primary", "the application goes on", "active daemons (3)"]);
    assert!(!example.cluster.dir().join("example-failover").exists(), "{first:?}");
    assert!(first.stdout.contains("The servers go on running."), "{first:?}");
    // A second run looks at what is there, and starts what is not.
    let mut stopped = clean_command(&pg.tool("pg_ctl"));
    stopped.args(["-s", "-w", "-m", "fast", "stop", "-D"]).arg(example.dir().join("node3/data"));
    Running::start(stopped).wait(support::SOON).code(0);
    let second = example.run(&[]);
    second.code(0);
    assert!(second.stdout.contains("node3/pgbaton.toml node start"), "{second:?}");
    assert!(!second.stdout.contains("standby clone"), "{second:?}");
    example.run(&["--stop"]).code(0);
    assert!(!example.dir().exists());
    let nothing = example.run(&["--stop"]);
    nothing.code(0);
    assert!(nothing.stdout.starts_with("There is nothing in"), "{nothing:?}");
}

#[test]
fn two_nodes_archive() {
    let claims = [
        "primaries (node1 node2)",
        "what the slot on node1 has (lost)",
        "what did (rung:rewind_archive)",
        "slots on node1, where the stale one was (none)",
        "orders on node1 (2000)",
        "slots on node2 (none)",
    ];
    for pg in versions() {
        Example::new(&pg, "two-nodes-archive/two-nodes-archive.sh", 2).plays(&claims);
    }
}

#[test]
fn wal_shipping() {
    let Some(pg) = postgres(15) else { return };
    let claims = [
        "followers of node1 (none)",
        "orders on node2 (1500)",
        "the file is in the archive, as it was on node1",
        "files that are there in part (0)",
        "orders on node2 (2000)",
    ];
    Example::new(&pg, "wal-shipping/wal-shipping.sh", 2).plays(&claims);
}

/// The archive on another host, by a real sshd: what was promised is there, and nothing else ever is.
#[test]
fn wal_is_shipped_over_ssh() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let (archive, stubs) = (cluster.dir().join("archive"), cluster.dir().join("stubs"));
    std::fs::create_dir_all(&archive).unwrap();
    std::fs::create_dir_all(&stubs).unwrap();
    // What a line in ~/.ssh/config would do.
    let way = format!("/usr/bin/ssh {}", sshd.options("key"));
    let ssh = |text: &str| {
        let path = stubs.join("ssh");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let run = |script: &str, args: &[&str]| {
        let mut command = clean_command(&examples().join("wal-shipping").join(script));
        command.env("PATH", format!("{}:/usr/bin:/bin", stubs.display())).args(args);
        Running::start(command).wait(support::SOON)
    };
    let there = format!("127.0.0.1:{}", archive.display());
    let file = |name: &str, byte: u8| {
        let path = cluster.dir().join(name);
        std::fs::write(&path, vec![byte; 1 << 20]).unwrap();
        path.display().to_string()
    };
    let (one, other) = (file("one", 1), file("other", 2));
    let name = "000000010000000000000007";
    let archived =
        || archive.read_dir().unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();

    // A connection that breaks in the middle of it.
    ssh(&format!("head -c 1000 | {way} \"$@\""));
    run("archive-wal.sh", &[&there, &one, name]).code(1).says("did not arrive whole");
    assert!(archived().is_empty(), "{:?}", archived());

    ssh(&format!("exec {way} \"$@\""));
    run("archive-wal.sh", &[&there, &one, name]).code(0);
    run("archive-wal.sh", &[&there, &one, name]).code(0);
    run("archive-wal.sh", &[&there, &other, name]).code(1).says("with another content, and is left as it is");
    assert_eq!(archived(), [name]);
    assert_eq!(std::fs::read(archive.join(name)).unwrap(), std::fs::read(&one).unwrap());

    let fetched = cluster.dir().join("fetched");
    let to = fetched.display().to_string();
    run("restore-wal.sh", &[&there, name, &to]).code(0);
    assert_eq!(std::fs::read(&fetched).unwrap(), std::fs::read(&one).unwrap());
    run("restore-wal.sh", &[&there, "00000002.history", &to]).code(1);
    assert!(!fetched.exists());
    // More than 125 would stop the server.
    ssh("exit 255");
    run("restore-wal.sh", &[&there, name, &to]).code(1);
    assert!(!fetched.exists());
    run("archive-wal.sh", &[&there, &one, "x;y"]).code(2).says("no name of a WAL file");
}

#[test]
fn three_nodes() {
    let claims = [
        "node3 follows node2 (node3)",
        "orders on node1 (1500)",
        "orders on node3 (1500)",
        "the primary (node2)",
    ];
    for pg in versions() {
        Example::new(&pg, "three-nodes/three-nodes.sh", 3).plays(&claims);
    }
}

#[test]
fn failover() {
    let claims = [
        "active daemons (3)",
        "another node is the primary",
        "the application goes on",
        "node1 is a standby again (streaming)",
        "lost of those after the failover (0)",
    ];
    for pg in versions() {
        Example::new(&pg, "failover/failover.sh", 3).plays(&claims);
    }
}

#[test]
fn containers() {
    let claims = [
        "node1 stays down",
        "node1 follows node2 (node1)",
        "node2 follows node1 (node2)",
        "node1 says what it needs",
        "orders on node1 (1500)",
        "how often two primaries were seen (0)",
        "the primaries that were seen (node1 node2)",
    ];
    for pg in versions() {
        Example::new(&pg, "container/containers.sh", 2).plays(&claims);
    }
}

#[test]
fn backup() {
    let Some(pg) = postgres(15) else { return };
    let claims = ["backups (2)", "orders in the backup (1500)", "backups as before"];
    Example::new(&pg, "backup/nightly-backup.sh", 2).plays(&claims);
}

#[test]
fn hooks() {
    let Some(pg) = postgres(15) else { return };
    let claims = ["messages of the switchover (1)", "the primary (node1)", "messages of switchovers (1)"];
    Example::new(&pg, "hooks/switchover-notifies.sh", 2).plays(&claims);
}

#[test]
fn haproxy() {
    let Some(pg) = postgres(15).filter(|_| slow()) else { return };
    if installed("/usr/sbin/haproxy", "haproxy").and(installed("/usr/bin/socat", "socat")).is_none() {
        return;
    }
    let claims = [
        "after the switchover writes go to (node2)",
        "and reads to (node1 node3)",
        "after the failover writes go to (node3)",
        "with two primaries writes go to (none)",
        "orders on the old primary (1)",
        "and all reads to (node1 node2)",
    ];
    Example::new(&pg, "haproxy/haproxy.sh", 8).plays(&claims);
}

#[test]
fn pgpool() {
    let Some(pg) = postgres(15).filter(|_| slow()) else { return };
    if installed("/usr/sbin/pgpool", "pgpool2").is_none() {
        return;
    }
    let claims = [
        "after the switchover writes go to (node2)",
        "and reads to (node1 node3)",
        "without a primary reads are answered (yes)",
        "after the failover writes go to (node3)",
        "primaries (node2 node3)",
        "with two primaries writes go to (node3)",
        "pgpool says (worker_child: invalid node found 1)",
        "and holds node2 again for (down)",
        "orders on the old primary (1)",
        "and all reads to (node1 node2)",
    ];
    Example::new(&pg, "pgpool/pgpool.sh", 5).plays(&claims);
}

/// Notifications reach mail and webhook unchanged, whatever is in them, and a channel that fails does not affect the others.
#[test]
fn a_notification_uses_every_configured_channel() {
    let dir = tempfile::tempdir().unwrap();
    let stub = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let (mail, curl, file) =
        (dir.path().join("mail.out"), dir.path().join("curl.out"), dir.path().join("file"));
    stub("mail", &format!("printf '%s\\n' \"$@\" >{0}; cat >>{0}; false", mail.display()));
    stub("curl", &format!("cat >{}", curl.display()));
    let mut command = clean_command(&examples().join("hooks/notify.sh"));
    command.env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()));
    command.args(["--mail", "dba@example.com", "--webhook", "https://example.com/x", "--file"]).arg(&file);
    command.args([
        "2",
        "standby_promote",
        "0",
        "2026-11-28 16:00:00+00:00",
        "it said \"a\\b\"\nand `$(c)`",
        "",
    ]);
    Running::start(command).wait(support::SOON).code(1);
    let text = "2026-11-28 16:00:00+00:00: standby_promote FAILED on node 2: it said \"a\\b\" and `$(c)`";
    let mailed = format!("-s\nPostgreSQL: standby_promote FAILED on node 2\ndba@example.com\n{text}\n");
    assert_eq!(std::fs::read_to_string(mail).unwrap(), mailed);
    let posted: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(curl).unwrap()).unwrap();
    assert_eq!(posted, serde_json::json!({ "text": text }));
    assert_eq!(std::fs::read_to_string(file).unwrap(), format!("{text}\n"));
}

#[test]
fn kept_files_are_removed_on_request() {
    let Some(pg) = postgres(15) else { return };
    let example = Example::new(&pg, "three-nodes/three-nodes.sh", 3);
    example.run(&["--keep"]).code(0);
    assert!(example.dir().join("node1/data/postmaster.pid").exists());
    let refused = example.run(&[]);
    refused.code(1).says("ERROR: an earlier run has left its servers. Remove them first: ");
    refused.says(&format!("PGBATON_EXAMPLE_DIR={} ", example.dir().display()));
    example.run(&["--stop"]).code(0);
    assert!(!example.dir().exists());
    let usage = example.run(&["--nonsense"]);
    usage.code(2);
    assert!(usage.stdout.contains("--stop    stops them and removes everything"), "{usage:?}");
}

#[test]
fn every_example_has_a_readme_and_its_commands_exist() {
    let list = std::fs::read_to_string(examples().join("README.md")).unwrap();
    let mut commands = 0;
    for dir in examples().read_dir().unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = dir.file_name().into_string().unwrap();
        assert!(list.contains(&format!("({name})")), "examples/README.md does not list {name}");
        let has_script = dir
            .path()
            .read_dir()
            .unwrap()
            .flatten()
            .any(|file| file.path().extension().is_some_and(|extension| extension == "sh"));
        if !has_script {
            continue;
        }
        let text = std::fs::read_to_string(dir.path().join("README.md")).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("    ")) {
            let line = line.split(" # ").next().unwrap();
            let Some((_, command)) = line.split_once("pgbaton ") else { continue };
            let words = shell_words::split(command).unwrap();
            let words = words
                .iter()
                .take_while(|word| !["&&", "||", "|", ">", ">/dev/null"].contains(&word.as_str()));
            let parsed = Cli::try_parse_from(std::iter::once(&"pgbaton".to_string()).chain(words));
            assert!(parsed.is_ok(), "{name}: {line}: {parsed:?}");
            commands += 1;
        }
    }
    assert!(commands > 0);
}
