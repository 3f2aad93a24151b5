//! `standby clone` on real servers: what it makes, what it refuses, and what is left when it is cut short.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::support::{
    self, Fault, Fingerprint, Output, Pgbaton, Proxy, Running, SOON, Side, Stepped, StopMode, TestCluster,
    TestServer, certificates, majors, metadata, postgres, run_tool, versions, wait_for,
};

/// Slow enough to be cut: a data directory of 40 MB takes most of a minute.
const SLOWLY: &str = "pg_basebackup_options = \"--max-rate=1M\"";

/// A registered primary.
fn primary(cluster: &TestCluster, name: &str) -> TestServer {
    let node1 = cluster.primary(name);
    node1.node_config(1, "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    node1
}

/// Prepares `standby clone` of a server, over TCP as `repmgr`.
fn clone_from(node: &TestServer, source: &TestServer) -> Pgbaton {
    node.pgbaton(["standby", "clone", "-h", "127.0.0.1", "-U", "repmgr", "-d", "repmgr"])
        .arg("-p")
        .arg(source.port.to_string())
}

/// Starts the clone and waits until it streams from its upstream.
#[track_caller]
fn streams(node: &TestServer) {
    node.start();
    node.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    assert_eq!(node.psql("SELECT pg_is_in_recovery()"), "t");
}

#[track_caller]
fn slots(server: &TestServer) -> String {
    server.psql("SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots")
}

/// Returns the lines of a settings file that set a parameter.
fn lines_for<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.split([' ', '=']).next() == Some(name)).collect()
}

fn auto_conf(node: &TestServer) -> String {
    std::fs::read_to_string(node.data.join("postgresql.auto.conf")).unwrap()
}

/// Says how many entries a directory has; none where it does not exist.
fn entries(path: &Path) -> usize {
    path.read_dir().map_or(0, Iterator::count)
}

/// Appends to a node's configuration.
fn configure(node: &TestServer, lines: &str) {
    let text = std::fs::read_to_string(node.config()).unwrap();
    std::fs::write(node.config(), format!("{text}{lines}\n")).unwrap();
}

// ---- what it makes -------------------------------------------------------------------------------------------------

#[test]
fn a_clone_of_the_primary_streams_with_its_slot() {
    for pg in majors().into_iter().filter(|pg| [13, 15, 17, 18].contains(&pg.major)) {
        let cluster = TestCluster::new(&pg);
        let node1 = primary(&cluster, "node1");
        node1.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
        let node2 = cluster.empty("node2");
        node2.node_config(2, "");
        let dry = clone_from(&node2, &node1).args(["--dry-run", "--json"]).run();
        dry.code(0);
        assert!(!node2.data.exists());
        assert_eq!(slots(&node1), "");
        let done = clone_from(&node2, &node1).args(["--json", "--verify-backup"]).run();
        done.code(0);
        // Only the check of the copy was added.
        let titles = |document: &Value| -> Vec<String> {
            let steps = document.as_array().unwrap().iter();
            steps.map(|step| step["title"].as_str().unwrap().to_string()).collect()
        };
        let planned = titles(&dry.json()["data"]["plan"]["steps"]);
        let mut executed = titles(&done.json()["data"]["steps"]);
        executed.retain(|title| title != "check the copy against its manifest");
        assert_eq!(planned, executed);
        assert_eq!(slots(&node1), "repmgr_slot_2");
        assert_eq!(
            node1.psql("SELECT active, restart_lsn IS NOT NULL FROM pg_replication_slots"),
            "f|t",
            "WAL is kept from now on"
        );
        assert!(!node2.data.join("pgbaton_clone").exists());
        assert_eq!(node2.data.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        streams(&node2);
        assert_eq!(node1.psql("SELECT active, slot_name FROM pg_replication_slots"), "t|repmgr_slot_2");
        assert_eq!(node1.psql("SELECT application_name FROM pg_stat_replication"), "node2");
        node1.psql("INSERT INTO t VALUES (0)");
        node2.wait_for_replay_of(&node1);
        assert_eq!(node2.psql("SELECT count(*) FROM t"), "1001");
        node2.pgbaton(["standby", "register"]).run().code(0);
        // Cascading: copied from the standby, which also holds the slot and feeds it.
        let node3 = cluster.empty("node3");
        node3.node_config(3, "");
        clone_from(&node3, &node2).args(["--upstream-node-id", "2"]).run().code(0);
        assert_eq!(slots(&node1), "repmgr_slot_2");
        assert_eq!(slots(&node2), "repmgr_slot_3");
        streams(&node3);
        assert_eq!(node2.psql("SELECT application_name FROM pg_stat_replication"), "node3");
        assert_eq!(
            node1.psql_as(
                "repmgr",
                "repmgr",
                "SELECT event, successful FROM repmgr.events WHERE event = 'standby_clone' ORDER BY node_id"
            ),
            "standby_clone|t\nstandby_clone|t"
        );
    }
}

#[test]
fn a_clone_copied_from_a_standby_follows_the_primary() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.standby("node2", &node1);
    let node3 = cluster.empty("node3");
    node3.node_config(3, "");
    let done = clone_from(&node3, &node2).args(["--start", "--register", "--json"]).run();
    done.code(0);
    done.json();
    assert_eq!(slots(&node1), "repmgr_slot_3");
    assert_eq!(slots(&node2), "");
    node3.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    assert_eq!(
        node1.psql_as(
            "repmgr",
            "repmgr",
            "SELECT type, upstream_node_id, slot_name FROM repmgr.nodes WHERE node_id = 3"
        ),
        "standby|1|repmgr_slot_3"
    );
    // Each part is an operation of its own name, in the journal and in the metadata.
    let operations = node3.pgbaton(["operation", "list", "--json"]).run().json();
    let mut names: Vec<&str> = operations["data"]["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["command"].as_str().unwrap())
        .collect();
    names.reverse();
    assert_eq!(names, ["standby clone", "node start", "standby register"]);
    let recorded = "SELECT command FROM pgbaton.operation WHERE node_id = 3 ORDER BY started_at";
    assert_eq!(node1.psql_as("repmgr", "repmgr", recorded), "standby clone\nstandby register");
}

#[test]
fn a_clone_as_a_role_without_superuser_rights() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "");
    let conninfo = |node: &TestServer| {
        let text = std::fs::read_to_string(node.config()).unwrap();
        std::fs::write(node.config(), text.replace("user=repmgr dbname=repmgr", "user=baton dbname=baton"))
            .unwrap();
    };
    conninfo(&node1);
    node1.pgbaton(["primary", "register"]).run().code(0);
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    conninfo(&node2);
    let source = format!("host=127.0.0.1 port={} user=baton dbname=baton", node1.port);
    node2.pgbaton(["standby", "clone", "-d", &source]).run().code(0);
    streams(&node2);
    assert_eq!(node1.psql("SELECT usename FROM pg_stat_replication"), "baton");
}

#[test]
fn a_superuser_does_what_the_role_lacks_the_privileges_for() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    // A role that owns its database and may do nothing else, and one that streams and may do nothing else.
    node1.psql("CREATE ROLE poor LOGIN");
    node1.psql("CREATE DATABASE poor OWNER poor");
    node1.psql("CREATE ROLE streamer LOGIN REPLICATION");
    let etc = cluster.dir().join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::fs::rename(node1.data.join("pg_hba.conf"), etc.join("pg_hba.conf")).unwrap();
    node1.append_conf(&format!("hba_file = '{}'", etc.join("pg_hba.conf").display()));
    node1.restart();
    let config = |node: &TestServer, id: i32| {
        let path = node.node_config(id, "");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace("user=repmgr dbname=repmgr", "user=poor dbname=poor")).unwrap();
    };
    config(&node1, 1);
    node1.pgbaton(["primary", "register"]).run().code(0);
    let node2 = cluster.empty("node2");
    config(&node2, 2);
    let source = format!("host=127.0.0.1 port={} user=poor dbname=poor", node1.port);
    let words = ["standby", "clone", "-d", &source, "--replication-user", "streamer"];
    let clone = |more: &[&str]| node2.pgbaton(words).args(more.iter().copied());
    let before = Fingerprint::of(&[&node1], &[&node2.dir]);
    let refused = clone(&[]).run();
    refused.code(1).says("role \"poor\" lacks the privilege to create replication slots").says("-S");
    refused.says("cannot determine whether the source has configuration files elsewhere");
    clone(&["-S", "streamer"]).run().code(1).says("role \"streamer\" is not a superuser");
    clone(&["-S", "nobody"]).run().code(6).says("\"nobody\"");
    before.assert_same(&Fingerprint::of(&[&node1], &[&node2.dir]));
    let as_postgres = ["-S", "postgres", "--copy-external-config-files=pgdata"];
    let dry = clone(&as_postgres).arg("--dry-run").run();
    assert!(
        dry.code(0).stdout.contains("create slot \"repmgr_slot_2\" on node \"node1\" as \"postgres\""),
        "{dry:?}"
    );
    before.assert_same(&Fingerprint::of(&[&node1], &[&node2.dir]));
    clone(&as_postgres).run().code(0);
    let copied = std::fs::read_to_string(node2.data.join("pg_hba.conf")).unwrap();
    assert_eq!(copied, std::fs::read_to_string(etc.join("pg_hba.conf")).unwrap());
    streams(&node2);
    assert_eq!(node1.psql("SELECT usename, application_name FROM pg_stat_replication"), "streamer|node2");
    assert_eq!(node1.psql("SELECT slot_name, active FROM pg_replication_slots"), "repmgr_slot_2|t");
}

#[test]
fn tablespaces_go_where_they_are_mapped() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let place = |name: &str| {
        let path = cluster.dir().join(name);
        std::fs::create_dir(&path).unwrap();
        path.to_string_lossy().into_owned()
    };
    let olds = [place("plain"), place("a b=c"), place("d\u{e9}")];
    for (i, old) in olds.iter().enumerate() {
        node1.psql(&format!("CREATE TABLESPACE ts{i} LOCATION '{}'", old.replace('\'', "''")));
        node1.psql(&format!("CREATE TABLE t{i} TABLESPACE ts{i} AS SELECT {i} AS i"));
    }
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let refused = clone_from(&node2, &node1).run();
    refused.code(1).says("belongs to the source").says("tablespace_mapping");
    assert!(!node2.data.exists());
    let news: Vec<String> = ["new plain", "new=b c", "new'\u{e9}"]
        .iter()
        .map(|name| cluster.dir().join(name).to_string_lossy().into_owned())
        .collect();
    let escape = |path: &str| path.replace('=', "\\=");
    let mappings: Vec<String> = olds
        .iter()
        .zip(&news)
        .map(|(old, new)| format!("{:?}", format!("{}={}", escape(old), escape(new))))
        .collect();
    configure(
        &node2,
        &format!("tablespace_mapping = [{}]", mappings.join(", ").replace("\\u{e9}", "\u{e9}")),
    );
    clone_from(&node2, &node1).run().code(0);
    streams(&node2);
    for (i, new) in news.iter().enumerate() {
        assert_eq!(node2.psql(&format!("SELECT i FROM t{i}")), i.to_string());
        assert_eq!(entries(Path::new(new)), 1, "{new}");
    }
}

#[test]
fn the_restore_command_stays_on_the_clone() {
    let cluster = TestCluster::new(&postgres(15).unwrap());
    let node1 = primary(&cluster, "node1");
    node1.append_conf("restore_command = 'false %f'\narchive_cleanup_command = 'test -n %r'\n");
    node1.restart();
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let output = clone_from(&node2, &node1).run();
    output.code(0).says("runs archive_cleanup_command").says("postgresql.conf:");
    streams(&node2);
    assert_eq!(node2.psql("SHOW restore_command"), "false %f");
    assert_eq!(node2.psql("SHOW archive_cleanup_command"), "test -n %r");
    let text = auto_conf(&node2);
    assert!(lines_for(&text, "restore_command").is_empty(), "{text}");
}

#[test]
fn nested_directories_are_refused_before_the_copy() {
    let cluster = TestCluster::new(&postgres(15).unwrap());
    let node1 = primary(&cluster, "node1");
    let inside = node1.data.join("ts");
    std::fs::create_dir(&inside).unwrap();
    node1.psql(&format!("CREATE TABLESPACE ts LOCATION '{}'", inside.display()));
    let node2 = cluster.empty("node2");
    let refused = |mapped: &std::path::Path, what: &str| {
        node2.node_config(
            2,
            &format!("tablespace_mapping = {{ \"{}\" = \"{}\" }}", inside.display(), mapped.display()),
        );
        let output = clone_from(&node2, &node1).run();
        output.code(1).says(what).says("tablespace_mapping");
        assert!(!node2.data.exists(), "{output:?}");
        // A dry run promises no more.
        clone_from(&node2, &node1).args(["--dry-run"]).run().code(1);
    };
    refused(&node2.data.join("ts"), "lies inside the data directory");
    refused(&node2.data, "is the data directory");
    refused(&node1.data.join("other"), "lies inside the data directory of the source");
    // Behind a symbolic link it is the same.
    let link = node2.dir.join("link");
    std::os::unix::fs::symlink(&node1.data, &link).unwrap();
    refused(&link.join("other"), "lies inside the data directory of the source");
    // And where it lies next to it, it is cloned.
    let outside = node2.dir.join("ts");
    node2.node_config(
        2,
        &format!("tablespace_mapping = {{ \"{}\" = \"{}\" }}", inside.display(), outside.display()),
    );
    clone_from(&node2, &node1).run().code(0);
    streams(&node2);
    assert!(!node2.data.join("ts/PG_VERSION").exists());
}

#[test]
fn a_data_directory_inside_another_servers_is_refused_and_never_emptied() {
    let cluster = TestCluster::new(&postgres(15).unwrap());
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    let place = node1.data.join("pg_tblspc/node2");
    node2.node_config(2, "");
    let text = std::fs::read_to_string(node2.config()).unwrap();
    let (ours, theirs) = (node2.data.display().to_string(), place.display().to_string());
    std::fs::write(node2.config(), text.replace(&ours, &theirs)).unwrap();
    let output = clone_from(&node2, &node1).args(["--force"]).run();
    output.code(1).says("lies inside the data directory of the source");
    assert!(!place.exists());
    // The directory of a server that runs is named as such, and no advice is given to empty it.
    std::fs::write(node2.config(), text.replace(&ours, &node1.data.display().to_string())).unwrap();
    let output = clone_from(&node2, &node1).args(["--force"]).run();
    output.code(1).says("a server is running on data directory");
    assert!(!output.stderr.contains("Empty it"), "{output:?}");
    assert_eq!(node1.psql("SELECT 1"), "1");
}

#[test]
fn a_clone_in_place_of_an_old_directory_keeps_its_wal_where_it_was() {
    let cluster = TestCluster::new(&postgres(15).unwrap());
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let wal = node2.dir.join("wal");
    let with_waldir = format!("pg_basebackup_options = \"--waldir={}\"", wal.display());
    node2.with_configuration(&with_waldir, || clone_from(&node2, &node1).run().code(0).clone());
    assert_eq!(std::fs::read_link(node2.data.join("pg_wal")).unwrap(), wal);
    streams(&node2);
    node2.stop(support::StopMode::Fast);
    std::fs::write(wal.join("old"), "").unwrap();
    clone_from(&node2, &node1).args(["--force"]).run().code(0);
    assert_eq!(std::fs::read_link(node2.data.join("pg_wal")).unwrap(), wal);
    assert!(!wal.join("old").exists());
    streams(&node2);
}

#[test]
fn settings_with_any_character_arrive_unchanged() {
    for major in [13, 15, 18] {
        let Some(pg) = postgres(major) else { return };
        let cluster = TestCluster::new(&pg);
        let node1 = primary(&cluster, "node1");
        // What the source has in its files would be obeyed by the clone.
        node1.append_conf(
            "restore_command = 'touch /nowhere/%f'\nrecovery_target_name = 'never'\nrecovery_target_action = 'promote'\n\
             primary_conninfo = 'host=nowhere'",
        );
        node1.psql("ALTER SYSTEM SET recovery_target_timeline = 'current'");
        node1.psql("ALTER SYSTEM SET archive_cleanup_command = 'test -n x'");
        node1.psql("ALTER SYSTEM SET recovery_end_command = 'false'");
        node1.psql("ALTER SYSTEM SET recovery_min_apply_delay = '1h'");
        node1.psql("ALTER SYSTEM SET primary_slot_name = 'other'");
        node1.psql("ALTER SYSTEM SET work_mem = '5MB'");
        node1.restart();
        let node2 = cluster.empty("node2");
        node2.node_config(2, "");
        let name = "n\u{f6}de '2' \"x\" $(reboot) \\ %d `id` ;&";
        let restore = r#"test -n '%p' && cp "/archive dir/%f" '%p' \ | grep '\\' %% $HOME"#;
        let text = std::fs::read_to_string(node2.config()).unwrap();
        let text = text.replace("node_name = \"node2\"", &format!("node_name = '''{name}'''"));
        let passfile = cluster.dir().join("pass 'file'");
        std::fs::write(&passfile, "").unwrap();
        std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(
            node2.config(),
            format!("{text}restore_command = '''{restore}'''\npassfile = \"{}\"\n", passfile.display()),
        )
        .unwrap();
        clone_from(&node2, &node1).args(["--recovery-min-apply-delay", "5min"]).run().code(0);
        let text = auto_conf(&node2);
        for setting in
            ["primary_conninfo", "restore_command", "recovery_min_apply_delay", "recovery_target_name"]
        {
            assert_eq!(lines_for(&text, setting).len(), 1, "{setting}: {text}");
        }
        // A restore_command that fails for every file is none; streaming takes over.
        streams(&node2);
        let show = |setting: &str| node2.psql(&format!("SELECT current_setting('{setting}')"));
        assert_eq!(show("restore_command"), restore);
        assert_eq!(show("recovery_min_apply_delay"), "5min");
        assert_eq!(show("primary_slot_name"), "repmgr_slot_2");
        assert_eq!(show("recovery_target_name"), "");
        assert_eq!(show("recovery_target_timeline"), "latest");
        // Not what was written for one recovery: it stays as it is on every node.
        assert_eq!(show("recovery_end_command"), "false");
        assert_eq!(show("archive_cleanup_command"), "test -n x");
        assert_eq!(show("work_mem"), "5MB");
        assert!(show("primary_conninfo").contains("pass \\'file\\'"), "{}", show("primary_conninfo"));
        // The server replaces what is not ASCII; before 15 by one question mark each byte, then by an escape.
        let seen = node1.psql("SELECT application_name FROM pg_stat_replication");
        assert!(seen.ends_with(r#"de '2' "x" $(reboot) \ %d `id` ;&"#), "{seen}");
    }
}

#[test]
fn the_password_of_the_upstream_is_written_only_on_request() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    node1.psql("ALTER ROLE repmgr PASSWORD 'it''s \\ s3cret'");
    node1.set_hba("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256");
    node1.reload();
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    // The server would have no password: said before, not found out at the first start.
    let refused = clone_from(&node2, &node1).env("PGPASSWORD", "it's \\ s3cret").run();
    refused.code(1).says("the WAL receiver cannot connect").says("use_primary_conninfo_password");
    assert!(!node2.data.exists());
    configure(&node2, "use_primary_conninfo_password = true");
    clone_from(&node2, &node1).env("PGPASSWORD", "it's \\ s3cret").run().code(0);
    assert!(auto_conf(&node2).contains("password="));
    assert_eq!(
        node2.data.join("postgresql.auto.conf").metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    streams(&node2);
    // With a password file instead.
    let node3 = cluster.empty("node3");
    let passfile = cluster.dir().join("pgpass");
    std::fs::write(&passfile, "*:*:*:repmgr:it's \\\\ s3cret\n").unwrap();
    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
    node3.node_config(3, &format!("passfile = \"{}\"", passfile.display()));
    clone_from(&node3, &node1).env("PGPASSWORD", "it's \\ s3cret").run().code(0);
    assert!(!auto_conf(&node3).contains("s3cret"));
    streams(&node3);
}

#[test]
fn the_wal_receiver_uses_the_requested_connection() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    node1.psql("CREATE ROLE streamer LOGIN REPLICATION PASSWORD 's3cret word'");
    node1.set_hba(
        "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication repmgr 127.0.0.1/32 trust\n\
         host replication streamer 127.0.0.1/32 scram-sha-256",
    );
    node1.reload();
    // Over a proxy, so that it cannot have come from anywhere else.
    let proxy = Proxy::to(node1.port);
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let clone = |conninfo: &str| clone_from(&node2, &node1).args(["--upstream-conninfo", conninfo]);
    let refused = clone("host=127.0.0.1 prot=1 user").run();
    refused.code(1).says("invalid connection string in --upstream-conninfo");
    let asked = format!(
        "host=nowhere,127.0.0.1 hostaddr=127.0.0.1,127.0.0.1 port=1,{} user=streamer password='s3cret word' dbname=x \
         application_name=other target_session_attrs=read-write keepalives_idle=7",
        proxy.port
    );
    // The password is written only with leave, and without it there is none.
    clone(&asked).run().code(1).says("the WAL receiver cannot connect").says("use_primary_conninfo_password");
    assert!(!node2.data.exists());
    configure(&node2, "use_primary_conninfo_password = true");
    // That of the string is meant, and not one for another connection.
    let done = clone(&asked).env("PGPASSWORD", "another").args(["--json"]).run();
    done.code(0);
    assert!(!done.stdout.contains("s3cret") && !done.stderr.contains("s3cret"), "{done:?}");
    streams(&node2);
    assert_eq!(node1.psql("SELECT usename, application_name FROM pg_stat_replication"), "streamer|node2");
    let shown = node2.psql("SHOW primary_conninfo");
    for word in ["keepalives_idle=7", "target_session_attrs=read-write", "hostaddr=127.0.0.1,127.0.0.1"] {
        assert!(shown.contains(word), "{shown}");
    }
    assert!(!shown.contains("dbname"), "{shown}");
    proxy.set(Fault::Refuse);
    node2.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", SOON);
    // A role that is named by itself is meant before all others, and another role's password is not for it.
    let node3 = cluster.empty("node3");
    node3.node_config(3, "use_primary_conninfo_password = true");
    let words = ["--upstream-conninfo", &asked.replace(&proxy.port.to_string(), &node1.port.to_string())];
    clone_from(&node3, &node1).args(words).args(["--replication-user", "repmgr"]).run().code(0);
    assert!(!auto_conf(&node3).contains("s3cret"));
    streams(&node3);
    assert_eq!(
        node1.psql("SELECT usename FROM pg_stat_replication WHERE application_name = 'node3'"),
        "repmgr"
    );
}

#[test]
fn an_existing_directory_is_configured_without_a_copy() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    clone_from(&node2, &node1).args(["--start", "--register"]).run().code(0);
    node2.stop(StopMode::Fast);
    std::fs::remove_file(node2.data.join("standby.signal")).unwrap();
    std::fs::write(
        node2.data.join("postgresql.auto.conf"),
        "work_mem = '7MB'\nprimary_conninfo = 'host=nowhere'\n",
    )
    .unwrap();
    let version = std::fs::metadata(node2.data.join("PG_VERSION")).unwrap().modified().unwrap();
    clone_from(&node2, &node1).arg("--replication-conf-only").run().code(0);
    assert_eq!(std::fs::metadata(node2.data.join("PG_VERSION")).unwrap().modified().unwrap(), version);
    streams(&node2);
    assert_eq!(node2.psql("SHOW work_mem"), "7MB");
    // On a running server it would not take effect, and on nothing it cannot.
    clone_from(&node2, &node1).arg("--replication-conf-only").run().code(1).says("a server is running");
    let node3 = cluster.empty("node3");
    node3.node_config(3, "");
    clone_from(&node3, &node1).arg("--replication-conf-only").run().code(1).says("does not exist");
}

#[test]
fn configuration_files_elsewhere_are_copied_over_sql() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let etc = cluster.dir().join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::fs::rename(node1.data.join("pg_hba.conf"), etc.join("pg_hba.conf")).unwrap();
    node1.append_conf(&format!("hba_file = '{}'", etc.join("pg_hba.conf").display()));
    node1.restart();
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    clone_from(&node2, &node1).arg("--dry-run").run().code(0).says("outside its data directory");
    let refused = clone_from(&node2, &node1).arg("--copy-external-config-files").run();
    refused.code(1).says("use =pgdata");
    assert!(!node2.data.exists());
    clone_from(&node2, &node1).arg("--copy-external-config-files=pgdata").run().code(0);
    let copied = std::fs::read_to_string(node2.data.join("pg_hba.conf")).unwrap();
    assert_eq!(copied, std::fs::read_to_string(etc.join("pg_hba.conf")).unwrap());
    streams(&node2);
}

#[test]
fn configuration_files_elsewhere_are_copied_to_the_same_path_of_another_host() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    // A path that leads every process to files of its own, as on hosts of their own: a link in the working directory, which is the
    // data directory for a server, and for pgbaton one of the test's choice. A base backup does not copy links.
    let path = "/proc/self/cwd/conf/pg_hba.conf";
    let link = |node: &TestServer, directory: &Path| {
        std::fs::create_dir_all(node.dir.join("etc")).unwrap();
        std::os::unix::fs::symlink(node.dir.join("etc"), directory.join("conf")).unwrap();
    };
    link(&node1, &node1.data);
    std::fs::rename(node1.data.join("pg_hba.conf"), node1.dir.join("etc/pg_hba.conf")).unwrap();
    // The harness' own file would be another one elsewhere.
    let conf = node1.data.join("postgresql.conf");
    let text = std::fs::read_to_string(&conf).unwrap().replace("include_if_exists", "#");
    std::fs::write(&conf, text).unwrap();
    node1.append_conf(&format!(
        "hba_file = '{path}'\nport = {}\nunix_socket_directories = '{}, {}'",
        node1.port,
        node1.socket_dir.display(),
        node2.socket_dir.display()
    ));
    node1.restart();
    let here = node2.dir.join("here");
    std::fs::create_dir(&here).unwrap();
    let clone = || clone_from(&node2, &node1).arg("--copy-external-config-files=samepath").current_dir(&here);
    let before = Fingerprint::of(&[&node1], &[&node2.dir]);
    clone().run().code(1).says(&format!("configuration file \"{path}\" cannot be written")).says("=pgdata");
    before.assert_same(&Fingerprint::of(&[&node1], &[&node2.dir]));
    link(&node2, &here);
    let dry = clone().arg("--dry-run").run();
    assert!(
        dry.code(0).stdout.contains(&format!("copy configuration file \"{path}\" to \"{path}\"")),
        "{dry:?}"
    );
    let (theirs, ours) = (node1.dir.join("etc/pg_hba.conf"), node2.dir.join("etc/pg_hba.conf"));
    assert!(!ours.exists());
    clone().run().code(0);
    assert_eq!(std::fs::read(&ours).unwrap(), std::fs::read(&theirs).unwrap());
    assert_eq!(ours.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!node2.data.join("pg_hba.conf").exists() && !node2.data.join("conf").exists());
    link(&node2, &node2.data);
    streams(&node2);
    assert_eq!(node2.psql("SHOW hba_file"), path);
    // On the host of the source the same path is the same file.
    let node3 = cluster.empty("node3");
    node3.node_config(3, "");
    let refused =
        clone_from(&node3, &node1).arg("--copy-external-config-files").current_dir(&node1.data).run();
    refused.code(1).says("it is there already").says("=pgdata");
}

#[test]
fn wal_goes_to_its_own_directory() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    let waldir = cluster.dir().join("wal 2");
    node2.node_config(2, &format!("pg_basebackup_options = '--waldir=\"{}\"'", waldir.display()));
    clone_from(&node2, &node1).run().code(0);
    assert_eq!(node2.data.join("pg_wal").read_link().unwrap(), waldir);
    streams(&node2);
}

// ---- what it refuses -----------------------------------------------------------------------------------------------

/// A clone that is refused, and succeeds when the cause is gone.
struct Refusal<'a> {
    servers: Vec<&'a TestServer>,
    directories: Vec<&'a Path>,
    node: &'a TestServer,
    source: &'a TestServer,
}

impl Refusal<'_> {
    /// Fails unless the clone is refused with this code and these words, by the dry run as well, and changes nothing.
    #[track_caller]
    fn is(&self, code: i32, words: &[&str]) -> Output {
        self.with(code, words, |program| program)
    }

    #[track_caller]
    fn with(&self, code: i32, words: &[&str], more: impl Fn(Pgbaton) -> Pgbaton) -> Output {
        let before = Fingerprint::of(&self.servers, &self.directories);
        more(clone_from(self.node, self.source).arg("--dry-run")).run().code(code);
        let refused = more(clone_from(self.node, self.source)).run();
        refused.code(code);
        words.iter().for_each(|word| {
            refused.says(word);
        });
        before.assert_same(&Fingerprint::of(&self.servers, &self.directories));
        let json = more(clone_from(self.node, self.source).arg("--json")).run();
        json.code(code);
        let json = json.json();
        assert_eq!((&json["ok"], &json["changed"]), (&Value::Bool(false), &Value::Bool(false)), "{json}");
        refused
    }
}

#[test]
fn directories_that_are_not_ours_are_refused() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let refusal =
        Refusal { servers: vec![&node1], directories: vec![&node2.dir], node: &node2, source: &node1 };
    // Foreign files, which --force does not remove either.
    std::fs::create_dir(&node2.data).unwrap();
    std::fs::write(node2.data.join("diary"), "mine").unwrap();
    refusal.is(1, &["is not empty", "\"diary\"", "Nothing was changed"]);
    refusal.with(1, &["is not empty"], |program| program.arg("--force"));
    std::fs::remove_dir_all(&node2.data).unwrap();
    // A directory that cannot be looked into, and one that cannot be made.
    std::fs::create_dir(&node2.data).unwrap();
    std::fs::set_permissions(&node2.data, std::fs::Permissions::from_mode(0o000)).unwrap();
    refusal.is(1, &["cannot be used", "Permission denied"]);
    std::fs::set_permissions(&node2.data, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::remove_dir(&node2.data).unwrap();
    // Another cluster's data directory.
    let other = cluster.foreign("other");
    other.stop(StopMode::Fast);
    run_tool(Path::new("/bin/cp"), ["-a".as_ref(), other.data.as_os_str(), node2.data.as_os_str()]).code(0);
    refusal.is(1, &["of another cluster", "system identifier", "mv "]);
    refusal.with(1, &["of another cluster"], |program| program.arg("--force"));
    // Another major version's.
    std::fs::write(node2.data.join("PG_VERSION"), "14\n").unwrap();
    refusal.with(1, &["PostgreSQL 14"], |program| program.arg("--force"));
    std::fs::remove_dir_all(&node2.data).unwrap();
    // Its own, with a server running on it, then without.
    node2.base_backup(&node1);
    streams(&node2);
    // As a server: it receives WAL while we look.
    let as_server = Refusal { servers: vec![&node1, &node2], directories: Vec::new(), ..refusal };
    as_server.with(1, &["a server is running", "node stop"], |program| program.arg("--force"));
    let refusal = Refusal { servers: vec![&node1], directories: vec![&node2.dir], ..as_server };
    node2.stop(StopMode::Fast);
    refusal.is(1, &["already a data directory of this cluster", "--force"]);
    clone_from(&node2, &node1).arg("--force").run().code(0).says("overridden by --force");
    streams(&node2);
}

#[test]
fn sources_that_cannot_be_copied_are_refused() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let refusal =
        Refusal { servers: vec![&node1], directories: vec![&node2.dir], node: &node2, source: &node1 };
    refusal.is(1, &["has no metadata", "primary register"]);
    node1.node_config(1, "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    // No entry for replication: the hint is the line.
    node1.set_hba("local all all trust\nhost all all 127.0.0.1/32 trust");
    node1.reload();
    let refused = refusal.is(1, &["pg_hba.conf", "for replication"]);
    let line =
        refused.stderr.lines().find_map(|line| line.split_once("reload: host replication ")).unwrap().1;
    node1.append_hba(&format!("host replication {}", line.replace("scram-sha-256", "trust").trim_end()));
    node1.reload();
    wait_for("the line to be in force", SOON, || {
        clone_from(&node2, &node1).arg("--dry-run").run().status.code() == Some(0)
    });
    // A wrong password.
    node1.set_hba("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256");
    node1.reload();
    refusal.with(6, &["password authentication failed"], |program| program.env("PGPASSWORD", "wrong"));
    refusal.is(6, &["password"]);
    node1.set_hba(
        "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust",
    );
    node1.reload();
    // No slot, and no WAL sender.
    node1.psql("ALTER SYSTEM SET max_replication_slots = 1");
    node1.psql("ALTER SYSTEM SET max_wal_senders = 1");
    node1.restart();
    node1.psql("SELECT pg_create_physical_replication_slot('x')");
    refusal.is(
        1,
        &["too few free WAL senders", "no free replication slot", "max_wal_senders = ", "2 checks failed"],
    );
    node1.psql("SELECT pg_drop_replication_slot('x')");
    refusal.is(1, &["too few free WAL senders"]);
    node1.psql("ALTER SYSTEM RESET ALL");
    node1.restart();
    // No server there.
    node1.stop(StopMode::Fast);
    refusal.is(6, &["could not connect to the source server"]);
    node1.start();
    clone_from(&node2, &node1).run().code(0);
    streams(&node2);
}

#[test]
fn an_existing_slot_is_used_if_it_is_not_in_use() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.standby("node2", &node1);
    let node3 = cluster.empty("node3");
    node3.node_config(3, "");
    let slot = "SELECT slot_name, active, restart_lsn IS NOT NULL FROM pg_replication_slots";
    // It is in use: a second standby of the same ID.
    node1.psql("SELECT pg_create_physical_replication_slot('repmgr_slot_3')");
    let mut receiver = support::clean_command(&pg.tool("pg_receivewal"));
    let to = cluster.dir().join("received");
    std::fs::create_dir(&to).unwrap();
    let from = format!("host=127.0.0.1 port={} user=repmgr", node1.port);
    receiver.args(["--slot=repmgr_slot_3", "-d", &from, "-D"]).arg(&to);
    let mut receiver = Running::start(receiver);
    node1.wait_until(slot, "repmgr_slot_3|t|t", SOON);
    let refusal =
        Refusal { servers: vec![&node1], directories: vec![&node3.dir], node: &node3, source: &node1 };
    refusal.is(
        1,
        &["slot \"repmgr_slot_3\" on \"node1\" is in use", "Stop that server, or choose another node_id"],
    );
    refusal.with(1, &["is in use"], |program| program.arg("--force"));
    receiver.signal(Signal::INT);
    assert!(receiver.ends_within(SOON));
    node1.wait_until(slot, "repmgr_slot_3|f|t", SOON);
    // One that was made in advance keeps nothing; what fails leaves it so.
    for made in ["false", "true"] {
        node1.psql("SELECT pg_drop_replication_slot('repmgr_slot_3')");
        node1.psql(&format!("SELECT pg_create_physical_replication_slot('repmgr_slot_3', {made})"));
        let before = node1.psql(slot);
        node3.node_config(3, SLOWLY);
        let running = clone_from(&node3, &node1).spawn();
        copies(&node3);
        running.signal(Signal::INT);
        running.wait(Duration::from_secs(60)).code(130);
        assert_eq!(node1.psql(slot), before);
        // Copied from elsewhere, the base backup does not hold the slot: it has to keep WAL by itself.
        node3.node_config(3, "");
        clone_from(&node3, &node2).run().code(0);
        assert_eq!(node1.psql(slot), "repmgr_slot_3|f|t");
        streams(&node3);
        assert_eq!(node1.psql(slot), "repmgr_slot_3|t|t");
        node3.stop(StopMode::Fast);
        node1.wait_until(slot, "repmgr_slot_3|f|t", SOON);
        std::fs::remove_dir_all(&node3.data).unwrap();
    }
}

#[test]
fn names_and_ids_of_other_nodes_are_refused() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.standby("node2", &node1);
    node2.node_config(2, "");
    node2.pgbaton(["standby", "register"]).run().code(0);
    let node3 = cluster.empty("node3");
    let refusal = Refusal {
        servers: vec![&node1, &node2],
        directories: vec![&node3.dir],
        node: &node3,
        source: &node1,
    };
    node3.node_config(2, "");
    refusal.is(1, &["node ID 2 belongs to node \"node2\"", "is running at its registered address"]);
    node3.node_config(3, "");
    let text = std::fs::read_to_string(node3.config()).unwrap();
    std::fs::write(node3.config(), text.replace("\"node3\"", "\"node2\"")).unwrap();
    refusal.is(1, &["node name \"node2\" belongs to node 2", "Choose another node_name"]);
    node3.node_config(3, "");
    refusal.with(1, &["is not registered"], |program| program.args(["--upstream-node-id", "9"]));
    // A witness has none of the cluster's data.
    let witness = cluster.foreign("witness");
    node1.psql_as("repmgr", "repmgr", &format!(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, upstream_node_id, active, conninfo, repluser, config_file)
         VALUES (9, 'witness', 'witness', 1, true, '{}', 'repmgr', '/nowhere')", witness.conninfo()));
    let dump = run_tool(&pg.tool("pg_dump"), ["-d", &node1.conninfo(), "-n", "repmgr", "-n", "pgbaton"]);
    let sql = cluster.dir().join("metadata.sql");
    std::fs::write(&sql, &dump.stdout).unwrap();
    run_tool(&pg.tool("psql"), ["-Xq", "-d", &witness.conninfo(), "-f", &sql.to_string_lossy()]).code(0);
    let refusal = Refusal {
        servers: vec![&node1, &node2, &witness],
        directories: vec![&node3.dir],
        node: &node3,
        source: &witness,
    };
    refusal.is(1, &["\"witness\" is a witness", "Clone from the primary or from a standby"]);
    node1.psql_as("repmgr", "repmgr", "DELETE FROM repmgr.nodes WHERE node_id = 9");
    // Its upstream does not answer.
    node2.stop(StopMode::Fast);
    let refusal = Refusal {
        servers: vec![&node1, &node2],
        directories: vec![&node3.dir],
        node: &node3,
        source: &node1,
    };
    refusal.with(6, &["the upstream \"node2\" is unreachable"], |program| {
        program.args(["--upstream-node-id", "2"])
    });
    node2.start();
    clone_from(&node3, &node1).args(["--upstream-node-id", "2"]).run().code(0);
    assert_eq!((slots(&node1), slots(&node2)), (String::new(), "repmgr_slot_3".into()));
    streams(&node3);
}

#[test]
fn a_database_that_does_not_fit_on_the_disk_is_refused() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    node1.psql("CREATE TABLE t AS SELECT 1 AS i");
    // A hole of many terabytes in the place of a table's next segments.
    let file = node1.data.join(node1.psql("SELECT pg_relation_filepath('t')"));
    for segment in 1..=8 {
        let hole = std::fs::File::create(format!("{}.{segment}", file.display())).unwrap();
        hole.set_len(1 << 42).unwrap();
    }
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let refusal =
        Refusal { servers: vec![&node1], directories: vec![&node2.dir], node: &node2, source: &node1 };
    refusal.is(1, &["is too small for the clone", "MB are free"]);
    for segment in 1..=8 {
        std::fs::remove_file(format!("{}.{segment}", file.display())).unwrap();
    }
    clone_from(&node2, &node1).run().code(0);
    streams(&node2);
}

#[test]
fn tablespaces_that_fit_only_one_by_one_are_refused() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let file_system = rustix::fs::statvfs(cluster.dir()).unwrap();
    let free = file_system.f_bavail * file_system.f_frsize;
    let mut holes = Vec::new();
    let mut mappings = Vec::new();
    for name in ["ts1", "ts2"] {
        let old = cluster.dir().join(name);
        std::fs::create_dir(&old).unwrap();
        node1.psql(&format!("CREATE TABLESPACE {name} LOCATION '{}'", old.display()));
        node1.psql(&format!("CREATE TABLE {name} TABLESPACE {name} AS SELECT 1 AS i"));
        let file = node1.data.join(node1.psql(&format!("SELECT pg_relation_filepath('{name}')")));
        holes.push(format!("{}.1", file.display()));
        mappings.push(format!("\"{0}={0}_new\"", old.display()));
    }
    let node2 = cluster.empty("node2");
    node2.node_config(2, &format!("tablespace_mapping = [{}]", mappings.join(", ")));
    let refusal =
        Refusal { servers: vec![&node1], directories: vec![&node2.dir], node: &node2, source: &node1 };
    let hole = |path: &String| std::fs::File::create(path).unwrap().set_len(free / 10 * 6).unwrap();
    hole(&holes[0]);
    clone_from(&node2, &node1).arg("--dry-run").run().code(0);
    hole(&holes[1]);
    refusal.is(1, &["is too small for the clone", "ts1_new\", \"", "ts2_new\""]);
    holes.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    clone_from(&node2, &node1).run().code(0);
    streams(&node2);
}

#[test]
fn the_clone_waits_for_a_source_that_is_starting_up() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    // A standby without the WAL that its backup needs: it rejects connections until it has received it from its upstream.
    let proxy = Proxy::to(node1.port);
    proxy.set(Fault::Refuse);
    let node2 = cluster.empty("node2");
    let source = format!("host=127.0.0.1 port={} user=repmgr", node1.port);
    let data = node2.data.to_string_lossy();
    run_tool(
        &pg.tool("pg_basebackup"),
        ["-d", &source, "-D", &data, "-X", "none", "-c", "fast", "--no-sync"],
    )
    .code(0);
    std::fs::write(node2.data.join("standby.signal"), "").unwrap();
    node2.append_conf(&format!("primary_conninfo = 'host=127.0.0.1 port={} user=repmgr'", proxy.port));
    let log = node2.dir.join("log/start.log");
    run_tool(&pg.tool("pg_ctl"), ["-s", "-W", "-D", &data, "-l", &log.to_string_lossy(), "start"]).code(0);
    wait_for("node2 to refuse connections", SOON, || {
        node2.try_psql_as("postgres", "postgres", "SELECT 1").stderr.contains("not yet accepting")
            || node2.try_psql_as("postgres", "postgres", "SELECT 1").stderr.contains("starting up")
    });
    let node3 = cluster.empty("node3");
    node3.node_config(3, "");
    let refused = clone_from(&node3, &node2).args(["--timeout", "1"]).run();
    refused.code(6).says("still starting up").says("Waited 1 second");
    assert!(!node3.data.exists());
    let mut waiting = clone_from(&node3, &node2).spawn();
    waiting.wait_for_stderr("still starting up", SOON);
    proxy.set(Fault::None);
    waiting.wait(Duration::from_secs(90)).code(0);
    streams(&node3);
}

// ---- what is left when it is cut short -----------------------------------------------------------------------------

/// Waits until the running clone copies.
fn copies(node: &TestServer) {
    wait_for("the copy to have begun", SOON, || node.data.join("pgbaton_clone/copy/base").exists());
}

/// Returns the base backups that write into a node's directory; those that have ended do not count.
fn base_backups(node: &TestServer) -> Vec<Pid> {
    let argument = format!("--pgdata={}", node.data.join("pgbaton_clone/copy").display());
    processes(|_, line| line.split('\0').any(|word| word == argument))
}

fn processes(mut is: impl FnMut(Pid, &str) -> bool) -> Vec<Pid> {
    let entries = Path::new("/proc").read_dir().unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let line =
                String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).ok()?).into_owned();
            is(pid, &line).then_some(pid)
        })
        .collect()
}

/// Starts the server by hand, as an operator might: it must not come up, or come up as a standby.
/// Returns which of the two it was.
#[track_caller]
fn assert_no_second_primary(node: &TestServer) -> bool {
    let comes_up = node.try_start().status.success();
    if comes_up {
        assert_eq!(node.psql("SELECT pg_is_in_recovery()"), "t");
        node.stop(StopMode::Fast);
    }
    comes_up
}

/// The same command again, without --force: it must make a standby, and leave nothing else.
#[track_caller]
fn succeeds_again(node: &TestServer, source: &TestServer) {
    node.node_config(2, "");
    clone_from(node, source).run().code(0);
    assert!(!node.data.join("pgbaton_clone").exists());
    assert_eq!(base_backups(node), []);
    assert_eq!(slots(source), "repmgr_slot_2");
    streams(node);
    let left: Vec<_> = node.data.read_dir().unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("pgbaton")), "{left:?}");
}

/// Undoes a clone, for the next one.
fn reset(node: &TestServer, source: &TestServer) {
    if node.is_running() {
        node.stop(StopMode::Immediate);
    }
    std::fs::remove_dir_all(&node.data).unwrap();
    let unused = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
    wait_for("the slot to be gone", SOON, || {
        source.psql(unused);
        slots(source).is_empty()
    });
}

#[test]
fn a_signal_during_the_copy_restores_the_old_state() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    std::fs::create_dir(&node2.data).unwrap();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        node2.node_config(2, SLOWLY);
        let running = clone_from(&node2, &node1).arg("--json").spawn();
        copies(&node2);
        running.signal(signal);
        let output = running.wait(Duration::from_secs(60));
        output.code(code).says("interrupted");
        let json = output.json();
        assert_eq!((&json["exit_code"], &json["changed"]), (&code.into(), &false.into()), "{json}");
        assert_eq!(entries(&node2.data), 0);
        assert_eq!(slots(&node1), "");
        assert_eq!(base_backups(&node2), []);
    }
    succeeds_again(&node2, &node1);
}

#[test]
fn a_lost_terminal_does_not_stop_the_clone() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "pg_basebackup_options = \"--max-rate=8M\"");
    let mut command = support::clean_command(Path::new(env!("CARGO_BIN_EXE_pgbaton")));
    command.arg("-f").arg(node2.config()).args(["standby", "clone", "-h", "127.0.0.1", "-p"]);
    command.arg(node1.port.to_string()).env("HOME", cluster.dir());
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    copies(&node2);
    drop((child.stdout.take(), child.stderr.take()));
    rustix::process::kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    wait_for("the clone to end", Duration::from_secs(90), || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!node2.data.join("pgbaton_clone").exists());
    streams(&node2);
}

#[test]
fn a_clone_killed_during_the_copy_is_taken_over() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    // Once with a base backup that runs, and once with one that hangs.
    for stuck in [false, true] {
        node2.node_config(2, SLOWLY);
        let mut running = clone_from(&node2, &node1).spawn();
        copies(&node2);
        let writers = base_backups(&node2);
        assert!(!writers.is_empty());
        if stuck {
            writers.iter().for_each(|pid| rustix::process::kill_process(*pid, Signal::STOP).unwrap());
        }
        running.signal(Signal::KILL);
        assert!(running.ends_within(SOON));
        wait_for("the base backup to end", SOON, || base_backups(&node2).is_empty());
        assert!(!assert_no_second_primary(&node2));
        node2
            .pgbaton(["node", "start"])
            .run()
            .code(1)
            .says("holds an unfinished clone")
            .says("standby clone");
        succeeds_again(&node2, &node1);
        reset(&node2, &node1);
    }
}

#[test]
fn processes_that_a_killed_clone_left_are_terminated_by_the_next_one() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    // As the receiver of a pg_basebackup that lost its parent: it writes to the copy and holds the slot.
    let copy = node2.data.join("pgbaton_clone/copy");
    std::fs::create_dir_all(&copy).unwrap();
    std::fs::write(node2.data.join("pgbaton_clone/marker.json"), r#"{"note":"","tablespaces":[]}"#).unwrap();
    node1.psql("SELECT pg_create_physical_replication_slot('repmgr_slot_2', true)");
    let source = format!("host=127.0.0.1 port={} user=repmgr", node1.port);
    let receiver = pg.tool("pg_receivewal").to_string_lossy().into_owned();
    let script =
        "while :; do date > \"$1/$$\"; sleep 0.1; done & exec \"$2\" -S repmgr_slot_2 -d \"$3\" -D \"$1\"";
    let mut command = support::clean_command(Path::new("/bin/sh"));
    let argument = format!("--pgdata={}", copy.display());
    command.args(["-c", script, "sh"]).arg(&copy).args([receiver, source]).arg(&argument);
    let mut left = Running::start(command);
    node1.wait_until("SELECT active FROM pg_replication_slots", "t", SOON);
    // The shell's loop has the argument; the receiver holds the slot until its connection is closed.
    let mut running = {
        node2.node_config(2, "");
        clone_from(&node2, &node1).spawn()
    };
    running.wait_for_stderr("end the base backup of an interrupted clone", SOON);
    running.wait_for_stderr("is not in use", SOON);
    left.signal(Signal::KILL);
    assert!(left.ends_within(SOON));
    running.wait(Duration::from_secs(60)).code(0);
    streams(&node2);
    assert_eq!(base_backups(&node2), []);
}

#[test]
fn a_clone_killed_at_any_step_is_taken_over() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let planned = clone_from(&node2, &node1).args(["--dry-run", "--json"]).run().json();
    let steps: Vec<String> = planned["data"]["plan"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["id"].as_str().unwrap().to_string())
        .collect();
    assert!(steps.len() > 6, "{steps:?}");
    for step in steps {
        // Between the end of pg_basebackup and what makes a standby of the copy.
        let marks: &[&str] = if step == "base_backup" { &["started", "done"] } else { &["started"] };
        for mark in marks {
            node2.node_config(2, "");
            kill_at_mark(&node2, clone_from(&node2, &node1), &step, mark);
            if assert_no_second_primary(&node2) {
                // It was complete, and by its first start it has become a standby.
                assert!(step == "put_in_place" || step == "remove_marker", "{step}");
            } else {
                succeeds_again(&node2, &node1);
            }
            reset(&node2, &node1);
        }
    }
}

#[test]
fn the_event_of_a_killed_clone_is_recorded_once() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    let log = cluster.dir().join("events");
    let hook = format!("event_notification_command = \"echo %n %e %s >> {}\"", log.display());
    for (step, then) in [
        ("put_in_place", "operation resume"),
        ("remove_marker", "operation resume"),
        ("remove_marker", "node start"),
    ] {
        node2.node_config(2, &hook);
        metadata(&node1, "DELETE FROM repmgr.events WHERE event = 'standby_clone'");
        kill_at_mark(&node2, clone_from(&node2, &node1), step, "done");
        assert!(!log.exists());
        node2.pgbaton(then.split(' ')).run().code(0);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "2 standby_clone 1\n", "{step}, {then}");
        let rows = "SELECT node_id, successful, details FROM repmgr.events WHERE event = 'standby_clone'";
        assert_eq!(metadata(&node1, rows), "2|t|cloned from \"node1\"", "{step}, {then}");
        assert!(!node2.data.join("pgbaton_clone").exists());
        node2.pgbaton(["operation", "resume"]).run().code(1).says("no operation is unfinished");
        std::fs::remove_file(&log).unwrap();
        if then == "node start" {
            node2.stop(StopMode::Fast);
        }
        reset(&node2, &node1);
    }
}

/// Runs the program and kills it when its journal holds a mark, before anything else is done.
#[track_caller]
fn kill_at_mark(node: &TestServer, program: Pgbaton, step: &str, mark: &str) {
    let journals = node.dir.join("state/operations");
    let _ = std::fs::remove_dir_all(&journals);
    let mut running = Stepped::start(program);
    for line in 1.. {
        assert!(running.run_to_line(line, Side::After), "never reached {step}");
        let newest = journals.read_dir().unwrap().flatten().map(|entry| entry.path()).max();
        let text = std::fs::read_to_string(newest.unwrap()).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        if last["record"] == "mark" && last["step"] == step && last["mark"] == mark {
            break;
        }
    }
    running.kill().wait(SOON);
}

#[test]
fn a_half_moved_clone_cannot_start() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    clone_from(&node2, &node1).run().code(0);
    let (first, last) = order_of_the_move(&node2.dir.join("state/operations"));
    assert_eq!(last, ["global", "PG_VERSION"]);
    // Back to the moment before the move.
    let copy = node2.data.join("pgbaton_clone/copy");
    let mut names: Vec<String> = node2
        .data
        .read_dir()
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    std::fs::create_dir_all(&copy).unwrap();
    std::fs::write(node2.data.join("pgbaton_clone/marker.json"), r#"{"note":"","tablespaces":[]}"#).unwrap();
    names.iter().for_each(|name| std::fs::rename(node2.data.join(name), copy.join(name)).unwrap());
    let middle = names.iter().filter(|name| !first.contains(name) && !last.contains(name));
    let order: Vec<&String> = first.iter().chain(middle).chain(&last).collect();
    for name in order.iter().take(order.len() - 1) {
        std::fs::rename(copy.join(name), node2.data.join(name)).unwrap();
        let start = node2.try_start();
        assert!(!start.status.success(), "after the move of {name}");
    }
    // Complete, but for the removal of the mark.
    std::fs::rename(copy.join("PG_VERSION"), node2.data.join("PG_VERSION")).unwrap();
    let whole = cluster.dir().join("whole");
    let cp = |from: &Path, to: &Path| {
        run_tool(Path::new("/bin/cp"), ["-a".as_ref(), from.as_os_str(), to.as_os_str()])
    };
    cp(&node2.data, &whole).code(0);
    node2.start();
    assert_eq!(node2.psql("SELECT pg_is_in_recovery()"), "t");
    node2.stop(StopMode::Fast);
    // Once started it is a standby.
    clone_from(&node2, &node1).run().code(1).says("already a data directory");
    std::fs::remove_dir_all(&node2.data).unwrap();
    cp(&whole, &node2.data).code(0);
    succeeds_again(&node2, &node1);
}

/// Reads from the journal which entries are moved first and last.
fn order_of_the_move(journals: &Path) -> (Vec<String>, Vec<String>) {
    let path = journals.read_dir().unwrap().flatten().map(|entry| entry.path()).max().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let op = find(&header, "move_entries").expect("a move in the plan");
    let names = |key: &str| serde_json::from_value(op[key].clone()).unwrap();
    (names("first"), names("last"))
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|value| find(value, key))),
        Value::Array(list) => list.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

#[test]
fn a_mark_left_in_a_complete_clone_is_removed_by_the_next_command() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    clone_from(&node2, &node1).run().code(0);
    let staging = node2.data.join("pgbaton_clone");
    // As if it had been killed after the move.
    let mark = || {
        std::fs::create_dir(&staging).unwrap();
        std::fs::write(staging.join("marker.json"), r#"{"note":"","tablespaces":[]}"#).unwrap();
    };
    mark();
    std::fs::create_dir(staging.join("copy")).unwrap();
    std::fs::write(staging.join("copy/PG_VERSION"), "15\n").unwrap();
    node2.pgbaton(["node", "start"]).run().code(1).says("holds an unfinished clone");
    std::fs::remove_file(staging.join("copy/PG_VERSION")).unwrap();
    node2.pgbaton(["node", "start"]).run().code(0);
    assert!(!staging.exists());
    node2.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
    // Started by hand, and registered.
    mark();
    let dry = node2.pgbaton(["standby", "register", "--dry-run"]).run();
    assert!(
        dry.code(0).stdout.contains("remove the marker of the completed clone") && staging.exists(),
        "{dry:?}"
    );
    node2.pgbaton(["standby", "register"]).run().code(0);
    assert!(!staging.exists());
    node2.stop(StopMode::Fast);
    mark();
    clone_from(&node2, &node1).arg("--replication-conf-only").run().code(0);
    assert!(!staging.exists());
    // What is not ours stays.
    mark();
    std::fs::write(staging.join("diary"), "mine").unwrap();
    node2.pgbaton(["node", "start"]).run().code(0);
    assert!(staging.join("diary").exists());
}

#[test]
fn a_forced_clone_that_is_killed_is_taken_over() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.standby("node2", &node1);
    node2.stop(StopMode::Fast);
    for step in ["take_control_file", "take_version_file", "clear_data_directory"] {
        node2.node_config(2, SLOWLY);
        kill_at_mark(&node2, clone_from(&node2, &node1).arg("--force"), step, "done");
        assert!(!node2.try_start().status.success(), "{step}");
        wait_for("the base backup to end", SOON, || base_backups(&node2).is_empty());
        succeeds_again(&node2, &node1);
        node2.stop(StopMode::Fast);
        node1.wait_until("SELECT count(*) FROM pg_stat_replication", "0", SOON);
    }
    // What was there is gone, and that is said.
    node2.node_config(2, SLOWLY);
    let running = clone_from(&node2, &node1).args(["--force", "--json"]).spawn();
    copies(&node2);
    running.signal(Signal::INT);
    let output = running.wait(Duration::from_secs(60));
    output.code(130).says("held before was removed");
    assert_eq!(output.json()["changed"], true);
    succeeds_again(&node2, &node1);
}

#[test]
fn a_copy_that_fails_restores_the_old_state() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let old = cluster.dir().join("ts");
    std::fs::create_dir(&old).unwrap();
    node1.psql(&format!("CREATE TABLESPACE ts LOCATION '{}'", old.display()));
    node1.psql("CREATE TABLE t TABLESPACE ts AS SELECT 1 AS i");
    let node2 = cluster.empty("node2");
    let new = cluster.dir().join("ts2");
    let mapping = format!("tablespace_mapping = [\"{}={}\"]", old.display(), new.display());
    let proxy = Proxy::to(node1.port);
    node2.node_config(2, &format!("{mapping}\n{SLOWLY}"));
    let port = proxy.port.to_string();
    let running = node2
        .pgbaton(["standby", "clone", "-h", "127.0.0.1", "-U", "repmgr", "-d", "repmgr", "-p", &port])
        .spawn();
    copies(&node2);
    proxy.set(Fault::Refuse);
    let failed = running.wait(Duration::from_secs(60));
    failed.code(14).says("pg_basebackup").says("All changes have been undone");
    assert_eq!((entries(&node2.data), entries(&new)), (0, 0));
    assert_eq!(slots(&node1), "");
    // Killed, the tablespace's directory is ours as well.
    let mut running = clone_from(&node2, &node1).spawn();
    wait_for("the tablespace to be copied", SOON, || entries(&new) > 0);
    running.signal(Signal::KILL);
    assert!(running.ends_within(SOON));
    wait_for("the base backup to end", Duration::from_secs(60), || base_backups(&node2).is_empty());
    node2.node_config(2, &mapping);
    clone_from(&node2, &node1).run().code(0);
    assert_eq!(slots(&node1), "repmgr_slot_2");
    streams(&node2);
    assert_eq!(node2.psql("SELECT i FROM t"), "1");
    assert_eq!(
        node1.psql_as(
            "repmgr",
            "repmgr",
            "SELECT successful FROM repmgr.events WHERE event = 'standby_clone' ORDER BY event_timestamp"
        ),
        "f\nt"
    );
}

// ---- with certificates ---------------------------------------------------------------------------------------------

#[test]
fn an_encrypted_key_opens_every_connection_and_its_passphrase_is_never_visible() {
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let node1 = cluster.primary("node1");
        let passphrase = "phr4se 'x' \\";
        let dir = cluster.dir().join("tls");
        certificates(&dir, passphrase);
        node1.append_conf(&format!(
            "ssl = on\nssl_cert_file = '{0}/server.crt'\nssl_key_file = '{0}/server.key'\nssl_ca_file = '{0}/root.crt'",
            dir.display()
        ));
        node1.set_hba(
            "local all all trust\nhostssl all all 127.0.0.1/32 cert\nhostssl replication all 127.0.0.1/32 cert",
        );
        node1.restart();
        let tls = format!(
            "sslmode=verify-full sslrootcert={0}/root.crt sslcert={0}/repmgr.crt sslkey={0}/locked.key",
            dir.display()
        );
        let secret = format!("sslpassword='{}'", passphrase.replace('\\', "\\\\").replace('\'', "\\'"));
        // Every node says so in its own conninfo, which is in its record.
        let config = |node: &TestServer, id: i32, more: &str| {
            let path = node.node_config(id, more);
            let text = std::fs::read_to_string(&path).unwrap();
            let own = format!("conninfo = {:?}", format!("{} {tls} {secret}", node.conninfo()));
            std::fs::write(&path, text.replace(&format!("conninfo = \"{}\"", node.conninfo()), &own))
                .unwrap();
        };
        config(&node1, 1, "");
        node1.pgbaton(["primary", "register"]).run().code(0);
        let node2 = cluster.empty("node2");
        config(&node2, 2, "pg_basebackup_options = \"--max-rate=16M\"");
        let source = format!("host=127.0.0.1 port={} user=repmgr dbname=repmgr {tls}", node1.port);
        let wrong = format!("{source} sslpassword=wrong");
        node2.pgbaton(["standby", "clone", "-d", &wrong]).run().code(6).says("locked.key");
        // As a service, whose file only its owner reads, the passphrase is in no command line at all.
        let services = cluster.dir().join("services");
        let lines = source.replace(' ', "\n");
        std::fs::write(&services, format!("[source]\n{lines}\nsslpassword={passphrase}\n")).unwrap();
        std::fs::set_permissions(&services, std::fs::Permissions::from_mode(0o600)).unwrap();
        let node3 = cluster.empty("node3");
        for (node, id, by_service) in [(&node2, 2, true), (&node3, 3, false)] {
            config(node, id, "pg_basebackup_options = \"--max-rate=16M\"");
            let program =
                node.pgbaton(["--json", "-L", "DEBUG", "standby", "clone", "--start", "--register"]);
            let program = match by_service {
                true => {
                    program.args(["-d", "service=source"]).env("PGSERVICEFILE", services.to_string_lossy())
                }
                false => program.args(["-d", &format!("{source} {secret}")]),
            };
            let mut running = program.spawn();
            let mut seen = 0;
            let own = env!("CARGO_BIN_EXE_pgbaton");
            while running.is_running() {
                let visible = processes(|_, line| {
                    seen += usize::from(line.contains("pg_basebackup"));
                    // The command line of pgbaton itself is the user's own doing.
                    line.contains("phr4se") && (by_service || !line.starts_with(own))
                });
                assert_eq!(visible, []);
            }
            let output = running.wait(SOON);
            output.code(0);
            assert!(seen > 0, "no base backup was seen");
            node.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
            let by = format!(
                "SELECT ssl, client_dn FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE application_name = '{}'",
                node.name
            );
            assert_eq!(node1.psql(&by), "t|/CN=repmgr");
            let mut places = vec![output.stdout.clone(), output.stderr.clone()];
            for directory in [node.dir.join("state"), node.dir.join("state/operations")] {
                for entry in directory.read_dir().unwrap().flatten() {
                    places.push(std::fs::read_to_string(entry.path()).unwrap_or_default());
                }
            }
            places.push(node.pgbaton(["cluster", "show", "--json"]).run().code(0).stdout.clone());
            for place in places {
                assert!(!place.contains("phr4se"), "{place}");
            }
            // The one file of the server that has it is its owner's alone.
            let conf = node.data.join("postgresql.auto.conf");
            assert!(auto_conf(node).contains("phr4se"));
            assert_eq!(conf.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!node.dir.join("state/pg_service.conf").exists());
        }
        // It stays where the server has it when the server follows another one.
        node3.pgbaton(["standby", "follow", "--upstream-node-id=2"]).run().code(0);
        assert_eq!(node2.psql("SELECT application_name FROM pg_stat_replication"), "node3");
        assert!(auto_conf(&node3).contains("phr4se"));
    }
}

// ---- what it shows -------------------------------------------------------------------------------------------------

#[test]
fn no_secret_is_visible() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let (secret, passphrase) = ("s3cret-word", "s3cret-phrase");
    node1.psql(&format!("ALTER ROLE repmgr PASSWORD '{secret}'"));
    node1.set_hba("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256");
    node1.reload();
    let plain = format!("host=127.0.0.1 port={} user=repmgr dbname=repmgr", node1.port);
    for (i, by_variable) in [false, true].into_iter().enumerate() {
        let node = cluster.empty(&format!("node{}", i + 2));
        let passfile = cluster.dir().join("pgpass");
        std::fs::write(&passfile, format!("*:*:*:repmgr:{secret}\n")).unwrap();
        std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
        let id = i32::try_from(i).unwrap() + 2;
        node.node_config(
            id,
            &format!("passfile = \"{}\"\npg_basebackup_options = \"--max-rate=16M\"", passfile.display()),
        );
        // The servers' own connections look into the user's password file.
        let program = node.pgbaton(["--json", "-L", "DEBUG", "standby", "clone"]);
        let program = if by_variable {
            program.env("PGPASSWORD", secret).args(["-d", &format!("{plain} sslpassword={passphrase}")])
        } else {
            program
                .env("PGPASSFILE", passfile.to_string_lossy())
                .args(["-d", &format!("{plain} password={secret} sslpassword={passphrase}")])
        };
        let mut running = program.spawn();
        let mut seen = 0;
        while running.is_running() {
            // The command line of pgbaton itself is the user's own doing.
            let own = env!("CARGO_BIN_EXE_pgbaton");
            let visible = processes(|_, line| {
                seen += usize::from(line.contains("pg_basebackup"));
                line.contains("s3cret") && !line.starts_with(own)
            });
            assert_eq!(visible, []);
        }
        let output = running.wait(SOON);
        output.code(0);
        assert!(seen > 0, "no base backup was seen");
        let mut places = vec![output.stdout.clone(), output.stderr.clone()];
        for directory in [node.dir.join("state"), node.dir.join("state/operations")] {
            for entry in directory.read_dir().unwrap().flatten() {
                places.push(std::fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
        places.push(auto_conf(&node));
        places.push(node1.psql_as("repmgr", "repmgr", "SELECT * FROM repmgr.events"));
        places.push(node1.psql_as("repmgr", "repmgr", "SELECT * FROM pgbaton.operation"));
        for place in places {
            assert!(!place.contains("s3cret"), "{place}");
        }
        streams(&node);
    }
}

#[test]
fn progress_is_shown_on_a_terminal_and_steps_elsewhere() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "pg_basebackup_options = \"--max-rate=8M\"");
    let command = |node: &TestServer| {
        format!(
            "{} -f {} standby clone -h 127.0.0.1 -p {}",
            env!("CARGO_BIN_EXE_pgbaton"),
            node.config().display(),
            node1.port
        )
    };
    // A terminal that is a program's.
    let on_terminal = |node: &TestServer| {
        let mut script = support::clean_command(Path::new("/usr/bin/script"));
        script.args(["-qec", &command(node), "/dev/null"]).env("HOME", cluster.dir()).env("TERM", "xterm");
        Running::start(script)
    };
    let shown = on_terminal(&node2).wait(Duration::from_secs(90));
    shown.code(0);
    let text = &shown.stdout;
    let bars: Vec<&str> =
        text.split('\r').filter(|part| part.contains("% ") && part.contains("MB of")).collect();
    assert!(bars.iter().any(|bar| bar.contains("/s") && bar.contains("left")), "{text}");
    // Before each message that follows, the line is wiped.
    let after = text.rsplit_once(bars.last().unwrap()).unwrap().1;
    assert!(after.starts_with("\r\u{1b}[2K"), "{after:?}");
    streams(&node2);
    node2.stop(StopMode::Fast);
    let node3 = cluster.empty("node3");
    node3.node_config(3, SLOWLY);
    let running = on_terminal(&node3);
    copies(&node3);
    let own = processes(|_, line| {
        line.starts_with(env!("CARGO_BIN_EXE_pgbaton")) && line.contains(&*node3.config().to_string_lossy())
    });
    // As the terminal's Ctrl-C does: to the whole group in front.
    own.iter().for_each(|pid| {
        let group = rustix::process::getpgid(Some(*pid)).unwrap();
        rustix::process::kill_process_group(group, Signal::INT).unwrap();
    });
    let cut = running.wait(Duration::from_secs(60));
    cut.code(130);
    assert_eq!(entries(&node3.data), 0);
    assert_eq!(slots(&node1), "repmgr_slot_2");
    // Without a terminal: lines only.
    node3.node_config(3, "");
    let plain = clone_from(&node3, &node1).run();
    plain.code(0);
    assert!(!plain.stderr.contains('\r') && !plain.stderr.contains('\u{1b}'), "{plain:?}");
    assert!(plain.stderr.lines().filter(|line| line.starts_with("INFO: [")).count() > 6, "{plain:?}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = primary(&cluster, "node1");
    let node2 = cluster.empty("node2");
    node2.node_config(2, "");
    let all = || Fingerprint::of(&[&node1], &[&node2.dir, &cluster.dir().join("home")]);
    let before = all();
    let conninfo = format!("host=127.0.0.1 port={} user=repmgr dbname=repmgr sslpassword=x", node1.port);
    let shown = node2.pgbaton(["standby", "clone", "--dry-run", "-d", &conninfo]).run();
    shown.code(0).says("nothing was changed");
    assert!(shown.stdout.contains("pg_basebackup"), "{shown:?}");
    before.assert_same(&all());
    clone_from(&node2, &node1)
        .arg("--dry-run")
        .args(["--start", "--register", "--verify-backup"])
        .run()
        .code(0);
    before.assert_same(&all());
}
