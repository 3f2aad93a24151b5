//! Tests of the whole program, most of them on real servers: a module for each subject.
//!
//! One program, because linking each of them by itself takes longer than running it. `cargo test --test all guard::` runs one module.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "in tests a panic is the report, and the bans protect the program, not its tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod advice;
mod as_repmgr;
mod check;
mod cli;
mod clone;
mod connections;
mod daemon;
mod examples;
mod failed;
mod far_end;
mod follow;
mod generated;
mod guard;
mod harness;
mod interrupted;
mod journal;
mod lab;
mod matrix;
mod monitoring;
mod operation;
mod options;
mod over_ssh;
mod prepare;
mod promote;
mod register;
mod rejoin;
mod repmgr;
mod role_model;
mod rooms;
mod runbook;
mod scenarios;
mod service;
mod show;
mod state;
mod switchover;
mod tour;
mod transcripts;
mod uri;
mod wal;
mod witness;
