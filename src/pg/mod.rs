//! PostgreSQL as seen from a client and from the shell: connections, positions, files, tools.

pub mod history;
pub mod lsn;
pub mod quote;

pub use lsn::Lsn;
