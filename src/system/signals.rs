//! Signals: which ones end a command, and which ones must not.
//!
//! Until [`Signals::take_over`] is called, that is while a command only looks, the defaults of the system hold: Ctrl-C ends
//! it. From its first effect on a command decides for itself when to stop:
//!
//! - SIGINT and SIGTERM are requests, obeyed where it is safe; see [`crate::plan::run`].
//! - SIGHUP, which a vanished terminal or a closed ssh session sends, changes nothing: the operation goes on unseen.
//! - SIGPIPE is ignored by Rust's runtime from the start, so a reader that went away shows as an error of a write. Whoever
//!   writes for people ignores that error.
//!
//! Children are in process groups of their own ([`crate::system::process`]), so Ctrl-C reaches this process only.

use anyhow::Context;
use serde::Serialize;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::Mutex;

use crate::error::Exit;

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGINT, as from Ctrl-C.
    Int,
    /// SIGTERM.
    Term,
}

impl Signal {
    /// Returns the exit code of a command that this signal ended.
    pub fn exit(self) -> Exit {
        match self {
            Self::Int => Exit::Interrupted,
            Self::Term => Exit::Terminated,
        }
    }
}

/// The signals of this process, from the moment it took them over.
#[derive(Debug)]
pub struct Signals {
    streams: Mutex<Streams>,
}

#[derive(Debug)]
struct Streams {
    int: Stream,
    term: Stream,
    /// Held so that SIGHUP has a handler; nobody looks at it.
    _hangup: Stream,
}

impl Signals {
    /// Replaces the default actions. They do not come back: the process keeps its handlers to its end.
    ///
    /// # Errors
    /// Fails if the system refuses a handler, or outside a tokio runtime that handles signals.
    pub fn take_over() -> anyhow::Result<Self> {
        let stream = |kind| signal(kind).context("could not handle signals");
        let streams = Streams {
            int: stream(SignalKind::interrupt())?,
            term: stream(SignalKind::terminate())?,
            _hangup: stream(SignalKind::hangup())?,
        };
        Ok(Self { streams: Mutex::new(streams) })
    }

    /// Returns the next request to end. Dropping the future loses none.
    pub async fn next(&self) -> Signal {
        let mut streams = self.streams.lock().await;
        let Streams { int, term, .. } = &mut *streams;
        let signal = tokio::select! {
            Some(()) = int.recv() => Some(Signal::Int),
            Some(()) = term.recv() => Some(Signal::Term),
            else => None,
        };
        match signal {
            Some(signal) => signal,
            // The streams end with the runtime: then there is nobody left to tell.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn signals_are_requests_and_a_hangup_is_nothing() {
        let signals = Signals::take_over().unwrap();
        for (number, expected) in [(Number::TERM, Signal::Term), (Number::INT, Signal::Int)] {
            kill_process(getpid(), Number::HUP).unwrap();
            // A future that was polled and dropped took nothing with it.
            tokio::select! { biased; _ = signals.next() => panic!("none was sent"), () = std::future::ready(()) => {} }
            kill_process(getpid(), number).unwrap();
            assert_eq!(signals.next().await, expected);
        }
    }
}
