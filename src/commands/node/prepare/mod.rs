//! `node prepare`: what the local server needs to be in a cluster, and setting it up.

use serde_json::json;

use crate::cli;
use crate::context::Context;
use crate::error::{Exit, Issue, Result};
use crate::observe::prepare;
use crate::operation::carry_out::{RunOptions, carry_out};
use crate::output::prepare::Preparation;
use crate::output::{Data, Report};
use crate::plan::CheckResult;
use crate::plan::prepare::{PrepareAssessment, RequirementStatus};
use crate::ui::Level;

/// Shows what is missing, does it, or prints it for another administrator.
///
/// # Errors
/// Exit code 6 without a connection, 1 for a failed check, 5 or 7 for a failed step.
pub async fn run(context: &Context, args: &cli::node::Prepare) -> Result<Report> {
    let apply = args.apply || (context.options.dry_run && !args.print);
    let request = prepare::Request {
        print: args.print,
        nodes: args.node.clone(),
        networks: args.network.clone(),
        auth_method: args.auth_method.clone(),
        generate_password: args.generate_password,
        no_password: args.no_password,
        archive_command: args.archive_command.clone(),
    };
    let seen =
        prepare::inspect_server(context, &request, apply, &|question| context.ui.ask_password(question))
            .await?;
    let work = PrepareAssessment::of(&seen.facts, &seen.wanted);
    let requirements = work.requirements();
    let met = requirements.iter().all(|requirement| requirement.status == RequirementStatus::Ok);
    let exit = if met { Exit::Done } else { Exit::Issues };
    let restarts = work.restarts();
    let made = work.prepared(&seen.places);
    if !apply {
        // A failed check that has no line in the table would not be seen. The password is asked for when it is set.
        let failed = made.plan.checks.iter().filter(|check| check.stops() && check.name != "password");
        let issues: Vec<Issue> = failed
            .filter(|check| check.name != "superuser" || args.print)
            .map(|check| Issue::warning("not_prepared", check.text.clone()))
            .collect();
        let printed = args.print.then(|| work.printed());
        if printed.is_none() {
            report_next_steps(context, &requirements);
        }
        let exit = if printed.is_some() { Exit::Done } else { exit };
        let preparation = Preparation { requirements, plan: None, files: Vec::new(), printed };
        return Ok(Report { exit, issues, ..Report::new(Data::Preparation(Box::new(preparation))) });
    }
    let mut secrets = seen.secrets;
    secrets.extend(made.secrets);
    let mut done = carry_out(context, &made.plan, RunOptions::new(context, secrets)).await;
    done.add_data(json!({ "requirements": requirements, "pending_restart": restarts }));
    let mut report = done.report?;
    if context.options.dry_run {
        let preparation =
            Preparation { requirements, plan: Some(made.plan), files: made.files, printed: None };
        return Ok(Report { data: Data::Preparation(Box::new(preparation)), ..report });
    }
    let name = &seen.wanted.node_name;
    let cannot = made.plan.checks.iter().any(|check| check.verdict == CheckResult::Warning)
        && requirements.iter().any(|requirement| requirement.status == RequirementStatus::Cannot);
    let text = match (done.acted, cannot) {
        (_, true) => format!("node \"{name}\" is prepared, except for the problems above"),
        (true, false) => format!("node \"{name}\" is prepared"),
        (false, false) => format!("node \"{name}\" is already prepared; nothing was changed"),
    };
    context.ui.say(Level::Notice, &text);
    if !restarts.is_empty() {
        let message = format!("the server has to be restarted, for {}", restarts.join(", "));
        let issue = Issue::warning("restart_needed", message);
        report.issues.push(issue.hint("Run \"pgbaton node restart\" in a maintenance window."));
    }
    if cannot {
        report.exit = Exit::Issues;
    }
    Ok(report)
}

/// Says below the table what to type.
fn report_next_steps(context: &Context, requirements: &[crate::plan::prepare::Requirement]) {
    let with = |status| requirements.iter().filter(move |requirement| requirement.status == status);
    for requirement in with(RequirementStatus::Cannot) {
        context.ui.message(
            Level::Warning,
            &format!("\"{}\" cannot be fixed by pgbaton", requirement.name),
            Some(&format!("It has {}, and needs {}.", requirement.has, requirement.needs)),
            requirement.how.as_deref(),
        );
    }
    let missing = with(RequirementStatus::Missing).count();
    let restarts: Vec<&str> =
        with(RequirementStatus::Restart).map(|requirement| requirement.name.as_str()).collect();
    if missing > 0 {
        context.ui.message(
            Level::Notice,
            &match missing {
                1 => "one requirement is not met".to_string(),
                number => format!("{number} requirements are not met"),
            },
            None,
            Some(
                "\"pgbaton node prepare --apply --dry-run\" shows what would be done, \"pgbaton node prepare --apply\" makes the \
                 changes, and --print prints them for another administrator.",
            ),
        );
    }
    if !restarts.is_empty() {
        context.ui.message(
            Level::Notice,
            &format!("the server has to be restarted, for {}", restarts.join(", ")),
            None,
            Some("Run \"pgbaton node restart\" in a maintenance window."),
        );
    }
}
