//! What `--demote` and `guard_on_unknown = "demote"` do: the server comes up as a standby.

use serde_json::{Value, json};

use crate::assess::history::{Relation, relation_of};
use crate::assess::start::Stance;
use crate::cli::node::Guard as Args;
use crate::commands::node::guard::GuardJudgement;
use crate::context::Context;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::branch::Fork;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::facts::role;
use crate::facts::server::ServerFacts;
use crate::observe::next_start;
use crate::observe::own_node::{own_row, secrets_of};
use crate::observe::own_operations::own_interrupted;
use crate::operation::carry_out::{RunOptions, carry_out};
use crate::output::{Data, Report};
use crate::pg::conninfo::Conninfo;
use crate::pg::history::parse_history;
use crate::plan::guard::{Demotion, NewPrimary, keep_standby, plan};
use crate::registry::NodeType;
use crate::secret::Secrets;
use crate::ui::Level;

/// Makes the server a standby of the newer primary, as far as there is one.
pub(super) async fn to_standby(context: &Context, judged: &GuardJudgement) -> Result<Report> {
    let cluster = judged.cluster();
    let primary = newer_primary(judged, &cluster);
    let relation = match primary.and_then(NodeFacts::facts) {
        Some(server) => Some(relation(judged, server).await),
        None => None,
    };
    let to = match primary {
        Some(primary) => {
            let diverged = matches!(relation, Some(Relation::Forked { .. }));
            Some(new_primary(context, judged, primary, diverged).await?)
        }
        None => None,
    };
    let done = demote(context, judged, &cluster, to).await?;
    let name = &judged.own.node_name;
    let failed = done.failed.as_ref().map(Error::to_string).map(|text| sentence(&text));
    let (level, text, detail, hint) = match (primary, &relation, failed) {
        (_, _, Some(failed)) => (
            Level::Warning,
            format!("node \"{name}\" will start as a standby, but it was not pointed at the primary"),
            failed,
            Some("After it has started, run \"pgbaton node rejoin\" on it."),
        ),
        (None, ..) => (
            Level::Warning,
            format!("node \"{name}\" will start as a standby without an upstream: no newer primary responds"),
            judged.evidence(),
            Some("When there is a primary, run \"pgbaton node rejoin\" on this node."),
        ),
        (Some(primary), Some(Relation::Forked { evidence, .. }), None) => (
            Level::Warning,
            format!(
                "node \"{name}\" will start as a standby of \"{}\", but cannot stream until it is rejoined",
                primary.row.node_name
            ),
            format!("It has diverged from the primary. {}", evidence.sentence(&primary.row.node_name)),
            Some("After it has started, run \"pgbaton node rejoin\" on it."),
        ),
        (Some(primary), Some(Relation::Unknown(why)), None) => (
            Level::Warning,
            format!("node \"{name}\" will start as a standby of \"{}\"", primary.row.node_name),
            format!("It cannot be determined whether it has diverged from the primary. {why}"),
            Some("If it does not stream, run \"pgbaton node rejoin\" on it."),
        ),
        (Some(primary), ..) => (
            Level::Notice,
            format!("node \"{name}\" will start as a standby of \"{}\"", primary.row.node_name),
            judged.evidence(),
            Some("If it does not stream after its start, run \"pgbaton node rejoin\" on it."),
        ),
    };
    if !context.options.dry_run {
        context.ui.message(level, &text, Some(&detail), hint);
    }
    let diverged = match relation {
        Some(Relation::Forked { .. }) => Some(true),
        Some(Relation::Same) => Some(false),
        _ => None,
    };
    let more = json!({ "to_node_id": primary.map(|node| node.row.node_id), "parted": diverged });
    Ok(done.report(judged, "newer_primary", more))
}

/// Reports a demotion that an earlier run has begun and not finished: `standby.signal` is its first step, and may be all that was done.
pub(super) fn report_interrupted(context: &Context) -> Result<()> {
    if own_interrupted(context).is_some() {
        context.ui.message(
            Level::Warning,
            &format!(
                "node \"{}\" starts as a standby, but may not be pointed at the primary",
                context.config()?.node_name
            ),
            Some("Its demotion was interrupted."),
            Some("After it has started, run \"pgbaton node rejoin\" on it."),
        );
    }
    Ok(())
}

/// Looks for what would end the recovery of a server that has `standby.signal`: it starts as a standby, and must not become a primary by
/// itself. With `--demote` that is cleared, else reported.
pub(super) async fn ensure_stays_standby(context: &Context, args: &Args) -> Result<()> {
    let config = context.config()?;
    let next =
        next_start::inspect_next_start(&config.data_directory, context.config_directory(config).as_deref());
    let row = own_row(config, NodeType::Standby, None, None);
    let Some(plan) = keep_standby(&row, &config.data_directory, &next) else { return Ok(()) };
    let failed = match args.demote {
        true => carry_out(context, &plan, RunOptions::new(context, Secrets::new())).await.report.err(),
        false => None,
    };
    if args.demote && failed.is_none() {
        return Ok(());
    }
    let name = &config.node_name;
    let listed: Vec<String> = next.settings.stops().into_iter().map(ToString::to_string).collect();
    let detail = [
        failed.map(|error| sentence(&error.to_string())),
        next.settings.unread.as_deref().map(sentence),
        (!listed.is_empty()).then(|| format!("{}.", listed.join(", "))),
    ];
    context.ui.message(
        Level::Warning,
        &format!("node \"{name}\" starts as a standby, but may promote itself"),
        Some(&detail.into_iter().flatten().collect::<Vec<_>>().join(" ")),
        Some("Settings of a past recovery are cleared by \"pgbaton node start\" and \"pgbaton node guard --demote\"."),
    );
    Ok(())
}

/// Makes the server a standby without an upstream: read-only it does no harm.
pub(super) async fn without_primary(
    context: &Context,
    judged: &GuardJudgement,
    reason: &str,
    detail: &str,
) -> Result<Report> {
    let done = demote(context, judged, &judged.cluster(), None).await?;
    if !context.options.dry_run {
        context.ui.message(
            Level::Warning,
            &format!(
                "node \"{}\" will start as a standby without an upstream: it cannot be determined whether there is a newer primary",
                judged.own.node_name
            ),
            Some(&format!("{detail} guard_on_unknown is \"demote\".")),
            Some(
                "If it should be the primary again, run \"pgbaton standby promote\" on it. If another node is the primary, run \"pgbaton \
                 node rejoin\" on it.",
            ),
        );
    }
    Ok(done.report(judged, reason, json!({ "on_unknown": "demote", "to_node_id": null, "parted": null })))
}

/// Returns the node that accepts writes, of several the one on the newest timeline. One on an older timeline than ours is no newer primary.
fn newer_primary<'a>(judged: &GuardJudgement, cluster: &'a ClusterFacts) -> Option<&'a NodeFacts> {
    let is_primary = |node: &&NodeFacts| {
        let said = |opinion: &crate::assess::start::Opinion| {
            opinion.node_id == Some(node.row.node_id) && opinion.is_primary && opinion.says == Stance::Opposes
        };
        let timeline = node.facts().map(|server| server.timeline);
        judged.opinions.iter().any(said) && timeline >= Some(judged.local.timeline)
    };
    let primaries = cluster.nodes.iter().filter(is_primary);
    primaries.max_by_key(|node| node.facts().map(|server| server.timeline))
}

/// Compares the local history with that of the primary.
async fn relation(judged: &GuardJudgement, server: &ServerFacts) -> Relation {
    let switches = server
        .lineage
        .as_ref()
        .and_then(|lineage| lineage.history.as_deref())
        .and_then(|text| parse_history(text).ok());
    let fork = switches.map_or(Fork::None, |switches| judged.local.fork_from(&switches, server.timeline));
    let mut local = judged.local.clone();
    let measured = tokio::task::spawn_blocking(move || local.find_end(fork).map(|()| local));
    let local = match measured.await {
        Ok(Ok(local)) => local,
        Ok(Err(error)) => return Relation::Unknown(sentence(&format!("{error:#}"))),
        Err(_) => return Relation::Unknown("Its WAL could not be read.".into()),
    };
    relation_of(&local.branch(), &server.into())
}

async fn new_primary(
    context: &Context,
    judged: &GuardJudgement,
    primary: &NodeFacts,
    diverged: bool,
) -> Result<NewPrimary> {
    let config = context.config()?;
    let role = async {
        let session = context.connect(&Conninfo::parse(&primary.row.conninfo).ok()?).await.ok()?;
        role::query_role_facts(&session).await.ok()
    };
    let role = role.await;
    let installation = context.installation_of(config, judged.local.major);
    let postgres =
        installation.required_tool("postgres").map_err(|error| Error { exit: Exit::CannotTell, ..error })?;
    Ok(NewPrimary {
        use_slot: config.use_replication_slots,
        may_make_slot: role.as_ref().is_some_and(|role| role.may_replicate),
        settings: role.map(|role| role.settings),
        diverged,
        postgres,
        config_directory: context.config_directory(config),
        node: primary.clone(),
    })
}

/// What became of it. With `standby.signal` in place the server may start, whatever else has failed.
struct Demoted {
    report: Report,
    failed: Option<Error>,
}

async fn demote(
    context: &Context,
    judged: &GuardJudgement,
    cluster: &ClusterFacts,
    to: Option<NewPrimary>,
) -> Result<Demoted> {
    let config = context.config()?;
    let recorded = cluster.node(config.node_id).map(|node| node.row.clone());
    let demotion = Demotion {
        row: recorded.unwrap_or_else(|| judged.own.clone()),
        data_directory: config.data_directory.clone(),
        next: next_start::inspect_next_start(
            &config.data_directory,
            context.config_directory(config).as_deref(),
        ),
        to,
    };
    let secrets: Secrets = secrets_of(cluster);
    match carry_out(context, &plan(&demotion), RunOptions::new(context, secrets)).await.report {
        Ok(report) => Ok(Demoted { report, failed: None }),
        Err(error) if config.data_directory.join(STANDBY_SIGNAL).exists() => {
            let data = error.data.clone();
            let report = Report { changed: true, ..Report::new(Data::Done(data)) };
            Ok(Demoted { report, failed: Some(error) })
        }
        Err(mut error) => {
            // The question was answered: only nothing could be done about it.
            let (exit, decision, reason) = match judged.evidence().as_str() {
                "" => (Exit::CannotTell, "unknown", "too_few_answers"),
                _ => (Exit::SecondPrimary, "refuse", "newer_primary"),
            };
            error.exit = exit;
            let mut data = judged.data(decision, reason);
            join(&mut data, &error.data);
            error.data = data;
            Err(error.detail(judged.evidence()))
        }
    }
}

impl Demoted {
    fn report(self, judged: &GuardJudgement, reason: &str, more: Value) -> Report {
        let mut data = judged.data("demote", reason);
        join(&mut data, &more);
        let Report { changed, issues, data: done, .. } = self.report;
        match done {
            Data::Done(done) => join(&mut data, &done),
            // A dry run shows its plan. Nothing was demoted, so it is no yes to a start.
            plan @ Data::Plan(_) => {
                let exit = if reason == "newer_primary" { Exit::SecondPrimary } else { Exit::CannotTell };
                return Report { exit, changed, issues, ..Report::new(plan) };
            }
            _ => {}
        }
        Report { changed, issues, ..Report::new(Data::Done(data)) }
    }
}

fn join(data: &mut Value, more: &Value) {
    if let (Some(data), Some(more)) = (data.as_object_mut(), more.as_object()) {
        data.extend(more.clone());
    }
}
