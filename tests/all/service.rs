//! `node start|stop|restart|reload|service|status` on real servers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    self, Fingerprint, Nodes, Pgbaton, SOON, StopMode, TestCluster, TestServer, can_unshare, clean_command,
    envelope, made_debian, metadata, packaged, postgres, real_repmgr, registered, repmgr_conf, run_tool,
    script, versions, with_real_repmgr,
};

#[test]
fn a_killed_postmaster_that_is_a_zombie_delays_its_successor_only_so_long() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.node_config(1, "");
    node1.kill9();
    // In its place another process that has ended, and whose parent, this test, has not asked for it.
    let mut ended = clean_command(Path::new("/bin/true")).spawn().unwrap();
    let file = node1.data.join("postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    std::fs::write(&file, format!("{}\n{rest}", ended.id())).unwrap();
    let refused = node1.pgbaton(["node", "start"]).run();
    refused
        .code(4)
        .says("its parent does not reap it")
        .says("Nothing was changed.")
        .says("docker run --init");
    let mut running = node1.pgbaton(["node", "start"]).spawn();
    running.wait_for_stderr("waiting for its parent to reap", SOON);
    ended.wait().unwrap();
    running.wait(SOON).code(0);
    assert!(node1.is_running());
}

#[test]
fn a_server_is_started_stopped_restarted_and_reloaded_with_the_options_it_had() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
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
        let plan = &envelope(&dry, &format!("node {verb}"), 0, false)["data"]["plan"];
        assert!(plan["title"].as_str().unwrap().contains(verb), "{plan}");
        before.assert_same(&Fingerprint::of(&[&node1], &[]));
    }

    let output = node1.pgbaton(["node", "start", "--json"]).run();
    envelope(&output, "node start", 0, false);
    output.says("is running already; nothing was changed");
    envelope(&node1.pgbaton(["node", "stop", "--checkpoint", "--json"]).run(), "node stop", 0, true);
    assert!(!node1.is_running());
    assert_eq!(node1.control_data("Database cluster state"), "shut down");
    let output = node1.pgbaton(["node", "stop", "--json"]).run();
    envelope(&output, "node stop", 0, false);
    output.says("is not running; nothing was changed");
    let output = node1.pgbaton(["node", "reload", "--json"]).run();
    envelope(&output, "node reload", 1, false);
    envelope(&node1.pgbaton(["node", "start", "--json"]).run(), "node start", 0, true);
    check();
    envelope(&node1.pgbaton(["node", "restart", "--json"]).run(), "node restart", 0, true);
    check();
    envelope(
        &node1.pgbaton(["node", "service", "--action=restart", "--json"]).run(),
        "node service",
        0,
        true,
    );
    check();
    node1.append_conf("maintenance_work_mem = '33MB'");
    envelope(&node1.pgbaton(["node", "reload", "--json"]).run(), "node reload", 0, true);
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

/// Says whether a command was refused because there is, or may be, another primary; then nothing was done.
#[track_caller]
fn no_second_primary(server: &TestServer, args: &[&str], says: &str) {
    let before = server.postmaster();
    let words: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let output = server.pgbaton(&words).run();
    output.code(31).says(says).says("Nothing was changed.");
    assert_eq!(output.json()["changed"], false);
    assert_eq!(server.postmaster(), before);
}

#[test]
fn a_server_starts_as_a_primary_only_where_there_is_no_other_one() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    one.pgbaton(["cluster", "show"]).run().code(0);
    let start = |more: &[&str]| one.pgbaton(["node", "start"].iter().chain(more)).run();
    // All others, then a majority; nodes that could not be queried are named.
    one.stop(StopMode::Fast);
    assert!(!start(&[]).code(0).stderr.contains("could be queried"));
    one.stop(StopMode::Fast);
    three.stop(StopMode::Fast);
    start(&[]).code(0).says("not all other nodes could be queried").says("Node \"node3\" does not respond");
    // No node: the operator must be certain.
    one.stop(StopMode::Fast);
    two.stop(StopMode::Fast);
    no_second_primary(one, &["node", "start"], "1 of 3 nodes, including itself");
    no_second_primary(one, &["node", "start", "--dry-run"], "repeat the command with --force.");
    no_second_primary(one, &["node", "service", "--action=start"], "cannot be determined");
    no_second_primary(one, &["node", "restart"], "cannot be determined");
    start(&["--force"]).code(0).says("overridden by --force");
    one.pgbaton(["node", "restart"]).run().code(0).says("not all nodes confirm that node \"node1\" is still");
    // While another command is at work on a node that answers, nothing is started.
    two.start();
    three.start();
    one.stop(StopMode::Fast);
    let mut other = support::Running::start({
        let mut psql = clean_command(&pg.tool("psql"));
        psql.args([
            "-X",
            "-d",
            &two.conninfo(),
            "-c",
            "SELECT pg_advisory_lock(8099550625553935872), pg_sleep(600)",
        ]);
        psql
    });
    two.wait_until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted", "1", SOON);
    let before = Fingerprint::of(&[one], &[]);
    start(&[]).code(30).says("On node \"node2\"");
    start(&["--force"]).code(30);
    before.assert_same(&Fingerprint::of(&[one], &[]));
    two.psql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'");
    assert!(other.ends_within(SOON));
    // Another primary: nothing overrides that, neither for a server that is down nor for one that runs.
    two.promote();
    no_second_primary(one, &["node", "start"], "accepts writes, on timeline 2");
    no_second_primary(one, &["node", "start", "--force"], "pgbaton node rejoin");
    no_second_primary(one, &["node", "service", "--action=start", "--force"], "accepts writes");
    one.start();
    no_second_primary(one, &["node", "restart", "--force"], "accepts writes, on timeline 2");
    // With its standby.signal it is a standby, and starts whatever the others say.
    one.stop(StopMode::Fast);
    std::fs::write(one.data.join("standby.signal"), "").unwrap();
    start(&[]).code(0);
    assert_eq!(one.psql("SELECT pg_is_in_recovery()"), "t");
    one.pgbaton(["node", "restart"]).run().code(0);
}

#[test]
fn a_standby_does_not_become_a_primary_by_being_started() {
    for pg in versions() {
        let nodes = Nodes::new(&pg, 1);
        let (one, two) = (nodes.node(1), nodes.node(2));
        let stays_a_standby = |what: &str| {
            let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            one.wait_until(streams, "1", SOON);
            assert_eq!(two.psql("SELECT pg_is_in_recovery()"), "t", "{} {what}", pg.major);
        };
        let target = "recovery_target = 'immediate'\nrecovery_target_action = 'promote'";
        // What a restore has left, in either file: the node would promote itself as soon as it is consistent.
        two.append_conf(target);
        two.stop(StopMode::Fast);
        let guarded = two.pgbaton(["node", "guard"]).run();
        guarded.code(0).says("may promote itself").says("recovery_target = 'immediate'");
        let dry = two.pgbaton(["node", "start", "--dry-run"]).run();
        dry.code(0).says("settings of a past recovery");
        assert!(dry.stdout.contains("clear the recovery target"), "{dry:?}");
        assert!(!two.is_running());
        two.pgbaton(["node", "start"]).run().code(0).says("A standby promotes itself");
        stays_a_standby("node start");
        let output = two.pgbaton(["node", "restart"]).run();
        assert!(!output.code(0).stderr.contains("past recovery"), "{output:?}");
        let set_again = || {
            let path = two.data.join("postgresql.auto.conf");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{text}{target}\n")).unwrap();
        };
        set_again();
        two.pgbaton(["node", "restart"]).run().code(0).says("A standby promotes itself");
        stays_a_standby("node restart");
        two.stop(StopMode::Fast);
        set_again();
        let output = two.pgbaton(["node", "guard", "--demote"]).run();
        assert!(!output.code(0).stderr.contains("may promote itself"), "{output:?}");
        two.start();
        stays_a_standby("node guard --demote");
        // No file overrides the command line.
        two.stop(StopMode::Fast);
        let options = two.data.join("postmaster.opts");
        let text = std::fs::read_to_string(&options).unwrap();
        std::fs::write(&options, format!("{} \"-c\" \"recovery_target=immediate\"\n", text.trim_end()))
            .unwrap();
        two.pgbaton(["node", "start", "--force"]).run().code(1).says("no configuration file overrides");
        assert!(!two.is_running());
    }
}

#[test]
fn a_host_that_knows_no_other_node_finds_one_or_says_what_to_add() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.stop(StopMode::Fast);
    let forgotten = || drop(std::fs::remove_file(one.dir.join("state/topology.json")));
    forgotten();
    no_second_primary(one, &["node", "start"], "pgbaton cluster show -h HOST");
    // Where its passwords lead to, others may know more: node 2 is one of this cluster, and the other server is not.
    let elsewhere = nodes.cluster.foreign("elsewhere");
    let passfile = one.dir.join(".pgpass");
    let line = |server: &TestServer| format!("127.0.0.1:{}:repmgr:repmgr:x\n", server.port);
    std::fs::write(&passfile, line(&elsewhere) + &line(two)).unwrap();
    std::fs::set_permissions(&passfile, PermissionsExt::from_mode(0o600)).unwrap();
    let start = || one.pgbaton(["node", "start"]).env("PGPASSFILE", passfile.to_string_lossy()).run();
    start().code(0);
    one.stop(StopMode::Fast);
    two.promote();
    forgotten();
    start().code(31).says("accepts writes");
    // Or where its files say that it would stream from.
    std::fs::remove_file(&passfile).unwrap();
    one.append_conf(&format!("primary_conninfo = 'host=127.0.0.1 port={} user=repmgr'", two.port));
    start().code(31).says("accepts writes");
    assert!(!one.is_running());
}

#[test]
fn a_primary_that_appears_during_a_start_ends_it() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let pg_ctl = pg.tool("pg_ctl").display().to_string();
    let log = one.dir.join("log/start.log").display().to_string();
    // The other node is promoted by hand, just after it was queried.
    let start = script(
        &one.dir.join("start"),
        &format!(
            "{pg_ctl} -s -w -D {} promote && exec {pg_ctl} -s -w -D {} -l {log} start",
            two.data.display(),
            one.data.display()
        ),
    );
    one.node_config(1, &format!("service_start_command = \"{}\"", start.display()));
    one.pgbaton(["cluster", "show"]).run().code(0);
    one.stop(StopMode::Fast);
    let output = one.pgbaton(["node", "start", "--json"]).run();
    let json = envelope(&output, "node start", 4, true);
    output.says("another primary was seen after node \"node1\" was started").says("was stopped again");
    assert_eq!(json["data"]["second_primary"], 2);
    assert!(!one.is_running() && one.data.join("standby.signal").exists());
    assert_eq!(nodes.primaries(), ["node2"]);
}

#[test]
fn a_server_that_rejects_connections_is_up() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.set_hba("host all all all reject");
    node1.stop(StopMode::Fast);
    let output = node1.pgbaton(["node", "start"]).run();
    output.code(0).says("is up, but pgbaton cannot connect to it").says("pg_hba.conf");
    assert!(node1.is_running());
    node1.pgbaton(["node", "restart"]).run().code(0).says("cannot connect to it");
    // hot_standby = off: no connection will ever be accepted, and the server is up.
    node1.stop(StopMode::Fast);
    std::fs::write(node1.data.join("standby.signal"), "").unwrap();
    node1.append_conf("hot_standby = off\nrestore_command = 'false'");
    node1.pgbaton(["node", "start"]).run().code(0).says("cannot connect to it");
    // The server that responds at conninfo is another one.
    let node2 = registered(&cluster, "node2", 2);
    node1.stop(StopMode::Fast);
    let config = node1.node_config(1, "");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&node1.conninfo(), &node2.conninfo())).unwrap();
    node1
        .pgbaton(["node", "start"])
        .run()
        .code(1)
        .says("do not belong to the same server")
        .says("none runs on");
    node1.pgbaton(["node", "start", "--force"]).run().code(0).says("reaches another server");
    let other = node2.postmaster();
    for action in ["stop", "restart", "reload"] {
        node1.pgbaton(["node", action]).run().code(1).says("do not belong to the same server");
    }
    assert!(node1.is_running() && node2.postmaster() == other);
}

#[test]
fn a_primary_with_a_leftover_standby_signal_is_not_restarted_as_a_standby() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    std::fs::write(node1.data.join("standby.signal"), "").unwrap();
    let before = node1.postmaster();
    let output = node1.pgbaton(["node", "restart"]).run();
    output.code(1).says("would start as a standby").says("standby.signal\" first");
    assert_eq!(node1.postmaster(), before);
    node1.pgbaton(["node", "restart", "--force"]).run().code(0);
    assert_eq!(node1.psql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn a_running_standby_without_standby_signal_is_not_restarted_as_a_primary() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let three = nodes.node(3);
    three.pgbaton(["cluster", "show"]).run().code(0);
    let signal = three.data.join("standby.signal");
    std::fs::remove_file(&signal).unwrap();
    for more in [["--dry-run"].as_slice(), &["--force"], &[]] {
        let words: Vec<&str> = ["node", "restart"].iter().chain(more).copied().collect();
        no_second_primary(three, &words, "standby.signal\" first: then it comes back as a standby");
    }
    no_second_primary(three, &["node", "service", "--action=restart"], "accepts writes");
    // Nor where it is unknown whether there is a primary.
    nodes.node(1).kill9();
    nodes.node(2).kill9();
    no_second_primary(three, &["node", "restart"], "cannot be determined");
    std::fs::write(&signal, "").unwrap();
    three.pgbaton(["node", "restart"]).run().code(0).says("has been restarted as a standby");
    assert_eq!(three.psql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn a_superuser_writes_the_checkpoint_that_the_role_is_not_permitted_to() {
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
    envelope(&refused, "node restart", 1, false);
    refused.says("role \"baton\" is not a superuser");
    envelope(&restart(&["-S", "nobody"]), "node restart", 6, false);
    assert_eq!(node1.postmaster(), before);
    let done = restart(&["-S", "postgres"]);
    let steps = envelope(&done, "node restart", 0, true)["data"]["steps"].clone();
    assert_eq!((&steps[0]["title"], &steps[0]["status"]), (&"write a checkpoint".into(), &"done".into()));
    assert!(!done.stderr.contains("skipped"), "{done:?}");
}

#[test]
fn a_start_that_fails_says_what_the_server_says() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.node_config(1, "");
    node1.stop(StopMode::Fast);
    // A setting that is wrong is said before there is any log of the server's own.
    let conf = node1.data.join("postgresql.conf");
    let good = std::fs::read_to_string(&conf).unwrap();
    node1.append_conf("no_such_parameter = 1");
    let output = node1.pgbaton(["node", "start", "--json"]).run();
    let text = envelope(&output, "node start", 4, true)["error"].to_string();
    assert!(
        text.contains("unrecognized configuration parameter") && text.contains("no_such_parameter"),
        "{text}"
    );
    // One that shows later is only in the server's own log, and what stood in either before is old.
    std::fs::write(&conf, &good).unwrap();
    let hba = node1.data.join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("{rules}\nno_such_kind all all trust\n")).unwrap();
    let output = node1.pgbaton(["node", "start", "--json"]).run();
    let text = envelope(&output, "node start", 4, true)["error"].to_string();
    assert!(
        text.contains("FATAL") && text.contains("pg_hba.conf") && !text.contains("no_such_parameter"),
        "{text}"
    );
    let output = node1.pgbaton(["node", "restart"]).run();
    output.code(4).says("FATAL");
    // A port that is in use.
    std::fs::write(&hba, rules).unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", node1.port)).unwrap();
    let output = node1.pgbaton(["node", "start"]).run();
    output.code(4).says("FATAL").says("could not create any TCP/IP sockets");
    drop(taken);
    node1.pgbaton(["node", "start"]).run().code(0);
}

#[test]
fn a_stop_that_takes_too_long_is_given_up_and_reported() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.node_config(1, "shutdown_check_timeout = 1");
    // A fast stop disconnects a session that is busy; only one that is frozen holds it up.
    let mut busy = support::Running::start({
        let mut psql = clean_command(&pg.tool("psql"));
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
    let error = envelope(&output, "node stop", 5, true)["error"].to_string();
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
        let mut psql = clean_command(&pg.tool("psql"));
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
    let node1 = registered(&cluster, "node1", 1);
    // A script of the user's: it says nothing to its caller, and its server keeps what it was started with open.
    let script = node1.dir.join("service");
    let log = node1.dir.join("service.log");
    let text = format!(
        "#!/bin/sh\necho \"$@\" >>{log}\n[ \"$1\" != refuse ] || {{ echo \"it failed\" >&2; exit 3; }}\n\
         exec {bin}/pg_ctl -w -D {data} -m fast \"$1\"\n",
        log = log.display(),
        bin = pg.bindir.display(),
        data = node1.data.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let shown = script.display();
    let commands = |restart: &str| {
        format!(
            "service_start_command = \"{shown} start 'two words'\"\nservice_stop_command = \"{shown} stop && true\"\n\
             service_restart_command = \"{restart}\"\nservice_reload_command = \"{shown} reload\"\n\
             standby_reconnect_timeout = 1\nnode_rejoin_timeout = 1"
        )
    };
    node1.node_config(1, &commands(&format!("{shown} restart")));
    let list = node1.pgbaton(["node", "service", "--list-actions"]).run();
    let wanted = format!(
        "Following commands would be executed for each action:\n\n    start: \"{shown} start 'two words'\"\n     \
         stop: \"{shown} stop && true\"\n  restart: \"{shown} restart\"\n   reload: \"{shown} reload\"\n  \
         promote: \"SELECT pg_promote()\"\n\n"
    );
    assert_eq!(list.code(0).stdout, wanted);
    let one = node1.pgbaton(["node", "service", "--list", "--action=STOP"]).run();
    assert_eq!(one.code(0).stdout, format!("{shown} stop && true\n"));
    let listed = node1.pgbaton(["node", "service", "--list-actions", "--json"]).run();
    let actions = envelope(&listed, "node service", 0, false)["data"]["actions"].clone();
    assert_eq!(actions.as_array().unwrap().len(), 5);
    assert_eq!(
        actions[3],
        serde_json::json!({
            "action": "reload", "command": format!("{shown} reload"), "refused": null
        })
    );
    for (verb, running) in [("stop", false), ("start", true), ("restart", true), ("reload", true)] {
        let before = std::fs::read_to_string(&log).unwrap_or_default();
        node1.pgbaton(["node", verb, "--dry-run"]).run().code(0);
        assert_eq!(std::fs::read_to_string(&log).unwrap_or_default(), before);
        envelope(&node1.pgbaton(["node", verb, "--json"]).run(), &format!("node {verb}"), 0, true);
        assert_eq!(node1.is_running(), running, "{verb}");
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "stop\nstart two words\nrestart\nreload\n");

    // One that fails, one that lies, and one that does not come back.
    node1.node_config(1, &commands(&format!("{shown} refuse")));
    let output = node1.pgbaton(["node", "restart", "--json"]).run();
    let error = envelope(&output, "node restart", 4, true)["error"].to_string();
    assert!(error.contains("it failed") && error.contains("status 3"), "{error}");
    assert!(error.contains("The server runs as before.") && !error.contains("shutting down"), "{error}");
    node1.pgbaton(["node", "stop"]).run().code(0);
    node1.node_config(1, &commands("true").replace(&format!("{shown} start 'two words'"), "true"));
    node1.pgbaton(["node", "start"]).run().code(4).says("is up");
    node1.node_config(1, &commands("true").replace(&format!("{shown} start 'two words'"), "sleep 600"));
    node1.pgbaton(["node", "start"]).run().code(4).says("sleep 600");

    // Without commands, pg_ctl itself, and what it is called with can be copied into a shell.
    node1.node_config(1, "pg_ctl_options = \"--silent\"");
    let one = node1.pgbaton(["node", "service", "--list-actions", "--action=start"]).run();
    assert!(one.code(0).stdout.contains("pg_ctl start") && one.stdout.contains("--silent"), "{one:?}");
    run_tool("/bin/sh".as_ref(), ["-c", one.stdout.trim()]).code(0);
    assert!(node1.is_running());
}

// ---- Debian, and systemd ---------------------------------------------------------------------------------------------

fn in_root<'a>(server: &'a TestServer, root: &'a Path) -> impl Fn(&[&str]) -> Pgbaton + 'a {
    |args| server.pgbaton(args).env("PG_CLUSTER_CONF_ROOT", root.to_string_lossy())
}

#[test]
fn a_cluster_of_debian_is_started_and_stopped_by_debians_tool() {
    let Some(pg) = packaged("postgresql-common", "/usr/bin/pg_createcluster") else { return };
    let cluster = TestCluster::new(&pg);
    // As Debian has them, and with a log of the server's own, where pg_ctlcluster leaves its output to the server.
    for collector in [false, true] {
        let node1 = registered(&cluster, if collector { "node2" } else { "node1" }, 1);
        node1.node_config(1, "pg_ctl_options = \"--silent\"");
        let root = node1.dir.join("clusters");
        made_debian(&node1, &root, "main", |text| {
            text.lines()
                .filter(|line| collector || !line.starts_with("log"))
                .map(|line| format!("{line}\n"))
                .collect()
        });
        let program = in_root(&node1, &root);
        let conf = root.join("15/main/postgresql.conf");
        let here = || assert_eq!(node1.psql("SHOW config_file"), conf.to_string_lossy());
        let list = program(&["node", "service", "--list-actions", "--action=stop"]).run();
        let wanted = format!(
            "PG_CLUSTER_CONF_ROOT={} pg_ctlcluster 15 main stop --mode=fast -- --timeout=60 --silent\n",
            root.display()
        );
        assert_eq!(list.code(0).stdout, wanted);
        // Without the name of that root it is not seen, as with Debian's tools.
        let list = node1.pgbaton(["node", "service", "--list-actions", "--action=stop"]).run();
        assert!(list.code(0).stdout.contains("/pg_ctl stop"), "{list:?}");

        let before = Fingerprint::of(&[&node1], &[]);
        envelope(&program(&["node", "start", "--dry-run", "--json"]).run(), "node start", 0, false);
        before.assert_same(&Fingerprint::of(&[&node1], &[]));
        let output = program(&["node", "start", "--json"]).run();
        assert_eq!(envelope(&output, "node start", 0, true)["issues"], serde_json::json!([]));
        here();
        envelope(&program(&["node", "start", "--json"]).run(), "node start", 0, false);
        envelope(&program(&["node", "restart", "--checkpoint", "--json"]).run(), "node restart", 0, true);
        here();
        let good = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, format!("{good}\nwork_mem = '7MB'\n")).unwrap();
        envelope(&program(&["node", "reload", "--json"]).run(), "node reload", 0, true);
        node1.wait_until("SHOW work_mem", "7MB", SOON);
        envelope(&program(&["node", "stop", "--json"]).run(), "node stop", 0, true);
        assert!(!node1.is_running());
        assert_eq!(node1.control_data("Database cluster state"), "shut down");
        envelope(&program(&["node", "stop", "--json"]).run(), "node stop", 0, false);

        // What the server says comes through pg_ctlcluster, and what pg_ctlcluster says for itself.
        std::fs::write(&conf, format!("{good}\nno_such_parameter = 1\n")).unwrap();
        let output = program(&["node", "start", "--json"]).run();
        let error = envelope(&output, "node start", 4, true)["error"].to_string();
        assert!(error.contains("unrecognized configuration parameter"), "{error}");
        std::fs::write(&conf, &good).unwrap();
        std::fs::write(root.join("15/main/start.conf"), "disabled\n").unwrap();
        program(&["node", "start"]).run().code(4).says("Cluster is disabled");
        assert!(!node1.is_running());
        std::fs::write(root.join("15/main/start.conf"), "manual\n").unwrap();
        program(&["node", "start"]).run().code(0);
    }
}

#[test]
fn starting_a_cluster_of_debian_without_systemd_is_reported() {
    let Some(pg) = packaged("postgresql-common", "/usr/bin/pg_createcluster") else { return };
    if !can_unshare() {
        return;
    }
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.node_config(1, "");
    let root = node1.dir.join("clusters");
    made_debian(&node1, &root, "main", str::to_string);
    let program = |args: &[&str]| {
        node1.pgbaton(args).behind(&format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && mount --bind {} /etc/postgresql",
            root.display()
        ))
    };
    let reported = |args: &[&str]| {
        let output = program(args).run();
        let found =
            output.code(0).stderr.contains("will not run as its systemd unit \"postgresql@15-main.service\"");
        assert_eq!(
            found,
            output.stderr.contains("service_start_command = 'sudo systemctl start postgresql@15-main")
        );
        found
    };
    assert!(reported(&["node", "start", "--dry-run"]) && reported(&["node", "start"]));
    assert_eq!(node1.psql("SHOW config_file"), "/etc/postgresql/15/main/postgresql.conf");
    assert!(!reported(&["node", "start"]) && !reported(&["node", "reload"]));
    assert!(reported(&["node", "restart"]));
    assert!(!reported(&["node", "stop"]));
}

#[test]
fn what_systemd_runs_is_left_to_systemd() {
    let Some(pg) = postgres(15) else { return };
    if !can_unshare() {
        return;
    }
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "");
    // What the kernel would say of the postmaster of a service.
    let unit = "postgresql@15-main.service";
    let cgroup = cluster.dir().join("cgroup");
    std::fs::write(&cgroup, format!("0::/system.slice/system-postgresql.slice/{unit}\n")).unwrap();
    let postmaster = node1.postmaster().unwrap().as_raw_nonzero();
    let program = |args: &[&str]| {
        node1.pgbaton(args).behind(&format!("mount --bind {} /proc/{postmaster}/cgroup", cgroup.display()))
    };
    let before = Fingerprint::of(&[&node1], &[]);
    for verb in ["stop", "restart"] {
        let output = program(&["node", verb, "--json"]).run();
        let error = &envelope(&output, &format!("node {verb}"), 1, false)["error"];
        assert!(error["message"].as_str().unwrap().contains(unit), "{error}");
        let hint = error["hint"].as_str().unwrap();
        let line = format!("service_{verb}_command = 'sudo systemctl {verb} {unit}'");
        assert!(hint.lines().any(|hinted| hinted == line), "{hint}");
        let user = run_tool("/usr/bin/id".as_ref(), ["-un"]).stdout;
        let sudo = format!("{} ALL = NOPASSWD: /usr/bin/systemctl start {unit}, ", user.trim());
        assert!(hint.lines().any(|hinted| hinted.starts_with(&sudo)), "{hint}");
    }
    let list = program(&["node", "service", "--list-actions"]).run();
    assert!(list.code(0).stdout.contains("     stop: none, the server is managed by systemd"), "{list:?}");
    assert!(list.stdout.contains("   reload: \"") && list.stdout.contains("pg_ctl reload"), "{list:?}");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));
    program(&["node", "reload"]).run().code(0);

    // The lines that are to be added do it; with sudo and systemctl where they exist.
    let hint =
        program(&["node", "stop", "--json"]).run().json()["error"]["hint"].as_str().unwrap().to_string();
    let commands: Vec<&str> = hint.lines().filter(|line| line.starts_with("service_")).collect();
    node1.node_config(1, &commands.join("\n"));
    let sudo = cluster.dir().join("bin/sudo");
    std::fs::create_dir(sudo.parent().unwrap()).unwrap();
    let text = format!(
        "#!/bin/sh\n[ \"$1 $3\" = 'systemctl {unit}' ] && exec {}/pg_ctl -w -m fast -D {} -l /dev/null \"$2\"\n",
        pg.bindir.display(),
        node1.data.display()
    );
    std::fs::write(&sudo, text).unwrap();
    std::fs::set_permissions(&sudo, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", sudo.parent().unwrap().display());
    program(&["node", "restart"]).env("PATH", &path).run().code(0);
    assert_ne!(node1.postmaster().unwrap().as_raw_nonzero(), postmaster);
    node1.pgbaton(["node", "stop"]).env("PATH", &path).run().code(0);
    assert!(!node1.is_running());
}

#[test]
fn directories_that_are_no_data_directories_are_refused_with_the_reason() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.empty("node1");
    node1.node_config(1, "");
    let output = node1.pgbaton(["node", "start", "--json"]).run();
    envelope(&output, "node start", 1, false);
    output.says("does not exist");
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
fn status_has_the_layout_of_the_real_repmgr() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let node2 = cluster.standby("node2", &node1);
    for (server, id, kind) in [(&node1, 1, "primary"), (&node2, 2, "standby")] {
        let conf = repmgr_conf(server, id);
        server.pgbaton(["-f", &conf.to_string_lossy(), kind, "register"]).run().code(0);
    }
    node2.wait_for_replay_of(&node1);
    node1.psql("SELECT pg_create_physical_replication_slot('unused')");
    for server in [&node1, &node2] {
        let conf = server.dir.join("repmgr.conf").to_string_lossy().into_owned();
        for form in [&[][..], &["--csv"]] {
            let args: Vec<&str> = ["-f", &conf, "node", "status"].iter().chain(form).copied().collect();
            let ours = server.pgbaton(args.clone()).run();
            let real = real_repmgr(server, &args[2..]);
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
        assert_eq!(server.pgbaton(clean).run().stdout, real_repmgr(server, &clean[2..]).stdout);
    }
    node2.stop(StopMode::Fast);
    let conf = node2.dir.join("repmgr.conf").to_string_lossy().into_owned();
    let clean = ["-f", &conf, "node", "status", "--is-shutdown-cleanly"];
    assert_eq!(node2.pgbaton(clean).run().stdout, real_repmgr(&node2, &clean[2..]).stdout);
}

#[test]
fn status_reports_what_is_wrong_with_the_node() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let status = || node1.pgbaton(["node", "status", "--json"]).run();
    let fine = envelope(&status(), "node status", 0, false);
    assert_eq!(fine["data"]["role"], "primary");
    assert_eq!(fine["data"]["registered_type"], "primary");
    assert_eq!(fine["issues"].as_array().unwrap().len(), 0);
    node1.psql("SELECT pg_create_physical_replication_slot('unused')");
    metadata(&node1, "INSERT INTO repmgr.nodes VALUES (2, 1, true, 'node2', 'standby', 'default', 100, 'host=/nowhere', 'repmgr',
         'repmgr_slot_2', '')",
    );
    let bad = envelope(&status(), "node status", 25, false);
    let codes: Vec<&str> =
        bad["issues"].as_array().unwrap().iter().map(|issue| issue["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"slot_inactive") && codes.contains(&"slot_missing"), "{bad}");
    let text = node1.pgbaton(["node", "status"]).run();
    assert!(
        text.code(25).stdout.contains("Replication slots: 1 physical (of maximal 10; 1 missing); 1 inactive")
    );
    text.says("WARNING: ").says("unused").says("repmgr_slot_2");
    metadata(&node1, "DELETE FROM repmgr.nodes");
    node1
        .pgbaton(["node", "status"])
        .run()
        .code(25)
        .says("is not registered")
        .says("pgbaton primary register");
    node1.stop(StopMode::Immediate);
    envelope(&status(), "node status", 6, false);
}

// ---- Places and leftovers --------------------------------------------------------------------------------------------

/// Starts a server as by hand.
fn by_hand(server: &TestServer, log: &Path, options: &str) {
    let (data, log) = (server.data.to_string_lossy(), log.to_string_lossy());
    let words = ["-s", "-w", "-D", &data, "-l", &log, "-o", options, "start"];
    run_tool(&server.pg.tool("pg_ctl"), words).code(0);
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn options_of_pg_upgrade_and_others_that_disable_protection_are_not_used_again() {
    // It was never registered, and stopped by hand: nothing shows that no other node is the primary, hence --force.
    for pg in versions() {
        let cluster = TestCluster::new(&pg);
        let node1 = cluster.primary("node1");
        let conf = std::fs::read_to_string(node1.data.join("postgresql.conf")).unwrap();
        std::fs::write(node1.data.join("postgresql.conf"), conf.replace("fsync = off", "fsync = on"))
            .unwrap();
        node1.node_config(1, "");
        node1.stop(StopMode::Fast);
        let shown = || {
            node1.psql("SHOW fsync; SHOW full_page_writes; SHOW synchronous_commit; SHOW listen_addresses")
        };
        let ordinary = {
            node1.start();
            let shown = shown();
            node1.stop(StopMode::Fast);
            shown
        };
        let socket = node1.dir.join("upgrade");
        std::fs::create_dir(&socket).unwrap();
        let port = node1.port;
        let upgrade = format!(
            "-p {port} -b -c synchronous_commit=off -c fsync=off -c full_page_writes=off -c listen_addresses='' \
             -c unix_socket_permissions=0700 -c unix_socket_directories='{}'",
            socket.display()
        );
        let log = node1.dir.join("log/upgrade.log");
        by_hand(&node1, &log, &upgrade);
        node1.stop(StopMode::Fast);
        let dry = node1.pgbaton(["node", "start", "--force", "--dry-run"]).run();
        dry.code(0).says("are not used again").says("-c fsync=off").says("They are those of pg_upgrade");
        assert!(!dry.stdout.contains("fsync=off"), "{dry:?}");
        node1.pgbaton(["node", "start", "--force"]).run().code(0).says("They are those of pg_upgrade");
        assert_eq!(shown(), ordinary, "PostgreSQL {}", pg.major);

        // It still runs with them: a restart is the moment to be rid of them.
        node1.stop(StopMode::Fast);
        by_hand(&node1, &log, &upgrade);
        node1.pgbaton(["node", "restart"]).run().code(0).says("They are those of pg_upgrade");
        assert_eq!(shown(), ordinary, "PostgreSQL {}", pg.major);

        // Of an ordinary start only what takes protection away is left out.
        node1.stop(StopMode::Fast);
        by_hand(&node1, &log, "-F -c work_mem=7MB -c 'full_page_writes=off'");
        node1.stop(StopMode::Fast);
        let output = node1.pgbaton(["node", "start", "--force"]).run();
        output.code(0).says("has: -F -c full_page_writes=off. They turn off protection of the data");
        assert_eq!((shown(), node1.psql("SHOW work_mem")), (ordinary, "7MB".into()));
    }
}

#[test]
fn the_start_log_goes_where_the_server_wrote_before_and_else_into_the_state_directory() {
    // It was never registered, and stopped by hand: nothing shows that no other node is the primary, hence --force.
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.append_conf("logging_collector = off");
    node1.node_config(1, "");
    let (log, ours) = (node1.dir.join("log/by_hand.log"), node1.dir.join("state/log/start.log"));
    node1.stop(StopMode::Fast);
    by_hand(&node1, &log, "");
    // A directory around the data directory that the server's user may not write to.
    std::fs::create_dir(node1.dir.join("state")).unwrap();
    mode(&node1.dir, 0o500);
    let ready = |path: &Path| {
        std::fs::read_to_string(path).unwrap_or_default().matches("database system is ready").count()
    };
    let before = ready(&log);
    node1.pgbaton(["node", "stop"]).run().code(0);
    let dry = node1.pgbaton(["node", "start", "--force", "--dry-run"]).run();
    assert!(dry.code(0).stdout.contains(&format!("--log={}", log.display())), "{dry:?}");
    node1.pgbaton(["node", "start", "--force"]).run().code(0);
    node1.pgbaton(["node", "restart"]).run().code(0);
    assert_eq!((ready(&log), ours.exists()), (before + 2, false));
    assert!(
        !std::fs::read_to_string(&log).unwrap().contains("waiting for server"),
        "pg_ctl writes into the log"
    );

    // Rotated by renaming, and removed.
    let renamed = node1.dir.join("log/by_hand.log.1");
    std::fs::rename(&log, &renamed).unwrap();
    node1.pgbaton(["node", "restart"]).run().code(0);
    assert_eq!(ready(&renamed), before + 3);
    std::fs::remove_file(&renamed).unwrap();
    let said = format!("(its first messages go to \"{}\")", ours.display());
    let dry = node1.pgbaton(["node", "restart", "--dry-run"]).run();
    assert!(dry.code(0).stdout.contains(&said), "{dry:?}");
    assert!(!ours.exists());
    node1.pgbaton(["node", "restart"]).run().code(0).says(&said);
    assert_eq!((ready(&ours), renamed.exists()), (1, false));

    // One that may not be written to any more, and where nothing was noted.
    node1.stop(StopMode::Fast);
    by_hand(&node1, &log, "");
    mode(&log, 0o400);
    node1.pgbaton(["node", "stop"]).run().code(0);
    node1.pgbaton(["node", "start", "--force"]).run().code(0).says(&said);
    assert_eq!(ready(&ours), 2);
    mode(&node1.dir, 0o700);
}

#[test]
fn unwritable_files_are_detected_before_anything_stops() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "");
    node1.pgbaton(["cluster", "show"]).run();
    let space = node1.dir.join("space");
    std::fs::create_dir(&space).unwrap();
    node1.psql(&format!("CREATE TABLESPACE apart LOCATION '{}'", space.display()));
    let version = space.join(std::fs::read_dir(&space).unwrap().next().unwrap().unwrap().file_name());
    let state = node1.dir.join("state");
    for (place, what) in [
        (node1.data.clone(), "the data directory"),
        (node1.data.join("pg_wal"), "the WAL directory"),
        (version, "a tablespace"),
    ] {
        let before = Fingerprint::of(&[&node1], &[]);
        mode(&place, 0o500);
        for words in [&["node", "restart", "--dry-run"][..], &["node", "restart"]] {
            let output = node1.pgbaton(words).run();
            output
                .code(1)
                .says(&format!("cannot write to {what}"))
                .says("Permission denied")
                .says("Nothing was changed.");
        }
        mode(&place, 0o700);
        before.assert_same(&Fingerprint::of(&[&node1], &[]));
    }
    node1.pgbaton(["node", "restart"]).run().code(0);
    // It can be stopped wherever it could not be started.
    mode(&node1.data.join("pg_wal"), 0o500);
    node1.pgbaton(["node", "stop", "--dry-run"]).run().code(0);
    mode(&node1.data.join("pg_wal"), 0o700);
    mode(&state, 0o500);
    for words in [&["node", "stop", "--dry-run"][..], &["node", "stop"]] {
        node1.pgbaton(words).run().code(1).says("Permission denied");
        assert!(node1.is_running());
    }
    mode(&state, 0o700);
}
