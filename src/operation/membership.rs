//! What registering and unregistering a node means where daemons run: the leader's daemon decides who votes, and follows what is registered.

use std::time::{Duration, Instant};

use pgbaton_lease::mailbox::{NodeId, Status};
use pgbaton_lease::{Ask, Change, Flag};
use tokio::time::sleep;

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::daemons::voters;
use crate::observe::daemons::{self, Question, random_op};
use crate::pg::client::Session;
use crate::registry::{NodeRow, NodeType};
use crate::ui::Level;

/// How long the leader may take: it reads what is registered every few seconds, and at once when it is asked to.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// How few nodes may vote where there is a lease.
const FEWEST: usize = 3;

/// The primary's server, and the line of its daemon.
async fn leader(context: &Context, primary: &NodeRow) -> Option<(Session, Status)> {
    let mut nodes = daemons::of_cluster(context, std::slice::from_ref(primary)).await;
    let node = nodes.pop()?;
    let status = *node.own()?;
    Some((node.seen?.0, status))
}

fn number(row: &NodeRow) -> Option<NodeId> {
    NodeId::try_from(row.node_id).ok()
}

/// Makes sure that a node can be unregistered: enough of those that vote have to remain.
///
/// # Errors
/// Exit code 1 if too few would remain, 30 while a pause begins or ends. Nothing was changed.
pub async fn may_unregister(context: &Context, primary: &NodeRow, target: &NodeRow) -> Result<()> {
    let Some((session, status)) = leader(context, primary).await else { return Ok(()) };
    let is_between = matches!(status.flag, Flag::Held | Flag::Ending);
    if is_between {
        return Err(Error::new(Exit::Busy, "a pause of automatic failover begins or ends")
            .detail("Which nodes vote is not changed meanwhile. Nothing was changed.")
            .hint("\"pgbaton service status\" shows how far it is; finish it with \"pgbaton service pause\" or \"pgbaton service unpause\"."));
    }
    let Ok(Some(voters)) = voters(&session).await else { return Ok(()) };
    let is_voter = number(target).is_some_and(|id| voters.contains(&id));
    if status.flag != Flag::Full && is_voter && voters.len() <= FEWEST {
        return Err(Error::failed(format!("node \"{}\" is needed for automatic failover", target.node_name))
            .detail(format!(
                "{} nodes vote. With fewer than {FEWEST}, the loss of either one would stop the primary. Nothing was changed.",
                voters.len()
            ))
            .hint("Register another node first, or pause automatic failover: \"pgbaton service pause\"."));
    }
    Ok(())
}

/// Waits until the leader's daemon, if one runs, has taken up what was registered or unregistered. It does so also without being waited for.
pub async fn wait_until_taken_up(context: &Context, primary: &NodeRow, node: &NodeRow, registered: bool) {
    let (Some((session, status)), Some(id)) = (leader(context, primary).await, number(node)) else { return };
    let name = &node.node_name;
    let is_there = async || match voters(&session).await {
        Ok(Some(voters)) => Some(voters.contains(&id) == registered),
        // No leader has recorded the members yet: its daemon reads them by itself.
        _ => None,
    };
    match is_there().await {
        None => return,
        Some(true) => return say(context, name, registered),
        Some(false) => {}
    }
    let change = match (registered, &node.node_type) {
        (false, _) => Change::Remove(0),
        (true, NodeType::Witness) => Change::AddWitness(0),
        (true, _) => Change::AddData(0),
    };
    let asked = (random_op(), Ask::Member(change));
    // Shown while this waits: it makes the leader look at once.
    let _question = Question::put(context, primary, &status, asked, Some(id)).await;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if is_there().await == Some(true) {
            return say(context, name, registered);
        }
        sleep(LOOK).await;
    }
    let what = if registered { "does not vote yet" } else { "still counts as one that votes" };
    context.ui.message(
        Level::Warning,
        &format!("node \"{name}\" {what}"),
        Some("The daemon of the primary changes that by itself, as soon as a majority has recorded the change before."),
        Some("\"pgbaton service status\" shows the daemons, and the log of the primary's daemon what it waits for."),
    );
}

fn say(context: &Context, name: &str, registered: bool) {
    let what = if registered { "votes in elections now" } else { "no longer votes in elections" };
    context.ui.say(Level::Notice, &format!("node \"{name}\" {what}"));
}
