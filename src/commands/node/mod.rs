//! `pgbaton node …`

pub mod check;
pub mod rejoin;
pub mod service;
pub mod status;
