//! `node start|stop|restart|reload|service|status` on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report"
)]

mod support;

use std::io::Write;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use support::{Fingerprint, Output, Pg, SOON, StopMode, TestCluster, TestServer, postgres, run_tool};

#[track_caller]
fn json(output: &Output, command: &str, exit: i32, changed: bool) -> serde_json::Value {
    let json = output.json();
    assert_eq!(json["command"], command, "{output:?}");
    assert_eq!(json["exit_code"], exit, "{output:?}");
    assert_eq!(json["changed"], changed, "{output:?}");
    assert_eq!(json["error"].is_null(), exit == 0 || exit == 25, "{output:?}");
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
    json
}

fn registered(cluster: &TestCluster, name: &str, node_id: i32) -> TestServer {
    let server = cluster.primary(name);
    server.node_config(node_id, "");
    server.pgbaton(["primary", "register"]).run().code(0);
    server
}

#[test]
fn a_server_is_started_stopped_restarted_and_reloaded_with_the_options_it_had() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "");
    // Options of the command line that stand in no file, one of them with a space in it.
    node1.stop(StopMode::Fast);
    run_tool(
        &pg.tool("pg_ctl"),
        [
            "-s",
            "-w",
            "-D",
            &node1.data.to_string_lossy(),
            "-l",
            &node1.dir.join("log/start.log").to_string_lossy(),
            "-o",
            "-c work_mem=7MB -c cluster_name='two words'",
            "start",
        ],
    )
    .code(0);
    let check = || assert_eq!(node1.psql("SHOW work_mem; SHOW cluster_name"), "7MB\ntwo words");
    check();

    for verb in ["stop", "start", "restart", "reload"] {
        let before = Fingerprint::of(&[&node1], &[]);
        let dry = node1.pgbaton(["node", verb, "--dry-run", "--json"]).run();
        let plan = &json(&dry, &format!("node {verb}"), 0, false)["data"]["plan"];
        assert!(plan["title"].as_str().unwrap().contains(verb), "{plan}");
        before.assert_same(&Fingerprint::of(&[&node1], &[]));
    }

    let output = node1.pgbaton(["node", "start", "--json"]).run();
    json(&output, "node start", 0, false);
    output.says("is running already; nothing was changed");
    json(&node1.pgbaton(["node", "stop", "--checkpoint", "--json"]).run(), "node stop", 0, true);
    assert!(!node1.is_running());
    assert_eq!(node1.control_data("Database cluster state"), "shut down");
    let output = node1.pgbaton(["node", "stop", "--json"]).run();
    json(&output, "node stop", 0, false);
    output.says("is not running; nothing was changed");
    let output = node1.pgbaton(["node", "reload", "--json"]).run();
    json(&output, "node reload", 1, false);
    json(&node1.pgbaton(["node", "start", "--json"]).run(), "node start", 0, true);
    check();
    json(&node1.pgbaton(["node", "restart", "--json"]).run(), "node restart", 0, true);
    check();
    json(&node1.pgbaton(["node", "service", "--action=restart", "--json"]).run(), "node service", 0, true);
    check();
    node1.append_conf("maintenance_work_mem = '33MB'");
    json(&node1.pgbaton(["node", "reload", "--json"]).run(), "node reload", 0, true);
    node1.wait_until("SHOW maintenance_work_mem", "33MB", SOON);

    // A file of a dead postmaster is no running server, not even when its number belongs to another process now.
    node1.kill9();
    let output = node1.pgbaton(["node", "status", "--is-shutdown-cleanly"]).run();
    assert_eq!(output.code(0).stdout, "--state=UNCLEAN_SHUTDOWN\n");
    let pid_file = node1.data.join("postmaster.pid");
    let text = std::fs::read_to_string(&pid_file).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    node1.pgbaton(["node", "stop"]).run().code(0).says("is not running");
    std::fs::write(&pid_file, text).unwrap();
    node1.pgbaton(["node", "start"]).run().code(0);
    check();
}

#[test]
fn a_superuser_writes_the_checkpoint_that_the_role_may_not() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let config = node1.node_config(1, "");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("user=repmgr dbname=repmgr", "user=baton dbname=baton")).unwrap();
    let restart = |more: &[&str]| {
        let words = ["node", "restart", "--checkpoint", "--json"].into_iter().chain(more.iter().copied());
        node1.pgbaton(words).run()
    };
    restart(&[]).code(0).says("which is skipped").says("-S");
    let before = node1.postmaster();
    let refused = restart(&["-S", "baton"]);
    json(&refused, "node restart", 1, false);
    refused.says("role \"baton\" is not a superuser");
    json(&restart(&["-S", "nobody"]), "node restart", 6, false);
    assert_eq!(node1.postmaster(), before);
    let done = restart(&["-S", "postgres"]);
    let steps = json(&done, "node restart", 0, true)["data"]["steps"].clone();
    assert_eq!((&steps[0]["title"], &steps[0]["status"]), (&"write a checkpoint".into(), &"done".into()));
    assert!(!done.stderr.contains("skipped"), "{done:?}");
    // Where it has no use it is not silently ignored.
    node1.pgbaton(["node", "status", "-S", "postgres"]).run().says("-S is not used by this command");
}

#[test]
fn a_start_that_fails_says_what_the_server_says() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "");
    node1.stop(StopMode::Fast);
    // A setting that is wrong is said before there is any log of the server's own.
    let conf = node1.data.join("postgresql.conf");
    let good = std::fs::read_to_string(&conf).unwrap();
    node1.append_conf("no_such_parameter = 1");
    let output = node1.pgbaton(["node", "start", "--json"]).run();
    let text = json(&output, "node start", 4, true)["error"].to_string();
    assert!(
        text.contains("unrecognized configuration parameter") && text.contains("no_such_parameter"),
        "{text}"
    );
    // One that shows later is only in the server's own log, and what stood in either before is old.
    std::fs::write(&conf, format!("{good}\nrestore_command = ''\n")).unwrap();
    std::fs::write(node1.data.join("standby.signal"), "").unwrap();
    std::fs::write(node1.data.join("recovery.signal"), "").unwrap();
    node1.append_conf("recovery_target_timeline = '77'");
    let output = node1.pgbaton(["node", "start", "--json"]).run();
    let text = json(&output, "node start", 4, true)["error"].to_string();
    assert!(text.contains("FATAL") && text.contains("77") && !text.contains("no_such_parameter"), "{text}");
    let output = node1.pgbaton(["node", "restart"]).run();
    output.code(4).says("FATAL");
    // A port that somebody else has.
    std::fs::write(&conf, good).unwrap();
    std::fs::remove_file(node1.data.join("standby.signal")).unwrap();
    std::fs::remove_file(node1.data.join("recovery.signal")).unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", node1.port)).unwrap();
    let output = node1.pgbaton(["node", "start"]).run();
    output.code(4).says("FATAL").says("could not create any TCP/IP sockets");
    drop(taken);
    node1.pgbaton(["node", "start"]).run().code(0);
}

#[test]
fn a_stop_that_takes_too_long_is_given_up_and_told() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "shutdown_check_timeout = 1");
    // A fast stop disconnects a session that is busy; only one that is frozen holds it up.
    let mut busy = support::Running::start({
        let mut psql = support::clean_command(&pg.tool("psql"));
        let port = node1.port.to_string();
        let socket = node1.socket_dir.to_string_lossy().into_owned();
        psql.args(["-X", "-h", &socket, "-p", &port, "-U", "postgres", "-c", "SELECT pg_sleep(600)"]);
        psql
    });
    let sql = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'";
    support::wait_for("the busy session", SOON, || !node1.psql(sql).is_empty());
    let pid = Pid::from_raw(node1.psql(sql).parse().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let output = node1.pgbaton(["node", "stop", "--json"]).run();
    let error = json(&output, "node stop", 5, true)["error"].to_string();
    assert!(error.contains("still shutting down"), "{error}");
    let output = node1.pgbaton(["node", "status", "--is-shutdown-cleanly"]).run();
    assert!(output.code(0).stdout.starts_with("--state="), "{output:?}");
    kill_process(pid, Signal::CONT).unwrap();
    support::wait_for("the server to be down", SOON, || !node1.is_running());
    assert!(busy.ends_within(SOON));
    let output = node1.pgbaton(["node", "status", "--is-shutdown-cleanly"]).run();
    let lsn = node1.control_data("Latest checkpoint location");
    assert_eq!(output.code(0).stdout, format!("--state=SHUTDOWN --last-checkpoint-lsn={lsn}\n"));
    node1.pgbaton(["node", "start"]).run().code(0);
    let output = node1.pgbaton(["node", "status", "--is-shutdown-cleanly"]).run();
    assert_eq!(output.code(0).stdout, "--state=UP\n");
    // A server whose every process is busy is stopped all the same.
    node1.node_config(1, "");
    let mut busy = support::Running::start({
        let mut psql = support::clean_command(&pg.tool("psql"));
        let port = node1.port.to_string();
        let socket = node1.socket_dir.to_string_lossy().into_owned();
        psql.args(["-X", "-h", &socket, "-p", &port, "-U", "postgres", "-c", "SELECT pg_sleep(600)"]);
        psql
    });
    support::wait_for("the busy session", SOON, || !node1.psql(sql).is_empty());
    node1.pgbaton(["node", "stop"]).run().code(0);
    assert!(busy.ends_within(SOON));
}

#[test]
fn configured_commands_are_used_and_listed() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let data = node1.data.display();
    let bin = pg.bindir.display();
    let log = node1.dir.join("service.log");
    let shown = log.display();
    let commands = format!(
        "service_start_command = \"echo start >> {shown}; {bin}/pg_ctl -w -D {data} -l {shown} start\"\n\
         service_stop_command = \"echo stop >> {shown}; {bin}/pg_ctl -w -D {data} -m fast stop\"\n\
         service_restart_command = \"echo 'it failed' >&2; exit 3\"\n\
         service_reload_command = \"echo reload >> {shown}; {bin}/pg_ctl -D {data} reload\""
    );
    node1.node_config(1, &commands);
    let list = node1.pgbaton(["node", "service", "--list-actions"]).run();
    assert!(list.code(0).stdout.contains("start >>") && list.stdout.lines().count() == 4, "{list:?}");
    let listed = node1.pgbaton(["node", "service", "--list-actions", "--json"]).run();
    json(&listed, "node service", 0, false);
    for verb in ["stop", "start", "reload"] {
        node1.pgbaton(["node", verb]).run().code(0);
    }
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(["start\n", "stop\n", "reload\n"].iter().all(|line| said.contains(line)), "{said}");
    let output = node1.pgbaton(["node", "restart", "--json"]).run();
    let error = json(&output, "node restart", 4, true)["error"].to_string();
    assert!(error.contains("it failed") && error.contains("status 3"), "{error}");
    // Without commands, pg_ctl itself, and what it is called with can be copied into a shell.
    node1.node_config(1, "pg_ctl_options = \"--silent\"");
    let list = node1.pgbaton(["node", "service", "--list-actions"]).run();
    assert!(list.code(0).stdout.contains("pg_ctl stop") && list.stdout.contains("--silent"), "{list:?}");
}

#[test]
fn directories_that_are_none_are_refused_by_what_they_are() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.empty("node1");
    node1.node_config(1, "");
    let output = node1.pgbaton(["node", "start", "--json"]).run();
    json(&output, "node start", 1, false);
    output.says("is not a data directory");
    let staging = node1.data.join("pgbaton_clone");
    std::fs::create_dir_all(&staging).unwrap();
    let marker = r#"{"note":"a clone is being made here","tablespaces":[]}"#;
    std::fs::write(staging.join("marker.json"), marker).unwrap();
    for verb in ["start", "stop", "restart", "reload"] {
        node1.pgbaton(["node", verb]).run().code(1).says("holds an unfinished clone").says("standby clone");
    }
    let output = node1.pgbaton(["node", "status", "--is-shutdown-cleanly"]).run();
    assert_eq!(output.code(0).stdout, "--state=UNKNOWN\n");
}

// ---- node status --------------------------------------------------------------------------------------------------------

#[test]
fn status_has_the_shape_of_the_real_repmgr() {
    let home = Path::new("/usr/lib/postgresql/15");
    if !home.join("bin/repmgr").exists() || !home.join("bin/initdb").exists() {
        let _ = writeln!(std::io::stderr(), "skipped: repmgr is not installed in {}", home.display());
        return;
    }
    let pg = Pg { major: 15, bindir: home.join("bin") };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let node2 = cluster.standby("node2", &node1);
    for (server, id, kind) in [(&node1, 1, "primary"), (&node2, 2, "standby")] {
        let conf = server.dir.join("repmgr.conf");
        let text = format!(
            "node_id={id}\nnode_name='{}'\nconninfo='{}'\ndata_directory='{}'\npg_bindir='{}'\nlog_level=NOTICE\n",
            server.name,
            server.conninfo(),
            server.data.display(),
            pg.bindir.display()
        );
        std::fs::write(&conf, text).unwrap();
        server.pgbaton(["-f", &conf.to_string_lossy(), kind, "register"]).run().code(0);
    }
    node2.wait_for_replay_of(&node1);
    node1.psql("SELECT pg_create_physical_replication_slot('unused')");
    for server in [&node1, &node2] {
        let conf = server.dir.join("repmgr.conf").to_string_lossy().into_owned();
        for form in [&[][..], &["--csv"]] {
            let args: Vec<&str> = ["-f", &conf, "node", "status"].iter().chain(form).copied().collect();
            let ours = server.pgbaton(args.clone()).run();
            let real = run_tool(&pg.tool("repmgr"), args);
            assert_eq!(ours.status.code(), real.status.code(), "{ours:?}\n{real:?}");
            // Data size and lag move; the tab and the key do not.
            let comparable = |text: &str| -> Vec<String> {
                text.lines()
                    .map(|line| {
                        let moving = ["Total data size", "Replication lag", "Conninfo"];
                        let key = moving.iter().find(|key| line.contains(**key));
                        key.map_or_else(|| line.to_string(), ToString::to_string)
                    })
                    .collect()
            };
            let (lines, wanted) = (comparable(&ours.stdout), comparable(&real.stdout));
            let missing: Vec<&String> = wanted.iter().filter(|line| !lines.contains(line)).collect();
            assert!(missing.is_empty(), "{missing:#?}\n{ours:?}\n{real:?}");
            // In their order, with nothing between them but what is named here.
            let more: Vec<&String> = lines.iter().filter(|line| !wanted.contains(line)).collect();
            assert!(more.iter().all(|line| line.starts_with("\tTimeline: ")), "{more:#?}");
            let kept: Vec<&String> = lines.iter().filter(|line| wanted.contains(line)).collect();
            assert_eq!(kept, wanted.iter().collect::<Vec<_>>());
        }
        let clean = ["-f", &conf, "node", "status", "--is-shutdown-cleanly"];
        assert_eq!(server.pgbaton(clean).run().stdout, run_tool(&pg.tool("repmgr"), clean).stdout);
    }
    node2.stop(StopMode::Fast);
    let conf = node2.dir.join("repmgr.conf").to_string_lossy().into_owned();
    let clean = ["-f", &conf, "node", "status", "--is-shutdown-cleanly"];
    assert_eq!(node2.pgbaton(clean).run().stdout, run_tool(&pg.tool("repmgr"), clean).stdout);
}

#[test]
fn status_tells_what_is_wrong_with_the_node() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let status = || node1.pgbaton(["node", "status", "--json"]).run();
    let fine = json(&status(), "node status", 0, false);
    assert_eq!(fine["data"]["role"], "primary");
    assert_eq!(fine["data"]["registered_type"], "primary");
    assert_eq!(fine["issues"].as_array().unwrap().len(), 0);
    node1.psql("SELECT pg_create_physical_replication_slot('unused')");
    node1.psql_as(
        "repmgr",
        "repmgr",
        "INSERT INTO repmgr.nodes VALUES (2, 1, true, 'node2', 'standby', 'default', 100, 'host=/nowhere', 'repmgr',
         'repmgr_slot_2', '')",
    );
    let bad = json(&status(), "node status", 25, false);
    let codes: Vec<&str> =
        bad["issues"].as_array().unwrap().iter().map(|issue| issue["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"slot_inactive") && codes.contains(&"slot_missing"), "{bad}");
    let text = node1.pgbaton(["node", "status"]).run();
    assert!(
        text.code(25).stdout.contains("Replication slots: 1 physical (of maximal 10; 1 missing); 1 inactive")
    );
    text.says("WARNING: ").says("unused").says("repmgr_slot_2");
    node1.psql_as("repmgr", "repmgr", "DELETE FROM repmgr.nodes");
    node1
        .pgbaton(["node", "status"])
        .run()
        .code(25)
        .says("is not registered")
        .says("pgbaton primary register");
    node1.stop(StopMode::Immediate);
    json(&status(), "node status", 6, false);
}
