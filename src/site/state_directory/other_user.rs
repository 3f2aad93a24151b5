//! Another user than the owner of the data directory, who would look for state of the node in a directory of its own.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::facts::host;
use crate::site::Site;
use crate::system::inspect;

/// Returns the user whose state a default directory would have to be, if this process runs as another one.
pub(super) fn other_user(config: &Config) -> Option<String> {
    match config.state_directory {
        Some(_) => None,
        None => host::other_owner(&config.data_directory),
    }
}

/// Fails where another user than the owner of the data directory would look for state, and find none or another one.
///
/// # Errors
/// Exit code 1, naming the user.
pub fn refuse_other_user(site: &Site) -> Result<()> {
    let config = site.config()?;
    let Some(owner) = other_user(config) else { return Ok(()) };
    let me = site.environment.user.as_deref().unwrap_or("?");
    Err(Error::failed(format!("this command has to run as user \"{owner}\", not as \"{me}\""))
        .detail(format!(
            "\"{owner}\" owns data directory \"{}\", and the lock, the journals and the saved topology of the node are that user's. \
             Nothing was changed.",
            config.data_directory.display()
        ))
        .hint(format!(
            "Use sudo -u {owner}; or set \"state_directory\" to a directory that all users of pgbaton on this host can write."
        )))
}

/// Returns the user whose operations and topology this process cannot see, if there is one.
fn unseen(site: &Site) -> Option<String> {
    let owner = other_user(site.config().ok()?)?;
    let seen = site.state().is_ok_and(|state| state.path.exists() && !inspect::is_own(&state.path));
    (!seen).then_some(owner)
}

/// Says that the state of the node cannot be seen, where another user looks.
pub fn notice_other_user(site: &Site) {
    if let (Some(owner), Ok(config)) = (unseen(site), site.config()) {
        site.messages.notice(
            &format!("operations and the saved topology of node \"{}\" cannot be seen", config.node_name),
            Some(&format!("They are those of user \"{owner}\", who owns the data directory.")),
            Some(&format!("Use sudo -u {owner}.")),
        );
    }
}

/// Fails where another user looks at the journals of this node, and would see none or other ones.
///
/// # Errors
/// Exit code 1, naming the user.
pub fn must_be_seen(site: &Site) -> Result<()> {
    match unseen(site) {
        Some(_) => refuse_other_user(site),
        None => Ok(()),
    }
}
