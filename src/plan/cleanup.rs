//! The plan of `cluster cleanup`. Pure.

use crate::error::Exit;
use crate::pg::endpoint::Endpoint;
use crate::pg::quote::quote_ident;
use crate::plan::parts::events::PlannedEvent;
use crate::plan::register::one_phase_plan;
use crate::plan::{Check, OnFailure, Op, Order, Phase, Plan, Step};
use crate::registry::monitoring::{self, History, Selection};

/// Seconds that deleting may take: months of records are millions.
const DELETE_S: u32 = 3600;

/// Seconds that the vacuum may take.
const VACUUM_S: u32 = 3600;

const TABLE: &str = "table \"monitoring_history\"";

/// What `cluster cleanup` decides from.
#[derive(Clone, Debug)]
pub struct CleanupFacts {
    /// The table on the primary.
    pub history: History,
    /// How many records are meant; None where they cannot be counted.
    pub records: Option<u64>,
    /// Which they are.
    pub selection: Selection,
    /// The description of the selected standby, if one is selected.
    pub of: Option<String>,
    /// This node, where it has a configuration.
    pub node_id: Option<i32>,
}

/// Plans `cluster cleanup`; `on` is the primary.
pub fn cleanup(facts: &CleanupFacts, on: &Endpoint) -> Plan {
    let history = &facts.history;
    let database = &history.database;
    let title = "clean up the monitoring history".to_string();
    let mut checks = vec![if history.exists {
        Check::pass("history_exists", format!("database \"{database}\" has {TABLE}"))
    } else {
        Check::fail("history_exists", format!("database \"{database}\" has no {TABLE} in schema \"repmgr\""))
            .detail("repmgrd has never recorded anything there.")
            .exit(Exit::Query)
    }];
    if history.exists {
        checks.extend(privileges(facts));
    }
    let records = facts.records.unwrap_or(0);
    if records == 0 {
        return one_phase_plan(title, checks, vec![], vec![]);
    }
    let what = match records {
        1 => "1 record".to_string(),
        several => format!("{several} records"),
    };
    let of = facts.of.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let age = match facts.selection.days {
        0 => String::new(),
        1 => " that are a day old or older".to_string(),
        days => format!(" that are {days} days old or older"),
    };
    let all = facts.selection == Selection::default();
    let statement = if all && history.may_truncate {
        monitoring::truncate()
    } else {
        monitoring::delete(facts.selection)
    };
    let delete = Step::new(
        "delete_records",
        format!("delete {what}{of}{age}"),
        Op::Sql { on: on.clone(), statements: vec![statement] },
        DELETE_S,
        Exit::Query,
    );
    let mut plan = one_phase_plan(title, checks, vec![delete], vec![]);
    let details = format!("{records} monitoring records deleted");
    plan.notifications
        .extend(facts.node_id.map(|id| PlannedEvent::recorded("cluster_cleanup", id, details, Some(on))));
    if history.may_vacuum {
        plan.phases.push(Phase {
            title: "free the space".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Continue,
            outage: false,
            steps: vec![Step::new(
                "vacuum",
                format!("vacuum {TABLE}"),
                Op::Sql { on: on.clone(), statements: vec![monitoring::vacuum()] },
                VACUUM_S,
                Exit::Query,
            )],
        });
    }
    plan.announce_on = Some(on.clone());
    plan
}

/// Checks the privileges on the monitoring history.
fn privileges(facts: &CleanupFacts) -> Vec<Check> {
    let history = &facts.history;
    let History { database, role, .. } = history;
    let lacking: Vec<&str> = [(history.may_read, "SELECT"), (history.may_delete, "DELETE")]
        .into_iter()
        .filter(|(may, _)| !may)
        .map(|(_, right)| right)
        .collect();
    let role = quote_ident(role);
    let usage =
        if history.may_use { String::new() } else { format!("GRANT USAGE ON SCHEMA repmgr TO {role}; ") };
    let mut checks = vec![if lacking.is_empty() && history.may_use {
        Check::pass("history_writable", "the role has the privileges to delete records")
    } else {
        let mut grants = usage;
        if !lacking.is_empty() {
            grants.push_str(&format!("GRANT {} ON repmgr.monitoring_history TO {role};", lacking.join(", ")));
        }
        Check::fail(
            "history_writable",
            format!("role {role} lacks the privileges to delete records of the monitoring history"),
        )
        .detail(format!("It lacks privileges on {TABLE} in database \"{database}\"."))
        .hint(format!(
            "On the primary, in that database, as the owner of the table run: {}",
            grants.trim_end()
        ))
        .exit(Exit::Query)
    }];
    if !history.may_vacuum && facts.records != Some(0) {
        let message =
            format!("role {role} lacks the privilege to vacuum the monitoring history, which is skipped");
        checks.push(
            Check::warning("history_vacuum", message)
                .detail("The space of the deleted records is reused after the next autovacuum.")
                .hint(format!(
                    "From PostgreSQL 17 on, in database \"{database}\" run: GRANT MAINTAIN ON repmgr.monitoring_history TO {role}; \
                     before, only the owner of the table or of the database can."
                )),
        );
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(change: impl Fn(&mut CleanupFacts)) -> Plan {
        let history = History {
            exists: true,
            may_use: true,
            may_read: true,
            may_delete: true,
            may_truncate: true,
            may_vacuum: true,
            database: "repmgr".into(),
            role: "re\"pmgr".into(),
        };
        let mut facts = CleanupFacts {
            history,
            records: Some(7),
            selection: Selection::default(),
            of: None,
            node_id: Some(1),
        };
        change(&mut facts);
        let on = Endpoint { name: "node \"node1\"".into(), conninfo: String::new(), secret: None };
        cleanup(&facts, &on)
    }

    fn statements(plan: &Plan) -> Vec<String> {
        plan.steps().map(|step| step.op.to_string().split_once(": ").unwrap().1.to_string()).collect()
    }

    #[test]
    fn all_records_or_some() {
        let vacuum = "VACUUM repmgr.monitoring_history";
        assert_eq!(statements(&planned(|_| {})), ["TRUNCATE repmgr.monitoring_history", vacuum]);
        let events = planned(|_| {}).notifications;
        assert_eq!((events.len(), events[0].event.as_str(), events[0].node_id), (1, "cluster_cleanup", 1));
        assert_eq!(events[0].details, "7 monitoring records deleted");
        let some = statements(&planned(|facts| facts.selection = Selection { days: 3, node_id: Some(2) }));
        assert!(some[0].starts_with("DELETE FROM") && some[0].contains("days => '3'"), "{some:?}");
        assert!(some[0].contains("standby_node_id = '2'"), "{some:?}");
        let poor = planned(|facts| {
            facts.history.may_truncate = false;
            facts.history.may_vacuum = false;
        });
        assert!(statements(&poor)[0].starts_with("DELETE FROM"), "{:?}", statements(&poor));
        assert_eq!(statements(&poor).len(), 1);
        assert!(poor.checks.iter().any(|check| check.hint.as_deref().is_some_and(|hint| {
            hint.contains("GRANT MAINTAIN ON repmgr.monitoring_history TO \"re\"\"pmgr\";")
        })));
    }

    #[test]
    fn nothing_to_delete_and_nothing_to_delete_from() {
        assert!(planned(|facts| facts.records = Some(0)).is_empty());
        let stops = |plan: &Plan| {
            let check = plan.checks.iter().find(|check| check.stops()).unwrap();
            (check.name.clone(), check.exit, check.hint.clone())
        };
        let missing = planned(|facts| {
            facts.history.exists = false;
            facts.records = None;
        });
        assert_eq!(stops(&missing), ("history_exists".into(), Exit::Query, None));
        let closed = planned(|facts| {
            facts.history.may_use = false;
            facts.history.may_delete = false;
            facts.records = None;
        });
        let (name, exit, hint) = stops(&closed);
        assert_eq!((name.as_str(), exit), ("history_writable", Exit::Query));
        assert!(hint.unwrap().ends_with(
            "run: GRANT USAGE ON SCHEMA repmgr TO \"re\"\"pmgr\"; GRANT DELETE ON repmgr.monitoring_history TO \"re\"\"pmgr\";"
        ));
    }
}
