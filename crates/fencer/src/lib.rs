//! The fencer: a small process beside a primary that stops its server when the lease ends, whatever has become of the daemon.
//!
//! The daemon extends the deadline over a socket; only the fencer holds it. What it does at the deadline cannot be called back: it writes
//! `standby.signal`, so that whatever starts from then on is a standby, and kills every process that works in the data directory. A daemon that
//! starts again learns the deadline here, and may extend it while it lies ahead. A fencer that starts again finds it in its runtime directory, if
//! the host has not been booted meanwhile.
//!
//! | module | holds |
//! |---|---|
//! | [`lease`] | the deadline, and what may be done with it: no system calls |
//! | [`protocol`] | what daemon and fencer say to each other, and the daemon's side |
//! | [`server`] | the processes of a server, found by their working directory, and how they are ended |
//! | [`process`] | what the fencer asks of the system for itself |
//! | [`run`](mod@run) | the loop |

pub mod lease;
pub mod process;
pub mod protocol;
pub mod run;
pub mod server;
