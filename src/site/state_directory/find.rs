//! Which state directory is this node's: the one that the configuration names, or one that was kept under another name.

use std::path::{Path, PathBuf};

use super::{
    KnownIdentity, ROOT, StateDirectory, aside_of, inspect_state_directory, may_leave, named, refused,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::facts::identity::{StateContents, StateOwnership, is_same_place};
use crate::journal;
use crate::registry::{NodeRow, NodeType};
use crate::site::Site;
use crate::system::environment::home_of;
use crate::system::files;

pub(super) fn find(site: &Site) -> Result<StateDirectory> {
    let mut known = KnownIdentity::of(site)?;
    let config = known.config;
    let is_default = config.state_directory.is_none();
    let usual = config.state_directory(&site.environment, Path::new(ROOT))?;
    let found = inspect_state_directory(&usual)?;
    if known.cluster.is_none()
        && let StateContents::Unmarked { topology: Some(seen), .. } = &found
        && is_witness(config, seen.nodes.iter().map(|node| &node.row))
    {
        known.cluster.clone_from(&seen.system_identifier);
        site.cluster.replace(known.cluster.clone());
    }
    let standing = known.judge(&found);
    if standing == StateOwnership::Ours {
        return Ok(StateDirectory::new(usual, found));
    }
    let elsewhere = search(site, &known, &usual)?;
    match (standing, elsewhere) {
        (_, Some(state)) if is_default => {
            if !config.names_state_of(&state.path) {
                site.messages.notice(
                    &format!("the state of node \"{}\" is in \"{}\"", config.node_name, state.path.display()),
                    Some("It was created under another name of the node."),
                    Some("\"pgbaton operation adopt-state\" moves it."),
                );
            }
            Ok(state)
        }
        (StateOwnership::Foreign(foreign), _) => {
            if is_default
                && foreign.in_use
                && let Some(identifier) = known.identifier()
            {
                let second = config.second_state_directory(&site.environment, Path::new(ROOT), identifier)?;
                let found = inspect_state_directory(&second)?;
                return match known.judge(&found) {
                    StateOwnership::Foreign(foreign) => Err(refused(&second, &foreign)),
                    StateOwnership::Free | StateOwnership::Ours => Ok(StateDirectory::new(second, found)),
                };
            }
            if known.cluster.is_none() || foreign.in_use {
                return Err(refused(&usual, &foreign));
            }
            may_leave(&usual, &foreign.why)?;
            let aside = Some(aside_of(&usual, foreign.identifier.as_deref()));
            Ok(StateDirectory { aside, ..StateDirectory::new(usual, StateContents::Nothing) })
        }
        (_, Some(other)) => {
            let open = journal::unfinished(&other.path).unwrap_or_default();
            if let Some(entry) = journal::blocking(&open) {
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
            Ok(StateDirectory {
                also: Some(other.path),
                ..StateDirectory::new(usual, StateContents::Nothing)
            })
        }
        (_, None) => Ok(StateDirectory::new(usual, found)),
    }
}

/// Looks for the state of this node where it was kept under another name, by another user or in another environment.
pub(super) fn search(site: &Site, known: &KnownIdentity<'_>, but: &Path) -> Result<Option<StateDirectory>> {
    let config = known.config;
    let uid = |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).ok()?).into();
    let users = [Some(site.environment.uid), uid(&config.data_directory)];
    let homes: Vec<PathBuf> = users.into_iter().flatten().filter_map(home_of).collect();
    let mut out: Vec<StateDirectory> = Vec::new();
    for root in config.state_roots(&site.environment, Path::new(ROOT), &homes) {
        // What another user keeps to itself is not ours to find.
        for name in files::names_in(&root).unwrap_or_default() {
            let directory = root.join(name);
            let known_already =
                is_same_place(&directory, but) || out.iter().any(|one| is_same_place(&one.path, &directory));
            if known_already || !directory.is_dir() {
                continue;
            }
            let Ok(found) = inspect_state_directory(&directory) else { continue };
            let proven = match &found {
                StateContents::Nothing => false,
                StateContents::Marked(identity) => match (known.cluster.as_deref(), known.local.as_deref()) {
                    (Some(cluster), _) => identity.system_identifier.as_deref() == Some(cluster),
                    (None, Some(local)) => identity.in_data_directory() == Some(local),
                    (None, None) => is_same_place(&identity.data_directory, &config.data_directory),
                },
                StateContents::Unmarked { topology, .. } => {
                    let seen = topology.as_ref().and_then(|seen| seen.system_identifier.as_deref());
                    config.names_state_of(&directory) && seen.is_some() && seen == known.identifier()
                }
            };
            if proven && known.judge(&found) == StateOwnership::Ours {
                out.push(StateDirectory::new(directory, found));
            }
        }
    }
    // A data directory that was moved may have left state behind; what names the present place is the newer one.
    let present = |state: &StateDirectory| {
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

pub(super) fn is_witness<'a>(config: &Config, rows: impl IntoIterator<Item = &'a NodeRow>) -> bool {
    rows.into_iter().any(|row| {
        row.node_id == config.node_id
            && row.node_name == config.node_name
            && row.node_type == NodeType::Witness
    })
}
