//! `primary unregister`, `standby unregister` and `witness unregister`.

use crate::context::Context;
use crate::error::Result;
use crate::facts::cluster::NodeFacts;
use crate::observe::own_node::{secrets_of, target};
use crate::observe::under_locks::lock_cluster;
use crate::observe::{discovery, open_operations};
use crate::operation::carry_out::RunOptions;
use crate::operation::membership::{may_unregister, wait_until_taken_up};
use crate::operation::with_events::carry_out_with_events;
use crate::output::Report;
use crate::plan::register::{RegisterOptions, unregister};
use crate::registry::NodeType;
use crate::ui::Level;

/// Removes a node from the metadata.
///
/// # Errors
/// Exit code 30 while another command is at work on a node that answers, 6 without a primary, 1 for a failed check, 7 if the record cannot be removed.
pub async fn run(context: &Context, wanted: &NodeType) -> Result<Report> {
    let found = discovery::cluster(context).await?;
    discovery::the_primary(&found.facts)?;
    target(context, &found.facts)?;
    // Of two rows that lead to one server, which may be why one of them is removed, the lock is taken once.
    let is_first = |node: &&NodeFacts| found.facts.other_node_of_server(node).is_none();
    let rows: Vec<_> = found.facts.nodes.iter().filter(is_first).map(|node| node.row.clone()).collect();
    // A change of roles that goes on meanwhile would record a primary that is not registered any more.
    let held = lock_cluster(context, &rows).await?;
    may_unregister(context, &discovery::the_primary(&held.facts)?.0.row, &target(context, &found.facts)?.row)
        .await?;
    let mut facts = held.facts.clone();
    facts.nodes.extend(found.facts.nodes.iter().filter(|node| !is_first(node)).cloned());
    facts.nodes.sort_by_key(|node| node.row.node_id);
    let (primary, _) = discovery::the_primary(&facts)?;
    let target = target(context, &facts)?;
    let present = open_operations::metadata(&held, primary.row.node_id).await;
    let records = present.is_some_and(|present| present.own && present.own_schema_statements().is_some());
    let options = RegisterOptions { force: context.options.force, records, ..RegisterOptions::default() };
    let by = context.config().ok().map(|config| (config.node_id, config.node_name.as_str()));
    let plan = unregister(&facts, target, wanted, primary, by, options);
    let how = RunOptions::new(context, secrets_of(&facts)).holding(&held);
    let done = carry_out_with_events(context, &plan, how).await.announced(context).await;
    let row = &target.row;
    if done.acted {
        discovery::remember_from(context, &primary.row).await;
    }
    let report = done.report?;
    if done.acted {
        context.ui.say(
            Level::Notice,
            &format!("node \"{}\" (ID {}) is no longer registered", row.node_name, row.node_id),
        );
        wait_until_taken_up(context, &primary.row, row, false).await;
    }
    Ok(report)
}
