//! The settings that a clone is given.

use super::Request;
use crate::config::Config;
use crate::config::value::Delay;
use crate::error::{Error, Result};
use crate::facts::source::SourceFacts;
use crate::pg::conninfo::Conninfo;

/// Returns the settings of the configuration that go into the clone.
pub(super) fn settings(config: &Config, request: &Request) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    if let Some(command) = config.command("restore_command", &config.restore_command)? {
        out.push(("restore_command".to_string(), command.clone()));
    }
    if let Some(command) = config.command("archive_cleanup_command", &config.archive_cleanup_command)? {
        out.push(("archive_cleanup_command".to_string(), command.clone()));
    }
    let delay = match &request.recovery_min_apply_delay {
        Some(text) => Some(Delay::parse(text).ok_or_else(|| {
            Error::failed(format!("invalid value \"{text}\" for --recovery-min-apply-delay"))
                .detail("It is an integer with one of the units ms, s, min, h, d.")
        })?),
        None => config.recovery_min_apply_delay.clone(),
    };
    if let Some(delay) = delay {
        out.push(("recovery_min_apply_delay".to_string(), delay.as_str().to_string()));
    }
    Ok(out)
}

/// Returns the port that must be set for the clone, because it would start on the source's.
///
/// Only where this node's conninfo leads to this host itself: elsewhere a port may be mapped on the way, as in containers.
pub(super) fn own_port(own: &Conninfo, source: &SourceFacts, conf_only: bool) -> Option<String> {
    let port = own.get("port").unwrap_or("5432");
    (!conf_only && own.is_this_host() && port != source.port.to_string() && port.parse::<u16>().is_ok())
        .then(|| port.to_string())
}
