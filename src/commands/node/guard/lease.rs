//! The answer of the daemon of this node, where it has a say.

use serde_json::json;

use super::answer;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::observe::local_daemon::{self, StartAnswer};
use crate::output::Report;
use crate::system::files;
use crate::ui::Level;

/// Where a daemon has a say, it decides: the server starts as a primary by the lease, or comes up as a standby.
pub(super) async fn decides(context: &Context, config: &Config) -> Result<Option<Report>> {
    let name = &config.node_name;
    Ok(match local_daemon::may_start_as_primary(context).await? {
        None | Some(StartAnswer::Paused) => None,
        Some(StartAnswer::Yes) => {
            context.ui.say(Level::Notice, &format!("node \"{name}\" may start: its lease has lasted"));
            Some(answer("start", "lease", json!({})))
        }
        Some(StartAnswer::No) => {
            if !context.options.dry_run {
                files::write(&config.data_directory.join(STANDBY_SIGNAL), b"", 0o600).map_err(|error| {
                    Error::from_cause(Exit::CannotTell, "could not write standby.signal", &error)
                })?;
            }
            let text = format!("node \"{name}\" has no lease and starts as a standby");
            context.ui.say(Level::Notice, &text);
            Some(answer("start", "no_lease", json!({})))
        }
    })
}
