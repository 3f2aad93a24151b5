//! Values as libpq reads them, and what pgbaton does not have.

use super::Result;
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::ConnectError;

/// Effective values with libpq's ways of reading them.
pub(super) struct Values(pub(super) Conninfo);

impl Values {
    /// Returns a value; an empty one counts as none.
    pub(super) fn text(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).filter(|value| !value.is_empty())
    }

    pub(super) fn integer(&self, keyword: &str) -> Result<Option<i32>> {
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
    pub(super) fn positive(&self, keyword: &str) -> Result<Option<u32>> {
        Ok(self.integer(keyword)?.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0))
    }

    /// The same, with a value of ours where nothing is said.
    pub(super) fn positive_or(&self, keyword: &str, ours: u32) -> Result<Option<u32>> {
        if self.text(keyword).is_none() { Ok(Some(ours)) } else { self.positive(keyword) }
    }

    /// Returns one of several values. An empty value is none of them: libpq refuses it too.
    pub(super) fn choice<T: Copy>(&self, keyword: &str, default: T, choices: &[(&str, T)]) -> Result<T> {
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
    pub(super) fn refuse(&self) -> Result<()> {
        if self.choice("gssencmode", false, &[("disable", false), ("prefer", false), ("require", true)])? {
            return Err(ConnectError::not_supported("gssencmode", "pgbaton does not support GSSAPI"));
        }
        let replication = self.text("replication").unwrap_or("off");
        if !["off", "false", "no", "0"].contains(&replication) {
            return Err(ConnectError::not_supported(
                "replication",
                "pgbaton does not open replication connections",
            ));
        }
        let version = |keyword| {
            let old = [("", false), ("3.0", false), ("latest", false), ("3.2", true)];
            self.choice(keyword, false, &old)
        };
        version("max_protocol_version")?;
        if version("min_protocol_version")? || self.text("min_protocol_version") == Some("latest") {
            return Err(ConnectError::not_supported("min_protocol_version", "pgbaton uses protocol 3.0"));
        }
        for (keyword, why) in [
            ("oauth_issuer", "pgbaton does not support OAuth"),
            ("oauth_client_id", "pgbaton does not support OAuth"),
            ("oauth_client_secret", "pgbaton does not support OAuth"),
            ("oauth_scope", "pgbaton does not support OAuth"),
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
