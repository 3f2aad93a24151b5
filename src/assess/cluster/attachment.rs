//! What a standby is attached to: whether it streams, and from the upstream that it is registered with.

use super::ClusterAssessment;
use crate::assess::alive::streams_from;
use crate::error::Severity;
use crate::facts::cluster::{ClusterFacts, NodeFacts};
use crate::facts::server::{Sender, ServerFacts};
use crate::registry::{NodeRow, NodeType};

/// How a standby is attached, as it and the other nodes report it.
pub(super) struct Attachment<'a> {
    /// The registered upstream.
    upstream: Option<&'a NodeFacts>,
    /// What that reports, if it responds.
    there: Option<&'a ServerFacts>,
    /// The standby in the list of the registered upstream.
    sender: Option<&'a Sender>,
    /// The node that it streams from.
    observed: Option<&'a NodeFacts>,
    /// The registered upstream has a connection of it, by whatever name.
    connected: bool,
    /// It streams from the registered upstream under another name than the one it is registered by.
    nameless: bool,
    /// Why its WAL receiver or its WAL sender does not work, although it is listed.
    hangs: Option<String>,
}

impl<'a> Attachment<'a> {
    pub(super) fn of(
        cluster: &'a ClusterFacts,
        node: &NodeFacts,
        server: &ServerFacts,
        upstream: Option<&'a NodeFacts>,
    ) -> Self {
        let name = &node.row.node_name;
        let there = upstream.and_then(NodeFacts::facts);
        let sender = there.and_then(|facts| facts.sender_of(name));
        let observed = cluster.observed_upstream(name);
        // It may have given another name than the one it is registered by.
        let connected = there.is_some_and(|facts| facts.is_connected_to(name));
        let nameless = !connected
            && observed.is_none()
            && upstream.is_some_and(|upstream| upstream.facts().is_some() && streams_from(node, upstream));
        // What the processes are said to do is not what they do: one that is stopped, or whose connection is half-open, is still listed.
        let observed_sender = sender.or_else(|| observed.and_then(|node| node.facts()?.sender_of(name)));
        let hangs = server.hangs(observed_sender);
        Self { upstream, there, sender, observed, connected, nameless, hangs }
    }

    /// Returns the state of synchronous replication as the node reports it that it streams from.
    pub(super) fn sync_state(&self, name: &str) -> Option<String> {
        self.observed.and_then(|node| node.facts()?.sender_of(name)?.sync_state.clone())
    }

    /// Returns whether it is attached to the registered upstream; None for unknown.
    pub(super) fn is_attached(&self, server: &ServerFacts) -> Option<bool> {
        match (self.there, self.sender, &server.receiver) {
            _ if self.hangs.is_some() => Some(false),
            (Some(_), Some(sender), _) => {
                Some(sender.state.as_deref().is_none_or(|state| state == "streaming"))
            }
            (Some(_), None, _) => Some(self.nameless),
            // The upstream cannot be asked; without a WAL receiver nothing is attached to anything.
            (None, _, None) => Some(false),
            (None, _, Some(_)) => None,
        }
    }

    /// It streams from another node than the registered upstream.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.sender.is_none() && self.observed.is_some()
    }
}

impl ClusterAssessment<'_> {
    /// Reports in what the attachment of an active standby differs from its record; `primary` is the primary to follow.
    pub(super) fn attachment(
        &mut self,
        row: &NodeRow,
        server: &ServerFacts,
        attachment: &Attachment<'_>,
        primary: Option<&NodeRow>,
    ) {
        let Some(up) = attachment.upstream.map(|up| &up.row) else {
            self.receiver_hangs(row, attachment.hangs.clone());
            return;
        };
        match (attachment.there, attachment.sender, attachment.observed) {
            _ if attachment.hangs.is_some() => self.receiver_hangs(row, attachment.hangs.clone()),
            (Some(_), None, Some(other)) => self.upstream_differs(row, up, &other.row),
            (Some(_), None, None) if attachment.nameless => self.application_name_differs(row, up),
            (Some(_), None, None) => {
                // Without a WAL receiver its primary_conninfo may lead to a server that rejects it: following the registered
                // upstream fixes that, or is refused with the reason.
                // A connection that sends nothing is one that is refused again and again.
                let command = match primary {
                    Some(primary) if attachment.connected || server.receiver.is_none() => follow(up, primary),
                    _ => "pgbaton node status".to_string(),
                };
                self.not_attached(row, server, up);
                self.type_on(&command, row);
            }
            // Without any primary that is reported already.
            (None, ..) if server.receiver.is_none() && primary.is_some() => self.upstream_silent(row, up),
            (Some(_), Some(sender), _) if attachment.is_attached(server) == Some(false) => {
                let state = sender.state.clone().unwrap_or_default();
                let message = format!(
                    "node \"{}\" is attached to \"{}\" in state \"{state}\"",
                    row.node_name, up.node_name
                );
                self.issue(Severity::Warning, "not_streaming", Some(row), message);
            }
            _ => {}
        }
    }

    fn receiver_hangs(&mut self, row: &NodeRow, hangs: Option<String>) {
        if hangs.is_none() {
            return;
        }
        let name = &row.node_name;
        let message = format!("the WAL receiver of node \"{name}\" hangs");
        let issue = self.issue(Severity::Error, "receiver_hangs", Some(row), message);
        issue.detail = hangs;
        issue.hint = Some(format!(
            "The standby falls behind. Check that process and its connection on the host of \"{name}\"; \"pgbaton node restart\" there \
            starts a new one."
        ));
        self.type_on("pgbaton node restart", row);
    }

    fn upstream_differs(&mut self, row: &NodeRow, up: &NodeRow, actual: &NodeRow) {
        let name = &row.node_name;
        let message = format!(
            "node \"{name}\" streams from \"{}\", not from \"{}\" as registered",
            actual.node_name, up.node_name
        );
        let command = format!("pgbaton standby register --force --upstream-node-id={}", actual.node_id);
        let issue = self.issue(Severity::Warning, "upstream_differs", Some(row), message);
        issue.hint = Some(format!("To register the actual upstream, run \"{command}\" on \"{name}\"."));
        self.type_on(&command, row);
    }

    fn application_name_differs(&mut self, row: &NodeRow, up: &NodeRow) {
        let name = &row.node_name;
        let message =
            format!("node \"{name}\" streams from \"{}\" under another application_name", up.node_name);
        let issue = self.issue(Severity::Warning, "application_name_differs", Some(row), message);
        issue.detail = Some("synchronous_standby_names does not match it by its node name.".into());
        issue.hint = Some(format!(
            "\"pgbaton standby follow\" on \"{name}\" sets application_name in its primary_conninfo to its node name."
        ));
        self.type_on("pgbaton standby follow", row);
    }

    /// The registered upstream responds, and does not have it in its list.
    fn not_attached(&mut self, row: &NodeRow, server: &ServerFacts, up: &NodeRow) {
        let name = &row.node_name;
        let message = format!("node \"{name}\" is not attached to its upstream \"{}\"", up.node_name);
        let issue = self.issue(Severity::Error, "not_attached", Some(row), message);
        issue.detail = Some(match &server.receiver {
            Some(receiver) => format!(
                "Its WAL receiver is connected to {}.",
                receiver.sender_host.as_deref().map_or_else(
                    || "a server that this role lacks the privilege to see".to_string(),
                    |host| match receiver.sender_port {
                        Some(port) => format!("host \"{host}\", port {port}"),
                        None => format!("host \"{host}\""),
                    }
                )
            ),
            None => "It has no WAL receiver.".into(),
        });
        issue.hint = Some(format!("See the server log of \"{name}\" for why it cannot stream."));
    }

    /// The registered upstream does not respond, and the standby has no WAL receiver.
    fn upstream_silent(&mut self, row: &NodeRow, up: &NodeRow) {
        let (name, upstream) = (&row.node_name, &up.node_name);
        let message = format!("node \"{name}\" is not attached to its upstream \"{upstream}\"");
        let issue = self.issue(Severity::Error, "not_attached", Some(row), message);
        issue.detail =
            Some(format!("It has no WAL receiver, and \"{upstream}\" does not respond. It falls behind."));
        issue.hint = Some(if up.node_type == NodeType::Primary {
            format!(
                "Run \"pgbaton standby follow\" on \"{name}\"; \"{upstream}\" must not be started as a primary."
            )
        } else {
            format!("Start \"{upstream}\", or make \"{name}\" follow another node.")
        });
        // A cascading standby is to be started; a former primary, which may start in any role, is not.
        if !(up.active && up.node_type == NodeType::Standby) {
            self.type_on("pgbaton standby follow", row);
        }
    }
}

/// Writes the command that makes a standby follow an upstream.
pub(super) fn follow(upstream: &NodeRow, primary: &NodeRow) -> String {
    let named = match upstream.node_id == primary.node_id {
        true => String::new(),
        false => format!(" --upstream-node-id={}", upstream.node_id),
    };
    format!("pgbaton standby follow{named}")
}
