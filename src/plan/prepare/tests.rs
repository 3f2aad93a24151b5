use super::*;
use crate::facts::prepare::{DatabaseNow, FileValue, RoleNow, SettingNow};
use crate::pg::hba::{self, Rule};
use crate::plan::{FileOp, Op};

fn setting(value: &str, context: &str) -> SettingNow {
    SettingNow { value: value.into(), source: "default".into(), context: context.into(), file: None }
}

/// A server as initdb makes it, with a role and a database that have everything.
fn set_up() -> ServerSetup {
    let settings = [
        ("wal_level", "replica", "postmaster"),
        ("max_wal_senders", "10", "postmaster"),
        ("max_replication_slots", "10", "postmaster"),
        ("hot_standby", "on", "postmaster"),
        ("full_page_writes", "on", "sighup"),
        ("wal_log_hints", "on", "postmaster"),
        ("data_checksums", "off", "internal"),
        ("listen_addresses", "*", "postmaster"),
        ("archive_mode", "off", "postmaster"),
        ("archive_command", "(disabled)", "sighup"),
        ("archive_library", "", "sighup"),
        ("restore_command", "", "sighup"),
    ];
    let role = RoleNow {
        login: true,
        replication: true,
        monitors: true,
        checkpoints: true,
        alters_system: true,
        ..RoleNow::default()
    };
    ServerSetup {
        version_num: 150_000,
        superuser: true,
        asked_as: "postgres".into(),
        alter_system_allowed: true,
        settings: settings.map(|(name, value, context)| (name.to_string(), setting(value, context))).into(),
        roles: BTreeMap::from([("repmgr".to_string(), role)]),
        database: Some(DatabaseNow {
            owner: "repmgr".into(),
            may_connect: true,
            may_create: true,
            denied: Vec::new(),
        }),
        rules: Some(vec![rule(1, "trust")]),
        ..ServerSetup::default()
    }
}

fn rule(line_number: usize, method: &str) -> Rule {
    Rule {
        file_name: None,
        line_number,
        kind: Some("host".into()),
        database: Some(vec!["all".into(), "replication".into()]),
        user_name: Some(vec!["all".into()]),
        address: Some("all".into()),
        netmask: None,
        auth_method: Some(method.into()),
        error: None,
    }
}

fn node(name: &str, address: &str) -> Node {
    Node {
        name: name.into(),
        host: name.into(),
        port: "5432".into(),
        sources: Ok(vec![Source::Net(hba::network(address).unwrap())]),
        tls: Tls::Either,
        is_here: false,
    }
}

fn wanted() -> PrepareRequest {
    PrepareRequest {
        node_name: "node1".into(),
        own_hosts: vec!["node1".into(), "10.0.0.1".into()],
        role: "repmgr".into(),
        replication_role: "repmgr".into(),
        database: "repmgr".into(),
        nodes: vec![node("node1", "10.0.0.1"), node("node2", "10.0.0.2")],
        networks: Vec::new(),
        method: "scram-sha-256".into(),
        archive_command: None,
        restore_command: None,
        slots: true,
        passwords: BTreeMap::from([("repmgr".to_string(), Password::Known(Secret::new("hunter-two")))]),
        force: false,
    }
}

fn facts(set_up: ServerSetup) -> PrepareFacts {
    let file =
        |path: &str| FileNow { path: path.into(), text: Some(String::new()), mode: 0o600, closed: None };
    PrepareFacts {
        set_up: Some(set_up),
        hba: file("/data/pg_hba.conf"),
        conf: file("/data/postgresql.conf"),
        own_conf: FileNow { text: None, ..file("/data/pgbaton.conf") },
        passfiles: vec![file("/home/.pgpass")],
        ..PrepareFacts::default()
    }
}

fn places() -> PrepareEndpoints {
    let on = Endpoint { name: "node \"node1\"".into(), conninfo: "host=node1".into(), secret: None };
    PrepareEndpoints { server: on.clone(), database: on.clone(), own: on }
}

/// Says how things stand that are not met: `wal_level missing`.
fn unmet(facts: &PrepareFacts, wanted: &PrepareRequest) -> Vec<String> {
    let requirements = PrepareAssessment::of(facts, wanted).requirements();
    let unmet = requirements.iter().filter(|one| one.status != RequirementStatus::Ok);
    unmet.map(|one| format!("{} {}", one.name, one.status.name())).collect()
}

fn changed(name: &str, change: impl Fn(&mut SettingNow)) -> PrepareFacts {
    let mut set_up = set_up();
    change(set_up.settings.get_mut(name).unwrap());
    facts(set_up)
}

fn failed(facts: &PrepareFacts, wanted: &PrepareRequest) -> Vec<String> {
    let plan = PrepareAssessment::of(facts, wanted).prepared(&places()).plan;
    assert_eq!(plan.defect(), None);
    plan.checks.iter().filter(|check| check.stops()).map(|check| check.name.clone()).collect()
}

fn steps(facts: &PrepareFacts, wanted: &PrepareRequest) -> Vec<String> {
    let plan = PrepareAssessment::of(facts, wanted).prepared(&places()).plan;
    assert_eq!(plan.defect(), None);
    plan.steps().map(|step| step.id.clone()).collect()
}

#[test]
fn nothing_is_to_be_done_where_everything_is_there() {
    let (facts, wanted) = (facts(set_up()), wanted());
    assert_eq!(unmet(&facts, &wanted), [""; 0]);
    let made = PrepareAssessment::of(&facts, &wanted).prepared(&places());
    assert!(made.plan.is_empty() && made.plan.verify.is_empty() && made.files.is_empty());
    assert_eq!(PrepareAssessment::of(&facts, &wanted).printed().sql, [""; 0]);
}

#[test]
fn settings_are_judged_by_what_is_in_force_and_by_what_the_files_say() {
    let file = |value: &str| Some(FileValue { value: value.into(), file: "/data/x.conf".into(), line: 3 });
    let with = |name: &'static str, value: &str, written: Option<FileValue>| {
        let facts = changed(name, |now| {
            now.value = value.to_string();
            now.file.clone_from(&written);
        });
        unmet(&facts, &wanted()).join(", ")
    };
    assert_eq!(with("wal_level", "minimal", None), "wal_level missing");
    assert_eq!(with("wal_level", "minimal", file("Logical")), "wal_level restart");
    assert_eq!(with("wal_level", "logical", None), "");
    // It was lowered for the next start.
    assert_eq!(with("wal_level", "replica", file("minimal")), "wal_level missing");
    assert_eq!(with("full_page_writes", "off", file("on")), "full_page_writes missing");
    assert_eq!(with("hot_standby", "off", file("YES")), "hot_standby restart");
    assert_eq!(with("max_wal_senders", "4", None), "max_wal_senders missing");
    assert_eq!(with("max_wal_senders", "5", None), "");
    assert_eq!(with("max_replication_slots", "3", None), "");
    assert_eq!(with("max_replication_slots", "2", None), "max_replication_slots missing");
    assert_eq!(with("wal_log_hints", "off", None), "wal_log_hints missing");
    assert_eq!(with("data_checksums", "on", None), "");
    for (listens, so) in [
        ("localhost", "listen_addresses missing"),
        ("", "listen_addresses missing"),
        ("localhost, 10.0.0.1", ""),
        ("0.0.0.0", ""),
        ("::", "listen_addresses missing"),
        ("node1", ""),
    ] {
        assert_eq!(with("listen_addresses", listens, None), so, "{listens}");
    }
    let by_hand = changed("hot_standby", |now| {
        now.value = "off".into();
        now.source = "command line".into();
    });
    assert_eq!(unmet(&by_hand, &wanted()), ["hot_standby cannot"]);
    assert_eq!(steps(&by_hand, &wanted()), [""; 0]);
}

#[test]
fn checksums_do_instead_of_hints() {
    let mut set_up = set_up();
    set_up.settings.insert("data_checksums".into(), setting("on", "internal"));
    set_up.settings.insert("wal_log_hints".into(), setting("off", "postmaster"));
    assert_eq!(unmet(&facts(set_up), &wanted()), [""; 0]);
}

#[test]
fn slots_of_others_and_more_nodes_count() {
    let mut set_up = set_up();
    set_up.other_slots = 8;
    assert_eq!(unmet(&facts(set_up.clone()), &wanted()), ["max_replication_slots missing"]);
    let text = PrepareAssessment::of(&facts(set_up), &wanted()).printed().sql;
    assert_eq!(text, ["ALTER SYSTEM SET max_replication_slots = '11';"]);
    // Where no slots are wanted, none are needed.
    let none = changed("max_replication_slots", |now| now.value = "0".into());
    assert_eq!(unmet(&none, &PrepareRequest { slots: false, ..wanted() }), [""; 0]);
}

#[test]
fn archiving_is_set_up_where_it_was_asked_for() {
    let archives = PrepareRequest {
        archive_command: Some("cp %p /archive/%f".into()),
        restore_command: Some("cp /archive/%f %p".into()),
        ..wanted()
    };
    let found = unmet(&facts(set_up()), &archives);
    assert_eq!(found, ["archive_mode missing", "archive_command missing", "restore_command missing"]);
    let work_facts = facts(set_up());
    assert_eq!(PrepareAssessment::of(&work_facts, &archives).restarts(), ["archive_mode"]);
    // While archiving is off, the server does not show the command that the file has.
    let waits = changed("archive_command", |now| {
        now.file = Some(FileValue { value: "cp %p /archive/%f".into(), file: "/x".into(), line: 1 });
    });
    assert_eq!(unmet(&waits, &archives), ["archive_mode missing", "restore_command missing"]);
    let library = changed("archive_library", |now| now.value = "basic_archive".into());
    assert_eq!(failed(&library, &archives), ["archive_library"]);
}

#[test]
fn a_role_gets_exactly_what_it_lacks() {
    let mut set_up = set_up();
    set_up.roles.clear();
    set_up.database = None;
    let work_facts = facts(set_up.clone());
    let printed = PrepareAssessment::of(
        &work_facts,
        &PrepareRequest {
            role: "it's".into(),
            database: "d\"b".into(),
            replication_role: "it's".into(),
            ..wanted()
        },
    )
    .printed();
    assert_eq!(
        printed.sql,
        [
            "CREATE ROLE \"it's\" LOGIN REPLICATION;",
            "GRANT pg_monitor TO \"it's\";",
            "GRANT pg_checkpoint TO \"it's\";",
            "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name TO \"it's\";",
            "CREATE DATABASE \"d\"\"b\" OWNER \"it's\";",
        ]
    );
    assert_eq!(printed.sql_in_database.len(), 3, "{printed:?}");
    // Earlier versions have less to grant.
    set_up.version_num = 140_000;
    let work_facts = facts(set_up.clone());
    assert_eq!(PrepareAssessment::of(&work_facts, &wanted()).printed().sql.len(), 3);
    // A superuser needs nothing but a connection.
    let all = RoleNow { login: true, superuser: true, ..RoleNow::default() };
    set_up.roles.insert("repmgr".into(), all);
    set_up.database = Some(DatabaseNow { may_connect: true, may_create: true, ..DatabaseNow::default() });
    assert_eq!(unmet(&facts(set_up.clone()), &wanted()), [""; 0]);
    // On a standby all of it is its primary's.
    set_up.roles.clear();
    set_up.in_recovery = true;
    assert_eq!(unmet(&facts(set_up), &wanted()), [""; 0]);
}

/// Rules that allow no connection.
fn refused() -> ServerSetup {
    ServerSetup { rules: Some(vec![rule(1, "reject")]), ..set_up() }
}

#[test]
fn lines_are_written_once_for_all_nodes_and_taken_back_if_the_server_refuses_them() {
    let (work_facts, asked) = (facts(refused()), wanted());
    assert_eq!(
        unmet(&work_facts, &asked),
        ["pg_hba missing", "pg_hba missing", "password missing", "pgpass missing"]
    );
    assert_eq!(
        steps(&work_facts, &asked),
        ["pgpass_0", "password_repmgr", "pg_hba", "pg_hba_errors", "reload"]
    );
    let made = PrepareAssessment::of(&work_facts, &asked).prepared(&places());
    assert_eq!(made.plan.rollback.len(), 1);
    let hba = made.files.iter().find(|file| file.path.ends_with("pg_hba.conf")).unwrap();
    assert_eq!(hba.new.matches("# node2\n").count(), 2, "{}", hba.new);
    // No secret in the plan.
    let shown = format!("{} {:?}", serde_json::to_string(&made.plan).unwrap(), made.files);
    assert!(!shown.contains("hunter") && !shown.contains("SCRAM-SHA-256$"), "{shown}");
    assert!(made.plan.steps().all(|step| !matches!(step.op, Op::File(FileOp::WriteFile { .. }))));
    // A network stands for the nodes.
    let network = PrepareRequest { networks: vec![hba::network("10.0.0.0/8").unwrap()], ..asked };
    let made = PrepareAssessment::of(&work_facts, &network).printed();
    assert_eq!(made.pg_hba.len(), 2, "{made:?}");
}

#[test]
fn a_password_is_needed_only_where_a_rule_asks_for_it() {
    let missing = PrepareRequest { passwords: BTreeMap::new(), ..wanted() };
    assert_eq!(failed(&facts(set_up()), &missing), [""; 0]);
    assert_eq!(failed(&facts(refused()), &missing), ["password"]);
    assert!(PrepareAssessment::of(&facts(refused()), &missing).lacks_password());
    let by_trust = PrepareRequest { method: "trust".into(), ..missing.clone() };
    assert_eq!(failed(&facts(refused()), &by_trust), [""; 0]);
    let unwanted = BTreeMap::from([("repmgr".to_string(), Password::Unwanted)]);
    let without = PrepareRequest { passwords: unwanted, ..wanted() };
    assert_eq!(failed(&facts(refused()), &without), ["no_password"]);
    let by_certificate = PrepareRequest { method: "cert".into(), ..without };
    assert_eq!(failed(&facts(refused()), &by_certificate), [""; 0]);
    let work_facts = facts(refused());
    let lines = PrepareAssessment::of(&work_facts, &by_certificate).printed().pg_hba;
    assert!(lines.iter().all(|line| line.starts_with("hostssl ")), "{lines:?}");
}

#[test]
fn the_password_of_the_cluster_is_not_changed_unasked() {
    let mut set_up = refused();
    let stored = |password: &str| Some(crate::pg::verifier::scram_verifier(&Secret::new(password)));
    set_up.roles.get_mut("repmgr").unwrap().stored = stored("hunter-two");
    assert_eq!(failed(&facts(set_up.clone()), &wanted()), [""; 0]);
    assert!(!steps(&facts(set_up.clone()), &wanted()).contains(&"password_repmgr".to_string()));
    set_up.roles.get_mut("repmgr").unwrap().stored = stored("another");
    assert_eq!(failed(&facts(set_up.clone()), &wanted()), ["password"]);
    let forced = PrepareRequest { force: true, ..wanted() };
    assert_eq!(failed(&facts(set_up.clone()), &forced), [""; 0]);
    assert!(steps(&facts(set_up.clone()), &forced).contains(&"password_repmgr".to_string()));
    // On a standby it is not to be changed at all.
    set_up.in_recovery = true;
    assert_eq!(failed(&facts(set_up.clone()), &forced), ["password"]);
    set_up.roles.get_mut("repmgr").unwrap().stored = None;
    assert!(unmet(&facts(set_up), &forced).contains(&"password cannot".to_string()));
}

#[test]
fn what_cannot_be_written_stops_everything() {
    let mut work_facts = facts(refused());
    work_facts.hba.closed = Some("This user may not.".into());
    work_facts.passfiles[0].closed = Some("This user may not.".into());
    assert_eq!(failed(&work_facts, &wanted()), ["writable", "writable"]);
    // A file that nothing has to be written to may be as it is.
    let mut work_facts = facts(set_up());
    work_facts.hba.closed = Some("This user may not.".into());
    assert_eq!(failed(&work_facts, &wanted()), [""; 0]);
    let lesser = ServerSetup { superuser: false, rules: None, ..set_up() };
    assert_eq!(failed(&facts(lesser.clone()), &wanted()), ["superuser"]);
    assert_eq!(unmet(&facts(lesser), &wanted()), ["pg_hba cannot"]);
}

#[test]
fn a_rule_above_the_block_counts_and_one_below_does_not() {
    let block = "# pgbaton: begin\nhost repmgr repmgr 10.0.0.9/32 md5\n# pgbaton: end\n";
    let at = |line, text: String| {
        let mut work_facts = facts(ServerSetup { rules: Some(vec![rule(line, "reject")]), ..set_up() });
        work_facts.hba.text = Some(text);
        failed(&work_facts, &wanted())
    };
    assert_eq!(at(1, format!("host all,replication all all reject\n{block}")), ["pg_hba_order"]);
    assert_eq!(at(4, format!("{block}host all,replication all all reject\n")), [""; 0]);
    let mut work_facts = facts(ServerSetup { rules: Some(vec![rule(1, "reject")]), ..set_up() });
    work_facts.hba.text = Some(format!("host all,replication all all reject\n{block}"));
    let forced = PrepareRequest { force: true, ..wanted() };
    let made = PrepareAssessment::of(&work_facts, &forced).prepared(&places());
    let hba = made.files.iter().find(|file| file.path.ends_with("pg_hba.conf")).unwrap();
    assert!(hba.new.starts_with("# pgbaton: begin") && hba.new.contains("10.0.0.9"), "{}", hba.new);
}

#[test]
fn a_rule_that_was_made_for_our_connections_is_not_overridden_unasked() {
    let with = |rule: Rule, force: bool| {
        let work_facts = facts(ServerSetup { rules: Some(vec![rule]), ..set_up() });
        failed(&work_facts, &PrepareRequest { force, ..wanted() })
    };
    // Unknown cases may be refused by default.
    assert_eq!(with(rule(1, "reject"), false), [""; 0]);
    let anywhere =
        Rule { address: Some("0.0.0.0".into()), netmask: Some("0.0.0.0".into()), ..rule(1, "reject") };
    assert_eq!(with(anywhere, false), [""; 0]);
    assert_eq!(with(rule(1, "ldap"), false), [""; 0]);
    let host = Rule { address: Some("10.0.0.2".into()), netmask: None, ..rule(1, "reject") };
    assert_eq!(with(host.clone(), false), ["pg_hba_order"]);
    assert_eq!(with(host, true), [""; 0]);
    let role = Rule { user_name: Some(vec!["repmgr".into()]), ..rule(1, "ldap") };
    assert_eq!(with(role.clone(), false), ["pg_hba_order"]);
    // Also where there is a block above it already.
    let mut work_facts =
        facts(ServerSetup { rules: Some(vec![Rule { line_number: 4, ..role }]), ..set_up() });
    work_facts.hba.text = Some("# pgbaton: begin\n# pgbaton: end\n".into());
    assert_eq!(failed(&work_facts, &wanted()), ["pg_hba_order"]);
}

#[test]
fn a_conninfo_that_insists_on_tls_gets_lines_for_tls_and_a_server_that_has_it() {
    let mut asked = wanted();
    asked.nodes.iter_mut().for_each(|node| node.tls = Tls::Always);
    let mut work_facts = facts(refused());
    assert_eq!(failed(&work_facts, &asked), ["ssl"]);
    assert!(unmet(&work_facts, &asked).contains(&"ssl cannot".to_string()));
    work_facts.around.ssl = true;
    assert_eq!(failed(&work_facts, &asked), [""; 0]);
    let lines = PrepareAssessment::of(&work_facts, &asked).printed().pg_hba;
    assert!(lines.iter().all(|line| line.starts_with("hostssl ")), "{lines:?}");
    // A line from before stays that node's, also when another one is added.
    work_facts.hba.text = Some(
        "# pgbaton: begin\nhost repmgr repmgr 10.0.0.1/32 scram-sha-256  # node1\n# pgbaton: end\n".into(),
    );
    let first = Rule {
        line_number: 2,
        database: Some(vec!["repmgr".into(), "replication".into()]),
        address: Some("10.0.0.1".into()),
        ..rule(2, "scram-sha-256")
    };
    work_facts.set_up.as_mut().unwrap().rules = Some(vec![first]);
    let made = PrepareAssessment::of(&work_facts, &asked).prepared(&places());
    let hba = made.files.iter().find(|file| file.path.ends_with("pg_hba.conf")).unwrap();
    assert!(hba.new.contains("10.0.0.1/32 scram") && hba.new.contains("# node2"), "{}", hba.new);
    // A client that does not require it is allowed by either.
    assert!(
        PrepareAssessment::of(&work_facts, &wanted())
            .printed()
            .pg_hba
            .iter()
            .all(|line| line.starts_with("host "))
    );
}

#[test]
fn only_our_own_address_is_added_to_those_that_somebody_has_chosen() {
    let set = |now: &str, hosts: &[&str]| {
        let facts = changed("listen_addresses", |setting| setting.value = now.into());
        let own_hosts = hosts.iter().map(ToString::to_string).collect();
        PrepareAssessment::of(&facts, &PrepareRequest { own_hosts, ..wanted() }).printed().sql.join("")
    };
    let to = |value: &str| format!("ALTER SYSTEM SET listen_addresses = '{value}';");
    assert_eq!(set("localhost", &["node1", "10.0.0.1"]), to("*"));
    assert_eq!(set("", &["node1", "10.0.0.1"]), to("*"));
    assert_eq!(set("", &["localhost", "127.0.0.1"]), to("localhost"));
    assert_eq!(set("127.0.0.1, 192.168.0.1", &["node1", "10.0.0.1"]), to("127.0.0.1, 192.168.0.1,10.0.0.1"));
    assert_eq!(set("192.168.0.1", &["node1"]), to("192.168.0.1,node1"));
    assert_eq!(set("192.168.0.1,10.0.0.1", &["node1", "10.0.0.1"]), "");
}

#[test]
fn without_alter_system_there_is_a_file() {
    let mut poor = set_up();
    poor.alter_system_allowed = false;
    poor.settings.insert("wal_level".into(), setting("minimal", "postmaster"));
    assert_eq!(steps(&facts(poor.clone()), &wanted()), ["own_conf", "include", "last_wal_level", "reload"]);
    let mut included = facts(poor.clone());
    included.conf_directory = Some("/data/conf.d".into());
    assert_eq!(steps(&included, &wanted()), ["own_conf", "last_wal_level", "reload"]);
    let auto = FileValue { value: "minimal".into(), file: "/data/postgresql.auto.conf".into(), line: 3 };
    poor.settings.get_mut("wal_level").unwrap().file = Some(auto);
    assert_eq!(failed(&facts(poor), &wanted()), ["auto_conf"]);
    let mut closed = changed("wal_level", |now| now.value = "minimal".into());
    assert_eq!(steps(&closed, &wanted()), ["set_wal_level", "reload"]);
    closed.auto_conf_closed = Some("This user may not.".into());
    assert_eq!(steps(&closed, &wanted()), ["own_conf", "include", "last_wal_level", "reload"]);
}

#[test]
fn standbys_are_raised_before_their_primary() {
    let mut work_facts = changed("max_wal_senders", |now| now.value = "1".into());
    work_facts.has_standbys = true;
    let asked = wanted();
    let plan = PrepareAssessment::of(&work_facts, &asked).prepared(&places()).plan;
    assert!(plan.checks.iter().any(|check| check.name == "standbys_first"));
}

#[test]
fn a_host_without_a_server_has_a_password_file_only() {
    let mut work_facts = facts(set_up());
    work_facts.set_up = None;
    assert_eq!(unmet(&work_facts, &wanted()), ["pgpass missing"]);
    assert_eq!(steps(&work_facts, &wanted()), ["pgpass_0"]);
    let missing = PrepareRequest { passwords: BTreeMap::new(), ..wanted() };
    assert_eq!(failed(&work_facts, &missing), ["password"]);
}
