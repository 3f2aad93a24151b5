//! `primary unregister`, `standby unregister` and `witness unregister`.

use crate::commands::context::Context;
use crate::commands::hold::hold;
use crate::commands::notify::{Happening, notify};
use crate::commands::primary::register::secrets_of;
use crate::commands::{locate, operate, others};
use crate::error::{Error, Result};
use crate::facts::cluster::{ClusterFacts, NodeFacts, ask_node};
use crate::output::Report;
use crate::output::ui::Level;
use crate::plan::register::{Options, endpoint, unregister};
use crate::registry::NodeType;

/// Removes a node from the metadata.
///
/// # Errors
/// Exit code 30 while another command is at work on a node that answers, 6 without a primary, 1 for a failed check, 7 if the record cannot be removed.
pub async fn run(context: &Context, wanted: &NodeType) -> Result<Report> {
    let found = locate::cluster(context).await?;
    locate::the_primary(&found.facts)?;
    target(context, &found.facts)?;
    // Of two rows that lead to one server, which may be why one of them is removed, the lock is taken once.
    let is_first = |node: &&NodeFacts| found.facts.twin_of(node).is_none();
    let rows: Vec<_> = found.facts.nodes.iter().filter(is_first).map(|node| node.row.clone()).collect();
    // A change of roles that goes on meanwhile would record a primary that is not registered any more.
    let held = hold(context, &rows).await?;
    let mut facts = held.facts.clone();
    facts.nodes.extend(found.facts.nodes.iter().filter(|node| !is_first(node)).cloned());
    facts.nodes.sort_by_key(|node| node.row.node_id);
    let (primary, _) = locate::the_primary(&facts)?;
    let target = target(context, &facts)?;
    let present = others::metadata(&held, primary.row.node_id).await;
    let records = present.is_some_and(|present| present.own && present.own_or_made().is_some());
    let options = Options { force: context.global.force, records, ..Options::default() };
    let plan = unregister(&facts, target, wanted, primary, &endpoint(primary), options);
    let result = operate::carry_out_holding(context, &plan, secrets_of(&facts), &held).await;
    let acted = result.as_ref().map_or_else(|error| error.changed, |done| done.acted);
    let row = &target.row;
    if acted {
        let name = match wanted {
            NodeType::Primary => "primary_unregister",
            NodeType::Witness => "witness_unregister",
            _ => "standby_unregister",
        };
        let details = match &result {
            Ok(_) => {
                let from = match context.config() {
                    Ok(config) if config.node_id != row.node_id => {
                        format!(" from node \"{}\" (ID: {})", config.node_name, config.node_id)
                    }
                    _ => String::new(),
                };
                format!("node \"{}\" (ID: {}) unregistered{from}", row.node_name, row.node_id)
            }
            Err(error) => error.to_string(),
        };
        // As in repmgr: the event of a standby is its own, that of a primary belongs to the node that removed it.
        let node_id = Some(row.node_id).filter(|_| wanted != &NodeType::Primary);
        let event =
            Happening { node_id, event: name, successful: result.is_ok(), details, ..Happening::default() };
        let session =
            ask_node(&primary.row.conninfo, &context.environment, context.node_deadline()).await.ok();
        let session = session.as_ref().map(|(session, _)| session);
        notify(context, session, &event).await;
        if let Some(session) = session
            && let Ok(facts) = locate::from_session(context, session, "the primary").await
        {
            locate::remember(context, &facts, crate::plan::journal::now());
        }
    }
    let done = result?;
    if done.acted {
        context.ui.say(
            Level::Notice,
            &format!("node \"{}\" (ID {}) is no longer registered", row.node_name, row.node_id),
        );
    }
    Ok(done.report)
}

/// Returns the node that is meant: the one named on the command line, else the local one.
pub(crate) fn target<'a>(context: &Context, facts: &'a ClusterFacts) -> Result<&'a NodeFacts> {
    let global = &context.global;
    let (found, what) = match (global.node_id, &global.node_name) {
        (Some(id), None) => (facts.node(id), format!("node {id}")),
        (None, Some(name)) => {
            (facts.nodes.iter().find(|node| node.row.node_name == *name), format!("node \"{name}\""))
        }
        (Some(id), Some(name)) => (
            facts.node(id).filter(|node| node.row.node_name == *name),
            format!("node {id} with the name \"{name}\""),
        ),
        (None, None) => {
            let config = context.config()?;
            (facts.node(config.node_id), format!("node \"{}\" (ID {})", config.node_name, config.node_id))
        }
    };
    found.ok_or_else(|| {
        let known: Vec<String> = facts
            .nodes
            .iter()
            .map(|node| format!("\"{}\" (ID {})", node.row.node_name, node.row.node_id))
            .collect();
        Error::failed(format!("{what} is not registered"))
            .detail(format!("Registered are: {}. Nothing was changed.", known.join(", ")))
            .hint("Name the node with --node-id or --node-name.")
    })
}
