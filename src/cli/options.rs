//! The global options by what clap knows of them. Which command uses which is said by the table of commands (`verb.rs`), for the help, the
//! manual, the completions and the run: an option that a command does not use is not shown there, and is refused, not ignored.

use clap::{Arg, Command};

use super::{Format, Global};
use crate::verb::{OptionGroup, Verb};

impl OptionGroup {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Files,
        Self::Connection,
        Self::Superuser,
        Self::Node,
        Self::Force,
        Self::AcceptDataLoss,
        Self::DryRun,
        Self::Yes,
        Self::Csv,
        Self::Compact,
        Self::Timeout,
    ];

    /// Returns the names that clap knows them by.
    pub const fn ids(self) -> &'static [&'static str] {
        match self {
            Self::Files => &["config_file", "pgdata", "pg_bindir"],
            Self::Connection => &["host", "port", "username", "dbname"],
            Self::Superuser => &["superuser"],
            Self::Node => &["node_id", "node_name"],
            Self::Force => &["force"],
            Self::AcceptDataLoss => &["accept_data_loss"],
            Self::DryRun => &["dry_run"],
            Self::Yes => &["yes"],
            Self::Csv => &["csv"],
            Self::Compact => &["compact"],
            Self::Timeout => &["timeout"],
        }
    }

    /// Returns the first of these options that was given, as it is called in messages.
    pub fn given(self, global: &Global) -> Option<&'static str> {
        let first =
            |pairs: &[(bool, &'static str)]| pairs.iter().find(|(given, _)| *given).map(|(_, name)| *name);
        match self {
            Self::Files => first(&[
                (global.config_file.is_some(), "--config-file"),
                (global.pgdata.is_some(), "--pgdata"),
                (global.pg_bindir.is_some(), "--pg_bindir"),
            ]),
            Self::Connection => first(&[
                (global.host.is_some(), "--host"),
                (global.port.is_some(), "--port"),
                (global.username.is_some(), "--username"),
                (global.dbname.is_some(), "--dbname"),
            ]),
            Self::Superuser => first(&[(global.superuser.is_some(), "--superuser")]),
            Self::Node => {
                first(&[(global.node_id.is_some(), "--node-id"), (global.node_name.is_some(), "--node-name")])
            }
            Self::Force => first(&[(global.force, "--force")]),
            Self::AcceptDataLoss => first(&[(global.accept_data_loss, "--accept-data-loss")]),
            Self::DryRun => first(&[(global.dry_run, "--dry-run")]),
            Self::Yes => first(&[(global.yes, "--yes")]),
            Self::Csv => first(&[(global.format() == Format::Csv, "--csv")]),
            Self::Compact => first(&[(global.compact, "--compact")]),
            Self::Timeout => first(&[(global.timeout.is_some(), "--timeout")]),
        }
    }
}

/// Takes the options that a command does not use out of its help, and out of everything that is made from the tree.
pub(super) fn shown(tree: Command) -> Command {
    let everywhere: Vec<Arg> = tree.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let hide = |command: Command, name: &str| match Verb::parse(name) {
        Some(verb) => {
            let unused = OptionGroup::ALL.into_iter().filter(|option| !verb.has(*option));
            let ids: Vec<&str> = unused.flat_map(|option| option.ids().iter().copied()).collect();
            // Also those that are shown: the help has them in the order in which they are added.
            command.args(everywhere.iter().map(|arg| {
                let hidden = ids.contains(&arg.get_id().as_str());
                arg.clone().hide(hidden)
            }))
        }
        None => command,
    };
    tree.mut_subcommands(|noun| {
        let name = noun.get_name().to_string();
        hide(noun, &name).mut_subcommands(|verb| {
            let name = format!("{name} {}", verb.get_name());
            hide(verb, &name)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &Command, name: &str, out: &mut Vec<(String, String)>) {
        if !command.has_subcommands() {
            let help = command.clone().render_long_help().to_string();
            out.push((name.to_string(), help));
        }
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            leaves(sub, format!("{name} {}", sub.get_name()).trim(), out);
        }
    }

    #[test]
    fn the_help_of_every_command_shows_what_it_uses_and_nothing_else() {
        let mut tree = super::super::tree();
        tree.build();
        let mut found = Vec::new();
        leaves(&tree, "", &mut found);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        for verb in Verb::ALL {
            assert!(names.contains(&verb.words()), "there is no command \"{verb}\"");
        }
        let root = super::super::tree();
        for (name, help) in &found {
            let verb = Verb::parse(name).unwrap_or_else(|| panic!("\"{name}\" is not in the table"));
            for option in OptionGroup::ALL {
                for id in option.ids() {
                    let arg = root.get_arguments().find(|arg| arg.get_id() == id).unwrap();
                    let long = format!("--{}", arg.get_long().unwrap());
                    let shown = help.lines().any(|line| {
                        let mut words = line.split_whitespace();
                        line.starts_with("  ")
                            && words.any(|word| word == long)
                            && line.trim_start().starts_with('-')
                    });
                    assert_eq!(shown, verb.has(option), "{name}: {long}\n{help}");
                }
            }
        }
    }

    #[test]
    fn every_option_of_all_commands_is_in_the_table_or_is_about_output() {
        const ABOUT_OUTPUT: [&str; 9] =
            ["format", "json", "quiet", "terse", "verbose", "log_level", "log_to_file", "color", "help"];
        for arg in super::super::tree().get_arguments().filter(|arg| arg.is_global_set()) {
            let id = arg.get_id().as_str();
            let known = OptionGroup::ALL.iter().any(|option| option.ids().contains(&id))
                || ABOUT_OUTPUT.contains(&id);
            assert!(known, "{id}");
        }
    }
}
