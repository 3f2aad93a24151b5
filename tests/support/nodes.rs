//! Nodes: servers that are configured for pgbaton and registered, the documents that it answers with, and the real repmgr
//! together with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::server::append;
use super::{Output, Pg, SOON, TestCluster, TestServer, is_set, lacking, postgres, run_tool, skipped};

/// Writes a configuration file; [`TestServer::node_config`] with a name and conninfo of the test's choice.
pub fn configure(server: &TestServer, node_id: i32, name: &str, conninfo: &str, more: &str) {
    // What JSON quotes, TOML reads.
    let quote = |text: &str| serde_json::to_string(text).unwrap();
    let text = format!(
        "node_id = {node_id}\nnode_name = {}\nconninfo = {}\ndata_directory = {}\npg_bindir = {}\n\
         state_directory = {}\n{more}\n",
        quote(name),
        quote(conninfo),
        quote(&server.data.to_string_lossy()),
        quote(&server.pg.bindir.to_string_lossy()),
        quote(&server.dir.join("state").to_string_lossy()),
    );
    std::fs::write(server.config(), text).unwrap();
}

/// A registered primary.
pub fn registered(cluster: &TestCluster, name: &str, node_id: i32) -> TestServer {
    let server = cluster.primary(name);
    server.node_config(node_id, "");
    server.pgbaton(["primary", "register"]).run().code(0);
    server
}

/// A registered standby.
pub fn registered_standby(
    cluster: &TestCluster,
    name: &str,
    node_id: i32,
    upstream: &TestServer,
) -> TestServer {
    let server = cluster.standby(name, upstream);
    server.node_config(node_id, "");
    server.pgbaton(["standby", "register"]).run().code(0);
    server
}

/// Makes a standby with its slot, and waits until it streams.
#[track_caller]
pub fn attach(server: &TestServer, id: usize, upstream: &TestServer) {
    upstream.psql(&format!("SELECT pg_create_physical_replication_slot('repmgr_slot_{id}', true)"));
    server.base_backup(upstream);
    // The last one counts: the backup of a standby has that standby's slot in it.
    append(&server.data.join("postgresql.auto.conf"), &format!("primary_slot_name = 'repmgr_slot_{id}'"));
    server.start();
    server.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
}

/// A registered primary and standbys.
pub struct Nodes {
    /// The servers, by node id.
    pub servers: Vec<TestServer>,
    /// Where they live; dropped after them.
    pub cluster: TestCluster,
}

impl Nodes {
    /// Makes node 1, the primary, and so many standbys, each with its slot.
    pub fn new(pg: &Pg, standbys: usize) -> Self {
        Self::of(TestCluster::new(pg), standbys)
    }

    /// The same with each node on a host of its own, with its own disk; None, said so, where the machine cannot have them.
    pub fn in_lab(pg: &Pg, standbys: usize) -> Option<Self> {
        Some(Self::of(TestCluster::in_lab(pg, standbys + 1)?, standbys))
    }

    fn of(cluster: TestCluster, standbys: usize) -> Self {
        let servers = vec![registered(&cluster, "node1", 1)];
        let mut nodes = Self { servers, cluster };
        (0..standbys).for_each(|_| nodes.add(1));
        nodes
    }

    /// Adds a standby of one of them, with its slot.
    pub fn add(&mut self, upstream: usize) {
        let id = self.servers.len() + 1;
        let upstream = self.node(upstream);
        let server = self.cluster.empty(&format!("node{id}"));
        attach(&server, id, upstream);
        server.node_config(i32::try_from(id).unwrap(), "");
        server.pgbaton(["standby", "register"]).run().code(0);
        self.servers.push(server);
    }

    /// Adds lines to the configuration of a node.
    pub fn configure(&self, id: usize, lines: &str) {
        self.node(id).node_config(i32::try_from(id).unwrap(), lines);
    }

    /// Returns a node by its id.
    pub fn node(&self, id: usize) -> &TestServer {
        &self.servers[id - 1]
    }

    /// Which of the servers that answer accept writes. One that is being stopped answers until it does not.
    pub fn primaries(&self) -> Vec<&str> {
        let accepts_writes = |server: &&TestServer| {
            let asked = |server: &TestServer| {
                server.try_psql_as("postgres", "postgres", "SELECT pg_is_in_recovery()")
            };
            server.is_running() && asked(server).stdout == "f\n"
        };
        self.servers.iter().filter(accepts_writes).map(|server| server.name.as_str()).collect()
    }
}

/// Returns the steps of a plan, as a dry run shows them.
#[track_caller]
pub fn planned(dry: &Output) -> Vec<String> {
    titles(&dry.json()["data"]["plan"]["steps"], |_| true)
}

/// Returns the steps that an operation has carried out on its way forward.
#[track_caller]
pub fn executed(done: &Output) -> Vec<String> {
    titles(&done.json()["data"]["steps"], |step| step["stage"] == "forward")
}

#[track_caller]
fn titles(steps: &Value, counts: impl Fn(&Value) -> bool) -> Vec<String> {
    let steps = steps.as_array().unwrap().iter().filter(|step| counts(step));
    steps.map(|step| step["title"].as_str().unwrap().to_string()).collect()
}

/// Runs SQL in the database of the metadata, as pgbaton's role.
#[track_caller]
pub fn metadata(server: &TestServer, sql: &str) -> String {
    server.psql_as("repmgr", "repmgr", sql)
}

/// Returns the JSON document that was printed, which has the fields that every document has and texts that keep the rules.
#[track_caller]
pub fn envelope(output: &Output, command: &str, exit: i32, changed: bool) -> Value {
    let json = output.json();
    assert_eq!(json["command"], command, "{output:?}");
    assert_eq!(json["exit_code"], exit, "{output:?}");
    assert_eq!(json["ok"], exit == 0, "{output:?}");
    assert_eq!(json["changed"], changed, "{output:?}");
    assert_eq!(json["format"], 1);
    // 25: the command did what it was to do, and found issues.
    assert_eq!(json["error"].is_null(), exit == 0 || exit == 25, "{output:?}");
    assert!(json["data"].is_object() && json["issues"].is_array(), "{output:?}");
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
    if let Some(message) = json["error"]["message"].as_str() {
        assert!(!message.ends_with('.'), "{message}");
        for part in ["detail", "hint"] {
            let Some(text) = json["error"][part].as_str() else { continue };
            // What is to be typed may come last.
            let typed = text.contains('\n') || (part == "hint" && text.contains(": "));
            assert!(text.ends_with(['.', '?', ';', ':']) || typed, "{part}: {text}");
        }
    }
    json
}

/// The machine's own PostgreSQL 15, where the repmgr package is installed for it; says so if it is not.
pub fn with_real_repmgr() -> Option<Pg> {
    let control = Path::new("/usr/share/postgresql/15/extension/repmgr.control");
    packaged("postgresql-15-repmgr", "/usr/lib/postgresql/15/bin/repmgr").filter(|_| control.exists())
}

/// The versions that the main tests with the real repmgr run with: [`with_real_repmgr`] with repmgr 5.3; in a slow run also 17 and 18,
/// with 5.5.
pub fn versions_with_repmgr() -> Vec<Pg> {
    let mut found: Vec<Pg> = with_real_repmgr().into_iter().collect();
    if is_set("PGBATON_TEST_SLOW") {
        for pg in [17, 18].into_iter().filter_map(postgres) {
            if pg.tool("repmgr").exists() && pg.tool("repmgrd").exists() {
                found.push(pg);
            } else {
                lacking(&format!(
                    "PostgreSQL {} lacks repmgr (tests/pg-versions.sh -r installs it)",
                    pg.major
                ));
            }
        }
    }
    found
}

/// The machine's own PostgreSQL 15, where a package is installed that has this program; says so if it is not.
pub fn packaged(package: &str, program: &str) -> Option<Pg> {
    let bindir = PathBuf::from("/usr/lib/postgresql/15/bin");
    if Path::new(program).exists() && bindir.join("initdb").exists() {
        return Some(Pg { major: 15, bindir });
    }
    skipped(&format!("package {package} is not installed for PostgreSQL 15"));
    None
}

/// Writes a program.
pub fn script(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_path_buf()
}

/// Writes a repmgr.conf that the real repmgr and pgbaton both read. How full the disk of the machine is makes no difference.
pub fn repmgr_conf(server: &TestServer, node_id: i32) -> PathBuf {
    let path = server.dir.join("repmgr.conf");
    let text = format!(
        "node_id={node_id}\nnode_name='{}'\nconninfo='{}'\ndata_directory='{}'\npg_bindir='{}'\n\
         use_replication_slots=true\nlog_level=NOTICE\nfree_space_warning=1\nfree_space_critical=0\n",
        server.name,
        server.conninfo(),
        server.data.display(),
        server.pg.bindir.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs the real repmgr with the configuration that [`repmgr_conf`] has written.
pub fn real_repmgr(server: &TestServer, args: &[&str]) -> Output {
    let conf = server.dir.join("repmgr.conf").to_string_lossy().into_owned();
    run_tool(&server.pg.tool("repmgr"), ["-f", &conf].into_iter().chain(args.iter().copied()))
}
