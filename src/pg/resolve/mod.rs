//! From a connection string to everything that is needed to connect, as libpq does it.
//!
//! What the string says wins; then the service file; then the environment; then defaults. Values are checked here, before
//! anything is tried, and what pgbaton cannot honour is refused by its name.

mod targets;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(in crate::pg) use targets::default_socket_directory;
use targets::{Origin, targets};
use values::Values;

use super::conninfo::{Conninfo, KEYWORDS};
use super::failure::ConnectError;
use super::provenance::{Proofs, Provenance, without_options};
use super::service;
use super::tls::{Root, SslMode, TlsOptions};
use crate::secret::Secret;
use crate::system::environment::Environment;

type Result<T> = std::result::Result<T, ConnectError>;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A directory with a server's socket, or a name in the abstract namespace, which begins with `@`.
    Socket(PathBuf),
    /// A host, by name, by address, or by both: the address is then connected to and the name is for TLS.
    Tcp {
        /// The name; an address may be written here too.
        name: Option<String>,
        /// The address.
        address: Option<IpAddr>,
    },
}

/// One element of the list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTarget {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The password, if one was found for this host.
    pub password: Option<Secret>,
    /// The ways in which it may be proved.
    pub proofs: Proofs,
}

/// Whether SCRAM is bound to the TLS channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If the server offers it.
    Prefer,
    /// Or there is no connection.
    Require,
}

/// What kind of server will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSession {
    /// Any.
    Any,
    /// One whose sessions may write.
    ReadWrite,
    /// One whose sessions may not.
    ReadOnly,
    /// One not in recovery.
    Primary,
    /// One in recovery.
    Standby,
    /// One in recovery, or else any.
    PreferStandby,
}

/// The authentication methods that this side agrees to, of those that it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// No authentication exchange at all.
    pub none: bool,
    /// The password in clear text.
    pub password: bool,
    /// MD5.
    pub md5: bool,
    /// SCRAM-SHA-256.
    pub scram: bool,
}

impl Methods {
    fn and(self, other: Self) -> Self {
        Self {
            none: self.none && other.none,
            password: self.password && other.password,
            md5: self.md5 && other.md5,
            scram: self.scram && other.scram,
        }
    }
}

/// How often the other end of a silent connection is asked whether it is there, in seconds. The system would begin after two hours.
pub(super) const PROBE_S: u32 = 5;

/// How long packets may be lost until a connection counts as lost, in milliseconds. The system would take a quarter of an hour, and a caller that
/// waits for an answer as long, though nothing has been stopped yet and all could be as before.
pub(super) const SILENCE_MS: u32 = 20_000;

/// TCP keepalives. What is None is the operating system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalives {
    /// Whether they are off.
    pub off: bool,
    /// Idle seconds before the first.
    pub idle_s: Option<u32>,
    /// Seconds between them.
    pub interval_s: Option<u32>,
    /// How many may be lost.
    pub count: Option<u32>,
}

/// Everything needed to connect.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The hosts, in order.
    pub targets: Vec<HostTarget>,
    /// Who says that they are the hosts.
    pub provenance: Provenance,
    /// The role.
    pub user: String,
    /// The database.
    pub dbname: String,
    /// Command-line options for the server.
    pub options: Option<String>,
    /// The application name, or the fallback one.
    pub application_name: Option<String>,
    /// The bound for one address: None if not given, zero if there is to be none.
    pub connect_timeout: Option<Duration>,
    /// TCP keepalives.
    pub keepalives: Keepalives,
    /// How long sent data may stay unacknowledged, in milliseconds.
    pub tcp_user_timeout_ms: Option<u32>,
    /// TLS.
    pub tls: TlsOptions,
    /// Channel binding.
    pub channel_binding: ChannelBinding,
    /// What kind of server will do.
    pub target_session: TargetSession,
    /// Hosts and their addresses are tried in random order.
    pub shuffle: bool,
    /// The operating system's user that must own the other end of a Unix socket.
    pub require_peer: Option<String>,
    /// The authentication methods agreed to.
    pub methods: Methods,
    /// Notices for the user, as whole sentences: a password file that was ignored.
    pub warnings: Vec<String>,
}

/// Adds service file and environment to what a connection string says; no defaults yet.
///
/// # Errors
/// Fails for unknown keywords, and if the service is not defined.
pub fn effective(conninfo: &Conninfo, environment: &Environment) -> Result<Conninfo> {
    if let Some((keyword, meant)) = conninfo.unknown_keywords().first() {
        let error = ConnectError::invalid(format!("invalid connection option \"{keyword}\""));
        return Err(match meant {
            Some(meant) => error.hint(format!("Did you mean \"{meant}\"?")),
            None => error,
        });
    }
    let mut values = Conninfo::default();
    for keyword in KEYWORDS {
        if let Some(value) = keyword.variable.and_then(|variable| environment.get(variable)) {
            values.set(keyword.name, value);
        }
    }
    // An old variable that libpq still reads.
    let require = environment.get("PGREQUIRESSL").is_some_and(|value| value.starts_with('1'));
    if require && values.get("sslmode").is_none() {
        values.set("sslmode", "require");
    }
    if let Some(name) = conninfo.get("service").or_else(|| environment.get("PGSERVICE")) {
        values = values.with(&service::look_up(name, environment).map_err(ConnectError::invalid)?);
    }
    Ok(values.with(conninfo))
}

/// Resolves a connection string.
///
/// # Errors
/// Fails with [`Kind::Invalid`](super::failure::Kind::Invalid) where libpq would not even try, and with
/// [`Kind::NotSupported`](super::failure::Kind::NotSupported) for what pgbaton does not have.
pub fn resolve(conninfo: &Conninfo, environment: &Environment) -> Result<Resolved> {
    let provenance = Provenance::of(conninfo, environment)?;
    let conninfo = &without_options(conninfo, environment);
    let values = Values(effective(conninfo, environment)?);
    values.refuse()?;
    let missing_user = || ConnectError::invalid("no user name is given, and the operating system knows none");
    let user = values.text("user").map(str::to_string).or_else(|| environment.user.clone());
    let user = user.ok_or_else(missing_user)?;
    let dbname = values.text("dbname").unwrap_or(&user).to_string();
    let mut warnings = Vec::new();
    let brings_password = conninfo.get("password").is_some_and(|password| !password.is_empty());
    let origin = Origin { provenance, brings_password };
    let targets = targets(&values, environment, &user, &dbname, origin, &mut warnings)?;
    let mut methods = methods(values.text("require_auth").unwrap_or_default())?;
    if let Some(required) = environment.get("PGREQUIREAUTH").filter(|_| !provenance.is_own()) {
        // A row may ask for less than the user permits, and not for more.
        methods = methods.and(self::methods(required)?);
    }
    let connect_timeout = values.integer("connect_timeout")?;
    Ok(Resolved {
        targets,
        provenance,
        user,
        dbname,
        options: values.text("options").map(str::to_string),
        application_name: ["application_name", "fallback_application_name"]
            .iter()
            .find_map(|keyword| values.text(keyword))
            .map(str::to_string),
        // libpq waits at least two seconds, and without limit if it is set to zero or less.
        connect_timeout: connect_timeout.map(|s| {
            if s <= 0 { Duration::ZERO } else { Duration::from_secs(u64::from(s.unsigned_abs().max(2))) }
        }),
        keepalives: Keepalives {
            off: values.integer("keepalives")? == Some(0),
            idle_s: values.positive_or("keepalives_idle", PROBE_S)?,
            interval_s: values.positive_or("keepalives_interval", PROBE_S)?,
            count: values.positive("keepalives_count")?,
        },
        tcp_user_timeout_ms: values.positive_or("tcp_user_timeout", SILENCE_MS)?,
        tls: tls(&values, environment)?,
        channel_binding: values.choice(
            "channel_binding",
            ChannelBinding::Prefer,
            &[
                ("disable", ChannelBinding::Disable),
                ("prefer", ChannelBinding::Prefer),
                ("require", ChannelBinding::Require),
            ],
        )?,
        target_session: values.choice(
            "target_session_attrs",
            TargetSession::Any,
            &[
                ("any", TargetSession::Any),
                ("read-write", TargetSession::ReadWrite),
                ("read-only", TargetSession::ReadOnly),
                ("primary", TargetSession::Primary),
                ("standby", TargetSession::Standby),
                ("prefer-standby", TargetSession::PreferStandby),
            ],
        )?,
        shuffle: values.choice("load_balance_hosts", false, &[("disable", false), ("random", true)])?,
        require_peer: values.text("requirepeer").map(str::to_string),
        methods,
        warnings,
    })
}

/// Reads `require_auth`.
fn methods(text: &str) -> Result<Methods> {
    let every = Methods { none: true, password: true, md5: true, scram: true };
    if text.is_empty() {
        return Ok(every);
    }
    let negative = text.starts_with('!');
    let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
    for element in text.split(',') {
        let method = element.strip_prefix('!').unwrap_or(element);
        if element.starts_with('!') != negative {
            return Err(ConnectError::invalid(format!(
                "require_auth method \"{element}\" cannot be mixed with {} methods",
                if negative { "negative" } else { "non-negative" }
            )));
        }
        if !["password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none"].contains(&method) {
            return Err(ConnectError::invalid(format!("invalid require_auth value: \"{text}\"")));
        }
        if seen.insert(method, ()).is_some() {
            return Err(ConnectError::invalid(format!(
                "require_auth method \"{method}\" is specified more than once"
            )));
        }
    }
    let agreed = |method| seen.contains_key(method) != negative;
    let methods = Methods {
        none: agreed("none"),
        password: agreed("password"),
        md5: agreed("md5"),
        scram: agreed("scram-sha-256"),
    };
    if methods == (Methods { none: false, password: false, md5: false, scram: false }) {
        return Err(ConnectError::not_supported("require_auth", "pgbaton supports none of these methods"));
    }
    Ok(methods)
}

fn tls(values: &Values, environment: &Environment) -> Result<TlsOptions> {
    let home = environment.home.as_ref().map(|home| home.join(".postgresql"));
    let default = |name: &str| home.as_ref().map(|home| home.join(name));
    let file = |keyword| values.text(keyword).map(PathBuf::from);
    let system = values.text("sslrootcert") == Some("system");
    let mode = values.choice(
        "sslmode",
        if system { SslMode::VerifyFull } else { SslMode::Prefer },
        &[
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
    )?;
    let weak = |with: &str| {
        let mode = values.text("sslmode").unwrap_or("prefer");
        ConnectError::invalid(format!("weak sslmode \"{mode}\" may not be used with {with}"))
    };
    if system && mode != SslMode::VerifyFull {
        return Err(weak("sslrootcert=system").hint("Use sslmode=verify-full."));
    }
    let direct = values.choice("sslnegotiation", false, &[("postgres", false), ("direct", true)])?;
    if direct && mode < SslMode::Require {
        return Err(weak("sslnegotiation=direct").hint("Use sslmode=require, verify-ca, or verify-full."));
    }
    let version = |keyword, default| match values.0.get(keyword) {
        None => Ok(default),
        Some("") => Ok(None),
        Some(text) => match super::tls::version(text) {
            Some(version) => Ok(Some(version)),
            None => Err(ConnectError::invalid(format!("invalid {keyword} value: \"{text}\""))
                .hint("It can be TLSv1, TLSv1.1, TLSv1.2, TLSv1.3.")),
        },
    };
    let min_version = version("ssl_min_protocol_version", super::tls::version("TLSv1.2"))?;
    let max_version = version("ssl_max_protocol_version", None)?;
    if let (Some(min), Some(max)) = (min_version, max_version)
        && min > max
    {
        return Err(ConnectError::invalid("invalid SSL protocol version range"));
    }
    #[derive(Clone, Copy, PartialEq)]
    enum Send {
        Never,
        IfAsked,
        Always,
    }
    let choices = [("disable", Send::Never), ("allow", Send::IfAsked), ("require", Send::Always)];
    let send = values.choice("sslcertmode", Send::IfAsked, &choices)?;
    if send == Send::Always {
        return Err(ConnectError::not_supported(
            "sslcertmode",
            "pgbaton cannot determine whether the server requested a certificate",
        ));
    }
    let key = values.text("sslkey");
    if key.is_some_and(|key| key.contains(':')) {
        return Err(ConnectError::not_supported("sslkey", "pgbaton does not load keys from OpenSSL engines"));
    }
    Ok(TlsOptions {
        mode,
        direct,
        root: if system {
            Root::System
        } else {
            Root::File(file("sslrootcert").or_else(|| default("root.crt")))
        },
        crl: file("sslcrl"),
        crl_directory: file("sslcrldir"),
        default_crl: default("root.crl"),
        certificate: (send != Send::Never)
            .then(|| file("sslcert").or_else(|| default("postgresql.crt")))
            .flatten(),
        key: file("sslkey").or_else(|| default("postgresql.key")),
        key_password: values.text("sslpassword").map(Secret::new),
        min_version,
        max_version,
        server_name: values.text("sslsni") != Some("0"),
    })
}
