//! Tests of `witness`.

use super::*;
use crate::pg::failure::Answered;

fn present(extension: Option<&str>, complete: bool) -> PresentMetadata {
    PresentMetadata { extension: extension.map(Into::into), ..PresentMetadata::example(complete) }
}

/// A primary, a standby, and a server of its own that is to be the witness.
fn facts() -> WitnessFacts {
    let primary = ServerFacts::example(false, 1, 100);
    let nodes = vec![
        NodeFacts { row: NodeRow::example(1, NodeType::Primary), server: Ok(primary.clone()) },
        NodeFacts {
            row: NodeRow::example(2, NodeType::Standby),
            server: Ok(ServerFacts::example(true, 1, 100)),
        },
    ];
    let own = ServerFacts { system_identifier: "8".into(), ..ServerFacts::example(false, 1, 5) };
    WitnessFacts {
        here: Ok(WitnessServer {
            server: own,
            present: present(None, false),
            offered: OfferedExtension::default(),
            superuser: None,
            rows: Vec::new(),
            strangers: ClusterFacts::default(),
        }),
        primary: Contact::Asked(Box::new(NamedPrimary {
            whom: "the server".into(),
            server: primary,
            present: present(None, true),
            cluster: ClusterFacts { nodes, ..ClusterFacts::default() },
        })),
        interrupted: None,
    }
}

fn row() -> NodeRow {
    NodeRow { priority: 0, slot_name: None, ..NodeRow::example(9, NodeType::Witness) }
}

fn planned(facts: &WitnessFacts, force: bool) -> Plan {
    let on = Endpoint { name: "node \"node9\"".into(), conninfo: String::new(), secret: None };
    witness(facts, &row(), &on, RegisterOptions { force, wait_sync_s: None, ..RegisterOptions::default() })
}

fn stops(plan: &Plan) -> Vec<(&str, u8)> {
    let stopping = plan.checks.iter().filter(|check| check.stops());
    stopping.map(|check| (check.name.as_str(), check.exit.code())).collect()
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.steps().map(|step| step.id.as_str()).collect()
}

fn here(facts: &mut WitnessFacts) -> &mut WitnessServer {
    facts.here.as_mut().unwrap()
}

fn there(facts: &mut WitnessFacts) -> &mut NamedPrimary {
    match &mut facts.primary {
        Contact::Asked(there) => there,
        other => panic!("{other:?}"),
    }
}

#[test]
fn metadata_record_and_copy() {
    let plan = planned(&facts(), false);
    assert_eq!(stops(&plan), []);
    assert_eq!(ids(&plan), ["make_metadata", "record_node", "copy_nodes"]);
    let Some(Op::Sql { statements, .. }) = plan.steps().last().map(|step| &step.op) else { panic!() };
    let texts: Vec<String> = statements.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text == "DELETE FROM repmgr.nodes"), "{texts:?}");
    assert!(texts.iter().all(|text| !text.contains("TRUNCATE")));
    assert!(
        texts.last().unwrap().contains(
            "'9'::integer, '1'::integer, 'true'::boolean, 'node9', 'witness', 'default', '0'::integer"
        ),
        "{texts:?}"
    );
    assert_eq!(plan.announce_on.unwrap().name, "node \"node1\"");
}

#[test]
fn a_second_run_needs_force_and_then_does_nothing() {
    let mut facts = facts();
    let own = NodeRow { upstream_node_id: Some(1), ..row() };
    let server = here(&mut facts).server.clone();
    there(&mut facts).cluster.nodes.push(NodeFacts { row: own, server: Ok(server) });
    here(&mut facts).present = present(None, true);
    here(&mut facts).rows = there(&mut facts).cluster.nodes.iter().map(|node| node.row.clone()).collect();
    assert_eq!(stops(&planned(&facts, false)), [("not_registered", 1)]);
    let again = planned(&facts, true);
    assert_eq!((stops(&again), ids(&again)), (vec![], vec![]));
    // A copy that is behind is brought up to date, and nothing else.
    here(&mut facts).rows.pop();
    assert_eq!(ids(&planned(&facts, true)), ["copy_nodes"]);
    // Another node under that number is not replaced.
    let nodes = &mut there(&mut facts).cluster.nodes;
    nodes.last_mut().unwrap().row.node_type = NodeType::Standby;
    assert_eq!(stops(&planned(&facts, true)), [("not_registered", 1)]);
}

#[test]
fn what_an_interrupted_run_has_recorded_needs_no_force_while_it_is_as_that_run_wrote_it() {
    let mut facts = facts();
    let begun = planned(&facts, false);
    let own = NodeRow { upstream_node_id: Some(1), ..row() };
    let server = here(&mut facts).server.clone();
    there(&mut facts).cluster.nodes.push(NodeFacts { row: own, server: Ok(server) });
    here(&mut facts).present = present(None, true);
    let record = ("not_registered", 1);
    assert_eq!(stops(&planned(&facts, false)), [record]);
    facts.interrupted = Some(begun);
    let resumed = planned(&facts, false);
    assert_eq!((stops(&resumed), ids(&resumed)), (vec![], vec!["copy_nodes"]));
    // The copy was made, too.
    here(&mut facts).rows = there(&mut facts).cluster.nodes.iter().map(|node| node.row.clone()).collect();
    let resumed = planned(&facts, false);
    assert_eq!((stops(&resumed), ids(&resumed)), (vec![], vec![]));
    // Something has changed since: the copy, the record, or what was asked for.
    here(&mut facts).rows.pop();
    assert_eq!(stops(&planned(&facts, false)), [record]);
    here(&mut facts).rows.clear();
    there(&mut facts).cluster.nodes.last_mut().unwrap().row.location = "elsewhere".into();
    assert_eq!(stops(&planned(&facts, false)), [record]);
    facts.interrupted = Some(Plan::nothing("register witness \"node8\""));
    there(&mut facts).cluster.nodes.last_mut().unwrap().row.location = row().location;
    assert_eq!(stops(&planned(&facts, false)), [record]);
}

#[test]
fn its_event_is_planned() {
    let plan = planned(&facts(), false);
    let [event] = plan.notifications.as_slice() else { panic!("{plan:?}") };
    assert_eq!((event.event.as_str(), event.node_id, event.failure), ("witness_register", 9, true));
    assert_eq!(event.details, "node \"node9\" (ID 9) registered as witness");
    assert_eq!(event.upstream.as_ref().unwrap().node_name, "node1");
    assert_eq!(event.on, plan.announce_on);
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut facts = facts();
    facts.primary = Contact::Unknown { asked: vec![] };
    let why = Unavailable::new(Answered::Nothing, "refused");
    facts.here = Err(why.clone());
    assert_eq!(stops(&planned(&facts, true)), [("witness_reached", 6), ("primary_known", 1)]);
    facts.primary = Contact::Silent { whom: "it".into(), why };
    assert_eq!(stops(&planned(&facts, true)), [("witness_reached", 6), ("primary_reached", 6)]);

    let mut facts = self::facts();
    here(&mut facts).server = ServerFacts::example(true, 1, 5);
    there(&mut facts).cluster.nodes[1].row.node_name = "node9".into();
    there(&mut facts).present.closed_tables = vec!["repmgr.nodes".into()];
    assert_eq!(
        stops(&planned(&facts, true)),
        [("server_is_primary", 1), ("own_cluster", 1), ("node_name_free", 1), ("primary_writable", 1)]
    );
}

#[test]
fn only_the_one_registered_primary_will_do() {
    let mut facts = facts();
    there(&mut facts).server = ServerFacts::example(true, 1, 100);
    assert_eq!(stops(&planned(&facts, true)), [("primary_reached", 1)]);
    let mut facts = self::facts();
    there(&mut facts).cluster.nodes[1].server = Ok(ServerFacts::example(false, 2, 100));
    assert_eq!(stops(&planned(&facts, true)), [("primary_reached", 31)]);
    let mut facts = self::facts();
    let why = Unavailable::new(Answered::Nothing, "x");
    there(&mut facts).cluster.nodes[0].server = Err(why);
    assert_eq!(stops(&planned(&facts, true)), [("primary_reached", 6)]);
    let mut facts = self::facts();
    there(&mut facts).cluster.nodes.clear();
    assert_eq!(stops(&planned(&facts, true)), [("primary_reached", 1)]);
}

#[test]
fn a_table_with_records_is_replaced_only_with_force() {
    let mut facts = facts();
    here(&mut facts).present = present(None, true);
    here(&mut facts).rows = vec![NodeRow::example(4, NodeType::Primary)];
    assert_eq!(stops(&planned(&facts, false)), [("table_free", 1)]);
    assert_eq!(ids(&planned(&facts, true)), ["record_node", "copy_nodes"]);
    // Never that of a cluster that this server is a node of.
    let own = here(&mut facts).server.clone();
    here(&mut facts).strangers.nodes =
        vec![NodeFacts { row: NodeRow::example(4, NodeType::Primary), server: Ok(own) }];
    assert_eq!(stops(&planned(&facts, true)), [("table_free", 1)]);
}

#[test]
fn the_extension_where_the_primary_has_it() {
    let mut facts = facts();
    there(&mut facts).present.extension = Some("5.3".into());
    let first = |facts: &WitnessFacts| planned(facts, false).steps().next().unwrap().title.clone();
    // Not available: plain tables, with a word about it.
    assert!(first(&facts).starts_with("create the metadata schema"));
    assert!(planned(&facts, false).checks.iter().any(|check| check.name == "extension_available"));
    here(&mut facts).offered = OfferedExtension { version: Some("5.5".into()), may_install: false };
    assert_eq!(stops(&planned(&facts, true)), [("metadata_usable", 1)]);
    here(&mut facts).offered.may_install = true;
    assert_eq!(
        (stops(&planned(&facts, false)), first(&facts)),
        (vec![], "create the repmgr extension in database \"repmgr\"".into())
    );
    // One of another kind is not ours to use.
    here(&mut facts).offered.version = Some("4.4".into());
    assert!(first(&facts).starts_with("create the metadata schema"));
    here(&mut facts).present = PresentMetadata { extension: Some("4.4".into()), ..present(None, true) };
    assert_eq!(stops(&planned(&facts, true)), [("metadata_usable", 1)]);
}
