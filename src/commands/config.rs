//! `config check` and `config show`.

use crate::config::locate::Places;
use crate::config::show::Shown;
use crate::context::Context;
use crate::error::{Exit, Result, Severity};
use crate::output::{Data, Report};
use crate::pg::conninfo::Conninfo;

/// Reports everything that is wrong with the configuration.
///
/// # Errors
/// Exit code 1 if there is no file.
pub fn check(context: &Context) -> Result<Report> {
    let Some(outcome) = context.read_config()? else { return Err(Places::of_process().not_found().into()) };
    let broken = outcome.problems.iter().any(|problem| problem.severity == Severity::Error);
    Ok(Report {
        exit: if broken { Exit::Failed } else { Exit::Done },
        changed: false,
        issues: outcome.problems.iter().map(crate::config::Problem::issue).collect(),
        data: Data::ConfigChecked(Box::new(outcome)),
    })
}

/// Shows the configuration in force.
///
/// # Errors
/// Exit code 1 if there is no file, or something is wrong with it.
pub fn show(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let shown = Shown::new(config, |conninfo| {
        Conninfo::parse(conninfo).map(|parsed| parsed.without_secrets().to_string()).unwrap_or_default()
    });
    Ok(Report::new(Data::ConfigShown(Box::new(shown))))
}
