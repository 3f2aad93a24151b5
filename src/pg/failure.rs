//! Why a connection was not made, and what that says about the server.

use std::fmt;

use tokio_postgres::error::DbError;

use super::quote::quote_hba;
use crate::error::{Text, carries_text};

/// What the attempt showed about whether a server is alive. Ordered: the later says more.
///
/// A promotion is decided on this. So it is `Nothing` only if every address was asked and none of them answered, and
/// whatever fails on this side of the wire leaves it at `Silent`: it cannot be determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answered {
    /// No response at all: the name was not resolved, or no server accepted the connection. A server that has been stopped for so
    /// long that the queue of its socket is full looks the same from another host.
    Nothing,
    /// It cannot be determined. The connection was accepted and then nothing came that a PostgreSQL server would say (it hangs,
    /// is stopped, or is something else); or the server was not asked, because of an error on this side.
    Silent,
    /// The server said something in its protocol, be it an error.
    Spoke,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The connection string, service file, environment or a local file is at fault; nothing was tried.
    Invalid,
    /// The named keyword asks for something that pgbaton does not have; nothing was tried.
    NotSupported(String),
    /// The host name could not be resolved.
    Resolve,
    /// No server listens there.
    Refused,
    /// There is no way to the host.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// TLS was refused, or the certificate was.
    Tls,
    /// The server requires a password and there is none.
    PasswordMissing,
    /// The server, or this side, did not accept the other one's proof.
    Authentication,
    /// `pg_hba.conf` rejects the client.
    NoHbaEntry,
    /// The server is starting, in recovery, or a standby that takes no connections.
    StartingUp,
    /// The server is shutting down.
    ShuttingDown,
    /// No connection is free.
    TooManyConnections,
    /// The database does not exist.
    DatabaseMissing,
    /// The server is not what `target_session_attrs` asks for.
    WrongTarget,
    /// The connection was closed before it was usable.
    Closed,
    /// Anything else, with its SQLSTATE if the server said it.
    Other(Option<String>),
}

/// A connection that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// What went wrong. Of several addresses, at the one that said most.
    pub kind: Kind,
    /// What happened; of several addresses, at each of them.
    pub text: Text,
    /// What it says about the server. Of several addresses, the most that any of them said.
    pub answered: Answered,
}

carries_text!(ConnectError);

impl ConnectError {
    /// Starts an error.
    pub fn new(kind: Kind, answered: Answered, text: impl Into<Text>) -> Self {
        Self { kind, text: text.into(), answered }
    }

    /// An error on this side, before anything was tried.
    pub fn invalid(text: impl Into<Text>) -> Self {
        Self::new(Kind::Invalid, Answered::Silent, text)
    }

    /// A keyword that cannot be honoured.
    pub fn not_supported(keyword: &str, why: &str) -> Self {
        let primary = format!("connection option \"{keyword}\" cannot be honored: {why}");
        Self::new(Kind::NotSupported(keyword.into()), Answered::Silent, primary)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl std::error::Error for ConnectError {}

/// What `pg_hba.conf` would have to know about this client.
pub struct Client<'a> {
    /// The database asked for.
    pub dbname: &'a str,
    /// The role.
    pub user: &'a str,
    /// This side's address, or None on a Unix socket.
    pub address: Option<std::net::IpAddr>,
    /// Whether TLS was in use.
    pub tls: bool,
}

/// Makes an error of what a server said instead of letting the client in. The primary is the server's text alone.
pub fn from_server(error: &DbError, client: &Client<'_>) -> ConnectError {
    let message = error.message();
    let kind = kind_of(error.code().code(), message);
    let hint = match kind {
        Kind::NoHbaEntry => Some(hba_hint(message, client)),
        _ => error.hint().map(str::to_string),
    };
    let detail = error.detail().map(str::to_string);
    ConnectError::new(kind, Answered::Spoke, Text { message: message.into(), detail, hint })
}

/// Sorts the errors that a server refuses a client with.
///
/// The message is looked at only where one SQLSTATE stands for two things. It may be translated, so what is looked for is
/// a file's name, or falls to the more general kind.
fn kind_of(sqlstate: &str, message: &str) -> Kind {
    match sqlstate {
        "28P01" => Kind::Authentication,
        "28000" if message.contains("pg_hba.conf") => Kind::NoHbaEntry,
        "28000" => Kind::Authentication,
        "57P03" if message.contains("shutting down") => Kind::ShuttingDown,
        "57P03" => Kind::StartingUp,
        "57P01" | "57P02" => Kind::ShuttingDown,
        "53300" => Kind::TooManyConnections,
        "3D000" => Kind::DatabaseMissing,
        other => Kind::Other(Some(other.into())),
    }
}

/// Writes the line that would allow the client to connect.
fn hba_hint(message: &str, client: &Client<'_>) -> String {
    // The server knows the client by its own view of it, which address translation may have changed.
    let named = message.split_once("host \"").and_then(|(_, rest)| rest.split('"').next());
    let address = named.and_then(|name| name.parse().ok()).or(client.address);
    let connection = match (address, client.tls) {
        (None, _) => "local",
        (Some(_), true) => "hostssl",
        (Some(_), false) => "host",
    };
    let mut line = format!("{connection} {} {}", quote_hba(client.dbname), quote_hba(client.user));
    if let Some(address) = address {
        line.push_str(&format!(" {address}/{}", if address.is_ipv4() { 32 } else { 128 }));
    }
    line.push_str(" scram-sha-256");
    match message.contains("rejects") {
        true => format!(
            "A line of pg_hba.conf rejects this client. Put \"{line}\" above it and reload the server."
        ),
        false => format!("Add the line \"{line}\" to pg_hba.conf and reload the server."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_sorted() {
        for (sqlstate, message, kind) in [
            ("28P01", "password authentication failed for user \"u\"", Kind::Authentication),
            ("28000", "no pg_hba.conf entry for host \"::1\"", Kind::NoHbaEntry),
            ("28000", "role \"u\" does not exist", Kind::Authentication),
            ("57P03", "the database system is starting up", Kind::StartingUp),
            ("57P03", "das Datenbanksystem fährt herunter", Kind::StartingUp),
            ("57P03", "the database system is shutting down", Kind::ShuttingDown),
            ("57P01", "terminating connection due to administrator command", Kind::ShuttingDown),
            ("53300", "sorry, too many clients already", Kind::TooManyConnections),
            ("3D000", "database \"d\" does not exist", Kind::DatabaseMissing),
            ("XX000", "x", Kind::Other(Some("XX000".into()))),
        ] {
            assert_eq!(kind_of(sqlstate, message), kind, "{message}");
        }
    }

    #[test]
    fn the_hint_has_the_exact_line() {
        let client = Client { dbname: "repmgr", user: "all", address: "10.0.0.7".parse().ok(), tls: true };
        assert_eq!(
            hba_hint("no pg_hba.conf entry for host \"192.0.2.1\", user \"all\"", &client),
            "Add the line \"hostssl repmgr \"all\" 192.0.2.1/32 scram-sha-256\" to pg_hba.conf and reload the server."
        );
        assert!(hba_hint("pg_hba.conf", &client).contains(" 10.0.0.7/32 "));
        let local = Client { address: None, tls: false, ..client };
        assert!(
            hba_hint("no pg_hba.conf entry for host \"[local]\"", &local)
                .contains("local repmgr \"all\" scram")
        );
        let rejected = hba_hint("pg_hba.conf rejects connection for host \"::1\"", &local);
        assert!(
            rejected.contains("host repmgr \"all\" ::1/128 scram-sha-256") && rejected.contains("above it")
        );
    }

    #[test]
    fn saying_something_outranks_silence() {
        assert!(Answered::Spoke > Answered::Silent && Answered::Silent > Answered::Nothing);
    }
}
