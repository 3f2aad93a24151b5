//! The real repmgrd in the same cluster: two that fail over work against each other.

use std::io::Write as _;

use super::*;
use crate::support::{TestCluster, attach, clean_command, repmgr_conf, script, versions_with_repmgr};

#[test]
fn the_daemon_does_not_start_while_a_repmgrd_would_fail_over_too() {
    for pg in versions_with_repmgr() {
        refuses(&pg);
    }
}

fn refuses(pg: &Pg) {
    let cluster = TestCluster::new(pg);
    let one = cluster.primary("node1");
    one.append_conf("shared_preload_libraries = 'repmgr'");
    one.restart();
    one.psql_as("postgres", "repmgr", "CREATE EXTENSION repmgr");
    let two = cluster.empty("node2");
    for (id, server) in [(1, &one), (2, &two)] {
        let conf = repmgr_conf(server, id);
        if id == 2 {
            attach(server, 2, &one);
        }
        let acts = script(&server.dir.join("acts"), "exit 1").display().to_string();
        let mut conf = std::fs::OpenOptions::new().append(true).open(conf).unwrap();
        writeln!(
            conf,
            "failover=automatic\npromote_command='{acts}'\nfollow_command='{acts}'\nruntime_directory='{}'",
            server.dir.join("run").display()
        )
        .unwrap();
    }
    let run = |server: &TestServer, words: &[&str]| {
        let conf = server.dir.join("repmgr.conf").display().to_string();
        let words: Vec<&str> = ["-f", &conf].into_iter().chain(words.iter().copied()).collect();
        server.pgbaton(words).env("XDG_STATE_HOME", server.dir.join("home").display().to_string())
    };
    run(&one, &["primary", "register"]).run().code(0);
    run(&two, &["standby", "register"]).run().code(0);
    let repmgrd = || {
        let mut command = clean_command(&pg.tool("repmgrd"));
        command.arg("-f").arg(one.dir.join("repmgr.conf")).args(["--daemonize=false", "--no-pid-file"]);
        let started = Running::start(command);
        let state = "SELECT repmgr.repmgrd_is_running()";
        wait_for("repmgrd", LONG, || one.try_psql_as("repmgr", "repmgr", state).stdout == "t\n");
        started
    };
    let other = repmgrd();
    for server in [&one, &two] {
        let refused = run(server, &["daemon", "run"]).run();
        refused
            .code(1)
            .says("a repmgrd that is not paused runs on node \"node1\"")
            .says("The daemon was not started.")
            .says("repmgr daemon stop");
    }
    // Paused it does nothing; when that ends, it is said, and said again only when something changes.
    metadata(&one, "SELECT repmgr.repmgrd_pause(true)");
    let mut daemon = run(&two, &["daemon", "run"]).spawn();
    daemon.wait_for_stderr("the daemon of node \"node2\" (ID 2) has started", LONG);
    metadata(&one, "SELECT repmgr.repmgrd_pause(false)");
    daemon.wait_for_stderr("a repmgrd that is not paused runs on node \"node1\"", 3 * LONG);
    other.signal(Signal::TERM);
    let _ended = other.wait(LONG);
    daemon.wait_for_stderr("no repmgrd is seen any more that is not paused", 3 * LONG);
    assert_eq!(daemon.stderr_so_far().matches("a repmgrd that is not paused").count(), 1);

    daemon.signal(Signal::TERM);
    daemon.wait(EVER).code(0);
    let fencers = |data: &std::path::Path| running("pgbaton-fencer", &data.display().to_string());
    for server in [&one, &two] {
        fencers(&server.data).into_iter().for_each(|pid| send(pid, Signal::KILL));
    }
}
