//! `primary register`, `standby register`, `primary unregister` and `standby unregister` on real servers.

use crate::support::{
    Fingerprint, SOON, StopMode, TestCluster, configure, envelope, metadata, postgres, real_repmgr,
    registered, registered_standby, repmgr_conf, run_tool, with_real_repmgr,
};

// ---- what the tests share ---------------------------------------------------------------------------------------------

const NODES: &str = "SELECT node_id, type, active, upstream_node_id, node_name, location, priority, slot_name FROM repmgr.nodes ORDER BY 1";
const EVENTS: &str = "SELECT count(*) FROM repmgr.events";

/// Everything about the relations and functions of schema `repmgr` that a program could depend on.
const SHAPE: &str = "
SET search_path = pg_catalog;
SELECT 'column', c.relkind, c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
 WHERE c.relnamespace = 'repmgr'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY c.relname, a.attnum;
SELECT 'constraint', conrelid::regclass, contype, condeferrable, condeferred, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'repmgr'::regnamespace ORDER BY 2, 3, 6;
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'repmgr' ORDER BY 2, 3;
SELECT 'rule', tablename, rulename, definition FROM pg_rules WHERE schemaname = 'repmgr' ORDER BY 2, 3;
";

const FUNCTIONS: &str = "SET search_path = pg_catalog; SELECT p.oid::regprocedure || ' ' || pg_get_function_result(p.oid) FROM pg_proc p
 WHERE p.pronamespace = 'repmgr'::regnamespace ORDER BY 1";

// ---- the schema ---------------------------------------------------------------------------------------------------------

#[test]
fn the_schema_matches_that_of_the_real_extension() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    node1.psql("CREATE DATABASE real");
    node1.psql_as("postgres", "real", "CREATE EXTENSION repmgr");
    let ours = metadata(&node1, SHAPE);
    let real = node1.psql_as("postgres", "real", SHAPE);
    assert!(ours.contains("|nodes|") && ours.contains("|replication_status|"), "{ours}");
    let difference: Vec<String> = real
        .lines()
        .filter(|line| !ours.lines().any(|own| own == *line))
        .map(|line| format!("real: {line}"))
        .chain(
            ours.lines()
                .filter(|line| !real.lines().any(|own| own == *line))
                .map(|line| format!("ours: {line}")),
        )
        .collect();
    assert!(difference.is_empty(), "{}", difference.join("\n"));
    let real = node1.psql_as("postgres", "real", FUNCTIONS);
    for function in metadata(&node1, FUNCTIONS).lines() {
        assert!(real.lines().any(|line| line == function), "{function} is none of\n{real}");
    }
    // The view's numbers, too: a row of monitoring history as repmgrd writes it.
    for database in ["repmgr", "real"] {
        node1.psql_as(
            "postgres",
            database,
            "INSERT INTO repmgr.nodes (node_id, node_name, type, conninfo, repluser, config_file)
             VALUES (7, 'seven', 'standby', '', 'repmgr', '');
             INSERT INTO repmgr.monitoring_history
             VALUES (1, 7, '2026-01-01', '2025-12-31', '0/3000000', '0/2000000', 16777216, 8192)",
        );
    }
    let status = "SELECT standby_name, node_type, last_wal_primary_location, replication_lag, apply_lag,
                  replication_time_lag IS NULL, communication_time_lag > '1 day' FROM repmgr.replication_status";
    assert_eq!(metadata(&node1, status), node1.psql_as("postgres", "real", status));
    assert_eq!(metadata(&node1, "DELETE FROM repmgr.voting_term; SELECT 1"), "1");
}

#[test]
fn the_real_repmgr_works_on_a_schema_that_pgbaton_created_and_with_one_configuration_file() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let node2 = cluster.standby("node2", &node1);
    for (server, id, kind) in [(&node1, 1, "primary"), (&node2, 2, "standby")] {
        let conf = repmgr_conf(server, id).to_string_lossy().into_owned();
        let state = server.dir.join("home").to_string_lossy().into_owned();
        server.pgbaton(["-f", &conf, kind, "register"]).env("XDG_STATE_HOME", &state).run().code(0);
    }
    node2.wait_for_replay_of(&node1);
    // A slot for node2 is what repmgr expects under use_replication_slots; without it both tools warn.
    for (server, role) in [(&node1, "primary"), (&node2, "standby")] {
        let shown = real_repmgr(server, &["cluster", "show"]);
        shown.code(0);
        assert!(shown.stdout.contains("* running") && shown.stdout.contains("node2"), "{shown:?}");
        let status = real_repmgr(server, &["node", "status"]);
        assert!(status.stdout.contains(&format!("Role: {role}")), "{status:?}");
        let check = real_repmgr(server, &["node", "check", "--role"]);
        assert!(check.code(0).stdout.contains("OK"), "{check:?}");
        real_repmgr(server, &["node", "check", "--replication-lag"]).code(0);
    }
    let events = real_repmgr(&node1, &["cluster", "event"]);
    for event in ["cluster_created", "primary_register", "standby_register"] {
        assert!(events.code(0).stdout.contains(event), "{events:?}");
    }
    real_repmgr(&node2, &["standby", "unregister"]).code(0);
    assert_eq!(metadata(&node1, "SELECT count(*) FROM repmgr.nodes"), "1");
}

#[test]
fn the_tables_of_the_real_extension_are_adopted_unaltered() {
    let Some(pg) = with_real_repmgr() else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.psql_as("postgres", "repmgr", "CREATE EXTENSION repmgr");
    let all = format!(
        "{SHAPE} {FUNCTIONS};
         SELECT relname, relowner::regrole, relacl FROM pg_class WHERE relnamespace = 'repmgr'::regnamespace ORDER BY 1;
         SELECT nspacl, nspowner::regrole FROM pg_namespace WHERE nspname = 'repmgr';
         SELECT classid::regclass, count(*) FROM pg_depend WHERE deptype = 'e' AND refobjid =
           (SELECT oid FROM pg_extension WHERE extname = 'repmgr') GROUP BY 1 ORDER BY 1"
    );
    let before = metadata(&node1, &all);
    repmgr_conf(&node1, 1);
    let conf = node1.dir.join("repmgr.conf").to_string_lossy().into_owned();
    let register = || node1.pgbaton(["-f", &conf, "primary", "register"]).run();
    register().code(0);
    assert_eq!(metadata(&node1, &all), before);
    assert_eq!(metadata(&node1, "SELECT count(*) FROM repmgr.events WHERE event = 'cluster_created'"), "0");
    // As repmgr does; a term that has been counted up stays.
    assert_eq!(metadata(&node1, "SELECT term FROM repmgr.voting_term"), "1");
    metadata(&node1, "UPDATE repmgr.voting_term SET term = 7");
    register().code(0).says("nothing was changed");
    assert_eq!(metadata(&node1, "SELECT term FROM repmgr.voting_term"), "7");
    real_repmgr(&node1, &["cluster", "show"]).code(0);
    // What one has registered, the other takes for its own.
    real_repmgr(&node1, &["primary", "register", "--force"]).code(0);
    register().code(0).says("nothing was changed");
    assert_eq!(metadata(&node1, &all), before);

    // A role that does not own the extension gets the statements to run, and running them is enough.
    node1.psql_as("postgres", "baton", "CREATE EXTENSION repmgr");
    configure(&node1, 1, "node1", &node1.conninfo_as("baton", "baton"), "");
    let refused = node1.pgbaton(["primary", "register", "--json"]).run();
    let json = envelope(&refused, "primary register", 1, false);
    let hint = json["error"]["hint"].as_str().unwrap();
    node1.psql_as("postgres", "baton", pasted(hint));
    node1.pgbaton(["primary", "register"]).run().code(0);
    node1.pgbaton(["primary", "unregister", "--force"]).run().code(0);

    // Or a superuser is named, which leaves the extension's tables unchanged except for the grants.
    node1.psql("CREATE DATABASE third");
    node1.psql_as("postgres", "third", "CREATE EXTENSION repmgr");
    configure(&node1, 1, "node1", &node1.conninfo_as("baton", "third"), "");
    let shape = format!("{SHAPE} {FUNCTIONS}");
    let before = node1.psql_as("postgres", "third", &shape);
    node1.pgbaton(["primary", "register"]).run().code(1).says("with -S");
    node1.pgbaton(["primary", "register", "-S", "postgres"]).run().code(0);
    assert_eq!(node1.psql_as("postgres", "third", &shape), before);
    assert_eq!(node1.psql_as("baton", "third", "SELECT term FROM repmgr.voting_term"), "1");
    configure(&node1, 1, "node1", &node1.conninfo_as("baton", "baton"), "");

    // Another version is refused by name.
    node1.psql_as("postgres", "baton", "UPDATE pg_extension SET extversion = '4.4' WHERE extname = 'repmgr'");
    let refused = node1.pgbaton(["primary", "register"]).run();
    refused.code(1).says("4.4").says("ALTER EXTENSION repmgr UPDATE");
}

/// Returns the SQL of a hint that ends with it.
fn pasted(hint: &str) -> &str {
    hint.split_once("run: ").unwrap_or_else(|| panic!("no SQL in {hint:?}")).1
}

#[test]
fn a_superuser_creates_the_metadata_for_a_role_that_may_not() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.psql("CREATE ROLE \"po\"\"or\" LOGIN PASSWORD 'secret' IN ROLE pg_monitor");
    node1.psql("CREATE DATABASE poor");
    // The password of the other role is unknown.
    node1.prepend_hba("host all \"po\"\"or\" 127.0.0.1/32 scram-sha-256");
    node1.reload();
    let conninfo = format!("host=127.0.0.1 port={} user='po\"or' password=secret dbname=poor", node1.port);
    configure(&node1, 1, "node1", &conninfo, "");
    let register = |more: &[&str]| {
        node1.pgbaton(["primary", "register", "--json"].into_iter().chain(more.iter().copied())).run()
    };
    let before = Fingerprint::of(&[&node1], &[]);
    let json = envelope(&register(&[]), "primary register", 1, false);
    assert!(json["error"]["hint"].as_str().unwrap().contains("with -S"), "{json}");
    let refused = register(&["-S", "baton"]);
    envelope(&refused, "primary register", 1, false);
    refused.says("role \"baton\" is not a superuser");
    envelope(&register(&["-S", "nobody"]), "primary register", 6, false);
    let dry = register(&["-S", "postgres", "--dry-run"]);
    let does = envelope(&dry, "primary register", 0, false)["data"]["plan"]["steps"][0]["does"].to_string();
    assert!(does.contains("as \\\"postgres\\\": CREATE SCHEMA") && does.contains("SET LOCAL ROLE"), "{does}");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));

    envelope(&register(&["-S", "postgres"]), "primary register", 0, true);
    let owners =
        "SELECT DISTINCT relowner::regrole FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                  WHERE nspname IN ('repmgr', 'pgbaton') UNION
                  SELECT nspowner::regrole FROM pg_namespace WHERE nspname IN ('repmgr', 'pgbaton')";
    assert_eq!(node1.psql_as("postgres", "poor", owners), "\"po\"\"or\"");
    let events = "SELECT event FROM repmgr.events ORDER BY event_timestamp";
    assert_eq!(node1.psql_as("postgres", "poor", events), "cluster_created\nprimary_register");
    assert_eq!(
        node1.psql_as("postgres", "poor", "SELECT has_database_privilege('po\"or', 'poor', 'CREATE')"),
        "f"
    );
    // From now on it needs no superuser.
    envelope(&register(&[]), "primary register", 0, false);
    envelope(&register(&["-S", "nobody"]), "primary register", 0, false);

    // Tables with another owner: the superuser also sees the nodes that are registered there.
    let node2 = cluster.standby("node2", &node1);
    node2.promote();
    for statement in ["ALTER SCHEMA repmgr OWNER TO postgres", "ALTER TABLE repmgr.nodes OWNER TO postgres"] {
        node1.psql_as("postgres", "poor", statement);
    }
    let other = format!(
        "INSERT INTO repmgr.nodes VALUES (2, NULL, true, 'node2', 'primary', 'default', 100, '{}', 'repmgr', NULL, '')",
        node2.conninfo_as("postgres", "postgres")
    );
    node1.psql_as("postgres", "poor", &other);
    let refused = register(&["-S", "postgres"]);
    envelope(&refused, "primary register", 31, false);
    refused.says("node \"node2\" is a primary too");
    node1.psql_as("postgres", "poor", "DELETE FROM repmgr.nodes WHERE node_id = 2");
    envelope(&register(&["-S", "postgres"]), "primary register", 0, true);
    assert_eq!(
        node1.psql_as("postgres", "poor", "SELECT has_table_privilege('po\"or', 'repmgr.nodes', 'UPDATE')"),
        "t"
    );
}

#[test]
fn foreign_tables_and_missing_privileges_are_reported_with_what_to_run() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1
        .psql("CREATE ROLE \"o'neil \"\"x\"\" $(id)\" LOGIN; GRANT pg_monitor TO \"o'neil \"\"x\"\" $(id)\"");
    node1.psql("CREATE DATABASE \"my \"\"db\"\"\"");
    let conninfo =
        format!("host=127.0.0.1 port={} user='o\\'neil \"x\" $(id)' dbname='my \"db\"'", node1.port);
    configure(&node1, 1, "node1", &conninfo, "");
    let register = || node1.pgbaton(["primary", "register", "--json"]).run();

    let json = envelope(&register(), "primary register", 1, false);
    assert!(json["error"]["message"].as_str().unwrap().contains("lacks privileges"), "{json}");
    assert!(json["error"]["detail"].as_str().unwrap().contains("create schemas in database"), "{json}");
    let before = Fingerprint::of(&[&node1], &[]);
    node1.pgbaton(["primary", "register"]).run().code(1).says("Nothing was changed.");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));
    node1.psql_as("postgres", "my \"db\"", pasted(json["error"]["hint"].as_str().unwrap()));

    // Half of it by another role: a schema that may not be written.
    node1.psql_as("postgres", "my \"db\"", "CREATE SCHEMA repmgr");
    let json = envelope(&register(), "primary register", 1, false);
    node1.psql_as("postgres", "my \"db\"", pasted(json["error"]["hint"].as_str().unwrap()));
    let json = envelope(&register(), "primary register", 0, true);
    assert!(json["data"]["operation_id"].is_string(), "{json}");

    // Every table that is written has to be writable, in both schemas.
    for table in [
        "repmgr.nodes",
        "repmgr.events",
        "repmgr.voting_term",
        "pgbaton.node",
        "pgbaton.operation",
        "pgbaton.promotion",
    ] {
        let schema = table.split('.').next().unwrap();
        node1.psql_as(
            "postgres",
            "my \"db\"",
            &format!(
                "ALTER SCHEMA {schema} OWNER TO postgres; ALTER TABLE {table} OWNER TO postgres;
                 GRANT USAGE ON SCHEMA {schema} TO PUBLIC; GRANT SELECT ON {table} TO PUBLIC"
            ),
        );
        let json = envelope(&register(), "primary register", 1, false);
        let hint = json["error"]["hint"].as_str().unwrap_or_else(|| panic!("{json}"));
        node1.psql_as("postgres", "my \"db\"", pasted(hint));
        envelope(&register(), "primary register", 0, false);
    }

    // Tables with another owner.
    node1.psql("CREATE DATABASE other");
    node1.psql_as("postgres", "other", "CREATE SCHEMA repmgr; CREATE TABLE repmgr.nodes (id int)");
    configure(&node1, 1, "node1", &node1.conninfo_as("repmgr", "other"), "");
    node1
        .pgbaton(["primary", "register"])
        .run()
        .code(1)
        .says("contains other tables")
        .says("Use another database");
    node1.psql_as(
        "postgres",
        "other",
        "DROP TABLE repmgr.nodes; CREATE VIEW repmgr.nodes AS SELECT 1 AS node_id",
    );
    node1.pgbaton(["primary", "register"]).run().code(1).says("contains other tables");
    // The columns have the right names and another type.
    node1.psql_as(
        "postgres",
        "other",
        "DROP VIEW repmgr.nodes; CREATE TABLE repmgr.nodes (node_id text, upstream_node_id integer, active boolean,
         node_name text, type text, location text, priority integer, conninfo text, repluser text, slot_name text,
         config_file text); CREATE TABLE repmgr.events (node_id integer, event text, successful boolean,
         event_timestamp timestamptz, details text)",
    );
    node1.pgbaton(["primary", "register"]).run().code(1).says("contains other tables");
}

// ---- primary register ---------------------------------------------------------------------------------------------------

#[test]
fn primary_register_is_idempotent_and_brings_changes_up_to_date() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    node1.node_config(1, "");

    let before = Fingerprint::of(&[&node1], &[]);
    let dry = node1.pgbaton(["primary", "register", "--dry-run", "--json"]).run();
    let json = envelope(&dry, "primary register", 0, false);
    assert!(json["data"]["plan"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{json}");
    assert!(json["data"]["plan"]["checks"].is_array(), "{json}");
    before.assert_same(&Fingerprint::of(&[&node1], &[]));

    let first = node1.pgbaton(["primary", "register"]).run();
    first.code(0).says("node \"node1\" (ID 1) is registered as primary");
    assert_eq!(first.stdout, "");
    assert_eq!(metadata(&node1, NODES), "1|primary|t||node1|default|100|repmgr_slot_1");
    let events = "SELECT event, node_id, successful FROM repmgr.events ORDER BY event_timestamp";
    assert_eq!(metadata(&node1, events), "cluster_created|1|t\nprimary_register|1|t");

    let again = node1.pgbaton(["primary", "register", "--json"]).run();
    again.says("nothing was changed");
    envelope(&again, "primary register", 0, false);
    assert_eq!(metadata(&node1, EVENTS), "2");

    node1.node_config(1, "priority = 50\nlocation = \"Zürich 'west'\"\nuse_replication_slots = false");
    envelope(&node1.pgbaton(["primary", "register", "--json"]).run(), "primary register", 0, true);
    assert_eq!(metadata(&node1, NODES), "1|primary|t||node1|Zürich 'west'|50|");
    let longer = format!("{} application_name=x", node1.conninfo());
    configure(&node1, 1, "node1", &longer, "");
    node1.pgbaton(["primary", "register"]).run().code(0);
    assert_eq!(metadata(&node1, "SELECT conninfo FROM repmgr.nodes"), longer);
    node1.pgbaton(["primary", "register"]).run().code(0).says("nothing was changed");

    // Unsatisfiable synchronous names: a commit that waits for a standby must not hang it, nor must its event.
    node1.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    node1.reload();
    node1.wait_until("SHOW synchronous_standby_names", "nobody", SOON);
    node1.node_config(1, "priority = 51");
    node1.pgbaton(["primary", "register"]).run().code(0);
    assert_eq!(metadata(&node1, "SELECT priority FROM repmgr.nodes"), "51");

    // Our transactions are not those that are read-only by default.
    node1.psql("ALTER SYSTEM RESET synchronous_standby_names");
    node1.psql("ALTER SYSTEM SET default_transaction_read_only = on");
    node1.reload();
    node1.wait_until("SHOW default_transaction_read_only", "on", SOON);
    node1.node_config(1, "priority = 52");
    let output = node1.pgbaton(["primary", "register", "--json"]).run();
    envelope(&output, "primary register", 0, true);
    assert_eq!(metadata(&node1, "SELECT priority FROM repmgr.nodes"), "52");

    // No node responds.
    node1.stop(StopMode::Fast);
    let output = node1.pgbaton(["primary", "register", "--json"]).run();
    envelope(&output, "primary register", 6, false);
    output.says("could not connect to node \"node1\"").says("\"pgbaton node start\" starts it");
}

#[test]
fn names_of_any_kind_are_registered_as_they_are() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    for name in ["it's \"node\" 1", "$(touch x); `id` \\ %d", "Knöten–一号", "-f", "a\tb"] {
        configure(&node1, 1, name, &node1.conninfo(), "");
        let output = node1.pgbaton(["primary", "register", "--force", "--json"]).run();
        envelope(&output, "primary register", 0, true);
        assert_eq!(metadata(&node1, "SELECT node_name FROM repmgr.nodes"), name);
        let shown = node1.pgbaton(["cluster", "show", "--json"]).run();
        assert_eq!(shown.json()["data"]["nodes"][0]["node_name"], name, "{shown:?}");
    }
}

#[test]
fn a_second_primary_is_refused_and_a_dead_one_is_replaced() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = registered_standby(&cluster, "node2", 2, &node1);
    node2.wait_for_replay_of(&node1);

    // On a standby.
    let refused = node2.pgbaton(["primary", "register", "--json"]).run();
    envelope(&refused, "primary register", 1, false);
    refused.says("is in recovery").says("pgbaton standby register");

    node2.promote();
    // A promotion has its checkpoint when it likes.
    node2.psql("CHECKPOINT");
    let events = metadata(&node2, EVENTS);
    let before = Fingerprint::of(&[&node1, &node2], &[]);
    for force in [&["--json"][..], &["--json", "--force", "--yes"]] {
        let refused =
            node2.pgbaton(["primary", "register"].iter().chain(force).copied().collect::<Vec<_>>()).run();
        let json = envelope(&refused, "primary register", 31, false);
        assert!(json["error"]["message"].as_str().unwrap().contains("\"node1\" is a primary too"), "{json}");
        assert!(!json["error"]["hint"].as_str().unwrap().contains("waived"), "{json}");
    }
    before.assert_same(&Fingerprint::of(&[&node1, &node2], &[]));

    // It answers, although not to us.
    node1.psql("ALTER ROLE repmgr NOLOGIN");
    let refused = node2.pgbaton(["primary", "register", "--force"]).run();
    refused.code(31).says("the registered primary \"node1\" is alive");
    node1.psql("ALTER ROLE repmgr LOGIN");

    // It hangs.
    node1.freeze();
    let refused = node2.pgbaton(["primary", "register"]).run();
    refused
        .code(31)
        .says("cannot determine whether the registered primary \"node1\" is alive")
        .says("--force");
    let dry = node2.pgbaton(["primary", "register", "--force", "--dry-run"]).run();
    dry.code(0).says("overridden by --force");
    assert_eq!(metadata(&node2, EVENTS), events);
    node1.thaw();

    // It is gone.
    node1.kill9();
    let output = node2.pgbaton(["primary", "register"]).run();
    output.code(0).says("the registered primary \"node1\" will be marked as inactive");
    assert_eq!(
        metadata(&node2, NODES),
        "1|primary|f||node1|default|100|repmgr_slot_1\n2|primary|t||node2|default|100|repmgr_slot_2"
    );
}

#[test]
fn ids_and_names_that_are_taken_are_refused() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = cluster.standby("node2", &node1);
    let attempt = |id, name: &str, args: &[&str]| {
        configure(&node2, id, name, &node2.conninfo(), "");
        let words: Vec<&str> = ["standby", "register"].iter().chain(args).copied().collect();
        node2.pgbaton(words).run()
    };
    attempt(1, "node2", &[]).code(1).says("node ID 1 belongs to node \"node1\"");
    attempt(2, "node1", &["--force"]).code(1).says("node name \"node1\" belongs to node 1");
    attempt(2, "node2", &[]).code(0);
    assert_eq!(metadata(&node1, "SELECT count(*) FROM repmgr.nodes"), "2");

    // A node that was renamed says so.
    configure(&node1, 1, "first", &node1.conninfo(), "");
    node1
        .pgbaton(["primary", "register"])
        .run()
        .code(1)
        .says("node ID 1 belongs to node \"node1\"")
        .says("--force");
    node1.pgbaton(["primary", "register", "--force"]).run().code(0);
    assert_eq!(metadata(&node1, "SELECT node_name FROM repmgr.nodes WHERE node_id = 1"), "first");
}

#[test]
fn rows_that_were_edited_by_hand_are_reported_and_fixed() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = registered_standby(&cluster, "node2", 2, &node1);

    metadata(
        &node1,
        "UPDATE repmgr.nodes SET type = 'standby', active = false, conninfo = 'host=''' WHERE node_id = 1",
    );
    node2.wait_for_replay_of(&node1);
    let shown = node1.pgbaton(["cluster", "show"]).run();
    assert!(shown.stdout.contains("node1"), "{shown:?}");
    // A standby whose primary cannot be found by its row says which row it is.
    let refused = node2.pgbaton(["standby", "register"]).run();
    refused.code(6).says("no primary can be reached");
    node1.pgbaton(["primary", "register"]).run().code(0);
    assert!(metadata(&node1, NODES).starts_with("1|primary|t||node1|"));
    node2.wait_for_replay_of(&node1);
    node2.pgbaton(["standby", "register"]).run().code(0).says("nothing was changed");

    // A type that pgbaton does not know, and one that the node is not.
    metadata(&node1, "UPDATE repmgr.nodes SET type = 'bdr', upstream_node_id = NULL WHERE node_id = 2");
    node1.pgbaton(["cluster", "show"]).run();
    node2.pgbaton(["standby", "register"]).run().code(0);
    metadata(
        &node1,
        "UPDATE repmgr.nodes SET type = 'primary', upstream_node_id = NULL, active = true WHERE node_id = 2",
    );
    node1.pgbaton(["cluster", "show"]).run().code(25);
    node2.pgbaton(["standby", "register"]).run().code(0);
    assert!(metadata(&node1, NODES).contains("2|standby|t|1|node2|"), "{}", metadata(&node1, NODES));

    // The record of a registered primary that cannot be read proves nothing about its server.
    metadata(
        &node1,
        "INSERT INTO repmgr.nodes VALUES (3, NULL, true, 'node3', 'primary', 'default', 100, 'host=''', 'repmgr', NULL, '')",
    );
    let refused = node1.pgbaton(["primary", "register"]).run();
    refused.code(31).says("\"node3\"").says("connection string").says("--force");
    assert!(!refused.stderr.contains("accepts connections"), "{refused:?}");
    node1.pgbaton(["primary", "register", "--force"]).run().code(0);
    assert_eq!(metadata(&node1, "SELECT active FROM repmgr.nodes WHERE node_id = 3"), "f");
}

// ---- standby register ---------------------------------------------------------------------------------------------------

#[test]
fn standbys_are_registered_with_their_actual_upstream() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = cluster.standby("node2", &node1);
    let node3 = cluster.standby("node3", &node2);

    node2.node_config(2, "");
    let before = Fingerprint::of(&[&node1, &node2], &[]);
    let dry = node2.pgbaton(["standby", "register", "--dry-run", "--json"]).run();
    envelope(&dry, "standby register", 0, false);
    before.assert_same(&Fingerprint::of(&[&node1, &node2], &[]));
    let output = node2.pgbaton(["standby", "register", "--wait-sync", "--json"]).run();
    envelope(&output, "standby register", 0, true);
    assert_eq!(metadata(&node2, "SELECT node_id FROM repmgr.nodes WHERE type = 'standby'"), "2");
    let again = node2.pgbaton(["standby", "register", "--json"]).run();
    envelope(&again, "standby register", 0, false);
    again.says("nothing was changed");
    let names = "SELECT event, successful FROM repmgr.events WHERE node_id = 2 ORDER BY event_timestamp";
    assert_eq!(metadata(&node1, names), "standby_register|t\nstandby_register_sync|t");

    // A cascade: seen, not asked for.
    node3.node_config(3, "");
    node3.wait_for_replay_of(&node1);
    let wrong = node3.pgbaton(["standby", "register", "--upstream-node-id=1", "--json"]).run();
    let json = envelope(&wrong, "standby register", 1, false);
    assert!(
        json["error"]["message"].as_str().unwrap().contains("streams from \"node2\", not from \"node1\""),
        "{json}"
    );
    node3
        .pgbaton(["standby", "register", "--upstream-node-id=9"])
        .run()
        .code(1)
        .says("upstream node 9 is not registered");
    node3
        .pgbaton(["standby", "register", "--upstream-node-id=3"])
        .run()
        .code(1)
        .says("cannot be its own upstream");
    node3.pgbaton(["standby", "register", "--wait-sync=30"]).run().code(0);
    assert!(
        metadata(&node1, NODES).ends_with("3|standby|t|2|node3|default|100|"),
        "{}",
        metadata(&node1, NODES)
    );
    node2
        .pgbaton(["standby", "register", "--upstream-node-id=3"])
        .run()
        .code(1)
        .says("\"node3\" follows \"node2\", directly or through other nodes");
    node3
        .pgbaton(["standby", "register", "--upstream-node-id=1", "--force"])
        .run()
        .code(0)
        .says("overridden by --force");
    assert_eq!(metadata(&node1, "SELECT upstream_node_id FROM repmgr.nodes WHERE node_id = 3"), "1");

    // Not a standby.
    let refused = node1.pgbaton(["standby", "register", "--json"]).run();
    envelope(&refused, "standby register", 1, false);
    refused.says("accepts writes").says("pgbaton primary register");

    // Not attached: the walreceiver's connection has another name.
    node2.psql(&format!(
        "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port={} user=repmgr application_name=other'",
        node1.port
    ));
    node2.reload();
    node1.wait_until("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'other'", "1", SOON);
    metadata(&node1, "DELETE FROM repmgr.nodes WHERE node_id = 2");
    node2.wait_for_replay_of(&node1);
    let refused = node2.pgbaton(["standby", "register"]).run();
    refused.code(1).says("is not attached to its upstream \"node1\"").says("\"other\"").says("--force");
    node2.pgbaton(["standby", "register", "-F"]).run().code(0);

    // No primary to write to.
    node1.stop(StopMode::Immediate);
    let refused = node2.pgbaton(["standby", "register", "--json"]).run();
    envelope(&refused, "standby register", 6, false);
    refused.says("no primary can be reached");
}

#[test]
fn waiting_for_the_server_and_for_the_record() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = cluster.standby("node2", &node1);
    node2.node_config(2, "");

    node2.psql("SELECT pg_wal_replay_pause()");
    let late = node2.pgbaton(["standby", "register", "--wait-sync=1", "--json"]).run();
    let json = envelope(&late, "standby register", 20, true);
    late.says("timed out after 1 s waiting until the record of node \"node2\" has been replicated to it");
    assert!(json["error"]["detail"].as_str().unwrap().contains("paused"), "{json}");
    assert!(metadata(&node1, NODES).contains("2|standby|t|1|node2"));
    let names = "SELECT event, successful FROM repmgr.events WHERE node_id = 2 ORDER BY event_timestamp";
    assert_eq!(metadata(&node1, names), "standby_register|t\nstandby_register_sync|f");
    node2.psql("SELECT pg_wal_replay_resume()");

    node2.stop(StopMode::Fast);
    let refused = node2.pgbaton(["standby", "register"]).run();
    refused.code(6).says("pgbaton node start");
    let refused = node2.pgbaton(["standby", "register", "--wait-start=1"]).run();
    refused.code(6).says("Waited 1 s");
    let mut waiting = node2.pgbaton(["standby", "register", "--wait-start=60"]).spawn();
    assert!(waiting.is_running());
    node2.start();
    waiting.wait(SOON).code(0);
}

#[test]
fn metadata_that_are_on_their_way_to_a_standby_are_waited_for_by_hand() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = cluster.primary("node1");
    let node2 = cluster.standby("node2", &node1);
    node1.node_config(1, "");
    node2.node_config(2, "");
    node2.psql("SELECT pg_wal_replay_pause()");
    node1.pgbaton(["primary", "register"]).run().code(0);
    node2.pgbaton(["standby", "register"]).run().code(7).says("check that this standby streams");
    node2.psql("SELECT pg_wal_replay_resume()");
    node2.wait_for_replay_of(&node1);
    node2.pgbaton(["standby", "register"]).run().code(0);
}

#[test]
fn a_standby_of_another_history_is_refused() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = cluster.standby("node2", &node1);
    let node3 = cluster.standby("node3", &node2);
    node2.wait_for_replay_of(&node1);
    node3.wait_for_replay_of(&node1);
    // node3 follows node2 onto a timeline that node1 does not have.
    node2.promote();
    metadata(&node2, "CREATE TABLE only_here ()");
    node3.wait_for_replay_of(&node2);
    node3.node_config(3, "");
    let refused = node3.pgbaton(["standby", "register", "--json"]).run();
    let json = envelope(&refused, "standby register", 1, false);
    let text = json.to_string();
    assert!(text.contains("this server has diverged from the primary"), "{json}");
    // Overriding the missing attachment does not override that.
    node3.pgbaton(["standby", "register", "--force"]).run().code(1);

    // A server of another cluster whose standby happens to know the metadata.
    let other = cluster.foreign("other");
    let node4 = cluster.standby("node4", &other);
    let (socket, port) = (node1.socket_dir.to_string_lossy(), node1.port.to_string());
    let dump = ["-h", &*socket, "-p", &port, "-U", "repmgr", "--schema-only", "repmgr"];
    let dump = run_tool(&node1.pg.tool("pg_dump"), dump);
    let sql: Vec<&str> = dump.code(0).stdout.lines().filter(|line| !line.starts_with('\\')).collect();
    metadata(&other, &sql.join("\n"));
    metadata(
        &other,
        &format!(
            "INSERT INTO repmgr.nodes VALUES (1, NULL, true, 'node1', 'primary', 'default', 100, '{}', 'repmgr', NULL, '')",
            node1.conninfo()
        ),
    );
    node4.wait_for_replay_of(&other);
    node4.node_config(4, "");
    node4.pgbaton(["standby", "register", "-F"]).run().code(1).says("belongs to another cluster");
}

// ---- unregister ---------------------------------------------------------------------------------------------------------

#[test]
fn unregister_removes_the_record_and_its_own_slot_and_nothing_else() {
    let Some(pg) = postgres(15) else { return };
    let cluster = TestCluster::new(&pg);
    let node1 = registered(&cluster, "node1", 1);
    let node2 = registered_standby(&cluster, "node2", 2, &node1);
    let node3 = registered_standby(&cluster, "node3", 3, &node2);
    node2.wait_for_replay_of(&node1);
    node3.wait_for_replay_of(&node1);

    // The current primary, and a node that others follow.
    let refused = node1.pgbaton(["primary", "unregister", "--json"]).run();
    let json = envelope(&refused, "primary unregister", 1, false);
    assert!(
        json.to_string().contains("is the current primary") && json.to_string().contains("node2"),
        "{json}"
    );
    let refused = node2.pgbaton(["standby", "unregister", "--json"]).run();
    let json = envelope(&refused, "standby unregister", 1, false);
    assert!(json["error"]["detail"].as_str().unwrap().contains("\"node3\" (ID 3)"), "{json}");
    node2.pgbaton(["primary", "unregister"]).run().code(1).says("pgbaton standby unregister");
    node1
        .pgbaton(["standby", "unregister", "--node-id=9"])
        .run()
        .code(1)
        .says("node 9 is not registered")
        .says("\"node3\" (ID 3)");
    node1
        .pgbaton(["standby", "unregister", "--node-id=3", "--node-name=node2"])
        .run()
        .code(1)
        .says("is not registered");

    // A slot of another name, of another node, and an own one that is used.
    let slots = "SELECT slot_name FROM pg_replication_slots ORDER BY 1";
    node2.psql("SELECT pg_create_physical_replication_slot('precious'), pg_create_physical_replication_slot('repmgr_slot_30')");
    metadata(&node1, "UPDATE repmgr.nodes SET slot_name = 'precious' WHERE node_id = 3");
    node2.wait_for_replay_of(&node1);
    let state = || Fingerprint::of(&[&node1, &node2, &node3], &[]).without(": state");
    let before = state();
    let dry = node3.pgbaton(["standby", "unregister", "--dry-run", "--json"]).run();
    envelope(&dry, "standby unregister", 0, false);
    before.assert_same(&state());
    let output = node3.pgbaton(["standby", "unregister", "--json"]).run();
    envelope(&output, "standby unregister", 0, true);
    assert_eq!(node2.psql(slots), "precious\nrepmgr_slot_30");
    let last = "SELECT node_id, event, successful FROM repmgr.events ORDER BY event_timestamp DESC LIMIT 1";
    assert_eq!(metadata(&node1, last), "3|standby_unregister|t");
    let again = node3.pgbaton(["standby", "unregister", "--json"]).run();
    envelope(&again, "standby unregister", 1, false);

    node3.psql("ALTER SYSTEM SET primary_slot_name = 'repmgr_slot_3'");
    node2.psql("SELECT pg_create_physical_replication_slot('repmgr_slot_3')");
    node3.reload();
    node2.wait_until("SELECT active FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_3'", "t", SOON);
    node3.pgbaton(["standby", "register"]).run().code(0);
    assert!(metadata(&node1, NODES).ends_with("|repmgr_slot_3"));
    node1.psql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (node3, node30)'");
    node1.reload();
    node1.wait_until("SHOW synchronous_standby_names", "ANY 1 (node3, node30)", SOON);
    let output = node3.pgbaton(["standby", "unregister"]).run();
    output.code(0).says("is in use and is kept").says("pg_drop_replication_slot('repmgr_slot_3')");
    output.says("is named in synchronous_standby_names");
    assert_eq!(node2.psql(slots), "precious\nrepmgr_slot_3\nrepmgr_slot_30");
    node3.pgbaton(["standby", "register"]).run().code(0);

    // Dead, and named by another node: its slot is inactive now. The name that only looks alike is no reason to warn.
    node3.stop(StopMode::Immediate);
    node1.psql("ALTER SYSTEM SET synchronous_standby_names = 'node30'");
    node1.reload();
    node1.wait_until("SHOW synchronous_standby_names", "node30", SOON);
    node2.wait_until("SELECT active FROM pg_replication_slots WHERE slot_name = 'repmgr_slot_3'", "f", SOON);
    let output = node1.pgbaton(["standby", "unregister", "--node-name=node3"]).run();
    output.code(0);
    assert!(!output.stderr.contains("synchronous_standby_names"), "{output:?}");
    assert_eq!(node2.psql(slots), "precious\nrepmgr_slot_30");
    assert_eq!(metadata(&node1, "SELECT count(*) FROM repmgr.nodes"), "2");

    // A primary that was replaced.
    node2.promote();
    node1.kill9();
    node2.pgbaton(["primary", "register"]).run().code(0);
    let output = node2.pgbaton(["primary", "unregister", "--node-id=1", "--json"]).run();
    envelope(&output, "primary unregister", 0, true);
    assert_eq!(metadata(&node2, "SELECT node_id, type FROM repmgr.nodes"), "2|primary");
    let output = node2.pgbaton(["primary", "unregister", "--force"]).run();
    output.code(0).says("overridden by --force");
    assert_eq!(metadata(&node2, "SELECT count(*) FROM repmgr.nodes"), "0");
}
