//! Replication connections, and trying them before anything is changed: as pg_basebackup and as the WAL receiver will make them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Upstream;
use crate::pg::provenance;
use crate::secret::{Secret, Secrets};
use crate::site::Site;
use crate::system::command::Command;
use crate::system::files;
use crate::system::process;

/// The name of the password that replication connections to the source need.
const SOURCE_PASSWORD: &str = "password for the source";
/// The name of the contents of a service file with a passphrase.
const SERVICE_FILE: &str = "connection service file for the source";
/// Seconds for a replication connection that is only tried.
const LOGIN_S: u64 = 10;
/// How long a WAL sender whose client has gone may hold its place.
const WAL_SENDER_ENDS: Duration = Duration::from_secs(1);

/// Why a login that was tried did not work.
#[derive(Debug)]
pub(crate) struct NoLogin {
    /// In the words of libpq, where there are any.
    pub(crate) why: String,
    /// There was no response in time: nothing was rejected.
    pub(crate) late: bool,
}

impl From<String> for NoLogin {
    fn from(why: String) -> Self {
        Self { why, late: false }
    }
}

/// How a tool connects without a password in its arguments.
pub(crate) struct Login {
    pub(crate) conninfo: String,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) service_file: Option<(PathBuf, String)>,
}

impl Login {
    /// A password travels by PGPASSWORD; a passphrase, for which libpq has no variable, by a service file of mode 0600.
    pub(crate) fn new(
        conninfo: &Conninfo,
        same_role: bool,
        known: &mut Secrets,
        state_directory: &Path,
    ) -> Result<Self> {
        let mut plain = conninfo.without_secrets();
        let mut secrets = Vec::new();
        let mut service_file = None;
        // The password that was given belongs to the role that was given.
        if let Some(password) = conninfo.get("password").filter(|_| same_role) {
            known.insert(SOURCE_PASSWORD.into(), Secret::new(password));
            secrets.push(("PGPASSWORD".into(), SOURCE_PASSWORD.into()));
        }
        if let Some(passphrase) = conninfo.get("sslpassword") {
            if conninfo.get("service").is_some() {
                return Err(Error::failed("cannot pass sslpassword on together with a connection service")
                    .detail("PostgreSQL's programs read it from a service file, and there can be only one.")
                    .hint("Write sslpassword into that service's section of the service file."));
            }
            if passphrase.contains(['\n', '\r']) {
                return Err(Error::failed("cannot pass on an sslpassword with a line break").detail(
                    "PostgreSQL's programs read it from a service file, where a line break ends it.",
                ));
            }
            known.insert(SERVICE_FILE.into(), Secret::new(format!("[pgbaton]\nsslpassword={passphrase}\n")));
            plain.set("service", "pgbaton");
            service_file = Some((state_directory.join("pg_service.conf"), SERVICE_FILE.into()));
        }
        Ok(Self { conninfo: plain.to_string(), secrets, service_file })
    }

    /// Tries it, with the service file at a place that is gone afterwards.
    pub(crate) async fn attempt(
        &self,
        site: &Site,
        psql: &str,
        secrets: &Secrets,
        inherit_pg: bool,
    ) -> std::result::Result<(), NoLogin> {
        let contents = self.service_file.as_ref().and_then(|(_, name)| secrets.get(name));
        let file = contents
            .map(|contents| files::private_temporary(contents.reveal().as_bytes()))
            .transpose()
            .map_err(|error| format!("{error:#}"))?;
        let env = file.iter().map(|path| ("PGSERVICEFILE".to_string(), path.display().to_string())).collect();
        try_login(site, psql, &self.conninfo, env, &self.secrets, secrets, inherit_pg).await
    }
}

/// The WAL receiver's connection, before there is a server to make it.
pub(crate) struct ReceiverLogin<'a> {
    /// How it connects; a passphrase in it is the server's own.
    pub(crate) conninfo: &'a Conninfo,
    /// The password that the server will have.
    pub(crate) password: Option<&'a str>,
}

impl ReceiverLogin<'_> {
    /// Tries it with what the server will have: no PGPASSWORD of the person at the keyboard.
    pub(crate) async fn attempt(&self, site: &Site, psql: &str) -> std::result::Result<(), NoLogin> {
        let mut whole = self.conninfo.clone();
        whole.remove("password");
        if let Some(password) = self.password {
            whole.set("password", password);
        }
        let mut secrets = Secrets::new();
        let login = Login::new(&whole, true, &mut secrets, Path::new(""));
        let login = login.map_err(|error| error.to_string())?;
        login.attempt(site, psql, &secrets, false).await
    }
}

/// Tries the connection that the local server's WAL receiver will make when it is pointed at another upstream.
///
/// The server's settings are read by `postgres -C`, which finds them in whichever file they are, also for a server that is down.
///
/// # Errors
/// Why it does not work.
pub(crate) async fn to_follow(site: &Site, upstream: &Upstream) -> std::result::Result<(), NoLogin> {
    let config = site.config().map_err(|error| error.to_string())?;
    let why = |error: anyhow::Error| format!("{error:#}");
    let installation = site.installation(config).map_err(|error| error.to_string())?;
    let config_directory = site.config_directory(config);
    let present = installation.setting("primary_conninfo", config_directory.as_deref()).await.map_err(why)?;
    let conninfo = receiver_conninfo(config, &present, upstream, None)?;
    let login = ReceiverLogin { conninfo: &conninfo, password: conninfo.get("password") };
    login.attempt(site, &installation.tool("psql").map_err(why)?).await
}

/// Works out how a server connects to another upstream: of what it has, the way and its own name are replaced; one that has nothing gets
/// the whole, with the file for passwords that the configuration names.
///
/// # Errors
/// If a connection string cannot be parsed.
pub(crate) fn receiver_conninfo(
    config: &Config,
    present: &str,
    upstream: &Upstream,
    password: Option<&Secret>,
) -> std::result::Result<Conninfo, String> {
    let mut wanted = Conninfo::parse(&upstream.conninfo)
        .map_err(|error| format!("invalid connection string for {}: {error}", upstream.name))?;
    let present = Conninfo::parse(present)
        .map_err(|error| format!("the present primary_conninfo cannot be parsed: {error}"))?;
    if !present.is_empty() {
        let mut conninfo = present.leading_to(&wanted);
        // By its name a node is known to stream, and chosen as a synchronous standby. It may have been given another one.
        if let Some(name) = wanted.get("application_name") {
            conninfo.set("application_name", name);
        }
        return Ok(conninfo);
    }
    if let Some(passfile) = &config.passfile {
        wanted.set("passfile", passfile.display().to_string());
    }
    if let Some(password) = password {
        wanted.set("password", password.reveal());
    }
    Ok(wanted)
}

/// Makes a replication connection with the tools' own library and asks one question over it.
async fn try_login(
    site: &Site,
    psql: &str,
    conninfo: &str,
    env: Vec<(String, String)>,
    named: &[(String, String)],
    secrets: &Secrets,
    inherit_pg: bool,
) -> std::result::Result<(), NoLogin> {
    let mut command = Command::new(
        psql,
        [
            "-XAtqw".to_string(),
            // As the WAL receiver and pg_basebackup do, which look for the password of a database of this name. Under a name of
            // its own, so that it is not taken for the standby.
            format!("--dbname={conninfo} dbname=replication replication=true application_name=pgbaton"),
            "--command=IDENTIFY_SYSTEM".to_string(),
        ],
    );
    command.secrets = named.to_vec();
    command.env = env;
    command.env.extend(provenance::pin_destination(&mut command.args, &site.environment));
    if !conninfo.contains("connect_timeout") {
        command.env.push(("PGCONNECT_TIMEOUT".into(), LOGIN_S.to_string()));
    }
    let secrets =
        named.iter().filter_map(|(_, name)| Some((name.clone(), secrets.get(name)?.clone()))).collect();
    let setting = process::ChildContext { environment: Some(&site.environment), secrets, inherit_pg };
    let began = Instant::now();
    let attempts = async {
        loop {
            let finished = process::run(&command, &setting).await.map_err(|error| format!("{error:#}"))?;
            if finished.status.success() {
                return Ok(());
            }
            let said = finished.stderr.trim();
            let said = said.strip_prefix("psql: error: ").unwrap_or(said).replace('\n', " ");
            // The WAL sender of a login just before this one needs a moment to end.
            if !said.contains("exceeds max_wal_senders") || began.elapsed() > WAL_SENDER_ENDS {
                return Err(said.into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let bounded = tokio::time::timeout(Duration::from_secs(LOGIN_S), attempts).await;
    bounded
        .unwrap_or_else(|_| Err(NoLogin { why: format!("no response within {LOGIN_S} seconds"), late: true }))
}
