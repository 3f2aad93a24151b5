//! `pgbaton standby …`

pub mod clone;
pub mod register;
