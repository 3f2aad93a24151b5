//! pgbaton, a replication manager for PostgreSQL.
//!
//! One binary, one subcommand tree. A mutating command works in five movements: **observe** (facts are gathered from all
//! nodes at once, read-only, each with a deadline), **decide** (a pure function turns facts and options into a plan),
//! **show** (the plan is a value: it is printed, or it is all that `--dry-run` prints), **act** (the same value is run,
//! step by step, with its intent on disk before every effect), and **verify**.
//!
//! # The rooms
//!
//! | module | holds | may use |
//! |---|---|---|
//! | [`cli`] | clap types, one file per noun; the doc comment is the help | nothing of ours |
//! | [`commands`] | one file per verb: options in, calls down, report out | everything below |
//! | [`facts`] | what is true now: plain structs, gathered in parallel | `registry`, `pg` |
//! | [`plan`] | what will be done: `Op`, `Probe`, `Check`, `Plan`; executor, journal; one pure planner per operation | types of `facts`; the journal: `system` |
//! | [`registry`] | the schemas `repmgr` and `pgbaton`: rows in, rows out | `pg` |
//! | [`output`] | streams, tables, JSON, CSV, plans and errors as text | data types |
//! | [`config`] | `pgbaton.toml`, `repmgr.conf`: one list of parameters, every default with its origin | `system` |
//! | [`pg`] | conninfo, connections, LSNs, timeline histories, control data, tools' arguments | `system` |
//! | [`system`] | processes, files, locks, signals, the environment | the operating system |
//!
//! Dependencies point down. Planners know neither `system` nor a connection; nothing below `commands` prints, and nothing
//! but `output` knows a format. A new verb touches four places: its clap type, its command file, the match in
//! `commands/mod.rs`, and a planner if it changes anything.

pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod facts;
pub mod output;
pub mod pg;
pub mod plan;
pub mod registry;
pub mod secret;
pub mod system;

pub use error::{Error, Exit, Result};
