//! Clusters of real servers.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::claims::{Claim, ClusterPermit, Port, RunDirectory, base};
use super::lab::{Host, Lab};
use super::processes::{self, Output, clean_command, run_command, run_tool};
use super::program::Pgbaton;
use super::{Pg, refuse_root, wait_for};

/// Appended to what initdb writes.
///
/// The last line is what lets several servers share a machine: base backups and pg_rewind copy postgresql.conf, and the
/// path in it is relative to the copy, so every server reads its own port from the file next to its data directory.
const SETTINGS: &str = "
# test settings
listen_addresses = '127.0.0.1'
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
hot_standby = on
wal_log_hints = on
wal_keep_size = 64MB
wal_retrieve_retry_interval = 200ms
max_connections = 50
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
password_encryption = 'scram-sha-256'
fsync = off
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = on
log_directory = '../log'
log_filename = 'postgresql.log'
log_line_prefix = '%m [%p] %q%u@%d/%a '
include_if_exists = '../server.conf'
";

/// `repmgr` is what repmgr's manual creates; `baton` is a role with no more rights than a replication manager needs.
const ROLES: &str = "
CREATE ROLE repmgr LOGIN SUPERUSER REPLICATION PASSWORD 'repmgr';
CREATE DATABASE repmgr OWNER repmgr;
CREATE ROLE baton LOGIN REPLICATION PASSWORD 'baton';
GRANT pg_monitor TO baton;
CREATE DATABASE baton OWNER baton;
";

/// What is added on a host of a lab, where others come from other addresses, and where packets can be lost: no test waits a minute
/// until it gives up a connection.
const LAB_SETTINGS: &str = "wal_receiver_timeout = 2s
wal_sender_timeout = 2s
wal_receiver_status_interval = 500ms
";

/// The same for pg_hba.conf.
const LAB_HBA: &str = "host all all all trust
host replication all all trust
";

/// The test user's own cluster of servers: all on 127.0.0.1, or each on a host of its own in a lab.
pub struct TestCluster {
    pg: Pg,
    shared: Arc<Shared>,
}

/// Lives until the last server is gone. Fields are dropped in this order: the place is given back last.
pub(super) struct Shared {
    /// All ports handed out, with what a snapshot shows for them.
    ports: Mutex<Vec<(String, String)>>,
    lab: Option<Lab>,
    dir: RunDirectory,
    _permit: ClusterPermit,
}

/// How to stop a server.
#[derive(Clone, Copy, Debug)]
pub enum StopMode {
    /// Wait for sessions to end.
    Smart,
    /// Disconnect sessions, with a shutdown checkpoint.
    Fast,
    /// As after a crash.
    Immediate,
}

impl TestCluster {
    /// Waits for a place to run a cluster, and makes its directory. There is no server yet.
    pub fn new(pg: &Pg) -> Self {
        refuse_root();
        let permit = ClusterPermit::wait();
        let shared =
            Shared { ports: Mutex::default(), lab: None, dir: RunDirectory::make(), _permit: permit };
        std::fs::create_dir(shared.dir.path.join("home")).unwrap();
        Self { pg: pg.clone(), shared: Arc::new(shared) }
    }

    /// The same in a lab with so many hosts; None, said so, where the machine cannot have one. Each server that is made is on
    /// the next host, and its directory on that host's disk.
    pub fn in_lab(pg: &Pg, hosts: usize) -> Option<Self> {
        let mut cluster = Self::new(pg);
        let lab = Lab::up(cluster.dir(), hosts)?;
        Arc::get_mut(&mut cluster.shared)?.lab = Some(lab);
        Some(cluster)
    }

    /// Returns the lab that it is in.
    #[track_caller]
    pub fn lab(&self) -> &Lab {
        self.shared.lab.as_ref().expect("a cluster in a lab")
    }

    /// Returns the cluster's directory; tests may put things into it.
    pub fn dir(&self) -> &Path {
        &self.shared.dir.path
    }

    /// Makes and starts a server with the roles `postgres` and `repmgr` (superusers) and `baton`, and the databases
    /// `repmgr` and `baton`. All primaries of a run have the same system identifier; see [`TestCluster::foreign`].
    pub fn primary(&self, name: &str) -> TestServer {
        let server = self.empty(name);
        let template = template(&self.pg);
        run_tool(
            Path::new("/bin/cp"),
            ["-a".as_ref(), "--reflink=auto".as_ref(), template.as_os_str(), server.data.as_os_str()],
        )
        .code(0);
        if server.host.is_some() {
            server.prepend_hba(LAB_HBA);
        }
        server.start();
        server
    }

    /// Makes and starts a server by its own initdb: another system identifier.
    pub fn foreign(&self, name: &str) -> TestServer {
        self.foreign_of(name, &self.pg)
    }

    /// The same, of any version.
    pub fn foreign_of(&self, name: &str, pg: &Pg) -> TestServer {
        let mut server = self.empty(name);
        server.pg = pg.clone();
        initialise(pg, &server.data);
        server.start();
        server
    }

    /// Makes and starts a standby by a real `pg_basebackup -R`, and waits until it streams.
    #[track_caller]
    pub fn standby(&self, name: &str, upstream: &TestServer) -> TestServer {
        let server = self.empty(name);
        server.base_backup(upstream);
        server.start();
        server.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", super::SOON);
        server
    }

    /// Reserves a port and directories; the data directory does not exist yet.
    pub fn empty(&self, name: &str) -> TestServer {
        let dir = self.dir().join(name);
        let socket_dir = dir.join("sock");
        let length = socket_dir.as_os_str().len();
        assert!(length < 80, "a socket in {} would have too long a name", socket_dir.display());
        for path in [&dir, &socket_dir, &dir.join("log")] {
            std::fs::DirBuilder::new().mode(0o700).create(path).unwrap();
        }
        let port = Port::reserve();
        let mut ports = self.shared.ports.lock().unwrap();
        ports.push((port.number.to_string(), format!("[PORT:{name}]")));
        let host = self.shared.lab.as_ref().map(|lab| lab.host(ports.len()));
        let mut local =
            format!("port = {}\nunix_socket_directories = '{}'\n", port.number, socket_dir.display());
        if let Some(host) = &host {
            self.lab().own(host.number, &dir);
            local += &format!("listen_addresses = '{}'\n{LAB_SETTINGS}", host.address);
        }
        std::fs::write(dir.join("server.conf"), local).unwrap();
        TestServer {
            name: name.to_string(),
            data: dir.join("data"),
            log: dir.join("log/postgresql.log"),
            port: port.number,
            host,
            pg: self.pg.clone(),
            _port: port,
            socket_dir,
            dir,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A server, or the place for one. Stopped when dropped.
pub struct TestServer {
    /// Its name, which is also its directory's.
    pub name: String,
    /// Its own directory: data directory, log, sockets, configuration of pgbaton.
    pub dir: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// Its port.
    pub port: u16,
    /// Its host, in a lab.
    pub host: Option<Host>,
    /// Its version.
    pub pg: Pg,
    /// Where its socket is.
    pub socket_dir: PathBuf,
    /// What it logs, however it was started.
    pub log: PathBuf,
    _port: Port,
    shared: Arc<Shared>,
}

impl TestServer {
    // ---- running, and not ----------------------------------------------------------------------

    /// Starts the server and waits until it accepts connections.
    #[track_caller]
    pub fn start(&self) {
        let output = self.try_start();
        assert!(output.status.success(), "{output:?}\n{}", self.log_tail());
    }

    /// Starts the server, which may fail.
    pub fn try_start(&self) -> Output {
        let log = self.dir.join("log/start.log");
        self.pg_ctl(["-w", "-t", "60", "-l", &log.to_string_lossy(), "start"])
    }

    /// Stops the server.
    #[track_caller]
    pub fn stop(&self, mode: StopMode) {
        let mode = match mode {
            StopMode::Smart => "smart",
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        self.pg_ctl(["-w", "-t", "60", "-m", mode, "stop"]).code(0);
        processes::reap_adopted();
    }

    /// Stops and starts the server.
    #[track_caller]
    pub fn restart(&self) {
        self.stop(StopMode::Fast);
        self.start();
    }

    /// Has the server read its configuration again.
    #[track_caller]
    pub fn reload(&self) {
        self.pg_ctl(["reload"]).code(0);
    }

    /// Runs what others do while its host cannot be reached: its configuration is not found on this one, and no ssh leads to another.
    #[track_caller]
    pub fn out_of_reach<T>(&self, run: impl FnOnce() -> T) -> T {
        let elsewhere = self.dir.join("out-of-reach.toml");
        std::fs::rename(self.config(), &elsewhere).unwrap();
        let out = run();
        std::fs::rename(&elsewhere, self.config()).unwrap();
        out
    }

    /// Promotes the standby and waits until it is a primary.
    #[track_caller]
    pub fn promote(&self) {
        self.pg_ctl(["-w", "-t", "60", "promote"]).code(0);
        self.wait_until("SELECT pg_is_in_recovery()", "f", super::SOON);
    }

    /// Kills all processes of the server at once, as a power failure does. Its postmaster.pid stays.
    #[track_caller]
    pub fn kill9(&self) {
        // The postmaster first: it must not see its children die, and start others.
        let postmaster = self.postmaster();
        postmaster.into_iter().for_each(|pid| processes::send(pid, Signal::KILL));
        wait_for(&format!("{} to be dead", self.name), super::SOON, || {
            let alive = self.processes();
            alive.iter().for_each(|pid| processes::send(*pid, Signal::KILL));
            processes::reap_adopted();
            // One that is ending has left its directory already; as long as it is there, another start is refused.
            let is_there = |pid: Pid| Path::new("/proc").join(pid.as_raw_nonzero().to_string()).exists();
            alive.is_empty() && !postmaster.is_some_and(is_there)
        });
    }

    /// Freezes all processes of the server: connections are open, and silent. New ones are accepted by the kernel.
    pub fn freeze(&self) {
        // The postmaster first: it must not fork another child meanwhile.
        self.freeze_postmaster();
        wait_for(&format!("{} to be frozen", self.name), super::SOON, || {
            let running: Vec<Pid> =
                self.processes().into_iter().filter(|pid| processes::state(*pid) != Some('T')).collect();
            running.iter().for_each(|pid| processes::send(*pid, Signal::STOP));
            running.is_empty()
        });
    }

    /// Freezes the postmaster only: sessions go on, new ones hang.
    pub fn freeze_postmaster(&self) {
        let postmaster = self.postmaster().expect("a server to freeze");
        processes::send(postmaster, Signal::STOP);
        wait_for("the postmaster to be frozen", super::SOON, || processes::state(postmaster) == Some('T'));
    }

    /// Ends [`TestServer::freeze`] and [`TestServer::freeze_postmaster`].
    pub fn thaw(&self) {
        self.processes().into_iter().for_each(|pid| processes::send(pid, Signal::CONT));
    }

    /// Whether the postmaster is alive (a frozen one is).
    pub fn is_running(&self) -> bool {
        processes::reap_adopted();
        self.postmaster().is_some()
    }

    /// Returns the process id of the living postmaster.
    pub fn postmaster(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        // A server without a postmaster (`postgres --single`) writes its own number, with a minus sign.
        let pid = Pid::from_raw(text.lines().next()?.trim().parse::<i32>().ok()?.abs())?;
        self.processes().contains(&pid).then_some(pid)
    }

    /// Returns all living processes of the server.
    pub fn processes(&self) -> Vec<Pid> {
        processes::of_data_directory(&self.data)
    }

    // ---- asking --------------------------------------------------------------------------------

    /// Returns the process whose title has this word: `startup`, `walreceiver`, `archiver`.
    #[track_caller]
    pub fn process_titled(&self, word: &str) -> Pid {
        let titled = |pid: &Pid| {
            let title = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            String::from_utf8_lossy(&title).contains(&format!(": {word}"))
        };
        self.processes()
            .into_iter()
            .find(titled)
            .unwrap_or_else(|| panic!("{} has no process \"{word}\"", self.name))
    }

    /// Runs SQL as `postgres` in database `postgres`, and returns what psql prints, without the last newline.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.psql_as("postgres", "postgres", sql)
    }

    /// Runs SQL as another role or in another database.
    #[track_caller]
    pub fn psql_as(&self, user: &str, database: &str, sql: &str) -> String {
        let output = self.try_psql_as(user, database, sql);
        assert!(output.status.success(), "on {}: {output:?}", self.name);
        output.stdout.trim_end_matches('\n').to_string()
    }

    /// Runs SQL that may fail.
    pub fn try_psql_as(&self, user: &str, database: &str, sql: &str) -> Output {
        let port = self.port.to_string();
        let socket_dir = self.socket_dir.to_string_lossy();
        let args =
            ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", &socket_dir, "-p", &port, "-U", user, "-d", database];
        run_tool(&self.pg.tool("psql"), args.into_iter().chain(["-c", sql]))
    }

    /// Waits until SQL gives an answer; errors count as another answer.
    #[track_caller]
    pub fn wait_until(&self, sql: &str, expected: &str, deadline: Duration) {
        let begun = Instant::now();
        loop {
            let output = self.try_psql_as("postgres", "postgres", sql);
            if output.status.success() && output.stdout.trim_end_matches('\n') == expected {
                return;
            }
            assert!(
                begun.elapsed() < deadline,
                "{} did not answer {expected:?} within {deadline:?}: {output:?}\n{}",
                self.name,
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this standby has replayed everything that the other server has written so far.
    #[track_caller]
    pub fn wait_for_replay_of(&self, upstream: &TestServer) {
        // Not the insert position: at the start of a page it is behind the page's header, where replay gets only with
        // the next record.
        let position = upstream.psql(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END",
        );
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        self.wait_until(&sql, "t", super::SOON);
    }

    /// Returns how pgbaton reaches the server: as `repmgr`, over TCP.
    pub fn conninfo(&self) -> String {
        self.conninfo_as("repmgr", "repmgr")
    }

    /// Returns how another role reaches the server.
    pub fn conninfo_as(&self, user: &str, database: &str) -> String {
        let port = self.port;
        // Lost packets are to be detected soon.
        let patience = if self.host.is_some() { 2 } else { 5 };
        let address = self.address();
        format!("host={address} port={port} user={user} dbname={database} connect_timeout={patience}")
    }

    fn address(&self) -> &str {
        self.host.as_ref().map_or("127.0.0.1", |host| &host.address)
    }

    /// Returns how a client reaches the server that is on its host, whatever the network between hosts does.
    pub fn client_conninfo(&self) -> String {
        let at = if self.host.is_some() { &*self.socket_dir.to_string_lossy() } else { "127.0.0.1" };
        format!("host={at} port={} user=postgres dbname=postgres", self.port)
    }

    /// Returns the system identifier, also of a stopped server.
    #[track_caller]
    pub fn system_identifier(&self) -> String {
        self.control_data("Database system identifier")
    }

    /// Returns one value of pg_controldata.
    #[track_caller]
    pub fn control_data(&self, label: &str) -> String {
        let text = self.all_control_data();
        let value = text.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {label:?} in\n{text}")).trim().to_string()
    }

    /// Returns what pg_controldata prints.
    #[track_caller]
    pub fn all_control_data(&self) -> String {
        let output = run_tool(&self.pg.tool("pg_controldata"), ["-D".as_ref(), self.data.as_os_str()]);
        output.code(0);
        output.stdout
    }

    /// Returns the end of the server's log, for messages.
    pub fn log_tail(&self) -> String {
        let mut text = format!("the log of {} ends with:\n", self.name);
        for log in [self.dir.join("log/start.log"), self.log.clone()] {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines.iter().skip(lines.len().saturating_sub(15)).for_each(|line| text += &format!("  {line}\n"));
        }
        text
    }

    // ---- changing ------------------------------------------------------------------------------

    /// Appends lines to postgresql.conf. It takes a [`TestServer::reload`] or [`TestServer::restart`].
    pub fn append_conf(&self, lines: &str) {
        append(&self.data.join("postgresql.conf"), lines);
    }

    /// Appends lines to pg_hba.conf. What initdb has written trusts all users on this machine and comes first: see
    /// [`TestServer::prepend_hba`] and [`TestServer::set_hba`].
    pub fn append_hba(&self, lines: &str) {
        append(&self.data.join("pg_hba.conf"), lines);
    }

    /// Puts lines at the beginning of pg_hba.conf, where they count. Local connections of `postgres` are the harness's own.
    pub fn prepend_hba(&self, lines: &str) {
        let path = self.data.join("pg_hba.conf");
        let old = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("local all postgres trust\n{lines}\n{old}")).unwrap();
    }

    /// Replaces pg_hba.conf, except for the harness's own way in.
    pub fn set_hba(&self, lines: &str) {
        std::fs::write(self.data.join("pg_hba.conf"), format!("local all postgres trust\n{lines}\n"))
            .unwrap();
    }

    /// Fills the data directory with a base backup of another server, as its standby.
    #[track_caller]
    pub fn base_backup(&self, upstream: &TestServer) {
        let (address, port, name) = (upstream.address(), upstream.port, &self.name);
        let mut source = format!("host={address} port={port} user=repmgr application_name={name}");
        if self.host.is_some() {
            // Kept as primary_conninfo: without, a standby would try for two minutes before it tries again.
            source += " connect_timeout=2";
        }
        let data = self.data.to_string_lossy();
        let args = ["-d", &source, "-D", &data, "-R", "-X", "stream", "-c", "fast", "--no-sync"];
        self.run_tool("pg_basebackup", args).code(0);
    }

    /// Writes `pgbaton.toml` next to the data directory, with more lines if the test has any, and returns its path.
    pub fn node_config(&self, node_id: i32, more: &str) -> PathBuf {
        let path = self.config();
        let text = format!(
            "node_id = {node_id}\nnode_name = \"{}\"\nconninfo = \"{}\"\ndata_directory = \"{}\"\n\
             pg_bindir = \"{}\"\nstate_directory = \"{}\"\n{more}\n",
            self.name,
            self.conninfo(),
            self.data.display(),
            self.pg.bindir.display(),
            self.dir.join("state").display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns where [`TestServer::node_config`] writes.
    pub fn config(&self) -> PathBuf {
        self.dir.join("pgbaton.toml")
    }

    /// Changes lines of its configuration for one run.
    pub fn with_configuration<T>(&self, lines: &str, run: impl FnOnce() -> T) -> T {
        let file = self.config();
        let before = std::fs::read_to_string(&file).unwrap();
        let names: Vec<&str> = lines.lines().filter_map(|line| line.split(' ').next()).collect();
        let kept = before.lines().filter(|line| !names.iter().any(|name| line.starts_with(name)));
        let text: Vec<&str> = kept.chain(lines.lines()).collect();
        std::fs::write(&file, text.join("\n") + "\n").unwrap();
        let out = run();
        std::fs::write(&file, before).unwrap();
        out
    }

    /// A line of configuration by which the stop of this server freezes a process first: the WAL receiver of the candidate for instance, which
    /// then has everything up to there and nothing of what comes.
    pub fn stop_that_freezes(&self, pid: rustix::process::Pid) -> String {
        let (pg_ctl, data) = (self.pg.tool("pg_ctl"), self.data.display().to_string());
        let pid = pid.as_raw_nonzero();
        format!("service_stop_command = \"kill -STOP {pid}; {} -D {data} -m fast -W stop\"", pg_ctl.display())
    }

    /// Returns the journal of its newest operation; nothing where there is none.
    pub fn journal(&self) -> String {
        let files = self.dir.join("state/operations").read_dir().into_iter().flatten().flatten();
        let newest = files.map(|entry| entry.path()).max();
        newest.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// Waits until the journal of its newest operation has a mark of this step.
    #[track_caller]
    pub fn wait_for_step(&self, step: &str) {
        let text = format!("\"step\":\"{step}\"");
        wait_for(step, super::SOON, || self.journal().contains(&text));
    }

    /// Prepares a run of pgbaton on this node: with its configuration file, if the test has written one.
    pub fn pgbaton<I: AsRef<str>>(&self, args: impl IntoIterator<Item = I>) -> Pgbaton {
        let mut program = Pgbaton::new(&self.shared.dir.path);
        if self.config().exists() {
            program = program.arg("-f").arg(self.config().to_string_lossy());
        }
        program = program.args(args);
        if let Some(host) = &self.host {
            program = program.on(host);
        }
        program = program.redact(&self.pg.bindir.to_string_lossy(), "[BINDIR]");
        let ports = self.shared.ports.lock().unwrap();
        ports.iter().fold(program, |program, (port, shown)| program.redact(port, shown))
    }

    #[track_caller]
    fn pg_ctl<const N: usize>(&self, args: [&str; N]) -> Output {
        let data = self.data.to_string_lossy();
        self.run_tool("pg_ctl", ["-s", "-D", &data].into_iter().chain(args))
    }

    /// Runs one of PostgreSQL's programs on its host.
    #[track_caller]
    fn run_tool<'a>(&self, tool: &str, args: impl IntoIterator<Item = &'a str>) -> Output {
        let mut command = clean_command(&self.pg.tool(tool));
        command.args(args);
        if let Some(host) = &self.host {
            command = host.run(&command);
        }
        run_command(command)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() && self.data.exists() {
            eprintln!("{}", self.log_tail());
        }
        processes::end_all_below(&self.dir);
    }
}

pub(super) fn append(path: &Path, lines: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{lines}").unwrap();
}

/// Returns the prepared data directory of a version, made once per user of the machine: initdb takes seconds, a copy none.
fn template(pg: &Pg) -> PathBuf {
    // Another minor version or other settings make another one.
    let mut hasher = DefaultHasher::new();
    (SETTINGS, ROLES, run_tool(&pg.tool("initdb"), ["--version"]).stdout).hash(&mut hasher);
    let name = format!("{}-{:016x}", pg.major, hasher.finish());
    let ready = base().join("template").join(&name).join("data");
    let _one_at_a_time = Claim::wait(&format!("template-{name}"));
    if !ready.exists() {
        // Next to it under another name until it is complete, so that a killed run leaves nothing that looks ready.
        let unfinished = RunDirectory::make();
        initialise(pg, &unfinished.path.join("data"));
        std::fs::create_dir_all(ready.parent().unwrap()).unwrap();
        std::fs::rename(unfinished.path.join("data"), &ready).unwrap();
    }
    ready
}

/// Makes a data directory with the roles and databases of the tests; the server is stopped afterwards.
fn initialise(pg: &Pg, data: &Path) {
    let directory = data.to_string_lossy();
    let args = ["-D", &directory, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
    run_tool(&pg.tool("initdb"), args).code(0);
    append(&data.join("postgresql.conf"), SETTINGS);
    let dir = data.parent().unwrap();
    let log = dir.join("initialise.log");
    // Through a socket only: at this point there may be no port.
    let options = format!("-k {} -c listen_addresses='' -c logging_collector=off", dir.display());
    let port = std::fs::read_to_string(dir.join("server.conf")).ok();
    let port =
        port.as_deref().and_then(|text| text.lines().next()?.strip_prefix("port = ")).unwrap_or("5432");
    let log = log.to_string_lossy();
    run_tool(&pg.tool("pg_ctl"), ["-s", "-w", "-D", &directory, "-l", &log, "-o", &options, "start"]).code(0);
    let socket_dir = dir.to_string_lossy();
    let statements = ROLES.lines().filter(|line| !line.is_empty()).flat_map(|sql| ["-c", sql]);
    let args =
        ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", &socket_dir, "-p", port, "-U", "postgres", "-d", "postgres"];
    run_tool(&pg.tool("psql"), args.into_iter().chain(statements)).code(0);
    run_tool(&pg.tool("pg_ctl"), ["-s", "-w", "-D", &directory, "-m", "fast", "stop"]).code(0);
}
