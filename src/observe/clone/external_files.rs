//! Reading the configuration files outside the source's data directory that a clone is to have.

use std::path::{Path, PathBuf};

use super::{CloneSources, ExternalPlace, Request};
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::source;
use crate::far_end::checks::{Expected, checks};
use crate::far_end::remote::{OPEN, Remote};
use crate::observe::node_location::{self, NodeLocation};
use crate::plan::Check;
use crate::plan::clone::{ExternalCopy, FileRead, NotRead};
use crate::registry::node;
use crate::secret::{Secret, Secrets};
use crate::site::Site;
use crate::system::{files, trial};

/// Reads the configuration files outside the source's data directory, if they are to be copied: over SQL where the role may, on this host
/// if it is the source's, or else by pgbaton on that host.
pub(super) async fn external_files(
    site: &Site,
    request: &Request,
    asked: &CloneSources,
    source_is_local: bool,
    data: &Path,
    secrets: &mut Secrets,
) -> Vec<ExternalCopy> {
    let session = asked.superuser.as_ref().map_or(&asked.session, |superuser| &superuser.session);
    let mut host = None;
    let mut out = Vec::new();
    for file in &asked.details.external_files {
        let to = match request.external_files {
            Some(ExternalPlace::DataDirectory) => PathBuf::from(&file.file_name),
            _ => PathBuf::from(&file.path),
        };
        let is_here = source_is_local && Path::new(&file.path).exists();
        let read = match request.external_files {
            None => Err(NotRead { why: "It is not asked for.".into(), hint: None }),
            // On the source's own host "the same path" is the same file.
            Some(ExternalPlace::SamePath) if is_here => Err(NotRead {
                why: "Source and clone are on one host, and it is there already; use =pgdata.".into(),
                hint: None,
            }),
            Some(_) => match source::read_file(session, &file.path).await {
                Ok(text) => Ok((Secret::new(text), None, None, "over SQL".to_string())),
                Err(_) if is_here => files::read_text(Path::new(&file.path))
                    .map(|(text, mode)| (Secret::new(text), Some(mode), None, "on this host".to_string()))
                    .map_err(|error| NotRead { why: sentence(&format!("{error:#}")), hint: None }),
                Err(over_sql) => {
                    let host = match &mut host {
                        Some(host) => host,
                        none => none.insert(source_host(site, asked).await),
                    };
                    match host {
                        Ok(host) => by_host(site, host, &file.path).await,
                        Err(error) => Err(not_read(error)),
                    }
                    .map_err(|by_host| NotRead {
                        why: format!("Over SQL: {over_sql}. By the source's host: {}", by_host.why),
                        hint: by_host.hint,
                    })
                }
            },
        };
        let contents = read.map(|(contents, mode, owner, how)| {
            let secret = format!("contents of {}", file.path);
            secrets.insert(secret.clone(), contents);
            FileRead { secret, mode, owner, how }
        });
        let place = data.join(&to);
        let problem = to.is_absolute().then(|| trial::replaceable(&place).err()).flatten();
        let problem = problem.map(|error| format!("{error:#}"));
        out.push(ExternalCopy { from: file.path.clone(), to, contents, problem });
    }
    out
}

/// The contents, mode and foreign owner of a file, and the way there.
type Read = (Secret, Option<u32>, Option<String>, String);

/// Has pgbaton on the source's host read a configuration file.
async fn by_host(site: &Site, host: &Remote, path: &str) -> std::result::Result<Read, NotRead> {
    let file = host.configuration_file(path).await.map_err(|error| not_read(&error))?;
    let owner = file.owner.filter(|owner| site.environment.user.as_ref() != Some(owner));
    Ok((file.contents, Some(file.mode), owner, format!("by pgbaton on the host of node \"{}\"", host.name())))
}

fn not_read(error: &Error) -> NotRead {
    NotRead { why: error.sentences(), hint: error.hint.clone() }
}

/// Opens a channel to pgbaton on the source's host.
async fn source_host(site: &Site, asked: &CloneSources) -> Result<Remote> {
    let node = asked
        .source_node()
        .ok_or_else(|| Error::failed("the source is not registered, so its pgbaton is not known"))?;
    let hosts = node::ssh_hosts(&asked.session).await.unwrap_or_default();
    let known = NodeLocation {
        row: &node.row,
        server: Some(&asked.server),
        system_identifier: None,
        ssh_host: hosts.get(&node.row.node_id).map(String::as_str),
    };
    let far_end = node_location::far_end(site, &known).await?;
    let (remote, hello) =
        Remote::open(site, &far_end, OPEN).await.map_err(|trouble| trouble.error(&far_end))?;
    let expected =
        Expected { system_identifier: Some(asked.server.system_identifier.clone()), ..Expected::default() };
    // Whatever goes on there does not change where its files are.
    let stops = |check: &Check| check.stops() && check.exit != Exit::Busy;
    match checks(&far_end, &expected, &Ok(hello)).into_iter().find(stops) {
        Some(check) => Err(Error::new(check.exit, check.text)),
        None => Ok(remote),
    }
}
