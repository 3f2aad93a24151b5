//! Cloning a node anew where it cannot rejoin in another way: what is moved aside, and what is kept.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, sentence};
use crate::facts::cluster::Unavailable;
use crate::facts::directory::DirectoryContents;
use crate::facts::rejoin::own_files;
use crate::observe::clone;
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Answered;
use crate::plan::clone::plan as clone_plan;
use crate::plan::rejoin::{MovedDirectory, Reclone, RejoinFacts, RejoinOptions};
use crate::secret::Secrets;
use crate::site::Site;
use crate::system::{files, inspect};

/// What a new clone takes, where nothing else will do.
pub(crate) async fn prepare_reclone(
    site: &Site,
    facts: &RejoinFacts,
    options: &RejoinOptions,
    secrets: &mut Secrets,
) -> Result<Reclone> {
    let data = &facts.local.data_directory;
    let row = facts.cluster.node(facts.primary_id).map(|node| node.row.conninfo.clone()).unwrap_or_default();
    let given = Conninfo::parse(&row).map_err(|error| {
        Error::failed("invalid connection string in the record of the primary")
            .detail(sentence(&error.to_string()))
    })?;
    let (mut clone_facts, clone_options) = clone::prepare_anew(site, &given, secrets).await?;
    if facts.local.running.is_some() {
        // That is the server which will be stopped first.
        let own = clone_facts.cluster.nodes.iter_mut().find(|node| node.row.node_id == facts.node_id);
        if let Some(own) = own {
            own.server = Err(Unavailable::new(Answered::Nothing, "it will be stopped"));
        }
    }
    let stamp = options.kept.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let aside_path = |path: &Path| {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{stamp}"));
        path.with_file_name(name)
    };
    let moved = |from: &Path, link: Option<PathBuf>| MovedDirectory {
        from: from.to_path_buf(),
        to: aside_path(from),
        link,
    };
    let mut aside = vec![moved(data, None)];
    let in_tablespaces = files::names_in(&data.join("pg_tblspc")).unwrap_or_default();
    let in_tablespaces = in_tablespaces.iter().map(|name| Path::new("pg_tblspc").join(name));
    let linked: Vec<(PathBuf, PathBuf)> = in_tablespaces
        .chain([PathBuf::from("pg_wal")])
        .filter_map(|name| Some((data.join(std::fs::read_link(data.join(&name)).ok()?), name)))
        .collect();
    for target in clone_facts.tablespaces.iter_mut().chain(&mut clone_facts.waldir) {
        // The primary may be on this host; what is its own is not touched, and stops the clone.
        let theirs = clone_facts.source_is_local && target.to == Path::new(&target.from);
        if let Some((_, name)) = linked.iter().find(|(to, _)| *to == target.to).filter(|_| !theirs) {
            aside.push(moved(&target.to, Some(name.clone())));
            target.contents = DirectoryContents::Missing;
            target.room.reclaimable_bytes = 0;
            target.ours = false;
        }
    }
    let immovable = aside.iter().find_map(|aside| inspect::immovable(&aside.from));
    let configuration = if facts.local.is_half_rewound() {
        let kept = options.kept.parent().map(Path::to_path_buf).unwrap_or_default();
        let newest = files::names_in(&kept).unwrap_or_default().into_iter().rev();
        newest.map(|name| kept.join(name).join("files")).find(|path| path.is_dir()).map(|path| {
            let list = own_files(&path);
            (path, list)
        })
    } else {
        Some((aside_path(data), facts.local.own_files.clone()))
    };
    if configuration.is_none() {
        site.messages.warning(
            "the node's own configuration files are lost; the new clone has those of the primary",
            None,
            None,
        );
    }
    Ok(Reclone { clone: clone_plan(&clone_facts, &clone_options), aside, immovable, configuration })
}
