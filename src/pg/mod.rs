//! PostgreSQL as seen from a client and from the shell: connections, positions, files, tools.

pub mod conninfo;
pub mod history;
pub mod lsn;
pub mod passfile;
pub mod quote;
pub mod service;

pub use conninfo::Conninfo;
pub use lsn::Lsn;
