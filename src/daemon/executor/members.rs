//! The members, as commands register and unregister nodes: the leader follows the metadata, one node at a time.
//!
//! A command only records a node, or removes its record. That it is a member from then on, or no more, is this daemon's work, also where the
//! command has ended before, and for what was changed while no daemon ran.

use std::time::Duration;

use pgbaton_lease::{Ask, Change, Flag, Server, Version};
use tokio::time::Instant;

use super::Executor;
use crate::daemon::lease::{Peer, Told};
use crate::daemon::snapshot::Snapshot;
use crate::daemon::{record, view};
use crate::ui::Level;

/// How often the nodes are read from the metadata, by the leader; others do it less often.
const PEERS: Duration = Duration::from_secs(5);

/// How often a change or a copy is tried.
const TRIES: Duration = Duration::from_millis(500);

impl Executor<'_> {
    /// Reads which nodes are registered, when it is time, or as soon as a member is not among those that are known.
    pub(super) async fn read_peers(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let is_known = |id: u32| self.peers.iter().any(|peer| peer.id == id);
        let is_complete = state.members.voters.iter().filter_map(|node| snapshot.id(node)).all(is_known);
        let often = state.server != Server::Standby || state.flag == Flag::Full;
        let interval = match () {
            () if !is_complete => 2 * TRIES,
            () if often => PEERS,
            () => 3 * PEERS,
        };
        if self.peers_read.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        self.peers_read = Some(Instant::now());
        let Some(rows) = record::rows(self.context).await else { return };
        // Without the own row it is no list of this cluster.
        if let Some(own) = rows.iter().find(|row| row.node_id == self.config.node_id) {
            self.upstream = own.upstream_node_id;
            self.peers = record::peers_of(&rows, self.config);
            self.tell(Told::Peers(self.peers.clone()));
            self.rows = rows;
        }
    }

    /// Adds a node that is registered to the members, or removes one that is not any more.
    pub(super) fn follow_registrations(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let is_too_early = self.membership_tried.is_some_and(|at| at.elapsed() < TRIES);
        if self.peers.is_empty() || state.members.version == Version::default() || is_too_early {
            return;
        }
        let place = |id: u32| snapshot.ids.iter().find(|(_, known)| **known == id).map(|(node, _)| *node);
        let added = self.peers.iter().find_map(|peer| {
            let node = place(peer.id).filter(|node| !state.members.voters.has(*node))?;
            let change = if peer.has_data { Change::AddData(node) } else { Change::AddWitness(node) };
            Some((peer.id, change))
        });
        let removed = state.members.voters.iter().find_map(|node| {
            let id = snapshot.id(node)?;
            // One that was a witness, or has become one, is another member.
            let is_same = |peer: &Peer| peer.id == id && peer.has_data == state.members.data.has(node);
            (!self.peers.iter().any(is_same)).then_some((id, Change::Remove(node)))
        });
        let Some((id, change)) = added.or(removed) else {
            self.said_of = None;
            return;
        };
        self.membership_tried = Some(Instant::now());
        if self.said_of != Some(id) {
            self.said_of = Some(id);
            let what = match change {
                Change::Remove(_) => "is no longer registered: it is removed from those that vote",
                _ => "is registered: it is added to those that vote",
            };
            self.say(Level::Notice, &format!("node {id} {what}"));
        }
        self.tell(Told::Ask(0, Ask::Member(change)));
    }

    pub(super) async fn copy_to_witnesses(&mut self, snapshot: &Snapshot) {
        let state = &snapshot.state;
        let own = state.members.version;
        if own.timeline != state.timeline {
            return;
        }
        for voter in state.members.voters.iter().filter(|voter| !state.members.data.has(*voter)) {
            let Some(id) = snapshot.id(voter) else { continue };
            // Where nothing was seen, nothing can be written.
            if snapshot.shown.get(&id).is_none_or(|shown| *shown >= own)
                || self.copied.is_some_and(|at| at.elapsed() < TRIES)
            {
                continue;
            }
            self.copied = Some(Instant::now());
            let ids =
                |nodes: pgbaton_lease::Nodes| nodes.iter().filter_map(|node| snapshot.id(node)).collect();
            let row = record::MembersRow {
                cluster_key: view::cluster_key(&self.belongs.system_identifier),
                version: own,
                data: ids(state.members.data),
                voters: ids(state.members.voters),
            };
            if let Err(error) = record::copy_members(self.context, id, &row).await {
                self.say(Level::Warning, &format!("could not update witness {id}: {error:#}"));
            }
        }
    }
}
