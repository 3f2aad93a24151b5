//! What promote and switchover do about repmgr running in the same cluster. Pure.
//!
//! Its daemons are paused, and unpaused afterwards. Its commands cannot be blocked: they do not know our locks. So pgbaton refuses while
//! one is running, and looks again at the last moment before the first effect.

use std::collections::BTreeMap;

use crate::error::Exit;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::repmgr::{self, Daemon, IS_REPMGRS, NEW_S, Repmgr};
use crate::pg::statement::Statement;
use crate::plan::parts::following::QUERY_S;
use crate::plan::register::endpoint;
use crate::plan::{Check, OnFailure, Op, Order, Override, Phase, Plan, Probe, Step};
use crate::registry::lock::KEY;

/// What repmgr does in the cluster.
#[derive(Debug, Default)]
pub struct RepmgrActivity {
    /// The real repmgr can change roles here.
    pub possible: bool,
    /// What it does, by node id, on those that respond.
    pub nodes: BTreeMap<i32, Repmgr>,
    /// None of its daemons ran when one looked before the locks. It stays true of the sessions when a server is stopped meanwhile.
    pub none_ran: bool,
    /// Its daemons are left as they are.
    pub no_pause: bool,
    /// Daemons that were paused before are to go on afterwards, too.
    pub force_unpause: bool,
}

impl RepmgrActivity {
    fn known<'a>(
        &'a self,
        cluster: &'a ClusterFacts,
    ) -> impl Iterator<Item = (&'a NodeFacts, &'a Repmgr)> + 'a {
        cluster.nodes.iter().filter_map(|node| Some((node, self.nodes.get(&node.row.node_id)?)))
    }

    /// Names the nodes on which a command of repmgr may be changing roles.
    pub fn at_work(&self, cluster: &ClusterFacts) -> Vec<String> {
        let asked = cluster.nodes.iter().map(|node| self.nodes.get(&node.row.node_id));
        let none_runs = self.none_ran || repmgr::none_runs(asked);
        self.known(cluster)
            .map(|(node, repmgr)| (&node.row.node_name, repmgr.commands(none_runs)))
            .filter(|(_, visits)| self.possible && !visits.is_empty())
            .map(|(name, visits)| {
                let from: Vec<&str> = visits.iter().map(|visit| visit.from.as_str()).collect();
                format!("node \"{name}\" ({})", from.join(", "))
            })
            .collect()
    }

    /// Checks that no command of repmgr runs that may be changing roles.
    pub fn checks(&self, cluster: &ClusterFacts, force: bool) -> Vec<Check> {
        let mut checks = Vec::new();
        let at_work = self.at_work(cluster);
        if !at_work.is_empty() {
            checks.push(
                Check::fail("repmgr_rests", "a command of repmgr may be running in this cluster")
                    .detail(format!(
                        "It has a session that is not older than {NEW_S} s, or does not belong to repmgrd, on {}. It does not know of \
                        pgbaton, and both must not change roles at the same time.",
                        at_work.join(" and on ")
                    ))
                    .hint("Wait for its end, and run the command again. A repmgrd that has just been started looks the same, and so does \
                        one that no node knows.")
                    .exit(Exit::Busy)
                    .overridable_by(Override::Force, force),
            );
        }
        let paused = |repmgr: &Repmgr| repmgr.daemon == Daemon::Paused && !self.force_unpause;
        for (node, _) in self.known(cluster).filter(|(_, repmgr)| paused(repmgr)) {
            checks.push(
                Check::warning(
                    "repmgrd_paused",
                    format!("repmgrd on node \"{}\" was already paused, and stays paused", node.row.node_name),
                )
                .node(node.row.node_id)
                .detail(
                    "A failed repmgr command leaves all daemons paused: then there is no automatic failover. A running repmgr command \
                    pauses them, too.",
                )
                .hint("Make sure that no repmgr command is changing roles. If the pause is not intended, run \"repmgr service unpause\"."),
            );
        }
        checks
    }

    /// The nodes on which a repmgrd is to be paused.
    fn daemons<'a>(&self, cluster: &'a ClusterFacts) -> Vec<&'a NodeFacts> {
        let counts = |repmgr: &Repmgr| match repmgr.daemon {
            Daemon::Running => true,
            Daemon::Paused => self.force_unpause,
            Daemon::Impossible | Daemon::Stopped | Daemon::Unknown => false,
        };
        let of = |node: &&NodeFacts| !self.no_pause && self.nodes.get(&node.row.node_id).is_some_and(counts);
        cluster.nodes.iter().filter(of).collect()
    }

    /// Pauses the daemons, and has them go on in the end.
    pub fn pause(&self, plan: &mut Plan, cluster: &ClusterFacts, exit: Exit) {
        let mut steps = Vec::new();
        for node in self.daemons(cluster) {
            let sql = |paused: bool| Op::Sql {
                on: endpoint(node),
                statements: vec![
                    Statement::new("SELECT repmgr.repmgrd_pause($1::boolean)::text").bind(paused),
                ],
            };
            let (id, name) = (node.row.node_id, &node.row.node_name);
            let title = |verb: &str| format!("{verb} repmgrd on node \"{name}\"");
            steps.push(
                Step::new(format!("pause_{id}"), title("pause"), sql(true), QUERY_S, exit)
                    .hint(pause_hint(node)),
            );
            plan.always.push(Step::new(
                format!("unpause_{id}"),
                title("unpause"),
                sql(false),
                QUERY_S,
                Exit::Pause,
            ));
        }
        plan.phases.push(phase("pause the daemons", steps));
    }

    /// Looks again whether repmgr rests: what it has begun since we looked first, and whether its daemons are paused indeed.
    /// And whether the `primary`, if there is to be one, is still the primary: the rollback would make it one.
    pub fn recheck(&self, plan: &mut Plan, cluster: &ClusterFacts, primary: Option<&NodeFacts>, exit: Exit) {
        if !self.possible {
            return;
        }
        let paused = self.daemons(cluster);
        let mut steps = Vec::new();
        if let Some(node) = primary {
            let title = format!("check that node \"{}\" is still the primary", node.row.node_name);
            let probe = Probe::Accepts { on: endpoint(node), in_recovery: Some(false) };
            steps.push(Step::new("primary_still", title, Op::Wait(probe), REST_S, exit));
        }
        for node in &cluster.nodes {
            let Some(repmgr) = self.nodes.get(&node.row.node_id) else { continue };
            let (id, name) = (node.row.node_id, &node.row.node_name);
            let is_paused = paused.iter().any(|other| other.row.node_id == id);
            let says = format!("no command of repmgr runs on node \"{name}\"");
            let probe = Probe::Sql { says, on: endpoint(node), statement: no_session_since(repmgr) };
            let title = format!("check that no repmgr command runs on node \"{name}\"");
            steps.push(
                Step::new(format!("repmgr_rests_{id}"), title, Op::Wait(probe), REST_S, exit)
                    .hint("Wait for the end of the repmgr command, and run the command again."),
            );
            if is_paused {
                let probe = Probe::Sql {
                    says: format!("repmgrd is paused on node \"{name}\""),
                    on: endpoint(node),
                    statement: Statement::new("SELECT repmgr.repmgrd_is_paused()::text"),
                };
                let title = format!("check that repmgrd is paused on node \"{name}\"");
                steps.push(
                    Step::new(format!("paused_{id}"), title, Op::Wait(probe), REST_S, exit)
                        .hint(pause_hint(node)),
                );
            }
        }
        plan.phases.push(phase("check for repmgr commands", steps));
    }
}

/// Seconds that a command of repmgr may take that only looks; `node check` is over in less than one.
const REST_S: u32 = 5;

/// What to do about a daemon that cannot be paused.
fn pause_hint(node: &NodeFacts) -> String {
    format!(
        "Stop repmgrd on \"{}\" for the time being; --repmgrd-no-pause leaves it running, but then it may promote another node.",
        node.row.node_name
    )
}

/// A question whose answer is yes while repmgr has no session that was opened after those that were there when we looked first.
///
/// A resumed operation has looked long ago, but holds the lock since a moment: older sessions than that are the daemon's.
fn no_session_since(seen: &Repmgr) -> Statement {
    let known: Vec<String> = seen.visits.iter().map(|visit| visit.pid.to_string()).collect();
    Statement::new(format!(
        "SELECT (count(*) = 0)::text FROM pg_stat_activity WHERE {IS_REPMGRS} AND pid <> ALL (string_to_array($1, ',')::integer[]) \
         AND backend_start > (SELECT min(a.backend_start) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
           WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
           AND (l.classid::bigint << 32 | l.objid::bigint) = $2::bigint) - $3::integer * interval '1 s'"
    ))
    .bind(known.join(","))
    .bind(KEY)
    .bind(NEW_S)
}

fn phase(title: &str, steps: Vec<Step>) -> Phase {
    Phase {
        title: title.to_string(),
        order: Order::AllAtOnce,
        on_failure: OnFailure::Stop,
        outage: false,
        steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::repmgr::RepmgrSession;
    use crate::facts::server::ServerFacts;
    use crate::registry::{NodeRow, NodeType};

    /// Node 1 with a daemon at work, node 2 with one that was paused before, node 3 without one.
    fn example() -> (ClusterFacts, RepmgrActivity) {
        let node = |id| NodeFacts {
            row: NodeRow::example(id, NodeType::Standby),
            server: Ok(ServerFacts::example(true, 1, 0x500)),
        };
        let does = |daemon| Repmgr { daemon, visits: Vec::new() };
        let nodes = BTreeMap::from([
            (1, does(Daemon::Running)),
            (2, does(Daemon::Paused)),
            (3, does(Daemon::Stopped)),
        ]);
        let cluster = ClusterFacts { nodes: (1..=3).map(node).collect(), ..ClusterFacts::default() };
        (cluster, RepmgrActivity { possible: true, nodes, ..RepmgrActivity::default() })
    }

    fn paused(activity: &RepmgrActivity, cluster: &ClusterFacts) -> Vec<i32> {
        activity.daemons(cluster).iter().map(|node| node.row.node_id).collect()
    }

    #[test]
    fn a_daemon_that_was_paused_before_stays_so() {
        let (cluster, mut activity) = example();
        assert_eq!(paused(&activity, &cluster), [1]);
        assert_eq!(activity.checks(&cluster, false).len(), 1);
        activity.force_unpause = true;
        assert_eq!(paused(&activity, &cluster), [1, 2]);
        assert!(activity.checks(&cluster, false).is_empty());
        activity.no_pause = true;
        assert!(paused(&activity, &cluster).is_empty());
    }

    #[test]
    fn a_command_that_has_just_begun_is_given_way_to() {
        let (cluster, mut activity) = example();
        let visit = |new| RepmgrSession { pid: 7, from: "process 7".into(), new, here: true };
        activity.nodes.get_mut(&3).unwrap().visits.push(visit(true));
        let refused = |activity: &RepmgrActivity, force| {
            let checks = activity.checks(&cluster, force);
            checks.iter().find(|check| check.stops()).map(|check| check.exit)
        };
        assert_eq!(refused(&activity, false), Some(Exit::Busy));
        assert_eq!(refused(&activity, true), None);
        // An old one is a daemon's, unless none runs.
        activity.nodes.get_mut(&3).unwrap().visits[0].new = false;
        assert_eq!(refused(&activity, false), None);
        for id in [1, 2] {
            activity.nodes.get_mut(&id).unwrap().daemon = Daemon::Stopped;
        }
        assert_eq!(refused(&activity, false), Some(Exit::Busy));
        // That of a node that does not answer may have it.
        let silent = activity.nodes.remove(&1);
        assert_eq!(refused(&activity, false), None);
        // Unless it responded at the first look, and had none: it is being stopped just now.
        activity.none_ran = true;
        assert_eq!(refused(&activity, false), Some(Exit::Busy));
        activity.none_ran = false;
        activity.nodes.extend(silent.map(|silent| (1, silent)));
        // Where the real repmgr cannot work, the name of a session means nothing.
        activity.possible = false;
        assert_eq!(refused(&activity, false), None);
    }
}
