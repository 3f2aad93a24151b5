//! What `cluster show` and `cluster check` say to type next is typed, in both orders, in every state that a cluster can be in: the cluster gets
//! better by it, or the line is refused and nothing changes. It never gets a second primary, and no standby stops streaming.

use std::time::{Duration, Instant};

use crate::support::{self, Nodes, Output, SOON, StopMode, TestServer, metadata, postgres, slow, wait_for};

/// A state of a primary and two standbys, and how it ends when all that is advised was typed.
struct State {
    name: &'static str,
    make: fn(&Nodes),
    end: &'static str,
}

const fn state(name: &'static str, end: &'static str, make: fn(&Nodes)) -> State {
    State { name, make, end }
}

/// The state of the cluster as far as it must not get worse.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    primaries: Vec<String>,
    streaming: Vec<String>,
}

fn seen(nodes: &Nodes) -> Seen {
    let streams = |server: &&TestServer| {
        let sql = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        server.is_running() && server.try_psql_as("postgres", "postgres", sql).stdout == "1\n"
    };
    Seen {
        primaries: nodes.primaries().into_iter().map(str::to_string).collect(),
        streaming: nodes.servers.iter().filter(streams).map(|server| server.name.clone()).collect(),
    }
}

/// Waits until as many stream as did before; a standby that is repointed does not for a moment.
fn settled(nodes: &Nodes, before: &Seen) -> Seen {
    let begun = Instant::now();
    let serving = |seen: &Seen| seen.primaries.len() + seen.streaming.len();
    loop {
        let now = seen(nodes);
        if serving(&now) >= serving(before) || begun.elapsed() > Duration::from_secs(15) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Returns what every host says to type, in the order in which it says it, each line once.
fn advice(nodes: &Nodes) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, server) in nodes.servers.iter().enumerate() {
        for command in ["show", "check"] {
            let document = server.pgbaton(["cluster", command, "--json"]).run().json();
            let next = match command {
                "show" => &document["data"]["cluster"]["next"],
                _ => &document["data"]["next"],
            };
            for line in next.as_array().into_iter().flatten() {
                let line = line.as_str().unwrap().to_string();
                if lines.iter().all(|(_, known)| *known != line) {
                    lines.push((at, line));
                }
            }
        }
    }
    lines
}

/// Types a line where it says, or else where it was said.
fn types(nodes: &Nodes, (at, line): &(usize, String), more: &[&str]) -> Output {
    let (command, place) = line.split_once('#').unwrap_or((line, ""));
    let on = nodes.servers.iter().find(|server| place.contains(&format!("on \"{}\"", server.name)));
    let server = on.unwrap_or(&nodes.servers[*at]);
    let words = shell_words::split(command).unwrap();
    match (words[0].as_str(), &words[1..]) {
        ("pgbaton", words) => server.pgbaton(words).args(more).run(),
        ("psql", [option, _, c, sql]) if option == "-Xd" && c == "-c" => {
            let on = nodes.servers.iter().find(|server| line.contains(&format!("port={}", server.port)));
            on.unwrap().try_psql_as("repmgr", "repmgr", sql)
        }
        _ => panic!("{line}"),
    }
}

/// Types a line, and looks what has become of the cluster.
#[track_caller]
fn check(nodes: &Nodes, state: &State, line: &(usize, String), more: &[&str]) -> i32 {
    let before = seen(nodes);
    let output = types(nodes, line, more);
    let code = output.status.code().unwrap_or(-1);
    let after = settled(nodes, &before);
    let message = format!("\"{}\": {} {more:?}: {code}: {before:?} -> {after:?}", state.name, line.1);
    eprintln!("{message}");
    assert!(after.primaries.len() <= before.primaries.len().max(1), "{message}\n{output:?}");
    // No cluster is left without a primary, except by the line that stops one of several or an old one.
    let stops = line.1.contains("node stop");
    assert!(stops || after.primaries.len() >= before.primaries.len().min(1), "{message}\n{output:?}");
    // A promoted node has no upstream.
    let kept = |name: &String| after.streaming.contains(name) || after.primaries.contains(name);
    assert!(stops || before.streaming.iter().all(kept), "{message}\n{output:?}");
    match code {
        0 | 22 | 25 => {}
        1 | 6 | 12 | 30..=32 => assert_eq!(after, before, "{message}\n{output:?}"),
        _ => panic!("{message}\n{output:?}"),
    }
    code
}

/// Types all that is advised, round after round, until nothing is left that is not refused.
#[track_caller]
fn walk(state: &State, reverse: bool) -> bool {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    for server in &nodes.servers {
        server.pgbaton(["cluster", "show"]).run().code(0);
    }
    (state.make)(&nodes);
    let mut several = false;
    for _ in 0..6 {
        let mut lines = advice(&nodes);
        several |= lines.len() > 1;
        if reverse {
            lines.reverse();
        }
        let mut done = false;
        for line in &lines {
            let mut code = check(&nodes, state, line, &[]);
            if code == 32 && line.1.contains("rejoin") {
                code = check(&nodes, state, line, &["--yes"]);
            }
            let reads = line.1.contains(" status") || line.1.contains("operation show");
            done |= code == 0 && !reads;
        }
        if !done {
            break;
        }
    }
    let shown = || {
        let running = nodes.servers.iter().rev().find(|server| server.is_running()).unwrap_or(nodes.node(1));
        running.pgbaton(["cluster", "show", "--json"]).run()
    };
    let is_there = || shown().json()["data"]["cluster"]["state"] == state.end;
    let begun = Instant::now();
    while !is_there() && begun.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(is_there(), "\"{}\" does not end as {}: {:?}", state.name, state.end, shown());
    several
}

#[track_caller]
fn both_ways(states: &[State]) {
    let only = std::env::var("PGBATON_TEST_STATE").unwrap_or_default();
    for state in states.iter().filter(|state| state.name.contains(&only)) {
        // In the order in which they are listed; the other one takes as long again.
        if walk(state, false) && slow() {
            walk(state, true);
        }
    }
}

fn lonely(nodes: &Nodes, ids: &[usize]) {
    let none = "SELECT count(*) FROM pg_stat_wal_receiver";
    ids.iter().for_each(|id| nodes.node(*id).wait_until(none, "0", SOON));
}

fn set(server: &TestServer, setting: &str) {
    server.psql(&format!("ALTER SYSTEM SET {setting}"));
    server.reload();
}

#[test]
fn without_a_primary() {
    both_ways(&[
        state("the primary is dead", "healthy", |nodes| {
            nodes.node(1).kill9();
            lonely(nodes, &[2, 3]);
        }),
        state("the primary was stopped", "healthy", |nodes| {
            nodes.node(1).stop(StopMode::Fast);
            lonely(nodes, &[2, 3]);
        }),
        state("all are dead", "healthy", |nodes| nodes.servers.iter().for_each(TestServer::kill9)),
        state("the primary and the best standby are dead", "healthy", |nodes| {
            nodes.node(1).kill9();
            nodes.node(2).kill9();
            lonely(nodes, &[3]);
        }),
        state("the primary came up as a standby", "healthy", |nodes| {
            nodes.node(1).stop(StopMode::Fast);
            std::fs::write(nodes.node(1).data.join("standby.signal"), "").unwrap();
            nodes.node(1).start();
        }),
        state("a promotion is requested that waits for an archive", "healthy", |nodes| {
            let (one, two) = (nodes.node(1), nodes.node(2));
            // It answers again when the request is withdrawn.
            let requested = two.data.join("promote");
            let held = two.dir.join("held");
            let wait = format!(
                "while [ -e {} ] || [ -e {} ]; do sleep 0.1; done; exit 1",
                requested.display(),
                held.display()
            );
            std::fs::write(&held, "").unwrap();
            let script = support::script(&two.dir.join("restore"), &wait);
            set(two, &format!("restore_command = '{} %f %p'", script.display()));
            two.wait_until("SHOW restore_command", &format!("{} %f %p", script.display()), SOON);
            one.stop(StopMode::Immediate);
            wait_for("the archive to be asked", SOON, || {
                two.processes().iter().any(|pid| {
                    std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
                        .is_ok_and(|line| line.contains("waiting for") || line.contains("restore"))
                })
            });
            two.psql("SELECT pg_promote(false)");
            std::fs::remove_file(held).unwrap();
        }),
    ]);
}

#[test]
fn with_two_primaries() {
    both_ways(&[
        state("a standby was promoted by accident", "split_brain", |nodes| nodes.node(2).promote()),
        state("the old primary has come back after a failover", "healthy", |nodes| {
            nodes.node(1).kill9();
            nodes.node(2).pgbaton(["standby", "promote"]).run().code(0);
            nodes.node(1).start();
        }),
        state("two standbys were promoted apart", "split_brain", |nodes| {
            nodes.node(1).stop(StopMode::Fast);
            nodes.node(2).promote();
            nodes.node(3).promote();
        }),
        state("a standby was started without its standby.signal", "degraded", |nodes| {
            let three = nodes.node(3);
            three.stop(StopMode::Fast);
            std::fs::remove_file(three.data.join("standby.signal")).unwrap();
            three.start();
        }),
    ]);
}

#[test]
fn after_a_failover() {
    both_ways(&[
        state("a standby was promoted by hand", "healthy", |nodes| {
            nodes.node(1).kill9();
            nodes.node(2).promote();
        }),
        state("a standby was promoted by pgbaton", "healthy", |nodes| {
            nodes.node(1).kill9();
            nodes.node(2).pgbaton(["standby", "promote"]).run().code(0);
        }),
        state("the new primary is down, and the old one was started by hand", "healthy", |nodes| {
            nodes.node(1).kill9();
            nodes.node(2).pgbaton(["standby", "promote"]).run().code(0);
            nodes.node(2).stop(StopMode::Fast);
            nodes.node(1).start();
        }),
        state("the new primary and a standby are down", "healthy", |nodes| {
            nodes.node(1).kill9();
            nodes.node(2).pgbaton(["standby", "promote"]).run().code(0);
            nodes.node(2).stop(StopMode::Fast);
            nodes.node(3).stop(StopMode::Fast);
        }),
    ]);
}

#[test]
fn with_paused_replay() {
    both_ways(&[
        state("replay is paused by hand", "healthy", |nodes| {
            nodes.node(2).psql("SELECT pg_wal_replay_pause()");
            nodes.node(2).wait_until("SELECT pg_get_wal_replay_pause_state()", "paused", SOON);
        }),
        state("replay is paused by a setting", "degraded", |nodes| {
            let one = nodes.node(1);
            one.psql("ALTER SYSTEM SET max_connections = 150");
            one.restart();
            nodes.node(2).wait_until("SELECT pg_get_wal_replay_pause_state()", "paused", SOON);
        }),
        state("replay is paused by a setting, and the primary is dead", "no_primary", |nodes| {
            let one = nodes.node(1);
            one.psql("ALTER SYSTEM SET max_connections = 150");
            one.restart();
            let paused = "SELECT pg_get_wal_replay_pause_state()";
            [2, 3].iter().for_each(|id| nodes.node(*id).wait_until(paused, "paused", SOON));
            one.kill9();
            lonely(nodes, &[2, 3]);
            // The operator has thrown it away.
            std::fs::rename(&one.data, one.dir.join("thrown-away")).unwrap();
        }),
        state("replay is paused, with a recovery target", "degraded", |nodes| {
            let two = nodes.node(2);
            two.append_conf(
                "recovery_target_time = '2099-01-01 00:00:00'\nrecovery_target_action = 'promote'",
            );
            two.restart();
            two.psql("SELECT pg_wal_replay_pause()");
            two.wait_until("SELECT pg_get_wal_replay_pause_state()", "paused", SOON);
        }),
    ]);
}

#[test]
fn with_a_standby_that_does_not_follow() {
    both_ways(&[
        state("a standby is down", "healthy", |nodes| nodes.node(3).kill9()),
        state("a standby has no upstream", "healthy", |nodes| {
            let three = nodes.node(3);
            set(three, "primary_conninfo = 'host=127.0.0.1 port=1 user=repmgr application_name=node3'");
            nodes.node(1).wait_until("SELECT count(*) FROM pg_stat_replication", "1", SOON);
        }),
        state("a standby gives another name", "healthy", |nodes| {
            let port = nodes.node(1).port;
            let other =
                format!("primary_conninfo = 'host=127.0.0.1 port={port} user=repmgr application_name=other'");
            set(nodes.node(3), &other);
            let named = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'other'";
            nodes.node(1).wait_until(named, "1", SOON);
        }),
        state("a standby follows another one than registered", "healthy", |nodes| {
            let (two, three) = (nodes.node(2), nodes.node(3));
            three.psql("ALTER SYSTEM SET primary_slot_name = ''");
            let port = two.port;
            let other =
                format!("primary_conninfo = 'host=127.0.0.1 port={port} user=repmgr application_name=node3'");
            set(three, &other);
            two.wait_until("SELECT count(*) FROM pg_stat_replication", "1", SOON);
        }),
        state("a slot is missing", "healthy", |nodes| {
            let three = nodes.node(3);
            three.stop(StopMode::Fast);
            nodes.node(1).psql("SELECT pg_drop_replication_slot('repmgr_slot_3')");
            three.start();
        }),
        state("a slot is not used", "healthy", |nodes| {
            set(nodes.node(3), "primary_slot_name = ''");
            nodes.node(1).wait_until("SELECT count(*) FROM pg_replication_slots WHERE active", "1", SOON);
            let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            nodes.node(1).wait_until(streaming, "2", SOON);
        }),
        state("a slot is lost", "healthy", |nodes| {
            let (one, three) = (nodes.node(1), nodes.node(3));
            three.stop(StopMode::Fast);
            one.append_conf("max_slot_wal_keep_size = '1MB'\nwal_keep_size = 0\nmax_wal_size = '32MB'");
            one.reload();
            one.psql("CREATE TABLE t (i int)");
            wait_for("the slot to be lost", SOON, || {
                (0..4).for_each(|_| {
                    one.psql("INSERT INTO t VALUES (1)");
                    one.psql("SELECT pg_switch_wal()");
                });
                one.psql("CHECKPOINT");
                let lost = "SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'";
                one.psql(lost) == "1"
            });
            one.append_conf("max_slot_wal_keep_size = '1GB'");
            one.reload();
            three.start();
        }),
        state("a standby would start as a primary", "degraded", |nodes| {
            std::fs::remove_file(nodes.node(2).data.join("standby.signal")).unwrap();
        }),
        state("the primary would start as a standby", "degraded", |nodes| {
            std::fs::write(nodes.node(1).data.join("standby.signal"), "").unwrap();
        }),
    ]);
}

#[test]
fn with_rows_that_are_wrong() {
    fn edit(nodes: &Nodes, sql: &str) {
        metadata(nodes.node(1), &format!("UPDATE repmgr.nodes SET {sql}"));
        [2, 3].iter().for_each(|id| nodes.node(*id).wait_for_replay_of(nodes.node(1)));
    }
    both_ways(&[
        state("a standby is registered as a primary", "healthy", |nodes| {
            edit(nodes, "type = 'primary', upstream_node_id = NULL WHERE node_id = 2");
        }),
        state("a standby is registered as inactive", "healthy", |nodes| {
            edit(nodes, "active = false WHERE node_id = 2");
        }),
        state("the primary is registered as inactive", "healthy", |nodes| {
            edit(nodes, "active = false WHERE node_id = 1");
        }),
        state("roles are registered the other way round", "healthy", |nodes| {
            edit(nodes, "type = 'standby', upstream_node_id = 2 WHERE node_id = 1");
            edit(nodes, "type = 'primary', upstream_node_id = NULL WHERE node_id = 2");
        }),
        state("two standbys are registered to follow each other", "healthy", |nodes| {
            edit(nodes, "upstream_node_id = 5 - node_id WHERE node_id > 1");
        }),
        state("a standby is registered without an upstream", "healthy", |nodes| {
            edit(nodes, "upstream_node_id = NULL WHERE node_id = 3");
        }),
        state("two nodes are registered with one server", "degraded", |nodes| {
            let conninfo = nodes.node(1).conninfo();
            edit(nodes, &format!("conninfo = '{conninfo}' WHERE node_id = 3"));
        }),
    ]);
}

#[test]
fn with_unreachable_servers() {
    both_ways(&[
        state("the primary is frozen", "no_primary", |nodes| nodes.node(1).freeze()),
        state("the primary rejects connections", "no_primary", |nodes| {
            nodes.node(1).set_hba("host replication all all trust\nlocal all all trust");
            nodes.node(1).reload();
        }),
        state("a standby is frozen", "degraded", |nodes| nodes.node(3).freeze()),
        state("a standby rejects connections", "degraded", |nodes| {
            nodes.node(3).set_hba("local all all trust");
            nodes.node(3).reload();
        }),
    ]);
}
