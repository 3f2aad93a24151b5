//! The operating system: the only users of `std::process`, of the environment and of file writes.

pub mod environment;
