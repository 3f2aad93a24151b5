//! Whose state a state directory holds: of which cluster and of which node. Pure, but for reading and writing the file.
//!
//! A directory is found by its path, which two clusters can share and a renamed node leaves behind. What lies in it (journals, the lock,
//! the saved topology) is used only for the cluster and the node that it was made for.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::facts::topology::Topology;
use crate::registry::NodeType;
use crate::system::files;

/// The newest layout that this version reads and the one that it writes.
const FORMAT: u32 = 1;

/// The cluster and the node that a state directory belongs to, as the file in it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Layout of the file.
    pub format: u32,
    /// The version that wrote it.
    pub pgbaton: String,
    /// The cluster; for a witness the one that it watches. None if it was not known.
    pub system_identifier: Option<String>,
    /// What the data directory holds, if that is not the cluster: a witness has a system identifier of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_identifier: Option<String>,
    /// The node.
    pub node_id: i32,
    /// Its name, for people.
    pub node_name: String,
    /// Where its data directory was.
    pub data_directory: PathBuf,
}

/// The node that is to use a state directory.
#[derive(Clone, Copy, Debug)]
pub struct StateUser<'a> {
    /// Its id.
    pub node_id: i32,
    /// Its name.
    pub node_name: &'a str,
    /// Its data directory.
    pub data_directory: &'a Path,
    /// The system identifier in the data directory; None where there is none yet, or it cannot be read.
    pub local: Option<&'a str>,
    /// The cluster, if a server has reported it: the source of a clone, the primary of a witness.
    pub cluster: Option<&'a str>,
}

/// What a state directory holds.
#[derive(Debug)]
pub enum StateContents {
    /// Nothing that belongs to a cluster.
    Nothing,
    /// The file says whose it is.
    Marked(Identity),
    /// State of a version that did not write the file.
    Unmarked {
        /// The cluster as it was last seen.
        topology: Option<Topology>,
        /// The node and the cluster of every operation that is not over.
        open: Vec<(i32, Option<String>)>,
    },
}

/// What a state directory is to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOwnership {
    /// It holds nothing yet.
    Free,
    /// It is this node's.
    Ours,
    /// It is another's.
    Foreign(ForeignState),
}

/// Why a state directory is another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignState {
    /// Whole sentences.
    pub why: String,
    /// The cluster that it belongs to, if that is known.
    pub identifier: Option<String>,
    /// Its owner is on this host still, in a data directory of its own.
    pub in_use: bool,
}

/// Returns the path of the file.
pub fn path(state_directory: &Path) -> PathBuf {
    state_directory.join("identity.json")
}

/// Reads the file.
///
/// # Errors
/// Fails where it cannot be read or understood; Ok(None) where there is none.
pub fn load(state_directory: &Path) -> anyhow::Result<Option<Identity>> {
    let path = path(state_directory);
    let Some(text) = files::read(&path)? else { return Ok(None) };
    let identity: Identity =
        serde_json::from_slice(&text).with_context(|| format!("could not parse \"{}\"", path.display()))?;
    anyhow::ensure!(
        identity.format <= FORMAT,
        "\"{}\" was written by a newer version of pgbaton (format {})",
        path.display(),
        identity.format
    );
    Ok(Some(identity))
}

/// Writes the file; `replace` says whether there is one already.
///
/// # Errors
/// Fails where it cannot be written, and where there is one that is not to be replaced.
pub fn save(state_directory: &Path, identity: &Identity, replace: bool) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(identity)?;
    text.push('\n');
    let write = if replace { files::write } else { files::write_new };
    write(&path(state_directory), text.as_bytes(), 0o600)
}

impl Identity {
    /// Returns what the data directory of the node holds.
    pub fn in_data_directory(&self) -> Option<&str> {
        self.own_identifier.as_deref().or(self.system_identifier.as_deref())
    }
}

impl StateUser<'_> {
    /// Returns what the file has to say; `before` is what it says now.
    pub fn identity(&self, before: Option<&Identity>) -> Identity {
        let own = |text: &str| text.to_string();
        let recorded = before.and_then(|old| old.system_identifier.clone());
        // A witness keeps watching its cluster until a server reports another one.
        let watched = before.filter(|old| old.own_identifier.is_some()).and(recorded.clone());
        let cluster = self.cluster.map(own).or(watched).or(self.local.map(own)).or(recorded);
        let own_identifier = match self.local {
            Some(local) => Some(local.to_string()),
            None => before.and_then(|old| old.own_identifier.clone()),
        };
        Identity {
            format: FORMAT,
            pgbaton: env!("CARGO_PKG_VERSION").into(),
            own_identifier: own_identifier.filter(|own| Some(own) != cluster.as_ref()),
            system_identifier: cluster,
            node_id: self.node_id,
            node_name: self.node_name.into(),
            data_directory: self.data_directory.into(),
        }
    }

    /// Names the node and its cluster.
    fn described(&self) -> String {
        let cluster = match self.cluster.or(self.local) {
            Some(identifier) => format!(" of the cluster with system identifier {identifier}"),
            None => String::new(),
        };
        format!("node {} (\"{}\"){cluster}", self.node_id, self.node_name)
    }
}

/// Judges what a state directory holds. `holds` returns the system identifier in a data directory of this host.
pub fn state_ownership(
    found: &StateContents,
    ours: &StateUser<'_>,
    holds: &dyn Fn(&Path) -> Option<String>,
) -> StateOwnership {
    match found {
        StateContents::Nothing => StateOwnership::Free,
        StateContents::Marked(identity) => judge_marked(identity, ours, holds),
        StateContents::Unmarked { topology, open } => judge_unmarked(topology.as_ref(), open, ours),
    }
}

fn judge_marked(
    identity: &Identity,
    ours: &StateUser<'_>,
    holds: &dyn Fn(&Path) -> Option<String>,
) -> StateOwnership {
    let place = &identity.data_directory;
    let elsewhere = !is_same_place(place, ours.data_directory);
    let kept = identity.in_data_directory().map(str::to_string);
    let in_use = elsewhere && kept.is_some() && holds(place) == kept;
    let identifier = identity.system_identifier.clone();
    let described = format!(
        "It belongs to node {} (\"{}\"){} in \"{}\", but this is {}.",
        identity.node_id,
        identity.node_name,
        identifier.as_ref().map_or_else(String::new, |identifier| {
            format!(" of the cluster with system identifier {identifier}")
        }),
        place.display(),
        ours.described()
    );
    let foreign = |why| StateOwnership::Foreign(ForeignState { why, identifier: identifier.clone(), in_use });
    let other_cluster = match (ours.cluster, ours.local) {
        (Some(cluster), _) => identity.system_identifier.as_deref().is_some_and(|seen| seen != cluster),
        (None, Some(local)) => kept.as_deref().is_some_and(|kept| kept != local),
        (None, None) => false,
    };
    // A server that is registered as a witness has state from before, under its own identifier.
    let as_witness = ours.cluster.is_some() && ours.local.is_some() && ours.local == kept.as_deref();
    if identity.node_id != ours.node_id || other_cluster && !as_witness {
        return foreign(described);
    }
    if in_use {
        return foreign(format!(
            "It belongs to the same node in \"{}\", which still contains a data directory of this cluster, but data_directory is \
             now \"{}\".",
            place.display(),
            ours.data_directory.display()
        ));
    }
    StateOwnership::Ours
}

/// State from before there was a file is taken over where everything that names a cluster or a node names ours.
fn judge_unmarked(
    topology: Option<&Topology>,
    open: &[(i32, Option<String>)],
    ours: &StateUser<'_>,
) -> StateOwnership {
    let watched = |seen: &Topology| {
        seen.node(ours.node_id).is_some_and(|node| {
            node.row.node_type == NodeType::Witness && node.row.node_name == ours.node_name
        })
    };
    let known = ours.cluster.or(ours.local);
    let is_other = |identifier: &str| known.is_some_and(|known| known != identifier);
    let foreign = |why: String, identifier: Option<String>| {
        let why = format!("{why}, but this is {}.", ours.described());
        StateOwnership::Foreign(ForeignState { why, identifier, in_use: false })
    };
    let seen = topology.and_then(|seen| Some((seen.system_identifier.as_deref()?, seen)));
    if let Some((identifier, seen)) = seen
        && is_other(identifier)
        && !watched(seen)
    {
        let why = format!("Its topology.json belongs to the cluster with system identifier {identifier}");
        return foreign(why, Some(identifier.into()));
    }
    let identifier = seen.map(|(identifier, _)| identifier.to_string());
    for (node_id, cluster) in open {
        if *node_id != ours.node_id {
            return foreign(format!("It contains an unfinished operation of node {node_id}"), identifier);
        }
        if let Some(cluster) = cluster
            && is_other(cluster)
            && identifier.as_ref() != Some(cluster)
        {
            let why = format!(
                "It contains an unfinished operation of the cluster with system identifier {cluster}"
            );
            return foreign(why, Some(cluster.clone()));
        }
    }
    StateOwnership::Ours
}

/// Says whether two paths lead to the same directory, or are the same where there is none.
pub fn is_same_place(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    one == other || inode(one).is_some_and(|one| inode(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "7300000000000000001";
    const B: &str = "7300000000000000002";

    fn ours<'a>(local: Option<&'a str>, cluster: Option<&'a str>) -> StateUser<'a> {
        StateUser { node_id: 2, node_name: "node2", data_directory: Path::new("/ours"), local, cluster }
    }

    fn marked(change: impl Fn(&mut Identity)) -> StateContents {
        let mut identity = ours(Some(A), None).identity(None);
        change(&mut identity);
        StateContents::Marked(identity)
    }

    fn topology(identifier: Option<&str>, node_type: &str) -> Option<Topology> {
        let topology = serde_json::json!({
            "format": 1, "system_identifier": identifier, "observed_at": "2026-11-21T10:00:00Z",
            "nodes": [{
                "row": {"node_id": 2, "upstream_node_id": null, "active": true, "node_name": "node2", "type": node_type,
                        "location": "default", "priority": 100, "conninfo": "host=h1", "repluser": "repmgr",
                        "slot_name": null, "config_file": "/x"},
                "last_seen": null, "was_primary": null, "timeline": null, "wal_end": null
            }]
        });
        Some(serde_json::from_value(topology).unwrap())
    }

    fn standing(found: &StateContents, ours: &StateUser<'_>, there: &[(&str, &str)]) -> &'static str {
        let holds = |path: &Path| {
            there.iter().find(|(place, _)| Path::new(place) == path).map(|(_, holds)| (*holds).to_string())
        };
        match state_ownership(found, ours, &holds) {
            StateOwnership::Free => "free",
            StateOwnership::Ours => "ours",
            StateOwnership::Foreign(foreign) if foreign.in_use => "in use",
            StateOwnership::Foreign(_) => "foreign",
        }
    }

    #[test]
    fn state_is_used_only_by_its_own_cluster_and_node() {
        let here = ours(Some(A), None);
        assert_eq!(standing(&StateContents::Nothing, &here, &[]), "free");
        assert_eq!(standing(&marked(|_| ()), &here, &[]), "ours");
        // The cluster was made anew in the same place.
        assert_eq!(standing(&marked(|_| ()), &ours(Some(B), None), &[("/ours", B)]), "foreign");
        assert_eq!(standing(&marked(|identity| identity.node_id = 3), &here, &[]), "foreign");
        // A name is not what decides.
        assert_eq!(standing(&marked(|identity| identity.node_name = "x".into()), &here, &[]), "ours");
        // It was made before anything was known.
        assert_eq!(standing(&marked(|identity| identity.system_identifier = None), &here, &[]), "ours");
        // Another cluster of this host.
        let elsewhere = marked(|identity| identity.data_directory = "/theirs".into());
        assert_eq!(standing(&elsewhere, &ours(Some(B), None), &[("/theirs", A)]), "in use");
        assert_eq!(standing(&elsewhere, &ours(Some(B), None), &[("/theirs", B)]), "foreign");
        // Before its clone a node knows no identifier: then the place decides.
        assert_eq!(standing(&elsewhere, &ours(None, None), &[("/theirs", A)]), "in use");
        assert_eq!(standing(&elsewhere, &ours(None, None), &[]), "ours");
        assert_eq!(standing(&marked(|_| ()), &ours(None, Some(B)), &[]), "foreign");
        assert_eq!(standing(&marked(|_| ()), &ours(None, Some(A)), &[]), "ours");
    }

    #[test]
    fn a_data_directory_that_has_moved_takes_its_state_along_and_a_copy_does_not() {
        let moved = marked(|identity| identity.data_directory = "/before".into());
        assert_eq!(standing(&moved, &ours(Some(A), None), &[]), "ours");
        assert_eq!(standing(&moved, &ours(Some(A), None), &[("/before", B)]), "ours");
        assert_eq!(standing(&moved, &ours(Some(A), None), &[("/before", A)]), "in use");
    }

    #[test]
    fn a_witness_has_the_state_of_the_cluster_that_it_watches() {
        // Before it is registered, its own.
        let before = ours(Some(B), None).identity(None);
        let watching = ours(Some(B), Some(A));
        assert_eq!(standing(&StateContents::Marked(before.clone()), &watching, &[]), "ours");
        let identity = watching.identity(Some(&before));
        let names = (identity.system_identifier.as_deref(), identity.own_identifier.as_deref());
        assert_eq!(names, (Some(A), Some(B)));
        // No server is asked the next time.
        let later = ours(Some(B), None);
        assert_eq!(later.identity(Some(&identity)), identity);
        assert_eq!(standing(&StateContents::Marked(identity.clone()), &later, &[]), "ours");
        // Its own server was made anew, and it is registered again.
        assert_eq!(standing(&StateContents::Marked(identity), &ours(Some("9"), Some(A)), &[]), "ours");
    }

    #[test]
    fn state_of_a_version_without_identities_is_taken_over_if_all_that_names_a_cluster_names_ours() {
        let unmarked = |topology: Option<Topology>, open: &[(i32, Option<&str>)]| {
            let open = open.iter().map(|(node, cluster)| (*node, cluster.map(str::to_string))).collect();
            standing(&StateContents::Unmarked { topology, open }, &ours(Some(A), None), &[])
        };
        assert_eq!(unmarked(None, &[]), "ours");
        assert_eq!(unmarked(topology(None, "standby"), &[(2, None)]), "ours");
        assert_eq!(unmarked(topology(Some(A), "standby"), &[(2, Some(A))]), "ours");
        assert_eq!(unmarked(topology(Some(B), "standby"), &[]), "foreign");
        assert_eq!(unmarked(topology(Some(B), "witness"), &[(2, None)]), "ours");
        assert_eq!(unmarked(topology(Some(A), "standby"), &[(2, None), (2, Some(B))]), "foreign");
        assert_eq!(unmarked(topology(Some(A), "standby"), &[(3, None)]), "foreign");
    }

    #[test]
    fn the_file_is_written_once_and_replaced_only_on_purpose() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load(directory.path()).unwrap(), None);
        let mut identity = ours(Some(A), None).identity(None);
        save(directory.path(), &identity, false).unwrap();
        identity.node_name = "other".into();
        assert!(save(directory.path(), &identity, false).is_err());
        assert_eq!(load(directory.path()).unwrap().unwrap().node_name, "node2");
        save(directory.path(), &identity, true).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Some(identity.clone()));
        identity.format = FORMAT + 1;
        save(directory.path(), &identity, true).unwrap();
        let error = format!("{:#}", load(directory.path()).unwrap_err());
        assert!(error.ends_with("was written by a newer version of pgbaton (format 2)"), "{error}");
    }
}
