//! pgbaton on the host of another node: what is said to it (`protocol`), what its first answer means (`checks`), the channel to it, and how
//! a host is made certain of before a promotion (`secure`). May use `site`, `plan` and what is below them.

pub mod channel;
pub mod checks;
pub mod protocol;
pub mod remote;
pub mod secure;
