//! Plans for register and unregister. Pure.

use crate::error::Exit;
use crate::facts::alive::{Alive, alive};
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::divergence::{Relation, relation};
use crate::facts::server::{ServerFacts, shown_application_name};
use crate::pg::conninfo::Conninfo;
use crate::pg::quote::quote_ident;
use crate::plan::{
    Check, Endpoint, OnFailure, Op, Order, Phase, Plan, Probe, Statement, Step, Verify, Waiver,
};
use crate::registry::schema::{Present, Verdict as SchemaVerdict};
use crate::registry::{NodeRow, NodeType, node};

/// Seconds that one statement on the metadata may take.
const QUERY_S: u32 = 30;

/// What `primary register` decides from.
#[derive(Debug)]
pub struct PrimaryFacts {
    /// The local server.
    pub local: ServerFacts,
    /// The metadata as it is.
    pub present: Present,
    /// All registered nodes, the local one's old row included if there is one.
    pub cluster: ClusterFacts,
}

/// Options of register and unregister.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `--force`.
    pub force: bool,
    /// Seconds to wait until the record has reached the standby; None not to wait.
    pub wait_sync_s: Option<u32>,
}

/// Plans `primary register`.
///
/// `row` is the row to be written, `on` the local server.
pub fn primary(facts: &PrimaryFacts, row: &NodeRow, on: &Endpoint, options: Options) -> Plan {
    let name = &row.node_name;
    let mut checks = vec![];
    checks.push(if facts.local.in_recovery {
        Check::fail("server_is_primary", format!("the server of node \"{name}\" is in recovery"))
            .detail("It is a standby, or still recovers from a crash.")
            .hint("To register a standby, run \"pgbaton standby register\".")
    } else {
        Check::pass("server_is_primary", "the server takes writes")
    });
    // A standby is no primary, whatever else there is to say.
    if !facts.local.in_recovery {
        checks.push(schema(&facts.present));
        checks.extend(names(
            facts.cluster.nodes.iter().map(|node| &node.row),
            row,
            &facts.local,
            &facts.cluster,
            options,
        ));
        checks.extend(other_primaries(&facts.cluster, row, &facts.local, options));
    }

    let install = facts.present.install();
    let old = facts.cluster.node(row.node_id).map(|node| &node.row);
    let others = facts.cluster.nodes.iter().any(|node| {
        node.row.node_id != row.node_id && node.row.active && node.row.node_type == NodeType::Primary
    });
    let mut steps = Vec::new();
    if !install.is_empty() {
        steps.push(Step::new(
            "make_metadata",
            format!("make the metadata in database \"{}\"", facts.present.database),
            Op::Sql { on: on.clone(), statements: install },
            QUERY_S,
            Exit::Query,
        ));
    }
    if old != Some(row) || others {
        steps.push(Step::new(
            "record_node",
            format!("record node \"{name}\" (ID {}) as primary", row.node_id),
            Op::Sql {
                on: on.clone(),
                statements: vec![node::deactivate_other_primaries(row.node_id), row.upsert()],
            },
            QUERY_S,
            Exit::Query,
        ));
    }
    let mut plan = simple(format!("register primary \"{name}\""), checks, steps, vec![]);
    // Before the first registration there is no table to write to.
    plan.announce_on = (facts.present.verdict() == SchemaVerdict::Complete).then(|| on.clone());
    plan
}

/// Checks that the metadata can be made or used.
fn schema(present: &Present) -> Check {
    const NAME: &str = "metadata_usable";
    let Present { database, role, .. } = present;
    match present.verdict() {
        SchemaVerdict::Foreign if present.is_other_version() => {
            let version = present.extension.as_deref().unwrap_or("?");
            Check::fail(NAME, format!("database \"{database}\" has version {version} of the repmgr extension"))
                .detail("pgbaton works with the tables of repmgr 5.")
                .hint(
                    "Install the package of repmgr 5, and run in that database: ALTER EXTENSION repmgr UPDATE;",
                )
        }
        SchemaVerdict::Foreign if present.extension.is_some() => {
            Check::fail(NAME, format!("the repmgr extension in database \"{database}\" has lost its tables"))
                .detail("Its tables \"nodes\" and \"events\" are not there, or not with the columns of repmgr 5.")
                .hint("Use another database for the metadata, or drop the extension and create it again.")
        }
        SchemaVerdict::Foreign => {
            Check::fail(NAME, format!("schema \"repmgr\" in database \"{database}\" holds other tables"))
                .detail("Tables \"nodes\" or \"events\" exist there, but not with the columns of repmgr 5.")
                .hint("Use another database for the metadata, or rename that schema.")
        }
        _ if present.read_only => {
            Check::fail(NAME, format!("transactions of role \"{role}\" are read-only in database \"{database}\""))
                .detail("The setting default_transaction_read_only is on.")
                .hint(format!(
                    "If that is not on purpose, run: BEGIN READ WRITE; ALTER ROLE {} IN DATABASE {} SET default_transaction_read_only = off; COMMIT;",
                    quote_ident(role),
                    quote_ident(database)
                ))
        }
        _ if !present.lacking().is_empty() => {
            let (deeds, grants): (Vec<String>, Vec<String>) = present.lacking().into_iter().unzip();
            let owner = match &present.schema_owner {
                Some(owner) => format!(" Schema \"repmgr\" belongs to \"{owner}\"."),
                None => String::new(),
            };
            Check::fail(
                NAME,
                format!("role \"{role}\" lacks privileges for the metadata in database \"{database}\""),
            )
            .detail(format!("It may not {}.{owner}", deeds.join("; nor ")))
            .hint(format!("As the owner or a superuser, in that database, run: {}", grants.join(" ")))
        }
        SchemaVerdict::Complete => Check::pass(NAME, "the metadata is there and can be written"),
        _ => Check::pass(NAME, format!("the metadata can be made in database \"{database}\"")),
    }
}

/// Checks that neither the id nor the name belongs to another node.
fn names<'a>(
    rows: impl Iterator<Item = &'a NodeRow>,
    row: &NodeRow,
    local: &ServerFacts,
    cluster: &ClusterFacts,
    options: Options,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let shown = |name: &str| shown_application_name(name, local.version_num);
    for other in rows {
        if other.node_id == row.node_id {
            if other.node_name != row.node_name {
                checks.push(
                    Check::fail(
                        "node_id_free",
                        format!("node ID {} belongs to node \"{}\"", row.node_id, other.node_name),
                    )
                    .detail(format!("The configuration says that it is \"{}\".", row.node_name))
                    .hint("Choose another node_id, or waive this check if the node was renamed.")
                    .waivable(Waiver::Force, options.force),
                );
            }
            // Its old record leads to a running server that is not this one: two servers with one number.
            let elsewhere = cluster.node(other.node_id).and_then(NodeFacts::facts).is_some_and(|server| {
                (&server.system_identifier, &server.started_at)
                    != (&local.system_identifier, &local.started_at)
            });
            if elsewhere {
                checks.push(
                    Check::fail(
                        "node_id_free",
                        format!("node ID {} is in use by another running server", row.node_id),
                    )
                    .detail(format!(
                        "It is registered as \"{}\" and answers at its registered address.",
                        other.node_name
                    ))
                    .hint("Choose another node_id, or waive this check if this server replaces that one.")
                    .waivable(Waiver::Force, options.force),
                );
            }
        } else if other.node_name == row.node_name {
            checks.push(
                Check::fail(
                    "node_name_free",
                    format!("node name \"{}\" belongs to node {}", row.node_name, other.node_id),
                )
                .hint("Choose another node_name, or unregister that node."),
            );
        } else if shown(&other.node_name) == shown(&row.node_name) {
            checks.push(
                Check::fail(
                    "node_name_free",
                    format!(
                        "node names \"{}\" and \"{}\" look the same to PostgreSQL",
                        row.node_name, other.node_name
                    ),
                )
                .detail(format!("It shows both as \"{}\" in pg_stat_replication.", shown(&row.node_name)))
                .hint("Choose a node_name that differs in its first 63 printable ASCII characters."),
            );
        }
    }
    if checks.is_empty() {
        checks.push(Check::pass("node_name_free", "node ID and name are not used by another node"));
    }
    checks
}

/// Checks that there is no other primary; see DESIGN of `facts::alive` for what counts as alive.
fn other_primaries(
    cluster: &ClusterFacts,
    row: &NodeRow,
    local: &ServerFacts,
    options: Options,
) -> Vec<Check> {
    const NAME: &str = "no_other_primary";
    let mut checks = Vec::new();
    for other in cluster.nodes.iter().filter(|node| node.row.node_id != row.node_id) {
        let name = &other.row.node_name;
        match &other.server {
            Ok(server) if other.row.node_type == NodeType::Witness => {
                let _own_cluster_of_a_witness = server;
            }
            Ok(server) if server.in_recovery => {}
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
                        "It takes writes on timeline {}, this server on timeline {}.",
                        server.timeline, local.timeline
                    ))
                    .hint("Run \"pgbaton cluster show\" to see which of them is the right one, and stop the other.")
                    .exit(Exit::SecondPrimary),
            ),
            Err(_) if other.row.node_type != NodeType::Primary || !other.row.active => {}
            Err(_) if Conninfo::parse(&other.row.conninfo).is_err() => checks.push(
                Check::fail(NAME, format!("cannot tell whether the registered primary \"{name}\" is alive"))
                    .node(other.row.node_id)
                    .detail("The connection string in its record is invalid, so that it could not be asked.")
                    .hint(format!(
                        "Correct it on this server with UPDATE repmgr.nodes SET conninfo = '...' WHERE node_id = {}; or make \
                         certain that its server is stopped, and waive this check.",
                        other.row.node_id
                    ))
                    .exit(Exit::SecondPrimary)
                    .waivable(Waiver::Force, options.force),
            ),
            Err(_) => match alive(cluster, other) {
                Alive::Yes(why) => checks.push(
                    Check::fail(NAME, format!("the registered primary \"{name}\" is alive"))
                        .node(other.row.node_id)
                        .detail(why)
                        .hint("Make it answer queries, or stop it, then try again.")
                        .exit(Exit::SecondPrimary),
                ),
                Alive::CannotTell(why) => checks.push(
                    Check::fail(NAME, format!("cannot tell whether the registered primary \"{name}\" is alive"))
                        .node(other.row.node_id)
                        .detail(why)
                        .hint("Make certain that it is stopped, and run the command again; or waive this check.")
                        .exit(Exit::SecondPrimary)
                        .waivable(Waiver::Force, options.force),
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

/// What `standby register` decides from.
#[derive(Debug)]
pub struct StandbyFacts {
    /// The local server, if it answers.
    pub local: ServerFacts,
    /// All registered nodes as the primary has them, the local one's old row included if there is one.
    pub cluster: ClusterFacts,
    /// The primary's node id.
    pub primary: i32,
}

/// Plans `standby register`.
///
/// `row` is the row to be written, with the upstream that was asked for, or none to take the one that is observed; `here` the local
/// server, `on` the primary.
pub fn standby(
    facts: &StandbyFacts,
    row: &NodeRow,
    here: &Endpoint,
    on: &Endpoint,
    options: Options,
) -> Plan {
    let name = row.node_name.clone();
    let mut checks = Vec::new();
    let primary = facts.cluster.node(facts.primary);
    let primary_server = primary.and_then(NodeFacts::facts);
    checks.push(if facts.local.in_recovery {
        Check::pass("server_is_standby", "the server is in recovery")
    } else {
        Check::fail("server_is_standby", format!("the server of node \"{name}\" takes writes"))
            .detail("It is no standby.")
            .hint("If it is to be the primary, run \"pgbaton primary register\".")
    });
    checks.extend(names(
        facts.cluster.nodes.iter().map(|node| &node.row),
        row,
        &facts.local,
        &facts.cluster,
        options,
    ));
    if let Some(server) = primary_server {
        checks.push(same_cluster(&facts.local, server, primary.map_or("", |node| &node.row.node_name)));
        checks.extend(same_history(&facts.local, server));
    }

    let observed = facts.cluster.observed_upstream(&name).filter(|node| node.row.node_id != row.node_id);
    let upstream_id = row.upstream_node_id.or(observed.map(|node| node.row.node_id)).unwrap_or(facts.primary);
    checks.push(upstream(facts, &name, row.node_id, upstream_id, observed, options));
    let row = NodeRow { upstream_node_id: Some(upstream_id), ..row.clone() };

    let mut steps = Vec::new();
    if facts.cluster.node(row.node_id).map(|node| &node.row) != Some(&row) {
        steps.push(Step::new(
            "record_node",
            format!("record node \"{name}\" (ID {}) as a standby of node {upstream_id}", row.node_id),
            Op::Sql { on: on.clone(), statements: vec![row.upsert()] },
            QUERY_S,
            Exit::Query,
        ));
    }
    let mut verify = Vec::new();
    if let Some(timeout_s) = options.wait_sync_s {
        verify.push(Verify {
            title: format!("the record of node \"{name}\" has arrived on it"),
            probe: arrived(&row, here),
            timeout_s,
        });
    }
    let mut plan = simple(format!("register standby \"{name}\""), checks, steps, verify);
    plan.incomplete = Exit::RegistrationSync;
    plan.announce_on = Some(on.clone());
    plan
}

/// Asks whether a node's record has arrived on a standby as it was written.
fn arrived(row: &NodeRow, here: &Endpoint) -> Probe {
    Probe::Sql {
        says: format!("the record of node \"{}\" has arrived", row.node_name),
        on: here.clone(),
        statement: Statement::new(
            "SELECT (EXISTS (SELECT FROM repmgr.nodes WHERE node_id = $1::integer AND node_name = $2 AND type = $3 \
             AND active AND upstream_node_id IS NOT DISTINCT FROM $4::integer AND conninfo = $5 \
             AND priority = $6::integer AND location = $7 AND slot_name IS NOT DISTINCT FROM $8))::text",
        )
        .bind(row.node_id)
        .bind(&row.node_name)
        .bind(&row.node_type)
        .bind_opt(row.upstream_node_id)
        .bind_conninfo(row)
        .bind(row.priority)
        .bind(&row.location)
        .bind_opt(row.slot_name.as_ref()),
    }
}

/// Checks that two servers belong to one cluster.
pub fn same_cluster(ours: &ServerFacts, theirs: &ServerFacts, their_name: &str) -> Check {
    if ours.system_identifier == theirs.system_identifier {
        Check::pass("same_cluster", "the system identifiers agree")
    } else {
        Check::fail("same_cluster", format!("this server belongs to another cluster than \"{their_name}\""))
            .detail(format!(
                "Its system identifier is {}, that of \"{their_name}\" is {}.",
                ours.system_identifier, theirs.system_identifier
            ))
            .hint("Check conninfo and data_directory of this node's configuration.")
    }
}

/// Checks that a standby has no WAL that the primary never had.
pub fn same_history(ours: &ServerFacts, theirs: &ServerFacts) -> Option<Check> {
    const NAME: &str = "same_history";
    Some(match relation(ours, theirs) {
        Relation::Same => Check::pass(NAME, "the histories agree"),
        Relation::Forked { evidence, .. } => {
            Check::fail(NAME, "the history of this server has parted from that of the primary")
                .detail(evidence)
                .hint("It must not stream as it is: what it alone has would stay in it unseen.")
        }
        Relation::Unknown(why) => Check::warning(NAME, "the histories could not be compared").detail(why),
    })
}

fn upstream(
    facts: &StandbyFacts,
    name: &str,
    own_id: i32,
    upstream_id: i32,
    observed: Option<&NodeFacts>,
    options: Options,
) -> Check {
    const NAME: &str = "attached_to_upstream";
    if upstream_id == own_id {
        return Check::fail(NAME, format!("node \"{name}\" cannot be its own upstream"));
    }
    let Some(up) = facts.cluster.node(upstream_id) else {
        return Check::fail(NAME, format!("upstream node {upstream_id} is not registered"))
            .hint(format!("Register node {upstream_id} first."));
    };
    let up_name = &up.row.node_name;
    // A chain that leads back here would have no primary at its end.
    let mut seen = vec![own_id];
    let mut next = Some(upstream_id);
    while let Some(id) = next {
        if seen.contains(&id) {
            return Check::fail(
                NAME,
                format!("node \"{up_name}\" follows \"{name}\", directly or over others"),
            )
            .hint("Choose another upstream.");
        }
        seen.push(id);
        next = facts.cluster.node(id).and_then(|node| node.row.upstream_node_id);
    }
    match (observed, up.facts()) {
        (Some(node), _) if node.row.node_id == upstream_id => {
            Check::pass(NAME, format!("node \"{name}\" streams from \"{up_name}\""))
        }
        (Some(node), _) => Check::fail(
            NAME,
            format!("node \"{name}\" streams from \"{}\", not from \"{up_name}\"", node.row.node_name),
        )
        .hint("Leave out --upstream-node-id to record what is, or waive this check.")
        .waivable(Waiver::Force, options.force),
        (None, Some(server)) => {
            let seen: Vec<String> =
                server.senders.iter().map(|sender| format!("\"{}\"", sender.application_name)).collect();
            let seen = if seen.is_empty() {
                "Nothing streams from it.".into()
            } else {
                format!("There stream from it: {}.", seen.join(", "))
            };
            Check::fail(NAME, format!("node \"{name}\" is not attached to its upstream \"{up_name}\""))
                .detail(seen)
                .hint(format!(
                    "Its primary_conninfo must lead to \"{up_name}\" with application_name={}; its server log says why it \
                     cannot stream. Or waive this check.",
                    crate::pg::conninfo::quote_value(name)
                ))
                .waivable(Waiver::Force, options.force)
        }
        (None, None) => Check::fail(
            NAME,
            format!("upstream \"{up_name}\" cannot be asked whether \"{name}\" is attached"),
        )
        .waivable(Waiver::Force, options.force),
    }
}

/// Plans `primary unregister` and `standby unregister`.
///
/// `primary` is the node that takes writes now, `on` its endpoint; `wanted` what the command is for.
pub fn unregister(
    cluster: &ClusterFacts,
    target: &NodeFacts,
    wanted: &NodeType,
    primary: &NodeFacts,
    on: &Endpoint,
    options: Options,
) -> Plan {
    let row = &target.row;
    let name = &row.node_name;
    let mut checks = Vec::new();
    if &row.node_type != wanted {
        // The other command has checks of its own.
        let check = Check::fail(
            "node_type",
            format!("node \"{name}\" is registered as {}, not as {wanted}", row.node_type),
        )
        .node(row.node_id)
        .hint(format!("Run \"pgbaton {} unregister\" instead.", row.node_type));
        return simple(format!("unregister {wanted} \"{name}\""), vec![check], vec![], vec![]);
    }
    checks.push(Check::pass("node_type", format!("node \"{name}\" is registered as {wanted}")));
    let below: Vec<String> = cluster
        .nodes
        .iter()
        .filter(|node| node.row.upstream_node_id == Some(row.node_id) && node.row.node_id != row.node_id)
        .map(|node| format!("\"{}\" (ID {})", node.row.node_name, node.row.node_id))
        .collect();
    checks.push(if below.is_empty() {
        Check::pass("no_downstream", "no registered node follows it")
    } else {
        Check::fail("no_downstream", format!("other nodes are registered to follow node \"{name}\""))
            .node(row.node_id)
            .detail(format!("They are {}.", below.join(", ")))
            .hint("Let them follow another node, or unregister them first.")
    });
    let is_primary = target.row.node_id == primary.row.node_id;
    if is_primary {
        checks.push(
            Check::fail("not_in_use", format!("node \"{name}\" is the current primary"))
                .node(row.node_id)
                .detail("The metadata would have no primary.")
                .hint("Make another node the primary first, unless the cluster is given up.")
                .waivable(Waiver::Force, options.force),
        );
    } else if wanted == &NodeType::Primary && row.active {
        checks.push(
            Check::fail("not_in_use", format!("node \"{name}\" is registered as the active primary"))
                .node(row.node_id)
                .hint("If it is gone for good, waive this check.")
                .waivable(Waiver::Force, options.force),
        );
    }
    if let Some(server) = primary.facts()
        && names_synchronously(
            &server.synchronous_standby_names,
            &shown_application_name(name, server.version_num),
        )
    {
        checks.push(
            Check::warning(
                "synchronous_names",
                format!("node \"{name}\" is named in synchronous_standby_names"),
            )
            .node(primary.row.node_id)
            .detail(format!("The setting is \"{}\".", server.synchronous_standby_names))
            .hint("Take the name out of the setting, or commits may wait for this node for ever."),
        );
    }
    let mut steps = vec![Step::new(
        "remove_record",
        format!("remove the record of node \"{name}\" (ID {})", row.node_id),
        Op::Sql { on: on.clone(), statements: vec![node::delete(row.node_id)] },
        QUERY_S,
        Exit::Query,
    )];
    let upstream = row.upstream_node_id.and_then(|id| cluster.node(id));
    if let (Some(slot_name), Some(upstream)) = (&row.slot_name, upstream)
        && let Some(slot) = upstream.facts().and_then(|server| server.slot(slot_name))
    {
        // Only the slot of its own name: what somebody wrote into the row may be another's.
        let own = *slot_name == node::slot_name(row.node_id) && slot.slot_type == "physical";
        if own && !slot.active {
            steps.push(Step::new(
                "drop_slot",
                format!("drop slot \"{slot_name}\" on \"{}\"", upstream.row.node_name),
                Op::Sql { on: endpoint(upstream), statements: vec![drop_inactive_slot(slot_name)] },
                QUERY_S,
                Exit::Query,
            ));
        } else if !own {
            checks.push(
                Check::warning(
                    "slot_kept",
                    format!("slot \"{slot_name}\" in the record of node \"{name}\" is not one of its own and is kept"),
                )
                .node(upstream.row.node_id)
                .detail(format!(
                    "Only slot \"{}\" would be dropped with the node.",
                    node::slot_name(row.node_id)
                )),
            );
        } else {
            checks.push(
                Check::warning("slot_in_use", format!("slot \"{slot_name}\" of node \"{name}\" is in use and is kept"))
                    .node(upstream.row.node_id)
                    .detail(format!("It keeps WAL on \"{}\" for as long as it exists.", upstream.row.node_name))
                    .hint(format!(
                        "When the node has stopped for good, run \"SELECT pg_drop_replication_slot('{slot_name}')\" there."
                    )),
            );
        }
    }
    let mut plan = simple(format!("unregister {wanted} \"{name}\""), checks, steps, vec![]);
    plan.announce_on = Some(on.clone());
    plan
}

/// Says whether `synchronous_standby_names` lists a name: PostgreSQL compares without regard to case.
fn names_synchronously(setting: &str, name: &str) -> bool {
    let mut rest = setting;
    while let Some(first) = rest.chars().next() {
        let word;
        if first == '"' {
            let mut text = String::new();
            let mut chars = rest.char_indices().skip(1).peekable();
            let mut end = rest.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' if chars.next_if(|(_, next)| *next == '"').is_some() => text.push('"'),
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    c => text.push(c),
                }
            }
            word = text;
            rest = rest.get(end..).unwrap_or_default();
        } else if first.is_whitespace() || ",()".contains(first) {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || ",()\"".contains(c)).unwrap_or(rest.len());
            let (head, tail) = rest.split_at(end);
            (word, rest) = (head.to_string(), tail);
        }
        if word.eq_ignore_ascii_case(name) {
            return true;
        }
    }
    false
}

/// Returns the statement that drops a slot unless somebody uses it or it is gone.
pub fn drop_inactive_slot(slot_name: &str) -> Statement {
    Statement::new(
        "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots \
         WHERE slot_name = $1 AND NOT active AND slot_type = 'physical'",
    )
    .bind(slot_name)
}

/// Names a registered node as a place to run statements; a password in its conninfo is named, not told.
pub fn endpoint(node: &NodeFacts) -> Endpoint {
    let secret = node::holds_secret(&node.row.conninfo).then(|| node::conninfo_secret(node.row.node_id));
    let conninfo = Conninfo::parse(&node.row.conninfo)
        .map(|parsed| parsed.without_secrets().to_string())
        .unwrap_or_default();
    Endpoint { name: format!("node \"{}\"", node.row.node_name), conninfo, secret }
}

/// A plan of one phase whose steps need no way back: each is a transaction, or is done again by the next run.
fn simple(title: String, checks: Vec<Check>, steps: Vec<Step>, verify: Vec<Verify>) -> Plan {
    Plan {
        title,
        checks,
        phases: vec![Phase {
            title: "change the metadata".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: false,
            steps,
        }],
        back: Vec::new(),
        always: Vec::new(),
        verify,
        back_failed: Exit::Query,
        incomplete: Exit::Query,
        announce_on: None,
    }
}

#[cfg(test)]
mod tests {
    use super::names_synchronously;

    #[test]
    fn synchronous_names_are_words_and_not_pieces_of_words() {
        for setting in
            ["node3", "ANY 1 (node30, Node3)", "2 (\"node3\",x)", "\"a b\", node3", "FIRST 2(x,node3)"]
        {
            assert!(names_synchronously(setting, "node3"), "{setting}");
        }
        for setting in ["", "node30", "ANY 1 (\"node3 \", anode3)", "*", "\"a, node3\"", "\"open"] {
            assert!(!names_synchronously(setting, "node3"), "{setting}");
        }
        assert!(names_synchronously("\"it's \"\"x\"\"\"", "it's \"x\""));
    }
}
