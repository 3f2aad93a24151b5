//! `pgbaton cluster …`

pub mod check;
pub mod cleanup;
pub mod event;
pub mod matrix;
pub mod show;
pub mod uri;
