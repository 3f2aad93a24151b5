//! The state directory: whose it is, where it is found, and what becomes of one that is another cluster's or an older version's.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{
    self, Fingerprint, Nodes, StopMode, TestCluster, TestServer, can_unshare, envelope, metadata, postgres,
    run_tool,
};

/// The system identifier in the fixtures.
const RECORDED: &str = "7713683536890547237";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-0.1.0").join(name)
}

/// Puts what version 0.1.0 wrote where a server of a test has it; `of` are the servers by node id, from 1.
fn adapted(text: &str, cluster: &TestCluster, of: &[&TestServer], identifier: &str) -> String {
    let mut text = text.replace("/fixture", &cluster.dir().to_string_lossy()).replace(RECORDED, identifier);
    for (server, id) in of.iter().zip(1..) {
        text = text.replace(&format!("port=2380{id}"), &format!("port={}", server.port));
        text = text.replace(&format!("\"port\":\"2380{id}\""), &format!("\"port\":\"{}\"", server.port));
    }
    text.replace("/usr/lib/postgresql/15/bin", &of[0].pg.bindir.to_string_lossy())
}

/// Makes a state directory of version 0.1.0.
fn old_state(name: &str, to: &Path, cluster: &TestCluster, of: &[&TestServer], identifier: &str) {
    std::fs::create_dir_all(to.join("operations")).unwrap();
    let copy = |from: PathBuf, to: PathBuf| {
        let text = std::fs::read_to_string(from).unwrap();
        std::fs::write(to, adapted(&text, cluster, of, identifier)).unwrap();
    };
    let from = fixture(name);
    if from.join("topology.json").exists() {
        copy(from.join("topology.json"), to.join("topology.json"));
    }
    for journal in std::fs::read_dir(from.join("operations")).unwrap() {
        let journal = journal.unwrap();
        copy(journal.path(), to.join("operations").join(journal.file_name()));
    }
}

fn identifier(server: &TestServer) -> String {
    server.psql("SELECT system_identifier FROM pg_control_system()")
}

/// Takes lines out of a configuration and adds others.
fn reconfigure(server: &TestServer, without: &[&str], more: &str) {
    let text = std::fs::read_to_string(server.config()).unwrap();
    let kept: Vec<&str> =
        text.lines().filter(|line| !without.iter().any(|name| line.starts_with(name))).collect();
    std::fs::write(server.config(), format!("{}\n{more}\n", kept.join("\n"))).unwrap();
}

fn identity(directory: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(directory.join("identity.json")).unwrap()).unwrap()
}

fn operations(server: &TestServer) -> Vec<String> {
    let list = server.pgbaton(["operation", "list", "--json"]).run();
    let list = envelope(&list, "operation list", 0, false)["data"]["operations"].clone();
    list.as_array().unwrap().iter().map(|one| one["command"].as_str().unwrap().to_string()).collect()
}

#[test]
fn two_clusters_of_one_user_with_the_same_names_share_nothing() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let (one, other) = (cluster.primary("a"), cluster.foreign("b"));
    for server in [&one, &other] {
        server.node_config(1, "");
        reconfigure(server, &["state_directory", "node_name"], "node_name = \"node1\"");
        server.pgbaton(["primary", "register"]).run().code(0).says("is kept in");
    }
    let states = cluster.dir().join("home/.local/state/pgbaton");
    let (first, second) = (states.join("node1"), states.join(format!("node1.{}", identifier(&other))));
    assert_eq!(identity(&first)["system_identifier"], identifier(&one));
    assert_eq!(identity(&second)["system_identifier"], identifier(&other));
    for server in [&one, &other] {
        let output = server.pgbaton(["cluster", "show"]).run();
        assert!(!output.code(0).stderr.contains("WARNING"), "{output:?}");
        assert_eq!(operations(server), ["primary register"]);
    }
    // An operation that one of them left stops nothing of the other.
    old_state("after-the-mark", &first, &cluster, &[&one, &one], &identifier(&one));
    let journal = std::fs::read_dir(first.join("operations")).unwrap().map(|file| file.unwrap().path());
    let mut journal = journal;
    let journal = journal.find(|path| path.to_string_lossy().contains("940c")).unwrap();
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("\"node_id\":2", "\"node_id\":1", 1)).unwrap();
    one.pgbaton(["node", "reload"]).run().code(30);
    other.pgbaton(["node", "reload"]).run().code(0);
    assert!(operations(&one).iter().any(|command| command == "standby promote"));

    // A node that is renamed keeps its state, and says where it is until it is moved.
    reconfigure(&other, &["node_name"], "node_name = \"db1\"");
    let list = other.pgbaton(["operation", "list"]).run();
    list.code(0).says("the state of node \"db1\" is in").says("adopt-state");
    assert!(list.stdout.contains("primary register"), "{list:?}");
    let before = Fingerprint::of(&[], &[&states]);
    let dry = other.pgbaton(["operation", "adopt-state", "--dry-run"]).run();
    dry.code(0).says("would be moved");
    before.assert_same(&Fingerprint::of(&[], &[&states]));
    let moved = other.pgbaton(["operation", "adopt-state", "--json"]).run();
    let data = envelope(&moved, "operation adopt-state", 0, true)["data"].clone();
    assert_eq!(data["taken_from"], second.to_string_lossy().as_ref());
    assert!(!second.exists() && identity(&states.join("db1"))["node_name"] == "db1");
    let list = other.pgbaton(["operation", "list"]).run();
    assert!(!list.code(0).stderr.contains("NOTICE"), "{list:?}");
    let again = other.pgbaton(["operation", "adopt-state", "--json"]).run();
    envelope(&again, "operation adopt-state", 0, false);
}

#[test]
fn another_user_than_the_owner_of_the_data_directory_has_no_state_of_the_node() {
    let Some(pg) = postgres(15) else { return };
    if !can_unshare() {
        return;
    }
    let nodes = Nodes::new(&pg, 2);
    let two = nodes.node(2);
    // Where the default is, below the home directory of the user that runs it.
    reconfigure(two, &["state_directory"], "");
    let state = nodes.cluster.dir().join("home/.local/state/pgbaton");
    let before = Fingerprint::of(&nodes.servers.iter().collect::<Vec<_>>(), &[]);
    // A directory of another user in the place of the data directory.
    let as_another = |command: &str, more: &[&str]| {
        let words: Vec<&str> = command.split(' ').chain(more.iter().copied()).collect();
        two.pgbaton(words).behind(&format!("mount --bind /usr/share {}", two.data.display())).run()
    };
    for command in [
        "standby unregister",
        "standby follow",
        "standby switchover",
        "standby promote",
        "operation list",
        "operation resume",
        "operation abandon",
    ] {
        let refused = as_another(command, &["--json"]);
        let name = command.split(" --").next().unwrap();
        let error = envelope(&refused, name, 1, false)["error"].to_string();
        assert!(error.contains("has to run as user") && error.contains("sudo -u"), "{refused:?}");
        before.assert_same(&Fingerprint::of(&nodes.servers.iter().collect::<Vec<_>>(), &[]));
        // What was seen may be kept there; neither a lock nor a journal is worth anything.
        for own in ["operations", "lock", "kept"] {
            assert!(!state.join("node2").join(own).exists(), "{own}: {refused:?}");
        }
    }
    // A read-only command sees the cluster.
    as_another("cluster show", &[]).code(0);
}

#[test]
fn the_state_of_another_cluster_is_not_trusted_and_moved_aside_only_if_its_owner_is_gone() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let (one, other) = (cluster.primary("a"), cluster.foreign("b"));
    let state = cluster.dir().join("shared");
    for server in [&one, &other] {
        server.node_config(1, "");
        let line = format!("node_name = \"node1\"\nstate_directory = \"{}\"", state.display());
        reconfigure(server, &["state_directory", "node_name"], &line);
    }
    one.pgbaton(["primary", "register"]).run().code(0);
    let before = Fingerprint::of(&[], &[&state]);
    for command in ["primary register", "operation list", "node reload", "operation cleanup --newest 0"] {
        let refused = other.pgbaton(command.split(' ').chain(["--json"]).collect::<Vec<_>>()).run();
        let name = command.split(" --").next().unwrap();
        let error = envelope(&refused, name, 1, false)["error"].to_string();
        assert!(error.contains("belongs to another cluster") && error.contains("adopt-state"), "{error}");
        assert!(error.contains(&identifier(&one)) && error.contains(&identifier(&other)), "{error}");
    }
    // A read-only command is not stopped, and warns.
    other.pgbaton(["cluster", "show"]).run().says("belongs to another cluster");
    other.stop(StopMode::Fast);
    other.pgbaton(["node", "guard", "--wait", "1"]).run().code(3).says("belongs to another cluster");
    other.start();
    before.assert_same(&Fingerprint::of(&[], &[&state]));

    // Its owner is gone, but an operation of it has begun to change something.
    let gone = identifier(&one);
    old_state("before-the-mark", &state, &cluster, &[&one, &one], &gone);
    one.stop(StopMode::Fast);
    std::fs::rename(&one.data, cluster.dir().join("elsewhere")).unwrap();
    std::fs::create_dir(&one.data).unwrap();
    let refused = other.pgbaton(["primary", "register"]).run();
    refused.code(1).says("an operation is unfinished in state directory").says("standby switchover");
    let journals = state.join("operations");
    for journal in std::fs::read_dir(&journals).unwrap() {
        let journal = journal.unwrap().path();
        if journal.to_string_lossy().contains("1c78") {
            std::fs::remove_file(journal).unwrap();
        }
    }
    let before = Fingerprint::of(&[&other], &[&state]);
    other.pgbaton(["primary", "register", "--dry-run"]).run().code(0).says("would be moved");
    before.assert_same(&Fingerprint::of(&[&other], &[&state]));
    other.pgbaton(["primary", "register"]).run().code(0).says("was moved to");
    let aside = cluster.dir().join(format!("shared.{gone}"));
    assert_eq!(identity(&aside)["system_identifier"], gone);
    assert_eq!(identity(&state)["system_identifier"], identifier(&other));
    assert_eq!(operations(&other), ["primary register"]);
}

#[test]
fn a_data_directory_may_move_and_a_copy_of_it_is_another_node() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = support::registered(&cluster, "node1", 1);
    node1.stop(StopMode::Fast);
    let moved = node1.dir.join("moved");
    run_tool(Path::new("/bin/cp"), ["-a".as_ref(), node1.data.as_os_str(), moved.as_os_str()]).code(0);
    reconfigure(&node1, &["data_directory"], &format!("data_directory = \"{}\"", moved.display()));
    let refused = node1.pgbaton(["node", "start"]).run();
    refused.code(1).says("still contains a data directory of this cluster").says("state_directory");
    std::fs::rename(&node1.data, node1.dir.join("old")).unwrap();
    node1.pgbaton(["operation", "list"]).run().code(0);
    let started = node1.pgbaton(["node", "start"]).run();
    started.code(0).says("NOTICE: the data directory of node \"node1\" is now");
    let state = node1.dir.join("state");
    assert_eq!(identity(&state)["data_directory"], moved.to_string_lossy().as_ref());
    node1.pgbaton(["node", "stop"]).run().code(0);
    // Another node of the cluster does not use it either.
    reconfigure(&node1, &["node_id"], "node_id = 7");
    node1.pgbaton(["node", "start"]).run().code(1).says("belongs to another cluster or node");
}

#[test]
fn state_is_found_where_the_environment_was_different() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "");
    reconfigure(&node1, &["state_directory"], "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    let xdg = cluster.dir().join("xdg");
    let elsewhere = || {
        let list = node1.pgbaton(["operation", "list"]).env("XDG_STATE_HOME", xdg.to_string_lossy()).run();
        list.code(0);
        list.stdout
    };
    assert!(elsewhere().contains("primary register"));
    node1.pgbaton(["node", "reload"]).env("XDG_STATE_HOME", xdg.to_string_lossy()).run().code(0);
    assert!(!xdg.exists());
    assert_eq!(operations(&node1).len(), 2);
    // A directory of its own for state, set later: what was is named, and what is unfinished is not left behind.
    let (usual, set) = (cluster.dir().join("home/.local/state/pgbaton/node1"), cluster.dir().join("set"));
    reconfigure(&node1, &[], &format!("state_directory = \"{}\"", set.display()));
    old_state("after-the-mark", &usual, &cluster, &[&node1, &node1], &identifier(&node1));
    let refused = node1.pgbaton(["node", "reload"]).run();
    refused.code(1).says("an operation of this node is unfinished in").says("adopt-state --from");
    let from = usual.to_string_lossy();
    node1.pgbaton(["operation", "adopt-state", "--from", &from]).run().code(0).says("was moved to");
    assert_eq!(operations(&node1).len(), 3);
    // The plan of the unfinished operation names files in the old place.
    assert_eq!(std::fs::read_link(&usual).unwrap(), set);
    node1.pgbaton(["node", "reload"]).run().code(30);
}

#[test]
fn finished_journals_are_cleaned_up_and_no_others() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = support::registered(&cluster, "node1", 1);
    old_state("finished", &node1.dir.join("state"), &cluster, &[&node1], &identifier(&node1));
    old_state("unfinished-clone", &node1.dir.join("state"), &cluster, &[&node1], &identifier(&node1));
    assert_eq!(operations(&node1).len(), 4);
    node1.pgbaton(["operation", "cleanup"]).run().code(1);
    let before = Fingerprint::of(&[&node1], &[]);
    let dry = node1.pgbaton(["operation", "cleanup", "--newest", "1", "--dry-run"]).run();
    dry.code(0).says("2 journals of finished operations would be removed");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));
    let young = node1.pgbaton(["operation", "cleanup", "--older-than", "36500", "--json"]).run();
    envelope(&young, "operation cleanup", 0, false);
    let done = node1.pgbaton(["operation", "cleanup", "--newest", "1", "--json"]).run();
    let removed = envelope(&done, "operation cleanup", 0, true)["data"]["removed"].clone();
    assert_eq!(removed.as_array().unwrap().len(), 2);
    node1.pgbaton(["operation", "cleanup", "--newest", "0"]).run().code(0);
    assert_eq!(operations(&node1), ["standby clone"]);
}

// ---- the upgrade from 0.1.0 ---------------------------------------------------------------------------------------------

#[test]
fn state_that_0_1_0_left_is_taken_over_for_its_own_cluster_only() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let (node1, node2) = (cluster.foreign("node1"), cluster.empty("node2"));
    let own = identifier(&node1);
    for (name, id, listed) in [
        ("finished", 2, &["standby register", "standby clone"][..]),
        ("before-the-mark", 2, &["standby switchover"]),
        ("after-the-mark", 2, &["standby promote"]),
        ("unfinished-clone", 3, &["standby clone"]),
        ("witness", 4, &["witness register"]),
    ] {
        // A witness has a cluster of its own.
        let of = if name == "witness" { "7000000000000000001" } else { &own };
        let state = node1.dir.join("state");
        old_state(name, &state, &cluster, &[&node1, &node2], of);
        node1.node_config(id, "");
        reconfigure(&node1, &["node_name"], &format!("node_name = \"node{id}\""));
        assert_eq!(operations(&node1), listed, "{name}");
        let blocks = name.ends_with("the-mark");
        node1.pgbaton(["node", "reload"]).run().code(if blocks { 30 } else { 0 });
        assert_eq!(identity(&state)["system_identifier"], of, "{name}");
        assert_eq!(identity(&state)["own_identifier"] == own.as_str(), name == "witness");
        let closed = node1.pgbaton(["operation", "list", "--json"]).run();
        let unfinished = closed.stdout.contains("\"unfinished\"");
        assert_eq!(unfinished, blocks, "{name}: {closed:?}");
        std::fs::remove_dir_all(&state).unwrap();

        // The same for another cluster.
        if name == "witness" || name == "unfinished-clone" {
            continue;
        }
        old_state(name, &state, &cluster, &[&node1, &node2], "7000000000000000001");
        let refused = node1.pgbaton(["node", "reload"]).run();
        refused
            .code(1)
            .says("Its topology.json belongs to the cluster with system identifier 7000000000000000001");
        let adopted = node1.pgbaton(["operation", "adopt-state", "--json"]).run();
        if blocks {
            envelope(&adopted, "operation adopt-state", 1, false);
            adopted.says("an operation is unfinished in state directory");
        } else {
            envelope(&adopted, "operation adopt-state", 0, true);
            assert_eq!(operations(&node1), Vec::<String>::new());
            assert!(node1.dir.join("state.7000000000000000001/topology.json").exists());
        }
        std::fs::remove_dir_all(&state).unwrap();
    }
}

#[test]
fn a_cluster_that_0_1_0_created_is_shown_registered_cloned_and_switched_over() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let (node1, node2) = (cluster.primary("node1"), cluster.empty("node2"));
    let own = identifier(&node1);
    let dump = std::fs::read_to_string(fixture("metadata.sql")).unwrap();
    let file = cluster.dir().join("metadata.sql");
    std::fs::write(&file, adapted(&dump, &cluster, &[&node1, &node2], &own)).unwrap();
    let port = node1.port.to_string();
    let words = [
        "-Xq",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "repmgr",
        "-d",
        "repmgr",
        "-f",
    ];
    let words: Vec<String> =
        words.iter().map(|word| (*word).to_string()).chain([file.display().to_string()]).collect();
    run_tool(&pg.tool("psql"), &words).code(0);
    for (server, id) in [(&node1, 1), (&node2, 2)] {
        server.node_config(id, "");
        old_state("finished", &server.dir.join("state"), &cluster, &[&node1, &node2], &own);
    }
    // The journals of node 2 are finished, and do no harm on node 1.
    let shown = node1.pgbaton(["cluster", "show", "--json"]).run();
    assert_eq!(shown.json()["data"]["cluster"]["primary_node_id"], 1, "{shown:?}");
    node1.pgbaton(["primary", "register", "--json"]).run().code(0);
    let source = ["-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr"];
    let clone: Vec<&str> =
        ["standby", "clone"].into_iter().chain(source).chain(["--start", "--register"]).collect();
    node2.pgbaton(clone).run().code(0);
    node2.pgbaton(["standby", "switchover"]).run().code(0);
    let shown = node1.pgbaton(["cluster", "show", "--json"]).run();
    assert_eq!(envelope(&shown, "cluster show", 0, false)["data"]["cluster"]["primary_node_id"], 2);
    assert_eq!(metadata(&node2, "SELECT count(*) FROM pgbaton.promotion WHERE node_id = 2"), "1");
    // What 0.1.0 recorded is there still.
    let old = "SELECT count(*) FROM repmgr.events WHERE event = 'cluster_created'";
    assert_eq!(metadata(&node2, old), "1");
    assert_eq!(identity(&node2.dir.join("state"))["system_identifier"], own);
}
