//! `pgbaton standby …`

mod beside;
pub mod clone;
pub mod follow;
mod hosts;
pub mod promote;
pub mod register;
pub mod switchover;
