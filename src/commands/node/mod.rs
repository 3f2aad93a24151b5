//! `pgbaton node …`

pub mod guard;
pub mod rejoin;
pub mod service;
pub mod status;
