//! The connection that a clone will stream over.

use crate::error::Result;
use crate::observe::replication_login::{NoLogin, ReceiverLogin};
use crate::pg::conninfo::Conninfo;
use crate::pg::provenance;
use crate::plan::ValuePart;
use crate::secret::{Secret, Secrets};
use crate::site::Site;

/// The name of the password that goes into primary_conninfo.
const UPSTREAM_PASSWORD: &str = "password for the upstream";
/// The name of the passphrase that goes into primary_conninfo.
const UPSTREAM_PASSPHRASE: &str = "passphrase for the upstream";

/// How the WAL receiver of the clone will connect.
pub(crate) struct ReceiverConnection {
    /// Without the two that follow.
    conninfo: Conninfo,
    password: Option<String>,
    passphrase: Option<String>,
}

impl ReceiverConnection {
    /// Makes `primary_conninfo` of the upstream's conninfo, which is `asked_for` where it was given on the command line.
    pub(crate) fn new(
        site: &Site,
        upstream: &Conninfo,
        asked_for: bool,
        role: &str,
        major: u32,
    ) -> Result<Self> {
        let config = site.config()?;
        let mut conninfo = upstream.without_secrets();
        for keyword in ["replication", "fallback_application_name"] {
            conninfo.remove(keyword);
        }
        // How a node looks for its primary is not how a standby finds its upstream, unless it was requested.
        if !asked_for {
            conninfo.remove("target_session_attrs");
            // A row chooses them no more than for our own sessions.
            conninfo = provenance::without_options(&conninfo, &site.environment);
        }
        // Needed from PostgreSQL 17 on for slots that are kept in step with the primary's; ignored before.
        if major < 17 {
            conninfo.remove("dbname");
        }
        conninfo.set("user", role);
        conninfo.set("application_name", &config.node_name);
        if let Some(passfile) = &config.passfile {
            conninfo.set("passfile", passfile.display().to_string());
        }
        // As in libpq the variable is for where the string has none; and what it has is the password of its own role.
        let own = upstream.get("password").filter(|_| upstream.get("user").is_none_or(|user| user == role));
        let password = own.or_else(|| site.environment.non_empty("PGPASSWORD"));
        Ok(Self {
            conninfo,
            password: password.filter(|_| config.use_primary_conninfo_password).map(str::to_string),
            // No file but this one could set it for the server.
            passphrase: upstream.get("sslpassword").map(str::to_string),
        })
    }

    /// Returns the value of the setting, and keeps its secrets under their names.
    pub(crate) fn primary_conninfo(&self, known: &mut Secrets) -> Vec<ValuePart> {
        let mut pieces = vec![ValuePart::Text(self.conninfo.to_string())];
        for (keyword, name, value) in [
            ("password", UPSTREAM_PASSWORD, &self.password),
            ("sslpassword", UPSTREAM_PASSPHRASE, &self.passphrase),
        ] {
            if let Some(value) = value {
                known.insert(name.into(), Secret::new(value));
                pieces.push(ValuePart::Text(format!(" {keyword}=")));
                pieces.push(ValuePart::Secret(name.into()));
            }
        }
        pieces
    }

    /// Tries it with what the server will have.
    pub(crate) async fn attempt(&self, site: &Site, psql: &str) -> std::result::Result<(), NoLogin> {
        let mut conninfo = self.conninfo.clone();
        if let Some(passphrase) = &self.passphrase {
            conninfo.set("sslpassword", passphrase);
        }
        let login = ReceiverLogin { conninfo: &conninfo, password: self.password.as_deref() };
        login.attempt(site, psql).await
    }
}
