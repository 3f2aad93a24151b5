//! Judgements: what facts mean, as pure functions. May use `facts`, `registry` and types of `pg`; asks nothing.

pub mod alive;
pub mod checks;
pub mod clients;
pub mod cluster;
pub mod daemons;
pub mod history;
pub mod start;
