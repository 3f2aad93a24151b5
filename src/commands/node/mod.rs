//! `pgbaton node …`

pub mod check;
pub mod guard;
mod permission;
pub mod prepare;
pub mod rejoin;
pub mod service;
pub mod status;
