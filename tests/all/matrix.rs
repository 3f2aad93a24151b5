//! Which node reaches which, seen from hosts that reach each other by a real ssh.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    self, Hosts, Output, SOON, Sshd, StopMode, TestCluster, TestServer, configure, configure_more, envelope,
    metadata, postgres, real_repmgr, repmgr_conf, with_real_repmgr,
};

/// Replaces the `ssh_options` of a node.
fn set_ssh(server: &TestServer, options: &str) {
    let text = std::fs::read_to_string(server.config()).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("ssh_options")).collect();
    std::fs::write(server.config(), kept.join("\n") + "\n").unwrap();
    configure_more(server, &format!("ssh_options = \"{options}\""));
}

/// Returns the cells of a JSON answer, one row after the other.
#[track_caller]
fn cells(output: &Output) -> String {
    let cell = |link: &Value| match link["status"].as_str().unwrap() {
        "ok" => '*',
        "failed" => 'x',
        "unknown" => '?',
        other => panic!("{other}: {output:?}"),
    };
    output.json()["data"]["connections"].as_array().unwrap().iter().map(cell).collect()
}

/// Fails unless the answer has this exit code, and an issue that says so.
#[track_caller]
fn assert_says(output: &Output, exit: i32, text: &str) {
    let json = output.json();
    let issues = json["issues"].as_array().unwrap().iter();
    let said = |issue: &Value| {
        ["message", "detail", "hint"].map(|part| issue[part].as_str().unwrap_or("").to_string()).join(" ")
    };
    assert!(issues.map(said).any(|said| said.contains(text)), "{text}: {output:?}");
    output.code(exit);
}

// ---- matrix and crosscheck ---------------------------------------------------------------------------------------------

#[test]
fn every_host_is_queried_once_and_reports_which_nodes_it_reaches() {
    let Some(hosts) = postgres(15).and_then(|pg| Hosts::new(&pg, 2)) else { return };
    let csv = |verb: &str| hosts.pgbaton_on(1, ["cluster", verb, "--csv"]).run();
    let before = hosts.sshd.accepted();
    let all = csv("matrix");
    all.code(0);
    assert_eq!(all.stdout, "1,1,0\n1,2,0\n1,3,0\n2,1,0\n2,2,0\n2,3,0\n3,1,0\n3,2,0\n3,3,0\n");
    assert_eq!(hosts.sshd.accepted() - before, 2);
    assert_eq!(csv("crosscheck").code(0).stdout, all.stdout);
    assert_eq!(hosts.sshd.accepted() - before, 4);
    let table = hosts.pgbaton_on(2, ["cluster", "matrix"]).run();
    assert_eq!(
        table.code(0).stdout,
        " Name  | ID | 1 | 2 | 3 \n-------+----+---+---+---\n node1 | 1  | * | * | * \n node2 | 2  | * | * | * \n node3 | 3  | * | * | * \n"
    );

    // Where each node looks from is its own host: the password of node 1 is at home on that of node 2 only.
    let one = hosts.node(1);
    let pass = hosts.nodes.cluster.dir().join("home/.pgpass");
    std::fs::write(&pass, format!("127.0.0.1:{}:*:*:repmgr\n", one.port)).unwrap();
    std::fs::set_permissions(&pass, std::fs::Permissions::from_mode(0o600)).unwrap();
    let trusted = "local all all trust\nhost replication all 127.0.0.1/32 trust\nhost all all 127.0.0.1/32";
    one.set_hba(&format!("{trusted} scram-sha-256"));
    one.reload();
    let output = hosts.pgbaton_on(2, ["cluster", "crosscheck", "--json"]).run();
    assert_says(&output, 25, "node \"node3\" cannot connect to node \"node1\"");
    assert_eq!(cells(&output), "x*****x**", "{output:?}");
    let json =
        envelope(&hosts.pgbaton_on(2, ["cluster", "matrix", "--json"]).run(), "cluster matrix", 25, false);
    let link = |from: i64, to: i64| {
        let links = json["data"]["connections"].as_array().unwrap();
        links.iter().find(|link| link["from"] == from && link["to"] == to).unwrap().clone()
    };
    assert_eq!(link(2, 1)["status"], "ok");
    assert_eq!(link(3, 1)["status"], "failed");
    assert!(link(3, 1)["error"].as_str().unwrap().contains("password"), "{json}");
    one.set_hba(&format!("{trusted} trust"));
    one.reload();

    // Down, and frozen: no query waits forever, and its own host still knows which nodes it reaches.
    hosts.node(3).stop(StopMode::Fast);
    let output = hosts.pgbaton_on(1, ["cluster", "matrix", "--json"]).run();
    assert_says(&output, 25, "no node can connect to node \"node3\"");
    assert_eq!(cells(&output), "**x**x**x");
    hosts.node(3).start();
    hosts.node(2).freeze();
    let begun = std::time::Instant::now();
    let output = hosts.pgbaton_on(1, ["cluster", "matrix", "--json"]).run();
    hosts.node(2).thaw();
    assert_says(&output, 25, "no node can connect to node \"node2\"");
    assert_eq!(cells(&output), "*x**x**x*");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn an_unreachable_host_is_unknown_unless_another_one_queries_it() {
    let Some(hosts) = postgres(15).and_then(|pg| Hosts::new(&pg, 2)) else { return };
    let one = hosts.node(1);
    let run = |verb: &str, more: &[&str]| hosts.pgbaton_on(1, ["cluster", verb].iter().chain(more)).run();
    // From here, the name of node 3's host leads to a closed port. On the other hosts everything is one host.
    let options = hosts.sshd.options("key");
    let config = one.dir.join("ssh_config");
    std::fs::write(&config, "Host third\n HostName 127.0.0.2\n").unwrap();
    set_ssh(one, &options.replace("-F none", &format!("-F {}", config.display())));
    metadata(one, "INSERT INTO pgbaton.node VALUES (3, 'third')");
    let matrix = run("matrix", &["--json"]);
    assert_eq!(cells(&matrix), "******???", "{matrix:?}");
    assert_says(&matrix, 12, "pgbaton on the host of node \"node3\" cannot be reached");
    let before = hosts.sshd.accepted();
    let crossed = run("crosscheck", &["--json"]);
    assert_says(&crossed, 12, "Node \"node2\" has queried it instead");
    let json = crossed.json();
    assert_eq!(json["data"]["nodes"][2]["relayed_by"], 2, "{json}");
    let statuses = json["data"]["connections"].as_array().unwrap();
    assert!(statuses.iter().all(|link| link["status"] == "ok"), "{json}");
    // Node 2 from here, once for both questions.
    assert_eq!(hosts.sshd.accepted() - before, 1);
    // Something that failed matters more.
    hosts.node(3).stop(StopMode::Fast);
    run("crosscheck", &[]).code(25);
    let unknown = run("matrix", &["--json"]);
    assert_eq!(cells(unknown.code(25)), "**x**x???");
    hosts.node(3).start();

    // ssh is refused altogether; or hangs, and --timeout ends it.
    set_ssh(one, &hosts.sshd.options("host_key"));
    let refused = run("crosscheck", &["--json"]);
    assert_eq!(cells(&refused), "***??????", "{refused:?}");
    assert_says(&refused, 12, "Permission denied");
    set_ssh(one, &format!("{options} -o ProxyCommand='sleep 600'"));
    let begun = std::time::Instant::now();
    let hangs = run("matrix", &["--json", "--timeout=2"]);
    assert_eq!(cells(&hangs), "***??????", "{hangs:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    hangs.code(12);
    // The file that a node was registered with is that of another one.
    set_ssh(one, &options);
    metadata(one, "DELETE FROM pgbaton.node");
    let other = hosts.nodes.cluster.dir().join("copy.toml");
    std::fs::copy(hosts.node(2).config(), &other).unwrap();
    metadata(one, &format!("UPDATE repmgr.nodes SET config_file = '{}' WHERE node_id = 3", other.display()));
    let wrong = run("matrix", &["--json"]);
    assert_eq!(cells(&wrong), "******???", "{wrong:?}");
    assert_says(&wrong, 12, "is that of another node");
}

#[test]
fn on_one_host_no_ssh_is_needed_and_any_name_works() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    configure(&node1, 1, "it's \"one\"", &node1.conninfo(), "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    let witness = cluster.foreign("witness");
    configure(&witness, 9, "Zürich, 9", &witness.conninfo(), "");
    let port = node1.port.to_string();
    witness.pgbaton(["witness", "register", "-h", "127.0.0.1", "-p", &port]).run().code(0);
    for server in [&node1, &witness] {
        let output = server.pgbaton(["cluster", "crosscheck"]).run();
        assert_eq!(
            output.code(0).stdout,
            " Name       | ID | 1 | 9 \n------------+----+---+---\n it's \"one\" | 1  | * | * \n Zürich, 9  | 9  | * | * \n"
        );
    }
    witness.stop(StopMode::Fast);
    let json = envelope(&node1.pgbaton(["cluster", "matrix", "--json"]).run(), "cluster matrix", 25, false);
    assert_eq!(json["issues"][0]["code"], "connection_failed", "{json}");
    assert_eq!(json["data"]["nodes"][1]["asked"], true, "{json}");
}

#[test]
fn the_same_arguments_through_both_give_the_same_csv() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = TestCluster::new(&pg);
    let Some(sshd) = Sshd::start(&cluster) else { return };
    let (node1, node2) = (cluster.primary("node1"), cluster.empty("node2"));
    let conf = |server: &TestServer, id: i32| {
        let path = repmgr_conf(server, id);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}ssh_options='{}'\n", sshd.options("key"))).unwrap();
        path.to_string_lossy().into_owned()
    };
    let one = conf(&node1, 1);
    node1.pgbaton(["-f", &one, "primary", "register"]).run().code(0);
    support::attach(&node2, 2, &node1);
    let two = conf(&node2, 2);
    node2.pgbaton(["-f", &two, "standby", "register"]).run().code(0);
    let ours = |words: &[&str]| node1.pgbaton(["-f", &one].iter().chain(words)).run();
    for words in [["cluster", "matrix"], ["cluster", "crosscheck"]] {
        let (theirs, mine) = (real_repmgr(&node1, &words), ours(&words));
        theirs.code(0);
        mine.code(0);
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(mine.stdout.trim_end()), trimmed(theirs.stdout.trim_end()));
        let csv = [words[0], words[1], "--csv"];
        assert_eq!(ours(&csv).code(0).stdout, real_repmgr(&node1, &csv).code(0).stdout);
    }
    // repmgr does not ask the host of a node whose server is down.
    node2.stop(StopMode::Fast);
    let csv = ["cluster", "matrix", "--csv"];
    assert_eq!(real_repmgr(&node1, &csv).code(25).stdout, "1,1,0\n1,2,-1\n2,1,-2\n2,2,-2\n");
    assert_eq!(ours(&csv).code(25).stdout, "1,1,0\n1,2,-1\n2,1,0\n2,2,-1\n");
}
