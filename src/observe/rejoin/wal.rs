//! The WAL that a rejoin needs: what is missing, where it is fetched, what is kept of it.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::assess::history::Relation;
use crate::config::Config;
use crate::facts::branch::Fork;
use crate::facts::rejoin::{LocalFiles, Needed, RewindSource, segments, segments_from, segments_gone};
use crate::facts::server::ServerFacts;
use crate::pg::archive_command::fill_placeholders;
use crate::pg::client::Session;
use crate::pg::lsn::Lsn;
use crate::pg::wal::Wal;
use crate::plan::rejoin::{RejoinFacts, RejoinOptions};
use crate::site::Site;
use crate::system::command::Command;
use crate::system::{files, inspect, process};

/// Where the WAL is looked for that a rejoin needs.
pub(super) struct WalSearch<'a> {
    pub(super) site: &'a Site,
    /// Of the primary.
    pub(super) session: &'a Session,
    /// The primary.
    pub(super) there: &'a ServerFacts,
    pub(super) options: &'a RejoinOptions,
    /// The search was forbidden by an option.
    pub(super) no_check: bool,
}

impl WalSearch<'_> {
    /// Adds to the facts where the node diverges, what is lost, and which WAL is needed, missing and kept.
    ///
    /// # Errors
    /// Fails where the local WAL cannot be read.
    pub(super) async fn fill(&self, facts: &mut RejoinFacts, fork: Fork) -> anyhow::Result<()> {
        let diverged = matches!(facts.relation, Relation::Forked { .. });
        // It diverges when it is stopped.
        let writes = facts.local.running.is_some() && facts.local.was_primary();
        match (fork, &facts.relation) {
            (Fork::At(fork), _) if diverged || self.options.forced || writes => {
                facts.parts_at = Some(fork).filter(|_| diverged || writes);
                self.fill_rewind(facts, fork, diverged).await
            }
            (_, Relation::Forked { at: Some(at), .. }) => {
                facts.loss = facts.local.loss(*at, None).ok();
                Ok(())
            }
            _ => {
                self.fill_replay(facts).await;
                Ok(())
            }
        }
    }

    /// Looks for the WAL of a node that only has to replay what it does not have.
    async fn fill_replay(&self, facts: &mut RejoinFacts) {
        // The segment that is written, and none after it, is never gone, though it may not be there yet.
        let segment = |at: Lsn| at.0 / self.there.wal_segment_bytes;
        let is_behind = |end: &Lsn| self.there.current_lsn.is_some_and(|at| segment(*end) < segment(at));
        let looks = !self.no_check && !facts.local.is_half_rewound();
        if let Some(end) = facts.local.end.filter(|end| looks && is_behind(end)) {
            facts.gone = gone(self.session, self.there, &facts.target, end).await;
        }
        if !facts.gone.is_empty() {
            facts.restores = self.fetch().command().await.is_some();
        }
    }

    /// Looks for the WAL that a rewind reads, and for that which is replayed afterwards.
    async fn fill_rewind(&self, facts: &mut RejoinFacts, fork: Lsn, diverged: bool) -> anyhow::Result<()> {
        let fetch = self.fetch();
        let fetched = &self.options.fetched;
        if !self.no_check {
            facts.needed = Some(needed(&facts.local, fork, &fetch, fetched).await?);
        }
        if diverged {
            facts.loss = Some(facts.local.loss(fork, Some(fetched))?);
        }
        let from = match &facts.needed {
            Some(Needed::There { checkpoint, .. }) => {
                facts.gone = gone(self.session, self.there, &facts.target, fork).await;
                checkpoint.redo
            }
            _ => fork,
        };
        if !facts.gone.is_empty() || matches!(facts.needed, Some(Needed::Missing(_))) {
            facts.restores = fetch.command().await.is_some();
        }
        facts.keep_bytes = keep_bytes(&facts.local, from);
        facts.archive_command = archive_command(self.site, self.options, &facts.local).await;
        if self.site.options.dry_run {
            // What was fetched was fetched to look at it.
            files::remove_tree(&self.options.kept)?;
        }
        Ok(())
    }

    fn fetch(&self) -> Fetch<'_> {
        Fetch { site: self.site, options: self.options, command: OnceCell::new() }
    }
}

/// Finds what pg_rewind has to read; what is missing is fetched from the archive.
async fn needed(local: &LocalFiles, fork: Lsn, fetch: &Fetch<'_>, place: &Path) -> anyhow::Result<Needed> {
    let mut fetched: Vec<String> = Vec::new();
    let mut get = async |name: String| -> anyhow::Result<Option<String>> {
        if fetched.contains(&name) || !fetch.segment(&name, place).await? {
            return Ok(Some(name));
        }
        fetched.push(name);
        Ok(None)
    };
    // A node that has nothing of its own has no record there; what it has replayed last will do.
    let from = if local.end.is_some_and(|end| end > fork) { fork } else { local.control.checkpoint };
    let checkpoint = loop {
        let found = if from == fork {
            local.wal(Some(place))?.checkpoint_before(fork)?
        } else {
            local.wal(Some(place))?.checkpoint_at(from)?
        };
        match found {
            Ok(checkpoint) => break checkpoint,
            Err(name) => {
                if let Some(missing) = get(name).await? {
                    return Ok(Needed::Missing(missing));
                }
            }
        }
    };
    let wal: Wal = local.wal(Some(place))?;
    let last = local.end.unwrap_or(fork).max(fork);
    for name in segments(&wal, checkpoint.redo, Lsn(last.0.saturating_sub(1)))? {
        if !wal.has(&name)
            && let Some(missing) = get(name).await?
        {
            return Ok(Needed::Missing(missing));
        }
    }
    Ok(Needed::There { checkpoint, fetched })
}

/// Returns the segment with which the primary's WAL begins that the node has to replay from this position on, if it is gone there. What comes
/// before it is here.
async fn gone(session: &Session, there: &ServerFacts, target: &RewindSource, fork: Lsn) -> Vec<String> {
    let bytes = there.wal_segment_bytes;
    let end = (fork.0 / bytes + 1) * bytes;
    let timeline = target
        .switches
        .iter()
        .find(|switch| switch.switch.0 >= end)
        .map_or(there.timeline, |switch| switch.timeline);
    let names: Vec<String> = timeline.segment_file_name(fork, bytes).into_iter().collect();
    segments_gone(session, &names).await.unwrap_or_default()
}

/// Counts what is copied aside.
fn keep_bytes(local: &LocalFiles, from: Lsn) -> u64 {
    let pg_wal = local.data_directory.join("pg_wal");
    let segments = segments_from(&pg_wal, from, local.segment_bytes).map_or(0, |names| names.len() as u64);
    let files = local.own_files.iter().map(|path| inspect::file_bytes(&local.data_directory.join(path)));
    segments * local.segment_bytes + files.sum::<u64>()
}

/// Returns `archive_command`, if something waits for it and the server would use it.
async fn archive_command(site: &Site, options: &RejoinOptions, local: &LocalFiles) -> Option<String> {
    if local.unarchived.is_empty() {
        return None;
    }
    let mode = setting(site, options, "archive_mode").await?;
    let library = setting(site, options, "archive_library").await.unwrap_or_default();
    let command = setting(site, options, "archive_command").await?;
    (mode != "off" && library.is_empty() && !command.is_empty()).then_some(command)
}

/// Asks the program `postgres` for a setting in the files of the local server.
async fn setting(site: &Site, options: &RejoinOptions, name: &str) -> Option<String> {
    let installation = site.installation(site.config().ok()?).ok()?;
    installation.setting(name, options.config_directory.as_deref()).await.ok()
}

async fn run(site: &Site, program: &str, args: &[String]) -> anyhow::Result<String> {
    let setting =
        process::ChildContext { environment: Some(&site.environment), ..process::ChildContext::default() };
    let command = Command::new(program, args.to_vec());
    Ok(process::run(&command, &setting).await?.success()?.stdout)
}

/// Fetches segments from the archive, to look at them.
struct Fetch<'a> {
    site: &'a Site,
    options: &'a RejoinOptions,
    /// `restore_command`, once it was asked for.
    command: OnceCell<Option<String>>,
}

impl Fetch<'_> {
    /// Returns `restore_command`: that of the configuration, else the server's own.
    async fn command(&self) -> Option<&str> {
        if self.command.get().is_none() {
            // One that is not to be run counts as none.
            let own =
                |config: &Config| config.command("restore_command", &config.restore_command).ok()?.cloned();
            let configured = self.site.config().ok().and_then(own);
            let command = match configured {
                Some(command) => Some(command),
                None => setting(self.site, self.options, "restore_command").await,
            };
            let _ = self.command.set(command.filter(|command| !command.is_empty()));
        }
        self.command.get()?.as_deref()
    }

    /// Fetches a segment; false if the archive does not have it.
    async fn segment(&self, name: &str, place: &Path) -> anyhow::Result<bool> {
        let Some(command) = self.command().await else { return Ok(false) };
        files::make_directory(place, 0o700)?;
        let path: PathBuf = place.join(name);
        // The server quotes neither; this user's own state directory has no odd name.
        let line = fill_placeholders(command, &path.display().to_string(), name);
        let fetched = run(self.site, "/bin/sh", &["-c".into(), line]).await;
        match fetched {
            Ok(_) if path.exists() => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => {
                self.site.debug(&format!("segment {name} could not be fetched: {error:#}"));
                files::remove_file(&path)?;
                Ok(false)
            }
        }
    }
}
