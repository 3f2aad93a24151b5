//! The adoption of state that was kept in another place, or that is in the place of another node's.

use std::path::{Path, PathBuf};

use super::find::search;
use super::{
    KnownIdentity, ROOT, StateDirectory, aside_of, inspect_state_directory, lock_as, may_leave, move_to,
    prepare_state_directory, refuse_other_user,
};
use crate::error::{Error, Exit, Result};
use crate::facts::identity::{self, ForeignState, StateContents, StateOwnership, is_same_place};
use crate::journal;
use crate::site::Site;
use crate::system::files;
use crate::system::lock::{LocalLock, LocalLockHolder};

/// What became of an adoption.
#[derive(Debug)]
pub struct Adoption {
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
pub async fn adopt(site: &Site, from: Option<PathBuf>, me: &LocalLockHolder) -> Result<Adoption> {
    refuse_other_user(site)?;
    let known = KnownIdentity::of(site)?;
    let config = known.config;
    let path = config.state_directory(&site.environment, Path::new(ROOT))?;
    let from = match from {
        Some(from) if is_same_place(&from, &path) => None,
        Some(from) => {
            let found = inspect_state_directory(&from)?;
            match known.judge(&found) {
                StateOwnership::Ours => Some(from),
                StateOwnership::Foreign(foreign) => {
                    return Err(Error::failed(format!(
                        "\"{}\" holds state of another cluster or node",
                        from.display()
                    ))
                    .detail(format!("{} Nothing was changed.", foreign.why)));
                }
                StateOwnership::Free => {
                    return Err(Error::failed(format!(
                        "there is no state of a node in \"{}\"",
                        from.display()
                    ))
                    .detail("It has no identity.json, topology.json or journals. Nothing was changed."));
                }
            }
        }
        None => {
            let found = inspect_state_directory(&path)?;
            return match known.judge(&found) {
                StateOwnership::Ours => claim(site, &known, path, found, me).await,
                standing => match (search(site, &known, &path)?, standing) {
                    // The second cluster of this host has a directory of its own, where it belongs.
                    (Some(state), StateOwnership::Foreign(_)) if config.names_state_of(&state.path) => {
                        Ok(Adoption { path: state.path, aside: None, from: None, already: true })
                    }
                    (Some(state), _) if config.state_directory.is_none() => {
                        take(site, path, state.path, me).await
                    }
                    (_, StateOwnership::Foreign(foreign)) => replace(site, &known, path, &foreign, me).await,
                    _ => claim(site, &known, path, found, me).await,
                },
            };
        }
    };
    match from {
        Some(from) => take(site, path, from, me).await,
        None => {
            let found = inspect_state_directory(&path)?;
            claim(site, &known, path, found, me).await
        }
    }
}

/// Marks a directory that holds nothing, or state of this node.
async fn claim(
    site: &Site,
    known: &KnownIdentity<'_>,
    path: PathBuf,
    found: StateContents,
    me: &LocalLockHolder,
) -> Result<Adoption> {
    let already = match &found {
        StateContents::Marked(identity) => known.ours().identity(Some(identity)) == *identity,
        StateContents::Nothing | StateContents::Unmarked { .. } => false,
    };
    if !site.options.dry_run {
        site.state.replace(Some(StateDirectory::new(path.clone(), found)));
        drop(lock_as(site, me).await?);
    }
    Ok(Adoption { path, aside: None, from: None, already })
}

/// Moves another's state aside; what is this very node's, which was copied, is taken over where it is.
async fn replace(
    site: &Site,
    known: &KnownIdentity<'_>,
    path: PathBuf,
    foreign: &ForeignState,
    me: &LocalLockHolder,
) -> Result<Adoption> {
    if let StateContents::Marked(identity) = inspect_state_directory(&path)?
        && identity.node_id == known.config.node_id
        && known.identifier().is_some()
        && identity.in_data_directory() == known.local.as_deref()
    {
        if !site.options.dry_run {
            let _lock = LocalLock::acquire(&path, me).await?;
            let identity = known.ours().identity(Some(&identity));
            identity::save(&path, &identity, true).map_err(|error| {
                Error::from_cause(Exit::Failed, "could not mark the state directory", &error)
            })?;
        }
        return Ok(Adoption { path, aside: None, from: None, already: false });
    }
    may_leave(&path, &foreign.why)?;
    let aside = aside_of(&path, foreign.identifier.as_deref());
    if !site.options.dry_run {
        move_to(site, &path, &aside, me).await?;
        site.state.replace(Some(StateDirectory::new(path.clone(), StateContents::Nothing)));
        drop(lock_as(site, me).await?);
    }
    Ok(Adoption { path, aside: Some(aside), from: None, already: false })
}

/// Moves state of this node to where the configuration says.
async fn take(site: &Site, path: PathBuf, from: PathBuf, me: &LocalLockHolder) -> Result<Adoption> {
    let used = !files::names_in(&path).unwrap_or_default().is_empty();
    let aside = if used {
        may_leave(&path, "It is in the directory that the state is to be moved to.")?;
        let present = match inspect_state_directory(&path)? {
            StateContents::Marked(identity) => identity.system_identifier,
            StateContents::Unmarked { topology, .. } => topology.and_then(|seen| seen.system_identifier),
            StateContents::Nothing => None,
        };
        Some(aside_of(&path, present.as_deref()))
    } else {
        None
    };
    if site.options.dry_run {
        return Ok(Adoption { path, aside, from: Some(from), already: false });
    }
    if let Some(aside) = &aside {
        move_to(site, &path, aside, me).await?;
    }
    let open = journal::unfinished(&from).is_ok_and(|left| journal::blocking(&left).is_some());
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        prepare_state_directory(parent)?;
    }
    move_to(site, &from, &path, me).await?;
    if open {
        // The plan of an unfinished operation names files in the old place.
        if let Err(error) = std::os::unix::fs::symlink(&path, &from) {
            site.messages.warning(
                &format!("could not create the symbolic link \"{}\"", from.display()),
                Some(&crate::error::sentence(&error.to_string())),
                Some("An operation is unfinished, and its plan names files there. Create the link before you resume it."),
            );
        }
    }
    let found = inspect_state_directory(&path)?;
    site.state.replace(Some(StateDirectory::new(path.clone(), found)));
    drop(lock_as(site, me).await?);
    Ok(Adoption { path, aside, from: Some(from), already: false })
}
