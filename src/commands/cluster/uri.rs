//! `cluster uri`: one connection string for clients, with all nodes in it.

use super::show::viewpoint;
use crate::assess::clients::{clients, concerns_clients};
use crate::assess::cluster::assess;
use crate::cli::cluster::{Syntax as AsTyped, Uri as Args, Wanted as Role};
use crate::context::Context;
use crate::error::{Error, Exit, Result, Severity};
use crate::observe::discovery;
use crate::output::client_string::{ClientString, Syntax, WantedServer};
use crate::output::{Data, Report};

/// Finds the nodes and writes the string.
///
/// # Errors
/// Those of finding the cluster; exit code 1 if no node can be named. What makes the string doubtful is no error but in the report (exit
/// code 25).
pub async fn run(context: &Context, args: Args) -> Result<Report> {
    let found = discovery::cluster(context).await?;
    let (report, of_the_cluster) = assess(&found.facts, &viewpoint(context, &found)?);
    let primary = report.cluster.primary_node_id;
    let clients = clients(&found.facts, primary, args.syntax == AsTyped::Jdbc);
    let mut issues: Vec<_> = of_the_cluster.into_iter().filter(concerns_clients).collect();
    issues.extend(clients.issues.iter().cloned());
    if clients.hosts.is_empty() {
        return Err(Error::failed("there is no node that a connection string could name").issues(issues));
    }
    let doubtful = issues.iter().any(|issue| issue.severity > Severity::Notice);
    let role = match args.role {
        Role::Primary => WantedServer::Primary,
        Role::Standby => WantedServer::Standby,
        Role::PreferStandby => WantedServer::PreferStandby,
        Role::Any => WantedServer::Any,
    };
    let syntax = match args.syntax {
        AsTyped::Uri => Syntax::Uri,
        AsTyped::Keyword => Syntax::Keyword,
        AsTyped::Jdbc => Syntax::Jdbc,
    };
    let string = ClientString::new(clients, role, syntax, primary, report.cluster.observed_at);
    Ok(Report {
        exit: if doubtful { Exit::Issues } else { Exit::Done },
        changed: false,
        data: Data::ClientString(Box::new(string)),
        issues,
    })
}
