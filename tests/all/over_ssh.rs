//! Whole commands on hosts that reach each other by a real ssh, and by nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{
    Fingerprint, Hosts, Ledger, Observer, Output, SOON, Side, Sshd, Stepped, StopMode, TestCluster,
    TestServer, can_unshare, configure, envelope, metadata, postgres, running, script, send, slow, wait_for,
};

const SLOTS: &str = "SELECT coalesce(string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name), '') FROM pg_replication_slots";

// ---- standby switchover --------------------------------------------------------------------------------------------

/// From node 1 to node 2 and back, each time from the candidate, with a client that writes all the time.
fn there_and_back(standbys: usize) {
    let Some(hosts) = postgres(15).and_then(|pg| Hosts::new(&pg, standbys)) else { return };
    let (one, two) = (hosts.node(1), hosts.node(2));
    let observer = Observer::begin(&hosts.nodes.servers);
    let ledger = Ledger::begin(one, &hosts.nodes.servers);
    let dry = hosts.pgbaton_on(2, ["standby", "switchover", "--dry-run"]).run();
    dry.code(0);
    for (candidate, timeline) in [(2, 2), (1, 3)] {
        let before = hosts.sshd.accepted();
        let output = hosts.pgbaton_on(candidate, ["--json", "standby", "switchover"]).run();
        output.code(0);
        let json = output.json();
        assert_eq!(json["data"]["to_node_id"], candidate, "{output:?}");
        assert_eq!(json["data"]["timeline"], timeline, "{output:?}");
        assert_eq!(json["data"]["wal_lost_bytes"], 0, "{output:?}");
        assert_eq!(hosts.nodes.primaries(), [format!("node{candidate}")]);
        // One connection to each other host, for the checks and for the work.
        assert_eq!(hosts.sshd.accepted() - before, standbys);
    }
    let slots = ["repmgr_slot_2 true", "repmgr_slot_3 true"];
    one.wait_until(SLOTS, &slots[..standbys].join(", "), SOON);
    assert_eq!(two.psql(SLOTS), "");
    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(one);
    for server in &hosts.nodes.servers[1..] {
        server.wait_for_replay_of(one);
        record.assert_kept_by(server);
    }
}

#[test]
fn two_nodes_there_and_back() {
    there_and_back(1);
}

#[test]
fn three_nodes_there_and_back() {
    there_and_back(2);
}

#[test]
fn a_host_that_cannot_do_its_part_is_detected_before_anything_stops() {
    let Some(hosts) = postgres(15).and_then(|pg| Hosts::new(&pg, 1)) else { return };
    let (one, two) = (hosts.node(1), hosts.node(2));
    let postmaster = one.postmaster();
    let ssh = |more: &str| format!("ssh_options = \"{} {more}\"", hosts.sshd.options("key"));
    let switchover = || hosts.pgbaton_on(2, ["--json", "standby", "switchover"]).run();
    let refused = |output: Output, exit: i32, message: &str, detail: &str, hint: &str| {
        let json = envelope(&output, "standby switchover", exit, false);
        let error = &json["error"];
        for (part, text) in [("message", message), ("detail", detail), ("hint", hint)] {
            assert!(error[part].as_str().unwrap_or_default().contains(text), "{part}: {text}\n{output:?}");
        }
        assert!(error["detail"].as_str().unwrap().ends_with("Nothing was changed."), "{output:?}");
        assert!(json["data"]["checks"].is_array(), "{output:?}");
        assert_eq!(one.postmaster(), postmaster);
        assert!(!one.data.join("standby.signal").exists());
        assert_eq!(hosts.nodes.primaries(), ["node1"]);
    };

    let closed_port = "ssh_options = \"-F none -p 1\"";
    refused(
        hosts.node(2).with_configuration(closed_port, switchover),
        12,
        "cannot be reached",
        "refused",
        "ssh ",
    );
    let hangs = ssh("-o ConnectTimeout=1 -o ProxyCommand='sleep 600'");
    refused(
        hosts.node(2).with_configuration(&hangs, switchover),
        12,
        "cannot be reached",
        "imed out",
        "ssh ",
    );
    let no_key = format!("ssh_options = \"{}\"", hosts.sshd.options("host_key"));
    refused(
        hosts.node(2).with_configuration(&no_key, switchover),
        12,
        "cannot be reached",
        "Permission denied",
        "ssh ",
    );
    let nowhere = "pgbaton_bindir = \"/nowhere\"";
    refused(
        hosts.node(2).with_configuration(nowhere, switchover),
        12,
        "there is no pgbaton",
        "/nowhere/pgbaton",
        "pgbaton_bindir",
    );
    let elsewhere = hosts.nodes.cluster.dir().join("bin");
    std::fs::create_dir(&elsewhere).unwrap();
    for (protocol, version) in [(99, "9.9.9"), (1, "0.1.0")] {
        let answer =
            format!(r#"{{"number":1,"reply":{{"hello":{{"protocol":{protocol},"pgbaton":"{version}"}}}}}}"#);
        script(&elsewhere.join("pgbaton"), &format!("read -r line\necho '{answer}'\nsleep 1"));
        let other = format!("pgbaton_bindir = \"{}\"", elsewhere.display());
        refused(
            hosts.node(2).with_configuration(&other, switchover),
            12,
            "another protocol",
            &format!("version {version} with protocol {protocol}"),
            "same version",
        );
    }

    let file = |path: &Path| {
        let path = path.display();
        metadata(one, &format!("UPDATE repmgr.nodes SET config_file = '{path}' WHERE node_id = 1"));
        switchover()
    };
    refused(
        file(Path::new("/nowhere/x.toml")),
        12,
        "cannot perform its part",
        "/nowhere/x.toml",
        "node status",
    );
    let copy = hosts.nodes.cluster.dir().join("copy.toml");
    std::fs::copy(two.config(), &copy).unwrap();
    refused(file(&copy), 1, "that of another node", "node \"node2\" (ID 2)", "--force");
    let text = std::fs::read_to_string(one.config()).unwrap();
    std::fs::write(&copy, text.replace(one.data.to_str().unwrap(), "/nowhere/data")).unwrap();
    refused(file(&copy), 12, "cannot perform its part", "/nowhere/data", "state_directory");

    // With that put right, the same command does it.
    file(&one.config()).code(0);
    assert_eq!(hosts.nodes.primaries(), ["node2"]);
}

/// How a connection is lost.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The ssh here is killed.
    Client,
    /// The sshd there is.
    Session,
    /// All packets are dropped silently.
    Network,
}

impl Cut {
    fn carry_out(self, hosts: &Hosts) {
        let (pids, signal) = match self {
            Self::Client => (hosts.sshd.clients(), Signal::KILL),
            Self::Session => (hosts.sshd.sessions(), Signal::KILL),
            Self::Network => (hosts.sshd.sessions(), Signal::STOP),
        };
        assert!(!pids.is_empty(), "there is no connection to cut");
        pids.into_iter().for_each(|pid| send(pid, signal));
    }
}

/// Loses the connection to the old primary's host at each point of a switchover where something is at stake.
fn cut_everywhere(cut: Cut) {
    let Some(hosts) = postgres(15).and_then(|pg| Hosts::new(&pg, 1)) else { return };
    let (one, two) = (hosts.node(1), hosts.node(2));
    let observer = Observer::begin(&hosts.nodes.servers);
    let ledger = Ledger::begin(one, &hosts.nodes.servers);
    let begin = || hosts.pgbaton_on(2, ["--json", "standby", "switchover"]).spawn();
    let lost = "pgbaton on the host of node \"node1\"";
    let old_state = |output: Output, reason: &str| {
        let json = envelope(&output, "standby switchover", 18, false);
        let detail = json["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{output:?}");
        assert!(detail.contains("All changes have been undone."), "{output:?}");
        assert_eq!(hosts.nodes.primaries(), ["node1"]);
        assert!(!one.data.join("standby.signal").exists());
        wait_for("sshd's sessions to end", SOON, || {
            hosts.sshd.sessions().into_iter().for_each(|pid| send(pid, Signal::CONT));
            hosts.sshd.sessions().is_empty()
        });
        one.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);
    };

    // Before anything was asked of the host.
    let postmaster = one.postmaster();
    let checkpointer = one.process_titled("checkpointer");
    send(checkpointer, Signal::STOP);
    let running = begin();
    hosts.node(2).wait_for_step("checkpoint_1");
    cut.carry_out(&hosts);
    send(checkpointer, Signal::CONT);
    old_state(running.wait(SOON), lost);
    assert_eq!(one.postmaster(), postmaster);

    // While it stops: its own pgbaton brings it back.
    let begun = one.dir.join("begun");
    let pg_ctl = format!("{} -D {} -W", one.pg.tool("pg_ctl").display(), one.data.display());
    let stop = script(
        &one.dir.join("stop"),
        &format!(
            "kill -STOP {}; {pg_ctl} -m fast stop; touch {}",
            checkpointer.as_raw_nonzero(),
            begun.display()
        ),
    );
    let stop = format!("service_stop_command = \"{}\"", stop.display());
    hosts.node(1).with_configuration(&stop, || {
        let running = begin();
        wait_for("the stop to have begun", SOON, || begun.exists());
        cut.carry_out(&hosts);
        if !matches!(cut, Cut::Network) {
            send(checkpointer, Signal::CONT);
        }
        old_state(running.wait(SOON), lost);
    });
    // Where its connection is still open, a second channel may have been faster.
    assert!(matches!(cut, Cut::Network) || one.dir.join("state/far-end.log").exists());
    assert_ne!(one.postmaster(), postmaster);

    // It is down and has said so: only we may start it, and we do. Where its connection is still open, a second one goes on to answer, and
    // the wait takes its whole time.
    let receiver = two.process_titled("walreceiver");
    let output = two.with_configuration("wal_receive_check_timeout = 8", || {
        one.with_configuration(&one.stop_that_freezes(receiver), || {
            let running = begin();
            hosts.node(2).wait_for_step("wait_until_received");
            cut.carry_out(&hosts);
            running.wait(SOON)
        })
    });
    send(receiver, Signal::CONT);
    old_state(output, if matches!(cut, Cut::Network) { "Timed out after 8 s" } else { lost });

    // The other one is promoted: there is only forward, and the connection is made again.
    let (begun, go) = (one.dir.join("starting"), one.dir.join("go"));
    let start = script(
        &one.dir.join("start"),
        &format!(
            "touch {}; until [ -e {} ]; do sleep 0.05; done; {} -D {} -l {} start",
            begun.display(),
            go.display(),
            one.pg.tool("pg_ctl").display(),
            one.data.display(),
            one.dir.join("log/start.log").display(),
        ),
    );
    let start = format!("service_start_command = \"{}\"", start.display());
    let output = hosts.node(1).with_configuration(&start, || {
        let running = begin();
        wait_for("the start to have begun", SOON, || begun.exists());
        cut.carry_out(&hosts);
        std::fs::write(&go, "").unwrap();
        running.wait(SOON)
    });
    let json = envelope(&output, "standby switchover", 0, true);
    assert_eq!((&json["data"]["to_node_id"], &json["data"]["wal_lost_bytes"]), (&2.into(), &0.into()));
    assert_eq!(hosts.nodes.primaries(), ["node2"]);
    two.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", SOON);

    let record = ledger.end();
    observer.assert_never_two();
    record.assert_kept_by(two);
    one.wait_for_replay_of(two);
    record.assert_kept_by(one);
    // As long as the far end waits for a word, and some more.
    assert!(record.longest_gap < SOON, "{:?}", record.longest_gap);
    hosts.sshd.sessions().into_iter().for_each(|pid| send(pid, Signal::CONT));
}

#[test]
fn ssh_is_killed_at_any_point() {
    cut_everywhere(Cut::Client);
}

#[test]
fn sshd_is_killed_at_any_point() {
    cut_everywhere(Cut::Session);
}

#[test]
fn the_network_is_cut_at_any_point() {
    if slow() {
        cut_everywhere(Cut::Network);
    }
}

/// The far end of the old primary is stopped while its server shuts down, and goes on later: the switchover goes forward without it, and
/// it does nothing any more.
#[test]
fn a_stopped_far_end_is_replaced_and_the_switchover_completes() {
    let Some(hosts) = postgres(15).and_then(|pg| Hosts::new(&pg, 1)) else { return };
    let (one, two) = (hosts.node(1), hosts.node(2));
    let observer = Observer::begin(&hosts.nodes.servers);
    let ledger = Ledger::begin(one, &hosts.nodes.servers);
    let far_end = || running("pgbaton", &format!("far-end -f {}", one.config().display()));
    // It stops itself, between the request to stop the server and the answer to it.
    let pg_ctl = format!("{} -D {} -W", one.pg.tool("pg_ctl").display(), one.data.display());
    let far_end_stops = "p=$PPID; until grep -q far-end /proc/$p/cmdline; do p=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$p/status); \
                         done; kill -STOP $p";
    let stop = script(&one.dir.join("stop"), &format!("{pg_ctl} -m fast stop; {far_end_stops}"));
    let stop = format!("service_stop_command = \"{}\"", stop.display());
    let (output, stopped) = hosts.node(1).with_configuration(&stop, || {
        let running = hosts.pgbaton_on(2, ["--json", "standby", "switchover"]).spawn();
        wait_for("the far end to be there", SOON, || !far_end().is_empty());
        let stopped = far_end()[0];
        wait_for("it to stop itself", SOON, || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", stopped.as_raw_nonzero()));
            stat.is_ok_and(|stat| stat.contains(") T "))
        });
        (running.wait(SOON), stopped)
    });
    let json = envelope(&output, "standby switchover", 0, true);
    assert_eq!((&json["data"]["to_node_id"], &json["data"]["wal_lost_bytes"]), (&2.into(), &0.into()));
    // There is nothing left that could go on.
    let _gone = rustix::process::kill_process(stopped, Signal::CONT);
    wait_for("the far ends to end", SOON, || far_end().is_empty());
    assert_eq!(hosts.nodes.primaries(), ["node2"]);
    let record = ledger.end();
    observer.assert_never_two();
    one.wait_for_replay_of(two);
    record.assert_kept_by(two);
    record.assert_kept_by(one);
}

// ---- standby clone -------------------------------------------------------------------------------------------------

#[test]
fn configuration_files_that_the_role_may_not_read_come_from_the_host_of_the_source() {
    let Some(pg) = postgres(15) else { return };
    if !can_unshare() {
        return;
    }
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let node1 = cluster.primary("node1");
    let etc = cluster.dir().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let hba = etc.join("pg_hba.conf");
    std::fs::rename(node1.data.join("pg_hba.conf"), &hba).unwrap();
    std::fs::set_permissions(&hba, std::fs::Permissions::from_mode(0o640)).unwrap();
    node1.append_conf(&format!("hba_file = '{}'", hba.display()));
    node1.restart();
    let node = |server: &TestServer, id: i32, more: &str| {
        configure(server, id, &server.name, &server.conninfo_as("baton", "baton"), more);
    };
    node(&node1, 1, "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    let ssh = format!("ssh_options = \"{}\"", sshd.options("key"));
    let port = node1.port.to_string();
    // Its own host: nothing of the source's is there, and what is in the same place is its own.
    let clone = |server: &TestServer, place: &str| {
        let mounts = format!(
            "mount -t tmpfs tmpfs {} && mount --bind {} {}",
            node1.dir.display(),
            server.dir.join("etc").display(),
            etc.display()
        );
        server
            .pgbaton(["standby", "clone", "-h", "127.0.0.1", "-U", "baton", "-d", "baton", "-p", &port])
            .arg(format!("--copy-external-config-files={place}"))
            .behind(&mounts)
    };
    for (id, place) in [(2, "pgdata"), (3, "samepath")] {
        let server = cluster.empty(&format!("node{id}"));
        std::fs::create_dir(server.dir.join("etc")).unwrap();
        std::fs::create_dir(server.dir.join("home")).unwrap();
        let before = Fingerprint::of(&[&node1], &[&server.data]);
        node(&server, id, &format!("{ssh}\npgbaton_bindir = \"/nowhere\""));
        let refused = clone(&server, place).run();
        refused.code(1).says("permission denied for function pg_read_file");
        refused
            .says("There is no pgbaton on the host of node \"node1\"")
            .says("GRANT EXECUTE")
            .says("pgbaton_bindir");
        node(&server, id, &ssh);
        let dry = clone(&server, place).args(["--dry-run", "--json"]).run();
        let plan = dry.code(0).json()["data"].to_string();
        assert!(plan.contains("was read by pgbaton on the host of node"), "{plan}");
        assert!(!dry.stdout.contains("127.0.0.1/32"), "the file itself is shown: {dry:?}");
        before.assert_same(&Fingerprint::of(&[&node1], &[&server.data]));
        clone(&server, place).run().code(0);
        let there = if place == "pgdata" { server.data.clone() } else { server.dir.join("etc") };
        let ours = there.join("pg_hba.conf");
        assert_eq!(std::fs::read(&ours).unwrap(), std::fs::read(&hba).unwrap());
        assert_eq!(ours.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(server.data.join("pg_hba.conf").exists(), place == "pgdata");
        server.start();
        server.wait_until("SELECT status FROM pg_stat_wal_receiver", "streaming", SOON);
        server.stop(StopMode::Fast);
    }
}

/// Once the promotion may have been requested, a host of the old primary that is gone holds up nothing; before that, it does.
#[test]
fn a_lost_host_blocks_a_resumed_switchover_only_until_its_point_of_no_return() {
    for (side, is_past) in [(Side::Before, false), (Side::After, true)] {
        let Some(hosts) = postgres(15).and_then(|pg| Hosts::new(&pg, 2)) else { return };
        let observer = Observer::begin(&hosts.nodes.servers);
        let ledger = Ledger::begin(hosts.node(1), &hosts.nodes.servers);
        let mut stepped = Stepped::start(hosts.pgbaton_on(2, ["standby", "switchover"]));
        assert!(stepped.run_to(r#""step":"promote","stage":"forward","mark":"started""#, side));
        stepped.kill().wait(SOON);
        hosts.sshd.stop();
        let far_end = format!("far-end -f {}", hosts.node(1).config().display());
        wait_for("the far end to end", SOON, || running("pgbaton", &far_end).is_empty());
        let (one, two, three) = (hosts.node(1), hosts.node(2), hosts.node(3));
        assert!(!one.is_running() && one.data.join("standby.signal").exists());
        let resume = || hosts.pgbaton_on(2, ["operation", "resume"]).run();
        if is_past {
            let output = resume();
            output
                .code(22)
                .says("the host of node \"node1\" cannot be reached")
                .says("The point of no return is past: the remaining steps are run without it.")
                .says("start \"node1\"");
        } else {
            let journal = two.journal();
            for words in [["operation", "resume"], ["standby", "switchover"]] {
                let output = hosts.pgbaton_on(2, words).run();
                output
                    .code(12)
                    .says("the host of node \"node1\" cannot be reached")
                    .says("Nothing was changed; the operation stays open.");
                assert_eq!(hosts.nodes.primaries(), Vec::<&str>::new());
                assert_eq!(two.journal(), journal);
            }
            hosts.sshd.go();
            hosts.pgbaton_on(2, ["operation", "resume"]).run().code(0);
        }
        assert_eq!(hosts.nodes.primaries(), ["node2"]);
        three.wait_for_replay_of(two);
        if is_past {
            // Started now, it is a standby. As the message says, it is brought back by a rejoin, and then nothing is left.
            hosts.sshd.go();
            hosts.pgbaton_on(1, ["node", "rejoin", "--yes"]).run().code(0);
        }
        one.wait_for_replay_of(two);
        let record = ledger.end();
        observer.assert_never_two();
        record.assert_kept_by(two);
        for server in [one, three] {
            server.wait_for_replay_of(two);
            record.assert_kept_by(server);
        }
        wait_for("health", SOON, || hosts.pgbaton_on(2, ["cluster", "show"]).run().status.code() == Some(0));
    }
}
