//! The end of a daemon by SIGTERM: nothing, where it is started again in time; a hand-over, where its server was stopped, too.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A cluster whose first node would wait for its server for longer than any test.
fn patient() -> Daemons {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let cluster = Daemons::with(nodes, "default");
    let file = cluster.node(1).config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}restart_timeout = 600\n")).unwrap();
    cluster.started()
}

#[test]
fn a_daemon_that_is_told_to_end_keeps_the_lease_for_the_next_one() {
    let mut cluster = Daemons::new(&postgres(15).unwrap());
    let started = cluster.node(1).psql("SELECT pg_postmaster_start_time()");
    let daemon = cluster.daemons[0].take().unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait(EVER).code(0).says("the fencer keeps its deadline");
    cluster.start(1);
    cluster.wait_until_active();
    // Longer than the lease.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    assert_eq!(cluster.node(1).psql("SELECT pg_postmaster_start_time()"), started);
}

#[test]
fn a_daemon_that_is_told_to_end_after_its_server_hands_over_first() {
    let mut cluster = patient();
    let observer = Observer::begin(&cluster.nodes.servers);
    cluster.node(1).psql("CREATE TABLE kept AS SELECT 1 AS n");
    cluster.node(1).stop(StopMode::Fast);
    let daemon = cluster.daemons[0].take().unwrap();
    daemon.signal(Signal::TERM);
    let output = daemon.wait(EVER);
    output.code(0).says("the server was stopped: handing over to node");
    let second = cluster.other_primary(1);
    output.says(&format!("node {second} leads"));
    assert_eq!(cluster.node(second).psql("SELECT n FROM kept"), "1");
    assert!(cluster.node(1).data.join("standby.signal").exists());
    assert!(!cluster.node(1).is_running(), "nothing is started by a daemon that ends");
    cluster.start(1);
    cluster.all_stream_from(second);
    observer.assert_never_two();
}

#[test]
fn a_daemon_of_a_host_that_goes_down_hands_over_first() {
    let mut cluster = patient();
    let observer = Observer::begin(&cluster.nodes.servers);
    // Begun by systemd, which says what the host does.
    let stubs = cluster.node(1).dir.join("stubs");
    std::fs::create_dir(&stubs).unwrap();
    let systemctl = stubs.join("systemctl");
    let says = |word: &str| {
        std::fs::write(&systemctl, format!("#!/bin/sh\necho {word}\nexit 1\n")).unwrap();
        std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let start = |cluster: &mut Daemons| {
        let path = format!("{}:{}", stubs.display(), crate::support::search_path());
        let daemon = cluster.node(1).pgbaton(["daemon", "run"]).env("INVOCATION_ID", "1").env("PATH", path);
        cluster.daemons[0] = Some(daemon.spawn());
        cluster.wait_until_active();
    };
    let end = |cluster: &mut Daemons| {
        let daemon = cluster.daemons[0].take().unwrap();
        daemon.signal(Signal::TERM);
        daemon.wait(EVER)
    };
    end(&mut cluster).code(0);
    says("running");
    start(&mut cluster);
    let output = end(&mut cluster);
    assert!(!output.code(0).stderr.contains("handing over"), "{output:?}");
    says("stopping");
    start(&mut cluster);
    assert_eq!(cluster.nodes.primaries(), ["node1"]);
    end(&mut cluster).code(0).says("the host is going down: handing over to node");
    let second = cluster.other_primary(1);
    assert!(!cluster.node(1).is_running());
    cluster.start(1);
    cluster.all_stream_from(second);
    observer.assert_never_two();
}
