//! Signals: which ones end a command, and which ones must not.
//!
//! Until [`Signals::take_over`] is called, that is while a command only looks, SIGINT and SIGTERM end it wherever it is; all that
//! is left is to say so, which [`end_while_looking`] does. From its first effect on a command decides for itself when to stop:
//!
//! - SIGINT and SIGTERM are requests, obeyed where it is safe; see [`crate::operation::run`].
//! - SIGHUP, which a closed terminal or a closed ssh session sends, changes nothing: the operation goes on unseen. Only the daemon
//!   takes it as what it is for daemons.
//! - SIGPIPE is ignored by Rust's runtime from the start, so a reader that went away shows as an error of a write. Code that
//!   writes for people ignores that error.
//!
//! Children are in process groups of their own ([`crate::system::process`]), so Ctrl-C reaches this process only.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use serde::Serialize;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

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

/// What is said by a process that a signal ends; returns its exit code.
type LastWords = Box<dyn FnOnce(Signal) -> u8 + Send>;

/// What the process is doing.
enum Doing {
    /// It looks: what it was going to do has not begun.
    Looking(Option<LastWords>),
    /// It acts, or has acted: signals are handled by the code that asks for them.
    Acting,
    /// It has only looked, and writes its answer.
    Answering,
}

static DOING: Mutex<Doing> = Mutex::new(Doing::Looking(None));

fn doing() -> MutexGuard<'static, Doing> {
    DOING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There is one answer: from here on a signal brings no other one.
pub fn answer() {
    let mut doing = doing();
    if matches!(*doing, Doing::Looking(_)) {
        *doing = Doing::Answering;
    }
}

/// Ends the process at the first SIGINT or SIGTERM that arrives before [`Signals::take_over`]: `last_words` are said, and give the exit code.
///
/// On a thread of its own, so that it works while a question waits for its answer. Where that cannot be had, the system ends the process.
pub fn end_while_looking(last_words: impl FnOnce(Signal) -> u8 + Send + 'static) {
    let wait = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
        let handlers = runtime.block_on(async { Signals::requests() }).ok();
        Some((runtime, handlers?))
    };
    let Some((runtime, signals)) = wait() else { return };
    *doing() = Doing::Looking(Some(Box::new(last_words)));
    std::thread::spawn(move || {
        loop {
            end_at(runtime.block_on(signals.next()));
        }
    });
}

/// Ends the process at a signal that has arrived, unless it acts.
#[expect(clippy::disallowed_methods, reason = "main.rs waits for an answer that is no longer needed")]
pub fn end_at(signal: Signal) {
    // Kept to the end: what is looked at now does not become an act meanwhile.
    let mut doing = doing();
    match &mut *doing {
        Doing::Looking(words) => {
            if let Some(words) = words.take() {
                std::process::exit(i32::from(words(signal)));
            }
        }
        // There may be no reader.
        Doing::Answering => std::process::exit(i32::from(signal.exit().code())),
        Doing::Acting => {}
    }
}

/// The signals of this process, from the moment it took them over.
#[derive(Debug)]
pub struct Signals {
    streams: tokio::sync::Mutex<Streams>,
    /// Held so that SIGHUP has a handler; only the daemon reads it.
    hangup: Option<tokio::sync::Mutex<Stream>>,
}

#[derive(Debug)]
struct Streams {
    int: Stream,
    term: Stream,
}

impl Signals {
    /// Replaces the default actions. They do not come back: the process keeps its handlers to its end.
    ///
    /// # Errors
    /// Fails if the system refuses a handler, or outside a tokio runtime that handles signals.
    pub fn take_over() -> anyhow::Result<Self> {
        let signals = Self {
            hangup: Some(tokio::sync::Mutex::new(stream(SignalKind::hangup())?)),
            ..Self::requests()?
        };
        *doing() = Doing::Acting;
        Ok(signals)
    }

    fn requests() -> anyhow::Result<Self> {
        let streams =
            Streams { int: stream(SignalKind::interrupt())?, term: stream(SignalKind::terminate())? };
        Ok(Self { streams: tokio::sync::Mutex::new(streams), hangup: None })
    }

    /// Waits for the next SIGHUP. Dropping the future loses none.
    pub async fn hangup(&self) {
        match &self.hangup {
            Some(stream) if stream.lock().await.recv().await.is_some() => {}
            _ => std::future::pending().await,
        }
    }

    /// Returns the next request to end. Dropping the future loses none.
    pub async fn next(&self) -> Signal {
        let mut streams = self.streams.lock().await;
        let Streams { int, term } = &mut *streams;
        let signal = tokio::select! {
            Some(()) = int.recv() => Some(Signal::Int),
            Some(()) = term.recv() => Some(Signal::Term),
            else => None,
        };
        match signal {
            Some(signal) => signal,
            // The streams end with the runtime: then there is no receiver left.
            None => std::future::pending().await,
        }
    }
}

fn stream(kind: SignalKind) -> anyhow::Result<Stream> {
    signal(kind).context("could not handle signals")
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
