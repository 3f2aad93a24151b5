//! One round of questions: everybody is asked at once, and who becomes known by an answer, too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::{CheckExtras, key};
use crate::assess::checks::{self, CheckAnswer};
use crate::assess::cluster::{Copies, waits_to_be_replayed};
use crate::facts::check_name::CheckName;
use crate::facts::cluster::{ClusterFacts, NodeFacts, Unavailable, bounded};
use crate::facts::server::{self, ServerFacts};
use crate::facts::written_since;
use crate::pg::client::{Session, SqlError};
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::Conninfo;
use crate::pg::failure::{Answered, ConnectError};
use crate::pg::history::TimelineId;
use crate::registry::operation::{self, OpenOperation};
use crate::registry::{NodeRow, NodeType, node, schema};
use crate::site::Site;
use crate::system::environment::Environment;

/// Why a server did not say what it was asked.
pub(crate) enum Refusal {
    /// It could not be connected to.
    Connection(ConnectError),
    /// It accepted the connection, but has no metadata, or none that may be read.
    Metadata(SqlError),
}

/// A question that is on its way.
type PendingAnswer<'a> = Pin<Box<dyn Future<Output = ServerAnswer> + 'a>>;

/// A registered node with where it is reached; see [`key`].
pub(crate) struct Registered {
    key: String,
    pub(crate) row: NodeRow,
}

/// Rows of nodes. Looked at after every answer, so they are not copied, and where they lead to is worked out once.
pub(crate) type Rows = Rc<[Registered]>;

/// One server's answer.
struct ServerAnswer {
    /// Where it was reached; see [`key`].
    key: String,
    /// What it says of itself; the session stays open for more.
    server: std::result::Result<(Session, ServerFacts), Unavailable>,
    /// The rows of the nodes, where they were asked for.
    rows: Option<Rows>,
    /// For the error message, if no other node responds.
    refusal: Option<Refusal>,
    /// What checks need in addition, where that was asked.
    more: Option<CheckAnswer>,
    /// The operations that have not reported their end, by its copy of the table; None where it was not asked or did not respond.
    operations: Option<Vec<OpenOperation>>,
}

/// A server that has answered keeps us waiting for the rows of slower ones only so long.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a standby that seems to be late is looked at once more, and from how many seconds on.
const AGAIN: Duration = Duration::from_secs(1);

/// All servers asked at once, and more as they become known.
pub(crate) struct Poll<'a> {
    site: &'a Site,
    /// Whose cluster it is, as far as known.
    pub(crate) system_identifier: Option<String>,
    pub(crate) until: Instant,
    asked: BTreeSet<String>,
    pending: FuturesUnordered<PendingAnswer<'a>>,
    answers: BTreeMap<String, ServerAnswer>,
    /// The server whose rows count unless a primary has others.
    pub(crate) first: Option<String>,
    /// All nodes are asked what these checks need in addition.
    pub(crate) for_checks: Option<Rc<[CheckName]>>,
    /// Everybody is asked for the operations that have not reported their end.
    pub(crate) operations_too: bool,
}

/// What a server is asked in addition to its state.
struct ExtraQuestions {
    /// The rows of the nodes, even if it is a standby.
    rows: bool,
    /// What these checks need.
    for_checks: Option<Rc<[CheckName]>>,
    /// The operations that have not reported their end.
    operations: bool,
}

impl<'a> Poll<'a> {
    pub(crate) fn new(site: &'a Site, system_identifier: Option<String>) -> Self {
        Self {
            site,
            system_identifier,
            until: Instant::now() + site.node_deadline(),
            asked: BTreeSet::new(),
            pending: FuturesUnordered::new(),
            answers: BTreeMap::new(),
            first: None,
            for_checks: None,
            operations_too: false,
        }
    }

    /// Begins to ask a server, unless it is being asked already; for the rows at once, or only if it turns out to be a primary.
    pub(crate) fn query(&mut self, conninfo: &str, rows_too: bool) {
        self.ask_by(&key(conninfo), conninfo, rows_too);
    }

    fn ask_by(&mut self, key: &str, conninfo: &str, rows_too: bool) {
        if self.asked.insert(key.to_string()) {
            let (key, conninfo, environment, until) =
                (key.to_string(), conninfo.to_string(), &self.site.environment, self.until);
            let besides = ExtraQuestions {
                rows: rows_too,
                for_checks: self.for_checks.clone(),
                operations: self.operations_too,
            };
            self.pending.push(Box::pin(answer(key, conninfo, environment, until, besides)));
        }
    }

    /// Returns the nodes' rows, with all of the nodes asked; None if no node has rows.
    pub(crate) async fn run(&mut self) -> Option<Rows> {
        loop {
            let rows = self.rows();
            if let Some(rows) = &rows {
                rows.iter().for_each(|node| self.ask_by(&node.key, &node.row.conninfo, false));
                // The one that was meant also says whose cluster this is: what was seen may be another one's.
                let first = self.first.as_ref().is_none_or(|first| self.answers.contains_key(first));
                if first && rows.iter().all(|node| self.answers.contains_key(&node.key)) {
                    return Some(Rc::clone(rows));
                }
            }
            let any_responds = self.answers.values().any(|answer| answer.server.is_ok());
            // Every question has a deadline of its own, so this wait ends too.
            let next = self.pending.next();
            let waited =
                if rows.is_none() && any_responds { timeout(PATIENCE, next).await } else { Ok(next.await) };
            match waited {
                Ok(Some(answer)) => {
                    self.answers.insert(answer.key.clone(), answer);
                }
                Ok(None) if rows.is_some() => return rows,
                Ok(None) => {
                    if !self.ask_for_rows().await {
                        return None;
                    }
                }
                Err(_) => {
                    self.ask_for_rows().await;
                }
            }
        }
    }

    /// Waits for these nodes.
    pub(crate) async fn all(&mut self, rows: &[NodeRow]) {
        while !rows.iter().all(|row| self.answers.contains_key(&key(&row.conninfo))) {
            let Some(answer) = self.pending.next().await else { return };
            self.answers.insert(answer.key.clone(), answer);
        }
    }

    /// Returns the rows to believe: those of a primary on the newest timeline, else those of the server that was asked first, else
    /// any node's. A standby's may be old.
    fn rows(&self) -> Option<Rows> {
        let first = self.first.as_ref().and_then(|key| self.answers.get(key));
        let own = first
            .and_then(|answer| Some(&answer.server.as_ref().ok()?.1.system_identifier))
            .or(self.system_identifier.as_ref());
        // A witness is another cluster than the one that it is about.
        let own = own.filter(|own| !self.is_witness(own));
        let believable = self.answers.values().filter_map(|answer| {
            let (_, server) = answer.server.as_ref().ok()?;
            let rows = answer.rows.as_ref()?;
            own.is_none_or(|own| *own == server.system_identifier).then_some((answer, server, rows))
        });
        let best = believable.max_by_key(|(answer, server, _)| {
            let is_first = self.first.as_ref() == Some(&answer.key);
            if self.is_witness(&server.system_identifier) {
                (0, TimelineId(0), is_first, None)
            } else if server.in_recovery {
                (1, TimelineId(0), is_first, server.wal_end())
            } else {
                (2, server.timeline, is_first, server.wal_end())
            }
        });
        best.map(|(_, _, rows)| Rc::clone(rows))
    }

    /// Says whether the server with this system identifier is a witness, by its own copy of the rows.
    pub(crate) fn is_witness(&self, system_identifier: &str) -> bool {
        self.answers.values().any(|answer| {
            let asked = answer.server.as_ref().is_ok_and(|(_, server)| {
                !server.in_recovery && server.system_identifier == system_identifier
            });
            let names_itself = |rows: &Rows| {
                rows.iter().any(|node| node.key == answer.key && node.row.node_type == NodeType::Witness)
            };
            asked && answer.rows.as_ref().is_some_and(names_itself)
        })
    }

    /// Asks those who have answered for their rows, the one with the most WAL first, until one has them.
    async fn ask_for_rows(&mut self) -> bool {
        let mut able: Vec<&mut ServerAnswer> = self
            .answers
            .values_mut()
            .filter(|answer| answer.server.is_ok() && answer.rows.is_none() && answer.refusal.is_none())
            .collect();
        able.sort_by_key(|answer| {
            answer.server.as_ref().ok().map(|(_, server)| Reverse((server.timeline, server.wal_end())))
        });
        for answer in able {
            let Ok((session, _)) = &answer.server else { continue };
            match bounded(self.until, read_rows(session)).await {
                Ok(rows) => {
                    answer.rows = Some(rows);
                    return true;
                }
                Err(error) => answer.refusal = Some(Refusal::Metadata(error)),
            }
        }
        false
    }

    /// Returns what the nodes say.
    pub(crate) fn facts<'r>(&self, rows: impl IntoIterator<Item = &'r NodeRow>) -> ClusterFacts {
        let nodes = rows.into_iter().map(|row| {
            let server = match self.answers.get(&key(&row.conninfo)).map(|answer| &answer.server) {
                Some(Ok((_, facts))) => Ok(facts.clone()),
                Some(Err(unavailable)) => Err(unavailable.clone()),
                None => Err(Unavailable::new(Answered::Silent, "there was no time to query it")),
            };
            NodeFacts { row: row.clone(), server }
        });
        ClusterFacts { nodes: nodes.collect(), ..ClusterFacts::default() }
    }

    /// Asks those again that had just received something and seem to be late by the time of the last commit: in a long transaction,
    /// and after a night without one, that is old on a standby that keeps up. One that replays what it had a moment later is.
    pub(crate) async fn requery_late(&self, facts: &mut ClusterFacts) {
        let seems_late = |server: &ServerFacts| {
            server.last_replay_age_s.is_some_and(|age| age > AGAIN.as_secs_f64())
                && server.replay_paused == Some(false)
                && server.apply_delay_s == 0.0
                && waits_to_be_replayed(server)
        };
        let until = self.until.min(Instant::now() + AGAIN);
        let (poll, seems_late) = (self, &seems_late);
        let looks = facts.nodes.iter_mut().map(|node| async move {
            let Ok(server) = &mut node.server else { return };
            let answer =
                poll.answers.get(&key(&node.row.conninfo)).and_then(|answer| answer.server.as_ref().ok());
            let (true, Some((session, _))) = (seems_late(server), answer) else { return };
            let begun = Instant::now();
            let mut later = server.clone();
            while let Ok(replayed) = bounded(until, server::replay_lsn(session)).await {
                later.replay_lsn = replayed;
                if !waits_to_be_replayed(&later) {
                    server.last_replay_age_s = Some(begun.elapsed().as_secs_f64());
                    return;
                }
                tokio::time::sleep(AGAIN / 20).await;
            }
        });
        join_all(looks).await;
    }

    /// Asks the nodes that accept writes, where they are several, which clients use them, and what they have written since they diverged.
    pub(crate) async fn ask_sides(&self, facts: &mut ClusterFacts) {
        let primaries: Vec<ServerFacts> = facts.primaries().map(|(_, server)| server.clone()).collect();
        let primaries = &primaries;
        let counts = facts.nodes.iter_mut().map(|node| async move {
            let Ok(server) = &mut node.server else { return };
            let answer =
                self.answers.get(&key(&node.row.conninfo)).and_then(|answer| answer.server.as_ref().ok());
            let (false, Some((session, _))) = (server.in_recovery, answer) else { return };
            server.clients = bounded(self.until, server::clients(session)).await.ok();
            let Some(since) = written_since::diverged_at(server, primaries) else { return };
            let written = async { Ok(written_since::written(session, server, since).await) };
            server.written = bounded(self.until, written).await.ok().flatten();
        });
        join_all(counts).await;
    }

    /// Returns what witnesses have of the metadata: like the nodes that accept writes, they were asked for it.
    pub(crate) fn copies(&self, facts: &ClusterFacts) -> Copies {
        let witnesses = facts.nodes.iter().filter(|node| node.row.node_type == NodeType::Witness);
        let rows = witnesses.filter_map(|node| {
            let copy = self.answers.get(&key(&node.row.conninfo))?.rows.as_ref()?;
            Some((node.row.node_id, copy.iter().map(|known| known.row.clone()).collect()))
        });
        rows.collect()
    }

    /// Returns the operations that have not reported their end, by the copies of all nodes: the one that knows of it may be cut off.
    ///
    /// A standby may not have received the end yet: of the timeline of a primary that answers, that primary's rows count alone.
    pub(crate) fn operations(&self, facts: &ClusterFacts) -> Vec<OpenOperation> {
        let copies = facts.nodes.iter().filter_map(|node| {
            let answer = self.answers.get(&key(&node.row.conninfo))?;
            Some((node.facts()?, answer.operations.as_ref()?))
        });
        let copies: Vec<_> = copies.collect();
        let known_better = |row: &OpenOperation| {
            copies.iter().any(|(server, _)| !server.in_recovery && row.timeline == Some(server.timeline))
        };
        let mut open: BTreeMap<&str, &OpenOperation> = BTreeMap::new();
        for (server, rows) in &copies {
            let counts = rows.iter().filter(|row| !server.in_recovery || !known_better(row));
            open.extend(counts.map(|row| (row.operation_id.as_str(), row)));
        }
        open.into_values().cloned().collect()
    }

    /// Takes what was asked for checks out of the answers.
    pub(crate) async fn more(&mut self, facts: &ClusterFacts) -> CheckExtras {
        let keys = facts.nodes.iter().map(|node| (node.row.node_id, key(&node.row.conninfo)));
        let asked = keys.filter_map(|(id, key)| Some((id, self.answers.get(&key)?.more.clone()?)));
        let asked = asked.collect();
        let sessions = self.answers.values().filter_map(|answer| answer.server.as_ref().ok());
        let ssh_hosts = match sessions.max_by_key(|(_, server)| (!server.in_recovery, server.timeline)) {
            Some((session, _)) => bounded(self.until, node::ssh_hosts(session)).await.unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let primary = facts.primaries().max_by_key(|(_, server)| server.timeline);
        let session = primary
            .and_then(|(node, _)| Some(&self.answers.get(&key(&node.row.conninfo))?.server.as_ref().ok()?.0));
        let metadata = match session {
            Some(session) => bounded(self.until, schema::inspect_metadata(session)).await.ok(),
            None => None,
        };
        CheckExtras { asked, ssh_hosts, metadata, refused: None }
    }

    pub(crate) fn refusal(&self, conninfo: &str) -> Option<&Refusal> {
        self.answers.get(&key(conninfo))?.refusal.as_ref()
    }

    /// Returns what a server said of itself, if it did.
    pub(crate) fn server(&self, conninfo: &str) -> Option<&ServerFacts> {
        let (_, server) = self.answers.get(&key(conninfo))?.server.as_ref().ok()?;
        Some(server)
    }
}

/// Connects and asks. A primary is asked for the rows too.
async fn answer(
    key: String,
    conninfo: String,
    environment: &Environment,
    until: Instant,
    besides: ExtraQuestions,
) -> ServerAnswer {
    let silent = |key, unavailable, refusal| ServerAnswer {
        key,
        server: Err(unavailable),
        rows: None,
        refusal,
        more: None,
        operations: None,
    };
    let parsed = match Conninfo::parse(&conninfo) {
        Ok(parsed) => parsed,
        Err(error) => return silent(key, Unavailable::invalid(&error.to_string()), None),
    };
    let deadline = until.saturating_duration_since(Instant::now());
    let options = ConnectOptions { deadline, query_deadline: deadline, ..ConnectOptions::default() };
    let session = match connect(&parsed, environment, &options).await {
        Ok(session) => session,
        Err(error) => return silent(key, error.clone().into(), Some(Refusal::Connection(error))),
    };
    // By itself, and before everything else: of a server that says what it is, nothing is thrown away because another question is slow or
    // meets a lock.
    let facts = match bounded(until, server::query_server_facts(&session)).await {
        Ok(facts) => facts,
        Err(error) => {
            let refusal = besides.rows.then(|| Refusal::Metadata(error.clone()));
            return silent(key, error.into(), refusal);
        }
    };
    // Rows that are locked must leave time for what is asked after them.
    let rows_until = match besides.for_checks {
        Some(_) => Instant::now() + until.saturating_duration_since(Instant::now()) / 2,
        None => until,
    };
    let rows = async {
        match besides.rows || !facts.in_recovery {
            true => Some(bounded(rows_until, read_rows(&session)).await),
            false => None,
        }
    };
    let operations = async {
        match besides.operations {
            true => bounded(rows_until, operation::open(&session)).await.ok(),
            false => None,
        }
    };
    let (rows, operations) = tokio::join!(rows, operations);
    let more = match &besides.for_checks {
        Some(names) => Some(checks::query_check_facts(&session, names, until).await),
        None => None,
    };
    let (rows, refusal) = match rows {
        Some(Ok(rows)) => (Some(rows), None),
        Some(Err(error)) => (None, Some(Refusal::Metadata(error))),
        None => (None, None),
    };
    ServerAnswer { key, server: Ok((session, facts)), rows, refusal, more, operations }
}

async fn read_rows(session: &Session) -> std::result::Result<Rows, SqlError> {
    let rows = node::read_all(session).await?;
    Ok(rows.into_iter().map(|row| Registered { key: key(&row.conninfo), row }).collect())
}
