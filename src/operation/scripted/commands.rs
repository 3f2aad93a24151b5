//! The commands of node 2 in the scripted cluster: what `standby switchover`, `standby promote`, `operation resume` and `operation abandon`
//! make of the program's own plans and judgements (`operation/resume.rs`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;

use jiff::Timestamp;

use super::ScriptedWorld;
use super::servers::{OWN, Servers, State};
use crate::facts::repmgr::{Daemon, Repmgr};
use crate::facts::role::RoleFacts;
use crate::facts::settings::NextStart;
use crate::operation::course::{Course, UnfinishedFacts, course};
use crate::operation::outcome::Ended;
use crate::plan::far_end::{Reached, ServerState};
use crate::plan::keep_down::AsStandby;
use crate::plan::parts::announce::OtherOperations;
use crate::plan::parts::hosts::HostReport;
use crate::plan::parts::repmgr::RepmgrActivity;
use crate::plan::promote::{self, PromoteFacts, PromoteOptions};
use crate::plan::switchover::{self, Bounds, OldPrimaryHost, SwitchoverFacts, SwitchoverOptions};
use crate::plan::{Check, FarEnd, Plan};
use crate::registry::schema::PresentMetadata;
use crate::system::command::Command;
use crate::verb::Verb;

pub(crate) const SWITCHOVER: Verb = Verb::StandbySwitchover;
pub(crate) const PROMOTE: Verb = Verb::StandbyPromote;

/// What is consented to when nothing is: the options of a command without `--force` and `--accept-data-loss`.
pub(crate) const NOTHING: PromoteOptions =
    PromoteOptions { force: false, accept_data_loss: false, siblings_follow: true };

/// What has become of what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A check has stopped it, or the state could not be determined: nothing was done, and what was open stays open.
    Refused,
    /// It was carried out, well or not.
    Ran,
    /// The process died.
    Died,
}

/// A cluster in which one command is typed on node 2, again and again.
pub(crate) struct Node2 {
    world: ScriptedWorld<Servers>,
    verb: Verb,
    /// The plan of the operation that was begun last.
    plan: RefCell<Option<Plan>>,
}

impl Deref for Node2 {
    type Target = ScriptedWorld<Servers>;

    fn deref(&self) -> &Self::Target {
        &self.world
    }
}

impl Node2 {
    pub(crate) fn new(world: ScriptedWorld<Servers>, verb: Verb) -> Self {
        Self { world, verb, plan: RefCell::default() }
    }

    /// Returns the plan of the operation that is unfinished.
    pub(crate) fn open(&self) -> Option<Plan> {
        self.plan.borrow().clone().filter(|_| self.ended().is_none())
    }

    /// Says whether the operation that was begun last has come past its point of no return.
    pub(crate) fn past_no_return(&self) -> bool {
        self.plan.borrow().as_ref().is_some_and(|plan| self.past(plan).past_no_return())
    }

    /// Types the command: it takes up what it has left, or begins.
    pub(crate) async fn types(&self, today: PromoteOptions) -> Said {
        self.today.set(today);
        match self.open() {
            Some(plan) => self.takes_up(&plan, today).await,
            None => self.begins(today).await,
        }
    }

    /// Types `operation abandon`.
    pub(crate) async fn abandons(&self) -> Said {
        self.today.set(NOTHING);
        let Some(plan) = self.open() else { return Said::Refused };
        self.secures_host();
        said(self.abandon(&plan).await.is_some())
    }

    async fn begins(&self, today: PromoteOptions) -> Said {
        let Some(plan) = self.planned(today).filter(|plan| !plan.is_empty()) else { return Said::Refused };
        assert_eq!(plan.defect(), None);
        self.forget();
        *self.plan.borrow_mut() = Some(plan.clone());
        said(self.run(&plan).await.is_some())
    }

    /// What `take_up::resume` does.
    async fn takes_up(&self, plan: &Plan, today: PromoteOptions) -> Said {
        let (past, cluster) = (self.past(plan), self.cluster());
        let left =
            UnfinishedFacts { verb: Some(self.verb), plan, past: &past, node_id: OWN, cluster: &cluster };
        match course(&left) {
            Course::Unclear(_) => Said::Refused,
            Course::Overtaken(_) => said(self.undo(plan, true, "overtaken").await.is_some()),
            Course::Anew => {
                // What would refuse it today refuses it with nothing changed.
                if self.planned(today).is_none_or(|anew| anew.is_empty()) {
                    return Said::Refused;
                }
                match self.undo(plan, false, "planned anew").await {
                    None => Said::Died,
                    Some(undone) if undone.ended != Ended::WentBack => Said::Ran,
                    Some(_) => self.begins(today).await,
                }
            }
            Course::Promote => {
                let judged = promote::judge(&self.promote_facts(), today);
                if judged.checks.iter().any(Check::stops) || !self.secures_host() {
                    return Said::Refused;
                }
                said(self.run(plan).await.is_some())
            }
            Course::GoBack if self.server(3).state == State::Down && !today.force => Said::Refused,
            Course::GoBack | Course::Finish => said(self.run(plan).await.is_some()),
        }
    }

    /// A switchover has a way to the host of the old primary: what is down there starts as a standby only. False if it runs as a primary.
    fn secures_host(&self) -> bool {
        if self.verb == SWITCHOVER {
            self.with(1, |server| server.signal |= server.state == State::Down);
            return !matches!(self.server(1).state, State::Primary | State::Hung);
        }
        true
    }

    /// What is planned today; None where there is nothing to plan.
    pub(crate) fn planned(&self, today: PromoteOptions) -> Option<Plan> {
        if self.verb == PROMOTE {
            return Some(promote::plan(&self.promote_facts(), today).plan);
        }
        let options = SwitchoverOptions { force: today.force, siblings_follow: true };
        match self.primaries().as_slice() {
            [primary] if *primary != OWN => Some(switchover::plan(&self.switchover_facts(*primary), options)),
            _ => None,
        }
    }

    fn promote_facts(&self) -> PromoteFacts {
        let former = self.server(1);
        let down = former.state == State::Down && self.recorded() == 1;
        let lacking = (down && !former.signal).then(|| {
            let reached = Reached::Local { program: "/pgbaton".into(), config_file: "/node1.toml".into() };
            let host = FarEnd { node_id: 1, node_name: "node1".into(), reached };
            let as_standby =
                AsStandby { data_directory: "/data1".into(), file_mode: 0o600, clear: None, unclear: None };
            (host, as_standby)
        });
        PromoteFacts {
            cluster: self.cluster(),
            roles: roles(),
            node_id: OWN,
            metadata: Some(PresentMetadata::example(true)),
            others: OtherOperations::default(),
            topology: None,
            former_end: None,
            hosts: match down {
                true => BTreeMap::from([(1, HostReport::Seen(ServerState::Down))]),
                false => BTreeMap::new(),
            },
            to_keep_down: lacking.into_iter().collect(),
            repmgr_activity: repmgr_activity(),
            command: None,
            use_slots: true,
            timeout_s: 60,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn switchover_facts(&self, primary: i32) -> SwitchoverFacts {
        SwitchoverFacts {
            cluster: self.cluster(),
            roles: roles(),
            candidate: OWN,
            candidate_data: format!("/data{OWN}").into(),
            primary,
            metadata: Some(PresentMetadata::example(true)),
            others: OtherOperations::default(),
            host: Some(OldPrimaryHost {
                data_directory: format!("/data{primary}").into(),
                postgres: "/bin/postgres".into(),
                config_directory: None,
                stop: None,
                start: Command::new("/bin/pg_ctl", ["start"]),
                start_note: None,
                archive_ready: Some(0),
                has_upstream: false,
                next: NextStart::default(),
            }),
            checks: Vec::new(),
            repmgr_activity: repmgr_activity(),
            command: None,
            // What does not come soon does not come here.
            bounds: Bounds {
                shutdown_s: 2,
                receive_s: 2,
                promote_s: 2,
                reconnect_s: 2,
                rejoin_s: 2,
                lag_s: (300, 600),
                archive_ready: (16, 128),
            },
        }
    }
}

fn said(survived: bool) -> Said {
    if survived { Said::Ran } else { Said::Died }
}

fn roles() -> BTreeMap<i32, RoleFacts> {
    (1..=3).map(|id| (id, RoleFacts::example())).collect()
}

fn repmgr_activity() -> RepmgrActivity {
    let daemon = Repmgr { daemon: Daemon::Running, visits: Vec::new() };
    RepmgrActivity { nodes: BTreeMap::from([(3, daemon)]), ..RepmgrActivity::default() }
}
