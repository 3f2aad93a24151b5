//! The state directory of this node: found, checked, made, and moved aside where it is another cluster's.

mod adopt;
mod find;
mod other_user;
mod saved_topology;

use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::json;

use crate::config::Config;
use crate::error::{Error, Exit, Result};
use crate::facts::identity::{
    self, ForeignState, Identity, StateContents, StateOwnership, StateUser, is_same_place, state_ownership,
};
use crate::facts::start_log;
use crate::facts::topology;
use crate::journal::{self, Mark, Record, Stage, StoredJournal};
use crate::pg::control_file;
use crate::site::Site;
use crate::system::clock;
use crate::system::files;
use crate::system::lock::{LocalLock, LocalLockHolder};

use find::find;

pub use adopt::{Adoption, adopt};
pub use other_user::{must_be_seen, notice_other_user, refuse_other_user};
pub use saved_topology::{save_topology, saved_topology};

/// Where the default state directories are looked for.
const ROOT: &str = "/";

/// What an error's data have where the state directory is another's.
const FOREIGN: &str = "foreign_state_directory";

/// What commands that go on do not say.
const NO_CHANGE: &str = " Nothing was changed.";

/// The state directory of this node.
#[derive(Clone, Debug)]
pub struct StateDirectory {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// Whose it is, if it says so already.
    pub identity: Option<Identity>,
    /// What is there is another cluster's, and is given this name before the directory is used.
    pub aside: Option<PathBuf>,
    /// State of this node is here as well, and is not used.
    also: Option<PathBuf>,
}

impl StateDirectory {
    fn new(path: PathBuf, found: StateContents) -> Self {
        let identity = match found {
            StateContents::Marked(identity) => Some(identity),
            StateContents::Nothing | StateContents::Unmarked { .. } => None,
        };
        Self { path, identity, aside: None, also: None }
    }
}

/// What is known of this node without asking a server.
struct KnownIdentity<'a> {
    config: &'a Config,
    local: Option<String>,
    cluster: Option<String>,
}

impl<'a> KnownIdentity<'a> {
    fn of(site: &'a Site) -> Result<Self> {
        let config = site.config()?;
        Ok(Self { config, local: holds(&config.data_directory), cluster: site.cluster.borrow().clone() })
    }

    fn ours(&self) -> StateUser<'_> {
        StateUser {
            node_id: self.config.node_id,
            node_name: &self.config.node_name,
            data_directory: &self.config.data_directory,
            local: self.local.as_deref(),
            cluster: self.cluster.as_deref(),
        }
    }

    fn identifier(&self) -> Option<&str> {
        self.cluster.as_deref().or(self.local.as_deref())
    }

    fn judge(&self, found: &StateContents) -> StateOwnership {
        state_ownership(found, &self.ours(), &holds)
    }
}

impl Site {
    /// Returns the state directory of this node, which is not another cluster's or node's. It need not exist yet.
    ///
    /// # Errors
    /// Exit code 1 if there is no place for it, or what is there belongs to another cluster or node.
    pub fn state_directory(&self) -> Result<PathBuf> {
        Ok(self.state()?.path)
    }

    /// Does the same for commands that go on without state: None, and a warning, where it is another cluster's or node's.
    ///
    /// # Errors
    /// Exit code 1 if there is no place for it, or it cannot be looked at.
    pub fn own_state_directory(&self) -> Result<Option<PathBuf>> {
        match self.state_directory() {
            Ok(directory) => Ok(Some(directory)),
            Err(mut error) if error.data.get(FOREIGN).is_some() => {
                static WARNED: Once = Once::new();
                error.detail = error.detail.as_ref().map(|detail| detail.replace(NO_CHANGE, ""));
                WARNED.call_once(|| {
                    self.messages.warning(&error.message, error.detail.as_deref(), error.hint.as_deref());
                });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the system identifier of the cluster of this node, as far as it is known without asking a server.
    pub fn system_identifier(&self) -> Option<String> {
        let recorded = || self.state().ok()?.identity?.system_identifier;
        let reported = self.cluster.borrow().clone();
        reported.or_else(recorded).or_else(|| holds(&self.config().ok()?.data_directory))
    }

    /// Notes of which cluster this node is, or is to be. What is found in the state directory of another cluster, which is not on this host
    /// any more, is moved aside as soon as the command takes its lock.
    pub fn belongs_to(&self, system_identifier: &str) {
        let before = self.cluster.replace(Some(system_identifier.to_string()));
        if before.as_deref() != Some(system_identifier) {
            self.state.take();
        }
    }

    /// Notes the cluster of the server that is to be registered, which is the one of the data directory.
    ///
    /// # Errors
    /// Exit code 1 if conninfo leads to a server of another cluster than the one in the data directory.
    pub fn is_of_cluster(&self, system_identifier: &str) -> Result<()> {
        let config = self.config()?;
        match holds(&config.data_directory) {
            Some(own) if own != system_identifier => {
                Err(Error::failed("conninfo leads to a server of another cluster than data_directory holds")
                    .detail(format!(
                        "The system identifier of the server is {system_identifier}, that of \"{}\" is {own}. Nothing was changed.",
                        config.data_directory.display()
                    ))
                    .hint("Correct conninfo or data_directory in the configuration of this node."))
            }
            _ => {
                self.belongs_to(system_identifier);
                Ok(())
            }
        }
    }

    /// Returns the state directory and whose it is.
    pub(crate) fn state(&self) -> Result<StateDirectory> {
        if let Some(state) = self.state.borrow().as_ref() {
            return Ok(state.clone());
        }
        let state = find(self)?;
        self.state.replace(Some(state.clone()));
        Ok(state)
    }
}

/// Returns the system identifier in a data directory.
fn holds(data: &Path) -> Option<String> {
    Some(control_file::read(data).ok()?.system_identifier.to_string())
}

/// Looks into a state directory.
fn inspect_state_directory(directory: &Path) -> Result<StateContents> {
    let failed = |error: anyhow::Error| {
        Error::from_cause(Exit::Failed, "could not read the state directory", &error)
            .hint("Check its owner. A damaged identity.json can be removed if the directory is this node's.")
    };
    if let Some(identity) = identity::load(directory).map_err(failed)? {
        return Ok(StateContents::Marked(identity));
    }
    let topology = topology::load(directory).ok().flatten();
    let all = journal::list(directory).map_err(failed)?;
    if topology.is_none() && all.is_empty() {
        return Ok(StateContents::Nothing);
    }
    let open = all.iter().filter(|entry| !entry.is_over()).filter_map(|entry| entry.journal.as_ref().ok());
    let open = open.map(|loaded| (loaded.header.node_id, loaded.header.system_identifier.clone())).collect();
    Ok(StateContents::Unmarked { topology, open })
}

/// Says that a state directory is another's, and both ways out.
fn refused(directory: &Path, foreign: &ForeignState) -> Error {
    let shown = directory.display();
    let aside = aside_of(directory, foreign.identifier.as_deref());
    let mut error = Error::failed(format!("state directory \"{shown}\" belongs to another cluster or node"))
        .detail(format!("{} Nothing was changed.", foreign.why))
        .hint(format!(
            "Set \"state_directory\" in the configuration of this node to a directory of its own; or, if what is in \"{shown}\" is no \
             longer needed, run \"pgbaton operation adopt-state\": it moves it to \"{}\".",
            aside.display()
        ));
    error.data = json!({ FOREIGN: directory });
    error
}

/// Returns the name that another cluster's state directory gets.
fn aside_of(directory: &Path, identifier: Option<&str>) -> PathBuf {
    let mut name = directory.as_os_str().to_os_string();
    name.push(format!(".{}", identifier.unwrap_or("other")));
    let first = PathBuf::from(&name);
    let numbered = (1..).map(|number| {
        let mut name = name.clone();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    std::iter::once(first).chain(numbered).find(|path| path.symlink_metadata().is_err()).unwrap_or_default()
}

/// Fails where an operation in a state directory has begun to change something and is not over.
fn may_leave(directory: &Path, why: &str) -> Result<()> {
    let left = journal::unfinished(directory)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not read the journals", &error))?;
    let begun = |entry: &&StoredJournal| match &entry.journal {
        Ok(loaded) => {
            let started = |record: &Record| {
                matches!(record, Record::Mark { stage: Stage::Forward, mark: Mark::Started, .. })
            };
            journal::blocking(std::slice::from_ref(*entry)).is_some() && loaded.records.iter().any(started)
        }
        Err(_) => true,
    };
    let Some(entry) = left.iter().find(begun) else { return Ok(()) };
    Err(Error::failed(format!("an operation is unfinished in state directory \"{}\"", directory.display()))
        .detail(format!("{why} The operation is {}. Nothing was changed.", named(entry)))
        .hint(
            "Finish it first, with the configuration of the node that it belongs to: \"pgbaton operation list\" shows it. Or set \
             \"state_directory\" in the configuration of this node to another directory.",
        ))
}

fn named(entry: &StoredJournal) -> String {
    match &entry.journal {
        Ok(loaded) => format!("{} (\"{}\")", entry.operation_id, loaded.header.command),
        Err(_) => entry.operation_id.clone(),
    }
}

/// Takes the lock of the state directory; it is made if it is not there, and says from then on whose it is.
///
/// # Errors
/// Exit code 1 if it cannot be made or is another's, 30 if the lock is held.
pub async fn lock_as(site: &Site, me: &LocalLockHolder) -> Result<LocalLock> {
    refuse_other_user(site)?;
    let mut state = site.state()?;
    if let Some(aside) = state.aside.take() {
        move_to(site, &state.path, &aside, me).await?;
        site.state.replace(Some(state.clone()));
    }
    prepare_state_directory(&state.path)?;
    let lock = LocalLock::acquire(&state.path, me).await?;
    mark(site, true)?;
    if let Some(also) = &state.also {
        site.messages.notice(
            &format!("state of this node in \"{}\" is not used", also.display()),
            Some(&format!("The state directory is \"{}\".", state.path.display())),
            Some(&format!("\"pgbaton operation adopt-state --from {}\" would use it.", also.display())),
        );
    }
    Ok(lock)
}

/// Moves a state directory while no other command uses it.
async fn move_to(site: &Site, from: &Path, to: &Path, me: &LocalLockHolder) -> Result<()> {
    let _lock = LocalLock::acquire(from, me).await?;
    files::rename(from, to).map_err(|error| {
        Error::from_cause(Exit::Failed, "could not move a state directory", &error)
            .detail("Nothing was changed.")
            .hint("Move it yourself, or set \"state_directory\" in the configuration to another directory.")
    })?;
    site.notice(&format!("state directory \"{}\" was moved to \"{}\"", from.display(), to.display()));
    Ok(())
}

/// Writes down whose the state directory is. What is written there already is changed only under the lock.
fn mark(site: &Site, locked: bool) -> Result<()> {
    let state = site.state()?;
    let known = KnownIdentity::of(site)?;
    let failed = |error: anyhow::Error| {
        Error::from_cause(Exit::Failed, "could not mark the state directory", &error)
            .detail("Nothing was changed.")
    };
    let before = identity::load(&state.path).map_err(failed)?;
    if before.is_none() && state.identity.is_some() {
        return Err(Error::new(Exit::Busy, "the state directory was moved by another command")
            .detail("Nothing was changed.")
            .hint("Run the command again."));
    }
    if let Some(before) = &before
        && let StateOwnership::Foreign(foreign) = known.judge(&StateContents::Marked(before.clone()))
    {
        return Err(refused(&state.path, &foreign));
    }
    let after = known.ours().identity(before.as_ref());
    record(site, &state, before, after, locked).map_err(failed)
}

fn record(
    site: &Site,
    state: &StateDirectory,
    before: Option<Identity>,
    mut after: Identity,
    locked: bool,
) -> anyhow::Result<()> {
    let config_is_silent = site.config().is_ok_and(|config| config.state_directory.is_none());
    match &before {
        Some(before) => {
            let version = std::mem::replace(&mut after.pgbaton, before.pgbaton.clone());
            let is_new_witness = before.own_identifier.is_none() && after.own_identifier.is_some();
            if *before != after && (locked || is_new_witness) {
                after.pgbaton = version;
                if !is_same_place(&before.data_directory, &after.data_directory) {
                    site.notice(&format!(
                        "the data directory of node \"{}\" is now \"{}\"; it was \"{}\"",
                        after.node_name,
                        after.data_directory.display(),
                        before.data_directory.display()
                    ));
                }
                identity::save(&state.path, &after, true)?;
            } else {
                after = before.clone();
            }
        }
        None => {
            identity::save(&state.path, &after, false)?;
            if config_is_silent && !topology::path(&state.path).exists() {
                site.notice(&format!(
                    "the state of node \"{}\" is kept in \"{}\"",
                    after.node_name,
                    state.path.display()
                ));
            }
        }
    }
    site.state.replace(Some(StateDirectory { identity: Some(after), also: None, ..state.clone() }));
    Ok(())
}

/// Takes this node's lock.
///
/// # Errors
/// Exit code 30, naming who has it.
pub async fn lock(site: &Site) -> Result<LocalLock> {
    let me =
        LocalLockHolder { pid: std::process::id(), command: site.verb.to_string(), started_at: clock::now() };
    lock_as(site, &me).await
}

/// Makes the state directory, unless it is there.
///
/// # Errors
/// Exit code 1 if it cannot be made.
pub fn prepare_state_directory(directory: &Path) -> Result<()> {
    let made = files::make_directory(directory, 0o700)
        // A user who copies the command that starts a server needs it, too.
        .and_then(|()| files::make_directory(&directory.join(start_log::DIRECTORY), 0o700));
    made.map_err(|error| {
        Error::from_cause(Exit::Failed, "could not create the state directory", &error)
            .hint("Set state_directory in the configuration to a directory that this user can write.")
    })
}

/// Fails as [`lock`] would, and touches nothing.
///
/// # Errors
/// Exit code 30, naming who has the lock.
pub async fn would_lock(site: &Site, directory: &Path) -> Result<()> {
    refuse_other_user(site)?;
    match LocalLock::holder(directory) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => lock(site).await.map(drop),
        Err(error) => Err(Error::from_cause(Exit::Failed, "could not check the lock", &error)),
    }
}
