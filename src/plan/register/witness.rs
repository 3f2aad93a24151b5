//! The plan of `witness register`. Pure.

use super::primary::schema;
use super::{QUERY_S, RegisterOptions, check_unique_names, endpoint, has_step, one_phase_plan};
use crate::error::{Error, Exit};
use crate::facts::cluster::{ClusterFacts, NodeFacts, Unavailable};
use crate::facts::server::ServerFacts;
use crate::pg::endpoint::Endpoint;
use crate::pg::quote::quote_ident;
use crate::plan::parts::events;
use crate::plan::{Check, Op, Override, Plan, Step};
use crate::registry::schema::{OfferedExtension, PresentMetadata, SchemaState};
use crate::registry::{NodeRow, NodeType, node};

/// What `witness register` decides from.
#[derive(Debug)]
pub struct WitnessFacts {
    /// The local server, the witness; otherwise why it does not respond.
    pub here: Result<WitnessServer, Unavailable>,
    /// The primary.
    pub primary: Contact,
    /// The plan of a run of this command that was interrupted, if there is one.
    pub interrupted: Option<Plan>,
}

/// What the witness says.
#[derive(Debug)]
pub struct WitnessServer {
    /// The server.
    pub server: ServerFacts,
    /// The metadata there as it is.
    pub present: PresentMetadata,
    /// What is offered of the repmgr extension there.
    pub offered: OfferedExtension,
    /// The server as a superuser reaches it, if one is needed and was named.
    pub superuser: Option<Endpoint>,
    /// The nodes in its own table; none where there is no table or it may not be read.
    pub rows: Vec<NodeRow>,
    /// Those of them that the primary does not know, asked.
    pub strangers: ClusterFacts,
}

/// The result of looking for the primary.
#[derive(Debug)]
pub enum Contact {
    /// None was named, and none of the nodes that are known here accepts writes.
    Unknown {
        /// Their names.
        asked: Vec<String>,
    },
    /// It rejects the connection or does not respond.
    Silent {
        /// How to name it.
        whom: String,
        /// Why.
        why: Unavailable,
    },
    /// It responds, but its metadata could not be read.
    Unreadable(Error),
    /// It has responded.
    Asked(Box<NamedPrimary>),
}

/// What the server says that was named as the primary.
#[derive(Debug)]
pub struct NamedPrimary {
    /// How to name it.
    pub whom: String,
    /// The server.
    pub server: ServerFacts,
    /// The metadata there as it is.
    pub present: PresentMetadata,
    /// All registered nodes, each asked at its registered address.
    pub cluster: ClusterFacts,
}

/// Says whether the witness is to get the repmgr extension: the primary has it, and nothing is in its place.
pub fn wants_extension(here: &PresentMetadata, offered: &OfferedExtension, there: &PresentMetadata) -> bool {
    here.verdict() == SchemaState::Missing && there.extension.is_some() && offered.is_usable()
}

/// Plans `witness register`.
///
/// `row` is the row to be written, without the upstream, which is the primary; `on` the local server.
pub fn witness(facts: &WitnessFacts, row: &NodeRow, on: &Endpoint, options: RegisterOptions) -> Plan {
    let name = &row.node_name;
    let mut checks = Vec::new();
    let here = match &facts.here {
        Ok(here) => {
            checks.push(is_witness(&here.server, name));
            Some(here)
        }
        Err(why) => {
            checks.push(primary_unavailable("witness_reached", &format!("node \"{name}\""), why));
            None
        }
    };
    let found = the_primary(&facts.primary, here.map(|here| &here.server), &mut checks);
    if let (Some(here), Some((there, primary))) = (here, found) {
        checks.push(other_cluster(&here.server, &there.server, &primary.row.node_name));
        checks.extend(check_unique_names(
            there.cluster.nodes.iter().map(|node| &node.row),
            row,
            &here.server,
            &there.cluster,
            options,
        ));
        let own = NodeRow { upstream_node_id: Some(primary.row.node_id), ..row.clone() };
        let record = record(&own, primary);
        let is_own = has_step(facts.interrupted.as_ref(), &record)
            && there.cluster.node(row.node_id).is_some_and(|node| node.row == own);
        checks.push(match is_own && (here.rows.is_empty() || here.rows == copied(there, &own)) {
            true => Check::pass("not_registered", "the node was registered by the interrupted run"),
            false => new_here(here, there, row, options),
        });
        checks.push(writable(&there.present));
    }
    // A standby has the tables of its own cluster, which are not for us to judge.
    if let Some(here) = here.filter(|here| !here.server.in_recovery) {
        checks.extend(metadata(here, found.map(|(there, _)| there)));
    }
    let title = format!("register witness \"{name}\"");
    let (Some(here), Some((there, primary))) = (here, found) else {
        return one_phase_plan(title, checks, vec![], vec![]);
    };
    let row = NodeRow { upstream_node_id: Some(primary.row.node_id), ..row.clone() };
    let to = endpoint(primary);
    let mut steps = Vec::new();
    if let Some(step) = make_metadata(here, there, on) {
        steps.push(step);
    }
    if there.cluster.node(row.node_id).map(|node| &node.row) != Some(&row) {
        steps.push(record(&row, primary));
    }
    let rows = copied(there, &row);
    if here.rows != rows {
        steps.push(Step::new(
            "copy_nodes",
            format!("copy the records of {} nodes to \"{name}\"", rows.len()),
            Op::Sql { on: on.clone(), statements: node::replace_all(&rows) },
            QUERY_S,
            Exit::Query,
        ));
    }
    let mut plan = one_phase_plan(title, checks, steps, vec![]);
    plan.notifications.push(events::registered(&row, Some(&primary.row), &to));
    plan.announce_on = Some(to);
    plan
}

/// Records the witness on the primary.
fn record(row: &NodeRow, primary: &NodeFacts) -> Step {
    Step::new(
        "record_node",
        format!(
            "register node \"{}\" (ID {}) as a witness on \"{}\"",
            row.node_name, row.node_id, primary.row.node_name
        ),
        Op::Sql { on: endpoint(primary), statements: vec![row.upsert()] },
        QUERY_S,
        Exit::Query,
    )
}

/// Returns the rows that the copy on the witness has.
fn copied(there: &NamedPrimary, row: &NodeRow) -> Vec<NodeRow> {
    let others = there.cluster.nodes.iter().map(|node| &node.row);
    let mut rows: Vec<NodeRow> =
        others.filter(|other| other.node_id != row.node_id).chain([row]).cloned().collect();
    rows.sort_by_key(|row| row.node_id);
    rows
}

fn is_witness(server: &ServerFacts, name: &str) -> Check {
    if server.in_recovery {
        Check::fail("server_is_primary", format!("the server of node \"{name}\" is in recovery"))
            .detail("It is a standby. A witness is a server of its own, which accepts writes.")
            .hint("To register a standby, run \"pgbaton standby register\".")
    } else {
        Check::pass("server_is_primary", "the server accepts writes")
    }
}

fn primary_unavailable(check: &str, whom: &str, why: &Unavailable) -> Check {
    Check::fail(check, format!("could not connect to {whom}")).because(why).exit(Exit::Connection)
}

/// Finds the primary among the registered nodes: the server that was asked, as it is reached at its registered address.
fn the_primary<'a>(
    contact: &'a Contact,
    here: Option<&ServerFacts>,
    checks: &mut Vec<Check>,
) -> Option<(&'a NamedPrimary, &'a NodeFacts)> {
    const NAME: &str = "primary_reached";
    let there = match contact {
        Contact::Unknown { asked } => {
            let check = Check::fail("primary_known", "no primary was named, and none was found");
            let check = match asked.as_slice() {
                [] => check.detail("This host knows no other node."),
                asked => check.detail(format!(
                    "This host knows the nodes {}, but none of them accepts writes.",
                    asked.join(", ")
                )),
            };
            checks.push(check.hint("Name its host: \"pgbaton witness register -h HOST\"."));
            return None;
        }
        Contact::Silent { whom, why } => {
            checks.push(primary_unavailable(NAME, whom, why));
            return None;
        }
        Contact::Unreadable(error) => {
            checks.push(Check::fail(NAME, error.text.clone()).exit(error.exit));
            return None;
        }
        Contact::Asked(there) => there,
    };
    let primaries: Vec<&NodeFacts> = there.cluster.primaries().map(|(node, _)| node).collect();
    let named: Vec<String> = primaries.iter().map(|node| format!("\"{}\"", node.row.node_name)).collect();
    let (whom, server) = (&there.whom, &there.server);
    if server.in_recovery {
        let check = Check::fail(NAME, format!("{whom} is not the primary")).detail("It is a standby.");
        checks.push(match primaries.as_slice() {
            [one] => check.hint(format!(
                "The primary is {}: name it with -d {}.",
                named.concat(),
                crate::system::command::quote_shell(&endpoint(one).conninfo)
            )),
            _ => check.hint("Name the primary with -h."),
        });
        return None;
    }
    let is_that = |found: &ServerFacts| {
        (&found.system_identifier, &found.started_at) == (&server.system_identifier, &server.started_at)
    };
    if here.is_some_and(is_that) {
        checks.push(
            Check::fail(NAME, format!("{whom} is the server of the witness itself"))
                .hint("Name the host of the primary: \"pgbaton witness register -h HOST\"."),
        );
        return None;
    }
    let is_it = |node: &&&NodeFacts| node.facts().is_some_and(is_that);
    match (primaries.as_slice(), primaries.iter().find(is_it)) {
        ([_], Some(node)) => {
            checks.push(Check::pass(NAME, format!("node \"{}\" is the primary", node.row.node_name)));
            Some((there, node))
        }
        ([_, _, ..], _) => {
            checks.push(
                Check::fail(NAME, format!("{} nodes accept writes", primaries.len()))
                    .detail(format!("They are {}.", named.join(", ")))
                    .hint("Run \"pgbaton cluster show\" on one of them to see which is the valid primary, and stop the other one.")
                    .exit(Exit::SecondPrimary),
            );
            None
        }
        (_, _) => {
            let registered = there
                .cluster
                .nodes
                .iter()
                .find(|node| node.row.active && node.row.node_type == NodeType::Primary);
            let check = Check::fail(NAME, format!("{whom} is not a registered primary"));
            checks.push(match registered.map(|node| (&node.row.node_name, &node.server)) {
                None => check
                    .detail("Its metadata names no primary.")
                    .hint("Run \"pgbaton primary register\" on it."),
                Some((name, Err(why))) => check
                    .detail(format!(
                        "It accepts writes, but the connection to node \"{name}\" at its registered address fails: {}.",
                        why.message
                    ))
                    .hint("The witness must reach every node by the connection string in its record.")
                    .exit(Exit::Connection),
                Some((name, Ok(_))) => check
                    .detail(format!("Its metadata names \"{name}\", which is another server."))
                    .hint("Run \"pgbaton primary register\" on it, or name another server with -h."),
            });
            None
        }
    }
}

fn other_cluster(here: &ServerFacts, there: &ServerFacts, primary: &str) -> Check {
    const NAME: &str = "own_cluster";
    if here.system_identifier == there.system_identifier {
        Check::fail(NAME, format!("this server belongs to the same cluster as \"{primary}\""))
            .detail(format!("The system identifier of both is {}.", here.system_identifier))
            .hint("A witness is a server of its own: create it with initdb, on a host without any node of the cluster.")
    } else {
        Check::pass(NAME, "the server is a database cluster of its own")
    }
}

/// Checks that nothing is replaced unasked: neither the record on the primary nor what the witness has in its table.
fn new_here(here: &WitnessServer, there: &NamedPrimary, row: &NodeRow, options: RegisterOptions) -> Check {
    const NAME: &str = "not_registered";
    let name = &row.node_name;
    let is_this = |node: &&NodeFacts| {
        node.row.node_type != NodeType::Witness
            && node.facts().is_some_and(|server| {
                (&server.system_identifier, &server.started_at)
                    == (&here.server.system_identifier, &here.server.started_at)
            })
    };
    if let Some(own) = here.strangers.nodes.iter().find(is_this) {
        return Check::fail("table_free", "the local server is a node of another cluster")
            .detail(format!(
                "Database \"{}\" has the metadata of that cluster, in which it is {} \"{}\".",
                here.present.database, own.row.node_type, own.row.node_name
            ))
            .hint("Use another database for the metadata of this one: see conninfo in the configuration.");
    }
    match there.cluster.node(row.node_id).map(|node| &node.row) {
        Some(old) if old.node_type != NodeType::Witness => {
            Check::fail(NAME, format!("node {} is registered as {}", row.node_id, old.node_type))
                .node(row.node_id)
                .detail(format!("Its name is \"{}\".", old.node_name))
                .hint(format!(
                    "Choose another node_id, or run \"pgbaton {} unregister\" first.",
                    old.node_type
                ))
        }
        Some(_) => Check::fail(NAME, format!("node \"{name}\" (ID {}) is registered already", row.node_id))
            .node(row.node_id)
            .hint("To update its record and its copy of the metadata, repeat the command with --force.")
            .overridable_by(Override::Force, options.force),
        // A problem with a server of the cluster itself has been reported.
        None if !here.rows.is_empty() && here.server.system_identifier != there.server.system_identifier => {
            let known: Vec<String> = here.rows.iter().map(|row| format!("\"{}\"", row.node_name)).collect();
            Check::fail("table_free", "the local server already has records of nodes")
                .detail(format!(
                    "They are the records of {}, in database \"{}\".",
                    known.join(", "),
                    here.present.database
                ))
                .hint("If they are no longer needed, repeat the command with --force: they are replaced.")
                .overridable_by(Override::Force, options.force)
        }
        None => Check::pass(NAME, "the node is not registered yet"),
    }
}

/// Checks that the role may write the tables on the primary, where it made nothing.
fn writable(present: &PresentMetadata) -> Check {
    const NAME: &str = "primary_writable";
    let (deeds, grants): (Vec<String>, Vec<String>) = present.closed().into_iter().unzip();
    if deeds.is_empty() {
        return Check::pass(NAME, "the metadata on the primary can be written");
    }
    Check::fail(NAME, format!("role \"{}\" lacks privileges for the metadata on the primary", present.role))
        .detail(format!("It may not {}.", deeds.join("; nor ")))
        .hint(format!(
            "On the primary, in database \"{}\", as the owner of the tables or a superuser run: {}",
            present.database,
            grants.join(" ")
        ))
}

/// Checks that the metadata on the witness can be made or used.
fn metadata(here: &WitnessServer, there: Option<&NamedPrimary>) -> Vec<Check> {
    const NAME: &str = "metadata_usable";
    let PresentMetadata { database, role, .. } = &here.present;
    let with_extension = there.and_then(|there| there.present.extension.as_deref());
    if there.is_some_and(|there| wants_extension(&here.present, &here.offered, &there.present)) {
        return vec![if here.offered.may_install || here.superuser.is_some() {
            Check::pass(NAME, format!("the repmgr extension can be created in database \"{database}\""))
        } else {
            Check::fail(NAME, format!("role \"{role}\" lacks the privilege to create the repmgr extension in database \"{database}\""))
                .detail("The primary has its metadata in that extension, and it is available on this host. Only a superuser can create it.")
                .hint(format!(
                    "Name one with -S, or as one, in that database, run: CREATE EXTENSION repmgr; GRANT USAGE ON SCHEMA repmgr \
                     TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA repmgr TO {0};",
                    quote_ident(role)
                ))
        }];
    }
    let mut checks = vec![schema(&here.present, here.superuser.as_ref())];
    if let Some(version) = with_extension
        && here.present.verdict() == SchemaState::Missing
    {
        let offered = match &here.offered.version {
            Some(other) => format!("on this host version {other} is available"),
            None => "on this host it is not available".to_string(),
        };
        checks.push(
            Check::warning(
                "extension_available",
                "the witness gets plain tables instead of the repmgr extension",
            )
            .detail(format!(
                "The primary has version {version} of it; {offered}. repmgrd does not run without it."
            ))
            .hint("If repmgrd should run on this host, install the package of repmgr 5 first."),
        );
    }
    checks
}

/// The step that makes the metadata on the witness, if there is anything to make.
fn make_metadata(here: &WitnessServer, there: &NamedPrimary, on: &Endpoint) -> Option<Step> {
    let database = &here.present.database;
    let by = here.superuser.as_ref().unwrap_or(on);
    let (statements, title) = if wants_extension(&here.present, &here.offered, &there.present) {
        (here.present.install_extension(), format!("create the repmgr extension in database \"{database}\""))
    } else if here.superuser.is_some() {
        let title = format!(
            "create the metadata schema for role \"{}\" in database \"{database}\"",
            here.present.role
        );
        (here.present.install_as_superuser(), title)
    } else {
        (here.present.install(), format!("create the metadata schema in database \"{database}\""))
    };
    (!statements.is_empty()).then(|| {
        Step::new("make_metadata", title, Op::Sql { on: by.clone(), statements }, QUERY_S, Exit::Query)
    })
}

#[cfg(test)]
mod tests;
