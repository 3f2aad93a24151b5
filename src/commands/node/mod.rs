//! `pgbaton node …`

pub mod rejoin;
pub mod service;
pub mod status;
