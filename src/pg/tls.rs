//! TLS with libpq's meaning of the `ssl…` keywords.
//!
//! Built on a plain `SslContext`. An `SslConnector`, which is what `postgres-openssl` takes, trusts the system's
//! certificate authorities: with `sslmode=verify-ca` and a root file it would accept any server that has a certificate from any of
//! them, and loading them takes 20 ms.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslOptions, SslRef};
use openssl::ssl::{SslVerifyMode, SslVersion};
use openssl::x509::store::X509Lookup;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509Ref, X509VerifyResult};

use crate::secret::Secret;
use crate::system::files;

/// What `sslmode` says, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if it does not work without.
    Allow,
    /// TLS if it works.
    Prefer,
    /// TLS.
    Require,
    /// TLS, and the certificate is from an authority that is trusted.
    VerifyCa,
    /// TLS, and the certificate is that of the host.
    VerifyFull,
}

/// Which authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// Those of a file. Where it is not there, no certificate is checked, unless `sslmode` asks for it.
    File(Option<PathBuf>),
    /// Those of the operating system.
    System,
}

/// Everything that the `ssl…` keywords say.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Whether, and how strictly.
    pub mode: SslMode,
    /// Without asking the server first whether it has TLS.
    pub direct: bool,
    /// Which authorities are trusted.
    pub root: Root,
    /// Revoked certificates, from a file that was named.
    pub crl: Option<PathBuf>,
    /// Revoked certificates, from a directory that was named.
    pub crl_directory: Option<PathBuf>,
    /// Revoked certificates, from a file that need not be there.
    pub default_crl: Option<PathBuf>,
    /// The client's certificate; it need not be there.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The passphrase of the key.
    pub key_password: Option<Secret>,
    /// The oldest version of TLS.
    pub min_version: Option<TlsVersion>,
    /// The newest version of TLS.
    pub max_version: Option<TlsVersion>,
    /// Whether the server is sent the name that it was called by.
    pub server_name: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0
    V1_0,
    /// 1.1
    V1_1,
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

impl From<TlsVersion> for SslVersion {
    fn from(version: TlsVersion) -> Self {
        match version {
            TlsVersion::V1_0 => Self::TLS1,
            TlsVersion::V1_1 => Self::TLS1_1,
            TlsVersion::V1_2 => Self::TLS1_2,
            TlsVersion::V1_3 => Self::TLS1_3,
        }
    }
}

/// Reads the name of a version as libpq does, in any case.
pub fn version(text: &str) -> Option<TlsVersion> {
    match text.to_ascii_lowercase().as_str() {
        "tlsv1" => Some(TlsVersion::V1_0),
        "tlsv1.1" => Some(TlsVersion::V1_1),
        "tlsv1.2" => Some(TlsVersion::V1_2),
        "tlsv1.3" => Some(TlsVersion::V1_3),
        _ => None,
    }
}

/// The protocol's name in ALPN, with its length before it.
const ALPN: &[u8] = b"\x0apostgresql";

/// Builds the context that all sessions of one connection attempt share.
///
/// # Errors
/// Says which file is missing, unreadable or not what it should be.
pub fn context(options: &TlsOptions) -> Result<SslContext, String> {
    let failed = |error| not_set_up(&error);
    let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(failed)?;
    builder.set_options(SslOptions::NO_COMPRESSION);
    builder
        .set_min_proto_version(options.min_version.map(Into::into))
        .and_then(|()| builder.set_max_proto_version(options.max_version.map(Into::into)))
        .and_then(|()| builder.set_alpn_protos(ALPN))
        .map_err(failed)?;
    let verify = trust(&mut builder, options)?;
    builder.set_verify(if verify { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    identify(&mut builder, options)?;
    Ok(builder.build())
}

/// Loads trusted authorities and revoked certificates; says whether certificates are to be checked.
fn trust(builder: &mut SslContextBuilder, options: &TlsOptions) -> Result<bool, String> {
    match &options.root {
        Root::System => builder
            .set_default_verify_paths()
            .map_err(|error| format!("could not load the system's root certificates: {}", reason(&error)))?,
        Root::File(Some(file)) if file.exists() => builder.set_ca_file(file).map_err(|error| {
            format!("could not read root certificate file \"{}\": {}", file.display(), reason(&error))
        })?,
        Root::File(file) if options.mode >= SslMode::VerifyCa => {
            return Err(match file {
                Some(file) => format!("root certificate file \"{}\" does not exist", file.display()),
                None => "there is no home directory to find a root certificate file in".into(),
            });
        }
        // As documented for `require`: without such a file nothing is checked.
        Root::File(_) => return Ok(false),
    }
    let mut listed = false;
    let store = builder.cert_store_mut();
    let named = options.crl.is_some() || options.crl_directory.is_some();
    let default = options.default_crl.as_ref().filter(|file| !named && file.exists());
    if let Some(file) = options.crl.as_ref().or(default) {
        // libpq goes on without a list that it cannot read. It was configured because of a certificate that must not pass.
        let lookup = store.add_lookup(X509Lookup::file());
        lookup.and_then(|lookup| lookup.load_crl_file(file, SslFiletype::PEM)).map_err(|error| {
            format!("could not read certificate revocation list \"{}\": {}", file.display(), reason(&error))
        })?;
        listed = true;
    }
    if let Some(directory) = &options.crl_directory {
        let shown = directory.display();
        if !directory.is_dir() {
            return Err(format!("certificate revocation list directory \"{shown}\" does not exist"));
        }
        let name = directory.to_str().ok_or_else(|| format!("\"{shown}\" is not valid UTF-8"))?;
        let lookup = store.add_lookup(X509Lookup::hash_dir());
        lookup.and_then(|lookup| lookup.add_dir(name, SslFiletype::PEM)).map_err(|error| {
            format!("could not use certificate revocation list directory \"{shown}\": {}", reason(&error))
        })?;
        listed = true;
    }
    if listed {
        store
            .set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)
            .map_err(|error| not_set_up(&error))?;
    }
    Ok(true)
}

/// Loads the client's certificate and key, if the certificate is there.
fn identify(builder: &mut SslContextBuilder, options: &TlsOptions) -> Result<(), String> {
    let Some(certificate) = options.certificate.as_ref().filter(|file| file.exists()) else { return Ok(()) };
    builder.set_certificate_chain_file(certificate).map_err(|error| {
        format!("could not read certificate file \"{}\": {}", certificate.display(), reason(&error))
    })?;
    let Some(file) = &options.key else {
        return Err("certificate present, but no private key file".into());
    };
    let key = private_key(file, options.key_password.as_ref())?;
    builder.set_private_key(&key).and_then(|()| builder.check_private_key()).map_err(|error| {
        format!("certificate does not match private key file \"{}\": {}", file.display(), reason(&error))
    })
}

/// Reads a private key that no other user may read: mode 0600, or 0640 if it is root's.
fn private_key(file: &Path, password: Option<&Secret>) -> Result<PKey<Private>, String> {
    let shown = file.display();
    let metadata = file
        .metadata()
        .map_err(|error| format!("certificate present, but not private key file \"{shown}\": {error}"))?;
    if !metadata.is_file() {
        return Err(format!("private key file \"{shown}\" is not a regular file"));
    }
    let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & others != 0 {
        return Err(format!(
            "private key file \"{shown}\" has group or world access; it must be u=rw (0600) or less if owned by the \
             current user, or u=rw,g=r (0640) or less if owned by root"
        ));
    }
    let text = files::bytes(file)
        .map_err(|error| format!("could not load private key file \"{shown}\": {error}"))?;
    let given = password.map(Secret::reveal).unwrap_or_default().as_bytes();
    let mut asked = false;
    // Always with a callback: without one, OpenSSL asks on the terminal.
    let key = PKey::private_key_from_pem_callback(&text, |buffer| {
        asked = true;
        let fits = buffer.get_mut(..given.len());
        Ok(fits.map_or(0, |place| {
            place.copy_from_slice(given);
            given.len()
        }))
    });
    key.or_else(|error| PKey::private_key_from_der(&text).map_err(|_| error)).map_err(|error| {
        let why = match (asked, password) {
            (true, None) => "it is encrypted, and there is no sslpassword".into(),
            _ => reason(&error),
        };
        format!("could not load private key file \"{shown}\": {why}")
    })
}

/// Starts the client's side of a handshake.
///
/// # Errors
/// Fails if OpenSSL does not take the host as a server name.
pub fn session(context: &SslContext, options: &TlsOptions, host: Option<&str>) -> Result<Ssl, String> {
    let mut ssl = Ssl::new(context).map_err(|error| not_set_up(&error))?;
    // A server name is a name, never an address (RFC 6066).
    if let Some(host) = host.filter(|host| options.server_name && host.parse::<IpAddr>().is_err()) {
        ssl.set_hostname(host)
            .map_err(|error| format!("could not set server name \"{host}\": {}", reason(&error)))?;
    }
    Ok(ssl)
}

/// Checks what libpq checks once the handshake is done.
///
/// # Errors
/// Says what the certificate is for, if not for this host.
pub fn check_peer(ssl: &SslRef, options: &TlsOptions, host: Option<&str>) -> Result<(), String> {
    if options.direct && ssl.selected_alpn_protocol() != Some(b"postgresql") {
        return Err("the server did not agree to direct TLS (ALPN)".into());
    }
    if options.mode < SslMode::VerifyFull {
        return Ok(());
    }
    let host = host.ok_or("host name must be specified for a verified SSL connection")?;
    let certificate = ssl.peer_certificate().ok_or("the server sent no certificate")?;
    check_names(&certificate, host)
}

/// Picks what is worth reading out of OpenSSL's errors: the first one's reason.
fn reason(errors: &ErrorStack) -> String {
    let first = errors.errors().first().and_then(openssl::error::Error::reason);
    first.map_or_else(|| errors.to_string(), Into::into)
}

/// Describes a failure of OpenSSL itself.
pub fn not_set_up(errors: &ErrorStack) -> String {
    format!("could not set up TLS: {}", reason(errors))
}

/// Describes a failed handshake.
pub fn handshake_error(ssl: &SslRef, error: &openssl::ssl::Error) -> String {
    match ssl.verify_result() {
        X509VerifyResult::OK => match error.ssl_error() {
            Some(stack) => format!("SSL error: {}", reason(stack)),
            None => format!("SSL error: {error}"),
        },
        result => format!("SSL error: certificate verify failed: {}", result.error_string()),
    }
}

/// Compares a host with the names in a certificate, by libpq's rules.
///
/// The common name counts only if there is no alternative name of the kind that the host is.
fn check_names(certificate: &X509Ref, host: &str) -> Result<(), String> {
    let address: Option<IpAddr> = host.parse().ok();
    let mut found: Vec<String> = Vec::new();
    let mut common_name_counts = true;
    for name in certificate.subject_alt_names().iter().flatten() {
        if let Some(pattern) = name.dnsname() {
            common_name_counts &= address.is_some();
            if name_matches(pattern, host) {
                return Ok(());
            }
            found.push(pattern.into());
        } else if let Some(bytes) = name.ipaddress() {
            common_name_counts &= address.is_none();
            let named = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let named = named.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok();
            if named.is_some() && named == address {
                return Ok(());
            }
            found.extend(named.map(|address| address.to_string()));
        }
    }
    if common_name_counts {
        let entry = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).last();
        let name = entry.and_then(|entry| entry.data().to_string().ok());
        match name {
            Some(name) if name_matches(&name, host) => return Ok(()),
            Some(name) => found.push(name),
            None => {}
        }
    }
    match found.first() {
        Some(name) if found.len() == 1 => {
            Err(format!("server certificate for \"{name}\" does not match host name \"{host}\""))
        }
        Some(name) => {
            let others = found.len() - 1;
            let plural = if others == 1 { "" } else { "s" };
            Err(format!(
                "server certificate for \"{name}\" (and {others} other name{plural}) does not match host name \"{host}\""
            ))
        }
        None => Err("could not get server's host name from server certificate".into()),
    }
}

/// Compares a host with a name that may begin with `*.`, which stands for exactly one label.
fn name_matches(pattern: &str, host: &str) -> bool {
    if pattern.contains('\0') {
        return false;
    }
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(suffix) = pattern.strip_prefix("*.") else { return false };
    let Some((label, rest)) = host.split_once('.') else { return false };
    !label.is_empty() && suffix.contains(|_| true) && rest.eq_ignore_ascii_case(suffix)
}

/// Returns what SCRAM binds to: the hash of the server's certificate (RFC 5929, `tls-server-end-point`).
pub fn end_point(ssl: &SslRef) -> Option<Vec<u8>> {
    let certificate = ssl.peer_certificate()?;
    let algorithms = certificate.signature_algorithm().object().nid().signature_algorithms()?;
    let digest = match algorithms.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        nid => MessageDigest::from_nid(nid)?,
    };
    certificate.digest(digest).ok().map(|bytes| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(name_matches("*.example.com", "db.Example.com"));
        assert!(name_matches("DB", "db"));
        assert!(!name_matches("*.example.com", "a.b.example.com"));
        assert!(!name_matches("*.example.com", ".example.com"));
        assert!(!name_matches("d*.example.com", "db.example.com"));
        assert!(!name_matches("*.", "db."));
        assert!(!name_matches("db\0.evil", "db\0.evil"));
    }
}
