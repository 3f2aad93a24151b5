//! `pgbaton standby …`

pub mod clone;
pub mod follow;
pub mod promote;
pub mod register;
pub mod switchover;
