//! Finding the cluster: whom to ask first, and what to believe when that one does not answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use crate::commands::context::{Context, not_connected};
use crate::error::{Error, Exit, Result};
use crate::facts::assess::{Copies, waits_to_be_replayed};
use crate::facts::check::{self, Asked, Name};
use crate::facts::cluster::{ClusterFacts, NodeFacts, Silence, bounded};
use crate::facts::server::{self, ServerFacts};
use crate::facts::topology::{self, Topology};
use crate::output::ui::Level;
use crate::pg::client::{Session, SqlError, SqlErrorKind};
use crate::pg::connect::{ConnectOptions, connect};
use crate::pg::conninfo::{Conninfo, quote_value};
use crate::pg::failure::{Answered, ConnectError};
use crate::pg::history::TimelineId;
use crate::pg::quote::quote_ident;
use crate::registry::{NodeRow, NodeType, node};
use crate::system::environment::Environment;

/// The cluster as it was found.
#[derive(Debug)]
pub struct Found {
    /// What the nodes say.
    pub facts: ClusterFacts,
    /// What was last seen before; read before it is overwritten.
    pub topology: Option<Topology>,
    /// The copies of the metadata that witnesses have.
    pub copies: Copies,
    /// The time of the observation.
    pub now: Timestamp,
}

/// What was asked besides, for checks.
#[derive(Debug, Default)]
pub struct More {
    /// What the servers say, by node id.
    pub asked: BTreeMap<i32, Asked>,
    /// Where ssh leads to a node, for those of which that is written down.
    pub ssh_hosts: BTreeMap<i32, String>,
    /// Why the server that was to be asked first, by the configuration or the command line, could not be connected to that way.
    pub refused: Option<String>,
}

/// Finds all nodes and asks them, beginning with the local one or the one that was named by `-h` and so on.
///
/// All nodes of the last seen topology are asked at the same time, so that one round is enough where nothing has changed, and nobody
/// waits for a local server that is silent.
///
/// # Errors
/// Exit code 6 if nobody answers and nothing was seen before, 7 if the metadata cannot be read.
pub async fn cluster(context: &Context) -> Result<Found> {
    Ok(find(context, None).await?.0)
}

/// Does the same, and asks all nodes in the same round for what these checks need besides; each within a deadline.
///
/// # Errors
/// Those of [`cluster`].
pub async fn cluster_for_checks(
    context: &Context,
    names: &[Name],
    within: Duration,
) -> Result<(Found, More)> {
    find(context, Some((names, within))).await
}

async fn find(context: &Context, for_checks: Option<(&[Name], Duration)>) -> Result<(Found, More)> {
    let config = context.config_if_any()?;
    let now = crate::plan::journal::now();
    let given = context.given_conninfo()?;
    let topology = config.and_then(|_| last_seen(context));
    // A server that was named is the one that is meant, and no other.
    let seeds = topology.as_ref().filter(|_| given.is_none());
    let named = given.is_some();
    let (first, whom) = match (given, config) {
        (Some(given), _) => (given, "the server named on the command line".to_string()),
        (None, Some(config)) => (context.local_conninfo()?, format!("node \"{}\"", config.node_name)),
        (None, None) => {
            return Err(Error::failed("there is no configuration file and no server was named")
                .hint("Name a configuration file with -f, or a server with -h, -p, -U and -d."));
        }
    };
    let first = first.to_string();
    let seen_rows: &[NodeRow] =
        &seeds.iter().flat_map(|seen| &seen.nodes).map(|node| node.row.clone()).collect::<Vec<_>>();
    let mut round = Round::new(context, seeds.and_then(|seen| seen.system_identifier.clone()));
    round.first = Some(key(&first));
    if let Some((names, within)) = for_checks {
        round.for_checks = Some(names.into());
        round.until = Instant::now() + within;
    }
    // Who was the primary most likely still is, and then its rows are the ones that count. If it is not, another one is asked for them.
    let (primaries, others): (Vec<_>, Vec<_>) =
        seeds.iter().flat_map(|seen| &seen.nodes).partition(|node| node.was_primary == Some(true));
    round.ask(&first, primaries.iter().all(|node| key(&node.row.conninfo) == key(&first)));
    primaries.iter().for_each(|node| round.ask(&node.row.conninfo, true));
    others.iter().for_each(|node| round.ask(&node.row.conninfo, false));
    let rows = round.run().await;
    let mut facts = match (rows, seeds) {
        (Some(rows), _) => round.facts(rows.iter().map(|node| &node.row)),
        (None, seen) => match round.refusal(&first) {
            // It answers, and has no metadata: that is the news, not what was seen at other times.
            // One that only had no time for it has told no news.
            Some(Refusal::Metadata(error)) if seen.is_none() || error.kind != SqlErrorKind::TimedOut => {
                return Err(no_metadata(&whom, error, round.role(&first)));
            }
            Some(Refusal::Connection(error)) if seen.is_none() => {
                return Err(not_connected(&whom, error.clone()));
            }
            // Nobody: what was seen, with why each of them is silent.
            _ => round.facts(seen_rows),
        },
    };
    round.look_again(&mut facts).await;
    if let Some(config) = config {
        // Another cluster, reached by -h, is not what this node's state directory is about.
        let own = facts.node(config.node_id).is_some_and(|node| node.row.node_name == config.node_name);
        if own || !named {
            remember(context, &facts, now);
        }
    }
    // What was seen of another cluster, in a directory used before, says nothing about this one.
    let topology = topology.filter(|seen| {
        let (seen, found) = (seen.system_identifier.as_deref(), facts.system_identifier());
        seen.is_none() || found.is_none() || seen == found
    });
    let mut more = if for_checks.is_some() { round.more(&facts).await } else { More::default() };
    if let Some(Refusal::Connection(error)) = round.refusal(&first) {
        more.refused = Some(error.primary.clone());
    }
    Ok((Found { copies: round.copies(&facts), facts, topology, now }, more))
}

/// Why a server did not say what it was asked.
enum Refusal {
    /// It could not be connected to.
    Connection(ConnectError),
    /// It let us in, but has no metadata, or none that may be read.
    Metadata(SqlError),
}

/// A question that is on its way.
type Asking<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// A registered node with where it is reached; see [`key`].
struct Registered {
    key: String,
    row: NodeRow,
}

/// Rows of nodes. Looked at after every answer, so they are not copied, and where they lead to is worked out once.
type Rows = Rc<[Registered]>;

/// One server's answer.
struct Answer {
    /// Where it was reached; see [`key`].
    key: String,
    /// What it says of itself; the session stays open for more.
    server: std::result::Result<(Session, ServerFacts), Silence>,
    /// The rows of the nodes, where they were asked for.
    rows: Option<Rows>,
    /// For the error message, should nobody else answer.
    refusal: Option<Refusal>,
    /// What checks need besides, where that was asked.
    more: Option<Asked>,
}

/// A server that has answered keeps us waiting for the rows of slower ones only so long.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long a standby that seems to be late is looked at once more, and from how many seconds on.
const AGAIN: Duration = Duration::from_secs(1);

/// All servers asked at once, and more as they become known.
struct Round<'a> {
    context: &'a Context,
    /// Whose cluster it is, as far as known.
    system_identifier: Option<String>,
    until: Instant,
    asked: BTreeSet<String>,
    pending: FuturesUnordered<Asking<'a>>,
    answers: BTreeMap<String, Answer>,
    /// The server whose rows count unless a primary has others.
    first: Option<String>,
    /// Everybody is asked what these checks need besides.
    for_checks: Option<Rc<[Name]>>,
}

impl<'a> Round<'a> {
    fn new(context: &'a Context, system_identifier: Option<String>) -> Self {
        Self {
            context,
            system_identifier,
            until: Instant::now() + context.node_deadline(),
            asked: BTreeSet::new(),
            pending: FuturesUnordered::new(),
            answers: BTreeMap::new(),
            first: None,
            for_checks: None,
        }
    }

    /// Begins to ask a server, unless it is being asked already; for the rows at once, or only if it turns out to be a primary.
    fn ask(&mut self, conninfo: &str, rows_too: bool) {
        self.ask_by(&key(conninfo), conninfo, rows_too);
    }

    fn ask_by(&mut self, key: &str, conninfo: &str, rows_too: bool) {
        if self.asked.insert(key.to_string()) {
            let (key, conninfo, environment, until) =
                (key.to_string(), conninfo.to_string(), &self.context.environment, self.until);
            let for_checks = self.for_checks.clone();
            self.pending.push(Box::pin(answer(key, conninfo, environment, until, rows_too, for_checks)));
        }
    }

    /// Returns the nodes' rows, with all of the nodes asked; None if nobody has rows.
    async fn run(&mut self) -> Option<Rows> {
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
            let somebody = self.answers.values().any(|answer| answer.server.is_ok());
            // Every question has a deadline of its own, so this wait ends too.
            let next = self.pending.next();
            let waited =
                if rows.is_none() && somebody { timeout(PATIENCE, next).await } else { Ok(next.await) };
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
    async fn all(&mut self, rows: &[NodeRow]) {
        while !rows.iter().all(|row| self.answers.contains_key(&key(&row.conninfo))) {
            let Some(answer) = self.pending.next().await else { return };
            self.answers.insert(answer.key.clone(), answer);
        }
    }

    /// Returns the rows to believe: those of a primary on the newest timeline, else those of the server that was asked first, else
    /// anybody's. A standby's may be old.
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
    fn is_witness(&self, system_identifier: &str) -> bool {
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
        let mut able: Vec<&mut Answer> = self
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
    fn facts<'r>(&self, rows: impl IntoIterator<Item = &'r NodeRow>) -> ClusterFacts {
        let nodes = rows.into_iter().map(|row| {
            let server = match self.answers.get(&key(&row.conninfo)).map(|answer| &answer.server) {
                Some(Ok((_, facts))) => Ok(facts.clone()),
                Some(Err(silence)) => Err(silence.clone()),
                None => Err(Silence {
                    answered: Answered::Silent,
                    message: "there was no time to ask it".into(),
                    detail: None,
                    hint: None,
                }),
            };
            NodeFacts { row: row.clone(), server }
        });
        ClusterFacts { nodes: nodes.collect() }
    }

    /// Asks those again that had just received something and seem to be late by the time of the last commit: in a long transaction,
    /// and after a night without one, that is old on a standby that keeps up. One that replays what it had a moment later is.
    async fn look_again(&self, facts: &mut ClusterFacts) {
        let seems_late = |server: &ServerFacts| {
            server.last_replay_age_s.is_some_and(|age| age > AGAIN.as_secs_f64())
                && server.replay_paused == Some(false)
                && server.apply_delay_s == 0.0
                && waits_to_be_replayed(server)
        };
        let until = self.until.min(Instant::now() + AGAIN);
        let (round, seems_late) = (self, &seems_late);
        let looks = facts.nodes.iter_mut().map(|node| async move {
            let Ok(server) = &mut node.server else { return };
            let answer =
                round.answers.get(&key(&node.row.conninfo)).and_then(|answer| answer.server.as_ref().ok());
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

    /// Returns what witnesses have of the metadata: like whoever takes writes, they were asked for it.
    fn copies(&self, facts: &ClusterFacts) -> Copies {
        let witnesses = facts.nodes.iter().filter(|node| node.row.node_type == NodeType::Witness);
        let rows = witnesses.filter_map(|node| {
            let copy = self.answers.get(&key(&node.row.conninfo))?.rows.as_ref()?;
            Some((node.row.node_id, copy.iter().map(|known| known.row.clone()).collect()))
        });
        rows.collect()
    }

    /// Takes what was asked for checks out of the answers.
    async fn more(&mut self, facts: &ClusterFacts) -> More {
        let keys = facts.nodes.iter().map(|node| (node.row.node_id, key(&node.row.conninfo)));
        let asked = keys.filter_map(|(id, key)| Some((id, self.answers.get(&key)?.more.clone()?)));
        let asked = asked.collect();
        let sessions = self.answers.values().filter_map(|answer| answer.server.as_ref().ok());
        let ssh_hosts = match sessions.max_by_key(|(_, server)| (!server.in_recovery, server.timeline)) {
            Some((session, _)) => bounded(self.until, node::ssh_hosts(session)).await.unwrap_or_default(),
            None => BTreeMap::new(),
        };
        More { asked, ssh_hosts, refused: None }
    }

    fn refusal(&self, conninfo: &str) -> Option<&Refusal> {
        self.answers.get(&key(conninfo))?.refusal.as_ref()
    }

    /// Returns the role that a server was asked as, if it said so.
    fn role(&self, conninfo: &str) -> Option<&str> {
        let (_, server) = self.answers.get(&key(conninfo))?.server.as_ref().ok()?;
        Some(&server.role)
    }
}

/// Connects and asks. A primary is asked for the rows too.
async fn answer(
    key: String,
    conninfo: String,
    environment: &Environment,
    until: Instant,
    rows_too: bool,
    for_checks: Option<Rc<[Name]>>,
) -> Answer {
    let silent =
        |key, silence, refusal| Answer { key, server: Err(silence), rows: None, refusal, more: None };
    let parsed = match Conninfo::parse(&conninfo) {
        Ok(parsed) => parsed,
        Err(error) => return silent(key, Silence::invalid(&error.to_string()), None),
    };
    let deadline = until.saturating_duration_since(Instant::now());
    let options = ConnectOptions { deadline, query_deadline: deadline, ..ConnectOptions::default() };
    let session = match connect(&parsed, environment, &options).await {
        Ok(session) => session,
        Err(error) => return silent(key, error.clone().into(), Some(Refusal::Connection(error))),
    };
    // By itself, and before everything else: of a server that says what it is, nothing is thrown away because another question is slow or
    // meets a lock.
    let facts = match bounded(until, server::ask(&session)).await {
        Ok(facts) => facts,
        Err(error) => {
            let refusal = rows_too.then(|| Refusal::Metadata(error.clone()));
            return silent(key, error.into(), refusal);
        }
    };
    // Rows that are locked must leave time for what is asked after them.
    let rows_until = match for_checks {
        Some(_) => Instant::now() + until.saturating_duration_since(Instant::now()) / 2,
        None => until,
    };
    let rows = match rows_too || !facts.in_recovery {
        true => Some(bounded(rows_until, read_rows(&session)).await),
        false => None,
    };
    let more = match &for_checks {
        Some(names) => Some(check::ask(&session, names, until).await),
        None => None,
    };
    let (rows, refusal) = match rows {
        Some(Ok(rows)) => (Some(rows), None),
        Some(Err(error)) => (None, Some(Refusal::Metadata(error))),
        None => (None, None),
    };
    Answer { key, server: Ok((session, facts)), rows, refusal, more }
}

async fn read_rows(session: &Session) -> std::result::Result<Rows, SqlError> {
    let rows = node::read_all(session).await?;
    Ok(rows.into_iter().map(|row| Registered { key: key(&row.conninfo), row }).collect())
}

/// Returns what makes a connection string lead to a server as a role: two with the same key need one connection.
pub(crate) fn key(conninfo: &str) -> String {
    const INDIFFERENT: [&str; 3] = ["connect_timeout", "application_name", "fallback_application_name"];
    let Ok(mut parsed) = Conninfo::parse(conninfo) else { return conninfo.to_string() };
    INDIFFERENT.iter().for_each(|keyword| parsed.remove(keyword));
    let mut words: Vec<String> =
        parsed.iter().map(|(keyword, value)| format!("{keyword}={}", quote_value(value))).collect();
    words.sort();
    words.join(" ")
}

/// Keeps what was seen, for the day on which nobody answers. A failure is told and harms nothing else.
pub fn remember(context: &Context, facts: &ClusterFacts, now: Timestamp) {
    // Root may look, but the user who runs everything else could not read a file of root's.
    if context.environment.uid == 0 || facts.nodes.iter().all(|node| node.server.is_err()) {
        return;
    }
    // "Nothing was changed" is meant to the byte.
    if context.global.dry_run {
        return;
    }
    let saved = context
        .state_directory()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .and_then(|directory| topology::save(&directory, facts, now));
    if let Err(error) = saved {
        // Once: with --watch it would be said every time.
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            context.ui.message(
                Level::Warning,
                "could not keep what was seen of the cluster",
                Some(&crate::error::sentence(&format!("{error:#}"))),
                Some("Without it nothing can be shown when no node answers. See state_directory in the configuration."),
            );
        });
    }
}

/// Reads the last seen topology; a file that cannot be used is told and counts as none.
pub(crate) fn last_seen(context: &Context) -> Option<Topology> {
    let directory = context.state_directory().ok()?;
    match topology::load(&directory) {
        Ok(seen) => seen,
        Err(error) => {
            context.ui.message(
                Level::Warning,
                "could not read what was last seen of the cluster",
                Some(&crate::error::sentence(&format!("{error:#}"))),
                Some("The file is written anew by the next command that sees the cluster."),
            );
            None
        }
    }
}

/// Asks everybody, beginning with an open session.
///
/// # Errors
/// Exit code 7 if the metadata cannot be read there.
pub async fn from_session(context: &Context, session: &Session, whom: &str) -> Result<ClusterFacts> {
    // Both questions are on their way before the first is answered.
    let (rows, own) = tokio::join!(node::read_all(session), server::ask(session));
    let role = own.as_ref().ok().map(|own| own.role.as_str());
    let rows = rows.map_err(|error| no_metadata(whom, &error, role))?;
    let own = own.map_err(|error| no_metadata(whom, &error, None))?;
    Ok(everybody(context, &rows, &own).await)
}

/// Asks all nodes.
///
/// If a primary among them has other rows than the ones at hand, its rows count: a standby's may be old.
async fn everybody(context: &Context, rows: &[NodeRow], first: &ServerFacts) -> ClusterFacts {
    let mut round = Round::new(context, Some(first.system_identifier.clone()));
    for row in rows {
        round.ask(&row.conninfo, false);
    }
    let mut newer = None;
    if !first.in_recovery {
        round.all(rows).await;
    }
    // A standby's rows may be old, and so may a witness's.
    if first.in_recovery || round.is_witness(&first.system_identifier) {
        newer = round.run().await;
    }
    match newer {
        Some(newer) => round.facts(newer.iter().map(|node| &node.row)),
        None => round.facts(rows),
    }
}

fn no_metadata(whom: &str, error: &SqlError, role: Option<&str>) -> Error {
    let missing = matches!(error.sqlstate.as_deref(), Some("42P01" | "3F000"));
    let primary = if missing {
        format!("{whom} has no metadata")
    } else {
        format!("could not read the metadata on {whom}")
    };
    let hint = match role.filter(|_| error.sqlstate.as_deref() == Some("42501")).map(quote_ident) {
        _ if missing => {
            "Run \"pgbaton primary register\" on the primary, or name the right database in conninfo.".into()
        }
        Some(role) => format!(
            "As the owner of schema repmgr run: GRANT USAGE ON SCHEMA repmgr TO {role}; \
             GRANT SELECT ON ALL TABLES IN SCHEMA repmgr TO {role};"
        ),
        None => "Run \"pgbaton cluster show\" against another node.".into(),
    };
    Error::new(Exit::Query, primary).detail(crate::error::sentence(&error.to_string())).hint(hint)
}

/// Returns the node that takes writes.
///
/// # Errors
/// Exit code 6 if none answers, 31 if there are several.
pub fn the_primary(facts: &ClusterFacts) -> Result<(&NodeFacts, &ServerFacts)> {
    let primaries: Vec<_> = facts.primaries().collect();
    match primaries.as_slice() {
        [one] => Ok(*one),
        [] => {
            let registered: Vec<String> = facts
                .nodes
                .iter()
                .filter(|node| node.row.active && node.row.node_type == NodeType::Primary)
                .map(|node| match &node.server {
                    Err(silence) => format!("Node \"{}\": {}.", node.row.node_name, silence.message),
                    Ok(_) => format!("Node \"{}\" is in recovery.", node.row.node_name),
                })
                .collect();
            Err(Error::new(Exit::Connection, "no primary can be reached")
                .detail(if registered.is_empty() {
                    "None is registered. Nothing was changed.".to_string()
                } else {
                    format!("{} Nothing was changed.", registered.join(" "))
                })
                .hint("Run \"pgbaton cluster show\" to see what there is."))
        }
        several => {
            let names: Vec<String> =
                several.iter().map(|(node, _)| format!("\"{}\"", node.row.node_name)).collect();
            Err(Error::new(Exit::SecondPrimary, format!("{} nodes take writes", several.len()))
                .detail(format!("They are {}. Nothing was changed.", names.join(", ")))
                .hint(
                    "Run \"pgbaton cluster show\" to see which of them is the right one, and stop the other.",
                ))
        }
    }
}
