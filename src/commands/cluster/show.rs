//! `cluster show`: all nodes, what they are, and what to type next.

use std::time::Duration;

use crate::assess::cluster::{State, Viewpoint, assess};
use crate::cli::cluster::Show as Args;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::observe::discovery::{self, Discovered};
use crate::observe::own_operations;
use crate::output::{Data, Format, Report, render, render_error};
use crate::pg::conninfo::Conninfo;
use crate::registry::NodeType;
use crate::registry::monitoring::{self, Monitoring};
use crate::system::signals::{Signal, Signals};

/// Shows the cluster, once or again and again.
///
/// # Errors
/// Those of finding the cluster; what is wrong with it is no error but in the report (exit code 25).
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let Some(seconds) = args.watch else { return once(context).await };
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err(Error::failed(format!("invalid interval {seconds} for --watch"))
            .detail("It is a number of seconds from 0.1 to 86400."));
    }
    let signals = Signals::take_over()
        .map_err(|error| Error::from_cause(Exit::Internal, "could not listen for signals", &error))?;
    let mut last: Option<Exit> = None;
    // Reported once, when the configuration is read, but part of every document, as of that of a single run.
    let mut of_configuration = Vec::new();
    loop {
        let seen = tokio::select! {
            seen = once(context) => seen,
            signal = signals.next() => return stopped(last, signal),
        };
        match (seen, last) {
            (Ok(mut report), _) => {
                of_configuration.extend(context.take_warnings());
                if context.style.format == Format::Json {
                    report.issues.splice(0..0, of_configuration.iter().cloned());
                }
                draw_screen(context, &report, seconds)?;
                last = Some(report.exit);
            }
            // What is wrong from the start is no change to watch for.
            (Err(error), None) => return Err(error),
            (Err(mut error), Some(_)) => {
                context.ui.error(&error);
                error.issues.splice(0..0, of_configuration.iter().cloned());
                if context.style.format == Format::Json {
                    let _gone = context.ui.answer(&render_error(context.verb.words(), &error));
                }
                last = Some(error.exit);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {}
            signal = signals.next() => return stopped(last, signal),
        }
    }
}

/// Ends the watching: with the exit code of the last picture, which stands on the screen already.
fn stopped(last: Option<Exit>, signal: Signal) -> Result<Report> {
    let exit = last.unwrap_or(match signal {
        Signal::Int => Exit::Interrupted,
        Signal::Term => Exit::Terminated,
    });
    Ok(Report { exit, ..Report::new(Data::Nothing) })
}

/// Shows one picture, with all that is said about it.
fn draw_screen(context: &Context, report: &Report, seconds: f64) -> Result<()> {
    let text = render(context.verb.words(), report, context.style)?;
    if context.style.format != Format::Table {
        let _gone = context.ui.answer(&text);
        return Ok(());
    }
    let stamp = jiff::ZonedDateTime::now().strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    // On a terminal the newest picture is the only one.
    context.ui.clear();
    let _gone = context.ui.answer(&format!("{stamp}, every {seconds} s\n\n{text}\n"));
    for issue in &report.issues {
        context.ui.issue(issue);
    }
    if let Data::Cluster(cluster) = &report.data {
        context.ui.verdict(cluster);
    }
    Ok(())
}

async fn once(context: &Context) -> Result<Report> {
    let found = discovery::cluster_and_operations(context).await?;
    let view = viewpoint(context, &found)?;
    let (mut report, issues) = assess(&found.facts, &view);
    if context.style.verbose {
        report.monitoring = recorded(context, &found.facts).await;
    }
    let healthy = report.cluster.state == State::Healthy;
    Ok(Report {
        exit: if healthy { Exit::Done } else { Exit::Issues },
        changed: false,
        data: Data::Cluster(Box::new(report)),
        issues,
    })
}

/// Returns what a verdict about the cluster depends on besides the facts, by the configuration of this host.
///
/// # Errors
/// Those of the configuration.
pub(super) fn viewpoint<'a>(context: &'a Context, found: &'a Discovered) -> Result<Viewpoint<'a>> {
    let config = context.config_if_any()?;
    Ok(Viewpoint {
        now: found.now,
        topology: found.topology.as_ref(),
        lag_warning_s: config.map_or(300.0, |config| config.replication_lag_warning.as_secs_f64()),
        own_operation: own_operations::own_seen(context).map(|own| (own.operation_id, own.process)),
        local_node_id: config.map(|config| config.node_id),
        local_server: found.local.as_ref(),
        copies: &found.copies,
        operations: &found.operations,
        automatic: config.is_some_and(Config::fails_over_by_daemon),
    })
}

/// Reads what a daemon recorded last of the standbys: on the primary, or else on any node that answers.
///
/// Only the detailed output waits for it, and no command fails for it.
async fn recorded(context: &Context, facts: &ClusterFacts) -> Option<Vec<Monitoring>> {
    let has_it = |node: &&NodeFacts| node.facts().is_some() && node.row.node_type != NodeType::Witness;
    let primary = facts.primaries().next().map(|(node, _)| node);
    let node = primary.or_else(|| facts.nodes.iter().find(has_it))?;
    let session = context.connect(&Conninfo::parse(&node.row.conninfo).ok()?).await.ok()?;
    match monitoring::newest(&session).await {
        Ok(recorded) => recorded,
        Err(error) => {
            context.debug(&format!("could not read the monitoring history: {error}"));
            None
        }
    }
}
