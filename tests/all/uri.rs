//! `cluster uri`: real clients connect with what it prints.

use crate::support::{
    Nodes, Output, Pg, SOON, StopMode, TestServer, envelope, metadata, postgres, registered, run_tool,
};

/// Has psql connect, and returns where it has come to: the port, and whether that is a standby.
fn client(pg: &Pg, string: &str) -> Output {
    let who = "SELECT current_setting('port') || ' ' || pg_is_in_recovery()";
    run_tool(&pg.tool("psql"), ["-XAtq", "-d", string, "-c", who])
}

#[track_caller]
fn arrives(pg: &Pg, string: &str, at: &TestServer, standby: bool) {
    let output = client(pg, string);
    assert_eq!(output.code(0).stdout, format!("{} {standby}\n", at.port), "{string}");
}

#[track_caller]
fn uri(node: &TestServer, more: &[&str], code: i32) -> Output {
    let output = node.pgbaton(["cluster", "uri"]).args(more).run();
    output.code(code);
    output
}

/// The string with what is a client's own.
#[track_caller]
fn as_client(node: &TestServer, more: &[&str]) -> String {
    let output = node.pgbaton(["cluster", "uri"]).args(more).run();
    let string = output.stdout.trim_end();
    match string.starts_with("postgresql://") {
        true => format!("{string}&user=repmgr&dbname=repmgr"),
        false => format!("{string} user=repmgr dbname=repmgr"),
    }
}

#[test]
fn clients_find_their_server() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let places = format!("127.0.0.1:{},127.0.0.1:{}", one.port, two.port);
    let ports = format!("host=127.0.0.1,127.0.0.1 port={},{}", one.port, two.port);
    for node in [one, two] {
        let output = uri(node, &[], 0);
        let expected = format!("postgresql://{places}/?target_session_attrs=read-write&connect_timeout=5\n");
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (expected.as_str(), ""));
    }
    assert_eq!(
        uri(one, &["--syntax", "keyword", "--role=prefer-standby"], 0).stdout,
        format!("{ports} target_session_attrs=prefer-standby connect_timeout=5\n")
    );
    assert_eq!(
        uri(one, &["--syntax", "jdbc", "--role", "standby"], 0).stdout,
        format!("jdbc:postgresql://{places}/?targetServerType=secondary&connectTimeout=5\n")
    );
    for syntax in ["uri", "keyword"] {
        arrives(&pg, &as_client(two, &["--syntax", syntax]), one, false);
        arrives(&pg, &as_client(one, &["--syntax", syntax, "--role", "standby"]), two, true);
        arrives(&pg, &as_client(one, &["--syntax", syntax, "--role", "prefer-standby"]), two, true);
        arrives(&pg, &as_client(two, &["--syntax", syntax, "--role", "any"]), one, false);
    }
    let document = envelope(&uri(two, &["--json"], 0), "cluster uri", 0, false);
    let data = &document["data"];
    assert_eq!(format!("{}\n", data["connection_string"].as_str().unwrap()), uri(two, &[], 0).stdout);
    assert_eq!((&data["role"], &data["syntax"]), (&"primary".into(), &"uri".into()));
    assert_eq!(data["primary_node_id"], 1);
    assert_eq!((&data["hosts"][1]["node_id"], &data["hosts"][1]["port"]), (&2.into(), &two.port.into()));
    assert_eq!(data["settings"], serde_json::json!({ "connect_timeout": "5" }));

    // The primary is gone: the same string, and a warning.
    let before = uri(two, &[], 0).stdout;
    one.stop(StopMode::Fast);
    let output = uri(two, &[], 25);
    output.says("no node accepts writes");
    assert_eq!(output.stdout, before);
    arrives(&pg, &as_client(two, &["--role", "prefer-standby"]), two, true);
    // No node responds: the same from what was seen.
    two.stop(StopMode::Fast);
    let output = uri(two, &[], 25);
    output.says("no node responds").says("was saved");
    assert_eq!(output.stdout, before);
    two.start();
    two.pgbaton(["standby", "promote"]).run().code(0);
    let output = uri(two, &[], 0);
    output.says("NOTICE: node \"node1\" is left out").says("registered as inactive");
    assert!(output.stdout.starts_with(&format!("postgresql://127.0.0.1:{}/?", two.port)), "{output:?}");
    arrives(&pg, &as_client(two, &[]), two, false);
}

#[test]
fn sockets_are_for_libpq_and_what_is_in_a_row_is_only_shown() {
    let Some(pg) = postgres(15) else { return };
    let nodes = Nodes::new(&pg, 1);
    let (one, two) = (nodes.node(1), nodes.node(2));
    let edit = |id: i32, conninfo: &str| {
        metadata(
            one,
            &format!(
                "UPDATE repmgr.nodes SET conninfo = '{}' WHERE node_id = {id}",
                conninfo.replace('\'', "''")
            ),
        );
        two.wait_for_replay_of(one);
    };
    let socket = |server: &TestServer| {
        let directory = server.socket_dir.to_string_lossy();
        format!("host={directory} port={} user=repmgr dbname=repmgr password=geheim", server.port)
    };
    edit(2, &socket(two));
    for syntax in ["uri", "keyword"] {
        let string = as_client(one, &["--syntax", syntax, "--role", "standby"]);
        assert!(!string.contains("geheim"), "{string}");
        arrives(&pg, &string, two, true);
    }
    let jdbc = uri(one, &["--syntax", "jdbc"], 25);
    jdbc.says("node \"node2\" is left out").says("JDBC uses TCP only");
    assert!(jdbc.stdout.starts_with(&format!("jdbc:postgresql://127.0.0.1:{}/?", one.port)), "{jdbc:?}");
    edit(1, &socket(one));
    arrives(&pg, &as_client(two, &[]), one, false);
    let none = uri(one, &["--syntax", "jdbc"], 1);
    none.says("there is no node that a connection string could name").says("node \"node1\" is left out");
    assert_eq!(none.stdout, "");
    envelope(&uri(one, &["--syntax", "jdbc", "--json"], 1), "cluster uri", 1, false);

    // An address for the connection, a name for everything else.
    edit(1, &format!("host=db1.invalid hostaddr=127.0.0.1 port={} user=repmgr dbname=repmgr", one.port));
    for syntax in ["uri", "keyword"] {
        arrives(&pg, &as_client(two, &["--syntax", syntax]), one, false);
    }

    // What a terminal acts on.
    metadata(one, "UPDATE repmgr.nodes SET node_name = E'n\\u001b[2J\\nERROR: x' WHERE node_id = 2");
    edit(2, "host='/tmp/\u{1b}]0;x\u{7}\n' sslmode=require");
    for more in [&["--syntax", "keyword"][..], &[], &["--json"]] {
        let output = uri(one, more, 25);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(!all.contains(['\u{1b}', '\u{7}']), "{output:?}");
        assert!(!all.lines().any(|line| line.starts_with("ERROR")), "{output:?}");
    }
}

/// A server that was named is enough, as for the other commands that only look.
#[test]
fn a_server_may_be_named() {
    let Some(pg) = postgres(15) else { return };
    let cluster = crate::support::TestCluster::new(&pg);
    let one = registered(&cluster, "node1", 1);
    let port = one.port.to_string();
    let words = ["-h", "127.0.0.1", "-p", &port, "-U", "repmgr", "-d", "repmgr", "cluster", "uri"];
    let output = cluster.empty("nowhere").pgbaton(words).deadline(SOON).run();
    let expected =
        format!("postgresql://127.0.0.1:{port}/?target_session_attrs=read-write&connect_timeout=5\n");
    assert_eq!(output.code(0).stdout, expected);
    // And nothing answers.
    one.stop(StopMode::Fast);
    cluster.empty("elsewhere").pgbaton(words).run().code(6);
}
