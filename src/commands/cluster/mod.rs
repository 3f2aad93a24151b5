//! `pgbaton cluster …`

pub mod event;
pub mod show;
