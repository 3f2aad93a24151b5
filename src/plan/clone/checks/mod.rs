//! What is examined before a clone begins. All checks are run, so that all failures are reported at once.

mod directories;
mod membership;
mod source;
mod upstream;

use super::places::overlaps;
use super::{CloneFacts, CloneOptions};
use crate::facts::cluster::NodeFacts;
use crate::plan::Check;

use directories::{directory, space, tablespaces};
use membership::membership;
use source::{external, source};
use upstream::{login, upstream_ready};

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

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
