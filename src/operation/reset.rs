//! `service reset`: the daemon of this node begins anew, as paused, with nothing promised to others.
//!
//! What a flag on disk promises binds a node also where the others are gone for good. Only an operator can say that they are: so all daemons are
//! stopped, nodes that do not respond are named as switched off, and at most one server accepts writes. The number of the pause that this node
//! is in from then on is above all that any leader has issued, because leaders issue numbers of their own timeline only.

use pgbaton_fencer::protocol::{Client, Request};
use pgbaton_fencer::run::SOCKET;
use pgbaton_lease::{Epoch, Flag};
use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::ClusterFacts;
use crate::facts::daemon_flag::{self as flag, Found, Promise};
use crate::observe::daemons::{NodeDaemons, named_off};
use crate::observe::local_daemon::{self, LocalDaemon, belongs, runtime_directory};
use crate::output::{Data, Report};
use crate::pg::control_file;
use crate::registry::NodeType;
use crate::ui::Level;

const UNCHANGED: &str = "Nothing was changed.";

/// Resets the daemon of this node.
///
/// # Errors
/// Exit code 1 while a daemon runs, or a node neither responds nor is named; 31 if two servers accept writes; 5 if the state cannot be written.
pub async fn reset(
    context: &Context,
    facts: &ClusterFacts,
    nodes: &[NodeDaemons],
    proven_off: &[String],
) -> Result<Report> {
    let config = context.config()?;
    let off = named_off(nodes, proven_off)?;
    let running: Vec<String> = nodes
        .iter()
        .filter(|node| {
            nodes
                .iter()
                .filter_map(|on| on.seen.as_ref())
                .any(|(_, seen)| seen.of(node.row.node_id).is_some())
        })
        .map(|node| format!("\"{}\"", node.row.node_name))
        .collect();
    let here = local_daemon::find(&runtime_directory(config, context.environment.uid)).await;
    if !running.is_empty() || here != LocalDaemon::Absent {
        let detail = match running.is_empty() {
            true => "The daemon of this node runs.".to_string(),
            false => format!("Daemons run on: {}.", running.join(", ")),
        };
        return Err(Error::failed("not all daemons are stopped")
            .detail(format!("{detail} {UNCHANGED}"))
            .hint("Stop them on every node; the fencer of a primary stops its server then. Afterwards run the command again."));
    }
    let unknown: Vec<String> = nodes
        .iter()
        .filter(|node| node.row.node_type != NodeType::Witness && node.row.node_id != config.node_id)
        .filter(|node| node.seen.is_none() && !off.iter().any(|row| row.node_id == node.row.node_id))
        .map(|node| node.row.node_name.clone())
        .collect();
    if !unknown.is_empty() {
        return Err(Error::failed("it is not known whether all daemons are stopped")
            .detail(format!("These nodes do not respond: {}. {UNCHANGED}", unknown.join(", ")))
            .hint(format!(
                "If they are switched off, say so: \"pgbaton service reset --proven-off {}\".",
                unknown.join(",")
            )));
    }
    let primaries: Vec<&str> = facts.primaries().map(|(node, _)| node.row.node_name.as_str()).collect();
    if let [one, other, ..] = primaries[..] {
        return Err(Error::new(Exit::SecondPrimary, "two servers accept writes")
            .detail(format!("They are those of node \"{one}\" and node \"{other}\". {UNCHANGED}")));
    }
    let control = control_file::read(&config.data_directory).map_err(|error| {
        Error::from_cause(Exit::LocalCommand, "the data directory of this node cannot be read", &error)
    })?;
    let state = context.state_directory()?;
    let belongs = belongs(config, &control.system_identifier.to_string());
    // What cannot be understood is given up as well.
    let before = match flag::load(&state, &belongs) {
        Ok(Found::Own(promise)) => promise.epoch.timeline,
        _ => 0,
    };
    let seen = facts.nodes.iter().filter_map(|node| node.facts()).map(|server| server.timeline.0);
    let timeline = seen.chain([control.timeline.0, before]).max().unwrap_or(before) + 1;
    let epoch = Epoch { timeline, counter: 0, op: 0 };
    if context.options.dry_run {
        context.ui.say(Level::Info, "the daemon of this node would begin anew, as paused");
        return Ok(Report::new(Data::Done(json!({ "state": "paused" }))));
    }
    std::fs::create_dir_all(&state)
        .map_err(anyhow::Error::from)
        .and_then(|()| flag::save(&state, &belongs, Promise { flag: Flag::Full, epoch, unbound: true }))
        .map_err(|error| {
            Error::from_cause(Exit::LocalCommand, "the state of the daemon cannot be written", &error)
        })?;
    disarm(context)?;
    context.ui.message(
        Level::Notice,
        "the daemon of this node begins anew, as paused",
        Some("This node takes part in no election, and is not stopped by its fencer."),
        Some(
            "Run the same on the other nodes that are left. Then promote one if there is no primary, unregister the nodes that are gone for good, \
             start the daemons, and run \"pgbaton service unpause\".",
        ),
    );
    Ok(Report { changed: true, ..Report::new(Data::Done(json!({ "state": "paused" }))) })
}

/// Tells a fencer that is left that there is no lease any more: it would stop the server.
fn disarm(context: &Context) -> Result<()> {
    let runtime = runtime_directory(context.config()?, context.environment.uid);
    if !runtime.join(SOCKET).exists() {
        return Ok(());
    }
    let Ok(mut fencer) = Client::connect(&runtime) else { return Ok(()) };
    let told =
        [Request::Disarm, Request::Reset].into_iter().try_for_each(|request| fencer.ask(request).map(drop));
    let is_at_rest = told.and_then(|()| fencer.ask(Request::Status)).map(|answer| answer.deadline.is_none());
    match is_at_rest {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error {
            changed: true,
            ..Error::new(Exit::LocalCommand, "the fencer of this node does not give up its deadline")
                .detail("The state of the daemon is reset, but the fencer stops the server.")
                .hint("End the process pgbaton-fencer of this node.")
        }),
        Err(error) => Err(Error {
            changed: true,
            ..Error::new(Exit::LocalCommand, "the fencer of this node cannot be asked")
                .detail(format!(
                    "{} The state of the daemon is reset, but the fencer may stop the server.",
                    sentence(&error.to_string())
                ))
                .hint("End the process pgbaton-fencer of this node.")
        }),
    }
}
