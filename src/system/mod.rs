//! The operating system: the only users of `std::process`, of the environment and of file writes.

pub mod clock;
pub mod command;
pub mod environment;
pub mod files;
pub mod guarded_read;
pub mod inspect;
pub mod kill;
pub mod lock;
pub mod process;
pub mod signals;
pub mod supervisor;
pub mod syslog;
pub mod trial;
