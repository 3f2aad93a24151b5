//! `cluster show`: all nodes, what they are, and what to type next.

use std::time::Duration;

use crate::cli::cluster::Show as Args;
use crate::commands::context::Context;
use crate::commands::{locate, operation};
use crate::error::{Error, Exit, Result};
use crate::facts::assess::{State, Viewpoint, assess};
use crate::output::{Data, Format, Report, render};
use crate::system::signals::Signals;

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
    loop {
        let report = once(context).await?;
        let text = render(&context.command, &report, context.style)?;
        if context.style.format == Format::Table {
            // Clears the screen and goes to its top, so that the newest picture is the only one.
            let stamp = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
            context.ui.answer(&format!("\x1b[2J\x1b[H{stamp}, every {seconds} s\n\n{text}\n"));
            for issue in &report.issues {
                context.ui.issue(issue);
            }
        } else {
            context.ui.answer(&text);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {}
            _ = signals.next() => {
                // The last picture stands on the screen already.
                return Ok(Report { data: Data::Nothing, ..report });
            }
        }
    }
}

async fn once(context: &Context) -> Result<Report> {
    let found = locate::cluster(context).await?;
    let config = context.config_if_any()?;
    let view = Viewpoint {
        now: found.now,
        topology: found.topology.as_ref(),
        lag_warning_s: config.map_or(300.0, |config| config.replication_lag_warning.as_secs_f64()),
        unfinished_operation: operation::unfinished_id(context),
        local_node_id: config.map(|config| config.node_id),
    };
    let (report, issues) = assess(&found.facts, &view);
    let healthy = report.cluster.state == State::Healthy;
    Ok(Report {
        exit: if healthy { Exit::Done } else { Exit::Issues },
        changed: false,
        data: Data::Cluster(Box::new(report)),
        issues,
    })
}
