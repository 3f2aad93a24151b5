//! `pgbaton node …`

pub mod service;
pub mod status;
