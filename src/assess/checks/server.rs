//! One server by itself: archiving, slots, settings, and what a rewind would need.

use super::{CheckStatus, Figures, Finding, NodeChecks, count};
use crate::facts::check_name::CheckName;
use crate::facts::rejoin::grants_to_rewind;
use crate::facts::server::{ServerFacts, Slot};
use crate::pg::quote::quote_literal;
use crate::registry::{NodeRow, NodeType, node};
use crate::units::{size, utc_of};

/// How many names a message has; more would be no line any more.
const SHOWN: usize = 5;
/// Seconds after which an archiver that has done nothing with a file that waits is taken to be stuck.
const STUCK_S: f64 = 600.0;

impl NodeChecks<'_> {
    /// How much waits to be archived.
    pub(crate) fn archive_ready(&self) -> Finding {
        const NAME: CheckName = CheckName::ArchiveReady;
        let limits = self.evidence.thresholds.archive_ready;
        let Some(more) = self.more else { return self.not_asked(NAME) };
        if let Some(why) = &more.ready_uncounted {
            return Finding::unknown(NAME, "the files waiting to be archived could not be counted")
                .detail(crate::error::sentence(why))
                .limits(limits);
        }
        let Some(files) = more.archive_ready.map(count) else {
            return self
                .no_right(NAME, "unable to check archive_status directory", "pg_monitor")
                .limits(limits);
        };
        let waiting = format!("{files} pending archive ready files");
        match files {
            files if files > limits.1 => Finding::new(
                NAME,
                CheckStatus::Critical,
                format!("{waiting}, critical threshold: {}", limits.1),
            ),
            files if files > limits.0 => {
                Finding::new(NAME, CheckStatus::Warning, format!("{waiting} (threshold: {})", limits.0))
            }
            _ => Finding::ok(NAME, waiting),
        }
        .value(files, "files")
        .limits(limits)
    }

    /// Whether the archiver fails.
    pub(crate) fn archiver(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::Archiver;
        let Some(more) = self.more else { return self.not_asked(NAME) };
        match (more.archive_mode.as_str(), server.in_recovery) {
            ("off", _) => return Finding::ok(NAME, "archiving is off"),
            ("on", true) => return Finding::ok(NAME, "archive_mode = on has no effect on a standby"),
            _ => {}
        }
        let archiver = &more.archiver;
        // What failed was archived by another program, or is gone: the statistics do not show that.
        let nothing_waits = more.archive_ready == Some(0);
        let waits = more.archive_ready.unwrap_or_default();
        if !archiver.failing && waits > 0 {
            let files = if waits == 1 { "1 file waits".to_string() } else { format!("{waits} files wait") };
            if !archiver.has_command {
                return Finding::new(
                    NAME,
                    CheckStatus::Warning,
                    format!("{files} to be archived, but archive_command is empty"),
                )
                .detail("archive_mode is on, so WAL accumulates in pg_wal.")
                .hint("Set archive_command, or turn archive_mode off.");
            }
            let stuck = |seconds: Option<f64>| seconds.is_some_and(|seconds| seconds > STUCK_S);
            if stuck(archiver.idle_s) && stuck(more.ready_age_s) {
                return Finding::new(
                    NAME,
                    CheckStatus::Warning,
                    format!("{files} to be archived, but the archiver makes no progress"),
                )
                .detail(format!(
                    "For {:.0} minutes no file was archived, and no attempt failed.",
                    archiver.idle_s.unwrap_or_default() / 60.0
                ))
                .hint("Check whether archive_command hangs, and whether the archiver process is running.");
            }
        }
        if archiver.archived_at.is_none() && archiver.failed_at.is_none() {
            return Finding::ok(NAME, "no WAL has been archived yet");
        }
        if !archiver.failing {
            return Finding::ok(NAME, "the last archiving attempt succeeded");
        }
        if nothing_waits {
            return Finding::ok(NAME, "no file is waiting to be archived");
        }
        let file = archiver.failed_wal.as_deref().unwrap_or("?");
        let since = match &archiver.archived_at {
            Some(at) => format!("The last file was archived at {}.", utc_of(at)),
            None => "No file has been archived since the statistics were reset.".to_string(),
        };
        Finding::new(NAME, CheckStatus::Critical, format!("archiving fails, last for {file}"))
            .detail(format!(
                "It failed at {}. {since} Until it succeeds, WAL accumulates in pg_wal.",
                archiver.failed_at.as_deref().map_or_else(|| "an unknown time".into(), utc_of)
            ))
            .hint("See the server log for the output of archive_command.")
    }

    /// Whether its physical slots are in use.
    pub(crate) fn slots(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::Slots;
        let physical: Vec<&Slot> = server.slots.iter().filter(|slot| slot.slot_type == "physical").collect();
        let idle: Vec<&str> =
            physical.iter().filter(|slot| !slot.active).map(|slot| slot.slot_name.as_str()).collect();
        let (all, inactive) = (physical.len(), idle.len());
        let lost = |name: &&str| server.slot(name).is_some_and(Slot::is_lost);
        let (lost, keeping): (Vec<&str>, Vec<&str>) = idle.iter().copied().partition(lost);
        // The promotion created it, so that the former primary can rejoin.
        let (awaited, keeping): (Vec<&str>, Vec<&str>) =
            keeping.into_iter().partition(|name| self.former_primary_of(name, server).is_some());
        let groups = [
            ("These retain WAL, but no standby streams from them", &keeping),
            ("These are lost and no longer usable", &lost),
            ("These retain WAL that a former primary needs to rejoin", &awaited),
        ];
        let groups = groups.iter().filter(|(_, names)| !names.is_empty());
        let detail: Vec<String> =
            groups.map(|(words, names)| format!("{words}: {}.", quoted(names))).collect();
        let rejoin: Vec<String> = awaited
            .iter()
            .filter_map(|name| self.former_primary_of(name, server))
            .map(|row| {
                format!(
                    "Run \"pgbaton node rejoin\" on \"{}\"; if it is gone for good, unregister it.",
                    row.node_name
                )
            })
            .collect();
        let useless: Vec<&str> = keeping.iter().chain(&lost).copied().collect();
        let found = match (all, inactive) {
            (0, _) => Finding::ok(NAME, "node has no physical replication slots"),
            (_, 0) => Finding::ok(NAME, format!("{all} of {all} physical replication slots are active")),
            _ => {
                let drop = (!useless.is_empty()).then(|| {
                    format!(
                        "Start the standby that uses the slot; if it is gone for good, run in psql on this node: {}",
                        drop_slots(&useless)
                    )
                });
                Finding::new(
                    NAME,
                    if useless.is_empty() { CheckStatus::Warning } else { CheckStatus::Critical },
                    format!("{inactive} of {all} physical replication slots are inactive"),
                )
                .detail(detail.join(" "))
                .hint(rejoin.into_iter().chain(drop).collect::<Vec<_>>().join(" "))
            }
        };
        found.value(count(inactive), "slots").figures(Figures::Slots { all, inactive })
    }

    /// Returns the former primary that a slot belongs to: the promotion that created the slot has also registered it as inactive. A row
    /// that was read before that says that it is the primary, which it cannot be while this node is.
    fn former_primary_of(&self, slot: &str, server: &ServerFacts) -> Option<&NodeRow> {
        let rows = self.evidence.facts.nodes.iter().map(|node| &node.row);
        rows.filter(|row| row.node_type == NodeType::Primary && row.node_id != self.node.row.node_id)
            .filter(|row| !row.active || !server.in_recovery)
            .find(|row| row.slot_name.as_deref().unwrap_or(&node::slot_name(row.node_id)) == slot)
    }

    /// What the slots keep, and whether one has lost what it was to keep.
    pub(crate) fn wal_retained(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::WalRetained;
        let limits = self.evidence.thresholds.slot_wal_bytes;
        let with = |status: &str| -> Vec<&Slot> {
            server.slots.iter().filter(|slot| slot.wal_status.as_deref() == Some(status)).collect()
        };
        let names =
            |slots: &[&Slot]| -> Vec<String> { slots.iter().map(|slot| slot.slot_name.clone()).collect() };
        let (lost, endangered) = (with("lost"), with("unreserved"));
        let (lost_names, endangered_names) = (names(&lost), names(&endangered));
        let lost_names: Vec<&str> = lost_names.iter().map(String::as_str).collect();
        let endangered_names: Vec<&str> = endangered_names.iter().map(String::as_str).collect();
        let most = server
            .slots
            .iter()
            .filter_map(|slot| {
                Some((slot.retained_bytes.filter(|_| slot.wal_status.as_deref() != Some("lost"))?, slot))
            })
            .max_by_key(|(bytes, _)| *bytes);
        let bytes = most.map_or(0, |(bytes, _)| u64::try_from(bytes).unwrap_or(0));
        let value = count(bytes);
        let keeps = |slot: &Slot| format!("slot \"{}\" keeps {} of WAL", slot.slot_name, size(bytes));
        let found = match most {
            _ if !lost.is_empty() => Finding::new(NAME, CheckStatus::Critical, lost_words(&lost, &lost_names))
                .detail(lost_because(&lost))
                .hint(format!(
                    "A standby that needs the lost WAL must get it from the archive, or be cloned again. If the slot is not \
                    needed, run: {}",
                    drop_slots(&lost_names)
                )),
            _ if !endangered.is_empty() => Finding::new(
                NAME,
                CheckStatus::Critical,
                format!("WAL that {} keeps is about to be removed", slots_named(&endangered_names)),
            )
            .detail("It exceeds max_slot_wal_keep_size, and the next checkpoint removes it.")
            .hint("Let its standby catch up now, or raise max_slot_wal_keep_size."),
            Some((_, slot)) if value >= limits.0 => {
                let status = if value >= limits.1 { CheckStatus::Critical } else { CheckStatus::Warning };
                Finding::new(NAME, status, keeps(slot))
                    .detail("pg_wal cannot shrink until that WAL has been received.")
                    .hint(format!(
                        "Let its standby catch up, or drop the slot: {} max_slot_wal_keep_size limits what slots keep.",
                        drop_slots(&[&slot.slot_name])
                    ))
            }
            Some((_, slot)) => Finding::ok(NAME, keeps(slot)),
            None => Finding::ok(NAME, "no slot keeps WAL"),
        };
        found.value(value, "bytes").limits(limits)
    }

    /// Whether settings were changed that take a restart.
    pub(crate) fn pending_restart(&self) -> Finding {
        const NAME: CheckName = CheckName::PendingRestart;
        let Some(more) = self.more else { return self.not_asked(NAME) };
        let names: Vec<&str> = more.pending_restart.iter().map(String::as_str).collect();
        let found = match names.as_slice() {
            [] if !more.sees_settings => self.no_right(
                NAME,
                "the role lacks the privilege to see all settings",
                "pg_read_all_settings",
            ),
            [] => Finding::ok(NAME, "no changed setting requires a restart"),
            names => Finding::new(
                NAME,
                CheckStatus::Warning,
                format!("settings that require a restart: {}", listed(names)),
            )
            .detail("Their values in the configuration file take effect at the next restart.")
            .hint(format!("Run \"pgbaton node restart\" on \"{}\" in a maintenance window.", self.name()))
            .next("pgbaton node restart", self.node),
        };
        found.value(count(names.len()), "settings")
    }

    /// Whether a standby has less than the primary of what recovery needs.
    pub(crate) fn standby_settings(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::StandbySettings;
        let Some(more) = self.more else { return self.not_asked(NAME) };
        if !server.in_recovery {
            return Finding::ok(NAME, "N/A - node is primary");
        }
        let Some((primary, _)) = self.primary() else {
            return Finding::unknown(NAME, "there is no primary to compare with");
        };
        let Some(Ok(theirs)) = self.evidence.asked.get(&primary.row.node_id).map(|asked| &asked.more) else {
            return Finding::unknown(NAME, "the settings of the primary could not be read");
        };
        let name = &primary.row.node_name;
        let there =
            |setting: &str| theirs.settings.iter().find(|(name, _)| name == setting).map(|(_, value)| *value);
        let lower: Vec<String> = more
            .settings
            .iter()
            .filter_map(|(setting, here)| {
                let there = there(setting).filter(|there| there > here)?;
                Some(format!("{setting} is {here} here and {there} on \"{name}\""))
            })
            .collect();
        let found = match lower.as_slice() {
            [] => Finding::ok(NAME, format!("not lower than on \"{name}\"")),
            lower => Finding::new(NAME, CheckStatus::Critical, lower.join(", "))
                .detail(
                    "With a lower value than its primary a standby stops replaying WAL, and does not start.",
                )
                .hint(format!("Raise it on \"{}\", and restart that server.", self.name())),
        };
        found.value(count(lower.len()), "settings")
    }

    /// Whether the node could rejoin with pg_rewind, should it ever diverge.
    pub(crate) fn rewind(&self) -> Finding {
        const NAME: CheckName = CheckName::Rewind;
        let Some(more) = self.more else { return self.not_asked(NAME) };
        let warning = |message: String| Finding::new(NAME, CheckStatus::Warning, message);
        if !more.data_checksums && !more.wal_log_hints {
            return warning("neither data checksums nor wal_log_hints are on".into())
                .detail("pg_rewind refuses unless one of them has been on since before the divergence.")
                .hint("Set wal_log_hints = on on all nodes and restart them, or enable data checksums.");
        }
        if !more.full_page_writes {
            return warning("full_page_writes is off".into())
                .detail("pg_rewind requires it, as it copies files while they are written to.")
                .hint("Set full_page_writes = on and reload.");
        }
        if !more.forbidden.is_empty() {
            let role = self.node.facts().map_or("repmgr", |server| &server.role);
            return warning(format!(
                "role \"{role}\" lacks the privilege to read files of the server, as pg_rewind does"
            ))
            .hint(format!(
                "As a superuser, run in database \"{}\" on the primary: {}",
                more.database,
                grants_to_rewind(role, &more.forbidden)
            ));
        }
        let Ok(host) = self.host() else {
            return Finding::ok(NAME, "possible by settings and privileges; files were not checked");
        };
        match &host.untouchable {
            _ if host.other_owner.is_some() => {
                Finding::ok(NAME, "possible by settings and privileges; files were not checked")
            }
            None => Finding::unknown(NAME, "the check of its files timed out")
                .detail("Settings and privileges are sufficient."),
            Some(files) if !files.is_empty() => {
                let files: Vec<&str> = files.iter().map(String::as_str).collect();
                warning("pg_rewind could not read or write all files of the data directory".into())
                    .detail(format!(
                        "This user cannot access them, or they are unexpected symbolic links: {}.",
                        listed(&files)
                    ))
                    .hint("Correct their owner and mode, or move them out of the data directory.")
            }
            Some(_) => Finding::ok(NAME, "possible: settings, privileges and files are fine"),
        }
    }

    /// Whether repmgrd runs.
    pub(crate) fn repmgrd(&self) -> Finding {
        const NAME: CheckName = CheckName::Repmgrd;
        let Some(more) = self.more else { return self.not_asked(NAME) };
        match more.repmgrd.map(|daemon| (daemon.running, daemon.paused)) {
            Some((Some(true), Some(true))) => {
                Finding::new(NAME, CheckStatus::Warning, "repmgrd running but paused")
            }
            Some((Some(true), _)) => Finding::ok(NAME, "repmgrd running"),
            Some((Some(false), _)) => Finding::new(NAME, CheckStatus::Critical, "repmgrd not running"),
            Some((None, _)) | None => Finding::unknown(NAME, "repmgrd status unknown"),
        }
    }
}

/// Says what is wrong with slots that will never be of use again.
fn lost_words(slots: &[&Slot], names: &[&str]) -> String {
    let by_size = |slot: &&Slot| matches!(slot.invalidation_reason.as_deref(), None | Some("wal_removed"));
    match slots.iter().all(by_size) {
        true if names.len() == 1 => format!("WAL that {} had to retain is lost", slots_named(names)),
        true => format!("WAL that {} had to retain is lost", slots_named(names)),
        false if names.len() == 1 => format!("{} is invalid", slots_named(names)),
        false => format!("{} are invalid", slots_named(names)),
    }
}

/// Says why the server invalidated slots, each reason once. Which reasons there are, and whether it reports them, depends on its version.
fn lost_because(slots: &[&Slot]) -> String {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for slot in slots {
        let why = match slot.invalidation_reason.as_deref() {
            None | Some("wal_removed") => "WAL was removed because of max_slot_wal_keep_size".to_string(),
            Some("rows_removed") => "rows that it needs were removed".to_string(),
            Some("wal_level_insufficient") => "wal_level is too low for it".to_string(),
            Some("idle_timeout") => {
                "it was not used for longer than idle_replication_slot_timeout".to_string()
            }
            Some("conflicting") => "it was in conflict with recovery".to_string(),
            Some(other) => format!("the server reports \"{other}\""),
        };
        match reasons.iter_mut().find(|(other, _)| *other == why) {
            Some((_, names)) => names.push(&slot.slot_name),
            None => reasons.push((why, vec![&slot.slot_name])),
        }
    }
    let each = reasons.iter().map(|(why, names)| format!("For {}: {why}.", slots_named(names)));
    each.collect::<Vec<_>>().join(" ")
}

/// Names slots in a sentence.
fn slots_named(names: &[&str]) -> String {
    format!("{} {}", if names.len() == 1 { "slot" } else { "slots" }, quoted(names))
}

/// Writes the statements that drop slots, but not all of very many.
fn drop_slots(names: &[&str]) -> String {
    const DROPPED: usize = 3;
    let each = names.iter().take(DROPPED);
    let each: Vec<String> =
        each.map(|name| format!("SELECT pg_drop_replication_slot({});", quote_literal(name))).collect();
    let more = if names.len() > DROPPED { " and so on." } else { "" };
    format!("{}{more}", each.join(" "))
}

/// Lists names in quotes, but not all of very many.
fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    listed(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Lists names, but not all of very many.
fn listed(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
