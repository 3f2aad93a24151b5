//! Which servers clients can be given, by the records of the nodes: for `cluster uri`. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::error::{Issue, Severity};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::pg::conninfo::Conninfo;
use crate::registry::NodeType;

/// The port of a conninfo that names none.
const DEFAULT_PORT: u16 = 5432;

/// Values of `sslmode` that keep a client from connecting without TLS. The others say nothing about the network of the clients.
const PROTECTING: [&str; 3] = ["require", "verify-ca", "verify-full"];

/// An address of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientHost {
    /// The node.
    pub node_id: i32,
    /// Its name.
    pub node_name: String,
    /// What it is registered as.
    #[serde(rename = "type")]
    pub node_type: NodeType,
    /// Host name, address or socket directory.
    pub host: String,
    /// The address, if the host is named besides.
    pub hostaddr: Option<String>,
    /// The port.
    pub port: u16,
}

/// What clients can be given.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// The primary first, then the others by priority and node id.
    pub hosts: Vec<ClientHost>,
    /// Keywords of libpq with the value that all these nodes agree on.
    pub settings: BTreeMap<&'static str, String>,
    /// Which nodes were left out, and why; settings that they do not agree on.
    pub issues: Vec<Issue>,
}

/// The issues of a cluster that a client should not be sent there without.
const OF_THE_CLUSTER: [&str; 6] = [
    "nobody_answers",
    "no_primary",
    "split_brain",
    "primary_outdated",
    "inactive_but_running",
    "wrong_server",
];

/// Says whether an issue of the cluster is one for those who connect clients to it.
pub fn concerns_clients(issue: &Issue) -> bool {
    OF_THE_CLUSTER.contains(&issue.code)
}

/// Selects the nodes, `primary` first: the one that accepts writes, if it is exactly one. With `tcp_only` only those that a driver without
/// Unix sockets can name.
pub fn clients(facts: &ClusterFacts, primary: Option<i32>, tcp_only: bool) -> Clients {
    let mut nodes: Vec<&NodeFacts> =
        facts.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness).collect();
    nodes.sort_by_key(|node| {
        let row = &node.row;
        let registered = row.node_type == NodeType::Primary;
        (Some(row.node_id) != primary, !registered, Reverse(row.priority), row.node_id)
    });
    let mut out = Clients { hosts: Vec::new(), settings: BTreeMap::new(), issues: Vec::new() };
    let mut conninfos = Vec::new();
    for node in nodes {
        match usable(facts, node, tcp_only) {
            Ok((conninfo, hosts)) => {
                out.hosts.extend(hosts);
                conninfos.push(conninfo);
            }
            Err(why) => out.issues.push(why.issue(node)),
        }
    }
    for (keyword, value) in agreed(&conninfos) {
        out.settings.insert(keyword, value);
    }
    let protects = |conninfo: &Conninfo| setting(conninfo, "sslmode").is_some();
    if !out.settings.contains_key("sslmode") && conninfos.iter().any(protects) {
        let message = "the connection string does not contain sslmode";
        let issue = Issue::new(Severity::Notice, "sslmode_differs", message);
        out.issues.push(
            issue
                .detail("The connection strings of the nodes do not have the same one.")
                .hint("Add the sslmode that the clients need."),
        );
    }
    out
}

/// Why a node is left out, with what to do about it.
struct LeftOut {
    severity: Severity,
    detail: String,
    hint: String,
}

impl LeftOut {
    fn issue(self, node: &NodeFacts) -> Issue {
        let message = format!("node \"{}\" is left out of the connection string", node.row.node_name);
        let issue = Issue::new(self.severity, "node_left_out", message).node(node.row.node_id);
        issue.detail(self.detail).hint(self.hint)
    }
}

/// Returns the conninfo of a node and the addresses in it, or why there is none for clients.
fn usable(
    facts: &ClusterFacts,
    node: &NodeFacts,
    tcp_only: bool,
) -> Result<(Conninfo, Vec<ClientHost>), LeftOut> {
    let row = &node.row;
    let left_out = |severity, detail: &str, hint: String| LeftOut { severity, detail: detail.into(), hint };
    if !row.active {
        let hint =
            "It is named again when it is registered as active: after \"pgbaton node rejoin\", for instance.";
        return Err(left_out(Severity::Notice, "It is registered as inactive.", hint.into()));
    }
    let register =
        |what: &str| format!("Register \"{}\" again with --force and a conninfo {what}.", row.node_name);
    if let NodeType::Other(_) = row.node_type {
        let hint = format!(
            "Run on \"{}\" the command for its actual type: \"pgbaton standby register --force\" or \"pgbaton primary register --force\".",
            row.node_name
        );
        return Err(left_out(Severity::Warning, "It is registered with an unrecognized type.", hint));
    }
    if let Some(stranger) = facts.stranger(node) {
        let hint = stranger.text.hint.unwrap_or_default();
        return Err(left_out(
            Severity::Warning,
            "A server of another cluster responds at its address.",
            hint,
        ));
    }
    if let Some(twin) = facts.other_node_of_server(node) {
        let detail = format!("Its connection string leads to the server of node \"{}\".", twin.row.node_name);
        return Err(left_out(Severity::Warning, &detail, register("that leads to its own server")));
    }
    let Ok(conninfo) = Conninfo::parse(&row.conninfo) else {
        let detail = "Its record has no valid connection string.";
        return Err(left_out(Severity::Warning, detail, register("that is valid")));
    };
    let addresses = addresses(&conninfo)
        .map_err(|why| left_out(Severity::Warning, why, register("that names host and port")))?;
    if tcp_only && let Some(other) = addresses.iter().map(Address::tcp).find(|host| !is_for_url(host)) {
        let detail = match is_socket(other) {
            true => format!("Its record names the socket directory \"{other}\", but JDBC uses TCP only."),
            false => format!("A JDBC URL cannot contain the host \"{other}\"."),
        };
        let hint = "Use --syntax uri or --syntax keyword, or register it with a host name.";
        return Err(left_out(Severity::Warning, &detail, hint.into()));
    }
    let host = |address: Address| ClientHost {
        node_id: row.node_id,
        node_name: row.node_name.clone(),
        node_type: row.node_type.clone(),
        host: address.host,
        hostaddr: address.hostaddr,
        port: address.port,
    };
    Ok((conninfo, addresses.into_iter().map(host).collect()))
}

/// One element of the list of hosts.
struct Address {
    host: String,
    hostaddr: Option<String>,
    port: u16,
}

impl Address {
    /// Where a driver connects to that has no `hostaddr`.
    fn tcp(&self) -> &str {
        self.hostaddr.as_deref().unwrap_or(&self.host)
    }
}

/// Returns the addresses that a conninfo itself names, by libpq's rules for lists; what it would take from the environment, a service file
/// or a default is that of this host.
fn addresses(conninfo: &Conninfo) -> Result<Vec<Address>, &'static str> {
    let list = |keyword| {
        let text = conninfo.get(keyword).filter(|text| !text.is_empty());
        text.map(|text| text.split(',').collect::<Vec<&str>>())
    };
    let (names, numbers, ports) = (list("host"), list("hostaddr"), list("port"));
    let Some(count) = numbers.as_ref().or(names.as_ref()).map(Vec::len) else {
        return Err("Its connection string names no host.");
    };
    if names.as_ref().is_some_and(|names| names.len() != count) {
        return Err("Its connection string has different numbers of host names and addresses.");
    }
    if ports.is_none() && conninfo.get("service").is_some() {
        return Err("Its connection string takes the port from a service, which clients do not have.");
    }
    let ports = ports.unwrap_or_else(|| vec![""]);
    if ports.len() != 1 && ports.len() != count {
        return Err("Its connection string has different numbers of hosts and ports.");
    }
    let mut out = Vec::with_capacity(count);
    for i in 0..count {
        let element = |list: &Option<Vec<&str>>| {
            list.as_ref()?.get(i).filter(|text| !text.is_empty()).map(|text| (*text).to_string())
        };
        let (name, number) = (element(&names), element(&numbers));
        let port = match ports.get(i).or(ports.first()).copied().unwrap_or_default().trim() {
            "" => DEFAULT_PORT,
            text => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err("Its connection string has an invalid port."),
            },
        };
        if [&name, &number].into_iter().flatten().any(|text| !text.chars().all(is_plain)) {
            return Err("Its connection string has a host with characters that cannot be printed.");
        }
        if number.as_deref().is_some_and(|number| number.parse::<IpAddr>().is_err()) {
            return Err("Its connection string has an invalid network address.");
        }
        let (host, hostaddr) = match (name, number) {
            (Some(name), number) => (name, number),
            // libpq connects to an address in either place.
            (None, Some(number)) => (number, None),
            (None, None) => return Err("Its connection string names no host."),
        };
        out.push(Address { host, hostaddr, port });
    }
    Ok(out)
}

/// Nothing that a terminal, a shell or a parser acts on instead of showing it.
fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric())
}

/// Says whether a host is a socket, by its directory or by its name in the abstract namespace.
fn is_socket(host: &str) -> bool {
    host.starts_with(['/', '@'])
}

/// Says whether a URL whose hosts are taken as they are can contain it.
fn is_for_url(host: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || !c.is_ascii();
    host.parse::<IpAddr>().is_ok() || host.chars().all(of_a_name)
}

/// Returns the value of a setting that is for clients, too.
fn setting<'a>(conninfo: &'a Conninfo, keyword: &str) -> Option<&'a str> {
    conninfo.get(keyword).filter(|value| match keyword {
        "sslmode" => PROTECTING.contains(value),
        // Anything else is a file of this host.
        "sslrootcert" => *value == "system",
        "connect_timeout" => value.parse::<u32>().is_ok_and(|seconds| seconds > 0),
        _ => false,
    })
}

/// Returns the settings for clients that all have, with the same value.
fn agreed(conninfos: &[Conninfo]) -> Vec<(&'static str, String)> {
    let common = |keyword: &'static str| {
        let value = setting(conninfos.first()?, keyword)?;
        let same = conninfos.iter().all(|other| setting(other, keyword) == Some(value));
        same.then(|| (keyword, value.to_string()))
    };
    ["connect_timeout", "sslmode", "sslrootcert"].into_iter().filter_map(common).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::cluster::examples::{healthy, promote, server};
    use crate::registry::NodeRow;

    /// A healthy cluster whose nodes have these conninfos.
    fn cluster(conninfos: [&str; 3]) -> ClusterFacts {
        let mut facts = healthy();
        for (node, conninfo) in facts.nodes.iter_mut().zip(conninfos) {
            node.row.conninfo = conninfo.into();
        }
        facts
    }

    fn places(clients: &Clients) -> Vec<String> {
        clients.hosts.iter().map(|host| format!("{}:{}", host.host, host.port)).collect()
    }

    fn reasons(clients: &Clients) -> Vec<&str> {
        clients.issues.iter().filter_map(|issue| issue.detail.as_deref()).collect()
    }

    #[test]
    fn the_primary_comes_first_and_then_who_has_priority() {
        let mut facts = cluster(["host=a port=1", "host=b", "host=c port=3 dbname=x user=y password=geheim"]);
        facts.nodes[2].row.priority = 200;
        let witness = NodeFacts {
            row: NodeRow { conninfo: "host=w".into(), ..NodeRow::example(9, NodeType::Witness) },
            server: facts.nodes[0].server.clone(),
        };
        facts.nodes.push(witness);
        let found = clients(&facts, Some(1), false);
        assert_eq!(
            (places(&found), found.issues),
            (vec!["a:1".into(), "c:3".into(), "b:5432".into()], vec![])
        );
        assert!(found.settings.is_empty());
        // What was promoted counts, and what is registered where nothing was.
        assert_eq!(places(&clients(&facts, Some(2), false)), ["b:5432", "a:1", "c:3"]);
        assert_eq!(places(&clients(&facts, None, false)), ["a:1", "c:3", "b:5432"]);
    }

    #[test]
    fn a_node_that_clients_should_not_be_sent_to_is_left_out() {
        let plain = ["host=a", "host=b", "host=c"];
        let mut facts = cluster(plain);
        facts.nodes[0].row.active = false;
        promote(&mut facts, 1, 2);
        let found = clients(&facts, Some(2), false);
        assert_eq!(places(&found), ["b:5432", "c:5432"]);
        assert_eq!((found.issues[0].severity, found.issues[0].node_id), (Severity::Notice, Some(1)));
        assert_eq!(reasons(&found), ["It is registered as inactive."]);

        let mut facts = cluster(plain);
        server(&mut facts, 2).system_identifier = "another".into();
        facts.nodes[1].row.node_type = NodeType::Other("bdr".into());
        let found = clients(&facts, Some(1), false);
        assert_eq!(places(&found), ["a:5432"]);
        assert_eq!(
            reasons(&found),
            [
                "It is registered with an unrecognized type.",
                "A server of another cluster responds at its address."
            ]
        );
        assert!(found.issues.iter().all(|issue| issue.severity == Severity::Warning));

        let mut facts = cluster(plain);
        facts.nodes[2].server = facts.nodes[1].server.clone();
        let found = clients(&facts, Some(1), false);
        assert_eq!(places(&found), ["a:5432", "b:5432"]);
        assert_eq!(reasons(&found), ["Its connection string leads to the server of node \"n2\"."]);
    }

    #[test]
    fn lists_are_read_as_libpq_reads_them() {
        let addresses = |conninfo: &str| {
            addresses(&Conninfo::parse(conninfo).unwrap()).map(|found| {
                let text =
                    |a: Address| format!("{} {} {}", a.host, a.hostaddr.as_deref().unwrap_or("-"), a.port);
                found.into_iter().map(text).collect::<Vec<_>>()
            })
        };
        assert_eq!(addresses("host=a,b port=1,").unwrap(), ["a - 1", "b - 5432"]);
        assert_eq!(addresses("host=a,b port=7").unwrap(), ["a - 7", "b - 7"]);
        assert_eq!(addresses("host=a hostaddr=10.0.0.1").unwrap(), ["a 10.0.0.1 5432"]);
        assert_eq!(addresses("hostaddr=::1 port=1").unwrap(), ["::1 - 1"]);
        assert_eq!(addresses("postgresql://[fe80::1%25eth0]:1/").unwrap(), ["fe80::1%eth0 - 1"]);
        assert_eq!(addresses("host='/run/my pg' service=x port=2").unwrap(), ["/run/my pg - 2"]);
        for wrong in [
            "",
            "dbname=x",
            "service=x",
            "host=a service=x",
            "host=''",
            "host=a,",
            "host=a,b hostaddr=10.0.0.1",
            "host=a,b port=1,2,3",
            "host=a port=0",
            "host=a port=x",
            "host=a port=65536",
            "host=a hostaddr=b",
            "host='a\nb'",
            "host='a\u{202e}b'",
            "host='a\u{1b}[2J'",
        ] {
            assert!(addresses(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn jdbc_has_no_sockets_and_takes_hosts_as_they_are() {
        let facts = cluster(["host=/run/postgresql", "host=b_1.example", "host=c hostaddr=::1"]);
        assert_eq!(places(&clients(&facts, Some(1), false)).len(), 3);
        let found = clients(&facts, Some(1), true);
        assert_eq!(places(&found), ["b_1.example:5432", "c:5432"]);
        assert!(reasons(&found)[0].contains("\"/run/postgresql\""), "{found:?}");
        let found = clients(&cluster(["host=@pg", "host='a?b'", "host='a b'"]), Some(1), true);
        assert_eq!((places(&found).len(), found.issues.len()), (0, 3));
    }

    #[test]
    fn a_setting_is_that_of_all_nodes_and_of_no_file() {
        let all = "sslmode=verify-full sslrootcert=/etc/ca.crt sslcert=c sslkey=k sslpassword=geheim connect_timeout=5 \
                   application_name=x options=y passfile=p password=geheim user=u dbname=d";
        let each = ["a", "b", "c"].map(|host| format!("host={host} {all}"));
        let settings = |conninfos: &[String; 3]| {
            clients(&cluster([&conninfos[0], &conninfos[1], &conninfos[2]]), Some(1), false)
        };
        let found = settings(&each);
        let expected = [("connect_timeout", "5".to_string()), ("sslmode", "verify-full".to_string())];
        assert_eq!((found.settings, found.issues), (BTreeMap::from(expected), vec![]));

        let system = each.clone().map(|one| one.replace("/etc/ca.crt", "system"));
        assert_eq!(settings(&system).settings["sslrootcert"], "system");

        let mut one_other = each.clone();
        one_other[1] = "host=b sslmode=require connect_timeout=2".into();
        let found = settings(&one_other);
        assert!(found.settings.is_empty());
        assert_eq!((found.issues[0].code, found.issues[0].severity), ("sslmode_differs", Severity::Notice));

        // What does not protect is no business of the clients.
        let weak = each.map(|one| one.replace("verify-full", "disable").replace("timeout=5", "timeout=0"));
        let found = settings(&weak);
        assert_eq!((found.settings.len(), found.issues.len()), (0, 0));
    }
}
