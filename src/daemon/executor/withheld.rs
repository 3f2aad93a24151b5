//! A candidacy that is not begun: too much WAL is missing, or a command does not agree.

use std::time::Duration;

use pgbaton_lease::Lack;
use pgbaton_lease::driver::Withheld;

use super::Executor;
use crate::daemon::lease::Told;
use crate::daemon::monitor::Happened;
use crate::daemon::snapshot::Snapshot;
use crate::operation::event_hook::expand;
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process::{self, ChildContext};
use crate::ui::Level;
use crate::units::size;

/// For how long the word of the command that validates counts.
const COUNTS: Duration = Duration::from_secs(10);

/// How long it may take.
const LONGEST: Duration = Duration::from_secs(60);

/// Returns the variable that has the value of a placeholder of repmgr's.
fn variable(placeholder: char) -> Option<&'static str> {
    Some(match placeholder {
        'n' => "NODE_ID",
        'a' => "NODE_NAME",
        'v' => "VISIBLE_NODES",
        'u' => "SHARED_UPSTREAM_NODES",
        't' => "TOTAL_NODES",
        _ => return None,
    })
}

impl Executor<'_> {
    /// Says once why this node does not stand for election, and asks the command that validates.
    pub(super) async fn be_withheld(&mut self, snapshot: &Snapshot) {
        self.validation_has_ended().await;
        let Some(withheld) = snapshot.withheld else {
            self.said_withheld = None;
            return;
        };
        if withheld == Withheld::Validation {
            self.validate(snapshot);
            return;
        }
        // That it lacks more by the second is no news.
        let kind = std::mem::discriminant(&withheld);
        if self.said_withheld.is_some_and(|said| std::mem::discriminant(&said) == kind) {
            return;
        }
        self.said_withheld = Some(withheld);
        let most = self.config.failover_max_lag.bytes.map_or_else(String::new, size);
        let detail = match withheld {
            Withheld::Lacks(Lack::Bytes(lacks)) => {
                format!("It lacks {} of the last known WAL of the primary; failover_max_lag is {most}.", size(lacks))
            }
            _ => "How much WAL of the primary it lacks is not known, because its end was not seen since this daemon was started.".to_string(),
        };
        self.refused("this node is not promoted by itself", &detail);
    }

    fn refused(&self, what: &str, detail: &str) {
        let hint =
            "Bring the primary back; or accept the loss, and run \"pgbaton standby promote\" on this node.";
        self.context.ui.message(Level::Error, what, Some(detail), Some(hint));
        self.announcer.announce(Happened::new("failover_refused", false, format!("{what}. {detail}")));
    }

    fn validate(&mut self, snapshot: &Snapshot) {
        if self.validating.is_some() {
            return;
        }
        let line = &self.config.failover_validation_command;
        let Ok(Some(command)) = self.config.command("failover_validation_command", line) else {
            // It is not to be run: then nothing agrees.
            return self.tell(Told::Validated(false, 1000));
        };
        let members = snapshot.state.members;
        let visible = snapshot.shown.len();
        let values = [
            ("NODE_ID", self.config.node_id.to_string()),
            ("NODE_NAME", self.config.node_name.clone()),
            ("VISIBLE_NODES", visible.to_string()),
            ("SHARED_UPSTREAM_NODES", members.data.count().saturating_sub(1).to_string()),
            ("TOTAL_NODES", members.voters.count().to_string()),
        ];
        let mut run = Command::new("/bin/sh", ["-c".to_string(), expand(command, variable)]);
        run.env = values.iter().map(|(name, value)| (format!("PGBATON_{name}"), value.clone())).collect();
        self.say(Level::Info, "asking failover_validation_command");
        let environment = self.context.environment.clone();
        self.validating = Some(tokio::spawn(async move {
            let around =
                ChildContext { environment: Some(&environment), secrets: Secrets::new(), inherit_pg: true };
            tokio::time::timeout(LONGEST, process::run(&run, &around)).await?
        }));
    }

    async fn validation_has_ended(&mut self) {
        if self.validating.as_ref().is_none_or(|child| !child.is_finished()) {
            return;
        }
        let Some(child) = self.validating.take() else { return };
        let why = match child.await {
            Ok(Ok(finished)) => finished.success().err().map(|error| format!("{error:#}")),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(error) => Some(error.to_string()),
        };
        let span = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match why {
            None => self.tell(Told::Validated(true, span(COUNTS))),
            Some(why) => {
                self.tell(Told::Validated(false, span(self.config.election_rerun_interval)));
                self.refused(
                    "failover_validation_command does not agree to the promotion of this node",
                    &crate::error::sentence(&why),
                );
            }
        }
    }
}
