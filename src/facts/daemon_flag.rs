//! The flag of this daemon on disk: what it has promised about elections and pauses, across restarts of the daemon and of the host.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pgbaton_lease::{Epoch, Flag};
use serde::{Deserialize, Serialize};

use crate::system::files;

/// The file, in the state directory.
const FILE: &str = "lease.json";

/// What the flag belongs to: a flag that was copied, or restored from a backup with another data directory, is a lost one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongs {
    /// The cluster.
    pub system_identifier: String,
    /// The node.
    pub node_id: i32,
    /// The inode of the data directory: a restored one is another one. (The number of its device may be another one after every boot.) Empty where
    /// there is none.
    pub data_directory: String,
    /// The machine, where the system has given it an identity.
    pub machine: String,
}

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    flag: String,
    timeline: u32,
    counter: u32,
    op: u32,
    /// An operator has reset this node, and it has not led since.
    #[serde(default)]
    unbound: bool,
    #[serde(flatten)]
    belongs: Belongs,
}

const NAMES: [(&str, Flag); 5] = [
    ("active", Flag::Active),
    ("held", Flag::Held),
    ("full", Flag::Full),
    ("ending", Flag::Ending),
    ("new", Flag::New),
];

/// Returns the name of a flag, as files and answers have it.
pub fn name(flag: Flag) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == flag).map_or("new", |(name, _)| name)
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Nothing,
    /// There is one, of something else: of another machine, node, cluster or data directory.
    Foreign,
    /// This node's.
    Own(Promise),
}

/// What a node has promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Whether it may act.
    pub flag: Flag,
    /// The pause that it has last taken part in.
    pub epoch: Epoch,
    /// An operator has reset it, and it has not led since.
    pub unbound: bool,
}

/// Reads the flag.
///
/// # Errors
/// If the file cannot be read, or makes no sense: what was promised is not known then, and nothing may be done.
pub fn load(state: &Path, belongs: &Belongs) -> anyhow::Result<Found> {
    let path = state.join(FILE);
    let Some(bytes) = files::read(&path)? else { return Ok(Found::Nothing) };
    let stored: Stored = serde_json::from_slice(&bytes)
        .with_context(|| format!("could not understand \"{}\"", path.display()))?;
    if stored.belongs != *belongs {
        return Ok(Found::Foreign);
    }
    let flag = NAMES.iter().find(|(name, _)| *name == stored.flag).map(|(_, flag)| *flag);
    let flag = flag.with_context(|| format!("unknown flag \"{}\" in \"{}\"", stored.flag, path.display()))?;
    let epoch = Epoch { timeline: stored.timeline, counter: stored.counter, op: stored.op };
    Ok(Found::Own(Promise { flag, epoch, unbound: stored.unbound }))
}

/// Writes the flag, down to the disk.
///
/// # Errors
/// Those of the system.
pub fn save(state: &Path, belongs: &Belongs, promise: Promise) -> anyhow::Result<()> {
    let Promise { flag, epoch, unbound } = promise;
    let stored = Stored {
        flag: name(flag).to_string(),
        timeline: epoch.timeline,
        counter: epoch.counter,
        op: epoch.op,
        unbound,
        belongs: belongs.clone(),
    };
    let mut text = serde_json::to_vec(&stored)?;
    text.push(b'\n');
    files::write(&state.join(FILE), &text, 0o600)
}

/// Returns the path of the file, for messages.
pub fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_read_as_it_was_written_and_only_where_it_belongs() {
        let directory = tempfile::tempdir().unwrap();
        let own = Belongs {
            system_identifier: "7".into(),
            node_id: 1,
            data_directory: "9".into(),
            machine: "m".into(),
        };
        assert_eq!(load(directory.path(), &own).unwrap(), Found::Nothing);
        let epoch = Epoch { timeline: 3, counter: 4, op: 5 };
        for (_, flag) in NAMES {
            let promise = Promise { flag, epoch, unbound: flag == Flag::Full };
            save(directory.path(), &own, promise).unwrap();
            assert_eq!(load(directory.path(), &own).unwrap(), Found::Own(promise));
        }
        for foreign in [
            Belongs { node_id: 2, ..own.clone() },
            Belongs { machine: "n".into(), ..own.clone() },
            Belongs { data_directory: "10".into(), ..own.clone() },
            Belongs { system_identifier: "8".into(), ..own.clone() },
        ] {
            assert_eq!(load(directory.path(), &foreign).unwrap(), Found::Foreign);
        }
        files::write(&path(directory.path()), b"{", 0o600).unwrap();
        assert!(load(directory.path(), &own).is_err());
    }
}
