//! The hosts of a connection string, each with its port and password.

use std::path::{Path, PathBuf};

use super::values::Values;
use super::{Host, HostTarget, Result};
use crate::pg::failure::ConnectError;
use crate::pg::passfile::{self, PasswordFor};
use crate::pg::provenance::{PasswordFrom, Provenance};
use crate::secret::Secret;
use crate::system::environment::Environment;

/// Where what is known of the hosts comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Who says that they are the hosts.
    pub(super) provenance: Provenance,
    /// The password is part of the connection string.
    pub(super) brings_password: bool,
}

/// Builds the list of hosts, by libpq's rules for lists of different lengths.
pub(super) fn targets(
    values: &Values,
    environment: &Environment,
    user: &str,
    dbname: &str,
    origin: Origin,
    warnings: &mut Vec<String>,
) -> Result<Vec<HostTarget>> {
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
        let usable = origin.brings_password || origin.provenance.takes_password_of_any_host();
        let mut password = password.clone().filter(|_| usable);
        let mut from = if origin.brings_password { PasswordFrom::TheString } else { PasswordFrom::Elsewhere };
        if let (None, Some(file)) = (&password, &passfile) {
            let host = match (&host, &name) {
                (Host::Socket(directory), _) if *directory == default_socket_directory() => "localhost",
                (_, Some(name)) => name,
                (_, None) => address.as_deref().unwrap_or("localhost"),
            };
            let port = if port_text.is_empty() { "5432" } else { port_text };
            let lookup = passfile::look_up(file, PasswordFor { host, port, dbname, user });
            password = lookup.password;
            from = PasswordFrom::PasswordFile;
            if let Some(warning) = lookup.warning.filter(|warning| !warnings.contains(warning)) {
                warnings.push(warning);
            }
        }
        let password = password.filter(|password| !password.reveal().is_empty());
        targets.push(HostTarget {
            host,
            port: port(port_text)?,
            password,
            proofs: origin.provenance.proofs(from),
        });
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
pub(in crate::pg) fn default_socket_directory() -> PathBuf {
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
