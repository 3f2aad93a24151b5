use super::edit::{BEGIN, END, Line, find, key, with_lines};
use super::*;

fn rule(line: usize, text: &str) -> Rule {
    let words: Vec<&str> = text.split_whitespace().collect();
    let list = |text: &str| Some(text.split(',').map(str::to_string).collect());
    let local = words[0] == "local";
    let rest = if local { &words[3..] } else { &words[4..] };
    let (address, mask) = match (local, words[3].split_once('/')) {
        (true, _) => (None, None),
        (false, Some((address, mask))) => (Some(address.to_string()), Some(mask.to_string())),
        (false, None) => (Some(words[3].to_string()), None),
    };
    Rule {
        file_name: None,
        line_number: line,
        kind: Some(words[0].to_string()),
        database: list(words[1]),
        user_name: list(words[2]),
        address,
        netmask: mask,
        auth_method: Some(rest[0].to_string()),
        error: None,
    }
}

fn rules(text: &str) -> Vec<Rule> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line)| rule(n, line))
        .collect()
}

fn from(source: &str) -> Connection {
    let from = match source {
        "local" => Source::Socket,
        address => Source::Net(network(address).unwrap()),
    };
    Connection {
        of: "node2".into(),
        from,
        purpose: Purpose::Database("repmgr".into()),
        role: "repmgr".into(),
        tls: Tls::Either,
    }
}

fn judged_in(text: &str, connection: &Connection, around: &HbaContext) -> String {
    match decide(&rules(text), connection, around, "scram-sha-256") {
        Decision::NoRule => "none".into(),
        Decision::LetIn(rule) => format!("in by {}", rule.line_number),
        Decision::Otherwise(rule) => format!("not by {}", rule.line_number),
    }
}

fn judged(text: &str, source: &str) -> String {
    judged_in(text, &from(source), &HbaContext::default())
}

#[test]
fn the_first_rule_that_matches_decides() {
    let text = "host all all 10.0.0.0/255.0.0.0 reject\nhost all all 0.0.0.0/0.0.0.0 md5";
    assert_eq!(judged(text, "10.1.2.3"), "not by 0");
    assert_eq!(judged(text, "11.1.2.3"), "in by 1");
    assert_eq!(judged(text, "::1"), "none");
    assert_eq!(judged(text, "local"), "none");
    assert_eq!(judged("local all all peer\nhost all all all trust", "local"), "not by 0");
    assert_eq!(judged("local all all trust", "local"), "in by 0");
    assert_eq!(judged("host all all all ident", "10.0.0.1"), "not by 0");
    assert_eq!(judged("host repmgr repmgr 10.0.0.2/255.255.255.255 cert", "10.0.0.2"), "in by 0");
    assert_eq!(judged("host repmgr repmgr fe80::/ffff:: trust", "fe80::7"), "in by 0");
    // A mask with gaps, which the server accepts.
    assert_eq!(judged("host all all 10.0.7.0/255.0.255.0 trust", "10.1.7.1"), "not by 0");
}

#[test]
fn names_and_keywords_are_understood() {
    let other = judged("host other,postgres all all trust", "10.0.0.1");
    assert_eq!(other, "none");
    assert_eq!(judged("host other,repmgr other,repmgr all trust", "10.0.0.1"), "in by 0");
    assert_eq!(judged("host sameuser all all trust", "10.0.0.1"), "in by 0");
    assert_eq!(judged("host samerole all all trust", "10.0.0.1"), "in by 0");
    assert_eq!(judged("host all +repmgr all trust", "10.0.0.1"), "in by 0");
    assert_eq!(judged("host all +dba all trust", "10.0.0.1"), "none");
    let around = HbaContext {
        member_of: BTreeMap::from([("repmgr".into(), BTreeSet::from(["dba".to_string()]))]),
        matches: BTreeSet::from([("/^rep".to_string(), "repmgr".to_string())]),
        ..HbaContext::default()
    };
    assert_eq!(judged_in("host all +dba all trust", &from("10.0.0.1"), &around), "in by 0");
    assert_eq!(judged_in("host /^rep /^rep all trust", &from("10.0.0.1"), &around), "in by 0");
    assert_eq!(judged_in("host all /^x all trust", &from("10.0.0.1"), &around), "none");
}

#[test]
fn all_databases_are_not_replication() {
    let replication = Connection { purpose: Purpose::Replication, ..from("10.0.0.1") };
    let judged = |text| judged_in(text, &replication, &HbaContext::default());
    assert_eq!(judged("host all all all trust"), "none");
    assert_eq!(judged("host all all all reject\nhost replication all all md5"), "in by 1");
    // A database of that name cannot be distinguished from the keyword in the server's view; for a database the keyword is nothing.
    let other = Connection { purpose: Purpose::Database("x".into()), ..from("10.0.0.1") };
    assert_eq!(judged_in("host replication all all md5", &other, &HbaContext::default()), "none");
}

#[test]
fn keywords_for_addresses_are_this_hosts() {
    let around = HbaContext {
        own: BTreeSet::from(["10.0.0.1".parse().unwrap()]),
        networks: vec![network("10.0.0.0/24").unwrap()],
        hosts: BTreeMap::from([("node2".to_string(), vec!["10.0.0.2".parse().unwrap()])]),
        ..HbaContext::default()
    };
    let judged = |text, source| judged_in(text, &from(source), &around);
    assert_eq!(judged("host all all samehost trust", "10.0.0.1"), "in by 0");
    assert_eq!(judged("host all all samehost trust", "10.0.0.2"), "none");
    assert_eq!(judged("host all all samenet trust", "10.0.0.2"), "in by 0");
    assert_eq!(judged("host all all samenet trust", "10.0.1.2"), "none");
    assert_eq!(judged("host all all node2 trust", "10.0.0.2"), "in by 0");
    assert_eq!(judged("host all all node3 trust", "10.0.0.2"), "none");
}

#[test]
fn encryption_decides_which_rules_are_looked_at() {
    let text = "hostssl all all all reject\nhostnossl all all all md5";
    let ssl = HbaContext { ssl: true, ..HbaContext::default() };
    let with = |tls| Connection { tls, ..from("10.0.0.1") };
    // It tries with encryption first and without after that.
    assert_eq!(judged_in(text, &with(Tls::Either), &ssl), "in by 1");
    assert_eq!(judged_in(text, &with(Tls::Always), &ssl), "not by 0");
    assert_eq!(judged_in(text, &with(Tls::Never), &ssl), "in by 1");
    // The server has none: then no connection is encrypted.
    assert_eq!(judged(text, "10.0.0.1"), "in by 1");
    assert_eq!(judged("hostgssenc all all all trust", "10.0.0.1"), "none");
    assert_eq!(judged("hostnogssenc all all all trust", "10.0.0.1"), "in by 0");
}

#[test]
fn a_network_is_let_in_as_a_whole_or_not() {
    let text = "host all all 10.0.0.5/255.255.255.255 md5\nhost all all 10.0.0.0/255.0.0.0 md5";
    assert_eq!(judged(text, "10.0.0.0/24"), "not by 0");
    assert_eq!(judged(text, "10.1.0.0/24"), "in by 1");
    assert_eq!(judged("host all all 0.0.0.0/0.0.0.0 md5", "0.0.0.0/0"), "in by 0");
    assert_eq!(judged(text, "0.0.0.0/0"), "not by 0");
    assert!(network("10.0.0.0/33").is_none());
    assert!(network("node2").is_none());
}

#[test]
fn other_methods_count_only_where_they_were_asked_for() {
    let connection = from("10.0.0.1");
    let rules = rules("host all all all ldap");
    let around = HbaContext::default();
    assert!(matches!(decide(&rules, &connection, &around, "ldap"), Decision::LetIn(_)));
    assert!(matches!(decide(&rules, &connection, &around, "md5"), Decision::Otherwise(_)));
    assert!(needs_password("md5") && !needs_password("trust"));
}

#[test]
fn a_line_lets_its_connection_in() {
    for (source, purpose, role) in [
        ("10.0.0.2", Purpose::Database("repmgr".into()), "repmgr"),
        ("fd00::2", Purpose::Replication, "repmgr"),
        ("10.0.0.0/8", Purpose::Replication, "a-b"),
        ("local", Purpose::Database("all".into()), "repmgr"),
    ] {
        let connection = Connection { purpose, role: role.into(), ..from(source) };
        let line = connection.line("scram-sha-256", true);
        assert!(line.ends_with("scram-sha-256") && line.contains(&quote_hba(role)), "{line}");
        assert!(key(&line).is_some(), "{line}");
    }
    let quoted = Connection { purpose: Purpose::Database("all".into()), ..from("local") }.line("trust", true);
    assert!(quoted.starts_with("local \"all\""), "{quoted}");
}

const INITDB: &str = "# PostgreSQL Client Authentication Configuration File\n\
                      \n\
                      # TYPE  DATABASE        USER            ADDRESS                 METHOD\n\
                      \n\
                      # \"local\" is for Unix domain socket connections only\n\
                      local   all             all                                     peer\n\
                      host    all             all             127.0.0.1/32            reject\n";

fn line(rule: &str, of: &str) -> Line {
    Line { rule: rule.into(), of: of.into() }
}

fn edited(text: &str, lines: &[Line]) -> String {
    with_lines(text, lines, &BTreeSet::new(), false).unwrap()
}

#[test]
fn a_new_block_goes_before_the_first_rule() {
    let out = edited(INITDB, &[line("host repmgr repmgr 10.0.0.2/32 md5", "node2")]);
    let expected = format!(
        "{BEGIN}\n# Written by \"pgbaton node prepare\", which changes what is between these two marks.\n\
         host repmgr repmgr 10.0.0.2/32 md5  # node2\n{END}\n\n# \"local\""
    );
    assert!(out.contains(&expected), "{out}");
    let without: String = out.replace(expected.strip_suffix("# \"local\"").unwrap(), "");
    assert_eq!(without, INITDB);
    // With an include, with a line that goes on, with nothing at all, and without a last line end.
    for (text, place) in [
        ("include hba.d/first\nhost a b all md5\n", 0),
        ("# c\n\nhost a \\\n  b all md5\n", 2),
        ("", 0),
        ("# only comments", 0),
        ("\n# c \\\nhost a b all md5\n", 1),
    ] {
        let out = edited(text, &[line("local a b trust", "n")]);
        assert_eq!(find(&out).unwrap().unwrap().begin, place, "{out}");
    }
}

#[test]
fn crlf_stays_crlf() {
    let text = INITDB.replace('\n', "\r\n");
    let out = edited(&text, &[line("local a b trust", "n")]);
    assert!(out.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "{out:?}");
    let again = edited(&out, &[line("local a c trust", "n")]);
    assert!(again.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "{again:?}");
    assert_eq!(again.lines().count(), out.lines().count() + 1);
}

#[test]
fn a_block_stays_where_it_is_and_keeps_what_was_added_by_hand() {
    let once = edited("local all all peer\n", &[line("host a b 10.0.0.1/32 md5", "node1")]);
    let moved_down = format!("local x x peer\n{once}");
    let by_hand = moved_down.replace(END, &format!("host by hand 10.0.0.9/32 md5\n# mine\n{END}"));
    let twice = edited(&by_hand, &[line("host a b 10.0.0.2/32 md5", "node2")]);
    assert!(twice.starts_with("local x x peer\n# pgbaton: begin"), "{twice}");
    for kept in ["10.0.0.1/32", "10.0.0.9/32", "10.0.0.2/32", "# mine"] {
        assert!(twice.contains(kept), "{kept} in {twice}");
    }
    assert_eq!(twice.matches("Written by").count(), 1);
    assert_eq!(edited(&twice, &[line("host a b 10.0.0.2/32 md5", "node2")]), twice);
    let top = with_lines(&twice, &[], &BTreeSet::new(), true).unwrap();
    assert!(top.starts_with("# pgbaton: begin") && top.contains("# mine"), "{top}");
    assert_eq!(find(&top).unwrap().unwrap().begin, 0);
}

#[test]
fn what_is_outdated_in_the_block_is_replaced() {
    let once = edited("local all all peer\n", &[line("host a b 10.0.0.1/32 md5", "node1")]);
    let other_method = edited(&once, &[line("host a b 10.0.0.1/32 scram-sha-256", "node1")]);
    assert!(!other_method.contains("md5") && other_method.contains("scram"), "{other_method}");
    // The node has another address now.
    let current = BTreeSet::from([("node1".to_string(), "host a b 10.0.0.7/32".to_string())]);
    let out = with_lines(&once, &[line("host a b 10.0.0.7/32 md5", "node1")], &current, false).unwrap();
    assert!(!out.contains("10.0.0.1/32") && out.contains("10.0.0.7/32"), "{out}");
}

#[test]
fn a_name_in_a_comment_stays_in_it() {
    for name in
        ["x\nhost all all 0.0.0.0/0 trust", "x\rhost all all 0.0.0.0/0 trust", "x\\", "x\\\n", " x\t\u{0}"]
    {
        let new = line("host a b 10.0.0.1/32 md5", name);
        assert!(!new.to_string().contains(['\n', '\r', '\\', '\0']), "{new}");
        let out = edited("local all all peer\n", std::slice::from_ref(&new));
        let rules = out.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        assert_eq!(rules.collect::<Vec<_>>(), [new.to_string().as_str(), "local all all peer"]);
        assert!(!out.contains('\\'), "{out}");
        // It is found again by its name.
        let current = BTreeSet::from([(name.to_string(), "host a b 10.0.0.7/32".to_string())]);
        let moved = with_lines(&out, &[line("host a b 10.0.0.7/32 md5", name)], &current, false).unwrap();
        assert!(!moved.contains("10.0.0.1/32"), "{moved}");
    }
    // A name of which nothing is left is not that of the lines without a comment.
    let current = BTreeSet::from([("\n".to_string(), "host a b 10.0.0.7/32".to_string())]);
    let by_hand = format!("{BEGIN}\nhost a b 10.0.0.1/32 md5\n{END}\n");
    assert!(with_lines(&by_hand, &[], &current, false).unwrap().contains("10.0.0.1/32"));
    assert_eq!(line("local a b md5", "node 1").to_string(), "local a b md5  # node 1");
}

#[test]
fn quoted_names_are_whole_words() {
    let names = ["my db", "a#b", "a # b", "say \"x y\"", "\"", "a  b"];
    for (database, role) in
        names.iter().flat_map(|name| [(*name, "repmgr"), ("repmgr", *name), (*name, *name)])
    {
        let rule = |address: &str| {
            let purpose = Purpose::Database(database.into());
            Connection { purpose, role: role.into(), ..from(address) }.line("md5", true)
        };
        let rules = ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"].map(rule);
        let current: BTreeSet<(String, String)> =
            (1..=3).zip(&rules).map(|(node, rule)| (format!("node{node}"), key(rule).unwrap())).collect();
        assert_eq!(current.iter().map(|(_, key)| key).collect::<BTreeSet<_>>().len(), 3, "{current:?}");
        let [one, two, three] = [1, 2, 3].map(|at| line(&rules[at - 1], &format!("node{at}")));
        let two_nodes =
            with_lines("local all all peer\n", &[one.clone(), two.clone()], &current, false).unwrap();
        // A node is added, and none is removed.
        let all = with_lines(&two_nodes, std::slice::from_ref(&three), &current, false).unwrap();
        for line in [&one, &two, &three] {
            assert_eq!(all.matches(&line.to_string()).count(), 1, "{line} in {all}");
        }
        assert_eq!(with_lines(&all, &[one, two, three], &current, false).unwrap(), all);
        // One of them has another address.
        let moved = BTreeSet::from([("node1".to_string(), key(&rule("10.0.0.9/32")).unwrap())]);
        let out = with_lines(&all, &[], &moved, false).unwrap();
        assert!(!out.contains("10.0.0.1/32") && out.contains("10.0.0.2/32"), "{out}");
    }
    assert_eq!(key("host a b 10.0.0.1/32# md5"), None);
    assert_eq!(key("# host a b 10.0.0.1/32 md5"), None);
}

#[test]
fn marks_that_are_no_pair_are_refused() {
    for text in [BEGIN.to_string(), format!("{END}\n{BEGIN}\n"), format!("{BEGIN}\n{BEGIN}\n{END}\n")] {
        assert!(find(&text).unwrap_err().contains("lines 1"), "{text}");
        assert!(with_lines(&text, &[], &BTreeSet::new(), false).is_err());
    }
    assert_eq!(find("host all all all md5\n").unwrap(), None);
}
