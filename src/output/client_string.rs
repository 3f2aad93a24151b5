//! `cluster uri`: a connection string for clients, as libpq and pgjdbc read it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use jiff::Timestamp;
use serde::Serialize;

use crate::assess::clients::{ClientHost, Clients};
use crate::pg::conninfo::Conninfo;

/// Which server clients need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedServer {
    /// The one that accepts writes.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or the primary if no standby responds.
    PreferStandby,
    /// Any.
    Any,
}

impl WantedServer {
    /// The value of `target_session_attrs`. Before libpq 14 only `read-write` and `any` are known.
    fn of_libpq(self) -> &'static str {
        match self {
            Self::Primary => "read-write",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
            Self::Any => "any",
        }
    }

    /// The value of `targetServerType`.
    fn of_jdbc(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "secondary",
            Self::PreferStandby => "preferSecondary",
            Self::Any => "any",
        }
    }
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Syntax {
    /// `postgresql://…`
    Uri,
    /// `host=…`
    Keyword,
    /// `jdbc:postgresql://…`
    Jdbc,
}

/// A connection string, and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientString {
    /// For clients that need this server.
    pub role: WantedServer,
    /// How it is written.
    pub syntax: Syntax,
    /// The whole string.
    pub connection_string: String,
    /// The node that accepts writes, if it is exactly one.
    pub primary_node_id: Option<i32>,
    /// When the nodes were seen: now, or when the topology was saved.
    pub observed_at: Timestamp,
    /// Its hosts, in order.
    pub hosts: Vec<ClientHost>,
    /// Settings of the nodes that are for clients, too, by libpq's keywords.
    pub settings: BTreeMap<&'static str, String>,
}

impl ClientString {
    /// Writes the string.
    pub fn new(
        clients: Clients,
        role: WantedServer,
        syntax: Syntax,
        primary_node_id: Option<i32>,
        observed_at: Timestamp,
    ) -> Self {
        let Clients { hosts, settings, .. } = clients;
        let connection_string = match syntax {
            Syntax::Uri => uri(&hosts, &settings, role),
            Syntax::Keyword => keyword(&hosts, &settings, role),
            Syntax::Jdbc => jdbc(&hosts, &settings, role),
        };
        Self { role, syntax, connection_string, primary_node_id, observed_at, hosts, settings }
    }
}

/// The list of `hostaddr`, if there is any address in it.
fn hostaddr(hosts: &[ClientHost]) -> Option<String> {
    let list: Vec<&str> = hosts.iter().map(|host| host.hostaddr.as_deref().unwrap_or_default()).collect();
    list.iter().any(|address| !address.is_empty()).then(|| list.join(","))
}

fn uri(hosts: &[ClientHost], settings: &BTreeMap<&'static str, String>, role: WantedServer) -> String {
    let places: Vec<String> = hosts
        .iter()
        .map(|host| match is_ipv6(&host.host) {
            true => format!("[{}]:{}", encoded(&host.host, ":"), host.port),
            false => format!("{}:{}", encoded(&host.host, ""), host.port),
        })
        .collect();
    let addresses = hostaddr(hosts).map(|list| ("hostaddr", list));
    let role = ("target_session_attrs", role.of_libpq().to_string());
    let rest = settings.iter().map(|(name, value)| (*name, value.clone()));
    let parameters = addresses.into_iter().chain([role]).chain(rest);
    format!("postgresql://{}/?{}", places.join(","), query(parameters))
}

fn keyword(hosts: &[ClientHost], settings: &BTreeMap<&'static str, String>, role: WantedServer) -> String {
    let join = |part: fn(&ClientHost) -> String| hosts.iter().map(part).collect::<Vec<_>>().join(",");
    let mut out = Conninfo::default();
    out.set("host", join(|host| host.host.clone()));
    if let Some(list) = hostaddr(hosts) {
        out.set("hostaddr", list);
    }
    out.set("port", join(|host| host.port.to_string()));
    out.set("target_session_attrs", role.of_libpq());
    for (name, value) in settings {
        out.set(name, value);
    }
    out.to_string()
}

/// pgjdbc takes hosts as they are, without decoding them, and has no `hostaddr`.
fn jdbc(hosts: &[ClientHost], settings: &BTreeMap<&'static str, String>, role: WantedServer) -> String {
    let place = |host: &ClientHost| {
        let name = host.hostaddr.as_deref().unwrap_or(&host.host);
        match is_ipv6(name) {
            true => format!("[{name}]:{}", host.port),
            false => format!("{name}:{}", host.port),
        }
    };
    let places: Vec<String> = hosts.iter().map(place).collect();
    let role = ("targetServerType", role.of_jdbc().to_string());
    let rest = settings.iter().filter_map(|(name, value)| {
        let name = match *name {
            "connect_timeout" => "connectTimeout",
            "sslmode" => "sslmode",
            // The authorities that Java trusts are chosen by a class.
            _ => return None,
        };
        Some((name, value.clone()))
    });
    format!("jdbc:postgresql://{}/?{}", places.join(","), query([role].into_iter().chain(rest)))
}

fn query(parameters: impl Iterator<Item = (&'static str, String)>) -> String {
    let parameters = parameters.map(|(name, value)| format!("{name}={}", encoded(&value, ",:")));
    parameters.collect::<Vec<_>>().join("&")
}

/// Says whether a host is an IPv6 address, perhaps with the name of an interface.
fn is_ipv6(host: &str) -> bool {
    host.split_once('%').map_or(host, |(address, _)| address).parse::<Ipv6Addr>().is_ok()
}

/// Encodes everything but what a URI reserves for nothing, and these characters.
fn encoded(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~') || also.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::NodeType;

    fn host(host: &str, hostaddr: Option<&str>, port: u16) -> ClientHost {
        ClientHost {
            node_id: 1,
            node_name: "n".into(),
            node_type: NodeType::Standby,
            host: host.into(),
            hostaddr: hostaddr.map(str::to_string),
            port,
        }
    }

    fn all(hosts: &[ClientHost], settings: &[(&'static str, &str)], role: WantedServer) -> [String; 3] {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_string())).collect();
        [Syntax::Uri, Syntax::Keyword, Syntax::Jdbc].map(|syntax| {
            let clients =
                Clients { hosts: hosts.to_vec(), settings: BTreeMap::clone(&settings), issues: Vec::new() };
            ClientString::new(clients, role, syntax, None, Timestamp::UNIX_EPOCH).connection_string
        })
    }

    #[test]
    fn strings_are_those_of_libpq_and_of_pgjdbc() {
        let hosts = [host("db1", None, 5432), host("db2.example", None, 5433)];
        assert_eq!(
            all(&hosts, &[("connect_timeout", "5"), ("sslmode", "verify-full")], WantedServer::Primary),
            [
                "postgresql://db1:5432,db2.example:5433/?target_session_attrs=read-write&connect_timeout=5&sslmode=verify-full",
                "host=db1,db2.example port=5432,5433 target_session_attrs=read-write connect_timeout=5 sslmode=verify-full",
                "jdbc:postgresql://db1:5432,db2.example:5433/?targetServerType=primary&connectTimeout=5&sslmode=verify-full",
            ]
        );
        assert_eq!(
            all(&hosts[..1], &[("sslrootcert", "system")], WantedServer::PreferStandby),
            [
                "postgresql://db1:5432/?target_session_attrs=prefer-standby&sslrootcert=system",
                "host=db1 port=5432 target_session_attrs=prefer-standby sslrootcert=system",
                "jdbc:postgresql://db1:5432/?targetServerType=preferSecondary",
            ]
        );
        assert!(all(&hosts, &[], WantedServer::Standby)[2].ends_with("?targetServerType=secondary"));
        assert!(all(&hosts, &[], WantedServer::Any)[0].ends_with("?target_session_attrs=any"));
    }

    #[test]
    fn addresses_and_sockets_are_encoded() {
        let hosts = [
            host("::1", None, 1),
            host("a", Some("fe80::1"), 2),
            host("fe80::1%eth0", None, 3),
            host("/run/my pg's", None, 4),
            host("@abstract", None, 5),
        ];
        let [uri, keyword, _] = all(&hosts, &[], WantedServer::Any);
        assert_eq!(
            uri,
            "postgresql://[::1]:1,a:2,[fe80::1%25eth0]:3,%2Frun%2Fmy%20pg%27s:4,%40abstract:5/\
             ?hostaddr=,fe80::1,,,&target_session_attrs=any"
        );
        assert_eq!(
            keyword,
            "host='::1,a,fe80::1%eth0,/run/my pg\\'s,@abstract' hostaddr=,fe80::1,,, port=1,2,3,4,5 target_session_attrs=any"
        );
        let [.., jdbc] = all(&hosts[..2], &[], WantedServer::Any);
        assert_eq!(jdbc, "jdbc:postgresql://[::1]:1,[fe80::1]:2/?targetServerType=any");
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            hosts in prop::collection::vec(("[^,\0]{1,12}", prop::option::of("[0-9a-f:.]{1,9}"), 1..u16::MAX), 1..4),
        ) {
            let hosts: Vec<ClientHost> =
                hosts.iter().map(|(name, number, port)| host(name, number.as_deref(), *port)).collect();
            let names = hosts.iter().map(|host| host.host.as_str()).collect::<Vec<_>>().join(",");
            let ports = hosts.iter().map(|host| host.port.to_string()).collect::<Vec<_>>().join(",");
            let [uri, keyword, _] = all(&hosts, &[("sslmode", "require")], WantedServer::Primary);
            for text in [uri, keyword] {
                prop_assert!(!text.contains('\0'));
                let read = Conninfo::parse(&text).unwrap();
                prop_assert_eq!(read.get("host"), Some(names.as_str()));
                prop_assert_eq!(read.get("port"), Some(ports.as_str()));
                prop_assert_eq!(read.get("hostaddr").map(str::to_string), hostaddr(&hosts));
                prop_assert_eq!(read.get("sslmode"), Some("require"));
                prop_assert_eq!(read.iter().count(), 4 + usize::from(read.get("hostaddr").is_some()));
            }
        }
    }
}
