//! Settings and configuration files of the server that is copied.

use super::quoted;
use crate::facts::settings::{NOT_LOWER, PlacedSetting, SettingPlace};
use crate::pg::quote::quote_ident;
use crate::plan::clone::base_backup::streams;
use crate::plan::clone::{CloneFacts, CloneOptions, FileRead, NotRead};
use crate::plan::parts::standby;
use crate::plan::{Check, Override};

/// Settings of the source.
pub(super) fn source(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    let details = &facts.details;
    let mut checks = Vec::new();
    if details.wal_level != "replica" && details.wal_level != "logical" {
        checks.push(
            Check::fail("wal_level", format!("wal_level is \"{}\" on the source", details.wal_level))
                .hint("On the source run: ALTER SYSTEM SET wal_level = 'replica'; then restart it."),
        );
    }
    if !details.hot_standby {
        checks.push(
            Check::fail("hot_standby", "hot_standby is off on the source")
                .detail("A standby with this setting accepts no connections, so it cannot be registered or monitored.")
                .hint("On the source run: ALTER SYSTEM SET hot_standby = on; then restart it."),
        );
    }
    // A library does the command's work from PostgreSQL 15 on.
    let nothing_archives = details.archive_command.as_deref().is_some_and(str::is_empty)
        && details.archive_library.as_deref().unwrap_or("").is_empty();
    if details.archive_mode != "off" && nothing_archives {
        checks.push(
            Check::fail("archive_command", "archive_mode is on but archive_command is empty on the source")
                .detail("WAL accumulates there until the disk is full.")
                .hint("Set archive_command and reload, or set archive_mode = off and restart.")
                .overridable_by(Override::Force, options.force),
        );
    }
    if !details.data_checksums && !details.wal_log_hints {
        checks.push(
            Check::warning("rewind_possible", "pg_rewind will not work on a failed primary")
                .detail("The source has neither data checksums nor wal_log_hints.")
                .hint("On the source run: ALTER SYSTEM SET wal_log_hints = on; then restart it."),
        );
    }
    if !details.full_page_writes {
        checks.push(
            Check::warning("full_page_writes", "full_page_writes is off on the source")
                .detail("pg_rewind requires it, and so does a base backup of a standby.")
                .hint("On the source run: ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();"),
        );
    }
    checks.extend(settings_of(facts, options));
    let needed = if options.conf_only { 0 } else { 1 + i64::from(streams(&options.extra_options)) };
    let free = facts.source.max_wal_senders - details.wal_senders_used;
    if free < needed {
        checks.push(
            Check::fail("wal_senders", "the source has too few free WAL senders")
                .detail(format!(
                    "max_wal_senders is {}, {} are in use, and the base backup needs {needed}.",
                    facts.source.max_wal_senders, details.wal_senders_used
                ))
                .hint(format!(
                    "On the source run: ALTER SYSTEM SET max_wal_senders = {}; then restart it.",
                    facts.source.max_wal_senders + needed
                )),
        );
    }
    checks
}

/// Settings of the source that a standby depends on and that a copy of its files does not include, or includes with an effect.
fn settings_of(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    let name = &options.node_name;
    let settings = &facts.details.settings;
    let mut checks = Vec::new();
    let on_command_line: Vec<String> = NOT_LOWER
        .iter()
        .filter_map(|(setting, default)| {
            let set = settings.get(setting).filter(|set| set.place == SettingPlace::CommandLine)?;
            let value = settings.number(setting, *default)?;
            Some(format!("{}={value}", set.name))
        })
        .collect();
    if !on_command_line.is_empty() {
        checks.push(
            Check::warning("standby_settings", "settings on the command line of the source are not copied")
                .detail(format!(
                    "{}. A standby with lower values than its primary pauses replay; before PostgreSQL 14 it shuts down.",
                    on_command_line.join(" ")
                ))
                .hint(format!("Start the server of node \"{name}\" with the same options, or set them in its configuration.")),
        );
    }
    let own = options.settings.iter().any(|(name, _)| name == "archive_cleanup_command");
    let cleanup =
        settings.get("archive_cleanup_command").filter(|set| !own && set.value.as_deref() != Some(""));
    checks.extend(cleanup.map(|set| standby::cleanup(name, set)));
    let delay = settings.get("recovery_min_apply_delay").filter(|set| set.value.as_deref() != Some("0"));
    let kept = |set: &&PlacedSetting| !matches!(&set.place, SettingPlace::File { path, .. } if path.ends_with(standby::AUTO_CONF));
    let configured = options.settings.iter().any(|(name, _)| name == "recovery_min_apply_delay");
    if let Some(set) = delay.filter(kept).filter(|set| !configured && set.place != SettingPlace::CommandLine)
    {
        checks.push(
            Check::warning(
                "apply_delay",
                format!("node \"{name}\" will replay with the delay configured on the source"),
            )
            .detail(format!("{set}."))
            .hint("Set recovery_min_apply_delay in the configuration of pgbaton, \"0\" for none."),
        );
    }
    checks
}

pub(super) fn external(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    let mut checks = Vec::new();
    if facts.external.is_empty() {
        if !facts.details.sees_settings {
            checks.push(
                Check::warning(
                    "external_files",
                    "cannot determine whether the source has configuration files elsewhere",
                )
                .detail(format!(
                    "Role \"{}\" lacks the privilege to see the location of its files.",
                    facts.details.role
                ))
                .hint(format!(
                    "Name a superuser with -S, or as one, run: GRANT pg_monitor TO {};",
                    quote_ident(&facts.details.role)
                )),
            );
        }
        return checks;
    }
    if !options.copy_external {
        let names: Vec<String> = facts.external.iter().map(|file| file.from.clone()).collect();
        checks.push(
            Check::warning("external_files", "configuration files of the source are outside its data directory and are not copied")
                .detail(format!("These are not copied: {}.", quoted(&names)))
                .hint("To copy them, repeat the command with --copy-external-config-files. Without them the server may not start."),
        );
        return checks;
    }
    for file in &facts.external {
        match (&file.contents, &file.problem) {
            (Err(NotRead { why, hint }), _) => checks.push({
                let way = hint.as_ref().map(|hint| format!(" To read it through the source's host: {hint}"));
                Check::fail("external_files", format!("configuration file \"{}\" cannot be read", file.from))
                    .detail(why.clone())
                    .hint(format!(
                        "Name a superuser with -S, or as one, run: GRANT pg_read_server_files TO {role}; \
                         GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {role};{}",
                        way.unwrap_or_default(),
                        role = quote_ident(&facts.details.role)
                    ))
            }),
            (Ok(_), Some(problem)) => checks.push(
                Check::fail(
                    "external_files",
                    format!("configuration file \"{}\" cannot be written", file.to.display()),
                )
                .detail(crate::error::sentence(problem))
                .hint("Use --copy-external-config-files=pgdata to put it into the data directory."),
            ),
            (Ok(FileRead { how, owner, .. }), None) => {
                let path = &file.from;
                checks.push(Check::pass(
                    "external_files",
                    format!("configuration file \"{path}\" can be copied, and was read {how}"),
                ));
                checks.extend(owner.as_ref().map(|owner| {
                    Check::warning("external_file_owner", format!("configuration file \"{path}\" will have another owner"))
                        .detail(format!(
                            "On the source it belongs to \"{owner}\"; on this host it will belong to the user that runs pgbaton."
                        ))
                }));
            }
        }
    }
    checks
}
