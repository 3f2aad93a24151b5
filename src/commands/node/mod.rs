//! `pgbaton node …`

pub mod prepare;
pub mod rejoin;
pub mod service;
pub mod status;
