//! `pg_hba.conf`: which connections the present rules allow, and the lines of our own in the file.
//!
//! What the rules mean is asked of the server (`pg_hba_file_rules`), which reads the files as they are now, with all that they include;
//! which rule decides about a connection is judged here, as the server does it: the first that matches. [`edit`] changes the text.

pub mod edit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::quote::quote_hba;

/// A row of `pg_hba_file_rules`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rule {
    /// The file, from PostgreSQL 16 on; before that there is only one.
    #[serde(default)]
    pub file_name: Option<String>,
    /// The line.
    pub line_number: usize,
    /// `local`, `host`, `hostssl`, …; None in a row that reports an error.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Names of databases and keywords.
    pub database: Option<Vec<String>>,
    /// Names of roles and keywords.
    pub user_name: Option<Vec<String>>,
    /// An address, a host name or a keyword.
    pub address: Option<String>,
    /// The mask of an address.
    pub netmask: Option<String>,
    /// What the server does about the connection.
    pub auth_method: Option<String>,
    /// What is wrong with the line.
    pub error: Option<String>,
}

impl Rule {
    /// Names the place of the rule: `line 12 of "/data/pg_hba.conf"`.
    pub fn location(&self, main: &str) -> String {
        format!("line {} of \"{}\"", self.line_number, self.file_name.as_deref().unwrap_or(main))
    }

    /// Says whether the rule is meant for this very connection: the rule names its role, or rejects a part of the world only. One
    /// that is about all roles, or rejects whatever no earlier rule has allowed, is a default, and what it says is expected to have
    /// exceptions.
    pub fn is_meant_for(&self, connection: &Connection) -> bool {
        let names_role = self.user_name.iter().flatten().any(|token| *token == connection.role);
        let rejects = self.auth_method.as_deref() == Some("reject");
        let everybody = match (self.address.as_deref(), self.netmask.as_deref()) {
            (None | Some("all"), _) => true,
            (Some(_), Some(mask)) => mask.parse().is_ok_and(|mask: IpAddr| mask.is_unspecified()),
            _ => false,
        };
        names_role || (rejects && !everybody)
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A Unix socket.
    Socket,
    /// An address, or all addresses of a network.
    Net(IpNet),
}

/// Reads `10.0.0.0/8`, or an address alone, which is a network of its own.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl fmt::Display for Source {
    /// Writes it for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("local"),
            Self::Net(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Net(network) => network.fmt(f),
        }
    }
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A database.
    Database(String),
    /// Physical replication, which `all` does not stand for.
    Replication,
}

/// Which encryption a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Never,
    /// Either: it tries one after the other.
    Either,
    /// It insists.
    Always,
}

/// A connection that has to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whose it is, for the comment in the file.
    pub of: String,
    /// Where it comes from.
    pub from: Source,
    /// What it is for.
    pub purpose: Purpose,
    /// The role.
    pub role: String,
    /// Its encryption.
    pub tls: Tls,
}

/// What rules are about in addition to what they say themselves.
#[derive(Clone, Debug, Default)]
pub struct HbaContext {
    /// The server has TLS.
    pub ssl: bool,
    /// The roles that a role is or belongs to.
    pub member_of: BTreeMap<String, BTreeSet<String>>,
    /// The addresses of host names in rules.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// This host's own addresses, among those of the connections.
    pub own: BTreeSet<IpAddr>,
    /// The networks that this host is in.
    pub networks: Vec<IpNet>,
    /// Regular expressions, `/` and all, and what they match of our names.
    pub matches: BTreeSet<(String, String)>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// No rule is about it: it is refused.
    NoRule,
    /// This rule allows it.
    LetIn(&'a Rule),
    /// This rule decides, and rejects it, or requires a method for which our roles have no credentials.
    Otherwise(&'a Rule),
}

/// The methods by which a role with a password, or a certificate, gets in.
const LETS_IN: [&str; 5] = ["trust", "scram-sha-256", "md5", "password", "cert"];

/// The methods that need the password that the server has stored.
const BY_PASSWORD: [&str; 3] = ["scram-sha-256", "md5", "password"];

/// Says whether a method asks for the password of the role.
pub fn needs_password(method: &str) -> bool {
    BY_PASSWORD.contains(&method)
}

/// Finds the rule that decides about a connection. `method` is one that our roles can use in addition to the usual ones.
///
/// A client that may use either encryption is allowed if one of the two is.
pub fn decide<'a>(
    rules: &'a [Rule],
    connection: &Connection,
    around: &HbaContext,
    method: &str,
) -> Decision<'a> {
    let encrypted: &[bool] = match (connection.from, connection.tls) {
        (Source::Net(_), Tls::Either) if around.ssl => &[true, false],
        (Source::Net(_), Tls::Always) if around.ssl => &[true],
        _ => &[false],
    };
    let mut first = None;
    for encrypted in encrypted {
        let found = rules.iter().find_map(|rule| {
            let fit = fits(rule, connection, around, *encrypted);
            (fit != Fit::No).then_some((rule, fit))
        });
        let decision = match found {
            None => Decision::NoRule,
            Some((rule, Fit::Whole)) => match rule.auth_method.as_deref() {
                Some(given) if given == method || LETS_IN.contains(&given) => return Decision::LetIn(rule),
                _ => Decision::Otherwise(rule),
            },
            // Some of its addresses go by this rule and some by another one.
            Some((rule, _)) => Decision::Otherwise(rule),
        };
        first.get_or_insert(decision);
    }
    first.unwrap_or(Decision::NoRule)
}

/// How much of a connection's addresses a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    No,
    Part,
    Whole,
}

fn fits(rule: &Rule, connection: &Connection, around: &HbaContext, encrypted: bool) -> Fit {
    let whole = |yes: bool| if yes { Fit::Whole } else { Fit::No };
    let place = match (rule.kind.as_deref(), connection.from) {
        (Some("local"), Source::Socket) => Fit::Whole,
        (Some("host" | "hostnogssenc"), Source::Net(network)) => covers(rule, network, around),
        (Some("hostssl"), Source::Net(network)) if encrypted => covers(rule, network, around),
        (Some("hostnossl"), Source::Net(network)) if !encrypted => covers(rule, network, around),
        _ => Fit::No,
    };
    let role = connection.role.as_str();
    let member = |group: &str| {
        group == role || around.member_of.get(role).is_some_and(|groups| groups.contains(group))
    };
    let by_expression =
        |token: &str, name: &str| around.matches.contains(&(token.to_string(), name.to_string()));
    let databases = rule.database.as_deref().unwrap_or_default();
    let about_database = databases.iter().any(|token| match (&connection.purpose, token.as_str()) {
        (Purpose::Replication, token) => token == "replication",
        (Purpose::Database(_), "all") => true,
        (Purpose::Database(name), "sameuser") => name == role,
        (Purpose::Database(name), "samerole" | "samegroup") => member(name),
        (Purpose::Database(name), token) => token == name || by_expression(token, name),
    });
    let roles = rule.user_name.as_deref().unwrap_or_default();
    let about_role = roles.iter().any(|token| match token.strip_prefix('+') {
        Some(group) => member(group),
        None => token == "all" || token == role || by_expression(token, role),
    });
    if about_database && about_role { place } else { whole(false) }
}

/// Says how much of a network a rule's address stands for.
fn covers(rule: &Rule, network: IpNet, around: &HbaContext) -> Fit {
    let fit = |ruled: IpNet| match (ruled.contains(&network), network.contains(&ruled)) {
        (true, _) => Fit::Whole,
        (false, true) => Fit::Part,
        (false, false) => Fit::No,
    };
    let best = |fits: &mut dyn Iterator<Item = Fit>| {
        fits.fold(Fit::No, |best, one| match (best, one) {
            (Fit::Whole, _) | (_, Fit::Whole) => Fit::Whole,
            (Fit::Part, _) | (_, Fit::Part) => Fit::Part,
            _ => Fit::No,
        })
    };
    match (rule.address.as_deref(), rule.netmask.as_deref()) {
        (Some("all"), _) => Fit::Whole,
        (Some("samehost"), _) => best(&mut around.own.iter().map(|own| fit(IpNet::from(*own)))),
        (Some("samenet"), _) => best(&mut around.networks.iter().map(|own| fit(*own))),
        (Some(address), Some(mask)) => match (address.parse(), mask.parse()) {
            // A mask with gaps: some addresses go by this rule, and which ones is not worked out.
            (Ok(address), Ok(mask)) => IpNet::with_netmask(address, mask).map_or(Fit::Part, fit),
            _ => Fit::No,
        },
        (Some(address), None) => match address.parse::<IpAddr>() {
            Ok(address) => fit(address.into()),
            Err(_) => {
                let known = around.hosts.get(address).map(Vec::as_slice).unwrap_or_default();
                best(&mut known.iter().map(|own| fit(IpNet::from(*own))))
            }
        },
        (None, _) => Fit::No,
    }
}

impl Connection {
    /// Returns the line that allows it, without a comment, its fields in columns. `ssl` says that the server has TLS: then one that
    /// insists on it is allowed in no other way.
    pub fn line(&self, method: &str, ssl: bool) -> String {
        let database = match &self.purpose {
            Purpose::Database(name) => quote_hba(name),
            Purpose::Replication => "replication".into(),
        };
        let role = quote_hba(&self.role);
        let (kind, address) = match self.from {
            Source::Socket => ("local", String::new()),
            // Certificates are looked at where there is TLS, and the server refuses the line otherwise.
            Source::Net(network) if method == "cert" || (ssl && self.tls == Tls::Always) => {
                ("hostssl", network.to_string())
            }
            Source::Net(network) => ("host", network.to_string()),
        };
        format!("{kind:<5} {database:<15} {role:<15} {address:<20} {method}")
    }
}

#[cfg(test)]
mod tests;
