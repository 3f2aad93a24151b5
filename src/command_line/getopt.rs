//! Command lines as repmgr reads them, by getopt_long: options stand anywhere, also before the words of the command that they belong to, and
//! a long one may be cut short as long as it is the only one of repmgr's that begins so.
//!
//! What pgbaton has beyond repmgr is never cut short: a script that did so would break with the next option that begins alike.

use std::ffi::OsString;

use clap::Command;

/// How an option takes its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    No,
    /// In the same word or in the next one.
    Required,
    /// In the same word only, after `=`.
    Optional,
}

use Value::{No, Optional, Required};

/// All long options of repmgr 5, of all of its commands.
const LONG: &[(&str, Value)] = &[
    ("action", Required),
    ("all", No),
    ("always-promote", No),
    ("archive-ready", No),
    ("check-upstream-config", No),
    ("checkpoint", No),
    ("compact", No),
    ("config-archive-dir", Required),
    ("config-file", Required),
    ("config-files", Required),
    ("copy-external-config-files", Optional),
    ("csv", No),
    ("data-directory-config", No),
    ("db-connection", No),
    ("dbname", Required),
    ("detail", No),
    ("disable-wal-receiver", No),
    ("downstream", No),
    ("dry-run", No),
    ("dump-config", No),
    ("enable-wal-receiver", No),
    ("event", Required),
    ("fast-checkpoint", No),
    ("force", No),
    ("force-rewind", Optional),
    ("has-passfile", No),
    ("help", No),
    ("host", Required),
    ("is-shutdown-cleanly", No),
    ("keep-history", Required),
    ("limit", Required),
    ("list", No),
    ("list-actions", No),
    ("log-level", Required),
    ("log-to-file", No),
    ("missing-slots", No),
    ("nagios", No),
    ("no-upstream-connection", No),
    ("no-wait", No),
    ("node-id", Required),
    ("node-name", Required),
    ("optformat", No),
    ("pg_bindir", Required),
    ("pgdata", Required),
    ("port", Required),
    ("quiet", No),
    ("recovery-conf-only", No),
    ("recovery-min-apply-delay", Required),
    ("remote-config-file", Required),
    ("remote-node-id", Required),
    ("remote-user", Required),
    ("replication-conf-only", No),
    ("replication-config-owner", No),
    ("replication-connection", No),
    ("replication-lag", No),
    ("replication-user", Required),
    ("repmgrd", No),
    ("repmgrd-force-unpause", No),
    ("repmgrd-no-pause", No),
    ("role", No),
    ("siblings-follow", No),
    ("slots", No),
    ("superuser", Required),
    ("terse", No),
    ("upstream", No),
    ("upstream-conninfo", Required),
    ("upstream-node-id", Required),
    ("username", Required),
    ("verbose", No),
    ("verify-backup", No),
    ("version", No),
    ("version-number", No),
    ("wait", Optional),
    ("wait-start", Required),
    ("wait-sync", Optional),
    ("without-barman", No),
];

/// repmgr's short options, and those that take a value.
const SHORT: &str = "?CDFLRSUVWbcdfhkpqtvw";
const SHORT_WITH_VALUE: &str = "CDLRSUbdfhkp";

/// Verbs that repmgr takes after `primary` and `standby`, too, where they mean the local node.
const OF_NODE: [&str; 2] = ["status", "check"];

/// Verbs that repmgr takes after `daemon`, too, where they mean the daemons of all nodes.
const OF_SERVICE: [&str; 3] = ["status", "pause", "unpause"];

/// Rewrites the words to what clap reads: long options in full, those of a command after it, `primary status` as `node status`, and
/// `daemon pause` as `service pause`.
pub fn as_getopt_reads(tree: &Command, words: &mut Vec<OsString>) {
    let mut at = tree;
    let mut noun = None;
    let mut early: Vec<OsString> = Vec::new();
    let mut out: Vec<OsString> = Vec::new();
    let mut end: Vec<OsString> = Vec::new();
    // Where the options go that stood before their command.
    let mut after = None;
    let mut rest = std::mem::take(words).into_iter();
    out.extend(rest.next());
    while let Some(mut word) = rest.next() {
        let Some(text) = word.to_str().map(str::to_string) else {
            out.push(word);
            continue;
        };
        if text == "--" {
            end.push(word);
            break;
        }
        if !text.starts_with('-') || text == "-" {
            let lower = text.to_lowercase();
            let other = match at.get_name() {
                "primary" | "standby" if OF_NODE.contains(&lower.as_str()) => Some("node"),
                "daemon" if OF_SERVICE.contains(&lower.as_str()) => Some("service"),
                _ => None,
            };
            if let (Some(place), Some(other)) = (noun, other)
                && let Some(name) = out.get_mut(place)
                && let Some(found) = tree.find_subcommand(other)
            {
                *name = other.into();
                at = found;
            }
            let found = at.find_subcommand(&lower);
            out.push(word);
            if let Some(sub) = found {
                at = sub;
                noun.get_or_insert(out.len() - 1);
                if !at.has_subcommands() {
                    after = Some(out.len());
                }
            }
            continue;
        }
        let known = |option: &str| has(tree, option) || (after.is_some() && has(at, option));
        let (takes_next, here) = if let Some(long) = text.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let mut option = format!("--{name}");
            let mut takes = takes_value(tree, &option) || takes_value(at, &option);
            let mut here = known(&option);
            if !here && let Some((full, kind)) = in_full(name) {
                option = format!("--{full}");
                word = value.map_or_else(|| option.clone(), |value| format!("{option}={value}")).into();
                takes = kind == Required;
                here = known(&option);
            }
            (takes && value.is_none(), here || in_full(name).is_none())
        } else {
            let letters: Vec<char> = text.chars().skip(1).collect();
            let valued = letters.iter().position(|letter| {
                let option = format!("-{letter}");
                SHORT_WITH_VALUE.contains(*letter) || takes_value(tree, &option) || takes_value(at, &option)
            });
            let options = letters.get(..=valued.unwrap_or(letters.len() - 1)).unwrap_or_default();
            let here = options.iter().all(|letter| known(&format!("-{letter}")) || !SHORT.contains(*letter));
            (valued.is_some_and(|place| place + 1 == letters.len()), here)
        };
        let to = if here || after.is_some() { &mut out } else { &mut early };
        to.push(word);
        if takes_next {
            to.extend(rest.next());
        }
    }
    match after {
        Some(place) => drop(out.splice(place..place, early)),
        None => out.extend(early),
    }
    out.extend(end.into_iter().chain(rest));
    *words = out;
}

/// Returns whether repmgr has this option: `--wait`, `-w`.
pub fn is_of_repmgr(option: &str) -> bool {
    match option.strip_prefix("--") {
        Some(long) => LONG.iter().any(|(name, _)| *name == long),
        None => option.strip_prefix('-').is_some_and(|letter| letter.len() == 1 && SHORT.contains(letter)),
    }
}

/// Returns the option of repmgr's that this is, or is the beginning of.
fn in_full(name: &str) -> Option<(&'static str, Value)> {
    if let Some(exact) = LONG.iter().find(|(long, _)| *long == name) {
        return Some(*exact);
    }
    let mut alike = LONG.iter().filter(|(long, _)| long.starts_with(name));
    alike.next().filter(|_| alike.next().is_none()).copied()
}

/// Returns whether a command has this option, without those of the commands above it.
pub fn has(command: &Command, option: &str) -> bool {
    find(command, option).is_some()
}

fn takes_value(command: &Command, option: &str) -> bool {
    find(command, option).is_some_and(|arg| {
        arg.get_action().takes_values() && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
    })
}

fn find<'a>(command: &'a Command, option: &str) -> Option<&'a clap::Arg> {
    command.get_arguments().find(|arg| match option.strip_prefix("--") {
        Some(long) => {
            let mut names = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
            names.any(|name| name == long)
        }
        None => {
            let letter = option.chars().nth(1);
            let aliases = arg.get_all_short_aliases().unwrap_or_default();
            arg.get_short().into_iter().chain(aliases).any(|short| Some(short) == letter)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn read(text: &str) -> String {
        let mut words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        as_getopt_reads(&cli::tree(), &mut words);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_go_to_their_command() {
        for (given, expected) in [
            ("pgbaton --siblings-follow standby promote -F", "pgbaton standby promote --siblings-follow -F"),
            (
                "pgbaton standby --upstream-node-id 2 -f x follow",
                "pgbaton standby -f x follow --upstream-node-id 2",
            ),
            ("pgbaton -c -F standby clone -h a", "pgbaton -F standby clone -c -h a"),
            ("pgbaton -k 7 cluster cleanup", "pgbaton cluster cleanup -k 7"),
            ("pgbaton -vWd x node rejoin", "pgbaton node rejoin -vWd x"),
            ("pgbaton -h standby -f node cluster show", "pgbaton -h standby -f node cluster show"),
            ("pgbaton --limit 3 cluster -- --all", "pgbaton cluster --limit 3 -- --all"),
            ("pgbaton node guard --node a --wait 3", "pgbaton node guard --node a --wait 3"),
            ("pgbaton --bogus node guard", "pgbaton --bogus node guard"),
            ("pgbaton --reclone node rejoin", "pgbaton --reclone node rejoin"),
        ] {
            assert_eq!(read(given), expected);
        }
    }

    #[test]
    fn long_options_are_written_in_full() {
        for (given, expected) in [
            ("pgbaton cluster show --dry --comp", "pgbaton cluster show --dry-run --compact"),
            (
                "pgbaton --node-i 2 --sib standby promote",
                "pgbaton --node-id 2 standby promote --siblings-follow",
            ),
            ("pgbaton standby follow --upstream-n=1", "pgbaton standby follow --upstream-node-id=1"),
            // Ambiguous there, too.
            ("pgbaton node rejoin --config=a --node=2", "pgbaton node rejoin --config=a --node=2"),
            ("pgbaton cluster show -d --dry", "pgbaton cluster show -d --dry"),
            ("pgbaton cluster show --user a --jso", "pgbaton cluster show --user a --jso"),
        ] {
            assert_eq!(read(given), expected);
        }
        fn each(tree: &Command, check: &mut impl FnMut(&str)) {
            tree.get_arguments().filter_map(clap::Arg::get_long).for_each(&mut *check);
            tree.get_subcommands().for_each(|sub| each(sub, check));
        }
        // None of ours is the beginning of one of theirs, before its command is known.
        each(&cli::tree(), &mut |name| {
            let full = in_full(name).map_or(name, |(full, _)| full);
            assert_eq!(full, name);
        });
    }

    #[test]
    fn status_and_check_of_a_primary_are_those_of_the_node() {
        assert_eq!(read("pgbaton -v primary Status --csv"), "pgbaton -v node Status --csv");
        assert_eq!(read("pgbaton daemon pause --dry"), "pgbaton service pause --dry-run");
        assert_eq!(read("pgbaton daemon start -w"), "pgbaton daemon start -w");
        assert_eq!(read("pgbaton STANDBY --role check"), "pgbaton node check --role");
        assert_eq!(read("pgbaton witness status"), "pgbaton witness status");
    }
}
