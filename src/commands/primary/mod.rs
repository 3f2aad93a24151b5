//! `pgbaton primary …`

pub mod register;
