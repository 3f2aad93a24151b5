//! Recording an operation in the cluster before its first effect, and heeding the records of others. Pure.
//!
//! The row of `pgbaton.operation` is replicated, so a standby that is cut off from everything else still knows that another node was being
//! made the primary. A row counts only as long as the cluster is on the timeline on which it was written: a promotion settles the matter.

use crate::error::{Exit, sentence};
use crate::pg::endpoint::Endpoint;
use crate::pg::history::TimelineId;
use crate::plan::parts::following::QUERY_S;
use crate::plan::{Check, OnFailure, Op, Order, Override, Phase, Plan, PlannedFor, Probe, Scope, Step};
use crate::registry::operation::{self, OpenOperation};
use crate::registry::schema::PresentMetadata;
use crate::units::utc;
use crate::verb::Verb;

/// How the operation is recorded on a primary: the step, if it can be; a check, if it cannot.
#[derive(Debug, Default)]
pub struct Recording {
    /// Makes what is missing of the table, and writes the row.
    pub step: Option<Step>,
    /// Why there is no step.
    pub check: Option<Check>,
}

/// Plans the record of an operation on the primary.
pub fn record(present: Option<&PresentMetadata>, on: &Endpoint, scope: &Scope) -> Recording {
    let Some(present) = present else { return Recording::default() };
    let Some(install) = present.own_schema_statements() else {
        return Recording { step: None, check: not_recorded(present) };
    };
    let (prepare, scope) = match (present.own && !present.scoped, present.may_alter_operation) {
        (false, _) => (install, Some(scope.clone())),
        (true, true) => (vec![operation::add_columns()], Some(scope.clone())),
        (true, false) => (Vec::new(), None),
    };
    let title = match prepare.is_empty() {
        true => format!("record the operation on {}", on.name),
        false => format!("prepare table pgbaton.operation on {}, and record the operation", on.name),
    };
    let op = Op::Announce { on: on.clone(), prepare, scope };
    Recording {
        step: Some(Step::new("announce", title, op, QUERY_S, Exit::Query).uninterruptible()),
        check: None,
    }
}

/// Waits until a standby that is to be promoted knows of the operation, too. One that does not receive it would not receive the last WAL
/// either.
pub fn received(on: &Endpoint, within_s: u32) -> Step {
    let title = format!("wait until {} has received the record", on.name);
    Step::new("announced", title, Op::Wait(Probe::Announced { on: on.clone() }), within_s, Exit::Query)
}

/// Refuses to work while another operation is open on one of the nodes that a change of a standby touches (the standby first), and
/// records what the change is planned for.
pub fn refuse_beside_open_operations(
    plan: &mut Plan,
    others: &OtherOperations,
    scope: Scope,
    primary: i32,
    touched: &[i32],
    force: bool,
) {
    plan.checks.extend(checks(others, scope.timeline, touched, force));
    plan.settled = settled(others);
    plan.origin = Some(PlannedFor { scope, primary: Some(primary) });
}

/// Returns the operations that are no longer open on their nodes: their rows are closed when this operation has ended.
pub fn settled(others: &OtherOperations) -> Vec<String> {
    let over = others.known.iter().filter(|other| other.standing == OpenStatus::Over);
    over.map(|other| other.row.operation_id.clone()).collect()
}

/// Creates missing tables before the first effect of a change of a standby, if the role may: on a cluster that was managed by repmgr or
/// pgbaton 0.1.0 so far. Without them the change continues, too.
pub fn prepare(plan: &mut Plan, present: Option<&PresentMetadata>) {
    let (Some(on), Some(origin)) = (&plan.announce_on, &plan.origin) else { return };
    if plan.phases.is_empty() {
        return;
    }
    let recording = record(present, on, &origin.scope);
    plan.checks.extend(recording.check);
    let lacks = |step: &Step| matches!(&step.op, Op::Announce { prepare, .. } if !prepare.is_empty());
    let Some(step) = recording.step.filter(lacks) else { return };
    let phase = Phase {
        title: "record the operation".into(),
        order: Order::InOrder,
        on_failure: OnFailure::Continue,
        outage: false,
        steps: vec![step],
    };
    plan.phases.insert(0, phase);
}

/// Says that operations and promotions cannot be recorded, and what allows it; None where they can.
pub fn not_recorded(present: &PresentMetadata) -> Option<Check> {
    present.own_schema_statements().is_none().then(|| cannot_record(present))
}

fn cannot_record(present: &PresentMetadata) -> Check {
    let grants: Vec<String> = present.missing_privileges().into_iter().map(|(_, grant)| grant).collect();
    let check = Check::warning("operations_not_recorded", "the operation cannot be recorded in schema \"pgbaton\"")
        .detail("Without the record, a command on a node that is cut off meanwhile does not know of this operation; the locks and the \
            journal still protect it.");
    match grants.is_empty() {
        true => check,
        false => check.hint(format!(
            "As a superuser, run in database \"{}\": {}",
            present.database,
            grants.join(" ")
        )),
    }
}

/// Whether an operation of which there is a row is still open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenStatus {
    /// Its node says so: a whole sentence.
    Open(String),
    /// The journal of its node cannot be read: a whole sentence. It counts as open.
    Unknown(String),
    /// Its node knows of no such open operation.
    Over,
}

/// An operation of another command, with what its node says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherOperation {
    /// Its row.
    pub row: OpenOperation,
    /// The name of the node that runs it.
    pub node_name: String,
    /// Whether it is still open.
    pub standing: OpenStatus,
}

/// The operations of other commands, as far as the cluster has recorded them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherOperations {
    /// Those that have not reported their end.
    pub known: Vec<OtherOperation>,
    /// Why the records could be read on no node at all; None where they could be on one, or where there are none.
    pub unread: Option<String>,
}

/// Checks that no other operation is open on a node that this one would change.
pub fn checks(others: &OtherOperations, timeline: TimelineId, touched: &[i32], force: bool) -> Vec<Check> {
    const NAME: &str = "other_operation";
    let mut out = Vec::new();
    if let Some(why) = &others.unread {
        out.push(
            Check::warning(NAME, "the records of other operations could not be read")
                .detail(format!("{} Another command may be changing the cluster.", sentence(why)))
                .hint(
                    "Run as a superuser on the primary, with the role that pgbaton connects as in the place of ROLE: GRANT USAGE ON SCHEMA \
                     pgbaton TO ROLE; GRANT SELECT, INSERT, UPDATE ON pgbaton.operation TO ROLE;",
                ),
        );
    }
    for other in &others.known {
        let row = &other.row;
        // Any role with the privilege on the table may have written the row: the id is quoted as one shell word.
        let id = shell_words::quote(&row.operation_id);
        let changes = row.nodes.as_ref().is_none_or(|nodes| nodes.iter().any(|id| touched.contains(id)));
        let how = match &other.standing {
            OpenStatus::Over => continue,
            OpenStatus::Open(how) | OpenStatus::Unknown(how) => how,
        };
        if !changes {
            continue;
        }
        let message =
            format!("\"{}\" begun on node \"{}\" has not reported its end", row.command, other.node_name);
        let began = format!("It began at {} (operation {}).", utc(row.started_at), row.operation_id);
        if row.timeline != Some(timeline) {
            // There was a promotion since, or that is unknown: it must not block anything.
            out.push(
                Check::warning(NAME, message)
                    .detail(format!(
                        "{began} It belongs to an earlier timeline, or to pgbaton 0.1.0, and is ignored."
                    ))
                    .hint(format!("\"pgbaton operation abandon {id} --force\" closes its record.")),
            );
            continue;
        }
        let mut check = Check::fail(NAME, message)
            .detail(format!("{began} {}{}", sentence(how), describe_open(row, &other.node_name)))
            .hint(format!(
                "On \"{}\" run \"pgbaton operation show {id}\", then \"pgbaton operation resume {id}\" or \"pgbaton operation abandon \
                 {id}\". If its host is gone for good: \"pgbaton operation abandon {id} --force\" on this node.",
                other.node_name
            ))
            .exit(Exit::Busy)
            .overridable_by(Override::Force, force);
        if let Some(node_id) = row.node_id {
            check = check.node(node_id);
        }
        out.push(check);
    }
    out
}

/// What an operation that is still open may be doing.
fn describe_open(row: &OpenOperation, name: &str) -> String {
    match Verb::parse(&row.command).is_some_and(|verb| verb.traits().promotes) {
        true => format!(" It may be promoting \"{name}\" at this moment."),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(timeline: Option<u32>, nodes: Option<&[i32]>, standing: OpenStatus) -> OtherOperation {
        OtherOperation {
            row: OpenOperation {
                operation_id: "x1".into(),
                command: "standby switchover".into(),
                node_id: Some(2),
                started_at: "2026-11-29T10:00:00Z".parse().unwrap(),
                nodes: nodes.map(<[i32]>::to_vec),
                timeline: timeline.map(TimelineId),
                system_identifier: None,
            },
            node_name: "node2".into(),
            standing,
        }
    }

    fn judged(other: &OtherOperation, force: bool) -> Vec<(bool, Exit)> {
        let known = OtherOperations { known: vec![other.clone()], unread: None };
        let checks = checks(&known, TimelineId(3), &[1, 3], force);
        checks.iter().map(|check| (check.stops(), check.exit)).collect()
    }

    #[test]
    fn an_open_operation_of_the_present_timeline_refuses_with_30_unless_forced() {
        for standing in [OpenStatus::Open("It runs.".into()), OpenStatus::Unknown("No route.".into())] {
            for nodes in [None, Some([1, 2].as_slice())] {
                let other = other(Some(3), nodes, standing.clone());
                assert_eq!(judged(&other, false), [(true, Exit::Busy)], "{other:?}");
                assert_eq!(judged(&other, true), [(false, Exit::Busy)], "{other:?}");
            }
        }
    }

    #[test]
    fn a_row_that_is_out_of_date_never_blocks() {
        let open = || OpenStatus::Open("It runs.".into());
        for old in [other(None, None, open()), other(Some(2), None, open())] {
            let known = OtherOperations { known: vec![old.clone()], unread: None };
            let checks = checks(&known, TimelineId(3), &[1], false);
            assert!(checks.len() == 1 && !checks[0].stops(), "{old:?}");
        }
        assert!(judged(&other(Some(3), None, OpenStatus::Over), false).is_empty());
        assert!(judged(&other(Some(3), Some(&[7, 8]), open()), false).is_empty());
    }

    #[test]
    fn columns_and_tables_that_are_missing_are_made_where_the_role_may() {
        let on = Endpoint { name: "node \"node1\"".into(), conninfo: "host=h".into(), secret: None };
        let scope = Scope { nodes: vec![1, 2], timeline: TimelineId(1), system_identifier: "7".into() };
        let prepared =
            |present: &PresentMetadata| match record(Some(present), &on, &scope).step.map(|step| step.op) {
                Some(Op::Announce { prepare, scope, .. }) => Some((prepare.len(), scope.is_some())),
                _ => None,
            };
        let complete = PresentMetadata::example(true);
        assert_eq!(prepared(&complete), Some((0, true)));
        let old = PresentMetadata { scoped: false, ..complete.clone() };
        assert_eq!(prepared(&old), Some((1, true)));
        assert_eq!(prepared(&PresentMetadata { may_alter_operation: false, ..old }), Some((0, false)));
        let repmgr = PresentMetadata { own: false, scoped: false, ..complete };
        assert!(prepared(&repmgr).is_some_and(|(statements, scoped)| statements > 2 && scoped));
        let denied = PresentMetadata { may_create: false, ..repmgr };
        let recording = record(Some(&denied), &on, &scope);
        assert!(recording.step.is_none());
        let check = recording.check.unwrap();
        assert_eq!((check.name.as_str(), check.stops()), ("operations_not_recorded", false));
        assert!(check.text.hint.unwrap().contains("GRANT"));
    }

    #[test]
    fn records_that_nobody_could_read_are_not_believed_to_be_none() {
        let unread = OtherOperations { known: Vec::new(), unread: Some("permission denied".into()) };
        let checks = checks(&unread, TimelineId(3), &[1], false);
        assert_eq!((checks.len(), checks[0].stops()), (1, false));
        assert!(checks[0].detail.as_deref().is_some_and(|detail| detail.starts_with("Permission denied.")));
        assert_eq!(super::checks(&OtherOperations::default(), TimelineId(3), &[1], false), []);
    }
}
