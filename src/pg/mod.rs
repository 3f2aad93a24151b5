//! PostgreSQL as seen from a client and from the shell: connections, positions, files, tools.
//!
//! A connection goes through four hands, each of which can be tested alone: [`conninfo`] reads and writes strings and
//! knows nothing else; [`resolve`] adds service file, environment and defaults, as libpq does, and refuses by name what
//! cannot be honoured; [`mod@connect`] tries one address after the other under a deadline; [`client`] asks questions.

pub mod archive_command;
pub mod attempt;
pub mod client;
pub mod connect;
pub mod conninfo;
pub mod control;
pub mod control_file;
pub mod endpoint;
pub mod failure;
mod frames;
pub mod hba;
pub mod history;
pub mod installation;
pub mod last_start;
pub mod lsn;
pub mod passfile;
pub mod provenance;
pub mod quote;
pub mod resolve;
pub mod service;
pub mod statement;
mod stream;
pub mod tls;
pub mod tools;
pub mod verifier;
pub mod wal;

pub use client::{Row, Session, SqlError};
pub use connect::{ConnectOptions, connect};
pub use conninfo::Conninfo;
pub use failure::{Answered, ConnectError};
pub use lsn::Lsn;
