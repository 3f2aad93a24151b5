//! `primary register`: make the metadata if it is missing, and record this server as the primary.

use crate::commands::context::Context;
use crate::commands::notify::{Happening, notify};
use crate::commands::world::Secrets;
use crate::commands::{locate, operate, superuser};
use crate::config::Config;
use crate::error::{Error, Exit, Result, sentence};
use crate::facts::cluster::{ClusterFacts, gather};
use crate::facts::server;
use crate::output::Report;
use crate::output::ui::Level;
use crate::pg::client::SqlError;
use crate::pg::conninfo::Conninfo;
use crate::plan::Endpoint;
use crate::plan::register::{Options, PrimaryFacts, primary};
use crate::registry::schema::{self, Verdict};
use crate::registry::{NodeRow, NodeType, node};
use crate::secret::Secret;

/// Registers the local server as the primary.
///
/// # Errors
/// Exit code 6 without a connection, 31 beside another primary, 1 for any other failed check, 7 if the metadata cannot be written.
pub async fn run(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let session = context.connect_local().await?;
    let whom = format!("node \"{}\"", config.node_name);
    let broken = |error: SqlError| {
        Error::new(Exit::Query, format!("could not ask {whom}")).detail(sentence(&error.to_string()))
    };
    let local = server::ask(&session).await.map_err(broken)?;
    context.is_of_cluster(&local.system_identifier)?;
    let present = schema::look(&session).await.map_err(broken)?;
    let mut known = Secrets::new();
    let superuser = if local.in_recovery || present.lacking().is_empty() {
        None
    } else {
        superuser::connect(context, &context.local_conninfo()?, &whom, &mut known).await?
    };
    // Nobody is registered unseen: where the role cannot read who else there is, the superuser does.
    let reader = match &superuser {
        Some(superuser) => Some(&superuser.session),
        None => {
            Some(&session).filter(|_| present.closed_schemas.is_empty() && present.closed_tables.is_empty())
        }
    };
    let (cluster, lacks_term) = match (present.verdict(), reader) {
        (Verdict::Complete | Verdict::OwnMissing, Some(reader)) => {
            let rows = node::read_all(reader).await.map_err(broken)?;
            let cluster = gather(&rows, &[], &context.environment, context.node_deadline()).await;
            (cluster, schema::lacks_term(reader).await.map_err(broken)?)
        }
        _ => (ClusterFacts::default(), false),
    };
    let old = cluster.node(config.node_id).map(|node| node.row.clone());
    let row = own_row(config, NodeType::Primary, None, old.as_ref().and_then(|row| row.slot_name.clone()));
    let on = local_endpoint(config);
    let superuser = superuser.map(|superuser| superuser.on);
    let facts = PrimaryFacts { local, present, lacks_term, superuser, cluster };
    let options = Options { force: context.global.force, wait_sync_s: None, ..Options::default() };
    let plan = primary(&facts, &row, &on, options);
    let made = facts.present.verdict() == Verdict::Missing;
    known.extend(secrets(config, &row));
    let result = operate::carry_out(context, &plan, known).await;
    let acted = match &result {
        Ok(done) => done.acted,
        Err(error) => error.changed,
    };
    if acted {
        if made && result.is_ok() {
            let event = Happening { event: "cluster_created", successful: true, ..Happening::default() };
            notify(context, Some(&session), &event).await;
        }
        let details = match &result {
            Ok(_) => format!("node \"{}\" (ID {}) registered as primary", row.node_name, row.node_id),
            Err(error) => error.to_string(),
        };
        let event = Happening {
            event: "primary_register",
            successful: result.is_ok(),
            details,
            ..Happening::default()
        };
        notify(context, Some(&session), &event).await;
    }
    let done = result?;
    if done.acted {
        context.ui.say(
            Level::Notice,
            &format!("node \"{}\" (ID {}) is registered as primary", row.node_name, row.node_id),
        );
        if let Ok(facts) = locate::from_session(context, &session, &whom).await {
            locate::remember(context, &facts, crate::plan::journal::now());
        }
    } else if !context.global.dry_run {
        context.ui.say(
            Level::Notice,
            &format!(
                "node \"{}\" (ID {}) is registered as primary already; nothing was changed",
                row.node_name, row.node_id
            ),
        );
    }
    Ok(done.report)
}

/// Returns the row that the configuration describes.
pub fn own_row(config: &Config, node_type: NodeType, upstream: Option<i32>, slot: Option<String>) -> NodeRow {
    let user = || Conninfo::parse(&config.conninfo).ok()?.get("user").map(str::to_string);
    NodeRow {
        node_id: config.node_id,
        upstream_node_id: upstream,
        active: true,
        node_name: config.node_name.clone(),
        node_type,
        location: config.location.clone(),
        priority: i32::try_from(config.priority).unwrap_or(i32::MAX),
        conninfo: config.conninfo.clone(),
        repluser: config.replication_user.clone().or_else(user).unwrap_or_else(|| "repmgr".into()),
        slot_name: config
            .use_replication_slots
            .then(|| slot.unwrap_or_else(|| node::slot_name(config.node_id))),
        config_file: config.file().display().to_string(),
    }
}

/// Names the local server as a place to run statements.
pub fn local_endpoint(config: &Config) -> Endpoint {
    let secret = node::holds_secret(&config.conninfo).then(|| node::conninfo_secret(config.node_id));
    let conninfo = Conninfo::parse(&config.conninfo)
        .map(|parsed| parsed.without_secrets().to_string())
        .unwrap_or_default();
    Endpoint { name: format!("node \"{}\"", config.node_name), conninfo, secret }
}

/// Returns the secrets that plans about registered nodes name: conninfos that hold a password.
pub fn secrets(config: &Config, row: &NodeRow) -> Secrets {
    let mut out = Secrets::new();
    for conninfo in [&row.conninfo, &config.conninfo] {
        if node::holds_secret(conninfo) {
            out.insert(node::conninfo_secret(row.node_id), Secret::new(conninfo));
        }
    }
    out
}

/// Returns the secrets in the rows of a whole cluster: conninfos that hold a password, and those passwords.
pub fn secrets_of(cluster: &ClusterFacts) -> Secrets {
    let mut out = Secrets::new();
    for row in cluster.nodes.iter().map(|node| &node.row).filter(|row| node::holds_secret(&row.conninfo)) {
        out.insert(node::conninfo_secret(row.node_id), Secret::new(&row.conninfo));
        let parsed = Conninfo::parse(&row.conninfo).ok();
        if let Some(password) = parsed.as_ref().and_then(|parsed| parsed.get("password")) {
            out.insert(node::password_secret(row.node_id), Secret::new(password));
        }
    }
    out
}
