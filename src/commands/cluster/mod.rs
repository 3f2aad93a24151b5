//! `pgbaton cluster …`

pub mod check;
pub mod event;
pub mod show;
