//! `pgbaton node …`

pub mod check;
pub mod guard;
pub mod rejoin;
pub mod service;
pub mod status;
