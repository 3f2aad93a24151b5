//! The command that switches a node off.

use std::time::Duration;

use tokio::time::timeout;

use crate::context::Context;
use crate::error::{Result, sentence};
use crate::operation::event_hook::expand;
use crate::pg::conninfo::Conninfo;
use crate::registry::NodeRow;
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process::{self, ChildContext};

/// How long it may take: a power switch answers slowly.
const LONGEST: Duration = Duration::from_secs(60);

/// Returns the variable that has the value of a placeholder.
fn variable(placeholder: char) -> Option<&'static str> {
    match placeholder {
        'n' => Some("NODE_ID"),
        'a' => Some("NODE_NAME"),
        'c' => Some("NODE_CONNINFO"),
        _ => None,
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// The command says that the node is off.
    Off,
    /// It does not, and why.
    No(String),
    /// None is configured.
    NoCommand,
}

/// Runs `fence_command` for a node. Only its success says that the node is off, from then on until it is switched on again.
///
/// # Errors
/// Exit code 1 if the configured command is not to be run.
pub async fn switch_off(context: &Context, row: &NodeRow) -> Result<Fenced> {
    let config = context.config()?;
    let Some(template) = config.command("fence_command", &config.fence_command)? else {
        return Ok(Fenced::NoCommand);
    };
    let conninfo = Conninfo::parse(&row.conninfo).map(|conninfo| conninfo.redacted()).unwrap_or_default();
    let mut command = Command::new("/bin/sh", ["-c".to_string(), expand(template, variable)]);
    let values = [
        ("NODE_ID", row.node_id.to_string()),
        ("NODE_NAME", row.node_name.clone()),
        ("NODE_CONNINFO", conninfo),
    ];
    command.env = values.iter().map(|(name, value)| (format!("PGBATON_{name}"), value.clone())).collect();
    let around =
        ChildContext { environment: Some(&context.environment), secrets: Secrets::new(), inherit_pg: true };
    Ok(match timeout(LONGEST, process::run(&command, &around)).await {
        Ok(Ok(finished)) => match finished.success() {
            Ok(_) => Fenced::Off,
            Err(error) => Fenced::No(sentence(&format!("{error:#}"))),
        },
        Ok(Err(error)) => Fenced::No(sentence(&format!("{error:#}"))),
        Err(_) => Fenced::No(format!("It did not finish within {} s.", LONGEST.as_secs())),
    })
}
