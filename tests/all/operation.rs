//! `operation list|show|resume|abandon`, the locks, and the notification hook, with real commands behind them.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::{
    self, Fingerprint, Nodes, Running, SOON, Side, Stepped, StopMode, TestCluster, TestServer, clean_command,
    configure, envelope, metadata, postgres, registered, wait_for,
};

fn journals(server: &TestServer) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(server.dir.join("state/operations"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    found.sort();
    found
}

/// A session that holds a lock on the table of nodes until it is dropped.
fn hold_nodes(server: &TestServer) -> Running {
    let mut psql = clean_command(&server.pg.tool("psql"));
    let (port, socket) = (server.port.to_string(), server.socket_dir.to_string_lossy().into_owned());
    psql.args(["-X", "-h", &socket, "-p", &port, "-U", "postgres", "-d", "repmgr", "-c"]);
    // Readers pass, writers wait.
    psql.arg("BEGIN; LOCK TABLE repmgr.nodes IN EXCLUSIVE MODE; SELECT pg_sleep(600)");
    let running = Running::start(psql);
    let held = "SELECT count(*) > 0 FROM pg_locks WHERE relation = to_regclass('repmgr.nodes') AND mode = 'ExclusiveLock' AND granted";
    wait_for("the lock on repmgr.nodes", SOON, || server.psql_as("postgres", "repmgr", held) == "t");
    running
}

const WAITS: &str =
    "SELECT count(*) > 0 FROM pg_locks WHERE relation = to_regclass('repmgr.nodes') AND NOT granted";

/// A register that was killed while it waited for the table.
fn killed_register(server: &TestServer) {
    let held = hold_nodes(server);
    let running = server.pgbaton(["primary", "register"]).spawn();
    wait_for("the register to wait", SOON, || server.psql_as("postgres", "repmgr", WAITS) == "t");
    running.signal(Signal::KILL);
    running.wait(SOON);
    drop(held);
    // psql is gone, its statement is not.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()";
    server.psql(end);
    wait_for("the server to end both statements", SOON, || {
        server.psql(
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'nodes'",
        ) == "0"
    });
}

#[test]
fn a_killed_register_is_listed_and_resumed() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let list = node1.pgbaton(["operation", "list", "--json"]).run();
    let operations = &envelope(&list, "operation list", 0, false)["data"]["operations"];
    assert_eq!(operations[0]["state"], "finished");
    assert_eq!(operations[0]["exit_code"], 0);
    let none = node1.pgbaton(["operation", "resume", "--json"]).run();
    envelope(&none, "operation resume", 1, false);
    none.says("no operation is unfinished on this node");

    node1.node_config(1, "priority = 7");
    killed_register(&node1);
    let list = node1.pgbaton(["operation", "list"]).run();
    assert!(list.code(0).stdout.contains("unfinished"), "{list:?}");
    let show = node1.pgbaton(["operation", "show"]).run();
    assert!(show.code(0).stdout.contains("State: unfinished") && show.stdout.contains("started"), "{show:?}");
    let show = node1.pgbaton(["operation", "show", "--json"]).run();
    let shown = envelope(&show, "operation show", 0, false)["data"].clone();
    assert_eq!(shown["steps"][0]["status"], "started");
    let id = shown["operation_id"].as_str().unwrap();
    // It blocks no other command: what it leaves does no harm.
    node1.pgbaton(["node", "status"]).run().code(0);

    let before = Fingerprint::of(&[&node1], &[]);
    for verb in ["resume", "abandon"] {
        let dry = node1.pgbaton(["operation", verb, "--dry-run", "--json"]).run();
        envelope(&dry, &format!("operation {verb}"), 0, false);
    }
    before.assert_same(&Fingerprint::of(&[&node1], &[]));
    envelope(&node1.pgbaton(["operation", "resume", "--json"]).run(), "operation resume", 0, true);
    assert_eq!(metadata(&node1, "SELECT priority FROM repmgr.nodes"), "7");
    let over = node1.pgbaton(["operation", "resume", id, "--json"]).run();
    envelope(&over, "operation resume", 1, false);
    over.says("is finished");
    let over = node1.pgbaton(["operation", "abandon", id, "--json"]).run();
    envelope(&over, "operation abandon", 1, false);
    let unknown = node1.pgbaton(["operation", "show", "x", "--json"]).run();
    envelope(&unknown, "operation show", 1, false);
    unknown.says("there is no operation \"x\"").says("operation list");

    // The same command takes up what was left, and closes the old journal.
    node1.node_config(1, "priority = 8");
    killed_register(&node1);
    node1.pgbaton(["primary", "register"]).run().code(0);
    assert_eq!(metadata(&node1, "SELECT priority FROM repmgr.nodes"), "8");
    node1.pgbaton(["operation", "abandon"]).run().code(1).says("no operation is unfinished");
    node1.node_config(1, "priority = 9");
    killed_register(&node1);
    node1.pgbaton(["operation", "abandon"]).run().code(0).says("is abandoned");
    assert_eq!(metadata(&node1, "SELECT priority FROM repmgr.nodes"), "8");
    let list = node1.pgbaton(["operation", "list", "--json"]).run();
    assert!(!list.stdout.contains("unfinished\""), "{list:?}");
}

#[test]
fn damaged_and_multiple_journals_are_distinguished() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.node_config(1, "priority = 7");
    killed_register(&node1);
    let journal = journals(&node1).pop().unwrap();
    let text = std::fs::read_to_string(&journal).unwrap();
    // A second one, of a command whose unfinished operation blocks others.
    let other = journal.with_file_name("20300101T000000.000Z-0000.jsonl");
    let lines = text.replacen("\"command\":\"primary register\"", "\"command\":\"standby promote\"", 1);
    // As an earlier version wrote it: what an unfinished one means is known from its command only.
    let lines = lines.replacen(",\"unfinished\":\"harmless\"", "", 1);
    assert!(!lines.contains("harmless"), "{lines}");
    let first = journal.file_stem().unwrap().to_string_lossy().into_owned();
    std::fs::write(&other, lines.replace(&first, "20300101T000000.000Z-0000")).unwrap();
    let several = node1.pgbaton(["operation", "resume", "--json"]).run();
    let error = envelope(&several, "operation resume", 1, false)["error"].to_string();
    assert!(error.contains("2 operations are unfinished") && error.contains(&first), "{error}");
    let blocked = node1.pgbaton(["primary", "register", "--json"]).run();
    let error = envelope(&blocked, "primary register", 30, false)["error"].to_string();
    assert!(error.contains("operation resume 20300101T000000.000Z-0000"), "{error}");
    node1.pgbaton(["node", "status"]).run().code(25).says("20300101T000000.000Z-0000");
    node1.pgbaton(["operation", "abandon", "20300101T000000.000Z-0000"]).run().code(0);

    // A line in the middle that is no record.
    let damaged = text.replacen("{\"record\"", "{\"rec", 1)
        + &text.lines().last().map(|line| format!("{line}\n")).unwrap();
    std::fs::write(&other, damaged).unwrap();
    let list = node1.pgbaton(["operation", "list", "--json"]).run();
    let operations = &envelope(&list, "operation list", 0, false)["data"]["operations"];
    assert_eq!(operations[0]["state"], "damaged", "{operations}");
    node1.pgbaton(["operation", "show"]).run().code(0);
    let resume = node1.pgbaton(["operation", "resume", "20300101T000000.000Z-0000", "--json"]).run();
    envelope(&resume, "operation resume", 1, false);
    resume.says("is damaged and cannot be resumed");
    let blocked = node1.pgbaton(["primary", "register", "--json"]).run();
    envelope(&blocked, "primary register", 30, false);
    blocked.says("cannot be read").says("operation abandon");
    let before = Fingerprint::of(&[&node1], &[]);
    let dry = node1.pgbaton(["operation", "abandon", "20300101T000000.000Z-0000", "--dry-run"]).run();
    dry.code(0);
    before.assert_same(&Fingerprint::of(&[&node1], &[]));
    node1.pgbaton(["operation", "abandon", "20300101T000000.000Z-0000"]).run().code(0).says("is kept as");
    assert!(!other.exists() && other.with_extension("jsonl.damaged").exists());
    node1.pgbaton(["primary", "register"]).run().code(0);
}

#[test]
fn one_operation_at_a_time_and_a_signal_ends_it() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.node_config(1, "priority = 7");
    let held = hold_nodes(&node1);
    let running = node1.pgbaton(["primary", "register"]).spawn();
    wait_for("the register to wait", SOON, || node1.psql_as("postgres", "repmgr", WAITS) == "t");
    let before = metadata(&node1, "SELECT count(*) FROM repmgr.events");
    for args in
        [&["primary", "register"][..], &["node", "stop"], &["operation", "resume"], &["operation", "abandon"]]
    {
        let busy = node1.pgbaton(args.iter().copied().chain(["--json"]).collect::<Vec<_>>()).run();
        let error = envelope(&busy, &args.join(" "), 30, false)["error"].to_string();
        assert!(error.contains("pgbaton primary register") && error.contains("Process"), "{error}");
    }
    // Looking is allowed.
    node1.pgbaton(["operation", "list"]).run().code(0);
    node1.pgbaton(["cluster", "show"]).run().code(0);
    running.signal(Signal::INT);
    let output = running.wait(SOON);
    output.code(130);
    assert_eq!(metadata(&node1, "SELECT priority FROM repmgr.nodes"), "100");
    assert!(metadata(&node1, "SELECT count(*) FROM repmgr.events") >= before);
    drop(held);
    node1.pgbaton(["operation", "list"]).run().code(0);
}

// ---- hooks --------------------------------------------------------------------------------------------------------------

#[test]
fn a_hook_gets_every_value_as_one_word_and_executes_none() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let node2 = cluster.standby("node2", &node1);
    node1.node_config(1, "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    node2.wait_for_replay_of(&node1);
    let script = cluster.dir().join("hook");
    let out = cluster.dir().join("hook.out");
    let text = format!(
        "#!/bin/sh\nfor word in \"$@\"; do printf '[%s]' \"$word\"; done >> {0}; echo >> {0}\n",
        out.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let shown = script.display();
    let name = "it's \"2\" $(touch $HOME/pwned) `touch $HOME/pwned`; #*\n\\";
    let more = |template: &str| {
        format!("priority = 5\nevent_notification_command = {}", serde_json::to_string(template).unwrap())
    };
    let register = |template: &str| {
        let _ = std::fs::remove_file(&out);
        metadata(&node1, "DELETE FROM repmgr.nodes WHERE node_id = 2");
        node2.wait_for_replay_of(&node1);
        configure(&node2, 2, name, &node2.conninfo(), &more(template));
        let output = node2.pgbaton(["standby", "register", "--force"]).run();
        output.code(0);
        (output, std::fs::read_to_string(&out).unwrap_or_default())
    };
    let details = format!("node \"{name}\" (ID 2) registered as standby");
    for template in [
        "{} %n %e %s %d %p %a %c 100%%",
        "{} \"%n\" \"%e\" \"%s\" \"%d\" \"%p\" \"%a\" \"%c\" \"100%%\"",
        "{} '%n' '%e' '%s' '%d' '%p' '%a' '%c' '100%%'",
    ] {
        let (output, said) = register(&template.replace("{}", &shown.to_string()));
        assert!(!output.stderr.contains("notification"), "{output:?}");
        assert_eq!(
            said,
            format!("[2][standby_register][1][{details}][1][node1][{}][100%]\n", node1.conninfo())
        );
    }
    // Inside a substitution, and next to other text.
    let (_, said) = register(&format!("{shown} \"$(printf %%s \"%d\")\" x%n'y%n'\"z%n\" \\%n %x %"));
    assert_eq!(said, format!("[{}][x2y2z2][%n][%x][%]\n", details.trim_end_matches('\n')), "{said}");
    let (_, said) = register(&format!("{shown} \"$PGBATON_EVENT\" '%t'"));
    assert!(said.starts_with("[standby_register][20"), "{said}");
    assert!(!cluster.dir().join("home/pwned").exists());
}

#[test]
fn a_filter_selects_and_a_hook_that_fails_or_hangs_is_only_a_warning() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let out = cluster.dir().join("hook.out");
    let shown = out.display();
    let more = format!(
        "event_notification_command = \"echo %e >> {shown}\"\nevent_notifications = \"primary_register,standby_follow\""
    );
    node1.node_config(1, &more);
    node1.pgbaton(["primary", "register"]).run().code(0);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "primary_register\n");
    let events = "SELECT event FROM repmgr.events ORDER BY event_timestamp";
    assert_eq!(metadata(&node1, events), "cluster_created\nprimary_register");

    node1.node_config(1, "priority = 2\nevent_notification_command = \"echo oh no >&2; exit 9\"");
    let output = node1.pgbaton(["primary", "register", "--json"]).run();
    envelope(&output, "primary register", 0, true);
    output.says("WARNING: the notification command for event \"primary_register\" failed").says("oh no");
    node1.node_config(1, "priority = 3\nevent_notification_command = \"/no/such/program %d\"");
    node1.pgbaton(["primary", "register"]).run().code(0).says("WARNING: the notification command");
    // It gets a minute and no more; the command itself has long succeeded.
    if support::slow() {
        node1.node_config(1, "priority = 4\nevent_notification_command = \"sleep 600\"");
        let output = node1.pgbaton(["primary", "register"]).deadline(4 * SOON).run();
        output.code(0).says("did not finish within").says("is registered as primary");
    }
}

/// Killed at any moment between its last effect and the end of its journal, a register has its event once, and its hook runs once.
#[test]
fn the_event_of_a_killed_register_is_recorded_once() {
    #[derive(Debug, Clone, Copy)]
    enum After {
        Effect,
        Mark,
        Event,
    }
    use After::{Effect, Event, Mark};
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let log = cluster.dir().join("events");
    let words = ["primary", "register"];
    let cases: [(After, &[&str]); 9] = [
        (Effect, &["operation", "resume"]),
        (Effect, &words),
        (Mark, &["operation", "resume"]),
        (Mark, &["operation", "abandon"]),
        (Mark, &words),
        (Mark, &["node", "reload"]),
        (Event, &["operation", "resume"]),
        (Event, &words),
        (Event, &["node", "reload"]),
    ];
    for (priority, (killed, then)) in (20..).zip(cases) {
        let hook = format!(
            "priority = {priority}\nevent_notification_command = \"echo %n %e %s >> {}\"",
            log.display()
        );
        node1.node_config(1, &hook);
        metadata(&node1, "DELETE FROM repmgr.events");
        let _ = std::fs::remove_file(&log);
        let mut running = Stepped::start(node1.pgbaton(words));
        let (text, side) = match killed {
            Effect => ("\"mark\":\"done\"", Side::Before),
            Mark => ("\"mark\":\"done\"", Side::After),
            Event => ("\"step\":\"tell primary_register 1\"", Side::After),
        };
        assert!(running.run_to(text, side), "{killed:?}");
        running.kill().wait(SOON);
        assert_eq!(metadata(&node1, "SELECT priority FROM repmgr.nodes"), priority.to_string());
        // A dry run sends nothing.
        if then[0] == "operation" {
            node1.pgbaton(then.iter().copied().chain(["--dry-run"])).run().code(0);
        }
        let sent = matches!(killed, Event);
        assert_eq!(log.exists(), sent, "{killed:?}");
        node1.pgbaton(then.iter().copied()).run().code(0);
        let history = format!("{killed:?} {then:?}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "1 primary_register 1\n", "{history}");
        let rows = metadata(&node1, "SELECT event, successful, details FROM repmgr.events");
        assert_eq!(rows, "primary_register|t|node \"node1\" (ID 1) registered as primary", "{history}");
        node1.pgbaton(["operation", "resume"]).run().code(1).says("no operation is unfinished");
    }
}

/// What a coordinator leaves whose host is gone: its row, which every copy of the metadata has.
fn left_open(nodes: &Nodes, node_id: i32, changes: &str, timeline: i32) -> String {
    let id = format!("20261129T100000Z-{node_id}{timeline}{}", changes.replace(',', ""));
    let row = format!(
        "INSERT INTO pgbaton.operation (operation_id, command, node_id, nodes, timeline, system_identifier) \
         SELECT '{id}', 'standby switchover', {node_id}, '{{{changes}}}', {timeline}, system_identifier::text FROM pg_control_system()"
    );
    nodes.node(1).psql_as("postgres", "repmgr", &row);
    (2..=3).for_each(|id| nodes.node(id).wait_for_replay_of(nodes.node(1)));
    id
}

const OPEN: &str =
    "SELECT coalesce(string_agg(operation_id, ' '), '') FROM pgbaton.operation WHERE finished_at IS NULL";

#[test]
fn an_operation_that_is_open_elsewhere_is_reported_everywhere_and_blocks_others() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // One that was killed, with its journal and its row; of a switchover the row names all nodes.
    let held = hold_nodes(one);
    let follow = two.pgbaton(["standby", "follow", "--upstream-node-id", "3"]).spawn();
    wait_for("the follow to wait", 3 * SOON, || one.psql_as("postgres", "repmgr", WAITS) == "t");
    // As long as it runs it does not have to wait.
    let runs = two.pgbaton(["node", "check", "--unfinished-operation"]).run();
    assert!(runs.code(0).stdout.contains("operation \"standby follow\" is running (process "), "{runs:?}");
    let shown = two.pgbaton(["cluster", "show", "--json"]).run();
    assert!(
        shown.stdout.contains("\\\"standby follow\\\" of node \\\"node2\\\" is running (process "),
        "{shown:?}"
    );
    assert!(shown.json()["data"]["cluster"]["unfinished_operation"].is_null(), "{shown:?}");
    follow.signal(Signal::KILL);
    follow.wait(SOON);
    drop(held);
    one.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()");
    assert_eq!(
        metadata(
            one,
            "SELECT nodes::text || ' ' || timeline FROM pgbaton.operation WHERE finished_at IS NULL"
        ),
        "{2} 1"
    );
    three.pgbaton(["standby", "follow", "--upstream-node-id", "1"]).run().code(0);
    three.pgbaton(["standby", "follow", "--upstream-node-id", "2"]).run().code(30);
    let id = metadata(one, OPEN);
    metadata(
        one,
        "UPDATE pgbaton.operation SET nodes = '{1,2,3}', command = 'standby switchover' WHERE finished_at IS NULL",
    );
    three.wait_for_replay_of(one);
    let look = format!("pgbaton operation show {id}  # on \"node2\"");
    for server in [one, three] {
        let shown = server.pgbaton(["cluster", "show", "--json"]).run();
        let shown = envelope(&shown, "cluster show", 25, false);
        assert_eq!(shown["data"]["cluster"]["next"], serde_json::json!([look]));
        assert_eq!(shown["issues"][0]["code"], "operation_open");
        let checked = server.pgbaton(["cluster", "check", "--no-ssh"]).run();
        checked.says("\"standby switchover\" begun on node \"node2\" has not reported its end");
    }
    let before = Fingerprint::of(&[one, two], &[]);
    for words in [["standby", "follow"].as_slice(), &["node", "rejoin"], &["standby", "switchover"]] {
        for dry in [["--dry-run"].as_slice(), &[]] {
            let refused = three.pgbaton(words.iter().chain(dry).copied()).run();
            refused
                .code(30)
                .says("has not reported its end")
                .says(&format!("operation abandon {id} --force"));
        }
    }
    before.assert_same(&Fingerprint::of(&[one, two], &[]));
    // The primary cannot be asked, and its copy is all that there is.
    one.kill9();
    three.pgbaton(["standby", "promote"]).run().code(30);
    let shown = three.pgbaton(["cluster", "show", "--json"]).run();
    assert_eq!(shown.json()["data"]["cluster"]["next"][0], look.as_str(), "{shown:?}");
    one.start();
    wait_for("the standbys to stream", SOON, || one.psql("SELECT count(*) FROM pg_stat_replication") == "1");
    three.pgbaton(["operation", "abandon", &id, "--force"]).run().code(0).says("is closed");
    two.pgbaton(["operation", "abandon"]).run().code(0);
    two.pgbaton(["standby", "follow", "--upstream-node-id", "1"]).run().code(0);
    three.wait_for_replay_of(one);
    three.pgbaton(["cluster", "show"]).run().code(0);

    // Of another time, or of nodes that this command does not touch.
    for row in [left_open(&nodes, 2, "1,2,3", 9), left_open(&nodes, 9, "8,9", 1)] {
        three.pgbaton(["standby", "follow", "--upstream-node-id", "1"]).run().code(0);
        assert!(metadata(one, OPEN).contains(&row));
    }
    // Its own journals know nothing of it: what comes next closes the row.
    metadata(one, "UPDATE pgbaton.operation SET finished_at = now() WHERE finished_at IS NULL");
    left_open(&nodes, 3, "3", 1);
    three.pgbaton(["cluster", "show"]).run().code(0);
    three.pgbaton(["standby", "follow", "--upstream-node-id", "2"]).run().code(0);
    assert_eq!(metadata(one, OPEN), "");
    // No command is left that could finish it.
    left_open(&nodes, 3, "1,3", 1);
    one.pgbaton(["standby", "unregister", "--node-id", "3"]).run().code(0);
    assert_eq!(metadata(one, OPEN), "");
}

#[test]
fn no_node_is_unregistered_while_roles_change() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, two, three) = (nodes.node(1), nodes.node(2), nodes.node(3));
    // Just before the old primary is stopped: its stop asks another node to take the candidate out of the cluster.
    let program = env!("CARGO_BIN_EXE_pgbaton");
    let (config, said) = (three.node_config(3, ""), three.dir.join("said"));
    let stop = format!("{} -D {} -m fast -W stop", one.pg.tool("pg_ctl").display(), one.data.display());
    let unregister = format!(
        "{program} -f {} standby unregister --node-id 2 >{} 2>&1; echo $? >>{}",
        config.display(),
        said.display(),
        said.display()
    );
    nodes.configure(1, &format!("service_stop_command = \"{unregister}; {stop}\""));
    two.pgbaton(["standby", "switchover"]).run().code(0);
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.ends_with("30\n") && said.contains("another operation is running"), "{said}");
    assert_eq!(metadata(two, "SELECT count(*) FROM repmgr.nodes"), "3");
    // A record that cannot be written holds up nothing else.
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not today'; END$$; \
                  CREATE TRIGGER refuse BEFORE UPDATE ON repmgr.nodes FOR EACH ROW EXECUTE FUNCTION refuse()";
    two.psql_as("postgres", "repmgr", refuse);
    three.wait_for_replay_of(two);
    let output = three.pgbaton(["standby", "switchover"]).run();
    output.code(22).says("Not today");
    assert_eq!(nodes.primaries(), ["node3"]);
    three.wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2", SOON);
}

#[test]
fn the_first_change_of_a_standby_creates_the_record_if_the_role_may() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, three) = (nodes.node(1), nodes.node(3));
    let has = |column: &str| {
        let sql = format!(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'pgbaton' AND table_name = 'operation' AND column_name = '{column}'"
        );
        one.psql_as("postgres", "repmgr", &sql) == "1"
    };
    let follow = |upstream: &str, more: &[&str]| {
        let words = ["standby", "follow", "--upstream-node-id", upstream];
        three.pgbaton(words.iter().chain(more).copied()).run()
    };
    // As version 0.1.0 made it, and as repmgr leaves it.
    let old = "ALTER TABLE pgbaton.operation DROP nodes, DROP timeline, DROP system_identifier";
    for (sql, upstream) in [(old, "2"), ("DROP SCHEMA pgbaton CASCADE", "1")] {
        one.psql_as("postgres", "repmgr", sql);
        assert!(!has("nodes"));
        let title = "prepare table pgbaton.operation on node \"node1\"";
        let dry = follow(upstream, &["--dry-run"]);
        assert!(dry.code(0).stdout.contains(title), "{dry:?}");
        assert!(!has("nodes"));
        follow(upstream, &[]).code(0).says(title);
        assert!(has("nodes"));
        let kept = "SELECT command || ' ' || nodes::text || ' ' || exit_code FROM pgbaton.operation WHERE nodes IS NOT NULL ORDER BY started_at DESC LIMIT 1";
        assert_eq!(metadata(one, kept), "standby follow {3} 0");
    }
    // It may not: that is said with what allows it, here and by the check, and the work is done.
    one.psql_as("postgres", "repmgr", "DROP SCHEMA pgbaton CASCADE");
    for sql in [
        "ALTER DATABASE repmgr OWNER TO postgres",
        "ALTER ROLE repmgr NOSUPERUSER",
        "GRANT pg_monitor TO repmgr",
        "GRANT EXECUTE ON FUNCTION pg_promote TO repmgr",
        "GRANT USAGE ON SCHEMA repmgr TO repmgr; GRANT ALL ON ALL TABLES IN SCHEMA repmgr TO repmgr",
    ] {
        one.psql_as("postgres", "repmgr", sql);
    }
    three.wait_for_replay_of(one);
    let grant = "GRANT CREATE ON DATABASE";
    follow("2", &["--dry-run"]).code(0).says("cannot be recorded").says(grant);
    let checked = one.pgbaton(["cluster", "check", "--no-ssh", "--json"]).run();
    assert!(checked.stdout.contains("operations_not_recorded"), "{checked:?}");
    follow("2", &[]).code(0).says("cannot be recorded").says(grant);
    // What it may not read on any node may be there.
    let table = "CREATE SCHEMA pgbaton; CREATE TABLE pgbaton.operation (operation_id text, command text, node_id integer, \
                 started_at timestamptz, finished_at timestamptz, exit_code integer)";
    one.psql_as("postgres", "repmgr", table);
    three.wait_for_replay_of(one);
    let dry = follow("1", &["--dry-run"]);
    dry.code(0)
        .says("the records of other operations could not be read")
        .says("Permission denied for table pgbaton.operation");
    one.psql_as(
        "postgres",
        "repmgr",
        "GRANT USAGE ON SCHEMA pgbaton TO repmgr; GRANT SELECT ON pgbaton.operation TO repmgr",
    );
    three.wait_for_replay_of(one);
    assert!(!follow("1", &["--dry-run"]).code(0).stderr.contains("could not be read"));
    one.psql_as("postgres", "repmgr", "DROP SCHEMA pgbaton CASCADE");
    three.wait_for_replay_of(one);
    one.kill9();
    three.pgbaton(["standby", "promote", "--no-siblings-follow"]).run().code(0).says(grant);
}

#[test]
fn a_promotion_on_a_cluster_of_repmgr_is_recorded_if_the_role_may_create_the_table() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    one.psql_as("postgres", "repmgr", "DROP SCHEMA pgbaton CASCADE");
    two.wait_for_replay_of(one);
    one.kill9();
    let dry = two.pgbaton(["standby", "promote", "--dry-run"]).run();
    assert!(dry.code(0).stdout.contains("prepare schema pgbaton"), "{dry:?}");
    two.pgbaton(["standby", "promote"]).run().code(0);
    let promotions = "SELECT string_agg(timeline || ' ' || node_id, ', ') FROM pgbaton.promotion";
    assert_eq!(metadata(two, promotions), "2 2");
}

#[test]
fn a_record_that_a_finished_operation_left_open_is_closed_by_the_same_command_or_by_abandon() {
    let nodes = Nodes::new(&postgres(15).unwrap(), 2);
    let (one, three) = (nodes.node(1), nodes.node(3));
    let open = || metadata(one, "SELECT count(*) FROM pgbaton.operation WHERE finished_at IS NULL");
    for (target, abandons) in [("2", false), ("1", true)] {
        let follow = ["standby", "follow", "--upstream-node-id", target];
        let mut running = Stepped::start(three.pgbaton(follow));
        assert!(running.run_to("\"record\":\"end\"", Side::After));
        running.kill().wait(SOON);
        assert_eq!(open(), "1");
        let id = metadata(one, "SELECT operation_id FROM pgbaton.operation WHERE finished_at IS NULL");
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        nodes.servers.iter().for_each(|server| server.wait_until(locks, "0", SOON));
        if abandons {
            one.stop(StopMode::Fast);
            let unchecked = three.pgbaton(["operation", "abandon", &id]).run();
            unchecked
                .code(1)
                .says("is finished")
                .says("Its record in the cluster could not be checked: no primary");
            unchecked.says("Run the command again when the primary responds.");
            one.start();
            three.pgbaton(["operation", "abandon", &id]).run().code(0).says("is closed");
            three.pgbaton(["operation", "abandon", &id]).run().code(1).says("is finished");
        } else {
            three.pgbaton(follow).run().code(0);
        }
        assert_eq!(open(), "0", "{target}");
    }
}
