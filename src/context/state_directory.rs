//! The state directory of this node: found, checked, made, and moved aside where it is another cluster's.

use std::path::{Path, PathBuf};
use std::sync::Once;

use jiff::Timestamp;
use serde_json::json;

use crate::config::Config;
use crate::context::{Context, state_directory};
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::ClusterFacts;
use crate::facts::identity::{self, Foreign, Found, Identity, Ours, Standing, is_same_place, judge};
use crate::facts::topology::{self, Topology};
use crate::facts::{host, start_log};
use crate::journal::{self, Entry, Mark, Record, Stage, unfinished};
use crate::pg::control_file;
use crate::registry::NodeType;
use crate::system::environment::home_of;
use crate::system::lock::{Holder, LocalLock};
use crate::system::{files, inspect};
use crate::ui::Level;

/// Where the default state directories are looked for.
const ROOT: &str = "/";

/// What an error's data have where the state directory is another's.
const FOREIGN: &str = "foreign_state_directory";

/// What commands that go on do not say.
const NO_CHANGE: &str = " Nothing was changed.";

/// The state directory of this node.
#[derive(Clone, Debug)]
pub struct State {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// Whose it is, if it says so already.
    pub identity: Option<Identity>,
    /// What is there is another cluster's, and is given this name before the directory is used.
    pub aside: Option<PathBuf>,
    /// State of this node is here as well, and is not used.
    also: Option<PathBuf>,
}

impl State {
    fn new(path: PathBuf, found: Found) -> Self {
        let identity = match found {
            Found::Marked(identity) => Some(identity),
            Found::Nothing | Found::Unmarked { .. } => None,
        };
        Self { path, identity, aside: None, also: None }
    }
}

/// What is known of this node without asking a server.
struct Known<'a> {
    config: &'a Config,
    local: Option<String>,
    cluster: Option<String>,
}

impl<'a> Known<'a> {
    fn of(context: &'a Context) -> Result<Self> {
        let config = context.config()?;
        Ok(Self { config, local: holds(&config.data_directory), cluster: context.cluster.borrow().clone() })
    }

    fn ours(&self) -> Ours<'_> {
        Ours {
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

    fn judge(&self, found: &Found) -> Standing {
        judge(found, &self.ours(), &holds)
    }
}

impl Context {
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
            Err(Error { primary, detail, hint, data, .. }) if data.get(FOREIGN).is_some() => {
                static WARNED: Once = Once::new();
                let detail = detail.map(|detail| detail.replace(NO_CHANGE, ""));
                WARNED.call_once(|| {
                    self.ui.message(Level::Warning, &primary, detail.as_deref(), hint.as_deref());
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
    pub(crate) fn state(&self) -> Result<State> {
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
fn look(directory: &Path) -> Result<Found> {
    let failed = |error: anyhow::Error| {
        Error::from_cause(Exit::Failed, "could not read the state directory", &error)
            .hint("Check its owner. A damaged identity.json can be removed if the directory is this node's.")
    };
    if let Some(identity) = identity::load(directory).map_err(failed)? {
        return Ok(Found::Marked(identity));
    }
    let topology = topology::load(directory).ok().flatten();
    let all = journal::list(directory).map_err(failed)?;
    if topology.is_none() && all.is_empty() {
        return Ok(Found::Nothing);
    }
    let open = all.iter().filter(|entry| !entry.is_over()).filter_map(|entry| entry.journal.as_ref().ok());
    let open = open.map(|loaded| (loaded.header.node_id, loaded.header.system_identifier.clone())).collect();
    Ok(Found::Unmarked { topology, open })
}

fn find(context: &Context) -> Result<State> {
    let mut known = Known::of(context)?;
    let config = known.config;
    let is_default = config.state_directory.is_none();
    let usual = config.state_directory(&context.environment, Path::new(ROOT))?;
    let found = look(&usual)?;
    if known.cluster.is_none()
        && let Found::Unmarked { topology: Some(seen), .. } = &found
        && is_witness(config, seen.nodes.iter().map(|node| &node.row))
    {
        known.cluster.clone_from(&seen.system_identifier);
        context.cluster.replace(known.cluster.clone());
    }
    let standing = known.judge(&found);
    if standing == Standing::Ours {
        return Ok(State::new(usual, found));
    }
    let elsewhere = search(context, &known, &usual)?;
    match (standing, elsewhere) {
        (_, Some(state)) if is_default => {
            if !config.names_state_of(&state.path) {
                context.ui.message(
                    Level::Notice,
                    &format!("the state of node \"{}\" is in \"{}\"", config.node_name, state.path.display()),
                    Some("It was created under another name of the node."),
                    Some("\"pgbaton operation adopt-state\" moves it."),
                );
            }
            Ok(state)
        }
        (Standing::Foreign(foreign), _) => {
            if is_default
                && foreign.in_use
                && let Some(identifier) = known.identifier()
            {
                let second =
                    config.second_state_directory(&context.environment, Path::new(ROOT), identifier)?;
                let found = look(&second)?;
                return match known.judge(&found) {
                    Standing::Foreign(foreign) => Err(refused(&second, &foreign)),
                    Standing::Free | Standing::Ours => Ok(State::new(second, found)),
                };
            }
            if known.cluster.is_none() || foreign.in_use {
                return Err(refused(&usual, &foreign));
            }
            may_leave(&usual, &foreign.why)?;
            let aside = Some(aside_of(&usual, foreign.identifier.as_deref()));
            Ok(State { aside, ..State::new(usual, Found::Nothing) })
        }
        (_, Some(other)) => {
            let open = journal::unfinished(&other.path).unwrap_or_default();
            if let Some(entry) = unfinished::blocking(&open) {
                return Err(Error::failed(format!(
                    "state directory \"{}\" is empty, and an operation of this node is unfinished in \"{}\"",
                    usual.display(),
                    other.path.display()
                ))
                .detail(format!("It is {}. Nothing was changed.", named(entry)))
                .hint(format!(
                    "Run \"pgbaton operation adopt-state --from {}\", or set \"state_directory\" to that directory.",
                    other.path.display()
                )));
            }
            Ok(State { also: Some(other.path), ..State::new(usual, Found::Nothing) })
        }
        (_, None) => Ok(State::new(usual, found)),
    }
}

fn is_witness<'a>(config: &Config, rows: impl IntoIterator<Item = &'a crate::registry::NodeRow>) -> bool {
    rows.into_iter().any(|row| {
        row.node_id == config.node_id
            && row.node_name == config.node_name
            && row.node_type == NodeType::Witness
    })
}

/// Looks for the state of this node where it was kept under another name, by another user or in another environment.
fn search(context: &Context, known: &Known<'_>, but: &Path) -> Result<Option<State>> {
    let config = known.config;
    let uid = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).ok()?).into();
    let users = [Some(context.environment.uid), uid(&config.data_directory)];
    let homes: Vec<PathBuf> = users.into_iter().flatten().filter_map(home_of).collect();
    let mut out: Vec<State> = Vec::new();
    for root in config.state_roots(&context.environment, Path::new(ROOT), &homes) {
        // What another user keeps to itself is not ours to find.
        for name in files::names_in(&root).unwrap_or_default() {
            let directory = root.join(name);
            let known_already =
                is_same_place(&directory, but) || out.iter().any(|one| is_same_place(&one.path, &directory));
            if known_already || !directory.is_dir() {
                continue;
            }
            let Ok(found) = look(&directory) else { continue };
            let proven = match &found {
                Found::Nothing => false,
                Found::Marked(identity) => match (known.cluster.as_deref(), known.local.as_deref()) {
                    (Some(cluster), _) => identity.system_identifier.as_deref() == Some(cluster),
                    (None, Some(local)) => identity.in_data_directory() == Some(local),
                    (None, None) => is_same_place(&identity.data_directory, &config.data_directory),
                },
                Found::Unmarked { topology, .. } => {
                    let seen = topology.as_ref().and_then(|seen| seen.system_identifier.as_deref());
                    config.names_state_of(&directory) && seen.is_some() && seen == known.identifier()
                }
            };
            if proven && known.judge(&found) == Standing::Ours {
                out.push(State::new(directory, found));
            }
        }
    }
    // A data directory that was moved may have left state behind; what names the present place is the newer one.
    let present = |state: &State| {
        state
            .identity
            .as_ref()
            .is_some_and(|identity| is_same_place(&identity.data_directory, &config.data_directory))
    };
    if out.len() > 1 && out.iter().filter(|state| present(state)).count() == 1 {
        out.retain(present);
    }
    match out.as_slice() {
        [] | [_] => Ok(out.pop()),
        several => {
            let paths: Vec<String> =
                several.iter().map(|state| format!("\"{}\"", state.path.display())).collect();
            Err(Error::failed(format!(
                "{} directories hold state of node \"{}\"",
                several.len(),
                config.node_name
            ))
            .detail(format!("They are {}. Nothing was changed.", paths.join(", ")))
            .hint("Set \"state_directory\" to the right one, or run \"pgbaton operation adopt-state --from\" with it."))
        }
    }
}

/// Says that a state directory is another's, and both ways out.
fn refused(directory: &Path, foreign: &Foreign) -> Error {
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
    let begun = |entry: &&Entry| match &entry.journal {
        Ok(loaded) => {
            let started = |record: &Record| {
                matches!(record, Record::Mark { stage: Stage::Forward, mark: Mark::Started, .. })
            };
            unfinished::blocking(std::slice::from_ref(*entry)).is_some() && loaded.records.iter().any(started)
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

fn named(entry: &Entry) -> String {
    match &entry.journal {
        Ok(loaded) => format!("{} (\"{}\")", entry.operation_id, loaded.header.command),
        Err(_) => entry.operation_id.clone(),
    }
}

/// Returns the user whose state a default directory would have to be, if this process runs as another one.
fn other_user(config: &Config) -> Option<String> {
    match config.state_directory {
        Some(_) => None,
        None => host::other_owner(&config.data_directory),
    }
}

/// Fails where another user than the owner of the data directory would look for state, and find none or another one.
///
/// # Errors
/// Exit code 1, naming the user.
pub fn refuse_other_user(context: &Context) -> Result<()> {
    let config = context.config()?;
    let Some(owner) = other_user(config) else { return Ok(()) };
    let me = context.environment.user.as_deref().unwrap_or("?");
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

/// Takes the lock of the state directory; it is made if it is not there, and says from then on whose it is.
///
/// # Errors
/// Exit code 1 if it cannot be made or is another's, 30 if the lock is held.
pub async fn lock_as(context: &Context, me: &Holder) -> Result<LocalLock> {
    refuse_other_user(context)?;
    let mut state = context.state()?;
    if let Some(aside) = state.aside.take() {
        move_to(context, &state.path, &aside, me).await?;
        context.state.replace(Some(state.clone()));
    }
    state_directory::prepare_state_directory(&state.path)?;
    let lock = LocalLock::acquire(&state.path, me).await?;
    mark(context, true)?;
    if let Some(also) = &state.also {
        context.ui.message(
            Level::Notice,
            &format!("state of this node in \"{}\" is not used", also.display()),
            Some(&format!("The state directory is \"{}\".", state.path.display())),
            Some(&format!("\"pgbaton operation adopt-state --from {}\" would use it.", also.display())),
        );
    }
    Ok(lock)
}

/// Moves a state directory while no other command uses it.
async fn move_to(context: &Context, from: &Path, to: &Path, me: &Holder) -> Result<()> {
    let _lock = LocalLock::acquire(from, me).await?;
    files::rename(from, to).map_err(|error| {
        Error::from_cause(Exit::Failed, "could not move a state directory", &error)
            .detail("Nothing was changed.")
            .hint("Move it yourself, or set \"state_directory\" in the configuration to another directory.")
    })?;
    context.ui.say(
        Level::Notice,
        &format!("state directory \"{}\" was moved to \"{}\"", from.display(), to.display()),
    );
    Ok(())
}

/// Writes down whose the state directory is. What is written there already is changed only under the lock.
fn mark(context: &Context, locked: bool) -> Result<()> {
    let state = context.state()?;
    let known = Known::of(context)?;
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
        && let Standing::Foreign(foreign) = known.judge(&Found::Marked(before.clone()))
    {
        return Err(refused(&state.path, &foreign));
    }
    let after = known.ours().identity(before.as_ref());
    record(context, &state, before, after, locked).map_err(failed)
}

fn record(
    context: &Context,
    state: &State,
    before: Option<Identity>,
    mut after: Identity,
    locked: bool,
) -> anyhow::Result<()> {
    let config_is_silent = context.config().is_ok_and(|config| config.state_directory.is_none());
    match &before {
        Some(before) => {
            let version = std::mem::replace(&mut after.pgbaton, before.pgbaton.clone());
            let is_new_witness = before.own_identifier.is_none() && after.own_identifier.is_some();
            if *before != after && (locked || is_new_witness) {
                after.pgbaton = version;
                if !is_same_place(&before.data_directory, &after.data_directory) {
                    context.ui.say(
                        Level::Notice,
                        &format!(
                            "the data directory of node \"{}\" is now \"{}\"; it was \"{}\"",
                            after.node_name,
                            after.data_directory.display(),
                            before.data_directory.display()
                        ),
                    );
                }
                identity::save(&state.path, &after, true)?;
            } else {
                after = before.clone();
            }
        }
        None => {
            identity::save(&state.path, &after, false)?;
            if config_is_silent && !topology::path(&state.path).exists() {
                context.ui.say(
                    Level::Notice,
                    &format!(
                        "the state of node \"{}\" is kept in \"{}\"",
                        after.node_name,
                        state.path.display()
                    ),
                );
            }
        }
    }
    context.state.replace(Some(State { identity: Some(after), also: None, ..state.clone() }));
    Ok(())
}

/// Keeps what was seen of the cluster of this node.
///
/// # Errors
/// Exit code 1 if the state directory is another's, or what was seen is; else where it cannot be written.
pub fn keep_topology(context: &Context, facts: &ClusterFacts, now: Timestamp) -> Result<()> {
    let config = context.config()?;
    let Some(seen) = facts.system_identifier() else { return Ok(()) };
    if is_witness(config, facts.nodes.iter().map(|node| &node.row)) {
        context.belongs_to(seen);
    }
    match context.system_identifier() {
        Some(own) if own != seen => {
            return Err(Error::failed("the nodes that respond belong to another cluster")
                .detail(format!(
                    "Their system identifier is {seen}, that of node \"{}\" is {own}.",
                    config.node_name
                ))
                .hint("Check conninfo and data_directory in the configuration."));
        }
        Some(_) => {}
        None => context.belongs_to(seen),
    }
    let state = context.state()?;
    // Another user's file is left alone, and what that user may not write here is no loss.
    if state.aside.is_some()
        || other_user(config).is_some() && state.path.exists() && !inspect::is_own(&state.path)
    {
        return Ok(());
    }
    state_directory::prepare_state_directory(&state.path)?;
    mark(context, false)?;
    topology::save(&state.path, facts, now)
        .map_err(|error| Error::from_cause(Exit::Failed, "could not write topology.json", &error))
}

/// Reads the saved topology of the cluster of this node.
///
/// # Errors
/// Exit code 1 if it cannot be read, or is of another cluster.
pub fn saved_topology(context: &Context) -> Result<Option<Topology>> {
    let state = context.state()?;
    if state.aside.is_some() {
        return Ok(None);
    }
    let seen = topology::load(&state.path).map_err(|error| {
        Error::from_cause(Exit::Failed, "could not read the saved topology", &error)
            .hint("The file is written anew by the next command that sees the cluster.")
    })?;
    let Some(seen) = seen else { return Ok(None) };
    match (seen.system_identifier.as_deref(), context.system_identifier()) {
        (Some(theirs), Some(own)) if theirs != own => {
            Err(Error::failed("the saved topology belongs to another cluster")
                .detail(format!("Its system identifier is {theirs}, that of this node is {own}."))
                .hint("It is not used, and is written anew by the next command that sees the cluster."))
        }
        _ => Ok(Some(seen)),
    }
}

/// Returns the user whose operations and topology this process cannot see, if there is one.
fn unseen(context: &Context) -> Option<String> {
    let owner = other_user(context.config().ok()?)?;
    let seen = context.state().is_ok_and(|state| state.path.exists() && !inspect::is_own(&state.path));
    (!seen).then_some(owner)
}

/// Says that the state of the node cannot be seen, where another user looks.
pub fn notice_other_user(context: &Context) {
    if let (Some(owner), Ok(config)) = (unseen(context), context.config()) {
        context.ui.message(
            Level::Notice,
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
pub fn must_be_seen(context: &Context) -> Result<()> {
    match unseen(context) {
        Some(_) => refuse_other_user(context),
        None => Ok(()),
    }
}

/// What became of an adoption.
#[derive(Debug)]
pub struct Taken {
    /// The state directory.
    pub path: PathBuf,
    /// Where to what was there went.
    pub aside: Option<PathBuf>,
    /// Where it was before.
    pub from: Option<PathBuf>,
    /// There was nothing to do.
    pub already: bool,
}

/// Makes the state directory of the configuration this node's own; in a dry run only finds out how.
///
/// # Errors
/// Exit code 1 if an unfinished operation would be left behind, or there is no state of this node in `from`; 30 if one is running.
pub async fn adopt(context: &Context, from: Option<PathBuf>, me: &Holder) -> Result<Taken> {
    refuse_other_user(context)?;
    let known = Known::of(context)?;
    let config = known.config;
    let path = config.state_directory(&context.environment, Path::new(ROOT))?;
    let from = match from {
        Some(from) if is_same_place(&from, &path) => None,
        Some(from) => {
            let found = look(&from)?;
            match known.judge(&found) {
                Standing::Ours => Some(from),
                Standing::Foreign(foreign) => {
                    return Err(Error::failed(format!(
                        "\"{}\" holds state of another cluster or node",
                        from.display()
                    ))
                    .detail(format!("{} Nothing was changed.", foreign.why)));
                }
                Standing::Free => {
                    return Err(Error::failed(format!(
                        "there is no state of a node in \"{}\"",
                        from.display()
                    ))
                    .detail("It has no identity.json, topology.json or journals. Nothing was changed."));
                }
            }
        }
        None => {
            let found = look(&path)?;
            return match known.judge(&found) {
                Standing::Ours => claim(context, &known, path, found, me).await,
                standing => match (search(context, &known, &path)?, standing) {
                    // The second cluster of this host has a directory of its own, where it belongs.
                    (Some(state), Standing::Foreign(_)) if config.names_state_of(&state.path) => {
                        Ok(Taken { path: state.path, aside: None, from: None, already: true })
                    }
                    (Some(state), _) if config.state_directory.is_none() => {
                        take(context, path, state.path, me).await
                    }
                    (_, Standing::Foreign(foreign)) => replace(context, &known, path, &foreign, me).await,
                    _ => claim(context, &known, path, found, me).await,
                },
            };
        }
    };
    match from {
        Some(from) => take(context, path, from, me).await,
        None => {
            let found = look(&path)?;
            claim(context, &known, path, found, me).await
        }
    }
}

/// Marks a directory that holds nothing, or state of this node.
async fn claim(
    context: &Context,
    known: &Known<'_>,
    path: PathBuf,
    found: Found,
    me: &Holder,
) -> Result<Taken> {
    let already = match &found {
        Found::Marked(identity) => known.ours().identity(Some(identity)) == *identity,
        Found::Nothing | Found::Unmarked { .. } => false,
    };
    if !context.global.dry_run {
        context.state.replace(Some(State::new(path.clone(), found)));
        drop(lock_as(context, me).await?);
    }
    Ok(Taken { path, aside: None, from: None, already })
}

/// Moves another's state aside; what is this very node's, which was copied, is taken over where it is.
async fn replace(
    context: &Context,
    known: &Known<'_>,
    path: PathBuf,
    foreign: &Foreign,
    me: &Holder,
) -> Result<Taken> {
    if let Found::Marked(identity) = look(&path)?
        && identity.node_id == known.config.node_id
        && known.identifier().is_some()
        && identity.in_data_directory() == known.local.as_deref()
    {
        if !context.global.dry_run {
            let _lock = LocalLock::acquire(&path, me).await?;
            let identity = known.ours().identity(Some(&identity));
            identity::save(&path, &identity, true).map_err(|error| {
                Error::from_cause(Exit::Failed, "could not mark the state directory", &error)
            })?;
        }
        return Ok(Taken { path, aside: None, from: None, already: false });
    }
    may_leave(&path, &foreign.why)?;
    let aside = aside_of(&path, foreign.identifier.as_deref());
    if !context.global.dry_run {
        move_to(context, &path, &aside, me).await?;
        context.state.replace(Some(State::new(path.clone(), Found::Nothing)));
        drop(lock_as(context, me).await?);
    }
    Ok(Taken { path, aside: Some(aside), from: None, already: false })
}

/// Moves state of this node to where the configuration says.
async fn take(context: &Context, path: PathBuf, from: PathBuf, me: &Holder) -> Result<Taken> {
    let used = !files::names_in(&path).unwrap_or_default().is_empty();
    let aside = if used {
        may_leave(&path, "It is in the directory that the state is to be moved to.")?;
        let present = match look(&path)? {
            Found::Marked(identity) => identity.system_identifier,
            Found::Unmarked { topology, .. } => topology.and_then(|seen| seen.system_identifier),
            Found::Nothing => None,
        };
        Some(aside_of(&path, present.as_deref()))
    } else {
        None
    };
    if context.global.dry_run {
        return Ok(Taken { path, aside, from: Some(from), already: false });
    }
    if let Some(aside) = &aside {
        move_to(context, &path, aside, me).await?;
    }
    let open = journal::unfinished(&from).is_ok_and(|left| unfinished::blocking(&left).is_some());
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        state_directory::prepare_state_directory(parent)?;
    }
    move_to(context, &from, &path, me).await?;
    if open {
        // The plan of an unfinished operation names files in the old place.
        if let Err(error) = std::os::unix::fs::symlink(&path, &from) {
            context.ui.message(
                Level::Warning,
                &format!("could not create the symbolic link \"{}\"", from.display()),
                Some(&crate::error::sentence(&error.to_string())),
                Some("An operation is unfinished, and its plan names files there. Create the link before you resume it."),
            );
        }
    }
    let found = look(&path)?;
    context.state.replace(Some(State::new(path.clone(), found)));
    drop(lock_as(context, me).await?);
    Ok(Taken { path, aside, from: Some(from), already: false })
}

/// Takes this node's lock.
///
/// # Errors
/// Exit code 30, naming who has it.
pub async fn lock(context: &Context) -> Result<LocalLock> {
    let me =
        Holder { pid: std::process::id(), command: context.verb.to_string(), started_at: journal::now() };
    lock_as(context, &me).await
}

/// Makes the state directory, unless it is there.
///
/// # Errors
/// Exit code 1 if it cannot be made.
pub fn prepare_state_directory(directory: &Path) -> Result<()> {
    let made = crate::system::files::make_directory(directory, 0o700)
        // A user who copies the command that starts a server needs it, too.
        .and_then(|()| crate::system::files::make_directory(&directory.join(start_log::DIRECTORY), 0o700));
    made.map_err(|error| {
        Error::from_cause(Exit::Failed, "could not create the state directory", &error)
            .hint("Set state_directory in the configuration to a directory that this user can write.")
    })
}

/// Fails as [`lock`] would, and touches nothing.
///
/// # Errors
/// Exit code 30, naming who has the lock.
pub async fn would_lock(context: &Context, directory: &Path) -> Result<()> {
    state_directory::refuse_other_user(context)?;
    match LocalLock::holder(directory) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => lock(context).await.map(drop),
        Err(error) => Err(Error::from_cause(Exit::Failed, "could not check the lock", &error)),
    }
}
