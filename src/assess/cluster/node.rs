//! One node: what it reports, compared with what it is registered as.

use super::{ClusterAssessment, NodeView, Role, ago};
use crate::assess::daemons::ClusterDaemons;
use crate::error::{Severity, sentence};
use crate::facts::cluster::{LATE, NodeFacts};
use crate::facts::server::ServerFacts;
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::Answered;
use crate::registry::{NodeRow, NodeType};

impl ClusterAssessment<'_> {
    /// Judges one node.
    pub(crate) fn node(
        &mut self,
        node: &NodeFacts,
        reference: Option<(&NodeFacts, &ServerFacts)>,
    ) -> NodeView {
        let row = &node.row;
        let upstream = row.upstream_node_id.and_then(|id| self.facts.node(id));
        let daemons = ClusterDaemons::of(self.facts, self.view.automatic);
        let mut out = NodeView {
            node_id: row.node_id,
            node_name: row.node_name.clone(),
            node_type: row.node_type.clone(),
            active: row.active,
            reachable: node.server.is_ok(),
            answered: node
                .server
                .as_ref()
                .map_or_else(|unavailable| unavailable.answered == Answered::Spoke, |_| true),
            observed_role: Role::Unknown,
            status: String::new(),
            upstream_node_id: row.upstream_node_id,
            upstream_node_name: upstream.map(|node| node.row.node_name.clone()),
            attached: None,
            location: row.location.clone(),
            priority: row.priority,
            timeline: None,
            receive_lsn: None,
            replay_lsn: None,
            receive_lag_bytes: None,
            replay_lag_bytes: None,
            replay_lag_s: None,
            replay_paused: None,
            daemon: daemons.state(row.node_id),
            daemon_paused: daemons.is_paused(row.node_id),
            sync_state: None,
            slot_name: row.slot_name.clone(),
            slot_active: None,
            slot_wal_status: None,
            slot_retained_bytes: None,
            server_version: None,
            last_seen: self.view.topology.and_then(|seen| seen.node(row.node_id)?.last_seen),
            conninfo: Conninfo::parse(&row.conninfo)
                .map_or_else(|_| "(invalid)".to_string(), |parsed| parsed.redacted()),
            error: None,
        };
        match &node.server {
            Err(unavailable) => {
                out.error = Some(unavailable.message.clone());
                self.silent(node, &mut out);
                self.has_moved(row);
            }
            Ok(server) => {
                out.last_seen = Some(self.view.now);
                self.answering(node, server, &mut out);
                self.registered_elsewhere(row, server);
                if row.node_type != NodeType::Witness && self.leads_to_other_server(node, server) {
                    // What that server is, is not what this node is.
                    out.observed_role = Role::Unknown;
                    out.status = "unknown".into();
                    out.timeline = None;
                    (out.receive_lsn, out.replay_lsn, out.replay_paused) = (None, None, None);
                } else if row.node_type != NodeType::Witness {
                    let typed = self.next.len();
                    self.positions(server, reference.map(|(_, server)| server), &mut out);
                    if server.in_recovery {
                        self.standby(node, server, upstream, reference, &mut out);
                        self.kept_slots(node);
                    }
                    self.past(node, server, reference, typed, &mut out);
                }
            }
        }
        out
    }

    /// The local server, if it is the one of this record, and where it is.
    fn local_server(&self, row: &NodeRow) -> Option<&(String, ServerFacts)> {
        self.view.local_server.filter(|_| self.view.local_node_id == Some(row.node_id))
    }

    /// Whether conninfo of the configuration and the record of the same node lead to different servers.
    fn registered_elsewhere(&mut self, row: &NodeRow, server: &ServerFacts) {
        let Some((here, local)) = self.local_server(row) else { return };
        let which = |server: &ServerFacts| (server.system_identifier.clone(), server.started_at.clone());
        if which(local) == which(server) {
            return;
        }
        let name = &row.node_name;
        let what = |server: &ServerFacts| match server.in_recovery {
            true => "is a standby",
            false => "accepts writes",
        };
        let there =
            Conninfo::parse(&row.conninfo).map(|there| there.destination().to_string()).unwrap_or_default();
        let mut detail = format!(
            "The server at \"{here}\" (conninfo in the configuration) {}; the server at \"{there}\" (registered conninfo) {}.",
            what(local),
            what(server)
        );
        let two =
            local.system_identifier == server.system_identifier && !local.in_recovery && !server.in_recovery;
        let hint = if two {
            detail.push_str(" Both have the same system identifier: one of them is a copy, and writes to one are not on the other.");
            format!(
                "Decide which one is \"{name}\", and stop the other one at once. If \"{name}\" is the one in the configuration, register \
                it after that: \"pgbaton primary register --force\"."
            )
        } else {
            format!(
                "Correct conninfo in the configuration; or, if \"{name}\" was moved, register it again with --force."
            )
        };
        let message = format!("conninfo and the record of node \"{name}\" lead to different servers");
        let issue = self.issue(Severity::Error, "wrong_server", Some(row), message);
        (issue.detail, issue.hint) = (Some(detail), Some(hint));
    }

    /// If the server of a record was moved, reports where it is.
    fn has_moved(&mut self, row: &NodeRow) {
        let Some((here, local)) = self.local_server(row) else { return };
        if self.facts.system_identifier().is_some_and(|own| own != local.system_identifier) {
            return;
        }
        let command = match (&row.node_type, local.in_recovery) {
            (NodeType::Witness, _) => return,
            (_, true) => "pgbaton standby register --force",
            (_, false) => "pgbaton primary register --force",
        };
        let text = format!(
            "A server responds at \"{here}\" (conninfo in the configuration). If \"{}\" was moved, run \"{command}\" on it.",
            row.node_name
        );
        if let Some(issue) = self.issues.last_mut().filter(|issue| issue.node_id == Some(row.node_id)) {
            issue.hint = Some(text);
        }
    }

    fn silent(&mut self, node: &NodeFacts, out: &mut NodeView) {
        let (row, Err(unavailable)) = (&node.row, &node.server) else { return };
        let spoke = unavailable.answered == Answered::Spoke;
        out.status = match (row.active, spoke, &row.node_type) {
            (_, true, NodeType::Witness) => "rejected",
            (_, true, _) => "running",
            (true, false, _) => "unreachable",
            (false, false, _) => "failed",
        }
        .to_string();
        let seen = self.last_seen(row);
        let detail =
            format!("{} {seen}", sentence(&full(&unavailable.message, unavailable.detail.as_deref())));
        let mut hint = unavailable.hint.clone();
        // A repmgrd marks a node as inactive, too, and a promotion the old primary. A node that is gone for good is unregistered.
        let severity = if row.active { Severity::Error } else { Severity::Warning };
        let name = &row.node_name;
        let (code, message) = if Conninfo::parse(&row.conninfo).is_err() {
            hint = Some(format!("Register \"{name}\" again with --force, which replaces its record."));
            ("invalid_conninfo", format!("the record of node \"{name}\" has no valid connection string"))
        } else if spoke && unavailable.message == LATE {
            ("node_rejects", format!("node \"{name}\" accepts the connection but does not respond"))
        } else if spoke {
            ("node_rejects", format!("node \"{}\" responds but rejects the connection", row.node_name))
        } else {
            ("node_unreachable", format!("node \"{}\" is unreachable", row.node_name))
        };
        if !row.active && row.node_type == NodeType::Primary && unavailable.answered == Answered::Nothing {
            hint = Some(format!(
                "It is a former primary. Do not start it as a primary: run \"pgbaton node rejoin\" on \"{name}\". If it is gone for good, \
                remove its record: \"pgbaton primary unregister --node-id={}\".",
                row.node_id
            ));
        }
        let issue = self.issue(severity, code, Some(row), message);
        issue.detail = Some(detail);
        issue.hint = hint;
        if row.node_type == NodeType::Standby && unavailable.answered == Answered::Nothing {
            self.type_on("pgbaton node start", row);
        }
    }

    /// Advises how former primaries rejoin, after all that the others need.
    pub(crate) fn replaced_primaries(&mut self) {
        for node in &self.facts.nodes {
            let gone =
                node.server.as_ref().is_err_and(|unavailable| unavailable.answered == Answered::Nothing);
            if gone && node.row.node_type == NodeType::Primary && !node.row.active {
                self.type_on("pgbaton node rejoin", &node.row);
            }
        }
    }

    /// Says what was last seen of a node.
    fn last_seen(&self, row: &NodeRow) -> String {
        let seen = self.view.topology.and_then(|seen| seen.node(row.node_id));
        let Some((seen, at)) = seen.and_then(|seen| Some((seen, seen.last_seen?))) else {
            return "It has never been seen from this host.".to_string();
        };
        let role = match seen.was_primary {
            Some(true) if row.node_type != NodeType::Witness => "as primary, ",
            Some(false) => "as standby, ",
            _ => "",
        };
        let place = match (seen.timeline, seen.wal_end) {
            (Some(timeline), Some(end)) => format!(", at {end} on timeline {timeline}"),
            _ => String::new(),
        };
        format!("It last responded {role}{}{place}.", ago(self.view.now, at))
    }

    /// Whether a row leads to a server that is not this node's: another cluster's, or another node's.
    fn leads_to_other_server(&mut self, node: &NodeFacts, server: &ServerFacts) -> bool {
        let (row, name) = (&node.row, &node.row.node_name);
        let own = self.facts.system_identifier().unwrap_or_default().to_string();
        if server.system_identifier != own {
            let message = format!("node \"{name}\" belongs to another cluster");
            let issue = self.issue(Severity::Error, "foreign_cluster", Some(row), message);
            issue.detail = Some(format!(
                "Its system identifier is {}, but that of the other nodes is {own}.",
                server.system_identifier
            ));
            issue.hint =
                Some(format!("Compare its connection string with the address of the server of \"{name}\"."));
            return true;
        }
        let Some(twin) = self.facts.other_node_of_server(node).map(|twin| twin.row.node_name.clone()) else {
            return false;
        };
        let message = format!("nodes \"{twin}\" and \"{name}\" are registered with the same server");
        let issue = self.issue(Severity::Error, "same_server", Some(row), message);
        issue.detail = Some(format!(
            "Both connection strings lead to that server. The state of \"{name}\" itself is unknown."
        ));
        issue.hint = Some(format!("Register \"{name}\" again, on its own host and with its own conninfo."));
        true
    }

    /// What a node is, compared with what it is registered as.
    fn answering(&mut self, node: &NodeFacts, server: &ServerFacts, out: &mut NodeView) {
        let row = &node.row;
        out.timeline = Some(server.timeline);
        out.server_version = Some(server.version.clone());
        out.receive_lsn = server.receive_lsn;
        out.replay_lsn = server.replay_lsn.filter(|_| server.in_recovery);
        out.receive_lsn = out.receive_lsn.filter(|_| server.in_recovery);
        out.replay_paused = server.replay_paused;
        out.observed_role = match (&row.node_type, server.in_recovery) {
            (NodeType::Witness, _) => Role::Witness,
            (_, true) => Role::Standby,
            (_, false) => Role::Primary,
        };
        if row.node_type == NodeType::Witness {
            out.timeline = None;
            self.copy(node);
        }
        out.status = match (&row.node_type, out.observed_role) {
            (NodeType::Primary, Role::Standby) => "running as standby",
            (NodeType::Standby, Role::Primary) => "running as primary",
            (NodeType::Other(_), _) => "unknown node type",
            _ => "running",
        }
        .to_string();
        self.witness_in_cluster(row, server);
        if !row.active {
            self.inactive_but_running(row, server);
        }
        let of_cluster = Some(server.system_identifier.as_str()) == self.facts.system_identifier();
        if row.node_type != NodeType::Witness && of_cluster {
            self.signals(row, server);
        }
        if self.facts.other_node_of_server(node).is_none() && of_cluster {
            match (&row.node_type, server.in_recovery) {
                (NodeType::Primary, true) => self.running_as_standby(row),
                (NodeType::Standby, false) => self.running_as_primary(row, server),
                _ => {}
            }
        }
    }

    /// A witness must not be a server of the cluster.
    fn witness_in_cluster(&mut self, row: &NodeRow, server: &ServerFacts) {
        if row.node_type == NodeType::Witness
            && Some(server.system_identifier.as_str()) == self.facts.system_identifier()
        {
            let message =
                format!("node \"{}\" is registered as witness but belongs to the cluster", row.node_name);
            let issue = self.issue(Severity::Error, "witness_in_cluster", Some(row), message);
            issue.detail = Some("A witness is a server of its own, with no data of the cluster.".into());
            issue.hint = Some(format!(
                "Run on \"{}\" the command for its actual type: \"pgbaton standby register --force\" or \"pgbaton primary register --force\".",
                row.node_name
            ));
        }
    }

    /// A server runs although its node is registered as inactive.
    fn inactive_but_running(&mut self, row: &NodeRow, server: &ServerFacts) {
        let name = &row.node_name;
        let alone = self.facts.primaries().count() == 1;
        let message = format!("node \"{name}\" is registered as inactive but running");
        let issue = self.issue(Severity::Warning, "inactive_but_running", Some(row), message);
        let (hint, command) = match (&row.node_type, server.in_recovery, alone) {
            (NodeType::Witness, ..) => (None, None),
            (_, true, _) => (
                Some(format!("Run \"pgbaton standby register --force\" on \"{name}\".")),
                Some("pgbaton standby register --force"),
            ),
            (_, false, true) => (
                Some(format!(
                    "If it is to stay the primary, run \"pgbaton primary register --force\" on \"{name}\"."
                )),
                Some("pgbaton primary register --force"),
            ),
            (_, false, false) => (
                Some(format!("If it is a former primary, stop it now: \"pgbaton node stop\" on \"{name}\".")),
                None,
            ),
        };
        issue.hint = hint;
        if let Some(command) = command {
            self.type_on(command, row);
        }
    }

    fn running_as_standby(&mut self, row: &NodeRow) {
        let name = &row.node_name;
        let alone = self.facts.primaries().count() == 1;
        let message = format!("node \"{name}\" is registered as primary but running as standby");
        let issue = self.issue(Severity::Error, "running_as_standby", Some(row), message);
        // Without a primary there is nowhere to write that.
        if alone {
            issue.hint = Some(format!("Run \"pgbaton standby register --force\" on \"{name}\"."));
            self.type_on("pgbaton standby register --force", row);
        }
    }

    fn running_as_primary(&mut self, row: &NodeRow, server: &ServerFacts) {
        let name = &row.node_name;
        let others = self.facts.primaries().count() > 1;
        let message = format!("node \"{name}\" is registered as standby but running as primary");
        let issue = self.issue(Severity::Error, "running_as_primary", Some(row), message);
        if others {
            let promotions = server.lineage.iter().flat_map(|lineage| &lineage.promotions);
            let mut recorded = promotions.filter(|promotion| promotion.timeline == server.timeline);
            issue.detail = Some(match recorded.next() {
                Some(_) => "Its own copy of the metadata has a record of a promotion to its timeline.".into(),
                None => "The metadata has no record of its promotion: it was promoted manually, or started without standby.signal, while \
                    there was another primary.".into(),
            });
        } else {
            issue.detail = Some("The metadata has no record of its promotion.".into());
            issue.hint = Some(format!(
                "If it is to stay the primary, run \"pgbaton primary register --force\" on \"{name}\"."
            ));
            self.type_on("pgbaton primary register --force", row);
        }
    }
}

impl ClusterAssessment<'_> {
    /// What files in the data directory say of its next start, and of a promotion that was requested.
    fn signals(&mut self, row: &NodeRow, server: &ServerFacts) {
        let name = row.node_name.clone();
        match (server.in_recovery, server.standby_signal) {
            (true, Some(false)) => {
                let message = format!("node \"{name}\" is a standby, but would start as a primary");
                let issue = self.issue(Severity::Error, "standby_signal_missing", Some(row), message);
                issue.detail =
                    Some("standby.signal is missing: its next start would make a second primary.".into());
                issue.hint = Some(format!(
                    "Create the empty file \"standby.signal\" in the data directory of \"{name}\" before its server is stopped."
                ));
            }
            (false, Some(true)) => {
                let message = format!("node \"{name}\" is a primary, but would start as a standby");
                let issue = self.issue(Severity::Error, "standby_signal_leftover", Some(row), message);
                issue.detail = Some(
                    "It has standby.signal, which a running server ignores: after its next start there would be no primary.".into(),
                );
                issue.hint = Some(format!(
                    "If no pgbaton command is running, remove the file \"standby.signal\" from the data directory of \"{name}\"."
                ));
            }
            _ => {}
        }
        if server.promotion_requested == Some(true) {
            let message = format!("a promotion of node \"{name}\" was requested but has not happened yet");
            let issue = self.issue(Severity::Error, "promotion_requested", Some(row), message);
            issue.detail = Some(
                "The file \"promote\" is in its data directory. The promotion happens as soon as recovery can end; restore_command may \
                hang.".into(),
            );
            issue.hint = Some(format!(
                "Wait, or cancel the request by stopping that server: \"pgbaton node stop\" on \"{name}\". Until then do not start or \
                promote another node."
            ));
        }
    }
}

fn full(message: &str, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{} {detail}", sentence(message)),
        None => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{healthy, judged, promote, server, unavailable, view};
    use super::super::{State, assess};
    use super::*;
    use crate::facts::cluster::Unavailable;
    use crate::pg::history::TimelineId;

    #[test]
    fn a_server_that_accepts_the_connection_and_is_late_does_not_reject() {
        let mut facts = healthy();
        facts.nodes[1].server = Err(Unavailable::new(Answered::Spoke, LATE));
        let (_, issues) = assess(&facts, &view(None));
        assert_eq!(issues[0].code, "node_rejects");
        assert_eq!(issues[0].message, "node \"n2\" accepts the connection but does not respond");
    }

    #[test]
    fn silence_of_a_standby_degrades_also_if_it_is_inactive() {
        let mut facts = healthy();
        facts.nodes[2].server = Err(unavailable(Answered::Nothing));
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, codes), (State::Degraded, vec!["node_unreachable"]));
        assert_eq!(report.cluster.next, ["pgbaton node start  # on \"n3\""]);
        facts.nodes[2].server = Err(unavailable(Answered::Spoke));
        let (report, codes) = judged(&facts);
        assert_eq!((report.nodes[2].status.as_str(), codes), ("running", vec!["node_rejects"]));
        // One that hangs is not to be started.
        facts.nodes[2].server = Err(unavailable(Answered::Silent));
        assert_eq!(judged(&facts).0.cluster.next, Vec::<String>::new());
        facts.nodes[2].row.active = false;
        let (report, _) = judged(&facts);
        assert_eq!((report.cluster.state, report.nodes[2].status.as_str()), (State::Degraded, "failed"));
    }

    #[test]
    fn servers_that_are_not_the_nodes_own() {
        // Another cluster's primary is no second primary, whatever its timeline.
        let mut facts = healthy();
        promote(&mut facts, 2, 9);
        server(&mut facts, 2).system_identifier = "8".into();
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, codes), (State::Degraded, vec!["foreign_cluster"]));
        assert_eq!((report.cluster.primary_node_id, report.cluster.timeline), (Some(1), Some(TimelineId(1))));
        // Of two, the registered primary's cluster is the one.
        facts.nodes.remove(1);
        assert_eq!(judged(&facts).0.cluster.primary_node_id, Some(1));
        // Nor is the same server under two names.
        let mut facts = healthy();
        facts.nodes[2].server = facts.nodes[0].server.clone();
        let (report, codes) = judged(&facts);
        assert_eq!((report.cluster.state, codes), (State::Degraded, vec!["same_server"]));
    }

    #[test]
    fn a_record_that_leads_to_another_server_than_conninfo_is_reported() {
        let mut facts = healthy();
        let copy = ServerFacts { started_at: "later".into(), ..facts.nodes[0].facts().unwrap().clone() };
        let issues_of = |facts: &crate::facts::cluster::ClusterFacts, server: &ServerFacts, id| {
            let local = ("host=h9 port=5432".to_string(), server.clone());
            let view =
                super::super::Viewpoint { local_server: Some(&local), local_node_id: Some(id), ..view(None) };
            let (report, issues) = assess(facts, &view);
            (report.cluster.state, issues)
        };
        let itself = facts.nodes[0].facts().unwrap().clone();
        assert_eq!(issues_of(&facts, &itself, 1).1, []);
        let (state, issues) = issues_of(&facts, &copy, 1);
        assert_eq!((state, issues[0].code, issues[0].node_id), (State::Degraded, "wrong_server", Some(1)));
        let detail = issues[0].detail.as_deref().unwrap();
        assert!(detail.contains("\"host=h9 port=5432\"") && detail.contains("\"host=h1 port=5432\""));
        assert!(detail.contains("one of them is a copy"));
        // Where it leads to another node's, nothing was copied.
        let other = facts.nodes[2].facts().unwrap().clone();
        let issue = &issues_of(&facts, &other, 1).1[0];
        assert!(issue.code == "wrong_server" && !issue.detail.as_deref().unwrap().contains("copy"));
        // No server is where it is registered.
        facts.nodes[0].server = Err(unavailable(Answered::Nothing));
        let issues = issues_of(&facts, &copy, 1).1;
        let issue = issues.iter().find(|issue| issue.code == "node_unreachable").unwrap();
        assert!(issue.hint.as_deref().unwrap().contains("pgbaton primary register --force"));
    }
}
