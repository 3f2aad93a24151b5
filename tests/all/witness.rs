//! A witness: registered, updated, unregistered; together with the real repmgr; and all that can be wrong with one.

use serde_json::Value;

use crate::support::{
    Fingerprint, Nodes, Output, Pg, SOON, Side, Stepped, StopMode, TestCluster, TestServer, configure,
    envelope, executed, majors, metadata, planned, postgres, real_repmgr, registered, registered_standby,
    repmgr_conf, with_real_repmgr,
};

const RECORD: &str = "SELECT n FROM repmgr.nodes n ORDER BY node_id";
const EVENTS: &str = "SELECT string_agg(event || ' ' || node_id || ' ' || successful, ', ' ORDER BY event_timestamp) \
     FROM repmgr.events WHERE event LIKE 'witness%'";

/// Prepares `witness register`, with the primary named as repmgr requires it.
fn register(witness: &TestServer, primary: &TestServer, more: &[&str]) -> Output {
    let port = primary.port.to_string();
    let words = ["--json", "witness", "register", "-h", "127.0.0.1", "-p", &port];
    witness.pgbaton(words.iter().chain(more)).run()
}

#[track_caller]
fn failed_checks(output: &Output) -> Vec<String> {
    let checks = output.json()["data"]["checks"].clone();
    let stops = |check: &&Value| check["verdict"] == "fail" && check["waived"] == false;
    let name = |check: &Value| check["name"].as_str().unwrap().to_string();
    checks.as_array().unwrap_or_else(|| panic!("{output:?}")).iter().filter(stops).map(name).collect()
}

/// What an interrupted run has made is its own: to go on needs no --force, as long as nothing has changed.
#[test]
fn an_interrupted_register_goes_on_without_force() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let witness = cluster.foreign("witness");
    witness.node_config(9, "");
    let port = node1.port.to_string();
    let words = ["witness", "register", "-h", "127.0.0.1", "-p", &port];
    let killed = |mark: &str, side: Side| {
        metadata(&node1, "DELETE FROM repmgr.nodes WHERE node_id = 9");
        metadata(&node1, "DELETE FROM repmgr.events");
        let mut running = Stepped::start(witness.pgbaton(words));
        assert!(running.run_to("\"step\":\"copy_nodes\"", Side::After));
        assert!(running.run_to(mark, side));
        running.kill().wait(SOON);
    };
    let rows = "SELECT event, successful FROM repmgr.events";
    for (mark, side, then) in [
        ("DELETE FROM repmgr.nodes", Side::Before, &["operation", "resume"][..]),
        ("\"mark\":\"done\"", Side::Before, &["operation", "resume"]),
        ("\"mark\":\"done\"", Side::Before, &words),
        ("\"mark\":\"done\"", Side::After, &["operation", "resume"]),
    ] {
        killed(mark, side);
        witness.pgbaton(then.iter().copied()).run().code(0);
        assert_eq!(metadata(&node1, rows), "witness_register|t", "{mark} {side:?} {then:?}");
        assert_eq!(metadata(&witness, RECORD), metadata(&node1, RECORD));
        // It is over: a second run needs consent again.
        witness.pgbaton(words).run().code(1).says("is registered already");
        metadata(&witness, "DELETE FROM repmgr.nodes");
    }
    // The record is not the one that it wrote.
    killed("DELETE FROM repmgr.nodes", Side::Before);
    metadata(&node1, "UPDATE repmgr.nodes SET location = 'cellar' WHERE node_id = 9");
    witness.pgbaton(["operation", "resume"]).run().code(1).says("is registered already");
}

/// Registers, shows, brings up to date and unregisters a witness, as a role without a superuser's rights.
fn tour(pg: &Pg, witness_pg: &Pg) {
    let cluster = TestCluster::new(pg);
    let node1 = cluster.primary("node1");
    let as_baton = |server: &TestServer, id: i32| {
        configure(server, id, &server.name, &server.conninfo_as("baton", "baton"), "");
    };
    as_baton(&node1, 1);
    node1.pgbaton(["primary", "register"]).run().code(0);
    let node2 = cluster.standby("node2", &node1);
    as_baton(&node2, 2);
    node2.pgbaton(["standby", "register"]).run().code(0);
    let witness = cluster.foreign_of("witness", witness_pg);
    as_baton(&witness, 9);
    let sql = |server: &TestServer, sql: &str| server.psql_as("baton", "baton", sql);

    let before = Fingerprint::of(&[&node1, &witness], &[]);
    let dry = register(&witness, &node1, &["--dry-run"]);
    let json = envelope(&dry, "witness register", 0, false);
    assert!(json["data"]["plan"]["checks"].as_array().unwrap().len() > 5, "{json}");
    before.assert_same(&Fingerprint::of(&[&node1, &witness], &[]));
    let done = register(&witness, &node1, &[]);
    envelope(&done, "witness register", 0, true);
    assert_eq!(executed(&done), planned(&dry));
    assert_eq!(sql(&witness, RECORD), sql(&node1, RECORD));
    let own = "SELECT node_name, type, upstream_node_id, priority, slot_name, active FROM repmgr.nodes WHERE node_id = 9";
    assert_eq!(sql(&node1, own), "witness|witness|1|0||t");
    assert_eq!(sql(&node1, EVENTS), "witness_register 9 true");

    // From everywhere the same cluster.
    for server in [&node1, &node2, &witness] {
        let shown = server.pgbaton(["cluster", "show", "--json"]).run();
        let json = envelope(&shown, "cluster show", 0, false);
        assert_eq!(json["data"]["cluster"]["state"], "healthy", "{json}");
        assert_eq!(json["data"]["nodes"][2]["observed_role"], "witness", "{json}");
    }
    let status = witness.pgbaton(["node", "status", "--json"]).run();
    let json = envelope(&status, "node status", 0, false);
    assert_eq!(
        (&json["data"]["role"], &json["data"]["registered_type"]),
        (&"witness".into(), &"witness".into())
    );

    // Once more only on request, and then nothing is done.
    let again = register(&witness, &node1, &[]);
    envelope(&again, "witness register", 1, false);
    assert_eq!(failed_checks(&again), ["not_registered"]);
    again.says("is registered already");
    let json = envelope(&register(&witness, &node1, &["-F"]), "witness register", 0, false);
    assert_eq!(json["data"]["operation_id"], Value::Null);

    // The copy is old: what the primary says is believed also where the witness is asked first.
    sql(&node1, "UPDATE repmgr.nodes SET location = 'far' WHERE node_id = 2");
    for words in [["cluster", "show", "--json"], ["node", "status", "--json"]] {
        witness.pgbaton(words).run().code(0);
    }
    let shown = witness.pgbaton(["cluster", "show", "--json"]).run().json();
    assert_eq!(shown["data"]["nodes"][1]["location"], "far", "{shown}");
    // Without -h the primary is found: by what was seen, or by the copy alone.
    let update = || witness.pgbaton(["--json", "witness", "register", "-F"]).run();
    let updated = update();
    envelope(&updated, "witness register", 0, true);
    assert_eq!(executed(&updated), ["copy the records of 3 nodes to \"witness\""]);
    assert_eq!(sql(&witness, RECORD), sql(&node1, RECORD));
    std::fs::remove_file(witness.dir.join("state/topology.json")).unwrap();
    envelope(&update(), "witness register", 0, false);

    // The witness is updated at once when a node is registered or unregistered.
    let node3 = cluster.standby("node3", &node1);
    as_baton(&node3, 3);
    node3.pgbaton(["standby", "register"]).run().code(0).says("update the metadata on witness \"witness\"");
    assert_eq!(sql(&witness, RECORD), sql(&node1, RECORD));
    node1.pgbaton(["standby", "unregister", "--node-id=3"]).run().code(0);
    assert_eq!(sql(&witness, RECORD), sql(&node1, RECORD));
    assert_eq!(sql(&node1, "SELECT count(*) FROM repmgr.nodes"), "3");
    let config = std::fs::read_to_string(node1.config()).unwrap();
    std::fs::write(node1.config(), format!("{config}\nlocation = \"cellar\"\n")).unwrap();
    node1
        .pgbaton(["primary", "register", "-F"])
        .run()
        .code(0)
        .says("update the metadata on witness \"witness\"");
    assert_eq!(sql(&witness, "SELECT location FROM repmgr.nodes WHERE node_id = 1"), "cellar");
    assert_eq!(sql(&witness, RECORD), sql(&node1, RECORD));

    // From another node; its copy goes with it, and a second time there is nothing.
    let remove =
        |words: &[&str]| node2.pgbaton(["--json", "witness", "unregister"].iter().chain(words)).run();
    let before = Fingerprint::of(&[&node1, &witness], &[]);
    let dry = remove(&["--node-id=9", "--dry-run"]);
    envelope(&dry, "witness unregister", 0, false);
    before.assert_same(&Fingerprint::of(&[&node1, &witness], &[]));
    let done = remove(&["--node-name=witness"]);
    envelope(&done, "witness unregister", 0, true);
    assert_eq!(executed(&done), planned(&dry));
    assert_eq!(sql(&node1, "SELECT count(*) FROM repmgr.nodes"), "2");
    assert_eq!(sql(&witness, "SELECT count(*) FROM repmgr.nodes"), "0");
    assert_eq!(
        sql(&node1, EVENTS),
        "witness_register 9 true, witness_register 9 true, witness_unregister 9 true"
    );
    envelope(&remove(&["--node-id=9"]), "witness unregister", 1, false);
    // On the witness itself: nothing leads from there to the cluster any more but what was seen.
    envelope(&register(&witness, &node1, &[]), "witness register", 0, true);
    witness.pgbaton(["witness", "unregister"]).run().code(0);
    assert_eq!(sql(&witness, "SELECT count(*) FROM repmgr.nodes"), "0");
}

#[test]
fn tour_on_15() {
    let Some(pg) = postgres(15) else { return };
    tour(&pg, &pg);
}

#[test]
fn tour_on_13() {
    let Some(pg) = postgres(13) else { return };
    tour(&pg, &pg);
}

/// Of another major version, which a witness may be: it streams nothing.
#[test]
fn tour_on_newer_versions() {
    for pg in majors().into_iter().filter(|pg| pg.major > 15) {
        let Some(other) = postgres(15) else { return };
        tour(&pg, &other);
    }
}

// ---- what can be wrong ------------------------------------------------------------------------------------------------

#[test]
fn servers_that_cannot_be_a_witness() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = registered_standby(&cluster, "node2", 2, &node1);
    let witness = cluster.foreign("witness");
    let refused = |output: Output, exit: i32, checks: &[&str], said: &[&str]| {
        let json = envelope(&output, "witness register", exit, false);
        assert_eq!(failed_checks(&output), checks, "{output:?}");
        for text in said {
            assert!(json.to_string().contains(text), "{text}: {output:?}");
        }
        assert_eq!(metadata(&node1, "SELECT count(*) FROM repmgr.nodes"), "2");
        assert_eq!(metadata(&node1, EVENTS), "");
    };
    // A standby of the cluster, under a number of its own and under that of another node.
    configure(&node2, 9, "w", &node2.conninfo(), "");
    refused(
        register(&node2, &node1, &["-F"]),
        1,
        &["server_is_primary", "own_cluster"],
        &["standby register", "same cluster"],
    );
    configure(&node2, 2, "node2", &node2.conninfo(), "");
    // A primary with the same system identifier.
    let copy = cluster.primary("copy");
    configure(&copy, 9, "w", &copy.conninfo(), "");
    refused(register(&copy, &node1, &[]), 1, &["own_cluster"], &["initdb"]);

    // The wrong server is named: a standby, the witness itself, no server.
    configure(&witness, 9, "w", &witness.conninfo(), "");
    refused(
        register(&witness, &node2, &[]),
        1,
        &["primary_reached"],
        &["is not the primary", "name it with -d"],
    );
    let json = envelope(&register(&witness, &witness, &[]), "witness register", 7, false);
    assert!(json["error"]["message"].as_str().unwrap().contains("has no metadata"), "{json}");
    let away = cluster.empty("away");
    let silent = register(&witness, &away, &[]);
    refused(
        silent,
        6,
        &["primary_reached"],
        &["could not connect to the primary at \\\"127.0.0.1\\\"", "refused"],
    );
    let unnamed = witness.pgbaton(["--json", "witness", "register"]).run();
    refused(unnamed, 1, &["primary_known"], &["witness register -h HOST"]);
    // Both are down: both are reported.
    configure(&away, 9, "w", &away.conninfo(), "");
    refused(register(&away, &away, &[]), 6, &["witness_reached", "primary_reached"], &["2 checks failed"]);

    // Numbers and names of others.
    for (id, name, checks) in
        [(2, "w", &["node_id_free", "node_id_free", "not_registered"][..]), (9, "node2", &["node_name_free"])]
    {
        configure(&witness, id, name, &witness.conninfo(), "");
        refused(register(&witness, &node1, &[]), 1, checks, &["node2"]);
    }

    // The registered address of the primary leads nowhere from here.
    configure(&witness, 9, "w", &witness.conninfo(), "");
    let before = metadata(&node1, "SELECT conninfo FROM repmgr.nodes WHERE node_id = 1");
    let set = |conninfo: &str| {
        metadata(&node1, &format!("UPDATE repmgr.nodes SET conninfo = '{conninfo}' WHERE node_id = 1"));
    };
    set(&away.conninfo());
    refused(register(&witness, &node1, &[]), 6, &["primary_reached"], &["at its registered address"]);
    set(&before);

    // Records that are there already: of a cluster that this server belongs to, or of none.
    configure(&witness, 1, "other1", &witness.conninfo(), "");
    witness.pgbaton(["primary", "register"]).run().code(0);
    configure(&witness, 9, "w", &witness.conninfo(), "");
    refused(
        register(&witness, &node1, &["-F"]),
        1,
        &["table_free"],
        &["a node of another cluster", "other1"],
    );
    metadata(&witness, "UPDATE repmgr.nodes SET conninfo = 'host=127.0.0.1 port=1'");
    refused(register(&witness, &node1, &[]), 1, &["table_free"], &["already has records of nodes"]);
    envelope(&register(&witness, &node1, &["-F"]), "witness register", 0, true);
    assert_eq!(metadata(&witness, RECORD), metadata(&node1, RECORD));
    let json = envelope(&register(&witness, &witness, &["-F"]), "witness register", 1, false);
    assert!(
        json["error"]["message"].as_str().unwrap().contains("the server of the witness itself"),
        "{json}"
    );

    // It is down: with force it goes, and its copy stays.
    witness.stop(StopMode::Fast);
    let remove = |more: &[&str]| {
        node1.pgbaton(["--json", "witness", "unregister", "--node-id=9"].iter().chain(more)).run()
    };
    let json = envelope(&remove(&[]), "witness unregister", 6, false);
    assert!(json["error"]["detail"].as_str().unwrap().contains("copy of the metadata would stay"), "{json}");
    envelope(&remove(&["--force"]), "witness unregister", 0, true);
    assert_eq!(metadata(&node1, EVENTS), "witness_register 9 true, witness_unregister 9 true");
    // Only witnesses are unregistered so.
    let json = envelope(
        &node1.pgbaton(["--json", "witness", "unregister", "--node-id=2"]).run(),
        "witness unregister",
        1,
        false,
    );
    assert!(json["error"]["hint"].as_str().unwrap().contains("pgbaton standby unregister"), "{json}");
}

#[test]
fn a_node_wrongly_registered_as_a_witness_keeps_the_metadata() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    metadata(
        &node1,
        &format!(
            "INSERT INTO repmgr.nodes VALUES (9, 1, true, 'w', 'witness', 'default', 0, '{}', 'repmgr', NULL, '')",
            node1.conninfo()
        ),
    );
    let output = node1.pgbaton(["witness", "unregister", "--node-id=9"]).run();
    output.code(0).says("belongs to the cluster");
    assert_eq!(metadata(&node1, "SELECT node_id FROM repmgr.nodes"), "1");
}

#[test]
fn names_and_passwords_of_any_kind() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    // The password comes from the connection string, and is seen nowhere.
    let conninfo = |server: &TestServer| format!("{} password=repmgr", server.conninfo());
    configure(&node1, 1, "node \"one\" d'Ärc", &conninfo(&node1), "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    let witness = cluster.foreign("witness");
    configure(&witness, 9, "Zeuge \"n\u{b0} 9\" d'Œuvre", &conninfo(&witness), "");
    let hba = "host all all 127.0.0.1/32 scram-sha-256";
    for server in [&node1, &witness] {
        server.set_hba(hba);
        server.reload();
    }
    let silent = register(&witness, &node1, &[]);
    envelope(&silent, "witness register", 6, false);
    let d = format!("-d{}", conninfo(&node1));
    for more in [["--dry-run", "-v"], ["-v", "-v"]] {
        let done = witness.pgbaton(["witness", "register", &d].iter().chain(&more)).run();
        done.code(0);
        assert!(
            !done.stdout.contains("password=repmgr") && !done.stderr.contains("password=repmgr"),
            "{done:?}"
        );
    }
    assert_eq!(witness.psql_as("postgres", "repmgr", RECORD), node1.psql_as("postgres", "repmgr", RECORD));
    for entry in witness.dir.join("state/operations").read_dir().unwrap() {
        let journal = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!journal.contains("password=repmgr"), "{journal}");
    }
    let shown = witness.pgbaton(["cluster", "show"]).run();
    assert!(shown.code(0).stdout.contains("Zeuge \"n\u{b0} 9\" d'Œuvre"), "{shown:?}");
    witness.pgbaton(["witness", "unregister"]).run().code(0);
    assert_eq!(node1.psql_as("postgres", "repmgr", "SELECT count(*) FROM repmgr.nodes"), "1");
}

/// Returns what a hint says to run.
fn pasted(hint: &str) -> &str {
    hint.split_once("run: ").unwrap_or_else(|| panic!("{hint}")).1
}

#[test]
fn a_role_without_privileges_gets_the_grants_to_run() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let witness = cluster.foreign("witness");
    let name = "po'or \"x\"";
    for server in [&node1, &witness] {
        server.psql("CREATE ROLE \"po'or \"\"x\"\"\" LOGIN; GRANT pg_monitor TO \"po'or \"\"x\"\"\"");
    }
    let quoted = "user='po\\'or \"x\"'";
    let conninfo = |server: &TestServer| server.conninfo().replace("user=repmgr", quoted);
    configure(&witness, 9, "w", &conninfo(&witness), "");
    metadata(&node1, &format!("UPDATE repmgr.nodes SET conninfo = $$ {} $$", conninfo(&node1)));
    let attempt = || register(&witness, &node1, &[]);

    // It may not even read on the primary.
    let output = attempt();
    let json = envelope(&output, "witness register", 7, false);
    let issues = json.to_string();
    assert!(issues.contains("GRANT USAGE ON SCHEMA repmgr"), "{json}");
    node1.psql_as(
        "postgres",
        "repmgr",
        "GRANT USAGE ON SCHEMA repmgr TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA repmgr TO PUBLIC",
    );
    // Now it may read there and write nowhere.
    let output = attempt();
    let json = envelope(&output, "witness register", 1, false);
    assert_eq!(failed_checks(&output), ["primary_writable", "metadata_usable"]);
    let hint = |name: &str| {
        let checks = json["data"]["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        pasted(check["hint"].as_str().unwrap()).to_string()
    };
    node1.psql_as("postgres", "repmgr", &hint("primary_writable"));
    witness.psql_as("postgres", "repmgr", &hint("metadata_usable"));
    envelope(&attempt(), "witness register", 0, true);
    assert_eq!(witness.psql_as(name, "repmgr", RECORD), metadata(&node1, RECORD));

    // A superuser grants it the use of tables with another owner.
    let poor = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    assert_eq!(witness.psql_as(name, "repmgr", poor), "f");
    witness.psql_as(
        "postgres",
        "repmgr",
        "ALTER TABLE repmgr.nodes OWNER TO postgres; REVOKE ALL ON repmgr.nodes FROM PUBLIC",
    );
    let output = register(&witness, &node1, &["-F"]);
    envelope(&output, "witness register", 1, false);
    assert_eq!(failed_checks(&output), ["metadata_usable"]);
    envelope(&register(&witness, &node1, &["-F", "-S", "postgres"]), "witness register", 0, true);
}

// ---- together with the real repmgr -------------------------------------------------------------------------------------

/// Runs the real repmgr, and returns what it prints.
#[track_caller]
fn repmgr(server: &TestServer, args: &[&str]) -> String {
    let output = real_repmgr(server, args);
    output.code(0);
    output.stdout
}

#[test]
fn the_real_repmgr_reads_what_was_written_and_vice_versa() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let witness = cluster.foreign("witness");
    let node = |server: &TestServer, id: i32| repmgr_conf(server, id).to_string_lossy().into_owned();
    let conf = [node(&node1, 1), node(&witness, 9)];
    let pgbaton = |server: &TestServer, conf: &str, words: &[&str]| {
        server.pgbaton(["-f", conf].iter().chain(words)).run()
    };
    // The extension, as repmgr has left it; and then the same without.
    for database in ["extension", "plain"] {
        for server in [&node1, &witness] {
            server.psql_as("postgres", "postgres", "DROP DATABASE IF EXISTS repmgr WITH (FORCE)");
            server.psql_as("postgres", "postgres", "CREATE DATABASE repmgr OWNER repmgr");
        }
        if database == "extension" {
            repmgr(&node1, &["primary", "register"]);
        } else {
            pgbaton(&node1, &conf[0], &["primary", "register"]).code(0);
        }
        let port = node1.port.to_string();
        let primary = ["-h", "127.0.0.1", "-p", &port];
        let words = [&["witness", "register"], &primary[..]].concat();
        pgbaton(&witness, &conf[1], &words).code(0);
        let installed = "SELECT count(*) FROM pg_extension WHERE extname = 'repmgr'";
        assert_eq!(metadata(&witness, installed), if database == "extension" { "1" } else { "0" });
        assert_eq!(metadata(&witness, RECORD), metadata(&node1, RECORD));
        // Both tools see the same, wherever they look.
        for (server, conf) in [(&node1, &conf[0]), (&witness, &conf[1])] {
            let shown = repmgr(server, &["cluster", "show"]);
            assert!(shown.contains("| witness | * running | node1"), "{shown}");
            assert_eq!(
                repmgr(server, &["cluster", "show", "--csv"]),
                pgbaton(server, conf, &["cluster", "show", "--csv"]).stdout
            );
            let status = repmgr(server, &["node", "status", "--csv"]);
            let role =
                |text: &str| text.lines().find(|line| line.starts_with("\"Role\"")).unwrap().to_string();
            let ours = pgbaton(server, conf, &["node", "status", "--csv"]);
            assert_eq!(role(&status), role(&ours.stdout));
        }
        // What repmgr has registered is ours to bring up to date, and to remove; and the other way round.
        repmgr(&node1, &["witness", "unregister", "--node-id=9"]);
        if database == "extension" {
            repmgr(&witness, &[&words[..], &["-F"]].concat());
            assert_eq!(metadata(&witness, RECORD), metadata(&node1, RECORD));
            let forced = [&words[..], &["-F"]].concat();
            pgbaton(&witness, &conf[1], &forced).code(0);
            pgbaton(&witness, &conf[1], &["witness", "unregister"]).code(0);
            assert_eq!(metadata(&witness, "SELECT count(*) FROM repmgr.nodes"), "0");
        }
    }
}

#[test]
fn the_extension_of_the_primary_is_created_on_the_witness_too() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.psql_as("postgres", "baton", "CREATE EXTENSION repmgr; GRANT USAGE ON SCHEMA repmgr TO baton; GRANT ALL ON ALL TABLES IN SCHEMA repmgr TO baton");
    let witness = cluster.foreign("witness");
    let as_baton = |server: &TestServer, id: i32| {
        configure(server, id, &server.name, &server.conninfo_as("baton", "baton"), "");
    };
    as_baton(&node1, 1);
    as_baton(&witness, 9);
    node1.pgbaton(["primary", "register"]).run().code(0);
    let output = register(&witness, &node1, &[]);
    let json = envelope(&output, "witness register", 1, false);
    assert_eq!(failed_checks(&output), ["metadata_usable"]);
    assert!(json["error"]["hint"].as_str().unwrap().contains("CREATE EXTENSION repmgr"), "{json}");
    let installed = "SELECT count(*) FROM pg_extension WHERE extname = 'repmgr'";
    assert_eq!(witness.psql_as("baton", "baton", installed), "0");
    // With a superuser, or by hand.
    let borrowed = register(&witness, &node1, &["-S", "postgres"]);
    envelope(&borrowed, "witness register", 0, true);
    assert_eq!(executed(&borrowed)[0], "create the repmgr extension in database \"baton\"");
    assert_eq!(witness.psql_as("baton", "baton", installed), "1");
    witness.pgbaton(["witness", "unregister"]).run().code(0);
    witness.psql_as("postgres", "baton", "DROP EXTENSION repmgr; DROP SCHEMA pgbaton CASCADE");
    witness.psql_as(
        "postgres",
        "baton",
        &format!(
            "GRANT CREATE ON DATABASE baton TO baton; {}",
            pasted(json["error"]["hint"].as_str().unwrap())
        ),
    );
    envelope(&register(&witness, &node1, &[]), "witness register", 0, true);

    // Of another kind it is left alone.
    witness.psql_as(
        "postgres",
        "baton",
        "UPDATE pg_extension SET extversion = '4.4' WHERE extname = 'repmgr'",
    );
    let output = register(&witness, &node1, &["-F"]);
    envelope(&output, "witness register", 1, false);
    assert_eq!(failed_checks(&output), ["metadata_usable"]);
    output.says("4.4");
}

// ---- away when the primary changes -------------------------------------------------------------------------------------

#[test]
fn a_witness_that_was_away_is_reported_until_it_is_updated() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let witness = nodes.cluster.foreign("witness");
    witness.node_config(9, "");
    envelope(&register(&witness, one, &[]), "witness register", 0, true);
    two.wait_for_replay_of(one);
    let problems = |from: &TestServer| {
        let json = from.pgbaton(["cluster", "show", "--json"]).run().json();
        let codes = json["issues"].as_array().unwrap().iter().map(|issue| issue["code"].clone());
        (codes.collect::<Vec<_>>(), json["data"]["cluster"]["next"].clone())
    };
    assert_eq!(problems(one).0, [""; 0]);

    witness.stop(StopMode::Fast);
    let moved = two.pgbaton(["standby", "switchover"]).run();
    moved.code(0).says("witness \"witness\" cannot be updated with the new primary");
    moved.says("run \"pgbaton witness register --force\" on \"witness\"");
    witness.start();
    for from in [one, two, &witness] {
        let (codes, next) = problems(from);
        assert_eq!(codes, ["witness_outdated"], "{}", from.name);
        assert_eq!(next[0], "pgbaton witness register --force  # on \"witness\"");
    }
    let json = two.pgbaton(["cluster", "check", "--json"]).run().json();
    assert_eq!(json["data"]["verdict"], "warning", "{json:#}");
    witness.pgbaton(["witness", "register", "--force"]).run().code(0);
    assert_eq!(problems(&witness).0, [""; 0]);

    // And so where the primary is lost.
    witness.stop(StopMode::Fast);
    two.stop(StopMode::Immediate);
    let promoted = one.pgbaton(["standby", "promote", "--force", "--yes"]).run();
    promoted.code(0).says("witness \"witness\" cannot be updated with the new primary");
    witness.start();
    assert!(problems(one).0.contains(&"witness_outdated".into()));
}
