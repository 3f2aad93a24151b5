//! From a connection string to everything that is needed to connect, as libpq does it.
//!
//! What the string says wins; then the service file; then the environment; then defaults. Values are checked here, before
//! anything is tried, and what pgbaton cannot honour is refused by its name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conninfo::{Conninfo, KEYWORDS};
use super::failure::ConnectError;
use super::passfile::{self, Wanted};
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
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The password, if one was found for this host.
    pub password: Option<Secret>,
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

/// TCP keepalives, as far as they are set; the rest is the operating system's.
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
    pub targets: Vec<Target>,
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
    /// Things to tell the user, as whole sentences: a password file that was ignored.
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
    let values = Values(effective(conninfo, environment)?);
    values.refuse()?;
    let missing_user = || ConnectError::invalid("no user name is given, and the operating system knows none");
    let user = values.text("user").map(str::to_string).or_else(|| environment.user.clone());
    let user = user.ok_or_else(missing_user)?;
    let dbname = values.text("dbname").unwrap_or(&user).to_string();
    let mut warnings = Vec::new();
    let targets = targets(&values, environment, &user, &dbname, &mut warnings)?;
    let connect_timeout = values.integer("connect_timeout")?;
    Ok(Resolved {
        targets,
        user,
        dbname,
        options: values.text("options").map(str::to_string),
        application_name: ["application_name", "fallback_application_name"]
            .iter()
            .find_map(|keyword| values.text(keyword))
            .map(str::to_string),
        // libpq waits at least two seconds, and for ever if it is told zero or less.
        connect_timeout: connect_timeout.map(|s| {
            if s <= 0 { Duration::ZERO } else { Duration::from_secs(u64::from(s.unsigned_abs().max(2))) }
        }),
        keepalives: Keepalives {
            off: values.integer("keepalives")? == Some(0),
            idle_s: values.positive("keepalives_idle")?,
            interval_s: values.positive("keepalives_interval")?,
            count: values.positive("keepalives_count")?,
        },
        tcp_user_timeout_ms: values.positive("tcp_user_timeout")?,
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
        methods: methods(values.text("require_auth").unwrap_or_default())?,
        warnings,
    })
}

/// Effective values with libpq's ways of reading them.
struct Values(Conninfo);

impl Values {
    /// Returns a value; an empty one counts as none.
    fn text(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).filter(|value| !value.is_empty())
    }

    fn integer(&self, keyword: &str) -> Result<Option<i32>> {
        let space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
        let Some(text) = self.text(keyword) else { return Ok(None) };
        let parsed = text.trim_matches(space).parse().map_err(|_| {
            ConnectError::invalid(format!(
                "invalid integer value \"{text}\" for connection option \"{keyword}\""
            ))
        });
        parsed.map(Some)
    }

    /// Returns an integer above zero; zero and less mean that the operating system's setting stays.
    fn positive(&self, keyword: &str) -> Result<Option<u32>> {
        Ok(self.integer(keyword)?.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0))
    }

    /// Returns one of several values. An empty value is none of them: libpq refuses it too.
    fn choice<T: Copy>(&self, keyword: &str, default: T, choices: &[(&str, T)]) -> Result<T> {
        let Some(text) = self.0.get(keyword) else { return Ok(default) };
        choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            ConnectError::invalid(format!("invalid {keyword} value: \"{text}\""))
                .hint(format!("It can be {}.", names.join(", ")))
        })
    }

    /// Refuses what pgbaton does not have.
    ///
    /// The keywords of GSSAPI other than `gssencmode=require` only shape what may be offered; without GSSAPI nothing is,
    /// so they have nothing to change. pg_basebackup writes some of them into every `primary_conninfo`.
    fn refuse(&self) -> Result<()> {
        if self.choice("gssencmode", false, &[("disable", false), ("prefer", false), ("require", true)])? {
            return Err(ConnectError::not_supported("gssencmode", "pgbaton has no GSSAPI"));
        }
        let replication = self.text("replication").unwrap_or("off");
        if !["off", "false", "no", "0"].contains(&replication) {
            return Err(ConnectError::not_supported(
                "replication",
                "pgbaton opens no replication connections",
            ));
        }
        let version = |keyword| {
            let old = [("", false), ("3.0", false), ("latest", false), ("3.2", true)];
            self.choice(keyword, false, &old)
        };
        version("max_protocol_version")?;
        if version("min_protocol_version")? || self.text("min_protocol_version") == Some("latest") {
            return Err(ConnectError::not_supported("min_protocol_version", "pgbaton speaks protocol 3.0"));
        }
        for (keyword, why) in [
            ("oauth_issuer", "pgbaton has no OAuth"),
            ("oauth_client_id", "pgbaton has no OAuth"),
            ("oauth_client_secret", "pgbaton has no OAuth"),
            ("oauth_scope", "pgbaton has no OAuth"),
            ("scram_client_key", "pgbaton needs the password itself"),
            ("scram_server_key", "pgbaton needs the password itself"),
            ("sslkeylogfile", "pgbaton does not write TLS keys"),
        ] {
            if self.text(keyword).is_some() {
                return Err(ConnectError::not_supported(keyword, why));
            }
        }
        Ok(())
    }
}

/// Builds the list of hosts, by libpq's rules for lists of different lengths.
fn targets(
    values: &Values,
    environment: &Environment,
    user: &str,
    dbname: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<Target>> {
    let list = |keyword| values.text(keyword).map(|text| text.split(',').collect::<Vec<&str>>());
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
    if let (Some(names), Some(addresses)) = (&names, &addresses)
        && names.len() != addresses.len()
    {
        let (names, addresses) = (names.len(), addresses.len());
        return Err(ConnectError::invalid(format!(
            "could not match {names} host names to {addresses} hostaddr values"
        )));
    }
    let ports = ports.unwrap_or_else(|| vec![""]);
    if ports.len() != 1 && ports.len() != count {
        return Err(ConnectError::invalid(format!(
            "could not match {} port numbers to {count} hosts",
            ports.len()
        )));
    }
    let password = values.text("password").map(Secret::new);
    let passfile = values.text("passfile").map(PathBuf::from);
    let passfile = passfile.or_else(|| Some(environment.home.as_ref()?.join(".pgpass")));

    let mut targets = Vec::with_capacity(count);
    for i in 0..count {
        let element = |list: &Option<Vec<&str>>| {
            let text = list.as_ref().and_then(|list| list.get(i).copied()).filter(|text| !text.is_empty());
            text.map(str::to_string)
        };
        let (name, address) = (element(&names), element(&addresses));
        let port_text = ports.get(i).or(ports.first()).copied().unwrap_or_default();
        let host = host(name.clone(), address.as_deref())?;
        let mut password = password.clone();
        if let (None, Some(file)) = (&password, &passfile) {
            let host = match (&host, &name) {
                (Host::Socket(directory), _) if *directory == default_socket_directory() => "localhost",
                (_, Some(name)) => name,
                (_, None) => address.as_deref().unwrap_or("localhost"),
            };
            let port = if port_text.is_empty() { "5432" } else { port_text };
            let lookup = passfile::look_up(file, Wanted { host, port, dbname, user });
            password = lookup.password;
            if let Some(warning) = lookup.warning.filter(|warning| !warnings.contains(warning)) {
                warnings.push(warning);
            }
        }
        let password = password.filter(|password| !password.reveal().is_empty());
        targets.push(Target { host, port: port(port_text)?, password });
    }
    Ok(targets)
}

fn host(name: Option<String>, address: Option<&str>) -> Result<Host> {
    if let Some(text) = address {
        let parsed = text.parse();
        let address = parsed
            .map_err(|_| ConnectError::invalid(format!("could not parse network address \"{text}\"")))?;
        return Ok(Host::Tcp { name, address: Some(address) });
    }
    Ok(match name {
        Some(name) if name.starts_with(['/', '@']) => Host::Socket(name.into()),
        Some(name) => Host::Tcp { name: Some(name), address: None },
        None => Host::Socket(default_socket_directory()),
    })
}

/// The directory that packages for Linux build libpq with, or the one of a libpq built without a thought.
fn default_socket_directory() -> PathBuf {
    let packaged = Path::new("/var/run/postgresql");
    if packaged.is_dir() { packaged.into() } else { "/tmp".into() }
}

/// Reads a port. Text that is no number is not shown: in a URI with a `/` in its password, the password lands here.
fn port(text: &str) -> Result<u16> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    if text.is_empty() {
        return Ok(5432);
    }
    match trimmed.parse::<i32>() {
        Ok(number) => u16::try_from(number)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| ConnectError::invalid(format!("invalid port number: \"{number}\""))),
        Err(_) => Err(ConnectError::invalid("invalid integer value for connection option \"port\"")),
    }
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
        return Err(ConnectError::not_supported("require_auth", "pgbaton has none of these methods"));
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
            "pgbaton cannot tell whether the server asked for a certificate",
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::pg::failure::Kind;

    fn environment() -> Environment {
        Environment::from_pairs([("USER", "os"), ("HOME", "/nonexistent")])
    }

    fn resolved(text: &str) -> Result<Resolved> {
        resolve(&Conninfo::parse(text).unwrap(), &environment())
    }

    fn error(text: &str) -> String {
        resolved(text).unwrap_err().primary
    }

    fn tcp(name: Option<&str>, address: Option<&str>) -> Host {
        Host::Tcp { name: name.map(str::to_string), address: address.map(|text| text.parse().unwrap()) }
    }

    #[test]
    fn lists_of_hosts_expand_as_in_libpq() {
        let hosts = |text| -> Vec<(Host, u16)> {
            resolved(text).unwrap().targets.into_iter().map(|target| (target.host, target.port)).collect()
        };
        let socket = || Host::Socket(default_socket_directory());
        assert_eq!(hosts(""), [(socket(), 5432)]);
        assert_eq!(hosts("host=a,b port=1"), [(tcp(Some("a"), None), 1), (tcp(Some("b"), None), 1)]);
        assert_eq!(
            hosts("host=a,,/s port=1,2,"),
            [(tcp(Some("a"), None), 1), (socket(), 2), (Host::Socket("/s".into()), 5432)]
        );
        assert_eq!(
            hosts("host=a,b hostaddr=10.0.0.1,"),
            [(tcp(Some("a"), Some("10.0.0.1")), 5432), (tcp(Some("b"), None), 5432)]
        );
        assert_eq!(hosts("hostaddr=::1"), [(tcp(None, Some("::1")), 5432)]);
        assert_eq!(error("host=a,b hostaddr=10.0.0.1"), "could not match 2 host names to 1 hostaddr values");
        assert_eq!(error("host=a,b port=1,2,3"), "could not match 3 port numbers to 2 hosts");
        assert_eq!(error("hostaddr=name"), "could not parse network address \"name\"");
        assert_eq!(error("port=0"), "invalid port number: \"0\"");
        assert!(!error("postgres://u:secret/x@host/db").contains("secret"));
    }

    #[test]
    fn the_string_wins_over_the_service_over_the_environment_over_defaults() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[s]\ndbname=of_service\nport=2\nuser=of_service\n").unwrap();
        let path = file.path().to_str().unwrap();
        let environment = Environment::from_pairs([
            ("PGSERVICEFILE", path),
            ("PGSERVICE", "s"),
            ("PGUSER", "of_environment"),
            ("PGHOST", "of_environment"),
            ("PGAPPNAME", "of_environment"),
            ("USER", "os"),
        ]);
        let resolved = resolve(&Conninfo::parse("dbname=of_string").unwrap(), &environment).unwrap();
        assert_eq!(resolved.dbname, "of_string");
        assert_eq!(resolved.user, "of_service");
        assert_eq!(resolved.targets[0].port, 2);
        assert_eq!(resolved.targets[0].host, tcp(Some("of_environment"), None));
        assert_eq!(resolved.application_name.as_deref(), Some("of_environment"));
        let missing = resolve(&Conninfo::parse("service=t").unwrap(), &environment).unwrap_err();
        assert_eq!(missing.primary, "definition of service \"t\" not found");
    }

    #[test]
    fn defaults_are_those_of_libpq() {
        let resolved = resolved("").unwrap();
        assert_eq!((resolved.user.as_str(), resolved.dbname.as_str()), ("os", "os"));
        assert_eq!(resolved.connect_timeout, None);
        assert_eq!(resolved.tls.mode, SslMode::Prefer);
        assert_eq!(resolved.tls.key, Some("/nonexistent/.postgresql/postgresql.key".into()));
    }

    #[test]
    fn timeouts_have_the_units_of_libpq() {
        let timeout = |text| resolved(text).unwrap().connect_timeout;
        assert_eq!(timeout("connect_timeout=1"), Some(Duration::from_secs(2)));
        assert_eq!(timeout("connect_timeout=' 5 '"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("connect_timeout=-1"), Some(Duration::ZERO));
        assert_eq!(resolved("tcp_user_timeout=10000").unwrap().tcp_user_timeout_ms, Some(10_000));
        assert_eq!(resolved("keepalives_idle=0").unwrap().keepalives.idle_s, None);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (text, keyword) in [
            ("gssencmode=require", "gssencmode"),
            ("require_auth=gss,sspi", "require_auth"),
            ("oauth_issuer=https://x", "oauth_issuer"),
            ("replication=database", "replication"),
            ("min_protocol_version=3.2", "min_protocol_version"),
            ("sslkey=engine:x", "sslkey"),
            ("sslcertmode=require", "sslcertmode"),
        ] {
            let error = resolved(text).unwrap_err();
            assert_eq!(error.kind, Kind::NotSupported(keyword.into()), "{text}");
            assert!(error.primary.contains(keyword));
        }
    }

    #[test]
    fn what_pg_basebackup_writes_is_accepted() {
        resolved(
            "user=postgres passfile='/var/lib/postgresql/.pgpass' channel_binding=prefer host=127.0.0.1 port=56001 \
             application_name=node2 sslmode=prefer sslnegotiation=postgres sslcompression=0 sslcertmode=allow sslsni=1 \
             ssl_min_protocol_version=TLSv1.2 gssencmode=prefer krbsrvname=postgres gssdelegation=0 \
             target_session_attrs=any load_balance_hosts=disable dbname=postgres",
        )
        .unwrap();
    }

    #[test]
    fn invalid_values_are_named() {
        assert_eq!(error("sslmode=always"), "invalid sslmode value: \"always\"");
        assert_eq!(error("sslmode=''"), "invalid sslmode value: \"\"");
        assert_eq!(
            error("ssl_min_protocol_version=SSLv3"),
            "invalid ssl_min_protocol_version value: \"SSLv3\""
        );
        assert_eq!(
            error("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2"),
            "invalid SSL protocol version range"
        );
        assert_eq!(
            error("sslnegotiation=direct"),
            "weak sslmode \"prefer\" may not be used with sslnegotiation=direct"
        );
        assert_eq!(
            error("connect_timeout=soon"),
            "invalid integer value \"soon\" for connection option \"connect_timeout\""
        );
        let typo = resolved("hots=a").unwrap_err();
        assert_eq!(typo.primary, "invalid connection option \"hots\"");
        assert_eq!(typo.hint.as_deref(), Some("Did you mean \"host\"?"));
    }

    #[test]
    fn require_auth_is_a_list_of_what_is_or_is_not_agreed_to() {
        let methods = |text| resolved(text).unwrap().methods;
        let scram = Methods { none: false, password: false, md5: false, scram: true };
        assert_eq!(methods("require_auth=scram-sha-256"), scram);
        assert_eq!(methods("require_auth=!password,!none"), Methods { md5: true, ..scram });
        assert!(error("require_auth=md5,!none").contains("cannot be mixed"));
        assert!(error("require_auth=md5,md5").contains("more than once"));
        assert!(error("require_auth=magic").contains("invalid require_auth value"));
    }

    #[test]
    fn a_password_of_the_file_is_found_for_each_host() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "a:5432:*:*:of_a\n10.0.0.1:*:*:*:of_address\nlocalhost:*:*:*:of_socket").unwrap();
        let text = format!("passfile={} ", file.path().display());
        let password = |rest: &str| {
            let mut targets = resolved(&format!("{text}{rest}")).unwrap().targets;
            targets.pop().unwrap().password.map(|secret| secret.reveal().to_string())
        };
        assert_eq!(password("host=a").as_deref(), Some("of_a"));
        assert_eq!(password("host=a port=1"), None);
        assert_eq!(password("hostaddr=10.0.0.1").as_deref(), Some("of_address"));
        assert_eq!(password("").as_deref(), Some("of_socket"));
        assert_eq!(password("password=own").as_deref(), Some("own"));
        assert_eq!(password("host=a password=''").as_deref(), Some("of_a"));
    }
}
