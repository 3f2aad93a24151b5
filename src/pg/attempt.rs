//! One address: socket, encryption, authentication, and what its failure means for the next address.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use openssl::ssl::SslContext;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_openssl::SslStream;
use tokio_postgres::config::{self, SslNegotiation};
use tokio_postgres::{Client, Config, Connection};

use super::failure::{self, Answered, ConnectError, Kind};
use super::passfile::PassfileEntry;
use super::provenance::Cleartext;
use super::resolve::{ChannelBinding, Host, HostTarget, Keepalives, Resolved, default_socket_directory};
use super::stream::{Io, Settled, Stream, Terms, Watch};
use super::tls::{self, SslMode};
use crate::system::environment::user_name;

/// Everything that is the same for all addresses.
pub struct Common {
    /// The resolved connection string.
    pub resolved: Resolved,
    /// The TLS context, or why there is none. Made only when a server has agreed to TLS, as in libpq: with
    /// `sslmode=prefer` a broken certificate file costs the encryption, not the connection.
    pub tls: OnceLock<Result<SslContext, String>>,
    /// The settings of every session, as command-line options for the server.
    pub settings: String,
}

/// An address to connect to.
#[derive(Clone, Debug)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// The path of a Unix socket, or a name in the abstract namespace with `@` for the zero byte.
    Socket(PathBuf),
}

/// What to do about encryption in one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    /// No TLS.
    Off,
    /// TLS if the server has it.
    Wanted,
    /// TLS or nothing.
    Required,
}

/// Where libpq goes from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTry {
    /// To the next address of this host.
    Address,
    /// To the next host.
    Host,
    /// Nowhere: a wrong password here is not tried elsewhere.
    Stop,
}

/// A try that failed.
#[derive(Debug)]
pub struct Failure {
    /// Why. The primary is the reason alone, without the address.
    pub error: ConnectError,
    /// Where to go from here.
    pub next: NextTry,
    /// The server said no, or TLS failed: with the other kind of encryption it may work.
    other_encryption: bool,
}

impl Failure {
    fn new(kind: Kind, watch: &Watch, next: NextTry, primary: impl Into<String>) -> Self {
        Self { error: ConnectError::new(kind, watch.answered(), primary), next, other_encryption: false }
    }

    fn stop(kind: Kind, watch: &Watch, primary: impl Into<String>) -> Self {
        Self::new(kind, watch, NextTry::Stop, primary)
    }

    fn tls(watch: &Watch, primary: impl Into<String>) -> Self {
        Self { other_encryption: true, ..Self::stop(Kind::Tls, watch, primary) }
    }

    /// Makes one of an error on a socket that had been connected.
    fn io(watch: &Watch, error: &io::Error) -> Self {
        let gone = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        let closed = "server closed the connection unexpectedly";
        match gone.contains(&error.kind()) {
            true => Self::stop(Kind::Closed, watch, closed),
            false => {
                Self::stop(Kind::Closed, watch, format!("could not communicate with the server: {error}"))
            }
        }
    }
}

/// A session as the driver gives it, to be driven by a task.
pub type DriverSession = (Client, Connection<Stream, Stream>);

/// Connects to one address, with the second try that `allow` and `prefer` stand for.
///
/// Not bounded here: the caller drops it when its time is over and looks at `watch`.
pub async fn connect(
    common: &Common,
    target: &HostTarget,
    address: &Address,
    watch: &Watch,
) -> Result<DriverSession, Failure> {
    use Encryption::{Off, Required, Wanted};
    let (first, second) = match (address, common.resolved.tls.mode) {
        // On a Unix socket there is no third party to hide from; sslmode is ignored, however strict it is.
        (Address::Socket(_), _) | (_, SslMode::Disable) => (Off, None),
        (_, SslMode::Allow) => (Off, Some(Wanted)),
        (_, SslMode::Prefer) => (Wanted, Some(Off)),
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => (Required, None),
    };
    let one_try = async |encryption| {
        let stream = open(common, target, address, encryption, watch).await?;
        start(common, target, stream, watch).await
    };
    let failure = match one_try(first).await {
        Ok(connected) => return Ok(connected),
        Err(failure) => failure,
    };
    // A server without TLS answers the first try of `prefer` in clear text: then the second would be the same again.
    let used_tls = watch.observations().tls || failure.error.kind == Kind::Tls;
    match second.filter(|_| failure.other_encryption && used_tls == (first == Wanted)) {
        Some(second) => match one_try(second).await {
            Ok(connected) => Ok(connected),
            Err(other) => Err(combine_failures(failure, other, second == Off)),
        },
        None => Err(failure),
    }
}

/// Makes one failure of two tries with different encryption.
///
/// `pg_hba.conf` often has a line for one of them only. The other one's complaint about that must not hide, for instance,
/// that the password was wrong.
fn combine_failures(first: Failure, second: Failure, second_is_clear: bool) -> Failure {
    let (with, without) = if second_is_clear { (&first, &second) } else { (&second, &first) };
    let detail = (with.error.message != without.error.message)
        .then(|| format!("With TLS: {}; without TLS: {}.", with.error.message, without.error.message));
    let next = second.next;
    let answered = first.error.answered.max(second.error.answered);
    let telling = |failure: &Failure| !matches!(failure.error.kind, Kind::NoHbaEntry | Kind::Tls);
    let mut chosen = if !telling(&first) && telling(&second) { second } else { first };
    let text = &mut chosen.error.text;
    text.detail = detail.or(text.detail.take());
    chosen.error.answered = answered;
    Failure { next, other_encryption: false, ..chosen }
}

/// Opens the socket and settles encryption.
async fn open(
    common: &Common,
    target: &HostTarget,
    address: &Address,
    encryption: Encryption,
    watch: &Watch,
) -> Result<Stream, Failure> {
    watch.start_again();
    let resolved = &common.resolved;
    // No other user can read what is sent, and this user's own server or root's reads it.
    let mut protected = false;
    let socket: Box<dyn Io> = match address {
        Address::Tcp(address) => {
            let socket = TcpStream::connect(address).await.map_err(|error| not_connected(watch, &error))?;
            {
                let mut seen = watch.observations();
                seen.accepted = true;
                seen.local = socket.local_addr().ok().map(|address| address.ip());
            }
            tune(&socket, resolved.keepalives, resolved.tcp_user_timeout_ms).map_err(|error| {
                Failure::stop(Kind::Other(None), watch, format!("could not set up the socket: {error}"))
            })?;
            Box::new(socket)
        }
        Address::Socket(path) => {
            let socket = UnixStream::connect(system_path(path)).await;
            let socket = socket.map_err(|error| not_connected(watch, &error))?;
            watch.observations().accepted = true;
            let trusted = [0, rustix::process::geteuid().as_raw()];
            protected = socket.peer_cred().is_ok_and(|peer| trusted.contains(&peer.uid()));
            check_owner(&socket, resolved.require_peer.as_deref(), watch)?;
            Box::new(socket)
        }
    };
    let open = matches!(address, Address::Tcp(_));
    let clear = |socket| Ok(Stream::new(socket, None, terms(common, target, protected, open), watch.clone()));
    match encryption {
        Encryption::Off => clear(socket),
        Encryption::Required if resolved.tls.direct => encrypt(common, target, socket, watch).await,
        Encryption::Wanted | Encryption::Required => {
            let mut socket = socket;
            match ask_for_tls(&mut socket).await.map_err(|error| Failure::io(watch, &error))? {
                b'S' => {
                    watch.observations().spoke = true;
                    encrypt(common, target, socket, watch).await
                }
                b'N' => {
                    watch.observations().spoke = true;
                    match encryption {
                        Encryption::Required => {
                            let text = "server does not support SSL, but SSL was required";
                            Err(Failure::stop(Kind::Tls, watch, text))
                        }
                        _ => clear(socket),
                    }
                }
                // Not shown: nothing has proved yet who says it (CVE-2024-10977).
                b'E' => {
                    watch.observations().spoke = true;
                    let text = "server sent an error response during SSL exchange";
                    Err(Failure::stop(Kind::Closed, watch, text))
                }
                _ => {
                    let text =
                        "received invalid response to SSL negotiation: this is not a PostgreSQL server";
                    Err(Failure::stop(Kind::Closed, watch, text))
                }
            }
        }
    }
}

/// Sends an SSLRequest and reads the one byte that answers it. Not a byte more: the next one belongs to TLS, and bytes that
/// an attacker put there in clear text must not be taken for the server's (CVE-2021-23222).
async fn ask_for_tls(socket: &mut Box<dyn Io>) -> io::Result<u8> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    socket.write_all(&SSL_REQUEST).await?;
    socket.read_u8().await
}

async fn encrypt(
    common: &Common,
    target: &HostTarget,
    socket: Box<dyn Io>,
    watch: &Watch,
) -> Result<Stream, Failure> {
    let options = &common.resolved.tls;
    let host = match &target.host {
        Host::Tcp { name, .. } => name.as_deref(),
        Host::Socket(_) => None,
    };
    let failed = |text: String| Failure::tls(watch, text);
    let context = common.tls.get_or_init(|| match options.mode {
        SslMode::Disable => Err("TLS is off".into()),
        _ => tls::context(options),
    });
    let context = context.as_ref().map_err(|error| failed(error.clone()))?;
    let ssl = tls::session(context, options, host).map_err(failed)?;
    let mut stream = SslStream::new(ssl, socket).map_err(|error| failed(tls::not_set_up(&error)))?;
    let shaken = Pin::new(&mut stream).connect().await;
    shaken.map_err(|error| failed(tls::handshake_error(stream.ssl(), &error)))?;
    tls::check_peer(stream.ssl(), options, host).map_err(failed)?;
    {
        let mut seen = watch.observations();
        seen.tls = true;
        seen.spoke |= options.direct;
    }
    let end_point = tls::end_point(stream.ssl());
    let terms = terms(common, target, options.mode >= SslMode::VerifyCa, false);
    Ok(Stream::new(Box::new(stream), end_point, terms, watch.clone()))
}

/// Decides how this side proves who it is, now that it is known who can read what it sends.
fn terms(common: &Common, target: &HostTarget, protected: bool, open: bool) -> Terms {
    let cleartext = match target.proofs.cleartext {
        Cleartext::Always => true,
        Cleartext::Protected => protected,
        Cleartext::Never => false,
    };
    // Without a password there is nothing to withhold, and the driver says what is missing.
    let nothing = target.password.is_none();
    Terms {
        methods: common.resolved.methods,
        cleartext: cleartext || nothing,
        md5: target.proofs.md5 || nothing,
        open,
    }
}

/// Sends the startup packet and authenticates.
async fn start(
    common: &Common,
    target: &HostTarget,
    stream: Stream,
    watch: &Watch,
) -> Result<DriverSession, Failure> {
    let resolved = &common.resolved;
    let mut config = Config::new();
    config.user(&resolved.user).dbname(&resolved.dbname);
    config.ssl_mode(config::SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    config.channel_binding(match resolved.channel_binding {
        ChannelBinding::Disable => config::ChannelBinding::Disable,
        ChannelBinding::Prefer => config::ChannelBinding::Prefer,
        ChannelBinding::Require => config::ChannelBinding::Require,
    });
    // Ours come last, so they win; as a client's options they also win over those of the role and the database.
    let given = resolved.options.as_deref().unwrap_or_default();
    config.options(format!("{given} {}", common.settings));
    if let Some(name) = &resolved.application_name {
        config.application_name(name);
    }
    if let Some(password) = &target.password {
        config.password(password.reveal());
    }
    let local = watch.clone();
    let started = config.connect_raw(stream, Settled).await;
    started.map_err(|error| not_started(resolved, target, &local, &error))
}

/// Returns the line of a password file for a server, without the password.
fn password_line(resolved: &Resolved, target: &HostTarget) -> String {
    let host = match &target.host {
        Host::Socket(directory) if *directory == default_socket_directory() => "localhost".to_string(),
        Host::Socket(directory) => directory.display().to_string(),
        Host::Tcp { name: Some(name), .. } => name.clone(),
        Host::Tcp { address, .. } => address.map_or("localhost".to_string(), |address| address.to_string()),
    };
    let (dbname, user) = (resolved.dbname.clone(), resolved.user.clone());
    PassfileEntry { host, port: target.port.to_string(), dbname, user, password: None }
        .line(true)
        .replace("********", "PASSWORD")
}

/// Sorts the ways in which the startup fails.
fn not_started(
    resolved: &Resolved,
    target: &HostTarget,
    watch: &Watch,
    error: &tokio_postgres::Error,
) -> Failure {
    let (refused, withheld, asked, tls, address, excess) = {
        let seen = watch.observations();
        (seen.refused, seen.withheld, seen.asked, seen.tls, seen.local, seen.excess.clone())
    };
    if let Some(error) = error.as_db_error() {
        watch.observations().spoke = true;
        let client = failure::Client { dbname: &resolved.dbname, user: &resolved.user, address, tls };
        let error = failure::from_server(error, &client);
        // A server that cannot take connections now is like one that is not there, and so are its other addresses.
        let starting = matches!(error.kind, Kind::StartingUp | Kind::ShuttingDown);
        let next = if starting { NextTry::Host } else { NextTry::Stop };
        return Failure { other_encryption: !starting, error, next };
    }
    if let Some(method) = refused.filter(|_| withheld) {
        return withheld_from(target, watch, method);
    }
    if let Some(method) = refused {
        let text = format!("server requests {method}, which \"require_auth\" does not allow");
        return Failure::stop(Kind::Authentication, watch, text);
    }
    if let Some(excess) = excess {
        return Failure::stop(Kind::Closed, watch, excess);
    }
    match asked {
        Some(3 | 5 | 10) if target.password.is_none() => {
            let mut failure = Failure::stop(Kind::PasswordMissing, watch, "no password supplied");
            failure.error.hint = Some(format!(
                "Add this line, with the password, to the file ~/.pgpass (mode 0600) of the user that runs pgbaton: \"{}\".",
                password_line(resolved, target)
            ));
            failure
        }
        Some(2 | 6 | 7 | 9) => {
            let text =
                "server requests an authentication method that pgbaton does not support (GSSAPI, SSPI)";
            Failure::stop(Kind::Authentication, watch, text)
        }
        Some(_) if !error.is_closed() && io_error(error).is_none() => {
            Failure::stop(Kind::Authentication, watch, cause(error))
        }
        _ => match io_error(error) {
            Some(error) => Failure::io(watch, error),
            None if error.is_closed() => Failure::io(watch, &io::ErrorKind::UnexpectedEof.into()),
            None => Failure::stop(Kind::Closed, watch, cause(error)),
        },
    }
}

/// The failure of a server that asks for the password in a way in which it is not sent there.
fn withheld_from(target: &HostTarget, watch: &Watch, method: &str) -> Failure {
    let mut failure = Failure::stop(
        Kind::Authentication,
        watch,
        format!(
            "server requests {method}, which pgbaton does not send to a server known only from the metadata"
        ),
    );
    failure.error.detail = Some(
        "The connection string is a registered one, and not that of the configuration or the command line; any role that can write to \
         the metadata could have written it."
            .into(),
    );
    let allow = "or set cleartext_passwords = \"allow\" in the configuration";
    failure.error.hint = Some(match target.proofs.cleartext {
        Cleartext::Never => "Use scram-sha-256 for this role in pg_hba.conf of that server. Without hostaddr in the registered conninfo, \
            and for the role of the own conninfo, other methods are possible with a password of the password file."
            .into(),
        _ => format!(
            "Use scram-sha-256 in pg_hba.conf of that server, or register a conninfo with sslmode=verify-full, {allow}."
        ),
    });
    failure
}

fn io_error(error: &tokio_postgres::Error) -> Option<&io::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Returns the innermost text: the outer ones say only which part of the driver it came from.
fn cause(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Sorts the ways in which a socket is not connected.
fn not_connected(watch: &Watch, error: &io::Error) -> Failure {
    use io::ErrorKind as E;
    let (kind, answered, text) = match error.kind() {
        E::ConnectionRefused => (Kind::Refused, Answered::Nothing, "connection refused".into()),
        E::NotFound => (Kind::Refused, Answered::Nothing, "there is no such socket".into()),
        E::HostUnreachable => (Kind::Unreachable, Answered::Nothing, "no route to host".into()),
        E::NetworkUnreachable => (Kind::Unreachable, Answered::Nothing, "network is unreachable".into()),
        E::TimedOut => (Kind::TimedOut, Answered::Nothing, "connection timed out".into()),
        // A process has the socket open and does not accept connections from its full queue.
        E::WouldBlock => (Kind::TimedOut, Answered::Silent, "the socket's queue is full".into()),
        // Reset before it was accepted, no permission, no more descriptors: says nothing about the server.
        _ => (Kind::Other(None), Answered::Silent, error.to_string()),
    };
    let mut failure = Failure::new(kind, watch, NextTry::Address, text);
    if failure.error.kind == Kind::Refused {
        let hint = "If the server is not running there, start it: \"pgbaton node start\" on its host. If it is, \
                     check its listen_addresses, unix_socket_directories and port.";
        failure.error.hint = Some(hint.into());
    }
    // An earlier try, with other encryption, may have heard more.
    failure.error.answered = answered.max(watch.answered());
    failure
}

/// Sets what the keywords for TCP say. Milliseconds for `tcp_user_timeout`, seconds for keepalives.
fn tune(socket: &TcpStream, keepalives: Keepalives, user_timeout_ms: Option<u32>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let seconds = |s: u32| Duration::from_secs(s.into());
    if !keepalives.off {
        sockopt::set_socket_keepalive(socket, true)?;
        keepalives.idle_s.map_or(Ok(()), |s| sockopt::set_tcp_keepidle(socket, seconds(s)))?;
        keepalives.interval_s.map_or(Ok(()), |s| sockopt::set_tcp_keepintvl(socket, seconds(s)))?;
        keepalives.count.map_or(Ok(()), |count| sockopt::set_tcp_keepcnt(socket, count))?;
    }
    user_timeout_ms.map_or(Ok(()), |ms| sockopt::set_tcp_user_timeout(socket, ms))?;
    Ok(())
}

/// Checks `requirepeer`.
fn check_owner(socket: &UnixStream, wanted: Option<&str>, watch: &Watch) -> Result<(), Failure> {
    let Some(wanted) = wanted else { return Ok(()) };
    let failed = |text: String| Failure::stop(Kind::Authentication, watch, text);
    let peer =
        socket.peer_cred().map_err(|error| failed(format!("could not get peer credentials: {error}")))?;
    match user_name(peer.uid()) {
        Some(name) if name == wanted => Ok(()),
        Some(name) => Err(failed(format!(
            "requirepeer specifies \"{wanted}\", but actual peer user name is \"{name}\""
        ))),
        None => Err(failed(format!("local user with ID {} does not exist", peer.uid()))),
    }
}

/// Returns the path as the system takes it: `@` for the abstract namespace becomes a zero byte.
fn system_path(path: &std::path::Path) -> PathBuf {
    match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(name) => format!("\0{name}").into(),
        None => path.into(),
    }
}

/// Names an address for people, as libpq does.
pub fn describe(target: &HostTarget, address: &Address) -> String {
    match (address, &target.host) {
        (Address::Socket(path), _) => format!("server on socket \"{}\"", path.display()),
        (Address::Tcp(address), Host::Tcp { name: Some(name), .. }) if *name != address.ip().to_string() => {
            format!("server at \"{name}\" ({}), port {}", address.ip(), address.port())
        }
        (Address::Tcp(address), _) => format!("server at \"{}\", port {}", address.ip(), address.port()),
    }
}
