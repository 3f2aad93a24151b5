//! The plan of `primary register`. Pure.

use super::{QUERY_S, RegisterOptions, check_unique_names, one_phase_plan, update_witnesses};
use crate::assess::alive::{Alive, alive};
use crate::error::Exit;
use crate::facts::cluster::ClusterFacts;
use crate::facts::server::ServerFacts;
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Endpoint;
use crate::plan::parts::events;
use crate::plan::{Check, Op, Override, Plan, Step};
use crate::registry::schema::{PresentMetadata, SchemaState, first_term};
use crate::registry::{NodeRow, NodeType, node};

/// What `primary register` decides from.
#[derive(Debug)]
pub struct PrimaryFacts {
    /// The local server.
    pub local: ServerFacts,
    /// The metadata as it is.
    pub present: PresentMetadata,
    /// Elections have no term to count from.
    pub lacks_term: bool,
    /// The server as a superuser reaches it, if the role lacks rights and one was named.
    pub superuser: Option<Endpoint>,
    /// All registered nodes, the local one's old row included if there is one.
    pub cluster: ClusterFacts,
}

/// Plans `primary register`.
///
/// `row` is the row to be written, `on` the local server.
pub fn primary(facts: &PrimaryFacts, row: &NodeRow, on: &Endpoint, options: RegisterOptions) -> Plan {
    let name = &row.node_name;
    let mut checks = vec![];
    checks.push(if facts.local.in_recovery {
        Check::fail("server_is_primary", format!("the server of node \"{name}\" is in recovery"))
            .detail("It is a standby, or crash recovery is still running.")
            .hint("To register a standby, run \"pgbaton standby register\".")
    } else {
        Check::pass("server_is_primary", "the server accepts writes")
    });
    // A standby is no primary, whatever else there is to say.
    if !facts.local.in_recovery {
        checks.push(schema(&facts.present, facts.superuser.as_ref()));
        checks.extend(check_unique_names(
            facts.cluster.nodes.iter().map(|node| &node.row),
            row,
            &facts.local,
            &facts.cluster,
            options,
        ));
        checks.extend(other_primaries(&facts.cluster, row, &facts.local, options));
    }

    let PresentMetadata { database, role, .. } = &facts.present;
    let (by, install, title) = match &facts.superuser {
        Some(superuser) => {
            let title = format!("create the metadata schema for role \"{role}\" in database \"{database}\"");
            (superuser, facts.present.install_as_superuser(), title)
        }
        None => {
            (on, facts.present.install(), format!("create the metadata schema in database \"{database}\""))
        }
    };
    let old = facts.cluster.node(row.node_id).map(|node| &node.row);
    let others = facts.cluster.nodes.iter().any(|node| {
        node.row.node_id != row.node_id && node.row.active && node.row.node_type == NodeType::Primary
    });
    let mut steps = Vec::new();
    if !install.is_empty() {
        steps.push(Step::new(
            "make_metadata",
            title,
            Op::Sql { on: by.clone(), statements: install },
            QUERY_S,
            Exit::Query,
        ));
    }
    if facts.lacks_term {
        steps.push(Step::new(
            "set_voting_term",
            "write the first election term",
            Op::Sql { on: on.clone(), statements: vec![first_term()] },
            QUERY_S,
            Exit::Query,
        ));
    }
    let record = vec![node::deactivate_other_primaries(row.node_id), row.upsert()];
    let is_new = old != Some(row) || others;
    if is_new {
        steps.push(Step::new(
            "record_node",
            format!("register node \"{name}\" (ID {}) as primary", row.node_id),
            Op::Sql { on: on.clone(), statements: record.clone() },
            QUERY_S,
            Exit::Query,
        ));
    }
    let mut plan = one_phase_plan(format!("register primary \"{name}\""), checks, steps, vec![]);
    plan.phases.extend(update_witnesses(&facts.cluster, &record).filter(|_| is_new));
    if facts.present.verdict() == SchemaState::Missing {
        plan.notifications.push(events::cluster_created(row.node_id, on));
    }
    plan.notifications.push(events::registered(row, None, on));
    // Before the first registration there is no table to write to.
    plan.announce_on = (facts.present.verdict() == SchemaState::Complete).then(|| on.clone());
    plan
}

/// Checks that the metadata can be made or used.
pub(super) fn schema(present: &PresentMetadata, superuser: Option<&Endpoint>) -> Check {
    const NAME: &str = "metadata_usable";
    let PresentMetadata { database, role, .. } = present;
    match present.verdict() {
        SchemaState::Foreign if present.is_other_version() => {
            let version = present.extension.as_deref().unwrap_or("?");
            Check::fail(
                NAME,
                format!("database \"{database}\" has version {version} of the repmgr extension"),
            )
            .detail("pgbaton works with the tables of repmgr 5.")
            .hint("Install the package of repmgr 5, and run in that database: ALTER EXTENSION repmgr UPDATE;")
        }
        SchemaState::Foreign if present.extension.is_some() => Check::fail(
            NAME,
            format!("the repmgr extension in database \"{database}\" has lost its tables"),
        )
        .detail("Its tables \"nodes\" and \"events\" are missing, or do not have the columns of repmgr 5.")
        .hint("Use another database for the metadata, or drop the extension and create it again."),
        SchemaState::Foreign => {
            Check::fail(NAME, format!("schema \"repmgr\" in database \"{database}\" contains other tables"))
                .detail(
                    "Tables \"nodes\" or \"events\" exist there, but do not have the columns of repmgr 5.",
                )
                .hint("Use another database for the metadata, or rename that schema.")
        }
        _ if !present.missing_privileges().is_empty() && superuser.is_none() => {
            let (deeds, grants): (Vec<String>, Vec<String>) =
                present.missing_privileges().into_iter().unzip();
            let owner = match &present.schema_owner {
                Some(owner) => format!(" Schema \"repmgr\" belongs to \"{owner}\"."),
                None => String::new(),
            };
            Check::fail(
                NAME,
                format!("role \"{role}\" lacks privileges for the metadata in database \"{database}\""),
            )
            .detail(format!("It may not {}.{owner}", deeds.join("; nor ")))
            .hint(format!(
                "Name a superuser with -S, or as one, or as the owner, in that database, run: {}",
                grants.join(" ")
            ))
        }
        _ if !present.missing_privileges().is_empty() => {
            Check::pass(NAME, format!("a superuser can create the metadata schema for role \"{role}\""))
        }
        SchemaState::Complete => Check::pass(NAME, "the metadata schema exists and can be written"),
        _ => Check::pass(NAME, format!("the metadata schema can be created in database \"{database}\"")),
    }
}

/// Checks that there is no other primary; see `assess::alive` for what counts as alive.
fn other_primaries(
    cluster: &ClusterFacts,
    row: &NodeRow,
    local: &ServerFacts,
    options: RegisterOptions,
) -> Vec<Check> {
    const NAME: &str = "no_other_primary";
    let mut checks = Vec::new();
    for other in cluster.nodes.iter().filter(|node| node.row.node_id != row.node_id) {
        let name = &other.row.node_name;
        match &other.server {
            Ok(server) if other.row.node_type == NodeType::Witness => {
                let _own_cluster_of_a_witness = server;
            }
            Ok(server) if server.in_recovery || server.system_identifier != local.system_identifier => {}
            Ok(server) if server.started_at == local.started_at && server.system_identifier == local.system_identifier => {
                checks.push(
                    Check::fail(NAME, format!("node \"{name}\" is this very server"))
                        .node(other.row.node_id)
                        .detail("Both records lead to one running server.")
                        .hint("Unregister one of them, or correct its conninfo."),
                );
            }
            Ok(server) => checks.push(
                Check::fail(NAME, format!("node \"{name}\" is a primary too"))
                    .node(other.row.node_id)
                    .detail(format!(
                        "It accepts writes on timeline {}, and this server on timeline {}.",
                        server.timeline, local.timeline
                    ))
                    .hint("Run \"pgbaton cluster show\" to see which of them is the valid primary, and stop the other one.")
                    .exit(Exit::SecondPrimary),
            ),
            Err(_) if other.row.node_type != NodeType::Primary || !other.row.active => {}
            Err(_) if Conninfo::parse(&other.row.conninfo).is_err() => checks.push(
                Check::fail(NAME, format!("cannot determine whether the registered primary \"{name}\" is alive"))
                    .node(other.row.node_id)
                    .detail("The connection string in its record is invalid, so it could not be queried.")
                    .hint(format!(
                        "Correct it on this server with UPDATE repmgr.nodes SET conninfo = '...' WHERE node_id = {}; or make \
                        sure that its server is stopped, and repeat the command with --force.",
                        other.row.node_id
                    ))
                    .exit(Exit::SecondPrimary)
                    .overridable_by(Override::Force, options.force),
            ),
            Err(_) => match alive(cluster, other) {
                Alive::Yes(why) => checks.push(
                    Check::fail(NAME, format!("the registered primary \"{name}\" is alive"))
                        .node(other.row.node_id)
                        .detail(why)
                        .hint("Fix the connection to it, or stop it, then try again.")
                        .exit(Exit::SecondPrimary),
                ),
                Alive::CannotTell(why) => checks.push(
                    Check::fail(NAME, format!("cannot determine whether the registered primary \"{name}\" is alive"))
                        .node(other.row.node_id)
                        .detail(why)
                        .hint("Make sure that it is stopped, and run the command again; or repeat the command with --force.")
                        .exit(Exit::SecondPrimary)
                        .overridable_by(Override::Force, options.force),
                ),
                Alive::NotSeen(why) => checks.push(
                    Check::warning(NAME, format!("the registered primary \"{name}\" will be marked as inactive"))
                        .node(other.row.node_id)
                        .detail(why),
                ),
            },
        }
    }
    if checks.is_empty() {
        checks.push(Check::pass(NAME, "no other node is a primary"));
    }
    checks
}
