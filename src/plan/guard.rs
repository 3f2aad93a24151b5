//! Plan for a former primary that is to come up as a standby. Pure.

use std::path::{Path, PathBuf};

use crate::error::Exit;
use crate::facts::cluster::NodeFacts;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::facts::settings::{NextStart, Settings};
use crate::plan::parts::following::{QUERY_S, create_slot, default_slot, record_upstream, upstream};
use crate::plan::parts::standby::{self, FutureStandby};
use crate::plan::register::endpoint;
use crate::plan::{Check, CheckResult, OnFailure, Op, Order, Phase, Plan, Probe, Standby, Step};
use crate::registry::{NodeRow, node};

/// Seconds for a file.
const SHORT_S: u32 = 60;

/// What decides how it is done.
#[derive(Clone, Debug)]
pub struct Demotion {
    /// The node that is to be a standby, as it is recorded.
    pub row: NodeRow,
    /// Its data directory.
    pub data_directory: PathBuf,
    /// What its next start will find.
    pub next: NextStart,
    /// The primary to follow; None if none is known.
    pub to: Option<NewPrimary>,
}

/// The primary that there is now.
#[derive(Clone, Debug)]
pub struct NewPrimary {
    /// Its row and what it reports.
    pub node: NodeFacts,
    /// The node uses a slot.
    pub use_slot: bool,
    /// The role may make slots there.
    pub may_make_slot: bool,
    /// What is in force there; None if it could not be queried.
    pub settings: Option<Settings>,
    /// The nodes have diverged: it will not stream before a rejoin.
    pub diverged: bool,
    /// The program `postgres`.
    pub postgres: String,
    /// Where postgresql.conf is, if not in the data directory.
    pub config_directory: Option<PathBuf>,
}

/// Plans it: `standby.signal` comes first, because with it the server does no harm, whatever becomes of the rest; but for a recovery
/// target, with which it would.
pub fn plan(demotion: &Demotion) -> Plan {
    let Demotion { row, data_directory, to, .. } = demotion;
    let name = &row.node_name;
    let future = FutureStandby { row, data_directory, next: &demotion.next };
    let signal = Step::new(
        "standby_signal",
        format!("write \"{}\"", data_directory.join(STANDBY_SIGNAL).display()),
        future.signal(),
        SHORT_S,
        Exit::LocalCommand,
    )
    // A running primary ignores it, and would unexpectedly be a standby at some later start.
    .requires(Probe::Stopped { data_directory: data_directory.clone() })
    .left_in_place(standby::signal_stays(name));
    let phase = |title: &str, on_failure, steps| Phase {
        title: title.into(),
        order: Order::InOrder,
        on_failure,
        outage: false,
        steps,
    };
    // The target first: with a signal and a target, it would promote itself.
    let steps = future.clear(Exit::LocalCommand).into_iter().chain([signal]).collect();
    let mut phases = vec![phase("configure the server as a standby", OnFailure::Stop, steps)];
    let mut title = format!("make node \"{name}\" a standby for its next start");
    if let Some(to) = to {
        title = format!("make node \"{name}\" a standby of \"{}\" for its next start", to.node.row.node_name);
        let mut steps = Vec::new();
        let slot = to.slot(row);
        if let Some(slot) = slot.as_ref().filter(|slot| !to.has_slot(slot)) {
            steps.push(create_slot("create_slot", &endpoint(&to.node), slot));
        }
        steps.push(follow(demotion, to, slot.clone()));
        phases.push(phase("point it at the primary", OnFailure::Stop, steps));
        if !to.diverged {
            phases.push(phase("update the metadata", OnFailure::Continue, vec![record(row, &to.node, slot)]));
        }
    }
    Plan {
        checks: checks(demotion),
        phases,
        back_failed: Exit::LocalCommand,
        incomplete: Exit::LocalCommand,
        ..Plan::nothing(title)
    }
}

/// Plans what keeps a server a standby that has `standby.signal` already: a recovery target with which it would promote itself is cleared.
/// None where there is no such thing.
pub fn keep_standby(row: &NodeRow, data_directory: &Path, next: &NextStart) -> Option<Plan> {
    let name = &row.node_name;
    let mut checks = standby::ends_recovery(name, data_directory, next);
    checks.extend(standby::promotes_itself(name, next));
    let steps: Vec<Step> =
        standby::clear_step(name, data_directory, next, Exit::LocalCommand).into_iter().collect();
    if steps.is_empty() && !checks.iter().any(Check::stops) {
        return None;
    }
    let checks = checks.into_iter().map(|check| check.node(row.node_id)).collect();
    Some(Plan {
        checks,
        phases: vec![Phase {
            title: "clear the recovery target".into(),
            order: Order::InOrder,
            on_failure: OnFailure::Stop,
            outage: false,
            steps,
        }],
        back_failed: Exit::LocalCommand,
        incomplete: Exit::LocalCommand,
        ..Plan::nothing(format!("keep node \"{name}\" a standby at its next start"))
    })
}

/// What may keep it from staying a standby. Where it streams from it finds out later; that it comes up is what counts now. Settings that
/// are lower than the primary's are named at once: with them it comes up, and pauses replay or ends as soon as it reads of the higher ones.
fn checks(demotion: &Demotion) -> Vec<Check> {
    let Demotion { row, data_directory, next, to } = demotion;
    let name = &row.node_name;
    let mut checks = standby::ends_recovery(name, data_directory, next);
    checks.extend(standby::promotes_itself(name, next));
    let there = to.as_ref().and_then(|to| Some((&to.node.row.node_name, to.settings.as_ref()?)));
    checks.extend(
        there
            .and_then(|(primary, there)| standby::next_is_lower(name, &next.settings, primary, there))
            .map(|check| Check { verdict: CheckResult::Warning, ..check }),
    );
    checks.into_iter().map(|check| check.node(row.node_id)).collect()
}

fn follow(demotion: &Demotion, to: &NewPrimary, slot: Option<String>) -> Step {
    let primary = &to.node.row;
    let version_num = to.node.facts().map_or(0, |server| server.version_num);
    let mut wanted = upstream(primary, &demotion.row, version_num, slot);
    if node::holds_password(&primary.conninfo) {
        wanted.password = Some(node::password_secret(primary.node_id));
    }
    Step::new(
        "follow",
        format!("point node \"{}\" at \"{}\"", demotion.row.node_name, primary.node_name),
        Op::Follow {
            standby: Standby::Files {
                data_directory: demotion.data_directory.clone(),
                postgres: to.postgres.clone(),
                config_directory: to.config_directory.clone(),
            },
            upstream: wanted,
        },
        SHORT_S,
        Exit::LocalCommand,
    )
    .left_in_place(standby::settings_stay(&primary.node_name))
}

/// Records the node as a standby. A node that does not stream yet is recorded by the rejoin that it needs.
fn record(row: &NodeRow, primary: &NodeFacts, slot: Option<String>) -> Step {
    Step::new(
        "record",
        format!("register node \"{}\" as a standby of \"{}\"", row.node_name, primary.row.node_name),
        Op::Sql {
            on: endpoint(primary),
            statements: vec![
                record_upstream(row.node_id, primary.row.node_id),
                node::set_slot_name(row.node_id, slot.as_deref()),
            ],
        },
        QUERY_S,
        Exit::Query,
    )
}

impl NewPrimary {
    fn has_slot(&self, slot: &str) -> bool {
        self.node.facts().is_some_and(|server| server.slot(slot).is_some())
    }

    /// Returns the slot to use. A slot that would not be used for a while, and would retain WAL meanwhile, is not created.
    fn slot(&self, row: &NodeRow) -> Option<String> {
        let slot = default_slot(row);
        (self.use_slot && (self.has_slot(&slot) || (self.may_make_slot && !self.diverged))).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::server::{ServerFacts, Slot};
    use crate::facts::settings::{PlacedSetting, SettingPlace, in_file};
    use crate::registry::NodeType;

    fn demotion(diverged: bool, may_make_slot: bool, slots: &[&str]) -> Demotion {
        let mut server = ServerFacts::example(false, 2, 0x0400_0000);
        server.slots = slots
            .iter()
            .map(|name| Slot {
                slot_name: (*name).into(),
                slot_type: "physical".into(),
                active: false,
                restart_lsn: None,
                wal_status: None,
                retained_bytes: None,
                invalidation_reason: None,
                ..Slot::default()
            })
            .collect();
        let row = NodeRow::example(2, NodeType::Primary);
        Demotion {
            row: NodeRow::example(1, NodeType::Primary),
            data_directory: "/data".into(),
            next: NextStart::default(),
            to: Some(NewPrimary {
                node: NodeFacts { row, server: Ok(server) },
                use_slot: true,
                may_make_slot,
                settings: Some(in_file(&[("max_connections", "100")])),
                diverged,
                postgres: "postgres".into(),
                config_directory: None,
            }),
        }
    }

    fn steps(demotion: &Demotion) -> Vec<String> {
        let plan = plan(demotion);
        assert_eq!(plan.defect(), None);
        plan.steps().map(|step| step.id.clone()).collect()
    }

    fn slot_followed(demotion: &Demotion) -> Option<String> {
        plan(demotion).steps().find_map(|step| match &step.op {
            Op::Follow { upstream, .. } => Some(upstream.slot.clone()),
            _ => None,
        })?
    }

    #[test]
    fn the_signal_comes_first_in_every_case() {
        assert_eq!(steps(&demotion(false, true, &[])), ["standby_signal", "create_slot", "follow", "record"]);
        assert_eq!(steps(&demotion(false, true, &["repmgr_slot_1"])), ["standby_signal", "follow", "record"]);
        assert_eq!(steps(&Demotion { to: None, ..demotion(false, true, &[]) }), ["standby_signal"]);
        let next =
            NextStart { settings: in_file(&[("recovery_target", "immediate")]), ..NextStart::default() };
        let with_target = Demotion { next, to: None, ..demotion(false, true, &[]) };
        assert_eq!(steps(&with_target), ["no_recovery_target", "standby_signal"]);
    }

    #[test]
    fn a_slot_that_is_not_there_and_cannot_be_made_is_not_waited_for() {
        assert_eq!(slot_followed(&demotion(false, true, &[])).as_deref(), Some("repmgr_slot_1"));
        assert_eq!(slot_followed(&demotion(false, false, &[])), None);
        let there = demotion(false, false, &["repmgr_slot_1"]);
        assert_eq!(slot_followed(&there).as_deref(), Some("repmgr_slot_1"));
    }

    #[test]
    fn a_node_that_has_diverged_leaves_nothing_on_the_primary() {
        let diverged = demotion(true, true, &[]);
        assert_eq!(steps(&diverged), ["standby_signal", "follow"]);
        assert_eq!(slot_followed(&diverged), None);
    }

    #[test]
    fn settings_that_are_lower_than_the_primarys_are_named_and_do_not_keep_it_from_being_a_standby() {
        let with =
            |text| NextStart { settings: in_file(&[("max_connections", text)]), ..NextStart::default() };
        let low = plan(&Demotion { next: with("50"), ..demotion(false, true, &[]) });
        let [check] = low.checks.as_slice() else { panic!("{:?}", low.checks) };
        assert_eq!((check.name.as_str(), check.verdict), ("standby_settings", CheckResult::Warning));
        assert!(check.hint.as_ref().unwrap().contains("ALTER SYSTEM SET max_connections = 100;"));
        assert!(!low.is_empty());
        assert_eq!(plan(&Demotion { next: with("100"), ..demotion(false, true, &[]) }).checks, []);
    }

    #[test]
    fn a_standby_that_would_end_its_recovery_is_kept_one() {
        let row = NodeRow::example(1, NodeType::Standby);
        let stay = |next: &NextStart| keep_standby(&row, Path::new("/data"), next);
        let next = |settings| NextStart { settings, ..NextStart::default() };
        assert!(stay(&next(Settings::default())).is_none());
        let cleared = stay(&next(in_file(&[("recovery_target", "immediate")]))).unwrap();
        assert_eq!(cleared.defect(), None);
        assert_eq!(cleared.steps().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["no_recovery_target"]);
        let mut fixed = Settings::default();
        fixed.add(PlacedSetting::new("recovery_target_lsn", "0/5", SettingPlace::CommandLine));
        assert!(stay(&next(fixed)).unwrap().checks.iter().any(Check::stops));
    }
}
