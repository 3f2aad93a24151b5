//! `node prepare` on real servers: from nothing to a server that can be in a cluster, and everything that stands in the way.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    self, Fingerprint, Output, Pg, Pgbaton, Running, SOON, StopMode, TestCluster, TestServer, certificates,
    clean_command, configure, envelope, made_debian, majors, planned, postgres, run_tool, running, wait_for,
};

const LONG: Duration = Duration::from_secs(180);

/// The role and the database of these tests: they do not exist yet.
const NEW: &str = "keeper";

/// A server that knows nothing of pgbaton, with a configuration that names a role and a database that it has not.
fn bare(cluster: &TestCluster, more: &str) -> TestServer {
    let server = cluster.primary("node1");
    configure(&server, 1, "node1", &server.conninfo_as(NEW, NEW), more);
    server
}

/// Rejects connections over TCP except by the rules given.
fn closed(server: &TestServer, rules: &str) {
    server.set_hba(rules);
    server.reload();
    let loaded = "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL";
    assert_eq!(server.psql(loaded), "0");
}

fn pgpass(cluster: &TestCluster) -> PathBuf {
    cluster.dir().join("home/.pgpass")
}

fn hba(server: &TestServer) -> String {
    std::fs::read_to_string(server.data.join("pg_hba.conf")).unwrap()
}

#[track_caller]
fn prepare(server: &TestServer, args: &[&str]) -> Output {
    server.pgbaton(["node", "prepare"]).args(args.iter().copied()).run()
}

#[track_caller]
fn requirement<'a>(json: &'a Value, name: &str) -> &'a Value {
    let all = json["data"]["requirements"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {json:#}"))
}

fn not_ok(json: &Value) -> Vec<String> {
    let all = json["data"]["requirements"].as_array().unwrap();
    all.iter()
        .filter(|one| one["status"] != "ok")
        .map(|one| one["name"].as_str().unwrap().to_string())
        .collect()
}

/// What our role may do on the server, without having been a superuser for a moment.
const RIGHTS: &str = "SELECT rolsuper, rolcanlogin, rolreplication, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = 'keeper'";

#[test]
fn from_nothing_to_a_primary() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    let before = Fingerprint::of(&[&node1], &[]);

    let output = prepare(&node1, &["--json"]);
    let json = envelope(&output, "node prepare", 25, false);
    let missing =
        ["role", "pg_monitor", "pg_checkpoint", "alter_system", "database", "execute", "execute_rewind"];
    assert_eq!(not_ok(&json), missing);
    let role = requirement(&json, "role");
    assert_eq!(role["status"], "missing");
    assert_eq!(role["how"], "CREATE ROLE \"keeper\" LOGIN REPLICATION;");
    assert_eq!(role["for"], serde_json::json!(["primary", "standby", "rewind_target", "rewind_source"]));
    assert_eq!(requirement(&json, "wal_log_hints")["has"], "on");
    assert_eq!(requirement(&json, "execute_rewind")["for"], serde_json::json!(["rewind_source"]));

    let table = prepare(&node1, &[]);
    table.code(25).says("7 requirements are not met").says("--apply --dry-run");
    assert!(table.stdout.contains(" Requirement ") && table.stdout.contains(" missing"), "{table:?}");

    let printed = prepare(&node1, &["--print"]);
    printed.code(0);
    assert!(printed.stdout.contains("\nCREATE DATABASE \"keeper\" OWNER \"keeper\";\n"), "{printed:?}");
    assert!(printed.stdout.contains("\\connect \"keeper\"\nGRANT EXECUTE"), "{printed:?}");

    let dry = prepare(&node1, &["--apply", "--dry-run", "--json"]);
    dry.code(0);
    assert_eq!(planned(&dry).len(), 3, "{dry:?}");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));

    let done = prepare(&node1, &["--apply", "--json"]);
    envelope(&done, "node prepare", 0, true);
    assert_eq!(node1.psql(RIGHTS), "f|t|t|f|f|f");
    let again = prepare(&node1, &["--apply", "--json"]);
    envelope(&again, "node prepare", 0, false);
    prepare(&node1, &["--apply"]).code(0).says("already prepared; nothing was changed");
    envelope(&prepare(&node1, &["--json"]), "node prepare", 0, false);
    assert_eq!(
        node1.psql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'keeper'"),
        "keeper"
    );
    // No line was needed: all users on this machine are trusted here. So none was written.
    assert!(!hba(&node1).contains("pgbaton") && !pgpass(&cluster).exists());
    node1.pgbaton(["primary", "register"]).run().code(0);
    // What was not granted.
    assert_eq!(
        node1.psql(
            "SELECT string_agg(g.rolname, ',' ORDER BY g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = 'keeper'"
        ),
        "pg_checkpoint,pg_monitor"
    );
}

#[test]
fn a_password_is_generated_and_never_visible() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    node1.psql("ALTER SYSTEM SET log_statement = 'all'");
    node1.reload();

    let refused = prepare(&node1, &["--apply"]);
    refused
        .code(1)
        .says("the password of role \"keeper\" is unknown")
        .says("--generate-password")
        .says("Nothing was changed");
    assert_eq!(node1.psql(RIGHTS), "");

    let made = prepare(
        &node1,
        &["--apply", "--generate-password", "--node", "10.1.2.3", "--node", "[fd00::2]:5433"],
    );
    made.code(0).says("node \"node1\" is prepared");
    let port = node1.port;
    let file = std::fs::read_to_string(pgpass(&cluster)).unwrap();
    assert_eq!(std::fs::metadata(pgpass(&cluster)).unwrap().permissions().mode() & 0o777, 0o600);
    let places: Vec<String> = file.lines().map(|line| line.rsplit_once(':').unwrap().0.to_string()).collect();
    assert_eq!(
        places,
        [
            format!("127.0.0.1:{port}:keeper:keeper"),
            format!("127.0.0.1:{port}:replication:keeper"),
            format!("10.1.2.3:{port}:keeper:keeper"),
            format!("10.1.2.3:{port}:replication:keeper"),
            r"fd00\:\:2:5433:keeper:keeper".to_string(),
            r"fd00\:\:2:5433:replication:keeper".to_string(),
        ]
    );
    let password = file.lines().next().unwrap().rsplit_once(':').unwrap().1.to_string();
    assert_eq!(password.len(), 32);
    let stored = node1.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'keeper'");
    assert!(stored.starts_with("SCRAM-SHA-256$"), "{stored}");

    let text = hba(&node1);
    for line in [
        "host  keeper          keeper          127.0.0.1/32         scram-sha-256  # node1",
        "host  replication     keeper          10.1.2.3/32          scram-sha-256  # 10.1.2.3",
        "host  keeper          keeper          fd00::2/128          scram-sha-256  # fd00::2",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // As the role, by the file, over TCP.
    node1.pgbaton(["primary", "register"]).run().code(0);
    // The password is in that file and nowhere else below the cluster's directory.
    for seen in [&made.stdout, &made.stderr, &std::fs::read_to_string(&node1.log).unwrap()] {
        assert!(!seen.contains(&password));
    }
    let found =
        support::run_tool(Path::new("/bin/grep"), ["-rlaF", &password, &cluster.dir().to_string_lossy()]);
    assert_eq!(found.stdout.trim(), pgpass(&cluster).to_string_lossy());
    let found = support::run_tool(
        Path::new("/bin/grep"),
        ["-rlaF", &stored, &node1.dir.join("state").to_string_lossy()],
    );
    assert_eq!(found.stdout, "");

    let kept = std::fs::read_to_string(pgpass(&cluster)).unwrap();
    let again = prepare(&node1, &["--apply", "--generate-password", "--json"]);
    envelope(&again, "node prepare", 0, false);
    assert_eq!(std::fs::read_to_string(pgpass(&cluster)).unwrap(), kept);
    // Another password on this host does not change that of the cluster.
    let other = node1.pgbaton(["node", "prepare", "--apply"]).env("PGPASSWORD", "another").run();
    other.code(1).says("differs from the one found on this host");
    assert_eq!(node1.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'keeper'"), stored);
}

#[test]
fn a_given_password_is_used_and_a_file_keeps_its_lines() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    std::fs::write(pgpass(&cluster), "# mine\nelsewhere:*:*:me:mine").unwrap();
    std::fs::set_permissions(pgpass(&cluster), PermissionsExt::from_mode(0o644)).unwrap();
    let given = |args: &[&str]| {
        let args = ["node", "prepare"].iter().chain(args).copied();
        node1.pgbaton(args).env("PGPASSWORD", "it's a secret:\\").run()
    };
    let dry = given(&["--apply", "--dry-run"]);
    dry.code(0);
    assert!(dry.stdout.contains("+127.0.0.1:") && dry.stdout.contains(":keeper:********"), "{dry:?}");
    assert!(
        !dry.stdout.contains("secret") && !dry.stdout.contains("mine:") && !dry.stdout.contains(":mine"),
        "{dry:?}"
    );
    given(&["--apply"]).code(0);
    let text = std::fs::read_to_string(pgpass(&cluster)).unwrap();
    assert!(text.starts_with("# mine\nelsewhere:*:*:me:mine\n127.0.0.1:"), "{text}");
    assert_eq!(std::fs::metadata(pgpass(&cluster)).unwrap().permissions().mode() & 0o777, 0o600);
    // libpq reads what was written.
    node1.pgbaton(["primary", "register"]).run().code(0);

    // A line that is there and wrong is named and not changed.
    std::fs::write(pgpass(&cluster), "*:*:*:keeper:wrong\n").unwrap();
    let wrong = given(&["--apply"]);
    wrong.code(1).says("line 1 of").says("has another password");
    assert_eq!(std::fs::read_to_string(pgpass(&cluster)).unwrap(), "*:*:*:keeper:wrong\n");
}

#[test]
fn a_password_is_requested_on_a_terminal() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    prepare(&node1, &["--apply"]).code(1).says("keeper").says("PGPASSWORD");
    let command =
        format!("{} -f {} node prepare --apply", env!("CARGO_BIN_EXE_pgbaton"), node1.config().display());
    // A terminal that is a program's.
    let mut script = clean_command(Path::new("/usr/bin/timeout"));
    script
        .args(["60", "/usr/bin/script", "-qec", &command, "/dev/null"])
        .env("HOME", cluster.dir().join("home"));
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = script.spawn().unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let own = node1.config().display().to_string();
    let mut screen = terminal.stdout.take().unwrap();
    let mut shown = String::new();
    for question in ["Password of role \"keeper\": ", "Confirm password: "] {
        let mut part = [0; 1024];
        while !shown.ends_with(question) {
            let length = screen.read(&mut part).unwrap();
            assert_ne!(length, 0, "it has ended: {shown}");
            shown.push_str(&String::from_utf8_lossy(&part[..length]));
        }
        // What is typed while it would be echoed is thrown away.
        wait_for("a question without echo", SOON, || {
            running("pgbaton", &own).iter().any(|pid| {
                let tty = format!("/proc/{}/fd/0", pid.as_raw_nonzero());
                run_tool(Path::new("/usr/bin/stty"), ["-F", &tty, "-a"]).stdout.contains(" -echo ")
            })
        });
        keys.write_all(b"typed: by hand\r").unwrap();
    }
    screen.read_to_string(&mut shown).unwrap();
    assert!(terminal.wait().unwrap().success(), "{shown}");
    assert!(!shown.contains("typed"), "{shown}");
    let text = std::fs::read_to_string(pgpass(&cluster)).unwrap();
    assert!(text.contains(":keeper:typed\\: by hand\n"), "{text}");
    node1.pgbaton(["primary", "register"]).run().code(0);
}

#[test]
fn a_conninfo_that_requires_tls_gets_an_entry_for_tls_only() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let own = node1.conninfo_as(NEW, NEW);
    configure(&node1, 1, "node1", &format!("{own} sslmode=require"), "");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    let none = prepare(&node1, &["--apply", "--generate-password"]);
    none.code(1).says("TLS is off on the server").says("ssl_cert_file");
    assert!(!hba(&node1).contains("pgbaton"));
    let dir = cluster.dir().join("tls");
    certificates(&dir, "none");
    node1.append_conf(&format!(
        "ssl = on\nssl_cert_file = '{0}/server.crt'\nssl_key_file = '{0}/server.key'",
        dir.display()
    ));
    node1.restart();
    let dry = prepare(&node1, &["--apply", "--generate-password", "--dry-run", "--node", "127.0.0.1:9"]);
    dry.code(0);
    assert!(dry.stdout.contains("+hostssl keeper") && !dry.stdout.contains("+host "), "{dry:?}");
    prepare(&node1, &["--apply", "--generate-password"]).code(0);
    node1.pgbaton(["primary", "register"]).run().code(0);
    let plain = format!("{own} sslmode=disable passfile={}", pgpass(&cluster).display());
    let plain = run_tool(&pg.tool("psql"), ["-Xc", "SELECT 1", &plain]);
    assert!(!plain.status.success() && plain.stderr.contains("no encryption"), "{plain:?}");
    envelope(&prepare(&node1, &["--apply", "--json"]), "node prepare", 0, false);
}

/// Settings that no standby could live with, in a server of any version.
fn poor(server: &TestServer) {
    server.append_conf("wal_level = minimal\nmax_wal_senders = 0\nmax_replication_slots = 20\nhot_standby = off\nwal_log_hints = off\nfull_page_writes = off");
    server.restart();
}

#[test]
fn settings_are_raised_and_never_lowered() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "restore_command = 'cp /nowhere/%f %p'\n");
    poor(&node1);
    let done = prepare(&node1, &["--apply", "--json", "--archive-command", "test -n '%f'"]);
    let json = envelope(&done, "node prepare", 0, true);
    let waits = ["wal_level", "max_wal_senders", "hot_standby", "wal_log_hints", "archive_mode"];
    assert_eq!(json["data"]["pending_restart"], serde_json::json!(waits));
    assert!(
        json["issues"].as_array().unwrap().iter().any(|issue| issue["code"] == "restart_needed"),
        "{json:#}"
    );
    // Nothing was restarted; a reload was enough for the rest.
    assert_eq!(node1.psql("SHOW wal_level"), "minimal");
    node1.wait_until("SHOW full_page_writes", "on", SOON);
    let archive = ["--archive-command", "test -n '%f'"];
    let json = envelope(&prepare(&node1, &[&["--json"], &archive[..]].concat()), "node prepare", 25, false);
    assert_eq!(not_ok(&json), waits);
    assert_eq!(requirement(&json, "wal_level")["status"], "restart");
    envelope(&prepare(&node1, &[&["--apply", "--json"], &archive[..]].concat()), "node prepare", 0, false);
    node1.restart();
    let json = envelope(&prepare(&node1, &[&["--json"], &archive[..]].concat()), "node prepare", 0, false);
    assert_eq!(requirement(&json, "max_replication_slots")["has"], "20");
    assert_eq!(node1.psql("SHOW max_replication_slots"), "20");
    assert_eq!(node1.psql("SHOW max_wal_senders"), "10");
    assert_eq!(node1.psql("SHOW archive_command"), "test -n '%f'");
    assert_eq!(node1.psql("SHOW restore_command"), "cp /nowhere/%f %p");
}

/// What the command line of the server says cannot be changed by any file.
#[test]
fn a_setting_of_the_command_line_cannot_be_changed() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    node1.stop(StopMode::Fast);
    let data = node1.data.to_string_lossy();
    let log = node1.dir.join("log/start.log");
    let args =
        ["-s", "-w", "-D", &data, "-l", &log.to_string_lossy(), "-o", "-c full_page_writes=off", "start"];
    support::run_tool(&pg.tool("pg_ctl"), args).code(0);
    let output = prepare(&node1, &["--apply", "--json"]);
    let json = envelope(&output, "node prepare", 25, true);
    let line = requirement(&json, "full_page_writes");
    assert_eq!(line["status"], "cannot");
    assert!(line["how"].as_str().unwrap().contains("command line"), "{line}");
    assert_eq!(node1.psql(RIGHTS), "f|t|t|f|f|f");
}

/// Without ALTER SYSTEM: a file of its own that postgresql.conf includes.
fn without_alter_system(node1: &TestServer) {
    let conf = node1.data.join("postgresql.conf");
    let old = std::fs::read_to_string(&conf).unwrap();
    let dry = prepare(node1, &["--apply", "--dry-run"]);
    dry.code(0);
    for text in ["+++ ", "+wal_level = 'replica'", "+include_if_exists = 'pgbaton.conf'"] {
        assert!(dry.stdout.contains(text), "{text}: {dry:?}");
    }
    let done = prepare(node1, &["--apply"]);
    done.code(0).says("has to be restarted").says("wal_level");
    let new = std::fs::read_to_string(&conf).unwrap();
    assert!(new.starts_with(&old) && new.ends_with("include_if_exists = 'pgbaton.conf'\n"), "{new}");
    let json = envelope(&prepare(node1, &["--apply", "--json"]), "node prepare", 0, false);
    assert_eq!(requirement(&json, "wal_level")["status"], "restart");
    node1.restart();
    envelope(&prepare(node1, &["--json"]), "node prepare", 0, false);
    assert_eq!(node1.psql("SHOW wal_level"), "replica");
    // A later line wins: it is found, and named.
    node1.append_conf("full_page_writes = off");
    node1.reload();
    let beaten = prepare(node1, &["--apply"]);
    assert_ne!(beaten.status.code(), Some(0));
    beaten.says("no later line of the configuration sets full_page_writes").says("pg_file_settings");
}

#[test]
fn without_alter_system_settings_go_into_a_file_that_is_included() {
    if let Some(pg) = postgres(17) {
        let cluster = TestCluster::new(&pg);
        let node1 = bare(&cluster, "");
        node1.append_conf("allow_alter_system = off");
        poor(&node1);
        without_alter_system(&node1);
    }
    if let Some(pg) = postgres(15) {
        let cluster = TestCluster::new(&pg);
        let node1 = bare(&cluster, "");
        poor(&node1);
        std::fs::set_permissions(node1.data.join("postgresql.auto.conf"), PermissionsExt::from_mode(0o400))
            .unwrap();
        without_alter_system(&node1);
    }
}

#[test]
fn errors_in_pg_hba_conf_are_named_and_nothing_is_changed() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    node1.append_hba("host all all 10.0.0.0/99 trust");
    let before = Fingerprint::of(&[&node1], &[]);
    let refused = prepare(&node1, &["--apply", "--generate-password"]);
    refused.code(1).says("line 3 of").says("has an error").says("Nothing was changed");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));
    prepare(&node1, &[]).code(25).says("line 3 of");
    // Marks that are no pair: what to replace cannot be determined.
    closed(&node1, "host all postgres 127.0.0.1/32 trust\n# pgbaton: begin");
    prepare(&node1, &["--apply", "--generate-password"]).code(1).says("are no pair (lines 3)");
}

#[test]
fn lines_that_the_server_rejects_are_undone() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    let old = hba(&node1);
    let failed = prepare(&node1, &["--apply", "--auth-method", "nonsense"]);
    failed
        .code(5)
        .says("has no errors")
        .says("--auth-method")
        .says("Role \"keeper\" keeps its new privileges.");
    failed.says("All other changes have been undone.");
    assert_eq!(hba(&node1), old);
    // Carried on, in another way.
    prepare(&node1, &["--apply", "--auth-method", "trust"]).code(0);
    assert!(hba(&node1).contains("127.0.0.1/32         trust  # node1"), "{}", hba(&node1));
    node1.pgbaton(["primary", "register"]).run().code(0);
}

#[test]
fn a_rule_above_the_block_is_reported_and_the_block_moved_only_on_request() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    // With the line ends of another world.
    closed(&node1, "host all postgres 127.0.0.1/32 trust\r\nhost all all 127.0.0.1/32 reject\r");
    let before = hba(&node1);
    let refused = prepare(&node1, &["--apply", "--generate-password"]);
    refused
        .code(1)
        .says("line 3 of")
        .says("matches exactly connections that pgbaton needs, by \"reject\"")
        .says("--force");
    assert_eq!(hba(&node1), before);
    prepare(&node1, &["--apply", "--generate-password", "--force"]).code(0);
    let text = hba(&node1);
    assert!(text.contains("# pgbaton: begin\nhost") || text.starts_with("# pgbaton: begin"), "{text}");
    let below = format!(
        "local all postgres trust\r\nhost all all 127.0.0.1/32 reject\r\n{}",
        text.replace("\r\n", "\n").replace('\n', "\r\n")
    );
    std::fs::write(node1.data.join("pg_hba.conf"), &below).unwrap();
    node1.reload();
    let refused = prepare(&node1, &["--apply"]);
    refused
        .code(1)
        .says("line 2 of")
        .says("takes precedence over the lines of pgbaton, by \"reject\"")
        .says("--force");
    assert_eq!(hba(&node1), below);
    prepare(&node1, &["--apply", "--force"]).code(0);
    let moved = hba(&node1);
    assert!(moved.starts_with("# pgbaton: begin\r\n"), "{moved}");
    assert!(moved.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "{moved:?}");
    assert_eq!(moved.matches("pgbaton: begin").count(), 1);
    node1.pgbaton(["primary", "register"]).run().code(0);
    envelope(&prepare(&node1, &["--apply", "--json"]), "node prepare", 0, false);
}

/// Files that include others, from PostgreSQL 16 on; and a file that is one of those.
#[test]
fn included_rules_are_understood() {
    let Some(pg) = postgres(17) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    std::fs::write(
        node1.data.join("first.conf"),
        "host all postgres 127.0.0.1/32 trust\nhost /^kee /per$ 127.0.0.1/32 reject\n",
    )
    .unwrap();
    closed(&node1, "include first.conf\nhost replication all samehost scram-sha-256");
    let json = envelope(&prepare(&node1, &["--json"]), "node prepare", 25, false);
    let line = requirement(&json, "pg_hba");
    assert_eq!(line["has"], "line 3: scram-sha-256; line 2: reject, not enough");
    prepare(&node1, &["--apply", "--generate-password"]).code(1).says("first.conf");
    prepare(&node1, &["--apply", "--generate-password", "--force"]).code(0);
    let text = hba(&node1);
    // The line for replication was there.
    assert_eq!(text.matches("keeper  ").count(), 2, "{text}");
    assert!(text.find("pgbaton: begin").unwrap() < text.find("include").unwrap());
    node1.pgbaton(["primary", "register"]).run().code(0);
}

#[test]
fn an_unwritable_directory_stops_everything_first() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    let elsewhere = cluster.dir().join("etc");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("pg_hba.conf"), "local all postgres trust\n").unwrap();
    node1.append_conf(&format!("hba_file = '{}'", elsewhere.join("pg_hba.conf").display()));
    node1.restart();
    let shut = |mode| std::fs::set_permissions(&elsewhere, PermissionsExt::from_mode(mode)).unwrap();
    shut(0o500);
    let before = Fingerprint::of(&[&node1], &[]);
    let refused = prepare(&node1, &["--apply", "--generate-password"]);
    shut(0o700);
    refused
        .code(1)
        .says("cannot be written")
        .says("may not write to the directory")
        .says("Nothing was changed");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));
    assert!(!pgpass(&cluster).exists());
    prepare(&node1, &["--apply", "--generate-password"]).code(0);
    assert!(std::fs::read_to_string(elsewhere.join("pg_hba.conf")).unwrap().contains("pgbaton: end"));
}

#[test]
fn a_role_gets_what_it_lacks_and_keeps_what_it_has() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    node1.psql("CREATE ROLE keeper NOLOGIN CREATEDB");
    node1.psql("CREATE DATABASE keeper");
    node1.psql("REVOKE CONNECT ON DATABASE keeper FROM public");
    let json = envelope(&prepare(&node1, &["--json"]), "node prepare", 25, false);
    assert_eq!(requirement(&json, "role")["how"], "ALTER ROLE \"keeper\" LOGIN REPLICATION;");
    let how = &requirement(&json, "database")["how"];
    assert_eq!(how, "GRANT CONNECT, CREATE ON DATABASE \"keeper\" TO \"keeper\";");
    prepare(&node1, &["--apply"]).code(0);
    assert_eq!(node1.psql(RIGHTS), "f|t|t|f|t|f");
    // Its owner stays.
    assert_eq!(
        node1.psql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'keeper'"),
        "postgres"
    );
    node1.pgbaton(["primary", "register"]).run().code(0);
    node1.psql_as("postgres", "keeper", "REVOKE EXECUTE ON FUNCTION pg_promote FROM keeper");
    let json = envelope(&prepare(&node1, &["--json"]), "node prepare", 25, false);
    assert_eq!(not_ok(&json), ["execute"]);
    assert_eq!(
        requirement(&json, "execute")["how"],
        "GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO \"keeper\";"
    );
}

#[test]
fn without_a_superuser_it_only_inspects_and_says_which_roles_were_tried() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    prepare(&node1, &["--apply"]).code(0);
    std::fs::write(
        node1.data.join("pg_hba.conf"),
        "local all postgres reject\nhost all postgres all reject\nhost all,replication all 127.0.0.1/32 trust\nlocal all repmgr trust\n",
    )
    .unwrap();
    node1.reload();
    let json = envelope(&prepare(&node1, &["--json"]), "node prepare", 25, false);
    assert_eq!(not_ok(&json), ["pg_hba"]);
    assert_eq!(requirement(&json, "pg_hba")["status"], "cannot");
    let refused = prepare(&node1, &["--apply"]);
    refused
        .code(6)
        .says("could not connect as a superuser")
        .says("role \"keeper\" is not a superuser")
        .says("as \"postgres\"");
    // By name, and only to this very server.
    prepare(&node1, &["--apply", "-S", "repmgr"]).code(0).says("already prepared");
    prepare(&node1, &["--apply", "-U", "repmgr"]).code(0).says("already prepared");
    let other = cluster.foreign("other");
    let port = other.port.to_string();
    let wrong = prepare(&node1, &["--apply", "-h", "127.0.0.1", "-p", &port, "-U", "postgres"]);
    wrong.code(1).says("another server than the one in the configuration");
    node1.stop(StopMode::Fast);
    prepare(&node1, &["--apply"]).code(6).says("no server runs on").says("Start it");
}

/// A step in the middle fails: what was done is reported, and the next run does the rest.
#[test]
fn a_second_run_continues() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    // A database with open sessions cannot be copied.
    let mut psql = clean_command(&pg.tool("psql"));
    psql.args(["-XAtq", "-h"]).arg(&node1.socket_dir).args(["-p", &node1.port.to_string(), "-U", "postgres"]);
    psql.args(["-d", "template1", "-c", "SELECT pg_sleep(100)"]);
    let blocker = Running::start(psql);
    node1.wait_until("SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1'", "1", SOON);
    let failed = prepare(&node1, &["--apply", "--generate-password", "--json"]);
    let json = envelope(&failed, "node prepare", 7, true);
    let detail = json["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("Role \"keeper\" keeps its new privileges."), "{detail}");
    assert_eq!(node1.psql(RIGHTS), "f|t|t|f|f|f");
    assert!(!pgpass(&cluster).exists() && !hba(&node1).contains("pgbaton"));
    node1.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'template1'");
    blocker.wait(SOON);
    node1.wait_until("SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1'", "0", SOON);
    let done = prepare(&node1, &["--apply", "--generate-password", "--json"]);
    envelope(&done, "node prepare", 0, true);
    node1.pgbaton(["primary", "register"]).run().code(0);
}

#[test]
fn networks_and_host_names_get_entries() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = bare(&cluster, "replication_user = \"streamer\"\n");
    closed(&node1, "host all postgres 127.0.0.1/32 trust");
    let unknown = prepare(&node1, &["--apply", "--generate-password", "--node", "no-such-host.invalid"]);
    unknown.code(1).says("the address of \"no-such-host.invalid\" is unknown").says("--network");
    let wrong = prepare(&node1, &["--network", "10.0.0.0/40"]);
    wrong.code(1).says("invalid value \"10.0.0.0/40\" for option \"--network\"");
    prepare(&node1, &["--node", "a:b:c:"]).code(25);
    prepare(&node1, &["--node", "node2:x"]).code(1).says("invalid value");
    let done = prepare(
        &node1,
        &["--apply", "--generate-password", "--network", "10.0.0.0/8", "--node", "no-such-host.invalid"],
    );
    done.code(0);
    let text = hba(&node1);
    for line in [
        "host  keeper          keeper          10.0.0.0/8           scram-sha-256  # --network",
        "host  replication     streamer        10.0.0.0/8           scram-sha-256  # --network",
        "host  replication     streamer        127.0.0.1/32         scram-sha-256  # node1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(
        node1.psql("SELECT string_agg(rolname || ' ' || rolreplication || ' ' || (rolpassword IS NOT NULL), ', ' ORDER BY rolname) FROM pg_authid WHERE rolname IN ('keeper', 'streamer')"),
        "keeper true true, streamer true true"
    );
    let passwords = std::fs::read_to_string(pgpass(&cluster)).unwrap();
    assert!(
        passwords.contains(":replication:streamer:") && !passwords.contains(":replication:keeper:"),
        "{passwords}"
    );
    envelope(&prepare(&node1, &["--apply", "--json", "--network", "10.0.0.0/8"]), "node prepare", 0, false);
    // Without a password no line can ask for one.
    prepare(&node1, &["--apply", "--no-password", "--network", "11.0.0.0/8"]).code(1).says("--auth-method");
}

/// Where there is no server yet, a clone needs the password, and nothing else can be prepared.
#[test]
fn a_host_without_a_server_gets_its_password_file() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node2 = cluster.empty("node2");
    configure(&node2, 2, "node2", &node2.conninfo_as(NEW, NEW), "");
    let json = envelope(&prepare(&node2, &["--json", "--node", "node1"]), "node prepare", 25, false);
    assert_eq!(not_ok(&json), ["pgpass"]);
    prepare(&node2, &["--apply", "--node", "node1"]).code(1).says("is unknown");
    prepare(&node2, &["--apply", "--node", "node1", "--generate-password"])
        .code(1)
        .says("generated on the primary");
    let given = node2
        .pgbaton(["node", "prepare", "--apply", "--node", "node1:5433"])
        .env("PGPASSWORD", "known")
        .run();
    given.code(0);
    let text = std::fs::read_to_string(pgpass(&cluster)).unwrap();
    assert!(text.contains("node1:5433:replication:keeper:known\n"), "{text}");
    envelope(&prepare(&node2, &["--json", "--node", "node1:5433"]), "node prepare", 0, false);
}

#[test]
fn configuration_in_etc_is_written_where_it_is() {
    let Some(pg) = support::packaged("postgresql-common", "/usr/bin/pg_createcluster") else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    configure(&node1, 1, "node1", &node1.conninfo_as(NEW, NEW), "");
    let root = cluster.dir().join("etc");
    made_debian(&node1, &root, "prepared", str::to_string);
    let place = root.join("15/prepared");
    std::fs::create_dir_all(place.join("conf.d")).unwrap();
    let conf = place.join("postgresql.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{text}\nwal_log_hints = off\ninclude_dir = 'conf.d'\n")).unwrap();
    std::fs::write(place.join("pg_hba.conf"), "local all all trust\nhost all postgres 127.0.0.1/32 trust\n")
        .unwrap();
    std::fs::set_permissions(node1.data.join("postgresql.auto.conf"), PermissionsExt::from_mode(0o400))
        .unwrap();
    let with_root = |program: Pgbaton| program.env("PG_CLUSTER_CONF_ROOT", root.to_string_lossy());
    let mut start = clean_command("/usr/bin/pg_ctlcluster".as_ref());
    start.args(["15", "prepared", "start"]).env("PG_CLUSTER_CONF_ROOT", &root);
    Running::start(start).wait(SOON).code(0);
    let done = with_root(node1.pgbaton(["node", "prepare", "--apply", "--generate-password"])).run();
    done.code(0).says("has to be restarted, for wal_log_hints");
    let own = std::fs::read_to_string(place.join("conf.d/pgbaton.conf")).unwrap();
    assert_eq!(own, "wal_log_hints = 'on'\n");
    assert!(!std::fs::read_to_string(&conf).unwrap().contains("pgbaton.conf"));
    assert!(std::fs::read_to_string(place.join("pg_hba.conf")).unwrap().starts_with("# pgbaton: begin"));
    with_root(node1.pgbaton(["node", "restart"])).run().code(0);
    assert_eq!(node1.psql("SHOW wal_log_hints"), "on");
    with_root(node1.pgbaton(["primary", "register"])).run().code(0);
}

/// From two empty hosts to a cluster that changes roles and takes a lost node back, without a superuser but for `node prepare`.
fn whole_life(pg: &Pg) {
    let cluster = TestCluster::new(pg);
    // Before PostgreSQL 15 libpq looks into the home directory of the user database, which a test leaves alone.
    let passfile = cluster.dir().join("passwords");
    let named = format!("passfile = \"{}\"\n", passfile.display());
    let node1 = bare(&cluster, &named);
    closed(&node1, "host all postgres 127.0.0.1/32 reject");
    let with_file = |program: Pgbaton| program.env("PGPASSFILE", passfile.to_string_lossy()).deadline(LONG);
    let run = |server: &TestServer, args: &[&str]| {
        let output = with_file(server.pgbaton(args.iter().copied())).run();
        output.code(0);
        output
    };
    let node2 = cluster.empty("node2");
    configure(&node2, 2, "node2", &node2.conninfo_as(NEW, NEW), &named);
    let (port1, port2) = (node1.port.to_string(), format!("127.0.0.1:{}", node2.port));
    run(&node1, &["node", "prepare", "--apply", "--generate-password", "--node", &port2]);
    run(&node1, &["node", "prepare"]);
    run(&node1, &["primary", "register"]);
    run(&node2, &["standby", "clone", "-h", "127.0.0.1", "-p", &port1, "-U", NEW, "-d", NEW]);
    run(&node2, &["node", "start"]);
    run(&node2, &["standby", "register"]);
    node2.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    // A standby has its settings and its rules from the clone, and the rest from its primary.
    let looked = with_file(node2.pgbaton(["node", "prepare", "--json"])).run();
    let json = envelope(&looked, "node prepare", 0, false);
    assert!(
        json["data"]["requirements"].as_array().unwrap().iter().all(|one| one["name"] != "role"),
        "{json:#}"
    );
    run(&node2, &["standby", "switchover"]);
    node1.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    node2.kill9();
    run(&node1, &["standby", "promote"]);
    run(&node2, &["node", "rejoin", "--force-rewind"]);
    node2.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    assert_eq!(node1.psql(RIGHTS), "f|t|t|f|f|f");
}

#[test]
fn a_prepared_cluster_works_without_a_superuser() {
    for pg in majors().iter().filter(|pg| [13, 15, 17, 18].contains(&pg.major)) {
        whole_life(pg);
    }
}
