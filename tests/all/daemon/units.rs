//! The units of systemd, played: their commands are run, and run again as they say, with the paths of a test instead of those of a host.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::*;
use crate::support::{Pgbaton, clean_command};

/// What a unit says, as far as it matters here.
#[derive(Clone, Debug, Default)]
struct Unit {
    before: Vec<String>,
    start: String,
    restarts: bool,
    pause: Duration,
    environment: Vec<(String, String)>,
}

impl Unit {
    /// Reads a unit, or a drop-in for it, of the examples.
    fn read(mut self, file: &str, replaced: &[(&str, String)]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd").join(file);
        let mut text = std::fs::read_to_string(path).unwrap();
        for (from, to) in replaced {
            text = text.replace(from, to);
        }
        for line in text.lines() {
            match line.split_once('=') {
                Some(("ExecStart", command)) => self.start = command.to_string(),
                Some(("ExecStartPre", command)) => self.before.push(command.to_string()),
                Some(("Restart", when)) => self.restarts = when == "always",
                Some(("RestartSec", time)) => {
                    self.pause = Duration::from_millis(time.strip_suffix("ms").unwrap().parse().unwrap());
                }
                Some(("Environment", pair)) => {
                    let (name, value) = pair.split_once('=').unwrap();
                    self.environment.push((name.to_string(), value.to_string()));
                }
                _ => {}
            }
        }
        self
    }

    /// The words of a command: `runuser` and the shell in it are left out, as the test is that user already.
    fn words(&self, command: &str) -> Vec<String> {
        let mut text = command.to_string();
        for (name, value) in &self.environment {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        let words = shell_words::split(&text).unwrap();
        match words.iter().position(|word| word == "-c") {
            Some(at) => shell_words::split(words[at + 1].trim_start_matches("exec ")).unwrap(),
            None => words,
        }
    }
}

/// Runs a unit until it is stopped.
struct Service {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// `wait` is run after a start, and returns when the service has ended.
    fn start(unit: Unit, home: &Path, log: &Path, wait: impl Fn(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (home, log, told) = (home.to_path_buf(), log.to_path_buf(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let run = |command: &str| {
                let words = unit.words(command);
                let mut command = clean_command(Path::new(&words[0]));
                let out = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
                command.args(&words[1..]).env("HOME", &home).current_dir(&home);
                command.stdout(out.try_clone().unwrap()).stderr(out);
                command.spawn().unwrap()
            };
            loop {
                if unit.before.iter().all(|command| run(command).wait().unwrap().success()) {
                    let mut child = run(&unit.start);
                    while child.try_wait().unwrap().is_none() {
                        if told.load(Ordering::Relaxed) {
                            let _ended = child.kill();
                        }
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    wait(&told);
                }
                if told.load(Ordering::Relaxed) || !unit.restarts {
                    return;
                }
                std::thread::sleep(unit.pause);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().unwrap().join();
    }
}

/// A cluster whose first node is run by its units.
struct Host {
    // The server first: the daemon would start it again.
    services: Vec<Service>,
    cluster: Daemons,
}

impl Host {
    fn new() -> Self {
        let mut cluster = Daemons::without(&postgres(15).unwrap());
        let node = cluster.node(1);
        let program = Pgbaton::path();
        let fencer = program.with_file_name("pgbaton-fencer");
        let home = node.dir.parent().unwrap().join("home");
        let runtime = node.dir.join("run");
        std::fs::create_dir(&runtime).unwrap();
        std::fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let replaced = [
            ("/usr/bin/pgbaton-fencer", fencer.display().to_string()),
            ("/usr/bin/pgbaton", program.display().to_string()),
            ("/etc/pgbaton/%i.toml", node.config().display().to_string()),
            ("/etc/pgbaton/node1.toml", node.config().display().to_string()),
            ("/run/pgbaton/%i", runtime.display().to_string()),
            ("/var/lib/postgresql/17/main", node.data.display().to_string()),
        ];
        let log = node.dir.join("units.log");
        let nothing = |_: &AtomicBool| {};
        let fencer = Unit::default().read("pgbaton-fencer@.service", &replaced);
        let daemon = Unit::default().read("pgbaton@.service", &replaced);
        assert!(fencer.restarts && daemon.restarts && daemon.start.ends_with("daemon run"));
        let mut services = vec![Service::start(fencer, &home, &log, nothing)];
        wait_for("the fencer", LONG, || runtime.join("fencer.sock").exists());
        services.push(Service::start(daemon, &home, &log, nothing));
        // The server has its own unit, and from here the guard in front of it. What runs already is taken over.
        let server = Unit {
            start: format!(
                "{} -s -w -D {} -l {} start",
                node.pg.tool("pg_ctl").display(),
                node.data.display(),
                node.dir.join("log/unit.log").display()
            ),
            restarts: true,
            pause: Duration::from_millis(100),
            ..Unit::default()
        }
        .read("postgresql@17-main.service.d/pgbaton-daemon.conf", &replaced);
        assert_eq!(server.before.len(), 1);
        let pid_file = node.data.join("postmaster.pid");
        let runs = move || {
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            text.lines().next().is_some_and(|pid| Path::new("/proc").join(pid).exists())
        };
        services.push(Service::start(server, &home, &log, move |stop| {
            while runs() && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }));
        cluster.start(2);
        cluster.start(3);
        cluster.wait_until_active();
        Self { services, cluster }
    }

    fn daemon(&self) -> Option<Pid> {
        let file = self.cluster.node(1).config().display().to_string();
        running("pgbaton", &format!("{file} daemon run")).first().copied()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.cluster.node(1).dir.join("units.log"));
            eprintln!("the units of node1 have said:\n{}", log.unwrap_or_default());
        }
        while let Some(service) = self.services.pop() {
            drop(service);
        }
    }
}

#[test]
fn what_is_killed_on_a_host_with_units_comes_back_in_place() {
    let host = Host::new();
    let cluster = &host.cluster;
    let observer = Observer::begin(&cluster.nodes.servers);
    let timeline = cluster.node(1).control_data("Latest checkpoint's TimeLineID");
    // One after the other, and then daemon and server at once; the fencer holds the deadline meanwhile.
    let fencer = cluster.fencer(1).unwrap();
    send(fencer, Signal::KILL);
    wait_for("another fencer", LONG, || cluster.fencer(1).is_some_and(|other| other != fencer));
    cluster.wait_until_active();
    let daemon = host.daemon().unwrap();
    send(daemon, Signal::KILL);
    wait_for("another daemon", LONG, || host.daemon().is_some_and(|other| other != daemon));
    cluster.wait_until_active();
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    let daemon = host.daemon().unwrap();
    send(daemon, Signal::KILL);
    cluster.node(1).kill9();
    wait_for("the primary to be back", LONG, || cluster.nodes.primaries() == ["node1"]);
    cluster.all_stream_from(1);
    cluster.wait_until_active();
    assert_eq!(cluster.node(1).control_data("Latest checkpoint's TimeLineID"), timeline, "no failover");
    observer.assert_never_two();
}

#[test]
fn a_fenced_server_comes_back_as_a_standby_by_its_unit() {
    let host = Host::new();
    let cluster = &host.cluster;
    let observer = Observer::begin(&cluster.nodes.servers);
    // The daemon stands still, and the lease ends.
    let daemon = host.daemon().unwrap();
    send(daemon, Signal::STOP);
    let second = cluster.other_primary(1);
    wait_for("the server to be back", LONG, || {
        let asked = cluster.node(1).try_psql_as("postgres", "postgres", "SELECT pg_is_in_recovery()");
        asked.stdout == "t\n"
    });
    let said = std::fs::read_to_string(cluster.node(1).dir.join("units.log")).unwrap();
    assert!(said.contains("may start") || said.contains("starts as a standby"), "{said}");
    send(daemon, Signal::CONT);
    cluster.all_stream_from(second);
    cluster.wait_until_active();
    observer.assert_never_two();
}
