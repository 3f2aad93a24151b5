//! Which of the global options each command uses: the one table for the help, the manual, the completions and the run. An option that a
//! command does not use is not shown there, and is refused, not ignored.

use clap::{Arg, Command};

use super::{Format, Global};

/// What `--node-id` and `--node-name` mean for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The pgbaton of that node carries the command out.
    HandedOver,
    /// They say which node the command is about; it runs here.
    Subject,
    /// Only the local node can be meant; another one is refused.
    Local,
    /// Nothing: the command is about no single node.
    Meaningless,
}

/// An option, or several that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `-f`, `-D`, `-b`
    Files,
    /// `-h`, `-p`, `-U`, `-d`
    Connection,
    /// `-S`
    Superuser,
    /// `--node-id`, `--node-name`
    Node,
    /// `-F`
    Force,
    /// `--accept-data-loss`
    AcceptDataLoss,
    /// `--dry-run`
    DryRun,
    /// `-y`
    Yes,
    /// `--csv`, and `--format csv`
    Csv,
    /// `--compact`
    Compact,
    /// `--timeout`
    Timeout,
}

use Use::{AcceptDataLoss, Compact, Connection, Csv, DryRun, Files, Force, Superuser, Timeout, Yes};

impl Use {
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

/// A command that does something, and the options that it uses.
#[derive(Debug)]
pub struct Leaf {
    /// For instance `cluster show`.
    pub name: &'static str,
    /// What it does with another node.
    pub node: Node,
    /// The others that it uses.
    pub uses: &'static [Use],
    /// Options that repmgr has for this command and that have no effect here: accepted with a warning, and in no help.
    pub of_repmgr: &'static [Use],
}

impl Leaf {
    /// Says whether the command uses an option.
    pub fn has(&self, option: Use) -> bool {
        match option {
            Use::Node => self.node != Node::Meaningless,
            option => self.uses.contains(&option),
        }
    }
}

const fn leaf(name: &'static str, node: Node, uses: &'static [Use]) -> Leaf {
    Leaf { name, node, uses, of_repmgr: &[] }
}

/// Every command.
pub const LEAVES: &[Leaf] = &[
    leaf("primary register", Node::Local, &[Files, Superuser, Force, DryRun, Yes, Timeout]),
    leaf("primary unregister", Node::Subject, &[Files, Connection, Force, DryRun, Yes, Timeout]),
    leaf("standby clone", Node::Local, &[Files, Connection, Superuser, Force, DryRun, Yes, Timeout]),
    leaf("standby register", Node::Local, &[Files, Connection, Force, DryRun, Yes, Timeout]),
    leaf("standby unregister", Node::Subject, &[Files, Connection, Force, DryRun, Yes, Timeout]),
    leaf("standby promote", Node::HandedOver, &[Files, Force, AcceptDataLoss, DryRun, Yes, Timeout]),
    leaf("standby follow", Node::HandedOver, &[Files, Force, DryRun, Yes, Timeout]),
    Leaf {
        of_repmgr: &[Superuser],
        ..leaf("standby switchover", Node::HandedOver, &[Files, Force, DryRun, Yes, Timeout])
    },
    leaf(
        "standby rewind",
        Node::HandedOver,
        &[Files, Connection, Force, AcceptDataLoss, DryRun, Yes, Timeout],
    ),
    leaf("witness register", Node::Local, &[Files, Connection, Superuser, Force, DryRun, Yes, Timeout]),
    leaf("witness unregister", Node::Subject, &[Files, Connection, Force, DryRun, Yes, Timeout]),
    leaf("node prepare", Node::HandedOver, &[Files, Connection, Superuser, Force, DryRun, Yes, Timeout]),
    leaf("node status", Node::HandedOver, &[Files, Csv, Timeout]),
    leaf("node check", Node::HandedOver, &[Files, Superuser, Csv, Timeout]),
    leaf("node start", Node::HandedOver, &[Files, Force, DryRun, Yes, Timeout]),
    leaf("node stop", Node::HandedOver, &[Files, Superuser, DryRun, Yes, Timeout]),
    leaf("node restart", Node::HandedOver, &[Files, Superuser, Force, DryRun, Yes, Timeout]),
    leaf("node reload", Node::HandedOver, &[Files, DryRun, Yes, Timeout]),
    leaf("node service", Node::HandedOver, &[Files, Superuser, Force, AcceptDataLoss, DryRun, Yes, Timeout]),
    leaf("node rejoin", Node::HandedOver, &[Files, Connection, Force, AcceptDataLoss, DryRun, Yes, Timeout]),
    leaf("node guard", Node::Local, &[Files, Connection, DryRun, Timeout]),
    leaf("cluster show", Node::Meaningless, &[Files, Connection, Csv, Compact, Timeout]),
    leaf("cluster check", Node::Meaningless, &[Files, Connection, Csv, Timeout]),
    leaf("cluster uri", Node::Meaningless, &[Files, Connection, Timeout]),
    leaf("cluster event", Node::Subject, &[Files, Connection, Csv, Compact, Timeout]),
    leaf("cluster matrix", Node::Meaningless, &[Files, Connection, Csv, Timeout]),
    leaf("cluster crosscheck", Node::Meaningless, &[Files, Connection, Csv, Timeout]),
    leaf("cluster cleanup", Node::Subject, &[Files, Connection, DryRun, Yes, Timeout]),
    leaf("operation list", Node::HandedOver, &[Files]),
    leaf("operation show", Node::HandedOver, &[Files]),
    leaf("operation resume", Node::HandedOver, &[Files, Force, AcceptDataLoss, DryRun, Yes, Timeout]),
    leaf("operation abandon", Node::HandedOver, &[Files, Force, DryRun, Yes, Timeout]),
    leaf("operation cleanup", Node::HandedOver, &[Files, DryRun]),
    leaf("operation adopt-state", Node::HandedOver, &[Files, DryRun]),
    leaf("config check", Node::Meaningless, &[Files]),
    leaf("config show", Node::Meaningless, &[Files]),
    leaf("completions", Node::Meaningless, &[]),
    leaf("man", Node::Meaningless, &[]),
];

/// Returns what a command uses; None for what is no command, or none for people.
pub fn of(command: &str) -> Option<&'static Leaf> {
    LEAVES.iter().find(|leaf| leaf.name == command)
}

/// Takes the options that a command does not use out of its help, and out of everything that is made from the tree.
pub(super) fn shown(tree: Command) -> Command {
    let everywhere: Vec<Arg> = tree.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let hide = |command: Command, name: &str| match of(name) {
        Some(leaf) => {
            let unused = Use::ALL.into_iter().filter(|option| !leaf.has(*option));
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
        for leaf in LEAVES {
            assert!(names.contains(&leaf.name), "there is no command \"{}\"", leaf.name);
        }
        let root = super::super::tree();
        for (name, help) in &found {
            let leaf = of(name).unwrap_or_else(|| panic!("\"{name}\" is not in the table"));
            for option in Use::ALL {
                for id in option.ids() {
                    let arg = root.get_arguments().find(|arg| arg.get_id() == id).unwrap();
                    let long = format!("--{}", arg.get_long().unwrap());
                    let shown = help.lines().any(|line| {
                        let mut words = line.split_whitespace();
                        line.starts_with("  ")
                            && words.any(|word| word == long)
                            && line.trim_start().starts_with('-')
                    });
                    assert_eq!(shown, leaf.has(option), "{name}: {long}\n{help}");
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
            let known =
                Use::ALL.iter().any(|option| option.ids().contains(&id)) || ABOUT_OUTPUT.contains(&id);
            assert!(known, "{id}");
        }
    }
}
