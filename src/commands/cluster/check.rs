//! `cluster check`: all checks on all nodes at once, and one verdict.

use crate::assess::checks::{Evidence, judge};
use crate::assess::cluster::Viewpoint;
use crate::cli::check::ClusterCheck as Args;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Issue, Result};
use crate::facts::check_name::CheckName;
use crate::observe::hosts::{Deadlines, exit, hosts, reported, thresholds};
use crate::observe::{discovery, own_operations};
use crate::output::check::{CheckReport, Layout};
use crate::output::{Data, Report};
use crate::plan::parts::announce;

/// Checks all nodes.
///
/// # Errors
/// Those of finding the cluster; what is wrong with it is no error but the verdict.
pub async fn run(context: &Context, args: &Args) -> Result<Report> {
    let deadlines = Deadlines::new(context);
    let usual: Vec<CheckName> = CheckName::ALL.iter().copied().filter(|name| name.is_usual()).collect();
    let (found, more) = discovery::cluster_for_checks(context, &usual, deadlines.servers).await?;
    let answers = hosts(context, &found, &more, &usual, !args.no_ssh, deadlines.hosts()).await;
    let (hosts, notice) = reported(&found, answers);
    let config = context.config_if_any()?;
    let thresholds = thresholds(config);
    let view = Viewpoint {
        now: found.now,
        topology: found.topology.as_ref(),
        lag_warning_s: thresholds.lag_s.0,
        own_operation: own_operations::own_seen(context).map(|own| (own.operation_id, own.process)),
        local_node_id: config.map(|config| config.node_id),
        local_server: found.local.as_ref(),
        copies: &found.copies,
        operations: &found.operations,
        automatic: config.is_some_and(Config::fails_over_by_daemon),
    };
    let evidence = Evidence {
        facts: &found.facts,
        view: &view,
        asked: &more.asked,
        hosts: &hosts,
        thresholds: &thresholds,
    };
    let mut findings = judge(&evidence, &usual, None, None);
    let not_recorded = more.metadata.as_ref().and_then(announce::not_recorded);
    findings.issues.extend(not_recorded.map(|check| Issue::warning("operations_not_recorded", check.text)));
    let layout = if args.nagios { Layout::ClusterNagios } else { Layout::Cluster };
    let mut report = CheckReport::of_cluster(&findings, found.now, layout);
    report.thresholds(&thresholds);
    let issues = findings.issues.into_iter().chain(notice).collect();
    Ok(Report { exit: exit(report.verdict), changed: false, data: Data::Checks(Box::new(report)), issues })
}
