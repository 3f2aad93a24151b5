//! The one judgement, asked: may a server be, become or stay a primary? See [`crate::assess::start`].
//!
//! All nodes are asked in one round, in the time that the caller gives. It works where none of them answers, in a command as well as in the
//! process of a far end: everything it needs comes from the configuration, the data directory and the state directory of the host.

pub(crate) mod known_servers;
pub(crate) mod poll;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use self::poll::{OwnAddresses, PeerPoll, query_peer_again};
use crate::assess::start::saved_topology::{self, SavedTopologyAssessment};
use crate::assess::start::{
    Asker, Judgement, LocalNode, Members, Opinion, PeerAnswer, PollResult, Stance, StartDecision, decide,
    interpret_answer, strongest_opinions,
};
use crate::error::{Error, Result, sentence};
use crate::facts::branch::{Branch, Fork};
use crate::facts::cluster::query_node;
use crate::facts::directory::running_postmaster;
use crate::facts::rejoin::{LocalFiles, look_at_history};
use crate::facts::server::ServerFacts;
use crate::facts::topology;
use crate::observe::own_node::own_row;
use crate::observe::own_server;
use crate::pg::client::Session;
use crate::pg::lsn::Lsn;
use crate::registry::{NodeRow, NodeType, node};
use crate::site::Site;
use crate::site::state_directory;

/// The longest time that a command asks.
pub const WITHIN: Duration = Duration::from_secs(5);

/// When it is said that WAL is being read, which may take long.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// What the server that it is about says of its past.
#[derive(Clone, Debug)]
pub enum OwnHistory {
    /// It is down: its files.
    Files(Box<LocalFiles>),
    /// It runs.
    Server(Box<ServerFacts>),
}

impl OwnHistory {
    /// Returns whose cluster its data are.
    pub fn system_identifier(&self) -> String {
        match self {
            Self::Files(local) => local.control.system_identifier.to_string(),
            Self::Server(server) => server.system_identifier.clone(),
        }
    }

    fn branch(&self) -> Branch<'_> {
        match self {
            Self::Files(local) => local.branch(),
            Self::Server(server) => (&**server).into(),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub asker: Asker,
    /// The node that it is about, as the configuration or the metadata has it.
    pub own: NodeRow,
    /// Its past.
    pub past: OwnHistory,
    /// Nodes that are known already; those of the saved topology are added.
    pub rows: Vec<NodeRow>,
    /// It is known for certain that `rows` are all nodes.
    pub complete: bool,
    /// Which addresses of the node itself are asked.
    pub own_addresses: OwnAddresses,
    /// How long to ask.
    pub within: Duration,
}

/// The answer, and what was heard.
#[derive(Debug)]
pub struct PeerJudgement {
    /// What was asked.
    pub question: Question,
    /// The answer.
    pub judgement: Judgement,
    /// What each server was asked and has said.
    pub peers: Vec<PeerAnswer>,
    /// All rows of other nodes that are known.
    pub rows: Vec<NodeRow>,
    /// Why the saved topology is not believed, as a whole sentence.
    pub doubt: Option<String>,
    /// Sessions on nodes of this cluster that answered, by node id.
    pub sessions: Vec<(i32, Session)>,
    members: Members,
    seen: SavedTopologyAssessment,
}

/// Judges the local server, by its files where it is down, and by what it says itself where it runs.
///
/// # Errors
/// Exit code 1 if the data directory cannot be read.
pub async fn judge_local_server(site: &Site, asker: Asker, within: Duration) -> Result<PeerJudgement> {
    let config = site.config()?;
    let begun = Instant::now();
    let own = own_row(config, NodeType::Primary, None, None);
    let mut running = None;
    // A far end brings back who was the primary a moment ago, without a detour, and its server may come up while others are asked.
    let is_far_end = asker == Asker::Rollback;
    let mut own_addresses = OwnAddresses::All;
    if running_postmaster(&config.data_directory).is_some() {
        own_addresses = OwnAddresses::None;
        if let Ok((session, server)) = query_node(&config.conninfo, &site.environment, within).await {
            // Another one than the local server can only be judged as that.
            if !is_far_end && own_server::is_elsewhere(site, &session).await.is_some() {
                own_addresses = OwnAddresses::All;
            } else {
                own_addresses = OwnAddresses::Registered;
                running = Some((server, node::read_all(&session).await));
            }
        }
    }
    if is_far_end {
        own_addresses = OwnAddresses::None;
    }
    let question = match running {
        Some((server, rows)) => Question {
            asker,
            own,
            past: OwnHistory::Server(Box::new(server)),
            // A server that runs and has no metadata belongs to no cluster.
            complete: rows.as_ref().map_or_else(
                |error| matches!(error.sqlstate.as_deref(), Some("42P01" | "3F000")),
                |rows| !rows.is_empty(),
            ),
            rows: rows.unwrap_or_default(),
            own_addresses,
            within: within.saturating_sub(begun.elapsed()),
        },
        None => Question {
            asker,
            own,
            past: OwnHistory::Files(Box::new(read_local_files(site).await?)),
            rows: Vec::new(),
            complete: false,
            own_addresses,
            within,
        },
    };
    poll_peers(site, question).await
}

/// Asks all nodes that are known, and judges.
///
/// # Errors
/// Exit code 1 without a configuration.
pub async fn poll_peers(site: &Site, question: Question) -> Result<PeerJudgement> {
    let system_identifier = question.past.system_identifier();
    let mut inquiry = PeerPoll::new(site, &question.own, &system_identifier);
    if let OwnHistory::Server(server) = &question.past {
        inquiry.own_server = Some((server.system_identifier.clone(), server.started_at.clone()));
    }
    inquiry.own_addresses = question.own_addresses;
    inquiry.learn(&question.rows);
    let seen = match (&question.past, question.complete) {
        // What it says itself is newer than what was seen of it.
        (_, true) => SavedTopologyAssessment::default(),
        (OwnHistory::Files(local), false) => last_seen(site, local, &mut inquiry)?,
        (OwnHistory::Server(_), false) => {
            let known = state_directory::saved_topology(site).ok().flatten();
            let rows: Vec<NodeRow> =
                known.iter().flat_map(|seen| &seen.nodes).map(|node| node.row.clone()).collect();
            let is_ours =
                known.is_some_and(|seen| seen.system_identifier.as_deref() == Some(&system_identifier));
            inquiry.learn(if is_ours { &rows } else { &[] });
            SavedTopologyAssessment {
                doubt: Some("Its own metadata cannot be read.".into()),
                ..SavedTopologyAssessment::default()
            }
        }
    };
    let has_others = inquiry.members.has_others(question.own.node_id);
    if !question.complete && (!has_others || seen.doubt.is_some()) {
        inquiry.guessed = known_servers::guesses(site).await;
    }
    let asker = question.asker;
    let peers = {
        let enough = |peers: &[PeerAnswer]| {
            let ours = local_node(&question.own, &system_identifier, question.past.branch(), None);
            // An address of this node may lead to another node, which says itself what it is.
            let objects = |opinion: Opinion| opinion.says == Stance::Opposes && !opinion.own_address;
            peers.iter().any(|peer| objects(interpret_answer(&ours, peer, peers)))
        };
        inquiry.round(question.within, enough).await
    };
    let PeerPoll { rows, members, sessions, .. } = inquiry;
    let empty = decide(
        asker,
        &PollResult { node_id: 0, opinions: &[], members: &members, alone: false, seen_newer: None },
    );
    let mut judged = PeerJudgement {
        judgement: empty,
        peers,
        rows,
        doubt: seen.doubt.clone(),
        sessions,
        members,
        seen,
        question,
    };
    judged.judge(site).await;
    Ok(judged)
}

impl PeerJudgement {
    /// Asks those again whose lock is held now, over the sessions that hold it, and judges by their answers. Who has none is not asked.
    pub async fn poll_again(&mut self, site: &Site, held: &[(i32, Session)], within: Duration) {
        let session = |peer: &PeerAnswer| held.iter().find(|(id, _)| *id == peer.node.row.node_id);
        let asked = self.peers.iter().map(|peer| async move {
            match session(peer).filter(|_| peer.registered) {
                Some((_, session)) => query_peer_again(session, peer, within).await,
                None => peer.clone(),
            }
        });
        let peers = futures_util::future::join_all(asked).await;
        self.peers = peers;
        self.judge(site).await;
    }

    async fn judge(&mut self, site: &Site) {
        let question = &self.question;
        let system_identifier = question.past.system_identifier();
        let end = match &question.past {
            OwnHistory::Files(local) if beyond_checkpoint(local, &self.peers) => measured(site, local).await,
            _ => None,
        };
        let ours = local_node(&question.own, &system_identifier, question.past.branch(), end);
        let opinions = self.peers.iter().map(|peer| interpret_answer(&ours, peer, &self.peers)).collect();
        let opinions = strongest_opinions(opinions);
        self.judgement = decide(
            question.asker,
            &PollResult {
                node_id: question.own.node_id,
                opinions: &opinions,
                members: &self.members,
                alone: question.complete || self.seen.doubt.is_none(),
                seen_newer: self.seen.newer_than_heard(&opinions),
            },
        );
        // A witness has a cluster of its own, of which no other node can be the primary.
        if self.seen.is_witness {
            (self.judgement.may, self.judgement.alone) = (StartDecision::Yes, true);
        }
    }

    /// Nothing says whether there are other nodes, and none is known.
    pub fn knows_no_other_node(&self) -> bool {
        !self.judgement.alone && self.judgement.opinions.is_empty()
    }

    /// Another server has an address of this node, and accepts writes.
    pub fn is_copied(&self) -> bool {
        self.judgement.opinions.iter().any(|opinion| opinion.own_address && opinion.says == Stance::Opposes)
    }

    /// Returns the node that another primary runs on, if one was seen.
    pub fn other_primary(&self) -> Option<&Opinion> {
        self.judgement.opinions.iter().find(|opinion| opinion.is_primary && opinion.says == Stance::Opposes)
    }
}

pub(crate) fn local_node<'a>(
    row: &'a NodeRow,
    system_identifier: &'a str,
    branch: Branch<'a>,
    end: Option<Lsn>,
) -> LocalNode<'a> {
    LocalNode { row, system_identifier, branch, end }
}

/// Reads what the data directory says of its past.
///
/// # Errors
/// Exit code 1 if it cannot be read.
pub(crate) async fn read_local_files(site: &Site) -> Result<LocalFiles> {
    let config = site.config()?;
    let data = &config.data_directory;
    let installation = site.installation_if_any(config);
    installation.required_tool("pg_controldata")?;
    let unreadable = |error: anyhow::Error| {
        Error::failed(format!("could not read data directory \"{}\"", data.display()))
            .detail(sentence(&format!("{error:#}")))
    };
    let control_data = installation.control_data().await.map_err(unreadable)?;
    look_at_history(data, installation.major_number(), None, &control_data).map_err(unreadable)
}

/// Reads the saved topology and adds the nodes that it names.
pub(crate) fn last_seen(
    site: &Site,
    local: &LocalFiles,
    inquiry: &mut PeerPoll<'_>,
) -> Result<SavedTopologyAssessment> {
    let doubt =
        |text: String| SavedTopologyAssessment { doubt: Some(text), ..SavedTopologyAssessment::default() };
    let Some(directory) = site.own_state_directory()? else {
        return Ok(doubt("The state directory belongs to another cluster or node.".into()));
    };
    Ok(match topology::load(&directory) {
        Ok(Some(seen)) => {
            let ours = local_node(inquiry.own, inquiry.system_identifier, local.branch(), None);
            let uses_slots = site.config()?.use_replication_slots;
            let worth = saved_topology::assess_saved_topology(
                &seen,
                &ours,
                &local.slots,
                uses_slots,
                ran_until(&local.data_directory),
            );
            if !worth.is_foreign {
                let rows: Vec<NodeRow> = seen.nodes.into_iter().map(|node| node.row).collect();
                inquiry.learn(&rows);
            }
            worth
        }
        Ok(None) => doubt(format!("There is no \"{}\".", topology::path(&directory).display())),
        Err(error) => doubt(sentence(&format!("{error:#}"))),
    })
}

/// Returns when the server last wrote its control file.
fn ran_until(data: &Path) -> Option<Timestamp> {
    let written = std::fs::metadata(data.join("global/pg_control")).ok()?.modified().ok()?;
    Timestamp::try_from(written).ok()
}

/// Says whether any standby of the local timeline has replayed beyond the last checkpoint: before it there is nothing to compare.
pub(crate) fn beyond_checkpoint(local: &LocalFiles, peers: &[PeerAnswer]) -> bool {
    let (timeline, checkpoint) = (local.timeline, local.control.checkpoint);
    let system_identifier = local.control.system_identifier.to_string();
    peers.iter().any(|peer| {
        peer.node.facts().is_some_and(|server| {
            server.system_identifier == system_identifier
                && server.timeline == timeline
                && server.replay_lsn.is_some_and(|replayed| replayed > checkpoint)
        })
    })
}

/// Finds where the local WAL ends: after a crash it is read from the last checkpoint on, as the server will do, which takes less time
/// than the server will. So that is not bounded by `guard_wait`, but reported.
pub(crate) async fn measured(site: &Site, local: &LocalFiles) -> Option<Lsn> {
    let from = local.control.checkpoint;
    let mut local = LocalFiles { end: None, ..local.clone() };
    let mut reading = tokio::task::spawn_blocking(move || local.find_end(Fork::None).map(|()| local.end));
    let read = tokio::select! {
        read = &mut reading => read,
        () = tokio::time::sleep(TOLD_AFTER) => {
            site.notice(&format!(
                "reading the WAL of this node from {from} to its end, which crash recovery will read, too"
            ));
            reading.await
        }
    };
    read.ok()?.ok()?
}
