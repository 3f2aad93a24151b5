//! A node among the others: its role, its history, its lag, and which node streams from which.

use super::{CLOCK_S, CheckStatus, Figures, Finding, NodeChecks, count};
use crate::assess::alive::streams_from;
use crate::assess::cluster::State;
use crate::assess::history::{Relation, relation};
use crate::facts::check_name::CheckName;
use crate::facts::cluster::NodeFacts;
use crate::facts::server::ServerFacts;
use crate::pg::history::TimelineId;
use crate::pg::quote::quote_literal;
use crate::registry::NodeType;

const NO_SENDERS: &str = "the role lacks the privilege to see the state of replication";

impl NodeChecks<'_> {
    /// Whether pgbaton can connect at all.
    pub(crate) fn db_connection(&self) -> Finding {
        const NAME: CheckName = CheckName::DbConnection;
        match &self.node.server {
            Ok(server) => {
                let connected = format!("connected as \"{}\"", server.role);
                match self.evidence.asked.get(&self.node.row.node_id) {
                    Some(asked) if asked.exposed_password => {
                        Finding::new(NAME, CheckStatus::Warning, format!("{connected}, with the password in clear text"))
                            .detail("The server asks for the password in clear text, and the connection has no TLS: the network path can \
                                read it.")
                            .hint("Use scram-sha-256 in pg_hba.conf of that server, or TLS.")
                    }
                    _ => Finding::ok(NAME, connected),
                }
            }
            Err(unavailable) => {
                let found = Finding::new(NAME, CheckStatus::Critical, unavailable.message.clone());
                if self.node.row.active {
                    found
                } else {
                    found.detail("It is registered as inactive: it is a former primary, or a repmgrd has found it down.")
                }
            }
        }
    }

    /// Whether its role is the registered one, or the expected one; a primary must be the only one.
    pub(crate) fn server_role(&self) -> Option<Finding> {
        const NAME: CheckName = CheckName::ServerRole;
        let critical = |message: String| Finding::new(NAME, CheckStatus::Critical, message);
        let row = &self.node.row;
        let server = match (self.node.facts(), self.expected) {
            (Some(server), _) => server,
            (None, Some(expected)) => {
                return Some(critical(format!("node does not respond; its role should be {expected}")));
            }
            (None, None) => return None,
        };
        let is = match (&row.node_type, server.in_recovery) {
            (NodeType::Witness, _) => NodeType::Witness,
            (_, true) => NodeType::Standby,
            (_, false) => NodeType::Primary,
        };
        let found = match (&row.node_type, server.in_recovery) {
            (NodeType::Primary, true) => {
                critical("node is registered as primary but running as standby".into())
            }
            (NodeType::Standby, false) => {
                critical("node is registered as standby but running as primary".into())
            }
            (NodeType::Witness, true) => {
                critical("node is registered as witness but running as standby".into())
            }
            _ => Finding::ok(NAME, format!("node is {is}")),
        };
        let found = match self.expected {
            Some(expected) if *expected != is => critical(format!("node is {is}, not {expected}")),
            _ => found,
        };
        if is == NodeType::Primary && self.state == State::SplitBrain && found.status == CheckStatus::Ok {
            let names =
                self.evidence.facts.primaries().map(|(node, _)| format!("\"{}\"", node.row.node_name));
            let names: Vec<String> = names.collect();
            return Some(
                critical(format!("node is primary, and {} nodes accept writes", names.len()))
                    .detail(format!("They are {}.", names.join(", ")))
                    .hint("Run \"pgbaton cluster show\" to see which of them is the valid primary."),
            );
        }
        // Registered as one does not mean that it is used as one: an inactive node has an issue of its own.
        Some(found)
    }

    /// Whether its conninfo leads to a server of its own in this cluster; `assess` reports it if not.
    pub(crate) fn identity(&self) -> Finding {
        let server = self.node.facts().map_or("", |server| server.system_identifier.as_str());
        Finding::ok(
            CheckName::Identity,
            format!("system identifier {server}; no other node is registered with this server"),
        )
    }

    /// Whether it has the primary's major version; `assess` reports it if not.
    pub(crate) fn server_version(&self, server: &ServerFacts) -> Finding {
        Finding::ok(CheckName::ServerVersion, format!("PostgreSQL {}", server.version))
    }

    /// Whether replay is not paused; `assess` reports it if it is.
    pub(crate) fn replay(&self, server: &ServerFacts) -> Finding {
        Finding::ok(
            CheckName::Replay,
            if server.in_recovery { "replay is not paused" } else { "N/A - node is primary" },
        )
    }

    /// How far it is behind the primary.
    pub(crate) fn replication_lag(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::ReplicationLag;
        let limits = self.evidence.thresholds.lag_s;
        let found = |status, message: String| Finding::new(NAME, status, message).limits(limits);
        if self.node.row.node_type == NodeType::Witness {
            return found(CheckStatus::Ok, "N/A - node is witness".into()).value(0.0, "seconds");
        }
        if !server.in_recovery {
            return found(CheckStatus::Ok, "N/A - node is primary".into()).value(0.0, "seconds");
        }
        // A clock that is behind makes it negative, and what is rounded to nothing is no "-0".
        let Some(lag) = self.view.replay_lag_s.map(|lag| lag.round().max(0.0) + 0.0) else {
            let why = match self.primary() {
                None => "No primary responds.",
                Some(_)
                    if self
                        .evidence
                        .facts
                        .nodes
                        .iter()
                        .filter_map(NodeFacts::facts)
                        .any(|up| !up.sees_senders) =>
                {
                    "The role lacks the privilege to see the positions of the standbys: GRANT pg_monitor."
                }
                Some(_) => {
                    "It has diverged from the primary, or it has replayed no transaction since it was started."
                }
            };
            return found(CheckStatus::Unknown, "unable to query replication lag".into()).detail(why);
        };
        let (warning, critical) = limits;
        // As late as it is meant to be is on time.
        let delay = server.apply_delay_s.round().min(lag);
        let meant = if delay > 0.0 { format!(", {delay} of them meant") } else { String::new() };
        match lag - delay {
            late if late >= critical => {
                found(CheckStatus::Critical, format!("{lag} seconds{meant}, critical threshold: {critical}"))
            }
            late if late > warning => {
                found(CheckStatus::Warning, format!("{lag} seconds{meant}, warning threshold: {warning}"))
            }
            _ => found(CheckStatus::Ok, format!("{lag} seconds{meant}")),
        }
        .value(lag, "seconds")
    }

    /// Whether it streams from where it is registered to.
    pub(crate) fn upstream(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::Upstream;
        let row = &self.node.row;
        if row.node_type == NodeType::Witness {
            return Finding::ok(NAME, "N/A - node is a witness");
        }
        if !server.in_recovery {
            return Finding::ok(NAME, "N/A - node is primary");
        }
        let own = format!("node \"{}\" (ID: {})", row.node_name, row.node_id);
        let Some(upstream) = row.upstream_node_id.and_then(|id| self.evidence.facts.node(id)) else {
            return Finding::new(
                NAME,
                CheckStatus::Critical,
                format!("{own} is a standby but no upstream record found"),
            );
        };
        let name =
            format!("expected upstream node \"{}\" (ID: {})", upstream.row.node_name, upstream.row.node_id);
        match (self.view.attached, upstream.facts()) {
            (Some(true), Some(facts)) if !facts.sees_senders => self.no_right(NAME, NO_SENDERS, "pg_monitor"),
            (Some(true), _) => Finding::ok(NAME, format!("{own} is attached to {name}")),
            (Some(false), _) => {
                Finding::new(NAME, CheckStatus::Critical, format!("{own} is not attached to {name}"))
            }
            (None, _) => {
                Finding::unknown(NAME, format!("{own} has a WAL receiver, but {name} does not respond"))
            }
        }
    }

    /// Returns the standbys that are registered to follow this node.
    fn followers(&self) -> impl Iterator<Item = &NodeFacts> {
        self.evidence.facts.nodes.iter().filter(|NodeFacts { row, .. }| {
            row.node_type == NodeType::Standby && row.upstream_node_id == Some(self.node.row.node_id)
        })
    }

    /// Whether all nodes that should stream from it do.
    pub(crate) fn downstream(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::Downstream;
        let hangs = |node: &NodeFacts| node.facts()?.hangs(server.sender_of(&node.row.node_name));
        // One that starts up or takes a backup does not follow, nor does one whose WAL receiver is listed and hangs.
        let follows = |node: &&NodeFacts| {
            let sender = server.sender_of(&node.row.node_name);
            let listed = sender.is_some_and(|sender| {
                sender.state.as_deref().is_none_or(|state| matches!(state, "streaming" | "catchup"))
            });
            listed && hangs(node).is_none()
        };
        let (attached, others): (Vec<&NodeFacts>, Vec<&NodeFacts>) = self.followers().partition(follows);
        let why: Vec<String> = others
            .iter()
            .filter_map(|node| Some(format!("Node \"{}\": {}", node.row.node_name, hangs(node)?)))
            .collect();
        // It may have given another name than the one it is registered by.
        let (renamed, missing): (Vec<&NodeFacts>, Vec<&NodeFacts>) = others.into_iter().partition(|node| {
            !server.is_connected_to(&node.row.node_name)
                && self.evidence.facts.observed_upstream(&node.row.node_name).is_none()
                && streams_from(node, self.node)
        });
        let there = attached.len() + renamed.len();
        let all = there + missing.len();
        let named = |nodes: &[&NodeFacts]| -> Vec<String> {
            let rows = nodes.iter().map(|node| &node.row);
            rows.map(|row| format!("{} (ID: {})", row.node_name, row.node_id)).collect()
        };
        let (renamed, missing) = (named(&renamed), named(&missing));
        if all > 0 && missing.is_empty() && !server.sees_senders {
            return self.no_right(NAME, NO_SENDERS, "pg_monitor");
        }
        let found = match (all, missing.as_slice()) {
            (0, _) => Finding::ok(NAME, "this node has no downstream nodes"),
            (_, []) if !renamed.is_empty() => Finding::new(
                NAME,
                CheckStatus::Warning,
                format!(
                    "{} of {all} downstream nodes attached under another application_name: {}",
                    renamed.len(),
                    renamed.join(", ")
                ),
            )
            .detail("synchronous_standby_names does not match them by their node names.")
            .hint("Set application_name in primary_conninfo of each of them to its node name and reload it."),
            (_, []) => Finding::ok(NAME, format!("{there} of {all} downstream nodes attached")),
            (_, gone) => Finding::new(
                NAME,
                CheckStatus::Critical,
                format!(
                    "{} of {all} downstream nodes not attached; missing: {}",
                    gone.len(),
                    gone.join(", ")
                ),
            )
            .hint("The server logs of the missing nodes show why they do not stream."),
        };
        let found = if why.is_empty() { found } else { found.detail(why.join(" ")) };
        found.value(count(missing.len()), "nodes").figures(Figures::Downstream { attached: there, missing })
    }

    /// Whether there is a slot for each of them.
    pub(crate) fn missing_slots(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::MissingSlots;
        let names = self.followers().filter_map(|node| node.row.slot_name.clone());
        let missing: Vec<String> = names.filter(|name| server.slot(name).is_none()).collect();
        let found = if missing.is_empty() {
            Finding::ok(NAME, "node has no missing physical replication slots")
        } else {
            let many = missing.len();
            let sql: Vec<String> = missing
                .iter()
                .map(|name| {
                    format!("SELECT pg_create_physical_replication_slot({}, true);", quote_literal(name))
                })
                .collect();
            Finding::new(
                NAME,
                CheckStatus::Critical,
                format!("{many} physical replication slots are missing: {}", missing.join(", ")),
            )
            .detail("A standby whose configured slot is missing cannot stream.")
            .hint(format!("On node \"{}\" run: {}", self.name(), sql.join(" ")))
        };
        found.value(count(missing.len()), "slots").figures(Figures::MissingSlots(missing))
    }

    /// Whether its history is the primary's; `assess` reports a node that has diverged.
    pub(crate) fn timeline(&self, server: &ServerFacts) -> Finding {
        const NAME: CheckName = CheckName::Timeline;
        let own = server.timeline;
        let found = match self.primary() {
            None => Finding::unknown(NAME, format!("on timeline {own}; there is no primary to compare with")),
            Some((primary, _)) if primary.row.node_id == self.node.row.node_id => {
                Finding::ok(NAME, format!("on timeline {own}, as the primary"))
            }
            Some((primary, there)) => {
                let name = &primary.row.node_name;
                match relation(server, there) {
                    Relation::Forked { evidence, .. } => Finding::new(
                        NAME,
                        CheckStatus::Critical,
                        format!("it has diverged from \"{name}\""),
                    )
                    .detail(evidence.sentence(name)),
                    Relation::Same if own == there.timeline => {
                        Finding::ok(NAME, format!("on timeline {own}, with the history of \"{name}\""))
                    }
                    Relation::Same => Finding::ok(
                        NAME,
                        format!("on timeline {own}, an ancestor of timeline {} of \"{name}\"", there.timeline),
                    ),
                    Relation::Unknown(why) if server.reads_files && there.reads_files => {
                        self.uncompared(own, self.view.attached == Some(true), &why)
                    }
                    Relation::Unknown(why) => self
                        .no_right(
                            NAME,
                            "its history could not be compared with the primary's",
                            "EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
                        )
                        .detail(why),
                }
            }
        };
        found.value(f64::from(own.0), "timeline")
    }

    /// In an old cluster the first segment of the timeline is long gone, on every node: no news, day for day.
    fn uncompared(&self, own: TimelineId, streams: bool, why: &str) -> Finding {
        const NAME: CheckName = CheckName::Timeline;
        if streams {
            return Finding::ok(NAME, format!("on timeline {own}, streams from its upstream")).detail(why);
        }
        Finding::unknown(NAME, "its history could not be compared with the primary's").detail(why)
    }

    /// Whether its clock agrees with the primary's, or else with the first that was read.
    pub(crate) fn clock(&self) -> Finding {
        const NAME: CheckName = CheckName::Clock;
        let clock_of = |id: i32| self.evidence.asked.get(&id).and_then(|asked| asked.clock);
        let Some(own) = clock_of(self.node.row.node_id) else {
            return Finding::unknown(NAME, "its clock could not be read").limits(CLOCK_S);
        };
        let all_nodes = self.evidence.facts.nodes.iter().map(|node| &node.row);
        let first = self.primary().map(|(node, _)| &node.row).into_iter().chain(all_nodes);
        let reference = first.filter_map(|row| Some((row, clock_of(row.node_id)?))).next();
        let Some((other, there)) = reference.filter(|(row, _)| row.node_id != self.node.row.node_id) else {
            return Finding::ok(NAME, "the others are compared with its clock")
                .value(0.0, "seconds")
                .limits(CLOCK_S);
        };
        let name = &other.node_name;
        let difference = own.offset_s - there.offset_s;
        // A slow network proves nothing.
        let certain = (difference.abs() - own.uncertainty_s - there.uncertainty_s).max(0.0);
        let way = if difference < 0.0 { "behind" } else { "ahead of" };
        let status = match certain {
            certain if certain >= CLOCK_S.1 => CheckStatus::Critical,
            certain if certain >= CLOCK_S.0 => CheckStatus::Warning,
            _ => CheckStatus::Ok,
        };
        let found = match status {
            CheckStatus::Ok => Finding::ok(NAME, format!("its clock agrees with that of \"{name}\"")),
            _ => Finding::new(
                NAME,
                status,
                format!("its clock is {:.1} seconds {way} that of \"{name}\"", difference.abs()),
            )
            .detail("Lag in seconds and the times of events are wrong by as much.")
            .hint("Check the time synchronization of both hosts, for example with \"chronyc tracking\"."),
        };
        found.value(certain, "seconds").limits(CLOCK_S)
    }
}
