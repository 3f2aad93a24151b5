//! `pgbaton node …`

pub mod check;
pub mod guard;
pub mod prepare;
pub mod rejoin;
pub mod service;
pub mod status;
