//! `pgbaton witness …`

pub mod register;
