//! The commands: their words, and one table of what is true of each of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Exit;

/// A command of the command line, and of the operations that it has left in journals and in rows of `pgbaton.operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the name is the command")]
pub enum Verb {
    PrimaryRegister,
    PrimaryUnregister,
    StandbyClone,
    StandbyRegister,
    StandbyUnregister,
    StandbyPromote,
    StandbyFollow,
    StandbySwitchover,
    StandbyRewind,
    WitnessRegister,
    WitnessUnregister,
    NodePrepare,
    NodeStatus,
    NodeCheck,
    NodeStart,
    NodeStop,
    NodeRestart,
    NodeReload,
    NodeService,
    NodeRejoin,
    NodeGuard,
    ClusterShow,
    ClusterCheck,
    ClusterUri,
    ClusterEvent,
    ClusterMatrix,
    ClusterCrosscheck,
    ClusterCleanup,
    OperationList,
    OperationShow,
    OperationResume,
    OperationAbandon,
    OperationCleanup,
    OperationAdoptState,
    ConfigCheck,
    ConfigShow,
    DaemonRun,
    DaemonStart,
    DaemonStop,
    ServiceStatus,
    ServicePause,
    ServiceUnpause,
    ServiceReset,
    Completions,
    Man,
    /// Serves the pgbaton of another host; not for people, and so not in [`Verb::ALL`].
    FarEnd,
}

/// What `--node-id` and `--node-name` mean for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeOption {
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
pub enum OptionGroup {
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

use OptionGroup::{AcceptDataLoss, Compact, Connection, Csv, DryRun, Files, Force, Superuser, Timeout, Yes};

/// The locks under which a command changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locks {
    /// None: it changes nothing, or takes those of the operation that it takes up.
    None,
    /// That of this node.
    Local,
    /// Those of all nodes of the cluster that answer.
    Cluster,
}

/// What it means that an operation of a command was left unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfinished {
    /// What it leaves harms nothing, and it can be run again: the next command closes its journal.
    Harmless,
    /// It changes roles: it blocks all other operations until it is resumed or abandoned, which are judged by what the cluster is then.
    Blocks,
}

/// With which exit codes the errors of a command end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// Each with its own.
    Own,
    /// All of them with "cannot be determined": it answers by its exit code.
    CannotTell,
    /// The same, where one of its checks, or the output for a monitoring system, was asked for.
    CannotTellIfAsked,
    /// The same, except for a second primary.
    CannotTellUnlessSecondPrimary,
}

/// What is true of a command.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// Its words: `standby clone`.
    pub words: &'static str,
    /// What it does with another node.
    pub node: NodeOption,
    /// The options that it uses, besides those that say which node.
    pub options: &'static [OptionGroup],
    /// Options that repmgr has for this command and that have no effect here: accepted with a warning, and in no help.
    pub of_repmgr: &'static [OptionGroup],
    /// The locks under which it acts. A start as a primary takes those of the cluster, too.
    pub locks: Locks,
    /// What its unfinished operations mean; None if it begins none.
    pub unfinished: Option<Unfinished>,
    /// It makes a primary.
    pub promotes: bool,
    /// The exit code of a failure that is reported as an event also where nothing is left changed.
    pub reported: Option<Exit>,
    /// It may be run as root: it neither reads nor makes files of the server.
    pub root: bool,
    /// The exit codes of its errors.
    pub errors: Errors,
    /// How its line for Nagios begins, if it has one.
    pub nagios: Option<&'static str>,
}

/// A command that changes nothing on this node by itself.
const fn looks(words: &'static str, node: NodeOption, options: &'static [OptionGroup]) -> Traits {
    Traits {
        words,
        node,
        options,
        of_repmgr: &[],
        locks: Locks::None,
        unfinished: None,
        promotes: false,
        reported: None,
        root: false,
        errors: Errors::Own,
        nagios: None,
    }
}

/// A command that root may run as well.
const fn looks_from_outside(
    words: &'static str,
    node: NodeOption,
    options: &'static [OptionGroup],
) -> Traits {
    Traits { root: true, ..looks(words, node, options) }
}

/// A command that acts on this node, and whose unfinished operations are harmless.
const fn local_command(words: &'static str, node: NodeOption, options: &'static [OptionGroup]) -> Traits {
    Traits { locks: Locks::Local, unfinished: Some(Unfinished::Harmless), ..looks(words, node, options) }
}

/// The same under the locks of the cluster.
const fn acts_on_cluster(words: &'static str, node: NodeOption, options: &'static [OptionGroup]) -> Traits {
    Traits { locks: Locks::Cluster, ..local_command(words, node, options) }
}

/// A command that changes roles.
const fn changes_roles(words: &'static str, options: &'static [OptionGroup]) -> Traits {
    Traits {
        locks: Locks::Cluster,
        unfinished: Some(Unfinished::Blocks),
        ..looks(words, NodeOption::HandedOver, options)
    }
}

impl Verb {
    /// Every command for people.
    pub const ALL: [Self; 45] = [
        Self::PrimaryRegister,
        Self::PrimaryUnregister,
        Self::StandbyClone,
        Self::StandbyRegister,
        Self::StandbyUnregister,
        Self::StandbyPromote,
        Self::StandbyFollow,
        Self::StandbySwitchover,
        Self::StandbyRewind,
        Self::WitnessRegister,
        Self::WitnessUnregister,
        Self::NodePrepare,
        Self::NodeStatus,
        Self::NodeCheck,
        Self::NodeStart,
        Self::NodeStop,
        Self::NodeRestart,
        Self::NodeReload,
        Self::NodeService,
        Self::NodeRejoin,
        Self::NodeGuard,
        Self::ClusterShow,
        Self::ClusterCheck,
        Self::ClusterUri,
        Self::ClusterEvent,
        Self::ClusterMatrix,
        Self::ClusterCrosscheck,
        Self::ClusterCleanup,
        Self::OperationList,
        Self::OperationShow,
        Self::OperationResume,
        Self::OperationAbandon,
        Self::OperationCleanup,
        Self::OperationAdoptState,
        Self::ConfigCheck,
        Self::ConfigShow,
        Self::DaemonRun,
        Self::DaemonStart,
        Self::DaemonStop,
        Self::ServiceStatus,
        Self::ServicePause,
        Self::ServiceUnpause,
        Self::ServiceReset,
        Self::Completions,
        Self::Man,
    ];

    /// Returns what is true of the command: the one table.
    #[rustfmt::skip]
    pub const fn traits(self) -> Traits {
        use NodeOption::{HandedOver, Local, Meaningless, Subject};
        match self {
            Self::PrimaryRegister => local_command("primary register", Local, &[Files, Superuser, Force, DryRun, Yes, Timeout]),
            Self::PrimaryUnregister => {
                acts_on_cluster("primary unregister", Subject, &[Files, Connection, Force, DryRun, Yes, Timeout])
            }
            Self::StandbyClone => Traits {
                reported: Some(Exit::BaseBackup),
                ..local_command("standby clone", Local, &[Files, Connection, Superuser, Force, DryRun, Yes, Timeout])
            },
            Self::StandbyRegister => {
                local_command("standby register", Local, &[Files, Connection, Force, DryRun, Yes, Timeout])
            }
            Self::StandbyUnregister => {
                acts_on_cluster("standby unregister", Subject, &[Files, Connection, Force, DryRun, Yes, Timeout])
            }
            Self::StandbyPromote => Traits {
                promotes: true,
                ..changes_roles("standby promote", &[Files, Force, AcceptDataLoss, DryRun, Yes, Timeout])
            },
            Self::StandbyFollow => Traits {
                reported: Some(Exit::Follow),
                ..changes_roles("standby follow", &[Files, Force, DryRun, Yes, Timeout])
            },
            Self::StandbySwitchover => Traits {
                promotes: true,
                reported: Some(Exit::Switchover),
                of_repmgr: &[Superuser],
                ..changes_roles("standby switchover", &[Files, Force, DryRun, Yes, Timeout])
            },
            Self::StandbyRewind => Traits {
                reported: Some(Exit::Rejoin),
                ..changes_roles("standby rewind", &[Files, Connection, Force, AcceptDataLoss, DryRun, Yes, Timeout])
            },
            Self::WitnessRegister => {
                local_command("witness register", Local, &[Files, Connection, Superuser, Force, DryRun, Yes, Timeout])
            }
            Self::WitnessUnregister => {
                acts_on_cluster("witness unregister", Subject, &[Files, Connection, Force, DryRun, Yes, Timeout])
            }
            Self::NodePrepare => {
                local_command("node prepare", HandedOver, &[Files, Connection, Superuser, Force, DryRun, Yes, Timeout])
            }
            Self::NodeStatus => looks("node status", HandedOver, &[Files, Csv, Timeout]),
            Self::NodeCheck => Traits {
                errors: Errors::CannotTellIfAsked,
                nagios: Some("PGBATON_NODE"),
                ..looks("node check", HandedOver, &[Files, Superuser, Csv, Timeout])
            },
            Self::NodeStart => local_command("node start", HandedOver, &[Files, Force, DryRun, Yes, Timeout]),
            Self::NodeStop => local_command("node stop", HandedOver, &[Files, Superuser, DryRun, Yes, Timeout]),
            Self::NodeRestart => local_command("node restart", HandedOver, &[Files, Superuser, Force, DryRun, Yes, Timeout]),
            Self::NodeReload => local_command("node reload", HandedOver, &[Files, DryRun, Yes, Timeout]),
            Self::NodeService => {
                local_command("node service", HandedOver, &[Files, Superuser, Force, AcceptDataLoss, DryRun, Yes, Timeout])
            }
            Self::NodeRejoin => Traits {
                reported: Some(Exit::Rejoin),
                ..changes_roles("node rejoin", &[Files, Connection, Force, AcceptDataLoss, DryRun, Yes, Timeout])
            },
            // What it may leave is standby.signal, with which the next start is that of a standby.
            Self::NodeGuard => Traits {
                errors: Errors::CannotTellUnlessSecondPrimary,
                ..local_command("node guard", Local, &[Files, Connection, DryRun, Timeout])
            },
            Self::ClusterShow => {
                looks_from_outside("cluster show", Meaningless, &[Files, Connection, Csv, Compact, Timeout])
            }
            Self::ClusterCheck => Traits {
                errors: Errors::CannotTell,
                nagios: Some("PGBATON_CLUSTER"),
                ..looks_from_outside("cluster check", Meaningless, &[Files, Connection, Csv, Timeout])
            },
            Self::ClusterUri => looks_from_outside("cluster uri", Meaningless, &[Files, Connection, Timeout]),
            Self::ClusterEvent => {
                looks_from_outside("cluster event", Subject, &[Files, Connection, Csv, Compact, Timeout])
            }
            Self::ClusterMatrix => {
                looks_from_outside("cluster matrix", Meaningless, &[Files, Connection, Csv, Timeout])
            }
            Self::ClusterCrosscheck => {
                looks_from_outside("cluster crosscheck", Meaningless, &[Files, Connection, Csv, Timeout])
            }
            Self::ClusterCleanup => local_command("cluster cleanup", Subject, &[Files, Connection, DryRun, Yes, Timeout]),
            Self::OperationList => looks_from_outside("operation list", HandedOver, &[Files]),
            Self::OperationShow => looks_from_outside("operation show", HandedOver, &[Files]),
            Self::OperationResume => {
                looks("operation resume", HandedOver, &[Files, Force, AcceptDataLoss, DryRun, Yes, Timeout])
            }
            Self::OperationAbandon => {
                looks("operation abandon", HandedOver, &[Files, Force, DryRun, Yes, Timeout])
            }
            Self::OperationCleanup => Traits {
                locks: Locks::Local,
                ..looks("operation cleanup", HandedOver, &[Files, DryRun])
            },
            Self::OperationAdoptState => Traits {
                locks: Locks::Local,
                ..looks("operation adopt-state", HandedOver, &[Files, DryRun])
            },
            Self::ConfigCheck => looks_from_outside("config check", Meaningless, &[Files]),
            Self::ConfigShow => looks_from_outside("config show", Meaningless, &[Files]),
            // What it changes is changed by the commands that it runs, each under its own locks.
            Self::DaemonRun => looks("daemon run", Local, &[Files, Timeout]),
            // The service manager and the daemons do it; asked twice it does no harm.
            Self::DaemonStart => looks("daemon start", HandedOver, &[Files, DryRun, Timeout]),
            Self::DaemonStop => looks("daemon stop", HandedOver, &[Files, Force, DryRun, Timeout]),
            Self::ServiceStatus => looks_from_outside("service status", Meaningless, &[Files, Connection, Csv, Compact, Timeout]),
            // The daemons do it, one after the other; asked twice it does no harm.
            Self::ServicePause => looks_from_outside("service pause", Meaningless, &[Files, DryRun, Timeout]),
            Self::ServiceUnpause => looks_from_outside("service unpause", Meaningless, &[Files, DryRun, Timeout]),
            Self::ServiceReset => looks("service reset", Local, &[Files, DryRun, Timeout]),
            Self::Completions => looks_from_outside("completions", Meaningless, &[]),
            Self::Man => looks_from_outside("man", Meaningless, &[]),
            Self::FarEnd => looks("far-end", Local, &[Files]),
        }
    }

    /// Returns the command with these words; None for what is no command of this version.
    pub fn parse(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.words() == words)
    }

    /// Returns its words: `standby clone`.
    pub const fn words(self) -> &'static str {
        self.traits().words
    }

    /// Says whether the command uses an option.
    pub fn has(self, option: OptionGroup) -> bool {
        match option {
            OptionGroup::Node => self.traits().node != NodeOption::Meaningless,
            option => self.traits().options.contains(&option),
        }
    }

    /// Says whether a failure with this exit code is reported as an event although nothing is left changed.
    pub fn reports(self, exit: Exit) -> bool {
        self.traits().reported == Some(exit)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_words() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.words()), Some(verb));
        }
        assert_eq!(Verb::parse("far-end"), None);
        assert_eq!(Verb::parse("standby levitate"), None);
    }

    #[test]
    fn a_command_that_changes_roles_holds_the_locks_of_the_cluster() {
        for verb in Verb::ALL {
            let traits = verb.traits();
            if traits.unfinished == Some(Unfinished::Blocks) {
                assert_eq!(traits.locks, Locks::Cluster, "{verb}");
            }
            assert!(!traits.promotes || traits.unfinished == Some(Unfinished::Blocks), "{verb}");
            assert!(traits.unfinished.is_none() || traits.locks != Locks::None, "{verb}");
            // Root makes no files of the server.
            assert!(!traits.root || traits.locks == Locks::None, "{verb}");
            // What changes something can be tried.
            assert!(traits.locks == Locks::None || verb.has(OptionGroup::DryRun), "{verb}");
        }
    }
}
