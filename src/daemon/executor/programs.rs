//! The commands that are run as children of the daemon, and what becomes of them.

use std::time::Duration;

use pgbaton_lease::{Event, Op};
use tokio::time::Instant;

use super::{AGAIN, Executor};
use crate::error::Exit;
use crate::observe::daemons::{BY_DAEMON, random_op};
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::environment::own_program;
use crate::system::process::{self, ChildContext};
use crate::ui::Level;

/// A program of this process that is running.
pub(super) type Child = tokio::task::JoinHandle<anyhow::Result<process::Finished>>;

/// What a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Stop the server for a hand-over.
    Stop(Op),
    /// Start it, as what its files say.
    Start,
    /// Attach it to the leader.
    Follow,
    /// Attach it, although it has diverged.
    Rejoin,
}

impl Executor<'_> {
    pub(super) fn start_child(&mut self, purpose: Purpose, words: &[&str]) {
        let program = own_program().map_or_else(|| "pgbaton".to_string(), |path| path.display().to_string());
        let file = self.config.file().display().to_string();
        let mut args = vec!["-f".to_string(), file];
        args.extend(words.iter().map(|word| (*word).to_string()));
        let mut command = Command::new(program, args);
        command.env.push((BY_DAEMON.to_string(), std::process::id().to_string()));
        self.say(Level::Info, &format!("running: pgbaton {}", words.join(" ")));
        let environment = self.context.environment.clone();
        let child = tokio::spawn(async move {
            let around =
                ChildContext { environment: Some(&environment), secrets: Secrets::new(), inherit_pg: true };
            process::run(&command, &around).await
        });
        self.child = Some((purpose, child));
    }

    pub(super) async fn child_has_ended(&mut self) {
        if self.child.as_ref().is_none_or(|(_, child)| !child.is_finished()) {
            return;
        }
        let Some((purpose, child)) = self.child.take() else { return };
        let (failure, code) = match child.await {
            Ok(Ok(finished)) if finished.status.success() => (None, Some(0)),
            Ok(Ok(finished)) => (Some(last_words(&finished)), finished.status.code()),
            Ok(Err(error)) => (Some(format!("{error:#}")), None),
            Err(error) => (Some(error.to_string()), None),
        };
        let is_passing = code.is_some_and(|code| {
            [Exit::Busy, Exit::Connection].iter().any(|exit| i32::from(exit.code()) == code)
        });
        match (purpose, failure) {
            (Purpose::Stop(op), Some(failure)) => {
                self.say(
                    Level::Warning,
                    &format!("the server could not be stopped, and the hand-over turns back: {failure}"),
                );
                self.event(Event::Failed(op));
            }
            // Another node is at it, or a server is just coming back.
            (Purpose::Follow | Purpose::Rejoin, Some(failure)) if is_passing => {
                self.say(Level::Info, &format!("trying again: {failure}"));
                let pause = 500 + u64::from(random_op()) % 1000;
                self.not_before = Instant::now() + Duration::from_millis(pause);
            }
            (Purpose::Follow, Some(failure)) => {
                self.say(
                    Level::Warning,
                    &format!("the node could not be repointed; its rejoin is tried: {failure}"),
                );
                self.is_to_rejoin = true;
                self.not_before = Instant::now();
            }
            (Purpose::Rejoin, Some(failure)) => {
                self.say(
                    Level::Warning,
                    &format!(
                        "the node could not be rejoined, and is left as it is; it is tried again: {failure}"
                    ),
                );
                self.is_to_rejoin = false;
                // Without a person it will not go better soon.
                self.not_before = Instant::now() + if code == Some(32) { 6 * AGAIN } else { AGAIN };
            }
            (Purpose::Start, Some(failure)) => {
                self.say(
                    Level::Warning,
                    &format!("the server could not be started; it is tried again: {failure}"),
                );
                self.not_before = Instant::now() + Duration::from_secs(1);
            }
            (Purpose::Follow | Purpose::Rejoin, None) => {
                self.is_to_rejoin = false;
                self.is_to_follow = false;
                self.peers_read = None;
                self.detached_since = None;
                // That a former primary has rejoined is announced once it streams.
                if !self.is_returning {
                    self.announce_follow();
                }
            }
            (Purpose::Stop(_) | Purpose::Start, None) => {}
        }
    }

    pub(super) fn stop(&mut self, op: Op) {
        if let Some((_, child)) = self.child.take() {
            child.abort();
        }
        self.start_child(Purpose::Stop(op), &["node", "stop"]);
    }
}

/// Returns what a command said was wrong.
fn last_words(finished: &process::Finished) -> String {
    let is_news =
        |line: &&str| ["ERROR", "DETAIL", "HINT", "FATAL"].iter().any(|word| line.starts_with(word));
    let said: Vec<&str> = finished.stderr.lines().collect();
    let from = said.iter().rposition(|line| line.starts_with("ERROR")).unwrap_or(0);
    let said: Vec<&str> = said.iter().skip(from).copied().filter(is_news).collect();
    match said.is_empty() {
        true => finished.to_string(),
        false => said.join(" "),
    }
}
