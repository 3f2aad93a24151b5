//! Connecting as libpq does, but never for longer than allowed.
//!
//! Name resolution, socket, TLS, authentication and the first settings run under one deadline. `connect_timeout` of libpq
//! covers most of that, of the driver only the socket: a server that is stopped while it holds a connection, or a resolver
//! that hangs, would block a command forever. A hung resolver thread outlives its deadline, so programs end their runtime
//! with `shutdown_background()`.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::attempt::{self, Address, Common, Failure, NextTry};
use super::client::Session;
use super::conninfo::Conninfo;
use super::failure::{Answered, ConnectError, Kind};
use super::provenance::PasswordFrom;
use super::quote::quote_literal;
use super::resolve::{Host, HostTarget, PROBE_S, SILENCE_MS, TargetSession, resolve};
use super::stream::Watch;
use crate::error::{Text, sentence};
use crate::secret::Secret;
use crate::system::environment::Environment;

/// The bound for one address where the connection string gives none: repmgr's.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks up a host name.
pub type Resolver = fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// How to connect, in addition to what the connection string says.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The bound for everything together.
    pub deadline: Duration,
    /// The bound for each later query, unless the call has its own.
    pub query_deadline: Duration,
    /// The application name, over that of the connection string.
    pub application_name: Option<String>,
    /// The password, over that of the connection string and of the password file.
    pub password: Option<Secret>,
    /// Session settings beyond those that every session gets.
    pub settings: Vec<(String, String)>,
    /// How names are looked up.
    pub resolver: Resolver,
}

impl Default for ConnectOptions {
    /// Ten seconds for the connection, ten for each query, the system's resolver.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            query_deadline: Duration::from_secs(10),
            application_name: None,
            password: None,
            settings: Vec::new(),
            resolver: |host, port| {
                Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
            },
        }
    }
}

/// Connects to the first server of a connection string that will do.
///
/// # Errors
/// See [`Kind`]. [`ConnectError::answered`] says what the failure shows about the server being alive.
pub async fn connect(
    conninfo: &Conninfo,
    environment: &Environment,
    options: &ConnectOptions,
) -> Result<Session, ConnectError> {
    let deadline = Instant::now() + options.deadline;
    let mut resolved = resolve(conninfo, environment)?;
    if let Some(name) = &options.application_name {
        resolved.application_name = Some(name.clone());
    }
    resolved.application_name.get_or_insert_with(|| "pgbaton".into());
    if let Some(password) = &options.password {
        for target in &mut resolved.targets {
            target.password = Some(password.clone());
            target.proofs = resolved.provenance.proofs(PasswordFrom::Elsewhere);
        }
    }
    if resolved.shuffle {
        shuffle(&mut resolved.targets);
    }
    let passes: &[TargetSession] = match resolved.target_session {
        TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
        TargetSession::Any => &[TargetSession::Any],
        TargetSession::ReadWrite => &[TargetSession::ReadWrite],
        TargetSession::ReadOnly => &[TargetSession::ReadOnly],
        TargetSession::Primary => &[TargetSession::Primary],
        TargetSession::Standby => &[TargetSession::Standby],
    };
    let mut search = Search {
        common: Arc::new(Common { resolved, tls: OnceLock::new(), settings: settings(options) }),
        options,
        deadline,
        failures: Vec::new(),
    };
    for pass in passes {
        // What the first pass found wrong is found again by the second one.
        search.failures.clear();
        match search.pass(*pass).await {
            Ok(session) => return Ok(session),
            Err(NextTry::Stop) => break,
            Err(NextTry::Address | NextTry::Host) => {}
        }
    }
    Err(search.into_error())
}

/// One walk through the hosts.
struct Search<'a> {
    common: Arc<Common>,
    options: &'a ConnectOptions,
    deadline: Instant,
    failures: Vec<(String, ConnectError)>,
}

impl Search<'_> {
    async fn pass(&mut self, wanted: TargetSession) -> Result<Session, NextTry> {
        let common = Arc::clone(&self.common);
        'hosts: for target in &common.resolved.targets {
            let addresses = match self.addresses(target).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    self.failures.push((describe_host(target), error));
                    continue;
                }
            };
            for address in addresses {
                let watch = Watch::default();
                let begun = Instant::now();
                let tried = timeout_at(self.limit(), self.one(target, &address, wanted, &watch)).await;
                let failure = match tried {
                    Ok(Ok(session)) => return Ok(session),
                    Ok(Err(failure)) => failure,
                    Err(_) => {
                        let answered = watch.answered().max(self.answered_since(begun));
                        let error = ConnectError::new(Kind::TimedOut, answered, "timeout expired");
                        (error.detail(timeout_message(watch.answered())), NextTry::Address)
                    }
                };
                self.failures.push((attempt::describe(target, &address), failure.0));
                match failure.1 {
                    NextTry::Address => {}
                    NextTry::Host => continue 'hosts,
                    NextTry::Stop => return Err(NextTry::Stop),
                }
            }
        }
        Err(NextTry::Host)
    }

    /// Returns how long one address may take.
    fn allowance(&self) -> Duration {
        match self.common.resolved.connect_timeout {
            Some(Duration::ZERO) => self.options.deadline,
            given => given.unwrap_or(ADDRESS_TIMEOUT).min(self.options.deadline),
        }
    }

    /// Returns when the time for an address that is tried now is over.
    fn limit(&self) -> Instant {
        self.deadline.min(Instant::now() + self.allowance())
    }

    /// Says what silence since `begun` is worth: nothing answered, or it cannot be determined, because earlier addresses had left
    /// too little time to ask this one.
    fn answered_since(&self, begun: Instant) -> Answered {
        if begun.elapsed() < self.allowance() / 2 { Answered::Silent } else { Answered::Nothing }
    }

    async fn addresses(&self, target: &HostTarget) -> Result<Vec<Address>, ConnectError> {
        let name = match &target.host {
            Host::Socket(directory) => {
                return Ok(vec![Address::Socket(directory.join(format!(".s.PGSQL.{}", target.port)))]);
            }
            Host::Tcp { address: Some(address), .. } => {
                return Ok(vec![Address::Tcp(SocketAddr::new(*address, target.port))]);
            }
            Host::Tcp { name, .. } => name.clone().unwrap_or_default(),
        };
        let begun = Instant::now();
        let failed = |answered, why: String| {
            let primary = format!("could not translate host name \"{name}\" to address: {why}");
            Err(ConnectError::new(Kind::Resolve, answered, primary))
        };
        match timeout_at(self.limit(), (self.options.resolver)(name.clone(), target.port)).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => {
                let mut addresses: Vec<Address> = addresses.into_iter().map(Address::Tcp).collect();
                if self.common.resolved.shuffle {
                    shuffle(&mut addresses);
                }
                Ok(addresses)
            }
            Ok(Ok(_)) => failed(Answered::Nothing, "it has none".into()),
            Ok(Err(error)) => {
                let text = error.to_string();
                let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
                failed(Answered::Nothing, why.into())
            }
            Err(_) => failed(self.answered_since(begun), "timeout expired".into()),
        }
    }

    /// Connects to one address, and makes sure that it is the wanted kind of server.
    async fn one(
        &self,
        target: &HostTarget,
        address: &Address,
        wanted: TargetSession,
        watch: &Watch,
    ) -> Result<Session, (ConnectError, NextTry)> {
        let connected = attempt::connect(&self.common, target, address, watch).await;
        let (client, connection) = connected.map_err(|Failure { error, next, .. }| (error, next))?;
        let said = |name: &str| connection.parameter(name).map(str::to_string);
        let version = version_num(&said("server_version").unwrap_or_default());
        let (in_recovery, read_only) = (said("in_hot_standby"), said("default_transaction_read_only"));
        // Ends when the client is dropped or the server goes away; the user of the client gets an error then.
        tokio::spawn(async move { connection.await.ok() });

        let name = attempt::describe(target, address);
        let exposed = watch.observations().exposed;
        let session = Session::new(client, name, version, self.options.query_deadline, exposed);
        let failed = |error: super::client::SqlError| {
            let kind = Kind::Other(error.sqlstate);
            let text = Text { hint: None, ..error.text };
            (ConnectError::new(kind, Answered::Spoke, text), NextTry::Stop)
        };
        // Servers before 14 do not report both when the session starts, and have to be asked.
        let refused = match (wanted, in_recovery, read_only) {
            (TargetSession::Any | TargetSession::PreferStandby, _, _) => None,
            (TargetSession::ReadWrite | TargetSession::ReadOnly, Some(recovery), Some(read_only)) => {
                wrong(wanted, recovery == "on" || read_only == "on")
            }
            (TargetSession::ReadWrite | TargetSession::ReadOnly, _, _) => {
                let answer =
                    session.query_one("SELECT pg_catalog.current_setting('transaction_read_only')", &[]);
                wrong(wanted, answer.await.map_err(failed)?.get(0) == Some("on"))
            }
            (TargetSession::Primary | TargetSession::Standby, Some(recovery), _) => {
                wrong(wanted, recovery == "on")
            }
            (TargetSession::Primary | TargetSession::Standby, None, _) => {
                let answer = session.query_one("SELECT pg_catalog.pg_is_in_recovery()::pg_catalog.text", &[]);
                wrong(wanted, answer.await.map_err(failed)?.get(0) == Some("true"))
            }
        };
        if let Some(why) = refused {
            return Err((ConnectError::new(Kind::WrongTarget, Answered::Spoke, why), NextTry::Host));
        }
        session.send(&later_settings(version)).await;
        if let Some(more) = more_settings(self.options) {
            session.batch(&more).await.map_err(failed)?;
        }
        Ok(session)
    }

    /// Makes one error of all failures.
    fn into_error(mut self) -> ConnectError {
        let warnings = self.common.resolved.warnings.join(" ");
        let answered =
            self.failures.iter().map(|(_, error)| error.answered).max().unwrap_or(Answered::Nothing);
        if self.failures.len() == 1
            && let Some((place, mut error)) = self.failures.pop()
        {
            if error.kind != Kind::Resolve {
                error.message = format!("connection to {place} failed: {}", error.message);
            }
            return error.detail(warnings);
        }
        let lines = self.failures.iter().map(|(place, error)| match error.kind {
            Kind::Resolve => sentence(&error.message),
            _ => sentence(&format!("{place}: {}", error.message)),
        });
        let detail = lines.chain(Some(warnings)).collect::<Vec<_>>().join(" ").trim_end().to_string();
        let message = match self.failures.len() {
            0 => "there was no time to try any server".into(),
            count => format!("could not connect to any of {count} addresses"),
        };
        // The last of those that said most: if one of them ended the search, it is the last one.
        let telling = self.failures.into_iter().map(|(_, error)| error).max_by_key(|error| error.answered);
        let (kind, hint) = telling.map_or((Kind::TimedOut, None), |error| (error.kind, error.text.hint));
        ConnectError::new(kind, answered, Text { message, detail: Some(detail), hint })
    }
}

/// Says what a timeout means.
fn timeout_message(answered: Answered) -> &'static str {
    match answered {
        Answered::Nothing => "No server accepted the connection.",
        Answered::Silent => "The connection was accepted, but the server did not respond.",
        Answered::Spoke => "The server responded at first, and then no longer.",
    }
}

/// Says why a server will not do, if `target_session_attrs` requires another kind; `so` is read-only, or in recovery.
fn wrong(wanted: TargetSession, so: bool) -> Option<&'static str> {
    match (wanted, so) {
        (TargetSession::ReadWrite, true) => Some("session is read-only"),
        (TargetSession::ReadOnly, false) => Some("session is not read-only"),
        (TargetSession::Primary, true) => Some("server is in hot standby mode"),
        (TargetSession::Standby, false) => Some("server is not in hot standby mode"),
        _ => None,
    }
}

/// Writes the settings of every session as options of the startup packet: they cost no round trip, and a fresh backend no parser. As a
/// client's options they win over every default of the server, the database and the role; what is named here is what could change the
/// meaning, the form or the fate of our statements.
///
/// `synchronous_commit`: a standby that is gone must not hold our transactions, which no timeout would end. `search_path`: without
/// it a statement could call a user's function instead of the server's. `tcp_`: a session whose client is lost with its host or its
/// network must not hold its locks for two hours. `default_transaction_isolation`: a standby refuses serializable transactions.
/// `default_tablespace` and `default_table_access_method`: the metadata is where a dump of its database would restore it. `TimeZone` stays:
/// every time comes with its offset, and events are shown in the zone of the server, as by repmgr. Not here are what an older server does not
/// know, see [`later_settings`], and what only a superuser may set.
fn settings(options: &ConnectOptions) -> String {
    const SETTINGS: [(&str, &str); 19] = [
        ("search_path", "pg_catalog,pg_temp"),
        ("synchronous_commit", "local"),
        ("role", "none"),
        ("row_security", "on"),
        ("default_transaction_isolation", "read\\ committed"),
        ("default_transaction_deferrable", "off"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("exit_on_error", "off"),
        ("DateStyle", "ISO"),
        ("IntervalStyle", "postgres"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        ("standard_conforming_strings", "on"),
        ("transform_null_equals", "off"),
        ("quote_all_identifiers", "off"),
        ("check_function_bodies", "on"),
        ("default_tablespace", ""),
        ("default_table_access_method", "heap"),
    ];
    let fixed: String = SETTINGS.iter().map(|(name, value)| format!("-c {name}={value} ")).collect();
    let timeout = super::client::statement_timeout(options.query_deadline);
    format!(
        "{fixed}-c statement_timeout={timeout} -c tcp_keepalives_idle={PROBE_S} -c tcp_keepalives_interval={PROBE_S} \
         -c tcp_user_timeout={SILENCE_MS}"
    )
}

/// Writes the statement for those settings that cannot be options of the startup packet. It is sent ahead of the first query, and its answer
/// is not waited for.
///
/// `default_transaction_read_only`: a server reports it when the session starts, which `target_session_attrs` goes by, and what clients get is
/// its default in `pg_settings`; set as an option it would hide both. The others are unknown to older servers, which would refuse the
/// connection: locks live as long as their session, and a statement as long as we wait for it.
fn later_settings(version: u32) -> String {
    let mut out = "SET default_transaction_read_only = off".to_string();
    if version >= 140_000 {
        out.push_str("; SET idle_session_timeout = 0");
    }
    if version >= 170_000 {
        out.push_str("; SET transaction_timeout = 0");
    }
    out
}

/// Writes the statements for the settings that one connection has besides, if there are any.
fn more_settings(options: &ConnectOptions) -> Option<String> {
    let each = options.settings.iter().map(|(name, value)| {
        let (name, value) = (quote_literal(name), quote_literal(value));
        format!("SELECT pg_catalog.set_config({name}, {value}, false)")
    });
    let all: Vec<String> = each.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Makes a number of a version as PQserverVersion does: 15.20 is 150020, 18beta1 is 180000.
fn version_num(text: &str) -> u32 {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let major = parts.next().unwrap_or(0);
    let beta = !text.contains('.') || text.contains("beta") || text.contains("rc") || text.contains("devel");
    let minor = parts.next().unwrap_or(0);
    major * 10_000 + if beta { 0 } else { minor }
}

/// Names a host that has no address.
fn describe_host(target: &HostTarget) -> String {
    match &target.host {
        Host::Tcp { name: Some(name), .. } => format!("server at \"{name}\", port {}", target.port),
        _ => format!("server on port {}", target.port),
    }
}

/// Puts things into a random order. Load balancing needs nothing better than what the standard library seeds its maps with.
fn shuffle<T>(items: &mut [T]) {
    for i in (1..items.len()).rev() {
        let random = RandomState::new().build_hasher().finish();
        items.swap(i, usize::try_from(random % (i as u64 + 1)).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_numbers() {
        for (text, number) in
            [("15.20 (Debian 15.20-0+deb12u1)", 150_020), ("18beta1", 180_000), ("13.4", 130_004), ("", 0)]
        {
            assert_eq!(version_num(text), number);
        }
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..100).collect();
        shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
