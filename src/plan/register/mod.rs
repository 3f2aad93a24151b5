//! Plans for register and unregister. Pure.

mod primary;
mod standby;
mod unregister;
mod witness;

pub use primary::{PrimaryFacts, primary};
pub use standby::{StandbyFacts, same_cluster, same_history, standby};
pub use unregister::unregister;
pub use witness::{Contact, NamedPrimary, WitnessFacts, WitnessServer, wants_extension, witness};

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::{ServerFacts, shown_application_name};
use crate::pg::conninfo::Conninfo;
use crate::pg::endpoint::Endpoint;
use crate::pg::statement::Statement;
use crate::plan::parts::new_primary;
use crate::plan::{Check, OnFailure, Order, Override, Phase, Plan, Step, Verify};
use crate::registry::{NodeRow, node};

/// Seconds that one statement on the metadata may take.
const QUERY_S: u32 = 30;

/// Options of register and unregister.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegisterOptions {
    /// `--force`.
    pub force: bool,
    /// Seconds to wait until the record has reached the standby; None not to wait.
    pub wait_sync_s: Option<u32>,
    /// The metadata have records of operations, and the role may close them.
    pub records: bool,
}

/// Checks that neither the id nor the name belongs to another node.
fn check_unique_names<'a>(
    rows: impl Iterator<Item = &'a NodeRow>,
    row: &NodeRow,
    local: &ServerFacts,
    cluster: &ClusterFacts,
    options: RegisterOptions,
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
                    .hint(
                        "Choose another node_id, or repeat the command with --force if the node was renamed.",
                    )
                    .overridable_by(Override::Force, options.force),
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
                        "It is registered as \"{}\" and responds at its registered address.",
                        other.node_name
                    ))
                    .hint("Choose another node_id, or repeat the command with --force if this server replaces that one.")
                    .overridable_by(Override::Force, options.force),
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

/// Returns the statement that drops a slot unless it is in use or does not exist.
pub fn drop_inactive_slot(slot_name: &str) -> Statement {
    Statement::new(
        "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots \
         WHERE slot_name = $1 AND NOT active AND slot_type = 'physical'",
    )
    .bind(slot_name)
}

/// Says whether the plan of an earlier run has a step, with the same effect.
fn has_step(plan: Option<&Plan>, step: &Step) -> bool {
    plan.is_some_and(|plan| plan.steps().any(|planned| planned.id == step.id && planned.op == step.op))
}

/// Names a registered node as a place to run statements; a password in its conninfo is named, not contained.
pub fn endpoint(node: &NodeFacts) -> Endpoint {
    let secret = node::holds_secret(&node.row.conninfo).then(|| node::conninfo_secret(node.row.node_id));
    let conninfo = Conninfo::parse(&node.row.conninfo)
        .map(|parsed| parsed.without_secrets().to_string())
        .unwrap_or_default();
    Endpoint { name: format!("node \"{}\"", node.row.node_name), conninfo, secret }
}

/// Updates the witnesses, which have copies of the metadata; None if there is none. A failure there undoes nothing.
fn update_witnesses(cluster: &ClusterFacts, record: &[Statement]) -> Option<Phase> {
    let steps = new_primary::update_witnesses(cluster, record);
    (!steps.is_empty()).then(|| Phase {
        title: "update the witnesses".into(),
        order: Order::AllAtOnce,
        on_failure: OnFailure::Continue,
        outage: false,
        steps,
    })
}

/// A plan of one phase whose steps need no rollback: each is a transaction, or is done again by the next run.
pub(super) fn one_phase_plan(
    title: String,
    checks: Vec<Check>,
    steps: Vec<Step>,
    verify: Vec<Verify>,
) -> Plan {
    Plan {
        checks,
        phases: vec![Phase {
            title: "change the metadata".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: false,
            steps,
        }],
        verify,
        back_failed: Exit::Query,
        incomplete: Exit::Query,
        ..Plan::nothing(title)
    }
}
