//! Processes: children with a deadline, and those of a PostgreSQL server, found by their working directory.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

/// What a finished program left behind.
#[derive(Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to stdout.
    pub stdout: String,
    /// Everything it wrote to stderr.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
    /// Replacements for [`Output::visible`]: what differs from run to run, and what it is shown as.
    pub(super) redactions: Arc<Vec<(String, String)>>,
}

impl Output {
    /// Fails unless the program ended with this exit code.
    #[track_caller]
    pub fn code(&self, expected: i32) -> &Self {
        assert_eq!(self.status.code(), Some(expected), "{self:?}");
        self
    }

    /// Fails if the text is on standard output or standard error.
    #[track_caller]
    pub fn says_nothing_of(&self, text: &str) -> &Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "said {text:?}: {self:?}");
        self
    }

    /// Fails unless stderr contains this text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "stderr does not say {text:?}\n{self:?}");
        self
    }

    /// Reads stdout as exactly one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON document: {error}\n{self:?}"))
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, stdout, stderr, status, took, .. } = self;
        write!(f, "$ {command}\n{stdout}------- stderr -------\n{stderr}[{status} after {took:.1?}]")
    }
}

/// A program that is running, in a process group of its own. Killed with its group if dropped.
pub struct Running {
    child: Child,
    command: String,
    begun: Instant,
    stdout: Pipe,
    stderr: Pipe,
    pub(super) redactions: Arc<Vec<(String, String)>>,
}

impl Running {
    /// Starts a program. Its output is collected from the start.
    pub fn start(mut command: Command) -> Self {
        adopt_orphans();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let text = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {text}: {error}"));
        let stdout = Pipe::collect(child.stdout.take().unwrap());
        let stderr = Pipe::collect(child.stderr.take().unwrap());
        WAITED_FOR.lock().unwrap().insert(Pid::from_child(&child));
        Self { child, command: text, begun: Instant::now(), stdout, stderr, redactions: Arc::default() }
    }

    /// Returns its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns what it has written to stderr.
    pub fn stderr_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Sends a signal to the program, not to its children.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end; false if it has not come within this time.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let begun = Instant::now();
        while self.is_running() {
            if begun.elapsed() > time {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Waits until stderr contains this text.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str, deadline: Duration) {
        while !self.stderr.so_far().contains(text) {
            // Looked at again after the end: the text may have been the last that it said.
            let ended = !self.is_running();
            if (ended && !self.stderr.so_far().contains(text)) || self.begun.elapsed() > deadline {
                panic!("stderr of {} does not say {text:?}\n{}", self.command, self.so_far());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until stdout has this many lines.
    #[track_caller]
    pub fn wait_for_lines(&self, count: usize, deadline: Duration) {
        while self.stdout.so_far().lines().count() < count {
            assert!(
                self.begun.elapsed() < deadline,
                "{} printed too little\n{}",
                self.command,
                self.so_far()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Output {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.begun.elapsed() > deadline {
                let so_far = self.so_far();
                panic!("still running after {deadline:?}, killed: {}\n{so_far}", self.command);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = self.begun.elapsed();
        // A program that starts a server must not leave it holding its output: `pgbaton ... | tee log` would hang.
        for pipe in [&self.stdout, &self.stderr] {
            let begun = Instant::now();
            while !pipe.reader.is_finished() {
                if begun.elapsed() > Duration::from_secs(5) {
                    panic!(
                        "ended, but a child of it holds its output open: {}\n{}",
                        self.command,
                        self.so_far()
                    );
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Output {
            command: self.command.clone(),
            status,
            stdout: self.stdout.so_far(),
            stderr: self.stderr.so_far(),
            took,
            redactions: Arc::clone(&self.redactions),
        }
    }

    fn so_far(&self) -> String {
        format!("{}------- stderr -------\n{}", self.stdout.so_far(), self.stderr.so_far())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
        WAITED_FOR.lock().unwrap().remove(&Pid::from_child(&self.child));
    }
}

/// One end of a pipe, read by a thread as it fills.
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Pipe {
    fn collect(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

/// Returns the PATH of everything that the tests run on "this host". A pgbaton that is installed on the machine is found in it, so nothing
/// may depend on whether there is one; `PGBATON_TEST_PATH` puts a directory before the others, to prove that.
pub fn search_path() -> String {
    let usual = "/usr/local/bin:/usr/bin:/bin";
    match std::env::var("PGBATON_TEST_PATH") {
        Ok(first) if !first.is_empty() => format!("{first}:{usual}"),
        _ => usual.to_string(),
    }
}

/// Makes a command with an environment that holds nothing of the caller's but what is needed to find programs.
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", search_path()).env("LC_ALL", "C").env("TZ", "UTC");
    // Directories under /root and the like would give psql a warning about the place it was started in.
    command.current_dir("/");
    command
}

/// Makes a command see another machine: it runs in a mount namespace of its own, prepared by a script that may mount there.
/// To itself it is the same user as outside. See [`can_unshare`](super::can_unshare).
pub fn behind(command: &Command, mounts: &str) -> Command {
    apart(command, "--mount", mounts)
}

/// The same for the network: a namespace that has nothing but what the script puts there. Sockets in directories stay.
pub fn behind_network(command: &Command, links: &str) -> Command {
    apart(command, "--net", links)
}

fn apart(command: &Command, namespace: &str, script: &str) -> Command {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let inner = format!("{script} && exec unshare --user --map-user={uid} --map-group={gid} -- \"$@\"");
    let mut outer = surrounded_as(command, Path::new("/usr/bin/unshare"));
    outer.args(["--map-root-user", namespace, "/bin/sh", "-c", &inner, "sh"]);
    outer.arg(command.get_program()).args(command.get_args());
    outer
}

/// Makes a command of another program with the environment and the directory of one.
pub fn surrounded_as(command: &Command, program: &Path) -> Command {
    let mut outer = clean_command(program);
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    outer
}

/// Runs a tool to its end, whatever that is.
#[track_caller]
pub fn run_tool<I: AsRef<std::ffi::OsStr>>(program: &Path, args: impl IntoIterator<Item = I>) -> Output {
    let mut command = clean_command(program);
    command.args(args);
    run_command(command)
}

/// Runs a command that has been made ready to its end, whatever that is.
#[track_caller]
pub fn run_command(command: Command) -> Output {
    Running::start(command).wait(Duration::from_secs(120))
}

/// Makes this process the parent of what its children leave behind.
///
/// Where pid 1 does not reap, as in many containers, a killed postmaster would stay a zombie forever, and PostgreSQL
/// takes a zombie for alive: it would refuse to start over its postmaster.pid.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        std::thread::spawn(reap_what_nobody_waits_for);
    });
}

/// The children of this process that a [`Running`] waits for.
static WAITED_FOR: LazyLock<Mutex<HashSet<Pid>>> = LazyLock::new(Mutex::default);

/// How long a child that no [`Running`] waits for may have ended before it is taken for an adopted one.
const ADOPTED_AFTER: Duration = Duration::from_secs(10);

/// Reaps what children have left behind: a thousand zombies make each look for the processes of a server take its time.
fn reap_what_nobody_waits_for() {
    let me = format!(") Z {} ", rustix::process::getpid().as_raw_nonzero());
    let mut ended: HashMap<Pid, Instant> = HashMap::new();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let zombies = each_process(|dir| {
            let stat = std::fs::read_to_string(dir.join("stat")).ok()?;
            stat.contains(&me).then_some(())
        });
        let waited_for = WAITED_FOR.lock().unwrap().clone();
        let zombies = zombies.into_iter().map(|(pid, ())| pid);
        let zombies: HashSet<Pid> = zombies.filter(|pid| !waited_for.contains(pid)).collect();
        ended.retain(|pid, _| zombies.contains(pid));
        for pid in zombies {
            let since = ended.entry(pid).or_insert_with(Instant::now);
            if since.elapsed() > ADOPTED_AFTER {
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// Reaps the servers that this process has adopted and that have ended.
///
/// Tests start servers through pg_ctl only, so a child by the name of postgres is never one that a parent waits for.
pub fn reap_adopted() {
    let me = rustix::process::getpid().as_raw_nonzero().to_string();
    for (pid, stat) in each_process(|dir| std::fs::read_to_string(dir.join("stat")).ok()) {
        if stat.contains(&format!("(postgres) Z {me} ")) {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Returns the living processes of the server with this data directory: the postmaster and its children work there.
pub fn of_data_directory(data: &Path) -> Vec<Pid> {
    working_in(|cwd| cwd == data)
}

/// Sends a signal to a process that may just have ended.
pub fn send(pid: Pid, signal: Signal) {
    let _ = rustix::process::kill_process(pid, signal);
}

/// Returns the state letter of a process, as in ps.
pub fn state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Returns the processes of a program whose command line contains a text.
pub fn running(program: &str, text: &str) -> Vec<Pid> {
    let found = each_process(|process| {
        let line = std::fs::read(process.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let first = line.split(' ').next()?.rsplit('/').next()?;
        (first == program && line.contains(text)).then_some(())
    });
    found.into_iter().map(|(pid, ())| pid).collect()
}

/// Returns the living children of a process whose names begin like this.
pub fn children(parent: Pid, name: &str) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().to_string();
    let found = each_process(|process| {
        let stat = std::fs::read_to_string(process.join("stat")).ok()?;
        let (before, after) = stat.rsplit_once(") ")?;
        let mut fields = after.split(' ');
        let alive = fields.next() != Some("Z");
        let is_child = fields.next() == Some(parent.as_str());
        (alive && is_child && before.split_once('(')?.1.starts_with(name)).then_some(())
    });
    found.into_iter().map(|(pid, ())| pid).collect()
}

/// Returns the number of a process's parent, from its directory in /proc.
fn parent_of(process: &Path) -> Option<i32> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the command lines of all living processes that mention a directory, or work in or below it.
pub fn mentioning(dir: &Path) -> Vec<(Pid, String)> {
    let text = dir.to_string_lossy().into_owned();
    each_process(|process| {
        let line = std::fs::read(process.join("cmdline")).ok().filter(|line| !line.is_empty())?;
        // A server's child that is a moment old has no title of its own yet.
        let parent = parent_of(process).and_then(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
        if parent.is_some_and(|parent| parent == line) {
            return None;
        }
        let line = String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_string();
        let cwd = std::fs::read_link(process.join("cwd")).ok();
        (line.contains(&text) || cwd.is_some_and(|cwd| cwd.starts_with(dir))).then_some(line)
    })
}

/// Returns the living children of a process that have a word among their arguments.
pub fn children_with(of: Pid, word: &str) -> Vec<Pid> {
    let found = each_process(|process| {
        let line = std::fs::read(process.join("cmdline")).ok()?;
        let is_child = parent_of(process) == Some(of.as_raw_nonzero().get());
        (is_child && line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())).then_some(())
    });
    found.into_iter().map(|(pid, ())| pid).collect()
}

/// Ends every process that works in or below a directory: servers in their own quick way first, then by force.
pub fn end_all_below(dir: &Path) {
    let alive = || working_in(|cwd| cwd.starts_with(dir));
    let pids = alive();
    if !pids.is_empty() {
        // Only a postmaster that ends in its own way gives back its shared memory.
        for pid in &pids {
            send(*pid, Signal::CONT);
        }
        for pid in postmasters_below(dir, &pids) {
            send(pid, Signal::QUIT);
        }
        let begun = Instant::now();
        while !alive().is_empty() {
            if begun.elapsed() > Duration::from_secs(7) {
                alive().into_iter().for_each(|pid| send(pid, Signal::KILL));
            }
            if begun.elapsed() > Duration::from_secs(20) {
                eprintln!("processes in {} do not end", dir.display());
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    reap_adopted();
    each_pid_file(dir, |_, shared_memory| {
        // Of a server that was killed: the file outlives it, and so does the segment, of which a machine has few.
        if let Some(id) = shared_memory {
            let _ = run_tool(Path::new("/usr/bin/ipcrm"), ["-m", &id]);
        }
    });
}

fn postmasters_below(dir: &Path, alive: &[Pid]) -> Vec<Pid> {
    let mut found = Vec::new();
    each_pid_file(dir, |pid, _| found.extend(alive.iter().copied().filter(|alive| Some(*alive) == pid)));
    found
}

/// Reads the postmaster.pid files of `dir/data` and `dir/*/data`: process id and shared memory id.
fn each_pid_file(dir: &Path, mut see: impl FnMut(Option<Pid>, Option<String>)) {
    let below = dir.read_dir().into_iter().flatten().flatten().map(|entry| entry.path().join("data"));
    for data in std::iter::once(dir.join("data")).chain(below) {
        let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        let pid = lines.first().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
        let shared_memory = lines.get(6).and_then(|line| line.split_whitespace().nth(1)).map(str::to_string);
        see(pid, shared_memory);
    }
}

fn working_in(is_there: impl Fn(&Path) -> bool) -> Vec<Pid> {
    // A zombie has no working directory, so it does not count as alive.
    let found = each_process(|process| {
        let cwd = std::fs::read_link(process.join("cwd")).ok()?;
        is_there(&cwd).then_some(())
    });
    found.into_iter().map(|(pid, ())| pid).collect()
}

fn each_process<T>(look: impl Fn(&PathBuf) -> Option<T>) -> Vec<(Pid, T)> {
    let entries = Path::new("/proc").read_dir().unwrap().flatten().map(|entry| entry.path());
    entries
        .filter_map(|dir| {
            let pid = Pid::from_raw(dir.file_name()?.to_str()?.parse().ok()?)?;
            Some((pid, look(&dir)?))
        })
        .collect()
}
