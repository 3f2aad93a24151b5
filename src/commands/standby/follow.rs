//! `standby follow`: let this standby follow the primary, or another standby.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::cli::standby::Follow as Args;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::facts::directory::{DirectoryContents, inspect_directory};
use crate::facts::write_locations;
use crate::journal::Header;
use crate::observe::own_node::secrets_of;
use crate::observe::under_locks::{self, LockedCluster, lock_cluster};
use crate::observe::{discovery, open_operations, replication_login};
use crate::operation::carry_out::RunOptions;
use crate::operation::change_roles::{ClusterAfter, change_roles, resume_earlier_run};
use crate::output::Report;
use crate::plan::follow::{FollowFacts, plan};
use crate::plan::parts::announce;
use crate::plan::parts::following::upstream;
use crate::ui::Level;
use crate::units::seconds;

/// The pause between two looks for a primary.
const LOOK: Duration = Duration::from_millis(500);

/// Lets the local standby follow.
///
/// # Errors
/// Exit code 6 without the local server or its target, 32 if the local server has WAL that the target never had, 23 if it does not stream in
/// time or cannot, 1 for another failed check.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let begun = Instant::now();
    let config = context.config()?;
    let wanted = target_words(&context.command_line);
    let same_target = |header: &Header| target_words(&header.command_line) == wanted;
    if let Some(report) = resume_earlier_run(context, same_target).await? {
        return Ok(report);
    }
    let name = &config.node_name;
    let found = wait_for_target(context, args).await?;
    under_locks::own_node(&found.facts, config.node_id, name)?;
    let rows: Vec<_> = found.facts.nodes.iter().map(|node| node.row.clone()).collect();
    let mut held = lock_cluster(context, &rows).await?;
    let target_id = match args.upstream_node_id {
        Some(id) => id,
        None => discovery::the_primary(&held.facts)?.0.row.node_id,
    };
    held.compare(config.node_id, target_id).await;
    let postgres = postgres(context)?;
    let mut written = write_locations::of_data_directory(&config.data_directory);
    written.push(write_locations::of_state(&context.state_directory()?));
    let facts = FollowFacts {
        places: written,
        login: login(context, &held, config.node_id, target_id).await,
        role: held.roles.get(&config.node_id).cloned(),
        primary: held.primary_settings(),
        node_id: config.node_id,
        target_id,
        data_directory: config.data_directory.clone(),
        postgres,
        kept: context.state_directory()?.join("kept").join(format!("{}-settings", std::process::id())),
        use_slot: config.use_replication_slots,
        timeout_s: seconds(config.standby_follow_timeout),
        cluster: held.facts.clone(),
        others: open_operations::other_operations(context, &held).await,
    };
    let mut plan = plan(&facts, context.options.force);
    if let Some((primary, _)) = held.facts.primaries().next() {
        announce::prepare(&mut plan, open_operations::metadata(&held, primary.row.node_id).await.as_ref());
    }
    let how = RunOptions::new(context, secrets_of(&held.facts)).holding(&held);
    let mut changed = change_roles(context, &plan, how).await;
    changed.done.add_data(
        json!({ "node_id": config.node_id, "upstream_node_id": target_id, "wall_s": begun.elapsed().as_secs_f64() }),
    );
    let target = held.facts.node(target_id).map(|node| node.row.clone());
    let target_name = target.as_ref().map_or_else(|| target_id.to_string(), |row| row.node_name.clone());
    let primary = held.facts.primaries().next().and_then(|(node, _)| held.session(node.row.node_id));
    let done = changed.announced(context, ClusterAfter { primary_id: None, primary, seen_by: primary }).await;
    let report = done.report?;
    if done.acted {
        context.ui.say(Level::Notice, &format!("node \"{name}\" streams from \"{target_name}\""));
    } else if !context.options.dry_run {
        context.ui.say(
            Level::Notice,
            &format!("node \"{name}\" already follows \"{target_name}\"; nothing was changed"),
        );
    }
    Ok(report)
}

/// Finds the cluster, and if it was asked to wait, until there is a node to follow.
async fn wait_for_target(context: &Context, args: &Args) -> Result<discovery::Discovered> {
    let until = match args.wait {
        None => Instant::now(),
        Some(0) => Instant::now() + context.config()?.primary_follow_timeout,
        Some(seconds) => Instant::now() + Duration::from_secs(u64::from(seconds)),
    };
    loop {
        let found = discovery::cluster(context).await?;
        let there = match args.upstream_node_id {
            Some(id) => found.facts.node(id).is_some_and(|node| node.facts().is_some()),
            None => found.facts.primaries().next().is_some(),
        };
        if there || Instant::now() >= until {
            return Ok(found);
        }
        sleep(LOOK).await;
    }
}

/// Returns the words of a command line that say whom to follow.
fn target_words(words: &[String]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--upstream-node-id" {
            return words.next().cloned();
        } else if let Some(value) = word.strip_prefix("--upstream-node-id=") {
            return Some(value.to_string());
        }
    }
    None
}

fn postgres(context: &Context) -> Result<String> {
    let config = context.config()?;
    let DirectoryContents::DataDirectory { major, .. } = inspect_directory(&config.data_directory) else {
        return Err(Error::failed(format!(
            "there is no data directory \"{}\"",
            config.data_directory.display()
        ))
        .detail("Nothing was changed.")
        .hint("Correct data_directory in the configuration."));
    };
    context.installation_of(config, major).required_tool("postgres")
}

/// Tries the connection that the WAL receiver will make; where it makes no sense to try, other checks say why.
async fn login(
    context: &Context,
    held: &LockedCluster,
    node_id: i32,
    target_id: i32,
) -> std::result::Result<(), String> {
    let nodes = (held.facts.node(node_id), held.facts.node(target_id));
    let (Some(own), Some(target)) = nodes else { return Ok(()) };
    match own.facts() {
        Some(server) if target.facts().is_some() && node_id != target_id => {
            replication_login::to_follow(context, &upstream(&target.row, &own.row, server.version_num, None))
                .await
                .map_err(|no| no.why)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::target_words;

    #[test]
    fn the_target_is_found_in_either_form() {
        let words = |line: &str| target_words(&line.split(' ').map(str::to_string).collect::<Vec<_>>());
        assert_eq!(words("pgbaton standby follow --upstream-node-id 3 -v").as_deref(), Some("3"));
        assert_eq!(words("pgbaton standby follow --upstream-node-id=3").as_deref(), Some("3"));
        assert_eq!(words("pgbaton standby follow"), None);
    }
}
