//! What is examined before a clone begins. All checks are run, so that all failures are reported at once.

use std::path::Path;

use super::places::overlaps;
use super::{CloneFacts, CloneOptions, FileRead, NotRead, Room, is_taken_over, slot_server, streams};
use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::directory::Contents;
use crate::facts::settings::{NOT_LOWER, Place, Set};
use crate::pg::quote::quote_ident;
use crate::plan::parts::standby;
use crate::plan::{Check, Waiver};
use crate::registry::schema::Verdict as SchemaVerdict;
use crate::registry::{NodeType, node};

/// Examines everything that a clone depends on.
pub(super) fn checks(facts: &CloneFacts, options: &CloneOptions, upstream: Option<&NodeFacts>) -> Vec<Check> {
    let mut checks = vec![versions(facts), directory(facts, options)];
    checks.extend(membership(facts, options, upstream));
    checks.extend(source(facts, options));
    checks.extend(upstream_ready(facts, options, upstream));
    checks.push(login(
        "base_backup_login",
        "base backup",
        &facts.source_name,
        &facts.backup_login,
        options,
        false,
    ));
    let up_name = upstream.map_or(facts.source_name.as_str(), |node| &node.row.node_name);
    checks.push(login("receiver_login", "WAL receiver", up_name, &facts.receiver_login, options, true));
    if !options.conf_only {
        checks.extend(space(facts, options));
        checks.extend(tablespaces(facts, options));
        checks.extend(overlaps(&facts.filled, &facts.foreign));
        checks.extend(extra_options(&options.extra_options));
    }
    checks.extend(external(facts, options));
    checks
}

/// Options for pg_basebackup that would take the copy elsewhere.
pub(super) fn extra_options(words: &[String]) -> Vec<Check> {
    let refuse = |word: &str, why: &str, hint: &str| {
        Check::fail("pg_basebackup_options", format!("pg_basebackup_options cannot contain \"{word}\""))
            .detail(why)
            .hint(hint)
    };
    let mut checks = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let is = |short: &str, long: &str| {
            word.starts_with(short) && !word.starts_with("--")
                || word == long
                || word.strip_prefix(long).is_some_and(|rest| rest.starts_with('='))
        };
        let value = || word.trim_start_matches("--format").trim_start_matches("-F").trim_start_matches('=');
        if is("-D", "--pgdata") {
            checks.push(refuse(word, "pgbaton chooses the location of the copy.", "Set data_directory."));
        } else if is("-T", "--tablespace-mapping") {
            checks.push(refuse(word, "pgbaton maps tablespaces itself.", "Set tablespace_mapping."));
        } else if is("-F", "--format") {
            let value =
                if value().is_empty() { words.get(i + 1).map_or("", String::as_str) } else { value() };
            if !value.starts_with('p') {
                checks.push(refuse(word, "A standby needs the files themselves.", "Remove it."));
            }
        } else if is("-t", "--target") {
            checks.push(refuse(word, "A standby needs the files on this host.", "Remove it."));
        }
    }
    checks
}

fn versions(facts: &CloneFacts) -> Check {
    const NAME: &str = "versions";
    let major = facts.source.version_num / 10_000;
    match &facts.tools_major {
        _ if !(13..=18).contains(&major) => {
            Check::fail(NAME, format!("PostgreSQL {} is not supported", facts.source.version))
                .detail("pgbaton supports PostgreSQL 13 to 18.")
        }
        Err(why) => Check::fail(NAME, format!("the PostgreSQL {major} programs were not found on this host"))
            .detail(why.clone())
            .hint(
                "Set pg_bindir in the configuration, or install the package, for example \"postgresql-"
                    .to_string()
                    + &major.to_string()
                    + "\".",
            ),
        Ok(tools) if *tools != major => Check::fail(
            NAME,
            format!(
                "pg_basebackup belongs to PostgreSQL {tools}, but the source runs {}",
                facts.source.version
            ),
        )
        .hint(format!("Set pg_bindir to the directory of the PostgreSQL {major} programs.")),
        Ok(_) => Check::pass(NAME, format!("source and programs have version PostgreSQL {major}")),
    }
}

fn directory(facts: &CloneFacts, options: &CloneOptions) -> Check {
    const NAME: &str = "data_directory";
    let path = options.data_directory.display();
    if let Some(problem) = &facts.directory_problem {
        return Check::fail(NAME, format!("data directory \"{path}\" cannot be used"))
            .detail(problem.clone());
    }
    let major = facts.source.version_num / 10_000;
    match &facts.directory {
        Contents::DataDirectory { running: Some(pid), .. } => {
            Check::fail(NAME, format!("a server is running on data directory \"{path}\""))
                .detail(format!("Its process ID is {pid}."))
                .hint("Stop it first: \"pgbaton node stop\".")
        }
        Contents::DataDirectory { major: found, .. } if options.conf_only => {
            if *found != major.to_string() {
                Check::fail(NAME, format!("data directory \"{path}\" belongs to PostgreSQL {found}"))
                    .detail(format!("The source runs PostgreSQL {}.", facts.source.version))
            } else if facts.directory_identifier.as_deref() != Some(&facts.source.system_identifier) {
                foreign(facts, &path.to_string())
            } else {
                Check::pass(NAME, format!("\"{path}\" is a data directory of this cluster"))
            }
        }
        Contents::Missing if options.conf_only => {
            Check::fail(NAME, format!("data directory \"{path}\" does not exist"))
        }
        _ if options.conf_only => Check::fail(NAME, format!("\"{path}\" is not a data directory"))
            .detail("It has no PG_VERSION.")
            .hint("Leave out --replication-conf-only to create a clone there."),
        Contents::Missing | Contents::Empty => {
            Check::pass(NAME, format!("\"{path}\" is empty or can be created"))
        }
        Contents::UnfinishedClone(_) => {
            Check::pass(NAME, format!("\"{path}\" contains an interrupted clone, which is taken over"))
        }
        Contents::DataDirectory { major: found, .. } if *found != major.to_string() => {
            Check::fail(NAME, format!("\"{path}\" is a PostgreSQL {found} data directory"))
                .detail(format!(
                    "The source runs PostgreSQL {}; pgbaton never removes data of another cluster.",
                    facts.source.version
                ))
                .hint(format!("If it is not needed, move it away: mv {path} {path}.old"))
        }
        Contents::DataDirectory { .. }
            if facts.directory_identifier.as_deref() == Some(&facts.source.system_identifier) =>
        {
            Check::fail(NAME, format!("\"{path}\" is already a data directory of this cluster"))
                .detail("It may be a former primary with transactions that no other node has.")
                .hint("To keep its transactions, move the directory away first: the clone deletes its contents.")
                .waivable(Waiver::Force, options.force)
        }
        Contents::DataDirectory { .. } => foreign(facts, &path.to_string()),
        Contents::Other(names) => Check::fail(NAME, format!("directory \"{path}\" is not empty"))
            .detail(format!(
                "It contains {}, and is not a data directory: pgbaton removes only PostgreSQL data.",
                quoted(names)
            ))
            .hint("Set data_directory to another path; below a mount point, to a subdirectory of it."),
        Contents::Unreadable(why) => {
            Check::fail(NAME, format!("could not read directory \"{path}\"")).detail(why.clone())
        }
    }
}

fn foreign(facts: &CloneFacts, path: &str) -> Check {
    Check::fail("data_directory", format!("\"{path}\" is a data directory of another cluster"))
        .detail(format!(
            "Its system identifier is {}, but that of the source is {}.",
            facts.directory_identifier.as_deref().unwrap_or("unknown"),
            facts.source.system_identifier
        ))
        .hint(format!("If it is not needed, move it away: mv {path} {path}.old"))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// The nodes in the metadata.
fn membership(facts: &CloneFacts, options: &CloneOptions, upstream: Option<&NodeFacts>) -> Vec<Check> {
    let mut checks = Vec::new();
    match facts.present.verdict() {
        SchemaVerdict::Missing | SchemaVerdict::Foreign => {
            checks.push(
                Check::fail("metadata", format!("database \"{}\" of the source has no metadata schema", facts.present.database))
                    .hint("Run \"pgbaton primary register\" on the primary first, or name the correct database with -d.")
                    .waivable(Waiver::Force, options.force),
            );
            return checks;
        }
        _ => checks.push(Check::pass("metadata", "the source has the metadata schema")),
    }
    let is_witness = facts
        .source_id
        .and_then(|id| facts.cluster.node(id))
        .is_some_and(|node| node.row.node_type == NodeType::Witness);
    if is_witness {
        checks.push(
            Check::fail("source_role", format!("\"{}\" is a witness", facts.source_name))
                .detail("A witness does not have the cluster's data.")
                .hint("Clone from the primary or from a standby."),
        );
    } else if facts.source.in_recovery && facts.cluster.primaries().next().is_none() {
        checks.push(
            Check::fail("source_role", "the primary is unreachable")
                .detail(format!(
                    "\"{}\" is a standby: it may lag behind, and the clone cannot be registered.",
                    facts.source_name
                ))
                .waivable(Waiver::Force, options.force),
        );
    } else {
        checks.push(Check::pass("source_role", format!("\"{}\" can be copied", facts.source_name)));
    }
    for node in &facts.cluster.nodes {
        let (row, server) = (&node.row, node.facts());
        if row.node_type != NodeType::Witness
            && server.is_some_and(|server| server.system_identifier != facts.source.system_identifier)
        {
            checks.push(
                Check::fail(
                    "same_cluster",
                    format!("the source belongs to another cluster than node \"{}\"", row.node_name),
                )
                .node(row.node_id)
                .detail(format!(
                    "The source's system identifier is {}, but that of \"{}\" is {}.",
                    facts.source.system_identifier,
                    row.node_name,
                    server.map_or("", |server| &server.system_identifier)
                ))
                .hint("Check -h, -p and -d."),
            );
        }
        if row.node_id != options.node_id && row.node_name == options.node_name {
            checks.push(
                Check::fail(
                    "node_name_free",
                    format!("node name \"{}\" belongs to node {}", row.node_name, row.node_id),
                )
                .node(row.node_id)
                .hint("Choose another node_name."),
            );
        }
        if row.node_id == options.node_id && row.node_name != options.node_name {
            checks.push(
                Check::fail(
                    "node_id_free",
                    format!("node ID {} belongs to node \"{}\"", row.node_id, row.node_name),
                )
                .node(row.node_id)
                .hint("Choose another node_id, or repeat the command with --force if the node was renamed.")
                .waivable(Waiver::Force, options.force),
            );
        }
        if row.node_id == options.node_id && server.is_some() && !options.conf_only {
            checks.push(
                Check::fail(
                    "node_id_free",
                    format!("node \"{}\" is running at its registered address", row.node_name),
                )
                .node(row.node_id)
                .detail("A clone would be a second server with its ID, name and slot.")
                .hint("Stop that server, or choose another node_id and node_name."),
            );
        }
    }
    if options.conf_only && facts.cluster.node(options.node_id).is_none() {
        checks.push(
            Check::fail("registered", format!("node \"{}\" is not registered", options.node_name))
                .hint("Leave out --replication-conf-only, or register the node with \"pgbaton standby register --force\"."),
        );
    }
    match (upstream, facts.upstream_id) {
        (Some(node), Some(id)) if id == options.node_id => checks.push(
            Check::fail("upstream", format!("node \"{}\" cannot be its own upstream", node.row.node_name))
                .hint("Choose another --upstream-node-id."),
        ),
        (Some(node), _) => match &node.server {
            Ok(_) => checks.push(Check::pass("upstream", format!("the upstream \"{}\" responds", node.row.node_name))),
            Err(silence) => checks.push(
                Check::fail("upstream", format!("the upstream \"{}\" is unreachable", node.row.node_name))
                    .node(node.row.node_id)
                    .detail(format!("{}.", silence.message))
                    .exit(Exit::Connection),
            ),
        },
        (None, Some(id)) => checks.push(
            Check::fail("upstream", format!("upstream node {id} is not registered"))
                .hint("Run \"pgbaton cluster show\" to see the registered nodes."),
        ),
        (None, None) => checks.push(
            Check::fail("upstream", "no primary is registered")
                .hint("Run \"pgbaton primary register\" on the primary, or name a node with --upstream-node-id.")
                .waivable(Waiver::Force, options.force),
        ),
    }
    checks
}

/// Settings of the source.
fn source(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
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
                .waivable(Waiver::Force, options.force),
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
            let set = settings.get(setting).filter(|set| set.place == Place::CommandLine)?;
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
    let kept =
        |set: &&Set| !matches!(&set.place, Place::File { path, .. } if path.ends_with(standby::AUTO_CONF));
    let configured = options.settings.iter().any(|(name, _)| name == "recovery_min_apply_delay");
    if let Some(set) = delay.filter(kept).filter(|set| !configured && set.place != Place::CommandLine) {
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

/// Whether the upstream has a free slot, and the role may create one.
fn upstream_ready(facts: &CloneFacts, options: &CloneOptions, upstream: Option<&NodeFacts>) -> Vec<Check> {
    let mut checks = Vec::new();
    let Some(server) = slot_server(facts, upstream) else { return checks };
    let name = upstream.map_or(facts.source_name.as_str(), |node| &node.row.node_name);
    let on = |check: Check| match upstream {
        Some(node) => check.node(node.row.node_id),
        None => check,
    };
    if !options.use_slot {
        return checks;
    }
    let slot_name = node::slot_name(options.node_id);
    let used = i64::try_from(server.slots.len()).unwrap_or(i64::MAX);
    let check = match server.slot(&slot_name) {
        Some(slot) if slot.active && !is_taken_over(facts) => {
            Check::fail("slot_free", format!("slot \"{slot_name}\" on \"{name}\" is in use"))
                .detail("Another server streams with the slot of this node's ID.")
                .hint("Stop that server, or choose another node_id.")
        }
        Some(slot) if slot.slot_type != "physical" => {
            Check::fail("slot_free", format!("slot \"{slot_name}\" on \"{name}\" is a logical slot"))
                .hint("Choose another node_id, or set use_replication_slots = false.")
        }
        Some(slot) if slot.is_lost() => Check::pass(
            "slot_free",
            format!("slot \"{slot_name}\" on \"{name}\" has lost its WAL, and is created again"),
        ),
        Some(_) => {
            Check::pass("slot_free", format!("slot \"{slot_name}\" on \"{name}\" exists and is unused"))
        }
        None if used >= server.max_replication_slots => {
            Check::fail("slot_free", format!("\"{name}\" has no free replication slot"))
                .detail(format!(
                    "max_replication_slots is {}, and {used} slots exist.",
                    server.max_replication_slots
                ))
                .hint(format!(
                    "Drop an unused slot there (SELECT pg_drop_replication_slot(...)), or run on \"{name}\": \
                     ALTER SYSTEM SET max_replication_slots = {}; then restart it.",
                    server.max_replication_slots + 4
                ))
        }
        None => Check::pass("slot_free", format!("\"{name}\" has a free replication slot")),
    };
    checks.push(on(check));
    if !facts.details.role_replicates && options.slot_on.is_none() {
        checks.push(
            Check::fail(
                "role_replicates",
                format!("role \"{}\" lacks the privilege to create replication slots", facts.details.role),
            )
            .hint(format!(
                "Name a superuser with -S, or as one, run: ALTER ROLE {} REPLICATION;",
                quote_ident(&facts.details.role)
            )),
        );
    }
    checks
}

fn login(
    check: &str,
    who: &str,
    server: &str,
    result: &Result<(), String>,
    options: &CloneOptions,
    waivable: bool,
) -> Check {
    match result {
        Ok(()) => {
            Check::pass(check, format!("the replication connection of the {who} to \"{server}\" works"))
        }
        Err(why) => {
            let failed =
                Check::fail(check, format!("the {who} cannot connect to \"{server}\" for replication"))
                    .detail(crate::error::sentence(why))
                    .hint(login_hint(why, who));
            if waivable { failed.waivable(Waiver::Force, options.force) } else { failed }
        }
    }
}

/// Advice for the most common reasons why a replication connection is rejected.
///
/// `why` is what libpq printed: its first words and PostgreSQL's are the same in every version, as the tools run in the C locale.
fn login_hint(why: &str, who: &str) -> String {
    if let Some((_, rest)) = why.split_once("no pg_hba.conf entry for replication connection from host \"") {
        let host = rest.split('"').next().unwrap_or("");
        let user = rest.split("user \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
        let mask = if host.contains(':') { 128 } else { 32 };
        return format!(
            "Add this line to pg_hba.conf there and reload: host replication {} {host}/{mask} scram-sha-256",
            crate::pg::quote::quote_hba(user)
        );
    }
    if why.contains("must be superuser or replication role")
        || why.contains("permission denied to start WAL sender")
    {
        return "Give the role the REPLICATION attribute: ALTER ROLE name REPLICATION;".into();
    }
    if why.contains("no password supplied") || why.contains("password authentication failed") {
        return if who == "WAL receiver" {
            "Add a line for database \"replication\" to ~/.pgpass (mode 0600) of the user that the server runs as, or to a file \
            named by passfile; or set use_primary_conninfo_password = true and PGPASSWORD."
                .into()
        } else {
            "Set PGPASSWORD, or add a line for database \"replication\" to ~/.pgpass (mode 0600).".into()
        };
    }
    if why.contains("number of requested standby connections exceeds max_wal_senders") {
        return "Raise max_wal_senders there and restart.".into();
    }
    "Try it manually: psql 'replication=true …' -c IDENTIFY_SYSTEM".into()
}

/// Whether what goes to one file system fits on it: the data directory, tablespaces and WAL may share one.
fn space(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    // WAL is streamed next to the copy meanwhile: at least one segment.
    let wal = 2 * facts.source.wal_segment_bytes;
    let outside: u64 = facts.tablespaces.iter().filter_map(|target| target.bytes).sum();
    let mut checks = Vec::new();
    let mut places: Vec<(&Path, u64, Room)> = Vec::new();
    match facts.details.total_bytes {
        Some(total) => {
            let separate = if facts.waldir.is_some() { 0 } else { wal };
            let needed = total.saturating_sub(outside) + separate;
            places.push((&options.data_directory, needed, facts.room));
        }
        None => checks.push(
            Check::warning("disk_space", "cannot determine whether the clone fits on the disk")
                .detail("The query for the size of the source's databases timed out."),
        ),
    }
    places.extend(
        facts.tablespaces.iter().filter_map(|target| Some((&*target.to, target.bytes?, target.room))),
    );
    places.extend(facts.waldir.iter().map(|target| (&*target.to, wal, target.room)));
    while let Some((_, _, Room { device, free_bytes, .. })) = places.first().copied() {
        let (here, elsewhere) = places.into_iter().partition(|(_, _, room)| room.device == device);
        places = elsewhere;
        checks.push(fits(&here, free_bytes));
    }
    checks
}

fn fits(places: &[(&Path, u64, Room)], free_bytes: u64) -> Check {
    const NAME: &str = "disk_space";
    let mb = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let needed = places.iter().map(|(_, needed, _)| needed).sum::<u64>();
    let free = free_bytes + places.iter().map(|(_, _, room)| room.reclaimable_bytes).sum::<u64>();
    let names = quoted(&places.iter().map(|(path, ..)| path.display().to_string()).collect::<Vec<_>>());
    if free < needed {
        Check::fail(NAME, format!("the disk of {names} is too small for the clone"))
            .detail(format!("The clone needs {} MB there, but only {} MB are free.", mb(needed), mb(free)))
            .hint("Free space, or set data_directory (or tablespace_mapping) to a larger disk.")
    } else {
        Check::pass(NAME, format!("{} MB are free in {names}, {} MB are needed", mb(free), mb(needed)))
    }
}

fn tablespaces(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
    facts
        .outside()
        .map(|target| {
            let path = target.to.display();
            match &target.contents {
                Contents::Missing | Contents::Empty => Check::pass("tablespaces", format!("\"{path}\" is empty or can be created")),
                _ if target.ours => Check::pass("tablespaces", format!("\"{path}\" was filled by the interrupted clone")),
                _ if facts.source_is_local && target.to == Path::new(&target.from) => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" belongs to the source"))
                        .detail("Source and clone are on one host.")
                        .hint(format!("Set in the configuration: tablespace_mapping = [\"{path}={path}_{}\"]", options.node_name))
                }
                Contents::Other(names) if names.iter().all(|name| name.starts_with("PG_")) => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" is not empty"))
                        .detail(format!("It contains {}.", quoted(names)))
                        .hint("Map the tablespace with tablespace_mapping, or make sure that its contents are not needed: the clone removes them.")
                        .waivable(Waiver::Force, options.force)
                }
                Contents::DataDirectory { .. } => {
                    Check::fail("tablespaces", format!("tablespace directory \"{path}\" is a data directory"))
                        .hint("Map the tablespace to another directory with tablespace_mapping.")
                }
                _ => Check::fail("tablespaces", format!("directory \"{path}\" is not empty"))
                    .hint("Choose another directory: tablespace_mapping for a tablespace, --waldir in pg_basebackup_options for the WAL."),
            }
        })
        .collect()
}

fn external(facts: &CloneFacts, options: &CloneOptions) -> Vec<Check> {
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
