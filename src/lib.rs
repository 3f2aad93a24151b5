//! pgbaton, a replication manager for PostgreSQL.
//!
//! One binary, one subcommand tree. A mutating command works in five movements: **observe** (facts are gathered from all
//! nodes at once, read-only, each with a deadline), **decide** (a pure function turns facts and options into a plan),
//! **show** (the plan is a value: it is printed, or it is all that `--dry-run` prints), **act** (the same value is run,
//! step by step, with its intent on disk before every effect), and **verify**.
//!
//! # The rooms
//!
//! | room | holds | may use |
//! |---|---|---|
//! | [`start`] | argv in, exit code out | commands, command_line, context, ui, output, pg, system, cli, error |
//! | [`commands`] | one file per verb: options in, calls down, report out | all that follow |
//! | [`daemon`] | fails over by itself: the sockets around the decisions of `pgbaton-lease`, the link to the fencer, the executor | all that follow |
//! | [`operation`] | carries a plan out: the order of steps (`run`), their effects (`live`), rollback, resuming, what is announced | all that follow |
//! | [`command_line`] | what was typed: getopt, usage, the node that is named | observe, far_end, context, ui, output, plan, facts, pg, system, cli, verb, error |
//! | [`context`] | what every command needs: this node, the command line, the streams, the look of the answer | site, ui, output, system, cli, verb, error |
//! | [`ui`] | standard error and the terminal | output, assess, system, units, secret, error |
//! | [`output`] | tables, JSON, CSV, plans and errors as text | plan, assess, facts, registry, config, pg, units, error |
//! | [`observe`] | finds out what is true now, of the cluster and for each operation | far_end, site, journal, plan, assess, facts, registry, config, pg, system, units, secret, verb, error |
//! | [`far_end`] | asks pgbaton on the host of another node, which answers in `commands/far_end.rs` | site, plan, assess, facts, registry, config, pg, system, secret, error |
//! | [`site`] | this node as a command finds it: what was asked for, configuration, environment, deadlines, connections, the state directory | journal, facts, registry, config, pg, system, verb, error |
//! | [`journal`] | the intent of an operation, on disk before every effect | plan, system, verb, error |
//! | [`plan`] | what will be done: `Op`, `Probe`, `Check`, `Plan`, and one pure planner per operation | assess, facts, registry, pg, system, units, secret, verb, error |
//! | [`assess`] | what the facts mean: pure verdicts | facts, registry, pg, units, error |
//! | [`facts`] | what one server, one directory, one host says | registry, pg, system, secret, error |
//! | [`registry`] | the schemas `repmgr` and `pgbaton`: rows in, rows out | pg, error |
//! | [`config`] | `pgbaton.toml`, `repmgr.conf`: one list of parameters, every default with its origin | system, error |
//! | [`pg`] | conninfo, passwords, connections, LSNs, timeline histories, control data, WAL files, tools' arguments | system, secret, error |
//! | [`system`] | processes, files, locks, signals, the environment | secret, error |
//! | [`cli`] | clap types, one file per noun; the doc comment is the help | verb |
//! | [`units`] | sizes and times as text | |
//! | [`secret`] | a value that must not be seen | |
//! | [`verb`] | the commands: their words, and one table of what is true of each | error |
//! | [`error`] | the error of a command and its exit codes | |
//!
//! Nothing uses what stands above it; `tests/all/rooms.rs` reads this table and holds the `crate::` paths against it. Planners and judgements
//! know no connection and no file.
//!
//! Where to begin: whether a server may start as a primary is decided in `assess/start/decide.rs`; the steps of an operation stand in
//! `plan/` under its name (those of a switchover in `plan/switchover/steps.rs`); what a step does, in `operation/live/mod.rs`, `perform`. An
//! operation of this node whose journal has not ended is called *unfinished* (`journal`, `observe/own_operations.rs`), one that another
//! node has recorded in the cluster *open* (`registry/operation.rs`, `observe/open_operations.rs`).
//!
//! A new verb touches: its clap type, its variant and its line in the table of commands (`verb.rs`), the match in `cli/mod.rs`, its command
//! file and the match in `commands/mod.rs`, and a planner if it changes anything. A new answer is a variant of `output::Data`, a new problem
//! a line of `error::ISSUE_CODES`. The program writes manual pages and completion scripts (`cargo run -- man --directory man`, `cargo run --
//! completions bash`), a test the snapshot of the help (`tests/all/cli.rs`).

pub mod assess;
pub mod cli;
pub mod command_line;
pub mod commands;
pub mod config;
pub mod context;
pub mod daemon;
pub mod error;
pub mod facts;
pub mod far_end;
pub mod journal;
pub mod observe;
pub mod operation;
pub mod output;
pub mod pg;
pub mod plan;
pub mod registry;
pub mod secret;
pub mod site;
pub mod start;
pub mod system;
pub mod ui;
pub mod units;
pub mod verb;

pub use error::{Error, Exit, Result};
