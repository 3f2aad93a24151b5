//! The daemons of a cluster, by what the servers show of them: which run, which are paused, who leads by how many votes, and what is wrong.

use pgbaton_lease::Flag;
use pgbaton_lease::mailbox::{Role, Status};

use crate::error::{Issue, Severity};
use crate::facts::cluster::ClusterFacts;
use crate::facts::daemon_info::{Course, DaemonInfo, Fencer};
use crate::facts::daemons::{Daemons, role_name};
use crate::registry::{NodeRow, NodeType};

/// The daemon of a node, in the words of reports.
pub const RUNNING: &str = "running";
/// See [`RUNNING`].
pub const STOPPED: &str = "stopped";
/// See [`RUNNING`].
pub const UNKNOWN: &str = "unknown";

/// The role of a node whose server was stopped, or has to be, because its lease has ended.
pub const FENCED: &str = "fenced";

/// A node, and what its server shows.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    row: &'a NodeRow,
    /// Its server responds.
    responds: bool,
    /// What its server shows of daemons; None where that is not known.
    shown: Option<&'a Daemons>,
}

/// What all servers together show of daemons.
#[derive(Clone, Debug)]
pub struct ClusterDaemons<'a> {
    nodes: Vec<Seen<'a>>,
    /// The configuration says `failover = "automatic"`: it has to be the same on all nodes.
    automatic: bool,
}

impl<'a> ClusterDaemons<'a> {
    /// Puts together what the servers show: for each node whether it responds, and what it shows if that is known.
    pub fn new(
        nodes: impl Iterator<Item = (&'a NodeRow, bool, Option<&'a Daemons>)>,
        automatic: bool,
    ) -> Self {
        let nodes = nodes.map(|(row, responds, shown)| Seen { row, responds, shown }).collect();
        Self { nodes, automatic }
    }

    /// The same of what all nodes were asked. What is no server of this cluster shows no daemon of it.
    pub fn of(facts: &'a ClusterFacts, automatic: bool) -> Self {
        let nodes = facts.nodes.iter().map(|node| {
            let server = node.facts().filter(|_| facts.stranger(node).is_none());
            (&node.row, server.is_some(), server.and_then(|server| server.daemons.as_ref()))
        });
        Self::new(nodes, automatic)
    }

    fn node(&self, id: i32) -> Option<&Seen<'a>> {
        self.nodes.iter().find(|node| node.row.node_id == id)
    }

    /// The nodes that have to have a daemon.
    fn data_nodes(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.nodes.iter().filter(|node| node.row.node_type != NodeType::Witness)
    }

    /// Returns what a node's daemon says on its own server.
    pub fn own(&self, id: i32) -> Option<&'a Status> {
        self.node(id)?.shown?.of(id)
    }

    /// Returns what a node's daemon reports of itself.
    pub fn info(&self, id: i32) -> Option<&'a DaemonInfo> {
        self.node(id)?.shown?.info(id)
    }

    /// Returns what a node's daemon says on its own server, or else on another one: it runs on when its server is down.
    fn anywhere(&self, id: i32) -> Option<&'a Status> {
        self.own(id)
            .or_else(|| self.nodes.iter().filter_map(|node| node.shown).find_map(|shown| shown.of(id)))
    }

    /// Says whether the daemon of a node runs. Where its server responds, it has a session there within a second of its start.
    pub fn state(&self, id: i32) -> &'static str {
        let is_known = self.node(id).is_some_and(|node| node.shown.is_some());
        match is_known {
            true if self.own(id).is_some() || self.info(id).is_some() => RUNNING,
            true => STOPPED,
            false if self.anywhere(id).is_some() => RUNNING,
            false => UNKNOWN,
        }
    }

    /// Says whether a node's daemon is paused; None where it says nothing on its own server.
    pub fn is_paused(&self, id: i32) -> Option<bool> {
        self.own(id).map(|status| status.flag == Flag::Full)
    }

    /// Returns the node whose daemon leads: its server may write, and it is not barred.
    pub fn leader(&self) -> Option<&'a NodeRow> {
        let leads = |node: &&Seen<'a>| {
            self.anywhere(node.row.node_id).is_some_and(|status| status.role == Role::Leader)
        };
        let timeline = |node: &&Seen<'a>| self.anywhere(node.row.node_id).map(|status| status.timeline);
        self.nodes.iter().filter(leads).max_by_key(timeline).map(|node| node.row)
    }

    /// Counts the servers whose vote a node's daemon is seen to hold.
    fn votes_of(&self, id: i32) -> usize {
        let holds = |node: &&Seen<'a>| {
            let holder = node.shown.and_then(|shown| shown.holder.flatten());
            holder.is_some_and(|status| i64::from(status.node) == i64::from(id))
        };
        self.nodes.iter().filter(holds).count()
    }

    /// Returns how many votes are seen in the leader's hands.
    pub fn votes(&self) -> usize {
        self.leader().map_or(0, |leader| self.votes_of(leader.node_id))
    }

    /// Returns how many votes there are: one of each node with data, and of each witness that is in use.
    pub fn voters(&self) -> usize {
        self.nodes.iter().filter(|node| node.row.active || node.row.node_type != NodeType::Witness).count()
    }

    /// Returns how many votes a leader needs.
    pub fn majority(&self) -> usize {
        self.voters() / 2 + 1
    }

    fn running(&self) -> impl Iterator<Item = (&'a NodeRow, &'a Status)> {
        self.nodes.iter().filter_map(|node| Some((node.row, self.own(node.row.node_id)?)))
    }

    /// Says whether all daemons that respond are paused.
    pub fn all_paused(&self) -> bool {
        let mut running = self.running().peekable();
        running.peek().is_some() && running.all(|(_, status)| status.flag == Flag::Full)
    }

    /// Says whether failover is automatic here, be it paused: by the configuration, or by a daemon that takes or has taken part in elections.
    pub fn is_used(&self) -> bool {
        let takes_part = |status: &Status| status.flag != Flag::Full || status.pause != (0, 0);
        self.automatic
            || self.nodes.iter().any(|node| self.anywhere(node.row.node_id).is_some_and(takes_part))
    }

    /// Says whether a daemon takes part in elections, or is about to.
    pub fn is_active(&self) -> bool {
        let acts = |status: &Status| matches!(status.flag, Flag::Active | Flag::Ending);
        self.nodes.iter().any(|node| self.anywhere(node.row.node_id).is_some_and(acts))
    }

    /// Returns what a node's daemon does, in one word.
    pub fn role(&self, id: i32) -> Option<&'static str> {
        if self.is_fenced(id) {
            return Some(FENCED);
        }
        let course = self.info(id).map(|info| info.course);
        match self.anywhere(id) {
            Some(_) if course == Some(Course::HandsOver) => Some("handing_over"),
            status => status.map(role_name),
        }
    }

    /// Says whether a node's server was stopped because its lease had ended, or has to be, as far as SQL shows that.
    ///
    /// Where the server responds, its daemon says so. Where it does not, the daemon is seen on the other servers: it takes no part in elections
    /// although it is not paused, holds no vote any more, and its node is registered as a primary. A primary that was stopped cleanly and has
    /// been replaced looks the same for the moment until it comes back as a standby. A daemon that was lost with its server is not seen at all:
    /// then it is not known what its fencer did, and the node is just unreachable.
    pub fn is_fenced(&self, id: i32) -> bool {
        let Some(node) = self.node(id) else { return false };
        if let Some(info) = self.info(id) {
            return info.course == Course::Fenced;
        }
        let is_out = |status: &Status| {
            status.role == Role::Barred && matches!(status.flag, Flag::Active | Flag::Ending)
        };
        !node.responds
            && node.row.node_type == NodeType::Primary
            && self.votes_of(id) == 0
            && self.anywhere(id).is_some_and(is_out)
    }

    /// Returns what is wrong with the daemons. A cluster without automatic failover has nothing to complain of.
    pub fn issues(&self) -> Vec<Issue> {
        if !self.is_used() {
            return Vec::new();
        }
        let mut issues: Vec<Issue> = self.data_nodes().filter_map(|node| self.of_node(node.row)).collect();
        issues.extend(self.of_pause());
        issues.extend(self.of_lease());
        issues
    }

    fn of_node(&self, row: &NodeRow) -> Option<Issue> {
        let (id, name) = (row.node_id, &row.node_name);
        let error = |code, message: String| Issue::new(Severity::Error, code, message).node(id);
        if self.is_fenced(id) {
            return Some(
                error("node_fenced", format!("node \"{name}\" is fenced: its lease has ended"))
                    .detail("Its server was stopped, or is being stopped, so that there are never two primaries.")
                    .hint(format!(
                        "Its daemon brings it back as a standby. If it does not, see the daemon's log on \"{name}\", and run \"pgbaton node rejoin\" there."
                    )),
            );
        }
        if self.state(id) == STOPPED {
            return Some(
                error("daemon_not_running", format!("the daemon of node \"{name}\" is not running"))
                    .detail("Without it the node is not promoted, and a primary without its daemon is stopped when its lease ends.")
                    .hint(format!(
                        "Run \"pgbaton daemon start\" on \"{name}\"; without a service, \"pgbaton daemon run\"."
                    )),
            );
        }
        if let Some(Fencer::NotArmed(_)) = self.info(id).map(|info| info.fencer) {
            return Some(
                error("lease_degraded", format!("the fencer of node \"{name}\" is not armed"))
                    .detail("It would not stop the server if the lease ended now, so a second primary could accept writes.")
                    .hint(format!(
                        "See fencer.log in the runtime directory on \"{name}\", and the daemon's log; then restart the daemon."
                    )),
            );
        }
        if let Some(Fencer::Silent) = self.info(id).map(|info| info.fencer) {
            return Some(
                error("lease_degraded", format!("the fencer of node \"{name}\" does not respond"))
                    .detail("The daemon starts it again and again. Without it the node is not promoted.")
                    .hint(format!("See fencer.log in the runtime directory on \"{name}\", and whether pgbaton-fencer is installed there.")),
            );
        }
        None
    }

    /// A pause, or a part of one.
    fn of_pause(&self) -> Option<Issue> {
        let names = |wanted: &dyn Fn(Flag) -> bool| {
            let names = self.running().filter(|(_, status)| wanted(status.flag));
            names.map(|(row, _)| format!("\"{}\"", row.node_name)).collect::<Vec<_>>()
        };
        let acts = names(&|flag| flag == Flag::Active);
        let rests = names(&|flag| matches!(flag, Flag::Full | Flag::Held | Flag::Ending));
        match (acts.as_slice(), rests.as_slice()) {
            (_, []) => None,
            ([], _) if self.running().all(|(_, status)| status.pause == (0, 0)) => Some(
                Issue::warning("daemon_paused", "automatic failover has not begun")
                    .detail("The daemons begin once that of the primary runs and holds a majority of at least three votes.")
                    .hint("Run \"pgbaton service status\". If it stays so, see the log of the primary's daemon."),
            ),
            ([], _) => Some(
                Issue::warning("daemon_paused", "automatic failover is paused")
                    .detail("A primary that is lost is not replaced until the pause ends.")
                    .hint("Afterwards run \"pgbaton service unpause\"."),
            ),
            (acts, rests) => Some(
                Issue::warning("daemon_mixed", "the daemons are paused on some nodes only")
                    .detail(format!("Active: {}. Not active: {}.", acts.join(", "), rests.join(", ")))
                    .hint("Run \"pgbaton service unpause\" or \"pgbaton service pause\", so that it is the same on all nodes."),
            ),
        }
    }

    /// The votes of the leader.
    fn of_lease(&self) -> Option<Issue> {
        if !self.is_active() {
            return None;
        }
        let Some(leader) = self.leader() else {
            return Some(
                Issue::new(Severity::Error, "lease_degraded", "no daemon leads")
                    .detail("A failover is in progress, or no candidate gets a majority of the votes.")
                    .hint("Run \"pgbaton service status\" again in a few seconds. If it stays so, see the logs of the daemons."),
            );
        };
        let (votes, voters, majority) = (self.votes(), self.voters(), self.majority());
        if votes >= voters {
            return None;
        }
        let missing = self.nodes.iter().filter(|node| {
            let holder = node.shown.and_then(|shown| shown.holder.flatten());
            holder.is_none_or(|status| i64::from(status.node) != i64::from(leader.node_id))
        });
        let missing: Vec<String> = missing.map(|node| format!("\"{}\"", node.row.node_name)).collect();
        let detail = |then: &str| format!("Not seen are those of {}. {then}", missing.join(", "));
        let message =
            format!("the leader \"{}\" is seen to hold {votes} of {voters} votes", leader.node_name);
        Some(match votes >= majority {
            true => Issue::warning("lease_degraded", message)
                .detail(detail(&format!("It needs {majority}: with fewer its server is stopped.")))
                .hint("Start the servers that do not respond, or unregister nodes that are gone for good."),
            false => Issue::new(Severity::Error, "lease_degraded", message)
                .detail(detail(&format!(
                    "It needs {majority}. If it holds no others, its server is stopped when its lease ends."
                )))
                .hint("Start the servers that do not respond, or check the network between the nodes."),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
